//! The probing of one trunk or member by OPTIONS (RFC 3261 §11), as a machine without timers of its
//! own. Any final answer but 408 and 503 is a sign of life: who refuses OPTIONS lives.
//!
//! ```text
//!   Resting --due--> Locating --addresses--> Asking --answer--> Resting (up)
//!      ^                 |                    |  ^ '--no answer, others left--'
//!      '-----------------'--- no address -----'------- nobody left (a failure) -> Resting
//! ```
//! Where nobody wants probes, it only finds out where the name leads, so that calls from there are
//! known ([`super::Peers::of_source`]).

use super::registration::{AGENT, Step};
use super::standing::{FAILURES_MAX, Standing, State};
use super::trunk::Trunk;
use super::{Member, Surroundings, request_uri, user_of, words};
use crate::base::{Destination, Instant};
use crate::config;
use crate::sip::transaction::Failure;
use crate::wire::sip::{HeaderName, Message, Method, RequestBuilder};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take. RFC 3261 would wait for 32 s; callers do not.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The next probe after a first failure.
pub const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// From probe to probe of a peer that is down, at most.
pub const DOWN_EVERY: Duration = Duration::from_secs(10);
/// A name is looked up again after that much where nobody wants probes.
pub const LOOK_UP_EVERY: Duration = Duration::from_secs(300);
/// Addresses of one peer that one probe asks.
pub const ADDRESSES_MAX: usize = 3;

/// Who is probed.
#[derive(Debug)]
pub(super) enum Whom {
    Trunk(Arc<Trunk>),
    Member { pool: Box<str>, member: Arc<Member> },
}

#[derive(Debug)]
enum Phase {
    Resting,
    Locating,
    Asking {
        at: Destination,
        others: VecDeque<Destination>,
    },
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Probe {
    whom: Whom,
    every: Option<Duration>,
    call_id: String,
    from_tag: String,
    sequence: u32,
    phase: Phase,
    failures: u32,
}

impl Probe {
    /// `probe_s` of zero: nobody wants it.
    pub fn new(whom: Whom, probe_s: u32, call_id: String, from_tag: String) -> Self {
        Self {
            whom,
            every: interval(probe_s),
            call_id,
            from_tag,
            sequence: 0,
            phase: Phase::Resting,
            failures: 0,
        }
    }

    /// Another interval, from the next probe on.
    pub fn configure(&mut self, probe_s: u32) {
        self.every = interval(probe_s);
    }

    /// Whether it is this very one.
    pub fn is_of(&self, whom: &Whom) -> bool {
        match (&self.whom, whom) {
            (Whom::Trunk(own), Whom::Trunk(other)) => Arc::ptr_eq(own, other),
            (Whom::Member { member: own, .. }, Whom::Member { member: other, .. }) => {
                Arc::ptr_eq(own, other)
            }
            (Whom::Trunk(_), Whom::Member { .. }) | (Whom::Member { .. }, Whom::Trunk(_)) => false,
        }
    }

    pub fn whom(&self) -> &Whom {
        &self.whom
    }

    pub fn standing(&self) -> &Arc<Standing> {
        match &self.whom {
            Whom::Trunk(trunk) => trunk.standing(),
            Whom::Member { member, .. } => member.standing(),
        }
    }

    fn trunk_config(&self) -> Option<Arc<config::Trunk>> {
        match &self.whom {
            Whom::Trunk(trunk) => Some(trunk.config()),
            Whom::Member { .. } => None,
        }
    }

    /// Whether it rests and a call made it suspect.
    pub fn should_hurry(&self) -> bool {
        matches!(self.phase, Phase::Resting)
            && self.every.is_some()
            && self.standing().is_suspected()
    }

    /// The time has come.
    pub fn on_due(&mut self) -> Step {
        self.phase = Phase::Locating;
        let uri = match &self.whom {
            Whom::Trunk(trunk) => {
                let config = trunk.config();
                let proxy = config.outbound_proxy.as_ref();
                proxy.map_or_else(|| config.uri.to_string(), ToString::to_string)
            }
            Whom::Member { member, .. } => member.uri().to_owned(),
        };
        Step::Locate(uri.into())
    }

    /// The addresses, or words for why there is none.
    pub fn on_located(
        &mut self,
        now: Instant,
        found: Result<Vec<Destination>, &'static str>,
        around: &mut Surroundings<'_>,
    ) -> Step {
        if self.every.is_none() {
            return self.rest(now, around);
        }
        match found {
            Ok(found) => {
                let others = found.into_iter().take(ADDRESSES_MAX).collect();
                self.ask_next(now, others, "no listener speaks its transport", around)
            }
            Err(problem) => {
                let text = format!("{problem}: check uri and DNS");
                self.fail(now, &text, around)
            }
        }
    }

    fn ask_next(
        &mut self,
        now: Instant,
        mut others: VecDeque<Destination>,
        problem: &str,
        around: &mut Surroundings<'_>,
    ) -> Step {
        while let Some(at) = others.pop_front() {
            if let Some(request) = self.request(&at, around) {
                let to = at.clone();
                self.phase = Phase::Asking { at, others };
                return Step::Send {
                    request,
                    to,
                    within: Some(ANSWER_WITHIN),
                };
            }
        }
        self.fail(now, problem, around)
    }

    fn request(&mut self, to: &Destination, around: &Surroundings<'_>) -> Option<Bytes> {
        let sent_by = around.listeners.sent_by(to.transport(), to.remote())?;
        self.sequence = self.sequence % (u32::MAX >> 1) + 1;
        let config = self.trunk_config();
        let uri = match (&self.whom, &config) {
            (Whom::Member { member, .. }, _) => member.uri().to_owned(),
            (Whom::Trunk(_), Some(config)) => request_uri(config),
            (Whom::Trunk(_), None) => return None,
        };
        let account = config
            .as_ref()
            .and_then(|config| config.username.as_deref());
        let (user, domain) = match (&self.whom, account) {
            (Whom::Trunk(trunk), Some(account)) => (user_of(account), trunk.domain()),
            (Whom::Trunk(_), None) | (Whom::Member { .. }, _) => {
                ("probe".into(), around.domain.to_owned())
            }
        };
        let transport = match to.transport() {
            crate::base::Transport::Udp => String::new(),
            other => format!(";transport={}", other.uri_token()),
        };
        let contact = format!("<sip:{user}@{sent_by}{transport}>");
        let from = format!("<sip:{user}@{domain}>;tag={}", self.from_tag);
        let mut request = RequestBuilder::new(Method::Options, &*uri)
            .max_forwards(70)
            .from(&*from)
            .to(format!("<{uri}>"))
            .call_id(&*self.call_id)
            .cseq(self.sequence)
            .header(HeaderName::Contact, &*contact)
            .header(HeaderName::Accept, "application/sdp")
            .header(HeaderName::UserAgent, AGENT);
        let proxy = config.as_ref().and_then(|c| c.outbound_proxy.as_ref());
        if let Some(proxy) = proxy {
            request = request.header(HeaderName::Route, proxy.value());
        }
        Some(request.render())
    }

    /// A final answer. True beside the step: the peer is back.
    pub fn on_answer(
        &mut self,
        now: Instant,
        answer: &Message,
        around: &mut Surroundings<'_>,
    ) -> (Step, bool) {
        if let 408 | 503 = answer.status() {
            let reason = String::from_utf8_lossy(answer.reason());
            let text = words(answer.status(), &reason);
            return (self.on_next(now, &text, around), false);
        }
        self.failures = 0;
        let is_back = self.standing().answered_probe(now);
        if is_back {
            tracing::info!("{} is up again", self.name());
        }
        (self.rest(now, around), is_back)
    }

    /// Nothing came back in time, or nothing could be sent.
    pub fn on_failure(
        &mut self,
        now: Instant,
        why: Failure,
        around: &mut Surroundings<'_>,
    ) -> Step {
        if let Phase::Asking { at, .. } = &self.phase {
            around.locator.failed(now, at);
        }
        let text = match why {
            Failure::Timeout => words(408, "Request Timeout"),
            Failure::Transport => "cannot be reached: check uri, transport and firewall".into(),
        };
        self.on_next(now, &text, around)
    }

    fn on_next(&mut self, now: Instant, text: &str, around: &mut Surroundings<'_>) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Resting) {
            Phase::Asking { others, .. } if !others.is_empty() => {
                self.ask_next(now, others, text, around)
            }
            Phase::Asking { .. } | Phase::Resting | Phase::Locating => self.fail(now, text, around),
        }
    }

    fn fail(&mut self, now: Instant, text: &str, around: &mut Surroundings<'_>) -> Step {
        self.failures = self.failures.saturating_add(1);
        if self.standing().failed_probe(now, text) {
            tracing::warn!("{} is down: {text}", self.name());
        }
        self.rest(now, around)
    }

    fn rest(&mut self, now: Instant, around: &mut Surroundings<'_>) -> Step {
        self.phase = Phase::Resting;
        let Some(every) = self.every else {
            return Step::Rest(now + LOOK_UP_EVERY - around.jitter(LOOK_UP_EVERY / 10));
        };
        let pause = match self.standing().state() {
            State::Down => every.min(DOWN_EVERY),
            State::Up | State::Probing if (1..FAILURES_MAX).contains(&self.failures) => {
                every.min(AGAIN_AFTER)
            }
            State::Up | State::Probing => every,
        };
        Step::Rest(now + pause - around.jitter(pause / 10))
    }

    fn name(&self) -> String {
        match &self.whom {
            Whom::Trunk(trunk) => format!("trunk {}", trunk.name()),
            Whom::Member { pool, member } => format!("{} of pool {pool}", member.uri()),
        }
    }
}

fn interval(probe_s: u32) -> Option<Duration> {
    (probe_s > 0).then(|| Duration::from_secs(probe_s.into()))
}
