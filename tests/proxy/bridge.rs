//! Phones without a common codec, brought together: a B2BUA (RFC 7092) behind the proxy.

use crate::services::within;
use crate::world::{Peer, Req, World, header, req, text, values};
use voip::feature::Change;
use voip::media::tone::{Country, Tone};
use voip::media::{Order, Sound, Task};
use voip::relay::MediaCommand;
use voip::server::MediaOrder;
use voip::wire::rtp::Coding;
use voip::wire::sip::{HeaderName, Message, Method, ResponseBuilder};

pub const PCMA: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
pub const PCMU: &str = "v=0\r\no=- 2 1 IN IP4 192.0.2.21\r\ns=-\r\nc=IN IP4 192.0.2.21\r\nt=0 0\r\n\
    m=audio 5000 RTP/AVP 0 96\r\na=rtpmap:96 telephone-event/8000\r\n";
pub const PCMU_HELD: &str = "v=0\r\no=- 2 2 IN IP4 192.0.2.21\r\ns=-\r\nc=IN IP4 192.0.2.21\r\nt=0 0\r\n\
    m=audio 5000 RTP/AVP 0 96\r\na=rtpmap:96 telephone-event/8000\r\na=sendonly\r\n";

pub fn alice() -> Peer {
    Peer::udp("192.0.2.20:5062")
}

pub fn bob() -> Peer {
    Peer::udp("192.0.2.21:5060")
}

/// 100, whose offer is `PCMA`, calls 200: what 200 gets.
fn called(w: &mut World) -> Message {
    w.register("200", &bob(), "");
    let uri = "sip:200@example.com";
    let contact = format!("Contact: {}", alice().contact("100"));
    let mut invite = req("INVITE", uri).extra(&contact);
    (invite.to, invite.body) = (uri, PCMA);
    w.send_proven(&alice(), &invite, "100");
    w.take(&bob())
}

/// 100 calls 200, who knows none of its codecs: what 200 gets next.
pub fn refused_for_codecs(w: &mut World) -> Message {
    let first = called(w);
    w.answer(&bob(), &first, 488, "t1");
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    w.take(&bob())
}

pub fn at_alice(w: &mut World) -> Message {
    loop {
        let message = w.take(&alice());
        if message.is_request() || message.status() != 100 {
            return message;
        }
    }
}

pub fn described(
    w: &mut World,
    peer: &Peer,
    request: &Message,
    status: u16,
    tag: &str,
    body: &str,
) {
    let contact = peer.contact("x");
    let response = ResponseBuilder::new(request, status)
        .to_tag(tag.as_bytes())
        .record_route()
        .header(HeaderName::Contact, contact.as_bytes())
        .body("application/sdp", body.as_bytes().to_vec());
    let bytes = response.render();
    w.from(peer, bytes);
}

/// A request of 200's in the dialog of the INVITE that it got.
pub fn of_bob<'a>(
    method: &'a str,
    invite: &'a Message,
    uri: &'a str,
    cseq: u32,
    (local, remote): (&'a str, &'a str),
) -> Req<'a> {
    let mut request = req(method, uri);
    for route in values(invite, HeaderName::RecordRoute) {
        request = request.extra(&format!("Route: {route}"));
    }
    (request.from, request.from_tag) = ("sip:200@example.com", local);
    (request.to, request.to_tag) = ("sip:100@example.com", remote);
    request.call_id = std::str::from_utf8(invite.call_id()).unwrap();
    let branches = ["z9hG4bKb0", "z9hG4bKb1", "z9hG4bKb2"];
    (request.cseq, request.branch) = (cseq, branches[cseq as usize]);
    request
}

pub fn tasks(w: &World) -> Vec<(u64, Task)> {
    let tasks = w.orders.iter().filter_map(|order| match order {
        MediaOrder::Studio(Order::Do { session, what, .. }) => Some((*session, what.clone())),
        _ => None,
    });
    tasks.collect()
}

/// What the studio was told of formats: session and coding.
pub fn formats(w: &World) -> Vec<(u64, Coding)> {
    let opened = w.orders.iter().filter_map(|order| match order {
        MediaOrder::Studio(Order::Open {
            session, format, ..
        }) => Some((*session, format.coding)),
        _ => None,
    });
    opened.collect()
}

/// Both talk: the INVITE that 200 got, and the 200 that 100 got.
pub fn talking(w: &mut World) -> (Message, Message) {
    talking_as(w, PCMU)
}

/// The same with what 200 answers.
pub fn talking_as(w: &mut World, answer: &str) -> (Message, Message) {
    let invite = refused_for_codecs(w);
    w.answer(&bob(), &invite, 180, "b");
    assert_eq!(at_alice(w).status(), 180);
    described(w, &bob(), &invite, 200, "b", answer);
    let answer = at_alice(w);
    assert_eq!(answer.status(), 200);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    let (mut tag, mut uri) = (String::new(), String::new());
    let ack = of_alice("ACK", &answer, (&mut tag, &mut uri), 2);
    w.send(&alice(), &ack);
    (invite, answer)
}

pub fn of_alice<'a>(
    method: &'a str,
    answer: &Message,
    (tag, uri): (&'a mut String, &'a mut String),
    cseq: u32,
) -> Req<'a> {
    let mut request = within(method, answer, tag, uri);
    request.cseq = cseq;
    request
}

/// Where requests in the dialog of an INVITE of ours go, and our tag in it.
pub fn ours(invite: &Message) -> (String, String) {
    let contact = invite.addresses(HeaderName::Contact).next().unwrap();
    let tag = invite.from().unwrap().tag().unwrap();
    (text(contact.unwrap().uri_bytes()), text(tag))
}

#[test]
fn a_codec_gap_is_bridged_in_the_same_call() {
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    // It is a call of its own, by whom called; nothing tells of the path inside.
    assert_eq!(invite.method(), Method::Invite);
    assert!(header(&invite, HeaderName::From).contains("sip:100@example.com"));
    assert!(!text(invite.bytes()).contains("X-Voip-Account"));
    let offer = text(invite.body());
    assert!(offer.contains(" RTP/AVP 8 0 9 3 101\r\n"), "{offer}");
    assert!(!offer.contains("m=audio 9 "), "{offer}");
    described(&mut w, &bob(), &invite, 200, "b", PCMU);
    let answer = at_alice(&mut w);
    assert_eq!(answer.status(), 200);
    let body = text(answer.body());
    assert!(body.contains(" RTP/AVP 8 101\r\n"), "{body}");
    // Each side has its own format, and hears the other.
    let formats = formats(&w);
    let [(called, Coding::Pcmu), (caller, Coding::Pcma)] = formats[..] else {
        panic!("{formats:?}")
    };
    let joined = [
        (caller, Task::Bridge { with: called }),
        (called, Task::Bridge { with: caller }),
    ];
    assert_eq!(tasks(&w), joined);
}

#[test]
fn either_side_ends_a_bridged_call() {
    for who in ["alice", "bob"] {
        let mut w = World::new();
        let (invite, answer) = talking(&mut w);
        let (mut tag, mut uri) = (String::new(), String::new());
        match who {
            "alice" => {
                let bye = of_alice("BYE", &answer, (&mut tag, &mut uri), 3);
                w.send(&alice(), &bye);
                assert_eq!(at_alice(&mut w).status(), 200);
                let bye = w.take(&bob());
                assert_eq!(bye.method(), Method::Bye);
                w.answer(&bob(), &bye, 200, "b");
            }
            _ => {
                let (uri, tag) = ours(&invite);
                let bye = of_bob("BYE", &invite, &uri, 1, ("b", &tag));
                w.send(&bob(), &bye);
                assert_eq!(w.status(&bob()), 200);
                let bye = at_alice(&mut w);
                assert_eq!(bye.method(), Method::Bye);
                w.answer(&alice(), &bye, 200, "x");
            }
        }
        w.wait_s(64);
        w.nothing();
        assert_eq!(w.core.load(), (0, 0), "{who}");
        assert_eq!(w.core.callers(), 0, "{who}");
        let closed = |o: &&MediaOrder| matches!(o, MediaOrder::Relay(MediaCommand::Close { .. }));
        assert_eq!(w.orders.iter().filter(closed).count(), 2, "{who}");
    }
}

#[test]
fn who_is_held_hears_music() {
    let mut w = World::new();
    let (invite, _) = talking(&mut w);
    let (uri, tag) = ours(&invite);
    let caller = formats(&w)[1].0;
    for (cseq, body, held) in [(1, PCMU_HELD, true), (2, PCMU, false)] {
        let contact = format!("Contact: {}", bob().contact("200"));
        let mut hold = of_bob("INVITE", &invite, &uri, cseq, ("b", &tag)).extra(&contact);
        hold.body = body;
        w.send(&bob(), &hold);
        let mut answer = w.take(&bob());
        while answer.status() == 100 {
            answer = w.take(&bob());
        }
        assert_eq!(answer.status(), 200);
        let direction = if held { "recvonly" } else { "sendrecv" };
        assert!(text(answer.body()).contains(direction));
        w.send(&bob(), &of_bob("ACK", &invite, &uri, cseq, ("b", &tag)));
        let tasks = tasks(&w);
        let last = tasks.iter().rfind(|(session, _)| *session == caller);
        match &last.unwrap().1 {
            Task::Play { sounds, rounds, .. } => {
                assert!(held && rounds.is_none() && sounds[..] == [Sound::Music]);
            }
            other => assert!(!held && matches!(other, Task::Bridge { .. }), "{other:?}"),
        }
    }
}

/// What is under way in the studio goes on: sound in the jitter buffer, keys, music.
#[test]
fn an_offer_that_changes_nothing_leaves_the_studio_as_it_is() {
    let mut w = World::new();
    let (_, answer) = talking(&mut w);
    let mut cseq = 3;
    let mut asked = tasks(&w).len();
    for (method, body, changes) in [
        ("INVITE", PCMA.to_owned(), 0),
        ("UPDATE", PCMA.to_owned(), 0),
        ("INVITE", format!("{PCMA}a=sendonly\r\n"), 2),
        ("UPDATE", format!("{PCMA}a=sendonly\r\n"), 0),
        ("UPDATE", String::new(), 0),
        ("INVITE", PCMA.to_owned(), 2),
        ("INVITE", PCMA.to_owned(), 0),
    ] {
        cseq += 1;
        let (mut tag, mut uri) = (String::new(), String::new());
        let branch = format!("z9hG4bKagain{cseq}");
        let mut again = of_alice(method, &answer, (&mut tag, &mut uri), cseq);
        again = again.extra(&format!("Contact: {}", alice().contact("100")));
        (again.body, again.branch) = (&body, &branch);
        w.send(&alice(), &again);
        assert_eq!(at_alice(&mut w).status(), 200, "{method}");
        if method == "INVITE" {
            let mut ack = of_alice("ACK", &answer, (&mut tag, &mut uri), cseq);
            let branch = format!("{branch}ack");
            ack.branch = &branch;
            w.send(&alice(), &ack);
        }
        let now = tasks(&w).len();
        assert_eq!(now - asked, changes, "{method} {body}: {:?}", tasks(&w));
        asked = now;
    }
}

#[test]
fn a_bridge_that_fails_tells_the_callers_why() {
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    w.answer(&bob(), &invite, 486, "b");
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    assert_eq!(at_alice(&mut w).status(), 486);
    // Once more without a codec in common: no bridge of bridges.
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    w.answer(&bob(), &invite, 488, "b");
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    let secure = w.take(&bob());
    w.answer(&bob(), &secure, 488, "b");
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    assert_eq!(at_alice(&mut w).status(), 488);
    w.wait_s(64);
    assert_eq!((w.core.load(), w.core.callers()), ((0, 0), 0));
}

/// Neither by a redirect nor by a transfer: nobody dialled those.
#[test]
fn who_is_called_runs_no_code_of_its_caller() {
    for code in ["*72600666666", "%2A72600666666", "*61915550100"] {
        let mut w = World::new();
        let invite = refused_for_codecs(&mut w);
        let contact = format!("<sip:{code}@example.com>");
        let moved = [(HeaderName::Contact, contact.as_str())];
        w.answer_with(&bob(), &invite, 302, "b", &moved);
        assert_eq!(w.take(&bob()).method(), Method::Ack);
        assert!(at_alice(&mut w).status() >= 300, "{code}");
        let settings = w.core.features().settings("100@example.com");
        assert!(settings.is_none(), "{code}: {settings:?}");
        let mut w = World::new();
        let (invite, _) = talking(&mut w);
        let (uri, tag) = ours(&invite);
        let refer = of_bob("REFER", &invite, &uri, 1, ("b", &tag));
        let own = format!("Contact: {}", bob().contact("200"));
        let to = format!("Refer-To: <sip:{code}@example.com>");
        w.send(&bob(), &refer.extra(&own).extra(&to));
        assert_eq!(w.status(&bob()), 202);
        w.wait_s(1);
        for user in ["100", "200"] {
            let settings = w.core.features().settings(&format!("{user}@example.com"));
            assert!(settings.is_none(), "{code}: {settings:?}");
        }
    }
}

#[test]
fn a_caller_that_gives_up_cancels_the_other_side() {
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    w.answer(&bob(), &invite, 180, "b");
    assert_eq!(at_alice(&mut w).status(), 180);
    let mut cancel = req("CANCEL", "sip:200@example.com");
    (cancel.to, cancel.cseq, cancel.branch) = ("sip:200@example.com", 2, "z9hG4bKa1p");
    w.send(&alice(), &cancel);
    let there = w.take(&bob());
    assert_eq!(there.method(), Method::Cancel);
    w.answer(&bob(), &there, 200, "b");
    w.answer(&bob(), &invite, 487, "b");
    let mut statuses = [at_alice(&mut w).status(), at_alice(&mut w).status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 487]);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    w.wait_s(64);
    assert_eq!((w.core.load(), w.core.callers()), ((0, 0), 0));
}

#[test]
fn without_transcoding_the_refusal_stands() {
    let mut w = World::with("[services]\ntranscoding = false\n");
    w.register("200", &bob(), "");
    let uri = "sip:200@example.com";
    let contact = format!("Contact: {}", alice().contact("100"));
    let mut invite = req("INVITE", uri).extra(&contact);
    (invite.to, invite.body) = (uri, PCMA);
    w.send_proven(&alice(), &invite, "100");
    let first = w.take(&bob());
    w.answer(&bob(), &first, 488, "t1");
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    assert_eq!(at_alice(&mut w).status(), 488);
    w.nothing();
}

pub fn carol() -> Peer {
    Peer::udp("192.0.2.22:5060")
}

/// The status lines that NOTIFYs to a peer told, each of which is answered.
pub fn told(w: &mut World, peer: &Peer) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(at) = w
        .sent
        .iter()
        .position(|s| header(&s.message, HeaderName::Event) == "refer")
    {
        let notify = w.sent.remove(at).unwrap().message;
        assert_eq!(notify.method(), Method::Notify);
        let state = header(&notify, HeaderName::SubscriptionState);
        let line = text(notify.body()).trim().replacen("SIP/2.0 ", "", 1);
        lines.push(format!("{} {line}", state.split(';').next().unwrap()));
        w.answer(peer, &notify, 200, "n");
    }
    lines
}

/// 200, called over the bridge, transfers its caller to 300; what 300 gets.
fn transferred(w: &mut World, target: &str) -> Message {
    w.register("300", &carol(), "");
    let (invite, _) = talking(w);
    let (uri, tag) = ours(&invite);
    let refer = of_bob("REFER", &invite, &uri, 1, ("b", &tag));
    let own = format!("Contact: {}", bob().contact("200"));
    let refer = refer.extra(&own).extra(&format!("Refer-To: <{target}>"));
    w.send(&bob(), &refer);
    assert_eq!(w.status(&bob()), 202);
    assert_eq!(told(w, &bob()), ["active 100 Trying"]);
    w.take(&carol())
}

#[test]
fn the_called_side_transfers_its_caller() {
    let mut w = World::new();
    let there = transferred(&mut w, "sip:300@example.com");
    assert_eq!(there.method(), Method::Invite);
    // The caller is shown; who transfers is named, and it goes on its account.
    assert!(header(&there, HeaderName::From).contains("sip:100@example.com"));
    assert!(header(&there, HeaderName::ReferredBy).contains("sip:200@example.com"));
    w.answer(&carol(), &there, 180, "c");
    assert_eq!(told(&mut w, &bob()), ["active 180 Ringing"]);
    let Some((_, Task::Play { sounds, .. })) = tasks(&w).pop() else {
        panic!("{:?}", tasks(&w))
    };
    assert!(matches!(sounds[..], [Sound::Tone { .. }]));
    described(&mut w, &carol(), &there, 200, "c", PCMU);
    assert_eq!(w.take(&carol()).method(), Method::Ack);
    assert_eq!(told(&mut w, &bob()), ["terminated 200 OK"]);
    let bye = w.take(&bob());
    assert_eq!(bye.method(), Method::Bye);
    w.answer(&bob(), &bye, 200, "b");
    // 100 and 300 hear each other.
    let tasks = tasks(&w);
    let [
        ..,
        (a, Task::Bridge { with: c }),
        (c2, Task::Bridge { with: a2 }),
    ] = &tasks[..]
    else {
        panic!("{tasks:?}")
    };
    assert_eq!((a, c), (a2, c2));
    // 300 hangs up, so does the call.
    let (uri, tag) = ours(&there);
    let mut bye = of_bob("BYE", &there, &uri, 1, ("c", &tag));
    bye.from = "sip:300@example.com";
    w.send(&carol(), &bye);
    assert_eq!(w.status(&carol()), 200);
    let bye = at_alice(&mut w);
    assert_eq!(bye.method(), Method::Bye);
    w.answer(&alice(), &bye, 200, "x");
    w.wait_s(64);
    assert_eq!((w.core.load(), w.core.callers()), ((0, 0), 0));
}

#[test]
fn who_waits_for_a_transfer_hears_what_the_called_user_chose() {
    let mut w = World::new();
    let change = Change::set("ringback", "music").unwrap();
    let features = w.core.features();
    features.change("300@example.com", &change).unwrap();
    let there = transferred(&mut w, "sip:300@example.com");
    for _ in 0..2 {
        w.answer(&carol(), &there, 180, "c");
    }
    // Once, however often it is told.
    let plays = |(_, task): &(u64, Task)| match task {
        Task::Play { sounds, .. } => Some(sounds.clone()),
        _ => None,
    };
    let played: Vec<Vec<Sound>> = tasks(&w).iter().filter_map(plays).collect();
    assert_eq!(played, [vec![Sound::Music]]);
}

#[test]
fn a_transfer_that_fails_changes_nothing() {
    let mut w = World::new();
    let there = transferred(&mut w, "sip:300@example.com");
    w.answer(&carol(), &there, 486, "c");
    assert_eq!(w.take(&carol()).method(), Method::Ack);
    assert_eq!(told(&mut w, &bob()), ["terminated 486 Busy Here"]);
    let formats = formats(&w);
    let (called, caller) = (formats[0].0, formats[1].0);
    let joined = [
        (caller, Task::Bridge { with: called }),
        (called, Task::Bridge { with: caller }),
    ];
    let tasks = tasks(&w);
    assert_eq!(tasks[tasks.len() - 2..], joined);
    assert_eq!(w.core.callers(), 2);
}

#[test]
fn an_attended_transfer_names_the_dialog_to_replace() {
    let mut w = World::new();
    let target = "sip:300@example.com?Replaces=abc%40192.0.2.21%3Bto-tag%3Dt%3Bfrom-tag%3Df";
    let there = transferred(&mut w, target);
    assert_eq!(there.request_uri(), b"sip:300@192.0.2.22:5060");
    let replaces = header(&there, HeaderName::Replaces);
    assert_eq!(replaces, "abc@192.0.2.21;to-tag=t;from-tag=f");
}

#[test]
fn nobody_is_transferred_to_the_outside_by_a_stranger_s_number() {
    // 200 is a user of ours: its account decides, as if it called itself.
    let mut w = World::new();
    let (invite, _) = talking(&mut w);
    let (uri, tag) = ours(&invite);
    for (cseq, refer_to, status) in [(1, "<sip:300@example.com;method=BYE>", 501), (2, "<>", 400)] {
        let refer = of_bob("REFER", &invite, &uri, cseq, ("b", &tag));
        w.send(&bob(), &refer.extra(&format!("Refer-To: {refer_to}")));
        assert_eq!(w.status(&bob()), status, "{refer_to}");
    }
}

#[test]
fn the_caller_transfers_whom_it_called() {
    let mut w = World::new();
    w.register("300", &carol(), "");
    let (_, answer) = talking(&mut w);
    let (mut tag, mut uri) = (String::new(), String::new());
    let own = format!("Contact: {}", alice().contact("100"));
    let refer = of_alice("REFER", &answer, (&mut tag, &mut uri), 3);
    let refer = refer.extra(&own).extra("Refer-To: <sip:300@example.com>");
    w.send(&alice(), &refer);
    assert_eq!(at_alice(&mut w).status(), 202);
    assert_eq!(told(&mut w, &alice()), ["active 100 Trying"]);
    let there = w.take(&carol());
    assert!(header(&there, HeaderName::From).contains("sip:200@example.com"));
    described(&mut w, &carol(), &there, 200, "c", PCMU);
    assert_eq!(w.take(&carol()).method(), Method::Ack);
    assert_eq!(told(&mut w, &alice()), ["terminated 200 OK"]);
    let bye = at_alice(&mut w);
    assert_eq!(bye.method(), Method::Bye);
    w.answer(&alice(), &bye, 200, "x");
    assert_eq!(w.core.callers(), 2);
}

#[test]
fn a_leg_of_ours_is_replaced() {
    let mut w = World::new();
    w.register("300", &carol(), "");
    let (_, answer) = talking(&mut w);
    let far = text(answer.from().unwrap().tag().unwrap());
    let ours = text(answer.to().unwrap().tag().unwrap());
    let contact = answer.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(contact.unwrap().uri_bytes());
    let own = format!("Contact: {}", carol().contact("300"));
    for (tag, branch, status) in [("nobody", "z9hG4bK71", 481), (&*ours, "z9hG4bK72", 200)] {
        let replaces = format!("Replaces: call-1;to-tag={tag};from-tag={far}");
        let mut invite = req("INVITE", &uri).extra(&own).extra(&replaces);
        (invite.from, invite.to) = ("sip:300@example.com", &uri);
        (invite.call_id, invite.branch, invite.body) = (tag, branch, PCMA);
        w.send_proven(&carol(), &invite, "300");
        let mut got = w.take(&carol());
        while got.status() == 100 {
            got = w.take(&carol());
        }
        assert_eq!(got.status(), status);
    }
    let bye = at_alice(&mut w);
    assert_eq!(bye.method(), Method::Bye);
    let tasks = tasks(&w);
    let [
        ..,
        (a, Task::Bridge { with: b }),
        (b2, Task::Bridge { with: a2 }),
    ] = &tasks[..]
    else {
        panic!("{tasks:?}")
    };
    assert_eq!((a, b), (a2, b2));
    assert_eq!(w.core.callers(), 2);
}

/// RFC 3891 §3: what is refused leaves the dialog that it wanted to replace as it was.
#[test]
fn a_replacement_that_cannot_be_answered_changes_nothing() {
    let mut w = World::new();
    w.register("300", &carol(), "");
    let (invite, answer) = talking(&mut w);
    let far = text(answer.from().unwrap().tag().unwrap());
    let tag = text(answer.to().unwrap().tag().unwrap());
    let contact = answer.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(contact.unwrap().uri_bytes());
    let own = format!("Contact: {}", carol().contact("300"));
    let replaces = format!("Replaces: call-1;to-tag={tag};from-tag={far}");
    let orders = w.orders.len();
    let nobody_s = PCMA.replace("RTP/AVP 8 101", "RTP/AVP 18 101");
    let mut other = req("INVITE", &uri).extra(&own).extra(&replaces);
    (other.from, other.to) = ("sip:300@example.com", &uri);
    (other.call_id, other.branch, other.body) = ("other", "z9hG4bK73", &nobody_s);
    w.send_proven(&carol(), &other, "300");
    let mut got = w.take(&carol());
    while got.status() == 100 {
        got = w.take(&carol());
    }
    assert_eq!(got.status(), 488);
    // The two that talk hear nothing of it, and each still ends the call of the other.
    w.nothing();
    assert_eq!(w.core.callers(), 2);
    let studio = w.orders[orders..].iter();
    let changed: Vec<_> = studio
        .filter(|order| matches!(order, MediaOrder::Studio(_)))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    let (uri, tag) = ours(&invite);
    let bye = of_bob("BYE", &invite, &uri, 1, ("b", &tag));
    w.send(&bob(), &bye);
    assert_eq!(w.status(&bob()), 200);
    assert_eq!(at_alice(&mut w).method(), Method::Bye);
}

const SECURE: &str = "v=0\r\no=- 2 1 IN IP4 192.0.2.21\r\ns=-\r\nc=IN IP4 192.0.2.21\r\nt=0 0\r\n\
    m=audio 5000 RTP/SAVP 8\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n";

#[test]
fn who_wants_secure_sound_gets_a_secure_offer() {
    let mut w = World::new();
    let clear = refused_for_codecs(&mut w);
    assert!(text(clear.body()).contains(" RTP/AVP "));
    w.answer(&bob(), &clear, 488, "b");
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    let secure = w.take(&bob());
    let offer = text(secure.body());
    assert!(
        offer.contains(" RTP/SAVP 8 ") && offer.contains("a=crypto:1 AES_CM"),
        "{offer}"
    );
    described(&mut w, &bob(), &secure, 200, "b", SECURE);
    let answer = at_alice(&mut w);
    assert_eq!(answer.status(), 200);
    assert!(text(answer.body()).contains(" RTP/AVP 8 101"));
    let keys = w.orders.iter().filter_map(|order| match order {
        MediaOrder::Studio(Order::Open { format, .. }) => Some(format.keys.is_some()),
        _ => None,
    });
    assert_eq!(keys.collect::<Vec<_>>(), [true, false]);
}

/// 200 answers with these lines in its 200, or any other status.
pub fn with_lines(w: &mut World, request: &Message, status: u16, lines: &[(HeaderName, &str)]) {
    let contact = bob().contact("x");
    let mut response = ResponseBuilder::new(request, status)
        .to_tag("b")
        .record_route()
        .header(HeaderName::Contact, contact.as_bytes());
    for (name, value) in lines {
        response = response.header(*name, *value);
    }
    if request.method() == Method::Invite {
        response = response.body("application/sdp", PCMU.as_bytes().to_vec());
    }
    let bytes = response.render();
    w.from(&bob(), bytes);
}

#[test]
fn a_reliable_ringing_is_acknowledged() {
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    assert!(header(&invite, HeaderName::Supported).contains("100rel"));
    for rseq in ["7", "7", "8"] {
        let reliable = [(HeaderName::Require, "100rel"), (HeaderName::RSeq, rseq)];
        with_lines(&mut w, &invite, 183, &reliable);
        let known = w.sent.iter().any(|s| s.message.method() == Method::Prack);
        if known {
            let prack = w.take(&bob());
            let cseq = invite.cseq().unwrap().number;
            assert_eq!(
                header(&prack, HeaderName::RAck),
                format!("{rseq} {cseq} INVITE")
            );
            w.answer(&bob(), &prack, 200, "b");
        }
    }
    assert_eq!(at_alice(&mut w).status(), 183);
    let pracks = |s: &&crate::world::Sent| s.message.method() == Method::Prack;
    assert_eq!(w.sent.iter().filter(pracks).count(), 0);
}

/// RFC 3262 §3: the second reliable answer waits until the first is acknowledged.
#[test]
fn reliable_answers_go_one_after_the_other() {
    for answered in [false, true] {
        let mut w = World::new();
        w.register("200", &bob(), "");
        let uri = "sip:200@example.com";
        let contact = format!("Contact: {}", alice().contact("100"));
        let mut invite = req("INVITE", uri).extra(&contact).extra("Require: 100rel");
        (invite.to, invite.body) = (uri, PCMA);
        w.send_proven(&alice(), &invite, "100");
        let first = w.take(&bob());
        w.answer(&bob(), &first, 488, "t1");
        assert_eq!(w.take(&bob()).method(), Method::Ack);
        let invite = w.take(&bob());
        w.answer(&bob(), &invite, 180, "b");
        let ringing = at_alice(&mut w);
        let rseq = header(&ringing, HeaderName::RSeq);
        assert_eq!((ringing.status(), &*rseq), (180, "1"));
        // 200 speaks already. What it says can be heard, and is told of later.
        described(&mut w, &bob(), &invite, 183, "b", PCMU);
        w.nothing();
        assert_eq!(tasks(&w).len(), 2, "{:?}", tasks(&w));
        if answered {
            w.answer(&bob(), &invite, 200, "b");
            assert_eq!(w.take(&bob()).method(), Method::Ack);
            w.nothing();
        }
        let (mut tag, mut uri) = (String::new(), String::new());
        for (cseq, rack, status) in [(3, "7 2 INVITE", 481), (4, "1 2 INVITE", 200)] {
            let branch = format!("z9hG4bKprack{cseq}");
            let mut prack = of_alice("PRACK", &ringing, (&mut tag, &mut uri), cseq);
            prack.branch = &branch;
            w.send(&alice(), &prack.extra(&format!("RAck: {rack}")));
            assert_eq!(at_alice(&mut w).status(), status);
        }
        let next = at_alice(&mut w);
        assert!(!next.body().is_empty());
        if answered {
            assert_eq!(next.status(), 200);
            continue;
        }
        let rseq = header(&next, HeaderName::RSeq);
        assert_eq!((next.status(), &*rseq), (183, "2"));
        let mut prack = of_alice("PRACK", &ringing, (&mut tag, &mut uri), 5);
        prack.branch = "z9hG4bKprack5";
        w.send(&alice(), &prack.extra("RAck: 2 2 INVITE"));
        assert_eq!(at_alice(&mut w).status(), 200);
        w.nothing();
        // What was said reliably is not said again.
        w.answer(&bob(), &invite, 200, "b");
        let answer = at_alice(&mut w);
        assert_eq!((answer.status(), answer.body().len()), (200, 0));
    }
}

#[test]
fn a_session_is_refreshed_by_us() {
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    let lines = [
        (HeaderName::SessionExpires, "100;refresher=uac"),
        (HeaderName::Require, "timer"),
        (HeaderName::Allow, "INVITE, UPDATE"),
    ];
    with_lines(&mut w, &invite, 200, &lines);
    let answer = at_alice(&mut w);
    let (mut tag, mut uri) = (String::new(), String::new());
    let ack = of_alice("ACK", &answer, (&mut tag, &mut uri), 2);
    w.send(&alice(), &ack);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    w.wait_s(49);
    w.nothing();
    w.wait_s(2);
    let update = w.take(&bob());
    assert_eq!((update.method(), update.body().len()), (Method::Update, 0));
    assert_eq!(
        header(&update, HeaderName::SessionExpires),
        "100;refresher=uac"
    );
    with_lines(&mut w, &update, 200, &lines[..1]);
    w.sent.clear();
    // One that finds no dialog any more ends the session.
    w.wait_s(51);
    let update = w.take(&bob());
    assert_eq!(update.method(), Method::Update);
    w.answer(&bob(), &update, 481, "b");
    let bye = at_alice(&mut w);
    assert_eq!(bye.method(), Method::Bye);
    w.answer(&alice(), &bye, 200, "x");
    w.wait_s(64);
    assert_eq!(w.core.callers(), 0);
}

#[test]
fn a_session_that_nobody_refreshes_ends() {
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    with_lines(
        &mut w,
        &invite,
        200,
        &[(HeaderName::SessionExpires, "90;refresher=uas")],
    );
    let answer = at_alice(&mut w);
    let (mut tag, mut uri) = (String::new(), String::new());
    let ack = of_alice("ACK", &answer, (&mut tag, &mut uri), 2);
    w.send(&alice(), &ack);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    w.wait_s(59);
    w.nothing();
    w.wait_s(2);
    let mut ended = [
        at_alice(&mut w).method().to_string(),
        w.take(&bob()).method().to_string(),
    ];
    ended.sort();
    assert_eq!(ended, ["BYE", "BYE"]);
}

/// What 100, who offers `PCMA`, hears again and again until 200 answers, and what it gets.
fn with_ring_back(sound: &str) -> (Vec<Sound>, [u16; 2]) {
    let mut w = World::new();
    let change = Change::set("ringback", sound).unwrap();
    let features = w.core.features();
    features.change("200@example.com", &change).unwrap();
    let invite = called(&mut w);
    w.answer(&bob(), &invite, 180, "b");
    let early = at_alice(&mut w);
    // It rings on.
    w.answer(&bob(), &invite, 180, "b");
    let heard: Vec<Task> = tasks(&w).into_iter().map(|(_, task)| task).collect();
    described(&mut w, &bob(), &invite, 200, "b", PCMA);
    let answer = at_alice(&mut w);
    let bridged = |(_, task): &(u64, Task)| matches!(task, Task::Bridge { .. });
    assert!(tasks(&w).iter().any(bridged), "{:?}", w.orders);
    let [
        Task::Play {
            sounds,
            rounds: None,
            ..
        },
    ] = <[Task; 1]>::try_from(heard).unwrap()
    else {
        panic!("{:?}", w.orders);
    };
    (sounds, [early.status(), answer.status()])
}

#[test]
fn callers_hear_what_the_user_chose_while_phones_ring() {
    assert_eq!(with_ring_back("music"), (vec![Sound::Music], [183, 200]));
    let (heard, _) = with_ring_back("tone:us");
    let country = Country::Us;
    let (tone, ms) = (Tone::RingBack, None);
    assert_eq!(heard[..], [Sound::Tone { country, tone, ms }]);
}
