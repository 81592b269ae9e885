//! A stolen account calls abroad all night: what one user, or all calls of one trunk, may use up,
//! and what happens at the limit.
//!
//! Asked for each call that leaves by a way out of the number plan (not for calls between our own
//! users, nor for emergency numbers): [`Fraud::admit`] gives a [`Ticket`], which counts the call as
//! long as it lives, or a [`Refusal`]. Once for whoever makes it, a user or the trunk that it came
//! in by; and once for the trunk that it leaves by, whoever makes it, when that one's turn comes:
//! where its limit is reached, the route's next step has its turn.
//!
//! | limit | counts | at the limit |
//! | --- | --- | --- |
//! | calls | tickets that live | this call is refused |
//! | calls a minute | tickets of the last 60 s | refused; the user is blocked |
//! | minutes a day | from answer to end, of calls that still last, too | refused; blocked |
//! | costly minutes a day | the same, to other countries and premium numbers | likewise |
//! | minutes a day of a prefix | the same, to numbers that begin so | likewise |
//!
//! A day is one of UTC. A user who is blocked calls nobody outside until the time is over or
//! `voipctl blocks lift` forgives what led to it; a trunk is never blocked, since all users share
//! it. A call that lasts is not cut off. What was used up is kept in memory: a restart forgets it.

use crate::base::{Instant, hash64};
use crate::config::{Class, Config};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// Parts of the table, each with a lock of its own.
const PARTS: usize = 64;
/// Users and trunks that are counted at a time. One more is refused while none of its part is idle.
pub const ACCOUNTS_MAX: usize = 262_144;
/// What calls a minute are counted over.
const MINUTE: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 86_400_000;
/// The log speaks of one account at most once in this time.
const ALARM_EVERY: Duration = Duration::from_secs(3600);

/// On whose account a call goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who<'a> {
    /// A user, `name@domain`.
    User(&'a str),
    /// All that goes by a trunk, by its name.
    Trunk(&'a str),
}

impl Who<'_> {
    fn key(self) -> Box<str> {
        match self {
            Who::User(name) => ["u:", name].concat().into(),
            Who::Trunk(name) => ["t:", name].concat().into(),
        }
    }
}

/// Limits of one kind of account; zero: none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Calls at a time.
    pub calls_max: u32,
    /// Calls that begin within a minute.
    pub calls_per_minute: u32,
    /// Minutes a day.
    pub minutes_per_day: u32,
    /// Minutes a day to other countries and premium numbers.
    pub costly_minutes_per_day: u32,
}

/// What `[fraud]` says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Settings {
    /// Of each user.
    pub user: Limits,
    /// Of each trunk.
    pub trunk: Limits,
    /// Minutes a day of each user to numbers that begin so (E.164 without the plus).
    pub prefixes: Vec<(Box<str>, u32)>,
    /// How long a user is blocked; zero: never.
    pub block: Duration,
    /// Users without limits, `name@domain`, in order.
    pub exempt: Vec<Box<str>>,
}

impl Settings {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let fraud = &config.fraud;
        let domain = config.node.default_domain();
        let whole = |name: &str| -> Box<str> {
            match name.contains('@') {
                true => name.into(),
                false => format!("{name}@{domain}").into(),
            }
        };
        let mut exempt: Vec<Box<str>> = fraud.exempt.iter().map(|n| whole(n)).collect();
        exempt.sort_unstable();
        Self {
            user: Limits {
                calls_max: fraud.calls_max,
                calls_per_minute: fraud.calls_per_minute,
                minutes_per_day: fraud.minutes_per_day,
                costly_minutes_per_day: fraud.costly_minutes_per_day,
            },
            trunk: Limits {
                calls_max: 0,
                calls_per_minute: fraud.trunk_calls_per_minute,
                minutes_per_day: fraud.trunk_minutes_per_day,
                costly_minutes_per_day: fraud.trunk_costly_minutes_per_day,
            },
            prefixes: fraud.prefix_minutes_per_day.clone(),
            block: Duration::from_secs(fraud.block_s.into()),
            exempt,
        }
    }
}

/// Why a call may not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// Says why.
    pub reason: &'static str,
    /// Whether the user's calls to the outside are blocked from now on, or were already.
    pub block: bool,
    /// The key of `[fraud]` that says so, if it is a limit's.
    pub key: Option<&'static str>,
}

impl Refusal {
    /// For the record of the call: `fraud: calls_per_minute`, or `blocked` where an earlier call
    /// was too much.
    pub fn note(&self) -> String {
        match self.key {
            Some(key) => format!("fraud: {key}"),
            None if self.block => "blocked".to_owned(),
            None => format!("fraud: {}", self.reason),
        }
    }
}

/// A user whose calls to the outside are blocked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// Whom, `name@domain`.
    pub user: Box<str>,
    /// Milliseconds since 1970.
    pub since_ms: u64,
    /// When it ends.
    pub until: Instant,
    /// Why, in words.
    pub reason: &'static str,
}

/// A limit that was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Limit {
    Calls,
    PerMinute,
    Minutes,
    Costly,
    Prefix,
}

impl Limit {
    fn reason(self) -> &'static str {
        match self {
            Limit::Calls => "Too Many Calls At A Time",
            Limit::PerMinute => "Too Many Calls A Minute",
            Limit::Minutes => "Minutes Of The Day Used Up",
            Limit::Costly => "International Minutes Of The Day Used Up",
            Limit::Prefix => "Minutes Of The Day To This Prefix Used Up",
        }
    }

    /// The key that raises it.
    fn key(self, who: Who<'_>) -> &'static str {
        match (self, who) {
            (Limit::Calls, _) => "calls_max",
            (Limit::PerMinute, Who::User(_)) => "calls_per_minute",
            (Limit::PerMinute, Who::Trunk(_)) => "trunk_calls_per_minute",
            (Limit::Minutes, Who::User(_)) => "minutes_per_day",
            (Limit::Minutes, Who::Trunk(_)) => "trunk_minutes_per_day",
            (Limit::Costly, Who::User(_)) => "costly_minutes_per_day",
            (Limit::Costly, Who::Trunk(_)) => "trunk_costly_minutes_per_day",
            (Limit::Prefix, _) => "prefix_minutes_per_day",
        }
    }

    /// Many calls at a time may be a busy desk; all else is worth a look before it goes on.
    fn blocks(self) -> bool {
        self != Limit::Calls
    }
}

/// Time used up by calls that ended and calls that last.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Usage {
    ended_ms: u64,
    lasting: u64,
    /// The sum of the times at which they began to count.
    since_ms: u64,
}

impl Usage {
    fn at(&self, now_ms: u64) -> u64 {
        let lasting = self.lasting.saturating_mul(now_ms);
        self.ended_ms
            .saturating_add(lasting.saturating_sub(self.since_ms))
    }

    fn begin(&mut self, since_ms: u64) {
        self.lasting += 1;
        self.since_ms += since_ms;
    }

    fn end(&mut self, since_ms: u64, now_ms: u64) {
        self.lasting = self.lasting.saturating_sub(1);
        self.since_ms = self.since_ms.saturating_sub(since_ms);
        self.ended_ms = self
            .ended_ms
            .saturating_add(now_ms.saturating_sub(since_ms));
    }

    fn count_from(&mut self, start_ms: u64) {
        self.ended_ms = 0;
        self.since_ms = self.lasting.saturating_mul(start_ms);
    }

    fn is_over(&self, minutes: u32, now_ms: u64) -> bool {
        minutes != 0 && self.at(now_ms) >= u64::from(minutes) * 60_000
    }
}

/// What one user or trunk used up.
#[derive(Debug, Default)]
struct Account {
    calls: u32,
    /// When the calls of the last minute began; no more than `calls_per_minute`.
    begun: VecDeque<Instant>,
    /// Days since 1970.
    day: u64,
    /// The monotonic side of its end; where it began, the clock may not have run yet.
    day_end_ms: u64,
    /// From when on minutes are counted: the day's beginning, or when the operator forgave.
    counted_from_ms: u64,
    /// The latest answer.
    answer_ms: u64,
    all: Usage,
    costly: Usage,
    prefixes: Vec<(Box<str>, Usage)>,
    block: Option<Block>,
    quiet_until: Instant,
}

impl Account {
    fn turn_to(&mut self, now: Instant, unix_ms: u64) {
        self.go_on_to(now);
        let (now_ms, passed_ms) = (now.as_millis(), unix_ms % DAY_MS);
        if self.day != unix_ms / DAY_MS {
            self.day = unix_ms / DAY_MS;
            let start_ms = now_ms.saturating_sub(passed_ms);
            // Where the calendar jumped, calls may have been answered behind its new midnight.
            let plain = self.answer_ms <= start_ms;
            self.count_from(if plain { start_ms } else { now_ms });
        }
        self.day_end_ms = now_ms + (DAY_MS - passed_ms);
    }

    /// Where no calendar is at hand: from the day that was known last.
    fn go_on_to(&mut self, now: Instant) {
        let Some(past_ms) = now.as_millis().checked_sub(self.day_end_ms) else {
            return;
        };
        let days = past_ms / DAY_MS + 1;
        self.day += days;
        self.day_end_ms += days * DAY_MS;
        self.count_from(self.day_end_ms - DAY_MS);
    }

    /// Forgets what was used up, but for what calls that last use from then on.
    fn count_from(&mut self, start_ms: u64) {
        self.counted_from_ms = start_ms;
        self.all.count_from(start_ms);
        self.costly.count_from(start_ms);
        self.prefixes.retain(|(_, usage)| usage.lasting > 0);
        for (_, usage) in &mut self.prefixes {
            usage.count_from(start_ms);
        }
    }

    fn answered(&mut self, ticket: &Ticket, now: Instant) {
        self.go_on_to(now);
        let now_ms = now.as_millis();
        self.answer_ms = self.answer_ms.max(now_ms);
        self.each(ticket, |usage| usage.begin(now_ms));
    }

    fn ended(&mut self, ticket: &Ticket, now: Instant) {
        self.go_on_to(now);
        self.calls = self.calls.saturating_sub(1);
        if let Some(answered_ms) = ticket.answered_ms {
            let since_ms = answered_ms.max(self.counted_from_ms);
            self.each(ticket, |usage| usage.end(since_ms, now.as_millis()));
        }
    }

    /// All that the minutes of a call are counted in.
    fn each(&mut self, ticket: &Ticket, act: impl Fn(&mut Usage)) {
        act(&mut self.all);
        if ticket.costly {
            act(&mut self.costly);
        }
        for prefix in &ticket.prefixes {
            act(self.prefix(prefix));
        }
    }

    fn blocked(&self, now: Instant) -> Option<&Block> {
        self.block.as_ref().filter(|block| now < block.until)
    }

    fn prefix(&mut self, prefix: &str) -> &mut Usage {
        let known = self.prefixes.iter().position(|(p, _)| &**p == prefix);
        let at = known.unwrap_or_else(|| {
            self.prefixes.push((prefix.into(), Usage::default()));
            self.prefixes.len() - 1
        });
        &mut self.prefixes[at].1
    }

    fn used(&self, prefix: &str) -> Usage {
        let known = self.prefixes.iter().find(|(p, _)| &**p == prefix);
        known.map_or_else(Usage::default, |(_, usage)| *usage)
    }

    /// The limit that one more call would break.
    fn limit(&mut self, limits: Limits, costly: bool, now: Instant) -> Option<Limit> {
        while self.begun.front().is_some_and(|t| *t + MINUTE <= now) {
            self.begun.pop_front();
        }
        let (now_ms, begun) = (now.as_millis(), self.begun.len());
        let reached = |max: u32, n: usize| max != 0 && n >= max as usize;
        if reached(limits.calls_max, self.calls as usize) {
            Some(Limit::Calls)
        } else if reached(limits.calls_per_minute, begun) {
            Some(Limit::PerMinute)
        } else if self.all.is_over(limits.minutes_per_day, now_ms) {
            Some(Limit::Minutes)
        } else if costly && self.costly.is_over(limits.costly_minutes_per_day, now_ms) {
            Some(Limit::Costly)
        } else {
            None
        }
    }

    /// Whether nothing would be lost with it.
    fn is_idle(&self, now: Instant) -> bool {
        let recent = self.begun.back().is_some_and(|t| now < *t + MINUTE);
        let used = now.as_millis() < self.day_end_ms && self.all.ended_ms > 0;
        self.calls == 0 && !recent && !used && self.blocked(now).is_none()
    }
}

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Calls that were refused.
    pub refused: u64,
    /// Users that were blocked.
    pub blocked: u64,
}

type Accounts = BTreeMap<Box<str>, Account>;

/// What users and trunks used up. Shared by all shards.
#[derive(Debug)]
pub struct Fraud {
    parts: Box<[Mutex<Accounts>]>,
    settings: RwLock<Arc<Settings>>,
    accounts_max: usize,
    /// The latest time that anybody told, for tickets that are dropped without.
    latest_ns: AtomicU64,
    refused: AtomicU64,
    blocked: AtomicU64,
}

impl Fraud {
    /// Nobody called yet.
    pub fn new(settings: Settings) -> Arc<Self> {
        Self::with_accounts(settings, ACCOUNTS_MAX)
    }

    fn with_accounts(settings: Settings, accounts_max: usize) -> Arc<Self> {
        Arc::new(Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            settings: RwLock::new(Arc::new(settings)),
            accounts_max,
            latest_ns: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
        })
    }

    /// Other limits from now on; what was used up stays used.
    pub fn configure(&self, settings: Settings) {
        let settings = Arc::new(settings);
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&settings)
    }

    /// Whether a call may be made on that account. `number` is in E.164 without the plus, if it is
    /// known; `unix_ms` is the calendar's `now`. The ticket is kept as long as the call lasts.
    pub fn admit(
        self: &Arc<Self>,
        who: Who<'_>,
        number: Option<&str>,
        class: Option<Class>,
        now: Instant,
        unix_ms: u64,
    ) -> Result<Ticket, Refusal> {
        self.latest_ns.fetch_max(now.as_nanos(), Ordering::Relaxed);
        let settings = self.settings();
        let costly = class.is_some();
        let (limits, prefixes) = match who {
            Who::User(name) if is_among(&settings.exempt, name) => (Limits::default(), &[][..]),
            Who::User(_) => (settings.user, &settings.prefixes[..]),
            Who::Trunk(_) => (settings.trunk, &[][..]),
        };
        let meant = |(prefix, _): &&(Box<str>, u32)| {
            number.is_some_and(|number| number.starts_with(&**prefix))
        };
        let prefixes: Vec<_> = prefixes.iter().filter(meant).collect();
        let key = who.key();
        let mut part = self.part(&key);
        if !part.contains_key(&key) && !self.has_room(&mut part, now) {
            return Err(self.refuse(503, "Too Many Accounts", false));
        }
        let account = part.entry(key.clone()).or_default();
        account.turn_to(now, unix_ms);
        if account.blocked(now).is_some() {
            return Err(self.refuse(403, "Outgoing Calls Are Blocked", true));
        }
        let over = |(prefix, minutes): &&(Box<str>, u32)| {
            account.used(prefix).is_over(*minutes, now.as_millis())
        };
        let by_prefix = prefixes.iter().any(over).then_some(Limit::Prefix);
        if let Some(limit) = account.limit(limits, costly, now).or(by_prefix) {
            return Err(self.at_limit(account, who, limit, &settings, now, unix_ms));
        }
        account.calls += 1;
        if limits.calls_per_minute != 0 {
            account.begun.push_back(now);
        }
        Ok(Ticket {
            fraud: Arc::clone(self),
            key,
            costly,
            prefixes: prefixes.iter().map(|(prefix, _)| prefix.clone()).collect(),
            answered_ms: None,
        })
    }

    /// Refuses, says it in the log, and blocks a user.
    fn at_limit(
        &self,
        account: &mut Account,
        who: Who<'_>,
        limit: Limit,
        settings: &Settings,
        now: Instant,
        unix_ms: u64,
    ) -> Refusal {
        let mut refusal = self.refuse(403, limit.reason(), false);
        refusal.key = Some(limit.key(who));
        match who {
            Who::User(name) if limit.blocks() && !settings.block.is_zero() => {
                refusal.block = true;
                self.blocked.fetch_add(1, Ordering::Relaxed);
                account.block = Some(Block {
                    user: name.into(),
                    since_ms: unix_ms,
                    until: now + settings.block,
                    reason: limit.reason(),
                });
            }
            Who::User(_) => {}
            Who::Trunk(_) => refusal.status = 503,
        }
        if now < account.quiet_until {
            return refusal;
        }
        account.quiet_until = now + ALARM_EVERY;
        let (reason, key) = (limit.reason(), limit.key(who));
        match who {
            Who::User(user) if refusal.block => tracing::warn!(
                user,
                reason,
                seconds = settings.block.as_secs(),
                "outgoing calls are blocked: look at the user's calls, change the password if they \
                 are not its own, then voipctl blocks lift {user}; [fraud] {key} is the limit"
            ),
            Who::User(user) => {
                tracing::warn!(user, reason, "call refused: [fraud] {key} is the limit");
            }
            Who::Trunk(trunk) => {
                tracing::warn!(trunk, reason, "call refused: [fraud] {key} is the limit");
            }
        }
        refusal
    }

    fn refuse(&self, status: u16, reason: &'static str, block: bool) -> Refusal {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Refusal {
            status,
            reason,
            block,
            key: None,
        }
    }

    /// Who is blocked, in order.
    pub fn blocks(&self, now: Instant) -> Vec<Block> {
        let mut blocks = Vec::new();
        for part in &self.parts {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            blocks.extend(part.values().filter_map(|a| a.blocked(now)).cloned());
        }
        blocks.sort_by(|a, b| a.user.cmp(&b.user));
        blocks
    }

    /// Lets a user call again, and forgives what it used up today; false if it was not blocked.
    pub fn lift(&self, user: &str, now: Instant) -> bool {
        let key = Who::User(user).key();
        let mut part = self.part(&key);
        let Some(account) = part.get_mut(&key) else {
            return false;
        };
        let blocked = account.blocked(now).is_some();
        if blocked {
            account.block = None;
            account.quiet_until = now;
            account.begun.clear();
            account.go_on_to(now);
            account.count_from(now.as_millis());
        }
        blocked
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            refused: self.refused.load(Ordering::Relaxed),
            blocked: self.blocked.load(Ordering::Relaxed),
        }
    }

    /// Makes room in a full part by giving up who is idle.
    fn has_room(&self, part: &mut Accounts, now: Instant) -> bool {
        let most = (self.accounts_max / PARTS).max(1);
        if part.len() >= most {
            part.retain(|_, account| !account.is_idle(now));
        }
        part.len() < most
    }

    fn part(&self, key: &str) -> MutexGuard<'_, Accounts> {
        let place = hash64(key.as_bytes()) as usize % PARTS;
        self.parts[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, key: &str, act: impl FnOnce(&mut Account)) {
        if let Some(account) = self.part(key).get_mut(key) {
            act(account);
        }
    }
}

fn is_among(names: &[Box<str>], name: &str) -> bool {
    names.binary_search_by(|n| (**n).cmp(name)).is_ok()
}

/// Counts a call against its account for as long as it lives.
#[derive(Debug)]
pub struct Ticket {
    fraud: Arc<Fraud>,
    key: Box<str>,
    costly: bool,
    prefixes: Vec<Box<str>>,
    answered_ms: Option<u64>,
}

impl Ticket {
    /// Whether it counts against that account.
    pub fn is_of(&self, who: Who<'_>) -> bool {
        *self.key == *who.key()
    }

    /// The call did not come about after all: not for its account's sake.
    pub fn never_began(self) {
        self.fraud.change(&self.key, |account| {
            account.begun.pop_back();
        });
    }

    /// Somebody answered: minutes are counted from now on. Once is enough.
    pub fn answered(&mut self, now: Instant) {
        let ns = now.as_nanos();
        self.fraud.latest_ns.fetch_max(ns, Ordering::Relaxed);
        if self.answered_ms.is_none() {
            let ticket = &*self;
            ticket
                .fraud
                .change(&ticket.key, |a| a.answered(ticket, now));
            self.answered_ms = Some(now.as_millis());
        }
    }

    /// The call is over. A ticket that is dropped instead ends at the latest time that was told to
    /// any ticket or to [`Fraud::admit`].
    pub fn ended(self, now: Instant) {
        let ns = now.as_nanos();
        self.fraud.latest_ns.fetch_max(ns, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let now = Instant::from_nanos(self.fraud.latest_ns.load(Ordering::Relaxed));
        self.fraud.change(&self.key, |a| a.ended(self, now));
    }
}

#[cfg(test)]
mod tests;
