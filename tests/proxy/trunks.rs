//! Calls over trunks and pools: routes, borders, challenges, failover, limits.

use crate::bridge;
use crate::world::{Peer, Req, World, header, req, text, values};
use std::time::Duration;
use voip::control::Command;
use voip::media::Order;
use voip::server::MediaOrder;
use voip::store::Record;
use voip::wire::sip::{HeaderName, Message, Method};

const ITSP: &str = "203.0.113.1:5060";
const BACKUP: &str = "203.0.113.2:5060";
const PHONE: &str = "192.0.2.20:5062";

const CONFIG: &str = r#"
[numbers]
country = "34"
international = "00"
national_digits = 9
[[trunk]]
name = "itsp"
uri = "sip:203.0.113.1"
username = "5700020326"
password_file = "itsp.secret"
domain = "itsp.example"
numbers = "digits"
probe_s = 0
[[trunk]]
name = "backup"
uri = "sip:203.0.113.2"
probe_s = 0
calls_max = 1
[[route]]
name = "out"
match = "9XXXXXXXX"
from = ["user:100", "user:300"]
to = ["trunk:itsp", "trunk:backup"]
ring_s = 20
[[route]]
name = "in"
match = "915550100"
from = ["trunk:itsp"]
to = ["user:200"]
"#;

fn world() -> World {
    let w = World::with(CONFIG);
    w.core.peers().set_secret("itsp", Some(b"secret".to_vec()));
    w
}

fn peer(address: &str) -> Peer {
    Peer::udp(address)
}

fn invite(to: &str) -> Req<'_> {
    let contact = format!("Contact: {}", peer(PHONE).contact("100"));
    let mut request = req("INVITE", to);
    request.to = to;
    request.extra(&contact)
}

/// A 100 of a transaction that takes longer is nothing that these tests look at.
fn take(w: &mut World, at: &Peer) -> Message {
    loop {
        let message = w.take(at);
        if message.is_request() || message.status() != 100 {
            return message;
        }
    }
}

fn challenge(w: &mut World, at: &Peer, request: &Message, status: u16, nonce: &str) {
    let value =
        format!("Digest realm=\"itsp\", nonce=\"{nonce}\", qop=\"auth\", algorithm=SHA-256");
    let name = match status {
        401 => HeaderName::WwwAuthenticate,
        _ => HeaderName::ProxyAuthenticate,
    };
    w.answer_with(at, request, status, "ch", &[(name, &value)]);
    if request.method() == Method::Invite {
        let ack = w.take(at);
        assert_eq!(ack.method(), Method::Ack);
    }
}

/// Nothing in a message to the outside tells of the inside.
fn assert_veiled(message: &Message) {
    let all = text(message.bytes());
    for secret in [
        "192.0.2.20",
        "call-1",
        "Record-Route",
        "Max-Breadth",
        "sip:100@",
    ] {
        assert!(!all.contains(secret), "{secret} leaves:\n{all}");
    }
    let vias = values(message, HeaderName::Via).len();
    assert_eq!(vias, 1, "{all}");
}

fn cseq(message: &Message) -> u32 {
    message.cseq().unwrap().number
}

/// 100 calls out; the trunk asks who we are, and answers.
struct Outbound {
    itsp: Peer,
    phone: Peer,
    invite: Message,
    answer: Message,
}

fn outbound(w: &mut World) -> Outbound {
    let (itsp, phone) = (peer(ITSP), peer(PHONE));
    w.send_proven(&phone, &invite("sip:915550199@example.com"), "100");
    let first = w.take(&itsp);
    assert_veiled(&first);
    assert_eq!(text(first.request_uri()), "sip:34915550199@203.0.113.1");
    challenge(w, &itsp, &first, 401, "one");
    let again = w.take(&itsp);
    assert_veiled(&again);
    assert_eq!(cseq(&again), cseq(&first) + 1, "RFC 3261 §22.2");
    assert_eq!(again.call_id(), first.call_id());
    let proof = header(&again, HeaderName::Authorization);
    assert!(proof.contains("username=\"5700020326\"") && proof.contains("nonce=\"one\""));
    assert_eq!(
        header(&again, HeaderName::From),
        "<sip:5700020326@itsp.example>;tag=f1"
    );
    w.answer(&itsp, &again, 180, "far");
    let ringing = take(w, &phone);
    assert_eq!(ringing.status(), 180);
    w.answer(&itsp, &again, 200, "far");
    let answer = take(w, &phone);
    assert_eq!(answer.status(), 200);
    assert_eq!(text(answer.call_id()), "call-1");
    assert_eq!(cseq(&answer), 2);
    Outbound {
        itsp,
        phone,
        invite: again,
        answer,
    }
}

impl Outbound {
    fn by_phone(&self, w: &mut World, method: &str, cseq: u32) {
        let target = self.answer.addresses(HeaderName::Contact).next();
        let target = text(target.unwrap().unwrap().uri_bytes());
        let branch = format!("z9hG4bKp{method}{cseq}");
        let mut request = req(method, &target);
        (request.to, request.to_tag) = ("sip:915550199@example.com", "far");
        (request.cseq, request.branch) = (cseq, &branch);
        let mut routes = values(&self.answer, HeaderName::RecordRoute);
        routes.reverse();
        for route in routes {
            request = request.extra(&format!("Route: {route}"));
        }
        let contact = format!("Contact: {}", self.phone.contact("100"));
        w.send(&self.phone, &request.extra(&contact));
    }

    fn by_itsp(&self, w: &mut World, method: &str, cseq: u32) {
        let target = self.invite.addresses(HeaderName::Contact).next();
        let target = text(target.unwrap().unwrap().uri_bytes());
        let (from, to) = (self.invite.to().unwrap(), self.invite.from().unwrap());
        let (from, to) = (text(from.uri_bytes()), text(to.uri_bytes()));
        let call_id = text(self.invite.call_id());
        let branch = format!("z9hG4bKi{method}{cseq}");
        let mut request = req(method, &target);
        (request.from, request.to) = (&from, &to);
        (request.from_tag, request.to_tag) = ("far", "f1");
        (request.cseq, request.branch) = (cseq, &branch);
        request.call_id = &call_id;
        let contact = format!("Contact: {}", self.itsp.contact("x"));
        w.send(&self.itsp, &request.extra(&contact));
    }
}

#[test]
fn a_call_out_is_veiled_and_proves_itself_in_both_directions() {
    let mut w = world();
    let call = outbound(&mut w);
    call.by_phone(&mut w, "ACK", 2);
    let ack = w.take(&call.itsp);
    assert_veiled(&ack);
    assert_eq!(cseq(&ack), cseq(&call.invite));
    assert!(ack.has(HeaderName::Authorization), "RFC 3261 §22.1");
    // A re-INVITE of the phone is challenged anew, with another nonce.
    call.by_phone(&mut w, "INVITE", 3);
    let again = w.take(&call.itsp);
    challenge(&mut w, &call.itsp, &again, 407, "two");
    let proven = w.take(&call.itsp);
    assert_veiled(&proven);
    assert_eq!(cseq(&proven), cseq(&again) + 1);
    assert!(header(&proven, HeaderName::ProxyAuthorization).contains("nonce=\"two\""));
    w.answer(&call.itsp, &proven, 200, "far");
    assert_eq!(take(&mut w, &call.phone).status(), 200);
    call.by_phone(&mut w, "ACK", 3);
    assert_eq!(cseq(&w.take(&call.itsp)), cseq(&proven));
    // One of the far end finds the phone, and the answer shows only us.
    call.by_itsp(&mut w, "INVITE", 50);
    let inside = w.take(&call.phone);
    assert_eq!(text(inside.request_uri()), "sip:100@192.0.2.20:5062");
    assert_eq!(text(inside.call_id()), "call-1");
    assert_eq!(
        header(&inside, HeaderName::From),
        "<sip:915550199@example.com>;tag=far"
    );
    w.answer(&call.phone, &inside, 200, "f1");
    let answer = take(&mut w, &call.itsp);
    assert_eq!(answer.status(), 200);
    assert_veiled(&answer);
    call.by_itsp(&mut w, "ACK", 50);
    assert_eq!(w.take(&call.phone).method(), Method::Ack);
    // BYE is challenged too.
    call.by_phone(&mut w, "BYE", 4);
    let bye = w.take(&call.itsp);
    assert_veiled(&bye);
    challenge(&mut w, &call.itsp, &bye, 407, "three");
    let proven = w.take(&call.itsp);
    assert_eq!(cseq(&proven), cseq(&bye) + 1);
    w.answer(&call.itsp, &proven, 200, "far");
    assert_eq!(take(&mut w, &call.phone).status(), 200);
    w.wait_s(300);
    assert_eq!(w.core.load(), (0, 0));
    assert_eq!(w.core.borders(), 0);
}

#[test]
fn the_far_end_hangs_up() {
    let mut w = world();
    let call = outbound(&mut w);
    call.by_phone(&mut w, "ACK", 2);
    w.take(&call.itsp);
    call.by_itsp(&mut w, "BYE", 9);
    let bye = w.take(&call.phone);
    assert_eq!(bye.method(), Method::Bye);
    w.answer(&call.phone, &bye, 200, "f1");
    let done = take(&mut w, &call.itsp);
    assert_eq!(done.status(), 200);
    assert_veiled(&done);
    w.wait_s(300);
    assert_eq!((w.core.load(), w.core.borders()), ((0, 0), 0));
}

#[test]
fn the_operator_hangs_up_in_the_far_ends_terms() {
    let mut w = world();
    let call = outbound(&mut w);
    call.by_phone(&mut w, "ACK", 2);
    w.take(&call.itsp);
    let voip::control::Reply::Calls { rows } = w.command(Command::Calls) else {
        panic!()
    };
    let id = rows[0].id.clone();
    w.command(Command::Hangup { id });
    let bye = w.take(&call.itsp);
    assert_eq!(bye.method(), Method::Bye);
    assert_veiled(&bye);
    assert_eq!(bye.call_id(), call.invite.call_id());
    assert!(cseq(&bye) > cseq(&call.invite));
    assert!(bye.has(HeaderName::Authorization));
    assert_eq!(w.take(&call.phone).method(), Method::Bye);
}

#[test]
fn a_wrong_password_is_tried_once_and_the_backup_takes_over() {
    let mut w = world();
    let (itsp, backup, phone) = (peer(ITSP), peer(BACKUP), peer(PHONE));
    w.send_proven(&phone, &invite("sip:915550199@example.com"), "100");
    let first = w.take(&itsp);
    challenge(&mut w, &itsp, &first, 407, "one");
    let again = w.take(&itsp);
    challenge(&mut w, &itsp, &again, 407, "two");
    let third = w.take(&itsp);
    challenge(&mut w, &itsp, &third, 407, "three");
    // Each nonce was new, so each was answered, but there is an end to it.
    let invite = w.take(&backup);
    w.answer(&backup, &invite, 486, "b");
    assert_eq!(w.take(&backup).method(), Method::Ack);
    assert_eq!(take(&mut w, &phone).status(), 486);
    w.wait_s(300);
    assert_eq!((w.core.load(), w.core.borders()), ((0, 0), 0));
}

#[test]
fn failures_of_the_way_go_on_and_those_of_the_callee_do_not() {
    for (status, goes_on) in [
        (503, true),
        (500, true),
        (408, true),
        (486, false),
        (603, false),
    ] {
        let mut w = world();
        let (itsp, backup, phone) = (peer(ITSP), peer(BACKUP), peer(PHONE));
        w.send_proven(&phone, &invite("sip:915550199@example.com"), "100");
        let first = w.take(&itsp);
        w.answer(&itsp, &first, status, "b");
        assert_eq!(w.take(&itsp).method(), Method::Ack);
        if goes_on {
            let second = w.take(&backup);
            w.answer(&backup, &second, 200, "c");
            assert_eq!(take(&mut w, &phone).status(), 200, "{status}");
        } else {
            assert_eq!(take(&mut w, &phone).status(), status);
            w.nothing();
        }
    }
}

#[test]
fn a_silent_trunk_is_left_after_the_configured_time_and_may_still_answer() {
    let mut w = world();
    let (itsp, backup, phone) = (peer(ITSP), peer(BACKUP), peer(PHONE));
    w.send_proven(&phone, &invite("sip:915550199@example.com"), "100");
    let first = w.take(&itsp);
    w.wait(Duration::from_millis(5900));
    while !w.sent.is_empty() {
        let sent = w.sent.pop_front().unwrap();
        assert_ne!(sent.destination.remote(), backup.flow.remote);
    }
    w.wait(Duration::from_millis(200));
    let second = w.take(&backup);
    w.answer(&backup, &second, 180, "b");
    assert_eq!(take(&mut w, &phone).status(), 180);
    // The first one was slow, not dead: whoever answers first has the call.
    w.answer(&itsp, &first, 200, "a");
    assert_eq!(take(&mut w, &phone).status(), 200);
    let cancel = w.take(&backup);
    assert_eq!(cancel.method(), Method::Cancel);
}

#[test]
fn a_trunk_that_stops_in_mid_set_up_is_left_when_the_step_rang_long_enough() {
    let mut w = world();
    let (itsp, backup, phone) = (peer(ITSP), peer(BACKUP), peer(PHONE));
    w.send_proven(&phone, &invite("sip:915550199@example.com"), "100");
    let first = w.take(&itsp);
    w.answer(&itsp, &first, 183, "a");
    assert_eq!(take(&mut w, &phone).status(), 183);
    w.wait_s(19);
    w.nothing();
    w.wait_s(2);
    assert_eq!(w.take(&itsp).method(), Method::Cancel);
    // Nobody answers the CANCEL: the backup does not wait for that.
    let second = w.take(&backup);
    w.answer(&backup, &second, 200, "b");
    assert_eq!(take(&mut w, &phone).status(), 200);
}

#[test]
fn limits_of_a_trunk_send_the_call_on_or_back() {
    let mut w = world();
    let (itsp, backup, phone) = (peer(ITSP), peer(BACKUP), peer(PHONE));
    let mut one = invite("sip:915550199@example.com");
    w.send_proven(&phone, &one, "100");
    let first = w.take(&itsp);
    w.answer(&itsp, &first, 503, "a");
    w.take(&itsp);
    let up = w.take(&backup);
    w.answer(&backup, &up, 200, "b");
    assert_eq!(take(&mut w, &phone).status(), 200);
    // The backup takes one call at a time, and has it.
    (one.call_id, one.branch, one.from_tag) = ("call-2", "z9hG4bKb2", "f2");
    w.send_proven(&phone, &one, "100");
    let first = w.take(&itsp);
    w.answer(&itsp, &first, 503, "a");
    w.take(&itsp);
    let status = take(&mut w, &phone).status();
    assert!(status >= 500, "{status}");
    w.wait_s(1);
    assert!(
        w.sent
            .iter()
            .all(|s| s.destination.remote() != backup.flow.remote)
    );
}

fn notes(w: &World) -> Vec<String> {
    let cdrs = w.records.iter().filter_map(|record| match record {
        Record::Cdr(cdr) => Some(cdr.note.to_string()),
        _ => None,
    });
    cdrs.collect()
}

/// A user calls out, the `n`th time; the one who gets it says 486, and so does the caller hear.
/// `None`: nobody gets it, and the caller hears 503.
fn try_out(w: &mut World, user: &str, n: u32) -> Option<&'static str> {
    // What was sent again of the try before.
    w.sent.clear();
    let (phone, call_id, branch) = (peer(PHONE), format!("try-{n}"), format!("z9hG4bKtry{n}"));
    let mut request = invite("sip:915550199@example.com");
    let from = format!("sip:{user}@example.com");
    (request.call_id, request.branch, request.from) = (&call_id, &branch, &from);
    w.send_proven(&phone, &request, user);
    w.wait_s(1);
    let at = |w: &World, address: &str| {
        let address = peer(address).flow.remote;
        w.sent.iter().any(|s| s.destination.remote() == address)
    };
    let found = [ITSP, BACKUP].into_iter().find(|address| at(w, address));
    if let Some(address) = found {
        let got = w.take(&peer(address));
        assert_eq!(got.method(), Method::Invite);
        w.answer(&peer(address), &got, 486, "n");
        // It was sent again meanwhile.
        while w.take(&peer(address)).method() != Method::Ack {}
    }
    let heard = take(w, &phone);
    let tag = text(heard.to().unwrap().tag().unwrap());
    let branch = format!("{branch}p");
    let mut ack = req("ACK", request.uri);
    (ack.to, ack.to_tag, ack.from) = (request.to, &tag, request.from);
    (ack.call_id, ack.branch, ack.cseq) = (&call_id, &branch, 2);
    w.send(&phone, &ack);
    assert_eq!(heard.status(), if found.is_some() { 486 } else { 503 });
    found
}

#[test]
fn calls_a_minute_of_a_trunk_are_those_of_all_users() {
    let mut w = World::with(&format!("{CONFIG}[fraud]\ntrunk_calls_per_minute = 2\n"));
    w.core.peers().set_secret("itsp", Some(b"secret".to_vec()));
    // One call, though it is sent twice: with a proof behind a challenge.
    let call = outbound(&mut w);
    call.by_phone(&mut w, "BYE", 3);
    let bye = w.take(&call.itsp);
    w.answer(&call.itsp, &bye, 200, "far");
    assert_eq!(take(&mut w, &call.phone).status(), 200);
    let tries = [("300", ITSP), ("100", BACKUP), ("300", BACKUP)];
    for (n, (user, gets_it)) in (1..).zip(tries) {
        assert_eq!(try_out(&mut w, user, n), Some(gets_it), "{n}");
    }
    assert_eq!(try_out(&mut w, "100", 4), None);
    let notes: Vec<String> = notes(&w);
    let told = "fraud: trunk_calls_per_minute of itsp; fraud: trunk_calls_per_minute of backup";
    assert!(notes.iter().any(|note| note == told), "{notes:?}");
    w.wait_s(60);
    assert_eq!(try_out(&mut w, "100", 5), Some(ITSP));
}

#[test]
fn minutes_of_a_trunk_last_from_answer_to_end_whoever_calls() {
    let mut w = World::with(&format!("{CONFIG}[fraud]\ntrunk_minutes_per_day = 2\n"));
    w.core.peers().set_secret("itsp", Some(b"secret".to_vec()));
    let call = outbound(&mut w);
    w.wait_s(100);
    assert_eq!(try_out(&mut w, "300", 1), Some(ITSP));
    call.by_itsp(&mut w, "BYE", 1);
    let bye = w.take(&call.phone);
    w.answer(&call.phone, &bye, 200, "x");
    assert_eq!(take(&mut w, &call.itsp).status(), 200);
    // Nothing is counted any more, nor for a call that came to nothing.
    w.wait_s(600);
    assert_eq!(try_out(&mut w, "300", 2), Some(ITSP));
    // A call that lasts counts, too.
    let mut second = invite("sip:915550199@example.com");
    (second.call_id, second.branch) = ("second", "z9hG4bKsecond");
    second.from = "sip:300@example.com";
    w.send_proven(&call.phone, &second, "300");
    let there = w.take(&call.itsp);
    w.answer(&call.itsp, &there, 200, "far");
    assert_eq!(take(&mut w, &call.phone).status(), 200);
    w.wait_s(25);
    assert_eq!(try_out(&mut w, "100", 3), Some(BACKUP));
}

#[test]
fn a_call_that_comes_in_sees_only_us() {
    let mut w = world();
    let (itsp, phone) = (peer(ITSP), Peer::nat("10.0.0.7:5060", "192.0.2.21:6000"));
    w.register("200", &phone, "");
    let mut request = req("INVITE", "sip:34915550100@192.0.2.10");
    (request.from, request.to) = (
        "sip:34600111222@itsp.example",
        "sip:34915550100@itsp.example",
    );
    let contact = format!("Contact: {}", itsp.contact("gw"));
    let request = request
        .extra(&contact)
        .extra("Record-Route: <sip:sbc.itsp.example;lr>");
    w.send(&itsp, &request);
    let inside = w.take(&phone);
    assert_eq!(inside.method(), Method::Invite);
    assert!(header(&inside, HeaderName::From).contains("sip:600111222@"));
    w.answer(&phone, &inside, 180, "n");
    let ringing = take(&mut w, &itsp);
    assert_eq!(ringing.status(), 180);
    w.answer(&phone, &inside, 200, "n");
    let answer = take(&mut w, &itsp);
    let all = text(answer.bytes());
    assert!(
        !all.contains("10.0.0.7") && !all.contains("192.0.2.21"),
        "{all}"
    );
    assert_eq!(
        values(&answer, HeaderName::RecordRoute),
        ["<sip:sbc.itsp.example;lr>"]
    );
    assert!(header(&answer, HeaderName::From).contains("34600111222@itsp.example"));
    let target = answer
        .addresses(HeaderName::Contact)
        .next()
        .unwrap()
        .unwrap();
    let target = text(target.uri_bytes());
    let in_dialog = |method: &'static str, cseq: u32, branch: &'static str, target: &str| {
        let mut request = req(method, target);
        (request.from, request.to) = (
            "sip:34600111222@itsp.example",
            "sip:34915550100@itsp.example",
        );
        (request.to_tag, request.cseq, request.branch) = ("n", cseq, branch);
        request.text(&peer(ITSP))
    };
    w.from(&itsp, in_dialog("ACK", 1, "z9hG4bKack", &target));
    assert_eq!(w.take(&phone).method(), Method::Ack);
    w.from(&itsp, in_dialog("BYE", 2, "z9hG4bKbye", &target));
    let bye = w.take(&phone);
    assert_eq!(bye.method(), Method::Bye);
    w.answer(&phone, &bye, 200, "n");
    assert_eq!(take(&mut w, &itsp).status(), 200);
    w.wait_s(300);
    assert_eq!((w.core.load(), w.core.borders()), ((0, 0), 0));
}

#[test]
fn a_trunk_reaches_only_what_routes_give_it() {
    let mut w = world();
    let itsp = peer(ITSP);
    for (uri, wanted) in [
        ("sip:915550199@192.0.2.10", 404),
        ("sip:somebody@elsewhere.example", 403),
    ] {
        let mut request = req("INVITE", uri);
        request.from = "sip:1@itsp.example";
        (request.call_id, request.branch) = (uri, "z9hG4bKx1");
        w.send(&itsp, &request);
        assert_eq!(take(&mut w, &itsp).status(), wanted, "{uri}");
        w.wait_s(40);
        w.sent.clear();
    }
}

const POOL: &str = r#"
[[pool]]
name = "media"
algorithm = "round-robin"
members = ["sip:203.0.113.11", "sip:203.0.113.12", "sip:203.0.113.13"]
probe_s = 0
[[route]]
match = "7XX"
to = ["pool:media"]
"#;

#[test]
fn a_pool_fails_over_within_the_set_up() {
    let mut w = World::with(POOL);
    let phone = peer(PHONE);
    let members = [1, 2, 3].map(|n| peer(&format!("203.0.113.1{n}:5060")));
    w.send_proven(&phone, &invite("sip:700@example.com"), "100");
    let asked = |w: &World| {
        let to = w.sent.iter().map(|s| s.destination.remote());
        let at = |remote| members.iter().position(|m| m.flow.remote == remote);
        to.filter_map(at).next().unwrap()
    };
    let first = asked(&w);
    let request = w.take(&members[first]);
    assert_eq!(text(request.call_id()), "call-1", "nothing hides here");
    w.answer(&members[first], &request, 503, "a");
    assert_eq!(w.take(&members[first]).method(), Method::Ack);
    let second = asked(&w);
    assert_ne!(first, second);
    let request = w.take(&members[second]);
    // The callee is busy, and would be so everywhere.
    w.answer(&members[second], &request, 486, "b");
    w.take(&members[second]);
    assert_eq!(take(&mut w, &phone).status(), 486);
    w.nothing();
}

/// An ITSP asks, from wherever it likes, whether the Contact lives that was registered at it.
#[test]
fn our_contact_is_answered_to_who_knows_it() {
    let mut w = world();
    let trunk = w.core.peers().trunk("itsp").unwrap();
    let itsp = peer("198.51.100.77:5060");
    let known = format!("sip:5700020326@example.com;line={}", trunk.line());
    let mut request = req("OPTIONS", &known);
    request.to = &known;
    w.send(&itsp, &request);
    let first = w.take(&itsp);
    assert_eq!((first.status(), w.core.load().0), (200, 0));
    w.send(&itsp, &request);
    let again = w.take(&itsp);
    assert_eq!(
        header(&again, HeaderName::To),
        header(&first, HeaderName::To)
    );
    for guessed in [
        "sip:5700020326@example.com;line=x",
        "sip:5700020326@example.com",
    ] {
        let mut request = req("OPTIONS", guessed);
        (request.to, request.branch, request.call_id) = (guessed, "z9hG4bKguess", guessed);
        w.send(&itsp, &request);
        assert_ne!(w.status(&itsp), 200, "{guessed}");
    }
}

// ------------------------------------------------------------ announcements

/// 203.0.113.1 calls 5001 in PCMU; who that is.
fn calls_5001(w: &mut World) -> Peer {
    let itsp = peer(ITSP);
    let uri = "sip:5001@192.0.2.10";
    let mut invite = req("INVITE", uri).extra("Contact: <sip:gw@203.0.113.1:5060>");
    (invite.from, invite.to) = ("sip:600123456@203.0.113.1", uri);
    invite.body = bridge::PCMU;
    w.send(&itsp, &invite);
    itsp
}

/// 203.0.113.1 calls 200, who has no phone: the first answer.
fn comes_in_vain(announcements: &str) -> (World, Message) {
    let services = format!("[services]\nannouncements = {announcements}\n");
    let mut w = World::with(&format!("{services}{}", TRANSFERS.replace("HOW", "refer")));
    let itsp = calls_5001(&mut w);
    let mut answer = take(&mut w, &itsp);
    while answer.status() == 100 {
        answer = take(&mut w, &itsp);
    }
    (w, answer)
}

#[test]
fn who_calls_by_a_trunk_hears_why_it_fails_where_all_do() {
    for users in ["false", "true"] {
        assert_eq!(comes_in_vain(users).1.status(), 480, "{users}");
    }
    let (mut w, early) = comes_in_vain("\"all\"");
    assert_eq!(early.status(), 183);
    assert!(!early.body().is_empty());
    assert!(!crate::services::prompts_said(&w).is_empty());
    crate::services::said(&mut w);
    let mut answer = take(&mut w, &peer(ITSP));
    while answer.status() < 200 {
        answer = take(&mut w, &peer(ITSP));
    }
    assert_eq!(answer.status(), 480);
}

/// Strangers cost nothing that they are not let in for.
#[test]
fn strangers_hear_no_announcement() {
    let mut w = World::with("guests = true\n[services]\nannouncements = \"all\"\n");
    let stranger = Peer::udp("203.0.113.77:5060");
    let uri = "sip:200@example.com";
    let mut invite = req("INVITE", uri).extra("Contact: <sip:x@203.0.113.77:5060>");
    (invite.from, invite.to) = ("sip:x@elsewhere.example", uri);
    invite.body = bridge::PCMU;
    w.send(&stranger, &invite);
    let mut answer = w.take(&stranger);
    while answer.status() == 100 {
        answer = w.take(&stranger);
    }
    assert_eq!(answer.status(), 480);
}

// ------------------------------------------------------------ transfers

const TRANSFERS: &str = r#"
[[trunk]]
name = "itsp"
uri = "sip:203.0.113.1"
probe_s = 0
transfer = "HOW"
[[route]]
name = "in"
match = "5001"
from = ["trunk:itsp"]
to = ["user:200"]
[[route]]
name = "out"
match = "9XXXXXXXX"
to = ["trunk:itsp"]
"#;

/// 203.0.113.1 calls 5001 and 200's phone answers; what the phone got.
fn comes_in(w: &mut World) -> Message {
    let itsp = calls_5001(w);
    let there = w.take(&bridge::bob());
    bridge::described(w, &bridge::bob(), &there, 200, "b", bridge::PCMU);
    let mut answer = take(w, &itsp);
    while answer.status() < 200 {
        answer = take(w, &itsp);
    }
    assert_eq!(answer.status(), 200);
    let (mut tag, mut uri) = (String::new(), String::new());
    let mut ack = crate::services::within("ACK", &answer, &mut tag, &mut uri);
    (ack.from, ack.to, ack.cseq) = ("sip:600123456@203.0.113.1", "sip:5001@192.0.2.10", 1);
    w.send(&itsp, &ack);
    assert_eq!(w.take(&bridge::bob()).method(), Method::Ack);
    there
}

/// 200's phone refers its far end to the parking lot.
fn parks(w: &mut World, there: &Message) {
    let contact = there.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(contact.unwrap().uri_bytes());
    let tag = text(there.from_tag().unwrap());
    let from = text(there.from().unwrap().uri_bytes());
    let mut refer = bridge::of_bob("REFER", there, &uri, 1, ("b", &tag));
    refer.to = &from;
    w.send(
        &bridge::bob(),
        &refer.extra("Refer-To: <sip:*70@example.com>"),
    );
}

#[test]
fn a_refer_to_a_trunk_is_the_trunks_affair_unless_we_transfer() {
    for (how, ours) in [("refer", false), ("bridge", true)] {
        let mut w = World::with(&TRANSFERS.replace("HOW", how));
        w.register("200", &bridge::bob(), "");
        let there = comes_in(&mut w);
        parks(&mut w, &there);
        let rows = match w.command(Command::Parked) {
            voip::control::Reply::Parked { rows } => rows,
            other => panic!("{other:?}"),
        };
        assert_eq!(rows.len(), usize::from(ours), "{how}");
        // Whose phone parked it is known, though a number of the trunk's was called.
        if let [row] = &rows[..] {
            assert_eq!(row.parker.as_deref(), Some("200@example.com"));
        }
        let at_itsp: Vec<String> = w
            .sent
            .iter()
            .filter(|sent| sent.destination.remote() == peer(ITSP).flow.remote)
            .map(|sent| sent.message.method().to_string())
            .collect();
        let expected = if ours { vec![] } else { vec!["REFER"] };
        assert_eq!(at_itsp, expected, "{how}");
        if ours {
            assert_eq!(w.status(&bridge::bob()), 202);
        }
    }
}

#[test]
fn calls_to_a_trunk_are_bridged_where_we_transfer_and_recorded_nowhere() {
    for (how, ours) in [("refer", false), ("bridge", true)] {
        let mut w = World::with(&TRANSFERS.replace("HOW", how));
        let mut invite = invite("sip:915550199@example.com");
        invite.body = bridge::PCMA;
        w.send_proven(&peer(PHONE), &invite, "100");
        let there = take(&mut w, &peer(ITSP));
        bridge::described(&mut w, &peer(ITSP), &there, 200, "t", bridge::PCMA);
        // All codecs of ours, or the phone's alone.
        assert_eq!(text(there.body()).contains("RTP/AVP 8 101"), !ours, "{how}");
        let studio = |order: &&MediaOrder| matches!(order, MediaOrder::Studio(_));
        assert_eq!(w.orders.iter().any(|order| studio(&order)), ours, "{how}");
        let tape = |order: &MediaOrder| matches!(order, MediaOrder::Studio(Order::Tape { .. }));
        assert!(!w.orders.iter().any(tape), "{how}");
    }
}
