//! Call detail records, for the operator.

use crate::config::Config;
use crate::control::{CDR_ROWS_MAX, CdrLegRow, CdrRow, Command, Failure, Reply, rfc3339};
use crate::os::store::{CdrPage, CdrQuery, Database, Store, StoreError};
use crate::plan::moment;
use crate::relay::mean_opinion_score;
use crate::store::{Cdr, CdrLeg};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the writer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers a command about call detail records in a running daemon; `None` if it is about
/// something else. Blocks: not for a thread that serves the network.
pub fn answer(command: &Command, config: &Config, store: &Store) -> Option<Reply> {
    let asked = match query(command, config)? {
        Ok(asked) => asked,
        Err(reply) => return Some(reply),
    };
    Some(match store.cdrs(asked, PATIENCE) {
        Ok(Some(page)) => reply(page),
        Ok(None) => Reply::failed(
            Failure::Unavailable,
            "the store is busy",
            "try again; see voipctl status",
        ),
        Err(trouble) => failed(trouble),
    })
}

/// The same on a database that no daemon has.
pub fn read(command: &Command, config: &Config, database: &Database) -> Option<Reply> {
    let asked = match query(command, config)? {
        Ok(asked) => asked,
        Err(reply) => return Some(reply),
    };
    Some(database.cdrs(&asked).map_or_else(failed, reply))
}

fn failed(trouble: StoreError) -> Reply {
    Reply::failed(Failure::Store, trouble.problem, trouble.remedy)
}

fn query(command: &Command, config: &Config) -> Option<Result<CdrQuery, Reply>> {
    let Command::Cdrs {
        user,
        since,
        before,
        limit,
    } = command
    else {
        return None;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    let since_ms = match since.as_deref() {
        None => 0,
        Some(text) => match moment(text, &config.numbers.timezone, now_ms) {
            Some(ms) => ms,
            None => {
                let problem = format!("\"{text}\" is no time");
                let remedy = "write \"2026-12-25 10:00\", \"10:00\" or \"2026-12-25T10:00:00Z\"";
                return Some(Err(Reply::failed(Failure::BadCommand, problem, remedy)));
            }
        },
    };
    Some(Ok(CdrQuery {
        user: user.as_deref().map(Box::from),
        since_ms,
        before: *before,
        limit: limit.unwrap_or(CDR_ROWS_MAX).min(CDR_ROWS_MAX),
    }))
}

fn reply(page: CdrPage) -> Reply {
    Reply::Cdrs {
        rows: page.rows.iter().map(row).collect(),
        next: page.next,
    }
}

fn row(cdr: &Cdr) -> CdrRow {
    let talked_ms = cdr.answer_ms.map(|at| cdr.end_ms.saturating_sub(at));
    let sides = cdr.legs.iter().flatten().zip(["caller", "callee"]);
    CdrRow {
        call_id: cdr.call_id.to_string(),
        from: cdr.from.to_string(),
        to: cdr.to.to_string(),
        user: cdr.user.to_string(),
        source: cdr.source.to_string(),
        way_in: cdr.way_in.to_string(),
        way_out: cdr.way_out.to_string(),
        route: cdr.route.to_string(),
        start_ms: cdr.start_ms,
        start: rfc3339(cdr.start_ms),
        answer_ms: cdr.answer_ms,
        end_ms: cdr.end_ms,
        seconds: talked_ms.unwrap_or(0) / 1000,
        status: cdr.status,
        cause: cdr.cause.as_str().to_owned(),
        codecs: cdr.codecs.to_string(),
        note: cdr.note.to_string(),
        legs: sides.map(|side| leg(side, &cdr.codecs)).collect(),
    }
}

fn leg((leg, side): (&CdrLeg, &str), codecs: &str) -> CdrLegRow {
    CdrLegRow {
        side: side.to_owned(),
        packets_in: leg.packets_in,
        packets_out: leg.packets_out,
        lost: leg.lost,
        jitter_ms: leg.jitter_ms,
        mos: mean_opinion_score(codecs, leg.packets_in, leg.lost, leg.jitter_ms, 0.0),
    }
}
