//! The way of a forwarded call: it ends, whatever is configured, and the request tells of it.

use super::super::*;
use crate::wire::sip::Message;
use proptest::prelude::*;

fn request(headers: &str) -> Message {
    let text = format!(
        "INVITE sip:100@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
         From: <sip:200@example.com>;tag=a\r\nTo: <sip:100@example.com>\r\nCall-ID: a\r\n\
         CSeq: 1 INVITE\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    Message::parse(text.into()).unwrap()
}

/// The examples of RFC 7544 §7.1 and §7.2, each header both ways, with the angle brackets that
/// RFC 3261 §20.10 asks for (erratum 2603 of RFC 6044), and one of RFC 5806 whose counter stands
/// for several.
#[test]
fn headers_of_the_rfcs_are_counted() {
    let table = [
        ("", 0, 0),
        (
            "Diversion: <sip:diverting_user3_address>;reason=unconditional;counter=1;privacy=off, \
             <sip:diverting_user2_address>;reason=user-busy;counter=1;privacy=full\r\n\
             Diversion: <sip:diverting_user1_address>;reason=no-answer;counter=1;privacy=off\r\n",
            3,
            0,
        ),
        (
            "History-Info: <sip:diverting_user1_address?Privacy=none>;index=1, \
             <sip:diverting_user2_address;cause=408?Privacy=history>;index=1.1;mp=1, \
             <sip:diverting_user3_address;cause=486?Privacy=none>;index=1.1.1;mp=1.1, \
             <sip:last_diverting_target;cause=302>;index=1.1.1.1;mp=1.1.1\r\n",
            0,
            3,
        ),
        (
            "Diversion: <sip:+19195551002>;reason=user-busy;privacy=\"full\";counter=4\r\n",
            4,
            0,
        ),
        // Hops that forwarded no call; entries without index; what cannot be read.
        (
            "History-Info: <sip:bob@example.com>;index=1, <sip:bob@192.0.2.3>;index=1.1;rc=1\r\n\
             History-Info: <sip:bob@192.0.2.4;cause=302>\r\n",
            0,
            0,
        ),
        (
            "History-Info: <sip:b@192.0.2.4;cause=302>;index=1..1\r\n",
            0,
            0,
        ),
        (
            "Diversion: <sip:a@b>;counter=0\r\nDiversion: <sip:a\r\n",
            1,
            0,
        ),
        ("Diversion: <sip:a@b>;counter=99999999999\r\n", 1, 0),
        ("Diversion: <sip:a@b>;counter=4000000000\r\n", 1000, 0),
    ];
    for (headers, diversions, history) in table {
        let request = request(headers);
        assert_eq!(Diversions::of(&request).count(), diversions, "{headers}");
        assert_eq!(History::of(&request).diverted(), history, "{headers}");
        let chain = Chain::of_request("100@example.com", &request);
        assert_eq!(chain.len(), diversions.max(history), "{headers}");
    }
}

#[test]
fn a_forwarded_request_tells_of_its_way() {
    let arrived = request("");
    let mut history = History::of(&arrived);
    let mut diversions = Diversions::of(&arrived);
    history.arrive("sip:100@example.com");
    history.divert("sip:300@example.com", Why::NoAnswer);
    diversions.divert("100@example.com", Why::NoAnswer);
    // The next user is where the last entry points already.
    history.arrive("sip:300@EXAMPLE.com;user=phone");
    history.divert(
        "sip:+34915550100@itsp.example;user=phone?Subject=x",
        Why::Always,
    );
    diversions.divert("300@example.com", Why::Always);
    let values: Vec<&str> = history.values().collect();
    assert_eq!(
        values,
        [
            "<sip:100@example.com>;index=1",
            "<sip:300@example.com;cause=408>;index=1.1;mp=1",
            "<sip:+34915550100@itsp.example;user=phone;cause=302?Subject=x>;index=1.1.1;mp=1.1",
        ]
    );
    assert_eq!(
        diversions.values(),
        [
            "<sip:300@example.com>;reason=unconditional;counter=1;privacy=off",
            "<sip:100@example.com>;reason=no-answer;counter=1;privacy=off",
        ]
    );
    // What is written reads back as as many.
    let lines = |name: &str, values: &[&str]| -> String {
        values.iter().map(|v| format!("{name}: {v}\r\n")).collect()
    };
    let texts: Vec<&str> = diversions.values().iter().map(String::as_str).collect();
    let sent = request(&(lines("History-Info", &values) + &lines("Diversion", &texts)));
    assert_eq!(History::of(&sent), history);
    assert_eq!(Diversions::of(&sent), diversions);
    assert_eq!(Chain::of_request("x@y", &sent).len(), 2);
}

/// RFC 7044 §10.3: a hop that wrote nothing leaves a gap, which a zero marks.
#[test]
fn a_hop_that_wrote_no_history_is_marked() {
    let arrived = request("History-Info: <sip:first@example.com>;index=1\r\n");
    let mut history = History::of(&arrived);
    history.arrive("sip:100@example.com");
    history.divert("sip:last@example.com", Why::Busy);
    let values: Vec<&str> = history.values().collect();
    assert_eq!(
        values,
        [
            "<sip:first@example.com>;index=1",
            "<sip:100@example.com>;index=1.0",
            "<sip:last@example.com;cause=486>;index=1.0.1;mp=1.0",
        ]
    );
}

#[test]
fn neither_header_grows_without_bound() {
    let many: String = (1..300)
        .map(|n| format!("Diversion: <sip:{n}@example.com>\r\n"))
        .take(200)
        .collect();
    let mut diversions = Diversions::of(&request(&many));
    let before = diversions.values().len();
    assert!(before < 200);
    diversions.divert("100@example.com", Why::Always);
    assert_eq!(diversions.values().len(), before);
    assert!(diversions.values()[0].starts_with("<sip:100@example.com>"));
    let mut history = History::default();
    for n in 0..200 {
        history.arrive(&format!("sip:{n}@example.com"));
        history.divert(&format!("sip:{n}-on@example.com"), Why::Busy);
    }
    assert!(history.values().count() <= 32);
}

#[test]
fn hidden_callers_are_known() {
    let table = [
        ("Privacy: id\r\n", true),
        ("Privacy: critical;ID\r\n", true),
        ("Privacy: user\r\n", true),
        ("Privacy: none\r\n", false),
        ("Privacy: header;session\r\n", false),
        ("Privacy: history\r\n", false),
        ("", false),
    ];
    for (headers, hidden) in table {
        assert_eq!(Caller::hides(&request(headers)), hidden, "{headers}");
    }
    for (from, hidden) in [
        ("<sip:x@Anonymous.Invalid>", true),
        ("\"Anonymous\" <sip:c8oqz84zk7z@privacy.example.org>", true),
        ("anonymous <sip:200@example.com>", true),
        ("\"Anonymous Animals Ltd\" <sip:200@example.com>", false),
        ("<sip:anonymous@example.com>", false),
    ] {
        let text = format!(
            "INVITE sip:100@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
             From: {from};tag=a\r\nTo: <sip:100@example.com>\r\nCall-ID: a\r\n\
             CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let request = Message::parse(text.into()).unwrap();
        assert_eq!(Caller::hides(&request), hidden, "{from}");
    }
}

#[test]
fn a_chain_ends_in_a_circle_or_at_its_bound() {
    let mut chain = Chain::new("0@example.com");
    assert!(chain.is_empty());
    assert_eq!(chain.step("0@example.com").unwrap_err().status, 482);
    for n in 1..=FORWARDINGS_MAX {
        chain.step(&format!("{n}@example.com")).unwrap();
        assert_eq!(chain.step("1@example.com").unwrap_err().status, 482);
    }
    assert_eq!(chain.len(), FORWARDINGS_MAX);
    assert_eq!(chain.step("99@example.com").unwrap_err().status, 483);
    let told = request("Diversion: <sip:a@b>;counter=7\r\n");
    let mut chain = Chain::of_request("0@example.com", &told);
    chain.step("1@example.com").unwrap();
    assert_eq!(chain.step("2@example.com").unwrap_err().status, 483);
}

#[test]
fn a_target_belongs_to_the_domain_of_who_forwards() {
    for (to, aor) in [
        ("200", "200@example.com"),
        ("+34915550100", "+34915550100@example.com"),
        ("sip:200@EXAMPLE.org;user=phone", "200@example.org"),
        ("SIPS:200@example.org:5061", "200@example.org"),
        ("sip:a@[2001:db8::1]:5060", "a@[2001:db8::1]"),
    ] {
        assert_eq!(target_aor("100@example.com", to), aor);
    }
}

const USERS: usize = 12;

/// Anything that a user may want, of a dozen users who know each other by number or URI.
fn any_settings() -> impl Strategy<Value = Settings> {
    let to = || {
        proptest::option::of((0..USERS, any::<bool>()).prop_map(|(n, uri)| -> Box<str> {
            match uri {
                true => format!("sip:{n}@Example.com;user=phone").into(),
                false => n.to_string().into(),
            }
        }))
    };
    (to(), to(), to(), to(), any::<bool>()).prop_map(|(always, busy, silent, absent, dnd)| {
        Settings {
            forward_always: always,
            forward_busy: busy,
            forward_no_answer: silent,
            forward_unregistered: absent,
            dnd,
            ..Settings::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Even a table that no command would let through (it is put, not changed) moves no call more
    /// often than the bound, whatever happens at each phone.
    #[test]
    fn no_configuration_forwards_without_end(
        table in proptest::collection::vec(any_settings(), USERS),
        fates in proptest::collection::vec(0..3_u8, 64),
        before in 0..20_u32,
    ) {
        let features = Features::new();
        for (n, settings) in table.into_iter().enumerate() {
            features.put(&format!("{n}@example.com"), settings).unwrap();
        }
        let caller = Caller { number: "9", uri: "9@example.org", anonymous: false };
        let header = format!("Diversion: <sip:a@b>;counter={before}\r\n");
        let told = request(if before > 0 { &header } else { "" });
        let mut at = "0@example.com".to_owned();
        let mut chain = Chain::of_request(&at, &told);
        let mut seen = vec![at.clone()];
        let mut fates = fates.into_iter().cycle();
        // As the proxy does it: ask, ring, ask again; the loop itself has no bound.
        loop {
            let settings = features.settings(&at).unwrap_or_default();
            let next = match incoming(&settings, caller) {
                Incoming::Forward(forward) => Some(forward),
                Incoming::Refuse(_) => None,
                Incoming::Ring { .. } => after(&settings, match fates.next() {
                    Some(0) => Failure::Busy,
                    Some(1) => Failure::NoAnswer,
                    _ => Failure::Unregistered,
                }),
            };
            let Some(forward) = next else { break };
            let to = target_aor(&at, &forward.to);
            if chain.step(&to).is_err() {
                break;
            }
            prop_assert!(!seen.contains(&to));
            seen.push(to.clone());
            at = to;
        }
        let all = before as usize + seen.len() - 1;
        prop_assert!(seen.len() == 1 || all <= FORWARDINGS_MAX, "{all} {seen:?}");
    }

    /// Set one by one as people do, forwardings of every call never make a circle.
    #[test]
    fn what_may_be_set_makes_no_circle(sets in proptest::collection::vec((0..9_u8, 0..9_u8), 1..40)) {
        let features = Features::new();
        for (who, to) in sets {
            let change = Change::ForwardAlways(Some(to.to_string().into()));
            let _ = features.change(&format!("{who}@example.com"), &change);
        }
        for start in 0..9 {
            let mut at = format!("{start}@example.com");
            let mut steps = 0;
            while let Some(to) = features.settings(&at).and_then(|s| s.forward_always.clone()) {
                at = target_aor(&at, &to);
                steps += 1;
                prop_assert!(steps < 9);
            }
        }
    }

    /// What a phone dials is read or refused, never more.
    #[test]
    fn anything_may_be_dialled(text in "[*#0-9a-zñ+]{0,20}") {
        let features = Features::new();
        match dialled(None, &text) {
            Dialled::Code(code) => {
                let applied = features.apply("100@example.com", &code);
                let harmless = |reason: &str| !reason.chars().any(char::is_control);
                prop_assert!(applied.is_ok_and(|r| r.is_some() == matches!(code, Code::Set(_)))
                    || features.apply("100@example.com", &code).is_err_and(|r| harmless(&r.reason)));
            }
            Dialled::Wrong(refusal) => prop_assert!(matches!(refusal.status, 404 | 484)),
            Dialled::Number(_) => prop_assert!(false, "there is no speed dial"),
            Dialled::Other => prop_assert!(true),
        }
    }
}
