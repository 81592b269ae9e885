//! How many calls one core brings together whose ends write sound otherwise: on one media worker as
//! it runs in the daemon (relay, RTP, RTCP, jitter buffers, concealment, codecs, packets out), both
//! ways, packets of 20 ms, with a clock of our own and without sockets. Packets come up to 10 ms
//! late, and one in 200 not at all. Everybody talks.
//!
//! Run: `cargo bench --bench transcode`, with `--features opus` for Opus. Prints `metric value unit`,
//! one a line: `us` is the time that 20 ms of a call take, `calls` how many of them fill a core. What
//! sockets add is measured by tests/bench/relay.sh: two packets in and two out for each call and 20
//! ms.

mod cpu;
mod phone;

use cpu::cpu;
use phone::{Phone, Sent, settle};
use std::collections::BTreeMap;
use std::time::Duration;
use voip::base::{Anchor, Instant, Rng};
use voip::media::Task;
use voip::relay::RelaySettings;
use voip::server::MediaCore;
use voip::wire::rtp::Coding;

const CALLS: usize = 100;
const ROUNDS: usize = 5;
const LATE_MS: u64 = 10;
const LOST_ONE_IN: u64 = 200;

/// The time that so many seconds of so many calls take.
fn calls(count: usize, seconds: u64, (one, other): (Coding, Coding)) -> Duration {
    let mut rng = Rng::from_u64(7);
    let begin = Instant::from_millis(10_000);
    let anchor = Anchor {
        instant: Instant::ZERO,
        unix_ms: 1_790_000_000_000,
    };
    let mut media = MediaCore::new(RelaySettings::default(), anchor);
    let coding = |n: usize| if n.is_multiple_of(2) { one } else { other };
    let mut phones: Vec<Phone> = (0..2 * count)
        .map(|n| Phone::new(n, coding(n), true, &mut rng))
        .collect();
    for (n, phone) in phones.iter().enumerate() {
        let with = phones[n ^ 1].session();
        phone.call(begin, &mut media, Task::Bridge { with });
    }
    settle(&mut media);
    let (mut taken, mut sent) = (Duration::ZERO, Sent::default());
    let mut coming: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    // The first second is not measured: buffers fill.
    for ms in 0..1000 * (seconds + 1) {
        for phone in phones.iter_mut().filter(|p| p.phase == ms % 20) {
            let packet = phone.packet();
            if !rng.chance(1, LOST_ONE_IN) {
                let arrival = ms + rng.below(LATE_MS);
                let packets = coming.entry(arrival).or_default();
                packets.push((phone.port, phone.address, packet));
            }
        }
        let now = begin + Duration::from_millis(ms);
        let mut packets = coming.remove(&ms).unwrap_or_default();
        let started = cpu();
        for (port, address, packet) in &mut packets {
            media.process(now, *port, *address, packet, &mut sent);
        }
        if media.poll_timeout().is_some_and(|due| due <= now) {
            media.handle_timeout(now, &mut sent);
        }
        if ms >= 1000 {
            taken += cpu() - started;
        }
        settle(&mut media);
    }
    let expected = 2 * count as u64 * 50 * (seconds + 1);
    assert!(sent.packets * 100 >= expected * 98, "packets are missing");
    taken
}

fn main() {
    // `cargo test` runs benches, too, to see that they do.
    let quick = !std::env::args().any(|a| a == "--bench");
    let (count, rounds, seconds) = match quick {
        true => (4, 1, 1),
        false => (CALLS, ROUNDS, 10),
    };
    let pairs = [
        (Coding::Pcmu, Coding::Pcma),
        (Coding::G722, Coding::Pcmu),
        #[cfg(feature = "opus")]
        (Coding::Opus, Coding::Pcmu),
        (Coding::Gsm, Coding::Pcma),
        (Coding::Linear16, Coding::G722),
    ];
    for pair in pairs {
        let best = (0..rounds).map(|_| calls(count, seconds, pair)).min();
        let frames = count as f64 * seconds as f64 * 50.0;
        let us = best.unwrap_or_default().as_secs_f64() * 1e6 / frames;
        let name = format!("{}.{}", pair.0.name(), pair.1.name()).to_ascii_lowercase();
        println!("transcode.{name}.us {us:.2} us");
        println!(
            "transcode.{name}.calls {:.0} calls",
            20_000.0 / us.max(1e-9)
        );
    }
}
