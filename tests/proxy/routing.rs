//! Checks, Route preprocessing, targets, next hops: RFC 3261 §16.3 to §16.6.

use crate::world::{Peer, TRUSTED, World, header, req, text, values};
use std::time::Duration;
use voip::base::{Destination, Transport};
use voip::sip::locate::{DnsAnswer, DnsKind, DnsRecord};
use voip::wire::sip::{HeaderName, Method};

fn gateway() -> Peer {
    Peer::udp(TRUSTED)
}

#[test]
fn what_is_wrong_is_said() {
    let mut w = World::new();
    let peer = gateway();
    let mut n = 0;
    let mut ask = |method: &str, uri: &str, hops: u8, extra: &str, to_tag: &str| {
        n += 1;
        let branch = format!("z9hG4bKx{n}");
        let mut request = req(method, uri);
        request.extra = extra.into();
        (request.branch, request.max_forwards, request.to_tag) = (&branch, hops, to_tag);
        w.send(&peer, &request);
        w.take(&peer)
    };
    assert_eq!(
        ask("INVITE", "sip:900@example.com", 70, "", "").status(),
        404
    );
    assert_eq!(
        ask("INVITE", "sip:200@example.com", 70, "", "").status(),
        480
    );
    assert_eq!(
        ask("INVITE", "sip:200@example.com", 0, "", "").status(),
        483
    );
    assert_eq!(ask("INVITE", "urn:service:sos", 70, "", "").status(), 416);
    assert_eq!(ask("INVITE", "sip:example.com", 70, "", "").status(), 405);
    assert_eq!(ask("BYE", "sip:192.0.2.10", 70, "", "t").status(), 481);
    assert_eq!(
        ask("INVITE", "tel:+34-915-550-100", 70, "", "").status(),
        404
    );
    let refused = ask(
        "INVITE",
        "sip:200@example.com",
        70,
        "Proxy-Require: foo, bar\r\n",
        "",
    );
    assert_eq!(refused.status(), 420);
    assert_eq!(values(&refused, HeaderName::Unsupported), ["foo", "bar"]);
    let options = ask("OPTIONS", "sip:example.com", 70, "", "");
    assert_eq!(options.status(), 200);
    for name in [HeaderName::Allow, HeaderName::Accept, HeaderName::Supported] {
        assert!(options.has(name), "{name:?}");
    }
    assert_eq!(
        ask("OPTIONS", "sip:200@example.com", 0, "", "").status(),
        200
    );
    assert_eq!(
        ask("OPTIONS", "sip:192.0.2.10:5060", 70, "", "").status(),
        200
    );
}

#[test]
fn a_stray_cancel_is_answered() {
    let mut w = World::new();
    w.send(&gateway(), &req("CANCEL", "sip:200@example.com"));
    assert_eq!(w.status(&gateway()), 481);
}

#[test]
fn the_copy_is_what_the_rfc_says() {
    let phone = Peer::udp("203.0.113.21:5060");
    let mut w = World::new();
    w.register("200", &phone, "");
    let body = "v=0\r\n";
    let mut request = req("INVITE", "sip:200@example.com")
        .extra("Route: <sip:192.0.2.10;lr>")
        .extra("X-Odd:  kept  ");
    request.body = body;
    w.send(&gateway(), &request);
    let copy = w.take(&phone);
    assert_eq!(copy.request_uri(), b"sip:200@203.0.113.21:5060");
    assert_eq!(copy.max_forwards(), Ok(Some(69)));
    assert_eq!(header(&copy, HeaderName::MaxBreadth), "60");
    assert!(!copy.has(HeaderName::Route));
    let vias = values(&copy, HeaderName::Via);
    assert_eq!(vias.len(), 2);
    assert!(
        vias[0].starts_with("SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK"),
        "{vias:?}"
    );
    assert!(
        vias[1].contains(";received=198.51.100.9;rport=5060"),
        "{vias:?}"
    );
    assert_eq!(copy.header_by_str("X-Odd"), Some(b"kept".as_slice()));
    assert_eq!(copy.body(), body.as_bytes());
    let routes = values(&copy, HeaderName::RecordRoute);
    assert_eq!(routes.len(), 1);
    assert!(routes[0].ends_with("@192.0.2.10:5060;lr>"), "{routes:?}");
}

#[test]
fn a_loop_is_found_and_a_spiral_passes() {
    let mut w = World::new();
    let peer = gateway();
    let outside = Peer::udp("198.18.0.1:5060");
    w.send(&peer, &req("INVITE", "sip:bob@198.18.0.1"));
    let copy = w.take(&outside);
    let back = Peer::udp("198.51.100.7:5060");
    let via = "Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKq";
    let mut again = text(copy.bytes()).replacen("Via:", &format!("{via}1\r\nVia:"), 1);
    w.from(&back, again.clone());
    assert_eq!(w.status(&back), 482);
    // With another target it is a spiral.
    again = again.replacen("sip:bob@198.18.0.1", "sip:carol@198.18.0.1", 1);
    again = again.replacen(&format!("{via}1"), &format!("{via}2"), 1);
    w.from(&back, again);
    assert_eq!(w.take(&outside).request_uri(), b"sip:carol@198.18.0.1");
}

#[test]
fn routes_are_followed_loose_and_strict() {
    let mut w = World::new();
    let peer = gateway();
    let next = Peer::udp("198.18.0.5:5060");
    let request = req("MESSAGE", "sip:bob@198.18.0.1")
        .extra("Route: <sip:192.0.2.10;lr>, <sip:198.18.0.5;lr>, <sip:198.18.0.6;lr>");
    w.send(&peer, &request);
    let copy = w.take(&next);
    assert_eq!(copy.request_uri(), b"sip:bob@198.18.0.1");
    let routes = values(&copy, HeaderName::Route);
    assert_eq!(routes, ["<sip:198.18.0.5;lr>", "<sip:198.18.0.6;lr>"]);

    let mut request =
        req("MESSAGE", "sip:bob@198.18.0.1").extra("Route: <sip:198.18.0.5>, <sip:198.18.0.6;lr>");
    request.branch = "z9hG4bKa2";
    w.send(&peer, &request);
    let copy = w.take(&next);
    assert_eq!(copy.request_uri(), b"sip:198.18.0.5");
    let routes = values(&copy, HeaderName::Route);
    assert_eq!(routes, ["<sip:198.18.0.6;lr>", "<sip:bob@198.18.0.1>"]);
}

#[test]
fn our_maddr_is_taken_off() {
    let mut w = World::new();
    let next = Peer::udp("198.18.0.1:5060");
    let uri = "sip:bob@198.18.0.1;maddr=192.0.2.10;x=1";
    w.send(&gateway(), &req("MESSAGE", uri));
    assert_eq!(w.take(&next).request_uri(), b"sip:bob@198.18.0.1;x=1");
}

#[test]
fn another_domain_is_looked_up_and_the_next_server_tried() {
    let mut w = World::new();
    let peer = gateway();
    let mut request = req("INVITE", "sip:bob@other.example");
    request.max_forwards = 10;
    w.send(&peer, &request);
    let ttl = Duration::from_secs(60);
    let servers = [Peer::udp("198.18.0.1:5060"), Peer::udp("198.18.0.2:5060")];
    while !w.questions.is_empty() {
        let (query, question) = w.questions.remove(0);
        let records = match (question.kind, &*question.name) {
            (DnsKind::Srv, "_sip._udp.other.example") => {
                let srv = |priority, target: &str| DnsRecord::Srv {
                    priority,
                    weight: 1,
                    port: 5060,
                    target: target.into(),
                };
                vec![srv(1, "one.example"), srv(2, "two.example")]
            }
            (DnsKind::A, "one.example") => vec![DnsRecord::A([198, 18, 0, 1].into())],
            (DnsKind::A, "two.example") => vec![DnsRecord::A([198, 18, 0, 2].into())],
            _ => Vec::new(),
        };
        let answer = match records.is_empty() {
            true => DnsAnswer::NotFound { ttl },
            false => DnsAnswer::Found { records, ttl },
        };
        w.resolve(query, answer);
    }
    // RFC 3263 §4.3: 503 leads to the next.
    let first = w.take(&servers[0]);
    w.answer(&servers[0], &first, 503, "t");
    assert_eq!(w.take(&servers[0]).method(), Method::Ack);
    let second = w.take(&servers[1]);
    assert_ne!(
        first.top_via().unwrap().branch(),
        second.top_via().unwrap().branch()
    );
    w.answer(&servers[1], &second, 200, "t");
    assert_eq!(w.status(&peer), 200);
}

#[test]
fn a_domain_that_is_not_there() {
    let mut w = World::new();
    w.send(&gateway(), &req("INVITE", "sip:bob@nowhere.example"));
    while !w.questions.is_empty() {
        let (query, _) = w.questions.remove(0);
        let ttl = Duration::from_secs(60);
        w.resolve(query, DnsAnswer::NotFound { ttl });
    }
    assert_eq!(w.status(&gateway()), 404);
}

#[test]
fn a_cancel_while_dns_is_asked() {
    let mut w = World::new();
    w.send(&gateway(), &req("INVITE", "sip:bob@slow.example"));
    w.send(&gateway(), &req("CANCEL", "sip:bob@slow.example"));
    assert_eq!(w.status(&gateway()), 200);
    assert_eq!(w.status(&gateway()), 487);
    w.nothing();
}

/// RFC 3261 §18.1.1, and back to UDP where TCP fails.
#[test]
fn what_is_too_big_for_udp_goes_by_tcp() {
    let mut w = World::new();
    let outside = Peer::udp("198.18.0.1:5060");
    let body = "v=0\r\n".repeat(300);
    let mut request = req("INVITE", "sip:bob@198.18.0.1");
    request.body = &body;
    w.send(&gateway(), &request);
    let sent = w.take_sent(&outside);
    assert_eq!(sent.destination.transport(), Transport::Tcp);
    assert!(text(sent.message.top_via().unwrap().as_bytes()).starts_with("SIP/2.0/TCP"));
    assert_eq!(values(&sent.message, HeaderName::RecordRoute).len(), 2);
    w.transmit_failed(sent.tag);
    let sent = w.take_sent(&outside);
    assert_eq!(sent.destination.transport(), Transport::Udp);
    assert!(matches!(sent.destination, Destination::Address { .. }));
}

#[test]
fn a_path_is_pushed_as_route() {
    let edge = Peer::udp("198.51.100.7:5060");
    let mut w = World::new();
    let aor = "sip:200@example.com";
    let mut request = req("REGISTER", "sip:example.com")
        .extra("Contact: <sip:200@10.0.0.9>")
        .extra("Supported: path")
        .extra("Path: <sip:198.51.100.7;lr>");
    (request.from, request.to) = (aor, aor);
    w.send(&edge, &request);
    assert_eq!(w.status(&edge), 200);
    let mut request = req("INVITE", "sip:200@example.com");
    request.branch = "z9hG4bKa2";
    w.send(&gateway(), &request);
    let copy = w.take(&edge);
    assert_eq!(copy.request_uri(), b"sip:200@10.0.0.9");
    assert_eq!(values(&copy, HeaderName::Route), ["<sip:198.51.100.7;lr>"]);
}

/// RFC 5627: a GRUU names one phone of several.
#[test]
fn a_gruu_leads_to_its_phone_alone() {
    let phones = [
        Peer::udp("203.0.113.21:5060"),
        Peer::udp("203.0.113.22:5060"),
    ];
    let mut w = World::new();
    for (n, phone) in phones.iter().enumerate() {
        let instance =
            format!(";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-00000000000{n}>\"");
        w.register_with("200", phone, &instance, "Supported: gruu\r\n");
    }
    let uri = "sip:200@example.com;gr=urn:uuid:00000000-0000-1000-8000-000000000001";
    w.send(&gateway(), &req("MESSAGE", uri));
    assert_eq!(w.take(&phones[1]).method(), Method::Message);
    w.nothing();
    let mut gone = req("MESSAGE", "sip:200@example.com;gr=urn:uuid:none");
    gone.branch = "z9hG4bKa2";
    w.send(&gateway(), &gone);
    assert!(matches!(w.status(&gateway()), 404 | 480));
}
