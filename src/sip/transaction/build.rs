//! The messages that the layer makes by itself: ACK for what is not a 2xx (RFC 3261 §17.1.1.3),
//! CANCEL (§9.1), 100 Trying (§8.2.6.1), 200 for a CANCEL (§9.2), 503 at the bound (§21.5.4).

use super::identity::Identity;
use crate::wire::sip::{HeaderName, Message, ResponseBuilder};
use bytes::Bytes;
use std::io::Write;

/// What a refused sender is told to wait.
const RETRY_AFTER_SECONDS: &str = "5";

/// The ACK of a final response above 299.
pub(super) fn ack(request: &Bytes, response: &Message) -> Option<Bytes> {
    let invite = Message::parse(request.clone()).ok()?;
    derived(&invite, b"ACK", response.header(HeaderName::To)?, None)
}

/// The CANCEL of a request, with a Reason (RFC 3326) if there is one.
pub(super) fn cancel(request: &Bytes, reason: Option<&[u8]>) -> Option<Bytes> {
    let invite = Message::parse(request.clone()).ok()?;
    derived(&invite, b"CANCEL", invite.header(HeaderName::To)?, reason)
}

/// A request of the same Request-URI, top Via, Route, From, Call-ID and CSeq number.
fn derived(invite: &Message, method: &[u8], to: &[u8], reason: Option<&[u8]>) -> Option<Bytes> {
    let number = invite.cseq().ok()?.number;
    let via = invite.top_via().ok()?;
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(invite.request_uri());
    out.extend_from_slice(b" SIP/2.0\r\n");
    put(&mut out, b"Via", via.as_bytes());
    for route in invite.lines(HeaderName::Route) {
        put(&mut out, b"Route", route);
    }
    put(&mut out, b"Max-Forwards", b"70");
    put(&mut out, b"From", invite.header(HeaderName::From)?);
    put(&mut out, b"To", to);
    put(&mut out, b"Call-ID", invite.call_id());
    // Writing to a Vec cannot fail.
    let _ = write!(out, "CSeq: {number} ");
    out.extend_from_slice(method);
    out.extend_from_slice(b"\r\n");
    if let Some(reason) = reason {
        put(&mut out, b"Reason", reason);
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    Some(Bytes::from(out.into_boxed_slice()))
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The 100 that an INVITE gets when nobody answered within 200 ms.
pub(super) fn trying(request: &Bytes) -> Option<Bytes> {
    let invite = Message::parse(request.clone()).ok()?;
    Some(ResponseBuilder::new(&invite, 100).render())
}

/// The 200 of a CANCEL.
pub(super) fn cancel_ok(cancel: &Message, identity: Identity) -> Bytes {
    ResponseBuilder::new(cancel, 200)
        .to_tag(identity.to_tag().as_bytes())
        .render()
}

/// The answer at the bound. Made without state: the same request gets the same To tag.
pub(super) fn overloaded(request: &Message, identity: Identity) -> Bytes {
    ResponseBuilder::new(request, 503)
        .to_tag(identity.to_tag().as_bytes())
        .raw_header("Retry-After", RETRY_AFTER_SECONDS)
        .render()
}
