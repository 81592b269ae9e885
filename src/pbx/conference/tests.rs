//! The program alone, and several of them around one roster.

use super::super::program::Effect;
use super::super::stage::{Stage, spoken};
use super::super::voice::Voice;
use super::*;
use crate::config::ModeratorLeaves;
use std::sync::Arc;

fn room() -> Room {
    Room {
        name: "board".into(),
        number: Some("8001".into()),
        pin: Some("4711".into()),
        moderator_pin: Some("99001".into()),
        ..Room::default()
    }
}

/// Callers of one room, each on a shard of its own; what they tell each other arrives.
struct House {
    phones: Vec<Stage<Conference>>,
}

type Effects = Vec<Effect>;

impl House {
    fn new(room: Room) -> Self {
        let mut first = Stage::new(Conference::new(Some(&room.name)));
        first.config.conferences.push(room);
        first.caller.session = 0;
        Self {
            phones: vec![first],
        }
    }

    /// One more phone, that has not called yet.
    fn more(&mut self) -> usize {
        let n = self.phones.len();
        let first = &self.phones[0];
        let name = first.config.conferences[0].name.clone();
        let mut phone = Stage::new(Conference::new(Some(&name)));
        phone.config = first.config.clone();
        phone.rooms = Arc::clone(&first.rooms);
        phone.house = Arc::clone(&first.house);
        phone.shard = n;
        phone.caller.session = n as u64;
        phone.caller.number = format!("20{n}").into();
        self.phones.push(phone);
        n
    }

    /// The first caller calls again.
    fn again(&mut self) -> usize {
        let n = self.more();
        self.phones[n].caller.number = self.phones[0].caller.number.clone();
        n
    }

    /// Tells one of them something; the effects, and those of all that others are told.
    fn tell(&mut self, phone: usize, event: Event) -> (Effects, Vec<(usize, Effects)>) {
        let effects = self.phones[phone].tell(event);
        let mut told = Vec::new();
        let mut waiting: Vec<(Address, Wish)> = tells(&effects);
        while let Some((whom, wish)) = waiting.pop() {
            assert_eq!(whom.shard as u64, whom.session);
            let effects = self.phones[whom.shard].tell(Event::Told(wish));
            waiting.extend(tells(&effects));
            told.push((whom.shard, effects));
        }
        (effects, told)
    }

    fn keys(&mut self, phone: usize, keys: &str) -> Effects {
        let mut last = Vec::new();
        for key in keys.chars() {
            last = self.tell(phone, Event::Key(key)).0;
        }
        last
    }

    /// Through the door with this PIN, and the words there.
    fn come_in(&mut self, phone: usize, pin: &str) -> (Effects, Vec<(usize, Effects)>) {
        self.tell(phone, Event::Begin);
        self.keys(phone, pin);
        let (door, mut told) = self.tell(phone, Event::Key('#'));
        assert!(!spoken(&door).is_empty(), "{door:?}");
        let (inside, more) = self.tell(phone, Event::Done(DOOR));
        told.extend(more);
        (inside, told)
    }
}

fn tells(effects: &[Effect]) -> Vec<(Address, Wish)> {
    let mut all = Vec::new();
    for effect in effects {
        if let Effect::Tell(whom, wish) = effect {
            all.extend(whom.iter().map(|address| (*address, wish.clone())));
        }
    }
    all
}

fn join(effects: &[Effect]) -> &Join {
    match effects {
        [Effect::Do(JOIN, Task::Join(join))] => join,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_number_and_a_pin_lead_into_the_room() {
    let mut phone = Stage::new(Conference::new(None));
    phone.config.conferences.push(room());
    assert_eq!(spoken(&phone.tell(Event::Begin)), ["conf-getconfno"]);
    let keys = |phone: &mut Stage<Conference>, keys: &str| {
        let mut last = Vec::new();
        for key in keys.chars() {
            last = phone.tell(Event::Key(key));
        }
        last
    };
    // The first was wrong, and taken back.
    let asked = keys(&mut phone, "9*8001#");
    assert_eq!(spoken(&asked), ["conf-getpin"]);
    let door = keys(&mut phone, "4711#");
    assert_eq!(spoken(&door), ["conf-onlyperson"]);
    let inside = phone.tell(Event::Done(DOOR));
    let join = join(&inside);
    assert_eq!(
        (&*join.room, join.rate, join.muted),
        ("board", 16_000, false)
    );
    let found = phone.rooms.room("board").unwrap();
    assert_eq!(found.members.len(), 1);
    assert!(!found.members[0].moderator);
    // The call is over.
    assert_eq!(phone.tell(Event::Ended), []);
    assert_eq!(phone.rooms.members(), 0);
}

#[test]
fn what_is_typed_without_end_counts_after_a_while() {
    let mut phone = Stage::new(Conference::new(None));
    phone.config.conferences.push(room());
    phone.tell(Event::Begin);
    let asked = phone.tell(Event::Done(ASK));
    assert_eq!(asked, [Effect::After(FIRST_KEY_WAIT, KEYS)]);
    for key in "8001".chars() {
        let waits = [Effect::After(NEXT_KEY_WAIT, KEYS)];
        assert_eq!(phone.tell(Event::Key(key)), waits);
    }
    assert_eq!(spoken(&phone.tell(Event::Due(KEYS))), ["conf-getpin"]);
}

#[test]
fn whoever_knows_no_room_is_let_go() {
    let mut phone = Stage::new(Conference::new(None));
    phone.config.conferences.push(room());
    phone.tell(Event::Begin);
    for _ in 1..TRIES_MAX {
        let again = phone.tell(Event::Due(KEYS));
        assert_eq!(spoken(&again), ["conf-invalid", "conf-getconfno"]);
    }
    let words = phone.tell(Event::Key('#'));
    assert_eq!(spoken(&words), ["conf-invalid", "goodbye"]);
    assert_eq!(phone.tell(Event::Key('1')), []);
    assert_eq!(phone.tell(Event::Done(LAST_WORDS)), [Effect::HangUp]);
    // Keys without end make no endless text.
    let mut phone = Stage::new(Conference::new(None));
    phone.tell(Event::Begin);
    for _ in 0..1000 {
        phone.tell(Event::Key('1'));
    }
    assert_eq!(phone.program.digits.len(), DIGITS_MAX + 1);
    // A room that is configured no more.
    let mut phone = Stage::new(Conference::new(Some("gone")));
    assert_eq!(spoken(&phone.tell(Event::Begin)), ["conf-invalid"]);
}

#[test]
fn wrong_pins_slow_down_and_end_the_call() {
    let mut house = House::new(room());
    let asked = house.tell(0, Event::Begin).0;
    assert_eq!(spoken(&asked), ["conf-getpin"]);
    for (tries, seconds) in [(1, 1), (2, 2), (3, 4)] {
        let waits = house.keys(0, "4712#");
        let penalty = Duration::from_secs(seconds);
        assert_eq!(waits, [Effect::After(penalty, PENALTY)]);
        // Nothing is heard of what is typed meanwhile.
        assert_eq!(house.keys(0, "4711#"), []);
        let words = house.tell(0, Event::Due(PENALTY)).0;
        let expected = match tries {
            3 => ["conf-invalidpin", "goodbye"],
            _ => ["conf-invalidpin", "conf-getpin"],
        };
        assert_eq!(spoken(&words), expected);
    }
    // Calling again and again helps no more, not even with the right one.
    for _ in 0..2 {
        let phone = house.again();
        house.tell(phone, Event::Begin);
        for _ in 0..3 {
            house.keys(phone, "4712#");
            house.tell(phone, Event::Due(PENALTY));
        }
    }
    // It hears so at once, and puts nothing off by trying.
    for _ in 0..3 {
        let phone = house.again();
        house.phones[phone].now = crate::base::Instant::from_millis(300_000);
        let refused = house.tell(phone, Event::Begin).0;
        assert_eq!(spoken(&refused), ["vm-locked", "goodbye"]);
        assert_eq!(house.keys(phone, "4711#"), []);
    }
    // Another one from outside does not pay for it.
    let other = house.more();
    house.phones[other].caller.number = "915550100".into();
    assert_eq!(join(&house.come_in(other, "4711").0).room, "board".into());
    // One of our own users is not barred by strangers, and strangers are not for ever.
    let user = house.more();
    house.phones[user].caller.user = Some("201@example.com".into());
    assert_eq!(join(&house.come_in(user, "4711").0).room, "board".into());
    let later = house.again();
    house.phones[later].now = crate::base::Instant::from_millis(601_000);
    assert_eq!(join(&house.come_in(later, "4711").0).room, "board".into());
}

/// Another number each time: a way has so many tries, too, and no other way pays for it.
#[test]
fn who_shows_many_numbers_is_locked_out_with_its_trunk() {
    let mut house = House::new(room());
    let comes = |house: &mut House, number: usize, way: &str| {
        let phone = house.more();
        house.phones[phone].caller.number = number.to_string().into();
        house.phones[phone].caller.way = Some(way.into());
        let asked = house.tell(phone, Event::Begin).0;
        (phone, spoken(&asked)[0].to_owned())
    };
    let mut tries = 0;
    for number in 0..100 {
        let (phone, said) = comes(&mut house, number, "itsp");
        if said == "vm-locked" {
            break;
        }
        let slow = house.keys(phone, "4712#");
        assert_eq!(slow, [Effect::After(Duration::from_secs(1), PENALTY)]);
        tries += 1;
    }
    assert_eq!(tries, 36);
    assert_eq!(comes(&mut house, 7, "itsp").1, "vm-locked");
    assert_eq!(comes(&mut house, 7, "other").1, "conf-getpin");
}

/// Who typed it wrong now and then, and right in the end, begins anew.
#[test]
fn a_right_pin_forgives_wrong_ones() {
    let mut house = House::new(room());
    for _ in 0..6 {
        let phone = house.again();
        house.tell(phone, Event::Begin);
        for _ in 0..2 {
            house.keys(phone, "4712#");
            house.tell(phone, Event::Due(PENALTY));
        }
        house.keys(phone, "4711#");
        assert!(house.phones[phone].program.member.is_some());
    }
}

#[test]
fn a_room_whose_moderators_alone_have_a_pin_takes_none_of_others() {
    let mut house = House::new(Room {
        pin: None,
        ..room()
    });
    house.come_in(0, "");
    let moderator = house.more();
    house.come_in(moderator, "99001");
    let found = house.phones[0].rooms.room("board").unwrap();
    let moderators: Vec<bool> = found.members.iter().map(|m| m.moderator).collect();
    assert_eq!(moderators, [false, true]);
    // Without any, nothing is asked.
    let mut house = House::new(Room {
        pin: None,
        moderator_pin: None,
        ..room()
    });
    let door = house.tell(0, Event::Begin).0;
    assert_eq!(spoken(&door), ["conf-onlyperson"]);
}

#[test]
fn who_comes_later_hears_how_many_are_there() {
    let mut house = House::new(Room {
        announce: Announce::Names,
        ..room()
    });
    house.come_in(0, "4711");
    let mut heard = Vec::new();
    for _ in 0..2 {
        let phone = house.more();
        house.tell(phone, Event::Begin);
        heard.push(house.keys(phone, "4711#"));
    }
    assert_eq!(spoken(&heard[0]), ["conf-onlyone"]);
    assert_eq!(
        spoken(&heard[1]),
        ["conf-thereare", "digits/2", "conf-otherinparty"]
    );
    let inside = house.tell(1, Event::Done(DOOR)).0;
    let names = |sounds: &[Sound]| {
        let whisper = RoomOrder::Whisper(0, sounds.to_vec());
        spoken(&[Effect::Room(whisper)])
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let said = ["digits/2", "digits/0", "digits/1", "conf-hasjoin"];
    assert_eq!(names(&join(&inside).arrival), said);
    assert_eq!(
        names(&join(&inside).farewell).last().unwrap(),
        "conf-hasleft"
    );
}

/// Who proved to be a user that recorded its name is called by it, where rooms tell names.
#[test]
fn a_recorded_name_is_said_in_place_of_digits() {
    use crate::mailbox::greeting_file;
    use crate::store::Greeting;
    let aor = "201@example.com";
    for (announce, user, recorded, named) in [
        (Announce::Names, Some(aor), true, true),
        (Announce::Names, Some(aor), false, false),
        (Announce::Names, None, true, false),
        (Announce::Tones, Some(aor), true, false),
    ] {
        let mut house = House::new(Room { announce, ..room() });
        let phone = &mut house.phones[0];
        phone.caller.user = user.map(Box::from);
        phone.caller.number = "201".into();
        if recorded {
            phone.mailboxes.set_greeting(aor, Greeting::Name).unwrap();
        }
        let inside = house.come_in(0, "4711").0;
        let join = join(&inside);
        let voice = Voice::of(house.phones[0].locale);
        let name = Name {
            file: greeting_file(aor, Greeting::Name),
            comes: vec![voice.prompt("conf-hasjoin")],
            goes: vec![voice.prompt("conf-hasleft")],
        };
        assert_eq!(join.name, named.then_some(name));
        // Where the file cannot be read.
        assert!(!join.arrival.is_empty() && !join.farewell.is_empty());
    }
}

#[test]
fn a_full_room_and_a_locked_one_say_so() {
    let mut house = House::new(Room {
        members_max: 2,
        ..room()
    });
    house.come_in(0, "99001");
    let second = house.more();
    house.come_in(second, "4711");
    let third = house.more();
    house.tell(third, Event::Begin);
    let words = house.keys(third, "4711#");
    assert_eq!(spoken(&words), ["conf-full", "goodbye"]);
    house.tell(second, Event::Ended);
    let locked = house.keys(0, "*2");
    assert_eq!(spoken(&locked), ["conf-lockednow"]);
    let fourth = house.more();
    house.tell(fourth, Event::Begin);
    let words = house.keys(fourth, "4711#");
    assert_eq!(spoken(&words), ["conf-locked", "goodbye"]);
    let hung_up = house.tell(fourth, Event::Done(LAST_WORDS)).0;
    assert_eq!(hung_up, [Effect::HangUp]);
    let open = house.keys(0, "2");
    assert_eq!(spoken(&open), ["conf-unlockednow"]);
    // The media side had no place after all.
    let fifth = house.more();
    house.come_in(fifth, "4711");
    let words = house.tell(fifth, Event::Done(JOIN)).0;
    assert_eq!(spoken(&words), ["conf-full", "goodbye"]);
    assert_eq!(house.phones[0].rooms.members(), 1);
}

#[test]
fn the_menu_mutes_and_turns_the_volume() {
    let mut house = House::new(room());
    house.come_in(0, "4711");
    // Without the menu, keys are nothing.
    assert_eq!(house.keys(0, "1"), []);
    assert_eq!(spoken(&house.keys(0, "*")), ["conf-usermenu"]);
    for (muted, words) in [(true, "conf-muted"), (false, "conf-unmuted")] {
        let effects = house.keys(0, "1");
        assert_eq!(effects[0], Effect::Room(RoomOrder::Mute(muted)));
        assert_eq!(spoken(&effects), [words]);
        let found = house.phones[0].rooms.room("board").unwrap();
        assert_eq!(found.members[0].muted, muted);
    }
    let mut volumes = Vec::new();
    for key in [
        "6", "6", "6", "6", "6", "4", "4", "4", "4", "4", "4", "4", "4", "4",
    ] {
        let effects = house.keys(0, key);
        let Effect::Room(RoomOrder::Volume(volume)) = &effects[0] else {
            panic!("{effects:?}")
        };
        volumes.push(*volume);
    }
    // 12 dB up and no further, the room's own, 12 dB down and no further.
    let decibels = |volume: u16| (20.0 * (f64::from(volume) / 4096.0).log10()).round();
    assert_eq!(volumes[3], volumes[4]);
    assert_eq!((decibels(volumes[4]), volumes[8]), (12.0, VOLUME_ONE));
    assert_eq!((decibels(volumes[12]), volumes[12]), (-12.0, volumes[13]));
    // What only moderators may brings the menu again.
    assert_eq!(spoken(&house.keys(0, "2")), ["conf-usermenu"]);
    assert_eq!(spoken(&house.keys(0, "3")), ["conf-usermenu"]);
    let back = house.keys(0, "#");
    assert_eq!(back, [Effect::Room(RoomOrder::Whisper(WHISPER, vec![]))]);
    assert_eq!(house.keys(0, "1"), []);
    // It closes by itself.
    house.keys(0, "*");
    house.tell(0, Event::Due(MENU));
    assert_eq!(house.keys(0, "8"), []);
    let words = house.keys(0, "*8");
    assert_eq!(spoken(&words), ["goodbye"]);
    assert_eq!(house.phones[0].rooms.members(), 0);
    assert_eq!(house.tell(0, Event::Done(LAST_WORDS)).0, [Effect::HangUp]);
}

#[test]
fn a_moderator_sends_the_last_one_away() {
    let mut house = House::new(room());
    house.come_in(0, "99001");
    let (a, b) = (house.more(), house.more());
    house.come_in(a, "4711");
    house.come_in(b, "4711");
    assert_eq!(spoken(&house.keys(0, "*")), ["conf-adminmenu"]);
    let (_, told) = house.tell(0, Event::Key('3'));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, b);
    assert_eq!(spoken(&told[0].1), ["conf-kicked", "goodbye"]);
    assert_eq!(house.tell(b, Event::Done(LAST_WORDS)).0, [Effect::HangUp]);
    // Twice is once.
    assert_eq!(house.phones[b].tell(Event::Told(Wish::Kick)), []);
    let (_, told) = house.tell(0, Event::Key('3'));
    assert_eq!(told[0].0, a);
    // Moderators are not sent away so.
    let (_, told) = house.tell(0, Event::Key('3'));
    assert_eq!(told, []);
}

#[test]
fn a_room_waits_for_its_moderator_and_again_when_it_leaves() {
    let mut house = House::new(Room {
        wait_for_moderator: true,
        ..room()
    });
    let waiting = house.come_in(0, "4711").0;
    assert_eq!(spoken(&waiting), ["conf-waitforleader"]);
    // Muted by the operator while it waits.
    assert_eq!(house.tell(0, Event::Told(Wish::Mute(true))).0, []);
    // One who is still at the door.
    let late = house.more();
    house.tell(late, Event::Begin);
    house.keys(late, "4711#");
    let moderator = house.more();
    let (inside, told) = house.come_in(moderator, "99001");
    assert_eq!(join(&inside).room, "board".into());
    let joined = told.iter().find(|(phone, _)| *phone == 0).unwrap();
    assert!(join(&joined.1).muted);
    let passed = house.tell(late, Event::Done(DOOR)).0;
    assert!(!join(&passed).muted);
    let (_, told) = house.tell(moderator, Event::Ended);
    assert_eq!(told.len(), 2);
    for (_, effects) in told {
        assert_eq!(
            spoken(&effects),
            ["conf-leaderhasleft", "conf-waitforleader"]
        );
    }
    let found = house.phones[0].rooms.room("board").unwrap();
    assert!(found.members.iter().all(|m| m.waiting));
}

#[test]
fn a_room_may_end_with_its_moderator() {
    let mut house = House::new(Room {
        wait_for_moderator: true,
        moderator_leaves: ModeratorLeaves::End,
        ..room()
    });
    house.come_in(0, "99001");
    let other = house.more();
    house.come_in(other, "4711");
    let (words, told) = house.tell(0, Event::Key('*'));
    assert_eq!((spoken(&words), told), (vec!["conf-adminmenu"], vec![]));
    let (words, told) = house.tell(0, Event::Key('8'));
    assert_eq!(spoken(&words), ["goodbye"]);
    assert_eq!(spoken(&told[0].1), ["conf-leaderhasleft", "goodbye"]);
    assert_eq!(house.phones[0].rooms.members(), 0);
}

#[test]
fn what_others_want_of_a_member_is_done() {
    let mut house = House::new(room());
    house.come_in(0, "4711");
    let muted = house.tell(0, Event::Told(Wish::Mute(true))).0;
    assert_eq!(spoken(&muted), ["conf-muted"]);
    assert_eq!(house.tell(0, Event::Told(Wish::Mute(true))).0, []);
    let deafened = house.tell(0, Event::Told(Wish::Deafen(true))).0;
    assert_eq!(deafened, [Effect::Room(RoomOrder::Deafen(true))]);
    house.tell(0, Event::Talking(true));
    let found = house.phones[0].rooms.room("board").unwrap();
    let member = &found.members[0];
    assert_eq!(
        (member.muted, member.deafened, member.talking),
        (true, true, true)
    );
    let words = house.tell(0, Event::Told(Wish::End)).0;
    assert_eq!(spoken(&words), ["goodbye"]);
    assert_eq!(house.phones[0].rooms.members(), 0);
    assert_eq!(house.tell(0, Event::Ended).0, []);
}

/// RFC 3891: one caller takes the place of another.
#[test]
fn whoever_takes_a_members_place_hears_the_room() {
    let mut house = House::new(room());
    house.come_in(0, "4711");
    house.keys(0, "*1");
    house.phones[0].caller.session = 77;
    house.phones[0].caller.number = "300".into();
    let inside = house.tell(0, Event::Begin).0;
    assert!(join(&inside).muted);
    let found = house.phones[0].rooms.room("board").unwrap();
    let member = &found.members[0];
    assert_eq!((member.address.session, &*member.number), (77, "300"));
    // At the door, a newcomer types the PIN again.
    let other = house.more();
    house.tell(other, Event::Begin);
    house.keys(other, "47");
    let again = house.tell(other, Event::Begin).0;
    assert_eq!(spoken(&again), ["conf-getpin"]);
    assert_eq!(spoken(&house.keys(other, "4711#")), ["conf-onlyone"]);
}

/// Whoever asked for the recording is gone: one who is inside tells the others of its end.
#[test]
fn a_room_that_is_recorded_no_longer_hears_so() {
    let mut house = House::new(Room {
        record: true,
        ..room()
    });
    let inside = house.come_in(0, "99001").0;
    assert!(
        matches!(&inside[..], [_, Effect::Room(RoomOrder::Record(file, Encoding::Alaw))]
            if file.ends_with("-board.wav")),
        "{inside:?}"
    );
    let other = house.more();
    house.come_in(other, "4711");
    let late = house.more();
    house.tell(late, Event::Begin);
    house.keys(late, "4711#");
    house.tell(0, Event::Ended);
    let rooms = Arc::clone(&house.phones[0].rooms);
    for end in [RecordEnd::Limit, RecordEnd::Failed, RecordEnd::Closed] {
        let what = RoomNews::Written {
            file: "recordings/a.wav".into(),
            ms: 7_200_000,
            end,
        };
        // What follows a file, the studio says by itself.
        assert_eq!(on_room_news(&rooms, "board", &what), None);
        assert!(rooms.is_recorded("board"));
    }
    let (whom, wish) = on_room_news(&rooms, "board", &RoomNews::Ceased).expect("somebody");
    assert!(!rooms.is_recorded("board"));
    assert_eq!((whom.shard, &wish), (other, &Wish::Record(false)));
    let voice = Voice::of(house.phones[other].locale);
    assert_eq!(
        house.tell(other, Event::Told(wish)).0,
        [
            Effect::Room(RoomOrder::EndRecord),
            Effect::Room(RoomOrder::Announce(vec![
                voice.prompt("conf-not-recording")
            ])),
        ]
    );
    // Who comes in now does not begin anew.
    assert_eq!(house.tell(late, Event::Done(DOOR)).0.len(), 1);
    // Of an empty room nobody is told.
    for phone in [other, late] {
        house.tell(phone, Event::Ended);
    }
    assert_eq!(on_room_news(&rooms, "board", &RoomNews::Ceased), None);
}

#[test]
fn a_room_is_recorded_as_it_is_to_be() {
    for (format, encoding, extension) in [
        (RoomFormat::Wav, Encoding::Alaw, "wav"),
        (RoomFormat::Ulaw, Encoding::Ulaw, "wav"),
        (RoomFormat::Pcm, Encoding::Pcm16, "wav"),
        (RoomFormat::G722, Encoding::G722, "g722"),
        (RoomFormat::Gsm, Encoding::Gsm, "gsm"),
    ] {
        let mut house = House::new(Room {
            record: true,
            format,
            ..room()
        });
        let inside = house.come_in(0, "99001").0;
        let [_, Effect::Room(RoomOrder::Record(file, written))] = &inside[..] else {
            panic!("{inside:?}")
        };
        assert_eq!(*written, encoding);
        assert!(file.ends_with(&format!("-board.{extension}")), "{file}");
        assert!(crate::media::file::is_name(file));
    }
}
