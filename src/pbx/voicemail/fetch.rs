//! A mailbox is opened and heard.
//!
//! ```text
//!   Begin --> (owner's phone) --------------------+
//!     |                                           v
//!     +--> Number --> Pin --(right)-----------> Main --1--> Message <--4,5,6--+
//!                      ^ |                        | ^---#,6 at the end--+ |   |
//!                      | +--(wrong)--> Slowed     | 0                     | +---+
//!                      +---------------------+    v                     | 7 9 3 2
//!                                               Options --> greeting, PIN
//! ```
//! With `*` the main menu is left for the number of another mailbox, from whosever phone.
//!
//! A message counts as heard once its own sound began, behind the words that tell of it; one whose
//! file cannot be read is never heard. What is deleted goes when the caller does, and
//! can be recovered until then.

use super::super::program::{Account, Event, Led, Program, Reach, Scene};
use super::takes::{Bounds, Outcome, Takes};
use super::{KEY_WAIT, Teller, duration, envelope, name_of, recording};
use crate::feature::Patience;
use crate::mailbox::{Counts, Errand};
use crate::mailbox::{Limits, NoRoom, Opening, take_of_greeting};
use crate::media::Sound;
use crate::media::file::{FileOrder, Filed};
use crate::media::say::{Gender, say_messages};
use crate::store::{Folder, Greeting, PIN_DIGITS_MAX, PinHash, Record};
use std::time::Duration;

/// PINs that one call may try.
const TRIES_MAX: u32 = 3;
/// How often a menu is said to somebody who presses nothing.
const MENUS_MAX: u32 = 3;
/// How long the next digit of a number is waited for.
const DIGIT_WAIT: Duration = Duration::from_secs(8);
/// How long who is called back may ring.
const CALL_BACK_RING: Duration = Duration::from_secs(60);
/// Digits of a mailbox's number.
const NUMBER_DIGITS_MAX: usize = 20;
/// The shortest and the longest greeting.
const GREETING: Bounds = Bounds {
    min_ms: 500,
    max_ms: 60_000,
    silence_ms: 0,
};

#[derive(Debug)]
enum State {
    /// Which mailbox?
    Number,
    /// Whose PIN?
    Pin,
    /// A wrong PIN is waited off.
    Slowed,
    Main,
    Message(Listing),
    /// Who left a message is called back.
    Calling(Listing),
    Options,
    Greeting {
        which: Greeting,
        takes: Takes,
    },
    /// A new PIN; and once more.
    NewPin {
        first: Option<String>,
    },
    /// The last words.
    Closing,
}

/// The messages of a folder, as they were when it was opened.
#[derive(Debug)]
struct Listing {
    ids: Vec<u64>,
    at: usize,
    /// The task that tells of the present message, until its own sound begins.
    intro: Option<u32>,
}

/// See the module's text.
#[derive(Debug)]
pub(in crate::pbx) struct Fetch {
    /// Whose mailbox it is; without, its number is asked for.
    aor: Option<Box<str>>,
    teller: Teller,
    state: State,
    digits: String,
    tries: u32,
    /// Whether the caller may hear it.
    opened: bool,
    /// How often the present menu was said.
    told: u32,
    folder: Folder,
}

impl Fetch {
    /// The caller's own, or one that is asked for.
    pub fn new() -> Self {
        Self {
            aor: None,
            teller: Teller::default(),
            state: State::Number,
            digits: String::new(),
            tries: 0,
            opened: false,
            told: 0,
            folder: Folder::New,
        }
    }

    /// That of a user.
    pub fn of(aor: &str) -> Self {
        Self {
            aor: Some(aor.into()),
            ..Self::new()
        }
    }

    /// The mailbox; empty before one is known.
    pub(super) fn mailbox(&self) -> &str {
        self.aor.as_deref().unwrap_or_default()
    }

    fn begin(&mut self, scene: &mut Scene<'_>) {
        let owner = scene.caller.user.clone();
        let aor = self.aor.take().or_else(|| owner.clone());
        let Some(aor) = aor else {
            return self.ask_number(scene);
        };
        let is_owner = owner.as_deref() == Some(&*aor);
        let has_pin = scene.mailboxes.mailbox(&aor).pin.is_some();
        self.aor = Some(aor);
        match is_owner && !(has_pin && scene.config.voicemail.ask_pin) {
            true => self.main(scene, &[]),
            false => self.ask_pin(scene, &[]),
        }
    }

    fn say(&mut self, scene: &mut Scene<'_>, prompts: &[&str]) {
        let mut words = vec![scene.voice.pause()];
        words.extend(scene.voice.prompts(prompts));
        self.teller.say(scene, words);
    }

    fn close(&mut self, scene: &mut Scene<'_>, prompts: &[&str]) {
        self.state = State::Closing;
        self.say(scene, prompts);
    }

    fn keep(scene: &mut Scene<'_>, record: Option<Record>) {
        if let Some(record) = record {
            scene.persist(record);
        }
    }

    // ------------------------------------------------------------ the door

    fn ask_number(&mut self, scene: &mut Scene<'_>) {
        self.state = State::Number;
        self.digits.clear();
        self.say(scene, &["vm-login"]);
    }

    fn ask_pin(&mut self, scene: &mut Scene<'_>, before: &[&str]) {
        self.state = State::Pin;
        self.digits.clear();
        let words: Vec<&str> = before.iter().copied().chain(["vm-password"]).collect();
        self.say(scene, &words);
    }

    /// A digit of a number, or its end; `true` once it is whole.
    fn enter(&mut self, scene: &mut Scene<'_>, key: char, digits_max: usize) -> bool {
        if key == '#' {
            return true;
        }
        if key.is_ascii_digit() && self.digits.len() < digits_max {
            self.digits.push(key);
        }
        // Whoever presses wants to hear no more.
        self.teller.next();
        scene.order(self.teller.task, crate::media::Task::Rest);
        self.teller.wait(scene, DIGIT_WAIT);
        false
    }

    fn numbered(&mut self, scene: &mut Scene<'_>) {
        if self.digits.is_empty() {
            return self.close(scene, &["goodbye"]);
        }
        self.aor = Some(mailbox_of(scene, &self.digits));
        self.ask_pin(scene, &[]);
    }

    /// From the menu to another mailbox: what was deleted in this one goes.
    fn leave(&mut self, scene: &mut Scene<'_>) {
        self.expunge(scene);
        self.aor = None;
        self.opened = false;
        self.folder = Folder::New;
        self.ask_number(scene);
    }

    fn try_pin(&mut self, scene: &mut Scene<'_>) {
        let digits = std::mem::take(&mut self.digits);
        let opening = self.judge(scene, &digits);
        self.tries += u32::from(!matches!(opening, Opening::Open));
        match opening {
            Opening::Open => self.main(scene, &[]),
            Opening::Locked => self.close(scene, &["vm-locked", "goodbye"]),
            Opening::Wrong { .. } if self.tries >= TRIES_MAX => {
                self.close(scene, &["vm-incorrect", "goodbye"]);
            }
            Opening::Wrong { wait } => {
                self.state = State::Slowed;
                self.teller.next();
                scene.order(self.teller.task, crate::media::Task::Rest);
                self.teller.wait(scene, wait);
            }
        }
    }

    /// What a PIN brings: wrong ones count for the mailbox, and for the caller, whichever mailboxes
    /// it tries.
    fn judge(&self, scene: &mut Scene<'_>, digits: &str) -> Opening {
        let limits = limits(scene);
        let (pins, patience) = (scene.house.features.pins(), patience(limits));
        let (mailbox, who) = (self.mailbox(), scene.caller.guesser());
        let caller = who.caller.clone();
        if pins.is_locked(DOOR, who.clone(), scene.now, patience) {
            tracing::warn!(%caller, "locked out of all mailboxes after wrong PINs");
            scene.note("voicemail: locked out after wrong PINs");
            return Opening::Locked;
        }
        let opened = scene.mailboxes.open(mailbox, digits, scene.unix_ms, limits);
        let (mut opening, record) = opened;
        if opening != Opening::Open {
            let slow = pins.wrong(DOOR, who, scene.now, patience);
            if let Opening::Wrong { wait } = &mut opening {
                *wait = slow.max(*wait);
            }
        }
        let name = name_of(scene.config, mailbox);
        match (opening, &record) {
            (Opening::Open, _) => {}
            (Opening::Locked, None) => {
                tracing::warn!(
                    mailbox, %caller,
                    "a PIN for a mailbox that is locked after wrong ones: where that was its \
                     owner, voipctl mailbox set {mailbox} locked off opens it at once"
                );
                scene.note(&format!("mailbox {name}: locked"));
            }
            (Opening::Locked | Opening::Wrong { .. }, _) => {
                tracing::warn!(mailbox, %caller, tries = self.tries + 1, "wrong PIN for a mailbox");
                scene.note(&format!("mailbox {name}: wrong PIN"));
            }
        }
        Self::keep(scene, record);
        opening
    }

    // ------------------------------------------------------------ the menus

    fn main(&mut self, scene: &mut Scene<'_>, before: &[&str]) {
        self.told = 0;
        let full = !self.opened && self.opens(scene);
        let voice = scene.voice;
        let Counts { new, saved } = scene.mailboxes.counts(self.mailbox());
        let mut words = vec![voice.pause()];
        words.extend(voice.prompts(before));
        words.extend(voice.prompts(full.then_some("vm-mailboxfull")));
        words.extend(voice.prompts(say_messages(voice.language, new, saved).iter()));
        words.extend(self.main_menu(scene));
        self.state = State::Main;
        self.teller.say(scene, words);
    }

    /// The caller is let in; whether no more messages are taken.
    fn opens(&mut self, scene: &mut Scene<'_>) -> bool {
        self.opened = true;
        let name = name_of(scene.config, self.mailbox());
        scene.note(&format!("mailbox {name}: opened"));
        let most = scene.config.voicemail.messages_max;
        scene.mailboxes.room(self.mailbox(), most) == Err(NoRoom::Quota)
    }

    fn main_menu(&self, scene: &Scene<'_>) -> Vec<Sound> {
        let voice = scene.voice;
        let counts = scene.mailboxes.counts(self.mailbox());
        let some = counts.new + counts.saved > 0;
        let listen = some.then_some("vm-onefor-full");
        let mut words = vec![voice.pause()];
        let names = listen.into_iter().chain(["vm-opts-full", "vm-otherexit"]);
        words.extend(voice.prompts(names));
        words
    }

    fn on_main(&mut self, scene: &mut Scene<'_>, key: char) {
        match key {
            '1' => {
                let counts = scene.mailboxes.counts(self.mailbox());
                if self.folder == Folder::New && counts.new == 0 {
                    self.folder = Folder::Saved;
                }
                self.listen(scene);
            }
            '2' => {
                self.folder = match self.folder {
                    Folder::New => Folder::Saved,
                    _ => Folder::New,
                };
                self.listen(scene);
            }
            '0' => self.options(scene, &[]),
            // Somebody else's phone.
            '*' => self.leave(scene),
            '#' => self.close(scene, &["goodbye"]),
            _ => {}
        }
    }

    /// Says the present menu once more, or gives up.
    fn nothing_pressed(&mut self, scene: &mut Scene<'_>) {
        self.told += 1;
        if self.told >= MENUS_MAX {
            return self.close(scene, &["goodbye"]);
        }
        let words = match &self.state {
            State::Main => self.main_menu(scene),
            State::Message(_) => message_menu(scene, self.is_deleted(scene)),
            State::Options => scene.voice.prompts(["vm-options", "vm-helpexit"]),
            _ => return,
        };
        self.teller.say(scene, words);
    }

    // ------------------------------------------------------------ the messages

    fn listen(&mut self, scene: &mut Scene<'_>) {
        let messages = scene.mailboxes.messages(self.mailbox(), self.folder);
        let ids: Vec<u64> = messages.iter().map(|m| m.id).collect();
        if ids.is_empty() {
            self.folder = Folder::New;
            return self.main(scene, &["vm-nomore"]);
        }
        self.state = State::Message(Listing {
            ids,
            at: 0,
            intro: None,
        });
        self.play(scene, &[]);
    }

    fn present(&self) -> Option<u64> {
        match &self.state {
            State::Message(listing) => listing.ids.get(listing.at).copied(),
            _ => None,
        }
    }

    fn is_deleted(&self, scene: &Scene<'_>) -> bool {
        let message = |id| scene.mailboxes.message(self.mailbox(), id);
        let message = self.present().and_then(message);
        message.is_none_or(|m| m.folder == Folder::Deleted)
    }

    /// The present message: which it is, and its envelope. Its sound follows.
    fn play(&mut self, scene: &mut Scene<'_>, before: &[&str]) {
        self.told = 0;
        let voice = scene.voice;
        let (Some(id), State::Message(listing)) = (self.present(), &self.state) else {
            return self.main(scene, &["vm-nomore"]);
        };
        let place = u32::try_from(listing.at + 1).unwrap_or(u32::MAX);
        let Some(message) = scene.mailboxes.message(self.mailbox(), id) else {
            // Somebody else deleted it meanwhile.
            return self.step(scene, 1);
        };
        let mut words = vec![voice.pause()];
        words.extend(voice.prompts(before));
        words.push(voice.prompt("vm-message"));
        words.extend(voice.number(place, Gender::Alone));
        words.extend(envelope(scene, &message));
        self.teller.say(scene, words);
        if let State::Message(listing) = &mut self.state {
            listing.intro = Some(self.teller.task);
        }
    }

    /// What tells of the present message is over: its sound, and what can be done.
    fn sound(&mut self, scene: &mut Scene<'_>) {
        let message = |id| scene.mailboxes.message(self.mailbox(), id);
        let Some(message) = self.present().and_then(message) else {
            // Somebody else deleted it meanwhile.
            return self.step(scene, 1);
        };
        let mut words = vec![recording(&message.file), scene.voice.pause()];
        words.extend(message_menu(scene, message.folder == Folder::Deleted));
        self.teller.say(scene, words);
        if message.folder == Folder::New {
            // Whether there is any sound in it: the answer comes as the sound begins.
            let file = message.file;
            scene.file(self.teller.task, FileOrder::Salvage { file });
        }
    }

    /// The present message has sound, and that has begun: it is heard.
    fn heard(&mut self, scene: &mut Scene<'_>) {
        let message = |id| scene.mailboxes.message(self.mailbox(), id);
        if let Some(message) = self.present().and_then(message)
            && message.folder == Folder::New
        {
            let heard = scene
                .mailboxes
                .put(self.mailbox(), message.id, Folder::Saved);
            Self::keep(scene, heard);
        }
    }

    fn step(&mut self, scene: &mut Scene<'_>, by: isize) {
        let State::Message(listing) = &mut self.state else {
            return;
        };
        match listing.at.checked_add_signed(by) {
            Some(at) if at < listing.ids.len() => {
                listing.at = at;
                self.play(scene, &[]);
            }
            // Before the first.
            None => self.play(scene, &[]),
            Some(_) => {
                self.folder = Folder::New;
                self.main(scene, &["vm-nomore"]);
            }
        }
    }

    fn on_message(&mut self, scene: &mut Scene<'_>, key: char) {
        let Some(id) = self.present() else {
            return self.main(scene, &[]);
        };
        match key {
            '1' | '5' => self.play(scene, &[]),
            '2' | '8' => self.call_back(scene, id),
            '3' => self.tell_envelope(scene, id),
            '4' => self.step(scene, -1),
            '6' => self.step(scene, 1),
            '7' => {
                let (folder, said) = match self.is_deleted(scene) {
                    true => (Folder::Saved, "vm-undeleted"),
                    false => (Folder::Deleted, "vm-deleted"),
                };
                let record = scene.mailboxes.put(self.mailbox(), id, folder);
                Self::keep(scene, record);
                self.say(scene, &[said]);
            }
            '9' => {
                let record = scene.mailboxes.put(self.mailbox(), id, Folder::Saved);
                Self::keep(scene, record);
                self.say(scene, &["vm-msgsaved"]);
            }
            '0' => self.options(scene, &[]),
            '*' => {
                self.told = 0;
                let words = message_menu(scene, self.is_deleted(scene));
                self.teller.say(scene, words);
            }
            '#' => {
                self.folder = Folder::New;
                self.main(scene, &[]);
            }
            _ => {}
        }
    }

    fn tell_envelope(&mut self, scene: &mut Scene<'_>, id: u64) {
        let Some(message) = scene.mailboxes.message(self.mailbox(), id) else {
            return self.step(scene, 1);
        };
        let mut words = envelope(scene, &message);
        words.extend(duration(scene.voice, message.duration_ms));
        words.push(scene.voice.pause());
        words.extend(message_menu(scene, message.folder == Folder::Deleted));
        self.teller.say(scene, words);
    }

    /// Calls who left the message, where that can be told.
    fn call_back(&mut self, scene: &mut Scene<'_>, id: u64) {
        let message = scene.mailboxes.message(self.mailbox(), id);
        let number = message.and_then(|m| reachable(scene, &m.number));
        let Some(number) = number else {
            return self.say(scene, &["vm-unknown-caller"]);
        };
        self.state = match std::mem::replace(&mut self.state, State::Closing) {
            State::Message(listing) => State::Calling(listing),
            other => other,
        };
        self.say(scene, &["pls-hold-while-try"]);
        // On the account of who is on the phone: whoever knows a PIN calls out no further by it.
        // Nobody dialled the number, so that it raises no alarm.
        let user = scene.caller.user.clone();
        scene.connect(Reach {
            to: number,
            account: user.map_or(Account::Caller, Account::CalledBack),
            caller_id: None,
            ring: CALL_BACK_RING,
            headers: Vec::new(),
            led: Led::Nowhere,
        });
    }

    /// The call back is over, or did not come about: the same message again.
    fn called_back(&mut self, scene: &mut Scene<'_>, prompts: &[&str]) {
        if let State::Calling(listing) = std::mem::replace(&mut self.state, State::Closing) {
            self.state = State::Message(listing);
            self.told = 0;
            let mut words = scene.voice.prompts(prompts);
            words.extend(message_menu(scene, self.is_deleted(scene)));
            self.teller.say(scene, words);
        }
    }

    // ------------------------------------------------------------ the options

    fn options(&mut self, scene: &mut Scene<'_>, before: &[&str]) {
        self.state = State::Options;
        self.told = 0;
        let words: Vec<&str> = before
            .iter()
            .copied()
            .chain(["vm-options", "vm-helpexit"])
            .collect();
        self.say(scene, &words);
    }

    fn on_options(&mut self, scene: &mut Scene<'_>, key: char) {
        match key {
            '1' => self.greeting(scene, Greeting::Unavailable, "vm-rec-unv"),
            '2' => self.greeting(scene, Greeting::Busy, "vm-rec-busy"),
            '3' => self.greeting(scene, Greeting::Name, "vm-rec-name"),
            '5' => self.new_pin(scene, &["vm-newpassword"]),
            '*' => self.main(scene, &[]),
            '#' => self.close(scene, &["goodbye"]),
            _ => {}
        }
    }

    fn greeting(&mut self, scene: &mut Scene<'_>, which: Greeting, prompt: &str) {
        let file = take_of_greeting(self.mailbox(), which);
        let before = scene.voice.prompts([prompt]);
        let takes = Takes::begin_behind(scene, &mut self.teller, before, &file, GREETING);
        self.state = State::Greeting { which, takes };
    }

    fn on_greeting(&mut self, scene: &mut Scene<'_>, event: &Event) {
        let State::Greeting { which, takes } = &mut self.state else {
            return;
        };
        let which = *which;
        let outcome = match event {
            Event::Key('*') if !takes.is_recording() => return self.options(scene, &[]),
            _ => takes.on(scene, &mut self.teller, event),
        };
        let file = take_of_greeting(self.mailbox(), which);
        match outcome {
            Outcome::Open | Outcome::Starts => {}
            Outcome::Accepted { .. } => {
                let record = scene.mailboxes.set_greeting(self.mailbox(), which);
                Self::keep(scene, record);
                self.options(scene, &["vm-msgsaved"]);
            }
            Outcome::Again => {
                if let State::Greeting { takes, .. } = &mut self.state {
                    takes.again(scene, &mut self.teller, &file);
                }
            }
            Outcome::TooShort => self.options(scene, &["vm-tooshort"]),
            Outcome::Failed { .. } => self.options(scene, &["vm-cannot-record"]),
        }
    }

    fn new_pin(&mut self, scene: &mut Scene<'_>, prompts: &[&str]) {
        self.state = State::NewPin { first: None };
        self.digits.clear();
        self.say(scene, prompts);
    }

    fn pin_entered(&mut self, scene: &mut Scene<'_>) {
        let State::NewPin { first } = &mut self.state else {
            return;
        };
        let entered = std::mem::take(&mut self.digits);
        let mut salt = [0; 16];
        scene.rng.fill(&mut salt);
        match first.take() {
            None if entered.is_empty() => self.options(scene, &[]),
            None if PinHash::of(&entered, salt).is_none() => {
                self.new_pin(scene, &["vm-invalid-password"]);
            }
            None => {
                self.state = State::NewPin {
                    first: Some(entered),
                };
                self.say(scene, &["vm-reenterpassword"]);
            }
            Some(first) if first != entered => {
                self.new_pin(scene, &["vm-mismatch", "vm-newpassword"]);
            }
            Some(_) => {
                let pin = PinHash::of(&entered, salt);
                let record = scene.mailboxes.update(self.mailbox(), |m| {
                    m.pin = pin;
                    m.wrong_pins = 0;
                    m.locked_until_ms = 0;
                });
                Self::keep(scene, record);
                self.options(scene, &["vm-passchanged"]);
            }
        }
    }

    // ------------------------------------------------------------ what happens

    fn on_key(&mut self, scene: &mut Scene<'_>, key: char) {
        self.told = 0;
        match &self.state {
            // Not another's after all.
            State::Number if key == '*' => {
                self.aor = None;
                self.begin(scene);
            }
            State::Number => {
                if self.enter(scene, key, NUMBER_DIGITS_MAX) {
                    self.numbered(scene);
                }
            }
            // Somebody else's phone: another mailbox.
            State::Pin if key == '*' => {
                self.aor = None;
                self.ask_number(scene);
            }
            State::Pin => {
                if self.enter(scene, key, PIN_DIGITS_MAX) {
                    self.try_pin(scene);
                }
            }
            State::NewPin { .. } if key == '*' => self.options(scene, &[]),
            State::NewPin { .. } => {
                if self.enter(scene, key, PIN_DIGITS_MAX) {
                    self.pin_entered(scene);
                }
            }
            State::Main => self.on_main(scene, key),
            State::Message(_) => self.on_message(scene, key),
            State::Options => self.on_options(scene, key),
            // Nobody waits for somebody who does not answer.
            State::Calling(_) if key == '#' => {
                scene.disconnect();
                self.called_back(scene, &[]);
            }
            State::Calling(_) | State::Slowed | State::Greeting { .. } | State::Closing => {}
        }
    }

    fn on_done(&mut self, scene: &mut Scene<'_>) {
        match &self.state {
            State::Message(listing) if listing.intro == Some(self.teller.task) => {
                self.sound(scene);
            }
            State::Closing => scene.hang_up(),
            State::Number | State::Pin | State::NewPin { .. } => {
                self.teller.wait(scene, DIGIT_WAIT);
            }
            State::Main | State::Message(_) | State::Options => {
                self.teller.wait(scene, KEY_WAIT);
            }
            State::Calling(_) | State::Slowed | State::Greeting { .. } => {}
        }
    }

    fn on_overdue(&mut self, scene: &mut Scene<'_>) {
        match &self.state {
            State::Number => self.numbered(scene),
            State::Pin if self.digits.is_empty() => self.close(scene, &["goodbye"]),
            State::Pin => self.try_pin(scene),
            State::Slowed => self.ask_pin(scene, &["vm-incorrect"]),
            State::NewPin { .. } => self.pin_entered(scene),
            State::Main | State::Message(_) | State::Options => self.nothing_pressed(scene),
            State::Calling(_) | State::Greeting { .. } | State::Closing => {}
        }
    }

    /// A greeting that was not accepted goes.
    fn drop_take(&self, scene: &Scene<'_>) {
        if let State::Greeting { which, takes } = &self.state
            && !takes.is_recording()
        {
            let take = take_of_greeting(self.mailbox(), *which);
            scene.mailboxes.run(Errand::Remove(take));
        }
    }

    /// What the caller deleted goes, and such a greeting.
    fn end(&mut self, scene: &mut Scene<'_>) {
        self.drop_take(scene);
        self.expunge(scene);
    }

    fn expunge(&self, scene: &mut Scene<'_>) {
        if let Some(aor) = self.aor.as_deref().filter(|_| self.opened) {
            for record in scene.mailboxes.expunge(aor) {
                scene.persist(record);
            }
        }
    }
}

/// The mailbox that somebody means by a number: that of a colleague in the caller's own domain, or
/// in the first of ours, or where only one of the others has such a user.
fn mailbox_of(scene: &Scene<'_>, digits: &str) -> Box<str> {
    let named = |domain: &str| -> Box<str> { format!("{digits}@{domain}").into() };
    let is_there = |aor: &str| scene.house.directory.get(aor).is_some();
    let own = scene.caller.user.as_deref();
    let own = own.and_then(|aor| aor.rsplit_once('@'));
    let first = named(scene.config.node.default_domain());
    let near = own.map(|(_, domain)| named(domain)).into_iter();
    if let Some(aor) = near.chain([first.clone()]).find(|aor| is_there(aor)) {
        return aor;
    }
    let domains = scene.config.node.domains.iter();
    let others = domains.map(|domain| named(domain.as_str()));
    let mut others = others.filter(|aor| is_there(aor));
    match (others.next(), others.next()) {
        (Some(only), None) => only,
        // None, or nobody knows which: a PIN is asked for, and opens nothing.
        _ => first,
    }
}

/// What wrong PINs of callers are counted for, beside each mailbox.
const DOOR: &str = "voicemail";

/// What wrong PINs bring a mailbox.
fn limits(scene: &Scene<'_>) -> Limits {
    let mail = &scene.config.voicemail;
    Limits {
        tries: mail.pin_tries,
        lock: Duration::from_secs(mail.lock_s.into()),
    }
}

/// What they bring a caller: as much as three mailboxes bear; those who come by one trunk, as much
/// as twelve. Guesses of some do not keep all others out.
fn patience(limits: Limits) -> Patience {
    Patience {
        caller: limits.tries.saturating_mul(3),
        way: limits.tries.saturating_mul(12),
        door: u32::MAX,
        window: limits.lock,
    }
}

/// What a caller left as its number, if that is one, or the name of a user of ours. A stranger
/// writes there what it likes: a code, a URI.
fn reachable(scene: &Scene<'_>, shown: &str) -> Option<Box<str>> {
    let number: String = shown.chars().filter(|c| !"-.() ".contains(*c)).collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Some(number.into());
    }
    let aor = format!("{shown}@{}", scene.config.node.default_domain());
    scene.house.directory.get(&aor).map(|_| shown.into())
}

fn message_menu(scene: &Scene<'_>, deleted: bool) -> Vec<Sound> {
    let seven = if deleted { "vm-undelete" } else { "vm-delete" };
    scene.voice.prompts([
        "vm-prev",
        "vm-repeat",
        "vm-next",
        seven,
        "vm-savemessage",
        "vm-tohearenv",
        "vm-tocallback",
        "vm-helpexit",
    ])
}

impl Program for Fetch {
    fn name(&self) -> &'static str {
        "voicemail"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        if let State::Greeting { .. } = self.state
            && !matches!(event, Event::Begin | Event::Ended)
        {
            return self.on_greeting(scene, &event);
        }
        match event {
            // Another caller has this place, and waits for whom the one before called.
            Event::Begin if matches!(self.state, State::Calling(_)) => {}
            // Also for another caller in this place, who has to prove whose mailbox it is.
            Event::Begin => {
                self.drop_take(scene);
                self.begin(scene);
            }
            Event::Key(key) => self.on_key(scene, key),
            Event::Done(task) if self.teller.is(task) => self.on_done(scene),
            Event::Due(timer) if self.teller.is_overdue(timer) => self.on_overdue(scene),
            Event::Ended => self.end(scene),
            Event::Filed {
                task,
                outcome: Filed::Salvaged { ms: 1.. },
            } if self.teller.is(task) => self.heard(scene),
            Event::Refused(_) => self.called_back(scene, &["number-not-answering"]),
            Event::Parted => self.called_back(scene, &[]),
            Event::Done(_)
            | Event::Due(_)
            | Event::Recorded { .. }
            | Event::Filed { .. }
            | Event::Measured(_)
            | Event::Ringing
            | Event::Heard
            | Event::Joined
            | Event::Talking(_)
            | Event::Held(_)
            | Event::Referred(_)
            | Event::Told(_)
            | Event::Led
            | Event::Left(_) => {}
        }
    }
}
