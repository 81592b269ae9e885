//! What the layer tells its user, and the names that both use.

use crate::base::{Flow, Key};
use crate::wire::sip::Message;
use std::time::Duration;

/// Names a server transaction: a request that came in and must be answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerKey(pub(super) Key);

/// Names a client transaction: a request that went out and waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientKey(pub(super) Key);

impl ServerKey {
    /// The key as one number.
    pub const fn to_u64(self) -> u64 {
        self.0.to_u64()
    }
}

impl ClientKey {
    /// The key as one number.
    pub const fn to_u64(self) -> u64 {
        self.0.to_u64()
    }
}

/// The timers' base values (RFC 3261 §17.1.1.1) and the bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Round trip estimate.
    pub t1: Duration,
    /// Longest retransmission interval of non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// Longest time that a message stays in the network.
    pub t4: Duration,
    /// Most server transactions at a time. The last sixteenth is kept for BYE, CANCEL, PRACK and
    /// UPDATE, so that calls can end while new ones are refused.
    pub server_max: usize,
    /// Most client transactions at a time.
    pub client_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            server_max: 400_000,
            client_max: 400_000,
        }
    }
}

impl Settings {
    /// 64 * T1: timers B, F, H, J, L, M, and D.
    pub fn transaction_timeout(&self) -> Duration {
        self.t1 * 64
    }
}

/// What happened. Every event is for the user of the layer (the proxy).
#[derive(Clone, Debug)]
pub enum Event {
    /// A new request. The user must answer it with [`super::TransactionLayer::respond`].
    Request {
        /// Where to answer.
        server: ServerKey,
        /// By which path it came.
        flow: Flow,
        /// The request.
        message: Message,
    },
    /// The INVITE of `server`, still without a final response, was cancelled by its sender; the
    /// CANCEL itself is answered already. The user cancels its branches and answers 487.
    Cancelled {
        /// The INVITE's transaction.
        server: ServerKey,
        /// The CANCEL: its Reason header (RFC 3326) goes along.
        message: Message,
    },
    /// A CANCEL that matches no INVITE: the user answers 481.
    StrayCancel {
        /// The CANCEL's own transaction.
        server: ServerKey,
        /// By which path it came.
        flow: Flow,
        /// The CANCEL.
        message: Message,
    },
    /// An ACK for a 2xx: forwarded without a transaction.
    Ack {
        /// By which path it came.
        flow: Flow,
        /// The ACK.
        message: Message,
    },
    /// A response to a request that went out: each provisional one (100 too), each 2xx of an
    /// INVITE also when repeated (RFC 6026 §7.2), and one final one otherwise.
    Response {
        /// The transaction.
        client: ClientKey,
        /// As given to `send_request`.
        context: u64,
        /// The response, our Via still on top.
        message: Message,
    },
    /// A response that matches nothing. RFC 6026 §7.3 forbids to forward it.
    StrayResponse {
        /// By which path it came.
        flow: Flow,
        /// The response.
        message: Message,
    },
    /// A request got no answer.
    Failed {
        /// The transaction; gone already.
        client: ClientKey,
        /// As given to `send_request`.
        context: u64,
        /// Why.
        why: Failure,
    },
    /// A final response above 299 to an INVITE was never acknowledged (Timer H). The transaction
    /// is gone. A missing ACK for a 2xx is not seen here: it belongs to the dialog.
    AckMissing {
        /// The INVITE's transaction; gone already.
        server: ServerKey,
    },
}

/// Why a client transaction failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Timer B or F: nobody answered (to be treated as 408, RFC 3261 §8.1.3.1).
    Timeout,
    /// The request could not be sent (to be treated as 503).
    Transport,
}

/// No room for another client transaction, or the request cannot be sent as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// `client_max` is reached.
    Overload,
    /// The request has no method, or no branch in its top Via: the caller's mistake.
    Malformed,
}

/// Counters since the start, and what is there now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Server transactions now.
    pub servers: usize,
    /// Client transactions now.
    pub clients: usize,
    /// Requests that made a server transaction.
    pub requests_received: u64,
    /// Requests that were repetitions.
    pub request_retransmissions_received: u64,
    /// Requests that made a client transaction.
    pub requests_sent: u64,
    /// Requests sent again by timers A and E.
    pub request_retransmissions_sent: u64,
    /// Responses sent again by Timer G or because the request was repeated.
    pub response_retransmissions_sent: u64,
    /// Responses that matched no client transaction.
    pub stray_responses: u64,
    /// Client transactions that timed out.
    pub timeouts: u64,
    /// Client transactions whose request could not be sent.
    pub transport_failures: u64,
    /// Requests answered 503 because the table was full.
    pub refused_overload: u64,
    /// Messages without what is needed to match them.
    pub dropped_malformed: u64,
}
