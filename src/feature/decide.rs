//! What becomes of a call to a user, before it rings and after it failed.

use super::Refusal;
use crate::store::Settings;
use crate::wire::sip::{HeaderName, Message, Uri};
use std::time::Duration;

/// How long a phone rings before a call is forwarded, where the user did not say.
pub const NO_ANSWER: Duration = Duration::from_secs(20);

/// Who calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller<'a> {
    /// The number, or the user part of the identity.
    pub number: &'a str,
    /// The whole identity, `user@host`; a scheme in front and parameters behind do no harm. Empty
    /// if it is not known.
    pub uri: &'a str,
    /// Whether the caller hides who it is: [`Caller::hides`].
    pub anonymous: bool,
}

impl Caller<'_> {
    /// Whether a request hides who sends it (RFC 5079 §3): `Privacy` with `id` or `user`, or a From
    /// of the domain `anonymous.invalid` (RFC 3323 §4.1.1.3) or with the name "Anonymous" (RFC 3261
    /// §8.1.1.3). That nobody vouches for the caller is no hiding.
    pub fn hides(request: &Message) -> bool {
        let private = |token: &[u8]| {
            let token = token.trim_ascii();
            token.eq_ignore_ascii_case(b"id") || token.eq_ignore_ascii_case(b"user")
        };
        let privacy = request
            .lines(HeaderName::Privacy)
            .any(|line| line.split(|b| matches!(b, b';' | b',')).any(private));
        privacy
            || request.from().is_ok_and(|from| {
                let nobody = |uri: Uri<'_>| {
                    let host = uri.host().to_string();
                    host.eq_ignore_ascii_case("anonymous.invalid")
                };
                let name = from.display().map(<[u8]>::trim_ascii);
                name.is_some_and(|name| name.eq_ignore_ascii_case(b"anonymous"))
                    || from.uri().is_ok_and(nobody)
            })
    }
}

/// What becomes of a call to a user before it rings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// It rings.
    Ring {
        /// How long, before nobody answers; without a word of the user's, as long as it rings.
        ring: Option<Duration>,
    },
    /// The caller does not get through.
    Refuse(Refusal),
    /// It goes elsewhere.
    Forward(Forward),
}

/// A forwarding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// A number, dialled in the name of the user who forwards, or a `sip:` or `sips:` URI. It is
    /// never read as a code: `*123` may be a service, but nobody's features change by a call.
    pub to: Box<str>,
    /// What for.
    pub why: Why,
}

/// Why a call is forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Every call is.
    Always,
    /// The user is busy, or wants not to be disturbed.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// No phone is registered.
    Unregistered,
    /// The phone itself sent it elsewhere, by a 302.
    Deflected,
}

/// How a call to a user's phones failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// 486, 600, and what a phone says whose user declines.
    Busy,
    /// It rang too long.
    NoAnswer,
    /// There is no phone that could ring.
    Unregistered,
}

impl Failure {
    /// What a final status of the user's phones means, if it lets the call go on elsewhere. `rang`
    /// says that a phone rang before.
    ///
    /// 480 without ringing is what a phone says that is set to "do not disturb" (RFC 3261
    /// §21.4.18); 603 what it says when the user declines.
    pub fn of_status(status: u16, rang: bool) -> Option<Self> {
        match status {
            486 | 600 | 603 => Some(Failure::Busy),
            480 if !rang => Some(Failure::Busy),
            408 | 480 => Some(Failure::NoAnswer),
            // The flow to the phone is gone (RFC 5626 §5.3).
            430 => Some(Failure::Unregistered),
            _ => None,
        }
    }
}

/// What becomes of a call before it rings. The black list comes first, so that a blocked caller is
/// not carried on to another phone of the user's; then the callers that hide themselves; then
/// forwarding; then "do not disturb".
///
/// Statuses: 603 for the black list, which says nothing of why; 433 (RFC 5079) for anonymous
/// callers, who may try again and show themselves; 480 for "do not disturb" (RFC 3261 §21.4.18).
pub fn incoming(settings: &Settings, caller: Caller<'_>) -> Incoming {
    if settings.blocked.iter().any(|p| covers(p, caller)) {
        return Incoming::Refuse(Refusal::new(603, "Decline"));
    }
    if settings.reject_anonymous && caller.anonymous {
        return Incoming::Refuse(Refusal::new(433, "Anonymity Disallowed"));
    }
    let forward = |to: &Option<Box<str>>, why| {
        let to = to.clone()?;
        Some(Incoming::Forward(Forward { to, why }))
    };
    if let Some(forward) = forward(&settings.forward_always, Why::Always) {
        return forward;
    }
    if settings.dnd {
        return forward(&settings.forward_busy, Why::Busy)
            .unwrap_or_else(|| Incoming::Refuse(Refusal::new(480, "Do Not Disturb")));
    }
    let own = settings.ring_s.map(|s| Duration::from_secs(s.into()));
    let ring = own.or(settings.forward_no_answer.as_ref().map(|_| NO_ANSWER));
    Incoming::Ring { ring }
}

/// Where a call goes on after it failed, if the user wants it to. A user who said nothing for the
/// time when no phone is registered is one who does not answer.
pub fn after(settings: &Settings, failure: Failure) -> Option<Forward> {
    let absent = &settings.forward_unregistered;
    let (to, why) = match failure {
        Failure::Busy => (&settings.forward_busy, Why::Busy),
        Failure::NoAnswer => (&settings.forward_no_answer, Why::NoAnswer),
        Failure::Unregistered if absent.is_some() => (absent, Why::Unregistered),
        Failure::Unregistered => (&settings.forward_no_answer, Why::Unregistered),
    };
    to.clone().map(|to| Forward { to, why })
}

/// Whether a pattern of a black list means a caller: `number` (a plus in front does not count),
/// `begins*`, `name@host`, `@host`.
pub(super) fn covers(pattern: &str, caller: Caller<'_>) -> bool {
    if let Some((name, host)) = pattern.rsplit_once('@') {
        let uri = bare(caller.uri);
        return uri.rsplit_once('@').is_some_and(|(user, at)| {
            at.eq_ignore_ascii_case(host) && (name.is_empty() || name == user)
        });
    }
    let number = digits(caller.number);
    match digits(pattern).strip_suffix('*') {
        Some(front) => !number.is_empty() && number.starts_with(front),
        None => !number.is_empty() && number == digits(pattern),
    }
}

fn digits(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

/// `user@host` of a URI: without scheme, parameters, headers and port.
pub(super) fn bare(uri: &str) -> &str {
    let uri = ["sips:", "sip:"]
        .iter()
        .find(|scheme| {
            uri.get(..scheme.len())
                .is_some_and(|s| s.eq_ignore_ascii_case(scheme))
        })
        .map_or(uri, |scheme| &uri[scheme.len()..]);
    let end = uri.find(['?', ';', '>']).unwrap_or(uri.len());
    let uri = &uri[..end];
    // A port, but not the inside of an IPv6 reference.
    match uri.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() => host,
        _ => uri,
    }
}
