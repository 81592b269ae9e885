//! Calls that come here (RFC 3261 §13.3): each gets a seat and a program.

use super::leg::Leg;
use super::program::{Caller, Event, Opening, parameter};
use super::seat::Seat;
use super::service::program_at;
use super::taping::Taping;
use super::transfer::takes;
use super::{Context, Output, Pbx, branch_of, service};
use crate::base::{Flow, Key};
use crate::sip::session_timer;
use crate::wire::sip::{HeaderName, Message, Method, Uri};

impl Pbx {
    /// A call came.
    pub(super) fn on_call(&mut self, cx: &mut Context<'_>, flow: &Flow, invite: &Message) {
        let Some(session) = cx.calls.session_of(invite) else {
            return self.refuse_unknown(cx, flow, invite, 481);
        };
        let caller = caller_of(cx, session, invite);
        let program = match takes(cx, invite.header(HeaderName::Replaces)) {
            Some(park) => Some(Box::new(park) as _),
            None => match self.replaced(invite) {
                Ok(None) => service::program_of(cx.config, invite, &caller),
                Ok(Some(old)) => return self.replace(cx, old, caller, (flow, invite)),
                Err(why) => return self.refuse(cx, flow, invite, why),
            },
        };
        let Some(program) = program else {
            return self.refuse_unknown(cx, flow, invite, 404);
        };
        let opening = program.opening();
        let mut seat = Seat::new(program, caller);
        seat.taping = Taping::of(service::recorded(invite));
        seat.service = Some(invite.request_uri().into());
        let Some(key) = self.settle_in(cx, seat, flow, invite) else {
            return;
        };
        match opening {
            Opening::Answer => self.take(cx, key),
            Opening::Early => self.open_early(cx, key),
            Opening::Wait => self.begin(cx, key),
        }
    }

    /// The call that a caller's program made, or that it is transferred by, leads to a service of
    /// ours: its program serves the caller from now on. One who was not answered yet is answered as
    /// that program does. `by` whom the caller was transferred, a URI.
    pub(super) fn lead_to(
        &mut self,
        cx: &mut Context<'_>,
        (caller, called): (Key, Key),
        uri: &[u8],
        by: Option<Box<str>>,
    ) {
        let leg = self.legs.get_mut(caller);
        let Some(seat) = leg.and_then(|leg| leg.seat.as_mut()) else {
            return;
        };
        let service = Box::from(uri);
        let uri = Uri::parse(uri).ok().filter(|_| seat.may_be_led());
        let program = uri
            .as_ref()
            .and_then(|uri| program_at(cx.config, uri, (None, by), seat.caller()));
        let (Some(program), Some(uri)) = (program, uri) else {
            return self.lost(cx, caller, called, Event::Refused(482));
        };
        let session = seat.caller().session;
        let text = format!("led to {}", name_of(&uri)).into();
        self.outputs.push_back(Output::Note { session, text });
        seat.called = None;
        self.follow(cx, caller, Event::Led);
        let leg = self.legs.get_mut(caller);
        let Some(seat) = leg.and_then(|leg| leg.seat.as_mut()) else {
            return;
        };
        let asked = seat.transferor.take();
        let records = seat.dismiss(cx, &mut self.timers);
        self.outputs.extend(records.map(Output::Persist));
        let opening = program.opening();
        seat.begin_anew(program);
        seat.service = Some(service);
        self.untape(caller);
        if let Some(asked) = asked {
            self.transferred(cx, asked);
        }
        let leg = self.legs.get(caller);
        let (waits, opened) = leg.map_or((false, false), |l| (l.branch().is_some(), l.opened));
        match (waits, opening) {
            (true, Opening::Answer) => self.take(cx, caller),
            (true, Opening::Early) if !opened => self.open_early(cx, caller),
            // It begins with the ACK.
            (false, _) if !opened => {}
            _ => self.begin(cx, caller),
        }
    }

    /// A leg for a caller; `None` if there can be none, and the INVITE was refused.
    pub(super) fn settle_in(
        &mut self,
        cx: &mut Context<'_>,
        seat: Seat,
        flow: &Flow,
        invite: &Message,
    ) -> Option<Key> {
        let session = seat.caller().session;
        if session_timer::asked(invite).is_err() {
            self.refuse(cx, flow, invite, (422, "Session Interval Too Small"));
            return None;
        }
        let leg = match Leg::of_invite(cx, seat, flow, invite) {
            Ok(leg) => Box::new(leg),
            Err(why) => {
                self.refuse(cx, flow, invite, why);
                return None;
            }
        };
        let (name, branch) = (leg.dialog.name(), branch_of(invite).unwrap_or_default());
        let Ok(key) = self.legs.insert(leg) else {
            self.refuse(cx, flow, invite, (503, "Too Many Calls"));
            return None;
        };
        self.living += 1;
        self.by_name.insert(name, key);
        self.by_session.insert(session, key);
        self.by_branch.insert(branch, key);
        Some(key)
    }

    /// A caller gave up before it was answered (RFC 3261 §9.2).
    pub(super) fn on_cancel(&mut self, cx: &mut Context<'_>, flow: &Flow, cancel: &Message) {
        let found = branch_of(cancel).and_then(|branch| self.by_branch.get(&branch));
        let Some(key) = found.copied() else {
            return self.refuse_unknown(cx, flow, cancel, 481);
        };
        self.answer(key, flow, cancel, (200, "OK"));
        self.fail(cx, key, (487, "Request Terminated"));
    }

    /// The far end hung up. Before the answer that ends the INVITE, too (RFC 3261 §15).
    pub(super) fn on_bye(&mut self, cx: &mut Context<'_>, key: Key) {
        match self.legs.get(key).map(|leg| leg.branch().is_some()) {
            Some(true) => self.fail(cx, key, (487, "Request Terminated")),
            _ => self.over(cx, key),
        }
    }

    /// Tells the caller that somebody's phone rings.
    pub(super) fn ring(&mut self, cx: &Context<'_>, key: Key) {
        if let Some(leg) = self.legs.get_mut(key)
            && let Some(bytes) = leg.provisional(cx, &mut self.timers, key, 180)
        {
            let flow = leg.dialog.flow;
            self.send(flow, bytes);
        }
    }

    /// Opens the caller's sound before its call is answered.
    pub(super) fn open_early(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        // Early media need an offer (RFC 3960 §2).
        if leg.branch().is_none() || leg.opened {
            return;
        }
        let flow = leg.dialog.flow;
        match leg.early(cx, &mut self.timers, key) {
            Ok(early) => {
                if let Some(early) = early {
                    self.send(flow, early);
                }
                self.open(cx, key);
            }
            Err(why) => self.fail(cx, key, why),
        }
    }

    /// Answers the caller.
    pub(super) fn take(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let Some(branch) = leg.branch().map(Box::<[u8]>::from) else {
            return;
        };
        if leg.answers_later() {
            return;
        }
        match leg.answer(cx.rng) {
            Ok((answer, timer)) => {
                let bytes = answer.1.clone();
                leg.arm(cx, &mut self.timers, key, answer);
                leg.lasts(cx, timer, &mut self.timers, key);
                let flow = leg.dialog.flow;
                self.by_branch.remove(&branch);
                self.send(flow, bytes);
                self.open(cx, key);
                self.judge_taping(cx, key);
            }
            Err(why) => self.fail(cx, key, why),
        }
    }

    /// Tells the studio what was agreed on, and begins the program where that is new.
    pub(super) fn open(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let Some(order) = leg.order(cx) else {
            return;
        };
        leg.opened = true;
        self.outputs.push_back(Output::Media(order));
        self.begin(cx, key);
        self.join(cx, key);
        self.tell_held(cx, key);
    }

    /// Who is joined with nobody is told of being held by its program; `join` does it for others.
    fn tell_held(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let held = leg.talk.is_held();
        if leg.seat.as_mut().is_some_and(|seat| seat.is_held(held)) {
            self.follow(cx, key, Event::Held(held));
        }
    }

    fn begin(&mut self, cx: &mut Context<'_>, key: Key) {
        let leg = self.legs.get_mut(key);
        let seat = leg.and_then(|leg| leg.seat.as_mut());
        if seat.is_some_and(|seat| seat.begins()) {
            self.follow(cx, key, Event::Begin);
        }
    }

    pub(super) fn on_ack(&mut self, cx: &mut Context<'_>, key: Key, ack: &Message) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        match leg.acknowledged(ack, &mut self.timers) {
            Some(true) => self.open(cx, key),
            Some(false) if !leg.talk.agrees() => self.hang_up(cx, key),
            Some(false) | None => {}
        }
    }

    pub(super) fn on_reoffer(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        flow: &Flow,
        request: &Message,
    ) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        match leg.reoffered(cx.rng, request) {
            Ok((answer, timer)) => {
                let bytes = answer.1.clone();
                if request.method() == Method::Invite {
                    leg.arm(cx, &mut self.timers, key, answer);
                }
                leg.lasts(cx, timer, &mut self.timers, key);
                self.send(*flow, bytes);
                self.open(cx, key);
            }
            Err(why) => self.answer(key, flow, request, why),
        }
    }

    /// A provisional answer of ours arrived (RFC 3262 §3).
    pub(super) fn on_prack(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        flow: &Flow,
        prack: &Message,
    ) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let Some(next) = leg.pracked(prack, &mut self.timers) else {
            return self.answer(key, flow, prack, (481, "Nothing To Acknowledge"));
        };
        match leg.described_by(cx.rng, prack) {
            Ok(body) => {
                let mut response = leg.dialog.response(prack, 200);
                if let Some(body) = body {
                    response = response.body("application/sdp", body);
                }
                let bytes = response.render();
                drop(response);
                self.send(*flow, bytes);
                if !prack.body().is_empty() {
                    self.open(cx, key);
                }
            }
            Err(why) => self.answer(key, flow, prack, why),
        }
        if next.answers {
            self.take(cx, key);
        } else if next.early {
            self.send_early(cx, key);
        }
    }

    /// The 183 that had to wait for the PRACK of another answer.
    fn send_early(&mut self, cx: &Context<'_>, key: Key) {
        if let Some(leg) = self.legs.get_mut(key)
            && let Some(early) = leg.early_now(cx, &mut self.timers, key)
        {
            let flow = leg.dialog.flow;
            self.send(flow, early);
        }
    }

    /// A provisional answer was not acknowledged: again, until it is given up (RFC 3262 §3).
    pub(super) fn on_unreliable(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        match leg.repeat_early(cx, &mut self.timers, key) {
            Some(bytes) => {
                let flow = leg.dialog.flow;
                self.send(flow, bytes);
            }
            None => self.fail(cx, key, (504, "Provisional Answer Not Acknowledged")),
        }
    }

    pub(super) fn on_unacknowledged(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        match leg.repeat(cx, &mut self.timers, key) {
            Some(bytes) => {
                let flow = leg.dialog.flow;
                self.send(flow, bytes);
            }
            None => self.hang_up(cx, key),
        }
    }
}

/// A service as the record names it, by its URI: `voicemail`, `queue:support`.
fn name_of(uri: &Uri<'_>) -> String {
    let user = String::from_utf8_lossy(uri.user().unwrap_or_default());
    match parameter(uri, "name") {
        Some(name) => format!("{user}:{name}"),
        None => user.into_owned(),
    }
}

/// Who calls, as the proxy let it in.
fn caller_of(cx: &Context<'_>, session: u64, invite: &Message) -> Caller {
    let text = |bytes: &[u8]| -> Box<str> { String::from_utf8_lossy(bytes).into() };
    let from = invite.from().ok();
    let uri = from.as_ref().and_then(|from| from.uri().ok());
    let number = uri.map(|uri| text(&uri.user_unescaped()));
    let name = from.as_ref().and_then(|from| from.display_unescaped());
    let tag = from
        .as_ref()
        .and_then(|from| from.tag())
        .unwrap_or_default();
    let dialog = (invite.call_id().into(), tag.into());
    let (user, way) = cx.calls.account_of(session);
    Caller {
        user: user.map(Box::from),
        way: way.map(Box::from),
        number: number
            .filter(|number| !number.eq_ignore_ascii_case("anonymous"))
            .unwrap_or_default(),
        name: name.map(|name| text(&name)).unwrap_or_default(),
        session,
        dialog,
    }
}
