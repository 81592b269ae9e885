//! The daemon as several processes (DESIGN §3): what may be asked of the broker, the broker, and
//! the ends by which the other processes ask it.

pub mod broker;
pub mod client;
pub mod media_link;
pub mod monitor;
pub mod policy;
