//! The fast path over netmap(4): frames pass between the rings of a card and those of the kernel's
//! stack, by swapping buffers, and [`crate::relay::process`] decides on each that the card
//! received.
//!
//! ```text
//!  card, receiving --+--> process --Forward--> card, sending
//!                    |            --Host-----> kernel, sending
//!                    |            --Punt-----> worker
//!  kernel, receiving -+-----------------------> card, sending
//! ```
//! Here is all that needs no FreeBSD: the layout of requests ([`api`]), what an interface must be
//! ([`ready`]), registration and its errors ([`registration`]), the rings, the thread ([`driver`]).
//! The tests run it beside a kernel of their own; `os::freebsd::netmap` has the one that is real.
//!
//! A frame comes to [`crate::relay::frame::process`] first; what is no flow's goes to the kernel's
//! stack as it came, so ports of calls stay bound on sockets.

pub mod api;
pub mod driver;
mod faults;
pub mod hop_line;
pub mod hops;
mod memory;
pub mod ready;
pub mod registration;
pub mod routing;
mod turn;

pub use memory::{Flaw, Memory, Ring, Rings};
pub use turn::{BATCH_MAX, Counts, Tally, Turn, Worker};

#[cfg(test)]
mod fake;
#[cfg(test)]
mod port_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod thread_tests;
