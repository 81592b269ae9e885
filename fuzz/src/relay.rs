//! The relay under packets of all kinds, and under whatever is offered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use voip::base::Instant;
use voip::relay::anchor::{self, Vantage};
use voip::relay::{
    Datagram, Learning, MediaCommand, MediaEvent, PortPool, Relay, RelaySettings, SocketAction,
    Verdict,
};
use voip::wire::rtp::{self, rtcp};
use voip::wire::sdp::Sdp;

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
const OFFER: &[u8] = b"v=0\r\nc=IN IP4 10.0.0.5\r\nm=audio 4000 RTP/AVP 0\r\n";
const ANSWER: &[u8] = b"v=0\r\nc=IN IP4 198.51.100.20\r\nm=audio 5000 RTP/AVP 0\r\n";

/// Packets from here and there at random times: none panics, each is forwarded or counted, and
/// nothing leaves for an address that never spoke nor was described. The bytes are a script:
/// port, source, milliseconds, length, then the packet.
pub fn relay(bytes: &[u8]) {
    if let Ok(sdp) = Sdp::parse(bytes) {
        return anchored(&sdp);
    }
    let (offer, answer) = (Sdp::parse(OFFER), Sdp::parse(ANSWER));
    let (offer, answer) = (offer.expect("sound"), answer.expect("sound"));
    let vantage = |host: [u8; 4], behind_nat| Vantage {
        bind: OURS,
        signalling: Some(host.into()),
        behind_nat,
        learning: Learning::Early,
        local: false,
    };
    let legs = [
        anchor::leg(&offer, &[Some(10_000)], &[], vantage([192, 0, 2, 77], true)),
        anchor::leg(
            &answer,
            &[Some(10_002)],
            &[],
            vantage([198, 51, 100, 20], false),
        ),
    ];
    let mut relay = Relay::new(RelaySettings::default());
    let mut now = Instant::from_millis(1_000);
    let open = MediaCommand::Open {
        session: 1,
        legs: legs.clone(),
    };
    relay.handle_command(now, open);
    sockets(&mut relay);
    assert_eq!(relay.poll_event(), Some(MediaEvent::Opened { session: 1 }));
    let (mut rest, mut sent) = (bytes, 0u64);
    while let [port, source, ms, length, after @ ..] = rest {
        let (packet, after) = after.split_at(after.len().min(usize::from(*length)));
        rest = after;
        now += Duration::from_millis(u64::from(*ms) * 4);
        if port & 0x80 != 0 {
            let legs = legs.clone();
            relay.handle_command(now, MediaCommand::Update { session: 1, legs });
        }
        relay.handle_timeout(now);
        let host: [u8; 4] = match source & 3 {
            0 => [192, 0, 2, 77],
            1 => [198, 51, 100, 20],
            2 => [10, 0, 0, 5],
            _ => [192, 0, 2, *source],
        };
        let source = SocketAddr::from((host, 4_000 + 500 * u16::from(source >> 6)));
        let port = 10_000 + u16::from(port & 3);
        let mut bytes = packet.to_vec();
        let verdict = relay.process(
            now,
            port,
            source,
            &mut Datagram::new(&mut bytes, packet.len()),
        );
        sent += 1;
        if let Verdict::Forward { from_port, to } = verdict {
            assert!((10_000..10_004).contains(&from_port));
            assert!(to.is_ipv4() && to.port() != 0);
        }
        let _ = rtp::Packet::new_checked(packet);
        rtcp::packets(packet).for_each(|packet| packet.reports().for_each(drop));
    }
    while relay.poll_event().is_some() {}
    relay.handle_command(now, MediaCommand::Close { session: 1 });
    let Some(MediaEvent::Closed { legs, .. }) = relay.poll_event() else {
        panic!("closing is answered");
    };
    let passed: u64 = legs.iter().map(|leg| leg.packets_out + leg.rtcp_out).sum();
    let dropped: u64 = legs.iter().map(|leg| leg.dropped_total()).sum();
    assert_eq!(passed + dropped, sent);
}

/// Whatever is offered, the relay opens and closes it without leaving a port behind.
fn anchored(sdp: &Sdp<'_>) {
    let mut pool = PortPool::new(10_000, 10_099, 0, 1);
    let (mut caller, mut called) = (Vec::new(), Vec::new());
    assert!(anchor::reserve(&mut pool, sdp, &mut caller));
    assert!(anchor::reserve(&mut pool, sdp, &mut called));
    let vantage = Vantage {
        bind: OURS,
        signalling: None,
        behind_nat: true,
        learning: Learning::Early,
        local: false,
    };
    let mux = anchor::muxed(sdp, sdp);
    let legs = [
        anchor::leg(sdp, &caller, &mux, vantage),
        anchor::unanswered(sdp, &called, vantage),
    ];
    let mut relay = Relay::new(RelaySettings::default());
    relay.handle_command(Instant::ZERO, MediaCommand::Open { session: 1, legs });
    let mut bound = sockets(&mut relay);
    assert_eq!(relay.poll_event(), Some(MediaEvent::Opened { session: 1 }));
    relay.handle_command(Instant::ZERO, MediaCommand::Close { session: 1 });
    bound += sockets(&mut relay);
    assert_eq!((bound, relay.sessions()), (0, 0));
}

/// Bound less unbound.
fn sockets(relay: &mut Relay) -> i32 {
    std::iter::from_fn(|| relay.poll_socket())
        .map(|action| match action {
            SocketAction::Bind(_) => 1,
            SocketAction::Unbind(_) => -1,
            SocketAction::Listen(_) => 0,
        })
        .sum()
}
