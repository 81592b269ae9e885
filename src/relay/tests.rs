//! Two phones, a relay between them, and whoever else sends packets.

use super::*;
use crate::base::{Instant, Rng};
use crate::wire::rtp::{Header, rtcp};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(super) const OURS: &str = "203.0.113.1";
pub(super) const SESSION: u64 = 7;
/// Our ports: toward the caller, toward the called.
pub(super) const PORTS: [u16; 2] = [16384, 16386];
/// Where the phones' descriptions say they are.
pub(super) const PHONES: [&str; 2] = ["198.51.100.10:4000", "198.51.100.20:5000"];

pub(super) fn at(ms: u64) -> Instant {
    Instant::from_millis(1_000_000 + ms)
}

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type: 0,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc,
    };
    let mut packet = header.emit().to_vec();
    packet.resize(172, 0xd5);
    packet
}

fn leg(port: u16, peer: &str) -> LegSpec {
    let peer = addr(peer);
    LegSpec {
        bind: match peer.is_ipv4() {
            true => ip(OURS),
            false => ip("2001:db8::1"),
        },
        signalling: Some(peer.ip()),
        behind_nat: false,
        learning: Learning::Early,
        local: false,
        media: vec![Some(MediaSpec {
            port,
            rtcp_port: Some(port + 1),
            peer: Some(peer),
            peer_rtcp: Some((peer.ip(), peer.port() + 1).into()),
            direction: Direction::SendRecv,
            kind: MediaKind::Rtp,
            clock_rate: 8000,
            blocked: Blocked::NONE,
            tapped: false,
        })],
        keys: Vec::new(),
        ice: None,
    }
}

pub(super) fn legs() -> [LegSpec; 2] {
    [leg(PORTS[0], PHONES[0]), leg(PORTS[1], PHONES[1])]
}

/// The caller sits behind a NAT at 192.0.2.77 and calls itself 10.0.0.5.
fn nat_legs() -> [LegSpec; 2] {
    let mut legs = [leg(PORTS[0], "10.0.0.5:4000"), leg(PORTS[1], PHONES[1])];
    legs[0].behind_nat = true;
    legs[0].signalling = Some(ip("192.0.2.77"));
    legs
}

fn first(legs: &mut [LegSpec; 2], side: usize) -> &mut MediaSpec {
    legs[side].media[0].as_mut().unwrap()
}

pub(super) struct World {
    pub(super) relay: Relay,
    bound: Vec<SocketAddr>,
    /// Ports that somebody else holds.
    taken: Vec<u16>,
    /// Ports that were opened to all.
    opened: Vec<u16>,
    events: Vec<MediaEvent>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            relay: Relay::new(RelaySettings::default()),
            bound: Vec::new(),
            taken: Vec::new(),
            opened: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn open(legs: [LegSpec; 2]) -> Self {
        let mut world = Self::new();
        let session = SESSION;
        world.command(at(0), MediaCommand::Open { session, legs });
        assert_eq!(world.events, [MediaEvent::Opened { session }]);
        world.events.clear();
        world
    }

    pub(super) fn command(&mut self, now: Instant, command: MediaCommand) {
        self.relay.handle_command(now, command);
        self.drain();
    }

    pub(super) fn update(&mut self, now: Instant, legs: [LegSpec; 2]) {
        let session = SESSION;
        self.command(now, MediaCommand::Update { session, legs });
        assert_eq!(self.events, []);
    }

    fn drain(&mut self) {
        while let Some(action) = self.relay.poll_socket() {
            match action {
                SocketAction::Bind(address) if self.taken.contains(&address.port()) => {
                    self.relay.bind_failed(address.port(), BindError::Refused);
                }
                SocketAction::Unbind(port) if self.taken.contains(&port) => {}
                SocketAction::Bind(address) => {
                    let taken = self.bound.iter().any(|b| b.port() == address.port());
                    assert!(!taken, "{address} bound twice");
                    self.bound.push(address);
                }
                SocketAction::Unbind(port) => {
                    let before = self.bound.len();
                    self.bound.retain(|b| b.port() != port);
                    assert_eq!(self.bound.len() + 1, before, "{port} was not bound");
                }
                SocketAction::Listen(port) => self.opened.push(port),
            }
        }
        while let Some(event) = self.relay.poll_event() {
            self.events.push(event);
        }
    }

    pub(super) fn packet(
        &mut self,
        now: Instant,
        port: u16,
        source: &str,
        mut bytes: Vec<u8>,
    ) -> Verdict {
        let length = bytes.len();
        let mut packet = Datagram::new(&mut bytes, length);
        self.relay.process(now, port, addr(source), &mut packet)
    }

    pub(super) fn stats(&mut self, now: Instant) -> [LegStats; 2] {
        self.command(now, MediaCommand::Query { session: SESSION });
        match self.events.pop() {
            Some(MediaEvent::Report { legs, .. }) => *legs,
            other => panic!("{other:?}"),
        }
    }

    /// Lets time pass up to `until`, and gives what was said.
    pub(super) fn pass(&mut self, until: Instant) -> Vec<MediaEvent> {
        while let Some(due) = self.relay.poll_timeout().filter(|due| *due <= until) {
            self.relay.handle_timeout(due);
        }
        self.drain();
        std::mem::take(&mut self.events)
    }
}

pub(super) fn to(from_port: u16, address: &str) -> Verdict {
    Verdict::Forward {
        from_port,
        to: addr(address),
    }
}

pub(super) const STRAY: Verdict = Verdict::Drop(DropReason::Stray);
const PROBATION: Verdict = Verdict::Drop(DropReason::Probation);

#[test]
fn packets_pass_both_ways_and_close_frees_the_ports() {
    let mut w = World::open(legs());
    assert_eq!(w.bound.len(), 4);
    assert_eq!(
        w.packet(at(1), PORTS[0], PHONES[0], rtp(1, 1)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(
        w.packet(at(2), PORTS[1], PHONES[1], rtp(2, 1)),
        to(PORTS[0], PHONES[0])
    );
    w.command(at(3), MediaCommand::Close { session: SESSION });
    let [MediaEvent::Closed { legs, .. }] = &w.events[..] else {
        panic!("{:?}", w.events)
    };
    assert_eq!((legs[0].packets_in, legs[0].packets_out), (1, 1));
    assert_eq!((legs[1].bytes_in, legs[1].bytes_out), (172, 172));
    assert!(w.bound.is_empty());
    let gone = w.packet(at(4), PORTS[0], PHONES[0], rtp(1, 2));
    assert_eq!(gone, Verdict::Drop(DropReason::NoSession));
    assert_eq!((w.relay.no_session(), w.relay.sessions()), (1, 0));
}

#[test]
fn a_locked_port_hears_nobody_else() {
    let mut w = World::open(legs());
    w.packet(at(1), PORTS[0], PHONES[0], rtp(1, 1));
    for source in ["198.51.100.10:4002", "198.51.100.99:4000", "192.0.2.1:4000"] {
        assert_eq!(w.packet(at(2), PORTS[0], source, rtp(1, 2)), STRAY);
        assert_eq!(w.packet(at(60_000), PORTS[0], source, rtp(9, 2)), STRAY);
    }
    let back = w.packet(at(60_001), PORTS[1], PHONES[1], rtp(2, 1));
    assert_eq!(back, to(PORTS[0], PHONES[0]));
    let [caller, _] = w.stats(at(60_002));
    assert_eq!(caller.dropped[DropReason::Stray.index()], 6);
    assert_eq!((caller.packets_in, caller.source_changes), (1, 0));
}

#[test]
fn strangers_before_the_peer_are_not_learned() {
    let mut w = World::open(legs());
    for n in 0..20 {
        assert_eq!(
            w.packet(at(n), PORTS[0], "192.0.2.1:4000", rtp(9, n as u16)),
            STRAY
        );
    }
    assert_eq!(
        w.packet(at(21), PORTS[0], PHONES[0], rtp(1, 1)),
        to(PORTS[1], PHONES[1])
    );
}

#[test]
fn another_port_of_the_described_host_is_learned_until_the_described_one_speaks() {
    let mut w = World::open(legs());
    let odd = "198.51.100.10:40000";
    assert_eq!(
        w.packet(at(1), PORTS[0], odd, rtp(1, 1)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(
        w.packet(at(2), PORTS[1], PHONES[1], rtp(2, 1)),
        to(PORTS[0], odd)
    );
    // A second such port does not take over while the first one speaks.
    assert_eq!(
        w.packet(at(3), PORTS[0], "198.51.100.10:40002", rtp(1, 2)),
        STRAY
    );
    assert_eq!(
        w.packet(at(4), PORTS[0], PHONES[0], rtp(1, 2)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(w.packet(at(5), PORTS[0], odd, rtp(1, 3)), STRAY);
    assert_eq!(
        w.packet(at(6), PORTS[1], PHONES[1], rtp(2, 2)),
        to(PORTS[0], PHONES[0])
    );
}

#[test]
fn after_the_window_the_described_address_does_not_displace_what_was_learned() {
    let mut w = World::open(legs());
    let odd = "198.51.100.10:40000";
    w.packet(at(1), PORTS[0], odd, rtp(1, 1));
    assert_eq!(w.packet(at(3001), PORTS[0], PHONES[0], rtp(1, 2)), STRAY);
    assert_eq!(
        w.packet(at(3002), PORTS[0], odd, rtp(1, 2)),
        to(PORTS[1], PHONES[1])
    );
}

#[test]
fn a_phone_that_talks_late_is_heard_and_a_stranger_is_not() {
    let mut w = World::open(nat_legs());
    for n in 0..8 {
        assert_eq!(
            w.packet(at(9000 + n), PORTS[0], "192.0.2.1:9", rtp(9, n as u16)),
            STRAY
        );
    }
    let phone = "192.0.2.77:61000";
    assert_eq!(
        w.packet(at(10_000), PORTS[0], phone, rtp(1, 1)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(
        w.packet(at(10_001), PORTS[0], "192.0.2.77:61001", rtp(1, 2)),
        STRAY
    );
}

#[test]
fn behind_a_nat_the_signalling_host_comes_first() {
    let mut w = World::open(nat_legs());
    // Until it speaks, packets go to the port it described at the host it signals from.
    let early = w.packet(at(0), PORTS[1], PHONES[1], rtp(2, 1));
    assert_eq!(early, to(PORTS[0], "192.0.2.77:4000"));
    let phone = "192.0.2.77:61000";
    assert_eq!(
        w.packet(at(1), PORTS[0], phone, rtp(1, 1)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(
        w.packet(at(2), PORTS[1], PHONES[1], rtp(2, 2)),
        to(PORTS[0], phone)
    );
    for n in 0..8 {
        assert_eq!(
            w.packet(at(3 + n), PORTS[0], "192.0.2.1:9", rtp(9, n as u16)),
            STRAY
        );
    }
}

#[test]
fn behind_a_nat_any_source_must_prove_itself_and_yields_to_a_better_one() {
    let mut w = World::open(nat_legs());
    let cellular = "192.0.2.200:7000";
    for n in 1..=3 {
        assert_eq!(
            w.packet(at(n), PORTS[0], cellular, rtp(1, n as u16)),
            PROBATION
        );
    }
    // Single shots from elsewhere do not add up, and a gap starts over.
    assert_eq!(
        w.packet(at(4), PORTS[0], "192.0.2.201:7000", rtp(1, 4)),
        PROBATION
    );
    for n in 6..=8 {
        assert_eq!(
            w.packet(at(n), PORTS[0], cellular, rtp(1, n as u16)),
            PROBATION
        );
    }
    assert_eq!(
        w.packet(at(9), PORTS[0], cellular, rtp(1, 9)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(
        w.packet(at(10), PORTS[1], PHONES[1], rtp(2, 1)),
        to(PORTS[0], cellular)
    );
    let phone = "192.0.2.77:61000";
    assert_eq!(
        w.packet(at(11), PORTS[0], phone, rtp(5, 1)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(w.packet(at(12), PORTS[0], cellular, rtp(1, 10)), STRAY);
    let [caller, _] = w.stats(at(13));
    assert_eq!((caller.source_changes, caller.ssrc_changes), (1, 1));
    assert_eq!(caller.dropped[DropReason::Probation.index()], 7);
}

#[test]
fn nat_rebinding_is_healed_by_a_reinvite_only() {
    let mut w = World::open(nat_legs());
    let (before, after) = ("192.0.2.77:61000", "192.0.2.77:62000");
    w.packet(at(1), PORTS[0], before, rtp(1, 1));
    assert_eq!(w.packet(at(5000), PORTS[0], after, rtp(1, 2)), STRAY);
    w.update(at(6000), nat_legs());
    // Right after the update a silent source keeps its place for a moment.
    assert_eq!(w.packet(at(6010), PORTS[0], after, rtp(1, 3)), STRAY);
    assert_eq!(
        w.packet(at(6020), PORTS[1], PHONES[1], rtp(2, 1)),
        to(PORTS[0], before)
    );
    assert_eq!(
        w.packet(at(6300), PORTS[0], after, rtp(1, 4)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(
        w.packet(at(6310), PORTS[1], PHONES[1], rtp(2, 2)),
        to(PORTS[0], after)
    );
    assert_eq!(w.packet(at(6320), PORTS[0], before, rtp(1, 5)), STRAY);
}

#[test]
fn a_session_refresh_opens_no_door() {
    let mut w = World::open(nat_legs());
    let (phone, thief) = ("192.0.2.77:61000", "192.0.2.77:6666");
    w.packet(at(1), PORTS[0], phone, rtp(1, 1));
    w.update(at(5000), nat_legs());
    assert_eq!(w.packet(at(5001), PORTS[0], thief, rtp(9, 1)), STRAY);
    assert_eq!(
        w.packet(at(5010), PORTS[0], phone, rtp(1, 2)),
        to(PORTS[1], PHONES[1])
    );
    for n in 0..200 {
        assert_eq!(
            w.packet(at(5020 + 20 * n), PORTS[0], thief, rtp(9, n as u16)),
            STRAY
        );
    }
}

#[test]
fn a_phone_that_moves_says_so_and_its_stragglers_do_not_hold_it_back() {
    let mut w = World::open(nat_legs());
    let (old, new) = ("192.0.2.77:61000", "192.0.2.77:62000");
    w.packet(at(1), PORTS[0], old, rtp(1, 1));
    let mut moved = nat_legs();
    first(&mut moved, 0).peer = Some(addr("10.0.0.5:4444"));
    w.update(at(5000), moved);
    assert_eq!(
        w.packet(at(5001), PORTS[0], old, rtp(1, 2)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(
        w.packet(at(5002), PORTS[0], new, rtp(1, 3)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(w.packet(at(5003), PORTS[0], old, rtp(1, 4)), STRAY);
    assert_eq!(
        w.packet(at(9000), PORTS[1], PHONES[1], rtp(2, 1)),
        to(PORTS[0], new)
    );
}

#[test]
fn a_phone_that_says_it_moved_and_did_not_keeps_its_place() {
    let mut w = World::open(nat_legs());
    let phone = "192.0.2.77:61000";
    w.packet(at(1), PORTS[0], phone, rtp(1, 1));
    let mut moved = nat_legs();
    first(&mut moved, 0).peer = Some(addr("10.0.0.5:4444"));
    w.update(at(5000), moved);
    for n in 0..400u64 {
        let verdict = w.packet(at(5001 + 20 * n), PORTS[0], phone, rtp(1, 2 + n as u16));
        assert_eq!(verdict, to(PORTS[1], PHONES[1]), "{n}");
    }
    assert_eq!(
        w.packet(at(14_000), PORTS[0], "192.0.2.77:6666", rtp(9, 1)),
        STRAY
    );
}

#[test]
fn only_the_locked_source_may_change_its_ssrc() {
    let mut w = World::open(legs());
    w.packet(at(1), PORTS[0], PHONES[0], rtp(1, 1));
    assert_eq!(w.packet(at(2), PORTS[0], "192.0.2.1:1", rtp(5, 1)), STRAY);
    assert_eq!(
        w.packet(at(3), PORTS[0], PHONES[0], rtp(5, 900)),
        to(PORTS[1], PHONES[1])
    );
    let [caller, _] = w.stats(at(4));
    assert_eq!((caller.ssrc_changes, caller.lost), (1, 0));
}

#[test]
fn rtcp_has_its_own_ports_follows_the_host_of_rtp_and_is_read() {
    let mut w = World::open(nat_legs());
    w.packet(at(1), PORTS[0], "192.0.2.77:61000", rtp(1, 1));
    let block = rtcp::ReportBlock {
        ssrc: 2,
        fraction_lost: 1,
        lost: 12,
        highest_sequence: 9,
        jitter: 80,
        last_report: 0,
        delay: 0,
    };
    let report = rtcp::emit_receiver_report(1, &[block]);
    assert_eq!(
        w.packet(at(2), PORTS[0] + 1, "192.0.2.1:1", report.clone()),
        STRAY
    );
    let forwarded = w.packet(at(3), PORTS[0] + 1, "192.0.2.77:61007", report.clone());
    assert_eq!(forwarded, to(PORTS[1] + 1, "198.51.100.20:5001"));
    let back = w.packet(at(4), PORTS[1] + 1, "198.51.100.20:5001", report.clone());
    assert_eq!(back, to(PORTS[0] + 1, "192.0.2.77:61007"));
    // On the RTP port it is understood too, and leaves by the other side's RTCP port.
    let mixed = w.packet(at(5), PORTS[0], "192.0.2.77:61000", report);
    assert_eq!(mixed, to(PORTS[1] + 1, "198.51.100.20:5001"));
    let lost = w.packet(at(6), PORTS[0] + 1, "192.0.2.77:61007", rtp(1, 1));
    assert_eq!(lost, Verdict::Drop(DropReason::Malformed));
    let [caller, called] = w.stats(at(7));
    assert_eq!(
        (caller.rtcp_lost, caller.rtcp_jitter_us),
        (Some(12), Some(10_000))
    );
    assert_eq!((caller.rtcp_in, caller.rtcp_out), (2, 1));
    assert_eq!((called.rtcp_in, called.rtcp_out), (1, 2));
    assert_eq!((caller.packets_in, called.packets_out), (1, 1));
}

#[test]
fn rtcp_may_share_the_port_of_one_side_only() {
    let mut muxed = legs();
    first(&mut muxed, 0).rtcp_port = None;
    let mut w = World::open(muxed);
    assert_eq!(w.bound.len(), 3);
    let report = rtcp::emit_receiver_report(1, &[]);
    let up = w.packet(at(1), PORTS[0], PHONES[0], report.clone());
    assert_eq!(up, to(PORTS[1] + 1, "198.51.100.20:5001"));
    let down = w.packet(at(2), PORTS[1] + 1, "198.51.100.20:5001", report);
    assert_eq!(down, to(PORTS[0], PHONES[0]));
}

#[test]
fn ipv4_and_ipv6_meet() {
    let phone = "[2001:db8::5]:4000";
    let mut w = World::open([leg(PORTS[0], phone), leg(PORTS[1], PHONES[1])]);
    assert!(w.bound.iter().filter(|b| b.is_ipv6()).count() == 2);
    assert_eq!(
        w.packet(at(1), PORTS[0], phone, rtp(1, 1)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(
        w.packet(at(2), PORTS[1], PHONES[1], rtp(2, 1)),
        to(PORTS[0], phone)
    );
}

#[test]
fn an_address_of_the_other_family_is_no_destination() {
    let mut wrong = legs();
    first(&mut wrong, 0).peer = Some(addr("[2001:db8::5]:4000"));
    let mut w = World::open(wrong);
    let verdict = w.packet(at(1), PORTS[1], PHONES[1], rtp(2, 1));
    assert_eq!(verdict, Verdict::Drop(DropReason::NoDestination));
    let [_, called] = w.stats(at(2));
    assert_eq!((called.packets_in, called.dropped_total()), (1, 1));
}

#[test]
fn fax_passes_as_it_is_and_stun_does_not() {
    let mut fax = legs();
    for side in 0..2 {
        let spec = first(&mut fax, side);
        spec.kind = MediaKind::Udptl;
        spec.rtcp_port = None;
    }
    let mut w = World::open(fax);
    assert_eq!(
        w.packet(at(1), PORTS[0], PHONES[0], vec![0, 1, 2]),
        to(PORTS[1], PHONES[1])
    );
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.resize(20, 0);
    let verdict = w.packet(at(2), PORTS[0], PHONES[0], stun.clone());
    assert_eq!(verdict, Verdict::Drop(DropReason::Stun));
    let mut w = World::open(legs());
    assert_eq!(
        w.packet(at(2), PORTS[0], PHONES[0], stun),
        Verdict::Drop(DropReason::Stun)
    );
    for junk in [
        vec![],
        vec![0],
        vec![0x80; 5],
        vec![22; 60],
        vec![0xff; 300],
    ] {
        let verdict = w.packet(at(3), PORTS[0], PHONES[0], junk);
        assert_eq!(verdict, Verdict::Drop(DropReason::Malformed));
    }
}

#[test]
fn dtls_passes_where_the_media_is_secure() {
    let mut secure = legs();
    for side in 0..2 {
        first(&mut secure, side).kind = MediaKind::SecureRtp;
    }
    let mut w = World::open(secure);
    assert_eq!(
        w.packet(at(1), PORTS[0], PHONES[0], vec![22; 60]),
        to(PORTS[1], PHONES[1])
    );
    // Reports under SRTP are not readable.
    let report = rtcp::emit_receiver_report(1, &[]);
    w.packet(at(2), PORTS[0] + 1, "198.51.100.10:4001", report);
    assert_eq!(w.stats(at(3))[0].rtcp_lost, None);
}

#[test]
fn the_old_hold_stops_what_goes_to_the_holder() {
    let mut w = World::open(legs());
    w.packet(at(1), PORTS[0], PHONES[0], rtp(1, 1));
    let mut hold = legs();
    first(&mut hold, 0).peer = None;
    first(&mut hold, 0).peer_rtcp = None;
    first(&mut hold, 0).direction = Direction::SendOnly;
    w.update(at(100), hold);
    let held = w.packet(at(101), PORTS[1], PHONES[1], rtp(2, 1));
    assert_eq!(held, Verdict::Drop(DropReason::Inactive));
    let music = w.packet(at(102), PORTS[0], PHONES[0], rtp(1, 2));
    assert_eq!(music, to(PORTS[1], PHONES[1]));
    assert!(!w.stats(at(103))[1].should_send);
}

#[test]
fn silence_of_both_is_said_once() {
    let mut w = World::open(legs());
    w.packet(at(1000), PORTS[0], PHONES[0], rtp(1, 1));
    assert_eq!(w.pass(at(60_999)), []);
    let timeout = MediaEvent::Timeout {
        session: SESSION,
        silent: Silent::Both,
    };
    assert_eq!(w.pass(at(61_000)), std::slice::from_ref(&timeout));
    assert_eq!(w.pass(at(1_000_000)), []);
    w.update(at(1_000_000), legs());
    assert_eq!(w.pass(at(2_000_000)), [timeout]);
}

#[test]
fn silence_of_one_side_names_it() {
    let mut w = World::open(legs());
    let mut said = Vec::new();
    for n in 0..400u64 {
        w.packet(at(1000 * n), PORTS[1], PHONES[1], rtp(2, n as u16));
        said.extend(w.pass(at(1000 * n + 999)));
    }
    let silent = Silent::One(Side::Caller);
    let session = SESSION;
    assert_eq!(said, [MediaEvent::Timeout { session, silent }]);
    let [caller, called] = w.stats(at(400_000));
    assert!(caller.sends_nothing() && !called.sends_nothing());
    assert_eq!(called.silent_for, Some(Duration::from_secs(1)));
    assert_eq!(caller.silent_for, None);
}

#[test]
fn who_tells_of_noise_or_says_goodbye_is_known_to_have_done_so() {
    let mut w = World::open(legs());
    w.packet(at(0), PORTS[0], PHONES[0], rtp(1, 1));
    let mut noise = rtp(1, 2);
    noise[1] = crate::wire::rtp::COMFORT_NOISE;
    w.packet(at(20), PORTS[0], PHONES[0], noise);
    assert!(w.stats(at(30))[0].describes_silence);
    w.packet(at(40), PORTS[0], PHONES[0], rtp(1, 3));
    let caller = w.stats(at(50))[0];
    assert!(!caller.describes_silence);
    assert_eq!(caller.left_for, None);
    let mut bye = rtcp::emit_receiver_report(1, &[]);
    rtcp::emit_bye(&mut bye, 1);
    w.packet(at(60), PORTS[0] + 1, "198.51.100.10:4001", bye);
    let left = w.stats(at(90))[0].left_for;
    assert_eq!(left, Some(Duration::from_millis(30)));
}

#[test]
fn who_watched_one_side_fall_silent_still_hears_of_both() {
    let mut w = World::open(legs());
    let session = SESSION;
    let timeout = |silent| MediaEvent::Timeout { session, silent };
    let mut said = Vec::new();
    for n in 0..320u64 {
        w.packet(at(1000 * n), PORTS[1], PHONES[1], rtp(2, n as u16));
        said.extend(w.pass(at(1000 * n + 999)));
    }
    // They change places: of the other it is said, too, and of neither again.
    for n in 320..1400u64 {
        w.packet(at(1000 * n), PORTS[0], PHONES[0], rtp(1, n as u16));
        said.extend(w.pass(at(1000 * n + 999)));
    }
    let one = |side| timeout(Silent::One(side));
    assert_eq!(said, [one(Side::Caller), one(Side::Called)]);
    assert_eq!(w.pass(at(1_399_000 + 59_999)), []);
    assert_eq!(w.pass(at(1_399_000 + 60_000)), [timeout(Silent::Both)]);
    assert_eq!(w.pass(at(9_000_000)), []);
    assert_eq!(w.relay.poll_timeout(), None);
}

#[test]
fn what_answers_itself_is_not_blamed_for_sending_nothing() {
    let mut legs = legs();
    legs[1].local = true;
    let mut w = World::open(legs);
    let [caller, called] = w.stats(at(1_000));
    assert!(caller.sends_nothing() && !called.sends_nothing());
}

#[test]
fn rtcp_is_a_sign_of_life() {
    let mut w = World::open(legs());
    for n in 0..300u64 {
        let report = rtcp::emit_receiver_report(1, &[]);
        w.packet(at(5000 * n), PORTS[0] + 1, "198.51.100.10:4001", report);
        w.packet(at(5000 * n), PORTS[1], PHONES[1], rtp(2, n as u16));
        assert_eq!(w.pass(at(5000 * n + 4999)), []);
    }
}

#[test]
fn the_ports_of_a_side_that_falls_silent_are_opened_to_all() {
    let mut w = World::open(legs());
    let talk = |w: &mut World, from: u64, to: u64, sides: &[usize]| {
        for n in from..to {
            for &side in sides {
                let heard = w.packet(at(1000 * n), PORTS[side], PHONES[side], rtp(1, n as u16));
                assert!(matches!(heard, Verdict::Forward { .. }));
            }
            assert_eq!(w.pass(at(1000 * n + 999)), []);
        }
        std::mem::take(&mut w.opened)
    };
    assert_eq!(talk(&mut w, 1, 30, &[0, 1]), [0u16; 0]);
    // Since the last packet at 29 s.
    assert_eq!(talk(&mut w, 30, 39, &[1]), [0u16; 0]);
    assert_eq!(talk(&mut w, 39, 40, &[1]), [PORTS[0], PORTS[0] + 1]);
    assert_eq!(talk(&mut w, 40, 60, &[1]), [0u16; 0]);
    // Once for each time.
    assert_eq!(talk(&mut w, 60, 69, &[0]), [0u16; 0]);
    assert_eq!(
        talk(&mut w, 69, 90, &[]),
        [PORTS[1], PORTS[1] + 1, PORTS[0], PORTS[0] + 1]
    );
}

#[test]
fn hold_and_ringing_are_not_watched() {
    for direction in [
        Direction::SendOnly,
        Direction::RecvOnly,
        Direction::Inactive,
    ] {
        let mut hold = legs();
        first(&mut hold, 0).direction = direction;
        assert_eq!(World::open(hold).pass(at(10_000_000)), []);
    }
    let mut ringing = legs();
    first(&mut ringing, 1).peer = None;
    assert_eq!(World::open(ringing).pass(at(10_000_000)), []);
}

#[test]
fn streams_come_move_and_go_and_the_counters_stay() {
    let mut w = World::open(legs());
    w.packet(at(1), PORTS[0], PHONES[0], rtp(1, 1));
    let mut two = legs();
    for (side, phone) in ["198.51.100.10:4010", "198.51.100.20:5010"]
        .iter()
        .enumerate()
    {
        let video = leg(PORTS[side] + 100, phone).media;
        two[side].media.extend(video);
    }
    w.update(at(10), two.clone());
    assert_eq!(w.bound.len(), 8);
    let video = w.packet(at(11), PORTS[0] + 100, "198.51.100.10:4010", rtp(3, 1));
    assert_eq!(video, to(PORTS[1] + 100, "198.51.100.20:5010"));
    // The called refuses the video: both its ports go.
    two[1].media[1] = None;
    w.update(at(20), two.clone());
    assert_eq!(w.bound.len(), 4);
    // The audio moves to another port of ours toward the caller.
    first(&mut two, 0).port = 20000;
    first(&mut two, 0).rtcp_port = Some(20001);
    w.update(at(30), two);
    assert_eq!(
        w.packet(at(31), 20000, PHONES[0], rtp(1, 2)),
        to(PORTS[1], PHONES[1])
    );
    let [caller, called] = w.stats(at(32));
    assert_eq!((caller.packets_in, called.packets_out), (3, 3));
}

#[test]
fn an_update_that_cannot_be_carried_out_changes_nothing() {
    let mut w = World::open(legs());
    let session = SESSION;
    let refused = |w: &mut World, reason| {
        assert_eq!(w.events, [MediaEvent::Unchanged { session, reason }]);
        w.events.clear();
        let mut bound: Vec<u16> = w.bound.iter().map(SocketAddr::port).collect();
        bound.sort_unstable();
        let [a, b] = PORTS;
        assert_eq!((bound, w.relay.sessions()), (vec![a, a + 1, b, b + 1], 1));
    };
    let mut sequence = 0;
    let mut passes = |w: &mut World, ms: u64| {
        sequence += 1;
        for (from, onward) in [(0, 1), (1, 0)] {
            let packet = rtp(from as u32, sequence);
            let passed = w.packet(at(ms), PORTS[from], PHONES[from], packet);
            assert_eq!(passed, to(PORTS[onward], PHONES[onward]));
        }
    };
    passes(&mut w, 1);
    // A stream comes by a port that is taken: the second of two pairs, or one of a pair.
    let video = |first: u16| {
        let mut two = legs();
        for (side, phone) in ["198.51.100.10:4010", "198.51.100.20:5010"]
            .iter()
            .enumerate()
        {
            let video = leg(first + 2 * side as u16, phone).media;
            two[side].media.extend(video);
        }
        two
    };
    w.taken = vec![20_002, 20_011];
    for (n, port) in [20_002, 20_011].into_iter().enumerate() {
        let legs = video(port & !3);
        w.command(at(10 + n as u64), MediaCommand::Update { session, legs });
        refused(&mut w, Failure::Port(port));
        passes(&mut w, 10 + n as u64);
    }
    // The sound moves to one: the port of before is there again.
    let mut moved = legs();
    first(&mut moved, 1).port = 20_002;
    first(&mut moved, 1).rtcp_port = Some(20_003);
    let legs_ = moved;
    w.command(
        at(20),
        MediaCommand::Update {
            session,
            legs: legs_,
        },
    );
    refused(&mut w, Failure::Port(20_002));
    passes(&mut w, 20);
    // One that the same command names twice, and one that does not fit itself.
    let mut same = legs();
    first(&mut same, 1).port = PORTS[0];
    w.command(
        at(30),
        MediaCommand::Update {
            session,
            legs: same,
        },
    );
    refused(&mut w, Failure::PortInUse(PORTS[0]));
    let mut uneven = legs();
    uneven[1].media.push(None);
    let legs_ = uneven;
    w.command(
        at(31),
        MediaCommand::Update {
            session,
            legs: legs_,
        },
    );
    refused(&mut w, Failure::BadStreams);
    passes(&mut w, 31);
    let [caller, called] = w.stats(at(32));
    assert_eq!((caller.packets_in, called.packets_in), (5, 5));
    // Other ports are as good, and silence is still noticed.
    w.update(at(40), video(20_020));
    assert_eq!(w.bound.len(), 8);
    let silent = Silent::Both;
    assert_eq!(
        w.pass(at(60_040)),
        [MediaEvent::Timeout { session, silent }]
    );
    // What an update brought stays when the next one fails.
    let legs_ = video(20_000);
    w.command(
        at(60_050),
        MediaCommand::Update {
            session,
            legs: legs_,
        },
    );
    let reason = Failure::Port(20_002);
    assert_eq!(w.events, [MediaEvent::Unchanged { session, reason }]);
    assert_eq!(w.bound.len(), 8);
    w.command(at(60_060), MediaCommand::Close { session });
    assert!(w.bound.is_empty());
}

#[test]
fn a_session_that_cannot_be_as_before_ends() {
    let mut w = World::open(legs());
    // Whoever took the new port takes the old one, too, as soon as it is free.
    w.taken = vec![20_000, PORTS[0]];
    let mut moved = legs();
    first(&mut moved, 0).port = 20_000;
    first(&mut moved, 0).rtcp_port = Some(20_001);
    let session = SESSION;
    w.command(
        at(1),
        MediaCommand::Update {
            session,
            legs: moved,
        },
    );
    let [first, second] = [20_000, PORTS[0]].map(Failure::Port);
    assert_eq!(
        w.events,
        [
            MediaEvent::Unchanged {
                session,
                reason: first
            },
            MediaEvent::Failed {
                session,
                reason: second
            }
        ]
    );
    assert_eq!(w.relay.sessions(), 0);
    w.bound.retain(|address| address.port() != PORTS[0]);
    assert_eq!(w.bound, []);
}

#[test]
fn streams_are_counted_each_for_itself_and_reports_are_kept() {
    let mut two = legs();
    for (side, phone) in ["198.51.100.10:4010", "198.51.100.20:5010"]
        .iter()
        .enumerate()
    {
        two[side].media.push(None);
        two[side].media.extend(leg(PORTS[side] + 100, phone).media);
    }
    let mut w = World::open(two);
    for n in 0..10u16 {
        w.packet(at(1 + u64::from(n)), PORTS[0], PHONES[0], rtp(11, 2 * n));
    }
    w.packet(at(20), PORTS[1] + 100, "198.51.100.20:5010", rtp(22, 1));
    let block = |fraction_lost, lost, jitter| rtcp::ReportBlock {
        ssrc: 1,
        fraction_lost,
        lost,
        highest_sequence: 1,
        jitter,
        last_report: 0,
        delay: 0,
    };
    // The third follows too fast.
    for (ms, block) in [
        (1000, block(64, 5, 80)),
        (3000, block(0, 5, 8)),
        (3500, block(255, 99, 8000)),
        (6000, block(26, 7, 40)),
    ] {
        let report = rtcp::emit_receiver_report(11, &[block]);
        w.packet(at(ms), PORTS[0] + 1, "198.51.100.10:4001", report);
    }
    w.command(at(10_000), MediaCommand::Query { session: SESSION });
    let Some(MediaEvent::Report { legs, streams, .. }) = w.events.pop() else {
        panic!()
    };
    let [[a, b], nothing, [c, d]] = &streams[..] else {
        panic!("{streams:?}")
    };
    assert_eq!(*nothing, <[StreamStats; 2]>::default());
    let told = [a, b, c, d].map(|s| (s.ssrc, s.packets_in, s.lost));
    let none = (None, 0, 0);
    assert_eq!(told, [(Some(11), 10, 9), none, none, (Some(22), 1, 0)]);
    assert_eq!((a.bytes_in, a.rtcp_in, a.rtcp_bytes_in), (1720, 4, 128));
    assert_eq!(legs[0].rtcp_bytes_in, 128);
    let Hears {
        reports,
        fractions,
        jitter_us,
        lost,
        extremes: Some([worst, best]),
        ..
    } = a.hears
    else {
        panic!("{a:?}")
    };
    assert_eq!((reports, fractions, jitter_us, lost), (3, 90, 16_000, 7));
    let told = [worst, best].map(|h| (h.fraction, h.jitter_us, h.ago));
    let seconds = Duration::from_secs;
    assert_eq!(told, [(64, 10_000, seconds(9)), (0, 1_000, seconds(7))]);
    assert_eq!([b, c, d].map(|s| s.hears.reports), [0, 0, 0]);
}

/// What the phones say of how they hear in the first stream.
fn hears(w: &mut World, ms: u64) -> [Hears; 2] {
    w.command(at(ms), MediaCommand::Query { session: SESSION });
    let Some(MediaEvent::Report { mut streams, .. }) = w.events.pop() else {
        panic!()
    };
    streams.swap_remove(0).map(|stats| stats.hears)
}

/// A sender report at `ntp`, with a block about the other phone that names the report `last` of it,
/// kept for `kept_ms`.
fn sender_report(ntp: u64, last: u64, kept_ms: u64) -> Vec<u8> {
    let info = rtcp::SenderInfo {
        ntp,
        timestamp: 160,
        packets: 1,
        octets: 160,
    };
    let block = rtcp::ReportBlock {
        ssrc: 1,
        fraction_lost: 0,
        lost: 0,
        highest_sequence: 1,
        jitter: 8,
        last_report: (last >> 16) as u32,
        delay: (kept_ms * 65_536 / 1000) as u32,
    };
    let mut out = Vec::new();
    rtcp::emit_sender_report(&mut out, 1, &info, &[block]);
    out
}

#[test]
fn a_round_trip_is_known_once_a_report_answers_to_one_that_passed() {
    let mut w = World::open(legs());
    w.packet(at(1), PORTS[0], PHONES[0], rtp(11, 1));
    w.packet(at(1), PORTS[1], PHONES[1], rtp(22, 1));
    let mut say = |ms, side: usize, report| {
        let from = ["198.51.100.10:4001", "198.51.100.20:5001"][side];
        let passed = w.packet(at(ms), PORTS[side] + 1, from, report);
        assert!(matches!(passed, Verdict::Forward { .. }), "{passed:?}");
        hears(&mut w, ms)
    };
    let [a1, a2, b1, b2] = [1_u64, 2, 3, 4].map(|n| 0xe000_0000_8000_0000 + (n << 34));
    // Nothing passed before, whatever the report names.
    let [_, called] = say(1000, 1, sender_report(b1, a1, 100));
    assert_eq!((called.reports, called.legs.count), (1, 0));
    // The called one's report left toward the caller at 1000; it kept it for 470 ms: 30 are left.
    let [caller, _] = say(1500, 0, sender_report(a1, b1, 470));
    assert_eq!(caller.legs.count, 1);
    assert!(caller.legs.mean_us().abs_diff(30_000) < 20, "{caller:?}");
    // How far the other one is nobody knows yet.
    assert_eq!(caller.wholes.count, 0);
    // It kept the caller's for 380 ms: 120, and 30 beyond.
    let [_, called] = say(2000, 1, sender_report(b2, a1, 380));
    let last = called.progression[1].round_trip;
    assert!(last.leg_us.abs_diff(120_000) < 20, "{last:?}");
    assert!(last.whole_us.abs_diff(150_000) < 40, "{last:?}");
    assert_eq!((called.legs.count, called.wholes.count), (1, 1));
    // A clock that went wrong, one that is slow by far, and one that has no sender report.
    say(3000, 0, sender_report(a2, b2, 5000));
    say(60_000, 0, sender_report(a2, b2, 1000));
    say(61_500, 0, sender_report(a2, b2, 0));
    let [caller, called] = hears(&mut w, 62_000);
    assert_eq!((caller.reports, caller.legs.count), (4, 1));
    // The worst is the one from far away.
    let Some([worst, best]) = called.extremes else {
        panic!("{called:?}")
    };
    assert_eq!(
        (worst.round_trip.whole_us, best.round_trip.whole_us),
        (last.whole_us, 0)
    );
}

#[test]
fn how_it_went_is_shown_evenly_whatever_it_takes() {
    let mut w = World::open(legs());
    let mut kept = Vec::new();
    for n in 0..2000_u64 {
        let from = "198.51.100.10:4001";
        w.packet(
            at(5000 * n),
            PORTS[0] + 1,
            from,
            sender_report(n << 34, 0, 0),
        );
        let [caller, _] = hears(&mut w, 5000 * n);
        kept = caller.progression;
        assert!((1..=20).contains(&kept.len()), "{n}");
        assert!(kept.len() >= 10 || n < 10, "{n}");
    }
    let apart: Vec<_> = kept.windows(2).map(|two| two[0].ago - two[1].ago).collect();
    let [least, most] = [apart.iter().min(), apart.iter().max()].map(|d| d.unwrap().as_secs());
    assert!(most - least <= 5, "{apart:?}");
    assert_eq!(kept[0].ago, Duration::from_secs(1999 * 5));
    assert!(kept.last().unwrap().ago < Duration::from_secs(most + 5));
}

#[test]
fn bad_commands_are_answered_and_leave_nothing() {
    let session = SESSION;
    let refused = |w: &mut World, reason| {
        assert_eq!(w.events, [MediaEvent::Failed { session, reason }]);
        w.events.clear();
    };
    let mut w = World::new();
    w.command(at(0), MediaCommand::Close { session });
    refused(&mut w, Failure::Unknown);
    let mut uneven = legs();
    uneven[1].media.push(None);
    let legs_ = uneven;
    w.command(
        at(0),
        MediaCommand::Open {
            session,
            legs: legs_,
        },
    );
    refused(&mut w, Failure::BadStreams);
    let many = legs().map(|mut leg| {
        leg.media.resize(STREAMS_MAX + 1, None);
        leg
    });
    w.command(
        at(0),
        MediaCommand::Open {
            session,
            legs: many,
        },
    );
    refused(&mut w, Failure::BadStreams);
    let mut same = legs();
    first(&mut same, 1).port = PORTS[0];
    w.command(
        at(0),
        MediaCommand::Open {
            session,
            legs: same,
        },
    );
    refused(&mut w, Failure::PortInUse(PORTS[0]));
    let mut w = World::open(legs());
    w.command(
        at(1),
        MediaCommand::Open {
            session,
            legs: legs(),
        },
    );
    refused(&mut w, Failure::Duplicate);
    assert!(w.bound.is_empty() && w.relay.sessions() == 0);
}

#[test]
fn another_sessions_port_is_refused_and_that_session_lives() {
    let mut w = World::open(legs());
    let legs = [leg(PORTS[0], PHONES[0]), leg(30000, PHONES[1])];
    w.command(at(1), MediaCommand::Open { session: 8, legs });
    let reason = Failure::PortInUse(PORTS[0]);
    assert_eq!(w.events, [MediaEvent::Failed { session: 8, reason }]);
    assert_eq!(w.bound.len(), 4);
    assert_eq!(
        w.packet(at(2), PORTS[0], PHONES[0], rtp(1, 1)),
        to(PORTS[1], PHONES[1])
    );
}

#[test]
fn a_port_that_cannot_be_bound_is_named() {
    let mut relay = Relay::new(RelaySettings::default());
    let session = SESSION;
    relay.handle_command(
        at(0),
        MediaCommand::Open {
            session,
            legs: legs(),
        },
    );
    let mut bound = Vec::new();
    while let Some(action) = relay.poll_socket() {
        match action {
            SocketAction::Bind(a) if a.port() == PORTS[1] => {
                relay.bind_failed(a.port(), BindError::Refused)
            }
            SocketAction::Bind(a) => bound.push(a.port()),
            SocketAction::Unbind(port) => bound.retain(|p| *p != port),
            SocketAction::Listen(port) => panic!("nobody is silent on {port}"),
        }
    }
    let reason = Failure::Port(PORTS[1]);
    assert_eq!(
        relay.poll_event(),
        Some(MediaEvent::Failed { session, reason })
    );
    assert_eq!(relay.poll_event(), None);
    assert!(bound.is_empty());
}

#[test]
fn full_is_said() {
    let settings = RelaySettings {
        sessions_max: 1,
        ..Default::default()
    };
    let mut w = World::new();
    w.relay = Relay::new(settings);
    w.command(
        at(0),
        MediaCommand::Open {
            session: 1,
            legs: legs(),
        },
    );
    let other = [leg(30000, PHONES[0]), leg(30002, PHONES[1])];
    w.command(
        at(0),
        MediaCommand::Open {
            session: 2,
            legs: other,
        },
    );
    let reason = Failure::Full;
    assert_eq!(
        w.events.pop(),
        Some(MediaEvent::Failed { session: 2, reason })
    );
}

#[test]
fn what_could_not_be_sent_is_counted() {
    let mut w = World::open(legs());
    w.packet(at(1), PORTS[0], PHONES[0], rtp(1, 1));
    w.relay.send_failed(PORTS[1]);
    let [_, called] = w.stats(at(2));
    assert_eq!(called.dropped[DropReason::SendFailed.index()], 1);
}

/// Random calls under random attack: an attacker's packet never reaches the other phone from a
/// locked port and never changes where packets go; the counters equal the model's.
#[test]
fn no_seed_lets_a_thief_in() {
    for seed in 0..300 {
        let mut rng = Rng::from_u64(seed);
        let nat = rng.chance(1, 2);
        let spec = || match nat {
            true => nat_legs(),
            false => legs(),
        };
        let phone = match nat {
            true => "192.0.2.77:61000",
            false => PHONES[0],
        };
        let mut w = World::open(spec());
        let (mut accepted, mut dropped, mut lost) = (0u64, 0u64, 0u64);
        let mut sequence = rng.next_u64() as u16;
        // The phone speaks first; from then on it is the only one.
        let mut packet = |w: &mut World, now, sequence| {
            let verdict = w.packet(now, PORTS[0], phone, rtp(1, sequence));
            assert_eq!(verdict, to(PORTS[1], PHONES[1]), "seed {seed}");
            accepted += 1;
        };
        packet(&mut w, at(0), sequence);
        for step in 1..500u64 {
            let now = at(20 * step);
            if rng.chance(1, 50) {
                w.update(now, spec());
            }
            sequence = sequence.wrapping_add(1);
            if rng.chance(1, 25) && step < 499 {
                lost += 1;
            } else {
                packet(&mut w, now, sequence);
            }
            for _ in 0..rng.below(4) {
                let host = match rng.below(3) {
                    0 => "192.0.2.77".to_owned(),
                    1 => "198.51.100.10".to_owned(),
                    _ => format!("192.0.2.{}", rng.below(70)),
                };
                let thief = format!("{host}:{}", 1 + rng.below(3999));
                let guess = sequence.wrapping_add(rng.below(3) as u16);
                let verdict = w.packet(now, PORTS[0], &thief, rtp(1, guess));
                assert!(matches!(verdict, Verdict::Drop(_)), "seed {seed}: {thief}");
                dropped += 1;
            }
            let back = w.packet(now, PORTS[1], PHONES[1], rtp(2, step as u16));
            assert_eq!(back, to(PORTS[0], phone), "seed {seed}");
        }
        let [caller, called] = w.stats(at(20_000));
        assert_eq!(
            (caller.packets_in, caller.bytes_in),
            (accepted, 172 * accepted)
        );
        assert_eq!(called.packets_out, accepted);
        assert_eq!(
            (caller.dropped_total(), caller.lost),
            (dropped, lost),
            "seed {seed}"
        );
        assert_eq!((caller.packets_out, called.packets_in), (499, 499));
        assert_eq!((caller.source_changes, caller.ssrc_changes), (0, 0));
    }
}

/// Random commands over a small pool: ports are never bound twice, none is left over, and a pair
/// that rests is not handed out while others are free.
#[test]
fn no_seed_leaks_a_port() {
    for seed in 0..200 {
        let mut rng = Rng::from_u64(seed);
        let mut pool = PortPool::new(10_000, 10_039, 0, 1);
        let total = pool.free();
        let mut w = World::new();
        let mut open: Vec<(u64, [u16; 2])> = Vec::new();
        for n in 0..400u64 {
            let now = at(n * 100);
            if rng.chance(1, 2) && pool.free() >= 2 {
                let ports = [pool.allocate().unwrap(), pool.allocate().unwrap()];
                let legs = [leg(ports[0], PHONES[0]), leg(ports[1], PHONES[1])];
                w.command(now, MediaCommand::Open { session: n, legs });
                open.push((n, ports));
            } else if !open.is_empty() {
                let at = rng.below(open.len() as u64) as usize;
                let (session, ports) = open.swap_remove(at);
                w.command(now, MediaCommand::Close { session });
                ports.into_iter().for_each(|port| pool.release(port));
            }
            let failed = w
                .events
                .iter()
                .any(|e| matches!(e, MediaEvent::Failed { .. }));
            assert!(!failed, "seed {seed}");
            assert_eq!(w.bound.len(), open.len() * 4);
            assert_eq!(pool.free(), total - 2 * open.len());
            assert_eq!(w.relay.sessions(), open.len());
        }
    }
}

/// Whatever bytes come, from wherever: no panic, and each is either forwarded or counted.
#[test]
fn noise_is_counted_to_the_last_packet() {
    let mut rng = Rng::from_u64(5);
    let mut w = World::open(nat_legs());
    let ports = [PORTS[0], PORTS[0] + 1, PORTS[1], PORTS[1] + 1];
    let mut sent = 0;
    for n in 0..50_000u64 {
        let mut bytes = vec![0; rng.below(80) as usize];
        rng.fill(&mut bytes);
        if let [first, ..] = &mut bytes[..]
            && rng.chance(1, 2)
        {
            *first = 0x80;
        }
        let source = format!(
            "198.51.100.{}:{}",
            10 * rng.below(4),
            4000 + 1000 * rng.below(3)
        );
        w.packet(at(n), ports[rng.below(4) as usize], &source, bytes);
        sent += 1;
    }
    let stats = w.stats(at(60_000));
    let accepted: u64 = stats.iter().map(|s| s.packets_out + s.rtcp_out).sum();
    let dropped: u64 = stats.iter().map(LegStats::dropped_total).sum();
    assert_eq!(accepted + dropped, sent);
    assert!(accepted > 100, "{accepted}");
}
