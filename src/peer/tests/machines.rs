//! Every state of the two machines with every event.
use super::trunk;
use crate::base::{Destination, Instant, Rng, Transport};
use crate::peer::probe::{self, Probe, Whom};
use crate::peer::registration::{PAUSE_MAX, PAUSE_MIN, Registration, Step, Why};
use crate::peer::{Peers, Registered, State, Surroundings, Trunk};
use crate::sip::listeners::{Listener, ListenerTable};
use crate::sip::locate::Locator;
use crate::sip::transaction::Failure;
use crate::wire::sip::{HeaderName, Message, ResponseBuilder};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

const NOW: Instant = Instant::from_millis(1_000_000);

struct World {
    listeners: ListenerTable,
    locator: Locator,
    rng: Rng,
    trunk: Arc<Trunk>,
    peers: Peers,
}

impl World {
    fn new(probe_s: u32) -> Self {
        let mut itsp = trunk("itsp", "sip:192.0.2.50");
        itsp.register = true;
        itsp.probe_s = probe_s;
        let peers = Peers::new(&super::config(vec![itsp], Vec::new()), [7; 32]);
        peers.set_secret("itsp", Some(b"secret".to_vec()));
        let listener = Listener {
            transport: Transport::Udp,
            bind: "192.0.2.1:5060".parse().expect("an address"),
            advertised: None,
        };
        Self {
            listeners: ListenerTable::new(vec![listener], Vec::new(), [None, None]),
            locator: Locator::new(Rng::from_u64(1)),
            rng: Rng::from_u64(2),
            trunk: peers.trunk("itsp").expect("there"),
            peers,
        }
    }

    fn around(&mut self) -> Surroundings<'_> {
        Surroundings {
            listeners: &self.listeners,
            locator: &mut self.locator,
            rng: &mut self.rng,
            domain: "example.com",
        }
    }
}

fn at(last: u8) -> Destination {
    Destination::Address {
        transport: Transport::Udp,
        remote: ([192, 0, 2, last], 5060).into(),
        tls_name: None,
    }
}

/// An answer to any request of ours.
fn answer(status: u16, headers: &[(&str, &str)]) -> Message {
    let request = b"REGISTER sip:192.0.2.50 SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKx\r\n\
        From: <sip:a@x>;tag=1\r\nTo: <sip:a@x>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n\
        Content-Length: 0\r\n\r\n";
    let request = Message::parse(Bytes::from_static(request)).expect("well-formed");
    let mut response = ResponseBuilder::new(&request, status);
    for (name, value) in headers {
        response = match HeaderName::lookup(name.as_bytes()) {
            HeaderName::Other => response.raw_header(name, *value),
            known => response.header(known, *value),
        };
    }
    Message::parse(response.render()).expect("well-formed")
}

const CHALLENGE: (&str, &str) = ("WWW-Authenticate", "Digest realm=\"r\", nonce=\"n1\"");

fn word(step: &Step) -> &'static str {
    match step {
        Step::Locate(_) => "locate",
        Step::Send { .. } => "send",
        Step::Rest(_) => "rest",
        Step::Gone => "gone",
    }
}

/// Until it is in a phase.
fn registration(world: &mut World, phase: &str) -> Registration {
    let trunk = Arc::clone(&world.trunk);
    let mut made = Registration::new(trunk, "call".into(), "tag".into());
    if phase == "new" {
        return made;
    }
    assert_eq!(word(&made.on_due(NOW)), "locate");
    if phase == "locating" {
        return made;
    }
    let found = Ok(vec![at(50), at(51)]);
    let step = made.on_located(NOW, found, &mut world.around());
    assert_eq!(word(&step), "send");
    let next = match phase {
        "asking" => return made,
        "registered" => made.on_answer(NOW, &answer(200, &[]), &mut world.around()),
        "failed" => made.on_answer(NOW, &answer(603, &[]), &mut world.around()),
        "gone" => {
            assert_eq!(word(&made.on_removed(NOW)), "locate");
            made.on_located(NOW, Err("x"), &mut world.around())
        }
        other => unreachable!("{other}"),
    };
    let wanted = if phase == "gone" { "gone" } else { "rest" };
    assert_eq!(word(&next), wanted);
    made
}

fn happen(world: &mut World, made: &mut Registration, event: &str) -> &'static str {
    let mut around = world.around();
    let mut told = |status, headers: &[(&str, &str)]| {
        made.on_answer(NOW, &answer(status, headers), &mut around)
    };
    let step = match event {
        "200" => told(200, &[]),
        "302" => told(302, &[("Contact", "<sip:other.example.net>")]),
        "401" => told(401, &[CHALLENGE]),
        "407" => told(407, &[("Proxy-Authenticate", CHALLENGE.1)]),
        "403" => told(403, &[]),
        "423" => told(423, &[("Min-Expires", "7200")]),
        "503" => told(503, &[]),
        "603" => told(603, &[]),
        "due" => made.on_due(NOW),
        "found" => made.on_located(NOW, Ok(vec![at(50)]), &mut around),
        "lost" => made.on_located(NOW, Err("DNS does not answer"), &mut around),
        "timeout" => made.on_failure(NOW, Failure::Timeout, &mut around),
        "transport" => made.on_failure(NOW, Failure::Transport, &mut around),
        "removed" => made.on_removed(NOW),
        "hurried" => match made.hurry(NOW, Why::Changed) {
            Some(step) => step,
            None => return "-",
        },
        other => unreachable!("{other}"),
    };
    word(&step)
}

const EVENTS: [&str; 15] = [
    "due",
    "found",
    "lost",
    "200",
    "302",
    "401",
    "407",
    "403",
    "423",
    "503",
    "603",
    "timeout",
    "transport",
    "removed",
    "hurried",
];

#[test]
fn a_registration_knows_what_to_do_whatever_happens() {
    // One column for each of EVENTS. What cannot happen in a phase makes it rest, and wake again.
    let table = [
        (
            "new",
            "locate rest rest rest rest rest rest rest rest rest rest rest rest gone -",
        ),
        (
            "locating",
            "rest send rest rest rest rest rest rest rest rest rest rest rest gone -",
        ),
        (
            "asking",
            "rest rest rest rest rest send send rest send send rest send send locate -",
        ),
        (
            "registered",
            "locate rest rest rest rest rest rest rest rest rest rest rest rest locate -",
        ),
        (
            "failed",
            "locate rest rest rest rest rest rest rest rest rest rest rest rest gone locate",
        ),
        (
            "gone",
            "gone gone gone gone gone gone gone gone gone gone gone gone gone gone -",
        ),
    ];
    for (phase, wanted) in table {
        let wanted: Vec<_> = wanted.split(' ').collect();
        assert_eq!(wanted.len(), EVENTS.len());
        for (event, wanted) in EVENTS.iter().zip(wanted) {
            let mut world = World::new(0);
            let mut made = registration(&mut world, phase);
            let got = happen(&mut world, &mut made, event);
            assert_eq!(got, wanted, "{phase} and {event}");
        }
    }
}

fn rest_of(step: &Step) -> Duration {
    match step {
        Step::Rest(at) => at.since(NOW),
        other => panic!("{other:?}"),
    }
}

#[test]
fn pauses_double_to_a_bound_and_a_refusal_waits_longest() {
    let mut world = World::new(0);
    let mut made = registration(&mut world, "asking");
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let step = made.on_answer(NOW, &answer(600, &[]), &mut world.around());
        pauses.push(rest_of(&step));
        made.on_due(NOW);
        made.on_located(NOW, Ok(vec![at(50)]), &mut world.around());
    }
    for (n, pause) in pauses.iter().enumerate() {
        let most = (PAUSE_MIN * 2_u32.pow(n as u32)).min(PAUSE_MAX);
        assert!((most * 3 / 4..=most).contains(pause), "{pauses:?}");
    }
    for status in [401, 403, 404] {
        let mut made = registration(&mut world, "asking");
        let step = made.on_answer(NOW, &answer(status, &[]), &mut world.around());
        assert!(rest_of(&step) >= PAUSE_MAX * 3 / 4, "{status}");
    }
}

#[test]
fn retry_after_is_kept_to_within_bounds() {
    for (said, least, most) in [("120", 90, 120), ("0", 3, 5), ("99999999", 2700, 3600)] {
        let mut world = World::new(0);
        let mut made = registration(&mut world, "asking");
        // The other address first; then nobody is left.
        let busy = answer(503, &[("Retry-After", said)]);
        assert_eq!(
            word(&made.on_answer(NOW, &busy, &mut world.around())),
            "send"
        );
        let pause = rest_of(&made.on_answer(NOW, &busy, &mut world.around()));
        assert!(
            (least..=most).contains(&pause.as_secs()),
            "{said}: {pause:?}"
        );
    }
}

#[test]
fn the_same_challenge_again_is_a_wrong_password() {
    let mut world = World::new(0);
    let mut made = registration(&mut world, "asking");
    assert_eq!(happen(&mut world, &mut made, "401"), "send");
    assert_eq!(happen(&mut world, &mut made, "401"), "rest");
    let error = world.trunk.last_error().expect("kept").text;
    assert_eq!(
        &*error,
        "401 Unauthorized: check username and password_file"
    );
    assert_eq!(world.trunk.registered(), Registered::Failed);
    assert!(!world.trunk.is_up(NOW));
}

#[test]
fn stale_nonces_are_answered_twice_and_then_given_up_for_a_while() {
    let mut world = World::new(0);
    let mut made = registration(&mut world, "asking");
    let stale = |n: u32| {
        let value = format!("Digest realm=\"r\", nonce=\"n{n}\", stale=true, qop=\"auth\"");
        answer(401, &[("WWW-Authenticate", &*value)])
    };
    for n in 0..2 {
        let step = made.on_answer(NOW, &stale(n), &mut world.around());
        assert_eq!(word(&step), "send", "{n}");
    }
    let pause = rest_of(&made.on_answer(NOW, &stale(2), &mut world.around()));
    assert!(pause <= PAUSE_MIN, "time may mend it");
}

fn sent(step: Step) -> Message {
    match step {
        Step::Send { request, .. } => Message::parse(request).expect("well-formed"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nonces_are_counted_over_refreshes_and_sequence_grows() {
    let mut world = World::new(0);
    let mut made = registration(&mut world, "asking");
    let value = "Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256";
    let challenge = answer(401, &[("WWW-Authenticate", value)]);
    let mut step = made.on_answer(NOW, &challenge, &mut world.around());
    let mut before = 1;
    for count in 1..5 {
        let message = sent(step);
        let credentials = message.credentials(HeaderName::Authorization).next();
        let credentials = credentials.expect("there").expect("well-formed");
        let nc = format!("{count:08x}");
        assert_eq!(credentials.nc(), Some(nc.as_bytes()));
        assert_eq!(credentials.username(), Some(&b"5700020326"[..]));
        let cseq = message.cseq().expect("there").number;
        assert!(cseq > before);
        before = cseq;
        assert_eq!(message.call_id(), b"call");
        made.on_answer(NOW, &answer(200, &[]), &mut world.around());
        made.on_due(NOW);
        step = made.on_located(NOW, Ok(vec![at(50)]), &mut world.around());
    }
}

#[test]
fn what_is_granted_is_refreshed_well_before_its_end() {
    for (headers, granted) in [
        (&[][..], 3600),
        (&[("Expires", "600")], 600),
        (
            &[
                ("Contact", "<sip:rewritten@203.0.113.1>;expires=120"),
                ("Expires", "600"),
            ],
            120,
        ),
        (
            &[
                ("Contact", "<sip:a@b>;expires=9, <sip:c@d>;expires=8"),
                ("Expires", "70"),
            ],
            70,
        ),
        (
            &[(
                "Contact",
                "<sip:a@b>;expires=9, <sip:5@192.0.2.1;line=LINE>;expires=300",
            )],
            300,
        ),
        (&[("Expires", "4")], 4),
    ] {
        let mut world = World::new(0);
        let mut made = registration(&mut world, "asking");
        let line = world.trunk.line().to_owned();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.replace("LINE", &line)))
            .collect();
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let step = made.on_answer(NOW, &answer(200, &headers), &mut world.around());
        let granted = Duration::from_secs(granted);
        let until = Registered::Until(NOW + granted);
        assert_eq!(world.trunk.registered(), until, "{headers:?}");
        let rest = rest_of(&step);
        assert!(
            rest >= granted * 2 / 5 && rest <= granted * 4 / 5,
            "{rest:?}"
        );
        assert!(granted.as_secs() < 256 || granted - rest >= Duration::from_secs(64));
    }
}

#[test]
fn no_time_granted_is_a_failure() {
    let mut world = World::new(0);
    let mut made = registration(&mut world, "asking");
    let step = made.on_answer(NOW, &answer(200, &[("Expires", "0")]), &mut world.around());
    assert!(rest_of(&step) <= PAUSE_MIN);
    assert_eq!(world.trunk.registered(), Registered::Failed);
}

#[test]
fn routes_of_the_registrar_are_kept() {
    let mut world = World::new(0);
    let mut made = registration(&mut world, "asking");
    let ok = answer(
        200,
        &[
            (
                "Service-Route",
                "<sip:p1.example.net;lr>, <sip:p2.example.net;lr>",
            ),
            ("Path", "<sip:edge.example.net;lr>"),
        ],
    );
    made.on_answer(NOW, &ok, &mut world.around());
    let routes: Vec<_> = world.trunk.service_route().iter().cloned().collect();
    assert_eq!(
        routes,
        [
            "<sip:p1.example.net;lr>".into(),
            "<sip:p2.example.net;lr>".into()
        ] as [Box<str>; 2]
    );
    assert_eq!(&*world.trunk.path()[0], "<sip:edge.example.net;lr>");
}

#[test]
fn too_brief_asks_for_what_is_wanted_once() {
    let mut world = World::new(0);
    let mut made = registration(&mut world, "asking");
    let brief = answer(423, &[("Min-Expires", "7200")]);
    let message = sent(made.on_answer(NOW, &brief, &mut world.around()));
    assert_eq!(message.expires(), Ok(Some(7200)));
    let more = answer(423, &[("Min-Expires", "9999")]);
    let step = made.on_answer(NOW, &more, &mut world.around());
    assert_eq!(word(&step), "rest", "who raises it each time gets no more");
    for bad in ["", "60", "99999999"] {
        let mut made = registration(&mut world, "asking");
        let brief = answer(423, &[("Min-Expires", bad)]);
        assert_eq!(
            word(&made.on_answer(NOW, &brief, &mut world.around())),
            "rest"
        );
    }
}

#[test]
fn who_is_back_may_have_forgotten_us() {
    let mut world = World::new(0);
    let mut made = registration(&mut world, "registered");
    assert_eq!(made.hurry(NOW, Why::Changed), None, "all is well");
    assert_eq!(
        made.hurry(NOW, Why::Back).as_ref().map(word),
        Some("locate")
    );
    let mut refused = registration(&mut world, "asking");
    refused.on_answer(NOW, &answer(403, &[]), &mut world.around());
    assert_eq!(
        refused.hurry(NOW, Why::Back),
        None,
        "it knows us, and wants nothing of us"
    );
    assert!(refused.hurry(NOW, Why::Changed).is_some());
}

#[test]
fn who_has_no_account_is_told_so() {
    let mut world = World::new(0);
    world.peers.set_secret("itsp", None);
    let mut made = registration(&mut world, "asking");
    assert_eq!(happen(&mut world, &mut made, "401"), "rest");
    let told = world.trunk.last_error().expect("kept").text;
    assert_eq!(&*told, "401: the trunk has no username or no password_file");
}

#[test]
fn another_account_is_not_registered_until_it_is() {
    let mut world = World::new(0);
    registration(&mut world, "registered");
    let mut changed = (*world.trunk.config()).clone();
    changed.expires_s = 99;
    world
        .peers
        .configure(&super::config(vec![changed.clone()], Vec::new()));
    assert!(matches!(world.trunk.registered(), Registered::Until(_)));
    changed.username = Some("other".into());
    world
        .peers
        .configure(&super::config(vec![changed.clone()], Vec::new()));
    assert_eq!(world.trunk.registered(), Registered::Trying);
    changed.register = false;
    world
        .peers
        .configure(&super::config(vec![changed], Vec::new()));
    assert_eq!(world.trunk.registered(), Registered::Unwanted);
    assert!(world.trunk.is_up(NOW));
}

#[test]
fn what_is_in_force_stays_while_the_refresh_fails() {
    let mut world = World::new(0);
    let mut made = registration(&mut world, "registered");
    made.on_due(NOW);
    made.on_located(NOW, Err("DNS does not answer"), &mut world.around());
    assert!(matches!(world.trunk.registered(), Registered::Until(_)));
    assert!(world.trunk.is_up(NOW));
    let later = NOW + Duration::from_secs(3600);
    assert!(!world.trunk.is_up(later), "until it ends");
    assert_eq!(world.trunk.since(later), later);
}

#[test]
fn a_removed_registration_is_taken_back_with_what_was_learnt() {
    let mut world = World::new(0);
    let mut made = registration(&mut world, "registered");
    assert_eq!(word(&made.on_removed(NOW)), "locate");
    let step = made.on_located(NOW, Ok(vec![at(50)]), &mut world.around());
    let message = sent(step);
    assert_eq!(message.expires(), Ok(Some(0)));
    // Challenged, it answers; then it is gone whatever comes.
    let step = made.on_answer(NOW, &answer(401, &[CHALLENGE]), &mut world.around());
    assert!(sent(step).has(HeaderName::Authorization));
    let step = made.on_answer(NOW, &answer(500, &[]), &mut world.around());
    assert_eq!(word(&step), "gone");
}

fn probing(world: &mut World, phase: &str) -> Probe {
    let whom = Whom::Trunk(Arc::clone(&world.trunk));
    let mut made = Probe::new(whom, 30, "call".into(), "tag".into());
    if phase == "resting" {
        return made;
    }
    assert_eq!(word(&made.on_due()), "locate");
    if phase == "locating" {
        return made;
    }
    let others = if phase == "asking" {
        vec![at(50), at(51)]
    } else {
        vec![at(50)]
    };
    let step = made.on_located(NOW, Ok(others), &mut world.around());
    assert_eq!(word(&step), "send");
    made
}

#[test]
fn a_probe_knows_what_to_do_whatever_happens() {
    let events = [
        "due",
        "found",
        "lost",
        "200",
        "404",
        "408",
        "503",
        "timeout",
        "transport",
    ];
    for (phase, wanted) in [
        ("resting", "locate send rest rest rest rest rest rest rest"),
        ("locating", "locate send rest rest rest rest rest rest rest"),
        ("asking", "locate send rest rest rest send send send send"),
        (
            "asking the last",
            "locate send rest rest rest rest rest rest rest",
        ),
    ] {
        for (event, wanted) in events.iter().zip(wanted.split(' ')) {
            let mut world = World::new(30);
            let mut made = probing(&mut world, phase);
            let mut around = world.around();
            let step = match *event {
                "due" => made.on_due(),
                "found" => made.on_located(NOW, Ok(vec![at(50)]), &mut around),
                "lost" => made.on_located(NOW, Err("x"), &mut around),
                "timeout" => made.on_failure(NOW, Failure::Timeout, &mut around),
                "transport" => made.on_failure(NOW, Failure::Transport, &mut around),
                status => {
                    let status = status.parse().expect("a status");
                    made.on_answer(NOW, &answer(status, &[]), &mut around).0
                }
            };
            assert_eq!(word(&step), wanted, "{phase} and {event}");
        }
    }
}

#[test]
fn any_answer_but_408_and_503_is_a_sign_of_life() {
    for (status, wanted) in [
        (200, State::Up),
        (401, State::Up),
        (404, State::Up),
        (405, State::Up),
        (486, State::Up),
        (500, State::Up),
        (603, State::Up),
        (408, State::Probing),
        (503, State::Probing),
    ] {
        let mut world = World::new(30);
        let mut made = probing(&mut world, "asking the last");
        made.on_answer(NOW, &answer(status, &[]), &mut world.around());
        assert_eq!(world.trunk.standing().state(), wanted, "{status}");
    }
}

#[test]
fn a_peer_that_fails_is_asked_sooner() {
    let mut world = World::new(300);
    let whom = Whom::Trunk(Arc::clone(&world.trunk));
    let mut made = Probe::new(whom, 300, "call".into(), "tag".into());
    let mut fail = |wanted: Duration, state| {
        made.on_due();
        let step = made.on_located(NOW, Err("x"), &mut world.around());
        let pause = rest_of(&step);
        assert!((wanted * 9 / 10..=wanted).contains(&pause), "{pause:?}");
        assert_eq!(world.trunk.standing().state(), state);
    };
    fail(probe::AGAIN_AFTER, State::Probing);
    fail(probe::DOWN_EVERY, State::Down);
    fail(probe::DOWN_EVERY, State::Down);
}
