//! A turn through all rings: what came goes where it belongs.

use super::memory::{Held, Ring};
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
    /// Of the dropped: the ring where they belonged was full.
    pub full: u64,
    /// Frames of the kernel's stack, sent by the card.
    pub from_host: u64,
}

/// The rings of one card and of the kernel behind it, in one memory region.
#[derive(Debug)]
pub struct Turn {
    /// To send by: the card's first.
    send: Vec<Ring>,
    /// To receive from: the card's first.
    receive: Vec<Ring>,
    /// How many of either are the kernel's.
    host: usize,
}

impl Turn {
    /// Of rings as [`Memory::rings`](super::Memory::rings) gives them, the last `host` of which are
    /// the kernel's. `None` without one of each kind.
    pub fn new((send, receive): (Vec<Ring>, Vec<Ring>), host: usize) -> Option<Self> {
        let enough = host > 0 && send.len() > host && receive.len() > host;
        enough.then_some(Self {
            send,
            receive,
            host,
        })
    }

    /// Carries frames, at most [`BATCH_MAX`] of each ring, and publishes all rings. `punt` takes
    /// frames for workers; whether it has room.
    pub fn take(
        &mut self,
        now: Instant,
        table: &mut FlowTable,
        punt: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Counts {
        let mut counts = Counts::default();
        let cards = self.receive.len() - self.host;
        for at in 0..cards {
            self.serve_card(at, (now, &mut *table), punt, &mut counts);
        }
        for at in cards..self.receive.len() {
            self.serve_host(at, &mut counts);
        }
        let rings = self.send.iter().chain(&self.receive);
        rings.for_each(Ring::publish);
        counts
    }

    /// Frames that the card received by one ring.
    fn serve_card(
        &mut self,
        at: usize,
        (now, table): (Instant, &mut FlowTable),
        punt: &mut dyn FnMut(&[u8]) -> bool,
        counts: &mut Counts,
    ) {
        let cards = self.send.len() - self.host;
        let (card, host) = self.send.split_at_mut(cards);
        // A flow stays in its ring, so that its packets keep their order.
        let (card_at, host_at) = (at % card.len(), at % host.len());
        let (Some(card), Some(host)) = (card.get_mut(card_at), host.get_mut(host_at)) else {
            return;
        };
        let Some(ring) = self.receive.get_mut(at) else {
            return;
        };
        let batch = ring.space().min(BATCH_MAX);
        for ahead in 0..batch {
            let held = ring.peek(ahead);
            let frame = ring
                .bytes(held)
                .and_then(|b| b.get(..usize::from(held.length)));
            if let Some(frame) = frame {
                prepare(frame, table);
            }
        }
        for _ in 0..batch {
            counts.received += 1;
            let held = ring.peek(0);
            let buffer = ring.bytes(held);
            let frame = buffer.and_then(|b| Frame::new(b, usize::from(held.length)));
            let Some(mut frame) = frame else {
                counts.dropped += 1;
                ring.advance();
                continue;
            };
            let verdict = process(&mut frame, table, now);
            let length = u16::try_from(frame.length()).unwrap_or(u16::MAX);
            let punted = matches!(verdict, Verdict::Punt) && punt(frame.bytes());
            let buffer = held.buffer;
            let (to, count) = match verdict {
                Verdict::Forward { .. } => (Some(&mut *card), &mut counts.sent),
                Verdict::Host => (Some(&mut *host), &mut counts.host),
                Verdict::Punt if punted => (None, &mut counts.punted),
                Verdict::Punt => {
                    counts.full += 1;
                    (None, &mut counts.dropped)
                }
                Verdict::Drop(_) => (None, &mut counts.dropped),
            };
            match to {
                Some(to) if to.space() > 0 => {
                    *count += 1;
                    let free = to.swap(Held { buffer, length });
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
        let cards = self.send.len() - self.host;
        let Some(card) = self.send.get_mut(at % cards) else {
            return;
        };
        let Some(ring) = self.receive.get_mut(at) else {
            return;
        };
        for _ in 0..ring.space().min(card.space()).min(BATCH_MAX) {
            let free = card.swap(ring.peek(0));
            ring.swap(free);
            counts.from_host += 1;
        }
    }
}
