//! The codecs of RFC 3551, from 16-bit samples to payload bytes and back.
//!
//! An [`Encoder`] and a [`Decoder`] hold what a codec remembers from frame to frame; neither
//! allocates after it is made. Samples are mono. Not done here: packets, loss, rates
//! ([`super::resample`]).

pub mod g711;
pub mod g722;
pub mod gsm;
pub mod l16;

use crate::wire::rtp::Coding;

/// The longest frame that buffers are sized for, in milliseconds of sound.
pub const PTIME_MS_MAX: u32 = 200;

/// The most samples that one frame of any codec has: 200 ms at 48 kHz.
pub const FRAME_SAMPLES_MAX: usize = 9600;

/// A codec that this module speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// G.711 u-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// G.722 at 64 kbit/s: 16 kHz sound.
    G722,
    /// GSM 06.10 full rate, 8 kHz, frames of 20 ms.
    Gsm,
    /// Linear samples of 16 bits in network order, at so many Hz.
    L16 {
        /// Samples per second: 8000, 16,000, 44,100 or 48,000.
        rate: u32,
    },
}

impl From<Coding> for Codec {
    fn from(coding: Coding) -> Self {
        match coding {
            Coding::Pcma => Self::Pcma,
            Coding::Pcmu => Self::Pcmu,
            Coding::G722 => Self::G722,
            Coding::Gsm => Self::Gsm,
        }
    }
}

impl Codec {
    /// The samples per second of the sound.
    pub fn sample_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::Gsm => 8000,
            Self::G722 => 16_000,
            Self::L16 { rate } => rate,
        }
    }

    /// The ticks per second of RTP time stamps. G.722 says 8000, which is half the truth: RFC 1890
    /// had it wrong and RFC 3551 §4.5.2 keeps it so.
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::G722 => 8000,
            other => other.sample_rate(),
        }
    }

    /// What descriptions call it, where it has one clock alone.
    fn coding(self) -> Option<Coding> {
        Coding::ALL.iter().copied().find(|c| Self::from(*c) == self)
    }

    /// The name in `a=rtpmap` (RFC 3551 §6, RFC 4856).
    pub fn name(self) -> &'static str {
        self.coding().map_or("L16", Coding::name)
    }

    /// The payload type that needs no `a=rtpmap` (RFC 3551 §6, table 4).
    pub fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::L16 { rate: 44_100 } => Some(11),
            other => other.coding().map(Coding::payload_type),
        }
    }

    /// The codec of a static payload type.
    pub fn from_static_payload_type(payload_type: u8) -> Option<Self> {
        let mut codings = Coding::ALL.iter().copied();
        match payload_type {
            11 => Some(Self::L16 { rate: 44_100 }),
            other => codings.find(|c| c.payload_type() == other).map(Self::from),
        }
    }

    /// The codec that an `a=rtpmap` names, with its clock rate.
    pub fn from_name(name: &str, clock_rate: u32) -> Option<Self> {
        let linear = name.eq_ignore_ascii_case("L16");
        match clock_rate {
            8000 | 16_000 | 44_100 | 48_000 if linear => Some(Self::L16 { rate: clock_rate }),
            _ => Coding::named(name.as_bytes(), clock_rate).map(Self::from),
        }
    }

    /// The samples of so many milliseconds. At 44.1 kHz the fraction of a sample is cut off.
    pub fn samples(self, ptime_ms: u32) -> usize {
        (u64::from(self.sample_rate()) * u64::from(ptime_ms) / 1000) as usize
    }

    /// The RTP clock's ticks of so many milliseconds.
    pub fn ticks(self, ptime_ms: u32) -> u32 {
        (u64::from(self.clock_rate()) * u64::from(ptime_ms) / 1000) as u32
    }

    /// The payload bytes that so many samples become.
    pub fn payload_len(self, samples: usize) -> usize {
        match self {
            Self::Pcmu | Self::Pcma => samples,
            Self::G722 => samples.div_ceil(2),
            Self::Gsm => samples.div_ceil(gsm::FRAME_SAMPLES) * gsm::FRAME_SIZE,
            Self::L16 { .. } => samples * 2,
        }
    }

    /// The samples that so many payload bytes hold; what is left of a broken frame holds none.
    pub fn payload_samples(self, bytes: usize) -> usize {
        match self {
            Self::Pcmu | Self::Pcma => bytes,
            Self::G722 => bytes * 2,
            Self::Gsm => bytes / gsm::FRAME_SIZE * gsm::FRAME_SAMPLES,
            Self::L16 { .. } => bytes / 2,
        }
    }

    /// The frame length nearest below `wanted_ms` that the codec can send: from 10 to 200 ms in
    /// steps of 10, of 20 for GSM.
    pub fn ptime_ms(self, wanted_ms: u32) -> u32 {
        let step = if self == Self::Gsm { 20 } else { 10 };
        (wanted_ms.min(PTIME_MS_MAX) / step * step).max(step)
    }
}

/// Samples to payload.
#[derive(Clone, Debug)]
pub enum Encoder {
    /// G.711 u-law remembers nothing.
    Pcmu,
    /// G.711 A-law remembers nothing.
    Pcma,
    /// G.722.
    G722(Box<g722::Encoder>),
    /// GSM 06.10.
    Gsm(Box<gsm::Encoder>),
    /// Linear samples remember nothing.
    L16,
}

impl Encoder {
    /// A codec at its start.
    pub fn new(codec: Codec) -> Self {
        match codec {
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
            Codec::G722 => Self::G722(Box::default()),
            Codec::Gsm => Self::Gsm(Box::default()),
            Codec::L16 { .. } => Self::L16,
        }
    }

    /// Encodes `samples` and says how many bytes of `payload` they fill. What does not fit is not
    /// encoded; a last frame that is not full is filled with silence.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        match self {
            Self::Pcmu => g711::ulaw_encode(samples, payload),
            Self::Pcma => g711::alaw_encode(samples, payload),
            Self::G722(state) => state.encode(samples, payload),
            Self::Gsm(state) => state.encode(samples, payload),
            Self::L16 => l16::encode(samples, payload),
        }
    }
}

/// Payload to samples.
#[derive(Clone, Debug)]
pub enum Decoder {
    /// G.711 u-law remembers nothing.
    Pcmu,
    /// G.711 A-law remembers nothing.
    Pcma,
    /// G.722.
    G722(Box<g722::Decoder>),
    /// GSM 06.10.
    Gsm(Box<gsm::Decoder>),
    /// Linear samples remember nothing.
    L16,
}

impl Decoder {
    /// A codec at its start.
    pub fn new(codec: Codec) -> Self {
        match codec {
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
            Codec::G722 => Self::G722(Box::default()),
            Codec::Gsm => Self::Gsm(Box::default()),
            Codec::L16 { .. } => Self::L16,
        }
    }

    /// Decodes `payload`, of any length and content, and says how many of `samples` it fills. What
    /// does not fit, and the rest of a broken frame, is not decoded.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        match self {
            Self::Pcmu => g711::ulaw_decode(payload, samples),
            Self::Pcma => g711::alaw_decode(payload, samples),
            Self::G722(state) => state.decode(payload, samples),
            Self::Gsm(state) => state.decode(payload, samples),
            Self::L16 => l16::decode(payload, samples),
        }
    }
}

#[cfg(test)]
mod tests;
