//! The disk of the media side: one thread that reads prompts and messages and writes recordings,
//! below two directories that were opened before rights were dropped, and by names relative to them
//! alone (openat(2) and its kin): capability mode and landlock(7) leave it nothing else.
//!
//! What is renamed is on the disk before: file by fdatasync(2), names by fsync(2) on their
//! directory.

use crate::config::Config;
use crate::media::file::{FileAsk, FileFailure, FileNews, FileWish, PARTS_MAX, Root};
use crate::media::{refused, shelf};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{UnlinkatFlags, fdatasync, fsync, ftruncate, unlinkat};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

mod recordings;
mod start;
#[cfg(test)]
mod tests;

use recordings::Begun;
pub use start::find;

/// Questions that wait for the thread; for more, callers hear that nothing can be recorded.
const JOBS_MAX: usize = 4096;
/// Files of one listing that are looked at.
const ENTRIES_MAX: usize = 65_536;
/// Files that could not be written of which that is known.
const SPOILT_MAX: usize = 4096;
/// Files whose absence or nonsense was told in the log; after so many all are told anew.
const TOLD_MAX: usize = 256;
/// Nobody but us and the operator's group reads what callers said.
const FILE_MODE: Mode = Mode::from_bits_truncate(0o640);
const DIRECTORY_MODE: Mode = Mode::from_bits_truncate(0o750);

/// Hears what the disk says; on the thread of the disk.
pub type Answering = Arc<dyn Fn(FileNews) + Send + Sync>;

/// The two directories.
#[derive(Debug, Default)]
pub struct Roots {
    /// Where recordings go.
    pub spool: Option<OwnedFd>,
    /// The site's own prompts.
    pub prompts: Option<OwnedFd>,
    /// What the log was told of the spool.
    trouble: Option<Trouble>,
}

/// The spool is not written. It is again once a recording became whole that began behind it.
#[derive(Debug)]
struct Trouble {
    error: Errno,
    spoilt: BTreeSet<Box<str>>,
}

impl Roots {
    /// Opens what the configuration names. What cannot be opened is told, and done without.
    pub fn open(config: &Config) -> Self {
        let prompts = config.services.prompts.as_deref();
        Self {
            spool: directory(&config.spool.directory, Root::Spool),
            prompts: prompts.and_then(|path| directory(path, Root::Prompts)),
            trouble: None,
        }
    }

    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Root, BorrowedFd<'_>)> {
        let spool = self.spool.as_ref().map(|fd| (Root::Spool, fd.as_fd()));
        let prompts = self.prompts.as_ref().map(|fd| (Root::Prompts, fd.as_fd()));
        spool.into_iter().chain(prompts)
    }

    /// Puts one of them in its place.
    pub fn set(&mut self, root: Root, fd: OwnedFd) {
        match root {
            Root::Spool => self.spool = Some(fd),
            Root::Prompts => self.prompts = Some(fd),
        }
    }
}

fn directory(path: &Path, root: Root) -> Option<OwnedFd> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY);
    match options.open(path) {
        Ok(file) => Some(file.into()),
        Err(error) => {
            let without = match root {
                Root::Spool => "nothing can be recorded",
                Root::Prompts => "the built-in prompts are heard",
            };
            let key = root.name();
            tracing::error!(
                "{key}: {}: {error}; {without} until it is there, with rights for us, and voipd is \
                 started again",
                path.display()
            );
            None
        }
    }
}

/// Whether the first of these files that is there, below the site's prompts, can be played; with
/// the rights of whoever asks.
pub fn is_playable(directory: &Path, names: Vec<Box<str>>) -> Result<(), FileFailure> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY);
    let prompts = options.open(directory).map_err(|_| FileFailure::Missing)?;
    let mut roots = Roots::default();
    roots.set(Root::Prompts, prompts.into());
    let root = Root::Prompts;
    shelf::answer(&mut Disk::new(roots), FileWish::Open { root, names }).map(drop)
}

/// One question, and who hears the answer.
struct Job {
    ask: FileAsk,
    answering: Answering,
}

/// Hands questions to the thread of the disk; cheap to clone. The thread ends with the last one.
#[derive(Clone)]
pub struct Filing {
    jobs: SyncSender<Job>,
    spool: bool,
    prompts: bool,
}

impl std::fmt::Debug for Filing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filing").finish_non_exhaustive()
    }
}

impl Filing {
    /// Starts the thread, and beside it the one that makes broken-off recordings whole.
    pub fn start(roots: Roots) -> io::Result<Self> {
        let begun = recordings::start(&roots)?;
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let filing = Self {
            jobs,
            spool: roots.spool.is_some(),
            prompts: roots.prompts.is_some(),
        };
        let builder = std::thread::Builder::new().name("files".into());
        let disk = Disk {
            begun,
            ..Disk::new(roots)
        };
        builder.spawn(move || serve(&inbox, disk))?;
        Ok(filing)
    }

    /// Which directories there are.
    pub fn roots(&self) -> FileNews {
        FileNews::Roots {
            spool: self.spool,
            prompts: self.prompts,
        }
    }

    /// Asks without waiting; the answer, if it is that too much is asked.
    pub fn ask(&self, ask: FileAsk, answering: &Answering) -> Result<(), FileNews> {
        let answering = Arc::clone(answering);
        match self.jobs.try_send(Job { ask, answering }) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                Err(refused(&job.ask))
            }
        }
    }
}

fn serve(inbox: &Receiver<Job>, mut disk: Disk) {
    while let Ok(Job { ask, answering }) = inbox.recv() {
        let FileAsk { ticket, what } = ask;
        let single = match &what {
            FileWish::Open { root, names } if names.len() == 1 => {
                names.first().map(|name| (*root, name.clone()))
            }
            _ => None,
        };
        let answer = shelf::answer(&mut disk, what);
        if let (Some((root, name)), Err(failure)) = (single, &answer) {
            disk.tell(root, &name, *failure);
        }
        let what = answer;
        answering(FileNews::Answer { ticket, what });
    }
}

/// The directories, and what was told of them.
#[derive(Debug)]
struct Disk {
    roots: Roots,
    told: BTreeSet<(Root, Box<str>)>,
    /// Who looks for broken-off recordings must know which are not.
    begun: Option<Begun>,
}

impl Disk {
    fn new(roots: Roots) -> Self {
        Self {
            roots,
            told: BTreeSet::new(),
            begun: None,
        }
    }

    /// A file that somebody should hear is not there, or is no sound: told once.
    fn tell(&mut self, root: Root, name: &str, failure: FileFailure) {
        if matches!(failure, FileFailure::Disk | FileFailure::Busy) {
            return;
        }
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        if self.told.insert((root, name.into())) {
            tracing::warn!("{}: {name} is not played: {failure}", root.name());
        }
    }

    fn root(&self, root: Root) -> Result<BorrowedFd<'_>, FileFailure> {
        let fd = match root {
            Root::Spool => &self.roots.spool,
            Root::Prompts => &self.roots.prompts,
        };
        fd.as_ref().map(AsFd::as_fd).ok_or(FileFailure::Missing)
    }

    fn open(&self, root: Root, name: &str, flags: OFlag) -> Result<(File, FileStat), Errno> {
        let directory = self.root(root).map_err(|_| Errno::ENOENT)?;
        // Nobody but the operator puts anything into the prompts, links of theirs are welcome.
        let links = match root {
            Root::Spool => OFlag::O_NOFOLLOW,
            Root::Prompts => OFlag::empty(),
        };
        // A pipe must not hold the thread up.
        let always = OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let fd = openat(directory, name, flags | links | always, FILE_MODE)?;
        let status = fstat(&fd)?;
        match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Ok((fd.into(), status)),
            _ => Err(Errno::ENOENT),
        }
    }

    /// The outcome of something that writes a file: trouble is told once.
    fn written<T>(&mut self, name: &str, outcome: Result<T, Errno>) -> Result<T, FileFailure> {
        let error = match outcome {
            Ok(done) => return Ok(done),
            // Of a name that is not there, nothing is to be said of the disk.
            Err(Errno::ENOENT) => return Err(FileFailure::Missing),
            Err(error) => error,
        };
        let told = self.roots.trouble.as_ref().map(|trouble| trouble.error);
        if told != Some(error) {
            tracing::error!(
                "[spool] directory: {error}; nothing can be recorded; {}",
                remedy(error)
            );
        }
        let trouble = self.roots.trouble.get_or_insert_with(|| Trouble {
            error,
            spoilt: BTreeSet::new(),
        });
        trouble.error = error;
        if trouble.spoilt.len() < SPOILT_MAX {
            trouble.spoilt.insert(name.into());
        }
        Err(FileFailure::Disk)
    }

    /// A file begins anew, or is gone.
    fn unspoil(&mut self, name: &str) {
        if let Some(trouble) = &mut self.roots.trouble {
            trouble.spoilt.remove(name);
        }
    }

    /// A file became whole. Of one that was spoilt the little fits that a full disk still takes.
    fn whole(&mut self, name: &str) {
        let Some(trouble) = &mut self.roots.trouble else {
            return;
        };
        if !trouble.spoilt.remove(name) {
            self.roots.trouble = None;
            tracing::info!("[spool] directory is written again");
        }
    }

    fn spool(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.root(Root::Spool).map_err(|_| Errno::ENOENT)
    }

    fn write_at(&self, name: &str, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        let (file, _) = self.open(Root::Spool, name, OFlag::O_WRONLY)?;
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let offset = libc::off_t::try_from(at).map_err(|_| Errno::EFBIG)?;
            match pwrite(&file, rest, offset) {
                Ok(0) => return Err(Errno::ENOSPC),
                Ok(count) => {
                    at += count as u64;
                    rest = rest.get(count..).unwrap_or_default();
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn cut_at(&self, name: &str, size: u64) -> Result<(), Errno> {
        let (file, status) = self.open(Root::Spool, name, OFlag::O_WRONLY)?;
        let wanted = libc::off_t::try_from(size).map_err(|_| Errno::EFBIG)?;
        match status.st_size > wanted {
            true => ftruncate(&file, wanted),
            false => Ok(()),
        }
    }

    fn make_directory_at(&self, path: &str) -> Result<bool, Errno> {
        match mkdirat(self.spool()?, path, DIRECTORY_MODE) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync_directory_at(&self, path: &str) -> Result<(), Errno> {
        let root = self.spool()?;
        if path.is_empty() {
            return fsync(root);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        fsync(openat(root, path, flags, Mode::empty())?)
    }

    /// Adds the plain files below a directory to `all`, directories in it to `deeper`.
    fn list_one(
        &self,
        root: Root,
        below: &str,
        all: &mut Vec<Box<str>>,
        deeper: &mut Vec<String>,
    ) -> Result<(), Errno> {
        let fd = self.root(root).map_err(|_| Errno::ENOENT)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = Dir::openat(fd, below, flags, Mode::empty())?;
        for entry in directory.iter() {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            // Names with a dot in front are none of ours.
            if name.starts_with('.') {
                continue;
            }
            let name = format!("{below}/{name}");
            let status = fstatat(fd, name.as_str(), AtFlags::empty());
            let kind = status.map(|s| SFlag::from_bits_truncate(s.st_mode) & SFlag::S_IFMT);
            match kind {
                Ok(SFlag::S_IFREG) if all.len() < ENTRIES_MAX => all.push(name.into()),
                Ok(SFlag::S_IFDIR) if name.split('/').count() < PARTS_MAX => deeper.push(name),
                _ => {}
            }
        }
        Ok(())
    }
}

fn remedy(error: Errno) -> &'static str {
    match error {
        Errno::ENOSPC | Errno::EDQUOT => "the disk is full: make room (df -h; old recordings)",
        Errno::EROFS => "its file system is read-only: mount it for writing",
        Errno::EACCES | Errno::EPERM => "give it to the user that voipd runs as (chown -R)",
        Errno::EIO => "the disk fails: see dmesg(8)",
        Errno::ENOTDIR | Errno::EISDIR | Errno::ELOOP => {
            "a file stands where a directory should be, or the other way round: move it away"
        }
        Errno::EMFILE | Errno::ENFILE => "too many files are open: raise the limit of open files",
        _ => "see what is wrong with it and its file system",
    }
}

/// What reading fails with.
fn unread(error: Errno) -> FileFailure {
    match error {
        Errno::ENOENT | Errno::ENOTDIR | Errno::EISDIR | Errno::ELOOP => FileFailure::Missing,
        error => {
            tracing::debug!("a file cannot be read: {error}");
            FileFailure::Disk
        }
    }
}

impl shelf::Shelf for Disk {
    fn size(&mut self, root: Root, name: &str) -> Result<u64, FileFailure> {
        let (_, status) = self.open(root, name, OFlag::O_RDONLY).map_err(unread)?;
        Ok(u64::try_from(status.st_size).unwrap_or(0))
    }

    fn read(
        &mut self,
        root: Root,
        name: &str,
        at: u64,
        length: u32,
    ) -> Result<Vec<u8>, FileFailure> {
        let (file, _) = self.open(root, name, OFlag::O_RDONLY).map_err(unread)?;
        let mut bytes = vec![0; length as usize];
        let mut filled = 0;
        while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
            let offset = at.saturating_add(filled as u64);
            let offset = libc::off_t::try_from(offset).map_err(|_| FileFailure::Missing)?;
            match pread(&file, room, offset) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(unread(error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn create(&mut self, name: &str) -> Result<(), FileFailure> {
        if let Some(begun) = &self.begun {
            begun.begins(name);
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        let outcome = self.open(Root::Spool, name, flags).map(drop);
        self.written(name, outcome)?;
        self.unspoil(name);
        Ok(())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> Result<(), FileFailure> {
        let outcome = self.write_at(name, at, bytes);
        self.written(name, outcome)
    }

    fn cut(&mut self, name: &str, size: u64) -> Result<(), FileFailure> {
        let outcome = self.cut_at(name, size);
        self.written(name, outcome)
    }

    fn sync(&mut self, name: &str) -> Result<(), FileFailure> {
        let opened = self.open(Root::Spool, name, OFlag::O_RDWR);
        let outcome = opened.and_then(|(file, _)| fdatasync(&file));
        self.written(name, outcome)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), FileFailure> {
        let root = self.spool();
        let outcome = root.and_then(|root| renameat(root, from, root, to));
        self.written(from, outcome)?;
        self.whole(from);
        if let Some(begun) = &self.begun {
            begun.ends(from);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), FileFailure> {
        let root = self.spool();
        let outcome = root.and_then(|root| unlinkat(root, name, UnlinkatFlags::NoRemoveDir));
        self.written(name, outcome)?;
        self.unspoil(name);
        if let Some(begun) = &self.begun {
            begun.ends(name);
        }
        Ok(())
    }

    fn make_directory(&mut self, path: &str) -> Result<bool, FileFailure> {
        let outcome = self.make_directory_at(path);
        self.written(path, outcome)
    }

    fn sync_directory(&mut self, path: &str) -> Result<(), FileFailure> {
        let outcome = self.sync_directory_at(path);
        self.written(path, outcome)
    }

    fn list(&mut self, root: Root, below: &str) -> Result<Vec<Box<str>>, FileFailure> {
        let (mut all, mut deeper) = (Vec::new(), vec![below.to_owned()]);
        // As many directories as files.
        for _ in 0..ENTRIES_MAX {
            let Some(next) = deeper.pop() else {
                break;
            };
            match self.list_one(root, &next, &mut all, &mut deeper) {
                // One that went away meanwhile.
                Err(Errno::ENOENT) => {}
                done => done.map_err(unread)?,
            }
        }
        Ok(all)
    }
}
