//! A phone's side of INVITE, ACK, CANCEL, BYE and re-INVITE (RFC 3261 §9, §12 to §15).

use super::call::{Call, CallPlan, GivenUp, Outcome, Repeat, State};
use super::text::{self, Draft, Way};
use super::transact::{End, Purpose};
use super::{Alarm, PATIENCE, Phone, T1, T2};
use crate::wire::sip::{Message, Method};
use bytes::Bytes;
use std::time::Duration;

/// How long a caller waits at most.
const CALLING_MAX: Duration = Duration::from_secs(240);
/// How long a hold lasts.
const HOLD: Duration = Duration::from_secs(3);

impl Phone {
    pub(super) fn place(&mut self, plan: usize) {
        let Some(plan) = self.plans.get(plan).cloned() else {
            return;
        };
        let CallPlan {
            target,
            give_up_after,
            talk,
            hold_after,
            keys,
        } = plan;
        let call_id = format!("{}@{}", self.token(), self.address.ip());
        let state = State::Calling {
            branch: String::new(),
            given_up: GivenUp::No,
        };
        let mut call = self.new_call(call_id, true, state);
        call.remote.clone_from(&target);
        call.remote_target = target;
        call.talk = talk;
        call.hold_after = hold_after;
        call.media.events = !keys.is_empty();
        call.keys = keys;
        let sdp = call.media.describe();
        let draft = self.dialog_draft(&mut call, "INVITE", Some(sdp));
        let branch = self.request(draft, Purpose::Invite(call.id));
        call.state = State::Calling {
            branch,
            given_up: GivenUp::No,
        };
        self.arm(give_up_after.unwrap_or(CALLING_MAX), Alarm::GiveUp(call.id));
        self.calls.insert(call.id, call);
    }

    /// A request within the call.
    fn dialog_draft(&self, call: &mut Call, method: &'static str, sdp: Option<String>) -> Draft {
        let remote_tag = match &call.remote_tag {
            Some(tag) => format!(";tag={tag}"),
            None => String::new(),
        };
        if method != "ACK" {
            call.cseq += 1;
        }
        let mut headers = Vec::new();
        if method == "INVITE" {
            headers.push(format!("Contact: {}", self.contact()));
        }
        Draft {
            method,
            uri: call.remote_target.clone(),
            from: format!("<{}>;tag={}", call.local, call.local_tag),
            to: format!("<{}>{remote_tag}", call.remote),
            call_id: call.call_id.clone(),
            cseq: call.cseq,
            routes: call.routes.clone(),
            headers,
            sdp,
        }
    }

    /// An INVITE was sent again with credentials.
    pub(super) fn on_authenticated(&mut self, purpose: Purpose, draft: &Draft, new: &str) {
        let id = match purpose {
            Purpose::Invite(id) | Purpose::Reinvite(id) | Purpose::Bye(id) => id,
            Purpose::Register | Purpose::Cancel(_) => return,
        };
        if let Some(call) = self.calls.get_mut(&id) {
            call.cseq = call.cseq.max(draft.cseq);
            if let (Purpose::Invite(_), State::Calling { branch, .. }) = (purpose, &mut call.state)
            {
                *branch = new.into();
            }
        }
    }

    /// A provisional response: a CANCEL that waited for it may go.
    pub(super) fn on_ringing(&mut self, id: u64, _message: &Message) {
        if let Some(call) = self.calls.get(&id)
            && matches!(
                call.state,
                State::Calling {
                    given_up: GivenUp::Wanted,
                    ..
                }
            )
        {
            self.cancel(id);
        }
    }

    fn cancel(&mut self, id: u64) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let State::Calling { branch, given_up } = &mut call.state else {
            return;
        };
        call.given_up_at = Some(now);
        *given_up = GivenUp::Said;
        let branch = branch.clone();
        let draft = Draft {
            method: "CANCEL",
            uri: call.remote.clone(),
            from: format!("<{}>;tag={}", call.local, call.local_tag),
            to: format!("<{}>", call.remote),
            call_id: call.call_id.clone(),
            cseq: call.cseq,
            routes: Vec::new(),
            headers: Vec::new(),
            sdp: None,
        };
        self.request_on(draft, Purpose::Cancel(id), branch, 0);
    }

    /// After a CANCEL the INVITE must end within 64 * T1 (§9.1).
    pub(super) fn on_cancel_end(&mut self, id: u64) {
        self.arm(PATIENCE, Alarm::GiveUp(id));
    }

    /// Stops calling; a call that was answered goes on.
    pub(super) fn give_up(&mut self, id: u64) {
        if let Some(call) = self.calls.get(&id)
            && matches!(call.state, State::Calling { .. })
        {
            self.hang_up(id);
        }
    }

    /// Ends a call in whatever way its state asks for.
    pub(super) fn hang_up(&mut self, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        match &mut call.state {
            State::Calling { given_up, branch } => match given_up {
                GivenUp::No => {
                    *given_up = GivenUp::Wanted;
                    let key = branch.clone();
                    if self.is_proceeding(&key) {
                        self.cancel(id);
                    }
                }
                GivenUp::Wanted => {}
                GivenUp::Said => {
                    let branch = branch.clone();
                    // 64 * T1 after the CANCEL was done with: nothing will come.
                    if !self.has_client(&branch, "CANCEL") {
                        self.forget(&branch, "INVITE");
                        self.ended(id, Outcome::Cancelled);
                    }
                }
            },
            State::Ringing { .. } => self.refuse(id, 480, Outcome::Refused(480)),
            State::Established => self.bye(id),
            // Its ACK is waited for first (§15).
            State::Answering { .. } => self.arm(Duration::from_secs(1), Alarm::HangUp(id)),
            State::Refusing { .. } | State::Leaving | State::Ended => {}
        }
    }

    fn bye(&mut self, id: u64) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        call.state = State::Leaving;
        let draft = self.dialog_draft(&mut call, "BYE", None);
        self.calls.insert(id, call);
        self.request(draft, Purpose::Bye(id));
    }

    /// Answered or not, the call is over for us (§15.1.1).
    pub(super) fn on_bye_end(&mut self, id: u64) {
        let outcome = self.calls.get(&id).map(|call| call.outcome);
        self.ended(id, outcome.unwrap_or(Outcome::Talked));
    }

    pub(super) fn on_invite_end(&mut self, id: u64, end: End<'_>) {
        let given_up = match self.calls.get(&id).map(|call| &call.state) {
            Some(State::Calling { given_up, .. }) => *given_up,
            Some(_) | None => return,
        };
        match end {
            End::Timeout => self.ended(id, Outcome::Timeout),
            End::Final(message) if message.status() < 300 => {
                self.learn_dialog(id, message);
                self.acknowledge(id);
                self.established(id);
                // The answer was faster than the CANCEL (§9.1).
                if given_up != GivenUp::No {
                    self.set_outcome(id, Outcome::Surplus);
                    self.bye(id);
                }
            }
            End::Final(message) if given_up != GivenUp::No && message.status() == 487 => {
                self.ended(id, Outcome::Cancelled);
            }
            End::Final(message) => self.ended(id, Outcome::Refused(message.status())),
        }
    }

    fn set_outcome(&mut self, id: u64, outcome: Outcome) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.outcome = outcome;
        }
    }

    /// What a 2xx tells the caller: tag, target, route set, media.
    fn learn_dialog(&mut self, id: u64, message: &Message) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.remote_tag = text::tag_of(message.to().ok().and_then(|to| to.tag()));
        if let Some(target) = text::contact_uri(message) {
            call.remote_target = target;
        }
        call.routes = text::record_route(message);
        call.routes.reverse();
        if let Ok(cseq) = message.cseq() {
            call.cseq = cseq.number;
        }
        if let Some((peer, way)) = text::read_sdp(message.body()) {
            call.media.peer = Some(peer);
            call.media.way = way.answered();
        }
    }

    fn acknowledge(&mut self, id: u64) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        let draft = self.dialog_draft(&mut call, "ACK", None);
        let branch = format!("z9hG4bK{}", self.token());
        let ack = draft.render(self.transport(), self.address, &branch);
        call.ack = Some(ack.clone());
        self.calls.insert(id, call);
        self.send(ack);
    }

    /// A 2xx that belongs to no request under way: repeated, or of another branch of a fork.
    pub(super) fn on_repeated_answer(&mut self, message: &Message) {
        let is_invite = message
            .cseq()
            .is_ok_and(|cseq| cseq.method == Method::Invite);
        let (Ok(to), Ok(from), true) = (message.to(), message.from(), is_invite) else {
            return;
        };
        let tag = text::tag_of(to.tag());
        let call_id = String::from_utf8_lossy(message.call_id()).into_owned();
        let known = self.calls.values().find(|call| {
            call.caller && call.call_id == call_id && call.remote_tag == tag && call.ack.is_some()
        });
        if let Some(ack) = known.and_then(|call| call.ack.clone()) {
            self.send(ack);
            return;
        }
        let local_tag = text::tag_of(from.tag()).unwrap_or_default();
        let original = self
            .calls
            .values()
            .find(|call| call.caller && call.local_tag == local_tag);
        let Some((remote, cseq)) = original.map(|call| (call.remote.clone(), call.cseq)) else {
            return;
        };
        // RFC 3261 §13.2.2.4: acknowledged, then hung up.
        let mut surplus = self.new_call(call_id, true, State::Established);
        surplus.local_tag = local_tag;
        surplus.remote = remote;
        surplus.cseq = cseq;
        surplus.outcome = Outcome::Surplus;
        let id = surplus.id;
        self.calls.insert(id, surplus);
        self.learn_dialog(id, message);
        self.acknowledge(id);
        self.bye(id);
    }

    pub(super) fn on_request(&mut self, message: &Message) {
        if message.method() == Method::Ack {
            self.on_ack(message);
            return;
        }
        if self.is_repetition(message) {
            return;
        }
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        let tag = self.token();
        match message.method() {
            Method::Invite if in_dialog => self.on_reinvite(message),
            Method::Invite => self.on_invite(message),
            Method::Cancel => self.on_cancel(message),
            Method::Bye => self.on_bye(message),
            Method::Options => {
                self.reply(message, 200, &tag, &[], None);
            }
            _ => {
                self.reply(message, 405, &tag, &[], None);
            }
        }
    }

    fn on_invite(&mut self, message: &Message) {
        let call_id = String::from_utf8_lossy(message.call_id()).into_owned();
        let merged = self
            .calls
            .values()
            .any(|call| call.call_id == call_id && call.is_alive() && !call.caller);
        let tag = self.token();
        let Ok(from) = message.from() else {
            return;
        };
        if merged {
            self.reply(message, 482, &tag, &[], None);
            return;
        }
        let state = State::Ringing {
            invite: message.bytes().to_vec(),
        };
        let mut call = self.new_call(call_id, false, state);
        call.remote = String::from_utf8_lossy(from.uri_bytes()).into_owned();
        call.remote_tag = text::tag_of(from.tag());
        call.remote_target = text::contact_uri(message).unwrap_or_default();
        call.routes = text::record_route(message);
        call.remote_cseq = message.cseq().map_or(0, |cseq| cseq.number);
        call.talk = self.habits.talk;
        if let Some((peer, way)) = text::read_sdp(message.body()) {
            call.media.peer = Some(peer);
            call.media.way = way.answered();
        }
        let ring = Duration::from_millis(self.rng.below(self.habits.ring_ms_max + 1));
        let contact = [format!("Contact: {}", self.contact())];
        self.reply(message, 180, &call.local_tag, &contact, None);
        self.arm(ring, Alarm::Answer(call.id));
        self.calls.insert(call.id, call);
    }

    pub(super) fn accept(&mut self, id: u64) {
        let contact = [format!("Contact: {}", self.contact())];
        let Some((invite, tag, sdp)) = self.calls.get_mut(&id).and_then(|call| {
            let State::Ringing { invite } = &call.state else {
                return None;
            };
            let invite = Message::parse(Bytes::copy_from_slice(invite)).ok()?;
            Some((invite, call.local_tag.clone(), call.media.describe()))
        }) else {
            return;
        };
        let response = self.reply(&invite, 200, &tag, &contact, Some(&sdp));
        self.await_ack(
            id,
            |response, repeat| State::Answering { response, repeat },
            response,
        );
    }

    pub(super) fn refuse(&mut self, id: u64, status: u16, outcome: Outcome) {
        let Some((invite, tag)) = self.calls.get(&id).and_then(|call| {
            let State::Ringing { invite } = &call.state else {
                return None;
            };
            let invite = Message::parse(Bytes::copy_from_slice(invite)).ok()?;
            Some((invite, call.local_tag.clone()))
        }) else {
            return;
        };
        let response = self.reply(&invite, status, &tag, &[], None);
        self.set_outcome(id, outcome);
        self.await_ack(
            id,
            |response, repeat| State::Refusing { response, repeat },
            response,
        );
    }

    fn await_ack(
        &mut self,
        id: u64,
        state: impl FnOnce(Vec<u8>, Repeat) -> State,
        response: Vec<u8>,
    ) {
        let repeat = self.repeat();
        if let Some(call) = self.calls.get_mut(&id) {
            call.state = state(response, repeat);
        }
        self.arm(T1, Alarm::Unacknowledged(id));
    }

    fn repeat(&self) -> Repeat {
        Repeat {
            interval: T1,
            until: self.now + PATIENCE,
        }
    }

    /// Timers G and H, and those of §13.3.1.4.
    pub(super) fn repeat_final(&mut self, id: u64) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let outcome = call.outcome;
        let (response, repeat, answering) = match (&mut call.state, &mut call.again) {
            (State::Answering { response, repeat }, _) => (response, repeat, true),
            (State::Refusing { response, repeat }, _) => (response, repeat, false),
            (State::Established, Some((response, repeat))) => (response, repeat, true),
            (
                State::Calling { .. }
                | State::Ringing { .. }
                | State::Established
                | State::Leaving
                | State::Ended,
                _,
            ) => return,
        };
        if now >= repeat.until {
            return match answering {
                // §13.3.1.4: no ACK, so the session is ended with BYE.
                true => self.bye(id),
                false => self.ended(id, outcome),
            };
        }
        repeat.interval = (repeat.interval * 2).min(T2);
        let (delay, response) = (repeat.interval, response.clone());
        self.send(response);
        self.arm(delay, Alarm::Unacknowledged(id));
    }

    fn on_ack(&mut self, message: &Message) {
        let Some(id) = self.find_call(message) else {
            return;
        };
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let outcome = call.outcome;
        call.again = None;
        match call.state {
            State::Answering { .. } => self.established(id),
            State::Refusing { .. } => self.ended(id, outcome),
            State::Calling { .. }
            | State::Ringing { .. }
            | State::Established
            | State::Leaving
            | State::Ended => {}
        }
    }

    /// The call whose tags a request bears.
    fn find_call(&self, message: &Message) -> Option<u64> {
        let call_id = String::from_utf8_lossy(message.call_id());
        let local = text::tag_of(message.to().ok()?.tag());
        let remote = text::tag_of(message.from().ok()?.tag());
        self.calls
            .values()
            .find(|call| {
                call.call_id == call_id
                    && Some(&call.local_tag) == local.as_ref()
                    && call.remote_tag == remote
            })
            .map(|call| call.id)
    }

    fn on_cancel(&mut self, message: &Message) {
        let call_id = String::from_utf8_lossy(message.call_id()).into_owned();
        let ringing = self.calls.values().find(|call| {
            !call.caller && call.call_id == call_id && matches!(call.state, State::Ringing { .. })
        });
        let found = ringing.map(|call| (call.id, call.local_tag.clone()));
        let known = self.calls.values().any(|call| call.call_id == call_id);
        let tag = match &found {
            Some((_, tag)) => tag.clone(),
            None => self.token(),
        };
        self.reply(message, if known { 200 } else { 481 }, &tag, &[], None);
        if let Some((id, _)) = found {
            self.refuse(id, 487, Outcome::Cancelled);
        }
    }

    fn on_bye(&mut self, message: &Message) {
        let tag = self.token();
        let found = self.find_call(message).filter(|id| {
            self.calls
                .get(id)
                .is_some_and(|call| !matches!(call.state, State::Ended | State::Calling { .. }))
        });
        let Some(id) = found else {
            self.reply(message, 481, &tag, &[], None);
            return;
        };
        self.reply(message, 200, &tag, &[], None);
        let outcome = self.calls.get(&id).map(|call| call.outcome);
        self.ended(id, outcome.unwrap_or(Outcome::Talked));
    }

    fn on_reinvite(&mut self, message: &Message) {
        let tag = self.token();
        let contact = [format!("Contact: {}", self.contact())];
        let found = self.find_call(message);
        let Some(call) = found.and_then(|id| self.calls.get_mut(&id)) else {
            self.reply(message, 481, &tag, &[], None);
            return;
        };
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        let status = match call.state {
            // Ours is under way (§14.1), or the first one is not settled yet.
            State::Established if call.reinvite => 491,
            State::Established | State::Answering { .. } if number > call.remote_cseq => 200,
            State::Established | State::Answering { .. } => 500,
            State::Calling { .. }
            | State::Ringing { .. }
            | State::Refusing { .. }
            | State::Leaving
            | State::Ended => 481,
        };
        if status != 200 {
            self.reply(message, status, &tag, &[], None);
            return;
        }
        call.remote_cseq = number;
        if let Some((peer, way)) = text::read_sdp(message.body()) {
            call.media.peer = Some(peer);
            call.media.way = way.answered();
        }
        let sdp = call.media.describe();
        let id = call.id;
        let response = self.reply(message, 200, &tag, &contact, Some(&sdp));
        let repeat = self.repeat();
        if let Some(call) = self.calls.get_mut(&id) {
            call.again = Some((response, repeat));
        }
        self.arm(T1, Alarm::Unacknowledged(id));
    }

    /// Puts the call on hold by re-INVITE, or takes it back.
    pub(super) fn toggle_hold(&mut self, id: u64) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        if !matches!(call.state, State::Established) || call.reinvite {
            self.calls.insert(id, call);
            return;
        }
        let held = call.media.way != Way::Both;
        call.media.way = if held { Way::Both } else { Way::SendOnly };
        call.reinvite = true;
        let sdp = call.media.describe();
        let draft = self.dialog_draft(&mut call, "INVITE", Some(sdp));
        self.calls.insert(id, call);
        self.request(draft, Purpose::Reinvite(id));
        if !held {
            self.arm(HOLD, Alarm::Hold(id));
        }
    }

    pub(super) fn on_reinvite_end(&mut self, id: u64, draft: &Draft, end: End<'_>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.reinvite = false;
        let End::Final(message) = end else {
            return;
        };
        if message.status() >= 300 {
            call.media.way = Way::Both;
            return;
        }
        if let Some((peer, _)) = text::read_sdp(message.body()) {
            call.media.peer = Some(peer);
        }
        let ack = Draft {
            method: "ACK",
            headers: Vec::new(),
            sdp: None,
            ..draft.clone()
        };
        let branch = format!("z9hG4bK{}", self.token());
        let ack = ack.render(self.transport(), self.address, &branch);
        if let Some(call) = self.calls.get_mut(&id) {
            call.ack = Some(ack.clone());
        }
        self.send(ack);
    }
}
