//! Conversations on tape: who is on which side, what ends them, what a full disk does.

use super::*;
use crate::media::codec::{Codec, Encoder, g711};
use crate::media::file::{FileFailure, FileNews, Root};
use crate::media::goertzel::amplitude;
use crate::media::order::TapeOrder;
use crate::media::shelf::{Shelf, answer, tests::Memory};
use crate::media::wav::{Encoding, Wav};
use std::time::Duration;

const FILE: &str = "recordings/2026/11/26/a.wav";
const TONES: [f32; 3] = [440.0, 1000.0, 1800.0];

/// Legs 1, 2 and 3, each of which says a tone of its own; 1 and 2 are bridged.
struct Stage {
    studio: Studio,
    disk: Memory,
    now: Instant,
    frame: u16,
    news: Vec<News>,
    passed: usize,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self {
            studio: Studio::new(8, ANCHOR),
            disk: Memory::default(),
            now: Instant::from_millis(1000),
            frame: 0,
            news: Vec::new(),
            passed: 0,
        };
        let (spool, prompts) = (true, false);
        let roots = FileNews::Roots { spool, prompts };
        stage.studio.handle_file(stage.now, roots);
        for session in 1..=3 {
            let format = Self::format(session);
            stage.order(Order::Open {
                session,
                format,
                seed: session,
            });
        }
        stage.bridge(1, 2);
        stage.bridge(2, 1);
        stage
    }

    /// The second leg writes otherwise than the first.
    fn format(session: u64) -> Format {
        let coding = [Coding::Pcma, Coding::Pcmu, Coding::Pcma][session as usize - 1];
        Format {
            coding,
            payload_type: coding.payload_type(),
            ..format()
        }
    }

    fn order(&mut self, order: Order) {
        self.studio.handle_order(self.now, order);
    }

    fn bridge(&mut self, session: u64, with: u64) {
        let (task, what) = (9, Task::Bridge { with });
        self.order(Order::Do {
            session,
            task,
            what,
        });
    }

    fn tape(&mut self, what: TapeOrder) {
        self.order(Order::Tape { session: 1, what });
    }

    fn start(&mut self, max_ms: u32) {
        let file = FILE.into();
        self.tape(TapeOrder::Start {
            task: 5,
            with: 2,
            file,
            max_ms,
        });
    }

    fn run(&mut self, frames: usize) {
        for _ in 0..frames {
            let mut sent = Sent::default();
            for session in 1..=3u64 {
                let format = Self::format(session);
                let codec = Codec::from(format.coding);
                let angle = std::f32::consts::TAU * TONES[session as usize - 1] / 8000.0;
                let at = usize::from(self.frame) * 160;
                let tone = |n: usize| (8000.0 * (angle * n as f32).sin()) as i16;
                let samples: Vec<i16> = (at..at + 160).map(tone).collect();
                let mut body = vec![0; 160];
                Encoder::new(codec).encode(&samples, &mut body);
                let (seq, stamp) = (self.frame, u32::from(self.frame) * 160);
                let mut bytes = packet(seq, stamp, session as u32, format.payload_type, &body);
                self.studio
                    .handle_rtp(self.now, session, 0, &mut bytes, &mut sent);
            }
            self.frame += 1;
            self.now += Duration::from_millis(20);
            self.studio.handle_timeout(self.now, &mut sent);
            self.passed += sent.0.len();
            while let Some(ask) = self.studio.poll_file() {
                let what = answer(&mut self.disk, ask.what);
                let ticket = ask.ticket;
                let news = FileNews::Answer { ticket, what };
                self.studio.handle_file(self.now, news);
            }
            while let Some(news) = self.studio.poll_news() {
                self.news.push(news);
            }
        }
    }

    fn recorded(&self) -> Vec<(u64, u32, RecordEnd)> {
        let recorded = self.news.iter().filter_map(|news| match news {
            News::Recorded {
                session, ms, end, ..
            } => Some((*session, *ms, *end)),
            _ => None,
        });
        recorded.collect()
    }

    /// Left and right of the file.
    fn sides(&mut self) -> [Vec<i16>; 2] {
        let size = self.disk.size(Root::Spool, FILE).unwrap();
        let bytes = self
            .disk
            .read(Root::Spool, FILE, 0, u32::try_from(size).unwrap())
            .unwrap();
        let wav = Wav::parse(&bytes, size).unwrap();
        assert_eq!(
            (wav.layout.encoding, wav.layout.channels),
            (Encoding::Alaw, 2)
        );
        let data = &bytes[wav.data.start as usize..wav.data.end as usize];
        let side = |first: usize| {
            let coded: Vec<u8> = data.iter().skip(first).step_by(2).copied().collect();
            let mut samples = vec![0; coded.len()];
            g711::alaw_decode(&coded, &mut samples);
            samples
        };
        [side(0), side(1)]
    }
}

/// Whether a second of sound holds this tone and none of the others.
fn holds(samples: &[i16], wanted: Option<f32>) {
    for hz in TONES {
        let loud = amplitude(samples, hz, 8000) > 4000.0;
        assert_eq!(
            loud,
            wanted == Some(hz),
            "{hz} Hz where {wanted:?} is wanted"
        );
    }
}

#[test]
fn each_side_has_a_channel_of_its_own() {
    let mut stage = Stage::new();
    stage.start(0);
    stage.run(200);
    stage.order(Order::Close { session: 1 });
    stage.run(5);
    let [(1, ms, RecordEnd::Closed)] = stage.recorded()[..] else {
        panic!("{:?}", stage.recorded())
    };
    assert!((3980..=4020).contains(&ms), "{ms}");
    let [left, right] = stage.sides();
    assert_eq!(
        (left.len(), right.len()),
        (ms as usize * 8, ms as usize * 8)
    );
    holds(&left[8000..16_000], Some(TONES[0]));
    holds(&right[8000..16_000], Some(TONES[1]));
    assert_eq!(stage.studio.recordings_left(), 0);
    assert!(stage.studio.tapes.is_empty() && stage.studio.taped.is_empty());
}

#[test]
fn it_ends_when_told_and_the_talk_goes_on() {
    let mut stage = Stage::new();
    stage.start(0);
    stage.run(100);
    stage.tape(TapeOrder::Stop);
    let before = stage.passed;
    stage.run(100);
    assert!(stage.passed - before >= 180, "{}", stage.passed - before);
    assert!(matches!(
        stage.recorded()[..],
        [(1, 1980..=2020, RecordEnd::Closed)]
    ));
    // As long as it may be, as another file.
    stage.disk.files.clear();
    stage.start(1000);
    stage.run(100);
    assert_eq!(stage.recorded()[1], (1, 1000, RecordEnd::Limit));
}

#[test]
fn who_comes_by_a_transfer_is_on_the_right() {
    let mut stage = Stage::new();
    stage.start(0);
    stage.run(150);
    stage.order(Order::Close { session: 2 });
    stage.tape(TapeOrder::With(3));
    stage.bridge(1, 3);
    stage.bridge(3, 1);
    stage.run(150);
    stage.tape(TapeOrder::Stop);
    stage.run(5);
    let [left, right] = stage.sides();
    holds(&left[32_000..40_000], Some(TONES[0]));
    holds(&right[8000..16_000], Some(TONES[1]));
    holds(&right[32_000..40_000], Some(TONES[2]));
}

#[test]
fn a_full_disk_ends_the_recording_and_nothing_else() {
    let mut stage = Stage::new();
    stage.disk.refuses = Some(FileFailure::Disk);
    stage.start(0);
    stage.run(200);
    assert_eq!(stage.recorded(), [(1, 0, RecordEnd::Failed)]);
    assert!(stage.passed > 360, "{}", stage.passed);
    assert!(stage.studio.tapes.is_empty() && stage.studio.taped.is_empty());
}

#[test]
fn a_tape_of_nobody_is_none() {
    let mut stage = Stage::new();
    stage.tape(TapeOrder::Stop);
    stage.tape(TapeOrder::With(3));
    stage.run(2);
    assert!(stage.studio.tapes.is_empty());
    stage.order(Order::Tape {
        session: 77,
        what: TapeOrder::Stop,
    });
    assert_eq!(stage.studio.poll_news(), Some(News::Failed { session: 77 }));
}

#[test]
fn both_sides_are_renamed_alike() {
    let what = TapeOrder::Start {
        task: 1,
        with: 6,
        file: FILE.into(),
        max_ms: 0,
    };
    let order = Order::Tape { session: 5, what };
    let renamed = order.clone().rename(5 | 1 << 40);
    let Order::Tape {
        session,
        what: TapeOrder::Start { with, .. },
    } = &renamed
    else {
        panic!("{renamed:?}")
    };
    assert_eq!((*session, *with), (5 | 1 << 40, 6 | 1 << 40));
    assert_eq!(renamed.rename(5), order);
}

/// A session that passes by: its left side writes A-law and mu-law in turns.
fn tap(stage: &mut Stage, task: u32, codings: &[Coding]) {
    let each = codings.iter().map(|coding| Format {
        coding: *coding,
        payload_type: coding.payload_type(),
        ..format()
    });
    let formats = [each.collect(), vec![Stage::format(2)]];
    stage.order(Order::Tape {
        session: PASSING,
        what: TapeOrder::Tap {
            task,
            file: FILE.into(),
            max_ms: 0,
            formats,
        },
    });
}

const PASSING: u64 = 40;

/// Frames of both sides: a tone of the left in `coding`, another of the right in mu-law.
fn pass(stage: &mut Stage, frames: usize, coding: Coding) {
    for _ in 0..frames {
        for (side, coding) in [coding, Coding::Pcmu].into_iter().enumerate() {
            let angle = std::f32::consts::TAU * TONES[side] / 8000.0;
            let at = usize::from(stage.frame) * 160;
            let tone = |n: usize| (8000.0 * (angle * n as f32).sin()) as i16;
            let samples: Vec<i16> = (at..at + 160).map(tone).collect();
            let mut body = vec![0; 160];
            Encoder::new(coding.into()).encode(&samples, &mut body);
            let (seq, stamp) = (stage.frame, u32::from(stage.frame) * 160);
            let bytes = packet(seq, stamp, 7, coding.payload_type(), &body);
            stage.studio.overhear(stage.now, PASSING, (side, 0), &bytes);
            // Another stream of the session is another matter.
            stage
                .studio
                .overhear(stage.now, PASSING, (1 - side, 1), &bytes);
        }
        stage.run(1);
    }
}

#[test]
fn both_sides_of_a_session_that_passes_by_are_heard_however_they_write() {
    let mut stage = Stage::new();
    tap(&mut stage, 8, &[Coding::Pcma, Coding::Pcmu]);
    pass(&mut stage, 100, Coding::Pcma);
    pass(&mut stage, 100, Coding::Pcmu);
    // What was not named is silence.
    pass(&mut stage, 100, Coding::Gsm);
    // It is named later, and the others stay.
    tap(
        &mut stage,
        9,
        &[Coding::Pcma, Coding::Pcmu, Coding::Linear8],
    );
    pass(&mut stage, 50, Coding::Pcma);
    stage.order(Order::Close { session: PASSING });
    stage.run(5);
    let [(PASSING, 6980..=7020, RecordEnd::Closed)] = stage.recorded()[..] else {
        panic!("{:?}", stage.recorded())
    };
    let task = stage.news.iter().find_map(|news| match news {
        News::Recorded { task, .. } => Some(*task),
        _ => None,
    });
    assert_eq!(task, Some(8));
    let [left, right] = stage.sides();
    for (second, tone) in [(0, Some(TONES[0])), (2, Some(TONES[0])), (5, None)] {
        let from = second * 8000 + 4000;
        holds(&left[from..from + 8000], tone);
        holds(&right[from..from + 8000], Some(TONES[1]));
    }
    assert!(stage.studio.tapes.is_empty() && stage.studio.taped.is_empty());
}

#[test]
fn a_pause_leaves_out_what_is_said_meanwhile() {
    let mut stage = Stage::new();
    tap(&mut stage, 8, &[Coding::Pcma]);
    let pause = |stage: &mut Stage, yes| {
        stage.order(Order::Tape {
            session: PASSING,
            what: TapeOrder::Pause(yes),
        });
    };
    pass(&mut stage, 50, Coding::Pcma);
    pause(&mut stage, true);
    pass(&mut stage, 100, Coding::Pcma);
    pause(&mut stage, false);
    pass(&mut stage, 50, Coding::Pcma);
    stage.order(Order::Tape {
        session: PASSING,
        what: TapeOrder::Stop,
    });
    stage.run(5);
    assert!(matches!(
        stage.recorded()[..],
        [(PASSING, 1980..=2020, RecordEnd::Closed)]
    ));
    let [left, _] = stage.sides();
    holds(&left[4000..12_000], Some(TONES[0]));
}

#[test]
fn recordings_of_passing_sessions_have_a_bound() {
    let mut stage = Stage::new();
    for session in 100..110 {
        let what = TapeOrder::Tap {
            task: 1,
            file: format!("recordings/{session}.wav").into(),
            max_ms: 0,
            formats: Default::default(),
        };
        stage.order(Order::Tape { session, what });
    }
    assert_eq!(stage.studio.tapes.len(), 8);
    let refused = std::iter::from_fn(|| stage.studio.poll_news());
    let refused: Vec<News> = refused.collect();
    let failed = [108, 109].map(|session| News::Recorded {
        session,
        task: 1,
        ms: 0,
        end: RecordEnd::Failed,
    });
    assert_eq!(refused, failed);
    // What passes by after all is nothing to anybody.
    stage.studio.overhear(stage.now, 109, (0, 0), &[0x80; 172]);
    stage
        .studio
        .overhear(stage.now, 100, (5, 900), &[0x80; 172]);
    stage.studio.overhear(stage.now, 100, (0, 0), &[0x80; 3]);
    stage.run(60);
    for session in 100..108 {
        stage.order(Order::Close { session });
    }
    stage.run(5);
    assert!(stage.studio.tapes.is_empty());
}
