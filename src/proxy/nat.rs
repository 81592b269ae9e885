//! Who sits behind a NAT: what a peer says of its own address, in Contact and Via, against the
//! source that its packets bear. Names are not resolved and not guessed at.

use crate::base::{Flow, Transport};
use crate::wire::sip::{Contacts, Host, Message, Uri, Via};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `ip` means something only near its owner: RFC 1918, RFC 6598 (carriers' NAT), RFC 4193,
/// link-local, loopback, unspecified.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_unspecified()
        || (a == 100 && (64..128).contains(&b))
}

fn is_private_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
}

/// Whether the phone that wrote `contact` is reached only by the source of its packets. `via` is
/// the one that the phone itself added.
///
/// | contact's host | behind NAT |
/// | --- | --- |
/// | a name | no; one below `.invalid` (RFC 6761, RFC 7118) yes |
/// | the source's address | over UDP, if Contact's and Via's ports differ and Via bears `rport` |
/// | private, while the source is not | yes |
/// | another | if Via bears another address than the source, too: else it is meant so |
pub fn contact_behind_nat(contact: &Uri<'_>, via: Option<&Via<'_>>, flow: &Flow) -> bool {
    let host = contact.host();
    let Some(ip) = host.ip() else {
        return is_invalid_name(&host);
    };
    let source = flow.remote.ip().to_canonical();
    if ip == source {
        return port_moved(contact.port(), flow) && via.is_some_and(|v| via_moved(v, flow));
    }
    if is_private(ip) && !is_private(source) {
        return true;
    }
    via.is_some_and(|v| v.host().ip().is_some_and(|ip| ip != source))
}

/// Whether a request's sender sits behind a NAT, by its Via, Contact and the address where it wants
/// media. A request that came through another proxy says nothing of the kind.
pub fn request_behind_nat(message: &Message, flow: &Flow) -> bool {
    let mut vias = message.vias();
    let (Some(Ok(via)), None) = (vias.next(), vias.next()) else {
        return false;
    };
    let source = flow.remote.ip().to_canonical();
    if via_moved(&via, flow) || via.host().ip().is_some_and(|ip| ip != source) {
        return true;
    }
    if wants_media_inside(message.body(), source) {
        return true;
    }
    let Ok(Contacts::List(mut contacts)) = message.contacts() else {
        return false;
    };
    match contacts.next() {
        Some(Ok(contact)) => contact
            .uri()
            .is_ok_and(|uri| contact_behind_nat(&uri, Some(&via), flow)),
        Some(Err(_)) | None => false,
    }
}

/// Whether the first `c=` line (RFC 8866 §5.7) names a private address while the source is public:
/// phones that learn their address for SIP often do not for media.
fn wants_media_inside(body: &[u8], source: IpAddr) -> bool {
    if is_private(source) {
        return false;
    }
    let line = memchr::memmem::find(body, b"\nc=IN IP").and_then(|at| body.get(at + 8..));
    let Some([b'4' | b'6', b' ', rest @ ..]) = line else {
        return false;
    };
    let end = rest.iter().position(|b| b"\r\n/ ".contains(b));
    let text = std::str::from_utf8(rest.get(..end.unwrap_or(rest.len())).unwrap_or_default());
    let ip: Option<IpAddr> = text.ok().and_then(|t| t.parse().ok());
    ip.is_some_and(|ip| is_private(ip) && !ip.is_unspecified())
}

fn is_invalid_name(host: &Host<'_>) -> bool {
    let Host::Name(name) = host else {
        return false;
    };
    let suffix = b".invalid";
    name.len()
        .checked_sub(suffix.len())
        .and_then(|at| name.get(at..))
        .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
}

/// A stream's source port never is the port that its owner listens on.
fn port_moved(port: Option<u16>, flow: &Flow) -> bool {
    let default = flow.transport.default_port();
    flow.transport == Transport::Udp && port.unwrap_or(default) != flow.remote.port()
}

/// RFC 3581: who asks for `rport` sends from the port it listens on, so another one was made by a
/// NAT. The value may have been filled in by us already.
fn via_moved(via: &Via<'_>, flow: &Flow) -> bool {
    via.rport().is_some() && port_moved(via.port(), flow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(transport: Transport, remote: &str) -> Flow {
        Flow {
            transport,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
            connection: None,
        }
    }

    fn contact(uri: &str, via: &str, transport: Transport, remote: &str) -> bool {
        let uri = Uri::parse(uri.as_bytes()).unwrap();
        let via = Via::parse(via.as_bytes()).unwrap();
        contact_behind_nat(&uri, Some(&via), &flow(transport, remote))
    }

    #[test]
    fn contacts() {
        use Transport::{Tcp, Udp, Wss};
        let table = [
            // A phone behind a home router.
            (
                "sip:1@192.168.1.20:5060",
                "192.168.1.20:5060;rport",
                Udp,
                "198.51.100.7:61234",
                true,
            ),
            (
                "sip:1@192.168.1.20:5060",
                "192.168.1.20:5060",
                Udp,
                "198.51.100.7:61234",
                true,
            ),
            (
                "sip:1@100.64.3.4",
                "100.64.3.4",
                Tcp,
                "198.51.100.7:61234",
                true,
            ),
            (
                "sip:1@[fd00::5]",
                "[fd00::5]",
                Udp,
                "[2001:db8::5]:5060",
                true,
            ),
            // The same in the server's own network: nothing between.
            (
                "sip:1@192.168.1.20:5060",
                "192.168.1.20:5060;rport",
                Udp,
                "192.168.1.20:5060",
                false,
            ),
            (
                "sip:1@10.0.0.5",
                "10.0.0.5;rport",
                Udp,
                "10.0.0.5:5060",
                false,
            ),
            // It learnt its public address by STUN; the NAT gave another port.
            (
                "sip:1@198.51.100.7:5060",
                "198.51.100.7:5060;rport",
                Udp,
                "198.51.100.7:61234",
                true,
            ),
            // It sends from another port than it listens on, and says so by no rport.
            (
                "sip:1@198.51.100.7:5060",
                "198.51.100.7:5060",
                Udp,
                "198.51.100.7:49160",
                false,
            ),
            (
                "sip:1@198.51.100.7:5060",
                "198.51.100.7:5060;rport",
                Tcp,
                "198.51.100.7:49160",
                false,
            ),
            // Registers for somebody else, from where it says it is.
            (
                "sip:1@203.0.113.9",
                "198.51.100.7:5060;rport",
                Udp,
                "198.51.100.7:5060",
                false,
            ),
            (
                "sip:1@192.168.7.7",
                "192.168.1.20",
                Udp,
                "192.168.1.20:5060",
                false,
            ),
            // Two private networks with a NAT between.
            (
                "sip:1@192.168.7.7",
                "192.168.7.7",
                Udp,
                "10.0.0.2:5060",
                true,
            ),
            // A name is not guessed at; a browser's is no name.
            (
                "sip:1@phone.example.com",
                "phone.example.com;rport",
                Udp,
                "198.51.100.7:61234",
                false,
            ),
            (
                "sip:1@df7jal23ls0d.invalid",
                "df7jal23ls0d.invalid",
                Wss,
                "198.51.100.7:61234",
                true,
            ),
            ("sip:1@0.0.0.0", "0.0.0.0", Udp, "198.51.100.7:5060", true),
        ];
        for (uri, via, transport, remote, expected) in table {
            let via = format!("SIP/2.0/{} {via};branch=z9hG4bKx", transport.via_token());
            assert_eq!(
                contact(uri, &via, transport, remote),
                expected,
                "{uri} {via} {remote}"
            );
        }
    }

    #[test]
    fn media() {
        let public = "198.51.100.7".parse().unwrap();
        let body = |c: &str| format!("v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc={c}\r\nt=0 0\r\n");
        for (line, inside) in [
            ("IN IP4 10.0.0.9", true),
            ("IN IP4 192.168.7.7/127", true),
            ("IN IP6 fd00::7", true),
            ("IN IP4 198.51.100.7", false),
            ("IN IP4 0.0.0.0", false),
            ("IN IP4 phone.example.com", false),
            ("IN IP4 ", false),
            ("IN IP", false),
        ] {
            assert_eq!(
                wants_media_inside(body(line).as_bytes(), public),
                inside,
                "{line}"
            );
        }
        let near = "192.168.1.1".parse().unwrap();
        assert!(!wants_media_inside(
            body("IN IP4 10.0.0.9").as_bytes(),
            near
        ));
        assert!(!wants_media_inside(b"\nc=IN IP", public));
    }

    #[test]
    fn requests() {
        let request = |vias: &str, contact: &str| {
            let text = format!(
                "INVITE sip:2@example.com SIP/2.0\r\n{vias}From: <sip:1@example.com>;tag=1\r\n\
                 To: <sip:2@example.com>\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\n{contact}\
                 Content-Length: 0\r\n\r\n"
            );
            let message = Message::parse(text.into_bytes().into()).unwrap();
            request_behind_nat(&message, &flow(Transport::Udp, "198.51.100.7:61234"))
        };
        let inside = "Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK1\r\n";
        let outside = "Via: SIP/2.0/UDP 198.51.100.7:61234;branch=z9hG4bK1\r\n";
        assert!(request(inside, ""));
        assert!(!request(outside, ""));
        assert!(request(outside, "Contact: <sip:1@10.0.0.9>\r\n"));
        assert!(!request(
            &format!("{outside}{inside}"),
            "Contact: <sip:1@10.0.0.9>\r\n"
        ));
        assert!(request(
            "Via: SIP/2.0/UDP 198.51.100.7;rport;branch=z9hG4bK1\r\n",
            ""
        ));
    }
}
