//! The registration of one trunk (RFC 3261 §10.2), as a machine without timers of its own.
//!
//! ```text
//!              .--------- due, hurried ---------.
//!              v                                |
//!   new --> Locating --addresses--> Asking --2xx, refused, nobody left--> Resting
//!              |                    ^    |                                  |
//!              '--no address--------|----|--------------------------------->|
//!                                   '----' challenge, 423, next address     | removed
//!                                                                           v
//!   removed in any state: what is in force is taken back by Expires: 0, then Gone
//! ```
//! Each event gives a [`Step`], and the owner does what it says. One thing is under way at a time.

use super::challenge::{Answers, Unanswerable};
use super::trunk::{Credentials, Registered, Trunk};
use super::{Surroundings, request_uri, user_of, words};
use crate::base::{Destination, Instant};
use crate::config;
use crate::sip::transaction::Failure;
use crate::wire::sip::{Contacts, HeaderName, Message, Method, NameAddr, RequestBuilder, Uri};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The first pause after a failure that time may mend; each further one is twice as long.
pub const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The longest, and that after a refusal which only the operator can mend.
pub const PAUSE_MAX: Duration = Duration::from_secs(300);
/// The longest Retry-After that is kept to.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Challenges answered in one round.
pub const CHALLENGES_MAX: u8 = 2;
/// Addresses asked in one round.
pub const ADDRESSES_MAX: usize = 8;
/// The longest time that a 423 may make us ask for.
pub const EXPIRES_MAX_S: u32 = 7 * 24 * 3600;
/// Before the end of what was granted there is room for two transactions without an answer
/// (Timer F: 32 s each), where that much was granted.
const MARGIN: Duration = Duration::from_secs(64);

/// What the owner of a registration or probe does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Find the addresses of a URI.
    Locate(Box<str>),
    /// Send a request without Via.
    Send {
        /// The request.
        request: Bytes,
        /// Where to.
        to: Destination,
        /// An answer that did not come by then does not count; Timer F decides without.
        within: Option<Duration>,
    },
    /// Wake it then.
    Rest(Instant),
    /// Forget it.
    Gone,
}

/// What changed for the better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// The file was read again: perhaps the password is right now.
    Changed,
    /// The peer was down and answers again: perhaps it forgot us.
    Back,
}

/// How far it is.
#[derive(Debug)]
enum Phase {
    Locating,
    Asking {
        at: Destination,
        others: VecDeque<Destination>,
    },
    Resting,
    Gone,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Registration {
    trunk: Arc<Trunk>,
    /// What it was begun with: another account or address is another registration.
    config: Arc<config::Trunk>,
    domain: String,
    credentials: Option<Credentials>,
    call_id: String,
    from_tag: String,
    sequence: u32,
    phase: Phase,
    answers: Answers,
    /// Challenges answered in this round.
    challenges: u8,
    /// Whether this round was told to ask for longer.
    was_too_brief: bool,
    /// What a 423 made us ask for.
    expires_min_s: u32,
    /// Whether it should end.
    is_removed: bool,
    /// Until when a registration of ours is in force.
    until: Option<Instant>,
    /// Rounds in a row that failed.
    failures: u32,
    /// Whether only the operator can mend the failure.
    is_refused: bool,
}

impl Registration {
    /// `call_id` belongs to our shard.
    pub fn new(trunk: Arc<Trunk>, call_id: String, from_tag: String) -> Self {
        let config = trunk.config();
        Self {
            domain: trunk.domain(),
            credentials: None,
            config,
            trunk,
            call_id,
            from_tag,
            sequence: 0,
            phase: Phase::Resting,
            answers: Answers::default(),
            challenges: 0,
            was_too_brief: false,
            expires_min_s: 0,
            is_removed: false,
            until: None,
            failures: 0,
            is_refused: false,
        }
    }

    /// Whether it is still the registration that the file asks for.
    pub fn serves(&self, trunk: &Arc<Trunk>) -> bool {
        let (old, new) = (&self.config, trunk.config());
        Arc::ptr_eq(&self.trunk, trunk)
            && new.register
            && old.uri == new.uri
            && old.outbound_proxy == new.outbound_proxy
            && old.username == new.username
            && old.auth_username == new.auth_username
            && old.domain == new.domain
    }

    /// Whose it is, unless it is only taken back.
    pub fn trunk(&self) -> Option<&Trunk> {
        (!self.is_removed).then_some(&*self.trunk)
    }

    /// The time has come.
    pub fn on_due(&mut self, now: Instant) -> Step {
        match self.phase {
            Phase::Resting => self.begin(now),
            // The owner wakes only who rests.
            Phase::Locating | Phase::Asking { .. } | Phase::Gone => self.rest(now + PAUSE_MIN),
        }
    }

    /// Something changed for the better. `None`: it is at work already, or has no reason to.
    pub fn hurry(&mut self, now: Instant, why: Why) -> Option<Step> {
        let may = match why {
            Why::Changed => self.failures > 0,
            Why::Back => !self.is_refused,
        };
        match self.phase {
            Phase::Resting if may => {
                self.failures = 0;
                Some(self.begin(now))
            }
            Phase::Resting | Phase::Locating | Phase::Asking { .. } | Phase::Gone => None,
        }
    }

    /// Takes it back. What is under way is abandoned: its answer is not waited for.
    pub fn on_removed(&mut self, now: Instant) -> Step {
        let may_be_known = match self.phase {
            Phase::Asking { .. } => true,
            Phase::Resting | Phase::Locating | Phase::Gone => false,
        };
        let in_force = self.until.is_some_and(|until| until > now);
        self.is_removed = true;
        match in_force || may_be_known {
            true => self.begin(now),
            false => self.go(),
        }
    }

    fn begin(&mut self, _now: Instant) -> Step {
        if !self.is_removed {
            self.config = self.trunk.config();
            self.credentials = self.trunk.credentials();
        }
        self.answers.begin();
        self.challenges = 0;
        self.was_too_brief = false;
        self.phase = Phase::Locating;
        let proxy = self.config.outbound_proxy.as_ref();
        let uri = proxy.map_or_else(|| self.config.uri.to_string(), ToString::to_string);
        Step::Locate(uri.into())
    }

    /// The addresses, or words for why there is none.
    pub fn on_located(
        &mut self,
        now: Instant,
        found: Result<Vec<Destination>, &'static str>,
        around: &mut Surroundings<'_>,
    ) -> Step {
        match self.phase {
            Phase::Locating => {}
            Phase::Asking { .. } | Phase::Resting | Phase::Gone => {
                return self.rest(now + PAUSE_MIN);
            }
        }
        match found {
            Ok(found) => {
                let others: VecDeque<_> = found.into_iter().take(ADDRESSES_MAX).collect();
                self.ask_next(now, others, "no address", around)
            }
            Err(problem) => {
                let text = format!("{problem}: check uri and DNS");
                self.on_trouble(now, &text, None, around)
            }
        }
    }

    /// The first of `others`, or the end of the round.
    fn ask_next(
        &mut self,
        now: Instant,
        mut others: VecDeque<Destination>,
        problem: &str,
        around: &mut Surroundings<'_>,
    ) -> Step {
        while let Some(at) = others.pop_front() {
            // An address that no listener of ours could speak to is no address.
            if let Some(request) = self.request(&at, around) {
                let to = at.clone();
                self.phase = Phase::Asking { at, others };
                return Step::Send {
                    request,
                    to,
                    within: None,
                };
            }
        }
        self.on_trouble(now, problem, None, around)
    }

    fn again(&mut self, now: Instant, around: &mut Surroundings<'_>) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Resting) {
            Phase::Asking { at, mut others } => {
                others.push_front(at);
                self.ask_next(now, others, "no listener speaks its transport", around)
            }
            Phase::Locating | Phase::Resting | Phase::Gone => self.rest(now + PAUSE_MIN),
        }
    }

    fn expires_s(&self) -> u32 {
        match self.is_removed {
            true => 0,
            false => self.config.expires_s.max(1).max(self.expires_min_s),
        }
    }

    fn request(&mut self, to: &Destination, around: &mut Surroundings<'_>) -> Option<Bytes> {
        let sent_by = around
            .listeners
            .sent_by(to.transport(), to.remote())?
            .to_string();
        self.sequence = self.sequence % (u32::MAX >> 1) + 1;
        let user = user_of(self.config.username.as_deref().unwrap_or_default());
        let uri = request_uri(&self.config);
        let aor = format!("<sip:{user}@{}>", self.domain);
        let transport = match to.transport() {
            crate::base::Transport::Udp => String::new(),
            other => format!(";transport={}", other.uri_token()),
        };
        let line = self.trunk.line();
        let contact = format!("<sip:{user}@{sent_by}{transport};line={line}>");
        let from = format!("{aor};tag={}", self.from_tag);
        let expires = self.expires_s().to_string();
        let mut request = RequestBuilder::new(Method::Register, &*uri)
            .max_forwards(70)
            .from(&*from)
            .to(&*aor)
            .call_id(&*self.call_id)
            .cseq(self.sequence)
            .header(HeaderName::Contact, &*contact)
            .header(HeaderName::Expires, &*expires)
            .header(HeaderName::Supported, "path")
            .header(HeaderName::UserAgent, AGENT);
        if let Some(proxy) = &self.config.outbound_proxy {
            request = request.header(HeaderName::Route, proxy.value());
        }
        let method = Method::Register.as_bytes();
        let answers = match &self.credentials {
            Some(credentials) => self.answers.headers(credentials, method, &uri, around.rng),
            None => Vec::new(),
        };
        for (name, value) in answers {
            request = request.header(name, value);
        }
        Some(request.render())
    }

    /// A final answer.
    pub fn on_answer(
        &mut self,
        now: Instant,
        answer: &Message,
        around: &mut Surroundings<'_>,
    ) -> Step {
        let status = answer.status();
        let text = words(status, &String::from_utf8_lossy(answer.reason()));
        match (&self.phase, status) {
            (Phase::Locating | Phase::Resting | Phase::Gone, _) => self.rest(now + PAUSE_MIN),
            (Phase::Asking { .. }, 200..=299) => self.on_success(now, answer, around),
            (Phase::Asking { .. }, 401 | 407) => self.on_challenge(now, answer, &text, around),
            (Phase::Asking { .. }, 423) => self.on_too_brief(now, answer, &text, around),
            (Phase::Asking { .. }, 408 | 500 | 502 | 503 | 504) => {
                let pause = retry_after(answer);
                self.on_next(now, &text, pause, around)
            }
            (Phase::Asking { .. }, 300..=399) => {
                let to = answer.addresses(HeaderName::Contact).find_map(Result::ok);
                let to = to.map_or_else(String::new, |to| {
                    format!(": set uri to {}", String::from_utf8_lossy(to.uri_bytes()))
                });
                self.on_refusal(now, &format!("{text}{to}"), None, around)
            }
            (Phase::Asking { .. }, 403 | 404 | 405 | 420) => {
                self.on_refusal(now, &text, retry_after(answer), around)
            }
            (Phase::Asking { .. }, _) => self.on_trouble(now, &text, retry_after(answer), around),
        }
    }

    /// Nothing came back, or nothing could be sent.
    pub fn on_failure(
        &mut self,
        now: Instant,
        why: Failure,
        around: &mut Surroundings<'_>,
    ) -> Step {
        let text = match why {
            Failure::Timeout => words(408, "Request Timeout"),
            Failure::Transport => "cannot be reached: check uri, transport and firewall".into(),
        };
        if let Phase::Asking { at, .. } = &self.phase {
            around.locator.failed(now, at);
        }
        self.on_next(now, &text, None, around)
    }

    /// The next address of the round (RFC 3263 §4.3).
    fn on_next(
        &mut self,
        now: Instant,
        text: &str,
        pause: Option<Duration>,
        around: &mut Surroundings<'_>,
    ) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Resting) {
            Phase::Asking { others, .. } if !others.is_empty() => {
                self.ask_next(now, others, text, around)
            }
            Phase::Asking { .. } | Phase::Locating | Phase::Resting | Phase::Gone => {
                self.on_trouble(now, text, pause, around)
            }
        }
    }

    fn on_challenge(
        &mut self,
        now: Instant,
        answer: &Message,
        text: &str,
        around: &mut Surroundings<'_>,
    ) -> Step {
        if self.credentials.is_none() {
            let status = answer.status();
            let text = format!("{status}: the trunk has no username or no password_file");
            return self.on_refusal(now, &text, None, around);
        }
        match self.answers.take(answer) {
            Ok(()) if self.challenges < CHALLENGES_MAX => {
                self.challenges += 1;
                self.again(now, around)
            }
            // Stale nonces without end: the registrar's fault, and it may come to its senses.
            Ok(()) => self.on_trouble(now, "asks for credentials again and again", None, around),
            Err(Unanswerable::WrongPassword) => self.on_refusal(now, text, None, around),
            Err(Unanswerable::Unsupported) => {
                let text = format!(
                    "{} without a challenge that we speak: digest by MD5 or SHA-256",
                    answer.status()
                );
                self.on_refusal(now, &text, None, around)
            }
        }
    }

    /// RFC 3261 §10.2.8.
    fn on_too_brief(
        &mut self,
        now: Instant,
        answer: &Message,
        text: &str,
        around: &mut Surroundings<'_>,
    ) -> Step {
        let wanted = answer.number(HeaderName::MinExpires).ok().flatten();
        match wanted {
            Some(wanted)
                if wanted > self.expires_s()
                    && wanted <= EXPIRES_MAX_S
                    && !self.was_too_brief
                    && !self.is_removed =>
            {
                self.was_too_brief = true;
                self.expires_min_s = wanted;
                self.again(now, around)
            }
            _ => {
                let text = format!("{text}: set expires_s to what it wants");
                self.on_refusal(now, &text, None, around)
            }
        }
    }

    fn on_success(
        &mut self,
        now: Instant,
        answer: &Message,
        around: &mut Surroundings<'_>,
    ) -> Step {
        if self.is_removed {
            return self.go();
        }
        let granted = self.granted_s(answer).min(EXPIRES_MAX_S);
        if granted == 0 {
            let text = format!("{} but granted no time", answer.status());
            return self.on_trouble(now, &text, None, around);
        }
        let granted = Duration::from_secs(granted.into());
        let until = now + granted;
        if self.failures > 0 || self.until.is_none() {
            tracing::info!(
                trunk = self.trunk.name(),
                seconds = granted.as_secs(),
                "registered"
            );
        }
        self.failures = 0;
        self.is_refused = false;
        self.until = Some(until);
        let listed = |name| {
            let addresses = answer.addresses(name).filter_map(Result::ok);
            addresses
                .map(|a| String::from_utf8_lossy(a.as_bytes()).into())
                .collect()
        };
        let routes = listed(HeaderName::ServiceRoute);
        self.trunk.set_routes(routes, listed(HeaderName::Path));
        self.trunk.set_registered(now, Registered::Until(until));
        let early = around.jitter(granted / 20);
        let after = (granted * 3 / 4).min(granted.saturating_sub(MARGIN));
        let after = after.max(granted / 2).saturating_sub(early);
        self.rest(now + after.max(Duration::from_millis(500)))
    }

    /// What the registrar grants our Contact (RFC 3261 §10.2.4): its parameter, else the header,
    /// else what we asked for. It may have rewritten the Contact's address.
    fn granted_s(&self, answer: &Message) -> u32 {
        let header = answer.expires().ok().flatten();
        let fallback = header.unwrap_or(self.expires_s());
        let Ok(Contacts::List(contacts)) = answer.contacts() else {
            return fallback;
        };
        let contacts: Vec<NameAddr<'_>> = contacts.filter_map(Result::ok).collect();
        let line = self.trunk.line().as_bytes();
        let is_ours = |contact: &&NameAddr<'_>| {
            let uri = contact.uri();
            uri.is_ok_and(|uri: Uri<'_>| uri.param("line").flatten() == Some(line))
        };
        let ours = contacts.iter().find(is_ours);
        let ours = ours.or(match contacts.as_slice() {
            [only] => Some(only),
            _ => None,
        });
        let granted = ours.and_then(|contact| contact.expires().ok().flatten());
        granted.unwrap_or(fallback)
    }

    /// Only the operator can mend it.
    fn on_refusal(
        &mut self,
        now: Instant,
        text: &str,
        pause: Option<Duration>,
        around: &mut Surroundings<'_>,
    ) -> Step {
        self.is_refused = true;
        let pause = pause.unwrap_or(PAUSE_MAX).max(PAUSE_MAX);
        self.fail(now, text, pause, around)
    }

    /// Time may mend it.
    fn on_trouble(
        &mut self,
        now: Instant,
        text: &str,
        pause: Option<Duration>,
        around: &mut Surroundings<'_>,
    ) -> Step {
        self.is_refused = false;
        let doubled = PAUSE_MIN * 2_u32.saturating_pow(self.failures.min(16));
        let pause = pause.map_or(doubled.min(PAUSE_MAX), |asked| asked.max(PAUSE_MIN));
        self.fail(now, text, pause, around)
    }

    fn fail(
        &mut self,
        now: Instant,
        text: &str,
        pause: Duration,
        around: &mut Surroundings<'_>,
    ) -> Step {
        if self.is_removed {
            // It ends by itself when its time is over.
            return self.go();
        }
        let name = self.trunk.name();
        let pause = pause - around.jitter(pause / 4);
        if self.failures == 0 {
            tracing::warn!(trunk = name, "cannot register: {text}");
        } else {
            tracing::debug!(trunk = name, "cannot register: {text}");
        }
        self.failures = self.failures.saturating_add(1);
        self.trunk.standing().note(now, text);
        if self.until.is_none_or(|until| until <= now) {
            self.until = None;
            self.trunk.set_registered(now, Registered::Failed);
        }
        self.rest(now + pause)
    }

    fn rest(&mut self, until: Instant) -> Step {
        if let Phase::Gone = self.phase {
            return Step::Gone;
        }
        self.phase = Phase::Resting;
        Step::Rest(until)
    }

    fn go(&mut self) -> Step {
        self.phase = Phase::Gone;
        Step::Gone
    }
}

/// What we call ourselves.
pub(super) const AGENT: &str = concat!("voip/", env!("CARGO_PKG_VERSION"));

/// RFC 3261 §20.33: seconds, then perhaps a comment and parameters.
fn retry_after(answer: &Message) -> Option<Duration> {
    let value = answer.header(HeaderName::RetryAfter)?;
    let digits: Vec<u8> = value
        .iter()
        .copied()
        .take_while(u8::is_ascii_digit)
        .collect();
    let seconds: u64 = std::str::from_utf8(&digits).ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}
