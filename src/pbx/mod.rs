//! F5: the services: what answers calls itself. It is a user agent server behind the proxy
//! (RFC 3261 §8.2, §12, §13), reached over a path inside the shard ([`Flow::internal`]), so that
//! forking, forwarding, records and the relay's ports are those of any call. No packet goes to
//! ourselves: messages are handed over, lossless and in order, so no transactions are needed on
//! this hop. What may be lost is on the caller's side: the 2xx is repeated until its ACK comes
//! (§13.3.1.4).
//!
//! | module | what |
//! | --- | --- |
//! | [`dialog`] | one call that ends here: its dialog, and the messages in it |
//! | [`service`] | which program a call came here for |
//! | [`program`] | what programs are made of: events, effects, the scene |
//! | [`voice`] | in which language, with whose tones |
//! | [`echo`], [`announce`], [`voicemail`] | the programs |

mod announce;
mod dialog;
mod echo;
mod program;
mod service;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod tests;
mod voice;
mod voicemail;

use crate::base::{Anchor, Flow, Instant, Key, Rng, Slab, TimerTable};
use crate::call::CallTable;
use crate::config::Config;
use crate::mailbox::Mailboxes;
use crate::media::{News, Order};
use crate::store::Record;
use crate::wire::sip::{HeaderName, Message, Method, ResponseBuilder, default_reason};
use bytes::Bytes;
use dialog::Dialog;
use program::{Caller, Effect, Event};
use std::collections::{HashMap, VecDeque};

/// What we understand in a request.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE";

/// Everything that the services use and do not own, for the time of one call.
#[derive(Debug)]
pub struct Context<'a> {
    /// The present.
    pub now: Instant,
    /// Ties the clock to the calendar.
    pub anchor: Anchor,
    /// As the operator wrote it.
    pub config: &'a Config,
    /// Whose messages there are; shared by all shards.
    pub mailboxes: &'a Mailboxes,
    /// The calls under way: which session of the media side a call has.
    pub calls: &'a CallTable,
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
    /// For the store.
    Persist(Record),
}

/// What waits for its time.
#[derive(Clone, Copy, Debug)]
enum Timer {
    /// The 2xx again.
    Ack(Key),
    /// A program's own.
    Program(Key, u32),
}

/// Call-ID and our tag.
type Name = (Box<[u8]>, Box<[u8]>);

/// The services of one shard. Bounded by the calls that it may have.
#[derive(Debug)]
pub struct Pbx {
    dialogs: Slab<Box<Dialog>>,
    by_name: HashMap<Name, Key>,
    by_session: HashMap<u64, Key>,
    /// Those without final answer, by the branch of their INVITE.
    by_branch: HashMap<Box<[u8]>, Key>,
    timers: TimerTable<Timer>,
    /// Dialogs that are not over.
    callers: usize,
    outputs: VecDeque<Output>,
}

impl Pbx {
    /// Without callers.
    pub fn new(config: &Config) -> Self {
        Self {
            dialogs: Slab::new(config.limits.calls_max),
            by_name: HashMap::new(),
            by_session: HashMap::new(),
            by_branch: HashMap::new(),
            timers: TimerTable::new(),
            callers: 0,
            outputs: VecDeque::new(),
        }
    }

    /// A message that the proxy sent here. Drain [`Pbx::poll_output`] afterwards.
    pub fn on_message(&mut self, cx: &mut Context<'_>, flow: &Flow, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes) else {
            return;
        };
        // Ours are answered at once, and nothing hangs on how.
        if !message.is_request() {
            return;
        }
        let known = self.dialog_of(&message);
        match (message.method(), known) {
            (Method::Ack, Some(key)) => self.on_ack(cx, key, &message),
            (Method::Ack, None) => {}
            (Method::Invite, None) if to_tag(&message).is_empty() => {
                self.on_call(cx, flow, &message);
            }
            (Method::Cancel, _) => self.on_cancel(cx, flow, &message),
            (Method::Bye, Some(key)) => {
                self.answer(flow, &message, 200);
                self.on_bye(cx, key);
            }
            (Method::Invite | Method::Update, Some(key)) => {
                self.on_reoffer(cx, key, flow, &message);
            }
            (Method::Info | Method::Options, Some(_)) => self.answer(flow, &message, 200),
            (_, Some(_)) => self.answer(flow, &message, 405),
            (_, None) => self.answer(flow, &message, 481),
        }
    }

    /// The studio has something to say.
    pub fn on_news(&mut self, cx: &mut Context<'_>, news: &News) {
        let Some(key) = self.by_session.get(&news.session()).copied() else {
            return;
        };
        match news {
            // A studio that was restarted knows nothing of its callers: they hear nothing any more.
            News::Failed { .. } => self.hang_up(cx, key),
            News::Done { task, .. } => self.follow(cx, key, Event::Done(*task)),
            News::Recorded { task, ms, end, .. } => {
                let (task, ms, end) = (*task, *ms, *end);
                self.follow(cx, key, Event::Recorded { task, ms, end });
            }
            News::Key { key: pressed, .. } => self.follow(cx, key, Event::Key(*pressed)),
            News::Measured { figures, .. } => self.follow(cx, key, Event::Measured(*figures)),
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

    /// Repeats answers whose ACK did not come; wakes programs.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        while let Some((_, timer)) = self.timers.pop_due(cx.now) {
            match timer {
                Timer::Ack(key) => self.on_timer(cx, key),
                Timer::Program(key, number) => {
                    if let Some(dialog) = self.dialogs.get_mut(key) {
                        dialog.woken(number, &mut self.timers);
                    }
                    self.follow(cx, key, Event::Due(number));
                    if self.dialogs.get(key).is_some_and(|d| d.is_idle()) {
                        self.forget(key);
                    }
                }
            }
        }
    }

    /// How many calls end here now, for checkers.
    pub fn len(&self) -> usize {
        self.callers
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.callers == 0
    }

    fn dialog_of(&self, message: &Message) -> Option<Key> {
        let tag = to_tag(message);
        if tag.is_empty() {
            return None;
        }
        let name = (message.call_id().into(), tag.into());
        self.by_name.get(&name).copied()
    }

    fn on_call(&mut self, cx: &mut Context<'_>, flow: &Flow, invite: &Message) {
        let Some(program) = service::program_of(invite) else {
            return self.answer(flow, invite, 404);
        };
        let Some(session) = cx.calls.session_of(invite) else {
            return self.answer(flow, invite, 481);
        };
        let caller = caller_of(cx, session, invite);
        let dialog = match Dialog::answer(cx, program, caller, flow, invite) {
            Ok(dialog) => Box::new(dialog),
            Err((status, reason)) => return self.refuse(flow, invite, status, reason),
        };
        let name = dialog.name();
        let key = match self.dialogs.insert(dialog) {
            Ok(key) => key,
            Err(_) => return self.refuse(flow, invite, 503, "Too Many Calls"),
        };
        self.callers += 1;
        self.by_name.insert(name, key);
        self.by_session.insert(session, key);
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        let bytes = dialog.last_answer();
        match dialog.early_branch() {
            Some(branch) => {
                self.by_branch.insert(branch.into(), key);
            }
            None => dialog.arm(cx, &mut self.timers, key),
        }
        self.send(*flow, bytes);
        self.open(cx, key);
    }

    /// A caller gave up while it was told something (RFC 3261 §9.2).
    fn on_cancel(&mut self, cx: &mut Context<'_>, flow: &Flow, cancel: &Message) {
        let found = branch_of(cancel).and_then(|branch| self.by_branch.get(&branch));
        let Some(key) = found.copied() else {
            return self.answer(flow, cancel, 481);
        };
        self.answer(flow, cancel, 200);
        self.fail(cx, key, 487);
    }

    /// A caller hung up. Before the answer that ends the INVITE, too (RFC 3261 §15).
    fn on_bye(&mut self, cx: &mut Context<'_>, key: Key) {
        match self.dialogs.get(key).map(|d| d.early_branch().is_some()) {
            Some(true) => self.fail(cx, key, 487),
            _ => self.end(cx, key),
        }
    }

    /// Something happened to a caller: what follows.
    fn follow(&mut self, cx: &mut Context<'_>, key: Key, event: Event) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        for effect in dialog.tell(cx, event) {
            self.carry_out(cx, key, effect);
        }
    }

    fn carry_out(&mut self, cx: &mut Context<'_>, key: Key, effect: Effect) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        let session = dialog.session();
        let order = match effect {
            Effect::HangUp | Effect::Fail(_) if dialog.is_over() => return self.forget(key),
            Effect::Measure | Effect::Do(..) | Effect::Connect(_) if dialog.is_over() => return,
            Effect::HangUp => return self.hang_up(cx, key),
            Effect::Fail(status) => return self.fail(cx, key, status),
            Effect::After(wait, number) => {
                return dialog.wake((cx.now + wait, number), &mut self.timers, key);
            }
            Effect::Connect(uri) => {
                let (flow, bytes) = (dialog.flow(), dialog.refer(cx, &uri));
                return self.send(flow, bytes);
            }
            Effect::Persist(record) => {
                return self.outputs.push_back(Output::Persist(record));
            }
            Effect::Measure => Order::Measure { session },
            Effect::Do(task, what) => Order::Do {
                session,
                task,
                what,
            },
        };
        self.outputs.push_back(Output::Media(order));
    }

    /// Ends a call from here: in this status if it was not answered yet.
    fn fail(&mut self, cx: &mut Context<'_>, key: Key, status: u16) {
        if let Some(dialog) = self.dialogs.get_mut(key) {
            let flow = dialog.flow();
            let bytes = match dialog.early_branch() {
                Some(_) => dialog.failure(status),
                None => Some(dialog.bye(cx)),
            };
            if let Some(bytes) = bytes {
                self.send(flow, bytes);
            }
        }
        self.end(cx, key);
    }

    /// Tells the studio what was agreed on, and begins the service where that is new.
    fn open(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        let Some(order) = dialog.order(cx) else {
            return;
        };
        let begins = dialog.begins();
        self.outputs.push_back(Output::Media(order));
        if begins {
            self.follow(cx, key, Event::Begin);
        }
    }

    fn on_ack(&mut self, cx: &mut Context<'_>, key: Key, ack: &Message) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        dialog.disarm(&mut self.timers);
        if dialog.acknowledged(ack) {
            self.open(cx, key);
        } else if dialog.disagrees() {
            self.hang_up(cx, key);
        }
    }

    fn on_reoffer(&mut self, cx: &mut Context<'_>, key: Key, flow: &Flow, request: &Message) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        match dialog.reoffered(cx, flow, request) {
            Ok(bytes) => {
                if request.method() == Method::Invite {
                    dialog.arm(cx, &mut self.timers, key);
                }
                self.send(*flow, bytes);
                self.open(cx, key);
            }
            Err((status, reason)) => self.refuse(flow, request, status, reason),
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        match dialog.repeat(cx, &mut self.timers, key) {
            Some(bytes) => {
                let flow = dialog.flow();
                self.send(flow, bytes);
            }
            None => self.hang_up(cx, key),
        }
    }

    /// Ends a call from here. Before the answer there is no BYE from this side (RFC 3261 §15).
    fn hang_up(&mut self, cx: &mut Context<'_>, key: Key) {
        self.fail(cx, key, 500);
    }

    /// A caller is gone. Its program may wait for what the studio has still to say.
    fn end(&mut self, cx: &mut Context<'_>, key: Key) {
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        if dialog.is_over() {
            return self.forget(key);
        }
        dialog.silence(&mut self.timers);
        if let Some(branch) = dialog.early_branch() {
            self.by_branch.remove(branch);
        }
        self.by_name.remove(&dialog.name());
        let close = Order::Close {
            session: dialog.session(),
        };
        self.outputs.push_back(Output::Media(close));
        self.callers -= 1;
        let effects = dialog.over(cx);
        let lingers = effects.iter().any(|e| matches!(e, Effect::After(..)));
        for effect in effects {
            self.carry_out(cx, key, effect);
        }
        if !lingers {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: Key) {
        if let Some(mut dialog) = self.dialogs.remove(key) {
            dialog.silence(&mut self.timers);
            self.by_session.remove(&dialog.session());
        }
    }

    fn answer(&mut self, flow: &Flow, request: &Message, status: u16) {
        self.refuse(flow, request, status, default_reason(status));
    }

    fn refuse(&mut self, flow: &Flow, request: &Message, status: u16, reason: &str) {
        let mut response = ResponseBuilder::new(request, status).reason(reason);
        if status == 405 {
            response = response.header(HeaderName::Allow, ALLOW);
        }
        self.send(*flow, response.to_tag("none").render());
    }

    fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.outputs.push_back(Output::Message { flow, bytes });
    }
}

/// Who calls, as the proxy let it in.
fn caller_of(cx: &Context<'_>, session: u64, invite: &Message) -> Caller {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into();
    let from = invite.from().ok();
    let uri = from.as_ref().and_then(|from| from.uri().ok());
    let user = uri.map(|uri| text(&uri.user_unescaped()));
    let name = from.as_ref().and_then(|from| from.display_unescaped());
    Caller {
        user: cx.calls.user_of(session).map(Box::from),
        number: user
            .filter(|user: &Box<str>| &**user != "anonymous")
            .unwrap_or_default(),
        name: name.map(|name| text(&name)).unwrap_or_default(),
        session,
    }
}

fn to_tag(message: &Message) -> &[u8] {
    let to = message.to().ok();
    to.and_then(|to| to.tag()).unwrap_or_default()
}

fn branch_of(message: &Message) -> Option<Box<[u8]>> {
    let via = message.top_via().ok()?;
    via.branch().map(Box::from)
}
