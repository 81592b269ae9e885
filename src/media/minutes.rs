//! What is said in a conference room, as a recording: a place in the room that hears and says
//! nothing, and lasts until it is told to end or nobody else is there. Where it lasts longer than
//! one file may, another file follows, and nothing is lost between them.

use super::record;
use super::resample::Resampler;
use super::room::{FRAME_MS, Listened, Seat};
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
    resampler: Resampler,
    frame: u64,
    samples: Box<[i16]>,
    /// What was not written yet, at the rate of recordings.
    waiting: Vec<i16>,
}

impl Minutes {
    /// Into a file, for a leg. `None` where the room's rate cannot be brought to that of
    /// recordings.
    pub fn new(now: Instant, seat: Seat, session: u64, file: Box<str>) -> Option<Self> {
        Some(Self {
            session,
            file,
            files: 0,
            resampler: Resampler::new(seat.rate(), record::RATE)?,
            frame: now.as_nanos().saturating_sub(PHASE_NS) / FRAME_NS + 1,
            samples: vec![0; seat.frame_samples()].into_boxed_slice(),
            waiting: Vec::with_capacity(2 * record::FRAME),
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
            .resize(self.waiting.len() + missed * record::FRAME, 0);
        self.frame += behind;
        let heard = self.seat.listen(self.frame, &mut self.samples);
        self.frame += 1;
        match heard {
            Listened::Sound => {}
            Listened::Late => self.samples.fill(0),
            Listened::Over => return false,
        }
        let mut converted = [0; 2 * record::FRAME];
        let made = self.resampler.process(&self.samples, &mut converted);
        let converted = converted.get(..made).unwrap_or_default();
        self.waiting.extend_from_slice(converted);
        true
    }

    /// The next whole frame that was not written yet.
    pub fn frame(&mut self) -> Option<[i16; record::FRAME]> {
        let frame = *self.waiting.first_chunk()?;
        self.waiting.drain(..record::FRAME);
        Some(frame)
    }
}
