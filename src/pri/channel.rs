//! An open timeslot: octets from the line, octets to it, each way bounded.

use super::unit::FRAMES;
use std::collections::VecDeque;

/// Why a timeslot's octets cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelError {
    /// Somebody has it.
    Open,
    /// Nobody opened it.
    Closed,
}

/// What was lost between the line's clock and the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ChannelCounters {
    /// Octets that came for a caller who did not read: the oldest are gone.
    pub deleted_octets: u64,
    /// Octets of idle that went out since a caller who had begun to write was late.
    pub idle_octets: u64,
}

/// Both ways of one timeslot.
#[derive(Debug)]
pub(super) struct Channel {
    received: VecDeque<u8>,
    to_send: VecDeque<u8>,
    octets_max: usize,
    idle: u8,
    wrote: bool,
    counters: ChannelCounters,
}

impl Channel {
    /// Room for `octets_max` each way, made up to whole units.
    pub(super) fn new(octets_max: usize, idle: u8) -> Self {
        let octets_max = octets_max.next_multiple_of(FRAMES).max(FRAMES);
        Self {
            received: VecDeque::with_capacity(octets_max),
            to_send: VecDeque::with_capacity(octets_max),
            octets_max,
            idle,
            wrote: false,
            counters: ChannelCounters::default(),
        }
    }

    /// The line's millisecond: eight octets in, eight out. Gives how many units' worth slipped.
    pub(super) fn exchange(&mut self, octets: [u8; FRAMES]) -> ([u8; FRAMES], Slipped) {
        let mut slipped = Slipped::default();
        if self.received.len() + FRAMES > self.octets_max {
            let gone = self.received.drain(..FRAMES.min(self.received.len()));
            self.counters.deleted_octets += gone.len() as u64;
            slipped.deleted = true;
        }
        self.received.extend(octets);
        let mut out = [self.idle; FRAMES];
        let ready = self.to_send.len().min(FRAMES);
        for (place, octet) in out.iter_mut().zip(self.to_send.drain(..ready)) {
            *place = octet;
        }
        if self.wrote && ready < FRAMES {
            self.counters.idle_octets += (FRAMES - ready) as u64;
            slipped.idle = true;
        }
        (out, slipped)
    }

    pub(super) fn receive(&mut self, out: &mut [u8]) -> usize {
        let count = out.len().min(self.received.len());
        for (place, octet) in out.iter_mut().zip(self.received.drain(..count)) {
            *place = octet;
        }
        count
    }

    pub(super) fn send(&mut self, octets: &[u8]) -> usize {
        let count = octets.len().min(self.room());
        self.to_send.extend(octets.iter().take(count));
        self.wrote |= count > 0;
        count
    }

    pub(super) fn available(&self) -> usize {
        self.received.len()
    }

    pub(super) fn room(&self) -> usize {
        self.octets_max - self.to_send.len()
    }

    pub(super) fn counters(&self) -> ChannelCounters {
        self.counters
    }
}

/// What slipped in one millisecond.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Slipped {
    pub(super) deleted: bool,
    pub(super) idle: bool,
}
