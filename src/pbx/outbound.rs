//! Calls that a program makes for its caller (RFC 3261 §13.2): through the proxy, on an account
//! that the proxy is told, as any phone's call.

use super::dialog::Parties;
use super::leg::{Again, Leg, Provisional, Sent};
use super::page::Guest;
use super::program::{Account, CallBack, Caller, Event, Reach};
use super::seat::Seat;
use super::service::referrer_of;
use super::talk::preferring;
use super::{Context, Output, Pbx, Timer};
use crate::base::{Key, call_id_of};
use crate::call::inside;
use crate::config::{PAGE_MEMBERS_MAX, RingBack};
use crate::media::Order;
use crate::media::room::Join;
use crate::sip::session_timer;
use crate::wire::sip::{HeaderName, Message, Method};
use std::time::Duration;

impl Pbx {
    /// Calls somebody for a caller, instead of whom it is joined with.
    pub(super) fn connect(&mut self, cx: &mut Context<'_>, key: Key, reach: &Reach) {
        self.let_go(cx, key);
        self.call_out(cx, key, reach);
    }

    /// Calls somebody for a caller, who is joined with nobody.
    pub(super) fn call_out(&mut self, cx: &mut Context<'_>, key: Key, reach: &Reach) {
        self.offer_to(cx, key, Again::first(reach, cx.now));
    }

    /// Calls somebody into a room: a leg with a seat of its own.
    pub(super) fn summon(
        &mut self,
        cx: &mut Context<'_>,
        host: Key,
        (reach, join): (&Reach, Join),
    ) {
        let seat = self.legs.get(host).and_then(|leg| leg.seat.as_ref());
        if seat.is_none_or(|seat| seat.guests.len() >= PAGE_MEMBERS_MAX) {
            return;
        }
        let guest = Seat::new(Box::new(Guest { join }), Caller::default());
        let again = Again::first(reach, cx.now);
        self.call_guest(cx, host, Box::new(guest), again);
    }

    /// Calls somebody who gets a seat of its own. The call needs this one until it is answered.
    pub(super) fn call_back(&mut self, cx: &mut Context<'_>, key: Key, back: CallBack) {
        let seat = Seat::new(back.program, back.caller);
        let again = Again::first(&back.reach, cx.now);
        self.call_guest(cx, key, Box::new(seat), again);
    }

    fn call_guest(&mut self, cx: &mut Context<'_>, host: Key, guest: Box<Seat>, again: Again) {
        let to = again.reach.to.clone();
        let Some(called) = self.invite(cx, host, again) else {
            // One phone more does not fit: the others are called.
            tracing::warn!(%to, "too many calls: it is not called");
            return;
        };
        if let Some(leg) = self.legs.get_mut(called) {
            (leg.caller, leg.host, leg.seat) = (None, Some(host), Some(guest));
        }
        let seat = self.legs.get_mut(host).and_then(|leg| leg.seat.as_mut());
        if let Some(seat) = seat {
            seat.guests.push(called);
        }
    }

    fn offer_to(&mut self, cx: &mut Context<'_>, key: Key, again: Again) {
        let seat = self.legs.get_mut(key).and_then(|leg| leg.seat.as_mut());
        let there = seat.is_some();
        if let Some(seat) = seat {
            seat.ring_back = None;
        }
        let called = self.invite(cx, key, again);
        let seat = self.legs.get_mut(key).and_then(|leg| leg.seat.as_mut());
        match (called, seat) {
            (Some(called), Some(seat)) => seat.called = Some(called),
            _ if there => {
                self.timers.arm(cx.now, Timer::Unreachable(key));
            }
            _ => {}
        }
    }

    /// Sends an INVITE for a caller; `None` if there is no room for its leg.
    fn invite(&mut self, cx: &mut Context<'_>, key: Key, again: Again) -> Option<Key> {
        let (reach, until) = (&again.reach, again.until);
        let leg = self.legs.get(key)?;
        let seat = leg.seat.as_ref()?;
        let parties = parties(cx, reach, seat.caller());
        let account = account(reach, seat.caller());
        // Both are one call to whoever reads the records.
        let whole = seat
            .program()
            .is_one_call()
            .then_some(seat.caller().session);
        let by = match &reach.account {
            Account::SentOn(aor) => Some(&**aor),
            _ => None,
        };
        let account = inside::booked(&account, whole, reach.led, by);
        let first = leg.talk.coding();
        let (flow, name) = (leg.dialog.flow, seat.program().name());
        let codings = preferring(first, cx.config.services.codings());
        let mut called = Leg::toward(&parties, &flow, name, key, cx);
        let name_of = |header: HeaderName| header.as_str().into();
        let mut headers = vec![(name_of(HeaderName::XVoipAccount), account.into())];
        headers.extend(reach.headers.iter().cloned());
        let invite = called.invite(cx.rng, (&codings, again.secure), &headers);
        called.again = Some(Box::new(again));
        let name = called.dialog.name();
        let called = self.legs.insert(Box::new(called)).ok()?;
        self.living += 1;
        self.by_name.insert(name, called);
        let patience = self.timers.arm(until, Timer::Patience(called));
        if let Some(sent) = self.legs.get_mut(called).and_then(|leg| leg.sent.as_mut()) {
            sent.patience = Some(patience);
        }
        self.send(flow, invite);
        Some(called)
    }

    /// Ends the call that was made for a caller, whatever its state; also one by which the other
    /// transfers it, who is told so (RFC 3515 §2.4.5).
    pub(super) fn let_go(&mut self, cx: &mut Context<'_>, key: Key) {
        let seat = self.legs.get_mut(key).and_then(|leg| leg.seat.as_mut());
        let Some(seat) = seat else { return };
        let (called, asked) = (seat.called.take(), seat.transferor.take());
        seat.elsewhere = None;
        if let Some(asked) = asked {
            self.notify(cx, asked, 487, true);
            self.part(cx, asked);
        }
        if let Some(called) = called {
            self.part(cx, called);
        }
    }

    /// Ends a leg whose caller waits for it no more.
    pub(super) fn part(&mut self, cx: &mut Context<'_>, key: Key) {
        if let Some(leg) = self.legs.get_mut(key) {
            leg.caller = None;
            self.hang_up(cx, key);
        }
    }

    /// An INVITE of ours is not wanted any more.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        leg.silence(&mut self.timers);
        let (cancel, flow) = (leg.cancel(), leg.dialog.flow);
        let caller = leg.caller.take();
        if let Some(cancel) = cancel {
            self.send(flow, cancel);
        }
        if let Some(caller) = caller {
            self.lost(cx, caller, key, Event::Refused(487));
        }
    }

    /// Somebody's phone rang long enough.
    pub(super) fn on_patience(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let Some(caller) = leg.caller.take() else {
            if leg.host.is_some() {
                self.give_up(cx, key);
            }
            return;
        };
        self.give_up(cx, key);
        self.lost(cx, caller, key, Event::Refused(408));
    }

    /// Whom a caller was joined with, or was being called, is not there any more.
    pub(super) fn lost(&mut self, cx: &mut Context<'_>, caller: Key, called: Key, event: Event) {
        let seat = self.legs.get_mut(caller).and_then(|leg| leg.seat.as_mut());
        let Some(seat) = seat else { return };
        if seat.called == Some(called) {
            seat.called = None;
            self.tell_of_called(cx, caller, event);
        } else if seat.transferor == Some(called) {
            // It does not wait for how its transfer fares, and is not joined again.
            self.follow(cx, caller, Event::Left(None));
        }
    }

    /// What becomes of whom a caller calls: a transfer's affair, or the program's.
    fn tell_of_called(&mut self, cx: &mut Context<'_>, caller: Key, event: Event) {
        if !self.on_transfer(cx, caller, &event) {
            self.follow(cx, caller, event);
        }
    }

    /// There was no room for a call that a program wanted.
    pub(super) fn unreachable(&mut self, cx: &mut Context<'_>, key: Key) {
        self.tell_of_called(cx, key, Event::Refused(503));
    }

    /// An answer to a request of ours.
    pub(super) fn on_response(&mut self, cx: &mut Context<'_>, response: &Message) {
        let Some(key) = self.leg_of(response) else {
            return;
        };
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if response.method() == Method::Info {
            return self.on_info_answer(cx, key, response);
        }
        if let Some(refresh) = leg.refreshed(response) {
            return self.on_refreshed(cx, key, &refresh, response);
        }
        if !leg.answers_invite(response) {
            if response.method() == Method::Invite && response.status() / 100 == 2 {
                self.on_other_answer(cx, key, response);
            }
            return;
        }
        match response.status() {
            100..200 => self.on_progress(cx, key, response),
            200..300 => self.on_answer(cx, key, response),
            status => self.on_refusal(cx, key, response, status),
        }
    }

    fn on_progress(&mut self, cx: &mut Context<'_>, key: Key, response: &Message) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let Some(sent) = &mut leg.sent else {
            return;
        };
        let first = !std::mem::replace(&mut sent.proceeds, true);
        if sent.given_up {
            // It had to wait for this (RFC 3261 §9.1).
            let flow = leg.dialog.flow;
            if let Some(cancel) = first.then(|| leg.cancel()).flatten() {
                self.send(flow, cancel);
            }
            return;
        }
        if response.status() == 100 {
            return;
        }
        leg.turn_to(response);
        let flow = leg.dialog.flow;
        let prack = match leg.prack(response, cx.rng) {
            Provisional::Unreliable => None,
            Provisional::Reliable(prack) => Some(prack),
            Provisional::Nothing => return,
        };
        let heard = leg.hears_early(response, prack.is_some());
        let caller = leg.caller;
        if let Some(prack) = prack {
            self.send(flow, prack);
        }
        let Some(caller) = caller else {
            return;
        };
        if heard {
            self.know_session(cx, key, response);
            self.open(cx, key);
            self.tell_of_called(cx, caller, Event::Heard);
        } else {
            let seat = self.legs.get_mut(caller).and_then(|leg| leg.seat.as_mut());
            if let Some(seat) = seat.filter(|seat| seat.ring_back.is_none()) {
                seat.ring_back = ring_back(response);
            }
            self.tell_of_called(cx, caller, Event::Ringing);
        }
    }

    fn on_answer(&mut self, cx: &mut Context<'_>, key: Key, response: &Message) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        leg.silence(&mut self.timers);
        leg.again = None;
        let given_up = leg.sent.take().is_none_or(|sent| sent.given_up);
        leg.turn_to(response);
        leg.hears(response);
        leg.lasts(cx, session_timer::agreed(response), &mut self.timers, key);
        let agrees = leg.talk.agrees();
        let number = response.cseq().map_or(0, |cseq| cseq.number);
        let (ack, flow) = (leg.acknowledge(number, cx.rng), leg.dialog.flow);
        let caller = leg.caller.filter(|_| !given_up);
        let guest = leg.host.is_some() && agrees && !given_up;
        self.send(flow, ack);
        self.know_session(cx, key, response);
        match caller {
            None if guest => self.open(cx, key),
            Some(caller) if agrees => {
                self.open(cx, key);
                self.tell_of_called(cx, caller, Event::Joined);
                self.judge_taping(cx, caller);
            }
            Some(caller) => {
                self.part(cx, key);
                self.lost(cx, caller, key, Event::Refused(488));
            }
            None => self.hang_up(cx, key),
        }
    }

    /// A 2xx that is not the first: that one again, whose ACK was lost, or another phone's, which
    /// was not fast enough (RFC 3261 §13.2.2.4).
    fn on_other_answer(&mut self, cx: &mut Context<'_>, key: Key, response: &Message) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let number = response.cseq().map_or(0, |cseq| cseq.number);
        let flow = leg.dialog.flow;
        if leg.dialog.is_with(response) {
            let ack = leg.acknowledge(number, cx.rng);
            return self.send(flow, ack);
        }
        let mut other = leg.dialog.clone();
        other.learn(response);
        let via = other.new_via(cx.rng);
        let ack = other.request(Method::Ack, number, &via).render();
        let (via, next) = (other.new_via(cx.rng), other.next_number());
        let bye = other.request(Method::Bye, next, &via).render();
        self.send(flow, ack);
        self.send(flow, bye);
    }

    fn on_refusal(&mut self, cx: &mut Context<'_>, key: Key, response: &Message, status: u16) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        leg.silence(&mut self.timers);
        let flow = leg.dialog.flow;
        let caller = leg.caller.take();
        let given_up = leg.sent.as_ref().is_some_and(|sent| sent.given_up);
        let led = leg.led_to(response);
        let by = leg.again.as_ref().and_then(|a| referrer_of(&a.reach));
        let again = leg.again_after(response);
        let again = again.filter(|_| !given_up && led.is_none());
        let ack = leg.acknowledge_refusal(response);
        // A guest is called again with the same seat.
        let guest = match (&again, leg.host) {
            (Some(_), Some(host)) => leg.seat.take().map(|seat| (host, seat)),
            _ => None,
        };
        if let Some(ack) = ack {
            self.send(flow, ack);
        }
        self.over(cx, key);
        let again = match (guest, again) {
            (Some((host, seat)), Some(again)) => return self.call_guest(cx, host, seat, again),
            (_, again) => again,
        };
        let Some(caller) = caller else { return };
        let seat = self.legs.get(caller).and_then(|leg| leg.seat.as_ref());
        let waits = seat.is_some_and(|seat| seat.called == Some(key));
        match (again, led) {
            (Some(again), _) if waits => self.offer_to(cx, caller, again),
            (None, Some(uri)) if waits => self.lead_to(cx, (caller, key), &uri, by),
            _ => self.lost(cx, caller, key, Event::Refused(status)),
        }
    }

    /// A session's time is up: it is refreshed, or over (RFC 4028 §10).
    pub(super) fn on_session(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if !leg.refreshes(cx.now) {
            return self.hang_up(cx, key);
        }
        let flow = leg.dialog.flow;
        let Some(refresh) = leg.refresh(cx.rng) else {
            return;
        };
        let rest = leg.session_timer().map(|timer| timer.interval / 3);
        leg.refresh_again(cx, rest.unwrap_or_default(), &mut self.timers, key);
        self.send(flow, refresh);
    }

    fn on_refreshed(&mut self, cx: &mut Context<'_>, key: Key, refresh: &Sent, response: &Message) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let (status, flow) = (response.status(), leg.dialog.flow);
        let is_invite = response.method() == Method::Invite;
        if is_invite
            && status >= 300
            && let Some(ack) = refresh.acknowledge(response)
        {
            self.outputs.push_back(Output::Message { flow, bytes: ack });
        }
        match status {
            200..300 => {
                leg.dialog.retarget(response);
                if is_invite {
                    leg.talk.conclude(response.body());
                }
                let agreed = session_timer::agreed(response).or(leg.session_timer());
                leg.lasts(cx, agreed, &mut self.timers, key);
                if is_invite {
                    let ack = leg.acknowledge(refresh.number, cx.rng);
                    self.send(flow, ack);
                    self.open(cx, key);
                }
            }
            // RFC 3261 §12.2.1.2: the dialog is gone.
            408 | 481 => self.hang_up(cx, key),
            422 if leg.lengthen(response) => {
                leg.talk.withdraw();
                leg.refresh_again(cx, Duration::ZERO, &mut self.timers, key);
            }
            _ => {
                leg.talk.withdraw();
                // RFC 3261 §14.1: whoever owns the Call-ID waits longer.
                let ms = match leg.dialog.is_ours() {
                    true => 2_100 + cx.rng.below(1_900),
                    false => cx.rng.below(2_000),
                };
                let wait = Duration::from_millis(ms);
                leg.refresh_again(cx, wait, &mut self.timers, key);
            }
        }
    }

    /// The media side's session of a call of ours is known once the proxy has let it in.
    fn know_session(&mut self, cx: &Context<'_>, key: Key, response: &Message) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if leg.session.is_none()
            && let Some(session) = cx.calls.session_of(response)
        {
            leg.session = Some(session);
            if let Some(seat) = &mut leg.seat {
                seat.settle(session);
            }
            self.by_session.insert(session, key);
        }
    }

    /// A leg without a caller is over: its sound ends.
    pub(super) fn close(&mut self, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if let Some(session) = leg.session.filter(|_| std::mem::take(&mut leg.opened)) {
            let close = Order::Close { session };
            self.outputs.push_back(Output::Media(close));
        }
    }
}

/// What the user whose phone rings has callers hear, where the proxy says so.
fn ring_back(response: &Message) -> Option<RingBack> {
    let text = response.header(HeaderName::XVoipAccount)?;
    RingBack::parse(inside::heard(text)?)
}

fn account(reach: &Reach, caller: &Caller) -> inside::Account {
    let account = match &reach.account {
        Account::Caller | Account::SentOn(_) => caller.account(),
        other => other.clone(),
    };
    match account {
        Account::User(aor) => inside::Account::User(aor),
        Account::CalledBack(aor) => inside::Account::CalledBack(aor),
        Account::Way(name) => inside::Account::Way(name),
        Account::Operator => inside::Account::Operator,
        Account::House | Account::Caller | Account::SentOn(_) => inside::Account::House,
    }
}

fn parties(cx: &mut Context<'_>, reach: &Reach, caller: &Caller) -> Parties {
    let domain = cx.config.node.default_domain().to_owned();
    let uri = match reach.to.split_once(':') {
        Some(("sip" | "sips", _)) => reach.to.clone(),
        _ => format!("sip:{}@{domain}", inside::escape(&reach.to)).into(),
    };
    let own = (caller.number.clone(), caller.name.clone());
    let (number, name) = reach.caller_id.clone().unwrap_or(own);
    let from = match &*number {
        // RFC 3323 §4.1.1.3.
        "" => "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned(),
        number => {
            let name: String = name.chars().filter(|c| !"\"\\\r\n".contains(*c)).collect();
            let name = match name.as_str() {
                "" => String::new(),
                name => format!("\"{name}\" "),
            };
            format!("{name}<sip:{}@{domain}>", inside::escape(number))
        }
    };
    Parties {
        call_id: own_call_id(cx, &domain),
        uri,
        from: from.into(),
    }
}

/// A Call-ID whose messages come to this shard.
fn own_call_id(cx: &mut Context<'_>, domain: &str) -> Box<[u8]> {
    let (shard, shards) = cx.shard;
    let call_id = call_id_of(shard, shards, || {
        let token = cx.rng.token::<20>();
        format!("{}@{domain}", String::from_utf8_lossy(&token))
    });
    call_id.into_bytes().into()
}
