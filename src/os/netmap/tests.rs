//! The rings in memory that is laid out as the kernel's, with a kernel of our own behind it.

#![allow(unsafe_code)]

use super::fake::{Apart, Kernel};
use super::*;
use crate::base::{Instant, Rng};
use crate::relay::frame::{Action, FlowSpec, FlowTable, Onward, RtcpPath};
use netmap_sys::netmap::{netmap_if, netmap_ring};
use std::collections::VecDeque;
use std::net::SocketAddr;

pub(super) const OURS: &str = "203.0.113.1:16384";
pub(super) const PEER: &str = "192.0.2.7:4000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn table() -> FlowTable {
    let mut table = FlowTable::new(16);
    let onward = Onward {
        link: 0,
        source_mac: [2, 0, 0, 0, 0, 2],
        destination_mac: [2, 0, 0, 0, 0, 3],
        tag: None,
        source: at("203.0.113.1:16386"),
        destination: at("198.51.100.9:5000"),
        rtcp: RtcpPath::Punt,
        mtu: 1500,
        dscp: None,
        ssrc: None,
        payload_types: Vec::new(),
        punted_types: 0,
        security: None,
    };
    let spec = FlowSpec {
        destination: at(OURS),
        source: at(PEER),
        vlan: None,
        clock_rate: 8000,
        action: Action::Forward(Box::new(onward)),
    };
    table.install(spec).unwrap();
    table
}

/// A frame of the flow; `mark` is its first byte of sound. RTCP if the type says so.
pub(super) fn frame(source: &str, payload_type: u8, mark: u16) -> Vec<u8> {
    let (source, ours) = (at(source), at(OURS));
    let mut udp = Vec::new();
    for port in [source.port(), ours.port(), 8 + 12 + 20, 0] {
        udp.extend(port.to_be_bytes());
    }
    udp.extend([0x80, payload_type]);
    udp.extend(mark.to_be_bytes());
    udp.extend([0, 0, 0, 1, 0, 0, 0, 7]);
    udp.extend([mark as u8; 20]);
    let mut ip = vec![
        0x45,
        0,
        0,
        20 + udp.len() as u8,
        0,
        0,
        0x40,
        0,
        64,
        17,
        0,
        0,
    ];
    for address in [source, ours] {
        let std::net::IpAddr::V4(address) = address.ip() else {
            panic!("IPv4 here")
        };
        ip.extend(address.octets());
    }
    let mut sum: u32 = ip
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 9, 8, 0];
    frame.extend(ip);
    frame.extend(udp);
    frame
}

pub(super) fn mark_of(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[44], frame[45]])
}

pub(super) fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 9, 8, 6]);
    frame.resize(60, 1);
    frame
}

fn now() -> Instant {
    Instant::from_millis(1000)
}

#[test]
fn each_frame_goes_where_it_belongs() {
    let (mut kernel, mut table) = (Kernel::new(2, 8), table());
    let mut turn = kernel.turn();
    assert!(kernel.receive(0, &frame(PEER, 0, 1)));
    assert!(kernel.receive(1, &frame(PEER, 0, 2)));
    assert!(kernel.receive(0, &arp()));
    assert!(kernel.receive(0, &frame(PEER, 200, 3)));
    assert!(kernel.receive(1, &frame("192.0.2.8:4000", 0, 4)));
    assert!(kernel.receive(2, &arp()));
    let mut punted = Vec::new();
    let mut punt = |bytes: &[u8]| {
        punted.push(bytes.to_vec());
        true
    };
    let counts = turn.take(now(), &mut Apart(&mut table, &mut punt));
    let wanted = Counts {
        received: 5,
        sent: 2,
        host: 1,
        punted: 1,
        dropped: 1,
        full: 0,
        unheard: 0,
        from_host: 1,
        split: 0,
    };
    assert_eq!(counts, wanted);
    assert_eq!(punted, [frame(PEER, 200, 3)]);
    let sent = [kernel.send(0, 9), kernel.send(1, 9)];
    // The stack's frame leaves by the ring of its number.
    assert_eq!(sent.each_ref().map(Vec::len), [2, 1]);
    assert_eq!([mark_of(&sent[0][0]), mark_of(&sent[1][0])], [1, 2]);
    assert_eq!(sent[0][1], arp());
    // From us, to the other side.
    assert_eq!(
        sent[0][0][26..38],
        [203, 0, 113, 1, 198, 51, 100, 9, 0x40, 2, 0x13, 0x88]
    );
    assert_eq!(kernel.send(2, 9), [arp()]);
    kernel.all_buffers_are_there();
}

#[test]
fn rings_wrap_and_frames_keep_their_order() {
    let (mut kernel, mut table) = (Kernel::new(1, 8), table());
    let mut turn = kernel.turn();
    let mut rng = Rng::from_u64(7);
    let (mut put, mut wanted) = (0u16, 0u16);
    for _ in 0..5000 {
        for _ in 0..rng.below(7) {
            put += u16::from(kernel.receive(0, &frame(PEER, 0, put)));
        }
        let counts = turn.take(now(), &mut Apart(&mut table, &mut |_| true));
        assert_eq!(counts.dropped, 0);
        for sent in kernel.send(0, u32::MAX) {
            assert_eq!(mark_of(&sent), wanted);
            wanted = wanted.wrapping_add(1);
        }
    }
    assert!(put > 10_000 && wanted == put);
    kernel.all_buffers_are_there();
}

#[test]
fn a_full_ring_drops_and_says_so() {
    let (mut kernel, mut table) = (Kernel::new(1, 8), table());
    let mut turn = kernel.turn();
    let mut totals = Counts::default();
    // The stack takes nothing: its ring stays full, and calls go on.
    for n in 0..100 {
        assert!(kernel.receive(0, &arp()));
        assert!(kernel.receive(0, &frame(PEER, 0, n)));
        let counts = turn.take(now(), &mut Apart(&mut table, &mut |_| true));
        totals.host += counts.host;
        totals.full += counts.full;
        totals.dropped += counts.dropped;
        assert_eq!(counts.sent, 1);
        assert_eq!(kernel.send(0, 9).len(), 1);
    }
    assert_eq!((totals.host, totals.full, totals.dropped), (7, 93, 93));
    assert_eq!(kernel.send(1, 9).len(), 7);
    // The card takes nothing: what the stack sends waits, what the card received is lost.
    for n in 0..20 {
        kernel.receive(0, &frame(PEER, 0, n));
        kernel.receive(1, &arp());
        turn.take(now(), &mut Apart(&mut table, &mut |_| true));
    }
    assert_eq!(kernel.send(0, 99).len(), 7);
    turn.take(now(), &mut Apart(&mut table, &mut |_| true));
    assert!(kernel.send(0, 99).contains(&arp()));
    kernel.all_buffers_are_there();
}

#[test]
fn a_ring_is_short_before_it_is_full() {
    let (mut kernel, mut table) = (Kernel::new(1, 64), table());
    let mut turn = kernel.turn();
    for sent in 0..=63 {
        let room = 63 - sent;
        assert_eq!(turn.is_short(BATCH_MAX), room < 16, "{room}");
        assert_eq!((turn.is_short(1), turn.is_blocked()), (room == 0, false));
        kernel.receive(0, &frame(PEER, 0, sent));
        turn.take(now(), &mut Apart(&mut table, &mut |_| true));
    }
    kernel.receive(1, &arp());
    assert!(turn.is_blocked());
    kernel.send(0, 1);
    assert!(!turn.is_blocked() && turn.is_short(BATCH_MAX) && !turn.is_short(1));
}

#[test]
fn a_worker_without_room_costs_its_frames_alone() {
    let (mut kernel, mut table) = (Kernel::new(1, 8), table());
    let mut turn = kernel.turn();
    kernel.receive(0, &frame(PEER, 201, 1));
    kernel.receive(0, &frame(PEER, 0, 2));
    let counts = turn.take(now(), &mut Apart(&mut table, &mut |_| false));
    assert_eq!(
        (counts.punted, counts.dropped, counts.full, counts.sent),
        (0, 1, 1, 1)
    );
    kernel.all_buffers_are_there();
}

#[test]
fn no_seed_loses_a_buffer_or_a_frame() {
    for seed in 0..200 {
        let mut rng = Rng::from_u64(seed);
        let cards = 1 + rng.below(3) as usize;
        let slots = 4 + rng.below(30) as u32;
        let (mut kernel, mut table) = (Kernel::new(cards, slots), table());
        let mut turn = kernel.turn();
        let (mut received, mut went) = (0, 0);
        let mut stack: VecDeque<Vec<u8>> = VecDeque::new();
        for step in 0..200 {
            for _ in 0..rng.below(20) {
                let ring = rng.below(cards as u64) as usize;
                let one = match rng.below(4) {
                    0 => arp(),
                    1 => frame(PEER, 201, step),
                    2 => frame("192.0.2.9:1", 0, step),
                    _ => frame(PEER, 0, step),
                };
                received += u64::from(kernel.receive(ring, &one));
            }
            let mut own = arp();
            own[20] = step as u8;
            if rng.chance(1, 2) && kernel.receive(cards, &own) {
                stack.push_back(own);
            }
            let counts = turn.take(now(), &mut Apart(&mut table, &mut |_| true));
            went += counts.sent + counts.host + counts.punted + counts.dropped;
            for ring in 0..=cards {
                for sent in kernel.send(ring, rng.below(u64::from(slots)) as u32) {
                    // What the stack sends keeps its order.
                    if ring < cards && sent[12..14] == [8, 6] {
                        assert_eq!(Some(sent), stack.pop_front(), "seed {seed}");
                    }
                }
            }
        }
        for _ in 0..200 {
            let counts = turn.take(now(), &mut Apart(&mut table, &mut |_| true));
            went += counts.sent + counts.host + counts.punted + counts.dropped;
            (0..=cards).for_each(|ring| drop(kernel.send(ring, u32::MAX)));
        }
        assert_eq!(received, went, "seed {seed}");
        kernel.all_buffers_are_there();
    }
}

#[test]
fn what_the_kernel_says_is_not_believed_blindly() {
    let flaw = |change: fn(&mut Kernel)| {
        let mut kernel = Kernel::new(1, 8);
        change(&mut kernel);
        kernel.memory().rings(0).unwrap_err()
    };
    // SAFETY: of all these: the region is the test's.
    let wild: [fn(&mut Kernel); 7] = [
        |k| unsafe { (*k.at::<netmap_if>(0)).ni_tx_rings = u32::MAX },
        |k| unsafe { *k.at::<i64>(56) = -64 },
        |k| unsafe { *k.at::<i64>(56) = i64::MAX },
        |k| unsafe { *k.at::<i64>(56) = 1 },
        |k| unsafe { (*k.at::<netmap_ring>(k.rings[0])).num_slots = 1 << 30 },
        |k| unsafe { (*k.at::<netmap_ring>(k.rings[0])).buf_ofs = 1 << 40 },
        |k| unsafe { (*k.slot(0, 3)).buf_idx = u32::MAX },
    ];
    for (n, change) in wild.into_iter().enumerate() {
        assert!(flaw(change).to_string().contains("damaged"), "{n}");
    }
}

#[test]
fn a_frame_in_several_slots_goes_nowhere() {
    let (mut kernel, mut table) = (Kernel::new(1, 32), table());
    let mut turn = kernel.turn();
    let mut punted = Vec::new();
    for (mark, bytes) in [(1, 62), (2, 50), (3, 30)] {
        kernel.receive_split(0, &frame(PEER, 0, mark), bytes);
        // The parts would be the flow's, the stack's and a worker's.
        kernel.receive_split(
            0,
            &[frame(PEER, 0, mark), frame(PEER, 200, mark)].concat(),
            82,
        );
        kernel.receive_split(1, &[arp(), arp()].concat(), 60);
        assert!(kernel.receive(0, &frame(PEER, 0, mark)) && kernel.receive(1, &arp()));
        let mut punt = |bytes: &[u8]| {
            punted.push(bytes.to_vec());
            true
        };
        let counts = turn.take(now(), &mut Apart(&mut table, &mut punt));
        let wanted = Counts {
            received: 3,
            sent: 1,
            dropped: 2,
            from_host: 1,
            split: 3,
            ..Counts::default()
        };
        assert_eq!(counts, wanted);
        let sent = kernel.send(0, 9);
        assert_eq!((sent.len(), mark_of(&sent[0])), (2, mark));
        assert_eq!(sent[1], arp());
        assert!(kernel.send(1, 9).is_empty());
    }
    assert!(punted.is_empty());
    // A frame whose end comes in the next turn.
    kernel.receive_split(0, &frame(PEER, 0, 9), 50);
    let ring: *mut netmap_ring = kernel.at(kernel.rings[2]);
    // SAFETY: the region is the test's.
    let end = unsafe { (*ring).tail };
    // SAFETY: likewise.
    unsafe { (*ring).tail = (end + kernel.slots - 1) % kernel.slots };
    let counts = turn.take(now(), &mut Apart(&mut table, &mut |_| true));
    assert_eq!((counts.received, counts.dropped), (1, 1));
    // SAFETY: likewise.
    unsafe { (*ring).tail = end };
    let counts = turn.take(now(), &mut Apart(&mut table, &mut |_| true));
    assert_eq!(counts, Counts::default());
    kernel.all_buffers_are_there();
}

#[test]
fn a_slot_that_leads_astray_later_costs_one_frame() {
    let (mut kernel, mut table) = (Kernel::new(1, 8), table());
    let mut turn = kernel.turn();
    kernel.receive(0, &frame(PEER, 0, 1));
    kernel.receive(0, &frame(PEER, 0, 2));
    // SAFETY: the region is the test's.
    unsafe { (*kernel.slot(2, 0)).buf_idx = u32::MAX };
    // SAFETY: likewise.
    unsafe { (*kernel.at::<netmap_ring>(kernel.rings[1])).tail = 99 };
    let counts = turn.take(now(), &mut Apart(&mut table, &mut |_| true));
    assert_eq!((counts.received, counts.sent, counts.dropped), (2, 1, 1));
}
