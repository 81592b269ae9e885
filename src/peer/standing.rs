//! How a trunk or a member of a pool stands: whether it answers, what it carries, what went wrong
//! last. Shared by every shard; asked for each call, so what a call asks is atomic.

use crate::base::Instant;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Probes in a row without a sign of life after which a peer counts as down. A call that heard
/// nothing counts as one.
pub const FAILURES_MAX: u32 = 2;
/// The most new calls a second that a limit may allow; a larger one means this.
pub const CALLS_PER_SECOND_MAX: u32 = 10_000;
/// Bytes of an error that are kept.
const PROBLEM_BYTES_MAX: usize = 200;

/// Whether a peer answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It does, or nobody asks it.
    Up,
    /// It does not.
    Down,
    /// Nothing is known yet: calls go there.
    Probing,
}

impl State {
    /// The word of listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Down => "down",
            State::Probing => "probing",
        }
    }

    const fn to_bits(self) -> u8 {
        match self {
            State::Up => 0,
            State::Down => 1,
            State::Probing => 2,
        }
    }

    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => State::Up,
            1 => State::Down,
            _ => State::Probing,
        }
    }
}

/// What went wrong last, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// When.
    pub at: Instant,
    /// What, and what to check.
    pub text: Box<str>,
}

/// Why a call is not let through. To a caller: 503 (RFC 3261 §21.5.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The peer is down.
    Down,
    /// It gets no new calls: the operator drains it.
    Draining,
    /// `calls_max` is reached.
    CallsMax,
    /// `calls_per_second` is reached.
    CallsPerSecond,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refusal::Down => "is down",
            Refusal::Draining => "is drained",
            Refusal::CallsMax => "has calls_max calls",
            Refusal::CallsPerSecond => "had calls_per_second new calls within a second",
        })
    }
}

/// What is allowed at a time; zero: no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Bounds {
    pub calls_max: u32,
    pub calls_per_second: u32,
}

#[derive(Debug, Default)]
struct Details {
    since: Instant,
    failures: u32,
    last_error: Option<Problem>,
    /// When the last new calls were, at most `calls_per_second`.
    recent: VecDeque<Instant>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Standing {
    state: AtomicU8,
    /// Whether a call heard nothing since the last probe.
    suspected: AtomicBool,
    calls: AtomicU32,
    answered: AtomicU64,
    unanswered: AtomicU64,
    details: Mutex<Details>,
}

impl Standing {
    pub fn new(state: State) -> Self {
        Self {
            state: AtomicU8::new(state.to_bits()),
            suspected: AtomicBool::new(false),
            calls: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            details: Mutex::default(),
        }
    }

    fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn state(&self) -> State {
        State::from_bits(self.state.load(Ordering::Acquire))
    }

    /// Starts over: another address, or probing switched on or off.
    pub fn reset(&self, state: State) {
        let mut details = self.details();
        details.failures = 0;
        self.suspected.store(false, Ordering::Release);
        self.state.store(state.to_bits(), Ordering::Release);
    }

    /// Since when it is in its state; the origin means: since the start.
    pub fn since(&self) -> Instant {
        self.details().since
    }

    /// It is asked from now on.
    pub fn begin(&self, now: Instant) {
        let mut details = self.details();
        details.since = details.since.max(now);
    }

    /// It gave a sign of life. True if it was down.
    pub fn answered_probe(&self, now: Instant) -> bool {
        self.suspected.store(false, Ordering::Release);
        let mut details = self.details();
        details.failures = 0;
        let before = self.state();
        if before != State::Up {
            details.since = now;
            self.state.store(State::Up.to_bits(), Ordering::Release);
        }
        before == State::Down
    }

    /// It gave none. True if it is down since now.
    pub fn failed_probe(&self, now: Instant, text: &str) -> bool {
        self.suspected.store(false, Ordering::Release);
        self.note(now, text);
        let mut details = self.details();
        details.failures = details.failures.saturating_add(1);
        let falls = details.failures >= FAILURES_MAX && self.state() != State::Down;
        if falls {
            details.since = now;
            self.state.store(State::Down.to_bits(), Ordering::Release);
        }
        falls
    }

    /// A call heard nothing: the next failed probe is the last. True for the first such call.
    pub fn suspect(&self) -> bool {
        let mut details = self.details();
        details.failures = details.failures.max(FAILURES_MAX - 1);
        !self.suspected.swap(true, Ordering::AcqRel)
    }

    /// Whether a call heard nothing since the last probe.
    pub fn is_suspected(&self) -> bool {
        self.suspected.load(Ordering::Acquire)
    }

    /// Keeps what went wrong.
    pub fn note(&self, now: Instant, text: &str) {
        let mut end = text.len().min(PROBLEM_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default();
        self.details().last_error = Some(Problem {
            at: now,
            text: text.into(),
        });
    }

    pub fn last_error(&self) -> Option<Problem> {
        self.details().last_error.clone()
    }

    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::Acquire)
    }

    /// Calls that were answered, and calls that were not, among those that went there.
    pub fn outcomes(&self) -> (u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (of(&self.answered), of(&self.unanswered))
    }

    /// Takes a place for a call.
    pub fn admit(self: &Arc<Self>, now: Instant, bounds: Bounds) -> Result<Ticket, Refusal> {
        let room = |n: u32| (bounds.calls_max == 0 || n < bounds.calls_max).then(|| n + 1);
        let taken = self
            .calls
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room);
        taken.map_err(|_| Refusal::CallsMax)?;
        // From here on the ticket gives the place back.
        let mut ticket = Ticket {
            standing: Arc::clone(self),
            stage: Stage::Uncounted,
        };
        if bounds.calls_per_second > 0 && !self.is_within_rate(now, bounds.calls_per_second) {
            return Err(Refusal::CallsPerSecond);
        }
        ticket.stage = Stage::SettingUp;
        Ok(ticket)
    }

    /// At most `limit` in any second, whichever way the seconds are cut.
    fn is_within_rate(&self, now: Instant, limit: u32) -> bool {
        let limit = limit.min(CALLS_PER_SECOND_MAX) as usize;
        let mut details = self.details();
        let recent = &mut details.recent;
        while recent
            .front()
            .is_some_and(|at| now.since(*at) >= Duration::from_secs(1))
        {
            recent.pop_front();
        }
        let has_room = recent.len() < limit;
        if has_room {
            recent.push_back(now);
        }
        has_room
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Went out, no final answer yet.
    SettingUp,
    /// Its outcome is counted, or is none of the peer's.
    Uncounted,
}

/// A call's place at a trunk or a member; dropping it means that the call ended.
#[derive(Debug)]
pub struct Ticket {
    standing: Arc<Standing>,
    stage: Stage,
}

impl Ticket {
    /// The call was answered.
    pub fn answered(&mut self) {
        if std::mem::replace(&mut self.stage, Stage::Uncounted) == Stage::SettingUp {
            self.standing.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The call was refused by the peer, or heard nothing (408). What speaks of the peer, not of
    /// the callee, is kept as the last error.
    pub fn failed(&mut self, now: Instant, status: u16, reason: &str) {
        self.unanswered();
        if let 401 | 403 | 407 | 408 | 500..=599 = status {
            self.standing.note(now, &super::words(status, reason));
        }
    }

    /// The call came from the peer: it says nothing about how many of ours are answered there.
    pub(super) fn into_inbound(mut self) -> Self {
        self.stage = Stage::Uncounted;
        self
    }

    fn unanswered(&mut self) {
        if std::mem::replace(&mut self.stage, Stage::Uncounted) == Stage::SettingUp {
            self.standing.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Ticket {
    /// A caller who gave up was not answered either (ITU-T E.425: seizures with an answer signal).
    fn drop(&mut self) {
        self.unanswered();
        self.standing.calls.fetch_sub(1, Ordering::AcqRel);
    }
}
