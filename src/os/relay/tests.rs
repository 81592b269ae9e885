//! The driver between real sockets on loopback.

use super::*;
use crate::relay::{Blocked, Direction, Failure, LegSpec, MediaKind, MediaSpec};
use crate::wire::rtp::Header;
use std::net::{IpAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

struct Harness {
    driver: MediaDriver,
    events: mpsc::Receiver<MediaEvent>,
}

impl Harness {
    fn new(workers: usize) -> Self {
        let (sender, events) = mpsc::channel();
        let config = MediaConfig {
            brokered: false,
            files: None,
            rooms: Default::default(),
            workers,
            settings: RelaySettings {
                silence: Duration::from_millis(300),
                ..Default::default()
            },
            clock: Clock::new(),
        };
        let sink: EventSink = Arc::new(move |event| {
            if let MediaNews::Relay(event) = event {
                let _ = sender.send(event);
            }
        });
        let driver = MediaDriver::start(config, sink).unwrap();
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
        })],
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
fn packets_cross_between_families_and_close_frees_the_ports() {
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
        UdpSocket::bind(("127.0.0.1", pa)).unwrap();
        UdpSocket::bind(("::1", pb)).unwrap();
        let received = h.driver.counters().received.load(Ordering::Relaxed);
        assert_eq!(received, 100);
    }
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
    UdpSocket::bind(("127.0.0.1", pa)).unwrap();
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
