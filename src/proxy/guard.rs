//! Guessing passwords is made slow, then stopped: failures are counted per source, their decay is
//! a leaking bucket, and what runs over is shut out for a while.
//!
//! A source is an IPv4 address or an IPv6 /64. Above `slow_after` a source is heard only once in a
//! growing time: everything else of it is dropped, so an answer costs the guesser seconds. At
//! `ban_after` it is banned. A proof that was right takes one failure back, so the office whose one
//! phone has a wrong password is not shut out by it. Peers of `[sip] trusted` and `[guard] exempt`
//! are never counted.
//!
//! What this cannot tell: over UDP a source may be forged. Who wants certainty puts the addresses
//! that must stay reachable into `exempt`.

use crate::base::{Anchor, Instant, hash64};
use crate::config::{Config, IpNet};
use crate::store::{Ban, Record};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// Sources in one set of the table.
pub const WAYS: usize = 16;
/// Sets of the table, so `WAYS * SETS` sources are counted at a time.
pub const SETS: usize = 4096;
/// The longest that a slowed source waits between two messages that are heard.
pub const SLOW_MAX: Duration = Duration::from_secs(8);
/// The wait after the first failure past `slow_after`; it doubles with each.
pub const SLOW_FIRST: Duration = Duration::from_millis(250);

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
    /// Who is never counted.
    pub exempt: Vec<IpNet>,
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
            exempt: exempt.copied().collect(),
        }
    }

    fn exempts(&self, source: IpAddr) -> bool {
        self.exempt.iter().any(|net| net.contains(source))
    }

    /// What is left of `level` after `passed`.
    fn leaked(&self, level: u64, passed: Duration) -> u64 {
        let all = u128::from(self.ban_after) * u128::from(UNIT);
        let gone = all * passed.as_nanos() / self.window.as_nanos().max(1);
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

#[derive(Clone, Debug)]
enum Standing {
    /// Counted; not heard before `quiet_until`.
    Counted {
        level: u64,
        at: Instant,
        quiet_until: Instant,
    },
    /// Shut out.
    Banned { until: Instant, ban: Box<Ban> },
}

#[derive(Clone, Debug)]
struct Source {
    /// Of [`network`].
    ip: IpAddr,
    standing: Standing,
}

/// Failures and bans, shared by all shards.
#[derive(Debug)]
pub struct Guard {
    sets: Box<[Mutex<Vec<Source>>]>,
    /// So that a server without failures takes no lock.
    sources: AtomicUsize,
    settings: RwLock<Settings>,
    /// Keeps strangers from choosing sources that fall into one set.
    key: [u8; 16],
}

impl Guard {
    /// Nobody failed yet. `key` should be random.
    pub fn new(settings: Settings, key: [u8; 16]) -> Self {
        Self {
            sets: (0..SETS).map(|_| Mutex::default()).collect(),
            sources: AtomicUsize::new(0),
            settings: RwLock::new(settings),
            key,
        }
    }

    /// Other settings from now on; bans stay, but for those that became exempt.
    pub fn configure(&self, settings: Settings) {
        let mut current = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = settings;
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
        let quiet_until = match &found.standing {
            Standing::Counted { quiet_until, .. } => *quiet_until,
            Standing::Banned { until, .. } => *until,
        };
        drop(set);
        if now >= quiet_until || self.read_settings().exempts(source) {
            return Verdict::Pass;
        }
        Verdict::Drop
    }

    /// A proof of `source` was wrong; `weight` failures at once. The record says that it is banned
    /// now.
    pub fn failed(
        &self,
        source: IpAddr,
        weight: u32,
        now: Instant,
        anchor: Anchor,
    ) -> Option<Record> {
        let settings = self.read_settings();
        if settings.exempts(source) {
            return None;
        }
        let ip = network(source);
        let mut set = self.set(ip);
        let level = match set.iter().find(|s| s.ip == ip).map(|s| &s.standing) {
            Some(Standing::Counted { level, at, .. }) => settings.leaked(*level, now.since(*at)),
            Some(Standing::Banned { until, .. }) if now < *until => return None,
            Some(Standing::Banned { .. }) | None => 0,
        };
        let level = level.saturating_add(u64::from(weight) * UNIT);
        let (standing, record) = if failures(level) >= settings.ban_after {
            let ban = Ban {
                source: ip,
                since_ms: anchor.unix_ms(now),
                until_ms: anchor.unix_ms(now + settings.ban),
                reason: "too many wrong passwords".into(),
            };
            tracing::warn!(source = %ip, seconds = settings.ban.as_secs(), "banned");
            let standing = Standing::Banned {
                until: now + settings.ban,
                ban: Box::new(ban.clone()),
            };
            (standing, Some(Record::PutBan(ban)))
        } else {
            let standing = Standing::Counted {
                level,
                at: now,
                quiet_until: now + settings.pause(level).unwrap_or_default(),
            };
            (standing, None)
        };
        self.put(&mut set, Source { ip, standing }, &settings, now);
        record
    }

    /// A proof of `source` was right: takes one failure back.
    pub fn succeeded(&self, source: IpAddr, now: Instant) {
        if self.sources.load(Ordering::Relaxed) == 0 {
            return;
        }
        let settings = self.read_settings();
        let ip = network(source);
        let mut set = self.set(ip);
        let Some(place) = set.iter().position(|s| s.ip == ip) else {
            return;
        };
        if let Some(Source {
            standing: Standing::Counted { level, at, .. },
            ..
        }) = set.get_mut(place)
        {
            *level = settings.leaked(*level, now.since(*at)).saturating_sub(UNIT);
            *at = now;
            if *level == 0 {
                set.swap_remove(place);
                self.sources.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Lets a source in again. The record deletes its ban; `None` if it was not banned.
    pub fn lift(&self, source: IpAddr) -> Option<Record> {
        let ip = network(source);
        let mut set = self.set(ip);
        let place = set.iter().position(|s| s.ip == ip)?;
        let found = set.swap_remove(place);
        self.sources.fetch_sub(1, Ordering::Relaxed);
        match found.standing {
            Standing::Banned { .. } => Some(Record::DeleteBan(ip)),
            Standing::Counted { .. } => None,
        }
    }

    /// Brings a ban back after a restart. False if it ran out meanwhile.
    pub fn restore(&self, ban: Ban, now: Instant, anchor: Anchor) -> bool {
        let until = anchor.instant_of(ban.until_ms);
        if until <= now {
            return false;
        }
        let settings = self.read_settings();
        let ip = network(ban.source);
        let standing = Standing::Banned {
            until,
            ban: Box::new(ban),
        };
        let mut set = self.set(ip);
        self.put(&mut set, Source { ip, standing }, &settings, now);
        true
    }

    /// Who is shut out, ordered by source.
    pub fn list(&self, now: Instant) -> Vec<Ban> {
        let mut bans = Vec::new();
        for set in &self.sets {
            let set = set.lock().unwrap_or_else(PoisonError::into_inner);
            bans.extend(set.iter().filter_map(|s| match &s.standing {
                Standing::Banned { until, ban } if now < *until => Some(Ban::clone(ban)),
                Standing::Banned { .. } | Standing::Counted { .. } => None,
            }));
        }
        bans.sort_by_key(|b| b.source);
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

    fn set(&self, ip: IpAddr) -> MutexGuard<'_, Vec<Source>> {
        let mut bytes = [0; 33];
        let (key, rest) = bytes.split_at_mut(16);
        key.copy_from_slice(&self.key);
        let ip = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        if let Some(rest) = rest.get_mut(..16) {
            rest.copy_from_slice(&ip.octets());
        }
        let at = (hash64(&bytes) % SETS as u64) as usize;
        self.sets[at % SETS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read_settings(&self) -> Settings {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        settings.clone()
    }

    /// Replaces or adds. A full set gives up what matters least: what ran out, then who failed
    /// least, then the ban that ends first.
    fn put(&self, set: &mut Vec<Source>, source: Source, settings: &Settings, now: Instant) {
        if let Some(place) = set.iter_mut().find(|s| s.ip == source.ip) {
            *place = source;
            return;
        }
        if set.len() >= WAYS {
            let weight = |s: &Source| match &s.standing {
                Standing::Counted { level, at, .. } => (0, settings.leaked(*level, now.since(*at))),
                Standing::Banned { until, .. } if *until <= now => (0, 0),
                Standing::Banned { until, .. } => (1, until.as_nanos()),
            };
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
