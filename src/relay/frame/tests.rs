//! Frames against what is written by hand and summed whole; `tests/frames.rs` has scapy's.

use super::*;
use crate::base::Rng;
use crate::srtp::{MasterKey, Profile, Protector, Unprotector};
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
    table.install(spec(from, to, action), false).expect("room");
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
