//! Branches and their answers: RFC 3261 §16.6 to §16.10.

use crate::world::{Peer, World, header, req, values};
use voip::control::{Command, Reply};
use voip::wire::sip::{HeaderName, Message, Method};

fn peers() -> (Peer, [Peer; 3]) {
    let caller = Peer::udp("203.0.113.1:5060");
    let phones = [
        "203.0.113.21:5060",
        "203.0.113.22:5060",
        "203.0.113.23:5060",
    ];
    (caller, phones.map(Peer::udp))
}

/// User 200 registered at three phones with these preferences, called by 100.
fn called(q: [&str; 3]) -> (World, Peer, [Peer; 3]) {
    let (caller, phones) = peers();
    let mut w = World::new();
    for (phone, q) in phones.iter().zip(q) {
        w.register("200", phone, q);
    }
    w.send_proven(&caller, &req("INVITE", "sip:200@example.com"), "100");
    (w, caller, phones)
}

fn take_invites(w: &mut World, phones: &[Peer]) -> Vec<Message> {
    let invites: Vec<Message> = phones.iter().map(|p| w.take(p)).collect();
    assert!(invites.iter().all(|m| m.method() == Method::Invite));
    invites
}

/// Takes a CANCEL, answers it and its INVITE, takes the ACK; gives the CANCEL's Reason.
fn cancelled(w: &mut World, phone: &Peer, invite: &Message) -> String {
    let sent = w.take_sent(phone);
    let (cancel, to) = (sent.message, &sent.destination);
    assert_eq!(cancel.method(), Method::Cancel);
    assert_eq!(
        cancel.top_via().unwrap().branch(),
        invite.top_via().unwrap().branch()
    );
    // While a test waited, the CANCEL was repeated.
    w.sent
        .retain(|s| s.message.method() != Method::Cancel || s.destination != *to);
    w.answer(phone, &cancel, 200, "c");
    w.answer(phone, invite, 487, "c");
    assert_eq!(w.take(phone).method(), Method::Ack);
    header(&cancel, HeaderName::Reason)
}

#[test]
fn three_contacts_ring_at_once_and_the_losers_are_cancelled() {
    let (mut w, caller, phones) = called(["", "", ""]);
    let invites = take_invites(&mut w, &phones);
    w.nothing();
    let branch = |m: &Message| m.top_via().unwrap().branch().unwrap().to_vec();
    assert_ne!(branch(&invites[0]), branch(&invites[1]));
    for (n, phone) in phones.iter().enumerate() {
        w.answer(phone, &invites[n], 180, &format!("t{n}"));
        assert_eq!(w.status(&caller), 180);
    }
    w.answer(&phones[1], &invites[1], 200, "t1");
    assert_eq!(w.status(&caller), 200);
    for n in [0, 2] {
        let reason = cancelled(&mut w, &phones[n], &invites[n]);
        assert!(reason.contains("cause=200"), "{reason}");
    }
    w.nothing();
    w.wait_s(40);
    assert_eq!(w.core.load().0, 0, "transactions left");
}

#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let (mut w, caller, phones) = called(["", "", ""]);
    let invites = take_invites(&mut w, &phones);
    w.answer(&phones[0], &invites[0], 200, "t0");
    assert_eq!(w.status(&caller), 200);
    w.nothing();
    w.answer(&phones[1], &invites[1], 100, "");
    cancelled(&mut w, &phones[1], &invites[1]);
    w.answer(&phones[2], &invites[2], 486, "t2");
    assert_eq!(w.take(&phones[2]).method(), Method::Ack);
    w.nothing();
}

#[test]
fn the_callers_cancel_reaches_every_branch() {
    let (mut w, caller, phones) = called(["", "", ""]);
    let invites = take_invites(&mut w, &phones);
    for (phone, invite) in phones.iter().zip(&invites) {
        w.answer(phone, invite, 180, "t");
        assert_eq!(w.status(&caller), 180);
    }
    let mut cancel = req("CANCEL", "sip:200@example.com").extra("Reason: SIP;cause=487");
    (cancel.branch, cancel.cseq) = ("z9hG4bKa1p", 2);
    w.send(&caller, &cancel);
    assert_eq!(w.status(&caller), 200);
    for (phone, invite) in phones.iter().zip(&invites) {
        assert_eq!(cancelled(&mut w, phone, invite), "SIP;cause=487");
    }
    assert_eq!(w.status(&caller), 487);
    w.nothing();
}

#[test]
fn the_operator_ends_what_rings() {
    let (mut w, caller, phones) = called(["", "", ""]);
    let invites = take_invites(&mut w, &phones);
    for (phone, invite) in phones.iter().zip(&invites) {
        w.answer(phone, invite, 180, "t");
        w.take(&caller);
    }
    let Reply::Calls { rows } = w.command(Command::Calls) else {
        panic!("no listing");
    };
    assert_eq!(rows.len(), 1);
    let id = rows[0].id.clone();
    w.command(Command::Hangup { id });
    for (phone, invite) in phones.iter().zip(&invites) {
        cancelled(&mut w, phone, invite);
    }
    let message = w.take(&caller);
    assert_eq!(message.status(), 487);
    w.nothing();
}

#[test]
fn an_answer_that_crosses_the_cancel_wins() {
    let (mut w, caller, phones) = called(["", "", ""]);
    let invites = take_invites(&mut w, &phones);
    for (phone, invite) in phones.iter().zip(&invites) {
        w.answer(phone, invite, 180, "t");
        w.take(&caller);
    }
    let mut cancel = req("CANCEL", "sip:200@example.com");
    (cancel.branch, cancel.cseq) = ("z9hG4bKa1p", 2);
    w.send(&caller, &cancel);
    assert_eq!(w.status(&caller), 200);
    cancelled(&mut w, &phones[0], &invites[0]);
    cancelled(&mut w, &phones[1], &invites[1]);
    let cancel = w.take(&phones[2]);
    w.answer(&phones[2], &invites[2], 200, "t2");
    w.answer(&phones[2], &cancel, 481, "c");
    assert_eq!(w.status(&caller), 200);
    w.nothing();
}

#[test]
fn a_late_answer_of_a_loser_is_forwarded_too() {
    let (mut w, caller, phones) = called(["", "", ""]);
    let invites = take_invites(&mut w, &phones);
    for (phone, invite) in phones.iter().zip(&invites) {
        w.answer(phone, invite, 180, "t");
        w.take(&caller);
    }
    w.answer(&phones[0], &invites[0], 200, "t0");
    let first = w.take(&caller);
    w.sent.clear();
    w.answer(&phones[1], &invites[1], 200, "t1");
    let second = w.take(&caller);
    let tag = |m: &Message| m.to().unwrap().tag().unwrap().to_vec();
    assert_eq!(
        (tag(&first), tag(&second)),
        (b"t0".to_vec(), b"t1".to_vec())
    );
    // Repetitions pass too: without the caller's ACK the callee repeats its 200.
    w.answer(&phones[0], &invites[0], 200, "t0");
    assert_eq!(w.status(&caller), 200);
    w.answer(&phones[1], &invites[1], 200, "t1");
    assert_eq!(w.status(&caller), 200);
    w.nothing();
}

#[test]
fn six_hundred_ends_it_for_all() {
    let (mut w, caller, phones) = called(["", "", ""]);
    let invites = take_invites(&mut w, &phones);
    for (phone, invite) in phones.iter().zip(&invites) {
        w.answer(phone, invite, 180, "t");
        w.take(&caller);
    }
    w.answer(&phones[0], &invites[0], 603, "t0");
    assert_eq!(w.take(&phones[0]).method(), Method::Ack);
    assert!(
        w.sent
            .iter()
            .all(|s| s.destination.remote() != caller.flow.remote)
    );
    cancelled(&mut w, &phones[1], &invites[1]);
    cancelled(&mut w, &phones[2], &invites[2]);
    assert_eq!(w.status(&caller), 603);
    w.nothing();
}

#[test]
fn the_best_refusal_goes_back() {
    for (statuses, best) in [
        ([404, 486, 500], 404),
        ([500, 503, 480], 480),
        ([503, 503, 503], 500),
        ([302, 486, 503], 302),
        ([486, 415, 404], 415),
    ] {
        let (mut w, caller, phones) = called(["", "", ""]);
        let invites = take_invites(&mut w, &phones);
        for n in 0..3 {
            w.answer(&phones[n], &invites[n], statuses[n], "t");
            assert_eq!(w.take(&phones[n]).method(), Method::Ack);
        }
        assert_eq!(w.status(&caller), best, "{statuses:?}");
        w.nothing();
    }
}

#[test]
fn challenges_of_all_branches_go_back_together() {
    let (mut w, caller, phones) = called(["", "", ""]);
    let invites = take_invites(&mut w, &phones);
    let challenge = |realm: &str| format!("Digest realm=\"{realm}\", nonce=\"n\"");
    let (one, two) = (challenge("one"), challenge("two"));
    w.answer_with(
        &phones[0],
        &invites[0],
        401,
        "t",
        &[(HeaderName::WwwAuthenticate, &one)],
    );
    w.answer_with(
        &phones[1],
        &invites[1],
        407,
        "t",
        &[(HeaderName::ProxyAuthenticate, &two)],
    );
    w.answer(&phones[2], &invites[2], 404, "t");
    for phone in &phones {
        assert_eq!(w.take(phone).method(), Method::Ack);
    }
    let response = w.take(&caller);
    assert!(matches!(response.status(), 401 | 407));
    assert_eq!(response.lines(HeaderName::WwwAuthenticate).count(), 1);
    assert_eq!(response.lines(HeaderName::ProxyAuthenticate).count(), 1);
}

#[test]
fn lower_preferences_wait_their_turn() {
    let (mut w, caller, phones) = called([";q=0.9", ";q=0.5", ";q=0.5"]);
    let first = w.take(&phones[0]);
    w.nothing();
    w.answer(&phones[0], &first, 486, "t0");
    assert_eq!(w.take(&phones[0]).method(), Method::Ack);
    let invites = take_invites(&mut w, &phones[1..]);
    w.answer(&phones[2], &invites[1], 200, "t2");
    assert_eq!(w.status(&caller), 200);
}

#[test]
fn who_rings_too_long_gives_way_to_the_next() {
    let (mut w, caller, phones) = called([";q=0.9", ";q=0.5", ";q=0.1"]);
    let first = w.take(&phones[0]);
    w.answer(&phones[0], &first, 180, "t0");
    assert_eq!(w.status(&caller), 180);
    w.wait_for_something(60);
    cancelled(&mut w, &phones[0], &first);
    let second = w.take(&phones[1]);
    assert_eq!(second.method(), Method::Invite);
    w.answer(&phones[1], &second, 200, "t1");
    assert_eq!(w.status(&caller), 200);
    w.nothing();
}

#[test]
fn timer_c_ends_an_endless_ringing() {
    let caller = Peer::udp("203.0.113.1:5060");
    let phone = Peer::udp("203.0.113.21:5060");
    let mut w = World::new();
    w.register("200", &phone, ";expires=3600");
    w.send_proven(&caller, &req("INVITE", "sip:200@example.com"), "100");
    let invite = w.take(&phone);
    w.answer(&phone, &invite, 180, "t");
    assert_eq!(w.status(&caller), 180);
    w.wait_s(170);
    w.nothing();
    // Each 18x starts it anew.
    w.answer(&phone, &invite, 183, "t");
    assert_eq!(w.status(&caller), 183);
    w.wait_s(170);
    w.nothing();
    w.wait_for_something(30);
    cancelled(&mut w, &phone, &invite);
    // The caller gave nothing up: 487 would be no word for it.
    assert_eq!(w.status(&caller), 480);
    w.nothing();
}

#[test]
fn a_phone_that_is_silent_times_out() {
    let caller = Peer::udp("203.0.113.1:5060");
    let phone = Peer::udp("203.0.113.21:5060");
    let mut w = World::new();
    w.register("200", &phone, "");
    w.send_proven(&caller, &req("INVITE", "sip:200@example.com"), "100");
    w.wait_s(40);
    let statuses: Vec<u16> = w
        .sent
        .iter()
        .filter(|s| s.destination.remote() == caller.flow.remote)
        .map(|s| s.message.status())
        .collect();
    assert_eq!(statuses.first(), Some(&100));
    assert!(
        statuses[1..].iter().all(|s| *s == 408) && statuses.len() > 1,
        "{statuses:?}"
    );
}

/// RFC 4320 §4.2: no 408 for anything but INVITE.
#[test]
fn a_silent_phone_gets_no_408_for_a_message() {
    let caller = Peer::udp("203.0.113.1:5060");
    let phone = Peer::udp("203.0.113.21:5060");
    let mut w = World::new();
    w.register("200", &phone, "");
    w.send_proven(&caller, &req("MESSAGE", "sip:200@example.com"), "100");
    w.wait_s(80);
    assert!(
        w.sent
            .iter()
            .all(|s| s.destination.remote() == phone.flow.remote)
    );
    assert_eq!(w.core.load().0, 0, "transactions left");
}

/// RFC 5626 §7: two flows of one phone stand for each other.
#[test]
fn another_flow_of_the_same_phone_is_tried_when_the_first_fails() {
    let caller = Peer::udp("203.0.113.1:5060");
    let flows = [
        Peer::tcp("203.0.113.21:40001", 7),
        Peer::tcp("203.0.113.21:40002", 8),
    ];
    let mut w = World::new();
    for (n, flow) in flows.iter().enumerate() {
        let parameters = format!(
            ";reg-id={};+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"",
            n + 1
        );
        w.register_with("200", flow, &parameters, "Supported: outbound\r\n");
    }
    w.send_proven(&caller, &req("INVITE", "sip:200@example.com"), "100");
    assert_eq!(w.sent.len(), 1, "{:?}", w.outline());
    let first = w.sent.pop_front().unwrap();
    w.transmit_failed(first.tag);
    assert_eq!(w.sent.len(), 1, "{:?}", w.outline());
    let second = w.sent.pop_front().unwrap();
    assert_ne!(first.destination, second.destination);
    assert_eq!(values(&second.message, HeaderName::RecordRoute).len(), 2);
}

/// RFC 5393 §5: breadth is shared, and what does not fit waits.
#[test]
fn breadth_bounds_a_fork() {
    let (caller, phones) = peers();
    let mut w = World::new();
    for phone in &phones {
        w.register("200", phone, "");
    }
    let invite = req("INVITE", "sip:200@example.com").extra("Max-Breadth: 2");
    w.send_proven(&caller, &invite, "100");
    assert_eq!(w.sent.len(), 2, "{:?}", w.outline());
    for sent in &w.sent {
        assert_eq!(header(&sent.message, HeaderName::MaxBreadth), "1");
    }
}

#[test]
fn no_breadth_left_is_refused() {
    let (caller, phones) = peers();
    let mut w = World::new();
    w.register("200", &phones[0], "");
    let invite = req("INVITE", "sip:200@example.com").extra("Max-Breadth: 0");
    w.send_proven(&caller, &invite, "100");
    assert_eq!(w.status(&caller), 440);
}
