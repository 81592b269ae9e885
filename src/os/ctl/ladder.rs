//! `voipctl trace`: the messages of one call between voipd and its peers, as a ladder.

use super::access::Access;
use super::failure::{Failure, exit};
use super::output::Output;
use super::table::{Table, printable};
use crate::control::{Command, Reply, TraceDirection, TraceRow, rfc3339};
use std::fmt::Write;

/// Columns between two lifelines.
const GAP: usize = 36;

/// Columns before the first lifeline: the time, and half a peer's name.
const MARGIN: usize = 20;

/// The middle lifeline.
const US: &str = "voipd";

pub(super) fn run(
    access: &Access,
    call_id: Option<String>,
    full: bool,
    output: Output,
) -> Result<(), Failure> {
    let wanted = call_id.clone();
    let rows = match access.ask(Command::Trace { call_id })? {
        Reply::Trace { rows } => rows,
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.rows(&rows);
    }
    match wanted {
        None => output.text(&overview(&rows)),
        Some(id) if rows.is_empty() => {
            let text = format!("no message of {id} is kept; voipctl trace lists what is");
            Err(Failure::new(exit::DATAERR, text))
        }
        Some(_) => output.text(&ladder(&rows, full)),
    }
}

/// One line for each Call-ID, in the order of its first message.
pub(super) fn overview(rows: &[TraceRow]) -> String {
    let mut calls: Vec<(&str, Vec<&TraceRow>)> = Vec::new();
    for row in rows {
        match calls.iter_mut().find(|(id, _)| *id == row.call_id) {
            Some((_, seen)) => seen.push(row),
            None => calls.push((&row.call_id, vec![row])),
        }
    }
    let mut table = Table::new(&["TIME", "MESSAGES", "FIRST", "LAST", "CALL-ID"]);
    for (id, seen) in calls {
        let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
            continue;
        };
        table.row([
            rfc3339(first.at_ms),
            seen.len().to_string(),
            cut(&label(first), 40),
            cut(&label(last), 40),
            id.to_string(),
        ]);
    }
    table.render("no message is kept")
}

/// The ladder of one call. `full` adds the messages themselves.
pub(super) fn ladder(rows: &[TraceRow], full: bool) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let lanes = lanes(rows);
    let mut text = format!(
        "{}  {}\n\n",
        rfc3339(first.at_ms),
        printable(&first.call_id)
    );
    text.push_str(&names(&lanes));
    for row in rows {
        let after = row.at_ms.saturating_sub(first.at_ms);
        let time = format!("+{}.{:03}", after / 1000, after % 1000);
        text.push_str(&arrow(row, &lanes, &time));
    }
    if full {
        for row in rows {
            let way = match row.direction {
                TraceDirection::In => "from",
                TraceDirection::Out => "to",
            };
            let (transport, remote) = (&row.transport, &row.remote);
            let _ = writeln!(text, "\n--- {way} {transport}:{remote}");
            for line in row.text.lines() {
                let _ = writeln!(text, "{}", printable(line.trim_end()).replace("\u{0}", "?"));
            }
        }
    }
    text
}

/// The peers in the order of appearance, us behind the first.
fn lanes(rows: &[TraceRow]) -> Vec<String> {
    let mut lanes: Vec<String> = Vec::new();
    for row in rows {
        if !lanes.contains(&row.remote) {
            lanes.push(row.remote.clone());
        }
    }
    lanes.insert(1.min(lanes.len()), US.to_string());
    lanes
}

fn column(lane: usize) -> usize {
    MARGIN + lane * GAP
}

fn names(lanes: &[String]) -> String {
    let mut line: Vec<char> = Vec::new();
    for (i, name) in lanes.iter().enumerate() {
        let name = cut(&printable(name), GAP - 2);
        let start = column(i).saturating_sub(name.chars().count() / 2);
        line.resize(line.len().max(start), ' ');
        line.extend(name.chars());
    }
    let line: String = line.into_iter().collect();
    format!("{}\n", line.trim_end())
}

fn arrow(row: &TraceRow, lanes: &[String], time: &str) -> String {
    let lane_of = |name: &str| lanes.iter().position(|l| l == name).unwrap_or(0);
    let (peer, us) = (lane_of(&row.remote), lane_of(US));
    let (from, to) = match row.direction {
        TraceDirection::In => (peer, us),
        TraceDirection::Out => (us, peer),
    };
    let width = column(lanes.len().saturating_sub(1)) + 1;
    let mut line: Vec<char> = vec![' '; width];
    let mut put = |at: usize, c: char| {
        if let Some(place) = line.get_mut(at) {
            *place = c;
        }
    };
    for (i, c) in time.chars().enumerate() {
        put(i, c);
    }
    for lane in 0..lanes.len() {
        put(column(lane), '|');
    }
    let (left, right) = (column(from.min(to)) + 1, column(from.max(to)) - 1);
    for at in left..=right {
        put(at, '-');
    }
    if from < to {
        put(right, '>');
    } else {
        put(left, '<');
    }
    // The label stands in the gap beside us, however far the peer is.
    let (start, room) = if from.min(to) == us {
        (left + 2, GAP - 5)
    } else {
        (right.saturating_sub(GAP - 4), GAP - 5)
    };
    let label = format!(" {} ", cut(&label(row), room - 2));
    for (i, c) in label.chars().enumerate() {
        put(start + i, c);
    }
    let line: String = line.into_iter().collect();
    format!("{}\n", line.trim_end())
}

/// `INVITE sip:101@example.com`, `180 Ringing (INVITE)`.
fn label(row: &TraceRow) -> String {
    let line = printable(&row.first_line);
    if let Some(status) = line.strip_prefix("SIP/2.0 ") {
        let method = row.cseq.split_whitespace().nth(1).unwrap_or("?");
        return format!("{} ({})", status.trim(), printable(method));
    }
    line.strip_suffix(" SIP/2.0").unwrap_or(&line).to_string()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let head: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{head}…")
}
