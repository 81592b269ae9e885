//! The control socket: a Unix socket, mode 0660, over which the operator's [`Command`]s come and
//! [`Reply`]s go, one JSON object per line (the lines are [`crate::control`]'s).
//!
//! [`Server`] hands each command to whoever owns the receiving end of its channel; [`users`]
//! answers those about users, their call features and mailboxes, for the daemon as for `voipctl`
//! without one;
//! [`cdrs`] those about calls that are over.
//! [`Client`] is voipctl's side.

pub mod cdrs;
mod client;
mod features;
mod link;
mod mailboxes;
mod server;
pub mod users;

#[cfg(test)]
mod tests;

pub use client::{Client, ClientError};
pub use link::Link;
pub use mailboxes::KEYS as MAILBOX_KEYS;
pub use server::{Asked, CONNECTIONS_MAX, Server, listen, serve_link};

use crate::config::Voicemail;
#[cfg(doc)]
use crate::control::{Command, Reply};
use crate::feature::Features;
use crate::mailbox::Mailboxes;
use crate::store::Directory;

/// What commands about users work on.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// Who may register and call.
    pub directory: &'a Directory,
    /// What they want to become of calls.
    pub features: &'a Features,
    /// Their voicemail.
    pub mailboxes: &'a Mailboxes,
    /// What the file says of it.
    pub mail: &'a Voicemail,
}
