//! A simulated phone: a small user agent of its own. It shares the message parser with the server
//! but no transaction, dialog or media code, so that a fault on one side is not mirrored on the
//! other.
//!
//! It registers with digest and refreshes, calls, rings, answers, refuses, cancels, hangs up, holds
//! by re-INVITE, retransmits, acknowledges, talks (a little RTP), and may fall silent for good.

mod call;
mod dialog;
mod register;
mod text;
mod transact;

pub use call::{CallPlan, CallReport, Habits, Outcome};

use super::net::{Carrier, Packet};
use crate::base::{Instant, Rng};
use crate::wire::sip::Message;
use bytes::Bytes;
use call::Call;
use register::Registration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use transact::{ClientTx, Served};

/// RFC 3261's T1.
const T1: Duration = Duration::from_millis(500);
/// RFC 3261's T2.
const T2: Duration = Duration::from_secs(4);
/// 64 * T1.
const PATIENCE: Duration = Duration::from_secs(32);

/// Who a phone is.
#[derive(Clone, Debug)]
pub struct Account {
    /// The user part.
    pub user: String,
    /// The domain and realm.
    pub domain: String,
    /// The password.
    pub password: String,
}

impl Account {
    /// The address of record as a URI.
    pub fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }
}

/// What a phone wakes up for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Alarm {
    /// Timers A, E, B, F of a request.
    Transaction(String),
    /// Register again.
    Register,
    /// Place a planned call.
    Place(usize),
    /// Answer or refuse the call.
    Answer(u64),
    /// Stop calling.
    GiveUp(u64),
    /// Hang up.
    HangUp(u64),
    /// Put on hold, or take back.
    Hold(u64),
    /// A final response to an INVITE that is not acknowledged yet.
    Unacknowledged(u64),
    /// Send a packet of audio.
    Talk(u64),
    /// Press a key.
    Press(u64, char),
}

/// One phone.
#[derive(Debug)]
pub struct Phone {
    account: Account,
    address: SocketAddr,
    server: SocketAddr,
    carrier: Carrier,
    habits: Habits,
    rng: Rng,
    now: Instant,
    out: VecDeque<Packet>,
    alarms: BTreeSet<(Instant, u64, Alarm)>,
    serial: u64,
    clients: BTreeMap<String, ClientTx>,
    served: BTreeMap<String, Served>,
    acks: BTreeMap<String, (Vec<u8>, Instant)>,
    registration: Registration,
    plans: Vec<CallPlan>,
    calls: BTreeMap<u64, Call>,
    reports: Vec<CallReport>,
    silent: bool,
}

impl Phone {
    /// A phone that has not registered yet.
    pub fn new(
        account: Account,
        address: SocketAddr,
        server: SocketAddr,
        carrier: Carrier,
        mut rng: Rng,
    ) -> Self {
        Self {
            registration: Registration::new(&mut rng),
            account,
            address,
            server,
            carrier,
            habits: Habits::default(),
            rng,
            now: Instant::ZERO,
            out: VecDeque::new(),
            alarms: BTreeSet::new(),
            serial: 0,
            clients: BTreeMap::new(),
            served: BTreeMap::new(),
            acks: BTreeMap::new(),
            plans: Vec::new(),
            calls: BTreeMap::new(),
            reports: Vec::new(),
            silent: false,
        }
    }

    /// How it treats those who call.
    pub fn set_habits(&mut self, habits: Habits) {
        self.habits = habits;
    }

    /// Registers at `at`, and from then on stays registered.
    pub fn register_at(&mut self, at: Instant) {
        self.arm_at(at, Alarm::Register);
    }

    /// Calls at `at`.
    pub fn call_at(&mut self, at: Instant, plan: CallPlan) {
        self.plans.push(plan);
        self.arm_at(at, Alarm::Place(self.plans.len() - 1));
    }

    /// Dies: hears and says nothing any more.
    pub fn fall_silent(&mut self) {
        self.silent = true;
    }

    /// Whether it died.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// Where it sits.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who it is.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Whether its last REGISTER was answered 200 and has not run out.
    pub fn is_registered(&self, now: Instant) -> bool {
        self.registration.good_until > now
    }

    /// When its last REGISTER was answered 200.
    pub fn registered_at(&self) -> Option<Instant> {
        self.registration.answered_at
    }

    /// Calls that it takes for alive.
    pub fn calls_alive(&self) -> usize {
        self.calls.values().filter(|call| call.is_alive()).count()
    }

    /// What is left to do: for checkers that say why a world does not come to rest.
    pub fn describe_calls(&self) -> String {
        let alive = self.calls.values().filter(|call| call.is_alive());
        alive
            .map(|call| call.describe())
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Calls that ended.
    pub fn reports(&self) -> &[CallReport] {
        &self.reports
    }

    /// Hangs up whatever is alive, and places no further call.
    pub fn finish(&mut self, now: Instant) {
        self.now = now;
        self.alarms
            .retain(|(.., alarm)| !matches!(alarm, Alarm::Place(_)));
        let alive: Vec<u64> = self.calls.keys().copied().collect();
        for id in alive {
            self.hang_up(id);
        }
    }

    /// A packet came.
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        self.now = now;
        if self.silent {
            return;
        }
        if packet.destination.port() != self.address.port() {
            self.hear(packet);
            return;
        }
        let Ok(message) = Message::parse(Bytes::copy_from_slice(&packet.bytes)) else {
            return;
        };
        if message.is_request() {
            self.on_request(&message);
        } else {
            self.on_response(&message);
        }
    }

    /// What it sends.
    pub fn poll_packet(&mut self) -> Option<Packet> {
        let packet = self.out.pop_front()?;
        (!self.silent).then_some(packet)
    }

    /// When it wakes up.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.silent {
            return None;
        }
        self.alarms.first().map(|(at, ..)| *at)
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        while let Some((at, ..)) = self.alarms.first()
            && *at <= now
            && let Some((.., alarm)) = self.alarms.pop_first()
        {
            self.on_alarm(alarm);
        }
    }

    fn on_alarm(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Transaction(key) => self.on_transaction_timer(&key),
            Alarm::Register => self.register(),
            Alarm::Place(plan) => self.place(plan),
            Alarm::Answer(call) => self.answer(call),
            Alarm::GiveUp(call) => self.give_up(call),
            Alarm::HangUp(call) => self.hang_up(call),
            Alarm::Hold(call) => self.toggle_hold(call),
            Alarm::Unacknowledged(call) => self.repeat_final(call),
            Alarm::Talk(call) => self.talk(call),
            Alarm::Press(call, key) => self.press(call, key),
        }
    }

    fn arm(&mut self, delay: Duration, alarm: Alarm) {
        self.arm_at(self.now + delay, alarm);
    }

    fn arm_at(&mut self, at: Instant, alarm: Alarm) {
        self.serial += 1;
        self.alarms.insert((at, self.serial, alarm));
    }

    fn send(&mut self, bytes: Vec<u8>) {
        self.out.push_back(Packet {
            carrier: self.carrier,
            source: self.address,
            destination: self.server,
            bytes,
        });
    }

    fn transport(&self) -> &'static str {
        match self.carrier {
            Carrier::Datagram => "UDP",
            Carrier::Stream => "TCP",
        }
    }

    /// The URI that it registers.
    pub fn contact_uri(&self) -> String {
        let transport = match self.carrier {
            Carrier::Datagram => "",
            Carrier::Stream => ";transport=tcp",
        };
        format!("sip:{}@{}{transport}", self.account.user, self.address)
    }

    fn contact(&self) -> String {
        format!("<{}>", self.contact_uri())
    }

    fn token(&mut self) -> String {
        String::from_utf8_lossy(&self.rng.token::<12>()).into_owned()
    }
}
