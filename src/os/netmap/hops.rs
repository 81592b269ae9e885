//! Next hops from a kernel's routes and neighbours, whoever asks it.

use super::ready::Interface;
use super::routing::{Change, Neighbour, Way};
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
/// How long a list is believed though a neighbour came or went: they may do so all the time.
const LIST_AGE_MIN: Duration = Duration::from_millis(250);
/// How long a neighbour is believed that nobody has heard of. What passes through the rings has the
/// kernel ask for nobody, so its flows go back to sockets then, which do.
const STALE_MAX: Duration = Duration::from_secs(30);
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
    /// What changed since this was asked last.
    fn changed(&mut self) -> Change;
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
    known: BTreeMap<IpAddr, Known>,
    /// Whether something changed since; it only says then since when neighbours are stale.
    is_outdated: bool,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    hardware_address: [u8; 6],
    /// Since when nobody has heard of it, as far as we have looked.
    stale: Option<Instant>,
}

impl List {
    /// What is of this interface; `old` was the list before.
    fn new(all: Vec<Neighbour>, interface: u32, now: Instant, old: Option<&Self>) -> Self {
        // In a longer time somebody may have heard of it.
        let old = old.filter(|old| now.since(old.taken) < STALE_MAX);
        let ours = all.into_iter().filter(|found| found.interface == interface);
        let known = ours.take(NEIGHBOURS_MAX).map(|found| {
            let before = old.and_then(|old| old.known.get(&found.address));
            let since = before.and_then(|known| known.stale).unwrap_or(now);
            let known = Known {
                hardware_address: found.hardware_address,
                stale: found.is_stale.then_some(since),
            };
            (found.address, known)
        });
        Self {
            taken: now,
            known: known.collect(),
            is_outdated: false,
        }
    }

    fn hardware_address(&self, of: IpAddr, now: Instant) -> Option<[u8; 6]> {
        let known = self.known.get(&of)?;
        let is_old = |since| now.since(since) >= STALE_MAX;
        let silent = known.stale.is_some_and(is_old);
        (!silent).then_some(known.hardware_address)
    }
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

    /// Forgets what may have changed.
    fn follow(&mut self) {
        let now = self.clock.now();
        let [four, six] = &mut self.lists;
        match self.tables.changed() {
            Change::Nothing => {}
            // Those of IPv4 are not told of.
            Change::Neighbours => {
                if let Some(six) = six {
                    six.is_outdated |= now.since(six.taken) >= LIST_AGE_MIN;
                }
            }
            Change::Tables => {
                for list in [four, six].into_iter().flatten() {
                    list.is_outdated = true;
                }
                self.changed = true;
            }
        }
    }

    fn hardware_address(&mut self, next: IpAddr) -> Option<[u8; 6]> {
        let now = self.clock.now();
        let list = match next {
            IpAddr::V4(_) => &mut self.lists[0],
            IpAddr::V6(_) => &mut self.lists[1],
        };
        let is_old = |list: &List| now.since(list.taken) >= LIST_AGE_MAX || list.is_outdated;
        if list.as_ref().is_none_or(is_old) {
            let all = self.tables.neighbours(next);
            *list = Some(List::new(all, self.interface.index, now, list.as_ref()));
        }
        list.as_ref()?.hardware_address(next, now)
    }
}

impl<T: Tables> Hops for Neighbours<T> {
    /// FreeBSD chooses no route by our address: setfib(1)'s number of the process does, which its
    /// routing socket has as its other sockets do.
    fn hop(&mut self, to: IpAddr, from: Option<IpAddr>) -> NextHop {
        self.follow();
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

    /// What the routing socket says is not looked at more closely. Who is a neighbour is asked anew
    /// each second in any case.
    fn changes(&mut self) -> Vec<Changed> {
        self.follow();
        let changed = std::mem::take(&mut self.changed);
        changed.then_some(Changed::All).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(last: u8, is_stale: bool) -> Neighbour {
        Neighbour {
            address: format!("2001:db8::{last}").parse().unwrap(),
            interface: 3,
            hardware_address: [2, 0, 0, 0, 0, last],
            is_stale,
        }
    }

    #[test]
    fn a_neighbour_that_stays_stale_is_unknown() {
        let at = |second: u64| Instant::from_millis(1000 * second);
        let [seven, eight] = [7, 8].map(|last| neighbour(last, true).address);
        let mut list = None;
        let mut look = |second, stale: [bool; 2]| {
            let all = vec![neighbour(7, stale[0]), neighbour(8, stale[1])];
            let new = List::new(all, 3, at(second), list.as_ref());
            let known = [seven, eight].map(|of| new.hardware_address(of, at(second)).is_some());
            list = Some(new);
            known
        };
        for second in 1..31 {
            assert_eq!(look(second, [true, second % 20 > 0]), [true; 2], "{second}");
        }
        // The kernel asked for one of them meanwhile.
        assert_eq!(look(31, [true; 2]), [false, true]);
        assert_eq!(look(32, [false, true]), [true; 2]);
        assert_eq!(look(33, [true; 2]), [true; 2]);
        // Nothing is known of the time in between.
        assert_eq!(look(70, [true; 2]), [true; 2]);
        assert_eq!(look(99, [true; 2]), [true; 2]);
        assert_eq!(look(100, [true; 2]), [false; 2]);
    }
}
