//! What media workers count, for listings.

use crate::control::RelayDriverRow;
use crate::relay::{DROP_REASONS, DropReason};
use crate::server::MediaCore;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
}

impl MediaCounters {
    /// For `voipctl relay`.
    pub fn row(&self) -> RelayDriverRow {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let reasons = DropReason::ALL.iter().zip(&self.dropped);
        let drops = reasons.map(|(reason, count)| (reason.name().to_owned(), read(count)));
        RelayDriverRow {
            name: "sockets".into(),
            up: true,
            // They are written one after the other.
            flows: read(&self.streams).saturating_sub(read(&self.flows)),
            received: read(&self.received),
            sent: read(&self.sent),
            batch_max: read(&self.batch_max),
            drops: drops.filter(|(_, count)| *count > 0).collect(),
            ..RelayDriverRow::default()
        }
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
}

impl Told {
    pub(super) fn new(counters: Arc<MediaCounters>) -> Self {
        Self {
            counters,
            sent: 0,
            streams: 0,
            flows: 0,
            dropped: [0; DROP_REASONS],
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
    pub(super) fn tell(&mut self, media: &MediaCore, sent: u64) {
        let counters = &self.counters;
        renew(&counters.sent, &mut self.sent, sent);
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
