//! Calls that are recorded, as the proxy leads them and the studio is told.

use crate::bridge;
use crate::parking::{bye, call, last_tasks, peer};
use crate::world::{World, header};
use voip::media::order::TapeOrder;
use voip::media::{News, Order, RecordEnd, Sound, Task};
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
