//! Record-Route (RFC 3261 §16.6 step 4, RFC 5658): one value where both sides are alike, two where
//! transport, address or flow differ, so that each side names only what it can reach. Each value
//! carries a [`Token`]. Route values of ours are recognised and taken off here too (§16.4).
//!
//! In a pair the upper value is for the callee's side, the lower for the caller's. A request in the
//! dialog bears both, the sender's own side on top; the last one taken off is that of the other
//! side, and its flow is the way there. So no flow needs to be compared.

use super::token::{Kind, Token, TokenMint};
use crate::base::{Flow, Transport};
use crate::sip::listeners::SentBy;
use crate::wire::sip::{NameAddr, Uri};
use smallvec::SmallVec;
use std::io::Write;

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
    };
    mint.write(&token, call_id, &mut out);
    // Writing to a Vec cannot fail.
    let _ = write!(out, "@{}", side.sent_by);
    match side.transport {
        Transport::Udp => {}
        other => {
            let _ = write!(out, ";transport={}", other.uri_token());
        }
    }
    out.extend_from_slice(b";lr>");
    out
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
            found.flow = token.flow;
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
