//! F3: media that begin or end here: what callers of a service hear and say (RFC 3550, RFC 3551).
//!
//! | module | what |
//! | --- | --- |
//! | [`order`] | what signalling asks for, and what it hears back |
//! | [`studio`] | the legs that end here, and the clock of all that plays |
//! | [`stream`] | one RTP stream each way with its reports |
//! | [`jitter`], [`conceal`], [`reception`] | what comes, in order and in time; what is lost |
//! | [`event`] | keys as telephone events (RFC 4733) |
//! | [`codec`] | samples to payloads and back |
//!
//! Not done here: sockets, ports and who may send to them (`relay`), descriptions (`sip`).

pub mod codec;
pub mod conceal;
pub mod event;
pub mod jitter;
pub mod order;
pub mod reception;
pub mod stream;
pub mod studio;
#[cfg(test)]
mod tests;

pub use order::{Format, News, Order, Task};
pub use studio::{Outlet, Studio};
