//! The fast path under frames of all kinds.

use std::net::SocketAddr;

use voip::base::Instant;
use voip::relay::frame::{
    Action, FlowSpec, FlowTable, Frame, Onward, RtcpPath, Security, SsrcMap, Verdict,
};
use voip::relay::process;
use voip::srtp::{Crypto, Keys, MasterKey, Profile, Shared};

/// What lies behind the buffer, and must stay as it is.
const GUARD: [u8; 64] = [0xa5; 64];

/// A script of frames: spare room, length (two bytes), then the frame. None panics, each comes to
/// one verdict, what is not forwarded or dropped stays as it was, nothing is written behind the
/// buffer; and what goes on is sound: an IPv4 header that sums to zero, lengths that are true.
pub fn frame(bytes: &[u8]) {
    let mut table = table();
    let (mut rest, mut seen) = (bytes, 0u64);
    while let [spare, l0, l1, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1])).min(after.len());
        let (packet, after) = after.split_at(length);
        rest = after;
        seen += 1;
        let mut memory = packet.to_vec();
        let room = length + usize::from(*spare);
        memory.resize(room, 0);
        memory.extend(GUARD);
        let (buffer, guard) = memory.split_at_mut(room);
        let mut frame = Frame::new(buffer, length).expect("it fits");
        let verdict = process(&mut frame, &mut table, Instant::from_millis(20 * seen));
        assert!(frame.length() <= room);
        match verdict {
            Verdict::Forward { link } => check(frame.bytes(), link),
            Verdict::Host | Verdict::Punt => assert_eq!(frame.bytes(), packet),
            Verdict::Drop(_) => {}
        }
        assert_eq!(*guard, GUARD);
    }
    let totals = table.totals();
    let dropped: u64 = totals.dropped.iter().sum();
    assert_eq!(
        totals.forwarded + totals.punted + totals.host + dropped,
        seen
    );
}

/// What we send is a frame that we would take.
fn check(frame: &[u8], link: u16) {
    let ip = match frame[12..14] {
        [0x81, 0] => 18,
        _ => 14,
    };
    let header = &frame[ip..];
    let udp = if header[0] == 0x45 {
        let words = header[..20].chunks(2);
        let sum: u32 = words
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
            .sum();
        assert_eq!((sum >> 16) + (sum & 0xffff), 0xffff);
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        &header[20..total]
    } else {
        assert_eq!((header[0] >> 4, link), (6, 2));
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        assert_ne!(header[46..48], [0, 0], "IPv6 wants a checksum");
        &header[40..40 + length]
    };
    assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), udp.len());
}

/// Ports 16384 to 16391 of one address of each family: even ones only change headers, odd ones all
/// else; the third and fourth take SRTP.
fn table() -> FlowTable {
    let mut table = FlowTable::new(16);
    for v6 in [false, true] {
        for n in 0..8u16 {
            let (ours, peer) = if v6 {
                ("[2001:db8::1]", "[2001:db8:7::9]:4000")
            } else {
                ("203.0.113.1", "192.0.2.7:4000")
            };
            let destination = format!("{ours}:{}", 16_384 + n);
            let spec = FlowSpec {
                destination: address(&destination),
                source: address(peer),
                vlan: (n == 7).then_some(5),
                clock_rate: 48_000,
                action: match n {
                    6 => Action::Punt,
                    _ => Action::Forward(Box::new(onward(n, v6 == (n < 4)))),
                },
            };
            table.install(spec).expect("room");
        }
    }
    table
}

fn onward(n: u16, v6: bool) -> Onward {
    let (source, destination) = if v6 {
        ("[2001:db8::1]:16500", "[2001:db8:9::5]:5000")
    } else {
        ("203.0.113.1:16500", "198.51.100.9:5000")
    };
    let security = Security {
        from: (n == 2).then(contexts),
        toward: Some(contexts()),
    };
    let special = n % 2 == 1;
    Onward {
        link: if v6 { 2 } else { 1 },
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        tag: special.then_some(0x6005),
        source: address(source),
        destination: address(destination),
        rtcp: match n {
            1 => RtcpPath::Ports {
                source: 16_501,
                destination: 5001,
            },
            5 => RtcpPath::Punt,
            _ => RtcpPath::Same,
        },
        mtu: 1500,
        dscp: special.then_some(46),
        ssrc: special.then_some(SsrcMap {
            sent: 1,
            reported: Some((2, 3)),
        }),
        payload_types: vec![(96, 97); usize::from(special)],
        punted_types: u128::from(special) << 101,
        security: matches!(n, 2 | 3).then(|| Box::new(security)),
    }
}

/// One key for both directions.
fn contexts() -> Shared {
    let key = Crypto {
        tag: 1,
        master: MasterKey::generate(Profile::AeadAes128Gcm, |bytes| bytes.fill(7)),
        lifetime: None,
        mki: None,
    };
    let shared = Shared::default();
    shared.renew(&Keys {
        ours: Some(key.clone()),
        theirs: Some(key),
    });
    shared
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}
