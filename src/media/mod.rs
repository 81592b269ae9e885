//! F3: media that begin or end here: what callers of a service hear and say (RFC 3550, RFC 3551).
//!
//! | module | what |
//! | --- | --- |
//! | [`order`] | what signalling asks for, and what it hears back |
//! | [`prompts`] | what is said: the built-in speech of each language |
//! | [`say`] | what is said in pieces: numbers, dates, counts |
//! | [`studio`] | the legs that end here, and the clock of all that plays |
//!
//! Not done here: sockets, ports and who may send to them (`relay`), descriptions (`sip`).

pub mod order;
pub mod prompts;
pub mod say;
pub mod studio;
#[cfg(test)]
mod tests;

pub use order::{Format, News, Order, Task};
pub use studio::{Outlet, Studio};
