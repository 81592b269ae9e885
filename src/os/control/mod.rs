//! The control socket: a Unix socket, mode 0660, over which the operator's [`Command`]s come and
//! [`Reply`]s go, one JSON object per line (the lines are [`crate::control`]'s).
//!
//! [`Server`] hands each command to whoever owns the receiving end of its channel; [`users`]
//! answers those about users and their call features, for the daemon as for `voipctl` without one;
//! [`cdrs`] those about calls that are over.
//! [`Client`] is voipctl's side.

pub mod cdrs;
mod client;
mod features;
mod link;
mod server;
pub mod users;

#[cfg(test)]
mod tests;

pub use client::{Client, ClientError};
pub use link::Link;
pub use server::{Asked, CONNECTIONS_MAX, Server, listen, serve_link};

#[cfg(doc)]
use crate::control::{Command, Reply};
