//! Commands about mailboxes, carried out on the table in memory and told to the store.

use super::Tables;
use super::users::find;
use crate::config::is_mail_address;
use crate::control::{Command, Failure, MailboxRow, MessageRow, Reply, USER_ROWS_MAX};
use crate::mailbox::BOX_MESSAGES_MAX;
use crate::store::{Folder, Greeting, Mailbox, MessageRecord, PinHash, Record};

/// What `set` knows, and what it takes.
pub const KEYS: &[(&str, &str)] = &[
    (
        "enabled",
        "on, off, or default: as [voicemail] enabled says",
    ),
    (
        "pin",
        "three to sixteen digits, - to read them from standard input, or none",
    ),
    ("email", "where copies of messages go, or none"),
    ("messages-max", "from 1 to 1000, or default"),
    ("locked", "off: wrong PINs are forgiven"),
    (
        "unavail, busy, greet",
        "default: the recorded greeting goes",
    ),
];

/// Of a mailbox with an address, where no copy can be sent.
const NO_SERVER: &str = "no copies are sent: [voicemail] smtp names no server; messages that come \
    before it does are never copied";

/// Carries out a command about mailboxes; `None` if it is about something else. What must be kept
/// goes to `keep`.
pub(super) fn execute(
    command: &Command,
    tables: Tables<'_>,
    keep: &mut dyn FnMut(Record),
) -> Option<Reply> {
    let done = match command {
        Command::MailboxList { filter, after } => Ok(list(tables, filter, after)),
        Command::MailboxShow { aor } => show(aor, tables),
        Command::MailboxSet { aor, key, value } => set(aor, (key, value), tables, keep),
        Command::MailboxDeleteMessage { aor, id } => delete(aor, *id, tables, keep),
        _ => return None,
    };
    Some(done.unwrap_or_else(|failed| failed))
}

fn list(tables: Tables<'_>, filter: &Option<String>, after: &Option<String>) -> Reply {
    let filter = filter.as_deref().unwrap_or_default();
    let most = USER_ROWS_MAX + 1;
    let mut users = tables.directory.page(filter, after.as_deref(), most);
    let more = users.len() > USER_ROWS_MAX;
    users.truncate(USER_ROWS_MAX);
    let rows = users.iter().map(|user| row(&user.aor(), tables));
    Reply::Mailboxes {
        rows: rows.collect(),
        more,
    }
}

fn show(aor: &str, tables: Tables<'_>) -> Result<Reply, Reply> {
    let aor = find(aor, tables.directory)?.aor();
    Ok(shown(&aor, tables))
}

fn shown(aor: &str, tables: Tables<'_>) -> Reply {
    let folders = [
        Folder::Recording,
        Folder::New,
        Folder::Saved,
        Folder::Deleted,
    ];
    let all = folders.map(|folder| tables.mailboxes.messages(aor, folder));
    let mut messages: Vec<MessageRow> = all.iter().flatten().map(message).collect();
    messages.sort_by_key(|m| m.id);
    Reply::Mailbox {
        row: Box::new(row(aor, tables)),
        messages,
    }
}

fn row(aor: &str, tables: Tables<'_>) -> MailboxRow {
    let (mailboxes, mail) = (tables.mailboxes, tables.mail);
    let (mailbox, counts) = (mailboxes.mailbox(aor), mailboxes.counts(aor));
    let recorded = Greeting::ALL.into_iter();
    let recorded = recorded.filter(|g| mailbox.greetings.has(*g));
    MailboxRow {
        aor: aor.to_owned(),
        enabled: mailbox.enabled,
        new: counts.new,
        saved: counts.saved,
        messages_max: mailbox.messages_max,
        most: mailbox.messages_max.unwrap_or(mail.messages_max),
        pin: mailbox.pin.is_some(),
        email: mailbox.email.to_string(),
        warning: match mail.smtp {
            None if !mailbox.email.is_empty() => NO_SERVER.to_owned(),
            Some(_) | None => String::new(),
        },
        wrong_pins: mailbox.wrong_pins,
        locked_until_ms: mailbox.locked_until_ms,
        greetings: recorded.map(|g| g.as_str().to_owned()).collect(),
    }
}

fn message(message: &MessageRecord) -> MessageRow {
    MessageRow {
        id: message.id,
        folder: message.folder.as_str().to_owned(),
        number: message.number.to_string(),
        name: message.name.to_string(),
        received_ms: message.received_ms,
        duration_ms: message.duration_ms,
        file: message.file.to_string(),
    }
}

type Change = Box<dyn FnOnce(&mut Mailbox)>;

fn set(
    aor: &str,
    (key, value): (&str, &str),
    tables: Tables<'_>,
    keep: &mut dyn FnMut(Record),
) -> Result<Reply, Reply> {
    let aor = find(aor, tables.directory)?.aor();
    let key = key.to_ascii_lowercase().replace('_', "-");
    let greeting = Greeting::ALL.into_iter().find(|g| g.as_str() == key);
    let record = match greeting {
        Some(greeting) if value == "default" => tables.mailboxes.reset_greeting(&aor, greeting),
        Some(_) => {
            return Err(bad(
                "a greeting is recorded by phone; default takes it away",
            ));
        }
        None => {
            let change = change(&key, value)?;
            tables.mailboxes.update(&aor, change)
        }
    };
    let full = || Reply::failed(Failure::Full, "there is no room for another mailbox", "");
    keep(record.ok_or_else(full)?);
    Ok(shown(&aor, tables))
}

fn change(key: &str, value: &str) -> Result<Change, Reply> {
    Ok(match (key, value) {
        ("enabled", "on" | "yes" | "true") => Box::new(|m| m.enabled = Some(true)),
        ("enabled", "off" | "no" | "false") => Box::new(|m| m.enabled = Some(false)),
        ("enabled", "default") => Box::new(|m| m.enabled = None),
        ("pin", "none") => Box::new(|m| m.pin = None),
        ("pin", hash) => {
            let hash = PinHash::from_text(hash).ok_or_else(|| bad("that is no hash of a PIN"))?;
            Box::new(|m| {
                m.pin = Some(hash);
                m.wrong_pins = 0;
                m.locked_until_ms = 0;
            })
        }
        ("email", "none") => Box::new(|m| m.email = "".into()),
        ("email", address) if is_mail_address(address) => {
            let address: Box<str> = address.into();
            Box::new(|m| m.email = address)
        }
        ("messages-max", "default") => Box::new(|m| m.messages_max = None),
        ("messages-max", number) => {
            let number = number.parse().ok();
            let number = number.filter(|n| (1..=BOX_MESSAGES_MAX).contains(n));
            let number = number.ok_or_else(|| bad("messages-max is a number from 1 to 1000"))?;
            Box::new(move |m| m.messages_max = Some(number))
        }
        ("locked", "off" | "no" | "false") => Box::new(|m| {
            m.wrong_pins = 0;
            m.locked_until_ms = 0;
        }),
        (key, value) => {
            let known: Vec<String> = KEYS.iter().map(|(key, v)| format!("{key} ({v})")).collect();
            let problem = match KEYS.iter().any(|(known, _)| *known == key) {
                true => format!("\"{value}\" is nothing that {key} takes"),
                false => format!("a mailbox has no \"{key}\""),
            };
            let remedy = format!("there are {}", known.join("; "));
            return Err(Reply::failed(Failure::BadCommand, problem, remedy));
        }
    })
}

fn delete(
    aor: &str,
    id: u64,
    tables: Tables<'_>,
    keep: &mut dyn FnMut(Record),
) -> Result<Reply, Reply> {
    let aor = find(aor, tables.directory)?.aor();
    let missing = || {
        let remedy = format!("voipctl mailbox show {aor} lists the messages");
        let problem = format!("{aor} has no message {id}");
        Reply::failed(Failure::NotFound, problem, remedy)
    };
    keep(tables.mailboxes.remove(&aor, id).ok_or_else(missing)?);
    Ok(Reply::done(format!("message {id} of {aor} is deleted")))
}

fn bad(problem: &str) -> Reply {
    let remedy = "voipctl mailbox set --help lists keys and values";
    Reply::failed(Failure::BadCommand, problem, remedy)
}
