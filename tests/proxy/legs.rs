//! The legs of a B2BUA by the letter: session timers, glare, keys by INFO, dialogs told by their
//! tags, and calls that take the place of others; under a virtual clock.

use crate::bridge::{
    PCMA, PCMU, alice, at_alice, bob, carol, described, formats, of_alice, of_bob, ours,
    refused_for_codecs, talking, talking_as, tasks, told, with_lines,
};
use crate::services::within;
use crate::world::{Peer, Req, World, header, req, text};
use voip::media::{News, Order, Task};
use voip::server::{Input, MediaNews, MediaOrder};
use voip::store::{Cdr, Record};
use voip::wire::sip::{HeaderName, Message, Method};

fn records(w: &World) -> Vec<&Cdr> {
    let cdrs = w.records.iter().filter_map(|record| match record {
        Record::Cdr(cdr) => Some(&**cdr),
        _ => None,
    });
    cdrs.collect()
}

/// 100 calls the echo with these lines; its answer.
fn echo(w: &mut World, lines: &[&str]) -> Message {
    echo_with(w, lines, PCMA)
}

fn echo_with(w: &mut World, lines: &[&str], offer: &str) -> Message {
    let uri = "sip:*130@example.com";
    let mut invite = req("INVITE", uri).extra(&format!("Contact: {}", alice().contact("100")));
    for line in lines {
        invite = invite.extra(line);
    }
    (invite.to, invite.body) = (uri, offer);
    w.send_proven(&alice(), &invite, "100");
    let answer = at_alice(w);
    let (mut tag, mut uri) = (String::new(), String::new());
    let ack = within("ACK", &answer, &mut tag, &mut uri);
    w.send(&alice(), &ack);
    answer
}

// ------------------------------------------------------------ session timers

#[test]
fn a_caller_that_stops_refreshing_is_hung_up() {
    let mut w = World::new();
    let timer = ["Supported: timer", "Session-Expires: 90;refresher=uac"];
    let answer = echo(&mut w, &timer);
    assert_eq!(
        header(&answer, HeaderName::SessionExpires),
        "90;refresher=uac"
    );
    assert_eq!(header(&answer, HeaderName::Require), "timer");
    w.wait_s(50);
    // A refresh counts from when it comes.
    let (mut tag, mut uri) = (String::new(), String::new());
    let mut update = of_alice("UPDATE", &answer, (&mut tag, &mut uri), 4);
    for line in timer {
        update = update.extra(line);
    }
    w.send(
        &alice(),
        &update.extra("Contact: <sip:100@192.0.2.20:5062>"),
    );
    assert_eq!(at_alice(&mut w).status(), 200);
    w.wait_s(59);
    w.nothing();
    w.wait_s(2);
    assert_eq!(at_alice(&mut w).method(), Method::Bye);
    assert_eq!(w.core.callers(), 0);
}

/// Answers a refresh that came to 100, and gives the next one and after how many seconds it came.
fn refreshed_again(
    w: &mut World,
    refresh: &Message,
    status: u16,
    lines: &[(HeaderName, &str)],
) -> (Message, u64) {
    let tag = text(refresh.to().unwrap().tag().unwrap());
    w.answer_with(&alice(), refresh, status, &tag, lines);
    w.sent.retain(|sent| sent.message.method() != Method::Ack);
    let seconds = w.wait_for_something(90);
    (at_alice(w), seconds)
}

#[test]
fn a_refresh_that_meets_another_request_comes_again() {
    let mut w = World::new();
    // Who does not know UPDATE gets a re-INVITE with an offer.
    let timer = ["Supported: timer", "Session-Expires: 90;refresher=uas"];
    let answer = echo(&mut w, &timer);
    assert_eq!(
        header(&answer, HeaderName::SessionExpires),
        "90;refresher=uas"
    );
    assert_eq!(w.wait_for_something(50), 45);
    let refresh = at_alice(&mut w);
    assert_eq!(refresh.method(), Method::Invite);
    assert!(!refresh.body().is_empty());
    // One of 100's meanwhile is refused (RFC 3261 §14.1), so is its offer by UPDATE.
    for (cseq, method) in [(4, "INVITE"), (5, "UPDATE")] {
        let (mut tag, mut uri) = (String::new(), String::new());
        let mut glare = of_alice(method, &answer, (&mut tag, &mut uri), cseq);
        let branch = format!("z9hG4bKg{cseq}");
        (glare.body, glare.branch) = (PCMA, &branch);
        let contact = format!("Contact: {}", alice().contact("100"));
        w.send(&alice(), &glare.extra(&contact));
        assert_eq!(at_alice(&mut w).status(), 491, "{method}");
    }
    // The Call-ID is 100's: we wait less than two seconds.
    let (again, seconds) = refreshed_again(&mut w, &refresh, 491, &[]);
    assert!(
        again.method() == Method::Invite && seconds <= 2,
        "{seconds}"
    );
    assert!(again.cseq().unwrap().number > refresh.cseq().unwrap().number);
    // What was agreed on before holds, and the session is over in time all the same.
    assert_eq!(w.core.callers(), 1);
}

/// RFC 3264 §8: as many lines as the session has, each in its place.
#[test]
fn later_offers_of_ours_keep_the_lines_of_the_session() {
    let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n";
    let audio = "m=audio 4000 RTP/AVP 97 98 101\r\na=rtpmap:97 PCMU/8000\r\n\
        a=rtpmap:98 telephone-event/8000\r\na=rtpmap:101 iLBC/8000\r\n";
    let video = "m=video 4002 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n";
    let sections = |message: &Message| -> Vec<String> {
        let body = text(message.body());
        let lines = body.lines().filter(|line| line.starts_with("m="));
        // Without the port, which is the relay's.
        let shown = lines.map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            format!("{} {} {}", words[0], words[1] == "0", words[2..].join(" "))
        });
        shown.collect()
    };
    for audio_first in [true, false] {
        let offer = match audio_first {
            true => format!("{head}{audio}{video}"),
            false => format!("{head}{video}{audio}"),
        };
        let in_order = |sound: &str| {
            let (sound, sight) = (sound.to_owned(), "m=video true RTP/AVP 99".to_owned());
            match audio_first {
                true => [sound, sight],
                false => [sight, sound],
            }
        };
        let mut w = World::new();
        let timer = ["Supported: timer", "Session-Expires: 90;refresher=uas"];
        let answer = echo_with(&mut w, &timer, &offer);
        let agreed = in_order("m=audio false RTP/AVP 97 98");
        assert_eq!(sections(&answer), agreed);
        assert_eq!(w.wait_for_something(50), 45);
        let refresh = at_alice(&mut w);
        assert_eq!(refresh.method(), Method::Invite);
        assert_eq!(sections(&refresh), agreed);
        let takes = offer.replace("m=video 4002", "m=video 0");
        described(&mut w, &alice(), &refresh, 200, "f1", &takes);
        assert_eq!(at_alice(&mut w).method(), Method::Ack);
        // Who asks for an offer gets one with all that we know besides; 101 is something else.
        let (mut tag, mut uri) = (String::new(), String::new());
        let mut asks = of_alice("INVITE", &answer, (&mut tag, &mut uri), 4);
        asks.branch = "z9hG4bKasks";
        let contact = format!("Contact: {}", alice().contact("100"));
        w.send(&alice(), &asks.extra(&contact));
        let ours = at_alice(&mut w);
        let known = sections(&ours).concat();
        assert!(known.contains("m=audio false RTP/AVP 97 8 9 "), "{known}");
        assert_eq!(sections(&ours).len(), 2);
        let body = text(ours.body());
        assert!(
            body.contains("a=rtpmap:98 telephone-event/8000\r\n"),
            "{body}"
        );
        assert!(!body.contains("a=rtpmap:101 "), "{body}");
    }
}

#[test]
fn a_refresh_that_is_too_short_is_made_longer() {
    let mut w = World::new();
    let timer = [
        "Supported: timer",
        "Allow: INVITE, UPDATE",
        "Session-Expires: 90;refresher=uas",
    ];
    echo(&mut w, &timer);
    assert_eq!(w.wait_for_something(50), 45);
    let refresh = at_alice(&mut w);
    assert_eq!(refresh.method(), Method::Update);
    let (longer, seconds) = refreshed_again(&mut w, &refresh, 422, &[(HeaderName::MinSe, "120")]);
    assert!(
        longer.method() == Method::Update && seconds <= 1,
        "{seconds}"
    );
    assert_eq!(
        header(&longer, HeaderName::SessionExpires),
        "120;refresher=uac"
    );
    assert_eq!(header(&longer, HeaderName::MinSe), "120");
    // Who refuses that, too, is asked again later, not at once for ever.
    let (_, seconds) = refreshed_again(&mut w, &longer, 422, &[(HeaderName::MinSe, "120")]);
    assert!(seconds <= 2, "{seconds}");
    w.wait_s(120);
    assert_eq!(w.core.callers(), 0);
}

#[test]
fn the_owner_of_the_call_id_waits_longer() {
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    let lines = [(HeaderName::SessionExpires, "100;refresher=uac")];
    with_lines(&mut w, &invite, 200, &lines);
    let answer = at_alice(&mut w);
    let (mut tag, mut uri) = (String::new(), String::new());
    let ack = of_alice("ACK", &answer, (&mut tag, &mut uri), 2);
    w.send(&alice(), &ack);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    assert_eq!(w.wait_for_something(60), 50);
    let refresh = w.take(&bob());
    assert_eq!(refresh.method(), Method::Invite);
    w.answer(&bob(), &refresh, 491, "b");
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    let seconds = w.wait_for_something(10);
    assert!((2..=4).contains(&seconds), "{seconds}");
    assert_eq!(w.take(&bob()).method(), Method::Invite);
}

// ------------------------------------------------------------ dialogs

#[test]
fn a_2xx_that_comes_again_is_known_by_its_tag() {
    let mut w = World::new();
    let (invite, _) = talking(&mut w);
    // Its To is written otherwise now, as it may be; nobody else answered.
    let contact = bob().contact("x");
    let text_of = |name| header(&invite, name);
    let mut lines = format!("SIP/2.0 200 OK\r\nVia: {}\r\n", text_of(HeaderName::Via));
    for via in crate::world::values(&invite, HeaderName::Via)
        .iter()
        .skip(1)
    {
        lines += &format!("Via: {via}\r\n");
    }
    for route in crate::world::values(&invite, HeaderName::RecordRoute) {
        lines += &format!("Record-Route: {route}\r\n");
    }
    let again = format!(
        "{lines}From: {}\r\nTo: \"Bob\" {};tag=b\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: {contact}\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{PCMU}",
        text_of(HeaderName::From),
        text_of(HeaderName::To),
        text(invite.call_id()),
        text_of(HeaderName::CSeq),
        PCMU.len()
    );
    w.from(&bob(), again);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    w.nothing();
    assert_eq!(w.core.callers(), 2);
}

#[test]
fn a_second_offer_does_not_ring_for_longer() {
    let mut w = World::with("[timers]\ntimer_c_s = 600\n");
    let clear = refused_for_codecs(&mut w);
    w.answer(&bob(), &clear, 180, "b");
    assert_eq!(at_alice(&mut w).status(), 180);
    w.wait_s(200);
    w.answer(&bob(), &clear, 488, "b");
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    let secure = w.take(&bob());
    assert_eq!(secure.method(), Method::Invite);
    w.answer(&bob(), &secure, 180, "b2");
    w.sent.clear();
    let seconds = w.wait_for_something(300);
    assert!((95..=105).contains(&seconds), "{seconds}");
    assert_eq!(w.take(&bob()).method(), Method::Cancel);
}

#[test]
fn an_ack_of_a_refusal_is_none_of_the_answer() {
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    w.answer(&bob(), &invite, 180, "b");
    assert_eq!(at_alice(&mut w).status(), 180);
    // 200 offers while our offer is open, is refused, and acknowledges that.
    let (uri, tag) = ours(&invite);
    let own = format!("Contact: {}", bob().contact("200"));
    let mut glare = of_bob("INVITE", &invite, &uri, 1, ("b", &tag)).extra(&own);
    glare.body = PCMU;
    w.send(&bob(), &glare);
    let mut answer = w.take(&bob());
    while answer.status() == 100 {
        answer = w.take(&bob());
    }
    assert_eq!(answer.status(), 491);
    w.send(&bob(), &of_bob("ACK", &invite, &uri, 1, ("b", &tag)));
    described(&mut w, &bob(), &invite, 200, "b", PCMU);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    assert_eq!(at_alice(&mut w).status(), 200);
    assert_eq!(w.core.callers(), 2);
}

#[test]
fn who_moved_is_followed() {
    let mut w = World::new();
    w.register("300", &carol(), "");
    let invite = refused_for_codecs(&mut w);
    let moved = [(HeaderName::Contact, "<sip:300@example.com>")];
    w.answer_with(&bob(), &invite, 302, "b", &moved);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    let there = w.take(&carol());
    described(&mut w, &carol(), &there, 200, "c", PCMU);
    assert_eq!(at_alice(&mut w).status(), 200);
    // Round and round, but not for ever.
    let mut w = World::new();
    let mut invite = refused_for_codecs(&mut w);
    for _ in 0..5 {
        let moved = [(HeaderName::Contact, "<sip:200@example.com>")];
        w.answer_with(&bob(), &invite, 302, "b", &moved);
        assert_eq!(w.take(&bob()).method(), Method::Ack);
        invite = w.take(&bob());
        assert_eq!(invite.method(), Method::Invite);
    }
    let moved = [(HeaderName::Contact, "<sip:200@example.com>")];
    w.answer_with(&bob(), &invite, 302, "b", &moved);
    assert_eq!(w.take(&bob()).method(), Method::Ack);
    assert_eq!(at_alice(&mut w).status(), 302);
}

// ------------------------------------------------------------ keys

/// Keys that the studio is to say, with the leg.
fn pressed(w: &World) -> Vec<(u64, char)> {
    let pressed = w.orders.iter().filter_map(|order| match order {
        MediaOrder::Studio(Order::Press { session, key }) => Some((*session, *key)),
        _ => None,
    });
    pressed.collect()
}

/// Sends an INFO with a key, of this type.
fn inform(w: &mut World, peer: &Peer, info: Req<'_>, kind: &str, body: &str) {
    let info = info.extra(&format!("Content-Type: {kind}"));
    let bytes = info.text(peer).replace("Content-Length: 0\r\n\r\n", "");
    let length = body.len();
    w.from(
        peer,
        format!("{bytes}Content-Length: {length}\r\n\r\n{body}"),
    );
}

#[test]
fn keys_by_info_go_to_the_other_side() {
    let mut w = World::new();
    let (invite, answer) = talking(&mut w);
    let opened = formats(&w);
    let (called, caller) = (opened[0].0, opened[1].0);
    let (mut tag, mut uri) = (String::new(), String::new());
    let info = of_alice("INFO", &answer, (&mut tag, &mut uri), 4);
    let body = "Signal=5\r\nDuration=160\r\n";
    inform(&mut w, &alice(), info, "application/dtmf-relay", body);
    assert_eq!(at_alice(&mut w).status(), 200);
    assert_eq!(pressed(&w), [(called, '5')]);
    let (uri, tag) = ours(&invite);
    let info = of_bob("INFO", &invite, &uri, 1, ("b", &tag));
    inform(&mut w, &bob(), info, "application/dtmf", "#");
    assert_eq!(w.status(&bob()), 200);
    assert_eq!(pressed(&w), [(called, '5'), (caller, '#')]);
}

/// Whether the studio leaves keys to us, in the last format of each leg that it was told.
fn apart(w: &World, leg: u64) -> bool {
    let told = w.orders.iter().rev().find_map(|order| match order {
        MediaOrder::Studio(Order::Open {
            session, format, ..
        }) if *session == leg => Some(format),
        _ => None,
    });
    told.unwrap().keys_apart
}

/// Somebody presses a key that the studio tells of.
fn key(w: &mut World, session: u64, key: char) {
    let news = News::Key { session, key };
    w.input(Input::Media(MediaNews::Studio(news)));
}

#[test]
fn who_sends_keys_by_info_and_has_no_events_gets_keys_so() {
    let mut w = World::new();
    let silent = PCMU.replace(" 96\r\na=rtpmap:96 telephone-event/8000", "");
    let (invite, answer) = talking_as(&mut w, &silent);
    let opened = formats(&w);
    let (called, caller) = (opened[0].0, opened[1].0);
    // Nobody knows that bob's phone takes them: the studio makes tones.
    key(&mut w, caller, '1');
    w.nothing();
    assert!(!apart(&w, called));
    let (uri, tag) = ours(&invite);
    let info = of_bob("INFO", &invite, &uri, 1, ("b", &tag));
    inform(
        &mut w,
        &bob(),
        info,
        "application/dtmf-relay",
        "Signal=9\r\n",
    );
    assert_eq!(w.status(&bob()), 200);
    assert_eq!(pressed(&w), [(caller, '9')]);
    assert!(apart(&w, called) && !apart(&w, caller));
    // One after the other, in order, also those that come by INFO themselves.
    key(&mut w, caller, '2');
    key(&mut w, caller, '3');
    let (mut to_tag, mut to) = (String::new(), String::new());
    let info = of_alice("INFO", &answer, (&mut to_tag, &mut to), 4);
    inform(&mut w, &alice(), info, "application/dtmf", "#");
    assert_eq!(at_alice(&mut w).status(), 200);
    for expected in ["2", "3", "#"] {
        let info = w.take(&bob());
        assert_eq!(info.method(), Method::Info);
        assert_eq!(
            header(&info, HeaderName::ContentType),
            "application/dtmf-relay"
        );
        assert_eq!(
            text(info.body()),
            format!("Signal={expected}\r\nDuration=100\r\n")
        );
        w.nothing();
        w.answer(&bob(), &info, 200, "b");
    }
    w.nothing();
    assert_eq!(pressed(&w), [(caller, '9')]);
    // What it refuses it gets as tones, that key and those after it.
    key(&mut w, caller, '4');
    key(&mut w, caller, '5');
    let info = w.take(&bob());
    w.answer(&bob(), &info, 501, "b");
    assert_eq!(pressed(&w), [(caller, '9'), (called, '4'), (called, '5')]);
    assert!(!apart(&w, called));
    key(&mut w, caller, '6');
    w.nothing();
}

// ------------------------------------------------------------ records

#[test]
fn a_bridged_call_is_one_record() {
    let mut w = World::new();
    let (_, answer) = talking(&mut w);
    w.wait_s(30);
    let (mut tag, mut uri) = (String::new(), String::new());
    let bye = of_alice("BYE", &answer, (&mut tag, &mut uri), 4);
    w.send(&alice(), &bye);
    assert_eq!(at_alice(&mut w).status(), 200);
    let bye = w.take(&bob());
    w.answer(&bob(), &bye, 200, "b");
    w.wait_s(64);
    let [record] = records(&w)[..] else {
        panic!("{:?}", records(&w))
    };
    assert_eq!((record.status, &*record.way_out), (200, ""));
    assert_eq!((&*record.to, &*record.note), ("200@example.com", "bridged"));
    assert_eq!(&*record.codecs, "PCMA,telephone-event/PCMU,telephone-event");
    assert_eq!(record.end_ms - record.answer_ms.unwrap(), 30_000);
}

#[test]
fn a_bridged_call_that_fails_is_one_record() {
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    w.answer(&bob(), &invite, 486, "b");
    assert_eq!(at_alice(&mut w).status(), 486);
    w.wait_s(64);
    let [record] = records(&w)[..] else {
        panic!("{:?}", records(&w))
    };
    assert_eq!((record.status, record.answer_ms), (486, None));
    assert_eq!(&*record.note, "");
    // Who gives up while it rings waits for nobody; the record waits for both.
    let mut w = World::new();
    let invite = refused_for_codecs(&mut w);
    w.answer(&bob(), &invite, 180, "b");
    assert_eq!(at_alice(&mut w).status(), 180);
    let mut cancel = req("CANCEL", "sip:200@example.com");
    (cancel.to, cancel.cseq, cancel.branch) = ("sip:200@example.com", 2, "z9hG4bKa1p");
    w.send(&alice(), &cancel);
    let there = w.take(&bob());
    w.wait_s(3);
    assert_eq!(records(&w).len(), 0);
    w.answer(&bob(), &there, 200, "b");
    w.answer(&bob(), &invite, 487, "b");
    w.wait_s(64);
    let [record] = records(&w)[..] else {
        panic!("{:?}", records(&w))
    };
    assert_eq!(record.status, 487);
    assert_eq!(w.core.load(), (0, 0));
}

#[test]
fn whom_a_transfer_leaves_has_a_record_of_its_own() {
    let mut w = World::new();
    w.register("300", &carol(), "");
    let (_, answer) = talking(&mut w);
    let (mut tag, mut uri) = (String::new(), String::new());
    let refer = of_alice("REFER", &answer, (&mut tag, &mut uri), 4);
    let own = format!("Contact: {}", alice().contact("100"));
    let refer = refer.extra(&own).extra("Refer-To: <sip:300@example.com>");
    w.send(&alice(), &refer);
    let there = w.take(&carol());
    described(&mut w, &carol(), &there, 200, "c", PCMU);
    w.sent.clear();
    w.wait_s(20);
    // 100's own call is over and recorded; those of 200 and 300 go on.
    assert_eq!(records(&w).len(), 1);
    let (uri, tag) = ours(&there);
    let mut bye = of_bob("BYE", &there, &uri, 1, ("c", &tag));
    bye.from = "sip:300@example.com";
    w.send(&carol(), &bye);
    let bye = w.take(&bob());
    w.answer(&bob(), &bye, 200, "b");
    w.wait_s(64);
    let records = records(&w);
    let mut seconds: Vec<u64> = records
        .iter()
        .map(|r| (r.end_ms - r.answer_ms.unwrap()) / 1000)
        .collect();
    seconds.sort_unstable();
    assert_eq!(seconds, [0, 20, 20], "{records:?}");
}

// ------------------------------------------------------------ calls in others' places

/// The Replaces value of the dialog of an answer to 100, as whoever wants its place writes it.
fn place_of(answer: &Message) -> String {
    let tag = |address: Option<&[u8]>| text(address.unwrap());
    let (from, to) = (answer.from().unwrap(), answer.to().unwrap());
    let (theirs, ours) = (tag(from.tag()), tag(to.tag()));
    format!("{};to-tag={ours};from-tag={theirs}", text(answer.call_id()))
}

#[test]
fn a_leg_is_replaced_by_the_number_of_whom_it_stands_for() {
    let mut w = World::new();
    w.register("300", &carol(), "");
    let (_, answer) = talking(&mut w);
    // 300 was told by 100 to take its place with 200, and dials 200's number.
    let uri = "sip:200@example.com";
    let own = format!("Contact: {}", carol().contact("300"));
    let replaces = format!("Replaces: {}", place_of(&answer));
    let mut invite = req("INVITE", uri).extra(&own).extra(&replaces);
    (invite.from, invite.to, invite.from_tag) = ("sip:300@example.com", uri, "c");
    (invite.call_id, invite.branch, invite.body) = ("call-c", "z9hG4bK73", PCMA);
    w.send_proven(&carol(), &invite, "300");
    let mut got = w.take(&carol());
    while got.status() == 100 {
        got = w.take(&carol());
    }
    assert_eq!(got.status(), 200);
    assert_eq!(at_alice(&mut w).method(), Method::Bye);
    assert!(w.sent.iter().all(|s| s.message.method() != Method::Invite));
    assert_eq!(w.core.callers(), 2);
}

/// 100 has a second call over a bridge, with 300 as `carol`: the answer that it got.
fn second_call(w: &mut World) -> Message {
    w.register("300", &carol(), "");
    let uri = "sip:300@example.com";
    let mut invite = req("INVITE", uri).extra(&format!("Contact: {}", alice().contact("100")));
    (invite.to, invite.body, invite.call_id) = (uri, PCMA, "call-2");
    (invite.branch, invite.from_tag) = ("z9hG4bKs1", "f2");
    w.send_proven(&alice(), &invite, "100");
    let first = w.take(&carol());
    w.answer(&carol(), &first, 488, "t1");
    assert_eq!(w.take(&carol()).method(), Method::Ack);
    let invite = w.take(&carol());
    described(w, &carol(), &invite, 200, "c", PCMU);
    let answer = at_alice(w);
    assert_eq!(answer.status(), 200);
    assert_eq!(w.take(&carol()).method(), Method::Ack);
    let (mut tag, mut uri) = (String::new(), String::new());
    let mut ack = of_alice("ACK", &answer, (&mut tag, &mut uri), 2);
    (ack.call_id, ack.from_tag) = ("call-2", "f2");
    w.send(&alice(), &ack);
    answer
}

#[test]
fn two_bridged_calls_are_brought_together() {
    let mut w = World::new();
    let (_, first) = talking(&mut w);
    let second = second_call(&mut w);
    let opened = formats(&w);
    let (with_bob, with_carol) = (opened[0].0, opened[2].0);
    let place = place_of(&second).replace(';', "%3B").replace('=', "%3D");
    let (mut tag, mut uri) = (String::new(), String::new());
    let refer = of_alice("REFER", &first, (&mut tag, &mut uri), 4);
    let own = format!("Contact: {}", alice().contact("100"));
    let to = format!("Refer-To: <sip:300@example.com?Replaces={place}>");
    w.send(&alice(), &refer.extra(&own).extra(&to));
    assert_eq!(at_alice(&mut w).status(), 202);
    assert_eq!(
        told(&mut w, &alice()),
        ["active 100 Trying", "terminated 200 OK"]
    );
    // Nobody is called; 100 is rid of both calls.
    for _ in 0..2 {
        let bye = at_alice(&mut w);
        assert_eq!(bye.method(), Method::Bye);
        w.answer(&alice(), &bye, 200, "x");
    }
    w.nothing();
    let tasks = tasks(&w);
    let last: Vec<_> = tasks.iter().rev().take(2).rev().collect();
    let mut joined = [(with_bob, with_carol), (with_carol, with_bob)];
    joined.sort_unstable();
    let mut heard: Vec<(u64, u64)> = last
        .iter()
        .map(|(session, task)| match task {
            Task::Bridge { with } => (*session, *with),
            other => panic!("{other:?}"),
        })
        .collect();
    heard.sort_unstable();
    assert_eq!(heard, joined);
    assert_eq!(w.core.callers(), 2);
    w.wait_s(60);
    w.nothing();
}
