//! Call pickup by code. A proxy has no media to hand over, so the phone that dialled the code
//! becomes one more branch of the call that rings: its INVITE is answered with what happens, and
//! the call's INVITE goes to it, with the headers by which phones answer by themselves. What it
//! answers is an answer like any other's: the others are cancelled (RFC 3261 §16.7 step 5). If it
//! does not, nothing changes for them.
//!
//! The code and the call are of two shards mostly. Which calls ring stands in a table that all
//! share ([`Features::claim`]); who picks up is told to the call's shard by [`PickUp`].
//!
//! [`Features::claim`]: crate::feature::Features::claim

use super::admission::Reject;
use super::context::{Branch, BranchState, Caller, Phase, ResponseContext};
use super::dial::{Asked, Marks, picks_up};
use super::forking::UNREACHABLE;
use super::routing::reject;
use super::targets::{self, Target};
use super::{Context, Proxy};
use crate::base::{Instant, Key};
use crate::feature::{Claim, Diversions, History, RingingCall, Rings};
use crate::location::Binding;
use crate::wire::sip::{Message, Scheme, Uri};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// How long a phone may take to answer the call that it picks up: at once by itself, or after its
/// user touched a key.
pub(super) const WAIT: Duration = Duration::from_secs(10);

/// How often one call may be picked up in vain; each time gives its step of the route up to
/// [`WAIT`] more.
const TRIES_MAX: u8 = 8;

/// One of our users picks up a call that rings at another.
#[derive(Debug)]
pub struct PickUp {
    call: RingingCall,
    /// At whom it rings, `name@domain`.
    whom: Box<str>,
    /// The phone that picks up.
    phone: Arc<Binding>,
}

impl PickUp {
    /// The shard where the call is.
    pub fn shard(&self) -> usize {
        self.call.shard
    }
}

/// A call of this shard that rings, or rang, where it may be picked up.
#[derive(Debug, Default)]
pub(super) struct Pickable {
    /// The branches that ring.
    rings: SmallVec<[(usize, Rings); 2]>,
    /// How often it was tried.
    tries: u8,
    /// Whether somebody tries now.
    claimed: bool,
}

impl Proxy {
    /// A user dialled the code: which call it is for. Says what happens, and tells the call's
    /// shard.
    pub(super) fn dial_pickup(
        &self,
        cx: &mut Context<'_>,
        asked: &Asked<'_>,
        user: &str,
        extension: Option<&str>,
    ) -> Result<String, Reject> {
        let extension = match extension {
            Some(e) if !is_plain(e) => return Err(reject(404, "No Such Extension")),
            extension => extension,
        };
        if !self.hunt.is_member(user) {
            return Err(reject(403, "Pickup Is For Members Of Groups"));
        }
        let claim = match extension {
            None => cx.features.claim(user, |ringing| {
                self.hunt.pick(user, ringing.iter().copied())
            }),
            Some(extension) => self.claim_at(cx, user, extension)?,
        };
        let at = match extension {
            Some(extension) => format!("At {extension}"),
            None => "In Your Groups".into(),
        };
        let (call, whom) = match claim {
            Claim::Call { call, whom } => (call, whom),
            Claim::Own => return Err(reject(480, "It Rings At Your Own Phone")),
            Claim::Nothing => return Err(says(404, format!("No Call Rings {at}"))),
        };
        let Some(phone) = phone_of(cx, user, asked) else {
            cx.features.release(call);
            return Err(reject(403, "Register This Phone To Pick Up Calls"));
        };
        let name = whom.rsplit_once('@').map_or(&*whom, |(name, _)| name);
        let done = format!("Picking Up {name}");
        cx.outputs.pick_ups.push_back(PickUp { call, whom, phone });
        Ok(done)
    }

    /// A call that rings at an extension, a user's or a group's.
    fn claim_at(&self, cx: &Context<'_>, user: &str, extension: &str) -> Result<Claim, Reject> {
        let domain = user.rsplit_once('@').map_or("", |(_, domain)| domain);
        let aor = format!("{extension}@{domain}");
        let group = self.hunt.by_number(extension);
        let may = match group {
            Some(group) => self.hunt.is_member_of(user, group),
            None => self.hunt.may_pick_up(user, &aor),
        };
        if !may {
            // Also where nothing rings, or nobody is: who may not pick up learns neither.
            return Err(says(403, format!("You Are In No Group With {extension}")));
        }
        let there = |whom: &&str| match group {
            Some(group) => self.hunt.is_member_of(whom, group) && self.hunt.may_pick_up(user, whom),
            None => **whom == *aor,
        };
        Ok(cx
            .features
            .claim(user, |ringing| ringing.iter().position(there)))
    }
}

impl Proxy {
    /// A branch rings: others of the group may pick the call up from now on.
    pub(super) fn note_ringing(&mut self, cx: &Context<'_>, key: Key, index: usize) {
        let Some(context) = self.contexts.get(key) else {
            return;
        };
        let Some(branch) = context.branches.get(index) else {
            return;
        };
        // An INVITE inside a dialog rings nowhere.
        let begins = context.invite && context.inbound.record_route;
        if !begins || !rings(context, branch) {
            return;
        }
        let whom = branch.target.binding().map(|binding| binding.aor());
        let Some(whom) = whom.filter(|whom| self.hunt.is_member(whom)) else {
            return;
        };
        let known = self.pickable.get(&key);
        if known.is_some_and(|p| p.rings.iter().any(|(at, _)| *at == index)) {
            return;
        }
        let call = self.ringing_call(key);
        let caller = match &context.inbound.caller {
            Caller::User(aor) => Some(&**aor),
            _ => None,
        };
        let Some(place) = cx.features.rings(call, whom, caller) else {
            tracing::debug!(whom, "too many calls ring: this one cannot be picked up");
            return;
        };
        let pickable = self.pickable.entry(key).or_default();
        pickable.rings.push((index, place));
    }

    /// Something happened to a call: where it rings no more, nobody picks it up; and if the phone
    /// that did so failed, another may.
    pub(super) fn review_ringing(&mut self, cx: &Context<'_>, key: Key) {
        let Some(pickable) = self.pickable.get_mut(&key) else {
            return;
        };
        let Some(context) = self.contexts.get(key) else {
            self.pickable.remove(&key);
            return;
        };
        let still = |at: usize| context.branches.get(at).is_some_and(|b| rings(context, b));
        pickable.rings.retain(|(at, _)| still(*at));
        let picks_up = |b: &Branch| {
            let given_up = matches!(b.state, BranchState::Cancelling { .. });
            b.target.picks_up && b.is_open() && !given_up
        };
        if pickable.claimed && !context.branches.iter().any(picks_up) {
            pickable.claimed = false;
            let call = self.ringing_call(key);
            cx.features.release(call);
        }
    }

    /// The context is gone.
    pub(super) fn forget_ringing(&mut self, key: Key) {
        self.pickable.remove(&key);
    }

    /// A phone picks up a call of this shard, if that still rings.
    pub fn pick_up(&mut self, cx: &mut Context<'_>, pick_up: &PickUp) {
        let key = Key::from_u64(pick_up.call.key);
        let Some((index, message)) = self.add_picker(cx, key, pick_up) else {
            // It was answered or given up in the moment since it was found.
            tracing::debug!(whom = %pick_up.whom, "rings no more: not picked up");
            cx.features.release(pick_up.call);
            return;
        };
        self.advance(cx, key, index, &message, UNREACHABLE);
        self.settle(cx, key);
    }

    /// The branch at the phone, to be sent.
    fn add_picker(
        &mut self,
        cx: &Context<'_>,
        key: Key,
        pick_up: &PickUp,
    ) -> Option<(usize, Message)> {
        let message = self.request_of(cx, key)?;
        let uri = Uri::parse(message.request_uri()).ok()?;
        let secure = matches!(uri.scheme(), Scheme::Sips);
        let pickable = self.pickable.get_mut(&key)?;
        let context = self.contexts.get_mut(key)?;
        if pickable.tries >= TRIES_MAX || pickable.claimed {
            return None;
        }
        let at = |b: &&Branch| {
            b.target
                .binding()
                .is_some_and(|b| b.aor() == &*pick_up.whom)
        };
        let ringing = pickable
            .rings
            .iter()
            .filter_map(|(i, _)| context.branches.get(*i));
        let ringing = &ringing.into_iter().find(at)?.target;
        let phones = [Arc::clone(&pick_up.phone)];
        let of_service = context.inbound.flow.is_internal();
        let mut target = match picks_up(cx, &message, of_service, pick_up.phone.aor()) {
            Some(bridge) => bridge,
            None => targets::from_bindings(phones, secure, 1).pop()?,
        };
        // Should all fail, what comes next is what would have come without it.
        (target.rank, target.hunts) = (ringing.rank, ringing.hunts);
        target.picks_up = true;
        target.marks = Some(Arc::new(marks(&message, ringing, pick_up)));
        pickable.tries += 1;
        pickable.claimed = true;
        if let Phase::Open {
            group_ends: Some(at),
        } = &mut context.phase
        {
            *at = (*at).max(cx.now + WAIT);
        }
        let index = context.branches.len();
        context.branches.push(Branch {
            target,
            state: BranchState::Done,
            deadline: Instant::FAR_FUTURE,
            silent: true,
            is_last_hope: false,
            challenges: 0,
            ticket: None,
        });
        Some((index, message))
    }

    fn ringing_call(&self, key: Key) -> RingingCall {
        RingingCall {
            shard: self.shard,
            key: key.to_u64(),
        }
    }
}

/// Whether a branch may be picked up, once its phone said that it rings.
fn rings(context: &ResponseContext, branch: &Branch) -> bool {
    let open = matches!(context.phase, Phase::Open { .. });
    let calling = matches!(branch.state, BranchState::Calling { .. });
    open && calling && !branch.target.picks_up
}

/// What the phone that picks up reads: how the call came to the one at whom it rings, that it goes
/// on from there, and that it is to be answered.
fn marks(message: &Message, ringing: &Target, pick_up: &PickUp) -> Marks {
    let (diversions, mut history) = match &ringing.marks {
        Some(marks) => {
            let history = marks.history.iter().map(|value| value.as_bytes());
            (marks.diversions.clone(), History::of_values(history))
        }
        None => {
            let diversions = Diversions::of(message);
            (diversions.values().into(), History::of(message))
        }
    };
    history.arrive(&format!("sip:{}", pick_up.whom));
    history.pick_up(&format!("sip:{}", pick_up.phone.aor()));
    Marks {
        diversions,
        history: history.values().map(String::from).collect(),
        picked_up: Some(pick_up.whom.clone()),
    }
}

/// The phone that a request of `user` came from: among those at its flow, or where none is, among
/// all, the one whose Contact it bears.
fn phone_of(cx: &Context<'_>, user: &str, asked: &Asked<'_>) -> Option<Arc<Binding>> {
    let bindings = cx.location.lookup(user);
    let here: Vec<&Arc<Binding>> = bindings.iter().filter(|b| b.flow() == asked.flow).collect();
    if let [only] = here.as_slice() {
        return Some(Arc::clone(only));
    }
    let contact = asked
        .message
        .addresses(crate::wire::sip::HeaderName::Contact);
    let contact = contact.into_iter().next()?.ok()?.uri().ok()?;
    let bears = |binding: &&Arc<Binding>| {
        let known = Uri::parse(binding.contact().as_bytes()).ok();
        known.is_some_and(|known| {
            (known.user(), known.port()) == (contact.user(), contact.port())
                && known.host().matches(&contact.host())
        })
    };
    let found = match here.is_empty() {
        true => bindings.iter().find(bears),
        false => here.into_iter().find(bears),
    };
    found.cloned()
}

fn says(status: u16, reason: String) -> Reject {
    let reason = reason.into();
    let note = None;
    Reject {
        status,
        reason,
        note,
    }
}

/// Whether it may stand in a reason phrase.
fn is_plain(extension: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'_' | b'.');
    extension.len() <= 64 && extension.bytes().all(plain)
}
