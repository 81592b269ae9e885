//! Services behind the proxy, as their callers see them.

use crate::world::{Peer, Req, World, header, req, text, values};
use voip::feature::Change;
use voip::media::{News, Order, Sound, Task};
use voip::relay::MediaCommand;
use voip::server::{Input, MediaNews, MediaOrder};
use voip::wire::sip::{HeaderName, Message, Method};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

const VOICE: &str = "[services]\nannouncements = true\n";

fn caller() -> Peer {
    Peer::udp("192.0.2.20:5062")
}

/// 100 calls; gives the answers but 100.
fn call(w: &mut World, number: &str) -> Message {
    let uri = format!("sip:{number}@example.com");
    let contact = format!("Contact: {}", caller().contact("100"));
    let mut invite = req("INVITE", &uri).extra(&contact);
    (invite.to, invite.body) = (&uri, OFFER);
    w.send_proven(&caller(), &invite, "100");
    answer(w)
}

fn answer(w: &mut World) -> Message {
    loop {
        let answer = w.take(&caller());
        if answer.status() != 100 {
            return answer;
        }
    }
}

/// A request of the caller's in the dialog of an answer.
pub fn within<'a>(
    method: &'a str,
    answer: &Message,
    tag: &'a mut String,
    uri: &'a mut String,
) -> Req<'a> {
    *tag = text(answer.to().unwrap().tag().unwrap());
    let contact = answer.addresses(HeaderName::Contact).next().unwrap();
    *uri = text(contact.unwrap().uri_bytes());
    let mut request = req(method, uri);
    for route in values(answer, HeaderName::RecordRoute).iter().rev() {
        request = request.extra(&format!("Route: {route}"));
    }
    request.to_tag = tag;
    (request.cseq, request.branch) = (2, "z9hG4bKin");
    request
}

/// The session, and whose side of it is ours.
fn opened(w: &World) -> Option<(u64, [bool; 2])> {
    w.orders.iter().rev().find_map(|order| match order {
        MediaOrder::Relay(
            MediaCommand::Open { session, legs } | MediaCommand::Update { session, legs },
        ) => Some((*session, [legs[0].local, legs[1].local])),
        _ => None,
    })
}

fn task(w: &World) -> Option<(u64, u32, &Task)> {
    w.orders.iter().rev().find_map(|order| match order {
        MediaOrder::Studio(Order::Do {
            session,
            task,
            what,
        }) => Some((*session, *task, what)),
        _ => None,
    })
}

/// What plays now is over.
pub fn said(w: &mut World) {
    let (session, task) = task(w).map(|(session, task, _)| (session, task)).unwrap();
    let done = News::Done {
        session,
        task,
        played_ms: 0,
    };
    w.input(Input::Media(MediaNews::Studio(done)));
}

#[test]
fn an_echo_is_a_call_like_any_other() {
    let mut w = World::new();
    let answer = call(&mut w, "*130");
    assert_eq!(answer.status(), 200);
    assert_eq!(values(&answer, HeaderName::RecordRoute).len(), 2);
    let body = text(answer.body());
    // Our own ports, the offer's first format, its events.
    assert!(
        body.contains("m=audio 200") && body.contains(" RTP/AVP 0 101\r\n"),
        "{body}"
    );
    assert!(!body.contains("m=audio 9 "), "{body}");
    let (session, local) = opened(&w).unwrap();
    assert_eq!(local, [false, true]);
    // The introduction, then the echo.
    assert!(matches!(task(&w), Some((_, 0, Task::Play { .. }))));
    said(&mut w);
    assert_eq!(task(&w), Some((session, 1, &Task::Echo)));
    let (mut tag, mut uri) = (String::new(), String::new());
    let ack = within("ACK", &answer, &mut tag, &mut uri);
    w.send(&caller(), &ack);
    w.wait_s(60);
    w.nothing();
    let (mut tag, mut uri) = (String::new(), String::new());
    let bye = within("BYE", &answer, &mut tag, &mut uri);
    w.send(&caller(), &bye);
    assert_eq!(w.status(&caller()), 200);
    assert!(
        w.orders
            .contains(&MediaOrder::Studio(Order::Close { session }))
    );
    w.wait_s(60);
    w.nothing();
    assert_eq!(w.core.load(), (0, 0));
}

#[test]
fn an_answer_is_repeated_and_without_ack_the_call_ends() {
    let mut w = World::new();
    let answer = call(&mut w, "*130");
    w.wait_s(2);
    let again = w.take(&caller());
    assert_eq!(again.status(), 200);
    assert_eq!(again.to().unwrap().tag(), answer.to().unwrap().tag());
    w.sent.clear();
    w.wait_s(31);
    let bye = w.sent.iter().find(|s| s.message.method() == Method::Bye);
    let bye = bye.map(|sent| sent.message.clone()).unwrap();
    assert_eq!(bye.request_uri(), b"sip:100@192.0.2.20:5062");
    w.answer(&caller(), &bye, 200, "x");
    w.wait_s(64);
    assert_eq!(w.core.load(), (0, 0));
}

#[test]
fn strangers_reach_no_code() {
    let mut w = World::with("guests = true");
    let stranger = Peer::udp("203.0.113.9:5060");
    let mut invite = req("INVITE", "sip:*130@example.com").extra("Contact: <sip:x@203.0.113.9>");
    (invite.from, invite.to) = ("sip:x@example.org", "sip:*130@example.com");
    invite.body = OFFER;
    w.send(&stranger, &invite);
    let mut status = 100;
    while status == 100 {
        status = w.status(&stranger);
    }
    assert_eq!(status, 480);
}

#[test]
fn who_calls_a_number_that_is_none_hears_so() {
    let mut w = World::with(VOICE);
    let early = call(&mut w, "777");
    assert_eq!(early.status(), 183);
    assert_eq!(opened(&w).unwrap().1, [false, true]);
    let (_, _, what) = task(&w).unwrap();
    let Task::Play { sounds, .. } = what else {
        panic!("{what:?}")
    };
    assert!(sounds.iter().any(|s| matches!(s, Sound::Prompt { .. })));
    said(&mut w);
    assert_eq!(answer(&mut w).status(), 404);
    // Without announcements at once.
    let mut w = World::new();
    assert_eq!(call(&mut w, "777").status(), 404);
}

#[test]
fn who_is_not_answered_hears_so_in_the_same_call() {
    let mut w = World::with(VOICE);
    let phone = Peer::udp("192.0.2.21:5060");
    w.register("200", &phone, "");
    let uri = "sip:200@example.com";
    let contact = format!("Contact: {}", caller().contact("100"));
    let mut invite = req("INVITE", uri).extra(&contact);
    (invite.to, invite.body) = (uri, OFFER);
    w.send_proven(&caller(), &invite, "100");
    let there = w.take(&phone);
    w.answer(&phone, &there, 180, "t");
    assert_eq!(answer(&mut w).status(), 180);
    w.answer(&phone, &there, 480, "t");
    assert_eq!(w.take(&phone).method(), Method::Ack);
    let early = answer(&mut w);
    assert_eq!(early.status(), 183, "{early:?}");
    said(&mut w);
    let failed = answer(&mut w);
    assert_eq!(failed.status(), 480);
    // The phone's own answer, which it was kept back for.
    assert!(header(&failed, HeaderName::To).ends_with(";tag=t"));
}

#[test]
fn busy_is_answered_at_once() {
    let mut w = World::with(VOICE);
    let phone = Peer::udp("192.0.2.21:5060");
    w.register("200", &phone, "");
    let contact = format!("Contact: {}", caller().contact("100"));
    let mut invite = req("INVITE", "sip:200@example.com").extra(&contact);
    invite.body = OFFER;
    w.send_proven(&caller(), &invite, "100");
    let there = w.take(&phone);
    w.answer(&phone, &there, 486, "t");
    assert_eq!(w.take(&phone).method(), Method::Ack);
    assert_eq!(answer(&mut w).status(), 486);
}

#[test]
fn a_caller_that_gives_up_is_let_go() {
    let mut w = World::with(VOICE);
    assert_eq!(call(&mut w, "777").status(), 183);
    let mut cancel = req("CANCEL", "sip:777@example.com");
    (cancel.to, cancel.cseq, cancel.branch) = ("sip:777@example.com", 2, "z9hG4bKa1p");
    w.send(&caller(), &cancel);
    let answers = [w.take(&caller()), w.take(&caller())];
    let mut statuses = answers.map(|m| (m.status(), m.cseq().unwrap().method.to_string()));
    statuses.sort();
    let expected = [(200, "CANCEL".to_owned()), (487, "INVITE".to_owned())];
    assert_eq!(statuses, expected);
    assert!(matches!(
        w.orders.last(),
        Some(MediaOrder::Relay(MediaCommand::Close { .. }))
            | Some(MediaOrder::Studio(Order::Close { .. }))
    ));
}

#[test]
fn a_code_is_confirmed_by_voice() {
    let mut w = World::with(VOICE);
    let answer = call(&mut w, "*78");
    assert_eq!(answer.status(), 200);
    let (mut tag, mut uri) = (String::new(), String::new());
    let ack = within("ACK", &answer, &mut tag, &mut uri);
    w.send(&caller(), &ack);
    let settings = w.core.features().settings("100@example.com");
    assert!(settings.is_some_and(|s| s.dnd));
    said(&mut w);
    let bye = w.take(&caller());
    assert_eq!(bye.method(), Method::Bye);
    w.answer(&caller(), &bye, 200, "x");
    let change = Change::Dnd(false);
    w.core
        .features()
        .change("100@example.com", &change)
        .unwrap();
}

/// What the studio was told last to say, by the names of prompts.
pub fn prompts_said(w: &World) -> Vec<String> {
    let last = w.orders.iter().rev().find_map(|order| match order {
        MediaOrder::Studio(Order::Do {
            what: Task::Play { sounds, .. },
            ..
        }) => Some(sounds),
        _ => None,
    });
    let prompts = last.into_iter().flatten().filter_map(|sound| match sound {
        Sound::Prompt { name, .. } => Some(name.to_string()),
        _ => None,
    });
    prompts.collect()
}
