//! Silence that is told of by comfort noise (RFC 3389).

use super::*;
use crate::wire::rtp::{COMFORT_NOISE, Coding};
use std::time::Duration;

fn quiet() -> Format {
    Format {
        comfort: Some(COMFORT_NOISE),
        ..format()
    }
}

fn open(studio: &mut Studio, session: u64, format: Format) {
    let open = Order::Open {
        session,
        format,
        seed: session,
    };
    studio.handle_order(Instant::ZERO, open);
}

fn begin(studio: &mut Studio, ms: u64, session: u64, what: Task) {
    let begin = Order::Do {
        session,
        task: 1,
        what,
    };
    studio.handle_order(Instant::from_millis(ms), begin);
}

fn play(sounds: Vec<Sound>) -> Task {
    Task::Play {
        sounds,
        rounds: Some(1),
        until_key: false,
    }
}

/// When it left, what it is and what it carries.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Said {
    ms: u64,
    header: Header,
    payload: Vec<u8>,
}

fn said(packets: Vec<(u64, Vec<u8>)>) -> Vec<Said> {
    let each = packets.into_iter().map(|(ms, bytes)| {
        let packet = Packet::new_checked(&bytes).unwrap();
        Said {
            ms,
            header: packet.header(),
            payload: packet.payload().to_vec(),
        }
    });
    each.collect()
}

fn noises(said: &[Said]) -> Vec<u64> {
    let noise = said.iter().filter(|s| s.header.payload_type == 13);
    noise.map(|s| s.ms).collect()
}

/// Each packet is numbered one more than the one before, and its timestamp is that of its time.
fn assert_in_time(said: &[Said]) {
    let first = &said[0];
    for (n, one) in said.iter().enumerate() {
        let number = one.header.sequence.wrapping_sub(first.header.sequence);
        assert_eq!(usize::from(number), n);
        let passed = one.header.timestamp.wrapping_sub(first.header.timestamp);
        assert_eq!(
            u64::from(passed),
            (one.ms - first.ms) * 8,
            "at {} ms",
            one.ms
        );
    }
}

#[test]
fn a_pause_of_what_plays_is_told_where_that_is_understood() {
    for agreed in [true, false] {
        let mut studio = Studio::new(4, ANCHOR);
        let format = if agreed { quiet() } else { format() };
        open(&mut studio, 7, format);
        let sounds = vec![beep(100), Sound::Silence { ms: 2000 }, beep(100)];
        begin(&mut studio, 0, 7, play(sounds));
        let said = said(run(&mut studio, 2190));
        assert_in_time(&said);
        let silence = said.iter().filter(|s| (100..2100).contains(&s.ms));
        let count = silence.count();
        let spurt = said.iter().find(|s| s.ms == 2100).unwrap();
        match agreed {
            // Three frames as they are, a description, and four updates.
            true => {
                assert_eq!(noises(&said), [160, 640, 1120, 1600, 2080]);
                assert_eq!(count, 8);
            }
            false => assert_eq!((noises(&said).len(), count), (0, 100)),
        }
        // RFC 3551 §4.1: the first of a talk spurt is marked, and no noise is (RFC 3389 §4).
        let marked: Vec<_> = said
            .iter()
            .filter(|s| s.header.marker)
            .map(|s| s.ms)
            .collect();
        assert_eq!(marked, if agreed { vec![0, 2100] } else { vec![0] });
        assert_eq!(spurt.header.payload_type, 8);
        assert!(
            said.iter()
                .all(|s| s.header.payload_type == 8 || s.payload == [127])
        );
    }
}

#[test]
fn a_leg_without_a_task_tells_of_its_silence_once_it_has_spoken() {
    let mut studio = Studio::new(4, ANCHOR);
    open(&mut studio, 7, quiet());
    begin(&mut studio, 0, 7, Task::Rest);
    assert_eq!(run(&mut studio, 3000), []);
    begin(&mut studio, 3000, 7, play(vec![beep(100)]));
    let mut all = run(&mut studio, 5000);
    begin(&mut studio, 5000, 7, play(vec![beep(100)]));
    all.extend(run(&mut studio, 5090));
    let said = said(all);
    // It is over at 3100, and rests from then on.
    assert_eq!(noises(&said), [3200, 3680, 4160, 4640]);
    assert_in_time(&said);
    let marked: Vec<_> = said
        .iter()
        .filter(|s| s.header.marker)
        .map(|s| s.ms)
        .collect();
    assert_eq!(marked, [3000, 5000]);
    // Nothing on hold.
    let held = Format {
        sends: false,
        ..quiet()
    };
    let hold = Order::Open {
        session: 7,
        format: held,
        seed: 0,
    };
    studio.handle_order(Instant::from_millis(5090), hold);
    assert_eq!(run(&mut studio, 8000), []);
}

#[test]
fn who_leaves_a_message_hears_that_the_line_is_alive() {
    let mut studio = Studio::new(4, ANCHOR);
    open(&mut studio, 7, quiet());
    let record = Task::Record {
        file: "a.wav".into(),
        max_ms: 0,
        silence_ms: 0,
        until_key: false,
        beep: Some(beep(100)),
    };
    begin(&mut studio, 0, 7, record);
    let said = said(run(&mut studio, 2000));
    assert_in_time(&said);
    let noises = noises(&said);
    assert_eq!(noises.len(), 4, "{noises:?}");
    let apart = noises.windows(2).map(|two| two[1] - two[0]);
    assert!(apart.clone().all(|ms| ms == 480), "{noises:?}");
    assert!((100..240).contains(&noises[0]), "{noises:?}");
}

#[test]
fn a_room_in_which_nobody_talks_is_told_of_as_silent() {
    let mut studio = Studio::new(4, ANCHOR);
    open(&mut studio, 7, quiet());
    open(&mut studio, 8, format());
    begin(&mut studio, 0, 7, join_board());
    begin(&mut studio, 0, 8, join_board());
    let mut talker = Member::new(8, 0, Coding::Pcma, 500.0);
    let mut encoder = codec::Encoder::new(codec::Codec::Pcma);
    let (mut listened, mut others) = (Vec::new(), 0);
    for ms in 0..4000u64 {
        let now = Instant::from_millis(ms);
        let mut sent = Sent::default();
        if ms % 20 == 0 && (1000..2000).contains(&ms) {
            let mut packet = talker.packet(&mut encoder);
            studio.handle_rtp(now, 8, 0, &mut packet, &mut sent);
        }
        studio.handle_timeout(now, &mut sent);
        for (session, bytes) in sent.0 {
            match session {
                7 => listened.push((ms, bytes)),
                _ => others += 1,
            }
        }
    }
    let listened = said(listened);
    assert_in_time(&listened);
    let sound = listened.iter().filter(|s| s.header.payload_type == 8);
    let spurt: Vec<_> = sound.map(|s| s.ms).collect();
    // What the talker said, and the hang-over behind it.
    assert!((1000..1100).contains(&spurt[0]), "{}", spurt[0]);
    assert!((2250..2450).contains(spurt.last().unwrap()), "{spurt:?}");
    let marked = listened.iter().filter(|s| s.header.marker);
    assert!(marked.map(|s| s.ms).eq([spurt[0]]));
    // Two a second, and one at the beginning of each pause.
    assert!((6..=8).contains(&noises(&listened).len()));
    assert_eq!(others, 199);
}

/// Session 7 speaks for 200 ms, then tells of its noise each 200 ms; what 8 gets.
fn bridged(theirs: Format, ours: Format) -> Vec<Said> {
    let mut studio = Studio::new(4, ANCHOR);
    let payload = match theirs.coding {
        Coding::Pcma => vec![0xd5; 160],
        _ => vec![0xff; 160],
    };
    let voice = theirs.payload_type;
    open(&mut studio, 7, theirs);
    open(&mut studio, 8, ours);
    begin(&mut studio, 0, 7, Task::Bridge { with: 8 });
    begin(&mut studio, 0, 8, Task::Bridge { with: 7 });
    let (mut all, mut number) = (Vec::new(), 0);
    for ms in (0..4000u64).step_by(10) {
        let now = Instant::from_millis(ms);
        let mut sent = Sent::default();
        let what = match ms {
            _ if ms % 20 != 0 => None,
            ..200 | 3000.. => Some((voice, &payload[..])),
            _ if ms % 200 == 0 => Some((COMFORT_NOISE, &[45, 90, 140][..])),
            _ => None,
        };
        if let Some((payload_type, payload)) = what {
            number += 1;
            let mut bytes = packet(number, ms as u32 * 8, 9, payload_type, payload);
            studio.handle_rtp(now, 7, 0, &mut bytes, &mut sent);
        }
        studio.handle_timeout(now, &mut sent);
        let mine = sent.0.into_iter().filter(|(session, _)| *session == 8);
        all.extend(mine.map(|(_, bytes)| (ms, bytes)));
    }
    said(all)
}

fn ulaw(comfort: Option<u8>) -> Format {
    Format {
        coding: Coding::Pcmu,
        payload_type: 0,
        comfort,
        ..format()
    }
}

#[test]
fn noise_of_one_side_of_a_bridge_is_told_to_the_other() {
    // Alike: as it came.
    let through = bridged(quiet(), quiet());
    let numbers = through
        .iter()
        .map(|s| s.header.sequence.wrapping_sub(through[0].header.sequence));
    assert!(numbers.eq(0..through.len() as u16));
    assert_eq!(noises(&through).len(), 14);
    assert_eq!(noises(&through)[0], 200);
    // Written anew: with level and colour, in our own time.
    let written = bridged(quiet(), ulaw(Some(13)));
    let noises: Vec<_> = written
        .iter()
        .filter(|s| s.header.payload_type == 13)
        .collect();
    assert!((6..=7).contains(&noises.len()), "{}", noises.len());
    assert!(noises.iter().all(|s| s.payload == [45, 90, 140]));
    assert!(noises.windows(2).all(|two| two[1].ms - two[0].ms == 480));
    let marked: Vec<_> = written
        .iter()
        .filter(|s| s.header.marker)
        .map(|s| s.ms)
        .collect();
    assert_eq!(marked.len(), 2);
    assert!((3000..3100).contains(&marked[1]), "{marked:?}");
    let sound = written.iter().filter(|s| s.header.payload_type == 0);
    assert!(sound.filter(|s| (300..3000).contains(&s.ms)).count() == 0);
}

/// A gap of seconds would be a dead line to it.
#[test]
fn noise_of_one_side_of_a_bridge_is_sound_where_it_is_not_understood() {
    for ours in [ulaw(None), format()] {
        let written = bridged(quiet(), ours.clone());
        assert!(noises(&written).is_empty());
        let quiet = written.iter().filter(|s| (400..2900).contains(&s.ms));
        let quiet: Vec<_> = quiet.collect();
        assert_eq!(quiet.len(), 125, "{:?}", ours.coding);
        let mut decoder = codec::Decoder::new(ours.coding.into());
        for one in quiet {
            let mut samples = [0; 160];
            decoder.decode(&one.payload, &mut samples);
            let power = activity::mean_square(&samples);
            let level = i32::from(comfort::level_of(power));
            assert!((level - 45).abs() <= 4, "{level} dB at {}", one.ms);
        }
    }
}

/// Who falls silent without a word, as on hold or with a codec that leaves silence out.
#[test]
fn a_side_that_sends_nothing_more_is_noise() {
    let mut studio = Studio::new(4, ANCHOR);
    open(&mut studio, 7, format());
    open(&mut studio, 8, ulaw(Some(13)));
    begin(&mut studio, 0, 7, Task::Bridge { with: 8 });
    begin(&mut studio, 0, 8, Task::Bridge { with: 7 });
    let mut all = Vec::new();
    for ms in (0..4000u64).step_by(20) {
        let now = Instant::from_millis(ms);
        let mut sent = Sent::default();
        if ms < 1000 {
            let number = (ms / 20) as u16;
            let mut bytes = packet(number, ms as u32 * 8, 9, 8, &[0xd4; 160]);
            studio.handle_rtp(now, 7, 0, &mut bytes, &mut sent);
        }
        studio.handle_timeout(now, &mut sent);
        all.extend(sent.0.into_iter().map(|(_, bytes)| (ms, bytes)));
    }
    let said = said(all);
    assert_in_time(&said);
    let noises = noises(&said);
    assert!((1100..1400).contains(&noises[0]), "{noises:?}");
    assert!(noises.windows(2).all(|two| two[1] - two[0] == 480));
    let silent = said.iter().filter(|s| s.ms > noises[0]);
    assert_eq!(silent.count(), noises.len() - 1);
}

/// Telling of silence costs less than saying it, with packets of any length.
#[test]
fn silence_is_never_dearer_than_sound() {
    for packet_ms in [10, 20, 30, 40, 60] {
        let bytes = |comfort| {
            let mut studio = Studio::new(4, ANCHOR);
            let format = Format {
                packet_ms,
                comfort,
                ..format()
            };
            open(&mut studio, 7, format);
            let what = play(vec![Sound::Silence { ms: 6000 }]);
            begin(&mut studio, 0, 7, what);
            let packets = run(&mut studio, 6000);
            packets.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
        };
        assert!(bytes(Some(13)) * 10 < bytes(None), "{packet_ms}");
    }
    let updates = Duration::from_millis(comfort::UPDATE_MS.into());
    assert!(updates < Duration::from_secs(1));
}
