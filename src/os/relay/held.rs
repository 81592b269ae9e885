//! Media ports that another program holds when the daemon starts. They are left out, for a port is
//! told to the peer before it is bound: a call would be lost for each of them. FreeBSD takes the
//! ports of short-lived sockets from 10000 up (ip(4), `net.inet.ip.portrange.first`), so that a
//! range of media ports is seldom free as a whole.

use super::Port;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How often ports that are held are looked at again: what ran before us may be ending.
const LOOKS: usize = 10;
/// The pause before each such look.
const PAUSE: Duration = Duration::from_millis(100);
/// The most that the log names.
const NAMED_MAX: usize = 8;

/// Those of `first..=last` that cannot be bound, in their order; says so in the log. Binds nothing
/// for longer than it looks. Takes about 5 us a port, and a second more where some are held.
pub fn held_ports(first: u16, last: u16) -> Vec<u16> {
    let mut held: Vec<u16> = (first..=last).filter(|&port| is_held(port)).collect();
    for _ in 0..LOOKS {
        if held.is_empty() {
            return held;
        }
        std::thread::sleep(PAUSE);
        held.retain(|&port| is_held(port));
    }
    tell(&held, usize::from(last - first) + 1);
    held
}

/// By any address of this host. Whatever else is wrong shows when a call wants the port.
fn is_held(port: u16) -> bool {
    let any = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    any.into_iter().any(|ip| {
        let bound = Port::bind(SocketAddr::new(ip, port));
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    })
}

fn tell(held: &[u16], of: usize) {
    let mut named: Vec<String> = held.iter().take(NAMED_MAX).map(u16::to_string).collect();
    if held.len() > NAMED_MAX {
        named.push("...".into());
    }
    let named = named.join(", ");
    let count = held.len();
    let whose = match cfg!(target_os = "freebsd") {
        true => "sockstat -u",
        false => "ss -uapn",
    };
    if count * 10 >= of {
        tracing::warn!(
            "{count} of {of} media ports are held by other programs ({named}), see '{whose}'; \
             fewer calls fit: write a free range as [rtp] ports"
        );
    } else if count > 0 {
        tracing::info!("media ports held by other programs are left out: {named}; see '{whose}'");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_port_is_held_by_whatever_address() {
        for address in ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"] {
            let Ok(other) = UdpSocket::bind(address) else {
                // A machine without IPv6.
                continue;
            };
            let port = other.local_addr().unwrap().port();
            assert_eq!(held_ports(port, port), [port], "{address}");
            drop(other);
            assert_eq!(held_ports(port, port), [0u16; 0]);
        }
    }

    #[test]
    fn what_ends_meanwhile_counts_as_free() {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let ends = std::thread::spawn(move || {
            std::thread::sleep(PAUSE * 2);
            drop(other);
        });
        assert_eq!(held_ports(port, port), [0u16; 0]);
        ends.join().unwrap();
    }
}
