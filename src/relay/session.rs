//! One session: which ports it has, what gone ports counted, and whether a side is silent.

use super::channel::{Channel, Role, Setting};
use super::command::{Blocked, LegSpec, MediaKind, MediaSpec, Side, Silent};
use super::core::{Channels, RelaySettings};
use super::frame::FlowStats;
use super::latch::Expectation;
use super::offload::{self, FastPath};
use super::stats::{LegStats, StreamStats};
use super::{Direction, STREAMS_MAX};
use crate::base::{Instant, Key, TimerId};
use crate::srtp::{Keys, Renewed, Shared, SrtpError};
use crate::wire::ice::Credentials;
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// One port as a command asks for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) port: u16,
    pub(super) expectation: Expectation,
    pub(super) side: Side,
    stream: usize,
    role: Role,
    bind: IpAddr,
}

/// What a command asks for: streams that both sides use.
#[derive(Clone, Default, Debug)]
pub(super) struct Plan {
    /// Which sides are ourselves.
    local: [bool; 2],
    streams: SmallVec<[Option<[MediaSpec; 2]>; 2]>,
    entries: SmallVec<[Entry; 4]>,
    /// By side, then by stream.
    keys: [Vec<Option<Keys>>; 2],
    /// By side.
    ice: [Option<Box<Credentials>>; 2],
}

impl Plan {
    /// `None` if the legs do not fit each other or hold too much.
    pub(super) fn new(legs: &[LegSpec; 2]) -> Option<Self> {
        let [caller, called] = legs;
        if caller.media.len() != called.media.len() || caller.media.len() > STREAMS_MAX {
            return None;
        }
        let mut plan = Plan {
            local: [caller.local, called.local],
            keys: [caller.keys.clone(), called.keys.clone()],
            ice: [caller.ice.clone(), called.ice.clone()],
            ..Plan::default()
        };
        for (stream, pair) in caller.media.iter().zip(&called.media).enumerate() {
            let both = match pair {
                (Some(caller), Some(called)) => Some([*caller, *called]),
                _ => None,
            };
            plan.streams.push(both);
            let Some(both) = both else { continue };
            for ((side, leg), spec) in Side::BOTH.into_iter().zip(legs).zip(&both) {
                plan.add(side, leg, stream, spec);
            }
        }
        Some(plan)
    }

    fn add(&mut self, side: Side, leg: &LegSpec, stream: usize, spec: &MediaSpec) {
        if leg.local {
            return;
        }
        // An address of the other family cannot be reached from our port.
        let usable = |a: &SocketAddr| a.is_ipv4() == leg.bind.is_ipv4();
        let mut push = |port: u16, role: Role, address: Option<SocketAddr>| {
            let expectation = Expectation {
                address: address.filter(usable),
                signalling: leg.signalling,
                behind_nat: leg.behind_nat,
                learning: leg.learning,
            };
            self.entries.push(Entry {
                port,
                expectation,
                side,
                stream,
                role,
                bind: leg.bind,
            });
        };
        push(spec.port, Role::Media, spec.peer);
        if let Some(port) = spec.rtcp_port {
            push(port, Role::Rtcp, spec.peer_rtcp);
        }
    }

    /// Every port.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The keys of a stream toward a side, where they are ours.
    fn keys(&self, stream: usize, side: Side) -> Option<&Keys> {
        let keys = self.keys.get(side.index())?;
        keys.get(stream)?.as_ref()
    }

    /// With what a side's connectivity checks are answered.
    pub(super) fn ice(&self, side: Side) -> Option<&Credentials> {
        self.ice.get(side.index())?.as_deref()
    }

    fn spec(&self, stream: usize, side: Side) -> Option<&MediaSpec> {
        let both = self.streams.get(stream)?.as_ref()?;
        both.get(side.index())
    }
}

impl Entry {
    /// What the port's channel must know.
    pub(super) fn setting(&self, session: Key, plan: &Plan) -> Setting {
        let spec = plan.spec(self.stream, self.side);
        let other = plan.spec(self.stream, self.side.other());
        let delivers = plan.local[self.side.other().index()];
        let onward = other.map_or([0, 0], |o| [o.port, o.rtcp_port.unwrap_or(o.port)]);
        Setting {
            session,
            side: self.side,
            stream: self.stream,
            role: self.role,
            kind: spec.map_or(MediaKind::Rtp, |s| s.kind),
            bind: self.bind,
            clock_rate: spec.map_or(0, |s| s.clock_rate),
            delivers,
            onward,
            companion: spec
                .and_then(|s| s.rtcp_port)
                .filter(|_| self.role == Role::Media),
            blocked: spec.map_or(Blocked::NONE, |s| s.blocked),
            tapped: spec.is_some_and(|s| s.tapped && s.kind == MediaKind::Rtp),
            secured: plan.keys(self.stream, self.side).is_some(),
            checked: plan.ice(self.side).is_some(),
            muted: spec.is_some_and(|s| s.peer.is_none() && !s.direction.receives()),
        }
    }
}

/// What watching a session found.
pub(super) struct Verdicts {
    /// Who should have sent and did not.
    pub(super) silent: Option<Silent>,
    /// The ports of a side that fell silent.
    pub(super) mute: Vec<u16>,
    /// When to look again.
    pub(super) again: Option<Instant>,
}

/// What held before a plan was adopted.
#[derive(Debug)]
pub(super) struct Before {
    plan: Plan,
    /// By stream and side.
    renewed: Vec<(usize, Side, Renewed)>,
}

/// What was said of silence since the last command.
#[derive(Clone, Copy, Default, Debug)]
struct Told {
    both: bool,
    /// By side: that it alone is.
    one: [bool; 2],
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: u64,
    pub(super) timer: Option<TimerId>,
    /// When it is looked at for the fast path, and how often it was in vain.
    pub(super) look: Option<TimerId>,
    pub(super) looks: u8,
    /// It has ended, and so many flows still have to tell what they counted.
    pub(super) closing: Option<usize>,
    /// What its streams counted until then, flows of theirs apart.
    pub(super) counted: Vec<[StreamStats; 2]>,
    plan: Plan,
    /// What the channels that are gone counted.
    retired: [LegStats; 2],
    /// The last command.
    changed: Instant,
    /// It was told since then that both sides are silent, or that one is.
    told: Told,
    /// Whose ports were opened to all, since when they are silent.
    opened: [Option<Instant>; 2],
    /// What SRTP under our keys keeps, by stream and side: not by port, since RTCP may move from
    /// one to another, and for as long as the session lasts, since keys may come back.
    secure: Vec<[Option<Shared>; 2]>,
}

impl Session {
    /// How many streams it has, those that are refused among them.
    pub(super) fn places(&self) -> usize {
        self.plan.streams.len()
    }

    pub(super) fn new(name: u64) -> Self {
        Self {
            name,
            timer: None,
            look: None,
            looks: 0,
            closing: None,
            counted: Vec::new(),
            plan: Plan::default(),
            retired: Default::default(),
            changed: Instant::ZERO,
            told: Told::default(),
            opened: [None; 2],
            secure: Vec::new(),
        }
    }

    /// Its ports.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.plan.entries.iter().map(|entry| entry.port)
    }

    /// Its ports that the plan does not use, or uses for something else.
    pub(super) fn ports_not_in(&self, plan: &Plan) -> SmallVec<[u16; 4]> {
        let kept = |old: &Entry| {
            plan.entries.iter().any(|new| {
                (new.port, new.side, new.stream, new.role)
                    == (old.port, old.side, old.stream, old.role)
            })
        };
        let gone = self.plan.entries.iter().filter(|old| !kept(old));
        gone.map(|old| old.port).collect()
    }

    /// The plan holds from now on; what held before, so that it may again.
    pub(super) fn adopt(&mut self, plan: Plan, now: Instant) -> Before {
        let renewed = self.renew(&plan);
        let plan = std::mem::replace(&mut self.plan, plan);
        self.changed = now;
        self.told = Told::default();
        Before { plan, renewed }
    }

    /// The plan to go back to. No packet came or went since the other was adopted, but for what a
    /// fast path had in hand.
    pub(super) fn restore(&mut self, before: Before) -> Plan {
        for (stream, side, renewed) in before.renewed {
            if let Ok(secure) = self.secure(stream, side) {
                secure.restore(renewed);
            }
        }
        before.plan
    }

    /// Makes what SRTP needs for the keys of a plan.
    fn renew(&mut self, plan: &Plan) -> Vec<(usize, Side, Renewed)> {
        let mut all = Vec::new();
        for side in Side::BOTH {
            for stream in 0..plan.streams.len() {
                let Some(keys) = plan.keys(stream, side) else {
                    continue;
                };
                if self.secure.len() <= stream {
                    self.secure.resize_with(stream + 1, Default::default);
                }
                let places = self.secure.get_mut(stream);
                if let Some(place) = places.and_then(|both| both.get_mut(side.index())) {
                    let renewed = place.get_or_insert_default().renew(keys);
                    all.push((stream, side, renewed));
                }
            }
        }
        all
    }

    /// With what a side's connectivity checks are answered.
    pub(super) fn ice(&self, side: Side) -> Option<&Credentials> {
        self.plan.ice(side)
    }

    /// What SRTP of a stream keeps toward a side.
    pub(super) fn secure(&self, stream: usize, side: Side) -> Result<&Shared, SrtpError> {
        let places = self.secure.get(stream);
        let place = places.and_then(|both| both.get(side.index())?.as_ref());
        place.ok_or(SrtpError::NoKey)
    }

    /// Keeps what a channel counted that goes now.
    pub(super) fn retire(&mut self, channel: &Channel, now: Instant) {
        if let Some(stats) = self.retired.get_mut(channel.setting.side.index()) {
            channel.add_to(stats, now, false);
            stats.silent_for = None;
            stats.describes_silence = false;
        }
    }

    /// Adds what a flow of a side counted that is gone.
    pub(super) fn settle(&mut self, side: Side, told: &FlowStats) {
        let [caller, called] = &mut self.retired;
        match side {
            Side::Caller => offload::add(told, caller, called),
            Side::Called => offload::add(told, called, caller),
        }
    }

    /// Whether it has streams of the kind that the fast path carries.
    pub(super) fn may_be_carried(&self) -> bool {
        self.plan.local == [false, false] && self.streams().next().is_some()
    }

    /// The ports that RTP comes to.
    pub(super) fn streams(&self) -> impl Iterator<Item = Entry> {
        let media = |entry: &&Entry| {
            let spec = self.plan.spec(entry.stream, entry.side);
            entry.role == Role::Media && spec.is_some_and(|s| s.kind != MediaKind::Udptl)
        };
        self.plan.entries.iter().filter(media).copied()
    }

    /// Our port of a stream toward the side that is not ourselves, if just one is.
    pub(super) fn far_port(&self, stream: usize) -> Option<u16> {
        let side = match self.plan.local {
            [true, false] => Side::Called,
            [false, true] => Side::Caller,
            [true, true] | [false, false] => return None,
        };
        self.plan.spec(stream, side).map(|spec| spec.port)
    }

    /// Our port of a stream toward a side, where neither is ourselves.
    pub(super) fn port_toward(&self, stream: usize, side: Side) -> Option<u16> {
        if self.plan.local != [false, false] {
            return None;
        }
        self.plan.spec(stream, side).map(|spec| spec.port)
    }

    /// The sums of both sides. `key` is its own.
    pub(super) fn stats(
        &self,
        now: Instant,
        key: Key,
        channels: &Channels,
        fast: Option<&FastPath>,
    ) -> [LegStats; 2] {
        let mut legs = self.retired;
        let first = self.plan.streams.iter().position(Option::is_some);
        for entry in self.plan.entries() {
            let is_first = Some(entry.stream) == first;
            let channel = channels.get(entry.port);
            let channel = channel.filter(|channel| channel.setting.session == key);
            let stats = legs.get_mut(entry.side.index());
            if let (Some(stats), Some(channel)) = (stats, channel) {
                channel.add_to(stats, now, is_first);
            }
            let flow = fast.and_then(|fast| fast.get(entry.port));
            let Some(flow) = flow.filter(|flow| flow.session == key) else {
                continue;
            };
            let [caller, called] = &mut legs;
            let (sender, receiver) = match entry.side {
                Side::Caller => (caller, called),
                Side::Called => (called, caller),
            };
            offload::add(&flow.told, sender, receiver);
            if let Some(heard) = flow.told.heard {
                let silent = now.since(heard);
                sender.silent_for = Some(sender.silent_for.map_or(silent, |s| s.min(silent)));
                if is_first {
                    sender.jitter_us = flow.told.jitter_us;
                }
            }
        }
        for (side, stats) in Side::BOTH.into_iter().zip(&mut legs) {
            // What we say ourselves does not come by a port.
            let elsewhere = !self.plan.local[side.index()];
            stats.should_send = elsewhere
                && self.plan.streams.iter().flatten().any(|both| {
                    let [sender, receiver] = match side {
                        Side::Caller => both,
                        Side::Called => &[both[1], both[0]],
                    };
                    sender.direction.sends() && receiver.direction.receives()
                });
        }
        legs
    }

    /// The figures of both sides in each stream, refused ones among them. `key` is its own.
    pub(super) fn stream_stats(
        &self,
        now: Instant,
        key: Key,
        channels: &Channels,
        fast: Option<&FastPath>,
    ) -> Vec<[StreamStats; 2]> {
        let mut all = vec![<[StreamStats; 2]>::default(); self.plan.streams.len()];
        for entry in self.plan.entries() {
            let both = all.get_mut(entry.stream);
            let Some(stats) = both.and_then(|both| both.get_mut(entry.side.index())) else {
                continue;
            };
            let channel = channels.get(entry.port);
            if let Some(channel) = channel.filter(|channel| channel.setting.session == key) {
                channel.add_to_stream(stats, now);
            }
            let flow = fast.and_then(|fast| fast.get(entry.port));
            let Some(flow) = flow.filter(|flow| flow.session == key) else {
                continue;
            };
            let told = &flow.told;
            stats.packets_in += told.packets;
            stats.bytes_in += told.bytes;
            stats.lost += told.lost;
            if let Some(heard) = told.heard {
                let silent = now.since(heard);
                stats.silent_for = Some(stats.silent_for.map_or(silent, |s| s.min(silent)));
                stats.jitter_us = told.jitter_us;
            }
        }
        all
    }

    /// Looks for silence. Sessions on hold in either direction, and those where a side has not
    /// answered, are not watched; RTCP counts as a sign of life.
    pub(super) fn watch(
        &mut self,
        now: Instant,
        channels: &Channels,
        fast: Option<&FastPath>,
        settings: &RelaySettings,
    ) -> Verdicts {
        let talks = |both: &[MediaSpec; 2]| {
            let answered = |s: &MediaSpec| s.peer.is_some() && s.direction == Direction::SendRecv;
            both.iter().all(answered)
        };
        let is_rtp = |both: &&[MediaSpec; 2]| both.iter().all(|s| s.kind != MediaKind::Udptl);
        let mut streams = self.plan.streams.iter().flatten();
        let watched = streams.clone().any(talks) && !self.told.both;
        if !watched {
            return Verdicts {
                silent: None,
                mute: Vec::new(),
                again: None,
            };
        }
        let has_rtp = streams.any(|both| is_rtp(&both) && talks(both));
        let both_limit = match has_rtp {
            true => settings.silence,
            false => settings.silence_one_side,
        };
        // We are never silent in our own eyes, and a caller may well listen to us for long.
        let local = self.plan.local;
        let quiet_since = Side::BOTH.map(|side| {
            if local[side.index()] {
                return now;
            }
            let mine = self.plan.entries.iter().filter(|e| e.side == side);
            let heard = mine.filter_map(|e| {
                let flow = fast.and_then(|fast| fast.get(e.port)?.told.heard);
                flow.max(channels.get(e.port)?.heard())
            });
            heard.max().map_or(self.changed, |at| at.max(self.changed))
        });
        let both_at = quiet_since[0].max(quiet_since[1]) + both_limit;
        // That one side is silent is said of each once; whether both are is asked on.
        let told = self.told.one;
        let one_at = |side: Side| {
            let asked = has_rtp && !told[side.index()];
            asked.then(|| quiet_since[side.index()] + settings.silence_one_side)
        };
        let due = |side: &Side| one_at(*side).is_some_and(|at| now >= at);
        let silent = match Side::BOTH.into_iter().find(due) {
            _ if now >= both_at => Some(Silent::Both),
            side => side.map(Silent::One),
        };
        match silent {
            Some(Silent::Both) => self.told.both = true,
            Some(Silent::One(side)) => self.told.one[side.index()] = true,
            None => {}
        }
        let left = Side::BOTH
            .into_iter()
            .filter(|side| silent != Some(Silent::One(*side)));
        let again = left.filter_map(one_at).fold(both_at, Instant::min);
        let (mute, mute_at) = self.mute(now, quiet_since, settings.listen_wide);
        Verdicts {
            silent,
            mute,
            again: (!self.told.both).then_some(again.min(mute_at.unwrap_or(again))),
        }
    }

    /// The ports of sides that have been silent for `limit` just now, and when others will have.
    fn mute(
        &mut self,
        now: Instant,
        quiet_since: [Instant; 2],
        limit: Duration,
    ) -> (Vec<u16>, Option<Instant>) {
        let (mut ports, mut next) = (Vec::new(), None::<Instant>);
        for (side, since) in Side::BOTH.into_iter().zip(quiet_since) {
            // We do not fall silent.
            if self.plan.local[side.index()] {
                continue;
            }
            let opened = &mut self.opened[side.index()];
            if now < since + limit {
                let at = since + limit;
                next = Some(next.map_or(at, |next| next.min(at)));
            } else if *opened != Some(since) {
                *opened = Some(since);
                let mine = self.plan.entries.iter().filter(|e| e.side == side);
                ports.extend(mine.map(|e| e.port));
            }
        }
        (ports, next)
    }
}
