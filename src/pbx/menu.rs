//! The auto-attendant, `[[menu]]`: greets, reads keys, and does what the key says.
//!
//! ```text
//!   Greeting --end--> Listening --key, extension--> Calling --answer--> Talking
//!      ^  ^              | no key                      |
//!      |  +--- tries ----+---> the action of `then`    |
//!      +---------------- refused ----------------------+
//!   Spelling --letters--> Choosing --1--> Calling
//! ```
//! A caller stays in the menus of the configuration in which the call began. Every way round is
//! counted: [`MOVES_MAX`]. Where a call leads to a mailbox or another service of ours, that takes
//! the caller over ([`Led`]).

use super::program::{Account, Event, Led, Program, Reach, Scene};
use super::voicemail::recorded_name;
use super::{service, spell};
use crate::config::{Action, Menu};
use crate::media::file::Root;
use crate::media::{Sound, Task};
use crate::plan::is_open;
use crate::store::User;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Menus entered, greetings repeated and calls made for one caller; then it hears goodbye.
const MOVES_MAX: u32 = 64;
/// Menus that one can go back.
const PATH_MAX: usize = 16;
/// Digits of an extension.
const DIGITS_MAX: usize = 32;
/// Notes of what is dialled: the record of a call has little room.
const NOTES_MAX: u32 = 8;
/// Letters that are spelled.
const LETTERS_MAX: usize = 3;
/// How long a call that is made for the caller may ring in all: as long as the proxy lets it, which
/// knows how long an extension's phones ring, and each step of a group or route.
const RING: Duration = Duration::from_secs(300);

/// Tasks of the studio.
const REST: u32 = 1;
const HOLD: u32 = 2;
const TONE: u32 = 3;
/// Words are tasks from here on, one after the other: a key that ends some is told of before their
/// end, which must not be taken for that of what the key brought.
const WORDS: u32 = 16;
/// Words have so many numbers, and then those from the first on again.
const WORDS_MAX: u32 = 1 << 16;
/// The one timer: for a key. It runs in silence only.
const KEY: u32 = 0;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Attendant {
    menus: Arc<[Menu]>,
    /// The place of the menu; `None` where an action alone is done.
    here: Option<usize>,
    /// The menus before.
    path: Vec<usize>,
    moves: u32,
    /// Wrong keys, and none, in this menu.
    tries: u8,
    /// Notes that were made of what was dialled.
    notes: u32,
    doing: Doing,
    /// The words that were begun last.
    words: u32,
    /// All was said, and a key is waited for.
    waits: bool,
}

#[derive(Debug)]
enum Doing {
    /// Nothing yet but this.
    Beginning(Action),
    Greeting,
    /// For keys; those that came.
    Listening(String),
    /// Says something; what follows.
    Saying(Next),
    /// The letters of a name.
    Spelling(String),
    /// One of those that were found, the first being asked for.
    Choosing(VecDeque<Arc<User>>),
    /// Rings somebody: whether it rings, whether what we say is said.
    Calling {
        rings: bool,
        said: bool,
    },
    /// The two hear each other.
    Talking,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    /// The menu's greeting.
    Greet,
    /// The menu's last action.
    GiveUp,
    /// Another name.
    Spell,
    HangUp,
}

impl Attendant {
    /// Begins in the menu of a name.
    pub fn new(menus: &Arc<[Menu]>, name: &str) -> Option<Self> {
        let known = menus.iter().any(|menu| *menu.name == *name);
        known.then(|| Self::perform(menus, Action::Menu(name.into())))
    }

    /// Does what an action says, and comes to an end if that leads nowhere.
    pub fn perform(menus: &Arc<[Menu]>, action: Action) -> Self {
        Self {
            menus: Arc::clone(menus),
            here: None,
            path: Vec::new(),
            moves: 0,
            tries: 0,
            notes: 0,
            doing: Doing::Beginning(action),
            words: WORDS,
            waits: false,
        }
    }

    fn menu(&self) -> Option<&Menu> {
        self.menus.get(self.here?)
    }

    /// Counts a turn; `false` once there were too many.
    fn moves(&mut self, scene: &mut Scene<'_>) -> bool {
        self.moves += 1;
        let fine = self.moves <= MOVES_MAX;
        if !fine {
            self.say(scene, &["goodbye"], Next::HangUp);
        }
        fine
    }

    fn enter(&mut self, scene: &mut Scene<'_>, at: usize) {
        if !self.moves(scene) {
            return;
        }
        self.here = Some(at);
        self.tries = 0;
        let zone = &scene.config.numbers.timezone;
        let opening = self.menu().and_then(|menu| menu.opening.as_ref());
        if opening.is_none_or(|opening| is_open(opening, zone, scene.unix_ms)) {
            return self.greet(scene);
        }
        let closed = self.menu().map(|menu| menu.closed.clone());
        self.act(scene, closed.unwrap_or(Action::HangUp));
    }

    fn greet(&mut self, scene: &mut Scene<'_>) {
        let Some(menu) = self.menu() else {
            return self.say(scene, &["goodbye"], Next::HangUp);
        };
        let mut words = vec![scene.voice.pause()];
        words.extend(scene.voice.prompts(&menu.greeting));
        let barge_in = menu.barge_in;
        self.speak(scene, words, barge_in);
        self.doing = Doing::Greeting;
    }

    fn say(&mut self, scene: &mut Scene<'_>, names: &[&str], next: Next) {
        let mut words = vec![scene.voice.pause()];
        words.extend(scene.voice.prompts(names));
        words.push(scene.voice.pause());
        self.speak(scene, words, false);
        self.doing = Doing::Saying(next);
    }

    fn act(&mut self, scene: &mut Scene<'_>, action: Action) {
        match action {
            Action::Menu(name) => self.go_to(scene, &name),
            Action::Extension(user) => {
                let to = dialled(scene, &user);
                self.call(scene, to, Account::House);
            }
            Action::Group(name) => {
                let mut groups = scene.config.groups.iter();
                let group = groups.find(|group| group.name == name);
                match group.and_then(|group| group.number.clone()) {
                    Some(number) => self.call(scene, number, Account::House),
                    None => self.say(scene, &["service-unavailable"], Next::HangUp),
                }
            }
            Action::Route(number) => self.call(scene, number, Account::Operator),
            Action::Voicemail(user) => {
                self.note(scene, format_args!("voicemail:{user}"));
                let by = match self.menu() {
                    Some(menu) => format!("menu {}", menu.name),
                    None => "the overflow of a queue".to_owned(),
                };
                scene.change(service::voicemail(scene.config, &user, by));
            }
            Action::Queue(name) => match service::queue(scene.config, &name) {
                Some(program) => scene.change(program),
                None => self.say(scene, &["service-unavailable"], Next::HangUp),
            },
            Action::Say(prompt) => self.say(scene, &[&prompt], Next::HangUp),
            Action::Directory => self.spell(scene),
            Action::Back => match self.path.pop() {
                Some(before) => self.enter(scene, before),
                None => self.again(scene),
            },
            Action::Repeat => self.again(scene),
            Action::HangUp => self.say(scene, &["goodbye"], Next::HangUp),
        }
    }

    fn go_to(&mut self, scene: &mut Scene<'_>, name: &str) {
        let at = self.menus.iter().position(|menu| *menu.name == *name);
        let Some(at) = at else {
            return self.say(scene, &["service-unavailable"], Next::HangUp);
        };
        if let Some(before) = self.here.filter(|_| self.path.len() < PATH_MAX) {
            self.path.push(before);
        }
        self.enter(scene, at);
    }

    fn again(&mut self, scene: &mut Scene<'_>) {
        // Where the menu is closed, there is nothing to go back to.
        let zone = &scene.config.numbers.timezone;
        let opening = self.menu().and_then(|menu| menu.opening.as_ref());
        let is_open = opening.is_none_or(|opening| is_open(opening, zone, scene.unix_ms));
        match is_open {
            true if self.moves(scene) => self.greet(scene),
            true => {}
            false => self.say(scene, &["goodbye"], Next::HangUp),
        }
    }

    fn call(&mut self, scene: &mut Scene<'_>, to: Box<str>, account: Account) {
        if !self.moves(scene) {
            return;
        }
        let default = Menu::default();
        let ring = self.menu().unwrap_or(&default).ring.as_secs();
        let ring = u16::try_from(ring).unwrap_or(u16::MAX);
        scene.play(HOLD, vec![scene.voice.prompt("pls-hold-while-try")], false);
        scene.connect(Reach {
            to,
            account,
            caller_id: None,
            ring: RING,
            headers: Vec::new(),
            led: Led::Mail(Some(ring)),
        });
        self.doing = Doing::Calling {
            rings: false,
            said: false,
        };
    }

    /// A try is over; what follows if it was the last.
    fn failed(&mut self, scene: &mut Scene<'_>, names: &[&str], otherwise: Next) {
        self.tries = self.tries.saturating_add(1);
        let last = self.menu().is_none_or(|menu| self.tries > menu.retries);
        let next = if last { Next::GiveUp } else { otherwise };
        match names {
            [] => self.go_on(scene, next),
            names => self.say(scene, names, next),
        }
    }

    fn go_on(&mut self, scene: &mut Scene<'_>, next: Next) {
        match next {
            Next::HangUp => scene.hang_up(),
            Next::Greet => self.again(scene),
            Next::Spell => self.spell(scene),
            Next::GiveUp => {
                let then = self.menu().map(|menu| menu.then.clone());
                self.act(scene, then.unwrap_or(Action::HangUp));
            }
        }
    }

    /// The caller is here, or another one in its place, who hears once more what was said last.
    fn begin(&mut self, scene: &mut Scene<'_>) {
        match &mut self.doing {
            Doing::Beginning(action) => {
                let action = action.clone();
                self.act(scene, action);
            }
            Doing::Greeting | Doing::Listening(_) => self.again(scene),
            Doing::Saying(next) => {
                let next = *next;
                self.go_on(scene, next);
            }
            Doing::Spelling(_) => self.spell(scene),
            Doing::Choosing(found) => {
                let found = std::mem::take(found);
                self.choose(scene, found);
            }
            Doing::Calling { said, .. } => {
                *said = true;
                Self::ring_back(scene);
            }
            Doing::Talking => {}
        }
    }

    fn ring_back(scene: &mut Scene<'_>) {
        let what = Task::Play {
            sounds: vec![scene.ringing()],
            rounds: None,
            until_key: false,
        };
        scene.order(TONE, what);
    }

    /// What is said is cut short.
    fn hush(scene: &mut Scene<'_>) {
        scene.order(REST, Task::Rest);
    }

    /// Says this. Nobody is waited for until it is said.
    fn speak(&mut self, scene: &mut Scene<'_>, words: Vec<Sound>, until_key: bool) {
        self.waits = false;
        self.words = match self.words + 1 {
            words if words < WORDS + WORDS_MAX => words,
            _ => WORDS,
        };
        scene.play(self.words, words, until_key);
    }

    fn wait(&mut self, scene: &mut Scene<'_>, next_digit: bool) {
        self.waits = true;
        let default = Menu::default();
        let menu = self.menu().unwrap_or(&default);
        scene.after(if next_digit { menu.digit } else { menu.timeout }, KEY);
    }

    // ------------------------------------------------------------ keys

    fn on_key(&mut self, scene: &mut Scene<'_>, key: char) {
        let barges_in = self.menu().is_some_and(|menu| menu.barge_in);
        match &mut self.doing {
            Doing::Greeting if barges_in => {
                Self::hush(scene);
                self.listen(scene, String::new(), key);
            }
            Doing::Listening(entered) => {
                let entered = std::mem::take(entered);
                self.listen(scene, entered, key);
            }
            Doing::Spelling(letters) => {
                let letters = std::mem::take(letters);
                Self::hush(scene);
                self.letter(scene, letters, key);
            }
            Doing::Choosing(found) if matches!(key, '1' | '*') => {
                let mut found = std::mem::take(found);
                Self::hush(scene);
                let user = found.pop_front();
                match (key, user) {
                    ('1', Some(user)) => {
                        let to = user.username.clone();
                        self.call(scene, to, Account::House);
                    }
                    _ => self.choose(scene, found),
                }
            }
            // None that was asked for: there is as much time again for one that was.
            Doing::Choosing(_) => {
                Self::hush(scene);
                self.wait(scene, false);
            }
            Doing::Beginning(_)
            | Doing::Greeting
            | Doing::Saying(_)
            | Doing::Calling { .. }
            | Doing::Talking => {}
        }
    }

    fn listen(&mut self, scene: &mut Scene<'_>, mut entered: String, key: char) {
        if key == '#' && !entered.is_empty() {
            return self.dialled(scene, &entered);
        }
        entered.push(key);
        let extends = self.menu().is_some_and(|menu| menu.extensions);
        let whole = !extends || !key.is_ascii_digit() || entered.len() >= DIGITS_MAX;
        if whole {
            return self.dialled(scene, &entered);
        }
        self.doing = Doing::Listening(entered);
        self.wait(scene, true);
    }

    /// What the caller dialled is whole.
    fn dialled(&mut self, scene: &mut Scene<'_>, entered: &str) {
        let mut keys = entered.chars();
        let one = keys.next().filter(|_| keys.next().is_none());
        match one {
            Some(key) => self.note(scene, format_args!("key {key}")),
            None => self.note(scene, format_args!("dialled {entered}")),
        }
        let Some(menu) = self.menu() else { return };
        if let Some(action) = one.and_then(|key| menu.action(key)) {
            let action = action.clone();
            return self.act(scene, action);
        }
        if menu.extensions && is_ours(scene, entered) {
            return self.call(scene, entered.into(), Account::House);
        }
        let wrong = match one {
            Some(_) => "pm-invalid-option",
            None => "pbx-invalid",
        };
        self.failed(scene, &[wrong], Next::Greet);
    }

    /// For the call's record: what the caller did in this menu.
    fn note(&mut self, scene: &mut Scene<'_>, what: std::fmt::Arguments<'_>) {
        if let Some(menu) = self.menu()
            && self.notes < NOTES_MAX
        {
            scene.note(&format!("menu {}: {what}", menu.name));
            self.notes += 1;
        }
    }

    fn on_due(&mut self, scene: &mut Scene<'_>) {
        // Asked for before something else was said.
        if !std::mem::take(&mut self.waits) {
            return;
        }
        match &mut self.doing {
            Doing::Listening(entered) if entered.is_empty() => {
                self.note(scene, format_args!("no key"));
                self.failed(scene, &[], Next::Greet);
            }
            Doing::Listening(entered) => {
                let entered = std::mem::take(entered);
                self.dialled(scene, &entered);
            }
            Doing::Spelling(letters) if letters.is_empty() => {
                self.failed(scene, &[], Next::Spell);
            }
            Doing::Spelling(letters) => {
                let letters = std::mem::take(letters);
                self.search(scene, &letters);
            }
            Doing::Choosing(_) => self.failed(scene, &[], Next::Spell),
            Doing::Beginning(_)
            | Doing::Greeting
            | Doing::Saying(_)
            | Doing::Calling { .. }
            | Doing::Talking => {}
        }
    }

    // ------------------------------------------------------------ directory by name

    fn spell(&mut self, scene: &mut Scene<'_>) {
        if !self.moves(scene) {
            return;
        }
        let words = vec![scene.voice.pause(), scene.voice.prompt("dir-pls-enter")];
        self.speak(scene, words, true);
        self.doing = Doing::Spelling(String::new());
    }

    fn letter(&mut self, scene: &mut Scene<'_>, mut letters: String, key: char) {
        match key {
            '*' => return self.again(scene),
            '#' if !letters.is_empty() => return self.search(scene, &letters),
            '2'..='9' => letters.push(key),
            _ => {}
        }
        if letters.len() >= LETTERS_MAX {
            return self.search(scene, &letters);
        }
        self.wait(scene, false);
        self.doing = Doing::Spelling(letters);
    }

    fn search(&mut self, scene: &mut Scene<'_>, letters: &str) {
        let domain = scene.config.node.default_domain();
        let found = spell::find(scene.house.directory, domain, letters);
        match found.is_empty() {
            true => self.failed(scene, &["dir-nomatch"], Next::Spell),
            false => self.choose(scene, found.into()),
        }
    }

    /// Asks whether it is the first of them.
    fn choose(&mut self, scene: &mut Scene<'_>, found: VecDeque<Arc<User>>) {
        let Some(user) = found.front() else {
            return self.failed(scene, &["dir-nomatch"], Next::Spell);
        };
        let mut words = vec![scene.voice.pause()];
        words.extend(name_of(scene, user));
        words.extend([scene.voice.pause(), scene.voice.prompt("dir-instr")]);
        self.speak(scene, words, true);
        self.doing = Doing::Choosing(found);
    }

    // ------------------------------------------------------------ calls

    fn on_call(&mut self, scene: &mut Scene<'_>, event: Event) {
        let Doing::Calling { rings, said } = &mut self.doing else {
            if matches!((&self.doing, event), (Doing::Talking, Event::Parted)) {
                scene.hang_up();
            }
            return;
        };
        let before = *rings && *said;
        match event {
            Event::Ringing => *rings = true,
            Event::Done(HOLD) => *said = true,
            Event::Heard | Event::Joined => return self.doing = Doing::Talking,
            Event::Refused(status) => return self.refused(scene, status),
            Event::Parted => return scene.hang_up(),
            _ => return,
        }
        // Further phones that ring change nothing.
        if !before && *rings && *said {
            Self::ring_back(scene);
        }
    }

    fn refused(&mut self, scene: &mut Scene<'_>, status: u16) {
        let why = match status {
            486 | 600 => "call-busy",
            603 => "call-declined",
            403 => "call-not-allowed",
            404 | 410 | 484 | 604 => "ss-noservice",
            408 | 480 | 487 => "number-not-answering",
            _ => "all-circuits-busy-now",
        };
        let next = match self.here {
            Some(_) => Next::Greet,
            None => Next::HangUp,
        };
        self.say(scene, &[why], next);
    }
}

impl Program for Attendant {
    fn name(&self) -> &'static str {
        "menu"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match event {
            Event::Begin => self.begin(scene),
            Event::Key(key) => self.on_key(scene, key),
            Event::Due(KEY) => self.on_due(scene),
            Event::Done(task) if task == self.words => match self.doing {
                Doing::Greeting => {
                    self.doing = Doing::Listening(String::new());
                    self.wait(scene, false);
                }
                Doing::Spelling(_) | Doing::Choosing(_) => self.wait(scene, false),
                Doing::Saying(next) => self.go_on(scene, next),
                Doing::Beginning(_)
                | Doing::Listening(_)
                | Doing::Calling { .. }
                | Doing::Talking => {}
            },
            // Heard before it answered, and then refused.
            Event::Refused(status) if matches!(self.doing, Doing::Talking) => {
                self.refused(scene, status);
            }
            event => self.on_call(scene, event),
        }
    }
}

/// A user as one of ours dials it.
fn dialled(scene: &Scene<'_>, user: &str) -> Box<str> {
    match user.split_once('@') {
        Some((name, domain)) if domain == scene.config.node.default_domain() => name.into(),
        Some(_) => format!("sip:{user}").into(),
        None => user.into(),
    }
}

/// Whether a number is a user's or a group's of ours, and nothing else.
fn is_ours(scene: &Scene<'_>, number: &str) -> bool {
    let group = |group: &crate::config::Group| group.number.as_deref() == Some(number);
    let aor = || format!("{number}@{}", scene.config.node.default_domain());
    let user = || scene.house.directory.get(&aor());
    scene.config.groups.iter().any(group) || user().is_some_and(|user| !user.disabled)
}

/// How the directory calls a user: by the recorded name where there is one, otherwise by the
/// extension.
fn name_of(scene: &Scene<'_>, user: &User) -> Vec<Sound> {
    let aor = format!("{}@{}", user.username, user.domain);
    match recorded_name(scene, &aor) {
        Some(path) => vec![Sound::File {
            root: Root::Spool,
            path,
        }],
        None => scene.voice.digits(&user.username),
    }
}

#[cfg(test)]
mod tests;
