//! The fast path as a media worker sees it, whatever the driver: what the relay orders becomes
//! changes of the driver's flow table, with next hops filled in; answers and packets that the
//! driver leaves alone come back.
//!
//! ```text
//!  media worker                               driver thread, owner of the FlowTable
//!   Relay --FlowOrder--> Side --Change--> FlowRing --> apply between batches
//!   Relay <--FlowNews--- Side <--Answer-- FlowRing <--'
//!   Relay <--packet----- Side <--Punted-------------- process(): Punt, Host
//! ```
//! A driver sees only frames to ports whose [`Gate`] is open; all others are the system's. When its
//! thread ends, however that is, each worker finds its line closed behind the last answer, adds
//! what its flows had counted until then, and carries all by sockets.

mod checks;
mod driver;
mod exchange;
mod figures;

pub use checks::{CardFacts, Finding, Grade, QUEUES_MAX};
pub use driver::{Card, HandOver, Started, hand_over, open, take_over};
#[cfg(test)]
pub use exchange::spawn;
pub use exchange::{Exchange, Running};
pub use figures::{Figures, QueueFigures};

use super::doorbell::{Doorbell, Ear, doorbell};
use crate::base::Instant;
use crate::relay::frame::{
    Action, Answer, Busy, Change, FlowControl, FlowRing, FlowSpec, FlowStats, FlowTable, Onward,
    RtcpPath, ring,
};
use crate::relay::{FlowNews, FlowOrder, Stream};
use crate::wire::rtp::EXPEDITED_FORWARDING;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Duration;

/// The most packets that wait for a worker.
pub const PUNTED_MAX: usize = 1024;
/// How long a next hop is believed.
const HOP_AGE_MAX: Duration = Duration::from_secs(10);

/// How packets to a host leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop {
    /// The driver's number of the link.
    pub link: u16,
    /// Of the next hop.
    pub hardware_address: [u8; 6],
    /// Our address toward the host.
    pub source: IpAddr,
    /// The longest IP packet.
    pub mtu: u16,
}

/// Knows next hops.
pub trait Hops: Send + std::fmt::Debug {
    /// How packets to `to` leave by the driver's links; `None` if by others, or not known yet.
    fn hop(&mut self, to: IpAddr) -> Option<Hop>;
}

/// Decides which frames the driver sees.
pub trait Gate: Send + Sync + std::fmt::Debug {
    /// Those to this address and port of ours, from now on.
    fn open(&self, ours: SocketAddr);
    /// None to this port any more.
    fn close(&self, port: u16);
}

/// A packet that the driver leaves to the worker, as a socket would have brought it.
#[derive(Debug)]
pub struct Punted {
    /// Our port.
    pub port: u16,
    /// Who sent it.
    pub source: SocketAddr,
    /// What is above UDP.
    pub payload: Box<[u8]>,
}

/// The driver's end of one worker's line.
#[derive(Debug)]
pub struct DriverEnd {
    /// Changes of the table, and answers.
    pub ring: FlowRing,
    punted: SyncSender<Punted>,
    estate: SyncSender<Arc<FlowTable>>,
    /// The last field, so that the worker finds the others closed when it rings.
    bell: LastRing,
}

/// Rings when it goes, too.
#[derive(Debug)]
struct LastRing(Arc<Doorbell>);

impl Drop for LastRing {
    fn drop(&mut self) {
        self.0.ring();
    }
}

impl DriverEnd {
    /// Hands a packet to the worker; whether it has room for it.
    pub fn punt(&self, packet: Punted) -> bool {
        match self.punted.try_send(packet) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// The driver ends, and this is what its flows counted.
    fn leave(&self, table: &Arc<FlowTable>) {
        // A worker that is gone needs no figures.
        let _ = self.estate.try_send(Arc::clone(table));
    }

    /// Wakes the worker.
    pub fn ring_bell(&self) {
        self.bell.0.ring();
    }
}

/// What all workers share of a driver.
#[derive(Clone, Debug)]
pub struct Link {
    /// Opens and closes ports.
    pub gate: Arc<dyn Gate>,
    /// Wakes the driver.
    pub wake: Arc<Doorbell>,
    /// The link's own hardware address.
    pub hardware_address: [u8; 6],
    /// What the driver counts.
    pub figures: Arc<Figures>,
    /// Which line a port's packets go by.
    pub owners: Arc<Owners>,
}

/// For each port of ours the number of its line.
pub struct Owners(Box<[AtomicU16]>);

impl Default for Owners {
    fn default() -> Self {
        Self((0..=u16::MAX).map(|_| AtomicU16::new(0)).collect())
    }
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Owners({})", self.0.len())
    }
}

impl Owners {
    /// The line of a port.
    pub fn of(&self, port: u16) -> usize {
        let owner = self.0.get(usize::from(port));
        owner.map_or(0, |owner| usize::from(owner.load(Ordering::Relaxed)))
    }

    fn set(&self, port: u16, line: u16) {
        if let Some(owner) = self.0.get(usize::from(port)) {
            owner.store(line, Ordering::Relaxed);
        }
    }
}

/// A stream that the driver carries, or is about to.
#[derive(Debug)]
struct Placed {
    stream: Stream,
    ours: SocketAddr,
    hop: Hop,
    checked: Instant,
    answered: bool,
    leaving: bool,
}

/// The worker's end.
#[derive(Debug)]
pub struct Side {
    number: u16,
    control: FlowControl,
    punted: Receiver<Punted>,
    estate: Receiver<Arc<FlowTable>>,
    ear: Ear,
    link: Link,
    hops: Box<dyn Hops>,
    /// By our port.
    placed: BTreeMap<u16, Placed>,
    /// Removals that found the line full: at most one a port.
    backlog: VecDeque<SocketAddr>,
}

/// What comes from the driver.
#[derive(Debug)]
pub enum FromDriver {
    /// About the flow of a port.
    News(u16, FlowNews),
    /// As from a socket.
    Packet(Punted),
    /// The driver is gone, and nothing comes any more; what the flows of ports had counted.
    Lost(Vec<(u16, FlowStats)>),
}

/// A line between a worker and a driver; `number` is its place among the driver's.
pub fn line(number: u16, link: Link, hops: Box<dyn Hops>) -> io::Result<(Side, DriverEnd)> {
    let (control, ring) = ring();
    let (sender, punted) = sync_channel(PUNTED_MAX);
    let (bequest, estate) = sync_channel(1);
    let (bell, ear) = doorbell()?;
    let end = DriverEnd {
        ring,
        punted: sender,
        estate: bequest,
        bell: LastRing(bell),
    };
    let side = Side {
        number,
        control,
        punted,
        estate,
        ear,
        link,
        hops,
        placed: BTreeMap::new(),
        backlog: VecDeque::new(),
    };
    Ok((side, end))
}

impl Side {
    /// Call it when the line is readable, before [`Side::poll`].
    pub fn hush(&self) {
        self.ear.hush();
    }

    /// Carries out an order; what is known of it at once.
    pub fn order(&mut self, now: Instant, order: FlowOrder) -> Option<(u16, FlowNews)> {
        match order {
            FlowOrder::Install(stream) => {
                if self.install(now, stream) {
                    return None;
                }
                Figures::add(&self.link.figures.refused, 1);
                Some((stream.port, FlowNews::Refused))
            }
            FlowOrder::Query { port } => {
                self.query(now, port);
                None
            }
            FlowOrder::Remove { port } => self.remove(port),
        }
    }

    /// What came since.
    pub fn poll(&mut self) -> Option<FromDriver> {
        while let Some(destination) = self.backlog.pop_front() {
            if self.ask(Change::Remove { destination }).is_err() {
                self.backlog.push_front(destination);
                break;
            }
        }
        if let Some((port, news)) = self.poll_answer() {
            return Some(FromDriver::News(port, news));
        }
        match self.punted.try_recv() {
            Ok(packet) => Some(FromDriver::Packet(packet)),
            Err(TryRecvError::Empty) => None,
            // Its answers may have come after the look above.
            Err(TryRecvError::Disconnected) => match self.poll_answer() {
                Some((port, news)) => Some(FromDriver::News(port, news)),
                None => Some(FromDriver::Lost(self.estate())),
            },
        }
    }

    fn poll_answer(&mut self) -> Option<(u16, FlowNews)> {
        while let Some(answer) = self.control.poll_answer() {
            if let Some(news) = self.on_answer(answer) {
                return Some(news);
            }
        }
        None
    }

    /// What a driver that is gone left of our flows.
    fn estate(&self) -> Vec<(u16, FlowStats)> {
        let Ok(table) = self.estate.try_recv() else {
            return Vec::new();
        };
        let mine = self.placed.iter();
        let counted = mine.filter_map(|(port, placed)| Some((*port, table.stats(placed.ours)?)));
        counted.collect()
    }

    fn ask(&self, change: Change) -> Result<(), Box<Busy>> {
        self.control.ask(change)?;
        self.link.wake.ring();
        Ok(())
    }

    fn install(&mut self, now: Instant, stream: Stream) -> bool {
        // By which address of ours the sender knows us, where the port is bound to all.
        let ours = match stream.bind.is_unspecified() {
            true => self.hops.hop(stream.source.ip()).map(|hop| hop.source),
            false => Some(stream.bind),
        };
        let hop = self.hops.hop(stream.destination.ip());
        let (Some(ours), Some(hop)) = (ours, hop) else {
            return false;
        };
        let ours = SocketAddr::new(ours, stream.port);
        self.link.owners.set(stream.port, self.number);
        let spec = Box::new(self.spec(&stream, ours, &hop));
        let keep_security = false;
        let change = Change::Install {
            spec,
            keep_security,
        };
        if self.ask(change).is_err() {
            return false;
        }
        let placed = Placed {
            stream,
            ours,
            hop,
            checked: now,
            answered: false,
            leaving: false,
        };
        self.placed.insert(stream.port, placed);
        true
    }

    fn spec(&self, stream: &Stream, ours: SocketAddr, hop: &Hop) -> FlowSpec {
        let source = match stream.onward_bind.is_unspecified() {
            true => hop.source,
            false => stream.onward_bind,
        };
        FlowSpec {
            destination: ours,
            source: stream.source,
            vlan: None,
            clock_rate: stream.clock_rate,
            action: Action::Forward(Box::new(Onward {
                link: hop.link,
                source_mac: self.link.hardware_address,
                destination_mac: hop.hardware_address,
                tag: None,
                source: SocketAddr::new(source, stream.onward_port),
                destination: stream.destination,
                rtcp: match stream.has_rtcp {
                    true => RtcpPath::Punt,
                    false => RtcpPath::Same,
                },
                mtu: hop.mtu,
                dscp: Some(EXPEDITED_FORWARDING),
                ssrc: None,
                payload_types: Vec::new(),
                punted_types: 0,
                security: stream.is_secure.then(Box::default),
            })),
        }
    }

    /// Asks what a flow counted; follows a next hop that is another by now.
    fn query(&mut self, now: Instant, port: u16) {
        let Some(placed) = self.placed.get_mut(&port).filter(|p| !p.leaving) else {
            return;
        };
        let destination = placed.ours;
        let stream = placed.stream;
        if now.since(placed.checked) >= HOP_AGE_MAX {
            placed.checked = now;
            let hop = self.hops.hop(stream.destination.ip());
            // One that is not known for a moment is most likely the old one.
            if let Some(hop) = hop.filter(|hop| *hop != placed.hop) {
                placed.hop = hop;
                let spec = Box::new(self.spec(&stream, destination, &hop));
                let keep_security = true;
                let change = Change::Install {
                    spec,
                    keep_security,
                };
                // In vain: it is tried again with the next hop's next change.
                let _ = self.ask(change);
            }
        }
        let _ = self.ask(Change::Query { destination });
    }

    fn remove(&mut self, port: u16) -> Option<(u16, FlowNews)> {
        self.link.gate.close(port);
        let Some(placed) = self.placed.get_mut(&port) else {
            return Some((port, FlowNews::Removed(None)));
        };
        placed.leaving = true;
        let destination = placed.ours;
        if self.ask(Change::Remove { destination }).is_err() {
            self.backlog.push_back(destination);
        }
        None
    }

    fn on_answer(&mut self, answer: Answer) -> Option<(u16, FlowNews)> {
        match answer {
            Answer::Installed {
                destination,
                result,
            } => self.on_installed(destination, result.is_ok()),
            Answer::Removed {
                destination,
                result,
            } => {
                let port = destination.port();
                self.placed.remove(&port);
                Some((port, FlowNews::Removed(result.ok())))
            }
            Answer::Counted { destination, stats } => {
                stats.map(|stats| (destination.port(), FlowNews::Counted(stats)))
            }
        }
    }

    fn on_installed(&mut self, ours: SocketAddr, done: bool) -> Option<(u16, FlowNews)> {
        let port = ours.port();
        let placed = self.placed.get_mut(&port)?;
        let first = !std::mem::replace(&mut placed.answered, true);
        match (done, placed.leaving) {
            // Whatever it was, its removal is on its way.
            (_, true) => None,
            (true, false) => {
                if first {
                    self.link.gate.open(ours);
                }
                first.then_some((port, FlowNews::Installed))
            }
            (false, false) if first => {
                self.placed.remove(&port);
                Figures::add(&self.link.figures.refused, 1);
                Some((port, FlowNews::Refused))
            }
            // The flow of before stays, with its old next hop.
            (false, false) => None,
        }
    }
}

impl AsFd for Side {
    /// Readable when the driver has something for the worker.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ear.as_fd()
    }
}

impl Drop for Side {
    /// The system has the ports back.
    fn drop(&mut self) {
        for port in self.placed.keys() {
            self.link.gate.close(*port);
        }
    }
}

#[cfg(test)]
mod tests;
