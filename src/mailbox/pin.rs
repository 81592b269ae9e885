//! Opening a mailbox by its PIN: wrong ones slow the next down, and enough of them lock it. Both
//! are kept, so that neither another call nor a restart begins anew. A mailbox without PIN, and one
//! that is nobody's, wait and lock just so, in memory: nobody is told which mailboxes there are.

use super::Mailboxes;
use crate::store::{PinHash, Record};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Longest wait behind a wrong PIN.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// Mailboxes without PIN of which wrong ones are counted. For one more, those are forgotten that
/// are not locked; where all are, it is not counted.
const HOLLOW_MAX: usize = 10_000;

/// Wrong PINs of mailboxes that no PIN opens.
#[derive(Debug, Default)]
pub(super) struct Hollow(Mutex<BTreeMap<Box<str>, Wrong>>);

#[derive(Debug, Default)]
struct Wrong {
    pins: u32,
    locked_until_ms: u64,
}

impl Hollow {
    fn is_locked(&self, aor: &str, now_ms: u64) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(aor).is_some_and(|w| w.locked_until_ms > now_ms)
    }

    fn wrong(&self, aor: &str, now_ms: u64, limits: Limits) -> Opening {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= HOLLOW_MAX && !all.contains_key(aor) {
            all.retain(|_, wrong| wrong.locked_until_ms > now_ms);
        }
        if all.len() >= HOLLOW_MAX && !all.contains_key(aor) {
            return limits.after(1);
        }
        let wrong = all.entry(aor.into()).or_default();
        wrong.pins = wrong.pins.saturating_add(1);
        let opening = limits.after(wrong.pins);
        if opening == Opening::Locked {
            wrong.locked_until_ms = limits.locked_until(now_ms);
        }
        opening
    }
}

/// What wrong PINs bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// So many in a row lock the mailbox.
    pub tries: u32,
    /// For so long.
    pub lock: Duration,
}

impl Limits {
    /// What so many wrong PINs bring.
    fn after(self, wrong: u32) -> Opening {
        match wrong.is_multiple_of(self.tries.max(1)) {
            true => Opening::Locked,
            false => Opening::Wrong {
                wait: wait_after(wrong),
            },
        }
    }

    fn locked_until(self, now_ms: u64) -> u64 {
        let lock_ms = u64::try_from(self.lock.as_millis()).unwrap_or(u64::MAX);
        now_ms.saturating_add(lock_ms)
    }
}

/// What a PIN brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// It is the right one.
    Open,
    /// It is not, or the mailbox has none, or there is no such mailbox: nobody is told which.
    Wrong {
        /// The next one is heard only after so long.
        wait: Duration,
    },
    /// No PIN is taken for now; this one was not looked at.
    Locked,
}

/// One second, doubled by each further wrong one.
fn wait_after(wrong: u32) -> Duration {
    let doubled = 1u64 << wrong.saturating_sub(1).min(16);
    Duration::from_secs(doubled).min(WAIT_MAX)
}

impl Mailboxes {
    /// Tries a PIN. The record, if there is one, is to be kept.
    pub fn open(
        &self,
        aor: &str,
        pin: &str,
        now_ms: u64,
        limits: Limits,
    ) -> (Opening, Option<Record>) {
        let mailbox = self.mailbox(aor);
        let Some(hash) = &mailbox.pin else {
            if self.hollow.is_locked(aor, now_ms) {
                return (Opening::Locked, None);
            }
            // As much work as a real one is: the time tells nothing either.
            let _ = std::hint::black_box(PinHash::of(DECOY, [0; 16]));
            return (self.hollow.wrong(aor, now_ms, limits), None);
        };
        if mailbox.locked_until_ms > now_ms {
            return (Opening::Locked, None);
        }
        // Without the lock: others need not wait for it.
        if hash.is_of(pin) {
            let clean = mailbox.wrong_pins == 0 && mailbox.locked_until_ms == 0;
            let forgive = || {
                self.update(aor, |m| {
                    m.wrong_pins = 0;
                    m.locked_until_ms = 0;
                })
            };
            return (Opening::Open, (!clean).then(forgive).flatten());
        }
        let mut opening = Opening::Locked;
        let record = self.update(aor, |m| {
            m.wrong_pins = m.wrong_pins.saturating_add(1);
            opening = limits.after(m.wrong_pins);
            if opening == Opening::Locked {
                m.locked_until_ms = limits.locked_until(now_ms);
            }
        });
        (opening, record)
    }
}

/// Some PIN.
const DECOY: &str = "0000";
