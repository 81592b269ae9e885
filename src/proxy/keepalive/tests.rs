//! The keepalive: spread, failures, ends.

use super::*;
use crate::base::{Anchor, Flow, Transport};
use crate::location::{Clock, ContactUpdate, Limits, Requested, Update};
use crate::wire::sip::{HeaderName, Message};

fn settings(kind: config::Keepalive) -> Settings {
    Settings {
        kind,
        interval: Duration::from_secs(30),
        domain: "example.com".into(),
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn put(location: &Location, n: u32, transport: Transport, reg_id: u32, expires: u32) {
    let uri = format!("sip:{n}@10.0.{}.{}", n / 256, n % 256);
    let contacts = [ContactUpdate {
        uri: &uri,
        parameters: "",
        q: 1000,
        expires,
        instance: "urn:uuid:1",
        reg_id,
        behind_nat: true,
    }];
    let update = Update {
        aor: &format!("{n}@example.com"),
        call_id: "c",
        cseq: n + expires,
        flow: Flow {
            transport,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "198.51.100.7:4000".parse().unwrap(),
            connection: None,
        },
        path: "",
        user_agent: "",
        requested: Requested::Contacts(&contacts),
    };
    let clock = Clock {
        now: at(0),
        anchor: Anchor::default(),
    };
    drop(location.update(clock, &update).unwrap());
}

fn drain(k: &mut Keepalive, now: Instant, location: &Location) -> Vec<Ping> {
    std::iter::from_fn(|| k.poll_output(now, location)).collect()
}

#[test]
fn pings_are_spread_over_the_interval() {
    let l = Location::new(Limits::default());
    for n in 0..600 {
        put(&l, n, Transport::Udp, 0, 3600);
    }
    put(&l, 1000, Transport::Tcp, 0, 3600);
    let mut k = Keepalive::new(settings(config::Keepalive::Crlf), 0, 1);
    assert!(drain(&mut k, at(0), &l).is_empty());
    assert_eq!(k.len(), 600, "a connection keeps its own hole open");
    let mut per_second = [0; 60];
    while let Some(due) = k.poll_timeout()
        && due < at(60_000)
    {
        k.handle_timeout(due, &l);
        let pings = drain(&mut k, due, &l);
        assert!(pings.iter().all(|p| p.what == What::Crlf));
        per_second[(due.as_millis() / 1000) as usize] += pings.len();
    }
    assert!(
        per_second[..15].iter().all(|&n| n == 0),
        "the REGISTER itself opened the hole"
    );
    assert_eq!(per_second[15..30].iter().sum::<usize>(), 600);
    assert_eq!(per_second[30..].iter().sum::<usize>(), 600);
    assert!(per_second.iter().all(|&n| n < 80), "{per_second:?}");
}

#[test]
fn each_is_asked_by_one_shard_and_its_answers_come_back_there() {
    let l = Location::new(Limits::default());
    for n in 0..50 {
        put(&l, n, Transport::Udp, 0, 3600);
    }
    let mut k = Keepalive::new(settings(config::Keepalive::Options), 2, 4);
    let mut other = Keepalive::new(settings(config::Keepalive::Options), 1, 4);
    drain(&mut k, at(0), &l);
    drain(&mut other, at(0), &l);
    assert_eq!((k.len(), other.len()), (50, 0));
    k.handle_timeout(at(30_000), &l);
    let pings = drain(&mut k, at(30_000), &l);
    assert_eq!(pings.len(), 50);
    for ping in pings {
        let What::Options { request } = ping.what else {
            panic!()
        };
        let message = Message::parse(request).unwrap();
        assert_eq!(hash64(message.call_id()) % 4, 2);
        assert_eq!(message.method(), Method::Options);
        assert!(message.request_uri().starts_with(b"sip:"));
        assert!(message.header(HeaderName::Via).is_none());
        assert!(ping.id > 0 && ping.id < 1 << 63);
        assert_eq!(
            ping.destination.remote(),
            "198.51.100.7:4000".parse().unwrap()
        );
    }
}

/// The next ping of the only binding.
fn next_ping(k: &mut Keepalive, l: &Location) -> (Instant, u64) {
    loop {
        let due = k.poll_timeout().unwrap();
        k.handle_timeout(due, l);
        if let Some(ping) = k.poll_output(due, l) {
            return (due, ping.id);
        }
    }
}

#[test]
fn a_silent_phone_is_marked_until_it_answers() {
    let l = Location::new(Limits::default());
    put(&l, 1, Transport::Udp, 0, 3600);
    let mut k = Keepalive::new(settings(config::Keepalive::Options), 0, 1);
    drain(&mut k, at(0), &l);
    let reach = || l.lookup("1@example.com")[0].reach();
    for n in 0..FAILURES_MAX + 2 {
        let expected = if n < FAILURES_MAX {
            Reach::Flow
        } else {
            Reach::Nowhere
        };
        assert_eq!(reach(), expected);
        let (_, id) = next_ping(&mut k, &l);
        assert!(k.failed(id, &l).is_empty());
    }
    let (_, id) = next_ping(&mut k, &l);
    k.answered(id, &l);
    assert_eq!(reach(), Reach::Flow);
    // Two failures, an answer, two failures: it lives.
    for answers in [false, false, true, false, false] {
        let (_, id) = next_ping(&mut k, &l);
        match answers {
            true => k.answered(id, &l),
            false => drop(k.failed(id, &l)),
        }
    }
    assert_eq!(reach(), Reach::Flow);
}

#[test]
fn a_failed_outbound_flow_is_removed() {
    let l = Location::new(Limits::default());
    put(&l, 1, Transport::Udp, 1, 3600);
    let mut k = Keepalive::new(settings(config::Keepalive::Options), 0, 1);
    drain(&mut k, at(0), &l);
    let mut records = Vec::new();
    for _ in 0..FAILURES_MAX {
        let (_, id) = next_ping(&mut k, &l);
        records.extend(k.failed(id, &l));
    }
    assert!(matches!(records[..], [Record::DeleteBinding { .. }]));
    let due = k.poll_timeout().unwrap();
    k.handle_timeout(due, &l);
    assert!(k.is_empty() && k.poll_timeout().is_none());
}

#[test]
fn one_question_at_a_time_and_none_is_lost_for_ever() {
    let l = Location::new(Limits::default());
    put(&l, 1, Transport::Udp, 0, 3600);
    let mut k = Keepalive::new(settings(config::Keepalive::Options), 0, 1);
    drain(&mut k, at(0), &l);
    let (first, _) = next_ping(&mut k, &l);
    // Nobody says what became of it: the ping after the next goes out.
    let (second, _) = next_ping(&mut k, &l);
    assert_eq!(second.since(first), Duration::from_secs(60));
    k.answered(12345, &l);
    assert!(k.failed(12345, &l).is_empty());
}

#[test]
fn what_is_gone_is_pinged_no_more() {
    let l = Location::new(Limits::default());
    put(&l, 1, Transport::Udp, 0, 3600);
    let mut k = Keepalive::new(settings(config::Keepalive::Crlf), 0, 1);
    drain(&mut k, at(0), &l);
    l.remove("1@example.com");
    let due = k.poll_timeout().unwrap();
    k.handle_timeout(due, &l);
    assert!(k.poll_output(due, &l).is_none());
    assert!(k.is_empty() && k.poll_timeout().is_none());
    // Off is off.
    put(&l, 2, Transport::Udp, 0, 3600);
    let mut off = Keepalive::new(settings(config::Keepalive::Off), 0, 1);
    drain(&mut off, at(0), &l);
    assert!(off.is_empty());
}
