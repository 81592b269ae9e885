//! Peers that send from elsewhere than they receive, and peers that move without a word.

use super::tests::*;
use super::*;
use std::net::SocketAddr;

fn learning(learning: Learning) -> World {
    let mut legs = legs();
    legs[0].learning = learning;
    World::open(legs)
}

/// Packets of an unproven source until one passes; how many were refused.
fn until_heard(w: &mut World, from_ms: u64, source: &str) -> u16 {
    for n in 0..10 {
        let heard = w.packet(at(from_ms + u64::from(n)), PORTS[0], source, rtp(9, n));
        if heard == to(PORTS[1], PHONES[1]) {
            return n;
        }
    }
    panic!("{source} is never heard");
}

/// Where the called's packets go.
fn reached(w: &mut World, ms: u64) -> SocketAddr {
    match w.packet(at(ms), PORTS[1], PHONES[1], rtp(2, ms as u16)) {
        Verdict::Forward { to, .. } => to,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_asymmetric_peer_is_reached_where_it_says_wherever_it_sends_from() {
    let mut w = learning(Learning::Never);
    let gateway = "192.0.2.9:7000";
    assert_eq!(until_heard(&mut w, 1, gateway), 3);
    assert_eq!(reached(&mut w, 20), addr(PHONES[0]));
    assert_eq!(
        w.packet(at(4000), PORTS[0], gateway, rtp(9, 9)),
        to(PORTS[1], PHONES[1])
    );
    assert_eq!(reached(&mut w, 4001), addr(PHONES[0]));
    // A stranger has no say once somebody is heard.
    for n in 0..8 {
        let stranger = w.packet(at(9000 + n), PORTS[0], "192.0.2.1:4000", rtp(7, n as u16));
        assert_eq!(stranger, STRAY);
    }
    // Its socket cannot be connected: it would hear one address and send to another.
    assert_eq!(w.relay.locked_peer(PORTS[0]), None);
}

#[test]
fn an_asymmetric_peer_may_begin_late() {
    let mut w = learning(Learning::Never);
    assert_eq!(until_heard(&mut w, 60_000, "192.0.2.9:7000"), 3);
    assert_eq!(reached(&mut w, 60_020), addr(PHONES[0]));
}

#[test]
fn one_that_may_be_asymmetric_but_is_not_is_connected() {
    let mut w = learning(Learning::Never);
    w.packet(at(1), PORTS[0], PHONES[0], rtp(1, 1));
    assert_eq!(w.relay.locked_peer(PORTS[0]), Some(addr(PHONES[0])));
}

#[test]
fn a_peer_that_may_move_is_found_again_when_it_was_silent() {
    let mut w = learning(Learning::Always);
    w.packet(at(1), PORTS[0], PHONES[0], rtp(1, 1));
    assert_eq!(reached(&mut w, 2), addr(PHONES[0]));
    // While it speaks nobody takes its place.
    for n in 0..300 {
        let now = at(10_000 + 20 * n);
        w.packet(now, PORTS[0], PHONES[0], rtp(1, n as u16));
        assert_eq!(
            w.packet(now, PORTS[0], "192.0.2.9:7000", rtp(9, n as u16)),
            STRAY
        );
    }
    assert_eq!(until_heard(&mut w, 17_000, "192.0.2.9:7000"), 3);
    assert_eq!(reached(&mut w, 17_020), addr("192.0.2.9:7000"));
    // And back, from the described host at once.
    let back = w.packet(at(20_000), PORTS[0], PHONES[0], rtp(1, 1));
    assert_eq!(back, to(PORTS[1], PHONES[1]));
    assert_eq!(w.relay.locked_peer(PORTS[0]), None);
    w.update(at(20_001), {
        let mut legs = legs();
        legs[0].learning = Learning::Always;
        legs
    });
    w.packet(at(20_002), PORTS[0], PHONES[0], rtp(1, 2));
    assert_eq!(until_heard(&mut w, 30_000, "192.0.2.9:7000"), 3);
}

#[test]
fn only_what_is_settled_comes_onto_the_fast_path() {
    for (learning, source, expected) in [
        (Learning::Early, PHONES[0], 2),
        (Learning::Never, PHONES[0], 2),
        (Learning::Never, "192.0.2.9:7000", 2),
        (Learning::Always, PHONES[0], 0),
    ] {
        let mut w = World::new();
        w.relay.use_fast_path();
        let mut legs = legs();
        legs[0].learning = learning;
        w.command(
            at(0),
            MediaCommand::Open {
                session: SESSION,
                legs,
            },
        );
        for n in 0..8 {
            w.packet(at(10 + n), PORTS[0], source, rtp(1, n as u16));
            w.packet(at(10 + n), PORTS[1], PHONES[1], rtp(2, n as u16));
        }
        // What was learned is locked by a packet behind the window.
        w.packet(at(3100), PORTS[0], source, rtp(1, 8));
        w.pass(at(10_000));
        let mut destinations = Vec::new();
        while let Some(order) = w.relay.poll_flow() {
            if let FlowOrder::Install(stream) = order {
                destinations.push(stream.destination);
            }
        }
        assert_eq!(destinations.len(), expected, "{learning:?} {source}");
        if expected > 0 {
            assert!(destinations.contains(&addr(PHONES[0])), "{destinations:?}");
        }
    }
}
