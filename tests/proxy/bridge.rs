//! Phones without a common codec, brought together: a B2BUA (RFC 7092) behind the proxy.

use crate::world::{Peer, Req, World, header, req, text, values};
use voip::media::{Order, Sound, Task};
use voip::relay::MediaCommand;
use voip::server::MediaOrder;
use voip::wire::rtp::Coding;
use voip::wire::sip::{HeaderName, Message, Method, ResponseBuilder};

const PCMA: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
const PCMU: &str = "v=0\r\no=- 2 1 IN IP4 192.0.2.21\r\ns=-\r\nc=IN IP4 192.0.2.21\r\nt=0 0\r\n\
    m=audio 5000 RTP/AVP 0 96\r\na=rtpmap:96 telephone-event/8000\r\n";
const PCMU_HELD: &str = "v=0\r\no=- 2 2 IN IP4 192.0.2.21\r\ns=-\r\nc=IN IP4 192.0.2.21\r\nt=0 0\r\n\
    m=audio 5000 RTP/AVP 0 96\r\na=rtpmap:96 telephone-event/8000\r\na=sendonly\r\n";

fn alice() -> Peer {
    Peer::udp("192.0.2.20:5062")
}

fn bob() -> Peer {
    Peer::udp("192.0.2.21:5060")
}

/// 100 calls 200, who knows none of its codecs: what 200 gets next.
fn refused_for_codecs(w: &mut World) -> Message {
    w.register("200", &bob(), "");
    let uri = "sip:200@example.com";
    let contact = format!("Contact: {}", alice().contact("100"));
    let mut invite = req("INVITE", uri).extra(&contact);
    (invite.to, invite.body) = (uri, PCMA);
    w.send_proven(&alice(), &invite, "100");
    let first = w.take(&bob());
    w.answer(&bob(), &first, 488, "t1");
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    w.take(&bob())
}

fn at_alice(w: &mut World) -> Message {
    loop {
        let message = w.take(&alice());
        if message.is_request() || message.status() != 100 {
            return message;
        }
    }
}

fn described(w: &mut World, peer: &Peer, request: &Message, status: u16, tag: &str, body: &str) {
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
fn of_bob<'a>(
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

fn tasks(w: &World) -> Vec<(u64, Task)> {
    let tasks = w.orders.iter().filter_map(|order| match order {
        MediaOrder::Studio(Order::Do { session, what, .. }) => Some((*session, what.clone())),
        _ => None,
    });
    tasks.collect()
}

/// What the studio was told of formats: session and coding.
fn formats(w: &World) -> Vec<(u64, Coding)> {
    let opened = w.orders.iter().filter_map(|order| match order {
        MediaOrder::Studio(Order::Open {
            session, format, ..
        }) => Some((*session, format.coding)),
        _ => None,
    });
    opened.collect()
}

/// Both talk: the INVITE that 200 got, and the 200 that 100 got.
fn talking(w: &mut World) -> (Message, Message) {
    let invite = refused_for_codecs(w);
    w.answer(&bob(), &invite, 180, "b");
    assert_eq!(at_alice(w).status(), 180);
    described(w, &bob(), &invite, 200, "b", PCMU);
    let answer = at_alice(w);
    assert_eq!(answer.status(), 200);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    let (mut tag, mut uri) = (String::new(), String::new());
    let ack = of_alice("ACK", &answer, (&mut tag, &mut uri), 2);
    w.send(&alice(), &ack);
    (invite, answer)
}

fn of_alice<'a>(
    method: &'a str,
    answer: &Message,
    (tag, uri): (&'a mut String, &'a mut String),
    cseq: u32,
) -> Req<'a> {
    *tag = text(answer.to().unwrap().tag().unwrap());
    let contact = answer.addresses(HeaderName::Contact).next().unwrap();
    *uri = text(contact.unwrap().uri_bytes());
    let mut request = req(method, uri);
    for route in values(answer, HeaderName::RecordRoute).iter().rev() {
        request = request.extra(&format!("Route: {route}"));
    }
    request.to_tag = tag;
    (request.cseq, request.branch) = (cseq, "z9hG4bKin");
    request
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
                let contact = invite.addresses(HeaderName::Contact).next().unwrap();
                let uri = text(contact.unwrap().uri_bytes());
                let tag = text(invite.from().unwrap().tag().unwrap());
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
    let contact = invite.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(contact.unwrap().uri_bytes());
    let tag = text(invite.from().unwrap().tag().unwrap());
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
    assert_eq!(at_alice(&mut w).status(), 488);
    w.wait_s(64);
    assert_eq!((w.core.load(), w.core.callers()), ((0, 0), 0));
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
