//! Tables of state and input.

mod groups;
mod way;

use super::*;
use crate::store::{BLOCKED_MAX, FeatureRecord};
use std::collections::BTreeSet;
use std::time::Duration;

const ME: &str = "100@example.com";

fn caller(number: &'static str) -> Caller<'static> {
    Caller {
        number,
        uri: "sip:200@example.com",
        anonymous: false,
    }
}

fn with(changes: impl IntoIterator<Item = Change>) -> Settings {
    let features = Features::new();
    for change in changes {
        features.change(ME, &change).unwrap();
    }
    features
        .settings(ME)
        .map(|s| (*s).clone())
        .unwrap_or_default()
}

fn to(number: &str) -> Option<Box<str>> {
    Some(number.into())
}

fn forward(number: &str, why: Why) -> Incoming {
    Incoming::Forward(Forward {
        to: number.into(),
        why,
    })
}

fn refuse(status: u16, reason: &'static str) -> Incoming {
    Incoming::Refuse(Refusal::new(status, reason))
}

const RINGS: Incoming = Incoming::Ring { ring: None };

#[test]
fn before_it_rings() {
    use Change::*;
    let hidden = Caller {
        anonymous: true,
        ..caller("200")
    };
    let table: Vec<(Vec<Change>, Caller<'_>, Incoming)> = vec![
        (vec![], caller("200"), RINGS),
        (vec![], hidden, RINGS),
        (
            vec![ForwardAlways(to("300"))],
            caller("200"),
            forward("300", Why::Always),
        ),
        (vec![ForwardBusy(to("300"))], caller("200"), RINGS),
        (vec![ForwardUnregistered(to("300"))], caller("200"), RINGS),
        (
            vec![ForwardNoAnswer(to("300"))],
            caller("200"),
            Incoming::Ring {
                ring: Some(NO_ANSWER),
            },
        ),
        (
            vec![ForwardNoAnswer(to("300")), RingSeconds(Some(7))],
            caller("200"),
            Incoming::Ring {
                ring: Some(Duration::from_secs(7)),
            },
        ),
        (
            vec![RingSeconds(Some(30))],
            caller("200"),
            Incoming::Ring {
                ring: Some(Duration::from_secs(30)),
            },
        ),
        (
            vec![Dnd(true)],
            caller("200"),
            refuse(480, "Do Not Disturb"),
        ),
        (vec![Dnd(true), Dnd(false)], caller("200"), RINGS),
        (
            vec![Dnd(true), ForwardBusy(to("300"))],
            caller("200"),
            forward("300", Why::Busy),
        ),
        (
            vec![Dnd(true), ForwardAlways(to("9"))],
            caller("200"),
            forward("9", Why::Always),
        ),
        (vec![RejectAnonymous(true)], caller("200"), RINGS),
        (
            vec![RejectAnonymous(true)],
            hidden,
            refuse(433, "Anonymity Disallowed"),
        ),
        (
            vec![RejectAnonymous(true), ForwardAlways(to("300"))],
            hidden,
            refuse(433, "Anonymity Disallowed"),
        ),
        (
            vec![Block("200".into())],
            caller("200"),
            refuse(603, "Decline"),
        ),
        (vec![Block("200".into())], caller("2000"), RINGS),
        (
            vec![Block("200".into()), ForwardAlways(to("300"))],
            caller("200"),
            refuse(603, "Decline"),
        ),
    ];
    for (changes, caller, wanted) in table {
        let settings = with(changes.clone());
        assert_eq!(
            incoming(&settings, caller),
            wanted,
            "{changes:?} {caller:?}"
        );
    }
}

#[test]
fn a_black_list_means_whom_it_says() {
    let table = [
        ("+34915550100", "34915550100", "", true),
        ("34915550100", "+34915550100", "", true),
        ("+34 91 555 01 00", "+34915550100", "", true),
        ("34900*", "+34900123456", "", true),
        ("34900*", "+34901123456", "", false),
        ("34900*", "", "", false),
        ("200", "200", "sip:200@example.org", true),
        (
            "spam@example.org",
            "spam",
            "sip:spam@EXAMPLE.org:5070;transport=tcp",
            true,
        ),
        ("spam@example.org", "spam", "sip:spam@example.com", false),
        ("spam@example.org", "SPAM", "sip:SPAM@example.org", false),
        ("sip:spam@example.org", "spam", "spam@example.org", true),
        (
            "@example.org",
            "anybody",
            "sips:anybody@example.org?x=y",
            true,
        ),
        ("@example.org", "anybody", "", false),
        ("@[2001:db8::1]", "x", "sip:x@[2001:DB8::1]:5060", true),
    ];
    for (pattern, number, uri, covered) in table {
        let settings = with([Change::Block(pattern.into())]);
        let caller = Caller {
            number,
            uri,
            anonymous: false,
        };
        let refused = matches!(incoming(&settings, caller), Incoming::Refuse(_));
        assert_eq!(refused, covered, "{pattern} {caller:?}");
    }
}

#[test]
fn after_it_failed() {
    let all = with([
        Change::ForwardBusy(to("1")),
        Change::ForwardNoAnswer(to("2")),
        Change::ForwardUnregistered(to("3")),
    ]);
    let fewer = with([Change::ForwardNoAnswer(to("2"))]);
    let goes = |s: &Settings, f| after(s, f).map(|f| (f.to.to_string(), f.why));
    let is = |to: &str, why| Some((to.to_string(), why));
    assert_eq!(goes(&all, Failure::Busy), is("1", Why::Busy));
    assert_eq!(goes(&all, Failure::NoAnswer), is("2", Why::NoAnswer));
    assert_eq!(
        goes(&all, Failure::Unregistered),
        is("3", Why::Unregistered)
    );
    assert_eq!(goes(&fewer, Failure::Busy), None);
    assert_eq!(
        goes(&fewer, Failure::Unregistered),
        is("2", Why::Unregistered)
    );
    assert_eq!(goes(&Settings::default(), Failure::NoAnswer), None);
    let statuses = [
        (486, true, Some(Failure::Busy)),
        (486, false, Some(Failure::Busy)),
        (600, true, Some(Failure::Busy)),
        (603, true, Some(Failure::Busy)),
        (480, false, Some(Failure::Busy)),
        (480, true, Some(Failure::NoAnswer)),
        (408, true, Some(Failure::NoAnswer)),
        (408, false, Some(Failure::NoAnswer)),
        (430, false, Some(Failure::Unregistered)),
        (404, false, None),
        (487, true, None),
        (488, true, None),
        (500, true, None),
    ];
    for (status, rang, failure) in statuses {
        assert_eq!(Failure::of_status(status, rang), failure, "{status} {rang}");
    }
}

#[test]
fn what_is_dialled() {
    use Change::*;
    let speed = with([
        Speed(7, to("+34 915 550 100")),
        Speed(12, to("sip:a@b.example")),
    ]);
    let set = |change| Dialled::Code(Code::Set(change));
    let number = |n: &str| Dialled::Number(n.into());
    let wrong = |status, reason: &'static str| Dialled::Wrong(Refusal::new(status, reason));
    let pickup = |e: Option<&str>| Dialled::Code(Code::Pickup(e.map(Box::from)));
    let table = [
        ("200", Dialled::Other),
        ("", Dialled::Other),
        ("#31#", Dialled::Other),
        ("*", Dialled::Other),
        ("*123", Dialled::Other),
        ("*125", Dialled::Other),
        ("*130", Dialled::Other),
        ("*731", Dialled::Other),
        ("*72200", set(ForwardAlways(to("200")))),
        ("*72*200#", set(ForwardAlways(to("200")))),
        ("*72+34915550100", set(ForwardAlways(to("+34915550100")))),
        ("*72", wrong(484, "Dial a Number Behind *72")),
        ("*72#", wrong(484, "Dial a Number Behind *72")),
        ("*73", set(ForwardAlways(None))),
        ("*73#", set(ForwardAlways(None))),
        ("*90200", set(ForwardBusy(to("200")))),
        ("*91", set(ForwardBusy(None))),
        ("*92200", set(ForwardNoAnswer(to("200")))),
        ("*93", set(ForwardNoAnswer(None))),
        ("*94200", set(ForwardUnregistered(to("200")))),
        ("*95", set(ForwardUnregistered(None))),
        ("*78", set(Dnd(true))),
        ("*79", set(Dnd(false))),
        ("*77", set(RejectAnonymous(true))),
        ("*87", set(RejectAnonymous(false))),
        ("*60666", set(Block("666".into()))),
        ("*61666", set(Unblock("666".into()))),
        ("*60", wrong(484, "Dial a Number Behind *60")),
        ("*7507200", set(Speed(7, to("200")))),
        ("*7507*200", set(Speed(7, to("200")))),
        ("*75*07*200#", set(Speed(7, to("200")))),
        (
            "*7507",
            wrong(484, "Dial Two Digits and a Number Behind *75"),
        ),
        (
            "*757",
            wrong(484, "Dial Two Digits and a Number Behind *75"),
        ),
        ("*7607", set(Speed(7, None))),
        ("*76", wrong(484, "Dial Two Digits Behind *76")),
        ("*007", number("+34915550100")),
        ("*012", number("sip:a@b.example")),
        ("*099", wrong(404, "No Speed Dial 99")),
        ("*0", wrong(484, "Dial Two Digits Behind *0")),
        ("*07", wrong(484, "Dial Two Digits Behind *0")),
        ("*0071", Dialled::Other),
        ("*8", pickup(None)),
        ("*8201", pickup(Some("201"))),
        ("*870", pickup(Some("70"))),
        ("**201", pickup(Some("201"))),
        ("**7", pickup(Some("7"))),
        ("**", wrong(484, "Dial an Extension Behind **")),
    ];
    for (text, wanted) in table {
        assert_eq!(dialled(Some(&speed), text), wanted, "{text}");
    }
    assert_eq!(dialled(None, "*007"), wrong(404, "No Speed Dial 07"));
}

#[test]
fn every_code_of_the_table_is_found_under_its_own_name() {
    for row in CODES {
        let behind = match row.argument {
            Argument::None => "",
            Argument::Number | Argument::Extension | Argument::MaybeExtension => "200",
            Argument::Short => "07",
            Argument::ShortAndNumber => "07200",
        };
        let speed = with([Change::Speed(7, to("200"))]);
        let read = dialled(Some(&speed), &format!("{}{behind}", row.code));
        assert!(
            matches!(read, Dialled::Code(_) | Dialled::Number(_)),
            "{} is hidden by another: {read:?}",
            row.code
        );
    }
    let codes: BTreeSet<&str> = CODES.iter().map(|row| row.code).collect();
    assert_eq!(codes.len(), CODES.len());
    let first_of = |code: &str| CODES.iter().position(|row| row.code == code);
    assert!(first_of("*87") < first_of("*8"));
}

#[test]
fn nonsense_changes_nothing() {
    let features = Features::new();
    let refused = |change: Change| features.change(ME, &change).unwrap_err().status;
    for (bad, status) in [
        ("", 484),
        ("  ", 484),
        ("100", 403),
        ("1 0 0", 403),
        ("sip:100@EXAMPLE.com", 403),
        ("sip:100@example.com:5060;transport=tcp", 403),
        ("sip:example.com", 400),
        ("sip:", 400),
        ("sip:a@b?Replaces=x", 400),
        ("sip:a@b\r\nX: y", 400),
        ("a b", 400),
        ("ñ", 400),
        ("a\nb", 400),
        ("34+91", 400),
    ] {
        assert_eq!(
            refused(Change::ForwardAlways(Some(bad.into()))),
            status,
            "{bad:?}"
        );
        assert_eq!(
            refused(Change::ForwardNoAnswer(Some(bad.into()))),
            status,
            "{bad:?}"
        );
    }
    let long = "1".repeat(TARGET_BYTES_MAX + 1);
    assert_eq!(refused(Change::ForwardBusy(Some(long.into()))), 400);
    assert_eq!(refused(Change::RingSeconds(Some(RING_S_MIN - 1))), 400);
    assert_eq!(refused(Change::RingSeconds(Some(RING_S_MAX + 1))), 400);
    assert_eq!(refused(Change::Speed(100, to("1"))), 400);
    assert_eq!(refused(Change::Speed(5, None)), 404);
    assert_eq!(refused(Change::Unblock("1".into())), 404);
    for everybody in ["*", "+*", "", "@", "a@b@c", "a <b@c>"] {
        assert!(
            matches!(refused(Change::Block(everybody.into())), 400 | 484),
            "{everybody}"
        );
    }
    assert!(features.is_empty());
    assert_eq!(features.settings(ME), None);
}

#[test]
fn a_full_black_list_says_so() {
    let features = Features::new();
    for n in 0..BLOCKED_MAX {
        features
            .change(ME, &Change::Block(format!("9{n}").into()))
            .unwrap();
    }
    // One that is there already needs no room.
    features.change(ME, &Change::Block("90".into())).unwrap();
    let full = features.change(ME, &Change::Block("8".into())).unwrap_err();
    assert_eq!(full.status, 500);
    assert!(full.reason.contains("100"), "{full}");
    features.change(ME, &Change::Unblock("90".into())).unwrap();
    features.change(ME, &Change::Block("8".into())).unwrap();
    assert_eq!(features.settings(ME).unwrap().blocked.len(), BLOCKED_MAX);
}

#[test]
fn a_forwarding_that_comes_back_is_refused_when_it_is_set() {
    let features = Features::new();
    let set = |who: &str, to: &str| {
        let change = Change::ForwardAlways(Some(to.into()));
        features
            .change(&format!("{who}@example.com"), &change)
            .map(drop)
    };
    set("200", "300").unwrap();
    set("300", "sip:400@example.com").unwrap();
    let refusal = set("400", "200").unwrap_err();
    assert_eq!(refusal.status, 482);
    assert!(refusal.reason.contains("300 Forwards Here"), "{refusal}");
    // The same name of another domain is another user.
    set("400", "sip:200@example.org").unwrap();
    // What depends on the hour is left to the call.
    let busy = Change::ForwardBusy(to("200"));
    features.change("500@example.com", &busy).unwrap();
    set("400", "500").unwrap();
    // A chain of as many as a call may have, and one more.
    for n in 0..FORWARDINGS_MAX {
        set(&format!("6{n:02}"), &format!("6{:02}", n + 1)).unwrap();
    }
    assert_eq!(set("700", "600").unwrap_err().status, 483);
    set("700", "601").unwrap();
}

#[test]
fn revisions_grow_and_outlive_a_restart() {
    let features = Features::new();
    let on = features.change(ME, &Change::Dnd(true)).unwrap();
    let off = features.change(ME, &Change::Dnd(false)).unwrap();
    assert!(on.revision < off.revision);
    assert!(off.settings.is_empty() && features.is_empty());
    assert_eq!(features.remove(ME), None);
    features.change(ME, &Change::Dnd(true)).unwrap();
    let gone = features.remove(ME).unwrap();
    assert!(gone.settings.is_empty() && gone.revision > off.revision);
    let again = Features::new();
    let record = FeatureRecord {
        aor: ME.into(),
        settings: with([Change::Dnd(true)]),
        revision: 7,
    };
    again.load(vec![record], 41);
    assert!(again.settings(ME).unwrap().dnd);
    assert_eq!(again.change(ME, &Change::Clear).unwrap().revision, 42);
}

#[test]
fn commands_name_what_codes_do() {
    let good = [
        ("forward-always", "200", Change::ForwardAlways(to("200"))),
        (
            "forward_no_answer",
            "200",
            Change::ForwardNoAnswer(to("200")),
        ),
        ("ring-seconds", "30", Change::RingSeconds(Some(30))),
        ("dnd", "on", Change::Dnd(true)),
        ("dnd", "off", Change::Dnd(false)),
        ("block", "34900*", Change::Block("34900*".into())),
        ("speed-07", "200", Change::Speed(7, to("200"))),
    ];
    for (key, value, change) in good {
        assert_eq!(Change::set(key, value), Ok(change), "{key}");
    }
    for (key, value) in [
        ("forward", "200"),
        ("ring-seconds", "soon"),
        ("dnd", "maybe"),
        ("speed-7", "200"),
        ("speed-007", "200"),
        ("speed-+7", "200"),
    ] {
        assert_eq!(
            Change::set(key, value).unwrap_err().status,
            400,
            "{key} {value}"
        );
    }
    for (key, ..) in KEYS {
        let key = key.replace("NN", "42");
        assert!(Change::clear(&key, None).is_ok(), "{key}");
    }
    assert_eq!(
        Change::clear("block", Some("1")),
        Ok(Change::Unblock("1".into()))
    );
    assert_eq!(Change::clear("dnd", Some("1")).unwrap_err().status, 400);
    assert_eq!(Change::clear("all", None), Ok(Change::Clear));
}

/// Shards and commands at once: every change is in the table, and the greatest revision of a user
/// is what the table says.
#[test]
fn changes_from_many_sides_lose_nothing() {
    let features = Features::new();
    let sides = 4_u8;
    let records: Vec<FeatureRecord> = std::thread::scope(|scope| {
        let side = |n: u8| {
            let features = &features;
            scope.spawn(move || {
                (0..25_u8)
                    .map(|i| {
                        let code = n * 25 + i;
                        features.change(ME, &Change::Speed(code, to("1"))).unwrap()
                    })
                    .collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..sides).map(side).collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect()
    });
    let last = records.iter().max_by_key(|r| r.revision).unwrap();
    assert_eq!(last.revision, 100);
    assert_eq!(last.settings, *features.settings(ME).unwrap());
    assert_eq!(last.settings.speed.len(), 100);
    let revisions: BTreeSet<u64> = records.iter().map(|r| r.revision).collect();
    assert_eq!(revisions.len(), records.len());
}
