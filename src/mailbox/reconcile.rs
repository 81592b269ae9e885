//! What a start makes of rows and files, whichever of them a crash left alone.
//!
//! | row | file | becomes |
//! | --- | --- | --- |
//! | recording | long enough | new: its caller spoke, and nobody asked to throw it away |
//! | recording | too short, or none | gone |
//! | new, saved | there | as it is |
//! | new, saved | none | gone; kept where there is no file at all: the spool is missing |
//! | deleted | | gone: its owner can want it back only before hanging up |
//! | gone | there | the file goes |
//! | none | a message, long enough | new, of an unknown caller |
//! | none | too short, or a greeting not taken over | the file goes |

use super::files::{FileName, folder_of};
use crate::store::{EmailCopy, Folder, Mailbox, MailboxRecord, MessageRecord, Record};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A file below the spool, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Below the spool.
    pub path: Box<str>,
    /// How long its sound is.
    pub ms: u32,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: u64,
}

/// What a start works with.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sorted {
    /// For [`super::Mailboxes::load`].
    pub mailboxes: Vec<MailboxRecord>,
    /// For [`super::Mailboxes::load`].
    pub messages: Vec<MessageRecord>,
    /// To be kept, before anything else is.
    pub records: Vec<Record>,
    /// Files that go, once the records are kept.
    pub remove: Vec<Box<str>>,
    /// Messages that a crash cut short, or whose row it lost.
    pub salvaged: usize,
    /// Messages whose sound is not there any more.
    pub lost: usize,
}

/// Brings rows and files together. `users` are the addresses of record of all users; what belongs
/// to none of them stays where it is. Of messages that their callers had not accepted, those of
/// less than `message_ms_min` go.
pub fn reconcile<'u>(
    mailboxes: Vec<MailboxRecord>,
    messages: Vec<MessageRecord>,
    found: Vec<Found>,
    users: impl Iterator<Item = &'u str>,
    message_ms_min: u32,
) -> Sorted {
    let revisions = mailboxes.iter().map(|m| m.revision);
    let revisions = revisions.chain(messages.iter().map(|m| m.revision));
    let mut work = Work {
        revision: revisions.max().unwrap_or(0),
        has_files: !found.is_empty(),
        files: found.into_iter().map(|f| (f.path.clone(), f)).collect(),
        message_ms_min,
        copied: with_copies(&mailboxes),
        sorted: Sorted::default(),
    };
    let owners: HashMap<String, &str> = users.map(|aor| (folder_of(aor), aor)).collect();
    let mut mailboxes: BTreeMap<Box<str>, MailboxRecord> =
        mailboxes.into_iter().map(|m| (m.aor.clone(), m)).collect();
    for message in messages {
        work.row(message);
    }
    work.leftovers(&owners, &mut mailboxes);
    work.sorted.messages.sort_by_key(|m| m.id);
    work.sorted.mailboxes = mailboxes.into_values().collect();
    work.sorted
}

struct Work {
    revision: u64,
    has_files: bool,
    files: BTreeMap<Box<str>, Found>,
    message_ms_min: u32,
    /// Mailboxes of whose messages copies are sent.
    copied: HashSet<Box<str>>,
    sorted: Sorted,
}

fn with_copies(mailboxes: &[MailboxRecord]) -> HashSet<Box<str>> {
    let wanted = mailboxes.iter().filter(|m| !m.mailbox.email.is_empty());
    wanted.map(|m| m.aor.clone()).collect()
}

impl Work {
    fn row(&mut self, message: MessageRecord) {
        let file = self.files.remove(&message.file);
        match (message.folder, file) {
            (Folder::New | Folder::Saved, Some(_)) => self.sorted.messages.push(message),
            (Folder::New | Folder::Saved, None) if !self.has_files => {
                self.sorted.messages.push(message);
            }
            (Folder::New | Folder::Saved, None) => {
                self.sorted.lost += 1;
                self.put(message, Folder::Gone, 0);
            }
            (Folder::Recording, Some(file)) if file.ms >= self.message_ms_min => {
                self.sorted.salvaged += 1;
                self.put(message, Folder::New, file.ms);
            }
            (Folder::Gone, file) => {
                self.sorted.remove.extend(file.map(|f| f.path));
                // Its number is taken as long as its row is there.
                self.sorted.messages.push(message);
            }
            (Folder::Recording | Folder::Deleted, file) => {
                self.sorted.remove.extend(file.map(|f| f.path));
                self.put(message, Folder::Gone, 0);
            }
        }
    }

    fn put(&mut self, mut message: MessageRecord, folder: Folder, duration_ms: u32) {
        self.revision += 1;
        message.folder = folder;
        message.revision = self.revision;
        // Its copy was to be asked for with the caller's word.
        if folder == Folder::New && self.copied.contains(&message.mailbox) {
            message.email = EmailCopy::Waiting;
        }
        if duration_ms > 0 {
            message.duration_ms = duration_ms;
        }
        let record = Record::PutMessage(Box::new(message.clone()));
        self.sorted.records.push(record);
        self.sorted.messages.push(message);
    }

    /// Files without a row, and greetings, whose row is their mailbox.
    fn leftovers(
        &mut self,
        owners: &HashMap<String, &str>,
        mailboxes: &mut BTreeMap<Box<str>, MailboxRecord>,
    ) {
        let mut greetings: BTreeMap<&str, Mailbox> = BTreeMap::new();
        for file in std::mem::take(&mut self.files).into_values() {
            let Some((folder, name)) = file.path.rsplit_once('/') else {
                continue;
            };
            let Some(owner) = owners.get(folder).copied() else {
                continue;
            };
            match FileName::of(name) {
                FileName::Message(id) if file.ms >= self.message_ms_min => {
                    self.sorted.salvaged += 1;
                    self.adopt(owner, id, &file);
                }
                FileName::Message(_) | FileName::Take => self.sorted.remove.push(file.path),
                FileName::Greeting(greeting) => {
                    let seen = greetings.entry(owner).or_default();
                    seen.greetings = seen.greetings.with(greeting, true);
                }
                FileName::Other => {}
            }
        }
        if !self.has_files {
            return;
        }
        for aor in greetings.keys() {
            mailboxes.entry((*aor).into()).or_insert(MailboxRecord {
                aor: (*aor).into(),
                mailbox: Mailbox::default(),
                revision: 0,
            });
        }
        for (aor, record) in mailboxes {
            let recorded = greetings
                .get(&**aor)
                .map_or_else(Default::default, |m| m.greetings);
            if record.mailbox.greetings != recorded {
                self.revision += 1;
                record.mailbox.greetings = recorded;
                record.revision = self.revision;
                let record = Record::PutMailbox(Box::new(record.clone()));
                self.sorted.records.push(record);
            }
        }
    }

    fn adopt(&mut self, owner: &str, id: u64, file: &Found) {
        let message = MessageRecord {
            id,
            mailbox: owner.into(),
            folder: Folder::New,
            file: file.path.clone(),
            number: "".into(),
            name: "".into(),
            received_ms: file.modified_ms,
            duration_ms: file.ms,
            email: EmailCopy::No,
            revision: 0,
        };
        self.put(message, Folder::New, file.ms);
    }
}
