//! Calls that ring at members of groups, of all shards: what may be picked up.

use super::Features;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places where calls ring that are remembered at a time; a call that rings when there are as many
/// cannot be picked up.
pub const RINGING_MAX: usize = 4096;

/// Names a call that rings: its shard, and what that shard calls it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RingingCall {
    /// Where it lives.
    pub shard: usize,
    /// Never given to another call of that shard.
    pub key: u64,
}

/// What becomes of the wish to pick up a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claim {
    /// This call, until [`Features::release`]: nobody else gets it meanwhile.
    Call {
        /// Which.
        call: RingingCall,
        /// At whom it rings, `name@domain`.
        whom: Box<str>,
    },
    /// The only one rings at whoever wants to pick it up.
    Own,
    /// None rings that may be.
    Nothing,
}

/// One place where a call rings.
#[derive(Debug)]
struct Place {
    call: RingingCall,
    /// `name@domain`
    whom: Box<str>,
}

/// One call, as long as it rings anywhere.
#[derive(Debug, Default)]
struct Ring {
    places: u32,
    /// Who calls, if one of our users.
    caller: Option<Box<str>>,
    claimed: bool,
}

#[derive(Debug, Default)]
struct Tables {
    /// By when they began to ring.
    places: BTreeMap<u64, Place>,
    calls: HashMap<RingingCall, Ring>,
    next: u64,
}

/// Shared by all shards.
#[derive(Default)]
pub(super) struct Ringing {
    tables: Mutex<Tables>,
}

impl Ringing {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ringing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ringing").finish_non_exhaustive()
    }
}

/// A place where a call rings, known to all as long as this lives.
#[derive(Debug)]
pub struct Rings {
    place: u64,
    ringing: Arc<Ringing>,
}

impl Drop for Rings {
    fn drop(&mut self) {
        let mut tables = self.ringing.lock();
        let Some(place) = tables.places.remove(&self.place) else {
            return;
        };
        if let Some(ring) = tables.calls.get_mut(&place.call) {
            ring.places = ring.places.saturating_sub(1);
            if ring.places == 0 {
                tables.calls.remove(&place.call);
            }
        }
    }
}

impl Features {
    /// A call of `caller`, if that is one of our users, rings at `whom` (both `name@domain`) as
    /// long as the result lives; `None` if too many do.
    pub fn rings(&self, call: RingingCall, whom: &str, caller: Option<&str>) -> Option<Rings> {
        let mut tables = self.ringing.lock();
        if tables.places.len() >= RINGING_MAX {
            return None;
        }
        let place = tables.next;
        tables.next += 1;
        let whom = whom.into();
        tables.places.insert(place, Place { call, whom });
        let ring = tables.calls.entry(call).or_default();
        ring.places += 1;
        ring.caller = caller.map(Box::from);
        Some(Rings {
            place,
            ringing: Arc::clone(&self.ringing),
        })
    }

    /// `who` (`name@domain`) wants to pick up a call. `pick` gets the users at whom calls ring, the
    /// longest ringing first, and says which. Calls that `who` makes, or that another one is
    /// picking up, are left out.
    pub fn claim(&self, who: &str, pick: impl Fn(&[&str]) -> Option<usize>) -> Claim {
        let mut tables = self.ringing.lock();
        let Tables { places, calls, .. } = &mut *tables;
        let free = |place: &&Place| {
            let ring = calls.get(&place.call);
            ring.is_some_and(|r| !r.claimed && r.caller.as_deref() != Some(who))
        };
        let at_who = places.values().filter(|place| *place.whom == *who);
        // A phone of theirs has that very INVITE, and would take another for a loop (RFC 3261
        // §8.2.2.2).
        let own: Vec<RingingCall> = at_who.map(|place| place.call).collect();
        let (theirs, others): (Vec<&Place>, Vec<&Place>) = places
            .values()
            .filter(free)
            .partition(|place| own.contains(&place.call));
        let first = |among: &[&Place]| {
            let whom: Vec<&str> = among.iter().map(|place| &*place.whom).collect();
            pick(&whom).and_then(|at| among.get(at).map(|p| (p.call, p.whom.clone())))
        };
        let Some((call, whom)) = first(&others) else {
            return match first(&theirs) {
                Some(_) => Claim::Own,
                None => Claim::Nothing,
            };
        };
        if let Some(ring) = calls.get_mut(&call) {
            ring.claimed = true;
        }
        Claim::Call { call, whom }
    }

    /// A call that was claimed was not picked up, and others may try.
    pub fn release(&self, call: RingingCall) {
        if let Some(ring) = self.ringing.lock().calls.get_mut(&call) {
            ring.claimed = false;
        }
    }

    /// At how many places calls ring, for checkers.
    pub fn ringing(&self) -> usize {
        self.ringing.lock().places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(key: u64) -> RingingCall {
        RingingCall { shard: 1, key }
    }

    fn any(ringing: &[&str]) -> Option<usize> {
        (!ringing.is_empty()).then_some(0)
    }

    fn claimed(key: u64, whom: &str) -> Claim {
        let (call, whom) = (call(key), whom.into());
        Claim::Call { call, whom }
    }

    #[test]
    fn the_longest_ringing_first_and_each_by_one() {
        let features = Features::new();
        let first = features.rings(call(1), "200@a", None);
        let _also = features.rings(call(1), "300@a", None);
        let _second = features.rings(call(2), "200@a", None);
        assert_eq!(features.claim("400@a", any), claimed(1, "200@a"));
        assert_eq!(features.claim("500@a", any), claimed(2, "200@a"));
        assert_eq!(features.claim("600@a", any), Claim::Nothing);
        features.release(call(1));
        drop(first);
        assert_eq!(features.claim("600@a", any), claimed(1, "300@a"));
    }

    #[test]
    fn nobody_picks_up_the_own_calls() {
        let features = Features::new();
        let mine = features.rings(call(1), "200@a", Some("400@a"));
        assert_eq!(features.claim("400@a", any), Claim::Nothing, "400 calls");
        let _here = features.rings(call(2), "400@a", None);
        let _there = features.rings(call(2), "200@a", None);
        assert_eq!(features.claim("400@a", any), Claim::Own);
        assert_eq!(features.claim("500@a", any), claimed(1, "200@a"));
        drop(mine);
        assert_eq!(features.ringing(), 2);
    }

    #[test]
    fn the_table_has_an_end() {
        let features = Features::new();
        let ring = |n| features.rings(call(n), "200@a", None);
        let all: Vec<Option<Rings>> = (0..RINGING_MAX as u64).map(ring).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(ring(1 << 40).is_none());
        drop(all);
        assert_eq!(features.ringing(), 0);
        assert!(ring(1 << 40).is_some());
    }
}
