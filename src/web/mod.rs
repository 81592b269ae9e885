//! F6: the administrator's HTTP interface, without the HTTP: which request is which [`Command`],
//! and what each [`Reply`] looks like. It can do no more than `voipctl` can, and says it in the
//! same field names.
//!
//! | request | what |
//! | --- | --- |
//! | `GET /healthz` | whether it answers; the only one that asks for no token |
//! | `GET /metrics` | counters in Prometheus' text format |
//! | `GET /api/v1/status` | how the daemon fares |
//! | `GET /api/v1/registrations?filter=&after=` | who is registered, a page at a time |
//! | `GET /api/v1/calls`, `DELETE /api/v1/calls/ID` | calls; end one |
//! | `GET /api/v1/cdrs?user=&since=&before=&limit=` | calls that are over, the newest first |
//! | `GET /api/v1/trace?call_id=` | messages |
//! | `GET /api/v1/conferences`, `GET /api/v1/conferences/NAME` | rooms and who is in them |
//! | `GET /api/v1/parked` | calls that are parked |
//! | `GET /api/v1/relay` | calls that are relayed, our own and those of other proxies |
//! | `GET /api/v1/queues` | who waits where, and the agents |
//! | `GET /api/v1/blocks`, `DELETE /api/v1/blocks/USER` | who may not call out; lift it |
//! | `GET /api/v1/trunks`, `GET /api/v1/pools` | the other systems, and how they stand |
//! | `GET /api/v1/bans`, `DELETE /api/v1/bans/IP?user=` | who is shut out; let it in again |
//! | `GET /api/v1/users?filter=&after=`, `GET /api/v1/users/AOR` | users |
//! | `PUT /api/v1/users/AOR` | add or replace: `{"password": "...", "display_name": "..."}` |
//! | `DELETE /api/v1/users/AOR` | delete |
//! | `POST /api/v1/reload` | read the configuration again |
//!
//! A refusal is `{"problem": "...", "remedy": "..."}` under a status that says whose fault it is.

mod metrics;
mod reply;
mod route;

#[cfg(test)]
mod tests;

pub use route::{HttpRequest, Wanted, route};

#[cfg(doc)]
use crate::control::{Command, Reply};

/// The longest body that a request may have, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The shortest token, in characters.
pub const TOKEN_CHARACTERS_MIN: usize = 16;

/// What goes back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// RFC 9110 §15.
    pub status: u16,
    /// Of the body.
    pub content_type: &'static str,
    /// For 405: the methods that the resource has.
    pub allow: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    fn json(status: u16, value: &impl serde::Serialize) -> Self {
        Self {
            status,
            content_type: "application/json",
            allow: None,
            // Rows hold nothing that JSON cannot say.
            body: serde_json::to_vec(value).unwrap_or_default(),
        }
    }

    fn text(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type,
            allow: None,
            body: body.into_bytes(),
        }
    }

    /// A refusal in the form that all have.
    pub fn refused(status: u16, problem: &str, remedy: &str) -> Self {
        Self::json(
            status,
            &serde_json::json!({ "problem": problem, "remedy": remedy }),
        )
    }

    /// The body is larger than [`BODY_BYTES_MAX`].
    pub fn too_large() -> Self {
        let problem = format!("the body is longer than {BODY_BYTES_MAX} bytes");
        Self::refused(413, &problem, "send one user at a time")
    }
}

/// Whether the request proves that it may ask: `Authorization: Bearer TOKEN` (RFC 6750 §2.1). Takes
/// the same time whatever is wrong with the token.
pub fn is_authorized(authorization: Option<&[u8]>, token: &[u8]) -> bool {
    let given = authorization
        .and_then(|value| value.split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map_or(&b""[..], |(_, given)| given.trim_ascii());
    let differs = token.iter().enumerate().fold(0, |differs, (at, byte)| {
        differs | (byte ^ given.get(at).copied().unwrap_or(!byte))
    });
    !token.is_empty() && differs == 0 && given.len() == token.len()
}

/// What a token file says: its first line.
pub fn token_of(text: &str) -> Result<String, String> {
    let token = text.lines().next().unwrap_or_default().trim();
    match token.chars().count() {
        TOKEN_CHARACTERS_MIN.. if token.is_ascii() => Ok(token.to_owned()),
        TOKEN_CHARACTERS_MIN.. => Err("the token has characters outside ASCII".to_owned()),
        n => Err(format!(
            "the token has {n} characters; make one of at least {TOKEN_CHARACTERS_MIN}, such as \
             by: openssl rand -hex 32"
        )),
    }
}
