//! The top Via and the way back: RFC 3261 §18.2.1 and §18.2.2, RFC 3581.
//!
//! A request's top Via should say where the request really came from. Nothing is rendered for that
//! on arrival: whoever forwards a request puts [`stamp_top_via`]'s value into the edit that it
//! makes anyway, and the layer stamps responses that lack it as they leave.
//!
//! `maddr` is not honoured: it would let a stranger aim responses at third parties.

use crate::base::{Destination, Flow, Transport};
use crate::wire::sip::{Host, Message, Via};
use bytes::Bytes;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// The request's top Via with `received` and `rport` filled in, if it needs them: the sent-by is a
/// name or another address than the source (§18.2.1), or `rport` was asked for (RFC 3581 §4).
pub fn stamp_top_via(message: &Message, flow: &Flow) -> Option<Vec<u8>> {
    let via = message.top_via().ok()?;
    needs_stamp(&via, flow).then(|| stamp(via.as_bytes(), via.rport().is_some(), flow))
}

pub(super) fn needs_stamp(via: &Via<'_>, flow: &Flow) -> bool {
    via.rport().is_some() || !is_source(&via.host(), flow)
}

fn is_source(host: &Host<'_>, flow: &Flow) -> bool {
    let source = flow.remote.ip().to_canonical();
    match host {
        Host::V4(address) => IpAddr::V4(*address) == source,
        Host::V6(address) => IpAddr::V6(*address).to_canonical() == source,
        Host::Name(_) => false,
    }
}

fn stamp(via: &[u8], rport: bool, flow: &Flow) -> Vec<u8> {
    let mut out = Vec::with_capacity(via.len() + 48);
    for (n, part) in split_parameters(via).enumerate() {
        if n > 0 {
            if is_named(part, b"received") || is_named(part, b"rport") {
                continue;
            }
            out.push(b';');
        }
        out.extend_from_slice(part);
    }
    while out.last().is_some_and(u8::is_ascii_whitespace) {
        out.pop();
    }
    let source = flow.remote.ip().to_canonical();
    // Writing to a Vec cannot fail.
    let _ = write!(out, ";received={source}");
    if rport {
        let _ = write!(out, ";rport={}", flow.remote.port());
    }
    out
}

fn is_named(parameter: &[u8], name: &[u8]) -> bool {
    let end = parameter
        .iter()
        .position(|&b| b == b'=')
        .unwrap_or(parameter.len());
    parameter
        .get(..end)
        .is_some_and(|found| found.trim_ascii().eq_ignore_ascii_case(name))
}

/// Cuts at semicolons outside quoted strings.
fn split_parameters(via: &[u8]) -> impl Iterator<Item = &[u8]> {
    let has_quotes = memchr::memchr(b'"', via).is_some();
    let mut rest = Some(via);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = if has_quotes {
            semicolon_outside_quotes(text)
        } else {
            memchr::memchr(b';', text)
        };
        let end = end.unwrap_or(text.len());
        rest = text.get(end + 1..);
        text.get(..end)
    })
}

fn semicolon_outside_quotes(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    text.iter().position(|&b| {
        let cut = b == b';' && !quoted;
        if b == b'"' && !escaped {
            quoted = !quoted;
        }
        escaped = b == b'\\' && quoted && !escaped;
        cut
    })
}

/// Fills in the top Via of a response that leaves for `flow`, if whoever built it copied the
/// request's Via as it came.
pub(super) fn stamp_response(response: Bytes, flow: &Flow) -> Bytes {
    let Some((start, end)) = top_via_value(&response) else {
        return response;
    };
    let value = response.get(start..end).unwrap_or_default();
    if memchr::memmem::find(value, b"received=").is_some() {
        return response;
    }
    let rport = split_parameters(value)
        .skip(1)
        .any(|part| is_named(part, b"rport"));
    let stamped = stamp(value, rport, flow);
    let mut out = Vec::with_capacity(response.len() + stamped.len() - value.len());
    out.extend_from_slice(response.get(..start).unwrap_or_default());
    out.extend_from_slice(&stamped);
    out.extend_from_slice(response.get(end..).unwrap_or_default());
    Bytes::from(out)
}

/// Where the first Via value of a rendered message lies.
pub(super) fn top_via_value(message: &[u8]) -> Option<(usize, usize)> {
    let mut line = memchr::memchr(b'\n', message)? + 1;
    loop {
        let rest = message.get(line..)?;
        let length = memchr::memchr(b'\n', rest)?;
        let text = rest.get(..length)?;
        if text.trim_ascii().is_empty() {
            return None;
        }
        if let Some(colon) = memchr::memchr(b':', text) {
            let name = text.get(..colon)?.trim_ascii();
            if name.eq_ignore_ascii_case(b"via") || name.eq_ignore_ascii_case(b"v") {
                return first_value(message, line + colon + 1);
            }
        }
        line += length + 1;
    }
}

/// The first comma-separated value from `start` on, folded lines included, trimmed.
fn first_value(message: &[u8], start: usize) -> Option<(usize, usize)> {
    let rest = message.get(start..)?;
    let line = rest.get(..memchr::memchr(b'\n', rest)?)?;
    let folded = matches!(rest.get(line.len() + 1), Some(b' ' | b'\t'));
    let raw = if folded || memchr::memchr2(b',', b'"', line).is_some() {
        rest.get(..end_of_value(rest))?
    } else {
        line
    };
    let begin = start + (raw.len() - raw.trim_ascii_start().len());
    Some((begin, begin + raw.trim_ascii().len()))
}

/// Where a value ends that may be quoted, folded, or followed by another.
fn end_of_value(rest: &[u8]) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    let mut at = 0;
    while let Some(&b) = rest.get(at) {
        match b {
            b',' if !quoted => break,
            b'\n' if !matches!(rest.get(at + 1), Some(b' ' | b'\t')) => break,
            b'"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = b == b'\\' && quoted && !escaped;
        at += 1;
    }
    at
}

/// The UDP port that responses go to: the source's with `rport`, else sent-by's (§18.2.2).
pub(super) fn reply_port(via: &Via<'_>, flow: &Flow) -> u16 {
    if flow.transport == Transport::Udp && via.rport().is_none() {
        via.port().unwrap_or(flow.transport.default_port())
    } else {
        flow.remote.port()
    }
}

/// Where a response goes when the connection that brought the request is gone (§18.2.2): to the
/// source's address at the port of sent-by, over a new connection. A name in sent-by is only used
/// to check the peer's certificate. Not for WebSocket, where a client accepts no connections.
pub(super) fn fallback(response: &Bytes, flow: &Flow) -> Option<Destination> {
    match flow.transport {
        Transport::Tcp | Transport::Tls => {}
        Transport::Udp | Transport::Ws | Transport::Wss => return None,
    }
    let message = Message::parse(response.clone()).ok()?;
    let via = message.top_via().ok()?;
    let port = via.port().unwrap_or(flow.transport.default_port());
    let tls_name = match via.host() {
        Host::Name(name) if flow.transport.is_secure() => {
            Some(std::str::from_utf8(name).ok()?.into())
        }
        Host::Name(_) | Host::V4(_) | Host::V6(_) => None,
    };
    Some(Destination::Address {
        transport: flow.transport,
        remote: SocketAddr::new(flow.remote.ip(), port),
        tls_name,
    })
}
