//! How sound is written on the wire: the encodings that we write and read (RFC 3551 §4.5, §6).

use serde::{Deserialize, Serialize};

/// One encoding, at its one clock and with one channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Coding {
    /// G.711 A-law.
    Pcma,
    /// G.711 mu-law.
    Pcmu,
    /// G.722 at 64 kbit/s. Its clock is half its sampling rate (RFC 3551 §4.5.2).
    G722,
    /// GSM 06.10.
    Gsm,
}

impl Coding {
    /// All of them, those first that we would rather have.
    pub const ALL: &'static [Coding] = &[Coding::Pcma, Coding::Pcmu, Coding::G722, Coding::Gsm];

    /// The encoding name of `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Coding::Pcma => "PCMA",
            Coding::Pcmu => "PCMU",
            Coding::G722 => "G722",
            Coding::Gsm => "GSM",
        }
    }

    /// The static payload type.
    pub const fn payload_type(self) -> u8 {
        match self {
            Coding::Pcma => 8,
            Coding::Pcmu => 0,
            Coding::G722 => 9,
            Coding::Gsm => 3,
        }
    }

    /// The clock of RTP timestamps in Hz.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Coding::Pcma | Coding::Pcmu | Coding::G722 | Coding::Gsm => 8_000,
        }
    }

    /// The encoding of an encoding name and a clock; names know no case (RFC 8866 §6.6).
    pub fn named(name: &[u8], clock_rate: u32) -> Option<Self> {
        let fits = |c: &&Coding| {
            name.eq_ignore_ascii_case(c.name().as_bytes()) && clock_rate == c.clock_rate()
        };
        Self::ALL.iter().find(fits).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_know_no_case_and_need_their_clock() {
        assert_eq!(Coding::named(b"pcma", 8_000), Some(Coding::Pcma));
        assert_eq!(Coding::named(b"PCMU", 16_000), None);
        assert_eq!(Coding::named(b"PCM", 8_000), None);
        for coding in Coding::ALL {
            let clock = crate::wire::rtp::clock_rate(coding.payload_type());
            assert_eq!(clock, coding.clock_rate());
        }
    }
}
