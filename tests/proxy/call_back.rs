//! Double dialling by a call back: who shows a number of the list is refused, and called there.

use crate::world::{Peer, Req, World, header, req, text, values};
use voip::control::{Command, Reply};
use voip::media::{News, Order, Sound, Task};
use voip::server::{Input, MediaNews, MediaOrder};
use voip::store::Record;
use voip::wire::sip::{HeaderName, Message, Method};

const TRUNK: &str = "203.0.113.1:5060";
const MOBILE: &str = "600123456";
const PIN: &str = "482913#";
const CONFIG: &str = r#"
guests = true
[numbers]
emergency = ["112"]
[[trunk]]
name = "itsp"
uri = "sip:203.0.113.1"
probe_s = 0
[[route]]
name = "emergency"
match = "112"
to = ["trunk:itsp"]
[[route]]
name = "stripped"
match = "99X."
strip = 2
to = ["trunk:itsp"]
[[route]]
name = "out"
match = "XXXXXXXXX"
to = ["trunk:itsp"]
[disa]
numbers = ["5001"]
pin = "482913"
user = "300"
call_back = ["600123456", "99112"]
"#;
const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

fn trunk() -> Peer {
    Peer::udp(TRUNK)
}

/// One who shows a number calls double dialling's own; what it hears in the end.
fn calls(w: &mut World, from: &Peer, number: &str, call_id: &str) -> Message {
    let (uri, own) = (
        "sip:5001@192.0.2.10",
        format!("sip:{number}@{}", from.flow.remote.ip()),
    );
    let branch = format!("z9hG4bK{call_id}");
    let contact = format!("Contact: {}", from.contact("gw"));
    let mut invite = req("INVITE", uri).extra(&contact);
    (invite.from, invite.to, invite.call_id) = (&own, uri, call_id);
    (invite.branch, invite.body) = (&branch, ANSWER);
    w.send(from, &invite);
    loop {
        let answer = w.take(from);
        if answer.status() >= 200 {
            let tag = text(answer.to().unwrap().tag().unwrap());
            let ack = Req {
                method: "ACK",
                to_tag: &tag,
                body: "",
                extra: String::new(),
                ..invite
            };
            w.send(from, &ack);
            return answer;
        }
    }
}

/// The INVITE that the trunk gets within a time.
fn called(w: &mut World, seconds: u64) -> Option<Message> {
    w.wait_s(seconds);
    let at = |m: &Message| m.is_request() && m.method() == Method::Invite;
    let mut sent = w.sent.iter();
    let at = sent.position(|s| s.destination.remote() == trunk().flow.remote && at(&s.message))?;
    w.sent.remove(at).map(|sent| sent.message)
}

/// The far end of a call back answers it; its media session.
fn answers(w: &mut World, invite: &Message) -> u64 {
    let contact = trunk().contact("mobile");
    let response = voip::wire::sip::ResponseBuilder::new(invite, 200)
        .to_tag(b"mobile")
        .record_route()
        .header(HeaderName::Contact, contact.as_bytes())
        .body("application/sdp", ANSWER.as_bytes())
        .render();
    w.from(&trunk(), response);
    // Its INVITE may have been repeated meanwhile.
    while w.take(&trunk()).method() != Method::Ack {}
    asks_for_the_pin(w)
}

fn last_words(w: &World) -> Option<(u64, Vec<String>)> {
    w.orders.iter().rev().find_map(|order| match order {
        MediaOrder::Studio(Order::Do {
            session,
            what: Task::Play { sounds, .. },
            ..
        }) => {
            let names = sounds.iter().filter_map(|sound| match sound {
                Sound::Prompt { name, .. } => Some(name.to_string()),
                _ => None,
            });
            Some((*session, names.collect()))
        }
        _ => None,
    })
}

fn asks_for_the_pin(w: &World) -> u64 {
    let (session, words) = last_words(w).unwrap();
    assert_eq!(words, ["vm-password"]);
    session
}

fn press(w: &mut World, session: u64, keys: &str) {
    for key in keys.chars() {
        w.input(Input::Media(MediaNews::Studio(News::Key { session, key })));
    }
}

/// The trunk's end hangs up a call that it answered.
fn hangs_up(w: &mut World, invite: &Message) {
    let target = invite.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(target.unwrap().uri_bytes());
    let (from, to) = (
        header(invite, HeaderName::To),
        header(invite, HeaderName::From),
    );
    let routes = values(invite, HeaderName::RecordRoute);
    let routes: String = routes.iter().map(|r| format!("Route: {r}\r\n")).collect();
    let bye = format!(
        "BYE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {TRUNK};branch=z9hG4bKbye{}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: {from};tag=mobile\r\nTo: {to}\r\nCall-ID: {}\r\n\
         CSeq: 7 BYE\r\nContent-Length: 0\r\n\r\n",
        text(invite.call_id()),
        text(invite.call_id()),
    );
    w.from(&trunk(), bye);
    assert_eq!(w.status(&trunk()), 200);
}

fn notes(w: &mut World) -> Vec<String> {
    let records = std::mem::take(&mut w.records).into_iter();
    let notes = records.filter_map(|record| match record {
        Record::Cdr(cdr) => Some(cdr.note.to_string()),
        _ => None,
    });
    notes.filter(|note| note.contains("call back")).collect()
}

/// Begun, refused, proven, as the operator sees them.
fn counted(w: &mut World) -> [u64; 3] {
    let Reply::Status(status) = w.command(Command::Status) else {
        panic!("no status");
    };
    ["call_backs", "call_backs_refused", "call_backs_proven"]
        .map(|name| status.counters.other.get(name).copied().unwrap_or(0))
}

#[test]
fn who_is_called_back_gives_the_pin_and_dials_on_the_companys_account() {
    let mut w = World::with(CONFIG);
    assert_eq!(calls(&mut w, &trunk(), MOBILE, "first").status(), 486);
    assert!(called(&mut w, 4).is_none());
    assert_eq!(notes(&mut w), ["call back: 600123456"]);
    let back = called(&mut w, 2).unwrap();
    assert!(text(back.request_uri()).starts_with("sip:600123456@"));
    assert!(header(&back, HeaderName::From).contains("sip:300@"));
    let session = answers(&mut w, &back);
    // Who calls meanwhile is called no second time.
    assert_eq!(calls(&mut w, &trunk(), MOBILE, "second").status(), 486);
    assert!(called(&mut w, 8).is_none());
    assert_eq!(notes(&mut w), ["no call back: one is under way"]);
    press(&mut w, session, PIN);
    press(&mut w, session, "915550199#");
    let onward = called(&mut w, 0).unwrap();
    assert!(text(onward.request_uri()).starts_with("sip:915550199@"));
    assert!(header(&onward, HeaderName::From).contains("sip:300@"));
    w.answer(&trunk(), &onward, 486, "far");
    w.take(&trunk());
    hangs_up(&mut w, &back);
    assert_eq!(counted(&mut w), [1, 1, 1]);
    // With the PIN it need not rest.
    assert_eq!(calls(&mut w, &trunk(), MOBILE, "third").status(), 486);
    let back = called(&mut w, 6).unwrap();
    w.answer(&trunk(), &back, 486, "mobile");
    w.wait_s(300);
    assert_eq!(w.core.load(), (0, 0));
}

#[test]
fn without_the_pin_the_number_rests() {
    let mut w = World::with(CONFIG);
    calls(&mut w, &trunk(), MOBILE, "first");
    let back = called(&mut w, 6).unwrap();
    answers(&mut w, &back);
    hangs_up(&mut w, &back);
    calls(&mut w, &trunk(), MOBILE, "second");
    assert!(called(&mut w, 30).is_none());
    assert_eq!(
        notes(&mut w),
        [
            "call back: 600123456",
            "no call back: rests 1 min more without the PIN"
        ]
    );
    w.wait_s(60);
    calls(&mut w, &trunk(), MOBILE, "third");
    assert!(called(&mut w, 6).is_some());
    assert_eq!(counted(&mut w), [2, 1, 0]);
}

#[test]
fn no_emergency_number_is_called_back() {
    let mut w = World::with(CONFIG);
    assert_eq!(calls(&mut w, &trunk(), "99112", "first").status(), 486);
    assert!(called(&mut w, 60).is_none());
    let notes = notes(&mut w);
    let why = "plan: a call back reaches no emergency number";
    assert!(notes.iter().any(|note| note == why), "{notes:?}");
    w.wait_s(300);
    assert_eq!(w.core.load(), (0, 0));
}

#[test]
fn who_comes_by_no_trunk_is_not_called_and_locks_nobody_out() {
    let mut w = World::with(CONFIG);
    let guest = Peer::udp("203.0.113.66:5060");
    let answer = calls(&mut w, &guest, MOBILE, "guest");
    assert_eq!(answer.status(), 480);
    assert!(called(&mut w, 30).is_none());
    // Of `trusted`: it gets the PIN asked, and guesses.
    let peer = Peer::udp("198.51.100.7:5060");
    for n in 0..10 {
        let answer = calls(&mut w, &peer, MOBILE, &format!("peer-{n}"));
        assert_eq!(answer.status(), 200);
        let (session, words) = last_words(&w).unwrap();
        if words == ["vm-password"] {
            press(&mut w, session, "000000#");
        }
        assert!(called(&mut w, 30).is_none());
        w.sent.clear();
    }
    assert_eq!(last_words(&w).unwrap().1, ["vm-locked"]);
    assert_eq!(calls(&mut w, &trunk(), MOBILE, "truth").status(), 486);
    let back = called(&mut w, 6).unwrap();
    assert!(text(back.request_uri()).starts_with("sip:600123456@"));
}
