//! The fast path as a media worker sees it, whatever the driver: what the relay orders becomes
//! changes of the driver's flow table, with next hops filled in; answers and packets that the
//! driver leaves alone come back.
//!
//! ```text
//!  media worker                               driver threads, each with a FlowTable
//!   Relay --FlowOrder--> Side --Change--> FlowRing --> apply between batches
//!   Relay <--FlowNews--- Side <--Answer-- FlowRing <--'
//!   Relay <--packet----- Side <--Punted-------------- process(): Punt, Host
//! ```
//! A driver sees only frames to ports whose [`Gate`] is open; all others are the system's. When its
//! threads end, however that is, each worker finds its lines closed behind the last answer, adds
//! what its flows had counted until then, and carries all by sockets. One thread that ends takes
//! the others with it: rings that nobody serves would cost the system its frames.

mod checks;
mod driver;
mod exchange;
mod figures;
mod lines;

pub use checks::{CardFacts, Finding, Grade, QUEUES_MAX};
pub use driver::{Card, HandOver, Started, hand_over, open, take_over};
#[cfg(test)]
pub use exchange::spawn;
pub use exchange::{Exchange, Running, flows_max};
pub use figures::{Figures, ONE_FOR_ALL, QueueFigures};

use self::lines::{Line, Lines, Told};
use super::doorbell::{Doorbell, Ear, doorbell};
use crate::base::Instant;
use crate::relay::frame::{
    Action, Answer, Change, FlowRing, FlowSpec, FlowStats, FlowTable, Onward, RtcpPath, ring,
};
use crate::relay::{FlowNews, FlowOrder, Stream};
use crate::wire::rtp::EXPEDITED_FORWARDING;
use serde::{Deserialize, Serialize};
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
/// How long a next hop is believed: until the relay asks what a flow counted, which it does every
/// five seconds.
const HOP_AGE_MAX: Duration = Duration::from_secs(4);
/// So often in a row a next hop may be unknown before its flow goes back to sockets.
const UNKNOWN_MAX: u8 = 3;
/// The most changes that are told one by one.
pub const CHANGES_MAX: usize = 64;
/// How often it is asked what changed, while there are flows: so long at most a call sounds into a
/// cable that was pulled.
const LOOK: Duration = Duration::from_millis(100);
/// The most flows that follow their next hops in one step, each of which costs some questions to
/// the system; the worker has packets to carry meanwhile. So much a storm of changes may cost.
const FOLLOWED_PER_STEP: usize = 64;
/// How far such steps are apart.
const STEP: Duration = Duration::from_millis(10);

/// What is known of the way to a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NextHop {
    /// It is by the driver's links.
    Known(Hop),
    /// The system cannot say at this moment, most likely since it has not talked to the next hop
    /// lately.
    Unknown,
    /// It is not by the driver's links: the route is by another interface, or there is none, or the
    /// next hop does not answer.
    Elsewhere,
}

impl NextHop {
    /// If it is by the driver's links.
    pub fn known(self) -> Option<Hop> {
        match self {
            NextHop::Known(hop) => Some(hop),
            NextHop::Unknown | NextHop::Elsewhere => None,
        }
    }
}

/// How packets to a host leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hop {
    /// The driver's number of the link.
    pub link: u16,
    /// Of the next hop.
    pub hardware_address: [u8; 6],
    /// Our address toward the host: the one that was given, or the system's choice.
    pub source: IpAddr,
    /// The longest IP packet.
    pub mtu: u16,
    /// The VLAN that it is in.
    pub vlan: Option<Vlan>,
}

/// A VLAN on a driver's link, as we are in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vlan {
    /// What our frames get: priority and number (IEEE 802.1Q §9.6).
    pub tag: u16,
    /// Our hardware address there, which need not be the link's.
    pub hardware_address: [u8; 6],
}

impl Vlan {
    /// Its number.
    pub fn number(self) -> u16 {
        self.tag & 0x0fff
    }
}

/// Knows next hops.
pub trait Hops: Send + std::fmt::Debug {
    /// How packets to `to` leave; with the address `from` of ours, where it is given, by which
    /// systems may choose routes.
    fn hop(&mut self, to: IpAddr, from: Option<IpAddr>) -> NextHop;

    /// What changed since this was asked last, at most [`CHANGES_MAX`]: which next hops may be
    /// others by now. Does not wait.
    fn changes(&mut self) -> Vec<Changed>;
}

/// What the system says is not as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changed {
    /// The way to the hosts of a prefix: an address, and how many of its bits count.
    Way(IpAddr, u8),
    /// Who had this hardware address has another one, or does not answer.
    Neighbour([u8; 6]),
    /// Any of that.
    All,
}

impl Changed {
    /// Whether the way may be another; else it is who is asked at its end.
    fn is_way(self) -> bool {
        match self {
            Changed::Way(..) | Changed::All => true,
            Changed::Neighbour(_) => false,
        }
    }

    fn concerns(self, destination: IpAddr, hop: &Hop) -> bool {
        match self {
            Changed::All => true,
            Changed::Neighbour(address) => hop.hardware_address == address,
            Changed::Way(network, length) => match (network, destination) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(length)
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => {
                    (a.to_bits() ^ b.to_bits()).leading_zeros() >= u32::from(length)
                }
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
            },
        }
    }
}

/// Decides which frames the driver sees.
pub trait Gate: Send + Sync + std::fmt::Debug {
    /// Those to this address and port of ours in this VLAN, from now on; in none without one.
    fn open(&self, ours: SocketAddr, vlan: Option<u16>);
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
    /// What is above UDP, and behind it room to become SRTP ([`crate::relay::Datagram::ROOM`]).
    pub buffer: Box<[u8]>,
    /// How much of it is the packet.
    pub length: usize,
}

/// A driver thread's end of one worker's line.
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
    /// The VLAN that it comes by.
    vlan: Option<u16>,
    hop: Hop,
    checked: Instant,
    /// How often in a row the next hop was unknown.
    unknown: u8,
    answered: bool,
    leaving: bool,
}

/// The worker's end.
#[derive(Debug)]
pub struct Side {
    number: u16,
    lines: Lines,
    punted: Receiver<Punted>,
    ear: Ear,
    link: Link,
    hops: Box<dyn Hops>,
    /// By our port.
    placed: BTreeMap<u16, Placed>,
    /// Removals that found the line full, and whether nobody waits for them: at most one a port.
    backlog: VecDeque<(SocketAddr, bool)>,
    /// When it was asked last what changed.
    looked: Instant,
    /// Flows whose next hop may be another by now, by our port, and whether the way may be.
    stale: BTreeMap<u16, bool>,
    /// When the last of them were followed.
    stepped: Instant,
    /// The port from which on the next of them is looked for.
    turn: u16,
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

/// The lines between a worker and the threads of a driver, which these bells wake; `number` is the
/// worker's place among the driver's.
pub fn line(
    number: u16,
    link: Link,
    bells: &[Arc<Doorbell>],
    hops: Box<dyn Hops>,
) -> io::Result<(Side, Vec<DriverEnd>)> {
    let (sender, punted) = sync_channel(PUNTED_MAX);
    let (bell, ear) = doorbell()?;
    let (mut lines, mut ends) = (Vec::new(), Vec::new());
    for wake in bells {
        let (control, ring) = ring();
        let (bequest, estate) = sync_channel(1);
        lines.push(Line::new(control, estate, Arc::clone(wake)));
        ends.push(DriverEnd {
            ring,
            punted: sender.clone(),
            estate: bequest,
            bell: LastRing(Arc::clone(&bell)),
        });
    }
    let side = Side {
        number,
        lines: Lines::new(lines),
        punted,
        ear,
        link,
        hops,
        placed: BTreeMap::new(),
        backlog: VecDeque::new(),
        looked: Instant::ZERO,
        stale: BTreeMap::new(),
        stepped: Instant::ZERO,
        turn: 0,
    };
    Ok((side, ends))
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
                let port = stream.port;
                if self.install(now, stream) {
                    return None;
                }
                Figures::add(&self.link.figures.refused, 1);
                Some((port, FlowNews::Refused))
            }
            FlowOrder::Query { port } => self.query(now, port),
            FlowOrder::Remove { port } => self.remove(port),
        }
    }

    /// What came since.
    pub fn poll(&mut self) -> Option<FromDriver> {
        while let Some((destination, quiet)) = self.backlog.pop_front() {
            if !self.lines.ask(quiet, || Change::Remove { destination }) {
                self.backlog.push_front((destination, quiet));
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
        while let Some(told) = self.lines.poll() {
            if let Some(news) = self.on_answer(&told) {
                return Some(news);
            }
        }
        None
    }

    /// What a driver that is gone left of our flows.
    fn estate(&self) -> Vec<(u16, FlowStats)> {
        let tables = self.lines.estate();
        let mine = self.placed.iter();
        let counted =
            mine.filter_map(|(port, placed)| Some((*port, lines::stats(&tables, placed.ours)?)));
        counted.collect()
    }

    fn install(&mut self, now: Instant, stream: Stream) -> bool {
        // Packets come by the way that ours to their sender would leave by.
        let bound = given(stream.bind);
        let from = self.hops.hop(stream.source.ip(), bound).known();
        let vlan = from.and_then(|hop| hop.vlan).map(Vlan::number);
        // By which address of ours the sender knows us, where the port is bound to all.
        let ours = bound.or(from.map(|hop| hop.source));
        let onward = given(stream.onward_bind);
        let hop = self.hops.hop(stream.destination.ip(), onward);
        let (Some(ours), NextHop::Known(hop)) = (ours, hop) else {
            return false;
        };
        let ours = SocketAddr::new(ours, stream.port);
        self.link.owners.set(stream.port, self.number);
        let hardware_address = self.link.hardware_address;
        let install = || Change::Install {
            spec: Box::new(spec(&stream, (ours, vlan), &hop, hardware_address)),
        };
        if !self.lines.ask(false, install) {
            return false;
        }
        let port = stream.port;
        let placed = Placed {
            stream,
            ours,
            vlan,
            hop,
            checked: now,
            unknown: 0,
            answered: false,
            leaving: false,
        };
        self.placed.insert(port, placed);
        true
    }

    /// Asks what a flow counted, unless it cannot stay: then the relay is told at once.
    fn query(&mut self, now: Instant, port: u16) -> Option<(u16, FlowNews)> {
        let placed = self.placed.get(&port).filter(|p| !p.leaving)?;
        let destination = placed.ours;
        if now.since(placed.checked) >= HOP_AGE_MAX && !self.follow(now, port, None) {
            return Some(self.lost_way(port));
        }
        let _ = self.lines.ask(false, || Change::Query { destination });
        None
    }

    /// When to call [`Side::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.placed.is_empty(), self.stale.is_empty()) {
            (true, _) => None,
            (false, true) => Some(self.looked + LOOK),
            (false, false) => Some((self.looked + LOOK).min(self.stepped + STEP)),
        }
    }

    /// Looks what changed of next hops, and has flows follow theirs; what the relay must hear.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<(u16, FlowNews)> {
        if now >= self.looked + LOOK {
            self.looked = now;
            for changed in self.hops.changes() {
                self.mark(changed);
            }
        }
        if self.stale.is_empty() || now < self.stepped + STEP {
            return Vec::new();
        }
        self.stepped = now;
        let mut lost = Vec::new();
        for _ in 0..FOLLOWED_PER_STEP {
            let Some((port, moved)) = self.next_stale() else {
                break;
            };
            let stays = self.placed.get(&port).is_none_or(|placed| placed.leaving);
            if !stays && !self.follow(now, port, Some(moved)) {
                lost.push(self.lost_way(port));
            }
        }
        lost
    }

    /// The flow to follow next. Each has its turn, however often the first ones are marked anew.
    fn next_stale(&mut self) -> Option<(u16, bool)> {
        let next = self.stale.range(self.turn..).next();
        let (port, moved) = next.or(self.stale.first_key_value())?;
        let next = (*port, *moved);
        self.stale.remove(&next.0);
        self.turn = next.0.saturating_add(1);
        Some(next)
    }

    fn mark(&mut self, changed: Changed) {
        for (port, placed) in &self.placed {
            if changed.concerns(placed.stream.destination.ip(), &placed.hop) {
                *self.stale.entry(*port).or_default() |= changed.is_way();
            }
        }
    }

    /// Has a flow follow its next hop, which may be another by now; whether there is one.
    /// `changed`: something did, and whether that was the way.
    fn follow(&mut self, now: Instant, port: u16, changed: Option<bool>) -> bool {
        let Some(placed) = self.placed.get_mut(&port) else {
            return false;
        };
        placed.checked = now;
        let (stream, ours, vlan) = (&placed.stream, placed.ours, placed.vlan);
        let onward = given(stream.onward_bind);
        match self.hops.hop(stream.destination.ip(), onward) {
            NextHop::Known(hop) => {
                placed.unknown = 0;
                let hardware_address = self.link.hardware_address;
                let install = || Change::Install {
                    spec: Box::new(spec(stream, (ours, vlan), &hop, hardware_address)),
                };
                // Where the line has no room it is tried again.
                if hop != placed.hop && self.lines.ask(false, install) {
                    placed.hop = hop;
                }
                true
            }
            NextHop::Unknown => match changed {
                // It is most likely the old one, unless that lasts.
                None => {
                    placed.unknown += 1;
                    placed.unknown < UNKNOWN_MAX
                }
                // A router that the system has not talked to yet: the first packet of a socket
                // asks for its address, ours would go to the old one.
                Some(moved) => !moved,
            },
            NextHop::Elsewhere => false,
        }
    }

    /// The relay shall take a flow back: sockets find the way that the card has not.
    fn lost_way(&self, port: u16) -> (u16, FlowNews) {
        Figures::add(&self.link.figures.rerouted, 1);
        (port, FlowNews::Elsewhere)
    }

    fn remove(&mut self, port: u16) -> Option<(u16, FlowNews)> {
        self.link.gate.close(port);
        let Some(placed) = self.placed.get_mut(&port) else {
            return Some((port, FlowNews::Removed(None)));
        };
        placed.leaving = true;
        let destination = placed.ours;
        if !self.lines.ask(false, || Change::Remove { destination }) {
            self.backlog.push_back((destination, false));
        }
        None
    }

    fn on_answer(&mut self, told: &Told) -> Option<(u16, FlowNews)> {
        match told.answer {
            _ if told.quiet => None,
            Answer::Installed {
                destination,
                result,
            } => self.on_installed(destination, result.is_ok(), told.partly),
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

    fn on_installed(
        &mut self,
        ours: SocketAddr,
        done: bool,
        partly: bool,
    ) -> Option<(u16, FlowNews)> {
        let port = ours.port();
        let placed = self.placed.get_mut(&port)?;
        let first = !std::mem::replace(&mut placed.answered, true);
        match (done, placed.leaving) {
            // Whatever it was, its removal is on its way.
            (_, true) => None,
            (true, false) => {
                if first {
                    self.link.gate.open(ours, placed.vlan);
                }
                first.then_some((port, FlowNews::Installed))
            }
            (false, false) if first => {
                self.placed.remove(&port);
                if partly {
                    self.backlog.push_back((ours, true));
                }
                Figures::add(&self.link.figures.refused, 1);
                Some((port, FlowNews::Refused))
            }
            // The flow of before stays, with its old next hop, where nobody may be any more.
            (false, false) => Some(self.lost_way(port)),
        }
    }
}

/// The address that a port is bound to, unless it is bound to all.
fn given(bind: IpAddr) -> Option<IpAddr> {
    Some(bind).filter(|bind| !bind.is_unspecified())
}

fn spec(
    stream: &Stream,
    (ours, vlan): (SocketAddr, Option<u16>),
    hop: &Hop,
    hardware_address: [u8; 6],
) -> FlowSpec {
    let source = given(stream.onward_bind).unwrap_or(hop.source);
    FlowSpec {
        destination: ours,
        source: stream.source,
        vlan,
        clock_rate: stream.clock_rate,
        action: Action::Forward(Box::new(Onward {
            link: hop.link,
            source_mac: hop
                .vlan
                .map_or(hardware_address, |vlan| vlan.hardware_address),
            destination_mac: hop.hardware_address,
            tag: hop.vlan.map(|vlan| vlan.tag),
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
            security: stream.security.clone().map(Box::new),
        })),
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
