//! The INVITE server transaction: RFC 3261 §17.2.1 with RFC 6026 §7.1.

use super::build;
use super::step::{Pace, Step, Tell, Wake};
use crate::base::Instant;
use bytes::Bytes;
use std::time::Duration;

/// How long the user has before the layer answers 100 by itself (§17.2.1).
pub(super) const TRYING_AFTER: Duration = Duration::from_millis(200);

/// ```text
///                                | INVITE, passed to the user
///        INVITE: the last        V                     200 ms without an answer: 100 sent
///        1xx sent again   +-------------+   1xx from the user: sent
///              +----------|  Proceeding |-----+
///              +--------->|             |<----+
///                         +-------------+
///                  300-699 |           | 2xx from the user
///                  sent    |           | sent
///        INVITE or Timer G |           V
///        response sent     V        +-------------+ INVITE absorbed; ACK to the user;
///          +------+-------------+   |  Accepted   |---+ 2xx from the user: sent
///          |      |  Completed  |   |             |<--+
///          +----->|             |   +-------------+
///                 +-------------+          |
///                  ACK |   | Timer H:      | Timer L
///                      |   | inform user   |
///                      V   |               |
///          ACK absorbed +-------------+    |
///                  +----|  Confirmed  |    |
///                  +--->|             |    |
///                       +-------------+    |
///                          | Timer I       |
///                          V               V
///                       +----------------------+
///                       |      Terminated      |
///                       +----------------------+
/// ```
#[derive(Debug)]
pub(super) enum ServerInvite {
    /// No final response yet.
    Proceeding {
        request: Bytes,
        /// The last 1xx that was sent.
        provisional: Option<Bytes>,
    },
    /// A final response above 299 waits for its ACK. Timers G and H run.
    Completed {
        response: Bytes,
        /// Timer G's next value.
        interval: Duration,
        /// When Timer H fires.
        give_up_at: Instant,
    },
    /// The ACK came; repetitions of it are absorbed until Timer I.
    Confirmed,
    /// A 2xx was sent; repetitions of the INVITE are absorbed until Timer L.
    Accepted {
        /// Kept for a reliable transport only: whose connection may turn out to be gone.
        response: Option<Bytes>,
    },
}

/// What the machine is told.
#[derive(Debug)]
pub(super) enum Input {
    Repeated,
    Ack,
    Respond { status: u16, response: Bytes },
    Timer,
    TransportError,
}

impl ServerInvite {
    pub(super) fn start(request: Bytes) -> (Self, Step) {
        let state = Self::Proceeding {
            request,
            provisional: None,
        };
        (state, Step::wake(Wake::In(TRYING_AFTER)))
    }

    /// The INVITE, until a final response was sent.
    pub(super) fn request(&self) -> Option<&Bytes> {
        match self {
            Self::Proceeding { request, .. } => Some(request),
            Self::Completed { .. } | Self::Confirmed | Self::Accepted { .. } => None,
        }
    }

    /// What was answered last, as far as it is kept.
    pub(super) fn response(&self) -> Option<&Bytes> {
        match self {
            Self::Proceeding { provisional, .. } => provisional.as_ref(),
            Self::Completed { response, .. } => Some(response),
            Self::Accepted { response } => response.as_ref(),
            Self::Confirmed => None,
        }
    }

    pub(super) fn handle(&mut self, pace: &Pace, input: Input) -> Step {
        match self {
            Self::Proceeding { .. } => self.on_proceeding(pace, input),
            Self::Completed { .. } => self.on_completed(pace, input),
            Self::Confirmed => Self::on_confirmed(input),
            Self::Accepted { .. } => self.on_accepted(pace, input),
        }
    }

    fn on_proceeding(&mut self, pace: &Pace, input: Input) -> Step {
        let Self::Proceeding {
            request,
            provisional,
        } = self
        else {
            return Step::IGNORE;
        };
        match input {
            // A sender that repeats needs its 100 now.
            Input::Repeated | Input::Timer => {
                if provisional.is_none() {
                    *provisional = build::trying(request);
                }
                Step {
                    transmit: provisional.clone(),
                    tell: Tell::Nothing,
                    wake: Wake::Never,
                }
            }
            Input::Respond { status, response } if status < 200 => {
                *provisional = Some(response.clone());
                Step::transmit(response, Wake::Never)
            }
            Input::Respond { status, response } if status < 300 => {
                *self = Self::Accepted {
                    response: pace.reliable.then(|| response.clone()),
                };
                Step::transmit(response, Wake::In(pace.timeout()))
            }
            Input::Respond { response, .. } => {
                let give_up_at = pace.now + pace.timeout();
                *self = Self::Completed {
                    response: response.clone(),
                    interval: pace.t1,
                    give_up_at,
                };
                Step::transmit(response, pace.retransmit(pace.t1, give_up_at))
            }
            // An ACK for nothing. A lost 1xx is no reason to end.
            Input::Ack | Input::TransportError => Step::IGNORE,
        }
    }

    fn on_completed(&mut self, pace: &Pace, input: Input) -> Step {
        let Self::Completed {
            response,
            interval,
            give_up_at,
        } = self
        else {
            return Step::IGNORE;
        };
        match input {
            Input::Repeated => Step::transmit(response.clone(), Wake::Keep),
            Input::Ack => {
                *self = Self::Confirmed;
                Step::wake(pace.linger(pace.t4))
            }
            Input::Timer if pace.now >= *give_up_at => Step::tell(Tell::AckMissing, Wake::End),
            Input::Timer => {
                *interval = (*interval * 2).min(pace.t2);
                Step::transmit(response.clone(), pace.retransmit(*interval, *give_up_at))
            }
            Input::TransportError => Step::tell(Tell::AckMissing, Wake::End),
            Input::Respond { .. } => Step::IGNORE,
        }
    }

    fn on_confirmed(input: Input) -> Step {
        match input {
            Input::Timer => Step::wake(Wake::End),
            Input::Repeated | Input::Ack | Input::Respond { .. } | Input::TransportError => {
                Step::IGNORE
            }
        }
    }

    fn on_accepted(&mut self, pace: &Pace, input: Input) -> Step {
        match input {
            Input::Respond { status, response } if (200..300).contains(&status) => {
                *self = Self::Accepted {
                    response: pace.reliable.then(|| response.clone()),
                };
                Step::transmit(response, Wake::Keep)
            }
            Input::Ack => Step::tell(Tell::Ack, Wake::Keep),
            Input::Timer => Step::wake(Wake::End),
            Input::Repeated | Input::Respond { .. } | Input::TransportError => Step::IGNORE,
        }
    }
}
