//! One leg that ends here: a dialog, what is agreed on in it, and its INVITE, whoever sent that.
//!
//! ```text
//!   called by INVITE --> Pending --2xx--> Answered --ACK--> up --BYE--> gone
//!                           |                |  ^--- T1, doubling to T2: the 2xx again
//!                           +-- 4xx..6xx     +-- 64*T1 without ACK: BYE    (RFC 3261 §13.3.1.4)
//!
//!   INVITE of ours --> Sent --2xx, ACK--> up --BYE--> gone
//!                       |  +-- CANCEL, its final answer waited for
//!                       +-- 3xx..6xx, ACK --> gone
//! ```

use super::dialog::{Dialog, Parties};
use super::early::Forks;
use super::keys::InfoKeys;
use super::program::{Led, Reach};
use super::seat::Seat;
use super::talk::Talk;
use super::transfer::aor_of;
use super::{Context, Refusal, Timer, branch_of};
use crate::base::{Flow, Instant, Key, Rng, TimerId, TimerTable};
use crate::media::Order;
use crate::sip::session_timer::{self, SessionTimer};
use crate::wire::rtp::Coding;
use crate::wire::sip::{HeaderName, Message, Method, RequestBuilder, ResponseBuilder};
use crate::wire::sip::{Uri, unescape};
use bytes::Bytes;
use std::time::Duration;

/// How often a call is sent elsewhere by those who moved.
const MOVES_MAX: u8 = 5;

/// A far end's INVITE that has no final answer yet.
#[derive(Debug)]
struct Pending {
    invite: Message,
    branch: Box<[u8]>,
    /// Our description, once it went in a 183.
    described: Option<Vec<u8>>,
    /// Whether that arrived for certain: then it is not said again (RFC 3262 §5).
    settled: bool,
}

/// An answer that is repeated until it is acknowledged, for 64*T1 (RFC 3261 §13.3.1.4, RFC 3262
/// §3).
#[derive(Debug)]
struct Repeated {
    bytes: Bytes,
    timer: TimerId,
    interval: Duration,
    until: Instant,
}

impl Repeated {
    /// It went just now; `due` is told when it is to go again.
    fn new(cx: &Context<'_>, timers: &mut TimerTable<Timer>, due: Timer, bytes: Bytes) -> Self {
        let interval = cx.config.timers.t1;
        Self {
            bytes,
            timer: timers.arm(cx.now + interval, due),
            interval,
            until: cx.now + interval * 64,
        }
    }

    /// It once more, in intervals that double up to `longest`; `None` when it was repeated long
    /// enough.
    fn again(
        &mut self,
        cx: &Context<'_>,
        timers: &mut TimerTable<Timer>,
        due: Timer,
        longest: Duration,
    ) -> Option<Bytes> {
        if cx.now >= self.until {
            return None;
        }
        self.interval = (self.interval * 2).min(longest);
        let at = (cx.now + self.interval).min(self.until);
        self.timer = timers.arm(at, due);
        Some(self.bytes.clone())
    }
}

/// A provisional answer that waits for its PRACK (RFC 3262 §3).
#[derive(Debug)]
struct Reliable {
    number: u32,
    repeated: Repeated,
    /// Whether our description is in it.
    describes: bool,
    /// Whether the call is to be answered once it came.
    answers: bool,
    /// Whether a 183 with our description waits for that.
    early: bool,
}

/// What a PRACK lets go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pracked {
    /// The call is to be answered now.
    pub answers: bool,
    /// A 183 with our description is to go now.
    pub early: bool,
}

/// What a provisional answer to our INVITE is (RFC 3262 §4).
#[derive(Debug)]
pub(super) enum Provisional {
    /// It wants nothing.
    Unreliable,
    /// It is to be acknowledged by this PRACK.
    Reliable(Bytes),
    /// It is nothing new, or comes too early.
    Nothing,
}

/// A 2xx with the number of its request, and how long the session lasts.
pub(super) type Answered = ((u32, Bytes), Option<SessionTimer>);

/// A session that ends unless it is refreshed.
#[derive(Debug)]
struct Refresh {
    agreed: SessionTimer,
    /// The shortest interval that the far end takes, if it said so (RFC 4028 §7.3).
    shortest: Option<Duration>,
    /// When the session is over.
    until: Instant,
    timer: TimerId,
}

/// An INVITE of ours that has no final answer yet.
#[derive(Debug)]
pub(super) struct Sent {
    pub number: u32,
    invite: Message,
    /// Whether the far side is known to work on it, so that it can be cancelled (RFC 3261 §9.1).
    pub proceeds: bool,
    /// Nobody wants it any more.
    pub given_up: bool,
    /// How long it may ring.
    pub patience: Option<TimerId>,
}

impl Sent {
    fn of(number: u32, bytes: &Bytes) -> Option<Self> {
        // Our own can be read.
        let invite = Message::parse(bytes.clone()).ok()?;
        Some(Self {
            number,
            invite,
            proceeds: false,
            given_up: false,
            patience: None,
        })
    }

    /// The ACK of a refusal.
    pub fn acknowledge(&self, refusal: &Message) -> Option<Bytes> {
        self.of_its_own(Method::Ack, refusal.header(HeaderName::To)?)
    }

    /// A request that belongs to the INVITE's transaction: its target, its branch, its number
    /// (RFC 3261 §9.1, §17.1.1.3).
    fn of_its_own(&self, method: Method<'_>, to: &[u8]) -> Option<Bytes> {
        let invite = &self.invite;
        let request = RequestBuilder::new(method, invite.request_uri())
            .via(invite.header(HeaderName::Via)?)
            .max_forwards(70)
            .from(invite.header(HeaderName::From)?)
            .to(to)
            .call_id(invite.call_id())
            .cseq(self.number);
        Some(request.render())
    }
}

/// A call as it was made, for the case that it has to be made once more.
#[derive(Clone, Debug)]
pub(super) struct Again {
    pub reach: Reach,
    /// Until when it may ring; that does not begin anew.
    pub until: Instant,
    /// Whether it offers secure sound.
    pub secure: bool,
    /// How often it was sent elsewhere.
    moves: u8,
}

impl Again {
    /// For the first time.
    pub fn first(reach: &Reach, now: Instant) -> Self {
        Self {
            reach: reach.clone(),
            until: now + reach.ring,
            secure: false,
            moves: 0,
        }
    }

    /// What a refusal leaves to try: a secure offer for who takes none in the clear, another
    /// address for who moved (RFC 3261 §8.1.3.4). The call's account may have to be allowed that;
    /// codes are for it alone to dial.
    fn after(self, refusal: &Message) -> Option<Self> {
        match refusal.status() {
            415 | 488 | 606 if !self.secure => Some(Self {
                secure: true,
                ..self
            }),
            300..=302 if self.moves < MOVES_MAX => {
                let mut contacts = refusal.addresses(HeaderName::Contact).flatten();
                let uri = contacts.find_map(|contact| {
                    let uri = contact.uri().ok().filter(|uri| !is_code(uri))?;
                    String::from_utf8(uri.as_bytes().to_vec()).ok()
                })?;
                let to = uri.into();
                let reach = Reach { to, ..self.reach };
                let moves = self.moves + 1;
                Some(Self {
                    reach,
                    moves,
                    ..self
                })
            }
            _ => None,
        }
    }
}

/// Whether a URI's user begins as codes do.
fn is_code(uri: &Uri<'_>) -> bool {
    let user = uri.user().and_then(unescape);
    user.is_some_and(|user| user.starts_with('*'))
}

#[derive(Debug)]
pub(super) struct Leg {
    pub dialog: Dialog,
    pub talk: Talk,
    /// Of the media side, once its call is known.
    pub session: Option<u64>,
    /// Whether the studio has it.
    pub opened: bool,
    pending: Option<Pending>,
    reliable: Option<Reliable>,
    /// The number of our last reliable provisional answer.
    rseq: u32,
    /// Those that answered our INVITE reliably before its final answer.
    forks: Forks,
    refresh: Option<Refresh>,
    /// Our refresh that is under way.
    refreshing: Option<Sent>,
    /// Our 2xx that waits for its ACK.
    unacknowledged: Option<(u32, Repeated)>,
    pub sent: Option<Sent>,
    /// How it was called, where we called, until that comes to something.
    pub again: Option<Box<Again>>,
    /// Where a caller sits.
    pub seat: Option<Box<Seat>>,
    /// The caller that it was called for.
    pub caller: Option<Key>,
    /// The caller whose guest it is, with a seat of its own.
    pub host: Option<Key>,
    /// Whom it reaches, where we called: an address of record.
    pub reached: Box<str>,
    /// Whether it is told how the transfer fares that it asked for.
    pub tells: bool,
    /// Keys of others for it.
    pub info: InfoKeys,
}

impl Leg {
    /// A caller's.
    pub fn of_invite(
        cx: &mut Context<'_>,
        seat: Seat,
        flow: &Flow,
        invite: &Message,
    ) -> Result<Self, Refusal> {
        let branch = branch_of(invite).ok_or((400, "Malformed Via"))?;
        let dialog = Dialog::of_invite(invite, flow, seat.program().name(), cx.rng)?;
        Ok(Self {
            session: Some(seat.caller().session),
            pending: Some(Pending {
                invite: invite.clone(),
                branch,
                described: None,
                settled: false,
            }),
            seat: Some(Box::new(seat)),
            ..Self::new(dialog, cx)
        })
    }

    /// Of somebody who is called for a caller.
    pub fn toward(
        parties: &Parties,
        flow: &Flow,
        name: &str,
        caller: Key,
        cx: &mut Context<'_>,
    ) -> Self {
        let dialog = Dialog::toward(parties, flow, name, cx.rng);
        Self {
            caller: Some(caller),
            reached: aor_of(&parties.uri),
            ..Self::new(dialog, cx)
        }
    }

    fn new(dialog: Dialog, cx: &mut Context<'_>) -> Self {
        let codings = cx.config.services.codings();
        Self {
            talk: Talk::new(dialog.flow.remote.ip(), codings, cx.rng),
            dialog,
            session: None,
            opened: false,
            pending: None,
            reliable: None,
            rseq: 0,
            forks: Forks::default(),
            refresh: None,
            refreshing: None,
            unacknowledged: None,
            sent: None,
            again: None,
            seat: None,
            caller: None,
            host: None,
            reached: "".into(),
            tells: false,
            info: InfoKeys::default(),
        }
    }

    // ------------------------------------------------------------ called by an INVITE

    /// The branch of the INVITE, while it has no final answer.
    pub fn branch(&self) -> Option<&[u8]> {
        self.pending.as_ref().map(|pending| &*pending.branch)
    }

    /// A provisional answer without description. While a reliable one waits, there is no other (RFC
    /// 3262 §3).
    pub fn provisional(
        &mut self,
        cx: &Context<'_>,
        timers: &mut TimerTable<Timer>,
        key: Key,
        status: u16,
    ) -> Option<Bytes> {
        if self.reliable.is_some() {
            return None;
        }
        self.told_early(cx, timers, key, (status, None))
    }

    /// A 183 with our description. While a reliable provisional answer waits for its PRACK there is
    /// no other (RFC 3262 §3): then it goes later, and there is nothing to send.
    pub fn early(
        &mut self,
        cx: &mut Context<'_>,
        timers: &mut TimerTable<Timer>,
        key: Key,
    ) -> Result<Option<Bytes>, Refusal> {
        self.describe(cx.rng)?;
        if let Some(waiting) = &mut self.reliable {
            waiting.early = true;
            return Ok(None);
        }
        Ok(self.early_now(cx, timers, key))
    }

    /// The 183 with the description that we have.
    pub fn early_now(
        &mut self,
        cx: &Context<'_>,
        timers: &mut TimerTable<Timer>,
        key: Key,
    ) -> Option<Bytes> {
        let body = self.pending.as_ref()?.described.clone();
        self.told_early(cx, timers, key, (183, body))
    }

    /// Reliable where the caller wants that.
    fn told_early(
        &mut self,
        cx: &Context<'_>,
        timers: &mut TimerTable<Timer>,
        key: Key,
        (status, body): (u16, Option<Vec<u8>>),
    ) -> Option<Bytes> {
        let pending = self.pending.as_ref()?;
        let mut response = self.dialog.response(&pending.invite, status);
        let reliable = pending.invite.has_token(HeaderName::Require, "100rel");
        if reliable {
            self.rseq += 1;
            response = response
                .header(HeaderName::Require, "100rel")
                .header(HeaderName::RSeq, self.rseq.to_string());
        }
        let describes = body.is_some();
        if let Some(body) = body {
            response = response.body("application/sdp", body);
        }
        let bytes = response.render();
        if reliable {
            let due = Timer::Reliable(key);
            self.reliable = Some(Reliable {
                number: self.rseq,
                repeated: Repeated::new(cx, timers, due, bytes.clone()),
                describes,
                answers: false,
                early: false,
            });
        }
        Some(bytes)
    }

    /// The reliable provisional answer once more; `None` when it was repeated long enough.
    pub fn repeat_early(
        &mut self,
        cx: &Context<'_>,
        timers: &mut TimerTable<Timer>,
        key: Key,
    ) -> Option<Bytes> {
        // RFC 3262 §3 knows no longest interval.
        let waiting = self.reliable.as_mut()?;
        let (due, longest) = (Timer::Reliable(key), Duration::MAX);
        waiting.repeated.again(cx, timers, due, longest)
    }

    /// Whether the call's answer has to wait for a PRACK; it comes then.
    pub fn answers_later(&mut self) -> bool {
        match &mut self.reliable {
            Some(waiting) => {
                waiting.answers = true;
                true
            }
            None => false,
        }
    }

    /// A PRACK came (RFC 3262 §3): what goes on now, if it is the one that was waited for.
    pub fn pracked(&mut self, prack: &Message, timers: &mut TimerTable<Timer>) -> Option<Pracked> {
        let waiting = self.reliable.as_ref()?;
        let rack = std::str::from_utf8(prack.header(HeaderName::RAck)?).ok()?;
        let number = rack.split_ascii_whitespace().next()?;
        (number.parse() == Ok(waiting.number)).then_some(())?;
        let (answers, describes) = (waiting.answers, waiting.describes);
        // The call's answer describes, too.
        let early = waiting.early && !answers;
        if let Some(pending) = &mut self.pending {
            pending.settled |= describes;
        }
        self.disarm_reliable(timers);
        Some(Pracked { answers, early })
    }

    /// The description in a PRACK (RFC 3262 §5): the answer to our offer, or an offer, and our
    /// answer to that.
    pub fn described_by(
        &mut self,
        rng: &mut Rng,
        prack: &Message,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        if prack.body().is_empty() {
            return Ok(None);
        }
        if self.talk.is_offered() {
            self.talk.accept(prack.body());
            return Ok(None);
        }
        if !self.settled() {
            return Err((500, "Offer Not Answered Yet"));
        }
        self.talk.describe(prack.body(), rng).map(Some)
    }

    /// Whether the INVITE's offer was answered for certain.
    fn settled(&self) -> bool {
        self.pending.as_ref().is_none_or(|pending| pending.settled)
    }

    fn disarm_reliable(&mut self, timers: &mut TimerTable<Timer>) {
        if let Some(waiting) = self.reliable.take() {
            timers.cancel(waiting.repeated.timer);
        }
    }

    /// Works out our description before the answer that it goes in; why there can be none.
    pub fn describe(&mut self, rng: &mut Rng) -> Result<(), Refusal> {
        if let Some(pending) = &mut self.pending
            && pending.described.is_none()
        {
            pending.described = Some(self.talk.describe(pending.invite.body(), rng)?);
        }
        Ok(())
    }

    /// The 200 with our description, and how long the session lasts.
    /// The number of the INVITE comes with it.
    pub fn answer(&mut self, rng: &mut Rng) -> Result<Answered, Refusal> {
        let over = (500, "Answered Already");
        let pending = self.pending.as_ref().ok_or(over)?;
        let body = match &pending.described {
            Some(_) if pending.settled => None,
            Some(body) => Some(body.clone()),
            None => Some(self.talk.describe(pending.invite.body(), rng)?),
        };
        let timer = session_timer::asked(&pending.invite).ok().flatten();
        let mut response = timed(self.dialog.response(&pending.invite, 200), timer);
        if let Some(body) = body {
            response = response.body("application/sdp", body);
        }
        let answer = response.render();
        drop(response);
        let number = pending.invite.cseq().map_or(0, |cseq| cseq.number);
        self.pending = None;
        Ok(((number, answer), timer))
    }

    /// The final answer of a call that fails, if it has none yet.
    pub fn failure(&mut self, status: u16, reason: &str) -> Option<Bytes> {
        let pending = self.pending.take()?;
        let response = self.dialog.response(&pending.invite, status);
        Some(response.reason(reason).render())
    }

    /// An ACK came: `None` unless it is that of our 2xx (a refusal's has its number, too, but there
    /// is nothing of ours that waits for it); whether it brought the answer to our offer.
    pub fn acknowledged(&mut self, ack: &Message, timers: &mut TimerTable<Timer>) -> Option<bool> {
        let (number, _) = self.unacknowledged.as_ref()?;
        (ack.cseq().ok()?.number == *number).then_some(())?;
        self.disarm(timers);
        Some(self.talk.is_offered() && self.talk.accept(ack.body()))
    }

    /// Another offer, or a request for one of ours (RFC 3264 §8, RFC 3311 §5.2): the answer, and
    /// how long the session lasts.
    pub fn reoffered(&mut self, rng: &mut Rng, request: &Message) -> Result<Answered, Refusal> {
        let is_invite = request.method() == Method::Invite;
        let offers = is_invite || !request.body().is_empty();
        // RFC 3261 §14.2: the first INVITE is not over before its ACK; RFC 3311 §5.2: its offer is
        // to be answered first.
        if is_invite && (self.unacknowledged.is_some() || self.pending.is_some()) {
            return Err((500, "Answer Not Acknowledged Yet"));
        }
        if offers && !self.settled() {
            return Err((500, "Offer Not Answered Yet"));
        }
        // RFC 3261 §14.1, RFC 3311 §5.2: one of ours is open.
        if offers && (self.talk.is_offered() || (is_invite && self.sent.is_some())) {
            return Err((491, "Request Pending"));
        }
        let timer = session_timer::asked(request);
        let timer = timer.map_err(|_| (422, "Session Interval Too Small"))?;
        self.dialog.retarget(request);
        let body = match (is_invite, request.body()) {
            (false, []) => None,
            (_, offer) => Some(self.talk.describe(offer, rng)?),
        };
        let mut response = timed(self.dialog.response(request, 200), timer);
        if let Some(body) = body {
            response = response.body("application/sdp", body);
        }
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        Ok(((number, response.render()), timer))
    }

    /// The 2xx that just went is repeated until its ACK comes.
    pub fn arm(
        &mut self,
        cx: &Context<'_>,
        timers: &mut TimerTable<Timer>,
        key: Key,
        (number, answer): (u32, Bytes),
    ) {
        self.disarm(timers);
        let repeated = Repeated::new(cx, timers, Timer::Ack(key), answer);
        self.unacknowledged = Some((number, repeated));
    }

    pub fn disarm(&mut self, timers: &mut TimerTable<Timer>) {
        if let Some((_, waiting)) = self.unacknowledged.take() {
            timers.cancel(waiting.timer);
        }
    }

    /// The 2xx once more; `None` when it was repeated long enough.
    pub fn repeat(
        &mut self,
        cx: &Context<'_>,
        timers: &mut TimerTable<Timer>,
        key: Key,
    ) -> Option<Bytes> {
        let longest = cx.config.timers.t2;
        let (_, waiting) = self.unacknowledged.as_mut()?;
        waiting.again(cx, timers, Timer::Ack(key), longest)
    }

    // ------------------------------------------------------------ an INVITE of ours

    /// The INVITE, which offers `codings`.
    pub fn invite(
        &mut self,
        rng: &mut Rng,
        (codings, secure): (&[Coding], bool),
        headers: &[(Box<str>, Box<str>)],
    ) -> Bytes {
        let offer = self.talk.offer(codings, secure, rng);
        let (via, number) = (self.dialog.new_via(rng), self.dialog.next_number());
        let mut request = self
            .dialog
            .request(Method::Invite, number, &via)
            .header(HeaderName::Contact, self.dialog.contact())
            .header(HeaderName::Allow, super::ALLOW)
            .header(HeaderName::Supported, super::SUPPORTED);
        for (name, value) in headers {
            request = request.raw_header(name, &**value);
        }
        let bytes = request.body("application/sdp", offer).render();
        self.sent = Sent::of(number, &bytes);
        bytes
    }

    /// Whether a response is to the INVITE of ours that has no final answer yet.
    pub fn answers_invite(&self, response: &Message) -> bool {
        let (Some(sent), Ok(cseq)) = (&self.sent, response.cseq()) else {
            return false;
        };
        cseq.number == sent.number && response.method() == Method::Invite
    }

    /// The CANCEL of our INVITE, if it can go already (RFC 3261 §9.1).
    pub fn cancel(&mut self) -> Option<Bytes> {
        let sent = self.sent.as_mut()?;
        sent.given_up = true;
        if !sent.proceeds {
            return None;
        }
        sent.of_its_own(Method::Cancel, sent.invite.header(HeaderName::To)?)
    }

    /// The service that takes our caller over, by what the proxy says to our INVITE.
    pub fn led_to(&self, refusal: &Message) -> Option<Box<[u8]>> {
        let led = self.again.as_ref().map(|again| again.reach.led);
        led.filter(|led| *led != Led::Nowhere)?;
        refusal.header(HeaderName::XVoipAccount).map(Box::from)
    }

    /// What a refusal of our INVITE leaves to try.
    pub fn again_after(&mut self, refusal: &Message) -> Option<Again> {
        self.again.take()?.after(refusal)
    }

    /// The ACK of a refusal: of the same transaction (RFC 3261 §17.1.1.3). The INVITE is over.
    pub fn acknowledge_refusal(&mut self, refusal: &Message) -> Option<Bytes> {
        self.sent.take()?.acknowledge(refusal)
    }

    /// The ACK of a 2xx to an INVITE of this number (RFC 3261 §13.2.2.4).
    pub fn acknowledge(&mut self, number: u32, rng: &mut Rng) -> Bytes {
        let via = self.dialog.new_via(rng);
        self.dialog.request(Method::Ack, number, &via).render()
    }

    // ------------------------------------------------------------ both

    /// What the studio must be told.
    pub fn order(&self, cx: &mut Context<'_>) -> Option<Order> {
        Some(Order::Open {
            session: self.session?,
            format: self.talk.format()?,
            seed: cx.rng.next_u64(),
        })
    }

    /// Turns to the far end that answered; what was agreed on with it holds again.
    pub fn turn_to(&mut self, response: &Message) {
        if self.dialog.is_with(response) {
            return self.dialog.learn(response);
        }
        if let Some(tag) = self.dialog.far_tag()
            && self.forks.settled(&tag).is_some()
        {
            self.forks.settle(&tag, self.talk.agreed());
        }
        self.dialog.learn(response);
        if let Some(agreed) = self.forks.settled(super::to_tag(response)) {
            self.talk.recall(agreed.clone());
        }
    }

    /// What a provisional answer of the far end that we turned to is.
    pub fn prack(&mut self, response: &Message, rng: &mut Rng) -> Provisional {
        if !response.has_token(HeaderName::Require, "100rel") {
            return Provisional::Unreliable;
        }
        let number = response.number(HeaderName::RSeq).ok().flatten();
        let (Some(number), Ok(cseq)) = (number, response.cseq()) else {
            return Provisional::Nothing;
        };
        if !self.forks.take(super::to_tag(response), number) {
            return Provisional::Nothing;
        }
        let rack = format!("{number} {} INVITE", cseq.number);
        let (via, number) = (self.dialog.new_via(rng), self.dialog.next_number());
        let request = self.dialog.request(Method::Prack, number, &via);
        Provisional::Reliable(request.header(HeaderName::RAck, rack).render())
    }

    /// A provisional answer describes what the far end says; whether it does, and agrees. A
    /// reliable one answers our offer for good.
    pub fn hears_early(&mut self, response: &Message, reliable: bool) -> bool {
        if response.body().is_empty() || !self.talk.accept_early(response.body()) {
            return false;
        }
        if reliable {
            self.forks
                .settle(super::to_tag(response), self.talk.agreed());
            self.talk.withdraw();
        }
        true
    }

    /// The 2xx of the far end that we turned to describes what it says, unless that was settled.
    pub fn hears(&mut self, response: &Message) {
        match self.forks.settled(super::to_tag(response)) {
            Some(_) => self.talk.withdraw(),
            None => self.talk.conclude(response.body()),
        }
    }

    /// From now on the session lasts as was agreed on.
    pub fn lasts(
        &mut self,
        cx: &Context<'_>,
        agreed: Option<SessionTimer>,
        timers: &mut TimerTable<Timer>,
        key: Key,
    ) {
        let shortest = self.refresh.take().and_then(|old| {
            timers.cancel(old.timer);
            old.shortest
        });
        self.refresh = agreed.map(|agreed| Refresh {
            agreed,
            shortest,
            until: cx.now + agreed.interval,
            timer: timers.arm(cx.now + agreed.due(), Timer::Session(key)),
        });
    }

    /// Something is due for the session: whether it can be refreshed by us. One that was not
    /// answered in all that time cannot.
    pub fn refreshes(&self, now: Instant) -> bool {
        let ours = |refresh: &Refresh| refresh.agreed.ours && now < refresh.until;
        self.refreshing.is_none() && self.refresh.as_ref().is_some_and(ours)
    }

    /// The answer to our refresh; its transaction, unless it is of another one.
    pub fn refreshed(&mut self, response: &Message) -> Option<Sent> {
        let number = response.cseq().ok()?.number;
        self.refreshing
            .take_if(|sent| sent.number == number && response.status() >= 200)
    }

    /// A refresh failed for now: once more in a while, but before the session ends.
    pub fn refresh_again(
        &mut self,
        cx: &Context<'_>,
        wait: Duration,
        timers: &mut TimerTable<Timer>,
        key: Key,
    ) {
        if let Some(refresh) = &mut self.refresh {
            timers.cancel(refresh.timer);
            let due = (cx.now + wait).min(refresh.until);
            refresh.timer = timers.arm(due, Timer::Session(key));
        }
    }

    /// The far end wants longer intervals (RFC 4028 §7.3); whether it said how long.
    pub fn lengthen(&mut self, refusal: &Message) -> bool {
        let seconds = refusal.number(HeaderName::MinSe).ok().flatten();
        let (Some(seconds), Some(refresh)) = (seconds, &mut self.refresh) else {
            return false;
        };
        let shortest = Duration::from_secs(seconds.into()).min(session_timer::INTERVAL_MAX);
        // Who refuses the same once more would do so for ever.
        if shortest <= refresh.agreed.interval {
            return false;
        }
        refresh.shortest = Some(shortest);
        refresh.agreed.interval = shortest;
        true
    }

    /// What is agreed on about the session's time.
    pub fn session_timer(&self) -> Option<SessionTimer> {
        self.refresh.as_ref().map(|refresh| refresh.agreed)
    }

    /// A refresh of ours: UPDATE where the far end knows it, otherwise a re-INVITE that offers what
    /// is agreed on (RFC 4028 §10).
    pub fn refresh(&mut self, rng: &mut Rng) -> Option<Bytes> {
        let lasts = self.refresh.as_ref()?;
        let (value, shortest) = (lasts.agreed.in_request(), lasts.shortest);
        let update = self.dialog.knows_update();
        let offer = match (update, self.talk.coding()) {
            (false, Some(coding)) => {
                let secure = self.talk.is_secure();
                Some(self.talk.offer(&[coding], secure, rng))
            }
            _ => None,
        };
        let method = if update {
            Method::Update
        } else {
            Method::Invite
        };
        let (via, number) = (self.dialog.new_via(rng), self.dialog.next_number());
        let mut request = self
            .dialog
            .request(method, number, &via)
            .header(HeaderName::Contact, self.dialog.contact())
            .header(HeaderName::Supported, super::SUPPORTED)
            .header(HeaderName::SessionExpires, value);
        if let Some(shortest) = shortest {
            request = request.header(HeaderName::MinSe, shortest.as_secs().to_string());
        }
        if let Some(offer) = offer {
            request = request.body("application/sdp", offer);
        }
        let bytes = request.render();
        self.refreshing = Sent::of(number, &bytes);
        Some(bytes)
    }

    /// A request in the dialog, without body.
    pub fn request(&mut self, method: Method<'_>, rng: &mut Rng) -> Bytes {
        let (via, number) = (self.dialog.new_via(rng), self.dialog.next_number());
        self.dialog.request(method, number, &via).render()
    }

    /// No timer runs any more but the program's.
    pub fn silence(&mut self, timers: &mut TimerTable<Timer>) {
        self.disarm(timers);
        self.disarm_reliable(timers);
        if let Some(refresh) = self.refresh.take() {
            timers.cancel(refresh.timer);
        }
        if let Some(timer) = self.sent.as_mut().and_then(|sent| sent.patience.take()) {
            timers.cancel(timer);
        }
    }
}

/// With the time that the session lasts, if it has one (RFC 4028 §9).
fn timed(response: ResponseBuilder<'_>, timer: Option<SessionTimer>) -> ResponseBuilder<'_> {
    let Some(timer) = timer else { return response };
    let response = response.header(HeaderName::SessionExpires, timer.in_response());
    match timer.ours {
        true => response,
        false => response.header(HeaderName::Require, "timer"),
    }
}
