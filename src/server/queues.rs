//! `voipctl queue`: what waits where, and agents by the operator's hand.

use super::signal::{Output, SignalCore};
use crate::base::Instant;
use crate::config::Queue;
use crate::control::{AgentRow, Failure, QueueRow, Reply};
use crate::feature::{self, Change, Doing};
use crate::store::Record;

impl SignalCore {
    /// All queues, or the one of a name.
    pub(super) fn queues(&self, now: Instant, name: Option<&str>) -> Reply {
        let queues = self.config.queues.iter();
        let wanted = queues.filter(|queue| name.is_none_or(|name| *queue.name == *name));
        let rows: Vec<QueueRow> = wanted.map(|queue| self.queue_row(queue, now)).collect();
        match name {
            Some(name) if rows.is_empty() => no_queue(name),
            Some(_) | None => Reply::Queues { rows },
        }
    }

    fn queue_row(&self, queue: &Queue, now: Instant) -> QueueRow {
        let figures = self.features.queues().figures(&queue.name, now);
        let always: Vec<Box<str>> = queue.agents.iter().map(|a| self.whole(a)).collect();
        let agents = self.features.agents(&queue.name, &always);
        let agent = |aor: &str| {
            let (doing, taken) = self.features.queues().agent(&queue.name, aor, now);
            let settings = self.features.settings(aor);
            let state = match doing {
                _ if settings.is_some_and(|s| s.queue_pause) => "pause",
                Doing::Free if self.features.calls_of(aor) > 0 => "busy",
                Doing::Free if !self.takes_calls(aor) => "absent",
                Doing::Free => "free",
                Doing::Ringing => "ringing",
                Doing::Talking => "talking",
                Doing::Resting => "resting",
            };
            AgentRow {
                aor: aor.to_string(),
                state: state.into(),
                fixed: always.iter().any(|fixed| **fixed == *aor),
                taken,
            }
        };
        QueueRow {
            name: queue.name.to_string(),
            numbers: queue.numbers.iter().map(ToString::to_string).collect(),
            strategy: queue.strategy.to_string(),
            waiting: figures.waiting as u64,
            calls_max: u64::from(queue.calls_max),
            longest_s: figures.longest_ms / 1000,
            talking: figures.talking as u64,
            answered: figures.answered,
            abandoned: figures.abandoned,
            overflowed: figures.overflowed,
            waited_s: figures.waited_ms / 1000,
            talked_s: figures.talked_ms / 1000,
            agents: agents.iter().map(|aor| agent(aor)).collect(),
        }
    }

    /// Whether an agent has a phone that is registered, and wants calls of whoever is no particular
    /// caller.
    fn takes_calls(&self, aor: &str) -> bool {
        let anybody = feature::Caller {
            number: "",
            uri: "",
            anonymous: false,
        };
        self.location.reaches(aor) && self.features.rings_in_group(aor, anybody)
    }

    /// Logs an agent in at a queue, or out.
    pub(super) fn queue_login(&mut self, aor: &str, queue: &str, on: bool) -> Reply {
        let Some(found) = self.config.queues.iter().find(|q| *q.name == *queue) else {
            return no_queue(queue);
        };
        let aor = self.whole(aor);
        let fixed = found.agents.iter().any(|agent| self.whole(agent) == aor);
        let allowed = found
            .logins
            .iter()
            .any(|l| **l == *"*" || self.whole(l) == aor);
        if fixed || on && !allowed {
            let (problem, remedy) = match fixed {
                true => (
                    "is an agent of it by the file",
                    "voipctl queue pause rests an agent",
                ),
                false => (
                    "may not be an agent of it",
                    "add the user to logins of that [[queue]]",
                ),
            };
            return Reply::failed(Failure::BadCommand, format!("{aor} {problem}"), remedy);
        }
        let done = match on {
            true => format!("{aor} is logged in at {queue}"),
            false => format!("{aor} is logged out of {queue}"),
        };
        self.change_agent(&aor, &Change::Queue(queue.into(), on), done)
    }

    /// Gives an agent a pause from all queues, or ends it.
    pub(super) fn queue_pause(&mut self, aor: &str, on: bool) -> Reply {
        let aor = self.whole(aor);
        let done = match on {
            true => format!("no queue calls {aor}"),
            false => format!("queues call {aor} again"),
        };
        self.change_agent(&aor, &Change::QueuePause(on), done)
    }

    fn change_agent(&mut self, aor: &str, change: &Change, done: String) -> Reply {
        if self.directory.get(aor).is_none() {
            let problem = format!("there is no user {aor}");
            let remedy = "voipctl user list shows who there is";
            return Reply::failed(Failure::NotFound, problem, remedy);
        }
        match self.features.change(aor, change) {
            Ok(record) => {
                let record = Record::PutFeatures(Box::new(record));
                self.outputs.push_back(Output::Persist(record));
                Reply::done(done)
            }
            Err(refusal) => Reply::failed(Failure::Full, refusal.reason, ""),
        }
    }

    fn whole(&self, user: &str) -> Box<str> {
        match user.contains('@') {
            true => user.into(),
            false => format!("{user}@{}", self.config.node.default_domain()).into(),
        }
    }
}

fn no_queue(name: &str) -> Reply {
    let problem = format!("there is no queue {name}");
    Reply::failed(Failure::NotFound, problem, "voipctl queue list shows them")
}
