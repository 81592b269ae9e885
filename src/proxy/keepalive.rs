//! Keeps the holes in phones' NATs open: each binding behind NAT that came over UDP is pinged once
//! in an interval, all of them spread over it. Connections keep their own holes open.
//!
//! An OPTIONS that any answer comes to shows that the phone lives; after [`FAILURES_MAX`] without
//! one, an outbound flow has failed and its binding is removed (RFC 5626 §5.3), any other binding
//! is marked unreachable until the phone answers or registers again. CRLF asks for no answer.
//!
//! One per shard. New bindings come out of the location table, each to one shard only; those that
//! a restart brought back are shared out by bucket.

use crate::base::{Destination, Instant, Key, Slab, TimerTable, hash64};
use crate::config::{self, Config};
use crate::location::{Binding, Location, Reach};
use crate::store::Record;
use crate::wire::sip::{Method, RequestBuilder};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Pings in a row without an answer after which a phone counts as gone.
pub const FAILURES_MAX: u32 = 3;
/// Bindings that one shard pings.
pub const WATCHED_MAX: usize = 1 << 20;
/// Pings of one wake-up; more come at once in the next.
pub const PINGS_MAX: usize = 256;
/// An answer that did not come by then never will (RFC 3261 §17.1.2.2: Timer F is 32 s).
const ANSWER_WAIT: Duration = Duration::from_secs(40);

/// What is sent, and how often.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// What is sent.
    pub kind: config::Keepalive,
    /// From ping to ping of one binding.
    pub interval: Duration,
    /// For From and Call-ID.
    pub domain: Box<str>,
}

impl Settings {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            kind: config.sip.keepalive,
            interval: Duration::from_secs(config.sip.keepalive_s.max(1).into()),
            domain: config.node.default_domain().into(),
        }
    }
}

/// What a ping is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A request without Via, for a client transaction.
    Options {
        /// To send.
        request: Bytes,
    },
    /// A datagram of CRLF CRLF.
    Crlf,
}

/// One ping to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ping {
    /// For [`Keepalive::answered`] and [`Keepalive::failed`]; neither zero nor above 2^62.
    pub id: u64,
    /// Where to.
    pub destination: Destination,
    /// What.
    pub what: What,
}

#[derive(Debug)]
struct Watch {
    aor: Arc<str>,
    serial: u64,
    failures: u32,
    sequence: u32,
    asked: Option<Instant>,
}

/// The bindings that a shard pings.
#[derive(Debug)]
pub struct Keepalive {
    settings: Settings,
    shard: usize,
    shards: usize,
    watches: Slab<Watch>,
    timers: TimerTable<Key>,
    outputs: VecDeque<Ping>,
    has_restored: bool,
}

impl Keepalive {
    /// Nobody is pinged yet.
    pub fn new(settings: Settings, shard: usize, shards: usize) -> Self {
        Self {
            settings,
            shard,
            shards: shards.max(1),
            watches: Slab::new(WATCHED_MAX),
            timers: TimerTable::new(),
            outputs: VecDeque::new(),
            has_restored: false,
        }
    }

    /// Other settings, from each binding's next ping on.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The next ping to send; takes new bindings up first.
    pub fn poll_output(&mut self, now: Instant, location: &Location) -> Option<Ping> {
        if !self.has_restored {
            self.has_restored = true;
            for binding in location.restored_behind_nat(self.shard, self.shards) {
                self.watch(now, &binding, Duration::ZERO);
            }
        }
        for binding in location.take_fresh() {
            self.watch(now, &binding, self.settings.interval / 2);
        }
        self.outputs.pop_front()
    }

    /// When the next ping is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Makes the pings that are due.
    pub fn handle_timeout(&mut self, now: Instant, location: &Location) {
        for _ in 0..PINGS_MAX {
            let Some((_, key)) = self.timers.pop_due(now) else {
                return;
            };
            let Some(watch) = self.watches.get_mut(key) else {
                continue;
            };
            let Some(binding) = location.lookup_serial(&watch.aor, watch.serial) else {
                self.watches.remove(key);
                continue;
            };
            let waits = watch.asked.is_some_and(|at| now.since(at) < ANSWER_WAIT);
            if !waits
                && let Some(what) = what(&self.settings, watch, &binding, self.shard, self.shards)
            {
                watch.asked = matches!(what, What::Options { .. }).then_some(now);
                self.outputs.push_back(Ping {
                    id: key.to_u64() & (u64::MAX >> 2),
                    destination: Destination::Flow(*binding.flow()),
                    what,
                });
            }
            self.timers.arm(now + self.settings.interval, key);
        }
    }

    /// A final answer came, whatever it says: the phone lives.
    pub fn answered(&mut self, id: u64, location: &Location) {
        let Some(watch) = self.watches.get_mut(Key::from_u64(id)) else {
            return;
        };
        watch.asked = None;
        if watch.failures >= FAILURES_MAX {
            location.set_reach(&watch.aor, watch.serial, Reach::Flow);
        }
        watch.failures = 0;
    }

    /// No answer came. The store should delete what is returned.
    pub fn failed(&mut self, id: u64, location: &Location) -> Vec<Record> {
        let key = Key::from_u64(id);
        let Some(watch) = self.watches.get_mut(key) else {
            return Vec::new();
        };
        watch.asked = None;
        watch.failures = watch.failures.saturating_add(1);
        if watch.failures != FAILURES_MAX {
            return Vec::new();
        }
        let Some(binding) = location.lookup_serial(&watch.aor, watch.serial) else {
            return Vec::new();
        };
        tracing::info!(aor = %watch.aor, source = %binding.flow().remote, "does not answer pings");
        if !binding.is_outbound() {
            location.set_reach(&watch.aor, watch.serial, Reach::Nowhere);
            return Vec::new();
        }
        let serial = watch.serial;
        location.remove_where(&watch.aor, |b| b.serial() == serial)
    }

    /// How many bindings are pinged.
    pub fn len(&self) -> usize {
        self.watches.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// The first ping comes at a time that depends on the binding: so they are spread.
    fn watch(&mut self, now: Instant, binding: &Arc<Binding>, after: Duration) {
        if self.settings.kind == config::Keepalive::Off {
            return;
        }
        let watch = Watch {
            aor: binding.aor_shared().clone(),
            serial: binding.serial(),
            failures: 0,
            sequence: 0,
            asked: None,
        };
        let Ok(key) = self.watches.insert(watch) else {
            tracing::warn!(
                limit = WATCHED_MAX,
                "more bindings behind NAT than can be pinged"
            );
            return;
        };
        let span = self.settings.interval.saturating_sub(after);
        let share = hash64(binding.contact().as_bytes()) % 1024;
        self.timers
            .arm(now + after + span * share as u32 / 1024, key);
    }
}

fn what(
    settings: &Settings,
    watch: &mut Watch,
    binding: &Binding,
    shard: usize,
    shards: usize,
) -> Option<What> {
    match settings.kind {
        config::Keepalive::Off => None,
        config::Keepalive::Crlf => Some(What::Crlf),
        config::Keepalive::Options => {
            watch.sequence = watch.sequence % (u32::MAX >> 1) + 1;
            let call_id = call_id(settings, watch.serial, shard, shards);
            let uri = binding.target();
            let from = format!("<sip:keepalive@{}>;tag={:x}", settings.domain, watch.serial);
            let request = RequestBuilder::new(Method::Options, uri)
                .from(&from)
                .to(format!("<{uri}>"))
                .call_id(&call_id)
                .cseq(watch.sequence)
                .max_forwards(70)
                .render();
            Some(What::Options { request })
        }
    }
}

/// A Call-ID of this shard, so that the answer comes back to it.
fn call_id(settings: &Settings, serial: u64, shard: usize, shards: usize) -> String {
    let mut salt = 0u32;
    loop {
        let text = format!("keepalive-{serial:x}-{salt}@{}", settings.domain);
        if hash64(text.as_bytes()) % shards as u64 == shard as u64 || salt == 10_000 {
            return text;
        }
        salt += 1;
    }
}

#[cfg(test)]
mod tests;
