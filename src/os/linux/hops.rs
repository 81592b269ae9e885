//! Next hops: by which interface and to which hardware address packets to a host leave, as the
//! kernel's routes and neighbours have it (rtnetlink(7)).

use crate::os::fast::{Hop, Hops};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::IpAddr;

/// What one answer takes at most.
const ANSWER_BYTES: usize = 8192;

/// An interface as the kernel knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its hardware address.
    pub hardware_address: [u8; 6],
    /// The longest IP packet.
    pub mtu: u16,
    /// Whether it is up.
    pub is_up: bool,
}

/// Asks the kernel about the hosts behind one interface.
#[derive(Debug)]
pub struct Neighbours {
    kernel: Kernel,
    interface: Interface,
}

/// A socket to the kernel's tables.
#[derive(Debug)]
struct Kernel {
    socket: Socket,
    sequence: u32,
}

/// Where the kernel would send.
struct Way {
    interface: u32,
    next: IpAddr,
    source: IpAddr,
    mtu: Option<u32>,
}

impl Interface {
    /// The interface of this name; an error of kind `NotFound` if it has no Ethernet address.
    pub fn find(name: &str) -> io::Result<Self> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.into()));
        let answer = Kernel::new()?.ask(RouteNetlinkMessage::GetLink(question));
        let Some(RouteNetlinkMessage::NewLink(link)) = answer else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let (mut hardware_address, mut mtu) = (None, 0);
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::Address(bytes) => hardware_address = bytes.try_into().ok(),
                LinkAttribute::Mtu(bytes) => mtu = u16::try_from(bytes).unwrap_or(u16::MAX),
                _ => {}
            }
        }
        Ok(Self {
            index: link.header.index,
            // The loopback interface has zeros.
            hardware_address: hardware_address
                .filter(|address| *address != [0; 6])
                .ok_or(io::ErrorKind::NotFound)?,
            mtu,
            is_up: link.header.flags.contains(LinkFlags::Up),
        })
    }
}

impl Kernel {
    fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    fn ask(&mut self, question: RouteNetlinkMessage) -> Option<RouteNetlinkMessage> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(question);
        message.header.flags = NLM_F_REQUEST;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).ok()?;
        // The kernel answers within the call above; what was not read of an older answer is passed
        // over.
        loop {
            let mut bytes = Vec::with_capacity(ANSWER_BYTES);
            self.socket.recv(&mut bytes, libc::MSG_DONTWAIT).ok()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes).ok()?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(answer) => Some(answer),
                _ => None,
            };
        }
    }
}

impl Neighbours {
    /// For hosts behind this interface.
    pub fn new(interface: Interface) -> io::Result<Self> {
        Ok(Self {
            kernel: Kernel::new()?,
            interface,
        })
    }

    fn way(&mut self, to: IpAddr) -> Option<Way> {
        let mut question = RouteMessage::default();
        let (family, length) = family(to);
        question.header.address_family = family;
        question.header.destination_prefix_length = length;
        let destination = RouteAttribute::Destination(RouteAddress::from(to));
        question.attributes.push(destination);
        let RouteNetlinkMessage::NewRoute(route) =
            self.kernel.ask(RouteNetlinkMessage::GetRoute(question))?
        else {
            return None;
        };
        if route.header.kind != RouteType::Unicast {
            return None;
        }
        let (mut interface, mut next, mut source, mut mtu) = (None, to, None, None);
        for attribute in route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interface = Some(index),
                RouteAttribute::Gateway(address) => next = ip(&address)?,
                // A gateway of the other family (RFC 5549): left to the kernel.
                RouteAttribute::Via(_) => return None,
                RouteAttribute::PrefSource(address) => source = ip(&address),
                RouteAttribute::Metrics(metrics) => {
                    mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Some(Way {
            interface: interface?,
            next,
            source: source?,
            mtu,
        })
    }

    fn hardware_address(&mut self, next: IpAddr) -> Option<[u8; 6]> {
        let mut question = NeighbourMessage::default();
        question.header.family = family(next).0;
        question.header.ifindex = self.interface.index;
        let destination = match next {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        };
        let destination = NeighbourAttribute::Destination(destination);
        question.attributes.push(destination);
        let RouteNetlinkMessage::NewNeighbour(found) = self
            .kernel
            .ask(RouteNetlinkMessage::GetNeighbour(question))?
        else {
            return None;
        };
        let known = !matches!(
            found.header.state,
            NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None
        );
        let mut attributes = found.attributes.into_iter().filter(|_| known);
        attributes.find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => bytes.try_into().ok(),
            _ => None,
        })
    }
}

impl Hops for Neighbours {
    fn hop(&mut self, to: IpAddr) -> Option<Hop> {
        let way = self
            .way(to)
            .filter(|w| w.interface == self.interface.index)?;
        let most = u32::from(self.interface.mtu);
        let mtu = way.mtu.map_or(most, |mtu| mtu.min(most));
        Some(Hop {
            link: 0,
            hardware_address: self.hardware_address(way.next)?,
            source: way.source,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        })
    }
}

fn family(ip: IpAddr) -> (AddressFamily, u8) {
    match ip {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
