//! Borders: calls of which the far end, a trunk or a member of a pool, sees nothing of what is
//! inside. Toward it we are an endpoint (RFC 7092 §3.1.2): one Via, no Record-Route, a Contact, a
//! Call-ID and a CSeq of our own, From and To as it wants them. Inside, everything goes on as if
//! the far end were reached by a proxy: what comes from it is put back into the inside's terms
//! before anybody looks at it, and what goes to it is veiled when it is written. So routing,
//! forking, calls and media know nothing of borders.
//!
//! | where | what |
//! | --- | --- |
//! | [`Border::veil_request`] | a request on its way out |
//! | [`Border::unveil_response`] | its answers |
//! | [`Border::unveil_request`] | a request of the far end in the dialog |
//! | [`Border::veil_response`] | our answers to those, and to the INVITE that it began with |
//!
//! A border lives as long as its call; it is not kept over a restart.

mod account;
#[cfg(test)]
mod tests;
mod veil;

pub(super) use account::Account;
pub(super) use veil::{NamedDialogs, address_of};

use crate::base::{Instant, Key, Rng, Slab, TimerTable, hash64};
use crate::call::{CallKey, Side};
use crate::wire::sip::Message;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Dialogs of one border on the inside (an INVITE from a trunk that forked here), and tags of the
/// far end (one that forked there); of more the oldest are forgotten.
const DIALOGS_MAX: usize = 8;
/// Borders of one Call-ID: the trunks that a call was tried on.
const SAME_CALL_ID_MAX: usize = 32;

/// How one side of the border names a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Call-ID.
    pub call_id: Box<[u8]>,
    /// The caller, as in From without its tag.
    pub caller: Box<[u8]>,
    /// The callee, as in To without its tag.
    pub callee: Box<[u8]>,
}

impl Names {
    /// As a request that begins a dialog writes them.
    pub fn of(message: &Message) -> Option<Self> {
        Some(Self {
            call_id: message.call_id().into(),
            caller: address_of(&message.from().ok()?).into(),
            callee: address_of(&message.to().ok()?).into(),
        })
    }

    fn party(&self, side: Side) -> &[u8] {
        match side {
            Side::Caller => &self.caller,
            Side::Called => &self.callee,
        }
    }
}

/// A dialog as the inside sees it: where a request of the far end goes.
#[derive(Clone, Debug)]
struct Near {
    tag: Box<[u8]>,
    target: Box<[u8]>,
    routes: Vec<Box<[u8]>>,
}

/// One call over a border.
#[derive(Debug)]
pub(super) struct Border {
    /// Which side of the call the far end is.
    pub far: Side,
    /// Whether Via, Record-Route, Contact and Call-ID of the inside stay inside.
    pub hides: bool,
    /// The call inside.
    pub inner: Names,
    /// The call outside.
    pub outer: Names,
    /// What the far end reaches us by: a Contact value.
    pub contact: Box<[u8]>,
    /// How we prove to the far end who we are.
    pub account: Option<Account>,
    /// The call, once there is one.
    pub call: Option<CallKey>,
    near: SmallVec<[Near; 1]>,
    far_tags: SmallVec<[Box<[u8]>; 1]>,
    /// What our requests' CSeq is above the inside's: each challenge adds one (RFC 3261 §22.2).
    cseq_ahead: u32,
    /// CSeq of the last INVITE, inside and outside, for its ACK and PRACK.
    invite: (u32, u32),
}

impl Border {
    /// A call that goes out. `invite` is the request as the inside wrote it, `routes` the
    /// Record-Route values that the far end would have seen, topmost first.
    pub fn outward(
        invite: &Message,
        outer: Names,
        contact: Box<[u8]>,
        hides: bool,
        routes: Vec<Box<[u8]>>,
    ) -> Option<Self> {
        let mut border = Self::new(Side::Called, Names::of(invite)?, outer, contact, hides);
        let tag = invite.from_tag().unwrap_or_default().into();
        border.near.push(Near {
            tag,
            target: veil::contact_of(invite).into(),
            routes,
        });
        Some(border)
    }

    /// A call that comes in; `inner` is what the inside will read.
    pub fn inward(invite: &Message, inner: Names, contact: Box<[u8]>, hides: bool) -> Option<Self> {
        let mut border = Self::new(Side::Caller, inner, Names::of(invite)?, contact, hides);
        border.learn_far(invite.from_tag().unwrap_or_default());
        Some(border)
    }

    fn new(far: Side, inner: Names, outer: Names, contact: Box<[u8]>, hides: bool) -> Self {
        Self {
            far,
            hides,
            inner,
            outer,
            contact,
            account: None,
            call: None,
            near: SmallVec::new(),
            far_tags: SmallVec::new(),
            cseq_ahead: 0,
            invite: (0, 0),
        }
    }

    /// The request of this CSeq goes out once more, with credentials.
    pub fn count_up(&mut self) {
        self.cseq_ahead = self.cseq_ahead.saturating_add(1);
    }

    fn learn_far(&mut self, tag: &[u8]) {
        if !tag.is_empty() && !self.knows_far(tag) {
            if self.far_tags.len() >= DIALOGS_MAX {
                self.far_tags.remove(0);
            }
            self.far_tags.push(tag.into());
        }
    }

    fn knows_far(&self, tag: &[u8]) -> bool {
        self.far_tags.iter().any(|t| **t == *tag)
    }

    fn near(&self, tag: &[u8]) -> Option<&Near> {
        self.near.iter().find(|n| *n.tag == *tag)
    }

    fn learn_near(&mut self, tag: &[u8], target: &[u8], routes: Vec<Box<[u8]>>) {
        let near = Near {
            tag: tag.into(),
            target: target.into(),
            routes,
        };
        if let Some(known) = self.near.iter_mut().find(|n| *n.tag == *tag) {
            *known = near;
            return;
        }
        if self.near.len() >= DIALOGS_MAX {
            self.near.remove(0);
        }
        self.near.push(near);
    }

    /// The inside moved: a 2xx confirmed the Contact that one of its requests bore, or it answered
    /// with one (RFC 3261 §12.2).
    pub fn move_near(&mut self, tag: &[u8], target: &[u8]) {
        if let Some(near) = self.near.iter_mut().find(|n| *n.tag == *tag)
            && !target.is_empty()
            && *near.target != *target
        {
            near.target = target.into();
        }
    }

    /// Whether the far end's side of a dialog wrote this request.
    fn is_from_far(&self, from: &[u8], to: &[u8]) -> bool {
        self.knows_far(from) && self.near(to).is_some()
    }

    /// Whether this request goes to the far end's side of a dialog.
    fn is_to_far(&self, from: &[u8], to: &[u8]) -> bool {
        self.near(from).is_some() && self.knows_far(to)
    }
}

/// All borders of one shard.
#[derive(Debug)]
pub(super) struct Borders {
    borders: Slab<Border>,
    by_outer: HashMap<Box<[u8]>, SmallVec<[Key; 1]>>,
    by_inner: HashMap<Box<[u8]>, SmallVec<[Key; 1]>>,
    by_call: HashMap<CallKey, SmallVec<[Key; 2]>>,
    /// When borders of ended calls are forgotten: what crosses then may be a repetition.
    timers: TimerTable<Key>,
    shard: usize,
    shards: usize,
}

fn tags(message: &Message) -> Option<(&[u8], &[u8])> {
    let (from, to) = (message.from().ok()?, message.to().ok()?);
    Some((from.tag()?, to.tag()?))
}

impl Borders {
    /// None yet; at most `limit` at a time.
    pub fn new(limit: usize, shard: usize, shards: usize) -> Self {
        Self {
            borders: Slab::new(limit),
            by_outer: HashMap::new(),
            by_inner: HashMap::new(),
            by_call: HashMap::new(),
            timers: TimerTable::new(),
            shard,
            shards: shards.max(1),
        }
    }

    /// A Call-ID for the outside that leads back to this shard.
    pub fn new_call_id(&self, rng: &mut Rng) -> Box<[u8]> {
        loop {
            let call_id = rng.token::<24>();
            if hash64(&call_id) % self.shards as u64 == self.shard as u64 {
                return call_id.as_slice().into();
            }
        }
    }

    /// Takes a border in; `None` when the table, or that Call-ID's share of it, is full.
    pub fn insert(&mut self, border: Border) -> Option<Key> {
        let (inner, outer) = (border.inner.call_id.clone(), border.outer.call_id.clone());
        let taken = |table: &HashMap<Box<[u8]>, SmallVec<[Key; 1]>>, id: &[u8]| {
            table.get(id).is_some_and(|k| k.len() >= SAME_CALL_ID_MAX)
        };
        if taken(&self.by_inner, &inner) || taken(&self.by_outer, &outer) {
            return None;
        }
        let key = self.borders.insert(border).ok()?;
        self.by_inner.entry(inner).or_default().push(key);
        self.by_outer.entry(outer).or_default().push(key);
        Some(key)
    }

    /// Forgets a border.
    pub fn remove(&mut self, key: Key) {
        let Some(border) = self.borders.remove(key) else {
            return;
        };
        for (table, id) in [
            (&mut self.by_inner, &border.inner.call_id),
            (&mut self.by_outer, &border.outer.call_id),
        ] {
            if let Some(keys) = table.get_mut(id) {
                keys.retain(|k| *k != key);
                if keys.is_empty() {
                    table.remove(id);
                }
            }
        }
    }

    /// The border belongs to this call from now on, and ends with it.
    pub fn bind(&mut self, key: Key, call: CallKey) {
        if let Some(border) = self.borders.get_mut(key)
            && border.call.is_none()
        {
            border.call = Some(call);
            self.by_call.entry(call).or_default().push(key);
        }
    }

    /// The same for a call that ended already, before this border's side of it answered: it stays
    /// for the ACK and the BYE that are owed.
    pub fn bind_late(&mut self, key: Key, call: CallKey, until: Instant) {
        if let Some(border) = self.borders.get_mut(key)
            && border.call.is_none()
        {
            border.call = Some(call);
            self.timers.arm(until, key);
        }
    }

    /// Forgets a border that no call is bound to.
    pub fn discard(&mut self, key: Key) {
        if self.get(key).is_some_and(|b| b.call.is_none()) {
            self.remove(key);
        }
    }

    /// A call ended: its borders stay for what is still under way.
    pub fn call_ended(&mut self, call: CallKey, until: Instant) {
        for key in self.by_call.remove(&call).unwrap_or_default() {
            self.timers.arm(until, key);
        }
    }

    /// Whether its call ended, and it stays for repetitions alone.
    pub fn is_over(&self, key: Key) -> bool {
        let call = self.get(key).and_then(|border| border.call);
        call.is_some_and(|call| !self.by_call.contains_key(&call))
    }

    /// When [`Borders::expire`] has something to do.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Forgets what is due.
    pub fn expire(&mut self, now: Instant) {
        while let Some((_, key)) = self.timers.pop_due(now) {
            self.remove(key);
        }
    }

    /// A border.
    pub fn get(&self, key: Key) -> Option<&Border> {
        self.borders.get(key)
    }

    /// A border.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Border> {
        self.borders.get_mut(key)
    }

    /// Whether the sides of a message that crosses it must not see each other.
    pub fn hides(&self, key: Option<Key>) -> bool {
        key.and_then(|key| self.get(key)).is_some_and(|b| b.hides)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.borders.len()
    }

    /// The border that a request inside a dialog comes over.
    pub fn of_far(&self, request: &Message) -> Option<Key> {
        let keys = self.by_outer.get(request.call_id())?;
        let (from, to) = tags(request)?;
        let is = |b: &Border| b.is_from_far(from, to);
        keys.iter().copied().find(|k| self.get(*k).is_some_and(is))
    }

    /// The border that a request inside a dialog goes over; in the inside's terms.
    pub fn of_near(&self, request: &Message) -> Option<Key> {
        let keys = self.by_inner.get(request.call_id())?;
        let (from, to) = tags(request)?;
        let is = |b: &Border| b.is_to_far(from, to);
        keys.iter().copied().find(|k| self.get(*k).is_some_and(is))
    }

    /// What the far end calls the dialog of a Replaces or Join value of the inside (RFC 3891,
    /// RFC 3911).
    fn outer_call_id(&self, inner: &[u8]) -> Option<&[u8]> {
        let key = self.by_inner.get(inner)?.first()?;
        self.get(*key).map(|b| &*b.outer.call_id)
    }
}
