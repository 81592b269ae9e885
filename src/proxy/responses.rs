//! Answers on their way back (RFC 3261 §16.7): provisional ones and every 2xx at once, the best of
//! the others when no branch is left. A response that matches no branch is dropped (RFC 6026 §7.3).

use super::border::Borders;
use super::context::{Best, BranchState, Caller, Hold, Phase, ResponseContext};
use super::dial::deflection;
use super::forking::UNREACHABLE;
use super::privacy::{self, Author, Reader};
use super::record_route::token_of;
use super::routing::reject;
use super::targets::Target;
use super::token::TokenMint;
use super::{Context, Proxy, borders_until};
use crate::base::{Destination, Flow, Key};
use crate::call::{BodyEdit, inside};
use crate::sip::transaction::{ClientKey, Failure};
use crate::wire::sip::{Edit, HeaderName, Message, NameAddr, ResponseBuilder, default_reason};
use bytes::Bytes;

/// What losers of a fork are told (RFC 3326 §2).
pub(super) const ELSEWHERE: &[u8] = b"SIP;cause=200;text=\"Call completed elsewhere\"";
/// What the others hear when one declined for all.
const DECLINED: &[u8] = b"SIP;cause=600;text=\"Declined for all\"";

/// Challenges of one way out that are answered: the first, and one more for a nonce that was too
/// old.
const CHALLENGES_MAX: u8 = 2;

/// A branch that answered, as a call wants to know it.
#[derive(Clone, Copy, Debug)]
struct Answerer {
    flow: Flow,
    behind_nat: bool,
    relayed: bool,
}

impl Proxy {
    /// A branch answered.
    pub(super) fn on_response(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        client: ClientKey,
        message: Message,
    ) {
        let Some(context) = self.contexts.get_mut(key) else {
            self.stats.stray_responses += 1;
            return;
        };
        let Some(index) = context.branch_of(client) else {
            self.stats.stray_responses += 1;
            return;
        };
        if let Some(branch) = context.branches.get_mut(index) {
            branch.silent = false;
        }
        let Some(message) = self.over_border(cx, key, index, message) else {
            return;
        };
        match message.status() {
            100 => {}
            101..=199 => self.on_provisional(cx, key, index, &message),
            200..=299 => self.on_success(cx, key, index, client, &message),
            _ => self.on_refusal(cx, key, index, message),
        }
    }

    /// The answer in the inside's terms, if it came over a border; `None` where it was a challenge
    /// that we answer ourselves.
    fn over_border(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        index: usize,
        message: Message,
    ) -> Option<Message> {
        let context = self.contexts.get(key)?;
        let branch = context.branches.get(index)?;
        let Some(border) = branch.target.border else {
            return Some(message);
        };
        let status = message.status();
        let calling = matches!(branch.state, BranchState::Calling { .. });
        let open = matches!(context.phase, Phase::Open { .. });
        let border_of = self.borders.get_mut(border)?;
        if matches!(status, 401 | 407)
            && calling
            && open
            && branch.challenges < CHALLENGES_MAX
            && let Some(account) = border_of.account.as_mut()
            && account.challenged(&message)
        {
            border_of.count_up();
            if let Some(branch) = self
                .contexts
                .get_mut(key)
                .and_then(|c| c.branches.get_mut(index))
            {
                branch.challenges += 1;
            }
            if self.send_again(cx, key, index) {
                return None;
            }
        }
        let request = self.request_of(cx, key)?;
        let border = self.borders.get_mut(border)?;
        border.confirm(&request, status);
        let bytes = border.unveil_response(&message, &request);
        Message::parse(bytes).ok()
    }

    /// A branch's transaction ended without an answer (§16.9).
    pub(super) fn on_failure(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        client: ClientKey,
        why: Failure,
    ) {
        let Some(context) = self.contexts.get(key) else {
            return;
        };
        let Some(index) = context.branch_of(client) else {
            return;
        };
        let target = context.branches.get(index).map(|b| &b.target);
        let by_flow = target.is_some_and(|t| matches!(t.current, Some(Destination::Flow(_))));
        if let Some(failed @ Destination::Address { .. }) = target.and_then(|t| t.current.as_ref())
        {
            // Others are told to try it last for a while (RFC 3263 §4.3).
            cx.locator.failed(cx.now, failed);
        }
        let phone = target.is_some_and(|t| t.binding().is_some());
        if let Some(branch) = self
            .contexts
            .get_mut(key)
            .and_then(|c| c.branches.get_mut(index))
            && let Some(out) = branch.target.out()
        {
            out.peer.suspect();
            if let Some(ticket) = &mut branch.ticket {
                ticket.failed(cx.now, 408, "");
            }
        }
        let status = match why {
            Failure::Timeout => 408,
            Failure::Transport if phone => 480,
            Failure::Transport if by_flow => 430,
            Failure::Transport => UNREACHABLE,
        };
        self.on_branch_failed(cx, key, index, status);
    }

    fn on_provisional(&mut self, cx: &mut Context<'_>, key: Key, index: usize, message: &Message) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let Some(branch) = context.branches.get_mut(index) else {
            return;
        };
        context.rang |= message.status() == 180;
        // §16.7 step 2: Timer C starts anew, but not for a 100.
        if context.invite && !branch.target.picks_up {
            branch.deadline = cx.now + cx.config.timers.timer_c;
        }
        // Nothing goes out behind a final response; the layer would not send it either.
        if !matches!(context.phase, Phase::Answered { .. }) {
            let borders = &mut self.borders;
            let response = upstream(cx, &self.mint, borders, context, Some(index), message);
            cx.layer.respond(cx.now, context.server, response);
        }
        if message.status() >= 180 {
            self.note_ringing(cx, key, index);
        }
    }

    /// §16.7 step 5: a 2xx goes at once, and each further one too; the others are cancelled.
    fn on_success(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        index: usize,
        client: ClientKey,
        message: &Message,
    ) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        context.keep_request(cx.layer);
        // One branch may answer when the call by another is over already: then nothing would give
        // back what was bound to it.
        let living = context.call.filter(|call| cx.calls.lives(*call));
        let first = !matches!(context.phase, Phase::Answered { .. });
        if let Some(branch) = context.branches.get_mut(index) {
            branch.state = BranchState::Answered { client };
            match (branch.target.border, context.call) {
                (Some(border), Some(call)) if living.is_some() => self.borders.bind(border, call),
                (Some(border), Some(call)) => {
                    self.borders.bind_late(border, call, borders_until(cx));
                }
                (Some(_), None) | (None, _) => {}
            }
            if living.is_none() {
                branch.ticket = None;
            }
            if let Some(call) = living.filter(|_| context.invite) {
                let holds = self.holds.entry(call).or_default();
                holds.retain(|hold| !first || hold.stays_at(&branch.target.place));
                // Of two who answer at once the caller keeps one (RFC 3261 §13.2.2.4).
                let alone = !holds.iter().any(|hold| matches!(hold, Hold::Callee(_)));
                let callee = branch.target.binding().filter(|_| alone);
                let busy = callee.and_then(|b| cx.features.engage(b.aor()));
                holds.extend(branch.ticket.take().map(Hold::Peer));
                holds.extend(busy.map(Hold::Callee));
                for hold in holds.iter_mut() {
                    hold.answered(cx.now);
                }
            }
        }
        let borders = &mut self.borders;
        let response = upstream(cx, &self.mint, borders, context, Some(index), message);
        cx.layer.respond(cx.now, context.server, response);
        if !context.invite {
            self.cancel_branches(cx, key, None);
            self.drop_context(key);
            return;
        }
        if first {
            note_answer(cx, context, index);
            // The caller's 2xx may be repeated by the callee for 64*T1, and others may follow.
            let until = cx.now + cx.config.timers.t1 * 64;
            context.phase = Phase::Answered { until };
            context.waiting = Vec::new();
            context.best = Best::Nothing;
            context.challenges = Vec::new();
            if context.has_open_branch() {
                self.cancel_branches(cx, key, Some(Bytes::from_static(ELSEWHERE)));
            }
        }
        self.settle(cx, key);
    }

    /// §16.7 steps 4 and 5 for what is above 299.
    fn on_refusal(&mut self, cx: &mut Context<'_>, key: Key, index: usize, message: Message) {
        let status = message.status();
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let Some(branch) = context.branches.get_mut(index) else {
            return;
        };
        if branch.target.picks_up {
            // Whoever is rung goes on ringing.
            context.branch_ended(index, status, false);
            return self.settle(cx, key);
        }
        let calling = matches!(branch.state, BranchState::Calling { .. });
        // Ours to tell: the caller cancelled nothing, so that nobody answered is what it hears.
        let open = matches!(context.phase, Phase::Open { .. });
        let given_up = matches!(branch.state, BranchState::Cancelling { .. });
        let unanswered = given_up && open && status == 487;
        let elsewhere = !branch.target.destinations.is_empty() || !branch.target.spare.is_empty();
        // RFC 3263 §4.3, RFC 5626 §7: this way is closed, another may be open.
        let closed = status == 503 || (status == 430 && branch.target.binding().is_some());
        if calling && closed && elsewhere && open {
            return self.on_branch_failed(cx, key, index, status);
        }
        if let Some(mut ticket) = branch.ticket.take() {
            let reason = String::from_utf8_lossy(message.reason()).into_owned();
            ticket.failed(cx.now, status, &reason);
        }
        // A trunk's challenge that we cannot answer: the caller has no password there, and the way
        // is closed.
        let unknown_there = branch.target.border.is_some() && matches!(status, 401 | 407);
        let status = if unknown_there { 500 } else { status };
        let branch_is_phone = branch.target.binding().is_some();
        let goes_on = branch.target.step.as_ref();
        let goes_on = goes_on.is_some_and(|step| step.goes_on(status, false));
        context.branch_ended(index, status, false);
        let follows = context.forwarding.as_ref();
        let follows = follows.is_some_and(|f| f.follows_phones());
        if (300..400).contains(&status) && branch_is_phone && follows {
            context.deflected = deflection(&message);
        }
        match (unanswered, unknown_there) {
            (true, _) => context.consider(Best::Local(480)),
            (false, true) => context.consider(Best::Local(status)),
            (false, false) => context.consider(Best::Received(Box::new(message))),
        }
        let forwards = context.forwarding.as_ref();
        let forwards = forwards.is_some_and(|f| f.goes_on(status, context.rang));
        if status >= 600 && forwards {
            // The user declined on all phones, and wants the call to go on elsewhere.
            context.waiting.clear();
            self.cancel_branches(cx, key, Some(Bytes::from_static(DECLINED)));
        } else if status >= 600 && !goes_on {
            self.close(cx, key, Phase::Declined, Some(Bytes::from_static(DECLINED)));
        }
        self.settle(cx, key);
    }

    /// Every branch is done: the best answer goes back (§16.7 step 6), and the context ends.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(mut context) = self.drop_context(key) else {
            return;
        };
        let best = match (context.phase, std::mem::take(&mut context.best)) {
            (Phase::Cancelled, best) if best.status() < 600 => Best::Local(487),
            (_, Best::Nothing) => Best::Local(480),
            // A 503 says that the next hop is overloaded, not that we are (§16.7 step 6).
            (_, Best::Local(503)) if context.full => Best::Local(503),
            (_, best) if best.status() == 503 => Best::Local(500),
            (_, best) => best,
        };
        let status = best.status();
        // RFC 4320 §4.2: the caller has given up by then, and asks for nothing any more.
        if status == 408 && !context.invite {
            return;
        }
        let response = match &best {
            Best::Received(message) => {
                let borders = &mut self.borders;
                Some(upstream(
                    cx,
                    &self.mint,
                    borders,
                    &mut context,
                    None,
                    message,
                ))
            }
            Best::Led(target) => led(cx, &context, target),
            Best::Nothing | Best::Local(_) => local(cx, &context, status),
        };
        if let (Some(call), true) = (context.call, context.invite) {
            match &response {
                Some(bytes) if !context.inbound.record_route => {
                    if let Ok(message) = Message::parse(bytes.clone()) {
                        let flow = context.inbound.flow;
                        let ours = |_: &[u8]| false;
                        cx.calls
                            .on_response(cx.now, call, &message, &flow, false, &ours);
                    }
                }
                Some(_) | None => cx.calls.failed(cx.now, call, status),
            }
        }
        if let Some(response) = response {
            cx.layer.respond(cx.now, context.server, response);
        }
    }
}

/// The call's record names the way by which it was answered; a service that called learns who did.
fn note_answer(cx: &mut Context<'_>, context: &ResponseContext, index: usize) {
    let begins = context.inbound.record_route;
    let (Some(call), Some(branch)) = (context.call, context.branches.get(index)) else {
        return;
    };
    if let Some(ways) = cx.calls.ways(call).filter(|_| begins) {
        ways.way_out = branch.target.way_out();
    }
    let answerer = branch.target.binding().filter(|_| begins);
    if let Some(phone) = answerer.filter(|_| context.inbound.flow.is_internal()) {
        cx.calls.answered_by(call, phone.aor());
    }
}

/// A final response of our own making.
fn local(cx: &mut Context<'_>, context: &ResponseContext, status: u16) -> Option<Bytes> {
    let request = cx.layer.request(context.server)?;
    let tag = cx.rng.token::<10>();
    let reject = match status {
        480 => reject(480, "Temporarily Unavailable"),
        other => reject(other, default_reason(other)),
    };
    let mut response = ResponseBuilder::new(&request, reject.status)
        .reason(&reject.reason)
        .to_tag(&tag);
    if status == 503 {
        response = response.header(HeaderName::RetryAfter, "5");
    }
    for (name, value) in &context.challenges {
        if matches!(status, 401 | 407) {
            response = response.header(*name, &**value);
        }
    }
    Some(response.render())
}

/// Tells a service of ours where its caller is led.
fn led(cx: &mut Context<'_>, context: &ResponseContext, target: &Target) -> Option<Bytes> {
    let request = cx.layer.request(context.server)?;
    let tag = cx.rng.token::<10>();
    let response = ResponseBuilder::new(&request, 302).to_tag(&tag);
    let uri = target.service()?;
    Some(response.header(HeaderName::XVoipAccount, &**uri).render())
}

/// §16.7 steps 3 and 8: the response without our Via, its body and identities as the caller may
/// see them, with all challenges in a 401 or 407. Tells the call about it.
fn upstream(
    cx: &mut Context<'_>,
    mint: &TokenMint,
    borders: &mut Borders,
    context: &mut ResponseContext,
    index: Option<usize>,
    message: &Message,
) -> Bytes {
    let branch = index.and_then(|i| context.branches.get(i));
    let answerer = branch.map(|b| answerer(cx, b.target.current.as_ref(), &b.target));
    let mut edit = Edit::new(message);
    edit.remove_first_value(HeaderName::Via);
    if context.inbound.flow.is_internal() {
        // Where its caller is led, a service of ours hears of us alone.
        edit.remove(HeaderName::XVoipAccount);
        let phone = branch.and_then(|branch| branch.target.binding());
        let rings = phone.filter(|_| (101..200).contains(&message.status()));
        let settings = rings.and_then(|phone| cx.features.settings(phone.aor()));
        if let Some(sound) = settings.and_then(|settings| settings.ring_back.clone()) {
            edit.append(HeaderName::XVoipAccount, inside::hears(&sound).into_bytes());
        }
    }
    if matches!(message.status(), 401 | 407) {
        merge_challenges(&mut edit, context);
    }
    let source = answerer.map(|a| a.flow.remote.ip());
    let author = match source {
        Some(ip) if cx.config.sip.trusts(ip) => Author::Trusted,
        _ if branch.is_some_and(|b| b.target.is_believed()) => Author::Trusted,
        _ => Author::Stranger,
    };
    let believed = matches!(context.inbound.caller, Caller::Trunk(_) | Caller::Pool(_));
    let reader = if believed || cx.config.sip.trusts(context.inbound.flow.remote.ip()) {
        Reader::Trusted
    } else {
        Reader::User
    };
    privacy::edit(&mut edit, message, author, reader);
    if let (Some(call), Some(answerer)) = (context.call, answerer) {
        if !message.body().is_empty() {
            let body = cx.calls.answer_body(
                call,
                message,
                &answerer.flow,
                answerer.relayed,
                answerer.behind_nat,
            );
            if let BodyEdit::Replace(body) = body {
                edit.set_body(None, body);
            }
        }
        let ours = |value: &[u8]| {
            let uri = NameAddr::parse(value).ok().and_then(|a| a.uri().ok());
            uri.is_some_and(|u| token_of(&u, message.call_id(), mint).is_some())
        };
        let nat = answerer.behind_nat;
        cx.calls
            .on_response(cx.now, call, message, &answerer.flow, nat, &ours);
    }
    if let Some(border) = context.inbound.border.and_then(|key| borders.get_mut(key))
        && let Some(request) = context.request(cx.layer)
    {
        border.veil_response(&mut edit, message, &request);
        // It crossed a BYE, and the description would pass as the inside wrote it.
        if border.hides && context.call.is_some_and(|call| !cx.calls.lives(call)) {
            edit.set_body(None, Bytes::new());
        }
    }
    edit.render()
}

fn merge_challenges<'m>(edit: &mut Edit<'m>, context: &ResponseContext) {
    edit.remove(HeaderName::WwwAuthenticate);
    edit.remove(HeaderName::ProxyAuthenticate);
    for (name, value) in &context.challenges {
        edit.append(*name, value.to_vec());
    }
}

/// By which path a branch's answer came, as far as its request's path tells.
fn answerer(
    cx: &Context<'_>,
    current: Option<&Destination>,
    target: &super::targets::Target,
) -> Answerer {
    let caller = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    let flow = match current {
        Some(Destination::Flow(flow)) => *flow,
        Some(Destination::Address {
            transport, remote, ..
        }) => Flow {
            transport: *transport,
            local: cx.listeners.flow_for(*transport, *remote).unwrap_or(caller),
            remote: *remote,
            connection: None,
        },
        None => Flow {
            transport: crate::base::Transport::Udp,
            local: caller,
            remote: caller,
            connection: None,
        },
    };
    Answerer {
        flow,
        behind_nat: target.behind_nat(),
        relayed: target.relayed,
    }
}
