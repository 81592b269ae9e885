//! How the packets of one source arrive, as its reports want it: sequence numbers (RFC 3550 A.1),
//! loss (A.3), interarrival jitter (A.8), and the last sender report (§6.4.1).

use crate::base::Instant;
use crate::wire::rtp::Header;
use crate::wire::rtp::rtcp::ReportBlock;

/// A jump of so many packets is still loss (RFC 3550 A.1).
const DROPOUT_MAX: u16 = 3000;
/// A packet so far behind is late, not a restart (RFC 3550 A.1).
const MISORDER_MAX: u16 = 100;

/// A time on our clock in the units of a timestamp of `rate` Hz; wraps with them.
pub(super) fn units(now: Instant, rate: u32) -> u64 {
    let seconds = now.as_nanos() / 1_000_000_000;
    let nanos = now.as_nanos() % 1_000_000_000;
    let rate = u64::from(rate);
    seconds * rate + nanos * rate / 1_000_000_000
}

/// Units of a timestamp as microseconds.
pub(super) fn units_to_us(units: u32, rate: u32) -> u32 {
    let us = u64::from(units) * 1_000_000 / u64::from(rate.max(1));
    u32::try_from(us).unwrap_or(u32::MAX)
}

/// Whether a packet's number fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It continues the sequence, or is late by a little.
    Fits,
    /// Far off; the next one must confirm it.
    Jump,
    /// It confirms the one before: the sequence began anew.
    Restart,
}

/// What is known of one source.
#[derive(Clone, Copy, Debug)]
pub struct Reception {
    ssrc: u32,
    base: u32,
    highest: u16,
    /// Wraps of the number, times 65536.
    cycles: u32,
    /// One after the packet that jumped, if the last one did.
    restart: Option<u16>,
    received: u64,
    /// Lost before the sequence began anew.
    lost_before: i64,
    expected_prior: u64,
    received_prior: u64,
    timestamp: u32,
    /// Unknown behind a change of the clock.
    transit: Option<u32>,
    /// In units of the timestamp, times 16.
    jitter: u32,
    /// The middle of the last report's NTP time, and when it came.
    report: Option<(u32, Instant)>,
}

impl Reception {
    /// The source's first packet, which arrived at `arrival` in units of its timestamp.
    pub fn new(header: &Header, arrival: u32) -> Self {
        Self {
            ssrc: header.ssrc,
            base: u32::from(header.sequence),
            highest: header.sequence,
            cycles: 0,
            restart: None,
            received: 1,
            lost_before: 0,
            expected_prior: 0,
            received_prior: 0,
            timestamp: header.timestamp,
            transit: Some(arrival.wrapping_sub(header.timestamp)),
            jitter: 0,
            report: None,
        }
    }

    /// Whose packets these are.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Another packet of the source. One that jumped does not count until the next confirms it.
    pub fn on_packet(&mut self, header: &Header, arrival: u32) -> Place {
        let ahead = header.sequence.wrapping_sub(self.highest);
        if ahead < DROPOUT_MAX {
            if header.sequence < self.highest {
                self.cycles = self.cycles.wrapping_add(1 << 16);
            }
            self.highest = header.sequence;
            self.restart = None;
        } else if ahead <= u16::MAX - MISORDER_MAX {
            if self.restart == Some(header.sequence) {
                self.begin_anew(header, arrival);
                return Place::Restart;
            }
            self.restart = Some(header.sequence.wrapping_add(1));
            return Place::Jump;
        }
        self.received += 1;
        self.on_transit(header, arrival);
        Place::Fits
    }

    fn begin_anew(&mut self, header: &Header, arrival: u32) {
        *self = Self {
            lost_before: self.lost(),
            jitter: self.jitter,
            report: self.report,
            // The packet before belonged to the new sequence.
            base: u32::from(header.sequence.wrapping_sub(1)),
            received: 2,
            ..Self::new(header, arrival)
        };
        // The number may have wrapped between the two.
        if header.sequence == 0 {
            self.cycles = 1 << 16;
        }
    }

    fn on_transit(&mut self, header: &Header, arrival: u32) {
        // Packets of one instant, as of a telephone event, say nothing.
        if header.timestamp == self.timestamp {
            return;
        }
        let transit = arrival.wrapping_sub(header.timestamp);
        self.timestamp = header.timestamp;
        let Some(before) = self.transit.replace(transit) else {
            return;
        };
        let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
        let decayed = self
            .jitter
            .saturating_sub(self.jitter.saturating_add(8) >> 4);
        self.jitter = decayed.saturating_add(difference);
    }

    fn extended(&self) -> u32 {
        self.cycles.wrapping_add(u32::from(self.highest))
    }

    fn expected(&self) -> u64 {
        u64::from(self.extended().wrapping_sub(self.base)) + 1
    }

    /// Packets that did not arrive; negative if duplicates outnumber them (A.3).
    pub fn lost(&self) -> i64 {
        self.lost_before + self.expected() as i64 - self.received as i64
    }

    /// In units of the timestamp.
    pub fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// Timestamps and arrivals are of another clock from now on.
    pub fn change_clock(&mut self) {
        (self.transit, self.jitter) = (None, 0);
    }

    /// A sender report of the source came.
    pub fn on_report(&mut self, now: Instant, ntp: u64) {
        self.report = Some(((ntp >> 16) as u32, now));
    }

    /// The block of a report, whose interval ends with it.
    pub fn report(&mut self, now: Instant) -> ReportBlock {
        let expected = self.expected().saturating_sub(self.expected_prior);
        let received = self.received.saturating_sub(self.received_prior);
        self.expected_prior = self.expected();
        self.received_prior = self.received;
        let lost = expected.saturating_sub(received);
        let fraction = lost.saturating_mul(256).checked_div(expected).unwrap_or(0);
        let (last_report, since) = match self.report {
            Some((middle, at)) => (middle, now.since(at).as_nanos()),
            None => (0, 0),
        };
        let delay = since.saturating_mul(65_536) / 1_000_000_000;
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: fraction.min(255) as u8,
            lost: self.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: self.extended(),
            jitter: self.jitter(),
            last_report,
            delay: u32::try_from(delay).unwrap_or(u32::MAX),
        }
    }
}
