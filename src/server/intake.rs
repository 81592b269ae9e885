//! From bytes to the transaction layer: the ban list, the parser, and the refusals that the parser
//! asks for (RFC 3261 §8.2, §16.3, §18.3), given without a transaction.

use super::counters::Drop;
use super::signal::{Output, SignalCore};
use crate::base::{Flow, Instant};
use crate::proxy::guard::flood::{Arrival, Passage};
use crate::proxy::guard::{Knock, Verdict, weight_of};
use crate::wire::sip::{FrameError, HeaderName, Message, Method, Refusal, ResponseBuilder};
use bytes::Bytes;
use std::net::IpAddr;

impl SignalCore {
    /// Whether what came from `source` should be looked at: to be asked by whoever receives
    /// datagrams, of the shard that is at hand, before it copies, reads or hands over anything.
    /// What comes over streams is asked for in [`SignalCore::handle_input`]. Drain
    /// [`SignalCore::poll_output`] after a refusal.
    pub fn admits(&mut self, now: Instant, source: IpAddr, what: Arrival) -> bool {
        match self.guard.passage(source, what, now, self.anchor) {
            Passage::Pass => return true,
            Passage::Drop => {}
            Passage::Ban(record) => self.outputs.push_back(Output::Persist(record)),
        }
        if what == Arrival::Message {
            self.counters.dropped(Drop::Flood);
        }
        false
    }

    /// One whole message from the network.
    pub(super) fn on_message(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        let stream = flow.transport.is_reliable();
        if stream && !self.admits(now, flow.remote.ip(), Arrival::Message) {
            return;
        }
        self.counters.messages_in += 1;
        let trusted = self.config.sip.trusts(flow.remote.ip());
        let guarded = !trusted && self.guard.verdict(flow.remote.ip(), now) == Verdict::Drop;
        if guarded && !self.keeps_a_call(&bytes) {
            self.counters.dropped(Drop::Guarded);
            return;
        }
        self.trace.incoming(now, &flow, &bytes);
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(source = %flow.remote, %error, "dropped");
                self.counters.dropped(Drop::NotSip);
                return;
            }
        };
        if message.is_request() {
            self.counters.request(message.method());
        }
        match message.validate() {
            Ok(()) => {
                if trusted || self.welcomes(now, &flow, &message) {
                    self.on_valid(now, flow, message);
                }
            }
            Err(Refusal::Drop { reason }) => {
                tracing::debug!(source = %flow.remote, reason, "dropped");
                self.counters.dropped(Drop::Invalid);
            }
            Err(Refusal::Answer { status, reason }) => {
                tracing::debug!(source = %flow.remote, status, reason, "refused");
                let knock = Knock::Plain;
                let record = match message.method() {
                    Method::Ack | Method::Bye | Method::Cancel => None,
                    _ if trusted || flow.remote.ip() == flow.local.ip() => None,
                    _ => self
                        .guard
                        .knocked(flow.remote.ip(), knock, now, self.anchor),
                };
                self.outputs.extend(record.map(Output::Persist));
                self.refuse(&flow, &message, status, reason);
            }
        }
    }

    fn on_valid(&mut self, now: Instant, flow: Flow, message: Message) {
        let answered = message.is_request()
            && matches!(message.method(), Method::Register | Method::Options)
            && self.with_proxy(now, |proxy, cx| proxy.on_stateless(cx, &flow, &message));
        if !answered {
            self.layer.receive(now, flow, message);
        }
    }

    /// Whether a request gets an answer, as far as its sender's standing goes. Strangers get none
    /// that only tells them that somebody is here: to a declared scanner nothing, and to nobody's
    /// OPTIONS anything unless guests are let in. Whoever asks on and on without a proof is shut
    /// out, so that names cannot be tried.
    fn welcomes(&mut self, now: Instant, flow: &Flow, message: &Message) -> bool {
        let source = flow.remote.ip();
        let begins = message.is_request()
            && !matches!(message.method(), Method::Ack | Method::Bye | Method::Cancel)
            && message.to().is_ok_and(|to| to.tag().is_none());
        if !begins || source == flow.local.ip() || !self.guard.is_stranger(source, now) {
            return true;
        }
        if self.peers.of_source(flow, message).is_some() {
            // A trunk by its certificate, or by the Contact that was registered, whatever its
            // address: it may ask on and on.
            self.guard.vouch(source, now);
            return true;
        }
        let proof =
            message.has(HeaderName::Authorization) || message.has(HeaderName::ProxyAuthorization);
        let agent = message.header(HeaderName::UserAgent).unwrap_or_default();
        let probe = message.method() == Method::Options && !self.config.sip.guests;
        let (knock, drop) = match (weight_of(agent), proof) {
            (2.., _) => (Knock::Scanner, Some(Drop::Scanner)),
            (_, true) => return true,
            (_, false) => (Knock::Plain, probe.then_some(Drop::Probe)),
        };
        let record = self.guard.knocked(source, knock, now, self.anchor);
        let drop = drop.or(record.is_some().then_some(Drop::Guarded));
        self.outputs.extend(record.map(Output::Persist));
        if let Some(drop) = drop {
            tracing::debug!(source = %flow.remote, ?drop, "dropped");
            self.counters.dropped(drop);
        }
        drop.is_none()
    }

    /// What a source that is shut out may still say, since it guesses nothing by it: answers, ACKs,
    /// and the end of a call that is up. An office that one wrong password shuts out keeps its
    /// calls.
    fn keeps_a_call(&self, bytes: &Bytes) -> bool {
        if bytes.starts_with(b"SIP/2.0 ") || bytes.starts_with(b"ACK ") {
            return true;
        }
        bytes.starts_with(b"BYE ")
            && Message::parse(bytes.clone()).is_ok_and(|m| self.calls.find(&m).is_some())
    }

    /// A stream that cannot be cut into messages: one answer if a request can be made out, then
    /// the connection is closed (RFC 3261 §18.3).
    pub(super) fn on_unframeable(&mut self, flow: Flow, head: Bytes, error: FrameError) {
        self.counters.messages_in += 1;
        if let Ok(message) = Message::parse(head)
            && message.is_request()
            && message.has(HeaderName::Via)
        {
            let (status, reason) = error.answer();
            self.refuse(&flow, &message, status, reason);
        } else {
            self.counters.dropped(Drop::NotSip);
        }
        // The answer leaves before the connection is closed.
        while let Some(transmit) = self.layer.poll_transmit() {
            self.transmit(transmit);
        }
        if let Some(connection) = flow.connection {
            self.outputs.push_back(Output::CloseConnection(connection));
        }
    }

    fn refuse(&mut self, flow: &Flow, message: &Message, status: u16, reason: &'static str) {
        self.counters.refused += 1;
        let tag = self.rng.token::<10>();
        let mut builder = ResponseBuilder::new(message, status).reason(reason);
        if message.to().is_ok_and(|to| to.tag().is_none()) {
            builder = builder.to_tag(tag.to_vec());
        }
        let response = builder.render();
        self.layer.respond_stateless(flow, message, response);
    }
}
