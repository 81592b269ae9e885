//! A caller of a `[[queue]]`: greeted, kept with music and word of its place, then brought to an
//! agent; or sent elsewhere.
//!
//! ```text
//!   Greeting --> Waiting <--> Announcing
//!                 |  ^ nobody took it
//!                 v  |
//!                Ringing --answer--> Talking
//! ```
//! Once a second a caller asks whether it is its turn.

use super::menu::Attendant;
use super::program::{Account, Event, Led, Program, Reach, Scene};
use crate::config::{Config, Menu, Queue};
use crate::feature::{Rules, Ticket, Turn};
use crate::media::say::Gender;
use crate::media::{Sound, Task};
use std::sync::Arc;
use std::time::Duration;

use crate::base::Instant;

const WORDS: u32 = 0;
const MUSIC: u32 = 1;
const TICK: u32 = 0;
/// How long those who wait already stay where no agent can be rung: a phone that registers anew may
/// be away for a moment.
const ABSENCE_MAX: Duration = Duration::from_secs(15);
/// How often a caller asks.
const TICKS: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Queueing {
    queue: Queue,
    /// For what follows if nobody answers.
    menus: Arc<[Menu]>,
    /// Until the caller is not the queue's any more.
    ticket: Option<Ticket>,
    /// Who took the call, where that is known.
    agent: Option<Box<str>>,
    doing: Doing,
    since: Instant,
    announced: Instant,
    /// When an agent was there last.
    reached: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    Beginning,
    Greeting,
    Waiting,
    Announcing,
    Ringing,
    Talking,
    /// Another program has the caller.
    Gone,
}

impl Queueing {
    /// In the queue of a name.
    pub fn new(config: &Config, name: &str) -> Option<Self> {
        let queue = config.queues.iter().find(|queue| *queue.name == *name)?;
        Some(Self {
            queue: queue.clone(),
            menus: Arc::clone(&config.menus),
            ticket: None,
            agent: None,
            doing: Doing::Beginning,
            since: Instant::ZERO,
            announced: Instant::ZERO,
            reached: Instant::ZERO,
        })
    }

    fn rules(&self) -> Rules {
        Rules {
            strategy: self.queue.strategy,
            wrap_up: self.queue.wrap_up,
        }
    }

    fn begin(&mut self, scene: &mut Scene<'_>) {
        (self.since, self.announced, self.reached) = (scene.now, scene.now, scene.now);
        let agents = agents(&self.queue, scene);
        if within_reach(&present(&agents, scene), scene).is_empty() {
            return self.overflow(scene, "no agent");
        }
        let queues = scene.house.features.queues();
        self.ticket = queues.enter(&self.queue.name, self.queue.calls_max, scene.now);
        let Some(ticket) = &self.ticket else {
            return self.overflow(scene, "full");
        };
        let (place, _) = ticket.place(0);
        scene.note(&format!("queue {}: place {place}", self.queue.name));
        if self.queue.greeting.is_empty() {
            return self.wait(scene);
        }
        let mut words = vec![scene.voice.pause()];
        words.extend(scene.voice.prompts(&self.queue.greeting));
        scene.play(WORDS, words, false);
        self.doing = Doing::Greeting;
    }

    /// With music, from now on.
    fn wait(&mut self, scene: &mut Scene<'_>) {
        music(scene);
        scene.after(TICKS, TICK);
        self.doing = Doing::Waiting;
    }

    fn on_tick(&mut self, scene: &mut Scene<'_>) {
        let waited = scene.now.since(self.since);
        if !self.queue.wait_max.is_zero() && waited >= self.queue.wait_max {
            return self.overflow(scene, "waited too long");
        }
        let agents = agents(&self.queue, scene);
        let present = present(&agents, scene);
        let there = within_reach(&present, scene);
        if !there.is_empty() {
            self.reached = scene.now;
        }
        if present.is_empty() || scene.now.since(self.reached) >= ABSENCE_MAX {
            return self.overflow(scene, "no agent");
        }
        let Some(ticket) = &self.ticket else {
            return;
        };
        let features = scene.house.features;
        let rings = |aor: &str| there.binary_search(&aor).is_ok() && features.calls_of(aor) == 0;
        if let Turn::Ring(agents) = ticket.turn(&agents, rings, self.rules(), scene.now) {
            return self.ring(scene, &agents);
        }
        let announces = !self.queue.announce.is_zero() && self.doing == Doing::Waiting;
        if announces && scene.now.since(self.announced) >= self.queue.announce {
            let (place, wait) = ticket.place(there.len());
            self.announce(scene, place, wait);
        }
        scene.after(TICKS, TICK);
    }

    fn ring(&mut self, scene: &mut Scene<'_>, agents: &[Box<str>]) {
        scene.connect(Reach {
            // With a bar it is a list, also of one: what agents forward is not followed.
            to: format!("{}|", agents.join("|")).into(),
            account: Account::House,
            caller_id: None,
            ring: self.queue.ring,
            headers: Vec::new(),
            led: Led::Nowhere,
        });
        self.doing = Doing::Ringing;
    }

    /// Says which place it is, and how long it may take.
    fn announce(&mut self, scene: &mut Scene<'_>, place: usize, wait: Option<Duration>) {
        let voice = scene.voice;
        let number = |n: usize, gender| voice.number(u32::try_from(n).unwrap_or(u32::MAX), gender);
        let mut words = vec![voice.pause()];
        if place == 1 {
            words.push(voice.prompt("queue-youarenext"));
        } else {
            words.push(voice.prompt("queue-thereare"));
            words.extend(number(place, Gender::Alone));
            words.push(voice.prompt("queue-callswaiting"));
        }
        if let Some(wait) = wait {
            let minutes = wait.as_secs().div_ceil(60).max(1) as usize;
            words.extend([voice.pause(), voice.prompt("queue-holdtime")]);
            words.extend(number(minutes, Gender::Masculine));
            words.push(voice.prompt(if minutes == 1 { "minute" } else { "minutes" }));
        }
        words.extend([voice.pause(), voice.prompt("queue-thankyou")]);
        scene.play(WORDS, words, false);
        self.announced = scene.now;
        self.doing = Doing::Announcing;
    }

    fn joined(&mut self, scene: &mut Scene<'_>) {
        self.doing = Doing::Talking;
        let features = scene.house.features;
        let Some(ticket) = &self.ticket else {
            return;
        };
        let agent = ticket.answered(scene.now, |aor| features.taken_by(aor) > 0);
        let waited = scene.now.since(self.since).as_secs();
        let by = agent.as_ref();
        let by = by.map_or_else(String::new, |aor| format!(", agent {aor}"));
        self.agent = agent;
        let queue = &self.queue.name;
        scene.note(&format!("queue {queue}: waited {waited} s{by}"));
    }

    /// The agent transferred the caller, or another call took the agent's place: the queue's call
    /// is over, unless that is of another phone of the agent.
    fn left(&mut self, scene: &Scene<'_>, user: Option<&str>) {
        if user.is_none() || user != self.agent.as_deref() {
            self.over(scene);
        }
    }

    fn refused(&mut self, scene: &mut Scene<'_>) {
        if let Some(ticket) = &self.ticket {
            ticket.refused(scene.now);
        }
        self.reached = scene.now;
        self.wait(scene);
    }

    fn overflow(&mut self, scene: &mut Scene<'_>, why: &str) {
        if let Some(ticket) = self.ticket.take() {
            ticket.overflow();
        }
        let waited = scene.now.since(self.since).as_secs();
        let queue = &self.queue.name;
        scene.note(&format!("queue {queue}: {why} after {waited} s"));
        let next = Attendant::perform(&self.menus, self.queue.overflow.clone());
        scene.change(Box::new(next));
        self.doing = Doing::Gone;
    }

    fn over(&mut self, scene: &Scene<'_>) {
        if let Some(ticket) = self.ticket.take()
            && self.doing == Doing::Talking
        {
            ticket.over(self.rules(), scene.now);
        }
    }
}

impl Program for Queueing {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn on(&mut self, scene: &mut Scene<'_>, event: Event) {
        match (self.doing, event) {
            (Doing::Beginning, Event::Begin) => self.begin(scene),
            // Another caller has this place, and heard nothing yet.
            (Doing::Greeting | Doing::Waiting | Doing::Announcing, Event::Begin) => {
                self.wait(scene);
            }
            (Doing::Greeting | Doing::Announcing, Event::Done(WORDS)) => self.wait(scene),
            // An agent became free meanwhile, and rings.
            (Doing::Ringing, Event::Done(WORDS) | Event::Begin) => music(scene),
            (Doing::Waiting | Doing::Announcing, Event::Due(TICK)) => self.on_tick(scene),
            (Doing::Ringing, Event::Joined) => self.joined(scene),
            (Doing::Ringing, Event::Refused(_)) => self.refused(scene),
            (Doing::Talking, Event::Parted) => {
                self.over(scene);
                scene.hang_up();
            }
            (Doing::Talking, Event::Left(user)) => self.left(scene, user.as_deref()),
            (_, Event::Ended) => self.over(scene),
            _ => {}
        }
    }
}

fn music(scene: &mut Scene<'_>) {
    let what = Task::Play {
        sounds: vec![Sound::Music],
        rounds: None,
        until_key: false,
    };
    scene.order(MUSIC, what);
}

/// The agents, `name@domain`: those of the file in its order, then those who logged in and still
/// may.
fn agents(queue: &Queue, scene: &Scene<'_>) -> Vec<Box<str>> {
    let domain = scene.config.node.default_domain();
    let always: Vec<Box<str>> = queue.agents.iter().map(|a| whole(a, domain)).collect();
    let features = scene.house.features;
    let mut agents = features.agents(&queue.name, &always);
    agents.retain(|aor| always.contains(aor) || may_log_in(queue, aor, domain));
    agents
}

/// Those of the agents who have no pause.
fn present<'a>(agents: &'a [Box<str>], scene: &Scene<'_>) -> Vec<&'a str> {
    let settings = |aor: &str| scene.house.features.settings(aor);
    let agents = agents.iter().map(|aor| &**aor);
    let present = agents.filter(|aor| settings(aor).is_none_or(|s| !s.queue_pause));
    present.collect()
}

/// Those of the agents who can be rung for this caller, or have a call: they have a phone that is
/// registered, and want such calls. Sorted.
fn within_reach<'a>(agents: &[&'a str], scene: &Scene<'_>) -> Vec<&'a str> {
    let house = scene.house;
    let has_phone = |aor: &str| house.location.reaches(aor) || house.features.calls_of(aor) > 0;
    let agents = agents.iter().copied();
    let there = agents.filter(|aor| has_phone(aor) && scene.wants_calls(aor));
    let mut there: Vec<&str> = there.collect();
    there.sort_unstable();
    there
}

/// Whether a user, `name@domain`, may be an agent by code.
pub(super) fn may_log_in(queue: &Queue, aor: &str, domain: &str) -> bool {
    let mut logins = queue.logins.iter();
    logins.any(|user| **user == *"*" || *whole(user, domain) == *aor)
}

fn whole(user: &str, domain: &str) -> Box<str> {
    match user.contains('@') {
        true => user.into(),
        false => format!("{user}@{domain}").into(),
    }
}

#[cfg(test)]
mod tests;
