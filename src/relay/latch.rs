//! Whom a port listens to: learns the real source of a peer, then locks it (RFC 4961, RFC 7362
//! §3).
//!
//! ```text
//!                 open, or an update that changes what is expected
//!                      |
//!                      v      a host that makes sense; behind a NAT
//!                  Learning   also any that sends four in sequence      window over
//!                      |  '-----------------------> Provisional ----------------> Locked
//!                      |                            |         ^                     |
//!                      |                            '---------'                     |
//!                      |                     a better source replaces it            |
//!                      |                                                            |
//!                      '--- that source silent --- Reopened <--- update that changes nothing
//!
//!   the expected address itself, and the known source when Reopened, lock at once
//! ```
//! Every packet from elsewhere than the current source is refused. After the window an unheard
//! port still takes packets from the hosts that signalling named, but from no other: a phone may
//! begin to talk late, a stranger may not.
//!
//! A peer of asymmetric RTP ([`Learning::Never`]) may send from any host, also late; what goes to
//! it follows its description alone. A peer that speaks ICE nominates the source that holds, by a
//! check that proves who it is (RFC 8445 §7.3.1.5). One that may move without a word
//! ([`Learning::Always`]) is never locked: when it is silent, whoever sends four in sequence takes
//! its place.

use super::command::Learning;
use super::stats::DropReason;
use crate::base::Instant;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How many packets in sequence an unproven source behind a NAT must send (RFC 3550 A.1 asks two).
pub(super) const PROBATION_PACKETS: u8 = 4;
/// A source that fell silent for so long may be replaced within the window.
pub(super) const HANDOVER: Duration = Duration::from_millis(250);

/// What signalling said about the peer of one port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Expectation {
    /// Where it wants packets.
    pub(super) address: Option<SocketAddr>,
    /// Where its signalling comes from.
    pub(super) signalling: Option<IpAddr>,
    /// Whether it is behind a NAT.
    pub(super) behind_nat: bool,
    /// When its source is learned.
    pub(super) learning: Learning,
}

/// How much sense a source makes; later is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rank {
    /// The source of before a change: probably stragglers.
    Former,
    /// Anyone, for a peer behind a NAT.
    Any,
    /// The less likely of the two hosts that signalling named.
    SecondHost,
    /// The more likely one: behind a NAT the signalling's, else the description's.
    FirstHost,
    /// The very address of the description.
    Exact,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Learning,
    Provisional {
        source: SocketAddr,
        rank: Rank,
        heard: Instant,
    },
    Reopened {
        source: SocketAddr,
        since: Instant,
    },
    Locked {
        source: SocketAddr,
    },
}

/// An unproven source that is on its way to become proven. It displaces nobody meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Probe {
    source: SocketAddr,
    ssrc: u32,
    next: u16,
    seen: u8,
}

/// What the gate says to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// From the current source.
    Accept,
    /// From a source that has just become the current one.
    AcceptNew,
    /// Not to be forwarded.
    Refuse(DropReason),
}

/// The gate of one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    expected: Expectation,
    former: Option<SocketAddr>,
    /// The host of the RTP port's source, once known: an RTCP port listens to no other.
    companion: Option<IpAddr>,
    window_end: Instant,
    state: State,
    probe: Option<Probe>,
    /// What the peer chose by ICE.
    nominated: Option<SocketAddr>,
}

impl Gate {
    /// Opens for what signalling expects.
    pub(super) fn new(expected: Expectation, window_end: Instant) -> Self {
        Self {
            expected,
            former: None,
            companion: None,
            window_end,
            state: State::Learning,
            probe: None,
            nominated: None,
        }
    }

    /// The peer proved who it is and chose its source: nobody else is heard until it chooses anew,
    /// whatever its description says.
    pub(super) fn nominate(&mut self, now: Instant, source: SocketAddr) {
        self.nominated = Some(source);
        self.probe = None;
        self.lock(now, source);
    }

    /// The peer speaks no ICE any more, or begins it anew.
    pub(super) fn forget_nominated(&mut self) {
        self.nominated = None;
    }

    /// Learns anew. A source whose expectation did not change keeps its place unless it is silent.
    pub(super) fn reopen(&mut self, expected: Expectation, now: Instant, window_end: Instant) {
        let same = self.expected == expected;
        let source = self.source();
        self.state = match source {
            Some(source) if self.nominated == Some(source) => State::Locked { source },
            Some(source) if same => State::Reopened { source, since: now },
            _ => State::Learning,
        };
        if !same {
            self.former = source.or(self.former);
            self.companion = None;
        }
        self.probe = None;
        self.expected = expected;
        self.window_end = window_end;
    }

    /// The RTP port of the same stream learned its source at `host`.
    pub(super) fn follow(&mut self, host: IpAddr) {
        self.companion = Some(host);
    }

    /// Where the peer really sends from, as far as it is known.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        match self.state {
            State::Provisional { source, .. }
            | State::Reopened { source, .. }
            | State::Locked { source } => Some(source),
            State::Learning => None,
        }
    }

    /// The source that no packet from elsewhere can replace before signalling says something new.
    pub(super) fn locked(&self) -> Option<SocketAddr> {
        match self.state {
            _ if self.expected.learning == Learning::Always => None,
            State::Locked { source } => Some(source),
            State::Learning | State::Provisional { .. } | State::Reopened { .. } => None,
        }
    }

    /// Where to send: the learned source, else what the description says; for a peer behind a NAT
    /// the described port at the signalling's host, which is right where ports are forwarded.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        if self.nominated.is_some() {
            return self.nominated;
        }
        if self.expected.learning == Learning::Never {
            return self.expected.address;
        }
        if let Some(source) = self.source() {
            return Some(source);
        }
        let address = self.expected.address?;
        match (self.expected.behind_nat, self.expected.signalling) {
            (true, Some(host)) => Some((host, address.port()).into()),
            (true, None) => None,
            (false, _) => Some(address),
        }
    }

    /// The same, where nothing but signalling can change it any more.
    pub(super) fn settled(&self) -> Option<SocketAddr> {
        self.locked().and_then(|_| self.destination())
    }

    /// Judges a packet. `mark` is its SSRC and sequence number if it is RTP.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        source: SocketAddr,
        mark: Option<(u32, u16)>,
    ) -> Admission {
        match self.state {
            State::Locked { source: locked } if same(locked, source) => Admission::Accept,
            State::Locked { .. } => Admission::Refuse(DropReason::Stray),
            State::Reopened {
                source: locked,
                since,
            } => self.on_reopened(now, source, mark, locked, since),
            State::Provisional {
                source: current,
                rank,
                heard,
            } => self.on_provisional(now, source, mark, (current, rank, heard)),
            State::Learning => self.on_learning(now, source, mark),
        }
    }

    fn on_reopened(
        &mut self,
        now: Instant,
        source: SocketAddr,
        mark: Option<(u32, u16)>,
        locked: SocketAddr,
        since: Instant,
    ) -> Admission {
        if same(locked, source) {
            self.lock(now, locked);
            return Admission::Accept;
        }
        let exact = self.rank(source, true) == Some(Rank::Exact);
        if !exact && now < since + HANDOVER {
            return Admission::Refuse(DropReason::Stray);
        }
        self.on_learning(now, source, mark)
    }

    fn on_provisional(
        &mut self,
        now: Instant,
        source: SocketAddr,
        mark: Option<(u32, u16)>,
        (current, rank, heard): (SocketAddr, Rank, Instant),
    ) -> Admission {
        let silent = now >= heard + HANDOVER;
        let always = self.expected.learning == Learning::Always;
        let window_over = now >= self.window_end && !always;
        if window_over && (rank > Rank::Former || !silent) {
            self.state = State::Locked { source: current };
            return self.admit(now, source, mark);
        }
        if same(current, source) {
            self.state = State::Provisional {
                source: current,
                rank,
                heard: now,
            };
            return Admission::Accept;
        }
        match self.rank(source, window_over) {
            Some(_) if always && silent => self.on_learning(now, source, mark),
            Some(new) if new > rank || new == rank && silent => self.on_learning(now, source, mark),
            _ => Admission::Refuse(DropReason::Stray),
        }
    }

    fn on_learning(
        &mut self,
        now: Instant,
        source: SocketAddr,
        mark: Option<(u32, u16)>,
    ) -> Admission {
        let window_over = now >= self.window_end;
        match self.rank(source, window_over) {
            None => Admission::Refuse(DropReason::Stray),
            Some(Rank::Any) if window_over && self.expected.learning == Learning::Early => {
                Admission::Refuse(DropReason::Stray)
            }
            Some(Rank::Any) => self.on_probation(now, source, mark),
            Some(rank) if window_over || rank == Rank::Exact => {
                self.lock(now, source);
                Admission::AcceptNew
            }
            Some(rank) => {
                self.state = State::Provisional {
                    source,
                    rank,
                    heard: now,
                };
                Admission::AcceptNew
            }
        }
    }

    /// Nobody else is heard from now on; with [`Learning::Always`], until this one is silent.
    fn lock(&mut self, now: Instant, source: SocketAddr) {
        self.state = match self.expected.learning {
            Learning::Early | Learning::Never => State::Locked { source },
            Learning::Always => State::Provisional {
                source,
                rank: Rank::Exact,
                heard: now,
            },
        };
    }

    fn on_probation(
        &mut self,
        now: Instant,
        source: SocketAddr,
        mark: Option<(u32, u16)>,
    ) -> Admission {
        let (ssrc, sequence) = mark.unwrap_or_default();
        let seen = match self.probe {
            Some(probe)
                if same(probe.source, source)
                    && probe.ssrc == ssrc
                    && (mark.is_none() || probe.next == sequence) =>
            {
                probe.seen + 1
            }
            _ => 1,
        };
        if seen >= PROBATION_PACKETS {
            self.probe = None;
            self.state = State::Provisional {
                source,
                rank: Rank::Any,
                heard: now,
            };
            return Admission::AcceptNew;
        }
        self.probe = Some(Probe {
            source,
            ssrc,
            next: sequence.wrapping_add(1),
            seen,
        });
        Admission::Refuse(DropReason::Probation)
    }

    fn rank(&self, source: SocketAddr, window_over: bool) -> Option<Rank> {
        let Expectation {
            address,
            signalling,
            behind_nat,
            learning,
        } = self.expected;
        let host = source.ip();
        if address.is_some_and(|address| same(address, source)) {
            return Some(Rank::Exact);
        }
        if !window_over && self.former.is_some_and(|former| same(former, source)) {
            return Some(Rank::Former);
        }
        if let Some(companion) = self.companion {
            return (companion == host).then_some(Rank::FirstHost);
        }
        let described = address.is_some_and(|address| address.ip() == host);
        let signalled = signalling == Some(host);
        let anyone = behind_nat || learning != Learning::Early;
        match (anyone, signalled, described) {
            (true, true, _) | (false, _, true) => Some(Rank::FirstHost),
            (true, _, true) | (false, true, _) => Some(Rank::SecondHost),
            (true, false, false) => Some(Rank::Any),
            (false, false, false) => None,
        }
    }
}

/// The same address and port; IPv6 flow labels and scopes do not count.
pub(super) fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip() == b.ip()
}
