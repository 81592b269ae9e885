//! Who is called back, and how often: a number that calls on and on, or that strangers forge, costs
//! the company ever less.

use crate::base::Instant;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a number rests after a first call back without the PIN; each one more doubles it.
const REST_MIN: Duration = Duration::from_secs(60);
/// It rests no longer.
const REST_MAX: Duration = Duration::from_secs(3600);
/// After so long without a call it is as new.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);
/// Numbers that are remembered: more than a configuration can name. Of more, the one that was not
/// heard of for longest is forgotten.
const NUMBERS_MAX: usize = 1000;

/// The numbers that were called back lately, for all shards. A restart forgets them.
#[derive(Clone, Debug, Default)]
pub struct CallBacks(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    states: BTreeMap<Box<str>, State>,
    stats: CallBackStats,
}

/// What became of those who wanted to be called back, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallBackStats {
    /// Called back.
    pub begun: u64,
    /// Not: they had to rest, one was under way, or wrong PINs had locked them out.
    pub refused: u64,
    /// Gave the PIN.
    pub proven: u64,
}

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
    /// Too many are under way.
    Full,
    /// Wrong PINs have locked it out.
    Locked,
}

impl CallBacks {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of them.
    pub fn stats(&self) -> CallBackStats {
        self.lock().stats
    }

    /// Calls a number back, unless it is `locked` out or has to rest. As long as the pass is there
    /// it is called no second time.
    pub fn begin(&self, number: &str, locked: bool, now: Instant) -> Result<Pass, NotNow> {
        let mut table = self.lock();
        let begun = match locked {
            true => Err(NotNow::Locked),
            false => table.begin(number, now),
        };
        match begun {
            Ok(()) => table.stats.begun += 1,
            Err(_) => table.stats.refused += 1,
        }
        drop(table);
        begun.map(|()| Pass {
            calls: self.clone(),
            number: number.into(),
        })
    }
}

impl Table {
    fn begin(&mut self, number: &str, now: Instant) -> Result<(), NotNow> {
        let states = &mut self.states;
        states.retain(|_, s| s.under_way || now < s.heard + FORGOTTEN);
        let rest = match states.get(number) {
            Some(state) if state.under_way => return Err(NotNow::UnderWay),
            Some(state) if now < state.heard + state.rest => {
                return Err(NotNow::Rests((state.heard + state.rest).since(now)));
            }
            Some(state) => (state.rest * 2).min(REST_MAX),
            None => REST_MIN,
        };
        if states.len() >= NUMBERS_MAX && !states.contains_key(number) {
            let resting = states.iter().filter(|(_, state)| !state.under_way);
            let oldest = resting.min_by_key(|(_, state)| state.heard);
            let oldest = oldest.map(|(number, _)| number.clone());
            states.remove(&oldest.ok_or(NotNow::Full)?);
        }
        let state = State {
            under_way: true,
            heard: now,
            rest,
        };
        states.insert(number.into(), state);
        Ok(())
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
        if let Some(state) = self.calls.lock().states.get_mut(&self.number) {
            state.heard = state.heard.max(now);
        }
    }

    /// The PIN was given: it was really who may be called, and need not rest.
    pub fn proven(&self) {
        let mut table = self.calls.lock();
        let state = table.states.get_mut(&self.number);
        let rest = state.map(|state| std::mem::take(&mut state.rest));
        if rest.is_some_and(|rest| rest > Duration::ZERO) {
            table.stats.proven += 1;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let states = &mut self.calls.lock().states;
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
        let pass = calls.begin(NUMBER, false, now).unwrap();
        let much_later = now + REST_MAX * 3;
        assert_eq!(
            calls.begin(NUMBER, false, much_later).unwrap_err(),
            NotNow::UnderWay
        );
        assert!(calls.begin("600123457", false, now).is_ok());
        pass.goes_on(much_later);
        drop(pass);
        let rests = NotNow::Rests(REST_MIN);
        assert_eq!(calls.begin(NUMBER, false, much_later).unwrap_err(), rests);
    }

    #[test]
    fn rests_grow_until_the_pin_is_given() {
        let (calls, mut now) = (CallBacks::default(), Instant::from_millis(1000));
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            drop(calls.begin(NUMBER, false, now).unwrap());
            let rest = Duration::from_secs(60 * minutes);
            assert_eq!(
                calls.begin(NUMBER, false, now).unwrap_err(),
                NotNow::Rests(rest)
            );
            now += rest;
        }
        let pass = calls.begin(NUMBER, false, now).unwrap();
        pass.proven();
        assert_eq!(
            calls.begin(NUMBER, false, now).unwrap_err(),
            NotNow::UnderWay
        );
        drop(pass);
        drop(calls.begin(NUMBER, false, now).unwrap());
        let rests = NotNow::Rests(REST_MIN);
        assert_eq!(calls.begin(NUMBER, false, now).unwrap_err(), rests);
        // A day of peace, and it is as new; less is not.
        now += FORGOTTEN - Duration::from_secs(1);
        drop(calls.begin(NUMBER, false, now).unwrap());
        let longer = NotNow::Rests(REST_MIN * 2);
        assert_eq!(calls.begin(NUMBER, false, now).unwrap_err(), longer);
        now += FORGOTTEN;
        drop(calls.begin(NUMBER, false, now).unwrap());
        assert_eq!(calls.begin(NUMBER, false, now).unwrap_err(), rests);
    }

    #[test]
    fn a_patient_forger_gets_one_an_hour() {
        let (calls, start) = (CallBacks::default(), Instant::from_millis(1000));
        let mut rung = 0;
        for minute in 0..24 * 60 {
            let now = start + Duration::from_secs(60 * minute);
            rung += u32::from(calls.begin(NUMBER, false, now).is_ok());
        }
        assert!((24..=30).contains(&rung), "{rung}");
        let stats = calls.stats();
        assert_eq!(stats.begun, u64::from(rung));
        assert_eq!(stats.refused, 24 * 60 - u64::from(rung));
    }

    #[test]
    fn numbers_at_rest_make_room_for_others() {
        let (calls, now) = (CallBacks::default(), Instant::from_millis(1000));
        let mut passes = Vec::new();
        for n in 0..NUMBERS_MAX as u64 {
            let now = now + Duration::from_secs(n);
            passes.push(calls.begin(&n.to_string(), false, now).unwrap());
        }
        let now = now + Duration::from_secs(NUMBERS_MAX as u64);
        assert_eq!(
            calls.begin("one more", false, now).unwrap_err(),
            NotNow::Full
        );
        passes.swap_remove(7);
        passes.swap_remove(3);
        drop(calls.begin("one more", false, now).unwrap());
        // The one that was heard of later is remembered.
        let rests = |n| matches!(calls.begin(n, false, now), Err(NotNow::Rests(_)));
        assert!(!rests("3") && rests("one more"));
    }

    #[test]
    fn what_became_of_them_is_counted() {
        let (calls, now) = (CallBacks::default(), Instant::from_millis(1000));
        let pass = calls.begin(NUMBER, false, now).unwrap();
        pass.proven();
        pass.proven();
        assert_eq!(calls.begin(NUMBER, true, now).unwrap_err(), NotNow::Locked);
        let wanted = CallBackStats {
            begun: 1,
            refused: 1,
            proven: 1,
        };
        assert_eq!(calls.stats(), wanted);
    }
}
