//! Pairs of ports, an even one for RTP and the odd one above it for RTCP (RFC 3550 §11).

use std::collections::VecDeque;

/// The pairs that one shard hands out. Deterministic: the longest unused pair comes first, so a
/// released pair rests for as long as the others last, and late packets of its old call die out.
#[derive(Clone, Debug)]
pub struct PortPool {
    free: VecDeque<u16>,
    /// One entry per pair of this share, by [`PortPool::place`].
    states: Vec<State>,
    first: u16,
    shards: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    Taken,
    /// Taken by another process: not handed out again.
    Bad,
}

impl PortPool {
    /// The share of shard `shard` of `shards` in the ports `first..=last`. Pairs that do not fit
    /// whole are left out.
    pub fn new(first: u16, last: u16, shard: usize, shards: usize) -> Self {
        let shards = shards.clamp(1, usize::from(u16::MAX)) as u16;
        let shard = (shard % usize::from(shards)) as u32;
        let even = u32::from(first.max(1)).next_multiple_of(2);
        let start = even + 2 * shard;
        let step = 2 * usize::from(shards);
        let free: VecDeque<u16> = (start..u32::from(last))
            .step_by(step)
            .map(|port| port as u16)
            .collect();
        Self {
            states: vec![State::Free; free.len()],
            free,
            first: start.min(u32::from(u16::MAX)) as u16,
            shards,
        }
    }

    /// Without the pairs of these ports, which something else holds. Others' are ignored.
    pub fn without(mut self, held: &[u16]) -> Self {
        for &port in held {
            self.mark_bad(port);
        }
        self
    }

    /// Takes a pair and gives its even port; `None` when all are taken.
    pub fn allocate(&mut self) -> Option<u16> {
        let port = self.free.pop_front()?;
        if let Some(place) = self.place(port) {
            self.states[place] = State::Taken;
        }
        Some(port)
    }

    /// Gives back the pair of `port`, either of the two. Ports that are not taken are ignored.
    pub fn release(&mut self, port: u16) {
        let port = port & !1;
        if let Some(place) = self.place(port)
            && self.states[place] == State::Taken
        {
            self.states[place] = State::Free;
            self.free.push_back(port);
        }
    }

    /// Never hands out the pair of `port` again, because something else holds it.
    pub fn mark_bad(&mut self, port: u16) {
        let port = port & !1;
        if let Some(place) = self.place(port) {
            if self.states[place] == State::Free {
                self.free.retain(|free| *free != port);
            }
            self.states[place] = State::Bad;
        }
    }

    /// How many pairs are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// How many pairs there are, bad ones included.
    pub fn total(&self) -> usize {
        self.states.len()
    }

    /// How many pairs are marked bad.
    pub fn bad(&self) -> usize {
        self.states.iter().filter(|s| **s == State::Bad).count()
    }

    fn place(&self, even: u16) -> Option<usize> {
        let offset = even.checked_sub(self.first)? / 2;
        let place = usize::from(offset / self.shards);
        (offset % self.shards == 0 && place < self.states.len()).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn drain(pool: &mut PortPool) -> Vec<u16> {
        std::iter::from_fn(|| pool.allocate()).collect()
    }

    #[test]
    fn pairs_are_even_and_whole() {
        assert_eq!(
            drain(&mut PortPool::new(16385, 16391, 0, 1)),
            [16386, 16388, 16390]
        );
        assert_eq!(drain(&mut PortPool::new(16384, 16386, 0, 1)), [16384]);
        assert_eq!(
            drain(&mut PortPool::new(65530, 65535, 0, 1)),
            [65530, 65532, 65534]
        );
        assert_eq!(drain(&mut PortPool::new(0, 3, 0, 1)), [2]);
        assert_eq!(drain(&mut PortPool::new(9, 3, 0, 1)), [0u16; 0]);
    }

    #[test]
    fn shards_share_the_range_without_overlap() {
        let mut all = BTreeSet::new();
        for shard in 0..3 {
            let ports = drain(&mut PortPool::new(10_000, 10_099, shard, 3));
            assert!((16..=17).contains(&ports.len()));
            assert!(ports.into_iter().all(|port| all.insert(port)));
        }
        assert_eq!(all.len(), 50);
    }

    #[test]
    fn a_released_pair_rests_as_long_as_there_are_others() {
        let mut pool = PortPool::new(10_000, 10_007, 0, 1);
        let first = pool.allocate().unwrap();
        pool.release(first + 1);
        pool.release(first);
        assert_eq!(pool.free(), 4);
        let next: Vec<u16> = drain(&mut pool);
        assert_eq!(next, [10_002, 10_004, 10_006, 10_000]);
        assert_eq!(pool.allocate(), None);
    }

    #[test]
    fn bad_pairs_do_not_come_back() {
        let mut pool = PortPool::new(10_000, 10_005, 0, 1);
        let taken = pool.allocate().unwrap();
        pool.mark_bad(taken + 1);
        pool.release(taken);
        pool.mark_bad(10_004);
        pool.mark_bad(9_998);
        pool.mark_bad(60_000);
        pool.release(60_000);
        assert_eq!((pool.free(), pool.bad(), pool.total()), (1, 2, 3));
        assert_eq!(drain(&mut pool), [10_002]);
    }
}
