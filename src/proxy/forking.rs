//! Branches (RFC 3261 §16.6, §16.8 to §16.10): targets of equal preference are asked at once, the
//! next group when they all refused or rang too long; each branch tries the addresses of its next
//! hop one after the other (RFC 3263 §4.3) and the flows of its phone (RFC 5626 §7).

use super::admission::Reject;
use super::context::{Best, Branch, BranchState, Caller, Inbound, Phase, ResponseContext};
use super::forward::{self, Copy};
use super::privacy::{Author, Reader};
use super::record_route::{self, Side};
use super::routing::reject;
use super::targets::{Place, Search, Target};
use super::token::TokenMint;
use super::{CONTEXT_FOREIGN, Context, LOCATING_MAX, Proxy, Waiting, indialog, loops};
use crate::base::{Destination, Flow, Instant, Key, Transport};
use crate::call::{BodyEdit, CallKey, CallerInfo, Toward};
use crate::location::{Binding, Reach};
use crate::sip::listeners::SentBy;
use crate::sip::locate::{LocateId, Located};
use crate::sip::transaction::ServerKey;
use crate::wire::sip::{HeaderName, Message, Method, Uri};
use bytes::Bytes;
use smallvec::SmallVec;

/// Statuses that stand for what went wrong below SIP (RFC 3261 §16.9, RFC 5626 §11.5).
pub(super) const UNREACHABLE: u16 = 503;
const FLOW_FAILED: u16 = 430;
const NOT_HERE: u16 = 480;
/// The next hop's name leads nowhere.
const NOT_FOUND: u16 = 404;

/// Where the next hop of a target is looked for.
pub(super) enum Hop {
    /// Along a flow.
    Flow(Flow),
    /// By RFC 3263.
    Uri(Vec<u8>),
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
        inbound: Inbound,
        targets: Vec<Target>,
        call: Option<CallKey>,
    ) -> Result<(), Reject> {
        let invite = message.method() == Method::Invite;
        if self.contexts.is_full() {
            return Err(reject(503, "Too Many Requests"));
        }
        let call = match call {
            Some(call) => {
                cx.calls.on_in_dialog(cx.now, call, message, &inbound.flow);
                Some(call)
            }
            None if invite && inbound.record_route => Some(begin_call(cx, message, &inbound)?),
            None => None,
        };
        let context = ResponseContext {
            server,
            invite,
            call,
            inbound,
            waiting: targets,
            branches: SmallVec::new(),
            best: Best::Nothing,
            challenges: Vec::new(),
            phase: Phase::Open { group_ends: None },
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
        loop {
            let Some(context) = self.contexts.get(key) else {
                return;
            };
            if matches!(context.phase, Phase::Answered { .. }) || context.has_open_branch() {
                return self.arm(key);
            }
            let open = matches!(context.phase, Phase::Open { .. });
            let more = open && !context.waiting.is_empty();
            let request = if more {
                cx.layer.request(context.server)
            } else {
                None
            };
            match request {
                Some(message) => self.open_group(cx, key, &message),
                None => return self.finish(cx, key),
            }
        }
    }

    /// Sends the request to the waiting targets of highest preference, as many as breadth allows.
    fn open_group(&mut self, cx: &mut Context<'_>, key: Key, message: &Message) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        let first = context.branches.len();
        let q = context.waiting.last().map(|t| t.q);
        let breadth = usize::from(context.inbound.breadth);
        while context.branches.len() - first < breadth {
            let Some(target) = context.waiting.pop_if(|t| Some(t.q) == q) else {
                break;
            };
            context.branches.push(Branch {
                target,
                state: BranchState::Done,
                deadline: Instant::FAR_FUTURE,
            });
        }
        let last = context.branches.len();
        let serial = context.invite && !context.waiting.is_empty();
        let group_ends = serial.then(|| cx.now + cx.config.timers.serial_fork);
        context.phase = Phase::Open { group_ends };
        let share = breadth / (last - first).max(1);
        for branch in context.branches.iter_mut().skip(first) {
            branch.target.breadth = u16::try_from(share).unwrap_or(u16::MAX);
        }
        for index in first..last {
            self.advance(cx, key, index, message, UNREACHABLE);
        }
    }

    /// Tries what is left for a branch, until something was sent, is being looked for, or nothing
    /// remains: then `status` is its answer.
    fn advance(
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
                    Found::Nothing => status = NOT_FOUND,
                    Found::Pending(id) if self.located.len() < LOCATING_MAX => {
                        branch.state = BranchState::Locating(id);
                        self.located.insert(id, Waiting::Branch { key, index });
                        return;
                    }
                    Found::Pending(_) => status = UNREACHABLE,
                },
                Hop::Nowhere if target.next_flow() => {}
                Hop::Nowhere => {
                    branch.state = BranchState::Done;
                    context.consider(Best::Local(status));
                    return;
                }
            }
        }
    }
}

impl Proxy {
    /// Renders the copy for one destination and sends it in a transaction of its own.
    fn send(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        index: usize,
        message: &Message,
        destination: Destination,
    ) -> Result<(), u16> {
        let Some(context) = self.contexts.get_mut(key) else {
            return Err(UNREACHABLE);
        };
        let Some(branch) = context.branches.get_mut(index) else {
            return Err(UNREACHABLE);
        };
        let target = &mut branch.target;
        let nat = target.behind_nat();
        let body = offer(
            cx,
            context.call,
            message,
            &context.inbound,
            &destination,
            nat,
        )?;
        target.relayed = body.is_some();
        let binding = target.binding().cloned();
        let copy = Onward {
            message,
            inbound: &context.inbound,
            binding: binding.as_deref(),
            breadth: target.breadth,
            body,
        };
        let mut bytes = copy
            .render(cx, &self.mint, &destination)
            .ok_or(UNREACHABLE)?;
        let mut chosen = destination;
        let stream = if target.tried_tcp {
            None
        } else {
            too_big_for(cx, &chosen, bytes.len())
        };
        if let Some(stream) = stream
            && let Some(again) = copy.render(cx, &self.mint, &stream)
        {
            target.tried_tcp = true;
            tracing::info!(bytes = bytes.len(), to = %stream.remote(), "too big for UDP: TCP");
            self.stats.switched_to_tcp += 1;
            target
                .destinations
                .push_front(std::mem::replace(&mut chosen, stream));
            bytes = again;
        }
        let word = context_word(key);
        let client = cx
            .layer
            .send_request(cx.now, bytes, chosen.clone(), word)
            .map_err(|_| UNREACHABLE)?;
        target.current = Some(chosen);
        branch.state = BranchState::Calling { client };
        if context.invite {
            branch.deadline = cx.now + cx.config.timers.timer_c;
        }
        self.stats.branches += 1;
        Ok(())
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
        let Some(message) = cx.layer.request(context.server) else {
            self.drop_context(key);
            return;
        };
        self.advance(cx, key, index, &message, NOT_FOUND);
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
            cx.layer.request(context.server)
        } else {
            None
        };
        match request {
            Some(message) => self.advance(cx, key, index, &message, status),
            None => {
                branch.state = BranchState::Done;
                context.consider(Best::Local(status));
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
                self.cancel_branches(cx, key, None);
            }
            Phase::Open { .. } | Phase::Answered { .. } | Phase::Cancelled | Phase::Declined => {}
        }
        self.end_overdue(cx, key);
        self.settle(cx, key);
    }

    fn end_overdue(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(context) = self.contexts.get_mut(key) else {
            return;
        };
        for branch in &mut context.branches {
            let BranchState::Calling { client } = branch.state else {
                continue;
            };
            // Without a provisional response the CANCEL waits, and Timer B ends the branch.
            if branch.deadline <= cx.now {
                cx.layer.cancel(cx.now, client, None);
                branch.state = BranchState::Cancelling { client };
                self.stats.timer_c += 1;
            }
        }
    }

    /// Forgets a context.
    pub(super) fn drop_context(&mut self, key: Key) -> Option<ResponseContext> {
        let context = self.contexts.remove(key)?;
        if context.invite {
            self.by_server.remove(&context.server);
        }
        if let Some((id, _)) = context.timer {
            self.timers.cancel(id);
        }
        Some(context)
    }
}

/// What a copy is made of, whoever sends it.
pub(super) struct Onward<'a> {
    pub message: &'a Message,
    pub inbound: &'a Inbound,
    pub binding: Option<&'a Binding>,
    pub breadth: u16,
    pub body: Option<Bytes>,
}

impl Onward<'_> {
    /// The copy for one destination; `None` if we have no listener for that transport and family.
    pub fn render(
        &self,
        cx: &mut Context<'_>,
        mint: &TokenMint,
        destination: &Destination,
    ) -> Option<Bytes> {
        let (message, inbound) = (self.message, self.inbound);
        let sent_by = our_name(cx, destination)?;
        let mut branch = loops::Branch::from_slice(&cx.layer.new_branch());
        loops::mark_branch(&mut branch, inbound.loop_hash);
        let record_routes = if inbound.record_route {
            self.record_routes(cx, mint, destination, &sent_by)?
        } else {
            SmallVec::new()
        };
        let path: SmallVec<[&str; 2]> = self.binding.iter().flat_map(|b| b.path()).collect();
        let source_trusted = cx.config.sip.trusts(inbound.flow.remote.ip());
        let reader = match self.binding {
            _ if cx.config.sip.trusts(destination.remote().ip()) => Reader::Trusted,
            Some(_) => Reader::User,
            None => Reader::Stranger,
        };
        let one = message
            .lines(HeaderName::ProxyAuthorization)
            .nth(1)
            .is_none();
        let copy = Copy {
            destination,
            sent_by: &sent_by,
            branch: &branch,
            uri: self.binding.map(|b| b.target().as_bytes()),
            path: &path,
            breadth: self.breadth,
            record_routes: &record_routes,
            author: Author::of(&inbound.caller, source_trusted),
            reader,
            consume_credentials: one && matches!(inbound.caller, Caller::User(_)),
            body: self.body.clone(),
        };
        Some(forward::render(message, inbound, &copy))
    }

    fn record_routes(
        &self,
        cx: &Context<'_>,
        mint: &TokenMint,
        destination: &Destination,
        sent_by: &SentBy,
    ) -> Option<SmallVec<[Vec<u8>; 2]>> {
        let flow = &self.inbound.flow;
        let caller_name = our_name(cx, &Destination::Flow(*flow))?;
        let caller_phone = match &self.inbound.caller {
            Caller::User(user) if self.inbound.caller_flow => indialog::phone_at(cx, user, flow),
            _ => None,
        };
        let caller = Side {
            transport: flow.transport,
            sent_by: &caller_name,
            flow: self.inbound.caller_flow.then_some(*flow),
            phone: caller_phone,
        };
        let only_by_flow = |f: &Flow| {
            let nat = self
                .binding
                .is_some_and(|b| b.behind_nat() || b.is_outbound());
            nat || f.transport.is_reliable()
        };
        let callee = Side {
            transport: destination.transport(),
            sent_by,
            flow: match destination {
                Destination::Flow(f) if only_by_flow(f) => Some(*f),
                Destination::Flow(_) | Destination::Address { .. } => None,
            },
            phone: self.binding.map(indialog::phone_of),
        };
        let uri = match self.binding {
            Some(binding) => binding.target().as_bytes(),
            None => self
                .inbound
                .uri
                .as_deref()
                .unwrap_or(self.message.request_uri()),
        };
        let secure = uri
            .get(..5)
            .is_some_and(|s| s.eq_ignore_ascii_case(b"sips:"));
        let call_id = self.message.call_id();
        Some(record_route::values(
            mint, call_id, secure, &caller, &callee,
        ))
    }
}

/// How we call ourselves toward a destination.
fn our_name(cx: &Context<'_>, destination: &Destination) -> Option<SentBy> {
    match destination {
        Destination::Flow(f) => cx.listeners.sent_by_of(f.transport, f.local, f.remote),
        Destination::Address {
            transport, remote, ..
        } => cx.listeners.sent_by(*transport, *remote),
    }
}

/// The same peer by TCP, where a request is too big for UDP (RFC 3261 §18.1.1) and no flow binds
/// it. Should TCP fail, UDP is tried after all.
fn too_big_for(cx: &Context<'_>, destination: &Destination, length: usize) -> Option<Destination> {
    let Destination::Address {
        transport: Transport::Udp,
        remote,
        ..
    } = destination
    else {
        return None;
    };
    let big = length > cx.config.sip.udp_bytes_max && cx.listeners.speaks(Transport::Tcp);
    big.then_some(Destination::Address {
        transport: Transport::Tcp,
        remote: *remote,
        tls_name: None,
    })
}

/// The body that goes out instead of the caller's.
pub(super) fn offer(
    cx: &mut Context<'_>,
    call: Option<CallKey>,
    message: &Message,
    inbound: &Inbound,
    destination: &Destination,
    behind_nat: bool,
) -> Result<Option<Bytes>, u16> {
    let Some(call) = call.filter(|_| !message.body().is_empty()) else {
        return Ok(None);
    };
    let toward = Toward {
        address: Some(destination.remote().ip()),
        behind_nat,
    };
    match cx.calls.offer_body(call, message, &inbound.flow, toward) {
        BodyEdit::Keep => Ok(None),
        BodyEdit::Replace(body) => Ok(Some(body)),
        BodyEdit::Refuse { status, .. } => Err(status),
    }
}

fn begin_call(
    cx: &mut Context<'_>,
    message: &Message,
    inbound: &Inbound,
) -> Result<CallKey, Reject> {
    let info = CallerInfo {
        user: match &inbound.caller {
            Caller::User(aor) => Some(aor.clone()),
            Caller::Trusted | Caller::Guest | Caller::InDialog => None,
        },
        behind_nat: inbound.caller_nat,
    };
    cx.calls
        .begin(cx.now, message, &inbound.flow, info)
        .map_err(|_| reject(503, "Too Many Calls"))
}

/// Where a target's next hop is (§16.6 step 7); each way is given once.
pub(super) fn next_hop(target: &mut Target, inbound: &Inbound, message: &Message) -> Hop {
    let search = std::mem::replace(&mut target.search, Search::Over);
    match (search, &target.place) {
        (Search::Over, _) => Hop::Nowhere,
        (Search::Fresh, Place::AsRequested) => requested_hop(inbound, message),
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
        (Search::FlowTried, Place::AsRequested) => Hop::Nowhere,
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
