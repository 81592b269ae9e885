//! How sound is written on the wire: the encodings that we write and read (RFC 3551 §4.5, §6;
//! RFC 7587).

use serde::{Deserialize, Serialize};

/// One encoding, at its one clock.
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
    /// Opus. Its clock is 48 kHz, and it is described with two channels, whatever the sound is
    /// (RFC 7587 §4.1, §7).
    #[cfg(feature = "opus")]
    Opus,
    /// G.729, frames of 10 ms (RFC 3551 §4.5.6). Written and read by a plugin alone.
    G729,
    /// Linear samples of 16 bits at 8 kHz (RFC 3551 §4.5.11).
    Linear8,
    /// Linear samples at 16 kHz.
    Linear16,
    /// Linear samples at 44.1 kHz, one channel. Two channels have a static type too (10), but 10 ms
    /// of them fit into no Ethernet frame: that one is not taken.
    Linear44,
}

impl Coding {
    /// All that have a name here.
    pub const KNOWN: &'static [Coding] = &[
        Coding::Pcma,
        Coding::Pcmu,
        Coding::G722,
        #[cfg(feature = "opus")]
        Coding::Opus,
        Coding::Gsm,
        Coding::Linear16,
        Coding::Linear8,
        Coding::Linear44,
        Coding::G729,
    ];

    /// All that we write and read by ourselves, those first that we would rather have.
    pub const ALL: &'static [Coding] = &[
        Coding::Pcma,
        Coding::Pcmu,
        Coding::G722,
        #[cfg(feature = "opus")]
        Coding::Opus,
        Coding::Gsm,
        Coding::Linear16,
        Coding::Linear8,
        Coding::Linear44,
    ];

    /// What our own offers name. Linear samples need ten times GSM's bandwidth: they are offered
    /// where the other side of a call uses them, which is what anybody would want them for.
    pub const OFFERED: &'static [Coding] = &[
        Coding::Pcma,
        Coding::Pcmu,
        Coding::G722,
        #[cfg(feature = "opus")]
        Coding::Opus,
        Coding::Gsm,
    ];

    /// What we write and read, with or without the plugin for G.729.
    pub const fn usable(g729: bool) -> &'static [Coding] {
        match g729 {
            true => Self::KNOWN,
            false => Self::ALL,
        }
    }

    /// The encoding name of `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Coding::Pcma => "PCMA",
            Coding::Pcmu => "PCMU",
            Coding::G722 => "G722",
            Coding::Gsm => "GSM",
            Coding::G729 => "G729",
            #[cfg(feature = "opus")]
            Coding::Opus => "opus",
            Coding::Linear8 | Coding::Linear16 | Coding::Linear44 => "L16",
        }
    }

    /// The static payload type, or the dynamic one of our own offers.
    pub const fn payload_type(self) -> u8 {
        match self {
            Coding::Pcma => 8,
            Coding::Pcmu => 0,
            Coding::G722 => 9,
            Coding::Gsm => 3,
            Coding::G729 => 18,
            #[cfg(feature = "opus")]
            Coding::Opus => 111,
            Coding::Linear8 => 112,
            Coding::Linear16 => 113,
            Coding::Linear44 => 11,
        }
    }

    /// Whether [`Coding::payload_type`] needs no `a=rtpmap`.
    pub const fn is_static(self) -> bool {
        self.payload_type() < 96
    }

    /// The clock of RTP timestamps in Hz.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Coding::Pcma
            | Coding::Pcmu
            | Coding::G722
            | Coding::Gsm
            | Coding::G729
            | Coding::Linear8 => 8_000,
            #[cfg(feature = "opus")]
            Coding::Opus => 48_000,
            Coding::Linear16 => 16_000,
            Coding::Linear44 => 44_100,
        }
    }

    /// The most sound that a packet has, in milliseconds and whole tens: what an Ethernet frame
    /// takes, and no more than telephones would wait for.
    pub const fn packet_ms_max(self) -> u8 {
        match self {
            Coding::Linear44 => 10,
            Coding::Linear16 => 40,
            _ => 60,
        }
    }

    /// Whether it can be written with more and with fewer bits.
    pub const fn has_bit_rates(self) -> bool {
        match self {
            #[cfg(feature = "opus")]
            Coding::Opus => true,
            _ => false,
        }
    }

    /// The channels that `a=rtpmap` names.
    pub const fn channels(self) -> u8 {
        match self {
            #[cfg(feature = "opus")]
            Coding::Opus => 2,
            _ => 1,
        }
    }

    /// The encoding of an encoding name, a clock and a number of channels; names know no case (RFC
    /// 8866 §6.6).
    pub fn named(name: &[u8], clock_rate: u32, channels: u8) -> Option<Self> {
        let fits = |c: &&Coding| {
            name.eq_ignore_ascii_case(c.name().as_bytes())
                && (clock_rate, channels) == (c.clock_rate(), c.channels())
        };
        Self::KNOWN.iter().find(fits).copied()
    }

    /// The encoding of a payload type that nothing explains.
    pub fn of_static(payload_type: u8) -> Option<Self> {
        let mut all = Self::KNOWN.iter().copied();
        all.find(|c| c.is_static() && c.payload_type() == payload_type)
    }
}

/// What the far end asks of what we send, beside its encoding (RFC 7587 §6.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Wishes {
    /// `useinbandfec`: copies of what may be lost.
    pub fec: bool,
    /// `maxaveragebitrate`; nought: any.
    pub bits_per_second_max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_its_plugin_g729_is_not_used() {
        assert_eq!(Coding::of_static(18), Some(Coding::G729));
        assert!(!Coding::usable(false).contains(&Coding::G729));
        assert!(Coding::usable(true).contains(&Coding::G729));
        let others = Coding::ALL.iter();
        assert!(
            others
                .copied()
                .eq(Coding::KNOWN[..Coding::ALL.len()].iter().copied())
        );
    }

    #[test]
    fn names_know_no_case_and_need_their_clock_and_channels() {
        assert_eq!(Coding::named(b"pcma", 8_000, 1), Some(Coding::Pcma));
        assert_eq!(Coding::named(b"PCMU", 16_000, 1), None);
        assert_eq!(Coding::named(b"PCM", 8_000, 1), None);
        assert_eq!(Coding::named(b"l16", 16_000, 1), Some(Coding::Linear16));
        assert_eq!(Coding::named(b"L16", 44_100, 2), None);
        for coding in Coding::KNOWN.iter().filter(|c| c.is_static()) {
            let clock = crate::wire::rtp::clock_rate(coding.payload_type());
            assert_eq!(clock, coding.clock_rate());
            assert_eq!(Coding::of_static(coding.payload_type()), Some(*coding));
        }
        assert_eq!(Coding::of_static(10), None);
        assert_eq!(Coding::of_static(113), None);
    }

    #[cfg(feature = "opus")]
    #[test]
    fn opus_has_two_channels_by_name() {
        assert_eq!(Coding::named(b"OPUS", 48_000, 2), Some(Coding::Opus));
        assert_eq!(Coding::named(b"opus", 48_000, 1), None);
    }

    #[test]
    fn no_two_encodings_share_a_payload_type() {
        for (n, one) in Coding::KNOWN.iter().enumerate() {
            let mut others = Coding::KNOWN[n + 1..].iter();
            assert!(others.all(|other| other.payload_type() != one.payload_type()));
        }
    }
}
