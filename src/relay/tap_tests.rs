//! Streams that are heard here on their way.

use super::tests::*;
use super::*;
use std::collections::BTreeSet;

fn tapped(yes: bool) -> [LegSpec; 2] {
    let mut legs = legs();
    for leg in &mut legs {
        leg.media[0].as_mut().unwrap().tapped = yes;
    }
    legs
}

#[test]
fn a_tapped_packet_is_heard_and_goes_on_as_it_came() {
    let mut w = World::open(tapped(true));
    for (side, [near, far]) in Side::BOTH.into_iter().zip([[0, 1], [1, 0]]) {
        let mut bytes = rtp(1, 1);
        let mut packet = Datagram::new(&mut bytes, 172);
        let heard = w
            .relay
            .process(at(1), PORTS[near], addr(PHONES[near]), &mut packet);
        let session = SESSION;
        let (stream, lane) = (0, Lane::Media);
        assert_eq!(
            heard,
            Verdict::Overhear {
                session,
                stream,
                side,
                lane
            }
        );
        let goes = w.relay.pass_on(PORTS[near], Lane::Media, &mut packet);
        assert_eq!(goes, to(PORTS[far], PHONES[far]));
        assert_eq!(packet.bytes(), rtp(1, 1));
    }
    // A stranger is of no interest.
    let stranger = w.packet(at(2), PORTS[0], "192.0.2.1:4000", rtp(9, 1));
    assert_eq!(stranger, STRAY);
    let stats = w.stats(at(3));
    assert_eq!((stats[0].packets_in, stats[1].packets_out), (1, 1));
}

#[test]
fn what_goes_nowhere_is_counted_once() {
    let mut legs = tapped(true);
    legs[1].media[0].as_mut().unwrap().peer = None;
    let mut w = World::open(legs);
    let mut bytes = rtp(1, 1);
    let mut packet = Datagram::new(&mut bytes, 172);
    let heard = w
        .relay
        .process(at(1), PORTS[0], addr(PHONES[0]), &mut packet);
    assert!(matches!(heard, Verdict::Overhear { .. }));
    let goes = w.relay.pass_on(PORTS[0], Lane::Media, &mut packet);
    assert_eq!(goes, Verdict::Drop(DropReason::NoDestination));
    assert_eq!(w.relay.dropped().iter().sum::<u64>(), 1);
    // Nor does a port that is gone by then.
    w.command(at(2), MediaCommand::Close { session: SESSION });
    let gone = w.relay.pass_on(PORTS[0], Lane::Media, &mut packet);
    assert!(matches!(gone, Verdict::Drop(_)), "{gone:?}");
}

#[test]
fn it_leaves_the_fast_path_and_comes_back() {
    let mut w = World::new();
    w.relay.use_fast_path();
    let (session, legs) = (SESSION, legs());
    w.command(at(0), MediaCommand::Open { session, legs });
    let installed = |w: &mut World| {
        let mut ports = Vec::new();
        while let Some(order) = w.relay.poll_flow() {
            if let FlowOrder::Install(stream) = order {
                ports.push(stream.port);
                w.relay.handle_flow(at(0), stream.port, FlowNews::Installed);
            } else if let FlowOrder::Remove { port } = order {
                let stats = FlowNews::Removed(None);
                w.relay.handle_flow(at(0), port, stats);
            }
        }
        ports.len()
    };
    w.packet(at(1), PORTS[0], PHONES[0], rtp(1, 1));
    w.packet(at(1), PORTS[1], PHONES[1], rtp(2, 1));
    w.pass(at(5_000));
    assert_eq!(installed(&mut w), 2);
    w.update(at(5_001), tapped(true));
    for n in 0..20 {
        for side in [0, 1] {
            let heard = w.packet(
                at(5_002 + n),
                PORTS[side],
                PHONES[side],
                rtp(1, 2 + n as u16),
            );
            assert!(matches!(heard, Verdict::Overhear { .. }), "{heard:?}");
        }
    }
    w.pass(at(20_000));
    assert_eq!(installed(&mut w), 0);
    assert_eq!(w.relay.flows(), 0);
    w.update(at(20_001), tapped(false));
    w.packet(at(20_002), PORTS[0], PHONES[0], rtp(1, 50));
    w.packet(at(20_002), PORTS[1], PHONES[1], rtp(1, 50));
    w.pass(at(30_000));
    assert_eq!(installed(&mut w), 2);
}

#[test]
fn legs_of_ours_between_the_two_are_heard_by_either() {
    let mut w = World::open(tapped(true));
    for side in Side::BOTH {
        for stream in 0..STREAMS_MAX {
            let leg = leg_toward(SESSION, stream, side);
            assert_eq!(
                (session_of_leg(leg), side_of_leg(leg), stream_of_leg(leg)),
                (SESSION, Some(side), stream)
            );
            let tap = tap_of(SESSION, stream);
            assert_eq!((session_of_leg(tap), side_of_leg(tap)), (SESSION, None));
        }
    }
    let names: BTreeSet<u64> = legs_of(SESSION, usize::MAX).collect();
    assert_eq!(names.len(), 3 * STREAMS_MAX);
    assert!(names.contains(&SESSION) && names.contains(&tap_of(SESSION, STREAMS_MAX - 1)));
    assert_eq!(
        (session_of_leg(SESSION), side_of_leg(SESSION)),
        (SESSION, None)
    );
    for (side, far) in [(Side::Caller, 0), (Side::Called, 1)] {
        let mut bytes = rtp(9, 1);
        let mut packet = Datagram::new(&mut bytes, 172);
        let mut say = |w: &mut World, stream, lane| {
            w.relay
                .originate_toward(at(1), SESSION, (side, stream, lane), &mut packet)
        };
        assert_eq!(
            say(&mut w, 0, Lane::Media),
            Some((PORTS[far], addr(PHONES[far])))
        );
        let (port, _) = say(&mut w, 0, Lane::Rtcp).unwrap();
        assert_eq!(port, PORTS[far] + 1);
        assert_eq!(say(&mut w, 1, Lane::Media), None);
    }
    let stats = w.stats(at(1));
    assert_eq!((stats[0].packets_out, stats[1].packets_out), (1, 1));
    // Reports are theirs, too.
    let report = w.packet(at(2), PORTS[0] + 1, "198.51.100.10:4001", report());
    let lane = Lane::Rtcp;
    assert!(matches!(report, Verdict::Overhear { lane: l, .. } if l == lane));
}

fn report() -> Vec<u8> {
    let mut bytes = vec![0x80, 201, 0, 1];
    bytes.extend(7_u32.to_be_bytes());
    bytes
}
