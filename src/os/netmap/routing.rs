//! Messages of FreeBSD's routing socket (route(4)) and of its list of neighbours, written and read
//! as bytes: struct rt_msghdr of net/route.h for machines of 64 bits, then addresses. No system
//! call is made here, so the tests of any system read what a kernel wrote.
//!
//! ```text
//!   0 rtm_msglen u16    8 rtm_flags i32   20 rtm_seq i32     40 rtm_rmx, 14 x u64
//!   2 rtm_version u8   12 rtm_addrs i32   24 rtm_errno i32      [0] locks [1] mtu [3] expire
//!   3 rtm_type u8      16 rtm_pid i32     28 rtm_fmask i32
//!   4 rtm_index u16                       32 rtm_inits u64  152 addresses
//! ```
//! Each address begins with its length and family, and the next one follows at the next multiple
//! of 8 (SA_SIZE); one of length 0 takes 8 bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How long the header is.
pub const HEADER_BYTES: usize = 152;
/// The most that a message of the routing socket takes.
pub const MESSAGE_BYTES_MAX: usize = 2048;

/// AF_INET.
pub const INET: u8 = 2;
/// AF_LINK.
const LINK: u8 = 18;
/// AF_INET6 of FreeBSD.
pub const INET6: u8 = 28;
/// RTM_VERSION.
const VERSION: u8 = 5;
/// RTM_GET.
const GET: u8 = 4;
/// RTM_ADD, RTM_DELETE, RTM_CHANGE, RTM_LOSING, RTM_REDIRECT, RTM_NEWADDR, RTM_DELADDR, RTM_IFINFO,
/// RTM_IFANNOUNCE.
const CHANGES: [u8; 9] = [1, 2, 3, 5, 6, 12, 13, 14, 17];

const RTF_UP: u32 = 0x1;
const RTF_GATEWAY: u32 = 0x2;
const RTF_REJECT: u32 = 0x8;
/// RTF_LLINFO: an entry of ARP or of neighbour discovery.
pub const RTF_LLINFO: u32 = 0x400;
const RTF_BLACKHOLE: u32 = 0x1000;
const RTF_LOCAL: u32 = 0x20_0000;
const RTF_BROADCAST: u32 = 0x40_0000;
const RTF_MULTICAST: u32 = 0x80_0000;
/// Of these routes none is a unicast one that leaves the host.
const RTF_OTHER: u32 = RTF_REJECT | RTF_BLACKHOLE | RTF_LOCAL | RTF_BROADCAST | RTF_MULTICAST;

const RTA_DST: u32 = 0x1;
const RTA_IFP: u32 = 0x10;
/// RTAX_GATEWAY: the place in the list of addresses.
const GATEWAY: usize = 1;
/// RTAX_MAX.
const ADDRESSES: usize = 8;
/// Length of a struct sockaddr_dl.
const LINK_BYTES: u8 = 54;

/// Where the kernel would send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// The interface's number.
    pub interface: u32,
    /// The router; `None`: the host itself is on the link.
    pub gateway: Option<IpAddr>,
    /// The longest IP packet, where the route says one.
    pub mtu: Option<u32>,
}

/// An entry of ARP (RFC 826) or neighbour discovery (RFC 4861).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// Whose.
    pub address: IpAddr,
    /// The interface's number.
    pub interface: u32,
    /// Its hardware address.
    pub hardware_address: [u8; 6],
}

/// An address of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Address {
    Ip(IpAddr),
    /// An interface, and the hardware address where there is one of Ethernet.
    Link(u16, Option<[u8; 6]>),
    Other,
}

/// RTM_GET: which way would a packet to `to` go?
pub fn question(to: IpAddr, sequence: i32) -> Vec<u8> {
    let mut message = vec![0; HEADER_BYTES];
    match to {
        IpAddr::V4(ip) => {
            message.extend([16, INET, 0, 0]);
            message.extend(ip.octets());
            message.extend([0; 8]);
        }
        IpAddr::V6(ip) => {
            message.extend([28, INET6, 0, 0, 0, 0, 0, 0]);
            message.extend(ip.octets());
            // The zone, and what the rule of eights adds.
            message.extend([0; 8]);
        }
    }
    // An empty address asks for the interface's.
    let mut link = [0; 56];
    link[0] = LINK_BYTES;
    link[1] = LINK;
    message.extend(link);
    let length = message.len() as u16;
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = message.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &length.to_ne_bytes());
    put(2, &[VERSION, GET]);
    put(8, &RTF_UP.to_ne_bytes());
    put(12, &(RTA_DST | RTA_IFP).to_ne_bytes());
    put(20, &sequence.to_ne_bytes());
    message
}

/// Whether a message is the answer to our question of this number.
pub fn is_answer(message: &[u8], sequence: i32, pid: i32) -> bool {
    let Some(header) = Header::parse(message) else {
        return false;
    };
    header.kind == GET && header.sequence == sequence && header.pid == pid
}

/// Whether a message tells of a change of routes, addresses or interfaces. Answers to others'
/// questions come to all who listen, and say nothing of that.
pub fn is_change(message: &[u8]) -> bool {
    match message {
        [_, _, VERSION, kind, ..] => CHANGES.contains(kind),
        _ => false,
    }
}

/// What the answer says: `None` if there is no unicast way, or if it is no answer.
pub fn way(message: &[u8]) -> Option<Way> {
    let header = Header::parse(message)?;
    let whole = header.kind == GET && header.error == 0;
    if !whole || header.flags & RTF_UP == 0 || header.flags & RTF_OTHER != 0 {
        return None;
    }
    let addresses = addresses(message, header.addresses)?;
    let gateway = match (header.flags & RTF_GATEWAY != 0, addresses.get(GATEWAY)?) {
        (true, Some(Address::Ip(ip))) => Some(*ip),
        // A gateway that is no address of IP is none that we can ask for.
        (true, _) => return None,
        (false, _) => None,
    };
    let mtu = u32::try_from(header.mtu).ok().filter(|mtu| *mtu > 0);
    Some(Way {
        interface: u32::from(header.interface),
        gateway,
        mtu,
    })
}

/// The entries of a list of neighbours, one after the other; those that are not resolved are passed
/// over, and so is what follows something that is no message.
pub fn neighbours(list: &[u8]) -> impl Iterator<Item = Neighbour> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            let header = Header::parse(rest)?;
            let (message, after) = rest.split_at_checked(usize::from(header.bytes))?;
            rest = after;
            if let Some(found) = neighbour(message, &header) {
                return Some(found);
            }
        }
    })
}

fn neighbour(message: &[u8], header: &Header) -> Option<Neighbour> {
    let addresses = addresses(message, header.addresses)?;
    let [
        Some(Address::Ip(address)),
        Some(Address::Link(interface, found)),
        ..,
    ] = addresses
    else {
        return None;
    };
    Some(Neighbour {
        address,
        interface: match interface {
            0 => u32::from(header.interface),
            interface => u32::from(interface),
        },
        hardware_address: found.filter(|mac| *mac != [0; 6])?,
    })
}

/// What is used of struct rt_msghdr.
struct Header {
    bytes: u16,
    kind: u8,
    interface: u16,
    flags: u32,
    addresses: u32,
    pid: i32,
    sequence: i32,
    error: i32,
    mtu: u64,
}

impl Header {
    fn parse(message: &[u8]) -> Option<Self> {
        let header = message.first_chunk::<HEADER_BYTES>()?;
        let bytes = u16::from_ne_bytes([header[0], header[1]]);
        let fits = (HEADER_BYTES..=message.len()).contains(&usize::from(bytes));
        if !fits || header[2] != VERSION {
            return None;
        }
        let u32_at = |at: usize| {
            let four = header.get(at..at + 4).and_then(|b| b.try_into().ok());
            four.map(u32::from_ne_bytes)
        };
        let mtu = header.get(48..56)?.try_into().ok()?;
        Some(Self {
            bytes,
            kind: header[3],
            interface: u16::from_ne_bytes([header[4], header[5]]),
            flags: u32_at(8)?,
            addresses: u32_at(12)?,
            pid: u32_at(16)?.cast_signed(),
            sequence: u32_at(20)?.cast_signed(),
            error: u32_at(24)?.cast_signed(),
            mtu: u64::from_ne_bytes(mtu),
        })
    }
}

/// The addresses behind a header, each at its place of RTAX_*.
fn addresses(message: &[u8], present: u32) -> Option<[Option<Address>; ADDRESSES]> {
    let length = usize::from(u16::from_ne_bytes(*message.first_chunk()?));
    let mut rest = message.get(HEADER_BYTES..length)?;
    let mut all = [None; ADDRESSES];
    for (place, address) in all.iter_mut().enumerate() {
        if present & 1 << place == 0 {
            continue;
        }
        // The last ones may be missing, as SA_SIZE of the kernel's own macro has it.
        let Some(&bytes) = rest.first() else { break };
        let bytes = usize::from(bytes);
        let one = rest.get(..bytes)?;
        *address = Some(parse_address(one));
        let step = bytes.max(1).next_multiple_of(8);
        rest = rest.get(step..).unwrap_or(&[]);
    }
    Some(all)
}

fn parse_address(bytes: &[u8]) -> Address {
    let found = match bytes.get(1) {
        Some(&INET) => inet(bytes),
        Some(&INET6) => inet6(bytes),
        Some(&LINK) => link(bytes),
        _ => None,
    };
    found.unwrap_or(Address::Other)
}

/// struct sockaddr_in.
fn inet(bytes: &[u8]) -> Option<Address> {
    let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
    Some(Address::Ip(Ipv4Addr::from(octets).into()))
}

/// struct sockaddr_in6. Of an address of the link alone the kernel may write the interface's number
/// into the second word (netinet6/scope6.c): it is taken out.
fn inet6(bytes: &[u8]) -> Option<Address> {
    let mut octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
    if octets[0] == 0xfe && octets[1] & 0xc0 == 0x80 {
        octets[2] = 0;
        octets[3] = 0;
    }
    Some(Address::Ip(Ipv6Addr::from(octets).into()))
}

/// struct sockaddr_dl: number, type, lengths of name, address and selector, then these.
fn link(bytes: &[u8]) -> Option<Address> {
    let number = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    let (name, address) = (usize::from(*bytes.get(5)?), usize::from(*bytes.get(6)?));
    let at = 8 + name;
    let address = bytes.get(at..at + address)?;
    Some(Address::Link(number, address.try_into().ok()))
}

#[cfg(test)]
mod tests;
