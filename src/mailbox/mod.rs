//! F3: mailboxes, up to the decision: whose messages there are and where they lie, who may hear
//! them, and what a start makes of what a crash left behind.
//!
//! Every user has a mailbox without being given one. The index is in memory and shared by all
//! shards, behind a lock of its own; each change gives the records that are to be kept. Sound lies
//! in files below the spool, which only the media side writes: what is to be done with files waits
//! here as [`Errand`]s for any shard to pass on, and so does whose lamp is to be set
//! ([`Mailboxes::take_changes`]).
//!
//! A message has a row before it has a file: `recording` is written when its caller begins to
//! speak, and becomes `new` once the sound is whole on the disk and the caller is content. What a
//! crash interrupts is found by [`reconcile`]: what was said is kept, and nothing is half there.
//!
//! Not done here: recording, playing, prompts, SIP, the disk.

mod files;
mod pin;
mod reconcile;
#[cfg(test)]
mod tests;

pub use files::{FileName, MAIL_FOLDER, folder_of, greeting_file, take_of_greeting};
pub use pin::{Limits, Opening, WAIT_MAX};
pub use reconcile::{Found, Sorted, reconcile};

use crate::store::{
    EmailCopy, Folder, Greeting, Mailbox, MailboxRecord, MessageRecord, Record, USERS_MAX,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most messages of one mailbox, whatever is configured.
pub const BOX_MESSAGES_MAX: u32 = 1_000;
/// Most messages of all mailboxes together; some 300 MB.
pub const MESSAGES_MAX: usize = 1_000_000;
/// Most callers that speak to one mailbox at a time.
pub const RECORDINGS_MAX: usize = 16;
/// Most phones of one mailbox that are known to have asked to be told, in all shards; more are
/// told, and told unasked besides.
pub const SUBSCRIBERS_MAX: usize = 1_000;
/// Most files that wait to be removed; what is left lying is found by the next start.
pub const ERRANDS_MAX: usize = 100_000;
/// Most copies by e-mail that wait; of more, messages go without.
pub const COPIES_MAX: usize = 10_000;
/// Longest number and name of a caller that are kept, in bytes.
pub const CALLER_BYTES_MAX: usize = 128;

/// Why no message can be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRoom {
    /// The mailbox has as many as it may.
    Quota,
    /// Too many speak to it at once.
    Busy,
    /// All mailboxes together have as many as there may be.
    Index,
}

/// How many messages of each kind a mailbox has; what is being recorded or deleted does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Not heard.
    pub new: u32,
    /// Heard.
    pub saved: u32,
}

/// Something to be done with a file below the spool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Errand {
    /// It goes; that it is not there is no mistake.
    Remove(Box<str>),
    /// The first takes the place of the second.
    Rename(Box<str>, Box<str>),
}

/// A phone that asked to be told of a mailbox (RFC 3842), by what it can be known again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscriber {
    /// Where its last SUBSCRIBE came from.
    pub remote: SocketAddr,
    /// The URI of its Contact.
    pub target: Box<[u8]>,
    /// Whether others stand in between, so that `remote` is one of theirs.
    pub routed: bool,
}

/// One mailbox with its messages.
#[derive(Debug, Default)]
struct Kept {
    mailbox: Mailbox,
    /// The oldest first.
    messages: Vec<MessageRecord>,
    /// Phones that asked to be told, in all shards: one for each subscription.
    subscribers: Vec<Subscriber>,
}

impl Kept {
    fn count(&self, folder: Folder) -> usize {
        self.messages.iter().filter(|m| m.folder == folder).count()
    }

    fn counts(&self) -> Counts {
        let count = |folder| u32::try_from(self.count(folder)).unwrap_or(u32::MAX);
        Counts {
            new: count(Folder::New),
            saved: count(Folder::Saved),
        }
    }

    fn is_idle(&self) -> bool {
        self.mailbox == Mailbox::default()
            && self.messages.is_empty()
            && self.subscribers.is_empty()
    }
}

#[derive(Debug, Default)]
struct State {
    /// Those of which anything is known.
    kept: HashMap<Box<str>, Kept>,
    messages: usize,
    /// Mailboxes with an address for copies.
    addresses: usize,
    revision: u64,
    id_max: u64,
    /// Whose counts changed since somebody looked; each once.
    changed: BTreeSet<Arc<str>>,
    errands: VecDeque<Errand>,
    /// Messages whose copies are to be sent, with their mailboxes.
    copies: BTreeMap<u64, Box<str>>,
}

/// All mailboxes, shared by all shards.
#[derive(Debug, Default)]
pub struct Mailboxes {
    state: Mutex<State>,
    /// Whether changes or errands wait, so that a shard that looks touches no lock.
    stirred: AtomicBool,
    /// Of how many mailboxes anything is known, so that calls and registrations of a system that
    /// uses none touch no lock.
    known: AtomicUsize,
    /// Wrong PINs of those that no PIN opens.
    hollow: pin::Hollow,
    /// When the log was told last that there is no room, in milliseconds since 1970.
    told_ms: AtomicU64,
}

/// The state under its lock; what is told without the lock holds again once this is dropped.
struct Held<'a> {
    state: MutexGuard<'a, State>,
    known: &'a AtomicUsize,
}

impl Deref for Held<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.known.store(self.state.kept.len(), Ordering::Release);
    }
}

impl Mailboxes {
    /// Empty ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// Brings back what a start found; see [`reconcile`].
    pub fn load(&self, mailboxes: Vec<MailboxRecord>, messages: Vec<MessageRecord>) {
        let mut state = self.lock();
        for record in mailboxes {
            state.revision = state.revision.max(record.revision);
            if state.kept.len() < USERS_MAX && record.mailbox != Mailbox::default() {
                state.addresses += usize::from(!record.mailbox.email.is_empty());
                state.kept.entry(record.aor).or_default().mailbox = record.mailbox;
            }
        }
        for record in messages {
            state.revision = state.revision.max(record.revision);
            state.id_max = state.id_max.max(record.id);
            let room = state.messages < MESSAGES_MAX && record.folder != Folder::Gone;
            if room {
                state.messages += 1;
                if record.email == EmailCopy::Waiting {
                    state.await_copy(record.id, &record.mailbox);
                }
                let kept = state.kept.entry(record.mailbox.clone()).or_default();
                kept.messages.push(record);
            }
        }
    }

    /// What is set of a user's mailbox.
    pub fn mailbox(&self, aor: &str) -> Mailbox {
        let state = self.lock();
        let kept = state.kept.get(aor);
        kept.map_or_else(Mailbox::default, |kept| kept.mailbox.clone())
    }

    /// Whether calls to the user fall to the mailbox; `by_default` where nobody said so of this
    /// one.
    pub fn takes_calls(&self, aor: &str, by_default: bool) -> bool {
        if self.is_unused() {
            return by_default;
        }
        let state = self.lock();
        let own = state.kept.get(aor).and_then(|kept| kept.mailbox.enabled);
        own.unwrap_or(by_default)
    }

    /// Changes what is set of a user's mailbox. The record is to be kept; `None` if there are as
    /// many users as there may be.
    pub fn update(&self, aor: &str, change: impl FnOnce(&mut Mailbox)) -> Option<Record> {
        let mut state = self.lock();
        if !state.kept.contains_key(aor) && state.kept.len() >= USERS_MAX {
            return None;
        }
        let revision = state.next_revision();
        let kept = state.kept.entry(aor.into()).or_default();
        let before = usize::from(!kept.mailbox.email.is_empty());
        change(&mut kept.mailbox);
        let after = usize::from(!kept.mailbox.email.is_empty());
        state.addresses = (state.addresses + after).saturating_sub(before);
        let kept = state.kept.entry(aor.into()).or_default();
        let record = Record::PutMailbox(Box::new(MailboxRecord {
            aor: aor.into(),
            mailbox: kept.mailbox.clone(),
            revision,
        }));
        state.forget_idle(aor);
        Some(record)
    }

    /// How many messages there are.
    pub fn counts(&self, aor: &str) -> Counts {
        if self.is_unused() {
            return Counts::default();
        }
        let state = self.lock();
        state
            .kept
            .get(aor)
            .map_or_else(Counts::default, Kept::counts)
    }

    /// The messages that the owner may hear, those of one folder, the oldest first.
    pub fn messages(&self, aor: &str, folder: Folder) -> Vec<MessageRecord> {
        let state = self.lock();
        let all = state.kept.get(aor).map(|kept| kept.messages.iter());
        let some = all.into_iter().flatten().filter(|m| m.folder == folder);
        some.cloned().collect()
    }

    /// One message, if it is still there.
    pub fn message(&self, aor: &str, id: u64) -> Option<MessageRecord> {
        let state = self.lock();
        let messages = &state.kept.get(aor)?.messages;
        messages.iter().find(|m| m.id == id).cloned()
    }

    /// Whether the log is to be told once more that there is no room: once a minute.
    pub fn tells_of_no_room(&self, now_ms: u64) -> bool {
        let told = self.told_ms.load(Ordering::Relaxed);
        let due = now_ms.abs_diff(told) >= 60_000;
        due && {
            let now = Ordering::Relaxed;
            self.told_ms
                .compare_exchange(told, now_ms, now, now)
                .is_ok()
        }
    }

    /// Whether a message could be taken now.
    pub fn room(&self, aor: &str, messages_max: u32) -> Result<(), NoRoom> {
        self.lock().room(aor, messages_max)
    }

    /// Somebody begins to speak: a message of folder [`Folder::Recording`], whose record is to be
    /// kept before its file is begun. `messages_max` holds where the mailbox says nothing.
    pub fn begin(
        &self,
        aor: &str,
        (number, name): (&str, &str),
        received_ms: u64,
        messages_max: u32,
    ) -> Result<MessageRecord, NoRoom> {
        let mut state = self.lock();
        state.room(aor, messages_max)?;
        state.id_max += 1;
        let id = state.id_max;
        let record = MessageRecord {
            id,
            mailbox: aor.into(),
            folder: Folder::Recording,
            file: FileName::of_message(aor, id).into(),
            number: cut(number).into(),
            name: cut(name).into(),
            received_ms,
            duration_ms: 0,
            email: EmailCopy::No,
            revision: state.next_revision(),
        };
        state.messages += 1;
        let kept = state.kept.entry(aor.into()).or_default();
        kept.messages.push(record.clone());
        Ok(record)
    }

    /// The caller is content with what was recorded: it is new. The record is to be kept.
    pub fn keep(&self, aor: &str, id: u64, duration_ms: u32) -> Option<Record> {
        self.keep_and(aor, id, duration_ms, false)
    }

    /// The same, and with the same word its copy by e-mail is to be sent, where the mailbox has an
    /// address: for a system that has a server for it.
    pub fn keep_and_send(&self, aor: &str, id: u64, duration_ms: u32) -> Option<Record> {
        self.keep_and(aor, id, duration_ms, true)
    }

    fn keep_and(&self, aor: &str, id: u64, duration_ms: u32, sends: bool) -> Option<Record> {
        let wanted = sends && !self.mailbox(aor).email.is_empty();
        let email = match wanted && self.lock().await_copy(id, aor) {
            true => EmailCopy::Waiting,
            false if wanted => EmailCopy::Failed,
            false => EmailCopy::No,
        };
        self.change(aor, id, |message| {
            message.folder = Folder::New;
            message.duration_ms = duration_ms;
            message.email = email;
        })
    }

    /// The oldest message whose copy is to be sent and that is `due`. One that its owner deleted
    /// waits until that is final or taken back.
    pub fn next_copy(&self, due: impl Fn(u64) -> bool) -> Option<MessageRecord> {
        let state = self.lock();
        let waiting = state.copies.iter().filter(|(id, _)| due(**id));
        let mut there = waiting.filter_map(|(id, aor)| {
            let messages = &state.kept.get(aor)?.messages;
            messages.iter().find(|m| m.id == *id)
        });
        let heard = |m: &&MessageRecord| matches!(m.folder, Folder::New | Folder::Saved);
        there.find(heard).cloned()
    }

    /// How many mailboxes have an address for copies.
    pub fn addresses(&self) -> usize {
        self.lock().addresses
    }

    /// How many copies wait.
    pub fn copies_waiting(&self) -> usize {
        self.lock().copies.len()
    }

    /// What became of a copy. The record is to be kept; `None` if the message is gone.
    pub fn copied(&self, aor: &str, id: u64, outcome: EmailCopy) -> Option<Record> {
        self.lock().copies.remove(&id);
        self.change(aor, id, |message| message.email = outcome)
    }

    /// The owner moves a message. The record is to be kept.
    pub fn put(&self, aor: &str, id: u64, folder: Folder) -> Option<Record> {
        self.change(aor, id, |message| message.folder = folder)
    }

    /// A message goes, with its file. The record is to be kept.
    pub fn remove(&self, aor: &str, id: u64) -> Option<Record> {
        let mut state = self.lock();
        let record = state.remove(aor, id);
        state.forget_idle(aor);
        self.stir(&state);
        record
    }

    /// What the owner deleted goes, with its files. The records are to be kept.
    pub fn expunge(&self, aor: &str) -> Vec<Record> {
        let mut state = self.lock();
        let deleted = state.ids(aor, |m| m.folder == Folder::Deleted);
        let removed = deleted.into_iter().filter_map(|id| state.remove(aor, id));
        let records = removed.collect();
        state.forget_idle(aor);
        self.stir(&state);
        records
    }

    /// A user is deleted, and the mailbox with all that is in it. The records are to be kept.
    pub fn forget(&self, aor: &str) -> Vec<Record> {
        let mut state = self.lock();
        let all = state.ids(aor, |_| true);
        let removed = all.into_iter().filter_map(|id| state.remove(aor, id));
        let mut records: Vec<Record> = removed.collect();
        let revision = state.next_revision();
        let (mut recorded, mut mailed) = (None, false);
        if let Some(kept) = state.kept.get_mut(aor) {
            let mailbox = std::mem::take(&mut kept.mailbox);
            recorded = Some(mailbox.greetings);
            mailed = !mailbox.email.is_empty();
            records.push(Record::PutMailbox(Box::new(MailboxRecord {
                aor: aor.into(),
                mailbox: Mailbox::default(),
                revision,
            })));
        }
        state.addresses = state.addresses.saturating_sub(mailed.into());
        let greetings = Greeting::ALL.into_iter();
        for greeting in greetings.filter(|g| recorded.is_some_and(|r| r.has(*g))) {
            state.errand(Errand::Remove(greeting_file(aor, greeting)));
        }
        state.forget_idle(aor);
        self.stir(&state);
        records
    }

    /// A greeting was recorded into [`take_of_greeting`], and its owner is content. The record is
    /// to be kept.
    pub fn set_greeting(&self, aor: &str, greeting: Greeting) -> Option<Record> {
        let record = self.update(aor, |m| m.greetings = m.greetings.with(greeting, true))?;
        let (from, to) = (
            take_of_greeting(aor, greeting),
            greeting_file(aor, greeting),
        );
        self.run(Errand::Rename(from, to));
        Some(record)
    }

    /// The spoken greeting again, in place of a recorded one. The record is to be kept.
    pub fn reset_greeting(&self, aor: &str, greeting: Greeting) -> Option<Record> {
        let record = self.update(aor, |m| m.greetings = m.greetings.with(greeting, false))?;
        self.run(Errand::Remove(greeting_file(aor, greeting)));
        Some(record)
    }

    /// Its phones are to be told what there is: a start found more than they know of.
    pub fn tell(&self, aor: &str) {
        let mut state = self.lock();
        state.changed.insert(aor.into());
        self.stir(&state);
    }

    /// Something is to be done with a file.
    pub fn run(&self, errand: Errand) {
        let mut state = self.lock();
        state.errand(errand);
        self.stir(&state);
    }

    /// A phone asked to be told of a mailbox.
    pub fn subscribed(&self, aor: &str, phone: Subscriber) {
        let mut state = self.lock();
        if state.kept.len() < USERS_MAX || state.kept.contains_key(aor) {
            let kept = state.kept.entry(aor.into()).or_default();
            if kept.subscribers.len() < SUBSCRIBERS_MAX {
                kept.subscribers.push(phone);
            }
        }
    }

    /// A phone that [`Mailboxes::subscribed`] is told by that subscription no more.
    pub fn unsubscribed(&self, aor: &str, phone: &Subscriber) {
        let mut state = self.lock();
        if let Some(kept) = state.kept.get_mut(aor)
            && let Some(at) = kept.subscribers.iter().position(|known| known == phone)
        {
            kept.subscribers.swap_remove(at);
        }
        state.forget_idle(aor);
    }

    /// The phones that asked to be told of a mailbox, in no order.
    pub fn subscribers(&self, aor: &str) -> Vec<Subscriber> {
        let state = self.lock();
        let kept = state.kept.get(aor);
        kept.map(|kept| kept.subscribers.clone())
            .unwrap_or_default()
    }

    /// Whether there is anything to take by [`Mailboxes::take_changes`] or
    /// [`Mailboxes::take_errands`]. Touches no lock.
    pub fn is_stirred(&self) -> bool {
        self.stirred.load(Ordering::Acquire)
    }

    /// Whose counts changed, and what is to be done with files, since the last time.
    pub fn take_work(&self) -> (Vec<Arc<str>>, Vec<Errand>) {
        let mut state = self.lock();
        let changed = std::mem::take(&mut state.changed).into_iter().collect();
        let errands = std::mem::take(&mut state.errands).into();
        self.stirred.store(false, Ordering::Release);
        (changed, errands)
    }

    /// How many messages all mailboxes have.
    pub fn len(&self) -> usize {
        self.lock().messages
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn change(&self, aor: &str, id: u64, how: impl FnOnce(&mut MessageRecord)) -> Option<Record> {
        let mut state = self.lock();
        let revision = state.revision + 1;
        let kept = state.kept.get_mut(aor)?;
        let before = kept.counts();
        let message = kept.messages.iter_mut().find(|m| m.id == id)?;
        how(message);
        message.revision = revision;
        let record = Record::PutMessage(Box::new(message.clone()));
        let changed = kept.counts() != before;
        state.revision = revision;
        if changed {
            state.changed.insert(aor.into());
        }
        self.stir(&state);
        Some(record)
    }

    /// Under the lock, so that nobody is told before what he is told of is there.
    fn stir(&self, state: &State) {
        if !state.changed.is_empty() || !state.errands.is_empty() {
            self.stirred.store(true, Ordering::Release);
        }
    }

    fn lock(&self) -> Held<'_> {
        Held {
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner),
            known: &self.known,
        }
    }

    fn is_unused(&self) -> bool {
        self.known.load(Ordering::Acquire) == 0
    }
}

impl State {
    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn room(&self, aor: &str, messages_max: u32) -> Result<(), NoRoom> {
        if self.messages >= MESSAGES_MAX {
            return Err(NoRoom::Index);
        }
        let Some(kept) = self.kept.get(aor) else {
            return match messages_max {
                0 => Err(NoRoom::Quota),
                _ if self.kept.len() >= USERS_MAX => Err(NoRoom::Index),
                _ => Ok(()),
            };
        };
        let most = kept.mailbox.messages_max.unwrap_or(messages_max);
        let most = usize::try_from(most.min(BOX_MESSAGES_MAX)).unwrap_or(usize::MAX);
        if kept.messages.len() >= most {
            return Err(NoRoom::Quota);
        }
        match kept.count(Folder::Recording) >= RECORDINGS_MAX {
            true => Err(NoRoom::Busy),
            false => Ok(()),
        }
    }

    fn ids(&self, aor: &str, wanted: impl Fn(&MessageRecord) -> bool) -> Vec<u64> {
        let messages = self.kept.get(aor).map(|kept| kept.messages.iter());
        let wanted = messages.into_iter().flatten().filter(|m| wanted(m));
        wanted.map(|m| m.id).collect()
    }

    fn remove(&mut self, aor: &str, id: u64) -> Option<Record> {
        let revision = self.next_revision();
        let kept = self.kept.get_mut(aor)?;
        let before = kept.counts();
        let at = kept.messages.iter().position(|m| m.id == id)?;
        let mut message = kept.messages.remove(at);
        let changed = kept.counts() != before;
        self.messages = self.messages.saturating_sub(1);
        if changed {
            self.changed.insert(aor.into());
        }
        message.folder = Folder::Gone;
        message.revision = revision;
        self.copies.remove(&id);
        self.errand(Errand::Remove(message.file.clone()));
        Some(Record::PutMessage(Box::new(message)))
    }

    /// Whether there is room for one more.
    fn await_copy(&mut self, id: u64, aor: &str) -> bool {
        let room = self.copies.len() < COPIES_MAX;
        if room {
            self.copies.insert(id, aor.into());
        }
        room
    }

    fn errand(&mut self, errand: Errand) {
        if self.errands.len() < ERRANDS_MAX {
            self.errands.push_back(errand);
        }
    }

    fn forget_idle(&mut self, aor: &str) {
        if self.kept.get(aor).is_some_and(Kept::is_idle) {
            self.kept.remove(aor);
        }
    }
}

/// What fits of what a stranger calls itself, without what no display shows.
fn cut(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).collect();
    while shown.len() > CALLER_BYTES_MAX {
        shown.pop();
    }
    shown
}
