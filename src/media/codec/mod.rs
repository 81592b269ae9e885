//! The codecs of RFC 3551, from 16-bit samples to payload bytes and back.
//!
//! An [`Encoder`] and a [`Decoder`] hold what a codec remembers from frame to frame; neither
//! allocates after it is made. Samples are mono. Not done here: packets, loss, rates
//! ([`super::resample`]).

pub mod g711;
pub mod g722;
pub mod gsm;
pub mod l16;
#[cfg(feature = "opus")]
pub mod opus;
pub mod plugin;

use crate::wire::rtp::{Coding, Wishes};
pub use plugin::Plugin;

/// The longest frame that buffers are sized for, in milliseconds of sound.
pub const PTIME_MS_MAX: u32 = 200;

/// Linear samples are packed into so many bytes at most, which an Ethernet frame takes.
const PACKED_BYTES_MAX: u32 = 1440;

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
    /// Opus, with samples at so many Hz on our side.
    #[cfg(feature = "opus")]
    Opus {
        /// Samples per second, one of [`opus::RATES`].
        rate: u32,
    },
    /// G.729 by a plugin, 8 kHz, frames of 10 ms.
    G729,
    /// Linear samples of 16 bits in network order, at so many Hz.
    L16 {
        /// Samples per second: 8000, 16,000, 44,100 or 48,000.
        rate: u32,
    },
}

impl From<Coding> for Codec {
    fn from(coding: Coding) -> Self {
        // Nothing that we say by ourselves has more than 16 kHz.
        Self::at(coding, 16_000)
    }
}

impl Codec {
    /// The codec of a coding, for sound that comes from or goes to `rate` samples per second: where
    /// a codec knows several rates, the lowest that loses nothing.
    pub fn at(coding: Coding, rate: u32) -> Self {
        // Without Opus no codec leaves a choice.
        let _ = rate;
        match coding {
            Coding::Pcma => Self::Pcma,
            Coding::Pcmu => Self::Pcmu,
            Coding::G722 => Self::G722,
            Coding::Gsm => Self::Gsm,
            Coding::G729 => Self::G729,
            #[cfg(feature = "opus")]
            Coding::Opus => {
                let mut known = opus::RATES.into_iter();
                let rate = known.find(|known| *known >= rate).unwrap_or(48_000);
                Self::Opus { rate }
            }
            Coding::Linear8 => Self::L16 { rate: 8000 },
            Coding::Linear16 => Self::L16 { rate: 16_000 },
            Coding::Linear44 => Self::L16 { rate: 44_100 },
        }
    }

    /// The samples per second of the sound.
    pub fn sample_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::Gsm | Self::G729 => 8000,
            Self::G722 => 16_000,
            #[cfg(feature = "opus")]
            Self::Opus { rate } => rate,
            Self::L16 { rate } => rate,
        }
    }

    /// The ticks per second of RTP time stamps. G.722 says 8000, which is half the truth: RFC 1890
    /// had it wrong and RFC 3551 §4.5.2 keeps it so. Opus says 48,000 whatever the sound is (RFC
    /// 7587 §4.1).
    pub fn clock_rate(self) -> u32 {
        match self {
            Self::G722 => 8000,
            #[cfg(feature = "opus")]
            Self::Opus { .. } => 48_000,
            other => other.sample_rate(),
        }
    }

    /// The name in `a=rtpmap` (RFC 3551 §6, RFC 4856).
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => Coding::Pcmu.name(),
            Self::Pcma => Coding::Pcma.name(),
            Self::G722 => Coding::G722.name(),
            Self::Gsm => Coding::Gsm.name(),
            Self::G729 => Coding::G729.name(),
            #[cfg(feature = "opus")]
            Self::Opus { .. } => Coding::Opus.name(),
            Self::L16 { .. } => Coding::Linear16.name(),
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

    /// The payload bytes that so many samples become; of Opus, at most.
    pub fn payload_len(self, samples: usize) -> usize {
        match self {
            Self::Pcmu | Self::Pcma => samples,
            Self::G722 => samples.div_ceil(2),
            Self::Gsm => samples.div_ceil(gsm::FRAME_SAMPLES) * gsm::FRAME_SIZE,
            Self::G729 => samples.div_ceil(plugin::FRAME_SAMPLES) * plugin::FRAME_SIZE,
            #[cfg(feature = "opus")]
            Self::Opus { rate } => {
                (samples * opus::BYTES_PER_SECOND_MAX as usize).div_ceil(rate.max(1) as usize)
            }
            Self::L16 { .. } => samples * 2,
        }
    }

    /// The samples that so many payload bytes hold; what is left of a broken frame holds none. Of
    /// Opus, at most.
    pub fn payload_samples(self, bytes: usize) -> usize {
        match self {
            Self::Pcmu | Self::Pcma => bytes,
            Self::G722 => bytes * 2,
            Self::Gsm => bytes / gsm::FRAME_SIZE * gsm::FRAME_SAMPLES,
            Self::G729 => bytes / plugin::FRAME_SIZE * plugin::FRAME_SAMPLES,
            #[cfg(feature = "opus")]
            Self::Opus { .. } => match bytes {
                0 => 0,
                _ => self.samples(opus::PACKET_MS_MAX),
            },
            Self::L16 { .. } => bytes / 2,
        }
    }

    /// The bytes per second that a receiver must be ready for.
    pub fn byte_rate(self) -> u32 {
        match self {
            // Others than ours send what they like for a while.
            #[cfg(feature = "opus")]
            Self::Opus { .. } => 2 * opus::BYTES_PER_SECOND_MAX,
            other => other.payload_len(other.sample_rate() as usize) as u32,
        }
    }

    /// The frame length nearest below `wanted_ms` that the codec can send: from 10 to 200 ms in
    /// steps of 10; of 20 for GSM; of Opus 10, 20, 40 or 60; of linear samples what fits into one
    /// packet.
    pub fn ptime_ms(self, wanted_ms: u32) -> u32 {
        let (step, most) = match self {
            Self::Gsm => (20, PTIME_MS_MAX),
            #[cfg(feature = "opus")]
            Self::Opus { .. } => match wanted_ms {
                ..20 => (10, 10),
                _ => (20, 60),
            },
            Self::L16 { rate } => (10, PACKED_BYTES_MAX * 1000 / 2 / rate.max(1)),
            Self::Pcmu | Self::Pcma | Self::G722 | Self::G729 => (10, PTIME_MS_MAX),
        };
        (wanted_ms.min(most) / step * step).max(step)
    }
}

/// Samples to payload.
#[derive(Debug)]
pub enum Encoder {
    /// G.711 u-law remembers nothing.
    Pcmu,
    /// G.711 A-law remembers nothing.
    Pcma,
    /// G.722.
    G722(Box<g722::Encoder>),
    /// GSM 06.10.
    Gsm(Box<gsm::Encoder>),
    /// Opus.
    #[cfg(feature = "opus")]
    Opus(opus::Encoder),
    /// G.729.
    G729(plugin::Encoder),
    /// Linear samples remember nothing.
    L16,
}

impl Encoder {
    /// A codec at its start.
    pub fn new(codec: Codec) -> Self {
        Self::wished(codec, Wishes::default(), None)
    }

    /// A codec at its start, as the far end would have it; what a plugin writes is nothing
    /// without it.
    pub fn wished(codec: Codec, wishes: Wishes, plugin: Option<Plugin>) -> Self {
        let _ = wishes;
        match codec {
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
            Codec::G722 => Self::G722(Box::default()),
            Codec::Gsm => Self::Gsm(Box::default()),
            #[cfg(feature = "opus")]
            Codec::Opus { rate } => Self::Opus(opus::Encoder::new(rate, wishes)),
            Codec::G729 => Self::G729(plugin::Encoder::new(plugin)),
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
            Self::G729(state) => state.encode(samples, payload),
            #[cfg(feature = "opus")]
            Self::Opus(state) => state.encode(samples, payload),
            Self::L16 => l16::encode(samples, payload),
        }
    }

    /// Becomes the same as another of its codec, without taking memory. Opus and G.729 do not:
    /// their state cannot be copied.
    pub fn follow(&mut self, other: &Encoder) {
        match (self, other) {
            (Self::G722(to), Self::G722(from)) => (**to).clone_from(from),
            (Self::Gsm(to), Self::Gsm(from)) => (**to).clone_from(from),
            _ => {}
        }
    }
}

/// Payload to samples.
#[derive(Debug)]
pub enum Decoder {
    /// G.711 u-law remembers nothing.
    Pcmu,
    /// G.711 A-law remembers nothing.
    Pcma,
    /// G.722.
    G722(Box<g722::Decoder>),
    /// GSM 06.10.
    Gsm(Box<gsm::Decoder>),
    /// Opus.
    #[cfg(feature = "opus")]
    Opus(opus::Decoder),
    /// G.729.
    G729(plugin::Decoder),
    /// Linear samples remember nothing.
    L16,
}

impl Decoder {
    /// A codec at its start.
    pub fn new(codec: Codec) -> Self {
        Self::by(codec, None)
    }

    /// A codec at its start; what a plugin reads is nothing without it.
    pub fn by(codec: Codec, plugin: Option<Plugin>) -> Self {
        match codec {
            Codec::Pcmu => Self::Pcmu,
            Codec::Pcma => Self::Pcma,
            Codec::G722 => Self::G722(Box::default()),
            Codec::Gsm => Self::Gsm(Box::default()),
            #[cfg(feature = "opus")]
            Codec::Opus { rate } => Self::Opus(opus::Decoder::new(rate)),
            Codec::G729 => Self::G729(plugin::Decoder::new(plugin)),
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
            Self::G729(state) => state.decode(payload, samples),
            #[cfg(feature = "opus")]
            Self::Opus(state) => state.decode(payload, samples),
            Self::L16 => l16::decode(payload, samples),
        }
    }

    /// Fills the place of what is lost by what the codec itself knows; whether it knows any.
    pub fn conceal(&mut self, samples: &mut [i16]) -> bool {
        match self {
            Self::G729(state) => state.conceal(samples),
            _ => false,
        }
    }

    /// Whether packets may carry copies of those before them ([`Decoder::restore`]).
    pub fn has_copies(&self) -> bool {
        match self {
            #[cfg(feature = "opus")]
            Self::Opus(_) => true,
            _ => false,
        }
    }

    /// Fills the place of a lost packet by the copy in `following`, the payload behind it; whether
    /// there is one.
    pub fn restore(&mut self, following: &[u8], samples: &mut [i16]) -> bool {
        match self {
            #[cfg(feature = "opus")]
            Self::Opus(state) => state.restore(following, samples),
            _ => {
                let _ = (following, samples);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
