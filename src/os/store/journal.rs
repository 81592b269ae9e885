//! The refreshes of bindings, appended to two files beside the database.
//!
//! A registrar's disk sees little else than refreshes that change a time. Writing each into its row
//! costs more than all the rest of a REGISTER, so they are appended here, 24 bytes each, and reach
//! the rows now and then: when a file is full or old, the other one takes over, and the first one's
//! newest touch of each binding is copied home in small steps. A start reads both files.
//!
//! # What makes a touch safe to repeat
//! A touch names its row by [`BindingRecord::serial`](crate::store::BindingRecord::serial), which
//! changes with every other change of the binding, and only moves the row's CSeq up. So a touch
//! that is copied twice, or whose binding was changed or deleted since, does nothing.
//!
//! # Layout
//! Little endian. A header of 16 bytes: [`MAGIC`], generation (u64). Touches of 24 bytes: serial
//! (u64), expiry in milliseconds since 1970 (u64), CSeq (u32), check (u32: of what precedes, and of
//! the generation). What follows the first wrong check was torn by a crash, and is written over.

use crate::base::hash64;
use crate::store::Touch;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Says what the file is.
const MAGIC: [u8; 8] = *b"voipref1";
const HEADER_BYTES: u64 = 16;
const TOUCH_BYTES: usize = 24;
/// A file of this size is copied home: 700,000 refreshes.
const FILE_BYTES: u64 = 16 << 20;
/// However long the other file takes to be copied home, no file grows past this.
pub(super) const FILE_BYTES_MAX: u64 = 4 * FILE_BYTES;
/// A file whose oldest touch is of this age is copied home.
const FILE_AGE: Duration = Duration::from_secs(600);

/// The newest touch of each serial.
pub(super) type Touches = HashMap<u64, Touch>;

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    generation: u64,
    /// Where the next touch goes; zero while there is not even a header.
    end: u64,
    /// When the first touch was written.
    since: Option<Instant>,
}

impl Log {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            path,
            file,
            generation: 0,
            end: 0,
            since: None,
        })
    }

    /// The touches in their order. Sets the end behind the last whole one.
    fn read(&mut self) -> io::Result<Vec<Touch>> {
        let length = self.file.metadata()?.len().min(FILE_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, 0)?;
        self.end = 0;
        let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES as usize) else {
            return Ok(Vec::new());
        };
        let Some(generation) = header.strip_prefix(&MAGIC).map(number) else {
            let file = self.path.display();
            tracing::warn!("{file} is no journal of refreshes; it is written anew");
            return Ok(Vec::new());
        };
        self.generation = generation;
        let (chunks, _) = rest.as_chunks::<TOUCH_BYTES>();
        let touches: Vec<Touch> = chunks
            .iter()
            .map_while(|chunk| decode(chunk, generation))
            .collect();
        self.end = HEADER_BYTES + (touches.len() * TOUCH_BYTES) as u64;
        Ok(touches)
    }

    /// Writes all or nothing: what a failed write left behind is written over by the next.
    fn append(&mut self, touches: &[Touch], generation: u64, sync: bool) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES as usize + touches.len() * TOUCH_BYTES);
        let at = self.end;
        if at == 0 {
            bytes.extend(MAGIC);
            bytes.extend(generation.to_le_bytes());
            self.generation = generation;
        }
        for touch in touches {
            bytes.extend(encode(touch, self.generation));
        }
        self.file.write_all_at(&bytes, at)?;
        if sync {
            self.file.sync_data()?;
        }
        self.end = at + bytes.len() as u64;
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.end = 0;
        self.since = None;
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.end <= HEADER_BYTES
    }

    fn is_due(&self) -> bool {
        self.end >= FILE_BYTES || self.since.is_some_and(|since| since.elapsed() >= FILE_AGE)
    }
}

/// Both files. Opened once and never by name again, as capability mode demands.
#[derive(Debug)]
pub(super) struct Journal {
    logs: [Log; 2],
    /// Which of them grows.
    active: usize,
}

impl Journal {
    /// Opens the files beside the database, and gives what they hold, the newest of each serial.
    pub(super) fn open(database: &Path) -> io::Result<(Self, Touches)> {
        let beside = |suffix: &str| {
            let mut name = database.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let mut logs = [
            Log::open(beside("-refresh-a"))?,
            Log::open(beside("-refresh-b"))?,
        ];
        let [first, second] = &mut logs;
        let mut read = [
            (first.read()?, first.generation),
            (second.read()?, second.generation),
        ];
        let active = usize::from(second.generation > first.generation);
        read.sort_by_key(|(_, generation)| *generation);
        let touches = newest(read.iter().flat_map(|(touches, _)| touches));
        Ok((Self { logs, active }, touches))
    }

    /// How the files are called, in the order of their names.
    #[cfg(test)]
    pub(super) fn paths(&self) -> [&Path; 2] {
        self.logs.each_ref().map(|log| log.path.as_path())
    }

    /// Appends; with `sync` waits for the disk.
    pub(super) fn append(&mut self, touches: &[Touch], sync: bool) -> io::Result<()> {
        let generation = self.generation() + 1;
        let log = &mut self.logs[self.active % 2];
        if log.end > FILE_BYTES_MAX - HEADER_BYTES - (touches.len() * TOUCH_BYTES) as u64 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        log.append(touches, generation, sync)
    }

    fn generation(&self) -> u64 {
        self.logs.iter().map(|l| l.generation).max().unwrap_or(0)
    }

    /// Where the active file is due, lets the other one take over, and gives what is to be copied
    /// home; [`Journal::copied`] says when it is.
    pub(super) fn take_due(&mut self, at_once: bool) -> io::Result<Option<Touches>> {
        let [full, other] = [self.active % 2, (self.active + 1) % 2];
        if !self.logs[other].is_empty() {
            // Left by a start that could not write, or by a copy that failed.
            return self.logs[other].read().map(|t| Some(newest(t.iter())));
        }
        if self.logs[full].is_empty() || !(at_once || self.logs[full].is_due()) {
            return Ok(None);
        }
        self.active = other;
        self.logs[full].read().map(|t| Some(newest(t.iter())))
    }

    /// All that the inactive file holds is in its row.
    pub(super) fn copied(&mut self) -> io::Result<()> {
        self.logs[(self.active + 1) % 2].clear()
    }

    /// All that either file holds is in its row.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.logs.iter_mut().try_for_each(Log::clear)
    }
}

fn newest<'t>(touches: impl Iterator<Item = &'t Touch>) -> Touches {
    let mut found = Touches::new();
    for touch in touches {
        found.insert(touch.serial, *touch);
    }
    found
}

fn encode(touch: &Touch, generation: u64) -> [u8; TOUCH_BYTES] {
    let mut out = [0; TOUCH_BYTES];
    out[..8].copy_from_slice(&touch.serial.to_le_bytes());
    out[8..16].copy_from_slice(&touch.expires_at_ms.to_le_bytes());
    out[16..20].copy_from_slice(&touch.cseq.to_le_bytes());
    let check = check(&out, generation);
    out[20..].copy_from_slice(&check.to_le_bytes());
    out
}

fn decode(bytes: &[u8; TOUCH_BYTES], generation: u64) -> Option<Touch> {
    let [.., a, b, c, d] = *bytes;
    if u32::from_le_bytes([a, b, c, d]) != check(bytes, generation) {
        return None;
    }
    Some(Touch {
        serial: number(&bytes[..8]),
        expires_at_ms: number(&bytes[8..16]),
        cseq: number(&bytes[16..20]) as u32,
    })
}

/// Of the first 20 bytes and the generation, so that what an older generation left behind in the
/// file is none of this one.
fn check(bytes: &[u8; TOUCH_BYTES], generation: u64) -> u32 {
    let mut covered = [0; 28];
    covered[..20].copy_from_slice(&bytes[..20]);
    covered[20..].copy_from_slice(&generation.to_le_bytes());
    hash64(&covered) as u32
}

/// Up to eight bytes, little endian.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |n, byte| n << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(serial: u64, cseq: u32) -> Touch {
        Touch {
            serial,
            expires_at_ms: 1_700_000_000_000 + u64::from(cseq),
            cseq,
        }
    }

    struct Files(PathBuf);

    impl Files {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("voip-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn open(&self) -> (Journal, Touches) {
            Journal::open(&self.0.join("voip.db")).unwrap()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_newest_touch_of_each_binding_comes_back() {
        let files = Files::new("journal-newest");
        let (mut journal, before) = files.open();
        assert!(before.is_empty());
        journal.append(&[touch(1, 1), touch(2, 1)], false).unwrap();
        journal.append(&[touch(1, 2)], true).unwrap();
        // The other file takes over, and wins.
        let due = journal.take_due(true).unwrap().unwrap();
        assert_eq!(due[&1], touch(1, 2));
        journal.append(&[touch(2, 5)], false).unwrap();
        drop(journal);
        let (mut journal, found) = files.open();
        assert_eq!(found.len(), 2);
        assert_eq!((found[&1], found[&2]), (touch(1, 2), touch(2, 5)));
        // What was left of the first one is due again; then it is empty.
        assert_eq!(journal.take_due(false).unwrap().unwrap()[&1], touch(1, 2));
        journal.copied().unwrap();
        assert!(journal.take_due(false).unwrap().is_none());
        drop(journal);
        let (mut journal, found) = files.open();
        assert_eq!(found.len(), 1);
        journal.clear().unwrap();
        assert!(files.open().1.is_empty());
    }

    #[test]
    fn a_torn_end_loses_no_more_than_itself() {
        let files = Files::new("journal-torn");
        let all: Vec<Touch> = (1..=50).map(|n| touch(n, 9)).collect();
        let (mut journal, _) = files.open();
        journal.append(&all, false).unwrap();
        let path = journal.paths()[0].to_owned();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let kept = length.saturating_sub(16) / TOUCH_BYTES;
            let (mut journal, found) = files.open();
            assert_eq!(found.len(), kept, "{length} bytes");
            if length % 7 == 0 {
                // Goes on behind the last whole one.
                journal.append(&[touch(99, 1)], false).unwrap();
                assert_eq!(files.open().1.len(), kept + 1, "{length} bytes");
            }
        }
        for at in 16..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0x40;
            std::fs::write(&path, &bent).unwrap();
            assert_eq!(files.open().1.len(), (at - 16) / TOUCH_BYTES, "byte {at}");
        }
    }

    #[test]
    fn what_an_older_generation_left_behind_is_not_read() {
        let files = Files::new("journal-older");
        let (mut journal, _) = files.open();
        let many: Vec<Touch> = (1..=20).map(|n| touch(n, 1)).collect();
        journal.append(&many, false).unwrap();
        let path = journal.paths()[0].to_owned();
        let older = std::fs::read(&path).unwrap();
        journal.clear().unwrap();
        journal.append(&[touch(7, 2)], false).unwrap();
        drop(journal);
        let mut mixed = std::fs::read(&path).unwrap();
        mixed.extend(&older[mixed.len()..]);
        std::fs::write(&path, mixed).unwrap();
        assert_eq!(files.open().1, Touches::from([(7, touch(7, 2))]));
    }

    #[test]
    fn a_foreign_file_is_written_anew() {
        let files = Files::new("journal-foreign");
        std::fs::write(files.0.join("voip.db-refresh-a"), "something else entirely").unwrap();
        let (mut journal, found) = files.open();
        assert!(found.is_empty());
        journal.append(&[touch(1, 1)], false).unwrap();
        assert_eq!(files.open().1.len(), 1);
    }
}
