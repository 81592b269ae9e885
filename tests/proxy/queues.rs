//! Queues, as callers and agents see them: who is free, and until when an agent has a call.

use crate::bridge::{PCMU, alice, bob, described, of_alice, of_bob, ours, talking, tasks, told};
use crate::parking::{bye, call, call_while, peer};
use crate::services::within;
use crate::world::{World, req, text};
use voip::feature::Doing;
use voip::media::Task;
use voip::wire::sip::{Message, Method};

const QUEUE: &str = "[[queue]]\nname = \"support\"\nnumbers = [\"650\"]\nagents = [\"200\"]\n\
    wrap_up_s = 10\nstrategy = \"round-robin\"\n";

/// What 200 does, who talks in the queue, and who was answered.
fn state(w: &World) -> (Doing, usize, u64) {
    let queues = w.core.features().queues();
    let (doing, _) = queues.agent("support", "200@example.com", w.now);
    let figures = queues.figures("support", w.now);
    (doing, figures.talking, figures.answered)
}

/// 100 waits in the queue, and 200 takes the call: the INVITE that it got, and 100's answer.
fn taken(w: &mut World) -> (Message, Message) {
    for user in ["200", "300"] {
        w.register(user, &peer(user), "");
    }
    let waits = call(w, "100", "650", "queue", &[]);
    assert_eq!(waits.status(), 200);
    w.wait_s(1);
    let invite = w.take(&peer("200"));
    described(w, &peer("200"), &invite, 200, "b", PCMU);
    assert_eq!(w.take(&peer("200")).method(), Method::Ack);
    assert_eq!(state(w), (Doing::Talking, 1, 1));
    (invite, waits)
}

/// 200, who took the call, wants its caller to talk to 300; what 300 gets.
fn referred(w: &mut World, invite: &Message) -> Message {
    let (uri, tag) = ours(invite);
    let refer = of_bob("REFER", invite, &uri, 1, ("b", &tag));
    let own = format!("Contact: {}", peer("200").contact("200"));
    let refer = refer.extra(&own).extra("Refer-To: <sip:300@example.com>");
    w.send(&peer("200"), &refer);
    assert_eq!(w.status(&peer("200")), 202);
    assert_eq!(told(w, &peer("200")), ["active 100 Trying"]);
    let there = w.take(&peer("300"));
    w.answer(&peer("300"), &there, 180, "c");
    assert_eq!(told(w, &peer("200")), ["active 180 Ringing"]);
    there
}

/// The last two tasks join two with each other.
fn joined(w: &World) -> bool {
    let tasks = tasks(w);
    let [
        ..,
        (a, Task::Bridge { with: b }),
        (c, Task::Bridge { with: d }),
    ] = &tasks[..]
    else {
        return false;
    };
    (a, b) == (d, c)
}

/// 200 hangs up the call that it took.
fn agent_leaves(w: &mut World, invite: &Message) {
    let (uri, tag) = ours(invite);
    let bye = of_bob("BYE", invite, &uri, 2, ("b", &tag));
    w.send(&peer("200"), &bye);
    assert_eq!(w.status(&peer("200")), 200);
}

#[test]
fn an_agent_who_transferred_its_caller_is_done_with_it() {
    let mut w = World::with(QUEUE);
    let (invite, waits) = taken(&mut w);
    w.wait_s(5);
    let there = referred(&mut w, &invite);
    w.wait_s(5);
    w.sent.clear();
    assert_eq!(state(&w), (Doing::Talking, 1, 1), "it may still fail");
    described(&mut w, &peer("300"), &there, 200, "c", PCMU);
    assert_eq!(w.take(&peer("300")).method(), Method::Ack);
    assert_eq!(told(&mut w, &peer("200")), ["terminated 200 OK"]);
    let end = w.take(&peer("200"));
    assert_eq!(end.method(), Method::Bye);
    w.answer(&peer("200"), &end, 200, "b");
    assert_eq!(state(&w), (Doing::Resting, 0, 1));
    assert!(joined(&w), "{:?}", tasks(&w));
    let figures = w.core.features().queues().figures("support", w.now);
    assert_eq!(figures.talked_ms, 10_000);
    // The two go on, and the agent is free for the next caller.
    w.wait_s(10);
    assert_eq!(state(&w), (Doing::Free, 0, 1));
    assert_eq!(w.core.callers(), 2);
    let next = call(&mut w, "400", "650", "next", &[]);
    assert_eq!(next.status(), 200);
    w.wait_s(1);
    assert_eq!(w.take(&peer("200")).method(), Method::Invite);
    bye(&mut w, "100", &waits);
    let end = w.take(&peer("300"));
    assert_eq!(end.method(), Method::Bye);
}

#[test]
fn an_agent_whose_transfer_fails_has_its_caller_again() {
    let mut w = World::with(QUEUE);
    let (invite, _) = taken(&mut w);
    let there = referred(&mut w, &invite);
    w.answer(&peer("300"), &there, 486, "c");
    assert_eq!(w.take(&peer("300")).method(), Method::Ack);
    assert_eq!(told(&mut w, &peer("200")), ["terminated 486 Busy Here"]);
    assert_eq!(state(&w), (Doing::Talking, 1, 1));
    assert!(joined(&w), "{:?}", tasks(&w));
    agent_leaves(&mut w, &invite);
    assert_eq!(state(&w), (Doing::Resting, 0, 1));
    assert_eq!(w.take(&peer("100")).method(), Method::Bye);
}

#[test]
fn an_agent_who_does_not_wait_for_its_transfer_is_done_at_once() {
    for status in [200, 486] {
        let mut w = World::with(QUEUE);
        let (invite, _) = taken(&mut w);
        let there = referred(&mut w, &invite);
        agent_leaves(&mut w, &invite);
        assert_eq!(state(&w), (Doing::Resting, 0, 1));
        w.wait_s(30);
        w.sent.clear();
        assert_eq!(state(&w), (Doing::Free, 0, 1));
        if status == 200 {
            described(&mut w, &peer("300"), &there, 200, "c", PCMU);
            assert_eq!(w.take(&peer("300")).method(), Method::Ack);
            assert!(joined(&w), "{:?}", tasks(&w));
            assert_eq!(w.core.callers(), 2);
        } else {
            w.answer(&peer("300"), &there, status, "c");
            assert_eq!(w.take(&peer("300")).method(), Method::Ack);
            assert_eq!(w.take(&peer("100")).method(), Method::Bye);
        }
        assert_eq!(state(&w), (Doing::Free, 0, 1), "{status}");
    }
}

#[test]
fn an_agent_whose_place_another_takes_is_done_with_its_caller() {
    let mut w = World::with(QUEUE);
    let (invite, _) = taken(&mut w);
    let (uri, tag) = ours(&invite);
    // 200 told 300 of its dialog.
    let replaces = format!(
        "Replaces: {};to-tag={tag};from-tag=b",
        text(invite.call_id())
    );
    assert_eq!(
        call(&mut w, "300", &uri, "taker", &[&replaces]).status(),
        200
    );
    let end = w.take(&peer("200"));
    assert_eq!(end.method(), Method::Bye);
    w.answer(&peer("200"), &end, 200, "b");
    assert_eq!(state(&w), (Doing::Resting, 0, 1));
    assert!(joined(&w), "{:?}", tasks(&w));
    assert_eq!(w.core.callers(), 2);
}

fn calls_of(w: &World, user: &str) -> u32 {
    w.core.features().calls_of(&format!("{user}@example.com"))
}

/// 200 calls 300, at whom it rings; meanwhile 100 waits in the queue. 300's INVITE.
fn while_it_rings(w: &mut World) -> Message {
    let there = w.take(&peer("300"));
    w.answer(&peer("300"), &there, 180, "c");
    assert_eq!(calls_of(w, "200"), 1);
    assert_eq!(call(w, "100", "650", "queue", &[]).status(), 200);
    w.wait_s(3);
    assert!(!invited(w), "{:#?}", w.outline());
    there
}

/// Whether an INVITE went to 200.
fn invited(w: &World) -> bool {
    w.sent.iter().any(|s| {
        s.message.is_request()
            && s.message.method() == Method::Invite
            && s.destination.remote() == peer("200").flow.remote
    })
}

/// 200 has no call any more, and that of the queue comes.
fn free_again(w: &mut World) {
    assert_eq!(calls_of(w, "200"), 0);
    w.wait_s(1);
    assert!(invited(w), "{:#?}", w.outline());
}

#[test]
fn an_agent_who_makes_a_call_is_not_rung_until_it_ends() {
    // Refused.
    let mut w = World::with(QUEUE);
    w.register("200", &peer("200"), "");
    w.register("300", &peer("300"), "");
    let refused = call_while(&mut w, "200", "300", "out", |w| {
        let there = while_it_rings(w);
        w.answer(&peer("300"), &there, 486, "c");
    });
    assert_eq!(refused.status(), 486);
    free_again(&mut w);

    // Given up.
    let mut w = World::with(QUEUE);
    w.register("200", &peer("200"), "");
    w.register("300", &peer("300"), "");
    let given_up = call_while(&mut w, "200", "300", "out", |w| {
        let there = while_it_rings(w);
        let mut cancel = req("CANCEL", "sip:300@example.com");
        (cancel.from, cancel.to) = ("sip:200@example.com", "sip:300@example.com");
        (cancel.call_id, cancel.branch, cancel.cseq) = ("out", "z9hG4bKoutp", 2);
        w.send(&peer("200"), &cancel);
        while w.take(&peer("200")).status() != 200 {}
        let cancel = w.take(&peer("300"));
        w.answer(&peer("300"), &cancel, 200, "c");
        w.answer(&peer("300"), &there, 487, "c");
    });
    assert_eq!(given_up.status(), 487);
    free_again(&mut w);

    // Answered, and over.
    let mut w = World::with(QUEUE);
    w.register("200", &peer("200"), "");
    w.register("300", &peer("300"), "");
    let answer = call_while(&mut w, "200", "300", "out", |w| {
        let invite = while_it_rings(w);
        described(w, &peer("300"), &invite, 200, "c", PCMU);
    });
    assert_eq!(answer.status(), 200);
    w.wait_s(3);
    assert!(!invited(&w), "{:#?}", w.outline());
    let (mut tag, mut uri) = (String::new(), String::new());
    let mut bye = within("BYE", &answer, &mut tag, &mut uri);
    (bye.from, bye.call_id, bye.cseq) = ("sip:200@example.com", "out", 9);
    w.send(&peer("200"), &bye);
    assert_eq!(w.take(&peer("300")).method(), Method::Ack);
    let bye = w.take(&peer("300"));
    w.answer(&peer("300"), &bye, 200, "c");
    free_again(&mut w);
}

#[test]
fn a_call_of_two_legs_counts_once_for_each_side() {
    let mut w = World::with(&QUEUE.replace("[\"200\"]", "[\"100\", \"200\"]"));
    let (_, answer) = talking(&mut w);
    assert_eq!((calls_of(&w, "100"), calls_of(&w, "200")), (1, 1));
    let (mut tag, mut uri) = (String::new(), String::new());
    let bye = of_alice("BYE", &answer, (&mut tag, &mut uri), 4);
    w.send(&alice(), &bye);
    let bye = w.take(&bob());
    w.answer(&bob(), &bye, 200, "b");
    assert_eq!((calls_of(&w, "100"), calls_of(&w, "200")), (0, 0));
}
