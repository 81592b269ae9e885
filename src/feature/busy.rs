//! How many calls each member of a group has: for groups that ring who has fewest first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Users who are counted at a time; of more, calls are not.
const USERS_MAX: usize = 100_000;

/// Counts, shared by all shards.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// Members of groups; a user who is not here is not counted.
    calls: Mutex<HashMap<Box<str>, u32>>,
}

impl Busy {
    /// Counts these users from now on.
    pub fn watch<'a>(&self, members: impl Iterator<Item = &'a str>) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for member in members {
            if calls.len() < USERS_MAX && !calls.contains_key(member) {
                calls.insert(member.into(), 0);
            }
        }
    }

    /// A call begins.
    pub fn engage(self: &Arc<Self>, aor: &str) -> Option<Engaged> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.get_mut(aor)?;
        *count = count.saturating_add(1);
        Some(Engaged {
            aor: aor.into(),
            busy: Arc::clone(self),
        })
    }

    /// How many calls there are.
    pub fn calls_of(&self, aor: &str) -> u32 {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(aor).copied().unwrap_or(0)
    }
}

/// One call of one user.
#[derive(Debug)]
pub struct Engaged {
    aor: Box<str>,
    busy: Arc<Busy>,
}

impl Drop for Engaged {
    fn drop(&mut self) {
        let calls = self.busy.calls.lock();
        let mut calls = calls.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.get_mut(&self.aor) {
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
        assert!(busy.engage("200@a").is_none());
        let one = busy.engage("100@a");
        let two = busy.engage("100@a");
        assert_eq!(busy.calls_of("100@a"), 2);
        drop(one);
        busy.watch(["100@a", "300@a"].into_iter());
        assert_eq!(busy.calls_of("100@a"), 1, "a reload forgets nobody");
        drop(two);
        assert_eq!(busy.calls_of("100@a"), 0);
    }
}
