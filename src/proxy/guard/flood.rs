//! How much one source may send, before anything is read: a token bucket for each, and a larger one
//! for whoever proved right lately.
//!
//! A stranger that goes on over its limit for [`BAN_AFTER`] is shut out as one that guesses
//! passwords is. A source in good standing only loses what is over: behind it there may be an
//! office with one broken phone, and over UDP anybody may write its address. Peers of
//! `[sip] trusted` and `[guard] exempt` have no limit, nor has the host itself.

use super::{Guard, is_this_host, network, number, seconds};
use crate::base::{Admission, Anchor, Instant, Rate, RateTable};
use crate::config::Config;
use crate::store::Record;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Sets of the table: 32,768 sources that are busy at a time are told apart.
const SETS: usize = 4096;
/// How many times less a stranger may send than a source in good standing.
pub const STRANGER_SHARE: u32 = 10;
/// A stranger over its limit for so long is shut out, when it was refused its burst once more.
pub const BAN_AFTER: Duration = Duration::from_secs(10);
/// The log speaks of a source over its limit at most once in this time.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Places of the table of what was said.
const SAID: usize = 256;

/// What `[guard]` says of floods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FloodSettings {
    /// Messages a second of a source in good standing; zero: no limit.
    pub messages_per_second: u32,
    /// Messages at once of it.
    pub burst: u32,
}

impl FloodSettings {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            messages_per_second: config.guard.messages_per_second,
            burst: config.guard.burst,
        }
    }

    fn rates(self) -> Option<[Rate; 2]> {
        let known = Rate::per_second(self.messages_per_second, self.burst)?;
        let share = |n: u32| (n / STRANGER_SHARE).max(1);
        let stranger = Rate::per_second(share(self.messages_per_second), share(self.burst))?;
        Some([known, stranger])
    }
}

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// What may be SIP.
    Message,
    /// What is none. It is dropped anyhow; a stranger pays for it all the same.
    Junk,
}

/// What becomes of it.
#[derive(Clone, PartialEq, Debug)]
pub enum Passage {
    /// It is looked at.
    Pass,
    /// It is not.
    Drop,
    /// It is not, and its source is shut out from now on; the record says so.
    Ban(Record),
}

/// The buckets, and the limits where they are read without a lock.
#[derive(Debug)]
pub(super) struct Flood {
    table: RateTable,
    /// Of known sources and of strangers; a `token_ns` of zero: no limit.
    rates: [(AtomicU64, AtomicU32); 2],
    /// Seconds at which the log last spoke of a source, by its hash; plus one.
    said: Box<[AtomicU32]>,
}

impl Flood {
    pub fn new(settings: FloodSettings, seed: u64) -> Self {
        let flood = Self {
            table: RateTable::new(SETS, seed),
            rates: Default::default(),
            said: (0..SAID).map(|_| AtomicU32::new(0)).collect(),
        };
        flood.configure(settings);
        flood
    }

    pub fn configure(&self, settings: FloodSettings) {
        let none = Rate {
            token_ns: 0,
            burst: 0,
        };
        let rates = settings.rates().unwrap_or([none; 2]);
        for ((token_ns, burst), rate) in self.rates.iter().zip(rates) {
            burst.store(rate.burst, Ordering::Relaxed);
            token_ns.store(rate.token_ns, Ordering::Relaxed);
        }
    }

    fn rate(&self, known: bool) -> Option<Rate> {
        let (token_ns, burst) = &self.rates[usize::from(!known)];
        let rate = Rate {
            token_ns: token_ns.load(Ordering::Relaxed),
            burst: burst.load(Ordering::Relaxed),
        };
        (rate.token_ns != 0).then_some(rate)
    }

    /// Whether the log should speak of this source.
    fn speaks(&self, key: u64, now: Instant) -> bool {
        let place = &self.said[(key ^ (key >> 32) ^ (key >> 13)) as usize % SAID];
        let seconds = seconds(now);
        let last = place.load(Ordering::Relaxed);
        let due = last == 0 || u64::from(seconds.saturating_sub(last)) >= SAID_EVERY.as_secs();
        if due {
            place.store(seconds, Ordering::Relaxed);
        }
        due
    }
}

impl Guard {
    /// Whether something from `source` is looked at, as far as its number goes. Asked before
    /// anything of it is read, on whatever thread it came to.
    pub fn passage(&self, source: IpAddr, what: Arrival, now: Instant, anchor: Anchor) -> Passage {
        let ip = network(source);
        let known = self.is_in_good_standing(ip, now);
        let otherwise = match what {
            Arrival::Message => Passage::Pass,
            Arrival::Junk => Passage::Drop,
        };
        if known && what == Arrival::Junk {
            return otherwise;
        }
        let Some(rate) = self.flood.rate(known) else {
            return otherwise;
        };
        match self.flood.table.take(number(ip), rate, now) {
            Admission::Pass => otherwise,
            // Rare enough, so that only now the lists are looked through.
            Admission::Over { .. } if is_this_host(source) || self.exempts(source) => otherwise,
            Admission::Over { refused, lasting } if !known => {
                let flooding = lasting >= BAN_AFTER && refused % rate.burst == 0;
                let ban = flooding.then(|| self.ban(source, "flood", now, anchor));
                ban.flatten().map_or(Passage::Drop, Passage::Ban)
            }
            Admission::Over { .. } => {
                if self.flood.speaks(number(ip), now) {
                    tracing::warn!(
                        source = %ip,
                        "sends more than [guard] messages_per_second allows; what is over is \
                         dropped. If that is right, add it to [guard] exempt"
                    );
                }
                Passage::Drop
            }
        }
    }
}
