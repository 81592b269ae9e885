//! Which addresses are ours: what goes into Via and Record-Route (RFC 3261 §18.1.1), and whether a
//! Route or Request-URI names this server (§16.4).
//!
//! A listener bound to every address (`0.0.0.0`, `::`) has several names. Toward a peer it shows
//! the address of the interface whose network holds the peer; loopback toward loopback; else the
//! advertised address, else the one of the default route. Toward a peer that is no neighbour the
//! advertised address wins over what the listener is bound to, since a NAT may stand between.

use crate::base::Transport;
use crate::wire::sip::Host;
use std::net::{IpAddr, SocketAddr};

/// Listeners that one node serves at most.
pub const LISTENERS_MAX: usize = 64;

/// One address that accepts SIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// What it speaks.
    pub transport: Transport,
    /// Where it is bound; a wildcard address serves every interface.
    pub bind: SocketAddr,
    /// The name or address to show to peers that are no neighbours, if not the bound one.
    pub advertised: Option<Advertised>,
}

/// A public name of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertised {
    /// A name or an address.
    pub host: AdvertisedHost,
    /// The port, if another than the bound one.
    pub port: Option<u16>,
}

/// A host as we write it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdvertisedHost {
    /// In lower case.
    Name(Box<str>),
    /// An address.
    Ip(IpAddr),
}

/// What goes into the sent-by of a Via, or into a URI of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentBy {
    /// A name or an address.
    pub host: AdvertisedHost,
    /// Always written.
    pub port: u16,
}

impl std::fmt::Display for SentBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            AdvertisedHost::Name(name) => write!(f, "{name}:{}", self.port),
            AdvertisedHost::Ip(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            AdvertisedHost::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

/// An address of this machine and the length of its network's prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network.
    pub prefix: u8,
}

impl Interface {
    fn holds(&self, remote: IpAddr) -> bool {
        match (self.address.to_canonical(), remote) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same_prefix(&own.octets(), &other.octets(), self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                same_prefix(&own.octets(), &other.octets(), self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn same_prefix(a: &[u8], b: &[u8], prefix: u8) -> bool {
    let mut left = u32::from(prefix).min(a.len() as u32 * 8);
    for (x, y) in a.iter().zip(b) {
        if left == 0 {
            return true;
        }
        let bits = left.min(8);
        let mask = (0xff00_u16 >> bits) as u8;
        if (x ^ y) & mask != 0 {
            return false;
        }
        left -= bits;
    }
    true
}

/// All listeners of the node; the same in every shard.
#[derive(Clone, Debug, Default)]
pub struct ListenerTable {
    listeners: Vec<Listener>,
    interfaces: Vec<Interface>,
    default_route: [Option<IpAddr>; 2],
}

impl ListenerTable {
    /// `interfaces` are the machine's addresses; `default_route` are those that reach the world, by
    /// IPv4 and by IPv6. Listeners past [`LISTENERS_MAX`] are left out: configuration refuses them.
    pub fn new(
        mut listeners: Vec<Listener>,
        interfaces: Vec<Interface>,
        default_route: [Option<IpAddr>; 2],
    ) -> Self {
        listeners.truncate(LISTENERS_MAX);
        Self {
            listeners,
            interfaces,
            default_route,
        }
    }

    /// The listeners, in the order of configuration.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Whether any listener speaks `transport`.
    pub fn speaks(&self, transport: Transport) -> bool {
        self.listeners.iter().any(|l| l.transport == transport)
    }

    /// The bound address of the listener to use toward `remote`; `None` if no listener of that
    /// transport and address family is there.
    pub fn flow_for(&self, transport: Transport, remote: SocketAddr) -> Option<SocketAddr> {
        self.listener_for(transport, remote).map(|l| l.bind)
    }

    /// What to write into a Via toward `remote`.
    pub fn sent_by(&self, transport: Transport, remote: SocketAddr) -> Option<SentBy> {
        self.listener_for(transport, remote)
            .map(|listener| self.name(listener, remote))
    }

    /// What the listener bound to `local` calls itself toward `remote`: for a request that leaves
    /// by the flow over which its peer is reached.
    pub fn sent_by_of(
        &self,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SentBy> {
        self.listeners
            .iter()
            .find(|l| l.transport == transport && l.bind == local)
            .map(|listener| self.name(listener, remote))
            .or_else(|| self.sent_by(transport, remote))
    }

    /// Whether `host` and `port` of a URI name this server: an address or advertised name of a
    /// listener with that port, or without a port one at a default port.
    pub fn is_local(&self, host: &Host<'_>, port: Option<u16>) -> bool {
        self.listeners.iter().any(|listener| {
            let has_port = |own: u16| match port {
                Some(port) => port == own,
                None => own == listener.transport.default_port(),
            };
            let advertised = listener.advertised.as_ref().is_some_and(|a| {
                let port = a.port.unwrap_or(listener.bind.port());
                has_port(port) && is_host(&a.host, host)
            });
            advertised || (has_port(listener.bind.port()) && self.is_bound(listener, host))
        })
    }

    fn is_bound(&self, listener: &Listener, host: &Host<'_>) -> bool {
        let Some(address) = host.ip().map(|ip| ip.to_canonical()) else {
            return false;
        };
        let bound = listener.bind.ip().to_canonical();
        if !bound.is_unspecified() {
            return bound == address;
        }
        same_family(bound, address)
            && (address.is_loopback()
                || self
                    .interfaces
                    .iter()
                    .any(|i| i.address.to_canonical() == address))
    }

    fn listener_for(&self, transport: Transport, remote: SocketAddr) -> Option<&Listener> {
        let remote = remote.ip().to_canonical();
        self.listeners
            .iter()
            .filter(|l| l.transport == transport && same_family(l.bind.ip(), remote))
            .max_by_key(|l| (self.closeness(l, remote), std::cmp::Reverse(self.order(l))))
    }

    fn order(&self, listener: &Listener) -> usize {
        self.listeners
            .iter()
            .position(|l| std::ptr::eq(l, listener))
            .unwrap_or(usize::MAX)
    }

    /// How well a listener suits a peer: an address bound in the peer's network best, then a
    /// wildcard, then any other, and loopback never for what is not loopback.
    fn closeness(&self, listener: &Listener, remote: IpAddr) -> u8 {
        let bound = listener.bind.ip().to_canonical();
        if bound.is_unspecified() {
            return 3;
        }
        if bound.is_loopback() {
            return if remote.is_loopback() { 4 } else { 0 };
        }
        let neighbour = self
            .interfaces
            .iter()
            .any(|i| i.address.to_canonical() == bound && i.holds(remote));
        match (remote.is_loopback(), neighbour) {
            (true, _) => 1,
            (false, true) => 4,
            (false, false) => 2,
        }
    }

    fn name(&self, listener: &Listener, remote: SocketAddr) -> SentBy {
        let remote = remote.ip().to_canonical();
        let bound = listener.bind.ip().to_canonical();
        let own = AdvertisedHost::Ip;
        let neighbour = self.neighbour_of(bound, remote);
        let advertised = listener.advertised.as_ref();
        let (host, port) = match (neighbour, advertised) {
            (Some(address), _) => (own(address), None),
            (None, Some(a)) => (a.host.clone(), a.port),
            (None, None) if !bound.is_unspecified() => (own(bound), None),
            (None, None) => (own(self.default_address(bound)), None),
        };
        SentBy {
            host,
            port: port.unwrap_or(listener.bind.port()),
        }
    }

    /// Our address in a network that also holds `remote`.
    fn neighbour_of(&self, bound: IpAddr, remote: IpAddr) -> Option<IpAddr> {
        let may_use = |address: IpAddr| bound.is_unspecified() || bound == address;
        if remote.is_loopback() {
            let loopback = if bound.is_unspecified() {
                remote_loopback(remote)
            } else {
                bound
            };
            return loopback.is_loopback().then_some(loopback);
        }
        self.interfaces
            .iter()
            .filter(|i| i.holds(remote) && may_use(i.address.to_canonical()))
            .max_by_key(|i| i.prefix)
            .map(|i| i.address.to_canonical())
    }

    fn default_address(&self, family: IpAddr) -> IpAddr {
        let [v4, v6] = self.default_route;
        let preferred = if family.is_ipv4() { v4 } else { v6 };
        preferred
            .or_else(|| {
                self.interfaces
                    .iter()
                    .map(|i| i.address.to_canonical())
                    .find(|a| same_family(*a, family) && !a.is_loopback())
            })
            .unwrap_or(if family.is_ipv4() {
                IpAddr::from([127, 0, 0, 1])
            } else {
                IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
            })
    }
}

fn remote_loopback(remote: IpAddr) -> IpAddr {
    match remote {
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => remote,
    }
}

fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.to_canonical().is_ipv4() == b.to_canonical().is_ipv4()
}

fn is_host(own: &AdvertisedHost, host: &Host<'_>) -> bool {
    match (own, host) {
        (AdvertisedHost::Name(own), Host::Name(name)) => own
            .as_bytes()
            .eq_ignore_ascii_case(name.strip_suffix(b".").unwrap_or(name)),
        (AdvertisedHost::Ip(own), Host::V4(_) | Host::V6(_)) => {
            host.ip().map(|ip| ip.to_canonical()) == Some(own.to_canonical())
        }
        (AdvertisedHost::Name(_), Host::V4(_) | Host::V6(_))
        | (AdvertisedHost::Ip(_), Host::Name(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(transport: Transport, bind: &str, advertised: Option<&str>) -> Listener {
        Listener {
            transport,
            bind: bind.parse().unwrap(),
            advertised: advertised.map(|host| Advertised {
                host: host
                    .parse()
                    .map(AdvertisedHost::Ip)
                    .unwrap_or_else(|_| AdvertisedHost::Name(host.into())),
                port: None,
            }),
        }
    }

    fn table(listeners: Vec<Listener>) -> ListenerTable {
        let interface = |address: &str, prefix| Interface {
            address: address.parse().unwrap(),
            prefix,
        };
        ListenerTable::new(
            listeners,
            vec![
                interface("127.0.0.1", 8),
                interface("192.168.1.5", 24),
                interface("10.0.0.5", 8),
                interface("2001:db8::5", 64),
            ],
            [
                Some("192.168.1.5".parse().unwrap()),
                Some("2001:db8::5".parse().unwrap()),
            ],
        )
    }

    fn shown(table: &ListenerTable, transport: Transport, remote: &str) -> Option<String> {
        table
            .sent_by(transport, remote.parse().unwrap())
            .map(|sent_by| sent_by.to_string())
    }

    #[test]
    fn wildcard_shows_the_neighbouring_address() {
        let t = table(vec![
            listener(Transport::Udp, "0.0.0.0:5060", None),
            listener(Transport::Udp, "[::]:5060", None),
        ]);
        let shown = |remote| shown(&t, Transport::Udp, remote).unwrap();
        assert_eq!(shown("192.168.1.77:5060"), "192.168.1.5:5060");
        assert_eq!(shown("10.9.9.9:1"), "10.0.0.5:5060");
        assert_eq!(shown("127.0.0.1:1"), "127.0.0.1:5060");
        assert_eq!(shown("8.8.8.8:1"), "192.168.1.5:5060");
        assert_eq!(shown("[2001:db8::9]:1"), "[2001:db8::5]:5060");
        assert_eq!(shown("[2600::9]:1"), "[2001:db8::5]:5060");
        assert_eq!(super::tests::shown(&t, Transport::Tcp, "8.8.8.8:1"), None);
    }

    #[test]
    fn advertised_address_is_for_strangers() {
        let t = table(vec![listener(
            Transport::Tls,
            "0.0.0.0:5061",
            Some("sip.example.com"),
        )]);
        let shown = |remote| shown(&t, Transport::Tls, remote).unwrap();
        assert_eq!(shown("8.8.8.8:1"), "sip.example.com:5061");
        assert_eq!(shown("192.168.1.9:1"), "192.168.1.5:5061");
    }

    #[test]
    fn bound_addresses_are_chosen_by_network() {
        let t = table(vec![
            listener(Transport::Udp, "127.0.0.1:5060", None),
            listener(Transport::Udp, "192.168.1.5:5060", None),
            listener(Transport::Udp, "10.0.0.5:5070", None),
        ]);
        let flow = |remote: &str| {
            t.flow_for(Transport::Udp, remote.parse().unwrap())
                .unwrap()
                .to_string()
        };
        assert_eq!(flow("10.1.1.1:5060"), "10.0.0.5:5070");
        assert_eq!(flow("127.0.0.1:9"), "127.0.0.1:5060");
        assert_eq!(flow("8.8.8.8:9"), "192.168.1.5:5060");
    }

    #[test]
    fn knows_itself() {
        let t = table(vec![
            listener(Transport::Udp, "0.0.0.0:5060", Some("203.0.113.10")),
            listener(Transport::Tls, "0.0.0.0:5061", Some("sip.example.com")),
        ]);
        let local = |host: &str, port| {
            let host = match host.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => Host::V4(address),
                Ok(IpAddr::V6(address)) => Host::V6(address),
                Err(_) => Host::Name(host.as_bytes()),
            };
            t.is_local(&host, port)
        };
        assert!(local("192.168.1.5", None));
        assert!(local("192.168.1.5", Some(5060)));
        assert!(local("203.0.113.10", Some(5060)));
        assert!(local("127.0.0.1", Some(5061)));
        assert!(local("SIP.example.com", Some(5061)));
        assert!(!local("192.168.1.5", Some(5080)));
        assert!(!local("192.168.1.6", None));
        assert!(!local("2001:db8::5", None));
        assert!(!local("example.com", None));
    }
}
