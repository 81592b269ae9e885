//! Something is recorded, and looked at by who said it: a message by its caller, a greeting by its
//! owner.
//!
//! ```text
//!   begin --> Beeping --> Recording --(#, silence, limit)--> Reviewing --1--> Accepted
//!                ^            |                               | |  ^
//!                |            +--(too short)--> TooShort      | +2-+ (played)
//!                +------------------------------------------3-+
//! ```

use super::super::program::{Event, Scene};
use super::{KEY_WAIT, Teller, recording};
use crate::media::RecordEnd;
use crate::media::{Sound, Task};

/// How often the review menu is said before silence means yes.
const REVIEWS_MAX: u32 = 3;
/// Recordings that one caller may throw away.
const TAKES_MAX: u32 = 10;

/// Bounds of a recording, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bounds {
    /// Shorter ones are none.
    pub min_ms: u32,
    /// Longer ones end.
    pub max_ms: u32,
    /// So much silence ends one; zero: none does.
    pub silence_ms: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Beeping,
    Recording,
    Reviewing { told: u32 },
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It goes on.
    Open,
    /// The recording begins: the row must be there now.
    Starts,
    /// It is content with a recording of so many milliseconds.
    Accepted { ms: u32 },
    /// It wants to say it anew: what was recorded goes.
    Again,
    /// What was recorded is too short, and goes.
    TooShort,
    /// The disk does not take it, or not all; of so many milliseconds there is a file.
    Failed { ms: u32 },
}

/// One recording.
#[derive(Debug)]
pub(super) struct Takes {
    file: Box<str>,
    bounds: Bounds,
    state: State,
    ms: u32,
    takes: u32,
}

impl Takes {
    /// Beeps, and then records into the file.
    pub fn begin(scene: &mut Scene<'_>, teller: &mut Teller, file: &str, bounds: Bounds) -> Self {
        Self::begin_behind(scene, teller, Vec::new(), file, bounds)
    }

    /// The same behind some words.
    pub fn begin_behind(
        scene: &mut Scene<'_>,
        teller: &mut Teller,
        before: Vec<Sound>,
        file: &str,
        bounds: Bounds,
    ) -> Self {
        let mut takes = Self {
            file: file.into(),
            bounds,
            state: State::Beeping,
            ms: 0,
            takes: 0,
        };
        takes.beep(scene, teller, before);
        takes
    }

    /// The same into another file.
    pub fn again(&mut self, scene: &mut Scene<'_>, teller: &mut Teller, file: &str) {
        self.file = file.into();
        self.beep(scene, teller, Vec::new());
    }

    /// Whether what was said last is whole, and its caller had no time to say yes or no.
    pub fn is_under_review(&self) -> Option<u32> {
        match self.state {
            State::Reviewing { .. } => Some(self.ms),
            State::Beeping | State::Recording => None,
        }
    }

    /// Whether the studio has still to say what became of it.
    pub fn is_recording(&self) -> bool {
        self.state == State::Recording
    }

    /// What is recorded into.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Whether another take may follow.
    pub fn may_repeat(&self) -> bool {
        self.takes < TAKES_MAX
    }

    /// Something happened.
    pub fn on(&mut self, scene: &mut Scene<'_>, teller: &mut Teller, event: &Event) -> Outcome {
        match (self.state, event) {
            (State::Beeping, Event::Done(task)) if teller.is(*task) => {
                self.record(scene, teller);
                Outcome::Starts
            }
            (State::Recording, Event::Recorded { task, ms, end }) if teller.is(*task) => {
                self.recorded(scene, teller, *ms, *end)
            }
            (State::Reviewing { .. }, Event::Key(key)) => self.reviewed(scene, teller, *key),
            (State::Reviewing { .. }, Event::Done(task)) if teller.is(*task) => {
                teller.wait(scene, KEY_WAIT);
                Outcome::Open
            }
            (State::Reviewing { told }, Event::Due(timer)) if teller.is_overdue(*timer) => {
                if told >= REVIEWS_MAX {
                    return Outcome::Accepted { ms: self.ms };
                }
                self.review(scene, teller, told + 1);
                Outcome::Open
            }
            _ => Outcome::Open,
        }
    }

    fn beep(&mut self, scene: &mut Scene<'_>, teller: &mut Teller, before: Vec<Sound>) {
        self.state = State::Beeping;
        self.ms = 0;
        self.takes += 1;
        let voice = scene.voice;
        let mut words = before;
        words.extend([voice.pause(), voice.beep()]);
        teller.say(scene, words);
    }

    fn record(&mut self, scene: &mut Scene<'_>, teller: &mut Teller) {
        self.state = State::Recording;
        let what = Task::Record {
            file: self.file.clone(),
            max_ms: self.bounds.max_ms,
            silence_ms: self.bounds.silence_ms,
            until_key: true,
            beep: None,
        };
        let task = teller.next();
        scene.order(task, what);
    }

    fn recorded(
        &mut self,
        scene: &mut Scene<'_>,
        teller: &mut Teller,
        ms: u32,
        end: RecordEnd,
    ) -> Outcome {
        self.ms = ms;
        match end {
            RecordEnd::Failed => Outcome::Failed { ms },
            _ if ms < self.bounds.min_ms => Outcome::TooShort,
            // The caller is gone, and cannot be asked.
            RecordEnd::Closed => Outcome::Accepted { ms },
            RecordEnd::Key | RecordEnd::Silence | RecordEnd::Limit | RecordEnd::Behind => {
                self.review(scene, teller, 1);
                Outcome::Open
            }
        }
    }

    fn review(&mut self, scene: &mut Scene<'_>, teller: &mut Teller, told: u32) {
        self.state = State::Reviewing { told };
        let words = vec![scene.voice.pause(), scene.voice.prompt("vm-review")];
        teller.say(scene, words);
    }

    fn reviewed(&mut self, scene: &mut Scene<'_>, teller: &mut Teller, key: char) -> Outcome {
        match key {
            '1' | '#' => Outcome::Accepted { ms: self.ms },
            '2' => {
                self.state = State::Reviewing { told: 1 };
                let voice = scene.voice;
                let words = vec![
                    recording(&self.file),
                    voice.pause(),
                    voice.prompt("vm-review"),
                ];
                teller.say(scene, words);
                Outcome::Open
            }
            '3' if self.may_repeat() => Outcome::Again,
            _ => Outcome::Open,
        }
    }
}
