use super::*;
use crate::config::Config;
use crate::pbx::program::Effect;
use crate::pbx::rooms::Journey;
use crate::pbx::stage::{Stage, spoken};
use crate::store::User;
use std::path::Path;

const TEXT: &str = "[node]\ndomains = [\"example.com\"]\n\
    [parking]\nslots = \"701-703\"\ntimeout_s = 60\n";

fn stage(user: Option<&str>, session: u64, program: Park) -> Stage<Park> {
    let mut stage = Stage::new(program);
    stage.config = Config::parse(TEXT, Path::new("voip.toml")).unwrap();
    for name in ["100", "200", "702"] {
        let realm = "example.com";
        let user = User {
            username: name.into(),
            domain: realm.into(),
            display_name: "".into(),
            ha1: crate::store::Ha1::of(name, realm, "secret"),
            disabled: false,
        };
        stage.house.directory.put(user).unwrap();
    }
    stage.caller.user = user.map(Box::from);
    stage.caller.number = "200".into();
    stage.caller.session = session;
    stage.caller.dialog = (
        session.to_string().into_bytes().into(),
        b"t".as_slice().into(),
    );
    stage
}

fn at(session: u64) -> Address {
    Address { shard: 0, session }
}

fn told(effects: &[Effect]) -> Vec<(u64, Wish)> {
    let mut told = Vec::new();
    for effect in effects {
        if let Effect::Tell(whom, wish) = effect {
            told.extend(whom.iter().map(|at| (at.session, wish.clone())));
        }
    }
    told
}

fn plays_music(effects: &[Effect]) -> bool {
    let music = |e: &Effect| matches!(e, Effect::Do(_, Task::Play { sounds, rounds: None, .. }) if sounds == &[Sound::Music]);
    effects.iter().any(music)
}

fn calls(effects: &[Effect]) -> Option<&Reach> {
    effects.iter().find_map(|effect| match effect {
        Effect::Connect(reach) => Some(&**reach),
        _ => None,
    })
}

fn slots(stage: &Stage<Park>) -> Vec<(String, u64)> {
    let list = stage.house.features.lot().list();
    list.iter()
        .map(|(slot, p)| (slot.to_string(), p.at.session))
        .collect()
}

#[test]
fn who_was_transferred_waits_with_music_and_the_parker_is_called_back() {
    let by = Some("sip:100@192.0.2.1".into());
    let mut stage = stage(Some("200@example.com"), 1, Park::new(by));
    let effects = stage.tell(Event::Begin);
    assert!(plays_music(&effects));
    assert!(effects.contains(&Effect::After(Duration::from_secs(60), PATIENCE)));
    assert!(effects.contains(&Effect::Note("parked in 701 by 100@example.com".into())));
    let effects = stage.tell(Event::Due(PATIENCE));
    let reach = calls(&effects).unwrap();
    assert_eq!(
        (&*reach.to, &reach.account),
        ("100@example.com|", &Account::House)
    );
    // It does not answer: the call stays, and once more in a minute.
    let effects = stage.tell(Event::Refused(480));
    assert!(plays_music(&effects));
    assert!(effects.contains(&Effect::After(Duration::from_secs(60), PATIENCE)));
    assert_eq!(slots(&stage), [("701".to_string(), 1)]);
    assert!(calls(&stage.tell(Event::Due(PATIENCE))).is_some());
    stage.tell(Event::Joined);
    assert_eq!(slots(&stage), []);
    assert_eq!(stage.tell(Event::Parted), [Effect::HangUp]);
}

#[test]
fn a_call_that_nobody_wants_ends() {
    let mut stage = stage(None, 1, Park::new(Some("sip:100@example.com".into())));
    stage.tell(Event::Begin);
    for _ in 0..TIMES_MAX {
        assert!(calls(&stage.tell(Event::Due(PATIENCE))).is_some());
        stage.tell(Event::Refused(408));
    }
    let effects = stage.tell(Event::Due(PATIENCE));
    assert_eq!(spoken(&effects), ["please-try-call-later"]);
    assert_eq!(slots(&stage), []);
    assert_eq!(stage.tell(Event::Done(WORDS)), [Effect::HangUp]);
}

#[test]
fn who_dials_the_code_hears_the_slot_and_is_replaced() {
    let mut stage = stage(Some("100@example.com"), 1, Park::new(None));
    let effects = stage.tell(Event::Begin);
    let said = ["park-slot", "digits/7", "digits/0", "digits/1"];
    assert_eq!(spoken(&effects), [said, said].concat());
    assert!(plays_music(&stage.tell(Event::Done(WORDS))));
    let lot = stage.house.features.lot();
    let (slot, parker) = lot.find(b"1", b"t").unwrap();
    assert_eq!(
        (&*slot, parker.as_deref()),
        ("701", Some("100@example.com"))
    );
    assert!(lot.list()[0].1.provisional);
    // The far end of the transfer comes, to whatever shard.
    let mut other = Park::taking(slot, parker);
    (stage.caller.user, stage.caller.session) = (None, 2);
    let effects = stage.of(&mut other, Event::Begin);
    assert_eq!(told(&effects), [(1, Wish::Replaced)]);
    assert!(plays_music(&effects));
    assert_eq!(slots(&stage), [("701".to_string(), 2)]);
    let parked = stage.house.features.lot().list().remove(0).1;
    assert_eq!(
        (parked.parker.as_deref(), parked.provisional),
        (Some("100@example.com"), false)
    );
    // The parker's own leg ends, and with it not the slot.
    stage.caller.session = 1;
    assert_eq!(stage.tell(Event::Told(Wish::Replaced)), [Effect::HangUp]);
    stage.tell(Event::Ended);
    assert_eq!(slots(&stage), [("701".to_string(), 2)]);
}

#[test]
fn extensions_are_no_slots_and_a_full_lot_loses_no_call() {
    let by = || Some("sip:100@example.com".into());
    let mut stage = stage(None, 1, Park::new(by()));
    stage.tell(Event::Begin);
    let mut second = Park::new(by());
    stage.caller.session = 2;
    stage.of(&mut second, Event::Begin);
    // 702 is a user's.
    assert_eq!(
        slots(&stage),
        [("701".to_string(), 1), ("703".to_string(), 2)]
    );
    let mut third = Park::new(by());
    stage.caller.session = 3;
    let effects = stage.of(&mut third, Event::Begin);
    assert!(plays_music(&effects) && calls(&effects).is_some());
    // Busy as well: it has the slot that is free by now.
    stage.house.features.lot().fetch("701");
    assert!(plays_music(&stage.of(&mut third, Event::Refused(486))));
    assert_eq!(
        slots(&stage),
        [("701".to_string(), 3), ("703".to_string(), 2)]
    );
    // Who parks by hand is told.
    let mut by_hand = Park::new(None);
    stage.caller.user = Some("100@example.com".into());
    let effects = stage.of(&mut by_hand, Event::Begin);
    assert_eq!(
        spoken(&effects),
        ["all-circuits-busy-now", "please-try-call-later"]
    );
}

#[test]
fn the_proxy_knows_who_parked_where_the_phone_does_not_say() {
    let mut stage = stage(Some("200@example.com"), 1, Park::new(None));
    let lot = stage.house.features.lot();
    lot.refer("200@example.com", "100@example.com", stage.now);
    assert!(plays_music(&stage.tell(Event::Begin)));
    let (_, parked) = stage.house.features.lot().list().remove(0);
    assert_eq!(parked.parker.as_deref(), Some("100@example.com"));
}

#[test]
fn one_fetches_and_both_meet_in_a_room_of_their_own() {
    let mut stage = stage(None, 1, Park::new(Some("100@example.com".into())));
    stage.tell(Event::Begin);
    let mut fetch = Fetch::new("701".into(), None);
    stage.caller.session = 5;
    let effects = stage.of(&mut fetch, Event::Begin);
    assert_eq!(told(&effects), [(1, Wish::Fetched(at(5)))]);
    // Who comes a moment later has nobody, and hears so.
    let mut late = Fetch::new("701".into(), None);
    assert_eq!(
        spoken(&stage.of(&mut late, Event::Begin)),
        ["pbx-invalidpark"]
    );
    assert_eq!(stage.of(&mut late, Event::Done(WORDS)), [Effect::HangUp]);
    // The parked one comes, even out of the ring back.
    stage.caller.session = 1;
    stage.tell(Event::Due(PATIENCE));
    let effects = stage.tell(Event::Told(Wish::Fetched(at(5))));
    assert!(effects.contains(&Effect::Disconnect));
    assert_eq!(told(&effects), [(5, Wish::Met(at(1)))]);
    let mut parked = stage.next.take().unwrap();
    let room = |effects: &[Effect]| match effects {
        [Effect::Do(_, Task::Join(join)), Effect::Meet(Some(_))] => join.room.clone(),
        other => panic!("{other:?}"),
    };
    let first = room(&stage.of(&mut *parked, Event::Begin));
    stage.caller.session = 5;
    stage.of(&mut fetch, Event::Told(Wish::Met(at(1))));
    let mut fetched = Across::new(at(1), at(1));
    assert_eq!(room(&stage.of(&mut fetched, Event::Begin)), first);
    // Hold, and the end.
    let effects = stage.of(&mut fetched, Event::Held(true));
    assert_eq!(told(&effects), [(1, Wish::Held(true))]);
    stage.caller.session = 1;
    assert!(plays_music(
        &stage.of(&mut *parked, Event::Told(Wish::Held(true)))
    ));
    assert_eq!(
        room(&stage.of(&mut *parked, Event::Told(Wish::Held(false)))),
        first
    );
    assert_eq!(
        stage.of(&mut *parked, Event::Told(Wish::End)),
        [Effect::HangUp]
    );
    // Its end is no news to the one who was first.
    assert_eq!(told(&stage.of(&mut *parked, Event::Ended)), []);
}

/// Two who talk: the one who fetched at 5, and the one who was parked at 1.
fn together() -> (Stage<Park>, Across, Across) {
    let mut stage = stage(Some("100@example.com"), 5, Park::new(None));
    let (mut fetched, mut parked) = (Across::new(at(1), at(1)), Across::new(at(1), at(5)));
    stage.of(&mut fetched, Event::Begin);
    stage.caller.session = 1;
    stage.of(&mut parked, Event::Begin);
    (stage, fetched, parked)
}

fn journey() -> Box<Journey> {
    Box::new(Journey {
        to: "sip:200@example.com".into(),
        replaces: None,
        by: Some("sip:100@example.com".into()),
        user: Some("100@example.com".into()),
    })
}

#[test]
fn who_fetched_may_send_the_call_on() {
    let (mut stage, mut fetched, mut parked) = together();
    assert!(fetched.is_transferred());
    let asked = Journey {
        user: None,
        ..*journey()
    };
    let effects = stage.of(&mut fetched, Event::Referred(Box::new(asked)));
    let goes = Effect::Tell(vec![at(1)], Wish::Go(journey()));
    assert_eq!(effects, [goes, Effect::Meet(None)]);
    let effects = stage.of(&mut parked, Event::Told(Wish::Go(journey())));
    let reach = calls(&effects).unwrap();
    assert_eq!(reach.account, Account::User("100@example.com".into()));
    assert_eq!(&*reach.headers[0].0, "Referred-By");
    assert!(!parked.is_transferred());
    // Who asked is told how it fares.
    let effects = stage.of(&mut parked, Event::Ringing);
    assert_eq!(told(&effects), [(5, Wish::Fares(180))]);
    let effects = stage.of(&mut fetched, Event::Told(Wish::Fares(180)));
    assert_eq!(effects, [Effect::Fares(180)]);
    let effects = stage.of(&mut parked, Event::Joined);
    assert_eq!(told(&effects), [(5, Wish::Fares(200))]);
    let effects = stage.of(&mut fetched, Event::Told(Wish::Fares(200)));
    assert_eq!(effects, [Effect::Fares(200), Effect::HangUp]);
    assert_eq!(told(&stage.of(&mut fetched, Event::Ended)), []);
    assert_eq!(stage.of(&mut parked, Event::Parted), [Effect::HangUp]);
    // A service takes it as a phone does.
    let (mut stage, _, mut parked) = together();
    stage.of(&mut parked, Event::Told(Wish::Go(journey())));
    let effects = stage.of(&mut parked, Event::Led);
    assert_eq!(told(&effects), [(5, Wish::Fares(200))]);
    assert_eq!(told(&stage.of(&mut parked, Event::Ended)), []);
}

/// RFC 5589 §6.2.
#[test]
fn who_is_sent_on_in_vain_comes_back() {
    let (mut stage, mut fetched, mut parked) = together();
    stage.of(&mut fetched, Event::Referred(journey()));
    stage.of(&mut parked, Event::Told(Wish::Go(journey())));
    let effects = stage.of(&mut parked, Event::Refused(486));
    assert_eq!(told(&effects), [(5, Wish::Fares(486))]);
    assert!(
        effects
            .iter()
            .any(|e| matches!(e, Effect::Do(_, Task::Join(_))))
    );
    let effects = stage.of(&mut fetched, Event::Told(Wish::Fares(486)));
    assert!(matches!(
        &effects[..],
        [Effect::Fares(486), Effect::Meet(Some(_))]
    ));
    // And may be sent away again.
    assert!(fetched.is_transferred() && parked.is_transferred());
    // One that holds it all the while does so still.
    stage.of(&mut parked, Event::Told(Wish::Held(true)));
    stage.of(&mut parked, Event::Told(Wish::Go(journey())));
    assert!(plays_music(&stage.of(&mut parked, Event::Refused(486))));
}

#[test]
fn who_does_not_wait_for_a_transfer_is_not_waited_for() {
    let (mut stage, mut fetched, mut parked) = together();
    stage.of(&mut fetched, Event::Referred(journey()));
    stage.of(&mut parked, Event::Told(Wish::Go(journey())));
    assert_eq!(
        told(&stage.of(&mut fetched, Event::Ended)),
        [(1, Wish::End)]
    );
    assert_eq!(stage.of(&mut parked, Event::Told(Wish::End)), []);
    assert_eq!(stage.of(&mut parked, Event::Refused(486)), [Effect::HangUp]);
    // The one who was sent on hangs up.
    let (mut stage, mut fetched, mut parked) = together();
    stage.of(&mut fetched, Event::Referred(journey()));
    stage.of(&mut parked, Event::Told(Wish::Go(journey())));
    assert_eq!(told(&stage.of(&mut parked, Event::Ended)), [(5, Wish::End)]);
    let effects = stage.of(&mut fetched, Event::Told(Wish::End));
    assert_eq!(effects, [Effect::Fares(487), Effect::HangUp]);
}

/// A phone that takes the place of one of the two (RFC 3891) is known to the other, so that neither
/// is left behind.
#[test]
fn who_takes_a_place_is_known_to_the_other() {
    let (mut stage, mut fetched, mut parked) = together();
    stage.caller.session = 9;
    let effects = stage.of(&mut fetched, Event::Begin);
    assert_eq!(told(&effects), [(1, Wish::Moved(at(9)))]);
    stage.caller.session = 1;
    stage.of(&mut parked, Event::Told(Wish::Moved(at(9))));
    assert_eq!(told(&stage.of(&mut parked, Event::Ended)), [(9, Wish::End)]);
}

#[test]
fn what_is_fetched_in_vain_ends_for_both() {
    let mut stage = stage(None, 1, Park::new(Some("100@example.com".into())));
    stage.tell(Event::Begin);
    let mut fetch = Fetch::new("701".into(), None);
    stage.caller.session = 5;
    stage.of(&mut fetch, Event::Begin);
    // It hung up in the same moment, so nobody answers.
    let effects = stage.of(&mut fetch, Event::Due(PATIENCE));
    assert_eq!(spoken(&effects), ["pbx-invalidpark"]);
    // Should it come all the same, it finds somebody.
    assert_eq!(stage.of(&mut fetch, Event::Done(WORDS)), [Effect::HangUp]);
    assert_eq!(told(&stage.of(&mut fetch, Event::Ended)), [(1, Wish::End)]);
    // Who fetches hangs up before the other came: that one must not wait for ever.
    stage.tell(Event::Ended);
    let mut other = Park::new(Some("100@example.com".into()));
    stage.of(&mut other, Event::Begin);
    let mut fetch = Fetch::new("701".into(), None);
    stage.of(&mut fetch, Event::Begin);
    assert_eq!(told(&stage.of(&mut fetch, Event::Ended)), [(5, Wish::End)]);
    // Called back already: who fetches is told.
    let mut taken = Park::new(Some("100@example.com".into()));
    stage.of(&mut taken, Event::Begin);
    stage.of(&mut taken, Event::Due(PATIENCE));
    stage.of(&mut taken, Event::Joined);
    let effects = stage.of(&mut taken, Event::Told(Wish::Fetched(at(9))));
    assert_eq!(told(&effects), [(9, Wish::End)]);
}

#[test]
fn a_transfer_to_a_slot_that_is_free_parks_there() {
    let mut stage = stage(None, 1, Park::new(None));
    let mut fetch = Fetch::new("703".into(), Some("sip:100@example.com".into()));
    stage.of(&mut fetch, Event::Begin);
    let mut park = Park::only("703".into(), Some("sip:100@example.com".into()));
    assert!(plays_music(&stage.of(&mut park, Event::Begin)));
    assert_eq!(slots(&stage), [("703".to_string(), 1)]);
}
