//! Records on their way to the disk: of each binding, ban, user, user's features, mailbox and
//! message only the newest.

use crate::base::hash64;
use crate::store::{Record, Touch};
use std::collections::HashMap;

/// Most records that wait, and as many more while a batch is being tried; what comes after is lost
/// and counted. Some 200 MB.
pub const PENDING_MAX: usize = 300_000;

/// What a record is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'r> {
    Binding(&'r str, &'r str),
    Ban(std::net::IpAddr, Option<&'r str>),
    User(&'r str, &'r str),
    Features(&'r str),
    Mailbox(&'r str),
    Message(u64),
    /// Nothing that another record could be about.
    Own,
}

impl Subject<'_> {
    fn hash(&self) -> u64 {
        match self {
            Subject::Binding(aor, key) => hash64(aor.as_bytes()) ^ hash64(key.as_bytes()),
            Subject::Ban(source, user) => {
                hash64(source.to_string().as_bytes()) ^ hash64(user.unwrap_or_default().as_bytes())
            }
            Subject::User(name, domain) => hash64(name.as_bytes()) ^ hash64(domain.as_bytes()),
            Subject::Features(aor) | Subject::Mailbox(aor) => hash64(aor.as_bytes()),
            Subject::Message(id) => hash64(&id.to_le_bytes()),
            Subject::Own => 0,
        }
    }
}

fn subject(record: &Record) -> Subject<'_> {
    match record {
        Record::PutBinding(b) => Subject::Binding(&b.aor, &b.key),
        Record::DeleteBinding { aor, key } => Subject::Binding(aor, key),
        // Of itself, since it goes to the journal.
        Record::TouchBinding(_) | Record::Cdr(_) => Subject::Own,
        Record::PutBan(ban) => Subject::Ban(ban.source, ban.user.as_deref()),
        Record::DeleteBan { source, user } => Subject::Ban(*source, user.as_deref()),
        Record::PutUser(u) => Subject::User(&u.username, &u.domain),
        Record::DeleteUser { username, domain } => Subject::User(username, domain),
        Record::PutFeatures(f) => Subject::Features(&f.aor),
        Record::PutMailbox(m) => Subject::Mailbox(&m.aor),
        Record::PutMessage(m) => Subject::Message(m.id),
    }
}

/// Whether two shards' changes of one user's features came in the other order than they were made.
fn outdated(record: &Record, older: &Record) -> bool {
    match (record, older) {
        (Record::PutFeatures(record), Record::PutFeatures(older)) => {
            record.revision < older.revision
        }
        (Record::PutMailbox(record), Record::PutMailbox(older)) => record.revision < older.revision,
        (Record::PutMessage(record), Record::PutMessage(older)) => record.revision < older.revision,
        _ => false,
    }
}

/// In the order of first mention; at most `limit`, and as many touches. Two subjects of one hash
/// are merely not merged: the records are carried out in order.
#[derive(Debug, Default)]
pub(super) struct Pending {
    records: Vec<Record>,
    touches: Vec<Touch>,
    places: HashMap<u64, usize>,
}

impl Pending {
    /// Adds a record, or merges it with an older one about the same. False if it is full.
    pub(super) fn push(&mut self, record: Record, limit: usize) -> bool {
        if let Record::TouchBinding(touch) = record {
            let room = self.touches.len() < limit;
            if room {
                self.touches.push(touch);
            }
            return room;
        }
        let about = subject(&record);
        let hash = about.hash();
        if about != Subject::Own
            && let Some(older) = self.places.get(&hash)
            && let Some(older) = self.records.get_mut(*older)
            && subject(older) == about
        {
            if !outdated(&record, older) {
                *older = record;
            }
            return true;
        }
        if self.records.len() >= limit {
            return false;
        }
        if about != Subject::Own {
            self.places.insert(hash, self.records.len());
        }
        self.records.push(record);
        true
    }

    /// Adds what came later. Says how many were lost because it is full.
    pub(super) fn absorb(&mut self, newer: Pending, limit: usize) -> u64 {
        if self.is_empty() {
            *self = newer;
            return 0;
        }
        let room = limit.saturating_sub(self.touches.len());
        let mut lost = newer.touches.len().saturating_sub(room) as u64;
        self.touches.extend(newer.touches.into_iter().take(room));
        for record in newer.records {
            lost += u64::from(!self.push(record, limit));
        }
        lost
    }

    /// Puts the records in the order of the tables' keys, so that neighbours meet on one page.
    /// Those about the same stay in their order.
    pub(super) fn sort(&mut self) {
        self.records.sort_by(|a, b| subject(a).cmp(&subject(b)));
        self.places.clear();
        for (place, record) in self.records.iter().enumerate() {
            let about = subject(record);
            if about != Subject::Own {
                self.places.insert(about.hash(), place);
            }
        }
    }

    /// Forgets the first `count`, which are on the disk.
    pub(super) fn forget_first(&mut self, count: usize) {
        let rest = self.records.split_off(count.min(self.records.len()));
        self.records.clear();
        self.places.clear();
        for record in rest {
            self.push(record, usize::MAX);
        }
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Refreshes, in their order.
    pub(super) fn touches(&self) -> &[Touch] {
        &self.touches
    }

    /// Forgets the refreshes, which are on the disk.
    pub(super) fn forget_touches(&mut self) {
        self.touches.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.records.len() + self.touches.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
