//! F6: the cores, composed. A [`SignalCore`] is one shard of the signalling side: transactions,
//! registrar, proxy, locating, calls, keepalives. It speaks the four verbs and does no I/O, so the
//! same code runs under `os` and under `sim`.
//!
//! ```text
//! Input::Message -> parse, validate (intake) -> TransactionLayer -> Event -> Proxy
//!                                                    |                        |
//! Output::Transmit <---------------------------------+<-- respond, send ------+
//! ```
//! The media side is [`MediaCore`]: the relay, and the studio for legs that end here.

mod conference;
mod control;
mod counters;
mod intake;
mod media;
mod parked;
mod peers;
mod queues;
mod route;
mod signal;
#[cfg(test)]
mod tests;
mod trace;
mod warnings;

pub use media::{Carrier, MediaCore, MediaNews, MediaOrder, POST_SESSION};
pub use signal::{Input, Output, Setup, SignalCore};
