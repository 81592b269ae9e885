//! The non-INVITE client transaction: RFC 3261 §17.1.2.

use super::step::{Pace, Step, Tell, Wake};
use crate::base::Instant;
use bytes::Bytes;
use std::time::Duration;

/// ```text
///                               | request from the user
///                               | request sent
///           Timer E             V
///           request sent  +-----------+          Timer F or transport error
///              +----------|  Trying   |--------------------------+
///              +--------->|           |---------------+          | inform the user
///                         +-----------+   200-699     |          |
///                               | 1xx     to the user |          |
///                               | to the user         |          |
///           Timer E             V                     |          |
///           request sent  +-----------+               |          |
///              +----------| Proceeding|---------------|--------->|
///              +--------->|           |---+ 1xx       |          |
///                         |           |<--+ to user   |          |
///                         +-----------+               |          |
///                               | 200-699 to the user |          |
///                               V                     |          |
///                         +-----------+               |          |
///                         | Completed |<--------------+          |
///                         +-----------+                          |
///                               | Timer K                        |
///                               V                                |
///                         +-----------+                          |
///                         | Terminated|<-------------------------+
///                         +-----------+
/// ```
#[derive(Debug)]
pub(super) enum ClientOther {
    /// Nothing came back yet. Timers E and F run.
    Trying(Waiting),
    /// A provisional response came. Timer E goes on at T2, Timer F as before.
    Proceeding(Waiting),
    /// The final response was passed on; its repetitions are absorbed until Timer K.
    Completed,
}

/// The request under way.
#[derive(Debug)]
pub(super) struct Waiting {
    request: Bytes,
    /// Timer E's next value.
    interval: Duration,
    /// When Timer F fires.
    give_up_at: Instant,
}

/// What the machine is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Input {
    Response { status: u16 },
    Timer,
    TransportError,
}

impl ClientOther {
    /// Sends the request.
    pub(super) fn start(request: Bytes, pace: &Pace) -> (Self, Step) {
        let give_up_at = pace.now + pace.timeout();
        let step = Step::transmit(request.clone(), pace.retransmit(pace.t1, give_up_at));
        let state = Self::Trying(Waiting {
            request,
            interval: pace.t1,
            give_up_at,
        });
        (state, step)
    }

    pub(super) fn handle(&mut self, pace: &Pace, input: Input) -> Step {
        match self {
            Self::Trying(_) => self.on_trying(pace, input),
            Self::Proceeding(_) => self.on_proceeding(pace, input),
            Self::Completed => Self::on_completed(input),
        }
    }

    fn on_trying(&mut self, pace: &Pace, input: Input) -> Step {
        let Self::Trying(waiting) = self else {
            return Step::IGNORE;
        };
        match input {
            Input::Response { status } if status < 200 => {
                *self = Self::Proceeding(Waiting {
                    request: std::mem::take(&mut waiting.request),
                    // "Timer E is reset with a value of T2" when it fires next.
                    interval: pace.t2,
                    give_up_at: waiting.give_up_at,
                });
                Step::tell(Tell::Response, Wake::Keep)
            }
            Input::Response { .. } => self.on_final(pace),
            Input::Timer => {
                let next = (waiting.interval * 2).min(pace.t2);
                waiting.on_timer(pace, next)
            }
            Input::TransportError => Step::tell(Tell::TransportError, Wake::End),
        }
    }

    fn on_proceeding(&mut self, pace: &Pace, input: Input) -> Step {
        let Self::Proceeding(waiting) = self else {
            return Step::IGNORE;
        };
        match input {
            Input::Response { status } if status < 200 => Step::tell(Tell::Response, Wake::Keep),
            Input::Response { .. } => self.on_final(pace),
            Input::Timer => waiting.on_timer(pace, pace.t2),
            Input::TransportError => Step::tell(Tell::TransportError, Wake::End),
        }
    }

    fn on_final(&mut self, pace: &Pace) -> Step {
        *self = Self::Completed;
        Step::tell(Tell::Response, pace.linger(pace.t4))
    }

    fn on_completed(input: Input) -> Step {
        match input {
            Input::Response { .. } | Input::TransportError => Step::IGNORE,
            Input::Timer => Step::wake(Wake::End),
        }
    }
}

impl Waiting {
    fn on_timer(&mut self, pace: &Pace, next: Duration) -> Step {
        if pace.now >= self.give_up_at {
            return Step::tell(Tell::Timeout, Wake::End);
        }
        self.interval = next;
        Step::transmit(self.request.clone(), pace.retransmit(next, self.give_up_at))
    }
}
