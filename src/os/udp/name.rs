//! Socket addresses in the system's own layout.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A `sockaddr` of either family.
#[derive(Clone, Copy)]
#[repr(C)]
pub union Name {
    family: libc::sockaddr,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    /// Room for any address.
    pub const CAPACITY: libc::socklen_t = size_of::<Name>() as libc::socklen_t;

    /// All zero.
    pub const fn empty() -> Self {
        // SAFETY: all bytes zero is a valid value of each plain member.
        unsafe { std::mem::zeroed() }
    }

    /// How many bytes of it count.
    pub fn length(&self) -> libc::socklen_t {
        match self.family() {
            libc::AF_INET6 => size_of::<libc::sockaddr_in6>() as libc::socklen_t,
            _ => size_of::<libc::sockaddr_in>() as libc::socklen_t,
        }
    }

    fn family(&self) -> libc::c_int {
        // SAFETY: `sa_family` lies at the same place in every member; all bytes are initialised.
        libc::c_int::from(unsafe { self.family.sa_family })
    }

    /// The address, if it is of IPv4 or IPv6.
    pub fn to_address(self) -> Option<SocketAddr> {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: the family says which member it is.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { self.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        let mut name = Self::empty();
        match address {
            SocketAddr::V4(a) => {
                // SAFETY: all bytes zero is a valid `sockaddr_in`.
                let mut v4: libc::sockaddr_in = unsafe { std::mem::zeroed() };
                v4.sin_family = libc::AF_INET as libc::sa_family_t;
                v4.sin_port = a.port().to_be();
                v4.sin_addr.s_addr = u32::from(*a.ip()).to_be();
                #[cfg(target_os = "freebsd")]
                {
                    v4.sin_len = size_of::<libc::sockaddr_in>() as u8;
                }
                name.v4 = v4;
            }
            SocketAddr::V6(a) => {
                // SAFETY: all bytes zero is a valid `sockaddr_in6`.
                let mut v6: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
                v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                v6.sin6_port = a.port().to_be();
                v6.sin6_addr.s6_addr = a.ip().octets();
                v6.sin6_scope_id = a.scope_id();
                #[cfg(target_os = "freebsd")]
                {
                    v6.sin6_len = size_of::<libc::sockaddr_in6>() as u8;
                }
                name.v6 = v6;
            }
        }
        name
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.to_address() {
            Some(address) => write!(f, "{address}"),
            None => f.write_str("(no address)"),
        }
    }
}
