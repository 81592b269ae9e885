//! Limits, and what is counted.
use super::{config, trunk};
use crate::base::Instant;
use crate::peer::{Peers, Refusal, State, Trunk};
use std::sync::Arc;

fn made(of: impl FnOnce(&mut crate::config::Trunk)) -> (Peers, Arc<Trunk>) {
    let mut itsp = trunk("itsp", "sip:sip.example.net");
    of(&mut itsp);
    let peers = Peers::new(&config(vec![itsp], Vec::new()), [7; 32]);
    let trunk = peers.trunk("itsp").expect("there");
    (peers, trunk)
}

#[test]
fn calls_max_counts_both_directions() {
    let (_peers, trunk) = made(|t| t.calls_max = 2);
    let now = Instant::from_millis(5);
    let out = trunk.admit(now).expect("room");
    let _in = trunk.admit_inbound(now).expect("room");
    assert_eq!(trunk.admit(now).err(), Some(Refusal::CallsMax));
    assert_eq!(trunk.admit_inbound(now).err(), Some(Refusal::CallsMax));
    drop(out);
    assert!(trunk.admit(now).is_ok());
}

#[test]
fn calls_per_second_hold_in_every_second() {
    let (_peers, trunk) = made(|t| t.calls_per_second = 3);
    let mut admitted: Vec<u64> = Vec::new();
    for ms in (0..5000).step_by(70) {
        match trunk.admit(Instant::from_millis(ms)) {
            Ok(_) => admitted.push(ms),
            Err(why) => assert_eq!(why, Refusal::CallsPerSecond),
        }
    }
    for at in &admitted {
        let within = admitted.iter().filter(|o| (*at..at + 1000).contains(*o));
        assert!(within.count() <= 3);
    }
    assert!(admitted.len() >= 14, "{admitted:?}");
    assert_eq!(trunk.calls(), 0, "a refused call takes no place");
}

#[test]
fn the_ratio_counts_what_was_sent_and_its_end_once() {
    let (_peers, trunk) = made(|_| {});
    let now = Instant::from_millis(9);
    let mut answered = trunk.admit(now).expect("room");
    answered.answered();
    answered.answered();
    drop(answered);
    let mut refused = trunk.admit(now).expect("room");
    refused.failed(now, 486, "Busy Here");
    drop(refused);
    assert_eq!(trunk.last_error(), None, "busy is the callee's word");
    drop(trunk.admit(now).expect("room")); // the caller gave up
    drop(trunk.admit_inbound(now).expect("room"));
    assert_eq!(trunk.outcomes(), (1, 2));
    let mut failed = trunk.admit(now).expect("room");
    failed.failed(now, 403, "");
    let error = trunk.last_error().expect("kept");
    let words = "403 Forbidden: check username and password_file";
    assert_eq!((error.at, &*error.text), (now, words));
}

#[test]
fn two_failures_bring_down_one_answer_brings_up() {
    let (_peers, trunk) = made(|t| t.probe_s = 30);
    let at = Instant::from_millis;
    assert_eq!(trunk.state(at(1)), State::Probing);
    assert!(trunk.is_up(at(1)), "nothing is known against it");
    assert!(!trunk.standing().failed_probe(at(2), "408"));
    assert_eq!(trunk.state(at(2)), State::Probing);
    assert!(trunk.standing().failed_probe(at(3), "408"));
    assert_eq!(
        (trunk.state(at(3)), trunk.since(at(3))),
        (State::Down, at(3))
    );
    assert!(!trunk.standing().failed_probe(at(4), "408"), "told once");
    assert_eq!(trunk.admit(at(4)).err(), Some(Refusal::Down));
    assert!(trunk.admit_inbound(at(4)).is_ok());
    assert!(trunk.standing().answered_probe(at(5)));
    assert_eq!((trunk.state(at(5)), trunk.since(at(5))), (State::Up, at(5)));
    // A call that heard nothing counts as one failure, several at once too.
    trunk.suspect();
    trunk.suspect();
    assert_eq!(trunk.state(at(6)), State::Up);
    assert!(trunk.standing().failed_probe(at(7), "408"));
}

#[test]
fn a_reload_keeps_what_stays_and_calls_go_on() {
    let (peers, trunk) = made(|t| t.probe_s = 30);
    let now = Instant::from_millis(1);
    trunk.standing().failed_probe(now, "x");
    trunk.standing().failed_probe(now, "x");
    let _call = trunk.admit_inbound(now).expect("room");
    let mut changed = super::trunk("itsp", "sip:sip.example.net");
    changed.probe_s = 30;
    changed.calls_max = 9;
    peers.configure(&config(vec![changed.clone()], Vec::new()));
    let same = peers.trunk("itsp").expect("there");
    assert!(Arc::ptr_eq(&same, &trunk));
    assert_eq!((same.state(now), same.calls()), (State::Down, 1));
    assert_eq!(same.config().calls_max, 9);
    changed.uri = "sip:other.example.net".into();
    peers.configure(&config(vec![changed], Vec::new()));
    assert_eq!(trunk.state(now), State::Probing, "another address");
    assert_eq!(trunk.calls(), 1);
    peers.configure(&config(Vec::new(), Vec::new()));
    assert!(peers.trunk("itsp").is_none());
    assert_eq!(trunk.calls(), 1);
}

#[test]
fn passwords_come_before_or_after_the_trunk() {
    let (peers, trunk) = made(|t| t.auth_username = Some("auth".into()));
    assert!(trunk.credentials().is_none());
    peers.set_secret("itsp", Some(b"pa55word".to_vec()));
    let credentials = trunk.credentials().expect("set");
    assert_eq!(credentials.client().username, "auth");
    assert_eq!(credentials.client().password, b"pa55word");
    let shown = format!("{credentials:?}{trunk:?}{peers:?}");
    // Neither as text nor as bytes, and the node's own secret neither.
    for secret in ["pa55word", "112, 97, 53, 53", "7, 7, 7"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    peers.set_secret("later", Some(b"x".to_vec()));
    peers.configure(&config(vec![super::trunk("later", "sip:b")], Vec::new()));
    assert!(peers.trunk("later").expect("there").credentials().is_some());
}
