//! Alarms of a line, as e1shim(4) names them; the rules by which they begin and end are told in
//! kmod/e1shim/g704.h (G.706, G.732, G.775).

use std::fmt;

/// One kind of alarm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Alarm {
    /// Loss of signal: nothing comes.
    Los,
    /// Alarm indication signal: the far equipment sends all ones.
    Ais,
    /// Remote alarm indication: the far end does not hear us.
    Rai,
    /// Loss of frame alignment.
    Lfa,
    /// Loss of CRC-4 multiframe alignment.
    Lmfa,
}

impl Alarm {
    /// In the order of their bits.
    pub const ALL: [Alarm; 5] = [Alarm::Los, Alarm::Ais, Alarm::Rai, Alarm::Lfa, Alarm::Lmfa];

    const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// In capitals, as in the recommendations.
    pub const fn name(self) -> &'static str {
        match self {
            Alarm::Los => "LOS",
            Alarm::Ais => "AIS",
            Alarm::Rai => "RAI",
            Alarm::Lfa => "LFA",
            Alarm::Lmfa => "LMFA",
        }
    }
}

/// A set of alarms; its bits are those of E1_ALARM_* in e1shim.h.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Alarms(u32);

impl Alarms {
    /// None.
    pub const NONE: Alarms = Alarms(0);

    /// Unknown bits are left out: what a later module adds must not look like an alarm of today.
    pub fn from_bits(bits: u32) -> Self {
        Self(Alarm::ALL.iter().map(|a| a.bit() & bits).sum())
    }

    /// As E1_ALARM_*.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is among them.
    pub const fn contains(self, alarm: Alarm) -> bool {
        self.0 & alarm.bit() != 0
    }

    /// With this one, too, if `on`.
    #[must_use]
    pub const fn with(self, alarm: Alarm, on: bool) -> Self {
        match on {
            true => Self(self.0 | alarm.bit()),
            false => self,
        }
    }

    /// Those of both.
    #[must_use]
    pub const fn union(self, other: Alarms) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of one, but not of the other.
    #[must_use]
    pub const fn changed(self, other: Alarms) -> Self {
        Self(self.0 ^ other.0)
    }

    /// In the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Alarm> {
        Alarm::ALL.into_iter().filter(move |a| self.contains(*a))
    }
}

impl From<Alarm> for Alarms {
    fn from(alarm: Alarm) -> Self {
        Self(alarm.bit())
    }
}

impl fmt::Display for Alarms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (i, alarm) in self.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{}", alarm.name())?;
        }
        Ok(())
    }
}
