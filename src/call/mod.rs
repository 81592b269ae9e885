//! F4: calls. A [`CallTable`] follows every INVITE dialog that the proxy forwards and records
//! (RFC 3261 §12, §16): who calls whom, since when, over which relay ports, and how it ends. Each
//! call ends once, in one call detail record. What it does not do: send anything by itself; what
//! should happen waits in [`CallTable::poll_output`].

mod fork;
pub mod inside;
mod leg;
mod media;
mod row;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod ways;

pub use crate::relay::Side;
pub use leg::same_host;
pub use media::{Addresses, BodyEdit, MediaPolicy, Toward};
pub use state::Bye;
pub use table::{CallKey, CallOutput, CallSettings, CallTable, CallTableFull, CallerInfo};
pub use ways::Ways;
