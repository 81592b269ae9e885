//! What the broker does for a process that parses what the network sends, and what it refuses even
//! if that process is no longer ours. Pure.
//!
//! - A datagram from a SIP listener, or from the socket of the ng protocol, goes to a unicast
//!   address with a port; to loopback only from a listener that loopback reaches.
//! - A media port is one of `[rtp] ports`.
//! - A packet from a media port goes to a unicast address and port 1024 or above; to loopback only
//!   if a listener is bound to loopback.
//! - A TCP connection for SIP goes to a unicast address with a port; to loopback as media does, and
//!   to the port of the mail server, where `[voicemail] smtp` names this host.
//! - A DNS socket leads to a server of `[sip] resolvers`, else of the system.

use crate::config::Config;
use std::net::{IpAddr, SocketAddr};

/// The lowest port that media may be sent to: below it live the services of other hosts.
pub const MEDIA_DESTINATION_MIN: u16 = 1024;

/// Made of the configuration; what may change while the daemon runs is not in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    listeners: Vec<SocketAddr>,
    loopback: bool,
    first: u16,
    last: u16,
    resolvers: Vec<SocketAddr>,
    /// The port of a mail server on this host.
    smtp: Option<u16>,
}

impl Policy {
    /// `listeners` are the bound UDP sockets in their order; `resolvers` the servers in force.
    pub fn new(config: &Config, listeners: Vec<SocketAddr>, resolvers: Vec<SocketAddr>) -> Self {
        let all = config.sip.listen.iter().map(|listen| listen.addr.ip());
        Self {
            loopback: all
                .chain(listeners.iter().map(SocketAddr::ip))
                .any(|ip| ip.is_loopback()),
            listeners,
            first: config.rtp.ports.first(),
            last: config.rtp.ports.last(),
            resolvers,
            smtp: smtp_here(config),
        }
    }

    /// Whether a datagram may go there from the listener of that place.
    pub fn datagram(&self, listener: u16, to: SocketAddr) -> bool {
        let Some(from) = self.listeners.get(usize::from(listener)) else {
            return false;
        };
        let near = from.ip().is_loopback() || from.ip().is_unspecified();
        to.port() != 0 && is_unicast(to.ip()) && (near || !is_loopback(to.ip()))
    }

    /// Whether media may bind that.
    pub fn media_port(&self, address: SocketAddr) -> bool {
        (self.first..=self.last).contains(&address.port())
            && !address.ip().to_canonical().is_multicast()
    }

    /// Whether media may send there.
    pub fn media_destination(&self, to: SocketAddr) -> bool {
        to.port() >= MEDIA_DESTINATION_MIN && self.peer(to.ip())
    }

    /// Whether signal may connect there.
    pub fn connect(&self, to: SocketAddr) -> bool {
        let mail = is_loopback(to.ip()) && self.smtp == Some(to.port());
        to.port() != 0 && (mail || self.peer(to.ip()))
    }

    /// Whether it is one of the DNS servers.
    pub fn resolver(&self, server: SocketAddr) -> bool {
        self.resolvers.contains(&server)
    }

    fn peer(&self, ip: IpAddr) -> bool {
        is_unicast(ip) && (self.loopback || !is_loopback(ip))
    }
}

fn smtp_here(config: &Config) -> Option<u16> {
    let smtp = config.voicemail.smtp.as_ref()?;
    let host = smtp.host.trim_matches(['[', ']']);
    let here = host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback);
    here.then_some(smtp.port)
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn is_unicast(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        // RFC 1122 §3.2.1.3: this network, multicast, limited broadcast.
        IpAddr::V4(ip) => !(ip.octets()[0] == 0 || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn policy(listen: &str) -> Policy {
        let text = format!("[sip]\nlisten = [\"{listen}\"]\n[rtp]\nports = \"20000-20099\"\n");
        let config = Config::parse(&text, Path::new("voip.toml")).unwrap();
        let listeners = config.sip.listen.iter().map(|l| l.addr).collect();
        Policy::new(&config, listeners, vec!["192.0.2.53:53".parse().unwrap()])
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn datagrams_go_to_hosts_only() {
        let open = policy("udp:0.0.0.0:5060");
        for good in [
            "198.51.100.7:5060",
            "10.0.0.1:1024",
            "127.0.0.1:5062",
            "[2001:db8::1]:53",
        ] {
            assert!(open.datagram(0, at(good)), "{good}");
        }
        for bad in [
            "198.51.100.7:0",
            "0.0.0.0:5060",
            "0.1.2.3:5060",
            "224.0.1.75:5060",
            "255.255.255.255:5060",
            "[::]:5060",
            "[ff02::1]:5060",
            "[::ffff:224.0.0.1]:5060",
        ] {
            assert!(!open.datagram(0, at(bad)), "{bad}");
        }
        assert!(!open.datagram(1, at("198.51.100.7:5060")));
        let public = policy("udp:192.0.2.1:5060");
        assert!(!public.datagram(0, at("127.0.0.1:5062")));
        assert!(!public.datagram(0, at("[::ffff:127.0.0.1]:5062")));
    }

    #[test]
    fn media_keeps_to_its_ports() {
        let open = policy("udp:0.0.0.0:5060");
        assert!(open.media_port(at("192.0.2.1:20000")) && open.media_port(at("0.0.0.0:20099")));
        assert!(!open.media_port(at("192.0.2.1:19999")) && !open.media_port(at("[::]:20100")));
        assert!(open.media_destination(at("198.51.100.7:1024")));
        for bad in [
            "198.51.100.7:1023",
            "198.51.100.7:53",
            "239.1.1.1:4000",
            "127.0.0.1:4000",
        ] {
            assert!(!open.media_destination(at(bad)), "{bad}");
        }
        assert!(policy("udp:127.0.0.1:5060").media_destination(at("127.0.0.1:4000")));
    }

    #[test]
    fn connections_go_to_peers_and_known_resolvers() {
        let open = policy("udp:0.0.0.0:5060");
        assert!(open.connect(at("198.51.100.7:443")));
        assert!(!open.connect(at("127.0.0.1:25")) && !open.connect(at("0.0.0.0:25")));
        assert!(policy("tcp:127.0.0.1:5060").connect(at("127.0.0.1:5061")));
        let text = "[voicemail]\nemail_from = \"a@example.com\"\nsmtp = \"smtp://127.0.0.1\"\n";
        let config = Config::parse(text, Path::new("voip.toml")).unwrap();
        let mailing = Policy::new(&config, Vec::new(), Vec::new());
        assert!(mailing.connect(at("127.0.0.1:25")) && !mailing.connect(at("127.0.0.1:26")));
        assert!(open.resolver(at("192.0.2.53:53")) && !open.resolver(at("192.0.2.53:5353")));
    }
}
