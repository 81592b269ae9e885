//! From bytes to the transaction layer: the ban list, the parser, and the refusals that the parser
//! asks for (RFC 3261 §8.2, §16.3, §18.3), given without a transaction.

use super::counters::Drop;
use super::signal::{Output, SignalCore};
use crate::base::{Flow, Instant};
use crate::proxy::guard::Verdict;
use crate::wire::sip::{FrameError, HeaderName, Message, Method, Refusal, ResponseBuilder};
use bytes::Bytes;

impl SignalCore {
    /// One whole message from the network.
    pub(super) fn on_message(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
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
                let answered = message.method() == Method::Register
                    && message.is_request()
                    && self.with_proxy(now, |proxy, cx| proxy.on_stateless(cx, &flow, &message));
                if !answered {
                    self.layer.receive(now, flow, message);
                }
            }
            Err(Refusal::Drop { reason }) => {
                tracing::debug!(source = %flow.remote, reason, "dropped");
                self.counters.dropped(Drop::Invalid);
            }
            Err(Refusal::Answer { status, reason }) => {
                tracing::debug!(source = %flow.remote, status, reason, "refused");
                self.refuse(&flow, &message, status, reason);
            }
        }
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
