//! Faults that the kernel finds with a card, and how long its driver puts up with them. A ring that
//! nobody can serve costs nobody frames, so it waits long: a driver that ended is back only with
//! the next voipd. Calls go on by sockets meanwhile: the routes by an interface leave with it.
//!
//! ```text
//!  poll(2)   NIOCRXSYNC
//!  POLLERR   0           a ring was set back (netmap_ring_reinit), or the driver finds fault
//!  POLLERR   EIO         the interface left (NAF_ZOMBIE): for a moment if it is renamed, else for
//!                        good (nm_kr_tryget in sys/dev/netmap/netmap_kern.h)
//!            ENXIO       the descriptor has no card
//! ```
//! An interface of a driver that knows netmap and is put down is no fault: until it is up again the
//! kernel holds those who ask for its rings (NM_KR_LOCKED).

use super::registration::Woken;
use crate::base::Instant;
use std::time::Duration;

/// How long a driver pauses first.
const SHORT_PAUSE: Duration = Duration::from_millis(100);
/// How often: a ring that was set back is well the next time.
const SHORT_MAX: u32 = 10;
/// How long it pauses then.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// How long the rings may be stopped before the card is taken for gone.
const STOPPED_MAX: Duration = Duration::from_secs(600);

/// Faults in a row.
#[derive(Default, Debug)]
pub struct Faults {
    count: u32,
    stopped: Option<Instant>,
}

/// What is to be done about a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// Try again after a pause.
    Short(Duration),
    /// Likewise; it has lasted so long that the log shall have it, once.
    Told(Duration),
    /// The card is gone.
    Gone,
}

impl Faults {
    /// All is well; whether a fault was told of that is over now.
    pub fn pass(&mut self) -> bool {
        let told = self.count > SHORT_MAX;
        *self = Self::default();
        told
    }

    /// Another one, and what the ioctls say of it.
    pub fn add(&mut self, now: Instant, said: Woken) -> Patience {
        self.count = self.count.saturating_add(1);
        match said {
            Woken::Gone => return Patience::Gone,
            Woken::Stopped => {
                let since = *self.stopped.get_or_insert(now);
                if now.since(since) >= STOPPED_MAX {
                    return Patience::Gone;
                }
            }
            Woken::Ready | Woken::Fault => self.stopped = None,
        }
        match self.count {
            ..=SHORT_MAX => Patience::Short(SHORT_PAUSE),
            count if count == SHORT_MAX + 1 => Patience::Told(LONG_PAUSE),
            _ => Patience::Short(LONG_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1000 * seconds)
    }

    #[test]
    fn a_fault_is_put_up_with_for_ever() {
        let mut faults = Faults::default();
        for second in 0..10_000 {
            let said = faults.add(at(second), Woken::Ready);
            match second {
                0..10 => assert_eq!(said, Patience::Short(SHORT_PAUSE)),
                10 => assert_eq!(said, Patience::Told(LONG_PAUSE)),
                _ => assert_eq!(said, Patience::Short(LONG_PAUSE)),
            }
        }
        assert!(faults.pass() && !faults.pass());
        faults.add(at(10_000), Woken::Ready);
        assert!(!faults.pass(), "a short one is not told of");
    }

    #[test]
    fn a_card_is_gone_when_its_rings_stay_stopped() {
        let mut faults = Faults::default();
        assert_ne!(faults.add(at(1), Woken::Stopped), Patience::Gone);
        assert_ne!(faults.add(at(600), Woken::Stopped), Patience::Gone);
        // It was another one's name for a moment.
        faults.add(at(601), Woken::Ready);
        for second in 602..1202 {
            let said = faults.add(at(second), Woken::Stopped);
            assert_ne!(said, Patience::Gone, "{second}");
        }
        assert_eq!(faults.add(at(1202), Woken::Stopped), Patience::Gone);
        assert_eq!(Faults::default().add(at(1), Woken::Gone), Patience::Gone);
    }
}
