//! Who was called back lately: a number that calls on and on, or that strangers forge, is called
//! once in a while.

use crate::base::Instant;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a number is not called back again.
const REST: Duration = Duration::from_secs(60);
/// Numbers that are remembered: more than a configuration can name.
const NUMBERS_MAX: usize = 1000;

/// The numbers that were called back lately, for all shards.
#[derive(Debug, Default)]
pub struct CallBacks {
    until: Mutex<BTreeMap<Box<str>, Instant>>,
}

impl CallBacks {
    /// Whether a number is called back now: not while it rests, and not while too many do.
    pub fn begin(&self, number: &str, now: Instant) -> bool {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.retain(|_, until| now < *until);
        if until.contains_key(number) || until.len() >= NUMBERS_MAX {
            return false;
        }
        until.insert(number.into(), now + REST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_called_once_in_a_while() {
        let (calls, start) = (CallBacks::default(), Instant::ZERO);
        assert!(calls.begin("600123456", start));
        assert!(!calls.begin("600123456", start + REST / 2));
        assert!(calls.begin("600123457", start + REST / 2));
        assert!(calls.begin("600123456", start + REST));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (calls, start) = (CallBacks::default(), Instant::ZERO);
        for n in 0..NUMBERS_MAX {
            assert!(calls.begin(&n.to_string(), start));
        }
        assert!(!calls.begin("one more", start));
        assert!(calls.begin("one more", start + REST));
    }
}
