//! Identities at the border of trust: RFC 3323, RFC 3325, Remote-Party-ID.

use crate::world::{Peer, TRUSTED, World, header, req};
use voip::wire::sip::{HeaderName, Message, Method};

const ASSERTED: &str = "P-Asserted-Identity: <sip:+34915550100@example.net>";
const PARTY: &str = "Remote-Party-ID: <sip:+34915550100@example.net>;party=calling";

/// What the phone of user 200 gets when the request's author adds these lines.
fn to_user(author: &Peer, proven: bool, lines: &[&str]) -> Message {
    let mut w = World::new();
    let phone = Peer::udp("203.0.113.21:5060");
    w.register("200", &phone, "");
    deliver(&mut w, author, &phone, "sip:200@example.com", proven, lines)
}

fn deliver(
    w: &mut World,
    author: &Peer,
    reader: &Peer,
    uri: &str,
    proven: bool,
    lines: &[&str],
) -> Message {
    let mut request = req("INVITE", uri);
    for line in lines {
        request = request.extra(line);
    }
    if proven {
        w.send_proven(author, &request, "100");
    } else {
        w.send(author, &request);
    }
    w.take(reader)
}

fn user() -> Peer {
    Peer::udp("203.0.113.1:5060")
}

fn trusted() -> Peer {
    Peer::udp(TRUSTED)
}

#[test]
fn what_a_user_asserts_of_itself_is_taken_out() {
    let copy = to_user(&user(), true, &[ASSERTED, PARTY]);
    assert!(!copy.has(HeaderName::PAssertedIdentity));
    assert!(!copy.has(HeaderName::RemotePartyId));
}

#[test]
fn a_trusted_peers_word_passes_unless_privacy_is_asked_for() {
    let copy = to_user(&trusted(), false, &[ASSERTED, PARTY]);
    assert!(copy.has(HeaderName::PAssertedIdentity) && copy.has(HeaderName::RemotePartyId));
    for line in ["Privacy: id", "Privacy: Id", "Privacy: user;critical"] {
        let copy = to_user(&trusted(), false, &[ASSERTED, PARTY, line]);
        assert!(!copy.has(HeaderName::PAssertedIdentity), "{line}");
        assert!(!copy.has(HeaderName::RemotePartyId), "{line}");
    }
    let party = format!("{PARTY};privacy=full");
    let copy = to_user(&trusted(), false, &[ASSERTED, &party]);
    assert!(!copy.has(HeaderName::PAssertedIdentity) && !copy.has(HeaderName::RemotePartyId));
}

#[test]
fn a_user_is_asserted_toward_trusted_peers() {
    let mut w = World::new();
    let lines = [
        "P-Preferred-Identity: <sip:ceo@example.com>",
        ASSERTED,
        "Privacy: id",
    ];
    let copy = deliver(
        &mut w,
        &user(),
        &trusted(),
        "sip:1@198.51.100.9",
        true,
        &lines,
    );
    let asserted: Vec<_> = copy.lines(HeaderName::PAssertedIdentity).collect();
    assert_eq!(asserted, [b"<sip:100@example.com>"]);
    assert!(!copy.has(HeaderName::PPreferredIdentity));
    assert_eq!(header(&copy, HeaderName::Privacy), "id");
}

#[test]
fn between_trusted_peers_everything_passes() {
    let mut w = World::new();
    let other = Peer::udp("198.51.100.77:5060");
    let lines = [ASSERTED, PARTY, "Privacy: id"];
    let copy = deliver(
        &mut w,
        &trusted(),
        &other,
        "sip:1@198.51.100.77",
        false,
        &lines,
    );
    assert!(copy.has(HeaderName::PAssertedIdentity) && copy.has(HeaderName::RemotePartyId));
}

#[test]
fn strangers_learn_nothing_that_is_private() {
    let mut w = World::new();
    let stranger = Peer::udp("198.18.0.1:5060");
    let lines = [ASSERTED, "Privacy: id"];
    let copy = deliver(
        &mut w,
        &trusted(),
        &stranger,
        "sip:1@198.18.0.1",
        false,
        &lines,
    );
    assert!(!copy.has(HeaderName::PAssertedIdentity));
}

#[test]
fn user_privacy_takes_out_what_tells_about_the_person() {
    let lines = [
        "Privacy: user",
        "Subject: secret",
        "User-Agent: mine",
        "Organization: us",
    ];
    let copy = to_user(&user(), true, &lines);
    for name in [
        HeaderName::Subject,
        HeaderName::UserAgent,
        HeaderName::Organization,
    ] {
        assert!(!copy.has(name), "{name:?}");
    }
}

#[test]
fn a_proxy_may_be_required_to_know_privacy() {
    let copy = to_user(
        &user(),
        true,
        &["Proxy-Require: privacy", "Privacy: id;critical"],
    );
    assert_eq!(copy.method(), Method::Invite);
}

/// RFC 3323 §5: better no call than one without the privacy that is critical.
#[test]
fn what_cannot_be_given_is_refused_when_critical() {
    let mut w = World::new();
    let phone = Peer::udp("203.0.113.21:5060");
    w.register("200", &phone, "");
    let request = req("INVITE", "sip:200@example.com").extra("Privacy: header;critical");
    w.send(&trusted(), &request);
    assert_eq!(w.status(&trusted()), 500);
}
