//! Message waiting (RFC 3842), message by message.

use crate::world::{Peer, Req, World, header, req, text};
use voip::server::Input;
use voip::store::Folder;
use voip::wire::sip::{HeaderName, Message, Method};

const ANA: &str = "200@example.com";
const ON: &str = "[voicemail]\n";

fn phone() -> Peer {
    Peer::udp("192.0.2.21:5060")
}

fn subscribe<'a>(contact: &'a str, expires: &'a str) -> Req<'a> {
    let mut request = req("SUBSCRIBE", "sip:200@example.com")
        .extra("Event: message-summary")
        .extra("Accept: application/simple-message-summary")
        .extra(contact)
        .extra(expires);
    (request.from, request.call_id) = ("sip:200@example.com", "sub-1");
    request
}

/// The 200, and the NOTIFY that follows it.
fn subscribed(w: &mut World, expires: u32) -> (Message, Message) {
    let contact = format!("Contact: {}", phone().contact("200"));
    let expires = format!("Expires: {expires}");
    w.send_proven(&phone(), &subscribe(&contact, &expires), "200");
    let granted = w.take(&phone());
    assert_eq!(granted.status(), 200);
    (granted, notified(w, 200))
}

fn notified(w: &mut World, status: u16) -> Message {
    let notify = w.take(&phone());
    assert_eq!(notify.method(), Method::Notify);
    w.answer(&phone(), &notify, status, "");
    notify
}

/// A message, as a caller leaves it.
fn leave(w: &mut World) -> u64 {
    let mailboxes = w.core.mailboxes();
    let id = mailboxes.begin(ANA, ("100", ""), 1, 99).unwrap().id;
    mailboxes.keep(ANA, id, 5_000).unwrap();
    w.input(Input::Mailboxes);
    id
}

fn voice(notify: &Message) -> String {
    let body = text(notify.body());
    let line = body.lines().find(|l| l.starts_with("Voice-Message: "));
    let waiting = body.lines().next().unwrap();
    let waiting = waiting.strip_prefix("Messages-Waiting: ").unwrap();
    format!("{waiting} {}", &line.unwrap()["Voice-Message: ".len()..])
}

fn state(notify: &Message) -> String {
    header(notify, HeaderName::SubscriptionState)
}

#[test]
fn a_subscriber_is_told_at_once_and_of_each_change() {
    let mut w = World::with(ON);
    let (granted, first) = subscribed(&mut w, 600);
    assert_eq!(header(&granted, HeaderName::Expires), "600");
    assert_eq!(voice(&first), "no 0/0 (0/0)");
    assert_eq!(state(&first), "active;expires=600");
    assert_eq!(header(&first, HeaderName::Event), "message-summary");
    let body = text(first.body());
    assert!(
        body.contains("Message-Account: sip:*123@example.com\r\n"),
        "{body}"
    );
    // It goes back in the dialog that the SUBSCRIBE made.
    assert_eq!(first.call_id(), b"sub-1");
    assert_eq!(
        first.from().unwrap().tag(),
        granted.to().unwrap().tag(),
        "{first:?}"
    );
    assert_eq!(first.to().unwrap().tag(), Some(&b"f1"[..]));
    let id = leave(&mut w);
    let second = notified(&mut w, 200);
    assert_eq!(voice(&second), "yes 1/0 (0/0)");
    assert!(second.cseq().unwrap().number > first.cseq().unwrap().number);
    w.core.mailboxes().put(ANA, id, Folder::Saved).unwrap();
    w.input(Input::Mailboxes);
    assert_eq!(voice(&notified(&mut w, 200)), "no 0/1 (0/0)");
    w.wait_s(30);
    w.nothing();
}

#[test]
fn one_notify_is_out_at_a_time_and_the_last_state_is_told() {
    let mut w = World::with(ON);
    subscribed(&mut w, 600);
    leave(&mut w);
    let first = w.take(&phone());
    leave(&mut w);
    leave(&mut w);
    w.nothing();
    w.answer(&phone(), &first, 200, "");
    assert_eq!(voice(&notified(&mut w, 200)), "yes 3/0 (0/0)");
    w.wait_s(1);
    w.nothing();
}

/// A refresh within the dialog, from another address: a NAT's mapping moved.
#[test]
fn a_refresh_prolongs_and_the_end_is_told() {
    let mut w = World::with(ON);
    let (granted, _) = subscribed(&mut w, 100);
    let tag = text(granted.to().unwrap().tag().unwrap());
    let contact = granted.addresses(HeaderName::Contact).next().unwrap();
    let uri = text(contact.unwrap().uri_bytes());
    let own = format!("Contact: {}", phone().contact("200"));
    w.wait_s(90);
    let refresh = |cseq: u32, branch| {
        let mut request = subscribe(&own, "Expires: 100");
        (request.uri, request.to_tag) = (&uri, &tag);
        (request.cseq, request.branch) = (cseq, branch);
        request.clone()
    };
    w.send(&phone(), &refresh(3, "z9hG4bKr3"));
    assert_eq!(w.status(&phone()), 200);
    assert_eq!(state(&notified(&mut w, 200)), "active;expires=100");
    w.send(&phone(), &refresh(2, "z9hG4bKr2"));
    assert_eq!(w.status(&phone()), 500, "out of order");
    w.wait_s(90);
    w.nothing();
    w.wait_s(11);
    assert_eq!(state(&notified(&mut w, 200)), "terminated;reason=timeout");
    w.sent.clear();
    w.send(&phone(), &refresh(4, "z9hG4bKr4"));
    assert_eq!(w.status(&phone()), 481);
}

#[test]
fn zero_seconds_ask_once() {
    let mut w = World::with("");
    leave(&mut w);
    let (granted, notify) = subscribed(&mut w, 0);
    assert_eq!(header(&granted, HeaderName::Expires), "0");
    assert_eq!(voice(&notify), "yes 1/0 (0/0)");
    assert_eq!(state(&notify), "terminated;reason=timeout");
    leave(&mut w);
    w.nothing();
}

#[test]
fn what_cannot_be_granted_is_refused() {
    let mut w = World::with(ON);
    let contact = format!("Contact: {}", phone().contact("200"));
    let mut refused = |request: &Req<'_>, user: &str| {
        w.send_proven(&phone(), request, user);
        w.take(&phone())
    };
    let brief = refused(&subscribe(&contact, "Expires: 10"), "200");
    assert_eq!(brief.status(), 423);
    assert_eq!(header(&brief, HeaderName::MinExpires), "60");
    let mut other = subscribe(&contact, "Expires: 600");
    (other.uri, other.to) = ("sip:300@example.com", "sip:300@example.com");
    (other.call_id, other.branch) = ("sub-2", "z9hG4bKs2");
    assert_eq!(refused(&other, "200").status(), 403, "another's mailbox");
    let mut kind = subscribe(&contact, "Expires: 600");
    kind.extra = kind.extra.replace("simple-message-summary", "pidf+xml");
    (kind.call_id, kind.branch) = ("sub-3", "z9hG4bKs3");
    let kind = refused(&kind, "200");
    assert_eq!(kind.status(), 406);
    // Nobody's: without a proof there is nothing to hear.
    let mut unproven = subscribe(&contact, "Expires: 600");
    (unproven.call_id, unproven.branch) = ("sub-4", "z9hG4bKs4");
    w.send(&phone(), &unproven);
    assert_eq!(w.status(&phone()), 407);
}

#[test]
fn the_mailbox_may_be_named_by_the_code() {
    let mut w = World::with(ON);
    let contact = format!("Contact: {}", phone().contact("200"));
    for (n, uri) in [
        "sip:*123@example.com",
        "sip:voicemail@example.com",
        "sip:example.com",
    ]
    .into_iter()
    .enumerate()
    {
        let mut request = subscribe(&contact, "Expires: 600");
        let (call_id, branch) = (format!("code-{n}"), format!("z9hG4bKc{n}"));
        (request.uri, request.to) = (uri, uri);
        (request.call_id, request.branch) = (&call_id, &branch);
        w.send_proven(&phone(), &request, "200");
        assert_eq!(w.status(&phone()), 200, "{uri}");
        notified(&mut w, 200);
    }
}

/// RFC 6665 §4.2.2.
#[test]
fn a_phone_that_knows_nothing_of_it_any_more_is_forgotten() {
    for status in [481, 489] {
        let mut w = World::with(ON);
        subscribed(&mut w, 600);
        leave(&mut w);
        notified(&mut w, status);
        leave(&mut w);
        w.nothing();
    }
    // Nor is one asked on and on that does not answer.
    let mut w = World::with(ON);
    subscribed(&mut w, 600);
    leave(&mut w);
    w.wait_s(40);
    w.sent.clear();
    leave(&mut w);
    w.nothing();
    // Some trouble passes.
    let mut w = World::with(ON);
    subscribed(&mut w, 600);
    leave(&mut w);
    notified(&mut w, 500);
    leave(&mut w);
    assert_eq!(voice(&notified(&mut w, 200)), "yes 2/0 (0/0)");
}

#[test]
fn phones_that_did_not_ask_are_told_where_they_registered() {
    let mut w = World::with(ON);
    let behind_nat = Peer::nat("10.0.0.2:5060", "192.0.2.99:4711");
    w.register("200", &phone(), "");
    w.register("200", &behind_nat, "");
    w.wait_s(4);
    for peer in [phone(), behind_nat] {
        let notify = w.take(&peer);
        assert_eq!(notify.method(), Method::Notify);
        assert_eq!(voice(&notify), "no 0/0 (0/0)");
        assert!(state(&notify).starts_with("terminated"));
        w.answer(&peer, &notify, 200, "");
    }
    // What was repeated meanwhile.
    w.sent.clear();
    leave(&mut w);
    for peer in [behind_nat, phone()] {
        let notify = w.take(&peer);
        assert_eq!(voice(&notify), "yes 1/0 (0/0)");
        // A phone that knows no such event says so; nothing hangs on it.
        w.answer(&peer, &notify, 489, "");
    }
    // One that asks is told by its subscription alone, and the other goes on as before.
    subscribed(&mut w, 600);
    leave(&mut w);
    assert!(state(&notified(&mut w, 200)).starts_with("active"));
    let notify = w.take(&behind_nat);
    assert_eq!(voice(&notify), "yes 2/0 (0/0)");
    w.answer(&behind_nat, &notify, 200, "");
    w.wait_s(1);
    w.nothing();
}

/// The next NOTIFY to a phone, answered.
fn told(w: &mut World, peer: &Peer) -> Message {
    let notify = w.take(peer);
    assert_eq!(notify.method(), Method::Notify);
    w.answer(peer, &notify, 200, "");
    notify
}

/// Whether nobody else is told anything.
fn only_to(w: &World, peer: &Peer) -> bool {
    let mut to = w.sent.iter().map(|sent| sent.destination.remote());
    to.all(|remote| remote == peer.flow.remote)
}

/// One phone of a user subscribes, the other knows no subscriptions: in both orders each is told,
/// and once.
#[test]
fn a_phone_that_does_not_subscribe_is_told_beside_one_that_does() {
    let other = Peer::udp("192.0.2.22:5060");
    for subscribes_first in [true, false] {
        let mut w = World::with(ON);
        if subscribes_first {
            w.register("200", &phone(), "");
            subscribed(&mut w, 600);
            w.register("200", &other, "");
        } else {
            w.register("200", &other, "");
            w.register("200", &phone(), "");
            subscribed(&mut w, 600);
        }
        w.wait_s(4);
        assert_eq!(voice(&told(&mut w, &other)), "no 0/0 (0/0)");
        assert!(only_to(&w, &other));
        // What was repeated meanwhile.
        w.sent.clear();
        leave(&mut w);
        let unasked = told(&mut w, &other);
        assert_eq!(voice(&unasked), "yes 1/0 (0/0)");
        assert!(state(&unasked).starts_with("terminated"));
        assert!(state(&told(&mut w, &phone())).starts_with("active"));
        w.wait_s(1);
        w.nothing();
    }
}

/// A phone is known by its Contact where it subscribes from another port than it registered from;
/// not another one behind another NAT that has the same.
#[test]
fn a_phone_that_subscribes_by_another_flow_is_told_once() {
    let mut w = World::with(ON);
    w.register("200", &Peer::nat("192.0.2.21:5060", "192.0.2.21:40000"), "");
    let elsewhere = Peer::nat("192.0.2.21:5060", "192.0.2.99:4711");
    w.register("200", &elsewhere, "");
    subscribed(&mut w, 600);
    w.wait_s(4);
    assert_eq!(voice(&told(&mut w, &elsewhere)), "no 0/0 (0/0)");
    assert!(only_to(&w, &elsewhere));
    w.sent.clear();
    leave(&mut w);
    told(&mut w, &elsewhere);
    notified(&mut w, 200);
    w.wait_s(1);
    w.nothing();
}

/// A phone that started anew does not know its subscription any more, nor does it take another.
#[test]
fn where_a_subscription_fails_the_phones_are_told_unasked() {
    for status in [481, 0] {
        let mut w = World::with(ON);
        w.register("200", &phone(), "");
        subscribed(&mut w, 600);
        w.wait_s(4);
        w.nothing();
        leave(&mut w);
        if status == 0 {
            w.wait_s(40);
            let last = w.sent.len();
            assert!(last > 1, "repeated, and then told");
            w.sent.drain(..last - 1);
        } else {
            notified(&mut w, status);
        }
        let unasked = told(&mut w, &phone());
        assert_eq!(voice(&unasked), "yes 1/0 (0/0)");
        assert!(state(&unasked).starts_with("terminated"));
    }
}

#[test]
fn over_a_connection_it_comes_back_by_the_connection() {
    let mut w = World::with(ON);
    let peer = Peer::tcp("192.0.2.21:40000", 7);
    w.register("200", &peer, "");
    w.wait_s(4);
    let notify = w.take(&peer);
    assert_eq!(notify.method(), Method::Notify);
    assert!(header(&notify, HeaderName::Via).starts_with("SIP/2.0/TCP"));
}

#[test]
fn without_voicemail_nobody_is_told_anything() {
    let mut w = World::with("");
    w.register("200", &phone(), "");
    w.wait_s(10);
    w.nothing();
}
