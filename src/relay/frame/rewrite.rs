//! Makes of a packet what goes on: headers, RTP's fields, SRTP, checksums.

use super::Frame;
use super::checksum::Sum;
use super::flow::{Course, Extra, Flow, Route};
use super::parse::{
    ETHERNET, Endpoint, IPV4, IPV6, Ip, Packet, TYPE_IPV4, TYPE_IPV6, TYPE_TAG, UDP, UDP_PROTOCOL,
};
use super::spec::{DropReason, RtcpPath, SsrcMap, Turn};
use crate::wire::rtp::Class;

/// The shortest Ethernet frame without its check sequence (IEEE 802.3 §4A.4.2).
pub(super) const FRAME_MIN: usize = 60;
/// DF: what we send is whole and its identification means nothing (RFC 6864 §4.1).
const DONT_FRAGMENT: u16 = 0x4000;

/// What goes on so far: the headers as they came, and the payload as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    /// Where the payload lies, and how long it is.
    payload: usize,
    length: usize,
    /// What changed in the words that the UDP checksum covers.
    changed: Sum,
    /// The whole payload changed, or nobody has summed it yet: do it.
    anew: bool,
}

impl Work {
    /// `addresses_sum`: what the addresses of the flow, which are the packet's, add up to.
    pub(super) fn new(packet: &Packet, addresses_sum: u16) -> Self {
        Self {
            payload: packet.payload(),
            length: packet.end - packet.payload(),
            changed: Sum::default(),
            anew: is_unfinished(packet, addresses_sum),
        }
    }

    /// Where SRTP is taken off or put on, nothing of the old checksum remains, so that a wrong one
    /// has to be found now.
    pub(super) fn check(self, frame: &Frame<'_>, packet: &Packet) -> Result<(), DropReason> {
        if packet.udp_checksum == 0 || self.anew {
            return Ok(());
        }
        let datagram = frame.bytes().get(packet.udp..packet.end);
        let datagram = datagram.ok_or(DropReason::Malformed)?;
        let mut sum = pseudo_header([packet.source, packet.destination], datagram.len());
        sum.add_bytes(datagram);
        if sum.checksum() == 0 {
            Ok(())
        } else {
            Err(DropReason::Checksum)
        }
    }

    /// Takes SRTP off.
    pub(super) fn unprotect(
        &mut self,
        frame: &mut Frame<'_>,
        turn: &mut Turn<'_>,
        class: Class,
    ) -> Result<(), DropReason> {
        self.anew = true;
        let Some(from) = &mut turn.from else {
            return Ok(());
        };
        let length = from.open(self.bytes(frame)?, class == Class::Rtcp);
        self.length = length.map_err(|_| DropReason::Srtp)?;
        Ok(())
    }

    /// Changes SSRCs and payload type.
    pub(super) fn renumber(
        &mut self,
        frame: &mut Frame<'_>,
        extra: &Extra,
        class: Class,
    ) -> Result<(), DropReason> {
        let mut changed = self.changed;
        let bytes = self.bytes(frame)?;
        match class {
            Class::Rtcp => {
                if let Some(map) = &extra.ssrc {
                    renumber_rtcp(bytes, map, &mut changed);
                }
            }
            _ => {
                let mark = *bytes.get(1).ok_or(DropReason::Malformed)?;
                let new = (mark & 0x80) | extra.payload_type(mark & 0x7f);
                let first = *bytes.first().ok_or(DropReason::Malformed)?;
                patch(bytes, 0, [first, new], &mut changed);
                if let Some(map) = &extra.ssrc {
                    patch_ssrc(bytes, 8, map.sent, &mut changed);
                }
            }
        }
        self.changed = changed;
        Ok(())
    }

    /// Writes the new headers, puts SRTP on, and mends the checksums.
    #[inline]
    pub(super) fn send(
        mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        flow: &Flow,
        class: Class,
        security: Option<Turn<'_>>,
    ) -> Result<(), DropReason> {
        let Flow {
            gate, route, extra, ..
        } = flow;
        // A plain flow's other lines are not even read.
        let ends = if gate.course == Course::Special {
            rtcp_ends(route, extra, class)
        } else {
            route.ends()
        };
        let (ethernet, ip) = route.header_lengths();
        self.move_to(frame, ethernet + ip + UDP)?;
        if let Some(turn) = security {
            self.protect(frame, turn, class)?;
        }
        let udp_length = UDP + self.length;
        let end = self.payload + self.length;
        let checksum = self.udp_checksum(frame, packet, route, ends)?;
        let bytes = frame.buffer.get_mut(..end).ok_or(DropReason::NoRoom)?;
        let headers = bytes.get_mut(..self.payload).ok_or(DropReason::NoRoom)?;
        let (link, rest) = headers
            .split_at_mut_checked(ethernet)
            .ok_or(DropReason::NoRoom)?;
        let (network, transport) = rest.split_at_mut_checked(ip).ok_or(DropReason::NoRoom)?;
        write_ethernet(link, route);
        if ends[0].is_v4() {
            write_v4(network, packet, route, udp_length)?;
        } else {
            write_v6(network, packet, route, udp_length)?;
        }
        let [s, d] = ends.map(|end| end.port.to_be_bytes());
        let length = (udp_length as u16).to_be_bytes();
        let sum = checksum.to_be_bytes();
        let header = [s[0], s[1], d[0], d[1], length[0], length[1], sum[0], sum[1]];
        transport.copy_from_slice(&header);
        frame.finish(end)
    }

    fn bytes<'f>(&self, frame: &'f mut Frame<'_>) -> Result<&'f mut [u8], DropReason> {
        let end = self.payload + self.length;
        let bytes = frame.buffer.get_mut(self.payload..end);
        bytes.ok_or(DropReason::NoRoom)
    }

    fn move_to(&mut self, frame: &mut Frame<'_>, payload: usize) -> Result<(), DropReason> {
        if payload == self.payload {
            return Ok(());
        }
        if payload + self.length > frame.buffer.len() {
            return Err(DropReason::NoRoom);
        }
        let old = self.payload..self.payload + self.length;
        frame.buffer.copy_within(old, payload);
        self.payload = payload;
        Ok(())
    }

    fn protect(
        &mut self,
        frame: &mut Frame<'_>,
        turn: Turn<'_>,
        class: Class,
    ) -> Result<(), DropReason> {
        let Some(mut toward) = turn.toward else {
            return Ok(());
        };
        let room = frame.buffer.get_mut(self.payload..);
        let room = room.ok_or(DropReason::NoRoom)?;
        let length = toward.seal(room, self.length, class == Class::Rtcp);
        self.length = length.map_err(|error| match error {
            crate::srtp::SrtpError::NoRoom => DropReason::NoRoom,
            _ => DropReason::Srtp,
        })?;
        Ok(())
    }

    /// Incrementally where headers and RTP's fixed header changed (RFC 1624); whole where the
    /// payload did, where it came unfinished, or where IPv4 without a checksum becomes IPv6 (RFC
    /// 8200 §8.1).
    fn udp_checksum(
        &self,
        frame: &Frame<'_>,
        packet: &Packet,
        route: &Route,
        ends: [Endpoint; 2],
    ) -> Result<u16, DropReason> {
        let none = packet.udp_checksum == 0;
        if none && ends[0].is_v4() {
            return Ok(0);
        }
        if none || self.anew {
            let payload = frame.buffer.get(self.payload..self.payload + self.length);
            let payload = payload.ok_or(DropReason::NoRoom)?;
            let length = UDP + self.length;
            let mut sum = pseudo_header(ends, length);
            ends.iter().for_each(|end| sum.add(end.port));
            sum.add(length as u16);
            sum.add_bytes(payload);
            return Ok(sum.udp_checksum());
        }
        let mut sum = Sum::of_checksum(packet.udp_checksum);
        sum.join(self.changed);
        sum.add(route.addresses_delta);
        sum.remove(packet.source.port);
        sum.remove(packet.destination.port);
        ends.iter().for_each(|end| sum.add(end.port));
        Ok(sum.udp_checksum())
    }
}

/// Whether the sender's system left the checksum to a card that the packet never met, as between
/// virtual machines or containers of one host (Linux: CHECKSUM_PARTIAL; FreeBSD: CSUM_DELAY_DATA):
/// in its place is what the pseudo header adds up to, not complemented, for the card to begin with.
/// Of whole packets one in 65,536 looks so, too, and summing it again does it no harm.
#[inline]
fn is_unfinished(packet: &Packet, addresses_sum: u16) -> bool {
    let mut sum = Sum::default();
    sum.add(addresses_sum);
    sum.add(u16::from(UDP_PROTOCOL));
    sum.add((packet.end - packet.udp) as u16);
    sum.fold() == packet.udp_checksum
}

/// RFC 768 and RFC 8200 §8.1: the same words, whatever their width.
fn pseudo_header(ends: [Endpoint; 2], length: usize) -> Sum {
    let mut sum = Sum::default();
    for end in ends {
        end.address_words().for_each(|word| sum.add(word));
    }
    sum.add(u16::from(UDP_PROTOCOL));
    sum.add(length as u16);
    sum
}

/// The new ends of the datagram, RTCP's where it goes its own way.
fn rtcp_ends(route: &Route, extra: &Extra, class: Class) -> [Endpoint; 2] {
    let mut ends = route.ends();
    if class == Class::Rtcp
        && let RtcpPath::Ports {
            source,
            destination,
        } = extra.rtcp
    {
        ends[0].port = source;
        ends[1].port = destination;
    }
    ends
}

fn write_ethernet(link: &mut [u8], route: &Route) {
    let [source, destination] = route.macs;
    let kind = if route.ends()[0].is_v4() {
        TYPE_IPV4
    } else {
        TYPE_IPV6
    };
    let [k0, k1] = kind.to_be_bytes();
    let [p0, p1] = TYPE_TAG.to_be_bytes();
    let [t0, t1] = route.tag.unwrap_or_default().to_be_bytes();
    let (macs, kinds) = link.split_at_mut(ETHERNET - 2);
    let (to, from) = macs.split_at_mut(6);
    to.copy_from_slice(&destination);
    from.copy_from_slice(&source);
    match kinds {
        [a, b] => (*a, *b) = (k0, k1),
        _ => kinds.copy_from_slice(&[p0, p1, t0, t1, k0, k1]),
    }
}

/// DSCP as the flow wants it, ECN as it came (RFC 3168 §5).
fn traffic_class(packet: &Packet, route: &Route) -> u8 {
    let kept = packet.traffic_class;
    route.dscp.map_or(kept, |dscp| (dscp << 2) | (kept & 3))
}

fn write_v4(
    network: &mut [u8],
    packet: &Packet,
    route: &Route,
    udp_length: usize,
) -> Result<(), DropReason> {
    let header: &mut [u8; IPV4] = network.try_into().map_err(|_| DropReason::NoRoom)?;
    let [source, destination] = route.ends();
    // The first, second and fifth word: version and class, length, limit and protocol.
    let words = |class: u8, length: usize, limit: u8| {
        let protocol = u16::from(UDP_PROTOCOL);
        let class = 0x4500 | u16::from(class);
        [class, length as u16, (u16::from(limit) << 8) | protocol]
    };
    let class = traffic_class(packet, route);
    let new = words(class, IPV4 + udp_length, packet.hop_limit - 1);
    let (identification, flags, sum) = match packet.ip {
        Ip::V4 {
            identification,
            flags,
            checksum,
        } => {
            let length = IPV4 + packet.end - packet.udp;
            let old = words(packet.traffic_class, length, packet.hop_limit);
            let mut sum = Sum::of_checksum(checksum);
            sum.add(route.addresses_delta);
            old.iter().for_each(|word| sum.remove(*word));
            new.iter().for_each(|word| sum.add(*word));
            (identification, flags, sum)
        }
        Ip::V6 { .. } => {
            let mut sum = Sum::default();
            sum.add(DONT_FRAGMENT);
            let ends = [source, destination];
            let addresses = ends.into_iter().flat_map(Endpoint::address_words);
            new.into_iter()
                .chain(addresses)
                .for_each(|word| sum.add(word));
            (0, DONT_FRAGMENT, sum)
        }
    };
    let fields = [
        new[0],
        new[1],
        identification,
        flags,
        new[2],
        sum.checksum(),
    ];
    let (front, addresses) = header.split_at_mut(12);
    for (place, field) in front.chunks_exact_mut(2).zip(fields) {
        place.copy_from_slice(&field.to_be_bytes());
    }
    let (from, to) = addresses.split_at_mut(4);
    from.copy_from_slice(&source.v4_bytes());
    to.copy_from_slice(&destination.v4_bytes());
    Ok(())
}

fn write_v6(
    network: &mut [u8],
    packet: &Packet,
    route: &Route,
    udp_length: usize,
) -> Result<(), DropReason> {
    let header: &mut [u8; IPV6] = network.try_into().map_err(|_| DropReason::NoRoom)?;
    let flow_label = match packet.ip {
        Ip::V4 { .. } => 0,
        Ip::V6 { flow_label } => flow_label,
    };
    let first = (6 << 28) | (u32::from(traffic_class(packet, route)) << 20) | flow_label;
    let [l0, l1] = (udp_length as u16).to_be_bytes();
    let [source, destination] = route.ends();
    let (front, addresses) = header.split_at_mut(8);
    let (start, rest) = front.split_at_mut(4);
    start.copy_from_slice(&first.to_be_bytes());
    rest.copy_from_slice(&[l0, l1, UDP_PROTOCOL, packet.hop_limit - 1]);
    let (from, to) = addresses.split_at_mut(16);
    from.copy_from_slice(&source.v6_bytes());
    to.copy_from_slice(&destination.v6_bytes());
    Ok(())
}

/// Writes a word at an even place of what the checksum covers.
fn patch(bytes: &mut [u8], at: usize, new: [u8; 2], changed: &mut Sum) {
    let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) else {
        return;
    };
    changed.remove(u16::from_be_bytes(*place));
    changed.add(u16::from_be_bytes(new));
    *place = new;
}

fn patch_ssrc(bytes: &mut [u8], at: usize, ssrc: u32, changed: &mut Sum) {
    let [a, b, c, d] = ssrc.to_be_bytes();
    patch(bytes, at, [a, b], changed);
    patch(bytes, at + 2, [c, d], changed);
}

fn ssrc_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The sender of each packet of a compound, and whom its reports and feedback speak of (RFC 3550
/// §6.4, §6.5, §6.6; RFC 4585 §6.1). What extended reports (RFC 3611) carry inside stays.
fn renumber_rtcp(bytes: &mut [u8], map: &SsrcMap, changed: &mut Sum) {
    let mut at = 0;
    while let Some([flags, kind, l0, l1]) = bytes.get(at..).and_then(<[u8]>::first_chunk).copied() {
        let length = 4 + 4 * usize::from(u16::from_be_bytes([l0, l1]));
        let Some(one) = bytes.get_mut(at..at + length) else {
            return;
        };
        let count = usize::from(flags & 0x1f);
        match kind {
            SENDER_REPORT => {
                patch_ssrc(one, 4, map.sent, changed);
                renumber_blocks(one, 28, count, map, changed);
            }
            RECEIVER_REPORT => {
                patch_ssrc(one, 4, map.sent, changed);
                renumber_blocks(one, 8, count, map, changed);
            }
            SDES => renumber_chunks(one, count, map, changed),
            // Sources that leave; none is a packet that says nothing.
            BYE if count > 0 => patch_ssrc(one, 4, map.sent, changed),
            APP | XR => patch_ssrc(one, 4, map.sent, changed),
            RTPFB | PSFB => {
                patch_ssrc(one, 4, map.sent, changed);
                renumber_reported(one, 8, map, changed);
            }
            _ => {}
        }
        at += length;
    }
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const APP: u8 = 204;
const RTPFB: u8 = 205;
const PSFB: u8 = 206;
const XR: u8 = 207;
/// Of a report block.
const BLOCK: usize = 24;

fn renumber_blocks(one: &mut [u8], first: usize, count: usize, map: &SsrcMap, changed: &mut Sum) {
    for n in 0..count {
        renumber_reported(one, first + n * BLOCK, map, changed);
    }
}

fn renumber_reported(one: &mut [u8], at: usize, map: &SsrcMap, changed: &mut Sum) {
    if let Some((seen, real)) = map.reported
        && ssrc_at(one, at) == Some(seen)
    {
        patch_ssrc(one, at, real, changed);
    }
}

/// Each chunk is a source and items up to a zero byte, filled to 32 bits.
fn renumber_chunks(one: &mut [u8], count: usize, map: &SsrcMap, changed: &mut Sum) {
    let mut at = 4;
    for _ in 0..count {
        patch_ssrc(one, at, map.sent, changed);
        at += 4;
        loop {
            match one.get(at..) {
                Some([0, ..]) => break,
                Some([_, length, ..]) => at += 2 + usize::from(*length),
                _ => return,
            }
        }
        at = (at / 4 + 1) * 4;
    }
}
