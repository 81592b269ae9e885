//! Candidates of ours, and the checks of those who see them.

use super::tests::{ANSWER, Harness, OFFER, dialogue, port, sdp};
use crate::relay::{Datagram, DropReason, Verdict};
use crate::wire::ice::{Credentials, nomination};
use std::net::SocketAddr;

/// Where bob's candidates are that his description does not name first.
const BOB: &str = "192.0.2.77:41000";

/// A description whose author speaks ICE and goes by `fragment`.
fn ice(body: &str, fragment: &str) -> String {
    format!(
        "{body}a=ice-ufrag:{fragment}\r\na=ice-pwd:0123456789012345678901\r\n\
         a=candidate:1 1 UDP 2130706431 198.51.100.20 5000 typ host\r\n"
    )
}

/// What a description says of our ports.
fn ours(description: &str) -> Option<Credentials> {
    let value = |name: &str| {
        let rest = description.split(&format!("a={name}:")).nth(1)?;
        rest.split("\r\n").next()
    };
    Some(Credentials {
        fragment: value("ice-ufrag")?.as_bytes().try_into().ok()?,
        password: value("ice-pwd")?.as_bytes().try_into().ok()?,
    })
}

impl Harness {
    fn say(&mut self, command: &str, body: &str, ice: &str) -> String {
        let to = if command == "answer" { "b" } else { "" };
        let more = [("sdp", body.into()), ("ICE", ice.into())];
        let all = [&dialogue("call", "a", to)[..], &more].concat();
        sdp(&self.request(command, &all))
    }

    /// A check comes to a port of ours; whether it is answered, to whom it came from.
    fn nominates(&mut self, port: u16, from: &str, ours: &Credentials) -> bool {
        let from: SocketAddr = from.parse().unwrap();
        let mut buffer = [0; 2048];
        let check = nomination(ours);
        buffer[..check.len()].copy_from_slice(&check);
        let mut packet = Datagram::new(&mut buffer, check.len());
        match self.relay.process(self.now, port, from, &mut packet) {
            Verdict::Forward { from_port, to } => {
                assert_eq!((from_port, to), (port, from));
                // A success, or the error that tells a stranger so.
                packet.bytes()[..2] == [1, 1]
            }
            verdict => {
                assert_eq!(verdict, Verdict::Drop(DropReason::Stun));
                false
            }
        }
    }
}

#[test]
fn the_reader_s_checks_choose_where_its_packets_go() {
    let mut h = Harness::new(64);
    let offered = h.say("offer", OFFER, "force");
    let credentials = ours(&offered).unwrap();
    let toward_b = port(&offered);
    assert_eq!(offered.matches("a=ice-lite\r\n").count(), 1);
    for (component, port, priority) in [
        (1, toward_b, 2_130_706_431_u32),
        (2, toward_b + 1, 2_130_706_430),
    ] {
        let line =
            format!("a=candidate:1 {component} UDP {priority} 203.0.113.1 {port} typ host\r\n");
        assert!(offered.contains(&line), "{line}{offered}");
    }
    // His first checks may be here before his answer is.
    assert!(h.nominates(toward_b, BOB, &credentials));
    let mut wrong = credentials;
    wrong.password[0] ^= 1;
    assert!(!h.nominates(toward_b, "192.0.2.66:1", &wrong));

    let answered = h.say("answer", &ice(ANSWER, "bob"), "remove");
    assert_eq!(ours(&answered), None);
    assert!(!answered.contains("candidate") && !answered.contains("ice-"));
    let toward_a = port(&answered);
    assert_eq!(
        h.packet(toward_a, "198.51.100.10:4000", 1),
        Some((toward_b, BOB.parse().unwrap()))
    );
    assert!(h.packet(toward_b, BOB, 1).is_some());
    // Not even from where his description says.
    assert!(h.packet(toward_b, "198.51.100.20:5000", 1).is_none());
    // A check is no media: nobody else hears of it.
    assert!(h.nominates(toward_b, "198.51.100.20:5000", &credentials));
    assert!(h.packet(toward_b, "198.51.100.20:5000", 2).is_some());
    // Alice speaks no ICE.
    assert!(!h.nominates(toward_a, "198.51.100.10:4000", &credentials));
}

#[test]
fn who_answers_without_ice_is_heard_without() {
    let mut h = Harness::new(64);
    let offered = h.say("offer", &ice(OFFER, "alice"), "force");
    let (credentials, toward_b) = (ours(&offered).unwrap(), port(&offered));
    assert!(!offered.contains("alice\r\n") && !offered.contains("198.51.100.20 5000"));
    let answered = h.say("answer", ANSWER, "force");
    assert!(!h.nominates(toward_b, BOB, &credentials));
    assert!(h.packet(toward_b, "198.51.100.20:5000", 1).is_some());
    // Who offered ICE gets candidates of ours all the same.
    let (toward_a, credentials) = (port(&answered), ours(&answered).unwrap());
    assert!(answered.contains("a=ice-lite\r\n"));
    assert!(h.nominates(toward_a, "192.0.2.9:9", &credentials));
    assert_eq!(
        h.packet(toward_b, "198.51.100.20:5000", 2),
        Some((toward_a, "192.0.2.9:9".parse().unwrap()))
    );
}

#[test]
fn an_answer_has_ice_only_if_the_offer_had() {
    let mut h = Harness::new(64);
    let offered = h.say("offer", OFFER, "remove");
    assert_eq!(ours(&offered), None);
    let answered = h.say("answer", ANSWER, "force");
    assert!(ours(&answered).is_none() && !answered.contains("ice-lite"));
}

#[test]
fn credentials_hold_until_the_peer_begins_anew() {
    let mut h = Harness::new(64);
    h.say("offer", &ice(OFFER, "alice"), "remove");
    let answered = h.say("answer", ANSWER, "force");
    let (toward_a, first) = (port(&answered), ours(&answered).unwrap());
    assert!(h.nominates(toward_a, "192.0.2.9:9", &first));
    let again = |h: &mut Harness, fragment: &str| {
        let more = [("sdp", ice(OFFER, fragment).as_str().into())];
        h.request("offer", &[&dialogue("call", "a", "b")[..], &more].concat());
        ours(&h.say("answer", ANSWER, "force")).unwrap()
    };
    assert_eq!(again(&mut h, "alice"), first);
    // What was chosen stays chosen.
    assert!(h.packet(toward_a, "192.0.2.9:9", 1).is_some());
    assert!(h.packet(toward_a, "198.51.100.10:4000", 1).is_none());
    let second = again(&mut h, "newer");
    assert_ne!(second, first);
    assert!(!h.nominates(toward_a, "192.0.2.10:9", &first));
    assert!(h.nominates(toward_a, "192.0.2.10:9", &second));
    assert!(h.packet(toward_a, "192.0.2.10:9", 2).is_some());
    // Without the flag ICE ends.
    let answered = h.say("answer", ANSWER, "remove");
    assert_eq!(ours(&answered), None);
    assert!(!h.nominates(toward_a, "192.0.2.10:9", &second));
}

#[test]
fn without_a_flag_ice_is_spoken_with_those_who_speak_it() {
    let mut h = Harness::new(64);
    // Nobody does.
    assert_eq!(ours(&h.say("offer", OFFER, "default")), None);
    assert_eq!(ours(&h.say("answer", ANSWER, "default")), None);
    // She does, so he is asked whether he does; he does not.
    let mut h = Harness::new(64);
    let offered = h.say("offer", &ice(OFFER, "alice"), "default");
    assert!(ours(&offered).is_some() && !offered.contains("198.51.100.20 5000"));
    let answered = h.say("answer", ANSWER, "default");
    let (toward_a, credentials) = (port(&answered), ours(&answered).unwrap());
    assert!(h.nominates(toward_a, "192.0.2.9:9", &credentials));
    // He offers: she sees candidates as before, and he gets none.
    let from_b = [&dialogue("call", "b", "a")[..], &[("sdp", ANSWER.into())]];
    let offered = sdp(&h.request("offer", &from_b.concat()));
    assert_eq!(ours(&offered), Some(credentials));
    let to_b = [
        &dialogue("call", "b", "a")[..],
        &[("sdp", (&*ice(OFFER, "alice")).into())],
    ];
    assert_eq!(ours(&sdp(&h.request("answer", &to_b.concat()))), None);
}

#[test]
fn ice_that_is_rejected_is_neither_offered_back_nor_answered() {
    let mut h = Harness::new(64);
    let reject = [
        &dialogue("call", "a", "")[..],
        &[
            ("sdp", (&*ice(OFFER, "alice")).into()),
            ("flags", super::tests::list(&["reject ICE"])),
        ],
    ];
    let offered = sdp(&h.request("offer", &reject.concat()));
    assert!(ours(&offered).is_some(), "he may speak it all the same");
    let answered = h.say("answer", &ice(ANSWER, "bob"), "default");
    assert_eq!(ours(&answered), None);
}

#[test]
fn two_lite_agents_do_without_ice() {
    let mut h = Harness::new(64);
    let lite = ice(OFFER, "alice").replacen("a=ice-ufrag", "a=ice-lite\r\na=ice-ufrag", 1);
    // He may be a full one.
    assert!(ours(&h.say("offer", &lite, "default")).is_some());
    assert_eq!(ours(&h.say("answer", &ice(ANSWER, "bob"), "default")), None);
    // Whoever asks for it has it.
    let answered = h.say("answer", &ice(ANSWER, "bob"), "force");
    assert!(ours(&answered).is_some());
}
