//! A conversation on tape: two legs side by side in one file, the first on the left, whatever else
//! each of them does. Nothing of the conversation waits for it.
//!
//! What each side says is heard by an ear of the tape's own, so a bridge that passes packets on as
//! they come goes on doing so. Not recorded is what we say ourselves: tones, prompts, music.
//!
//! In place of two legs it may be a session that passes by, of which we hear each packet: there a
//! side may write in several ways, and use one or the other as it likes.

use super::ear::Ear;
use super::file::Ticket;
use super::leg::Left;
use super::order::{Format, RecordEnd, TAPPED_FORMATS_MAX};
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
    /// Whether nothing is taken.
    pub paused: bool,
    sides_heard: [Hearing; 2],
}

/// What is heard of one side: an ear for each way in which it writes, made when that is used.
#[derive(Debug, Default)]
struct Hearing {
    ears: Vec<(Format, Option<Box<Ear>>)>,
    /// The one that was used last, which gets keys and comfort noise too.
    last: usize,
}

impl Hearing {
    /// It writes in these ways from now on; ears that fit one of them stay.
    fn learn(&mut self, formats: impl IntoIterator<Item = Format>) {
        let used = self.ears.get(self.last).map(|(f, _)| f.payload_type);
        let formats = formats.into_iter().take(TAPPED_FORMATS_MAX);
        let ears: Vec<_> = formats
            .map(|format| {
                let fits = |(_, ear): &&mut (Format, Option<Box<Ear>>)| {
                    ear.as_ref().is_some_and(|ear| ear.fits(&format))
                };
                let known = self.ears.iter_mut().find(fits);
                let ear = known.and_then(|(_, ear)| ear.take());
                (format, ear)
            })
            .collect();
        self.ears = ears;
        let again = self
            .ears
            .iter()
            .position(|(f, _)| Some(f.payload_type) == used);
        self.last = again.unwrap_or(0);
    }

    fn put(&mut self, now: Instant, stream: usize, header: &Header, payload: &[u8]) {
        let is = |(f, _): &(Format, _)| f.payload_type == header.payload_type;
        if let Some(at) = self.ears.iter().position(is) {
            self.last = at;
        }
        if let Some((format, ear)) = self.ears.get_mut(self.last)
            && stream == usize::from(format.stream)
        {
            let ear = ear.get_or_insert_with(|| Box::new(Ear::new(format, record::RATE)));
            ear.put(now, header, payload);
        }
    }

    /// The next frame, of all ears together: while one falls silent another speaks.
    fn frame(&mut self, now: Instant, frame: &mut [i16; record::FRAME]) {
        for (_, ear) in &mut self.ears {
            let Some(ear) = ear else { continue };
            let mut heard = [0; record::FRAME];
            ear.frame(now, &mut heard);
            for (sum, sample) in frame.iter_mut().zip(heard) {
                *sum = sum.saturating_add(sample);
            }
        }
    }
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
            paused: false,
            sides_heard: Default::default(),
        }
    }

    /// The sides of a session that passes by write in these ways from now on.
    pub fn learn(&mut self, formats: [Vec<Format>; 2]) {
        for (side, formats) in self.sides_heard.iter_mut().zip(formats) {
            side.learn(formats);
        }
    }

    /// A packet of the left side or the right one passes by.
    pub fn overhear(
        &mut self,
        now: Instant,
        (side, stream): (usize, usize),
        header: &Header,
        payload: &[u8],
    ) {
        if let Some(side) = self.sides_heard.get_mut(side) {
            side.put(now, stream, header, payload);
        }
    }

    /// Another session is on the right.
    pub fn turn_to(&mut self, with: u64) {
        if self.sides[1] != with {
            self.sides[1] = with;
            self.sides_heard[1] = Hearing::default();
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
        for (side, heard) in self.sides.iter().zip(&mut self.sides_heard) {
            if *side == session {
                if heard.ears.first().is_none_or(|(known, _)| known != format) {
                    heard.learn([format.bare()]);
                }
                heard.put(now, format.stream.into(), header, payload);
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
        for (side, frame) in self.sides_heard.iter_mut().zip(&mut frames) {
            side.frame(self.due, frame);
        }
        self.due += Duration::from_millis(record::FRAME_MS.into());
        if self.paused {
            return !self.recorder.has_ended();
        }
        let [left, right] = &frames;
        self.recorder.push_both(left, right)
    }

    /// It is over, as far as its legs are concerned.
    pub fn leave(mut self) -> Left {
        self.recorder.close(RecordEnd::Closed);
        Left {
            session: self.sides[0],
            task: self.task,
            room: None,
            recorder: self.recorder,
            asked: self.asked,
            rests: false,
        }
    }
}
