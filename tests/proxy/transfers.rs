//! Transfers of who is joined by us (RFC 3515, RFC 5589): to numbers that services answer, to users
//! who are not there; transfers that fail; and calls that take a place while one is under way.

use crate::bridge::{
    PCMU, alice, at_alice, bob, carol, described, formats, of_alice, of_bob, ours, talking, tasks,
    told,
};
use crate::parking::{call, peer};
use crate::services::prompts_said;
use crate::world::{World, text};
use voip::feature::Change;
use voip::media::{News, Order, Sound, Task};
use voip::server::{Input, MediaNews, MediaOrder};
use voip::store::{Folder, Record};
use voip::wire::sip::{HeaderName, Message, Method};

const CONFIG: &str = r#"
[[queue]]
name = "support"
numbers = ["650"]
greeting = "queue-thankyou"
agents = ["400"]
[[menu]]
name = "main"
numbers = ["5000"]
greeting = "menu-welcome"
keys = { 1 = "extension:300" }
[[conference]]
name = "board"
number = "8000"
"#;

/// 200 and an agent of the queue are there, 500 is not.
fn house(more: &str) -> World {
    let mut w = World::with(&format!("{CONFIG}{more}"));
    w.register("400", &peer("400"), "");
    w
}

/// 200, called over a bridge by 100, transfers it to a number: what it is told then.
fn sent_by_bob(w: &mut World, number: &str) -> Vec<String> {
    let (invite, _) = talking(w);
    refers(w, &invite, number);
    told(w, &bob())
}

fn refers(w: &mut World, invite: &Message, number: &str) {
    let (uri, tag) = ours(invite);
    let refer = of_bob("REFER", invite, &uri, 1, ("b", &tag));
    let own = format!("Contact: {}", bob().contact("200"));
    let to = format!("Refer-To: <sip:{number}@example.com>");
    w.send(&bob(), &refer.extra(&own).extra(&to));
    assert_eq!(w.status(&bob()), 202);
}

/// The same by 100, who called.
fn sent_by_alice(w: &mut World, number: &str) -> Vec<String> {
    let (_, answer) = talking(w);
    let (mut tag, mut uri) = (String::new(), String::new());
    let refer = of_alice("REFER", &answer, (&mut tag, &mut uri), 3);
    let own = format!("Contact: {}", alice().contact("100"));
    let to = format!("Refer-To: <sip:{number}@example.com>");
    w.send(&alice(), &refer.extra(&own).extra(&to));
    assert_eq!(at_alice(w).status(), 202);
    told(w, &alice())
}

/// Both hear each other since the last two orders.
fn joined(w: &World) -> bool {
    let tasks = tasks(w);
    let last = tasks.last_chunk::<2>();
    matches!(last, Some([(a, Task::Bridge { with: b }), (c, Task::Bridge { with: d })])
        if (a, b) == (d, c))
}

const DONE: [&str; 2] = ["active 100 Trying", "terminated 200 OK"];

#[test]
fn a_transfer_leads_to_what_services_answer() {
    for (number, said) in [
        ("650", vec!["queue-thankyou"]),
        ("5000", vec!["menu-welcome"]),
        ("8000", vec!["conf-onlyperson"]),
        (
            "500",
            vec![
                "vm-theperson",
                "digits/5",
                "digits/0",
                "digits/0",
                "vm-isunavail",
                "vm-intro",
            ],
        ),
    ] {
        let mut w = house("[voicemail]\nring_s = 15\n");
        assert_eq!(sent_by_bob(&mut w, number), DONE, "{number}");
        assert_eq!(prompts_said(&w), said, "{number}");
        let bye = w.take(&bob());
        assert_eq!(bye.method(), Method::Bye);
        w.answer(&bob(), &bye, 200, "b");
        assert_eq!(w.core.callers(), 1);
        // By who called, too.
        let mut w = house("[voicemail]\nring_s = 15\n");
        assert_eq!(sent_by_alice(&mut w, number), DONE, "{number}");
        assert_eq!(prompts_said(&w), said, "{number}");
        assert_eq!(at_alice(&mut w).method(), Method::Bye);
        assert_eq!(w.core.callers(), 1);
    }
}

/// Who transfers leaves nobody in the own mailbox by calling it; who is transferred does.
#[test]
fn a_transfer_leads_to_the_own_mailbox() {
    let mut w = house("[voicemail]\nring_s = 15\n");
    let (invite, _) = talking(&mut w);
    w.core
        .features()
        .change("200@example.com", &Change::Dnd(true))
        .unwrap();
    refers(&mut w, &invite, "200");
    assert_eq!(told(&mut w, &bob()), DONE);
    assert!(prompts_said(&w).contains(&"vm-isonphone".to_owned()));
}

#[test]
fn a_transfer_follows_who_forwards_to_a_service() {
    let mut w = house("");
    let forward = Change::ForwardUnregistered(Some("650".into()));
    w.core
        .features()
        .change("500@example.com", &forward)
        .unwrap();
    assert_eq!(sent_by_bob(&mut w, "500"), DONE);
    assert_eq!(prompts_said(&w), ["queue-thankyou"]);
}

/// RFC 5589 §6.1: who is not answered has a mailbox, as for any caller.
#[test]
fn a_transfer_that_nobody_answers_ends_in_the_mailbox() {
    let mut w = house("[voicemail]\nring_s = 15\n");
    w.register("300", &carol(), "");
    w.wait_s(4);
    w.sent.clear();
    assert_eq!(sent_by_bob(&mut w, "300"), ["active 100 Trying"]);
    let there = w.take(&carol());
    w.answer(&carol(), &there, 180, "c");
    assert_eq!(told(&mut w, &bob()), ["active 180 Ringing"]);
    w.wait_s(16);
    let mut cancel = w.take(&carol());
    while cancel.method() != Method::Cancel {
        cancel = w.take(&carol());
    }
    w.answer(&carol(), &cancel, 200, "c");
    w.answer(&carol(), &there, 487, "c");
    assert_eq!(told(&mut w, &bob()), ["terminated 200 OK"]);
    assert!(prompts_said(&w).contains(&"vm-isunavail".to_owned()));
}

/// RFC 5589 §6.2, RFC 3515 §2.4.5: the call is as it was, and who asked is told so.
#[test]
fn a_transfer_to_nobody_leaves_the_call_as_it_was() {
    // No mailbox, no agent, no such number.
    for number in ["500", "999"] {
        let mut w = house("");
        let told = sent_by_bob(&mut w, number);
        assert_eq!(told.len(), 2);
        assert!(told[1].starts_with("terminated 4"), "{told:?}");
        assert!(joined(&w), "{number}: {:?}", tasks(&w));
        assert_eq!(w.core.callers(), 2);
        w.nothing();
    }
}

/// Who waited in a queue is led to another service by the agent, who is free then.
#[test]
fn an_agent_leads_its_caller_to_another_queue() {
    let mut w = house("[[queue]]\nname = \"sales\"\nnumbers = [\"651\"]\nagents = [\"200\"]\n");
    w.register("200", &bob(), "");
    assert_eq!(call(&mut w, "100", "651", "queue", &[]).status(), 200);
    w.wait_s(1);
    let invite = w.take(&bob());
    described(&mut w, &bob(), &invite, 200, "b", PCMU);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    refers(&mut w, &invite, "650");
    assert_eq!(told(&mut w, &bob()), DONE);
    assert_eq!(prompts_said(&w), ["queue-thankyou"]);
    let queues = w.core.features().queues();
    assert_eq!(queues.figures("sales", w.now).talking, 0);
    assert_eq!(queues.figures("support", w.now).waiting, 1);
}

// ------------------------------------------------------------ places that are taken meanwhile

/// 200 transfers 100 to 300, whose phone rings; what 200 and 300 got.
fn while_it_rings(w: &mut World) -> (Message, Message) {
    w.register("300", &carol(), "");
    w.register("600", &peer("600"), "");
    let (invite, _) = talking(w);
    refers(w, &invite, "300");
    let there = w.take_of(&carol(), Method::Invite);
    w.answer(&carol(), &there, 180, "c");
    assert_eq!(told(w, &bob()), ["active 100 Trying", "active 180 Ringing"]);
    (invite, there)
}

/// RFC 3891 §3: who takes the place of the one who transfers talks to whom that one talked to, so
/// that the transfer is over.
#[test]
fn who_takes_the_place_of_a_transferor_has_the_other() {
    for answers in [false, true] {
        let mut w = house("");
        let (invite, there) = while_it_rings(&mut w);
        let (uri, tag) = ours(&invite);
        let call_id = text(invite.call_id());
        let replaces = format!("Replaces: {call_id};to-tag={tag};from-tag=b");
        assert_eq!(
            call(&mut w, "600", &uri, "taker", &[&replaces]).status(),
            200
        );
        assert_eq!(told(&mut w, &bob()), ["terminated 487 Request Terminated"]);
        let bye = w.take(&bob());
        assert_eq!(bye.method(), Method::Bye);
        w.answer(&bob(), &bye, 200, "b");
        let cancel = w.take(&carol());
        assert_eq!(cancel.method(), Method::Cancel);
        w.answer(&carol(), &cancel, 200, "c");
        if answers {
            // In the same moment.
            described(&mut w, &carol(), &there, 200, "c", PCMU);
            assert_eq!(w.take(&carol()).method(), Method::Ack);
            let bye = w.take(&carol());
            assert_eq!(bye.method(), Method::Bye);
            w.answer(&carol(), &bye, 200, "c");
        } else {
            w.answer(&carol(), &there, 487, "c");
            assert_eq!(w.take(&carol()).method(), Method::Ack);
        }
        assert!(joined(&w), "{:?}", tasks(&w));
        assert_eq!(w.core.callers(), 2);
        w.wait_s(64);
        w.nothing();
        assert_eq!(w.core.callers(), 2);
    }
}

/// 200, called over a bridge by 100, transfers it to 300, whose phone rings: what 100 was answered,
/// and the call that rings.
fn carol_rings(w: &mut World) -> (Message, Message) {
    w.register("300", &carol(), "");
    let (invite, answer) = talking(w);
    refers(w, &invite, "300");
    let there = w.take_of(&carol(), Method::Invite);
    w.answer(&carol(), &there, 180, "c");
    assert_eq!(told(w, &bob()), ["active 100 Trying", "active 180 Ringing"]);
    (answer, there)
}

/// Who takes the place of the one who is transferred goes on to where that one was sent.
#[test]
fn who_takes_the_place_of_a_transferee_is_transferred() {
    let mut w = house("");
    w.register("600", &peer("600"), "");
    let (answer, there) = carol_rings(&mut w);
    let tag = |address: Option<&[u8]>| text(address.unwrap());
    let contact = answer.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(contact.unwrap().uri_bytes());
    let (from, to) = (answer.from().unwrap(), answer.to().unwrap());
    let replaces = format!(
        "Replaces: {};to-tag={};from-tag={}",
        text(answer.call_id()),
        tag(to.tag()),
        tag(from.tag())
    );
    assert_eq!(
        call(&mut w, "600", &uri, "taker", &[&replaces]).status(),
        200
    );
    assert_eq!(at_alice(&mut w).method(), Method::Bye);
    // It hears that a phone rings.
    let Some((_, Task::Play { sounds, .. })) = tasks(&w).pop() else {
        panic!("{:?}", tasks(&w))
    };
    assert!(matches!(sounds[..], [Sound::Tone { .. }]));
    described(&mut w, &carol(), &there, 200, "c", PCMU);
    assert_eq!(w.take_of(&carol(), Method::Ack).method(), Method::Ack);
    assert_eq!(told(&mut w, &bob()), ["terminated 200 OK"]);
    assert!(joined(&w), "{:?}", tasks(&w));
}

/// RFC 3515 §2.4.5: who asked is told that the one who was to be transferred is gone.
#[test]
fn a_transferee_that_hangs_up_ends_the_transfer() {
    let mut w = house("");
    let (answer, _) = carol_rings(&mut w);
    let (mut tag, mut uri) = (String::new(), String::new());
    let bye = of_alice("BYE", &answer, (&mut tag, &mut uri), 5);
    w.send(&alice(), &bye);
    assert_eq!(at_alice(&mut w).status(), 200);
    assert_eq!(told(&mut w, &bob()), ["terminated 487 Request Terminated"]);
    assert_eq!(w.take_of(&bob(), Method::Bye).method(), Method::Bye);
    assert_eq!(w.take_of(&carol(), Method::Cancel).method(), Method::Cancel);
}

// ------------------------------------------------------------ places with services

/// 300 takes the place of whoever got this answer (RFC 3891), as at the end of an attended transfer
/// into a service.
fn takes_place(w: &mut World, answer: &Message) -> u64 {
    let contact = answer.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(contact.unwrap().uri_bytes());
    let (from, to) = (answer.from().unwrap(), answer.to().unwrap());
    let replaces = format!(
        "Replaces: {};to-tag={};from-tag={}",
        text(answer.call_id()),
        text(to.tag().unwrap()),
        text(from.tag().unwrap())
    );
    assert_eq!(call(w, "300", &uri, "taker", &[&replaces]).status(), 200);
    formats(w).last().unwrap().0
}

fn is_music(task: &Task) -> bool {
    matches!(task, Task::Play { sounds, .. } if sounds == &[Sound::Music])
}

/// The last task, and whose it is.
fn last(w: &World) -> (u64, Task) {
    tasks(w).pop().unwrap()
}

/// What the studio does for that one is over.
fn done(w: &mut World, session: u64) {
    let task = w.orders.iter().rev().find_map(|order| match order {
        MediaOrder::Studio(Order::Do {
            session: s, task, ..
        }) if *s == session => Some(*task),
        _ => None,
    });
    let (task, played_ms) = (task.unwrap(), 1000);
    let news = News::Done {
        session,
        task,
        played_ms,
    };
    w.input(Input::Media(MediaNews::Studio(news)));
}

#[test]
fn who_takes_a_place_in_a_queue_waits_there() {
    // In the greeting, and behind it.
    for seconds in [0, 3] {
        let mut w = house("");
        w.register("300", &peer("300"), "");
        let waits = call(&mut w, "100", "650", "queue", &[]);
        let first = formats(&w)[0].0;
        if seconds > 0 {
            let busy = call(&mut w, "400", "8000", "busy", &[]);
            assert_eq!(busy.status(), 200);
            done(&mut w, first);
            w.wait_s(seconds);
        }
        let session = takes_place(&mut w, &waits);
        let (whose, task) = last(&w);
        assert_eq!((whose, is_music(&task)), (session, true), "{task:?}");
        if seconds == 0 {
            w.wait_s(1);
            assert_eq!(
                w.take_of(&peer("400"), Method::Invite).method(),
                Method::Invite
            );
        }
    }
}

#[test]
fn who_takes_a_place_while_an_agent_rings_hears_music_and_gets_the_agent() {
    let mut w = house("");
    w.register("300", &peer("300"), "");
    let waits = call(&mut w, "100", "650", "queue", &[]);
    let first = formats(&w)[0].0;
    done(&mut w, first);
    w.wait_s(1);
    let rings = w.take_of(&peer("400"), Method::Invite);
    let session = takes_place(&mut w, &waits);
    let (whose, task) = last(&w);
    assert_eq!((whose, is_music(&task)), (session, true), "{task:?}");
    described(&mut w, &peer("400"), &rings, 200, "d", PCMU);
    assert!(joined(&w), "{:?}", tasks(&w));
}

#[test]
fn who_takes_a_place_in_a_menu_hears_it() {
    for listens in [false, true] {
        let mut w = house("");
        let at = call(&mut w, "100", "5000", "menu", &[]);
        let first = formats(&w)[0].0;
        if listens {
            done(&mut w, first);
        }
        let session = takes_place(&mut w, &at);
        assert_eq!(last(&w).0, session);
        assert_eq!(prompts_said(&w), ["menu-welcome"]);
    }
}

/// Who transfers a caller to the mailbox that was heard before leaves no message, the caller does.
#[test]
fn who_takes_a_place_at_a_mailbox_leaves_a_message() {
    let mut w = house("[voicemail]\n");
    let at = call(&mut w, "100", "500", "mail", &[]);
    let first = formats(&w)[0].0;
    done(&mut w, first);
    done(&mut w, first);
    assert!(matches!(last(&w), (_, Task::Record { .. })));
    let session = takes_place(&mut w, &at);
    assert_eq!(last(&w).0, session);
    assert!(prompts_said(&w).contains(&"vm-intro".to_owned()));
    done(&mut w, session);
    done(&mut w, session);
    let (whose, Task::Record { file, .. }) = last(&w) else {
        panic!("{:?}", last(&w))
    };
    assert_eq!(whose, session);
    let folders = |w: &World| -> Vec<(Folder, Box<str>)> {
        let rows = w.records.iter().filter_map(|record| match record {
            Record::PutMessage(row) => Some((row.folder, row.file.clone())),
            _ => None,
        });
        rows.collect()
    };
    let rows = folders(&w);
    assert_eq!(rows.last(), Some(&(Folder::Recording, file.clone())));
    // What the first one said is nobody's message.
    assert!(
        rows.iter()
            .any(|(folder, f)| *folder == Folder::Gone && *f != file),
        "{rows:?}"
    );
}
