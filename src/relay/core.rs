//! The machine itself.

use super::command::{MediaCommand, MediaEvent, SocketAction};
use super::stats::DropReason;
use crate::base::Instant;
use std::net::SocketAddr;
use std::time::Duration;

/// The limits and times of a [`Relay`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelaySettings {
    /// The most sessions at a time.
    pub sessions_max: usize,
    /// For how long after opening or updating a port learns its peer's source.
    pub latch_window: Duration,
    /// Both sides silent for so long: `Timeout`.
    pub silence: Duration,
    /// One side silent for so long, though it should send: `Timeout`.
    pub silence_one_side: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            sessions_max: 20_000,
            latch_window: Duration::from_secs(3),
            silence: Duration::from_secs(60),
            silence_one_side: Duration::from_secs(300),
        }
    }
}

/// What shall happen to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send it from our port `from_port` to `to`.
    Forward {
        /// Our port toward the other side.
        from_port: u16,
        /// The other side.
        to: SocketAddr,
    },
    /// It goes nowhere; already counted.
    Drop(DropReason),
}

/// The relay of one media worker.
#[derive(Debug)]
pub struct Relay {
    settings: RelaySettings,
}

impl Relay {
    /// Without sessions.
    pub fn new(settings: RelaySettings) -> Self {
        Self { settings }
    }

    /// Carries out a command; events and socket actions follow.
    pub fn handle_command(&mut self, _now: Instant, _command: MediaCommand) {}

    /// A packet that came to our port `port`. Allocates nothing.
    pub fn process(
        &mut self,
        _now: Instant,
        _port: u16,
        _source: SocketAddr,
        _packet: &mut [u8],
    ) -> Verdict {
        Verdict::Drop(DropReason::NoSession)
    }

    /// A port could not be bound.
    pub fn bind_failed(&mut self, _now: Instant, _port: u16) {}

    /// A packet that `process` forwarded could not be sent.
    pub fn send_failed(&mut self, _from_port: u16) {}

    /// What signalling must hear.
    pub fn poll_event(&mut self) -> Option<MediaEvent> {
        None
    }

    /// What the driver must do with sockets, before it asks for events.
    pub fn poll_socket(&mut self) -> Option<SocketAction> {
        None
    }

    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, _now: Instant) {}
}
