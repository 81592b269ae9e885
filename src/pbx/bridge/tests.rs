use super::super::program::Effect;
use super::super::stage::Stage;
use super::*;
use crate::config::Config;
use crate::media::prompts;
use std::path::Path;

fn stage(record: Option<Recorded>, recording: &str) -> Stage<Bridge> {
    let text = format!(
        "[node]\ndomains = [\"example.com\"]\n[numbers]\ntimezone = \"Europe/Madrid\"\n\
        [recording]\nmax_s = 60\n{recording}"
    );
    let mut stage = Stage::new(Bridge::new("sip:200@example.com".into(), None, record));
    stage.config = Config::parse(&text, Path::new("voip.toml")).unwrap();
    stage.caller.dialog.0 = b"../../a b%0d@192.0.2.1".as_slice().into();
    stage
}

/// What begins or ends a recording; the file, if it begins.
fn tapes(effects: &[Effect]) -> Vec<Option<(u32, Box<str>, u32)>> {
    let tapes = effects.iter().filter_map(|effect| match effect {
        Effect::Tape(tape) => Some(tape.clone()),
        _ => None,
    });
    tapes.collect()
}

fn told(effects: &[Effect]) -> Vec<String> {
    let mut names = Vec::new();
    for effect in effects {
        if let Effect::Both(_, sounds) = effect {
            for sound in sounds {
                if let Sound::Prompt { language, name } = sound {
                    assert!(prompts::find(*language, name).is_some(), "{name}");
                    names.push(name.to_string());
                }
            }
        }
    }
    names
}

#[test]
fn a_call_is_recorded_from_its_beginning_and_both_are_told() {
    let mut stage = stage(Some(Recorded::Always), "");
    let effects = stage.tell(Event::Joined);
    assert_eq!(effects[0], Effect::Answer);
    let [Some((TAPE, file, 60_000))] = &tapes(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert!(crate::media::file::is_name(file), "{file}");
    let (path, name) = file.rsplit_once('/').unwrap();
    // The stage's clock, in Madrid.
    assert_eq!(path, "recordings/2026/09/21");
    assert!(
        name.starts_with("------a-b-0d@192-0-2-1-") && name.ends_with(".wav"),
        "{name}"
    );
    assert!(effects.contains(&Effect::Note(format!("recorded: {file}").into())));
    assert_eq!(told(&effects), ["call-is-recorded"]);
    assert_eq!(stage.tell(Event::Done(NOTICE)), [Effect::Rejoin]);
    // Keys end it for nobody.
    for key in ['*', '1'] {
        assert_eq!(stage.tell(Event::Key(key)), []);
    }
    // Two calls of one Call-ID have two files.
    let again = tapes(&stage_again(&mut stage));
    assert_ne!(again[0].as_ref().unwrap().1, *file);
}

/// The same caller calls again.
fn stage_again(stage: &mut Stage<Bridge>) -> Vec<Effect> {
    let mut again = Bridge::new("sip:200@example.com".into(), None, Some(Recorded::Always));
    stage.of(&mut again, Event::Joined)
}

#[test]
fn nobody_is_told_where_that_is_not_wanted_or_nothing_recorded() {
    let mut silent = stage(Some(Recorded::Always), "notice = false\n");
    let effects = silent.tell(Event::Joined);
    assert_eq!((tapes(&effects).len(), told(&effects).len()), (1, 0));
    for record in [None, Some(Recorded::OnDemand)] {
        assert_eq!(stage(record, "").tell(Event::Joined), [Effect::Answer]);
    }
}

#[test]
fn keys_of_one_of_the_two_begin_it_and_end_it() {
    let mut stage = stage(Some(Recorded::OnDemand), "");
    stage.tell(Event::Joined);
    // One from each, or too late, is no row.
    assert_eq!(stage.tell(Event::Key('*')), []);
    assert_eq!(stage.tell(Event::FarKey('1')), []);
    stage.now += Duration::from_secs(3);
    assert_eq!(stage.tell(Event::Key('1')), []);
    for key in ['7', '*', '*'] {
        assert_eq!(stage.tell(Event::FarKey(key)), []);
    }
    let effects = stage.tell(Event::FarKey('1'));
    assert!(tapes(&effects)[0].is_some());
    assert_eq!(told(&effects), ["call-is-recorded"]);
    assert_eq!(stage.tell(Event::Key('*')), []);
    let effects = stage.tell(Event::Key('1'));
    assert_eq!(tapes(&effects), [None]);
    assert_eq!(told(&effects), ["call-recording", "de-activated"]);
    // And once more, as another file.
    stage.tell(Event::Key('*'));
    assert!(tapes(&stage.tell(Event::Key('1')))[0].is_some());
}

#[test]
fn a_full_disk_is_noted_and_the_call_goes_on() {
    let mut stage = stage(Some(Recorded::Always), "");
    stage.tell(Event::Joined);
    let failed = Event::Recorded {
        task: TAPE,
        ms: 0,
        end: RecordEnd::Failed,
    };
    let effects = stage.tell(failed);
    assert_eq!(
        effects,
        [Effect::Note("recording: it could not be written".into())]
    );
}

#[test]
fn without_keys_of_the_configuration_nothing_grows() {
    let mut stage = stage(Some(Recorded::OnDemand), "keys = \"**1#\"\n");
    stage.tell(Event::Joined);
    for _ in 0..1000 {
        assert_eq!(stage.tell(Event::Key('*')), []);
    }
    assert!(stage.program.pressed[0].0.len() < 4);
    assert_eq!(stage.tell(Event::Key('1')), []);
    assert!(tapes(&stage.tell(Event::Key('#')))[0].is_some());
}
