//! A call's life as the proxy tells it.

use super::*;
use crate::base::{Anchor, Flow, Instant, Transport};
use crate::config::Relay;
use crate::relay::{LegStats, MediaCommand, MediaEvent, PortPool};
use crate::store::{Cdr, EndCause, Record};
use crate::wire::sip::{HeaderName, Message, Method};
use bytes::Bytes;
use std::time::Duration;

const ALICE: &str = "192.0.2.1:5060";
const BOB: &str = "192.0.2.2:5060";

fn flow(remote: &str) -> Flow {
    let local = "192.0.2.10:5060".parse().unwrap();
    let remote = remote.parse().unwrap();
    Flow {
        transport: Transport::Udp,
        local,
        remote,
        connection: None,
    }
}

fn sdp(address: &str, port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    )
}

fn message(
    start: &str,
    from_tag: &str,
    to_tag: &str,
    cseq: &str,
    extra: &str,
    body: &str,
) -> Message {
    let to_tag = if to_tag.is_empty() {
        String::new()
    } else {
        format!(";tag={to_tag}")
    };
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    let (from, to) = match from_tag {
        "b" => ("<sip:bob@example.com>", "<sip:alice@example.com>"),
        _ => ("<sip:alice@example.com>", "<sip:bob@example.com>"),
    };
    let text = format!(
        "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nFrom: {from};tag={from_tag}\r\n\
         To: {to}{to_tag}\r\nCall-ID: c1\r\nCSeq: {cseq}\r\nMax-Forwards: 70\r\n{extra}{kind}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Message::parse(Bytes::from(text)).unwrap()
}

fn invite(body: &str) -> Message {
    let extra = "Contact: <sip:alice@192.0.2.1>\r\nRecord-Route: <sip:up.example;lr>\r\n";
    message(
        "INVITE sip:bob@example.com SIP/2.0",
        "a",
        "",
        "7 INVITE",
        extra,
        body,
    )
}

fn ok(body: &str) -> Message {
    let extra = "Contact: <sip:bob@192.0.2.2>\r\n\
        Record-Route: <sip:down.example;lr>, <sip:us.example;lr>, <sip:up.example;lr>\r\n";
    message("SIP/2.0 200 OK", "a", "b", "7 INVITE", extra, body)
}

fn table(relay: Relay) -> CallTable {
    let addresses = Addresses {
        default_v4: Some([192, 0, 2, 10].into()),
        ..Addresses::default()
    };
    let settings = CallSettings {
        shard: 0,
        calls_max: 2,
        anchor: Anchor {
            instant: Instant::ZERO,
            unix_ms: 1_000_000,
        },
        media: MediaPolicy { relay, addresses },
        duration_max: Duration::from_secs(3600),
    };
    CallTable::new(settings, PortPool::new(20_000, 20_019, 0, 1))
}

fn ours(value: &[u8]) -> bool {
    value.windows(10).any(|w| w == b"us.example")
}

fn cdr(table: &mut CallTable) -> Option<Cdr> {
    while let Some(output) = table.poll_output() {
        if let CallOutput::Persist(Record::Cdr(cdr)) = output {
            return Some(*cdr);
        }
    }
    None
}

fn answered(table: &mut CallTable) -> CallKey {
    let key = table
        .begin(
            Instant::ZERO,
            &invite(""),
            &flow(ALICE),
            CallerInfo::default(),
        )
        .unwrap();
    let at = Instant::from_millis(2_000);
    table.on_response(at, key, &ok(""), &flow(BOB), false, &ours);
    key
}

#[test]
fn one_record_per_call() {
    let mut t = table(Relay::Never);
    let key = answered(&mut t);
    let bye = message("BYE sip:alice@192.0.2.1 SIP/2.0", "b", "a", "1 BYE", "", "");
    assert_eq!(t.find(&bye), Some(key));
    t.on_in_dialog(Instant::from_millis(5_000), key, &bye, &flow(BOB));
    t.on_in_dialog(Instant::from_millis(5_100), key, &bye, &flow(BOB));
    let cdr = cdr(&mut t).unwrap();
    assert_eq!(
        (cdr.start_ms, cdr.answer_ms, cdr.end_ms),
        (1_000_000, Some(1_002_000), 1_005_000)
    );
    assert_eq!((cdr.cause, cdr.status), (EndCause::CalleeHungUp, 200));
    assert!(t.poll_output().is_none() && t.is_empty() && t.find(&bye).is_none());
}

#[test]
fn a_stop_records_every_call() {
    let mut t = table(Relay::Never);
    answered(&mut t);
    let ringing = Message::parse(Bytes::from(
        String::from_utf8_lossy(invite("").bytes()).replace("Call-ID: c1", "Call-ID: c2"),
    ));
    let info = CallerInfo::default();
    t.begin(Instant::ZERO, &ringing.unwrap(), &flow(ALICE), info)
        .unwrap();
    t.shut_down(Instant::from_millis(9_000));
    let cdrs: Vec<Cdr> = std::iter::from_fn(|| cdr(&mut t)).collect();
    let ends: Vec<_> = cdrs.iter().map(|c| (c.cause, c.answer_ms)).collect();
    let expected = [Some(1_002_000), None].map(|at| (EndCause::Shutdown, at));
    assert!(
        ends == expected || ends.iter().rev().eq(expected.iter()),
        "{ends:?}"
    );
    assert!(t.is_empty());
}

#[test]
fn a_refused_call_is_recorded_with_its_status() {
    let mut t = table(Relay::Never);
    for (status, cause) in [(486, EndCause::Refused), (487, EndCause::Cancelled)] {
        let info = CallerInfo::default();
        let key = t
            .begin(Instant::ZERO, &invite(""), &flow(ALICE), info)
            .unwrap();
        t.failed(Instant::ZERO, key, status);
        let cdr = cdr(&mut t).unwrap();
        assert_eq!(
            (cdr.cause, cdr.status, cdr.answer_ms),
            (cause, status, None)
        );
    }
}

#[test]
fn hangup_sends_a_bye_to_each_side_along_its_own_routes() {
    let mut t = table(Relay::Never);
    let key = answered(&mut t);
    assert!(t.hangup(Instant::from_millis(9_000), key, EndCause::Operator));
    assert!(!t.hangup(Instant::from_millis(9_000), key, EndCause::Operator));
    let mut byes = Vec::new();
    let mut causes = Vec::new();
    while let Some(output) = t.poll_output() {
        match output {
            CallOutput::Bye(bye) => byes.push(bye),
            CallOutput::Persist(Record::Cdr(cdr)) => causes.push(cdr.cause),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((byes.len(), causes), (2, vec![EndCause::Operator]));
    let read = |bye: &Bye| Message::parse(bye.request.clone());
    for (bye, uri, route, to_tag) in [
        (&byes[0], "sip:alice@192.0.2.1", "<sip:up.example;lr>", "a"),
        (&byes[1], "sip:bob@192.0.2.2", "<sip:down.example;lr>", "b"),
    ] {
        let with_via = Bytes::from(
            [
                &bye.request[..bye.request.windows(2).position(|w| w == b"\r\n").unwrap() + 2],
                b"Via: SIP/2.0/UDP h;branch=z9hG4bKy\r\n",
                &bye.request[bye.request.windows(2).position(|w| w == b"\r\n").unwrap() + 2..],
            ]
            .concat(),
        );
        let m = Message::parse(with_via).or_else(|_| read(bye)).unwrap();
        assert_eq!(m.method(), Method::Bye);
        assert_eq!(m.request_uri(), uri.as_bytes());
        let routes: Vec<_> = m.values(HeaderName::Route).collect();
        assert_eq!(routes, [route.as_bytes()]);
        assert_eq!(m.to().unwrap().tag(), Some(to_tag.as_bytes()));
    }
}

#[test]
fn a_full_table_says_so() {
    let mut t = table(Relay::Never);
    let start = |t: &mut CallTable, id: &str| {
        let text = String::from_utf8_lossy(invite("").bytes()).replace("c1", id);
        let m = Message::parse(Bytes::from(text)).unwrap();
        t.begin(Instant::ZERO, &m, &flow(ALICE), CallerInfo::default())
    };
    assert!(start(&mut t, "x1").is_ok() && start(&mut t, "x2").is_ok());
    assert_eq!(start(&mut t, "x3"), Err(CallTableFull));
}

fn replaced(edit: BodyEdit) -> String {
    match edit {
        BodyEdit::Replace(body) => String::from_utf8(body.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn relayed_media_is_opened_updated_and_closed_and_ports_come_back() {
    let mut t = table(Relay::Always);
    let now = Instant::ZERO;
    let offer = invite(&sdp("10.0.0.5", 4000));
    let key = t
        .begin(now, &offer, &flow(ALICE), CallerInfo::default())
        .unwrap();
    let toward = Toward {
        address: Some("192.0.2.2".parse().unwrap()),
        behind_nat: false,
    };
    let seen = replaced(t.offer_body(key, &offer, &flow(ALICE), toward));
    assert!(
        seen.contains("c=IN IP4 192.0.2.10") && !seen.contains("10.0.0.5\r\nt="),
        "{seen}"
    );
    let answer = ok(&sdp("192.0.2.2", 5000));
    let seen = replaced(t.answer_body(key, &answer, &flow(BOB), true, false));
    assert!(seen.contains("c=IN IP4 192.0.2.10"), "{seen}");
    t.on_response(now, key, &answer, &flow(BOB), false, &ours);
    assert_eq!(t.ports_in_use(), 2);
    let bye = message("BYE sip:bob@192.0.2.2 SIP/2.0", "a", "b", "8 BYE", "", "");
    t.on_in_dialog(now, key, &bye, &flow(ALICE));
    let mut commands = Vec::new();
    while let Some(output) = t.poll_output() {
        match output {
            CallOutput::Media(command) => commands.push(command),
            other => panic!("a record before the relay's last figures: {other:?}"),
        }
    }
    let session = key.to_u64();
    assert!(matches!(&commands[0], MediaCommand::Open { session: s, .. } if *s == session));
    let MediaCommand::Update { legs, .. } = &commands[1] else {
        panic!("{commands:?}")
    };
    let called = legs[1].media[0].unwrap();
    assert_eq!(called.peer, Some("192.0.2.2:5000".parse().unwrap()));
    assert_eq!(commands[2], MediaCommand::Close { session });
    let stats = LegStats {
        packets_in: 50,
        ..LegStats::default()
    };
    t.on_media(
        now,
        MediaEvent::Closed {
            session,
            legs: Box::new([stats, LegStats::default()]),
        },
    );
    let cdr = cdr(&mut t).unwrap();
    assert_eq!(cdr.legs.unwrap()[0].packets_in, 50);
    assert!(cdr.codecs.contains("PCMA"));
    assert_eq!((t.ports_in_use(), t.len()), (0, 0));
}

#[test]
fn the_record_does_not_wait_for_ever_for_the_relay() {
    let mut t = table(Relay::Always);
    let offer = invite(&sdp("10.0.0.5", 4000));
    let key = t
        .begin(Instant::ZERO, &offer, &flow(ALICE), CallerInfo::default())
        .unwrap();
    t.offer_body(key, &offer, &flow(ALICE), Toward::default());
    t.failed(Instant::ZERO, key, 486);
    assert!(cdr(&mut t).is_none());
    let due = t.poll_timeout().unwrap();
    t.handle_timeout(due);
    assert!(cdr(&mut t).is_some() && t.is_empty());
}

#[test]
fn silence_ends_the_call_and_is_said() {
    let mut t = table(Relay::Never);
    let key = answered(&mut t);
    let silent = crate::relay::Silent::Both;
    t.on_media(
        Instant::ZERO,
        MediaEvent::Timeout {
            session: key.to_u64(),
            silent,
        },
    );
    assert_eq!(cdr(&mut t).unwrap().cause, EndCause::MediaTimeout);
}

#[test]
fn relay_only_where_a_nat_or_another_family_asks_for_it() {
    let mut t = table(Relay::Nat);
    let offer = invite(&sdp("192.0.2.1", 4000));
    let key = t
        .begin(Instant::ZERO, &offer, &flow(ALICE), CallerInfo::default())
        .unwrap();
    let plain = Toward {
        address: Some("192.0.2.2".parse().unwrap()),
        behind_nat: false,
    };
    assert_eq!(
        t.offer_body(key, &offer, &flow(ALICE), plain),
        BodyEdit::Keep
    );
    let nat = Toward {
        behind_nat: true,
        ..plain
    };
    assert!(matches!(
        t.offer_body(key, &offer, &flow(ALICE), nat),
        BodyEdit::Replace(_)
    ));
    let v6 = Toward {
        address: Some("2001:db8::2".parse().unwrap()),
        behind_nat: false,
    };
    assert!(matches!(
        t.offer_body(key, &offer, &flow(ALICE), v6),
        BodyEdit::Replace(_)
    ));
}
