//! The driver between real sockets on loopback.

use super::*;
use crate::os::fast::{Changed, Exchange, Figures, Gate, Hop, Hops, Link, NextHop, spawn};
use crate::relay::frame::{Frame, Verdict, process};
use crate::relay::{
    Blocked, Direction, DropReason, Failure, Learning, LegSpec, MediaKind, MediaSpec,
};
use crate::wire::rtp::Header;
use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

struct Harness {
    driver: MediaDriver,
    events: mpsc::Receiver<MediaEvent>,
}

impl Harness {
    fn new(workers: usize) -> Self {
        let settings = RelaySettings {
            silence: Duration::from_millis(300),
            ..Default::default()
        };
        Self::with(workers, settings, Vec::new())
    }

    /// Whose calls are settled soon, and may be silent as long as it takes.
    fn settling(workers: usize, fast: Vec<Side>) -> Self {
        let settings = RelaySettings {
            latch_window: Duration::from_millis(100),
            listen_wide: Duration::from_millis(500),
            ..Default::default()
        };
        Self::with(workers, settings, fast)
    }

    fn with(workers: usize, settings: RelaySettings, fast: Vec<Side>) -> Self {
        let (sender, events) = mpsc::channel();
        let config = MediaConfig {
            idle: Some(IdlePorts::of_process()),
            files: None,
            rooms: Default::default(),
            workers,
            settings,
            clock: Clock::new(),
        };
        let sink: EventSink = Arc::new(move |event| {
            if let MediaNews::Relay(event) = event {
                let _ = sender.send(event);
            }
        });
        let driver = MediaDriver::start_with(config, fast, sink).unwrap();
        Self { driver, events }
    }

    fn send(&self, command: MediaCommand) {
        let order = MediaOrder::Relay(command);
        self.driver.handle().send(order).unwrap();
    }

    fn event(&self) -> MediaEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }
}

fn phone(ip: &str) -> UdpSocket {
    let phone = UdpSocket::bind((ip, 0)).unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    phone
}

/// Ports that are free now; tests that run at the same time look elsewhere.
fn free_ports(ip: &str, from: u16) -> [u16; 2] {
    let free = |port: &u16| {
        UdpSocket::bind((ip, *port)).is_ok() && UdpSocket::bind((ip, port + 1)).is_ok()
    };
    let mut ports = (from..from + 400).step_by(2).filter(free);
    [ports.next().unwrap(), ports.next().unwrap()]
}

fn leg(port: u16, phone: &UdpSocket) -> LegSpec {
    let peer = phone.local_addr().unwrap();
    LegSpec {
        bind: peer.ip(),
        signalling: Some(peer.ip()),
        behind_nat: false,
        learning: Learning::Early,
        local: false,
        media: vec![Some(MediaSpec {
            port,
            rtcp_port: Some(port + 1),
            peer: Some(peer),
            peer_rtcp: None,
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

fn rtp(sequence: u16) -> [u8; 12] {
    let header = Header {
        marker: false,
        payload_type: 0,
        sequence,
        timestamp: 0,
        ssrc: 1,
    };
    header.emit()
}

fn relayed(from: &UdpSocket, port: u16, to: &UdpSocket, sequence: u16) -> SocketAddr {
    let ours: IpAddr = from.local_addr().unwrap().ip();
    from.send_to(&rtp(sequence), (ours, port)).unwrap();
    let mut buffer = [0; 100];
    let (length, source) = to.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..length], rtp(sequence));
    source
}

#[test]
fn packets_cross_between_families_and_ports_serve_again() {
    for workers in [1, 3] {
        let h = Harness::new(workers);
        let (a, b) = (phone("127.0.0.1"), phone("::1"));
        let from = 40_000 + 1000 * workers as u16;
        let ([pa, _], [_, pb]) = (free_ports("127.0.0.1", from), free_ports("::1", from));
        let session = 5;
        let legs = [leg(pa, &a), leg(pb, &b)];
        h.send(MediaCommand::Open { session, legs });
        assert_eq!(h.event(), MediaEvent::Opened { session });
        for sequence in 0..50 {
            assert_eq!(relayed(&a, pa, &b, sequence).port(), pb);
            assert_eq!(relayed(&b, pb, &a, sequence).port(), pa);
        }
        h.send(MediaCommand::Close { session });
        let MediaEvent::Closed { legs, .. } = h.event() else {
            panic!()
        };
        assert_eq!((legs[0].packets_in, legs[0].packets_out), (50, 50));
        assert_eq!((legs[1].packets_in, legs[1].lost), (50, 0));
        // Late for the old session: the next one, of another worker, does not get it.
        a.send_to(&rtp(50), ("127.0.0.1", pa)).unwrap();
        let session = 6;
        let legs = [leg(pa, &a), leg(pb, &b)];
        h.send(MediaCommand::Open { session, legs });
        assert_eq!(h.event(), MediaEvent::Opened { session });
        assert_eq!(relayed(&a, pa, &b, 60).port(), pb);
        assert_eq!(relayed(&b, pb, &a, 60).port(), pa);
        h.send(MediaCommand::Close { session });
        assert!(matches!(h.event(), MediaEvent::Closed { .. }));
        let received = h.driver.counters().received.load(Ordering::Relaxed);
        assert_eq!(received, 102);
    }
}

/// Whether the system takes datagrams for the port from whom the relay knows nothing of.
fn hears_strangers(ours: (&str, u16)) -> bool {
    let stranger = phone(ours.0);
    stranger.connect(ours).unwrap();
    let millis = Duration::from_millis(20);
    stranger.set_read_timeout(Some(millis)).unwrap();
    stranger.send(b"stranger").unwrap();
    let refused = stranger.recv(&mut [0; 9]).unwrap_err();
    refused.kind() != std::io::ErrorKind::ConnectionRefused
}

#[test]
#[cfg(target_os = "linux")]
fn a_settled_port_is_connected_until_its_call_ends() {
    let h = Harness::settling(1, Vec::new());
    let (a, b) = (phone("127.0.0.1"), phone("::1"));
    let ([pa, _], [_, pb]) = (free_ports("127.0.0.1", 44_000), free_ports("::1", 44_000));
    for session in [1, 2] {
        // Each time by phones that the last call did not know.
        let (c, d) = (phone("127.0.0.1"), phone("::1"));
        let legs = [leg(pa, &c), leg(pb, &d)];
        h.send(MediaCommand::Open { session, legs });
        assert_eq!(h.event(), MediaEvent::Opened { session });
        assert!(hears_strangers(("127.0.0.1", pa)));
        let mut rounds = 0..500;
        while hears_strangers(("127.0.0.1", pa)) || hears_strangers(("::1", pb)) {
            let sequence = rounds.next().expect("the ports are not connected");
            relayed(&c, pa, &d, sequence);
            relayed(&d, pb, &c, sequence);
        }
        assert_eq!(relayed(&c, pa, &d, 500).port(), pb);
        // Told of another phone, it hears that one.
        let legs = [leg(pa, &a), leg(pb, &b)];
        h.send(MediaCommand::Update { session, legs });
        h.send(MediaCommand::Query { session });
        assert!(matches!(h.event(), MediaEvent::Report { .. }));
        assert!(hears_strangers(("127.0.0.1", pa)));
        assert_eq!(relayed(&a, pa, &b, 600).port(), pb);
        assert_eq!(relayed(&b, pb, &a, 600).port(), pa);
        h.send(MediaCommand::Close { session });
        assert!(matches!(h.event(), MediaEvent::Closed { .. }));
        assert!(hears_strangers(("127.0.0.1", pa)) && hears_strangers(("::1", pb)));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn who_sends_in_a_silent_peer_s_place_is_counted() {
    let h = Harness::settling(1, Vec::new());
    let (a, b) = (phone("127.0.0.1"), phone("::1"));
    let ([pa, _], [_, pb]) = (free_ports("127.0.0.1", 46_000), free_ports("::1", 46_000));
    let session = 1;
    let legs = [leg(pa, &a), leg(pb, &b)];
    h.send(MediaCommand::Open { session, legs });
    assert_eq!(h.event(), MediaEvent::Opened { session });
    let mut rounds = 0..500;
    while hears_strangers(("127.0.0.1", pa)) || hears_strangers(("::1", pb)) {
        let sequence = rounds.next().expect("the ports are not connected");
        relayed(&a, pa, &b, sequence);
        relayed(&b, pb, &a, sequence);
    }
    // The other side talks on, to where nobody answers from.
    let mut rounds = 500..1000;
    while !hears_strangers(("127.0.0.1", pa)) {
        let sequence = rounds.next().expect("the port is not opened");
        relayed(&b, pb, &a, sequence);
        std::thread::sleep(Duration::from_millis(5));
    }
    relayed(&b, pb, &a, 1000);
    assert!(hears_strangers(("127.0.0.1", pa)) && !hears_strangers(("::1", pb)));
    let strays = || {
        h.send(MediaCommand::Query { session });
        match h.event() {
            MediaEvent::Report { legs, .. } => legs[0].dropped[DropReason::Stray.index()],
            other => panic!("{other:?}"),
        }
    };
    let before = strays();
    phone("127.0.0.1")
        .send_to(&rtp(1), ("127.0.0.1", pa))
        .unwrap();
    let mut rounds = 0..500;
    while strays() == before {
        rounds.next().expect("the stray is not counted");
    }
    // And he who was silent is heard.
    assert_eq!(relayed(&a, pa, &b, 1001).port(), pb);
}

#[test]
fn a_taken_port_fails_the_session_and_frees_the_others() {
    let h = Harness::new(1);
    let (a, b) = (phone("127.0.0.1"), phone("127.0.0.1"));
    let [pa, pb] = free_ports("127.0.0.1", 45_000);
    let thief = UdpSocket::bind(("127.0.0.1", pb)).unwrap();
    let session = 1;
    let legs = [leg(pa, &a), leg(pb, &b)];
    h.send(MediaCommand::Open { session, legs });
    let reason = Failure::Port(pb);
    assert_eq!(h.event(), MediaEvent::Failed { session, reason });
    drop(thief);
    let session = 2;
    let legs = [leg(pa, &a), leg(pb, &b)];
    h.send(MediaCommand::Open { session, legs });
    assert_eq!(h.event(), MediaEvent::Opened { session });
}

#[test]
fn silence_is_noticed_without_packets() {
    let h = Harness::new(1);
    let (a, b) = (phone("127.0.0.1"), phone("127.0.0.1"));
    let [pa, pb] = free_ports("127.0.0.1", 46_000);
    let session = 1;
    let legs = [leg(pa, &a), leg(pb, &b)];
    h.send(MediaCommand::Open { session, legs });
    assert_eq!(h.event(), MediaEvent::Opened { session });
    let silent = crate::relay::Silent::Both;
    assert_eq!(h.event(), MediaEvent::Timeout { session, silent });
}

#[test]
fn a_worker_that_panics_is_noticed() {
    let config = MediaConfig {
        idle: Some(IdlePorts::of_process()),
        files: None,
        rooms: Default::default(),
        workers: 2,
        settings: RelaySettings::default(),
        clock: Clock::new(),
    };
    let sink: EventSink = Arc::new(|event| panic!("{event:?}"));
    let driver = MediaDriver::start(config, sink).unwrap();
    assert!(!driver.is_broken());
    let order = MediaOrder::Relay(MediaCommand::Query { session: 1 });
    driver.handle().send(order).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while !driver.is_broken() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn stopping_closes_all_and_refuses_commands() {
    let mut h = Harness::new(2);
    let (a, b) = (phone("127.0.0.1"), phone("127.0.0.1"));
    let [pa, pb] = free_ports("127.0.0.1", 47_000);
    let session = 1;
    let legs = [leg(pa, &a), leg(pb, &b)];
    h.send(MediaCommand::Open { session, legs });
    assert_eq!(h.event(), MediaEvent::Opened { session });
    let handle = h.driver.handle();
    h.driver.stop();
    assert!({
        let query = MediaCommand::Query { session };
        handle.send(MediaOrder::Relay(query)).is_err()
    });
    UdpSocket::bind(("127.0.0.1", pa)).unwrap();
}

#[test]
fn many_commands_are_all_answered() {
    let h = Harness::new(2);
    for session in 0..5_000 {
        h.send(MediaCommand::Query { session });
    }
    for _ in 0..5_000 {
        assert!(matches!(h.event(), MediaEvent::Failed { .. }));
    }
}

#[derive(Debug, Default)]
struct OpenPorts(Mutex<BTreeSet<u16>>);

impl OpenPorts {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Gate for OpenPorts {
    fn open(&self, ours: SocketAddr, _: Option<u16>) {
        self.0.lock().unwrap().insert(ours.port());
    }

    fn close(&self, port: u16) {
        self.0.lock().unwrap().remove(&port);
    }
}

#[derive(Debug)]
struct Loopback;

impl Hops for Loopback {
    fn hop(&mut self, to: IpAddr, _from: Option<IpAddr>) -> NextHop {
        NextHop::Known(Hop {
            link: 0,
            hardware_address: [2, 0, 0, 0, 0, 9],
            source: to,
            mtu: 1500,
            vlan: None,
        })
    }

    fn changes(&mut self) -> Vec<Changed> {
        Vec::new()
    }
}

/// The frame that brings a phone's packet to our port.
fn frame(from: &UdpSocket, port: u16, sequence: u16) -> Vec<u8> {
    let source = from.local_addr().unwrap().port();
    let packet = rtp(sequence);
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
    let length = |header: usize| ((header + packet.len()) as u16).to_be_bytes();
    frame.extend([0x45, 0]);
    frame.extend(length(28));
    // The checksum over 127.0.0.1, 127.0.0.1, UDP, time to live 64, no fragments.
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    let words = frame[14..].chunks(2);
    let sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend(source.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend(length(8));
    frame.extend([0, 0]);
    frame.extend(packet);
    frame
}

#[test]
fn a_driver_that_dies_leaves_its_calls_to_sockets() {
    let (wake, ear) = doorbell().unwrap();
    let (gate, figures) = (Arc::new(OpenPorts::default()), Arc::new(Figures::default()));
    let link = Link {
        gate: gate.clone(),
        hardware_address: [2, 0, 0, 0, 0, 1],
        figures: figures.clone(),
        owners: Arc::default(),
    };
    let made = Exchange::new(16, &link, &[wake], vec![Box::new(Loopback)]);
    let (mut exchanges, sides) = made.unwrap();
    let mut exchange = exchanges.remove(0);
    // The card: frames come, and verdicts go. Without its cable it takes the thread with it.
    let (cable, frames) = mpsc::channel::<Vec<u8>>();
    let (tell, verdicts) = mpsc::channel();
    let clock = Clock::new();
    let driver = spawn("test:0".into(), &figures, move || {
        loop {
            ear.hush();
            exchange.change();
            match frames.recv_timeout(Duration::from_millis(1)) {
                Ok(mut bytes) => {
                    let length = bytes.len();
                    bytes.resize(2048, 0);
                    let mut frame = Frame::new(&mut bytes, length).unwrap();
                    let verdict = process(&mut frame, &mut exchange.table, clock.now());
                    tell.send(verdict).unwrap();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the card is on fire"),
            }
        }
    });
    let h = Harness::settling(1, sides);
    let (a, b) = (phone("127.0.0.1"), phone("127.0.0.1"));
    let [pa, pb] = free_ports("127.0.0.1", 48_000);
    let (session, legs) = (1, [leg(pa, &a), leg(pb, &b)]);
    h.send(MediaCommand::Open { session, legs });
    assert_eq!(h.event(), MediaEvent::Opened { session });
    let mut sent = 0;
    while gate.count() < 2 {
        relayed(&a, pa, &b, sent);
        relayed(&b, pb, &a, sent);
        sent += 1;
        assert!(sent < 500, "no flow comes");
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..100 {
        for (phone, port) in [(&a, pa), (&b, pb)] {
            cable.send(frame(phone, port, sent)).unwrap();
            let verdict = verdicts.recv_timeout(PATIENCE).unwrap();
            assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
        }
        sent += 1;
    }
    drop(cable);
    driver.unwrap().join().unwrap();
    assert!(figures.ended().unwrap().contains("the card is on fire"));
    for _ in 0..50 {
        relayed(&a, pa, &b, sent);
        relayed(&b, pb, &a, sent);
        sent += 1;
    }
    assert_eq!(
        gate.count(),
        0,
        "frames would still be kept from the sockets"
    );
    h.send(MediaCommand::Close { session });
    let MediaEvent::Closed { legs, .. } = h.event() else {
        panic!()
    };
    for leg in *legs {
        let sent = u64::from(sent);
        assert_eq!((leg.packets_in, leg.packets_out), (sent, sent), "{leg:?}");
        assert_eq!((leg.lost, leg.dropped_total()), (0, 0), "{leg:?}");
    }
}

/// Fills a port until the system drops datagrams; how many were sent.
fn flood(port: &Port) -> u64 {
    let (from, to) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        port.local().unwrap(),
    );
    for _ in 0..2000 {
        from.send_to(&[0; 1000], to).unwrap();
    }
    2000
}

#[test]
fn what_the_system_drops_is_known_once() {
    let port = Port::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(port.lost(), 0);
    let sent = flood(&port);
    let (lost, mut taken) = (port.lost(), 0);
    let mut buffer = [0; 2000];
    while port.receive(&mut buffer).is_ok() {
        taken += 1;
    }
    assert!(taken > 0 && taken < sent, "{taken}");
    // FreeBSD does not say.
    let known = if cfg!(target_os = "linux") {
        sent - taken
    } else {
        0
    };
    assert_eq!((lost, port.lost()), (known, 0));
    // Whoever takes it over counts from there.
    let other = Port::from_fd(port.try_clone_fd().unwrap());
    assert_eq!(other.lost(), 0);
}

#[test]
fn the_loss_of_ports_is_found_while_packets_come_and_at_their_end() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let poller = Poller::new().unwrap();
    let mut plug = Plug::new(Some(IdlePorts::of_process()));
    let free = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let wanted = free.map(|socket| socket.local_addr().unwrap());
    assert!(plug.bind(&wanted, 1, &poller).is_empty());
    let [first, second] = wanted.map(|address| address.port());
    flood(plug.port(first).unwrap());
    for _ in 0..100 {
        plug.count(first);
    }
    let found = plug.lost();
    assert!(found > 0);
    flood(plug.port(second).unwrap());
    assert_eq!(plug.lost(), found);
    for number in [first, second] {
        plug.release(Instant::ZERO, number, &poller);
    }
    assert!(plug.lost() > found);
}
