//! The four verbs that a worker speaks with its core.

use crate::base::Instant;
pub use crate::proxy::guard::flood::Arrival;
use crate::server::SignalCore;
pub use crate::server::{Input, Output};
use std::net::IpAddr;

/// A core that a worker can drive.
pub trait Core: 'static {
    /// Whether what came from `source` is looked at; asked before a datagram is copied or read.
    /// What that brings about comes out of `poll_output`.
    fn admits(&mut self, _now: Instant, _source: IpAddr, _what: Arrival) -> bool {
        true
    }
    /// Takes what happened.
    fn handle_input(&mut self, now: Instant, input: Input);
    /// What to do next, until `None`.
    fn poll_output(&mut self) -> Option<Output>;
    /// When `handle_timeout` has something to do.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);
    /// Whether nothing is lost if it ends now.
    fn is_at_rest(&self) -> bool {
        true
    }
}

impl Core for SignalCore {
    fn admits(&mut self, now: Instant, source: IpAddr, what: Arrival) -> bool {
        SignalCore::admits(self, now, source, what)
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        SignalCore::handle_input(self, now, input);
    }

    fn poll_output(&mut self) -> Option<Output> {
        SignalCore::poll_output(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        SignalCore::poll_timeout(self)
    }

    fn handle_timeout(&mut self, now: Instant) {
        SignalCore::handle_timeout(self, now);
    }

    fn is_at_rest(&self) -> bool {
        SignalCore::is_at_rest(self)
    }
}
