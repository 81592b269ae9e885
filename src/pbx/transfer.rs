//! Transfers (RFC 3515, RFC 5589): one end of two that are joined asks that the other be joined
//! with somebody else, blindly or in place of a dialog that it has with that one (RFC 3891). And
//! the other way round: a call that takes the place of a leg of ours.
//!
//! ```text
//!   joined --REFER--> 202, NOTIFY 100; who stays hears ringing, who asked waits
//!                       +-- answered: NOTIFY 200, BYE to who asked; the program of who stays
//!                       |   is told that who asked has left it
//!                       +-- led to a service or a mailbox of ours, as a dialled call would be:
//!                       |   the same, and the program gives way to that one
//!                       +-- refused: NOTIFY with the status; joined as before, if who asked
//!                           is still there
//! ```

use super::across::Across;
use super::bridge::Stay;
use super::leg::Leg;
use super::park::Park;
use super::program::{Account, Caller, Event, Led, Program, Reach};
use super::rooms::{Address, Bring, Journey, Wish};
use super::seat::{OWN_TASKS, Seat};
use super::service::referrer_of;
use super::{Context, Output, Pbx, Refusal};
use crate::base::{Flow, Key, shard_of};
use crate::config::Service;
use crate::media::{Order, Task};
use crate::wire::sip::{HeaderName, Message, Method, NameAddr, Uri, default_reason};
use bytes::Bytes;
use std::time::Duration;

/// How long the new side may ring.
const RING: Duration = Duration::from_secs(120);
/// What the studio does meanwhile; no program's number.
const WAITING: u32 = OWN_TASKS + 1;
/// The longest Replaces value that is passed on, in bytes.
const REPLACES_BYTES_MAX: usize = 512;

/// Who is asked for.
#[derive(Debug)]
struct Wanted {
    uri: Box<str>,
    /// The Replaces value, unescaped.
    replaces: Option<Box<str>>,
}

impl Pbx {
    /// A REFER within a dialog.
    pub(super) fn on_refer(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
        flow: &Flow,
        refer: &Message,
    ) {
        let wanted = match wanted(refer) {
            Ok(wanted) => wanted,
            Err(why) => return self.answer(key, flow, refer, why),
        };
        let leg = self.legs.get(key);
        let seat = leg.and_then(|leg| leg.seat.as_ref());
        if seat.is_some_and(|seat| seat.program().is_transferred()) {
            self.accept(cx, key, flow, refer);
            return self.refer_away(cx, key, wanted);
        }
        let stays = match self.staying(key) {
            Ok(stays) => stays,
            Err(why) => return self.answer(key, flow, refer, why),
        };
        self.accept(cx, key, flow, refer);
        let Some(account) = self.turn(cx, key, stays) else {
            return;
        };
        if let Some(park) = parks(cx, &wanted, &account) {
            return self.park(cx, key, stays, park);
        }
        if let Some(old) = self.own_end(&wanted, [key, stays]) {
            return self.bring_together(cx, (key, stays), old);
        }
        let headers = headers_of(&wanted, self.far_uri(key));
        let led = led(wanted.replaces.as_deref());
        let reach = Reach {
            to: wanted.uri,
            account,
            caller_id: None,
            ring: RING,
            headers,
            led,
        };
        match wanted.replaces {
            Some(dialog) => self.seek_elsewhere(cx, stays, dialog, reach),
            None => self.call_out(cx, stays, &reach),
        }
    }

    /// The dialog that is to be replaced may be one of ours all the same, in the shard of its
    /// Call-ID: that is asked before anybody is called.
    fn seek_elsewhere(&mut self, cx: &mut Context<'_>, stays: Key, dialog: Box<str>, reach: Reach) {
        let (own, shards) = cx.shard;
        let shard = Replaces::parse(dialog.as_bytes()).map(|r| shard_of(r.call_id, shards));
        let leg = self.legs.get_mut(stays);
        let session = leg.as_ref().and_then(|leg| leg.session);
        let seat = leg.and_then(|leg| leg.seat.as_mut());
        let (Some(shard), Some(session), Some(seat)) = (shard, session, seat) else {
            return self.call_out(cx, stays, &reach);
        };
        if shard == own {
            return self.call_out(cx, stays, &reach);
        }
        seat.elsewhere = Some(Box::new(reach));
        let whom = Address {
            shard: own,
            session,
        };
        // Of the shard, so that the session does not count.
        let to = Address { shard, session: 0 };
        let wish = Wish::Bring(Box::new(Bring { dialog, whom }));
        self.outputs.push_back(Output::Tell(to, wish));
    }

    /// Somebody of another shard is transferred to whoever talks to one end of a dialog: if that is
    /// a leg of ours, both meet in a room, as they cannot be joined.
    pub(super) fn bring(&mut self, cx: &mut Context<'_>, ask: &Bring) {
        let named = Replaces::parse(ask.dialog.as_bytes());
        let old = named.and_then(|named| self.named(&named));
        let pair = old.and_then(|old| Some((old, self.staying(old).ok()?)));
        let session = pair.and_then(|(_, stays)| self.legs.get(stays)?.session);
        let turned =
            pair.filter(|(old, stays)| session.is_some() && self.turn(cx, *old, *stays).is_some());
        let (Some((old, stays)), Some(session)) = (turned, session) else {
            return self.bring_to_service(cx, ask.whom, old);
        };
        let shard = cx.shard.0;
        let met = Wish::Met(Address { shard, session });
        self.outputs.push_back(Output::Tell(ask.whom, met));
        let across = Across::new(ask.whom, ask.whom);
        self.park(cx, old, stays, Box::new(across));
    }

    /// Who talks to nobody but a service of ours gives way to the one who is transferred, whom the
    /// same service serves in its own shard.
    fn bring_to_service(&mut self, cx: &mut Context<'_>, whom: Address, old: Option<Key>) {
        let leg = old.and_then(|old| self.legs.get(old));
        let seat = leg.and_then(|leg| leg.seat.as_ref());
        let alone = seat.filter(|seat| {
            let program = seat.program();
            let joined = seat.called.or(seat.transferor).is_some();
            !joined && !program.is_one_call() && !program.is_transferred()
        });
        let Some((service, old)) = alone.and_then(|seat| seat.service.clone()).zip(old) else {
            return self.outputs.push_back(Output::Tell(whom, Wish::Alone));
        };
        let serve = Wish::Serve(service);
        self.outputs.push_back(Output::Tell(whom, serve));
        self.hang_up(cx, old);
    }

    /// What another shard found; `false` if nothing was asked for whom it is told.
    pub(super) fn on_brought(
        &mut self,
        cx: &mut Context<'_>,
        key: Option<Key>,
        wish: &Wish,
    ) -> bool {
        let leg = key.and_then(|key| self.legs.get_mut(key));
        let Some((key, seat)) = key.zip(leg.and_then(|leg| leg.seat.as_mut())) else {
            // It is gone, and whom it was to meet need not wait.
            if let Wish::Met(there) = wish {
                self.outputs.push_back(Output::Tell(*there, Wish::End));
            }
            return false;
        };
        match wish {
            Wish::Met(there) if seat.elsewhere.take().is_some() => {
                let asked = seat.transferor.unwrap_or(key);
                let Some(session) = self.legs.get(key).and_then(|leg| leg.session) else {
                    return true;
                };
                let shard = cx.shard.0;
                let across = Across::new(Address { shard, session }, *there);
                self.meet(cx, asked, key, Box::new(across));
                true
            }
            Wish::Serve(service) => {
                if let Some(reach) = seat.elsewhere.take() {
                    self.lead_to(cx, (key, key), service, referrer_of(&reach));
                    self.unless_led(cx, key);
                }
                true
            }
            Wish::Alone => {
                if let Some(reach) = seat.elsewhere.take() {
                    self.call_out(cx, key, &reach);
                }
                true
            }
            _ => false,
        }
    }

    /// A transfer to a service that did not take who is transferred fails.
    fn unless_led(&mut self, cx: &mut Context<'_>, key: Key) {
        let seat = self.legs.get(key).and_then(|leg| leg.seat.as_ref());
        if seat.is_some_and(|seat| seat.transferor.is_some()) {
            self.unreachable(cx, key);
        }
    }

    /// As [`Pbx::park`], where who asked may be gone.
    fn meet(&mut self, cx: &mut Context<'_>, asked: Key, stays: Key, across: Box<dyn Program>) {
        if asked != stays {
            return self.park(cx, asked, stays, across);
        }
        let seat = self.legs.get_mut(stays).and_then(|leg| leg.seat.as_mut());
        let Some(seat) = seat else { return };
        let records = seat.dismiss(cx, &mut self.timers);
        self.outputs.extend(records.map(Output::Persist));
        seat.hand_over(across);
        self.untape(stays);
        self.follow(cx, stays, Event::Begin);
    }

    /// A REFER is taken: 202, and word that it is tried.
    fn accept(&mut self, cx: &mut Context<'_>, key: Key, flow: &Flow, refer: &Message) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let silent = refer.header(HeaderName::ReferSub) == Some(b"false");
        leg.tells = !silent;
        // Its Contact is the target from now on (RFC 3515 §2.2).
        leg.dialog.retarget(refer);
        let mut response = leg.dialog.response(refer, 202);
        if silent {
            response = response.header(HeaderName::ReferSub, "false");
        }
        let bytes = response.render();
        drop(response);
        self.send(*flow, bytes);
        self.notify(cx, key, 100, false);
    }

    /// Whom the leg talks to is of another shard, maybe: its program sends the other away, and is
    /// told how that fares.
    fn refer_away(&mut self, cx: &mut Context<'_>, key: Key, wanted: Wanted) {
        let journey = Journey {
            by: self.far_uri(key),
            to: wanted.uri,
            replaces: wanted.replaces,
            user: None,
        };
        self.follow(cx, key, Event::Referred(Box::new(journey)));
    }

    fn far_uri(&self, key: Key) -> Option<Box<str>> {
        let leg = self.legs.get(key)?;
        leg.dialog.far_uri().map(Into::into)
    }

    /// Who stays is parked: a program of ours, which nobody calls, takes the seat.
    fn park(&mut self, cx: &mut Context<'_>, asked: Key, stays: Key, park: Box<dyn Program>) {
        let seat = self.legs.get_mut(stays).and_then(|leg| leg.seat.as_mut());
        let Some(seat) = seat else { return };
        let records = seat.dismiss(cx, &mut self.timers);
        self.outputs.extend(records.map(Output::Persist));
        seat.transferor = None;
        seat.hand_over(park);
        self.untape(stays);
        self.transferred(cx, asked);
        self.follow(cx, stays, Event::Begin);
    }

    /// The leg that stays when another one asks for a transfer.
    fn staying(&self, key: Key) -> Result<Key, Refusal> {
        let alone = (603, "Nobody To Transfer");
        let stays = self.other(key).ok_or(alone)?;
        let seats = [key, stays].map(|key| self.legs.get(key).and_then(|leg| leg.seat.as_ref()));
        if seats.into_iter().flatten().any(|s| s.transferor.is_some()) {
            return Err((491, "Transfer Under Way"));
        }
        Ok(stays)
    }

    /// The leg that this one is joined with.
    pub(super) fn other(&self, key: Key) -> Option<Key> {
        let leg = self.legs.get(key).filter(|leg| leg.opened)?;
        let other = match &leg.seat {
            Some(seat) => seat.called?,
            None => leg.caller?,
        };
        let settled = |leg: &Leg| leg.opened && leg.sent.is_none() && leg.branch().is_none();
        self.legs.get(other).filter(|leg| settled(leg))?;
        Some(other)
    }

    /// Who stays gets the seat, who asks for the transfer waits beside it. On whose account the new
    /// call goes.
    fn turn(&mut self, cx: &mut Context<'_>, asks: Key, stays: Key) -> Option<Account> {
        let leg = self.legs.get_mut(asks)?;
        let Some(mut seat) = leg.seat.take() else {
            // The one who was called asks.
            let account = Account::User(whom(cx, leg));
            let seat = self.legs.get_mut(stays)?.seat.as_mut()?;
            (seat.called, seat.transferor) = (None, Some(asks));
            return Some(account);
        };
        // The caller asks: its program ends.
        leg.caller = Some(stays);
        let (account, taping) = (seat.caller().account(), seat.taping.next());
        let records = seat.dismiss(cx, &mut self.timers);
        self.outputs.extend(records.map(Output::Persist));
        let leg = self.legs.get_mut(stays)?;
        leg.caller = None;
        let reached = whom(cx, leg);
        let number = reached.split('@').next().unwrap_or_default();
        let session = leg.session?;
        let caller = Caller {
            user: cx.calls.answerer_of(session).map(Box::from),
            number: number.into(),
            session,
            ..Caller::default()
        };
        let mut seat = Seat::new(Box::new(Stay), caller);
        seat.begins();
        (seat.transferor, seat.taping) = (Some(asks), taping);
        leg.seat = Some(Box::new(seat));
        Some(account)
    }

    /// The leg that is to be replaced, where it is one of ours, and none of these.
    fn own_end(&self, wanted: &Wanted, but: [Key; 2]) -> Option<Key> {
        let named = Replaces::parse(wanted.replaces.as_deref()?.as_bytes())?;
        let key = self.named(&named)?;
        (!but.contains(&key) && self.legs.get(key)?.opened).then_some(key)
    }

    /// Who asked has a call of ours with somebody else, too: who stays gets its place there, and
    /// nobody need be called.
    fn bring_together(&mut self, cx: &mut Context<'_>, (asks, stays): (Key, Key), old: Key) {
        let leg = self.legs.get_mut(stays);
        let Some(mut seat) = leg.and_then(|leg| leg.seat.take()) else {
            return;
        };
        let caller = seat.caller().clone();
        let records = seat.dismiss(cx, &mut self.timers);
        self.outputs.extend(records.map(Output::Persist));
        if let Some(leg) = self.legs.get_mut(asks) {
            leg.caller = None;
        }
        self.swap(cx, old, stays, caller);
        self.notify(cx, asks, 200, true);
        self.open(cx, stays);
        self.ring_again(cx, stays);
        self.part(cx, asks);
        self.hang_up(cx, old);
    }

    /// What becomes of the new call while a transfer is under way; `false` if none is.
    pub(super) fn on_transfer(&mut self, cx: &mut Context<'_>, key: Key, event: &Event) -> bool {
        let seat = self.legs.get_mut(key).and_then(|leg| leg.seat.as_mut());
        let Some(seat) = seat else { return false };
        let Some(asked) = seat.transferor else {
            return false;
        };
        match event {
            Event::Ringing => {
                // Further phones that ring change nothing.
                if !seat.does(WAITING) {
                    seat.interrupt(WAITING);
                    self.ring_back(cx, key);
                }
                self.notify(cx, asked, 180, false);
            }
            Event::Heard => self.notify(cx, asked, 183, false),
            Event::Joined => {
                seat.transferor = None;
                // Otherwise the program knows it already.
                let there = self.legs.get(asked).is_some();
                self.transferred(cx, asked);
                if there {
                    self.follow(cx, key, Event::Left(None));
                }
            }
            Event::Refused(status) => self.transfer_failed(cx, key, asked, *status),
            _ => self.transfer_failed(cx, key, asked, 487),
        }
        true
    }

    /// A transfer succeeded: who asked for it is told so, and let go.
    pub(super) fn transferred(&mut self, cx: &mut Context<'_>, asked: Key) {
        self.notify(cx, asked, 200, true);
        self.part(cx, asked);
    }

    fn transfer_failed(&mut self, cx: &mut Context<'_>, key: Key, asked: Key, status: u16) {
        self.notify(cx, asked, status, true);
        let there = self.legs.get(asked).is_some();
        let seat = self.legs.get_mut(key).and_then(|leg| leg.seat.as_mut());
        let Some(seat) = seat else { return };
        seat.transferor = None;
        if there {
            seat.called = Some(asked);
            self.join(cx, key);
        } else {
            self.follow(cx, key, Event::Parted);
        }
    }

    /// Who waits hears that a phone rings.
    fn ring_back(&mut self, cx: &Context<'_>, key: Key) {
        let voice = super::voice::Voice::of(cx.config.node.locale);
        let Some(leg) = self.legs.get(key) else {
            return;
        };
        let (Some(session), Some(seat)) = (leg.session, &leg.seat) else {
            return;
        };
        let chosen = seat.caller().hears(cx.config, seat.ring_back.as_ref());
        let what = Task::Play {
            sounds: vec![voice.ringing(chosen)],
            rounds: None,
            until_key: false,
        };
        self.outputs.push_back(Output::Media(Order::Do {
            session,
            task: WAITING,
            what,
        }));
    }

    /// The same for one who has the place of another who waited so.
    fn ring_again(&mut self, cx: &Context<'_>, key: Key) {
        let seat = self.legs.get(key).and_then(|leg| leg.seat.as_ref());
        if seat.is_some_and(|seat| seat.transferor.is_some() && seat.does(WAITING)) {
            self.ring_back(cx, key);
        }
    }

    /// Tells who asked for a transfer how it fares (RFC 3515 §2.4.5).
    pub(super) fn notify(&mut self, cx: &mut Context<'_>, key: Key, status: u16, over: bool) {
        let Some(leg) = self.legs.get_mut(key).filter(|leg| leg.tells) else {
            return;
        };
        leg.tells = !over;
        let state = match over {
            true => "terminated;reason=noresource",
            false => "active;expires=180",
        };
        let line = format!("SIP/2.0 {status} {}\r\n", default_reason(status));
        let (via, number) = (leg.dialog.new_via(cx.rng), leg.dialog.next_number());
        let request = leg
            .dialog
            .request(Method::Notify, number, &via)
            .header(HeaderName::Contact, leg.dialog.contact())
            .header(HeaderName::Event, "refer")
            .header(HeaderName::SubscriptionState, state)
            .body("message/sipfrag;version=2.0", line.into_bytes());
        let (flow, bytes): (Flow, Bytes) = (leg.dialog.flow, request.render());
        drop(request);
        self.send(flow, bytes);
    }

    // ------------------------------------------------------------ calls that replace legs

    /// The leg that an INVITE wants to replace (RFC 3891 §3).
    pub(super) fn replaced(&self, invite: &Message) -> Result<Option<Key>, Refusal> {
        let Some(value) = invite.header(HeaderName::Replaces) else {
            return Ok(None);
        };
        let malformed = (400, "Malformed Replaces");
        let named = Replaces::parse(value).ok_or(malformed)?;
        let none = (481, "Dialog To Be Replaced Does Not Exist");
        let key = self.named(&named).ok_or(none)?;
        match named.early_only {
            true => Err((486, "Answered Already")),
            false => Ok(Some(key)),
        }
    }

    /// The leg of ours that a dialog's name means. Early legs are not replaced.
    fn named(&self, named: &Replaces<'_>) -> Option<Key> {
        let name = (named.call_id.into(), named.to_tag.into());
        let key = self.by_name.get(&name).copied()?;
        let leg = self.legs.get(key)?;
        let known = leg.dialog.far_tag().as_deref() == Some(named.from_tag);
        let up = leg.branch().is_none() && leg.sent.is_none();
        (known && up).then_some(key)
    }

    /// A call takes the place of a leg: its seat, or its place beside a caller. One that cannot be
    /// answered is refused, and the leg stays as it was (RFC 3891 §3).
    pub(super) fn replace(
        &mut self,
        cx: &mut Context<'_>,
        old: Key,
        caller: Caller,
        (flow, invite): (&Flow, &Message),
    ) {
        let seat = Seat::new(Box::new(Stay), caller.clone());
        let Some(new) = self.settle_in(cx, seat, flow, invite) else {
            return;
        };
        let described = self.legs.get_mut(new).map(|leg| leg.describe(cx.rng));
        if let Some(Err(why)) = described {
            return self.fail(cx, new, why);
        }
        self.detour(cx, invite.call_id(), true);
        self.swap(cx, old, new, caller);
        self.take(cx, new);
        self.ring_again(cx, new);
        self.hang_up(cx, old);
    }

    /// The leg `new` gets the place of `old`: its seat, or its place beside a caller.
    fn swap(&mut self, cx: &mut Context<'_>, old: Key, new: Key, caller: Caller) {
        let Some(leg) = self.legs.get_mut(old) else {
            return;
        };
        let (seat, beside) = (leg.seat.take(), leg.caller.take());
        if let Some(mut seat) = seat {
            let called = seat.called.and_then(|key| self.legs.get(key));
            let joined = called.is_some_and(|leg| leg.opened);
            seat.moved((caller, joined), &mut self.timers, new);
            let beside = [seat.called, seat.transferor];
            if let Some(leg) = self.legs.get_mut(new) {
                leg.seat = Some(seat);
            }
            for key in beside.into_iter().flatten() {
                if let Some(leg) = self.legs.get_mut(key) {
                    leg.caller = Some(new);
                }
            }
        } else {
            if let Some(leg) = self.legs.get_mut(new) {
                (leg.seat, leg.caller) = (None, beside);
            }
            if let Some(holder) = beside {
                self.seat_beside(cx, holder, (old, new));
                self.follow(cx, holder, Event::Left(caller.user));
            }
        }
    }

    /// The leg `new` has the place of `old` beside a caller. If `old` transferred the caller just
    /// now, that is over: whoever takes a place talks to whom it is opposite of (RFC 3891 §3), and
    /// of two who want the caller the one who is there has it.
    fn seat_beside(&mut self, cx: &mut Context<'_>, holder: Key, (old, new): (Key, Key)) {
        let seat = self.legs.get_mut(holder).and_then(|leg| leg.seat.as_mut());
        let Some(seat) = seat else { return };
        let transfers = seat.transferor.take_if(|asked| *asked == old).is_some();
        let before = seat.called.replace(new);
        if transfers {
            seat.elsewhere = None;
            self.notify(cx, old, 487, true);
            if let Some(ringing) = before {
                self.part(cx, ringing);
            }
        }
    }
}

/// A Replaces value: a dialog, as the one sees it who is asked to replace it (RFC 3891 §6.1).
struct Replaces<'a> {
    call_id: &'a [u8],
    to_tag: &'a [u8],
    from_tag: &'a [u8],
    early_only: bool,
}

impl<'a> Replaces<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next()?.as_bytes();
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for part in parts {
            match part.split_once('=') {
                Some(("to-tag", tag)) => to_tag = Some(tag.as_bytes()),
                Some(("from-tag", tag)) => from_tag = Some(tag.as_bytes()),
                _ => early_only |= part == "early-only",
            }
        }
        Some(Self {
            call_id,
            to_tag: to_tag?,
            from_tag: from_tag?,
            early_only,
        })
    }
}

/// What takes the place of a call that waits in a slot, if a Replaces value names one.
pub(super) fn takes(cx: &Context<'_>, value: Option<&[u8]>) -> Option<Park> {
    let named = Replaces::parse(value?)?;
    let lot = cx.house.features.lot();
    let (slot, parker) = lot.find(named.call_id, named.from_tag)?;
    Some(Park::taking(slot, parker))
}

/// What parks who stays, if that is where a REFER leads: to the code, to a slot that is free, or in
/// place of a call that waits in one.
fn parks(cx: &Context<'_>, wanted: &Wanted, account: &Account) -> Option<Box<dyn Program>> {
    if let Some(park) = takes(cx, wanted.replaces.as_deref().map(str::as_bytes)) {
        return Some(Box::new(park));
    }
    let aor = aor_of(&wanted.uri);
    let number = aor.split('@').next().unwrap_or_default();
    let by = match account {
        Account::User(aor) | Account::CalledBack(aor) => Some(aor.clone()),
        Account::Caller
        | Account::SentOn(_)
        | Account::House
        | Account::Operator
        | Account::Way(_) => None,
    };
    let lot = cx.house.features.lot();
    if cx.config.services.dialled(number) == Some(Service::Park) {
        return Some(Box::new(Park::new(by)));
    }
    let slot = cx.config.parking.is_slot(number) && cx.house.directory.get(&aor).is_none();
    (slot && !lot.is_taken(number)).then(|| Box::new(Park::only(number.into(), by)) as _)
}

/// Where who is transferred is led, if the number is a service's, or nobody takes the call: as any
/// caller. A call in place of a dialog is for no mailbox.
pub(super) fn led(replaces: Option<&str>) -> Led {
    match replaces {
        Some(_) => Led::Services,
        None => Led::Mail(None),
    }
}

/// What the new call's INVITE says of the transfer.
fn headers_of(wanted: &Wanted, by: Option<Box<str>>) -> Vec<(Box<str>, Box<str>)> {
    let name_of = |header: HeaderName| Box::<str>::from(header.as_str());
    let replaces = wanted.replaces.clone();
    let replaces = replaces.map(|value| (name_of(HeaderName::Replaces), value));
    let by = by.map(|by| (name_of(HeaderName::ReferredBy), format!("<{by}>").into()));
    replaces.into_iter().chain(by).collect()
}

fn wanted(refer: &Message) -> Result<Wanted, Refusal> {
    let malformed = (400, "Malformed Refer-To");
    let value = refer.header(HeaderName::ReferTo).ok_or(malformed)?;
    let address = NameAddr::parse(value).map_err(|_| malformed)?;
    let uri = address.uri().map_err(|_| malformed)?;
    let bytes = uri.as_bytes();
    let end = memchr::memchr(b'?', bytes).unwrap_or(bytes.len());
    let bare = bytes.get(..end).unwrap_or_default();
    if !matches!(uri.param("method"), None | Some(Some(b"INVITE"))) {
        return Err((501, "Only INVITE Can Be Referred"));
    }
    let mut headers = uri.headers();
    let replaces = headers.find(|(name, _)| name.eq_ignore_ascii_case(b"replaces"));
    let replaces = match replaces.and_then(|(_, value)| value) {
        Some(value) => {
            let value = std::str::from_utf8(value).ok();
            let value = value.and_then(crate::call::inside::unescape);
            let fits = |v: &String| v.len() <= REPLACES_BYTES_MAX && !v.contains(['\r', '\n']);
            Some(value.filter(fits).ok_or(malformed)?.into())
        }
        None => None,
    };
    Ok(Wanted {
        uri: String::from_utf8(bare.to_vec())
            .map_err(|_| malformed)?
            .into(),
        replaces,
    })
}

/// Whom a leg of ours reached: the user who answered, where what was called is a group, an agent of
/// a queue or a number that a route leads to; else what was called.
fn whom(cx: &Context<'_>, leg: &Leg) -> Box<str> {
    let answerer = leg
        .session
        .and_then(|session| cx.calls.answerer_of(session));
    answerer.map_or_else(|| leg.reached.clone(), Box::from)
}

/// `user@host` of a SIP URI, as an address of record is written.
pub(super) fn aor_of(uri: &str) -> Box<str> {
    let Ok(uri) = Uri::parse(uri.as_bytes()) else {
        return "".into();
    };
    let user = uri.user_unescaped();
    format!("{}@{}", String::from_utf8_lossy(&user), uri.host()).into()
}
