//! Who may pass (RFC 3261 §22.3, §26.1). In short: whoever says to be one of our users must prove
//! it, and proves it under that very name; a peer of `[sip] trusted` is believed; a stranger
//! reaches our users only where `guests` allows it, and never the world beyond; who takes part in a
//! dialog that came about through us is not asked again while it speaks to the dialog's other side.
//! So nobody's relay is open.

use super::Context;
use super::context::Caller;
use super::guard::{Failure, weight_of};
use crate::base::Flow;
use crate::call::inside::Account;
use crate::peer::Source;
use crate::sip::digest::{Subject, Verdict};
use crate::store::User;
use crate::wire::sip::{Credentials, HeaderName, Host, Message, ResponseBuilder, Scheme, Uri};
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// A refusal as the RFC words it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reject {
    /// The status.
    pub status: u16,
    /// Says what is wrong.
    pub reason: Cow<'static, str>,
    /// What the call's record says instead, which the caller need not know.
    pub note: Option<Box<str>>,
}

impl Reject {
    /// With words of its own for the call's record.
    pub fn noted(self, note: impl Into<Box<str>>) -> Self {
        let note = Some(note.into());
        Self { note, ..self }
    }

    /// What the call's record says.
    pub fn note(&self) -> &str {
        self.note.as_deref().unwrap_or(&self.reason)
    }
}

/// What admission decides.
#[derive(Debug)]
pub(super) enum Admission {
    /// It may pass.
    Pass(Caller),
    /// It may not.
    Refuse(Reject),
    /// Its author must prove who it is, for this realm.
    Challenge {
        /// One of our domains.
        realm: Box<str>,
        /// Whether the proof was right but for its age.
        stale: bool,
    },
}

/// Where a request wants to go, as far as admission cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aim {
    /// To somebody in one of our domains.
    Local,
    /// Somewhere else.
    Foreign,
}

/// Which of the two pairs of headers proves and challenges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// 401: we are the one who is asked (a registrar).
    Server,
    /// 407: we stand between.
    Proxy,
}

impl Role {
    fn status(self) -> u16 {
        match self {
            Role::Server => 401,
            Role::Proxy => 407,
        }
    }

    fn proof(self) -> HeaderName {
        match self {
            Role::Server => HeaderName::Authorization,
            Role::Proxy => HeaderName::ProxyAuthorization,
        }
    }

    fn challenge(self) -> HeaderName {
        match self {
            Role::Server => HeaderName::WwwAuthenticate,
            Role::Proxy => HeaderName::ProxyAuthenticate,
        }
    }
}

/// What a proof was worth.
#[derive(Debug)]
pub(super) enum Proof {
    /// It is this user.
    Of(Arc<User>),
    /// There was none for our realm.
    Missing,
    /// It was right but for its age.
    Stale,
    /// It was right, by this user, and seen before: a retransmission or a replay.
    Replayed(Arc<User>),
    /// It was wrong.
    Wrong,
}

/// The domain of ours that a host means: a domain, an alias, or an address we listen on.
pub(super) fn own_domain<'a>(cx: &'a Context<'_>, uri: &Uri<'_>) -> Option<&'a str> {
    let host = uri.host();
    if let Host::Name(name) = host
        && let Ok(name) = std::str::from_utf8(name)
        && let Some(domain) = cx.config.node.domain_of(name)
    {
        return Some(domain);
    }
    let node = &cx.config.node;
    let mut names = node.domains.iter().chain(&node.aliases);
    // Addresses among the names are rare: only then is this one written out to be compared.
    let is_address = |name: &str| name.starts_with(|c: char| c.is_ascii_digit() || c == '[');
    if host.ip().is_some()
        && names.any(|d| is_address(d.as_str()))
        && let Some(domain) = node.domain_of(&host.to_string())
    {
        return Some(domain);
    }
    let local = cx.listeners.is_local(&host, uri.port());
    local.then(|| node.default_domain())
}

/// The address of record that a URI of ours names, canonical; `None` without a user part, or where
/// bytes that are no text stand in it.
pub(super) fn aor_of(uri: &Uri<'_>, domain: &str) -> Option<String> {
    let user = uri.user_unescaped();
    let user = std::str::from_utf8(&user).ok()?;
    if user.is_empty() {
        return None;
    }
    let mut aor = String::with_capacity(user.len() + 1 + domain.len());
    match uri.scheme() {
        // Visual separators do not count (RFC 3966 §5.1.1).
        Scheme::Tel => aor.extend(user.chars().filter(|c| !"-.()".contains(*c))),
        _ => aor.push_str(user),
    }
    aor.push('@');
    aor.push_str(domain);
    Some(aor)
}

/// Decides about a request that begins something (no dialog of ours vouches for it).
pub(super) fn admit(cx: &mut Context<'_>, message: &Message, flow: &Flow, aim: Aim) -> Admission {
    if flow.is_internal() {
        return admit_service(cx, message, aim);
    }
    match cx.peers.of_source(flow, message) {
        Some(Source::Trunk(_)) if aim == Aim::Foreign => return refuse(403, "Relaying Denied"),
        Some(Source::Trunk(trunk)) => return Admission::Pass(Caller::Trunk(trunk.name().into())),
        Some(Source::Pool { pool, .. }) if pool.config().trusted => {
            return Admission::Pass(Caller::Pool(pool.name().into()));
        }
        Some(Source::Pool { .. }) | None => {}
    }
    if cx.config.sip.trusts(flow.remote.ip()) {
        return Admission::Pass(Caller::Trusted);
    }
    let Some(from) = message.from().ok().and_then(|f| f.uri().ok()) else {
        return refuse(400, "Malformed From");
    };
    let anonymous = is_anonymous(&from);
    let domain: Box<str> = match own_domain(cx, &from) {
        Some(domain) => domain.into(),
        None if anonymous => cx.config.node.default_domain().into(),
        None => return stranger(cx, aim),
    };
    match prove(cx, message, flow, &domain, Role::Proxy) {
        Proof::Of(user) => {
            let aor = format!("{}@{}", user.username, user.domain);
            if !anonymous && aor_of(&from, &domain).as_deref() != Some(&aor) {
                return refuse(403, "From Is Not The Authenticated User");
            }
            Admission::Pass(Caller::User(aor.into()))
        }
        Proof::Missing | Proof::Wrong if anonymous && guest_may(cx, aim) => {
            Admission::Pass(Caller::Guest)
        }
        Proof::Missing | Proof::Wrong => Admission::Challenge {
            realm: domain,
            stale: false,
        },
        Proof::Stale | Proof::Replayed(_) => Admission::Challenge {
            realm: domain,
            stale: true,
        },
    }
}

/// A service of ours calls, and says on whose account.
fn admit_service(cx: &Context<'_>, message: &Message, aim: Aim) -> Admission {
    let account = message.header(HeaderName::XVoipAccount);
    let caller = match account.and_then(Account::parse) {
        Some(Account::User(aor) | Account::CalledBack(aor)) if cx.directory.get(&aor).is_some() => {
            Caller::User(aor)
        }
        Some(Account::Operator) => Caller::Operator,
        Some(Account::Way(name)) if cx.peers.trunk(&name).is_some() => Caller::Trunk(name),
        Some(Account::Way(name)) if cx.peers.pool(&name).is_some() => Caller::Pool(name),
        Some(Account::User(_) | Account::CalledBack(_) | Account::Way(_) | Account::House)
        | None => Caller::House,
    };
    match (aim, &caller) {
        (Aim::Foreign, Caller::House | Caller::Trunk(_)) => refuse(403, "Relaying Denied"),
        _ => Admission::Pass(caller),
    }
}

fn guest_may(cx: &Context<'_>, aim: Aim) -> bool {
    aim == Aim::Local && cx.config.sip.guests
}

fn stranger(cx: &Context<'_>, aim: Aim) -> Admission {
    match aim {
        _ if guest_may(cx, aim) => Admission::Pass(Caller::Guest),
        Aim::Local => refuse(403, "Strangers May Not Call Here"),
        Aim::Foreign => refuse(403, "Relaying Denied"),
    }
}

fn refuse(status: u16, reason: &'static str) -> Admission {
    Admission::Refuse(super::routing::reject(status, reason))
}

/// RFC 3323 §4.1.1.3: a caller who hides its address proves who it is by digest alone.
fn is_anonymous(from: &Uri<'_>) -> bool {
    match from.host() {
        Host::Name(name) => name.eq_ignore_ascii_case(b"anonymous.invalid"),
        Host::V4(_) | Host::V6(_) => false,
    }
}

/// Checks the credentials for `realm`, if there are any, and counts wrong ones against the source.
pub(super) fn prove(
    cx: &mut Context<'_>,
    message: &Message,
    flow: &Flow,
    realm: &str,
    role: Role,
) -> Proof {
    let mine = message
        .credentials(role.proof())
        .flatten()
        .find(|c| c.is_digest() && c.realm() == Some(realm.as_bytes()));
    let Some(credentials) = mine else {
        return Proof::Missing;
    };
    // The name is part of what is hashed, so it is taken as it stands.
    let name = std::str::from_utf8(credentials.username().unwrap_or_default()).unwrap_or_default();
    let aor = format!("{name}@{realm}");
    let user = cx.directory.get(&aor);
    let source = flow.remote.ip();
    // Refused unseen: the work and the answer are those of an unknown user.
    let refused = cx.guard.refuses(source, &aor, cx.now);
    let known = user.as_ref().filter(|u| !u.disabled && !refused);
    let seconds = cx.anchor.unix_seconds(cx.now);
    let method = message.method();
    let subject = Subject {
        method: method.as_bytes(),
        request_uri: resource(cx, message, &credentials),
        realm,
    };
    let ha1 = known.map(|u| &u.ha1);
    let verdict = cx
        .authenticator
        .verify(seconds, &credentials, &subject, ha1);
    match (verdict, known) {
        (Verdict::Accept, Some(user)) => {
            cx.guard.succeeded(source, &aor, cx.now);
            Proof::Of(user.clone())
        }
        (Verdict::Accept | Verdict::Refuse, _) => {
            if !refused {
                count_failure(cx, message, flow, &aor);
            }
            Proof::Wrong
        }
        (Verdict::Replay, Some(user)) => Proof::Replayed(user.clone()),
        (Verdict::Stale | Verdict::Replay, _) => Proof::Stale,
    }
}

/// What the credentials must be about: the Request-URI (RFC 7616 §3.4.6). Some clients, sipp among
/// them, name the server alone, whatever they ask of it: that is believed where it is us, as the
/// nonce count still lets each answer pass once only.
fn resource<'a>(cx: &Context<'_>, message: &'a Message, credentials: &Credentials<'a>) -> &'a [u8] {
    let named = credentials.uri().unwrap_or_default();
    match Uri::parse(named) {
        Ok(uri) if uri.user().is_none() && own_domain(cx, &uri).is_some() => named,
        _ => message.request_uri(),
    }
}

fn count_failure(cx: &mut Context<'_>, message: &Message, flow: &Flow, aor: &str) {
    let agent = message.header(HeaderName::UserAgent).unwrap_or_default();
    let failure = Failure {
        user: Some(aor).filter(|aor| !aor.starts_with('@')),
        weight: weight_of(agent),
    };
    let source = flow.remote.ip();
    tracing::info!(
        from = %String::from_utf8_lossy(message.header(HeaderName::From).unwrap_or_default()),
        source = %flow.remote,
        user_agent = %String::from_utf8_lossy(agent),
        "wrong name or password"
    );
    let record = cx.guard.failed(source, failure, cx.now, cx.anchor);
    cx.outputs.records.extend(record);
}

/// The 401 or 407.
pub(super) fn challenge(
    cx: &mut Context<'_>,
    message: &Message,
    role: Role,
    realm: &str,
    stale: bool,
) -> Bytes {
    let seconds = cx.anchor.unix_seconds(cx.now);
    let challenges = cx.authenticator.challenge_headers(seconds, realm, stale);
    let tag = cx.rng.token::<10>();
    let mut response = ResponseBuilder::new(message, role.status()).to_tag(&tag);
    for value in challenges {
        response = response.header(role.challenge(), value);
    }
    response.render()
}
