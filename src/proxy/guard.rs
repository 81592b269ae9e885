//! Guessing passwords is made slow, then stopped: failures are counted per source, their decay is
//! a leaking bucket, and what runs over is shut out for a while.
//!
//! A source is an IPv4 address or an IPv6 /64. Above `slow_after` a source is heard only once in a
//! growing time: everything else of it is dropped, so an answer costs the guesser seconds. At
//! `ban_after` it is banned. Peers of `[sip] trusted` and `[guard] exempt` are never counted.
//!
//! # Behind one address there may be an office
//! A source that proved right for anybody lately is in good standing, and is not shut out for a
//! few of its names: the failures of up to [`NAMES`] user names have a bucket each, and one that
//! runs over shuts out that name from that source. Its proofs are then refused unseen, with the
//! answer of a wrong password, so the phone that nobody mended costs the others nothing. All
//! further names share the source's own bucket. So whoever holds one account gets `ban_after`
//! guesses of each of [`NAMES`] names per `ban_s`, and is shut out whole after as many of others;
//! whoever tries many names is shut out as any stranger. A name's bucket leaks over `ban_s`, not
//! over `window_s`: guessing patiently gains nothing over being shut out. A right proof takes one
//! failure back, of its own name alone.
//!
//! # What it costs while nobody fails
//! One relaxed load per right proof: good standing is a table of hashed sources without entries to
//! make or to lose. Two sources of one hash share it, which lets a guesser have a few guesses more.
//!
//! # Whoever proves nothing
//! A stranger that asks and asks and never proves anything looks for open doors:
//! [`Guard::knocked`]. One that says to be a scanner is shut out at its first word. How much
//! anybody may send at all is the affair of [`flood`].
//!
//! What this cannot tell: over UDP a source may be forged. Who wants certainty puts the addresses
//! that must stay reachable into `exempt`.

pub mod flood;

use super::fraud::{self, Fraud};
use crate::base::{Anchor, Instant, mix64};
use crate::config::{Config, IpNet};
use crate::store::{Ban, Record};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use flood::{Flood, FloodSettings};

/// Sources in one set of the table.
pub const WAYS: usize = 16;
/// Sets of the table, so `WAYS * SETS` sources are counted at a time.
pub const SETS: usize = 4096;
/// User names of one source in good standing that fail at its cost by themselves.
pub const NAMES: usize = 3;
/// Longest `name@domain` that gets a bucket of its own; longer ones fail as further names.
pub const NAME_BYTES_MAX: usize = 160;
/// Places of the table of sources that proved right.
const PROVED: usize = 1 << 17;
/// Good standing is told to so many seconds, so that the table is seldom written.
const PROVED_STEP_S: u32 = 32;
/// The longest that a slowed source waits between two messages that are heard.
pub const SLOW_MAX: Duration = Duration::from_secs(8);
/// The wait after the first failure past `slow_after`; it doubles with each.
pub const SLOW_FIRST: Duration = Duration::from_millis(250);

/// Requests without any proof that count as one failure does, in a bucket of their own: a phone
/// asks once before it proves who it is, and a new office all at once.
pub const KNOCKS: u64 = 5;

/// One failure, so that the bucket may leak by parts.
const UNIT: u64 = 1_000_000;

/// User-Agents of tools that look for open servers: their failures count twice.
const SCANNERS: [&str; 9] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sipcli",
    "sip-scan",
    "sundayddr",
    "iwar",
    "vaxsipuseragent",
    "pplsip",
];

/// Whether a source is heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is.
    Pass,
    /// It is not, not even with a refusal.
    Drop,
}

/// A wrong proof.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// The `name@domain` that it was given under, if it was a name at all.
    pub user: Option<&'a str>,
    /// Failures at once.
    pub weight: u32,
}

/// A request without a proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knock {
    /// As a phone does it that is to be challenged, or one that looks for open doors.
    Plain,
    /// Its User-Agent is that of a tool that looks for open servers.
    Scanner,
}

/// What `[guard]` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Failures after which a source is slowed.
    pub slow_after: u32,
    /// Failures after which it is shut out.
    pub ban_after: u32,
    /// The time in which `ban_after` failures leak away.
    pub window: Duration,
    /// How long a ban lasts.
    pub ban: Duration,
    /// How long a right proof keeps its source in good standing: as long as a binding that it made
    /// may live.
    pub standing: Duration,
    /// Who is never counted.
    pub exempt: Vec<IpNet>,
    /// How much a source may send.
    pub flood: FloodSettings,
    /// What an account may use up.
    pub fraud: fraud::Settings,
}

impl Settings {
    /// Those of a configuration; trusted peers are exempt.
    pub fn of(config: &Config) -> Self {
        let exempt = config.guard.exempt.iter().chain(&config.sip.trusted);
        Self {
            slow_after: config.guard.slow_after,
            ban_after: config.guard.ban_after.max(1),
            window: Duration::from_secs(config.guard.window_s.max(1).into()),
            ban: Duration::from_secs(config.guard.ban_s.into()),
            standing: Duration::from_secs(config.limits.expires_max_s.into()),
            exempt: exempt.copied().collect(),
            flood: FloodSettings::of(config),
            fraud: fraud::Settings::of(config),
        }
    }

    fn exempts(&self, source: IpAddr) -> bool {
        self.exempt.iter().any(|net| net.contains(source))
    }

    /// What is left of `level` after `passed`, if all of it is gone after `window`.
    fn leaked(&self, level: u64, passed: Duration, window: Duration) -> u64 {
        let all = u128::from(self.ban_after) * u128::from(UNIT);
        let gone = all * passed.as_nanos() / window.as_nanos().max(1);
        level.saturating_sub(u64::try_from(gone).unwrap_or(u64::MAX))
    }

    fn pause(&self, level: u64) -> Option<Duration> {
        let past = failures(level).checked_sub(self.slow_after.max(1))?;
        let pause = SLOW_FIRST.saturating_mul(1 << past.min(16));
        Some(pause.min(SLOW_MAX))
    }
}

/// To the nearest, so that what leaks within a second saves nobody.
fn failures(level: u64) -> u32 {
    u32::try_from((level + UNIT / 2) / UNIT).unwrap_or(u32::MAX)
}

/// Failures that leak away.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: u64,
    at: Instant,
}

impl Bucket {
    fn level(&self, settings: &Settings, window: Duration, now: Instant) -> u64 {
        settings.leaked(self.level, now.since(self.at), window)
    }
}

#[derive(Clone, Debug)]
enum Standing {
    /// Counted.
    Counted(Bucket),
    /// Shut out.
    Banned { until: Instant, ban: Box<Ban> },
}

impl Standing {
    /// The failures that still count; none once a ban ran out, `None` during it.
    fn level(&self, settings: &Settings, window: Duration, now: Instant) -> Option<u64> {
        match self {
            Standing::Counted(bucket) => Some(bucket.level(settings, window, now)),
            Standing::Banned { until, .. } if now < *until => None,
            Standing::Banned { .. } => Some(0),
        }
    }

    fn banned_until(&self, now: Instant) -> Option<Instant> {
        match self {
            Standing::Banned { until, .. } if now < *until => Some(*until),
            Standing::Banned { .. } | Standing::Counted(_) => None,
        }
    }

    fn ban(&self, now: Instant) -> Option<&Ban> {
        match self {
            Standing::Banned { until, ban } if now < *until => Some(ban),
            Standing::Banned { .. } | Standing::Counted(_) => None,
        }
    }
}

/// A user name of a source in good standing.
#[derive(Clone, Debug)]
struct Name {
    /// `name@domain`.
    user: Box<str>,
    standing: Standing,
}

#[derive(Clone, Debug)]
struct Source {
    /// Of [`network`].
    ip: IpAddr,
    standing: Standing,
    /// Not heard before.
    quiet_until: Instant,
    /// Requests without a proof.
    knocks: Bucket,
    /// At most [`NAMES`].
    names: Vec<Name>,
}

impl Source {
    fn new(ip: IpAddr, now: Instant) -> Self {
        let bucket = Bucket { level: 0, at: now };
        Self {
            ip,
            standing: Standing::Counted(bucket),
            quiet_until: now,
            knocks: bucket,
            names: Vec::new(),
        }
    }

    /// The place that failures of `user` are counted at, a free one if it has none yet.
    fn name(&mut self, user: &str, settings: &Settings, now: Instant) -> Option<&mut Name> {
        let known = self.names.iter().position(|n| &*n.user == user);
        let free = |n: &Name| n.standing.level(settings, settings.ban, now) == Some(0);
        let place = match known.or_else(|| self.names.iter().position(free)) {
            Some(place) => place,
            None if self.names.len() < NAMES => self.names.len(),
            None => return None,
        };
        if known.is_none() {
            let bucket = Bucket { level: 0, at: now };
            let name = Name {
                user: user.into(),
                standing: Standing::Counted(bucket),
            };
            match self.names.get_mut(place) {
                Some(ended) => *ended = name,
                None => self.names.push(name),
            }
        }
        self.names.get_mut(place)
    }

    fn shut_out(&mut self, ban: Ban, settings: &Settings, now: Instant) {
        self.knocks = Bucket { level: 0, at: now };
        self.standing = Standing::Banned {
            until: now + settings.ban,
            ban: Box::new(ban),
        };
    }

    /// Orders sources by what would be lost with them.
    fn weight(&self, settings: &Settings, now: Instant) -> (u8, u64) {
        let names = self.names.iter().map(|n| &n.standing);
        let bans = names.clone().chain([&self.standing]);
        if let Some(until) = bans.filter_map(|s| s.banned_until(now)).max() {
            return (1, until.as_nanos());
        }
        let own = self.standing.level(settings, settings.window, now);
        let own = own.map(|n| n.saturating_add(self.knocks.level(settings, settings.window, now)));
        let theirs = names.filter_map(|s| s.level(settings, settings.ban, now));
        (0, own.into_iter().chain(theirs).sum())
    }
}

/// Failures and bans, shared by all shards.
#[derive(Debug)]
pub struct Guard {
    sets: Box<[Mutex<Vec<Source>>]>,
    /// So that a server without failures takes no lock.
    sources: AtomicUsize,
    settings: RwLock<Settings>,
    /// By hash of the source: the seconds at which it last proved right, plus one.
    proved: Box<[AtomicU32]>,
    /// Keeps strangers from choosing sources that fall into one set.
    key: u64,
    /// How many seconds good standing lasts, where it is read without a lock.
    standing_s: AtomicU32,
    /// Addresses of trunks and pools, in order; never counted either.
    peers: RwLock<Vec<IpAddr>>,
    flood: Flood,
    fraud: Arc<Fraud>,
}

impl Guard {
    /// Nobody failed yet. `key` should be random.
    pub fn new(settings: Settings, key: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(key);
        let (key, seed) = (key as u64, (key >> 64) as u64);
        Self {
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
            sources: AtomicUsize::new(0),
            standing_s: AtomicU32::new(standing_s(&settings)),
            flood: Flood::new(settings.flood, seed),
            fraud: Fraud::new(settings.fraud.clone()),
            peers: RwLock::default(),
            settings: RwLock::new(settings),
            proved: (0..PROVED).map(|_| AtomicU32::new(0)).collect(),
            key,
        }
    }

    /// Other settings from now on; bans stay, but for those that became exempt.
    pub fn configure(&self, settings: Settings) {
        let mut current = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        self.standing_s
            .store(standing_s(&settings), Ordering::Relaxed);
        self.flood.configure(settings.flood);
        self.fraud.configure(settings.fraud.clone());
        *current = settings;
    }

    /// What users and trunks used up.
    pub fn fraud(&self) -> &Arc<Fraud> {
        &self.fraud
    }

    /// The addresses of trunks and members of pools, as they stand now: exempt as those of the
    /// configuration are.
    pub fn set_peers(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        let mut addresses: Vec<IpAddr> = addresses.into_iter().map(network).collect();
        addresses.sort_unstable();
        addresses.dedup();
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    fn exempts(&self, source: IpAddr) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.binary_search(&network(source)).is_ok() || self.read_settings().exempts(source)
    }

    /// Whether nothing speaks for a source: no proof, no line of the configuration.
    pub fn is_stranger(&self, source: IpAddr, now: Instant) -> bool {
        let known = self.is_in_good_standing(network(source), now);
        !known && !is_this_host(source) && !self.exempts(source)
    }

    /// Whether a message of `source` is looked at. Costs nothing while nobody fails.
    pub fn verdict(&self, source: IpAddr, now: Instant) -> Verdict {
        if self.sources.load(Ordering::Relaxed) == 0 {
            return Verdict::Pass;
        }
        let ip = network(source);
        let set = self.set(ip);
        let Some(found) = set.iter().find(|s| s.ip == ip) else {
            return Verdict::Pass;
        };
        let banned = found.standing.banned_until(now);
        let quiet_until = banned.unwrap_or(found.quiet_until);
        drop(set);
        if now >= quiet_until || self.exempts(source) {
            return Verdict::Pass;
        }
        Verdict::Drop
    }

    /// Whether proofs of `user`, a `name@domain`, are refused unseen where they come from `source`.
    /// Costs nothing while nobody fails.
    pub fn refuses(&self, source: IpAddr, user: &str, now: Instant) -> bool {
        if self.sources.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let ip = network(source);
        let set = self.set(ip);
        let names = set.iter().find(|s| s.ip == ip).map(|s| &s.names);
        let name = names.and_then(|names| names.iter().find(|n| &*n.user == user));
        let refused = name.is_some_and(|n| n.standing.banned_until(now).is_some());
        drop(set);
        refused && !self.exempts(source)
    }

    /// A proof of `source` was wrong, under the name that `failure` says. The record says that
    /// source, or that name of it, is shut out now.
    pub fn failed(
        &self,
        source: IpAddr,
        failure: Failure<'_>,
        now: Instant,
        anchor: Anchor,
    ) -> Option<Record> {
        if self.exempts(source) {
            return None;
        }
        let settings = self.read_settings();
        let ip = network(source);
        let mut set = self.set(ip);
        let known = set.iter().find(|s| s.ip == ip).cloned();
        let mut entry = known.unwrap_or_else(|| Source::new(ip, now));
        let level = entry.standing.level(&settings, settings.window, now)?;
        let more = u64::from(failure.weight) * UNIT;
        let good = self.is_in_good_standing(ip, now);
        let user = failure.user.filter(|u| good && u.len() <= NAME_BYTES_MAX);
        let name = user.and_then(|user| entry.name(user, &settings, now));
        let why = "too many wrong passwords";
        let record = if let Some(name) = name {
            let level = name.standing.level(&settings, settings.ban, now)? + more;
            let ban = Ban::new(ip, Some(&name.user), why, &settings, now, anchor);
            name.standing = judged(level, ban, &settings, now);
            name.standing.ban(now).cloned()
        } else {
            let level = level.saturating_add(more);
            let ban = Ban::new(ip, None, why, &settings, now, anchor);
            entry.standing = judged(level, ban, &settings, now);
            entry.quiet_until = now + settings.pause(level).unwrap_or_default();
            entry.standing.ban(now).cloned()
        };
        self.put(&mut set, entry, &settings, now);
        Some(banned(record?, &settings))
    }

    /// Somebody asked for something and proved nothing. The record says that it is shut out now.
    pub fn knocked(
        &self,
        source: IpAddr,
        knock: Knock,
        now: Instant,
        anchor: Anchor,
    ) -> Option<Record> {
        if !self.is_stranger(source, now) {
            return None;
        }
        let settings = self.read_settings();
        let ip = network(source);
        let mut set = self.set(ip);
        let known = set.iter().find(|s| s.ip == ip).cloned();
        let mut entry = known.unwrap_or_else(|| Source::new(ip, now));
        if entry.standing.banned_until(now).is_some() {
            return None;
        }
        let full = u64::from(settings.ban_after) * UNIT;
        let more = match knock {
            Knock::Plain => UNIT / KNOCKS,
            Knock::Scanner => full,
        };
        let level = entry.knocks.level(&settings, settings.window, now);
        let level = level.saturating_add(more);
        entry.knocks = Bucket { level, at: now };
        if failures(level) >= settings.ban_after {
            let ban = Ban::new(ip, None, "scan", &settings, now, anchor);
            entry.shut_out(ban, &settings, now);
        }
        let ban = entry.standing.ban(now).cloned();
        self.put(&mut set, entry, &settings, now);
        Some(banned(ban?, &settings))
    }

    /// Shuts a source out at once, unless it is already, or is exempt. `reason` in words.
    pub fn ban(
        &self,
        source: IpAddr,
        reason: &str,
        now: Instant,
        anchor: Anchor,
    ) -> Option<Record> {
        if self.exempts(source) {
            return None;
        }
        let settings = self.read_settings();
        let ip = network(source);
        let mut set = self.set(ip);
        let known = set.iter().find(|s| s.ip == ip);
        if known.is_some_and(|s| s.standing.banned_until(now).is_some()) {
            return None;
        }
        let mut entry = known.cloned().unwrap_or_else(|| Source::new(ip, now));
        let ban = Ban::new(ip, None, reason, &settings, now, anchor);
        entry.shut_out(ban.clone(), &settings, now);
        self.put(&mut set, entry, &settings, now);
        Some(banned(ban, &settings))
    }

    /// A proof of `source` was right for `user`: brings good standing, and takes one failure of
    /// that name back.
    pub fn succeeded(&self, source: IpAddr, user: &str, now: Instant) {
        self.vouch(source, now);
        if self.sources.load(Ordering::Relaxed) == 0 {
            return;
        }
        let settings = self.read_settings();
        let ip = network(source);
        let mut set = self.set(ip);
        let Some(place) = set.iter().position(|s| s.ip == ip) else {
            return;
        };
        let Some(entry) = set.get_mut(place) else {
            return;
        };
        let names = entry.names.iter_mut();
        for name in names.filter(|n| &*n.user == user) {
            if let Standing::Counted(bucket) = &mut name.standing {
                let level = bucket.level(&settings, settings.ban, now);
                (bucket.level, bucket.at) = (level.saturating_sub(UNIT), now);
            }
        }
        entry.knocks.level = 0;
        if entry.weight(&settings, now) == (0, 0) {
            set.swap_remove(place);
            self.sources.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Something vouches for `source`: a right proof, or a binding that came back from the disk.
    pub fn vouch(&self, source: IpAddr, now: Instant) {
        let place = self.proved(network(source));
        let seconds = seconds(now);
        let before = place.load(Ordering::Relaxed);
        if before == 0 || seconds.saturating_sub(before) >= PROVED_STEP_S {
            place.store(seconds, Ordering::Relaxed);
        }
    }

    /// `ip` is of [`network`].
    fn is_in_good_standing(&self, ip: IpAddr, now: Instant) -> bool {
        let proved = self.proved(ip).load(Ordering::Relaxed);
        let standing = self.standing_s.load(Ordering::Relaxed);
        proved != 0 && seconds(now).saturating_sub(proved) <= standing
    }

    /// Lets a source in again, or one name of it alone. The records delete what was banned; none
    /// if nothing was.
    pub fn lift(&self, source: IpAddr, user: Option<&str>, now: Instant) -> Vec<Record> {
        let ip = network(source);
        let mut set = self.set(ip);
        let Some(place) = set.iter().position(|s| s.ip == ip) else {
            return Vec::new();
        };
        let delete = |ban: &Ban| Record::DeleteBan {
            source: ban.source,
            user: ban.user.clone(),
        };
        let Some(entry) = set.get_mut(place) else {
            return Vec::new();
        };
        let lifted = |n: &Name| user.is_none_or(|user| user == &*n.user);
        let bans = entry.names.iter().filter(|n| lifted(n));
        let mut records: Vec<Record> = bans
            .filter_map(|n| n.standing.ban(now))
            .map(delete)
            .collect();
        if user.is_some() {
            entry.names.retain(|n| !lifted(n));
            return records;
        }
        records.extend(entry.standing.ban(now).map(delete));
        set.swap_remove(place);
        self.sources.fetch_sub(1, Ordering::Relaxed);
        records
    }

    /// Brings a ban back after a restart. False if it ran out meanwhile, or there is no place.
    pub fn restore(&self, ban: Ban, now: Instant, anchor: Anchor) -> bool {
        let until = anchor.instant_of(ban.until_ms);
        if until <= now {
            return false;
        }
        let settings = self.read_settings();
        let ip = network(ban.source);
        let mut set = self.set(ip);
        let known = set.iter().find(|s| s.ip == ip).cloned();
        let mut entry = known.unwrap_or_else(|| Source::new(ip, now));
        let user = ban.user.clone();
        let ban = Box::new(ban);
        let standing = Standing::Banned { until, ban };
        match user {
            None => entry.standing = standing,
            Some(user) => match entry.name(&user, &settings, now) {
                Some(name) => name.standing = standing,
                None => return false,
            },
        }
        self.put(&mut set, entry, &settings, now);
        true
    }

    /// Who is shut out, ordered by source, then by name.
    pub fn list(&self, now: Instant) -> Vec<Ban> {
        let mut bans = Vec::new();
        for set in &self.sets {
            let set = set.lock().unwrap_or_else(PoisonError::into_inner);
            for source in set.iter() {
                let names = source.names.iter().map(|n| &n.standing);
                let all = [&source.standing].into_iter().chain(names);
                bans.extend(all.filter_map(|s| s.ban(now)).cloned());
            }
        }
        bans.sort_by(|a, b| (a.source, &a.user).cmp(&(b.source, &b.user)));
        bans
    }

    /// How many are shut out.
    pub fn len(&self, now: Instant) -> usize {
        self.list(now).len()
    }

    /// Whether nobody is shut out.
    pub fn is_empty(&self, now: Instant) -> bool {
        self.len(now) == 0
    }

    fn hash(&self, ip: IpAddr) -> usize {
        mix64(number(ip) ^ self.key) as usize
    }

    fn set(&self, ip: IpAddr) -> MutexGuard<'_, Vec<Source>> {
        self.sets[self.hash(ip) % SETS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn proved(&self, ip: IpAddr) -> &AtomicU32 {
        &self.proved[self.hash(ip) % PROVED]
    }

    /// Taken before a set is locked, or after it was let go, never while one is.
    fn read_settings(&self) -> RwLockReadGuard<'_, Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces or adds. A full set gives up what matters least: what ran out, then who failed
    /// least, then the ban that ends first.
    fn put(&self, set: &mut Vec<Source>, source: Source, settings: &Settings, now: Instant) {
        if let Some(place) = set.iter_mut().find(|s| s.ip == source.ip) {
            *place = source;
            return;
        }
        if set.len() >= WAYS {
            let weight = |s: &Source| s.weight(settings, now);
            let least = (0..set.len()).min_by_key(|&at| set.get(at).map(weight));
            if let Some(place) = least.and_then(|at| set.get_mut(at)) {
                *place = source;
            }
            return;
        }
        set.push(source);
        self.sources.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a bucket of this level makes of its owner.
fn judged(level: u64, ban: Ban, settings: &Settings, now: Instant) -> Standing {
    if failures(level) < settings.ban_after {
        return Standing::Counted(Bucket { level, at: now });
    }
    Standing::Banned {
        until: now + settings.ban,
        ban: Box::new(ban),
    }
}

impl Ban {
    fn new(
        source: IpAddr,
        user: Option<&str>,
        reason: &str,
        settings: &Settings,
        now: Instant,
        anchor: Anchor,
    ) -> Self {
        Self {
            source,
            user: user.map(Into::into),
            since_ms: anchor.unix_ms(now),
            until_ms: anchor.unix_ms(now + settings.ban),
            reason: reason.into(),
        }
    }
}

/// Says it in the log.
fn banned(ban: Ban, settings: &Settings) -> Record {
    let user = ban.user.as_deref().unwrap_or("any");
    let (source, reason, seconds) = (ban.source, &ban.reason, settings.ban.as_secs());
    tracing::warn!(%source, user, %reason, seconds, "banned");
    Record::PutBan(ban)
}

/// Good standing as [`Guard`] keeps it.
fn standing_s(settings: &Settings) -> u32 {
    let seconds = u32::try_from(settings.standing.as_secs()).unwrap_or(u32::MAX);
    seconds.saturating_add(PROVED_STEP_S)
}

/// Programs of this host: no network can write these addresses. Not all of 127/8, so that tests may
/// play strangers.
fn is_this_host(source: IpAddr) -> bool {
    match source.to_canonical() {
        IpAddr::V4(v4) => v4 == Ipv4Addr::LOCALHOST,
        IpAddr::V6(v6) => v6 == Ipv6Addr::LOCALHOST,
    }
}

/// Never zero.
fn seconds(now: Instant) -> u32 {
    u32::try_from(now.as_millis() / 1000 + 1).unwrap_or(u32::MAX)
}

/// What is counted as one source: an IPv4 address, or the /64 of an IPv6 one.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Never zero, and never the same for two sources of [`network`]: an IPv6 /64 is its own 64 bits,
/// and no /64 that is routed lies where IPv4 addresses are put.
fn number(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(v4) => 0xffff_0000_0000 | u64::from(u32::from(v4)),
        IpAddr::V6(v6) => ((u128::from(v6) >> 64) as u64).max(1),
    }
}

/// How many failures one failure of this User-Agent is.
pub fn weight_of(user_agent: &[u8]) -> u32 {
    let known = SCANNERS.iter().any(|scanner| {
        user_agent
            .windows(scanner.len())
            .any(|w| w.eq_ignore_ascii_case(scanner.as_bytes()))
    });
    if known { 2 } else { 1 }
}

#[cfg(test)]
mod tests;
