//! What a conference costs: 500 callers of one room at 16 kHz, three of whom talk, on one media
//! worker as it runs in the daemon (relay, RTP, jitter buffers, codecs, mixer, packets out), with a
//! clock of our own and without sockets. `share` is the part of one core that it takes, and
//! `participants` how many of them would fill one.
//!
//! Run: `cargo bench --bench conference`. Prints `metric value unit`, one a line. What sockets add is
//! measured by tests/bench/relay.sh: one packet in and one out for each caller and 20 ms.

mod cpu;

use cpu::cpu;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use voip::base::{Anchor, Instant, Rng};
use voip::media::codec::{Codec, Encoder};
use voip::media::room::{Join, VOLUME_ONE};
use voip::media::{Format, News, Order, Task};
use voip::relay::{LegSpec, MediaCommand, MediaKind, MediaSpec, Relay, RelaySettings};
use voip::server::{Carrier, MediaCore, MediaNews, MediaOrder};
use voip::wire::rtp::{Coding, Header, Wishes};
use voip::wire::sdp::Direction;

const PARTICIPANTS: usize = 500;
const TALKERS: usize = 3;
const ROUNDS: usize = 5;
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FIRST_PORT: u16 = 20_000;

/// Counts what leaves.
#[derive(Default)]
struct Sent {
    packets: u64,
}

impl Carrier for Sent {
    fn carry(&mut self, _: &Relay, _: u16, _: SocketAddr, packet: &[u8]) -> bool {
        self.packets += u64::from(packet.len() > 100);
        true
    }
}

/// One caller's phone. What it says is encoded as it goes: G.722 said over and over would jump where
/// it begins anew.
struct Phone {
    port: u16,
    address: SocketAddr,
    coding: Coding,
    encoder: Encoder,
    rng: Rng,
    loud: f64,
    last: f64,
    said: u32,
    /// In which millisecond of each 20 its packets come.
    phase: u64,
}

impl Phone {
    fn new(n: usize, coding: Coding, rng: &mut Rng) -> Self {
        Self {
            port: FIRST_PORT + 2 * n as u16,
            address: SocketAddr::from(([127, 0, 1, 1], 10_000 + 2 * n as u16)),
            coding,
            encoder: Encoder::new(coding.into()),
            rng: rng.fork(),
            loud: if n < TALKERS { 18_000.0 } else { 9.0 },
            last: 0.0,
            said: 0,
            phase: rng.below(20),
        }
    }

    fn packet(&mut self) -> Vec<u8> {
        let header = Header {
            marker: false,
            payload_type: self.coding.payload_type(),
            sequence: self.said as u16,
            timestamp: self.said * 160,
            ssrc: u32::from(self.port),
        };
        self.said += 1;
        let codec = Codec::from(self.coding);
        let mut samples = vec![0; codec.samples(20)];
        for sample in &mut samples {
            let noise = self.rng.below(65_536) as f64 / 32_768.0 - 1.0;
            self.last = 0.9 * self.last + 0.1 * noise;
            *sample = (self.last * self.loud) as i16;
        }
        let mut payload = vec![0; codec.payload_len(samples.len())];
        self.encoder.encode(&samples, &mut payload);
        [&header.emit()[..], &payload].concat()
    }

    fn call(&self, now: Instant, media: &mut MediaCore) {
        let session = u64::from(self.port);
        let spec = MediaSpec {
            port: self.port,
            rtcp_port: None,
            peer: Some(self.address),
            peer_rtcp: None,
            direction: Direction::SendRecv,
            kind: MediaKind::Rtp,
            clock_rate: 8000,
        };
        let leg = |local, spec| LegSpec {
            bind: HOST,
            signalling: Some(self.address.ip()),
            behind_nat: false,
            local,
            media: vec![Some(spec)],
        };
        let ours = MediaSpec {
            port: self.port + 1,
            peer: None,
            ..spec
        };
        let legs = [leg(false, spec), leg(true, ours)];
        let open = MediaCommand::Open { session, legs };
        media.handle_order(now, MediaOrder::Relay(open));
        let format = Format {
            stream: 0,
            coding: self.coding,
            payload_type: self.coding.payload_type(),
            events: Some(101),
            packet_ms: 20,
            wishes: Wishes::default(),
            sends: true,
            keys: None,
        };
        let seed = session;
        let order = Order::Open {
            session,
            format,
            seed,
        };
        media.handle_order(now, MediaOrder::Studio(order));
        let join = Join {
            room: "board".into(),
            rate: 16_000,
            muted: false,
            deafened: false,
            volume: VOLUME_ONE,
            arrival: Vec::new(),
            farewell: Vec::new(),
        };
        let (task, what) = (1, Task::Join(Box::new(join)));
        let order = Order::Do {
            session,
            task,
            what,
        };
        media.handle_order(now, MediaOrder::Studio(order));
    }
}

fn settle(media: &mut MediaCore) -> usize {
    while media.poll_socket().is_some() {}
    let news = std::iter::from_fn(|| media.poll_news());
    let talks = |news: &MediaNews| {
        assert!(!matches!(news, MediaNews::Studio(News::Failed { .. })));
        matches!(news, MediaNews::Studio(News::Talking { talks: true, .. }))
    };
    news.filter(talks).count()
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
        .map(|n| Phone::new(n, coding(n), &mut rng))
        .collect();
    for phone in &phones {
        phone.call(begin, &mut media);
    }
    let (mut taken, mut sent, mut talking) = (Duration::ZERO, Sent::default(), 0);
    talking += settle(&mut media);
    // The first second is not measured: buffers fill.
    for ms in 0..1000 * (seconds + 1) {
        let now = begin + Duration::from_millis(ms);
        let mut packets = Vec::new();
        for phone in phones.iter_mut().filter(|p| p.phase == ms % 20) {
            packets.push((phone.port, phone.address, phone.packet()));
        }
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
        talking += settle(&mut media);
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
    let mixes: [(&str, Choice); 3] = [
        ("g722", |_| Coding::G722),
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
