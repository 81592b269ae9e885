//! From a reply to an answer.

use super::{Answer, Wanted, metrics};
use crate::control::{Failure, Reply};
use serde_json::json;

impl Answer {
    /// Whether somebody answers.
    pub fn healthy() -> Self {
        Self::text(200, "text/plain; charset=utf-8", "ok\n".to_owned())
    }

    /// Who may not ask (RFC 9110 §11.6.1; the caller adds WWW-Authenticate).
    pub fn unauthorized() -> Self {
        let remedy = "send Authorization: Bearer and what [admin] token_file holds";
        Self::refused(401, "this needs the token", remedy)
    }

    /// What a reply looks like to whoever wanted that.
    pub fn of(wanted: &Wanted, reply: Reply) -> Self {
        match (wanted, reply) {
            (Wanted::Metrics, Reply::Status(row)) => {
                Self::text(200, metrics::CONTENT_TYPE, metrics::text(&row))
            }
            (_, reply) => of(reply),
        }
    }
}

fn of(reply: Reply) -> Answer {
    match reply {
        Reply::Done { message } => Answer::json(200, &json!({ "message": message })),
        Reply::Failed {
            kind,
            problem,
            remedy,
        } => Answer::refused(status(kind), &problem, &remedy),
        Reply::Status(row) => Answer::json(200, &row),
        Reply::Registrations { rows, more } => {
            Answer::json(200, &json!({ "rows": rows, "more": more }))
        }
        Reply::Users { rows, more } => Answer::json(200, &json!({ "rows": rows, "more": more })),
        Reply::Mailboxes { rows, more } => {
            Answer::json(200, &json!({ "rows": rows, "more": more }))
        }
        Reply::Mailbox { row, messages } => {
            Answer::json(200, &json!({ "mailbox": row, "messages": messages }))
        }
        Reply::Calls { rows } => Answer::json(200, &json!({ "rows": rows })),
        Reply::Cdrs { rows, next } => Answer::json(200, &json!({ "rows": rows, "next": next })),
        Reply::Features { row } => Answer::json(200, &row),
        Reply::Blocks { rows } => Answer::json(200, &json!({ "rows": rows })),
        Reply::Queues { rows } => Answer::json(200, &json!({ "rows": rows })),
        Reply::Trunks { rows } => Answer::json(200, &json!({ "rows": rows })),
        Reply::Pools { rows } => Answer::json(200, &json!({ "rows": rows })),
        Reply::Parked { rows } => Answer::json(200, &json!({ "rows": rows })),
        Reply::Relayed { rows, more } => Answer::json(200, &json!({ "rows": rows, "more": more })),
        Reply::Conferences { rows } => Answer::json(200, &json!({ "rows": rows })),
        Reply::Bans { rows } => Answer::json(200, &json!({ "rows": rows })),
        Reply::Route(row) => Answer::json(200, &row),
        Reply::Trace { rows } => Answer::json(200, &json!({ "rows": rows })),
        Reply::Imported {
            added,
            replaced,
            refused,
        } => match refused.first() {
            Some(why) => Answer::refused(400, why, ""),
            None => {
                let status = if added > 0 { 201 } else { 200 };
                Answer::json(status, &json!({ "added": added, "replaced": replaced }))
            }
        },
    }
}

fn status(kind: Failure) -> u16 {
    match kind {
        Failure::NotFound => 404,
        Failure::Exists => 409,
        Failure::BadCommand => 400,
        Failure::BadConfig => 422,
        Failure::Full | Failure::Store => 507,
        Failure::Unavailable => 503,
    }
}
