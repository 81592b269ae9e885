//! One table per paragraph of the RFCs, over whole messages.

use super::*;
use crate::base::Transport;
use crate::location::{Limits, Reach};
use crate::proxy::gruu::Resolved;
use crate::store::{Ha1, User};
use crate::wire::sip::Uri;
use std::time::Duration;

const AOR: &str = "watson@example.com";

struct Bench {
    registrar: Registrar,
    location: Location,
    directory: Directory,
    config: Config,
    now: Instant,
    flow: Flow,
    registrant: Option<&'static str>,
    records: Vec<Record>,
}

/// The answer, read again.
struct Answer(Message);

impl Answer {
    fn lines(&self, name: HeaderName) -> Vec<&str> {
        let lines = self.0.lines(name);
        lines.map(|l| std::str::from_utf8(l).unwrap()).collect()
    }

    fn one(&self, name: HeaderName) -> &str {
        let lines = self.lines(name);
        assert_eq!(lines.len(), 1, "{name:?} {lines:?}");
        lines[0]
    }

    fn contacts(&self) -> Vec<&str> {
        self.lines(HeaderName::Contact)
    }
}

impl Bench {
    fn new() -> Self {
        let directory = Directory::new();
        for username in ["watson", "user", "j.user", "holmes"] {
            let user = User {
                username: username.into(),
                domain: "example.com".into(),
                display_name: "".into(),
                ha1: Ha1 {
                    md5: [0; 16],
                    sha256: [0; 32],
                },
                disabled: false,
            };
            directory.put(user).unwrap();
        }
        let text = "[node]\ndomains = [\"example.com\"]\n[sip]\ntrusted = [\"192.0.2.0/24\"]\n";
        Self {
            registrar: Registrar::new(&[7; 32]),
            location: Location::new(Limits {
                contacts_per_aor: 3,
                contacts: 100,
            }),
            directory,
            config: Config::parse(text, std::path::Path::new("voip.toml")).unwrap(),
            now: Instant::from_millis(5_000),
            flow: Flow {
                transport: Transport::Udp,
                local: "203.0.113.1:5060".parse().unwrap(),
                remote: "198.51.100.7:5060".parse().unwrap(),
                connection: None,
            },
            registrant: Some(AOR),
            records: Vec::new(),
        }
    }

    fn handle(&mut self, text: &str) -> Answer {
        let message = Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        let aor = {
            let to = message.to().unwrap();
            let uri = to.uri().unwrap();
            let user = String::from_utf8(uri.user_unescaped().into_owned()).unwrap();
            let domain = self.config.node.domain_of(&uri.host().to_string());
            domain.map(|d| format!("{user}@{d}"))
        };
        let outcome = self.registrar.handle(&Registration {
            now: self.now,
            anchor: Anchor {
                instant: Instant::ZERO,
                unix_ms: 1_795_388_061_000,
            },
            location: &self.location,
            directory: &self.directory,
            config: &self.config,
            message: &message,
            flow: &self.flow,
            aor: aor.as_deref(),
            registrant: self
                .registrant
                .map_or(Registrant::Trusted, Registrant::User),
            to_tag: b"totag",
        });
        let answer = Message::parse(outcome.response).unwrap();
        assert_eq!(answer.validate(), Ok(()));
        assert_eq!(answer.status(), outcome.status);
        assert_eq!(answer.to().unwrap().tag(), Some(&b"totag"[..]));
        if answer.status() != 200 {
            assert!(outcome.records.is_empty());
        }
        self.records = outcome.records.into_vec();
        Answer(answer)
    }

    /// A REGISTER of watson with these header lines.
    fn register(&mut self, cseq: u32, lines: &str) -> Answer {
        self.handle(&request("sip:watson@example.com", "c1", cseq, lines))
    }

    fn status(&mut self, cseq: u32, lines: &str) -> u16 {
        self.register(cseq, lines).0.status()
    }
}

fn request(to: &str, call_id: &str, cseq: u32, lines: &str) -> String {
    let lines: String = lines
        .split('|')
        .map(|l| format!("{}\r\n", l.trim()))
        .collect();
    format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:watson@example.com>;tag=1\r\nTo: <{to}>\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{lines}\r\n"
    )
    .replace("\r\n\r\n\r\n", "\r\n\r\n")
}

#[test]
fn a_contact_is_bound_and_told() {
    let mut b = Bench::new();
    let a = b.register(
        1,
        "Contact: \"W\" <sip:w@198.51.100.7>;expires=600;audio;x=\"a;b,c\";q=0.25",
    );
    assert_eq!(a.0.status(), 200);
    assert_eq!(
        a.contacts(),
        ["<sip:w@198.51.100.7>;expires=600;q=0.250;audio;x=\"a;b,c\""]
    );
    assert_eq!(a.one(HeaderName::Date), "Sun, 22 Nov 2026 22:54:26 GMT");
    assert!(a.one(HeaderName::Allow).contains("REGISTER"));
    assert_eq!(a.one(HeaderName::Supported), "path, outbound, gruu");
    assert!(matches!(b.records[..], [Record::PutBinding(_)]));
    b.now += Duration::from_secs(60);
    let fetched = b.register(2, "");
    assert!(b.records.is_empty());
    assert!(fetched.contacts()[0].starts_with("<sip:w@198.51.100.7>;expires=540;"));
    b.register(
        3,
        "Contact: \"W\" <sip:w@198.51.100.7>;expires=600;audio;x=\"a;b,c\";q=0.25",
    );
    assert!(matches!(b.records[..], [Record::TouchBinding(_)]));
}

/// RFC 3261 §10.2.1.1, §10.3 step 7, §20.10.
#[test]
fn intervals() {
    let table = [
        ("Contact: <sip:w@h>;expires=600", Ok(600)),
        ("Contact: <sip:w@h>|Expires: 601", Ok(601)),
        ("Contact: <sip:w@h>;expires=602|Expires: 9", Ok(602)),
        ("Contact: <sip:w@h>", Ok(3600)),
        ("Contact: <sip:w@h>;expires=99999", Ok(7200)),
        ("Contact: <sip:w@h>;expires=4294967295", Ok(7200)),
        ("Contact: <sip:w@h>;expires=soon", Ok(3600)),
        ("Contact: <sip:w@h>|Expires: soon", Ok(3600)),
        ("Contact: <sip:w@h>;expires=60", Ok(60)),
        ("Contact: <sip:w@h>;expires=59", Err("60")),
        ("Contact: <sip:w@h>|Expires: 1", Err("60")),
    ];
    for (lines, expected) in table {
        let mut b = Bench::new();
        let a = b.register(1, lines);
        match expected {
            Ok(seconds) => {
                assert_eq!(
                    a.contacts(),
                    [format!("<sip:w@h>;expires={seconds}")],
                    "{lines}"
                );
            }
            Err(least) => {
                assert_eq!(a.0.status(), 423, "{lines}");
                assert_eq!(a.one(HeaderName::MinExpires), least);
                assert!(b.location.is_empty());
            }
        }
    }
    let mut b = Bench::new();
    b.config.limits.expires_min_s = 7200;
    assert_eq!(
        b.status(1, "Contact: <sip:w@h>;expires=3600"),
        200,
        "an hour is never too brief"
    );
}

/// RFC 3261 §10.2.2, §10.3 step 6.
#[test]
fn star_removes_all() {
    let mut b = Bench::new();
    b.register(
        1,
        "Contact: <sip:a@h>, <sip:b@h>|Contact: <sip:c@h>;expires=900",
    );
    assert_eq!(b.location.len(), 3);
    for bad in [
        "Contact: *",
        "Contact: *|Expires: 60",
        "Contact: *, <sip:d@h>|Expires: 0",
        "Contact: <sip:d@h>|Contact: *|Expires: 0",
        "Contact: *, *|Expires: 0",
    ] {
        assert_eq!(b.status(2, bad), 400, "{bad}");
    }
    assert_eq!(b.status(0, "Contact: *|Expires: 0"), 500, "older");
    assert_eq!(b.status(1, "Contact: *|Expires: 0"), 200, "a repetition");
    assert_eq!(b.location.len(), 3);
    let a = b.register(2, "Contact: *|Expires: 0");
    assert!(a.0.status() == 200 && a.contacts().is_empty());
    assert_eq!(b.records.len(), 3);
    assert_eq!(
        b.status(3, "Contact: *|Expires: 0"),
        200,
        "nothing there: fine"
    );
}

/// RFC 3261 §10.3 step 7: all or nothing, in the order of Call-ID and CSeq.
#[test]
fn all_or_nothing() {
    let mut b = Bench::new();
    b.register(5, "Contact: <sip:a@h>");
    for (cseq, lines, status) in [
        (5, "Contact: <sip:a@h>;expires=0", 200),
        (4, "Contact: <sip:b@h>, <sip:a@h>", 500),
        (4, "Contact: <sip:a@h>;expires=0", 500),
        (6, "Contact: <sip:a@h>;expires=0, <sip:b@h>;expires=5", 423),
        (6, "Contact: <sip:a@h>;expires=0, <sip:b@h>;q=7", 400),
        (6, "Contact: <sip:a@h>;expires=0, <sip:b@ h>", 400),
        (6, "Contact: <sip:1@h>, <sip:2@h>, <sip:3@h>", 403),
        (4, "Contact: <sip:b@h>", 200),
    ] {
        assert_eq!(b.status(cseq, lines), status, "{lines}");
    }
    assert_eq!(b.location.len(), 2);
    // RFC 3261 §10.2.4: the contact's spelling does not matter.
    assert_eq!(
        b.register(7, "Contact: <sip:a@H>;expires=0")
            .contacts()
            .len(),
        1
    );
}

/// RFC 3261 §10.3 steps 2, 4 and 5.
#[test]
fn who_may_register_what() {
    let mut b = Bench::new();
    let contact = "Contact: <sip:a@h>";
    let a = b.register(
        1,
        &format!("{contact}|Require: path, teleport, gruu, 100rel"),
    );
    assert_eq!(a.0.status(), 420);
    assert_eq!(a.one(HeaderName::Unsupported), "teleport, 100rel");
    let status = |b: &mut Bench, to| b.handle(&request(to, "c", 1, contact)).0.status();
    assert_eq!(status(&mut b, "sip:holmes@example.com"), 403);
    assert_eq!(status(&mut b, "sip:watson@example.net"), 404);
    assert_eq!(status(&mut b, "sip:%77atson@EXAMPLE.com;x=y"), 200);
    b.registrant = None;
    assert_eq!(status(&mut b, "sip:holmes@example.com"), 200);
    assert_eq!(status(&mut b, "sip:nobody@example.com"), 404);
    assert_eq!(b.location.lookup(AOR).len(), 1);
}

/// RFC 3327 §5.3.
#[test]
fn path() {
    let mut b = Bench::new();
    let lines = "Contact: <sip:a@10.0.0.1>|Path: <sip:p2.example.net;lr>,<sip:p1.example.net;lr>";
    let a = b.register(1, lines);
    assert_eq!(
        (a.0.status(), a.one(HeaderName::Unsupported)),
        (420, "path")
    );
    let a = b.register(1, &format!("{lines}|Supported: path"));
    assert_eq!(
        a.lines(HeaderName::Path),
        ["<sip:p2.example.net;lr>", "<sip:p1.example.net;lr>"]
    );
    let binding = b.location.lookup(AOR)[0].clone();
    assert_eq!(binding.path().next(), Some("<sip:p2.example.net;lr>"));
    assert!(!binding.behind_nat(), "the source is the proxy's");
    assert_eq!(
        b.status(2, "Contact: <sip:a@h>|Path: nonsense|Supported: path"),
        400
    );
    // An edge proxy that is trusted knows what it does.
    b.flow.remote = "192.0.2.9:5060".parse().unwrap();
    assert_eq!(b.status(2, lines), 200);
}

/// RFC 3608 §6.
#[test]
fn service_route() {
    let mut b = Bench::new();
    assert!(b.register(1, "").lines(HeaderName::ServiceRoute).is_empty());
    b.registrar
        .set_service_routes(vec!["<sip:out.example.com;lr>".into()]);
    let a = b.register(2, "Contact: <sip:a@h>");
    assert_eq!(a.one(HeaderName::ServiceRoute), "<sip:out.example.com;lr>");
}

const FLOW: &str = "Contact: <sip:a@10.0.0.1;transport=tcp>;reg-id=1;\
                    +sip.instance=\"<urn:uuid:0000-1>\"|Supported: path, outbound";

/// RFC 5626 §6.
#[test]
fn outbound_registrations() {
    let mut b = Bench::new();
    b.flow.transport = Transport::Tcp;
    b.flow.connection = Some(crate::base::ConnectionId(1));
    let a = b.register(1, FLOW);
    assert_eq!(a.one(HeaderName::Require), "outbound");
    assert_eq!(a.one(HeaderName::FlowTimer), "120");
    assert_eq!(
        a.contacts(),
        ["<sip:a@10.0.0.1;transport=tcp>;expires=3600;reg-id=1;\
          +sip.instance=\"<urn:uuid:0000-1>\""]
    );
    // Another contact, Call-ID and connection, the same flow number: it replaces.
    b.flow.connection = Some(crate::base::ConnectionId(2));
    let moved = FLOW.replace("10.0.0.1", "10.0.0.2");
    let text = request("sip:watson@example.com", "c2", 1, &moved);
    assert_eq!(b.handle(&text).contacts().len(), 1);
    let second = moved.replace("reg-id=1", "reg-id=2");
    let text = request("sip:watson@example.com", "c2", 2, &second);
    assert_eq!(b.handle(&text).contacts().len(), 2);
    let two = format!("{FLOW}|{}", second.split('|').next().unwrap());
    assert_eq!(b.status(9, &two), 400, "two flows in one request");
}

#[test]
fn when_outbound_does_not_apply() {
    let reg_id = |b: &Bench| b.location.lookup(AOR)[0].reg_id();
    for lines in [
        FLOW.replace(", outbound", ""),
        FLOW.replace("+sip.instance", "instance"),
        FLOW.replace("reg-id=1", "reg-id=0"),
        FLOW.replace("reg-id=1", "reg-id=x"),
        FLOW.replace("reg-id=1", "reg-id=2147483648"),
    ] {
        let mut b = Bench::new();
        let a = b.register(1, &lines);
        assert_eq!(a.0.status(), 200);
        assert!(a.lines(HeaderName::Require).is_empty(), "{lines}");
        assert_eq!(reg_id(&b), 0);
    }
    // Through a proxy that keeps no flows, and through one that does.
    let behind = format!("Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK0|{FLOW}");
    let mut b = Bench::new();
    assert_eq!(b.status(1, &behind), 439);
    assert_eq!(
        b.status(1, &format!("{behind}|Path: <sip:x@edge;lr;ob>, <sip:p;lr>")),
        439
    );
    let a = b.register(1, &format!("{behind}|Path: <sip:p;lr>, <sip:x@edge;lr;ob>"));
    assert_eq!(a.one(HeaderName::Require), "outbound");
    assert!(a.lines(HeaderName::FlowTimer).is_empty());
    assert_eq!(reg_id(&b), 1);
}

const INSTANCE: &str =
    "Contact: <sip:a@10.0.0.1>;+sip.instance=\"<urn:uuid:00-aF>\"|Supported: gruu";

fn gruu(answer: &Answer, name: &str) -> String {
    let contact = answer
        .0
        .addresses(HeaderName::Contact)
        .next()
        .unwrap()
        .unwrap();
    let value = contact.param(name).flatten().unwrap();
    String::from_utf8(value.to_vec()).unwrap()
}

fn resolve(b: &Bench, uri: &str) -> Option<usize> {
    let uri = Uri::parse(uri.as_bytes()).unwrap();
    match b
        .registrar
        .gruus()
        .resolve(&b.location, &uri, "example.com")
    {
        Resolved::NotGruu => panic!("{uri:?}"),
        Resolved::Unknown => None,
        Resolved::Instance(bindings) => Some(bindings.len()),
    }
}

/// RFC 5627 §5.
#[test]
fn gruus_are_given_and_found() {
    let mut b = Bench::new();
    let plain = b.register(1, &INSTANCE.replace("|Supported: gruu", ""));
    assert!(
        !plain.contacts()[0].contains("gruu"),
        "the phone does not know them"
    );
    let first = b.register(2, INSTANCE);
    let public = gruu(&first, "pub-gruu");
    assert_eq!(public, "sip:watson@example.com;gr=urn:uuid:00-aF");
    let temporary = gruu(&first, "temp-gruu");
    assert!(!temporary.contains("watson") && temporary.ends_with("@example.com;gr"));
    let next = gruu(&b.register(3, INSTANCE), "temp-gruu");
    assert_ne!(temporary, next);
    for uri in [&public, &temporary, &next] {
        assert_eq!(resolve(&b, uri), Some(1), "{uri}");
    }
    assert_eq!(resolve(&b, &public.replace("aF", "AF")), Some(1));
    assert_eq!(
        resolve(&b, &public.replace("aF", "bF")),
        Some(0),
        "480, not 404"
    );
    // Under a new Call-ID the temporary ones are dead, the public one lives.
    b.handle(&request("sip:watson@example.com", "c2", 1, INSTANCE));
    assert_eq!(resolve(&b, &temporary), None);
    assert_eq!(resolve(&b, &public), Some(1));
    // A registrar of another secret does not know them, nor does anybody forge them.
    let fresh = gruu(&b.register(9, INSTANCE), "temp-gruu");
    assert_eq!(resolve(&b, &fresh), Some(1));
    for at in 4..fresh.find('@').unwrap() {
        for other in ["0", "z", "A", "v"] {
            let mut forged = fresh.clone();
            forged.replace_range(at..=at, other);
            assert!(
                forged == fresh || resolve(&b, &forged).is_none(),
                "{forged}"
            );
        }
        let short = format!("{}@example.com;gr", &fresh[..at.max(5)]);
        assert_eq!(resolve(&b, &short), None);
    }
    b.registrar = Registrar::new(&[8; 32]);
    assert_eq!(resolve(&b, &fresh), None);
    assert_eq!(
        b.status(20, &format!("Contact: <{public}>")),
        403,
        "it would go round"
    );
}

#[test]
fn gruus_survive_odd_names() {
    let mut b = Bench::new();
    let odd = "a b@c%";
    let aor: &'static str = "a b@c%@example.com";
    b.registrant = Some(aor);
    let to = "sip:a%20b%40c%25@example.com";
    let answer = b.handle(&request(to, "c", 1, INSTANCE));
    assert_eq!(answer.0.status(), 200);
    for name in ["pub-gruu", "temp-gruu"] {
        let uri = gruu(&answer, name);
        assert_eq!(resolve(&b, &uri), Some(1), "{uri}");
        assert!(!uri.contains(odd));
    }
}

#[test]
fn phones_behind_nat_are_known() {
    let mut b = Bench::new();
    b.register(1, "Contact: <sip:w@192.168.1.20:5060>");
    let binding = b.location.lookup(AOR)[0].clone();
    assert!(binding.behind_nat() && binding.reach() == Reach::Flow);
    b.register(2, "Contact: *|Expires: 0");
    b.register(3, "Contact: <sip:w@203.0.113.99:5080>");
    assert_eq!(b.location.lookup(AOR)[0].reach(), Reach::Contact);
    b.register(4, "Contact: *|Expires: 0");
    b.register(5, "Contact: <sip:w@198.51.100.7>");
    assert_eq!(b.location.lookup(AOR)[0].reach(), Reach::Flow);
}

#[test]
fn too_much_is_refused() {
    let long = |n| "x".repeat(n);
    let mut b = Bench::new();
    for (lines, status) in [
        (format!("Contact: <sip:{}@h>", long(CONTACT_BYTES_MAX)), 400),
        (
            format!("Contact: <sip:a@h>;x={}", long(PARAMETER_BYTES_MAX)),
            400,
        ),
        (
            format!(
                "Contact: <sip:a@h>|Supported: path|Path: <sip:{};lr>",
                long(PATH_BYTES_MAX)
            ),
            400,
        ),
        (
            format!("Contact: {}<sip:a@h>", "<sip:a@h>,".repeat(CONTACTS_MAX)),
            403,
        ),
    ] {
        assert_eq!(b.status(1, &lines), status, "{}", &lines[..60]);
    }
    let text = request(
        "sip:watson@example.com",
        &long(CALL_ID_BYTES_MAX + 1),
        1,
        "Contact: <sip:a@h>",
    );
    assert_eq!(b.handle(&text).0.status(), 400);
    b.location.set_limits(Limits {
        contacts_per_aor: 3,
        contacts: 0,
    });
    let full = b.register(1, "Contact: <sip:a@h>");
    assert_eq!(
        (full.0.status(), full.one(HeaderName::RetryAfter)),
        (503, "60")
    );
    let agent = format!("Contact: <sip:a@h>|User-Agent: {}", long(5000));
    b.location.set_limits(Limits::default());
    b.register(2, &agent);
    assert_eq!(
        b.location.lookup(AOR)[0].user_agent().len(),
        USER_AGENT_BYTES_MAX
    );
}

/// The registrar's messages of RFC 4475, as they are.
#[test]
fn torture() {
    let read = |name: &str| {
        let path = format!("tests/data/rfc4475/{name}.dat");
        String::from_utf8(std::fs::read(path).unwrap()).unwrap()
    };
    // Who sent them is not the question here.
    let mut b = Bench::new();
    b.registrant = None;
    let a = b.handle(&read("regbadct"));
    assert_eq!(a.0.status(), 400);
    let a = b.handle(&read("regescrt"));
    assert_eq!(
        a.contacts(),
        ["<sip:user@example.com?Route=%3Csip:sip.example.com%3E>;expires=3600"]
    );
    let a = b.handle(&read("cparam01"));
    assert_eq!(
        a.contacts(),
        ["<sip:+19725552222@gw1.example.net>;expires=3600;unknownparam"]
    );
    let a = b.handle(&read("cparam02"));
    // Another Call-ID; the same URI but for a parameter that need not stand in both (§19.1.4).
    assert_eq!(
        a.contacts(),
        ["<sip:+19725552222@gw1.example.net;unknownparam>;expires=3600"]
    );
    assert_eq!(
        b.handle(&read("regaut01")).0.status(),
        200,
        "the scheme is admission's affair"
    );
}

/// Whatever stands in a REGISTER, the answer is a good message and the table stays within bounds.
#[test]
fn nothing_breaks_it() {
    let seeds = [
        request("sip:watson@example.com", "c", 9, FLOW),
        request("sip:watson@example.com", "c", 9, INSTANCE),
        request("sip:watson@example.com", "c", 9, "Contact: *|Expires: 0"),
        request(
            "sip:watson@example.com",
            "c",
            9,
            "Contact: \"W\" <sip:w@[2001:db8::1]:5060;x=y?a=b>;q=0.5;expires=60,<tel:+1>|\
             Path: <sip:p;lr;ob>|Supported: path, gruu, outbound|User-Agent: x|Require: gruu",
        ),
    ];
    const BYTES: &[u8] = b"\0\r\n \t\"<>;,=?@%*:[]\\1aZ\xff\xc3";
    let mut b = Bench::new();
    let mut answers = [0usize; 7];
    for seed in 0..6000u64 {
        let mut rng = crate::base::Rng::from_u64(seed);
        let mut bytes = seeds[rng.below(seeds.len() as u64) as usize]
            .clone()
            .into_bytes();
        for _ in 0..1 + rng.below(4) {
            // Behind Via, which the answer copies as it is.
            let at = 90 + rng.below(bytes.len() as u64 - 90) as usize;
            match rng.below(3) {
                0 => bytes[at] = BYTES[rng.below(BYTES.len() as u64) as usize],
                1 => bytes.insert(at, BYTES[rng.below(BYTES.len() as u64) as usize]),
                _ => drop(bytes.remove(at)),
            }
        }
        let Ok(message) = Message::parse(Bytes::from(bytes)) else {
            continue;
        };
        if message.validate().is_err() {
            continue;
        }
        let outcome = b.registrar.handle(&Registration {
            now: b.now,
            anchor: Anchor::default(),
            location: &b.location,
            directory: &b.directory,
            config: &b.config,
            message: &message,
            flow: &b.flow,
            aor: Some(AOR),
            registrant: Registrant::User(AOR),
            to_tag: b"totag",
        });
        let answer = Message::parse(outcome.response).unwrap();
        assert_eq!(answer.validate(), Ok(()), "{message:?}");
        answers[usize::from(answer.status() / 100)] += 1;
        assert!(b.location.lookup(AOR).len() <= 3);
        b.now += Duration::from_secs(1);
        b.location.expire(b.now);
    }
    assert!(answers[2] > 1000 && answers[4] > 100, "{answers:?}");
}
