//! How many calls each member of a group or paging group and each agent of a queue has, made and
//! taken: for groups that ring who has fewest first, and for whoever leaves those alone who have
//! one. A call counts for its caller from its beginning, for its callee from the answer. Calls to a
//! user go their way whatever is counted here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Users who are counted at a time; of more, calls are not.
const USERS_MAX: usize = 100_000;

/// In what way a user takes part in a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// It calls.
    Caller,
    /// It answered.
    Callee,
}

/// The calls of one user.
#[derive(Clone, Copy, Default, Debug)]
struct Count {
    made: u32,
    taken: u32,
}

impl Count {
    fn of(&mut self, part: Part) -> &mut u32 {
        match part {
            Part::Caller => &mut self.made,
            Part::Callee => &mut self.taken,
        }
    }
}

/// Counts, shared by all shards.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// A user who is not here is not counted.
    calls: Mutex<HashMap<Box<str>, Count>>,
}

impl Busy {
    /// Counts these users from now on.
    pub fn watch<'a>(&self, members: impl Iterator<Item = &'a str>) {
        let mut calls = self.lock();
        for member in members {
            if calls.len() < USERS_MAX && !calls.contains_key(member) {
                calls.insert(member.into(), Count::default());
            }
        }
    }

    /// A user takes part in a call.
    pub fn engage(self: &Arc<Self>, aor: &str, part: Part) -> Option<Engaged> {
        let mut calls = self.lock();
        let count = calls.get_mut(aor)?.of(part);
        *count = count.saturating_add(1);
        Some(Engaged {
            aor: aor.into(),
            part,
            busy: Arc::clone(self),
        })
    }

    /// How many calls there are, made and taken.
    pub fn calls_of(&self, aor: &str) -> u32 {
        let count = self.lock().get(aor).copied().unwrap_or_default();
        count.made.saturating_add(count.taken)
    }

    /// How many calls it took.
    pub fn taken_by(&self, aor: &str) -> u32 {
        self.lock().get(aor).map_or(0, |count| count.taken)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Count>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call of one user.
#[derive(Debug)]
pub struct Engaged {
    aor: Box<str>,
    part: Part,
    busy: Arc<Busy>,
}

impl Drop for Engaged {
    fn drop(&mut self) {
        if let Some(count) = self.busy.lock().get_mut(&self.aor) {
            let count = count.of(self.part);
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_groups_are_counted_and_nobody_else() {
        let busy = Arc::new(Busy::default());
        busy.watch(["100@a"].into_iter());
        assert!(busy.engage("200@a", Part::Callee).is_none());
        assert!(busy.engage("200@a", Part::Caller).is_none());
        let one = busy.engage("100@a", Part::Callee);
        let two = busy.engage("100@a", Part::Caller);
        assert_eq!((busy.calls_of("100@a"), busy.taken_by("100@a")), (2, 1));
        drop(one);
        busy.watch(["100@a", "300@a"].into_iter());
        let counted = (busy.calls_of("100@a"), busy.taken_by("100@a"));
        assert_eq!(counted, (1, 0), "a reload forgets nobody");
        drop(two);
        assert_eq!(busy.calls_of("100@a"), 0);
    }
}
