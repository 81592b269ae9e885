//! What media ask of a disk, and what it answers. The studio says it with a [`FileAsk`], whoever
//! has the disk answers with [`FileNews`], and nobody waits: sound goes on meanwhile.
//!
//! A recording is written as `NAME.part` and gets its name when it is whole and on the disk. Not
//! done here: how it is answered ([`super::shelf`]), and by which disk (`os`, `sim`).

use super::wav::Layout;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// The longest name of a file, with the directories before it.
pub const NAME_BYTES_MAX: usize = 200;
/// Directories and file in one name.
pub const PARTS_MAX: usize = 8;
/// Of a Call-ID so much is in a recording's name.
const CALL_ID_CHARS_MAX: usize = 64;
/// Names of one [`Filed::Listed`].
pub const LISTED_MAX: usize = 64;
/// Bytes of one piece that is read.
pub const PIECE_BYTES_MAX: u32 = 64 * 1024;
/// What a recording is called until it is whole: its name and this.
pub const PART: &str = ".part";

/// Where a file lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Root {
    /// What we write: voicemail, recordings, greetings.
    Spool,
    /// The site's own prompts and music, which we read.
    Prompts,
}

impl Root {
    /// As the log names it.
    pub const fn name(self) -> &'static str {
        match self {
            Root::Spool => "[spool] directory",
            Root::Prompts => "[services] prompts",
        }
    }
}

/// Whether a name is one of a file below a root: of few, plain characters, so that it means the
/// same to each system, to a shell and in a log, and cannot lead out of its root. `.part` is ours.
pub fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@+-/".contains(&b);
    name.len() <= NAME_BYTES_MAX
        && name.bytes().all(plain)
        && name.split('/').count() <= PARTS_MAX
        && name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'))
}

/// What a recording of a call is called: by the day, and by the Call-ID as far as that is fit for
/// a file's name. Whoever calls chooses the Call-ID, so what follows it is ours, and never the same
/// again: nobody can have an older recording overwritten.
pub fn recording_of(day: &str, call_id: &[u8], own: &[u8]) -> Box<str> {
    let call_id: String = String::from_utf8_lossy(call_id)
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || "_@-".contains(c) => c,
            _ => '-',
        })
        .take(CALL_ID_CHARS_MAX)
        .collect();
    let own = String::from_utf8_lossy(own);
    format!("recordings/{day}/{call_id}-{own}.wav").into()
}

/// What the owner of the files wants done with them; all lie in the spool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FileOrder {
    /// It goes; one that is not there is gone.
    Remove {
        /// Its name.
        path: Box<str>,
    },
    /// It gets another name, in place of a file that has it; directories are made as needed.
    Rename {
        /// Its name.
        from: Box<str>,
        /// The other.
        to: Box<str>,
    },
    /// A recording that a crash broke off becomes whole, under its name; one that is whole is told
    /// the length of. Of a recording without sound nothing is left, and its length is nought.
    Salvage {
        /// Its name, without `.part`.
        file: Box<str>,
    },
    /// A piece of one, shorter at its end.
    Read {
        /// Its name.
        path: Box<str>,
        /// From where on.
        at: u64,
        /// How many bytes, at most [`PIECE_BYTES_MAX`].
        length: u32,
    },
    /// Which files there are, in the order of their names.
    List {
        /// The directory; all below it are listed, with their names below the spool.
        below: Box<str>,
        /// Those behind this name; all if it is empty.
        after: Box<str>,
    },
}

/// What became of a [`FileOrder`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Filed {
    /// It is done, and on the disk.
    Done,
    /// It is whole now.
    Salvaged {
        /// How long it sounds.
        ms: u32,
    },
    /// The first names, at most [`LISTED_MAX`].
    Listed {
        /// In their order.
        names: Vec<Box<str>>,
        /// Whether there are more behind the last.
        more: bool,
    },
    /// A piece.
    Bytes(Vec<u8>),
    /// It is not done.
    Failed(FileFailure),
}

/// Why something was not done with a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FileFailure {
    /// There is no such file, or no such directory.
    Missing,
    /// It is no sound that can be read.
    Broken,
    /// No file has such a name: see [`is_name`].
    BadName,
    /// The disk is full, or refuses. The log says how and what to do.
    Disk,
    /// Too much is asked of the disk.
    Busy,
}

impl fmt::Display for FileFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileFailure::Missing => "there is no such file",
            FileFailure::Broken => "it is no sound that can be read",
            FileFailure::BadName => "no file can have that name",
            FileFailure::Disk => "the disk refuses",
            FileFailure::Busy => "the disk is behind",
        })
    }
}

impl std::error::Error for FileFailure {}

/// Names a question; its answer carries it.
pub type Ticket = u64;

/// What the studio wants of the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileAsk {
    /// Comes back.
    pub ticket: Ticket,
    /// What.
    pub what: FileWish,
}

/// One wish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileWish {
    /// What is the first of these files that is there made of? Answered by [`FileAnswer::Opened`].
    Open {
        /// Where they lie.
        root: Root,
        /// With their extensions, which tell what they are.
        names: Vec<Box<str>>,
    },
    /// A piece of a file. Answered by [`FileAnswer::Bytes`], shorter at the end.
    Read {
        /// Where it lies.
        root: Root,
        /// Which.
        name: Box<str>,
        /// From where on.
        at: u64,
        /// How many bytes, at most [`PIECE_BYTES_MAX`].
        length: u32,
    },
    /// The files in `moh/` that can be played. Answered by [`FileAnswer::Names`].
    Music,
    /// The next piece of a recording's sound. At nought the file begins, with its header.
    Append {
        /// What it will be called.
        name: Box<str>,
        /// What it is made of.
        layout: Layout,
        /// How much sound was written before.
        at: u64,
        /// The sound.
        bytes: Vec<u8>,
    },
    /// The recording is over: lengths, disk, name.
    Finish {
        /// What it is called from now on.
        name: Box<str>,
        /// What it is made of.
        layout: Layout,
        /// How much of its sound is kept; nothing is left of one of nought.
        data_size: u64,
    },
    /// The owner's. Answered by [`FileAnswer::Filed`].
    Order(FileOrder),
}

/// What the disk says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileNews {
    /// Which roots there are. Said before anything else; without it there are none.
    Roots {
        /// Whether there is a spool.
        spool: bool,
        /// Whether the site has prompts of its own.
        prompts: bool,
    },
    /// An answer.
    Answer {
        /// Of the question.
        ticket: Ticket,
        /// What there is, or why there is nothing.
        what: Result<FileAnswer, FileFailure>,
    },
}

/// What an answer holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileAnswer {
    /// A file that can be played.
    Opened {
        /// The name that was found.
        name: Box<str>,
        /// What it is made of.
        layout: Layout,
        /// Where its sound lies.
        data: Range<u64>,
    },
    /// A piece.
    Bytes(Vec<u8>),
    /// Names.
    Names(Vec<Box<str>>),
    /// It is written; for [`FileWish::Finish`] on the disk.
    Written,
    /// What became of an order.
    Filed(Filed),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_have_names_of_files_whatever_the_call_id() {
        let plain = recording_of("2026/11/27", b"a7f3@host-1", b"12345678");
        assert_eq!(&*plain, "recordings/2026/11/27/a7f3@host-1-12345678.wav");
        let long = [b'x'; 600];
        let odd: [&[u8]; 7] = [
            b"",
            b"../../etc/passwd",
            b".hidden",
            b"a/b\\c d",
            b"\0\n;rm",
            b"\xff\xfe",
            &long,
        ];
        for call_id in odd {
            let name = recording_of("2026/11/27", call_id, b"12345678");
            assert!(is_name(&name), "{name}");
            assert_eq!(name.split('/').count(), 5, "{name}");
        }
    }

    #[test]
    fn names_stay_below_their_root() {
        for good in [
            "a",
            "mail/201@example.com/new/1.wav",
            "es/digits/1.gsm",
            "a..b",
            "x+y-z_.wav",
        ] {
            assert!(is_name(good), "{good}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/../b",
            "a/..",
            "./a",
            "a//b",
            "a/",
            "a b",
            "a\0",
            "é",
            "a/.hidden",
            "a\\b",
            "1/2/3/4/5/6/7/8/9",
            &long,
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
