//! Groups: in which order members ring, and who may pick up whose call.

use super::Features;
use crate::config::{Group, PEERS_MAX, Strategy};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Who of each round-robin group was first last time: shared by all shards and kept over reloads.
/// A group that is gone keeps its place until room is needed.
#[derive(Debug, Default)]
pub(super) struct Rotors {
    by_name: Mutex<HashMap<Box<str>, Arc<AtomicUsize>>>,
}

impl Rotors {
    fn of(&self, name: &str) -> Arc<AtomicUsize> {
        let mut rotors = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rotor) = rotors.get(name) {
            return Arc::clone(rotor);
        }
        if rotors.len() >= 2 * PEERS_MAX {
            // As many groups as a file may have, twice: these are names of older files. Beginning
            // again with the first member harms nobody.
            rotors.clear();
        }
        let rotor = Arc::default();
        rotors.insert(name.into(), Arc::clone(&rotor));
        rotor
    }
}

#[derive(Debug)]
struct Compiled {
    name: Box<str>,
    /// `name@domain`
    members: Vec<Box<str>>,
    strategy: Strategy,
    ring: Duration,
    rotor: Arc<AtomicUsize>,
}

/// The groups of one configuration. Each shard may have its own: what turns, they share.
#[derive(Debug, Default)]
pub struct Hunt {
    groups: Vec<Compiled>,
    by_name: HashMap<Box<str>, usize>,
    /// By the number that calls the group.
    by_number: HashMap<Box<str>, usize>,
    /// The groups of each user.
    of_user: HashMap<Box<str>, Vec<usize>>,
}

impl Hunt {
    /// Of the groups of a file; members without a domain are of `domain`.
    pub fn new(groups: &[Group], domain: &str, features: &Features) -> Self {
        let mut hunt = Self::default();
        for group in groups {
            let at = hunt.groups.len();
            let mut members: Vec<Box<str>> = Vec::with_capacity(group.members.len());
            for member in &group.members {
                let aor: Box<str> = match member.rsplit_once('@') {
                    Some((name, host)) => format!("{name}@{}", host.to_ascii_lowercase()).into(),
                    None => format!("{member}@{domain}").into(),
                };
                let of_user = hunt.of_user.entry(aor.clone()).or_default();
                if of_user.last() != Some(&at) {
                    of_user.push(at);
                    members.push(aor);
                }
            }
            features.busy.watch(members.iter().map(|m| &**m));
            hunt.by_name.insert(group.name.clone(), at);
            if let Some(number) = &group.number {
                hunt.by_number.insert(number.clone(), at);
            }
            hunt.groups.push(Compiled {
                name: group.name.clone(),
                members,
                strategy: group.strategy,
                ring: group.ring,
                rotor: features.rotors.of(&group.name),
            });
        }
        hunt
    }

    /// The name of the group that a number calls.
    pub fn by_number(&self, number: &str) -> Option<&str> {
        let at = self.by_number.get(number)?;
        self.groups.get(*at).map(|group| &*group.name)
    }

    /// How long each step of a group rings.
    pub fn ring(&self, group: &str) -> Option<Duration> {
        self.find(group).map(|group| group.ring)
    }

    /// Who rings for a call to a group, as `name@domain`: one step after the other, all of a step
    /// together. Members whom `skip` names are left out ([`Features::rings_in_group`], and whoever
    /// is not registered); no steps are left where nobody is. `calls` tells how many calls a member
    /// has; it is asked by [`Strategy::FewestCalls`] alone, once for each.
    ///
    /// A round-robin group turns by one with each call of this.
    pub fn order(
        &self,
        group: &str,
        skip: impl Fn(&str) -> bool,
        calls: impl Fn(&str) -> u32,
    ) -> Vec<Vec<Box<str>>> {
        let Some(group) = self.find(group) else {
            return Vec::new();
        };
        let mut members: Vec<&str> = group.members.iter().map(|m| &**m).collect();
        if group.strategy == Strategy::RoundRobin && !members.is_empty() {
            let turn = group.rotor.fetch_add(1, Ordering::Relaxed);
            let first = turn % members.len();
            members.rotate_left(first);
        }
        members.retain(|member| !skip(member));
        if group.strategy == Strategy::FewestCalls {
            // Stable, and each is asked once: those with as many calls ring as written.
            members.sort_by_cached_key(|member| calls(member));
        }
        let members = members.into_iter().map(Box::from);
        match group.strategy {
            Strategy::All => {
                let all: Vec<_> = members.collect();
                if all.is_empty() {
                    Vec::new()
                } else {
                    vec![all]
                }
            }
            Strategy::Ordered | Strategy::RoundRobin | Strategy::FewestCalls => {
                members.map(|member| vec![member]).collect()
            }
        }
    }

    /// Whether `who` may pick up a call that rings at `whom` (both `name@domain`): members of one
    /// group answer for each other, nobody else does.
    pub fn may_pick_up(&self, who: &str, whom: &str) -> bool {
        let (Some(mine), Some(theirs)) = (self.of_user.get(who), self.of_user.get(whom)) else {
            return false;
        };
        who != whom && mine.iter().any(|group| theirs.contains(group))
    }

    /// Whether a user (`name@domain`) is in a group: only then anybody may pick up a call there.
    pub fn is_member(&self, aor: &str) -> bool {
        self.of_user.contains_key(aor)
    }

    /// Whether a user (`name@domain`) is in this group.
    pub fn is_member_of(&self, aor: &str, group: &str) -> bool {
        let group = self.by_name.get(group);
        let groups = self.of_user.get(aor);
        group.is_some_and(|at| groups.is_some_and(|groups| groups.contains(at)))
    }

    /// Which of the calls that ring, each at `name@domain` and the longest ringing first, `who`
    /// picks up in the own groups: the first that may be.
    pub fn pick<'r>(&self, who: &str, ringing: impl IntoIterator<Item = &'r str>) -> Option<usize> {
        ringing
            .into_iter()
            .position(|whom| self.may_pick_up(who, whom))
    }

    fn find(&self, group: &str) -> Option<&Compiled> {
        self.groups.get(*self.by_name.get(group)?)
    }
}
