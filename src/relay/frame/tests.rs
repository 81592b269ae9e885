//! Frames against what is written by hand and summed whole; `tests/frames.rs` has scapy's.

use super::*;
use crate::base::Rng;
use crate::srtp::{Crypto, Keys, MasterKey, Profile, Protector, Shared, Unprotector};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const MAC_IN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC_OUT: [u8; 6] = [2, 0, 0, 0, 0, 2];
const MAC_NEXT: [u8; 6] = [2, 0, 0, 0, 0, 3];
const BUFFER: usize = 2048;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn onward(source: &str, destination: &str) -> Onward {
    Onward {
        link: 7,
        source_mac: MAC_OUT,
        destination_mac: MAC_NEXT,
        tag: None,
        source: at(source),
        destination: at(destination),
        rtcp: RtcpPath::Same,
        mtu: 1500,
        dscp: None,
        ssrc: None,
        payload_types: Vec::new(),
        punted_types: 0,
        security: None,
    }
}

fn spec(source: &str, destination: &str, action: Action) -> FlowSpec {
    FlowSpec {
        destination: at(destination),
        source: at(source),
        vlan: None,
        clock_rate: 0,
        action,
    }
}

const PEER_A: &str = "192.0.2.7:4000";
const OURS_A: &str = "203.0.113.1:16384";
const OURS_B: &str = "203.0.113.1:16386";
const PEER_B: &str = "198.51.100.9:5000";
const OURS_A6: &str = "[2001:db8::1]:16384";
const PEER_A6: &str = "[2001:db8:7::9]:4000";
const OURS_B6: &str = "[2001:db8::1]:16386";
const PEER_B6: &str = "[2001:db8:9::5]:5000";

fn table(onward: Onward) -> FlowTable {
    let v6 = onward_in_v6(&onward);
    let mut table = FlowTable::new(16);
    let (from, to) = if v6 {
        (PEER_A6, OURS_A6)
    } else {
        (PEER_A, OURS_A)
    };
    let action = Action::Forward(Box::new(onward));
    table.install(spec(from, to, action)).expect("room");
    table
}

/// Link 6 says that the flow comes in by IPv6.
fn onward_in_v6(onward: &Onward) -> bool {
    onward.link == 6
}

/// A plain sum of words (RFC 1071), unlike the code's in all but the result.
fn naive(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    !(sum as u16)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// What varies in a frame by hand.
struct Build {
    macs: [[u8; 6]; 2],
    tag: Option<u16>,
    class: u8,
    limit: u8,
    identification: u16,
    label: u32,
    checksum: bool,
}

const BUILD: Build = Build {
    macs: [MAC_NEXT, MAC_IN],
    tag: None,
    class: 0,
    limit: 64,
    identification: 0x1234,
    label: 0,
    checksum: true,
};

impl Build {
    fn frame(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let (from, to) = (octets(source.ip()), octets(destination.ip()));
        let length = (8 + payload.len()) as u16;
        let mut udp = Vec::new();
        for field in [source.port(), destination.port(), length, 0] {
            udp.extend(field.to_be_bytes());
        }
        udp.extend(payload);
        if self.checksum {
            let sum = naive(&[&from, &to, &[0, 17], &length.to_be_bytes(), &udp]);
            let sum = if sum == 0 { 0xffff } else { sum };
            udp[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        let mut out = [self.macs[1], self.macs[0]].concat();
        if let Some(tag) = self.tag {
            out.extend([0x81, 0x00]);
            out.extend(tag.to_be_bytes());
        }
        if source.is_ipv4() {
            out.extend([0x08, 0x00]);
            let total = (20 + length).to_be_bytes();
            let id = self.identification.to_be_bytes();
            let mut ip = vec![0x45, self.class, total[0], total[1], id[0], id[1], 0x40, 0];
            ip.extend([self.limit, 17, 0, 0]);
            ip.extend([&from[..], &to[..]].concat());
            let sum = naive(&[&ip]).to_be_bytes();
            ip[10..12].copy_from_slice(&sum);
            out.extend(ip);
        } else {
            out.extend([0x86, 0xdd]);
            let first = (6 << 28) | (u32::from(self.class) << 20) | self.label;
            out.extend(first.to_be_bytes());
            out.extend(length.to_be_bytes());
            out.extend([17, self.limit]);
            out.extend([&from[..], &to[..]].concat());
        }
        out.extend(udp);
        out.resize(out.len().max(60), 0);
        out
    }
}

fn rtp(sequence: u16, payload_type: u8, ssrc: u32, length: usize) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc,
    };
    let mut out = header.emit().to_vec();
    out.extend((0..length).map(|n| (n * 37) as u8));
    out
}

fn pass(table: &mut FlowTable, frame: &[u8]) -> (Verdict, Vec<u8>) {
    pass_at(table, frame, Instant::ZERO)
}

fn pass_at(table: &mut FlowTable, frame: &[u8], now: Instant) -> (Verdict, Vec<u8>) {
    let mut buffer = frame.to_vec();
    buffer.resize(BUFFER, 0xee);
    let mut work = Frame::new(&mut buffer, frame.len()).expect("fits");
    let verdict = process(&mut work, table, now);
    let out = work.bytes().to_vec();
    (verdict, out)
}

#[test]
fn ipv4_goes_on_with_new_addresses() {
    let mut table = table(onward(OURS_B, PEER_B));
    let payload = rtp(1, 0, 9, 160);
    let came = BUILD.frame(at(PEER_A), at(OURS_A), &payload);
    let (verdict, went) = pass(&mut table, &came);
    assert_eq!(verdict, Verdict::Forward { link: 7 });
    let wanted = Build {
        macs: [MAC_OUT, MAC_NEXT],
        limit: 63,
        ..BUILD
    };
    assert_eq!(went, wanted.frame(at(OURS_B), at(PEER_B), &payload));
    assert_eq!(
        table.stats(at(OURS_A)).map(|s| (s.packets, s.bytes)),
        Some((1, 172))
    );
}

#[test]
fn random_frames_equal_those_summed_whole() {
    let mut rng = Rng::from_u64(6);
    for round in 0..20_000u32 {
        let mut to = match rng.below(2) {
            0 => onward(OURS_B, PEER_B),
            _ => onward(OURS_B6, PEER_B6),
        };
        let v6 = rng.chance(1, 2);
        to.link = if v6 { 6 } else { 4 };
        let tag = rng.below(0x1_0000) as u16;
        to.tag = rng
            .chance(1, 2)
            .then_some(tag)
            .filter(|t| t & 0xfff != 0xfff);
        to.dscp = rng.chance(1, 2).then(|| rng.below(64) as u8);
        let new_ssrc = rng.next_u64() as u32;
        to.ssrc = rng.chance(1, 2).then_some(SsrcMap {
            sent: new_ssrc,
            reported: None,
        });
        to.payload_types = vec![(96, 101)];
        let came = Build {
            class: rng.next_u64() as u8,
            limit: 2 + rng.below(254) as u8,
            identification: rng.next_u64() as u16,
            label: rng.below(1 << 20) as u32,
            checksum: v6 || rng.chance(3, 4),
            ..BUILD
        };
        let (from, ours) = if v6 {
            (PEER_A6, OURS_A6)
        } else {
            (PEER_A, OURS_A)
        };
        let mut payload = rtp(round as u16, 96, round, rng.below(200) as usize);
        let length = payload.len();
        rng.fill(&mut payload[2..length]);
        let frame = came.frame(at(from), at(ours), &payload);
        payload[1] = 101;
        if let Some(map) = to.ssrc {
            payload[8..12].copy_from_slice(&map.sent.to_be_bytes());
        }
        let v6_out = to.source.is_ipv6();
        let wanted = Build {
            macs: [MAC_OUT, MAC_NEXT],
            tag: to.tag,
            class: to.dscp.map_or(came.class, |d| d << 2 | came.class & 3),
            limit: came.limit - 1,
            identification: if v6 { 0 } else { came.identification },
            label: if v6 { came.label } else { 0 },
            checksum: came.checksum || v6_out,
        };
        let wanted = wanted.frame(to.source, to.destination, &payload);
        let mut table = table(to);
        let (verdict, went) = pass(&mut table, &frame);
        assert!(
            matches!(verdict, Verdict::Forward { .. }),
            "{round}: {verdict:?}"
        );
        assert_eq!(went, wanted, "{round}");
    }
}

/// A frame as Linux hands it from one container to another: instead of the checksum it has the sum
/// of the pseudo header, for a card to go on with.
fn unfinished(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = BUILD.frame(source, destination, payload);
    let length = (8 + payload.len()) as u16;
    let (from, to) = (octets(source.ip()), octets(destination.ip()));
    let sum = !naive(&[&from, &to, &[0, 17], &length.to_be_bytes()]);
    let udp = if source.is_ipv4() { 34 } else { 54 };
    frame[udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn a_checksum_that_was_left_to_the_card_is_made() {
    for length in [0, 1, 20, 160] {
        for (from, ours) in [(PEER_A, OURS_A), (PEER_A6, OURS_A6)] {
            for (source, to) in [(OURS_B, PEER_B), (OURS_B6, PEER_B6)] {
                let mut onward = onward(source, to);
                onward.link = if from == PEER_A6 { 6 } else { 4 };
                let mut table = table(onward);
                let payload = rtp(1, 0, 9, length);
                let (verdict, went) = pass(&mut table, &unfinished(at(from), at(ours), &payload));
                assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
                let wanted = Build {
                    macs: [MAC_OUT, MAC_NEXT],
                    limit: 63,
                    identification: if from == PEER_A6 { 0 } else { 0x1234 },
                    ..BUILD
                };
                let wanted = wanted.frame(at(source), at(to), &payload);
                assert_eq!(went, wanted, "{from} {source} {length}");
            }
        }
    }
}

#[test]
fn a_wrong_checksum_stays_wrong_for_the_receiver_to_find() {
    let mut table = table(onward(OURS_B, PEER_B));
    let payload = rtp(1, 0, 9, 160);
    let whole = BUILD.frame(at(PEER_A), at(OURS_A), &payload);
    let left = unfinished(at(PEER_A), at(OURS_A), &payload)[40..42].to_vec();
    for wrong in 1..=u16::MAX {
        let wrong = wrong.to_be_bytes();
        if wrong == whole[40..42] || wrong == left[..] {
            continue;
        }
        let mut frame = whole.clone();
        frame[40..42].copy_from_slice(&wrong);
        let (_, went) = pass(&mut table, &frame);
        let udp = &went[34..34 + 8 + payload.len()];
        let pseudo = [&went[26..34], &[0, 17], &udp[4..6]].concat();
        assert_ne!(naive(&[&pseudo, udp]), 0, "{wrong:?}");
    }
}

#[test]
fn what_is_no_datagram_of_a_flow_is_for_the_host_untouched() {
    let sound = BUILD.frame(at(PEER_A), at(OURS_A), &rtp(1, 0, 9, 160));
    let mut table = table(onward(OURS_B, PEER_B));
    let mut edits: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut edit = |name, change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = sound.clone();
        change(&mut frame);
        if frame.len() >= 34 {
            frame[24..26].fill(0);
            let sum = naive(&[&frame[14..34]]).to_be_bytes();
            frame[24..26].copy_from_slice(&sum);
        }
        edits.push((name, frame));
    };
    edit("broadcast", &|f| f[..6].fill(0xff));
    edit("ARP", &|f| f[12..14].copy_from_slice(&[8, 6]));
    edit("options", &|f| f[14] = 0x46);
    edit("a first fragment", &|f| f[20] = 0x20);
    edit("a later fragment", &|f| f[21] = 1);
    edit("TCP", &|f| f[23] = 6);
    edit("IP longer than the frame", &|f| f[16] = 9);
    edit("UDP longer than IP", &|f| f[38] = 9);
    edit("UDP shorter than IP", &|f| f[39] -= 1);
    edit("UDP shorter than itself", &|f| f[38..40].fill(0));
    edit("another port", &|f| f[37] ^= 2);
    edit("another address", &|f| f[33] ^= 2);
    edit("a VLAN", &|f| {
        f.splice(12..12, [0x81, 0, 0, 5]);
    });
    for length in 0..sound.len() {
        edits.push(("truncated", sound[..length].to_vec()));
    }
    let mut wrong = sound.clone();
    wrong[24] ^= 1;
    edits.push(("IP checksum", wrong));
    for (name, frame) in &edits {
        let (verdict, out) = pass(&mut table, frame);
        assert_eq!((verdict, &out), (Verdict::Host, frame), "{name}");
    }
    assert_eq!(table.totals().host, edits.len() as u64);
}

#[test]
fn a_priority_tag_names_no_vlan() {
    let mut table = table(onward(OURS_B, PEER_B));
    let tagged = Build {
        tag: Some(0xa000),
        ..BUILD
    };
    let frame = tagged.frame(at(PEER_A), at(OURS_A), &rtp(1, 0, 9, 160));
    let (verdict, went) = pass(&mut table, &frame);
    assert_eq!(verdict, Verdict::Forward { link: 7 });
    assert_eq!(went.len(), frame.len() - 4);
}

#[test]
fn refusals_are_counted_by_reason() {
    let mut table = table(onward(OURS_B, PEER_B));
    let packet = rtp(1, 0, 9, 160);
    let stray = BUILD.frame(at("192.0.2.7:4001"), at(OURS_A), &packet);
    assert_eq!(pass(&mut table, &stray).0, Verdict::Drop(DropReason::Stray));
    let last = Build { limit: 1, ..BUILD };
    let expired = last.frame(at(PEER_A), at(OURS_A), &packet);
    assert_eq!(
        pass(&mut table, &expired).0,
        Verdict::Drop(DropReason::Expired)
    );
    let junk = BUILD.frame(at(PEER_A), at(OURS_A), b"neither this nor that");
    assert_eq!(
        pass(&mut table, &junk).0,
        Verdict::Drop(DropReason::Malformed)
    );
    let stats = table.stats(at(OURS_A)).expect("there");
    assert_eq!(stats.packets, 0);
    assert_eq!(stats.dropped, [1, 1, 0, 1, 0, 0, 0]);
    assert_eq!(table.totals().dropped, [1, 1, 0, 1, 0, 0, 0]);
}

#[test]
fn media_gets_what_it_asked_for() {
    let mut to = onward(OURS_B, PEER_B);
    to.punted_types = 1 << 101;
    to.rtcp = RtcpPath::Punt;
    let mut table = table(to);
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.resize(20, 7);
    let mut dtls = vec![22, 254, 253];
    dtls.resize(40, 1);
    for packet in [rtp(1, 101, 9, 4), receiver_report(5, 9), stun, dtls] {
        let frame = BUILD.frame(at(PEER_A), at(OURS_A), &packet);
        assert_eq!(pass(&mut table, &frame), (Verdict::Punt, frame));
    }
    let voice = BUILD.frame(at(PEER_A), at(OURS_A), &rtp(1, 100, 9, 4));
    assert_eq!(pass(&mut table, &voice).0, Verdict::Forward { link: 7 });
    assert_eq!((table.totals().punted, table.totals().forwarded), (4, 1));
}

#[test]
fn punted_and_inactive_flows() {
    let mut table = FlowTable::new(2);
    let frame = BUILD.frame(at(PEER_A), at(OURS_A), &rtp(1, 0, 9, 160));
    let inactive = spec(PEER_A, OURS_A, Action::Discard);
    table.install(inactive).expect("room");
    let verdict = Verdict::Drop(DropReason::Inactive);
    assert_eq!(pass(&mut table, &frame).0, verdict);
    let punt = spec(PEER_A, OURS_A, Action::Punt);
    table.install(punt).expect("room");
    assert_eq!(pass(&mut table, &frame), (Verdict::Punt, frame));
    let stats = table.remove(at(OURS_A)).expect("there");
    assert_eq!(
        stats.dropped,
        [0, 0, 1, 0, 0, 0, 0],
        "kept by the successor"
    );
}

#[test]
fn what_is_too_long_for_the_link_is_for_the_host() {
    let mut to = onward(OURS_B6, PEER_B6);
    to.mtu = 40 + 8 + 172;
    let mut table = table(to);
    for (length, fits) in [(160, true), (161, false)] {
        let frame = BUILD.frame(at(PEER_A), at(OURS_A), &rtp(1, 0, 9, length));
        let (verdict, out) = pass(&mut table, &frame);
        let wanted = if fits {
            Verdict::Forward { link: 7 }
        } else {
            Verdict::Host
        };
        assert_eq!(verdict, wanted);
        assert!(fits || out == frame);
    }
}

#[test]
fn a_buffer_without_room_is_said_and_not_overrun() {
    let mut table = table(onward(OURS_B6, PEER_B6));
    let frame = BUILD.frame(at(PEER_A), at(OURS_A), &rtp(1, 0, 9, 160));
    for spare in [0, 19, 20] {
        let mut buffer = frame.clone();
        buffer.resize(frame.len() + spare, 0);
        let mut work = Frame::new(&mut buffer, frame.len()).expect("fits");
        let wanted = if spare < 20 {
            Verdict::Drop(DropReason::NoRoom)
        } else {
            Verdict::Forward { link: 7 }
        };
        assert_eq!(process(&mut work, &mut table, Instant::ZERO), wanted);
    }
    assert!(Frame::new(&mut [0; 10], 11).is_none());
}

/// One report block, of `about`.
fn receiver_report(reporter: u32, about: u32) -> Vec<u8> {
    let mut out = vec![0x81, 201, 0, 7];
    out.extend(reporter.to_be_bytes());
    out.extend(about.to_be_bytes());
    out.resize(32, 3);
    out
}

#[test]
fn rtcp_speaks_of_the_new_sources() {
    let mut to = onward(OURS_B, PEER_B);
    to.ssrc = Some(SsrcMap {
        sent: 0x0a0a_0a0a,
        reported: Some((0x0b0b_0b0b, 0x0c0c_0c0c)),
    });
    to.rtcp = RtcpPath::Ports {
        source: 16387,
        destination: 5001,
    };
    let compound = |sender: u32, about: u32| {
        let sender = sender.to_be_bytes();
        let about = about.to_be_bytes();
        let mut out = Vec::new();
        // A sender report with two blocks, one of them about somebody else.
        out.extend([0x82, 200, 0, 18]);
        out.extend(sender);
        out.extend([9; 20]);
        out.extend(about);
        out.extend([1; 20]);
        out.extend([4; 24]);
        // CNAME "abcd" and a note of no letters: 4 + 6 + 2, then one to four zeros.
        out.extend([0x81, 202, 0, 4]);
        out.extend(sender);
        out.extend([1, 4, b'a', b'b', b'c', b'd', 7, 0, 0, 0, 0, 0]);
        // Picture loss (RFC 4585 §6.3.1), then goodbye.
        out.extend([0x81, 206, 0, 2]);
        out.extend(sender);
        out.extend(about);
        out.extend([0x81, 203, 0, 1]);
        out.extend(sender);
        out
    };
    let mut table = table(to);
    let frame = BUILD.frame(at(PEER_A), at(OURS_A), &compound(77, 0x0b0b_0b0b));
    let (verdict, went) = pass(&mut table, &frame);
    assert_eq!(verdict, Verdict::Forward { link: 7 });
    let wanted = Build {
        macs: [MAC_OUT, MAC_NEXT],
        limit: 63,
        ..BUILD
    };
    let (from, to) = (at("203.0.113.1:16387"), at("198.51.100.9:5001"));
    let packet = compound(0x0a0a_0a0a, 0x0c0c_0c0c);
    assert_eq!(went, wanted.frame(from, to, &packet));
    let stats = table.stats(at(OURS_A)).expect("there");
    assert_eq!((stats.packets, stats.rtcp), (0, 1));
}

fn key(profile: Profile, seed: u64) -> MasterKey {
    MasterKey::generate(profile, |bytes| Rng::from_u64(seed).fill(bytes))
}

fn secured(theirs: Option<&MasterKey>, ours: Option<&MasterKey>) -> Option<Box<Security>> {
    let crypto = |key: &MasterKey| Crypto {
        tag: 1,
        master: key.clone(),
        lifetime: None,
        mki: None,
    };
    let shared = |keys: Keys| {
        let shared = Shared::default();
        shared.renew(&keys);
        shared
    };
    Some(Box::new(Security {
        from: theirs.map(|key| {
            shared(Keys {
                ours: None,
                theirs: Some(crypto(key)),
            })
        }),
        toward: ours.map(|key| {
            shared(Keys {
                ours: Some(crypto(key)),
                theirs: None,
            })
        }),
    }))
}

#[test]
fn srtp_comes_off_and_goes_on_with_every_profile() {
    for profile in Profile::ALL {
        let (theirs, ours) = (key(profile, 1), key(profile, 2));
        let mut to = onward(OURS_B6, PEER_B6);
        to.security = secured(Some(&theirs), Some(&ours));
        to.payload_types = vec![(96, 97)];
        let mut table = table(to);
        let mut phone = Protector::new(&theirs, None, None);
        let mut far = Unprotector::new(&ours, None, None);
        for sequence in 0..50 {
            let is_rtcp = sequence % 10 == 9;
            let clear = if is_rtcp {
                receiver_report(9, 5)
            } else {
                rtp(sequence, 96, 9, 161)
            };
            let mut packet = clear.clone();
            packet.resize(BUFFER, 0);
            let length = if is_rtcp {
                phone.protect_rtcp(&mut packet, clear.len())
            } else {
                phone.protect_rtp(&mut packet, clear.len())
            };
            packet.truncate(length.expect("room"));
            let frame = BUILD.frame(at(PEER_A), at(OURS_A), &packet);
            let (verdict, went) = pass(&mut table, &frame);
            assert_eq!(verdict, Verdict::Forward { link: 7 }, "{profile:?}");
            let mut out = went[14 + 40 + 8..].to_vec();
            let again = Build {
                macs: [MAC_OUT, MAC_NEXT],
                limit: 63,
                ..BUILD
            };
            assert_eq!(went, again.frame(at(OURS_B6), at(PEER_B6), &out));
            let length = if is_rtcp {
                far.unprotect_rtcp(&mut out)
            } else {
                far.unprotect_rtp(&mut out)
            };
            out.truncate(length.expect("genuine"));
            let mut wanted = clear;
            if !is_rtcp {
                wanted[1] = 97;
            }
            assert_eq!(out, wanted);
        }
    }
}

#[test]
fn rtp_becomes_srtp_and_back() {
    let ours = key(Profile::AeadAes256Gcm, 2);
    let mut to = onward(OURS_B, PEER_B);
    to.security = secured(None, Some(&ours));
    let mut there = table(to);
    let mut to = onward(OURS_B, PEER_B);
    to.security = secured(Some(&ours), None);
    let mut back = table(to);
    let packet = rtp(1, 0, 9, 160);
    let frame = BUILD.frame(at(PEER_A), at(OURS_A), &packet);
    let (_, went) = pass(&mut there, &frame);
    assert_eq!(went.len(), frame.len() + 16);
    let protected = BUILD.frame(at(PEER_A), at(OURS_A), &went[42..]);
    let (_, came) = pass(&mut back, &protected);
    assert_eq!(came[42..], packet[..]);
    // The same once more is a replay, a changed one is forged, and neither counts as heard.
    assert_eq!(
        pass(&mut back, &protected).0,
        Verdict::Drop(DropReason::Srtp)
    );
    let forged = BUILD.frame(at(PEER_A), at(OURS_A), &rtp(2, 0, 9, 176));
    assert_eq!(pass(&mut back, &forged).0, Verdict::Drop(DropReason::Srtp));
    let stats = back.stats(at(OURS_A)).expect("there");
    assert_eq!(
        (stats.packets, stats.dropped[DropReason::Srtp.index()]),
        (1, 2)
    );
    // What is broken must not leave with a sound tag.
    let mut broken = BUILD.frame(at(PEER_A), at(OURS_A), &rtp(2, 0, 9, 160));
    broken[60] ^= 1;
    assert_eq!(
        pass(&mut there, &broken).0,
        Verdict::Drop(DropReason::Checksum)
    );
    // Where nobody has summed it nothing is wrong.
    let left = unfinished(at(PEER_A), at(OURS_A), &rtp(3, 0, 9, 160));
    assert_eq!(pass(&mut there, &left).0, Verdict::Forward { link: 7 });
}

#[test]
fn a_flow_that_is_changed_and_that_of_another_ring_have_one_set_of_srtp_contexts() {
    let ours = key(Profile::AesCm128HmacSha1_80, 2);
    let mut to = onward(OURS_B, PEER_B);
    to.security = secured(None, Some(&ours));
    let security = to.security.clone();
    let mut table = table(to);
    let frame = BUILD.frame(at(PEER_A), at(OURS_A), &rtp(1, 0, 9, 160));
    assert_eq!(pass(&mut table, &frame).0, Verdict::Forward { link: 7 });
    let changed = || {
        let mut to = onward(OURS_B, "198.51.100.10:6000");
        to.security.clone_from(&security);
        spec(PEER_A, OURS_A, Action::Forward(Box::new(to)))
    };
    table.install(changed()).expect("there already");
    // The number was used under this key.
    assert_eq!(pass(&mut table, &frame).0, Verdict::Drop(DropReason::Srtp));
    let mut other_ring = FlowTable::new(16);
    other_ring.install(changed()).expect("room");
    assert_eq!(
        pass(&mut other_ring, &frame).0,
        Verdict::Drop(DropReason::Srtp)
    );
    // While another is at it nobody waits: the packet goes by sockets, as it came.
    let next = BUILD.frame(at(PEER_A), at(OURS_A), &rtp(2, 0, 9, 160));
    let shared = security
        .as_ref()
        .and_then(|security| security.toward.as_ref());
    let busy = shared.expect("set above").outbound();
    let (verdict, left) = pass(&mut table, &next);
    assert_eq!((verdict, &left[..next.len()]), (Verdict::Punt, &next[..]));
    drop(busy);
    assert_eq!(pass(&mut table, &next).0, Verdict::Forward { link: 7 });
    let stats = table.stats(at(OURS_A)).expect("there");
    assert_eq!(
        stats.packets, 3,
        "a packet that was left alone counts where it goes on"
    );
    let action = Action::Forward(Box::new(onward(OURS_B, PEER_B)));
    let clear = spec(PEER_A, OURS_A, action);
    table.install(clear).expect("there already");
    let (_, went) = pass(&mut table, &frame);
    assert_eq!(went.len(), frame.len());
}

#[test]
fn losses_and_jitter_are_those_of_rfc_3550() {
    let mut table = table(onward(OURS_B, PEER_B));
    for n in 0..500u16 {
        if n % 50 == 25 {
            continue;
        }
        let late = u64::from(n % 2) * 5;
        let now = Instant::ZERO + Duration::from_millis(20 * u64::from(n) + late);
        let frame = BUILD.frame(at(PEER_A), at(OURS_A), &rtp(n, 0, 9, 160));
        pass_at(&mut table, &frame, now);
    }
    let stats = table.stats(at(OURS_A)).expect("there");
    assert_eq!(
        (stats.packets, stats.lost, stats.ssrc_changes),
        (490, 10, 0)
    );
    assert!((4_500..=5_100).contains(&stats.jitter_us), "{stats:?}");
}

#[test]
fn impossible_flows_are_refused() {
    let mut table = FlowTable::new(4);
    let forward = |change: &dyn Fn(&mut Onward)| {
        let mut to = onward(OURS_B, PEER_B);
        change(&mut to);
        spec(PEER_A, OURS_A, Action::Forward(Box::new(to)))
    };
    let address = [
        spec(PEER_A6, OURS_A, Action::Punt),
        spec("[::ffff:192.0.2.1]:4", OURS_A6, Action::Punt),
        spec(PEER_A, "203.0.113.1:0", Action::Punt),
        forward(&|to| to.source = at(OURS_B6)),
    ];
    let rewrite = [
        forward(&|to| to.tag = Some(0x0fff)),
        forward(&|to| to.dscp = Some(64)),
        forward(&|to| to.payload_types = vec![(1, 128)]),
        forward(&|to| to.payload_types = vec![(1, 2); PAYLOAD_TYPES_MAX + 1]),
    ];
    let foreign = || Some(Box::new(Security::default()));
    let protected = [
        forward(&|to| {
            to.security = foreign();
            to.payload_types = vec![(96, 97)];
        }),
        forward(&|to| {
            to.security = foreign();
            let (sent, reported) = (7, None);
            to.ssrc = Some(SsrcMap { sent, reported });
        }),
    ];
    for spec in protected {
        assert_eq!(table.install(spec), Err(FlowError::Protected));
    }
    for spec in address {
        assert_eq!(table.install(spec), Err(FlowError::BadAddress));
    }
    for spec in rewrite {
        assert_eq!(table.install(spec), Err(FlowError::BadRewrite));
    }
    assert!(table.is_empty());
}

#[test]
fn the_table_equals_an_ordered_map_under_random_changes() {
    use std::collections::BTreeMap;
    let mut rng = Rng::from_u64(3);
    let mut table = FlowTable::new(300);
    let mut model: BTreeMap<SocketAddr, u64> = BTreeMap::new();
    for _ in 0..60_000 {
        let port = 16384 + rng.below(400) as u16;
        let key = SocketAddr::from(([203, 0, 113, rng.below(2) as u8], port));
        let text = key.to_string();
        match rng.below(4) {
            0 => {
                let result = table.install(spec(PEER_A, &text, Action::Discard));
                let full = model.len() == 300 && !model.contains_key(&key);
                assert_eq!(result, if full { Err(FlowError::Full) } else { Ok(()) });
                if !full {
                    model.entry(key).or_default();
                }
            }
            1 => {
                let gone = table.remove(key).map(|stats| stats.dropped[2]);
                let wanted = model.remove(&key).map(|n| n as u32);
                assert_eq!(gone, wanted.ok_or(FlowError::Unknown));
            }
            _ => {
                let frame = BUILD.frame(at(PEER_A), key, &rtp(1, 0, 9, 20));
                let (verdict, _) = pass(&mut table, &frame);
                let known = model.get_mut(&key);
                assert_eq!(verdict == Verdict::Host, known.is_none());
                known.into_iter().for_each(|n| *n += 1);
            }
        }
        assert_eq!(table.len(), model.len());
    }
    assert!(table.totals().dropped[2] > 1000 && table.totals().host > 1000);
}

#[test]
fn a_full_table_leaves_the_rest_to_the_sockets() {
    let mut table = FlowTable::new(32_768);
    let (control, mut ring) = ring();
    let (mut installed, mut refused) = (0, 0);
    for port in 1..=u16::MAX {
        let key = SocketAddr::from(([203, 0, 113, 1], port)).to_string();
        let change = Change::Install {
            spec: Box::new(spec(PEER_A, &key, Action::Punt)),
        };
        control.ask(change).expect("drained each time");
        table.apply_changes(&mut ring);
        match control.poll_answer() {
            Some(Answer::Installed { result: Ok(()), .. }) => installed += 1,
            Some(Answer::Installed { result, .. }) => {
                assert_eq!(result, Err(FlowError::Full));
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((installed, refused), (32_768, 32_767));
    let first = BUILD.frame(at(PEER_A), at("203.0.113.1:1"), &rtp(1, 0, 9, 20));
    assert_eq!(pass(&mut table, &first).0, Verdict::Punt);
    let last = BUILD.frame(at(PEER_A), at("203.0.113.1:65535"), &rtp(1, 0, 9, 20));
    assert_eq!(pass(&mut table, &last).0, Verdict::Host);
}

#[test]
fn changes_cross_threads_and_wait_for_room() {
    let (control, mut ring) = ring();
    let query = || Change::Query {
        destination: at(OURS_A),
    };
    for _ in 0..CHANGES_MAX {
        control.ask(query()).expect("room");
    }
    assert!(control.ask(query()).is_err(), "the bound holds");
    let mut table = FlowTable::new(1);
    let driver = std::thread::spawn(move || {
        for _ in 0..CHANGES_MAX {
            table.apply_changes(&mut ring);
        }
        (table, ring)
    });
    let (mut table, mut ring) = driver.join().expect("no panic");
    // All answers found room just so; more changes are taken, but the first without room waits.
    for _ in 0..10 {
        control.ask(query()).expect("room");
    }
    table.apply_changes(&mut ring);
    let answers = std::iter::from_fn(|| control.poll_answer()).count();
    assert_eq!(answers, ANSWERS_MAX);
    table.apply_changes(&mut ring);
    let answers = std::iter::from_fn(|| control.poll_answer()).count();
    assert_eq!(answers, 10, "none is lost");
    drop(control);
    table.apply_changes(&mut ring);
}
