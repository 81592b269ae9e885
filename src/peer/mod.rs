//! F4: the other systems that calls go to and come from: trunks and the members of pools.
//!
//! | file | what |
//! | --- | --- |
//! | `standing` | up, down, probing; calls and their limits; the answer-seizure ratio |
//! | `trunk` | one trunk: configuration, credentials, registration's outcome |
//! | `pool` | one pool: its members, and who of them gets the next call |
//! | `index` | who a message comes from |
//! | `challenge` | answers to a peer's digest challenges |
//! | `registration`, `probe` | REGISTER and OPTIONS of one peer, as machines |
//! | `client` | runs these machines, once per node |
//!
//! [`Peers`] is shared by all shards; it holds locks of its own, each for moments. Names, members
//! and their state outlive a reload of the file as long as the file names them; a call holds what
//! it needs, so that a reload never touches it.

mod challenge;
mod client;
mod index;
mod pool;
mod probe;
mod registration;
mod standing;
mod trunk;

#[cfg(test)]
mod tests;

pub use challenge::{Answers, REALMS_MAX, Unanswerable};
pub use client::{Client, JOBS_MAX, Net, Output, Request};
pub use pool::{CHOICES_MAX, Keys, Member, Pool};
pub use standing::{CALLS_PER_SECOND_MAX, FAILURES_MAX, Problem, Refusal, State, Ticket};
use trunk::Password;
pub use trunk::{Credentials, Registered, SERVICE_ROUTES_MAX, Trunk};

use crate::base::{ConnectionId, Destination, Flow, Rng};
use crate::config::{self, Config};
use crate::sip::listeners::ListenerTable;
use crate::sip::locate::Locator;
use crate::wire::sip::{Message, default_reason};
use hmac::{Hmac, KeyInit, Mac};
use index::Index;
use sha2::Sha256;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Who a request comes from, if it is no phone and no stranger.
#[derive(Clone, Debug)]
pub enum Source {
    /// A trunk.
    Trunk(Arc<Trunk>),
    /// A member of a pool.
    Pool {
        /// The pool.
        pool: Arc<Pool>,
        /// The member.
        member: Arc<Member>,
    },
}

impl Source {
    /// Whether the inside is hidden from it.
    fn hides(&self) -> bool {
        match self {
            Source::Trunk(trunk) => trunk.config().hide_topology,
            Source::Pool { pool, .. } => pool.config().hide_topology,
        }
    }
}

/// Names and the index over them, replaced as a whole.
#[derive(Debug, Default)]
struct Table {
    trunks: BTreeMap<Box<str>, Arc<Trunk>>,
    pools: BTreeMap<Box<str>, Arc<Pool>>,
    index: Index,
    /// What it was made of.
    configured: (Vec<config::Trunk>, Vec<config::Pool>),
}

/// Connections that are known by a certificate; of more it does not count.
pub const PROVEN_MAX: usize = 100_000;

/// Where names led last, by trunk, or by pool and member.
type Learned = BTreeMap<(Box<str>, Option<Box<str>>), Vec<Destination>>;

/// The node's own secret: never shown.
struct NodeSecret([u8; 32]);

impl std::fmt::Debug for NodeSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeSecret(..)")
    }
}

/// All trunks and pools of the node.
#[derive(Debug)]
pub struct Peers {
    /// Makes the `line` of each trunk.
    secret: NodeSecret,
    table: RwLock<Arc<Table>>,
    passwords: Mutex<BTreeMap<Box<str>, Password>>,
    learned: Mutex<Learned>,
    /// The SIP domains that certificates of connections proved.
    proven: RwLock<HashMap<ConnectionId, Arc<[Box<str>]>>>,
    /// Grows with each change of names.
    generation: AtomicU64,
    /// Grows with each change of where they are.
    moves: AtomicU64,
    /// Grows with each call that heard nothing.
    suspicions: Arc<AtomicU64>,
}

impl Peers {
    /// Those of a configuration. `secret` is the node's, kept over restarts.
    pub fn new(config: &Config, secret: [u8; 32]) -> Self {
        let peers = Self {
            secret: NodeSecret(secret),
            table: RwLock::default(),
            passwords: Mutex::default(),
            learned: Mutex::default(),
            proven: RwLock::default(),
            generation: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            suspicions: Arc::default(),
        };
        peers.configure(config);
        peers
    }

    fn table(&self) -> Arc<Table> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table)
    }

    /// Takes what the file says now. Trunks and members that it still names keep their state;
    /// calls are never touched.
    pub fn configure(&self, config: &Config) {
        let mut place = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if place.configured.0 == config.trunks && place.configured.1 == config.pools {
            return;
        }
        let mut table = Table {
            configured: (config.trunks.clone(), config.pools.clone()),
            ..Table::default()
        };
        for wanted in config.trunks.iter().take(config::PEERS_MAX) {
            let trunk = match place.trunks.get(&wanted.name) {
                Some(trunk) => {
                    trunk.configure(wanted);
                    Arc::clone(trunk)
                }
                None => Arc::new(self.new_trunk(wanted)),
            };
            table.trunks.insert(wanted.name.clone(), trunk);
        }
        for wanted in config.pools.iter().take(config::PEERS_MAX) {
            let pool = match place.pools.get(&wanted.name) {
                Some(pool) => {
                    pool.configure(wanted);
                    Arc::clone(pool)
                }
                None => Arc::new(Pool::new(wanted, Arc::clone(&self.suspicions))),
            };
            table.pools.insert(wanted.name.clone(), pool);
        }
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.retain(|(name, member), _| match member {
            None => table.trunks.contains_key(name),
            Some(uri) => {
                let pool = table.pools.get(name);
                pool.is_some_and(|p| p.members().iter().any(|m| m.uri() == &**uri))
            }
        });
        table.index = Index::of(&table.trunks, &table.pools, &learned);
        let passwords = self.passwords.lock();
        let mut passwords = passwords.unwrap_or_else(PoisonError::into_inner);
        passwords.retain(|name, _| table.trunks.contains_key(name));
        *place = Arc::new(table);
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    fn new_trunk(&self, config: &config::Trunk) -> Trunk {
        let passwords = self.passwords.lock();
        let passwords = passwords.unwrap_or_else(PoisonError::into_inner);
        let password = passwords.get(&config.name).cloned();
        let line = line(&self.secret.0, &config.name);
        Trunk::new(config, line, password, Arc::clone(&self.suspicions))
    }

    /// The password of a trunk, as its file held it; before or after the trunk is there.
    pub fn set_secret(&self, trunk: &str, password: Option<Vec<u8>>) {
        let password = password.map(|text| Password(text.into()));
        {
            let passwords = self.passwords.lock();
            let mut passwords = passwords.unwrap_or_else(PoisonError::into_inner);
            match &password {
                Some(password) => {
                    passwords.insert(trunk.into(), password.clone());
                }
                None => {
                    passwords.remove(trunk);
                }
            }
        }
        if let Some(trunk) = self.trunk(trunk) {
            trunk.set_password(password);
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The trunk of a name.
    pub fn trunk(&self, name: &str) -> Option<Arc<Trunk>> {
        self.table().trunks.get(name).cloned()
    }

    /// The pool of a name.
    pub fn pool(&self, name: &str) -> Option<Arc<Pool>> {
        self.table().pools.get(name).cloned()
    }

    /// All trunks, by name.
    pub fn trunks(&self) -> Vec<Arc<Trunk>> {
        self.table().trunks.values().cloned().collect()
    }

    /// All pools, by name.
    pub fn pools(&self) -> Vec<Arc<Pool>> {
        self.table().pools.values().cloned().collect()
    }

    /// Who sends this request. A trunk is known by the `line` of our Contact in the Request-URI
    /// ([`Trunk::line`]), by the certificate of its connection ([`Peers::proved`]), by a network of
    /// its `addresses`, or as below; a trunk or member by an address that its URI led to: over UDP
    /// with that very port, over a stream whatever the port.
    pub fn of_source(&self, flow: &Flow, message: &Message) -> Option<Source> {
        let table = self.table();
        let by_line = table.index.of_line(message).cloned();
        let trunk = by_line.or_else(|| self.of_certificate(&table, flow));
        let known = trunk.map(Source::Trunk);
        known.or_else(|| table.index.of_address(flow))
    }

    /// The peer of a connection proved to be these SIP domains, in lower case. Each shard may say
    /// so: they all share what is known of it until it is [closed](Peers::closed).
    pub fn proved(&self, flow: &Flow, domains: &Arc<[Box<str>]>) {
        let Some(connection) = flow.connection else {
            return;
        };
        let mut proven = self.proven.write().unwrap_or_else(PoisonError::into_inner);
        if proven.len() < PROVEN_MAX {
            proven.insert(connection, Arc::clone(domains));
        }
    }

    /// A connection ended.
    pub fn closed(&self, connection: ConnectionId) {
        let proven = self.proven.read().unwrap_or_else(PoisonError::into_inner);
        let was_known = proven.contains_key(&connection);
        drop(proven);
        if was_known {
            let mut proven = self.proven.write().unwrap_or_else(PoisonError::into_inner);
            proven.remove(&connection);
        }
    }

    /// Whether a request is for a Contact that we registered.
    pub fn is_for_line(&self, message: &Message) -> bool {
        self.table().index.of_line(message).is_some()
    }

    fn of_certificate(&self, table: &Table, flow: &Flow) -> Option<Arc<Trunk>> {
        if !table.index.has_certificates() {
            return None;
        }
        let proven = self.proven.read().unwrap_or_else(PoisonError::into_inner);
        let domains = proven.get(&flow.connection?)?;
        table.index.of_domains(domains).cloned()
    }

    /// Whether a trunk or a member is there from which the inside is hidden.
    pub fn hides_from(&self, destination: &Destination) -> bool {
        self.table().index.hides_from(destination.remote())
    }

    /// Grows with each change of names, and with each suspicion.
    pub(crate) fn version(&self) -> (u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        (of(&self.generation), of(&self.suspicions))
    }

    /// Where the URI of a trunk (`member` is `None`), or of a member, led.
    pub(crate) fn learn(&self, name: &str, member: Option<&str>, found: &[Destination]) {
        let mut place = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Box::from(name), member.map(Box::from));
        let mut found = found.to_vec();
        found.sort_by_key(|d| (d.transport(), d.remote()));
        if learned.get(&key).is_some_and(|known| *known == found) {
            return;
        }
        learned.insert(key, found);
        *place = Arc::new(Table {
            trunks: place.trunks.clone(),
            pools: place.pools.clone(),
            index: Index::of(&place.trunks, &place.pools, &learned),
            configured: place.configured.clone(),
        });
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes when [`Peers::addresses`] may have.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// Where trunks and members are, as far as it is known.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.table().index.addresses()
    }
}

/// What the machines of `registration` and `probe` work with.
struct Surroundings<'a> {
    listeners: &'a ListenerTable,
    locator: &'a mut Locator,
    rng: &'a mut Rng,
    /// What we call ourselves.
    domain: &'a str,
}

impl Surroundings<'_> {
    /// A part of `most`, so that what began together does not stay together.
    fn jitter(&mut self, most: Duration) -> Duration {
        Duration::from_millis(self.rng.below(most.as_millis() as u64 + 1))
    }
}

/// The Request-URI of requests to a trunk's domain.
fn request_uri(config: &config::Trunk) -> String {
    match &config.domain {
        Some(domain) if config.uri.starts_with("sips:") => format!("sips:{domain}"),
        Some(domain) => format!("sip:{domain}"),
        None => config.uri.to_string(),
    }
}

/// As the user part of a URI (RFC 3261 §25.1).
fn user_of(account: &str) -> String {
    let mut user = String::new();
    for byte in account.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() => user.push(char::from(b)),
            b if b"-_.!~*'()&=+$,;?/".contains(&b) => user.push(char::from(b)),
            b => user.push_str(&format!("%{b:02X}")),
        }
    }
    user
}

/// Nobody who does not know the secret can guess it.
fn line(secret: &[u8; 32], name: &str) -> Box<str> {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        unreachable!("HMAC takes a key of any length");
    };
    mac.update(b"trunk line\0");
    mac.update(name.as_bytes());
    let tag = mac.finalize().into_bytes();
    let hex = tag.iter().take(10).map(|byte| format!("{byte:02x}"));
    hex.collect::<String>().into()
}

/// A status and what the operator should look at.
fn words(status: u16, reason: &str) -> String {
    // What a peer writes must not move the operator's cursor.
    let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
    let reason = match reason.trim() {
        "" => default_reason(status),
        reason => reason,
    };
    let hint = match status {
        401 | 403 | 407 => ": check username and password_file",
        404 => ": check username and domain",
        408 => ": nothing came back; check uri, network and firewall",
        _ => "",
    };
    format!("{status} {reason}{hint}")
}
