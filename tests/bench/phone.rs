//! A caller of the benches: a phone with a codec, whose leg ends at a media worker as it runs in the
//! daemon.

use crate::cpu::cpu;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use voip::base::{Instant, Rng};
use voip::media::codec::{Codec, Encoder};
use voip::media::{Format, News, Order, Task};
use voip::relay::{
    Blocked, Datagram, Learning, LegSpec, MediaCommand, MediaKind, MediaSpec, Relay,
};
use voip::server::{Carrier, MediaCore, MediaNews, MediaOrder};
use voip::wire::rtp::{Coding, Header};
use voip::wire::sdp::Direction;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FIRST_PORT: u16 = 20_000;

/// Counts what leaves.
#[derive(Default)]
pub struct Sent {
    /// Packets of sound.
    pub packets: u64,
}

impl Carrier for Sent {
    fn carry(&mut self, _: &Relay, _: u16, _: SocketAddr, packet: &[u8]) -> bool {
        self.packets += u64::from(packet.len() > 40);
        true
    }
}

/// One caller's phone. What it says is encoded as it goes: G.722 said over and over would jump where
/// it begins anew.
pub struct Phone {
    /// Ours.
    pub port: u16,
    /// Its own.
    pub address: SocketAddr,
    coding: Coding,
    encoder: Encoder,
    rng: Rng,
    loud: f64,
    last: f64,
    said: u32,
    /// In which millisecond of each 20 its packets come.
    pub phase: u64,
}

impl Phone {
    /// The phone of that number, which talks or hisses.
    pub fn new(n: usize, coding: Coding, talks: bool, rng: &mut Rng) -> Self {
        Self {
            port: FIRST_PORT + 2 * n as u16,
            address: SocketAddr::from(([127, 0, 1, 1], 10_000 + 2 * n as u16)),
            coding,
            encoder: Encoder::new(Codec::at(coding, u32::MAX)),
            rng: rng.fork(),
            loud: if talks { 18_000.0 } else { 9.0 },
            last: 0.0,
            said: 0,
            phase: rng.below(20),
        }
    }

    /// Its next packet.
    pub fn packet(&mut self) -> Vec<u8> {
        let codec = Codec::at(self.coding, u32::MAX);
        let header = Header {
            marker: false,
            payload_type: self.coding.payload_type(),
            sequence: self.said as u16,
            timestamp: self.said * codec.ticks(20),
            ssrc: u32::from(self.port),
        };
        self.said += 1;
        let mut samples = vec![0; codec.samples(20)];
        for sample in &mut samples {
            let noise = self.rng.below(65_536) as f64 / 32_768.0 - 1.0;
            self.last = 0.9 * self.last + 0.1 * noise;
            *sample = (self.last * self.loud) as i16;
        }
        let mut payload = vec![0; codec.payload_len(samples.len())];
        let length = self.encoder.encode(&samples, &mut payload);
        payload.truncate(length);
        [&header.emit()[..], &payload].concat()
    }

    /// Its session.
    pub fn session(&self) -> u64 {
        u64::from(self.port)
    }

    /// A leg for it, and what it does.
    pub fn call(&self, now: Instant, media: &mut MediaCore, what: Task) {
        let session = self.session();
        let spec = MediaSpec {
            port: self.port,
            rtcp_port: None,
            peer: Some(self.address),
            peer_rtcp: None,
            direction: Direction::SendRecv,
            kind: MediaKind::Rtp,
            clock_rate: self.coding.clock_rate(),
            blocked: Blocked::NONE,
            tapped: false,
        };
        let leg = |local, spec| LegSpec {
            bind: HOST,
            signalling: Some(self.address.ip()),
            behind_nat: false,
            learning: Learning::Early,
            local,
            media: vec![Some(spec)],
            keys: Vec::new(),
            ice: None,
        };
        let ours = MediaSpec {
            port: self.port + 1,
            peer: None,
            ..spec
        };
        let legs = [leg(false, spec), leg(true, ours)];
        let open = MediaCommand::Open { session, legs };
        media.handle_order(now, MediaOrder::Relay(open), &mut Sent::default());
        let format = Format {
            events: Some(101),
            ..Format::plain(self.coding, self.coding.payload_type())
        };
        let seed = session;
        let order = Order::Open {
            session,
            format,
            seed,
        };
        media.handle_order(now, MediaOrder::Studio(order), &mut Sent::default());
        let task = 1;
        let order = Order::Do {
            session,
            task,
            what,
        };
        media.handle_order(now, MediaOrder::Studio(order), &mut Sent::default());
    }
}

/// The turn of a core at a moment: what came for it, by port and sender, and what is due. The
/// processor time that it took.
pub fn serve(
    media: &mut MediaCore,
    now: Instant,
    packets: &mut [(u16, SocketAddr, Vec<u8>)],
    sent: &mut Sent,
) -> Duration {
    let started = cpu();
    for (port, address, packet) in packets {
        let length = packet.len();
        let packet = &mut Datagram::new(packet, length);
        media.process(now, *port, *address, packet, sent);
    }
    if media.poll_timeout().is_some_and(|due| due <= now) {
        media.handle_timeout(now, sent);
    }
    cpu() - started
}

/// Does what the worker asks for, and gives its news.
pub fn settle(media: &mut MediaCore) -> Vec<MediaNews> {
    while media.poll_socket().is_some() {}
    let news: Vec<_> = std::iter::from_fn(|| media.poll_news()).collect();
    let failed = |news: &MediaNews| matches!(news, MediaNews::Studio(News::Failed { .. }));
    assert!(!news.iter().any(failed));
    news
}
