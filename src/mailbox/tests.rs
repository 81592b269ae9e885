use super::*;
use crate::store::{Greetings, PinHash};
use std::time::Duration;

const ANA: &str = "200@example.com";
const CALLER: (&str, &str) = ("+34915550100", "José");

fn message(record: Record) -> MessageRecord {
    match record {
        Record::PutMessage(message) => *message,
        other => panic!("{other:?}"),
    }
}

fn mailbox(record: Record) -> MailboxRecord {
    match record {
        Record::PutMailbox(mailbox) => *mailbox,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_recorded_kept_heard_and_deleted() {
    let all = Mailboxes::new();
    let begun = all.begin(ANA, CALLER, 1_000, 10).unwrap();
    assert_eq!(begun.folder, Folder::Recording);
    assert_eq!(all.counts(ANA), Counts::default());
    assert!(
        !all.is_stirred(),
        "nobody is told of what may not come about"
    );
    let kept = message(all.keep(ANA, begun.id, 4_000).unwrap());
    assert_eq!((kept.folder, kept.duration_ms), (Folder::New, 4_000));
    assert!(kept.revision > begun.revision);
    assert_eq!(all.counts(ANA), Counts { new: 1, saved: 0 });
    assert!(all.is_stirred());
    assert_eq!(all.take_work(), (vec![ANA.into()], vec![]));
    assert!(!all.is_stirred());
    all.put(ANA, kept.id, Folder::Saved).unwrap();
    assert_eq!(all.counts(ANA), Counts { new: 0, saved: 1 });
    all.put(ANA, kept.id, Folder::Deleted).unwrap();
    all.put(ANA, kept.id, Folder::Saved).unwrap();
    assert_eq!(all.expunge(ANA), [], "the owner wanted it back");
    all.put(ANA, kept.id, Folder::Deleted).unwrap();
    let gone = message(all.expunge(ANA).remove(0));
    assert_eq!(gone.folder, Folder::Gone);
    let (changed, errands) = all.take_work();
    assert_eq!(changed, [ANA.into()]);
    assert_eq!(errands, [Errand::Remove(kept.file)]);
    assert!(all.is_empty() && all.message(ANA, kept.id).is_none());
    assert!(
        all.lock().kept.is_empty(),
        "nothing is kept of who has nothing"
    );
}

#[test]
fn the_quota_is_the_mailboxs_or_everybodys() {
    let all = Mailboxes::new();
    assert_eq!(all.begin(ANA, CALLER, 1, 0), Err(NoRoom::Quota));
    for _ in 0..2 {
        let begun = all.begin(ANA, CALLER, 1, 2).unwrap();
        all.keep(ANA, begun.id, 5_000).unwrap();
    }
    assert_eq!(all.begin(ANA, CALLER, 1, 2), Err(NoRoom::Quota));
    all.update(ANA, |m| m.messages_max = Some(3)).unwrap();
    let third = all.begin(ANA, CALLER, 1, 2).unwrap();
    assert_eq!(all.begin(ANA, CALLER, 1, 2), Err(NoRoom::Quota));
    all.remove(ANA, third.id).unwrap();
    assert!(all.begin(ANA, CALLER, 1, 2).is_ok());
    // As many as there may be, whatever somebody wrote.
    all.update(ANA, |m| m.messages_max = Some(u32::MAX))
        .unwrap();
    let many = (0..=BOX_MESSAGES_MAX).map(|_| {
        let begun = all.begin(ANA, CALLER, 1, 2)?;
        all.keep(ANA, begun.id, 1);
        Ok(begun)
    });
    assert_eq!(many.last().unwrap(), Err(NoRoom::Quota));
    assert_eq!(all.len(), BOX_MESSAGES_MAX as usize);
}

#[test]
fn not_everybody_speaks_at_once() {
    let all = Mailboxes::new();
    for _ in 0..RECORDINGS_MAX {
        all.begin(ANA, CALLER, 1, 100).unwrap();
    }
    assert_eq!(all.begin(ANA, CALLER, 1, 100), Err(NoRoom::Busy));
    assert!(all.begin("201@example.com", CALLER, 1, 100).is_ok());
}

#[test]
fn what_a_caller_calls_itself_is_cut() {
    let all = Mailboxes::new();
    let name = "ñ".repeat(200);
    let begun = all.begin(ANA, ("1\r\n2", &name), 1, 9).unwrap();
    assert_eq!(&*begun.number, "12");
    assert_eq!(begun.name.len(), CALLER_BYTES_MAX);
}

#[test]
fn numbers_go_on_behind_what_is_gone() {
    let all = Mailboxes::new();
    let first = all.begin(ANA, CALLER, 1, 9).unwrap();
    let gone = message(all.remove(ANA, first.id).unwrap());
    let again = Mailboxes::new();
    again.load(Vec::new(), vec![gone.clone()]);
    let next = again.begin(ANA, CALLER, 1, 9).unwrap();
    assert!(next.id > first.id && next.revision > gone.revision);
    assert_eq!(again.len(), 1);
}

const LIMITS: Limits = Limits {
    tries: 3,
    lock: Duration::from_secs(600),
};

#[test]
fn wrong_pins_slow_down_and_lock() {
    let all = Mailboxes::new();
    let wrong = |s| Opening::Wrong {
        wait: Duration::from_secs(s),
    };
    let (opening, record) = all.open(ANA, "2468", 0, LIMITS);
    assert_eq!(
        (opening, record),
        (wrong(1), None),
        "without PIN none is right"
    );
    all.update(ANA, |m| m.pin = PinHash::of("2468", [1; 16]))
        .unwrap();
    assert_eq!(all.open(ANA, "2468", 0, LIMITS), (Opening::Open, None));
    assert_eq!(all.open(ANA, "1", 0, LIMITS).0, wrong(1));
    assert_eq!(all.open(ANA, "", 0, LIMITS).0, wrong(2));
    let (opening, record) = all.open(ANA, "3", 1_000, LIMITS);
    assert_eq!(opening, Opening::Locked);
    let kept = mailbox(record.unwrap()).mailbox;
    assert_eq!((kept.wrong_pins, kept.locked_until_ms), (3, 601_000));
    // Not even the right one, and not after a restart either.
    let again = Mailboxes::new();
    let revision = 9;
    again.load(
        vec![MailboxRecord {
            aor: ANA.into(),
            mailbox: kept,
            revision,
        }],
        Vec::new(),
    );
    assert_eq!(
        again.open(ANA, "2468", 600_999, LIMITS),
        (Opening::Locked, None)
    );
    let (opening, record) = again.open(ANA, "2468", 601_000, LIMITS);
    assert_eq!(opening, Opening::Open);
    let kept = mailbox(record.unwrap());
    assert_eq!(
        (kept.mailbox.wrong_pins, kept.mailbox.locked_until_ms),
        (0, 0)
    );
    assert!(kept.revision > revision);
}

/// Waits and locks do not tell which mailboxes there are.
#[test]
fn a_mailbox_that_no_pin_opens_waits_and_locks_as_others_do() {
    let all = Mailboxes::new();
    all.update(ANA, |m| m.pin = PinHash::of("2468", [1; 16]))
        .unwrap();
    let tries = [0, 1, 2, 3, 600_002, 600_003, 600_004, 1_200_010];
    let seen = |aor: &str| tries.map(|at| all.open(aor, "1357", at, LIMITS).0);
    let real = seen(ANA);
    assert_eq!(real[2..4], [Opening::Locked; 2]);
    assert_ne!(real[4], Opening::Locked);
    assert_eq!(seen("nobody@example.com"), real);
    all.update("300@example.com", |m| m.email = "a@example.com".into());
    assert_eq!(seen("300@example.com"), real);
    assert_eq!(all.mailbox("nobody@example.com"), Mailbox::default());
}

#[test]
fn a_deleted_user_leaves_nothing() {
    let all = Mailboxes::new();
    let begun = all.begin(ANA, CALLER, 1, 9).unwrap();
    all.keep(ANA, begun.id, 2_000).unwrap();
    all.set_greeting(ANA, Greeting::Busy).unwrap();
    all.take_work();
    let records = all.forget(ANA);
    assert_eq!(records.len(), 2);
    assert_eq!(message(records[0].clone()).folder, Folder::Gone);
    assert_eq!(mailbox(records[1].clone()).mailbox, Mailbox::default());
    let (changed, errands) = all.take_work();
    assert_eq!(changed.len(), 1);
    let gone = [begun.file, greeting_file(ANA, Greeting::Busy)];
    assert_eq!(errands, gone.map(Errand::Remove));
    assert!(all.lock().kept.is_empty());
    assert_eq!(all.forget(ANA), []);
}

#[test]
fn subscriptions_keep_a_mailbox_known() {
    let all = Mailboxes::new();
    let phone = |port| Subscriber {
        remote: ([192, 0, 2, 21], port).into(),
        target: (*b"sip:ana@192.0.2.21").into(),
        routed: false,
    };
    assert_eq!(all.subscribers(ANA), []);
    // Twice the same: two subscriptions.
    for port in [5060, 5060, 5070] {
        all.subscribed(ANA, phone(port));
    }
    all.unsubscribed(ANA, &phone(5060));
    all.unsubscribed(ANA, &phone(5080));
    assert_eq!(all.subscribers(ANA).len(), 2);
    all.unsubscribed(ANA, &phone(5060));
    assert_eq!(all.subscribers(ANA), [phone(5070)]);
    all.unsubscribed(ANA, &phone(5070));
    assert!(all.subscribers(ANA).is_empty() && all.lock().kept.is_empty());
    for n in 0..=SUBSCRIBERS_MAX {
        all.subscribed(ANA, phone(u16::try_from(n).unwrap()));
    }
    assert_eq!(all.subscribers(ANA).len(), SUBSCRIBERS_MAX);
    for n in 0..=SUBSCRIBERS_MAX {
        all.unsubscribed(ANA, &phone(u16::try_from(n).unwrap()));
    }
    assert!(all.takes_calls(ANA, true) && !all.takes_calls(ANA, false));
    all.update(ANA, |m| m.enabled = Some(false)).unwrap();
    assert!(!all.takes_calls(ANA, true));
}

fn row(id: u64, folder: Folder) -> MessageRecord {
    MessageRecord {
        id,
        mailbox: ANA.into(),
        folder,
        file: FileName::of_message(ANA, id).into(),
        number: "1".into(),
        name: "".into(),
        received_ms: 5,
        duration_ms: 3_000,
        email: EmailCopy::No,
        revision: id,
    }
}

fn file(path: &str, ms: u32) -> Found {
    Found {
        path: path.into(),
        ms,
        modified_ms: 77,
    }
}

fn message_file(id: u64, ms: u32) -> Found {
    file(&FileName::of_message(ANA, id), ms)
}

/// `id folder ms` of each.
fn shown(sorted: &Sorted) -> Vec<String> {
    let rows = sorted.messages.iter();
    rows.map(|m| format!("{} {} {}", m.id, m.folder.as_str(), m.duration_ms))
        .collect()
}

#[test]
fn rows_and_files_of_every_kind_are_brought_together() {
    let rows = vec![
        row(1, Folder::New),
        row(2, Folder::Saved),
        row(3, Folder::New),
        row(4, Folder::Recording),
        row(5, Folder::Recording),
        row(6, Folder::Recording),
        row(7, Folder::Deleted),
        row(8, Folder::Gone),
    ];
    let folder = folder_of(ANA);
    let files = vec![
        message_file(1, 3_000),
        message_file(2, 3_000),
        message_file(4, 2_500),
        message_file(5, 1_999),
        message_file(7, 3_000),
        message_file(8, 3_000),
        message_file(20, 2_000),
        message_file(21, 100),
        file(&format!("{folder}/notes.txt"), 0),
        file(&format!("{folder}/unavail.wav"), 900),
        file(&format!("{folder}/busy-take.wav"), 900),
        file("voicemail/999@example.com/0000000001.wav", 9_000),
    ];
    let mailboxes = vec![MailboxRecord {
        aor: ANA.into(),
        mailbox: Mailbox {
            greetings: Greetings::default().with(Greeting::Busy, true),
            ..Mailbox::default()
        },
        revision: 3,
    }];
    let sorted = reconcile(mailboxes, rows, files, [ANA].into_iter(), 2_000);
    assert_eq!(
        shown(&sorted),
        [
            "1 new 3000",
            "2 saved 3000",
            "3 gone 3000",
            "4 new 2500",
            "5 gone 3000",
            "6 gone 3000",
            "7 gone 3000",
            "8 gone 3000",
            "20 new 2000"
        ]
    );
    assert_eq!((sorted.salvaged, sorted.lost), (2, 1));
    let adopted = sorted.messages.last().unwrap();
    assert_eq!((&*adopted.number, adopted.received_ms), ("", 77));
    let mut removed: Vec<&str> = sorted.remove.iter().map(|f| &**f).collect();
    removed.sort_unstable();
    let names = [5, 7, 8, 21].map(|id| FileName::of_message(ANA, id));
    let take = format!("{folder}/busy-take.wav");
    let mut wanted: Vec<&str> = names.iter().map(|n| &**n).chain([&*take]).collect();
    wanted.sort_unstable();
    assert_eq!(removed, wanted, "a stranger's file stays");
    let greetings = sorted.mailboxes[0].mailbox.greetings;
    assert!(greetings.has(Greeting::Unavailable) && !greetings.has(Greeting::Busy));
    // 3, 4, 5, 6, 7, 20 and the mailbox, each later than all before.
    assert_eq!(sorted.records.len(), 7);
    let again = Mailboxes::new();
    again.load(sorted.mailboxes, sorted.messages);
    assert_eq!(again.counts(ANA), Counts { new: 3, saved: 1 });
    assert_eq!(again.begin(ANA, CALLER, 1, 9).unwrap().id, 21);
}

#[test]
fn a_spool_that_is_not_there_costs_no_message() {
    let rows = vec![row(1, Folder::New), row(2, Folder::Recording)];
    let sorted = reconcile(Vec::new(), rows, Vec::new(), [ANA].into_iter(), 2_000);
    assert_eq!(shown(&sorted), ["1 new 3000", "2 gone 3000"]);
    assert_eq!(sorted.lost, 0);
}

/// With the caller's word the copy waits in the same row; it is given out oldest first, not while its
/// owner has deleted the message, and not again once something became of it.
#[test]
fn copies_wait_in_the_rows_of_their_messages() {
    let all = Mailboxes::new();
    let leave = || {
        let id = all.begin(ANA, ("1", ""), 5, 10).unwrap().id;
        (id, message(all.keep_and_send(ANA, id, 3_000).unwrap()))
    };
    assert_eq!(leave().1.email, EmailCopy::No);
    all.update(ANA, |m| m.email = "ana@example.org".into());
    let (two, row) = leave();
    assert_eq!((row.folder, row.email), (Folder::New, EmailCopy::Waiting));
    // Where there is no server, nothing waits for one.
    let id = all.begin(ANA, ("1", ""), 5, 10).unwrap().id;
    let unsent = message(all.keep(ANA, id, 3_000).unwrap());
    assert_eq!((unsent.email, all.copies_waiting()), (EmailCopy::No, 1));
    assert_eq!(all.addresses(), 1);
    all.remove(ANA, id);
    let (three, _) = leave();
    let next = |not: u64| all.next_copy(|id| id != not).map(|m| m.id);
    assert_eq!((next(0), next(two)), (Some(two), Some(three)));
    all.put(ANA, two, Folder::Deleted).unwrap();
    assert_eq!((next(0), all.copies_waiting()), (Some(three), 2));
    all.put(ANA, two, Folder::Saved).unwrap();
    let sent = message(all.copied(ANA, two, EmailCopy::Sent).unwrap());
    assert_eq!((sent.email, next(0)), (EmailCopy::Sent, Some(three)));
    // A restart goes on with what waited, and a message that is gone needs no copy.
    let rows = all.messages(ANA, Folder::New);
    let again = Mailboxes::new();
    again.load(Vec::new(), rows);
    assert_eq!(again.next_copy(|_| true).map(|m| m.id), Some(three));
    again.remove(ANA, three).unwrap();
    assert_eq!(
        (
            again.copies_waiting(),
            again.copied(ANA, three, EmailCopy::Sent)
        ),
        (0, None)
    );
}

#[test]
fn no_more_copies_wait_than_may() {
    let all = Mailboxes::new();
    all.update(ANA, |m| m.email = "ana@example.org".into());
    let rows = (1..=COPIES_MAX as u64 + 1).map(|id| MessageRecord {
        email: EmailCopy::Waiting,
        ..row(id, Folder::New)
    });
    all.load(Vec::new(), rows.collect());
    assert_eq!(all.copies_waiting(), COPIES_MAX);
    let id = all.begin(ANA, ("1", ""), 5, u32::MAX);
    assert!(id.is_err(), "a mailbox has fewer");
}

/// What a crash broke off is copied as if its caller had said yes.
#[test]
fn what_a_start_salvages_is_copied_too() {
    let mailbox = Mailbox {
        email: "ana@example.org".into(),
        ..Mailbox::default()
    };
    let boxes = vec![MailboxRecord {
        aor: ANA.into(),
        mailbox,
        revision: 1,
    }];
    let rows = vec![row(1, Folder::Recording), row(2, Folder::New)];
    let files = (1..=3).map(|id| file(&FileName::of_message(ANA, id), 3_000));
    let sorted = reconcile(boxes, rows, files.collect(), [ANA].into_iter(), 2_000);
    let copies: Vec<_> = sorted.messages.iter().map(|m| (m.id, m.email)).collect();
    let (waits, no) = (EmailCopy::Waiting, EmailCopy::No);
    assert_eq!(copies, [(1, waits), (2, no), (3, waits)]);
}
