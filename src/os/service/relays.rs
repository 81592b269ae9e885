//! The relays of this process, what drives their fast path, and what both count.

use crate::base::Instant;
use crate::config::Config;
use crate::control::RelayDriverRow;
use crate::os::clock::Clock;
use crate::os::codec_plugin;
use crate::os::daemon::{EX_OSERR, Fatal};
use crate::os::fast::{Card, Figures, Running};
use crate::os::ipc::RelayReport;
use crate::os::relay::{IdlePorts, MediaConfig, MediaCounters, MediaDriver, MediaHandle};
use crate::os::service::assemble::{relay_settings, start_files};
use crate::os::spool::Roots;
use crate::os::switch::Switch;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The shortest time that packets per second are measured over.
const PACE_OVER_MIN: Duration = Duration::from_secs(1);

/// All of them, or what the process tells that has them.
pub(super) struct Relays {
    drivers: Vec<MediaDriver>,
    /// Ends after the relays.
    fast: Option<Running>,
    told: Option<RelayReport>,
    pace: Pace,
}

impl RelayReport {
    /// What relays and their fast path count.
    pub(in crate::os) fn of<'a>(
        drivers: impl Iterator<Item = &'a MediaDriver>,
        fast: Option<&Running>,
    ) -> Self {
        let sockets = MediaCounters::row(drivers.map(MediaDriver::counters));
        let figures = fast.map(Running::figures);
        let fast = figures.map(|figures| figures.row());
        Self {
            rows: std::iter::once(sockets).chain(fast).collect(),
            fast_path: figures.map_or_else(Vec::new, |figures| figures.values().to_vec()),
        }
    }

    fn problems(&self) -> impl Iterator<Item = String> {
        let problems = self.rows.iter().map(|row| row.problem.clone());
        problems.filter(|problem| !problem.is_empty())
    }
}

impl Relays {
    /// Another process has them.
    pub(super) fn elsewhere() -> Self {
        Self {
            drivers: Vec::new(),
            fast: None,
            told: Some(RelayReport::default()),
            pace: Pace::default(),
        }
    }

    /// What that process told last.
    pub(super) fn hear(&mut self, report: RelayReport) {
        self.told = Some(report);
    }

    fn report(&self) -> Cow<'_, RelayReport> {
        match &self.told {
            Some(told) => Cow::Borrowed(told),
            None => Cow::Owned(RelayReport::of(self.drivers.iter(), self.fast.as_ref())),
        }
    }

    /// One relay for each shard, so that each names its sessions by itself.
    pub(super) fn start(
        (config, roots, card): (&Config, Roots, Option<Box<dyn Card>>),
        shards: usize,
        clock: Clock,
        switch: &Arc<Switch>,
    ) -> Result<Self, Fatal> {
        let failed = |e: io::Error| Fatal::new(EX_OSERR, format!("relay: {e}"));
        let settings = relay_settings(config);
        let files = start_files(roots)?;
        let rooms = codec_plugin::rooms(config)?;
        let started = card
            .map(|card| card.start(clock, config.rtp.fastpath_mode))
            .transpose();
        let (fast, lines) = started.map_err(failed)?.unzip();
        let mut lines = lines.unwrap_or_default().into_iter();
        let idle = IdlePorts::of_process();
        let mut start = |shard| {
            let line = lines.next().into_iter().collect();
            let switch = Arc::clone(switch);
            let media = MediaConfig {
                workers: 1,
                settings,
                clock,
                idle: Some(Arc::clone(&idle)),
                files: Some(files.clone()),
                rooms: Arc::clone(&rooms),
            };
            let sink = Arc::new(move |event| switch.news(shard, event));
            MediaDriver::start_with(media, line, sink)
        };
        let drivers: io::Result<Vec<MediaDriver>> = (0..shards).map(&mut start).collect();
        Ok(Self {
            drivers: drivers.map_err(failed)?,
            fast,
            told: None,
            pace: Pace::default(),
        })
    }

    /// Whether the thread of one has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.drivers.iter().any(MediaDriver::is_broken)
    }

    /// Hands commands to each.
    pub(super) fn handles(&self) -> impl Iterator<Item = MediaHandle> {
        self.drivers.iter().map(MediaDriver::handle)
    }

    /// What the fast path counts, for `voipctl status`, and what is wrong with it.
    pub(super) fn list(&self) -> (Vec<(&'static str, u64)>, Vec<String>) {
        let report = self.report();
        let counts = report.fast_path.iter().copied();
        let counted = Figures::NAMES.into_iter().zip(counts).collect();
        (counted, report.problems().collect())
    }

    /// The ways that media takes, the sockets first.
    pub(super) fn rows(&mut self, now: Instant) -> Vec<RelayDriverRow> {
        let mut rows = self.report().into_owned().rows;
        self.pace.measure(now, &mut rows);
        rows
    }

    pub(super) fn stop(&mut self) {
        for relay in &mut self.drivers {
            relay.stop();
        }
    }
}

/// Packets per second, from counts at two moments.
#[derive(Debug, Default)]
struct Pace {
    at: Instant,
    /// Received and sent, of each row, at that moment.
    counts: Vec<[u64; 2]>,
    /// In the time before it.
    per_s: Vec<[u64; 2]>,
}

impl Pace {
    /// Fills the rows' packets per second in: those of the time since the last measurement.
    fn measure(&mut self, now: Instant, rows: &mut [RelayDriverRow]) {
        let over = now.since(self.at);
        if over >= PACE_OVER_MIN {
            let counts: Vec<_> = rows.iter().map(|row| [row.received, row.sent]).collect();
            let old = self.counts.iter().copied().chain(std::iter::repeat([0; 2]));
            let per_s = |count: u64, old: u64| {
                (count.saturating_sub(old) as f64 / over.as_secs_f64()).round() as u64
            };
            let pairs = counts.iter().zip(old);
            self.per_s = pairs
                .map(|([a, b], [old_a, old_b])| [per_s(*a, old_a), per_s(*b, old_b)])
                .collect();
            (self.at, self.counts) = (now, counts);
        }
        for (row, [received, sent]) in rows.iter_mut().zip(&self.per_s) {
            (row.received_per_s, row.sent_per_s) = (*received, *sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_since_the_last_measurement() {
        let mut pace = Pace::default();
        let mut ask = |at_ms, received, sent| {
            let mut rows = [RelayDriverRow {
                received,
                sent,
                ..RelayDriverRow::default()
            }];
            pace.measure(Instant::from_millis(at_ms), &mut rows);
            (rows[0].received_per_s, rows[0].sent_per_s)
        };
        assert_eq!(ask(10_000, 0, 0), (0, 0));
        assert_eq!(ask(12_000, 200, 100), (100, 50));
        // Too soon to know more.
        assert_eq!(ask(12_500, 900, 900), (100, 50));
        assert_eq!(ask(13_000, 1_200, 100), (1_000, 0));
        assert_eq!(ask(23_000, 1_200, 100), (0, 0));
    }
}
