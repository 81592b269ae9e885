//! Mailboxes and messages, on the disk.

use super::*;
use crate::store::{EmailCopy, Folder, Greetings, Mailbox, MailboxRecord, MessageRecord, PinHash};

fn mailbox(aor: &str, revision: u64, mailbox: Mailbox) -> Record {
    Record::PutMailbox(Box::new(MailboxRecord {
        aor: aor.into(),
        mailbox,
        revision,
    }))
}

fn all_set() -> Mailbox {
    Mailbox {
        enabled: Some(false),
        pin: PinHash::of("2468", [3; 16]),
        email: "ana@example.org".into(),
        messages_max: Some(7),
        wrong_pins: 2,
        locked_until_ms: 1_900_000_000_000,
        greetings: Greetings::from_bits(5),
    }
}

fn message(id: u64, folder: Folder, revision: u64) -> MessageRecord {
    MessageRecord {
        id,
        mailbox: "1@example.com".into(),
        folder,
        file: format!("voicemail/1@example.com/{id}.wav").into(),
        number: "+34915550100".into(),
        name: "José \"Pepe\"".into(),
        received_ms: 1_764_000_000_000 + id,
        duration_ms: 12_340,
        email: EmailCopy::Waiting,
        revision,
    }
}

fn put_message(message: &MessageRecord) -> Record {
    Record::PutMessage(Box::new(message.clone()))
}

fn put_user(database: &mut Database) {
    let record = Record::PutUser(Box::new(user(1)));
    database.apply([&record].into_iter()).unwrap();
}

#[test]
fn mailboxes_and_messages_come_back() {
    let dir = Dir::new("mailboxes");
    let mut database = Database::open(&dir.settings()).unwrap();
    put_user(&mut database);
    let kept = message(4, Folder::Saved, 12);
    let records = [
        mailbox("1@example.com", 3, all_set()),
        mailbox("9@example.com", 4, all_set()),
        put_message(&message(4, Folder::New, 10)),
        put_message(&message(5, Folder::New, 11)),
        put_message(&kept),
        put_message(&message(5, Folder::Gone, 13)),
    ];
    database.apply(records.iter()).unwrap();
    drop(database);
    let mut database = Database::open(&dir.settings()).unwrap();
    let loaded = database.load().unwrap();
    let ours = loaded.mailboxes.iter().find(|m| &*m.aor == "1@example.com");
    assert_eq!(ours.unwrap().mailbox, all_set());
    // One more time with what is gone, so that its number is not given again.
    assert_eq!(
        loaded.messages,
        [kept.clone(), message(5, Folder::Gone, 13)]
    );
    // Of nobody, and what is gone: swept out by the start.
    let loaded = database.load().unwrap();
    assert_eq!(loaded.mailboxes.len(), 1);
    assert_eq!(loaded.messages, [kept]);
}

#[test]
fn the_later_change_wins_whichever_is_written_first() {
    let dir = Dir::new("mail-revisions");
    let mut database = Database::open(&dir.settings()).unwrap();
    put_user(&mut database);
    let late = [
        put_message(&message(4, Folder::Gone, 9)),
        mailbox("1@example.com", 9, all_set()),
    ];
    let early = [
        put_message(&message(4, Folder::New, 8)),
        mailbox("1@example.com", 8, Mailbox::default()),
    ];
    database.apply(late.iter()).unwrap();
    database.apply(early.iter()).unwrap();
    let loaded = database.load().unwrap();
    assert_eq!(loaded.messages[0].folder, Folder::Gone);
    assert_eq!(loaded.mailboxes[0].revision, 9);
    drop(database);
    // The same while both wait for one batch.
    let store = Store::start(Database::open(&dir.settings()).unwrap()).unwrap();
    store.persist(put_message(&message(6, Folder::Saved, 21)));
    store.persist(put_message(&message(6, Folder::New, 20)));
    assert_eq!(store.status().waiting, 1);
    store.close().unwrap();
    let loaded = Database::open(&dir.settings()).unwrap().load().unwrap();
    assert_eq!(loaded.messages, [message(6, Folder::Saved, 21)]);
}

#[test]
fn a_pin_that_cannot_be_read_opens_nothing() {
    let dir = Dir::new("mail-unreadable");
    let mut database = Database::open(&dir.settings()).unwrap();
    put_user(&mut database);
    let by_hand = "INSERT INTO mailboxes VALUES ('1@example.com', 1, '2468', '', 5, 0, 0, 0, 2);
        INSERT INTO messages VALUES (1, '1@example.com', 'Old', 'a.wav', '', '', 1, 2, 3, 'no')";
    database.connection().execute_batch(by_hand).unwrap();
    let loaded = database.load().unwrap();
    assert_eq!(loaded.mailboxes[0].mailbox.pin, None);
    assert_eq!(loaded.mailboxes[0].mailbox.messages_max, Some(5));
    assert_eq!(loaded.messages[0].folder, Folder::Saved);
}

#[test]
fn a_database_without_mailboxes_is_brought_up() {
    let dir = Dir::new("migrate-mailboxes");
    std::fs::create_dir_all(&dir.0).unwrap();
    let old = rusqlite::Connection::open(dir.0.join("voip.db")).unwrap();
    for sql in &schema::MIGRATIONS[..5] {
        old.execute_batch(sql).unwrap();
    }
    old.pragma_update(None, "application_id", schema::APPLICATION_ID)
        .unwrap();
    old.pragma_update(None, "user_version", 5).unwrap();
    let rows = "INSERT INTO users VALUES ('1', 'example.com', '', zeroblob(16), zeroblob(32), 0);
        INSERT INTO features VALUES ('1@example.com', '{\"dnd\":true}', 4)";
    old.execute_batch(rows).unwrap();
    drop(old);
    let mut database = Database::open(&dir.settings()).unwrap();
    let loaded = database.load().unwrap();
    assert_eq!((loaded.users.len(), loaded.features.len()), (1, 1));
    assert_eq!((loaded.mailboxes.len(), loaded.messages.len()), (0, 0));
    let records = [
        mailbox("1@example.com", 1, all_set()),
        put_message(&message(1, Folder::New, 1)),
    ];
    database.apply(records.iter()).unwrap();
    drop(database);
    let loaded = Database::open(&dir.settings()).unwrap().load().unwrap();
    assert_eq!((loaded.mailboxes.len(), loaded.messages.len()), (1, 1));
}
