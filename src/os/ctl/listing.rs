//! `voipctl status`, `registrations`, `calls`, `bans`, `blocks`.

use super::access::{Access, accepted};
use super::failure::Failure;
use super::output::Output;
use super::table::{Table, duration, printable};
use crate::control::{CallRow, Command, LegRow, RegistrationRow, Reply, StatusRow};
use std::collections::BTreeMap;
use std::fmt::Write;

pub(super) fn status(access: &Access, output: Output) -> Result<(), Failure> {
    let status = match access.ask(Command::Status)? {
        Reply::Status(status) => status,
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.value(&*status);
    }
    output.text(&status_text(&status))
}

pub(super) fn status_text(s: &StatusRow) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<14} {value}");
        }
    };
    let up = duration(s.uptime_s);
    let running = format!(
        "{}, up {up}, process {}, {} shards",
        s.version, s.pid, s.shards
    );
    line("voipd", running);
    line("domains", s.domains.join(", "));
    line("listens on", s.listen.join(", "));
    line("users", s.users.to_string());
    line("registrations", s.registrations.to_string());
    line(
        "calls",
        format!("{} ({} relayed)", s.calls, s.media_sessions),
    );
    line("transactions", s.transactions.to_string());
    line("connections", s.connections.to_string());
    line("trunks", states(s.trunks.iter().map(|t| t.state.as_str())));
    let members = s.pools.iter().flat_map(|pool| &pool.members);
    line("pool members", states(members.map(|m| m.state.as_str())));
    line("bans", s.bans.to_string());
    line("blocks", s.blocks.to_string());
    let c = &s.counters;
    line(
        "messages",
        format!("{} in, {} out", c.messages_in, c.messages_out),
    );
    line("requests", counts(&c.requests));
    line("responses", counts(&c.responses));
    line("dropped", counts(&c.drops));
    line("also counted", counts(&c.other));
    for warning in &s.warnings {
        line("WARNING", printable(warning));
    }
    text
}

/// `2 up, 1 down`; nothing where there is nobody.
fn states<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for state in all {
        *counted.entry(state.to_owned()).or_default() += 1;
    }
    counts(&counted)
}

fn counts(map: &BTreeMap<String, u64>) -> String {
    let counted: Vec<String> = map
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(name, n)| format!("{n} {}", printable(name)))
        .collect();
    counted.join(", ")
}

pub(super) fn registrations(
    access: &Access,
    filter: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let mut client = access.client()?;
    let mut all: Vec<RegistrationRow> = Vec::new();
    loop {
        let after = all.last().map(|r| r.aor.clone());
        let filter = filter.clone();
        match accepted(client.ask(Command::Registrations { filter, after })?)? {
            Reply::Registrations { rows, more } => {
                let more = more && !rows.is_empty();
                all.extend(rows);
                if !more {
                    break;
                }
            }
            other => return Err(Failure::unexpected(&other)),
        }
    }
    if output.json {
        return output.rows(&all);
    }
    output.text(&registrations_text(&all))
}

pub(super) fn registrations_text(rows: &[RegistrationRow]) -> String {
    let mut table = Table::new(&[
        "USER", "CONTACT", "RECEIVED", "VIA", "NAT", "EXPIRES", "PHONE",
    ]);
    for r in rows {
        table.row([
            r.aor.clone(),
            r.contact.clone(),
            r.received.clone(),
            r.transport.clone(),
            if r.behind_nat { "yes" } else { "no" }.into(),
            r.expires_s.to_string(),
            r.user_agent.clone(),
        ]);
    }
    table.render("nobody is registered")
}

pub(super) fn calls(access: &Access, output: Output) -> Result<(), Failure> {
    let rows = match access.ask(Command::Calls)? {
        Reply::Calls { rows } => rows,
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.rows(&rows);
    }
    output.text(&calls_text(&rows))
}

pub(super) fn calls_text(rows: &[CallRow]) -> String {
    let mut table = Table::new(&["ID", "FROM", "TO", "STATE", "SINCE", "CODEC"]);
    for c in rows {
        let state = c.state.as_str().to_string();
        let (from, to) = (c.from.clone(), c.to.clone());
        table.row([
            c.id.clone(),
            from,
            to,
            state,
            c.since.clone(),
            c.codec.clone(),
        ]);
    }
    let mut text = String::new();
    // Below each call, indented, its sides and what is wrong with them.
    for (i, line) in table.render("there are no calls").lines().enumerate() {
        let _ = writeln!(text, "{line}");
        let Some(call) = i.checked_sub(1).and_then(|i| rows.get(i)) else {
            continue;
        };
        for leg in &call.legs {
            let _ = writeln!(text, "    {}", leg_text(leg));
        }
        if !call.verdict.is_empty() {
            let _ = writeln!(text, "    ! {}", printable(&call.verdict));
        }
    }
    text
}

fn leg_text(leg: &LegRow) -> String {
    let mut text = format!(
        "{}: {} packets in, {} out, {} lost, jitter {:.1} ms",
        printable(&leg.side),
        leg.packets_in,
        leg.packets_out,
        leg.lost,
        leg.jitter_ms
    );
    if let Some(mos) = leg.mos {
        let _ = write!(text, ", MOS {mos:.1}");
    }
    if !leg.remote.is_empty() {
        let _ = write!(text, ", from {}", printable(&leg.remote));
    }
    if let Some(ms) = leg.silent_ms.filter(|ms| *ms >= 1000) {
        let _ = write!(text, ", silent for {} s", ms / 1000);
    }
    text
}

pub(super) fn bans(access: &Access, output: Output) -> Result<(), Failure> {
    let rows = match access.ask(Command::Bans)? {
        Reply::Bans { rows } => rows,
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.rows(&rows);
    }
    let mut table = Table::new(&["SOURCE", "USER", "SINCE", "EXPIRES", "REASON"]);
    for b in rows {
        let user = b.user.map_or_else(|| "any".into(), |u| printable(&u));
        table.row([b.source, user, b.since, b.expires_s.to_string(), b.reason]);
    }
    output.text(&table.render("nobody is shut out"))
}

pub(super) fn blocks(access: &Access, output: Output) -> Result<(), Failure> {
    let rows = match access.ask(Command::Blocks)? {
        Reply::Blocks { rows } => rows,
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.rows(&rows);
    }
    let mut table = Table::new(&["USER", "SINCE", "EXPIRES", "REASON"]);
    for b in rows {
        let user = printable(&b.user);
        table.row([user, b.since, b.expires_s.to_string(), b.reason]);
    }
    output.text(&table.render("nobody is blocked"))
}
