//! The simulated network: datagrams that are late, lost, doubled and overtaken; streams that are
//! only late; NATs in between.
//!
//! A message over a stream is one [`Packet`] too: it arrives whole, once, and in order. Whether a
//! connection exists is the affair of whoever holds its end.

use super::nat::Nat;
use crate::base::{Instant, Rng};
use crate::wire::sip::Message;
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Packets under way at a time; more are lost, as in a router.
pub const IN_FLIGHT_MAX: usize = 20_000;

/// How a packet travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Carrier {
    /// May be lost, doubled, overtaken.
    Datagram,
    /// A whole message of a TCP stream.
    Stream,
}

/// What travels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Packet {
    /// How.
    pub carrier: Carrier,
    /// Whence.
    pub source: SocketAddr,
    /// Whither.
    pub destination: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// One line: whence, whither, the first line, Call-ID, CSeq, or the length of what is not SIP.
impl std::fmt::Display for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} > {} ", self.source, self.destination)?;
        match Message::parse(Bytes::copy_from_slice(&self.bytes)) {
            Ok(message) => {
                let first = self.bytes.split(|b| *b == b'\r').next();
                let number = message.cseq().map_or(0, |cseq| cseq.number);
                write!(
                    f,
                    "{} | {} {number} {}",
                    String::from_utf8_lossy(first.unwrap_or_default()),
                    String::from_utf8_lossy(message.call_id()),
                    message.method(),
                )
            }
            Err(_) => write!(f, "{} bytes", self.bytes.len()),
        }
    }
}

/// How bad the network is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weather {
    /// Datagrams lost, in thousandths.
    pub loss: u64,
    /// Datagrams that arrive twice, in thousandths.
    pub doubled: u64,
    /// Shortest way, milliseconds.
    pub delay_ms_min: u64,
    /// Longest way, milliseconds: a later datagram may overtake an earlier one.
    pub delay_ms_max: u64,
}

impl Weather {
    /// Nothing is lost, doubled or overtaken.
    pub const CALM: Weather = Weather {
        loss: 0,
        doubled: 0,
        delay_ms_min: 5,
        delay_ms_max: 5,
    };
}

/// What happened to packets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NetStats {
    /// Handed to the network.
    pub sent: u64,
    /// Lost on the way.
    pub lost: u64,
    /// Delivered twice.
    pub doubled: u64,
    /// Refused by a NAT.
    pub refused_by_nat: u64,
}

/// The wires and boxes between hosts.
#[derive(Debug)]
pub struct Net {
    rng: Rng,
    weather: Weather,
    in_flight: BinaryHeap<Reverse<(Instant, u64, Packet)>>,
    nats: Vec<Nat>,
    /// When the last message of a stream arrives, by both ends: the next one comes later.
    streams: BTreeMap<(SocketAddr, SocketAddr), Instant>,
    serial: u64,
    stats: NetStats,
}

impl Net {
    /// A network without NATs.
    pub fn new(rng: Rng, weather: Weather) -> Self {
        Self {
            rng,
            weather,
            in_flight: BinaryHeap::new(),
            nats: Vec::new(),
            streams: BTreeMap::new(),
            serial: 0,
            stats: NetStats::default(),
        }
    }

    /// Puts a NAT between the hosts that it serves and the rest.
    pub fn add_nat(&mut self, nat: Nat) {
        self.nats.push(nat);
    }

    /// From now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Counters.
    pub fn stats(&self) -> NetStats {
        self.stats
    }

    /// A host sends.
    pub fn send(&mut self, now: Instant, packet: Packet) {
        self.stats.sent += 1;
        let Some(packet) = self.translate(now, packet) else {
            self.stats.refused_by_nat += 1;
            return;
        };
        match packet.carrier {
            Carrier::Stream => {
                let arrives = now + self.delay();
                let way = (packet.source, packet.destination);
                let last = self.streams.entry(way).or_insert(arrives);
                *last = arrives.max(*last);
                let arrives = *last;
                self.launch(arrives, packet);
            }
            Carrier::Datagram => {
                if self.rng.chance(self.weather.loss, 1000) {
                    self.stats.lost += 1;
                    return;
                }
                if self.rng.chance(self.weather.doubled, 1000) {
                    self.stats.doubled += 1;
                    let arrives = now + self.delay();
                    self.launch(arrives, packet.clone());
                }
                let arrives = now + self.delay();
                self.launch(arrives, packet);
            }
        }
    }

    /// The NAT before a host forgets its mappings.
    pub fn reboot_nat_of(&mut self, host: IpAddr) {
        for nat in self.nats.iter_mut().filter(|nat| nat.serves(host)) {
            nat.reboot();
        }
    }

    /// Whether a stream could carry the packet now: no NAT shuts it out.
    pub fn is_open(&mut self, now: Instant, packet: &Packet) -> bool {
        self.translate(now, packet.clone()).is_some()
    }

    /// When the next packet arrives.
    pub fn next(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse((at, ..))| *at)
    }

    /// A packet that has arrived by `now`.
    pub fn receive(&mut self, now: Instant) -> Option<Packet> {
        if self.next()? > now {
            return None;
        }
        self.in_flight.pop().map(|Reverse((.., packet))| packet)
    }

    /// Packets under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn launch(&mut self, arrives: Instant, packet: Packet) {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            self.stats.lost += 1;
            return;
        }
        self.serial += 1;
        self.in_flight.push(Reverse((arrives, self.serial, packet)));
    }

    fn delay(&mut self) -> Duration {
        let Weather {
            delay_ms_min,
            delay_ms_max,
            ..
        } = self.weather;
        let spread = (delay_ms_max.saturating_sub(delay_ms_min)) * 1000 + 1;
        Duration::from_micros(delay_ms_min * 1000 + self.rng.below(spread))
    }

    /// Out through the sender's NAT, then in through the receiver's.
    fn translate(&mut self, now: Instant, mut packet: Packet) -> Option<Packet> {
        let inside = |nat: &Nat, address: SocketAddr| nat.serves(address.ip());
        let from = self.nats.iter().position(|n| inside(n, packet.source));
        let to = self.nats.iter().position(|n| inside(n, packet.destination));
        match (from, to) {
            // Neighbours behind the same NAT.
            (Some(from), Some(to)) if from == to => return Some(packet),
            // Nobody outside can reach a private address.
            (_, Some(_)) => return None,
            (Some(from), None) => {
                let nat = self.nats.get_mut(from)?;
                packet.source = nat.outbound(now, packet.source, packet.destination)?;
            }
            (None, None) => {}
        }
        let public = self
            .nats
            .iter_mut()
            .find(|nat| nat.public() == packet.destination.ip());
        if let Some(nat) = public {
            packet.destination = nat.inbound(now, packet.source, packet.destination)?;
        }
        Some(packet)
    }
}
