use super::super::codec::g711;
use super::super::record::layout;
use super::super::wav::Encoding;
use super::*;
use std::collections::BTreeMap;

/// A disk of memory.
#[derive(Debug, Default)]
pub(in super::super) struct Memory {
    pub files: BTreeMap<(Root, String), Vec<u8>>,
    /// What it says to all that changes it.
    pub refuses: Option<FileFailure>,
}

impl Memory {
    pub fn put(&mut self, root: Root, name: &str, bytes: &[u8]) {
        self.files.insert((root, name.into()), bytes.to_vec());
    }

    fn may(&self) -> Result<(), FileFailure> {
        self.refuses.map_or(Ok(()), Err)
    }
}

impl Shelf for Memory {
    fn size(&mut self, root: Root, name: &str) -> Result<u64, FileFailure> {
        let file = self.files.get(&(root, name.into()));
        file.map(|f| f.len() as u64).ok_or(FileFailure::Missing)
    }

    fn read(
        &mut self,
        root: Root,
        name: &str,
        at: u64,
        length: u32,
    ) -> Result<Vec<u8>, FileFailure> {
        let file = self.files.get(&(root, name.into()));
        let file = file.ok_or(FileFailure::Missing)?;
        let from = (at as usize).min(file.len());
        let to = (from + length as usize).min(file.len());
        Ok(file[from..to].to_vec())
    }

    fn create(&mut self, name: &str) -> Result<(), FileFailure> {
        self.may()?;
        self.put(Root::Spool, name, b"");
        Ok(())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> Result<(), FileFailure> {
        self.may()?;
        let file = self.files.get_mut(&(Root::Spool, name.into()));
        let file = file.ok_or(FileFailure::Missing)?;
        let (at, end) = (at as usize, at as usize + bytes.len());
        file.resize(file.len().max(end), 0);
        file[at..end].copy_from_slice(bytes);
        Ok(())
    }

    fn cut(&mut self, name: &str, size: u64) -> Result<(), FileFailure> {
        self.may()?;
        let file = self.files.get_mut(&(Root::Spool, name.into()));
        file.ok_or(FileFailure::Missing)?.truncate(size as usize);
        Ok(())
    }

    fn sync(&mut self, _: &str) -> Result<(), FileFailure> {
        self.may()
    }

    fn make_directory(&mut self, _: &str) -> Result<bool, FileFailure> {
        self.may()?;
        Ok(false)
    }

    fn sync_directory(&mut self, _: &str) -> Result<(), FileFailure> {
        self.may()
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), FileFailure> {
        self.may()?;
        let file = self.files.remove(&(Root::Spool, from.into()));
        self.put(Root::Spool, to, &file.ok_or(FileFailure::Missing)?);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), FileFailure> {
        self.may()?;
        let file = self.files.remove(&(Root::Spool, name.into()));
        file.map(drop).ok_or(FileFailure::Missing)
    }

    fn list(&mut self, root: Root, below: &str) -> Result<Vec<Box<str>>, FileFailure> {
        let all = self.files.keys().rev().filter(|(r, _)| *r == root);
        let below = format!("{below}/");
        Ok(all
            .filter(|(_, n)| n.starts_with(&below))
            .map(|(_, n)| (**n).into())
            .collect())
    }
}

fn order(disk: &mut Memory, order: FileOrder) -> Filed {
    match answer(disk, FileWish::Order(order)) {
        Ok(FileAnswer::Filed(filed)) => filed,
        other => panic!("{other:?}"),
    }
}

fn append(disk: &mut Memory, at: u64, bytes: &[u8]) {
    let wish = FileWish::Append {
        name: "a/b.wav".into(),
        layout: layout(),
        at,
        bytes: bytes.to_vec(),
    };
    assert_eq!(answer(disk, wish), Ok(FileAnswer::Written));
}

fn salvage(disk: &mut Memory) -> Filed {
    order(
        disk,
        FileOrder::Salvage {
            file: "a/b.wav".into(),
        },
    )
}

#[test]
fn a_recording_that_broke_off_becomes_whole_at_each_point() {
    let sound = [7; 8001];
    for crash in 0..5 {
        let mut disk = Memory::default();
        if crash == 0 {
            // Between the making of the file and the header.
            disk.put(Root::Spool, "a/b.wav.part", b"RIF");
            assert_eq!(salvage(&mut disk), Filed::Salvaged { ms: 0 });
            assert!(disk.files.is_empty());
            continue;
        }
        append(&mut disk, 0, &sound[..100]);
        append(&mut disk, 100, &sound[100..]);
        if crash == 2 {
            for (at, bytes) in wav::lengths(layout(), 8001) {
                disk.write("a/b.wav.part", at as u64, &bytes).unwrap();
            }
        }
        if crash >= 3 {
            let wish = FileWish::Finish {
                name: "a/b.wav".into(),
                layout: layout(),
                data_size: 8001,
            };
            assert_eq!(answer(&mut disk, wish), Ok(FileAnswer::Written));
        }
        for _ in 0..2 {
            assert_eq!(salvage(&mut disk), Filed::Salvaged { ms: 1000 }, "{crash}");
            let (name, bytes) = disk.files.first_key_value().unwrap();
            assert_eq!((&*name.1, disk.files.len()), ("a/b.wav", 1));
            let wav = Wav::parse(bytes, bytes.len() as u64).unwrap();
            assert_eq!(wav.data, 58..58 + 8001);
            assert_eq!(bytes[58..58 + 8001], sound);
        }
    }
    let missing = Filed::Failed(FileFailure::Missing);
    assert_eq!(salvage(&mut Memory::default()), missing);
}

#[test]
fn the_first_file_that_is_there_and_can_be_read_is_opened() {
    let mut disk = Memory::default();
    let samples: Vec<i16> = (0..800).map(|n| n * 20).collect();
    let mut alaw = vec![0; 800];
    g711::alaw_encode(&samples, &mut alaw);
    disk.put(Root::Prompts, "es/x.alaw", &alaw);
    disk.put(Root::Prompts, "es/x.wav", b"RIFF....WAVE no format");
    let mut open = |names: &[&str]| {
        let names = names.iter().map(|n| (*n).into()).collect();
        let root = Root::Prompts;
        answer(&mut disk, FileWish::Open { root, names })
    };
    let opened = Ok(FileAnswer::Opened {
        name: "es/x.alaw".into(),
        layout: Layout::mono(Encoding::Alaw, 8000),
        data: 0..800,
    });
    assert_eq!(
        open(&["es/x.gsm", "es/x.wav", "es/x.alaw", "es/x.ulaw"]),
        opened
    );
    assert_eq!(open(&["es/x.gsm", "es/x.wav"]), Err(FileFailure::Broken));
    assert_eq!(open(&["es/x.mp3", "es/y.wav"]), Err(FileFailure::Missing));
    assert_eq!(open(&["../x.wav"]), Err(FileFailure::BadName));
}

#[test]
fn bad_names_reach_no_disk() {
    let mut disk = Memory {
        refuses: Some(FileFailure::Disk),
        ..Memory::default()
    };
    let bad = Filed::Failed(FileFailure::BadName);
    let up: Box<str> = "../a.wav".into();
    for what in [
        FileOrder::Remove { path: up.clone() },
        FileOrder::Rename {
            from: "a".into(),
            to: up.clone(),
        },
        FileOrder::Rename {
            from: up.clone(),
            to: "a".into(),
        },
        FileOrder::Salvage { file: up.clone() },
        FileOrder::List {
            below: up.clone(),
            after: "".into(),
        },
    ] {
        assert_eq!(order(&mut disk, what), bad);
    }
    let name = up;
    let (layout, at, bytes) = (layout(), 0, vec![]);
    let wish = FileWish::Append {
        name,
        layout,
        at,
        bytes,
    };
    assert_eq!(answer(&mut disk, wish), Err(FileFailure::BadName));
}

#[test]
fn lists_come_in_pages() {
    let mut disk = Memory::default();
    for n in 0..150 {
        disk.put(Root::Spool, &format!("mail/{n:03}.wav"), b"");
    }
    disk.put(Root::Spool, "mailing.wav", b"");
    disk.put(Root::Spool, "mail/bad name", b"");
    let (mut after, mut all) = ("".into(), Vec::new());
    for page in 0..3 {
        let list = FileOrder::List {
            below: "mail".into(),
            after,
        };
        let Filed::Listed { names, more } = order(&mut disk, list) else {
            panic!()
        };
        assert_eq!(more, page < 2);
        after = names.last().unwrap().clone();
        all.extend(names);
    }
    assert_eq!((all.len(), &*all[149]), (150, "mail/149.wav"));
    assert!(all.is_sorted());
}

#[test]
fn what_is_gone_is_gone_and_what_is_renamed_replaces() {
    let mut disk = Memory::default();
    disk.put(Root::Spool, "a", b"1");
    disk.put(Root::Spool, "b", b"2");
    let (from, to) = ("a".into(), "b".into());
    assert_eq!(
        order(&mut disk, FileOrder::Rename { from, to }),
        Filed::Done
    );
    assert_eq!(disk.files[&(Root::Spool, "b".into())], b"1");
    for _ in 0..2 {
        let path = "b".into();
        assert_eq!(order(&mut disk, FileOrder::Remove { path }), Filed::Done);
    }
    disk.refuses = Some(FileFailure::Disk);
    disk.put(Root::Spool, "b", b"2");
    let path = "b".into();
    let failed = Filed::Failed(FileFailure::Disk);
    assert_eq!(order(&mut disk, FileOrder::Remove { path }), failed);
}
