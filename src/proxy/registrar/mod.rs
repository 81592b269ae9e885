//! The registrar (RFC 3261 §10.3), with Path (RFC 3327), Service-Route (RFC 3608), outbound (RFC
//! 5626) and GRUUs (RFC 5627). Decides and answers; who the sender is was found out before.
//!
//! | what | answer |
//! | --- | --- |
//! | `Require` of an extension that is not supported | 420 with Unsupported |
//! | To in no domain of ours, or nobody there | 404 |
//! | To another than who authenticated | 403 |
//! | malformed Contact; `*` with others or without `Expires: 0`; two contacts with reg-id | 400 |
//! | Path from a phone that does not support it, through a proxy that is not trusted | 420 |
//! | reg-id through a proxy that does not keep flows | 439 |
//! | shorter than the least interval | 423 with Min-Expires |
//! | older than what is stored, by Call-ID and CSeq | 500, nothing changed |
//! | more contacts than one address of record may have | 403, nothing changed |
//! | no room | 503 with Retry-After, nothing changed |

mod answer;
mod contacts;

#[cfg(test)]
mod tests;

pub use answer::ALLOW;
pub use contacts::{CONTACT_BYTES_MAX, CONTACTS_MAX, PARAMETER_BYTES_MAX, PATH_BYTES_MAX};

use super::gruu::GruuMint;
use crate::base::{Anchor, Flow, Instant};
use crate::config::Config;
use crate::location::{Clock, ContactUpdate, Location, Requested, Update, UpdateError, Updated};
use crate::store::{Directory, Record};
use crate::wire::sip::{Contacts, HeaderName, Message, ResponseBuilder};
use answer::Date;
use bytes::Bytes;
use contacts::Draft;
use smallvec::SmallVec;
use std::borrow::Cow;

/// Longest Call-ID of a REGISTER, in bytes.
pub const CALL_ID_BYTES_MAX: usize = 512;
/// How much of a User-Agent is kept, in bytes.
pub const USER_AGENT_BYTES_MAX: usize = 128;
/// What a full table tells a phone, in seconds.
const RETRY_AFTER_S: &str = "60";
/// The extensions that a REGISTER may require.
const EXTENSIONS: [&str; 3] = ["path", "outbound", "gruu"];

/// Who sent the request, as found out before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registrant<'a> {
    /// Proved to be the user of this address of record.
    User(&'a str),
    /// A peer that is believed: it may register any of our users.
    Trusted,
}

/// One REGISTER and all that is needed to work on it.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// The present.
    pub now: Instant,
    /// The calendar.
    pub anchor: Anchor,
    /// Where bindings are kept.
    pub location: &'a Location,
    /// Whom we have.
    pub directory: &'a Directory,
    /// Intervals, limits, trusted peers.
    pub config: &'a Config,
    /// The request.
    pub message: &'a Message,
    /// How it came.
    pub flow: &'a Flow,
    /// To's address of record, canonical: the user part unescaped, the domain's own name. `None` if
    /// the domain is not ours.
    pub aor: Option<&'a str>,
    /// Who sent it.
    pub registrant: Registrant<'a>,
    /// For the answer's To.
    pub to_tag: &'a [u8],
}

/// The answer, and what the store should write.
#[derive(Clone, Debug)]
pub struct RegisterOutcome {
    /// The status of the answer.
    pub status: u16,
    /// To send.
    pub response: Bytes,
    /// To persist.
    pub records: SmallVec<[Record; 2]>,
}

/// A refusal with the one header that it may bear.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Refused {
    status: u16,
    reason: &'static str,
    header: Option<(HeaderName, String)>,
}

fn refused(status: u16, reason: &'static str) -> Refused {
    Refused {
        status,
        reason,
        header: None,
    }
}

impl Refused {
    fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    fn render(&self, r: &Registration<'_>) -> Bytes {
        let mut builder = ResponseBuilder::new(r.message, self.status)
            .reason(self.reason)
            .to_tag(r.to_tag);
        if let Some((name, value)) = &self.header {
            builder = builder.header(*name, value);
        }
        builder.render()
    }
}

/// One per shard: buffers, the date of the second, the keys of GRUUs.
#[derive(Debug)]
pub struct Registrar {
    gruus: GruuMint,
    service_routes: Vec<String>,
    date: Date,
    /// Contacts of the answer, one after the other.
    lines: Vec<u8>,
    /// Header parameters of the request's contacts.
    parameters: String,
    path: String,
}

impl Registrar {
    /// Temporary GRUUs are understood by every registrar of the same `secret`.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            gruus: GruuMint::new(secret),
            service_routes: Vec::new(),
            date: Date::default(),
            lines: Vec::new(),
            parameters: String::new(),
            path: String::new(),
        }
    }

    /// The route that phones should send requests by (RFC 3608), as header values.
    pub fn set_service_routes(&mut self, values: Vec<String>) {
        self.service_routes = values;
    }

    /// For resolving Request-URIs with `gr`.
    pub fn gruus(&self) -> &GruuMint {
        &self.gruus
    }

    /// Works on one REGISTER.
    pub fn handle(&mut self, registration: &Registration<'_>) -> RegisterOutcome {
        match self.register(registration) {
            Ok(updated) => RegisterOutcome {
                status: 200,
                response: self.accept(registration, &updated),
                records: updated.records,
            },
            Err(refused) => RegisterOutcome {
                status: refused.status,
                response: refused.render(registration),
                records: SmallVec::new(),
            },
        }
    }

    fn register(&mut self, r: &Registration<'_>) -> Result<Updated, Refused> {
        check_extensions(r.message)?;
        let aor = check_owner(r)?;
        let contacts = r.message.contacts();
        let contacts = contacts.map_err(|_| refused(400, "Malformed Contact"))?;
        let call_id = String::from_utf8_lossy(r.message.call_id());
        if call_id.len() > CALL_ID_BYTES_MAX {
            return Err(refused(400, "Call-ID Too Long"));
        }
        let cseq = r
            .message
            .cseq()
            .map_err(|_| refused(400, "Malformed CSeq"))?;
        contacts::read_path(r, &mut self.path)?;
        let agent = user_agent(r.message);
        let update = Update {
            aor,
            call_id: &call_id,
            cseq: cseq.number,
            flow: *r.flow,
            path: &self.path,
            user_agent: &agent,
            requested: Requested::Fetch,
        };
        match contacts {
            Contacts::None => apply(r, &update),
            Contacts::Star if r.message.expires() == Ok(Some(0)) => apply(
                r,
                &Update {
                    requested: Requested::RemoveAll,
                    ..update
                },
            ),
            Contacts::Star => Err(refused(400, "Contact * Without Expires 0")),
            Contacts::List(list) => {
                self.parameters.clear();
                let has_path = !self.path.is_empty();
                let drafts = contacts::read(r, list, has_path, &mut self.parameters)?;
                let contacts: SmallVec<[ContactUpdate<'_>; 2]> = drafts
                    .iter()
                    .map(|d: &Draft<'_>| d.update(&self.parameters))
                    .collect();
                apply(
                    r,
                    &Update {
                        requested: Requested::Contacts(&contacts),
                        ..update
                    },
                )
            }
        }
    }
}

fn apply(r: &Registration<'_>, update: &Update<'_>) -> Result<Updated, Refused> {
    let clock = Clock {
        now: r.now,
        anchor: r.anchor,
    };
    r.location
        .update(clock, update)
        .map_err(|error| match error {
            UpdateError::OutOfOrder => refused(500, "Older Than the Registration"),
            UpdateError::TooManyContacts => refused(403, "Too Many Contacts"),
            UpdateError::TooLong => refused(400, "Contact Too Long"),
            UpdateError::Full => {
                tracing::error!(limit = "bindings_max", "no room for a registration");
                refused(503, "No Room").with(HeaderName::RetryAfter, RETRY_AFTER_S)
            }
        })
}

/// RFC 3261 §8.2.2.3, §10.3 step 2.
fn check_extensions(message: &Message) -> Result<(), Refused> {
    if !message.has(HeaderName::Require) {
        return Ok(());
    }
    let known = |tag: &[u8]| {
        EXTENSIONS
            .iter()
            .any(|e| tag.eq_ignore_ascii_case(e.as_bytes()))
    };
    let unknown: Vec<Cow<'_, str>> = message
        .tokens(HeaderName::Require)
        .filter(|tag| !known(tag))
        .map(String::from_utf8_lossy)
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(refused(420, "Bad Extension").with(HeaderName::Unsupported, unknown.join(", ")))
}

/// RFC 3261 §10.3 steps 4 and 5: who may register what.
fn check_owner<'a>(r: &Registration<'a>) -> Result<&'a str, Refused> {
    let aor = r.aor.ok_or(refused(404, "Not Found"))?;
    match r.registrant {
        Registrant::User(user) if user == aor => Ok(aor),
        Registrant::User(_) => Err(refused(403, "Not Your Address")),
        Registrant::Trusted => match r.directory.get(aor) {
            Some(_) => Ok(aor),
            None => Err(refused(404, "Not Found")),
        },
    }
}

fn user_agent(message: &Message) -> Cow<'_, str> {
    let bytes = message.header(HeaderName::UserAgent).unwrap_or_default();
    let bytes = bytes.get(..USER_AGENT_BYTES_MAX).unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => Cow::Borrowed(text),
        Ok(_) | Err(_) => {
            let text = String::from_utf8_lossy(bytes);
            Cow::Owned(text.replace(char::is_control, " "))
        }
    }
}
