//! Timers in a four-ary heap with back references: arming, moving and cancelling are logarithmic,
//! and a cancelled timer leaves nothing behind. Equal instants fire in the order of arming.

use super::instant::Instant;
use super::slab::{Key, Slab};

/// Names one armed timer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerId(Key);

#[derive(Clone, Copy, Debug)]
struct Node {
    at: Instant,
    order: u64,
    key: Key,
}

/// Timers that carry a `T` each.
#[derive(Debug)]
pub struct TimerTable<T> {
    heap: Vec<Node>,
    entries: Slab<(T, u32)>,
    order: u64,
}

impl<T> Default for TimerTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> TimerTable<T> {
    /// No timer armed. Bounded by its owner: one table entry owns a fixed number of timers.
    pub fn new() -> Self {
        Self {
            heap: Vec::new(),
            entries: Slab::new(u32::MAX as usize),
            order: 0,
        }
    }

    /// Arms a timer for `at`.
    pub fn arm(&mut self, at: Instant, what: T) -> TimerId {
        let slot = self.heap.len() as u32;
        let key = match self.entries.insert((what, slot)) {
            Ok(key) => key,
            Err(_) => unreachable!("more timers than u32 can count"),
        };
        self.order += 1;
        self.heap.push(Node {
            at,
            order: self.order,
            key,
        });
        self.rise(slot as usize);
        TimerId(key)
    }

    /// Disarms a timer; `None` if it fired or was disarmed before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let (what, slot) = self.entries.remove(id.0)?;
        self.take_out(slot as usize);
        Some(what)
    }

    /// When the next timer fires.
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|n| n.at)
    }

    /// Takes the next timer that is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<(TimerId, T)> {
        let first = *self.heap.first()?;
        if first.at > now {
            return None;
        }
        let (what, _) = self.entries.remove(first.key)?;
        self.take_out(0);
        Some((TimerId(first.key), what))
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none is armed.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    fn take_out(&mut self, slot: usize) {
        self.heap.swap_remove(slot);
        if slot < self.heap.len() {
            self.settle(slot);
            self.rise(slot);
            self.sink(slot);
        }
    }

    fn before(a: &Node, b: &Node) -> bool {
        (a.at, a.order) < (b.at, b.order)
    }

    fn settle(&mut self, slot: usize) {
        let key = self.heap[slot].key;
        if let Some((_, place)) = self.entries.get_mut(key) {
            *place = slot as u32;
        }
    }

    fn rise(&mut self, mut slot: usize) {
        while slot > 0 {
            let parent = (slot - 1) / 4;
            if !Self::before(&self.heap[slot], &self.heap[parent]) {
                break;
            }
            self.heap.swap(slot, parent);
            self.settle(slot);
            slot = parent;
        }
        self.settle(slot);
    }

    fn sink(&mut self, mut slot: usize) {
        loop {
            let first = slot * 4 + 1;
            let last = (first + 4).min(self.heap.len());
            let Some(least) = (first..last).reduce(|a, b| {
                if Self::before(&self.heap[b], &self.heap[a]) {
                    b
                } else {
                    a
                }
            }) else {
                break;
            };
            if !Self::before(&self.heap[least], &self.heap[slot]) {
                break;
            }
            self.heap.swap(slot, least);
            self.settle(slot);
            slot = least;
        }
        self.settle(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn fires_in_order_whatever_is_cancelled() {
        let mut rng = Rng::from_u64(11);
        for _ in 0..200 {
            let mut table = TimerTable::new();
            let mut model: Vec<(Instant, u64, TimerId)> = Vec::new();
            for n in 0..100 {
                let at = Instant::from_millis(1 + rng.below(50));
                let id = table.arm(at, n);
                model.push((at, n, id));
                if rng.chance(1, 3) {
                    let (_, n, id) = model.swap_remove(rng.below(model.len() as u64) as usize);
                    assert_eq!(table.cancel(id), Some(n));
                    assert_eq!(table.cancel(id), None);
                }
            }
            model.sort_by_key(|&(at, n, _)| (at, n));
            for (at, n, id) in model {
                assert_eq!(table.next(), Some(at));
                assert_eq!(table.pop_due(at - std::time::Duration::from_nanos(1)), None);
                assert_eq!(table.pop_due(at), Some((id, n)));
            }
            assert!(table.is_empty());
        }
    }
}
