//! The INVITE client transaction: RFC 3261 §17.1.1 with RFC 6026 §7.2.

use super::build;
use super::step::{Pace, Step, Tell, Wake};
use crate::base::Instant;
use crate::wire::sip::Message;
use bytes::Bytes;
use std::time::Duration;

/// ```text
///                                  | INVITE from the user
///              Timer A             | INVITE sent
///              reset A,            V                       Timer B or transport error
///              INVITE sent  +-------------+                inform the user
///                 +---------|   Calling   |-------------------------------+
///                 +-------->|             |----------- 2xx -----------+   |
///                           +-------------+        2xx to the user    |   |
///          300-699             |      | 1xx                           |   |
///          ACK sent,           |      | 1xx to the user               |   |
///          response to user    |      V                               |   |
///                 +------------|   +-------------+  1xx to the user   |   |
///                 |            |   | Proceeding  |---+                |   |
///                 |<-----------+   |             |<--+                |   |
///                 |<---------------|             |------- 2xx ------->|   |
///                 |    300-699     +-------------+  2xx to the user   |   |
///                 V    ACK sent         | cancelled, 64*T1 later:     |   |
///           +-------------+ 300-699     | inform the user             V   |
///           |  Completed  |--+ ACK sent |             2xx +-------------+ |
///           |             |<-+          |     to the user |  Accepted   | |
///           +-------------+             |           +-----|             | |
///                 | Timer D             |           +---->+-------------+ |
///                 V                     V                       | Timer M |
///           +------------------------------------------------------------+|
///           |                        Terminated                          |<
///           +------------------------------------------------------------+
/// ```
#[derive(Debug)]
pub(super) enum ClientInvite {
    /// Nothing came back yet. Timers A and B run.
    Calling {
        request: Bytes,
        /// Timer A's next value.
        interval: Duration,
        /// When Timer B fires.
        give_up_at: Instant,
        cancel: Cancel,
    },
    /// A provisional response came.
    Proceeding {
        request: Bytes,
        /// Once a CANCEL went out: when to stop waiting for the 487 (§9.1).
        give_up_at: Option<Instant>,
    },
    /// A final response above 299 came; its repetitions are acknowledged until Timer D.
    Completed { ack: Option<Bytes> },
    /// A 2xx came; further ones are passed on until Timer M.
    Accepted,
}

/// Whether a CANCEL waits for the first provisional response (§9.1).
#[derive(Debug)]
pub(super) enum Cancel {
    NotAsked,
    Asked { reason: Option<Bytes> },
}

/// What the machine is told.
#[derive(Debug)]
pub(super) enum Input<'a> {
    Response(&'a Message),
    Timer,
    TransportError,
}

impl ClientInvite {
    /// Sends the INVITE.
    pub(super) fn start(request: Bytes, pace: &Pace) -> (Self, Step) {
        let give_up_at = pace.now + pace.timeout();
        let step = Step::transmit(request.clone(), pace.retransmit(pace.t1, give_up_at));
        let state = Self::Calling {
            request,
            interval: pace.t1,
            give_up_at,
            cancel: Cancel::NotAsked,
        };
        (state, step)
    }

    pub(super) fn handle(&mut self, pace: &Pace, input: Input<'_>) -> Step {
        match self {
            Self::Calling { .. } => self.on_calling(pace, input),
            Self::Proceeding { .. } => self.on_proceeding(pace, input),
            Self::Completed { .. } => self.on_completed(input),
            Self::Accepted => self.on_accepted(input),
        }
    }

    /// The user wants the INVITE cancelled. Gives the CANCEL if it may go out now.
    pub(super) fn cancel(&mut self, pace: &Pace, reason: Option<Bytes>) -> (Option<Bytes>, Wake) {
        match self {
            Self::Calling { cancel, .. } => {
                *cancel = Cancel::Asked { reason };
                (None, Wake::Keep)
            }
            Self::Proceeding {
                request,
                give_up_at: give_up_at @ None,
            } => {
                *give_up_at = Some(pace.now + pace.timeout());
                let cancel = build::cancel(request, reason.as_deref());
                (cancel, Wake::In(pace.timeout()))
            }
            Self::Proceeding { .. } | Self::Completed { .. } | Self::Accepted => (None, Wake::Keep),
        }
    }

    /// The CANCEL that was asked for before the first provisional response, which just came.
    pub(super) fn take_pending_cancel(&mut self) -> Option<Option<Bytes>> {
        match self {
            Self::Calling {
                cancel: cancel @ Cancel::Asked { .. },
                ..
            } => match std::mem::replace(cancel, Cancel::NotAsked) {
                Cancel::Asked { reason } => Some(reason),
                Cancel::NotAsked => None,
            },
            Self::Calling { .. }
            | Self::Proceeding { .. }
            | Self::Completed { .. }
            | Self::Accepted => None,
        }
    }

    fn on_calling(&mut self, pace: &Pace, input: Input<'_>) -> Step {
        let Self::Calling {
            request,
            interval,
            give_up_at,
            ..
        } = self
        else {
            return Step::IGNORE;
        };
        match input {
            Input::Response(response) if response.status() < 200 => {
                *self = Self::Proceeding {
                    request: std::mem::take(request),
                    give_up_at: None,
                };
                Step::tell(Tell::Response, Wake::Never)
            }
            Input::Response(response) => {
                let request = std::mem::take(request);
                self.on_final(pace, &request, response)
            }
            Input::Timer if pace.now >= *give_up_at => Step::tell(Tell::Timeout, Wake::End),
            Input::Timer => {
                *interval *= 2;
                Step::transmit(request.clone(), pace.retransmit(*interval, *give_up_at))
            }
            Input::TransportError => Step::tell(Tell::TransportError, Wake::End),
        }
    }

    fn on_proceeding(&mut self, pace: &Pace, input: Input<'_>) -> Step {
        let Self::Proceeding {
            request,
            give_up_at,
        } = self
        else {
            return Step::IGNORE;
        };
        match input {
            Input::Response(response) if response.status() < 200 => {
                Step::tell(Tell::Response, Wake::Keep)
            }
            Input::Response(response) => {
                let request = std::mem::take(request);
                self.on_final(pace, &request, response)
            }
            Input::Timer => match give_up_at {
                Some(at) if pace.now >= *at => Step::tell(Tell::Timeout, Wake::End),
                Some(at) => Step::wake(Wake::In(at.since(pace.now))),
                None => Step::wake(Wake::Never),
            },
            // The request had arrived: only a CANCEL or nothing at all can have failed.
            Input::TransportError => Step::IGNORE,
        }
    }

    /// 2xx to Accepted; 300 to 699 are acknowledged and lead to Completed.
    fn on_final(&mut self, pace: &Pace, request: &Bytes, response: &Message) -> Step {
        if response.status() < 300 {
            *self = Self::Accepted;
            return Step::tell(Tell::Response, Wake::In(pace.timeout()));
        }
        let ack = build::ack(request, response);
        *self = Self::Completed { ack: ack.clone() };
        Step {
            transmit: ack,
            tell: Tell::Response,
            // Timer D: at least 32 s for unreliable transports.
            wake: pace.linger(pace.timeout()),
        }
    }

    fn on_completed(&mut self, input: Input<'_>) -> Step {
        let Self::Completed { ack } = self else {
            return Step::IGNORE;
        };
        match input {
            Input::Response(response) if response.status() >= 300 => Step {
                transmit: ack.clone(),
                ..Step::IGNORE
            },
            Input::Response(_) => Step::IGNORE,
            Input::Timer => Step::wake(Wake::End),
            // The response was passed on already; the peer will repeat it, or has gone.
            Input::TransportError => Step::wake(Wake::End),
        }
    }

    fn on_accepted(&mut self, input: Input<'_>) -> Step {
        match input {
            Input::Response(response) if (200..300).contains(&response.status()) => {
                Step::tell(Tell::Response, Wake::Keep)
            }
            Input::Response(_) | Input::TransportError => Step::IGNORE,
            Input::Timer => Step::wake(Wake::End),
        }
    }
}
