//! The parking lot: which call waits in which slot. The calls are of several shards, so this is
//! shared by all of them under one lock, held for a look. One slot has one call; whoever takes it
//! out has it alone.
//!
//! Bounded: slots by the configuration's (`config::SLOTS_MAX`), notes of transfers by
//! [`REFERRALS_MAX`].
//!
//! Not done here: what is heard, and how two legs of different shards come together (`pbx`).

use crate::base::Instant;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Transfers to the lot that are remembered; of more the oldest are forgotten.
pub const REFERRALS_MAX: usize = 1_000;
/// How long a transfer may take until its INVITE is here.
const REFERRAL_WAIT: Duration = Duration::from_secs(10);

/// Where a leg that ends at a service is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Address {
    /// The shard.
    pub shard: usize,
    /// The session of its media.
    pub session: u64,
}

/// A call that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parked {
    /// Where.
    pub at: Address,
    /// Its Call-ID and the far end's tag, by which an INVITE with Replaces names it (RFC 3891).
    /// Our own tag is left out: the other two are as hard to guess.
    pub dialog: (Box<[u8]>, Box<[u8]>),
    /// Who is called back: the user who parked it, `name@domain`.
    pub parker: Option<Box<str>>,
    /// Whether the one who waits is the parker itself, who is about to be replaced.
    pub provisional: bool,
    /// The one who waits, if it is one of our users.
    pub user: Option<Box<str>>,
    /// As it shows itself; may be empty.
    pub number: Box<str>,
    /// The display name; may be empty.
    pub name: Box<str>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// A transfer to the lot that is under way.
#[derive(Debug)]
struct Referral {
    parker: Box<str>,
    at: Instant,
}

#[derive(Debug, Default)]
struct State {
    slots: BTreeMap<Box<str>, Parked>,
    /// Who parks, by whom it parks.
    referrals: BTreeMap<Box<str>, Referral>,
}

/// All slots that are taken.
#[derive(Debug, Default)]
pub struct Lot {
    state: Mutex<State>,
}

impl Lot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parks a call in the first of these slots that is free.
    pub fn park(&self, slots: impl Iterator<Item = String>, parked: Parked) -> Option<Box<str>> {
        let mut state = self.state();
        let mut free = slots.filter(|slot| !state.slots.contains_key(slot.as_str()));
        let slot: Box<str> = free.next()?.into();
        drop(free);
        state.slots.insert(slot.clone(), parked);
        Some(slot)
    }

    /// A call takes the place of the one that waits in a slot; whom it replaced.
    pub fn replace(&self, slot: &str, by: Parked) -> Option<Parked> {
        let mut state = self.state();
        let place = state.slots.get_mut(slot)?;
        Some(std::mem::replace(place, by))
    }

    /// Takes the call out of a slot.
    pub fn fetch(&self, slot: &str) -> Option<Parked> {
        self.state().slots.remove(slot)
    }

    /// The call at this place leaves its slot; whether it was still there.
    pub fn leave(&self, slot: &str, at: Address) -> bool {
        let mut state = self.state();
        let there = state.slots.get(slot).is_some_and(|parked| parked.at == at);
        if there {
            state.slots.remove(slot);
        }
        there
    }

    /// Whether somebody waits in a slot.
    pub fn is_taken(&self, slot: &str) -> bool {
        self.state().slots.contains_key(slot)
    }

    /// The slot of the call that a Replaces value names by its Call-ID and the far end's tag, with
    /// who parks it.
    pub fn find(&self, call_id: &[u8], tag: &[u8]) -> Option<(Box<str>, Option<Box<str>>)> {
        let state = self.state();
        let mut slots = state.slots.iter();
        let (slot, parked) = slots.find(|(_, p)| *p.dialog.0 == *call_id && *p.dialog.1 == *tag)?;
        Some((slot.clone(), parked.parker.clone()))
    }

    /// The slots that are taken, in their order.
    pub fn list(&self) -> Vec<(Box<str>, Parked)> {
        let state = self.state();
        let slots = state.slots.iter();
        slots.map(|(s, p)| (s.clone(), p.clone())).collect()
    }

    /// How many calls wait, for checkers.
    pub fn len(&self) -> usize {
        self.state().slots.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `parker` asks the phone of `whom`, one of our users, to call the lot: phones mostly do not
    /// say by whom they were referred (RFC 3892 §2.1 leaves that to them).
    pub fn refer(&self, whom: &str, parker: &str, now: Instant) {
        let mut state = self.state();
        let referrals = &mut state.referrals;
        referrals.retain(|_, r| now.since(r.at) < REFERRAL_WAIT);
        if referrals.len() >= REFERRALS_MAX && !referrals.contains_key(whom) {
            let oldest = referrals.iter().min_by_key(|(_, r)| r.at);
            if let Some(oldest) = oldest.map(|(whom, _)| whom.clone()) {
                referrals.remove(&oldest);
            }
        }
        let parker = parker.into();
        referrals.insert(whom.into(), Referral { parker, at: now });
    }

    /// Who asked the phone of `whom` a moment ago to call the lot.
    pub fn referred(&self, whom: &str, now: Instant) -> Option<Box<str>> {
        let referral = self.state().referrals.remove(whom)?;
        (now.since(referral.at) < REFERRAL_WAIT).then_some(referral.parker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(session: u64) -> Parked {
        Parked {
            at: Address { shard: 0, session },
            dialog: (b"call".as_slice().into(), b"tag".as_slice().into()),
            parker: Some("100@example.com".into()),
            provisional: false,
            user: None,
            number: "+34915550100".into(),
            name: "".into(),
            since_ms: 0,
        }
    }

    fn slots() -> impl Iterator<Item = String> {
        ["701", "702"].into_iter().map(String::from)
    }

    #[test]
    fn one_slot_has_one_call_and_one_fetches_it() {
        let lot = Lot::default();
        assert_eq!(lot.park(slots(), parked(1)).as_deref(), Some("701"));
        assert_eq!(lot.park(slots(), parked(2)).as_deref(), Some("702"));
        assert_eq!(lot.park(slots(), parked(3)), None);
        assert_eq!(lot.fetch("701").map(|p| p.at.session), Some(1));
        assert_eq!(lot.fetch("701"), None);
        // The lowest free one is next.
        assert_eq!(lot.park(slots(), parked(4)).as_deref(), Some("701"));
        // Who was taken out, or replaced, frees nobody's slot.
        assert!(!lot.leave("701", parked(1).at));
        assert_eq!(lot.replace("701", parked(5)).map(|p| p.at.session), Some(4));
        assert!(!lot.leave("701", parked(4).at));
        assert!(lot.leave("701", parked(5).at));
        assert_eq!(lot.replace("701", parked(6)), None);
        assert_eq!(
            (lot.len(), lot.is_taken("701"), lot.is_taken("702")),
            (1, false, true)
        );
    }

    #[test]
    fn a_call_is_found_by_its_dialog() {
        let lot = Lot::default();
        lot.park(slots(), parked(1));
        let found = lot.find(b"call", b"tag").map(|(slot, _)| slot);
        assert_eq!(found.as_deref(), Some("701"));
        assert_eq!(lot.find(b"call", b"other"), None);
        assert_eq!(lot.find(b"other", b"tag"), None);
    }

    #[test]
    fn transfers_are_remembered_for_a_moment_and_bounded() {
        let lot = Lot::default();
        let at = Instant::from_millis;
        lot.refer("200@example.com", "100@example.com", at(0));
        let parker = lot.referred("200@example.com", at(9_000));
        assert_eq!(parker.as_deref(), Some("100@example.com"));
        assert_eq!(lot.referred("200@example.com", at(9_000)), None);
        lot.refer("200@example.com", "100@example.com", at(10_000));
        assert_eq!(lot.referred("200@example.com", at(20_000)), None);
        for n in 0..2 * REFERRALS_MAX as u64 {
            lot.refer(&n.to_string(), "100@example.com", at(20_000 + n % 100));
        }
        assert_eq!(lot.state().referrals.len(), REFERRALS_MAX);
    }
}
