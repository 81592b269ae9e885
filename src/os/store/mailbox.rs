//! Mailboxes and messages: their rows.

use super::schema;
use super::sqlite::{signed, unsigned};
use crate::store::{EmailCopy, Folder, Greetings, Mailbox, MailboxRecord, MessageRecord, PinHash};
use rusqlite::{Connection, Row, Transaction, params};

pub(super) fn put(t: &Transaction<'_>, record: &MailboxRecord) -> rusqlite::Result<()> {
    let m = &record.mailbox;
    let pin = m.pin.as_ref().map(PinHash::to_text).unwrap_or_default();
    t.prepare_cached(schema::PUT_MAILBOX)?
        .execute(params![
            record.aor,
            m.enabled,
            pin,
            m.email,
            m.messages_max,
            m.wrong_pins,
            signed(m.locked_until_ms),
            m.greetings.bits(),
            signed(record.revision)
        ])
        .map(drop)
}

pub(super) fn put_message(t: &Transaction<'_>, m: &MessageRecord) -> rusqlite::Result<()> {
    t.prepare_cached(schema::PUT_MESSAGE)?
        .execute(params![
            signed(m.id),
            m.mailbox,
            m.folder.as_str(),
            m.file,
            m.number,
            m.name,
            signed(m.received_ms),
            m.duration_ms,
            m.email.as_str(),
            signed(m.revision)
        ])
        .map(drop)
}

/// Every mailbox and every message. What is gone is among them, so that no number is given twice.
pub(super) fn load(c: &Connection) -> rusqlite::Result<(Vec<MailboxRecord>, Vec<MessageRecord>)> {
    let mut statement = c.prepare(schema::SELECT_MAILBOXES)?;
    let mailboxes = statement
        .query_map([], mailbox)?
        .collect::<Result<_, _>>()?;
    let mut statement = c.prepare(schema::SELECT_MESSAGES)?;
    let messages = statement
        .query_map([], message)?
        .collect::<Result<_, _>>()?;
    Ok((mailboxes, messages))
}

/// Forgets what a start read for the last time. A full disk must not keep the daemon from starting.
pub(super) fn sweep(c: &Connection) {
    let _ = c.execute(schema::DELETE_IDLE_MAILBOXES, []);
    let _ = c.execute(schema::DELETE_GONE_MESSAGES, []);
}

fn mailbox(row: &Row<'_>) -> rusqlite::Result<MailboxRecord> {
    let aor: Box<str> = row.get(0)?;
    let pin: String = row.get(2)?;
    let hash = PinHash::from_text(&pin);
    if hash.is_none() && !pin.is_empty() {
        tracing::error!(
            user = %aor,
            "the PIN in the store cannot be read and opens nothing; set it again"
        );
    }
    let mailbox = Mailbox {
        enabled: row.get(1)?,
        pin: hash,
        email: row.get(3)?,
        messages_max: row.get(4)?,
        wrong_pins: row.get(5)?,
        locked_until_ms: unsigned(row, 6)?,
        greetings: Greetings::from_bits(row.get(7)?),
    };
    Ok(MailboxRecord {
        aor,
        mailbox,
        revision: unsigned(row, 8)?,
    })
}

/// A message of a folder that nobody knows is one that was heard: it can be found, and deleted.
fn message(row: &Row<'_>) -> rusqlite::Result<MessageRecord> {
    let folder: String = row.get(2)?;
    let email: String = row.get(8)?;
    Ok(MessageRecord {
        id: unsigned(row, 0)?,
        mailbox: row.get(1)?,
        folder: Folder::from_word(&folder).unwrap_or(Folder::Saved),
        file: row.get(3)?,
        number: row.get(4)?,
        name: row.get(5)?,
        received_ms: unsigned(row, 6)?,
        duration_ms: row.get(7)?,
        email: EmailCopy::from_word(&email).unwrap_or_default(),
        revision: unsigned(row, 9)?,
    })
}
