//! Digest: the RFCs' examples, replays, staleness, and what is refused.

use super::hash::{Algorithm, Count, Hex, ResponseInput, response};
use super::*;
use crate::store::Ha1;
use crate::wire::sip::{Challenge, Credentials};
use std::sync::Arc;

const NOW: u64 = 1_790_000_000;
const URI: &str = "sip:example.com";

fn subject<'a>() -> Subject<'a> {
    Subject {
        method: b"REGISTER",
        request_uri: URI.as_bytes(),
        realm: "example.com",
    }
}

fn alice() -> Ha1 {
    ha1("alice", "example.com", b"secret")
}

/// The Authorization value for the n-th of the server's challenges.
fn answered(challenge: &str, password: &str, count: u32) -> String {
    let credentials = ClientCredentials {
        username: "alice",
        password: password.as_bytes(),
    };
    let challenge = Challenge::parse(challenge.as_bytes()).unwrap();
    answer(&challenge, &credentials, b"REGISTER", URI, count, "abc").unwrap()
}

fn judge(auth: &Authenticator, at: u64, value: &str) -> Verdict {
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    auth.verify(at, &credentials, &subject(), Some(&alice()))
}

/// RFC 7616 §3.9.1.
#[test]
fn rfc7616_example() {
    let input = ResponseInput {
        method: b"GET",
        uri: b"/dir/index.html",
        nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        count: Some(Count {
            nc: b"00000001",
            cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            qop: b"auth",
        }),
    };
    let secret = ha1("Mufasa", "http-auth@example.org", b"Circle of Life");
    assert_eq!(
        response(Algorithm::Md5, Hex::of(&secret.md5).as_bytes(), &input).as_str(),
        "8ca523f5e9506fed4657c9700eebdbec"
    );
    assert_eq!(
        response(
            Algorithm::Sha256,
            Hex::of(&secret.sha256).as_bytes(),
            &input
        )
        .as_str(),
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    );
}

/// RFC 2617 §3.5, which RFC 3261's examples build on.
#[test]
fn rfc2617_example() {
    let challenge = Challenge::parse(
        b"Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
          nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
          opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
    )
    .unwrap();
    let credentials = ClientCredentials {
        username: "Mufasa",
        password: b"Circle Of Life",
    };
    let value = answer(
        &challenge,
        &credentials,
        b"GET",
        "/dir/index.html",
        1,
        "0a4f113b",
    )
    .unwrap();
    assert!(value.contains("response=\"6629fae49393a05397450978507c4ef1\""));
    assert!(value.contains("opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""));
}

#[test]
fn right_password_is_accepted_by_both_algorithms() {
    let auth = Authenticator::new([1; 32]);
    let offers: Vec<String> = auth.challenge_headers(NOW, "example.com", false).collect();
    assert!(offers[0].contains("algorithm=SHA-256") && offers[1].contains("algorithm=MD5"));
    assert_eq!(
        judge(&auth, NOW, &answered(&offers[0], "secret", 1)),
        Verdict::Accept
    );
    assert_eq!(
        judge(&auth, NOW, &answered(&offers[1], "secret", 2)),
        Verdict::Accept
    );
    assert_eq!(
        judge(&auth, NOW, &answered(&offers[0], "wrong", 3)),
        Verdict::Refuse
    );
}

#[test]
fn replays_are_seen_also_out_of_order() {
    let auth = Authenticator::new([1; 32]);
    let offer = auth
        .challenge_headers(NOW, "example.com", false)
        .next()
        .unwrap();
    for (count, verdict) in [
        (2, Verdict::Accept),
        (1, Verdict::Accept),
        (2, Verdict::Replay),
        (1, Verdict::Replay),
        (90, Verdict::Accept),
        (3, Verdict::Stale),
        (50, Verdict::Accept),
        (50, Verdict::Replay),
        (90, Verdict::Replay),
    ] {
        let value = answered(&offer, "secret", count);
        assert_eq!(judge(&auth, NOW, &value), verdict, "count {count}");
    }
}

#[test]
fn shards_share_what_was_used() {
    let replays = Arc::new(Replays::new());
    let one = Authenticator::with_replays([1; 32], Arc::clone(&replays));
    let two = Authenticator::with_replays([1; 32], replays);
    let offer = one
        .challenge_headers(NOW, "example.com", false)
        .next()
        .unwrap();
    let value = answered(&offer, "secret", 1);
    assert_eq!(judge(&two, NOW, &value), Verdict::Accept);
    assert_eq!(judge(&one, NOW, &value), Verdict::Replay);
}

#[test]
fn old_foreign_and_forged_nonces_are_stale_only_with_the_right_password() {
    let auth = Authenticator::new([1; 32]);
    let other = Authenticator::new([2; 32]);
    let offer = auth
        .challenge_headers(NOW, "example.com", false)
        .next()
        .unwrap();
    let late = NOW + NONCE_LIFETIME_SECONDS + 1;
    assert_eq!(
        judge(&auth, late, &answered(&offer, "secret", 1)),
        Verdict::Stale
    );
    assert_eq!(
        judge(&auth, late, &answered(&offer, "wrong", 1)),
        Verdict::Refuse
    );
    assert_eq!(
        judge(&other, NOW, &answered(&offer, "secret", 1)),
        Verdict::Stale
    );
    let forged = offer.replace("nonce=\"", "nonce=\"0");
    assert_eq!(
        judge(&auth, NOW, &answered(&forged, "secret", 1)),
        Verdict::Stale
    );
    let stale = auth
        .challenge_headers(NOW, "example.com", true)
        .next()
        .unwrap();
    assert!(Challenge::parse(stale.as_bytes()).unwrap().stale());
}

#[test]
fn nonces_of_an_earlier_life_are_stale() {
    let before = Authenticator::new([1; 32]);
    let offer = before
        .challenge_headers(NOW, "example.com", false)
        .next()
        .unwrap();
    let value = answered(&offer, "secret", 1);
    assert_eq!(judge(&before, NOW, &value), Verdict::Accept);
    let after = Authenticator::new([1; 32]);
    assert_eq!(judge(&after, NOW + 2, &value), Verdict::Stale);
}

#[test]
fn a_full_cache_forgets_nothing_that_would_be_a_replay() {
    let replays = Arc::new(Replays::with_sets(1));
    let auth = Authenticator::with_replays([1; 32], replays);
    let values: Vec<String> = (0..40)
        .map(|n| {
            let offer = auth
                .challenge_headers(NOW + n, "example.com", false)
                .next()
                .unwrap();
            answered(&offer, "secret", 1)
        })
        .collect();
    let now = NOW + 50;
    for value in &values {
        assert_eq!(judge(&auth, now, value), Verdict::Accept);
    }
    for value in &values {
        assert_ne!(judge(&auth, now, value), Verdict::Accept);
    }
}

#[test]
fn what_is_refused() {
    let auth = Authenticator::new([1; 32]);
    let offer = auth
        .challenge_headers(NOW, "example.com", false)
        .next()
        .unwrap();
    let good = answered(&offer, "secret", 1);
    for (from, to) in [
        ("qop=auth", "qop=auth-int"),
        ("algorithm=SHA-256", "algorithm=SHA-256-sess"),
        ("nc=00000001", "nc=00000000"),
        ("nc=00000001", "nc=ffffffff"),
        ("nc=00000001", "nc=+0000001"),
        ("nc=00000001, ", ""),
        ("realm=\"example.com\"", "realm=\"example.org\""),
        ("uri=\"sip:example.com\"", "uri=\"sip:9@example.com\""),
        ("uri=\"sip:example.com\"", "uri=\"sip:example.com;x=1\""),
        ("response=\"", "response=\"0"),
        ("Digest ", "Basic "),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        assert_eq!(judge(&auth, NOW, &bad), Verdict::Refuse, "{to}");
    }
    let credentials = Credentials::parse(good.as_bytes()).unwrap();
    let unknown = auth.verify(NOW, &credentials, &subject(), None);
    assert_eq!(unknown, Verdict::Refuse);
    assert_eq!(judge(&auth, NOW, &good), Verdict::Accept);
}

#[test]
fn without_qop_a_nonce_serves_once() {
    let auth = Authenticator::new([1; 32]);
    let offer = auth
        .challenge_headers(NOW, "example.com", false)
        .next()
        .unwrap();
    let value = answered(&offer.replace(", qop=\"auth\"", ""), "secret", 1);
    assert!(!value.contains("nc="));
    assert_eq!(judge(&auth, NOW, &value), Verdict::Accept);
    assert_eq!(judge(&auth, NOW, &value), Verdict::Replay);
}

#[test]
fn quoted_strings_may_hold_quotes() {
    let auth = Authenticator::new([1; 32]);
    let realm = r#"the "big" house\"#;
    let offer = auth.challenge_headers(NOW, realm, false).next().unwrap();
    let challenge = Challenge::parse(offer.as_bytes()).unwrap();
    let credentials = ClientCredentials {
        username: r#"a"b"#,
        password: b"secret",
    };
    let value = answer(&challenge, &credentials, b"INVITE", URI, 1, "c").unwrap();
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    let verdict = auth.verify(
        NOW,
        &credentials,
        &Subject {
            method: b"INVITE",
            request_uri: b"sip:example.com:5060",
            realm,
        },
        Some(&ha1(r#"a"b"#, realm, b"secret")),
    );
    assert_eq!(verdict, Verdict::Accept);
}

#[test]
fn unsupported_challenges_are_said() {
    let credentials = ClientCredentials {
        username: "a",
        password: b"b",
    };
    let try_it = |value: &str| {
        let challenge = Challenge::parse(value.as_bytes()).unwrap();
        answer(&challenge, &credentials, b"INVITE", URI, 1, "c").map(|_| ())
    };
    let ok = "Digest realm=\"r\", nonce=\"n\"";
    assert_eq!(try_it(ok), Ok(()));
    assert_eq!(
        try_it(&format!("{ok}, algorithm=MD5-sess")),
        Err(AnswerError::Unsupported)
    );
    assert_eq!(
        try_it(&format!("{ok}, qop=\"auth-int\"")),
        Err(AnswerError::Unsupported)
    );
    assert_eq!(try_it("Digest realm=\"r\""), Err(AnswerError::Malformed));
    assert_eq!(try_it("Basic realm=\"r\""), Err(AnswerError::Malformed));
}
