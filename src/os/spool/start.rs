//! What a start finds in the folders of mailboxes, before anybody is served: recordings that were
//! broken off become whole, and the owner of the index is told which files there are.
//!
//! Who has the disk's thread mends before it starts it ([`Roots::mend`]): nobody else can be
//! writing then. Signalling, which may start again beside media that live, lets them finish first
//! ([`find`]).

use super::{Disk, Roots};
use crate::mailbox::{FileName, Found, MAIL_FOLDER};
use crate::media::file::{
    FileAnswer, FileFailure, FileOrder, FileWish, Filed, PART, Root, is_name,
};
use crate::media::shelf;
use crate::store::USERS_MAX;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long media may take to finish what callers said before signalling began anew.
const FINISHING_MAX: Duration = Duration::from_secs(3);
/// A file that is there for a moment, and counted by nobody.
const PROBE: &str = ".voipd";
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Files of one mailbox that are looked at: more than a mailbox has messages.
const FILES_MAX: usize = 4 * crate::mailbox::BOX_MESSAGES_MAX as usize;

impl Roots {
    /// Tries whether the spool can be written, and tells the log if not; makes whole what a crash
    /// broke off of messages. Before [`super::Filing::start`].
    pub fn mend(&mut self) {
        if self.spool.is_none() {
            return;
        }
        let mut disk = Disk::new(std::mem::take(self));
        let tried = disk.write_at(PROBE, 0, b"voipd", true);
        let removed = disk.remove_at(PROBE);
        // What went wrong is in the log now; callers will hear it.
        let _ = disk.written(PROBE, tried.and(removed));
        if let Err(failure) = mend(&mut disk) {
            tracing::error!(
                "[spool] directory: what was being recorded is not looked for: {failure}"
            );
        }
        *self = disk.roots;
    }
}

/// The files of all mailboxes below the spool; how long one is only where `wants_length` says so
/// of its name, as that takes reading. `None`: that cannot be told, and nothing follows from it.
pub fn find(spool: &Path, wants_length: impl Fn(&str) -> bool) -> Option<Vec<Found>> {
    // Who records has told it in the log if it cannot be opened.
    let directory = File::open(spool).ok()?;
    let mut disk = Disk::new(Roots {
        spool: Some(directory.into()),
        ..Roots::default()
    });
    let until = Instant::now() + FINISHING_MAX;
    let outcome = loop {
        match list(&mut disk) {
            Ok(names) if names.iter().any(|name| is_part(name)) && Instant::now() < until => {
                std::thread::sleep(LOOK_EVERY);
            }
            Ok(names) if names.iter().any(|name| is_part(name)) => {
                break mend(&mut disk).and_then(|()| list(&mut disk));
            }
            outcome => break outcome,
        }
    };
    let found = outcome.and_then(|names| describe(&mut disk, names, wants_length));
    found
        .inspect_err(|failure| {
            tracing::error!(
                "[spool] directory: {failure}; messages are as they were before, and what a crash \
                 left behind stays"
            );
        })
        .ok()
}

fn is_part(name: &str) -> bool {
    name.ends_with(PART)
}

fn mend(disk: &mut Disk) -> Result<(), FileFailure> {
    for part in list(disk)? {
        let Some(whole) = part.strip_suffix(PART).filter(|name| is_name(name)) else {
            continue;
        };
        let last = whole.rsplit('/').next().unwrap_or_default();
        let order = match FileName::of(last) {
            // Its owner was still speaking: nobody accepted it.
            FileName::Take => FileOrder::Remove {
                path: part.as_str().into(),
            },
            FileName::Message(_) | FileName::Greeting(_) | FileName::Other => {
                FileOrder::Salvage { file: whole.into() }
            }
        };
        if let Filed::Failed(failure) = carry_out(disk, order)? {
            tracing::warn!("{part} does not become whole: {failure}");
        }
    }
    Ok(())
}

fn carry_out(disk: &mut Disk, order: FileOrder) -> Result<Filed, FileFailure> {
    match shelf::answer(disk, FileWish::Order(order))? {
        FileAnswer::Filed(filed) => Ok(filed),
        _ => Err(FileFailure::Broken),
    }
}

/// All plain files in the folders of mailboxes. What is cut short is an error: of a file that was
/// not seen nobody shall believe that it is gone.
fn list(disk: &mut Disk) -> Result<Vec<String>, FileFailure> {
    let mut names = Vec::new();
    let (mut here, mut folders) = (Vec::new(), Vec::new());
    one(disk, MAIL_FOLDER, &mut here, &mut folders)?;
    if folders.len() > USERS_MAX {
        return Err(FileFailure::Busy);
    }
    for folder in folders {
        let (mut files, mut deeper) = (Vec::new(), Vec::new());
        one(disk, &folder, &mut files, &mut deeper)?;
        if files.len() > FILES_MAX {
            tracing::error!("[spool] directory: {folder} has too many files: move some away");
            return Err(FileFailure::Busy);
        }
        names.extend(files.into_iter().map(String::from));
    }
    names.sort();
    Ok(names)
}

fn one(
    disk: &Disk,
    below: &str,
    files: &mut Vec<Box<str>>,
    folders: &mut Vec<String>,
) -> Result<(), FileFailure> {
    match disk.list_one(Root::Spool, below, files, folders) {
        // Before the first message.
        Err(nix::errno::Errno::ENOENT) => Ok(()),
        done => done.map_err(super::unread),
    }
}

fn describe(
    disk: &mut Disk,
    names: Vec<String>,
    wants_length: impl Fn(&str) -> bool,
) -> Result<Vec<Found>, FileFailure> {
    let mut found = Vec::new();
    for name in names
        .into_iter()
        .filter(|name| is_name(name) && !is_part(name))
    {
        let file = Box::<str>::from(name);
        let modified_ms = match disk.modified_ms(&file) {
            Ok(ms) => ms,
            // It went away meanwhile.
            Err(FileFailure::Missing) => continue,
            Err(failure) => return Err(failure),
        };
        let order = FileOrder::Salvage { file: file.clone() };
        let ms = match wants_length(&file) {
            false => 0,
            true => match carry_out(disk, order)? {
                Filed::Salvaged { ms } => ms,
                Filed::Failed(failure @ (FileFailure::Disk | FileFailure::Busy)) => {
                    return Err(failure);
                }
                // No sound is in it.
                Filed::Failed(_) | Filed::Done | Filed::Listed { .. } => 0,
            },
        };
        found.push(Found {
            path: file,
            ms,
            modified_ms,
        });
    }
    Ok(found)
}

impl Disk {
    fn modified_ms(&mut self, name: &str) -> Result<u64, FileFailure> {
        let flags = nix::fcntl::OFlag::O_RDONLY;
        let (_, status) = self.open(Root::Spool, name, flags).map_err(super::unread)?;
        let seconds = u64::try_from(status.st_mtime).unwrap_or(0);
        Ok(seconds.saturating_mul(1000))
    }
}
