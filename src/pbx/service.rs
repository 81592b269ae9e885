//! Which program a call came here for.

use super::agent::QueueLogin;
use super::announce::{Announce, Confirm};
use super::bridge::Bridge;
use super::call_back::CallBack;
use super::conference::Conference;
use super::disa::Disa;
use super::echo::Echo;
use super::menu::Attendant;
use super::page::Page;
use super::park::{Fetch as FetchParked, Park};
use super::program::{Caller, Led, Program, Reach, parameter};
use super::queue::Queueing;
use super::voicemail::{Fetch, Leave};
use crate::call::inside;
use crate::config::{Config, Recorded, RingBack, Service};
use crate::wire::sip::{HeaderName, Message, NameAddr, Uri};

/// Headers that a bridge passes on, and most lines of them.
const PASSED: [HeaderName; 4] = [
    HeaderName::Diversion,
    HeaderName::HistoryInfo,
    HeaderName::AlertInfo,
    HeaderName::CallInfo,
];
const PASSED_MAX: usize = 32;

/// The program that a Request-URI names, as the proxy wrote it.
pub(super) fn program_of(
    config: &Config,
    invite: &Message,
    caller: &Caller,
) -> Option<Box<dyn Program>> {
    let uri = Uri::parse(invite.request_uri()).ok()?;
    let by = referrer(invite);
    program_at(config, &uri, (Some(invite), by), caller)
}

/// How the proxy wants the call recorded.
pub(super) fn recorded(invite: &Message) -> Option<Recorded> {
    let uri = Uri::parse(invite.request_uri()).ok()?;
    parameter(&uri, "record").and_then(Recorded::parse)
}

/// What takes a message for a user, of the first of our domains where none is said; `by` leads
/// there.
pub(super) fn voicemail(config: &Config, user: &str, by: String) -> Box<dyn Program> {
    let domain = config.node.default_domain();
    let aor = match user.contains('@') {
        true => user.to_owned(),
        false => format!("{user}@{domain}"),
    };
    Box::new(Leave::new(&aor, false).led_by(by))
}

/// Where callers wait.
pub(super) fn queue(config: &Config, name: &str) -> Option<Box<dyn Program>> {
    Some(Box::new(Queueing::new(config, name)?))
}

/// The program that a URI names, as the proxy wrote it, for a caller who came by that INVITE, or
/// was led there from another program; and by whom it was transferred there, a URI.
pub(super) fn program_at(
    config: &Config,
    uri: &Uri<'_>,
    (invite, by): (Option<&Message>, Option<Box<str>>),
    caller: &Caller,
) -> Option<Box<dyn Program>> {
    match uri.user()? {
        b"announce" => {
            let status = parameter(uri, "cause")?.parse().ok()?;
            (400..700).contains(&status).then_some(())?;
            Some(Box::new(Announce { status }))
        }
        b"confirm" => {
            let prompts = parameter(uri, "play")?.into();
            Some(Box::new(Confirm { prompts }))
        }
        b"bridge" => {
            let to = inside::unescape(parameter(uri, "to")?)?.into();
            let ring_back = parameter(uri, "ringback").and_then(inside::unescape);
            let ring_back = ring_back.and_then(|text| RingBack::parse(&text));
            let headers = invite.map_or_else(Vec::new, headers_of);
            // Whose mailbox takes the call may have been seen to before.
            let led = match parameter(uri, "mail") {
                Some("no") => Led::Services,
                _ => Led::Mail(None),
            };
            let on = parameter(uri, "by").and_then(inside::unescape);
            let whom = (to, on.map(Into::into));
            Some(Box::new(Bridge::new(whom, ring_back, headers, led)))
        }
        b"menu" => {
            let menu = Attendant::new(&config.menus, parameter(uri, "name")?)?;
            Some(Box::new(menu))
        }
        b"page" => Some(Box::new(Page::new(parameter(uri, "name")?))),
        b"parked" => {
            let slot = parameter(uri, "slot")?.into();
            Some(Box::new(FetchParked::new(slot, by)))
        }
        b"queue" => queue(config, parameter(uri, "name")?),
        name => match Service::named(std::str::from_utf8(name).ok()?)? {
            Service::Echo => Some(Box::<Echo>::default()),
            Service::Conference => Some(Box::new(Conference::new(parameter(uri, "room")))),
            Service::QueueLogin => {
                let queue = parameter(uri, "queue").and_then(inside::unescape);
                Some(Box::new(QueueLogin {
                    queue: queue.map(Into::into),
                }))
            }
            Service::Park => Some(Box::new(Park::new(by))),
            Service::Disa => match CallBack::listed(config, caller) {
                Some(number) => Some(Box::new(CallBack::new(&config.disa, number))),
                None => Some(Box::new(Disa::new(&config.disa)?)),
            },
            Service::Voicemail => match parameter(uri, "mailbox") {
                Some(name) => {
                    let aor = format!("{}@{}", inside::unescape(name)?, uri.host());
                    let busy = parameter(uri, "why") == Some("busy");
                    Some(Box::new(Leave::new(&aor, busy)))
                }
                None => Some(Box::new(Fetch::new())),
            },
        },
    }
}

/// What whom a bridge calls learns of the way that the call took, as if there was no bridge: who
/// forwarded it, and that a phone is to answer by itself.
fn headers_of(invite: &Message) -> Vec<(Box<str>, Box<str>)> {
    let line = |name: HeaderName, value: &[u8]| {
        let value = std::str::from_utf8(value).ok()?;
        Some((Box::from(name.as_str()), Box::from(value)))
    };
    let names = PASSED.into_iter();
    let lines = names.flat_map(|name| invite.lines(name).map(move |value| (name, value)));
    let lines = lines.take(PASSED_MAX);
    lines
        .filter_map(|(name, value)| line(name, value))
        .collect()
}

/// Who transferred a call here, as a URI (RFC 3892).
fn referrer(invite: &Message) -> Option<Box<str>> {
    uri_of(invite.header(HeaderName::ReferredBy)?)
}

/// The same by what a call of ours says of it.
pub(super) fn referrer_of(reach: &Reach) -> Option<Box<str>> {
    let mut lines = reach.headers.iter();
    let by = lines.find(|(name, _)| **name == *HeaderName::ReferredBy.as_str());
    uri_of(by?.1.as_bytes())
}

fn uri_of(address: &[u8]) -> Option<Box<str>> {
    let by = NameAddr::parse(address).ok()?;
    let uri = std::str::from_utf8(by.uri_bytes()).ok()?;
    Some(uri.into())
}
