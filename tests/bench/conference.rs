//! What a conference costs: 500 callers of one room at 16 kHz, three of whom talk, on one media
//! worker as it runs in the daemon (relay, RTP, jitter buffers, codecs, mixer, packets out), with a
//! clock of our own and without sockets. `share` is the part of one core that it takes, and
//! `participants` how many of them would fill one.
//!
//! Run: `cargo bench --bench conference`. Prints `metric value unit`, one a line. What sockets add is
//! measured by tests/bench/relay.sh: one packet in and one out for each caller and 20 ms.

mod cpu;
mod phone;

use phone::{Phone, Sent, serve, settle};
use std::time::Duration;
use voip::base::{Anchor, Instant, Rng};
use voip::media::room::{Join, VOLUME_ONE};
use voip::media::{News, Task};
use voip::relay::RelaySettings;
use voip::server::{MediaCore, MediaNews};
use voip::wire::rtp::Coding;

const PARTICIPANTS: usize = 500;
const TALKERS: usize = 3;
const ROUNDS: usize = 5;

fn board() -> Task {
    Task::Join(Box::new(Join {
        room: "board".into(),
        rate: 16_000,
        muted: false,
        deafened: false,
        volume: VOLUME_ONE,
        arrival: Vec::new(),
        farewell: Vec::new(),
        name: None,
    }))
}

/// How many began to talk.
fn began(news: &[MediaNews]) -> usize {
    let talks =
        |news: &&MediaNews| matches!(news, MediaNews::Studio(News::Talking { talks: true, .. }));
    news.iter().filter(talks).count()
}

/// The time that so many seconds of a conference take.
fn conference(participants: usize, seconds: u64, coding: impl Fn(usize) -> Coding) -> Duration {
    let mut rng = Rng::from_u64(7);
    let begin = Instant::from_millis(10_000);
    let anchor = Anchor {
        instant: Instant::ZERO,
        unix_ms: 1_790_000_000_000,
    };
    let mut media = MediaCore::new(RelaySettings::default(), anchor);
    let mut phones: Vec<Phone> = (0..participants)
        .map(|n| Phone::new(n, coding(n), n < TALKERS, &mut rng))
        .collect();
    for phone in &phones {
        phone.call(begin, &mut media, board());
    }
    let (mut taken, mut sent, mut talking) = (Duration::ZERO, Sent::default(), 0);
    talking += began(&settle(&mut media));
    // The first second is not measured: buffers fill.
    for ms in 0..1000 * (seconds + 1) {
        let now = begin + Duration::from_millis(ms);
        let mut packets = Vec::new();
        for phone in phones.iter_mut().filter(|p| p.phase == ms % 20) {
            packets.push((phone.port, phone.address, phone.packet()));
        }
        let used = serve(&mut media, now, &mut packets, &mut sent);
        if ms >= 1000 {
            taken += used;
        }
        talking += began(&settle(&mut media));
    }
    assert_eq!(talking, TALKERS, "each began to talk, and nobody else");
    let expected = participants as u64 * 50 * (seconds + 1);
    assert!(
        sent.packets + 2 * participants as u64 >= expected,
        "packets are missing"
    );
    taken
}

fn main() {
    // `cargo test` runs benches, too, to see that they do.
    let quick = !std::env::args().any(|a| a == "--bench");
    let (participants, rounds, seconds) = match quick {
        true => (20, 1, 1),
        false => (PARTICIPANTS, ROUNDS, 10),
    };
    type Choice = fn(usize) -> Coding;
    let mixes: &[(&str, Choice)] = &[
        ("g722", |_| Coding::G722),
        #[cfg(feature = "opus")]
        ("opus", |_| Coding::Opus),
        ("pcma", |_| Coding::Pcma),
        ("mixed", |n| Coding::ALL[n % 3]),
    ];
    for (name, coding) in mixes {
        let best = (0..rounds)
            .map(|_| conference(participants, seconds, coding))
            .min();
        let share = best.unwrap_or_default().as_secs_f64() / seconds as f64;
        println!(
            "conference.{PARTICIPANTS}.{name}.share {:.1} %",
            share * 100.0
        );
        let fill = participants as f64 / share.max(1e-9);
        println!("conference.{name}.participants {fill:.0}");
    }
}
