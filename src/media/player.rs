//! Plays sounds one after the other, as samples of the rate that is wanted.

use super::codec::{Codec, Decoder, gsm};
use super::order::Sound;
use super::resample::Resampler;
use super::tone::{LEVEL_DBM0, ToneGenerator};
use std::collections::VecDeque;

/// Samples of one piece of a recorded sound: a frame of GSM 06.10.
const PIECE: usize = gsm::FRAME_SAMPLES;
/// A piece at 48 kHz, and what a resampler may add.
const PIECE_OUT_MAX: usize = PIECE * 6 + 6;
/// The rate of recorded sounds.
const RECORDED_RATE: u32 = 8_000;

/// What is playing.
#[derive(Debug)]
enum Source {
    Silence,
    Tone(Box<ToneGenerator>),
    Recorded {
        frames: &'static [u8],
        decoder: Box<Decoder>,
        resampler: Option<Box<Resampler>>,
    },
}

/// The present sound.
#[derive(Debug)]
struct Playing {
    source: Source,
    /// Samples until it ends; `None`: its source says.
    left: Option<usize>,
}

/// A list of sounds, being played.
#[derive(Debug)]
pub struct Player {
    rate: u32,
    sounds: Vec<Sound>,
    /// How often the list is played still, the present time not counted; `None` for ever.
    rounds: Option<u16>,
    waiting: VecDeque<Sound>,
    playing: Option<Playing>,
    /// Decoded samples that were not taken yet.
    piece: [i16; PIECE_OUT_MAX],
    piece_at: usize,
    piece_end: usize,
}

impl Player {
    /// Plays `sounds` `rounds` times at `rate` samples per second; without `rounds` it ends never.
    pub fn new(sounds: Vec<Sound>, rounds: Option<u16>, rate: u32) -> Self {
        let over = sounds.is_empty() || rounds == Some(0);
        Self {
            rate,
            waiting: match over {
                true => VecDeque::new(),
                false => sounds.iter().cloned().collect(),
            },
            rounds: match over {
                true => Some(0),
                false => rounds.map(|n| n - 1),
            },
            sounds,
            playing: None,
            piece: [0; PIECE_OUT_MAX],
            piece_at: 0,
            piece_end: 0,
        }
    }

    /// Makes samples of another rate from now on; the present sound ends.
    pub fn set_rate(&mut self, rate: u32) {
        if rate != self.rate {
            self.rate = rate;
            self.playing = None;
            (self.piece_at, self.piece_end) = (0, 0);
        }
    }

    /// Fills `samples`; what is left behind the end is silent. Says how many were made.
    pub fn fill(&mut self, samples: &mut [i16]) -> usize {
        let mut made = 0;
        // A list of sounds without any length would turn for ever.
        let mut barren = 0;
        while made < samples.len() && barren <= self.sounds.len() {
            if self.playing.is_none() && !self.next_sound() {
                break;
            }
            let Some(room) = samples.get_mut(made..) else {
                break;
            };
            let before = made;
            made += self.play(room);
            barren = if made > before { 0 } else { barren + 1 };
        }
        if let Some(rest) = samples.get_mut(made..) {
            rest.fill(0);
        }
        made
    }

    /// Whether all was played.
    pub fn is_over(&self) -> bool {
        self.playing.is_none() && self.waiting.is_empty() && self.rounds == Some(0)
    }

    fn next_sound(&mut self) -> bool {
        if self.waiting.is_empty() {
            match &mut self.rounds {
                Some(0) => return false,
                Some(rounds) => *rounds -= 1,
                None => {}
            }
            self.waiting = self.sounds.iter().cloned().collect();
        }
        let Some(sound) = self.waiting.pop_front() else {
            return false;
        };
        self.playing = Some(self.begin(&sound));
        true
    }

    fn begin(&self, sound: &Sound) -> Playing {
        let samples = |ms: u32| (u64::from(ms) * u64::from(self.rate) / 1000) as usize;
        match sound {
            Sound::Music => Playing {
                source: Source::Silence,
                left: None,
            },
            Sound::Silence { ms } => Playing {
                source: Source::Silence,
                left: Some(samples(*ms)),
            },
            Sound::Tone { country, tone, ms } => {
                let pattern = country.pattern(*tone);
                let generator = ToneGenerator::new(pattern, self.rate, LEVEL_DBM0);
                Playing {
                    source: Source::Tone(Box::new(generator)),
                    left: ms.map(samples),
                }
            }
            Sound::File { .. } => Playing {
                source: Source::Silence,
                left: Some(0),
            },
            Sound::Prompt { language, name } => Playing {
                source: Source::Recorded {
                    frames: super::prompts::find(*language, name).unwrap_or_default(),
                    decoder: Box::new(Decoder::new(Codec::Gsm)),
                    resampler: Resampler::new(RECORDED_RATE, self.rate).map(Box::new),
                },
                left: None,
            },
        }
    }

    /// Plays the present sound into `samples`; says how many came. The sound may end by it.
    fn play(&mut self, samples: &mut [i16]) -> usize {
        let Some(playing) = &mut self.playing else {
            return 0;
        };
        let room = playing.left.map_or(samples.len(), |n| n.min(samples.len()));
        let Some(room) = samples.get_mut(..room) else {
            return 0;
        };
        let (made, over) = match &mut playing.source {
            Source::Silence => {
                room.fill(0);
                (room.len(), false)
            }
            Source::Tone(generator) => {
                let made = generator.fill(room);
                (made, generator.is_over())
            }
            Source::Recorded {
                frames,
                decoder,
                resampler,
            } => {
                if self.piece_at == self.piece_end {
                    let (frame, rest) = frames.split_at(frames.len().min(gsm::FRAME_SIZE));
                    *frames = rest;
                    let mut decoded = [0; PIECE];
                    let count = decoder.decode(frame, &mut decoded);
                    let decoded = decoded.get(..count).unwrap_or_default();
                    self.piece_at = 0;
                    self.piece_end = match resampler {
                        Some(resampler) => resampler.process(decoded, &mut self.piece),
                        None => 0,
                    };
                }
                let ready = self.piece.get(self.piece_at..self.piece_end);
                let ready = ready.unwrap_or_default();
                let count = ready.len().min(room.len());
                for (to, from) in room.iter_mut().zip(ready) {
                    *to = *from;
                }
                self.piece_at += count;
                (count, frames.is_empty() && self.piece_at == self.piece_end)
            }
        };
        playing.left = playing.left.map(|left| left.saturating_sub(made));
        if over || playing.left == Some(0) {
            self.playing = None;
        }
        made
    }
}
