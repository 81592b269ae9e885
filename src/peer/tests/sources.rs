//! Who calls.
use super::{config, member, pool, trunk};
use crate::base::{ConnectionId, Destination, Flow, Transport};
use crate::config::{Algorithm, IpNet};
use crate::peer::{Peers, Source};
use crate::wire::sip::{Message, Method, RequestBuilder};

fn flow(transport: Transport, remote: &str) -> Flow {
    Flow {
        transport,
        local: "192.0.2.1:5060".parse().expect("an address"),
        remote: remote.parse().expect("an address"),
        connection: transport.is_reliable().then_some(ConnectionId(1)),
    }
}

fn invite(uri: &str) -> Message {
    let request = RequestBuilder::new(Method::Invite, uri)
        .via("SIP/2.0/UDP x;branch=z9hG4bKx")
        .from("<sip:a@x>;tag=1")
        .to("<sip:b@x>")
        .call_id("c")
        .cseq(1)
        .render();
    Message::parse(request).expect("well-formed")
}

fn who(peers: &Peers, transport: Transport, remote: &str, uri: &str) -> String {
    match peers.of_source(&flow(transport, remote), &invite(uri)) {
        None => "nobody".into(),
        Some(Source::Trunk(trunk)) => trunk.name().into(),
        Some(Source::Pool { pool, member }) => format!("{}/{}", pool.name(), member.uri()),
    }
}

fn peers() -> Peers {
    let mut itsp = trunk("itsp", "sip:sip.example.net");
    itsp.addresses = vec![IpNet::parse("198.51.100.0/24").expect("a network")];
    let fixed = trunk("fixed", "sip:192.0.2.50:5080");
    let members = vec![
        member("sip:192.0.2.11", 1),
        member("sip:192.0.2.12;transport=tcp", 1),
        member("sip:pbx.example.com", 1),
    ];
    let pools = vec![pool("pbx", Algorithm::CallId, members)];
    Peers::new(&config(vec![itsp, fixed], pools), [7; 32])
}

#[test]
fn by_address_that_is_written() {
    use Transport::{Tcp, Udp};
    let peers = peers();
    for (transport, remote, wanted) in [
        (Udp, "198.51.100.9:40000", "itsp"),
        (Tcp, "198.51.100.9:40000", "itsp"),
        (Udp, "[::ffff:198.51.100.9]:5060", "itsp"),
        (Udp, "192.0.2.50:5080", "fixed"),
        (Udp, "192.0.2.50:5060", "nobody"),
        (Tcp, "192.0.2.50:33333", "fixed"),
        (Udp, "192.0.2.11:5060", "pbx/sip:192.0.2.11"),
        (Udp, "192.0.2.11:5062", "nobody"),
        (Tcp, "192.0.2.12:33333", "pbx/sip:192.0.2.12;transport=tcp"),
        (Udp, "192.0.2.12:5060", "nobody"),
        (Udp, "203.0.113.1:5060", "nobody"),
    ] {
        let got = who(&peers, transport, remote, "sip:1@example.com");
        assert_eq!(got, wanted, "{transport:?} {remote}");
    }
}

#[test]
fn by_address_that_dns_gave_until_it_gives_another() {
    let peers = peers();
    let at = |remote: &str| Destination::Address {
        transport: Transport::Udp,
        remote: remote.parse().expect("an address"),
        tls_name: None,
    };
    let asks = |remote: &str| who(&peers, Transport::Udp, remote, "sip:1@example.com");
    assert_eq!(asks("203.0.113.5:5060"), "nobody");
    peers.learn("itsp", None, &[at("203.0.113.5:5060")]);
    peers.learn(
        "pbx",
        Some("sip:pbx.example.com"),
        &[at("203.0.113.6:5060")],
    );
    assert_eq!(asks("203.0.113.5:5060"), "itsp");
    assert_eq!(asks("203.0.113.6:5060"), "pbx/sip:pbx.example.com");
    peers.learn("itsp", None, &[at("203.0.113.7:5060")]);
    assert_eq!(asks("203.0.113.5:5060"), "nobody");
    assert_eq!(asks("203.0.113.7:5060"), "itsp");
    peers.configure(&config(Vec::new(), Vec::new()));
    assert_eq!(asks("203.0.113.7:5060"), "nobody");
}

#[test]
fn by_the_contact_that_we_registered_from_anywhere() {
    let peers = peers();
    let trunk = peers.trunk("itsp").expect("there");
    let uri = format!("sip:5700020326@192.0.2.1:5060;line={}", trunk.line());
    assert_eq!(who(&peers, Transport::Udp, "203.0.113.99:9", &uri), "itsp");
    for wrong in [
        "sip:5700020326@192.0.2.1:5060",
        "sip:5700020326@192.0.2.1:5060;line",
        "sip:5700020326@192.0.2.1:5060;line=itsp",
    ] {
        assert_eq!(
            who(&peers, Transport::Udp, "203.0.113.99:9", wrong),
            "nobody"
        );
    }
    // Kept over a restart, another at another node.
    let line = |secret| super::super::line(&secret, "itsp");
    assert_eq!(*line([7; 32]), *trunk.line());
    assert_ne!(*line([8; 32]), *trunk.line());
}

#[test]
fn by_the_certificate_of_its_connection_from_anywhere() {
    use Transport::{Tcp, Tls};
    let mut itsp = trunk("itsp", "sip:sip.example.net");
    itsp.certificate_name = Some("sip.example.net".into());
    let other = trunk("other", "sip:203.0.113.99;transport=tls");
    let peers = Peers::new(&config(vec![itsp, other], Vec::new()), [7; 32]);
    let asks = |transport| who(&peers, transport, "203.0.113.99:4000", "sip:1@example.com");
    assert_eq!(asks(Tls), "other", "by address");
    let its = flow(Tls, "203.0.113.99:4000");
    peers.proved(&its, &["b.example".into()].into());
    assert_eq!(asks(Tls), "other", "by address, still");
    peers.proved(&its, &["a.example".into(), "sip.example.net".into()].into());
    assert_eq!(asks(Tls), "itsp");
    assert_eq!(asks(Tcp), "itsp", "it is the connection that counts");
    assert_eq!(asks(Transport::Udp), "nobody", "not the address");
    peers.closed(ConnectionId(2));
    assert_eq!(asks(Tls), "itsp", "another connection");
    peers.closed(ConnectionId(1));
    assert_eq!(asks(Tls), "other");
}

#[test]
fn certificates_are_kept_up_to_a_bound() {
    let peers = peers();
    let domains: std::sync::Arc<[Box<str>]> = ["sip.example.net".into()].into();
    for n in 0..=crate::peer::PROVEN_MAX as u64 {
        let mut flow = flow(Transport::Tls, "203.0.113.99:4000");
        flow.connection = Some(ConnectionId(n));
        peers.proved(&flow, &domains);
    }
    let proven = peers.proven.read().expect("no panic");
    assert_eq!(proven.len(), crate::peer::PROVEN_MAX);
}
