//! The buffer between two clocks: units come by the one and are taken by the other. Where the
//! clocks differ it slips by whole units (ITU-T G.822 counts frames), and counts that.

use super::unit::Unit;
use std::collections::VecDeque;

/// What a taker got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// The oldest unit.
    Unit(Unit),
    /// The last one again: the other side is late. Counted.
    Repeated(Unit),
    /// Nothing: not enough came yet to begin with.
    Filling,
}

/// First in, first out, up to `depth` units. It begins to give when `start` of them wait, so that
/// the giver may be late by as much.
#[derive(Debug)]
pub struct ElasticQueue {
    units: VecDeque<Unit>,
    depth: usize,
    start: usize,
    /// The unit taken last; none while it fills.
    last: Option<Unit>,
    playing: bool,
    deleted: u64,
    repeated: u64,
}

impl ElasticQueue {
    /// An empty queue. At least one unit deep; `start` is 1 to `depth`.
    pub fn new(depth: usize, start: usize) -> Self {
        let depth = depth.max(1);
        Self {
            units: VecDeque::with_capacity(depth),
            depth,
            start: start.clamp(1, depth),
            last: None,
            playing: false,
            deleted: 0,
            repeated: 0,
        }
    }

    /// Appends a unit. A full queue loses its oldest: what is new is worth more.
    pub fn put(&mut self, unit: Unit) {
        if self.units.len() >= self.depth {
            self.units.pop_front();
            self.deleted += 1;
        }
        self.units.push_back(unit);
    }

    /// Takes the oldest unit.
    pub fn take(&mut self) -> Taken {
        if !self.playing && self.units.len() < self.start {
            return Taken::Filling;
        }
        self.playing = true;
        match (self.units.pop_front(), &self.last) {
            (Some(unit), _) => {
                self.last = Some(unit.clone());
                Taken::Unit(unit)
            }
            (None, Some(last)) => {
                self.repeated += 1;
                Taken::Repeated(last.clone())
            }
            // `playing` begins with a unit to take.
            (None, None) => Taken::Filling,
        }
    }

    /// Forgets the units and fills anew: the giver fell silent.
    pub fn refill(&mut self) {
        self.units.clear();
        self.last = None;
        self.playing = false;
    }

    /// Units inside.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether none is inside.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Units lost since the taker was late.
    pub fn deleted(&self) -> u64 {
        self.deleted
    }

    /// Units given twice since the giver was late.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }
}
