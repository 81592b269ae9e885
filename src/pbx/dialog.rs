//! One call that ends here (RFC 3261 §12, §13.3): made by an INVITE that is answered at once, or
//! after an offer of ours where the INVITE brought none.
//!
//! ```text
//!   INVITE --> Answered --ACK--> Confirmed --BYE--> gone
//!                 |  ^--- T1, doubling to T2: the 2xx again
//!                 +-- 64*T1 without ACK: BYE --> gone        (RFC 3261 §13.3.1.4)
//! ```

use super::program::{Caller, Effect, Event, Program, Scene};
use super::voice::Voice;
use super::{ALLOW, Context, Name, Timer, branch_of};
use crate::base::{Flow, Instant, Key, TimerId, TimerTable};
use crate::media::{Format, Keys, Order};
use crate::sip::offer_answer::{self, Agreed, Origin};
use crate::srtp::MasterKey;
use crate::wire::rtp::Coding;
use crate::wire::sdp::Direction;
use crate::wire::sip::{HeaderName, Message, Method, RequestBuilder, ResponseBuilder};
use bytes::Bytes;
use smallvec::SmallVec;
use std::time::Duration;

/// Record-Route values that a dialog may have; the proxy's own are among them.
const ROUTES_MAX: usize = 32;
/// Timers that a program may have at a time.
const TIMERS_MAX: usize = 8;

/// Status and reason phrase.
pub(super) type Refusal = (u16, &'static str);

/// A 2xx that waits for its ACK.
#[derive(Debug)]
struct Unacknowledged {
    timer: TimerId,
    interval: Duration,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Dialog {
    program: Box<dyn Program>,
    caller: Caller,
    /// The program's, by its numbers.
    timers: SmallVec<[(u32, TimerId); 2]>,
    session: u64,
    flow: Flow,
    call_id: Box<[u8]>,
    tag: Box<[u8]>,
    /// Our address with our tag, the From of our requests.
    local: Box<[u8]>,
    /// The caller's, the To of our requests.
    remote: Box<[u8]>,
    /// The caller's Contact.
    target: Box<[u8]>,
    /// From us to the caller.
    routes: Box<[Box<[u8]>]>,
    contact: Box<str>,
    cseq: u32,
    origin: Origin,
    /// The 2xx, or the 183, as it went.
    last_answer: Bytes,
    /// The INVITE that has no final answer yet, and its branch.
    early: Option<(Message, Box<[u8]>)>,
    unacknowledged: Option<Unacknowledged>,
    /// Whether the answer to our offer is still to come, in the ACK.
    offered: bool,
    agreed: Option<Agreed>,
    /// Ours, once a secure stream was offered.
    key: Option<MasterKey>,
    begun: bool,
    /// Nobody is there any more; the program waits for the studio.
    over: bool,
    /// What the studio does for the caller, as the purpose numbers it.
    task: u32,
}

impl Dialog {
    /// Answers an INVITE.
    pub fn answer(
        cx: &mut Context<'_>,
        program: Box<dyn Program>,
        caller: Caller,
        flow: &Flow,
        invite: &Message,
    ) -> Result<Self, Refusal> {
        let tag = cx.rng.token::<10>();
        let malformed = (400, "Malformed From Or To");
        let to = invite.header(HeaderName::To).ok_or(malformed)?;
        let from = invite.header(HeaderName::From).ok_or(malformed)?;
        let contact = contact(program.name(), flow);
        let mut contacts = invite.addresses(HeaderName::Contact);
        let target = match contacts.next() {
            Some(Ok(target)) => target.uri_bytes().into(),
            _ => return Err((400, "Missing Contact")),
        };
        let routes = invite.values(HeaderName::RecordRoute).take(ROUTES_MAX);
        let mut dialog = Self {
            session: caller.session,
            program,
            caller,
            timers: SmallVec::new(),
            flow: *flow,
            call_id: invite.call_id().into(),
            tag: tag.as_slice().into(),
            local: [to, b";tag=", &tag].concat().into(),
            remote: from.into(),
            target,
            routes: routes.map(Box::from).collect(),
            contact: contact.into(),
            // RFC 3261 §12.2.1.1: our numbers begin where we like.
            cseq: 1,
            origin: Origin {
                id: (cx.rng.next_u64() >> 33) as u32,
                version: 0,
                address: flow.remote.ip(),
            },
            last_answer: Bytes::new(),
            early: None,
            unacknowledged: None,
            offered: false,
            agreed: None,
            key: None,
            begun: false,
            over: false,
            task: 0,
        };
        if dialog.program.is_early() {
            let branch = branch_of(invite).ok_or((400, "Malformed Via"))?;
            dialog.early = Some((invite.clone(), branch));
        }
        dialog.last_answer = dialog.described(cx, invite)?;
        Ok(dialog)
    }

    pub fn name(&self) -> Name {
        (self.call_id.clone(), self.tag.clone())
    }

    pub fn session(&self) -> u64 {
        self.session
    }

    pub fn flow(&self) -> Flow {
        self.flow
    }

    pub fn last_answer(&self) -> Bytes {
        self.last_answer.clone()
    }

    /// The branch of the INVITE, while it has no final answer.
    pub fn early_branch(&self) -> Option<&[u8]> {
        self.early.as_ref().map(|(_, branch)| &**branch)
    }

    /// Its final answer, if it still has none.
    pub fn failure(&self, status: u16) -> Option<Bytes> {
        let (invite, _) = self.early.as_ref()?;
        let response = ResponseBuilder::new(invite, status).to_tag(&*self.tag);
        Some(response.render())
    }

    /// Tells the program what happened; what it wants. The end of what was cut short is nothing to
    /// it.
    pub fn tell(&mut self, cx: &mut Context<'_>, event: Event) -> Vec<Effect> {
        if let Event::Done(task) = event
            && task != self.task
        {
            return Vec::new();
        }
        let mut scene = Scene {
            now: cx.now,
            unix_ms: cx.anchor.unix_ms(cx.now),
            config: cx.config,
            mailboxes: cx.mailboxes,
            rng: cx.rng,
            voice: Voice::of(cx.config.node.locale),
            caller: &self.caller,
            effects: Vec::new(),
        };
        self.program.on(&mut scene, event);
        let effects = scene.effects;
        for effect in &effects {
            if let Effect::Do(task, _) = effect {
                self.task = *task;
            }
        }
        effects
    }

    /// Nobody is there any more; what the program wants then.
    pub fn over(&mut self, cx: &mut Context<'_>) -> Vec<Effect> {
        self.over = true;
        self.early = None;
        self.tell(cx, Event::Ended)
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether nothing will wake it any more.
    pub fn is_idle(&self) -> bool {
        self.over && self.timers.is_empty()
    }

    /// The program wants to be told when this time has passed.
    pub fn wake(&mut self, (at, number): (Instant, u32), timers: &mut TimerTable<Timer>, key: Key) {
        self.woken(number, timers);
        if self.timers.len() < TIMERS_MAX {
            let timer = timers.arm(at, Timer::Program(key, number));
            self.timers.push((number, timer));
        }
    }

    /// A timer of the program is over.
    pub fn woken(&mut self, number: u32, timers: &mut TimerTable<Timer>) {
        if let Some(at) = self.timers.iter().position(|(n, _)| *n == number) {
            timers.cancel(self.timers.swap_remove(at).1);
        }
    }

    /// Another offer, or a request for one of ours (RFC 3264 §8, RFC 3311 §5.2).
    pub fn reoffered(
        &mut self,
        cx: &mut Context<'_>,
        flow: &Flow,
        request: &Message,
    ) -> Result<Bytes, Refusal> {
        // RFC 3261 §14.2: the first INVITE is not over before its ACK.
        if self.unacknowledged.is_some() && request.method() == Method::Invite {
            return Err((500, "Answer Not Acknowledged Yet"));
        }
        // RFC 3311 §5.2: an offer while one of ours is open.
        if self.offered && !request.body().is_empty() {
            return Err((491, "Request Pending"));
        }
        self.flow = *flow;
        if let Some(Ok(target)) = request.addresses(HeaderName::Contact).next() {
            self.target = target.uri_bytes().into();
        }
        let answer = match request.method() {
            Method::Update if request.body().is_empty() => self.response(request, None),
            _ => self.described(cx, request)?,
        };
        if request.method() == Method::Invite {
            self.last_answer = answer.clone();
        }
        Ok(answer)
    }

    /// The answer with our description: 200, or 183 for what is said before a call fails.
    fn described(&mut self, cx: &mut Context<'_>, request: &Message) -> Result<Bytes, Refusal> {
        self.origin.version = self.origin.version.wrapping_add(1);
        let body = match request.body() {
            [] => {
                self.offered = true;
                offer_answer::offer(Coding::ALL, self.origin, Direction::SendRecv)
            }
            offer => {
                let (known, rng) = (&mut self.key, &mut *cx.rng);
                let key = |profile| {
                    let fresh = || MasterKey::generate(profile, |bytes| rng.fill(bytes));
                    let key = known.take().filter(|key| key.profile() == profile);
                    known.insert(key.unwrap_or_else(fresh)).clone()
                };
                let answer = offer_answer::answer(offer, Coding::ALL, self.origin, key);
                let (body, agreed) = answer.map_err(|why| (488, why.reason()))?;
                self.agreed = Some(agreed);
                body
            }
        };
        Ok(self.response(request, Some(body)))
    }

    fn response(&self, request: &Message, body: Option<Vec<u8>>) -> Bytes {
        // An UPDATE is answered at once, also before the INVITE is (RFC 3311 §5.2).
        let status = match request.method() {
            Method::Invite if self.early.is_some() => 183,
            _ => 200,
        };
        let mut response = ResponseBuilder::new(request, status)
            .to_tag(&*self.tag)
            .record_route()
            .header(HeaderName::Contact, &*self.contact)
            .header(HeaderName::Allow, ALLOW);
        if let Some(body) = body {
            response = response.body("application/sdp", body);
        }
        response.render()
    }

    /// The ACK came; whether it brought the answer to our offer.
    pub fn acknowledged(&mut self, ack: &Message) -> bool {
        if !std::mem::take(&mut self.offered) {
            return false;
        }
        self.agreed = offer_answer::accepted(ack.body(), Coding::ALL).ok();
        self.agreed.is_some()
    }

    /// Whether there is nothing that both sides could hear.
    pub fn disagrees(&self) -> bool {
        self.agreed.is_none()
    }

    /// What the studio must be told.
    pub fn order(&self, cx: &mut Context<'_>) -> Option<Order> {
        let agreed = self.agreed.as_ref()?;
        let session = self.session;
        let format = Format {
            stream: agreed.stream,
            coding: agreed.coding,
            payload_type: agreed.payload_type,
            events: agreed.events,
            packet_ms: agreed.packet_ms,
            sends: agreed.direction.sends(),
            keys: agreed.keys.as_ref().map(|keys| Keys {
                ours: keys.ours.to_string().into(),
                theirs: keys.theirs.to_string().into(),
            }),
        };
        Some(Order::Open {
            session,
            format,
            seed: cx.rng.next_u64(),
        })
    }

    /// Whether the program has still to begin.
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
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

    /// No timer runs any more.
    pub fn silence(&mut self, timers: &mut TimerTable<Timer>) {
        self.disarm(timers);
        for (_, timer) in self.timers.drain(..) {
            timers.cancel(timer);
        }
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
        waiting.timer = timers.arm(
            (cx.now + waiting.interval).min(waiting.until),
            Timer::Ack(key),
        );
        Some(self.last_answer.clone())
    }

    /// RFC 3261 §15.1.1.
    pub fn bye(&mut self, cx: &mut Context<'_>) -> Bytes {
        self.request(cx, Method::Bye).render()
    }

    /// Asks the caller's phone to call somebody instead (RFC 3515), and to tell us nothing of how
    /// that goes (RFC 4488).
    pub fn refer(&mut self, cx: &mut Context<'_>, to: &str) -> Bytes {
        let contact = self.contact.clone();
        self.request(cx, Method::Refer)
            .header(HeaderName::Contact, &*contact)
            .header(HeaderName::ReferTo, format!("<{to}>"))
            .header(HeaderName::ReferSub, "false")
            .render()
    }

    /// The next request of ours (RFC 3261 §12.2.1.1).
    fn request(&mut self, cx: &mut Context<'_>, method: Method<'static>) -> RequestBuilder<'_> {
        self.cseq += 1;
        let via = format!(
            "SIP/2.0/{} {};branch=z9hG4bK{};rport",
            self.flow.transport.via_token(),
            self.flow.remote,
            String::from_utf8_lossy(&cx.rng.token::<16>())
        );
        let mut request = RequestBuilder::new(method, &*self.target)
            .via(via)
            .max_forwards(70)
            .from(&*self.local)
            .to(&*self.remote)
            .call_id(&*self.call_id)
            .cseq(self.cseq);
        for route in &self.routes {
            request = request.header(HeaderName::Route, &**route);
        }
        request
    }
}

/// Our Contact: what the proxy calls itself, since it is the way to us.
fn contact(name: &str, flow: &Flow) -> String {
    let transport = flow.transport.uri_token();
    format!("<sip:{name}@{};transport={transport}>", flow.remote)
}
