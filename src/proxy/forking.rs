//! Branches (RFC 3261 §16.6, §16.8 to §16.10): targets of equal preference are asked at once, the
//! next group when they all refused or rang too long; each branch tries the addresses of its next
//! hop one after the other (RFC 3263 §4.3) and the flows of its phone (RFC 5626 §7).

use super::admission::Reject;
use super::border::{Border, Names};
use super::context::{Best, Branch, BranchState, Hold, Inbound, Outcome, Phase, ResponseContext};
use super::dial::{self, Forwarding};
use super::forward;
use super::onward::{Crossing, Onward, too_big_for};
use super::responses::ELSEWHERE;
use super::routing::{has_to_tag, reject};
use super::targets::{Place, Search, Target};
use super::{CONTEXT_FOREIGN, Context, LOCATING_MAX, Proxy, Waiting, pickup};
use crate::base::{Destination, Flow, Instant, Key, Transport};
use crate::call::inside::Led;
use crate::call::{BodyEdit, CallKey, CallerInfo, Toward, Ways};
use crate::location::Reach;
use crate::sip::listeners::AdvertisedHost;
use crate::sip::locate::{LocateId, Located};
use crate::sip::transaction::ServerKey;
use crate::wire::sip::{HeaderName, Message, Method, Uri};
use bytes::Bytes;
use smallvec::SmallVec;
use std::time::Duration;

/// Statuses that stand for what went wrong below SIP (RFC 3261 §16.9, RFC 5626 §11.5).
pub(super) const UNREACHABLE: u16 = 503;
const FLOW_FAILED: u16 = 430;
const NOT_HERE: u16 = 480;
const NO_CALL: u16 = 481;
/// A service calls a service, and does not give way to it.
const A_SERVICE: u16 = 482;
/// The next hop's name leads nowhere.
const NOT_FOUND: u16 = 404;

/// What a response context begins with.
pub(super) struct Start {
    /// The next ones last.
    pub targets: Vec<Target>,
    /// What becomes of the call if they fail.
    pub forwarding: Option<Box<Forwarding>>,
    /// The call that it belongs to already.
    pub call: Option<CallKey>,
    /// By which ways it comes and goes.
    pub ways: Ways,
}

/// Where the next hop of a target is looked for.
pub(super) enum Hop {
    /// Along a flow.
    Flow(Flow),
    /// By RFC 3263.
    Uri(Vec<u8>),
    /// To a service of ours.
    Service,
    /// Nothing is left.
    Nowhere,
}

impl Proxy {
    /// Opens a response context and its first group of branches.
    pub(super) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerKey,
        message: &Message,
        mut inbound: Inbound,
        start: Start,
    ) -> Result<(), Reject> {
        let invite = message.method() == Method::Invite;
        if self.contexts.is_full() {
            if invite && inbound.record_route && start.call.is_none() {
                let info = caller_info(&inbound, start.ways.with_note("too many requests at once"));
                cx.calls.refused(cx.now, message, &inbound.flow, info, 503);
            }
            return Err(reject(503, "Too Many Requests"));
        }
        let call = match start.call {
            Some(call) => {
                cx.calls.on_in_dialog(cx.now, call, message, &inbound.flow);
                Some(call)
            }
            None if invite && inbound.record_route => {
                inbound.holds.extend(engaged(cx, &inbound));
                Some(begin_call(cx, message, &inbound, start.ways)?)
            }
            None => None,
        };
        if let (Some(border), Some(call)) = (inbound.border, call) {
            self.borders.bind(border, call);
        }
        if let Some(call) = call.filter(|_| !inbound.holds.is_empty()) {
            let holds = std::mem::take(&mut inbound.holds);
            self.holds.entry(call).or_default().extend(holds);
        }
        let context = ResponseContext {
            server,
            invite,
            call,
            inbound,
            waiting: start.targets,
            branches: SmallVec::new(),
            best: Best::Nothing,
            challenges: Vec::new(),
            phase: Phase::Open { group_ends: None },
            outcome: Outcome::default(),
            rang: false,
            full: false,
            answered: None,
            forwarding: start.forwarding,
            deflected: None,
            timer: None,
        };
        let Ok(key) = self.contexts.insert(context) else {
            return Err(reject(503, "Too Many Requests"));
        };
        if invite {
            self.by_server.insert(server, key);
        }
        self.open_group(cx, key, message);
        self.settle(cx, key);
        Ok(())
    }

    /// Sees whether the context waits for something; if not, the next group goes out, or the answer
    /// goes back.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, key: Key) {
        self.review_ringing(cx, key);
        loop {
            let Some(context) = self.contexts.get_mut(key) else {
                return;
            };
            if matches!(context.phase, Phase::Answered { .. }) {
                return self.arm(key);
            }
            let open = matches!(context.phase, Phase::Open { .. });
            if open && !context.has_undecided_branch() && context.wants_next_group() {
                match self.request_of(cx, key) {
                    Some(message) => self.open_group(cx, key, &message),
                    None => return self.finish(cx, key),
                }
                continue;
            }
            let undecided = context.has_undecided_branch();
            if open
                && !undecided
                && let Some(targets) = self.forward_on(cx, key)
            {
                if let Some(context) = self.contexts.get_mut(key) {
                    context.waiting = targets;
                    // Whatever they fared: these are other ones.
                    context.outcome.goes_on = true;
                }
                continue;
            }
            if open
                && !undecided
                && let Some(target) = self.last_resort(cx, key)
                && let Some(context) = self.contexts.get_mut(key)
            {
                context.waiting = vec![target];
                context.outcome.goes_on = true;
                continue;
            }
            match self.contexts.get(key).is_some_and(|c| c.waits()) {
                true => return self.arm(key),
                false => return self.finish(cx, key),
            }
        }
    }

    /// Sends the request to the waiting targets of highest preference, as many as breadth allows.
    fn open_group(&mut self, cx: &mut Context<'_>, key: Key, message: &Message) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let first = context.branches.len();
        let next = context.waiting.last();
        let rank = next.map(|t| t.rank);
        let ring = next.and_then(|t| t.step.as_ref()).map(|step| step.ring);
        let own = context.forwarding.as_ref().and_then(|f| f.ring);
        let limited = own.is_some();
        let ring = own.or(ring).unwrap_or(cx.config.timers.serial_fork);
        context.outcome = Outcome::default();
        let breadth = usize::from(context.inbound.breadth);
        while context.branches.len() - first < breadth {
            let Some(target) = context.waiting.pop_if(|t| Some(t.rank) == rank) else {
                break;
            };
            context.branches.push(Branch {
                target,
                state: BranchState::Done,
                deadline: Instant::FAR_FUTURE,
                silent: true,
                is_last_hope: false,
                challenges: 0,
                ticket: None,
            });
        }
        let last = context.branches.len();
        let serial = context.invite && (limited || !context.waiting.is_empty());
        let group_ends = serial.then(|| cx.now + ring);
        context.phase = Phase::Open { group_ends };
        let share = breadth / (last - first).max(1);
        for branch in context.branches.iter_mut().skip(first) {
            branch.target.breadth = u16::try_from(share).unwrap_or(u16::MAX);
        }
        for index in first..last {
            self.advance(cx, key, index, message, UNREACHABLE);
            let led = |c: &ResponseContext| matches!(c.best, Best::Led(_));
            if self.contexts.get(key).is_some_and(led) {
                break;
            }
        }
    }

    /// Tries what is left for a branch, until something was sent, is being looked for, or nothing
    /// remains: then `status` is its answer.
    pub(super) fn advance(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        index: usize,
        message: &Message,
        mut status: u16,
    ) {
        loop {
            let Some(context) = self.contexts.get_mut(key) else {
                return;
            };
            let Some(branch) = context.branches.get_mut(index) else {
                return;
            };
            let target = &mut branch.target;
            if let Some(destination) = target.destinations.pop_front() {
                match self.send(cx, key, index, message, destination) {
                    Ok(()) => return,
                    Err(why) => status = why,
                }
                continue;
            }
            match next_hop(target, &context.inbound, message) {
                Hop::Flow(flow) => {
                    status = if target.binding().is_some() {
                        NOT_HERE
                    } else {
                        FLOW_FAILED
                    };
                    target.destinations.push_back(Destination::Flow(flow));
                }
                Hop::Uri(uri) => match locate(cx, &uri) {
                    Found::Ready(destinations) => target.destinations.extend(destinations),
                    Found::Nothing => status = leads_nowhere(target),
                    Found::Pending(id) if self.located.len() < LOCATING_MAX => {
                        branch.state = BranchState::Locating(id);
                        self.located.insert(id, Waiting::Branch { key, index });
                        return;
                    }
                    Found::Pending(_) => status = UNREACHABLE,
                },
                Hop::Service if context.inbound.flow.is_internal() => {
                    return self.lead_back(cx, key, index, message);
                }
                Hop::Service => match way_inside(cx, &context.inbound.flow) {
                    Some(flow) => target.destinations.push_back(Destination::Flow(flow)),
                    None => status = UNREACHABLE,
                },
                Hop::Nowhere if target.next_flow() => {}
                Hop::Nowhere => {
                    context.branch_unanswered(index, status);
                    return;
                }
            }
        }
    }
}

impl Proxy {
    /// A service calls a service: both ends would be ours. It is told of it instead, and leads its
    /// caller there if it can.
    fn lead_back(&mut self, cx: &mut Context<'_>, key: Key, index: usize, message: &Message) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let led = dial::led(message, &context.inbound.flow);
        let Some(branch) = context.branches.get(index).filter(|_| led != Led::Nowhere) else {
            return context.branch_unanswered(index, A_SERVICE);
        };
        let target = Target::new(branch.target.place.clone(), branch.target.rank);
        note_way_out(cx, context.call, &target);
        context.best = Best::Led(Box::new(target));
        context.branch_ended(index, context.best.status(), false);
        context.forwarding = None;
        self.close(
            cx,
            key,
            Phase::Declined,
            Some(Bytes::from_static(ELSEWHERE)),
        );
    }

    /// The request of a context in the inside's terms.
    pub(super) fn request_of(&self, cx: &Context<'_>, key: Key) -> Option<Message> {
        let context = self.contexts.get(key)?;
        let message = context.request(cx.layer)?;
        self.unveiled(context.inbound.border, message)
    }

    /// A request that came over a border, in the inside's terms.
    pub(super) fn unveiled(&self, border: Option<Key>, message: Message) -> Option<Message> {
        match border.and_then(|key| self.borders.get(key)) {
            Some(border) => Message::parse(border.unveil_request(&message)).ok(),
            None => Some(message),
        }
    }

    /// Renders the copy for one destination and sends it in a transaction of its own.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        index: usize,
        message: &Message,
        destination: Destination,
    ) -> Result<(), u16> {
        self.admit_to_peer(cx, key, index)?;
        self.keep_inside(cx, key, index, message, &destination)?;
        self.raise_border(cx, key, index, message, &destination)?;
        let named = self.borders.named_dialogs(message);
        let context = self.contexts.get_mut(key).ok_or(UNREACHABLE)?;
        let branch = context.branches.get_mut(index).ok_or(UNREACHABLE)?;
        let target = &mut branch.target;
        let sides = [target.border, context.inbound.border];
        let hidden = sides.into_iter().any(|border| self.borders.hides(border));
        let toward = toward(target, &destination, hidden);
        let body = offer(cx, context.call, message, &context.inbound, toward);
        context.full |= body == Err(UNREACHABLE);
        let body = body?;
        target.relayed = body.is_some();
        let (binding, out) = (target.binding().cloned(), target.out().cloned());
        let service = target.service().cloned();
        let copy = Onward {
            message,
            service: service.as_deref(),
            inbound: &context.inbound,
            binding: binding.as_deref(),
            out: out.as_deref(),
            marks: target.marks.as_deref(),
            breadth: target.breadth,
            body,
        };
        let border = target.border;
        let borders = &mut self.borders;
        let mut render = |cx: &mut Context<'_>, to: &Destination| {
            let border = border.and_then(|key| borders.get_mut(key));
            let named = named.clone();
            let crossing = border.map(|border| Crossing { border, named });
            copy.render(cx, &self.mint, to, crossing)
        };
        let mut bytes = render(cx, &destination).ok_or(UNREACHABLE)?;
        let mut chosen = destination;
        let stream = too_big_for(cx, &chosen, bytes.len()).filter(|_| !target.tried_tcp);
        if let Some(stream) = stream
            && let Some(again) = render(cx, &stream)
        {
            target.tried_tcp = true;
            tracing::info!(bytes = bytes.len(), to = %stream.remote(), "too big for UDP: TCP");
            self.stats.switched_to_tcp += 1;
            target
                .destinations
                .push_front(std::mem::replace(&mut chosen, stream));
            bytes = again;
        }
        let client = cx
            .layer
            .send_request(cx.now, bytes, chosen.clone(), context_word(key))
            .map_err(|_| UNREACHABLE)?;
        target.current = Some(chosen);
        note_way_out(cx, context.call, target);
        branch.state = BranchState::Calling { client };
        branch.silent = true;
        if context.invite {
            branch.deadline = cx.now + patience(cx, out.is_some(), branch.target.picks_up);
        }
        self.stats.branches += 1;
        Ok(())
    }

    /// What would show the inside to a peer from which it is hidden goes nowhere. A dialog of which
    /// nothing is known here, after a restart, has no border any more, and has another name there.
    fn keep_inside(
        &self,
        cx: &Context<'_>,
        key: Key,
        index: usize,
        message: &Message,
        destination: &Destination,
    ) -> Result<(), u16> {
        let context = self.contexts.get(key).ok_or(UNREACHABLE)?;
        let branch = context.branches.get(index).ok_or(UNREACHABLE)?;
        let unknown = context.call.is_none() && branch.target.border.is_none();
        let as_requested = matches!(branch.target.place, Place::AsRequested);
        let hidden = unknown && as_requested && has_to_tag(message);
        // A BYE came while a challenge was answered: the media are gone, and with them what would
        // stand in the place of the inside's description.
        let over = context.call.is_some_and(|call| !cx.calls.lives(call));
        let bare = over && self.borders.hides(branch.target.border) && !message.body().is_empty();
        match bare || hidden && cx.peers.hides_from(destination) {
            true => Err(NO_CALL),
            false => Ok(()),
        }
    }

    /// Sets up the border before a target that wants one.
    fn raise_border(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        index: usize,
        message: &Message,
        destination: &Destination,
    ) -> Result<(), u16> {
        let context = self.contexts.get_mut(key).ok_or(UNREACHABLE)?;
        let branch = context.branches.get_mut(index).ok_or(UNREACHABLE)?;
        let Some(out) = branch.target.out().cloned() else {
            return Ok(());
        };
        let (Some(facade), None) = (&out.facade, branch.target.border) else {
            return Ok(());
        };
        let mut outer = Names::of(message).ok_or(UNREACHABLE)?;
        if facade.hides {
            outer.call_id = self.borders.new_call_id(cx.rng);
        }
        outer.caller = facade.caller.clone().unwrap_or(outer.caller);
        outer.callee = facade.callee.clone().unwrap_or(outer.callee);
        let contact =
            super::egress::contact(cx, &facade.contact_user, destination).ok_or(UNREACHABLE)?;
        let copy = Onward {
            message,
            inbound: &context.inbound,
            binding: None,
            out: Some(&out),
            service: None,
            marks: None,
            breadth: 1,
            body: None,
        };
        let own = match context.inbound.record_route {
            true => copy.own_record_routes(cx, &self.mint, destination),
            false => Some(SmallVec::new()),
        };
        // On the wire the last one stands on top.
        let own = own.ok_or(UNREACHABLE)?.into_iter().rev();
        let theirs = message.values(HeaderName::RecordRoute).map(Box::from);
        let routes = own.map(Vec::into_boxed_slice).chain(theirs).collect();
        let border = Border::outward(message, outer, contact, facade.hides, routes);
        let mut border = border.ok_or(UNREACHABLE)?;
        border.account = facade.account.clone();
        let raised = self.borders.insert(border).ok_or(UNREACHABLE)?;
        branch.target.border = Some(raised);
        Ok(())
    }

    /// The far end wants to know who we are, and we can tell: the request goes there once more.
    pub(super) fn send_again(&mut self, cx: &mut Context<'_>, key: Key, index: usize) -> bool {
        let Some(message) = self.request_of(cx, key) else {
            return false;
        };
        let context = self.contexts.get(key);
        let branch = context.and_then(|c| c.branches.get(index));
        let Some(destination) = branch.and_then(|b| b.target.current.clone()) else {
            return false;
        };
        self.send(cx, key, index, &message, destination).is_ok()
    }

    /// Addresses of a next hop were found, or not.
    pub(super) fn on_branch_located(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        index: usize,
        id: LocateId,
        found: Vec<Destination>,
    ) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let Some(branch) = context.branches.get_mut(index) else {
            return;
        };
        if branch.state != BranchState::Locating(id) {
            return;
        }
        branch.target.destinations.extend(found);
        let status = leads_nowhere(&branch.target);
        let Some(message) = self.request_of(cx, key) else {
            self.drop_context(key);
            return;
        };
        self.advance(cx, key, index, &message, status);
        self.settle(cx, key);
    }

    /// A branch's transaction got no answer: the next address, the next flow, or `status`.
    pub(super) fn on_branch_failed(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        index: usize,
        status: u16,
    ) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let Some(branch) = context.branches.get_mut(index) else {
            return;
        };
        let calling = matches!(branch.state, BranchState::Calling { .. });
        let goes_on = calling && matches!(context.phase, Phase::Open { .. });
        let request = if goes_on {
            self.request_of(cx, key)
        } else {
            None
        };
        match request {
            Some(message) => self.advance(cx, key, index, &message, status),
            None => {
                if let Some(context) = self.contexts.get_mut(key) {
                    context.branch_unanswered(index, status);
                }
            }
        }
        self.settle(cx, key);
    }

    /// Cancels what still rings; `reason` goes into the CANCELs (RFC 3326).
    pub(super) fn cancel_branches(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        reason: Option<Bytes>,
    ) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let invite = context.invite;
        let mut ended = false;
        for branch in &mut context.branches {
            match branch.state {
                BranchState::Calling { client } if invite => {
                    cx.layer.cancel(cx.now, client, reason.clone());
                    branch.state = BranchState::Cancelling { client };
                }
                BranchState::Calling { client } => {
                    cx.layer.abandon(client);
                    branch.state = BranchState::Done;
                }
                BranchState::Locating(_) => {
                    branch.state = BranchState::Done;
                    ended = true;
                }
                BranchState::Cancelling { .. }
                | BranchState::Answered { .. }
                | BranchState::Done => {}
            }
        }
        if ended {
            context.consider(Best::Local(487));
        }
    }

    /// The caller's CANCEL (RFC 3261 §16.10).
    pub(super) fn on_cancelled(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerKey,
        reason: Option<Bytes>,
    ) {
        let Some(&key) = self.by_server.get(&server) else {
            return;
        };
        self.close(cx, key, Phase::Cancelled, reason);
        self.settle(cx, key);
    }

    /// No new branches, and the open ones are cancelled.
    pub(super) fn close(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        phase: Phase,
        reason: Option<Bytes>,
    ) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        if let Phase::Open { .. } = context.phase {
            context.phase = phase;
            context.waiting.clear();
            self.cancel_branches(cx, key, reason);
        }
    }

    /// Arms the context's timer. One that fires too early finds nothing due and is armed again: so
    /// a ringing phone that repeats its 180 moves no timer.
    fn arm(&mut self, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let Some(at) = context.deadline() else {
            return;
        };
        match context.timer {
            Some((_, armed)) if armed <= at => {}
            Some((id, _)) => {
                self.timers.cancel(id);
                context.timer = Some((self.timers.arm(at, key), at));
            }
            None => context.timer = Some((self.timers.arm(at, key), at)),
        }
    }

    /// Timer C (§16.8), the end of a group's ringing, or the end of the context.
    pub(super) fn on_timer(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        context.timer = None;
        match context.phase {
            Phase::Answered { until } if until <= cx.now => {
                self.drop_context(key);
                return;
            }
            Phase::Open {
                group_ends: Some(at),
            } if at <= cx.now => {
                context.phase = Phase::Open { group_ends: None };
                context.rang_too_long();
                self.cancel_branches(cx, key, None);
            }
            Phase::Open { .. } | Phase::Answered { .. } | Phase::Cancelled | Phase::Declined => {}
        }
        self.end_overdue(cx, key);
        self.settle(cx, key);
    }

    /// Ends branches that rang beyond Timer C, and turns away from ways out where nobody was heard:
    /// those have another address, or the next step. An answer that comes after all still counts.
    fn end_overdue(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let mut turned: SmallVec<[Target; 1]> = SmallVec::new();
        let alternatives = !context.waiting.is_empty();
        for index in 0..context.branches.len() {
            let Some(branch) = context.branches.get_mut(index) else {
                break;
            };
            let BranchState::Calling { client } = branch.state else {
                continue;
            };
            if branch.deadline > cx.now {
                continue;
            }
            let patient = branch.silent && branch.target.out().is_some() && !branch.is_last_hope;
            if patient && !alternatives && branch.target.destinations.is_empty() {
                // Nothing else is left: it may still be heard until Timer B.
                branch.deadline = cx.now + cx.config.timers.timer_c;
                branch.is_last_hope = true;
                continue;
            }
            if patient {
                if let Some(out) = branch.target.out() {
                    out.peer.suspect();
                }
                turned.extend(branch.target.take_rest());
            } else {
                self.stats.timer_c += u64::from(!branch.target.picks_up);
            }
            // Without a provisional response the CANCEL waits, and Timer B ends the branch.
            cx.layer.cancel(cx.now, client, None);
            let silent = branch.silent && !branch.target.picks_up;
            branch.state = BranchState::Cancelling { client };
            context.branch_failed(index, 408, true);
            if silent {
                context.consider(Best::Local(408));
            }
        }
        let first = context.branches.len();
        for target in turned {
            context.branches.push(Branch {
                target,
                state: BranchState::Done,
                deadline: Instant::FAR_FUTURE,
                silent: true,
                is_last_hope: false,
                challenges: 0,
                ticket: None,
            });
        }
        let last = context.branches.len();
        let Some(message) = self.request_of(cx, key).filter(|_| first < last) else {
            return;
        };
        for index in first..last {
            self.advance(cx, key, index, &message, UNREACHABLE);
        }
    }

    /// Forgets a context.
    pub(super) fn drop_context(&mut self, key: Key) -> Option<ResponseContext> {
        let context = self.contexts.remove(key)?;
        self.forget_ringing(key);
        if context.invite {
            self.by_server.remove(&context.server);
        }
        if let Some((id, _)) = context.timer {
            self.timers.cancel(id);
        }
        // A border whose call came about is bound to it.
        let outward = context.branches.iter().filter_map(|b| b.target.border);
        for border in outward.chain(context.inbound.border) {
            self.borders.discard(border);
        }
        Some(context)
    }
}

/// The status of a next hop without an address. Where that is a way out of a route, the way is
/// closed, so that the next one is tried (RFC 3261 §8.1.3.1); what the caller dialled is not there.
fn leads_nowhere(target: &Target) -> u16 {
    match target.place {
        Place::Out(_) => UNREACHABLE,
        Place::Binding(_) | Place::AsRequested | Place::Service(_) => NOT_FOUND,
    }
}

/// The way to the services, for a caller that comes by this flow.
fn way_inside(cx: &Context<'_>, caller: &Flow) -> Option<Flow> {
    let name = cx
        .listeners
        .sent_by_of(caller.transport, caller.local, caller.remote)?;
    let ip = match name.host {
        AdvertisedHost::Ip(ip) => ip,
        AdvertisedHost::Name(_) => caller.local.ip(),
    };
    Some(Flow::internal(caller, (ip, name.port).into()))
}

/// Whereto a body goes; `hidden` says that one side must not see the other.
fn toward(target: &Target, destination: &Destination, hidden: bool) -> Toward {
    Toward {
        address: Some(destination.remote().ip()),
        behind_nat: target.behind_nat(),
        relay: hidden,
        local: destination.is_internal(),
    }
}

/// The body that goes out instead of the caller's.
pub(super) fn offer(
    cx: &mut Context<'_>,
    call: Option<CallKey>,
    message: &Message,
    inbound: &Inbound,
    toward: Toward,
) -> Result<Option<Bytes>, u16> {
    let Some(call) = call.filter(|_| !message.body().is_empty()) else {
        return Ok(None);
    };
    match cx.calls.offer_body(call, message, &inbound.flow, toward) {
        BodyEdit::Keep => Ok(None),
        BodyEdit::Replace(body) => Ok(Some(body)),
        BodyEdit::Refuse { status, .. } => Err(status),
    }
}

/// How long a branch may go without an answer: a way out until another one is tried, a phone that
/// picks up for a moment, others as long as Timer C says.
fn patience(cx: &Context<'_>, out: bool, picks_up: bool) -> Duration {
    let timers = &cx.config.timers;
    match (out, picks_up) {
        (true, _) => timers.no_reply.min(timers.timer_c),
        (false, true) => pickup::WAIT.min(timers.timer_c),
        (false, false) => timers.timer_c,
    }
}

fn begin_call(
    cx: &mut Context<'_>,
    message: &Message,
    inbound: &Inbound,
    ways: Ways,
) -> Result<CallKey, Reject> {
    let info = caller_info(inbound, ways);
    cx.calls
        .begin(cx.now, message, &inbound.flow, info)
        .map_err(|_| reject(503, "Too Many Calls"))
}

/// Who calls is busy with it from its beginning, while it rings, too. Not the user on whose account
/// a service of ours calls: it has another call, or none.
fn engaged(cx: &Context<'_>, inbound: &Inbound) -> Option<Hold> {
    let user = inbound.caller.user();
    let user = user.filter(|_| !inbound.flow.is_internal())?;
    cx.features.engage_caller(user).map(Hold::Caller)
}

/// The call's record names where it was sent last; it may come to nothing there.
fn note_way_out(cx: &mut Context<'_>, call: Option<CallKey>, target: &Target) {
    let way_out = target.way_out();
    if let Some(ways) = call.and_then(|call| cx.calls.ways(call))
        && !way_out.is_empty()
    {
        ways.way_out = way_out;
    }
}

fn caller_info(inbound: &Inbound, ways: Ways) -> CallerInfo {
    CallerInfo {
        user: inbound.caller.user().map(Box::from),
        behind_nat: inbound.caller_nat,
        ways,
    }
}

/// Where a target's next hop is (§16.6 step 7); each way is given once.
pub(super) fn next_hop(target: &mut Target, inbound: &Inbound, message: &Message) -> Hop {
    let search = std::mem::replace(&mut target.search, Search::Over);
    match (search, &target.place) {
        (Search::Over, _) => Hop::Nowhere,
        (Search::Fresh, Place::AsRequested) => requested_hop(inbound, message),
        (Search::Fresh, Place::Out(out)) => {
            Hop::Uri(out.next_hop.as_ref().unwrap_or(&out.uri).to_vec())
        }
        (Search::Fresh, Place::Binding(binding)) => {
            if let Some(first) = binding.path().next() {
                return uri_of_route(first.as_bytes());
            }
            match binding.reach() {
                Reach::Flow => {
                    target.search = Search::FlowTried;
                    Hop::Flow(*binding.flow())
                }
                Reach::Contact => Hop::Uri(binding.contact().into()),
                Reach::Nowhere => Hop::Nowhere,
            }
        }
        (Search::FlowTried, Place::Binding(binding)) => {
            let own = match binding.flow().transport {
                Transport::Tcp | Transport::Tls => !binding.behind_nat() && !binding.is_outbound(),
                Transport::Udp | Transport::Ws | Transport::Wss => false,
            };
            if own {
                Hop::Uri(binding.contact().into())
            } else {
                Hop::Nowhere
            }
        }
        (Search::Fresh, Place::Service(_)) => Hop::Service,
        (Search::FlowTried, Place::AsRequested | Place::Out(_) | Place::Service(_)) => Hop::Nowhere,
    }
}

/// The next hop of a request that goes where it says itself.
fn requested_hop(inbound: &Inbound, message: &Message) -> Hop {
    if let Some(flow) = inbound.via_flow {
        return Hop::Flow(flow);
    }
    match forward::next_route(message, inbound) {
        Some(route) => uri_of_route(route),
        None => {
            let uri = inbound
                .uri
                .as_deref()
                .unwrap_or_else(|| message.request_uri());
            Hop::Uri(uri.into())
        }
    }
}

fn uri_of_route(route: &[u8]) -> Hop {
    match forward::route_uri(route) {
        Some((uri, _)) => Hop::Uri(uri.into()),
        None => Hop::Nowhere,
    }
}

/// What the locator said at once.
pub(super) enum Found {
    Ready(Vec<Destination>),
    Pending(LocateId),
    Nothing,
}

/// RFC 3263, by the locator.
pub(super) fn locate(cx: &mut Context<'_>, uri: &[u8]) -> Found {
    let Ok(uri) = Uri::parse(uri) else {
        return Found::Nothing;
    };
    match cx.locator.start(cx.now, &uri) {
        Located::Ready(destinations) if destinations.is_empty() => Found::Nothing,
        Located::Ready(destinations) => Found::Ready(destinations),
        Located::Pending(id) => Found::Pending(id),
    }
}

/// The `context` of a client transaction: the context's key, but for the bit that is not ours.
pub(super) fn context_word(key: Key) -> u64 {
    key.to_u64() & !CONTEXT_FOREIGN
}
