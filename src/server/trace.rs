//! The last messages of a shard in a ring, so that a call can be looked at after the fact. Messages
//! are kept as they were; what a listing needs is read out only when somebody asks.

use crate::base::{Anchor, Flow, Instant, Transmit, Transport};
use crate::control::{TraceDirection, TraceRow};
use crate::wire::sip::{HeaderName, Message, peek_call_id};
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Characters of one message that a listing shows.
const TEXT_MAX: usize = 8192;

/// Messages that one listing shows.
const ROWS_MAX: usize = 1000;

/// Bytes that the ring of one shard keeps alive.
const BYTES_MAX: usize = 8 << 20;

#[derive(Debug)]
struct Entry {
    at: Instant,
    order: u64,
    direction: TraceDirection,
    transport: Transport,
    local: Option<SocketAddr>,
    remote: SocketAddr,
    bytes: Bytes,
}

/// At most as many messages as the configuration says.
#[derive(Debug)]
pub(super) struct TraceRing {
    entries: VecDeque<Entry>,
    limit: usize,
    held: usize,
    order: u64,
}

impl TraceRing {
    pub fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            limit,
            held: 0,
            order: 0,
        }
    }

    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.trim();
    }

    pub fn incoming(&mut self, at: Instant, flow: &Flow, bytes: &Bytes) {
        self.push(
            at,
            TraceDirection::In,
            flow.transport,
            Some(flow.local),
            flow.remote,
            bytes,
        );
    }

    pub fn outgoing(&mut self, at: Instant, transmit: &Transmit) {
        let destination = &transmit.destination;
        let local = match destination {
            crate::base::Destination::Flow(flow) => Some(flow.local),
            crate::base::Destination::Address { .. } => None,
        };
        let transport = destination.transport();
        let remote = destination.remote();
        self.push(
            at,
            TraceDirection::Out,
            transport,
            local,
            remote,
            &transmit.bytes,
        );
    }

    fn push(
        &mut self,
        at: Instant,
        direction: TraceDirection,
        transport: Transport,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        bytes: &Bytes,
    ) {
        if self.limit == 0 {
            return;
        }
        self.order += 1;
        self.held += bytes.len();
        let (order, bytes) = (self.order, bytes.clone());
        self.entries.push_back(Entry {
            at,
            order,
            direction,
            transport,
            local,
            remote,
            bytes,
        });
        self.trim();
    }

    fn trim(&mut self) {
        while self.entries.len() > self.limit || self.held > BYTES_MAX {
            let Some(old) = self.entries.pop_front() else {
                return;
            };
            self.held -= old.bytes.len();
        }
    }

    /// The messages of a call, or the last of all, oldest first.
    pub fn rows(&self, anchor: &Anchor, call_id: Option<&[u8]>) -> Vec<TraceRow> {
        let mut rows: Vec<TraceRow> = self
            .entries
            .iter()
            .rev()
            .filter(|e| call_id.is_none_or(|id| peek_call_id(&e.bytes) == Some(id)))
            .take(ROWS_MAX)
            .map(|e| e.row(anchor))
            .collect();
        rows.reverse();
        rows
    }
}

impl Entry {
    fn row(&self, anchor: &Anchor) -> TraceRow {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let first_line = self
            .bytes
            .split(|&b| b == b'\r' || b == b'\n')
            .next()
            .unwrap_or_default();
        let cseq = Message::parse(self.bytes.clone())
            .ok()
            .and_then(|m| m.header(HeaderName::CSeq).map(text))
            .unwrap_or_default();
        TraceRow {
            at_ms: anchor.unix_ms(self.at),
            order: self.order,
            direction: self.direction,
            transport: self.transport.uri_token().into(),
            local: self.local.map(|l| l.to_string()).unwrap_or_default(),
            remote: self.remote.to_string(),
            call_id: peek_call_id(&self.bytes).map(text).unwrap_or_default(),
            cseq,
            first_line: text(first_line),
            text: without_credentials(&self.bytes),
        }
    }
}

/// The message as text, with the values of Authorization and Proxy-Authorization left out.
fn without_credentials(bytes: &[u8]) -> String {
    let mut out = String::new();
    for line in String::from_utf8_lossy(bytes).split_inclusive('\n') {
        let name = line.split(':').next().unwrap_or_default().trim();
        let secret = ["Authorization", "Proxy-Authorization"]
            .iter()
            .any(|s| name.eq_ignore_ascii_case(s));
        if out.len() + line.len() > TEXT_MAX {
            break;
        }
        match secret {
            true => out.extend([name, ": (left out)\r\n"]),
            false => out.push_str(line),
        }
    }
    out
}
