//! Voicemail's index and its files, brought together before anybody is served.

use crate::config::Config;
use crate::mailbox::{Errand, Mailboxes, Sorted, reconcile};
use crate::os::spool;
use crate::os::store::{Loaded, Store};
use crate::store::{Folder, MessageRecord, Record};
use std::collections::HashMap;

/// What the rows of the store and the files below the spool make together.
#[derive(Debug)]
pub(super) struct Mail(Sorted);

impl Mail {
    /// Looks at the spool, while paths can be opened. Takes the rows out of `loaded`.
    pub fn sort(config: &Config, loaded: &mut Loaded) -> Self {
        let mailboxes = std::mem::take(&mut loaded.mailboxes);
        let messages = std::mem::take(&mut loaded.messages);
        let row = |m: &MessageRecord| (m.file.clone(), m.folder);
        let rows: HashMap<Box<str>, Folder> = messages.iter().map(row).collect();
        // Of messages that their callers accepted the length is known.
        let wants_length = |name: &str| match rows.get(name) {
            Some(Folder::New | Folder::Saved | Folder::Deleted | Folder::Gone) => false,
            Some(Folder::Recording) | None => true,
        };
        let Some(found) = spool::find(&config.spool.directory, wants_length) else {
            return Self(Sorted {
                mailboxes,
                messages,
                ..Sorted::default()
            });
        };
        let aors: Vec<String> = loaded.users.iter().map(crate::store::User::aor).collect();
        let users = aors.iter().map(String::as_str);
        let shortest = config.voicemail.message_min_s.saturating_mul(1000);
        Self(reconcile(mailboxes, messages, found, users, shortest))
    }

    /// Loads the index, and keeps what is new in it. Files that nothing belongs to go once the
    /// shards run.
    pub fn load(self, mailboxes: &Mailboxes, store: &Store) {
        let Sorted {
            mailboxes: boxes,
            messages,
            records,
            remove,
            salvaged,
            lost,
        } = self.0;
        mailboxes.load(boxes, messages);
        for record in records {
            if let Record::PutMessage(message) = &record
                && message.folder == Folder::New
            {
                mailboxes.tell(&message.mailbox);
            }
            store.persist(record);
        }
        if salvaged > 0 {
            tracing::warn!("voicemail: {salvaged} messages that a crash broke off were kept");
        }
        if lost > 0 {
            tracing::error!("voicemail: the files of {lost} messages are gone, and they with them");
        }
        for path in remove {
            mailboxes.run(Errand::Remove(path));
        }
    }
}
