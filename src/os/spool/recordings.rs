//! Recordings of calls and conferences that were broken off, as by a crash: they become whole once
//! the daemon runs again, on a thread of their own. Nobody waits for it, however many files there
//! are, so recordings that have begun meanwhile must be told apart: their names are known.
//!
//! What cannot be made whole stays, and the log says what to do with it.

use super::{Disk, Roots, unread};
use crate::media::file::{FileFailure, Filed, PART, PARTS_MAX, Root, is_name};
use crate::media::shelf::{self, Shelf as _};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstatat};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// Where recordings of calls and conferences lie, below the spool.
const FOLDER: &str = "recordings";
/// Files and folders that are looked at; the next start goes on from there once older ones went.
const ENTRIES_MAX: u64 = 10_000_000;
/// Broken-off recordings of one folder that are seen to.
const MENDED_MAX: usize = 65_536;
/// Folders that wait to be looked at.
const FOLDERS_MAX: usize = 65_536;
/// Names that the log says of those that stay.
const NAMED_MAX: usize = 5;

/// What was begun since the start, as long as older ones are looked for. Shared by both threads.
#[derive(Clone, Debug)]
pub(super) struct Begun(Arc<Mutex<Option<BTreeSet<Box<str>>>>>);

impl Begun {
    /// Nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(BTreeSet::new()))))
    }

    /// A file is about to be made.
    pub fn begins(&self, name: &str) {
        self.with(|names| names.insert(name.into()));
    }

    /// It is gone, or has its name.
    pub fn ends(&self, name: &str) {
        self.with(|names| names.remove(name));
    }

    fn has(&self, name: &str) -> bool {
        self.with(|names| names.contains(name)).unwrap_or(true)
    }

    /// Nobody asks any more.
    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn with<T>(&self, what: impl FnOnce(&mut BTreeSet<Box<str>>) -> T) -> Option<T> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.as_mut().map(what)
    }
}

/// What became of broken-off recordings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Mended {
    /// So many are whole.
    pub whole: u64,
    /// So many had no sound in them, and are gone.
    pub empty: u64,
    /// So many stay as they are, and the first of them with what is wrong.
    pub left: u64,
    pub named: Vec<(String, FileFailure)>,
    /// Whether there was more than is looked at.
    pub more: bool,
}

/// Looks for them beside everything else; `None` if there is no spool.
pub(super) fn start(roots: &Roots) -> io::Result<Option<Begun>> {
    let Some(spool) = &roots.spool else {
        return Ok(None);
    };
    let spool: OwnedFd = spool.try_clone()?;
    let begun = Begun::new();
    let known = begun.clone();
    let builder = std::thread::Builder::new().name("mending".into());
    builder.spawn(move || {
        let mut disk = Disk::new(Roots {
            spool: Some(spool),
            ..Roots::default()
        });
        mend(&mut disk, &known).tell();
        known.close();
    })?;
    Ok(Some(begun))
}

/// Makes whole what was broken off before, the newest folder first.
pub(super) fn mend(disk: &mut Disk, begun: &Begun) -> Mended {
    let mut mended = Mended::default();
    let (mut folders, mut seen) = (vec![FOLDER.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        let mut parts = Vec::new();
        let first = folders.len();
        match look(disk, &folder, (&mut parts, &mut folders), &mut seen) {
            Ok(whole) => mended.more |= !whole,
            // Before the first recording, or it went away meanwhile.
            Err(Errno::ENOENT) => {}
            Err(error) => mended.leave(folder, unread(error)),
        }
        // The last one is looked at next.
        folders.get_mut(first..).unwrap_or_default().sort();
        parts.sort();
        for part in parts {
            if !begun.has(&part) {
                mend_one(disk, part, &mut mended);
            }
        }
    }
    mended
}

fn mend_one(disk: &mut Disk, part: String, mended: &mut Mended) {
    let whole = part.strip_suffix(PART).filter(|name| is_name(name));
    let outcome = match whole {
        None => Err(FileFailure::BadName),
        // What has the name already is not overwritten.
        Some(name) if disk.size(Root::Spool, name).is_ok() => Err(FileFailure::Busy),
        Some(name) => shelf::make_whole(disk, name),
    };
    match outcome {
        Ok(Filed::Salvaged { ms: 0 }) => mended.empty += 1,
        Ok(_) => mended.whole += 1,
        // It went away meanwhile.
        Err(FileFailure::Missing) => {}
        Err(failure) => mended.leave(part, failure),
    }
}

/// Adds broken-off recordings of a folder to `parts`, folders in it to `deeper`; whether that is
/// all.
fn look(
    disk: &Disk,
    below: &str,
    (parts, deeper): (&mut Vec<String>, &mut Vec<String>),
    seen: &mut u64,
) -> Result<bool, Errno> {
    let spool = disk.spool()?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let mut directory = Dir::openat(spool, below, flags, Mode::empty())?;
    let deep = below.split('/').count() + 1 < PARTS_MAX;
    for entry in directory.iter() {
        let entry = entry?;
        *seen += 1;
        if *seen > ENTRIES_MAX {
            return Ok(false);
        }
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        // Names with a dot in front are none of ours.
        if name.starts_with('.') {
            continue;
        }
        // Of whole ones, which may be many, nothing is asked.
        let is_part = name.ends_with(PART);
        let known = entry.file_type();
        if known == Some(Type::File) && !is_part {
            continue;
        }
        let name = format!("{below}/{name}");
        let kind = match known {
            Some(kind) => Some(kind),
            // Some file systems do not say.
            None => kind_of(spool.as_fd(), &name),
        };
        let (into, most) = match kind {
            Some(Type::File) if is_part => (&mut *parts, MENDED_MAX),
            Some(Type::Directory) if deep => (&mut *deeper, FOLDERS_MAX),
            _ => continue,
        };
        if into.len() >= most {
            return Ok(false);
        }
        into.push(name);
    }
    Ok(true)
}

fn kind_of(spool: std::os::fd::BorrowedFd<'_>, name: &str) -> Option<Type> {
    let status = fstatat(spool, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Some(Type::File),
        SFlag::S_IFDIR => Some(Type::Directory),
        _ => None,
    }
}

impl Mended {
    fn leave(&mut self, name: String, failure: FileFailure) {
        self.left += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push((name, failure));
        }
    }

    /// Says it in the log, once.
    fn tell(&self) {
        let Self { whole, empty, .. } = self;
        if whole + empty > 0 {
            tracing::info!(
                whole,
                empty,
                "recordings that were broken off are whole now; empty ones are gone"
            );
        }
        if self.more {
            tracing::warn!(
                "[spool] directory: there is too much below {FOLDER} to look for all recordings \
                 that were broken off: move old ones away"
            );
        }
        if self.left > 0 {
            let names = self.named.iter();
            let names = names.map(|(name, failure)| format!("{name}: {}", remedy(*failure)));
            let names: Vec<String> = names.collect();
            tracing::warn!(
                left = self.left,
                "[spool] directory: recordings that were broken off stay as they are: {}{}",
                names.join("; "),
                if self.left > names.len() as u64 {
                    "; and more"
                } else {
                    ""
                }
            );
        }
    }
}

fn remedy(failure: FileFailure) -> &'static str {
    match failure {
        FileFailure::Broken => {
            "no header of a WAV file; if there is sound, `sox -t raw -r 8000 -e a-law -c 2 \
             FILE.part FILE.wav` reads it; else remove it"
        }
        FileFailure::BadName => "no name of ours; rename it, or move it away",
        FileFailure::Busy => "its name is taken; rename one of the two",
        FileFailure::Missing | FileFailure::Disk => {
            "it cannot be read or written; mend that, and the next start tries again"
        }
    }
}
