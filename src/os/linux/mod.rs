//! What Linux alone has.

mod hops;
pub mod xdp;
