//! The non-INVITE server transaction: RFC 3261 §17.2.2.

use super::step::{Pace, Step, Wake};
use bytes::Bytes;

/// ```text
///                              | request, passed to the user
///                              V
///                        +-----------+
///                        |  Trying   |---------------------+
///                        +-----------+                     |
///                              | 1xx from the user: sent   |
///           request:           V                           | 200-699
///           1xx sent     +-----------+                     | from the user:
///              +---------| Proceeding|---+ 1xx: sent       | sent
///              +-------->|           |<--+                 |
///                        +-----------+                     |
///                              | 200-699 from the user     |
///           request:           V sent                      |
///           response     +-----------+                     |
///           sent +-------| Completed |<--------------------+
///                +------>|           |
///                        +-----------+
///                              | Timer J
///                              V
///                        +-----------+
///                        | Terminated|
///                        +-----------+
/// ```
/// Not in the figure: a request that the user leaves unanswered for 64 * T1 is forgotten. Its
/// sender has given up by then (Timer F), and RFC 4320 §4.2 forbids to answer so late.
#[derive(Debug)]
pub(super) enum ServerOther {
    /// Nothing was answered yet.
    Trying { request: Bytes },
    /// A provisional response was sent.
    Proceeding { request: Bytes, provisional: Bytes },
    /// The final response was sent; it is sent again for repetitions until Timer J.
    Completed { response: Bytes },
}

/// What the machine is told.
#[derive(Debug)]
pub(super) enum Input {
    Repeated,
    Respond { status: u16, response: Bytes },
    Timer,
    TransportError,
}

impl ServerOther {
    pub(super) fn start(request: Bytes, pace: &Pace) -> (Self, Step) {
        (
            Self::Trying { request },
            Step::wake(Wake::In(pace.timeout())),
        )
    }

    /// The request, until a final response was sent.
    pub(super) fn request(&self) -> Option<&Bytes> {
        match self {
            Self::Trying { request } | Self::Proceeding { request, .. } => Some(request),
            Self::Completed { .. } => None,
        }
    }

    /// What was answered last.
    pub(super) fn response(&self) -> Option<&Bytes> {
        match self {
            Self::Trying { .. } => None,
            Self::Proceeding { provisional, .. } => Some(provisional),
            Self::Completed { response } => Some(response),
        }
    }

    pub(super) fn handle(&mut self, pace: &Pace, input: Input) -> Step {
        match self {
            Self::Trying { .. } | Self::Proceeding { .. } => self.on_unanswered(pace, input),
            Self::Completed { response } => Self::on_completed(response, input),
        }
    }

    /// Trying and Proceeding differ in what a repetition gets.
    fn on_unanswered(&mut self, pace: &Pace, input: Input) -> Step {
        match input {
            Input::Repeated => Step {
                transmit: self.response().cloned(),
                ..Step::IGNORE
            },
            Input::Respond { status, response } if status < 200 => {
                if let Self::Trying { request } | Self::Proceeding { request, .. } = self {
                    *self = Self::Proceeding {
                        request: std::mem::take(request),
                        provisional: response.clone(),
                    };
                }
                Step::transmit(response, Wake::Keep)
            }
            Input::Respond { response, .. } => {
                *self = Self::Completed {
                    response: response.clone(),
                };
                // Timer J is zero for a reliable transport: kept a little while nevertheless, in
                // case the connection turns out to be gone.
                let linger = if pace.reliable {
                    pace.t1
                } else {
                    pace.timeout()
                };
                Step::transmit(response, Wake::In(linger))
            }
            Input::Timer => Step::wake(Wake::End),
            Input::TransportError => Step::IGNORE,
        }
    }

    fn on_completed(response: &Bytes, input: Input) -> Step {
        match input {
            Input::Repeated => Step::transmit(response.clone(), Wake::Keep),
            Input::Timer => Step::wake(Wake::End),
            Input::Respond { .. } | Input::TransportError => Step::IGNORE,
        }
    }
}
