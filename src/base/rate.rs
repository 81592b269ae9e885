//! Token buckets by key, in memory that never grows: how often each of very many sources may do
//! something.
//!
//! A bucket is kept as the time at which it will be full again (the virtual scheduling form of
//! ITU-T I.371's generic cell rate algorithm): exact, and one number. What is full again is as
//! good as forgotten, so the table only has to hold the sources that were busy in the last seconds.
//! Where more of them meet in one set of the table than it has places, the fullest bucket is given
//! up: whoever floods stays remembered.

use super::{Instant, mix64};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Buckets of one set.
const WAYS: usize = 8;
/// An offender who kept quiet for so long begins anew.
pub const CALM: Duration = Duration::from_secs(5);

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Nanoseconds in which one token comes.
    pub token_ns: u64,
    /// Tokens of a full bucket, at least one.
    pub burst: u32,
}

impl Rate {
    /// So many a second, and so many at once. `None` where nothing is limited.
    pub fn per_second(rate: u32, burst: u32) -> Option<Self> {
        let token_ns = 1_000_000_000_u64.checked_div(u64::from(rate))?;
        let burst = burst.max(1);
        Some(Self { token_ns, burst })
    }
}

/// What a bucket says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// There was a token.
    Pass,
    /// There was none.
    Over {
        /// How many were refused in this row, this one included; a pause of [`CALM`] ends a row.
        refused: u32,
        /// For how long the row goes on.
        lasting: Duration,
    },
}

#[derive(Clone, Copy, Default, Debug)]
struct Bucket {
    key: u64,
    full_at: Instant,
    /// When the row of refusals began.
    over_since: Instant,
    over_last: Instant,
    refused: u32,
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: Instant) -> Admission {
        let missing = self.full_at.as_nanos().saturating_sub(now.as_nanos());
        let after = missing.saturating_add(rate.token_ns);
        if after <= rate.token_ns.saturating_mul(u64::from(rate.burst)) {
            self.full_at = now + Duration::from_nanos(after);
            return Admission::Pass;
        }
        if self.refused == 0 || now.since(self.over_last) >= CALM {
            (self.over_since, self.refused) = (now, 0);
        }
        self.over_last = now;
        self.refused = self.refused.saturating_add(1);
        Admission::Over {
            refused: self.refused,
            lasting: now.since(self.over_since),
        }
    }
}

/// The buckets. Shared by threads.
#[derive(Debug)]
pub struct RateTable {
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
    /// Keeps strangers from choosing keys that fall into one set.
    seed: u64,
}

impl RateTable {
    /// Full buckets for `sets` times eight keys; `seed` should be random.
    pub fn new(sets: usize, seed: u64) -> Self {
        Self {
            sets: (0..sets.max(1)).map(|_| Mutex::default()).collect(),
            seed,
        }
    }

    /// Takes a token of `key`, which is never zero.
    pub fn take(&self, key: u64, rate: Rate, now: Instant) -> Admission {
        let place = mix64(key ^ self.seed) as usize % self.sets.len();
        let mut set = self.sets[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = set.iter_mut().find(|b| b.key == key) {
            return bucket.take(rate, now);
        }
        let mut fullest = 0;
        for (at, bucket) in set.iter().enumerate() {
            if bucket.full_at < set[fullest].full_at {
                fullest = at;
            }
        }
        let bucket = &mut set[fullest];
        let full = Bucket::default();
        *bucket = Bucket { key, ..full };
        bucket.take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::from_millis(1_000_000 + ms)
    }

    #[test]
    fn a_burst_passes_then_the_rate() {
        let table = RateTable::new(4, 1);
        let rate = Rate::per_second(10, 5).unwrap();
        for _ in 0..5 {
            assert_eq!(table.take(7, rate, at(0)), Admission::Pass);
        }
        assert_ne!(table.take(7, rate, at(99)), Admission::Pass);
        assert_eq!(table.take(7, rate, at(100)), Admission::Pass);
        assert_ne!(table.take(7, rate, at(100)), Admission::Pass);
        assert_eq!(table.take(8, rate, at(100)), Admission::Pass, "by key");
        for _ in 0..5 {
            assert_eq!(table.take(7, rate, at(700)), Admission::Pass, "full again");
        }
        assert_ne!(table.take(7, rate, at(700)), Admission::Pass);
    }

    #[test]
    fn a_row_of_refusals_lasts_until_a_pause() {
        let table = RateTable::new(1, 1);
        let rate = Rate::per_second(1, 1).unwrap();
        let over = |refused, ms| Admission::Over {
            refused,
            lasting: Duration::from_millis(ms),
        };
        assert_eq!(table.take(1, rate, at(0)), Admission::Pass);
        assert_eq!(table.take(1, rate, at(10)), over(1, 0));
        assert_eq!(table.take(1, rate, at(900)), over(2, 890));
        assert_eq!(table.take(1, rate, at(1000)), Admission::Pass);
        assert_eq!(table.take(1, rate, at(1500)), over(3, 1490));
        assert_eq!(table.take(1, rate, at(7000)), Admission::Pass);
        assert_eq!(table.take(1, rate, at(7001)), over(1, 0));
    }

    /// More sources than places: those that flood stay remembered, and nothing grows.
    #[test]
    fn a_full_set_forgets_whoever_did_least() {
        let table = RateTable::new(1, 9);
        let rate = Rate::per_second(1, 100).unwrap();
        for _ in 0..101 {
            table.take(1, rate, at(0));
        }
        for stranger in 2..10_000 {
            assert_eq!(table.take(stranger, rate, at(1)), Admission::Pass);
        }
        assert_ne!(table.take(1, rate, at(2)), Admission::Pass);
        assert_eq!(Rate::per_second(0, 5), None);
    }

    proptest! {
        /// As a bucket that is filled drop by drop.
        #[test]
        fn buckets_keep_to_a_naive_model(
            per_second in 1_u32..2000,
            burst in 1_u32..50,
            gaps in prop::collection::vec(0_u64..3_000_000_000, 1..200),
        ) {
            let rate = Rate::per_second(per_second, burst).unwrap();
            let table = RateTable::new(2, 3);
            let full = u64::from(burst) * rate.token_ns;
            let (mut now, mut level) = (1_000_000_000_000_u64, full);
            for (n, gap) in gaps.into_iter().enumerate() {
                // Bursts as well as pauses.
                let gap = if n % 3 == 0 { gap } else { gap / 100_000 };
                now += gap;
                level = (level + gap).min(full);
                let passes = level >= rate.token_ns;
                if passes {
                    level -= rate.token_ns;
                }
                let got = table.take(5, rate, Instant::from_nanos(now));
                prop_assert_eq!(got == Admission::Pass, passes);
            }
        }
    }
}
