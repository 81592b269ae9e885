//! A caller leaves a message.
//!
//! ```text
//!   Begin --> Greeting --(over, #)--> Taking --> (kept) Closing --> hung up
//!                |  *                    |  hangs up: what was said is kept
//!                +--> Fetch              +--> Waiting for the studio's last word
//! ```
//! The message has its row before the first sample is recorded; its file is whole and on the disk
//! before the caller is told that it was saved. A caller who hangs up in the middle leaves what was
//! said, unless it is too short.

use super::super::program::{Event, Program, Scene};
use super::takes::{Bounds, Outcome, Takes};
use super::{Fetch, Teller, greeting};
use crate::mailbox::NoRoom;
use crate::media::RecordEnd;
use crate::media::file::{FileOrder, Filed};
use crate::store::Folder;
use std::time::Duration;

/// How long the studio may take to finish the file of a caller who is gone, and how long to make
/// whole what another studio left. What comes later is found by the next start.
const LAST_WORD: Duration = Duration::from_secs(30);
/// Recordings that are too short before the caller is left alone.
const SHORT_MAX: u32 = 3;

#[derive(Debug)]
enum State {
    Greeting,
    Taking { id: u64, takes: Takes },
    Closing,
}

/// See the module's text.
#[derive(Debug)]
pub(in crate::pbx) struct Leave {
    /// The mailbox: the address of record of a user.
    aor: Box<str>,
    /// Whether its owner is on another call.
    busy: bool,
    teller: Teller,
    state: State,
    short: u32,
}

impl Leave {
    /// For the mailbox of a user.
    pub fn new(aor: &str, busy: bool) -> Self {
        Self {
            aor: aor.into(),
            busy,
            teller: Teller::default(),
            state: State::Greeting,
            short: 0,
        }
    }

    fn greet(&mut self, scene: &mut Scene<'_>) {
        let most = scene.config.voicemail.messages_max;
        match scene.mailboxes.room(&self.aor, most) {
            Ok(()) => {
                let mut words = vec![scene.voice.pause()];
                words.extend(greeting(scene, &self.aor, self.busy));
                self.teller.say(scene, words);
            }
            Err(why) => self.no_room(scene, why),
        }
    }

    fn no_room(&mut self, scene: &mut Scene<'_>, why: NoRoom) {
        match why {
            NoRoom::Quota => self.close(scene, &["vm-mailboxfull", "goodbye"]),
            NoRoom::Busy | NoRoom::Index => self.close(scene, &["vm-cannot-record", "goodbye"]),
        }
    }

    fn take(&mut self, scene: &mut Scene<'_>) {
        // Who proved to be one of our users is that user, whatever its phone calls itself.
        let user = scene.caller.user.as_deref();
        let proven = user.and_then(|aor| aor.split('@').next());
        let number = proven.unwrap_or(&scene.caller.number);
        let caller = (number, &*scene.caller.name);
        let most = scene.config.voicemail.messages_max;
        let begun = scene
            .mailboxes
            .begin(&self.aor, caller, scene.unix_ms, most);
        let message = match begun {
            Ok(message) => message,
            Err(why) => return self.no_room(scene, why),
        };
        let id = message.id;
        match &mut self.state {
            State::Taking { id: taken, takes } => {
                *taken = id;
                takes.again(scene, &mut self.teller, &message.file);
            }
            State::Greeting | State::Closing => {
                let bounds = bounds(scene);
                let takes = Takes::begin(scene, &mut self.teller, &message.file, bounds);
                self.state = State::Taking { id, takes };
            }
        }
    }

    fn close(&mut self, scene: &mut Scene<'_>, prompts: &[&str]) {
        self.state = State::Closing;
        let mut words = vec![scene.voice.pause()];
        words.extend(scene.voice.prompts(prompts));
        words.push(scene.voice.pause());
        self.teller.say(scene, words);
    }

    fn taken(&mut self, scene: &mut Scene<'_>, id: u64, outcome: Outcome, gone: bool) {
        match outcome {
            Outcome::Open => {}
            Outcome::Starts => {
                // Before the file: a row that a crash leaves alone is found by the next start.
                if let Some(record) = scene.mailboxes.put(&self.aor, id, Folder::Recording) {
                    scene.persist(record);
                }
            }
            Outcome::Accepted { ms } => {
                if let Some(record) = scene.mailboxes.keep(&self.aor, id, ms) {
                    scene.persist(record);
                }
                match gone {
                    true => scene.hang_up(),
                    false => self.close(scene, &["vm-msgsaved", "goodbye"]),
                }
            }
            Outcome::Again => {
                self.drop_take(scene, id);
                self.take(scene);
            }
            Outcome::TooShort => {
                self.drop_take(scene, id);
                self.short += 1;
                match (gone, self.short >= SHORT_MAX) {
                    (true, _) => scene.hang_up(),
                    (false, true) => self.close(scene, &["vm-tooshort", "goodbye"]),
                    (false, false) => {
                        self.state = State::Greeting;
                        let words = scene.voice.prompts(["vm-tooshort", "vm-intro"]);
                        self.teller.say(scene, words);
                    }
                }
            }
            Outcome::Failed => {
                self.drop_take(scene, id);
                match gone {
                    true => scene.hang_up(),
                    false => self.close(scene, &["vm-cannot-record", "goodbye"]),
                }
            }
        }
    }

    fn drop_take(&self, scene: &mut Scene<'_>, id: u64) {
        if let Some(record) = scene.mailboxes.remove(&self.aor, id) {
            scene.persist(record);
        }
    }

    fn on_taking(&mut self, scene: &mut Scene<'_>, event: &Event) {
        let State::Taking { id, takes } = &mut self.state else {
            return;
        };
        let id = *id;
        if *event == Event::Ended {
            return match takes.is_under_review() {
                Some(ms) => self.taken(scene, id, Outcome::Accepted { ms }, true),
                None if takes.is_recording() => scene.after(LAST_WORD, LAST_WORD_TIMER),
                None => self.drop_take(scene, id),
            };
        }
        match event {
            // The studio was restarted meanwhile: what was said may still be made whole.
            Event::Due(LAST_WORD_TIMER) => {
                let file = takes.file().into();
                scene.file(SALVAGE, FileOrder::Salvage { file });
                return scene.after(LAST_WORD, SALVAGE_TIMER);
            }
            Event::Filed {
                task: SALVAGE,
                outcome: Filed::Salvaged { ms },
            } => {
                let outcome = match *ms >= bounds(scene).min_ms {
                    true => Outcome::Accepted { ms: *ms },
                    false => Outcome::TooShort,
                };
                return self.taken(scene, id, outcome, true);
            }
            Event::Filed { .. } | Event::Due(SALVAGE_TIMER) => {
                tracing::warn!(
                    mailbox = %self.aor, id,
                    "a recording did not end; the next start of voipd looks for it"
                );
                return scene.hang_up();
            }
            _ => {}
        }
        let outcome = takes.on(scene, &mut self.teller, event);
        let gone = matches!(
            event,
            Event::Recorded {
                end: RecordEnd::Closed,
                ..
            }
        );
        self.taken(scene, id, outcome, gone);
    }
}

/// Beside the one timer for keys.
const LAST_WORD_TIMER: u32 = 1;
const SALVAGE_TIMER: u32 = 2;
/// The only order about files.
const SALVAGE: u32 = 0;

fn bounds(scene: &Scene<'_>) -> Bounds {
    let mail = &scene.config.voicemail;
    Bounds {
        min_ms: mail.message_min_s * 1000,
        max_ms: mail.message_max_s * 1000,
        silence_ms: mail.silence_s * 1000,
    }
}

impl Program for Leave {
    fn name(&self) -> &'static str {
        "voicemail"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match (&mut self.state, &event) {
            (State::Greeting, Event::Begin) => self.greet(scene),
            (State::Greeting, Event::Key('#')) => self.take(scene),
            // The owner, or who knows the PIN.
            (State::Greeting, Event::Key('*')) => {
                scene.change(Box::new(Fetch::of(&self.aor)));
            }
            (State::Greeting, Event::Done(task)) if self.teller.is(*task) => self.take(scene),
            (State::Taking { .. }, _) => self.on_taking(scene, &event),
            (State::Closing, Event::Done(task)) if self.teller.is(*task) => scene.hang_up(),
            (State::Greeting | State::Closing, _) => {}
        }
    }
}
