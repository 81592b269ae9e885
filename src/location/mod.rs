//! F3: where everybody is (RFC 3261 §10): addresses of record and their bindings, shared by all
//! shards. Knows nothing of messages and answers: `proxy::registrar` does.
//!
//! Buckets by the hash of the address of record, each under a lock of its own that is held for the
//! work on one address of record. One timer per address of record, for the binding that ends
//! first; a refresh leaves it armed, and when it fires too early it is armed again. So a refresh
//! moves no timer, and nothing ever scans.
//!
//! Locks are taken in this order: bucket, then connection index or user agents; never two buckets.

mod binding;
mod flows;
mod intern;
mod update;

#[cfg(test)]
mod tests;

pub use binding::{Binding, Reach};
pub use intern::INTERNED_MAX;
pub use update::{Bindings, Clock, ContactUpdate, Requested, Update, UpdateError, Updated};

use crate::base::{ConnectionId, Flow, Instant, TimerId, TimerTable, Transport, hash64};
use crate::config::Config;
use crate::store::{BindingRecord, Record};
use binding::{Parts, Texts, reach_at_first, same_instance};
use flows::FlowIndex;
use intern::Interner;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use update::Means;

/// How many locks the table has.
pub const BUCKETS: usize = 64;
/// How many timers one call of [`Location::expire`] works off; the rest waits for the next call.
pub const EXPIRE_BATCH: usize = 512;

/// How many new bindings wait to be pinged; one that finds no room is pinged once it refreshes
/// from another address.
pub const FRESH_MAX: usize = 1 << 16;

/// How much may be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bindings of one address of record.
    pub contacts_per_aor: usize,
    /// Bindings in all.
    pub contacts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            contacts_per_aor: 10,
            contacts: 2_000_000,
        }
    }
}

impl Limits {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            contacts_per_aor: config.limits.contacts_per_user_max,
            contacts: config.limits.bindings_max,
        }
    }
}

/// FNV: only addresses of record of known users become keys, so nobody chooses collisions.
#[derive(Clone, Copy, Debug)]
struct AorHasher(u64);

impl Default for AorHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for AorHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.0 = (self.0 ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

#[derive(Debug)]
struct Entry {
    aor: Arc<str>,
    bindings: SmallVec<[Arc<Binding>; 1]>,
    timer: Option<(TimerId, Instant)>,
}

#[derive(Debug, Default)]
struct Table {
    aors: HashMap<Arc<str>, Entry, BuildHasherDefault<AorHasher>>,
    timers: TimerTable<Arc<str>>,
}

/// Addresses of record and their bindings.
#[derive(Debug)]
pub struct Location {
    buckets: Box<[RwLock<Table>]>,
    /// Per bucket, nanoseconds of the next timer; `u64::MAX` without.
    next: Box<[AtomicU64]>,
    /// No later than the least of them.
    next_of_all: AtomicU64,
    /// Behind NAT, and registered since the last call of [`Location::take_fresh`].
    fresh: Mutex<Vec<Arc<Binding>>>,
    has_fresh: AtomicBool,
    count: AtomicUsize,
    serial: AtomicU64,
    contacts_per_aor: AtomicUsize,
    contacts: AtomicUsize,
    agents: Interner,
    flows: FlowIndex,
}

impl Location {
    /// Nobody is anywhere.
    pub fn new(limits: Limits) -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| RwLock::default()).collect(),
            next: (0..BUCKETS).map(|_| AtomicU64::new(u64::MAX)).collect(),
            next_of_all: AtomicU64::new(u64::MAX),
            fresh: Mutex::default(),
            has_fresh: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            serial: AtomicU64::new(1),
            contacts_per_aor: AtomicUsize::new(limits.contacts_per_aor),
            contacts: AtomicUsize::new(limits.contacts),
            agents: Interner::default(),
            flows: FlowIndex::default(),
        }
    }

    /// Other bounds from now on; what is stored stays.
    pub fn set_limits(&self, limits: Limits) {
        self.contacts_per_aor
            .store(limits.contacts_per_aor, Ordering::Relaxed);
        self.contacts.store(limits.contacts, Ordering::Relaxed);
    }

    fn slot(aor: &str) -> usize {
        (hash64(aor.as_bytes()) % BUCKETS as u64) as usize
    }

    fn write(&self, slot: usize) -> RwLockWriteGuard<'_, Table> {
        self.buckets[slot % BUCKETS]
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, slot: usize) -> RwLockReadGuard<'_, Table> {
        self.buckets[slot % BUCKETS]
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bindings there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bindings of an address of record, the best first.
    pub fn lookup(&self, aor: &str) -> Bindings {
        match self.read(Self::slot(aor)).aors.get(aor) {
            Some(entry) => entry.bindings.iter().cloned().collect(),
            None => Bindings::new(),
        }
    }

    /// Whether a call to an address of record reaches a phone.
    pub fn reaches(&self, aor: &str) -> bool {
        let table = self.read(Self::slot(aor));
        let entry = table.aors.get(aor);
        entry.is_some_and(|entry| entry.bindings.iter().any(|b| b.is_reachable()))
    }

    /// The bindings of one instance of an address of record: what a GRUU names (RFC 5627).
    pub fn lookup_instance(&self, aor: &str, instance: &str) -> Bindings {
        let mut found = self.lookup(aor);
        found.retain(|b| same_instance(b.instance(), instance));
        found
    }

    /// The binding that bore `serial`, if it still is as it was.
    pub fn lookup_serial(&self, aor: &str, serial: u64) -> Option<Arc<Binding>> {
        let table = self.read(Self::slot(aor));
        let entry = table.aors.get(aor)?;
        entry.bindings.iter().find(|b| b.serial == serial).cloned()
    }

    /// Whether a REGISTER of this Call-ID and CSeq made or refreshed a binding of `aor` that still
    /// stands: the same request again is a retransmission.
    pub fn has_seen(&self, aor: &str, call_id: &str, cseq: u32) -> bool {
        let table = self.read(Self::slot(aor));
        table
            .aors
            .get(aor)
            .is_some_and(|entry| has_seen(&entry.bindings, call_id, cseq))
    }

    /// Does what a REGISTER asks, or nothing at all (RFC 3261 §10.3).
    pub fn update(&self, clock: Clock, update: &Update<'_>) -> Result<Updated, UpdateError> {
        if let Requested::Fetch = update.requested {
            return Ok(Updated {
                bindings: self.lookup(update.aor),
                ..Updated::default()
            });
        }
        let slot = Self::slot(update.aor);
        let mut table = self.write(slot);
        let Some(entry) = table.aors.get_mut(update.aor) else {
            return self.first_update(clock, update, &mut table, slot);
        };
        if has_seen(&entry.bindings, update.call_id, update.cseq) {
            return Ok(Updated {
                bindings: entry.bindings.iter().cloned().collect(),
                ..Updated::default()
            });
        }
        let found = update::check(&entry.bindings, update)?;
        let aor = entry.aor.clone();
        let means = self.means(clock, update, &aor);
        let (updated, is_early) = match self.refresh(entry, &found, &means) {
            Some(refreshed) => refreshed,
            None => (self.change(entry, &found, &means)?, true),
        };
        if is_early {
            self.arm(&mut table, &aor, slot);
        }
        Ok(updated)
    }

    fn means<'a>(&'a self, clock: Clock, update: &'a Update<'a>, aor: &'a Arc<str>) -> Means<'a> {
        Means {
            clock,
            update,
            aor,
            location: self,
        }
    }

    fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// What the disk calls a binding stays its name: refreshes in the store's journal bear it.
    fn serial_of(&self, record: &BindingRecord) -> u64 {
        match record.serial {
            0 => self.next_serial(),
            serial => {
                self.reserve_serials(serial);
                serial
            }
        }
    }

    /// Names no new binding by a serial up to `last`: the disk may still know others by them.
    pub fn reserve_serials(&self, last: u64) {
        self.serial
            .fetch_max(last.saturating_add(1), Ordering::Relaxed);
    }

    fn first_update(
        &self,
        clock: Clock,
        update: &Update<'_>,
        table: &mut Table,
        slot: usize,
    ) -> Result<Updated, UpdateError> {
        let aor: Arc<str> = update.aor.into();
        let mut entry = Entry {
            aor: aor.clone(),
            bindings: SmallVec::new(),
            timer: None,
        };
        let found = update::check(&entry.bindings, update)?;
        let updated = self.change(&mut entry, &found, &self.means(clock, update, &aor))?;
        if !entry.bindings.is_empty() {
            table.aors.insert(aor.clone(), entry);
            self.arm(table, &aor, slot);
        }
        Ok(updated)
    }

    /// The hot path; also says whether the timer is now too late.
    fn refresh(
        &self,
        entry: &mut Entry,
        found: &[Option<usize>],
        m: &Means<'_>,
    ) -> Option<(Updated, bool)> {
        let Requested::Contacts([contact]) = m.update.requested else {
            return None;
        };
        let at = found.first().copied().flatten()?;
        let binding = entry.bindings.get_mut(at)?;
        if !update::touch(binding, contact, m) {
            return None;
        }
        let expires_at = binding.expires_at;
        let mut updated = Updated::default();
        updated.records.push(binding.touched(m.clock.anchor));
        updated.bindings.extend(entry.bindings.iter().cloned());
        let is_early = entry.timer.is_none_or(|(_, armed)| expires_at < armed);
        Some((updated, is_early))
    }

    fn change(
        &self,
        entry: &mut Entry,
        found: &[Option<usize>],
        m: &Means<'_>,
    ) -> Result<Updated, UpdateError> {
        let mut updated = Updated::default();
        let before = entry.bindings.len();
        let mut gone: SmallVec<[usize; 4]> = SmallVec::new();
        let mut made: SmallVec<[(Option<usize>, Arc<Binding>); 4]> = SmallVec::new();
        match m.update.requested {
            Requested::Fetch => {}
            Requested::RemoveAll => gone.extend(0..before),
            Requested::Contacts(contacts) => {
                gone = self.make_room(entry, found, contacts)?;
                let was_behind_nat = update::was_behind_nat(&entry.bindings, m.update);
                for (index, contact) in contacts.iter().enumerate() {
                    let at = found.get(index).copied().flatten();
                    if update::is_repeated(contacts, index) {
                        continue;
                    }
                    let contact = &ContactUpdate {
                        behind_nat: contact.behind_nat || was_behind_nat,
                        ..*contact
                    };
                    match (contact.expires, at) {
                        (0, Some(at)) => gone.push(at),
                        (0, None) => {}
                        (_, at) => {
                            let old = at.and_then(|at| entry.bindings.get(at));
                            made.push((at, update::make(contact, old.map(|b| &**b), m)?));
                        }
                    }
                }
            }
        }
        for (at, binding) in made {
            self.place(entry, at, binding, m, &mut updated);
        }
        gone.sort_unstable();
        gone.dedup();
        for at in gone.into_iter().rev() {
            let binding = entry.bindings.remove(at);
            updated.records.push(binding.deleted());
            self.unindex(entry, &binding);
        }
        update::order(&mut entry.bindings);
        self.recount(before, entry.bindings.len());
        updated.bindings.extend(entry.bindings.iter().cloned());
        Ok(updated)
    }

    fn place(
        &self,
        entry: &mut Entry,
        at: Option<usize>,
        binding: Arc<Binding>,
        m: &Means<'_>,
        updated: &mut Updated,
    ) {
        updated.placed.push(binding.clone());
        if binding.wants_pings() {
            self.note_fresh(&binding);
        }
        let record = binding.put(m.clock.anchor);
        if let Some(connection) = binding.flow.connection {
            self.flows.add(connection, &entry.aor);
        }
        match at.and_then(|at| entry.bindings.get_mut(at)) {
            Some(place) => {
                let old = std::mem::replace(place, binding.clone());
                if !old.same_key(&binding) {
                    updated.records.push(old.deleted());
                }
                self.unindex(entry, &old);
            }
            None => entry.bindings.push(binding),
        }
        updated.records.push(record);
    }

    /// Checks the bounds before anything changes. Bindings that cannot be reached any more give way
    /// to new ones: they are returned.
    fn make_room(
        &self,
        entry: &Entry,
        found: &[Option<usize>],
        contacts: &[ContactUpdate<'_>],
    ) -> Result<SmallVec<[usize; 4]>, UpdateError> {
        let before = entry.bindings.len();
        let after = update::count_after(&entry.bindings, found, contacts);
        let limit = self.contacts_per_aor.load(Ordering::Relaxed);
        if after <= before {
            return Ok(SmallVec::new());
        }
        if self.len() + (after - before) > self.contacts.load(Ordering::Relaxed) {
            return Err(UpdateError::Full);
        }
        let excess = after.saturating_sub(limit);
        let useless = entry.bindings.iter().enumerate().filter(|(at, b)| {
            b.reach == Reach::Nowhere && !b.has_path() && !found.contains(&Some(*at))
        });
        let gone: SmallVec<[usize; 4]> = useless.map(|(at, _)| at).take(excess).collect();
        if gone.len() < excess {
            return Err(UpdateError::TooManyContacts);
        }
        Ok(gone)
    }

    fn recount(&self, before: usize, after: usize) {
        if after >= before {
            self.count.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.count.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// `old` left `entry`; forgets its connection unless another binding came over the same.
    fn unindex(&self, entry: &Entry, old: &Binding) {
        if let Some(connection) = old.flow.connection
            && !entry
                .bindings
                .iter()
                .any(|b| b.flow.connection == Some(connection))
        {
            self.flows.remove(connection, &entry.aor);
        }
    }

    /// Sees to it that the timer of `aor` fires no later than its first binding ends; forgets the
    /// address of record when it has none.
    fn arm(&self, table: &mut Table, aor: &str, slot: usize) {
        if let Some(entry) = table.aors.get_mut(aor) {
            match entry.bindings.iter().map(|b| b.expires_at).min() {
                None => {
                    if let Some((timer, _)) = entry.timer {
                        table.timers.cancel(timer);
                    }
                    table.aors.remove(aor);
                }
                Some(first) => {
                    if entry.timer.is_none_or(|(_, armed)| first < armed) {
                        if let Some((timer, _)) = entry.timer {
                            table.timers.cancel(timer);
                        }
                        let timer = table.timers.arm(first, entry.aor.clone());
                        entry.timer = Some((timer, first));
                    }
                }
            }
        }
        let next = table.timers.next().map_or(u64::MAX, Instant::as_nanos);
        if let Some(cell) = self.next.get(slot) {
            cell.store(next, Ordering::SeqCst);
            if next < self.next_of_all.load(Ordering::SeqCst) {
                self.next_of_all.fetch_min(next, Ordering::SeqCst);
            }
        }
    }

    /// When somebody should call [`Location::expire`]. The same for every shard: the one that
    /// armed the timer is awake to see it, whoever comes first does the work.
    pub fn next_expiry(&self) -> Option<Instant> {
        match self.next_of_all.load(Ordering::SeqCst) {
            u64::MAX => None,
            ns => Some(Instant::from_nanos(ns)),
        }
    }

    /// Ends the bindings that are due; the store should delete them.
    pub fn expire(&self, now: Instant) -> Vec<Record> {
        let mut records = Vec::new();
        if self.next_expiry().is_none_or(|at| at > now) {
            return records;
        }
        let mut budget = EXPIRE_BATCH;
        for (slot, next) in self.next.iter().enumerate() {
            if next.load(Ordering::SeqCst) > now.as_nanos() {
                continue;
            }
            let mut table = self.write(slot);
            while budget > 0
                && let Some((_, aor)) = table.timers.pop_due(now)
            {
                budget -= 1;
                if let Some(entry) = table.aors.get_mut(&*aor) {
                    entry.timer = None;
                    self.drop_where(entry, &mut records, |b| b.expires_at <= now);
                }
                self.arm(&mut table, &aor, slot);
            }
        }
        // What others arm from here on lowers the mark again; what they armed before stands in
        // its bucket's cell already.
        self.next_of_all.store(u64::MAX, Ordering::SeqCst);
        for next in &self.next {
            self.next_of_all
                .fetch_min(next.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        records
    }

    /// Bindings behind NAT that are new since the last call, for whoever pings them; each is
    /// handed out once.
    pub fn take_fresh(&self) -> Vec<Arc<Binding>> {
        if !self.has_fresh.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_fresh.store(false, Ordering::Release);
        std::mem::take(&mut *fresh)
    }

    fn note_fresh(&self, binding: &Arc<Binding>) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.len() < FRESH_MAX {
            fresh.push(binding.clone());
            self.has_fresh.store(true, Ordering::Release);
        }
    }

    fn drop_where(
        &self,
        entry: &mut Entry,
        records: &mut Vec<Record>,
        is_gone: impl Fn(&Binding) -> bool,
    ) {
        let before = entry.bindings.len();
        let mut at = 0;
        while let Some(binding) = entry.bindings.get(at) {
            if is_gone(binding) {
                let old = entry.bindings.remove(at);
                records.push(old.deleted());
                self.unindex(entry, &old);
            } else {
                at += 1;
            }
        }
        self.recount(before, entry.bindings.len());
    }

    /// Removes the bindings of `aor` for which `is_gone` holds; the store should delete them.
    pub fn remove_where(&self, aor: &str, is_gone: impl Fn(&Binding) -> bool) -> Vec<Record> {
        let mut records = Vec::new();
        let slot = Self::slot(aor);
        let mut table = self.write(slot);
        if let Some(entry) = table.aors.get_mut(aor) {
            self.drop_where(entry, &mut records, is_gone);
            self.arm(&mut table, aor, slot);
        }
        records
    }

    /// Removes all bindings of `aor`: its user is gone.
    pub fn remove(&self, aor: &str) -> Vec<Record> {
        self.remove_where(aor, |_| true)
    }

    /// Says that the binding of this serial is reached otherwise from now on.
    pub fn set_reach(&self, aor: &str, serial: u64, reach: Reach) {
        let mut table = self.write(Self::slot(aor));
        if let Some(entry) = table.aors.get_mut(aor)
            && let Some(binding) = entry.bindings.iter_mut().find(|b| b.serial == serial)
            && binding.reach != reach
        {
            Arc::make_mut(binding).reach = reach;
        }
    }

    /// A connection ended. Bindings that only it could reach are removed (RFC 5626 §5.3: the flow
    /// failed; the phone comes back with a new one); the others are tried by their contact's
    /// address.
    pub fn connection_closed(&self, connection: ConnectionId) -> Vec<Record> {
        let mut records = Vec::new();
        for aor in self.flows.take(connection) {
            let slot = Self::slot(&aor);
            let mut table = self.write(slot);
            let Some(entry) = table.aors.get_mut(&*aor) else {
                continue;
            };
            let is_over = |b: &Binding| b.flow.connection == Some(connection);
            for binding in entry.bindings.iter_mut().filter(|b| is_over(b)) {
                let reach = binding.reach_without_flow();
                Arc::make_mut(binding).reach = reach;
            }
            self.drop_where(entry, &mut records, |b| {
                is_over(b) && b.reach == Reach::Nowhere && !b.has_path()
            });
            self.arm(&mut table, &aor, slot);
        }
        records
    }

    /// Brings a binding back after a restart. False if it ended meanwhile, is malformed, or there
    /// is no room. Connections did not survive: see [`Reach`].
    pub fn restore(&self, clock: Clock, record: &BindingRecord) -> bool {
        let Some(flow) = restored_flow(record) else {
            return false;
        };
        if record.expires_at_ms <= clock.anchor.unix_ms(clock.now)
            || self.len() >= self.contacts.load(Ordering::Relaxed)
        {
            return false;
        }
        let slot = Self::slot(&record.aor);
        let mut table = self.write(slot);
        let aor: Arc<str> = match table.aors.get(&*record.aor) {
            Some(entry) => entry.aor.clone(),
            None => record.aor.as_ref().into(),
        };
        let Some(binding) = self.restored(clock, record, flow, &aor) else {
            return false;
        };
        let entry = table.aors.entry(aor.clone()).or_insert_with(|| Entry {
            aor: aor.clone(),
            bindings: SmallVec::new(),
            timer: None,
        });
        if entry.bindings.iter().any(|b| b.same_key(&binding)) {
            return false;
        }
        entry.bindings.push(Arc::new(binding));
        update::order(&mut entry.bindings);
        self.recount(0, 1);
        self.arm(&mut table, &aor, slot);
        true
    }

    fn restored(
        &self,
        clock: Clock,
        record: &BindingRecord,
        flow: Flow,
        aor: &Arc<str>,
    ) -> Option<Binding> {
        let parts = Parts {
            aor: aor.clone(),
            user_agent: self.agents.get(&record.user_agent),
            q: record.q,
            reach: reach_at_first(
                &record.contact,
                &flow,
                record.behind_nat || record.reg_id > 0,
            ),
            behind_nat: record.behind_nat,
            restored: true,
            cseq: record.cseq,
            reg_id: record.reg_id,
            serial: self.serial_of(record),
            expires_at: clock.anchor.instant_of(record.expires_at_ms),
            registered_at_ms: record.registered_at_ms,
            flow,
        };
        let texts = Texts {
            contact: &record.contact,
            call_id: &record.call_id,
            instance: &record.instance,
            parameters: &record.parameters,
            path: &record.path.join("\n"),
        };
        let mut binding = Binding::build(parts, texts)?;
        if flow.transport != Transport::Udp {
            binding.reach = binding.reach_without_flow();
        }
        Some(binding)
    }

    /// The bindings behind NAT in `shard`'s buckets that a restart brought back and no REGISTER
    /// refreshed since, ordered.
    pub fn restored_behind_nat(&self, shard: usize, shards: usize) -> Vec<Arc<Binding>> {
        let mut found = Vec::new();
        for slot in (shard..BUCKETS).step_by(shards.max(1)) {
            let table = self.read(slot);
            let all = table.aors.values().flat_map(|e| &e.bindings);
            found.extend(all.filter(|b| b.restored && b.wants_pings()).cloned());
        }
        found.sort_by(|a, b| a.aor.cmp(&b.aor).then(a.serial.cmp(&b.serial)));
        found
    }

    /// Up to `rows` bindings ordered by address of record, of those that contain `filter` and come
    /// behind `after`; addresses of record are not torn apart. Also says whether there are more.
    pub fn list(&self, filter: &str, after: &str, rows: usize) -> (Vec<Arc<Binding>>, bool) {
        let mut names: Vec<Arc<str>> = Vec::new();
        for slot in 0..BUCKETS {
            let table = self.read(slot);
            let wanted = table
                .aors
                .keys()
                .filter(|aor| (after.is_empty() || &***aor > after) && aor.contains(filter));
            names.extend(wanted.cloned());
        }
        names.sort_unstable();
        let mut found = Vec::new();
        for aor in names {
            let bindings = self.lookup(&aor);
            if !found.is_empty() && found.len() + bindings.len() > rows {
                return (found, true);
            }
            found.extend(bindings);
        }
        (found, false)
    }
}

fn has_seen(bindings: &[Arc<Binding>], call_id: &str, cseq: u32) -> bool {
    bindings
        .iter()
        .any(|b| update::is_retransmission(b, call_id, cseq))
}

fn restored_flow(record: &BindingRecord) -> Option<Flow> {
    Some(Flow {
        transport: Transport::from_token(record.transport.as_bytes())?,
        local: record.local.parse().ok()?,
        remote: record.received.parse().ok()?,
        connection: None,
    })
}
