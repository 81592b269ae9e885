//! Who is called back, and how often: a number that calls on and on, or that strangers forge, costs
//! the company ever less.

use crate::base::Instant;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a number rests after a first call back without the PIN; each one more doubles it.
const REST_MIN: Duration = Duration::from_secs(60);
/// It rests no longer, and after as long without a call it is as new.
const REST_MAX: Duration = Duration::from_secs(3600);
/// Numbers that are remembered: more than a configuration can name.
const NUMBERS_MAX: usize = 1000;

/// The numbers that were called back lately, for all shards.
#[derive(Clone, Debug, Default)]
pub struct CallBacks(Arc<Mutex<BTreeMap<Box<str>, State>>>);

#[derive(Clone, Copy, Debug)]
struct State {
    /// It is being called, or talks.
    under_way: bool,
    /// When its last call back was heard of last.
    heard: Instant,
    /// How long it rests from then on.
    rest: Duration,
}

/// Why a number is not called back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotNow {
    /// A call back to it is under way.
    UnderWay,
    /// It rests, for so long.
    Rests(Duration),
    /// Too many numbers do.
    Full,
}

impl CallBacks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a number back, unless it has to rest. As long as the pass is there it is called no
    /// second time.
    pub fn begin(&self, number: &str, now: Instant) -> Result<Pass, NotNow> {
        let mut states = self.lock();
        states.retain(|_, s| s.under_way || now < s.heard + s.rest + REST_MAX);
        let rest = match states.get(number) {
            Some(state) if state.under_way => return Err(NotNow::UnderWay),
            Some(state) if now < state.heard + state.rest => {
                return Err(NotNow::Rests((state.heard + state.rest).since(now)));
            }
            Some(state) => (state.rest * 2).min(REST_MAX),
            None if states.len() >= NUMBERS_MAX => return Err(NotNow::Full),
            None => REST_MIN,
        };
        let state = State {
            under_way: true,
            heard: now,
            rest,
        };
        states.insert(number.into(), state);
        drop(states);
        Ok(Pass {
            calls: self.clone(),
            number: number.into(),
        })
    }
}

/// One call back. Whoever has it tells how that goes; once it is dropped the number rests.
#[derive(Debug)]
pub struct Pass {
    calls: CallBacks,
    number: Box<str>,
}

impl Pass {
    /// It is still under way.
    pub fn goes_on(&self, now: Instant) {
        if let Some(state) = self.calls.lock().get_mut(&self.number) {
            state.heard = state.heard.max(now);
        }
    }

    /// The PIN was given: it was really who may be called, and need not rest.
    pub fn proven(&self) {
        if let Some(state) = self.calls.lock().get_mut(&self.number) {
            state.rest = Duration::ZERO;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut states = self.calls.lock();
        match states.get_mut(&self.number) {
            Some(state) if state.rest > Duration::ZERO => state.under_way = false,
            _ => drop(states.remove(&self.number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "600123456";

    #[test]
    fn one_call_back_at_a_time() {
        let (calls, now) = (CallBacks::default(), Instant::from_millis(1000));
        let pass = calls.begin(NUMBER, now).unwrap();
        let much_later = now + REST_MAX * 3;
        assert_eq!(
            calls.begin(NUMBER, much_later).unwrap_err(),
            NotNow::UnderWay
        );
        assert!(calls.begin("600123457", now).is_ok());
        pass.goes_on(much_later);
        drop(pass);
        let rests = NotNow::Rests(REST_MIN);
        assert_eq!(calls.begin(NUMBER, much_later).unwrap_err(), rests);
    }

    #[test]
    fn rests_grow_until_the_pin_is_given() {
        let (calls, mut now) = (CallBacks::default(), Instant::from_millis(1000));
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            drop(calls.begin(NUMBER, now).unwrap());
            let rest = Duration::from_secs(60 * minutes);
            assert_eq!(calls.begin(NUMBER, now).unwrap_err(), NotNow::Rests(rest));
            now += rest;
        }
        let pass = calls.begin(NUMBER, now).unwrap();
        pass.proven();
        assert_eq!(calls.begin(NUMBER, now).unwrap_err(), NotNow::UnderWay);
        drop(pass);
        drop(calls.begin(NUMBER, now).unwrap());
        let rests = NotNow::Rests(REST_MIN);
        assert_eq!(calls.begin(NUMBER, now).unwrap_err(), rests);
        // An hour of peace, and it is as new.
        now += REST_MIN + REST_MAX;
        drop(calls.begin(NUMBER, now).unwrap());
        assert_eq!(calls.begin(NUMBER, now).unwrap_err(), rests);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (calls, now) = (CallBacks::default(), Instant::from_millis(1000));
        for n in 0..NUMBERS_MAX {
            drop(calls.begin(&n.to_string(), now).unwrap());
        }
        assert_eq!(calls.begin("one more", now).unwrap_err(), NotNow::Full);
        assert!(calls.begin("one more", now + REST_MIN + REST_MAX).is_ok());
    }
}
