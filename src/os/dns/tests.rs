//! The resolver against a server that the test runs.

use super::*;
use crate::os::switch::Work;
use hickory_resolver::proto::op::{Message, MessageType};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, NAPTR, SRV};
use std::collections::{BTreeMap, VecDeque};
use std::net::UdpSocket;
use std::task::Poll;

/// Answers from a fixed zone; names under `silent.test` get no answer, under `broken.test` an error.
fn serve(socket: UdpSocket) {
    let name = |s: &str| Name::from_ascii(s).unwrap();
    let record = |owner: &str, ttl, data| Record::from_rdata(name(owner), ttl, data);
    let zone = [
        record(
            "example.test.",
            300,
            RData::NAPTR(NAPTR::new(
                10,
                20,
                b"s".to_vec().into(),
                b"SIP+D2T".to_vec().into(),
                Vec::new().into(),
                name("_sip._tcp.example.test."),
            )),
        ),
        record(
            "_sip._tcp.example.test.",
            60,
            RData::SRV(SRV::new(1, 2, 5070, name("Alpha.Example.TEST."))),
        ),
        record("alpha.example.test.", 30, RData::A(A::new(192, 0, 2, 1))),
        record("alpha.example.test.", 20, RData::A(A::new(192, 0, 2, 2))),
        record(
            "alpha.example.test.",
            40,
            RData::AAAA(AAAA("2001:db8::1".parse().unwrap())),
        ),
        record(
            "alias.example.test.",
            5,
            RData::CNAME(CNAME(name("alpha.example.test."))),
        ),
    ];
    std::thread::spawn(move || {
        let mut space = [0; 1500];
        while let Ok((n, from)) = socket.recv_from(&mut space) {
            let asked = Message::from_vec(&space[..n]).unwrap();
            let query = asked.queries[0].clone();
            let owner = query.name().to_lowercase();
            if owner.to_ascii().ends_with("silent.test.") {
                continue;
            }
            let mut reply = Message::response(asked.metadata.id, asked.metadata.op_code);
            reply.metadata.message_type = MessageType::Response;
            reply.metadata.recursion_desired = asked.metadata.recursion_desired;
            reply.metadata.recursion_available = true;
            reply.add_query(query.clone());
            let mut owners = vec![owner.clone()];
            for r in &zone {
                if r.name == owner
                    && let RData::CNAME(target) = &r.data
                {
                    reply.add_answer(r.clone());
                    owners.push(target.0.clone());
                }
            }
            for r in &zone {
                if owners.contains(&r.name) && r.record_type() == query.query_type() {
                    reply.add_answer(r.clone());
                }
            }
            if owner.to_ascii().ends_with("broken.test.") {
                reply.metadata.response_code = ResponseCode::ServFail;
            } else if !zone.iter().any(|r| r.name == owner) {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            let _ = socket.send_to(&reply.to_vec().unwrap(), from);
        }
    });
}

/// Asks everything at once and waits for all answers.
fn ask(questions: &[(&str, DnsKind)]) -> Vec<DnsAnswer> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = socket.local_addr().unwrap();
    serve(socket);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let switch = Arc::new(Switch::new(1));
        let dns = Dns::new(&[server], Arc::default(), Net::direct());
        for (i, (name, kind)) in questions.iter().enumerate() {
            let question = DnsQuestion {
                name: (*name).into(),
                kind: *kind,
            };
            dns.ask(&switch, 0, i as u64, question);
        }
        let mut got = BTreeMap::new();
        let mut inputs = VecDeque::new();
        let all = std::future::poll_fn(|cx| {
            loop {
                switch.inbox(0).unwrap().take(&mut inputs, cx.waker());
                if inputs.is_empty() {
                    return Poll::Pending;
                }
                for work in inputs.drain(..) {
                    if let Work::Input(Input::Resolved { query, answer }) = work {
                        got.insert(query, answer);
                    }
                }
                if got.len() == questions.len() {
                    return Poll::Ready(());
                }
            }
        });
        tokio::time::timeout(Duration::from_secs(20), all)
            .await
            .unwrap();
        got.into_values().collect()
    })
}

#[test]
fn every_kind_of_record_comes_with_its_ttl() {
    let answers = ask(&[
        ("example.test", DnsKind::Naptr),
        ("_sip._tcp.example.test", DnsKind::Srv),
        ("alpha.example.test", DnsKind::A),
        ("alpha.example.test", DnsKind::Aaaa),
        ("alias.example.test", DnsKind::A),
    ]);
    let found = |records: Vec<DnsRecord>, ttl| DnsAnswer::Found {
        records,
        ttl: Duration::from_secs(ttl),
    };
    let a = |last| DnsRecord::A(std::net::Ipv4Addr::new(192, 0, 2, last));
    let naptr = DnsRecord::Naptr {
        order: 10,
        preference: 20,
        flags: "s".into(),
        service: "SIP+D2T".into(),
        replacement: "_sip._tcp.example.test".into(),
    };
    let srv = DnsRecord::Srv {
        priority: 1,
        weight: 2,
        port: 5070,
        target: "alpha.example.test".into(),
    };
    assert_eq!(answers[0], found(vec![naptr], 300));
    assert_eq!(answers[1], found(vec![srv], 60));
    assert_eq!(answers[2], found(vec![a(1), a(2)], 20));
    let aaaa = DnsRecord::Aaaa("2001:db8::1".parse().unwrap());
    assert_eq!(answers[3], found(vec![aaaa], 40));
    assert_eq!(answers[4], found(vec![a(1), a(2)], 5));
}

#[test]
fn what_is_missing_differs_from_what_fails() {
    let answers = ask(&[
        ("nobody.test", DnsKind::A),
        ("alpha.example.test", DnsKind::Srv),
        ("x.broken.test", DnsKind::A),
        ("x.silent.test", DnsKind::A),
    ]);
    assert!(matches!(answers[0], DnsAnswer::NotFound { .. }));
    assert!(matches!(answers[1], DnsAnswer::NotFound { .. }));
    assert_eq!(answers[2], DnsAnswer::Failed);
    assert_eq!(answers[3], DnsAnswer::Failed);
}

#[test]
fn questions_past_the_bound_fail_at_once() {
    let names: Vec<String> = (0..QUESTIONS_MAX + 3)
        .map(|i| format!("{i}.silent.test"))
        .collect();
    let questions: Vec<(&str, DnsKind)> = names.iter().map(|n| (n.as_str(), DnsKind::A)).collect();
    let answers = ask(&questions);
    assert!(answers.iter().all(|a| *a == DnsAnswer::Failed));
}
