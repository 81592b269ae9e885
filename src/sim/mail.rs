//! What callers were told of their messages, overheard between signalling and media; and what must
//! be true after a crash: what was confirmed is in its mailbox, sample for sample; what was being
//! said when the process was killed is there, too; and files and index agree.

use super::check::{Broken, broken};
use super::files::{Death, Files};
use super::host::Host;
use crate::mailbox::FileName;
use crate::media::file::PART;
use crate::media::shelf::length_ms;
use crate::media::wav::Wav;
use crate::media::{Order, Sound, Task};
use crate::server::MediaOrder;
use crate::store::Folder;
use std::collections::BTreeMap;

/// What a caller is told once its message is on the disk.
const CONFIRMATION: &str = "vm-msgsaved";

/// Keeps what it overheard, over all lives of the server.
#[derive(Debug, Default)]
pub struct Witness {
    /// What was recorded last, by shard and session.
    takes: BTreeMap<(usize, u64), Box<str>>,
    /// Files that callers were told are kept, with what was in them then.
    confirmed: BTreeMap<Box<str>, Option<Vec<u8>>>,
    /// Recordings that were going on when the process was killed, and how long they were.
    broken_off: BTreeMap<Box<str>, u32>,
    /// Recordings that were going on at any death.
    interrupted: usize,
}

impl Witness {
    /// Signalling tells media what to do.
    pub fn order(&mut self, shard: usize, order: &MediaOrder, files: &Files) {
        let MediaOrder::Studio(Order::Do { session, what, .. }) = order else {
            return;
        };
        match what {
            Task::Record { file, .. } => {
                self.takes.insert((shard, *session), file.clone());
            }
            Task::Play { sounds, .. } if sounds.iter().any(confirms) => {
                if let Some(file) = self.takes.remove(&(shard, *session)) {
                    let bytes = files.bytes(&file).map(<[u8]>::to_vec);
                    self.confirmed.insert(file, bytes);
                }
            }
            Task::Play { .. } | Task::Rest | Task::Echo | Task::Join(_) | Task::Bridge { .. } => {}
        }
    }

    /// The server dies.
    pub fn dies(&mut self, death: Death, files: &Files) {
        self.takes.clear();
        let parts = files.names().filter_map(|name| {
            let sound = Wav::parse(files.bytes(name)?, files.bytes(name)?.len() as u64).ok()?;
            let ms = length_ms(sound.layout, sound.data.end - sound.data.start);
            Some((name.strip_suffix(PART)?.into(), ms))
        });
        let parts: BTreeMap<Box<str>, u32> = parts.collect();
        self.interrupted += parts.len();
        self.broken_off = match death {
            Death::Process => parts,
            Death::Power => BTreeMap::new(),
        };
    }

    /// How many messages were confirmed.
    pub fn confirmed(&self) -> usize {
        self.confirmed.len()
    }

    /// How many recordings a death came into.
    pub fn interrupted(&self) -> usize {
        self.interrupted
    }
}

fn confirms(sound: &Sound) -> bool {
    matches!(sound, Sound::Prompt { name, .. } if **name == *CONFIRMATION)
}

/// After a start, before anything else happens.
pub fn agree(host: &Host) -> Result<(), Broken> {
    let files = host.files();
    let listed = listing(host)?;
    for name in files.names() {
        let last = name.rsplit('/').next().unwrap_or_default();
        let is_message = matches!(FileName::of(last), FileName::Message(_));
        if name.ends_with(PART) || (is_message && !listed.contains_key(name)) {
            return broken(format!("{name} is left behind"));
        }
    }
    let witness = host.witness();
    for (file, bytes) in &witness.confirmed {
        if bytes.is_none() {
            return broken(format!("{file} was confirmed before it was there"));
        }
        if !listed.contains_key(file) {
            return broken(format!("{file} was confirmed and is not listed"));
        }
        if files.bytes(file) != bytes.as_deref() {
            return broken(format!("{file} is not what was confirmed"));
        }
    }
    let min_ms = host.message_ms_min();
    for (file, ms) in witness.broken_off.iter().filter(|(_, ms)| **ms >= min_ms) {
        match listed.get(file) {
            Some(found) if found >= ms => {}
            found => return broken(format!("{ms} ms were said in {file}, {found:?} are left")),
        }
    }
    Ok(())
}

/// All messages that their owners can hear, with their lengths; each is whole.
fn listing(host: &Host) -> Result<BTreeMap<Box<str>, u32>, Broken> {
    let mut listed = BTreeMap::new();
    for aor in host.users() {
        let messages = host.mailboxes().messages(&aor, Folder::New).into_iter();
        for message in messages.chain(host.mailboxes().messages(&aor, Folder::Saved)) {
            let file = message.file;
            let bytes = host.files().bytes(&file).unwrap_or_default();
            let Ok(sound) = Wav::parse(bytes, bytes.len() as u64) else {
                return broken(format!("{file} is listed and no sound"));
            };
            let ms = length_ms(sound.layout, sound.data.end - sound.data.start);
            if ms != message.duration_ms {
                return broken(format!("{file} lasts {ms} ms, not {}", message.duration_ms));
            }
            listed.insert(file, ms);
        }
    }
    Ok(listed)
}
