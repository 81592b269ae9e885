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
