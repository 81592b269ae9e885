//! What a frame is: Ethernet II with at most one 802.1Q tag, IPv4 without options (RFC 791) or
//! IPv6 without extension headers (RFC 8200), one whole UDP datagram (RFC 768).
//!
//! Whatever else it is, or if a length in it lies, it is for the operating system, which knows
//! what to do about it and counts it.

use super::checksum::Sum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Of Ethernet without a tag.
pub(super) const ETHERNET: usize = 14;
/// Of an 802.1Q tag.
pub(super) const TAG: usize = 4;
pub(super) const IPV4: usize = 20;
pub(super) const IPV6: usize = 40;
pub(super) const UDP: usize = 8;
/// The protocol number of UDP.
pub(super) const UDP_PROTOCOL: u8 = 17;
pub(super) const TYPE_IPV4: u16 = 0x0800;
pub(super) const TYPE_IPV6: u16 = 0x86dd;
pub(super) const TYPE_TAG: u16 = 0x8100;
/// The bits of a tag that name the VLAN; 0 means none, only a priority (IEEE 802.1Q §9.6).
pub(super) const VLAN_MASK: u16 = 0x0fff;
/// More fragments, and the fragment's offset.
const FRAGMENT_MASK: u16 = 0x3fff;

/// One end of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Endpoint {
    /// IPv4 as `::ffff:a.b.c.d`, which has no place on the wire (RFC 4291 §2.5.5.2).
    pub(super) address: u128,
    pub(super) port: u16,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr) -> Self {
        let bits = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        Self {
            address: bits,
            port: address.port(),
        }
    }

    fn v4(address: [u8; 4], port: u16) -> Self {
        Self {
            address: Ipv4Addr::from(address).to_ipv6_mapped().to_bits(),
            port,
        }
    }

    /// `None`: an IPv4 address written as an IPv6 one.
    fn v6(address: [u8; 16], port: u16) -> Option<Self> {
        let ip = Ipv6Addr::from(address);
        ip.to_ipv4_mapped().is_none().then_some(Self {
            address: ip.to_bits(),
            port,
        })
    }

    pub(super) fn socket_address(self) -> SocketAddr {
        let ip = match self.is_v4() {
            true => IpAddr::from(self.v4_bytes()),
            false => IpAddr::from(self.v6_bytes()),
        };
        SocketAddr::new(ip, self.port)
    }

    pub(super) fn is_v4(self) -> bool {
        self.address >> 32 == 0xffff
    }

    pub(super) fn v4_bytes(self) -> [u8; 4] {
        (self.address as u32).to_be_bytes()
    }

    pub(super) fn v6_bytes(self) -> [u8; 16] {
        self.address.to_be_bytes()
    }

    /// The address's words, as checksums see them.
    pub(super) fn address_words(self) -> impl Iterator<Item = u16> {
        let bits = self.address;
        let words = if self.is_v4() { 2 } else { 8 };
        (0..words).map(move |n| (bits >> (16 * n)) as u16)
    }
}

/// What IPv4 and IPv6 have apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ip {
    V4 {
        identification: u16,
        /// The don't-fragment bit and the reserved one.
        flags: u16,
        checksum: u16,
    },
    V6 {
        flow_label: u32,
    },
}

/// A datagram's headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Packet {
    /// The VLAN of the tag, if it names one.
    pub(super) vlan: Option<u16>,
    pub(super) ip: Ip,
    /// DSCP and ECN.
    pub(super) traffic_class: u8,
    /// IPv4's time to live.
    pub(super) hop_limit: u8,
    pub(super) source: Endpoint,
    pub(super) destination: Endpoint,
    /// Zero: the sender made none.
    pub(super) udp_checksum: u16,
    /// Where the UDP header begins.
    pub(super) udp: usize,
    /// Where the datagram ends; what follows is padding.
    pub(super) end: usize,
}

impl Packet {
    /// `None`: not one for us.
    #[inline]
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let ethernet = frame.first_chunk::<ETHERNET>()?;
        // To a group, or to all.
        if ethernet[0] & 1 != 0 {
            return None;
        }
        let mut kind = word(ethernet, 12)?;
        let (mut at, mut vlan) = (ETHERNET, None);
        if kind == TYPE_TAG {
            vlan = Some(word(frame, at)? & VLAN_MASK).filter(|vlan| *vlan != 0);
            kind = word(frame, at + 2)?;
            at += TAG;
        }
        match kind {
            TYPE_IPV4 => Self::parse_v4(frame, at, vlan),
            TYPE_IPV6 => Self::parse_v6(frame, at, vlan),
            _ => None,
        }
    }

    #[inline]
    fn parse_v4(frame: &[u8], at: usize, vlan: Option<u16>) -> Option<Self> {
        let header = frame.get(at..)?.first_chunk::<IPV4>()?;
        let (total, fragment) = (word(header, 2)?, word(header, 6)?);
        if header[0] != 0x45 || fragment & FRAGMENT_MASK != 0 || header[9] != UDP_PROTOCOL {
            return None;
        }
        let mut sum = Sum::default();
        sum.add_bytes(header);
        if sum.checksum() != 0 {
            return None;
        }
        let udp = at + IPV4;
        let end = at + usize::from(total);
        let ports = ports(frame, udp, end)?;
        let [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ] = *header;
        Some(Self {
            vlan,
            ip: Ip::V4 {
                identification: word(header, 4)?,
                flags: fragment,
                checksum: word(header, 10)?,
            },
            traffic_class: header[1],
            hop_limit: header[8],
            source: Endpoint::v4([s0, s1, s2, s3], ports.0),
            destination: Endpoint::v4([d0, d1, d2, d3], ports.1),
            udp_checksum: word(frame, udp + 6)?,
            udp,
            end,
        })
    }

    #[inline]
    fn parse_v6(frame: &[u8], at: usize, vlan: Option<u16>) -> Option<Self> {
        let header = frame.get(at..)?.first_chunk::<IPV6>()?;
        let first = u32::from_be_bytes(*header.first_chunk()?);
        if first >> 28 != 6 || header[6] != UDP_PROTOCOL {
            return None;
        }
        let udp = at + IPV6;
        let end = udp + usize::from(word(header, 4)?);
        let ports = ports(frame, udp, end)?;
        let udp_checksum = word(frame, udp + 6)?;
        // IPv6 has no datagrams without a checksum outside tunnels (RFC 8200 §8.1).
        if udp_checksum == 0 {
            return None;
        }
        Some(Self {
            vlan,
            ip: Ip::V6 {
                flow_label: first & 0x000f_ffff,
            },
            traffic_class: (first >> 20) as u8,
            hop_limit: header[7],
            source: Endpoint::v6(*header.get(8..)?.first_chunk()?, ports.0)?,
            destination: Endpoint::v6(*header.get(24..)?.first_chunk()?, ports.1)?,
            udp_checksum,
            udp,
            end,
        })
    }

    /// Where what UDP carries begins.
    pub(super) fn payload(&self) -> usize {
        self.udp + UDP
    }
}

/// Where a frame seems to go, unchecked.
pub(super) fn destination(frame: &[u8]) -> Option<Endpoint> {
    let mut at = ETHERNET;
    let mut kind = word(frame, at - 2)?;
    if kind == TYPE_TAG {
        at += TAG;
        kind = word(frame, at - 2)?;
    }
    if kind == TYPE_IPV4 {
        let address = *frame.get(at + 16..)?.first_chunk()?;
        return Some(Endpoint::v4(address, word(frame, at + IPV4 + 2)?));
    }
    let address = *frame.get(at + 24..)?.first_chunk()?;
    Endpoint::v6(address, word(frame, at + IPV6 + 2)?)
}

/// The ports of the datagram at `udp`, if it fills what IP carries up to `end`.
fn ports(frame: &[u8], udp: usize, end: usize) -> Option<(u16, u16)> {
    let datagram = frame.get(udp..end)?;
    let header = datagram.first_chunk::<UDP>()?;
    let whole = usize::from(word(header, 4)?) == datagram.len();
    whole.then_some((word(header, 0)?, word(header, 2)?))
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
