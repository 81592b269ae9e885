//! A unit: one millisecond of one direction, 8 frames of 32 timeslots (ITU-T G.704 §2.3), frame by
//! frame, timeslot 0 first, as e1shim(4) reads and writes it.

use std::fmt;

/// Frames of 125 microseconds in a unit.
pub const FRAMES: usize = 8;

/// Timeslots in a frame.
pub const TIMESLOTS: usize = 32;

/// Bytes of a unit.
pub const UNIT_BYTES: usize = FRAMES * TIMESLOTS;

/// One of the 32 timeslots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timeslot(u8);

impl Timeslot {
    /// Frame alignment, alarms and Sa bits.
    pub const FRAMING: Timeslot = Timeslot(0);
    /// The D channel of a primary rate access (ITU-T I.431 §4.7).
    pub const D_CHANNEL: Timeslot = Timeslot(16);

    /// `None` from 32 on.
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < TIMESLOTS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// 0 to 31.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// 0 to 31.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Timeslot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of timeslots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Timeslots(u32);

impl Timeslots {
    /// All but timeslot 0.
    pub const BEARING: Timeslots = Timeslots(0xffff_fffe);
    /// All, for a line that is not framed.
    pub const ALL: Timeslots = Timeslots(0xffff_ffff);

    /// Bit N stands for timeslot N.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Bit N stands for timeslot N.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// How many.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is one of them.
    pub const fn contains(self, timeslot: Timeslot) -> bool {
        self.0 & (1 << timeslot.0) != 0
    }

    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = Timeslot> {
        (0..TIMESLOTS as u8)
            .map(Timeslot)
            .filter(move |t| self.contains(*t))
    }
}

impl FromIterator<Timeslot> for Timeslots {
    fn from_iter<I: IntoIterator<Item = Timeslot>>(timeslots: I) -> Self {
        let bits = timeslots.into_iter().fold(0, |bits, t| bits | (1 << t.0));
        Self(bits)
    }
}

/// One millisecond of one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct Unit([u8; UNIT_BYTES]);

impl Unit {
    /// Every octet the same.
    pub const fn filled(octet: u8) -> Self {
        Self([octet; UNIT_BYTES])
    }

    /// Takes over the bytes as they come from the line.
    pub const fn new(bytes: [u8; UNIT_BYTES]) -> Self {
        Self(bytes)
    }

    /// `None` unless there are 256 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As they go to the line.
    pub const fn bytes(&self) -> &[u8; UNIT_BYTES] {
        &self.0
    }

    /// The eight octets of a timeslot, in the order of the frames.
    pub fn timeslot(&self, timeslot: Timeslot) -> [u8; FRAMES] {
        std::array::from_fn(|frame| self.0[frame * TIMESLOTS + timeslot.index()])
    }

    /// Puts the eight octets of a timeslot.
    pub fn set_timeslot(&mut self, timeslot: Timeslot, octets: [u8; FRAMES]) {
        for (frame, octet) in octets.into_iter().enumerate() {
            self.0[frame * TIMESLOTS + timeslot.index()] = octet;
        }
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unit({:02x?}...)", &self.0[..8])
    }
}
