//! The four verbs that a worker speaks with its core.

use crate::base::{Anchor, ConnectionId, Flow, Instant, Transmit, TransmitTag};
use crate::config::Config;
use crate::control::{Command, Reply};
use crate::sip::locate::{DnsAnswer, DnsQuestion};
use crate::store::Record;
use crate::wire::sip::FrameError;
use bytes::Bytes;
use std::sync::Arc;

/// What network, clock or operator brings.
#[derive(Debug)]
pub enum Input {
    /// One whole message.
    Message {
        /// How it came.
        flow: Flow,
        /// The message.
        bytes: Bytes,
    },
    /// A stream that cannot be cut into messages any more.
    Unframeable {
        /// How it came.
        flow: Flow,
        /// What is there of the message.
        head: Bytes,
        /// Why.
        error: FrameError,
    },
    /// A connection ended.
    ConnectionClosed {
        /// Which.
        connection: ConnectionId,
    },
    /// Bytes could not be sent.
    TransmitFailed {
        /// Of the transmit.
        tag: TransmitTag,
    },
    /// The resolver answers.
    Resolved {
        /// Of the question.
        query: u64,
        /// What it says.
        answer: DnsAnswer,
    },
    /// The operator wants something.
    Control {
        /// Comes back.
        id: u64,
        /// What.
        command: Command,
    },
    /// The configuration was read again.
    Configure(Arc<Config>),
    /// The calendar moved.
    Wall(Anchor),
}

/// What the core wants done.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Ask the resolver.
    Resolve {
        /// Comes back.
        query: u64,
        /// What to ask.
        question: DnsQuestion,
    },
    /// Write to the store.
    Persist(Record),
    /// Answer the operator.
    Reply {
        /// Of the command.
        id: u64,
        /// The answer.
        reply: Reply,
    },
    /// Close a connection once what was sent before is out.
    CloseConnection(ConnectionId),
}

/// A core that a worker can drive.
pub trait Core: 'static {
    /// Takes what happened.
    fn handle_input(&mut self, now: Instant, input: Input);
    /// What to do next, until `None`.
    fn poll_output(&mut self) -> Option<Output>;
    /// When `handle_timeout` has something to do.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);
}
