//! Opening a mailbox by its PIN: wrong ones slow the next down, and enough of them lock it. Both
//! are kept, so that neither another call nor a restart begins anew.

use super::Mailboxes;
use crate::store::Record;
use std::time::Duration;

/// Longest wait behind a wrong PIN.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// What wrong PINs bring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// So many in a row lock the mailbox.
    pub tries: u32,
    /// For so long.
    pub lock: Duration,
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
        if mailbox.locked_until_ms > now_ms {
            return (Opening::Locked, None);
        }
        // Without the lock: others need not wait for it.
        let right = mailbox.pin.as_ref().is_some_and(|hash| hash.is_of(pin));
        if right {
            let clean = mailbox.wrong_pins == 0 && mailbox.locked_until_ms == 0;
            let forgive = || {
                self.update(aor, |m| {
                    m.wrong_pins = 0;
                    m.locked_until_ms = 0;
                })
            };
            return (Opening::Open, (!clean).then(forgive).flatten());
        }
        if mailbox.pin.is_none() {
            // Nothing can be guessed; so nothing is kept of it.
            let wait = wait_after(limits.tries);
            return (Opening::Wrong { wait }, None);
        }
        let mut wrong = 0;
        let record = self.update(aor, |m| {
            m.wrong_pins = m.wrong_pins.saturating_add(1);
            wrong = m.wrong_pins;
            if wrong.is_multiple_of(limits.tries.max(1)) {
                let lock_ms = u64::try_from(limits.lock.as_millis()).unwrap_or(u64::MAX);
                m.locked_until_ms = now_ms.saturating_add(lock_ms);
            }
        });
        let opening = match wrong.is_multiple_of(limits.tries.max(1)) {
            true => Opening::Locked,
            false => Opening::Wrong {
                wait: wait_after(wrong),
            },
        };
        (opening, record)
    }
}
