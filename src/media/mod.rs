//! Sound: codecs, tones, digits, rates, mixing. Pure sample work: whoever owns sockets, files and
//! the clock brings them.

pub mod activity;
pub mod codec;
pub mod comfort;
pub mod dtmf;
pub mod goertzel;
pub mod mixer;
pub mod resample;
pub mod tone;
pub mod wav;
