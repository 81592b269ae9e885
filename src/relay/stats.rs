//! The counters of one side of a session.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// Why a packet went nowhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DropReason {
    /// No session has this port.
    NoSession,
    /// From an address that the port does not listen to: stray packets, hijack attempts.
    Stray,
    /// From an unproven address behind a NAT, which must send some packets in sequence first.
    Probation,
    /// Not what belongs on the port: too short, wrong version.
    Malformed,
    /// STUN on a media port: keepalives of phones.
    Stun,
    /// The other side's address is not known yet.
    NoDestination,
    /// The stream is inactive or has no counterpart, or the packet is of a kind that is blocked.
    Inactive,
    /// The system refused to send it.
    SendFailed,
    /// SRTP under keys of ours: forged, repeated, before there was a key, or the key is used up.
    Srtp,
}

/// How many reasons there are.
pub const DROP_REASONS: usize = 9;

impl DropReason {
    /// All, in the order of [`LegStats::dropped`].
    pub const ALL: [DropReason; DROP_REASONS] = [
        DropReason::NoSession,
        DropReason::Stray,
        DropReason::Probation,
        DropReason::Malformed,
        DropReason::Stun,
        DropReason::NoDestination,
        DropReason::Inactive,
        DropReason::SendFailed,
        DropReason::Srtp,
    ];

    /// The place in [`LegStats::dropped`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// A stable name for listings.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::NoSession => "no_session",
            DropReason::Stray => "stray",
            DropReason::Probation => "probation",
            DropReason::Malformed => "malformed",
            DropReason::Stun => "stun",
            DropReason::NoDestination => "no_destination",
            DropReason::Inactive => "inactive",
            DropReason::SendFailed => "send_failed",
            DropReason::Srtp => "srtp",
        }
    }
}

/// What came from and went to one side, over all its streams since the session opened. "In" is
/// what the side sent to us.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct LegStats {
    /// RTP or UDPTL packets accepted from the side.
    pub packets_in: u64,
    /// RTP or UDPTL packets sent to the side.
    pub packets_out: u64,
    /// Their bytes above UDP.
    pub bytes_in: u64,
    /// Their bytes above UDP.
    pub bytes_out: u64,
    /// RTCP packets accepted from the side.
    pub rtcp_in: u64,
    /// RTCP packets sent to the side.
    pub rtcp_out: u64,
    /// The bytes above UDP of those that it sent.
    pub rtcp_bytes_in: u64,
    /// Packets lost on the way to us, by sequence number (RFC 3550 A.3); never below zero here.
    pub lost: u64,
    /// Interarrival jitter of the first stream as it reaches us, in microseconds (RFC 3550 A.8).
    pub jitter_us: u32,
    /// What the side itself reports as lost on the way to it (RTCP, first stream).
    pub rtcp_lost: Option<i32>,
    /// The jitter that it reports, in microseconds.
    pub rtcp_jitter_us: Option<u32>,
    /// Packets from this side's ports that went nowhere, by [`DropReason::index`].
    pub dropped: [u64; DROP_REASONS],
    /// How often the side changed its SSRC.
    pub ssrc_changes: u32,
    /// How often one of its ports learned a source other than before.
    pub source_changes: u32,
    /// How long ago the last accepted packet came; `None` if none ever did.
    pub silent_for: Option<Duration>,
    /// Whether the last packet of one of its streams told of comfort noise (RFC 3389), after which
    /// nothing need follow until somebody speaks. Of the static payload type alone: what others
    /// mean is not known here.
    pub describes_silence: bool,
    /// How long ago it said goodbye (RFC 3550 §6.6), in clear reports.
    pub left_for: Option<Duration>,
    /// Whether its description says that it sends, and the other side wants to receive.
    pub should_send: bool,
    /// Where the first stream's packets really come from, once known.
    pub source: Option<SocketAddr>,
}

/// What came from one side in one stream, by its ports of now. Figures of ports that are gone are
/// in the sums of [`LegStats`] alone.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct StreamStats {
    /// The source (RFC 3550 §3) that it sends as, the latest.
    pub ssrc: Option<u32>,
    /// As in [`LegStats`].
    pub packets_in: u64,
    /// As in [`LegStats`].
    pub bytes_in: u64,
    /// As in [`LegStats`].
    pub rtcp_in: u64,
    /// As in [`LegStats`].
    pub rtcp_bytes_in: u64,
    /// Packets that went nowhere.
    pub dropped: u64,
    /// As in [`LegStats`].
    pub lost: u64,
    /// As in [`LegStats`].
    pub jitter_us: u32,
    /// As in [`LegStats`].
    pub silent_for: Option<Duration>,
    /// Where its packets really come from, once known.
    pub source: Option<SocketAddr>,
    /// How the side hears the other, in its own words.
    pub hears: Hears,
}

/// What a side's reports (RFC 3550 §6.4) say of how it hears what we send to it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Hears {
    /// How many reports there were, of one second at most one.
    pub reports: u32,
    /// The sum of their fractions lost, in 256ths.
    pub fractions: u64,
    /// The sum of their jitters, in microseconds.
    pub jitter_us: u64,
    /// What the last one says is lost of all.
    pub lost: i32,
    /// The worst and the best of them.
    pub extremes: Option<[Heard; 2]>,
    /// Of the round trips between us and the side.
    pub legs: Mean,
    /// Of those between the two sides.
    pub wholes: Mean,
    /// How it went: reports of the whole time, evenly far apart, the oldest first; a few at most.
    pub progression: Vec<Heard>,
}

/// The mean of those reports by which something could be known.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Mean {
    /// Microseconds.
    pub sum_us: u64,
    /// How many they are.
    pub count: u32,
}

impl Mean {
    /// In microseconds; zero without any.
    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(u64::from(self.count)).unwrap_or(0)
    }
}

/// How long the way there and back takes (RFC 3550 §6.4.1), in microseconds; zero where that is not
/// known.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct RoundTrip {
    /// Between us and the side.
    pub leg_us: u32,
    /// Between the side and the other one.
    pub whole_us: u32,
}

/// One report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// How much was lost since the one before, in 256ths.
    pub fraction: u8,
    /// Interarrival jitter, in microseconds.
    pub jitter_us: u32,
    /// By this report.
    pub round_trip: RoundTrip,
    /// How long ago it came.
    pub ago: Duration,
}

impl LegStats {
    /// Jitter in whole milliseconds, as listings show it.
    pub fn jitter_ms(&self) -> u32 {
        (self.jitter_us + 500) / 1000
    }

    /// All dropped packets.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Whether this side explains one-way audio: it should send and nothing ever came from it.
    pub fn sends_nothing(&self) -> bool {
        self.should_send && self.packets_in == 0
    }
}
