//! `[[conference]]`: rooms in which callers hear each other.

use super::parse::File;
use super::parse_dialing::dialled;
use super::print::{plain, text};
use super::print_dialing::optional;
use super::reader::Section;
use super::{Config, Group, PEERS_MAX, Services};
use std::fmt::{self, Formatter};

pub(super) const CONFERENCE: &[&str] = &[
    "name",
    "number",
    "pin",
    "moderator_pin",
    "rate_khz",
    "members_max",
    "wait_for_moderator",
    "moderator_leaves",
    "announce",
    "record",
    "format",
];

/// Members of one room, as many as are mixed.
pub const CONFERENCE_MEMBERS_MAX: u32 = 1000;
/// Digits of a PIN, least and most.
const PIN_DIGITS: (usize, usize) = (3, 16);

/// One room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conference {
    /// Its name in targets and listings.
    pub name: Box<str>,
    /// The number by which users call it, and which they type in the conference service; routes
    /// alone lead there without.
    pub number: Option<Box<str>>,
    /// What whoever comes in must type.
    pub pin: Option<Box<str>>,
    /// What makes a moderator of whoever types it.
    pub moderator_pin: Option<Box<str>>,
    /// Samples per second of its sound: 8000, 16,000 or 48,000.
    pub rate: u32,
    /// How many may be inside, those who wait included.
    pub members_max: u32,
    /// Whether all wait until a moderator is inside.
    pub wait_for_moderator: bool,
    /// What becomes of the others when the last moderator leaves a room that waits for one.
    pub moderator_leaves: ModeratorLeaves,
    /// How comings and goings are told.
    pub announce: Announce,
    /// Whether it is recorded.
    pub record: bool,
    /// How a recording is written.
    pub format: RoomFormat,
}

/// How a recording of a room is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoomFormat {
    /// A-law of 8 kHz, WAV.
    Wav,
    /// u-law of 8 kHz, WAV.
    Ulaw,
    /// Linear samples of 16 bits, WAV: at the room's rate, up to 16 kHz.
    Pcm,
    /// G.722, octets alone.
    G722,
    /// GSM 06.10, frames alone.
    Gsm,
}

impl RoomFormat {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("wav", Self::Wav),
        ("ulaw", Self::Ulaw),
        ("pcm", Self::Pcm),
        ("g722", Self::G722),
        ("gsm", Self::Gsm),
    ];

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Ulaw => "ulaw",
            Self::Pcm => "pcm",
            Self::G722 => "g722",
            Self::Gsm => "gsm",
        }
    }
}

/// What becomes of a room that its last moderator left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModeratorLeaves {
    /// All wait for the next one.
    Wait,
    /// All are hung up.
    End,
}

impl ModeratorLeaves {
    const WORDS: &'static [(&'static str, Self)] = &[("wait", Self::Wait), ("end", Self::End)];

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::End => "end",
        }
    }
}

/// How comings and goings in a room are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announce {
    /// By a tone.
    Tones,
    /// By the extension of who comes or goes.
    Names,
    /// Not at all.
    None,
}

impl Announce {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("tones", Self::Tones),
        ("names", Self::Names),
        ("none", Self::None),
    ];

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tones => "tones",
            Self::Names => "names",
            Self::None => "none",
        }
    }
}

impl Default for Conference {
    fn default() -> Self {
        Self {
            name: "".into(),
            number: None,
            pin: None,
            moderator_pin: None,
            rate: 16_000,
            members_max: 100,
            wait_for_moderator: false,
            moderator_leaves: ModeratorLeaves::Wait,
            announce: Announce::Tones,
            record: false,
            format: RoomFormat::Wav,
        }
    }
}

impl Config {
    /// The room of a name.
    pub fn conference(&self, name: &str) -> Option<&Conference> {
        self.conferences.iter().find(|room| *room.name == *name)
    }

    /// The room that a number leads to.
    pub fn conference_dialled(&self, number: &str) -> Option<&Conference> {
        let mut rooms = self.conferences.iter();
        rooms.find(|room| room.number.as_deref() == Some(number))
    }
}

impl<'d> File<'_, '_, 'd> {
    pub(super) fn conferences(&mut self, groups: &[Group], services: &Services) -> Vec<Conference> {
        let mut rooms: Vec<Conference> = Vec::new();
        let mut names = Vec::new();
        for section in self.tables("conference", PEERS_MAX) {
            let name = self.name(section, &names, "board");
            names.extend(name.clone());
            let mut room = Conference {
                number: self.room_number(section, &rooms, groups, services),
                pin: self.pin(section, "pin"),
                moderator_pin: self.pin(section, "moderator_pin"),
                ..Conference::default()
            };
            self.room(section, &mut room);
            if let Some(name) = name {
                room.name = name;
                rooms.push(room);
            }
        }
        rooms
    }

    fn room(&mut self, section: Section<'d>, room: &mut Conference) {
        if let Some(entry) = section.get("rate_khz") {
            match self.reader.number(entry, 8..=48) {
                Some(khz @ (8 | 16 | 48)) => room.rate = khz as u32 * 1000,
                Some(khz) => {
                    let remedy = "write 8, 16 or 48";
                    self.reader.note_entry(entry, format!("is {khz}"), remedy);
                }
                None => {}
            }
        }
        let most = 2..=u64::from(CONFERENCE_MEMBERS_MAX);
        self.set_u32(&mut room.members_max, section.get("members_max"), most);
        room.wait_for_moderator = self.truth(section, "wait_for_moderator", false);
        if let Some(entry) = section.get("moderator_leaves") {
            let leaves = self.reader.word(entry, ModeratorLeaves::WORDS);
            room.moderator_leaves = leaves.unwrap_or(room.moderator_leaves);
            if !room.wait_for_moderator {
                let remedy = "add wait_for_moderator = true, or take it out";
                let problem = "means nothing in a room that waits for no moderator";
                self.reader.note_entry(entry, problem, remedy);
            }
        }
        if let Some(entry) = section.get("announce") {
            let announce = self.reader.word(entry, Announce::WORDS);
            room.announce = announce.unwrap_or(room.announce);
        }
        room.record = self.truth(section, "record", room.record);
        if let Some(entry) = section.get("format") {
            let format = self.reader.word(entry, RoomFormat::WORDS);
            room.format = format.unwrap_or(room.format);
        }
        if let Some(entry) = section.get("wait_for_moderator")
            && room.wait_for_moderator
            && section.get("moderator_pin").is_none()
        {
            let remedy = "add moderator_pin = \"...\", which moderators type";
            let problem = "leaves all waiting for ever: nobody can become moderator";
            self.reader.note_entry(entry, problem, remedy);
        }
        if let Some(entry) = section.get("moderator_pin")
            && room.pin.is_some()
            && room.pin == room.moderator_pin
        {
            let remedy = "write two different ones";
            self.reader
                .note_entry(entry, "is the PIN of everybody", remedy);
        }
    }

    fn pin(&mut self, section: Section<'d>, key: &'static str) -> Option<Box<str>> {
        let text = self.reader.text(section.get(key)?)?;
        let (least, most) = PIN_DIGITS;
        let digits = text.text.bytes().all(|b| b.is_ascii_digit());
        if digits && (least..=most).contains(&text.text.len()) {
            return Some(text.text.into());
        }
        // The value itself is not told: what is told may be logged.
        let remedy = format!("write {least} to {most} digits in quotes");
        self.note(text, "is no PIN", remedy);
        None
    }

    fn room_number(
        &mut self,
        section: Section<'d>,
        rooms: &[Conference],
        groups: &[Group],
        services: &Services,
    ) -> Option<Box<str>> {
        let text = self.reader.text(section.get("number")?)?;
        if let Err((problem, remedy)) = dialled(text.text) {
            self.note(text, problem, remedy);
            return None;
        }
        let number: Box<str> = text.text.into();
        let room = rooms.iter().find(|r| r.number.as_ref() == Some(&number));
        let group = groups.iter().find(|g| g.number.as_ref() == Some(&number));
        let service = services.dialled(&number);
        let holder = room
            .map(|room| format!("conference {}", room.name))
            .or_else(|| group.map(|group| format!("group {}", group.name)))
            .or_else(|| service.map(|service| format!("[services] {}", service.name())));
        if let Some(holder) = holder {
            let problem = format!("\"{number}\" is the number of {holder} already");
            self.note(text, problem, "give it another number");
            return None;
        }
        Some(number)
    }
}

pub(super) fn print(f: &mut Formatter<'_>, room: &Conference) -> fmt::Result {
    writeln!(f, "\n[[conference]]")?;
    text(f, "name", &room.name)?;
    optional(f, "number", room.number.as_deref())?;
    optional(f, "pin", room.pin.as_deref())?;
    optional(f, "moderator_pin", room.moderator_pin.as_deref())?;
    plain(f, "rate_khz", room.rate / 1000)?;
    plain(f, "members_max", room.members_max)?;
    plain(f, "wait_for_moderator", room.wait_for_moderator)?;
    if room.wait_for_moderator {
        text(f, "moderator_leaves", &room.moderator_leaves.as_str())?;
    }
    text(f, "announce", &room.announce.as_str())?;
    plain(f, "record", room.record)?;
    text(f, "format", &room.format.as_str())
}
