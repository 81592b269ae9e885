use super::super::program::{Account, Effect, Event};
use super::super::stage::{Stage, spoken};
use super::*;
use crate::config::Locale;
use crate::mailbox::{Counts, Errand, Mailboxes, RECORDINGS_MAX, take_of_greeting};
use crate::media::RecordEnd;
use crate::media::Task;
use crate::media::file::{FileFailure, FileOrder, Filed};
use crate::store::{Folder, Ha1, PinHash, Record, User};

const ANA: &str = "200@localhost";

fn number_of(effects: &[Effect]) -> u32 {
    let mut tasks = effects.iter().rev().filter_map(|effect| match effect {
        Effect::Do(task, _) => Some(*task),
        _ => None,
    });
    tasks.next().expect("something to do")
}

/// The file that is being recorded, and as which task.
fn recorded_file(effects: &[Effect]) -> (u32, String) {
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Do(task, Task::Record { file, .. }) => Some((*task, file.to_string())),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{effects:?}"))
}

/// Files that are played.
fn played(effects: &[Effect]) -> Vec<&str> {
    let lists = effects.iter().filter_map(|effect| match effect {
        Effect::Do(_, Task::Play { sounds, .. }) => Some(sounds),
        _ => None,
    });
    let files = lists.flatten().filter_map(|sound| match sound {
        Sound::File { root, path } => {
            assert_eq!(*root, Root::Spool);
            Some(&**path)
        }
        _ => None,
    });
    files.collect()
}

fn folders(effects: &[Effect]) -> Vec<Folder> {
    let records = effects.iter().filter_map(|effect| match effect {
        Effect::Persist(Record::PutMessage(message)) => Some(message.folder),
        _ => None,
    });
    records.collect()
}

fn hung_up(effects: &[Effect]) -> bool {
    effects.contains(&Effect::HangUp)
}

// ---------------------------------------------------------------- leaving

type Leaving = Stage<Leave>;

fn leaving() -> Leaving {
    let mut stage = Stage::new(Leave::new(ANA, false));
    stage.caller.number = "915550100".into();
    stage.caller.name = "José".into();
    for name in ["200", "ana"] {
        stage.house.directory.put(user(name)).unwrap();
    }
    stage
}

fn user(name: &str) -> User {
    User {
        username: name.into(),
        domain: "localhost".into(),
        display_name: "".into(),
        ha1: Ha1::of(name, "localhost", "secret"),
        disabled: false,
    }
}

/// What the call's record says of it.
fn notes(effects: &[Effect]) -> Vec<&str> {
    let notes = effects.iter().filter_map(|effect| match effect {
        Effect::Note(text) => Some(&**text),
        _ => None,
    });
    notes.collect()
}

fn done(effects: &[Effect]) -> Event {
    Event::Done(number_of(effects))
}

/// Up to the recording; its task.
fn record(stage: &mut Leaving) -> u32 {
    let greeting = stage.tell(Event::Begin);
    let beep = stage.tell(done(&greeting));
    let effects = stage.tell(done(&beep));
    assert_eq!(
        folders(&effects),
        [Folder::Recording],
        "the row comes first"
    );
    recorded_file(&effects).0
}

fn end(task: u32, ms: u32, end: RecordEnd) -> Event {
    Event::Recorded { task, ms, end }
}

fn counts(mailboxes: &Mailboxes) -> (u32, u32) {
    let Counts { new, saved } = mailboxes.counts(ANA);
    (new, saved)
}

#[test]
fn a_message_is_greeted_recorded_reviewed_and_kept() {
    let mut stage = leaving();
    let greeting = stage.tell(Event::Begin);
    assert_eq!(
        spoken(&greeting),
        [
            "vm-theperson",
            "digits/2",
            "digits/0",
            "digits/0",
            "vm-isunavail",
            "vm-intro"
        ]
    );
    let beep = stage.tell(done(&greeting));
    let effects = stage.tell(done(&beep));
    let (task, file) = recorded_file(&effects);
    assert!(file.starts_with("voicemail/200@localhost/") && file.ends_with(".wav"));
    assert_eq!(
        stage.tell(Event::Key('#')),
        [],
        "the studio tells of the end"
    );
    let review = stage.tell(end(task, 4_000, RecordEnd::Key));
    assert_eq!(spoken(&review), ["vm-review"]);
    assert_eq!(
        counts(&stage.mailboxes),
        (0, 0),
        "not before the caller is content"
    );
    let heard = stage.tell(Event::Key('2'));
    assert_eq!(played(&heard), [&*file]);
    let kept = stage.tell(Event::Key('1'));
    assert_eq!(folders(&kept), [Folder::New]);
    assert_eq!(spoken(&kept), ["vm-msgsaved", "goodbye"]);
    assert!(
        matches!(kept[0], Effect::Persist(_)),
        "before it is said: {kept:?}"
    );
    let message = &stage.mailboxes.messages(ANA, Folder::New)[0];
    assert_eq!(
        (&*message.number, &*message.name, message.duration_ms),
        ("915550100", "José", 4_000)
    );
    assert_eq!(message.received_ms, stage.unix_ms);
    assert!(hung_up(&stage.tell(done(&kept))));
}

#[test]
fn a_hash_skips_the_greeting_and_three_records_anew() {
    let mut stage = leaving();
    stage.tell(Event::Begin);
    let beep = stage.tell(Event::Key('#'));
    let (task, first) = recorded_file(&stage.tell(done(&beep)));
    stage.tell(end(task, 4_000, RecordEnd::Silence));
    let again = stage.tell(Event::Key('3'));
    assert_eq!(folders(&again), [Folder::Gone]);
    let (task, second) = recorded_file(&stage.tell(done(&again)));
    assert_ne!(first, second);
    stage.tell(end(task, 300_000, RecordEnd::Limit));
    stage.tell(Event::Key('1'));
    let messages = stage.mailboxes.messages(ANA, Folder::New);
    assert_eq!(messages.len(), 1);
    assert_eq!(&*messages[0].file, second);
    let (_, errands) = stage.mailboxes.take_work();
    assert_eq!(errands, [Errand::Remove(first.into())]);
}

/// In each state what was said is kept, and nothing else.
#[test]
fn who_hangs_up_leaves_what_was_said() {
    let mut stage = leaving();
    stage.tell(Event::Begin);
    let left = stage.tell(Event::Ended);
    assert!(matches!(left[..], [Effect::Note(_)]), "in the greeting");
    assert!(stage.mailboxes.is_empty());

    let mut stage = leaving();
    stage.tell(Event::Begin);
    stage.tell(Event::Key('#'));
    stage.tell(Event::Ended);
    assert!(stage.mailboxes.is_empty(), "in the tone");

    let mut stage = leaving();
    let task = record(&mut stage);
    let waits = stage.tell(Event::Ended);
    let [Effect::After(..), Effect::Note(_)] = waits[..] else {
        panic!("{waits:?}");
    };
    let kept = stage.tell(end(task, 2_000, RecordEnd::Closed));
    assert_eq!(folders(&kept), [Folder::New]);
    assert!(hung_up(&kept) && counts(&stage.mailboxes) == (1, 0));

    let mut stage = leaving();
    let task = record(&mut stage);
    stage.tell(Event::Ended);
    let dropped = stage.tell(end(task, 1_999, RecordEnd::Closed));
    assert_eq!(folders(&dropped), [Folder::Gone]);
    assert!(hung_up(&dropped) && stage.mailboxes.is_empty());

    let mut stage = leaving();
    let task = record(&mut stage);
    stage.tell(end(task, 4_000, RecordEnd::Key));
    let kept = stage.tell(Event::Ended);
    assert_eq!(folders(&kept), [Folder::New]);
    assert_eq!(counts(&stage.mailboxes), (1, 0), "in the review");
}

/// Where nothing helps the row stays as it is: the next start finds the file.
#[test]
fn a_studio_that_says_nothing_more_costs_no_message() {
    let overdue = |stage: &mut Leaving| {
        record(stage);
        let Effect::After(_, timer) = stage.tell(Event::Ended)[0] else {
            panic!("no timer")
        };
        let effects = stage.tell(Event::Due(timer));
        let [
            Effect::File(task, FileOrder::Salvage { .. }),
            Effect::After(_, timer),
        ] = effects[..]
        else {
            panic!("{effects:?}")
        };
        (task, timer)
    };
    let salvaged = |task, ms| Event::Filed {
        task,
        outcome: Filed::Salvaged { ms },
    };
    let mut stage = leaving();
    let (_, timer) = overdue(&mut stage);
    assert_eq!(stage.tell(Event::Due(timer)), [Effect::HangUp]);
    assert_eq!(stage.mailboxes.messages(ANA, Folder::Recording).len(), 1);
    let mut stage = leaving();
    let (task, _) = overdue(&mut stage);
    let kept = stage.tell(salvaged(task, 2_500));
    assert!(hung_up(&kept) && folders(&kept) == [Folder::New]);
    let mut stage = leaving();
    let (task, _) = overdue(&mut stage);
    let gone = stage.tell(salvaged(task, 0));
    assert!(hung_up(&gone) && folders(&gone) == [Folder::Gone]);
}

/// The disk does not take the end of what somebody said who has hung up: nobody can be told so, and
/// what there is stays.
#[test]
fn what_a_failing_disk_has_of_a_caller_who_is_gone_is_kept() {
    for (ms, folder) in [
        (9_000, Folder::New),
        (2_000, Folder::New),
        (1_999, Folder::Gone),
    ] {
        let mut stage = leaving();
        let task = record(&mut stage);
        stage.tell(Event::Ended);
        let effects = stage.tell(end(task, ms, RecordEnd::Failed));
        assert_eq!(folders(&effects), [folder], "{ms}");
        assert!(hung_up(&effects) && spoken(&effects).is_empty());
        let kept = u32::from(folder == Folder::New);
        assert_eq!(counts(&stage.mailboxes), (kept, 0));
        let (changed, errands) = stage.mailboxes.take_work();
        assert_eq!(changed.len() as u32, kept, "the lamp");
        assert_eq!(errands.len() as u32, 1 - kept);
    }
}

#[test]
fn what_the_studio_could_not_finish_of_a_caller_who_is_gone_is_salvaged() {
    let ended = || {
        let mut stage = leaving();
        let task = record(&mut stage);
        let Effect::After(_, timer) = stage.tell(Event::Ended)[0] else {
            panic!("no timer")
        };
        let effects = stage.tell(end(task, 0, RecordEnd::Failed));
        let [
            Effect::File(task, FileOrder::Salvage { .. }),
            Effect::After(..),
        ] = effects[..]
        else {
            panic!("{effects:?}")
        };
        assert_eq!(stage.tell(Event::Due(timer)), [], "once");
        (stage, task)
    };
    for (outcome, there) in [
        (Filed::Salvaged { ms: 2_500 }, (1, 0)),
        (Filed::Salvaged { ms: 500 }, (0, 0)),
        (Filed::Failed(FileFailure::Missing), (0, 0)),
        (Filed::Failed(FileFailure::Disk), (0, 1)),
    ] {
        let (mut stage, task) = ended();
        let shown = format!("{outcome:?}");
        assert!(hung_up(&stage.tell(Event::Filed { task, outcome })));
        let rows = stage.mailboxes.messages(ANA, Folder::Recording).len();
        assert_eq!((counts(&stage.mailboxes).0, rows), there, "{shown}");
    }
}

/// A disk that did not answer for too long, and then did: what was said until then is as good as
/// any other message.
#[test]
fn a_disk_that_was_behind_costs_no_message() {
    let mut stage = leaving();
    let task = record(&mut stage);
    let review = stage.tell(end(task, 9_000, RecordEnd::Behind));
    assert_eq!(spoken(&review), ["vm-review"]);
    assert_eq!(folders(&stage.tell(Event::Key('1'))), [Folder::New]);

    let mut stage = leaving();
    let task = record(&mut stage);
    stage.tell(Event::Ended);
    let kept = stage.tell(end(task, 9_000, RecordEnd::Behind));
    assert!(hung_up(&kept) && folders(&kept) == [Folder::New]);
    // Nothing of it is done twice.
    assert_eq!(stage.tell(Event::Ended), []);
}

/// The key that ends the recording, and then the line goes, before the studio said a word.
#[test]
fn who_is_gone_before_the_review_leaves_what_was_said_at_once() {
    let mut stage = leaving();
    let task = record(&mut stage);
    stage.tell(Event::Ended);
    let kept = stage.tell(end(task, 9_000, RecordEnd::Key));
    assert!(hung_up(&kept) && folders(&kept) == [Folder::New]);
}

#[test]
fn who_says_nothing_is_told_and_let_go() {
    let mut stage = leaving();
    let mut task = record(&mut stage);
    for _ in 0..2 {
        let told = stage.tell(end(task, 500, RecordEnd::Silence));
        assert_eq!(spoken(&told), ["vm-tooshort", "vm-intro"]);
        let beep = stage.tell(done(&told));
        task = recorded_file(&stage.tell(done(&beep))).0;
    }
    let last = stage.tell(end(task, 500, RecordEnd::Key));
    assert_eq!(spoken(&last), ["vm-tooshort", "goodbye"]);
    assert!(hung_up(&stage.tell(done(&last))) && stage.mailboxes.is_empty());
}

#[test]
fn silence_in_the_review_means_yes() {
    let mut stage = leaving();
    let task = record(&mut stage);
    let mut said = stage.tell(end(task, 4_000, RecordEnd::Silence));
    for _ in 0..2 {
        let waits = stage.tell(done(&said));
        assert!(matches!(waits[..], [Effect::After(..)]));
        said = stage.tell(Event::Due(TIMER));
        assert_eq!(spoken(&said), ["vm-review"]);
        assert_eq!(stage.tell(Event::Due(TIMER)), [], "not while it is said");
    }
    stage.tell(done(&said));
    assert_eq!(folders(&stage.tell(Event::Due(TIMER))), [Folder::New]);
}

#[test]
fn a_full_mailbox_or_disk_takes_no_message() {
    let mut stage = leaving();
    stage.config.voicemail.messages_max = 1;
    let task = record(&mut stage);
    stage.tell(end(task, 4_000, RecordEnd::Key));
    stage.tell(Event::Key('1'));
    stage.program = Leave::new(ANA, false);
    let full = stage.tell(Event::Begin);
    assert_eq!(spoken(&full), ["vm-mailboxfull", "goodbye"]);
    assert_eq!(notes(&full), ["mailbox 200: full"]);
    assert!(hung_up(&stage.tell(done(&full))));
    // Its owner hears so, too.
    stage.caller.user = Some(ANA.into());
    let opened = stage.of(&mut Fetch::new(), Event::Begin);
    assert_eq!(spoken(&opened)[..2], ["vm-mailboxfull", "vm-youhave"]);
    assert_eq!(notes(&opened), ["mailbox 200: opened"]);

    let mut stage = leaving();
    let task = record(&mut stage);
    let failed = stage.tell(end(task, 0, RecordEnd::Failed));
    assert_eq!(spoken(&failed), ["vm-cannot-record", "goodbye"]);
    assert!(stage.mailboxes.is_empty());
}

/// What nobody would ever hear is not taken.
#[test]
fn nobodys_mailbox_takes_no_message() {
    let mut stage = leaving();
    let disabled = User {
        disabled: true,
        ..user("209")
    };
    stage.house.directory.put(disabled).unwrap();
    for name in ["209", "208"] {
        stage.program = Leave::new(&format!("{name}@localhost"), false);
        let said = stage.tell(Event::Begin);
        assert_eq!(spoken(&said), ["vm-nobox", "goodbye"], "{name}");
        assert_eq!(notes(&said), [format!("mailbox {name}: nobody's")]);
        assert_eq!(stage.tell(Event::Key('#')), []);
        assert!(hung_up(&stage.tell(done(&said))));
    }
}

/// As many callers as may speak to one mailbox, and one more.
#[test]
fn why_no_message_is_taken_is_noted() {
    let mut stage = leaving();
    for _ in 0..RECORDINGS_MAX {
        stage.mailboxes.begin(ANA, ("1", ""), 1, 999).unwrap();
    }
    let said = stage.tell(Event::Begin);
    assert_eq!(spoken(&said), ["vm-cannot-record", "goodbye"]);
    let why = "mailbox 200: too many speak to it at once";
    assert_eq!(notes(&said), [why]);
    // The log has it once a minute.
    for (ms, tells) in [(30_000, false), (60_000, true), (60_001, false)] {
        let at = stage.unix_ms + ms;
        assert_eq!(stage.mailboxes.tells_of_no_room(at), tells, "{ms}");
    }
}

/// The record is made as the caller hangs up, before the studio says how long the file is.
#[test]
fn the_record_says_what_became_of_the_message() {
    let mut stage = leaving();
    let task = record(&mut stage);
    stage.tell(end(task, 6_400, RecordEnd::Key));
    let kept = stage.tell(Event::Key('1'));
    assert_eq!(notes(&kept), ["mailbox 200: message 1, 6 s"]);
    for (spoken_s, note) in [
        (6, "mailbox 200: message 1, 6 s"),
        (1, "mailbox 200: no message"),
    ] {
        let mut stage = leaving();
        let task = record(&mut stage);
        stage.now += Duration::from_secs(spoken_s);
        let gone = stage.tell(Event::Ended);
        assert_eq!(notes(&gone), [note]);
        let ms = u32::try_from(spoken_s).unwrap() * 1000 - 20;
        let kept = stage.tell(end(task, ms, RecordEnd::Closed));
        assert_eq!(notes(&kept), [""; 0]);
    }
    let mut stage = leaving();
    stage.tell(Event::Begin);
    assert_eq!(
        notes(&stage.tell(Event::Ended)),
        ["mailbox 200: no message"]
    );
}

#[test]
fn greetings_are_the_owners_where_there_are_any() {
    let mut stage = leaving();
    let greetings = |stage: &mut Leaving, busy: bool| {
        stage.program = Leave::new(ANA, busy);
        let effects = stage.tell(Event::Begin);
        let files = played(&effects).into_iter().map(str::to_owned);
        let spoken = spoken(&effects).into_iter().map(str::to_owned);
        files.chain(spoken).collect::<Vec<_>>()
    };
    stage.mailboxes.set_greeting(ANA, Greeting::Name).unwrap();
    let name = greeting_file(ANA, Greeting::Name).to_string();
    let said = greetings(&mut stage, true);
    assert_eq!(said, [&*name, "vm-isonphone", "vm-intro"]);
    stage.mailboxes.set_greeting(ANA, Greeting::Unavailable);
    let away = greeting_file(ANA, Greeting::Unavailable).to_string();
    assert_eq!(greetings(&mut stage, true), [&*away]);
    stage.mailboxes.set_greeting(ANA, Greeting::Busy);
    let busy = greeting_file(ANA, Greeting::Busy).to_string();
    assert_eq!(greetings(&mut stage, true), [&*busy]);
    assert_eq!(greetings(&mut stage, false), [&*away]);
    // A name that has no digits is not spelt.
    stage.program = Leave::new("ana@localhost", false);
    let said = stage.tell(Event::Begin);
    assert_eq!(spoken(&said), ["call-unavailable", "vm-intro"]);
}

#[test]
fn a_star_in_the_greeting_opens_the_mailbox() {
    let mut stage = leaving();
    stage.tell(Event::Begin);
    stage.tell(Event::Key('*'));
    let mut next = stage.next.take().expect("another program");
    let effects = stage.of(&mut *next, Event::Begin);
    assert_eq!(spoken(&effects), ["vm-password"]);
    stage.caller.user = Some(ANA.into());
    stage.tell(Event::Key('*'));
    let mut next = stage.next.take().expect("another program");
    let effects = stage.of(&mut *next, Event::Begin);
    assert_eq!(spoken(&effects)[..2], ["vm-youhaveno", "vm-messages"]);
}

// ---------------------------------------------------------------- fetching

type Fetching = Stage<Fetch>;

fn leave(mailboxes: &Mailboxes, unix_ms: u64) -> u64 {
    let begun = mailboxes.begin(ANA, ("915550100", ""), unix_ms, 100);
    let id = begun.unwrap().id;
    mailboxes.keep(ANA, id, 65_000).unwrap();
    id
}

/// The owner's phone, with so many messages.
fn fetching(messages: u64) -> Fetching {
    let mut stage = Stage::new(Fetch::new());
    stage.caller.user = Some(ANA.into());
    for n in 0..messages {
        leave(&stage.mailboxes, stage.unix_ms - n * 1000);
    }
    stage
}

fn press(stage: &mut Fetching, keys: &str) -> Vec<Effect> {
    let told = keys.chars().map(|key| stage.tell(Event::Key(key)));
    told.last().unwrap_or_default()
}

#[test]
fn the_owners_phone_hears_what_there_is() {
    let mut stage = fetching(2);
    let main = stage.tell(Event::Begin);
    assert_eq!(
        spoken(&main),
        [
            "vm-youhave",
            "digits/2",
            "vm-messages",
            "vm-INBOX",
            "vm-onefor-full",
            "vm-opts-full",
            "vm-otherexit"
        ]
    );
    let first = stage.tell(Event::Key('1'));
    let words = spoken(&first);
    assert_eq!(words[..2], ["vm-message", "digits/1"]);
    assert_eq!(words[2..4], ["vm-received", "digits/today"]);
    let from = words
        .iter()
        .position(|w| *w == "vm-from-phonenumber")
        .unwrap();
    assert_eq!(
        words[from + 1..from + 4],
        ["digits/9", "digits/1", "digits/5"]
    );
    assert!(played(&first).is_empty() && folders(&first).is_empty());
    let sound = stage.tell(done(&first));
    assert_eq!(played(&sound).len(), 1);
    assert_eq!(spoken(&sound).last(), Some(&"vm-helpexit"));
    assert_eq!(counts(&stage.mailboxes), (2, 0), "not yet");
    assert_eq!(
        folders(&begins(&mut stage, &sound)),
        [Folder::Saved],
        "heard"
    );
    assert_eq!(counts(&stage.mailboxes), (1, 1));
}

/// The disk has found the sound of a message that begins.
fn begins(stage: &mut Fetching, sound: &[Effect]) -> Vec<Effect> {
    let (task, outcome) = (number_of(sound), Filed::Salvaged { ms: 65_000 });
    let asked = sound.iter().any(
        |effect| matches!(effect, Effect::File(asked, FileOrder::Salvage { .. }) if *asked == task),
    );
    assert!(asked, "{sound:?}");
    stage.tell(Event::Filed { task, outcome })
}

/// The first message, from its first second on.
fn hear(stage: &mut Fetching, key: char) {
    let intro = stage.tell(Event::Key(key));
    let sound = stage.tell(done(&intro));
    assert_eq!(folders(&begins(stage, &sound)), [Folder::Saved]);
}

/// Whoever hangs up or goes on while the message is being told of has not heard it.
#[test]
fn a_message_is_new_until_its_own_sound_begins() {
    for key in ['6', '4', '3', '5', '0', '#', '*'] {
        let mut stage = fetching(2);
        stage.tell(Event::Begin);
        let intro = stage.tell(Event::Key('1'));
        let then = stage.tell(Event::Key(key));
        assert!(folders(&then).is_empty(), "{key}");
        // The end of what was cut short is nothing.
        assert_eq!(stage.tell(done(&intro)), [], "{key}");
        assert!(folders(&stage.tell(Event::Ended)).is_empty());
        assert_eq!(counts(&stage.mailboxes), (2, 0), "{key}");
    }
    let mut stage = fetching(1);
    stage.tell(Event::Begin);
    stage.tell(Event::Key('1'));
    assert_eq!(stage.tell(Event::Ended), []);
    assert_eq!(counts(&stage.mailboxes), (1, 0));
    // Deleted behind its first second, it is not undone by what the disk says late.
    let mut stage = fetching(1);
    stage.tell(Event::Begin);
    let intro = stage.tell(Event::Key('1'));
    let sound = stage.tell(done(&intro));
    stage.tell(Event::Key('7'));
    assert_eq!(begins(&mut stage, &sound), []);
    assert_eq!(stage.mailboxes.messages(ANA, Folder::Deleted).len(), 1);
}

#[test]
fn a_message_whose_file_cannot_be_read_stays_new() {
    for outcome in [
        Filed::Failed(FileFailure::Missing),
        Filed::Failed(FileFailure::Broken),
        Filed::Salvaged { ms: 0 },
    ] {
        let mut stage = fetching(1);
        stage.tell(Event::Begin);
        let intro = stage.tell(Event::Key('1'));
        let sound = stage.tell(done(&intro));
        let task = number_of(&sound);
        assert_eq!(stage.tell(Event::Filed { task, outcome }), []);
        assert_eq!(counts(&stage.mailboxes), (1, 0));
        // The keys go on working.
        assert_eq!(folders(&stage.tell(Event::Key('9'))), [Folder::Saved]);
    }
}

#[test]
fn the_clock_is_that_of_the_configured_zone() {
    let mut stage = fetching(1);
    stage.config.numbers.timezone = "Europe/Madrid".into();
    // 2026-09-21 14:13:20 UTC; two hours later there.
    stage.tell(Event::Begin);
    let first = stage.tell(Event::Key('1'));
    let words = spoken(&first);
    let at = words.iter().position(|w| *w == "digits/at").unwrap();
    assert_eq!(words[at + 1], "digits/4", "{words:?}");
}

#[test]
fn a_day_has_its_article_where_the_language_has_one() {
    for (days, locale, date) in [
        (0, Locale::Es, &["digits/today"][..]),
        (1, Locale::Es, &["digits/yesterday"]),
        (3, Locale::Es, &["digits/the", "digits/day-1"]),
        (
            30,
            Locale::Es,
            &["digits/the", "digits/21", "digits/of", "digits/mon-8"],
        ),
        (3, Locale::En, &["digits/day-1"]),
    ] {
        // 2026-09-21, a Monday.
        let mut stage = fetching(1);
        stage.locale = locale;
        stage.unix_ms += days * 86_400_000;
        stage.tell(Event::Begin);
        let first = stage.tell(Event::Key('1'));
        let words = spoken(&first);
        let begin = words.iter().position(|w| *w == "vm-received").unwrap() + 1;
        let end = words.iter().position(|w| *w == "digits/at").unwrap();
        assert_eq!(words[begin..end], *date, "{days} {locale:?}");
    }
}

#[test]
fn messages_are_stepped_through_saved_and_deleted() {
    let mut stage = fetching(3);
    let files: Vec<String> = stage
        .mailboxes
        .messages(ANA, Folder::New)
        .iter()
        .map(|m| m.file.to_string())
        .collect();
    stage.tell(Event::Begin);
    let mut at = |key: char| {
        let intro = stage.tell(Event::Key(key));
        let effects = stage.tell(done(&intro));
        let place = played(&effects).first().map(|file| {
            let place = files.iter().position(|f| f == file);
            place.expect("one of them")
        });
        if effects.iter().any(|e| matches!(e, Effect::File(..))) {
            begins(&mut stage, &effects);
        }
        place
    };
    assert_eq!(at('1'), Some(0));
    assert_eq!(at('5'), Some(0), "again");
    assert_eq!(at('6'), Some(1));
    assert_eq!(at('4'), Some(0));
    assert_eq!(at('4'), Some(0), "before the first is none");
    assert_eq!(at('6'), Some(1));
    assert_eq!(at('3'), None, "the envelope alone");
    assert_eq!(at('7'), None);
    assert_eq!(at('6'), Some(2));
    assert_eq!(at('9'), None);
    let end = stage.tell(Event::Key('6'));
    assert_eq!(spoken(&end)[0], "vm-nomore");
    assert_eq!(counts(&stage.mailboxes), (0, 2));
    // The deleted one goes with the caller.
    let left = stage.tell(Event::Ended);
    assert_eq!(folders(&left), [Folder::Gone]);
    let (_, errands) = stage.mailboxes.take_work();
    assert_eq!(errands, [Errand::Remove(files[1].as_str().into())]);
    assert_eq!(stage.mailboxes.len(), 2);
}

#[test]
fn what_is_deleted_can_be_recovered() {
    let mut stage = fetching(1);
    stage.tell(Event::Begin);
    hear(&mut stage, '1');
    let deleted = stage.tell(Event::Key('7'));
    assert_eq!(spoken(&deleted), ["vm-deleted"]);
    stage.tell(done(&deleted));
    let menu = stage.tell(Event::Due(TIMER));
    assert!(spoken(&menu).contains(&"vm-undelete"));
    assert_eq!(spoken(&stage.tell(Event::Key('7'))), ["vm-undeleted"]);
    assert_eq!(stage.tell(Event::Ended), []);
    assert_eq!(counts(&stage.mailboxes), (0, 1));
}

#[test]
fn the_envelope_and_the_menu_are_told_when_asked_for() {
    let mut stage = fetching(1);
    stage.tell(Event::Begin);
    stage.tell(Event::Key('1'));
    let envelope = stage.tell(Event::Key('3'));
    let words = spoken(&envelope);
    let at = words.iter().position(|w| *w == "vm-duration").unwrap();
    // Sixty-five seconds.
    assert_eq!(
        words[at + 1..at + 5],
        ["digits/60", "digits/and", "digits/5", "seconds"]
    );
    assert_eq!(spoken(&stage.tell(Event::Key('*')))[0], "vm-prev");
    let main = stage.tell(Event::Key('#'));
    assert_eq!(spoken(&main)[0], "vm-youhave");
    let bye = stage.tell(Event::Key('#'));
    assert_eq!(spoken(&bye), ["goodbye"]);
    assert!(hung_up(&stage.tell(done(&bye))));
}

#[test]
fn folders_are_changed_and_empty_ones_told() {
    let mut stage = fetching(1);
    stage.tell(Event::Begin);
    assert_eq!(spoken(&stage.tell(Event::Key('2')))[0], "vm-nomore");
    // Heard, it lies among the saved ones, where 1 finds it as there is no new one.
    hear(&mut stage, '1');
    stage.tell(Event::Key('#'));
    let intro = stage.tell(Event::Key('1'));
    let sound = stage.tell(done(&intro));
    assert_eq!(played(&sound).len(), 1);
    // It was heard before.
    assert!(!sound.iter().any(|e| matches!(e, Effect::File(..))));
    let mut stage = fetching(0);
    let main = stage.tell(Event::Begin);
    assert!(!spoken(&main).contains(&"vm-onefor-full"));
    assert_eq!(spoken(&stage.tell(Event::Key('1')))[0], "vm-nomore");
}

#[test]
fn a_caller_is_called_back() {
    let mut stage = fetching(1);
    stage.tell(Event::Begin);
    hear(&mut stage, '1');
    for (key, end) in [
        ('8', Event::Refused(486)),
        ('2', Event::Parted),
        ('8', Event::Key('#')),
    ] {
        let effects = stage.tell(Event::Key(key));
        assert_eq!(spoken(&effects), ["pls-hold-while-try"]);
        let reach = effects.iter().find_map(|effect| match effect {
            Effect::Connect(reach) => Some((&*reach.to, &reach.account)),
            _ => None,
        });
        let account = Account::CalledBack(ANA.into());
        assert_eq!(reach, Some(("915550100", &account)));
        assert_eq!(stage.tell(Event::Key('7')), [], "no key of the menu");
        let back = stage.tell(end);
        assert!(spoken(&back).contains(&"vm-delete"), "{back:?}");
    }
    let id = stage.mailboxes.begin(ANA, ("", ""), 1, 9).unwrap().id;
    stage.mailboxes.keep(ANA, id, 3_000);
    press(&mut stage, "##");
    stage.program = Fetch::new();
    stage.tell(Event::Begin);
    press(&mut stage, "1");
    assert_eq!(spoken(&stage.tell(Event::Key('8'))), ["vm-unknown-caller"]);
}

/// What a stranger calls itself is dialled only if it is a number or a user of ours.
#[test]
fn no_caller_id_is_dialled_that_is_no_number() {
    for (shown, dialled) in [
        ("+34915550100", Some("+34915550100")),
        ("+34 915-55.01(00)", Some("+34915550100")),
        ("200", Some("200")),
        ("*72600666666", None),
        ("**201", None),
        ("*60", None),
        ("sip:x@evil.test", None),
        ("ana", None),
        ("1|2", None),
        ("+", None),
    ] {
        let mut stage = fetching(0);
        let id = stage.mailboxes.begin(ANA, (shown, ""), 1, 9).unwrap().id;
        stage.mailboxes.keep(ANA, id, 3_000);
        stage.tell(Event::Begin);
        stage.tell(Event::Key('1'));
        let effects = stage.tell(Event::Key('2'));
        let reach = effects.iter().find_map(|effect| match effect {
            Effect::Connect(reach) => Some(&*reach.to),
            _ => None,
        });
        assert_eq!(reach, dialled, "{shown}");
        if dialled.is_none() {
            assert_eq!(spoken(&effects), ["vm-unknown-caller"], "{shown}");
        }
    }
}

/// Another phone: mailbox and PIN.
fn locked_out() -> Fetching {
    let mut stage = fetching(1);
    stage.caller.user = None;
    let pin = PinHash::of("2468", [5; 16]);
    stage.mailboxes.update(ANA, |m| m.pin = pin).unwrap();
    stage
}

#[test]
fn another_phone_needs_number_and_pin() {
    let mut stage = locked_out();
    assert_eq!(spoken(&stage.tell(Event::Begin)), ["vm-login"]);
    assert_eq!(spoken(&press(&mut stage, "200#")), ["vm-password"]);
    assert_eq!(spoken(&press(&mut stage, "2468#"))[0], "vm-youhave");
    // Digits without a hash count after a while.
    let mut stage = locked_out();
    stage.tell(Event::Begin);
    press(&mut stage, "200");
    assert_eq!(spoken(&stage.tell(Event::Due(TIMER))), ["vm-password"]);
    press(&mut stage, "2468");
    assert_eq!(spoken(&stage.tell(Event::Due(TIMER)))[0], "vm-youhave");
}

/// From a colleague's phone, which opens the colleague's mailbox unasked.
#[test]
fn the_main_menu_leads_to_another_mailbox() {
    let mut stage = fetching(1);
    let pin = PinHash::of("2468", [5; 16]);
    let other = ANA.replace("200", "300");
    stage.mailboxes.update(&other, |m| m.pin = pin).unwrap();
    stage.tell(Event::Begin);
    press(&mut stage, "1");
    // What was deleted goes, and the other has nothing of it.
    press(&mut stage, "7");
    press(&mut stage, "#");
    let number = press(&mut stage, "*");
    assert_eq!(spoken(&number), ["vm-login"]);
    assert!(matches!(number[0], Effect::Persist(_)), "{number:?}");
    assert_eq!(counts(&stage.mailboxes), (0, 0));
    assert_eq!(spoken(&press(&mut stage, "300#")), ["vm-password"]);
    let main = press(&mut stage, "2468#");
    assert_eq!(spoken(&main)[..2], ["vm-youhaveno", "vm-messages"]);
    assert_eq!(spoken(&main).last(), Some(&"vm-otherexit"));
    // Right PINs are no tries: as often as one likes, and then three wrong ones.
    for _ in 0..4 {
        assert_eq!(spoken(&press(&mut stage, "*")), ["vm-login"]);
        assert_eq!(spoken(&press(&mut stage, "300#2468#"))[0], "vm-youhaveno");
    }
    press(&mut stage, "*300#1#");
    assert_eq!(spoken(&stage.tell(Event::Due(TIMER)))[0], "vm-incorrect");
    // Back to the own one.
    press(&mut stage, "*");
    assert_eq!(spoken(&press(&mut stage, "*"))[0], "vm-youhaveno");
    assert_eq!(stage.program.mailbox(), ANA);
}

#[test]
fn a_mailbox_of_another_domain_is_found_by_its_number() {
    use crate::config::Config;
    use crate::store::{Ha1, User};
    let text = "[node]\ndomains = [\"example.com\", \"b.example\", \"c.example\"]\n";
    let config = Config::parse(text, std::path::Path::new("voip.toml")).unwrap();
    for (caller, number, wanted) in [
        (None, "200", "200@example.com"),
        // In one other domain, in two, in none.
        (None, "300", "300@c.example"),
        (None, "400", "400@example.com"),
        (None, "500", "500@example.com"),
        // Colleagues come first.
        (Some("1@c.example"), "200", "200@c.example"),
        (Some("1@c.example"), "400", "400@c.example"),
        (Some("1@c.example"), "600", "600@example.com"),
    ] {
        let mut stage = fetching(0);
        stage.config = config.clone();
        stage.caller.user = caller.map(Box::from);
        for aor in [
            "200@example.com",
            "200@c.example",
            "300@c.example",
            "400@b.example",
            "400@c.example",
            "600@example.com",
        ] {
            let (username, domain) = aor.split_once('@').unwrap();
            let user = User {
                username: username.into(),
                domain: domain.into(),
                display_name: "".into(),
                ha1: Ha1::of(username, domain, "secret"),
                disabled: false,
            };
            stage.house.directory.put(user).unwrap();
        }
        stage.tell(Event::Begin);
        if caller.is_some() {
            press(&mut stage, "*");
        }
        press(&mut stage, &format!("{number}#"));
        assert_eq!(stage.program.mailbox(), wanted, "{caller:?} {number}");
    }
}

#[test]
fn wrong_pins_are_waited_off_and_end_the_call() {
    let mut stage = locked_out();
    stage.tell(Event::Begin);
    press(&mut stage, "200#");
    for wait in [1, 2] {
        let effects = press(&mut stage, "0000#");
        let waits = effects.iter().find_map(|effect| match effect {
            Effect::After(wait, _) => Some(wait.as_secs()),
            _ => None,
        });
        assert_eq!(waits, Some(wait));
        let kept = |e: &Effect| matches!(e, Effect::Persist(Record::PutMailbox(_)));
        assert!(effects.iter().any(kept));
        assert_eq!(press(&mut stage, "2468#"), [], "nothing is heard meanwhile");
        let again = stage.tell(Event::Due(TIMER));
        assert_eq!(spoken(&again), ["vm-incorrect", "vm-password"]);
    }
    let bye = press(&mut stage, "0000#");
    assert_eq!(spoken(&bye), ["vm-incorrect", "goodbye"]);
    assert!(hung_up(&stage.tell(done(&bye))));
    // The count goes on in the next call.
    stage.program = Fetch::new();
    stage.tell(Event::Begin);
    press(&mut stage, "200#0000#");
    stage.tell(Event::Due(TIMER));
    let locked = press(&mut stage, "0000#");
    assert_eq!(spoken(&locked), ["vm-locked", "goodbye"]);
    stage.program = Fetch::new();
    stage.tell(Event::Begin);
    let locked = press(&mut stage, "200#2468#");
    assert_eq!(
        spoken(&locked),
        ["vm-locked", "goodbye"],
        "the right one, too"
    );
    stage.unix_ms += 900_000;
    stage.program = Fetch::new();
    stage.tell(Event::Begin);
    assert_eq!(spoken(&press(&mut stage, "200#2468#"))[0], "vm-youhave");
}

/// Whoever tries one mailbox after the other is shut out of all of them; the owner's own phone,
/// which another number has, is not.
#[test]
fn who_tries_many_mailboxes_is_locked_out() {
    let mut stage = locked_out();
    stage.caller.number = "666".into();
    for n in 0..15 {
        stage.program = Fetch::new();
        stage.tell(Event::Begin);
        let said = press(&mut stage, &format!("30{n}#0000#"));
        assert_ne!(spoken(&said), ["vm-locked", "goodbye"], "{n}");
        assert!(said.contains(&Effect::Note(format!("mailbox 30{n}: wrong PIN").into())));
    }
    let try_own = |stage: &mut Fetching| {
        stage.program = Fetch::new();
        stage.tell(Event::Begin);
        let said = press(stage, "200#2468#");
        spoken(&said)[0].to_owned()
    };
    assert_eq!(try_own(&mut stage), "vm-locked");
    stage.caller.number = "777".into();
    assert_eq!(try_own(&mut stage), "vm-youhave");
    stage.caller.number = "666".into();
    stage.now = crate::base::Instant::from_millis(901_000);
    assert_eq!(try_own(&mut stage), "vm-youhave");
}

/// Who is not let in can end the call in any way: nothing of the mailbox changes.
#[test]
fn a_stranger_expunges_nothing() {
    let mut stage = locked_out();
    let id = stage.mailboxes.messages(ANA, Folder::New)[0].id;
    stage.mailboxes.put(ANA, id, Folder::Deleted);
    stage.tell(Event::Begin);
    press(&mut stage, "200#1#");
    assert_eq!(stage.tell(Event::Ended), []);
    stage.program = Fetch::new();
    stage.tell(Event::Begin);
    press(&mut stage, "200#");
    let bye = stage.tell(Event::Due(TIMER));
    assert_eq!(bye, [], "the prompt is not over");
    assert_eq!(stage.tell(Event::Ended), []);
    assert_eq!(stage.mailboxes.messages(ANA, Folder::Deleted).len(), 1);
}

#[test]
fn a_mailbox_without_pin_or_without_user_opens_to_nobody_else() {
    for number in ["200", "999"] {
        let mut stage = fetching(1);
        stage.caller.user = Some("201@localhost".into());
        stage.program = Fetch::of("x@localhost");
        stage.tell(Event::Begin);
        stage.tell(Event::Key('*'));
        press(&mut stage, &format!("{number}#"));
        for pin in ["#", "0000#", "1234#"] {
            let effects = press(&mut stage, pin);
            assert!(!spoken(&effects).contains(&"vm-youhave"));
            stage.tell(Event::Due(TIMER));
        }
    }
}

#[test]
fn the_owners_phone_is_asked_where_that_is_wanted() {
    let mut stage = locked_out();
    stage.caller.user = Some(ANA.into());
    assert_eq!(spoken(&stage.tell(Event::Begin))[0], "vm-youhave");
    stage.config.voicemail.ask_pin = true;
    stage.program = Fetch::new();
    assert_eq!(spoken(&stage.tell(Event::Begin)), ["vm-password"]);
}

#[test]
fn a_greeting_is_recorded_heard_and_accepted() {
    let mut stage = fetching(0);
    stage.tell(Event::Begin);
    assert_eq!(spoken(&stage.tell(Event::Key('0')))[0], "vm-options");
    let asked = stage.tell(Event::Key('1'));
    assert_eq!(spoken(&asked), ["vm-rec-unv"]);
    let (task, file) = recorded_file(&stage.tell(done(&asked)));
    let take = take_of_greeting(ANA, Greeting::Unavailable);
    assert_eq!(file, *take);
    stage.tell(end(task, 3_000, RecordEnd::Key));
    assert_eq!(played(&stage.tell(Event::Key('2'))), [&*take]);
    let again = stage.tell(Event::Key('3'));
    let (task, _) = recorded_file(&stage.tell(done(&again)));
    stage.tell(end(task, 3_000, RecordEnd::Key));
    let accepted = stage.tell(Event::Key('1'));
    assert_eq!(spoken(&accepted)[..2], ["vm-msgsaved", "vm-options"]);
    assert!(matches!(
        &accepted[0],
        Effect::Persist(Record::PutMailbox(_))
    ));
    let (_, errands) = stage.mailboxes.take_work();
    let kept = greeting_file(ANA, Greeting::Unavailable);
    assert_eq!(errands, [Errand::Rename(take, kept)]);
    let short = stage.tell(Event::Key('2'));
    let (task, _) = recorded_file(&stage.tell(done(&short)));
    let told = stage.tell(end(task, 100, RecordEnd::Key));
    assert_eq!(spoken(&told)[0], "vm-tooshort");
    let name = stage.tell(Event::Key('3'));
    assert_eq!(spoken(&name), ["vm-rec-name"]);
    assert_eq!(spoken(&stage.tell(Event::Key('*')))[0], "vm-options");
    assert!(
        stage
            .mailboxes
            .mailbox(ANA)
            .greetings
            .has(Greeting::Unavailable)
    );
    assert!(!stage.mailboxes.mailbox(ANA).greetings.has(Greeting::Busy));
}

#[test]
fn a_pin_is_set_when_entered_twice() {
    let mut stage = fetching(0);
    stage.tell(Event::Begin);
    stage.tell(Event::Key('0'));
    assert_eq!(spoken(&stage.tell(Event::Key('5'))), ["vm-newpassword"]);
    assert_eq!(spoken(&press(&mut stage, "12#")), ["vm-invalid-password"]);
    assert_eq!(spoken(&press(&mut stage, "1357#")), ["vm-reenterpassword"]);
    let told = press(&mut stage, "1358#");
    assert_eq!(spoken(&told), ["vm-mismatch", "vm-newpassword"]);
    press(&mut stage, "1357#");
    let set = press(&mut stage, "1357#");
    assert_eq!(spoken(&set)[0], "vm-passchanged");
    assert!(matches!(&set[0], Effect::Persist(Record::PutMailbox(_))));
    assert!(stage.mailboxes.mailbox(ANA).pin.unwrap().is_of("1357"));
    stage.tell(Event::Key('5'));
    assert_eq!(spoken(&stage.tell(Event::Key('*')))[0], "vm-options");
}

#[test]
fn who_presses_nothing_is_let_go() {
    let mut stage = fetching(1);
    let mut said = stage.tell(Event::Begin);
    for _ in 0..2 {
        stage.tell(done(&said));
        said = stage.tell(Event::Due(TIMER));
        assert_eq!(spoken(&said)[0], "vm-onefor-full");
    }
    stage.tell(done(&said));
    let bye = stage.tell(Event::Due(TIMER));
    assert_eq!(spoken(&bye), ["goodbye"]);
    assert!(hung_up(&stage.tell(done(&bye))));
}

/// Another call of the owner's deleted what this one hears.
#[test]
fn a_message_that_goes_meanwhile_is_stepped_over() {
    let mut stage = fetching(2);
    let ids: Vec<u64> = stage
        .mailboxes
        .messages(ANA, Folder::New)
        .iter()
        .map(|m| m.id)
        .collect();
    stage.tell(Event::Begin);
    stage.mailboxes.remove(ANA, ids[0]).unwrap();
    stage.tell(Event::Key('1'));
    stage.mailboxes.remove(ANA, ids[1]).unwrap();
    assert_eq!(spoken(&stage.tell(Event::Key('5')))[0], "vm-nomore");
}
