//! Ways out: what a request looks like to a trunk, a member of a pool, or the URI that a route
//! names, and where it is sent.

use super::Context;
use super::border::Account;
use super::onward::our_name;
use super::privacy::Reader;
use super::record_route::write_sent_by;
use crate::base::{Destination, Transport};
use crate::wire::sip::HeaderName;
use std::sync::Arc;

/// One way out.
#[derive(Debug)]
pub(super) struct Out {
    /// The Request-URI.
    pub uri: Box<[u8]>,
    /// Where it is sent, if not there.
    pub next_hop: Option<Box<[u8]>>,
    /// Route values for it, the next hop first.
    pub routes: Box<[Box<str>]>,
    /// What the far end is to us.
    pub reader: Reader,
    /// What it sees of the call; as the inside wrote it without.
    pub facade: Option<Facade>,
    /// Headers put in.
    pub add_headers: Arc<[(Box<str>, Box<str>)]>,
    /// Headers taken out.
    pub remove_headers: Arc<[Box<str>]>,
}

/// What the far end of a border sees.
#[derive(Debug)]
pub(super) struct Facade {
    /// The caller: a From value without its tag; the inside's without.
    pub caller: Option<Box<[u8]>>,
    /// The callee: a To value without its tag; the inside's without.
    pub callee: Option<Box<[u8]>>,
    /// The user of our Contact.
    pub contact_user: Box<str>,
    /// Whether the inside stays inside.
    pub hides: bool,
    /// Our account there.
    pub account: Option<Account>,
    /// Identities beside From (RFC 3325).
    pub identities: Box<[(HeaderName, String)]>,
}

/// The Contact value by which a far end reaches us.
pub(super) fn contact(
    cx: &Context<'_>,
    facade: &Facade,
    destination: &Destination,
) -> Option<Box<[u8]>> {
    let sent_by = our_name(cx, destination)?;
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b"<sip:");
    if !facade.contact_user.is_empty() {
        out.extend_from_slice(facade.contact_user.as_bytes());
        out.push(b'@');
    }
    write_sent_by(&sent_by, &mut out);
    match destination.transport() {
        Transport::Udp => {}
        other => {
            out.extend_from_slice(b";transport=");
            out.extend_from_slice(other.uri_token().as_bytes());
        }
    }
    out.push(b'>');
    Some(out.into())
}
