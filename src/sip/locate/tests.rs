//! Locating against a zone in memory.

use super::*;

/// A zone that answers questions, and counts them.
struct Zone {
    records: Vec<(&'static str, DnsRecord)>,
    asked: Vec<String>,
}

fn naptr(order: u16, preference: u16, service: &str, replacement: &str) -> DnsRecord {
    DnsRecord::Naptr {
        order,
        preference,
        flags: "s".into(),
        service: service.into(),
        replacement: replacement.into(),
    }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> DnsRecord {
    DnsRecord::Srv {
        priority,
        weight,
        port,
        target: target.into(),
    }
}

fn a(address: &str) -> DnsRecord {
    DnsRecord::A(address.parse().unwrap())
}

impl Zone {
    fn new(records: Vec<(&'static str, DnsRecord)>) -> Self {
        Self {
            records,
            asked: Vec::new(),
        }
    }

    fn answer(&mut self, question: &DnsQuestion) -> DnsAnswer {
        self.asked
            .push(format!("{:?} {}", question.kind, question.name));
        let records: Vec<DnsRecord> = self
            .records
            .iter()
            .filter(|(name, _)| *name == &*question.name)
            .map(|(_, record)| record.clone())
            .filter(|record| {
                question.kind
                    == match record {
                        DnsRecord::Naptr { .. } => DnsKind::Naptr,
                        DnsRecord::Srv { .. } => DnsKind::Srv,
                        DnsRecord::A(_) => DnsKind::A,
                        DnsRecord::Aaaa(_) => DnsKind::Aaaa,
                    }
            })
            .collect();
        let ttl = Duration::from_secs(60);
        if records.is_empty() {
            DnsAnswer::NotFound { ttl }
        } else {
            DnsAnswer::Found { records, ttl }
        }
    }
}

struct Rig {
    locator: Locator,
    zone: Zone,
    now: Instant,
}

impl Rig {
    fn new(records: Vec<(&'static str, DnsRecord)>) -> Self {
        Self {
            locator: Locator::new(Rng::from_u64(5)),
            zone: Zone::new(records),
            now: Instant::from_millis(1000),
        }
    }

    fn find(&mut self, uri: &str) -> Result<Vec<String>, LocateError> {
        let uri = Uri::parse(uri.as_bytes()).unwrap();
        let found = match self.locator.start(self.now, &uri) {
            Located::Ready(list) => Ok(list),
            Located::Pending(id) => {
                while let Some((query, question)) = self.locator.poll_question() {
                    let answer = self.zone.answer(&question);
                    self.locator.answer(self.now, query, answer);
                }
                let (done, found) = self.locator.poll_done().expect("a result");
                assert_eq!(done, id);
                found
            }
        };
        found.map(|list| list.iter().map(show).collect())
    }
}

fn show(destination: &Destination) -> String {
    let name = match destination {
        Destination::Address {
            tls_name: Some(name),
            ..
        } => format!(" {name}"),
        Destination::Address { .. } | Destination::Flow(_) => String::new(),
    };
    format!(
        "{} {}{name}",
        destination.transport().uri_token(),
        destination.remote()
    )
}

#[test]
fn numeric_hosts_ask_nobody() {
    let mut rig = Rig::new(vec![]);
    for (uri, expected) in [
        ("sip:192.0.2.1", "udp 192.0.2.1:5060"),
        ("sip:a@192.0.2.1:5070", "udp 192.0.2.1:5070"),
        ("sip:192.0.2.1;transport=tcp", "tcp 192.0.2.1:5060"),
        ("sips:192.0.2.1", "tls 192.0.2.1:5061 192.0.2.1"),
        (
            "sips:192.0.2.1;transport=tcp",
            "tls 192.0.2.1:5061 192.0.2.1",
        ),
        ("sip:[2001:db8::1]:5080", "udp [2001:db8::1]:5080"),
        ("sip:example.com;maddr=192.0.2.9", "udp 192.0.2.9:5060"),
    ] {
        assert_eq!(rig.find(uri), Ok(vec![expected.to_string()]), "{uri}");
    }
    assert_eq!(rig.find("sips:192.0.2.1;transport=udp"), Ok(vec![]));
    assert_eq!(rig.find("sip:192.0.2.1;transport=sctp"), Ok(vec![]));
    assert_eq!(rig.find("tel:+34915550100"), Ok(vec![]));
    assert!(rig.zone.asked.is_empty());
}

#[test]
fn explicit_port_asks_for_addresses_only() {
    let mut rig = Rig::new(vec![("example.com", a("192.0.2.1"))]);
    let found = rig.find("sip:EXAMPLE.com.:5070").unwrap();
    assert_eq!(found, ["udp 192.0.2.1:5070"]);
    assert_eq!(rig.zone.asked, ["A example.com", "Aaaa example.com"]);
}

/// The example of RFC 3263 §4.1: TLS before TCP before UDP.
#[test]
fn naptr_orders_transports() {
    let mut rig = Rig::new(vec![
        (
            "example.com",
            naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com."),
        ),
        (
            "example.com",
            naptr(90, 50, "SIP+D2T", "_sip._tcp.example.com"),
        ),
        (
            "example.com",
            naptr(100, 50, "SIP+D2U", "_sip._udp.example.com"),
        ),
        (
            "_sips._tcp.example.com",
            srv(0, 1, 5061, "server1.example.com"),
        ),
        (
            "_sip._tcp.example.com",
            srv(0, 1, 5060, "server1.example.com"),
        ),
        (
            "_sip._udp.example.com",
            srv(0, 1, 5060, "server2.example.com"),
        ),
        ("server1.example.com", a("192.0.2.1")),
        ("server2.example.com", a("192.0.2.2")),
    ]);
    assert_eq!(
        rig.find("sip:bob@example.com").unwrap(),
        [
            "tls 192.0.2.1:5061 example.com",
            "tcp 192.0.2.1:5060",
            "udp 192.0.2.2:5060"
        ]
    );
    let secure = rig.find("sips:bob@example.com").unwrap();
    assert_eq!(secure, ["tls 192.0.2.1:5061 example.com"]);
}

#[test]
fn without_naptr_every_srv_is_asked_and_without_srv_the_host() {
    let mut rig = Rig::new(vec![
        ("_sip._tcp.example.com", srv(0, 1, 5070, "s.example.com")),
        ("s.example.com", a("192.0.2.1")),
        ("example.org", a("192.0.2.2")),
    ]);
    assert_eq!(rig.find("sip:example.com").unwrap(), ["tcp 192.0.2.1:5070"]);
    assert_eq!(rig.find("sip:example.org").unwrap(), ["udp 192.0.2.2:5060"]);
    let tcp = rig.find("sip:example.org;transport=tcp").unwrap();
    assert_eq!(tcp, ["tcp 192.0.2.2:5060"]);
    assert_eq!(rig.find("sip:example.net"), Err(LocateError::NotFound));
}

#[test]
fn dot_means_not_offered() {
    let mut rig = Rig::new(vec![
        ("_sip._udp.example.com", srv(0, 0, 0, ".")),
        ("_sip._tcp.example.com", srv(0, 0, 5060, "s.example.com")),
        ("s.example.com", a("192.0.2.1")),
    ]);
    assert_eq!(rig.find("sip:example.com").unwrap(), ["tcp 192.0.2.1:5060"]);
}

#[test]
fn priorities_bind_and_weights_share() {
    let mut first = [0u32; 3];
    for seed in 0..2000 {
        let mut rng = Rng::from_u64(seed);
        let records = [
            srv(10, 0, 9, "last"),
            srv(1, 10, 1, "small"),
            srv(1, 30, 2, "big"),
            srv(1, 0, 3, "zero"),
        ];
        let drawn = plan::tests_by_weight(&records, &mut rng);
        assert_eq!(drawn.len(), 4);
        assert_eq!(drawn[3], 9);
        first[usize::from(drawn[0] - 1)] += 1;
    }
    let [small, big, zero] = first;
    assert!((380..600).contains(&small), "{first:?}");
    assert!((1300..1600).contains(&big), "{first:?}");
    assert!(zero < 120, "{first:?}");
}

#[test]
fn answers_are_kept_for_their_ttl() {
    let mut rig = Rig::new(vec![("example.com", a("192.0.2.1"))]);
    rig.find("sip:example.com:5060").unwrap();
    rig.find("sip:example.com:5060").unwrap();
    assert_eq!(rig.zone.asked.len(), 2);
    rig.now += Duration::from_secs(61);
    rig.find("sip:example.com:5060").unwrap();
    assert_eq!(rig.zone.asked.len(), 4);
}

#[test]
fn a_question_is_asked_once_for_all() {
    let mut rig = Rig::new(vec![("example.com", a("192.0.2.1"))]);
    let uri = Uri::parse(b"sip:example.com:5060").unwrap();
    let searches: Vec<Located> = (0..50).map(|_| rig.locator.start(rig.now, &uri)).collect();
    while let Some((query, question)) = rig.locator.poll_question() {
        let answer = rig.zone.answer(&question);
        rig.locator.answer(rig.now, query, answer);
    }
    assert_eq!(rig.zone.asked.len(), 2);
    for search in searches {
        let (id, found) = rig.locator.poll_done().unwrap();
        assert_eq!(search, Located::Pending(id));
        assert_eq!(found.unwrap().len(), 1);
    }
    assert_eq!(rig.locator.searches(), 0);
}

#[test]
fn silence_and_failure_end() {
    let mut rig = Rig::new(vec![]);
    let uri = Uri::parse(b"sip:example.com:5060").unwrap();
    let Located::Pending(id) = rig.locator.start(rig.now, &uri) else {
        panic!("an answer from nowhere");
    };
    rig.now = rig.locator.poll_timeout().unwrap();
    rig.locator.handle_timeout(rig.now);
    assert_eq!(
        rig.locator.poll_done(),
        Some((id, Err(LocateError::Unavailable)))
    );
    assert_eq!(rig.locator.poll_timeout(), None);
    // The failure holds for a moment.
    assert_eq!(rig.locator.start(rig.now, &uri), Located::Ready(vec![]));
}

#[test]
fn tables_are_bounded() {
    let mut rig = Rig::new(vec![]);
    let start = |rig: &mut Rig, n: usize| {
        let uri = format!("sip:h{n}.example.com:5060");
        let uri = Uri::parse(uri.as_bytes()).unwrap();
        rig.locator.start(rig.now, &uri)
    };
    let pending = (0..SEARCHES_MAX + 10)
        .filter(|n| matches!(start(&mut rig, *n), Located::Pending(_)))
        .count();
    assert!(pending <= SEARCHES_MAX);
    assert!(std::iter::from_fn(|| rig.locator.poll_question()).count() <= QUERIES_MAX);
    rig.now += QUERY_TIMEOUT;
    rig.locator.handle_timeout(rig.now);
    assert_eq!(rig.locator.searches(), 0);
    for n in 0..2 * cache::ANSWERS_MAX {
        rig.now += Duration::from_secs(10);
        let _ = start(&mut rig, n + 100_000);
        while let Some((query, question)) = rig.locator.poll_question() {
            let answer = rig.zone.answer(&question);
            rig.locator.answer(rig.now, query, answer);
        }
        while rig.locator.poll_done().is_some() {}
    }
    assert!(rig.locator.cache.len() <= cache::ANSWERS_MAX);
}

#[test]
fn failed_addresses_go_last_for_a_while() {
    let mut rig = Rig::new(vec![
        ("example.com", a("192.0.2.1")),
        ("example.com", a("192.0.2.2")),
    ]);
    let uri = "sip:example.com:5060";
    assert_eq!(rig.find(uri).unwrap()[0], "udp 192.0.2.1:5060");
    let first = Destination::Address {
        transport: Transport::Udp,
        remote: "192.0.2.1:5060".parse().unwrap(),
        tls_name: None,
    };
    rig.locator.failed(rig.now, &first);
    assert_eq!(rig.find(uri).unwrap()[0], "udp 192.0.2.2:5060");
    rig.now += PENALTY;
    assert_eq!(rig.find(uri).unwrap()[0], "udp 192.0.2.1:5060");
}

#[test]
fn families_that_we_lack_are_not_asked_for() {
    let mut rig = Rig::new(vec![("example.com", a("192.0.2.1"))]);
    rig.locator.configure(Abilities {
        transports: vec![Transport::Udp],
        families: Families::V4,
    });
    assert_eq!(rig.find("sip:example.com").unwrap(), ["udp 192.0.2.1:5060"]);
    assert!(
        rig.zone
            .asked
            .iter()
            .all(|q| !q.contains("Aaaa") && !q.contains("_tcp"))
    );
    assert_eq!(rig.find("sip:[2001:db8::1]"), Ok(vec![]));
    assert_eq!(rig.find("sip:192.0.2.1;transport=tcp"), Ok(vec![]));
}
