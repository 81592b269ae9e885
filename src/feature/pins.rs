//! Wrong PINs, counted for the whole system: whoever guesses is slowed down, then locked out.

use crate::base::Instant;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Callers that are remembered. When there are more, those of the past are forgotten; where that
/// makes no room, a caller counts for the door alone.
const CALLERS_MAX: usize = 10_000;
/// Longest time that an answer is held back.
const SLOW_MAX: Duration = Duration::from_secs(8);

/// How much is borne.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Wrong PINs of one caller, within `window`, that lock it out.
    pub caller: u32,
    /// The same of all who come by one way: callers from outside show what numbers they like.
    pub way: u32,
    /// Wrong PINs of all callers that lock the door for everybody.
    pub door: u32,
    /// How long a wrong PIN is remembered, and a lock lasts.
    pub window: Duration,
}

/// Whom wrong PINs count for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guesser<'a> {
    /// The caller.
    pub caller: Cow<'a, str>,
    /// How it comes, if it is nobody of ours: a trunk, a pool, empty for strangers.
    pub way: Option<&'a str>,
}

impl<'a> From<&'a str> for Guesser<'a> {
    fn from(caller: &'a str) -> Self {
        let caller = caller.into();
        Self { caller, way: None }
    }
}

impl Guesser<'_> {
    /// The keys that it counts for beside the door, with how much of each is borne.
    fn keys(&self, door: &str, patience: Patience) -> impl Iterator<Item = (Key, u32)> {
        let key = |who: &str| -> Key { (door.into(), who.into()) };
        let way = self.way.map(|way| key(&[WAY, way].concat()));
        let way = way.map(|way| (way, patience.way));
        way.into_iter()
            .chain([(key(&self.caller), patience.caller)])
    }
}

#[derive(Debug)]
struct Count {
    wrong: u32,
    until: Instant,
}

/// Door and caller.
type Key = (Box<str>, Box<str>);
type Counts = BTreeMap<Key, Count>;

/// Who guessed. The door is what a PIN opens, `disa`.
#[derive(Debug, Default)]
pub struct Pins {
    counts: Mutex<Counts>,
}

impl Pins {
    /// Whether a caller may not try.
    pub fn is_locked<'a>(
        &self,
        door: &str,
        who: impl Into<Guesser<'a>>,
        now: Instant,
        patience: Patience,
    ) -> bool {
        let counts = self.lock();
        let wrong = |key: &Key| {
            let count = counts.get(key);
            count.filter(|c| now < c.until).map_or(0, |c| c.wrong)
        };
        let who = who.into();
        let mut keys = who.keys(door, patience);
        wrong(&(door.into(), DOOR.into())) >= patience.door
            || keys.any(|(key, most)| wrong(&key) >= most)
    }

    /// A PIN was wrong; how long the answer is to be held back.
    pub fn wrong<'a>(
        &self,
        door: &str,
        who: impl Into<Guesser<'a>>,
        now: Instant,
        patience: Patience,
    ) -> Duration {
        let mut counts = self.lock();
        if counts.len() >= CALLERS_MAX {
            counts.retain(|_, count| now < count.until);
        }
        let mut most = 0;
        let all = ((door.into(), DOOR.into()), patience.door);
        for (key, _) in [all].into_iter().chain(who.into().keys(door, patience)) {
            let is_door = *key.1 == *DOOR;
            if !is_door && counts.len() >= CALLERS_MAX && !counts.contains_key(&key) {
                continue;
            }
            let until = now + patience.window;
            let count = counts.entry(key).or_insert(Count { wrong: 0, until });
            if now >= count.until {
                count.wrong = 0;
            }
            count.wrong = count.wrong.saturating_add(1);
            count.until = until;
            most = count.wrong;
        }
        let slow = Duration::from_secs(1) * 2u32.pow(most.saturating_sub(1).min(3));
        slow.min(SLOW_MAX)
    }

    /// A PIN was right: the caller is forgiven. What others guessed is not.
    pub fn right(&self, door: &str, caller: &str) {
        self.lock().remove(&(door.into(), caller.into()));
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts all callers; no number of a caller is that.
const DOOR: &str = "\n";
/// Begins what counts all callers of a way.
const WAY: &str = "\nby ";

/// Whether what was entered is the PIN, in a time that does not tell how much of it is.
pub fn is_pin(entered: &str, pin: &str) -> bool {
    let (entered, pin) = (entered.as_bytes(), pin.as_bytes());
    let pairs = entered.iter().zip(pin);
    let differs = pairs.fold(0, |all, (a, b)| all | (a ^ b));
    !pin.is_empty() && entered.len() == pin.len() && std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        caller: 3,
        way: 4,
        door: 5,
        window: Duration::from_secs(60),
    };

    fn at(s: u64) -> Instant {
        Instant::from_millis(s * 1000)
    }

    #[test]
    fn guessing_slows_down_and_locks() {
        let pins = Pins::default();
        let locked = |who, now| pins.is_locked("disa", who, at(now), PATIENCE);
        let waits: Vec<u64> = (0..3)
            .map(|n| pins.wrong("disa", "600", at(n), PATIENCE).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4]);
        assert!(locked("600", 3) && !locked("601", 3));
        // Two more of anybody, and the door is shut for all.
        pins.wrong("disa", "601", at(4), PATIENCE);
        pins.wrong("disa", "", at(5), PATIENCE);
        assert!(locked("999", 6));
        assert!(!pins.is_locked("other", "600", at(6), PATIENCE));
        assert!(!locked("600", 66));
        // A count that is over begins anew.
        assert_eq!(pins.wrong("disa", "600", at(70), PATIENCE).as_secs(), 1);
    }

    /// A stranger may show another number each time.
    #[test]
    fn all_who_come_by_one_way_are_counted_together() {
        let pins = Pins::default();
        let by = |caller: &'static str, way| Guesser {
            caller: caller.into(),
            way,
        };
        for (n, caller) in ["1", "2", "3", "4"].into_iter().enumerate() {
            let who = by(caller, Some("itsp"));
            assert!(!pins.is_locked("room", who.clone(), at(9), PATIENCE), "{n}");
            assert_eq!(pins.wrong("room", who, at(9), PATIENCE).as_secs(), 1);
        }
        for (caller, way, locked) in [
            ("5", Some("itsp"), true),
            ("5", Some("other"), false),
            ("5", Some(""), false),
            ("ana@example.com", None, false),
        ] {
            let who = by(caller, way);
            assert_eq!(pins.is_locked("room", who, at(10), PATIENCE), locked);
        }
        // Who gets in is forgiven, not the others that came by that way.
        pins.right("room", "1");
        assert!(pins.is_locked("room", by("1", Some("itsp")), at(10), PATIENCE));
        assert!(!pins.is_locked("room", by("5", Some("itsp")), at(70), PATIENCE));
    }

    #[test]
    fn who_is_right_is_forgiven() {
        let pins = Pins::default();
        pins.wrong("disa", "600", at(0), PATIENCE);
        pins.wrong("disa", "600", at(0), PATIENCE);
        pins.right("disa", "600");
        assert_eq!(pins.wrong("disa", "600", at(1), PATIENCE).as_secs(), 1);
    }

    #[test]
    fn callers_are_bounded() {
        let pins = Pins::default();
        let patience = Patience {
            door: u32::MAX,
            ..PATIENCE
        };
        for n in 0..CALLERS_MAX + 100 {
            pins.wrong("disa", &*n.to_string(), at(0), patience);
        }
        assert_eq!(pins.lock().len(), CALLERS_MAX);
        pins.wrong("disa", "new", at(100), patience);
        assert_eq!(pins.lock().len(), 2);
    }

    #[test]
    fn a_pin_is_all_of_it() {
        assert!(is_pin("482913", "482913"));
        for wrong in ["", "48291", "4829130", "482914"] {
            assert!(!is_pin(wrong, "482913"), "{wrong}");
        }
        assert!(!is_pin("", ""));
    }
}
