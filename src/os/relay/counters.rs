//! What media workers count, for listings.

use super::plug::Plug;
use crate::control::RelayDriverRow;
use crate::relay::{DROP_REASONS, DropReason};
use crate::server::MediaCore;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the system dropped since we did not take it in time, among the reasons of drops.
const RECEIVE_BUFFER: &str = "receive_buffer";

/// What all workers of a driver counted.
#[derive(Debug, Default)]
pub struct MediaCounters {
    /// Datagrams received.
    pub received: AtomicU64,
    /// Datagrams sent on, or taken by ourselves.
    pub forwarded: AtomicU64,
    /// Datagrams that left, those of ourselves included.
    pub sent: AtomicU64,
    /// Streams that come to ports of ours.
    pub streams: AtomicU64,
    /// Of these: the fast path carries them.
    pub flows: AtomicU64,
    /// The most datagrams that one wake-up brought.
    pub batch_max: AtomicU64,
    /// What went nowhere, by [`DropReason::index`].
    pub dropped: [AtomicU64; DROP_REASONS],
    /// What the system dropped before we had it.
    pub lost: AtomicU64,
    workers: AtomicU64,
}

impl MediaCounters {
    /// The sums of several, for `voipctl relay`.
    pub fn row<'a>(all: impl Iterator<Item = &'a MediaCounters>) -> RelayDriverRow {
        let mut row = RelayDriverRow {
            name: "sockets".into(),
            up: true,
            ..RelayDriverRow::default()
        };
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let mut workers = 0;
        for counters in all {
            workers += read(&counters.workers);
            row.received += read(&counters.received);
            row.sent += read(&counters.sent);
            // They are written one after the other.
            row.flows += read(&counters.streams).saturating_sub(read(&counters.flows));
            row.batch_max = row.batch_max.max(read(&counters.batch_max));
            let names = DropReason::ALL.iter().map(|reason| reason.name());
            let reasons = names.zip(&counters.dropped);
            for (reason, count) in reasons.chain([(RECEIVE_BUFFER, &counters.lost)]) {
                if read(count) > 0 {
                    *row.drops.entry(reason.to_owned()).or_default() += read(count);
                }
            }
        }
        let threads = if workers == 1 { "thread" } else { "threads" };
        row.mode = format!("{workers} {threads}");
        row
    }
}

/// What one worker has told of its own.
#[derive(Debug)]
pub(super) struct Told {
    counters: Arc<MediaCounters>,
    sent: u64,
    streams: u64,
    flows: u64,
    dropped: [u64; DROP_REASONS],
    lost: u64,
}

impl Told {
    pub(super) fn new(counters: Arc<MediaCounters>) -> Self {
        counters.workers.fetch_add(1, Ordering::Relaxed);
        Self {
            counters,
            sent: 0,
            streams: 0,
            flows: 0,
            dropped: [0; DROP_REASONS],
            lost: 0,
        }
    }

    /// One wake-up brought so many.
    pub(super) fn received(&self, received: u64, forwarded: u64) {
        if received > 0 {
            let counters = &self.counters;
            counters.received.fetch_add(received, Ordering::Relaxed);
            counters.forwarded.fetch_add(forwarded, Ordering::Relaxed);
            counters.batch_max.fetch_max(received, Ordering::Relaxed);
        }
    }

    /// Tells what is new.
    pub(super) fn tell(&mut self, media: &MediaCore, plug: &Plug) {
        let counters = &self.counters;
        renew(&counters.sent, &mut self.sent, plug.sent());
        renew(&counters.lost, &mut self.lost, plug.lost());
        renew(&counters.streams, &mut self.streams, media.streams() as u64);
        renew(&counters.flows, &mut self.flows, media.flows() as u64);
        let places = counters.dropped.iter().zip(&mut self.dropped);
        for ((figure, told), count) in places.zip(media.dropped()) {
            renew(figure, told, *count);
        }
    }
}

/// Adds to a sum of several workers what has changed of one.
fn renew(figure: &AtomicU64, told: &mut u64, now: u64) {
    if *told != now {
        // What went down is added as its complement.
        figure.fetch_add(now.wrapping_sub(*told), Ordering::Relaxed);
        *told = now;
    }
}
