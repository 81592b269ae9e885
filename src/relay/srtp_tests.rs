//! Streams under keys of ours, with peers that do SRTP by themselves.

use super::*;
use crate::base::{Instant, Rng};
use crate::srtp::{Crypto, Keys, MasterKey, Profile, Protector, Unprotector};
use crate::wire::rtp::{Header, rtcp};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const PORTS: [u16; 2] = [16384, 16386];
const PHONES: [&str; 2] = ["198.51.100.10:4000", "198.51.100.20:5000"];

fn crypto(profile: Profile, seed: u64) -> Crypto {
    let mut rng = Rng::from_u64(seed);
    Crypto {
        tag: 1,
        master: MasterKey::generate(profile, |bytes| rng.fill(bytes)),
        lifetime: None,
        mki: None,
    }
}

fn keys(profile: Profile, seed: u64) -> Keys {
    Keys {
        ours: Some(crypto(profile, seed)),
        theirs: Some(crypto(profile, seed + 1)),
    }
}

/// Where a packet leaves, and what it is then.
type Sent = (u16, Vec<u8>);

struct World {
    relay: Relay,
    legs: [LegSpec; 2],
    dropped: Option<DropReason>,
    now: Instant,
}

impl World {
    fn open(keys: [Option<Keys>; 2]) -> Self {
        let [caller, called] = keys;
        let legs = [(0, caller), (1, called)].map(|(side, keys)| {
            let peer: SocketAddr = PHONES[side].parse().unwrap();
            let rtcp: SocketAddr = (peer.ip(), peer.port() + 1).into();
            LegSpec {
                bind: "203.0.113.1".parse().unwrap(),
                signalling: Some(peer.ip()),
                behind_nat: false,
                learning: Learning::Early,
                local: false,
                media: vec![Some(MediaSpec {
                    port: PORTS[side],
                    rtcp_port: Some(PORTS[side] + 1),
                    peer: Some(peer),
                    peer_rtcp: Some(rtcp),
                    direction: Direction::SendRecv,
                    kind: MediaKind::Rtp,
                    clock_rate: 8000,
                    blocked: Blocked::NONE,
                    tapped: false,
                })],
                keys: vec![keys],
                ice: None,
            }
        });
        let mut world = Self {
            relay: Relay::new(RelaySettings::default()),
            legs,
            dropped: None,
            now: Instant::ZERO,
        };
        let (session, legs) = (1, world.legs.clone());
        world.command(MediaCommand::Open { session, legs });
        world
    }

    fn command(&mut self, command: MediaCommand) {
        self.relay.handle_command(self.now, command);
        while self.relay.poll_socket().is_some() {}
        while let Some(event) = self.relay.poll_event() {
            let failed = matches!(event, MediaEvent::Failed { .. });
            assert!(!failed, "{event:?}");
        }
    }

    fn update(&mut self) {
        let (session, legs) = (1, self.legs.clone());
        self.command(MediaCommand::Update { session, legs });
    }

    /// A packet of a phone's, by the port for RTP or RTCP.
    fn send(&mut self, side: usize, lane: u16, packet: &[u8]) -> Option<Sent> {
        let source: SocketAddr = PHONES[side].parse().unwrap();
        let source = (source.ip(), source.port() + lane).into();
        let mut bytes = packet.to_vec();
        bytes.resize(packet.len() + Datagram::ROOM, 0xee);
        let mut datagram = Datagram::new(&mut bytes, packet.len());
        let port = PORTS[side] + lane;
        match self.relay.process(self.now, port, source, &mut datagram) {
            Verdict::Forward { from_port, .. } => Some((from_port, datagram.bytes().to_vec())),
            Verdict::Drop(reason) => {
                self.dropped = Some(reason);
                None
            }
            Verdict::Deliver { .. } | Verdict::Overhear { .. } => panic!("nobody listens"),
        }
    }
}

fn rtp(sequence: u16) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type: 0,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: 9,
    };
    let mut packet = header.emit().to_vec();
    packet.resize(172, 0xd5);
    packet
}

fn protector(crypto: &Option<Crypto>) -> Protector {
    let crypto = crypto.as_ref().unwrap();
    Protector::new(&crypto.master, crypto.mki, crypto.lifetime)
}

fn unprotector(crypto: &Option<Crypto>) -> Unprotector {
    let crypto = crypto.as_ref().unwrap();
    Unprotector::new(&crypto.master, crypto.mki, crypto.lifetime)
}

fn sealed(by: &mut Protector, packet: &[u8], rtcp: bool) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    bytes.resize(packet.len() + Datagram::ROOM, 0);
    let length = match rtcp {
        true => by.protect_rtcp(&mut bytes, packet.len()),
        false => by.protect_rtp(&mut bytes, packet.len()),
    };
    bytes.truncate(length.unwrap());
    bytes
}

fn opened(by: &mut Unprotector, mut packet: Vec<u8>, rtcp: bool) -> Vec<u8> {
    let length = match rtcp {
        true => by.unprotect_rtcp(&mut packet),
        false => by.unprotect_rtp(&mut packet),
    };
    packet.truncate(length.unwrap());
    packet
}

#[test]
fn rtp_and_rtcp_become_srtp_and_back_with_every_profile() {
    let report = rtcp::emit_receiver_report(1, &[]);
    for profile in Profile::ALL {
        let keys = keys(profile, 7);
        let mut w = World::open([None, Some(keys.clone())]);
        let mut phone = (protector(&keys.theirs), unprotector(&keys.ours));
        for n in 1..100 {
            let (from, bytes) = w.send(0, 0, &rtp(n)).unwrap();
            assert!(from == PORTS[1] && bytes.len() > 172 && bytes[12..172] != rtp(n)[12..]);
            assert_eq!(opened(&mut phone.1, bytes, false), rtp(n));
            let secret = sealed(&mut phone.0, &rtp(n), false);
            assert_eq!(w.send(1, 0, &secret), Some((PORTS[0], rtp(n))));
            let (from, bytes) = w.send(0, 1, &report).unwrap();
            assert_eq!(from, PORTS[1] + 1);
            assert_eq!(opened(&mut phone.1, bytes, true), report);
            let secret = sealed(&mut phone.0, &report, true);
            let back = w.send(1, 1, &secret);
            assert_eq!(back, Some((PORTS[0] + 1, report.clone())));
        }
    }
}

#[test]
fn srtp_of_one_key_becomes_srtp_of_another() {
    let (a, b) = (
        keys(Profile::AesCm128HmacSha1_80, 1),
        keys(Profile::AeadAes256Gcm, 3),
    );
    let mut w = World::open([Some(a.clone()), Some(b.clone())]);
    let mut sends = protector(&a.theirs);
    let mut hears = unprotector(&b.ours);
    for n in 1..50 {
        let (_, bytes) = w.send(0, 0, &sealed(&mut sends, &rtp(n), false)).unwrap();
        assert_eq!(opened(&mut hears, bytes, false), rtp(n));
    }
}

#[test]
fn what_is_not_genuine_goes_nowhere_and_teaches_nothing() {
    let keys = keys(Profile::AesCm128HmacSha1_80, 7);
    let mut w = World::open([None, Some(keys.clone())]);
    let mut phone = protector(&keys.theirs);
    w.send(0, 0, &rtp(1)).unwrap();
    let good = sealed(&mut phone, &rtp(1), false);
    let mut bad = good.clone();
    bad[40] ^= 1;
    for packet in [&bad, &rtp(2), &rtcp::emit_receiver_report(1, &[])] {
        assert_eq!(w.send(1, 0, packet), None);
        assert!(matches!(
            w.dropped,
            Some(DropReason::Srtp | DropReason::Malformed)
        ));
        assert_eq!(w.relay.locked_peer(PORTS[1]), None);
    }
    assert_eq!(w.send(1, 0, &[22; 60]), None);
    assert!(w.send(1, 0, &good).is_some());
    assert!(w.relay.locked_peer(PORTS[1]).is_some());
    // Once more it is a replay.
    assert_eq!(w.send(1, 0, &good), None);
    assert_eq!(w.dropped, Some(DropReason::Srtp));
    // Without room to grow nothing leaves in the clear.
    let mut bytes = rtp(3);
    let mut packet = Datagram::new(&mut bytes, 172);
    let source = PHONES[0].parse().unwrap();
    let verdict = w.relay.process(w.now, PORTS[0], source, &mut packet);
    assert_eq!(verdict, Verdict::Drop(DropReason::Srtp));
}

#[test]
fn before_there_are_keys_nothing_leaves_in_the_clear() {
    let mut w = World::open([None, Some(Keys::default())]);
    assert_eq!(w.send(0, 0, &rtp(1)), None);
    assert_eq!(w.dropped, Some(DropReason::Srtp));
    let keys = keys(Profile::AesCm128HmacSha1_32, 7);
    w.legs[1].keys = vec![Some(keys.clone())];
    w.update();
    let (_, bytes) = w.send(0, 0, &rtp(2)).unwrap();
    assert_eq!(opened(&mut unprotector(&keys.ours), bytes, false), rtp(2));
}

#[test]
fn a_key_keeps_its_state_through_updates_moves_and_pauses() {
    let mut keys = keys(Profile::AesCm128HmacSha1_80, 7);
    let mut w = World::open([None, Some(keys.clone())]);
    let mut hears = unprotector(&keys.ours);
    let report = rtcp::emit_receiver_report(1, &[]);
    let mut indexes = Vec::new();
    let mut through = |w: &mut World, hears: &mut Unprotector, sequence: u16| {
        let (_, bytes) = w.send(0, 0, &rtp(sequence)).unwrap();
        assert_eq!(opened(hears, bytes, false), rtp(sequence));
        let (_, bytes) = w.send(0, 1, &report).unwrap();
        let word = bytes[bytes.len() - 14..][..4].to_vec();
        assert!(
            !indexes.contains(&word),
            "the same index under the same key"
        );
        indexes.push(word);
        assert_eq!(opened(hears, bytes, true), report);
    };
    // The roll-over counter is one from here on.
    through(&mut w, &mut hears, 0xffff);
    through(&mut w, &mut hears, 0);
    w.update();
    through(&mut w, &mut hears, 1);
    // The stream goes, and comes back by other ports, RTCP with it; only the tag is another.
    let media = std::mem::take(&mut w.legs[1].media);
    let other = std::mem::take(&mut w.legs[0].media);
    w.legs.iter_mut().for_each(|leg| leg.keys.clear());
    w.update();
    (w.legs[1].media, w.legs[0].media) = (media, other);
    keys.ours.as_mut().unwrap().tag = 4;
    w.legs[1].keys = vec![Some(keys.clone())];
    let spec = w.legs[1].media[0].as_mut().unwrap();
    (spec.port, spec.rtcp_port) = (16390, None);
    w.update();
    through(&mut w, &mut hears, 2);
    // A new key is a new beginning, of either direction alone.
    keys.ours = Some(crypto(Profile::AeadAes128Gcm, 99));
    w.legs[1].keys = vec![Some(keys.clone())];
    w.update();
    let mut hears = unprotector(&keys.ours);
    let (_, bytes) = w.send(0, 0, &rtp(3)).unwrap();
    assert_eq!(opened(&mut hears, bytes, false), rtp(3));
}

/// New keys come with a stream whose port is taken: those of before go on where they were, so that
/// no key stream begins anew.
#[test]
fn keys_of_before_hold_on_when_an_update_fails() {
    let profile = Profile::AesCm128HmacSha1_80;
    let old = keys(profile, 1);
    let mut w = World::open([None, Some(old.clone())]);
    let (_, first) = w.send(0, 0, &rtp(1)).unwrap();
    let mut theirs = protector(&old.theirs);
    let mut sealed = rtp(7);
    sealed.resize(172 + Datagram::ROOM, 0);
    let length = theirs.protect_rtp(&mut sealed, 172).unwrap();
    sealed.truncate(length);
    assert!(w.send(1, 0, &sealed).is_some());
    let mut legs = w.legs.clone();
    legs[1].keys = vec![Some(keys(profile, 5))];
    for (side, leg) in legs.iter_mut().enumerate() {
        let mut video = leg.media[0].unwrap();
        video.port = 20_000 + 2 * side as u16;
        video.rtcp_port = None;
        leg.media.push(Some(video));
    }
    w.relay
        .handle_command(w.now, MediaCommand::Update { session: 1, legs });
    while let Some(action) = w.relay.poll_socket() {
        if let SocketAction::Bind(address) = action
            && address.port() == 20_002
        {
            w.relay.bind_failed(20_002, BindError::Exhausted);
        }
    }
    let reason = Failure::Full;
    let unchanged = MediaEvent::Unchanged { session: 1, reason };
    assert_eq!(w.relay.poll_event(), Some(unchanged));
    // Neither direction does again what it did.
    assert_eq!(w.send(0, 0, &rtp(1)), None);
    assert_eq!(w.dropped.take(), Some(DropReason::Srtp));
    assert_eq!(w.send(1, 0, &sealed), None);
    assert_eq!(w.dropped.take(), Some(DropReason::Srtp));
    let (_, second) = w.send(0, 0, &rtp(2)).unwrap();
    let mut ours = unprotector(&old.ours);
    for (mut packet, plain) in [(first, rtp(1)), (second, rtp(2))] {
        let length = ours.unprotect_rtp(&mut packet).unwrap();
        assert_eq!(packet[..length], plain);
    }
}

/// Has both phones send when what they learned is settled: what the fast path is asked to carry
/// then, by our port.
fn carried(w: &mut World, packets: [&[u8]; 2]) -> BTreeMap<u16, Stream> {
    w.relay.use_fast_path();
    w.update();
    w.now += Duration::from_secs(5);
    for (side, packet) in packets.into_iter().enumerate() {
        assert!(w.send(side, 0, packet).is_some(), "side {side}");
    }
    w.relay.handle_timeout(w.now);
    let mut streams = BTreeMap::new();
    while let Some(order) = w.relay.poll_flow() {
        if let FlowOrder::Install(stream) = order {
            let port = stream.port;
            streams.insert(port, stream);
            w.relay.handle_flow(w.now, port, FlowNews::Installed);
        }
    }
    streams
}

#[test]
fn the_fast_path_takes_srtp_off_and_puts_it_on_under_the_indices_of_sockets() {
    let keys = keys(Profile::AesCm128HmacSha1_80, 21);
    let mut w = World::open([None, Some(keys.clone())]);
    let mut phone = protector(&keys.theirs);
    let mut hears = unprotector(&keys.ours);
    let packets = [rtp(1), sealed(&mut phone, &rtp(1), false)];
    let streams = carried(&mut w, [&packets[0], &packets[1]]);
    let of = |side: usize| {
        streams[&PORTS[side]]
            .security
            .clone()
            .expect("keys of ours")
    };
    let (to_phone, from_phone) = (of(0), of(1));
    assert!(to_phone.from.is_none() && from_phone.toward.is_none());
    // The fast path's turn.
    let mut packet = rtp(2);
    packet.resize(172 + Datagram::ROOM, 0);
    let ours = to_phone.toward.expect("the phone wants SRTP");
    let length = ours.outbound().seal(&mut packet, 172, false).unwrap();
    packet.truncate(length);
    assert_eq!(opened(&mut hears, packet, false), rtp(2));
    let genuine = sealed(&mut phone, &rtp(2), false);
    let theirs = from_phone.from.expect("the phone sends SRTP");
    let length = theirs.inbound().open(&mut genuine.clone(), false).unwrap();
    assert_eq!(length, 172);
    // The sockets': what passed there does not pass again here, and what comes next does.
    assert_eq!(
        w.send(0, 0, &rtp(2)),
        None,
        "one key stream for two packets"
    );
    assert_eq!(w.send(1, 0, &genuine), None, "a replay");
    assert_eq!(w.dropped, Some(DropReason::Srtp));
    let (_, bytes) = w.send(0, 0, &rtp(3)).unwrap();
    assert_eq!(opened(&mut hears, bytes, false), rtp(3));
    let next = sealed(&mut phone, &rtp(3), false);
    assert_eq!(w.send(1, 0, &next).map(|(_, bytes)| bytes), Some(rtp(3)));
}

#[test]
fn where_the_peers_have_the_keys_the_fast_path_has_none() {
    let mut w = World::open([None, None]);
    let streams = carried(&mut w, [&rtp(1), &rtp(2)]);
    assert_eq!(streams.len(), 2);
    assert!(streams.values().all(|stream| stream.security.is_none()));
}
