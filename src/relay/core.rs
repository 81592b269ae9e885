//! The machine itself: commands change sessions, packets pass between ports, time finds silence.

use super::channel::{Channel, Lane, Role, Setting};
use super::command::{BindError, Failure, MediaCommand, MediaEvent, MediaKind, Side, SocketAction};
use super::datagram::Datagram;
use super::frame::Security;
use super::offload::{self, FastPath, FlowNews, FlowOrder, PortFlow, State, Stream};
use super::session::{Before, Plan, Session, Verdicts};
use super::stats::{DROP_REASONS, DropReason, LegStats, StreamStats};
use crate::base::{Instant, Key, Slab, TimerTable};
use crate::srtp::{Shared, SrtpError};
use crate::wire::ice::{self, Check};
use crate::wire::rtp::{Class, classify};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// The limits and times of a [`Relay`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelaySettings {
    /// The most sessions at a time.
    pub sessions_max: usize,
    /// For how long after opening or updating a port learns its peer's source.
    pub latch_window: Duration,
    /// Both sides silent for so long: `Timeout`.
    pub silence: Duration,
    /// One side silent for so long, though it should send: `Timeout`. Also both sides of a fax.
    pub silence_one_side: Duration,
    /// One side silent for so long: its ports take packets from anybody, so that what comes from
    /// elsewhere is counted.
    pub listen_wide: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            sessions_max: 20_000,
            latch_window: Duration::from_secs(3),
            silence: Duration::from_secs(60),
            silence_one_side: Duration::from_secs(300),
            listen_wide: Duration::from_secs(10),
        }
    }
}

/// What shall happen to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send it from our port `from_port` to `to`.
    Forward {
        /// Our port toward the other side.
        from_port: u16,
        /// The other side.
        to: SocketAddr,
    },
    /// It is for ourselves.
    Deliver {
        /// The session that it belongs to.
        session: u64,
        /// The place of its stream in the session.
        stream: usize,
        /// What it is.
        lane: Lane,
    },
    /// It passes, but is to be heard first: then [`Relay::pass_on`] tells where it goes. What was
    /// SRTP under keys of ours is in the clear now.
    Overhear {
        /// The session that it belongs to.
        session: u64,
        /// The place of its stream in the session.
        stream: usize,
        /// Who sent it.
        side: Side,
        /// What it is.
        lane: Lane,
    },
    /// It goes nowhere; already counted.
    Drop(DropReason),
}

/// The ports of one worker, found by their number.
#[derive(Debug)]
pub(super) struct Channels {
    places: Vec<Option<Box<Channel>>>,
    /// How many of them are for media, not for RTCP.
    streams: usize,
}

impl Channels {
    fn new() -> Self {
        Self {
            places: (0..=u16::MAX).map(|_| None).collect(),
            streams: 0,
        }
    }

    pub(super) fn get(&self, port: u16) -> Option<&Channel> {
        self.places.get(usize::from(port))?.as_deref()
    }

    pub(super) fn get_mut(&mut self, port: u16) -> Option<&mut Channel> {
        self.places.get_mut(usize::from(port))?.as_deref_mut()
    }

    fn insert(&mut self, port: u16, channel: Channel) {
        self.remove(port);
        if let Some(place) = self.places.get_mut(usize::from(port)) {
            self.streams += usize::from(channel.setting.role == Role::Media);
            *place = Some(Box::new(channel));
        }
    }

    fn remove(&mut self, port: u16) -> Option<Box<Channel>> {
        let gone = self.places.get_mut(usize::from(port))?.take()?;
        self.streams -= usize::from(gone.setting.role == Role::Media);
        Some(gone)
    }
}

/// The relay of one media worker. Its tables are bounded by the number of ports and by
/// [`RelaySettings::sessions_max`]; its queues by what one command gives rise to, since the driver
/// drains them after each.
#[derive(Debug)]
pub struct Relay {
    settings: RelaySettings,
    channels: Channels,
    sessions: Slab<Session>,
    by_name: HashMap<u64, Key>,
    timers: TimerTable<Key>,
    events: VecDeque<MediaEvent>,
    sockets: VecDeque<SocketAction>,
    no_session: u64,
    /// By [`DropReason::index`].
    dropped: [u64; DROP_REASONS],
    fast: Option<FastPath>,
    /// When to look whether a session's streams may come onto the fast path, or what it counted.
    looks: TimerTable<Key>,
    undo: Option<Undo>,
}

/// What the last command changed: it holds again if a port that it named cannot be bound.
#[derive(Debug)]
struct Undo {
    key: Key,
    now: Instant,
    before: Before,
}

impl Relay {
    /// Without sessions.
    pub fn new(settings: RelaySettings) -> Self {
        Self {
            settings,
            channels: Channels::new(),
            sessions: Slab::new(settings.sessions_max),
            by_name: HashMap::new(),
            timers: TimerTable::new(),
            events: VecDeque::new(),
            sockets: VecDeque::new(),
            no_session: 0,
            dropped: [0; DROP_REASONS],
            fast: None,
            looks: TimerTable::new(),
            undo: None,
        }
    }

    /// There is a fast path: [`Relay::poll_flow`] tells what it shall carry.
    pub fn use_fast_path(&mut self) {
        self.fast = Some(FastPath::default());
    }

    /// Carries out a command. Afterwards drain [`Relay::poll_socket`], then [`Relay::poll_event`].
    pub fn handle_command(&mut self, now: Instant, command: MediaCommand) {
        let name = command.session();
        let known = self.by_name.get(&name).copied();
        self.undo = None;
        match (command, known) {
            (MediaCommand::Open { .. }, Some(key)) => {
                self.discard(key);
                self.fail(name, Failure::Duplicate);
            }
            (MediaCommand::Open { legs, .. }, None) => self.on_open(now, name, &legs),
            (_, None) => self.fail(name, Failure::Unknown),
            (MediaCommand::Update { legs, .. }, Some(key)) => {
                self.on_update(now, (name, key), &legs)
            }
            (MediaCommand::Close { .. }, Some(key)) => self.on_close(now, key),
            (MediaCommand::Query { .. }, Some(key)) => {
                let (legs, streams) = self.stats(now, key);
                self.events.push_back(MediaEvent::Report {
                    session: name,
                    legs,
                    streams,
                });
            }
        }
    }

    /// A packet that came to our port `port` from `source`. Allocates nothing. Where keys of ours
    /// are in play it leaves decrypted, encrypted, or both.
    pub fn process(
        &mut self,
        now: Instant,
        port: u16,
        source: SocketAddr,
        packet: &mut Datagram<'_>,
    ) -> Verdict {
        let verdict = self.judge(now, port, source, packet);
        if let Verdict::Drop(reason) = verdict {
            self.count_dropped(reason);
        }
        verdict
    }

    fn count_dropped(&mut self, reason: DropReason) {
        if let Some(count) = self.dropped.get_mut(reason.index()) {
            *count += 1;
        }
    }

    fn judge(
        &mut self,
        now: Instant,
        port: u16,
        source: SocketAddr,
        packet: &mut Datagram<'_>,
    ) -> Verdict {
        let Some(channel) = self.channels.get_mut(port) else {
            self.no_session += 1;
            return Verdict::Drop(DropReason::NoSession);
        };
        if channel.setting.checked && classify(packet.bytes()) == Class::Stun {
            return self.on_check(now, port, source, packet);
        }
        // A key proves more than an address does: whatever a port learns, it learns from genuine
        // packets.
        if channel.setting.secured && channel.may_be_genuine(source) {
            let opened = open(&self.sessions, channel, packet);
            if let Err(reason) = opened {
                return Verdict::Drop(channel.drop(reason));
            }
        }
        let first = channel.heard().is_none();
        let (lane, news) = match channel.receive(now, source, packet.bytes()) {
            Ok(accepted) => accepted,
            Err(reason) => return Verdict::Drop(reason),
        };
        let setting = &channel.setting;
        let begins = first.then_some(setting.session);
        let delivers = setting
            .delivers
            .then_some((setting.session, setting.stream));
        let tapped = setting
            .tapped
            .then_some((setting.session, setting.stream, setting.side));
        let companion = channel.setting.companion.filter(|_| news);
        if lane == Lane::Rtcp {
            self.on_rtcp(now, port, packet.bytes());
        }
        if let Some(companion) = companion.and_then(|port| self.channels.get_mut(port)) {
            companion.gate.follow(source.ip());
        }
        if let Some(key) = begins {
            self.look_soon(now, key);
        }
        if let Some((key, stream)) = delivers {
            return match self.sessions.get(key).map(|session| session.name) {
                Some(session) => Verdict::Deliver {
                    session,
                    stream,
                    lane,
                },
                None => Verdict::Drop(DropReason::NoSession),
            };
        }
        let tapped = tapped.and_then(|(key, stream, side)| {
            let session = self.sessions.get(key)?.name;
            Some(Verdict::Overhear {
                session,
                stream,
                side,
                lane,
            })
        });
        tapped.unwrap_or_else(|| self.onward(port, lane, packet))
    }

    /// A side tells how it hears. What it hears begins at the other side, or here.
    fn on_rtcp(&mut self, now: Instant, port: u16, packet: &[u8]) {
        let Some(setting) = self.channels.get(port).map(|c| c.setting) else {
            return;
        };
        let [_, rtcp] = setting.onward;
        let beyond = match setting.delivers {
            true => Some(0),
            false => self.channels.get(rtcp).and_then(Channel::round_trip_us),
        };
        if let Some(channel) = self.channels.get_mut(port) {
            channel.on_rtcp(now, packet, beyond);
        }
    }

    /// A peer that speaks ICE asks whether our port `port` is there. The answer takes the check's
    /// place in its buffer.
    fn on_check(
        &mut self,
        now: Instant,
        port: u16,
        source: SocketAddr,
        packet: &mut Datagram<'_>,
    ) -> Verdict {
        let Some(channel) = self.channels.get_mut(port) else {
            return Verdict::Drop(DropReason::NoSession);
        };
        let setting = &channel.setting;
        let session = self.sessions.get(setting.session);
        let ours = session.and_then(|session| session.ice(setting.side));
        let answer = ours.and_then(|ours| ice::answer(packet.bytes(), source, ours));
        let Some((_, check)) = answer.filter(|(response, _)| packet.replace(response)) else {
            return Verdict::Drop(channel.drop(DropReason::Stun));
        };
        let companion = setting.companion;
        if check == Check::Nominated {
            channel.gate.nominate(now, source);
            if let Some(rtcp) = companion.and_then(|port| self.channels.get_mut(port)) {
                rtcp.gate.follow(source.ip());
            }
        }
        let from_port = port;
        Verdict::Forward {
            from_port,
            to: source,
        }
    }

    /// A packet that came to our port `port` goes on to the other side.
    fn onward(&mut self, port: u16, lane: Lane, packet: &mut Datagram<'_>) -> Verdict {
        let from = self
            .channels
            .get(port)
            .map(|c| (c.setting.onward, c.heard()));
        let ([media, rtcp], came) = from.unwrap_or_default();
        let from_port = match lane {
            Lane::Media => media,
            Lane::Rtcp => rtcp,
        };
        let sent = match self.channels.get_mut(from_port) {
            Some(other) => {
                if let Some(now) = came.filter(|_| lane == Lane::Rtcp) {
                    other.remember(now, packet.bytes());
                }
                let sealed = seal(&self.sessions, other, lane, packet);
                sealed.and_then(|()| other.send(lane, packet.bytes().len()))
            }
            None => Err(DropReason::NoDestination),
        };
        match sent {
            Ok(to) => Verdict::Forward { from_port, to },
            Err(reason) => {
                if let Some(channel) = self.channels.get_mut(port) {
                    channel.drop(reason);
                }
                Verdict::Drop(reason)
            }
        }
    }

    /// Where a packet that came to our port `port` goes, now that it was heard
    /// ([`Verdict::Overhear`]).
    pub fn pass_on(&mut self, port: u16, lane: Lane, packet: &mut Datagram<'_>) -> Verdict {
        let verdict = self.onward(port, lane, packet);
        if let Verdict::Drop(reason) = verdict {
            self.count_dropped(reason);
        }
        verdict
    }

    /// Something of `length` bytes begins here, in a session of which one side is ourselves: from
    /// which port it leaves and where it goes, counted as sent; `None` while nobody knows where.
    pub fn originate(
        &mut self,
        session: u64,
        stream: usize,
        lane: Lane,
        length: usize,
    ) -> Option<(u16, SocketAddr)> {
        let key = self.by_name.get(&session)?;
        let port = self.sessions.get(*key)?.far_port(stream)?;
        let rtcp_port = self.channels.get(port)?.setting.companion.unwrap_or(port);
        let from_port = match lane {
            Lane::Media => port,
            Lane::Rtcp => rtcp_port,
        };
        let channel = self.channels.get_mut(from_port)?;
        match channel.send(lane, length) {
            Ok(to) => Some((from_port, to)),
            Err(reason) => {
                channel.drop(reason);
                self.count_dropped(reason);
                None
            }
        }
    }

    /// A packet of ours for one side of a session that passes by: as [`Relay::originate`], under
    /// keys of ours where there are such.
    pub fn originate_toward(
        &mut self,
        now: Instant,
        session: u64,
        (side, stream, lane): (Side, usize, Lane),
        packet: &mut Datagram<'_>,
    ) -> Option<(u16, SocketAddr)> {
        let key = self.by_name.get(&session)?;
        let port = self.sessions.get(*key)?.port_toward(stream, side)?;
        let rtcp_port = self.channels.get(port)?.setting.companion.unwrap_or(port);
        let from_port = match lane {
            Lane::Media => port,
            Lane::Rtcp => rtcp_port,
        };
        let channel = self.channels.get_mut(from_port)?;
        if lane == Lane::Rtcp {
            channel.remember(now, packet.bytes());
        }
        let sealed = seal(&self.sessions, channel, lane, packet);
        match sealed.and_then(|()| channel.send(lane, packet.bytes().len())) {
            Ok(to) => Some((from_port, to)),
            Err(reason) => {
                channel.drop(reason);
                self.count_dropped(reason);
                None
            }
        }
    }

    /// A port could not be bound. If an update asked for it, its session is as before that, and
    /// [`MediaEvent::Unchanged`] says so; else the session ends with [`Failure::Port`] or
    /// [`Failure::Full`].
    pub fn bind_failed(&mut self, port: u16, error: BindError) {
        let Some(channel) = self.channels.get(port) else {
            return;
        };
        let key = channel.setting.session;
        let reason = match error {
            BindError::Refused => Failure::Port(port),
            BindError::Exhausted => Failure::Full,
        };
        let undo = self.undo.take().filter(|undo| undo.key == key);
        match (undo, self.sessions.get_mut(key)) {
            (Some(Undo { now, before, .. }), Some(session)) => {
                let (name, plan) = (session.name, session.restore(before));
                self.install(now, key, plan);
                self.leave_unchanged(name, reason);
            }
            _ => {
                if let Some(name) = self.discard(key) {
                    self.fail(name, reason);
                }
            }
        }
    }

    /// The one peer that a port listens to and sends to, once that is settled: its socket may be
    /// connected there until the next command about its session.
    pub fn locked_peer(&self, port: u16) -> Option<SocketAddr> {
        let gate = &self.channels.get(port)?.gate;
        gate.locked().filter(|peer| gate.settled() == Some(*peer))
    }

    /// A packet that `process` let pass from our port `from_port` could not be sent.
    pub fn send_failed(&mut self, from_port: u16) {
        if let Some(channel) = self.channels.get_mut(from_port) {
            channel.drop(DropReason::SendFailed);
        }
        self.count_dropped(DropReason::SendFailed);
    }

    /// What signalling must hear.
    pub fn poll_event(&mut self) -> Option<MediaEvent> {
        self.events.pop_front()
    }

    /// What the driver must do with sockets, in order, before it asks for events.
    pub fn poll_socket(&mut self) -> Option<SocketAction> {
        self.sockets.pop_front()
    }

    /// What the driver of the fast path must do, in order.
    pub fn poll_flow(&mut self) -> Option<FlowOrder> {
        self.fast.as_mut()?.poll_order()
    }

    /// The driver of the fast path says something about the flow of our port `port`. Afterwards
    /// drain [`Relay::poll_flow`] and [`Relay::poll_event`].
    pub fn handle_flow(&mut self, now: Instant, port: u16, news: FlowNews) {
        if news == FlowNews::Elsewhere {
            return self.take_back(now, port);
        }
        let gone = self.fast.as_mut().and_then(|fast| fast.on_news(port, news));
        if news == FlowNews::Installed
            && let Some(channel) = self.channels.get_mut(port)
        {
            channel.goes_elsewhere();
        }
        if let Some(flow) = gone {
            self.on_flow_gone(now, port, &flow);
        }
    }

    /// The driver of the fast path is gone: all goes on by sockets. What its flows counted must
    /// have been told by [`Relay::handle_flow`] before. Afterwards drain [`Relay::poll_event`].
    pub fn fast_path_lost(&mut self, now: Instant) {
        let Some(fast) = self.fast.take() else {
            return;
        };
        for (port, flow) in fast.into_flows() {
            self.on_flow_gone(now, port, &flow);
        }
    }

    /// How many streams come to ports of ours, one for each direction of a call's media.
    pub fn streams(&self) -> usize {
        self.channels.streams
    }

    /// How many packets went nowhere, by [`DropReason::index`].
    pub fn dropped(&self) -> &[u64; DROP_REASONS] {
        &self.dropped
    }

    /// How many streams the fast path carries, or is about to.
    pub fn flows(&self) -> usize {
        self.fast.as_ref().map_or(0, FastPath::len)
    }

    /// When to call [`Relay::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = [self.timers.next(), self.looks.next()];
        timers.into_iter().flatten().min()
    }

    /// Time passed: looks for sides that should send and do not.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, key)) = self.timers.pop_due(now) {
            let Some(session) = self.sessions.get_mut(key) else {
                continue;
            };
            let (channels, fast) = (&self.channels, self.fast.as_ref());
            let Verdicts {
                silent,
                mute,
                again,
            } = session.watch(now, channels, fast, &self.settings);
            let mute = mute.into_iter().map(SocketAction::Listen);
            self.sockets.extend(mute);
            if let Some(silent) = silent {
                let session = session.name;
                let event = MediaEvent::Timeout { session, silent };
                self.events.push_back(event);
            }
            session.timer = again.map(|at| self.timers.arm(at, key));
        }
        while let Some((_, key)) = self.looks.pop_due(now) {
            self.look(now, key);
        }
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// How many streams a session has, those that are refused among them; `None` if there is no
    /// such session.
    pub fn streams_of(&self, session: u64) -> Option<usize> {
        let key = self.by_name.get(&session)?;
        Some(self.sessions.get(*key)?.places())
    }

    /// How many packets came to ports that have no session.
    pub fn no_session(&self) -> u64 {
        self.no_session
    }

    fn on_open(&mut self, now: Instant, name: u64, legs: &[super::LegSpec; 2]) {
        let Some(plan) = Plan::new(legs) else {
            return self.fail(name, Failure::BadStreams);
        };
        let Ok(key) = self.sessions.insert(Session::new(name)) else {
            return self.fail(name, Failure::Full);
        };
        self.by_name.insert(name, key);
        if let Some(port) = self.conflict(key, &plan) {
            self.discard(key);
            return self.fail(name, Failure::PortInUse(port));
        }
        self.events.push_back(MediaEvent::Opened { session: name });
        self.install(now, key, plan);
    }

    fn on_update(&mut self, now: Instant, (name, key): (u64, Key), legs: &[super::LegSpec; 2]) {
        let Some(plan) = Plan::new(legs) else {
            return self.leave_unchanged(name, Failure::BadStreams);
        };
        if let Some(port) = self.conflict(key, &plan) {
            return self.leave_unchanged(name, Failure::PortInUse(port));
        }
        let before = self.install(now, key, plan);
        self.undo = before.map(|before| Undo { key, now, before });
    }

    fn leave_unchanged(&mut self, session: u64, reason: Failure) {
        let event = MediaEvent::Unchanged { session, reason };
        self.events.push_back(event);
    }

    /// Makes the session as the plan says: ports come, stay, or go. What it was before.
    fn install(&mut self, now: Instant, key: Key, plan: Plan) -> Option<Before> {
        // What a flow rests on may change: until that is settled its packets go by sockets.
        self.leave(key);
        let session = self.sessions.get_mut(key)?;
        for port in session.ports_not_in(&plan) {
            if let Some(channel) = self.channels.remove(port) {
                session.retire(&channel, now);
                self.sockets.push_back(SocketAction::Unbind(port));
            }
        }
        let window_end = now + self.settings.latch_window;
        for entry in plan.entries() {
            let setting = entry.setting(key, &plan);
            match self.channels.get_mut(entry.port) {
                Some(channel) if channel.setting.bind == setting.bind => {
                    if session.ice(entry.side) != plan.ice(entry.side) {
                        channel.gate.forget_nominated();
                    }
                    channel.gate.reopen(entry.expectation, now, window_end);
                    channel.setting = setting;
                }
                old => {
                    if let Some(old) = old {
                        session.retire(old, now);
                        self.sockets.push_back(SocketAction::Unbind(entry.port));
                    }
                    let gate = super::latch::Gate::new(entry.expectation, window_end);
                    self.channels
                        .insert(entry.port, Channel::new(setting, gate));
                    let address = (setting.bind, entry.port).into();
                    self.sockets.push_back(SocketAction::Bind(address));
                }
            }
        }
        let before = session.adopt(plan, now);
        if let Some(timer) = session.timer.take() {
            self.timers.cancel(timer);
        }
        let (channels, fast) = (&self.channels, self.fast.as_ref());
        let Verdicts { again, .. } = session.watch(now, channels, fast, &self.settings);
        session.timer = again.map(|at| self.timers.arm(at, key));
        session.looks = 0;
        if let Some(look) = session.look.take() {
            self.looks.cancel(look);
        }
        if self.fast.is_some() && session.may_be_carried() {
            session.look = Some(self.looks.arm(window_end + offload::RETRY, key));
        }
        Some(before)
    }

    /// Takes a session's streams off the fast path; how many flows will still tell what they
    /// counted.
    fn leave(&mut self, key: Key) -> usize {
        let (Some(fast), Some(session)) = (&mut self.fast, self.sessions.get(key)) else {
            return 0;
        };
        let mut left = 0;
        for port in session.ports() {
            let mine = fast.get(port).is_some_and(|flow| flow.session == key);
            if mine && fast.leave(port) {
                left += 1;
                if let Some(channel) = self.channels.get_mut(port) {
                    channel.goes_elsewhere();
                }
            }
        }
        left
    }

    fn on_close(&mut self, now: Instant, key: Key) {
        let flows = self.leave(key);
        if flows == 0 {
            let (legs, streams) = self.stats(now, key);
            if let Some(session) = self.discard(key) {
                self.events.push_back(MediaEvent::Closed {
                    session,
                    legs,
                    streams,
                });
            }
            return;
        }
        // Its name and its ports are gone at once, its figures come when its flows have told.
        let (_, counted) = self.stats(now, key);
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.closing = Some(flows);
        session.counted = counted;
        self.by_name.remove(&session.name);
        if let Some(timer) = session.timer.take() {
            self.timers.cancel(timer);
        }
        if let Some(look) = session.look.take() {
            self.looks.cancel(look);
        }
        let ports: Vec<u16> = session.ports().collect();
        for port in ports {
            if let Some(channel) = self.channels.remove(port) {
                session.retire(&channel, now);
                self.sockets.push_back(SocketAction::Unbind(port));
            }
        }
    }

    /// The fast path has no way to the receiver of a stream: it comes back to sockets, and goes
    /// again once there is one.
    fn take_back(&mut self, now: Instant, port: u16) {
        let Some(fast) = &mut self.fast else {
            return;
        };
        let flow = fast.get(port).filter(|flow| flow.state == State::Carried);
        let Some(session) = flow.map(|flow| flow.session) else {
            return;
        };
        fast.leave(port);
        if let Some(channel) = self.channels.get_mut(port) {
            channel.goes_elsewhere();
        }
        self.look_anew(now, session);
    }

    /// A flow has told its last figures.
    fn on_flow_gone(&mut self, now: Instant, port: u16, flow: &PortFlow) {
        let key = flow.session;
        if let Some(channel) = self.channels.get_mut(port)
            && channel.setting.session == key
        {
            channel.heard_elsewhere(flow.told.heard);
            if flow.told.packets > 0 {
                channel.goes_elsewhere();
            }
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.settle(flow.side, &flow.told);
        let Some(left) = &mut session.closing else {
            return;
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            let (legs, _) = self.stats(now, key);
            if let Some(session) = self.sessions.remove(key) {
                self.events.push_back(MediaEvent::Closed {
                    session: session.name,
                    legs,
                    streams: session.counted,
                });
            }
        }
    }

    /// Somebody begins to send: a session that was looked at often, in vain, is again.
    fn look_soon(&mut self, now: Instant, key: Key) {
        let session = self.sessions.get(key);
        if session.is_some_and(|s| s.looks >= offload::RETRIES_MAX) {
            self.look_anew(now, key);
        }
    }

    /// Begins to look often at a session again that is looked at.
    fn look_anew(&mut self, now: Instant, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if let Some(look) = session.look.take() {
            self.looks.cancel(look);
            session.looks = 0;
            session.look = Some(self.looks.arm(now + offload::RETRY, key));
        }
    }

    /// Asks what a session's flows counted, and for flows of streams that are settled by now.
    fn look(&mut self, now: Instant, key: Key) {
        let (Some(fast), Some(session)) = (&mut self.fast, self.sessions.get_mut(key)) else {
            return;
        };
        let mut missing = false;
        for entry in session.streams() {
            match fast.get(entry.port).map(|flow| flow.state) {
                Some(State::Carried) => fast.query(entry.port),
                Some(State::Asked | State::Leaving) => missing = true,
                None => match wish(&self.channels, session, entry.port) {
                    Some(stream) => {
                        fast.install(stream, key, entry.side);
                        missing = true;
                    }
                    None => missing = true,
                },
            }
        }
        let poll = offload::POLL.min(self.settings.silence / 4);
        session.looks = session.looks.saturating_add(u8::from(missing));
        let rest = match missing && session.looks < offload::RETRIES_MAX {
            true => offload::RETRY.min(poll),
            false => poll,
        };
        session.look = Some(self.looks.arm(now + rest, key));
    }

    /// A port of the plan that another session holds, or that the plan names twice.
    fn conflict(&self, key: Key, plan: &Plan) -> Option<u16> {
        let taken = |port: u16| {
            let channel = self.channels.get(port);
            channel.is_some_and(|channel| channel.setting.session != key)
        };
        let mut ports: Vec<u16> = plan.entries().map(|entry| entry.port).collect();
        ports.sort_unstable();
        let twice = ports.windows(2).find(|pair| pair.first() == pair.last());
        let twice = twice.and_then(|pair| pair.first().copied());
        twice.or_else(|| ports.into_iter().find(|port| *port == 0 || taken(*port)))
    }

    /// Removes a session and all that it holds; gives its name.
    fn discard(&mut self, key: Key) -> Option<u64> {
        self.leave(key);
        let session = self.sessions.remove(key)?;
        for port in session.ports() {
            if self.channels.remove(port).is_some() {
                self.sockets.push_back(SocketAction::Unbind(port));
            }
        }
        if let Some(timer) = session.timer {
            self.timers.cancel(timer);
        }
        if let Some(look) = session.look {
            self.looks.cancel(look);
        }
        self.by_name.remove(&session.name);
        let opened = MediaEvent::Opened {
            session: session.name,
        };
        self.events.retain(|event| *event != opened);
        Some(session.name)
    }

    fn fail(&mut self, session: u64, reason: Failure) {
        let event = MediaEvent::Failed { session, reason };
        self.events.push_back(event);
    }

    fn stats(&self, now: Instant, key: Key) -> (Box<[LegStats; 2]>, Vec<[StreamStats; 2]>) {
        let fast = self.fast.as_ref();
        let Some(session) = self.sessions.get(key) else {
            return Default::default();
        };
        let legs = session.stats(now, key, &self.channels, fast);
        let streams = session.stream_stats(now, key, &self.channels, fast);
        (Box::new(legs), streams)
    }
}

/// Takes SRTP off a packet that came to a port.
fn open(
    sessions: &Slab<Session>,
    channel: &Channel,
    packet: &mut Datagram<'_>,
) -> Result<(), DropReason> {
    let rtcp = match classify(packet.bytes()) {
        Class::Rtp => false,
        Class::Rtcp => true,
        // Handshakes, which nobody takes part in.
        Class::Dtls => return Err(DropReason::Malformed),
        Class::Stun | Class::Other => return Ok(()),
    };
    let setting = &channel.setting;
    let session = sessions.get(setting.session);
    let session = session.ok_or(DropReason::NoSession)?;
    let opened = session.secure(setting.stream, setting.side);
    let length = opened.and_then(|secure| secure.inbound().open(packet.bytes_mut(), rtcp));
    packet.set_length(length.map_err(srtp)?);
    Ok(())
}

/// Puts SRTP on a packet that leaves from a port, where it goes anywhere.
fn seal(
    sessions: &Slab<Session>,
    channel: &Channel,
    lane: Lane,
    packet: &mut Datagram<'_>,
) -> Result<(), DropReason> {
    let setting = &channel.setting;
    if !setting.secured {
        return Ok(());
    }
    channel.destination(lane)?;
    let session = sessions.get(setting.session);
    let session = session.ok_or(DropReason::NoSession)?;
    let length = packet.bytes().len();
    let secure = session.secure(setting.stream, setting.side);
    let sealed = secure.and_then(|s| s.outbound().seal(packet.room(), length, lane == Lane::Rtcp));
    packet.set_length(sealed.map_err(srtp)?);
    Ok(())
}

fn srtp(error: SrtpError) -> DropReason {
    match error {
        SrtpError::Malformed => DropReason::Malformed,
        SrtpError::Forged
        | SrtpError::Replayed
        | SrtpError::Clear
        | SrtpError::KeyExpired
        | SrtpError::TooManySources
        | SrtpError::NoKey
        | SrtpError::NoRoom => DropReason::Srtp,
    }
}

/// The stream that comes to a port, if the fast path may carry it: both peers are settled, and what
/// flows is RTP that nobody here listens to.
fn wish(channels: &Channels, session: &Session, port: u16) -> Option<Stream> {
    let channel = channels.get(port)?;
    let setting = &channel.setting;
    let [onward_port, _] = setting.onward;
    let other = channels.get(onward_port).filter(|_| !setting.delivers)?;
    let is_rtp = |kind| matches!(kind, MediaKind::Rtp | MediaKind::SecureRtp);
    let heard_here = setting.tapped || other.setting.tapped;
    let wanted = !other.setting.muted && !setting.blocked.any() && !heard_here;
    let passes = is_rtp(setting.kind) && is_rtp(other.setting.kind) && wanted;
    let security = Security {
        from: contexts(session, setting)?,
        toward: contexts(session, &other.setting)?,
    };
    let is_secure = [setting.kind, other.setting.kind].contains(&MediaKind::SecureRtp)
        || security != Security::default();
    Some(Stream {
        bind: setting.bind,
        port,
        source: channel.gate.locked().filter(|_| passes)?,
        onward_bind: other.setting.bind,
        onward_port,
        destination: other.gate.settled()?,
        clock_rate: setting.clock_rate,
        has_rtcp: setting.companion.is_none(),
        security: is_secure.then_some(security),
    })
}

/// What a fast path needs for the SRTP of a port, if that is under keys of ours: `None` while there
/// is none.
fn contexts(session: &Session, setting: &Setting) -> Option<Option<Shared>> {
    if !setting.secured {
        return Some(None);
    }
    let shared = session.secure(setting.stream, setting.side);
    shared.ok().cloned().map(Some)
}
