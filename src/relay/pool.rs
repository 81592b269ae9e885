//! Pairs of ports, an even one for RTP and the odd one above it for RTCP (RFC 3550 §11).

use std::collections::{BTreeSet, VecDeque};

/// How often all others are handed out before a pair that was bad is tried again, at first; twice
/// as often each time that it is bad still, for a call is lost by it.
const ROUNDS: u64 = 16;
/// The most doublings.
const DOUBLINGS_MAX: u8 = 8;

/// The pairs that one shard hands out. Deterministic: the longest unused pair comes first, so a
/// released pair rests for as long as the others last, and late packets of its old call die out.
#[derive(Clone, Debug)]
pub struct PortPool {
    free: VecDeque<u16>,
    /// One entry per pair of this share, by [`PortPool::place`].
    states: Vec<State>,
    /// How often each was bad since it last served a call.
    strikes: Vec<u8>,
    /// Pairs that are bad, by the count of pairs handed out at which they are tried again.
    bad: BTreeSet<(u64, u16)>,
    /// How many were asked for.
    given: u64,
    first: u16,
    shards: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    Taken,
    /// Taken by another process: not handed out for long.
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
            strikes: vec![0; free.len()],
            bad: BTreeSet::new(),
            given: 0,
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
        self.try_again();
        // Who gets none counts too: all might be bad.
        self.given += 1;
        let port = self.free.pop_front()?;
        if let Some(place) = self.place(port) {
            self.states[place] = State::Taken;
        }
        Some(port)
    }

    /// Pairs that were bad long enough are the last ones that are free.
    fn try_again(&mut self) {
        while let Some(&(at, port)) = self.bad.first()
            && at <= self.given
        {
            self.bad.pop_first();
            if let Some(place) = self.place(port) {
                self.states[place] = State::Free;
                self.free.push_back(port);
            }
        }
    }

    /// Gives back the pair of `port`, either of the two, after a call. Ports that are not taken are
    /// ignored.
    pub fn release(&mut self, port: u16) {
        let port = port & !1;
        if let Some(place) = self.place(port)
            && self.states[place] == State::Taken
        {
            self.states[place] = State::Free;
            self.strikes[place] = 0;
            self.free.push_back(port);
        }
    }

    /// Does not hand out the pair of `port` for long, because something else holds it.
    pub fn mark_bad(&mut self, port: u16) {
        let port = port & !1;
        let Some(place) = self.place(port) else {
            return;
        };
        match self.states[place] {
            State::Bad => return,
            State::Free => self.free.retain(|free| *free != port),
            State::Taken => {}
        }
        self.states[place] = State::Bad;
        let rounds = ROUNDS << self.strikes[place].min(DOUBLINGS_MAX);
        self.strikes[place] = self.strikes[place].saturating_add(1);
        let rest = rounds * self.states.len() as u64;
        self.bad.insert((self.given + rest, port));
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
        self.bad.len()
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
    fn bad_pairs_rest_long_and_longer_each_time() {
        let mut pool = PortPool::new(10_000, 10_005, 0, 1).without(&[10_003]);
        // How many others were handed out before it was.
        let rest = |pool: &mut PortPool| {
            let mut others = 0;
            loop {
                match pool.allocate().unwrap() {
                    10_002 => return others,
                    port => pool.release(port),
                }
                others += 1;
            }
        };
        // In the queue the other two are before it.
        let rested = |rounds: u64| 3 * rounds + 2;
        assert_eq!(rest(&mut pool), rested(ROUNDS));
        for doubled in 1..12 {
            pool.mark_bad(10_002);
            pool.mark_bad(10_003);
            assert_eq!((pool.bad(), pool.free()), (1, 2));
            assert_eq!(rest(&mut pool), rested(ROUNDS << doubled.min(8)));
        }
        // It served a call: the next time is the first one again.
        pool.release(10_002);
        pool.mark_bad(10_002);
        assert_eq!(rest(&mut pool), rested(ROUNDS));
        // If all are bad, those who get none bring them back.
        for port in [10_000, 10_002, 10_004] {
            pool.mark_bad(port);
        }
        let refused = (0..1000).take_while(|_| pool.allocate().is_none());
        assert_eq!(refused.count(), 48);
    }

    #[test]
    fn bad_pairs_do_not_come_back_by_release() {
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
