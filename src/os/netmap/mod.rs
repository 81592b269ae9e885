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
//! Here is what happens in the rings, on any system: the memory may be a card's or a test's.
//!
//! Not done yet: the card itself (NIOCCTRL, next hops), so that no configuration leads here.

mod memory;
mod turn;

pub use memory::{Flaw, Memory, Ring};
pub use turn::{BATCH_MAX, Counts, Turn};

#[cfg(test)]
mod tests;
