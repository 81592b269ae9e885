//! What is said in a conference room, as a recording: a place in the room that hears and says
//! nothing, and lasts until it is told to end or nobody else is there.

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
    seat: Seat,
    resampler: Resampler,
    frame: u64,
    samples: Box<[i16]>,
    /// What was not written yet, at the rate of recordings.
    waiting: Vec<i16>,
}

impl Minutes {
    /// `None` where the room's rate cannot be brought to that of recordings.
    pub fn new(now: Instant, seat: Seat) -> Option<Self> {
        Some(Self {
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

    /// Its turn: whole frames go to `write`; whether it goes on.
    pub fn turn(&mut self, now: Instant, mut write: impl FnMut(&[i16; record::FRAME])) -> bool {
        let present = now.as_nanos().saturating_sub(PHASE_NS) / FRAME_NS;
        let behind = present.saturating_sub(self.frame);
        for _ in 0..behind.min(BEHIND_MAX) {
            write(&[0; record::FRAME]);
        }
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
        while let Some(frame) = self.waiting.first_chunk() {
            write(frame);
            self.waiting.drain(..record::FRAME);
        }
        true
    }
}
