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
use super::program::Caller;
use super::seat::Seat;
use super::talk::Talk;
use super::{Context, Refusal, Timer, branch_of};
use crate::base::{Flow, Instant, Key, Rng, TimerId, TimerTable};
use crate::media::Order;
use crate::wire::rtp::Coding;
use crate::wire::sip::{HeaderName, Message, Method, RequestBuilder};
use bytes::Bytes;
use std::time::Duration;

/// A far end's INVITE that has no final answer yet.
#[derive(Debug)]
struct Pending {
    invite: Message,
    branch: Box<[u8]>,
    /// Our description, once it went in a 183.
    described: Option<Vec<u8>>,
}

/// A 2xx that waits for its ACK.
#[derive(Debug)]
struct Unacknowledged {
    timer: TimerId,
    interval: Duration,
    until: Instant,
}

/// An INVITE of ours that has no final answer yet.
#[derive(Debug)]
pub(super) struct Sent {
    number: u32,
    invite: Message,
    /// Whether the far side is known to work on it, so that it can be cancelled (RFC 3261 §9.1).
    pub proceeds: bool,
    /// Nobody wants it any more.
    pub given_up: bool,
    /// How long it may ring.
    pub patience: Option<TimerId>,
}

impl Sent {
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

#[derive(Debug)]
pub(super) struct Leg {
    pub dialog: Dialog,
    pub talk: Talk,
    /// Of the media side, once its call is known.
    pub session: Option<u64>,
    /// Whether the studio has it.
    pub opened: bool,
    pending: Option<Pending>,
    unacknowledged: Option<Unacknowledged>,
    /// The 2xx as it went.
    last_answer: Bytes,
    pub sent: Option<Sent>,
    /// Where a caller sits.
    pub seat: Option<Box<Seat>>,
    /// The caller that it was called for.
    pub caller: Option<Key>,
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
        Ok(Self {
            dialog: Dialog::of_invite(invite, flow, seat.program().name(), cx.rng)?,
            talk: Talk::new(flow.remote.ip(), cx.rng),
            session: Some(seat.caller().session),
            opened: false,
            pending: Some(Pending {
                invite: invite.clone(),
                branch,
                described: None,
            }),
            unacknowledged: None,
            last_answer: Bytes::new(),
            sent: None,
            seat: Some(Box::new(seat)),
            caller: None,
        })
    }

    /// Of somebody who is called for a caller.
    pub fn toward(parties: &Parties, flow: &Flow, name: &str, caller: Key, rng: &mut Rng) -> Self {
        Self {
            dialog: Dialog::toward(parties, flow, name, rng),
            talk: Talk::new(flow.remote.ip(), rng),
            session: None,
            opened: false,
            pending: None,
            unacknowledged: None,
            last_answer: Bytes::new(),
            sent: None,
            seat: None,
            caller: Some(caller),
        }
    }

    /// Who called.
    pub fn caller(&self) -> Option<&Caller> {
        self.seat.as_ref().map(|seat| seat.caller())
    }

    // ------------------------------------------------------------ called by an INVITE

    /// The branch of the INVITE, while it has no final answer.
    pub fn branch(&self) -> Option<&[u8]> {
        self.pending.as_ref().map(|pending| &*pending.branch)
    }

    /// A provisional answer without description.
    pub fn provisional(&self, status: u16) -> Option<Bytes> {
        let pending = self.pending.as_ref()?;
        Some(self.dialog.response(&pending.invite, status).render())
    }

    /// A 183 with our description.
    pub fn early(&mut self, rng: &mut Rng) -> Result<Bytes, Refusal> {
        let over = (500, "Answered Already");
        let pending = self.pending.as_mut().ok_or(over)?;
        let body = self.talk.describe(pending.invite.body(), rng)?;
        pending.described = Some(body.clone());
        let response = self.dialog.response(&pending.invite, 183);
        Ok(response.body("application/sdp", body).render())
    }

    /// The 200 with our description.
    pub fn answer(&mut self, rng: &mut Rng) -> Result<Bytes, Refusal> {
        let over = (500, "Answered Already");
        let Pending {
            invite, described, ..
        } = self.pending.take().ok_or(over)?;
        let body = match described {
            Some(body) => body,
            None => match self.talk.describe(invite.body(), rng) {
                Ok(body) => body,
                Err(why) => {
                    let branch = branch_of(&invite).unwrap_or_default();
                    self.pending = Some(Pending {
                        invite,
                        branch,
                        described: None,
                    });
                    return Err(why);
                }
            },
        };
        let response = self.dialog.response(&invite, 200);
        self.last_answer = response.body("application/sdp", body).render();
        Ok(self.last_answer.clone())
    }

    /// The final answer of a call that fails, if it has none yet.
    pub fn failure(&mut self, status: u16, reason: &str) -> Option<Bytes> {
        let pending = self.pending.take()?;
        let response = self.dialog.response(&pending.invite, status);
        Some(response.reason(reason).render())
    }

    /// The ACK came; whether it brought the answer to our offer.
    pub fn acknowledged(&mut self, ack: &Message, timers: &mut TimerTable<Timer>) -> bool {
        self.disarm(timers);
        self.talk.is_offered() && self.talk.accept(ack.body())
    }

    /// Another offer, or a request for one of ours (RFC 3264 §8, RFC 3311 §5.2).
    pub fn reoffered(&mut self, rng: &mut Rng, request: &Message) -> Result<Bytes, Refusal> {
        let is_invite = request.method() == Method::Invite;
        // RFC 3261 §14.2: the first INVITE is not over before its ACK; §14.1: one of ours is open.
        if is_invite && self.unacknowledged.is_some() {
            return Err((500, "Answer Not Acknowledged Yet"));
        }
        if self.talk.is_offered() && (is_invite || !request.body().is_empty()) {
            return Err((491, "Request Pending"));
        }
        self.dialog.retarget(request);
        let body = match (is_invite, request.body()) {
            (false, []) => None,
            (_, offer) => Some(self.talk.describe(offer, rng)?),
        };
        let mut response = self.dialog.response(request, 200);
        if let Some(body) = body {
            response = response.body("application/sdp", body);
        }
        let answer = response.render();
        if is_invite {
            self.last_answer = answer.clone();
        }
        Ok(answer)
    }

    /// The 2xx that just went is repeated until its ACK comes.
    pub fn arm(&mut self, cx: &Context<'_>, timers: &mut TimerTable<Timer>, key: Key) {
        self.disarm(timers);
        let interval = cx.config.timers.t1;
        self.unacknowledged = Some(Unacknowledged {
            timer: timers.arm(cx.now + interval, Timer::Ack(key)),
            interval,
            until: cx.now + interval * 64,
        });
    }

    pub fn disarm(&mut self, timers: &mut TimerTable<Timer>) {
        if let Some(waiting) = self.unacknowledged.take() {
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
        let waiting = self.unacknowledged.as_mut()?;
        if cx.now >= waiting.until {
            return None;
        }
        waiting.interval = (waiting.interval * 2).min(cx.config.timers.t2);
        let due = (cx.now + waiting.interval).min(waiting.until);
        waiting.timer = timers.arm(due, Timer::Ack(key));
        Some(self.last_answer.clone())
    }

    // ------------------------------------------------------------ an INVITE of ours

    /// The INVITE, which offers `codings`.
    pub fn invite(
        &mut self,
        rng: &mut Rng,
        codings: &[Coding],
        headers: &[(Box<str>, Box<str>)],
    ) -> Bytes {
        let offer = self.talk.offer(codings);
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
        // Our own can be read.
        self.sent = Message::parse(bytes.clone()).ok().map(|invite| Sent {
            number,
            invite,
            proceeds: false,
            given_up: false,
            patience: None,
        });
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

    /// The ACK of a refusal: of the same transaction (RFC 3261 §17.1.1.3). The INVITE is over.
    pub fn acknowledge_refusal(&mut self, refusal: &Message) -> Option<Bytes> {
        let sent = self.sent.take()?;
        sent.of_its_own(Method::Ack, refusal.header(HeaderName::To)?)
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

    /// A request in the dialog, without body.
    pub fn request(&mut self, method: Method<'_>, rng: &mut Rng) -> Bytes {
        let (via, number) = (self.dialog.new_via(rng), self.dialog.next_number());
        self.dialog.request(method, number, &via).render()
    }

    /// No timer runs any more but the program's.
    pub fn silence(&mut self, timers: &mut TimerTable<Timer>) {
        self.disarm(timers);
        if let Some(timer) = self.sent.as_mut().and_then(|sent| sent.patience.take()) {
            timers.cancel(timer);
        }
    }
}
