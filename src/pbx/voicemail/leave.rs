//! A caller leaves a message.
//!
//! ```text
//!   Begin --> Greeting --(over, #)--> Taking --> (kept) Closing --> hung up
//!                |  *                    |  hangs up: what was said is kept
//!                +--> Fetch              +--> Waiting for the studio's last word
//! ```
//! The message has its row before the first sample is recorded; its file is whole and on the disk
//! before the caller is told that it was saved. A caller who hangs up in the middle leaves what was
//! said, unless it is too short: also where the disk did not take all of it, as nobody is left who
//! could be told so. A caller who is on the line hears that, and nothing is kept.

use super::super::program::{Event, Program, Scene};
use super::takes::{Bounds, Outcome, Takes};
use super::{Fetch, Teller, greeting, name_of};
use crate::base::Instant;
use crate::mailbox::{MESSAGES_MAX, NoRoom, RECORDINGS_MAX};
use crate::media::RecordEnd;
use crate::media::file::{FileFailure, FileOrder, Filed};
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
    /// What led the caller here, for the log.
    by: Box<str>,
    teller: Teller,
    state: State,
    short: u32,
    /// The caller is gone.
    gone: bool,
    /// What is on the disk is being made whole.
    salvages: bool,
    /// When the caller began to speak.
    begun: Instant,
    /// The call's record says what became of the message.
    told: bool,
}

impl Leave {
    /// For the mailbox of a user.
    pub fn new(aor: &str, busy: bool) -> Self {
        Self {
            aor: aor.into(),
            busy,
            by: "the number plan".into(),
            teller: Teller::default(),
            state: State::Greeting,
            short: 0,
            gone: false,
            salvages: false,
            begun: Instant::ZERO,
            told: false,
        }
    }

    /// Where something else led the caller here.
    pub fn led_by(self, by: String) -> Self {
        let by = by.into();
        Self { by, ..self }
    }

    /// The caller is here, or another one in its place, as by a transfer: that one leaves a message
    /// of its own. What the one before said is no message, unless it was whole.
    fn begin(&mut self, scene: &mut Scene<'_>) {
        if let State::Taking { id, takes } = &self.state {
            let id = *id;
            match takes.is_under_review() {
                Some(ms) => {
                    let kept = scene.mailboxes.keep(&self.aor, id, ms);
                    kept.into_iter().for_each(|record| scene.persist(record));
                }
                None => self.drop_take(scene, id),
            }
        }
        self.state = State::Greeting;
        self.told = false;
        self.greet(scene);
    }

    fn greet(&mut self, scene: &mut Scene<'_>) {
        let owner = scene.house.directory.get(&self.aor);
        if owner.is_none_or(|owner| owner.disabled) {
            return self.nobodys(scene);
        }
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

    /// Nobody would ever hear it.
    fn nobodys(&mut self, scene: &mut Scene<'_>) {
        let mailbox = &*self.aor;
        tracing::warn!(
            mailbox,
            caller = &*scene.caller.number,
            "no message can be taken: there is no such user, or it is disabled; {} leads there",
            self.by
        );
        self.note(scene, "nobody's");
        self.close(scene, &["vm-nobox", "goodbye"]);
    }

    fn no_room(&mut self, scene: &mut Scene<'_>, why: NoRoom) {
        let (what, prompt) = match why {
            NoRoom::Quota => ("full", "vm-mailboxfull"),
            NoRoom::Busy => ("too many speak to it at once", "vm-cannot-record"),
            NoRoom::Index => ("all mailboxes are full", "vm-cannot-record"),
        };
        self.note(scene, what);
        if why != NoRoom::Quota && scene.mailboxes.tells_of_no_room(scene.unix_ms) {
            let (mailbox, most) = (&*self.aor, most_of(why));
            tracing::warn!(mailbox, most, "no message can be taken: {what}");
        }
        self.close(scene, &[prompt, "goodbye"]);
    }

    /// For the call's record.
    fn note(&self, scene: &mut Scene<'_>, what: &str) {
        let name = name_of(scene.config, &self.aor);
        scene.note(&format!("mailbox {name}: {what}"));
    }

    /// The same of what became of a message; once, as the record is made when the caller is gone.
    fn tell(&mut self, scene: &mut Scene<'_>, outcome: Outcome) {
        let State::Taking { id, .. } = self.state else {
            return;
        };
        let what = match outcome {
            Outcome::Accepted { ms } => format!("message {id}, {} s", ms / 1000),
            Outcome::Failed { .. } => "the disk did not take the message".to_owned(),
            Outcome::TooShort => "no message".to_owned(),
            Outcome::Open | Outcome::Starts | Outcome::Again => return,
        };
        if !std::mem::replace(&mut self.told, true) {
            self.note(scene, &what);
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

    /// All is done for a caller who is gone.
    fn end(&mut self, scene: &mut Scene<'_>) {
        self.state = State::Closing;
        scene.hang_up();
    }

    fn taken(&mut self, scene: &mut Scene<'_>, id: u64, outcome: Outcome) {
        let gone = self.gone;
        match outcome {
            Outcome::Open => {}
            Outcome::Starts => {
                self.begun = scene.now;
                // Before the file: a row that a crash leaves alone is found by the next start.
                if let Some(record) = scene.mailboxes.put(&self.aor, id, Folder::Recording) {
                    scene.persist(record);
                }
            }
            Outcome::Accepted { ms } => {
                let kept = match scene.config.voicemail.smtp {
                    Some(_) => scene.mailboxes.keep_and_send(&self.aor, id, ms),
                    None => scene.mailboxes.keep(&self.aor, id, ms),
                };
                if let Some(record) = kept {
                    scene.persist(record);
                }
                self.tell(scene, outcome);
                match gone {
                    true => self.end(scene),
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
                if self.short >= SHORT_MAX {
                    self.tell(scene, outcome);
                }
                match (gone, self.short >= SHORT_MAX) {
                    (true, _) => self.end(scene),
                    (false, true) => self.close(scene, &["vm-tooshort", "goodbye"]),
                    (false, false) => {
                        self.state = State::Greeting;
                        let words = scene.voice.prompts(["vm-tooshort", "vm-intro"]);
                        self.teller.say(scene, words);
                    }
                }
            }
            Outcome::Failed { ms: 0 } if gone => self.salvage(scene),
            Outcome::Failed { ms } if gone => {
                tracing::warn!(
                    mailbox = %self.aor, id, seconds = ms / 1000,
                    "the disk did not take all of a message: see what the log says of the spool"
                );
                self.taken(scene, id, worth(scene, ms));
            }
            Outcome::Failed { .. } => {
                self.tell(scene, outcome);
                self.drop_take(scene, id);
                self.close(scene, &["vm-cannot-record", "goodbye"]);
            }
        }
    }

    /// What there is of a message whose end the studio did not tell is made whole.
    fn salvage(&mut self, scene: &mut Scene<'_>) {
        if let State::Taking { takes, .. } = &self.state
            && !std::mem::replace(&mut self.salvages, true)
        {
            let file = takes.file().into();
            scene.file(SALVAGE, FileOrder::Salvage { file });
            scene.after(LAST_WORD, SALVAGE_TIMER);
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
        match event {
            Event::Ended => {
                self.gone = true;
                return match takes.is_under_review() {
                    Some(ms) => self.taken(scene, id, Outcome::Accepted { ms }),
                    None if takes.is_recording() => {
                        scene.after(LAST_WORD, LAST_WORD_TIMER);
                        // What the studio says of it comes too late for the record.
                        let spoken = scene.now.since(self.begun).as_millis();
                        let likely = worth(scene, u32::try_from(spoken).unwrap_or(u32::MAX));
                        self.tell(scene, likely);
                    }
                    None => {
                        self.tell(scene, Outcome::TooShort);
                        self.drop_take(scene, id);
                    }
                };
            }
            // The studio was restarted meanwhile: what was said may still be made whole.
            Event::Due(LAST_WORD_TIMER) => return self.salvage(scene),
            Event::Filed {
                task: SALVAGE,
                outcome: Filed::Salvaged { ms },
            } => return self.taken(scene, id, worth(scene, *ms)),
            // Nothing came to the disk.
            Event::Filed {
                task: SALVAGE,
                outcome: Filed::Failed(FileFailure::Missing),
            } => return self.taken(scene, id, Outcome::TooShort),
            Event::Filed { .. } | Event::Due(SALVAGE_TIMER) => {
                tracing::warn!(
                    mailbox = %self.aor, id,
                    "a recording did not end; the next start of voipd looks for it"
                );
                return self.end(scene);
            }
            Event::Recorded {
                end: RecordEnd::Closed,
                ..
            } => self.gone = true,
            _ => {}
        }
        let mut outcome = takes.on(scene, &mut self.teller, event);
        // Who is gone cannot be asked.
        if let (true, Outcome::Open, Some(ms)) = (self.gone, outcome, takes.is_under_review()) {
            outcome = Outcome::Accepted { ms };
        }
        self.taken(scene, id, outcome);
    }
}

/// Beside the one timer for keys.
const LAST_WORD_TIMER: u32 = 1;
const SALVAGE_TIMER: u32 = 2;
/// The only order about files.
const SALVAGE: u32 = 0;

/// The bound that leaves no room, for the log.
fn most_of(why: NoRoom) -> usize {
    match why {
        NoRoom::Busy => RECORDINGS_MAX,
        NoRoom::Quota | NoRoom::Index => MESSAGES_MAX,
    }
}

fn bounds(scene: &Scene<'_>) -> Bounds {
    let mail = &scene.config.voicemail;
    Bounds {
        min_ms: mail.message_min_s * 1000,
        max_ms: mail.message_max_s * 1000,
        silence_ms: mail.silence_s * 1000,
    }
}

/// What becomes of so much that a caller said who is gone.
fn worth(scene: &Scene<'_>, ms: u32) -> Outcome {
    match ms >= bounds(scene).min_ms {
        true => Outcome::Accepted { ms },
        false => Outcome::TooShort,
    }
}

impl Program for Leave {
    fn name(&self) -> &'static str {
        "voicemail"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match (&mut self.state, &event) {
            (_, Event::Begin) => self.begin(scene),
            (State::Greeting, Event::Key('#')) => self.take(scene),
            // The owner, or who knows the PIN.
            (State::Greeting, Event::Key('*')) => {
                scene.change(Box::new(Fetch::of(&self.aor)));
            }
            (State::Greeting, Event::Ended) => self.note(scene, "no message"),
            (State::Greeting, Event::Done(task)) if self.teller.is(*task) => self.take(scene),
            (State::Taking { .. }, _) => self.on_taking(scene, &event),
            (State::Closing, Event::Done(task)) if self.teller.is(*task) => scene.hang_up(),
            (State::Greeting | State::Closing, _) => {}
        }
    }
}
