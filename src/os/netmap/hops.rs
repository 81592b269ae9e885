//! Next hops from a kernel's routes and neighbours, whoever asks it.

use super::ready::Interface;
use super::routing::{Neighbour, Way};
use crate::base::Instant;
use crate::os::clock::Clock;
use crate::os::fast::{Changed, Hop, Hops, NextHop};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// How long a list of neighbours is believed: each costs the kernel a walk through all.
const LIST_AGE_MAX: Duration = Duration::from_secs(1);
/// The most neighbours that are kept.
pub const NEIGHBOURS_MAX: usize = 16_384;

/// A kernel's tables.
pub trait Tables: Send + Debug {
    /// Which way a packet to `to` would go: `None` if by no unicast route, an error if the kernel
    /// cannot say.
    fn way(&mut self, to: IpAddr) -> io::Result<Option<Way>>;
    /// The address that a packet to `to` would leave with.
    fn source(&mut self, to: IpAddr) -> Option<IpAddr>;
    /// All neighbours of the family of `of`.
    fn neighbours(&mut self, of: IpAddr) -> Vec<Neighbour>;
    /// Whether routes, addresses or interfaces changed since this was asked last.
    fn changed(&mut self) -> bool;
}

/// Next hops behind one interface.
#[derive(Debug)]
pub struct Neighbours<T> {
    tables: T,
    interface: Interface,
    clock: Clock,
    /// For IPv4 and IPv6.
    lists: [Option<List>; 2],
    /// Something did, and nobody was told yet.
    changed: bool,
}

/// Neighbours behind our interface.
#[derive(Debug)]
struct List {
    taken: Instant,
    known: BTreeMap<IpAddr, [u8; 6]>,
}

impl<T: Tables> Neighbours<T> {
    /// For hosts behind this interface.
    pub fn new(tables: T, interface: Interface) -> Self {
        Self {
            tables,
            interface,
            clock: Clock::new(),
            lists: [None, None],
            changed: false,
        }
    }

    fn look(&mut self) {
        if self.tables.changed() {
            self.lists = [None, None];
            self.changed = true;
        }
    }

    fn hardware_address(&mut self, next: IpAddr) -> Option<[u8; 6]> {
        let now = self.clock.now();
        let list = match next {
            IpAddr::V4(_) => &mut self.lists[0],
            IpAddr::V6(_) => &mut self.lists[1],
        };
        let old = list
            .as_ref()
            .is_none_or(|list| now.since(list.taken) >= LIST_AGE_MAX);
        if old {
            let all = self.tables.neighbours(next).into_iter();
            let ours = all.filter(|found| found.interface == self.interface.index);
            let pairs = ours.map(|found| (found.address, found.hardware_address));
            let known = pairs.take(NEIGHBOURS_MAX).collect();
            *list = Some(List { taken: now, known });
        }
        list.as_ref()?.known.get(&next).copied()
    }
}

impl<T: Tables> Hops for Neighbours<T> {
    /// FreeBSD chooses no route by our address: setfib(1)'s number of the process does, which its
    /// routing socket has as its other sockets do.
    fn hop(&mut self, to: IpAddr, from: Option<IpAddr>) -> NextHop {
        self.look();
        let way = match self.tables.way(to) {
            Ok(Some(way)) if way.interface == self.interface.index => way,
            Ok(_) => return NextHop::Elsewhere,
            Err(_) => return NextHop::Unknown,
        };
        let next = way.gateway.unwrap_or(to);
        let most = u32::from(self.interface.mtu);
        let mtu = way.mtu.map_or(most, |mtu| mtu.min(most));
        let source = from.or_else(|| self.tables.source(to));
        let hardware_address = self.hardware_address(next);
        let (Some(hardware_address), Some(source)) = (hardware_address, source) else {
            return NextHop::Unknown;
        };
        NextHop::Known(Hop {
            link: 0,
            hardware_address,
            source,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            vlan: None,
        })
    }
    /// What the routing socket says is not looked at more closely.
    fn changes(&mut self) -> Vec<Changed> {
        self.look();
        let changed = std::mem::take(&mut self.changed);
        changed.then_some(Changed::All).into_iter().collect()
    }
}
