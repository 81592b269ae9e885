//! Parking, as phones see it: who waits, who fetches, who is called back.

use crate::bridge;
use crate::services::within;
use crate::world::{Peer, World, header, req, text, values};
use voip::control::{Command, ParkedRow, Reply};
use voip::media::{Order, Sound, Task};
use voip::server::MediaOrder;
use voip::wire::sip::{HeaderName, Message, Method};

const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

pub fn peer(user: &str) -> Peer {
    let last = user.chars().next().unwrap();
    Peer::udp(&format!("192.0.2.3{last}:5060"))
}

/// A user calls a number under a Call-ID of that name; the final answer, acknowledged.
pub fn call(w: &mut World, user: &str, number: &str, call_id: &str, lines: &[&str]) -> Message {
    call_with(w, (user, number), call_id, lines, |_| {})
}

/// The same, with what happens elsewhere before the answer.
pub fn call_while(
    w: &mut World,
    user: &str,
    number: &str,
    call_id: &str,
    then: impl FnOnce(&mut World),
) -> Message {
    call_with(w, (user, number), call_id, &[], then)
}

fn call_with(
    w: &mut World,
    (user, number): (&str, &str),
    call_id: &str,
    lines: &[&str],
    then: impl FnOnce(&mut World),
) -> Message {
    let uri = match number.contains(':') {
        true => number.to_owned(),
        false => format!("sip:{number}@example.com"),
    };
    let from = format!("sip:{user}@example.com");
    let branch = format!("z9hG4bK{call_id}");
    let own = format!("Contact: {}", peer(user).contact(user));
    let mut invite = req("INVITE", &uri).extra(&own);
    for line in lines {
        invite = invite.extra(line);
    }
    (invite.from, invite.to, invite.call_id) = (&from, &uri, call_id);
    (invite.branch, invite.body) = (&branch, OFFER);
    w.send_proven(&peer(user), &invite, user);
    then(w);
    let mut answer = w.take(&peer(user));
    while answer.status() < 200 {
        answer = w.take(&peer(user));
    }
    if answer.status() == 200 {
        let (mut tag, mut uri) = (String::new(), String::new());
        let mut ack = within("ACK", &answer, &mut tag, &mut uri);
        (ack.from, ack.call_id) = (&from, call_id);
        w.send(&peer(user), &ack);
    }
    answer
}

pub fn bye(w: &mut World, user: &str, answer: &Message) {
    let (mut tag, mut uri) = (String::new(), String::new());
    let from = format!("sip:{user}@example.com");
    let call_id = text(answer.call_id());
    let branch = format!("z9hG4bKbye{call_id}");
    let mut request = within("BYE", answer, &mut tag, &mut uri);
    (request.from, request.call_id, request.branch) = (&from, &call_id, &branch);
    request.cseq = 9;
    w.send(&peer(user), &request);
    assert_eq!(w.status(&peer(user)), 200);
}

fn parked(w: &mut World) -> Vec<ParkedRow> {
    match w.command(Command::Parked) {
        Reply::Parked { rows } => rows,
        other => panic!("{other:?}"),
    }
}

/// Slot, who waits, who parked.
fn rows(w: &mut World) -> Vec<(String, String, String)> {
    let rows = parked(w).into_iter();
    let row = |r: ParkedRow| (r.slot, r.number, r.parker.unwrap_or_default());
    rows.map(row).collect()
}

fn row(slot: &str, number: &str, parker: &str) -> (String, String, String) {
    (slot.into(), number.into(), parker.into())
}

pub fn last_tasks(w: &World) -> Vec<Task> {
    let tasks = w.orders.iter().filter_map(|order| match order {
        MediaOrder::Studio(Order::Do { what, .. }) => Some(what.clone()),
        _ => None,
    });
    tasks.collect()
}

fn is_music(task: &Task) -> bool {
    matches!(task, Task::Play { sounds, rounds: None, .. } if sounds == &[Sound::Music])
}

const BY_100: &str = "Referred-By: <sip:100@192.0.2.31:5060>";

#[test]
fn a_transferred_call_waits_and_one_of_the_house_fetches_it() {
    let mut w = World::new();
    let waits = call(&mut w, "200", "*70", "park", &[BY_100]);
    assert_eq!(waits.status(), 200);
    assert!(is_music(last_tasks(&w).last().unwrap()));
    assert_eq!(rows(&mut w), [row("701", "200", "100@example.com")]);
    let fetches = call(&mut w, "300", "701", "fetch", &[]);
    assert_eq!(fetches.status(), 200);
    assert_eq!(rows(&mut w), []);
    let tasks = last_tasks(&w);
    let [.., Task::Join(a), Task::Join(b)] = &tasks[..] else {
        panic!("{tasks:?}")
    };
    assert_eq!(a.room, b.room);
    // One that comes later finds nobody.
    assert_eq!(call(&mut w, "400", "701", "late", &[]).status(), 200);
    let said = last_tasks(&w);
    assert!(matches!(
        said.last(),
        Some(Task::Play {
            rounds: Some(1),
            ..
        })
    ));
    bye(&mut w, "300", &fetches);
    let end = w.take(&peer("200"));
    assert_eq!(end.method(), Method::Bye);
    w.answer(&peer("200"), &end, 200, "x");
}

#[test]
fn a_route_keeps_the_number_of_a_slot_where_nobody_waits() {
    let mut w = World::with("[[route]]\nmatch = \"70X\"\nto = [\"user:500\"]\n");
    let routed = call(&mut w, "300", "701", "before", &[]);
    assert_eq!((routed.status(), last_tasks(&w).len()), (480, 0));
    assert_eq!(call(&mut w, "200", "*70", "park", &[BY_100]).status(), 200);
    assert_eq!(rows(&mut w), [row("701", "200", "100@example.com")]);
    assert_eq!(call(&mut w, "300", "701", "fetch", &[]).status(), 200);
    assert_eq!(rows(&mut w), []);
    assert_eq!(call(&mut w, "300", "701", "after", &[]).status(), 480);
}

#[test]
fn slots_are_for_the_house_alone() {
    let trunk = "guests = true\n[[trunk]]\nname = \"itsp\"\nuri = \"sip:198.18.0.1\"\n";
    let mut w = World::with(trunk);
    call(&mut w, "200", "*70", "park", &[BY_100]);
    for (address, number) in [
        ("203.0.113.9:5060", "701"),
        ("203.0.113.9:5060", "*70"),
        ("198.18.0.1:5060", "701"),
    ] {
        let stranger = Peer::udp(address);
        let uri = format!("sip:{number}@example.com");
        let own = format!("Contact: {}", stranger.contact("x"));
        let (call_id, branch) = (
            format!("{address}{number}"),
            format!("z9hG4bK{address}{number}").replace([':', '*'], "x"),
        );
        let mut invite = req("INVITE", &uri).extra(&own);
        (invite.from, invite.to, invite.body) = ("sip:x@elsewhere.example", &uri, OFFER);
        (invite.call_id, invite.branch) = (&call_id, &branch);
        w.send(&stranger, &invite);
        let mut answer = w.take(&stranger);
        while answer.status() < 200 {
            answer = w.take(&stranger);
        }
        assert!(answer.status() >= 400, "{address} {number}: {answer:?}");
    }
    assert_eq!(rows(&mut w).len(), 1);
}

#[test]
fn who_parked_is_called_back_when_the_time_is_up() {
    let mut w = World::with("[parking]\ntimeout_s = 20\nring_s = 15\n");
    w.register("100", &peer("100"), "");
    call(&mut w, "200", "*70", "park", &[BY_100]);
    w.wait_s(19);
    w.nothing();
    w.wait_s(2);
    let back = w.take(&peer("100"));
    assert_eq!(back.method(), Method::Invite);
    // What was repeated meanwhile.
    w.sent.clear();
    assert!(header(&back, HeaderName::From).contains("sip:200@example.com"));
    // It does not answer: the call waits on, and once more.
    w.answer(&peer("100"), &back, 180, "r");
    w.wait_s(16);
    let cancel = w.take(&peer("100"));
    assert_eq!(cancel.method(), Method::Cancel);
    w.sent.clear();
    w.answer(&peer("100"), &cancel, 200, "r");
    w.answer(&peer("100"), &back, 487, "r");
    assert_eq!(w.take(&peer("100")).method(), Method::Ack);
    assert_eq!(rows(&mut w).len(), 1);
    // Twenty seconds since it was given up; without an answer the proxy gives a phone up soon.
    w.wait_s(18);
    let back = w.take(&peer("100"));
    w.sent.clear();
    bridge::described(&mut w, &peer("100"), &back, 200, "s", bridge::PCMU);
    assert_eq!(w.take(&peer("100")).method(), Method::Ack);
    assert_eq!(rows(&mut w), []);
    let tasks = last_tasks(&w);
    assert!(matches!(
        &tasks[tasks.len() - 2..],
        [Task::Bridge { .. }, Task::Bridge { .. }]
    ));
}

#[test]
fn an_attended_transfer_takes_the_slot_that_was_heard() {
    let mut w = World::new();
    let consultation = call(&mut w, "100", "*70", "consult", &[]);
    let row = parked(&mut w).remove(0);
    assert_eq!((&*row.slot, row.provisional), ("701", true));
    // 100 refers 200 to its dialog with us.
    let theirs = text(consultation.from().unwrap().tag().unwrap());
    let ours = text(consultation.to().unwrap().tag().unwrap());
    let contact = consultation.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(contact.unwrap().uri_bytes());
    let replaces = format!("Replaces: consult;to-tag={ours};from-tag={theirs}");
    assert_eq!(
        call(&mut w, "200", &uri, "taker", &[&replaces]).status(),
        200
    );
    let end = w.take(&peer("100"));
    assert_eq!(end.method(), Method::Bye);
    w.answer(&peer("100"), &end, 200, "x");
    assert_eq!(rows(&mut w), [self::row("701", "200", "100@example.com")]);
    assert!(!parked(&mut w)[0].provisional);
    assert_eq!(call(&mut w, "300", "701", "fetch", &[]).status(), 200);
}

#[test]
fn who_gives_up_frees_the_slot() {
    let mut w = World::new();
    let waits = call(&mut w, "200", "*70", "park", &[BY_100]);
    bye(&mut w, "200", &waits);
    assert_eq!(rows(&mut w), []);
    let consultation = call(&mut w, "100", "*70", "consult", &[]);
    bye(&mut w, "100", &consultation);
    assert_eq!(rows(&mut w), []);
    w.wait_s(64);
    assert_eq!(w.core.callers(), 0);
}

#[test]
fn the_proxy_tells_who_parked() {
    let mut w = World::new();
    w.register("200", &peer("200"), "");
    // 100 talks to 200, phone to phone.
    let uri = "sip:200@example.com";
    let own = format!("Contact: {}", peer("100").contact("100"));
    let mut invite = req("INVITE", uri).extra(&own);
    invite.body = OFFER;
    w.send_proven(&peer("100"), &invite, "100");
    let there = w.take(&peer("200"));
    bridge::described(&mut w, &peer("200"), &there, 200, "b", bridge::PCMU);
    let mut answer = w.take(&peer("100"));
    while answer.status() < 200 {
        answer = w.take(&peer("100"));
    }
    let (mut tag, mut target) = (String::new(), String::new());
    let ack = within("ACK", &answer, &mut tag, &mut target);
    w.send(&peer("100"), &ack);
    assert_eq!(w.take(&peer("200")).method(), Method::Ack);
    let refer = within("REFER", &answer, &mut tag, &mut target);
    let mut refer = refer.extra(&own).extra("Refer-To: <sip:*70@example.com>");
    (refer.cseq, refer.branch) = (5, "z9hG4bKrefer");
    w.send(&peer("100"), &refer);
    let refer = w.take(&peer("200"));
    assert_eq!(refer.method(), Method::Refer);
    w.answer(&peer("200"), &refer, 202, "b");
    assert_eq!(w.status(&peer("100")), 202);
    // 200's phone does not say by whom it was referred.
    assert_eq!(call(&mut w, "200", "*70", "park", &[]).status(), 200);
    assert_eq!(rows(&mut w), [row("701", "200", "100@example.com")]);
    assert!(is_music(last_tasks(&w).last().unwrap()));
}

#[test]
fn one_end_of_a_bridged_call_parks_the_other() {
    let mut w = World::new();
    let (_, answer) = bridge::talking(&mut w);
    let (mut tag, mut uri) = (String::new(), String::new());
    let own = format!("Contact: {}", bridge::alice().contact("100"));
    let refer = bridge::of_alice("REFER", &answer, (&mut tag, &mut uri), 3);
    let refer = refer.extra(&own).extra("Refer-To: <sip:*70@example.com>");
    w.send(&bridge::alice(), &refer);
    assert_eq!(bridge::at_alice(&mut w).status(), 202);
    let told = bridge::told(&mut w, &bridge::alice());
    assert_eq!(told, ["active 100 Trying", "terminated 200 OK"]);
    let end = bridge::at_alice(&mut w);
    assert_eq!(end.method(), Method::Bye);
    w.answer(&bridge::alice(), &end, 200, "x");
    assert_eq!(rows(&mut w), [row("701", "200", "100@example.com")]);
    assert!(is_music(last_tasks(&w).last().unwrap()));
    // Who fetches sends it on: 200, which is ours to call with, calls 400.
    w.register("400", &peer("400"), "");
    let fetches = call(&mut w, "300", "701", "fetch", &[]);
    let own = format!("Contact: {}", peer("300").contact("300"));
    let mut refer = within("REFER", &fetches, &mut tag, &mut uri);
    (refer.from, refer.call_id, refer.cseq) = ("sip:300@example.com", "fetch", 3);
    refer.branch = "z9hG4bKsendson";
    let refer = refer.extra(&own).extra("Refer-To: <sip:400@example.com>");
    w.send(&peer("300"), &refer);
    assert_eq!(w.status(&peer("300")), 202);
    let told = bridge::told(&mut w, &peer("300"));
    assert_eq!(told, ["active 100 Trying"]);
    let there = w.take(&peer("400"));
    assert_eq!(
        header(&there, HeaderName::ReferredBy),
        "<sip:300@example.com>"
    );
    assert!(values(&there, HeaderName::Replaces).is_empty());
    bridge::described(&mut w, &peer("400"), &there, 200, "d", bridge::PCMU);
    assert_eq!(w.take(&peer("400")).method(), Method::Ack);
    let told = bridge::told(&mut w, &peer("300"));
    assert_eq!(told, ["terminated 200 OK"]);
    assert_eq!(w.take(&peer("300")).method(), Method::Bye);
    let tasks = last_tasks(&w);
    assert!(matches!(
        &tasks[tasks.len() - 2..],
        [Task::Bridge { .. }, Task::Bridge { .. }]
    ));
}

/// 100 is parked by 200, and 300 fetches it: 300's answer.
fn fetched(w: &mut World) -> Message {
    let by = "Referred-By: <sip:200@192.0.2.32:5060>";
    assert_eq!(call(w, "100", "*70", "park", &[by]).status(), 200);
    let fetches = call(w, "300", "701", "fetch", &[]);
    assert_eq!(fetches.status(), 200);
    fetches
}

/// Who fetched sends the call on; what it is told.
pub fn sends_on(w: &mut World, fetches: &Message, number: &str) -> Vec<String> {
    let (mut tag, mut uri) = (String::new(), String::new());
    let own = format!("Contact: {}", peer("300").contact("300"));
    let to = format!("Refer-To: <sip:{number}@example.com>");
    let mut refer = within("REFER", fetches, &mut tag, &mut uri);
    (refer.from, refer.call_id, refer.cseq) = ("sip:300@example.com", "fetch", 3);
    refer.branch = "z9hG4bKsendson";
    let refer = refer.extra(&own).extra(&to);
    w.send(&peer("300"), &refer);
    assert_eq!(w.status(&peer("300")), 202);
    bridge::told(w, &peer("300"))
}

/// RFC 5589 §6.2: a transfer that fails leaves the call with who asked for it.
#[test]
fn a_fetched_call_that_is_sent_on_in_vain_comes_back() {
    let mut w = World::new();
    w.register("400", &peer("400"), "");
    let fetches = fetched(&mut w);
    assert_eq!(sends_on(&mut w, &fetches, "400"), ["active 100 Trying"]);
    let there = w.take(&peer("400"));
    w.answer(&peer("400"), &there, 486, "d");
    assert_eq!(w.take(&peer("400")).method(), Method::Ack);
    assert_eq!(
        bridge::told(&mut w, &peer("300")),
        ["terminated 486 Busy Here"]
    );
    assert!(matches!(last_tasks(&w).last(), Some(Task::Join(_))));
    w.nothing();
    assert_eq!(w.core.callers(), 2);
}

#[test]
fn a_fetched_call_is_parked_again() {
    let mut w = World::new();
    let fetches = fetched(&mut w);
    let told = sends_on(&mut w, &fetches, "*70");
    assert_eq!(told, ["active 100 Trying", "terminated 200 OK"]);
    assert_eq!(rows(&mut w), [row("701", "100", "300@example.com")]);
    assert!(is_music(last_tasks(&w).last().unwrap()));
    assert_eq!(w.take(&peer("300")).method(), Method::Bye);
}
