//! The only reader of the system's clocks: monotonic time for the cores, and the calendar that it
//! is tied to.

use crate::base::{Anchor, Instant};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far the calendar may drift from the anchor before the cores are told.
pub const CALENDAR_DRIFT_MS_MAX: u64 = 500;

/// Nanoseconds since the process began to count, one clock for all shards.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock whose origin is one second ago, so that no instant of the process is the origin.
    pub fn new() -> Self {
        let now = std::time::Instant::now();
        Self {
            origin: now.checked_sub(Duration::from_secs(1)).unwrap_or(now),
        }
    }

    /// The present.
    pub fn now(&self) -> Instant {
        let ns = self.origin.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// The present tied to the calendar.
    pub fn anchor(&self) -> Anchor {
        Anchor {
            instant: self.now(),
            unix_ms: unix_ms(),
        }
    }

    /// A new anchor, if the calendar was moved since `old` was taken.
    pub fn moved(&self, old: &Anchor) -> Option<Anchor> {
        let new = self.anchor();
        let drift = old.unix_ms(new.instant).abs_diff(new.unix_ms);
        (drift > CALENDAR_DRIFT_MS_MAX).then_some(new)
    }

    /// `at` as the runtime's timers want it.
    pub fn to_tokio(&self, at: Instant) -> tokio::time::Instant {
        let after = Duration::from_nanos(at.as_nanos());
        let far = Duration::from_secs(86_400);
        let limit = self.origin.elapsed() + far;
        tokio::time::Instant::from_std(self.origin + after.min(limit))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Milliseconds since 1970 by the calendar; zero if it stands before.
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untouched_calendar_has_not_moved() {
        let clock = Clock::new();
        assert_eq!(clock.moved(&clock.anchor()), None);
        let mut old = clock.anchor();
        old.unix_ms -= 2_000;
        assert!(clock.moved(&old).is_some());
    }

    #[test]
    fn far_deadlines_do_not_overflow() {
        let clock = Clock::new();
        assert!(clock.to_tokio(Instant::FAR_FUTURE) > tokio::time::Instant::now());
    }
}
