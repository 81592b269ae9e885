//! Who may pass: RFC 3261 §22.3, §26.

use crate::world::{Peer, Req, TRUSTED, World, req};
use voip::wire::sip::{HeaderName, Method};

const CALLER: &str = "203.0.113.1:5060";
const PHONE: &str = "203.0.113.21:5060";

fn world(extra: &str) -> (World, Peer, Peer) {
    let (caller, phone) = (Peer::udp(CALLER), Peer::udp(PHONE));
    let mut w = World::with(extra);
    w.register("200", &phone, "");
    (w, caller, phone)
}

fn stranger<'a>(uri: &'a str) -> Req<'a> {
    let mut request = req("INVITE", uri);
    request.from = "sip:mallory@example.org";
    request
}

#[test]
fn a_user_proves_who_it_is_and_the_proof_goes_no_further() {
    let (mut w, caller, phone) = world("");
    w.send_proven(&caller, &req("INVITE", "sip:200@example.com"), "100");
    let invite = w.take(&phone);
    assert_eq!(invite.method(), Method::Invite);
    assert!(!invite.has(HeaderName::ProxyAuthorization));
}

#[test]
fn a_user_may_not_speak_as_another() {
    let (mut w, caller, _) = world("");
    let mut request = req("INVITE", "sip:200@example.com");
    request.from = "sip:300@example.com";
    w.send_proven(&caller, &request, "100");
    assert_eq!(w.status(&caller), 403);
}

#[test]
fn a_wrong_password_is_challenged_again() {
    let (mut w, caller, _) = world("");
    // User 700 does not exist: the answer is the same as for a wrong password.
    let mut request = req("INVITE", "sip:200@example.com");
    request.from = "sip:700@example.com";
    w.send_proven(&caller, &request, "700");
    assert_eq!(w.status(&caller), 407);
}

#[test]
fn strangers_are_kept_out_and_the_relay_is_closed() {
    let (mut w, caller, _) = world("");
    w.send(&caller, &stranger("sip:200@example.com"));
    assert_eq!(w.status(&caller), 403);
    let mut request = stranger("sip:victim@198.18.0.1");
    request.branch = "z9hG4bKa2";
    w.send(&caller, &request);
    assert_eq!(w.status(&caller), 403);
    assert!(w.questions.is_empty());
    w.nothing();
}

#[test]
fn guests_reach_our_users_and_nobody_else() {
    let (mut w, caller, phone) = world("guests = true");
    w.send(&caller, &stranger("sip:200@example.com"));
    assert_eq!(w.take(&phone).method(), Method::Invite);
    let mut request = stranger("sip:victim@198.18.0.1");
    request.branch = "z9hG4bKa2";
    w.send(&caller, &request);
    assert_eq!(w.status(&caller), 403);
    // A guest who says to be one of us must prove it.
    let mut request = req("INVITE", "sip:200@example.com");
    request.branch = "z9hG4bKa3";
    w.send(&caller, &request);
    assert_eq!(w.status(&caller), 407);
}

#[test]
fn trusted_peers_are_believed() {
    let (mut w, _, phone) = world("");
    let gateway = Peer::udp(TRUSTED);
    w.send(&gateway, &stranger("sip:200@example.com"));
    assert_eq!(w.take(&phone).method(), Method::Invite);
}

#[test]
fn users_may_call_out() {
    let (mut w, caller, _) = world("");
    let outside = Peer::udp("198.18.0.1:5060");
    w.send_proven(&caller, &req("INVITE", "sip:bob@198.18.0.1"), "100");
    assert_eq!(w.take(&outside).request_uri(), b"sip:bob@198.18.0.1");
}

/// RFC 3323 §4.1: From hides the caller, digest alone tells who it is.
#[test]
fn an_anonymous_user_is_known_by_its_proof() {
    let (mut w, caller, phone) = world("");
    let mut request = req("INVITE", "sip:200@example.com");
    request.from = "sip:anonymous@anonymous.invalid";
    w.send_proven(&caller, &request, "100");
    assert_eq!(w.take(&phone).method(), Method::Invite);
}

/// A To tag alone opens nothing: neither a call that we know nor a Route of ours stands behind it.
#[test]
fn a_made_up_dialog_is_challenged() {
    let (mut w, caller, _) = world("");
    let mut request = req("INVITE", "sip:premium@198.18.0.1");
    request.to_tag = "made-up";
    w.send(&caller, &request);
    assert_eq!(w.status(&caller), 407);
    let route = "Route: <sip:EAAAAAAAAAAAAAAAAA@192.0.2.10:5060;lr>";
    let mut request = stranger("sip:premium@198.18.0.1").extra(route);
    (request.to_tag, request.branch) = ("made-up", "z9hG4bKa2");
    w.send(&caller, &request);
    assert_eq!(w.status(&caller), 403);
    let mut ack = request.clone();
    (ack.method, ack.branch) = ("ACK", "z9hG4bKa3");
    w.send(&caller, &ack);
    w.nothing();
}

/// A token of one call does not route another.
#[test]
fn a_token_is_good_for_its_call_only() {
    let (mut w, caller, phone) = world("");
    w.send_proven(&caller, &req("INVITE", "sip:200@example.com"), "100");
    let invite = w.take(&phone);
    let route = String::from_utf8(invite.header(HeaderName::RecordRoute).unwrap().to_vec());
    let mut request = stranger("sip:premium@198.18.0.1");
    request = request.extra(&format!("Route: {}", route.unwrap()));
    (request.to_tag, request.branch, request.call_id) = ("x", "z9hG4bKb1", "another");
    w.send(&caller, &request);
    assert_eq!(w.status(&caller), 403);
}

#[test]
fn guessing_ends_in_silence() {
    let (mut w, caller, _) = world("");
    let mut answered = 0;
    for n in 0..60 {
        let branch = format!("z9hG4bKguess{n}");
        let mut request = req("REGISTER", "sip:example.com").extra(
            "Authorization: Digest username=\"100\", realm=\"example.com\", nonce=\"x\", \
             uri=\"sip:example.com\", response=\"00000000000000000000000000000000\"",
        );
        request.branch = &branch;
        request.to = "sip:100@example.com";
        w.send(&caller, &request);
        answered += w
            .sent
            .drain(..)
            .filter(|s| s.message.status() == 401)
            .count();
    }
    assert!((3..30).contains(&answered), "{answered}");
}
