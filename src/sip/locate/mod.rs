//! From a URI to the addresses to try, in order: RFC 3263 with RFC 2782, as a pure machine.
//!
//! | file | what |
//! | --- | --- |
//! | `target` | what a URI asks for: host, port, transport |
//! | `plan` | the RFC's procedure as a function over the answers that are there |
//! | `cache` | answers by name and kind, for as long as their TTL, bounded |
//!
//! [`Locator::start`] runs the procedure. Where an answer is missing, the locator asks for it
//! ([`Locator::poll_question`]), once for all who wait, and runs the procedure again when all
//! answers of a round are there. No answer for [`QUERY_TIMEOUT`] counts as a failed one. Addresses
//! that failed lately go to the end of a list.

mod cache;
mod plan;
mod target;

#[cfg(test)]
mod tests;

pub use target::{Target, TargetHost};

use crate::base::{BoundedQueue, Destination, Instant, Key, Rng, Slab, Transport};
use crate::wire::sip::Uri;
use cache::Cache;
use plan::{Outcome, Planned};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Searches under way at a time.
pub const SEARCHES_MAX: usize = 4096;
/// Questions under way at a time.
pub const QUERIES_MAX: usize = 4096;
/// Addresses in one list.
pub const TARGETS_MAX: usize = 16;
/// How long an answer may take.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a failed address goes last.
pub const PENALTY: Duration = Duration::from_secs(30);
/// Failed addresses remembered.
const PENALTIES_MAX: usize = 1024;
/// Rounds of questions of one search: NAPTR, SRV, addresses.
const ROUNDS_MAX: u8 = 4;

/// A question for the resolver.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DnsQuestion {
    /// The name, in lower case, without the last dot.
    pub name: Box<str>,
    /// The record type.
    pub kind: DnsKind,
}

/// The record types that RFC 3263 needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DnsKind {
    /// Which transports a domain offers.
    Naptr,
    /// Which hosts serve one transport.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// What the resolver says. CNAMEs are followed by the resolver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DnsAnswer {
    /// Records of the kind that was asked for.
    Found {
        /// The records; others than asked for are passed over.
        records: Vec<DnsRecord>,
        /// The least TTL among them.
        ttl: Duration,
    },
    /// The name or the kind does not exist.
    NotFound {
        /// How long that holds (RFC 2308).
        ttl: Duration,
    },
    /// Nobody answered, or with an error.
    Failed,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DnsRecord {
    /// RFC 3403.
    Naptr {
        /// Lower first; a difference is binding.
        order: u16,
        /// Lower first among equals.
        preference: u16,
        /// `s` or `a`.
        flags: Box<str>,
        /// `SIP+D2U` and the like.
        service: Box<str>,
        /// The next name.
        replacement: Box<str>,
    },
    /// RFC 2782.
    Srv {
        /// Lower first.
        priority: u16,
        /// Share among equals.
        weight: u16,
        /// The port.
        port: u16,
        /// The host; `.` means that the service is not offered.
        target: Box<str>,
    },
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
}

/// Names a search under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LocateId(Key);

/// What [`Locator::start`] knows at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Located {
    /// The addresses, best first. Empty: there are none, or we are too busy to ask.
    Ready(Vec<Destination>),
    /// [`Locator::poll_done`] will tell.
    Pending(LocateId),
}

/// Why there is no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocateError {
    /// The URI names no host that SIP could reach: scheme, transport or address family.
    Unroutable,
    /// DNS says that there is none.
    NotFound,
    /// DNS does not answer.
    Unavailable,
}

/// Address families in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Families {
    /// Only IPv4.
    V4,
    /// Only IPv6.
    V6,
    /// Both; IPv4 is tried first.
    Both,
}

/// What we can reach, from our listeners.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// The transports we speak, the one to prefer first.
    pub transports: Vec<Transport>,
    /// The address families.
    pub families: Families,
}

impl Default for Abilities {
    fn default() -> Self {
        Self {
            transports: vec![Transport::Udp, Transport::Tcp, Transport::Tls],
            families: Families::Both,
        }
    }
}

#[derive(Debug)]
struct Search {
    target: Target,
    /// The same draw of weights in each round.
    seed: u64,
    /// What was answered for this search, so that a TTL of zero serves too.
    answers: Vec<(DnsQuestion, Outcome)>,
    missing: usize,
    rounds: u8,
}

#[derive(Debug)]
struct Query {
    question: DnsQuestion,
    waiting: Vec<Key>,
}

/// Searches of one shard.
#[derive(Debug)]
pub struct Locator {
    rng: Rng,
    abilities: Abilities,
    cache: Cache,
    searches: Slab<Search>,
    queries: Slab<Query>,
    by_question: BTreeMap<DnsQuestion, Key>,
    /// All wait the same time, so the first is the next.
    deadlines: VecDeque<(Instant, Key)>,
    questions: BoundedQueue<(u64, DnsQuestion)>,
    done: VecDeque<(LocateId, Result<Vec<Destination>, LocateError>)>,
    penalties: BTreeMap<(Transport, SocketAddr), Instant>,
}

impl Locator {
    /// Knows nothing. `rng` draws by weight.
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            abilities: Abilities::default(),
            cache: Cache::default(),
            searches: Slab::new(SEARCHES_MAX),
            queries: Slab::new(QUERIES_MAX),
            by_question: BTreeMap::new(),
            deadlines: VecDeque::new(),
            questions: BoundedQueue::new(QUERIES_MAX),
            done: VecDeque::new(),
            penalties: BTreeMap::new(),
        }
    }

    /// Says what we can reach; without it, everything.
    pub fn configure(&mut self, abilities: Abilities) {
        self.abilities = abilities;
    }

    /// Where a request for `uri` goes.
    pub fn start(&mut self, now: Instant, uri: &Uri<'_>) -> Located {
        match Target::from_uri(uri) {
            Ok(target) => self.start_target(now, target),
            Err(_) => Located::Ready(Vec::new()),
        }
    }

    /// Where a request for a host goes.
    pub fn start_target(&mut self, now: Instant, target: Target) -> Located {
        let search = Search {
            target,
            seed: self.rng.next_u64(),
            answers: Vec::new(),
            missing: 0,
            rounds: 0,
        };
        match self.run(now, &search) {
            Planned::Done(found) => Located::Ready(self.sort(now, found.unwrap_or_default())),
            Planned::Need(questions) => match self.searches.insert(search) {
                Ok(key) => {
                    self.ask(now, key, questions);
                    if self.searches.get(key).is_some_and(|s| s.missing > 0) {
                        return Located::Pending(LocateId(key));
                    }
                    self.searches.remove(key);
                    Located::Ready(Vec::new())
                }
                Err(_) => Located::Ready(Vec::new()),
            },
        }
    }

    /// The resolver answered.
    pub fn answer(&mut self, now: Instant, query: u64, answer: DnsAnswer) {
        self.resolve(now, Key::from_u64(query), answer);
    }

    /// A destination did not work: it goes last for a while (RFC 3263 §4.3).
    pub fn failed(&mut self, now: Instant, destination: &Destination) {
        let place = (destination.transport(), destination.remote());
        if self.penalties.len() >= PENALTIES_MAX && !self.penalties.contains_key(&place) {
            self.penalties.retain(|_, until| *until > now);
        }
        if self.penalties.len() < PENALTIES_MAX || self.penalties.contains_key(&place) {
            self.penalties.insert(place, now + PENALTY);
        }
    }

    /// What to ask the resolver.
    pub fn poll_question(&mut self) -> Option<(u64, DnsQuestion)> {
        self.questions.pop()
    }

    /// A search that ended.
    pub fn poll_done(&mut self) -> Option<(LocateId, Result<Vec<Destination>, LocateError>)> {
        self.done.pop_front()
    }

    /// When to call [`Locator::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// Gives up on questions that nobody answers.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, key)) = self.deadlines.front().copied()
            && at <= now
        {
            self.deadlines.pop_front();
            self.resolve(now, key, DnsAnswer::Failed);
        }
    }

    /// Searches under way, for checkers.
    pub fn searches(&self) -> usize {
        self.searches.len()
    }

    fn run(&self, now: Instant, search: &Search) -> Planned {
        plan::plan(
            &search.target,
            &self.abilities,
            &mut Rng::from_u64(search.seed),
            &|question| {
                search
                    .answers
                    .iter()
                    .find(|(asked, _)| asked == question)
                    .map(|(_, outcome)| outcome.clone())
                    .or_else(|| self.cache.get(now, question))
            },
        )
    }

    /// Asks what is not being asked already, and counts what the search waits for.
    fn ask(&mut self, now: Instant, search: Key, questions: Vec<DnsQuestion>) {
        let mut missing = 0;
        let mut refused = Vec::new();
        for question in questions {
            if let Some(query) = self.by_question.get(&question)
                && let Some(query) = self.queries.get_mut(*query)
            {
                query.waiting.push(search);
                missing += 1;
                continue;
            }
            let query = Query {
                question: question.clone(),
                waiting: vec![search],
            };
            match self.queries.insert(query) {
                Ok(key) => {
                    missing += 1;
                    self.by_question.insert(question.clone(), key);
                    self.deadlines.push_back((now + QUERY_TIMEOUT, key));
                    // As many places as queries: there is room.
                    let _ = self.questions.push((key.to_u64(), question));
                }
                Err(query) => refused.push((query.question, Outcome::Failed)),
            }
        }
        if let Some(search) = self.searches.get_mut(search) {
            search.missing = missing;
            search.rounds += 1;
            search.answers.extend(refused);
        }
    }

    fn resolve(&mut self, now: Instant, key: Key, answer: DnsAnswer) {
        let Some(query) = self.queries.remove(key) else {
            return;
        };
        self.by_question.remove(&query.question);
        let outcome = self.cache.put(now, &query.question, answer);
        for waiting in query.waiting {
            if let Some(search) = self.searches.get_mut(waiting) {
                search
                    .answers
                    .push((query.question.clone(), outcome.clone()));
                search.missing = search.missing.saturating_sub(1);
                self.settle(now, waiting);
            }
        }
        while let Some((_, front)) = self.deadlines.front()
            && self.queries.get(*front).is_none()
        {
            self.deadlines.pop_front();
        }
    }

    /// Runs the procedure again if all answers of the round are there.
    fn settle(&mut self, now: Instant, key: Key) {
        while let Some(search) = self.searches.get(key)
            && search.missing == 0
        {
            let found = match self.run(now, search) {
                Planned::Done(found) => found,
                Planned::Need(questions) if search.rounds < ROUNDS_MAX => {
                    self.ask(now, key, questions);
                    continue;
                }
                Planned::Need(_) => Err(LocateError::Unavailable),
            };
            self.searches.remove(key);
            let found = found.map(|found| self.sort(now, found));
            self.done.push_back((LocateId(key), found));
        }
    }

    /// What failed lately goes last.
    fn sort(&self, now: Instant, mut found: Vec<Destination>) -> Vec<Destination> {
        if !self.penalties.is_empty() {
            found.sort_by_key(|destination| {
                let place = (destination.transport(), destination.remote());
                self.penalties.get(&place).is_some_and(|until| *until > now)
            });
        }
        found
    }
}
