//! A flow as packets meet it: four cache lines of its own, of which a plain packet touches three.

use super::super::receiver::Receiver;
use super::checksum::Sum;
use super::parse::{Endpoint, IPV4, IPV6, TAG};
use super::spec::{
    Action, DROP_REASONS, DropReason, FlowError, FlowSpec, FlowStats, Onward, PAYLOAD_TYPES_MAX,
    RtcpPath, Security, SsrcMap,
};
use crate::base::Instant;
use std::hint::black_box;

/// What becomes of an accepted packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Course {
    Punt,
    Discard,
    /// Only headers change.
    Plain,
    /// RTP changes too, or types of it are punted: [`Extra`] says how.
    Special,
}

/// Line 0: what a look-up compares.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Gate {
    destination_address: u128,
    source_address: u128,
    /// Destination and source.
    ports: [u16; 2],
    pub(super) vlan: Option<u16>,
    pub(super) course: Course,
    /// What both addresses add up to.
    pub(super) addresses_sum: u16,
    clock_rate: u32,
    packets: u64,
    /// When the last accepted packet came, in nanoseconds; [`NEVER`].
    heard: u64,
}

const NEVER: u64 = u64::MAX;

/// Line 1: where packets go on.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Route {
    pub(super) source_address: u128,
    pub(super) destination_address: u128,
    /// Source and destination.
    pub(super) ports: [u16; 2],
    pub(super) macs: [[u8; 6]; 2],
    pub(super) tag: Option<u16>,
    pub(super) link: u16,
    pub(super) mtu: u16,
    /// What the change of the addresses does to a sum over them.
    pub(super) addresses_delta: u16,
    pub(super) dscp: Option<u8>,
}

/// Line 2: what every packet changes.
#[derive(Clone, Copy, Default, Debug)]
#[repr(align(64))]
struct Count {
    receiver: Receiver,
    bytes: u64,
}

/// The last lines: what few packets need.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Extra {
    pub(super) punted_types: u128,
    pub(super) ssrc: Option<SsrcMap>,
    pub(super) payload_types: [(u8, u8); PAYLOAD_TYPES_MAX],
    pub(super) rtcp: RtcpPath,
    pub(super) security: Option<Box<Security>>,
    rtcp_count: u64,
    dropped: [u32; DROP_REASONS],
}

/// One flow.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Flow {
    pub(super) gate: Gate,
    pub(super) route: Route,
    count: Count,
    pub(super) extra: Extra,
}

// The look-up's line, the route's and the counters' are what the speed rests on.
const _: () = assert!(size_of::<Gate>() == 64);
const _: () = assert!(size_of::<Route>() == 64);
const _: () = assert!(size_of::<Count>() == 64);

impl Flow {
    pub(super) fn new(spec: FlowSpec) -> Result<Self, FlowError> {
        let (destination, source) = (endpoint(spec.destination)?, endpoint(spec.source)?);
        if destination.is_v4() != source.is_v4() {
            return Err(FlowError::BadAddress);
        }
        let gate = Gate {
            destination_address: destination.address,
            source_address: source.address,
            ports: [destination.port, source.port],
            vlan: spec.vlan,
            course: Course::Discard,
            addresses_sum: sum_of([destination, source]).fold(),
            clock_rate: spec.clock_rate,
            packets: 0,
            heard: NEVER,
        };
        let mut flow = Self {
            gate,
            route: Route::nowhere(),
            count: Count::default(),
            extra: Extra::none(),
        };
        match spec.action {
            Action::Punt => flow.gate.course = Course::Punt,
            Action::Discard => {}
            Action::Forward(onward) => flow.lead(*onward)?,
        }
        Ok(flow)
    }

    fn lead(&mut self, mut onward: Onward) -> Result<(), FlowError> {
        let is_foreign = |s: &mut Box<Security>| s.from.is_none() && s.toward.is_none();
        if onward.security.take_if(is_foreign).is_some()
            && (onward.ssrc.is_some() || !onward.payload_types.is_empty())
        {
            return Err(FlowError::Protected);
        }
        let (source, destination) = (endpoint(onward.source)?, endpoint(onward.destination)?);
        if source.is_v4() != destination.is_v4() {
            return Err(FlowError::BadAddress);
        }
        // DEI and priority are part of a tag; VLAN 4095 is reserved (IEEE 802.1Q §9.6).
        let tag_fits = onward.tag.is_none_or(|tag| tag & 0xfff != 0xfff);
        let types = &onward.payload_types;
        let types_fit = types.iter().all(|(from, to)| (from | to) & 0x80 == 0);
        let mut payload_types = [(0, 0); PAYLOAD_TYPES_MAX];
        let places = payload_types.get_mut(..types.len());
        let Some(places) =
            places.filter(|_| tag_fits && types_fit && onward.dscp.is_none_or(|d| d < 64))
        else {
            return Err(FlowError::BadRewrite);
        };
        places.copy_from_slice(types);
        let special = onward.ssrc.is_some()
            || !types.is_empty()
            || onward.punted_types != 0
            || onward.rtcp != RtcpPath::Same
            || onward.security.is_some();
        let mut delta = Sum::default();
        for old in [self.gate.source(), self.gate.destination()] {
            old.address_words().for_each(|word| delta.remove(word));
        }
        for new in [source, destination] {
            new.address_words().for_each(|word| delta.add(word));
        }
        self.gate.course = if special {
            Course::Special
        } else {
            Course::Plain
        };
        self.route = Route {
            source_address: source.address,
            destination_address: destination.address,
            ports: [source.port, destination.port],
            macs: [onward.source_mac, onward.destination_mac],
            tag: onward.tag,
            link: onward.link,
            mtu: onward.mtu,
            addresses_delta: delta.fold(),
            dscp: onward.dscp,
        };
        self.extra.punted_types = onward.punted_types;
        self.extra.ssrc = onward.ssrc;
        self.extra.payload_types = payload_types;
        self.extra.rtcp = onward.rtcp;
        self.extra.security = onward.security;
        Ok(())
    }

    /// Takes the place of an older flow of the same key: what that counted goes on counting.
    pub(super) fn succeed(&mut self, old: &Flow) {
        self.count = old.count;
        self.gate.packets = old.gate.packets;
        self.gate.heard = old.gate.heard;
        self.extra.rtcp_count = old.extra.rtcp_count;
        self.extra.dropped = old.extra.dropped;
    }

    /// Reads from each line that a plain packet needs, so that they are on their way while other
    /// frames are looked at.
    pub(super) fn touch(&self) {
        black_box((self.gate.clock_rate, self.route.mtu, self.count.bytes));
    }

    /// Counts an accepted RTP packet of so many bytes above UDP.
    pub(super) fn count_rtp(
        &mut self,
        now: Instant,
        header: &crate::wire::rtp::Header,
        bytes: usize,
    ) {
        self.gate.packets += 1;
        self.gate.heard = now.as_nanos();
        self.count.bytes += bytes as u64;
        let clock = self.gate.clock_rate;
        self.count.receiver.on_packet(now, header, clock);
    }

    /// Counts an accepted RTCP packet.
    pub(super) fn count_rtcp(&mut self, now: Instant) {
        self.gate.heard = now.as_nanos();
        self.extra.rtcp_count += 1;
    }

    /// Counts a packet that went nowhere.
    pub(super) fn count_dropped(&mut self, reason: DropReason) {
        if let Some(count) = self.extra.dropped.get_mut(reason.index()) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn stats(&self) -> FlowStats {
        FlowStats {
            packets: self.gate.packets,
            bytes: self.count.bytes,
            rtcp: self.extra.rtcp_count,
            lost: self.count.receiver.lost(),
            jitter_us: self.count.receiver.jitter_us(self.gate.clock_rate),
            ssrc_changes: self.count.receiver.ssrc_changes(),
            heard: (self.gate.heard != NEVER).then_some(Instant::from_nanos(self.gate.heard)),
            dropped: self.extra.dropped,
        }
    }
}

impl Gate {
    pub(super) fn destination(&self) -> Endpoint {
        Endpoint {
            address: self.destination_address,
            port: self.ports[0],
        }
    }

    pub(super) fn source(&self) -> Endpoint {
        Endpoint {
            address: self.source_address,
            port: self.ports[1],
        }
    }
}

impl Route {
    fn nowhere() -> Self {
        Self {
            source_address: 0,
            destination_address: 0,
            ports: [0; 2],
            macs: [[0; 6]; 2],
            tag: None,
            link: 0,
            mtu: 0,
            addresses_delta: 0,
            dscp: None,
        }
    }

    pub(super) fn ends(&self) -> [Endpoint; 2] {
        let [source, destination] = self.ports;
        [
            Endpoint {
                address: self.source_address,
                port: source,
            },
            Endpoint {
                address: self.destination_address,
                port: destination,
            },
        ]
    }

    /// Of Ethernet's header with what it adds, and of IP's.
    pub(super) fn header_lengths(&self) -> (usize, usize) {
        let v4 = self.ends().map(Endpoint::is_v4)[0];
        let ethernet = super::parse::ETHERNET + self.tag.map_or(0, |_| TAG);
        (ethernet, if v4 { IPV4 } else { IPV6 })
    }
}

impl Extra {
    fn none() -> Self {
        Self {
            punted_types: 0,
            ssrc: None,
            payload_types: [(0, 0); PAYLOAD_TYPES_MAX],
            rtcp: RtcpPath::Same,
            security: None,
            rtcp_count: 0,
            dropped: [0; DROP_REASONS],
        }
    }

    /// The number that a payload type gets.
    pub(super) fn payload_type(&self, old: u8) -> u8 {
        let found = self.payload_types.iter().find(|(from, _)| *from == old);
        // Free places say that 0 stays 0, and come after those that say otherwise.
        found.map_or(old, |(_, to)| *to)
    }
}

/// What the words of addresses add up to.
fn sum_of(ends: [Endpoint; 2]) -> Sum {
    let mut sum = Sum::default();
    let words = ends.into_iter().flat_map(Endpoint::address_words);
    words.for_each(|word| sum.add(word));
    sum
}

/// An address of ours or of a peer's: IPv4 is never written as IPv6 here.
fn endpoint(address: std::net::SocketAddr) -> Result<Endpoint, FlowError> {
    let mapped = match address.ip() {
        std::net::IpAddr::V4(_) => false,
        std::net::IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
    };
    if mapped || address.port() == 0 {
        return Err(FlowError::BadAddress);
    }
    Ok(Endpoint::new(address))
}
