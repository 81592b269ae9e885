//! Calls that are recorded, as the proxy leads them and the studio is told.

use crate::bridge;
use crate::parking::{bye, call, last_tasks, peer};
use crate::world::{World, header};
use voip::feature::Change;
use voip::media::order::TapeOrder;
use voip::media::room::RoomOrder;
use voip::media::{News, Order, RecordEnd, Sound, Task};
use voip::relay::MediaCommand;
use voip::server::{Input, MediaNews, MediaOrder};
use voip::store::Record;
use voip::wire::sip::{HeaderName, Message, Method};

/// The orders about tapes.
fn tapes(w: &World) -> Vec<(u64, TapeOrder)> {
    let tapes = w.orders.iter().filter_map(|order| match order {
        MediaOrder::Studio(Order::Tape { session, what }) => Some((*session, what.clone())),
        _ => None,
    });
    tapes.collect()
}

/// 100 calls 200, whose phone answers; the answer that 100 has, and the INVITE that 200 got.
fn talking(w: &mut World) -> (Message, Message) {
    w.register("200", &peer("200"), "");
    let waits = |w: &mut World| {
        let invite = w.take(&peer("200"));
        assert_eq!(invite.method(), Method::Invite);
        bridge::described(w, &peer("200"), &invite, 200, "b", bridge::PCMU);
        assert_eq!(w.take(&peer("200")).method(), Method::Ack);
        invite
    };
    let mut there = None;
    let answer = call_and(w, "100", "200", |w| there = Some(waits(w)));
    (answer, there.unwrap())
}

/// As `call`, with what happens elsewhere before the answer.
fn call_and(w: &mut World, user: &str, number: &str, then: impl FnOnce(&mut World)) -> Message {
    crate::parking::call_while(w, user, number, "talk", then)
}

fn notes(w: &World) -> Vec<String> {
    let records = w.records.iter().filter_map(|record| match record {
        Record::Cdr(cdr) => Some(cdr.note.to_string()),
        _ => None,
    });
    records.collect()
}

#[test]
fn the_calls_of_a_user_are_recorded_and_both_are_told() {
    for users in ["users = [\"100\"]", "users = [\"200\"]", "users = [\"*\"]"] {
        let mut w = World::with(&format!("[recording]\n{users}\n"));
        let (answer, there) = talking(&mut w);
        assert!(header(&there, HeaderName::From).contains("sip:100@example.com"));
        let [(left, TapeOrder::Start { with, file, .. })] = &tapes(&w)[..] else {
            panic!("{:?}", tapes(&w))
        };
        assert!(
            file.starts_with("recordings/") && file.ends_with(".wav"),
            "{file}"
        );
        // Both hear the notice, then each other.
        let told = w.orders.iter().filter_map(|order| match order {
            MediaOrder::Studio(Order::Do {
                session,
                task,
                what: Task::Play { sounds, .. },
            }) if matches!(&sounds[..], [_, Sound::Prompt { name, .. }] if **name == *"call-is-recorded") => {
                Some((*session, *task))
            }
            _ => None,
        });
        let told: Vec<(u64, u32)> = told.collect();
        let sessions: Vec<u64> = told.iter().map(|(session, _)| *session).collect();
        assert_eq!(sessions, [*left, *with]);
        let (session, task) = told[0];
        let done = News::Done {
            session,
            task,
            played_ms: 1000,
        };
        w.input(Input::Media(MediaNews::Studio(done)));
        let tasks = last_tasks(&w);
        assert!(matches!(
            &tasks[tasks.len() - 2..],
            [Task::Bridge { .. }, Task::Bridge { .. }]
        ));
        let file = file.clone();
        bye(&mut w, "100", &answer);
        let end = w.take(&peer("200"));
        w.answer(&peer("200"), &end, 200, "b");
        w.wait_s(64);
        // Both calls are one in the records.
        assert_eq!(notes(&w), [format!("recorded: {file}; bridged")]);
        assert_eq!(w.core.callers(), 0);
    }
}

#[test]
fn others_are_not_touched() {
    let mut w = World::with("[recording]\nusers = [\"300\"]\non_demand = [\"400\"]\n");
    w.register("200", &peer("200"), "");
    crate::parking::call_while(&mut w, "100", "200", "talk", |w| {
        let invite = w.take(&peer("200"));
        bridge::described(w, &peer("200"), &invite, 200, "b", bridge::PCMU);
    });
    assert_eq!(w.take(&peer("200")).method(), Method::Ack);
    assert!(tapes(&w).is_empty() && last_tasks(&w).is_empty());
}

#[test]
fn a_route_is_recorded() {
    let text = "[[route]]\nmatch = \"7200\"\nstrip = 1\nto = [\"user:200\"]\nrecord = true\n";
    let mut w = World::with(text);
    w.register("200", &peer("200"), "");
    crate::parking::call_while(&mut w, "100", "7200", "talk", |w| {
        let invite = w.take(&peer("200"));
        bridge::described(w, &peer("200"), &invite, 200, "b", bridge::PCMU);
        assert_eq!(w.take(&peer("200")).method(), Method::Ack);
    });
    assert_eq!(tapes(&w).len(), 1);
}

#[test]
fn keys_of_either_side_begin_and_end_it() {
    let mut w = World::with("[recording]\non_demand = [\"200\"]\nnotice = false\n");
    talking(&mut w);
    assert!(tapes(&w).is_empty());
    let sessions: Vec<u64> = w
        .orders
        .iter()
        .filter_map(|order| match order {
            MediaOrder::Studio(Order::Open { session, .. }) => Some(*session),
            _ => None,
        })
        .collect();
    // The called leg is opened first, then the caller's.
    let [called, caller] = sessions[..] else {
        panic!("{sessions:?}")
    };
    let press = |w: &mut World, session: u64| {
        for key in ['*', '1'] {
            let news = News::Key { session, key };
            w.input(Input::Media(MediaNews::Studio(news)));
        }
    };
    press(&mut w, called);
    assert!(matches!(
        &tapes(&w)[..],
        [(left, TapeOrder::Start { with, .. })] if (*left, *with) == (caller, called)
    ));
    press(&mut w, caller);
    assert_eq!(tapes(&w)[1], (caller, TapeOrder::Stop));
}

#[test]
fn a_full_disk_is_noted() {
    let mut w = World::with("[recording]\nusers = [\"100\"]\nnotice = false\n");
    let (answer, _) = talking(&mut w);
    let (session, TapeOrder::Start { task, .. }) = tapes(&w)[0].clone() else {
        panic!()
    };
    let failed = News::Recorded {
        session,
        task,
        ms: 0,
        end: RecordEnd::Failed,
    };
    w.input(Input::Media(MediaNews::Studio(failed)));
    w.nothing();
    bye(&mut w, "100", &answer);
    let end = w.take(&peer("200"));
    w.answer(&peer("200"), &end, 200, "b");
    w.wait_s(64);
    let note = notes(&w).remove(0);
    let said = note
        .split("; ")
        .any(|part| part == "recording: it could not be written");
    assert!(said, "{note}");
}

#[test]
fn who_is_called_in_vain_has_voicemail_all_the_same() {
    let text = "[recording]\nusers = [\"200\"]\n[voicemail]\nring_s = 20\n";
    for (status, seconds) in [(486, 0), (0, 21)] {
        let mut w = World::with(text);
        w.register("200", &peer("200"), "");
        let answer = crate::parking::call_while(&mut w, "100", "200", "talk", |w| {
            let invite = w.take(&peer("200"));
            w.answer(&peer("200"), &invite, 180, "b");
            match status {
                0 => {
                    w.wait_s(seconds);
                    // Word of waiting messages.
                    w.sent.retain(|s| s.message.method() != Method::Notify);
                    let cancel = w.take(&peer("200"));
                    assert_eq!(cancel.method(), Method::Cancel);
                    w.sent.retain(|s| s.message.method() != Method::Cancel);
                    w.answer(&peer("200"), &cancel, 200, "b");
                    w.answer(&peer("200"), &invite, 487, "b");
                }
                status => w.answer(&peer("200"), &invite, status, "b"),
            }
            assert_eq!(w.take(&peer("200")).method(), Method::Ack);
        });
        assert_eq!(answer.status(), 200);
        assert!(tapes(&w).is_empty());
        assert!(matches!(
            last_tasks(&w).last(),
            Some(Task::Play {
                rounds: Some(1),
                ..
            })
        ));
    }
}

#[test]
fn what_the_number_plan_refuses_stays_refused() {
    let mut w =
        World::with("[recording]\nusers = [\"100\"]\n[[route]]\nmatch = \"806!\"\nrefuse = 404\n");
    assert_eq!(call(&mut w, "100", "806123456", "talk", &[]).status(), 404);
    assert_eq!(call(&mut w, "100", "999", "nobody", &[]).status(), 404);
    assert!(tapes(&w).is_empty());
    w.wait_s(64);
    assert_eq!(w.core.callers(), 0);
}

// ------------------------------------------------------------ what services join

const HOUSE: &str = r#"
[[group]]
name = "sales"
number = "600"
members = ["200", "300"]
[[menu]]
name = "main"
numbers = ["650"]
greeting = "menu-welcome"
keys = { "1" = "extension:200", "2" = "group:sales", "3" = "route:670", "4" = "extension:400" }
[[queue]]
name = "support"
numbers = ["660"]
agents = ["200"]
[[route]]
name = "to-queue"
match = "670"
to = ["queue:support"]
"#;

fn house(more: &str) -> World {
    let mut w = World::with(&format!("{HOUSE}{more}"));
    for user in ["200", "300", "400"] {
        w.register(user, &peer(user), "");
    }
    w
}

/// The sessions that the studio was told of, in order.
fn sessions(w: &World) -> Vec<u64> {
    let mut sessions = Vec::new();
    for order in &w.orders {
        if let MediaOrder::Studio(Order::Open { session, .. }) = order
            && !sessions.contains(session)
        {
            sessions.push(*session);
        }
    }
    sessions
}

fn press(w: &mut World, session: u64, keys: &str) {
    for key in keys.chars() {
        w.input(Input::Media(MediaNews::Studio(News::Key { session, key })));
    }
}

/// A phone gets a call and answers it; its INVITE.
fn takes(w: &mut World, user: &str) -> Message {
    let invite = w.take(&peer(user));
    assert_eq!(invite.method(), Method::Invite);
    bridge::described(w, &peer(user), &invite, 200, user, bridge::PCMU);
    // The INVITE may have been repeated meanwhile.
    while w.take(&peer(user)).method() != Method::Ack {}
    invite
}

/// Whom the studio told that the call is recorded.
fn told(w: &World) -> Vec<u64> {
    let told = w.orders.iter().filter_map(|order| match order {
        MediaOrder::Studio(Order::Do {
            session,
            what: Task::Play { sounds, .. },
            ..
        }) if matches!(&sounds[..], [_, Sound::Prompt { name, .. }] if **name == *"call-is-recorded") => {
            Some(*session)
        }
        _ => None,
    });
    told.collect()
}

/// The one file that is written, of two who were told so: the caller on the left, the called one on
/// the right.
fn recorded(w: &World, left: u64) -> String {
    let tapes = tapes(w);
    let [(session, TapeOrder::Start { with, file, .. })] = &tapes[..] else {
        panic!("{tapes:?}")
    };
    assert_eq!(*session, left);
    assert_eq!(told(w), [left, *with]);
    file.to_string()
}

#[test]
fn a_call_to_a_group_of_a_recorded_member_is_recorded_whoever_answers() {
    let route = "[[route]]\nmatch = \"5551\"\nto = [\"group:sales\", \"user:400\"]\n";
    for users in ["300", "*"] {
        let text = format!("{route}[recording]\nusers = [\"{users}\"]\n");
        for number in ["600", "5551"] {
            let mut w = house(&text);
            call_and(&mut w, "100", number, |w| drop(takes(w, "200")));
            assert_eq!(tapes(&w).len(), 1, "{users} {number}");
        }
    }
    let mut w = house(&format!("{route}[recording]\nusers = [\"400\"]\n"));
    crate::parking::call_while(&mut w, "100", "600", "talk", |w| {
        let invite = w.take(&peer("200"));
        bridge::described(w, &peer("200"), &invite, 200, "b", bridge::PCMU);
    });
    assert!(tapes(&w).is_empty() && last_tasks(&w).is_empty());
}

#[test]
fn who_a_menu_joins_with_a_recorded_user_is_recorded_from_then_on() {
    for (users, keys) in [("200", "1"), ("300", "2"), ("100", "1"), ("*", "1")] {
        let mut w = house(&format!("[recording]\nusers = [\"{users}\"]\n"));
        let answer = call(&mut w, "100", "650", "talk", &[]);
        assert_eq!(answer.status(), 200);
        let [caller] = sessions(&w)[..] else { panic!() };
        assert!(tapes(&w).is_empty(), "the menu alone is nobody's call");
        press(&mut w, caller, keys);
        takes(&mut w, "200");
        let file = recorded(&w, caller);
        // Then they hear each other.
        let task = w.orders.iter().rev().find_map(|order| match order {
            MediaOrder::Studio(Order::Do { task, .. }) => Some(*task),
            _ => None,
        });
        let done = News::Done {
            session: caller,
            task: task.unwrap(),
            played_ms: 1000,
        };
        w.input(Input::Media(MediaNews::Studio(done)));
        let tasks = last_tasks(&w);
        assert!(matches!(
            &tasks[tasks.len() - 2..],
            [Task::Bridge { .. }, Task::Bridge { .. }]
        ));
        bye(&mut w, "100", &answer);
        w.sent.clear();
        w.wait_s(64);
        let notes = notes(&w);
        let recorded = format!("recorded: {file}");
        let told = notes.iter().any(|note| note.contains(&recorded));
        assert!(told, "{notes:?}");
    }
}

#[test]
fn a_menu_records_nobody_else() {
    let mut w = house("[recording]\nusers = [\"200\"]\n");
    call(&mut w, "100", "650", "talk", &[]);
    let [caller] = sessions(&w)[..] else { panic!() };
    press(&mut w, caller, "4");
    takes(&mut w, "400");
    assert!(tapes(&w).is_empty() && told(&w).is_empty());
    // Nor do keys.
    press(&mut w, caller, "*1");
    assert!(tapes(&w).is_empty());
}

#[test]
fn keys_record_a_call_that_a_menu_joined() {
    let mut w = house("[recording]\non_demand = [\"200\"]\n");
    call(&mut w, "100", "650", "talk", &[]);
    let [caller] = sessions(&w)[..] else { panic!() };
    press(&mut w, caller, "1");
    takes(&mut w, "200");
    let [_, called] = sessions(&w)[..] else {
        panic!()
    };
    assert!(tapes(&w).is_empty());
    press(&mut w, called, "*1");
    recorded(&w, caller);
    press(&mut w, caller, "*1");
    assert_eq!(tapes(&w)[1], (caller, TapeOrder::Stop));
}

#[test]
fn an_agent_who_is_recorded_is_so_by_the_queue() {
    let mut w = house("[recording]\nusers = [\"200\"]\n");
    let answer = call(&mut w, "100", "660", "talk", &[]);
    assert_eq!(answer.status(), 200);
    w.wait_s(2);
    let [caller] = sessions(&w)[..] else { panic!() };
    takes(&mut w, "200");
    recorded(&w, caller);
}

#[test]
fn who_a_forwarding_reaches_behind_a_menu_is_recorded() {
    let mut w = house("[recording]\nusers = [\"300\"]\n");
    let change = Change::ForwardAlways(Some("300".into()));
    w.core
        .features()
        .change("400@example.com", &change)
        .unwrap();
    call(&mut w, "100", "650", "talk", &[]);
    let [caller] = sessions(&w)[..] else { panic!() };
    press(&mut w, caller, "4");
    takes(&mut w, "300");
    recorded(&w, caller);
}

#[test]
fn a_call_back_from_the_parking_lot_is_recorded() {
    let mut w = house("[recording]\nusers = [\"200\"]\n[parking]\ntimeout_s = 60\n");
    let by = "Referred-By: <sip:200@192.0.2.32:5060>";
    assert_eq!(call(&mut w, "100", "*70", "park", &[by]).status(), 200);
    let [waits] = sessions(&w)[..] else { panic!() };
    w.wait_s(61);
    takes(&mut w, "200");
    recorded(&w, waits);
}

/// What the studio was told of rooms.
fn rooms(w: &World) -> Vec<(u64, RoomOrder)> {
    let rooms = w.orders.iter().filter_map(|order| match order {
        MediaOrder::Studio(Order::Room { session, what }) => Some((*session, what.clone())),
        _ => None,
    });
    rooms.collect()
}

/// The files that rooms are recorded into, and in whose name.
fn room_files(w: &World) -> Vec<(u64, String)> {
    let files = rooms(w)
        .into_iter()
        .filter_map(|(session, what)| match what {
            RoomOrder::Record(file, _) => Some((session, file.to_string())),
            _ => None,
        });
    files.collect()
}

/// 200 parks 100, whom 300 fetches: the answers to both.
fn fetched(w: &mut World) -> [Message; 2] {
    let by = "Referred-By: <sip:200@192.0.2.32:5060>";
    let parked = call(w, "100", "*70", "park", &[by]);
    let fetches = call(w, "300", "701", "fetch", &[]);
    assert_eq!((parked.status(), fetches.status()), (200, 200));
    [parked, fetches]
}

#[test]
fn a_call_that_is_fetched_from_a_slot_is_recorded() {
    for users in ["100", "300", "*"] {
        let mut w = house(&format!("[recording]\nusers = [\"{users}\"]\n"));
        let [parked, fetches] = fetched(&mut w);
        let host = sessions(&w)[0];
        let [(session, file)] = &room_files(&w)[..] else {
            panic!("{users}: {:?}", rooms(&w))
        };
        assert_eq!(*session, host);
        // Both are told.
        assert!(matches!(
            rooms(&w).last(),
            Some((_, RoomOrder::Announce(_)))
        ));
        bye(&mut w, "300", &fetches);
        assert_eq!(w.take(&peer("100")).method(), Method::Bye);
        drop(parked);
        w.wait_s(64);
        let notes = notes(&w);
        assert_eq!(notes.len(), 2);
        let named = format!("recorded: {file}");
        assert!(notes.iter().all(|note| note.contains(&named)), "{notes:?}");
    }
    let mut w = house("[recording]\nusers = [\"200\"]\n");
    fetched(&mut w);
    assert!(rooms(&w).is_empty());
}

#[test]
fn keys_record_a_call_that_is_fetched_from_a_slot() {
    for (user, at) in [("100", 0), ("300", 1)] {
        let mut w = house(&format!(
            "[recording]\non_demand = [\"{user}\"]\nnotice = false\n"
        ));
        fetched(&mut w);
        let sessions = sessions(&w);
        let own = sessions[at];
        assert!(rooms(&w).is_empty());
        press(&mut w, own, "*1");
        assert_eq!(room_files(&w).len(), 1, "{user}");
        press(&mut w, own, "*1");
        assert_eq!(rooms(&w).last(), Some(&(sessions[0], RoomOrder::EndRecord)));
        press(&mut w, own, "*1");
        assert_eq!(room_files(&w).len(), 2, "{user}");
        // The other has no say.
        let before = rooms(&w).len();
        press(&mut w, sessions[1 - at], "*1");
        assert_eq!(rooms(&w).len(), before);
    }
}

#[test]
fn who_is_sent_on_from_a_slot_is_recorded_there() {
    let mut w = house("[recording]\nusers = [\"100\"]\n");
    let [_, fetches] = fetched(&mut w);
    crate::parking::sends_on(&mut w, &fetches, "400");
    assert!(matches!(rooms(&w).last(), Some((_, RoomOrder::EndRecord))));
    takes(&mut w, "400");
    let [(left, TapeOrder::Start { .. })] = &tapes(&w)[..] else {
        panic!("{:?}", tapes(&w))
    };
    assert_eq!(*left, sessions(&w)[0]);
}

#[test]
fn who_is_sent_on_in_vain_is_recorded_again() {
    for user in ["100", "300"] {
        let mut w = house(&format!("[recording]\nusers = [\"{user}\"]\n"));
        let [_, fetches] = fetched(&mut w);
        crate::parking::sends_on(&mut w, &fetches, "400");
        let ended = rooms(&w);
        let there = w.take(&peer("400"));
        w.answer(&peer("400"), &there, 486, "d");
        assert_eq!(w.take(&peer("400")).method(), Method::Ack);
        assert!(matches!(ended.last(), Some((_, RoomOrder::EndRecord))));
        assert_eq!(room_files(&w).len(), 2, "{user}");
    }
}

// ------------------------------------------------------------ ways into services

#[test]
fn a_route_that_records_leads_into_a_menu_or_a_queue() {
    let routes = "[[route]]\nmatch = \"6801\"\nto = [\"menu:main\"]\nrecord = true\n\
        [[route]]\nmatch = \"6802\"\nto = [\"queue:support\"]\nrecord = true\n";
    for (number, keys) in [("6801", "1"), ("6801", "4"), ("6802", "")] {
        let mut w = house(routes);
        let answer = call(&mut w, "100", number, "talk", &[]);
        assert_eq!(answer.status(), 200);
        w.wait_s(2);
        let [caller] = sessions(&w)[..] else {
            panic!("{:?}", sessions(&w))
        };
        press(&mut w, caller, keys);
        takes(&mut w, if keys == "4" { "400" } else { "200" });
        let file = recorded(&w, caller);
        bye(&mut w, "100", &answer);
        w.sent.clear();
        w.wait_s(64);
        let said = |note: &String| {
            note.split("; ")
                .any(|part| part == format!("recorded: {file}"))
        };
        assert!(notes(&w).iter().any(said), "{:?}", notes(&w));
        assert_eq!(w.core.callers(), 0);
    }
}

#[test]
fn a_menu_records_what_a_recorded_route_reaches_from_it() {
    let mut w = house(
        "[[menu]]\nname = \"other\"\nnumbers = [\"651\"]\ngreeting = \"menu-welcome\"\nkeys = { \"1\" = \"route:7400\" }\n\
         [[route]]\nmatch = \"7400\"\nstrip = 1\nto = [\"user:400\"]\nrecord = true\n",
    );
    call(&mut w, "100", "651", "talk", &[]);
    let [caller] = sessions(&w)[..] else { panic!() };
    press(&mut w, caller, "1");
    takes(&mut w, "400");
    recorded(&w, caller);
}

#[test]
fn a_recorded_user_reaches_services_by_routes_as_anybody_does() {
    let routes = "[recording]\nusers = [\"100\"]\n[[conference]]\nname = \"board\"\npin = \"2468\"\n\
        [[route]]\nmatch = \"6803\"\nto = [\"conference:board\"]\n\
        [[route]]\nmatch = \"6804\"\nto = [\"service:echo\"]\n";
    for number in ["6803", "6804", "670"] {
        let mut w = house(routes);
        assert_eq!(call(&mut w, "100", number, "talk", &[]).status(), 200);
        // One end is ours, not two.
        let opened = w.orders.iter().rev().find_map(|order| match order {
            MediaOrder::Relay(MediaCommand::Open { legs, .. }) => {
                Some([legs[0].local, legs[1].local])
            }
            _ => None,
        });
        assert_eq!(opened, Some([false, true]), "{number}");
        assert_eq!(sessions(&w).len(), 1, "{number}");
        assert!(tapes(&w).is_empty());
    }
}

#[test]
fn a_menu_leads_to_a_queue_by_a_route() {
    let mut w = house("");
    let answer = call(&mut w, "100", "650", "talk", &[]);
    let [caller] = sessions(&w)[..] else { panic!() };
    press(&mut w, caller, "3");
    // The caller waits there, by the same leg.
    let tasks = last_tasks(&w);
    let Some(Task::Play { sounds, .. }) = tasks.last() else {
        panic!("{tasks:?}")
    };
    assert_eq!(*sounds, [Sound::Music]);
    assert_eq!(sessions(&w), [caller]);
    bye(&mut w, "100", &answer);
    w.wait_s(64);
    assert_eq!(w.core.callers(), 0);
}

#[test]
fn a_recorded_route_goes_on_from_phones_to_a_queue() {
    let routes = "[[route]]\nmatch = \"6805\"\nto = [\"user:300\", \"queue:support\"]\n\
        ring_s = 10\nrecord = true\n";
    // The phone answers.
    let mut w = house(routes);
    call_and(&mut w, "100", "6805", |w| drop(takes(w, "300")));
    assert_eq!(tapes(&w).len(), 1);
    // It does not, or is not there.
    for there in [true, false] {
        let mut w = World::with(&format!("{HOUSE}{routes}"));
        w.register("200", &peer("200"), "");
        if there {
            w.register("300", &peer("300"), "");
        }
        let answer = call_and(&mut w, "100", "6805", |w| {
            if !there {
                return;
            }
            let invite = w.take(&peer("300"));
            w.answer(&peer("300"), &invite, 180, "b");
            w.wait_s(11);
            let cancel = w.take(&peer("300"));
            assert_eq!(cancel.method(), Method::Cancel);
            w.answer(&peer("300"), &cancel, 200, "b");
            w.answer(&peer("300"), &invite, 487, "b");
            while w.take(&peer("300")).method() != Method::Ack {}
        });
        assert_eq!(answer.status(), 200, "{there}");
        w.wait_s(2);
        takes(&mut w, "200");
        assert_eq!(tapes(&w).len(), 1, "{there}");
    }
}

// ------------------------------------------------------------ calls that go elsewhere

#[test]
fn a_call_that_is_forwarded_to_a_recorded_user_is_recorded() {
    for (change, refuses) in [
        (Change::ForwardAlways(Some("300".into())), None),
        (Change::ForwardBusy(Some("300".into())), Some(486)),
        (Change::ForwardAlways(Some("600".into())), None),
    ] {
        let mut w = house("[recording]\nusers = [\"300\"]\n");
        w.core
            .features()
            .change("400@example.com", &change)
            .unwrap();
        let mut there = None;
        call_and(&mut w, "100", "400", |w| {
            if let Some(status) = refuses {
                let invite = w.take(&peer("400"));
                w.answer(&peer("400"), &invite, status, "b");
                assert_eq!(w.take(&peer("400")).method(), Method::Ack);
            }
            there = Some(takes(w, "300"));
        });
        assert_eq!(tapes(&w).len(), 1, "{change:?}");
        // It still reads by whom it was forwarded.
        let there = there.unwrap();
        let diversion = header(&there, HeaderName::Diversion);
        assert!(diversion.contains("sip:400@example.com"), "{diversion}");
    }
    let mut w = house("[recording]\nusers = [\"200\"]\n");
    let change = Change::ForwardAlways(Some("300".into()));
    w.core
        .features()
        .change("400@example.com", &change)
        .unwrap();
    crate::parking::call_while(&mut w, "100", "400", "talk", |w| {
        let invite = w.take(&peer("300"));
        bridge::described(w, &peer("300"), &invite, 200, "b", bridge::PCMU);
    });
    assert!(tapes(&w).is_empty());
}

/// Out of the house goes who sends the call on, not the caller, whether it is recorded or not.
#[test]
fn a_call_that_is_forwarded_out_of_the_house_by_a_recorded_route_is_recorded() {
    let mut seen = Vec::new();
    for record in [false, true] {
        let mut w = house(&format!(
            "[[trunk]]\nname = \"itsp\"\nuri = \"sip:203.0.113.1\"\nprobe_s = 0\n\
            [[route]]\nname = \"out\"\nmatch = \"9XXXXXXXX\"\nfrom = [\"user:400\"]\n\
            to = [\"trunk:itsp\"]\nrecord = {record}\n"
        ));
        let change = Change::ForwardAlways(Some("915550199".into()));
        w.core
            .features()
            .change("400@example.com", &change)
            .unwrap();
        let itsp = crate::world::Peer::udp("203.0.113.1:5060");
        let answer = call_and(&mut w, "100", "400", |w| {
            let invite = w.take(&itsp);
            bridge::described(w, &itsp, &invite, 200, "t", bridge::PCMU);
            let uri = crate::world::text(invite.request_uri());
            let from = header(&invite, HeaderName::From);
            let from = from.split(';').next().unwrap().to_owned();
            seen.push((uri, from, header(&invite, HeaderName::Diversion)));
        });
        assert_eq!(answer.status(), 200);
        assert_eq!(tapes(&w).len(), usize::from(record));
        // The caller itself may not go there.
        assert_eq!(call(&mut w, "100", "915550199", "own", &[]).status(), 404);
    }
    assert_eq!(seen[0], seen[1]);
}

/// A recorded user calls another domain, or is called at one phone (RFC 5627).
#[test]
fn a_call_to_a_whole_uri_is_recorded() {
    let elsewhere = crate::world::Peer::udp("203.0.113.9:5060");
    for (user, count) in [("100", 1), ("300", 0)] {
        let mut w = house(&format!("[recording]\nusers = [\"{user}\"]\n"));
        call_and(&mut w, "100", "sip:zoe@203.0.113.9", |w| {
            let invite = w.take(&elsewhere);
            assert_eq!(invite.request_uri(), b"sip:zoe@203.0.113.9");
            bridge::described(w, &elsewhere, &invite, 200, "t", bridge::PCMU);
        });
        assert_eq!(tapes(&w).len(), count, "{user}");
    }
    const INSTANCE: &str = "urn:uuid:00000000-0000-1000-8000-000000000001";
    for (user, count) in [("300", 1), ("100", 1), ("200", 0)] {
        let mut w = World::with(&format!("[recording]\nusers = [\"{user}\"]\n"));
        let phone = peer("300");
        let parameters = format!(";+sip.instance=\"<{INSTANCE}>\"");
        w.register_with("300", &phone, &parameters, "Supported: gruu\r\n");
        let to = format!("sip:300@example.com;gr={INSTANCE}");
        call_and(&mut w, "100", &to, |w| {
            let invite = w.take(&phone);
            bridge::described(w, &phone, &invite, 200, "t", bridge::PCMU);
        });
        assert_eq!(tapes(&w).len(), count, "{user}");
    }
}

#[test]
fn a_call_that_a_recorded_user_picks_up_is_recorded() {
    let mut w = house(
        "[recording]\nusers = [\"300\"]\n[[group]]\nname = \"desk\"\nmembers = [\"300\", \"400\"]\n",
    );
    call_and(&mut w, "100", "400", |w| {
        let invite = w.take(&peer("400"));
        w.answer(&peer("400"), &invite, 180, "b");
        let picks = call(w, "300", "**400", "pick", &[]);
        assert_eq!(picks.status(), 480);
        let there = takes(w, "300");
        // The phone answers by itself.
        assert!(header(&there, HeaderName::CallInfo).contains("answer-after"));
        let cancel = w.take(&peer("400"));
        assert_eq!(cancel.method(), Method::Cancel);
    });
    assert_eq!(tapes(&w).len(), 1);
}
