//! F5: the services: what answers calls itself, and what calls on behalf of whom it answered. It is
//! a user agent behind the proxy (RFC 3261 §8, §12, §13; a B2BUA where it is both, RFC 7092),
//! reached over a path inside the shard ([`Flow::internal`]), so that forking, forwarding, records
//! and the relay's ports are those of any call. No packet goes to ourselves: messages are handed
//! over, lossless and in order, so no transactions are needed on this hop. What may be lost is on
//! the far side: the 2xx is repeated until its ACK comes (§13.3.1.4).
//!
//! | module | what |
//! | --- | --- |
//! | [`leg`] | one call that ends here, from either side: its INVITE |
//! | [`dialog`] | its dialog: names, route set, numbers |
//! | [`talk`] | its offers and answers |
//! | [`early`] | who answers provisionally |
//! | [`inbound`], [`outbound`] | calls that come, calls that are made |
//! | [`joined`] | two legs that hear each other |
//! | [`keys`] | keys of one to the other, by INFO |
//! | [`taping`] | whether they are recorded |
//! | [`transfer`] | legs that change places: REFER, Replaces |
//! | [`seat`] | the program that serves a caller, and its timers |
//! | [`program`] | what programs are made of: events, effects, the scene |
//! | [`service`] | which program a call came here for |
//! | [`voice`] | in which language, with whose tones |
//! | [`rooms`] | who is in which conference, for all shards |
//! | [`echo`], [`announce`], [`bridge`], [`conference`] | programs |
//! | [`page`] | many phones that listen to one |
//! | [`park`], [`across`] | parking, and two of different shards that talk |
//! | [`voicemail`], [`menu`], [`disa`], [`queue`], [`agent`] | and more of them |
//! | [`spell`] | the directory by name |

mod across;
mod agent;
mod announce;
mod bridge;
mod call_back;
mod conference;
mod dialog;
mod disa;
mod early;
mod echo;
mod inbound;
mod joined;
mod keys;
mod leg;
mod menu;
mod outbound;
mod page;
mod park;
mod program;
mod queue;
pub mod rooms;
mod seat;
mod service;
mod spell;
#[cfg(test)]
mod stage;
mod talk;
mod taping;
#[cfg(test)]
mod tests;
mod transfer;
mod voice;
mod voicemail;

use crate::base::{Anchor, Flow, Instant, Key, Rng, Slab, TimerTable, hash64, shard_of};
use crate::call::CallTable;
use crate::config::Config;
use crate::mailbox::Mailboxes;
use crate::media::{News, Order};
use crate::sip::session_timer::INTERVAL_MIN;
use crate::store::Record;
use crate::wire::sip::{HeaderName, Message, Method, ResponseBuilder, default_reason};
use bytes::Bytes;
use leg::Leg;
pub use program::House;
use program::{Effect, Event};
use rooms::{Address, Roster, Wish};
use std::collections::{HashMap, VecDeque};

/// What we understand in a request.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY";
/// Who asks for something that cannot be yet is to wait no longer (RFC 3261 §14.2).
const RETRY_AFTER_MAX_S: u64 = 10;
/// The extensions that we know.
const SUPPORTED: &str = "100rel, replaces, timer";

/// Everything that the services use and do not own, for the time of one call.
#[derive(Debug)]
pub struct Context<'a> {
    /// The present.
    pub now: Instant,
    /// Ties the clock to the calendar.
    pub anchor: Anchor,
    /// This shard, and how many there are.
    pub shard: (usize, usize),
    /// As the operator wrote it.
    pub config: &'a Config,
    /// What the whole system knows.
    pub house: House<'a>,
    /// Whose messages there are; shared by all shards.
    pub mailboxes: &'a Mailboxes,
    /// The calls under way: which session of the media side a call has.
    pub calls: &'a CallTable,
    /// Who is in which conference; shared by all shards.
    pub rooms: &'a Roster,
    /// For tags and names.
    pub rng: &'a mut Rng,
}

/// What the services want done.
#[derive(Debug)]
pub enum Output {
    /// A message for the proxy.
    Message {
        /// As which it comes.
        flow: Flow,
        /// The message.
        bytes: Bytes,
    },
    /// For the studio.
    Media(Order),
    /// For the record of a call.
    Note {
        /// Its session of the media side.
        session: u64,
        /// What is added.
        text: Box<str>,
    },
    /// For the store.
    Persist(Record),
    /// A member of a conference, maybe of another shard, is wanted to do something:
    /// [`Pbx::on_wish`].
    Tell(Address, Wish),
    /// A call of this Call-ID, which is another shard's, has taken a place here, or is over.
    Detour {
        /// Whose messages are to come here.
        call_id: Box<[u8]>,
        /// Whether the call is up.
        lasts: bool,
    },
}

/// Status and reason phrase.
type Refusal = (u16, &'static str);

/// What waits for its time.
#[derive(Clone, Copy, Debug)]
enum Timer {
    /// The 2xx again.
    Ack(Key),
    /// A reliable provisional answer again.
    Reliable(Key),
    /// The session's refresh, or its end.
    Session(Key),
    /// A program's own.
    Program(Key, u32),
    /// Somebody's phone rang long enough.
    Patience(Key),
    /// There was no room for a call that a program wanted.
    Unreachable(Key),
}

/// Call-ID and our tag.
type Name = (Box<[u8]>, Box<[u8]>);

/// The services of one shard. Bounded by the calls that it may have.
#[derive(Debug)]
pub struct Pbx {
    legs: Slab<Box<Leg>>,
    by_name: HashMap<Name, Key>,
    by_session: HashMap<u64, Key>,
    /// Those without final answer, by the branch of their INVITE.
    by_branch: HashMap<Box<[u8]>, Key>,
    timers: TimerTable<Timer>,
    /// Legs whose dialog is not over.
    living: usize,
    outputs: VecDeque<Output>,
}

impl Pbx {
    /// Without callers.
    pub fn new(config: &Config) -> Self {
        Self {
            legs: Slab::new(config.limits.calls_max),
            by_name: HashMap::new(),
            by_session: HashMap::new(),
            by_branch: HashMap::new(),
            timers: TimerTable::new(),
            living: 0,
            outputs: VecDeque::new(),
        }
    }

    /// A message that the proxy sent here. Drain [`Pbx::poll_output`] afterwards.
    pub fn on_message(&mut self, cx: &mut Context<'_>, flow: &Flow, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes) else {
            return;
        };
        if !message.is_request() {
            return self.on_response(cx, &message);
        }
        let known = self.leg_of(&message);
        match (message.method(), known) {
            (Method::Ack, Some(key)) => self.on_ack(cx, key, &message),
            (Method::Ack, None) => {}
            (Method::Invite, None) if to_tag(&message).is_empty() => {
                self.on_call(cx, flow, &message);
            }
            (Method::Cancel, _) => self.on_cancel(cx, flow, &message),
            (_, Some(key)) => self.on_request(cx, key, flow, &message),
            (_, None) => self.refuse_unknown(cx, flow, &message, 481),
        }
    }

    /// A request in a dialog.
    fn on_request(&mut self, cx: &mut Context<'_>, key: Key, flow: &Flow, request: &Message) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if !leg.dialog.is_from(request) {
            return self.answer(key, flow, request, (481, "Call/Transaction Does Not Exist"));
        }
        // RFC 3261 §12.2.2: it came out of order.
        if !leg.dialog.hear(request) {
            return self.answer(key, flow, request, (500, "Out Of Order"));
        }
        leg.dialog.flow = *flow;
        match request.method() {
            Method::Bye => {
                self.answer(key, flow, request, (200, "OK"));
                self.on_bye(cx, key);
            }
            Method::Invite | Method::Update => self.on_reoffer(cx, key, flow, request),
            Method::Info => {
                self.answer(key, flow, request, (200, "OK"));
                self.on_info(cx, key, request);
            }
            Method::Prack => self.on_prack(cx, key, flow, request),
            Method::Refer => self.on_refer(cx, key, flow, request),
            Method::Options => self.answer(key, flow, request, (200, "OK")),
            _ => self.answer(key, flow, request, (405, "Method Not Allowed")),
        }
    }

    /// The studio has something to say.
    pub fn on_news(&mut self, cx: &mut Context<'_>, news: &News) {
        // Whoever asked for that may be gone.
        if let News::Room { room, what, .. } = news {
            if let Some((whom, wish)) = conference::on_room_news(cx.rooms, room, what) {
                self.outputs.push_back(Output::Tell(whom, wish));
            }
            return;
        }
        let Some(key) = self.by_session.get(&news.session()).copied() else {
            return;
        };
        if self.on_tape_news(cx, key, news) {
            return;
        }
        match news {
            News::Room { .. } => {}
            News::Failed { .. } => self.bereave(cx, key),
            News::Done { task, .. } => self.follow(cx, key, Event::Done(*task)),
            News::Key { key: pressed, .. } => self.on_event_key(cx, key, *pressed),
            News::Measured { figures, .. } => self.follow(cx, key, Event::Measured(*figures)),
            News::Talking { talks, .. } => self.follow(cx, key, Event::Talking(*talks)),
            News::Recorded { task, ms, end, .. } => {
                let (task, ms, end) = (*task, *ms, *end);
                self.follow(cx, key, Event::Recorded { task, ms, end });
            }
            News::Filed { task, outcome, .. } => {
                let (task, outcome) = (*task, outcome.clone());
                self.follow(cx, key, Event::Filed { task, outcome });
            }
        }
    }

    /// A key of a leg.
    fn on_key(&mut self, cx: &mut Context<'_>, key: Key, pressed: char) {
        self.on_tape_key(cx, key, pressed);
        self.follow(cx, key, Event::Key(pressed));
    }

    /// Something is wanted of a member of a conference, who may be gone.
    pub fn on_wish(&mut self, cx: &mut Context<'_>, session: u64, wish: Wish) {
        if let Wish::Bring(ask) = &wish {
            return self.bring(cx, ask);
        }
        let key = self.by_session.get(&session).copied();
        if self.on_brought(cx, key, &wish) {
            return;
        }
        if let Some(key) = key
            && !self.on_tape_wish(cx, key, &wish)
        {
            self.follow(cx, key, Event::Told(wish));
        }
    }

    /// What to do next, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Pbx::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Repeats answers whose ACK did not come; wakes programs; loses patience.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some((_, timer)) = self.timers.pop_due(cx.now) {
            match timer {
                Timer::Ack(key) => self.on_unacknowledged(cx, key),
                Timer::Reliable(key) => self.on_unreliable(cx, key),
                Timer::Session(key) => self.on_session(cx, key),
                Timer::Patience(key) => self.on_patience(cx, key),
                Timer::Unreachable(key) => self.unreachable(cx, key),
                Timer::Program(key, number) => self.on_due(cx, key, number),
            }
        }
    }

    /// How many calls end here now, for checkers.
    pub fn len(&self) -> usize {
        self.living
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.living == 0
    }

    fn leg_of(&self, message: &Message) -> Option<Key> {
        let tag = match message.is_request() {
            true => to_tag(message),
            false => message.from_tag()?,
        };
        if tag.is_empty() {
            return None;
        }
        let name = (message.call_id().into(), tag.into());
        self.by_name.get(&name).copied()
    }

    // ------------------------------------------------------------ programs

    /// Something happened to a caller: what follows.
    fn follow(&mut self, cx: &mut Context<'_>, key: Key, event: Event) {
        let leg = self.legs.get_mut(key);
        let Some(seat) = leg.and_then(|leg| leg.seat.as_mut()) else {
            return;
        };
        for effect in seat.tell(cx, event) {
            self.carry_out(cx, key, effect);
        }
    }

    fn carry_out(&mut self, cx: &mut Context<'_>, key: Key, effect: Effect) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        let Some(seat) = leg.seat.as_mut() else {
            return;
        };
        match effect {
            Effect::After(wait, number) => {
                return seat.wake((cx.now + wait, number), &mut self.timers, key);
            }
            Effect::Still => return seat.silence(&mut self.timers),
            Effect::Note(text) => {
                if let Some(session) = leg.session {
                    self.outputs.push_back(Output::Note { session, text });
                }
                return;
            }
            Effect::Persist(record) => {
                return self.outputs.push_back(Output::Persist(record));
            }
            Effect::Tell(whom, wish) => {
                for address in whom {
                    self.outputs.push_back(Output::Tell(address, wish.clone()));
                }
                return;
            }
            Effect::Meet(meeting) => return self.meet_in_room(cx, key, meeting),
            Effect::Fares(status) => return self.notify(cx, key, status, status >= 200),
            // Files outlive the call that they are of.
            Effect::File(task, what) => {
                if let Some(session) = leg.session {
                    let order = Order::Files {
                        session,
                        task,
                        what,
                    };
                    self.outputs.push_back(Output::Media(order));
                }
                return;
            }
            Effect::CallBack(back) => return self.call_back(cx, key, *back),
            Effect::HangUp | Effect::Fail(_) if seat.is_over() => return self.forget(key),
            _ if seat.is_over() => return,
            Effect::HangUp => return self.hang_up(cx, key),
            Effect::Fail(status) => return self.fail(cx, key, (status, default_reason(status))),
            Effect::Ring => return self.ring(cx, key),
            Effect::Early => return self.open_early(cx, key),
            Effect::Answer => return self.take(cx, key),
            Effect::Connect(reach) => return self.connect(cx, key, &reach),
            Effect::Summon(reach, join) => return self.summon(cx, key, (&reach, *join)),
            Effect::Disconnect => return self.let_go(cx, key),
            Effect::Measure | Effect::Do(..) | Effect::Room(_) => {}
        }
        let Some(session) = leg.session.filter(|_| leg.opened) else {
            return;
        };
        let order = match effect {
            Effect::Room(what) => Order::Room { session, what },
            Effect::Do(task, what) => Order::Do {
                session,
                task,
                what,
            },
            _ => Order::Measure { session },
        };
        self.outputs.push_back(Output::Media(order));
    }

    fn on_due(&mut self, cx: &mut Context<'_>, key: Key, number: u32) {
        if let Some(seat) = self.legs.get_mut(key).and_then(|leg| leg.seat.as_mut()) {
            seat.woken(number, &mut self.timers);
        }
        self.follow(cx, key, Event::Due(number));
        let leg = self.legs.get(key);
        if leg.is_some_and(|leg| leg.seat.as_ref().is_some_and(|seat| seat.is_idle())) {
            self.forget(key);
        }
    }

    // ------------------------------------------------------------ the end

    /// Ends a leg from here, and what hangs on it. Before the answer there is no BYE from this
    /// side (RFC 3261 §15).
    fn hang_up(&mut self, cx: &mut Context<'_>, key: Key) {
        self.fail(cx, key, (500, default_reason(500)));
    }

    /// Ends a leg from here: in this status if it was not answered yet.
    fn fail(&mut self, cx: &mut Context<'_>, key: Key, (status, reason): (u16, &str)) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if leg.sent.is_some() {
            return self.give_up(cx, key);
        }
        let branch = leg.branch().map(Box::<[u8]>::from);
        let bytes = match leg.failure(status, reason) {
            Some(refusal) => refusal,
            None => leg.request(Method::Bye, cx.rng),
        };
        let flow = leg.dialog.flow;
        if let Some(branch) = branch {
            self.by_branch.remove(&branch);
        }
        self.send(flow, bytes);
        self.over(cx, key);
    }

    /// A leg's dialog is over, whoever ended it.
    fn over(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(leg) = self.legs.get_mut(key) else {
            return;
        };
        if leg.seat.as_ref().is_some_and(|seat| seat.is_over()) {
            return self.forget(key);
        }
        leg.silence(&mut self.timers);
        if let Some(branch) = leg.branch() {
            self.by_branch.remove(branch);
        }
        let name = leg.dialog.name();
        self.by_name.remove(&name);
        let caller = leg.caller;
        self.detour(cx, &name.0, false);
        self.living -= 1;
        self.close(key);
        match caller {
            Some(caller) => {
                self.forget(key);
                self.lost(cx, caller, key, Event::Parted);
            }
            None => self.unseat(cx, key),
        }
    }

    /// A call took a place here, or is over: whether its messages come here by themselves.
    fn detour(&mut self, cx: &Context<'_>, call_id: &[u8], lasts: bool) {
        let (shard, shards) = cx.shard;
        if shard_of(call_id, shards) != shard {
            let call_id = call_id.into();
            self.outputs.push_back(Output::Detour { call_id, lasts });
        }
    }

    /// A caller is gone. Its program may wait for what the studio has still to say.
    fn unseat(&mut self, cx: &mut Context<'_>, key: Key) {
        self.let_go(cx, key);
        let leg = self.legs.get_mut(key);
        let seat = leg.and_then(|leg| leg.seat.as_mut());
        let guests = seat.map(|seat| std::mem::take(&mut seat.guests));
        for guest in guests.into_iter().flatten() {
            self.hang_up(cx, guest);
        }
        let leg = self.legs.get_mut(key);
        let Some(seat) = leg.and_then(|leg| leg.seat.as_mut()) else {
            return self.forget(key);
        };
        seat.silence(&mut self.timers);
        seat.over();
        let effects = seat.tell(cx, Event::Ended);
        let lingers = effects.iter().any(|e| matches!(e, Effect::After(..)));
        for effect in effects {
            self.carry_out(cx, key, effect);
        }
        if !lingers {
            self.forget(key);
        }
    }

    /// A studio that was restarted knows nothing of its callers: they hear nothing any more, and of
    /// those who are gone it has no last word, so that no program waits for it.
    fn bereave(&mut self, cx: &mut Context<'_>, key: Key) {
        let leg = self.legs.get(key);
        let seat = leg.and_then(|leg| leg.seat.as_ref());
        if !seat.is_some_and(|seat| seat.is_over()) {
            self.hang_up(cx, key);
        }
        let leg = self.legs.get(key);
        let seat = leg.and_then(|leg| leg.seat.as_ref());
        let number = seat.filter(|seat| seat.is_over()).and_then(|s| s.alarm());
        if let Some(number) = number {
            self.on_due(cx, key, number);
        }
    }

    fn forget(&mut self, key: Key) {
        if let Some(mut leg) = self.legs.remove(key) {
            leg.silence(&mut self.timers);
            if let Some(seat) = &mut leg.seat {
                seat.silence(&mut self.timers);
            }
            if let Some(session) = leg.session {
                self.by_session.remove(&session);
            }
        }
    }

    // ------------------------------------------------------------ messages

    /// Answers a request in a dialog, without a description.
    fn answer(&mut self, key: Key, flow: &Flow, request: &Message, (status, reason): Refusal) {
        let Some(leg) = self.legs.get(key) else {
            return;
        };
        let bytes = bare(request, (status, reason), leg.dialog.tag());
        self.send(*flow, bytes);
    }

    /// Answers a request that belongs to no leg.
    fn refuse_unknown(&mut self, cx: &mut Context<'_>, flow: &Flow, request: &Message, why: u16) {
        self.refuse(cx, flow, request, (why, default_reason(why)));
    }

    fn refuse(&mut self, cx: &mut Context<'_>, flow: &Flow, request: &Message, why: (u16, &str)) {
        let tag = cx.rng.token::<10>();
        self.send(*flow, bare(request, why, &tag));
    }

    fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.outputs.push_back(Output::Message { flow, bytes });
    }
}

/// An answer without a description, with what its status has to say.
fn bare(request: &Message, (status, reason): (u16, &str), tag: &[u8]) -> Bytes {
    let response = ResponseBuilder::new(request, status).reason(reason);
    let response = match status {
        405 => response.header(HeaderName::Allow, ALLOW),
        422 => response.header(HeaderName::MinSe, INTERVAL_MIN.as_secs().to_string()),
        // RFC 3261 §14.2: after a time up to ten seconds that is not the same for everybody.
        500 => {
            let wait = hash64(request.call_id()) % (RETRY_AFTER_MAX_S + 1);
            response.header(HeaderName::RetryAfter, wait.to_string())
        }
        _ => response,
    };
    response.to_tag(tag).render()
}

fn to_tag(message: &Message) -> &[u8] {
    message.to_tag().unwrap_or_default()
}

fn branch_of(message: &Message) -> Option<Box<[u8]>> {
    let via = message.top_via().ok()?;
    via.branch().map(Box::from)
}
