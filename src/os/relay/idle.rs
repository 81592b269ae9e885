//! Ports that no session has any more, kept bound: the next session that gets one needs neither a
//! socket nor a place in a poller, which is most of what a port costs. What still comes in for the
//! old one is read and dropped as it comes. Shared by all workers, for a port may go to another.

use super::poller::{Poller, Queue};
use super::socket::Port;
use crate::base::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a port is kept.
const KEPT: Duration = Duration::from_secs(300);
/// As many ports as there are; the system may let us have fewer descriptors.
const PORTS_MAX: usize = 1 << 16;
/// The most late datagrams that are taken off a port before it is used again; one with more is
/// closed.
const LATE_MAX: usize = 64;
/// The most ports that are closed at a time for their age.
const CLOSED_AT_ONCE: usize = 8;

/// The ports that are kept.
#[derive(Debug)]
pub struct IdlePorts {
    kept: Mutex<Kept>,
    /// The most ports, in use and idle: idle ones make room.
    most: usize,
}

#[derive(Debug, Default)]
struct Kept {
    by_number: BTreeMap<u16, Idle>,
    by_age: BTreeSet<(Instant, u16)>,
    /// How many ports sessions have.
    in_use: usize,
}

#[derive(Debug)]
struct Idle {
    port: Port,
    address: SocketAddr,
    since: Instant,
    /// The poller that it is in.
    queue: Queue,
}

impl IdlePorts {
    /// For this process, whose limit of descriptors is raised as far as it goes.
    pub fn of_process() -> Arc<Self> {
        Arc::new(Self::new(raise_descriptor_limit()))
    }

    /// For a process that may have so many descriptors: a quarter is left for all else.
    pub(super) fn new(descriptors: usize) -> Self {
        Self {
            kept: Mutex::default(),
            most: (descriptors / 4 * 3).min(PORTS_MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a port that is in `poller`, or closes it.
    pub(super) fn put(&self, now: Instant, port: Port, address: SocketAddr, poller: &Poller) {
        let mut kept = self.lock();
        kept.in_use = kept.in_use.saturating_sub(1);
        for _ in 0..CLOSED_AT_ONCE {
            match kept.by_age.first() {
                Some(&(since, number)) if now.since(since) > KEPT => drop(kept.remove(number)),
                _ => break,
            }
        }
        if kept.ports() >= self.most {
            return;
        }
        let number = address.port();
        drop(kept.remove(number));
        let idle = Idle {
            port,
            address,
            since: now,
            queue: poller.queue(),
        };
        kept.by_number.insert(number, idle);
        kept.by_age.insert((now, number));
    }

    /// The port of this address, empty and in `poller`. Whatever else is kept by its number is
    /// closed.
    pub(super) fn take(&self, address: SocketAddr, poller: &Poller) -> Option<Port> {
        let number = address.port();
        let idle = self.lock().remove(number)?;
        if idle.address != address || !idle.port.drain(LATE_MAX) {
            return None;
        }
        if !poller.is(&idle.queue) {
            idle.queue.remove(idle.port.raw()).ok()?;
            poller.add(idle.port.raw(), u32::from(number)).ok()?;
        }
        self.lock().in_use += 1;
        Some(idle.port)
    }

    /// A port was bound anew: the one that is idle longest gives way where there are too many.
    pub(super) fn bound(&self) {
        let mut kept = self.lock();
        kept.in_use += 1;
        if kept.ports() > self.most
            && let Some(&(_, number)) = kept.by_age.first()
        {
            kept.remove(number);
        }
    }

    /// Drops what came in for a port that is kept.
    pub(super) fn discard(&self, number: u16) {
        if let Some(idle) = self.lock().by_number.get(&number) {
            idle.port.drain(1);
        }
    }

    /// Closes them all: their descriptors are wanted elsewhere. Whether there were any.
    pub(super) fn clear(&self) -> bool {
        let mut kept = self.lock();
        kept.by_age.clear();
        !std::mem::take(&mut kept.by_number).is_empty()
    }
}

impl Kept {
    fn ports(&self) -> usize {
        self.in_use + self.by_number.len()
    }

    fn remove(&mut self, number: u16) -> Option<Idle> {
        let idle = self.by_number.remove(&number)?;
        self.by_age.remove(&(idle.since, number));
        Some(idle)
    }
}

/// A relayed call holds four descriptors or more: take what the system lets us have, and tell how
/// many that is.
fn raise_descriptor_limit() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 0;
    };
    // Best effort: the limit that stays shows as ports that cannot be bound.
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { hard } else { soft }).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn port() -> (Port, SocketAddr) {
        let port = Port::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = port.local().unwrap();
        (port, address)
    }

    fn put(ports: &IdlePorts, now: Instant, poller: &Poller) -> SocketAddr {
        let (port, address) = port();
        poller.add(port.raw(), u32::from(address.port())).unwrap();
        ports.bound();
        ports.put(now, port, address, poller);
        address
    }

    fn is_bound(address: SocketAddr) -> bool {
        UdpSocket::bind(address).is_err()
    }

    #[test]
    fn a_port_comes_back_empty() {
        let (ports, mut poller) = (IdlePorts::new(1000), Poller::new().unwrap());
        let address = put(&ports, at(0), &poller);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..3 {
            peer.send_to(b"late", address).unwrap();
        }
        ports.discard(address.port());
        let port = ports.take(address, &poller).unwrap();
        assert!(port.receive(&mut [0; 9]).is_err());
        peer.send_to(b"new", address).unwrap();
        // It is where it was in the poller.
        assert_eq!(poller.wait(Some(Duration::from_secs(5))).unwrap(), 1);
        assert_eq!(poller.token(0), Some(u32::from(address.port())));
        assert!(ports.take(address, &poller).is_none());
    }

    #[test]
    fn a_flooded_port_is_closed() {
        let (ports, poller) = (IdlePorts::new(1000), Poller::new().unwrap());
        let address = put(&ports, at(0), &poller);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..=LATE_MAX {
            peer.send_to(b"flood", address).unwrap();
        }
        assert!(ports.take(address, &poller).is_none());
        assert!(!is_bound(address));
    }

    #[test]
    fn another_worker_may_have_it() {
        let ports = IdlePorts::new(1000);
        let (mut first, mut second) = (Poller::new().unwrap(), Poller::new().unwrap());
        let address = put(&ports, at(0), &first);
        let _port = ports.take(address, &second).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.send_to(b"new", address).unwrap();
        assert_eq!(second.wait(Some(Duration::from_secs(5))).unwrap(), 1);
        assert_eq!(first.wait(Some(Duration::ZERO)).unwrap(), 0);
    }

    #[test]
    fn the_address_must_be_the_same() {
        let (ports, poller) = (IdlePorts::new(1000), Poller::new().unwrap());
        let address = put(&ports, at(0), &poller);
        let other = SocketAddr::from(([127, 0, 0, 2], address.port()));
        assert!(ports.take(other, &poller).is_none());
        assert!(!is_bound(address));
    }

    #[test]
    fn age_and_number_are_bounded() {
        let (ports, poller) = (IdlePorts::new(4), Poller::new().unwrap());
        let first = put(&ports, at(0), &poller);
        let second = put(&ports, at(10), &poller);
        let third = put(&ports, at(20), &poller);
        assert!(is_bound(first) && is_bound(second) && is_bound(third));
        // A new one takes the place of the oldest, and its own when it is over.
        let fourth = put(&ports, at(30), &poller);
        assert!(!is_bound(first) && is_bound(second) && is_bound(fourth));
        let (_port, address) = port();
        ports.bound();
        assert!(!is_bound(second) && is_bound(third) && is_bound(address));
        let fifth = put(&ports, at(331), &poller);
        assert!(!is_bound(third) && !is_bound(fourth) && is_bound(fifth));
        assert!(ports.clear() && !ports.clear());
        assert!(!is_bound(fifth));
    }
}
