//! What a driver counts, for listings.

use crate::control::{RelayDriverRow, RelayQueueRow};
use crate::relay::frame::{DROP_REASONS, DropReason, Totals};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a driver counts. It writes them, others read them.
#[derive(Debug, Default)]
pub struct Figures {
    /// `xdp:eth0`.
    name: String,
    /// How it gets at the card, in words.
    mode: String,
    /// Frames that came.
    pub received: AtomicU64,
    /// Frames sent on.
    pub sent: AtomicU64,
    /// Frames handed to a worker.
    pub punted: AtomicU64,
    /// Frames that went nowhere, for whatever reason.
    pub dropped: AtomicU64,
    /// Of these: the ring to the card, or the queue to the worker, was full.
    pub full: AtomicU64,
    /// Of these: the queue to the worker was.
    pub unheard: AtomicU64,
    /// Flows that there are.
    pub flows: AtomicU64,
    /// Streams that found no place or no next hop.
    pub refused: AtomicU64,
    /// Flows that went back to sockets, since packets to their receiver do not leave by the card
    /// any more.
    pub rerouted: AtomicU64,
    /// The most frames of one batch.
    pub batch_max: AtomicU64,
    /// Frames that [`crate::relay::frame::process`] dropped, by [`DropReason::index`].
    reasons: [AtomicU64; DROP_REASONS],
    queues: Box<[QueueFigures]>,
    ended: OnceLock<String>,
}

/// How a driver says that one thread has all rings of its card, where more would have them.
pub const ONE_FOR_ALL: &str = "one thread for all rings of the card: slower";

/// What a driver counts of one queue of its card.
#[derive(Debug, Default)]
pub struct QueueFigures {
    /// Frames that came.
    pub received: AtomicU64,
    /// Frames sent on.
    pub sent: AtomicU64,
    /// Frames that found the ring to the card full.
    pub overruns: AtomicU64,
    /// Frames that the card may receive into at this moment.
    pub room: AtomicU64,
    /// Frames that are on their way out at this moment.
    pub sending: AtomicU64,
    /// Frames that the kernel dropped for want of memory or for their length.
    pub kernel_dropped: AtomicU64,
    /// Frames that the kernel dropped since we were too slow to take them.
    pub ring_full: AtomicU64,
    /// How often the card found no frame to receive into.
    pub room_empty: AtomicU64,
    /// Entries of rings that the kernel found wrong.
    pub invalid: AtomicU64,
}

fn read(figure: &AtomicU64) -> u64 {
    figure.load(Ordering::Relaxed)
}

impl Figures {
    /// Nothing counted yet, of a card with so many queues.
    pub fn of(name: impl Into<String>, mode: impl Into<String>, queues: usize) -> Self {
        Self {
            name: name.into(),
            mode: mode.into(),
            queues: (0..queues).map(|_| QueueFigures::default()).collect(),
            ..Self::default()
        }
    }

    /// The names of all in listings.
    pub const NAMES: [&'static str; 10] = [
        "fast_path_up",
        "fast_path_flows",
        "fast_path_received",
        "fast_path_sent",
        "fast_path_punted",
        "fast_path_dropped",
        "fast_path_full",
        "fast_path_refused",
        "fast_path_rerouted",
        "fast_path_batch_max",
    ];

    /// All, by their names.
    pub fn list(&self) -> [(&'static str, u64); 10] {
        let values = self.values();
        std::array::from_fn(|at| (Self::NAMES[at], values[at]))
    }

    /// All, in the order of their names.
    pub fn values(&self) -> [u64; 10] {
        [
            u64::from(self.ended.get().is_none()),
            self.flows(),
            read(&self.received),
            read(&self.sent),
            read(&self.punted),
            read(&self.dropped),
            read(&self.full),
            read(&self.refused),
            read(&self.rerouted),
            read(&self.batch_max),
        ]
    }

    /// All, for `voipctl relay`.
    pub fn row(&self) -> RelayDriverRow {
        let reasons = DropReason::ALL.iter().zip(&self.reasons);
        let mut drops: BTreeMap<String, u64> = reasons
            .map(|(reason, count)| (reason.name().to_owned(), read(count)))
            .collect();
        let unheard = read(&self.unheard);
        let overruns = read(&self.full).saturating_sub(unheard);
        drops.insert("ring_full".into(), overruns);
        drops.insert("worker_full".into(), unheard);
        drops.retain(|_, count| *count > 0);
        let queues = self.queues.iter().enumerate();
        RelayDriverRow {
            name: self.name.clone(),
            mode: self.mode.clone(),
            up: self.ended.get().is_none(),
            problem: self.ended().unwrap_or_default().to_owned(),
            flows: self.flows(),
            received: read(&self.received),
            sent: read(&self.sent),
            punted: read(&self.punted),
            refused: read(&self.refused),
            rerouted: read(&self.rerouted),
            batch_max: read(&self.batch_max),
            drops,
            queues: queues.map(|(number, queue)| queue.row(number)).collect(),
            ..RelayDriverRow::default()
        }
    }

    /// Of a queue.
    pub fn queue(&self, number: usize) -> Option<&QueueFigures> {
        self.queues.get(number)
    }

    /// Shows what a table counted since.
    pub(super) fn add_reasons(&self, before: &Totals, now: &Totals) {
        let counts = before.dropped.iter().zip(now.dropped);
        for (place, (before, now)) in self.reasons.iter().zip(counts) {
            Self::add(place, now.saturating_sub(*before));
        }
    }

    /// How many there are. Of threads that end with another one the last words may come late.
    fn flows(&self) -> u64 {
        match self.ended.get() {
            Some(_) => 0,
            None => read(&self.flows),
        }
    }

    /// The driver is gone: why, and what to do. Whether this is the first word of it: a thread that
    /// ends takes the others with it.
    pub(super) fn end(&self, text: String) -> bool {
        self.ended.set(text).is_ok()
    }

    /// Why there is no driver any more, with the remedy; `None` while it runs.
    pub fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }

    /// Adds to one of them.
    pub fn add(figure: &AtomicU64, count: u64) {
        if count > 0 {
            figure.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl QueueFigures {
    fn row(&self, number: usize) -> RelayQueueRow {
        RelayQueueRow {
            number: number as u32,
            received: read(&self.received),
            sent: read(&self.sent),
            overruns: read(&self.overruns),
            room: read(&self.room),
            sending: read(&self.sending),
            kernel_dropped: read(&self.kernel_dropped),
            ring_full: read(&self.ring_full),
            room_empty: read(&self.room_empty),
            invalid: read(&self.invalid),
        }
    }
}
