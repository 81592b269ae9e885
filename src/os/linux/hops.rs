//! Next hops: by which interface and to which hardware address packets to a host leave, as the
//! kernel's routes and neighbours have it (rtnetlink(7)). Interfaces of VLANs upon ours (IEEE
//! 802.1Q) are ways by ours, with a tag.
//!
//! A second socket hears what changes of them: routes, rules, next hop objects, interfaces, and the
//! neighbours that were told of.

use crate::os::fast::{CHANGES_MAX, Changed, Hop, Hops, NextHop, Vlan};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VlanProtocol,
    VlanQosMapping,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The priority that Linux gives packets of sockets with DSCP EF: TC_PRIO_INTERACTIVE
/// (linux/pkt_sched.h).
const PRIORITY: u32 = 6;
/// What one answer takes at most.
const ANSWER_BYTES: usize = 8192;
/// The most messages of changes that are read at once: after so many anything may have changed.
const MESSAGES_MAX: usize = 256;
/// The most routers and hosts whose address is remembered, and the most interfaces.
const KNOWN_MAX: usize = 16_384;
/// What is told of (linux/rtnetlink.h); next hop objects have no name in the library.
const GROUPS: [u32; 7] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
    32,
];

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
    news: News,
}

/// Hears what changes.
#[derive(Debug)]
struct News {
    socket: Socket,
    seen: Seen,
}

/// What was told, by which it is known whether news are any.
#[derive(Default, Debug)]
struct Seen {
    /// Next hops, and what their hardware address was.
    neighbours: BTreeMap<IpAddr, [u8; 6]>,
    /// Interfaces, by number. They are told of often, and mostly as they were.
    links: BTreeMap<u32, (LinkFlags, Option<Interface>)>,
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

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Neighbour {
    /// Its hardware address.
    At([u8; 6]),
    /// Nothing, or nothing yet.
    Unknown,
    /// It was asked for, and does not answer.
    Silent,
}

impl Neighbour {
    fn of(found: NeighbourMessage) -> Self {
        match found.header.state {
            NeighbourState::Failed => return Neighbour::Silent,
            NeighbourState::Incomplete | NeighbourState::None => return Neighbour::Unknown,
            _ => {}
        }
        let mut attributes = found.attributes.into_iter();
        let address = attributes.find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => bytes.try_into().ok(),
            _ => None,
        });
        address.map_or(Neighbour::Unknown, Neighbour::At)
    }
}

impl Interface {
    /// The interface of this name; an error of kind `NotFound` if it has no Ethernet address.
    pub fn find(name: &str) -> io::Result<Self> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.into()));
        let found = Kernel::new()?.link(question)?;
        let found = found.as_ref().and_then(Self::of);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// `None`: it has no Ethernet address.
    fn of(link: &LinkMessage) -> Option<Self> {
        let (mut hardware_address, mut mtu) = (None, 0);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Address(bytes) => {
                    hardware_address = bytes.as_slice().try_into().ok()
                }
                LinkAttribute::Mtu(bytes) => mtu = u16::try_from(*bytes).unwrap_or(u16::MAX),
                _ => {}
            }
        }
        Some(Self {
            index: link.header.index,
            // The loopback interface has zeros.
            hardware_address: hardware_address.filter(|address| *address != [0; 6])?,
            mtu,
            is_up: link.header.flags.contains(LinkFlags::Up),
        })
    }
}

impl Way {
    /// What a route to `to` says; `None` if it is none of unicast, or one that is left to the
    /// kernel. `from`: the address that it was asked for with, of which IPv4 says no more then.
    fn of(route: RouteMessage, to: IpAddr, from: Option<IpAddr>) -> Option<Self> {
        if route.header.kind != RouteType::Unicast {
            return None;
        }
        let (mut interface, mut next, mut preferred, mut mtu) = (None, to, None, None);
        for attribute in route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interface = Some(index),
                RouteAttribute::Gateway(address) => next = ip(&address)?,
                // A gateway of the other family (RFC 5549): left to the kernel.
                RouteAttribute::Via(_) => return None,
                RouteAttribute::PrefSource(address) => preferred = ip(&address),
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
            source: from.or(preferred)?,
            mtu,
        })
    }
}

/// The tag of what leaves by an interface of a VLAN upon this trunk; `None` if it is none.
fn tag(link: &LinkMessage, trunk: u32) -> Option<u16> {
    let (mut parent, mut facts) = (None, [].as_slice());
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Link(index) => parent = Some(*index),
            // The number is one of another network namespace.
            LinkAttribute::LinkNetNsId(_) => return None,
            LinkAttribute::LinkInfo(infos) => {
                facts = infos.iter().find_map(vlan_facts).unwrap_or_default();
            }
            _ => {}
        }
    }
    let (mut number, mut is_ours, mut priority) = (None, false, 0);
    for fact in facts {
        match fact {
            // 0 is no VLAN.
            InfoVlan::Id(id) => number = Some(*id).filter(|id| (1..0x0fff).contains(id)),
            InfoVlan::Protocol(protocol) => is_ours = *protocol == VlanProtocol::Ieee8021Q,
            InfoVlan::EgressQos(map) => {
                priority = map.iter().find_map(priority_of).unwrap_or_default();
            }
            _ => {}
        }
    }
    let number = number.filter(|_| is_ours && parent == Some(trunk))?;
    Some(priority << 13 | number)
}

fn vlan_facts(info: &LinkInfo) -> Option<&[InfoVlan]> {
    match info {
        LinkInfo::Data(InfoData::Vlan(facts)) => Some(facts),
        _ => None,
    }
}

/// The three bits of a tag that a VLAN's interface gives our packets (`egress-qos-map`).
fn priority_of(mapping: &VlanQosMapping) -> Option<u16> {
    match mapping {
        VlanQosMapping::Mapping(PRIORITY, to) => u16::try_from(to & 7).ok(),
        _ => None,
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

    fn link(&mut self, question: LinkMessage) -> io::Result<Option<LinkMessage>> {
        match self.ask(RouteNetlinkMessage::GetLink(question))? {
            Some(RouteNetlinkMessage::NewLink(link)) => Ok(Some(link)),
            _ => Ok(None),
        }
    }

    /// What the kernel answers; `None` if there is no such thing, an error if it cannot say.
    fn ask(&mut self, question: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(question);
        message.header.flags = NLM_F_REQUEST;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        // The kernel answers within the call above; what was not read of an older answer is passed
        // over.
        loop {
            let mut bytes = Vec::with_capacity(ANSWER_BYTES);
            self.socket.recv(&mut bytes, libc::MSG_DONTWAIT)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes);
            let answer = answer.map_err(io::Error::other)?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(answer) => Ok(Some(answer)),
                NetlinkPayload::Error(said) => match said.raw_code().saturating_neg() {
                    short @ (libc::ENOMEM | libc::ENOBUFS) => {
                        Err(io::Error::from_raw_os_error(short))
                    }
                    _ => Ok(None),
                },
                _ => Err(io::ErrorKind::InvalidData.into()),
            };
        }
    }
}

impl News {
    fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for group in GROUPS {
            match socket.add_membership(group) {
                // Next hop objects came with Linux 5.3, and what tells of them later.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                joined => joined?,
            }
        }
        let seen = Seen::default();
        Ok(Self { socket, seen })
    }

    fn changes(&mut self) -> Vec<Changed> {
        let mut all = Vec::new();
        let mut bytes = Vec::with_capacity(ANSWER_BYTES);
        for _ in 0..MESSAGES_MAX {
            bytes.clear();
            match self.socket.recv(&mut bytes, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return joined(all),
                // Some were lost: anything may have changed.
                Err(_) => return vec![Changed::All],
            }
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes);
            match message.map(|message| message.payload) {
                Ok(NetlinkPayload::InnerMessage(message)) => all.extend(self.seen.news(&message)),
                // One of a next hop object, or of something newer.
                Ok(_) | Err(_) => all.push(Changed::All),
            }
        }
        vec![Changed::All]
    }
}

/// Each once, or one for all of them.
fn joined(all: Vec<Changed>) -> Vec<Changed> {
    let mut once: Vec<Changed> = Vec::new();
    for changed in all {
        if changed == Changed::All || once.len() >= CHANGES_MAX {
            return vec![Changed::All];
        }
        if !once.contains(&changed) {
            once.push(changed);
        }
    }
    once
}

impl Seen {
    /// A next hop was told of.
    fn told(&mut self, next: IpAddr, hardware_address: [u8; 6]) {
        if self.neighbours.len() >= KNOWN_MAX {
            self.neighbours.clear();
        }
        self.neighbours.insert(next, hardware_address);
    }

    /// What a message says, if that is news.
    fn news(&mut self, message: &RouteNetlinkMessage) -> Option<Changed> {
        use RouteNetlinkMessage::{DelRoute, NewLink, NewNeighbour, NewRoute};
        match message {
            NewRoute(route) | DelRoute(route) => Some(prefix(route)),
            NewNeighbour(found) => self.neighbour(found),
            // It is unknown then, and most likely the old one.
            RouteNetlinkMessage::DelNeighbour(_) => None,
            NewLink(link) => self.link(link),
            _ => Some(Changed::All),
        }
    }

    fn neighbour(&self, found: &NeighbourMessage) -> Option<Changed> {
        let ip = found
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some((*ip).into()),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some((*ip).into()),
                _ => None,
            });
        let known = *self.neighbours.get(&ip?)?;
        let same = match Neighbour::of(found.clone()) {
            Neighbour::At(hardware_address) => hardware_address == known,
            Neighbour::Unknown => true,
            Neighbour::Silent => false,
        };
        (!same).then_some(Changed::Neighbour(known))
    }

    /// Routes by an interface that loses its carrier go without a word.
    fn link(&mut self, link: &LinkMessage) -> Option<Changed> {
        if self.links.len() >= KNOWN_MAX {
            self.links.clear();
        }
        let state = (link.header.flags, Interface::of(link));
        let before = self.links.insert(link.header.index, state);
        (before != Some(state)).then_some(Changed::All)
    }
}

/// Whom a route leads to.
fn prefix(route: &RouteMessage) -> Changed {
    let destination = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => ip(address),
            _ => None,
        });
    let all = match route.header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return Changed::All,
    };
    match destination {
        Some(address) => Changed::Way(address, route.header.destination_prefix_length),
        None => Changed::Way(all, 0),
    }
}

impl Neighbours {
    /// For hosts behind this interface.
    pub fn new(interface: Interface) -> io::Result<Self> {
        Ok(Self {
            kernel: Kernel::new()?,
            interface,
            news: News::new()?,
        })
    }

    /// `None`: by nothing that is a unicast route. Rules (ip-rule(8)) may choose a route by `from`.
    fn way(&mut self, to: IpAddr, from: Option<IpAddr>) -> io::Result<Option<Way>> {
        let mut question = RouteMessage::default();
        let (family, length) = family(to);
        question.header.address_family = family;
        question.header.destination_prefix_length = length;
        let destination = RouteAttribute::Destination(RouteAddress::from(to));
        question.attributes.push(destination);
        if let Some(from) = from {
            question.header.source_prefix_length = length;
            let source = RouteAttribute::Source(RouteAddress::from(from));
            question.attributes.push(source);
        }
        match self.kernel.ask(RouteNetlinkMessage::GetRoute(question))? {
            Some(RouteNetlinkMessage::NewRoute(route)) => Ok(Way::of(route, to, from)),
            _ => Ok(None),
        }
    }

    /// Our interface, or a VLAN's upon it.
    fn exit(&mut self, index: u32) -> io::Result<Option<(Interface, Option<Vlan>)>> {
        if index == self.interface.index {
            return Ok(Some((self.interface, None)));
        }
        let mut question = LinkMessage::default();
        question.header.index = index;
        let Some(link) = self.kernel.link(question)? else {
            return Ok(None);
        };
        let of_vlan = tag(&link, self.interface.index).zip(Interface::of(&link));
        Ok(of_vlan.map(|(tag, exit)| {
            let hardware_address = exit.hardware_address;
            let vlan = Vlan {
                tag,
                hardware_address,
            };
            (exit, Some(vlan))
        }))
    }

    fn neighbour(&mut self, interface: u32, next: IpAddr) -> io::Result<Neighbour> {
        let mut question = NeighbourMessage::default();
        question.header.family = family(next).0;
        question.header.ifindex = interface;
        let destination = match next {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        };
        let destination = NeighbourAttribute::Destination(destination);
        question.attributes.push(destination);
        match self
            .kernel
            .ask(RouteNetlinkMessage::GetNeighbour(question))?
        {
            Some(RouteNetlinkMessage::NewNeighbour(found)) => Ok(Neighbour::of(found)),
            _ => Ok(Neighbour::Unknown),
        }
    }

    fn look(&mut self, to: IpAddr, from: Option<IpAddr>) -> io::Result<NextHop> {
        let Some(way) = self.way(to, from)? else {
            return Ok(NextHop::Elsewhere);
        };
        let Some((exit, vlan)) = self.exit(way.interface)? else {
            return Ok(NextHop::Elsewhere);
        };
        let hardware_address = match self.neighbour(exit.index, way.next)? {
            Neighbour::At(hardware_address) => hardware_address,
            Neighbour::Unknown => return Ok(NextHop::Unknown),
            Neighbour::Silent => return Ok(NextHop::Elsewhere),
        };
        self.news.seen.told(way.next, hardware_address);
        let most = u32::from(exit.mtu);
        let mtu = way.mtu.map_or(most, |mtu| mtu.min(most));
        Ok(NextHop::Known(Hop {
            link: 0,
            hardware_address,
            source: way.source,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            vlan,
        }))
    }
}

impl Hops for Neighbours {
    fn hop(&mut self, to: IpAddr, from: Option<IpAddr>) -> NextHop {
        self.look(to, from).unwrap_or(NextHop::Unknown)
    }

    fn changes(&mut self) -> Vec<Changed> {
        self.news.changes()
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

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::link::InfoKind;

    fn vlan(facts: Vec<InfoVlan>) -> LinkMessage {
        let mut link = LinkMessage::default();
        let info = vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(facts)),
        ];
        link.attributes = vec![LinkAttribute::Link(3), LinkAttribute::LinkInfo(info)];
        link
    }

    #[test]
    fn a_tag_is_that_of_a_vlan_upon_the_trunk() {
        let facts = |id, protocol| vec![InfoVlan::Protocol(protocol), InfoVlan::Id(id)];
        let ours = vlan(facts(100, VlanProtocol::Ieee8021Q));
        assert_eq!(tag(&ours, 3), Some(100));
        assert_eq!(tag(&ours, 4), None, "upon another interface");
        for id in [0, 4095] {
            assert_eq!(tag(&vlan(facts(id, VlanProtocol::Ieee8021Q)), 3), None);
        }
        let provider = vlan(facts(100, VlanProtocol::Ieee8021Ad));
        assert_eq!(tag(&provider, 3), None, "a tag of IEEE 802.1ad");
        let mut abroad = ours.clone();
        abroad.attributes.push(LinkAttribute::LinkNetNsId(0));
        assert_eq!(tag(&abroad, 3), None, "upon an interface elsewhere");
        assert_eq!(tag(&LinkMessage::default(), 3), None);
    }

    #[test]
    fn a_route_says_less_of_an_address_that_was_given() {
        let address = |text: &str| RouteAddress::from(text.parse::<IpAddr>().unwrap());
        let [to, ours, chosen]: [IpAddr; 3] =
            ["198.51.100.1", "192.0.2.2", "192.0.2.1"].map(|ip| ip.parse().unwrap());
        let mut route = RouteMessage::default();
        route.header.kind = RouteType::Unicast;
        route.attributes = vec![
            RouteAttribute::Oif(3),
            RouteAttribute::Gateway(address("192.0.2.254")),
        ];
        let source =
            |route: &RouteMessage, from| Way::of(route.clone(), to, from).map(|w| w.source);
        assert_eq!(source(&route, Some(ours)), Some(ours));
        assert_eq!(source(&route, None), None);
        let choice = RouteAttribute::PrefSource(address("192.0.2.1"));
        route.attributes.push(choice);
        assert_eq!(source(&route, None), Some(chosen));
        // As IPv6's say it all the same.
        assert_eq!(source(&route, Some(ours)), Some(ours));
        route.header.kind = RouteType::BlackHole;
        assert_eq!(source(&route, Some(ours)), None);
    }

    #[test]
    fn a_neighbour_is_known_until_it_is_asked_for_in_vain() {
        let of = |state, hardware_address: Option<[u8; 6]>| {
            let mut found = NeighbourMessage::default();
            found.header.state = state;
            let address = hardware_address.map(|mac| mac.to_vec());
            let address = address.map(NeighbourAttribute::LinkLayerAddress);
            found.attributes.extend(address);
            Neighbour::of(found)
        };
        let mac = [2, 0, 0, 0, 0, 9];
        use NeighbourState::{Delay, Failed, Incomplete, Permanent, Probe, Reachable, Stale};
        for state in [Reachable, Stale, Delay, Probe, Permanent] {
            assert_eq!(of(state, Some(mac)), Neighbour::At(mac), "{state}");
            assert_eq!(of(state, None), Neighbour::Unknown, "{state}");
        }
        assert_eq!(of(Incomplete, None), Neighbour::Unknown);
        // The old address may still be there.
        assert_eq!(of(Failed, Some(mac)), Neighbour::Silent);
    }

    #[test]
    fn the_priority_is_that_of_sockets() {
        let mut facts = vec![
            InfoVlan::Protocol(VlanProtocol::Ieee8021Q),
            InfoVlan::Id(200),
        ];
        let map = [(0, 1), (6, 5)].map(|(from, to)| VlanQosMapping::Mapping(from, to));
        facts.push(InfoVlan::EgressQos(map.to_vec()));
        assert_eq!(tag(&vlan(facts), 3), Some(5 << 13 | 200));
    }

    #[test]
    fn of_what_the_kernel_tells_little_is_news() {
        let at: fn(&str) -> IpAddr = |text| text.parse().unwrap();
        let mut seen = Seen::default();
        let neighbour = |address: &str, state, last: Option<u8>| {
            let mut found = NeighbourMessage::default();
            found.header.state = state;
            let destination = match at(address) {
                IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
                IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
            };
            found.attributes = vec![NeighbourAttribute::Destination(destination)];
            let mac = last.map(|last| vec![2, 0, 0, 0, 0, last]);
            let mac = mac.map(NeighbourAttribute::LinkLayerAddress);
            found.attributes.extend(mac);
            RouteNetlinkMessage::NewNeighbour(found)
        };
        use NeighbourState::{Failed, Probe, Reachable, Stale};
        let router = "192.0.2.254";
        // Nobody was told of it.
        assert_eq!(seen.news(&neighbour(router, Failed, None)), None);
        seen.told(at(router), [2, 0, 0, 0, 0, 9]);
        for state in [Reachable, Stale, Probe] {
            assert_eq!(seen.news(&neighbour(router, state, Some(9))), None);
        }
        let other = Some(Changed::Neighbour([2, 0, 0, 0, 0, 9]));
        assert_eq!(seen.news(&neighbour(router, Failed, None)), other);
        assert_eq!(seen.news(&neighbour(router, Reachable, Some(8))), other);
        assert_eq!(seen.news(&neighbour("2001:db8::1", Failed, None)), None);

        let mut link = LinkMessage::default();
        link.header.index = 7;
        link.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        let mut tell = |link: &LinkMessage| seen.news(&RouteNetlinkMessage::NewLink(link.clone()));
        assert_eq!(tell(&link), Some(Changed::All));
        assert_eq!(tell(&link), None);
        link.header.flags = LinkFlags::Up;
        assert_eq!(tell(&link), Some(Changed::All), "its cable was pulled");

        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet6;
        let mut tell = |route: &RouteMessage| {
            let message = RouteNetlinkMessage::DelRoute(route.clone());
            seen.news(&message)
        };
        assert_eq!(tell(&route), Some(Changed::Way(at("::"), 0)));
        route.header.destination_prefix_length = 32;
        let network = RouteAttribute::Destination(RouteAddress::from(at("2001:db8::")));
        route.attributes.push(network);
        assert_eq!(tell(&route), Some(Changed::Way(at("2001:db8::"), 32)));
    }

    #[test]
    fn many_changes_are_told_as_one() {
        let way = |n: u8| Changed::Way(IpAddr::from([10, n, 0, 0]), 16);
        assert_eq!(joined(vec![way(1), way(2), way(1)]), [way(1), way(2)]);
        assert_eq!(joined(vec![way(1), Changed::All, way(2)]), [Changed::All]);
        let most: Vec<_> = (0..CHANGES_MAX as u8).map(way).collect();
        assert_eq!(joined(most.clone()), most);
        assert_eq!(
            joined((0..=CHANGES_MAX as u8).map(way).collect()),
            [Changed::All]
        );
    }

    #[test]
    fn the_socket_of_news_can_be_had_and_does_not_wait() {
        let mut news = News::new().unwrap();
        // What other tests' hosts do may be told; it ends.
        assert!(news.changes().len() <= CHANGES_MAX);
    }
}
