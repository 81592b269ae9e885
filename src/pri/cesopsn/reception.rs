//! The receiving half: jitter buffer, sequence, and the three states of RFC 5086 §6.2.2.

use super::settings::SessionSettings;
use crate::base::Instant;
use crate::wire::cesopsn::{Attachment, Packet};

/// What is counted on the way in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReceptionCounters {
    /// Packets that never came, or too late, by their sequence numbers.
    pub lost: u64,
    /// Packets that came after their time; also duplicates of what was played.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Packets that came after a later one, and in time.
    pub reordered: u64,
    /// Packets thrown away since the buffer was full: the far end's clock is faster.
    pub overrun: u64,
    /// Packet times without any packet that were no loss: the far end's clock is slower.
    pub underrun: u64,
    /// Packets far from the sequence, or from another sender.
    pub stray: u64,
    /// Packets given up while the buffer filled.
    pub discarded: u64,
    /// Times that the packet loss state began.
    pub losses: u64,
}

/// Where the receiving half is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Intermediate {
        until: Instant,
    },
    Normal {
        /// Packets in a row that were not there at their time.
        missing: u16,
        /// Of these, how many while nothing waited: `next` stands still then.
        stalled: u16,
    },
    PacketLoss,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    filled: bool,
    attachment: Attachment,
    packet_loss: bool,
    payload: Vec<u8>,
}

/// What a packet that is played says beside its octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Said {
    pub(super) attachment: Attachment,
    pub(super) packet_loss: bool,
}

#[derive(Debug)]
pub(super) struct Reception {
    start: usize,
    recover_after: usize,
    loss_after: u16,
    state: State,
    /// By sequence number modulo the capacity.
    slots: Vec<Slot>,
    filled: usize,
    /// Sequence number to be played next; none until a packet came.
    next: Option<u16>,
    newest: u16,
    counters: ReceptionCounters,
}

impl Reception {
    pub(super) fn new(settings: &SessionSettings, now: Instant) -> Self {
        Self {
            start: settings.start(),
            recover_after: usize::from(settings.recover_after),
            loss_after: settings.loss_after,
            state: State::Intermediate {
                until: now + settings.intermediate,
            },
            slots: vec![Slot::default(); settings.capacity()],
            filled: 0,
            next: None,
            newest: 0,
            counters: ReceptionCounters::default(),
        }
    }

    pub(super) fn counters(&self) -> ReceptionCounters {
        self.counters
    }

    pub(super) fn in_loss(&self) -> bool {
        self.state == State::PacketLoss
    }

    /// Packets that wait.
    pub(super) fn waiting(&self) -> usize {
        self.filled
    }

    pub(super) fn count_stray(&mut self) {
        self.counters.stray += 1;
    }

    /// Keeps a packet of the right size.
    pub(super) fn accept(&mut self, packet: &Packet<'_>) {
        match self.state {
            State::Normal { stalled, .. } => self.on_normal(packet, stalled),
            State::Intermediate { .. } | State::PacketLoss => self.on_filling(packet),
        }
    }

    /// A packet's time has come: its octets, in exchange for those played before, or nothing.
    pub(super) fn take(&mut self, now: Instant, payload: &mut Vec<u8>) -> Option<Said> {
        match self.state {
            State::Intermediate { until } if until <= now => {
                self.lose();
                None
            }
            State::Intermediate { .. } | State::PacketLoss => None,
            State::Normal { missing, stalled } => self.play(missing, stalled, payload),
        }
    }

    // ------------------------------------------------------------ filling

    fn on_filling(&mut self, packet: &Packet<'_>) {
        let sequence = packet.sequence;
        let base = *self.next.get_or_insert(sequence);
        let ahead = distance(sequence, base);
        if ahead < 0 {
            self.begin_earlier(sequence, ahead);
        } else if ahead as usize >= self.slots.len() {
            self.begin_at(sequence);
        }
        self.insert(packet);
        let wanted = match self.state {
            State::PacketLoss => self.start.max(self.recover_after),
            State::Intermediate { .. } | State::Normal { .. } => self.start,
        };
        if self.run() < wanted {
            self.skip_hole(wanted);
        }
        if self.run() >= wanted {
            self.state = State::Normal {
                missing: 0,
                stalled: 0,
            };
        }
    }

    /// The first packets may come in any order: the first one to be played is the lowest.
    fn begin_earlier(&mut self, sequence: u16, ahead: i32) {
        let span = distance(self.newest, sequence);
        match ahead > -(self.slots.len() as i32) && span < self.slots.len() as i32 {
            true => self.next = Some(sequence),
            false => self.begin_at(sequence),
        }
    }

    fn begin_at(&mut self, sequence: u16) {
        self.counters.discarded += self.filled as u64;
        self.clear();
        self.next = Some(sequence);
    }

    /// Packets in a row from the first.
    fn run(&self) -> usize {
        let Some(base) = self.next else { return 0 };
        (0..self.slots.len())
            .take_while(|&n| self.slots[self.place(base.wrapping_add(n as u16))].filled)
            .count()
    }

    /// What is missing when `wanted` packets came behind it was lost: the row begins behind it.
    fn skip_hole(&mut self, wanted: usize) {
        let Some(mut base) = self.next else { return };
        let run = self.run();
        if distance(self.newest, base) < (run + wanted) as i32 {
            return;
        }
        for _ in 0..run {
            self.forget(base);
            self.counters.discarded += 1;
            base = base.wrapping_add(1);
        }
        while !self.slots[self.place(base)].filled && base != self.newest {
            base = base.wrapping_add(1);
        }
        self.next = Some(base);
    }

    // ------------------------------------------------------------ playing

    fn on_normal(&mut self, packet: &Packet<'_>, stalled: u16) {
        let Some(next) = self.next else { return };
        let ahead = distance(packet.sequence, next);
        let capacity = self.slots.len() as i32;
        if ahead < 0 {
            self.counters.late += 1;
            return;
        }
        if ahead >= 2 * capacity {
            self.counters.stray += 1;
            return;
        }
        if stalled > 0 {
            self.end_stall(stalled, ahead);
        }
        let ahead = distance(packet.sequence, self.next.unwrap_or(next));
        for _ in capacity..=ahead {
            self.drop_oldest();
        }
        self.insert(packet);
    }

    /// Packets that are missing now were replaced while nothing waited; what was replaced beyond
    /// them made the delay longer.
    fn end_stall(&mut self, stalled: u16, ahead: i32) {
        let lost = i32::from(stalled).min(ahead);
        self.next = self.next.map(|next| next.wrapping_add(lost as u16));
        self.counters.lost += lost as u64;
        self.counters.underrun += (i32::from(stalled) - lost) as u64;
        if let State::Normal { stalled, .. } = &mut self.state {
            *stalled = 0;
        }
    }

    fn drop_oldest(&mut self) {
        let Some(next) = self.next else { return };
        match self.forget(next) {
            true => self.counters.overrun += 1,
            false => self.counters.lost += 1,
        }
        self.next = Some(next.wrapping_add(1));
    }

    fn play(&mut self, missing: u16, stalled: u16, payload: &mut Vec<u8>) -> Option<Said> {
        let next = self.next?;
        let place = self.place(next);
        if self.slots[place].filled {
            let slot = &mut self.slots[place];
            std::mem::swap(payload, &mut slot.payload);
            let said = Said {
                attachment: slot.attachment,
                packet_loss: slot.packet_loss,
            };
            self.forget(next);
            self.next = Some(next.wrapping_add(1));
            self.state = State::Normal {
                missing: 0,
                stalled: 0,
            };
            return Some(said);
        }
        let missing = missing + 1;
        let mut stalled = stalled;
        if self.filled > 0 {
            self.counters.lost += 1;
            self.next = Some(next.wrapping_add(1));
        } else {
            stalled += 1;
        }
        self.state = State::Normal { missing, stalled };
        if missing >= self.loss_after {
            self.lose();
        }
        None
    }

    fn lose(&mut self) {
        self.counters.losses += 1;
        self.counters.discarded += self.filled as u64;
        self.clear();
        self.state = State::PacketLoss;
    }

    // ------------------------------------------------------------ the buffer

    fn place(&self, sequence: u16) -> usize {
        usize::from(sequence) & (self.slots.len() - 1)
    }

    fn insert(&mut self, packet: &Packet<'_>) {
        let place = self.place(packet.sequence);
        let slot = &mut self.slots[place];
        if slot.filled {
            self.counters.duplicate += 1;
            return;
        }
        slot.filled = true;
        slot.attachment = packet.attachment;
        slot.packet_loss = packet.packet_loss;
        slot.payload.clear();
        slot.payload.extend_from_slice(packet.payload);
        self.filled += 1;
        if self.filled > 1 && distance(packet.sequence, self.newest) < 0 {
            self.counters.reordered += 1;
        } else {
            self.newest = packet.sequence;
        }
    }

    /// Whether there was one.
    fn forget(&mut self, sequence: u16) -> bool {
        let place = self.place(sequence);
        let was = std::mem::take(&mut self.slots[place].filled);
        self.filled -= usize::from(was);
        was
    }

    fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.filled = false;
        }
        self.filled = 0;
        self.next = None;
    }
}

/// How far `sequence` is ahead of `base`, by the shorter way round.
fn distance(sequence: u16, base: u16) -> i32 {
    i32::from(sequence.wrapping_sub(base) as i16)
}
