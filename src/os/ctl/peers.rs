//! `voipctl trunks`, `pools`.

use super::access::Access;
use super::failure::Failure;
use super::output::Output;
use super::table::Table;
use crate::control::{Command, PoolRow, Reply, TrunkRow};

pub(super) fn trunks(access: &Access, output: Output) -> Result<(), Failure> {
    let rows = match access.ask(Command::Trunks)? {
        Reply::Trunks { rows } => rows,
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.rows(&rows);
    }
    output.text(&trunks_text(&rows))
}

pub(super) fn trunks_text(rows: &[TrunkRow]) -> String {
    let mut table = Table::new(&[
        "TRUNK",
        "STATE",
        "SINCE",
        "CALLS",
        "ASR",
        "REGISTERED",
        "LAST ERROR",
    ]);
    for row in rows {
        let registered = match &row.registered_until {
            Some(until) => format!("until {until}"),
            None => row.registration.clone(),
        };
        table.row([
            row.name.clone(),
            row.state.clone(),
            row.since.clone(),
            of(row.calls, row.calls_max),
            percent(row.answer_seizure_percent),
            registered,
            error(row.last_error.as_deref(), row.last_error_at.as_deref()),
        ]);
    }
    table.render("the configuration has no [[trunk]]")
}

pub(super) fn pools(access: &Access, output: Output) -> Result<(), Failure> {
    let rows = match access.ask(Command::Pools)? {
        Reply::Pools { rows } => rows,
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.rows(&rows);
    }
    output.text(&pools_text(&rows))
}

pub(super) fn pools_text(rows: &[PoolRow]) -> String {
    let mut table = Table::new(&[
        "POOL",
        "MEMBER",
        "WEIGHT",
        "STATE",
        "SINCE",
        "CALLS",
        "ASR",
        "LAST ERROR",
    ]);
    for row in rows {
        for member in &row.members {
            let state = match member.draining {
                true => format!("{}, draining", member.state),
                false => member.state.clone(),
            };
            table.row([
                format!("{} ({})", row.name, row.algorithm),
                member.uri.clone(),
                member.weight.to_string(),
                state,
                member.since.clone(),
                of(member.calls, member.calls_max),
                percent(member.answer_seizure_percent),
                error(
                    member.last_error.as_deref(),
                    member.last_error_at.as_deref(),
                ),
            ]);
        }
    }
    table.render("the configuration has no [[pool]]")
}

/// `3`, or `3 of 30`.
fn of(calls: u32, max: u32) -> String {
    match max {
        0 => calls.to_string(),
        max => format!("{calls} of {max}"),
    }
}

fn percent(percent: Option<u32>) -> String {
    percent.map_or_else(String::new, |percent| format!("{percent}%"))
}

fn error(text: Option<&str>, at: Option<&str>) -> String {
    match (text, at) {
        (Some(text), Some(at)) => format!("{text} ({at})"),
        (Some(text), None) => text.to_owned(),
        (None, _) => String::new(),
    }
}
