//! A turn through all rings: what came goes where it belongs.

use super::memory::{Held, Part, Ring, Rings};
use crate::base::Instant;
use crate::relay::frame::{FlowTable, Frame, Verdict, prepare, process};

/// The most frames of one ring in one turn: no ring waits longer for its own.
pub const BATCH_MAX: u32 = 64;

/// What a turn did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Frames that the card received.
    pub received: u64,
    /// Of these: sent on by the card.
    pub sent: u64,
    /// Of these: handed to the kernel's stack.
    pub host: u64,
    /// Of these: handed to a worker.
    pub punted: u64,
    /// Of these: went nowhere.
    pub dropped: u64,
    /// Of the dropped: the ring where they belonged, or the line to the worker, was full.
    pub full: u64,
    /// Of these: the line to the worker.
    pub unheard: u64,
    /// Frames of the kernel's stack, sent by the card.
    pub from_host: u64,
    /// Frames in several buffers, which went nowhere: of the card, where they are among the
    /// dropped, or of the stack.
    pub split: u64,
}

impl Counts {
    /// Whether anything moved.
    pub fn any(&self) -> bool {
        self.received + self.from_host + self.split > 0
    }

    /// Counts what a slot of the card's holds; whether it is part of a frame in several.
    fn passes_over(&mut self, part: Part) -> bool {
        let first = u64::from(part == Part::First);
        self.received += u64::from(part != Part::Further);
        self.split += first;
        self.dropped += first;
        part != Part::Whole
    }
}

impl Tally {
    /// What was counted in between.
    fn add(&mut self, before: &Counts, now: &Counts) {
        self.received += now.received - before.received;
        self.sent += now.sent - before.sent;
        self.full += now.full - before.full;
        self.full -= now.unheard - before.unheard;
    }
}

/// Who decides on frames, and takes those that are not passed on.
pub trait Worker {
    /// The flows.
    fn table(&mut self) -> &mut FlowTable;
    /// Takes a frame's datagram; whether there is room for it.
    fn punt(&mut self, frame: &[u8]) -> bool;
}

/// What one receiving ring of the card and the sending one beside it did, and hold now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Frames that came.
    pub received: u64,
    /// Frames sent on.
    pub sent: u64,
    /// Frames that found the ring where they belonged full.
    pub full: u64,
    /// Frames that the card may receive into.
    pub room: u32,
    /// Frames that are on their way out.
    pub sending: u32,
}

/// The rings of one card that one thread serves, and of the kernel behind it, in one memory region.
#[derive(Debug)]
pub struct Turn {
    rings: Rings,
    /// For each receiving ring of the card.
    tallies: Vec<Tally>,
}

impl Turn {
    /// Of these rings. `None` if the card has none of a kind, or the stack one kind alone. A stack
    /// without rings is that of a pipe: what is for it is handed to the worker.
    pub fn new(rings: Rings) -> Option<Self> {
        let card = !rings.send.is_empty() && !rings.receive.is_empty();
        let host = rings.host_send.is_empty() == rings.host_receive.is_empty();
        let tallies = vec![Tally::default(); rings.receive.len()];
        (card && host).then_some(Self { rings, tallies })
    }

    /// For each receiving ring of the card.
    pub fn tallies(&self) -> impl Iterator<Item = Tally> {
        let rings = self.tallies.iter().zip(&self.rings.receive).enumerate();
        rings.map(|(at, (tally, receive))| Tally {
            room: receive.away(),
            sending: self.rings.send.get(at).map_or(0, Ring::away),
            ..*tally
        })
    }

    /// The longest frame that fits all rings.
    pub fn frame_bytes_max(&self) -> usize {
        let rings = &self.rings;
        let all = [
            &rings.send,
            &rings.receive,
            &rings.host_send,
            &rings.host_receive,
        ];
        let bytes = all.into_iter().flatten().map(Ring::buffer_bytes);
        bytes.min().unwrap_or(0)
    }

    /// Goes on where the kernel says that each ring is.
    pub fn resume(&mut self) {
        let rings = &mut self.rings;
        let all = [
            &mut rings.send,
            &mut rings.receive,
            &mut rings.host_send,
            &mut rings.host_receive,
        ];
        all.into_iter().flatten().for_each(Ring::resume);
    }

    /// Whether a ring to the card is nearly full: has no room for `batch` frames. The kernel shows
    /// what the card is through with only when it synchronizes the ring, and poll(2) leaves a ring
    /// alone that has nothing new.
    pub fn is_short(&self, batch: u32) -> bool {
        self.rings.send.iter().any(|ring| ring.is_short(batch))
    }

    /// Whether frames of the stack wait for room at the card: poll(2) does not sleep over them.
    pub fn is_blocked(&self) -> bool {
        let cards = self.rings.send.len().max(1);
        let mut stack = self.rings.host_receive.iter().enumerate();
        stack.any(|(at, ring)| {
            let card = self.rings.send.get(at % cards);
            ring.space() > 0 && card.is_some_and(|card| card.space() == 0)
        })
    }

    /// Carries frames, at most [`BATCH_MAX`] of each ring, and publishes all rings.
    pub fn take(&mut self, now: Instant, worker: &mut dyn Worker) -> Counts {
        let mut counts = Counts::default();
        for at in 0..self.rings.receive.len() {
            let before = counts;
            self.serve_card(at, (now, &mut *worker), &mut counts);
            if let Some(tally) = self.tallies.get_mut(at) {
                tally.add(&before, &counts);
            }
        }
        for at in 0..self.rings.host_receive.len() {
            self.serve_host(at, &mut counts);
        }
        let Rings {
            send,
            host_send,
            receive,
            host_receive,
        } = &self.rings;
        for rings in [send, host_send, receive, host_receive] {
            rings.iter().for_each(Ring::publish);
        }
        counts
    }

    /// Frames that the card received by one ring.
    fn serve_card(
        &mut self,
        at: usize,
        (now, worker): (Instant, &mut dyn Worker),
        counts: &mut Counts,
    ) {
        let Rings {
            send,
            host_send,
            receive,
            ..
        } = &mut self.rings;
        // A flow stays in its ring, so that its packets keep their order.
        let card_at = at % send.len().max(1);
        let host_at = at % host_send.len().max(1);
        let (Some(card), Some(ring)) = (send.get_mut(card_at), receive.get_mut(at)) else {
            return;
        };
        let mut host = host_send.get_mut(host_at);
        let batch = ring.space().min(BATCH_MAX);
        fetch(ring, batch, worker.table());
        for _ in 0..batch {
            let held = ring.peek(0);
            if counts.passes_over(ring.part(held)) {
                ring.advance();
                continue;
            }
            let buffer = ring.bytes(held);
            let frame = buffer.and_then(|b| Frame::new(b, usize::from(held.length)));
            let Some(mut frame) = frame else {
                counts.dropped += 1;
                ring.advance();
                continue;
            };
            let verdict = process(&mut frame, worker.table(), now);
            let length = u16::try_from(frame.length()).unwrap_or(u16::MAX);
            let verdict = match verdict {
                Verdict::Host if host.is_none() => Verdict::Punt,
                verdict => verdict,
            };
            let punted = matches!(verdict, Verdict::Punt) && worker.punt(frame.bytes());
            let (to, count) = match verdict {
                Verdict::Forward { .. } => (Some(&mut *card), &mut counts.sent),
                Verdict::Host => (host.as_deref_mut(), &mut counts.host),
                Verdict::Punt if punted => (None, &mut counts.punted),
                Verdict::Punt => {
                    counts.unheard += 1;
                    counts.full += 1;
                    (None, &mut counts.dropped)
                }
                Verdict::Drop(_) => (None, &mut counts.dropped),
            };
            match to {
                Some(to) if to.space() > 0 => {
                    *count += 1;
                    let free = to.swap(Held { length, ..held });
                    ring.swap(free);
                }
                Some(_) => {
                    counts.full += 1;
                    counts.dropped += 1;
                    ring.advance();
                }
                None => {
                    *count += 1;
                    ring.advance();
                }
            }
        }
    }

    /// Frames of the kernel's stack: what finds no room waits, as it does at a card.
    fn serve_host(&mut self, at: usize, counts: &mut Counts) {
        let Rings {
            send, host_receive, ..
        } = &mut self.rings;
        let card_at = at % send.len().max(1);
        let (Some(card), Some(ring)) = (send.get_mut(card_at), host_receive.get_mut(at)) else {
            return;
        };
        for _ in 0..ring.space().min(card.space()).min(BATCH_MAX) {
            let held = ring.peek(0);
            let part = ring.part(held);
            if part != Part::Whole {
                counts.split += u64::from(part == Part::First);
                ring.advance();
                continue;
            }
            let free = card.swap(held);
            ring.swap(free);
            counts.from_host += 1;
        }
    }
}

/// Begins to fetch what the frames of a batch need.
fn fetch(ring: &mut Ring, batch: u32, table: &FlowTable) {
    for ahead in 0..batch {
        let held = ring.peek(ahead);
        let buffer = ring.bytes(held);
        if let Some(frame) = buffer.and_then(|b| b.get(..usize::from(held.length))) {
            prepare(frame, table);
        }
    }
}
