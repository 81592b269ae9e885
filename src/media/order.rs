//! What signalling asks of the studio, and what it hears back.

use super::codec::Plugin;
use super::file::{FileOrder, Filed, Root};
use super::room::{Join, RoomNews, RoomOrder};
use super::tone::{Country, Tone};
use crate::wire::rtp::{Coding, Wishes};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Sounds of one list; of more the first are played.
pub const SOUNDS_MAX: usize = 64;
/// Ways in which one side of a session that passes by may write sound; of more the first are heard.
pub const TAPPED_FORMATS_MAX: usize = 8;

/// The keys of a secure leg (SRTP): `a=crypto` values (RFC 4568).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Of what we send.
    pub ours: Box<str>,
    /// Of what we hear.
    pub theirs: Box<str>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// What offer and answer agreed on for a leg that ends here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Format {
    /// The place of its stream in the session.
    pub stream: u8,
    /// How sound is written.
    pub coding: Coding,
    /// The payload type that stands for it.
    pub payload_type: u8,
    /// Other ways in which the far end may write at any time, of the same clock, with their payload
    /// types.
    pub also: [Option<(u8, Coding)>; 3],
    /// The payload type of telephone events (RFC 4733), if they were agreed on.
    pub events: Option<u8>,
    /// Their clock in Hz, which may be another one than that of the sound.
    pub events_clock: u32,
    /// The payload type of comfort noise (RFC 3389) of the sound's clock, if it was agreed on.
    pub comfort: Option<u8>,
    /// Whether the keys of whom it is bridged with reach the far end beside its sound, so that none
    /// becomes a tone in it.
    pub keys_apart: bool,
    /// Milliseconds of sound in one packet of ours.
    pub packet_ms: u8,
    /// What else the far end asks of our sound.
    pub wishes: Wishes,
    /// Whether the far end wants to hear us.
    pub sends: bool,
    /// Where the leg is secure.
    pub keys: Option<Keys>,
    /// What writes and reads codings that we do not know ourselves: the studio's affair.
    #[serde(skip)]
    pub plugin: Option<Plugin>,
}

impl Format {
    /// Sound alone, in packets of 20 ms, of which nothing else was agreed on and which is wanted.
    pub fn plain(coding: Coding, payload_type: u8) -> Self {
        Self {
            stream: 0,
            coding,
            payload_type,
            also: Default::default(),
            events: None,
            events_clock: coding.clock_rate(),
            comfort: None,
            keys_apart: false,
            packet_ms: 20,
            wishes: Wishes::default(),
            sends: true,
            keys: None,
            plugin: None,
        }
    }

    /// How sound of that payload type is written, if the far end may write it.
    pub fn coding_of(&self, payload_type: u8) -> Option<Coding> {
        let own = (self.payload_type, self.coding);
        let mut all = std::iter::once(own).chain(self.also.iter().flatten().copied());
        all.find(|(known, _)| *known == payload_type)
            .map(|(_, coding)| coding)
    }

    /// How sound and keys are written, without the secrets.
    pub fn bare(&self) -> Self {
        Self {
            keys: None,
            ..*self
        }
    }
}

/// A language of recorded sounds.
pub use super::prompts::Language;

/// Something to hear.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Sound {
    /// Nothing, for a while.
    Silence {
        /// Milliseconds.
        ms: u32,
    },
    /// A tone of the telephone network.
    Tone {
        /// Whose.
        country: Country,
        /// Which.
        tone: Tone,
        /// Milliseconds; as long as its pattern without.
        ms: Option<u32>,
    },
    /// Something that is said.
    Prompt {
        /// In which language.
        language: Language,
        /// Its name in the catalogue.
        name: Box<str>,
    },
    /// A file. One that is not there, or no sound, is left out.
    File {
        /// Where it lies.
        root: Root,
        /// Its name, with the extension that tells what it is.
        path: Box<str>,
    },
    /// What those hear who wait, without end.
    Music,
    /// What was read of a file already, as A-law of 8 kHz. Within the studio alone.
    #[serde(skip)]
    Clip(Arc<[u8]>),
}

/// What a leg does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Nothing is sent.
    Rest,
    /// What comes goes back.
    Echo,
    /// It says this, then rests.
    Play {
        /// One after the other; at most [`SOUNDS_MAX`].
        sounds: Vec<Sound>,
        /// How often; for ever without.
        rounds: Option<u16>,
        /// Whether a key ends it.
        until_key: bool,
    },
    /// It is in a conference room. It is over by itself only if there was no place.
    Join(Box<Join>),
    /// What it hears is written to a file of the spool, as A-law of 8 kHz in a WAV file.
    /// [`News::Recorded`] tells when it is whole, whatever ended it.
    Record {
        /// Its name, with `.wav`.
        file: Box<str>,
        /// The longest; nought and what is too much mean two hours.
        max_ms: u32,
        /// Such a silence ends it, and is not kept; nought: none does.
        silence_ms: u32,
        /// Whether a key ends it.
        until_key: bool,
        /// What is said before, as a tone; nothing of it is recorded.
        beep: Option<Sound>,
    },
    /// It hears another leg and is heard by it, as long as that one does the same with this one.
    /// When the other one closes this task is done.
    Bridge {
        /// The other leg's session, of the same worker.
        with: u64,
    },
}

/// Why a recording ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RecordEnd {
    /// A key was pressed.
    Key,
    /// Nothing was said for so long.
    Silence,
    /// It is as long as it may be.
    Limit,
    /// The leg closed, or was told to do something else.
    Closed,
    /// It could not be written, or not all of it.
    Failed,
    /// The disk was too far behind; what was heard until then is kept.
    Behind,
}

/// About the recording of a conversation: two legs of the same worker in one file of the spool, as
/// A-law of 8 kHz in a WAV file of two channels. [`News::Recorded`] tells when it is whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TapeOrder {
    /// It begins. One that runs goes on instead.
    Start {
        /// Comes back in [`News::Recorded`].
        task: u32,
        /// The session on the right.
        with: u64,
        /// Its name, with `.wav`.
        file: Box<str>,
        /// The longest, milliseconds; nought and what is too much mean two hours.
        max_ms: u32,
    },
    /// Another session is on the right, as the call was transferred; nothing where none runs.
    With(u64),
    /// A session whose packets pass by ([`super::Studio::overhear`]), both sides of it, in place of
    /// two legs: the recording begins. Of one that runs it says how its sides write from now on.
    Tap {
        /// Comes back in [`News::Recorded`].
        task: u32,
        /// Its name, with `.wav`.
        file: Box<str>,
        /// The longest, milliseconds; nought and what is too much mean two hours.
        max_ms: u32,
        /// How the left side and the right one may write what they send, at most
        /// [`TAPPED_FORMATS_MAX`] each.
        formats: [Vec<Format>; 2],
    },
    /// Nothing is taken for a while, and the file stays as it is; or it goes on.
    Pause(bool),
    /// It ends, as it does when the one on the left closes.
    Stop,
}

/// From signalling to the studio.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Order {
    /// A leg ends here from now on, in this format; or one that does changes its format.
    Open {
        /// The session of the relay that it belongs to.
        session: u64,
        /// What was agreed on.
        format: Format,
        /// Where SSRC, sequence number and timestamp begin (RFC 3550 §5.1: at random).
        seed: u64,
    },
    /// What it does from now on; what it did before ends at once.
    Do {
        /// Which.
        session: u64,
        /// Comes back in [`News::Done`].
        task: u32,
        /// What.
        what: Task,
    },
    /// Something about its place in a room; nothing to one that is in none.
    Room {
        /// Which.
        session: u64,
        /// What.
        what: RoomOrder,
    },
    /// It is recorded side by side with another one, or no more.
    Tape {
        /// The one on the left.
        session: u64,
        /// What.
        what: TapeOrder,
    },
    /// A leg that is bridged says a key to its far end, as an event or as a tone: one that the
    /// other side told beside its sound. Nothing to one that is not.
    Press {
        /// Which.
        session: u64,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        key: char,
    },
    /// The far end of a leg told a key beside its sound: what a key ends is over, as with a key
    /// that the studio hears by itself. Signalling knows which, so there is no [`News::Key`].
    Heard {
        /// Which.
        session: u64,
    },
    /// Asks for [`News::Measured`].
    Measure {
        /// Which.
        session: u64,
    },
    /// It ends.
    Close {
        /// Which.
        session: u64,
    },
    /// About files; answered by [`News::Filed`]. There need be no such leg.
    Files {
        /// Comes back.
        session: u64,
        /// Comes back.
        task: u32,
        /// What.
        what: FileOrder,
    },
}

impl Order {
    /// The session that it is about.
    pub fn session(&self) -> u64 {
        match self {
            Order::Open { session, .. }
            | Order::Do { session, .. }
            | Order::Room { session, .. }
            | Order::Tape { session, .. }
            | Order::Measure { session }
            | Order::Press { session, .. }
            | Order::Heard { session }
            | Order::Files { session, .. }
            | Order::Close { session } => *session,
        }
    }

    /// The same with another name. A session that it is bridged with is renamed by the same bits.
    pub fn rename(mut self, to: u64) -> Self {
        let changed = self.session() ^ to;
        match &mut self {
            Order::Do { session, what, .. } => {
                *session = to;
                if let Task::Bridge { with } = what {
                    *with ^= changed;
                }
            }
            Order::Tape { session, what } => {
                *session = to;
                if let TapeOrder::Start { with, .. } | TapeOrder::With(with) = what {
                    *with ^= changed;
                }
            }
            Order::Open { session, .. }
            | Order::Room { session, .. }
            | Order::Measure { session }
            | Order::Press { session, .. }
            | Order::Heard { session }
            | Order::Files { session, .. }
            | Order::Close { session } => *session = to,
        }
        self
    }
}

/// How the way from a far end to us fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Packets lost of each thousand; with a recorder or another leg that listens, also those that
    /// came too late to be heard.
    pub lost_permille: u16,
    /// Interarrival jitter (RFC 3550 §6.4.1) in milliseconds.
    pub jitter_ms: u16,
    /// There and back in milliseconds, if the far end sends reports.
    pub round_trip_ms: Option<u16>,
}

/// From the studio to signalling.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum News {
    /// The task is over by itself.
    Done {
        /// Which leg.
        session: u64,
        /// Which of its tasks.
        task: u32,
        /// How long it said something, milliseconds.
        played_ms: u32,
    },
    /// A recording ended. If there is anything of it the file is whole, and on the disk.
    Recorded {
        /// Which leg, which may be closed.
        session: u64,
        /// Which of its tasks.
        task: u32,
        /// How long it is; nought: there is no file.
        ms: u32,
        /// Why it ended.
        end: RecordEnd,
    },
    /// What became of [`Order::Files`].
    Filed {
        /// As asked.
        session: u64,
        /// As asked.
        task: u32,
        /// What.
        outcome: Filed,
    },
    /// The far end pressed a key.
    Key {
        /// Which leg.
        session: u64,
        /// `0` to `9`, `*`, `#`, `A` to `D`.
        key: char,
    },
    /// How the way from the far end fares.
    Measured {
        /// Which leg.
        session: u64,
        /// What was measured.
        figures: Figures,
    },
    /// Somebody in a room began or ended to talk.
    Talking {
        /// Which leg.
        session: u64,
        /// Whether it talks now.
        talks: bool,
    },
    /// About the recording of a conference room.
    Room {
        /// The leg that asked for it, which may be gone: so it is told to its shard.
        session: u64,
        /// The room's name.
        room: Box<str>,
        /// What.
        what: RoomNews,
    },
    /// There is no room for the leg, or it is not known: the studio was restarted.
    Failed {
        /// Which.
        session: u64,
    },
}

impl News {
    /// The session that it is about.
    pub fn session(&self) -> u64 {
        match self {
            News::Done { session, .. }
            | News::Recorded { session, .. }
            | News::Filed { session, .. }
            | News::Key { session, .. }
            | News::Measured { session, .. }
            | News::Talking { session, .. }
            | News::Room { session, .. }
            | News::Failed { session } => *session,
        }
    }

    /// The same with another name.
    pub fn rename(mut self, to: u64) -> Self {
        match &mut self {
            News::Done { session, .. }
            | News::Recorded { session, .. }
            | News::Filed { session, .. }
            | News::Key { session, .. }
            | News::Measured { session, .. }
            | News::Talking { session, .. }
            | News::Room { session, .. }
            | News::Failed { session } => *session = to,
        }
        self
    }
}
