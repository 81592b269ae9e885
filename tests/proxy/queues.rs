//! Queues, as callers and agents see them: who is free, and until when an agent has a call.

use crate::bridge::{PCMU, described, of_bob, ours, tasks, told};
use crate::parking::{bye, call, peer};
use crate::world::{World, text};
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
    let [.., (a, Task::Bridge { with: b }), (c, Task::Bridge { with: d })] = &tasks[..] else {
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
