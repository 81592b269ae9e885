//! Records on their way to the disk: of each binding, ban and user only the newest.

use crate::store::Record;
use std::collections::HashMap;
use std::net::IpAddr;

/// Most records that wait, and as many more while a batch is being tried; what comes after is lost
/// and counted. Some 200 MB.
pub const PENDING_MAX: usize = 300_000;

/// What a record is about; records about the same thing replace each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Subject {
    Binding(Box<str>, Box<str>),
    Ban(IpAddr),
    User(Box<str>, Box<str>),
}

fn subject(record: &Record) -> Option<Subject> {
    match record {
        Record::PutBinding(b) => Some(Subject::Binding(b.aor.clone(), b.key.clone())),
        Record::TouchBinding { aor, key, .. } => {
            Some(Subject::Binding(aor.as_ref().into(), key.clone()))
        }
        Record::DeleteBinding { aor, key } => Some(Subject::Binding(aor.clone(), key.clone())),
        Record::Cdr(_) => None,
        Record::PutBan(ban) => Some(Subject::Ban(ban.source)),
        Record::DeleteBan(source) => Some(Subject::Ban(*source)),
        Record::PutUser(u) => Some(Subject::User(u.username.clone(), u.domain.clone())),
        Record::DeleteUser { username, domain } => {
            Some(Subject::User(username.clone(), domain.clone()))
        }
    }
}

/// The newer record takes the older one's place; a refresh goes into a whole binding that waits.
fn replace(old: &mut Record, new: Record) {
    match (old, new) {
        (
            Record::PutBinding(binding),
            Record::TouchBinding {
                expires_at_ms,
                cseq,
                ..
            },
        ) => {
            binding.expires_at_ms = expires_at_ms;
            binding.cseq = cseq;
        }
        (old, new) => *old = new,
    }
}

/// In the order of first mention; at most `limit`.
#[derive(Debug, Default)]
pub(super) struct Pending {
    records: Vec<Record>,
    places: HashMap<Subject, usize>,
}

impl Pending {
    /// Adds a record, or puts it in the place of an older one about the same. False if it is full.
    pub(super) fn push(&mut self, record: Record, limit: usize) -> bool {
        let subject = subject(&record);
        if let Some(place) = subject.as_ref().and_then(|s| self.places.get(s))
            && let Some(old) = self.records.get_mut(*place)
        {
            replace(old, record);
            return true;
        }
        if self.records.len() >= limit {
            return false;
        }
        if let Some(subject) = subject {
            self.places.insert(subject, self.records.len());
        }
        self.records.push(record);
        true
    }

    /// Adds what came later. Says how many were lost because it is full.
    pub(super) fn absorb(&mut self, newer: Pending, limit: usize) -> u64 {
        let mut lost = 0;
        for record in newer.records {
            lost += u64::from(!self.push(record, limit));
        }
        lost
    }

    /// Forgets the first `count`, which are on the disk.
    pub(super) fn forget_first(&mut self, count: usize) {
        let rest = self.records.split_off(count.min(self.records.len()));
        *self = Self::default();
        for record in rest {
            self.push(record, usize::MAX);
        }
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}
