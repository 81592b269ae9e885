//! Opus (RFC 6716) by libopus, one channel.
//!
//! libopus takes and gives samples at 8, 12, 16, 24 or 48 kHz, whatever is on the wire; who
//! converts to or from 8 kHz asks for 8 kHz and needs no rate conversion of ours. Its decoder
//! conceals losses itself, by what it knows of the voice or by the copy that the next packet
//! carries (§2.1.7).
//!
//! The state is libopus's and lies on its heap; where none can be had (no memory), an encoder
//! writes nothing and a decoder is silent.

use crate::wire::rtp::Wishes;
use opus::{Application, Bitrate, Channels};

/// The rates that libopus knows.
pub const RATES: [u32; 5] = [8000, 12_000, 16_000, 24_000, 48_000];
/// The longest packet, milliseconds (RFC 6716 §3.2.5).
pub const PACKET_MS_MAX: u32 = 120;
/// The most octets per second that packets of ours have, peaks included, and that descriptions ask
/// of others on average.
pub const BYTES_PER_SECOND_MAX: u32 = 8000;
/// How hard the encoder tries, of 10: beyond it telephones' sound gets dearer and hardly better.
const COMPLEXITY: i32 = 5;
/// The losses that the copies are made for, in percent.
const LOSSES: i32 = 10;
/// The least that libopus makes of speech.
const BITS_MIN: u32 = 6000;

/// Samples to packets.
#[derive(Debug)]
pub struct Encoder(Option<opus::Encoder>);

impl Encoder {
    /// At so many samples per second, one of [`RATES`].
    pub fn new(rate: u32, wishes: Wishes) -> Self {
        Self(made(rate, wishes).ok())
    }

    /// Encodes a frame of 2.5, 5, 10, 20, 40 or 60 ms; others become nothing.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let encoder = self.0.as_mut();
        encoder.map_or(0, |e| e.encode(samples, payload).unwrap_or(0))
    }
}

fn made(rate: u32, wishes: Wishes) -> opus::Result<opus::Encoder> {
    let mut encoder = opus::Encoder::new(rate, Channels::Mono, Application::Voip)?;
    // RFC 7587 §3.1.1: from the middle of what is recommended for each bandwidth upwards.
    let bits: u32 = match rate {
        0..=8000 => 16_000,
        8001..=16_000 => 28_000,
        16_001..=24_000 => 36_000,
        _ => 48_000,
    };
    let bits = match wishes.bits_per_second_max {
        0 => bits,
        most => bits.min(most.max(BITS_MIN)),
    };
    encoder.set_bitrate(Bitrate::Bits(bits as i32))?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_inband_fec(wishes.fec)?;
    encoder.set_packet_loss_perc(if wishes.fec { LOSSES } else { 0 })?;
    Ok(encoder)
}

/// Packets to samples.
#[derive(Debug)]
pub struct Decoder {
    state: Option<opus::Decoder>,
    /// Samples of 2.5 ms, of which all that is concealed is made.
    unit: usize,
}

impl Decoder {
    /// At so many samples per second, one of [`RATES`].
    pub fn new(rate: u32) -> Self {
        Self {
            state: opus::Decoder::new(rate, Channels::Mono).ok(),
            unit: rate as usize / 400,
        }
    }

    /// Decodes a packet; one that is broken, or does not fit, gives none.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        // Without a payload libopus would conceal.
        match &mut self.state {
            Some(state) if !payload.is_empty() => {
                state.decode(payload, samples, false).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Fills the place of a packet that was lost; `following` is the one behind it, which may carry
    /// a copy.
    pub fn conceal(&mut self, following: Option<&[u8]>, samples: &mut [i16]) {
        let whole = samples.len() / self.unit.max(1) * self.unit;
        let Some((state, place)) = self.state.as_mut().zip(samples.get_mut(..whole)) else {
            return samples.fill(0);
        };
        let copy = following.filter(|payload| !payload.is_empty());
        let made = match copy {
            Some(payload) => state.decode(payload, place, true),
            None => state.decode(&[], place, false),
        };
        if let Some(rest) = samples.get_mut(made.unwrap_or(0)..) {
            rest.fill(0);
        }
    }
}
