//! The studio with a disk that answers late, refuses, or is gone.

use super::*;
use crate::base::Rng;
use crate::media::file::{
    FileAnswer, FileAsk, FileFailure, FileNews, FileOrder, FileWish, Filed, Root,
};
use crate::media::record::layout;
use crate::media::shelf::{Shelf, answer, tests::Memory};
use crate::media::wav::{Encoding, Kind, Layout, Reader, Wav};
use std::collections::VecDeque;
use std::time::Duration;

/// A studio, a far end that talks to it, and a disk that is `late_ms` behind.
struct Stage {
    studio: Studio,
    disk: Memory,
    late_ms: u64,
    asked: VecDeque<(Instant, FileAsk)>,
    now: Instant,
    news: Vec<News>,
    sent: Sent,
    sequence: u16,
    timestamp: u32,
    rng: Rng,
}

impl Stage {
    fn new(late_ms: u64) -> Self {
        let mut studio = Studio::new(8, ANCHOR);
        let (spool, prompts) = (true, false);
        studio.handle_file(Instant::ZERO, FileNews::Roots { spool, prompts });
        Self {
            studio,
            disk: Memory::default(),
            late_ms,
            asked: VecDeque::new(),
            now: Instant::from_millis(1000),
            news: Vec::new(),
            sent: Sent::default(),
            sequence: 65_500,
            timestamp: u32::MAX - 40_000,
            rng: Rng::from_u64(late_ms),
        }
    }

    fn order(&mut self, order: Order) {
        self.studio.handle_order(self.now, order);
        self.settle();
    }

    fn open(&mut self, session: u64, format: Format) {
        let seed = session;
        self.order(Order::Open {
            session,
            format,
            seed,
        });
    }

    fn run(&mut self, session: u64, task: u32, what: Task) {
        self.order(Order::Do {
            session,
            task,
            what,
        });
    }

    fn settle(&mut self) {
        while let Some(ask) = self.studio.poll_file() {
            let at = self.now + Duration::from_millis(self.late_ms);
            self.asked.push_back((at, ask));
        }
        while let Some(news) = self.studio.poll_news() {
            self.news.push(news);
        }
    }

    fn answer(&mut self) {
        while let Some((_, ask)) = self.asked.pop_front_if(|(at, _)| *at <= self.now) {
            let what = answer(&mut self.disk, ask.what);
            let ticket = ask.ticket;
            let news = FileNews::Answer { ticket, what };
            self.studio.handle_file(self.now, news);
            self.settle();
        }
    }

    /// The next question is answered, whenever it was asked.
    fn answer_one(&mut self) {
        let (_, ask) = self.asked.pop_front().expect("a question");
        let (ticket, what) = (ask.ticket, answer(&mut self.disk, ask.what));
        let news = FileNews::Answer { ticket, what };
        self.studio.handle_file(self.now, news);
        self.settle();
    }

    fn step(&mut self) {
        self.pass(20);
    }

    /// A frame's time in small steps: the turns of a room's legs lie within it.
    fn live(&mut self) {
        for _ in 0..4 {
            self.pass(5);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.answer();
        self.studio.handle_timeout(self.now, &mut self.sent);
        self.settle();
    }

    fn hears(&mut self, session: u64, mut bytes: Vec<u8>) {
        self.studio
            .handle_rtp(self.now, session, 0, &mut bytes, &mut self.sent);
        self.settle();
    }

    /// A packet of loud noise.
    fn talk(&mut self, session: u64) {
        let mut body = [0; 160];
        self.rng.fill(&mut body);
        // Loud, either sign.
        body.iter_mut().for_each(|byte| *byte = *byte & 0x8f | 0x20);
        let bytes = packet(self.sequence, self.timestamp, 9, 8, &body);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(160);
        self.hears(session, bytes);
    }

    fn recorded(&self) -> Option<(u32, RecordEnd)> {
        let mut news = self.news.iter();
        news.find_map(|news| match news {
            News::Recorded { ms, end, task, .. } => {
                assert_eq!(*task, 5);
                Some((*ms, *end))
            }
            _ => None,
        })
    }

    /// What the file says that it holds, in milliseconds.
    fn length(&mut self) -> u32 {
        let size = self.disk.size(Root::Spool, FILE).unwrap();
        let bytes = self.disk.read(Root::Spool, FILE, 0, 4096).unwrap();
        let wav = Wav::parse(&bytes, size).unwrap();
        assert_eq!(wav.layout, layout());
        assert_eq!(size, wav.data.end + wav.data.end % 2);
        ((wav.data.end - wav.data.start) / 8) as u32
    }
}

const FILE: &str = "mail/201/new/1.wav";

fn record(max_ms: u32, silence_ms: u32) -> Task {
    Task::Record {
        file: FILE.into(),
        max_ms,
        silence_ms,
        until_key: true,
        beep: Some(beep(250)),
    }
}

fn key(stage: &mut Stage, session: u64, code: u8) {
    let body = [code, 0x80 | 10, 3, 32];
    let bytes = packet(stage.sequence, stage.timestamp, 9, 101, &body);
    stage.sequence = stage.sequence.wrapping_add(1);
    stage.hears(session, bytes);
}

#[test]
fn a_caller_hears_the_beep_is_recorded_and_ends_it_by_a_key() {
    for (late_ms, signalled) in [(0, false), (30, false), (700, false), (30, true)] {
        let mut stage = Stage::new(late_ms);
        stage.open(7, format());
        stage.run(7, 5, record(60_000, 4000));
        for _ in 0..200 {
            stage.talk(7);
            stage.step();
        }
        let beeps = stage.sent.0.len();
        assert!((12..=14).contains(&beeps), "{beeps} packets of the beep");
        match signalled {
            true => stage.order(Order::Heard { session: 7 }),
            false => key(&mut stage, 7, 11),
        }
        let told = stage.news.contains(&News::Key {
            session: 7,
            key: '#',
        });
        assert_ne!(told, signalled);
        for _ in 0..(3 * late_ms / 20 + 2) {
            stage.step();
        }
        let (ms, end) = stage.recorded().unwrap();
        assert_eq!(end, RecordEnd::Key);
        // Four seconds without the beep.
        assert!((3600..=3760).contains(&ms), "{ms}");
        assert_eq!(stage.length(), ms);
        assert_eq!(stage.disk.files.len(), 1);
        assert_eq!(stage.studio.recordings_left(), 0);
    }
}

#[test]
fn who_hangs_up_in_the_middle_has_said_it() {
    for end in 0..3 {
        let mut stage = Stage::new(100);
        stage.open(7, format());
        stage.run(7, 5, record(0, 0));
        for _ in 0..150 {
            stage.talk(7);
            stage.step();
        }
        match end {
            0 => stage.order(Order::Close { session: 7 }),
            1 => stage.run(7, 6, Task::Rest),
            _ => stage.run(7, 6, Task::Echo),
        }
        assert_eq!(stage.recorded(), None, "before it is on the disk");
        for _ in 0..30 {
            stage.step();
        }
        let (ms, end) = stage.recorded().unwrap();
        assert_eq!(end, RecordEnd::Closed);
        assert!((2600..=2760).contains(&ms), "{ms}");
        assert_eq!(stage.length(), ms);
    }
}

/// The disk fills up below the last piece of somebody who hangs up: what it had taken is whole.
#[test]
fn what_a_disk_took_before_it_refused_is_whole() {
    let mut stage = Stage::new(0);
    stage.open(7, format());
    stage.run(7, 5, record(0, 0));
    for _ in 0..150 {
        stage.talk(7);
        stage.step();
    }
    stage.order(Order::Close { session: 7 });
    let (_, ask) = stage.asked.front().expect("the last piece");
    assert!(matches!(ask.what, FileWish::Append { at: 8000.., .. }));
    stage.disk.refuses = Some(FileFailure::Disk);
    stage.answer_one();
    stage.disk.refuses = None;
    for _ in 0..10 {
        stage.step();
    }
    let (ms, end) = stage.recorded().unwrap();
    assert_eq!(end, RecordEnd::Failed);
    assert!((1_600..2_750).contains(&ms), "{ms}");
    assert_eq!(stage.length(), ms);
}

/// Ten seconds without an answer, in the middle: what was said until it was too much is kept.
#[test]
fn a_disk_that_stands_still_and_goes_on_keeps_what_was_said() {
    let mut stage = Stage::new(0);
    stage.open(7, format());
    stage.run(7, 5, record(0, 0));
    for n in 0..700 {
        stage.late_ms = if (100..600).contains(&n) { 10_000 } else { 0 };
        stage.talk(7);
        stage.step();
        if n < 600 {
            assert_eq!(stage.recorded(), None, "before it is on the disk");
        }
    }
    let (ms, end) = stage.recorded().unwrap();
    assert_eq!(end, RecordEnd::Behind);
    assert!((9_000..=11_000).contains(&ms), "{ms}");
    assert_eq!(stage.length(), ms);
    assert_eq!(stage.studio.recordings_left(), 0);
}

/// The thread of the disk has too much to do when somebody hangs up, for five seconds.
#[test]
fn a_disk_without_time_for_the_end_is_asked_again() {
    let mut stage = Stage::new(0);
    stage.open(7, format());
    stage.run(7, 5, record(0, 0));
    for _ in 0..150 {
        stage.talk(7);
        stage.step();
    }
    let mut asked = 0;
    stage
        .studio
        .handle_order(stage.now, Order::Close { session: 7 });
    let until = stage.now + Duration::from_secs(5);
    while stage.now < until {
        while let Some(ask) = stage.studio.poll_file() {
            let news = refused_by(&mut asked, &ask);
            stage.studio.handle_file(stage.now, news);
        }
        stage.settle();
        stage.now += Duration::from_millis(20);
        stage.studio.handle_timeout(stage.now, &mut stage.sent);
    }
    // Not in a circle.
    assert!((40..=51).contains(&asked), "{asked}");
    assert_eq!(stage.recorded(), None);
    for _ in 0..10 {
        stage.settle();
        stage.step();
    }
    let (ms, end) = stage.recorded().unwrap();
    assert_eq!(end, RecordEnd::Closed);
    assert!((2600..=2760).contains(&ms), "{ms}");
    assert_eq!(stage.length(), ms);
    assert_eq!(stage.studio.poll_timeout(), None);
}

#[test]
fn silence_and_length_end_it() {
    let mut stage = Stage::new(0);
    stage.open(7, format());
    stage.run(7, 5, record(0, 3000));
    for _ in 0..100 {
        stage.talk(7);
        stage.step();
    }
    // No packet comes any more.
    for _ in 0..300 {
        stage.step();
    }
    let (ms, end) = stage.recorded().unwrap();
    assert_eq!(end, RecordEnd::Silence);
    assert!((2000..=2700).contains(&ms), "{ms}");
    assert_eq!(stage.length(), ms);

    let mut stage = Stage::new(0);
    stage.open(7, format());
    stage.run(7, 5, record(2000, 0));
    for _ in 0..150 {
        stage.talk(7);
        stage.step();
    }
    assert_eq!(stage.recorded(), Some((2000, RecordEnd::Limit)));
}

/// A far end's noise, which it tells of (RFC 3389) twice a second, is not what it says, however loud.
#[test]
fn noise_that_is_described_is_no_talk() {
    let mut stage = Stage::new(0);
    let format = Format {
        comfort: Some(13),
        ..format()
    };
    stage.open(7, format);
    stage.run(7, 5, record(0, 3000));
    for _ in 0..100 {
        stage.talk(7);
        stage.step();
    }
    for n in 0..300 {
        if n % 25 == 0 {
            let bytes = packet(stage.sequence, stage.timestamp, 9, 13, &[15]);
            stage.sequence = stage.sequence.wrapping_add(1);
            stage.hears(7, bytes);
        }
        stage.timestamp = stage.timestamp.wrapping_add(160);
        stage.step();
    }
    let (ms, end) = stage.recorded().unwrap();
    assert_eq!(end, RecordEnd::Silence);
    assert!((2000..=2700).contains(&ms), "{ms}");
}

#[test]
fn who_says_nothing_leaves_nothing() {
    let mut stage = Stage::new(0);
    stage.open(7, format());
    stage.run(7, 5, record(0, 3000));
    for _ in 0..200 {
        stage.step();
    }
    assert_eq!(stage.recorded(), Some((0, RecordEnd::Silence)));
    assert!(stage.disk.files.is_empty());
}

#[test]
fn without_a_spool_or_with_a_full_disk_it_fails_at_once() {
    for full in [false, true] {
        let mut stage = Stage::new(0);
        let (spool, prompts) = (full, false);
        let roots = FileNews::Roots { spool, prompts };
        stage.studio.handle_file(stage.now, roots);
        stage.disk.refuses = Some(FileFailure::Disk);
        stage.open(7, format());
        stage.run(7, 5, record(0, 0));
        let mut steps = 0;
        while stage.recorded().is_none() && steps < 100 {
            stage.talk(7);
            stage.step();
            steps += 1;
        }
        assert_eq!(stage.recorded(), Some((0, RecordEnd::Failed)));
        // The beep and 200 ms.
        assert!(steps < 30, "{steps}");
    }
}

#[test]
fn a_disk_that_is_not_asked_is_told_of_by_refusal() {
    let mut stage = Stage::new(0);
    stage.open(7, format());
    stage.run(7, 5, record(0, 0));
    let mut refused = 0;
    for _ in 0..150 {
        stage.talk(7);
        stage.now += Duration::from_millis(20);
        stage.studio.handle_timeout(stage.now, &mut stage.sent);
        // The file thread has too much to do for two seconds.
        while let Some(ask) = stage.studio.poll_file() {
            let news = match refused < 50 {
                true => refused_by(&mut refused, &ask),
                false => FileNews::Answer {
                    ticket: ask.ticket,
                    what: answer(&mut stage.disk, ask.what),
                },
            };
            stage.studio.handle_file(stage.now, news);
            if refused > 0 && refused < 50 {
                break;
            }
        }
        stage.settle();
    }
    key(&mut stage, 7, 1);
    stage.step();
    let (ms, end) = stage.recorded().unwrap();
    assert_eq!(end, RecordEnd::Key);
    assert!((2600..=2760).contains(&ms), "{ms}");
    assert_eq!(stage.length(), ms);
}

fn refused_by(count: &mut u32, ask: &FileAsk) -> FileNews {
    *count += 1;
    refused(ask)
}

#[test]
fn files_are_played_and_what_plays_ends() {
    let mut stage = Stage::new(50);
    stage.disk.put(Root::Spool, "a.alaw", &[0xd5; 8000]);
    stage.open(7, format());
    let file = |path: &str| Sound::File {
        root: Root::Spool,
        path: path.into(),
    };
    let sounds = vec![file("a.alaw"), file("missing.wav"), file("a.alaw")];
    let what = Task::Play {
        sounds,
        rounds: Some(1),
        until_key: false,
    };
    stage.run(7, 3, what);
    for _ in 0..130 {
        stage.step();
    }
    let done = News::Done {
        session: 7,
        task: 3,
        played_ms: 2000,
    };
    assert_eq!(stage.news, [done]);
    stage.order(Order::Close { session: 7 });
    let whole = Task::Play {
        sounds: vec![file("missing.wav")],
        rounds: Some(1),
        until_key: false,
    };
    stage.open(8, format());
    stage.run(8, 3, whole);
    for _ in 0..10 {
        stage.step();
    }
    assert!(matches!(
        stage.news.last(),
        Some(News::Done { session: 8, .. })
    ));
    assert_eq!(stage.studio.counters().skipped, 2);
}

#[test]
fn the_owner_of_files_is_answered_without_a_leg() {
    let mut stage = Stage::new(20);
    stage.disk.put(Root::Spool, "a.wav", b"x");
    let filed = |stage: &mut Stage, what| {
        stage.order(Order::Files {
            session: 99,
            task: 4,
            what,
        });
        stage.step();
        match stage.news.pop() {
            Some(News::Filed {
                session: 99,
                task: 4,
                outcome,
            }) => outcome,
            other => panic!("{other:?}"),
        }
    };
    let (from, to) = ("a.wav".into(), "b/a.wav".into());
    assert_eq!(
        filed(&mut stage, FileOrder::Rename { from, to }),
        Filed::Done
    );
    let (below, after) = ("b".into(), "".into());
    let listed = Filed::Listed {
        names: vec!["b/a.wav".into()],
        more: false,
    };
    assert_eq!(filed(&mut stage, FileOrder::List { below, after }), listed);
    let path = "b/a.wav".into();
    assert_eq!(filed(&mut stage, FileOrder::Remove { path }), Filed::Done);
    let file = "b/a.wav".into();
    let missing = Filed::Failed(FileFailure::Missing);
    assert_eq!(filed(&mut stage, FileOrder::Salvage { file }), missing);
    // An answer that nobody asked for.
    let ticket = 12_345;
    let what = Ok(FileAnswer::Written);
    stage
        .studio
        .handle_file(stage.now, FileNews::Answer { ticket, what });
    stage.settle();
    assert!(stage.news.is_empty());
}

#[test]
fn prompts_of_the_site_are_looked_up_once_in_a_while() {
    let mut stage = Stage::new(0);
    let (spool, prompts) = (false, true);
    stage
        .studio
        .handle_file(stage.now, FileNews::Roots { spool, prompts });
    stage
        .disk
        .put(Root::Prompts, "es/digits/2.alaw", &[0xd5; 4000]);
    stage.open(7, format());
    let prompt = |name: &str| Sound::Prompt {
        language: order::Language::Es,
        name: name.into(),
    };
    let mut asked = [0; 3];
    for (round, count) in asked.iter_mut().enumerate() {
        let what = Task::Play {
            sounds: vec![prompt("digits/1"), prompt("digits/2"), prompt("digits/1")],
            rounds: Some(1),
            until_key: false,
        };
        stage.studio.handle_order(
            stage.now,
            Order::Do {
                session: 7,
                task: 1,
                what,
            },
        );
        for _ in 0..200 {
            stage.now += Duration::from_millis(20);
            while let Some(ask) = stage.studio.poll_file() {
                *count += u32::from(matches!(ask.what, FileWish::Open { .. }));
                let (ticket, what) = (ask.ticket, answer(&mut stage.disk, ask.what));
                stage
                    .studio
                    .handle_file(stage.now, FileNews::Answer { ticket, what });
            }
            stage.studio.handle_timeout(stage.now, &mut stage.sent);
        }
        stage.settle();
        assert!(
            matches!(stage.news.pop(), Some(News::Done { .. })),
            "{round}"
        );
        if round == 1 {
            stage.now += Duration::from_secs(40);
        }
    }
    assert_eq!(asked, [2, 0, 2]);
}

/// Everything that a network and a disk can do, at random: each recording is told of once, and what
/// it says is in its file.
#[test]
fn whatever_comes_each_recording_ends_once() {
    for seed in 0..40 {
        let mut rng = Rng::from_u64(seed);
        let mut stage = Stage::new(rng.below(300));
        stage.rng = Rng::from_u64(seed + 1000);
        stage.open(7, format());
        stage.run(7, 5, record(10_000, 2000));
        for _ in 0..rng.below(500) {
            match rng.below(20) {
                // Lost.
                0 => {
                    stage.sequence = stage.sequence.wrapping_add(1);
                    stage.timestamp = stage.timestamp.wrapping_add(160);
                }
                // The sender's clock jumps.
                1 if rng.chance(1, 5) => stage.timestamp = rng.next_u64() as u32,
                // Another source.
                2 => {
                    let bytes = packet(1, 1, rng.below(3) as u32, 8, &[1; 160]);
                    stage.hears(7, bytes);
                }
                // Garbage, large and small, and types that nobody agreed on.
                3 => {
                    let mut bytes = vec![0; rng.below(3000) as usize];
                    rng.fill(&mut bytes);
                    stage.hears(7, bytes);
                }
                4 => {
                    let bytes = packet(stage.sequence, stage.timestamp, 9, 8, &[1; 1921]);
                    stage.hears(7, bytes);
                }
                5 => {
                    let bytes = packet(stage.sequence, stage.timestamp, 9, 111, &[1; 160]);
                    stage.hears(7, bytes);
                }
                6 if rng.chance(1, 10) => stage.now += Duration::from_secs(60),
                7 => stage.disk.refuses = rng.chance(1, 4).then_some(FileFailure::Disk),
                _ => stage.talk(7),
            }
            stage.step();
        }
        stage.order(Order::Close { session: 7 });
        stage.disk.refuses = None;
        for _ in 0..100 {
            stage.step();
        }
        let recorded = stage.news.iter();
        let recorded = recorded.filter(|n| matches!(n, News::Recorded { .. }));
        assert_eq!(recorded.count(), 1, "seed {seed}");
        let (ms, end) = stage.recorded().unwrap();
        if ms > 0 {
            assert_eq!(stage.length(), ms, "seed {seed}");
        } else {
            let whole = stage.disk.size(Root::Spool, FILE);
            assert_eq!(whole, Err(FileFailure::Missing), "seed {seed} {end:?}");
        }
        assert_eq!(
            (stage.studio.legs(), stage.studio.recordings_left()),
            (0, 0)
        );
        assert_eq!(stage.studio.poll_timeout(), None);
    }
}

#[test]
fn what_is_not_heard_is_counted() {
    let mut stage = Stage::new(0);
    stage.open(7, format());
    stage.run(7, 5, record(0, 0));
    for _ in 0..50 {
        stage.talk(7);
        stage.step();
    }
    stage.hears(8, packet(1, 1, 9, 8, b"x"));
    stage.hears(7, vec![0x80; 5]);
    stage.hears(7, packet(stage.sequence, stage.timestamp, 9, 8, &[1; 1921]));
    stage.hears(7, packet(stage.sequence, stage.timestamp, 9, 111, b"x"));
    stage.hears(7, packet(1, 1, 77, 8, &[1; 160]));
    let expected = StudioCounters {
        strays: 1,
        malformed: 1,
        oversized: 1,
        wrong_type: 1,
        unproven: 1,
        skipped: 0,
    };
    assert_eq!(stage.studio.counters(), expected);
    // A minute of nothing, and the same far end under another name.
    stage.now += Duration::from_secs(60);
    for n in 0..100 {
        let bytes = packet(n, u32::from(n) * 160, 78, 8, &[0x2a; 160]);
        stage.hears(7, bytes);
        stage.step();
    }
    key(&mut stage, 7, 0);
    stage.order(Order::Close { session: 7 });
    stage.step();
    let (ms, _) = stage.recorded().unwrap();
    assert!(ms > 1500, "{ms}");
}

/// What was told of a room: the files that were written, and whether the recording ceased.
fn minuted(stage: &Stage) -> (Vec<(String, u32, RecordEnd)>, bool) {
    let (mut files, mut ceased) = (Vec::new(), false);
    for news in &stage.news {
        if let News::Room {
            session,
            room,
            what,
        } = news
        {
            assert_eq!((*session, &**room), (1, "board"));
            assert!(!ceased || matches!(what, room::RoomNews::Written { .. }));
            match what {
                room::RoomNews::Written { file, ms, end } => {
                    files.push((file.to_string(), *ms, *end));
                }
                room::RoomNews::Ceased => ceased = true,
            }
        }
    }
    (files, ceased)
}

/// Two in a room, of whom the second talks, and the first wants it recorded.
fn meeting() -> Stage {
    let mut stage = Stage::new(30);
    for session in [1, 2] {
        stage.open(session, format());
        stage.run(session, 1, join_board());
    }
    // Asked for twice, it is recorded once.
    for (session, file) in [(1, FILE), (2, "other.wav")] {
        let what = room::RoomOrder::Record(file.into(), Encoding::Alaw);
        stage.order(Order::Room { session, what });
    }
    stage
}

fn discuss(stage: &mut Stage, frames: u32) {
    for _ in 0..frames {
        stage.talk(2);
        stage.step();
    }
}

/// What was written of three seconds of it, and how that ended.
fn minutes(end: impl Fn(&mut Stage)) -> (Stage, u32) {
    let mut stage = meeting();
    discuss(&mut stage, 150);
    end(&mut stage);
    for _ in 0..20 {
        stage.step();
    }
    let (files, ceased) = minuted(&stage);
    let [(file, ms, end)] = &files[..] else {
        panic!("its end is told: {files:?}")
    };
    assert_eq!((&**file, *end, ceased), (FILE, RecordEnd::Closed, false));
    let ms = *ms;
    (stage, ms)
}

/// As long as a file may be, another one goes on, though who asked for it is gone.
#[test]
fn a_long_conference_is_in_several_files() {
    let mut stage = meeting();
    stage.studio.minutes_ms_max = 2_000;
    let what = room::RoomOrder::EndRecord;
    stage.order(Order::Room { session: 2, what });
    stage.step();
    let what = room::RoomOrder::Record("day/a.wav".into(), Encoding::Alaw);
    stage.order(Order::Room { session: 1, what });
    discuss(&mut stage, 60);
    stage.order(Order::Close { session: 1 });
    discuss(&mut stage, 200);
    stage.order(Order::Close { session: 2 });
    for _ in 0..20 {
        stage.step();
    }
    let (files, ceased) = minuted(&stage);
    assert!(!ceased);
    let [_, first, second, third] = &files[..] else {
        panic!("{files:?}")
    };
    assert_eq!(*first, ("day/a.wav".into(), 2_000, RecordEnd::Limit));
    assert_eq!(*second, ("day/a.2.wav".into(), 2_000, RecordEnd::Limit));
    assert_eq!((&*third.0, third.2), ("day/a.3.wav", RecordEnd::Closed));
    // Nothing is lost between them.
    assert!((1_140..=1_240).contains(&third.1), "{third:?}");
    for (file, ms, _) in &files[1..] {
        let size = stage.disk.size(Root::Spool, file).unwrap();
        assert_eq!(size, 58 + u64::from(*ms) * 8);
    }
    assert_eq!(stage.studio.recordings_left(), 0);
}

/// A disk that refuses, or stands still for too long: the room is told that it is recorded no
/// longer, and may be again.
#[test]
fn a_room_that_cannot_be_recorded_any_more_hears_so() {
    for stalls in [false, true] {
        let mut stage = meeting();
        discuss(&mut stage, 150);
        // Who asked for it goes.
        stage.order(Order::Close { session: 1 });
        match stalls {
            true => stage.late_ms = 20_000,
            false => stage.disk.refuses = Some(FileFailure::Disk),
        }
        discuss(&mut stage, 500);
        assert!(minuted(&stage).1, "{stalls}");
        (stage.late_ms, stage.disk.refuses) = (0, None);
        discuss(&mut stage, 700);
        let (files, _) = minuted(&stage);
        let [(file, ms, end)] = &files[..] else {
            panic!("{stalls} {files:?}")
        };
        match stalls {
            true => {
                assert_eq!((&**file, *end), (FILE, RecordEnd::Behind));
                assert!((10_500..=12_100).contains(ms), "{ms}");
                assert_eq!(stage.length(), *ms);
            }
            false => assert_eq!((&**file, *end), (FILE, RecordEnd::Failed)),
        }
        let what = room::RoomOrder::Record("again.wav".into(), Encoding::Alaw);
        stage.order(Order::Room { session: 2, what });
        discuss(&mut stage, 60);
        let part = stage.disk.size(Root::Spool, "again.wav.part");
        assert!(part.is_ok(), "{stalls}");
    }
}

#[test]
fn a_room_is_recorded_until_it_is_told_to_end() {
    let (mut stage, ms) = minutes(|stage| {
        let (session, what) = (2, room::RoomOrder::EndRecord);
        stage.order(Order::Room { session, what });
    });
    assert!((2_900..=3_060).contains(&ms), "{ms}");
    assert_eq!(stage.length(), ms);
    let bytes = stage.disk.read(Root::Spool, FILE, 0, 60_000).unwrap();
    let loud = bytes[58..].iter().filter(|b| (**b ^ 0x55) & 0x70 >= 0x60);
    let share = loud.count() as f64 / f64::from(ms * 8);
    // A silent file has none.
    assert!(share > 0.2, "{share}");
    // It can be recorded again, and is not by itself.
    let (session, what) = (
        1,
        room::RoomOrder::Record("again.wav".into(), Encoding::Alaw),
    );
    stage.order(Order::Room { session, what });
    for _ in 0..60 {
        stage.step();
    }
    let part = stage.disk.size(Root::Spool, "again.wav.part");
    assert!(part.is_ok() && stage.disk.size(Root::Spool, "other.wav").is_err());
}

#[test]
fn what_records_a_room_ends_with_its_last_member() {
    let (mut stage, ms) = minutes(|stage| {
        // Who asked for it goes first.
        stage.order(Order::Close { session: 1 });
        for _ in 0..50 {
            stage.talk(2);
            stage.step();
        }
        assert_eq!(minuted(stage), (vec![], false));
        stage.order(Order::Close { session: 2 });
    });
    assert!((3_900..=4_060).contains(&ms), "{ms}");
    assert_eq!(stage.length(), ms);
    assert_eq!(stage.studio.recordings_left(), 0);
}

/// The name of one who comes and goes, as a tone in a file; without the file, the words in its
/// place. All in the room hear it, and nobody of another worker has to ask a disk.
#[test]
fn a_recorded_name_is_heard_in_the_room() {
    use crate::media::codec::g711::{alaw_decode, alaw_encode};
    use crate::media::goertzel::amplitude;
    const NAME_HZ: f32 = 1_000.0;
    let tone: Vec<i16> = (0..8_000)
        .map(|n| (8_000.0 * (n as f32 * NAME_HZ * std::f32::consts::TAU / 8_000.0).sin()) as i16)
        .collect();
    let mut bytes = vec![0; tone.len()];
    alaw_encode(&tone, &mut bytes);
    for (there, late_ms) in [(true, 0), (true, 700), (false, 0)] {
        let mut stage = Stage::new(late_ms);
        if there {
            stage.disk.put(Root::Spool, "mail/201/greet.alaw", &bytes);
        }
        stage.open(1, format());
        stage.run(1, 1, join_board());
        let words = |ms| vec![beep(ms)];
        let Task::Join(mut join) = join_board() else {
            panic!()
        };
        (join.arrival, join.farewell) = (words(600), words(600));
        join.name = Some(room::Name {
            file: "mail/201/greet.alaw".into(),
            comes: vec![],
            goes: vec![],
        });
        stage.open(2, format());
        stage.run(2, 1, Task::Join(join));
        let heard = |stage: &mut Stage| {
            stage.sent = Sent::default();
            for _ in 0..150 {
                stage.live();
            }
            let mut named = 0;
            for (session, packet) in &stage.sent.0 {
                let mut samples = [0; 160];
                if *session == 1 && alaw_decode(&packet[12..], &mut samples) == 160 {
                    named += u32::from(amplitude(&samples, NAME_HZ, 8_000) > 2_000.0);
                }
            }
            named * 20
        };
        let expected = if there { 900..=1_100 } else { 0..=40 };
        let came = heard(&mut stage);
        assert!(expected.contains(&came), "{there} {late_ms}: {came}");
        stage.order(Order::Close { session: 2 });
        let went = heard(&mut stage);
        assert!(expected.contains(&went), "{there} {late_ms}: {went}");
    }
}

/// A room of 16 kHz that hears a tone, in each way of writing it: what was heard is in the file,
/// and as much of it as was on the disk when a crash came is salvaged.
#[test]
fn a_room_is_written_in_each_format() {
    use crate::media::codec::{Codec, Encoder};
    use crate::media::goertzel::amplitude;
    let wide = Format {
        coding: crate::wire::rtp::Coding::G722,
        payload_type: 9,
        ..format()
    };
    for (encoding, rate, bytes_a_second) in [
        (Encoding::Alaw, 8_000, 8_000),
        (Encoding::Ulaw, 8_000, 8_000),
        (Encoding::Pcm16, 16_000, 32_000),
        (Encoding::G722, 16_000, 8_000),
        (Encoding::Gsm, 8_000, 1_650),
    ] {
        let mut stage = Stage::new(30);
        for session in [1, 2] {
            stage.open(session, wide.clone());
            stage.run(session, 1, join_board());
        }
        let file = format!("day/a.{}", encoding.extension());
        let what = room::RoomOrder::Record(file.as_str().into(), encoding);
        stage.order(Order::Room { session: 1, what });
        // A tone of 1 kHz, and one that no telephone brings.
        let mut encoder = Encoder::new(Codec::G722);
        let mut n = 0.0f32;
        for _ in 0..200 {
            let mut samples = [0i16; 320];
            for sample in &mut samples {
                let turn = n * std::f32::consts::TAU / 16_000.0;
                *sample = (5_000.0 * ((1_000.0 * turn).sin() + (5_500.0 * turn).sin())) as i16;
                n += 1.0;
            }
            let mut body = [0; 160];
            assert_eq!(encoder.encode(&samples, &mut body), 160);
            let bytes = packet(stage.sequence, stage.timestamp, 9, 9, &body);
            stage.sequence = stage.sequence.wrapping_add(1);
            stage.timestamp = stage.timestamp.wrapping_add(160);
            stage.hears(2, bytes);
            stage.live();
        }
        // The crash.
        let part = format!("{file}.part");
        let mut disk = Memory::default();
        let broken = &stage.disk.files[&(Root::Spool, part.clone())];
        disk.put(Root::Spool, &part, &broken[..broken.len() - 5]);
        let whole = FileOrder::Salvage {
            file: file.as_str().into(),
        };
        let Ok(FileAnswer::Filed(Filed::Salvaged { ms })) =
            answer(&mut disk, FileWish::Order(whole))
        else {
            panic!("{encoding:?}")
        };
        assert!((2_500..4_000).contains(&ms), "{encoding:?} {ms}");
        check(&mut disk, &file, Layout::mono(encoding, rate), ms);
        // Its end.
        let what = room::RoomOrder::EndRecord;
        stage.order(Order::Room { session: 1, what });
        for _ in 0..20 {
            stage.live();
        }
        let (files, ceased) = minuted(&stage);
        let [(name, ms, RecordEnd::Closed)] = &files[..] else {
            panic!("{files:?}")
        };
        assert_eq!((name, ceased), (&file, false));
        assert!((3_900..=4_060).contains(ms), "{encoding:?} {ms}");
        let (samples, size) = check(&mut stage.disk, &file, Layout::mono(encoding, rate), *ms);
        assert_eq!(size, u64::from(*ms) * bytes_a_second / 1000);
        // Piece by piece: what is played in time may be stretched in between.
        let level = |hz| {
            let pieces = samples[samples.len() / 2..].chunks_exact(rate as usize / 50);
            let count = pieces.len() as f32;
            pieces.map(|piece| amplitude(piece, hz, rate)).sum::<f32>() / count
        };
        assert!(level(1_000.0) > 2_500.0, "{encoding:?}");
        if rate == 16_000 {
            assert!(level(5_500.0) > 2_000.0, "{encoding:?}");
        }
    }
}

/// What is in a file, and how many bytes of sound: as long as it is said to be, and made so.
fn check(disk: &mut Memory, file: &str, layout: Layout, ms: u32) -> (Vec<i16>, u64) {
    let size = disk.size(Root::Spool, file).unwrap();
    let bytes = disk.read(Root::Spool, file, 0, size as u32).unwrap();
    let extension = file.rsplit('.').next().unwrap();
    let (found, data) = match Kind::from_extension(extension).unwrap() {
        Kind::Raw(layout) => (layout, 0..size),
        Kind::Wav => {
            let wav = Wav::parse(&bytes, size).unwrap();
            (wav.layout, wav.data)
        }
    };
    assert_eq!(found, layout);
    let sound = &bytes[data.start as usize..data.end as usize];
    assert_eq!(layout.duration_ms(sound.len() as u64), u64::from(ms));
    let mut samples = vec![0; (u64::from(layout.rate) * u64::from(ms) / 1000) as usize];
    let (_, made) = Reader::new(layout).read(sound, &mut samples);
    assert_eq!(made, samples.len());
    assert!(
        !disk
            .files
            .contains_key(&(Root::Spool, format!("{file}.part")))
    );
    (samples, sound.len() as u64)
}
