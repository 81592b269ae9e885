//! The machine itself: requests come in, the relay is told, replies go out when it has answered.

use super::cache::{Known, Name, ReplyCache};
use super::call::{Call, Dialogue};
use super::exchange::{LOAD_LIMIT, NO_PORTS};
use super::message::{self, Format};
use super::record::Begun;
use super::request::{Command, Refusal, Request};
use super::stats::{Figures, Snapshot};
use super::{Counts, NG_SESSIONS, Output, Settings};
use crate::base::{Instant, Key, Rng, Slab, TimerId, TimerTable};
use crate::media::Order;
use crate::relay::{
    Failure, LegStats, MediaCommand, MediaEvent, PortPool, STREAMS_MAX, Silent, legs_of,
};
use crate::store::EndCause;
use crate::wire::bencode::Dictionary;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Requests that wait for the relay at a time.
pub const JOBS_MAX: usize = 4096;
/// A relay that has not answered by then does not.
pub const RELAY_ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// A session that was closed and of which nothing is heard gives its ports back.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
/// Sets of ports that are tried for one offer.
const TRIES_MAX: u8 = 4;
/// What the log says once each.
const NOTES_MAX: usize = 256;

/// Whom a reply goes to, and how it is written.
#[derive(Clone, Debug)]
pub(super) struct Client {
    name: Name,
    format: Format,
}

/// What a session of the relay is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expect {
    Opened,
    Report,
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    expect: Expect,
    /// Whose work it is, and which part of it.
    job: Option<(Key, usize)>,
}

/// One session of the relay.
#[derive(Debug)]
struct Session {
    call_id: Box<[u8]>,
    dialogue: u64,
    /// Our ports, once it was told to close.
    closing: Option<Vec<u16>>,
    waiting: VecDeque<Waiting>,
}

/// What is answered once the relay has done its part.
#[derive(Debug)]
pub(super) enum Work {
    /// An offer or answer.
    Describe(Described),
    /// A query, or a deletion.
    Tell(Box<Snapshot>),
    /// Nobody asked: we look whether a call is still there.
    Watch { call_id: Box<[u8]>, dialogue: u64 },
}

/// An offer or answer that was taken into its call.
#[derive(Debug)]
pub(super) struct Described {
    request: Box<Request>,
    /// For its reader.
    sdp: Vec<u8>,
    /// How often other ports were tried.
    tries: u8,
    /// What its dialogue was before.
    before: Option<Box<Dialogue>>,
    /// Why the relay did not go along.
    refused: Option<Failure>,
}

#[derive(Debug)]
struct Job {
    client: Option<Client>,
    work: Work,
    left: usize,
    timer: TimerId,
}

#[derive(Debug)]
pub(super) enum Timer {
    Job(Option<Key>),
    Closing(u64),
    Ending { call_id: Box<[u8]>, dialogue: u64 },
    Watch { call_id: Box<[u8]>, dialogue: u64 },
}

/// The machine. See the module's text.
#[derive(Debug)]
pub struct Ng {
    pub(super) settings: Settings,
    pub(super) pool: PortPool,
    pub(super) calls: BTreeMap<Box<[u8]>, Call>,
    pub(super) timers: TimerTable<Timer>,
    pub(super) counts: Counts,
    pub(super) started: Instant,
    pub(super) rng: Rng,
    sessions: BTreeMap<u64, Session>,
    jobs: Slab<Job>,
    cache: ReplyCache,
    pub(super) outputs: VecDeque<Output>,
    /// Files that are being written, by their tasks.
    pub(super) recordings: BTreeMap<u32, Begun>,
    pub(super) next_tape: u32,
    next_session: u64,
    next_dialogue: u64,
    noted: BTreeSet<String>,
}

impl Ng {
    /// Without calls; its ports come from `pool`, its keys from `rng`.
    pub fn new(now: Instant, settings: Settings, pool: PortPool, rng: Rng) -> Self {
        Self {
            settings,
            pool,
            calls: BTreeMap::new(),
            timers: TimerTable::new(),
            counts: Counts::default(),
            started: now,
            rng,
            sessions: BTreeMap::new(),
            jobs: Slab::new(JOBS_MAX),
            cache: ReplyCache::default(),
            outputs: VecDeque::new(),
            recordings: BTreeMap::new(),
            next_tape: 0,
            next_session: *NG_SESSIONS.start(),
            next_dialogue: 0,
            noted: BTreeSet::new(),
        }
    }

    /// The configuration was read again, or the calendar moved.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// What was counted since the start.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many calls there are.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// How many sessions the relay has of them.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many pairs of ports are free.
    pub fn ports_free(&self) -> usize {
        self.pool.free()
    }

    /// A datagram came. Drain [`Ng::poll_output`] afterwards.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let host = from.ip();
        if !self.settings.allow.iter().any(|net| net.contains(host)) {
            self.counts.refused += 1;
            self.note(format!("{host} is not in [rtp] ng_allow: not answered"));
            return;
        }
        let Some((cookie, document)) = message::split(datagram) else {
            self.counts.malformed += 1;
            return;
        };
        let name: Name = (from, cookie.into());
        match self.cache.look_up(now, &name) {
            Known::New => {}
            Known::Pending => {
                self.counts.repeated += 1;
                return;
            }
            Known::Answered(reply) => {
                self.counts.repeated += 1;
                self.outputs.push_back(Output::Reply {
                    to: from,
                    datagram: reply,
                });
                return;
            }
        }
        let (format, dictionary) = message::parse(document);
        let client = Client { name, format };
        let request = match dictionary.map(|d| Request::parse(&d)) {
            Ok(Ok(request)) => request,
            Err(reason) | Ok(Err(Refusal::Said(reason))) => return self.refuse(&client, reason),
            Ok(Err(Refusal::NotHere(command))) => {
                return self.refuse(&client, &format!("{command} is not supported here"));
            }
        };
        if let Some(count) = self.counts.commands.get_mut(request.command.index()) {
            *count += 1;
        }
        for note in &request.options.notes {
            self.note(note.clone());
        }
        self.dispatch(now, client, request);
    }

    fn dispatch(&mut self, now: Instant, client: Client, request: Request) {
        match request.command {
            Command::Ping => {
                let mut reply = Dictionary::new();
                reply.add("result", "pong");
                self.send(&client, &reply);
            }
            Command::Offer | Command::Answer => self.describe(now, client, request, 0),
            Command::Delete => self.delete(now, client, &request),
            Command::Query => self.query(now, client, &request),
            Command::List => {
                let list = self.list(request.limit);
                self.reply(&client, list);
            }
            Command::Statistics => {
                let statistics = self.statistics(now);
                self.reply(&client, statistics);
            }
            Command::BlockMedia
            | Command::UnblockMedia
            | Command::BlockDtmf
            | Command::UnblockDtmf => self.block(now, client, &request),
            Command::StartRecording | Command::StopRecording | Command::PauseRecording => {
                self.record(now, client, &request);
            }
        }
    }

    /// An offer or answer: changes the call, tells the relay, and answers once that has its ports.
    fn describe(&mut self, now: Instant, client: Client, request: Request, tries: u8) {
        let prepared = match self.exchange(now, &request) {
            Ok(prepared) => prepared,
            Err(reason) if reason == LOAD_LIMIT && request.options.knows_load_limit => {
                return self.limit(&client, &reason);
            }
            Err(reason) => {
                // What was tried before is not what holds.
                if tries > 0 {
                    self.tell_anew(&request.call_id);
                }
                return self.refuse(&client, &reason);
            }
        };
        let Some((dialogue, legs)) = prepared.relayed else {
            return self.answer_with(&client, &prepared.sdp);
        };
        let call_id = request.call_id.clone();
        let session = self.session_of(&call_id, dialogue);
        let work = Work::Describe(Described {
            request: Box::new(request),
            sdp: prepared.sdp,
            tries,
            before: prepared.before,
            refused: None,
        });
        let job = self.begin(now, Some(client), work, 1);
        match session {
            Some(session) => {
                self.tell(MediaCommand::Update { session, legs });
                self.ask(session, job.map(|key| (key, 0)));
            }
            None => {
                let session = self.open(&call_id, dialogue);
                self.tell(MediaCommand::Open { session, legs });
                self.wait(session, Expect::Opened, job.map(|key| (key, 0)));
            }
        }
        self.settle_tapes(now, &call_id);
    }

    fn session_of(&self, call_id: &[u8], dialogue: u64) -> Option<u64> {
        let call = self.calls.get(call_id)?;
        call.dialogues.iter().find(|d| d.id == dialogue)?.session
    }

    /// Whose session it is.
    pub(super) fn dialogue_by(&self, session: u64) -> Option<(Box<[u8]>, u64)> {
        let row = self.sessions.get(&session)?;
        Some((row.call_id.clone(), row.dialogue))
    }

    fn open(&mut self, call_id: &[u8], dialogue: u64) -> u64 {
        let session = self.next_session;
        self.next_session = match session < *NG_SESSIONS.end() {
            true => session + 1,
            false => *NG_SESSIONS.start(),
        };
        let row = Session {
            call_id: call_id.into(),
            dialogue,
            closing: None,
            waiting: VecDeque::new(),
        };
        self.sessions.insert(session, row);
        if let Some(dialogue) = self.dialogue_mut(call_id, dialogue) {
            dialogue.session = Some(session);
        }
        session
    }

    pub(super) fn dialogue_mut(&mut self, call_id: &[u8], dialogue: u64) -> Option<&mut Dialogue> {
        let call = self.calls.get_mut(call_id)?;
        call.dialogues.iter_mut().find(|d| d.id == dialogue)
    }

    /// A number for a new dialogue.
    pub(super) fn name_dialogue(&mut self) -> u64 {
        self.next_dialogue += 1;
        self.next_dialogue
    }

    /// Takes up work that has `parts`; `None`, and the client is told, if there is too much.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        client: Option<Client>,
        work: Work,
        parts: usize,
    ) -> Option<Key> {
        let timer = self
            .timers
            .arm(now + RELAY_ANSWERS_WITHIN, Timer::Job(None));
        let job = Job {
            client,
            work,
            left: parts,
            timer,
        };
        match self.jobs.insert(job) {
            Ok(key) => {
                self.timers.cancel(timer);
                let timer = self
                    .timers
                    .arm(now + RELAY_ANSWERS_WITHIN, Timer::Job(Some(key)));
                if let Some(job) = self.jobs.get_mut(key) {
                    job.timer = timer;
                }
                Some(key)
            }
            Err(job) => {
                self.timers.cancel(timer);
                if let Some(client) = job.client {
                    self.refuse(&client, "too many requests are under way");
                }
                None
            }
        }
    }

    /// Asks the relay for a report.
    pub(super) fn ask(&mut self, session: u64, job: Option<(Key, usize)>) {
        self.tell(MediaCommand::Query { session });
        self.wait(session, Expect::Report, job);
    }

    pub(super) fn wait(&mut self, session: u64, expect: Expect, job: Option<(Key, usize)>) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.waiting.push_back(Waiting { expect, job });
        }
    }

    pub(super) fn tell(&mut self, command: MediaCommand) {
        self.outputs.push_back(Output::Media(command));
    }

    /// Tells the relay anew how the sides of a call are heard: what is blocked, and heard here.
    pub(super) fn tell_anew(&mut self, call_id: &[u8]) {
        self.tell_of_each(call_id, |_| true);
    }

    fn tell_of_each(&mut self, call_id: &[u8], chosen: impl Fn(&Dialogue) -> bool) {
        let Some(call) = self.calls.get(call_id) else {
            return;
        };
        let dialogues = call.dialogues.iter().filter(|dialogue| chosen(dialogue));
        let updates = dialogues.filter_map(|dialogue| {
            let (session, legs) = (dialogue.session?, dialogue.legs(call.blocking)?);
            Some(MediaCommand::Update { session, legs })
        });
        for update in updates.collect::<Vec<_>>() {
            self.tell(update);
        }
    }

    /// The relay says something of a session of [`NG_SESSIONS`].
    pub fn handle_media(&mut self, now: Instant, event: MediaEvent) {
        let session = event.session();
        match event {
            MediaEvent::Opened { .. } => self.on_done(now, session, Expect::Opened, None),
            MediaEvent::Report { legs, streams, .. } => {
                let figures = Figures { legs, streams };
                self.on_done(now, session, Expect::Report, Some(figures));
            }
            MediaEvent::Closed { legs, streams, .. } => {
                let figures = Figures { legs, streams };
                self.on_done(now, session, Expect::Closed, Some(figures));
                self.forget(now, session);
            }
            MediaEvent::Failed { reason, .. } => self.on_failed(now, session, reason),
            MediaEvent::Unchanged { reason, .. } => self.on_unchanged(session, reason),
            // A side that only listens is no reason: the other may play music for hours.
            MediaEvent::Timeout {
                silent: Silent::One(_),
                ..
            } => {}
            MediaEvent::Timeout {
                silent: Silent::Both,
                ..
            } => {
                let found = self.sessions.get(&session);
                if let Some((call_id, id)) = found.map(|s| (s.call_id.clone(), s.dialogue)) {
                    self.counts.timeouts += 1;
                    let shown = String::from_utf8_lossy(&call_id);
                    tracing::info!("call {shown} is silent: its ports are freed");
                    self.end(now, &call_id, (id, EndCause::MediaTimeout), None);
                }
            }
        }
    }

    fn on_done(&mut self, now: Instant, session: u64, what: Expect, figures: Option<Figures>) {
        let Some(row) = self.sessions.get_mut(&session) else {
            return;
        };
        // An answer that was lost must not leave everybody one behind: it is nobody's now.
        let jobs = &self.jobs;
        let is_awaited = |w: &Waiting| w.job.is_some_and(|(key, _)| jobs.get(key).is_some());
        row.waiting
            .retain(|w| w.expect != Expect::Report || is_awaited(w));
        // A relay that begins anew says of its own accord what it opened.
        let Some(at) = row.waiting.iter().position(|w| w.expect == what) else {
            if what == Expect::Opened {
                let (call_id, dialogue) = (row.call_id.clone(), row.dialogue);
                self.place_anew(now, &call_id, dialogue);
                self.tape_anew(now, &call_id, dialogue);
            }
            return;
        };
        if let Some(Waiting { job: Some(job), .. }) = row.waiting.remove(at) {
            self.part_done(now, job, figures);
        }
    }

    /// The session is gone in the relay.
    fn forget(&mut self, now: Instant, session: u64) {
        let Some(row) = self.sessions.remove(&session) else {
            return;
        };
        row.closing
            .into_iter()
            .flatten()
            .for_each(|port| self.pool.release(port));
        for waiting in row.waiting {
            if let Some(job) = waiting.job {
                self.part_done(now, job, None);
            }
        }
    }

    fn on_failed(&mut self, now: Instant, session: u64, reason: Failure) {
        let Some(row) = self.sessions.get(&session) else {
            return;
        };
        let (call_id, id, closing) = (row.call_id.clone(), row.dialogue, row.closing.is_some());
        if let Failure::Port(port) | Failure::PortInUse(port) = reason {
            self.pool.mark_bad(port);
            if let Some(dialogue) = self.dialogue_mut(&call_id, id) {
                for party in &mut dialogue.parties {
                    for place in &mut party.ports {
                        *place = place.filter(|p| *p != port & !1);
                    }
                }
            }
        }
        if let Some(dialogue) = self.dialogue_mut(&call_id, id)
            && !closing
        {
            dialogue.session = None;
            // How far their keys were used is gone with the session.
            let streams = dialogue.parties.iter_mut().flat_map(|p| &mut p.streams);
            streams.for_each(|stream| stream.forget(true));
        }
        let new = |row: &Session| row.waiting.iter().any(|w| w.expect == Expect::Opened);
        let retries = self.sessions.get(&session).is_some_and(new);
        // What the studio does of it ends as well.
        let streams = match self.dialogue_mut(&call_id, id) {
            Some(dialogue) => dialogue.streams(),
            None => STREAMS_MAX,
        };
        for session in legs_of(session, streams.max(1)) {
            self.order(Order::Close { session });
        }
        self.forget(now, session);
        if !closing && !retries {
            tracing::warn!("the relay lost a call: {reason:?}");
            self.end(now, &call_id, (id, EndCause::MediaFailed), None);
        }
    }

    /// The relay could not do what it was told of a session that goes on: whoever asked for that
    /// hears of it with the report that follows.
    fn on_unchanged(&mut self, session: u64, reason: Failure) {
        if let Failure::Port(port) | Failure::PortInUse(port) = reason {
            self.pool.mark_bad(port);
        }
        let Some(row) = self.sessions.get(&session) else {
            return;
        };
        for (key, _) in row.waiting.iter().filter_map(|waiting| waiting.job) {
            if let Some(job) = self.jobs.get_mut(key)
                && let Work::Describe(described) = &mut job.work
                && described.refused.is_none()
            {
                described.refused = Some(reason);
                return;
            }
        }
    }

    fn part_done(&mut self, now: Instant, (key, part): (Key, usize), figures: Option<Figures>) {
        let Some(job) = self.jobs.get_mut(key) else {
            return;
        };
        job.left = job.left.saturating_sub(1);
        let legs = figures.as_ref().map(|figures| figures.legs.clone());
        if let Work::Tell(snapshot) = &mut job.work {
            snapshot.add(part, figures);
        }
        if job.left > 0 {
            return;
        }
        let Some(job) = self.jobs.remove(key) else {
            return;
        };
        self.timers.cancel(job.timer);
        match (job.work, job.client) {
            (Work::Tell(snapshot), Some(client)) => {
                let told = snapshot.render(now, &self.settings.anchor);
                self.reply(&client, told);
            }
            (Work::Watch { call_id, dialogue }, _) => {
                self.on_watched(now, &call_id, dialogue, legs.as_deref());
            }
            (Work::Describe(described), Some(client)) => match described.refused {
                Some(reason) => self.on_refused(now, client, described, reason),
                None => self.on_described(now, client, described),
            },
            (Work::Tell(_) | Work::Describe(_), None) => {}
        }
    }

    /// The relay could not get the ports of an offer or answer, and what was agreed before holds:
    /// where nobody was told of the ports others are as good. Who answers was, by the offer.
    fn on_refused(&mut self, now: Instant, client: Client, described: Described, reason: Failure) {
        let Described {
            request,
            before,
            tries,
            ..
        } = described;
        let call_id = &request.call_id;
        let id = before.as_ref().map(|before| before.id);
        let found = id.and_then(|id| self.dialogue_mut(call_id, id));
        let (Some(before), Some(dialogue)) = (before, found) else {
            return self.refuse(&client, "the call ended meanwhile");
        };
        let (old, mut new) = (before.ports(), dialogue.ports());
        if dialogue.take_back(*before) {
            new.retain(|port| !old.contains(port));
            new.into_iter().for_each(|port| self.pool.release(port));
            let bad = match reason {
                Failure::Port(port) | Failure::PortInUse(port) => Some(port & !1),
                Failure::Full | Failure::BadStreams | Failure::Duplicate | Failure::Unknown => None,
            };
            let mut told = false;
            if let Some(dialogue) = id.and_then(|id| self.dialogue_mut(call_id, id)) {
                let answerer = dialogue.offerer.other();
                told = request.command == Command::Answer
                    && dialogue.party(answerer).ports.contains(&bad);
                let mut ports = dialogue
                    .parties
                    .iter_mut()
                    .flat_map(|party| &mut party.ports);
                ports
                    .find(|port| bad.is_some() && **port == bad)
                    .map(Option::take);
            }
            if bad.is_some() && !told && tries < TRIES_MAX {
                return self.describe(now, client, *request, tries + 1);
            }
            self.tell_of_each(call_id, |dialogue| Some(dialogue.id) == id);
            self.settle_tapes(now, call_id);
        }
        self.refuse(&client, NO_PORTS);
    }

    /// The relay has the ports of an offer or answer, or could not get them and lost the session.
    fn on_described(&mut self, now: Instant, client: Client, described: Described) {
        let Described {
            request,
            sdp,
            tries,
            ..
        } = described;
        let call = self.calls.get(&request.call_id);
        let found = call.and_then(|call| match request.command {
            Command::Answer => call.of_answer(&request),
            _ => call.of_offer(&request),
        });
        let dialogue = found.and_then(|(at, _)| call?.dialogues.get(at));
        match dialogue.map(|d| (d.session.is_some(), d.is_answered(), d.id)) {
            Some((true, ..)) => self.answer_with(&client, &sdp),
            // Nobody was told of the ports: others are as good.
            Some((false, false, _)) if tries < TRIES_MAX => {
                self.describe(now, client, *request, tries + 1);
            }
            Some((false, _, id)) => {
                self.end(now, &request.call_id, (id, EndCause::MediaFailed), None);
                self.refuse(&client, NO_PORTS);
            }
            None => self.refuse(&client, "the call ended meanwhile"),
        }
    }

    /// A dialogue is over: the relay closes its session, then its ports are free. `job` hears of
    /// the final counters.
    pub(super) fn end(
        &mut self,
        now: Instant,
        call_id: &[u8],
        (dialogue, cause): (u64, EndCause),
        job: Option<(Key, usize)>,
    ) {
        let Some(call) = self.calls.get_mut(call_id) else {
            return;
        };
        let Some(at) = call.dialogues.iter().position(|d| d.id == dialogue) else {
            return;
        };
        let dialogue = call.dialogues.remove(at);
        if call.dialogues.is_empty() {
            self.calls.remove(call_id);
            self.counts.ended += 1;
        }
        self.recorded_until(&dialogue, cause);
        for timer in [dialogue.ending, dialogue.watch].into_iter().flatten() {
            self.timers.cancel(timer);
        }
        let row = dialogue.session.and_then(|s| self.sessions.get_mut(&s));
        let (Some(session), Some(row)) = (dialogue.session, row) else {
            dialogue
                .ports()
                .into_iter()
                .for_each(|port| self.pool.release(port));
            if let Some(job) = job {
                self.part_done(now, job, None);
            }
            return;
        };
        row.closing = Some(dialogue.ports());
        self.timers
            .arm(now + CLOSED_WITHIN, Timer::Closing(session));
        self.tell(MediaCommand::Close { session });
        self.wait(session, Expect::Closed, job);
    }

    /// What to do next, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Ng::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Job(key) => self.on_late(now, key),
                Timer::Closing(session) => self.forget(now, session),
                Timer::Ending { call_id, dialogue } => {
                    if let Some(dialogue) = self.dialogue_mut(&call_id, dialogue) {
                        dialogue.ending = None;
                    }
                    self.end(now, &call_id, (dialogue, EndCause::CallerHungUp), None);
                }
                Timer::Watch { call_id, dialogue } => self.on_watch(now, &call_id, dialogue),
            }
        }
    }

    /// The relay has not answered in time.
    fn on_late(&mut self, now: Instant, key: Option<Key>) {
        let Some(job) = key.and_then(|key| self.jobs.remove(key)) else {
            return;
        };
        match (job.work, job.client) {
            (Work::Tell(snapshot), Some(client)) => {
                let told = snapshot.render(now, &self.settings.anchor);
                self.reply(&client, told);
            }
            (Work::Describe(_), Some(client)) => {
                self.refuse(&client, "the relay does not answer");
            }
            (Work::Watch { call_id, dialogue }, _) => self.watch(now, &call_id, dialogue),
            (Work::Tell(_) | Work::Describe(_), None) => {}
        }
    }

    /// It is time to see whether a call is still there.
    fn on_watch(&mut self, now: Instant, call_id: &[u8], id: u64) {
        let idle = self.settings.idle;
        let Some(dialogue) = self.dialogue_mut(call_id, id) else {
            return;
        };
        dialogue.watch = None;
        let (touched, session) = (dialogue.touched, dialogue.session);
        match (now >= touched + idle, dialogue.is_answered(), session) {
            (true, true, Some(session)) => {
                let work = Work::Watch {
                    call_id: call_id.into(),
                    dialogue: id,
                };
                let job = self.begin(now, None, work, 1);
                self.ask(session, job.map(|key| (key, 0)));
            }
            (true, ..) => {
                self.counts.timeouts += 1;
                self.end(now, call_id, (id, EndCause::MediaTimeout), None);
            }
            (false, ..) => self.watch(now, call_id, id),
        }
    }

    fn on_watched(&mut self, now: Instant, call_id: &[u8], id: u64, legs: Option<&[LegStats; 2]>) {
        let idle = self.settings.idle;
        let silent = |leg: &LegStats| leg.silent_for.is_none_or(|time| time >= idle);
        match legs {
            Some(legs) if !legs.iter().all(silent) => {
                // Looked at again when the packets are as old.
                if let Some(dialogue) = self.dialogue_mut(call_id, id) {
                    dialogue.touched = now;
                }
                self.watch(now, call_id, id);
            }
            _ => {
                self.counts.timeouts += 1;
                self.end(now, call_id, (id, EndCause::MediaTimeout), None);
            }
        }
    }

    /// Looks after a dialogue when nothing was said of it for long.
    pub(super) fn watch(&mut self, now: Instant, call_id: &[u8], id: u64) {
        let idle = self.settings.idle;
        let Some(dialogue) = self.dialogue_mut(call_id, id) else {
            return;
        };
        let at = (dialogue.touched + idle).max(now + Duration::from_secs(1));
        let old = dialogue.watch.take();
        let timer = Timer::Watch {
            call_id: call_id.into(),
            dialogue: id,
        };
        old.map(|old| self.timers.cancel(old));
        let timer = self.timers.arm(at, timer);
        if let Some(dialogue) = self.dialogue_mut(call_id, id) {
            dialogue.watch = Some(timer);
        }
    }

    fn answer_with(&mut self, client: &Client, sdp: &[u8]) {
        let mut reply = Dictionary::new();
        reply.add("sdp", sdp);
        self.reply(client, reply);
    }

    /// Replies that it is done.
    pub(super) fn reply(&mut self, client: &Client, mut reply: Dictionary) {
        reply.add("result", "ok");
        self.send(client, &reply);
    }

    /// Replies that it is not.
    pub(super) fn refuse(&mut self, client: &Client, reason: &str) {
        self.counts.errors += 1;
        let mut reply = Dictionary::new();
        reply.add("result", "error").add("error-reason", reason);
        self.send(client, &reply);
    }

    /// Replies that there are as many calls as there may be, in words that not every client knows:
    /// others go to another relay at an error of that name.
    fn limit(&mut self, client: &Client, reason: &str) {
        self.counts.errors += 1;
        let mut reply = Dictionary::new();
        reply.add("result", "load limit").add("message", reason);
        self.send(client, &reply);
    }

    fn send(&mut self, client: &Client, reply: &Dictionary) {
        let (to, cookie) = &client.name;
        let datagram = message::emit(cookie, client.format, reply);
        self.cache.keep(&client.name, &datagram);
        self.outputs.push_back(Output::Reply { to: *to, datagram });
    }

    pub(super) fn note(&mut self, text: String) {
        if self.noted.len() < NOTES_MAX && !self.noted.contains(&text) {
            tracing::warn!("ng: {text}");
            self.noted.insert(text);
        }
    }
}
