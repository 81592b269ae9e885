//! What is said in a conference room, as a recording: a place in the room that hears and says
//! nothing, and lasts until it is told to end or nobody else is there. Where it lasts longer than
//! one file may, another file follows, and nothing is lost between them.

use super::record;
use super::resample::Resampler;
use super::room::{FRAME_MS, Listened, Seat};
use super::wav::{Encoding, Layout};
use crate::base::Instant;

const FRAME_NS: u64 = FRAME_MS as u64 * 1_000_000;
/// Its turn lies at the end of the second half of each frame: behind those of all who talk.
const PHASE_NS: u64 = FRAME_NS * 3 / 4;
/// Frames by which it may be behind; what lies before is recorded as silence.
const BEHIND_MAX: u64 = 250;

/// One recording of a room.
#[derive(Debug)]
pub(super) struct Minutes {
    /// The leg that asked for it.
    pub session: u64,
    seat: Seat,
    /// What its first file is called, and how many were begun.
    file: Box<str>,
    files: u32,
    /// What they are made of.
    pub layout: Layout,
    resampler: Resampler,
    frame: u64,
    samples: Box<[i16]>,
    /// What was not written yet, at the rate of the file.
    waiting: Vec<i16>,
}

impl Minutes {
    /// Into a file, for a leg. `None` where the room's rate cannot be brought to that of the file.
    pub fn new(
        now: Instant,
        seat: Seat,
        session: u64,
        (file, encoding): (Box<str>, Encoding),
    ) -> Option<Self> {
        let layout = record::layout_of_room(encoding, seat.rate());
        Some(Self {
            session,
            file,
            files: 0,
            layout,
            resampler: Resampler::new(seat.rate(), layout.rate)?,
            frame: now.as_nanos().saturating_sub(PHASE_NS) / FRAME_NS + 1,
            samples: vec![0; seat.frame_samples()].into_boxed_slice(),
            waiting: Vec::with_capacity(2 * record::FRAME_MAX),
            seat,
        })
    }

    /// When its next turn is.
    pub fn due(&self) -> Instant {
        Instant::from_nanos(self.frame * FRAME_NS + PHASE_NS)
    }

    /// The room's name.
    pub fn room(&self) -> &str {
        self.seat.room()
    }

    /// What the next file is called: `a.wav`, then `a.2.wav`.
    pub fn next_file(&mut self) -> Box<str> {
        self.files += 1;
        match (self.files, self.file.rsplit_once('.')) {
            (1, _) | (_, None) => self.file.clone(),
            (n, Some((name, extension))) => format!("{name}.{n}.{extension}").into(),
        }
    }

    /// Its turn: what was heard waits in [`Minutes::frame`]; whether it goes on.
    pub fn turn(&mut self, now: Instant) -> bool {
        let present = now.as_nanos().saturating_sub(PHASE_NS) / FRAME_NS;
        let behind = present.saturating_sub(self.frame);
        let missed = usize::try_from(behind.min(BEHIND_MAX)).unwrap_or(0);
        self.waiting
            .resize(self.waiting.len() + missed * self.frame_samples(), 0);
        self.frame += behind;
        let heard = self.seat.listen(self.frame, &mut self.samples);
        self.frame += 1;
        match heard {
            Listened::Sound => {}
            Listened::Late => self.samples.fill(0),
            Listened::Over => return false,
        }
        let mut converted = [0; 2 * record::FRAME_MAX];
        let made = self.resampler.process(&self.samples, &mut converted);
        let converted = converted.get(..made).unwrap_or_default();
        self.waiting.extend_from_slice(converted);
        true
    }

    /// Samples of one frame of the file.
    fn frame_samples(&self) -> usize {
        (self.layout.rate * record::FRAME_MS / 1000) as usize
    }

    /// Hands over the next whole frame that was not written yet, if there is one.
    pub fn frame(&mut self, write: impl FnOnce(&[i16])) -> bool {
        let samples = self.frame_samples();
        let Some(frame) = self.waiting.get(..samples) else {
            return false;
        };
        write(frame);
        self.waiting.drain(..samples);
        true
    }
}
