//! What a side's RTCP reports (RFC 3550 §6.4) say of how it hears: sums, the worst and the best of
//! them, how that went over time, and how long the way to the side and back takes.
//!
//! The round trip is measured at the relay, as §6.4.1 has it: a sender report is remembered by its
//! time stamp when it leaves toward the side, and what the side reports next names it (LSR) and
//! says how long it kept it (DLSR).

use super::quality::mean_opinion_score;
use super::stats::{Heard, Hears, Mean, RoundTrip};
use crate::base::Instant;
use crate::wire::rtp::rtcp::ReportBlock;
use std::time::Duration;

/// Reports that follow each other faster say the same twice.
const APART: Duration = Duration::from_secs(1);
/// Sender reports that are remembered: a side answers to the last one that it has.
const REMEMBERED_MAX: usize = 8;
/// A way that takes longer is a mistake of a clock.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(10);
/// Reports that are kept to show how it went.
pub(super) const KEPT_MAX: usize = 20;

/// One report that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) at: Instant,
    /// Lost since the one before, in 256ths.
    pub(super) fraction: u8,
    pub(super) jitter_us: u32,
    pub(super) round_trip: RoundTrip,
}

impl Report {
    fn quality(&self) -> f64 {
        self.heard(self.at).score("")
    }

    fn heard(&self, now: Instant) -> Heard {
        Heard {
            fraction: self.fraction,
            jitter_us: self.jitter_us,
            round_trip: self.round_trip,
            ago: now.since(self.at),
        }
    }
}

impl Heard {
    /// The mean opinion score that it speaks of, see [`mean_opinion_score`].
    pub fn score(&self, codec: &str) -> f64 {
        let lost = u64::from(self.fraction);
        let jitter_ms = f64::from(self.jitter_us) / 1000.0;
        let round_trip_ms = f64::from(self.round_trip.whole_us) / 1000.0;
        let score = mean_opinion_score(codec, 256 - lost, lost, jitter_ms, round_trip_ms);
        score.unwrap_or(1.0)
    }
}

impl Mean {
    fn add(&mut self, us: u32) {
        if us > 0 {
            self.sum_us += u64::from(us);
            self.count = self.count.saturating_add(1);
        }
    }
}

/// See [`Hears`].
#[derive(Clone, Default, Debug)]
pub(super) struct Reports {
    count: u32,
    fractions: u64,
    jitter_us: u64,
    lost: i32,
    last: Option<Instant>,
    /// The worst and the best.
    extremes: Option<[Report; 2]>,
    legs: Mean,
    wholes: Mean,
    /// Of the last report that let it be measured.
    leg_us: Option<u32>,
    /// At most [`KEPT_MAX`], the oldest first.
    kept: Vec<Report>,
    /// How long the pieces of time are of which each has one of them.
    spacing: Duration,
    /// Sender reports that left toward the side: the middle of their time stamp, and when.
    sent: [Option<(u32, Instant)>; REMEMBERED_MAX],
    next: usize,
}

impl Reports {
    /// How many there were.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn leg_us(&self) -> Option<u32> {
        self.leg_us
    }

    /// A sender report of this NTP time stamp leaves toward the side.
    pub(super) fn left(&mut self, now: Instant, ntp: u64) {
        let name = (ntp >> 16) as u32;
        if let Some(place) = self.sent.get_mut(self.next) {
            *place = Some((name, now));
        }
        self.next = (self.next + 1) % REMEMBERED_MAX;
    }

    /// How long the way takes, where a report lets it be known. A LSR or DLSR of zero says that the
    /// side had no sender report.
    pub(super) fn measure(
        &mut self,
        now: Instant,
        block: &ReportBlock,
        beyond: Option<u32>,
    ) -> RoundTrip {
        if block.last_report == 0 || block.delay == 0 {
            return RoundTrip::default();
        }
        let named = |(name, _): &&(u32, Instant)| *name == block.last_report;
        let Some((_, left)) = self.sent.iter().flatten().find(named) else {
            return RoundTrip::default();
        };
        let kept = Duration::from_micros(u64::from(block.delay) * 1_000_000 / 65_536);
        let way = now.since(*left).checked_sub(kept);
        let way = way.filter(|way| !way.is_zero() && *way <= ROUND_TRIP_MAX);
        let Some(leg_us) = way.and_then(|way| u32::try_from(way.as_micros()).ok()) else {
            return RoundTrip::default();
        };
        self.leg_us = Some(leg_us);
        RoundTrip {
            leg_us,
            whole_us: beyond.map_or(0, |beyond| leg_us.saturating_add(beyond)),
        }
    }

    pub(super) fn add(&mut self, report: Report, lost: i32) {
        let at = report.at;
        if self.last.is_some_and(|last| at < last + APART) {
            return;
        }
        self.last = Some(at);
        self.count = self.count.saturating_add(1);
        self.fractions += u64::from(report.fraction);
        self.jitter_us += u64::from(report.jitter_us);
        self.legs.add(report.round_trip.leg_us);
        self.wholes.add(report.round_trip.whole_us);
        self.lost = lost;
        let [worst, best] = self.extremes.get_or_insert([report; 2]);
        if report.quality() < worst.quality() {
            *worst = report;
        }
        if report.quality() > best.quality() {
            *best = report;
        }
        self.keep(report);
    }

    /// Time since the first report is cut in pieces; the first report of each is kept. Where that
    /// is too many the pieces are twice as long.
    fn keep(&mut self, report: Report) {
        let Some(start) = self.kept.first().map(|first| first.at) else {
            return self.kept.push(report);
        };
        let piece =
            |spacing: Duration, at: Instant| at.since(start).as_nanos() / spacing.as_nanos().max(1);
        self.spacing = self.spacing.max(APART);
        let last = self.kept.last().map(|last| piece(self.spacing, last.at));
        if last == Some(piece(self.spacing, report.at)) {
            return;
        }
        self.kept.push(report);
        while self.kept.len() > KEPT_MAX {
            self.spacing = self.spacing.saturating_mul(2);
            let spacing = self.spacing;
            self.kept.dedup_by_key(|report| piece(spacing, report.at));
        }
    }

    pub(super) fn told(&self, now: Instant) -> Hears {
        let both = self.extremes;
        Hears {
            reports: self.count,
            fractions: self.fractions,
            jitter_us: self.jitter_us,
            lost: self.lost,
            extremes: both.map(|both| both.map(|report| report.heard(now))),
            legs: self.legs,
            wholes: self.wholes,
            progression: self.kept.iter().map(|report| report.heard(now)).collect(),
        }
    }
}
