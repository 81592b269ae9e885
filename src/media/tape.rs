//! A conversation on tape: two legs side by side in one file, the first on the left, whatever else
//! each of them does. Nothing of the conversation waits for it.
//!
//! What each side says is heard by an ear of the tape's own, so a bridge that passes packets on as
//! they come goes on doing so. Not recorded is what we say ourselves: tones, prompts, music.

use super::ear::Ear;
use super::file::Ticket;
use super::leg::Left;
use super::order::{Format, RecordEnd};
use super::record::{self, Limits, Recorder};
use crate::base::{Instant, TimerId};
use crate::wire::rtp::Header;
use std::time::Duration;

/// Behind the present by more than this, it goes on from the present.
const LATE_MAX: Duration = Duration::from_millis(200);

/// One recording of two legs.
#[derive(Debug)]
pub(super) struct Tape {
    /// What it is called in news.
    pub task: u32,
    /// The sessions on the left and on the right.
    pub sides: [u64; 2],
    pub recorder: Recorder,
    /// The question that waits for the disk.
    pub asked: Option<Ticket>,
    pub timer: Option<TimerId>,
    /// When the next frame is taken.
    pub due: Instant,
    ears: [Option<Box<Ear>>; 2],
}

impl Tape {
    /// Of two sessions, from now on.
    pub fn new(now: Instant, task: u32, sides: [u64; 2], (file, max_ms): (Box<str>, u32)) -> Self {
        let limits = Limits {
            max_ms,
            silence_ms: 0,
        };
        Self {
            task,
            sides,
            recorder: Recorder::stereo(file, limits),
            asked: None,
            timer: None,
            due: now,
            ears: [None, None],
        }
    }

    /// Another session is on the right.
    pub fn turn_to(&mut self, with: u64) {
        if self.sides[1] != with {
            self.sides[1] = with;
            self.ears[1] = None;
        }
    }

    /// A packet of one of its sessions came.
    pub fn put(
        &mut self,
        now: Instant,
        (session, format): (u64, &Format),
        header: &Header,
        payload: &[u8],
    ) {
        for (side, ear) in self.sides.iter().zip(&mut self.ears) {
            if *side == session {
                let fitting = ear.take().filter(|ear| ear.fits(format));
                let fresh = || Box::new(Ear::new(format, record::RATE));
                let ear = ear.insert(fitting.unwrap_or_else(fresh));
                ear.put(now, header, payload);
            }
        }
    }

    /// Takes the next frame of both, if it is due; whether the recording goes on.
    pub fn turn(&mut self, now: Instant) -> bool {
        if self.due > now {
            return !self.recorder.has_ended();
        }
        if now.since(self.due) > LATE_MAX {
            self.due = now;
        }
        let mut frames = [[0; record::FRAME]; 2];
        for (ear, frame) in self.ears.iter_mut().zip(&mut frames) {
            if let Some(ear) = ear {
                ear.frame(self.due, frame);
            }
        }
        self.due += Duration::from_millis(record::FRAME_MS.into());
        let [left, right] = &frames;
        self.recorder.push_both(left, right)
    }

    /// It is over, as far as its legs are concerned.
    pub fn leave(mut self) -> Left {
        self.recorder.close(RecordEnd::Closed);
        Left {
            session: self.sides[0],
            task: self.task,
            recorder: self.recorder,
            asked: self.asked,
        }
    }
}
