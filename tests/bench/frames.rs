//! The load's packets as whole Ethernet frames, by a packet socket: UDP's sockets look up a route for
//! each packet, which takes more of the load's core than a relay needs of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Ethernet, IPv4 without options, UDP.
pub const HEADERS: usize = 14 + 20 + 8;
/// What the load writes anew into each packet: the RTP header and a time stamp.
pub const FRESH: usize = 20;

/// A cable that the load sends frames into.
#[derive(Debug)]
pub struct Cable {
    socket: OwnedFd,
    addresses: [[u8; 6]; 2],
}

impl Cable {
    /// The interface by its name, and the address of the relay's end (`02:…`). Needs root.
    pub fn open(device: &str, relay: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let own = std::fs::read_to_string(format!("/sys/class/net/{device}/address"))?;
        let addresses = [mac(relay)?, mac(own.trim())?];
        // Protocol 0: it receives nothing.
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: socket(2) has just made it for us.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let index = nix::net::if_::if_nametoindex(device)?;
        // SAFETY: all zero is a valid address of a packet socket.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index as i32;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: a whole address of that length.
        let bound = unsafe { libc::bind(fd, std::ptr::from_ref(&address).cast(), length) };
        if bound < 0 {
            return Err(io::Error::last_os_error().into());
        }
        let one: libc::c_int = 1;
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        let option = libc::PACKET_QDISC_BYPASS;
        // SAFETY: a whole int, as the option wants it.
        let set = unsafe {
            let value = std::ptr::from_ref(&one).cast();
            libc::setsockopt(fd, libc::SOL_PACKET, option, value, length)
        };
        if set < 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(Self { socket, addresses })
    }

    pub fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The headers of a stream's packets, whose payload has that many bytes, all `fill` but the
    /// first [`FRESH`].
    pub fn template(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        payload: usize,
        fill: u8,
    ) -> Result<Template, String> {
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else {
            return Err("frames are IPv4's alone".into());
        };
        let ip = ipv4(*from.ip(), *to.ip(), (28 + payload) as u16);
        let udp = udp(from, to, (8 + payload) as u16);
        let mut headers = [0; HEADERS];
        let [relay, own] = &self.addresses;
        headers[..6].copy_from_slice(relay);
        headers[6..12].copy_from_slice(own);
        headers[12..14].copy_from_slice(&[0x08, 0x00]);
        headers[14..34].copy_from_slice(&ip);
        headers[34..].copy_from_slice(&udp);
        let rest = vec![fill; payload - FRESH];
        // The pseudo header: addresses, protocol, and the length, which UDP's header has again.
        let pseudo = sum(&ip[12..20]) + 17 + sum(&udp[4..6]);
        Ok(Template {
            headers,
            sum: pseudo + sum(&udp) + sum(&rest),
        })
    }
}

/// What the packets of a stream have in common.
#[derive(Debug)]
pub struct Template {
    headers: [u8; HEADERS],
    /// Of all that UDP's checksum covers but the fresh bytes.
    sum: u32,
}

impl Template {
    /// Writes the headers before a payload, whose fresh bytes are there already.
    pub fn write(&self, frame: &mut [u8]) {
        frame[..HEADERS].copy_from_slice(&self.headers);
        let fresh = sum(&frame[HEADERS..HEADERS + FRESH]);
        let checksum = match folded(self.sum + fresh) {
            0 => 0xffff,
            checksum => checksum,
        };
        frame[40..42].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let mut address = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut address {
        let part = parts
            .next()
            .and_then(|part| u8::from_str_radix(part, 16).ok());
        *byte = part.ok_or_else(|| format!("{text:?} is no Ethernet address"))?;
    }
    Ok(address)
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, length: u16) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&length.to_be_bytes());
    // Not to be taken apart; for 64 hops; UDP.
    header[6] = 0x40;
    header[8..10].copy_from_slice(&[64, 17]);
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let checksum = folded(sum(&header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn udp(from: SocketAddrV4, to: SocketAddrV4, length: u16) -> [u8; 8] {
    let mut header = [0; 8];
    for (place, value) in [from.port(), to.port(), length].into_iter().enumerate() {
        header[2 * place..2 * place + 2].copy_from_slice(&value.to_be_bytes());
    }
    header
}

/// The 16-bit words, added up (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    words.sum()
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
