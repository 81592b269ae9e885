//! The fast path: whole Ethernet frames, rewritten where they lie in a ring of the network card.
//!
//! A driver calls [`process`] for each frame and [`FlowTable::apply_changes`] between batches.
//! Nothing here allocates or waits for a frame. Frames that are no datagram of a flow are for the
//! operating system ([`Verdict::Host`]): fragments, IP options, extension headers, lengths that
//! lie, groups, unknown ports. The sockets behind the ports stay bound, so that a call whose flow
//! found no place goes on there.
//!
//! A frame whose length changes (IPv4 to IPv6 and back, a tag, SRTP) keeps its beginning and moves
//! its payload: rings have no room before a frame. The operating system verifies no checksum for
//! us: IPv4's is verified, UDP's is carried on with its error, if it has one, for the receiver to
//! find, or verified where the payload changes too. One that the sender's system left to a card,
//! which the packet never met, is made here.
//!
//! Not done here: rings, next hops (`os`), latching (`relay`), what `media` does.

mod checksum;
mod flow;
mod parse;
mod rewrite;
mod ring;
mod spec;
mod table;

pub use ring::{
    ANSWERS_MAX, Answer, Busy, CHANGES_MAX, CHANGES_PER_BATCH_MAX, Change, FlowControl, FlowRing,
    ring,
};
pub use spec::{
    Action, DROP_REASONS, DropReason, FlowError, FlowSpec, FlowStats, Onward, PAYLOAD_TYPES_MAX,
    RtcpPath, Security, SsrcMap,
};
pub use table::{FLOWS_MAX, FlowTable, Totals};

use self::flow::{Course, Flow};
use self::parse::Packet;
use self::rewrite::{FRAME_MIN, Work};
use self::spec::Turn;
use crate::base::Instant;
use crate::srtp::OVERHEAD_MAX;
use crate::wire::rtp::{Class, Header, classify};
use std::net::SocketAddr;

/// A frame in a driver's buffer, which may be longer.
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl<'a> Frame<'a> {
    /// The frame in the first `length` bytes; `None` if the buffer has fewer.
    pub fn new(buffer: &'a mut [u8], length: usize) -> Option<Self> {
        (length <= buffer.len()).then_some(Self { buffer, length })
    }

    /// The frame, from its Ethernet header on.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// Its length, which [`Verdict::Forward`] may have changed.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The frame ends here; a short one is filled with zeros as Ethernet demands, which not every
    /// card does by itself.
    fn finish(&mut self, end: usize) -> Result<(), DropReason> {
        self.length = end.max(FRAME_MIN);
        let padding = self.buffer.get_mut(end..self.length);
        padding.ok_or(DropReason::NoRoom)?.fill(0);
        Ok(())
    }
}

/// What shall happen to a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send it, changed as it is, by this link.
    Forward {
        /// [`Onward::link`].
        link: u16,
    },
    /// It is for `media`, as it came.
    Punt,
    /// It is for the operating system's stack, as it came.
    Host,
    /// It goes nowhere; already counted. What is left in the buffer is of no use.
    Drop(DropReason),
}

/// Decides on a frame, and makes of it what goes on.
pub fn process(frame: &mut Frame<'_>, table: &mut FlowTable, now: Instant) -> Verdict {
    let verdict = decide(frame, table, now);
    match verdict {
        Verdict::Forward { .. } => table.totals.forwarded += 1,
        Verdict::Punt => table.totals.punted += 1,
        Verdict::Host => table.totals.host += 1,
        Verdict::Drop(reason) => table.count_dropped(reason),
    }
    verdict
}

/// Begins to fetch what [`process`] will need for a frame. A driver calls it for all frames of a
/// batch first: memory then answers for several at a time, which is what a table larger than the
/// caches costs least with. It changes nothing and decides nothing.
pub fn prepare(frame: &[u8], table: &FlowTable) {
    let flow = parse::destination(frame).and_then(|key| table.peek(key));
    if let Some(flow) = flow {
        flow.touch();
    }
}

/// Who sent the datagram of a frame, our port that it is for, and what it carries, for a frame that
/// is `media`'s: `None` if it is none.
pub fn datagram(frame: &[u8]) -> Option<(SocketAddr, u16, &[u8])> {
    let packet = Packet::parse(frame)?;
    let payload = frame.get(packet.payload()..packet.end)?;
    let source = packet.source.socket_address();
    Some((source, packet.destination.port, payload))
}

#[inline]
fn decide(frame: &mut Frame<'_>, table: &mut FlowTable, now: Instant) -> Verdict {
    let Some(packet) = Packet::parse(frame.bytes()) else {
        return Verdict::Host;
    };
    let Some(flow) = table.find(packet.destination) else {
        return Verdict::Host;
    };
    if flow.gate.vlan != packet.vlan {
        return Verdict::Host;
    }
    let verdict = accept(frame, &packet, flow, now);
    verdict.unwrap_or_else(|reason| {
        flow.count_dropped(reason);
        Verdict::Drop(reason)
    })
}

#[inline]
fn accept(
    frame: &mut Frame<'_>,
    packet: &Packet,
    flow: &mut Flow,
    now: Instant,
) -> Result<Verdict, DropReason> {
    if flow.gate.source() != packet.source {
        return Err(DropReason::Stray);
    }
    let payload = frame.bytes().get(packet.payload()..packet.end);
    let payload = payload.ok_or(DropReason::Malformed)?;
    let class = classify(payload);
    match (class, flow.gate.course) {
        // ICE, DTLS: not the relay's to answer.
        (Class::Stun | Class::Dtls, _) | (_, Course::Punt) => return Ok(Verdict::Punt),
        (Class::Other, _) => return Err(DropReason::Malformed),
        (Class::Rtp | Class::Rtcp, Course::Discard) => return Err(DropReason::Inactive),
        (Class::Rtp | Class::Rtcp, Course::Plain | Course::Special) => {}
    }
    let special = flow.gate.course == Course::Special;
    let header = match class {
        Class::Rtp => Some(Header::parse(payload).ok_or(DropReason::Malformed)?),
        _ => None,
    };
    if special && is_punted(flow, header.as_ref()) {
        return Ok(Verdict::Punt);
    }
    if packet.hop_limit <= 1 {
        return Err(DropReason::Expired);
    }
    if !fits(packet, flow) {
        return Ok(Verdict::Host);
    }
    let arrived = Arrived {
        now,
        class,
        header,
        bytes: payload.len(),
    };
    if special && let Some(security) = flow.extra.security.take() {
        // Somebody else's turn is over soon, but not waited for: sockets take the packet.
        let verdict = match security.try_lock() {
            Some(turn) => forward(frame, packet, flow, &arrived, Some(turn)),
            None => Ok(Verdict::Punt),
        };
        flow.extra.security = Some(security);
        return verdict;
    }
    forward(frame, packet, flow, &arrived, None)
}

/// What is known of an RTP or RTCP packet before it changes.
struct Arrived {
    now: Instant,
    class: Class,
    /// Of RTP.
    header: Option<Header>,
    /// What was above UDP.
    bytes: usize,
}

#[inline]
fn forward(
    frame: &mut Frame<'_>,
    packet: &Packet,
    flow: &mut Flow,
    arrived: &Arrived,
    mut security: Option<Turn<'_>>,
) -> Result<Verdict, DropReason> {
    let special = flow.gate.course == Course::Special;
    let mut work = Work::new(packet, flow.gate.addresses_sum);
    if special {
        if let Some(turn) = &mut security {
            work.check(frame, packet)?;
            work.unprotect(frame, turn, arrived.class)?;
        }
        work.renumber(frame, &flow.extra, arrived.class)?;
    }
    match &arrived.header {
        Some(header) => flow.count_rtp(arrived.now, header, arrived.bytes),
        None => flow.count_rtcp(arrived.now),
    }
    work.send(frame, packet, flow, arrived.class, security)?;
    Ok(Verdict::Forward {
        link: flow.route.link,
    })
}

/// Whether `media` wants it: a payload type (telephone events), or RTCP.
fn is_punted(flow: &Flow, header: Option<&Header>) -> bool {
    match header {
        Some(header) => (flow.extra.punted_types >> (header.payload_type & 0x7f)) & 1 != 0,
        None => flow.extra.rtcp == RtcpPath::Punt,
    }
}

/// Whether it will fit the link that it leaves by, with all that SRTP may add.
fn fits(packet: &Packet, flow: &Flow) -> bool {
    let security = match flow.gate.course {
        Course::Special => flow.extra.security.as_deref(),
        Course::Plain | Course::Punt | Course::Discard => None,
    };
    let protects = security.is_some_and(|security| security.toward.is_some());
    let added = if protects { OVERHEAD_MAX } else { 0 };
    let (_, ip) = flow.route.header_lengths();
    ip + packet.end - packet.udp + added <= usize::from(flow.route.mtu)
}

#[cfg(test)]
mod tests;
