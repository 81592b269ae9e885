//! A relay, a fast path that answers when it pleases, and two phones that send all the time.

use super::super::*;
use super::{FlowStats, POLL, RETRY};
use crate::base::{Instant, Rng};
use crate::wire::rtp::Header;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

const PORTS: [u16; 2] = [16384, 16386];
const PHONES: [&str; 2] = ["198.51.100.10:4000", "198.51.100.20:5000"];
const TICK: Duration = Duration::from_millis(20);

fn legs() -> [LegSpec; 2] {
    [0, 1].map(|side| {
        let peer: SocketAddr = PHONES[side].parse().unwrap();
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
                peer_rtcp: None,
                direction: Direction::SendRecv,
                blocked: Blocked::NONE,
                tapped: false,
                kind: MediaKind::Rtp,
                clock_rate: 8000,
            })],
            keys: Vec::new(),
            ice: None,
        }
    })
}

fn rtp(sequence: u16) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type: 0,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: 1,
    };
    let mut packet = header.emit().to_vec();
    packet.resize(172, 0xd5);
    packet
}

/// The fast path: carries orders out in their order, some ticks late.
#[derive(Default)]
struct Driver {
    orders: VecDeque<(u64, FlowOrder)>,
    flows: BTreeMap<u16, (Stream, FlowStats)>,
    installed: usize,
}

struct World {
    relay: Relay,
    driver: Driver,
    rng: Rng,
    now: Instant,
    tick: u64,
    sequence: u16,
    sent: [u64; 2],
    refuses: bool,
    /// The fast path has no way to these ports' receivers.
    cut_off: [bool; 2],
    events: Vec<MediaEvent>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut relay = Relay::new(RelaySettings::default());
        relay.use_fast_path();
        Self {
            relay,
            driver: Driver::default(),
            rng: Rng::from_u64(seed),
            now: Instant::from_millis(1_000_000),
            tick: 0,
            sequence: 0,
            sent: [0; 2],
            refuses: false,
            cut_off: [false; 2],
            events: Vec::new(),
        }
    }

    fn command(&mut self, command: MediaCommand) {
        self.relay.handle_command(self.now, command);
        self.drain();
    }

    fn open(&mut self, session: u64) {
        let legs = legs();
        self.sent = [0; 2];
        self.command(MediaCommand::Open { session, legs });
    }

    fn drain(&mut self) {
        while self.relay.poll_socket().is_some() {}
        while let Some(order) = self.relay.poll_flow() {
            let at = self.tick + self.rng.below(4);
            let at = self
                .driver
                .orders
                .back()
                .map_or(at, |(last, _)| at.max(*last));
            self.driver.orders.push_back((at, order));
        }
        self.events
            .extend(std::iter::from_fn(|| self.relay.poll_event()));
    }

    fn carry_out(&mut self, order: FlowOrder) {
        let flows = &mut self.driver.flows;
        let cut_off = |port: u16| self.cut_off[usize::from(port == PORTS[1])];
        let (port, news) = match order {
            FlowOrder::Install(stream) if self.refuses || cut_off(stream.port) => {
                (stream.port, FlowNews::Refused)
            }
            FlowOrder::Install(stream) => {
                let port = stream.port;
                let old = flows.insert(port, (stream, FlowStats::default()));
                assert!(old.is_none(), "two flows of port {port}");
                self.driver.installed += 1;
                (port, FlowNews::Installed)
            }
            FlowOrder::Query { port } if cut_off(port) => (port, FlowNews::Elsewhere),
            FlowOrder::Query { port } => match flows.get(&port) {
                Some((_, stats)) => (port, FlowNews::Counted(*stats)),
                None => return,
            },
            FlowOrder::Remove { port } => {
                let stats = flows.remove(&port).map(|(_, stats)| stats);
                (port, FlowNews::Removed(stats))
            }
        };
        self.relay.handle_flow(self.now, port, news);
        self.drain();
    }

    /// Each phone sends a packet, which takes the way that is there; whether both were sent on.
    fn talk(&mut self) -> bool {
        self.sequence = self.sequence.wrapping_add(1);
        let mut passed = true;
        for side in 0..2 {
            let (port, source) = (PORTS[side], PHONES[side].parse().unwrap());
            self.sent[side] += 1;
            if let Some((stream, stats)) = self.driver.flows.get_mut(&port) {
                assert_eq!(stream.source, source);
                assert_eq!(stream.destination.to_string(), PHONES[1 - side]);
                stats.packets += 1;
                stats.bytes += 172;
                stats.heard = Some(self.now);
                continue;
            }
            let verdict = self.relay.process(
                self.now,
                port,
                source,
                &mut Datagram::new(&mut rtp(self.sequence), 172),
            );
            passed &= matches!(verdict, Verdict::Forward { .. });
        }
        passed
    }

    fn step(&mut self, talk: bool) {
        self.tick += 1;
        self.now += TICK;
        while let Some((at, order)) = self.driver.orders.front().cloned()
            && at <= self.tick
        {
            self.driver.orders.pop_front();
            self.carry_out(order);
        }
        if self.relay.poll_timeout().is_some_and(|at| at <= self.now) {
            self.relay.handle_timeout(self.now);
            self.drain();
        }
        if talk {
            assert!(self.talk(), "a packet went nowhere");
        }
    }

    fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / TICK.as_millis() {
            self.step(true);
        }
    }

    /// Until all that was ordered is done.
    fn rest(&mut self) {
        for _ in 0..20 {
            self.step(false);
        }
    }

    fn legs(&self) -> [LegStats; 2] {
        match self.events.last() {
            Some(MediaEvent::Closed { legs, .. } | MediaEvent::Report { legs, .. }) => **legs,
            other => panic!("{other:?}"),
        }
    }

    fn all_counted(&self) {
        let [caller, called] = self.legs();
        assert_eq!([caller.packets_in, called.packets_in], self.sent);
        assert_eq!([called.packets_out, caller.packets_out], self.sent);
        assert_eq!(caller.bytes_in, self.sent[0] * 172);
        assert_eq!(called.bytes_out, self.sent[0] * 172);
        assert_eq!((caller.dropped_total(), called.dropped_total()), (0, 0));
        assert_eq!(
            (caller.lost, called.lost),
            (0, 0),
            "what went the other way"
        );
    }
}

fn settled() -> Duration {
    RelaySettings::default().latch_window + RETRY * 2
}

#[test]
fn a_settled_call_is_carried_and_its_figures_are_whole() {
    let mut world = World::new(1);
    world.open(7);
    world.run(RelaySettings::default().latch_window);
    assert_eq!(
        world.driver.installed, 0,
        "carried while it is learned who sends"
    );
    world.run(settled());
    assert_eq!((world.driver.flows.len(), world.relay.flows()), (2, 2));
    world.run(POLL * 3);
    world.command(MediaCommand::Query { session: 7 });
    let [caller, _] = world.legs();
    assert!(caller.packets_in > world.sent[0] - 300 && caller.packets_in < world.sent[0]);
    assert!(caller.silent_for.unwrap() <= POLL + RETRY, "{caller:?}");
    world.command(MediaCommand::Close { session: 7 });
    assert!(matches!(
        world.events.last(),
        Some(MediaEvent::Report { .. })
    ));
    world.rest();
    world.all_counted();
    assert_eq!((world.relay.flows(), world.relay.sessions()), (0, 0));
    assert!(world.driver.flows.is_empty());
    assert_eq!(world.driver.installed, 2);
}

#[test]
fn who_begins_late_does_not_wait_long() {
    for quiet in 14..19 {
        let mut world = World::new(quiet);
        world.open(7);
        for _ in 0..Duration::from_secs(quiet).as_millis() / TICK.as_millis() {
            world.step(false);
        }
        world.run(RETRY + TICK * 10);
        assert_eq!(world.driver.flows.len(), 2, "{quiet} s");
    }
}

#[test]
fn a_change_takes_the_flows_back_and_they_come_again() {
    let mut world = World::new(2);
    world.open(7);
    world.run(settled());
    assert_eq!(world.driver.flows.len(), 2);
    let (session, legs) = (7, legs());
    world.command(MediaCommand::Update { session, legs });
    world.run(TICK * 5);
    assert!(world.driver.flows.is_empty());
    world.run(settled());
    assert_eq!((world.driver.flows.len(), world.driver.installed), (2, 4));
    world.command(MediaCommand::Close { session: 7 });
    world.rest();
    world.all_counted();
}

#[test]
fn what_must_be_heard_here_stays_on_sockets() {
    for change in 0..5 {
        let mut world = World::new(3);
        let mut legs = legs();
        match change {
            0 => legs[1].local = true,
            1 => legs.iter_mut().for_each(|leg| {
                leg.media[0].as_mut().unwrap().kind = MediaKind::Udptl;
            }),
            // Its keys shall not pass, so each packet is looked at; the other direction is not.
            4 => legs.iter_mut().for_each(|leg| {
                leg.media[0].as_mut().unwrap().blocked.events = true;
            }),
            // The called party's address is not known: it rings.
            2 => legs[1].media[0].as_mut().unwrap().peer = None,
            // The caller asked for nothing to be sent.
            _ => {
                let spec = legs[0].media[0].as_mut().unwrap();
                (spec.peer, spec.direction) = (None, Direction::Inactive);
            }
        }
        let session = 7;
        world.command(MediaCommand::Open { session, legs });
        for n in 0..1000 {
            world.step(false);
            let talking = if matches!(change, 2 | 3) { 1 } else { 2 };
            for (port, source) in PORTS.into_iter().zip(PHONES).take(talking) {
                let (source, relay) = (source.parse().unwrap(), &mut world.relay);
                let _ = relay.process(
                    world.now,
                    port,
                    source,
                    &mut Datagram::new(&mut rtp(n), 172),
                );
            }
        }
        assert_eq!(
            (world.driver.installed, world.relay.flows()),
            (0, 0),
            "{change}"
        );
    }
}

#[test]
fn a_stream_whose_receiver_moved_comes_back_and_goes_again() {
    let mut world = World::new(8);
    world.open(7);
    world.run(settled() + POLL * 2);
    assert_eq!(world.driver.flows.len(), 2);
    world.cut_off = [true, false];
    world.run(POLL + TICK * 10);
    let carried: Vec<u16> = world.driver.flows.keys().copied().collect();
    assert_eq!(carried, [PORTS[1]], "only the other direction stays");
    // Both go on, and the one is tried again and again.
    world.run(POLL * 6);
    assert_eq!(world.driver.installed, 2);
    world.cut_off = [false, false];
    world.run(POLL + TICK * 10);
    assert_eq!((world.driver.flows.len(), world.driver.installed), (2, 3));
    // For a moment alone: it is not away for long.
    world.cut_off = [false, true];
    world.run(POLL);
    world.cut_off = [false, false];
    world.run(RETRY * 2 + TICK * 10);
    assert_eq!((world.driver.flows.len(), world.driver.installed), (2, 4));
    world.command(MediaCommand::Close { session: 7 });
    world.rest();
    world.all_counted();
}

#[test]
fn a_silent_peer_is_found_by_what_the_fast_path_tells() {
    let mut world = World::new(4);
    world.open(7);
    world.run(settled());
    assert_eq!(world.driver.flows.len(), 2);
    let silence = RelaySettings::default().silence;
    // As long as they talk on the fast path nobody is called silent.
    world.run(silence * 2);
    let silent = |e: &MediaEvent| matches!(e, MediaEvent::Timeout { .. });
    assert!(!world.events.iter().any(silent));
    for _ in 0..(silence + POLL * 2).as_millis() / TICK.as_millis() {
        world.step(false);
    }
    assert_eq!(world.events.iter().filter(|e| silent(e)).count(), 1);
}

#[test]
fn without_a_driver_all_goes_on_by_sockets() {
    let mut world = World::new(5);
    world.open(7);
    world.run(settled() + POLL * 2);
    assert_eq!(world.driver.flows.len(), 2);
    // It dies; what it had not told is lost, the packets are not.
    world.driver = Driver::default();
    world.relay.fast_path_lost(world.now);
    world.run(POLL);
    world.command(MediaCommand::Close { session: 7 });
    let [caller, called] = world.legs();
    let missed = (POLL + RETRY).as_millis() / TICK.as_millis();
    for (leg, sent) in [(caller, world.sent[0]), (called, world.sent[1])] {
        assert!(leg.packets_in + missed as u64 >= sent, "{leg:?}");
    }
}

#[test]
fn no_seed_loses_a_packet_a_figure_or_a_port() {
    for seed in 0..100 {
        let mut world = World::new(seed);
        for session in 1..4 {
            world.open(session);
            for _ in 0..world.rng.below(6) {
                let time = TICK * (1 + world.rng.below(400) as u32);
                world.run(time);
                world.refuses = world.rng.below(3) == 0;
                world.cut_off = [0; 2].map(|_| world.rng.below(3) == 0);
                match world.rng.below(3) {
                    0 => world.command(MediaCommand::Update {
                        session,
                        legs: legs(),
                    }),
                    1 => world.command(MediaCommand::Query { session }),
                    _ => {}
                }
            }
            world.run(TICK * 10);
            world.command(MediaCommand::Close { session });
            let closed = |e: &MediaEvent| matches!(e, MediaEvent::Closed { session: s, .. } if *s == session);
            if world.rng.below(2) == 0 {
                // The next call has the same ports, perhaps before the flows of this one are gone.
                world.rest();
                world.all_counted();
            } else {
                world.rest();
            }
            assert_eq!(
                world.events.iter().filter(|e| closed(e)).count(),
                1,
                "seed {seed}"
            );
            assert_eq!(
                (world.relay.flows(), world.relay.sessions()),
                (0, 0),
                "seed {seed}"
            );
            assert!(world.driver.flows.is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn a_port_may_be_had_again_before_its_flow_is_gone() {
    let mut world = World::new(6);
    world.open(7);
    world.run(settled());
    assert_eq!(world.driver.flows.len(), 2);
    world.command(MediaCommand::Close { session: 7 });
    let sent = world.sent;
    world.open(8);
    world.rest();
    world.run(settled());
    assert_eq!(world.driver.flows.len(), 2);
    world.command(MediaCommand::Close { session: 8 });
    world.rest();
    let closed: Vec<u64> = world
        .events
        .iter()
        .filter_map(|event| match event {
            MediaEvent::Closed { session, legs, .. } => {
                let expected = [sent, world.sent][usize::from(*session == 8)];
                let [caller, called] = &**legs;
                assert_eq!(
                    [caller.packets_in, called.packets_in],
                    expected,
                    "{session}"
                );
                Some(*session)
            }
            _ => None,
        })
        .collect();
    assert_eq!(closed, [7, 8]);
}
