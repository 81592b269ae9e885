//! F3: media that begin or end here: what callers of a service hear and say (RFC 3550, RFC 3551).
//!
//! | module | what |
//! | --- | --- |
//! | [`order`] | what signalling asks for, and what it hears back |
//! | [`prompts`] | what is said: the built-in speech of each language |
//! | [`say`] | what is said in pieces: numbers, dates, counts |
//! | [`studio`] | the legs that end here, and the clock of all that plays |
//! | [`player`], [`music`] | sounds, one after the other, as samples; what those hear who wait |
//! | `clip` | the beginning of a file, for those who ask no disk |
//! | [`record`], [`minutes`] | what is heard, by a leg or in a room, into a file |
//! | `tape` | two legs side by side, into a file |
//! | [`stream`] | one RTP stream each way with its reports |
//! | [`jitter`], [`conceal`], [`reception`] | what comes, in order and in time; what is lost |
//! | [`ear`] | what a leg hears, as samples |
//! | [`event`] | keys as telephone events (RFC 4733) |
//! | [`codec`], [`resample`] | samples to payloads and back, and between rates |
//! | [`tone`], [`dtmf`], [`goertzel`] | tones and digits, made and heard |
//! | [`mixer`], [`activity`], [`comfort`] | many at once; who speaks; noise for silence |
//! | [`room`] | conference rooms, whose members are legs of several workers |
//! | [`wav`], [`file`], [`shelf`] | sound files, and how they are asked for and answered |
//!
//! Not done here: sockets, ports and who may send to them (`relay`), descriptions (`sip`).

pub mod activity;
mod bridge;
mod clip;
pub mod codec;
pub mod comfort;
pub mod conceal;
pub mod dtmf;
pub mod ear;
pub mod event;
pub mod file;
pub mod goertzel;
mod inband;
pub mod jitter;
mod leg;
mod library;
mod meeting;
mod minutes;
pub mod mixer;
pub mod music;
pub mod order;
pub mod player;
pub mod prompts;
mod reading;
pub mod reception;
pub mod record;
pub mod resample;
pub mod room;
pub mod say;
mod secure;
pub mod shelf;
pub mod stream;
pub mod studio;
mod tape;
#[cfg(test)]
mod tests;
pub mod tone;
pub mod wav;

pub use library::refused;
pub use order::{Figures, Format, Keys, News, Order, RecordEnd, Sound, Task};
pub use studio::{Farewell, Outlet, Studio, StudioCounters};
