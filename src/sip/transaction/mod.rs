//! The transaction layer: RFC 3261 §17 with RFC 6026, matching (§17.1.3, §17.2.3), CANCEL (§9),
//! response routing (§18.2.2, RFC 3581).
//!
//! | file | what |
//! | --- | --- |
//! | `client_invite`, `client_other` | the client machines, beside the RFC's figures |
//! | `server_invite`, `server_other` | the server machines |
//! | `layer_client`, `layer_server` | the tables around the machines: matching, sending, telling |
//! | `identity` | which transaction a message belongs to |
//! | `timers` | one live timer per transaction |
//! | `via` | `received`, `rport`, and the way back |
//! | `build` | ACK, CANCEL, 100, 503 that the layer makes by itself |
//!
//! The layer retransmits, absorbs repetitions, acknowledges what is not a 2xx, answers CANCEL,
//! sends 100 after 200 ms, and answers 503 when its table is full. It knows no dialogs and decides
//! nothing. The user drains [`TransactionLayer::poll_event`] and
//! [`TransactionLayer::poll_transmit`] after each call that takes `now`.

mod build;
mod client_invite;
mod client_other;
mod event;
mod identity;
mod layer_client;
mod layer_server;
mod server_invite;
mod server_other;
mod step;
mod timers;
mod via;

#[cfg(test)]
mod tests;

pub use event::{ClientKey, Event, Failure, SendError, ServerKey, Settings, Stats};
pub use via::stamp_top_via;

use crate::base::{Destination, Flow, Instant, Key, Rng, Slab, Transmit, TransmitTag};
use crate::wire::sip::Message;
use bytes::Bytes;
use identity::{BuildVerbatim, Identity, MAGIC_COOKIE, Matcher};
use layer_client::Client;
use layer_server::Server;
use std::collections::{HashMap, VecDeque};
use timers::{Side, Timers};

/// Length of what [`TransactionLayer::new_branch`] gives: the cookie and 80 random bits.
pub const BRANCH_LENGTH: usize = MAGIC_COOKIE.len() + 16;

/// Timers that one `handle_timeout` fires at most; the rest is due at once again.
pub const TIMERS_PER_TURN: usize = 1024;

/// All transactions of one shard.
#[derive(Debug)]
pub struct TransactionLayer {
    settings: Settings,
    rng: Rng,
    matcher: Matcher,
    servers: Slab<Server>,
    clients: Slab<Client>,
    by_request: HashMap<Identity, Key, BuildVerbatim>,
    by_branch: HashMap<Identity, Key, BuildVerbatim>,
    timers: Timers,
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
    stats: Stats,
}

impl TransactionLayer {
    /// No transactions. `rng` makes branches and the key of the tables.
    pub fn new(settings: Settings, mut rng: Rng) -> Self {
        let matcher = Matcher::new(&mut rng);
        let (t1, t2, t4) = (settings.t1, settings.t2, settings.t4);
        let trying = server_invite::TRYING_AFTER;
        let timeout = settings.transaction_timeout();
        Self {
            timers: Timers::new(&[
                timeout,
                t1,
                t4,
                trying,
                t1 * 2,
                t2,
                t1 * 8,
                t1 * 16,
                t1 * 32,
            ]),
            servers: Slab::new(settings.server_max),
            clients: Slab::new(settings.client_max),
            by_request: HashMap::default(),
            by_branch: HashMap::default(),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            stats: Stats::default(),
            settings,
            rng,
            matcher,
        }
    }

    /// A message that parsed and validated came by `flow`.
    pub fn receive(&mut self, now: Instant, flow: Flow, message: Message) {
        if message.is_request() {
            self.receive_request(now, flow, message);
        } else {
            self.receive_response(now, flow, message);
        }
    }

    /// A new branch for the top Via of a request that goes out. A suffix may be added.
    pub fn new_branch(&mut self) -> [u8; BRANCH_LENGTH] {
        let mut branch = [0; BRANCH_LENGTH];
        let (cookie, random) = branch.split_at_mut(MAGIC_COOKIE.len());
        cookie.copy_from_slice(MAGIC_COOKIE);
        random.copy_from_slice(&self.rng.token::<16>());
        branch
    }

    /// Sends bytes that belong to no transaction: an ACK for a 2xx on its way.
    pub fn send_stateless(&mut self, bytes: Bytes, destination: Destination) {
        self.transmits.push_back(Transmit {
            destination,
            bytes,
            tag: TransmitTag::default(),
        });
    }

    /// Bytes that carried `tag` could not be sent.
    pub fn transmit_failed(&mut self, now: Instant, tag: TransmitTag) {
        match from_tag(tag) {
            Some((Side::Server, key)) => self.response_not_sent(now, key),
            Some((Side::Client, key)) => self.request_not_sent(now, key),
            None => {}
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What to send, oldest first.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When to call [`TransactionLayer::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Fires what is due, up to [`TIMERS_PER_TURN`].
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMERS_PER_TURN {
            let Some(entry) = self.timers.pop_due(now) else {
                return;
            };
            match entry.side {
                Side::Server => self.server_timer(now, entry.key, entry.at),
                Side::Client => self.client_timer(now, entry.key, entry.at),
            }
        }
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            servers: self.servers.len(),
            clients: self.clients.len(),
            ..self.stats
        }
    }

    /// Timers armed, those included that were overtaken and wait to be passed over.
    pub fn timers_armed(&self) -> usize {
        self.timers.len()
    }
}

/// Zero is nobody; else the key's 64 bits, the lowest of the generation's top bit given up for the
/// side. A generation past 2^31 is not reached again, so such a tag finds nothing.
fn tag(side: Side, key: Key) -> TransmitTag {
    let bit = match side {
        Side::Server => 0,
        Side::Client => 1,
    };
    TransmitTag((key.to_u64() << 1) | bit)
}

fn from_tag(tag: TransmitTag) -> Option<(Side, Key)> {
    if tag.0 == 0 {
        return None;
    }
    let side = if tag.0 & 1 == 0 {
        Side::Server
    } else {
        Side::Client
    };
    Some((side, Key::from_u64(tag.0 >> 1)))
}
