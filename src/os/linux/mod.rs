//! What Linux alone has.

pub mod card;
mod hops;
pub mod xdp;
