//! The shard as a whole, message by message: two phones register with digest, one calls the other,
//! hangs up, and a record remains.

use super::*;
use crate::base::{Anchor, ConnectionId, Destination, Flow, Instant, Rng, Transport};
use crate::call::Addresses;
use crate::config::Config;
use crate::control::{Command, Reply};
use crate::feature::Features;
use crate::location::{Limits, Location};
use crate::peer::Peers;
use crate::proxy::guard::flood::Arrival;
use crate::proxy::guard::{self, Guard};
use crate::relay::PortPool;
use crate::sip::digest;
use crate::sip::listeners::{Interface, Listener, ListenerTable};
use crate::store::{Directory, Ha1, Record, User};
use crate::wire::sip::{HeaderName, Message, Method, ResponseBuilder};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

struct Bench {
    core: SignalCore,
    now: Instant,
    sent: Vec<(Destination, Message)>,
    records: Vec<Record>,
    replies: Vec<Reply>,
}

const CONFIG: &str = "[node]\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n\
    trusted = [\"198.51.100.0/24\"]\n";

fn bench(extra: &str) -> Bench {
    let config = Config::parse(&format!("{CONFIG}{extra}"), Path::new("voip.toml")).unwrap();
    let config = Arc::new(config);
    let interface = Interface {
        address: "192.0.2.10".parse().unwrap(),
        prefix: 24,
    };
    let bind = "192.0.2.10:5060".parse().unwrap();
    let listener = Listener {
        transport: Transport::Udp,
        bind,
        advertised: None,
    };
    let listeners = ListenerTable::new(vec![listener], vec![interface], [None, None]);
    let directory = Directory::new();
    for name in ["100", "200"] {
        directory
            .put(User {
                username: name.into(),
                domain: "example.com".into(),
                display_name: "".into(),
                ha1: Ha1::of(name, "example.com", "secret"),
                disabled: false,
            })
            .unwrap();
    }
    let core = SignalCore::new(Setup {
        shard: 0,
        shards: 1,
        peers: Arc::new(Peers::new(&config, [3; 32])),
        guard: Arc::new(Guard::new(guard::Settings::of(&config), [7; 16])),
        config,
        listeners,
        addresses: Addresses::default(),
        location: Arc::new(Location::new(Limits::default())),
        directory: Arc::new(directory),
        features: Arc::new(Features::new()),
        rooms: Default::default(),
        mailboxes: Arc::default(),
        rng: Rng::from_u64(1),
        anchor: Anchor {
            instant: Instant::ZERO,
            unix_ms: 1_700_000_000_000,
        },
        secret: [3; 32],
        replays: Arc::new(digest::Replays::new()),
        ports: PortPool::new(20_000, 20_099, 0, 1),
    });
    let now = Instant::from_millis(1000);
    Bench {
        core,
        now,
        sent: Vec::new(),
        records: Vec::new(),
        replies: Vec::new(),
    }
}

impl Bench {
    fn input(&mut self, input: Input) {
        self.core.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Transmit(t) => {
                    self.sent
                        .push((t.destination, Message::parse(t.bytes).unwrap()));
                }
                Output::Persist(record) => self.records.push(record),
                Output::Reply { reply, .. } => self.replies.push(reply),
                Output::Resolve { .. } | Output::Media(_) => {}
                Output::CloseConnection(_) | Output::Detour { .. } => {}
                Output::Tell { input, .. } => self.core.handle_input(self.now, input),
            }
        }
    }

    fn from(&mut self, source: &str, text: String) {
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.10:5060".parse().unwrap(),
            remote: source.parse().unwrap(),
            connection: None,
        };
        self.input(Input::Message {
            flow,
            bytes: Bytes::from(text),
        });
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn take(&mut self) -> (Destination, Message) {
        assert!(!self.sent.is_empty(), "nothing was sent");
        self.sent.remove(0)
    }

    fn status(&mut self) -> u16 {
        self.take().1.status()
    }
}

fn request(method: &str, uri: &str, user: &str, to: &str, cseq: u32, extra: &str) -> String {
    let host = host(user);
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch=z9hG4bK{user}{method}{cseq}\r\n\
         From: <sip:{user}@example.com>;tag=f{user}\r\nTo: <sip:{to}@example.com>\r\n\
         Call-ID: id-{user}-{method}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n\
         Contact: <sip:{user}@{host}>\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

fn host(user: &str) -> String {
    let last = if user == "100" { 1 } else { 2 };
    format!("192.0.2.{last}:5060")
}

fn credentials(
    challenge: &Message,
    header: HeaderName,
    user: &str,
    method: Method<'_>,
    uri: &str,
) -> String {
    let challenge = challenge.challenges(header).next().unwrap().unwrap();
    let identity = digest::ClientCredentials {
        username: user,
        password: b"secret",
    };
    digest::answer(&challenge, &identity, method.as_bytes(), uri, 1, "cafe").unwrap()
}

fn register(bench: &mut Bench, user: &str) {
    bench.from(
        &host(user),
        request("REGISTER", "sip:example.com", user, user, 1, ""),
    );
    let (_, challenge) = bench.take();
    assert_eq!(challenge.status(), 401);
    let value = credentials(
        &challenge,
        HeaderName::WwwAuthenticate,
        user,
        Method::Register,
        "sip:example.com",
    );
    let extra = format!("Authorization: {value}\r\n");
    bench.from(
        &host(user),
        request("REGISTER", "sip:example.com", user, user, 2, &extra),
    );
    assert_eq!(bench.status(), 200);
}

#[test]
fn two_phones_register_and_one_calls_the_other() {
    let mut b = bench("");
    register(&mut b, "100");
    register(&mut b, "200");
    assert_eq!(b.records.len(), 2);
    b.from(
        &host("100"),
        request("INVITE", "sip:200@example.com", "100", "200", 1, ""),
    );
    let (_, challenge) = b.take();
    assert_eq!(challenge.status(), 407);
    let uri = "sip:200@example.com";
    let value = credentials(
        &challenge,
        HeaderName::ProxyAuthenticate,
        "100",
        Method::Invite,
        uri,
    );
    let extra = format!("Proxy-Authorization: {value}\r\n");
    let ack = request("ACK", uri, "100", "200", 1, "").replace("-ACK", "-INVITE");
    b.from(&host("100"), ack.replace("100ACK1", "100INVITE1"));
    b.from(
        &host("100"),
        request("INVITE", uri, "100", "200", 2, &extra),
    );
    let (to, invite) = b.take();
    assert_eq!(
        (to.remote().to_string(), invite.method()),
        (host("200"), Method::Invite)
    );
    assert!(invite.header(HeaderName::RecordRoute).is_some());
    assert!(
        invite.header(HeaderName::ProxyAuthorization).is_none(),
        "credentials went on"
    );
    let answer = ResponseBuilder::new(&invite, 200)
        .to_tag("t200")
        .record_route()
        .header(HeaderName::Contact, "<sip:200@192.0.2.2:5060>")
        .render();
    b.from(&host("200"), String::from_utf8(answer.to_vec()).unwrap());
    let (to, answer) = b.take();
    assert_eq!(
        (to.remote().to_string(), answer.status()),
        (host("100"), 200)
    );
    let route = answer.header(HeaderName::RecordRoute).unwrap();
    let route = format!("Route: {}\r\n", String::from_utf8_lossy(route));
    let dialog = |method: &str, cseq| {
        request(method, "sip:200@192.0.2.2:5060", "100", "200", cseq, &route)
            .replace("200@example.com>", "200@example.com>;tag=t200")
            .replace(&format!("id-100-{method}"), "id-100-INVITE")
    };
    b.from(&host("100"), dialog("ACK", 2));
    assert_eq!(b.take().1.method(), Method::Ack);
    b.input(Input::Control {
        id: 1,
        command: Command::Calls,
    });
    let Some(Reply::Calls { rows }) = b.replies.pop() else {
        panic!("no listing")
    };
    assert_eq!(rows.len(), 1);
    b.from(&host("100"), dialog("BYE", 3));
    let (_, bye) = b.take();
    assert_eq!(bye.method(), Method::Bye);
    let cdrs = b
        .records
        .iter()
        .filter(|r| matches!(r, Record::Cdr(_)))
        .count();
    assert_eq!(cdrs, 1);
    let ok = ResponseBuilder::new(&bye, 200).render();
    b.from(&host("200"), String::from_utf8(ok.to_vec()).unwrap());
    assert_eq!(b.status(), 200);
    b.wait(Duration::from_secs(120));
    assert_eq!(b.core.load(), (0, 0), "transactions or calls remain");
}

#[test]
fn a_new_configuration_brings_a_new_plan() {
    let mut b = bench("[[route]]\nname = \"a\"\nmatch = \"9.\"\nto = \"user:200\"\n");
    let ask = |b: &mut Bench| {
        b.input(Input::Control {
            id: 1,
            command: Command::RouteTest {
                number: "915".into(),
                from: "100".into(),
                at: None,
                caller: None,
                method: None,
            },
        });
        match b.replies.pop() {
            Some(Reply::Route(row)) => *row,
            other => panic!("{other:?}"),
        }
    };
    let row = ask(&mut b);
    assert_eq!(
        (&*row.route, &*row.steps[0].targets[0]),
        ("a", "user:200@example.com")
    );
    let text = format!("{CONFIG}[[route]]\nmatch = \"9.\"\nrefuse = 404\n");
    let config = Config::parse(&text, Path::new("voip.toml")).unwrap();
    b.input(Input::Configure(Arc::new(config)));
    let row = ask(&mut b);
    assert_eq!((&*row.decision, row.status), ("refuse", Some(404)));
    assert!(row.lines.iter().any(|l| l.verdict == "taken"), "{row:?}");
}

#[test]
fn a_repeated_register_gets_the_same_answer_and_changes_nothing() {
    let mut b = bench("");
    register(&mut b, "100");
    let (records, at) = (b.records.len(), b.now);
    b.wait(Duration::from_millis(500));
    assert_eq!(b.core.load(), (0, 0), "the registrar keeps no transactions");
    b.from(
        &host("100"),
        request("REGISTER", "sip:example.com", "100", "100", 3, ""),
    );
    let (_, challenge) = b.take();
    let (header, uri) = (HeaderName::WwwAuthenticate, "sip:example.com");
    let value = credentials(&challenge, header, "100", Method::Register, uri);
    let again = request(
        "REGISTER",
        uri,
        "100",
        "100",
        4,
        &format!("Authorization: {value}\r\n"),
    );
    for _ in 0..3 {
        b.from(&host("100"), again.clone());
        let (_, answer) = b.take();
        assert_eq!(answer.status(), 200);
        assert!(answer.header(HeaderName::Contact).is_some());
    }
    assert_eq!(b.records.len(), records + 1, "one change after {at:?}");
    let replay = again.replace("CSeq: 4", "CSeq: 5");
    b.from(&host("100"), replay);
    assert_eq!(b.status(), 401, "a replay under another CSeq");
}

#[test]
fn who_is_shut_out_may_still_end_its_call() {
    let mut b = bench("");
    register(&mut b, "100");
    register(&mut b, "200");
    let uri = "sip:200@example.com";
    let invite = request("INVITE", uri, "300", "200", 1, "");
    let contact = "Contact: <sip:300@198.51.100.7:5060>";
    let invite = invite.replace("Contact: <sip:300@192.0.2.2:5060>", contact);
    b.from("198.51.100.7:5060", invite);
    let (_, invite) = b.take();
    let answer = ResponseBuilder::new(&invite, 200)
        .to_tag("t200")
        .record_route()
        .header(HeaderName::Contact, "<sip:200@192.0.2.2:5060>")
        .render();
    b.from(&host("200"), String::from_utf8(answer.to_vec()).unwrap());
    let (_, answer) = b.take();
    // Under ever new names: for one name alone a source that proved right is not shut out.
    let guess = |cseq: u32| {
        let wrong = format!(
            "Authorization: Digest username=\"n{cseq}\", realm=\"example.com\", nonce=\"x\", \
             uri=\"sip:example.com\", response=\"00000000000000000000000000000000\"\r\n"
        );
        let name = format!("n{cseq}");
        request("REGISTER", "sip:example.com", &name, &name, cseq, &wrong)
    };
    for cseq in 10..100 {
        b.from(&host("200"), guess(cseq));
        b.now += Duration::from_secs(9);
    }
    b.sent.clear();
    b.from(&host("200"), guess(200));
    assert!(b.sent.is_empty(), "it is shut out");
    let route = String::from_utf8_lossy(answer.header(HeaderName::RecordRoute).unwrap());
    let bye = format!(
        "BYE sip:300@198.51.100.7:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKb\r\n\
         From: <{uri}>;tag=t200\r\nTo: <sip:300@example.com>;tag=f300\r\n\
         Call-ID: id-300-INVITE\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\nRoute: {route}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    b.from(&host("200"), bye.replace("id-300", "id-none"));
    assert!(b.sent.is_empty(), "a BYE of no call");
    b.from(&host("200"), bye);
    let (to, bye) = b.take();
    assert_eq!(
        (to.remote().to_string().as_str(), bye.method()),
        ("198.51.100.7:5060", Method::Bye)
    );
}

#[test]
fn malformed_requests_are_refused_with_the_reason() {
    let mut b = bench("");
    let twice = request(
        "OPTIONS",
        "sip:example.com",
        "100",
        "200",
        1,
        "To: <sip:x@example.com>\r\n",
    );
    b.from(&host("100"), twice);
    let (_, answer) = b.take();
    assert_eq!(
        (answer.status(), answer.reason()),
        (400, &b"Repeated To"[..])
    );
    b.from(&host("100"), "no sip at all\r\n\r\n".into());
    assert!(b.sent.is_empty());
}

#[test]
fn strangers_neither_relay_nor_call() {
    let mut b = bench("");
    let out = request("INVITE", "sip:someone@203.0.113.5", "900", "901", 1, "");
    b.from(
        "203.0.113.99:5060",
        out.replace("example.com", "example.org"),
    );
    let status = b.status();
    assert!(matches!(status, 403 | 407), "{status}");
    let inward = request("INVITE", "sip:200@example.com", "900", "200", 1, "");
    b.from(
        "203.0.113.99:5060",
        inward.replace("sip:900@example.com", "sip:900@example.org"),
    );
    let status = b.status();
    assert!(matches!(status, 403 | 407), "{status}");
}

fn agent(name: &str) -> String {
    format!("User-Agent: {name}\r\n")
}

fn drops(b: &mut Bench) -> Vec<(String, u64)> {
    b.input(Input::Control {
        id: 9,
        command: Command::Status,
    });
    match b.replies.pop() {
        Some(Reply::Status(row)) => row.counters.drops.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_strangers_options_tells_nothing_and_a_phones_is_answered_without_a_transaction() {
    let mut b = bench("");
    let options = |user, cseq| request("OPTIONS", "sip:example.com", user, user, cseq, "");
    b.from("203.0.113.99:5060", options("900", 1));
    assert!(b.sent.is_empty(), "a stranger");
    assert_eq!(drops(&mut b), [("probe".to_owned(), 1)]);
    register(&mut b, "100");
    b.wait(Duration::from_secs(60));
    b.from(&host("100"), options("100", 1));
    let (to, first) = b.take();
    assert_eq!(
        (to.remote().to_string(), first.status()),
        (host("100"), 200)
    );
    assert!(first.has(HeaderName::Allow));
    assert_eq!(b.core.load(), (0, 0));
    // The same request gets the same answer, and another one another tag (RFC 3261 §8.2.7).
    b.from(&host("100"), options("100", 1));
    assert_eq!(
        b.take().1.header(HeaderName::To),
        first.header(HeaderName::To)
    );
    b.from(&host("100"), options("100", 2));
    assert_ne!(
        b.take().1.header(HeaderName::To),
        first.header(HeaderName::To)
    );
    // Where guests are let in, so is their question.
    let mut b = bench("guests = true\n");
    b.from("203.0.113.99:5060", options("900", 1));
    assert_eq!((b.status(), b.core.load()), (200, (0, 0)));
    b.input(Input::Control {
        id: 9,
        command: Command::Status,
    });
    let Some(Reply::Status(row)) = b.replies.pop() else {
        panic!("no status");
    };
    assert_eq!(row.counters.responses, [("200".to_owned(), 1)].into());
}

#[test]
fn a_declared_scanner_hears_nothing_and_is_shut_out() {
    let mut b = bench("guests = true\n");
    let scan = |method: &str, cseq| {
        let extra = agent("friendly-scanner");
        request(method, "sip:example.com", "900", "900", cseq, &extra)
    };
    for (cseq, method) in (1..).zip(["OPTIONS", "REGISTER", "INVITE", "OPTIONS"]) {
        b.from("203.0.113.99:5060", scan(method, cseq));
    }
    assert!(b.sent.is_empty());
    let counted = [("guarded".to_owned(), 3), ("scanner".to_owned(), 1)];
    assert_eq!(drops(&mut b), counted);
    let bans = b.records.iter().filter(|r| matches!(r, Record::PutBan(_)));
    assert_eq!(bans.count(), 1);
    // Whoever is registered may call its phone as it likes.
    register(&mut b, "100");
    let extra = agent("sipcli/v1.8");
    let options = request("OPTIONS", "sip:example.com", "100", "100", 7, &extra);
    b.from(&host("100"), options);
    assert_eq!(b.status(), 200);
}

/// As svwar tries names: it is challenged a while, then not heard any more.
#[test]
fn names_cannot_be_tried_one_after_the_other() {
    let mut b = bench("");
    let mut answers = Vec::new();
    for n in 0..1000 {
        let name = n.to_string();
        b.from(
            "203.0.113.99:5060",
            request("REGISTER", "sip:example.com", &name, &name, 1, ""),
        );
        answers.extend(b.sent.drain(..).map(|(_, answer)| answer.status()));
    }
    assert!((50..150).contains(&answers.len()), "{}", answers.len());
    assert!(answers.iter().all(|status| *status == 401));
    register(&mut b, "100");
}

#[test]
fn a_flood_is_dropped_before_it_is_read_and_its_source_shut_out() {
    let mut b = bench("");
    register(&mut b, "100");
    let source = "203.0.113.99".parse().unwrap();
    let mut passed = 0;
    for ms in 0..15_000 {
        b.now += Duration::from_millis(u64::from(ms > 0));
        for _ in 0..20 {
            passed += u32::from(b.core.admits(b.now, source, Arrival::Message));
            b.drain();
        }
    }
    assert!((2400..2600).contains(&passed), "{passed}");
    let bans = b.records.iter().filter(|r| matches!(r, Record::PutBan(_)));
    assert_eq!(bans.count(), 1);
    let [(name, dropped)] = &drops(&mut b)[..] else {
        panic!("one reason");
    };
    assert_eq!(
        (name.as_str(), *dropped),
        ("flood", 300_000 - u64::from(passed))
    );
    assert!(
        b.core
            .admits(b.now, "192.0.2.1".parse().unwrap(), Arrival::Message)
    );
    // Over a stream nobody asks before.
    let flow = Flow {
        transport: Transport::Tcp,
        local: "192.0.2.10:5060".parse().unwrap(),
        remote: "203.0.113.98:4000".parse().unwrap(),
        connection: Some(ConnectionId(1)),
    };
    for _ in 0..1500 {
        let bytes = Bytes::from_static(b"no sip at all\r\n\r\n");
        b.input(Input::Message { flow, bytes });
    }
    let mut counted = drops(&mut b);
    counted.retain(|(name, _)| name == "not_sip");
    assert_eq!(counted, [("not_sip".to_owned(), 1000)]);
}
