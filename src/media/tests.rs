//! The studio without a network.

use super::*;
use crate::base::{Anchor, Instant};
use crate::srtp::{Crypto, MasterKey, OVERHEAD_MAX, Profile, Protector, Unprotector};
use crate::wire::rtp::{Coding, Header, Packet};

mod bridges;
mod farewells;
mod files;
mod silences;
mod tapes;

const ANCHOR: Anchor = Anchor {
    instant: Instant::ZERO,
    unix_ms: 1_790_000_000_000,
};

#[derive(Default)]
struct Sent(Vec<(u64, Vec<u8>)>);

impl Outlet for Sent {
    fn rtp(&mut self, session: u64, _stream: usize, packet: &[u8]) {
        self.0.push((session, packet.to_vec()));
    }

    fn rtcp(&mut self, _session: u64, _stream: usize, _packet: &[u8]) {}
}

fn format() -> Format {
    Format {
        events: Some(101),
        ..Format::plain(Coding::Pcma, 8)
    }
}

fn packet(sequence: u16, timestamp: u32, ssrc: u32, payload_type: u8, body: &[u8]) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type,
        sequence,
        timestamp,
        ssrc,
    };
    [&header.emit()[..], body].concat()
}

#[test]
fn an_echo_keeps_gaps_and_order_under_our_own_name() {
    let mut studio = Studio::new(4, ANCHOR);
    let (now, session) = (Instant::ZERO, 7);
    let seed = 0x0102_0304_0506_0708;
    let format = format();
    studio.handle_order(
        now,
        Order::Open {
            session,
            format,
            seed,
        },
    );
    let mut sent = Sent::default();
    // Before there is a task nothing goes back.
    studio.handle_rtp(now, session, 0, &mut packet(1, 0, 9, 8, b"a"), &mut sent);
    assert!(sent.0.is_empty());
    let what = Task::Echo;
    studio.handle_order(
        now,
        Order::Do {
            session,
            task: 1,
            what,
        },
    );
    for (sequence, timestamp, ssrc) in [
        (10, 1600, 9),
        (12, 1920, 9),
        (11, 1760, 9),
        (500, 77, 10),
        (501, 237, 10),
    ] {
        let mut bytes = packet(sequence, timestamp, ssrc, 8, b"sound");
        studio.handle_rtp(now, session, 0, &mut bytes, &mut sent);
    }
    // An unknown payload type, another stream, another session, garbage.
    studio.handle_rtp(
        now,
        session,
        0,
        &mut packet(13, 2080, 9, 111, b"x"),
        &mut sent,
    );
    studio.handle_rtp(
        now,
        session,
        1,
        &mut packet(13, 2080, 9, 8, b"x"),
        &mut sent,
    );
    studio.handle_rtp(now, 8, 0, &mut packet(13, 2080, 9, 8, b"x"), &mut sent);
    studio.handle_rtp(now, session, 0, &mut [0x80], &mut sent);
    let heads: Vec<Header> = sent
        .0
        .iter()
        .map(|(to, bytes)| {
            let packet = Packet::new_checked(bytes).unwrap();
            assert_eq!((*to, packet.payload()), (session, &b"sound"[..]));
            packet.header()
        })
        .collect();
    let first = heads[0];
    let steps: Vec<(u16, u32)> = heads
        .iter()
        .map(|h| {
            assert_eq!(h.ssrc, first.ssrc);
            (
                h.sequence.wrapping_sub(first.sequence),
                h.timestamp.wrapping_sub(first.timestamp),
            )
        })
        .collect();
    assert_eq!(steps, [(0, 0), (2, 320), (1, 160), (2, 320)]);
    assert_ne!(first.ssrc, 9);
}

fn play(studio: &mut Studio, sounds: Vec<Sound>, rounds: Option<u16>, until_key: bool) {
    let (now, session) = (Instant::ZERO, 7);
    let (format, seed) = (format(), 1);
    studio.handle_order(
        now,
        Order::Open {
            session,
            format,
            seed,
        },
    );
    let what = Task::Play {
        sounds,
        rounds,
        until_key,
    };
    studio.handle_order(
        now,
        Order::Do {
            session,
            task: 3,
            what,
        },
    );
}

/// Lets time pass; the packets, and when each left.
fn run(studio: &mut Studio, until_ms: u64) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(due) = studio.poll_timeout() {
        if due > Instant::from_millis(until_ms) {
            break;
        }
        let mut sent = Sent::default();
        studio.handle_timeout(due, &mut sent);
        all.extend(sent.0.into_iter().map(|(_, b)| (due.as_millis(), b)));
    }
    all
}

fn beep(ms: u32) -> Sound {
    Sound::Tone {
        country: tone::Country::Es,
        tone: tone::Tone::Dial,
        ms: Some(ms),
    }
}

#[test]
fn a_tone_is_said_in_time_and_its_end_told() {
    let mut studio = Studio::new(4, ANCHOR);
    play(
        &mut studio,
        vec![Sound::Silence { ms: 40 }, beep(100)],
        Some(2),
        false,
    );
    let packets = run(&mut studio, 60_000);
    // Twice 140 ms.
    let times: Vec<u64> = packets.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, (0..14).map(|n| n * 20).collect::<Vec<_>>());
    assert_eq!(
        studio.poll_news(),
        Some(News::Done {
            session: 7,
            task: 3,
            played_ms: 280
        })
    );
    assert_eq!(studio.poll_news(), None);
    let mut sound = vec![0; 14 * 160];
    let mut decoder = codec::Decoder::new(codec::Codec::Pcma);
    for (n, (_, bytes)) in packets.iter().enumerate() {
        let packet = Packet::new_checked(bytes).unwrap();
        let header = packet.header();
        assert_eq!((header.payload_type, header.marker), (8, n == 0));
        decoder.decode(packet.payload(), &mut sound[n * 160..]);
    }
    let energy = |from: usize, to: usize| {
        let part = &sound[from * 8..to * 8];
        part.iter().map(|s| i64::from(*s).pow(2)).sum::<i64>() / part.len() as i64
    };
    for start in [0, 140] {
        assert!(energy(start, start + 40) < 100, "silence at {start}");
        assert!(
            energy(start + 50, start + 130) > 1_000_000,
            "a tone behind {start}"
        );
    }
}

#[test]
fn a_key_is_told_once_and_may_end_what_plays() {
    for until_key in [false, true] {
        let mut studio = Studio::new(4, ANCHOR);
        play(&mut studio, vec![beep(1000)], None, until_key);
        let before = run(&mut studio, 500).len();
        assert_eq!(before, 26);
        let mut sent = Sent::default();
        let now = Instant::from_millis(505);
        // "5": two updates and three ends of one event (RFC 4733 §2.5.1.4).
        for (sequence, end, units) in [(1, 0, 160), (2, 0, 320), (3, 0x80, 480), (4, 0x80, 480)] {
            let body = [5, end | 10, (units >> 8) as u8, units as u8];
            let mut bytes = packet(sequence, 8000, 9, 101, &body);
            studio.handle_rtp(now, 7, 0, &mut bytes, &mut sent);
        }
        assert_eq!(
            studio.poll_news(),
            Some(News::Key {
                session: 7,
                key: '5'
            })
        );
        let done = until_key.then_some(News::Done {
            session: 7,
            task: 3,
            played_ms: 520,
        });
        assert_eq!(studio.poll_news(), done);
        let after = run(&mut studio, 1000).len();
        assert_eq!(after, if until_key { 0 } else { 25 });
    }
}

/// A key that came by signalling, which tells of it by itself.
#[test]
fn a_key_beside_the_sound_ends_what_a_key_ends() {
    for until_key in [false, true] {
        let mut studio = Studio::new(4, ANCHOR);
        play(&mut studio, vec![beep(1000)], None, until_key);
        assert_eq!(run(&mut studio, 500).len(), 26);
        studio.handle_order(Instant::from_millis(505), Order::Heard { session: 7 });
        let done = until_key.then_some(News::Done {
            session: 7,
            task: 3,
            played_ms: 520,
        });
        assert_eq!(studio.poll_news(), done);
        assert_eq!(studio.poll_news(), None);
        let after = run(&mut studio, 1000).len();
        assert_eq!(after, if until_key { 0 } else { 25 });
    }
    let mut studio = Studio::new(4, ANCHOR);
    studio.handle_order(Instant::ZERO, Order::Heard { session: 7 });
    assert_eq!(studio.poll_news(), Some(News::Failed { session: 7 }));
}

#[test]
fn what_plays_is_silent_on_hold_and_goes_on_behind_it() {
    let mut studio = Studio::new(4, ANCHOR);
    play(&mut studio, vec![beep(2000)], Some(1), false);
    let first = run(&mut studio, 500);
    let hold = |sends| Order::Open {
        session: 7,
        format: Format { sends, ..format() },
        seed: 9,
    };
    studio.handle_order(Instant::from_millis(505), hold(false));
    assert!(run(&mut studio, 1000).is_empty());
    studio.handle_order(Instant::from_millis(1005), hold(true));
    let last = run(&mut studio, 3000);
    assert_eq!((first.len(), last.len()), (26, 49));
    let head = |bytes: &[u8]| Packet::new_checked(bytes).unwrap().header();
    let (before, after) = (head(&first[25].1), head(&last[0].1));
    assert_eq!(before.ssrc, after.ssrc);
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    // The time of the pause is in the timestamps.
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 26 * 160);
    assert!(after.marker);
}

#[test]
fn lists_without_sound_end() {
    for sounds in [vec![], vec![Sound::Silence { ms: 0 }]] {
        let mut studio = Studio::new(4, ANCHOR);
        play(&mut studio, sounds, Some(3), false);
        assert!(run(&mut studio, 1000).len() <= 3);
        assert_eq!(
            studio.poll_news(),
            Some(News::Done {
                session: 7,
                task: 3,
                played_ms: 0
            })
        );
    }
}

#[test]
fn a_late_clock_does_not_bring_a_burst() {
    let mut studio = Studio::new(4, ANCHOR);
    play(&mut studio, vec![beep(10_000)], Some(1), false);
    let mut sent = Sent::default();
    // Five seconds late: at most as many packets as may be late.
    let now = Instant::from_millis(5000);
    for _ in 0..500 {
        studio.handle_timeout(now, &mut sent);
    }
    assert!(sent.0.len() <= 11, "{}", sent.0.len());
}

/// A secure leg hears nothing but what its far end's key made, and says nothing in the clear; a new
/// description with the same keys goes on where it was.
#[test]
fn a_secure_leg_speaks_and_hears_by_its_keys_alone() {
    let key = |fill: u8| Crypto {
        tag: 1,
        master: MasterKey::generate(Profile::AesCm128HmacSha1_80, |bytes| bytes.fill(fill)),
        lifetime: None,
        mki: None,
    };
    let (ours, theirs) = (key(1), key(2));
    let mut far_out = Protector::new(&theirs.master, None, None);
    let mut far_in = Unprotector::new(&ours.master, None, None);
    let keys = Keys {
        ours: ours.to_string().into(),
        theirs: theirs.to_string().into(),
    };
    let open = || Order::Open {
        session: 7,
        format: Format {
            keys: Some(keys.clone()),
            ..format()
        },
        seed: 1,
    };
    let mut studio = Studio::new(4, ANCHOR);
    let now = Instant::ZERO;
    let (session, task, what) = (7, 1, Task::Echo);
    studio.handle_order(now, open());
    studio.handle_order(
        now,
        Order::Do {
            session,
            task,
            what,
        },
    );
    let mut sent = Sent::default();
    // In the clear.
    studio.handle_rtp(now, 7, 0, &mut packet(1, 0, 9, 8, b"secret"), &mut sent);
    assert!(sent.0.is_empty());
    for sequence in [1, 2, 3] {
        let mut bytes = packet(sequence, u32::from(sequence) * 160, 9, 8, b"secret");
        let length = bytes.len();
        bytes.resize(length + OVERHEAD_MAX, 0);
        let length = far_out.protect_rtp(&mut bytes, length).unwrap();
        let mut again = bytes[..length].to_vec();
        studio.handle_rtp(now, 7, 0, &mut bytes[..length], &mut sent);
        // A copy of it changes nothing.
        studio.handle_rtp(now, 7, 0, &mut again, &mut sent);
        studio.handle_order(now, open());
    }
    assert_eq!(sent.0.len(), 3);
    for (_, bytes) in &mut sent.0 {
        assert!(!bytes.windows(6).any(|part| part == b"secret"));
        let length = far_in.unprotect_rtp(bytes).unwrap();
        let packet = Packet::new_checked(&bytes[..length]).unwrap();
        assert_eq!(packet.payload(), b"secret");
    }
    // Without keys that can be read nothing leaves.
    let format = Format {
        keys: Some(Keys {
            ours: "nonsense".into(),
            ..keys.clone()
        }),
        ..format()
    };
    let mut studio = Studio::new(4, ANCHOR);
    let seed = 1;
    studio.handle_order(
        now,
        Order::Open {
            session,
            format,
            seed,
        },
    );
    let what = Task::Play {
        sounds: vec![beep(1000)],
        rounds: Some(1),
        until_key: false,
    };
    studio.handle_order(
        now,
        Order::Do {
            session,
            task,
            what,
        },
    );
    assert!(run(&mut studio, 2000).is_empty());
}

/// Into a room, to hear and be heard as all are.
fn join_board() -> Task {
    Task::Join(Box::new(room::Join {
        room: "board".into(),
        rate: 16_000,
        muted: false,
        deafened: false,
        volume: room::VOLUME_ONE,
        arrival: Vec::new(),
        farewell: Vec::new(),
        name: None,
    }))
}

/// A leg of a room, as its phone sees it.
struct Member {
    session: u64,
    worker: usize,
    format: Format,
    hz: f32,
    sequence: u16,
    heard: Vec<i16>,
    decoder: codec::Decoder,
}

impl Member {
    fn new(session: u64, worker: usize, coding: Coding, hz: f32) -> Self {
        Self {
            session,
            worker,
            format: Format {
                coding,
                payload_type: coding.payload_type(),
                ..format()
            },
            hz,
            sequence: 0,
            heard: Vec::new(),
            decoder: codec::Decoder::new(coding.into()),
        }
    }

    fn rate(&self) -> u32 {
        codec::Codec::from(self.format.coding).sample_rate()
    }

    /// The next 20 ms of its tone.
    fn packet(&mut self, encoder: &mut codec::Encoder) -> Vec<u8> {
        let codec = codec::Codec::from(self.format.coding);
        let length = codec.samples(20);
        let at = usize::from(self.sequence) * length;
        let angle = std::f32::consts::TAU * self.hz / self.rate() as f32;
        let tone = |n: usize| (3000.0 * (angle * n as f32).sin()) as i16;
        let samples: Vec<i16> = (at..at + length).map(tone).collect();
        let mut payload = vec![0; codec.payload_len(length)];
        encoder.encode(&samples, &mut payload);
        let timestamp = u32::from(self.sequence) * codec.ticks(20);
        self.sequence += 1;
        let (sequence, pt) = (self.sequence, self.format.payload_type);
        packet(sequence, timestamp, self.session as u32, pt, &payload)
    }

    fn level(&self, hz: f32) -> f32 {
        let half = self.rate() as usize / 2;
        goertzel::amplitude(&self.heard[self.heard.len() - half..], hz, self.rate())
    }
}

/// Three workers, each with its own legs and its own clock within a frame, share a room.
#[test]
fn legs_of_several_workers_meet_in_one_room() {
    let rooms = std::sync::Arc::new(room::Rooms::new());
    let mut studios: Vec<Studio> = (0..3).map(|_| Studio::new(8, ANCHOR)).collect();
    let mut members = [
        Member::new(7, 0, Coding::Pcma, 500.0),
        Member::new(7, 1, Coding::G722, 800.0),
        Member::new(9, 2, Coding::Pcmu, 1100.0),
        Member::new(11, 0, Coding::Gsm, 1400.0),
    ];
    let mut encoders: Vec<_> = members
        .iter()
        .map(|m| codec::Encoder::new(m.format.coding.into()))
        .collect();
    let begin = Instant::from_millis(12_345);
    for studio in &mut studios {
        studio.share(std::sync::Arc::clone(&rooms));
    }
    for member in &members {
        let (session, format) = (member.session, member.format.clone());
        let studio = &mut studios[member.worker];
        let seed = session;
        studio.handle_order(
            begin,
            Order::Open {
                session,
                format,
                seed,
            },
        );
        let what = join_board();
        let task = 1;
        studio.handle_order(
            begin,
            Order::Do {
                session,
                task,
                what,
            },
        );
    }
    let mut talking = 0;
    for ms in 0..2_000u64 {
        let now = begin + std::time::Duration::from_millis(ms);
        if ms == 1_000 {
            // The second is not heard any more, and one is held, and may send music.
            let session = members[1].session;
            let what = room::RoomOrder::Mute(true);
            studios[1].handle_order(now, Order::Room { session, what });
            members[3].format.sends = false;
            let (session, format) = (members[3].session, members[3].format.clone());
            let seed = 0;
            studios[0].handle_order(
                now,
                Order::Open {
                    session,
                    format,
                    seed,
                },
            );
        }
        for (worker, studio) in studios.iter_mut().enumerate() {
            let mut sent = Sent::default();
            for (member, encoder) in members.iter_mut().zip(&mut encoders) {
                if member.worker == worker && ms % 20 == member.session % 20 {
                    let mut packet = member.packet(encoder);
                    studio.handle_rtp(now, member.session, 0, &mut packet, &mut sent);
                }
            }
            studio.handle_timeout(now, &mut sent);
            for (session, bytes) in sent.0 {
                let mut here = members.iter_mut().filter(|m| m.worker == worker);
                let member = here.find(|m| m.session == session).unwrap();
                let packet = Packet::new_checked(&bytes).unwrap();
                let mut samples = [0; 320];
                let count = member.decoder.decode(packet.payload(), &mut samples);
                member.heard.extend_from_slice(&samples[..count]);
            }
            talking += std::iter::from_fn(|| studio.poll_news())
                .filter(|news| matches!(news, News::Talking { talks: true, .. }))
                .count();
        }
        if ms == 999 || ms == 1_999 {
            let later = ms > 1_000;
            for (n, member) in members.iter().enumerate().take(if later { 3 } else { 4 }) {
                for (other, speaker) in members.iter().enumerate() {
                    let level = member.level(speaker.hz);
                    let silent = n == other || later && (other == 1 || other == 3);
                    match silent {
                        true => assert!(level < 100.0, "{ms} {n} {other} {level}"),
                        false => assert!(level > 1500.0, "{ms} {n} {other} {level}"),
                    }
                }
            }
        }
    }
    assert_eq!(talking, 4);
    // Each packet of a leg came in its time: fifty a second.
    assert!((98..=100).contains(&(members[0].heard.len() / 160)));
    for member in &members {
        let session = member.session;
        studios[member.worker].handle_order(begin, Order::Close { session });
    }
    assert!(rooms.is_empty());
}
