//! The legs that end here. Packets come in by [`Studio::handle_rtp`], what the legs say leaves by
//! an [`Outlet`]; what plays moves by absolute deadlines.

use super::leg::{Leg, Turn};
use super::order::{Format, News, Order, RecordEnd, Task};
use super::stream::ntp_of_unix_ms;
use crate::base::{Anchor, Instant, Key, Slab, TimerTable};
use crate::wire::rtp::Packet;
use std::collections::{HashMap, VecDeque};

/// The longest payload that is looked at: as much as a datagram holds without fragments.
const PAYLOAD_MAX: usize = 1_460;

/// News that wait for the driver, which drains them after each call; more are dropped.
const NEWS_MAX: usize = 4_096;

/// Legs that have their turn in one [`Studio::handle_timeout`]; the others' turn comes at once
/// behind it.
const TURNS_MAX: usize = 4_096;

/// Takes what the studio sends.
pub trait Outlet {
    /// A packet of sound.
    fn rtp(&mut self, session: u64, stream: usize, packet: &[u8]);
    /// A report.
    fn rtcp(&mut self, session: u64, stream: usize, packet: &[u8]);
}

/// The legs of one media worker, at most as many as its relay has sessions.
#[derive(Debug)]
pub struct Studio {
    anchor: Anchor,
    legs: Slab<Box<Leg>>,
    by_session: HashMap<u64, Key>,
    timers: TimerTable<Key>,
    news: VecDeque<News>,
    packet: Vec<u8>,
}

impl Studio {
    /// Without legs; at most `legs_max`. `anchor` ties the clock to the calendar, for reports.
    pub fn new(legs_max: usize, anchor: Anchor) -> Self {
        Self {
            anchor,
            legs: Slab::new(legs_max),
            by_session: HashMap::new(),
            timers: TimerTable::new(),
            news: VecDeque::new(),
            packet: Vec::new(),
        }
    }

    /// How many legs there are.
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Carries out an order. Afterwards drain [`Studio::poll_news`].
    pub fn handle_order(&mut self, now: Instant, order: Order) {
        let session = order.session();
        let known = self.by_session.get(&session).copied();
        match (order, known) {
            (Order::Open { format, .. }, Some(key)) => {
                if let Some(leg) = self.legs.get_mut(key) {
                    leg.reformat(format);
                }
            }
            (Order::Open { format, seed, .. }, None) => self.open(now, session, format, seed),
            (Order::Do { task, what, .. }, Some(key)) => {
                if matches!(what, Task::Record { .. }) {
                    let (ms, end) = (0, RecordEnd::Failed);
                    self.tell(News::Recorded {
                        session,
                        task,
                        ms,
                        end,
                    });
                }
                if let Some(leg) = self.legs.get_mut(key) {
                    leg.begin(now, task, what);
                }
                self.arm(key);
            }
            (Order::Measure { .. }, Some(key)) => {
                if let Some(figures) = self.legs.get(key).map(|leg| leg.measure()) {
                    self.tell(News::Measured { session, figures });
                }
            }
            (Order::Do { .. } | Order::Measure { .. }, None) => {
                self.tell(News::Failed { session });
            }
            (Order::Close { .. }, Some(key)) => self.close(session, key),
            (Order::Close { .. }, None) => {}
        }
    }

    fn open(&mut self, now: Instant, session: u64, format: Format, seed: u64) {
        let leg = Box::new(Leg::new(now, session, format, seed));
        match self.legs.insert(leg) {
            Ok(key) => {
                self.by_session.insert(session, key);
                self.arm(key);
            }
            Err(_) => self.tell(News::Failed { session }),
        }
    }

    fn close(&mut self, session: u64, key: Key) {
        if let Some(timer) = self.legs.remove(key).and_then(|leg| leg.timer) {
            self.timers.cancel(timer);
        }
        self.by_session.remove(&session);
    }

    fn arm(&mut self, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if let Some(timer) = leg.timer.take() {
            self.timers.cancel(timer);
        }
        leg.timer = Some(self.timers.arm(leg.due(), key));
    }

    /// A packet of sound came for a leg.
    pub fn handle_rtp(
        &mut self,
        now: Instant,
        session: u64,
        stream: usize,
        packet: &mut [u8],
        outlet: &mut impl Outlet,
    ) {
        let Some(key) = self.by_session.get(&session).copied() else {
            return;
        };
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if stream != usize::from(leg.format.stream) {
            return;
        }
        let clear = leg.open(packet, false);
        let Some(packet) = clear.and_then(Packet::new_checked) else {
            return;
        };
        if packet.payload().len() > PAYLOAD_MAX {
            return;
        }
        let news = &mut self.news;
        let mut pressed = |key| {
            if news.len() < NEWS_MAX {
                news.push_back(News::Key { session, key });
            }
        };
        match leg.hear(now, &packet, &mut self.packet, &mut pressed) {
            Turn::Spoke => {
                if leg.seal(&mut self.packet, false) {
                    outlet.rtp(session, stream, &self.packet);
                }
            }
            Turn::Done { task } => self.tell(News::Done { session, task }),
            Turn::Idle => {}
        }
    }

    /// A report came for a leg.
    pub fn handle_rtcp(&mut self, now: Instant, session: u64, stream: usize, packet: &mut [u8]) {
        let ntp = self.ntp(now);
        let key = self.by_session.get(&session);
        let Some(leg) = key.and_then(|key| self.legs.get_mut(*key)) else {
            return;
        };
        if stream == usize::from(leg.format.stream)
            && let Some(packet) = leg.open(packet, true)
        {
            leg.hear_report(now, ntp, packet);
        }
    }

    /// What signalling must hear.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// When to call [`Studio::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Time passed: what plays goes on, and reports leave.
    pub fn handle_timeout(&mut self, now: Instant, outlet: &mut impl Outlet) {
        let ntp = self.ntp(now);
        for _ in 0..TURNS_MAX {
            let Some((_, key)) = self.timers.pop_due(now) else {
                return;
            };
            let Some(leg) = self.legs.get_mut(key) else {
                continue;
            };
            leg.timer = None;
            let (session, stream) = (leg.session, usize::from(leg.format.stream));
            if leg.report(now, ntp, &mut self.packet) && leg.seal(&mut self.packet, true) {
                outlet.rtcp(session, stream, &self.packet);
            }
            match leg.speak(now, &mut self.packet) {
                Turn::Spoke => {
                    if leg.seal(&mut self.packet, false) {
                        outlet.rtp(session, stream, &self.packet);
                    }
                }
                Turn::Done { task } => self.tell(News::Done { session, task }),
                Turn::Idle => {}
            }
            self.arm(key);
        }
    }

    fn ntp(&self, now: Instant) -> u64 {
        ntp_of_unix_ms(self.anchor.unix_ms(now))
    }

    fn tell(&mut self, news: News) {
        if self.news.len() < NEWS_MAX {
            self.news.push_back(news);
        }
    }
}
