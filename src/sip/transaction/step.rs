//! What the four machines share: what they are told of time, and what a step asks for.

use super::event::Settings;
use crate::base::Instant;
use bytes::Bytes;
use std::time::Duration;

/// Now, the base timers, and whether the transport retransmits by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) now: Instant,
    pub(super) t1: Duration,
    pub(super) t2: Duration,
    pub(super) t4: Duration,
    pub(super) reliable: bool,
}

impl Pace {
    pub(super) fn new(now: Instant, settings: &Settings, reliable: bool) -> Self {
        Self {
            now,
            t1: settings.t1,
            t2: settings.t2,
            t4: settings.t4,
            reliable,
        }
    }

    /// 64 * T1.
    pub(super) fn timeout(&self) -> Duration {
        self.t1 * 64
    }

    /// Absorb repetitions for `time`; over a reliable transport there are none.
    pub(super) fn linger(&self, time: Duration) -> Wake {
        if self.reliable {
            Wake::End
        } else {
            Wake::In(time)
        }
    }

    /// The next retransmission after `interval`, but not later than `give_up_at`.
    pub(super) fn retransmit(&self, interval: Duration, give_up_at: Instant) -> Wake {
        let left = give_up_at.since(self.now);
        if self.reliable {
            Wake::In(left)
        } else {
            Wake::In(interval.min(left))
        }
    }
}

/// When the machine wants its next timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    /// As armed before.
    Keep,
    /// After this time, and not as armed before.
    In(Duration),
    /// Not at all.
    Never,
    /// The transaction is Terminated: forget it.
    End,
}

/// What the user must be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tell {
    Nothing,
    /// The response that came.
    Response,
    Timeout,
    TransportError,
    AckMissing,
    /// An ACK for a 2xx.
    Ack,
}

/// What follows from one input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) transmit: Option<Bytes>,
    pub(super) tell: Tell,
    pub(super) wake: Wake,
}

impl Step {
    /// Nothing follows.
    pub(super) const IGNORE: Step = Step {
        transmit: None,
        tell: Tell::Nothing,
        wake: Wake::Keep,
    };

    pub(super) fn wake(wake: Wake) -> Self {
        Self {
            wake,
            ..Self::IGNORE
        }
    }

    pub(super) fn transmit(bytes: Bytes, wake: Wake) -> Self {
        Self {
            transmit: Some(bytes),
            tell: Tell::Nothing,
            wake,
        }
    }

    pub(super) fn tell(tell: Tell, wake: Wake) -> Self {
        Self {
            transmit: None,
            tell,
            wake,
        }
    }
}
