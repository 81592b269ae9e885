//! What a flow shall be, and what it says of itself.

use crate::base::Instant;
use crate::srtp::{Inbound, Outbound, Shared};
use std::net::SocketAddr;
use std::sync::MutexGuard;

/// The most payload types of a flow that change their number.
pub const PAYLOAD_TYPES_MAX: usize = 4;

/// Why a packet went nowhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DropReason {
    /// From an address that the port does not listen to: stray packets, hijack attempts.
    Stray,
    /// Neither RTP nor RTCP nor what belongs beside them.
    Malformed,
    /// The stream is inactive.
    Inactive,
    /// Its time to live or hop limit is used up.
    Expired,
    /// Its UDP checksum is wrong, and ours would have hidden that.
    Checksum,
    /// SRTP that is forged, replayed, or whose key is used up.
    Srtp,
    /// The driver's buffer has no room for the longer packet.
    NoRoom,
}

/// How many reasons there are.
pub const DROP_REASONS: usize = 7;

impl DropReason {
    /// All, in the order of [`FlowStats::dropped`].
    pub const ALL: [DropReason; DROP_REASONS] = [
        DropReason::Stray,
        DropReason::Malformed,
        DropReason::Inactive,
        DropReason::Expired,
        DropReason::Checksum,
        DropReason::Srtp,
        DropReason::NoRoom,
    ];

    /// The place in [`FlowStats::dropped`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// A stable name for listings.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Stray => "stray",
            DropReason::Malformed => "malformed",
            DropReason::Inactive => "inactive",
            DropReason::Expired => "expired",
            DropReason::Checksum => "checksum",
            DropReason::Srtp => "srtp",
            DropReason::NoRoom => "no_room",
        }
    }
}

/// What a flow shall be. Its key is `destination`.
#[derive(Debug)]
pub struct FlowSpec {
    /// Our address and port.
    pub destination: SocketAddr,
    /// The only source that is listened to, of the same family.
    pub source: SocketAddr,
    /// The VLAN that it comes by; from another one it is for the operating system.
    pub vlan: Option<u16>,
    /// The clock of dynamic payload types, in Hz.
    pub clock_rate: u32,
    /// What becomes of its packets.
    pub action: Action,
}

/// What becomes of a flow's packets.
#[derive(Debug)]
pub enum Action {
    /// They are for `media`.
    Punt,
    /// Nothing: the stream is inactive.
    Discard,
    /// They go on.
    Forward(Box<Onward>),
}

/// How packets go on.
#[derive(Debug)]
pub struct Onward {
    /// The driver's number of the link that they leave by.
    pub link: u16,
    /// The link's own hardware address.
    pub source_mac: [u8; 6],
    /// The next hop's.
    pub destination_mac: [u8; 6],
    /// The tag that they get: priority and VLAN (IEEE 802.1Q §9.6).
    pub tag: Option<u16>,
    /// Our address and port toward the other side.
    pub source: SocketAddr,
    /// The other side, of the same family.
    pub destination: SocketAddr,
    /// Where RTCP on this port goes.
    pub rtcp: RtcpPath,
    /// The longest IP packet of the link; a longer one is for the operating system.
    pub mtu: u16,
    /// Replaces the six bits that came.
    pub dscp: Option<u8>,
    /// Replaces the stream's SSRC.
    pub ssrc: Option<SsrcMap>,
    /// Payload types (7 bits) that change: from, to.
    pub payload_types: Vec<(u8, u8)>,
    /// Payload types that are for `media`: bit n stands for type n.
    pub punted_types: u128,
    /// What takes SRTP off and puts it on.
    pub security: Option<Box<Security>>,
}

/// Where RTCP that shares the port with RTP goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtcpPath {
    /// The same way (RFC 5761).
    Same,
    /// To other ports of the same addresses.
    Ports {
        /// Ours.
        source: u16,
        /// The other side's.
        destination: u16,
    },
    /// To `media`.
    Punt,
}

/// New synchronization sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SsrcMap {
    /// What the other side sees as the source of all this flow's packets.
    pub sent: u32,
    /// What the opposite flow made of its source, and what that was: reports about the one speak
    /// of the other.
    pub reported: Option<(u32, u32)>,
}

/// SRTP of one flow, whose contexts the sockets behind its port have, too, and the same flow in the
/// table of another ring: a card may bring one stream by several.
///
/// With neither it is SRTP under keys of the peers', which passes as it comes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Security {
    /// With the sender; none if it sends RTP.
    pub from: Option<Shared>,
    /// With the receiver; none if it gets RTP.
    pub toward: Option<Shared>,
}

impl Security {
    /// What one packet needs, unless somebody else is at it now.
    pub(super) fn try_lock(&self) -> Option<Turn<'_>> {
        let from = match &self.from {
            Some(shared) => Some(shared.try_inbound()?),
            None => None,
        };
        let toward = match &self.toward {
            Some(shared) => Some(shared.try_outbound()?),
            None => None,
        };
        Some(Turn { from, toward })
    }
}

/// A packet's turn at the SRTP of its flow.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) from: Option<MutexGuard<'a, Inbound>>,
    pub(super) toward: Option<MutexGuard<'a, Outbound>>,
}

/// Why a flow cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowError {
    /// The table is full: the call stays on sockets.
    Full,
    /// No flow has this key.
    Unknown,
    /// Addresses of two families, or an IPv4 address written as IPv6; ours to mend.
    BadAddress,
    /// A tag, DSCP or payload type with too many bits, or too many payload types.
    BadRewrite,
    /// A new SSRC or payload type for SRTP whose keys are not ours: both are authenticated (RFC
    /// 3711 §3.1), so the receiver would drop every packet.
    Protected,
}

/// What a flow counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FlowStats {
    /// RTP packets accepted.
    pub packets: u64,
    /// Their bytes above UDP, as they came.
    pub bytes: u64,
    /// RTCP packets accepted.
    pub rtcp: u64,
    /// Lost on the way to us, by sequence number (RFC 3550 A.3).
    pub lost: u64,
    /// Interarrival jitter in microseconds (RFC 3550 A.8).
    pub jitter_us: u32,
    /// How often the source changed its SSRC.
    pub ssrc_changes: u32,
    /// When the last accepted packet came.
    pub heard: Option<Instant>,
    /// Packets that went nowhere, by [`DropReason::index`].
    pub dropped: [u32; DROP_REASONS],
}

impl FlowStats {
    /// What two tables counted of one flow, whose packets came by two rings of a card.
    pub fn join(self, other: Self) -> Self {
        let latest = if self.heard >= other.heard {
            self
        } else {
            other
        };
        let sum = |at: usize| {
            let counts = [self.dropped.get(at), other.dropped.get(at)];
            counts
                .into_iter()
                .flatten()
                .fold(0, |sum: u32, count| sum.saturating_add(*count))
        };
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            rtcp: self.rtcp + other.rtcp,
            lost: self.lost + other.lost,
            // A receiver's estimate, which cannot be added up: the one that still hears.
            jitter_us: latest.jitter_us,
            ssrc_changes: self.ssrc_changes.saturating_add(other.ssrc_changes),
            heard: latest.heard,
            dropped: std::array::from_fn(sum),
        }
    }
}
