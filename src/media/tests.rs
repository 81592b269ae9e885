//! The studio without a network.

use super::*;
use crate::base::{Anchor, Instant};
use crate::wire::rtp::{Coding, Header, Packet};

const ANCHOR: Anchor = Anchor {
    instant: Instant::ZERO,
    unix_ms: 1_790_000_000_000,
};

#[derive(Default)]
struct Sent(Vec<(u64, Vec<u8>)>);

impl Outlet for Sent {
    fn rtp(&mut self, session: u64, _stream: usize, packet: &[u8]) {
        self.0.push((session, packet.to_vec()));
    }

    fn rtcp(&mut self, _session: u64, _stream: usize, _packet: &[u8]) {}
}

fn format() -> Format {
    Format {
        stream: 0,
        coding: Coding::Pcma,
        payload_type: 8,
        events: Some(101),
        packet_ms: 20,
        sends: true,
    }
}

fn packet(sequence: u16, timestamp: u32, ssrc: u32, payload_type: u8, body: &[u8]) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type,
        sequence,
        timestamp,
        ssrc,
    };
    [&header.emit()[..], body].concat()
}

#[test]
fn an_echo_keeps_gaps_and_order_under_our_own_name() {
    let mut studio = Studio::new(4, ANCHOR);
    let (now, session) = (Instant::ZERO, 7);
    let seed = 0x0102_0304_0506_0708;
    let format = format();
    studio.handle_order(
        now,
        Order::Open {
            session,
            format,
            seed,
        },
    );
    let mut sent = Sent::default();
    // Before there is a task nothing goes back.
    studio.handle_rtp(now, session, 0, &packet(1, 0, 9, 8, b"a"), &mut sent);
    assert!(sent.0.is_empty());
    let what = Task::Echo;
    studio.handle_order(
        now,
        Order::Do {
            session,
            task: 1,
            what,
        },
    );
    for (sequence, timestamp, ssrc) in [(10, 1600, 9), (12, 1920, 9), (11, 1760, 9), (500, 77, 10)]
    {
        let bytes = packet(sequence, timestamp, ssrc, 8, b"sound");
        studio.handle_rtp(now, session, 0, &bytes, &mut sent);
    }
    // An unknown payload type, another stream, another session, garbage.
    studio.handle_rtp(now, session, 0, &packet(13, 2080, 9, 111, b"x"), &mut sent);
    studio.handle_rtp(now, session, 1, &packet(13, 2080, 9, 8, b"x"), &mut sent);
    studio.handle_rtp(now, 8, 0, &packet(13, 2080, 9, 8, b"x"), &mut sent);
    studio.handle_rtp(now, session, 0, b"\x80", &mut sent);
    let heads: Vec<Header> = sent
        .0
        .iter()
        .map(|(to, bytes)| {
            let packet = Packet::new_checked(bytes).unwrap();
            assert_eq!((*to, packet.payload()), (session, &b"sound"[..]));
            packet.header()
        })
        .collect();
    let first = heads[0];
    let steps: Vec<(u16, u32)> = heads
        .iter()
        .map(|h| {
            assert_eq!(h.ssrc, first.ssrc);
            (
                h.sequence.wrapping_sub(first.sequence),
                h.timestamp.wrapping_sub(first.timestamp),
            )
        })
        .collect();
    assert_eq!(steps, [(0, 0), (2, 320), (1, 160), (2, 320)]);
    assert_ne!(first.ssrc, 9);
}
