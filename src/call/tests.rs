//! A call's life as the proxy tells it.

use super::*;
use crate::base::{Anchor, Flow, Instant, Transport};
use crate::config::Relay;
use crate::relay::{LegStats, MediaCommand, MediaEvent, PortPool};
use crate::store::{Cdr, EndCause, Record};
use crate::wire::sip::{HeaderName, Message, Method, Uri};
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
            CallOutput::Ended(ended) => assert_eq!(ended, key),
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
        relay: false,
        local: false,
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
    let row = t.relayed(9).pop().unwrap();
    let told = [
        &row.by,
        &row.from_tag,
        &row.to_tag,
        &row.state,
        &row.to_media,
    ];
    assert_eq!(told, ["call", "a", "b", "answered", "192.0.2.2:5000"]);
    assert_eq!((row.ports.len(), t.relayed(0).len()), (2, 0));
    let bye = message("BYE sip:bob@192.0.2.2 SIP/2.0", "a", "b", "8 BYE", "", "");
    t.on_in_dialog(now, key, &bye, &flow(ALICE));
    assert_eq!(t.relayed(9)[0].state, "ending");
    let mut commands = Vec::new();
    while let Some(output) = t.poll_output() {
        match output {
            CallOutput::Media(command) => commands.push(command),
            CallOutput::Ended(ended) => assert_eq!(ended, key),
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
            streams: Vec::new(),
        },
    );
    let cdr = cdr(&mut t).unwrap();
    assert_eq!(cdr.legs.unwrap()[0].packets_in, 50);
    assert!(cdr.codecs.contains("PCMA"));
    assert_eq!((t.ports_in_use(), t.len()), (0, 0));
    assert_eq!(t.relayed(9), []);
}

#[test]
fn a_stream_that_the_relay_cannot_carry_does_not_end_the_call() {
    use crate::relay::Failure;
    let mut t = table(Relay::Always);
    let now = Instant::ZERO;
    let offer = invite(&sdp("10.0.0.5", 4000));
    let info = CallerInfo::default();
    let key = t.begin(now, &offer, &flow(ALICE), info).unwrap();
    let session = key.to_u64();
    t.offer_body(key, &offer, &flow(ALICE), Toward::default());
    let answer = ok(&sdp("192.0.2.2", 5000));
    t.answer_body(key, &answer, &flow(BOB), true, false);
    t.on_response(now, key, &answer, &flow(BOB), false, &ours);
    let last = |t: &mut CallTable| {
        let mut last = None;
        while let Some(output) = t.poll_output() {
            last = Some(output);
        }
        last
    };
    last(&mut t);
    let more = format!("{}m=video 4010 RTP/AVP 99\r\n", sdp("10.0.0.5", 4000));
    let contact = "Contact: <sip:alice@192.0.2.1>\r\n";
    let start = "INVITE sip:bob@192.0.2.2 SIP/2.0";
    let again = message(start, "a", "b", "8 INVITE", contact, &more);
    t.offer_body(key, &again, &flow(ALICE), Toward::default());
    let Some(CallOutput::Media(MediaCommand::Update { legs, .. })) = last(&mut t) else {
        panic!("the relay is not told")
    };
    assert_eq!(legs.each_ref().map(|leg| leg.media.len()), [2, 2]);
    let port = legs[0].media[1].unwrap().port;
    // One of the pair is taken: the sound stays as it was told, without the pictures.
    let unchanged = |reason| MediaEvent::Unchanged { session, reason };
    t.on_media(now, unchanged(Failure::Port(port + 1)));
    let Some(CallOutput::Media(MediaCommand::Update { legs: left, .. })) = last(&mut t) else {
        panic!("the relay is not told of the sound")
    };
    assert_eq!(left.each_ref().map(|leg| leg.media[1]), [None, None]);
    assert_eq!(
        left.each_ref().map(|leg| leg.media[0]),
        legs.each_ref().map(|leg| leg.media[0])
    );
    // Too many of all: what was agreed before the offer.
    t.offer_body(key, &again, &flow(ALICE), Toward::default());
    last(&mut t);
    t.on_media(now, unchanged(Failure::Full));
    let Some(CallOutput::Media(MediaCommand::Update { .. })) = last(&mut t) else {
        panic!("what holds is not said")
    };
    assert_eq!(t.relayed(9)[0].state, "answered");
    // Without a stream that is left there is no call.
    let sound = left[0].media[0].unwrap().port;
    t.on_media(now, unchanged(Failure::Port(sound)));
    assert_eq!(t.relayed(9)[0].state, "ending");
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
        relay: false,
        local: false,
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
        relay: false,
        local: false,
    };
    assert!(matches!(
        t.offer_body(key, &offer, &flow(ALICE), v6),
        BodyEdit::Replace(_)
    ));
}

/// A call that two phones answered, `b` first at the server: what the caller does with the answers
/// decides. Each side's media address tells them apart.
struct Forked {
    table: CallTable,
    key: CallKey,
    now: Instant,
    relayed: bool,
}

const CAROL: &str = "192.0.2.3:5060";

impl Forked {
    fn new(relay: Relay) -> Self {
        let relayed = relay == Relay::Always;
        let mut table = table(relay);
        let offer = invite(&sdp("10.0.0.5", 4000));
        let info = CallerInfo::default();
        let key = table.begin(Instant::ZERO, &offer, &flow(ALICE), info);
        let key = key.unwrap();
        for address in ["192.0.2.2", "192.0.2.3"] {
            let toward = Toward {
                address: Some(address.parse().unwrap()),
                behind_nat: false,
                relay: false,
                local: false,
            };
            table.offer_body(key, &offer, &flow(ALICE), toward);
        }
        let mut forked = Self {
            table,
            key,
            now: Instant::from_millis(1000),
            relayed,
        };
        forked.answer("b", BOB, 5000);
        forked.answer("c", CAROL, 6000);
        forked
    }

    /// The body that the caller reads.
    fn answer(&mut self, tag: &str, from: &str, port: u16) -> BodyEdit {
        let address = from.trim_end_matches(":5060");
        let extra = format!("Contact: <sip:{tag}@{address}>\r\n");
        let body = sdp(address, port);
        let answer = message("SIP/2.0 200 OK", "a", tag, "7 INVITE", &extra, &body);
        let (t, key, relayed) = (&mut self.table, self.key, self.relayed);
        let edit = t.answer_body(key, &answer, &flow(from), relayed, false);
        t.on_response(self.now, key, &answer, &flow(from), false, &ours);
        edit
    }

    fn by_caller(&mut self, method: &str, tag: &str) -> bool {
        self.now += Duration::from_secs(1);
        let start = format!("{method} sip:x@192.0.2.9 SIP/2.0");
        let cseq = format!("8 {method}");
        let request = message(&start, "a", tag, &cseq, "", "");
        let found = self.table.find(&request);
        if let Some(key) = found {
            let flow = flow(ALICE);
            self.table.on_in_dialog(self.now, key, &request, &flow);
        }
        found == Some(self.key)
    }

    /// Where the relay sends the caller's media.
    fn media(&mut self) -> Option<String> {
        let mut peer = None;
        while let Some(output) = self.table.poll_output() {
            if let CallOutput::Media(
                MediaCommand::Open { legs, .. } | MediaCommand::Update { legs, .. },
            ) = output
            {
                peer = legs[1].media[0].and_then(|m| m.peer).map(|p| p.to_string());
            }
        }
        peer
    }

    fn is_up(&self) -> bool {
        self.table.rows().len() == 1
    }
}

const BOBS: Option<&str> = Some("192.0.2.2:5000");
const CAROLS: Option<&str> = Some("192.0.2.3:6000");

#[test]
fn the_answer_that_the_caller_takes_is_the_call() {
    // In order: taken first, the second hung up at once.
    let mut f = Forked::new(Relay::Always);
    assert_eq!(f.media().as_deref(), BOBS);
    assert!(f.by_caller("ACK", "b") && f.by_caller("ACK", "c"));
    assert!(f.by_caller("BYE", "c") && f.is_up());
    assert_eq!(f.media(), None, "media stays");
    assert!(f.by_caller("BYE", "b") && !f.is_up());
    // Overtaken: the caller saw the second one first, and keeps it.
    let mut f = Forked::new(Relay::Always);
    f.media();
    assert!(f.by_caller("ACK", "c"));
    assert_eq!(f.media().as_deref(), CAROLS);
    assert!(f.by_caller("ACK", "b") && f.by_caller("BYE", "b") && f.is_up());
    assert_eq!(f.media(), None, "media stays");
    assert!(f.by_caller("BYE", "c") && !f.is_up());
    // The acknowledgements came out of order, or not at all: the BYE decides.
    for acknowledged in [&["c", "b"][..], &["b", "c"], &[]] {
        let mut f = Forked::new(Relay::Always);
        for tag in acknowledged {
            f.by_caller("ACK", tag);
        }
        assert!(f.by_caller("BYE", "b") && f.is_up(), "{acknowledged:?}");
        assert_eq!(f.media().as_deref(), CAROLS, "{acknowledged:?}");
        assert!(f.by_caller("BYE", "c") && !f.is_up());
    }
}

#[test]
fn both_answers_read_the_same_ports() {
    let mut f = Forked::new(Relay::Always);
    let port = |edit| {
        let body = replaced(edit);
        let at = body.find("m=audio ").unwrap();
        body[at..at + 13].to_owned()
    };
    let first = port(f.answer("b", BOB, 5000));
    assert_eq!(port(f.answer("c", CAROL, 6000)), first);
    assert_eq!(f.table.ports_in_use(), 2);
    let mut direct = Forked::new(Relay::Never);
    assert_eq!(direct.answer("c", CAROL, 6000), BodyEdit::Keep);
}

/// The caller gave up on both, and the second answer never reached it: the record says when the
/// first one ended, whenever the second callee gives up, or dies.
#[test]
fn an_answer_that_nobody_took_does_not_lengthen_the_call() {
    for dies in [false, true] {
        let mut f = Forked::new(Relay::Never);
        f.by_caller("ACK", "b");
        f.by_caller("BYE", "b");
        let ended = f.now;
        if dies {
            let due = f.table.poll_timeout().unwrap();
            assert!(due.since(ended) <= Duration::from_secs(40));
            f.table.handle_timeout(due);
        } else {
            let bye = message("BYE sip:a@h SIP/2.0", "c", "a", "1 BYE", "", "");
            let later = ended + Duration::from_secs(32);
            f.table.on_in_dialog(later, f.key, &bye, &flow(CAROL));
        }
        let cdr = cdr(&mut f.table).unwrap();
        assert_eq!(cdr.cause, EndCause::CallerHungUp);
        assert_eq!(cdr.end_ms, 1_000_000 + ended.as_millis());
        assert!(f.table.is_empty());
    }
}

#[test]
fn the_operator_ends_every_answer() {
    let mut f = Forked::new(Relay::Never);
    f.table.hangup(f.now, f.key, EndCause::Operator);
    let byes = std::iter::from_fn(|| f.table.poll_output());
    let byes = byes.filter(|o| matches!(o, CallOutput::Bye(_)));
    assert_eq!(byes.count(), 4, "two in each dialog");
}

#[test]
fn forks_are_bounded() {
    let mut f = Forked::new(Relay::Always);
    for n in 0..100 {
        f.answer(&format!("x{n}"), CAROL, 7000);
    }
    let dialogs = (0..100).filter(|n| f.by_caller("OPTIONS", &format!("x{n}")));
    assert_eq!(dialogs.count(), fork::FORKS_MAX);
    assert!(f.by_caller("OPTIONS", "b"));
    assert_eq!(f.table.ports_in_use(), 2);
}

/// Of two branches one was promised the relay; the other one answered, and speaks to the caller
/// past us: silence on the relay is no reason to end the call.
#[test]
fn a_relay_that_the_winner_does_not_use_ends_nothing() {
    let mut t = table(Relay::Nat);
    let offer = invite(&sdp("192.0.2.1", 4000));
    let info = CallerInfo::default();
    let key = t.begin(Instant::ZERO, &offer, &flow(ALICE), info).unwrap();
    let toward = |behind_nat| Toward {
        address: Some("192.0.2.2".parse().unwrap()),
        behind_nat,
        relay: false,
        local: false,
    };
    let plain = t.offer_body(key, &offer, &flow(ALICE), toward(false));
    assert_eq!(plain, BodyEdit::Keep);
    t.offer_body(key, &offer, &flow(ALICE), toward(true));
    let answer = ok(&sdp("192.0.2.2", 5000));
    let edit = t.answer_body(key, &answer, &flow(BOB), false, false);
    assert_eq!(edit, BodyEdit::Keep);
    t.on_response(Instant::ZERO, key, &answer, &flow(BOB), false, &ours);
    let silence = MediaEvent::Timeout {
        session: key.to_u64(),
        silent: crate::relay::Silent::Both,
    };
    t.on_media(Instant::ZERO, silence);
    assert_eq!(t.rows().len(), 1);
    assert!(cdr(&mut t).is_none());
}

/// RFC 3261 §12.2: where a dialog leads, and what changes it.
#[test]
fn requests_lead_to_the_reader() {
    let mut t = table(Relay::Never);
    let key = answered(&mut t);
    let leads = |t: &CallTable, from: &str, route: Option<&[u8]>, target: &str| {
        let to = if from == "a" { "b" } else { "a" };
        let request = message("INFO sip:x@h SIP/2.0", from, to, "9 INFO", "", "");
        let target = Uri::parse(target.as_bytes()).unwrap();
        t.leads_to_reader(key, &request, route, &target)
    };
    assert!(leads(&t, "a", None, "sip:bob@192.0.2.2;transport=udp"));
    assert!(leads(&t, "b", None, "sip:alice@192.0.2.1"));
    for target in ["sip:alice@192.0.2.1", "sip:bob@192.0.2.2:5070", "sip:bob@h"] {
        assert!(!leads(&t, "a", None, target), "{target}");
    }
    let down: Option<&[u8]> = Some(b"<sip:down.example;lr>");
    let up: Option<&[u8]> = Some(b"<sip:up.example;lr>");
    assert!(leads(&t, "a", down, "sip:bob@192.0.2.2"));
    assert!(!leads(&t, "a", up, "sip:bob@192.0.2.2"));
    assert!(leads(&t, "b", up, "sip:alice@192.0.2.1"));
    // A refresh holds once it is answered; until then both do.
    let moved = "Contact: <sip:bob@192.0.2.7>\r\n";
    let refresh = |t: &mut CallTable, cseq: &str, status: u16| {
        let request = message("UPDATE sip:a@h SIP/2.0", "b", "a", cseq, moved, "");
        t.on_in_dialog(Instant::ZERO, key, &request, &flow(BOB));
        let start = format!("SIP/2.0 {status} X");
        let answer = message(&start, "b", "a", cseq, "", "");
        t.on_response(Instant::ZERO, key, &answer, &flow(ALICE), false, &ours);
    };
    refresh(&mut t, "20 UPDATE", 491);
    assert!(leads(&t, "a", None, "sip:bob@192.0.2.2"));
    refresh(&mut t, "21 UPDATE", 200);
    assert!(leads(&t, "a", None, "sip:bob@192.0.2.7"));
    assert!(!leads(&t, "a", None, "sip:bob@192.0.2.2"));
}
