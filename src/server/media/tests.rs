//! Legs that end here behind the relay's ports.

use super::*;
use crate::media::{Format, Sound, Task};
use crate::relay::{Blocked, Learning, LegSpec, MediaKind, MediaSpec};
use crate::wire::rtp::{Coding, Packet, rtcp};
use crate::wire::sdp::Direction;
use std::net::{IpAddr, Ipv4Addr};

const ANCHOR: Anchor = Anchor {
    instant: Instant::ZERO,
    unix_ms: 1_790_000_000_000,
};
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PORT: u16 = 20_000;

/// Port, destination and bytes of what left.
#[derive(Default)]
struct Left(Vec<(u16, SocketAddr, Vec<u8>)>);

impl Carrier for Left {
    fn carry(&mut self, _: &Relay, from_port: u16, to: SocketAddr, packet: &[u8]) -> bool {
        self.0.push((from_port, to, packet.to_vec()));
        true
    }
}

/// A call of this session that ends here, and hears music.
fn call(media: &mut MediaCore, session: u64, far: SocketAddr) {
    let spec = MediaSpec {
        port: PORT,
        rtcp_port: Some(PORT + 1),
        peer: Some(far),
        peer_rtcp: Some((far.ip(), far.port() + 1).into()),
        direction: Direction::SendRecv,
        kind: MediaKind::Rtp,
        clock_rate: 8000,
        blocked: Blocked::NONE,
        tapped: false,
    };
    let ours = MediaSpec {
        port: PORT + 2,
        rtcp_port: None,
        peer: None,
        peer_rtcp: None,
        ..spec
    };
    let leg = |local, spec| LegSpec {
        bind: HERE,
        signalling: Some(far.ip()),
        behind_nat: false,
        learning: Learning::Early,
        local,
        media: vec![Some(spec)],
        keys: Vec::new(),
        ice: None,
    };
    let legs = [leg(false, spec), leg(true, ours)];
    let format = Format::plain(Coding::Pcma, 8);
    let open = Order::Open {
        session,
        format,
        seed: 9,
    };
    let play = Order::Do {
        session,
        task: 1,
        what: Task::Play {
            sounds: vec![Sound::Music],
            rounds: None,
            until_key: false,
        },
    };
    let orders = [
        MediaOrder::Relay(MediaCommand::Open { session, legs }),
        MediaOrder::Studio(open),
        MediaOrder::Studio(play),
    ];
    for order in orders {
        media.handle_order(Instant::ZERO, order, &mut Left::default());
    }
    while media.poll_socket().is_some() {}
}

#[test]
fn a_call_that_ends_here_says_goodbye_before_its_ports_go() {
    let mut media = MediaCore::new(RelaySettings::default(), ANCHOR);
    let far: SocketAddr = "127.0.0.1:4000".parse().unwrap();
    let session = 3;
    call(&mut media, session, far);
    let mut left = Left::default();
    media.handle_timeout(Instant::from_millis(100), &mut left);
    let sound = left.0.iter().find(|(_, to, _)| *to == far).unwrap();
    let ssrc = Packet::new_checked(&sound.2).unwrap().header().ssrc;
    let mut left = Left::default();
    let close = MediaOrder::Relay(MediaCommand::Close { session });
    media.handle_order(Instant::from_millis(110), close, &mut left);
    let [(from, to, bytes)] = &left.0[..] else {
        panic!("{} packets left", left.0.len());
    };
    assert_eq!((*from, to.port()), (PORT + 1, 4001));
    let leaving: Vec<_> = rtcp::packets(bytes).flat_map(|p| p.leaving()).collect();
    assert_eq!(leaving, [ssrc]);
    assert_eq!((media.legs(), media.sessions()), (0, 0));
}
