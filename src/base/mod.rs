//! F0: what every floor stands on. No protocol, no state of the world.

mod flow;
mod ids;
mod instant;
mod queue;
mod rate;
mod rng;
mod slab;
mod timers;

pub use flow::{ConnectionId, Destination, Flow, Transmit, TransmitTag, Transport};
pub use ids::{call_id_of, hash64, mix64, shard_of};
pub use instant::{Anchor, Instant};
pub use queue::BoundedQueue;
pub use rate::{Admission, Rate, RateTable};
pub use rng::Rng;
pub use slab::{Key, Slab};
pub use timers::{TimerId, TimerTable};
