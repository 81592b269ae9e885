//! From a request to a command.

use super::Answer;
use crate::control::{Command, NewUser, Verifier};
use crate::sip::digest;
use serde::Deserialize;

/// A request as HTTP brings it.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// `GET`.
    pub method: &'a str,
    /// Before the question mark, percent-encoded.
    pub path: &'a str,
    /// Behind it.
    pub query: &'a str,
    /// At most [`super::BODY_BYTES_MAX`] bytes.
    pub body: &'a [u8],
}

/// What a request is for.
#[derive(Clone, PartialEq, Debug)]
pub enum Wanted {
    /// Whether somebody answers.
    Health,
    /// Counters; made of the reply to [`Command::Status`].
    Metrics,
    /// The reply to this.
    Command(Command),
}

/// The body of `PUT /api/v1/users/AOR`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserBody {
    password: String,
    #[serde(default)]
    display_name: String,
}

/// What a request wants, or why it gets nothing.
pub fn route(request: &HttpRequest<'_>) -> Result<Wanted, Answer> {
    match request.path {
        "/healthz" => return only(request, "GET", || Ok(Wanted::Health)),
        "/metrics" => return only(request, "GET", || Ok(Wanted::Metrics)),
        _ => {}
    }
    let Some(rest) = request.path.strip_prefix("/api/v1/") else {
        return Err(nothing_there());
    };
    let (kind, name) = match rest.split_once('/') {
        Some((kind, name)) => (kind, Some(decode(name)?)),
        None => (rest, None),
    };
    let command = |command| Ok(Wanted::Command(command));
    match (kind, name) {
        ("status", None) => only(request, "GET", || command(Command::Status)),
        ("calls", None) => only(request, "GET", || command(Command::Calls)),
        ("calls", Some(id)) => only(request, "DELETE", || command(Command::Hangup { id })),
        ("trunks", None) => only(request, "GET", || command(Command::Trunks)),
        ("pools", None) => only(request, "GET", || command(Command::Pools)),
        ("parked", None) => only(request, "GET", || command(Command::Parked)),
        ("relay", None) => only(request, "GET", || command(Command::Relayed)),
        ("conferences", None) => only(request, "GET", || {
            command(Command::Conferences { name: None })
        }),
        ("conferences", Some(name)) => only(request, "GET", || {
            let name = Some(name);
            command(Command::Conferences { name })
        }),
        ("bans", None) => only(request, "GET", || command(Command::Bans)),
        ("bans", Some(ip)) => only(request, "DELETE", || {
            let source = ip.parse().map_err(|_| {
                Answer::refused(
                    400,
                    "this is no IP address",
                    "DELETE /api/v1/bans/192.0.2.1",
                )
            })?;
            let [user] = words(request.query, ["user"])?;
            command(Command::BanLift { source, user })
        }),
        ("queues", None) => only(request, "GET", || command(Command::Queues { name: None })),
        ("blocks", None) => only(request, "GET", || command(Command::Blocks)),
        ("blocks", Some(user)) => only(request, "DELETE", || command(Command::BlockLift { user })),
        ("reload", None) => only(request, "POST", || command(Command::Reload)),
        ("registrations", None) => only(request, "GET", || {
            let [filter, after] = words(request.query, ["filter", "after"])?;
            command(Command::Registrations { filter, after })
        }),
        ("trace", None) => only(request, "GET", || {
            let [call_id] = words(request.query, ["call_id"])?;
            command(Command::Trace { call_id })
        }),
        ("cdrs", None) => only(request, "GET", || cdrs(request).map(Wanted::Command)),
        ("users", None) => only(request, "GET", || {
            let [filter, after] = words(request.query, ["filter", "after"])?;
            command(Command::UserList { filter, after })
        }),
        ("users", Some(aor)) => user(request, aor).map(Wanted::Command),
        _ => Err(nothing_there()),
    }
}

fn cdrs(request: &HttpRequest<'_>) -> Result<Command, Answer> {
    let [user, since, before, limit] = words(request.query, ["user", "since", "before", "limit"])?;
    Ok(Command::Cdrs {
        user,
        since,
        before: before.map(|n| number("before", &n)).transpose()?,
        limit: limit.map(|n| number("limit", &n)).transpose()?,
    })
}

fn number<N: std::str::FromStr>(name: &str, text: &str) -> Result<N, Answer> {
    let problem = format!("{name}={text} is no number");
    text.parse()
        .map_err(|_| Answer::refused(400, &problem, "GET /api/v1/cdrs?limit=100"))
}

fn nothing_there() -> Answer {
    Answer::refused(404, "nothing is there", "see /api/v1/status")
}

fn only(
    request: &HttpRequest<'_>,
    method: &'static str,
    make: impl FnOnce() -> Result<Wanted, Answer>,
) -> Result<Wanted, Answer> {
    match request.method == method {
        true => make(),
        false => Err(not_allowed(method)),
    }
}

/// RFC 9110 §15.5.6.
fn not_allowed(methods: &'static str) -> Answer {
    Answer {
        allow: Some(methods),
        ..Answer::refused(405, "this method is not for that", methods)
    }
}

fn user(request: &HttpRequest<'_>, aor: String) -> Result<Command, Answer> {
    match request.method {
        "GET" => Ok(Command::UserShow { aor }),
        "DELETE" => Ok(Command::UserDel { aor }),
        "PUT" => {
            let example = r#"{"password": "...", "display_name": "..."}"#;
            let body: UserBody = serde_json::from_slice(request.body)
                .map_err(|e| Answer::refused(400, &format!("the body: {e}"), example))?;
            let Some((name, domain)) = aor.rsplit_once('@') else {
                let problem = "a user is NAME@DOMAIN";
                return Err(Answer::refused(
                    400,
                    problem,
                    "PUT /api/v1/users/100@example.com",
                ));
            };
            if body.password.is_empty() {
                return Err(Answer::refused(400, "the password is empty", example));
            }
            let domain = domain.to_ascii_lowercase();
            let ha1 = digest::ha1(name, &domain, body.password.as_bytes());
            let (md5, sha256) = ha1.to_hex();
            let aor = format!("{name}@{domain}");
            let user = NewUser {
                aor,
                display_name: body.display_name,
                verifier: Verifier { md5, sha256 },
            };
            Ok(Command::UserImport { users: vec![user] })
        }
        _ => Err(not_allowed("GET, PUT, DELETE")),
    }
}

/// One segment of a path.
fn decode(segment: &str) -> Result<String, Answer> {
    let bad = || Answer::refused(400, "the path is not UTF-8 or has more parts", "");
    if segment.is_empty() || segment.contains('/') {
        return Err(bad());
    }
    let decoded = percent_encoding::percent_decode_str(segment).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| bad())
}

/// The values of a query by their names; an unknown name is refused, since a mistyped filter would
/// show everything.
fn words<const N: usize>(query: &str, names: [&str; N]) -> Result<[Option<String>; N], Answer> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = names.iter().position(|known| *known == name);
        match place.and_then(|at| values.get_mut(at)) {
            Some(to) => *to = (!value.is_empty()).then(|| value.into_owned()),
            None => {
                let problem = format!("no parameter is called {name}");
                return Err(Answer::refused(400, &problem, &names.join(", ")));
            }
        }
    }
    Ok(values)
}
