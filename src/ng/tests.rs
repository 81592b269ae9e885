//! Requests in, replies out, with a real relay behind the machine.

use super::cache::KEPT_FOR;
use super::call::DIALOGUES_MAX;
use super::message::{Format, emit, parse, split};
use super::*;
use crate::base::{Instant, Rng};
use crate::media::file::is_name;
use crate::media::order::{News, TapeOrder};
use crate::relay::{
    BindError, Datagram, PortPool, Relay, RelaySettings, Side, SocketAction, Verdict,
};
use crate::wire::bencode::{Dictionary, Value};
use crate::wire::sdp::Sdp;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const OFFER: &str = "v=0\r\no=alice 1 1 IN IP4 198.51.100.10\r\ns=-\r\nc=IN IP4 198.51.100.10\r\n\
    t=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n";
pub(super) const ANSWER: &str = "v=0\r\no=bob 2 2 IN IP4 198.51.100.20\r\ns=-\r\nc=IN IP4 198.51.100.20\r\n\
    t=0 0\r\nm=audio 5000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n";
const OURS: &str = "203.0.113.1";

/// Machine, relay and the sockets that the relay wants.
pub(super) struct Harness {
    pub(super) ng: Ng,
    pub(super) relay: Relay,
    pub(super) now: Instant,
    cookie: u64,
    bound: BTreeSet<u16>,
    /// Ports that somebody else holds.
    pub(super) taken: BTreeSet<u16>,
    /// The relay hears and says nothing.
    deaf: bool,
    replies: Vec<Vec<u8>>,
    /// What the studio was told.
    pub(super) orders: Vec<Order>,
    /// What is to be kept.
    pub(super) kept: Vec<Record>,
    /// Packets that it could hear.
    pub(super) overheard: usize,
}

pub(super) fn settings() -> Settings {
    Settings {
        addresses: Addresses {
            interfaces: vec![
                (OURS.parse().unwrap(), 32),
                ("10.0.0.1".parse().unwrap(), 8),
            ],
            default_v4: Some(OURS.parse().unwrap()),
            default_v6: Some("2001:db8::1".parse().unwrap()),
            ..Addresses::default()
        },
        interfaces: Vec::new(),
        allow: vec![IpNet::parse("127.0.0.0/8").unwrap()],
        calls_max: 10,
        anchor: Anchor {
            instant: Instant::ZERO,
            unix_ms: 1_700_000_000_000,
        },
        delete_delay: Duration::from_secs(30),
        idle: Duration::from_secs(3600),
        mark: "marked".into(),
        codings: Coding::usable(false),
        recording_max_ms: 7_200_000,
        timezone: "Europe/Madrid".into(),
        notice: Vec::new(),
    }
}

impl Harness {
    pub(super) fn new(pairs: u16) -> Self {
        Self::with(settings(), pairs)
    }

    pub(super) fn with(settings: Settings, pairs: u16) -> Self {
        let pool = PortPool::new(20_000, 20_000 + 2 * pairs - 1, 0, 1);
        Self {
            ng: Ng::new(Instant::ZERO, settings, pool, Rng::from_u64(1)),
            relay: Relay::new(RelaySettings::default()),
            now: Instant::from_millis(1000),
            cookie: 0,
            bound: BTreeSet::new(),
            taken: BTreeSet::new(),
            deaf: false,
            replies: Vec::new(),
            orders: Vec::new(),
            kept: Vec::new(),
            overheard: 0,
        }
    }

    pub(super) fn drive(&mut self) {
        while let Some(output) = self.ng.poll_output() {
            match output {
                Output::Reply { datagram, .. } => self.replies.push(datagram),
                Output::Studio(order) => self.orders.push(order),
                Output::Persist(record) => self.kept.push(record),
                Output::Media(_) if self.deaf => {}
                Output::Media(command) => {
                    self.relay.handle_command(self.now, command);
                    self.settle();
                }
            }
        }
    }

    pub(super) fn settle(&mut self) {
        while let Some(action) = self.relay.poll_socket() {
            match action {
                SocketAction::Bind(address) if self.taken.contains(&address.port()) => {
                    self.relay.bind_failed(address.port(), BindError::Refused);
                }
                SocketAction::Bind(address) => assert!(self.bound.insert(address.port())),
                SocketAction::Unbind(port) => drop(self.bound.remove(&port)),
                SocketAction::Listen(port) => assert!(self.bound.contains(&port)),
            }
        }
        while let Some(event) = self.relay.poll_event() {
            self.ng.handle_media(self.now, event);
        }
    }

    /// Sends a datagram; what came back.
    fn datagram(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let from = "127.0.0.1:9000".parse().unwrap();
        self.ng.handle_datagram(self.now, from, bytes);
        self.drive();
        std::mem::take(&mut self.replies)
    }

    pub(super) fn request(&mut self, command: &str, more: &[(&str, Value)]) -> Dictionary {
        self.cookie += 1;
        let mut request = Dictionary::new();
        request.add("command", command);
        for (key, value) in more {
            request.add(*key, value.clone());
        }
        let cookie = format!("c{}", self.cookie);
        let datagram = emit(cookie.as_bytes(), Format::Bencode, &request);
        let replies = self.datagram(&datagram);
        assert_eq!(replies.len(), 1, "{command}");
        let (back, document) = split(&replies[0]).unwrap();
        assert_eq!(back, cookie.as_bytes());
        parse(document).1.unwrap()
    }

    pub(super) fn offer(&mut self, more: &[(&str, Value)]) -> Dictionary {
        let all = [
            &dialogue("call", "a", "")[..],
            &[("sdp", OFFER.into())],
            more,
        ]
        .concat();
        self.request("offer", &all)
    }

    pub(super) fn answer(&mut self, more: &[(&str, Value)]) -> Dictionary {
        let all = [
            &dialogue("call", "a", "b")[..],
            &[("sdp", ANSWER.into())],
            more,
        ]
        .concat();
        self.request("answer", &all)
    }

    pub(super) fn delete(&mut self, seconds: i64) -> Dictionary {
        let delay = [("delete delay", Value::from(seconds))];
        let all = [&dialogue("call", "a", "")[..], &delay].concat();
        self.request("delete", &all)
    }

    /// Time passes, in steps, and all that is due happens.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timers = [self.ng.poll_timeout(), self.relay.poll_timeout()];
            let Some(next) = timers.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = next.max(self.now);
            self.relay.handle_timeout(self.now);
            self.settle();
            self.ng.handle_timeout(self.now);
            self.drive();
        }
        self.now = end;
    }

    pub(super) fn packet(&mut self, port: u16, source: &str, n: u16) -> Option<(u16, SocketAddr)> {
        let mut packet = [0x80; 172];
        packet[1] = 0;
        packet[2..4].copy_from_slice(&n.to_be_bytes());
        let source = source.parse().unwrap();
        let mut packet = Datagram::new(&mut packet, 172);
        let mut verdict = self.relay.process(self.now, port, source, &mut packet);
        if let Verdict::Overhear { lane, .. } = verdict {
            self.overheard += 1;
            verdict = self.relay.pass_on(port, lane, &mut packet);
        }
        match verdict {
            Verdict::Forward { from_port, to } => Some((from_port, to)),
            Verdict::Deliver { .. } | Verdict::Overhear { .. } | Verdict::Drop(_) => None,
        }
    }

    /// A packet of a phone; whether it passes, and the studio can hear it.
    pub(super) fn heard(&mut self, port: u16, source: &str, n: u16) -> bool {
        let before = self.overheard;
        assert!(self.packet(port, source, n).is_some());
        self.overheard > before
    }

    /// The studio has done a task of a leg.
    pub(super) fn done(&mut self, session: u64, task: u32) {
        let news = News::Done {
            session,
            task,
            played_ms: 1000,
        };
        self.ng.handle_studio(self.now, news);
        self.drive();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ng.calls() == 0 && self.bound.is_empty() && self.relay.sessions() == 0
    }
}

pub(super) fn dialogue(call_id: &str, from: &str, to: &str) -> Vec<(&'static str, Value)> {
    let all = [("call-id", call_id), ("from-tag", from), ("to-tag", to)];
    let given = all.into_iter().filter(|(_, value)| !value.is_empty());
    given.map(|(key, value)| (key, value.into())).collect()
}

/// A description with its stream of sound twice.
pub(super) fn twice(body: &str) -> String {
    let (_, sound) = body.split_once("m=audio").unwrap();
    let other = sound
        .replacen("4000", "4010", 1)
        .replacen("5000", "5010", 1);
    format!("{body}m=audio{other}")
}

pub(super) fn list(members: &[&str]) -> Value {
    members
        .iter()
        .map(|m| Value::from(*m))
        .collect::<Vec<_>>()
        .into()
}

fn text(reply: &Dictionary, key: &str) -> String {
    let value = reply.get(key.as_bytes()).and_then(Value::as_bytes);
    String::from_utf8(value.unwrap_or_default().to_vec()).unwrap()
}

pub(super) fn sdp(reply: &Dictionary) -> String {
    assert_eq!(text(reply, "result"), "ok", "{reply:?}");
    text(reply, "sdp")
}

pub(super) fn error(reply: &Dictionary) -> String {
    assert_eq!(text(reply, "result"), "error");
    text(reply, "error-reason")
}

fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, key| match value {
        Value::Dictionary(d) => d.get(key.as_bytes()).unwrap_or_else(|| panic!("{key}")),
        Value::List(l) => &l[key.parse::<usize>().unwrap()],
        Value::Integer(_) | Value::Bytes(_) => panic!("{key}"),
    })
}

/// A session is recorded once at a time, each time to a file of its own, and says nothing of it
/// before it began.
fn whole_tapes(orders: &[Order]) {
    let (mut running, mut files) = (BTreeMap::new(), BTreeSet::new());
    for order in orders {
        let (session, what) = match order {
            Order::Tape { session, what } => (session, what),
            // The relay lost it.
            Order::Close { session } => {
                running.remove(session);
                continue;
            }
            other => panic!("{other:?}"),
        };
        match what {
            TapeOrder::Tap { task, file, .. } => {
                let known = running.insert(*session, *task);
                let new = files.insert(file.clone());
                assert!(is_name(file) && new == (known != Some(*task)), "{order:?}");
            }
            TapeOrder::Stop => assert!(running.remove(session).is_some(), "{order:?}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Our port in the first section.
pub(super) fn port(sdp: &str) -> u16 {
    let sdp = Sdp::parse(sdp.as_bytes()).unwrap();
    assert_eq!(sdp.media[0].connection.map(|_| ()), Some(()));
    sdp.media[0].port
}

#[test]
fn a_ping_is_answered() {
    let mut h = Harness::new(8);
    assert_eq!(
        h.datagram(b"5323_1 d7:command4:pinge"),
        [b"5323_1 d6:result4:ponge"]
    );
    let json = h.datagram(br#"7 {"command":"ping"}"#);
    assert_eq!(json, [br#"7 {"result":"pong"}"#]);
}

#[test]
fn a_call_from_offer_to_delete() {
    let mut h = Harness::new(8);
    let offered = sdp(&h.offer(&[]));
    let toward_b = port(&offered);
    assert_eq!(
        offered,
        OFFER
            .replace("c=IN IP4 198.51.100.10", "c=IN IP4 203.0.113.1")
            .replace("audio 4000", &format!("audio {toward_b}"))
            + &format!("a=sendrecv\r\na=rtcp:{}\r\n", toward_b + 1)
    );
    assert_eq!(h.bound.len(), 4);
    let answered = sdp(&h.answer(&[]));
    let toward_a = port(&answered);
    assert!(answered.contains("c=IN IP4 203.0.113.1\r\n") && toward_a != toward_b);
    let to_b = h.packet(toward_a, "198.51.100.10:4000", 1);
    assert_eq!(
        to_b,
        Some((toward_b, "198.51.100.20:5000".parse().unwrap()))
    );
    let to_a = h.packet(toward_b, "198.51.100.20:5000", 1);
    assert_eq!(
        to_a,
        Some((toward_a, "198.51.100.10:4000".parse().unwrap()))
    );
    // A stranger is not heard.
    assert_eq!(h.packet(toward_b, "192.0.2.66:5000", 1), None);

    let told = h.request("query", &dialogue("call", "", ""));
    let told = Value::from(told);
    let media = |tag| at(&told, &["tags", tag, "medias", "0", "streams", "0"]).clone();
    assert_eq!(at(&media("a"), &["local port"]), &Value::from(toward_a));
    assert_eq!(at(&media("a"), &["stats", "packets"]), &Value::from(1_i64));
    assert_eq!(
        at(&media("b"), &["endpoint", "port"]),
        &Value::from(5000_i64)
    );
    assert_eq!(at(&media("b"), &["stats", "errors"]), &Value::from(1_i64));
    assert_eq!(
        at(&told, &["tags", "a", "in dialogue with"]),
        &Value::from("b")
    );
    assert_eq!(
        at(&told, &["totals", "RTP", "packets"]),
        &Value::from(2_i64)
    );
    assert_eq!(at(&told, &["created"]), &Value::from(1_700_000_001_i64));
    let calls = h.request("list", &[]);
    assert_eq!(calls.get(b"calls"), Some(&list(&["call"])));

    let gone = Value::from(h.delete(0));
    assert_eq!(
        at(&gone, &["totals", "RTP", "bytes"]),
        &Value::from(344_i64)
    );
    assert!(h.is_empty());
    assert_eq!(h.ng.ports_free(), 8);
    assert_eq!(
        error(&h.request("query", &dialogue("call", "", ""))),
        "Unknown call-id"
    );
    assert_eq!(h.ng.counts().commands[Command::Offer.index()], 1);
}

#[test]
fn a_deleted_call_stays_for_a_while_unless_it_goes_on() {
    let mut h = Harness::new(8);
    h.offer(&[]);
    h.answer(&[]);
    let all = [&dialogue("call", "b", "a")[..]].concat();
    assert_eq!(text(&h.request("delete", &all), "result"), "ok");
    h.wait(Duration::from_secs(29));
    assert_eq!(h.ng.calls(), 1);
    h.wait(Duration::from_secs(2));
    assert!(h.is_empty());
    h.offer(&[]);
    h.delete(10);
    h.offer(&[]);
    h.wait(Duration::from_secs(20));
    assert_eq!(h.ng.calls(), 1);
}

#[test]
fn what_is_missing_or_unknown_has_its_words() {
    let mut h = Harness::new(8);
    let no_sdp = dialogue("call", "a", "b");
    let no_to = [&dialogue("call", "a", "")[..], &[("sdp", ANSWER.into())]].concat();
    for (command, more, reason) in [
        ("", vec![], "Unrecognized command"),
        ("nonsense", vec![], "Unrecognized command"),
        ("offer", no_sdp.clone(), "No SDP body in message"),
        (
            "offer",
            vec![("sdp", OFFER.into())],
            "No call-id in message",
        ),
        ("answer", no_to, "No to-tag in message"),
        ("query", vec![], "No call-id in message"),
        ("start recording", vec![], "No call-id in message"),
        (
            "stop recording",
            dialogue("call", "", ""),
            "Unknown call-id",
        ),
        ("play media", vec![], "play media is not supported here"),
    ] {
        assert_eq!(error(&h.request(command, &more)), reason, "{command}");
    }
    assert_eq!(error(&h.answer(&[])), "Unknown call-id");
    let bad = [&no_sdp[..], &[("sdp", "v=1".into())]].concat();
    assert_eq!(error(&h.request("offer", &bad)), "Failed to parse SDP");
    assert_eq!(
        text(&h.delete(0), "warning"),
        "Call-ID not found or tags didn't match"
    );
    let fatal = [&no_sdp[..], &[("flags", list(&["fatal"]))]].concat();
    error(&h.request("delete", &fatal));
    assert_eq!(
        h.datagram(b"x "),
        [b"x d12:error-reason25:Invalid data (no payload)6:result5:errore"]
    );
    assert!(h.datagram(b"nonsense").is_empty() && h.is_empty());
}

#[test]
fn strangers_get_no_answer() {
    let mut h = Harness::new(8);
    let from = "192.0.2.1:9000".parse().unwrap();
    h.ng.handle_datagram(h.now, from, b"1 d7:command4:pinge");
    assert_eq!(h.ng.poll_output(), None);
    assert_eq!(h.ng.counts().refused, 1);
}

#[test]
fn the_same_cookie_gets_the_same_reply_and_does_nothing_twice() {
    let mut h = Harness::new(8);
    let mut request = Dictionary::new();
    request
        .add("command", "offer")
        .add("call-id", "x")
        .add("from-tag", "a")
        .add("sdp", OFFER);
    let datagram = emit(b"77", Format::Bencode, &request);
    let first = h.datagram(&datagram);
    assert_eq!((first.len(), h.datagram(&datagram)), (1, first));
    assert_eq!((h.bound.len(), h.ng.counts().repeated), (4, 1));
    // While the reply waits for the relay a repetition is not answered.
    h.deaf = true;
    request.add("to-tag", "");
    let datagram = emit(b"78", Format::Bencode, &request);
    assert!(h.datagram(&datagram).is_empty() && h.datagram(&datagram).is_empty());
    h.wait(Duration::from_secs(4));
    let late = h.replies.pop().unwrap();
    assert!(
        String::from_utf8(late)
            .unwrap()
            .contains("the relay does not answer")
    );
}

#[test]
fn a_taken_port_is_replaced_before_anybody_hears_of_it() {
    let mut h = Harness::new(8);
    h.taken.extend([20_000, 20_005]);
    let toward_b = port(&sdp(&h.offer(&[])));
    assert!(![20_000, 20_004].contains(&toward_b));
    assert_eq!(h.bound.len(), 4);
    h.answer(&[]);
    h.delete(0);
    assert!(h.is_empty());
    assert_eq!(h.ng.ports_free(), 6);
    h.taken.extend(20_000..20_016);
    assert_eq!(error(&h.offer(&[])), "Ran out of ports");
    assert!(h.is_empty());
}

#[test]
fn limits_are_said() {
    let mut h = Harness::new(3);
    h.offer(&[]);
    let second = [&dialogue("second", "a", "")[..], &[("sdp", OFFER.into())]].concat();
    assert_eq!(error(&h.request("offer", &second)), "Ran out of ports");
    assert_eq!((h.ng.ports_free(), h.ng.calls()), (1, 1));
    let mut h = Harness::new(100);
    for n in 0..10 {
        let call_id = format!("call-{n}");
        sdp(&h.request(
            "offer",
            &[&dialogue(&call_id, "a", "")[..], &[("sdp", OFFER.into())]].concat(),
        ));
    }
    let full = h.request("offer", &second);
    assert_eq!(error(&full), "Parallel session limit reached");
    let knows = list(&["load limit"]);
    let full = h.request("offer", &[&second[..], &[("supports", knows)]].concat());
    assert_eq!(text(&full, "result"), "load limit");
    assert_eq!(text(&full, "message"), "Parallel session limit reached");
    let mut h = Harness::new(2 * 2 * DIALOGUES_MAX as u16);
    for n in 0..DIALOGUES_MAX {
        let branch = [("via-branch", Value::from(&*format!("z{n}")))];
        sdp(&h.offer(&branch));
    }
    assert_eq!(
        error(&h.offer(&[("via-branch", "more".into())])),
        "too many branches of one call"
    );
}

#[test]
fn a_ring_group_of_fifty_is_one_call() {
    let mut h = Harness::new(2 * 50 + 2);
    for n in 0..50 {
        sdp(&h.offer(&[("via-branch", (&*format!("z{n}")).into())]));
    }
    sdp(&h.answer(&[("via-branch", "z49".into())]));
    // What is told of it fits in a datagram, the pair that talks before all others.
    for command in ["query", "delete"] {
        let mut request = Dictionary::new();
        request
            .add("command", command)
            .add("call-id", "call")
            .add("delete delay", 0_i64);
        let asked = emit(command.as_bytes(), Format::Bencode, &request);
        let reply = h.datagram(&asked).remove(0);
        assert!(reply.len() < 65_000, "{}", reply.len());
        for pair in ["16:in dialogue with1:b", "16:in dialogue with1:a"] {
            assert!(
                reply.windows(pair.len()).any(|w| w == pair.as_bytes()),
                "{pair}"
            );
        }
    }
    assert!(h.is_empty());
}

#[test]
fn forks_told_apart_by_branch_have_ports_of_their_own() {
    let mut h = Harness::new(16);
    let branch = |text: &str| [("via-branch", Value::from(text))];
    let first = port(&sdp(&h.offer(&branch("z1"))));
    let second = port(&sdp(&h.offer(&branch("z2"))));
    assert_ne!(first, second);
    let answer = |to: &str, branch: &str| {
        let dialogue = dialogue("call", "a", to);
        [
            &dialogue[..],
            &[("sdp", ANSWER.into()), ("via-branch", branch.into())],
        ]
        .concat()
    };
    let one = port(&sdp(&h.request("answer", &answer("b1", "z1"))));
    let two = port(&sdp(&h.request("answer", &answer("b2", "z2"))));
    assert_ne!(one, two);
    assert_eq!(h.packet(two, "198.51.100.10:4000", 1).unwrap().0, second);
    // The one that lost ends alone.
    let lost = [
        &dialogue("call", "a", "")[..],
        &branch("z1")[..],
        &[("delete delay", 0_i64.into())],
    ];
    h.request("delete", &lost.concat());
    assert_eq!((h.ng.calls(), h.relay.sessions()), (1, 1));
    h.delete(0);
    assert!(h.is_empty());
}

#[test]
fn a_deletion_finds_its_call_whatever_branch_it_names() {
    let mut h = Harness::new(64);
    let now = [("delete delay", Value::from(0_i64))];
    let named = |from: &str, to: &str, branch: &str| {
        let branch = [("via-branch", Value::from(branch))];
        [&dialogue("call", from, to)[..], &branch].concat()
    };
    let left = |h: &mut Harness, from: &str, to: &str, branch: &str| {
        for branch in ["z1", "z2"] {
            sdp(&h.offer(&[("via-branch", branch.into())]));
        }
        sdp(&h.answer(&[("via-branch", "z1".into())]));
        let asked = named(from, to, branch);
        assert!(h.request("query", &asked).get(b"tags").is_some());
        let gone = h.request("delete", &[&asked[..], &now].concat());
        let left = h.ng.sessions();
        if gone.get(b"warning").is_some() {
            assert_eq!(left, 2);
        }
        h.request("delete", &[&dialogue("call", "", "")[..], &now].concat());
        assert!(h.is_empty());
        left
    };
    // From tag, To tag, branch of the request; how many of an answered branch and a ringing one
    // are left.
    for (from, to, branch, sessions) in [
        // BYEs of either side, whose branches are their own.
        ("a", "b", "bye", 1),
        ("b", "a", "bye", 1),
        ("a", "", "bye", 0),
        ("b", "", "bye", 1),
        // The branch that rang in vain.
        ("a", "", "z2", 1),
        ("a", "unheard", "z2", 1),
        ("unheard", "", "z2", 1),
        // A From tag that is another message's.
        ("unheard", "b", "bye", 1),
        // Whichever of its branches that was.
        ("a", "unheard", "bye", 2),
        ("", "", "bye", 0),
        ("unheard", "", "bye", 2),
        ("unheard", "unheard", "bye", 2),
    ] {
        let found = left(&mut h, from, to, branch);
        assert_eq!(found, sessions, "{from} {to} {branch}");
    }
    // The only one that rings is refused by somebody of whom nobody heard.
    sdp(&h.offer(&[("via-branch", "z1".into())]));
    let refused = [&named("a", "unheard", "other")[..], &now].concat();
    assert_eq!(h.request("delete", &refused).get(b"warning"), None);
    assert!(h.is_empty());
}

#[test]
fn forks_beyond_the_proxy_share_ports_and_the_latest_is_heard() {
    let mut h = Harness::new(16);
    let toward_b = port(&sdp(&h.offer(&[])));
    let toward_a = port(&sdp(&h.answer(&[])));
    let other = ANSWER.replace("198.51.100.20", "198.51.100.30");
    let fork = [
        &dialogue("call", "a", "c")[..],
        &[("sdp", other.as_str().into())],
    ]
    .concat();
    assert_eq!(port(&sdp(&h.request("answer", &fork))), toward_a);
    let (from, to) = h.packet(toward_a, "198.51.100.10:4000", 1).unwrap();
    assert_eq!(
        (from, to),
        (toward_b, "198.51.100.30:5000".parse().unwrap())
    );
    // The first answers again: it is the one after all, and offers anew within the dialogue.
    assert_eq!(port(&sdp(&h.answer(&[]))), toward_a);
    let again = [&dialogue("call", "b", "a")[..], &[("sdp", ANSWER.into())]].concat();
    assert_eq!(port(&sdp(&h.request("offer", &again))), toward_a);
    let back = [&dialogue("call", "b", "a")[..], &[("sdp", OFFER.into())]].concat();
    assert_eq!(port(&sdp(&h.request("answer", &back))), toward_b);
    assert_eq!(h.relay.sessions(), 1);
}

#[test]
fn a_serial_fork_goes_on_with_the_ports_of_the_one_before() {
    let mut h = Harness::new(16);
    let toward_b = port(&sdp(&h.offer(&[])));
    let toward_a = port(&sdp(&h.answer(&[])));
    assert_eq!(port(&sdp(&h.offer(&[]))), toward_b);
    // Who was tried before is not sent to.
    assert_eq!(h.packet(toward_a, "198.51.100.10:4000", 1), None);
    let other = ANSWER.replace("198.51.100.20", "198.51.100.30");
    let fork = [
        &dialogue("call", "a", "c")[..],
        &[("sdp", other.as_str().into())],
    ]
    .concat();
    assert_eq!(port(&sdp(&h.request("answer", &fork))), toward_a);
    let (_, to) = h.packet(toward_a, "198.51.100.10:4000", 2).unwrap();
    assert_eq!(to, "198.51.100.30:5000".parse().unwrap());
    assert_eq!(h.relay.sessions(), 1);
}

#[test]
fn a_stream_may_come_and_go_within_a_call() {
    let mut h = Harness::new(16);
    h.offer(&[]);
    let toward_a = port(&sdp(&h.answer(&[])));
    let video = "m=video 4002 RTP/AVP 99\r\na=rtpmap:99 VP8/90000\r\n";
    let more = [("sdp", Value::from(&*format!("{OFFER}{video}")))];
    let all = [&dialogue("call", "a", "b")[..], &more].concat();
    let offered = sdp(&h.request("offer", &all));
    let parsed = Sdp::parse(offered.as_bytes()).unwrap();
    assert_eq!(parsed.media.len(), 2);
    let more = [(
        "sdp",
        Value::from(&*format!("{ANSWER}{}", video.replace("4002", "5002"))),
    )];
    let all = [&dialogue("call", "a", "b")[..], &more].concat();
    assert_eq!(port(&sdp(&h.request("answer", &all))), toward_a);
    assert_eq!(h.bound.len(), 8);
    let gone = [(
        "sdp",
        Value::from(&*format!("{ANSWER}{}", video.replace("4002", "0"))),
    )];
    h.request("answer", &[&dialogue("call", "a", "b")[..], &gone].concat());
    assert_eq!(h.bound.len(), 4);
    h.delete(0);
    assert!(h.is_empty() && h.ng.ports_free() == 16);
}

fn answer_of(h: &mut Harness, body: &str) -> Dictionary {
    let all = [&dialogue("call", "a", "b")[..], &[("sdp", body.into())]];
    h.request("answer", &all.concat())
}

/// A call of two streams of sound of which the called one refused the second, whose ports another
/// program has by now; ours in the second section toward each.
fn a_refused_stream_loses_its_ports(h: &mut Harness) -> [u16; 2] {
    let second = |sdp: &str| Sdp::parse(sdp.as_bytes()).unwrap().media[1].port;
    let first = [
        &dialogue("call", "a", "")[..],
        &[("sdp", (&*twice(OFFER)).into())],
    ];
    let offered = sdp(&h.request("offer", &first.concat()));
    let toward_b = second(&offered);
    sdp(&answer_of(h, &twice(ANSWER).replace("5010", "0")));
    assert_eq!(h.bound.len(), 4);
    let call = h.ng.calls.values().next().unwrap();
    let toward_a = call.dialogues[0].party(Side::Caller).ports[1].unwrap();
    h.taken.extend([toward_b, toward_a]);
    [toward_a, toward_b]
}

#[test]
fn a_stream_that_comes_back_has_ports_before_anybody_hears_of_them() {
    let mut h = Harness::new(16);
    let gone = a_refused_stream_loses_its_ports(&mut h);
    let [body, answer] = [OFFER, ANSWER].map(twice);
    let again = [&dialogue("call", "a", "b")[..], &[("sdp", (&*body).into())]];
    let offered = sdp(&h.request("offer", &again.concat()));
    let answer = [
        &dialogue("call", "a", "b")[..],
        &[("sdp", (&*answer).into())],
    ];
    let answered = sdp(&h.request("answer", &answer.concat()));
    let second = |sdp: &str| Sdp::parse(sdp.as_bytes()).unwrap().media[1].port;
    let [toward_a, toward_b] = [&answered, &offered].map(|sdp| second(sdp));
    assert!(!gone.contains(&toward_a) && !gone.contains(&toward_b));
    assert!(toward_a != 0 && toward_b != 0);
    let phones = ["198.51.100.10:4010", "198.51.100.20:5010"];
    let [a, b] = phones.map(|phone| phone.parse().unwrap());
    assert_eq!(h.packet(toward_a, phones[0], 1), Some((toward_b, b)));
    assert_eq!(h.packet(toward_b, phones[1], 1), Some((toward_a, a)));
    assert_eq!(h.bound.len(), 8);
    h.delete(0);
    assert!(h.is_empty());
    assert_eq!(h.ng.ports_free(), 14, "those that are taken are bad");
}

#[test]
fn an_answer_that_changes_its_mind_cannot_have_ports_that_are_gone() {
    let mut h = Harness::new(16);
    let [_, toward_b] = a_refused_stream_loses_its_ports(&mut h);
    h.taken.retain(|port| *port == toward_b);
    let bound = h.bound.clone();
    // The called one was told of a port that nobody can give it any more.
    let said = answer_of(&mut h, &twice(ANSWER));
    assert_eq!(error(&said), "Ran out of ports");
    assert_eq!((&h.bound, h.ng.calls()), (&bound, 1));
    // The call goes on, and the next offer names others.
    let again = [
        &dialogue("call", "a", "b")[..],
        &[("sdp", (&*twice(OFFER)).into())],
    ];
    let offered = sdp(&h.request("offer", &again.concat()));
    let parsed = Sdp::parse(offered.as_bytes()).unwrap();
    assert!(![0, toward_b].contains(&parsed.media[1].port));
    sdp(&answer_of(&mut h, &twice(ANSWER)));
    h.delete(0);
    assert!(h.is_empty());
    assert_eq!(h.ng.ports_free(), 15);
}

#[test]
fn a_stream_whose_ports_are_taken_leaves_the_call_alone() {
    let mut h = Harness::new(16);
    let toward_b = port(&sdp(&h.offer(&[])));
    let toward_a = port(&sdp(&h.answer(&[])));
    let passes = |h: &mut Harness, n: u16| {
        let passed = h.packet(toward_a, "198.51.100.10:4000", n);
        let called = "198.51.100.20:5000".parse().unwrap();
        assert_eq!(passed, Some((toward_b, called)));
    };
    passes(&mut h, 1);
    let again = |h: &mut Harness, body: &str| {
        let all = [&dialogue("call", "a", "b")[..], &[("sdp", body.into())]].concat();
        h.request("offer", &all)
    };
    // Those that come next are taken: others are tried before anybody hears of them.
    h.taken.extend([20_004, 20_009]);
    let two = twice(OFFER);
    let offered = sdp(&again(&mut h, &two));
    let parsed = Sdp::parse(offered.as_bytes()).unwrap();
    assert_eq!(parsed.media[0].port, toward_b);
    assert!(
        ![0, 20_004, 20_008].contains(&parsed.media[1].port),
        "{offered}"
    );
    assert_eq!((h.bound.len(), h.ng.sessions()), (8, 1));
    passes(&mut h, 2);
    let refused = [
        &dialogue("call", "a", "b")[..],
        &[("sdp", (&*twice(ANSWER).replace("5010", "0")).into())],
    ];
    sdp(&h.request("answer", &refused.concat()));
    assert_eq!(h.bound.len(), 4);
    h.delete(0);
    assert_eq!((h.is_empty(), h.ng.ports_free()), (true, 14));
    // All are taken: the call is as before.
    h.taken.clear();
    let toward_b = port(&sdp(&h.offer(&[])));
    let toward_a = port(&sdp(&h.answer(&[])));
    let free = h.ng.ports_free();
    h.taken = (20_000..20_032)
        .filter(|port| !h.bound.contains(port))
        .collect();
    assert_eq!(error(&again(&mut h, &two)), "Ran out of ports");
    let held = BTreeSet::from([toward_a, toward_a + 1, toward_b, toward_b + 1]);
    assert_eq!((&h.bound, h.ng.sessions(), h.ng.calls()), (&held, 1, 1));
    assert!(h.packet(toward_a, "198.51.100.10:4000", 3).is_some());
    let told = Value::from(h.request("query", &dialogue("call", "", "")));
    let Value::List(medias) = at(&told, &["tags", "a", "medias"]) else {
        panic!("{told:?}")
    };
    assert_eq!(medias.len(), 1);
    // It is nobody's any more what the refused offer took.
    assert_eq!(h.ng.ports_free() + h.ng.pool.bad(), free + 2);
    // Another offer goes through, and the answer to it.
    let hold = format!("{OFFER}a=sendonly\r\n");
    assert_eq!(port(&sdp(&again(&mut h, &hold))), toward_b);
    assert_eq!(port(&sdp(&h.answer(&[]))), toward_a);
    h.delete(0);
    assert!(h.is_empty());
}

#[test]
fn silent_and_forgotten_calls_end() {
    let mut h = Harness::new(16);
    h.offer(&[]);
    h.answer(&[]);
    h.wait(Duration::from_secs(61));
    assert!(h.is_empty() && h.ng.counts().timeouts == 1);
    // One of which one side alone is heard goes on.
    h.offer(&[]);
    let toward_a = port(&sdp(&h.answer(&[])));
    for n in 0..50_u16 {
        h.wait(Duration::from_secs(10));
        h.packet(toward_a, "198.51.100.10:4000", n);
    }
    assert_eq!(h.ng.calls(), 1);
    // Until that side is silent, too, although nobody said that it is over.
    h.wait(Duration::from_secs(61));
    assert!(h.is_empty() && h.ng.counts().timeouts == 2);
    // One that nobody answers.
    h.offer(&[]);
    h.wait(Duration::from_secs(3599));
    assert_eq!(h.ng.calls(), 1);
    h.wait(Duration::from_secs(2));
    assert!(h.is_empty() && h.ng.counts().timeouts == 3);
    // One on hold, of which the music is heard for a while.
    let hold = OFFER.to_owned() + "a=sendonly\r\n";
    h.offer(&[("sdp", (&*hold).into())]);
    let all = [&dialogue("call", "a", "")[..], &[("sdp", (&*hold).into())]].concat();
    h.request("offer", &all);
    let answer = ANSWER.to_owned() + "a=recvonly\r\n";
    let all = [
        &dialogue("call", "a", "b")[..],
        &[("sdp", (&*answer).into())],
    ]
    .concat();
    let toward_a = port(&sdp(&h.request("answer", &all)));
    for n in 0..5_u16 {
        h.wait(Duration::from_secs(1200));
        h.packet(toward_a, "198.51.100.10:4000", n);
    }
    assert_eq!(h.ng.calls(), 1);
    h.wait(Duration::from_secs(2 * 3600 + 10));
    assert!(h.is_empty());
}

#[test]
fn descriptions_are_written_as_asked() {
    let mut h = Harness::new(64);
    let ice = format!(
        "{OFFER}a=candidate:1 1 UDP 1 198.51.100.10 4000 typ host\r\na=ice-ufrag:x\r\na=sendonly\r\n"
    );
    let offered = sdp(&h.offer(&[
        ("sdp", "".into()),
        ("replace", list(&["origin", "session connection"])),
    ]));
    assert!(
        offered.starts_with("v=0\r\no=alice 1 1 IN IP4 203.0.113.1\r\n"),
        "{offered}"
    );
    let with = |h: &mut Harness, id: &str, body: &str, more: &[(&'static str, Value)]| {
        let all = [&dialogue(id, "a", "")[..], &[("sdp", body.into())], more].concat();
        sdp(&h.request("offer", &all))
    };
    let hold = with(&mut h, "ice", &ice, &[("ICE", "remove".into())]);
    assert!(!hold.contains("candidate") && !hold.contains("ice-ufrag"));
    assert_eq!(hold.matches("a=send").count(), 1);
    assert!(hold.contains("a=sendonly\r\na=rtcp:"));
    let kept = with(
        &mut h,
        "dir",
        &ice,
        &[("flags", list(&["original sendrecv", "no rtcp attribute"]))],
    );
    assert!(kept.contains("a=sendonly\r\n") && !kept.contains("a=rtcp"));
    let full = with(
        &mut h,
        "full",
        OFFER,
        &[("flags", list(&["full-rtcp-attribute"]))],
    );
    assert!(full.contains(" IN IP4 203.0.113.1\r\n") && full.contains("a=rtcp:"));
    let null = OFFER.replace("c=IN IP4 198.51.100.10", "c=IN IP4 0.0.0.0");
    assert!(with(&mut h, "null", &null, &[]).contains("c=IN IP4 0.0.0.0\r\n"));
    let zero = with(
        &mut h,
        "zero",
        &null,
        &[("replace", list(&["zero-address"]))],
    );
    assert!(zero.contains("c=IN IP4 203.0.113.1\r\n") && zero.contains("a=sendonly"));
    let six = with(&mut h, "six", OFFER, &[("address family", "IP6".into())]);
    assert!(six.contains("c=IN IP6 2001:db8::1\r\n"));
    let six = with(
        &mut h,
        "dirs",
        OFFER,
        &[("direction", list(&["internal", "external"]))],
    );
    assert!(six.contains("c=IN IP6 2001:db8::1\r\n"));
    let shown = with(
        &mut h,
        "shown",
        OFFER,
        &[("media address", "192.0.2.9".into())],
    );
    assert!(shown.contains("c=IN IP4 192.0.2.9\r\n"));
    let marked = with(&mut h, "mark", OFFER, &[("flags", list(&["loop-protect"]))]);
    assert!(marked.contains("t=0 0\r\na=rtpengine:marked\r\nm=audio"));
    let again = with(
        &mut h,
        "loop",
        &marked,
        &[("flags", list(&["loop-protect"]))],
    );
    assert_eq!(again, marked);
}

#[test]
fn formats_are_stripped() {
    let mut h = Harness::new(64);
    let mut codecs = |id: &str, more: &[(&'static str, Value)]| {
        let all = [&dialogue(id, "a", "")[..], &[("sdp", OFFER.into())], more].concat();
        let reply = sdp(&h.request("offer", &all));
        let sdp = Sdp::parse(reply.as_bytes()).unwrap();
        let names: Vec<String> = sdp.media[0].codecs().collect();
        let maps = sdp.media[0].attributes("rtpmap").count();
        (sdp.media[0].port != 0, names.join(" "), maps)
    };
    let dictionary = |key: &str, members: &[&str]| {
        let mut d = Dictionary::new();
        d.add(key, list(members));
        ("codec", Value::from(d))
    };
    let all = "PCMU PCMA telephone-event".to_owned();
    assert_eq!(codecs("1", &[]), (true, all.clone(), 3));
    assert_eq!(
        codecs("2", &[dictionary("strip", &["pcma"])]),
        (true, "PCMU telephone-event".into(), 2)
    );
    assert_eq!(
        codecs("3", &[dictionary("mask", &["PCMU/8000"])]),
        (true, "PCMA telephone-event".into(), 2)
    );
    let flags = list(&["codec-strip-all", "codec-except-PCMA", "transcode-speex"]);
    assert_eq!(codecs("4", &[("flags", flags)]), (true, "PCMA".into(), 1));
    assert_eq!(
        codecs("5", &[dictionary("strip", &["PCM", "PCMU/16000"])]),
        (true, all.clone(), 3)
    );
    // With nothing left all is.
    assert_eq!(
        codecs("6", &[dictionary("strip", &["all"])]),
        (true, all.clone(), 3)
    );
    // Of an answer only.
    assert_eq!(codecs("7", &[("flags", list(&["single-codec"]))]).1, all);
}

#[test]
fn rtcp_shares_the_port_as_the_client_says() {
    let offer = format!("{OFFER}a=rtcp-mux\r\n");
    let answer = format!("{ANSWER}a=rtcp-mux\r\n");
    // Offered by A, flags, accepted by B: what B is offered, what A is answered, ports that stay.
    for (offered, flags, accepted, to_b, to_a, bound) in [
        (true, &[][..], true, true, true, 2),
        (true, &[], false, true, false, 4),
        (false, &[], false, false, false, 4),
        (true, &["demux"], false, false, true, 3),
        (false, &["offer"], true, true, false, 3),
        (true, &["accept"], false, true, true, 3),
        (true, &["reject"], true, true, false, 3),
        (false, &["require"], true, true, false, 3),
    ] {
        let mut h = Harness::new(8);
        let body = if offered { &*offer } else { OFFER };
        let all = [
            &dialogue("call", "a", "")[..],
            &[("sdp", body.into()), ("rtcp-mux", list(flags))],
        ];
        let reply = sdp(&h.request("offer", &all.concat()));
        let case = format!("{offered} {flags:?} {accepted}");
        assert_eq!(reply.contains("a=rtcp-mux"), to_b, "{case}");
        let same = reply.contains(&format!("a=rtcp:{}\r\n", port(&reply)));
        assert_eq!(same, flags == ["require"], "{case}");
        let body = if accepted { &*answer } else { ANSWER };
        let all = [&dialogue("call", "a", "b")[..], &[("sdp", body.into())]];
        let reply = sdp(&h.request("answer", &all.concat()));
        assert_eq!(reply.contains("a=rtcp-mux"), to_a, "{case}");
        assert_eq!(h.bound.len(), bound, "{case}");
    }
}

#[test]
fn profiles_change_where_packets_do_not() {
    let mut h = Harness::new(16);
    let offered = sdp(&h.offer(&[("transport protocol", "RTP/AVPF".into())]));
    assert!(offered.contains("RTP/AVPF 0 8 101"));
    let answer = ANSWER.replace("RTP/AVP", "RTP/AVPF");
    let all = [
        &dialogue("call", "a", "b")[..],
        &[("sdp", (&*answer).into())],
    ]
    .concat();
    assert!(sdp(&h.request("answer", &all)).contains("RTP/AVP 0 101"));
    let secure =
        OFFER.replace("RTP/AVP", "RTP/SAVP") + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n";
    let all = [
        &dialogue("srtp", "a", "")[..],
        &[
            ("sdp", (&*secure).into()),
            ("transport-protocol", "RTP/SAVP".into()),
        ],
    ];
    assert!(sdp(&h.request("offer", &all.concat())).contains("inline:x"));
}

#[test]
fn what_is_not_relayed_keeps_its_address() {
    let mut h = Harness::new(16);
    let body = OFFER.to_owned()
        + "m=application 9 TCP/BFCP *\r\na=setup:actpass\r\n\
        m=image 6000 udptl t38\r\na=T38FaxVersion:0\r\n";
    let all = [&dialogue("call", "a", "")[..], &[("sdp", (&*body).into())]].concat();
    let offered = sdp(&h.request("offer", &all));
    assert!(
        offered.contains("m=application 9 TCP/BFCP *\r\nc=IN IP4 198.51.100.10\r\na=setup"),
        "{offered}"
    );
    let parsed = Sdp::parse(offered.as_bytes()).unwrap();
    assert_eq!(
        parsed.media[2].rtp_address().unwrap().ip(),
        OURS.parse::<IpAddr>().unwrap()
    );
    assert!(
        offered.ends_with("a=T38FaxVersion:0\r\na=sendrecv\r\n"),
        "{offered}"
    );
}

#[test]
fn a_phone_behind_a_nat_is_heard_from_where_it_sends() {
    let mut h = Harness::new(16);
    let inside = OFFER.replace("198.51.100.10", "192.168.1.5");
    let received = [("received from", list(&["IP4", "192.0.2.77"]))];
    let all = [
        &dialogue("call", "a", "")[..],
        &[("sdp", (&*inside).into())],
        &received[..],
    ];
    let toward_b = port(&sdp(&h.request("offer", &all.concat())));
    let toward_a = port(&sdp(&h.answer(&[])));
    let to_a = h.packet(toward_b, "198.51.100.20:5000", 1).unwrap().1;
    assert_eq!(to_a, "192.0.2.77:4000".parse().unwrap());
    assert!(h.packet(toward_a, "192.0.2.77:61000", 1).is_some());
    let to_a = h.packet(toward_b, "198.51.100.20:5000", 2).unwrap().1;
    assert_eq!(to_a, "192.0.2.77:61000".parse().unwrap());
    // Where the client does not trust the description, its address is nothing to us.
    let mut h = Harness::new(16);
    let flags = [("flags", list(&["SIP-source-address"]))];
    let all = [
        &dialogue("call", "a", "")[..],
        &[("sdp", OFFER.into())],
        &received[..],
        &flags[..],
    ];
    let toward_b = port(&sdp(&h.request("offer", &all.concat())));
    h.answer(&[]);
    let to_a = h.packet(toward_b, "198.51.100.20:5000", 1).unwrap().1;
    assert_eq!(to_a, "192.0.2.77:4000".parse().unwrap());
}

#[test]
fn only_its_author_is_asymmetric_or_moves() {
    let stranger = "192.0.2.9:7000";
    for (flag, reached) in [
        ("asymmetric", "198.51.100.10:4000"),
        ("media handover", stranger),
    ] {
        let mut h = Harness::new(16);
        let flags = [("flags", list(&[flag]))];
        let toward_b = port(&sdp(&h.offer(&flags)));
        let toward_a = port(&sdp(&h.answer(&[])));
        h.wait(Duration::from_secs(10));
        for n in 0..3 {
            assert_eq!(h.packet(toward_a, stranger, n), None);
        }
        assert!(h.packet(toward_a, stranger, 3).is_some(), "{flag}");
        let (_, to_a) = h.packet(toward_b, "198.51.100.20:5000", 1).unwrap();
        assert_eq!(to_a, reached.parse().unwrap(), "{flag}");
        // The other side said nothing of the kind.
        for n in 0..8 {
            assert_eq!(h.packet(toward_b, stranger, n), None, "{flag}");
        }
    }
}

#[test]
fn a_named_interface_is_used() {
    let interface = |name: &str, bind: &str, shown: &str| Interface {
        name: name.into(),
        bind: bind.parse().unwrap(),
        shown: shown.parse().unwrap(),
    };
    let mut settings = settings();
    settings.interfaces = vec![
        interface("pub", "10.0.0.2", "203.0.113.7"),
        interface("priv", "10.0.0.1", "10.0.0.1"),
    ];
    let mut h = Harness::with(settings, 16);
    let offered = sdp(&h.offer(&[("direction", list(&["pub", "priv"]))]));
    assert!(offered.contains("c=IN IP4 10.0.0.1\r\n"), "{offered}");
    assert!(sdp(&h.answer(&[])).contains("c=IN IP4 203.0.113.7\r\n"));
}

#[test]
fn media_and_keys_are_blocked_for_one_or_all() {
    let mut h = Harness::new(16);
    h.offer(&[("label", "caller".into())]);
    let toward_a = port(&sdp(&h.answer(&[])));
    let toward_b = h.ng.calls[&b"call"[..]].dialogues[0].ports()[1];
    let key = |h: &mut Harness, n: u16| {
        let mut packet = [0x80; 16];
        packet[1] = 101;
        packet[2..4].copy_from_slice(&n.to_be_bytes());
        let source = "198.51.100.10:4000".parse().unwrap();
        matches!(
            h.relay
                .process(h.now, toward_a, source, &mut Datagram::new(&mut packet, 16)),
            Verdict::Forward { .. }
        )
    };
    let mut n = 0;
    // Whether media of A, keys of A, and media of B go on.
    let mut passes = |h: &mut Harness| {
        n += 2;
        let media = h.packet(toward_a, "198.51.100.10:4000", n).is_some();
        let keys = key(h, n + 1);
        (
            media,
            keys,
            h.packet(toward_b, "198.51.100.20:5000", n).is_some(),
        )
    };
    assert_eq!(passes(&mut h), (true, true, true));
    let call = ("call-id", Value::from("call"));
    let tag = |tag: &str| ("from-tag", Value::from(tag));
    let mut act = |h: &mut Harness, command: &str, more: &[(&'static str, Value)]| {
        let reply = h.request(command, &[&[call.clone()][..], more].concat());
        assert_eq!(text(&reply, "result"), "ok", "{command}");
        passes(h)
    };
    assert_eq!(act(&mut h, "block media", &[tag("a")]), (false, true, true));
    assert_eq!(act(&mut h, "block DTMF", &[]), (false, false, true));
    assert_eq!(act(&mut h, "unblock media", &[]), (false, false, true));
    assert_eq!(act(&mut h, "unblock DTMF", &[]), (false, true, true));
    assert_eq!(
        act(&mut h, "unblock media", &[("flags", list(&["all"]))]),
        (true, true, true)
    );
    let host = ("address", Value::from("198.51.100.20"));
    assert_eq!(
        act(&mut h, "block media", std::slice::from_ref(&host)),
        (true, true, false)
    );
    assert_eq!(act(&mut h, "unblock media", &[host]), (true, true, true));
    let label = ("label", Value::from("caller"));
    assert_eq!(act(&mut h, "block media", &[label]), (false, true, true));
    for (more, reason) in [
        (("label", "x"), "No monologue matching the given label"),
        (("from-tag", "x"), "From-tag given, but no such tag exists"),
        (
            ("address", "192.0.2.1"),
            "Failed to match address to any tag",
        ),
        (("call-id", "x"), "Unknown call-id"),
    ] {
        let more = [(more.0, Value::from(more.1)), ("call-id", "call".into())];
        assert_eq!(error(&h.request("block media", &more)), reason);
    }
    // What is blocked stays so when the call goes on.
    h.offer(&[("to-tag", "b".into())]);
    h.answer(&[]);
    let source = "198.51.100.10:4000";
    assert_eq!(h.packet(toward_a, source, 900), None);
}

/// Datagrams lost, repeated and late, in any order: at the end every port is free again, and at no
/// time is one bound that no call has.
#[test]
fn whatever_comes_nothing_leaks() {
    let bodies = [
        OFFER.to_owned(),
        ANSWER.to_owned(),
        twice(OFFER),
        twice(ANSWER),
    ];
    for seed in 0..150 {
        let mut rng = Rng::from_u64(seed);
        let mut h = Harness::new(24);
        let mut sent: Vec<Vec<u8>> = Vec::new();
        let mut told = BTreeMap::new();
        for step in 0..120 {
            let pick = |rng: &mut Rng, from: &[&str]| {
                from[rng.below(from.len() as u64) as usize].to_owned()
            };
            let command = pick(
                &mut rng,
                &[
                    "offer",
                    "answer",
                    "delete",
                    "query",
                    "offer",
                    "answer",
                    "start recording",
                    "stop recording",
                ],
            );
            let mut request = Dictionary::new();
            request
                .add("command", &*command)
                .add("call-id", &*pick(&mut rng, &["c1", "c2", "c3"]))
                .add("from-tag", &*pick(&mut rng, &["a", "b"]))
                .add("to-tag", &*pick(&mut rng, &["", "a", "b", "c"]))
                .add("via-branch", &*pick(&mut rng, &["", "", "z"]))
                .add("delete-delay", rng.below(3) * 5)
                .add("sdp", &*bodies[rng.below(4) as usize]);
            let datagram = emit(format!("{step}").as_bytes(), Format::Bencode, &request);
            if rng.below(10) > 0 {
                sent.push(datagram);
            }
            while !sent.is_empty() && rng.below(3) > 0 {
                let at = rng.below(sent.len() as u64) as usize;
                let datagram = match rng.below(4) {
                    0 => sent[at].clone(),
                    _ => sent.remove(at),
                };
                let asked = split(&datagram).unwrap().0.to_vec();
                let known = told
                    .get(&asked)
                    .is_some_and(|(at, _)| h.now < *at + KEPT_FOR);
                if !known {
                    told.insert(asked, (h.now, None));
                }
                for reply in h.datagram(&datagram) {
                    let cookie = split(&reply).unwrap().0;
                    let (_, first) = told.get_mut(cookie).unwrap();
                    assert_eq!(first.get_or_insert(reply.clone()), &reply, "seed {seed}");
                }
            }
            if rng.below(5) == 0 {
                h.taken = (0..rng.below(4))
                    .map(|_| 20_000 + rng.below(48) as u16)
                    .collect();
            }
            h.deaf = rng.below(12) == 0;
            h.wait(Duration::from_millis(rng.below(3000)));
            // Those of requests that the relay did not hear of.
            h.replies.clear();
            assert!(h.ng.calls() <= 3 && h.bound.len() <= 48, "seed {seed}");
        }
        h.deaf = false;
        h.wait(Duration::from_secs(3 * 3600));
        assert_eq!(h.ng.calls(), 0, "seed {seed}: {:?}", h.ng.calls);
        let bad = h.ng.pool.bad();
        assert_eq!(h.ng.ports_free() + bad, 24, "seed {seed}");
        whole_tapes(&h.orders);
    }
}

#[test]
fn no_datagram_panics() {
    let mut rng = Rng::from_u64(3);
    let mut h = Harness::new(24);
    let mut request = Dictionary::new();
    request
        .add("command", "offer")
        .add("call-id", "c")
        .add("from-tag", "a")
        .add("flags", list(&["trust-address", "replace-origin"]))
        .add("received-from", list(&["IP4", "192.0.2.1"]))
        .add("sdp", OFFER);
    let whole = emit(b"1", Format::Bencode, &request);
    for n in 0..4000_u32 {
        let mut bytes = whole.clone();
        bytes[0] = b'0' + (n % 10) as u8;
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            match rng.below(3) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"0123456789:eild"[rng.below(15) as usize]),
            }
        }
        h.datagram(&bytes);
        h.wait(Duration::from_millis(20));
    }
    h.wait(Duration::from_secs(3 * 3600));
    assert_eq!((h.ng.calls(), h.ng.ports_free()), (0, 24));
}
