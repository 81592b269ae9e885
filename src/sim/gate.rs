//! The far end of a trunk, or a member of a pool: a [`Phone`] that nobody registers, behind a
//! doorkeeper who demands digest where the trunk wants it, and behind which everything may go
//! wrong: it dies, refuses, is slow, or dies once it rings.

use super::net::{Carrier, Packet};
use super::phone::{Account, CallPlan, CallReport, Habits, Phone};
use super::registrar::{Manners, Registrar};
use crate::base::{Instant, Rng};
use crate::wire::sip::{Message, Method, ResponseBuilder};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// How a far end is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mood {
    /// Answers every call.
    Well,
    /// Hears and says nothing.
    Dead,
    /// Answers every INVITE 503, and OPTIONS too if so.
    Busy {
        /// Whether it says so to whoever asks.
        honest: bool,
    },
    /// Takes so long before it says anything to an INVITE, milliseconds.
    Slow(u64),
    /// Rings, and is dead from then on.
    Trap,
}

/// One far end.
#[derive(Debug)]
pub struct Gate {
    /// What it does with numbers and passwords.
    pub registrar: Registrar,
    address: SocketAddr,
    server: SocketAddr,
    account: Account,
    habits: Habits,
    rng: Rng,
    phone: Phone,
    /// Calls that ended in earlier lives.
    reports: Vec<CallReport>,
    /// Whether it believes nobody without digest.
    demands: bool,
    mood: Mood,
    /// Since when it is so, and what it was before, the oldest first.
    moods: Vec<(Instant, Mood)>,
    /// Packets that a slow one has not looked at yet.
    waiting: BTreeMap<(Instant, u64), Packet>,
    serial: u64,
    /// What the doorkeeper said, by branch and method.
    turned_away: BTreeMap<String, Vec<u8>>,
    /// Whom it let in, by the same.
    let_in: BTreeSet<String>,
    out: VecDeque<Packet>,
}

impl Gate {
    /// It is well, and nobody called yet.
    pub fn new(
        address: SocketAddr,
        server: SocketAddr,
        manners: Manners,
        demands: bool,
        mut rng: Rng,
    ) -> Self {
        let account = Account {
            user: manners.user.clone(),
            domain: manners.domain.clone(),
            password: manners.password.clone(),
        };
        let carrier = Carrier::Datagram;
        Self {
            registrar: Registrar::new(address, manners, rng.fork()),
            address,
            server,
            phone: Phone::new(account.clone(), address, server, carrier, rng.fork()),
            account,
            habits: Habits::default(),
            rng,
            reports: Vec::new(),
            demands,
            mood: Mood::Well,
            moods: vec![(Instant::ZERO, Mood::Well)],
            waiting: BTreeMap::new(),
            serial: 0,
            turned_away: BTreeMap::new(),
            let_in: BTreeSet::new(),
            out: VecDeque::new(),
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it treats callers.
    pub fn set_habits(&mut self, habits: Habits) {
        self.habits = habits;
        self.phone.set_habits(habits);
    }

    /// Calls the server's side.
    pub fn call_at(&mut self, at: Instant, plan: CallPlan) {
        self.phone.call_at(at, plan);
    }

    /// It is otherwise from now on. Who was dead has forgotten everything.
    pub fn turn(&mut self, now: Instant, mood: Mood) {
        if self.mood == mood {
            return;
        }
        if mood == Mood::Dead {
            self.registrar.turn_off();
            self.waiting.clear();
            self.out.clear();
            self.phone.fall_silent();
        } else if self.mood == Mood::Dead {
            self.registrar.turn_on();
            self.turned_away.clear();
            self.let_in.clear();
            self.reports.extend(self.phone.reports().iter().cloned());
            let (account, carrier) = (self.account.clone(), Carrier::Datagram);
            let rng = self.rng.fork();
            self.phone = Phone::new(account, self.address, self.server, carrier, rng);
            self.phone.set_habits(self.habits);
        }
        self.mood = mood;
        self.moods.push((now, mood));
    }

    /// Whether it was so, whatever `is` says, the whole time.
    pub fn was(&self, from: Instant, to: Instant, is: impl Fn(Mood) -> bool) -> bool {
        self.moods.iter().enumerate().all(|(n, (since, mood))| {
            let until = self.moods.get(n + 1).map_or(Instant::FAR_FUTURE, |m| m.0);
            until < from || *since > to || is(*mood)
        })
    }

    /// What came of its calls.
    pub fn reports(&self) -> impl Iterator<Item = &CallReport> {
        self.reports.iter().chain(self.phone.reports())
    }

    /// Calls that it takes for alive.
    pub fn calls_alive(&self) -> usize {
        self.phone.calls_alive()
    }

    /// What they are, for people.
    pub fn describe_calls(&self) -> String {
        self.phone.describe_calls()
    }

    /// Whether it hears anything.
    pub fn is_silent(&self) -> bool {
        self.mood == Mood::Dead
    }

    /// Hangs up whatever is alive.
    pub fn finish(&mut self, now: Instant) {
        self.phone.finish(now);
    }

    /// When it wakes up.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.waiting.keys().next().map(|(at, _)| *at);
        [waiting, self.phone.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now
        {
            let packet = entry.remove();
            self.hear(now, &packet);
        }
        if self.phone.poll_timeout().is_some_and(|at| at <= now) {
            self.phone.handle_timeout(now);
        }
    }

    /// What it sends.
    pub fn poll_packet(&mut self) -> Option<Packet> {
        if let Some(packet) = self.out.pop_front() {
            return Some(packet);
        }
        self.phone.poll_packet()
    }

    /// A packet came.
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        if packet.destination != self.address {
            return self.phone.handle_packet(now, packet);
        }
        let invite = packet.bytes.starts_with(b"INVITE ");
        if let (Mood::Slow(ms), true) = (self.mood, invite) {
            self.serial += 1;
            let at = now + Duration::from_millis(ms);
            self.waiting.insert((at, self.serial), packet.clone());
            return;
        }
        self.hear(now, packet);
    }

    fn hear(&mut self, now: Instant, packet: &Packet) {
        let message = Message::parse(Bytes::copy_from_slice(&packet.bytes));
        let Some(message) = message.ok().filter(|_| self.mood != Mood::Dead) else {
            return;
        };
        if !message.is_request() {
            return self.phone.handle_packet(now, packet);
        }
        let branch = message.top_via().ok().and_then(|via| via.branch());
        let branch = String::from_utf8_lossy(branch.unwrap_or_default()).into_owned();
        let key = format!("{branch} {}", message.method());
        match message.method() {
            Method::Register | Method::Options => self.official(now, packet, &message),
            // Of a refusal: nothing more to say (RFC 3261 §17.1.1.3).
            Method::Ack if self.turned_away.contains_key(&format!("{branch} INVITE")) => {}
            Method::Ack | Method::Cancel => self.phone.handle_packet(now, packet),
            _ if self.turned_away.contains_key(&key) => {
                let answer = self.turned_away.get(&key).cloned();
                self.say(packet, answer.unwrap_or_default());
            }
            _ if self.let_in.contains(&key) => self.phone.handle_packet(now, packet),
            _ => self.at_the_door(now, packet, &message, key),
        }
    }

    fn official(&mut self, now: Instant, packet: &Packet, message: &Message) {
        if self.mood == (Mood::Busy { honest: true }) {
            let answer = ResponseBuilder::new(message, 503).to_tag("busy");
            return self.say(packet, answer.render().to_vec());
        }
        let answer = self.registrar.handle_packet(now, packet);
        self.out.extend(answer);
    }

    fn at_the_door(&mut self, now: Instant, packet: &Packet, message: &Message, key: String) {
        let invite = message.method() == Method::Invite;
        let begins = invite && message.to().is_ok_and(|to| to.tag().is_none());
        let busy = begins && matches!(self.mood, Mood::Busy { .. });
        let refusal = match busy {
            true => Some(ResponseBuilder::new(message, 503).to_tag("busy")),
            false if self.demands => self.registrar.doubts(now, message),
            false => None,
        };
        if let Some(refusal) = refusal {
            let answer = refusal.render().to_vec();
            self.turned_away.insert(key, answer.clone());
            return self.say(packet, answer);
        }
        self.let_in.insert(key);
        self.phone.handle_packet(now, packet);
        if begins && self.mood == Mood::Trap {
            let ringing: Vec<Packet> = std::iter::from_fn(|| self.phone.poll_packet()).collect();
            self.turn(now, Mood::Dead);
            self.out.extend(ringing);
        }
    }

    fn say(&mut self, packet: &Packet, bytes: Vec<u8>) {
        self.out.push_back(Packet {
            carrier: Carrier::Datagram,
            source: self.address,
            destination: packet.source,
            bytes,
        });
    }
}
