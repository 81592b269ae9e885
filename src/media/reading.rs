//! A sound file, played in pieces that are asked for ahead of need: at most three seconds of it are
//! in memory.

use super::codec::gsm;
use super::file::{FileWish, PIECE_BYTES_MAX, Root};
use super::resample::Resampler;
use super::wav::{Layout, Reader};
use std::ops::Range;

/// Samples of one piece that is decoded: a frame of GSM 06.10.
pub(super) const PIECE: usize = gsm::FRAME_SAMPLES;
/// How much is asked for at a time, in milliseconds of sound.
const AHEAD_MS: u64 = 1000;
const PIECE_BYTES_MIN: u64 = 4096;

/// A file that is being played.
#[derive(Debug)]
pub(super) struct Reading {
    root: Root,
    name: Box<str>,
    layout: Layout,
    reader: Reader,
    resampler: Box<Resampler>,
    /// What was not asked for yet.
    left: Range<u64>,
    bytes: Vec<u8>,
    used: usize,
}

impl Reading {
    /// `None` where nothing of that rate can be made of it.
    pub fn new(
        root: Root,
        name: Box<str>,
        layout: Layout,
        data: Range<u64>,
        rate: u32,
    ) -> Option<Self> {
        Some(Self {
            root,
            name,
            layout,
            reader: Reader::new(layout),
            resampler: Box::new(Resampler::new(layout.rate, rate)?),
            left: data,
            bytes: Vec::new(),
            used: 0,
        })
    }

    /// What it needs soon.
    pub fn wish(&self) -> Option<FileWish> {
        let piece = self.layout.offset(AHEAD_MS);
        let piece = piece.clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX.into());
        let waiting = (self.bytes.len() - self.used) as u64;
        if self.left.is_empty() || waiting > piece {
            return None;
        }
        let length = piece.min(self.left.end - self.left.start);
        Some(FileWish::Read {
            root: self.root,
            name: self.name.clone(),
            at: self.left.start,
            length: u32::try_from(length).unwrap_or(PIECE_BYTES_MAX),
        })
    }

    /// The piece is here; without it the file ends early.
    pub fn feed(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(piece);
        self.left.start += piece.len() as u64;
        if piece.is_empty() {
            self.left.end = self.left.start;
        }
    }

    /// The next samples, at most as many as [`PIECE`] become; none where the disk is behind.
    pub fn piece(&mut self, out: &mut [i16]) -> usize {
        let waiting = self.bytes.get(self.used..).unwrap_or_default();
        let mut samples = [0; PIECE];
        let (used, made) = self.reader.read(waiting, &mut samples);
        self.used += used;
        let samples = samples.get(..made).unwrap_or_default();
        self.resampler.process(samples, out)
    }

    /// Whether all was played.
    pub fn is_over(&self) -> bool {
        let (block, _) = self.layout.block();
        self.left.is_empty() && self.bytes.len() - self.used < block
    }
}

#[cfg(test)]
mod tests {
    use super::super::goertzel::amplitude;
    use super::super::resample::RATES;
    use super::super::wav::Encoding;
    use super::*;

    /// 44.1 kHz is what most programs write.
    #[test]
    fn files_of_each_rate_sound_as_high_and_as_long_as_they_are() {
        for from in RATES {
            for to in [8000, 16_000] {
                let layout = Layout::mono(Encoding::Pcm16, from);
                let step = std::f64::consts::TAU * 440.0 / f64::from(from);
                let sample = |n| ((step * f64::from(n)).sin() * 8000.0) as i16;
                let bytes: Vec<u8> = (0..from).flat_map(|n| sample(n).to_le_bytes()).collect();
                let (name, data) = ("a.wav".into(), 0..bytes.len() as u64);
                let mut reading = Reading::new(Root::Prompts, name, layout, data, to).unwrap();
                reading.feed(&bytes);
                let (mut heard, mut out) = (Vec::new(), [0; 1000]);
                while !reading.is_over() {
                    let made = reading.piece(&mut out);
                    heard.extend_from_slice(&out[..made]);
                }
                let longer = heard.len() as i64 - i64::from(to);
                assert!(longer.abs() <= 1, "{from} {to}: {longer}");
                let level = amplitude(&heard[1000..], 440.0, to);
                assert!((7500.0..8500.0).contains(&level), "{from} {to}: {level}");
            }
        }
    }
}
