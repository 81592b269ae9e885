use super::super::program::Effect;
use super::super::stage::{Stage, spoken};
use super::*;
use crate::config::{Config, Locale};
use crate::store::Ha1;
use std::path::Path;

const MAIN: &str = r##"
[node]
domains = ["example.com"]
[numbers]
timezone = "Europe/Madrid"
[[group]]
name = "sales"
number = "600"
members = ["201"]
[[menu]]
name = "main"
greeting = ["menu-welcome", "menu-extension"]
keys = { 1 = "extension:201", 2 = "menu:second", 3 = "voicemail:201", 5 = "route:+34915550100", 6 = "group:sales", 7 = "say:vm-nobox", 8 = "repeat", 9 = "directory", "*" = "back", "#" = "hangup" }
extensions = true
retries = 1
then = "group:sales"
open = "mon-fri 9:00-14:00"
closed = "menu:night"
[[menu]]
name = "second"
greeting = "vm-options"
keys = { 1 = "extension:bob@example.com", "*" = "back" }
barge_in = false
retries = 0
[[menu]]
name = "night"
greeting = "menu-closed"
then = "hangup"
retries = 0
"##;

/// Thursday, 2026-11-26 in Madrid: 10:00, and 15:00.
const MORNING: u64 = 1_795_683_600_000;
const AFTERNOON: u64 = MORNING + 5 * 3_600_000;

fn config(text: &str) -> Config {
    Config::parse(text, Path::new("voip.toml")).unwrap_or_else(|m| panic!("{m}"))
}

fn user(username: &str, display_name: &str) -> User {
    User {
        username: username.into(),
        domain: "example.com".into(),
        display_name: display_name.into(),
        ha1: Ha1::of(username, "example.com", "secret"),
        disabled: false,
    }
}

/// In the menu `main` of `text`, before it began.
fn stage(text: &str) -> Stage<Attendant> {
    let config = config(text);
    let attendant = Attendant::new(&config.menus, "main").unwrap();
    let mut stage = Stage::new(attendant);
    stage.config = config;
    stage.unix_ms = MORNING;
    for (number, name) in [
        ("201", "Ana Núñez"),
        ("202", "Ángel Anaya"),
        ("2020", "Zoe"),
        ("alice", "Ana Alice"),
    ] {
        stage.house.directory.put(user(number, name)).unwrap();
    }
    let gone = User {
        disabled: true,
        ..user("209", "Ana Gone")
    };
    stage.house.directory.put(gone).unwrap();
    stage
}

/// Its greeting said.
fn waiting(text: &str) -> Stage<Attendant> {
    let mut stage = stage(text);
    stage.tell(Event::Begin);
    said(&mut stage);
    stage
}

/// Tells it keys; the effects of the last.
fn press(stage: &mut Stage<Attendant>, keys: &str) -> Vec<Effect> {
    let mut last = Vec::new();
    for key in keys.chars() {
        last = stage.tell(Event::Key(key));
    }
    last
}

/// What is said is over; what follows.
fn said(stage: &mut Stage<Attendant>) -> Vec<Effect> {
    let words = stage.program.words;
    stage.tell(Event::Done(words))
}

fn called(effects: &[Effect]) -> Option<(&str, Account)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Connect(reach) => Some((&*reach.to, reach.account.clone())),
        _ => None,
    })
}

fn waits(effects: &[Effect]) -> Option<Duration> {
    effects.iter().find_map(|effect| match effect {
        Effect::After(wait, KEY) => Some(*wait),
        _ => None,
    })
}

#[test]
fn every_key_does_what_the_file_says() {
    let due = |key: char| {
        let mut stage = waiting(MAIN);
        press(&mut stage, &key.to_string());
        let effects = stage.tell(Event::Due(KEY));
        (stage, effects)
    };
    for (key, to, account) in [
        ('1', "201", Account::House),
        ('5', "+34915550100", Account::Operator),
        ('6', "600", Account::House),
    ] {
        let (_, effects) = due(key);
        assert_eq!(called(&effects), Some((to, account)), "{key}");
        assert_eq!(spoken(&effects), ["pls-hold-while-try"]);
    }
    assert_eq!(spoken(&due('2').1), ["vm-options"]);
    assert_eq!(spoken(&due('7').1), ["vm-nobox"]);
    assert_eq!(spoken(&due('8').1), ["menu-welcome", "menu-extension"]);
    assert_eq!(spoken(&due('9').1), ["dir-pls-enter"]);
    // Not digits: nothing longer can begin with them.
    let mut stage = waiting(MAIN);
    assert_eq!(
        spoken(&press(&mut stage, "*")),
        ["menu-welcome", "menu-extension"]
    );
    let mut stage = waiting(MAIN);
    assert_eq!(spoken(&press(&mut stage, "#")), ["goodbye"]);
    assert_eq!(said(&mut stage), [Effect::HangUp]);
    // And one that the file does not name.
    assert_eq!(spoken(&due('4').1), ["pm-invalid-option"]);
}

/// What a caller did in the menus is in the call's record, as far as that has room.
#[test]
fn what_is_dialled_is_noted() {
    let notes = |effects: &[Effect]| -> Vec<String> {
        let notes = effects.iter().filter_map(|effect| match effect {
            Effect::Note(text) => Some(text.to_string()),
            _ => None,
        });
        notes.collect()
    };
    let mut stage = waiting(MAIN);
    let nothing = stage.tell(Event::Due(KEY));
    assert_eq!(notes(&nothing), ["menu main: no key"]);
    let mut stage = waiting(MAIN);
    assert_eq!(
        notes(&press(&mut stage, "202#")),
        ["menu main: dialled 202"]
    );
    let mut stage = waiting(MAIN);
    press(&mut stage, "3");
    let led = stage.tell(Event::Due(KEY));
    let said = ["menu main: key 3", "menu main: voicemail:201"];
    assert_eq!(notes(&led), said);
    assert!(stage.next.is_some());
    let mut stage = waiting(MAIN);
    let mut noted = 0;
    for _ in 0..30 {
        noted += notes(&press(&mut stage, "*")).len();
        stage.tell(Event::Done(WORDS));
    }
    assert_eq!(noted, NOTES_MAX as usize);
}

#[test]
fn an_extension_rings_as_long_as_its_menu_says() {
    let rings = |text: &str| {
        let mut stage = waiting(text);
        press(&mut stage, "2");
        stage.tell(Event::Due(KEY));
        said(&mut stage);
        let effects = press(&mut stage, "1");
        let mut calls = effects.into_iter().filter_map(|effect| match effect {
            Effect::Connect(reach) => Some((reach.led, reach.ring)),
            _ => None,
        });
        calls.next().unwrap()
    };
    assert_eq!(rings(MAIN), (Led::Mail(Some(30)), RING));
    let text = MAIN.replace("barge_in = false", "ring_s = 25");
    assert_eq!(rings(&text), (Led::Mail(Some(25)), RING));
}

#[test]
fn a_call_is_held_rung_answered_and_ended() {
    let mut stage = waiting(MAIN);
    press(&mut stage, "1");
    stage.tell(Event::Due(KEY));
    assert_eq!(stage.tell(Event::Ringing), []);
    let ringing = stage.tell(Event::Done(HOLD));
    let [Effect::Do(TONE, Task::Play { rounds: None, .. })] = &*ringing else {
        panic!("{ringing:?}");
    };
    assert_eq!(stage.tell(Event::Joined), []);
    assert_eq!(stage.tell(Event::Key('1')), []);
    assert_eq!(stage.tell(Event::Parted), [Effect::HangUp]);
}

#[test]
fn callers_hear_what_the_phones_user_or_their_trunk_chose() {
    use crate::config::RingBack;
    let trunk = "[[trunk]]\nname = \"itsp\"\nuri = \"sip:203.0.113.1\"\nringback = \"tone:us\"\n";
    let rings = |way: Option<&str>, own: Option<&str>| {
        let mut stage = waiting(&format!("{MAIN}{trunk}"));
        stage.caller.way = way.map(Box::from);
        press(&mut stage, "1");
        stage.tell(Event::Due(KEY));
        stage.ring_back = own.and_then(RingBack::parse);
        stage.tell(Event::Ringing);
        let effects = stage.tell(Event::Done(HOLD));
        let [Effect::Do(TONE, Task::Play { sounds, .. })] = &*effects else {
            panic!("{effects:?}");
        };
        let [sound] = &sounds[..] else {
            panic!("{sounds:?}");
        };
        sound.clone()
    };
    let tone = |country| Sound::Tone {
        country,
        tone: crate::media::tone::Tone::RingBack,
        ms: None,
    };
    use crate::media::tone::Country;
    assert_eq!(rings(None, None), tone(Country::Es));
    assert_eq!(rings(Some("itsp"), None), tone(Country::Us));
    assert_eq!(rings(Some("other"), None), tone(Country::Es));
    assert_eq!(rings(Some("itsp"), Some("music")), Sound::Music);
    assert_eq!(rings(None, Some("tone:fr")), tone(Country::Fr));
}

#[test]
fn who_cannot_be_reached_is_explained_and_the_menu_goes_on() {
    for (status, why) in [
        (486, "call-busy"),
        (603, "call-declined"),
        (408, "number-not-answering"),
        (404, "ss-noservice"),
        (403, "call-not-allowed"),
        (503, "all-circuits-busy-now"),
    ] {
        let mut stage = waiting(MAIN);
        press(&mut stage, "1");
        stage.tell(Event::Due(KEY));
        assert_eq!(spoken(&stage.tell(Event::Refused(status))), [why]);
        let again = said(&mut stage);
        assert_eq!(spoken(&again), ["menu-welcome", "menu-extension"]);
    }
    // Early media, then a refusal.
    let mut stage = waiting(MAIN);
    press(&mut stage, "1");
    stage.tell(Event::Due(KEY));
    assert_eq!(stage.tell(Event::Heard), []);
    assert_eq!(spoken(&stage.tell(Event::Refused(486))), ["call-busy"]);
}

#[test]
fn extensions_are_dialled_and_nothing_else() {
    let mut stage = waiting(MAIN);
    let waited = press(&mut stage, "202");
    assert_eq!(waits(&waited), Some(Duration::from_millis(2500)));
    let effects = stage.tell(Event::Due(KEY));
    assert_eq!(called(&effects), Some(("202", Account::House)));
    for (keys, to) in [("2020#", "2020"), ("600#", "600")] {
        let mut stage = waiting(MAIN);
        let effects = press(&mut stage, keys);
        assert_eq!(called(&effects), Some((to, Account::House)), "{keys}");
    }
    // A disabled user, nobody, a code, and numbers outside.
    for keys in ["209#", "203#", "0034915550100#", "112#"] {
        let mut stage = waiting(MAIN);
        let effects = press(&mut stage, keys);
        assert_eq!(called(&effects), None, "{keys}");
        assert!(!spoken(&effects).is_empty(), "{keys}");
    }
    // As many digits as there may be, and one more.
    let mut stage = waiting(MAIN);
    let effects = press(&mut stage, &"2".repeat(DIGITS_MAX));
    assert_eq!(spoken(&effects), ["pbx-invalid"]);
    // Where it is not allowed, the first key counts at once.
    let mut stage = waiting(&MAIN.replace("extensions = true", ""));
    let effects = press(&mut stage, "1");
    assert_eq!(called(&effects), Some(("201", Account::House)));
}

#[test]
fn keys_cut_the_greeting_short_where_they_may() {
    let mut stage = stage(MAIN);
    let greeting = stage.tell(Event::Begin);
    let [
        Effect::Do(
            _,
            Task::Play {
                until_key: true, ..
            },
        ),
    ] = &*greeting
    else {
        panic!("{greeting:?}");
    };
    let effects = press(&mut stage, "2");
    assert_eq!(effects.first(), Some(&Effect::Do(REST, Task::Rest)));
    let second = stage.tell(Event::Due(KEY));
    assert_eq!(spoken(&second), ["vm-options"]);
    // The second does not let itself be cut short.
    assert_eq!(press(&mut stage, "1"), []);
    let waited = said(&mut stage);
    assert_eq!(waits(&waited), Some(Duration::from_secs(5)));
    let effects = press(&mut stage, "1");
    assert_eq!(called(&effects), Some(("bob", Account::House)));
}

#[test]
fn tries_are_counted_and_the_last_action_follows() {
    let mut stage = waiting(MAIN);
    // No key at all: once more, then the end.
    let again = stage.tell(Event::Due(KEY));
    assert_eq!(spoken(&again), ["menu-welcome", "menu-extension"]);
    said(&mut stage);
    let end = stage.tell(Event::Due(KEY));
    assert_eq!(called(&end), Some(("600", Account::House)));

    // A wrong key and none are both tries.
    let mut stage = waiting(MAIN);
    press(&mut stage, "4");
    assert_eq!(spoken(&stage.tell(Event::Due(KEY))), ["pm-invalid-option"]);
    said(&mut stage);
    said(&mut stage);
    let end = stage.tell(Event::Due(KEY));
    assert_eq!(called(&end), Some(("600", Account::House)));

    // Without retries the first is the last.
    let mut stage = waiting(MAIN);
    press(&mut stage, "2");
    stage.tell(Event::Due(KEY));
    said(&mut stage);
    assert_eq!(spoken(&stage.tell(Event::Due(KEY))), ["goodbye"]);
    assert_eq!(said(&mut stage), [Effect::HangUp]);
}

#[test]
fn one_goes_back_to_the_menu_before() {
    let mut stage = waiting(MAIN);
    press(&mut stage, "2");
    stage.tell(Event::Due(KEY));
    said(&mut stage);
    let back = press(&mut stage, "*");
    assert_eq!(spoken(&back), ["menu-welcome", "menu-extension"]);
}

#[test]
fn closed_hours_are_closed() {
    let mut stage = stage(MAIN);
    stage.unix_ms = AFTERNOON;
    assert_eq!(spoken(&stage.tell(Event::Begin)), ["menu-closed"]);
    said(&mut stage);
    // A key does not lead into the house.
    assert_eq!(spoken(&press(&mut stage, "1")), ["pm-invalid-option"]);
    assert_eq!(spoken(&said(&mut stage)), ["goodbye"]);
    assert_eq!(said(&mut stage), [Effect::HangUp]);

    // Nor does "back" of a menu that closed in the meantime.
    let text = MAIN.replace("closed = \"menu:night\"", "closed = \"back\"");
    let mut stage = super::tests::stage(&text);
    stage.unix_ms = AFTERNOON;
    assert_eq!(spoken(&stage.tell(Event::Begin)), ["goodbye"]);
}

#[test]
fn menus_that_lead_in_a_circle_come_to_an_end() {
    let text = r#"
[[menu]]
name = "main"
greeting = "goodbye"
then = "hangup"
open = "mon 0:00-0:01"
closed = "menu:other"
[[menu]]
name = "other"
greeting = "goodbye"
then = "hangup"
open = "mon 0:00-0:01"
closed = "menu:main"
"#;
    let mut stage = stage(text);
    assert_eq!(spoken(&stage.tell(Event::Begin)), ["goodbye"]);
    assert_eq!(said(&mut stage), [Effect::HangUp]);

    // And a caller who asks for the same again and again.
    let mut stage = waiting(MAIN);
    let mut turns = 0;
    while spoken(&press(&mut stage, "*")) != ["goodbye"] {
        said(&mut stage);
        turns += 1;
        assert!(turns <= MOVES_MAX, "no end");
    }
    assert_eq!(said(&mut stage), [Effect::HangUp]);
}

#[test]
fn who_recorded_a_name_is_called_by_it_in_the_directory() {
    use crate::mailbox::greeting_file;
    use crate::store::Greeting;
    let mut stage = waiting(MAIN);
    let aor = "201@example.com";
    stage.mailboxes.set_greeting(aor, Greeting::Name).unwrap();
    press(&mut stage, "9");
    stage.tell(Event::Due(KEY));
    let first = press(&mut stage, "262");
    assert_eq!(spoken(&first), ["dir-instr"]);
    let is_named = |effects: &[Effect]| {
        effects.iter().any(|effect| {
            let file = Sound::File {
                root: Root::Spool,
                path: greeting_file(aor, Greeting::Name),
            };
            matches!(effect, Effect::Do(_, Task::Play { sounds, .. }) if sounds[1] == file)
        })
    };
    assert!(is_named(&first), "{first:?}");
    said(&mut stage);
    let second = press(&mut stage, "*");
    assert_eq!(spoken(&second)[..2], ["digits/2", "digits/0"]);
    assert!(!is_named(&second));
}

#[test]
fn somebody_is_found_by_name() {
    let spelling = || {
        let mut stage = waiting(MAIN);
        press(&mut stage, "9");
        assert_eq!(spoken(&stage.tell(Event::Due(KEY))), ["dir-pls-enter"]);
        stage
    };
    // A, N, A: Ana Núñez; Ángel Anaya by the second name. Not Alice, whose extension is no number.
    let mut stage = spelling();
    let first = press(&mut stage, "262");
    assert_eq!(
        spoken(&first),
        ["digits/2", "digits/0", "digits/1", "dir-instr"]
    );
    said(&mut stage);
    let second = press(&mut stage, "*");
    assert_eq!(
        spoken(&second),
        ["digits/2", "digits/0", "digits/2", "dir-instr"]
    );
    let effects = press(&mut stage, "1");
    assert_eq!(called(&effects), Some(("202", Account::House)));

    // Fewer letters, by # or by waiting; nobody; nobody any more.
    let mut stage = spelling();
    assert_eq!(spoken(&press(&mut stage, "26#")).last(), Some(&"dir-instr"));
    let mut stage = spelling();
    press(&mut stage, "68");
    assert_eq!(spoken(&stage.tell(Event::Due(KEY))).len(), 4);
    let mut stage = spelling();
    assert_eq!(spoken(&press(&mut stage, "999")), ["dir-nomatch"]);
    assert_eq!(spoken(&said(&mut stage)), ["dir-pls-enter"]);
    let mut stage = spelling();
    press(&mut stage, "262**");
    assert_eq!(spoken(&said(&mut stage)), ["dir-pls-enter"]);
    // Back to the menu; and no letter at all.
    let mut stage = spelling();
    assert_eq!(
        spoken(&press(&mut stage, "*")),
        ["menu-welcome", "menu-extension"]
    );
    let mut stage = spelling();
    said(&mut stage);
    assert_eq!(spoken(&stage.tell(Event::Due(KEY))), ["dir-pls-enter"]);
    said(&mut stage);
    let end = stage.tell(Event::Due(KEY));
    assert_eq!(called(&end), Some(("600", Account::House)));
}

/// The time for a key, which the key before began, runs out while the directory still asks.
#[test]
fn nobody_is_thrown_out_of_a_question() {
    let mut stage = waiting(MAIN);
    press(&mut stage, "9");
    assert_eq!(spoken(&stage.tell(Event::Due(KEY))), ["dir-pls-enter"]);
    assert_eq!(stage.tell(Event::Due(KEY)), []);
    said(&mut stage);
    press(&mut stage, "26");
    assert_eq!(spoken(&press(&mut stage, "2")).last(), Some(&"dir-instr"));
    // That of the second letter, and of the first.
    assert_eq!(stage.tell(Event::Due(KEY)), []);
    assert_eq!(waits(&said(&mut stage)), Some(Duration::from_secs(5)));
    // A key that means nothing here: as long again.
    let wrong = press(&mut stage, "7");
    assert_eq!(waits(&wrong), Some(Duration::from_secs(5)));
    let effects = press(&mut stage, "1");
    assert_eq!(called(&effects), Some(("201", Account::House)));

    // Who presses nothing at all is asked again, once the question was heard.
    let mut stage = waiting(MAIN);
    press(&mut stage, "9");
    stage.tell(Event::Due(KEY));
    press(&mut stage, "262");
    said(&mut stage);
    assert_eq!(spoken(&stage.tell(Event::Due(KEY))), ["dir-pls-enter"]);
}

/// The studio tells of a key before it tells of the words that the key ended.
#[test]
fn the_end_of_words_that_a_key_cut_is_not_that_of_the_next() {
    let mut stage = waiting(&MAIN.replace("extensions = true", ""));
    press(&mut stage, "9");
    press(&mut stage, "262");
    let question = stage.program.words;
    assert_eq!(spoken(&press(&mut stage, "*")).last(), Some(&"dir-instr"));
    assert_eq!(stage.tell(Event::Done(question)), []);
    assert_eq!(waits(&said(&mut stage)), Some(Duration::from_secs(5)));

    let mut stage = super::tests::stage(&MAIN.replace("extensions = true", ""));
    stage.tell(Event::Begin);
    let greeting = stage.program.words;
    assert_eq!(spoken(&press(&mut stage, "4")), ["pm-invalid-option"]);
    assert_eq!(stage.tell(Event::Done(greeting)), []);
}

#[test]
fn a_reload_leaves_the_caller_in_its_menus() {
    let mut stage = waiting(MAIN);
    stage.config = Config {
        node: stage.config.node.clone(),
        ..Config::default()
    };
    press(&mut stage, "2");
    assert_eq!(spoken(&stage.tell(Event::Due(KEY))), ["vm-options"]);
}

#[test]
fn an_action_without_a_menu_comes_to_an_end() {
    let config = config(MAIN);
    let action = Action::Extension("201".into());
    let mut stage = Stage::new(Attendant::perform(&config.menus, action));
    stage.config = config;
    let effects = stage.tell(Event::Begin);
    assert_eq!(called(&effects), Some(("201", Account::House)));
    assert_eq!(spoken(&stage.tell(Event::Refused(486))), ["call-busy"]);
    assert_eq!(said(&mut stage), [Effect::HangUp]);
}

#[test]
fn it_speaks_both_languages() {
    for locale in [Locale::Es, Locale::En] {
        let mut stage = stage(MAIN);
        stage.locale = locale;
        let effects = stage.tell(Event::Begin);
        assert_eq!(spoken(&effects), ["menu-welcome", "menu-extension"]);
        assert!(format!("{effects:?}").contains(&format!("language: {locale:?}")));
    }
}
