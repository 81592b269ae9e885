//! The legs that end here. Packets come in by [`Studio::handle_rtp`], what the legs say leaves by
//! an [`Outlet`].

use super::order::{Format, News, Order, Task};
use crate::base::{Instant, Key, Slab};
use crate::wire::rtp::{Header, Packet};
use std::collections::{HashMap, VecDeque};

/// The longest payload that is looked at: half a second of G.711, or as much as a datagram holds
/// without fragments.
const PAYLOAD_MAX: usize = 1_460;

/// News that wait for the driver, which drains them after each call; more are dropped.
const NEWS_MAX: usize = 4_096;

/// Takes what the studio sends.
pub trait Outlet {
    /// A packet of sound.
    fn rtp(&mut self, session: u64, stream: usize, packet: &[u8]);
    /// A report.
    fn rtcp(&mut self, session: u64, stream: usize, packet: &[u8]);
}

/// Where our stream is (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug)]
struct Position {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

/// How the far end's positions become ours while we echo it.
#[derive(Clone, Copy, Debug)]
struct Echo {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

/// One leg.
#[derive(Debug)]
struct Leg {
    format: Format,
    position: Position,
    task: Task,
    echo: Option<Echo>,
}

/// The legs of one media worker, at most as many as its relay has sessions.
#[derive(Debug)]
pub struct Studio {
    legs: Slab<Box<Leg>>,
    by_session: HashMap<u64, Key>,
    news: VecDeque<News>,
    packet: Vec<u8>,
}

impl Studio {
    /// Without legs; at most `legs_max`.
    pub fn new(legs_max: usize) -> Self {
        Self {
            legs: Slab::new(legs_max),
            by_session: HashMap::new(),
            news: VecDeque::new(),
            packet: Vec::new(),
        }
    }

    /// How many legs there are.
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Carries out an order. Afterwards drain [`Studio::poll_news`].
    pub fn handle_order(&mut self, _now: Instant, order: Order) {
        let session = order.session();
        let known = self.by_session.get(&session).copied();
        match (order, known) {
            (Order::Open { format, .. }, Some(key)) => {
                if let Some(leg) = self.legs.get_mut(key) {
                    leg.format = format;
                }
            }
            (Order::Open { format, seed, .. }, None) => self.open(session, format, seed),
            (Order::Do { what, .. }, Some(key)) => {
                if let Some(leg) = self.legs.get_mut(key) {
                    leg.task = what;
                    leg.echo = None;
                }
            }
            (Order::Do { .. }, None) => self.tell(News::Failed { session }),
            (Order::Close { .. }, Some(key)) => {
                self.legs.remove(key);
                self.by_session.remove(&session);
            }
            (Order::Close { .. }, None) => {}
        }
    }

    fn open(&mut self, session: u64, format: Format, seed: u64) {
        let [a, b, c, d, e, f, g, h] = seed.to_le_bytes();
        let position = Position {
            ssrc: u32::from_le_bytes([a, b, c, d]),
            sequence: u16::from_le_bytes([e, f]),
            timestamp: u32::from_le_bytes([g, h, a, c]),
        };
        let leg = Box::new(Leg {
            format,
            position,
            task: Task::Rest,
            echo: None,
        });
        match self.legs.insert(leg) {
            Ok(key) => {
                self.by_session.insert(session, key);
            }
            Err(_) => self.tell(News::Failed { session }),
        }
    }

    /// A packet of sound came for a leg.
    pub fn handle_rtp(
        &mut self,
        _now: Instant,
        session: u64,
        stream: usize,
        packet: &[u8],
        outlet: &mut impl Outlet,
    ) {
        let key = self.by_session.get(&session).copied();
        let Some(leg) = key.and_then(|key| self.legs.get_mut(key)) else {
            return;
        };
        let Some(packet) = Packet::new_checked(packet) else {
            return;
        };
        if stream != usize::from(leg.format.stream) || packet.payload().len() > PAYLOAD_MAX {
            return;
        }
        match leg.task {
            Task::Rest => {}
            Task::Echo => {
                if leg.reflect(&packet, &mut self.packet) {
                    outlet.rtp(session, stream, &self.packet);
                }
            }
        }
    }

    /// A report came for a leg.
    pub fn handle_rtcp(&mut self, _now: Instant, _session: u64, _stream: usize, _packet: &[u8]) {}

    /// What signalling must hear.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// When to call [`Studio::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Time passed: what plays goes on.
    pub fn handle_timeout(&mut self, _now: Instant, _outlet: &mut impl Outlet) {}

    fn tell(&mut self, news: News) {
        if self.news.len() < NEWS_MAX {
            self.news.push_back(news);
        }
    }
}

impl Leg {
    /// The far end's packet as ours: its gaps and its order are kept, so that it hears its own way
    /// to us.
    fn reflect(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>) -> bool {
        let header = packet.header();
        let known = [Some(self.format.payload_type), self.format.events];
        if !self.format.sends || !known.contains(&Some(header.payload_type)) {
            return false;
        }
        let echo = match self.echo {
            Some(echo) if echo.ssrc == header.ssrc => echo,
            _ => Echo {
                ssrc: header.ssrc,
                sequence: self.position.sequence.wrapping_sub(header.sequence),
                timestamp: self.position.timestamp.wrapping_sub(header.timestamp),
            },
        };
        self.echo = Some(echo);
        let ours = Header {
            ssrc: self.position.ssrc,
            sequence: header.sequence.wrapping_add(echo.sequence),
            timestamp: header.timestamp.wrapping_add(echo.timestamp),
            ..header
        };
        // Where another source, or another task, goes on.
        self.position.sequence = ours.sequence.wrapping_add(1);
        self.position.timestamp = ours.timestamp.wrapping_add(self.packet_units());
        out.clear();
        out.extend_from_slice(&ours.emit());
        out.extend_from_slice(packet.payload());
        true
    }

    fn packet_units(&self) -> u32 {
        let format = &self.format;
        format.coding.clock_rate() / 1000 * u32::from(format.packet_ms)
    }
}
