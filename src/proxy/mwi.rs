//! Telling phones that messages wait (RFC 3842): to those that asked by SUBSCRIBE, and unasked to
//! those that did not.
//!
//! The notifier of one shard (RFC 6665 §4.2). A subscription belongs to the shard of its Call-ID.
//! Only the owner's proven phone may subscribe to a mailbox. Each NOTIFY goes along the flow that
//! the last SUBSCRIBE came by, so that NATs and connections do not stand in its way.
//!
//! ```text
//!   SUBSCRIBE --> Active --(Expires over)--> NOTIFY terminated;timeout --> gone
//!                  ^  |  +--(Expires: 0)---> NOTIFY terminated;timeout --> gone
//!   refresh -------+  +--(NOTIFY refused, unanswered)-------------------> gone
//! ```
//! A phone that is in no subscription of its user is told unasked: after it registers, when the
//! number of messages changes, and when its subscription fails. So do phones learn it that know no
//! subscriptions, whatever the user's other phones know.

use super::Context;
use crate::base::{Destination, Flow, Instant, Key, Rng, Slab, TimerId, TimerTable};
use crate::base::{call_id_of, shard_of};
use crate::location::{Binding, Reach};
use crate::mailbox::{Mailboxes, Subscriber};
use crate::wire::sip::{HeaderName, Message, Method, RequestBuilder, ResponseBuilder, Uri};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Subscriptions of one shard.
pub const SUBSCRIPTIONS_MAX: usize = 100_000;
/// Subscriptions of one user in one shard.
pub const PER_USER_MAX: usize = 20;
/// Phones that wait to be told unasked, in one shard; more are not told.
pub const GREETINGS_MAX: usize = 100_000;
/// Phones that are told unasked at a time of one user.
const CONTACTS_MAX: usize = 20;
/// The event package, and the body's type (RFC 3842 §3.2, §5.1).
const EVENT: &str = "message-summary";
const BODY_TYPE: &str = "application/simple-message-summary";
/// Seconds that a subscription lasts: without a wish, and at least and most.
const EXPIRES_S: u32 = 3600;
const EXPIRES_MIN_S: u32 = 60;
const EXPIRES_MAX_S: u32 = 86_400;
/// A phone that registers and means to subscribe does so before it is told unasked.
const GREETING_WAIT: Duration = Duration::from_secs(3);
/// The user part of our Contact.
const USER: &[u8] = b"message-waiting";
/// Where a Contact without a port is, as far as one phone is told from another.
const PORT: u16 = 5060;
/// Route values of a subscription.
const ROUTES_MAX: usize = 8;

/// A NOTIFY to send, without Via.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Names it for [`Notifier::answered`]; zero is one whose answer does not matter. Below 2^61.
    pub id: u64,
    /// The request.
    pub request: Bytes,
    /// Where to.
    pub to: Destination,
}

/// Call-ID and our tag.
type Name = (Box<[u8]>, Box<[u8]>);

#[derive(Debug)]
struct Subscription {
    aor: Arc<str>,
    name: Name,
    /// Our side with our tag, the From of our requests.
    local: Box<[u8]>,
    /// The phone's, with its tag.
    remote: Box<[u8]>,
    /// The phone's Contact.
    target: Box<[u8]>,
    routes: Box<[Box<[u8]>]>,
    contact: Box<str>,
    flow: Flow,
    /// Of our last request.
    cseq: u32,
    /// Of the phone's last SUBSCRIBE.
    heard: u32,
    expires: Instant,
    timer: Option<TimerId>,
    /// A NOTIFY is out; whether there is more to tell behind it.
    under_way: bool,
    again: bool,
}

#[derive(Debug)]
enum Wake {
    Expires(Key),
    Greets { aor: Arc<str>, serial: u64 },
}

/// The subscriptions of one shard.
#[derive(Debug)]
pub struct Notifier {
    subscriptions: Slab<Box<Subscription>>,
    by_name: HashMap<Name, Key>,
    by_aor: HashMap<Arc<str>, SmallVec<[Key; 2]>>,
    timers: TimerTable<Wake>,
    greetings: usize,
    /// Of NOTIFYs that nobody asked for.
    sent: u64,
    shard: (usize, usize),
    outputs: VecDeque<Notice>,
}

impl Notifier {
    /// Nobody asked yet.
    pub fn new(shard: (usize, usize)) -> Self {
        Self {
            subscriptions: Slab::new(SUBSCRIPTIONS_MAX),
            by_name: HashMap::new(),
            by_aor: HashMap::new(),
            timers: TimerTable::new(),
            greetings: 0,
            sent: 0,
            shard,
            outputs: VecDeque::new(),
        }
    }

    /// Whether a request is a SUBSCRIBE to message waiting.
    pub(super) fn is_for_us(message: &Message) -> bool {
        let event = message.header(HeaderName::Event).unwrap_or_default();
        let package = event.split(|b| *b == b';').next().unwrap_or_default();
        message.method() == Method::Subscribe
            && package.trim_ascii().eq_ignore_ascii_case(EVENT.as_bytes())
    }

    /// Whether a SUBSCRIBE goes to our Contact: in a dialog that we do not know any more, after a
    /// restart, it wants a 481, so that the phone subscribes anew (RFC 6665 §4.1.2.4).
    pub(super) fn was_for_us(message: &Message) -> bool {
        let uri = Uri::parse(message.request_uri());
        Self::is_for_us(message) && uri.is_ok_and(|uri| uri.user() == Some(USER))
    }

    /// A SUBSCRIBE in a dialog of ours; `None` if it is none.
    pub(super) fn refresh(
        &mut self,
        cx: &mut Context<'_>,
        flow: &Flow,
        message: &Message,
    ) -> Option<Bytes> {
        let tag = message.to().ok()?.tag()?;
        let name = (message.call_id().into(), tag.into());
        let key = *self.by_name.get(&name)?;
        let number = message.cseq().ok()?.number;
        let subscription = self.subscriptions.get_mut(key)?;
        // RFC 3261 §12.2.2.
        if number <= subscription.heard {
            let late = ResponseBuilder::new(message, 500).reason("Out Of Order");
            return Some(late.render());
        }
        let expires = match wanted(message) {
            Ok(seconds) => seconds,
            Err(refusal) => return Some(refusal.render(message, tag)),
        };
        subscription.heard = number;
        let before = subscription.phone();
        subscription.flow = *flow;
        if let Some(Ok(target)) = message.addresses(HeaderName::Contact).next() {
            subscription.target = target.uri_bytes().into();
        }
        let after = subscription.phone();
        if before != after {
            cx.mailboxes.unsubscribed(&subscription.aor, &before);
            cx.mailboxes.subscribed(&subscription.aor, after);
        }
        let contact = subscription.contact.clone();
        self.prolong(cx, key, expires);
        Some(granted(message, tag, &contact, expires))
    }

    /// A SUBSCRIBE of the user `aor` to the own mailbox: its answer.
    pub(super) fn subscribe(
        &mut self,
        cx: &mut Context<'_>,
        flow: &Flow,
        message: &Message,
        aor: &str,
    ) -> Bytes {
        let tag = cx.rng.token::<10>();
        let made = self.made(cx, flow, message, aor, &tag);
        let (subscription, expires) = match made {
            Ok(made) => made,
            Err(refusal) => return refusal.render(message, &tag),
        };
        let (contact, name) = (subscription.contact.clone(), subscription.name.clone());
        let (aor, phone) = (Arc::clone(&subscription.aor), subscription.phone());
        let Ok(key) = self.subscriptions.insert(subscription) else {
            return Refusal::plain(503, "Too Many Subscriptions").render(message, &tag);
        };
        self.by_name.insert(name, key);
        self.by_aor.entry(Arc::clone(&aor)).or_default().push(key);
        cx.mailboxes.subscribed(&aor, phone);
        self.prolong(cx, key, expires);
        granted(message, &tag, &contact, expires)
    }

    fn made(
        &self,
        cx: &Context<'_>,
        flow: &Flow,
        message: &Message,
        aor: &str,
        tag: &[u8],
    ) -> Result<(Box<Subscription>, u32), Refusal> {
        let expires = wanted(message)?;
        let malformed = || Refusal::plain(400, "Malformed Subscription");
        let target = match message.addresses(HeaderName::Contact).next() {
            Some(Ok(target)) => target.uri_bytes().into(),
            _ => return Err(Refusal::plain(400, "Missing Contact")),
        };
        let to = message.header(HeaderName::To).ok_or_else(malformed)?;
        let from = message.header(HeaderName::From).ok_or_else(malformed)?;
        let mine = self.by_aor.get(aor).map_or(0, |keys| keys.len());
        if mine >= PER_USER_MAX {
            return Err(Refusal::plain(503, "Too Many Subscriptions"));
        }
        let ours = cx
            .listeners
            .sent_by_of(flow.transport, flow.local, flow.remote)
            .ok_or_else(malformed)?;
        let transport = flow.transport.uri_token();
        let routes = message.values(HeaderName::RecordRoute);
        let subscription = Subscription {
            aor: aor.into(),
            name: (message.call_id().into(), tag.into()),
            local: [to, b";tag=", tag].concat().into(),
            remote: from.into(),
            target,
            // RFC 3261 §12.1.1: as they stand, for the side that is called.
            routes: routes.take(ROUTES_MAX).map(Box::from).collect(),
            contact: format!(
                "<sip:{}@{ours};transport={transport}>",
                String::from_utf8_lossy(USER)
            )
            .into(),
            flow: *flow,
            cseq: 0,
            heard: message.cseq().map_or(0, |cseq| cseq.number),
            expires: cx.now,
            timer: None,
            under_way: false,
            again: false,
        };
        Ok((Box::new(subscription), expires))
    }

    /// RFC 6665 §4.2.1.2: each SUBSCRIBE is followed by a NOTIFY at once.
    fn prolong(&mut self, cx: &Context<'_>, key: Key, expires_s: u32) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        if let Some(timer) = subscription.timer.take() {
            self.timers.cancel(timer);
        }
        subscription.expires = cx.now + Duration::from_secs(expires_s.into());
        if expires_s == 0 {
            return self.end(cx, key);
        }
        let timer = self.timers.arm(subscription.expires, Wake::Expires(key));
        subscription.timer = Some(timer);
        self.tell(cx, key);
    }

    /// What there is now, to one subscriber.
    fn tell(&mut self, cx: &Context<'_>, key: Key) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut subscription.under_way, true) {
            subscription.again = true;
            return;
        }
        subscription.again = false;
        let left = subscription.expires.since(cx.now).as_secs();
        let state = format!("active;expires={left}");
        let request = subscription.notify(cx, &state);
        let to = Destination::Flow(subscription.flow);
        let id = name_of(key);
        self.outputs.push_back(Notice { id, request, to });
    }

    /// The last word to a subscriber.
    fn end(&mut self, cx: &Context<'_>, key: Key) {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            let request = subscription.notify(cx, "terminated;reason=timeout");
            let to = Destination::Flow(subscription.flow);
            let id = 0;
            self.outputs.push_back(Notice { id, request, to });
        }
        self.forget(cx.mailboxes, key);
    }

    fn forget(&mut self, mailboxes: &Mailboxes, key: Key) {
        let Some(subscription) = self.subscriptions.remove(key) else {
            return;
        };
        if let Some(timer) = subscription.timer {
            self.timers.cancel(timer);
        }
        self.by_name.remove(&subscription.name);
        if let Some(keys) = self.by_aor.get_mut(&subscription.aor) {
            keys.retain(|k| *k != key);
            if keys.is_empty() {
                self.by_aor.remove(&subscription.aor);
            }
        }
        mailboxes.unsubscribed(&subscription.aor, &subscription.phone());
    }

    /// The counts of a mailbox changed: its subscribers in this shard are told, and by one shard
    /// the phones that did not ask.
    pub fn changed(&mut self, cx: &mut Context<'_>, aor: &Arc<str>) {
        for key in self.by_aor.get(aor).cloned().unwrap_or_default() {
            self.tell(cx, key);
        }
        let (shard, shards) = self.shard;
        if shard_of(aor.as_bytes(), shards) == shard {
            self.greet_others(cx, aor);
        }
    }

    /// Tells those phones of a user that are in no subscription, of any shard.
    fn greet_others(&mut self, cx: &mut Context<'_>, aor: &str) {
        let subscribers = cx.mailboxes.subscribers(aor);
        let all = cx.location.lookup(aor).into_iter();
        let others = all.filter(|binding| !subscribers.iter().any(|phone| is_of(phone, binding)));
        for binding in others.take(CONTACTS_MAX) {
            self.greet(cx, &binding);
        }
    }

    /// A phone of a user registered anew: it is told unasked, unless it asked or asks meanwhile.
    pub fn registered(&mut self, cx: &Context<'_>, aor: &str, serial: u64) {
        let counts = cx.mailboxes.counts(aor);
        let wanted = counts.new + counts.saved > 0
            || cx.mailboxes.takes_calls(aor, cx.config.voicemail.enabled);
        if wanted && self.greetings < GREETINGS_MAX {
            self.greetings += 1;
            let aor = aor.into();
            let wake = Wake::Greets { aor, serial };
            self.timers.arm(cx.now + GREETING_WAIT, wake);
        }
    }

    /// Tells a phone unasked.
    fn greet(&mut self, cx: &mut Context<'_>, binding: &Binding) {
        if binding.reach() != Reach::Flow {
            return;
        }
        let aor = binding.aor();
        let (name, domain) = aor.rsplit_once('@').unwrap_or((aor, "localhost"));
        self.sent += 1;
        let (shard, shards) = self.shard;
        let call_id = call_id(cx.rng, domain, shard, shards);
        let tag = cx.rng.token::<10>();
        let tag = String::from_utf8_lossy(&tag);
        let uri = binding.target();
        let address = format!("<sip:{}@{domain}>", crate::call::inside::escape(name));
        let mut request = RequestBuilder::new(Method::Notify, uri)
            .from(format!("{address};tag={tag}"))
            .to(address)
            .call_id(&call_id)
            .cseq(1)
            .max_forwards(70)
            .header(HeaderName::Event, EVENT)
            .header(HeaderName::SubscriptionState, "terminated");
        for hop in binding.path() {
            request = request.header(HeaderName::Route, hop);
        }
        let request = request.body(BODY_TYPE, summary(cx, aor)).render();
        let to = Destination::Flow(*binding.flow());
        self.outputs.push_back(Notice { id: 0, request, to });
    }

    /// A final answer to a NOTIFY; zero for none. RFC 6665 §4.2.2 names those that end it.
    pub fn answered(&mut self, cx: &mut Context<'_>, id: u64, status: u16) {
        let key = Key::from_u64(id);
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        subscription.under_way = false;
        let ends = matches!(
            status,
            0 | 404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 503 | 604
        );
        if ends {
            let aor = Arc::clone(&subscription.aor);
            self.forget(cx.mailboxes, key);
            // The phone may be there without it, having started anew.
            self.greet_others(cx, &aor);
        } else if subscription.again {
            self.tell(cx, key);
        }
    }

    /// The next to send.
    pub fn poll_output(&mut self) -> Option<Notice> {
        self.outputs.pop_front()
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due, up to [`super::TIMERS_PER_TURN`].
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        for _ in 0..super::TIMERS_PER_TURN {
            match self.timers.pop_due(cx.now) {
                None => return,
                Some((_, Wake::Expires(key))) => {
                    if let Some(subscription) = self.subscriptions.get_mut(key) {
                        subscription.timer = None;
                    }
                    self.end(cx, key);
                }
                Some((_, Wake::Greets { aor, serial })) => {
                    self.greetings = self.greetings.saturating_sub(1);
                    let binding = cx.location.lookup_serial(&aor, serial);
                    let subscribers = cx.mailboxes.subscribers(&aor);
                    let asked = |binding: &Binding| subscribers.iter().any(|s| is_of(s, binding));
                    if let Some(binding) = binding.filter(|binding| !asked(binding)) {
                        self.greet(cx, &binding);
                    }
                }
            }
        }
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Subscription {
    /// By what the phone is known again among the registered ones.
    fn phone(&self) -> Subscriber {
        Subscriber {
            remote: self.flow.remote,
            target: self.target.clone(),
            routed: !self.routes.is_empty(),
        }
    }

    fn notify(&mut self, cx: &Context<'_>, state: &str) -> Bytes {
        self.cseq += 1;
        let mut request = RequestBuilder::new(Method::Notify, &*self.target)
            .from(&*self.local)
            .to(&*self.remote)
            .call_id(&*self.name.0)
            .cseq(self.cseq)
            .max_forwards(70)
            .header(HeaderName::Contact, &*self.contact)
            .header(HeaderName::Event, EVENT)
            .header(HeaderName::SubscriptionState, state.to_owned());
        for route in &self.routes {
            request = request.header(HeaderName::Route, &**route);
        }
        request.body(BODY_TYPE, summary(cx, &self.aor)).render()
    }
}

/// Whether a subscription is that of a registered phone: it came by the same flow, or from the same
/// address with the same place in its Contact. Contacts alone say little, as phones behind two NATs
/// may have the same; so do flows behind another proxy, which all its phones share.
fn is_of(phone: &Subscriber, binding: &Binding) -> bool {
    let remote = binding.flow().remote;
    if phone.remote == remote && !phone.routed && !binding.has_path() {
        return true;
    }
    let uris = (
        Uri::parse(&phone.target),
        Uri::parse(binding.target().as_bytes()),
    );
    let (Ok(theirs), Ok(known)) = uris else {
        return false;
    };
    phone.remote.ip() == remote.ip()
        && theirs.host().matches(&known.host())
        && theirs.port().unwrap_or(PORT) == known.port().unwrap_or(PORT)
}

/// RFC 3842 §3.5, §5.2: urgent messages, in brackets, there are none of.
fn summary(cx: &Context<'_>, aor: &str) -> Vec<u8> {
    let counts = cx.mailboxes.counts(aor);
    let (new, saved) = (counts.new, counts.saved);
    let waiting = if new > 0 { "yes" } else { "no" };
    let code = cx.config.services.code(crate::config::Service::Voicemail);
    let domain = cx.config.node.default_domain();
    let account = match code {
        "" => String::new(),
        code => format!(
            "Message-Account: sip:{}@{domain}\r\n",
            crate::call::inside::escape(code)
        ),
    };
    format!("Messages-Waiting: {waiting}\r\n{account}Voice-Message: {new}/{saved} (0/0)\r\n")
        .into_bytes()
}

/// A status, its reason phrase, and the header that belongs to it.
struct Refusal {
    status: u16,
    reason: &'static str,
    header: Option<(HeaderName, String)>,
}

impl Refusal {
    fn plain(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            header: None,
        }
    }

    fn render(self, message: &Message, tag: &[u8]) -> Bytes {
        let mut response = ResponseBuilder::new(message, self.status).reason(self.reason);
        if let Some((name, value)) = self.header {
            response = response.header(name, value);
        }
        if message.to().is_ok_and(|to| to.tag().is_none()) {
            response = response.to_tag(tag);
        }
        response.render()
    }
}

/// How long the phone wants to be told, in seconds; zero: this once. Why not, otherwise.
fn wanted(message: &Message) -> Result<u32, Refusal> {
    let accepts = message.lines(HeaderName::Accept);
    let all: Vec<&[u8]> = accepts
        .flat_map(|line| line.split(|b| *b == b','))
        .collect();
    let fits = |kind: &&[u8]| {
        let kind = kind.split(|b| *b == b';').next().unwrap_or_default();
        let kind = kind.trim_ascii();
        [BODY_TYPE, "application/*", "*/*"]
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
    };
    if !all.is_empty() && !all.iter().any(fits) {
        return Err(Refusal {
            header: Some((HeaderName::Accept, BODY_TYPE.into())),
            ..Refusal::plain(406, "Not Acceptable")
        });
    }
    let expires = message.header(HeaderName::Expires);
    let expires = match expires.map(|text| std::str::from_utf8(text.trim_ascii())) {
        None => EXPIRES_S,
        // More than 32 bits hold is as much as there is (RFC 3261 §20.19).
        Some(Ok(text)) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().unwrap_or(u32::MAX)
        }
        Some(_) => return Err(Refusal::plain(400, "Malformed Expires")),
    };
    match expires {
        1..EXPIRES_MIN_S => Err(Refusal {
            header: Some((HeaderName::MinExpires, EXPIRES_MIN_S.to_string())),
            ..Refusal::plain(423, "Interval Too Brief")
        }),
        expires => Ok(expires.min(EXPIRES_MAX_S)),
    }
}

fn granted(message: &Message, tag: &[u8], contact: &str, expires_s: u32) -> Bytes {
    let mut response = ResponseBuilder::new(message, 200);
    if message.to().is_ok_and(|to| to.tag().is_none()) {
        response = response.to_tag(tag);
    }
    response
        .record_route()
        .header(HeaderName::Contact, contact.to_owned())
        .header(HeaderName::Expires, expires_s.to_string())
        .render()
}

fn name_of(key: Key) -> u64 {
    key.to_u64() & (u64::MAX >> 3)
}

/// A Call-ID of this shard, so that the answer comes back to it.
fn call_id(rng: &mut Rng, domain: &str, shard: usize, shards: usize) -> String {
    call_id_of(shard, shards, || {
        let token = rng.token::<16>();
        format!("mwi-{}@{domain}", String::from_utf8_lossy(&token))
    })
}
