//! All connections: found by their id for answers along a flow, and by the peer's address for
//! requests (RFC 3261 §18: connections are used again). Counts them against their limits.

use super::outbox::{Outbox, Outgoing, State};
use super::{Context, Settings, connect};
use crate::base::{ConnectionId, Destination, Flow, Transmit, TransmitTag, Transport};
use crate::os::counters::Counters;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// One connection as the shards see it.
#[derive(Debug)]
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// The transport.
    pub transport: Transport,
    /// The peer.
    pub remote: SocketAddr,
    /// The name that the peer's certificate proved; only on connections that we opened.
    pub tls_name: Option<Box<str>>,
    outbox: Outbox,
}

impl Connection {
    /// Queues a message; see [`Outbox::push`].
    pub(in crate::os) fn push(&self, out: Outgoing) -> Result<(), Outgoing> {
        self.outbox.push(out)
    }

    /// Takes what waits; see [`Outbox::take`].
    pub(in crate::os) fn take(&self, into: &mut VecDeque<Outgoing>, waker: &Waker) -> State {
        self.outbox.take(into, waker)
    }

    /// Says that `bytes` of what was taken were written.
    pub(in crate::os) fn written(&self, bytes: usize) {
        self.outbox.written(bytes);
    }
}

/// Why a connection is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// `connections_max` are there.
    Total,
    /// `connections_per_source_max` of this source are there.
    Source,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    by_id: HashMap<ConnectionId, Arc<Connection>>,
    by_peer: HashMap<(Transport, SocketAddr), Arc<Connection>>,
    per_source: HashMap<IpAddr, usize>,
    count: usize,
}

/// The registry; shared by all threads.
#[derive(Debug)]
pub struct Connections {
    inner: Mutex<Inner>,
    next_id: AtomicU64,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// A place under the limits, held as long as the connection lives.
#[derive(Debug)]
pub struct Slot {
    connections: Arc<Connections>,
    source: Option<IpAddr>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.connections.lock();
        inner.count = inner.count.saturating_sub(1);
        if let Some(source) = self.source
            && let Some(count) = inner.per_source.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                inner.per_source.remove(&source);
            }
        }
    }
}

impl Connections {
    /// Nobody connected.
    pub fn new(settings: Settings, counters: Arc<Counters>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                settings,
                by_id: HashMap::new(),
                by_peer: HashMap::new(),
                per_source: HashMap::new(),
                count: 0,
            }),
            next_id: AtomicU64::new(1),
            counters,
        }
    }

    /// New limits, for connections to come.
    pub fn configure(&self, settings: Settings) {
        self.lock().settings = settings;
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }

    /// How many connections there are, those in their handshake included.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// A place for a connection that `source` opened, or that we open (`None`).
    pub fn admit(self: &Arc<Self>, source: Option<IpAddr>) -> Result<Slot, Refused> {
        let mut inner = self.lock();
        if inner.count >= inner.settings.connections_max {
            self.counters.refused_total.one();
            return Err(Refused::Total);
        }
        let limit = inner.settings.connections_per_source_max;
        if let Some(source) = source {
            let count = inner.per_source.entry(source).or_insert(0);
            if *count >= limit {
                self.counters.refused_source.one();
                return Err(Refused::Source);
            }
            *count += 1;
        }
        inner.count += 1;
        drop(inner);
        Ok(Slot {
            connections: Arc::clone(self),
            source,
        })
    }

    /// Enters a connection into the registry.
    pub(in crate::os) fn enter(
        &self,
        transport: Transport,
        remote: SocketAddr,
        tls_name: Option<Box<str>>,
    ) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            id: ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed)),
            transport,
            remote,
            tls_name,
            outbox: Outbox::new(),
        });
        let mut inner = self.lock();
        inner.by_id.insert(connection.id, Arc::clone(&connection));
        inner
            .by_peer
            .insert((transport, remote), Arc::clone(&connection));
        connection
    }

    /// Forgets a connection whose task ends.
    pub(super) fn forget(&self, connection: &Connection) {
        let mut inner = self.lock();
        inner.by_id.remove(&connection.id);
        let peer = (connection.transport, connection.remote);
        if inner
            .by_peer
            .get(&peer)
            .is_some_and(|c| c.id == connection.id)
        {
            inner.by_peer.remove(&peer);
        }
    }

    /// Writes what waits for this connection, then closes it.
    pub fn close(&self, id: ConnectionId) {
        let found = self.lock().by_id.get(&id).cloned();
        if let Some(connection) = found {
            connection.outbox.close();
        }
    }

    /// Closes every connection, for the daemon's end.
    pub fn close_all(&self) {
        let mut all: Vec<_> = self.lock().by_id.values().cloned().collect();
        all.sort_by_key(|c| c.id);
        for connection in all {
            connection.outbox.close();
        }
    }

    fn find(&self, transport: Transport, remote: SocketAddr) -> Option<Arc<Connection>> {
        self.lock().by_peer.get(&(transport, remote)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// Sends over a stream: along a flow only on its very connection, to an address on one that is
    /// there or is opened now. Inside a runtime only. What fails is told to the receiver.
    pub fn transmit(&self, shard: usize, transmit: Transmit) {
        let out = Outgoing {
            bytes: transmit.bytes,
            shard,
            tag: transmit.tag,
        };
        match transmit.destination {
            Destination::Flow(flow) => self.along(&flow, out),
            Destination::Address {
                transport,
                remote,
                tls_name,
            } => self.toward(transport, remote, tls_name, out),
        }
    }

    fn along(&self, flow: &Flow, out: Outgoing) {
        let connection = flow
            .connection
            .and_then(|id| self.connections.lock().by_id.get(&id).cloned());
        let result = match connection {
            Some(connection) => connection.push(out),
            None => Err(out),
        };
        if let Err(out) = result {
            self.failed(&out);
        }
    }

    fn toward(
        &self,
        transport: Transport,
        remote: SocketAddr,
        tls_name: Option<Box<str>>,
        out: Outgoing,
    ) {
        let mut out = out;
        if let Some(connection) = self.connections.find(transport, remote)
            && (tls_name.is_none() || !transport.is_secure() || connection.tls_name == tls_name)
        {
            match connection.push(out) {
                Ok(()) => return,
                Err(back) => out = back,
            }
        }
        let Ok(slot) = self.connections.admit(None) else {
            return self.failed(&out);
        };
        let connection = self.connections.enter(transport, remote, tls_name);
        if let Err(out) = connection.push(out) {
            self.failed(&out);
        }
        connect::spawn(self.clone(), connection, slot);
    }

    /// Tells the sender, if it wants to know.
    pub(super) fn failed(&self, out: &Outgoing) {
        if out.tag != TransmitTag::default() {
            self.receiver.transmit_failed(out.shard, out.tag);
        }
    }

    /// Ends a connection's life: out of the registry, what is unsent reported, the shards told.
    pub(in crate::os) fn finish(
        &self,
        connection: &Connection,
        unsent: impl IntoIterator<Item = Outgoing>,
    ) {
        self.connections.forget(connection);
        for out in unsent.into_iter().chain(connection.outbox.finish()) {
            self.failed(&out);
        }
        self.receiver.closed(connection.id);
    }
}
