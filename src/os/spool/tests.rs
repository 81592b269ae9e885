use super::*;
use crate::media::file::{FileAnswer, FileOrder, FileWish, Filed, PART};
use crate::media::record::{layout, layout_of_room};
use crate::media::shelf::answer;
use crate::media::wav::{Encoding, Layout, Wav};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

/// A directory of its own, gone with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("voip-spool-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn disk(&self) -> Disk {
        Disk::new(self.roots())
    }

    fn roots(&self) -> Roots {
        Roots {
            spool: directory(&self.0, Root::Spool),
            prompts: directory(&self.0, Root::Prompts),
            ..Roots::default()
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn append(name: &str, at: u64, bytes: &[u8]) -> FileWish {
    FileWish::Append {
        name: name.into(),
        layout: layout(),
        at,
        bytes: bytes.to_vec(),
    }
}

fn finish(name: &str, data_size: u64) -> FileWish {
    FileWish::Finish {
        name: name.into(),
        layout: layout(),
        data_size,
    }
}

fn order(disk: &mut Disk, order: FileOrder) -> Filed {
    match answer(disk, FileWish::Order(order)) {
        Ok(FileAnswer::Filed(filed)) => filed,
        other => panic!("{other:?}"),
    }
}

const NAME: &str = "mail/201@example.com/new/1.wav";

#[test]
fn a_recording_gets_its_name_when_it_is_whole() {
    let place = Place::new("whole");
    let mut disk = place.disk();
    let path = place.0.join(NAME);
    let part = place.0.join(format!("{NAME}.part"));
    for (at, piece) in [(0, [1; 3000]), (3000, [2; 3000])] {
        let done = answer(&mut disk, append(NAME, at, &piece));
        assert_eq!(done, Ok(FileAnswer::Written));
        assert!(part.exists() && !path.exists());
    }
    // A silence at the end is cut.
    assert_eq!(
        answer(&mut disk, finish(NAME, 5001)),
        Ok(FileAnswer::Written)
    );
    assert!(path.exists() && !part.exists());
    let bytes = std::fs::read(&path).unwrap();
    let wav = Wav::parse(&bytes, bytes.len() as u64).unwrap();
    assert_eq!((wav.data.clone(), bytes.len()), (58..5059, 5060));
    assert_eq!(bytes[58..5059], [[1; 3000], [2; 3000]].concat()[..5001]);
    // It is opened and read.
    let root = Root::Spool;
    let names = vec![NAME.into()];
    let opened = answer(&mut disk, FileWish::Open { root, names });
    let (name, data) = (NAME.into(), wav.data);
    let layout = layout();
    assert_eq!(opened, Ok(FileAnswer::Opened { name, layout, data }));
    let (name, at, length) = (NAME.into(), 5000, 1000);
    let read = FileWish::Read {
        root,
        name,
        at,
        length,
    };
    let last = bytes[5000..].to_vec();
    assert_eq!(answer(&mut disk, read), Ok(FileAnswer::Bytes(last)));
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o007;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0, 0));
}

#[test]
fn what_a_crash_left_is_salvaged_listed_renamed_and_removed() {
    let place = Place::new("crash");
    let mut disk = place.disk();
    answer(&mut disk, append(NAME, 0, &[5; 4000])).unwrap();
    // The process dies; another one looks.
    let mut disk = Disk::new(place.roots());
    let file = NAME.into();
    let salvaged = order(&mut disk, FileOrder::Salvage { file });
    assert_eq!(salvaged, Filed::Salvaged { ms: 500 });
    std::fs::write(place.0.join("mail/201@example.com/.hidden"), "").unwrap();
    std::fs::create_dir_all(place.0.join("mail/empty")).unwrap();
    let list = |below: &str| FileOrder::List {
        below: below.into(),
        after: "".into(),
    };
    let listed = |name: &str| Filed::Listed {
        names: vec![name.into()],
        more: false,
    };
    assert_eq!(order(&mut disk, list("mail")), listed(NAME));
    let (from, to) = (NAME.into(), "mail/201@example.com/old/1.wav".into());
    assert_eq!(
        order(&mut disk, FileOrder::Rename { from, to }),
        Filed::Done
    );
    let old = "mail/201@example.com/old/1.wav";
    assert_eq!(order(&mut disk, list("mail")), listed(old));
    let path = old.into();
    assert_eq!(order(&mut disk, FileOrder::Remove { path }), Filed::Done);
    let none = Filed::Listed {
        names: vec![],
        more: false,
    };
    assert_eq!(order(&mut disk, list("mail")), none);
    assert_eq!(order(&mut disk, list("nowhere")), none);
}

#[test]
fn nothing_but_plain_files_below_the_root_is_touched() {
    let place = Place::new("links");
    let outside = Place::new("outside");
    std::fs::write(outside.0.join("secret.wav"), "x").unwrap();
    std::os::unix::fs::symlink(outside.0.join("secret.wav"), place.0.join("a.wav")).unwrap();
    nix::unistd::mkfifo(&place.0.join("pipe.alaw"), Mode::S_IRWXU).unwrap();
    std::fs::create_dir(place.0.join("dir.alaw")).unwrap();
    let mut disk = place.disk();
    for name in ["a.wav", "pipe.alaw", "dir.alaw", "none.alaw"] {
        let root = Root::Spool;
        let names = vec![name.into()];
        let opened = answer(&mut disk, FileWish::Open { root, names });
        assert_eq!(opened, Err(FileFailure::Missing), "{name}");
    }
    std::os::unix::fs::symlink(outside.0.join("secret.wav"), place.0.join("b.wav.part")).unwrap();
    let refused = answer(&mut disk, append("b.wav", 0, b"overwritten"));
    assert_eq!(refused, Err(FileFailure::Disk));
    assert_eq!(std::fs::read(outside.0.join("secret.wav")).unwrap(), b"x");
}

#[test]
fn trouble_is_told_once_and_again_after_it_was_well() {
    let place = Place::new("trouble");
    let mut disk = place.disk();
    // Root may write everywhere, so a file stands where a directory should be.
    std::fs::write(place.0.join("mail"), "").unwrap();
    let told = |disk: &Disk| disk.roots.trouble.as_ref().map(|trouble| trouble.error);
    for _ in 0..3 {
        let failed = answer(&mut disk, append(NAME, 0, &[1]));
        assert_eq!(failed, Err(FileFailure::Disk));
        assert_eq!(told(&disk), Some(Errno::ENOTDIR));
    }
    std::fs::remove_file(place.0.join("mail")).unwrap();
    answer(&mut disk, append(NAME, 0, &[1])).unwrap();
    assert_eq!(told(&disk), Some(Errno::ENOTDIR), "nothing is whole yet");
    answer(&mut disk, finish(NAME, 1)).unwrap();
    assert_eq!(told(&disk), None);
    for error in [Errno::ENOSPC, Errno::EROFS, Errno::EACCES, Errno::EIO] {
        assert_eq!(disk.written::<()>("x", Err(error)), Err(FileFailure::Disk));
        assert_eq!(told(&disk), Some(error));
        assert!(!remedy(error).is_empty());
    }
}

/// A full disk still takes the lengths of a recording that it cut short: that is no end of it.
#[test]
fn a_recording_that_was_cut_short_ends_no_trouble() {
    let place = Place::new("short");
    let mut disk = place.disk();
    let part = format!("{NAME}{PART}");
    for _ in 0..2 {
        answer(&mut disk, append(NAME, 0, &[1; 1600])).unwrap();
        let full = disk.written::<()>(&part, Err(Errno::ENOSPC));
        assert_eq!(full, Err(FileFailure::Disk));
        answer(&mut disk, finish(NAME, 1600)).unwrap();
        assert!(disk.roots.trouble.is_some());
        order(&mut disk, FileOrder::Remove { path: NAME.into() });
        assert!(disk.roots.trouble.is_some());
    }
    answer(&mut disk, append(NAME, 0, &[1; 1600])).unwrap();
    answer(&mut disk, finish(NAME, 1600)).unwrap();
    assert!(disk.roots.trouble.is_none());
}

/// What a crash broke off is whole before anybody asks; what its owner had not accepted is gone.
#[test]
fn a_start_mends_what_was_broken_off() {
    let place = Place::new("mend");
    let mut disk = place.disk();
    let names = [
        "200@a/0000000001.wav",
        "200@a/0000000002.wav",
        "300@a/busy-take.wav",
    ];
    let names = names.map(|name| format!("voicemail/{name}"));
    for name in &names {
        answer(&mut disk, append(name, 0, &[5; 8000])).unwrap();
    }
    // Lengths and all, and then the crash came.
    let half = place.0.join(format!("{}{PART}", names[1]));
    let bytes = std::fs::read(&half).unwrap();
    answer(&mut disk, finish(&names[1], 8000)).unwrap();
    let whole = std::fs::read(place.0.join(&names[1])).unwrap();
    assert_eq!(whole.len(), bytes.len());
    std::fs::rename(place.0.join(&names[1]), &half).unwrap();
    let mut roots = place.roots();
    roots.mend();
    assert!(roots.spool.is_some() && roots.trouble.is_none());
    let found = find(&place.0, |name| name != names[1]).unwrap();
    let found: Vec<_> = found.iter().map(|f| (&*f.path, f.ms)).collect();
    assert_eq!(found, [(&*names[0], 1000), (&*names[1], 0)]);
    for name in &names[..2] {
        let bytes = std::fs::read(place.0.join(name)).unwrap();
        let wav = Wav::parse(&bytes, bytes.len() as u64).unwrap();
        assert_eq!(wav.data.end, bytes.len() as u64);
    }
    assert!(find(&place.0.join("nothing"), |_| true).is_none());
}

/// Broken-off recordings of calls (two channels) and of conferences, in each of their formats; one
/// that nobody can read, one whose name is taken, one that is being written, one without sound.
#[test]
fn broken_off_recordings_become_whole_and_nothing_is_lost() {
    let place = Place::new("recordings");
    let mut disk = place.disk();
    let below = |name: &str| format!("recordings/2026/11/{name}");
    let stereo = Layout {
        channels: 2,
        ..layout()
    };
    let of_rooms = [
        (Encoding::Alaw, "wav"),
        (Encoding::Pcm16, "wav"),
        (Encoding::G722, "g722"),
        (Encoding::Gsm, "gsm"),
        (Encoding::Ulaw, "wav"),
    ];
    let rooms = of_rooms.iter().enumerate().map(|(n, (encoding, end))| {
        let layout = layout_of_room(*encoding, 16_000);
        (below(&format!("27/conference-10000{n}-a.{end}")), layout)
    });
    let mut all: Vec<(String, Layout)> = rooms.collect();
    all.push((below("28/call-1.wav"), stereo));
    all.push((below("28/live.wav"), stereo));
    for (name, layout) in &all {
        // Two and a half seconds, and a block that is not whole.
        let mut bytes = vec![5; layout.offset(2500) as usize];
        bytes.push(0);
        let begins = FileWish::Append {
            name: name.as_str().into(),
            layout: *layout,
            at: 0,
            bytes,
        };
        answer(&mut disk, begins).unwrap();
    }
    let lies = [
        (below("28/zeros.wav"), vec![0; 500]),
        (below("28/taken.wav"), vec![1; 10]),
        (below("28/empty.wav"), vec![]),
    ];
    for (name, bytes) in &lies {
        std::fs::write(place.0.join(format!("{name}{PART}")), bytes).unwrap();
    }
    std::fs::write(place.0.join(&lies[1].0), "whole").unwrap();
    let begun = Begun::new();
    let live = all.pop().unwrap().0;
    begun.begins(&format!("{live}{PART}"));
    let mended = recordings::mend(&mut place.disk(), &begun);
    let left = [
        (&lies[1].0, FileFailure::Busy),
        (&lies[0].0, FileFailure::Broken),
    ];
    assert_eq!(
        mended,
        recordings::Mended {
            whole: 6,
            empty: 1,
            left: 2,
            named: left
                .map(|(name, why)| (format!("{name}{PART}"), why))
                .into(),
            more: false,
        }
    );
    for (name, layout) in &all {
        let (root, names) = (Root::Spool, vec![name.as_str().into()]);
        let opened = answer(&mut disk, FileWish::Open { root, names });
        let Ok(FileAnswer::Opened {
            layout: found,
            data,
            ..
        }) = opened
        else {
            panic!("{name}: {opened:?}")
        };
        let ms = layout.duration_ms(data.end - data.start);
        assert_eq!((found, ms), (*layout, 2500), "{name}");
        assert!(!place.0.join(format!("{name}{PART}")).exists());
    }
    let stays = |name: &str| std::fs::read(place.0.join(format!("{name}{PART}"))).unwrap();
    assert!(!stays(&live).is_empty());
    assert_eq!(
        (stays(&lies[0].0), stays(&lies[1].0)),
        (vec![0; 500], vec![1; 10])
    );
    assert_eq!(std::fs::read(place.0.join(&lies[1].0)).unwrap(), b"whole");
    assert!(!place.0.join(format!("{}{PART}", lies[2].0)).exists());
    // Once more there is nothing to do but to name them again.
    let again = recordings::mend(&mut place.disk(), &begun);
    assert_eq!((again.whole, again.empty, again.left), (0, 0, 2));
}

/// The thread does it by itself, and leaves alone what is begun meanwhile.
#[test]
fn a_start_makes_recordings_whole_beside_its_work() {
    let place = Place::new("beside");
    let name = |n: usize| format!("recordings/2026/11/28/{n}.wav");
    let mut disk = place.disk();
    for n in 0..200 {
        answer(&mut disk, append(&name(n), 0, &[5; 800])).unwrap();
    }
    let filing = Filing::start(place.roots()).unwrap();
    let (sender, answers) = mpsc::channel();
    let answering: Answering = Arc::new(move |news| sender.send(news).unwrap());
    for n in 200..300 {
        let what = append(&name(n), 0, &[6; 800]);
        let ticket = n as u64;
        filing.ask(FileAsk { ticket, what }, &answering).unwrap();
        answers.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while (0..200).any(|n| !place.0.join(name(n)).exists()) {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
    for n in 200..300 {
        assert!(place.0.join(format!("{}{PART}", name(n))).exists(), "{n}");
        assert!(!place.0.join(name(n)).exists());
    }
}

#[test]
fn the_thread_answers_and_a_full_queue_is_told_at_once() {
    let place = Place::new("thread");
    std::fs::write(place.0.join("a.alaw"), [0xd5; 100]).unwrap();
    let filing = Filing::start(place.roots()).unwrap();
    assert_eq!(
        filing.roots(),
        FileNews::Roots {
            spool: true,
            prompts: true
        }
    );
    let (sender, answers) = mpsc::channel();
    let (hold, held) = mpsc::sync_channel::<()>(0);
    let held = std::sync::Mutex::new(held);
    let answering: Answering = Arc::new(move |news| {
        // The thread waits here until the test lets it go.
        let _ = held.lock().unwrap().recv();
        let _ = sender.send(news);
    });
    let ask = |ticket| FileAsk {
        ticket,
        what: FileWish::Read {
            root: Root::Spool,
            name: "a.alaw".into(),
            at: 0,
            length: 10,
        },
    };
    let mut asked = 0;
    let full = loop {
        match filing.ask(ask(asked), &answering) {
            Ok(()) => asked += 1,
            Err(news) => break news,
        }
        assert!(asked <= JOBS_MAX as u64 + 1);
    };
    let what = Err(FileFailure::Busy);
    assert_eq!(
        full,
        FileNews::Answer {
            ticket: asked,
            what
        }
    );
    drop(hold);
    for ticket in 0..asked {
        let news = answers.recv_timeout(Duration::from_secs(20)).unwrap();
        let what = Ok(FileAnswer::Bytes(vec![0xd5; 10]));
        assert_eq!(news, FileNews::Answer { ticket, what });
    }
}

/// Filter and landlock are a thread's on Linux, so a test can enter them. Capability mode is a
/// process's: there the daemon shows it.
#[cfg(target_os = "linux")]
#[test]
fn media_in_its_sandbox_writes_the_spool_reads_prompts_and_opens_nothing_else() {
    let (spool, prompts) = (Place::new("sandbox"), Place::new("sandbox-prompts"));
    std::fs::create_dir_all(prompts.0.join("moh")).unwrap();
    std::fs::write(prompts.0.join("moh/a.alaw"), [0xd5; 100]).unwrap();
    let roots = Roots {
        spool: directory(&spool.0, Root::Spool),
        prompts: directory(&prompts.0, Root::Prompts),
        ..Roots::default()
    };
    let outside = prompts.0.join("b.alaw");
    let confined = std::thread::spawn(move || {
        crate::os::sandbox::enter(crate::os::ipc::Role::Media, &roots).unwrap();
        let mut disk = Disk::new(roots);
        answer(&mut disk, append(NAME, 0, &[5; 4000])).unwrap();
        answer(&mut disk, finish(NAME, 4000)).unwrap();
        let (from, to) = (NAME.into(), "mail/201@example.com/old/1.wav".into());
        assert_eq!(
            order(&mut disk, FileOrder::Rename { from, to }),
            Filed::Done
        );
        let names = vec!["moh/a.alaw".into()];
        assert_eq!(
            answer(&mut disk, FileWish::Music),
            Ok(FileAnswer::Names(names))
        );
        let path = "mail/201@example.com/old/1.wav".into();
        assert_eq!(order(&mut disk, FileOrder::Remove { path }), Filed::Done);
        let prompts = disk.roots.prompts.as_ref().unwrap();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT;
        let made = openat(prompts, "c.alaw", flags, FILE_MODE).map(drop);
        (
            made,
            std::fs::read("/etc/passwd").is_err(),
            File::create(outside).is_err(),
        )
    });
    let (made, passwords, created) = confined.join().unwrap();
    // Without landlock the filter cannot tell directories apart; the log says so at the start.
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm");
    if modules.is_err() || modules.is_ok_and(|list| list.contains("landlock")) {
        assert_eq!((made, passwords, created), (Err(Errno::EACCES), true, true));
    }
}
