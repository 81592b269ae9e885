//! By which ways a call came and went, for its record; and the records of calls that were refused
//! before they began.

use super::table::CallerInfo;
use crate::base::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest note, in bytes, without the recordings that it names.
pub(super) const NOTE_BYTES_MAX: usize = 400;

/// Most recordings that a note names, each by a path of some hundred bytes.
pub(super) const RECORDED_MAX: usize = 64;

/// How a note names a recording. A caller has no say in what stands there.
const RECORDED: &str = "recorded: recordings/";
/// What it says of those that it does not name.
const MORE_RECORDED: &str = "recorded more often than is listed";

/// Longest Call-ID and address in the record of a refused call, in bytes.
pub(super) const REFUSED_BYTES_MAX: usize = 256;

/// Refused calls of one account that one shard records in a minute: enough to see what is wrong
/// with somebody's phone, some 15 MB a day from one that tries on and on.
pub(super) const REFUSED_PER_MINUTE: u32 = 30;

/// What they are counted over.
const WINDOW: Duration = Duration::from_secs(60);

/// Accounts whose refused calls are counted at a time; the others share one account.
pub(super) const REFUSED_ACCOUNTS_MAX: usize = 4096;

/// An account that was not refused anything for this long is forgotten.
const IDLE: Duration = Duration::from_secs(600);

/// Between two looks for idle accounts.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// By which ways a call came and went. Any of it may be empty.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Ways {
    /// Of [`Cdr::way_in`](crate::store::Cdr::way_in).
    pub way_in: Box<str>,
    /// Of [`Cdr::way_out`](crate::store::Cdr::way_out).
    pub way_out: Box<str>,
    /// Of [`Cdr::route`](crate::store::Cdr::route).
    pub route: Box<str>,
    /// Of [`Cdr::note`](crate::store::Cdr::note).
    pub note: Box<str>,
    /// Whether a route that it took records its calls.
    pub record: bool,
}

impl Ways {
    /// Takes what became of the call on its way: the route it took last, and what was noted.
    pub fn learn(&mut self, later: &Ways) {
        self.record |= later.record;
        if !later.route.is_empty() {
            self.route = later.route.clone();
        }
        later.note.split("; ").for_each(|part| self.add_note(part));
    }

    /// The same with a note more.
    pub fn with_note(mut self, text: &str) -> Self {
        self.add_note(text);
        self
    }

    /// Adds to the note, unless it says so already or is full. Recordings are named whole, whatever
    /// else it says, since by their records they are found.
    pub fn add_note(&mut self, text: &str) {
        if text.is_empty() || self.note.split("; ").any(|part| part == text) {
            return;
        }
        let parts = self.note.split("; ").filter(|part| !part.is_empty());
        let (recorded, others): (Vec<&str>, Vec<&str>) =
            parts.partition(|part| part.starts_with(RECORDED));
        if text.starts_with(RECORDED) {
            if recorded.len() >= RECORDED_MAX {
                return self.add_note(MORE_RECORDED);
            }
            return self.append(text);
        }
        // As long as they would be alone, with what separates them.
        let taken: usize = others.iter().map(|part| part.len() + 2).sum();
        let room = NOTE_BYTES_MAX.saturating_sub(taken);
        let end = text.floor_char_boundary(room);
        if end > 0 {
            self.append(&text[..end]);
        }
    }

    fn append(&mut self, text: &str) {
        self.note = match self.note.is_empty() {
            true => text.into(),
            false => [&self.note, "; ", text].concat().into(),
        };
    }
}

/// At most so many bytes of a text, whole characters.
pub(super) fn cut(text: Box<str>, most: usize) -> Box<str> {
    match text.len() <= most {
        true => text,
        false => text[..text.floor_char_boundary(most)].into(),
    }
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    recorded: u32,
    left_out: u64,
}

/// Counts refused calls, so that a flood of them does not flood the disk.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    accounts: BTreeMap<Box<str>, Count>,
    left_out: u64,
    swept: Instant,
}

impl Refusals {
    /// Whether one more refused call of this account is recorded: then how many were left out
    /// since the last one that was.
    pub fn admit(&mut self, now: Instant, account: &str) -> Option<u64> {
        let account = match self.has_room(now, account) {
            true => account,
            false => "",
        };
        let fresh = Count {
            since: now,
            recorded: 0,
            left_out: 0,
        };
        if !self.accounts.contains_key(account) {
            self.accounts.insert(account.into(), fresh);
        }
        let count = self.accounts.get_mut(account)?;
        if now.since(count.since) >= WINDOW {
            (count.since, count.recorded) = (now, 0);
        }
        if count.recorded >= REFUSED_PER_MINUTE {
            count.left_out += 1;
            self.left_out += 1;
            return None;
        }
        count.recorded += 1;
        Some(std::mem::take(&mut count.left_out))
    }

    /// How many were left out since the start.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn has_room(&mut self, now: Instant, account: &str) -> bool {
        if self.accounts.len() < REFUSED_ACCOUNTS_MAX || self.accounts.contains_key(account) {
            return true;
        }
        if now.since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.accounts
                .retain(|_, count| now.since(count.since) < IDLE);
        }
        self.accounts.len() < REFUSED_ACCOUNTS_MAX
    }
}

impl CallerInfo {
    /// The account on which refused calls are counted; `None` for strangers.
    pub(super) fn account(&self) -> Option<Box<str>> {
        match &self.user {
            Some(user) => Some(user.clone()),
            None if self.ways.way_in.is_empty() => None,
            None => Some(["way:", &self.ways.way_in].concat().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_each_thing_once_and_ends() {
        let mut ways = Ways::default();
        for note in ["a", "", "b", "a", "b"] {
            ways.add_note(note);
        }
        assert_eq!(&*ways.note, "a; b");
        let mut other = Ways {
            route: "out".into(),
            ..Ways::default()
        };
        other.learn(&ways);
        other.learn(&ways);
        assert_eq!((&*other.route, &*other.note), ("out", "a; b"));
        for n in 0..1000 {
            ways.add_note(&format!("ñandú {n}"));
        }
        assert!(ways.note.len() <= NOTE_BYTES_MAX, "{}", ways.note.len());
    }

    #[test]
    fn recordings_are_named_whole_however_many_and_whatever_else_is_said() {
        let name = |n: usize| {
            format!(
                "recorded: recordings/2026/11/26/{n:02}-{}.wav",
                "x".repeat(80)
            )
        };
        let mut ways = Ways::default();
        for n in 0..RECORDED_MAX + 2 {
            ways.add_note(&name(n));
            ways.add_note(&name(0));
            ways.add_note(&format!("queue support: waited {n} s"));
        }
        let mut later = Ways::default();
        later.learn(&ways);
        assert_eq!(later.note, ways.note);
        let parts: Vec<&str> = later.note.split("; ").collect();
        let (recorded, others): (Vec<&str>, Vec<&str>) =
            parts.iter().partition(|part| part.starts_with(RECORDED));
        let wanted: Vec<String> = (0..RECORDED_MAX).map(name).collect();
        assert_eq!(recorded, wanted);
        assert_eq!(others[0], "queue support: waited 0 s");
        assert!(others.join("; ").len() <= NOTE_BYTES_MAX, "{others:?}");

        // Of those beyond the last that is said, where there is room for it.
        let mut ways = Ways::default();
        for n in 0..RECORDED_MAX + 2 {
            ways.add_note(&name(n));
        }
        assert!(ways.note.ends_with(MORE_RECORDED), "{}", ways.note);
        assert_eq!(ways.note.matches(MORE_RECORDED).count(), 1);
    }

    #[test]
    fn accounts_do_not_take_each_others_places() {
        let (mut refusals, now) = (Refusals::default(), Instant::from_millis(5000));
        for n in 0..REFUSED_PER_MINUTE + 5 {
            let admitted = refusals.admit(now, "a").is_some();
            assert_eq!(admitted, n < REFUSED_PER_MINUTE);
        }
        assert_eq!(refusals.left_out(), 5);
        assert_eq!(refusals.admit(now, "b"), Some(0));
        assert_eq!(refusals.admit(now + WINDOW, "a"), Some(5));
        assert_eq!(refusals.admit(now + WINDOW, "a"), Some(0));
        assert_eq!(refusals.left_out(), 5, "they stay counted");
    }

    #[test]
    fn more_accounts_than_are_counted_share_one() {
        let (mut refusals, now) = (Refusals::default(), Instant::from_millis(5000));
        let late = REFUSED_PER_MINUTE as usize + 100;
        let admitted = (0..REFUSED_ACCOUNTS_MAX + late)
            .filter(|n| refusals.admit(now, &n.to_string()).is_some())
            .count();
        assert_eq!(admitted, REFUSED_ACCOUNTS_MAX + REFUSED_PER_MINUTE as usize);
        assert_eq!(refusals.left_out(), 100);
        assert_eq!(refusals.accounts.len(), REFUSED_ACCOUNTS_MAX + 1);
        // Later there is room again.
        assert_eq!(refusals.admit(now + IDLE, "late"), Some(0));
        assert_eq!(refusals.accounts.len(), 1);
    }
}
