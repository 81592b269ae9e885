//! A recording: samples in, and what to write. It outlives its leg until the disk has said that it
//! is whole.
//!
//! ```text
//!   Rolling --key, silence, limit, leg's end--> Closing --all written--> Finishing --> over
//!      '---------- the disk refuses ------------------------------------------^
//! ```
//! Of a disk that is too far behind the end is told as [`RecordEnd::Behind`], and all that was
//! heard until then is written once it answers. One that has too much to do
//! ([`FileFailure::Busy`]) is asked again later. Pieces are written at least once a second, one at
//! a time, so that a crash loses no more.

use super::activity::{Activity, mean_square};
use super::file::{FileFailure, FileWish};
use super::order::RecordEnd;
use super::shelf::length_ms;
use super::wav::{Encoding, Layout, Writer};

#[cfg(test)]
mod tests;

/// The rate that is recorded at.
pub const RATE: u32 = 8000;
/// Milliseconds of one frame.
pub const FRAME_MS: u32 = 20;
/// Samples of one frame.
pub const FRAME: usize = (RATE * FRAME_MS / 1000) as usize;
/// The highest rate that a room is recorded at.
pub const RATE_MAX: u32 = 16_000;
/// Samples of one frame at that rate.
pub const FRAME_MAX: usize = (RATE_MAX * FRAME_MS / 1000) as usize;
/// The longest recording: two hours, 58 MB of A-law, 230 MB of linear samples at 16 kHz.
pub const LENGTH_MS_MAX: u32 = 2 * 3600 * 1000;
/// The first piece, which tells early whether anything can be written; milliseconds.
const FIRST_MS: u64 = 200;
/// The pieces behind it.
const PIECE_MS: u64 = 1000;
/// What waits for the disk, at most.
const WAITING_MS_MAX: u64 = 8000;
/// How often an end that the disk has no time for is asked for, once nothing more is heard.
const BUSY_MAX: u32 = 300;
/// What is kept of a silence that ends a recording: the breath behind the last word.
const KEPT_MS: u64 = 250;

/// When a recording ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest, milliseconds; nought and what is too much mean [`LENGTH_MS_MAX`].
    pub max_ms: u32,
    /// The silence that ends it, milliseconds; nought: none does.
    pub silence_ms: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Rolling,
    Closing(RecordEnd),
    Finishing(RecordEnd),
    Over { ms: u32, end: RecordEnd },
}

/// One recording.
#[derive(Debug)]
pub struct Recorder {
    name: Box<str>,
    layout: Layout,
    writer: Writer,
    limits: Limits,
    activity: Activity,
    state: State,
    /// What the disk has, and what it is being asked to take.
    written: u64,
    flying: Vec<u8>,
    asked: bool,
    /// The disk was asked to make the file, which may be there though nothing could be written.
    begun: bool,
    waiting: Vec<u8>,
    /// How often in a row the disk had no time, since nothing more is heard.
    busy: u32,
    /// Frames heard, and the last that somebody talked in.
    frames: u64,
    talked: u64,
}

/// What recordings of one leg are made of.
pub fn layout() -> Layout {
    Layout::mono(Encoding::Alaw, RATE)
}

/// What a room of a rate is made of in files of an encoding: linear samples as fine as the room's,
/// up to [`RATE_MAX`].
pub fn layout_of_room(encoding: Encoding, rate: u32) -> Layout {
    let rate = match encoding {
        Encoding::Pcm16 => rate.min(RATE_MAX),
        Encoding::G722 => RATE_MAX,
        Encoding::Pcm8 | Encoding::Alaw | Encoding::Ulaw | Encoding::Gsm => RATE,
    };
    Layout::mono(encoding, rate)
}

impl Recorder {
    /// Nothing is recorded yet.
    pub fn new(name: Box<str>, limits: Limits) -> Self {
        Self::of(name, layout(), limits)
    }

    /// Of one channel that is written so.
    pub fn of(name: Box<str>, layout: Layout, limits: Limits) -> Self {
        Self {
            name,
            layout,
            writer: Writer::new(layout.encoding),
            limits,
            activity: Activity::new(FRAME_MS),
            state: State::Rolling,
            written: 0,
            flying: Vec::new(),
            asked: false,
            begun: false,
            waiting: Vec::new(),
            busy: 0,
            frames: 0,
            talked: 0,
        }
    }

    /// Of two legs side by side. No silence ends it.
    pub fn stereo(name: Box<str>, limits: Limits) -> Self {
        let limits = Limits {
            silence_ms: 0,
            ..limits
        };
        let layout = Layout {
            channels: 2,
            ..layout()
        };
        Self::of(name, layout, limits)
    }

    /// Takes the next frame, at the layout's rate; whether the recording goes on.
    pub fn push(&mut self, frame: &[i16]) -> bool {
        self.take(frame, mean_square(frame))
    }

    /// The same of a frame that is known to be nobody's talk, however loud.
    pub fn push_noise(&mut self, frame: &[i16]) -> bool {
        self.take(frame, 0)
    }

    /// Takes the next frame of each side; whether the recording goes on.
    pub fn push_both(&mut self, left: &[i16; FRAME], right: &[i16; FRAME]) -> bool {
        let mut both = [0; 2 * FRAME];
        for (pair, (l, r)) in both.chunks_exact_mut(2).zip(left.iter().zip(right)) {
            pair.copy_from_slice(&[*l, *r]);
        }
        self.take(&both, 0)
    }

    fn take(&mut self, samples: &[i16], power: u64) -> bool {
        if self.state != State::Rolling {
            return false;
        }
        if self.waiting.len() as u64 >= self.layout.offset(WAITING_MS_MAX) {
            self.close(RecordEnd::Behind);
            return false;
        }
        let mut bytes = [0; 2 * FRAME_MAX];
        let size = self.writer.write(samples, &mut bytes);
        self.waiting
            .extend_from_slice(bytes.get(..size).unwrap_or_default());
        self.frames += 1;
        if self.activity.push(power) {
            self.talked = self.frames;
        }
        let ms = |frames: u64| frames.saturating_mul(FRAME_MS.into());
        let longest = match self.limits.max_ms {
            0 => LENGTH_MS_MAX,
            max_ms => max_ms.min(LENGTH_MS_MAX),
        };
        let silence = u64::from(self.limits.silence_ms);
        if silence > 0 && ms(self.frames - self.talked) >= silence {
            self.close(RecordEnd::Silence);
        } else if ms(self.frames) >= longest.into() {
            self.close(RecordEnd::Limit);
        }
        self.state == State::Rolling
    }

    /// It ends; what was heard is kept. Nothing if it has ended already.
    pub fn close(&mut self, end: RecordEnd) {
        if self.state != State::Rolling {
            return;
        }
        if end == RecordEnd::Silence {
            let said = match self.talked {
                0 => 0,
                talked => self.layout.offset(talked * u64::from(FRAME_MS) + KEPT_MS),
            };
            let before = self.written + self.flying.len() as u64;
            let kept = usize::try_from(said.saturating_sub(before)).unwrap_or(usize::MAX);
            self.waiting.truncate(kept);
            // What was written already is cut by `Finish`.
            self.talked = said;
        }
        self.state = State::Closing(end);
    }

    /// What to ask of the disk. Its answer goes to [`Recorder::handle_answer`].
    pub fn poll_wish(&mut self) -> Option<FileWish> {
        if self.asked {
            return None;
        }
        let enough = self.layout.offset(match self.written {
            0 => FIRST_MS,
            _ => PIECE_MS,
        });
        match self.state {
            State::Rolling if (self.waiting.len() as u64) < enough => None,
            State::Rolling => Some(self.append()),
            State::Closing(_) if !self.waiting.is_empty() => Some(self.append()),
            State::Closing(end) if !self.begun => {
                self.state = State::Over { ms: 0, end };
                None
            }
            State::Closing(end) | State::Finishing(end) => Some(self.finish(end)),
            State::Over { .. } => None,
        }
    }

    fn append(&mut self) -> FileWish {
        (self.asked, self.begun) = (true, true);
        self.flying = std::mem::take(&mut self.waiting);
        FileWish::Append {
            name: self.name.clone(),
            layout: self.layout,
            at: self.written,
            bytes: self.flying.clone(),
        }
    }

    fn finish(&mut self, end: RecordEnd) -> FileWish {
        self.asked = true;
        self.state = State::Finishing(end);
        FileWish::Finish {
            name: self.name.clone(),
            layout: self.layout,
            data_size: self.kept(end),
        }
    }

    /// How much of what was written stays.
    fn kept(&self, end: RecordEnd) -> u64 {
        match end {
            // Made bytes of frames by `close`.
            RecordEnd::Silence => self.written.min(self.talked),
            RecordEnd::Key
            | RecordEnd::Limit
            | RecordEnd::Closed
            | RecordEnd::Failed
            | RecordEnd::Behind => self.written,
        }
    }

    /// The disk has answered.
    pub fn handle_answer(&mut self, answer: Result<(), FileFailure>) {
        self.asked = false;
        let flying = std::mem::take(&mut self.flying);
        if answer == Err(FileFailure::Busy) && !self.loses_patience() {
            // Later, with what has come meanwhile.
            let newer = std::mem::replace(&mut self.waiting, flying);
            self.waiting.extend(newer);
            return;
        }
        self.busy = 0;
        match (self.state, answer) {
            (State::Finishing(end), Ok(())) => {
                let ms = length_ms(self.layout, self.kept(end));
                self.state = State::Over { ms, end };
            }
            // What is in the file now can be salvaged.
            (State::Finishing(_), Err(_)) => {
                let end = RecordEnd::Failed;
                self.state = State::Over { ms: 0, end };
            }
            (State::Rolling | State::Closing(_), Ok(())) => self.written += flying.len() as u64,
            (State::Rolling | State::Closing(_), Err(_)) => {
                self.waiting.clear();
                self.state = State::Closing(RecordEnd::Failed);
            }
            (State::Over { .. }, _) => {}
        }
    }

    /// Whether a disk without time is waited for no longer. While it is recorded, what waits is the
    /// bound.
    fn loses_patience(&mut self) -> bool {
        if self.state != State::Rolling {
            self.busy += 1;
        }
        self.busy > BUSY_MAX
    }

    /// What it writes into.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why it takes no more frames.
    pub fn end(&self) -> Option<RecordEnd> {
        match self.state {
            State::Rolling => None,
            State::Closing(end) | State::Finishing(end) | State::Over { end, .. } => Some(end),
        }
    }

    /// How it ended, once nothing is left to do.
    pub fn outcome(&self) -> Option<(u32, RecordEnd)> {
        match self.state {
            State::Over { ms, end } => Some((ms, end)),
            State::Rolling | State::Closing(_) | State::Finishing(_) => None,
        }
    }

    /// Whether it takes no more frames.
    pub fn has_ended(&self) -> bool {
        self.end().is_some()
    }
}
