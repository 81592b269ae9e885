//! When transactions want to be woken: one live entry per transaction.
//!
//! Nearly every delay of RFC 3261 §17 is one of a few constants (T1, 2 T1, 4 T1, T2, T4, 64 T1,
//! 200 ms). Entries of one delay wait in a line of their own: what is armed later fires later, so
//! arming is an append and firing takes the front, without a heap's walk through memory. Other
//! delays go to a heap. Nothing is cancelled: whoever is woken compares the instant with the one
//! that the transaction wants, and an entry that was overtaken is passed over.

use crate::base::{Instant, Key};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// Which table the key is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Side {
    Server,
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Entry {
    pub(super) at: Instant,
    pub(super) side: Side,
    pub(super) key: Key,
}

#[derive(Debug)]
struct Line {
    delay: Duration,
    entries: VecDeque<Entry>,
}

/// Bounded by the transactions: each arms at most one entry per step it takes, and an entry lives
/// at most 64 T1.
#[derive(Debug)]
pub(super) struct Timers {
    lines: Vec<Line>,
    odd: BinaryHeap<Reverse<Entry>>,
}

impl Timers {
    pub(super) fn new(delays: &[Duration]) -> Self {
        let mut lines: Vec<Line> = Vec::new();
        for &delay in delays {
            if lines.iter().all(|line| line.delay != delay) {
                lines.push(Line {
                    delay,
                    entries: VecDeque::new(),
                });
            }
        }
        Self {
            lines,
            odd: BinaryHeap::new(),
        }
    }

    pub(super) fn arm(&mut self, now: Instant, delay: Duration, side: Side, key: Key) -> Instant {
        let at = now + delay;
        let entry = Entry { at, side, key };
        if let Some(line) = self.lines.iter_mut().find(|line| line.delay == delay)
            && line.entries.back().is_none_or(|last| last.at <= at)
        {
            line.entries.push_back(entry);
        } else {
            self.odd.push(Reverse(entry));
        }
        at
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.lines
            .iter()
            .filter_map(|line| line.entries.front())
            .chain(self.odd.peek().map(|Reverse(entry)| entry))
            .map(|entry| entry.at)
            .min()
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Entry> {
        let line = self
            .lines
            .iter_mut()
            .filter(|line| !line.entries.is_empty())
            .min_by_key(|line| line.entries.front().map(|entry| entry.at));
        let in_line = line.as_ref().and_then(|line| line.entries.front().copied());
        let odd = self.odd.peek().map(|Reverse(entry)| *entry);
        match (in_line, odd) {
            (Some(first), odd)
                if first.at <= now && odd.is_none_or(|other| first.at <= other.at) =>
            {
                line.and_then(|line| line.entries.pop_front())
            }
            (_, Some(other)) if other.at <= now => self.odd.pop().map(|Reverse(entry)| entry),
            _ => None,
        }
    }

    /// How many entries wait, overtaken ones included.
    pub(super) fn len(&self) -> usize {
        self.lines
            .iter()
            .map(|line| line.entries.len())
            .sum::<usize>()
            + self.odd.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Rng, Slab};

    #[test]
    fn fires_in_order_of_time() {
        let mut slab = Slab::new(1);
        let key = slab.insert(()).unwrap();
        let ms = Duration::from_millis;
        let mut rng = Rng::from_u64(3);
        for _ in 0..50 {
            let mut timers = Timers::new(&[ms(500), ms(1000), ms(32_000)]);
            let mut expected = Vec::new();
            let mut now = Instant::from_millis(0);
            for _ in 0..200 {
                now += ms(rng.below(300));
                let delay = [500, 1000, 32_000, 77, 4321][rng.below(5) as usize];
                expected.push(timers.arm(now, ms(delay), Side::Client, key));
            }
            expected.sort();
            assert_eq!(timers.len(), 200);
            for at in expected {
                assert_eq!(timers.next(), Some(at));
                assert_eq!(timers.pop_due(at - ms(1)), None);
                assert_eq!(timers.pop_due(at).map(|entry| entry.at), Some(at));
            }
            assert_eq!(timers.next(), None);
        }
    }
}
