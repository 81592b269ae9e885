//! F3: media. What a call's audio needs between the network's packets and the samples.

pub mod conceal;
pub mod event;
pub mod jitter;
pub mod reception;
pub mod stream;
