//! Stream transports: TCP, TLS (RFC 3261 §18), WebSocket (RFC 7118). One task per connection, all
//! of them in one registry by which any shard sends and by which a connection is used again.

pub(in crate::os) mod accept;
mod connect;
mod outbox;
mod pump;
mod registry;

pub use accept::{Listener, bind, serve};
pub(super) use outbox::State;
pub use outbox::{OUTBOX_BYTES_MAX, Outgoing};
pub(super) use pump::{Ended, LINGER};
pub use registry::{Connection, Connections, Refused, Slot};

use super::privsep::client::Net;
use super::tls::Tls;
use crate::base::{ConnectionId, Flow, TransmitTag};
use crate::config::Origin;
use crate::wire::sip::FrameError;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A handshake of TLS or WebSocket that takes longer is given up.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A connection that we open must be up by then; below timer B, so that the next target is tried.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A peer that takes nothing of what waits for it for so long reads too slowly.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// Where what the connections bring goes.
pub trait Receiver: Send + Sync + 'static {
    /// The peer of a connection proved to be these SIP domains; comes before its messages.
    fn proved(&self, flow: Flow, domains: Arc<[Box<str>]>);
    /// One whole message.
    fn message(&self, flow: Flow, bytes: Bytes);
    /// A stream that cannot be cut any further; an answer may be sent before it is closed.
    fn unframeable(&self, flow: Flow, head: Bytes, error: FrameError);
    /// The connection is gone.
    fn closed(&self, connection: ConnectionId);
    /// Bytes of `shard` could not be sent.
    fn transmit_failed(&self, shard: usize, tag: TransmitTag);
}

/// What an operator sets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Connections altogether.
    pub connections_max: usize,
    /// Connections accepted from one address.
    pub connections_per_source_max: usize,
    /// A connection on which nothing was heard for so long is closed.
    pub idle: Duration,
    /// A message must be complete so long after its first byte.
    pub half_message: Duration,
    /// The web pages whose browsers may come in by WebSocket; all where there are none.
    pub origins: Vec<Origin>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            connections_per_source_max: 200,
            idle: Duration::from_secs(900),
            half_message: Duration::from_secs(10),
            origins: Vec::new(),
        }
    }
}

/// What every connection's task needs.
#[derive(Clone)]
pub struct Context {
    /// The registry.
    pub connections: Arc<Connections>,
    /// Where messages go.
    pub receiver: Arc<dyn Receiver>,
    /// Certificates, as last loaded.
    pub tls: Arc<Tls>,
    /// Who connects.
    pub net: Net,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}
