//! Ways out: what a request looks like to a trunk, a member of a pool, or the URI that a route
//! names, and where it is sent.

use super::Context;
use super::border::Account;
use super::onward::our_name;
use super::privacy::Reader;
use super::record_route::write_sent_by;
use crate::base::{Destination, Instant, Transport};
use crate::config::{Class, Identity};
use crate::peer::{Member, Pool, Refusal, Ticket, Trunk};
use crate::plan::Way;
use crate::wire::sip::{HeaderName, Message, NameAddr, Uri};
use std::sync::Arc;

/// One way out.
#[derive(Debug)]
pub(super) struct Out {
    /// The Request-URI.
    pub uri: Box<[u8]>,
    /// Where it is sent, if not there.
    pub next_hop: Option<Box<[u8]>>,
    /// Route values for it, the next hop first.
    pub routes: Arc<[Box<str>]>,
    /// What the far end is to us.
    pub reader: Reader,
    /// What it sees of the call; as the inside wrote it without.
    pub facade: Option<Facade>,
    /// Headers put in.
    pub add_headers: Box<[(Box<str>, Box<str>)]>,
    /// Headers taken out.
    pub remove_headers: Box<[Box<str>]>,
    /// Who it is.
    pub peer: Peer,
    /// What the limits of a trunk count it as; nothing holds up an emergency call.
    pub metered: Option<Metered>,
}

/// A call that counts against the limits of the trunk it leaves by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Metered {
    /// What its number is.
    pub class: Option<Class>,
}

/// Who a way out leads to.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// A trunk.
    Trunk(Arc<Trunk>),
    /// A member of a pool.
    Member {
        /// It.
        member: Arc<Member>,
        /// The pool's name.
        pool: Box<str>,
    },
    /// Nobody in particular.
    Nobody,
}

impl Peer {
    /// A call wants to go there.
    pub fn admit(&self, now: Instant) -> Result<Option<Ticket>, Refusal> {
        match self {
            Peer::Trunk(trunk) => trunk.admit(now).map(Some),
            Peer::Member { member, .. } => member.admit(now).map(Some),
            Peer::Nobody => Ok(None),
        }
    }

    /// Nothing was heard of it.
    pub fn suspect(&self) {
        match self {
            Peer::Trunk(trunk) => trunk.suspect(),
            Peer::Member { member, .. } => member.suspect(),
            Peer::Nobody => {}
        }
    }

    /// For the log.
    pub fn name(&self) -> &str {
        match self {
            Peer::Trunk(trunk) => trunk.name(),
            Peer::Member { member, .. } => member.uri(),
            Peer::Nobody => "a URI",
        }
    }

    /// For the record of a call that it got not.
    pub fn refused_note(&self, refusal: Refusal) -> String {
        match self {
            Peer::Trunk(trunk) => refused_note("trunk", trunk.name(), refusal),
            Peer::Member { member, pool } => {
                refused_note("pool", &format!("{pool} {}", member.uri()), refusal)
            }
            Peer::Nobody => String::new(),
        }
    }
}

/// Why a peer gets no call, as the call's record says it.
pub(super) fn refused_note(kind: &str, name: &str, refusal: Refusal) -> String {
    let why = match refusal {
        Refusal::Down => "down",
        Refusal::Draining => "draining",
        Refusal::CallsMax => "full",
        Refusal::CallsPerSecond => "calls_per_second",
    };
    format!("{kind} {name} {why}")
}

impl Out {
    /// As the call's record names it: the trunk, the pool and its member, or the host of a URI.
    pub fn label(&self) -> Box<str> {
        match &self.peer {
            Peer::Trunk(trunk) => trunk.name().into(),
            Peer::Member { member, pool } => [pool, " ", member.uri()].concat().into(),
            Peer::Nobody => {
                let host = Uri::parse(&self.uri).map(|uri| uri.host().to_string());
                host.unwrap_or_default().into()
            }
        }
    }
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

/// The caller as the inside knows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Identified {
    /// The number, or the user's name.
    pub number: Box<str>,
    /// The display name, escaped as in a quoted string.
    pub name: Option<Box<str>>,
    /// Whether it asked to stay unknown.
    pub private: bool,
}

impl Identified {
    /// As a route changes it.
    fn edited(&self, way: &Way) -> Self {
        let number = way.caller.number.clone();
        let name = way.caller.name.as_deref().map(quotable);
        Self {
            number: number.unwrap_or_else(|| self.number.clone()),
            name: name.or_else(|| self.name.clone()),
            private: self.private || way.caller.anonymous,
        }
    }

    fn display(&self) -> String {
        self.name
            .as_deref()
            .map_or_else(String::new, |name| format!("\"{name}\" "))
    }
}

/// The way out over a trunk.
pub(super) fn over_trunk(
    cx: &Context<'_>,
    trunk: &Arc<Trunk>,
    way: &Way,
    caller: &Identified,
) -> Option<Out> {
    let config = trunk.config();
    let caller = caller.edited(way);
    let numbers = cx.plan.numbers();
    let callee = numbers.write(&way.number, way.e164.as_deref(), config.numbers);
    let e164 = numbers.e164(&caller.number);
    let number = numbers.write(&caller.number, e164.as_deref(), config.numbers);
    let domain = trunk.domain();
    let uri = with_user(&config.uri, &callee)?;
    let account = config.username.as_deref();
    let own = format!("<sip:{}@{domain}>", escaped(account.unwrap_or(&number)));
    // An extension means nothing outside: the account speaks for it.
    let outside = account.filter(|_| e164.is_none() && way.caller.number.is_none());
    let spoken = format!("<sip:{}@{domain}>", escaped(outside.unwrap_or(&number)));
    let beside = match config.identity {
        Identity::From => None,
        Identity::Asserted => Some(HeaderName::PAssertedIdentity),
        Identity::RemoteParty => Some(HeaderName::RemotePartyId),
        Identity::Preferred => Some(HeaderName::PPreferredIdentity),
    };
    let display = caller.display();
    let from = match beside {
        _ if caller.private => "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned(),
        None => format!("{display}{spoken}"),
        Some(_) => format!("{display}{own}"),
    };
    let identities = told(beside, &caller, &spoken);
    let routes = trunk.service_route();
    let to = format!("<sip:{}@{domain}>", escaped(&callee));
    let facade = Facade {
        caller: Some(from.into_bytes().into()),
        callee: Some(to.into_bytes().into()),
        contact_user: escaped(account.unwrap_or(&number)).into(),
        hides: config.hide_topology,
        account: trunk.credentials().map(Account::new),
        identities: identities.into(),
    };
    let add = way.add_headers.iter().chain(&config.add_headers).cloned();
    let remove = way.remove_headers.iter().chain(&config.remove_headers);
    Some(Out {
        uri,
        next_hop: first_hop(&routes),
        routes,
        reader: Reader::Trusted,
        facade: Some(facade),
        add_headers: add.collect(),
        remove_headers: remove.cloned().collect(),
        peer: Peer::Trunk(Arc::clone(trunk)),
        metered: (!way.emergency).then_some(Metered { class: way.class }),
    })
}

/// What is told of the caller beside From. A private caller's number is told there only, for the
/// trunk alone (RFC 3325 §7).
fn told(beside: Option<HeaderName>, caller: &Identified, uri: &str) -> Vec<(HeaderName, String)> {
    let mut identities = Vec::new();
    if let Some(name) = beside.or_else(|| caller.private.then_some(HeaderName::PAssertedIdentity)) {
        let privacy = match (name, caller.private) {
            (HeaderName::RemotePartyId, true) => ";party=calling;privacy=full",
            (HeaderName::RemotePartyId, false) => ";party=calling;privacy=off",
            _ => "",
        };
        identities.push((name, format!("{}{uri}{privacy}", caller.display())));
    }
    if caller.private {
        identities.push((HeaderName::Privacy, "id".to_owned()));
    }
    identities
}

/// The way out to a member of a pool.
pub(super) fn to_member(
    pool: &Pool,
    member: &Arc<Member>,
    way: &Way,
    caller: &Identified,
    domain: &str,
) -> Option<Out> {
    let config = pool.config();
    let reader = match config.trusted {
        true => Reader::Trusted,
        false => Reader::Stranger,
    };
    let mut out = plain(with_user(member.uri(), &way.number)?, way, reader);
    out.facade = facade_of(way, caller, domain, config.hide_topology);
    out.peer = Peer::Member {
        member: Arc::clone(member),
        pool: pool.name().into(),
    };
    Some(out)
}

/// The way out to a URI that a route names.
pub(super) fn to_uri(uri: &str, way: &Way, caller: &Identified, domain: &str) -> Option<Out> {
    let named = Uri::parse(uri.as_bytes()).ok()?.user().is_some();
    let uri = match named {
        true => uri.as_bytes().into(),
        false => with_user(uri, &way.number)?,
    };
    let mut out = plain(uri, way, Reader::Stranger);
    out.facade = facade_of(way, caller, domain, false);
    Some(out)
}

fn plain(uri: Box<[u8]>, way: &Way, reader: Reader) -> Out {
    Out {
        uri,
        next_hop: None,
        routes: Arc::default(),
        reader,
        facade: None,
        add_headers: way.add_headers.iter().cloned().collect(),
        remove_headers: way.remove_headers.iter().cloned().collect(),
        peer: Peer::Nobody,
        metered: None,
    }
}

/// What a peer without an account sees, where that is not what the inside wrote.
fn facade_of(way: &Way, caller: &Identified, domain: &str, hides: bool) -> Option<Facade> {
    let edits = way.caller != crate::plan::CallerEdit::default();
    if !edits && !hides {
        return None;
    }
    let caller = caller.edited(way);
    let display = caller.display();
    let from = match caller.private {
        true => "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned(),
        false => format!("{display}<sip:{}@{domain}>", escaped(&caller.number)),
    };
    let mut identities = Vec::new();
    if caller.private {
        let spoken = format!("{display}<sip:{}@{domain}>", escaped(&caller.number));
        identities.push((HeaderName::PAssertedIdentity, spoken));
        identities.push((HeaderName::Privacy, "id".to_owned()));
    }
    Some(Facade {
        caller: edits.then(|| from.into_bytes().into()),
        callee: None,
        contact_user: escaped(&caller.number).into(),
        hides,
        account: None,
        identities: identities.into(),
    })
}

fn first_hop(routes: &[Box<str>]) -> Option<Box<[u8]>> {
    let first = NameAddr::parse(routes.first()?.as_bytes()).ok()?;
    Some(first.uri_bytes().into())
}

/// A URI without user, for this number.
fn with_user(uri: &str, user: &str) -> Option<Box<[u8]>> {
    let (scheme, rest) = uri.split_once(':')?;
    Some(
        format!("{scheme}:{}@{rest}", escaped(user))
            .into_bytes()
            .into(),
    )
}

/// What the user part of a URI may not hold is escaped (RFC 3261 §25.1).
pub(super) fn escaped(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A display name as a quoted string holds it (RFC 3261 §25.1).
fn quotable(name: &str) -> Box<str> {
    let printable = name.chars().filter(|c| !c.is_control());
    let mut out = String::with_capacity(name.len());
    for c in printable {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.into()
}

/// Who calls, by what a message of a believed author says: P-Asserted-Identity, Remote-Party-ID,
/// then From.
pub(super) fn identified(message: &Message, believed: bool) -> Identified {
    let first = |name| {
        message.values(name).find_map(|value| {
            let address = NameAddr::parse(value).ok()?;
            address.uri().ok()?.user().map(|_| address)
        })
    };
    let asserted =
        first(HeaderName::PAssertedIdentity).or_else(|| first(HeaderName::RemotePartyId));
    let address = asserted
        .filter(|_| believed)
        .or_else(|| message.from().ok());
    let private = super::privacy::is_private(message);
    let Some(address) = address else {
        return Identified::default();
    };
    let user = address.uri().map(|uri| uri.user_unescaped().into_owned());
    let number = String::from_utf8(user.unwrap_or_default()).unwrap_or_default();
    let name = address.display_unescaped();
    let name = name.and_then(|name| String::from_utf8(name.into_owned()).ok());
    Identified {
        private: private || number.eq_ignore_ascii_case("anonymous"),
        number: number.into(),
        name: name.map(|name| quotable(&name)),
    }
}

/// The Contact value by which a far end reaches us.
pub(super) fn contact(
    cx: &Context<'_>,
    user: &str,
    destination: &Destination,
) -> Option<Box<[u8]>> {
    let sent_by = our_name(cx, destination)?;
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b"<sip:");
    if !user.is_empty() {
        out.extend_from_slice(user.as_bytes());
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
