//! How flows change while frames pass: the thread that decides on calls sends [`Change`]s, the
//! driver's thread carries them out between two batches and answers.
//!
//! Two bounded `std::sync::mpsc` channels, one each way, with one end on each side. That is a ring
//! of slots with two counters; no lock is taken as long as nobody waits, and nobody does: only the
//! `try_` calls are used (`std::sync::mpmc::array` in the standard library). A ring of our own
//! would need `unsafe`, which stays in `os`.

use super::spec::{FlowError, FlowSpec, FlowStats};
use super::table::FlowTable;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// The most changes that wait.
pub const CHANGES_MAX: usize = 1024;
/// The most answers that wait; while they do, changes wait too.
pub const ANSWERS_MAX: usize = 1024;
/// The most changes between two batches, for frames shall not wait long.
pub const CHANGES_PER_BATCH_MAX: usize = 32;

/// What shall change.
#[derive(Debug)]
pub enum Change {
    /// [`FlowTable::install`].
    Install {
        /// The flow. Boxed, and with its boxes freed, outside the packet path.
        spec: Box<FlowSpec>,
    },
    /// [`FlowTable::remove`].
    Remove {
        /// Our address and port.
        destination: SocketAddr,
    },
    /// [`FlowTable::stats`].
    Query {
        /// Our address and port.
        destination: SocketAddr,
    },
}

/// What became of a change; in the changes' order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The flow is there, or not: then its packets go on reaching the sockets.
    Installed {
        /// Its key.
        destination: SocketAddr,
        /// Why it is not.
        result: Result<(), FlowError>,
    },
    /// The flow is gone.
    Removed {
        /// Its key.
        destination: SocketAddr,
        /// What it counted, or why there is nothing.
        result: Result<FlowStats, FlowError>,
    },
    /// What a flow counted so far.
    Counted {
        /// Its key.
        destination: SocketAddr,
        /// `None`: there is none.
        stats: Option<FlowStats>,
    },
}

/// Too many changes wait, or the driver is gone. The change comes back: an installation is left
/// to the sockets, a removal is tried again.
#[derive(Debug)]
pub struct Busy(pub Change);

/// The end that decides on flows. There is one, and it cannot be copied.
#[derive(Debug)]
pub struct FlowControl {
    changes: SyncSender<Change>,
    answers: Receiver<Answer>,
}

/// The driver's end.
#[derive(Debug)]
pub struct FlowRing {
    changes: Receiver<Change>,
    answers: SyncSender<Answer>,
    /// Found no room.
    unsent: Option<Answer>,
}

/// Both ends.
pub fn ring() -> (FlowControl, FlowRing) {
    let (changes, take) = sync_channel(CHANGES_MAX);
    let (give, answers) = sync_channel(ANSWERS_MAX);
    let control = FlowControl { changes, answers };
    let ring = FlowRing {
        changes: take,
        answers: give,
        unsent: None,
    };
    (control, ring)
}

impl FlowControl {
    /// Asks for a change. It happens between two of the driver's batches.
    pub fn ask(&self, change: Change) -> Result<(), Box<Busy>> {
        self.changes.try_send(change).map_err(|error| match error {
            TrySendError::Full(change) | TrySendError::Disconnected(change) => {
                Box::new(Busy(change))
            }
        })
    }

    /// The next answer, if there is one. Drain them: unread answers stop the changes.
    pub fn poll_answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

impl FlowTable {
    /// Carries out what was asked for, at most [`CHANGES_PER_BATCH_MAX`] changes. For the driver,
    /// between two batches. Gives how many answers it sent.
    pub fn apply_changes(&mut self, ring: &mut FlowRing) -> usize {
        for done in 0..CHANGES_PER_BATCH_MAX {
            let answer = match ring.unsent.take() {
                Some(answer) => answer,
                None => match ring.changes.try_recv() {
                    Ok(change) => self.apply(change),
                    Err(_) => return done,
                },
            };
            match ring.answers.try_send(answer) {
                // With the other side gone nobody is left to be told.
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(answer)) => {
                    ring.unsent = Some(answer);
                    return done;
                }
            }
        }
        CHANGES_PER_BATCH_MAX
    }

    fn apply(&mut self, change: Change) -> Answer {
        match change {
            Change::Install { spec } => Answer::Installed {
                destination: spec.destination,
                result: self.install(*spec),
            },
            Change::Remove { destination } => Answer::Removed {
                destination,
                result: self.remove(destination),
            },
            Change::Query { destination } => Answer::Counted {
                destination,
                stats: self.stats(destination),
            },
        }
    }
}
