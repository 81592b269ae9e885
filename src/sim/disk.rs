//! A disk that is a little behind: what was written less than [`WRITE_DELAY`] ago is lost when the
//! process dies.

use crate::base::Instant;
use crate::store::{BindingRecord, Cdr, FeatureRecord, MailboxRecord, MessageRecord, Record};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long a record may wait for its batch. The promise is one second; half is used here.
pub const WRITE_DELAY: Duration = Duration::from_millis(500);

/// Tables as rows, and the batch under way.
#[derive(Debug, Default)]
pub struct Disk {
    bindings: BTreeMap<(Box<str>, Box<str>), BindingRecord>,
    cdrs: Vec<Cdr>,
    features: BTreeMap<Box<str>, FeatureRecord>,
    mailboxes: BTreeMap<Box<str>, MailboxRecord>,
    messages: BTreeMap<u64, MessageRecord>,
    waiting: VecDeque<(Instant, Record)>,
}

impl Disk {
    /// Takes a record.
    pub fn write(&mut self, now: Instant, record: Record) {
        self.settle(now);
        self.waiting.push_back((now, record));
    }

    /// What waited long enough is written.
    pub fn settle(&mut self, now: Instant) {
        while let Some((at, _)) = self.waiting.front()
            && now.since(*at) >= WRITE_DELAY
            && let Some((_, record)) = self.waiting.pop_front()
        {
            self.store(record);
        }
    }

    /// Takes a record at once, as a start does before it goes on.
    pub fn write_through(&mut self, record: Record) {
        self.store(record);
    }

    /// What waits is lost.
    pub fn crash(&mut self, now: Instant) {
        self.settle(now);
        self.waiting.clear();
    }

    /// The bindings as a restart finds them.
    pub fn bindings(&self) -> impl Iterator<Item = &BindingRecord> {
        self.bindings.values()
    }

    /// The call features as a restart finds them.
    pub fn features(&self) -> impl Iterator<Item = &FeatureRecord> {
        self.features.values()
    }

    /// The mailboxes as a restart finds them.
    pub fn mailboxes(&self) -> impl Iterator<Item = &MailboxRecord> {
        self.mailboxes.values()
    }

    /// The messages as a restart finds them, the oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &MessageRecord> {
        self.messages.values()
    }

    /// The call detail records, those that wait for their batch included.
    pub fn cdrs(&self) -> impl Iterator<Item = &Cdr> {
        let waiting = self.waiting.iter().filter_map(|(_, record)| match record {
            Record::Cdr(cdr) => Some(&**cdr),
            Record::PutBinding(_)
            | Record::TouchBinding(_)
            | Record::DeleteBinding { .. }
            | Record::PutBan(_)
            | Record::DeleteBan { .. }
            | Record::PutUser(_)
            | Record::DeleteUser { .. }
            | Record::PutFeatures(_)
            | Record::PutMailbox(_)
            | Record::PutMessage(_) => None,
        });
        self.cdrs.iter().chain(waiting)
    }

    fn store(&mut self, record: Record) {
        match record {
            Record::PutBinding(binding) => {
                let key = (binding.aor.clone(), binding.key.clone());
                self.bindings.insert(key, *binding);
            }
            Record::TouchBinding(touch) => {
                let mut all = self.bindings.values_mut();
                if let Some(binding) = all.find(|b| b.serial == touch.serial) {
                    binding.expires_at_ms = touch.expires_at_ms;
                    binding.cseq = touch.cseq;
                }
            }
            Record::DeleteBinding { aor, key } => {
                self.bindings.remove(&(aor, key));
            }
            Record::Cdr(cdr) => self.cdrs.push(*cdr),
            Record::PutBan(_)
            | Record::DeleteBan { .. }
            | Record::PutUser(_)
            | Record::DeleteUser { .. } => {}
            Record::PutFeatures(features) => {
                let older = self.features.get(&features.aor);
                if older.is_none_or(|o| o.revision < features.revision) {
                    self.features.insert(features.aor.clone(), *features);
                }
            }
            Record::PutMailbox(mailbox) => {
                let older = self.mailboxes.get(&mailbox.aor);
                if older.is_none_or(|o| o.revision < mailbox.revision) {
                    self.mailboxes.insert(mailbox.aor.clone(), *mailbox);
                }
            }
            Record::PutMessage(message) => {
                let older = self.messages.get(&message.id);
                if older.is_none_or(|o| o.revision < message.revision) {
                    self.messages.insert(message.id, *message);
                }
            }
        }
    }
}
