//! Plays sounds one after the other, as samples of the rate that is wanted.
//!
//! Sounds of files come as the disk answers ([`Player::poll_wish`]); until then there is silence,
//! and time stands still for the list.

use super::codec::{Codec, Decoder, g711, gsm};
use super::file::{FileAnswer, FileFailure, FileWish, Root, Ticket};
use super::music;
use super::order::{Language, Sound};
use super::reading::{PIECE, Reading};
use super::resample::Resampler;
use super::tone::{LEVEL_DBM0, ToneGenerator};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

#[cfg(test)]
mod tests;

/// A piece at 48 kHz, and what a resampler may add.
const PIECE_OUT_MAX: usize = PIECE * 6 + 6;
/// The rate of recorded sounds.
const RECORDED_RATE: u32 = 8_000;
/// The extensions of a site's prompts, those first that are played as they are.
const EXTENSIONS: [&str; 6] = ["wav", "alaw", "ulaw", "g722", "gsm", "sln"];

/// What all players of a worker share.
#[derive(Debug, Default)]
pub struct Stock {
    /// Whether the site has a directory of prompts.
    pub site: bool,
    music: OnceLock<Box<[u8]>>,
}

impl Stock {
    /// With or without a site's prompts.
    pub fn new(site: bool) -> Self {
        Self {
            site,
            music: OnceLock::new(),
        }
    }

    /// The built-in music, which is worked out when it is wanted first.
    fn music(&self) -> &[u8] {
        self.music.get_or_init(music::compose)
    }
}

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
    /// The disk is asked for it; the built-in prompt in its place, if there is none.
    Opening {
        wish: FileWish,
        instead: Option<&'static [u8]>,
    },
    File(Box<Reading>),
    /// What was read before, from there on.
    Clip {
        bytes: Arc<[u8]>,
        at: usize,
        resampler: Option<Box<Resampler>>,
    },
    /// The built-in music, from there on.
    Music {
        at: usize,
        resampler: Option<Box<Resampler>>,
    },
}

/// The present sound.
#[derive(Debug)]
struct Playing {
    source: Source,
    /// Samples until it ends; `None`: its source says.
    left: Option<usize>,
    /// The site's music: what is played in turn, and how many of them failed in a row.
    tracks: VecDeque<Box<str>>,
    failed: usize,
}

impl Playing {
    fn of(source: Source) -> Self {
        Self {
            source,
            left: None,
            tracks: VecDeque::new(),
            failed: 0,
        }
    }
}

/// A list of sounds, being played.
#[derive(Debug)]
pub struct Player {
    stock: Arc<Stock>,
    rate: u32,
    sounds: Vec<Sound>,
    /// How often the list is played still, the present time not counted; `None` for ever.
    rounds: Option<u16>,
    waiting: VecDeque<Sound>,
    playing: Option<Playing>,
    /// The question that the present sound waits for.
    asked: Option<Ticket>,
    /// Decoded samples that were not taken yet.
    piece: [i16; PIECE_OUT_MAX],
    piece_at: usize,
    piece_end: usize,
    skipped: u32,
}

impl Player {
    /// Plays `sounds` `rounds` times at `rate` samples per second; without `rounds` it ends never.
    pub fn new(sounds: Vec<Sound>, rounds: Option<u16>, rate: u32, stock: Arc<Stock>) -> Self {
        let over = sounds.is_empty() || rounds == Some(0);
        let mut player = Self {
            stock,
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
            asked: None,
            piece: [0; PIECE_OUT_MAX],
            piece_at: 0,
            piece_end: 0,
            skipped: 0,
        };
        // So that the disk is asked before anything is due.
        player.next_sound();
        player
    }

    /// Makes samples of another rate from now on; the present sound ends.
    pub fn set_rate(&mut self, rate: u32) {
        if rate != self.rate {
            self.rate = rate;
            self.end_sound();
        }
    }

    /// Sounds that were left out because of their files.
    pub fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Fills `samples`; what is left behind the end, or until the disk answers, is silent. Says how
    /// many were made.
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

    fn end_sound(&mut self) {
        self.playing = None;
        self.asked = None;
        (self.piece_at, self.piece_end) = (0, 0);
    }

    fn begin(&self, sound: &Sound) -> Playing {
        let samples = |ms: u32| (u64::from(ms) * u64::from(self.rate) / 1000) as usize;
        match sound {
            Sound::Silence { ms } => Playing {
                left: Some(samples(*ms)),
                ..Playing::of(Source::Silence)
            },
            Sound::Tone { country, tone, ms } => {
                let pattern = country.pattern(*tone);
                let generator = ToneGenerator::new(pattern, self.rate, LEVEL_DBM0);
                Playing {
                    left: ms.map(samples),
                    ..Playing::of(Source::Tone(Box::new(generator)))
                }
            }
            Sound::Prompt { language, name } => {
                let instead = super::prompts::find(*language, name);
                Playing::of(match self.stock.site {
                    true => Source::Opening {
                        wish: of_site(*language, name),
                        instead,
                    },
                    false => self.recorded(instead.unwrap_or_default()),
                })
            }
            Sound::File { root, path } => Playing::of(Source::Opening {
                wish: FileWish::Open {
                    root: *root,
                    names: vec![path.clone()],
                },
                instead: None,
            }),
            Sound::Clip(bytes) => Playing::of(Source::Clip {
                bytes: Arc::clone(bytes),
                at: 0,
                resampler: Resampler::new(RECORDED_RATE, self.rate).map(Box::new),
            }),
            Sound::Music => Playing::of(match self.stock.site {
                true => Source::Opening {
                    wish: FileWish::Music,
                    instead: None,
                },
                false => self.music(),
            }),
        }
    }

    fn recorded(&self, frames: &'static [u8]) -> Source {
        Source::Recorded {
            frames,
            decoder: Box::new(Decoder::new(Codec::Gsm)),
            resampler: Resampler::new(RECORDED_RATE, self.rate).map(Box::new),
        }
    }

    fn music(&self) -> Source {
        let resampler = Resampler::new(music::RATE, self.rate).map(Box::new);
        Source::Music { at: 0, resampler }
    }

    // ------------------------------------------------------------ files

    /// What to ask of the disk; [`Player::asked`] is told the ticket.
    pub fn poll_wish(&self) -> Option<FileWish> {
        if self.asked.is_some() {
            return None;
        }
        match &self.playing.as_ref()?.source {
            Source::Opening { wish, .. } => Some(wish.clone()),
            Source::File(reading) => reading.wish(),
            Source::Silence
            | Source::Tone(_)
            | Source::Recorded { .. }
            | Source::Clip { .. }
            | Source::Music { .. } => None,
        }
    }

    /// It was asked.
    pub fn asked(&mut self, ticket: Ticket) {
        self.asked = Some(ticket);
    }

    /// The disk answered; what is no answer to the present question is nothing.
    pub fn handle_answer(&mut self, ticket: Ticket, answer: Result<FileAnswer, FileFailure>) {
        if self.asked != Some(ticket) {
            return;
        }
        self.asked = None;
        // Asked again when the next packet is due.
        if answer == Err(FileFailure::Busy) {
            return;
        }
        let Some(mut playing) = self.playing.take() else {
            return;
        };
        match (&mut playing.source, answer) {
            (Source::File(reading), Ok(FileAnswer::Bytes(bytes))) => reading.feed(&bytes),
            // What is gone in the middle ends there.
            (Source::File(reading), _) => reading.feed(&[]),
            (Source::Opening { wish, instead }, answer) => {
                let root = match wish {
                    FileWish::Open { root, .. } => *root,
                    _ => Root::Prompts,
                };
                let instead = *instead;
                return self.on_opened(playing, root, instead, answer);
            }
            (
                Source::Silence
                | Source::Tone(_)
                | Source::Recorded { .. }
                | Source::Clip { .. }
                | Source::Music { .. },
                _,
            ) => {}
        }
        self.playing = Some(playing);
    }

    fn on_opened(
        &mut self,
        mut playing: Playing,
        root: Root,
        instead: Option<&'static [u8]>,
        answer: Result<FileAnswer, FileFailure>,
    ) {
        let of_music = matches!(
            &playing.source,
            Source::Opening {
                wish: FileWish::Music,
                ..
            }
        );
        match answer {
            Ok(FileAnswer::Opened { name, layout, data }) => {
                if let Some(reading) = Reading::new(root, name, layout, data, self.rate) {
                    playing.source = Source::File(Box::new(reading));
                    playing.failed = 0;
                    self.playing = Some(playing);
                    return;
                }
            }
            Ok(FileAnswer::Names(names)) => playing.tracks = names.into(),
            _ => {}
        }
        // One that is not there, or no music yet.
        playing.failed += usize::from(!of_music);
        playing.source = match (self.next_track(&mut playing), instead) {
            (Some(track), _) => track,
            (None, Some(frames)) => self.recorded(frames),
            (None, None) if of_music || !playing.tracks.is_empty() => self.music(),
            (None, None) => {
                self.skipped = self.skipped.saturating_add(1);
                return;
            }
        };
        self.playing = Some(playing);
    }

    /// The site's next piece of music; none if it has none, or none that can be played.
    fn next_track(&self, playing: &mut Playing) -> Option<Source> {
        if playing.failed >= playing.tracks.len() {
            return None;
        }
        playing.tracks.rotate_left(1);
        let track = playing.tracks.back()?.clone();
        Some(Source::Opening {
            wish: FileWish::Open {
                root: Root::Prompts,
                names: vec![track],
            },
            instead: None,
        })
    }

    // ------------------------------------------------------------ samples

    /// Plays the present sound into `samples`; says how many came. The sound may end by it.
    fn play(&mut self, samples: &mut [i16]) -> usize {
        let Some(playing) = &mut self.playing else {
            return 0;
        };
        let room = playing.left.map_or(samples.len(), |n| n.min(samples.len()));
        let Some(room) = samples.get_mut(..room) else {
            return 0;
        };
        if self.piece_at == self.piece_end {
            self.piece_at = 0;
            self.piece_end = decode(&mut playing.source, &self.stock, &mut self.piece);
        }
        let (made, over) = match &mut playing.source {
            Source::Silence => {
                room.fill(0);
                (room.len(), false)
            }
            Source::Tone(generator) => {
                let made = generator.fill(room);
                (made, generator.is_over())
            }
            Source::Opening { .. } => (0, false),
            Source::Recorded { .. }
            | Source::File(_)
            | Source::Clip { .. }
            | Source::Music { .. } => {
                let ready = self.piece.get(self.piece_at..self.piece_end);
                let ready = ready.unwrap_or_default();
                let count = ready.len().min(room.len());
                for (to, from) in room.iter_mut().zip(ready) {
                    *to = *from;
                }
                self.piece_at += count;
                let over = self.piece_at == self.piece_end
                    && match &playing.source {
                        Source::Recorded { frames, .. } => frames.is_empty(),
                        Source::Clip { bytes, at, .. } => *at >= bytes.len(),
                        Source::File(reading) => reading.is_over(),
                        _ => false,
                    };
                (count, over)
            }
        };
        playing.left = playing.left.map(|left| left.saturating_sub(made));
        if over || playing.left == Some(0) {
            self.on_over();
        }
        made
    }

    /// The present sound is over; music goes on with the next piece.
    fn on_over(&mut self) {
        let playing = self.playing.take();
        self.end_sound();
        if let Some(mut playing) = playing
            && let Some(track) = self.next_track(&mut playing)
        {
            playing.source = track;
            self.playing = Some(playing);
        }
    }
}

/// The next piece of a source that comes in pieces; how many samples it has.
fn decode(source: &mut Source, stock: &Stock, piece: &mut [i16; PIECE_OUT_MAX]) -> usize {
    let mut decoded = [0; PIECE];
    match source {
        Source::Recorded {
            frames,
            decoder,
            resampler,
        } => {
            let (frame, rest) = frames.split_at(frames.len().min(gsm::FRAME_SIZE));
            *frames = rest;
            let count = decoder.decode(frame, &mut decoded);
            let decoded = decoded.get(..count).unwrap_or_default();
            let resampler = resampler.as_mut();
            resampler.map_or(0, |r| r.process(decoded, piece))
        }
        Source::Clip {
            bytes,
            at,
            resampler,
        } => {
            let bytes = bytes.get(*at..).unwrap_or_default();
            let bytes = bytes.get(..PIECE).unwrap_or(bytes);
            *at += bytes.len();
            let count = g711::alaw_decode(bytes, &mut decoded);
            let decoded = decoded.get(..count).unwrap_or_default();
            let resampler = resampler.as_mut();
            resampler.map_or(0, |r| r.process(decoded, piece))
        }
        Source::Music { at, resampler } => {
            let music = stock.music();
            let bytes = music.get(*at..).unwrap_or_default();
            let bytes = bytes.get(..PIECE).unwrap_or(bytes);
            *at = (*at + PIECE) % music.len().max(1);
            let count = g711::alaw_decode(bytes, &mut decoded);
            let decoded = decoded.get(..count).unwrap_or_default();
            let resampler = resampler.as_mut();
            resampler.map_or(0, |r| r.process(decoded, piece))
        }
        Source::File(reading) => reading.piece(piece),
        Source::Silence | Source::Tone(_) | Source::Opening { .. } => 0,
    }
}

/// Where a site's own prompt of that name may lie.
fn of_site(language: Language, name: &str) -> FileWish {
    FileWish::Open {
        root: Root::Prompts,
        names: site_names(language, name),
    }
}

/// The files, below the site's prompts, of which the first that is there is a prompt of that name.
pub fn site_names(language: Language, name: &str) -> Vec<Box<str>> {
    let directory = language.directory();
    let names = EXTENSIONS.map(|extension| format!("{directory}/{name}.{extension}").into());
    names.to_vec()
}
