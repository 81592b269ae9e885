//! The conference service: which room, its PIN, what is said at the door; inside, a menu of keys.
//!
//! ```text
//!   Number --#--> Pin --#--> Door --Done--> Inside <--> menu (*)
//!     |            |  ^--- Penalty            |  ^
//!     |            |                     Wait |  | Enter
//!     |            |          Door ------> Waiting
//!     +------------+---> Last words --> hung up   (from anywhere)
//! ```
//! Who is where is kept in the [`Roster`], which all shards share; what others want of this member
//! comes as [`Wish`].
//!
//! [`Roster`]: super::rooms::Roster

use super::across::host_of;
use super::program::{Event, Program, Scene};
use super::rooms::{Address, Member, Refused, Roster, Wish};
use super::voicemail::recorded_name;
use crate::config::{Announce, Conference as Room, RoomFormat};
use crate::feature::{Patience, is_pin};
use crate::media::room::{Join, Name, RoomNews, RoomOrder, VOLUME_MAX, VOLUME_ONE};
use crate::media::say::Gender;
use crate::media::wav::Encoding;
use crate::media::{RecordEnd, Sound, Task};
use crate::plan::local_time;
use std::time::Duration;

/// Tasks.
const ASK: u32 = 1;
const DOOR: u32 = 2;
const WAIT: u32 = 3;
const JOIN: u32 = 4;
const WHISPER: u32 = 5;
const LAST_WORDS: u32 = 6;

/// Timers: the next key; the end of a penalty; the menu.
const KEYS: u32 = 1;
const PENALTY: u32 = 2;
const MENU: u32 = 3;

/// How long keys are waited for: the whole question and its answer, the first behind the question,
/// the next behind a key.
const QUESTION_WAIT: Duration = Duration::from_secs(30);
const FIRST_KEY_WAIT: Duration = Duration::from_secs(10);
const NEXT_KEY_WAIT: Duration = Duration::from_secs(5);
/// How long the menu stays open behind the last key.
const MENU_WAIT: Duration = Duration::from_secs(30);
/// What wrong PINs bring: whoever typed so many gets in no more for a while; nor does anybody from
/// outside who comes by a trunk by which so many came, whatever numbers they show.
const PATIENCE: Patience = Patience {
    caller: 9,
    way: 36,
    // Guesses of some must not keep the others out.
    door: u32::MAX,
    window: Duration::from_secs(600),
};
/// Questions for a number or a PIN.
const TRIES_MAX: u32 = 3;
/// Digits of an answer; more make it wrong.
const DIGITS_MAX: usize = 32;
/// The tones of comings and goings.
const TONE_MS: u32 = 150;
/// Steps of volume up and down, of 3 dB each.
const VOLUME_STEPS: i8 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Types the number of a room.
    Number,
    /// Types a PIN.
    Pin,
    /// Pays for a wrong PIN.
    Penalty,
    /// Hears how many are there.
    Door,
    /// Waits for a moderator.
    Waiting,
    /// Is in the room.
    Inside,
    /// Has the menu of keys open, inside.
    Menu,
    /// Hears the last words.
    Leaving,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Conference {
    room: Option<Box<str>>,
    state: State,
    digits: String,
    tries: u32,
    /// In the roster.
    member: Option<u32>,
    moderator: bool,
    waits: bool,
    muted: bool,
    deafened: bool,
    volume: i8,
}

impl Conference {
    /// For a room, or to ask for one.
    pub fn new(room: Option<&str>) -> Self {
        Self {
            room: room.map(Box::from),
            state: State::Number,
            digits: String::new(),
            tries: 0,
            member: None,
            moderator: false,
            waits: false,
            muted: false,
            deafened: false,
            volume: 0,
        }
    }

    /// The caller is here, or another one in its place, who hears nothing yet.
    fn begin(&mut self, scene: &mut Scene<'_>) {
        if self.member.is_some() {
            return self.resume(scene);
        }
        let name = self.room.clone();
        match name.as_deref().map(|name| scene.config.conference(name)) {
            Some(Some(room)) => self.come_to(scene, room),
            // The configuration was read again just now.
            Some(None) => self.last_words(scene, &["conf-invalid"]),
            None => self.ask(scene, State::Number, &[]),
        }
    }

    /// Another caller has the place of a member.
    fn resume(&mut self, scene: &mut Scene<'_>) {
        let caller = scene.caller;
        let shard = scene.shard;
        self.note(scene, |member| {
            member.address = Address {
                shard,
                session: caller.session,
            };
            member.user = caller.user.clone();
            member.number = caller.number.clone();
            member.name = caller.name.clone();
            member.talking = false;
        });
        match self.waits {
            true => self.wait(scene, &[]),
            false => self.join(scene),
        }
    }

    /// Asks for a number or a PIN, behind other words.
    fn ask(&mut self, scene: &mut Scene<'_>, state: State, before: &[&str]) {
        self.state = state;
        self.digits.clear();
        let question = match state {
            State::Pin => "conf-getpin",
            _ => "conf-getconfno",
        };
        let voice = scene.voice;
        let mut words = vec![voice.pause()];
        words.extend(voice.prompts(before));
        words.push(voice.prompt(question));
        scene.play(ASK, words, true);
        scene.after(QUESTION_WAIT, KEYS);
    }

    fn on_digit(&mut self, scene: &mut Scene<'_>, key: char) {
        match key {
            '#' => return self.answered(scene),
            '*' => self.digits.clear(),
            key if self.digits.len() <= DIGITS_MAX => self.digits.push(key),
            _ => {}
        }
        scene.after(NEXT_KEY_WAIT, KEYS);
    }

    fn answered(&mut self, scene: &mut Scene<'_>) {
        match self.state {
            State::Pin => self.pin_typed(scene),
            _ => self.number_typed(scene),
        }
    }

    fn number_typed(&mut self, scene: &mut Scene<'_>) {
        match scene.config.conference_dialled(&self.digits) {
            Some(room) => self.come_to(scene, room),
            None => {
                self.tries += 1;
                match self.tries < TRIES_MAX {
                    true => self.ask(scene, State::Number, &["conf-invalid"]),
                    false => self.last_words(scene, &["conf-invalid", "goodbye"]),
                }
            }
        }
    }

    /// At the door of a room.
    fn come_to(&mut self, scene: &mut Scene<'_>, room: &Room) {
        self.room = Some(room.name.clone());
        self.tries = 0;
        if room.pin.is_some() && is_barred(scene, &room.name) {
            return self.barred(scene);
        }
        match room.pin.is_some() || room.moderator_pin.is_some() {
            true => self.ask(scene, State::Pin, &[]),
            false => self.enter(scene, room, false),
        }
    }

    fn pin_typed(&mut self, scene: &mut Scene<'_>) {
        let name = self.room.clone().unwrap_or_default();
        let Some(room) = scene.config.conference(&name) else {
            return self.last_words(scene, &["conf-invalid"]);
        };
        let is_typed =
            |pin: &Option<Box<str>>| pin.as_deref().is_some_and(|p| is_pin(&self.digits, p));
        let moderator = is_typed(&room.moderator_pin);
        // Where only moderators have a PIN, others type none.
        let opens = room.pin.is_none() && self.digits.is_empty();
        if opens {
            return self.enter(scene, room, false);
        }
        // Whoever waits for the end of it does not put that off by trying.
        if is_barred(scene, &name) {
            return self.barred(scene);
        }
        let (pins, door) = (scene.house.features.pins(), door_of(&name));
        let who = scene.caller.guesser();
        if moderator || is_typed(&room.pin) {
            pins.right(&door, &who.caller);
            return self.enter(scene, room, moderator);
        }
        tracing::warn!(room = %name, caller = %who.caller, "wrong PIN for a conference");
        let slow = pins.wrong(&door, who, scene.now, PATIENCE);
        self.state = State::Penalty;
        self.tries += 1;
        scene.after(slow, PENALTY);
    }

    /// Too many PINs were wrong: none is asked for.
    fn barred(&mut self, scene: &mut Scene<'_>) {
        tracing::warn!(
            room = self.room.as_deref(),
            caller = %scene.caller.guesser().caller,
            "locked out of a conference after wrong PINs, until none was tried for {} minutes",
            PATIENCE.window.as_secs() / 60
        );
        self.last_words(scene, &["vm-locked", "goodbye"]);
    }

    fn punished(&mut self, scene: &mut Scene<'_>) {
        match self.tries < TRIES_MAX {
            true => self.ask(scene, State::Pin, &["conf-invalidpin"]),
            false => self.last_words(scene, &["conf-invalidpin", "goodbye"]),
        }
    }

    fn enter(&mut self, scene: &mut Scene<'_>, room: &Room, moderator: bool) {
        let caller = scene.caller;
        let member = Member {
            id: 0,
            address: Address {
                shard: scene.shard,
                session: caller.session,
            },
            user: caller.user.clone(),
            number: caller.number.clone(),
            name: caller.name.clone(),
            moderator,
            waiting: false,
            inside: false,
            muted: false,
            deafened: false,
            talking: false,
            since_ms: scene.unix_ms,
        };
        let entry = match scene.rooms.enter(room, member) {
            Ok(entry) => entry,
            Err(Refused::Full) => return self.last_words(scene, &["conf-full", "goodbye"]),
            Err(Refused::Locked) => return self.last_words(scene, &["conf-locked", "goodbye"]),
        };
        self.state = State::Door;
        self.member = Some(entry.id);
        self.moderator = moderator;
        self.waits = entry.waits;
        let voice = scene.voice;
        let mut words = vec![voice.pause()];
        match entry.others {
            0 => words.push(voice.prompt("conf-onlyperson")),
            1 => words.push(voice.prompt("conf-onlyone")),
            others => {
                words.push(voice.prompt("conf-thereare"));
                words.extend(voice.number(others, Gender::Masculine));
                words.push(voice.prompt("conf-otherinparty"));
            }
        }
        if scene.rooms.is_recorded(&room.name) {
            words.push(voice.prompt("conf-now-recording"));
        }
        scene.play(DOOR, words, true);
        scene.tell(entry.waited, Wish::Enter);
    }

    /// The words at the door are over.
    fn pass(&mut self, scene: &mut Scene<'_>) {
        match self.waits {
            true => self.wait(scene, &[]),
            false => self.join(scene),
        }
    }

    fn wait(&mut self, scene: &mut Scene<'_>, before: &[&str]) {
        self.state = State::Waiting;
        self.waits = true;
        self.note(scene, |member| {
            (member.waiting, member.talking) = (true, false);
            member.inside = false;
        });
        let voice = scene.voice;
        let mut sounds = vec![voice.pause()];
        sounds.extend(voice.prompts(before));
        sounds.extend([voice.prompt("conf-waitforleader"), Sound::Music]);
        let (rounds, until_key) = (None, false);
        let what = Task::Play {
            sounds,
            rounds,
            until_key,
        };
        scene.order(WAIT, what);
    }

    fn join(&mut self, scene: &mut Scene<'_>) {
        self.state = State::Inside;
        self.waits = false;
        self.note(scene, |member| {
            (member.waiting, member.inside) = (false, true);
        });
        let name = self.room.clone().unwrap_or_default();
        let room = scene.config.conference(&name);
        let announce = room.map_or(Announce::None, |room| room.announce);
        let (arrival, farewell) = announcements(scene, announce);
        let recorded = recording(scene, announce);
        let join = Join {
            rate: room.map_or_else(|| Room::default().rate, |room| room.rate),
            room: name,
            muted: self.muted,
            deafened: self.deafened,
            volume: volume(self.volume),
            arrival,
            farewell,
            name: recorded,
        };
        scene.order(JOIN, Task::Join(Box::new(join)));
        self.record(scene);
    }

    /// The room is recorded, if it is to be and is not yet.
    fn record(&self, scene: &mut Scene<'_>) {
        let name = self.room.as_deref().unwrap_or_default();
        if scene.rooms.is_recorded(name) {
            let room = scene.config.conference(name);
            let encoding = encoding(room.map_or(RoomFormat::Wav, |room| room.format));
            let file = file_of(scene, name, encoding);
            scene.in_room(RoomOrder::Record(file.into(), encoding));
        }
    }

    /// The room is recorded from now on, or no longer; all are told.
    fn turn_record(&self, scene: &mut Scene<'_>, on: bool) {
        let words = match on {
            true => {
                self.record(scene);
                "conf-now-recording"
            }
            false => {
                scene.in_room(RoomOrder::EndRecord);
                "conf-not-recording"
            }
        };
        let sounds = vec![scene.voice.prompt(words)];
        scene.in_room(RoomOrder::Announce(sounds));
    }

    fn on_menu_key(&mut self, scene: &mut Scene<'_>, key: char) {
        match key {
            '*' | '#' => return self.close_menu(scene, &[]),
            '1' => {
                self.mute(scene, !self.muted);
            }
            '2' if self.moderator => {
                let name = self.room.as_deref().unwrap_or_default();
                let words = match scene.rooms.turn_lock(name) {
                    Some(true) => "conf-lockednow",
                    _ => "conf-unlockednow",
                };
                self.whisper(scene, &[words]);
            }
            '3' if self.moderator => {
                let name = self.room.as_deref().unwrap_or_default();
                let last = scene.rooms.last(name);
                scene.tell(last.into_iter().collect(), Wish::Kick);
            }
            '5' if self.moderator => {
                let name = self.room.as_deref().unwrap_or_default();
                let on = !scene.rooms.is_recorded(name);
                scene.rooms.record(name, on);
                self.turn_record(scene, on);
            }
            '4' | '6' => {
                let step = if key == '4' { -1 } else { 1 };
                self.volume = (self.volume + step).clamp(-VOLUME_STEPS, VOLUME_STEPS);
                scene.in_room(RoomOrder::Volume(volume(self.volume)));
            }
            '8' => {
                self.leave(scene);
                return self.last_words(scene, &["goodbye"]);
            }
            _ => self.say_menu(scene),
        }
        scene.after(MENU_WAIT, MENU);
    }

    fn say_menu(&mut self, scene: &mut Scene<'_>) {
        self.state = State::Menu;
        let words = match self.moderator {
            true => "conf-adminmenu",
            false => "conf-usermenu",
        };
        self.whisper(scene, &[words]);
        scene.after(MENU_WAIT, MENU);
    }

    /// What else is whispered ends.
    fn close_menu(&mut self, scene: &mut Scene<'_>, words: &[&str]) {
        self.state = State::Inside;
        self.whisper(scene, words);
    }

    fn whisper(&self, scene: &mut Scene<'_>, words: &[&str]) {
        let sounds = scene.voice.prompts(words);
        scene.in_room(RoomOrder::Whisper(WHISPER, sounds));
    }

    fn mute(&mut self, scene: &mut Scene<'_>, muted: bool) {
        self.muted = muted;
        self.note(scene, |member| member.muted = muted);
        if self.is_inside() {
            scene.in_room(RoomOrder::Mute(muted));
            let words = match muted {
                true => "conf-muted",
                false => "conf-unmuted",
            };
            self.whisper(scene, &[words]);
        }
    }

    fn on_wish(&mut self, scene: &mut Scene<'_>, wish: Wish) {
        if self.member.is_none() {
            // It is on its way out.
            return;
        }
        match wish {
            Wish::Mute(muted) if muted == self.muted => {}
            Wish::Mute(muted) => self.mute(scene, muted),
            Wish::Deafen(deafened) => {
                self.deafened = deafened;
                self.note(scene, |member| member.deafened = deafened);
                if self.is_inside() {
                    scene.in_room(RoomOrder::Deafen(deafened));
                }
            }
            Wish::Kick => {
                self.leave(scene);
                self.last_words(scene, &["conf-kicked", "goodbye"]);
            }
            Wish::Record(on) if self.is_inside() => self.turn_record(scene, on),
            Wish::Record(_) => {}
            Wish::Enter => match self.state {
                State::Waiting => self.join(scene),
                _ => self.waits = false,
            },
            Wish::Wait if self.is_inside() => self.wait(scene, &["conf-leaderhasleft"]),
            Wish::Wait => self.waits = true,
            Wish::Close => {
                self.leave(scene);
                self.last_words(scene, &["conf-leaderhasleft", "goodbye"]);
            }
            Wish::End => {
                self.leave(scene);
                self.last_words(scene, &["goodbye"]);
            }
            // Those of the parking lot, and of transfers.
            Wish::Fetched(_)
            | Wish::Met(_)
            | Wish::Replaced
            | Wish::Held(_)
            | Wish::Go(_)
            | Wish::Bring(_)
            | Wish::Alone
            | Wish::Serve(_)
            | Wish::Fares(_)
            | Wish::Moved(_)
            | Wish::Tape(_)
            | Wish::Taped(_) => {}
        }
    }

    fn is_inside(&self) -> bool {
        matches!(self.state, State::Inside | State::Menu)
    }

    /// Changes its entry in the roster.
    fn note(&self, scene: &Scene<'_>, change: impl FnOnce(&mut Member)) {
        if let (Some(name), Some(id)) = (&self.room, self.member) {
            scene.rooms.update(name, id, change);
        }
    }

    /// Is no member any more.
    fn leave(&mut self, scene: &mut Scene<'_>) {
        if let (Some(name), Some(id)) = (&self.room, self.member.take()) {
            let config = scene.config.conference(name);
            if let Some((whom, wish)) = scene.rooms.leave(name, id, config) {
                scene.tell(whom, wish);
            }
        }
    }

    fn last_words(&mut self, scene: &mut Scene<'_>, words: &[&str]) {
        self.state = State::Leaving;
        let voice = scene.voice;
        let mut sounds = vec![voice.pause()];
        sounds.extend(voice.prompts(words));
        sounds.push(voice.pause());
        scene.play(LAST_WORDS, sounds, false);
    }
}

impl Program for Conference {
    fn name(&self) -> &'static str {
        "conference"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match (self.state, event) {
            (_, Event::Begin) => self.begin(scene),
            (_, Event::Ended) => self.leave(scene),
            (_, Event::Told(wish)) => self.on_wish(scene, wish),
            (State::Number | State::Pin, Event::Key(key)) => self.on_digit(scene, key),
            (State::Number | State::Pin, Event::Done(ASK)) if self.digits.is_empty() => {
                scene.after(FIRST_KEY_WAIT, KEYS);
            }
            (State::Number | State::Pin, Event::Due(KEYS)) => self.answered(scene),
            (State::Penalty, Event::Due(PENALTY)) => self.punished(scene),
            (State::Door, Event::Done(DOOR)) => self.pass(scene),
            (State::Inside, Event::Key('*')) => self.say_menu(scene),
            (State::Menu, Event::Key(key)) => self.on_menu_key(scene, key),
            (State::Menu, Event::Due(MENU)) => self.state = State::Inside,
            (State::Inside | State::Menu, Event::Done(JOIN)) => {
                self.leave(scene);
                self.last_words(scene, &["conf-full", "goodbye"]);
            }
            (State::Inside | State::Menu, Event::Talking(talks)) => {
                self.note(scene, |member| member.talking = talks);
            }
            (State::Leaving, Event::Done(LAST_WORDS)) => scene.hang_up(),
            _ => {}
        }
    }
}

/// The studio says something of the recording of a room, whoever asked for it: who is to be told,
/// and what.
pub(super) fn on_room_news(rooms: &Roster, room: &str, what: &RoomNews) -> Option<(Address, Wish)> {
    match what {
        RoomNews::Written { file, ms, end } => {
            let seconds = ms / 1000;
            match end {
                RecordEnd::Failed | RecordEnd::Behind => tracing::warn!(
                    room,
                    file = &**file,
                    seconds,
                    "not all of a conference was recorded: see what the log says of the spool"
                ),
                RecordEnd::Limit => tracing::info!(
                    room,
                    file = &**file,
                    seconds,
                    "a conference was recorded, and goes on in another file"
                ),
                RecordEnd::Key | RecordEnd::Silence | RecordEnd::Closed => {
                    tracing::info!(room, file = &**file, seconds, "a conference was recorded");
                }
            }
            None
        }
        RoomNews::Ceased => {
            if let Some(host) = host_of(room) {
                return Some((host, Wish::Taped(None)));
            }
            tracing::warn!(room, "the conference is recorded no longer");
            let inside = rooms.record(room, false)?;
            Some((inside, Wish::Record(false)))
        }
    }
}

/// What wrong PINs of a room are counted for.
fn door_of(room: &str) -> String {
    format!("conference {room}")
}

/// Whether wrong PINs keep the caller out of a room.
fn is_barred(scene: &Scene<'_>, room: &str) -> bool {
    let pins = scene.house.features.pins();
    let who = scene.caller.guesser();
    pins.is_locked(&door_of(room), who, scene.now, PATIENCE)
}

/// What the room hears when this caller comes, and when it goes.
fn announcements(scene: &Scene<'_>, announce: Announce) -> (Vec<Sound>, Vec<Sound>) {
    let voice = scene.voice;
    let tone = || voice.tone(crate::media::tone::Tone::Dial, Some(TONE_MS));
    let tones = || (vec![tone()], vec![tone(), voice.pause(), tone()]);
    match announce {
        Announce::None => (Vec::new(), Vec::new()),
        Announce::Tones => tones(),
        Announce::Names => {
            let digits = voice.digits(&scene.caller.number);
            if digits.is_empty() {
                return tones();
            }
            let say = |what| {
                let mut words = digits.clone();
                words.push(voice.prompt(what));
                words
            };
            (say("conf-hasjoin"), say("conf-hasleft"))
        }
    }
}

/// The same by the name that the caller recorded, if it is one of our users who did.
fn recording(scene: &Scene<'_>, announce: Announce) -> Option<Name> {
    let aor = scene.caller.user.as_deref();
    let aor = aor.filter(|_| announce == Announce::Names)?;
    Some(Name {
        file: recorded_name(scene, aor)?,
        comes: vec![scene.voice.prompt("conf-hasjoin")],
        goes: vec![scene.voice.prompt("conf-hasleft")],
    })
}

fn encoding(format: RoomFormat) -> Encoding {
    match format {
        RoomFormat::Wav => Encoding::Alaw,
        RoomFormat::Ulaw => Encoding::Ulaw,
        RoomFormat::Pcm => Encoding::Pcm16,
        RoomFormat::G722 => Encoding::G722,
        RoomFormat::Gsm => Encoding::Gsm,
    }
}

/// Where a recording of a room goes, by the day and the second of its beginning.
fn file_of(scene: &Scene<'_>, room: &str, encoding: Encoding) -> String {
    let begun = local_time(scene.unix_ms, &scene.config.numbers.timezone);
    let begun = begun.strftime("%Y/%m/%d/conference-%H%M%S");
    format!("recordings/{begun}-{room}.{}", encoding.extension())
}

/// The volume so many steps above that of the room.
fn volume(steps: i8) -> u16 {
    let factor = 10f64.powf(3.0 * f64::from(steps) / 20.0);
    let volume = (f64::from(VOLUME_ONE) * factor) as u16;
    volume.min(VOLUME_MAX)
}

#[cfg(test)]
mod tests;
