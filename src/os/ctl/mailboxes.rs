//! `voipctl mailbox`.

use super::super::service;
use super::access::{Access, UserLink};
use super::args::MailboxVerb;
use super::failure::{Failure, exit};
use super::output::Output;
use super::table::{Table, duration, printable};
use super::users::whole;
use crate::control::{Command, MailboxRow, MessageRow, Reply, rfc3339};
use crate::store::PinHash;
use std::io::{self, BufRead, Read};

/// Longest line of standard input that is looked at.
const LINE_BYTES_MAX: u64 = 64;

pub(super) fn run(verb: MailboxVerb, access: &Access, output: Output) -> Result<(), Failure> {
    let mut link = access.users()?;
    let command = match verb {
        MailboxVerb::List { filter } => return list(&mut link, filter, output),
        MailboxVerb::Show { user } => Command::MailboxShow {
            aor: whole(&user, &mut link)?,
        },
        MailboxVerb::Set { user, key, value } => Command::MailboxSet {
            aor: whole(&user, &mut link)?,
            value: match &*key {
                "pin" if value != "none" => pin(&value)?,
                _ => value,
            },
            key,
        },
        MailboxVerb::DeleteMessage { user, id } => Command::MailboxDeleteMessage {
            aor: whole(&user, &mut link)?,
            id,
        },
    };
    match link.ask(command)? {
        Reply::Mailbox { row, messages } => show(&row, &messages, output),
        Reply::Done { message } => output.done(&message),
        other => Err(Failure::unexpected(&other)),
    }
}

/// The PIN stays here; its hash goes to the daemon.
fn pin(value: &str) -> Result<String, Failure> {
    let line = match value {
        "-" => {
            let mut line = String::new();
            let mut input = io::stdin().lock().take(LINE_BYTES_MAX);
            let read = input.read_line(&mut line);
            read.map_err(|e| Failure::new(exit::NOINPUT, format!("standard input: {e}")))?;
            line
        }
        digits => digits.to_owned(),
    };
    let mut salt = [0; 16];
    let rng = service::rng();
    let mut rng = rng.map_err(|e| Failure::new(exit::OSERR, e.to_string()))?;
    rng.fill(&mut salt);
    let hash = PinHash::of(line.trim_end_matches(['\r', '\n']), salt);
    let hash = hash.ok_or_else(|| {
        let text = "a PIN has three to sixteen digits, as a telephone has them; none takes it away";
        Failure::new(exit::DATAERR, text)
    })?;
    Ok(hash.to_text())
}

fn list(link: &mut UserLink, filter: Option<String>, output: Output) -> Result<(), Failure> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let filter = filter.clone();
        match link.ask(Command::MailboxList { filter, after })? {
            Reply::Mailboxes { rows, more } => {
                after = rows.last().map(|row| row.aor.clone());
                all.extend(rows);
                if !more {
                    break;
                }
            }
            other => return Err(Failure::unexpected(&other)),
        }
    }
    if output.json {
        return output.value(&all);
    }
    let mut table = Table::new(&["MAILBOX", "NEW", "SAVED", "MOST", "CALLS", "PIN", "E-MAIL"]);
    for row in &all {
        table.row([
            row.aor.clone(),
            row.new.to_string(),
            row.saved.to_string(),
            full(row),
            takes(row).into(),
            locked(row).into(),
            row.email.clone(),
        ]);
    }
    output.text(&table.render("no users"))
}

/// How many messages there may be, and whether there are.
fn full(row: &MailboxRow) -> String {
    let full = row.most > 0 && row.new + row.saved >= row.most;
    format!("{}{}", row.most, if full { " full" } else { "" })
}

fn takes(row: &MailboxRow) -> &'static str {
    match row.enabled {
        Some(true) => "on",
        Some(false) => "off",
        None => "default",
    }
}

fn locked(row: &MailboxRow) -> &'static str {
    match (row.pin, row.locked_until_ms) {
        (false, _) => "none",
        (true, 0) => "set",
        (true, _) => "locked",
    }
}

fn show(row: &MailboxRow, messages: &[MessageRow], output: Output) -> Result<(), Failure> {
    if output.json {
        let all = serde_json::json!({ "mailbox": row, "messages": messages });
        return output.value(&all);
    }
    let most = match row.messages_max {
        Some(own) => own.to_string(),
        None => format!("default ({})", row.most),
    };
    let mut lines = vec![
        ("mailbox", row.aor.clone()),
        ("enabled", takes(row).into()),
        ("pin", locked(row).into()),
        ("messages-max", most),
        ("email", printable(&row.email)),
        ("greetings", printable(&row.greetings.join(" "))),
    ];
    if !row.warning.is_empty() {
        lines.push(("warning", printable(&row.warning)));
    }
    if row.wrong_pins > 0 {
        lines.push(("wrong PINs", row.wrong_pins.to_string()));
    }
    if row.locked_until_ms > 0 {
        lines.push(("locked until", rfc3339(row.locked_until_ms)));
    }
    let lines = lines.iter();
    let head: String = lines
        .map(|(key, value)| format!("{key:<12}  {value}\n"))
        .collect();
    let mut table = Table::new(&["ID", "FOLDER", "RECEIVED", "LENGTH", "NUMBER", "NAME"]);
    for message in messages {
        table.row([
            message.id.to_string(),
            message.folder.clone(),
            rfc3339(message.received_ms),
            duration(u64::from(message.duration_ms.div_ceil(1000))),
            message.number.clone(),
            message.name.clone(),
        ]);
    }
    output.text(&format!("{head}\n{}", table.render("no messages")))
}
