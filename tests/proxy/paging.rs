//! Paging, as phones see it: all members' phones at once, asked to answer by themselves.

use crate::bridge;
use crate::parking::{bye, call, last_tasks, peer};
use crate::world::{World, header};
use voip::feature::Change;
use voip::media::Task;
use voip::wire::sip::{HeaderName, Method};

const PAGE: &str = "[[page]]\nname = \"hall\"\nnumber = \"*50\"\n\
    members = [\"100\", \"200\", \"300\", \"400\"]\ncallers = [\"100\", \"500\"]\n";

#[test]
fn phones_answer_and_hear_until_the_caller_hangs_up() {
    let mut w = World::with(PAGE);
    for user in ["200", "300", "400"] {
        w.register(user, &peer(user), "");
    }
    let features = w.core.features();
    features
        .change("400@example.com", &Change::Dnd(true))
        .unwrap();
    let speaks = call(&mut w, "100", "*50", "page", &[]);
    assert_eq!(speaks.status(), 200);
    let mut invites = Vec::new();
    for user in ["200", "300"] {
        let invite = w.take(&peer(user));
        assert_eq!(invite.method(), Method::Invite);
        let call_info = header(&invite, HeaderName::CallInfo);
        assert!(call_info.ends_with(";answer-after=0"), "{call_info}");
        let alert_info = header(&invite, HeaderName::AlertInfo);
        assert!(alert_info.contains("info=alert-autoanswer"), "{alert_info}");
        assert!(header(&invite, HeaderName::From).contains("sip:100@example.com"));
        invites.push(invite);
    }
    // 400 wants no calls.
    w.nothing();
    bridge::described(&mut w, &peer("200"), &invites[0], 200, "b", bridge::PCMU);
    assert_eq!(w.take(&peer("200")).method(), Method::Ack);
    let tasks = last_tasks(&w);
    let Some(Task::Join(join)) = tasks.last() else {
        panic!("{tasks:?}")
    };
    assert!(join.muted);
    // One phone does not know how to answer by itself: it stops ringing.
    w.answer(&peer("300"), &invites[1], 180, "c");
    w.wait_s(11);
    let cancel = w.take(&peer("300"));
    assert_eq!(cancel.method(), Method::Cancel);
    w.sent.clear();
    w.answer(&peer("300"), &cancel, 200, "c");
    w.answer(&peer("300"), &invites[1], 487, "c");
    assert_eq!(w.take(&peer("300")).method(), Method::Ack);
    bye(&mut w, "100", &speaks);
    let end = w.take(&peer("200"));
    assert_eq!(end.method(), Method::Bye);
    w.answer(&peer("200"), &end, 200, "x");
    w.wait_s(64);
    assert_eq!(w.core.callers(), 0);
}

#[test]
fn who_makes_a_call_is_left_alone() {
    let mut w = World::with(PAGE);
    for user in ["200", "300"] {
        w.register(user, &peer(user), "");
    }
    let echo = call(&mut w, "300", "*130", "echo", &[]);
    assert_eq!(call(&mut w, "100", "*50", "page", &[]).status(), 200);
    assert_eq!(w.take(&peer("200")).method(), Method::Invite);
    w.nothing();
    bye(&mut w, "300", &echo);
    assert_eq!(call(&mut w, "500", "*50", "again", &[]).status(), 200);
    assert_eq!(w.take(&peer("300")).method(), Method::Invite);
}

#[test]
fn a_caller_who_gives_up_leaves_no_phone_ringing() {
    let mut w = World::with(PAGE);
    w.register("200", &peer("200"), "");
    let speaks = call(&mut w, "100", "*50", "page", &[]);
    let invite = w.take(&peer("200"));
    w.answer(&peer("200"), &invite, 180, "b");
    bye(&mut w, "100", &speaks);
    let cancel = w.take(&peer("200"));
    assert_eq!(cancel.method(), Method::Cancel);
    w.answer(&peer("200"), &cancel, 200, "b");
    w.answer(&peer("200"), &invite, 487, "b");
    assert_eq!(w.take(&peer("200")).method(), Method::Ack);
    w.wait_s(64);
    assert_eq!(w.core.callers(), 0);
}

#[test]
fn a_phone_that_wants_secure_sound_is_asked_again() {
    let mut w = World::with(PAGE);
    w.register("200", &peer("200"), "");
    call(&mut w, "100", "*50", "page", &[]);
    let clear = w.take(&peer("200"));
    w.answer(&peer("200"), &clear, 488, "b");
    assert_eq!(w.take(&peer("200")).method(), Method::Ack);
    let secure = w.take(&peer("200"));
    assert!(crate::world::text(secure.body()).contains("RTP/SAVP"));
    assert!(header(&secure, HeaderName::CallInfo).ends_with(";answer-after=0"));
}

#[test]
fn not_everybody_may_speak_to_all() {
    let mut w = World::with(PAGE);
    w.register("200", &peer("200"), "");
    assert_eq!(call(&mut w, "300", "*50", "page", &[]).status(), 403);
    w.nothing();
    assert_eq!(call(&mut w, "500", "*50", "page2", &[]).status(), 200);
    assert_eq!(w.take(&peer("200")).method(), Method::Invite);
}
