//! Mailboxes and the messages in them, as they are kept.

use super::pin::PinHash;
use serde::{Deserialize, Serialize};

/// What is said to who calls before the tone; [`Greetings`] counts them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Greeting {
    /// Nobody answered.
    Unavailable,
    /// The owner is on another call.
    Busy,
    /// The owner's name alone, within the spoken greeting.
    Name,
}

impl Greeting {
    /// All of them.
    pub const ALL: [Greeting; 3] = [Greeting::Unavailable, Greeting::Busy, Greeting::Name];

    /// As Asterisk names the file, and as commands do.
    pub const fn as_str(self) -> &'static str {
        match self {
            Greeting::Unavailable => "unavail",
            Greeting::Busy => "busy",
            Greeting::Name => "greet",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Greeting::Unavailable => 1,
            Greeting::Busy => 2,
            Greeting::Name => 4,
        }
    }
}

/// Which greetings the owner recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Greetings(u8);

impl Greetings {
    /// Back from [`Greetings::bits`]; bits that mean nothing are left out.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 7)
    }

    /// One bit each, for the store.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether this one was recorded.
    pub fn has(self, greeting: Greeting) -> bool {
        self.0 & greeting.bit() != 0
    }

    /// The same with or without this one.
    pub fn with(self, greeting: Greeting, recorded: bool) -> Self {
        match recorded {
            true => Self(self.0 | greeting.bit()),
            false => Self(self.0 & !greeting.bit()),
        }
    }
}

/// What is kept of one user's mailbox. Every user has one; one with nothing of its own has no row.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mailbox {
    /// Whether calls fall to it; as `[voicemail] enabled` says without.
    pub enabled: Option<bool>,
    /// What opens it from another phone; none does without.
    pub pin: Option<PinHash>,
    /// Where a copy of each message is sent; may be empty.
    pub email: Box<str>,
    /// Most messages; as `[voicemail] messages_max` says without.
    pub messages_max: Option<u32>,
    /// Wrong PINs since the last right one.
    pub wrong_pins: u32,
    /// No PIN is taken until then, in milliseconds since 1970; zero: it is not locked.
    pub locked_until_ms: u64,
    /// What the owner recorded.
    pub greetings: Greetings,
}

/// One row of the store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MailboxRecord {
    /// `name@domain`
    pub aor: Box<str>,
    /// What it is; an empty one takes the place of a deletion.
    pub mailbox: Mailbox,
    /// Orders the changes of all mailboxes: the store keeps the greatest.
    pub revision: u64,
}

/// Where a message lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Folder {
    /// It is being recorded, or its caller may still record it again.
    Recording,
    /// Not heard yet.
    New,
    /// Heard.
    Saved,
    /// Deleted by the owner, who may still want it back before hanging up.
    Deleted,
    /// No more there. Keeps an older change, on its way from another shard, from bringing it back.
    Gone,
}

impl Folder {
    const WORDS: [(Folder, &'static str); 5] = [
        (Folder::Recording, "recording"),
        (Folder::New, "new"),
        (Folder::Saved, "saved"),
        (Folder::Deleted, "deleted"),
        (Folder::Gone, "gone"),
    ];

    /// As the store and commands write it.
    pub fn as_str(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(f, _)| *f == self);
        found.map_or("gone", |(_, word)| word)
    }

    /// Back from [`Folder::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(_, w)| *w == word);
        found.map(|(folder, _)| *folder)
    }
}

/// What became of the copy by e-mail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub enum EmailCopy {
    /// Nobody wanted one.
    #[default]
    No,
    /// It is to be sent.
    Waiting,
    /// A mail server has it.
    Sent,
    /// It was given up.
    Failed,
}

impl EmailCopy {
    const WORDS: [(EmailCopy, &'static str); 4] = [
        (EmailCopy::No, "no"),
        (EmailCopy::Waiting, "waiting"),
        (EmailCopy::Sent, "sent"),
        (EmailCopy::Failed, "failed"),
    ];

    /// As the store and listings write it.
    pub fn as_str(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(c, _)| *c == self);
        found.map_or("no", |(_, word)| word)
    }

    /// Back from [`EmailCopy::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(_, w)| *w == word);
        found.map(|(copy, _)| *copy)
    }
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MessageRecord {
    /// Of this message alone, for ever.
    pub id: u64,
    /// Whose: `name@domain`.
    pub mailbox: Box<str>,
    /// Where it lies.
    pub folder: Folder,
    /// Its sound, below the spool.
    pub file: Box<str>,
    /// The caller's number or user name; empty if it is not known.
    pub number: Box<str>,
    /// The caller's name; may be empty.
    pub name: Box<str>,
    /// Milliseconds since 1970.
    pub received_ms: u64,
    /// How long it is; zero while it is being recorded.
    pub duration_ms: u32,
    /// Whether a copy is to be sent by e-mail, or was.
    pub email: EmailCopy,
    /// Orders the changes of all messages: the store keeps the greatest.
    pub revision: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_greetings_are_named_apart() {
        for (folder, word) in Folder::WORDS {
            assert_eq!(Folder::from_word(word), Some(folder));
            assert_eq!(folder.as_str(), word);
        }
        for (copy, word) in EmailCopy::WORDS {
            assert_eq!(EmailCopy::from_word(word), Some(copy));
            assert_eq!(copy.as_str(), word);
        }
        let mut all = Greetings::default();
        for greeting in Greeting::ALL {
            assert!(!all.has(greeting));
            all = all.with(greeting, true);
            assert!(all.has(greeting));
        }
        assert_eq!(all, Greetings::from_bits(0xff));
        assert!(!all.with(Greeting::Busy, false).has(Greeting::Busy));
    }
}
