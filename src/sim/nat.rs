//! The worst NAT there is: address and port dependent mapping, address and port dependent filtering
//! (RFC 4787 §4.1, §5), mappings that expire.

use crate::base::Instant;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// First port that a NAT hands out.
const FIRST_PORT: u16 = 40_000;

#[derive(Clone, Copy, Debug)]
struct Mapping {
    inside: SocketAddr,
    outside: SocketAddr,
    last_used: Instant,
}

/// One box with one public address.
#[derive(Debug)]
pub struct Nat {
    public: IpAddr,
    inside: Vec<IpAddr>,
    lifetime: Duration,
    next_port: u16,
    by_pair: BTreeMap<(SocketAddr, SocketAddr), u16>,
    by_port: BTreeMap<u16, Mapping>,
}

impl Nat {
    /// A box in front of the hosts `inside`.
    pub fn new(public: IpAddr, inside: Vec<IpAddr>, lifetime: Duration) -> Self {
        Self {
            public,
            inside,
            lifetime,
            next_port: FIRST_PORT,
            by_pair: BTreeMap::new(),
            by_port: BTreeMap::new(),
        }
    }

    /// It is switched off and on: all mappings are gone, and ports are never given out twice.
    pub fn reboot(&mut self) {
        self.by_pair.clear();
        self.by_port.clear();
    }

    /// Its address outside.
    pub fn public(&self) -> IpAddr {
        self.public
    }

    /// Whether a host sits behind it.
    pub fn serves(&self, host: IpAddr) -> bool {
        self.inside.contains(&host)
    }

    /// The source that the outside sees. `None` when the ports are used up.
    pub fn outbound(
        &mut self,
        now: Instant,
        inside: SocketAddr,
        outside: SocketAddr,
    ) -> Option<SocketAddr> {
        let known = self.by_pair.get(&(inside, outside)).copied();
        let port = match known.filter(|port| self.is_alive(now, *port)) {
            Some(port) => port,
            None => {
                let port = self.next_port;
                self.next_port = self.next_port.checked_add(1)?;
                self.by_pair.insert((inside, outside), port);
                port
            }
        };
        let mapping = Mapping {
            inside,
            outside,
            last_used: now,
        };
        self.by_port.insert(port, mapping);
        Some(SocketAddr::new(self.public, port))
    }

    /// The host that a packet from outside is for, if a mapping lets it in.
    pub fn inbound(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Option<SocketAddr> {
        if !self.is_alive(now, destination.port()) {
            return None;
        }
        let mapping = self.by_port.get_mut(&destination.port())?;
        if mapping.outside != source {
            return None;
        }
        mapping.last_used = now;
        Some(mapping.inside)
    }

    fn is_alive(&self, now: Instant, port: u16) -> bool {
        self.by_port
            .get(&port)
            .is_some_and(|mapping| now.since(mapping.last_used) < self.lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_in_only_whom_the_inside_spoke_to() {
        let inside: SocketAddr = "10.0.0.2:5060".parse().unwrap();
        let peer: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let other: SocketAddr = "192.0.2.2:5060".parse().unwrap();
        let public: IpAddr = "203.0.113.1".parse().unwrap();
        let mut nat = Nat::new(public, vec![inside.ip()], Duration::from_secs(60));
        let at = |s: u64| Instant::from_millis(s * 1000);
        let seen = nat.outbound(at(0), inside, peer).unwrap();
        assert_ne!(nat.outbound(at(0), inside, other), Some(seen), "per peer");
        assert_eq!(nat.inbound(at(30), peer, seen), Some(inside));
        assert_eq!(nat.inbound(at(30), other, seen), None);
        assert_eq!(nat.inbound(at(89), peer, seen), Some(inside));
        assert_eq!(nat.inbound(at(150), peer, seen), None, "expired");
        assert_ne!(nat.outbound(at(150), inside, peer), Some(seen));
    }
}
