//! Record-Route (RFC 3261 §16.6 step 4, RFC 5658): one value where both sides are alike, two where
//! transport, address or flow differ, so that each side names only what it can reach. Each value
//! carries a [`Token`]. Route values of ours are recognised and taken off here too (§16.4).
//!
//! In a pair the upper value is for the callee's side, the lower for the caller's. A request in the
//! dialog bears both, the sender's own side on top; the last one taken off is that of the other
//! side, and its flow is the way there. So no flow needs to be compared.

use super::token::{Kind, Token, TokenMint};
use crate::base::{Flow, Transport};
use crate::sip::listeners::{AdvertisedHost, SentBy};
use crate::wire::sip::{NameAddr, Uri};
use smallvec::SmallVec;
use std::io::Write;
use std::net::IpAddr;

/// How many Route values of ours are taken off one request; more are the work of a joker.
const OWN_ROUTES_MAX: usize = 8;

/// One side of a dialog as Record-Route shows it.
#[derive(Debug)]
pub(super) struct Side<'a> {
    /// Transport, host and port that this side reaches us by.
    pub transport: Transport,
    /// As in Via.
    pub sent_by: &'a SentBy,
    /// The flow that reaches this side, if only a flow does.
    pub flow: Option<Flow>,
    /// The phone at its end, of [`super::indialog::phone_of`].
    pub phone: Option<u32>,
}

/// The values to put on top, in the order in which they are to be prepended.
pub(super) fn values(
    mint: &TokenMint,
    call_id: &[u8],
    secure: bool,
    caller: &Side<'_>,
    callee: &Side<'_>,
) -> SmallVec<[Vec<u8>; 2]> {
    let alike = caller.transport == callee.transport && caller.sent_by == callee.sent_by;
    let mut out = SmallVec::new();
    if alike && caller.flow.is_none() && callee.flow.is_none() {
        out.push(value(mint, call_id, secure, caller, Kind::Single));
    } else {
        out.push(value(mint, call_id, secure, caller, Kind::Double));
        out.push(value(mint, call_id, secure, callee, Kind::Double));
    }
    out
}

fn value(mint: &TokenMint, call_id: &[u8], secure: bool, side: &Side<'_>, kind: Kind) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    out.extend_from_slice(if secure { b"<sips:" } else { b"<sip:" });
    let token = Token {
        kind,
        flow: side.flow,
        phone: side.phone,
    };
    mint.write(&token, call_id, &mut out);
    out.push(b'@');
    write_sent_by(side.sent_by, &mut out);
    match side.transport {
        Transport::Udp => {}
        other => {
            out.extend_from_slice(b";transport=");
            out.extend_from_slice(other.uri_token().as_bytes());
        }
    }
    out.extend_from_slice(b";lr>");
    out
}

/// Appends host and port. By hand for IPv4: every forwarded request does this, and `Display` costs
/// ten times as much.
pub(super) fn write_sent_by(sent_by: &SentBy, out: &mut Vec<u8>) {
    match &sent_by.host {
        AdvertisedHost::Ip(IpAddr::V4(address)) => {
            for (n, octet) in address.octets().into_iter().enumerate() {
                if n > 0 {
                    out.push(b'.');
                }
                write_decimal(octet.into(), out);
            }
        }
        AdvertisedHost::Ip(IpAddr::V6(address)) => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "[{address}]");
        }
        AdvertisedHost::Name(name) => out.extend_from_slice(name.as_bytes()),
    }
    out.push(b':');
    write_decimal(sent_by.port, out);
}

/// Appends a number.
pub(super) fn write_decimal(number: u16, out: &mut Vec<u8>) {
    let mut divisor = 10_000;
    while divisor > 1 && number < divisor {
        divisor /= 10;
    }
    while divisor > 0 {
        out.push(b'0' + (number / divisor % 10) as u8);
        divisor /= 10;
    }
}

/// What §16.4 found at the top of the Route set.
#[derive(Debug, Default)]
pub(super) struct OwnRoutes {
    /// How many values are ours.
    pub count: usize,
    /// Whether one bears a token that we wrote for this Call-ID.
    pub signed: bool,
    /// The flow to the other side, as the last token says.
    pub flow: Option<Flow>,
    /// The phone that was at its end.
    pub phone: Option<u32>,
}

/// Looks at the top of a Route set. `pair_open` says that a strict router took off the first of a
/// pair already.
pub(super) fn own_routes<'a>(
    routes: impl Iterator<Item = &'a [u8]>,
    call_id: &[u8],
    mint: &TokenMint,
    is_ours: impl Fn(&Uri<'_>) -> bool,
    mut pair_open: bool,
) -> OwnRoutes {
    let mut found = OwnRoutes::default();
    for route in routes.take(OWN_ROUTES_MAX) {
        let Ok(address) = NameAddr::parse(route) else {
            break;
        };
        let Ok(uri) = address.uri() else { break };
        if !is_ours(&uri) {
            break;
        }
        found.count += 1;
        let Some(token) = token_of(&uri, call_id, mint) else {
            continue;
        };
        found.signed = true;
        if token.kind == Kind::Single || pair_open {
            (found.flow, found.phone) = (token.flow, token.phone);
            break;
        }
        // The sender's own side: where its neighbour is missing, no flow is known.
        pair_open = true;
    }
    found
}

/// The token in a URI of ours.
pub(super) fn token_of(uri: &Uri<'_>, call_id: &[u8], mint: &TokenMint) -> Option<Token> {
    mint.read(uri.user()?, call_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_display_writes_them() {
        for (host, port) in [
            ("192.0.2.10", 5060),
            ("10.0.0.255", 65_535),
            ("2001:db8::1", 1),
            ("100.20.3.0", 10_000),
        ] {
            let sent_by = SentBy {
                host: AdvertisedHost::Ip(host.parse().unwrap()),
                port,
            };
            let mut out = Vec::new();
            write_sent_by(&sent_by, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), sent_by.to_string());
        }
    }
}
