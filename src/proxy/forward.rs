//! The forwarded copy of a request (RFC 3261 §16.6 steps 1 to 8): one edit list, rendered once.
//! Nothing is changed that §16.6 does not name, but for identities and a relayed body.

use super::border::{Border, NamedDialogs};
use super::context::Inbound;
use super::dial::Marks;
use super::egress::Out;
use super::privacy::{self, Author, Reader};
use super::record_route::{write_decimal, write_sent_by};
use crate::base::{Destination, Transport};
use crate::sip::listeners::SentBy;
use crate::sip::transaction::stamp_top_via;
use crate::wire::sip::{Edit, HeaderName, Message, NameAddr};
use bytes::Bytes;
use std::borrow::Cow;

/// What one branch adds to what all share.
#[derive(Debug)]
pub(super) struct Copy<'a> {
    /// Where it goes.
    pub destination: &'a Destination,
    /// What our Via says.
    pub sent_by: &'a SentBy,
    /// With the loop part.
    pub branch: &'a [u8],
    /// The new Request-URI, if it changes.
    pub uri: Option<&'a [u8]>,
    /// Path values to push as Route (RFC 3327 §5.3).
    pub path: &'a [&'a str],
    /// Our share of the breadth (RFC 5393 §5.3.3).
    pub breadth: u16,
    /// Record-Route values, each to be put on top of those before.
    pub record_routes: &'a [Vec<u8>],
    /// Who speaks.
    pub author: Author<'a>,
    /// Who will read.
    pub reader: Reader,
    /// Whether the credentials were for us (RFC 3261 §22.3).
    pub consume_credentials: bool,
    /// The body that replaces the caller's.
    pub body: Option<Bytes>,
    /// The way out of a route.
    pub out: Option<&'a Out>,
    /// Who forwarded it.
    pub marks: Option<&'a Marks>,
}

/// The border that a copy crosses.
#[derive(Debug)]
pub(super) struct Veil<'a> {
    /// What changes.
    pub border: &'a mut Border,
    /// Of [`super::border::Borders::named_dialogs`].
    pub named: NamedDialogs,
    /// For a proof.
    pub cnonce: [u8; 16],
}

/// The topmost Route value that is not ours.
pub(super) fn next_route<'a>(message: &'a Message, inbound: &'a Inbound) -> Option<&'a [u8]> {
    match &inbound.routes {
        Some(routes) => routes.first().map(|r| &**r),
        None => message.values(HeaderName::Route).nth(inbound.pops),
    }
}

/// The URI of a Route value, and whether it is a loose router's.
pub(super) fn route_uri(value: &[u8]) -> Option<(&[u8], bool)> {
    let address = NameAddr::parse(value).ok()?;
    let uri = address.uri().ok()?;
    Some((address.uri_bytes(), uri.param("lr").is_some()))
}

/// Renders the copy.
pub(super) fn render(
    message: &Message,
    inbound: &Inbound,
    copy: &Copy<'_>,
    veil: Option<Veil<'_>>,
) -> Bytes {
    let via = via_value(copy);
    let stamped = stamp_top_via(message, &inbound.flow);
    let (mut max_forwards, mut breadth) = (Vec::with_capacity(5), Vec::with_capacity(5));
    write_decimal(inbound.max_forwards.into(), &mut max_forwards);
    write_decimal(copy.breadth, &mut breadth);
    let (routes, uri) = route_plan(message, inbound, copy);
    let mut edit = Edit::new(message);
    edit.remove(HeaderName::XVoipAccount);
    if let Some(stamped) = &stamped {
        edit.replace_first_value(HeaderName::Via, stamped);
    }
    edit.prepend(HeaderName::Via, &via);
    match &routes {
        Routes::Keep => {}
        Routes::Pop => {
            for _ in 0..inbound.pops {
                edit.remove_first_value(HeaderName::Route);
            }
        }
        Routes::Replace(values) => {
            edit.remove(HeaderName::Route);
            for value in values.iter().rev() {
                edit.prepend(HeaderName::Route, &**value);
            }
        }
    }
    if let Some(uri) = uri {
        edit.set_request_uri(uri);
    }
    for value in copy.record_routes {
        edit.prepend(HeaderName::RecordRoute, value);
    }
    edit.set(HeaderName::MaxForwards, &max_forwards);
    edit.set(HeaderName::MaxBreadth, &breadth);
    if copy.consume_credentials {
        edit.remove(HeaderName::ProxyAuthorization);
    }
    privacy::edit(&mut edit, message, copy.author, copy.reader);
    if let Some(marks) = copy.marks {
        edit.remove(HeaderName::Diversion);
        edit.remove(HeaderName::HistoryInfo);
        for value in &marks.diversions {
            edit.append(HeaderName::Diversion, value);
        }
        for value in &marks.history {
            edit.append(HeaderName::HistoryInfo, value);
        }
        if let Some(whom) = &marks.picked_up {
            answer_at_once(&mut edit, whom);
        }
    }
    if let Some(out) = copy.out {
        edit_headers(&mut edit, out);
    }
    if let Some(veil) = veil {
        let uri = uri.unwrap_or_else(|| message.request_uri());
        draw(&mut edit, message, &via, uri, veil);
    }
    if let Some(body) = &copy.body {
        edit.set_body(None, body.clone());
    }
    edit.render()
}

/// Lets a phone answer by itself. No RFC says how, so the two ways that nearly all phones know go
/// together: `answer-after` in Call-Info (snom, Grandstream, Cisco SPA, Gigaset), and
/// `info=alert-autoanswer` in Alert-Info (snom, Yealink, Grandstream, Gigaset, Aastra, where
/// `delay=0` says at once; Polycom, whose `voIpProt.SIP.alertInfo` is to name it). Their URI is
/// one of ours and means nothing; it is no `http:`, which some phones would fetch as a ringing
/// tone. Alert-Info of the caller's goes: a phone may heed the first one only.
fn answer_at_once(edit: &mut Edit<'_>, whom: &str) {
    edit.prepend(
        HeaderName::CallInfo,
        format!("<sip:{whom}>;answer-after=0").into_bytes(),
    );
    edit.remove(HeaderName::AlertInfo);
    edit.append(
        HeaderName::AlertInfo,
        format!("<sip:{whom}>;info=alert-autoanswer;delay=0").into_bytes(),
    );
}

/// The headers that a route or a trunk wants, and the identities that the far end reads.
fn edit_headers<'m>(edit: &mut Edit<'m>, out: &'m Out) {
    if let Some(facade) = &out.facade {
        if !facade.identities.is_empty() || facade.caller.is_some() {
            for name in IDENTITIES {
                edit.remove(name);
            }
        }
        for (name, value) in &facade.identities {
            edit.append(*name, value);
        }
    }
    for name in out.remove_headers.iter() {
        edit.remove_raw(name);
    }
    for (name, value) in out.add_headers.iter() {
        edit.append_raw(&**name, &**value);
    }
}

/// Makes the copy what the far end of a border sees.
fn draw<'m>(edit: &mut Edit<'m>, message: &'m Message, via: &[u8], uri: &[u8], veil: Veil<'_>) {
    let Veil {
        border,
        named,
        cnonce,
    } = veil;
    border.veil_request(edit, message, via.to_vec(), named);
    // What proves us to ourselves is nobody else's affair.
    edit.remove(HeaderName::ProxyAuthorization);
    edit.remove(HeaderName::Authorization);
    let proof = border.account.as_mut().and_then(|account| {
        let (uri, cnonce) = (
            std::str::from_utf8(uri).ok()?,
            std::str::from_utf8(&cnonce).ok()?,
        );
        account.prove(message.method().as_bytes(), uri, cnonce)
    });
    if let Some((name, value)) = proof {
        edit.append(name, value);
    }
}

/// A request of our own as the far end of a border wants it.
pub(super) fn veil_own(
    request: &Message,
    via: &[u8],
    border: &mut Border,
    cnonce: [u8; 16],
) -> Bytes {
    let mut edit = Edit::new(request);
    let veil = Veil {
        border,
        named: NamedDialogs::new(),
        cnonce,
    };
    draw(&mut edit, request, via, request.request_uri(), veil);
    if !request.has(HeaderName::Via) {
        edit.remove(HeaderName::Via);
        edit.prepend(HeaderName::Via, via.to_vec());
    }
    edit.render()
}

/// Where a caller's identity stands beside From (RFC 3325 §9).
const IDENTITIES: [HeaderName; 4] = [
    HeaderName::PAssertedIdentity,
    HeaderName::PPreferredIdentity,
    HeaderName::RemotePartyId,
    HeaderName::Privacy,
];

/// What becomes of the Route set.
#[derive(Debug)]
enum Routes<'a> {
    Keep,
    Pop,
    Replace(Vec<Cow<'a, [u8]>>),
}

/// The Route set and the Request-URI of the copy (§16.6 steps 2 and 6): Path values are pushed; a
/// strict router next in line gets its own URI as Request-URI, and the target behind all routes.
fn route_plan<'a>(
    message: &'a Message,
    inbound: &'a Inbound,
    copy: &Copy<'a>,
) -> (Routes<'a>, Option<&'a [u8]>) {
    let target = copy.uri.or(inbound.uri.as_deref());
    if !copy.path.is_empty() {
        let path = copy.path.iter().map(|p| Cow::Borrowed(p.as_bytes()));
        return (
            Routes::Replace(path.chain(rest(message, inbound)).collect()),
            target,
        );
    }
    let strict = next_route(message, inbound).and_then(route_uri);
    if let Some((strict, false)) = strict {
        let last = target.unwrap_or_else(|| message.request_uri());
        let mut routes: Vec<Cow<'a, [u8]>> = rest(message, inbound).skip(1).collect();
        routes.push(Cow::Owned([b"<", last, b">"].concat()));
        return (Routes::Replace(routes), Some(strict));
    }
    let routes = match (&inbound.routes, inbound.pops) {
        (Some(_), _) => Routes::Replace(rest(message, inbound).collect()),
        (None, 0) => Routes::Keep,
        (None, _) => Routes::Pop,
    };
    (routes, target)
}

/// The Route values that are not ours.
fn rest<'a>(
    message: &'a Message,
    inbound: &'a Inbound,
) -> impl Iterator<Item = Cow<'a, [u8]>> + 'a {
    let own = inbound.routes.iter().flatten().map(|r| Cow::Borrowed(&**r));
    let skip = match inbound.routes {
        Some(_) => usize::MAX,
        None => inbound.pops,
    };
    let kept = message.values(HeaderName::Route).skip(skip);
    own.chain(kept.map(Cow::Borrowed))
}

fn via_value(copy: &Copy<'_>) -> Vec<u8> {
    let transport = copy.destination.transport();
    let mut via = Vec::with_capacity(128);
    via.extend_from_slice(b"SIP/2.0/");
    via.extend_from_slice(transport.via_token().as_bytes());
    via.push(b' ');
    write_sent_by(copy.sent_by, &mut via);
    via.extend_from_slice(b";branch=");
    via.extend_from_slice(copy.branch);
    if transport == Transport::Udp {
        via.extend_from_slice(b";rport");
    }
    via
}
