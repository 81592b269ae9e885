//! One port: whom it listens to, what it counted, and where its packets go on.

use super::command::{Blocked, MediaKind, Side};
use super::latch::{self, Admission, Gate};
use super::receiver::{Receiver, units_to_us};
use super::reports::{Report, Reports};
use super::stats::{DROP_REASONS, DropReason, LegStats, StreamStats};
use crate::base::{Instant, Key};
use crate::wire::rtp::{COMFORT_NOISE, Class, Header, classify, rtcp};
use std::net::{IpAddr, SocketAddr};

/// What a port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// RTP or UDPTL, and RTCP where it shares the port.
    Media,
    /// RTCP alone.
    Rtcp,
}

/// Which of the other side's ports a packet leaves from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// The one for media.
    Media,
    /// The one for RTCP.
    Rtcp,
}

/// What an update may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Setting {
    /// Its session.
    pub(super) session: Key,
    /// The side that it faces.
    pub(super) side: Side,
    /// The place of the stream in the session.
    pub(super) stream: usize,
    /// What it is for.
    pub(super) role: Role,
    /// What flows.
    pub(super) kind: MediaKind,
    /// What it is bound to.
    pub(super) bind: IpAddr,
    /// The clock of dynamic payload types.
    pub(super) clock_rate: u32,
    /// Whether the other side is ourselves.
    pub(super) delivers: bool,
    /// The other side's ports: media, RTCP (the same where they share one).
    pub(super) onward: [u16; 2],
    /// The RTCP port of the same side and stream, if this is the media port.
    pub(super) companion: Option<u16>,
    /// The side asked for nothing to be sent to it (a null address).
    pub(super) muted: bool,
    /// What the side sends in vain.
    pub(super) blocked: Blocked,
    /// Whether what the side sends is heard here on its way.
    pub(super) tapped: bool,
    /// Whether what passes between us and the side is SRTP under keys of ours.
    pub(super) secured: bool,
    /// Whether the side speaks ICE, so that its checks are answered.
    pub(super) checked: bool,
}

/// One port of ours.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) setting: Setting,
    pub(super) gate: Gate,
    counters: Counters,
    receiver: Receiver,
    /// Made with the first report that comes or leaves.
    reports: Option<Box<Reports>>,
    heard: Option<Instant>,
    /// Whether the last packet of sound told of noise, in place of it (RFC 3389).
    describes: bool,
    /// When the side last said goodbye (RFC 3550 §6.6).
    left: Option<Instant>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Counters {
    packets_in: u64,
    bytes_in: u64,
    packets_out: u64,
    bytes_out: u64,
    rtcp_in: u64,
    rtcp_out: u64,
    source_changes: u32,
    rtcp_bytes_in: u64,
    dropped: [u64; DROP_REASONS],
    reported: Option<(i32, u32)>,
}

impl Channel {
    pub(super) fn new(setting: Setting, gate: Gate) -> Self {
        Self {
            setting,
            gate,
            counters: Counters::default(),
            receiver: Receiver::default(),
            reports: None,
            heard: None,
            describes: false,
            left: None,
        }
    }

    /// A packet came in. Gives the lane by which it goes on, and whether its source is news.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        source: SocketAddr,
        packet: &[u8],
    ) -> Result<(Lane, bool), DropReason> {
        let (lane, header) = self.sort(packet).map_err(|reason| self.drop(reason))?;
        let mark = header.map(|h| (h.ssrc, h.sequence));
        let news = match self.gate.admit(now, source, mark) {
            Admission::Accept => false,
            Admission::AcceptNew => {
                let first = self.heard.is_none();
                self.counters.source_changes += u32::from(!first);
                true
            }
            Admission::Refuse(reason) => return Err(self.drop(reason)),
        };
        self.heard = Some(now);
        match lane {
            Lane::Media => {
                self.counters.packets_in += 1;
                self.counters.bytes_in += packet.len() as u64;
                if let Some(header) = header {
                    let clock = self.setting.clock_rate;
                    self.receiver.on_packet(now, &header, clock);
                    self.describes = header.payload_type == COMFORT_NOISE;
                    if self.setting.blocked.stops(header.payload_type) {
                        return Err(self.drop(DropReason::Inactive));
                    }
                }
            }
            Lane::Rtcp => {
                self.counters.rtcp_in += 1;
                self.counters.rtcp_bytes_in += packet.len() as u64;
            }
        }
        Ok((lane, news))
    }

    /// Whether a packet may be from the peer, so that it is worth looking whether it was made with
    /// its key.
    pub(super) fn may_be_genuine(&self, source: SocketAddr) -> bool {
        self.gate
            .locked()
            .is_none_or(|locked| latch::same(locked, source))
    }

    /// Where the other side's packet goes when it leaves here.
    pub(super) fn destination(&self, lane: Lane) -> Result<SocketAddr, DropReason> {
        if self.setting.muted && lane == Lane::Media {
            return Err(DropReason::Inactive);
        }
        self.gate.destination().ok_or(DropReason::NoDestination)
    }

    /// The same, counted as sent.
    pub(super) fn send(&mut self, lane: Lane, length: usize) -> Result<SocketAddr, DropReason> {
        let to = self.destination(lane)?;
        match lane {
            Lane::Media => {
                self.counters.packets_out += 1;
                self.counters.bytes_out += length as u64;
            }
            Lane::Rtcp => self.counters.rtcp_out += 1,
        }
        Ok(to)
    }

    /// Counts a packet that went nowhere.
    pub(super) fn drop(&mut self, reason: DropReason) -> DropReason {
        if let Some(count) = self.counters.dropped.get_mut(reason.index()) {
            *count += 1;
        }
        reason
    }

    /// The fast path heard of the peer, too.
    pub(super) fn heard_elsewhere(&mut self, at: Option<Instant>) {
        self.heard = self.heard.max(at);
    }

    /// The fast path takes or took packets of the peer.
    pub(super) fn goes_elsewhere(&mut self) {
        self.receiver.goes_elsewhere();
    }

    /// When the last accepted packet came.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Adds what was counted here to the side's sums. `first` is the side's first stream.
    pub(super) fn add_to(&self, stats: &mut LegStats, now: Instant, first: bool) {
        let Counters {
            packets_in,
            bytes_in,
            packets_out,
            bytes_out,
            rtcp_in,
            rtcp_out,
            rtcp_bytes_in,
            source_changes,
            dropped,
            reported,
        } = self.counters;
        stats.packets_in += packets_in;
        stats.bytes_in += bytes_in;
        stats.packets_out += packets_out;
        stats.bytes_out += bytes_out;
        stats.rtcp_in += rtcp_in;
        stats.rtcp_out += rtcp_out;
        stats.rtcp_bytes_in += rtcp_bytes_in;
        for (sum, count) in stats.dropped.iter_mut().zip(dropped) {
            *sum += count;
        }
        if let Some((lost, jitter_us)) = reported.filter(|_| first) {
            stats.rtcp_lost = Some(lost);
            stats.rtcp_jitter_us = Some(jitter_us);
        }
        let left_for = self.left.map(|left| now.since(left));
        stats.left_for = match (stats.left_for, left_for) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if self.setting.role == Role::Rtcp {
            return;
        }
        stats.describes_silence |= self.describes;
        stats.source_changes += source_changes;
        stats.lost += self.receiver.lost();
        stats.ssrc_changes += self.receiver.ssrc_changes();
        let silent_for = self.heard.map(|heard| now.since(heard));
        stats.silent_for = match (stats.silent_for, silent_for) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if first {
            stats.jitter_us = self.receiver.jitter_us(self.setting.clock_rate);
            stats.source = self.gate.source();
        }
    }

    /// Adds what was counted here to the figures of its side's stream.
    pub(super) fn add_to_stream(&self, stats: &mut StreamStats, now: Instant) {
        let counters = &self.counters;
        stats.packets_in += counters.packets_in;
        stats.bytes_in += counters.bytes_in;
        stats.rtcp_in += counters.rtcp_in;
        stats.rtcp_bytes_in += counters.rtcp_bytes_in;
        stats.dropped += counters.dropped.iter().sum::<u64>();
        let reports = self.reports.as_ref();
        if let Some(reports) = reports.filter(|r| r.count() > stats.hears.reports) {
            stats.hears = reports.told(now);
        }
        if self.setting.role == Role::Media {
            stats.lost += self.receiver.lost();
            stats.ssrc = self.receiver.ssrc();
            stats.jitter_us = self.receiver.jitter_us(self.setting.clock_rate);
            stats.silent_for = self.heard.map(|heard| now.since(heard));
            stats.source = self.gate.source();
        }
    }

    /// Which lane a datagram belongs to, and its RTP header.
    fn sort(&self, packet: &[u8]) -> Result<(Lane, Option<Header>), DropReason> {
        let class = classify(packet);
        match (self.setting.role, self.setting.kind, class) {
            (_, _, Class::Stun) => Err(DropReason::Stun),
            (Role::Media, MediaKind::Udptl, _) if !packet.is_empty() => Ok((Lane::Media, None)),
            (Role::Media, MediaKind::Rtp | MediaKind::SecureRtp, Class::Rtp) => {
                Ok((Lane::Media, Header::parse(packet)))
            }
            (Role::Media, MediaKind::SecureRtp, Class::Dtls) => Ok((Lane::Media, None)),
            (Role::Rtcp, MediaKind::SecureRtp, Class::Dtls) => Ok((Lane::Rtcp, None)),
            (_, MediaKind::Rtp | MediaKind::SecureRtp, Class::Rtcp) => Ok((Lane::Rtcp, None)),
            _ => Err(DropReason::Malformed),
        }
    }

    /// RTCP that was accepted from the side. `beyond`: how long the way from here to the other side
    /// and back takes, microseconds, where that is known.
    pub(super) fn on_rtcp(&mut self, now: Instant, packet: &[u8], beyond: Option<u32>) {
        if self.setting.kind != MediaKind::Rtp {
            return;
        }
        if rtcp::packets(packet).any(|p| p.leaving().next().is_some()) {
            self.left = Some(now);
        }
        let block = rtcp::packets(packet)
            .flat_map(|p| p.reports().next())
            .next();
        if let Some(block) = block {
            let clock = match self.setting.clock_rate {
                0 => 8_000,
                rate => rate,
            };
            let jitter_us = units_to_us(block.jitter, clock);
            self.counters.reported = Some((block.lost, jitter_us));
            let reports = self.reports.get_or_insert_default();
            let report = Report {
                at: now,
                fraction: block.fraction_lost,
                jitter_us,
                round_trip: reports.measure(now, &block, beyond),
            };
            reports.add(report, block.lost);
        }
    }

    /// RTCP leaves here toward the side, not yet encrypted: by what the side answers to it, the
    /// round trip is measured.
    pub(super) fn remember(&mut self, now: Instant, packet: &[u8]) {
        if self.setting.kind != MediaKind::Rtp {
            return;
        }
        if let Some(sender) = rtcp::packets(packet).find_map(|p| p.sender()) {
            self.reports.get_or_insert_default().left(now, sender.ntp);
        }
    }

    /// How long the way to the side and back takes, in microseconds, by its last report that lets
    /// that be known.
    pub(super) fn round_trip_us(&self) -> Option<u32> {
        self.reports.as_ref()?.leg_us()
    }
}
