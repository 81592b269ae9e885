//! Registers with the trunks that want it, and asks trunks and members whether they live. One per
//! node: its owner is the first shard, and the Call-IDs that it makes belong to that shard.
//!
//! The machines are in `registration` and `probe`; here are their timers, their place in the
//! locator, and which transaction is whose.

use super::probe::{Probe, Whom};
use super::registration::{Registration, Step, Why};
use super::{Peers, Surroundings, Trunk};
use crate::base::{Destination, Instant, Key, Rng, Slab, TimerId, TimerTable, call_id_of};
use crate::sip::listeners::ListenerTable;
use crate::sip::locate::{LocateError, LocateId, Located, Locator, Target, TargetHost};
use crate::sip::transaction::{ClientKey, Failure};
use crate::wire::sip::{Message, Uri};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Registrations and probed peers; more are not registered, and count as up.
pub const JOBS_MAX: usize = 20_000;
/// Timers of one wake-up; the rest is due at once again.
pub const TIMERS_PER_TURN: usize = 256;
/// From the first request of one peer to that of the next, after a start.
const SPREAD: Duration = Duration::from_millis(10);
/// How soon the suspicion of another shard is seen.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the client works with and does not own.
#[derive(Debug)]
pub struct Net<'a> {
    /// What we listen on.
    pub listeners: &'a ListenerTable,
    /// Finds addresses.
    pub locator: &'a mut Locator,
}

/// A request of the client's, without Via.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// For [`Client::on_answer`] and [`Client::on_failure`]; neither zero nor above 2^62.
    pub id: u64,
    /// The request.
    pub request: Bytes,
    /// Where to.
    pub to: Destination,
}

/// A trunk, or a pool and the URI of its member.
type Id = (Box<str>, Option<Box<str>>);

/// What the client wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this, and say its transaction by [`Client::on_sent`].
    Send(Request),
    /// Forget this transaction: nobody waits for its answer.
    Abandon(ClientKey),
}

#[derive(Debug)]
enum Kind {
    Registration(Box<Registration>),
    Probe(Box<Probe>),
}

#[derive(Debug)]
enum Pending {
    Nothing,
    Timer(TimerId),
    Located(LocateId),
    Answer {
        id: u64,
        transaction: Option<ClientKey>,
        timer: Option<TimerId>,
    },
}

#[derive(Debug)]
struct Job {
    kind: Kind,
    pending: Pending,
}

enum Happening<'m> {
    Due,
    Located(Result<Vec<Destination>, &'static str>),
    Answer(&'m Message),
    Failure(Failure),
    Removed,
    Hurry(Why),
}

/// See the module's text.
#[derive(Debug)]
pub struct Client {
    peers: Arc<Peers>,
    rng: Rng,
    shards: usize,
    domain: Box<str>,
    jobs: Slab<Job>,
    timers: TimerTable<Key>,
    /// By trunk: the one that the file asks for.
    registrations: BTreeMap<Box<str>, Key>,
    probes: BTreeMap<Id, Key>,
    located: BTreeMap<LocateId, Key>,
    asked: BTreeMap<u64, Key>,
    outputs: VecDeque<Output>,
    last_id: u64,
    /// What of [`Peers`] was seen.
    seen: Option<(u64, u64)>,
    look: Option<Instant>,
    is_stopping: bool,
}

impl Client {
    /// For the first of `shards` shards. `domain` is what we call ourselves to who gives us no
    /// account. It begins at `now`.
    pub fn new(now: Instant, peers: Arc<Peers>, shards: usize, domain: &str, rng: Rng) -> Self {
        Self {
            peers,
            rng,
            shards: shards.max(1),
            domain: domain.into(),
            jobs: Slab::new(JOBS_MAX),
            timers: TimerTable::new(),
            registrations: BTreeMap::new(),
            probes: BTreeMap::new(),
            located: BTreeMap::new(),
            asked: BTreeMap::new(),
            outputs: VecDeque::new(),
            last_id: 0,
            seen: None,
            // The owner wakes up then, and sees for the first time who is there.
            look: Some(now),
            is_stopping: false,
        }
    }

    /// Another name of ours.
    pub fn set_domain(&mut self, domain: &str) {
        self.domain = domain.into();
    }

    /// What to do next; sees first what became of trunks and pools.
    pub fn poll_output(&mut self, now: Instant, net: &mut Net<'_>) -> Option<Output> {
        let current = self.peers.version();
        if self.seen != Some(current) {
            let before = self.seen.replace(current);
            if before.is_none_or(|(generation, _)| generation != current.0) {
                self.follow(now, net);
            }
            self.hurry_suspected(now, net);
        }
        self.outputs.pop_front()
    }

    /// When to call [`Client::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.look).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, net: &mut Net<'_>) {
        if self.look.is_some_and(|at| at <= now) {
            // What is there to see, `poll_output` sees.
            self.look = Some(now + LOOK_EVERY);
        }
        for _ in 0..TIMERS_PER_TURN {
            let Some((timer, key)) = self.timers.pop_due(now) else {
                return;
            };
            let Some(job) = self.jobs.get_mut(key) else {
                continue;
            };
            let happening = match job.pending {
                Pending::Timer(armed) if armed == timer => Happening::Due,
                Pending::Answer {
                    timer: Some(armed), ..
                } if armed == timer => Happening::Failure(Failure::Timeout),
                Pending::Nothing
                | Pending::Timer(_)
                | Pending::Located(_)
                | Pending::Answer { .. } => continue,
            };
            self.drive(now, key, happening, net);
        }
    }

    /// Whether a search is the client's.
    pub fn waits_for(&self, id: LocateId) -> bool {
        self.located.contains_key(&id)
    }

    /// A search ended.
    pub fn on_located(
        &mut self,
        now: Instant,
        id: LocateId,
        found: Result<Vec<Destination>, LocateError>,
        net: &mut Net<'_>,
    ) {
        if let Some(key) = self.located.remove(&id) {
            self.drive(now, key, Happening::Located(addresses(found)), net);
        }
    }

    /// A request is on its way, by this transaction.
    pub fn on_sent(&mut self, id: u64, client: ClientKey) {
        let job = self.asked.get(&id).and_then(|key| self.jobs.get_mut(*key));
        if let Some(Pending::Answer { transaction, .. }) = job.map(|job| &mut job.pending) {
            *transaction = Some(client);
        }
    }

    /// A final answer came.
    pub fn on_answer(&mut self, now: Instant, id: u64, answer: &Message, net: &mut Net<'_>) {
        if let Some(key) = self.asked.remove(&id) {
            self.drive(now, key, Happening::Answer(answer), net);
        }
    }

    /// No answer came, or the request could not be sent.
    pub fn on_failure(&mut self, now: Instant, id: u64, why: Failure, net: &mut Net<'_>) {
        if let Some(key) = self.asked.remove(&id) {
            self.drive(now, key, Happening::Failure(why), net);
        }
    }

    /// Takes all registrations back, and asks nobody any more. See [`Client::is_at_rest`].
    pub fn stop(&mut self, now: Instant, net: &mut Net<'_>) {
        self.is_stopping = true;
        self.look = None;
        for key in std::mem::take(&mut self.probes).into_values() {
            self.forget(key);
        }
        for key in std::mem::take(&mut self.registrations).into_values() {
            self.drive(now, key, Happening::Removed, net);
        }
    }

    /// Whether nothing is left to take back.
    pub fn is_at_rest(&self) -> bool {
        !self.is_stopping || (self.jobs.is_empty() && self.outputs.is_empty())
    }

    /// Registrations and probes, for checkers.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Does as the file says now.
    fn follow(&mut self, now: Instant, net: &mut Net<'_>) {
        if self.is_stopping {
            return;
        }
        self.follow_registrations(now, net);
        self.follow_probes(now);
        self.look = (!self.probes.is_empty()).then_some(now + LOOK_EVERY);
    }

    fn follow_registrations(&mut self, now: Instant, net: &mut Net<'_>) {
        let trunks = self.peers.trunks();
        for (name, key) in std::mem::take(&mut self.registrations) {
            let trunk = trunks.iter().find(|trunk| trunk.name() == &*name);
            let serves = match (self.jobs.get(key).map(|job| &job.kind), trunk) {
                (Some(Kind::Registration(own)), Some(trunk)) => own.serves(trunk),
                _ => false,
            };
            if serves {
                self.registrations.insert(name, key);
                self.drive(now, key, Happening::Hurry(Why::Changed), net);
            } else {
                self.drive(now, key, Happening::Removed, net);
            }
        }
        let mut at = now;
        for trunk in trunks.iter().filter(|trunk| trunk.config().register) {
            if self.registrations.contains_key(trunk.name()) {
                continue;
            }
            trunk.begin(now);
            let (call_id, tag) = self.names();
            let registration = Registration::new(Arc::clone(trunk), call_id, tag);
            let kind = Kind::Registration(Box::new(registration));
            if let Some(key) = self.begin(at, kind) {
                self.registrations.insert(trunk.name().into(), key);
            }
            at += SPREAD;
        }
    }

    fn follow_probes(&mut self, now: Instant) {
        let mut old = std::mem::take(&mut self.probes);
        let mut at = now;
        for (id, whom, probe_s) in self.wanted_probes() {
            let kept = old.remove(&id).filter(|key| {
                let job = self.jobs.get_mut(*key);
                match job.map(|job| &mut job.kind) {
                    Some(Kind::Probe(probe)) if probe.is_of(&whom) => {
                        probe.configure(probe_s);
                        true
                    }
                    Some(Kind::Probe(_) | Kind::Registration(_)) | None => false,
                }
            });
            let key = kept.or_else(|| {
                let (call_id, tag) = self.names();
                let probe = Probe::new(whom, probe_s, call_id, tag);
                probe.standing().begin(now);
                at += SPREAD;
                self.begin(at, Kind::Probe(Box::new(probe)))
            });
            if let Some(key) = key {
                self.probes.insert(id, key);
            }
        }
        for key in old.into_values() {
            self.forget(key);
        }
    }

    /// Who wants to be probed, or has a name whose addresses must be known.
    fn wanted_probes(&self) -> Vec<(Id, Whom, u32)> {
        let mut wanted = Vec::new();
        for trunk in self.peers.trunks() {
            let config = trunk.config();
            if config.probe_s > 0 || (!config.register && is_named(&next_hop(&trunk))) {
                let id = (Box::from(trunk.name()), None);
                wanted.push((id, Whom::Trunk(trunk), config.probe_s));
            }
        }
        for pool in self.peers.pools() {
            let probe_s = pool.config().probe_s;
            for member in pool.members().iter() {
                if probe_s > 0 || is_named(member.uri()) {
                    let id = (Box::from(pool.name()), Some(Box::from(member.uri())));
                    let pool = Box::from(pool.name());
                    let member = Arc::clone(member);
                    wanted.push((id, Whom::Member { pool, member }, probe_s));
                }
            }
        }
        wanted
    }

    fn begin(&mut self, at: Instant, kind: Kind) -> Option<Key> {
        let pending = Pending::Nothing;
        let Ok(key) = self.jobs.insert(Job { kind, pending }) else {
            tracing::warn!(
                limit = JOBS_MAX,
                "more trunks and members than can be asked"
            );
            return None;
        };
        let timer = self.timers.arm(at, key);
        if let Some(job) = self.jobs.get_mut(key) {
            job.pending = Pending::Timer(timer);
        }
        Some(key)
    }

    /// A Call-ID of the first shard, so that answers come back to it, and a tag.
    fn names(&mut self) -> (String, String) {
        let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let stem = word(&self.rng.token::<20>());
        let mut salt = 0_u32..;
        let call_id = call_id_of(0, self.shards, || match salt.next() {
            None | Some(0) => stem.clone(),
            Some(salt) => format!("{stem}-{salt}"),
        });
        (call_id, word(&self.rng.token::<10>()))
    }

    fn hurry_suspected(&mut self, now: Instant, net: &mut Net<'_>) {
        let suspected: Vec<Key> = self
            .probes
            .values()
            .copied()
            .filter(|key| match self.jobs.get(*key).map(|job| &job.kind) {
                Some(Kind::Probe(probe)) => probe.should_hurry(),
                Some(Kind::Registration(_)) | None => false,
            })
            .collect();
        for key in suspected {
            self.drive(now, key, Happening::Due, net);
        }
    }

    /// What is under way for a job does not matter any more.
    fn abandon(&mut self, key: Key) {
        let Some(job) = self.jobs.get_mut(key) else {
            return;
        };
        match std::mem::replace(&mut job.pending, Pending::Nothing) {
            Pending::Nothing => {}
            Pending::Timer(timer) => {
                self.timers.cancel(timer);
            }
            Pending::Located(id) => {
                self.located.remove(&id);
            }
            Pending::Answer {
                id,
                transaction,
                timer,
            } => {
                // Unanswered, it would be repeated for half a minute.
                if self.asked.remove(&id).is_some() {
                    self.outputs.extend(transaction.map(Output::Abandon));
                }
                if let Some(timer) = timer {
                    self.timers.cancel(timer);
                }
            }
        }
    }

    fn forget(&mut self, key: Key) {
        self.abandon(key);
        self.jobs.remove(key);
    }

    /// Tells a job what happened, and does what it wants, until it waits.
    fn drive(&mut self, now: Instant, key: Key, happening: Happening<'_>, net: &mut Net<'_>) {
        let mut next = Some(happening);
        while let Some(happening) = next.take() {
            self.learn(key, &happening);
            let Some((step, back)) = self.tell(now, key, happening, net) else {
                return;
            };
            self.abandon(key);
            match step {
                Step::Locate(uri) => next = self.locate(now, key, &uri, net),
                Step::Send {
                    request,
                    to,
                    within,
                } => self.send(now, key, (request, to), within),
                Step::Rest(at) => {
                    let timer = self.timers.arm(at, key);
                    if let Some(job) = self.jobs.get_mut(key) {
                        job.pending = Pending::Timer(timer);
                    }
                }
                Step::Gone => {
                    self.jobs.remove(key);
                }
            }
            if let Some(registration) = back {
                self.drive(now, registration, Happening::Hurry(Why::Back), net);
            }
        }
    }

    /// The step, and the registration of a trunk that is back.
    fn tell(
        &mut self,
        now: Instant,
        key: Key,
        happening: Happening<'_>,
        net: &mut Net<'_>,
    ) -> Option<(Step, Option<Key>)> {
        let mut around = Surroundings {
            listeners: net.listeners,
            locator: &mut *net.locator,
            rng: &mut self.rng,
            domain: &self.domain,
        };
        let around = &mut around;
        let step = match (&mut self.jobs.get_mut(key)?.kind, happening) {
            (Kind::Registration(own), Happening::Due) => own.on_due(now),
            (Kind::Registration(own), Happening::Located(found)) => {
                own.on_located(now, found, around)
            }
            (Kind::Registration(own), Happening::Answer(answer)) => {
                own.on_answer(now, answer, around)
            }
            (Kind::Registration(own), Happening::Failure(why)) => own.on_failure(now, why, around),
            (Kind::Registration(own), Happening::Removed) => own.on_removed(now),
            (Kind::Registration(own), Happening::Hurry(why)) => own.hurry(now, why)?,
            (Kind::Probe(own), Happening::Due) => own.on_due(),
            (Kind::Probe(own), Happening::Located(found)) => own.on_located(now, found, around),
            (Kind::Probe(own), Happening::Answer(answer)) => {
                let (step, is_back) = own.on_answer(now, answer, around);
                let trunk = match own.whom() {
                    Whom::Trunk(trunk) if is_back => self.registrations.get(trunk.name()),
                    Whom::Trunk(_) | Whom::Member { .. } => None,
                };
                return Some((step, trunk.copied()));
            }
            (Kind::Probe(own), Happening::Failure(why)) => own.on_failure(now, why, around),
            (Kind::Probe(_), Happening::Removed | Happening::Hurry(_)) => return None,
        };
        Some((step, None))
    }

    /// Keeps where a name led, so that calls from there are known.
    fn learn(&self, key: Key, happening: &Happening<'_>) {
        let (Happening::Located(Ok(found)), Some(job)) = (happening, self.jobs.get(key)) else {
            return;
        };
        match &job.kind {
            Kind::Registration(own) => {
                if let Some(trunk) = own.trunk() {
                    self.peers.learn(trunk.name(), None, found);
                }
            }
            Kind::Probe(own) => match own.whom() {
                Whom::Trunk(trunk) => self.peers.learn(trunk.name(), None, found),
                Whom::Member { pool, member } => self.peers.learn(pool, Some(member.uri()), found),
            },
        }
    }

    fn locate<'m>(
        &mut self,
        now: Instant,
        key: Key,
        uri: &str,
        net: &mut Net<'_>,
    ) -> Option<Happening<'m>> {
        let Ok(uri) = Uri::parse(uri.as_bytes()) else {
            return Some(Happening::Located(addresses(Err(LocateError::Unroutable))));
        };
        match net.locator.start(now, &uri) {
            Located::Ready(found) => Some(Happening::Located(addresses(Ok(found)))),
            Located::Pending(id) => {
                self.located.insert(id, key);
                if let Some(job) = self.jobs.get_mut(key) {
                    job.pending = Pending::Located(id);
                }
                None
            }
        }
    }

    fn send(
        &mut self,
        now: Instant,
        key: Key,
        (request, to): (Bytes, Destination),
        within: Option<Duration>,
    ) {
        // 2^62 requests are not sent in this world's time.
        self.last_id += 1;
        let id = self.last_id;
        let timer = within.map(|within| self.timers.arm(now + within, key));
        if let Some(job) = self.jobs.get_mut(key) {
            job.pending = Pending::Answer {
                id,
                transaction: None,
                timer,
            };
        }
        self.asked.insert(id, key);
        let request = Request { id, request, to };
        self.outputs.push_back(Output::Send(request));
    }
}

/// No address is an error too, with words for the operator.
fn addresses(
    found: Result<Vec<Destination>, LocateError>,
) -> Result<Vec<Destination>, &'static str> {
    match found {
        Ok(found) if found.is_empty() => Err("its host has no address that we reach"),
        Ok(found) => Ok(found),
        Err(LocateError::Unroutable) => Err("its URI names no host that SIP reaches"),
        Err(LocateError::NotFound) => Err("its host is not in DNS"),
        Err(LocateError::Unavailable) => Err("DNS does not answer"),
    }
}

fn next_hop(trunk: &Trunk) -> String {
    let config = trunk.config();
    let proxy = config.outbound_proxy.as_ref();
    proxy.map_or_else(|| config.uri.to_string(), ToString::to_string)
}

fn is_named(uri: &str) -> bool {
    let uri = Uri::parse(uri.as_bytes());
    let target = uri.ok().and_then(|uri| Target::from_uri(&uri).ok());
    target.is_some_and(|target| matches!(target.host, TargetHost::Name(_)))
}
