//! Queues of callers, shared by all shards: who waits, which agent is free, who rings next.
//!
//! ```text
//!   caller:  Waiting --an agent is free--> Ringing --answer--> Talking --end--> gone
//!               ^                            |
//!               +------- nobody took it -----+
//!   agent:   Free --> Ringing --answer--> Talking --end--> Wrapping up --> Free
//!              ^         | no answer
//!              +- rests -+
//! ```
//! A place is held by a [`Ticket`]: whatever becomes of its caller, it is given back.

use crate::base::Instant;
use crate::config::QueueStrategy;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Agents that one caller rings together; of more, those behind the last ones have their turn next.
pub const RING_MAX: usize = 16;
/// Agents and queues that are remembered.
const KNOWN_MAX: usize = 100_000;
/// How long an agent is left alone that did not answer.
const REST: Duration = Duration::from_secs(30);
/// What a call is thought to take before any was over.
const TALK_MS: u64 = 180_000;

/// What a queue's file says, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Who gets the next caller.
    pub strategy: QueueStrategy,
    /// How long an agent is left alone after a call.
    pub wrap_up: Duration,
}

/// What a caller is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Wait.
    Wait,
    /// Ring these, `name@domain`.
    Ring(Vec<Box<str>>),
}

/// How a queue fares.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Who waits now, and rings.
    pub waiting: usize,
    /// Who talks now.
    pub talking: usize,
    /// How long the first has waited, milliseconds.
    pub longest_ms: u64,
    /// Callers who were answered.
    pub answered: u64,
    /// Who hung up.
    pub abandoned: u64,
    /// Who was sent elsewhere.
    pub overflowed: u64,
    /// How long the answered waited on average, milliseconds.
    pub waited_ms: u64,
    /// How long they talked on average, milliseconds.
    pub talked_ms: u64,
}

/// What an agent does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// Nothing.
    Free,
    /// A caller of a queue rings.
    Ringing,
    /// Talks to a caller of a queue.
    Talking,
    /// After a call, or rests after one that was not answered.
    Resting,
}

#[derive(Debug, Default)]
struct Line {
    callers: Vec<Place>,
    /// Who rang last; of several, the one furthest on in the order of the file.
    last: Option<Box<str>>,
    figures: Figures,
    /// Answered calls of each agent.
    taken: BTreeMap<Box<str>, u64>,
}

#[derive(Debug)]
struct Place {
    id: u64,
    since: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Ringing(Vec<Box<str>>),
    Talking(Option<Box<str>>, Instant),
}

#[derive(Debug)]
struct Agent {
    doing: Doing,
    /// Until when it rests.
    until: Instant,
    idle_since: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    lines: BTreeMap<Box<str>, Line>,
    agents: BTreeMap<Box<str>, Agent>,
    next: u64,
}

/// All queues.
#[derive(Debug, Default)]
pub struct Queues {
    inner: Mutex<Inner>,
}

/// A caller's place. Given back when it is dropped.
#[derive(Debug)]
pub struct Ticket {
    queues: Arc<Queues>,
    queue: Box<str>,
    id: u64,
}

impl Queues {
    /// The last place of a queue; `None` if it has as many callers as it may.
    pub fn enter(self: &Arc<Self>, queue: &str, calls_max: u32, now: Instant) -> Option<Ticket> {
        let mut inner = self.lock();
        if inner.lines.len() >= KNOWN_MAX && !inner.lines.contains_key(queue) {
            return None;
        }
        inner.next += 1;
        let id = inner.next;
        let line = inner.lines.entry(queue.into()).or_default();
        if line.waiting() >= calls_max as usize {
            line.figures.overflowed += 1;
            return None;
        }
        line.callers.push(Place {
            id,
            since: now,
            state: State::Waiting,
        });
        Some(Ticket {
            queues: Arc::clone(self),
            queue: queue.into(),
            id,
        })
    }

    /// How a queue fares.
    pub fn figures(&self, queue: &str, now: Instant) -> Figures {
        let inner = self.lock();
        let Some(line) = inner.lines.get(queue) else {
            return Figures::default();
        };
        let waits = line.callers.iter().filter(|c| c.waits());
        let longest = waits.map(|c| now.since(c.since)).max();
        Figures {
            waiting: line.waiting(),
            talking: line.callers.len() - line.waiting(),
            longest_ms: longest.map_or(0, |d| d.as_millis() as u64),
            ..line.figures.clone()
        }
    }

    /// What an agent does, and how many calls of a queue it has taken.
    pub fn agent(&self, queue: &str, aor: &str, now: Instant) -> (Doing, u64) {
        let inner = self.lock();
        let agent = inner.agents.get(aor);
        let doing = agent.map_or(Doing::Free, |agent| agent.doing(now));
        let taken = inner.lines.get(queue).and_then(|line| line.taken.get(aor));
        (doing, taken.copied().unwrap_or(0))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// What the caller is to do now. `agents` are all of the queue in the order of the file, so
    /// that each has its turn wherever those before it are; of them only those are rung whom
    /// `rings` names, not those who have a pause or another call. Whoever is to be rung is taken.
    pub fn turn(
        &self,
        agents: &[Box<str>],
        rings: impl Fn(&str) -> bool,
        rules: Rules,
        now: Instant,
    ) -> Turn {
        let mut inner = self.queues.lock();
        let inner = &mut *inner;
        let Some(line) = inner.lines.get_mut(&self.queue) else {
            return Turn::Wait;
        };
        // The first of those who wait; whoever came later is asked again soon.
        let first = line
            .callers
            .iter_mut()
            .find(|c| matches!(c.state, State::Waiting));
        let Some(place) = first.filter(|place| place.id == self.id) else {
            return Turn::Wait;
        };
        let is_free = |aor: &&str| {
            let agent = inner.agents.get(*aor);
            rings(aor) && agent.is_none_or(|agent| agent.doing(now) == Doing::Free)
        };
        let all = agents.iter().map(|aor| &**aor);
        let mut free: Vec<&str> = all.filter(is_free).collect();
        let place_of = |aor: &str| agents.iter().position(|a| **a == *aor);
        let behind = line.last.as_deref().and_then(place_of);
        let behind = behind.map_or(0, |at| at + 1);
        let idle = |aor: &str| inner.agents.get(aor).map(|agent| agent.idle_since);
        match rules.strategy {
            QueueStrategy::RingAll if free.len() <= RING_MAX => {}
            QueueStrategy::LongestIdle => free.sort_by_key(|aor| idle(aor)),
            QueueStrategy::FewestCalls => {
                free.sort_by_key(|aor| (line.taken.get(*aor).copied(), idle(aor)));
            }
            QueueStrategy::RingAll | QueueStrategy::RoundRobin => {
                free.sort_by_key(|aor| place_of(aor).map(|at| (at < behind, at)));
            }
        }
        let most = match rules.strategy {
            QueueStrategy::RingAll => RING_MAX,
            QueueStrategy::LongestIdle | QueueStrategy::FewestCalls | QueueStrategy::RoundRobin => {
                1
            }
        };
        let chosen: Vec<Box<str>> = free.into_iter().take(most).map(Box::from).collect();
        if chosen.is_empty() {
            return Turn::Wait;
        }
        line.last = chosen.last().cloned();
        place.state = State::Ringing(chosen.clone());
        for aor in &chosen {
            inner.set(aor, Doing::Ringing, now, now);
        }
        Turn::Ring(chosen)
    }

    /// Nobody of those who were rung took it: they rest, the caller waits on, where it was.
    pub fn refused(&self, now: Instant) {
        let mut inner = self.queues.lock();
        let inner = &mut *inner;
        let Some(place) = inner.place(self) else {
            return;
        };
        let State::Ringing(rung) = std::mem::replace(&mut place.state, State::Waiting) else {
            return;
        };
        for aor in rung {
            inner.set(&aor, Doing::Resting, now + REST, now);
        }
    }

    /// One of those who were rung took it; which, where only one was, or only one `talks`.
    pub fn answered(&self, now: Instant, talks: impl Fn(&str) -> bool) -> Option<Box<str>> {
        let mut inner = self.queues.lock();
        let inner = &mut *inner;
        let place = inner.place(self)?;
        let waited = now.since(place.since);
        let State::Ringing(rung) = std::mem::replace(&mut place.state, State::Waiting) else {
            return None;
        };
        let mut taking = rung.iter().filter(|aor| rung.len() == 1 || talks(aor));
        let agent = taking.next().cloned();
        place.state = State::Talking(agent.clone(), now);
        for aor in &rung {
            if agent.as_ref() == Some(aor) {
                inner.set(aor, Doing::Talking, now, now);
            } else if let Some(other) = inner.agents.get_mut(aor) {
                // It was another's turn: idle as long as before.
                other.doing = Doing::Free;
            }
        }
        let line = inner.lines.get_mut(&self.queue)?;
        let figures = &mut line.figures;
        figures.waited_ms = mean(figures.waited_ms, figures.answered, waited);
        figures.answered += 1;
        if let Some(agent) = &agent {
            *line.taken.entry(agent.clone()).or_default() += 1;
        }
        agent
    }

    /// The caller's place, from 1, and how long it may still take, if that can be known: each of
    /// `agents` takes one caller after the other.
    pub fn place(&self, agents: usize) -> (usize, Option<Duration>) {
        let inner = self.queues.lock();
        let Some(line) = inner.lines.get(&self.queue) else {
            return (1, None);
        };
        let waiting = line.callers.iter().filter(|c| c.waits());
        let before = waiting.take_while(|c| c.id != self.id).count();
        let talk_ms = match line.figures.talked_ms {
            0 => TALK_MS,
            ms => ms,
        };
        let known = agents > 0 && line.figures.answered > 0;
        let turns = (before as u64 + 1).div_ceil(agents.max(1) as u64);
        let wait = Duration::from_millis(turns.saturating_mul(talk_ms));
        (before + 1, known.then_some(wait))
    }

    /// The caller goes elsewhere.
    pub fn overflow(self) {
        let mut inner = self.queues.lock();
        let line = inner.lines.get_mut(&self.queue);
        if let Some(line) = line {
            line.figures.overflowed += 1;
            // It did not give up.
            line.figures.abandoned = line.figures.abandoned.wrapping_sub(1);
        }
    }

    /// The call is over: its agent is left alone for a while.
    pub fn over(self, rules: Rules, now: Instant) {
        let mut inner = self.queues.lock();
        let inner = &mut *inner;
        let Some(place) = inner.place(&self) else {
            return;
        };
        if let State::Talking(agent, since) = &place.state {
            let (agent, talked) = (agent.clone(), now.since(*since));
            if let Some(aor) = agent {
                inner.set(&aor, Doing::Resting, now + rules.wrap_up, now);
            }
            if let Some(line) = inner.lines.get_mut(&self.queue) {
                let figures = &mut line.figures;
                let before = figures.answered.saturating_sub(1);
                figures.talked_ms = mean(figures.talked_ms, before, talked);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.queues.lock();
        let inner = &mut *inner;
        let Some(line) = inner.lines.get_mut(&self.queue) else {
            return;
        };
        let Some(at) = line.callers.iter().position(|c| c.id == self.id) else {
            return;
        };
        let rung = match line.callers.remove(at).state {
            State::Waiting => Vec::new(),
            State::Ringing(rung) => rung,
            State::Talking(agent, _) => {
                // Unless it rests already.
                let agent = agent.and_then(|aor| inner.agents.get_mut(&aor));
                if let Some(agent) = agent.filter(|agent| agent.doing == Doing::Talking) {
                    agent.doing = Doing::Free;
                }
                return;
            }
        };
        line.figures.abandoned = line.figures.abandoned.wrapping_add(1);
        for aor in rung {
            if let Some(agent) = inner.agents.get_mut(&aor) {
                agent.doing = Doing::Free;
            }
        }
    }
}

impl Inner {
    fn place(&mut self, ticket: &Ticket) -> Option<&mut Place> {
        let line = self.lines.get_mut(&ticket.queue)?;
        line.callers.iter_mut().find(|c| c.id == ticket.id)
    }

    fn set(&mut self, aor: &str, doing: Doing, until: Instant, now: Instant) {
        if let Some(agent) = self.agents.get_mut(aor) {
            (agent.doing, agent.until) = (doing, until);
            // Who rings is idle until it answers.
            if doing != Doing::Ringing {
                agent.idle_since = now;
            }
        } else if self.agents.len() < KNOWN_MAX {
            let agent = Agent {
                doing,
                until,
                idle_since: now,
            };
            self.agents.insert(aor.into(), agent);
        }
    }
}

impl Agent {
    fn doing(&self, now: Instant) -> Doing {
        match self.doing {
            Doing::Resting if now >= self.until => Doing::Free,
            doing => doing,
        }
    }
}

impl Place {
    fn waits(&self) -> bool {
        matches!(self.state, State::Waiting | State::Ringing(_))
    }
}

impl Line {
    fn waiting(&self) -> usize {
        self.callers.iter().filter(|c| c.waits()).count()
    }
}

/// The average of `count` values and one more.
fn mean(before: u64, count: u64, more: Duration) -> u64 {
    let more = u64::try_from(more.as_millis()).unwrap_or(u64::MAX);
    let sum = u128::from(before) * u128::from(count) + u128::from(more);
    u64::try_from(sum / (u128::from(count) + 1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Rules = Rules {
        strategy: QueueStrategy::RoundRobin,
        wrap_up: Duration::from_secs(10),
    };

    fn at(s: u64) -> Instant {
        Instant::from_millis(s * 1000)
    }

    fn agents(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|n| (*n).into()).collect()
    }

    fn rung(turn: &Turn) -> Vec<&str> {
        match turn {
            Turn::Wait => Vec::new(),
            Turn::Ring(who) => who.iter().map(|w| &**w).collect(),
        }
    }

    #[test]
    fn the_first_caller_gets_the_first_free_agent() {
        let queues = Arc::new(Queues::default());
        let all = agents(&["a"]);
        let first = queues.enter("q", 10, at(0)).unwrap();
        let second = queues.enter("q", 10, at(1)).unwrap();
        assert_eq!(second.turn(&all, |_| true, ONE, at(1)), Turn::Wait);
        assert_eq!(rung(&first.turn(&all, |_| true, ONE, at(1))), ["a"]);
        // The agent rings already.
        assert_eq!(second.turn(&all, |_| true, ONE, at(2)), Turn::Wait);
        assert_eq!(first.answered(at(4), |_| false).as_deref(), Some("a"));
        assert_eq!(second.place(1), (1, Some(Duration::from_secs(180))));
        first.over(ONE, at(64));
        assert_eq!(queues.agent("q", "a", at(65)), (Doing::Resting, 1));
        assert_eq!(second.turn(&all, |_| true, ONE, at(73)), Turn::Wait);
        assert_eq!(rung(&second.turn(&all, |_| true, ONE, at(74))), ["a"]);
        let figures = queues.figures("q", at(75));
        assert_eq!(
            (figures.answered, figures.waiting, figures.talking),
            (1, 1, 0)
        );
        assert_eq!((figures.waited_ms, figures.talked_ms), (4000, 60_000));
        assert_eq!(figures.longest_ms, 74_000);
        assert_eq!(second.place(1).1, Some(Duration::from_secs(60)));
    }

    #[test]
    fn who_does_not_answer_rests_and_the_caller_keeps_its_place() {
        let queues = Arc::new(Queues::default());
        let all = agents(&["a", "b"]);
        let first = queues.enter("q", 10, at(0)).unwrap();
        let second = queues.enter("q", 10, at(0)).unwrap();
        assert_eq!(rung(&first.turn(&all, |_| true, ONE, at(0))), ["a"]);
        assert_eq!(rung(&second.turn(&all, |_| true, ONE, at(0))), ["b"]);
        first.refused(at(15));
        assert_eq!(first.turn(&all, |_| true, ONE, at(15)), Turn::Wait);
        assert_eq!(rung(&first.turn(&all, |_| true, ONE, at(45))), ["a"]);
        assert_eq!(first.place(2).0, 1);
    }

    #[test]
    fn strategies_choose() {
        let queues = Arc::new(Queues::default());
        let all = agents(&["a", "b", "c"]);
        let with = |strategy| Rules { strategy, ..ONE };
        let mut now = 0;
        let mut take = |strategy, wanted: &[&str]| {
            now += 100;
            let ticket = queues.enter("q", 10, at(now)).unwrap();
            let turn = ticket.turn(&all, |_| true, with(strategy), at(now));
            assert_eq!(rung(&turn), wanted, "{strategy:?}");
            ticket.answered(at(now), |_| false);
            ticket.over(ONE, at(now + 1));
        };
        take(QueueStrategy::RoundRobin, &["a"]);
        take(QueueStrategy::RoundRobin, &["b"]);
        take(QueueStrategy::LongestIdle, &["c"]);
        take(QueueStrategy::LongestIdle, &["a"]);
        take(QueueStrategy::FewestCalls, &["b"]);
        take(QueueStrategy::FewestCalls, &["c"]);
        take(QueueStrategy::RoundRobin, &["a"]);
        take(QueueStrategy::RingAll, &["a", "b", "c"]);
    }

    #[test]
    fn a_turn_goes_on_behind_who_has_a_call() {
        let queues = Arc::new(Queues::default());
        let all = agents(&["a", "b", "c"]);
        let first = queues.enter("q", 10, at(0)).unwrap();
        assert_eq!(rung(&first.turn(&all, |a| a != "a", ONE, at(0))), ["b"]);
        first.answered(at(0), |_| true);
        // It is not the first one's turn again while who was last talks.
        let next = queues.enter("q", 10, at(1)).unwrap();
        assert_eq!(rung(&next.turn(&all, |a| a != "b", ONE, at(1))), ["c"]);
    }

    #[test]
    fn of_more_than_ring_together_all_have_their_turn() {
        let queues = Arc::new(Queues::default());
        let names: Vec<String> = (0..40).map(|n| format!("a{n:02}")).collect();
        let all: Vec<Box<str>> = names.iter().map(|n| n.as_str().into()).collect();
        let rules = Rules {
            strategy: QueueStrategy::RingAll,
            ..ONE
        };
        // Those of an answered call are free again for the next one, but for who answered.
        let round = |now: u64| {
            let ticket = queues.enter("q", 10, at(now)).unwrap();
            let turn = ticket.turn(&all, |aor| aor != "a20", rules, at(now));
            let rung: Vec<String> = rung(&turn).iter().map(ToString::to_string).collect();
            let last = rung.last().cloned().unwrap_or_default();
            ticket.answered(at(now), |aor| aor == last);
            ticket.over(rules, at(now + 1));
            rung
        };
        assert_eq!(round(0), names[..16]);
        let second = [&names[16..20], &names[21..33]].concat();
        assert_eq!(round(1), second);
        let third = [&names[33..], &names[..9]].concat();
        assert_eq!(round(2), third);
        // 08 rests, and so do 15 and 32.
        let fourth = [&names[9..15], &names[16..20], &names[21..27]].concat();
        assert_eq!(round(3), fourth);
        // Where all find room they ring all.
        let few = &all[..16];
        let ticket = queues.enter("q", 10, at(100)).unwrap();
        assert_eq!(
            rung(&ticket.turn(few, |_| true, rules, at(100))),
            names[..16]
        );
    }

    #[test]
    fn of_those_who_ring_together_one_has_the_call() {
        let queues = Arc::new(Queues::default());
        let all = agents(&["a", "b"]);
        let rules = Rules {
            strategy: QueueStrategy::RingAll,
            ..ONE
        };
        let first = queues.enter("q", 10, at(0)).unwrap();
        let second = queues.enter("q", 10, at(0)).unwrap();
        assert_eq!(rung(&first.turn(&all, |_| true, rules, at(0))), ["a", "b"]);
        assert_eq!(second.turn(&all, |_| true, rules, at(1)), Turn::Wait);
        assert_eq!(
            first.answered(at(2), |aor| aor == "b").as_deref(),
            Some("b")
        );
        assert_eq!(queues.agent("q", "b", at(2)), (Doing::Talking, 1));
        assert_eq!(rung(&second.turn(&all, |_| true, rules, at(2))), ["a"]);
    }

    #[test]
    fn places_are_given_back_however_a_call_ends() {
        let queues = Arc::new(Queues::default());
        let all = agents(&["a"]);
        let first = queues.enter("q", 2, at(0)).unwrap();
        let second = queues.enter("q", 2, at(0)).unwrap();
        assert!(queues.enter("q", 2, at(0)).is_none());
        first.turn(&all, |_| true, ONE, at(0));
        drop(first);
        assert_eq!(queues.agent("q", "a", at(0)).0, Doing::Free);
        second.overflow();
        let figures = queues.figures("q", at(1));
        let wanted = (0, 0, 1, 2);
        let found = (
            figures.waiting,
            figures.talking,
            figures.abandoned,
            figures.overflowed,
        );
        assert_eq!(found, wanted);
        let third = queues.enter("q", 2, at(2)).unwrap();
        third.turn(&all, |_| true, ONE, at(2));
        third.answered(at(2), |_| false);
        drop(third);
        assert_eq!(queues.agent("q", "a", at(3)), (Doing::Free, 1));
    }
}
