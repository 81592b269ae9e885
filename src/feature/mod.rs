//! F3: call features, up to the decision: forwarding, do not disturb, black lists, speed dials,
//! the codes that set them by phone, and who of a group rings or may pick up.
//!
//! Nothing here sends or waits. The proxy asks, in this order:
//! 1. [`dialled`] for what a user of ours dials: a code, a speed dial, or a plain number;
//! 2. [`incoming`] for a user who is called, before a phone rings;
//! 3. [`after`] when the call to the user's phones failed;
//! 4. [`Chain::step`] before each forwarding, which ends every loop;
//! 5. [`History`] and [`Diversions`] for what the forwarded request says of its way.
//!
//! A forwarded call leaves on the account of the user who forwards: whether it may go abroad is
//! decided for that user, not for the caller.

mod busy;
mod call_backs;
mod chain;
mod change;
mod codes;
mod decide;
mod history;
mod hunt;
mod keys;
mod park;
mod pins;
mod queue;
mod ringing;
#[cfg(test)]
mod tests;

pub use crate::store::Settings;
pub use busy::Engaged;
pub use call_backs::{CallBackStats, CallBacks, NotNow, Pass};
pub use chain::{Chain, FORWARDINGS_MAX, target_aor};
pub use change::{Change, RING_S_MAX, RING_S_MIN, TARGET_BYTES_MAX};
pub use codes::{Argument, CODES, Code, CodeRow, Dialled, dialled};
pub use decide::{Caller, Failure, Forward, Incoming, NO_ANSWER, Why, after, incoming};
pub use history::{Diversions, History};
pub use hunt::Hunt;
pub use keys::KEYS;
pub use park::{Address, Lot, Parked};
pub use pins::{Guesser, Patience, Pins, is_pin};
pub use queue::{Doing, Figures, Queues, RING_MAX, Rules, Ticket, Turn};
pub use ringing::{Claim, RINGING_MAX, RingingCall, Rings};

use crate::store::{FeatureRecord, USERS_MAX};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Why something is not done: a status and its reason phrase, fit for the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Of the response.
    pub status: u16,
    /// In words: what is wrong. One line, no control characters.
    pub reason: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        Self { status, reason }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

type Table = HashMap<Box<str>, Arc<Settings>>;

/// What every user wants, in memory and shared by all shards. A user who wants nothing is not in
/// the table.
#[derive(Debug, Default)]
pub struct Features {
    table: RwLock<Table>,
    /// How many the table has, so that a system whose users want nothing touches no lock.
    count: AtomicUsize,
    /// The greatest revision given out.
    revision: AtomicU64,
    rotors: hunt::Rotors,
    busy: Arc<busy::Busy>,
    ringing: Arc<ringing::Ringing>,
    pins: Pins,
    queues: Arc<Queues>,
    lot: Lot,
    call_backs: CallBacks,
    /// The users who are logged in at each queue. Locked behind `table`.
    agents: RwLock<BTreeMap<Box<str>, BTreeSet<Box<str>>>>,
}

impl Features {
    /// Nobody wants anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Brings back what the store holds. `revision_max` is the greatest revision on the disk.
    pub fn load(&self, records: Vec<FeatureRecord>, revision_max: u64) {
        self.revision.fetch_max(revision_max, Ordering::Relaxed);
        let mut table = self.write();
        for record in records {
            self.revision.fetch_max(record.revision, Ordering::Relaxed);
            if record.settings.is_empty() || table.len() >= USERS_MAX {
                continue;
            }
            self.log_in(&record.aor, &[], &record.settings.queues);
            table.insert(record.aor, Arc::new(record.settings));
        }
        self.count.store(table.len(), Ordering::Release);
    }

    /// What the user of an address of record `name@domain` wants; `None` for most. One look-up,
    /// nothing allocated.
    pub fn settings(&self, aor: &str) -> Option<Arc<Settings>> {
        if self.is_empty() {
            return None;
        }
        self.read().get(aor).cloned()
    }

    /// Changes what a user wants. The record is to be kept; of two records of one user the store
    /// keeps the one of the greater revision.
    ///
    /// Nothing is changed where the change makes no sense: a target that is none, one that leads
    /// back to the user, a list that is full.
    pub fn change(&self, aor: &str, change: &Change) -> Result<FeatureRecord, Refusal> {
        let change = change.checked()?;
        let mut table = self.write();
        if let Some(to) = change.target() {
            chain::check_target(aor, to, |other| {
                table.get(other).and_then(|s| s.forward_always.as_deref())
            })?;
        }
        let old = table.get(aor);
        if old.is_none() && table.len() >= USERS_MAX {
            return Err(Refusal::new(500, "Too Many Users Have Call Features"));
        }
        let mut settings = old.map_or_else(Settings::default, |s| Settings::clone(s));
        change.apply(&mut settings)?;
        Ok(self.keep(&mut table, aor, settings))
    }

    /// Carries out a code that a user dialled. `None` where it changes nothing by itself: a call
    /// is to be picked up.
    pub fn apply(&self, aor: &str, code: &Code) -> Result<Option<FeatureRecord>, Refusal> {
        match code {
            Code::Set(change) => self.change(aor, change).map(Some),
            Code::Pickup(_) => Ok(None),
        }
    }

    /// Puts settings as they are in the place of what a user wants, unchecked: whoever moves users
    /// from elsewhere. The record is to be kept; `None` if the table is full.
    pub fn put(&self, aor: &str, settings: Settings) -> Option<FeatureRecord> {
        let mut table = self.write();
        let room = table.len() < USERS_MAX || table.contains_key(aor);
        room.then(|| self.keep(&mut table, aor, settings))
    }

    /// Forgets a user who is deleted. The record, if anything was known, is to be kept.
    pub fn remove(&self, aor: &str) -> Option<FeatureRecord> {
        let mut table = self.write();
        table
            .contains_key(aor)
            .then(|| self.keep(&mut table, aor, Settings::default()))
    }

    /// A call that a user took, counted as long as the result lives; `None` for users who are in no
    /// group and no queue, since nobody asks for theirs.
    pub fn engage(&self, aor: &str) -> Option<Engaged> {
        self.busy.engage(aor, busy::Part::Callee)
    }

    /// The same for a call that a user makes.
    pub fn engage_caller(&self, aor: &str) -> Option<Engaged> {
        self.busy.engage(aor, busy::Part::Caller)
    }

    /// How many calls a member of a group has, those included that it makes and that ring still.
    pub fn calls_of(&self, aor: &str) -> u32 {
        self.busy.calls_of(aor)
    }

    /// How many of them it took.
    pub fn taken_by(&self, aor: &str) -> u32 {
        self.busy.taken_by(aor)
    }

    /// Who waits where.
    pub fn queues(&self) -> &Arc<Queues> {
        &self.queues
    }

    /// Which call is parked where.
    pub fn lot(&self) -> &Lot {
        &self.lot
    }

    /// Who was called back lately.
    pub fn call_backs(&self) -> &CallBacks {
        &self.call_backs
    }

    /// The agents of a queue, `name@domain`: `always` in their order, then those who logged in.
    pub fn agents(&self, queue: &str, always: &[Box<str>]) -> Vec<Box<str>> {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        let logged_in = agents.get(queue).into_iter().flatten();
        let more = logged_in.filter(|aor| !always.contains(aor));
        always.iter().chain(more).cloned().collect()
    }

    /// Counts the calls of these users from now on.
    pub fn watch<'a>(&self, users: impl Iterator<Item = &'a str>) {
        self.busy.watch(users);
    }

    /// Who guessed PINs.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// How many users want something.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether nobody wants anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a member of a group is rung for a call to the group: not one who wants no calls,
    /// does not want this caller, or sends every call elsewhere. What the member forwards when
    /// busy or absent does not count: the next member rings instead.
    pub fn rings_in_group(&self, aor: &str, caller: Caller<'_>) -> bool {
        self.settings(aor)
            .is_none_or(|s| matches!(incoming(&s, caller), Incoming::Ring { .. }))
    }

    /// Under the lock of the table, so that revisions and changes are of one order. Nothing wanted
    /// is nothing kept.
    fn keep(&self, table: &mut Table, aor: &str, settings: Settings) -> FeatureRecord {
        let record = FeatureRecord {
            aor: aor.into(),
            settings,
            revision: self.revision.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let before = table.get(aor).map(|s| s.queues.clone());
        self.log_in(aor, &before.unwrap_or_default(), &record.settings.queues);
        if record.settings.is_empty() {
            table.remove(aor);
        } else {
            let settings = Arc::new(record.settings.clone());
            table.insert(record.aor.clone(), settings);
        }
        self.count.store(table.len(), Ordering::Release);
        record
    }

    /// A user is an agent of other queues than before.
    fn log_in(&self, aor: &str, before: &[Box<str>], after: &[Box<str>]) {
        if before == after {
            return;
        }
        let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
        for queue in before {
            if let Some(of_queue) = agents.get_mut(queue) {
                of_queue.remove(aor);
                if of_queue.is_empty() {
                    agents.remove(queue);
                }
            }
        }
        for queue in after {
            agents.entry(queue.clone()).or_default().insert(aor.into());
        }
        drop(agents);
        self.busy.watch(std::iter::once(aor));
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
