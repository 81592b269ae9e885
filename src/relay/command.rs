//! What signalling tells the media side, and what it hears back.

use super::stats::{LegStats, StreamStats};
use crate::srtp::Keys;
use crate::wire::ice::Credentials;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

pub use crate::wire::sdp::Direction;

/// The two sides of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Side {
    /// The caller: the one that sent the INVITE. Index 0 of every pair.
    Caller,
    /// The called. Index 1.
    Called,
}

impl Side {
    /// Both, in the order of pairs.
    pub const BOTH: [Side; 2] = [Side::Caller, Side::Called];

    /// The place in a pair.
    pub const fn index(self) -> usize {
        match self {
            Side::Caller => 0,
            Side::Called => 1,
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Side::Caller => Side::Called,
            Side::Called => Side::Caller,
        }
    }
}

/// What flows on a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MediaKind {
    /// RTP and RTCP in the clear.
    Rtp,
    /// SRTP (RFC 3711) under keys of the peers': RTP headers are readable, reports are not; DTLS
    /// handshakes pass (RFC 5764).
    SecureRtp,
    /// T.38 fax over UDPTL: opaque datagrams, no RTCP.
    Udptl,
}

/// What a side sends and the other shall not get.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Blocked {
    /// Media, but for events of keys.
    pub media: bool,
    /// Events of keys (RFC 4733).
    pub events: bool,
    /// The payload type of the latter, if the side named one.
    pub event_type: Option<u8>,
}

impl Blocked {
    /// Nothing.
    pub const NONE: Blocked = Blocked {
        media: false,
        events: false,
        event_type: None,
    };

    /// Whether anything is.
    pub(super) fn any(&self) -> bool {
        self.media || self.events
    }

    /// Whether a packet of this payload type goes no further.
    pub(super) fn stops(&self, payload_type: u8) -> bool {
        match self.event_type == Some(payload_type) {
            true => self.events,
            false => self.media,
        }
    }
}

/// One stream as one side sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MediaSpec {
    /// Our port toward this side, for RTP or UDPTL.
    pub port: u16,
    /// Our port for RTCP toward this side; `None` where RTCP shares the RTP port (RFC 5761) or
    /// there is none.
    pub rtcp_port: Option<u16>,
    /// Where the side's description says that it wants RTP, if one came yet and it names an
    /// address.
    pub peer: Option<SocketAddr>,
    /// The same for RTCP; ignored where RTCP shares the RTP port.
    pub peer_rtcp: Option<SocketAddr>,
    /// What the side said that it does.
    pub direction: Direction,
    /// What flows.
    pub kind: MediaKind,
    /// The clock of the first format in Hz; zero if unknown. For jitter only.
    pub clock_rate: u32,
    /// What the side sends in vain.
    pub blocked: Blocked,
    /// Whether what it sends is heard here on its way: [`super::Verdict::Overhear`]. Nothing of a
    /// kind that cannot be read is.
    pub tapped: bool,
}

/// When a port may learn that its peer sends from elsewhere than the description says.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum Learning {
    /// In the first seconds; then the source is locked (RFC 4961, RFC 7362 §3).
    #[default]
    Early,
    /// Packets go where the description says, wherever the peer's come from: asymmetric RTP. Whose
    /// are taken is still learned once, so that a stranger has no say later.
    Never,
    /// At any time: who goes on when the source before has fallen silent takes its place.
    Always,
}

/// One side of a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LegSpec {
    /// The address that our ports toward this side are bound to.
    pub bind: IpAddr,
    /// Where the side's signalling came from; plausible as a source of media too. `None` while it
    /// is not known (a forked call before its first answer).
    pub signalling: Option<IpAddr>,
    /// Whether the side is behind a NAT, so that the addresses it names mean little.
    pub behind_nat: bool,
    /// When its source is learned.
    pub learning: Learning,
    /// Whether it is ourselves: what comes from the other side is delivered here, and what goes to
    /// it begins here (RFC 7092 §3.2.3: media termination). No port of it is bound.
    pub local: bool,
    /// One entry per `m=` line, in their order, the same number on both sides; `None` where the
    /// stream is refused or not relayed. At most [`super::STREAMS_MAX`].
    pub media: Vec<Option<MediaSpec>>,
    /// Streams that are SRTP under keys of ours, in the same order; may be shorter, or empty. Their
    /// [`MediaSpec::kind`] is what they are without it: they come in the clear to the other side,
    /// or under its keys.
    pub keys: Vec<Option<Keys>>,
    /// With what the side's connectivity checks are answered (RFC 8445, as a lite agent); the one
    /// that it nominates is its source. `None` where it speaks no ICE.
    pub ice: Option<Box<Credentials>>,
}

/// From signalling to media.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MediaCommand {
    /// A new session. Answered by `Opened` or `Failed`.
    Open {
        /// Named by signalling, unique among all sessions of the media worker.
        session: u64,
        /// Caller and called.
        legs: [LegSpec; 2],
    },
    /// The session as it is from now on: an answer came, a re-INVITE, a fork that won. Streams
    /// may come, go or move; ports that stay keep their counters and learn their source anew.
    /// Answered only if it cannot be carried out: by `Unchanged`.
    Update {
        /// Which.
        session: u64,
        /// Caller and called.
        legs: [LegSpec; 2],
    },
    /// The end; answered by `Closed` with the final counters. Unknown sessions are answered by
    /// `Failed` with [`Failure::Unknown`].
    Close {
        /// Which.
        session: u64,
    },
    /// Asks for a `Report`.
    Query {
        /// Which.
        session: u64,
    },
}

impl MediaCommand {
    /// The session that it is about.
    pub fn session(&self) -> u64 {
        match self {
            MediaCommand::Open { session, .. }
            | MediaCommand::Update { session, .. }
            | MediaCommand::Close { session }
            | MediaCommand::Query { session } => *session,
        }
    }

    /// The same with another name.
    pub fn rename(mut self, to: u64) -> Self {
        match &mut self {
            MediaCommand::Open { session, .. }
            | MediaCommand::Update { session, .. }
            | MediaCommand::Close { session }
            | MediaCommand::Query { session } => *session = to,
        }
        self
    }

    /// Our ports that it names.
    pub fn ports(&self) -> Vec<u16> {
        match self {
            MediaCommand::Open { legs, .. } | MediaCommand::Update { legs, .. } => {
                let bound = legs.iter().filter(|leg| !leg.local);
                let all = bound.flat_map(|leg| leg.media.iter().flatten());
                all.flat_map(|spec| [Some(spec.port), spec.rtcp_port])
                    .flatten()
                    .collect()
            }
            MediaCommand::Close { .. } | MediaCommand::Query { .. } => Vec::new(),
        }
    }
}

/// Why a session could not be opened or updated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Failure {
    /// Another process holds the port, or its address is not ours: see
    /// [`super::PortPool::mark_bad`].
    Port(u16),
    /// The command names a port that another session (or the same one twice) uses.
    PortInUse(u16),
    /// The worker holds as many sessions, or the system as many sockets, as it may.
    Full,
    /// More streams than [`super::STREAMS_MAX`], or not the same number on both sides.
    BadStreams,
    /// `Open` for a session that exists.
    Duplicate,
    /// No such session.
    Unknown,
}

/// Who sent nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Silent {
    /// Only this side.
    One(Side),
    /// Both.
    Both,
}

/// From media to signalling.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MediaEvent {
    /// All ports are bound.
    Opened {
        /// Which.
        session: u64,
    },
    /// It could not be, and does not exist any more, if it ever did.
    Failed {
        /// Which.
        session: u64,
        /// Why.
        reason: Failure,
    },
    /// It could not be updated: it is as it was before that.
    Unchanged {
        /// Which.
        session: u64,
        /// Why.
        reason: Failure,
    },
    /// A side that should send was silent for too long. Said once of each side, and once of both,
    /// until the next command; the session lives on until it is closed.
    Timeout {
        /// Which.
        session: u64,
        /// Who.
        silent: Silent,
    },
    /// What `Query` asked for.
    Report {
        /// Which.
        session: u64,
        /// Caller and called.
        legs: Box<[LegStats; 2]>,
        /// The same by streams, in their order.
        streams: Vec<[StreamStats; 2]>,
    },
    /// The session ended; its final counters. Its ports are free now.
    Closed {
        /// Which.
        session: u64,
        /// Caller and called.
        legs: Box<[LegStats; 2]>,
        /// The same by streams, in their order.
        streams: Vec<[StreamStats; 2]>,
    },
}

impl MediaEvent {
    /// The session that it is about.
    pub fn session(&self) -> u64 {
        match self {
            MediaEvent::Opened { session }
            | MediaEvent::Failed { session, .. }
            | MediaEvent::Unchanged { session, .. }
            | MediaEvent::Timeout { session, .. }
            | MediaEvent::Report { session, .. }
            | MediaEvent::Closed { session, .. } => *session,
        }
    }

    /// The same with another name.
    pub fn rename(mut self, to: u64) -> Self {
        match &mut self {
            MediaEvent::Opened { session }
            | MediaEvent::Failed { session, .. }
            | MediaEvent::Unchanged { session, .. }
            | MediaEvent::Timeout { session, .. }
            | MediaEvent::Report { session, .. }
            | MediaEvent::Closed { session, .. } => *session = to,
        }
        self
    }
}

/// Why a socket could not be bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindError {
    /// The port is taken, or the address is not ours.
    Refused,
    /// The system has no descriptors or memory left; the port is not to blame.
    Exhausted,
}

/// What the driver must do with sockets, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketAction {
    /// Bind a socket; tell [`super::Relay::bind_failed`] if it cannot be.
    Bind(SocketAddr),
    /// Close the socket of this port.
    Unbind(u16),
    /// Take packets for this port from anybody, where the system was told of its peer: the peer is
    /// silent, and whoever sends in its place is to be counted.
    Listen(u16),
}
