//! A spool in memory that forgets as a real one does: what was written and not synced is lost, cut,
//! or a hole when the power fails, and of names that were changed and whose directory was not
//! synced, each change may have come to the disk or not, in any order.
//!
//! It answers what the daemon's disk answers, by the same rules ([`shelf::answer`]), one question
//! after the other and a while later; a crash comes between any two system calls of a question.

use crate::base::{Instant, Rng};
use crate::mailbox::{Found, MAIL_FOLDER};
use crate::media::file::{
    FileAnswer, FileAsk, FileFailure, FileNews, FileOrder, FileWish, Filed, PART, Root,
};
use crate::media::shelf::{self, Shelf};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// System calls of one question; the longest, the end of a recording, needs about ten.
const CALLS_MAX: u64 = 12;

/// How the server's machine dies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Death {
    /// The process is killed: what it told the system stays.
    Process,
    /// The power fails: what was not synced is at the mercy of the disk.
    Power,
}

/// What a file went through since it was synced.
#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(at, written) => {
                let end = at + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*at..end].copy_from_slice(written);
            }
            Change::Cut(size) => bytes.truncate(*size),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// As programs see it.
    live: Vec<u8>,
    /// As the disk has it, and what it has not.
    synced: Vec<u8>,
    changes: Vec<Change>,
    modified: Instant,
}

impl Inode {
    fn change(&mut self, now: Instant, change: Change) {
        change.apply(&mut self.live);
        self.changes.push(change);
        self.modified = now;
    }

    /// Each change is there, is not, or is there in part. What it made longer may be a hole.
    fn lose_power(&mut self, rng: &mut Rng) {
        let mut bytes = std::mem::take(&mut self.synced);
        for change in std::mem::take(&mut self.changes) {
            match (rng.below(3), change) {
                (0, _) => {}
                (1, Change::Write(at, mut written)) => {
                    let end = at + written.len();
                    written.truncate(rng.below(written.len() as u64 + 1) as usize);
                    Change::Write(at, written).apply(&mut bytes);
                    if rng.chance(1, 2) {
                        bytes.resize(bytes.len().max(end), 0);
                    }
                }
                (_, change) => change.apply(&mut bytes),
            }
        }
        self.live = bytes.clone();
        self.synced = bytes;
    }
}

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    File(u64),
    Directory,
}

type Names = BTreeMap<Box<str>, Node>;

/// One change of names, which happens as a whole or not at all.
type Renaming = Vec<(Box<str>, Option<Node>)>;

/// The files.
#[derive(Debug, Default)]
pub struct Files {
    now: Instant,
    inodes: BTreeMap<u64, Inode>,
    made: u64,
    names: Names,
    synced: Names,
    changes: Vec<Renaming>,
    /// Bytes that the disk holds, if it does not hold all.
    pub room: Option<usize>,
    /// Whether something did not fit.
    refused: bool,
    /// System calls before the crash that is coming.
    calls_left: Option<u64>,
}

fn directory(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn apply(names: &mut Names, change: &Renaming) {
    for (name, node) in change {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

impl Files {
    /// The names of all files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let files = self.names.iter();
        files.filter_map(|(name, node)| matches!(node, Node::File(_)).then_some(&**name))
    }

    /// What is in a file.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        Some(&self.inodes.get(&self.inode(name).ok()?)?.live)
    }

    /// When a file was written last.
    pub fn modified(&self, name: &str) -> Option<Instant> {
        Some(self.inodes.get(&self.inode(name).ok()?)?.modified)
    }

    /// What a restart finds.
    pub fn crash(&mut self, death: Death, rng: &mut Rng) {
        match death {
            Death::Process => {}
            Death::Power => self.lose_power(rng),
        }
    }

    fn lose_power(&mut self, rng: &mut Rng) {
        let mut names = std::mem::take(&mut self.synced);
        for change in std::mem::take(&mut self.changes) {
            if rng.chance(1, 2) {
                apply(&mut names, &change);
            }
        }
        // A directory that the disk forgot takes along what is in it, whatever was synced of that.
        while let Some(orphan) = names.keys().find(|name| !has_parent(&names, name)).cloned() {
            names.remove(&orphan);
        }
        let kept = |id: &u64| names.values().any(|node| *node == Node::File(*id));
        self.inodes.retain(|id, _| kept(id));
        for inode in self.inodes.values_mut() {
            inode.lose_power(rng);
        }
        self.synced = names.clone();
        self.names = names;
    }

    /// A system call that changes something.
    fn call(&mut self) -> Result<(), FileFailure> {
        match &mut self.calls_left {
            Some(0) => Err(FileFailure::Disk),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn inode(&self, name: &str) -> Result<u64, FileFailure> {
        match self.names.get(name) {
            Some(Node::File(id)) => Ok(*id),
            Some(Node::Directory) | None => Err(FileFailure::Missing),
        }
    }

    fn at(&mut self, name: &str) -> Result<&mut Inode, FileFailure> {
        let id = self.inode(name)?;
        self.inodes.get_mut(&id).ok_or(FileFailure::Missing)
    }

    fn rename_all(&mut self, change: Renaming) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    /// Whether something was not written for want of room.
    pub fn is_full(&self) -> bool {
        self.refused
    }

    fn used(&self) -> usize {
        let named = self.names.values().filter_map(|node| match node {
            Node::File(id) => self.inodes.get(id),
            Node::Directory => None,
        });
        named.map(|inode| inode.live.len()).sum()
    }
}

fn has_parent(names: &Names, name: &str) -> bool {
    let parent = directory(name);
    parent.is_empty() || names.get(parent) == Some(&Node::Directory)
}

impl Shelf for Files {
    fn size(&mut self, root: Root, name: &str) -> Result<u64, FileFailure> {
        match root {
            Root::Spool => Ok(self.at(name)?.live.len() as u64),
            Root::Prompts => Err(FileFailure::Missing),
        }
    }

    fn read(
        &mut self,
        root: Root,
        name: &str,
        at: u64,
        length: u32,
    ) -> Result<Vec<u8>, FileFailure> {
        let size = self.size(root, name)?;
        let from = at.min(size) as usize;
        let to = at.saturating_add(length.into()).min(size) as usize;
        Ok(self.at(name)?.live[from..to].to_vec())
    }

    fn create(&mut self, name: &str) -> Result<(), FileFailure> {
        if !has_parent(&self.names, name) {
            return Err(FileFailure::Missing);
        }
        self.call()?;
        let now = self.now;
        if let Ok(inode) = self.at(name) {
            inode.change(now, Change::Cut(0));
            return Ok(());
        }
        self.made += 1;
        self.inodes.insert(self.made, Inode::default());
        self.rename_all(vec![(name.into(), Some(Node::File(self.made)))]);
        Ok(())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> Result<(), FileFailure> {
        self.inode(name)?;
        self.call()?;
        let room = self.room.map(|room| room.saturating_sub(self.used()));
        let (now, at) = (self.now, at as usize);
        let inode = self.at(name)?;
        // As write(2): what still fits is written.
        let end = room.map_or(usize::MAX, |room| inode.live.len() + room);
        let fits = bytes.len().min(end.saturating_sub(at));
        inode.change(now, Change::Write(at, bytes[..fits].to_vec()));
        self.refused |= fits < bytes.len();
        match fits == bytes.len() {
            true => Ok(()),
            false => Err(FileFailure::Disk),
        }
    }

    fn cut(&mut self, name: &str, size: u64) -> Result<(), FileFailure> {
        self.inode(name)?;
        self.call()?;
        let now = self.now;
        self.at(name)?.change(now, Change::Cut(size as usize));
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), FileFailure> {
        self.inode(name)?;
        self.call()?;
        let inode = self.at(name)?;
        inode.synced = inode.live.clone();
        inode.changes.clear();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), FileFailure> {
        let id = self.inode(from)?;
        if !has_parent(&self.names, to) {
            return Err(FileFailure::Missing);
        }
        self.call()?;
        self.rename_all(vec![(from.into(), None), (to.into(), Some(Node::File(id)))]);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), FileFailure> {
        self.inode(name)?;
        self.call()?;
        self.rename_all(vec![(name.into(), None)]);
        Ok(())
    }

    fn make_directory(&mut self, path: &str) -> Result<bool, FileFailure> {
        if self.names.contains_key(path) {
            return Ok(false);
        }
        self.call()?;
        self.rename_all(vec![(path.into(), Some(Node::Directory))]);
        Ok(true)
    }

    fn sync_directory(&mut self, path: &str) -> Result<(), FileFailure> {
        self.call()?;
        let of_it = |change: &Renaming| change.iter().any(|(name, _)| directory(name) == path);
        for change in self.changes.extract_if(.., |change| of_it(change)) {
            apply(&mut self.synced, &change);
        }
        Ok(())
    }

    fn list(&mut self, root: Root, below: &str) -> Result<Vec<Box<str>>, FileFailure> {
        let below = match root {
            Root::Spool => format!("{below}/"),
            Root::Prompts => return Ok(Vec::new()),
        };
        let names = self.names().filter(|name| name.starts_with(&below));
        Ok(names.map(Box::from).collect())
    }
}

/// One question under way.
#[derive(Debug)]
struct Job {
    begun: Instant,
    done: Instant,
    shard: usize,
    ask: FileAsk,
}

/// The thread of the disk: answers one question after the other, each after a while.
#[derive(Debug)]
pub struct Spool {
    /// The files.
    pub files: Files,
    rng: Rng,
    jobs: VecDeque<Job>,
}

impl Spool {
    /// Without files.
    pub fn new(rng: Rng) -> Self {
        Self {
            files: Files::default(),
            rng,
            jobs: VecDeque::new(),
        }
    }

    /// Which directories there are.
    pub fn roots() -> FileNews {
        FileNews::Roots {
            spool: true,
            prompts: false,
        }
    }

    /// A question.
    pub fn ask(&mut self, now: Instant, shard: usize, ask: FileAsk) {
        let begun = self.jobs.back().map_or(now, |job| job.done.max(now));
        // Now and then a disk has something else to do.
        let late_us = match self.rng.below(50) {
            0 => self.rng.below(400_000),
            _ => 100 + self.rng.below(10_000),
        };
        self.jobs.push_back(Job {
            begun,
            done: begun + Duration::from_micros(late_us),
            shard,
            ask,
        });
    }

    /// When it answers.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.jobs.front().map(|job| job.done)
    }

    /// An answer, and the shard that asked.
    pub fn poll_answer(&mut self, now: Instant) -> Option<(usize, FileNews)> {
        let Job { shard, ask, .. } = self.jobs.pop_front_if(|job| job.done <= now)?;
        self.files.now = now;
        let what = shelf::answer(&mut self.files, ask.what);
        let ticket = ask.ticket;
        Some((shard, FileNews::Answer { ticket, what }))
    }

    /// A question of a start, answered before anything else begins.
    pub fn answer(&mut self, wish: FileWish) -> Result<FileAnswer, FileFailure> {
        shelf::answer(&mut self.files, wish)
    }

    /// All recordings as a start finds them, those that a crash broke off made whole.
    pub fn survey(&mut self, epoch_ms: u64) -> Vec<Found> {
        let mut recordings = BTreeSet::new();
        let mut after = Box::from("");
        loop {
            let list = FileOrder::List {
                below: MAIL_FOLDER.into(),
                after,
            };
            let Some(Filed::Listed { names, more }) = self.order(list) else {
                break;
            };
            after = names.last().cloned().unwrap_or_default();
            let whole = |name: Box<str>| name.strip_suffix(PART).map_or(name.clone(), Box::from);
            recordings.extend(names.into_iter().map(whole));
            if !more {
                break;
            }
        }
        let mut found = Vec::new();
        for path in recordings {
            let file = path.clone();
            let ms = match self.order(FileOrder::Salvage { file }) {
                Some(Filed::Salvaged { ms }) => ms,
                _ => 0,
            };
            if let Some(modified) = self.files.modified(&path) {
                let modified_ms = epoch_ms + modified.as_millis();
                found.push(Found {
                    path,
                    ms,
                    modified_ms,
                });
            }
        }
        found
    }

    fn order(&mut self, order: FileOrder) -> Option<Filed> {
        match self.answer(FileWish::Order(order)) {
            Ok(FileAnswer::Filed(filed)) => Some(filed),
            _ => None,
        }
    }

    /// Questions that are not answered.
    pub fn waiting(&self) -> usize {
        self.jobs.len()
    }

    /// The machine dies: in the middle of one question, and the others were never heard.
    pub fn crash(&mut self, now: Instant, death: Death) {
        self.files.now = now;
        let jobs = std::mem::take(&mut self.jobs);
        if let Some(job) = jobs.into_iter().next().filter(|job| job.begun <= now) {
            self.files.calls_left = Some(self.rng.below(CALLS_MAX));
            // Nobody is left to hear it.
            let _ = shelf::answer(&mut self.files, job.ask.what);
            self.files.calls_left = None;
        }
        self.files.crash(death, &mut self.rng);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> Files {
        let mut files = Files::default();
        for path in ["a", "a/b"] {
            assert_eq!(files.make_directory(path), Ok(true));
            files.sync_directory(directory(path)).unwrap();
        }
        files
    }

    fn after_power_loss(files: impl Fn() -> Files) -> Vec<Files> {
        let all = (0..200).map(|seed| {
            let mut files = files();
            files.crash(Death::Power, &mut Rng::from_u64(seed));
            files
        });
        all.collect()
    }

    /// Content and name are synced each by itself; what has both is there whatever happens.
    #[test]
    fn what_was_synced_stays_and_the_rest_may_go() {
        let written = |synced: [bool; 2]| {
            let mut files = spool();
            files.create("a/b/1").unwrap();
            files.write("a/b/1", 0, b"said").unwrap();
            if synced[0] {
                files.sync("a/b/1").unwrap();
            }
            if synced[1] {
                files.sync_directory("a/b").unwrap();
            }
            files
        };
        let count = |synced, wanted: Option<&[u8]>| {
            let found = after_power_loss(|| written(synced));
            found.iter().filter(|f| f.bytes("a/b/1") == wanted).count()
        };
        assert_eq!(count([true, true], Some(b"said")), 200);
        let whole = count([true, false], Some(b"said"));
        assert!(whole > 50 && whole < 150, "{whole}");
        assert_eq!(count([true, false], None), 200 - whole);
        assert_eq!(count([false, true], None), 0);
        for torn in [&b"said"[..], b"sa", b"", b"s\0\0\0"] {
            assert!(count([false, true], Some(torn)) > 0, "{torn:?}");
        }
        // A process that is killed takes nothing along.
        let mut files = written([false, false]);
        files.crash(Death::Process, &mut Rng::from_u64(1));
        assert_eq!(files.bytes("a/b/1"), Some(&b"said"[..]));
    }

    /// A rename is whole: one of both names is there, and with an older file in the new one's place
    /// its content is the older or the newer.
    #[test]
    fn a_rename_happened_or_did_not() {
        let renamed = || {
            let mut files = spool();
            for (name, text) in [("a/b/1", b"new"), ("a/b/2", b"old")] {
                files.create(name).unwrap();
                files.write(name, 0, text).unwrap();
                files.sync(name).unwrap();
            }
            files.sync_directory("a/b").unwrap();
            files.rename("a/b/1", "a/b/2").unwrap();
            files
        };
        let mut happened = 0;
        for files in after_power_loss(renamed) {
            match (files.bytes("a/b/1"), files.bytes("a/b/2")) {
                (None, Some(b"new")) => happened += 1,
                (Some(b"new"), Some(b"old")) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(happened > 50 && happened < 150, "{happened}");
    }

    #[test]
    fn a_forgotten_directory_takes_its_files_along() {
        let made = || {
            let mut files = Files::default();
            files.make_directory("a").unwrap();
            files.create("a/1").unwrap();
            files.sync("a/1").unwrap();
            files.sync_directory("a").unwrap();
            files
        };
        let kept = after_power_loss(made)
            .iter()
            .filter(|f| f.names().count() == 1)
            .count();
        assert!(kept > 50 && kept < 150, "{kept}");
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let mut files = spool();
        files.room = Some(6);
        files.create("a/b/1").unwrap();
        assert_eq!(files.write("a/b/1", 0, b"four"), Ok(()));
        assert_eq!(files.write("a/b/1", 4, b"four"), Err(FileFailure::Disk));
        assert_eq!(files.bytes("a/b/1"), Some(&b"fourfo"[..]));
        // What is there can be written over.
        assert_eq!(files.write("a/b/1", 0, b"FOUR"), Ok(()));
    }
}
