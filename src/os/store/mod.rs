//! The records on disk: SQLite, with a writer thread of its own.
//!
//! # What survives what
//! The database runs in WAL mode with `synchronous = NORMAL`: a commit hands its frames to the
//! kernel before it returns, so what was committed survives `kill -9` of the process; nothing is
//! lost as long as the machine lives. Power loss may take the last commits, never the database's
//! soundness. `[store] durability = "power"` waits for the disk in each batch (`FULL`). Changes of
//! users always do, whatever that key says: what the operator typed is never lost.
//!
//! Records are committed in batches at most [`BATCH_EVERY`] after the first of them, so that what
//! was answered 200 is on disk within one second.
//!
//! Refreshes of bindings, which are most of what a registrar writes, go to a [`journal`] beside the
//! database and reach their rows within minutes, at an orderly stop, and at the next start. A
//! program that reads the table of bindings beside voipd sees times up to ten minutes old.
//!
//! # When the disk does not take it
//! The trouble is logged once with its remedy, and once more when it is over; records wait in
//! memory up to [`PENDING_MAX`], the newest state of each binding only; calls go on.

mod cdrs;
mod error;
mod journal;
mod mailbox;
mod pending;
mod schema;
mod sqlite;
mod writer;

#[cfg(test)]
mod tests;

pub use cdrs::{CDRS_LOOKED_AT_MAX, CDRS_PAGE_MAX, CdrPage, CdrQuery};
pub use error::StoreError;
pub use pending::PENDING_MAX;
pub use sqlite::{Database, Loaded};
pub use writer::{BATCH_EVERY, Store, StoreStatus};
