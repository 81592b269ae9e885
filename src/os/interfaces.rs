//! The host's own addresses, for the listener table: which of them a peer reaches us by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses looked at; a host with more has them cut.
pub const INTERFACE_ADDRESSES_MAX: usize = 1024;

/// Each address of an interface that is up, with the length of its subnet's prefix. IPv6
/// link-local addresses are left out: they mean nothing without their zone.
pub fn addresses() -> std::io::Result<Vec<(IpAddr, u8)>> {
    let mut found = Vec::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        if !interface
            .flags
            .contains(nix::net::if_::InterfaceFlags::IFF_UP)
        {
            continue;
        }
        let (Some(address), Some(netmask)) = (interface.address, interface.netmask) else {
            continue;
        };
        if let (Some(a), Some(m)) = (address.as_sockaddr_in(), netmask.as_sockaddr_in()) {
            found.push((IpAddr::V4(a.ip()), prefix_v4(m.ip())));
        } else if let (Some(a), Some(m)) = (address.as_sockaddr_in6(), netmask.as_sockaddr_in6())
            && !a.ip().is_unicast_link_local()
        {
            found.push((IpAddr::V6(a.ip()), prefix_v6(m.ip())));
        }
        if found.len() >= INTERFACE_ADDRESSES_MAX {
            break;
        }
    }
    Ok(found)
}

/// The addresses that the system would speak from toward the world, by IPv4 and by IPv6. Nothing
/// is sent: a connected datagram socket knows its source at once.
pub fn default_routes() -> [Option<IpAddr>; 2] {
    // Documentation addresses (RFC 5737, RFC 3849), which only the default route leads to.
    let v4 = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 1), 9));
    let v6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9));
    [source_toward(v4), source_toward(v6)]
}

fn source_toward(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified()).then_some(source)
}

fn prefix_v4(mask: Ipv4Addr) -> u8 {
    u32::from(mask).leading_ones() as u8
}

fn prefix_v6(mask: Ipv6Addr) -> u8 {
    u128::from(mask).leading_ones() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_with_its_prefix() {
        let all = addresses().unwrap();
        assert!(
            all.contains(&(IpAddr::V4(Ipv4Addr::LOCALHOST), 8)),
            "{all:?}"
        );
    }
}
