//! The table of calls of one shard: begin, follow, end, and what falls out of that.

mod ends;
mod parts;
mod relayed;

use super::fork::Forks;
use super::leg::Leg;
use super::media::{BodyEdit, Circumstances, Described, Media, MediaPolicy, Toward};
use super::row;
use super::state::{Bye, Call, State, refreshes_target};
use super::ways::{REFUSED_BYTES_MAX, Refusals, Ways, cut};
use crate::base::{Anchor, Flow, Instant, Key, Slab, TimerTable};
use crate::control::{CallRow, CallState, rfc3339};
use crate::relay::{Failure, MediaCommand, MediaEvent, PortPool, Side};
use crate::store::{Cdr, EndCause, Record};
use crate::wire::sip::{Message, Method, Scheme, Uri};
pub(super) use parts::Kin;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long an ended call waits for the relay's last figures before its record is written.
const FINAL_REPORT_WAIT: Duration = Duration::from_secs(2);

/// How long an answer may be unacknowledged before its callee ends it: 64 * T1 (RFC 3261
/// §13.3.1.4), and what the network may hold up.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(40);

/// How many calls may share one Call-ID (a fork that was answered twice, a hostile peer).
const SAME_CALL_ID_MAX: usize = 8;

/// Names a call of this shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallKey(Key);

impl CallKey {
    /// As a number, for contexts that cross a boundary.
    pub const fn to_u64(self) -> u64 {
        self.0.to_u64()
    }

    /// Back from [`CallKey::to_u64`].
    pub const fn from_u64(bits: u64) -> Self {
        Self(Key::from_u64(bits))
    }
}

/// No more calls than the limit says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallTableFull;

/// What admission found out about the caller.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallerInfo {
    /// The authenticated `user@domain`; `None` for strangers and trusted peers.
    pub user: Option<Box<str>>,
    /// Whether the caller's addresses cannot be believed.
    pub behind_nat: bool,
    /// By which ways it comes and goes, as far as that is known.
    pub ways: Ways,
}

/// What bounds and shapes the table.
#[derive(Clone, Debug)]
pub struct CallSettings {
    /// Goes into the identifiers that the operator sees.
    pub shard: usize,
    /// How many calls at most.
    pub calls_max: usize,
    /// Ties the clock to the calendar.
    pub anchor: Anchor,
    /// When media passes through us.
    pub media: MediaPolicy,
    /// A call that lasts longer is taken for one whose end was lost, and is ended.
    pub duration_max: Duration,
}

/// What the table wants done.
#[derive(Clone, Debug)]
pub enum CallOutput {
    /// For the media side.
    Media(MediaCommand),
    /// For the store.
    Persist(Record),
    /// To send in a client transaction.
    Bye(Bye),
    /// The call still rings: its INVITE is to be cancelled towards the callee and refused to the
    /// caller.
    Cancel(CallKey),
    /// The call ended.
    Ended(CallKey),
}

#[derive(Clone, Copy, Debug)]
enum Timer {
    TooLong(CallKey),
    FinalReport(CallKey),
    Unacknowledged(CallKey),
}

/// The calls of one shard.
#[derive(Debug)]
pub struct CallTable {
    settings: CallSettings,
    calls: Slab<Box<Call>>,
    by_call_id: HashMap<Box<[u8]>, Vec<CallKey>>,
    timers: TimerTable<Timer>,
    ports: PortPool,
    refusals: Refusals,
    outputs: VecDeque<CallOutput>,
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

/// An address as people read it: `user@host` of a SIP URI, any other URI whole.
fn party(uri: &[u8]) -> Box<str> {
    match Uri::parse(uri) {
        Ok(sip) if matches!(sip.scheme(), Scheme::Sip | Scheme::Sips) => match sip.user() {
            Some(user) => format!("{}@{}", text(user), sip.host()).into(),
            None => sip.host().to_string().into(),
        },
        _ => text(uri),
    }
}

impl CallTable {
    /// An empty table whose media uses `ports`.
    pub fn new(settings: CallSettings, ports: PortPool) -> Self {
        let calls = Slab::new(settings.calls_max);
        Self {
            settings,
            calls,
            by_call_id: HashMap::new(),
            timers: TimerTable::new(),
            ports,
            refusals: Refusals::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes new settings; calls that are up keep their media as it is.
    pub fn configure(&mut self, settings: CallSettings) {
        self.settings = settings;
    }

    /// The calendar moved.
    pub fn set_anchor(&mut self, anchor: Anchor) {
        self.settings.anchor = anchor;
    }

    /// How many calls there are, ended ones that wait for figures included.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether the call is there and has not ended.
    pub fn lives(&self, key: CallKey) -> bool {
        let call = self.calls.get(key.0);
        call.is_some_and(|call| !matches!(call.state, State::Ended { .. }))
    }

    /// How many port pairs the relay holds for calls of this shard.
    pub fn ports_in_use(&self) -> usize {
        self.calls
            .iter()
            .filter_map(|(_, c)| c.media.as_ref())
            .map(|m| m.port_count())
            .sum()
    }

    /// An INVITE without To tag is about to be forwarded. A spiral of a call already known gives
    /// that call.
    pub fn begin(
        &mut self,
        now: Instant,
        request: &Message,
        flow: &Flow,
        info: CallerInfo,
    ) -> Result<CallKey, CallTableFull> {
        let leg = Leg::of_request(request, flow, info.behind_nat);
        let known = self
            .by_call_id
            .get(request.call_id())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let again = known.iter().copied().find(|&k| {
            self.calls.get(k.0).is_some_and(|c| {
                c.legs[0].tag == leg.tag && matches!(c.state, State::Calling { .. })
            })
        });
        if let Some(key) = again {
            return Ok(key);
        }
        if known.len() >= SAME_CALL_ID_MAX || self.calls.is_full() {
            let ways = info.ways.with_note("too many calls at once");
            let info = CallerInfo { ways, ..info };
            self.refused(now, request, flow, info, 503);
            return Err(CallTableFull);
        }
        let from_uri = request.from().map(|a| party(a.uri_bytes()));
        let whole = self.whole_of(request, flow);
        let call = Call {
            kin: Kin::default(),
            call_id: request.call_id().into(),
            to_uri: party(request.request_uri()),
            from_uri: from_uri.unwrap_or_default(),
            user: info.user,
            answerer: Box::default(),
            ways: info.ways,
            start_ms: self.settings.anchor.unix_ms(now),
            status: 0,
            state: State::Calling { ringing: false },
            legs: [leg, Leg::default()],
            acknowledged: false,
            forks: Forks::default(),
            ended_before: None,
            media: None,
            direct: false,
            stats: None,
            codecs: "".into(),
            offered: false,
            timer: None,
        };
        let key = CallKey(
            self.calls
                .insert(Box::new(call))
                .map_err(|_| CallTableFull)?,
        );
        self.by_call_id
            .entry(request.call_id().into())
            .or_default()
            .push(key);
        let timer = self
            .timers
            .arm(now + self.settings.duration_max, Timer::TooLong(key));
        if let Some(call) = self.calls.get_mut(key.0) {
            call.timer = Some(timer);
        }
        self.hang_on(key, whole);
        Ok(key)
    }

    /// The session of the media side that an INVITE without To tag has, or will have.
    pub fn session_of(&self, invite: &Message) -> Option<u64> {
        let keys = self.by_call_id.get(invite.call_id())?;
        let from = invite.from_tag().unwrap_or_default();
        let is = |key: &CallKey| {
            let call = self.calls.get(key.0);
            call.is_some_and(|c| *c.legs[0].tag == *from)
        };
        keys.iter().copied().find(is).map(CallKey::to_u64)
    }

    /// Whether a Replaces value (RFC 3891 §6.1) means a dialog whose one end is a service of ours.
    pub fn is_served(&self, replaces: &[u8]) -> bool {
        let mut parts = replaces.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let call_id = parts.next().unwrap_or_default();
        let Some(tag) = parts.find_map(|part| part.strip_prefix(b"to-tag=")) else {
            return false;
        };
        let keys = self.by_call_id.get(call_id);
        let calls = keys.into_iter().flatten();
        let mut legs = calls
            .filter_map(|key| Some(&self.calls.get(key.0)?.legs))
            .flatten();
        legs.any(|leg| *leg.tag == *tag && leg.flow.is_some_and(|flow| flow.is_internal()))
    }

    /// Adds to the note of a call, by its session of the media side.
    pub fn note(&mut self, session: u64, text: &str) {
        if let Some(call) = self.calls.get_mut(CallKey::from_u64(session).0) {
            call.ways.add_note(text);
        }
    }

    /// What is learnt of a call's ways after it began.
    pub fn ways(&mut self, key: CallKey) -> Option<&mut Ways> {
        self.calls.get_mut(key.0).map(|call| &mut call.ways)
    }

    /// An INVITE was refused before its call began: one of our users, a trunk or a pool gets a
    /// record of it; strangers get none, and a flood is cut short (at most 30 a minute for each
    /// account, and the next record says how many were left out).
    pub fn refused(
        &mut self,
        now: Instant,
        request: &Message,
        flow: &Flow,
        info: CallerInfo,
        status: u16,
    ) {
        if self.absorbs_refusal(request, flow, &info.ways.note) {
            return;
        }
        let Some(account) = info.account() else {
            return;
        };
        let Some(left_out) = self.refusals.admit(now, &account) else {
            return;
        };
        let mut ways = info.ways;
        if left_out > 0 {
            ways.add_note(&format!("{left_out} more were refused and left out"));
        }
        let from = request.from().map(|a| party(a.uri_bytes()));
        let now_ms = self.settings.anchor.unix_ms(now);
        let cdr = Cdr {
            call_id: cut(text(request.call_id()), REFUSED_BYTES_MAX),
            from: cut(from.unwrap_or_default(), REFUSED_BYTES_MAX),
            to: cut(party(request.request_uri()), REFUSED_BYTES_MAX),
            user: info.user.unwrap_or_default(),
            source: flow.remote.to_string().into(),
            way_in: ways.way_in,
            way_out: ways.way_out,
            route: ways.route,
            note: ways.note,
            start_ms: now_ms,
            answer_ms: None,
            end_ms: now_ms,
            status,
            cause: EndCause::Refused,
            codecs: "".into(),
            legs: None,
        };
        let record = Record::Cdr(Box::new(cdr));
        self.outputs.push_back(CallOutput::Persist(record));
    }

    /// How many refused calls got no record since the start, since their account had too many.
    pub fn refused_left_out(&self) -> u64 {
        self.refusals.left_out()
    }

    /// The call that an in-dialog request or response belongs to, by Call-ID and tags.
    pub fn find(&self, message: &Message) -> Option<CallKey> {
        let keys = self.by_call_id.get(message.call_id())?;
        let from = message.from_tag().unwrap_or_default();
        let to = message.to_tag().unwrap_or_default();
        keys.iter().copied().find(|&key| {
            self.calls.get(key.0).is_some_and(|call| {
                let (a, b) = (&*call.legs[0].tag, &*call.legs[1].tag);
                let callee = if a == from {
                    Some(to)
                } else {
                    (a == to).then_some(from)
                };
                let mut known = callee
                    .into_iter()
                    .filter(|c| b.is_empty() || b == *c || call.forks.get(c).is_some());
                known.next().is_some() && !matches!(call.state, State::Ended { .. })
            })
        })
    }

    /// Whether a request of this call goes where its dialog leads (RFC 3261 §12.2.1.1): along the
    /// reader's route set, or to the target that it named last. `route` is the topmost Route that
    /// is not ours, `target` the Request-URI.
    pub fn leads_to_reader(
        &self,
        key: CallKey,
        message: &Message,
        route: Option<&[u8]>,
        target: &Uri<'_>,
    ) -> bool {
        let Some(call) = self.calls.get(key.0) else {
            return false;
        };
        let reader = match call.author(message) {
            Side::Called => &call.legs[0],
            Side::Caller => match call.forks.get(call.callee_tag(message)) {
                Some(dialog) => &dialog.leg,
                None => &call.legs[1],
            },
        };
        reader.is_reached_by(route, target)
    }

    /// A request with a body is on its way: what its body should become.
    pub fn offer_body(
        &mut self,
        key: CallKey,
        message: &Message,
        from: &Flow,
        toward: Toward,
    ) -> BodyEdit {
        let Some(call) = self.calls.get_mut(key.0) else {
            return BodyEdit::Keep;
        };
        let side = call.author(message);
        let aside = call.is_aside(message);
        let described = Media::read(message);
        if let (false, Some(described)) = (aside, &described) {
            call.codecs_of(described);
        }
        let legs = call.legs_of(message);
        let (own, other) = (side.index(), side.other().index());
        let differ = toward
            .address
            .is_some_and(|a| a.is_ipv6() != from.remote.is_ipv6());
        let nat =
            toward.relay || toward.behind_nat || legs[own].behind_nat || legs[other].behind_nat;
        let forced = toward.local || from.is_internal();
        if call.media.is_none() && !forced && !self.settings.media.wants_relay(nat, differ) {
            return BodyEdit::Keep;
        }
        let reader = toward.address.or(legs[other].flow.map(|f| f.remote.ip()));
        let mut sides = legs.map(Leg::circumstances);
        sides[own].signalling = Some(from.remote.ip());
        sides[own].local |= from.is_internal();
        sides[other].signalling = reader;
        sides[other].behind_nat |= toward.behind_nat;
        sides[other].local |= toward.local;
        match described {
            None => BodyEdit::Keep,
            Some(described) if aside => self.pass_aside(key, side, &described, sides),
            Some(described) => self.pass_body(key, side, &described, sides),
        }
    }

    /// A response with a body is on its way back. `branch_relayed` tells whether the body of the
    /// request on that branch was replaced, `behind_nat` what is known of who sent the response.
    pub fn answer_body(
        &mut self,
        key: CallKey,
        message: &Message,
        flow: &Flow,
        branch_relayed: bool,
        behind_nat: bool,
    ) -> BodyEdit {
        let Some(call) = self.calls.get_mut(key.0) else {
            return BodyEdit::Keep;
        };
        let side = call.author(message).other();
        // The second answer of a fork: media stays with the first until the caller has chosen.
        let answered = matches!(call.state, State::Answered { .. });
        let aside = answered && *call.legs[1].tag != *call.callee_tag(message);
        let described = Media::read(message);
        if let (false, Some(described)) = (aside, &described) {
            call.codecs_of(described);
        }
        let legs = call.legs_of(message);
        let (own, other) = (side.index(), side.other().index());
        let to = legs[other].flow.map(|f| f.remote);
        let differ = to.is_some_and(|t| t.is_ipv6() != flow.remote.is_ipv6());
        let nat = behind_nat || legs[own].behind_nat || legs[other].behind_nat;
        let wanted = flow.is_internal() || self.settings.media.wants_relay(nat, differ);
        let late = call.media.is_none() && wanted;
        if !branch_relayed && (!late || call.offered) {
            let chosen = !answered && message.status() >= 200;
            call.direct |= chosen && call.media.is_some();
            return BodyEdit::Keep;
        }
        let mut sides = legs.map(Leg::circumstances);
        sides[own].signalling = Some(flow.remote.ip());
        sides[own].behind_nat |= behind_nat;
        sides[own].local = flow.is_internal();
        match described {
            None => BodyEdit::Keep,
            Some(described) if aside => self.pass_aside(key, side, &described, sides),
            Some(described) => self.pass_body(key, side, &described, sides),
        }
    }

    /// The same in a dialog that the relay does not follow: its reader is told the ports that the
    /// relay has anyway, so that nothing need be said again should this dialog be the one to live.
    fn pass_aside(
        &mut self,
        key: CallKey,
        side: Side,
        described: &Described<'_>,
        sides: [Circumstances; 2],
    ) -> BodyEdit {
        let Some(call) = self.calls.get_mut(key.0) else {
            return BodyEdit::Keep;
        };
        let tag = call.callee_tag(described.message);
        let media = call
            .media
            .get_or_insert_with(|| Box::new(Media::new(key.to_u64())));
        if let Err(edit) = media.reserve(described, &mut self.ports) {
            return edit;
        }
        let fork = || Box::new(media.fork());
        let Some(dialog) = call.forks.enter(tag) else {
            return BodyEdit::Keep;
        };
        if let Some(codecs) = described.codecs() {
            dialog.codecs = codecs;
        }
        let own = dialog.media.get_or_insert_with(fork);
        own.describe_aside(side, described, sides, &self.settings.media.addresses)
    }

    fn pass_body(
        &mut self,
        key: CallKey,
        side: Side,
        described: &Described<'_>,
        sides: [Circumstances; 2],
    ) -> BodyEdit {
        let Some(call) = self.calls.get_mut(key.0) else {
            return BodyEdit::Keep;
        };
        let media = call
            .media
            .get_or_insert_with(|| Box::new(Media::new(key.to_u64())));
        let addresses = &self.settings.media.addresses;
        call.direct = false;
        let (edit, command) = media.describe(side, described, sides, addresses, &mut self.ports);
        self.outputs.extend(command.map(CallOutput::Media));
        edit
    }

    /// A response to a request of this call went by.
    pub fn on_response(
        &mut self,
        now: Instant,
        key: CallKey,
        message: &Message,
        flow: &Flow,
        callee_behind_nat: bool,
        ours: &dyn Fn(&[u8]) -> bool,
    ) {
        let unix_ms = self.settings.anchor.unix_ms(now);
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let status = message.status();
        if (200..300).contains(&status) && refreshes_target(message.method()) {
            call.target_confirmed(message);
        }
        if message.method() != Method::Invite {
            return;
        }
        let callee = call.callee_tag(message);
        let answer = |known_nat| Leg::of_answer(message, flow, known_nat, ours);
        match (&mut call.state, status) {
            (State::Calling { ringing }, 101..=199) => {
                *ringing = true;
                // RFC 3261 §12.1.2: an early dialog, whose target a PRACK or UPDATE goes to.
                if !callee.is_empty()
                    && let Some(dialog) = call.forks.enter(callee)
                {
                    dialog.leg = answer(callee_behind_nat);
                }
            }
            (State::Calling { .. }, 200..=299) => {
                call.legs[1] = answer(call.legs[1].behind_nat || callee_behind_nat);
                call.status = status;
                call.state = State::Answered { answer_ms: unix_ms };
                call.forks.remove(callee);
                call.forks.forget_early();
            }
            (State::Answered { .. }, 200..=299) if *call.legs[1].tag != *callee => {
                if let Some(dialog) = call.forks.enter(callee)
                    && !dialog.answered
                {
                    dialog.leg = answer(callee_behind_nat);
                    dialog.answered = true;
                }
            }
            (State::Answered { .. }, 300..) => {
                let restored = call.media.as_mut().and_then(|m| m.refused());
                self.outputs.extend(restored.map(CallOutput::Media));
            }
            (State::Calling { .. } | State::Answered { .. } | State::Ended { .. }, _) => {}
        }
    }

    /// An in-dialog request of this call went by.
    pub fn on_in_dialog(&mut self, now: Instant, key: CallKey, message: &Message, flow: &Flow) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let side = call.author(message);
        let callee = call.callee_tag(message);
        let aside = call.forks.get(callee).is_some();
        let leg = match (side, call.forks.get_mut(callee)) {
            (Side::Called, Some(dialog)) => &mut dialog.leg,
            (side, _) => &mut call.legs[side.index()],
        };
        if let Ok(cseq) = message.cseq() {
            leg.cseq = leg.cseq.max(cseq.number);
        }
        leg.flow = Some(*flow);
        let method = message.method();
        if refreshes_target(method) {
            leg.announce_target(message);
        }
        match method {
            Method::Ack if side == Side::Caller => self.acknowledged(key, message),
            Method::Bye => {
                let cause = match side {
                    Side::Caller => EndCause::CallerHungUp,
                    Side::Called => EndCause::CalleeHungUp,
                };
                if aside {
                    call.forks.remove(callee);
                }
                // Of several early dialogs one may be ended by BYE, too (RFC 3261 §15).
                let early = matches!(call.state, State::Calling { .. });
                if !aside || (early && call.forks.is_empty()) {
                    self.hung_up(now, key, cause);
                }
            }
            _ => {}
        }
    }

    /// The caller took an answer. If it is another one than ours, which nobody took yet, record and
    /// media follow it from now on.
    fn acknowledged(&mut self, key: CallKey, message: &Message) {
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let tag = call.callee_tag(message);
        let Some(dialog) = call.forks.get_mut(tag) else {
            call.acknowledged = true;
            call.ended_before = None;
            return;
        };
        dialog.acknowledged = true;
        if call.acknowledged || !dialog.answered {
            return;
        }
        if let Some(chosen) = call.forks.remove(tag) {
            let command = call.follow(chosen, true);
            self.outputs.extend(command.map(CallOutput::Media));
        }
    }

    /// The dialog that the record follows was ended by BYE: the call lives on in another one that
    /// was answered, or ends.
    fn hung_up(&mut self, now: Instant, key: CallKey, cause: EndCause) {
        let now_ms = self.settings.anchor.unix_ms(now);
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let status = call.status;
        let Some(living) = call.forks.take_living() else {
            return self.end(now, key, cause, status);
        };
        if !living.acknowledged {
            call.ended_before.get_or_insert((now_ms, cause));
            let wait = Timer::Unacknowledged(key);
            self.timers.arm(now + ACKNOWLEDGED_WITHIN, wait);
        }
        let command = call.follow(living, false);
        self.outputs.extend(command.map(CallOutput::Media));
    }

    /// The INVITE ended without an answer, in this final status.
    pub fn failed(&mut self, now: Instant, key: CallKey, status: u16) {
        let calling = self
            .calls
            .get(key.0)
            .is_some_and(|c| matches!(c.state, State::Calling { .. }));
        if calling {
            let cause = if status == 487 {
                EndCause::Cancelled
            } else {
                EndCause::Refused
            };
            self.end(now, key, cause, status);
        }
    }

    /// Ends a call from our side: BYE to both, or the refusal of what still rings.
    pub fn hangup(&mut self, now: Instant, key: CallKey, cause: EndCause) -> bool {
        let Some(call) = self.calls.get_mut(key.0) else {
            return false;
        };
        match call.state {
            State::Calling { .. } => self.outputs.push_back(CallOutput::Cancel(key)),
            State::Answered { .. } => {
                self.outputs
                    .extend(call.byes().into_iter().map(CallOutput::Bye));
                let status = call.status;
                self.end(now, key, cause, status);
            }
            State::Ended { .. } => return false,
        }
        true
    }

    /// The daemon stops: every call gets its record. Calls whose media passes through us are hung
    /// up, since nobody would hear anything any more; the others go on without us, and what belongs
    /// to them finds its way by the signed route after the next start.
    pub fn shut_down(&mut self, now: Instant) {
        let all: Vec<CallKey> = self.calls.iter().map(|(k, _)| CallKey(k)).collect();
        for key in all {
            let Some(call) = self.calls.get(key.0) else {
                continue;
            };
            let status = call.status;
            match call.state {
                State::Answered { .. } if call.media.is_some() => {
                    self.hangup(now, key, EndCause::Shutdown);
                }
                State::Calling { .. } | State::Answered { .. } => {
                    self.end(now, key, EndCause::Shutdown, status);
                }
                State::Ended { .. } => {}
            }
        }
    }

    fn end(&mut self, now: Instant, key: CallKey, cause: EndCause, status: u16) {
        let end_ms = self.settings.anchor.unix_ms(now);
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        let answer_ms = match call.state {
            State::Calling { .. } => None,
            State::Answered { answer_ms } => Some(answer_ms),
            State::Ended { .. } => return,
        };
        let (end_ms, cause) = call.ended_before.take().unwrap_or((end_ms, cause));
        call.state = State::Ended {
            answer_ms,
            end_ms,
            cause,
            status,
        };
        if let Some(timer) = call.timer.take() {
            self.timers.cancel(timer);
        }
        self.outputs.push_back(CallOutput::Ended(key));
        let close = call.media.as_ref().and_then(|m| m.close());
        match close {
            Some(command) => {
                let wait = Timer::FinalReport(key);
                call.timer = Some(self.timers.arm(now + FINAL_REPORT_WAIT, wait));
                self.outputs.push_back(CallOutput::Media(command));
            }
            None => self.record(key),
        }
    }

    fn record(&mut self, key: CallKey) {
        if self.waits_for_parts(key) {
            return;
        }
        let Some(mut call) = self.calls.remove(key.0) else {
            return;
        };
        if let Some(timer) = call.timer.take() {
            self.timers.cancel(timer);
        }
        if let Some(keys) = self.by_call_id.get_mut(&call.call_id) {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.by_call_id.remove(&call.call_id);
            }
        }
        if let Some(media) = call.media.take() {
            media.release(&mut self.ports);
        }
        if self.absorbed(key, &call) {
            return;
        }
        if let State::Ended {
            answer_ms,
            end_ms,
            cause,
            status,
        } = call.state
        {
            let source = call.legs[0]
                .flow
                .map(|f| f.remote.to_string())
                .unwrap_or_default();
            let cdr = Cdr {
                call_id: text(&call.call_id),
                from: call.from_uri,
                to: call.to_uri,
                user: call.user.unwrap_or_default(),
                source: source.into(),
                way_in: call.ways.way_in,
                way_out: call.ways.way_out,
                route: call.ways.route,
                note: call.ways.note,
                start_ms: call.start_ms,
                answer_ms,
                end_ms,
                status,
                cause: call.kin.cause(cause),
                codecs: call.codecs,
                legs: call.stats.map(|s| s.map(|leg| row::cdr_leg(&leg))),
            };
            self.outputs
                .push_back(CallOutput::Persist(Record::Cdr(Box::new(cdr))));
        }
    }

    /// What the relay has to say.
    pub fn on_media(&mut self, now: Instant, event: MediaEvent) {
        let key = CallKey::from_u64(event.session());
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        match event {
            MediaEvent::Opened { .. } => {}
            MediaEvent::Report { .. } | MediaEvent::Timeout { .. } if call.direct => {}
            MediaEvent::Report { legs, .. } => call.stats = Some(legs),
            MediaEvent::Closed { legs, .. } => {
                call.stats = Some(legs).filter(|_| !call.direct);
                if matches!(call.state, State::Ended { .. }) {
                    self.record(key);
                }
            }
            // Before the answer nobody need send; Timer C ends what rings for ever.
            MediaEvent::Timeout { .. } if matches!(call.state, State::Calling { .. }) => {}
            MediaEvent::Timeout { silent, .. } => {
                tracing::info!(call = %self.id(key), ?silent, "media fell silent: call ended");
                self.hangup(now, key, EndCause::MediaTimeout);
            }
            MediaEvent::Failed { reason, .. } => self.media_failed(now, key, reason),
            MediaEvent::Unchanged { .. } if matches!(call.state, State::Ended { .. }) => {}
            MediaEvent::Unchanged { reason, .. } => {
                let port = self.bad_port(reason);
                let media = self.calls.get_mut(key.0).and_then(|c| c.media.as_mut());
                let Some(command) = media.and_then(|media| media.unchanged(port)) else {
                    return self.media_failed(now, key, reason);
                };
                tracing::warn!(call = %self.id(key), ?reason, "the relay cannot carry a stream \
                    that a call wants: the call goes on without");
                self.outputs.push_back(CallOutput::Media(command));
            }
        }
    }

    /// The port that a failure names; it is not handed out for long.
    fn bad_port(&mut self, reason: Failure) -> Option<u16> {
        let (Failure::Port(port) | Failure::PortInUse(port)) = reason else {
            return None;
        };
        self.ports.mark_bad(port & !1);
        Some(port)
    }

    fn media_failed(&mut self, now: Instant, key: CallKey, reason: Failure) {
        self.bad_port(reason);
        let Some(call) = self.calls.get_mut(key.0) else {
            return;
        };
        if matches!(call.state, State::Ended { .. }) {
            return self.record(key);
        }
        tracing::error!(call = %self.id(key), ?reason, "the relay cannot carry a call: ended; \
            if ports are taken by other programs, move [rtp] ports elsewhere");
        self.hangup(now, key, EndCause::MediaFailed);
    }

    /// The sessions of all calls that are relayed, to ask the relay for figures.
    pub fn media_sessions(&self) -> Vec<u64> {
        self.calls
            .iter()
            .filter(|(_, c)| c.media.is_some())
            .map(|(k, _)| k.to_u64())
            .collect()
    }

    /// What the operator sees.
    pub fn rows(&self) -> Vec<CallRow> {
        self.calls
            .iter()
            .filter_map(|(key, call)| self.row(CallKey(key), call))
            .collect()
    }

    /// The call that the operator names.
    pub fn by_id(&self, id: &str) -> Option<CallKey> {
        self.calls
            .iter()
            .map(|(k, _)| CallKey(k))
            .find(|&k| self.id(k) == id)
    }

    /// A call's Call-ID, as text.
    pub fn call_id(&self, key: CallKey) -> Option<String> {
        self.calls.get(key.0).map(|c| text(&c.call_id).into())
    }

    fn id(&self, key: CallKey) -> String {
        format!("{:x}-{:x}", self.settings.shard, key.to_u64())
    }

    fn row(&self, key: CallKey, call: &Call) -> Option<CallRow> {
        let (state, since_ms) = match call.state {
            State::Calling { ringing: false } => (CallState::Calling, call.start_ms),
            State::Calling { ringing: true } => (CallState::Ringing, call.start_ms),
            State::Answered { answer_ms } => (CallState::Up, answer_ms),
            State::Ended { .. } => return None,
        };
        let stats = call.stats.as_deref();
        Some(CallRow {
            id: self.id(key),
            from: call.from_uri.to_string(),
            to: call.to_uri.to_string(),
            state,
            since_ms,
            since: rfc3339(since_ms),
            codec: call.codecs.to_string(),
            legs: stats.map_or_else(Vec::new, |stats| row::legs(stats, &call.codecs)),
            verdict: match (state, stats) {
                (CallState::Up, Some(stats)) => row::verdict(stats),
                _ => String::new(),
            },
        })
    }

    /// When [`CallTable::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::TooLong(key) => {
                    self.hangup(now, key, EndCause::TooLong);
                }
                Timer::FinalReport(key) => self.record(key),
                Timer::Unacknowledged(key) => {
                    let call = self.calls.get(key.0);
                    if call.is_some_and(|c| c.ended_before.is_some()) {
                        self.hangup(now, key, EndCause::CallerHungUp);
                    }
                }
            }
        }
    }

    /// What to do next; drain it.
    pub fn poll_output(&mut self) -> Option<CallOutput> {
        self.outputs.pop_front()
    }
}
