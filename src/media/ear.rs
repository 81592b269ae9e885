//! What a leg hears, as samples: its packets in order and in time ([`super::jitter`]), decoded;
//! what is lost concealed; comfort noise where the far end describes its silence (RFC 3389); all at
//! the rate that the listener wants.
//!
//! Packets go in as they come, and frames are taken by the listener's own clock: conferences,
//! recorders and the transcoding of bridged legs all hear by it. Not done here: statistics of the
//! stream ([`super::stream`]), keys ([`super::event`], [`super::dtmf`]).

use super::codec::{Codec, Decoder, PTIME_MS_MAX};
use super::comfort::{self, Description, NoiseGenerator};
use super::conceal::Concealer;
use super::jitter::{Config, JitterBuffer, PAYLOAD_MAX, PayloadTypes, Pull, TICK_MS};
use super::order::Format;
use super::resample::Resampler;
use crate::base::Instant;
use crate::wire::rtp::Header;
use std::time::Duration;

#[cfg(test)]
mod networks;
#[cfg(test)]
mod tests;

/// The longest frame that can be asked for, milliseconds.
pub const FRAME_MS_MAX: u32 = 120;
/// What is pulled out of the buffer for one frame, at most: every packet of it and as many gaps.
const PULLS_MAX: usize = 512;
/// Samples of one call of the resampler: a tick at 16 kHz.
const PIECE: usize = 320;

/// What the listener got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Sound, or what goes on in place of a short loss.
    Sound,
    /// Silence, or the comfort noise that stands for it.
    Nothing,
}

/// The ear of one leg.
#[derive(Debug)]
pub struct Ear {
    codec: Codec,
    rate: u32,
    payload_type: u8,
    events: Option<u8>,
    buffer: JitterBuffer,
    decoder: Decoder,
    concealer: Concealer,
    /// Whether what was lost last came back by a copy.
    restored: bool,
    noise: Box<NoiseGenerator>,
    /// What the far end told of its noise, until it speaks again: its silence sounds like it.
    comfort: Option<Description>,
    /// The payload type that it tells it by.
    comfort_type: Option<u8>,
    /// `None` where no way leads from the codec's rate to the listener's: silence.
    resampler: Option<Box<Resampler>>,
    /// Samples at the codec's rate that nobody took yet.
    ready: Box<[i16]>,
    count: usize,
}

impl Ear {
    /// For a leg of that format; samples come at `rate` per second: 8000, 16,000, 24,000, 32,000 or
    /// 48,000. At another rate all is silent.
    pub fn new(format: &Format, rate: u32) -> Self {
        let codec = Codec::at(format.coding, rate);
        let clock = codec.clock_rate();
        let own = format.payload_type;
        let noise = noise_type(format);
        let accepted = PayloadTypes::of(&[own, noise.unwrap_or(own)]);
        // RFC 3551 §4.2: a receiver takes packets of up to 200 ms.
        let longest = codec.payload_len(codec.samples(PTIME_MS_MAX));
        let config = Config {
            comfort: noise,
            payload_max: longest.min(PAYLOAD_MAX),
            ..Config::new(clock, codec.byte_rate(), accepted)
        };
        let room = codec.samples(FRAME_MS_MAX) + codec.payload_samples(longest);
        Self {
            codec,
            rate,
            payload_type: own,
            events: format.events,
            buffer: JitterBuffer::new(config),
            decoder: Decoder::by(codec, format.plugin),
            concealer: Concealer::new(codec.sample_rate()),
            restored: false,
            noise: Box::new(NoiseGenerator::new(u32::from(own) + 1)),
            comfort: None,
            comfort_type: noise,
            resampler: Resampler::new(codec.sample_rate(), rate).map(Box::new),
            ready: vec![0; room].into_boxed_slice(),
            count: 0,
        }
    }

    /// The rate of its samples.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Whether it hears a leg of that format; otherwise another ear is needed.
    pub fn fits(&self, format: &Format) -> bool {
        let same = self.codec == Codec::at(format.coding, self.rate);
        same && (self.payload_type, self.events) == (format.payload_type, format.events)
            && self.comfort_type == noise_type(format)
    }

    /// The far end's noise as it told of it, while it does not speak, as far as it means the same
    /// where samples come at `rate`.
    pub fn described(&self, rate: u32) -> Option<Description> {
        let same = self.codec.sample_rate() == rate;
        self.comfort.map(|told| match same {
            true => told,
            false => told.level(),
        })
    }

    /// The buffer behind it, with its counters.
    pub fn buffer(&self) -> &JitterBuffer {
        &self.buffer
    }

    /// A packet of the leg has come. What the buffer refuses it counts.
    pub fn put(&mut self, now: Instant, header: &Header, payload: &[u8]) {
        let taken = match Some(header.payload_type) == self.events {
            true => self.buffer.put_other(now, header),
            false => self.buffer.put(now, header, payload),
        };
        // Said by its counters.
        let _ = taken;
    }

    /// The next samples: 20 ms of them, or up to [`FRAME_MS_MAX`] of whole milliseconds. All are
    /// filled, whatever came.
    pub fn frame(&mut self, now: Instant, samples: &mut [i16]) -> Heard {
        let wanted = samples.len() as u64 * u64::from(self.codec.sample_rate());
        let wanted = (wanted / u64::from(self.rate.max(1))) as usize;
        let wanted = wanted.min(self.codec.samples(FRAME_MS_MAX));
        let heard = self.gather(now, wanted);
        self.hand_over(wanted, samples);
        heard
    }

    /// Decodes until so many samples are there.
    fn gather(&mut self, now: Instant, wanted: usize) -> Heard {
        // What is asked for in larger pieces than the buffer counts on is asked for as late.
        let tick = self.codec.samples(TICK_MS);
        let later = wanted.saturating_sub(tick) as u64 * 1_000_000;
        let later = later / u64::from(self.codec.sample_rate());
        let now = now - Duration::from_micros(later);
        let mut heard = match self.count {
            0 => Heard::Nothing,
            _ => Heard::Sound,
        };
        let mut payload = [0; 2 * PAYLOAD_MAX];
        for _ in 0..PULLS_MAX {
            if self.count >= wanted {
                return heard;
            }
            let queued = self.units(self.count);
            match self.buffer.pull(now, queued, &mut payload) {
                Pull::Packet {
                    payload_type,
                    length,
                    seam,
                    skipped,
                } => {
                    let (payload, behind) = payload.split_at(length.min(payload.len()));
                    if payload_type == self.payload_type {
                        self.keep_in_step(behind.get(..skipped).unwrap_or_default());
                        self.decode(payload, seam);
                        self.comfort = None;
                        heard = Heard::Sound;
                    } else {
                        self.noise.update(payload);
                        self.comfort = Some(Description::of(payload));
                    }
                }
                Pull::Lost {
                    units,
                    follows,
                    stretched,
                } => {
                    let samples = self.samples(units);
                    if !(follows && self.restore(samples, &mut payload)) {
                        self.conceal(samples, !stretched);
                    }
                    heard = Heard::Sound;
                }
                Pull::Nothing => break,
            }
        }
        self.be_silent(wanted);
        heard
    }

    fn decode(&mut self, payload: &[u8], seam: bool) {
        let room = self.ready.get_mut(self.count..).unwrap_or_default();
        let made = self.decoder.decode(payload, room);
        if made == 0 {
            // A frame cut short stands in the place of one.
            return self.conceal(self.codec.samples(TICK_MS), true);
        }
        if let Some(frame) = room.get_mut(..made) {
            let seam = seam && !std::mem::take(&mut self.restored);
            self.concealer.on_frame(frame, seam);
        }
        self.count += made;
    }

    /// Fills the place of a lost packet by the copy in the next one; whether that has one.
    fn restore(&mut self, samples: usize, payload: &mut [u8]) -> bool {
        if !self.decoder.has_copies() {
            return false;
        }
        let length = self.buffer.following(payload).unwrap_or(0);
        let following = payload.get(..length).unwrap_or_default();
        let room = self.ready.get_mut(self.count..).unwrap_or_default();
        let Some(frame) = room.get_mut(..samples) else {
            return false;
        };
        if !self.decoder.restore(following, frame) {
            return false;
        }
        self.concealer.on_frame(frame, false);
        self.count += samples;
        self.restored = true;
        true
    }

    /// The decoder hears a packet that nobody else does. Where its sound would stand stands what
    /// follows.
    fn keep_in_step(&mut self, skipped: &[u8]) {
        let room = self.ready.get_mut(self.count..).unwrap_or_default();
        if !skipped.is_empty() {
            self.decoder.decode(skipped, room);
        }
    }

    /// Fills the place of what is `lost`, or of nothing: then the decoder, whose next packet is the
    /// next one, hears of no loss.
    fn conceal(&mut self, samples: usize, lost: bool) {
        let room = self.ready.get_mut(self.count..).unwrap_or_default();
        let samples = samples.min(room.len());
        self.restored = false;
        if let Some(frame) = room.get_mut(..samples) {
            // A codec that goes on by itself needs no seam to what follows.
            self.restored = lost && self.decoder.conceal(frame);
            match self.restored {
                true => self.concealer.on_frame(frame, false),
                false => self.concealer.on_loss(frame),
            }
        }
        self.count += samples;
    }

    /// Until there are so many.
    fn be_silent(&mut self, wanted: usize) {
        if let Some(rest) = self.ready.get_mut(self.count..wanted) {
            match self.comfort {
                Some(_) => self.noise.fill(rest),
                None => rest.fill(0),
            }
            if !rest.is_empty() {
                self.concealer.on_silence();
            }
        }
        self.count = self.count.max(wanted);
    }

    /// Gives away the first `taken` samples.
    fn hand_over(&mut self, taken: usize, samples: &mut [i16]) {
        let mut made = 0;
        if let (Some(ready), Some(resampler)) = (self.ready.get(..taken), &mut self.resampler) {
            for piece in ready.chunks(PIECE) {
                let room = samples.get_mut(made..).unwrap_or_default();
                made += resampler.process(piece, room);
            }
        }
        if let Some(rest) = samples.get_mut(made..) {
            rest.fill(0);
        }
        self.ready.copy_within(taken..self.count, 0);
        self.count -= taken;
    }

    /// Samples as units of the timestamp.
    fn units(&self, samples: usize) -> u32 {
        let units = samples as u64 * u64::from(self.codec.clock_rate());
        (units / u64::from(self.codec.sample_rate())) as u32
    }

    fn samples(&self, units: u32) -> usize {
        let samples = u64::from(units) * u64::from(self.codec.sample_rate());
        (samples / u64::from(self.codec.clock_rate())) as usize
    }
}

/// The payload type of comfort noise beside a leg's sound: what was agreed on, or the static one,
/// which some send unasked; that is of the clock 8000 (RFC 3389 §4).
pub(super) fn noise_type(format: &Format) -> Option<u8> {
    let is_free = |number: &u8| *number != format.payload_type && Some(*number) != format.events;
    let known = (format.coding.clock_rate() == 8000).then_some(comfort::PAYLOAD_TYPE);
    format.comfort.or(known).filter(is_free)
}
