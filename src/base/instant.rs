//! A point in time as the caller tells it, and its relation to the calendar.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// Nanoseconds since an origin that the owner of the clock chose. Never read from the system here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Instant = Instant(0);
    /// Later than anything that happens.
    pub const FAR_FUTURE: Instant = Instant(u64::MAX);

    /// The instant `ns` nanoseconds after the origin.
    pub const fn from_nanos(ns: u64) -> Self {
        Self(ns)
    }

    /// The instant `ms` milliseconds after the origin.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, rhs: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, rhs: Duration) -> Instant {
        Instant(
            self.0
                .saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Ties the monotonic clock to the calendar: at `instant` it was `unix_ms`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Anchor {
    /// The monotonic side.
    pub instant: Instant,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: u64,
}

impl Anchor {
    /// The calendar's milliseconds at `now`.
    pub fn unix_ms(&self, now: Instant) -> u64 {
        if now >= self.instant {
            self.unix_ms
                .saturating_add(now.since(self.instant).as_millis() as u64)
        } else {
            self.unix_ms
                .saturating_sub(self.instant.since(now).as_millis() as u64)
        }
    }

    /// The calendar's whole seconds at `now`.
    pub fn unix_seconds(&self, now: Instant) -> u64 {
        self.unix_ms(now) / 1000
    }

    /// The instant at which the calendar shows `unix_ms`; the origin if that lies before it.
    pub fn instant_of(&self, unix_ms: u64) -> Instant {
        if unix_ms >= self.unix_ms {
            self.instant + Duration::from_millis(unix_ms - self.unix_ms)
        } else {
            self.instant - Duration::from_millis(self.unix_ms - unix_ms)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(
            Instant::FAR_FUTURE + Duration::from_secs(1),
            Instant::FAR_FUTURE
        );
        assert_eq!(Instant::ZERO.since(Instant::from_millis(5)), Duration::ZERO);
    }

    #[test]
    fn anchor_goes_both_ways() {
        let a = Anchor {
            instant: Instant::from_millis(10_000),
            unix_ms: 1_700_000_000_000,
        };
        let later = Instant::from_millis(12_500);
        assert_eq!(a.unix_ms(later), 1_700_000_002_500);
        assert_eq!(a.instant_of(1_700_000_002_500), later);
        assert_eq!(a.unix_ms(Instant::from_millis(9_000)), 1_699_999_999_000);
    }
}
