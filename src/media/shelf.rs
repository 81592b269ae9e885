//! How a disk's questions are answered: by whatever can read, write and rename files below a root.
//! The rules of recordings and of what can be played are here, so that the daemon's disk and the
//! simulation's keep the same.
//!
//! A name is checked here, before any disk sees it.

use super::file::{
    FileAnswer, FileFailure, FileOrder, FileWish, Filed, LISTED_MAX, PART, PIECE_BYTES_MAX, Root,
    is_name,
};
use super::wav::{self, HEADER_SIZE, Kind, Layout, Wav};

#[cfg(test)]
pub(super) mod tests;

/// The beginning of a file that is looked at for its header.
const HEAD_BYTES: u32 = 4096;
/// Where the site's music lies, below its prompts.
pub const MUSIC: &str = "moh";

/// Files below roots: one system call or two for each method, so that what is on the disk at which
/// moment is decided here and not by each disk. Names have been checked.
pub trait Shelf {
    /// How long a plain file is.
    fn size(&mut self, root: Root, name: &str) -> Result<u64, FileFailure>;
    /// Up to `length` bytes from `at` on; fewer at the end.
    fn read(
        &mut self,
        root: Root,
        name: &str,
        at: u64,
        length: u32,
    ) -> Result<Vec<u8>, FileFailure>;
    /// Makes an empty file of the spool; what was in one that has the name is gone. Its directory
    /// must be there.
    fn create(&mut self, name: &str) -> Result<(), FileFailure>;
    /// Writes into a file of the spool, which must be there, at an offset.
    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> Result<(), FileFailure>;
    /// Cuts a file of the spool that is longer.
    fn cut(&mut self, name: &str, size: u64) -> Result<(), FileFailure>;
    /// Sees that what is in a file of the spool is on the disk.
    fn sync(&mut self, name: &str) -> Result<(), FileFailure>;
    /// Gives a file of the spool another name, in place of what has it. Its directory must be
    /// there.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), FileFailure>;
    /// Removes a file of the spool.
    fn remove(&mut self, name: &str) -> Result<(), FileFailure>;
    /// Makes a directory of the spool; whether it was not there before.
    fn make_directory(&mut self, path: &str) -> Result<bool, FileFailure>;
    /// Sees that the names in a directory of the spool are on the disk; the spool itself is `""`.
    fn sync_directory(&mut self, path: &str) -> Result<(), FileFailure>;
    /// All plain files below a directory with their names below the root, in any order.
    fn list(&mut self, root: Root, below: &str) -> Result<Vec<Box<str>>, FileFailure>;
}

/// Answers one question.
pub fn answer(shelf: &mut impl Shelf, wish: FileWish) -> Result<FileAnswer, FileFailure> {
    match wish {
        FileWish::Open { root, names } => open(shelf, root, names),
        FileWish::Read {
            root,
            name,
            at,
            length,
        } => {
            checked(&name)?;
            let bytes = shelf.read(root, &name, at, length.min(PIECE_BYTES_MAX))?;
            Ok(FileAnswer::Bytes(bytes))
        }
        FileWish::Music => {
            let mut names = shelf.list(Root::Prompts, MUSIC)?;
            names.retain(|name| is_name(name) && kind(name).is_some());
            names.sort();
            names.truncate(LISTED_MAX);
            Ok(FileAnswer::Names(names))
        }
        FileWish::Append {
            name,
            layout,
            at,
            bytes,
        } => {
            checked(&name)?;
            append(shelf, &name, layout, at, &bytes)?;
            Ok(FileAnswer::Written)
        }
        FileWish::Finish {
            name,
            layout,
            data_size,
        } => {
            checked(&name)?;
            finish(shelf, &name, layout, data_size)?;
            Ok(FileAnswer::Written)
        }
        FileWish::Order(order) => Ok(FileAnswer::Filed(match file(shelf, order) {
            Ok(filed) => filed,
            Err(failure) => Filed::Failed(failure),
        })),
    }
}

fn checked(name: &str) -> Result<(), FileFailure> {
    match is_name(name) {
        true => Ok(()),
        false => Err(FileFailure::BadName),
    }
}

fn part(name: &str) -> String {
    format!("{name}{PART}")
}

/// What a file is, by its name.
fn kind(name: &str) -> Option<Kind> {
    let (_, extension) = name.rsplit_once('.')?;
    Kind::from_extension(extension)
}

fn open(
    shelf: &mut impl Shelf,
    root: Root,
    names: Vec<Box<str>>,
) -> Result<FileAnswer, FileFailure> {
    let mut worst = FileFailure::Missing;
    for name in names {
        match checked(&name).and_then(|()| describe(shelf, root, &name)) {
            Ok((layout, data)) => return Ok(FileAnswer::Opened { name, layout, data }),
            Err(FileFailure::Missing) => {}
            Err(failure) => worst = failure,
        }
    }
    Err(worst)
}

fn describe(
    shelf: &mut impl Shelf,
    root: Root,
    name: &str,
) -> Result<(Layout, std::ops::Range<u64>), FileFailure> {
    let size = shelf.size(root, name)?;
    match kind(name).ok_or(FileFailure::Broken)? {
        Kind::Raw(layout) => Ok((layout, 0..size)),
        Kind::Wav => {
            let head = shelf.read(root, name, 0, HEAD_BYTES)?;
            let wav = Wav::parse(&head, size).map_err(|_| FileFailure::Broken)?;
            Ok((wav.layout, wav.data))
        }
    }
}

/// The bytes before the sound of a recording, by its name.
fn head_size(name: &str) -> u64 {
    match kind(name) {
        Some(Kind::Raw(_)) => 0,
        Some(Kind::Wav) | None => HEADER_SIZE as u64,
    }
}

fn append(
    shelf: &mut impl Shelf,
    name: &str,
    layout: Layout,
    at: u64,
    bytes: &[u8],
) -> Result<(), FileFailure> {
    let part = &part(name);
    if at > 0 {
        let at = at.saturating_add(head_size(name));
        return shelf.write(part, at, bytes);
    }
    let whole = match head_size(name) {
        0 => bytes.to_vec(),
        _ => {
            let header = wav::header(layout, None).ok_or(FileFailure::Broken)?;
            [&header[..], bytes].concat()
        }
    };
    match shelf.create(part) {
        Err(FileFailure::Missing) => {
            directories(shelf, part)?;
            shelf.create(part)
        }
        done => done,
    }?;
    shelf.write(part, 0, &whole)
}

/// Makes the directories before a name. Each is on the disk before anything is put into it: what is
/// in a directory that a crash forgot is lost with it.
fn directories(shelf: &mut impl Shelf, name: &str) -> Result<(), FileFailure> {
    for (at, _) in name.match_indices('/') {
        let path = name.get(..at).unwrap_or_default();
        if shelf.make_directory(path)? {
            shelf.sync_directory(directory(path))?;
        }
    }
    Ok(())
}

/// Where a file lies.
fn directory(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn finish(
    shelf: &mut impl Shelf,
    name: &str,
    layout: Layout,
    data_size: u64,
) -> Result<(), FileFailure> {
    let part = part(name);
    if data_size == 0 {
        return match remove(shelf, &part) {
            Err(FileFailure::Missing) => Ok(()),
            done => done,
        };
    }
    let head = head_size(name);
    let end = head.saturating_add(data_size);
    let mut padding = 0;
    if head > 0 {
        for (at, bytes) in wav::lengths(layout, data_size) {
            shelf.write(&part, at as u64, &bytes)?;
        }
        padding = data_size % 2;
    }
    if padding > 0 {
        shelf.write(&part, end, &[0])?;
    }
    shelf.cut(&part, end + padding)?;
    shelf.sync(&part)?;
    rename(shelf, &part, name)
}

/// Another name for a file, on the disk once this is done.
fn rename(shelf: &mut impl Shelf, from: &str, to: &str) -> Result<(), FileFailure> {
    match shelf.rename(from, to) {
        Err(FileFailure::Missing) => {
            // What is not there needs no directories.
            shelf.size(Root::Spool, from)?;
            directories(shelf, to)?;
            shelf.rename(from, to)
        }
        done => done,
    }?;
    shelf.sync_directory(directory(to))?;
    match directory(from) == directory(to) {
        true => Ok(()),
        false => shelf.sync_directory(directory(from)),
    }
}

fn remove(shelf: &mut impl Shelf, name: &str) -> Result<(), FileFailure> {
    shelf.remove(name)?;
    shelf.sync_directory(directory(name))
}

fn file(shelf: &mut impl Shelf, order: FileOrder) -> Result<Filed, FileFailure> {
    match order {
        FileOrder::Remove { path } => {
            checked(&path)?;
            match remove(shelf, &path) {
                Ok(()) | Err(FileFailure::Missing) => Ok(Filed::Done),
                Err(failure) => Err(failure),
            }
        }
        FileOrder::Rename { from, to } => {
            checked(&from)?;
            checked(&to)?;
            rename(shelf, &from, &to)?;
            Ok(Filed::Done)
        }
        FileOrder::Salvage { file } => {
            checked(&file)?;
            salvage(shelf, &file)
        }
        FileOrder::Read { path, at, length } => {
            checked(&path)?;
            let length = length.min(PIECE_BYTES_MAX);
            let bytes = shelf.read(Root::Spool, &path, at, length)?;
            Ok(Filed::Bytes(bytes))
        }
        FileOrder::List { below, after } => {
            checked(&below)?;
            let mut names = shelf.list(Root::Spool, &below)?;
            names.retain(|name| is_name(name) && **name > *after);
            names.sort();
            let more = names.len() > LISTED_MAX;
            names.truncate(LISTED_MAX);
            Ok(Filed::Listed { names, more })
        }
    }
}

/// The lengths of a recording that nobody finished are told by its size.
fn salvage(shelf: &mut impl Shelf, name: &str) -> Result<Filed, FileFailure> {
    match make_whole(shelf, name) {
        Err(FileFailure::Missing) => {
            let (layout, data) = describe(shelf, Root::Spool, name)?;
            let ms = length_ms(layout, data.end.saturating_sub(data.start));
            Ok(Filed::Salvaged { ms })
        }
        // Not even a header came to the disk: there is no sound in it.
        Err(FileFailure::Broken) => {
            remove(shelf, &part(name))?;
            Ok(Filed::Salvaged { ms: 0 })
        }
        outcome => outcome,
    }
}

/// Makes a recording whole that was broken off, if there is any sound in it; one that cannot be
/// read stays as it is ([`FileFailure::Broken`]).
pub fn make_whole(shelf: &mut impl Shelf, name: &str) -> Result<Filed, FileFailure> {
    let broken_off = part(name);
    let size = shelf.size(Root::Spool, &broken_off)?;
    if size == 0 {
        remove(shelf, &broken_off)?;
        return Ok(Filed::Salvaged { ms: 0 });
    }
    if let Kind::Raw(layout) = kind(name).ok_or(FileFailure::Broken)? {
        return made_whole(shelf, name, layout, size);
    }
    let head = shelf.read(Root::Spool, &broken_off, 0, HEAD_BYTES)?;
    let wav = Wav::parse(&head, size).map_err(|_| FileFailure::Broken)?;
    let data_size = match wav::is_unfinished(&head) {
        true => size.saturating_sub(HEADER_SIZE as u64),
        // The lengths were written, and then the crash came.
        false => wav.data.end.saturating_sub(wav.data.start),
    };
    made_whole(shelf, name, wav.layout, data_size)
}

/// A recording that broke off ends behind its last whole block.
fn made_whole(
    shelf: &mut impl Shelf,
    name: &str,
    layout: Layout,
    size: u64,
) -> Result<Filed, FileFailure> {
    let (block, _) = layout.block();
    let data_size = size / block as u64 * block as u64;
    finish(shelf, name, layout, data_size)?;
    let ms = length_ms(layout, data_size);
    Ok(Filed::Salvaged { ms })
}

/// How long so much sound is.
pub fn length_ms(layout: Layout, bytes: u64) -> u32 {
    u32::try_from(layout.duration_ms(bytes)).unwrap_or(u32::MAX)
}
