//! The flows of one driver thread, found by destination address and port.
//!
//! The index is an open-addressed table of 4 bytes a place, at most half full, so that few lines
//! of memory hold it and a cold look-up waits for the flow's own lines alone. Keys are addresses of
//! ours, so nobody outside can make them collide on purpose.

use super::flow::Flow;
use super::parse::Endpoint;
use super::spec::{DROP_REASONS, DropReason, FlowError, FlowSpec, FlowStats};
use std::net::SocketAddr;

/// The most flows of a table, whatever is asked for: a quarter of a gigabyte and more.
pub const FLOWS_MAX: usize = 1 << 20;

/// What became of all frames of a table.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Sent on.
    pub forwarded: u64,
    /// Handed to `media`.
    pub punted: u64,
    /// Handed to the operating system.
    pub host: u64,
    /// Dropped, by [`DropReason::index`].
    pub dropped: [u64; DROP_REASONS],
}

/// A place of the index: 0 if it is free, otherwise one more than the flow's place, and above it
/// the upper bits of its key's hash.
type Place = u32;

const FREE: Place = 0;
/// What [`FLOWS_MAX`] needs, plus one.
const NUMBER_BITS: u32 = 21;
const NUMBER_MASK: u32 = (1 << NUMBER_BITS) - 1;

/// The flows of one driver thread. Its memory is taken at the start.
#[derive(Debug)]
pub struct FlowTable {
    index: Vec<Place>,
    flows: Vec<Option<Flow>>,
    /// Free places of `flows`.
    free: Vec<u32>,
    pub(super) totals: Totals,
}

impl FlowTable {
    /// Room for so many flows, at least 1 and at most [`FLOWS_MAX`].
    pub fn new(flows_max: usize) -> Self {
        let flows_max = flows_max.clamp(1, FLOWS_MAX);
        let mut flows = Vec::new();
        flows.resize_with(flows_max, || None);
        Self {
            index: vec![FREE; (flows_max * 2).next_power_of_two()],
            flows,
            free: (0..flows_max as u32).rev().collect(),
            totals: Totals::default(),
        }
    }

    /// Makes a flow. One of the same key is replaced; what it counted goes on counting.
    pub fn install(&mut self, spec: FlowSpec) -> Result<(), FlowError> {
        let mut flow = Flow::new(spec)?;
        let key = flow.gate.destination();
        if let Some((_, number)) = self.seek(key) {
            let place = self.flows.get_mut(number);
            let place = place.ok_or(FlowError::Unknown)?;
            if let Some(old) = place.take() {
                flow.succeed(&old);
            }
            *place = Some(flow);
            return Ok(());
        }
        let number = self.free.pop().ok_or(FlowError::Full)?;
        let (mut at, tag) = self.home(key);
        // Half of the places are free, so this ends.
        while self.index[at] != FREE {
            at = self.after(at);
        }
        self.index[at] = tag | (number + 1);
        self.flows[number as usize] = Some(flow);
        Ok(())
    }

    /// Ends a flow; gives what it counted.
    pub fn remove(&mut self, destination: SocketAddr) -> Result<FlowStats, FlowError> {
        let key = Endpoint::new(destination);
        let (at, number) = self.seek(key).ok_or(FlowError::Unknown)?;
        self.close_gap(at);
        let flow = self.flows[number].take().ok_or(FlowError::Unknown)?;
        self.free.push(number as u32);
        Ok(flow.stats())
    }

    /// What a flow counted so far.
    pub fn stats(&self, destination: SocketAddr) -> Option<FlowStats> {
        let (_, number) = self.seek(Endpoint::new(destination))?;
        self.flows.get(number)?.as_ref().map(Flow::stats)
    }

    /// What became of all frames.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.flows.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there can be.
    pub fn capacity(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn find(&mut self, key: Endpoint) -> Option<&mut Flow> {
        let (_, number) = self.seek(key)?;
        self.flows.get_mut(number)?.as_mut()
    }

    pub(super) fn count_dropped(&mut self, reason: DropReason) {
        if let Some(count) = self.totals.dropped.get_mut(reason.index()) {
            *count += 1;
        }
    }

    pub(super) fn peek(&self, key: Endpoint) -> Option<&Flow> {
        let (at, _) = self.home(key);
        let number = (self.index.get(at)? & NUMBER_MASK).checked_sub(1)?;
        self.flows.get(number as usize)?.as_ref()
    }

    /// The places in the index and among the flows.
    fn seek(&self, key: Endpoint) -> Option<(usize, usize)> {
        let (mut at, tag) = self.home(key);
        loop {
            let place = *self.index.get(at)?;
            let number = (place & NUMBER_MASK).checked_sub(1)? as usize;
            if place & !NUMBER_MASK == tag {
                let flow = self.flows.get(number)?.as_ref()?;
                if flow.gate.destination() == key {
                    return Some((at, number));
                }
            }
            at = self.after(at);
        }
    }

    /// Moves back what a removed place had pushed on, so that no marks of the dead remain (Knuth,
    /// The Art of Computer Programming, volume 3, §6.4, algorithm R).
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.index.len() - 1;
        let mut at = self.after(gap);
        loop {
            let place = self.index[at];
            let number = (place & NUMBER_MASK).checked_sub(1);
            let flow = number.and_then(|number| self.flows.get(number as usize)?.as_ref());
            let Some(flow) = flow else { break };
            let (home, _) = self.home(flow.gate.destination());
            // Its way from home to here passes the gap.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.index[gap] = place;
                gap = at;
            }
            at = self.after(at);
        }
        self.index[gap] = FREE;
    }

    /// Where a key belongs, and its tag.
    fn home(&self, key: Endpoint) -> (usize, u32) {
        let folded = (key.address >> 64) as u64 ^ key.address as u64;
        let mixed = (folded ^ (u64::from(key.port) << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let home = (hash >> 32) as usize & (self.index.len() - 1);
        (home, (hash as u32) & !NUMBER_MASK)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.index.len() - 1)
    }
}
