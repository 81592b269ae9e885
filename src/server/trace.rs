//! The last messages of a shard in two rings, so that a call can be looked at after the fact: one
//! for registrations and pings, which come by the thousand, and one for all else, which they would
//! push out within seconds. Messages are kept as they were; what a listing needs is read out only
//! when somebody asks.

use crate::base::{Anchor, Flow, Instant, Transmit, Transport};
use crate::control::{TraceDirection, TraceRow};
use crate::wire::sip::{HeaderName, Message, peek_call_id};
use bytes::Bytes;
use memchr::memmem;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Characters of one message that a listing shows.
const TEXT_MAX: usize = 8192;

/// Messages that one listing shows.
const ROWS_MAX: usize = 1000;

/// Bytes that the rings of one shard keep alive.
const BYTES_MAX: usize = 8 << 20;

/// The part of the messages and bytes that are routine. Small, since what these hold is memory that
/// the next message cannot have while it is still in the processor's cache: a tenth of the cost of
/// a REGISTER (tests/bench/run).
const ROUTINE_PART: usize = 32;

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

/// What a message is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A registration or a ping.
    Routine,
    /// A call, or anything else.
    Call,
}

impl Kind {
    /// Of a request; a response is of the kind that its request was.
    fn of(bytes: &[u8]) -> Option<Self> {
        let routine = [&b"REGISTER "[..], b"OPTIONS "];
        if bytes.starts_with(b"SIP/2.0 ") {
            return None;
        }
        match routine.iter().any(|method| bytes.starts_with(method)) {
            true => Some(Kind::Routine),
            false => Some(Kind::Call),
        }
    }

    /// Of a response that came: its CSeq names the method.
    fn of_response(bytes: &[u8]) -> Self {
        let routine = [&b" REGISTER\r\n"[..], b" OPTIONS\r\n"];
        match routine.iter().any(|end| memmem::find(bytes, end).is_some()) {
            true => Kind::Routine,
            false => Kind::Call,
        }
    }
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    held: usize,
}

impl Ring {
    fn push(&mut self, entry: Entry, limit: usize, bytes_max: usize) {
        if limit > 0 {
            self.held += entry.bytes.len();
            self.entries.push_back(entry);
        }
        self.trim(limit, bytes_max);
    }

    fn trim(&mut self, limit: usize, bytes_max: usize) {
        while self.entries.len() > limit || self.held > bytes_max {
            let Some(old) = self.entries.pop_front() else {
                return;
            };
            self.held -= old.bytes.len();
        }
    }
}

/// At most as many messages as the configuration says.
#[derive(Debug)]
pub(super) struct TraceRing {
    calls: Ring,
    routine: Ring,
    limit: usize,
    order: u64,
    /// Of the message that came last: what goes out in answer to it is of the same kind.
    last: Kind,
}

impl TraceRing {
    pub fn new(limit: usize) -> Self {
        Self {
            calls: Ring::default(),
            routine: Ring::default(),
            limit,
            order: 0,
            last: Kind::Call,
        }
    }

    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        let routine = self.routine_limit();
        self.calls.trim(limit - routine, BYTES_MAX);
        self.routine.trim(routine, BYTES_MAX / ROUTINE_PART);
    }

    /// At least one message of each kind, where any is wanted and there is room for two.
    fn routine_limit(&self) -> usize {
        (self.limit / ROUTINE_PART).max(usize::from(self.limit > 1))
    }

    pub fn incoming(&mut self, at: Instant, flow: &Flow, bytes: &Bytes) {
        if self.limit == 0 {
            return;
        }
        self.last = Kind::of(bytes).unwrap_or_else(|| Kind::of_response(bytes));
        let entry = Entry {
            at,
            order: 0,
            direction: TraceDirection::In,
            transport: flow.transport,
            local: Some(flow.local),
            remote: flow.remote,
            bytes: bytes.clone(),
        };
        self.push(self.last, entry);
    }

    pub fn outgoing(&mut self, at: Instant, transmit: &Transmit) {
        if self.limit == 0 {
            return;
        }
        let destination = &transmit.destination;
        let local = match destination {
            crate::base::Destination::Flow(flow) => Some(flow.local),
            crate::base::Destination::Address { .. } => None,
        };
        let entry = Entry {
            at,
            order: 0,
            direction: TraceDirection::Out,
            transport: destination.transport(),
            local,
            remote: destination.remote(),
            bytes: transmit.bytes.clone(),
        };
        let kind = Kind::of(&transmit.bytes).unwrap_or(self.last);
        self.push(kind, entry);
    }

    fn push(&mut self, kind: Kind, mut entry: Entry) {
        self.order += 1;
        entry.order = self.order;
        let routine = self.routine_limit();
        match kind {
            Kind::Routine => self.routine.push(entry, routine, BYTES_MAX / ROUTINE_PART),
            Kind::Call => self.calls.push(entry, self.limit - routine, BYTES_MAX),
        }
    }

    /// The messages of a call, or the last of all, oldest first.
    pub fn rows(&self, anchor: &Anchor, call_id: Option<&[u8]>) -> Vec<TraceRow> {
        let all = self.calls.entries.iter().chain(&self.routine.entries);
        let mut entries: Vec<&Entry> = all
            .filter(|e| call_id.is_none_or(|id| peek_call_id(&e.bytes) == Some(id)))
            .collect();
        entries.sort_by_key(|e| e.order);
        let first = entries.len().saturating_sub(ROWS_MAX);
        let last = entries.get(first..).unwrap_or_default();
        last.iter().map(|e| e.row(anchor)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Destination;

    fn flow() -> Flow {
        Flow {
            transport: Transport::Udp,
            local: "192.0.2.10:5060".parse().unwrap(),
            remote: "198.51.100.7:5060".parse().unwrap(),
            connection: None,
        }
    }

    fn message(first: &str, call_id: &str, method: &str) -> Bytes {
        Bytes::from(format!(
            "{first}\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    fn exchange(ring: &mut TraceRing, method: &str, call_id: &str) {
        let request = message(&format!("{method} sip:a@b SIP/2.0"), call_id, method);
        ring.incoming(Instant::ZERO, &flow(), &request);
        let transmit = Transmit {
            destination: Destination::Flow(flow()),
            bytes: message("SIP/2.0 200 OK", call_id, method),
            tag: crate::base::TransmitTag(0),
        };
        ring.outgoing(Instant::ZERO, &transmit);
    }

    fn count(ring: &TraceRing, call_id: &str) -> usize {
        let anchor = Anchor {
            instant: Instant::ZERO,
            unix_ms: 0,
        };
        ring.rows(&anchor, Some(call_id.as_bytes())).len()
    }

    #[test]
    fn registrations_push_no_call_out() {
        let mut ring = TraceRing::new(64);
        exchange(&mut ring, "INVITE", "call");
        for n in 0..1000 {
            exchange(&mut ring, "REGISTER", &format!("r{n}"));
            exchange(&mut ring, "OPTIONS", &format!("o{n}"));
            // A phone's answer to our ping.
            let answer = message("SIP/2.0 200 OK", &format!("p{n}"), "OPTIONS");
            ring.incoming(Instant::ZERO, &flow(), &answer);
        }
        assert_eq!(count(&ring, "call"), 2);
        assert_eq!(count(&ring, "p999"), 1);
        assert_eq!(count(&ring, "r1"), 0);
        assert_eq!(ring.calls.entries.len() + ring.routine.entries.len(), 4);
    }

    #[test]
    fn both_rings_keep_to_the_limit() {
        let mut ring = TraceRing::new(64);
        for n in 0..100 {
            exchange(&mut ring, "INVITE", &format!("c{n}"));
            exchange(&mut ring, "REGISTER", &format!("r{n}"));
        }
        assert_eq!(ring.calls.entries.len(), 62);
        assert_eq!(ring.routine.entries.len(), 2);
        ring.set_limit(1);
        assert_eq!(ring.calls.entries.len() + ring.routine.entries.len(), 1);
        ring.set_limit(0);
        exchange(&mut ring, "INVITE", "off");
        assert_eq!(count(&ring, "off"), 0);
        assert_eq!((ring.calls.held, ring.routine.held), (0, 0));
    }
}
