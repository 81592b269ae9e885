//! One pool: its members, and who of them gets the next call.
//!
//! The hashes are rendezvous hashing with weights: each member draws a number from the key and its
//! own name, the best draw wins. So a member that leaves moves only its own calls, one that comes
//! back gets only these back, and the order behind the first is the order of failover. See Thaler
//! and Ravishankar, "Using name-based mappings to increase hit rates" (1998); the weights go in as
//! Schindelhauer and Schomaker's logarithmic method has it (2005).

use super::standing::{Bounds, Problem, Refusal, Standing, State, Ticket};
use super::trunk::first_state;
use crate::base::{Instant, hash64};
use crate::config::{self, Algorithm};
use crate::wire::sip::{Scheme, Uri};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Members that one call is offered, the best first.
pub const CHOICES_MAX: usize = 16;

/// What a call is told apart by.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// The Call-ID.
    pub call_id: &'a [u8],
    /// The URI of From.
    pub from_uri: &'a [u8],
    /// The URI of To.
    pub to_uri: &'a [u8],
    /// The Request-URI as it came.
    pub request_uri: &'a [u8],
}

/// A member; the same one for as long as its URI stands in the pool.
#[derive(Debug)]
pub struct Member {
    /// Of its URI.
    hash: u64,
    config: RwLock<config::Member>,
    uri: Arc<str>,
    draining: AtomicBool,
    standing: Arc<Standing>,
    suspicions: Arc<AtomicU64>,
}

impl Member {
    fn new(config: &config::Member, probe_s: u32, suspicions: Arc<AtomicU64>) -> Self {
        Self {
            hash: hash64(config.uri.as_bytes()),
            uri: Arc::from(&*config.uri),
            config: RwLock::new(config.clone()),
            draining: AtomicBool::new(false),
            standing: Arc::new(Standing::new(first_state(probe_s))),
            suspicions,
        }
    }

    fn read<T>(&self, of: impl FnOnce(&config::Member) -> T) -> T {
        of(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where its calls go: a `sip:` or `sips:` URI without user.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Its share.
    pub fn weight(&self) -> u16 {
        self.read(|config| config.weight)
    }

    /// How many calls there may be at a time; zero: any number.
    pub fn calls_max(&self) -> u32 {
        self.read(|config| config.calls_max)
    }

    /// Whether it answers.
    pub fn state(&self) -> State {
        self.standing.state()
    }

    /// Since when; the origin means: since the start.
    pub fn since(&self) -> Instant {
        self.standing.since()
    }

    /// Whether the operator wants it empty.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Calls that are there now.
    pub fn calls(&self) -> u32 {
        self.standing.calls()
    }

    /// Of the calls that went there: how many were answered, and how many were not.
    pub fn outcomes(&self) -> (u64, u64) {
        self.standing.outcomes()
    }

    /// What went wrong last.
    pub fn last_error(&self) -> Option<Problem> {
        self.standing.last_error()
    }

    /// A call that goes there. The ticket stays with the call.
    pub fn admit(&self, now: Instant) -> Result<Ticket, Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        if self.state() == State::Down {
            return Err(Refusal::Down);
        }
        self.standing.admit(now, self.bounds())
    }

    /// A call that comes from there; also while it is drained or down.
    pub fn admit_inbound(&self, now: Instant) -> Result<Ticket, Refusal> {
        let ticket = self.standing.admit(now, self.bounds())?;
        Ok(ticket.into_inbound())
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            calls_max: self.calls_max(),
            calls_per_second: 0,
        }
    }

    fn may_get_calls(&self) -> bool {
        let max = self.calls_max();
        !self.is_draining() && self.state() != State::Down && (max == 0 || self.calls() < max)
    }

    /// A call heard nothing, or could not be sent: it is asked at once whether it lives.
    pub fn suspect(&self) {
        if self.standing.suspect() {
            self.suspicions.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }
}

/// What the file says, and who is in it.
#[derive(Debug)]
struct Table {
    config: Arc<config::Pool>,
    members: Arc<[Arc<Member>]>,
}

/// A pool; shared by all shards. See the module's text.
#[derive(Debug)]
pub struct Pool {
    name: Box<str>,
    table: RwLock<Table>,
    turn: AtomicU64,
    /// What each member is owed, by its URI (see [`by_weight`]).
    owed: Mutex<Vec<(Arc<str>, i64)>>,
    suspicions: Arc<AtomicU64>,
}

impl Pool {
    pub(super) fn new(config: &config::Pool, suspicions: Arc<AtomicU64>) -> Self {
        let new = |m| Arc::new(Member::new(m, config.probe_s, Arc::clone(&suspicions)));
        let members = distinct(config).into_iter().map(new).collect();
        Self {
            name: config.name.clone(),
            table: RwLock::new(Table {
                config: Arc::new(config.clone()),
                members,
            }),
            turn: AtomicU64::new(0),
            owed: Mutex::default(),
            suspicions,
        }
    }

    /// Takes what the file says now. Members that stay keep calls, state and draining.
    pub(super) fn configure(&self, config: &config::Pool) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if *table.config == *config {
            return;
        }
        let probing_turns = (table.config.probe_s == 0) != (config.probe_s == 0);
        let kept = |wanted: &config::Member| {
            let member = table.members.iter().find(|m| *m.uri == *wanted.uri)?;
            *member
                .config
                .write()
                .unwrap_or_else(PoisonError::into_inner) = wanted.clone();
            if probing_turns {
                member.standing.reset(first_state(config.probe_s));
            }
            Some(Arc::clone(member))
        };
        let new = |m| Arc::new(Member::new(m, config.probe_s, Arc::clone(&self.suspicions)));
        let members = distinct(config)
            .into_iter()
            .map(|wanted| kept(wanted).unwrap_or_else(|| new(wanted)));
        table.members = members.collect();
        table.config = Arc::new(config.clone());
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the file says.
    pub fn config(&self) -> Arc<config::Pool> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table.config)
    }

    /// Who is in it, in the order of the file.
    pub fn members(&self) -> Arc<[Arc<Member>]> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table.members)
    }

    /// Begins or ends the draining of a member; says whether there is one of that URI. Lasts until
    /// it is ended or the daemon is: a start drains nobody.
    pub fn drain(&self, uri: &str, on: bool) -> bool {
        let members = self.members();
        let found = members.iter().find(|m| m.uri() == uri);
        if let Some(member) = found {
            member.draining.store(on, Ordering::Release);
        }
        found.is_some()
    }

    /// Who gets a call: the best first, the others in the order of failover, at most
    /// [`CHOICES_MAX`]. Members that are down, drained or full are left out; those of weight zero
    /// come behind the others, and those behind all of which a call heard nothing a moment ago.
    /// Empty: answer 503, or go on to the next way out.
    pub fn choose(&self, keys: &Keys<'_>) -> SmallVec<[Arc<Member>; 4]> {
        let algorithm = self.config().algorithm;
        let members = self.members();
        let mut tiers = [SmallVec::new(), SmallVec::new(), SmallVec::new()];
        for member in members.iter().filter(|m| m.may_get_calls()) {
            let [regular, spare, doubtful] = &mut tiers;
            match member.weight() {
                // A call heard nothing: until it is known to live, others get its share.
                weight if member.standing.is_suspected() => {
                    doubtful.push((weight.max(1), Arc::clone(member)));
                }
                0 => spare.push((1, Arc::clone(member))),
                weight => regular.push((weight, Arc::clone(member))),
            }
        }
        // One turn for each call, whoever is away.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut chosen = Members::new();
        for tier in tiers {
            match chosen.is_empty() {
                true => chosen = self.order(algorithm, keys, turn, tier),
                false => chosen.extend(rotated(turn, tier).into_iter().map(|(_, m)| m)),
            }
        }
        chosen.truncate(CHOICES_MAX);
        chosen
    }

    fn order(&self, algorithm: Algorithm, keys: &Keys<'_>, turn: u64, from: Weighted) -> Members {
        if from.is_empty() {
            return Members::new();
        }
        match algorithm {
            Algorithm::CallId => by_hash(hash64(keys.call_id), from),
            Algorithm::FromUri => by_hash(hash_uri(keys.from_uri), from),
            Algorithm::ToUri => by_hash(hash_uri(keys.to_uri), from),
            Algorithm::RequestUri => by_hash(hash_uri(keys.request_uri), from),
            Algorithm::RoundRobin => rotated(turn, from).into_iter().map(|(_, m)| m).collect(),
            Algorithm::Weight => {
                let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
                by_weight(&mut owed, from)
            }
            Algorithm::FewestCalls => by_calls(rotated(turn, from)),
        }
    }
}

/// Begins with the one whose turn it is. Who comes behind goes backwards every other round: so all
/// share the calls of one that died and is not known to be dead yet.
fn rotated(turn: u64, mut from: Weighted) -> Weighted {
    if !from.is_empty() {
        let places = from.len() as u64;
        from.rotate_left((turn % places) as usize);
        if turn / places % 2 == 1
            && let Some(behind) = from.get_mut(1..)
        {
            behind.reverse();
        }
    }
    from
}

type Members = SmallVec<[Arc<Member>; 4]>;
type Weighted = SmallVec<[(u16, Arc<Member>); 8]>;

/// The members, none twice.
fn distinct(config: &config::Pool) -> Vec<&config::Member> {
    let mut seen = std::collections::BTreeSet::new();
    let members = config.members.iter().filter(|m| seen.insert(&*m.uri));
    members.take(config::MEMBERS_MAX).collect()
}

/// A member's draw from a key: an exponential of rate `weight`. The least of such draws falls to
/// each member by its share.
fn draw(key: u64, member: &Member, weight: u16) -> f64 {
    let mut h = key.wrapping_add(member.hash);
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^= h >> 31;
    // 53 bits are what a f64 holds; the half keeps it above zero.
    let unit = ((h >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -unit.ln() / f64::from(weight.max(1))
}

fn by_hash(key: u64, from: Weighted) -> Members {
    let mut drawn: SmallVec<[(f64, Arc<Member>); 8]> = from
        .into_iter()
        .map(|(weight, member)| (draw(key, &member, weight), member))
        .collect();
    drawn.sort_by(|(a, one), (b, two)| a.total_cmp(b).then_with(|| one.uri.cmp(&two.uri)));
    drawn.into_iter().map(|(_, member)| member).collect()
}

/// Smooth weighted round robin: each turn all are owed their weight, who is owed most is first and
/// pays for all. The others follow by what they are owed.
fn by_weight(owed: &mut Vec<(Arc<str>, i64)>, from: Weighted) -> Members {
    // Who left or is away owes and is owed nothing.
    owed.retain(|(uri, _)| from.iter().any(|(_, m)| m.uri == *uri));
    let total: i64 = from.iter().map(|(weight, _)| i64::from(*weight)).sum();
    let mut debts: SmallVec<[(i64, usize, Arc<Member>); 8]> = SmallVec::new();
    for (weight, member) in from {
        let at = owed.iter().position(|(uri, _)| *uri == member.uri);
        let at = at.unwrap_or_else(|| {
            owed.push((Arc::clone(&member.uri), 0));
            owed.len() - 1
        });
        if let Some((_, debt)) = owed.get_mut(at) {
            *debt += i64::from(weight);
            debts.push((*debt, at, member));
        }
    }
    debts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    if let Some((_, at, _)) = debts.first()
        && let Some((_, debt)) = owed.get_mut(*at)
    {
        *debt -= total;
    }
    debts.into_iter().map(|(_, _, member)| member).collect()
}

/// Fewest calls for its share first; among equals whose turn it is.
fn by_calls(from: Weighted) -> Members {
    let mut counted: SmallVec<[(u64, u64, Arc<Member>); 8]> = from
        .into_iter()
        .map(|(weight, member)| (u64::from(member.calls()), u64::from(weight), member))
        .collect();
    counted.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)));
    counted.into_iter().map(|(_, _, member)| member).collect()
}

/// User, host and port decide, not scheme, parameters and the host's case: so one person's calls
/// stay together, whatever the phone writes.
fn hash_uri(bytes: &[u8]) -> u64 {
    let Ok(uri) = Uri::parse(bytes) else {
        return hash64(bytes);
    };
    match uri.scheme() {
        Scheme::Sip | Scheme::Sips => {
            let mut key = uri.user_unescaped().into_owned();
            key.push(b'@');
            key.extend(uri.host().to_string().to_ascii_lowercase().into_bytes());
            if let Some(port) = uri.port().filter(|port| *port != 5060) {
                key.extend(format!(":{port}").into_bytes());
            }
            hash64(&key)
        }
        Scheme::Tel | Scheme::Urn | Scheme::Other(_) => hash64(bytes),
    }
}
