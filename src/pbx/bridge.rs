//! Stands between two sides that cannot talk directly: the call goes on to whom it was for,
//! with every codec that we know offered, and both hear each other through the studio. So do those
//! whose call is recorded, from its beginning or by keys of one of them.

use super::program::{Account, Event, Opening, Program, Reach, Scene};
use super::voice::Voice;
use crate::base::Instant;
use crate::config::{Recorded, RingBack};
use crate::media::file::recording_of;
use crate::media::tone::{Country, Tone};
use crate::media::{RecordEnd, Sound, Task};
use crate::plan::local_time;
use std::time::Duration;

/// How long the far side may ring: as long as the proxy lets it (timer C is shorter).
const RING: Duration = Duration::from_secs(300);

/// Two that were joined otherwise stay so until one hangs up.
#[derive(Debug)]
pub(super) struct Stay;

impl Program for Stay {
    fn name(&self) -> &'static str {
        "transfer"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        if event == Event::Parted {
            scene.hang_up();
        }
    }
}

/// The numbers of its own sounds, and of the recording.
const RING_BACK: u32 = 0;
const NOTICE: u32 = 1;
const TAPE: u32 = 2;
/// Keys that come later than this do not belong to those before.
const KEYS_WAIT: Duration = Duration::from_secs(2);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Bridge {
    /// Whom the call is for: a SIP URI.
    to: Box<str>,
    /// What the caller hears while a phone rings; without, the tone that its own phone makes.
    ring_back: Option<RingBack>,
    /// Whether it hears that.
    rings: bool,
    record: Option<Recorded>,
    /// Whether it is recorded now.
    taped: bool,
    /// What the caller and the other pressed lately, and when.
    pressed: [(String, Instant); 2],
}

impl Bridge {
    pub fn new(to: Box<str>, ring_back: Option<RingBack>, record: Option<Recorded>) -> Self {
        Self {
            to,
            ring_back,
            rings: false,
            record,
            taped: false,
            pressed: Default::default(),
        }
    }

    fn joined(&mut self, scene: &mut Scene<'_>) {
        scene.answer();
        if self.record == Some(Recorded::Always) {
            self.tape(scene);
        }
    }

    /// From now on both are recorded, and told so.
    fn tape(&mut self, scene: &mut Scene<'_>) {
        let file = file_of(scene);
        scene.note(&format!("recorded: {file}"));
        let max_ms = scene.config.recording.max_s.saturating_mul(1000);
        scene.tape(Some((TAPE, file, max_ms)));
        self.taped = true;
        self.tell(scene, &["call-is-recorded"]);
    }

    fn tell(&self, scene: &mut Scene<'_>, words: &[&str]) {
        if scene.config.recording.notice {
            let mut sounds = vec![scene.voice.pause()];
            sounds.extend(scene.voice.prompts(words));
            scene.both(NOTICE, sounds);
        }
    }

    /// A key of one of the two; in a row with others it may begin the recording, or end it.
    fn pressed(&mut self, scene: &mut Scene<'_>, side: usize, key: char) {
        let Some((typed, last)) = self.pressed.get_mut(side) else {
            return;
        };
        if self.record != Some(Recorded::OnDemand) {
            return;
        }
        if scene.now.since(*last) > KEYS_WAIT {
            typed.clear();
        }
        *last = scene.now;
        typed.push(key);
        let keys = &*scene.config.recording.keys;
        if !typed.ends_with(keys) {
            // As many as may still become the row.
            let from = typed.len().saturating_sub(keys.len().saturating_sub(1));
            typed.drain(..from);
            return;
        }
        typed.clear();
        match self.taped {
            false => self.tape(scene),
            true => {
                self.taped = false;
                scene.tape(None);
                self.tell(scene, &["call-recording", "de-activated"]);
            }
        }
    }

    fn recorded(&mut self, scene: &mut Scene<'_>, end: RecordEnd) {
        match end {
            // The log says why, and what to do.
            RecordEnd::Failed => scene.note("recording: it could not be written"),
            RecordEnd::Behind => scene.note("recording: it ended, as the disk did not answer"),
            RecordEnd::Limit => scene.note("recording: as long as it may be"),
            RecordEnd::Key | RecordEnd::Silence | RecordEnd::Closed => return,
        }
        self.taped = false;
    }

    /// A phone rings. The sound needs the caller's media, and thus a 183 instead of a 180.
    fn ring(&mut self, scene: &mut Scene<'_>) {
        let Some(sound) = &self.ring_back else {
            return scene.ring();
        };
        if std::mem::replace(&mut self.rings, true) {
            return;
        }
        let sound = match sound {
            RingBack::Music => Sound::Music,
            RingBack::Prompt(name) => scene.voice.prompt(name),
            RingBack::Tone(country) => {
                let country = Country::from_locale(country);
                let country = country.unwrap_or(scene.voice.country);
                Voice {
                    country,
                    ..scene.voice
                }
                .tone(Tone::RingBack, None)
            }
        };
        scene.early();
        let what = Task::Play {
            sounds: vec![sound],
            rounds: None,
            until_key: false,
        };
        scene.order(RING_BACK, what);
    }
}

impl Program for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn opening(&self) -> Opening {
        Opening::Wait
    }

    fn is_one_call(&self) -> bool {
        true
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin => scene.connect(Reach {
                to: self.to.clone(),
                account: Account::Caller,
                caller_id: None,
                ring: RING,
                headers: Vec::new(),
            }),
            Event::Ringing => self.ring(scene),
            Event::Heard => scene.early(),
            Event::Joined => self.joined(scene),
            Event::Done(NOTICE) => scene.rejoin(),
            Event::Key(key) => self.pressed(scene, 0, key),
            Event::FarKey(key) => self.pressed(scene, 1, key),
            Event::Recorded {
                task: TAPE, end, ..
            } => self.recorded(scene, end),
            Event::Refused(status) => scene.fail(status),
            Event::Parted => scene.hang_up(),
            Event::Done(_)
            | Event::Measured(_)
            | Event::Talking(_)
            | Event::Told(_)
            | Event::Held(_)
            | Event::Referred(_)
            | Event::Recorded { .. }
            | Event::Filed { .. }
            | Event::Due(_)
            | Event::Ended => {}
        }
    }
}

/// Where a recording goes.
fn file_of(scene: &mut Scene<'_>) -> Box<str> {
    let begun = local_time(scene.unix_ms, &scene.config.numbers.timezone);
    let day = begun.strftime("%Y/%m/%d").to_string();
    let own = scene.rng.token::<8>();
    recording_of(&day, &scene.caller.dialog.0, &own)
}

#[cfg(test)]
mod tests;
