//! The clock and the loop: whatever comes next happens next.

use super::book::Book;
use super::check::{Broken, Checker};
use super::files::Death;
use super::gate::{Gate, Mood};
use super::host::{Host, Load};
use super::mail;
use super::net::{Carrier, Net, Packet, Weather};
use super::phone::Phone;
use crate::base::{Instant, Rng};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Steps of one world: a loop that does not end is a fault.
pub const STEPS_MAX: u64 = 2_000_000;

/// What happens to a world from outside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mishap {
    /// The server is killed and starts again.
    Restart,
    /// The power of its machine fails and comes back.
    PowerCut,
    /// A phone dies.
    Silence(usize),
    /// The NAT before a phone is switched off and on.
    NatReboot(usize),
    /// The network becomes calm.
    Calm,
    /// A far end is otherwise from now on.
    Turn(usize, Mood),
    /// The DNS answers SERVFAIL, or answers again.
    Dns {
        /// Which of both.
        fails: bool,
    },
    /// A name leads elsewhere, by its place in [`World::names`].
    Point(usize),
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    /// The clock.
    pub now: Instant,
    /// The wires.
    pub net: Net,
    /// The server.
    pub host: Host,
    /// The phones.
    pub phones: Vec<Phone>,
    /// Far ends of trunks, members of pools.
    pub gates: Vec<Gate>,
    /// What names may lead to, for [`Mishap::Point`].
    pub names: Vec<(String, Vec<SocketAddr>)>,
    /// The rules.
    pub checker: Checker,
    /// The rules toward far ends.
    pub book: Book,
    gate_by_address: BTreeMap<IpAddr, usize>,
    by_address: BTreeMap<IpAddr, usize>,
    mishaps: BTreeSet<(Instant, Mishap)>,
    /// When the server was started last.
    pub born: Instant,
    steps: u64,
    /// What was delivered, a line each, once [`World::record`] was called.
    log: Option<Vec<String>>,
}

impl World {
    /// A server and a network.
    pub fn new(host: Host, weather: Weather, mut rng: Rng) -> Self {
        Self {
            now: Instant::ZERO,
            net: Net::new(rng.fork(), weather),
            host,
            phones: Vec::new(),
            gates: Vec::new(),
            names: Vec::new(),
            checker: Checker::default(),
            book: Book::default(),
            gate_by_address: BTreeMap::new(),
            by_address: BTreeMap::new(),
            mishaps: BTreeSet::new(),
            born: Instant::ZERO,
            steps: 0,
            log: None,
        }
    }

    /// From now on notes what is delivered.
    pub fn record(&mut self) {
        self.log = Some(Vec::new());
    }

    /// What was delivered, a line per packet, for people.
    pub fn log(&self) -> &[String] {
        self.log.as_deref().unwrap_or_default()
    }

    /// Adds a phone; its number comes back.
    pub fn add_phone(&mut self, phone: Phone) -> usize {
        let account = phone.account();
        self.host
            .add_user(&account.user, &account.domain, &account.password);
        self.by_address
            .insert(phone.address().ip(), self.phones.len());
        self.phones.push(phone);
        self.phones.len() - 1
    }

    /// Adds a far end; its number comes back.
    pub fn add_gate(&mut self, gate: Gate, hides: bool) -> usize {
        self.book.add_far_end(gate.address(), hides);
        self.gate_by_address
            .insert(gate.address().ip(), self.gates.len());
        self.gates.push(gate);
        self.gates.len() - 1
    }

    /// Lets something happen.
    pub fn plan(&mut self, at: Instant, mishap: Mishap) {
        self.mishaps.insert((at, mishap));
    }

    /// Runs until `end`.
    pub fn run_until(&mut self, end: Instant) -> Result<(), Broken> {
        while let Some(next) = self.next()
            && next <= end
        {
            self.now = self.now.max(next);
            self.step()?;
        }
        self.now = end;
        Ok(())
    }

    /// Ends all calls and runs until nothing but registrations moves; then all must be gone.
    pub fn settle(&mut self, patience: Duration) -> Result<(), Broken> {
        let now = self.now;
        for phone in &mut self.phones {
            phone.finish(now);
        }
        for gate in &mut self.gates {
            gate.finish(now);
        }
        let end = self.now + patience;
        while self.now < end {
            let next = self.now + Duration::from_secs(1);
            self.flush()?;
            self.run_until(next)?;
            if self.is_at_rest() {
                break;
            }
        }
        self.checker.rest(self.now, &self.host, &self.phones)?;
        if let Some(gate) = self.gates.iter().find(|gate| is_busy(gate)) {
            let calls = gate.describe_calls();
            return Err(Broken(format!("{} still has {calls}", gate.address())));
        }
        self.checker.records(self.born, &self.host, &self.phones)
    }

    fn is_at_rest(&self) -> bool {
        self.host.load() == Load::default()
            && self
                .phones
                .iter()
                .all(|phone| phone.is_silent() || phone.calls_alive() == 0)
            && !self.gates.iter().any(is_busy)
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn next(&self) -> Option<Instant> {
        let phones = self.phones.iter().filter_map(Phone::poll_timeout).min();
        let gates = self.gates.iter().filter_map(Gate::poll_timeout).min();
        let mishap = self.mishaps.first().map(|(at, _)| *at);
        let host = self.host.poll_timeout();
        [self.net.next(), host, phones, gates, mishap]
            .into_iter()
            .flatten()
            .min()
    }

    fn step(&mut self) -> Result<(), Broken> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Broken("the world does not come to rest".into()));
        }
        let now = self.now;
        while let Some((at, mishap)) = self.mishaps.first().copied()
            && at <= now
        {
            self.mishaps.remove(&(at, mishap));
            self.happen(mishap)?;
        }
        while let Some(packet) = self.net.receive(now) {
            self.deliver(&packet);
        }
        for phone in &mut self.phones {
            if phone.poll_timeout().is_some_and(|at| at <= now) {
                phone.handle_timeout(now);
            }
        }
        for gate in &mut self.gates {
            if gate.poll_timeout().is_some_and(|at| at <= now) {
                gate.handle_timeout(now);
            }
        }
        if self.host.poll_timeout().is_some_and(|at| at <= now) {
            self.host.handle_timeout(now);
            if self.host.poll_timeout().is_some_and(|at| at < now) {
                return Err(Broken("the server's timer stays in the past".into()));
            }
        }
        self.flush()
    }

    /// Hands what hosts and phones want to send to the network.
    fn flush(&mut self) -> Result<(), Broken> {
        let now = self.now;
        for phone in &mut self.phones {
            while let Some(packet) = phone.poll_packet() {
                self.net.send(now, packet);
            }
        }
        for gate in &mut self.gates {
            while let Some(packet) = gate.poll_packet() {
                self.net.send(now, packet);
            }
        }
        while let Some(outgoing) = self.host.poll_packet() {
            if outgoing.packet.destination == outgoing.packet.source {
                return Err(Broken("the server speaks to itself".into()));
            }
            self.checker.sent(now, &outgoing.packet)?;
            self.book.sent(&outgoing.packet)?;
            let stream = outgoing.packet.carrier == Carrier::Stream;
            if stream && !self.net.is_open(now, &outgoing.packet) {
                self.host.handle_refusal(now, &outgoing);
                continue;
            }
            self.net.send(now, outgoing.packet);
        }
        self.checker.step(&self.host)
    }

    fn deliver(&mut self, packet: &Packet) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>9} {packet}", self.now.as_millis()));
        }
        if packet.destination.ip() == self.host.address().ip() {
            self.host.handle_packet(self.now, packet);
        } else if let Some(phone) = self
            .by_address
            .get(&packet.destination.ip())
            .and_then(|n| self.phones.get_mut(*n))
        {
            phone.handle_packet(self.now, packet);
        } else if let Some(gate) = self
            .gate_by_address
            .get(&packet.destination.ip())
            .and_then(|n| self.gates.get_mut(*n))
        {
            gate.handle_packet(self.now, packet);
        }
    }

    fn happen(&mut self, mishap: Mishap) -> Result<(), Broken> {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>9} {mishap:?}", self.now.as_millis()));
        }
        match mishap {
            Mishap::Restart | Mishap::PowerCut => {
                let death = match mishap {
                    Mishap::PowerCut => Death::Power,
                    _ => Death::Process,
                };
                self.host.restart(self.now, death);
                mail::agree(&self.host)?;
                self.born = self.now;
                self.checker.restarted();
                let named = self.names.iter().flat_map(|(_, hosts)| hosts);
                self.book.restarted(named);
                self.checker.bindings(self.now, &self.host, &self.phones)?;
            }
            Mishap::Silence(phone) => {
                if let Some(phone) = self.phones.get_mut(phone) {
                    phone.fall_silent();
                }
            }
            Mishap::NatReboot(phone) => {
                if let Some(phone) = self.phones.get(phone) {
                    self.net.reboot_nat_of(phone.address().ip());
                }
            }
            Mishap::Calm => self.net.set_weather(Weather::CALM),
            Mishap::Turn(gate, mood) => {
                if let Some(gate) = self.gates.get_mut(gate) {
                    gate.turn(self.now, mood);
                }
            }
            Mishap::Dns { fails } => self.host.zone().fails = fails,
            Mishap::Point(place) => {
                if let Some((name, hosts)) = self.names.get(place) {
                    self.host.zone().point(name, hosts);
                }
            }
        }
        Ok(())
    }
}

fn is_busy(gate: &Gate) -> bool {
    !gate.is_silent() && gate.calls_alive() > 0
}
