//! Drives [`relay::Relay`](crate::relay::Relay) over sockets: a thread of its own per media worker,
//! one bound socket per port.
//!
//! Telephony brings one packet per port and wake-up. So a ready port is read once and, if more
//! waits, found ready again: reading until it is empty costs one call more per packet (measured on
//! Linux: 9.4 against 7.5 CPU seconds per million packets). Packets that arrive together leave
//! by different sockets, so sendmmsg(2) has nothing to join.

mod counters;
mod held;
mod idle;
mod plug;
mod poller;
mod socket;
#[cfg(test)]
mod tests;

pub use counters::MediaCounters;
pub use held::held_ports;
pub use idle::IdlePorts;
pub use plug::Bound;
pub use poller::READY_MAX;
pub use socket::Port;

use self::counters::Told;
use self::plug::Plug;
use self::poller::Poller;
use super::clock::Clock;
use super::doorbell::{Doorbell, Ear, doorbell};
use super::fast::{FromDriver, Side};
use super::ipc::Channel;
use super::spool::{Answering, Filing};
use crate::base::Instant;
use crate::media::file::FileNews;
use crate::media::refused;
use crate::media::room::Rooms;
use crate::relay::{
    BindError, Datagram, FlowNews, MediaCommand, MediaEvent, RelaySettings, SocketAction,
    session_of_leg,
};
use crate::server::{MediaCore, MediaNews, MediaOrder};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// The most commands that wait for one worker.
pub const COMMANDS_MAX: usize = 65_536;
/// The most that is taken from the fast path's driver between two rounds of packets.
const FAST_PER_ROUND: usize = 256;
/// The most commands that are carried out between two rounds of packets.
const COMMANDS_PER_ROUND: usize = 64;
/// The most datagrams that one port may hand over in one round.
const DATAGRAMS_PER_ROUND: usize = 1;
/// The largest datagram (RFC 768), rounded up.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// The token of the wake-up socket; ports are below.
const WAKE: u32 = u32::MAX;
/// The token of the line to the broker.
const LINE: u32 = u32::MAX - 1;
/// The token of the line to the fast path's driver.
const FAST: u32 = u32::MAX - 2;
/// Where a generation of signalling stands in the name of a session: above what its shard counts.
const GENERATION_SHIFT: u32 = 56;

/// What is said when [`MediaDriver::is_broken`].
pub const BROKEN: &str = "a media worker's thread ended; see the log before this line";

/// Who hears what the media workers have to say. Called on their threads; must not block.
pub type EventSink = Arc<dyn Fn(MediaNews) + Send + Sync>;

/// How the media side is set up.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// Threads; sessions are spread over them by their number.
    pub workers: usize,
    /// The limits and times of each worker's relay.
    pub settings: RelaySettings,
    /// The clock that signalling uses too.
    pub clock: Clock,
    /// Where ports of ended sessions wait for the next: one place for all drivers of the process,
    /// since a port may go from one to another. Without it a broker binds and connects, and there
    /// are no ports before [`MediaHandle::set_broker`].
    pub idle: Option<Arc<IdlePorts>>,
    /// The thread that reads and writes files; without it nothing is recorded.
    pub files: Option<Filing>,
    /// Where legs of all workers of the process meet.
    pub rooms: Arc<Rooms>,
}

/// A command could not be handed over: the worker has too many, or has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

/// What a worker hears.
enum Order {
    Command(MediaOrder),
    /// The line to a new broker, and who hands the bound ports to it.
    Broker(Channel, Adoption),
    /// Signalling begins anew: names of sessions mean others from now on.
    NewSignal,
    /// The disk says something.
    File(FileNews),
}

/// Hands bound ports to a new broker.
pub type Adoption = Box<dyn FnOnce(Vec<Bound>) + Send>;

#[derive(Debug)]
struct Worker {
    commands: SyncSender<Order>,
    doorbell: Arc<Doorbell>,
    /// Whether it was left a command since it was last woken.
    left: AtomicBool,
}

/// Hands commands to the media workers; cheap to clone, from any thread.
#[derive(Clone, Debug)]
pub struct MediaHandle {
    workers: Arc<[Worker]>,
}

impl MediaHandle {
    /// Hands over a command without waiting. All commands of one session go to the same worker,
    /// in their order.
    pub fn send(&self, command: MediaOrder) -> Result<(), Refused> {
        self.leave(command)?;
        self.wake();
        Ok(())
    }

    /// The same, for the next [`MediaHandle::wake`] to bring to the worker's notice.
    pub fn leave(&self, command: MediaOrder) -> Result<(), Refused> {
        let count = self.workers.len().max(1) as u64;
        let at = (session_of_leg(command.session()) % count) as usize;
        let worker = self.workers.get(at).ok_or(Refused)?;
        worker.leave(Order::Command(command))
    }

    /// Wakes the workers that were left commands.
    pub fn wake(&self) {
        for worker in self.workers.iter() {
            worker.wake();
        }
    }

    /// Gives the first worker the line to a broker; `adopt` hears of the ports that are bound.
    pub fn set_broker(&self, line: Channel, adopt: Adoption) -> Result<(), Refused> {
        let worker = self.workers.first().ok_or(Refused)?;
        worker.send(Order::Broker(line, adopt))
    }

    /// Says that signalling was restarted. Its sessions go on until their ports are wanted again
    /// or they fall silent; nobody hears of them any more.
    pub fn new_signal(&self) -> Result<(), Refused> {
        let mut workers = self.workers.iter();
        workers.try_for_each(|worker| worker.send(Order::NewSignal))
    }
}

impl Worker {
    fn send(&self, order: Order) -> Result<(), Refused> {
        self.leave(order)?;
        self.wake();
        Ok(())
    }

    fn leave(&self, order: Order) -> Result<(), Refused> {
        match self.commands.try_send(order) {
            Ok(()) => {
                // After the order: whoever takes this off and rings, rings for it too.
                self.left.store(true, Ordering::Release);
                Ok(())
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Refused),
        }
    }

    fn wake(&self) {
        if self.left.swap(false, Ordering::AcqRel) {
            self.doorbell.ring();
        }
    }
}

/// The running media side. Dropping it stops it.
#[derive(Debug)]
pub struct MediaDriver {
    handle: MediaHandle,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<MediaCounters>,
}

impl MediaDriver {
    /// Starts the workers' threads. `events` hears of every session.
    pub fn start(config: MediaConfig, events: EventSink) -> io::Result<Self> {
        Self::start_with(config, Vec::new(), events)
    }

    /// The same, with a line to the fast path's driver for each worker.
    pub fn start_with(config: MediaConfig, fast: Vec<Side>, events: EventSink) -> io::Result<Self> {
        let mut fast = fast.into_iter();
        let counters = Arc::new(MediaCounters::default());
        let (mut workers, mut threads) = (Vec::new(), Vec::new());
        for number in 0..config.workers.max(1) {
            let (commands, inbox) = sync_channel(COMMANDS_MAX);
            let (doorbell, ear) = doorbell()?;
            let poller = Poller::new()?;
            poller.add(ear.as_fd().as_raw_fd(), WAKE)?;
            let mut media = MediaCore::new(config.settings, config.clock.anchor());
            media.share(Arc::clone(&config.rooms));
            let fast = fast.next();
            if let Some(side) = &fast {
                media.use_fast_path();
                poller.add(side.as_fd().as_raw_fd(), FAST)?;
            }
            let files = config.files.clone().map(|filing| {
                media.handle_file(config.clock.now(), filing.roots());
                (filing, answering(&commands, &doorbell))
            });
            let turn = Turn {
                media,
                files,
                fast,
                plug: Plug::new(config.idle.clone()),
                generation: 0,
                current: 0,
                poller,
                ear,
                inbox,
                clock: config.clock,
                events: events.clone(),
                buffer: vec![0; DATAGRAM_BYTES_MAX],
                told: Told::new(counters.clone()),
            };
            let builder = std::thread::Builder::new().name(format!("media-{number}"));
            threads.push(builder.spawn(move || turn.run())?);
            workers.push(Worker {
                commands,
                doorbell,
                left: AtomicBool::new(false),
            });
        }
        let workers = workers.into();
        Ok(Self {
            handle: MediaHandle { workers },
            threads,
            counters,
        })
    }

    /// Hands commands to the workers.
    pub fn handle(&self) -> MediaHandle {
        self.handle.clone()
    }

    /// Whether a worker's thread has ended although nobody stopped it: its sessions are silent.
    pub fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// What all workers counted.
    pub fn counters(&self) -> &MediaCounters {
        &self.counters
    }

    /// Stops the workers and waits for them; their sockets are closed then.
    pub fn stop(&mut self) {
        for worker in self.handle.workers.iter() {
            worker.doorbell.stop();
        }
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Drop for MediaDriver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How a worker hears of the disk. Its thread waits where the worker's does not.
fn answering(commands: &SyncSender<Order>, doorbell: &Arc<Doorbell>) -> Answering {
    let (commands, doorbell) = (commands.clone(), Arc::clone(doorbell));
    Arc::new(move |news| {
        // A worker that has stopped needs no answer.
        if commands.send(Order::File(news)).is_ok() {
            doorbell.ring();
        }
    })
}

/// One worker, on its thread.
struct Turn {
    media: MediaCore,
    /// Whom it asks about files, and how the answers come back.
    files: Option<(Filing, Answering)>,
    /// The line to the fast path's driver.
    fast: Option<Side>,
    plug: Plug,
    /// How often signalling was restarted.
    generation: u8,
    /// The session that the last command was about.
    current: u64,
    poller: Poller,
    ear: Ear,
    inbox: Receiver<Order>,
    clock: Clock,
    events: EventSink,
    buffer: Vec<u8>,
    told: Told,
}

impl Turn {
    fn run(mut self) {
        let (mut more_commands, mut more_fast) = (false, false);
        while !self.ear.is_stopped() {
            let ready = self.wait(more_commands || more_fast);
            let now = self.clock.now();
            let (mut received, mut forwarded) = (0, 0);
            let tokens = |wanted| (0..ready).any(|at| self.poller.token(at) == Some(wanted));
            // Before packets: which way they go is known then.
            more_fast = (more_fast || self.fast.is_some() && tokens(FAST)) && self.on_fast(now);
            let mut woken = more_commands;
            for at in 0..ready {
                match self.poller.token(at) {
                    Some(WAKE) => woken = true,
                    Some(FAST) => {}
                    Some(LINE) => self.plug.on_line(),
                    Some(port) => self.on_ready(now, port as u16, &mut received, &mut forwarded),
                    None => {}
                }
            }
            more_commands = woken && self.on_commands(now);
            let due = self.media.poll_timeout().is_some_and(|due| due <= now);
            if due {
                self.media.handle_timeout(now, &mut self.plug);
            }
            let rerouted = self.follow_hops(now);
            // Packets bring news too, as of keys.
            if due || rerouted || received > 0 {
                self.settle();
            }
            self.told.received(received, forwarded);
            self.told.tell(&self.media, &self.plug);
        }
    }

    /// How many ports are ready, the doorbell included.
    fn wait(&mut self, more_waits: bool) -> usize {
        let fast = self.fast.as_ref().and_then(Side::poll_timeout);
        let due = self.media.poll_timeout().into_iter().chain(fast).min();
        let timeout = match more_waits {
            true => Some(std::time::Duration::ZERO),
            false => due.map(|due| due.since(self.clock.now())),
        };
        match self.poller.wait(timeout) {
            Ok(ready) => ready,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => {
                // Only a fault of ours can cause it; without this a loop would burn the core.
                tracing::error!("media worker cannot wait for packets: {e}");
                std::thread::sleep(std::time::Duration::from_millis(100));
                0
            }
        }
    }

    fn on_ready(&mut self, now: Instant, number: u16, received: &mut u64, forwarded: &mut u64) {
        for _ in 0..DATAGRAMS_PER_ROUND {
            let Some(port) = self.plug.port(number) else {
                return self.plug.discard(number);
            };
            // An error is that the port is empty, or an ICMP error of a packet that we sent, which
            // is taken off by reading it.
            let Ok((length, Some(source))) = port.receive(&mut self.buffer) else {
                return;
            };
            *received += 1;
            self.plug.count(number);
            let packet = &mut Datagram::new(&mut self.buffer, length);
            let sent = self
                .media
                .process(now, number, source, packet, &mut self.plug);
            *forwarded += u64::from(sent);
        }
    }

    /// Whether more commands wait than one round takes.
    fn on_commands(&mut self, now: Instant) -> bool {
        self.ear.hush();
        for _ in 0..COMMANDS_PER_ROUND {
            match self.inbox.try_recv() {
                Ok(Order::Command(command)) => self.on_command(now, command),
                Ok(Order::NewSignal) => self.generation = self.generation.wrapping_add(1),
                Ok(Order::File(news)) => {
                    self.media.handle_file(now, news);
                    self.settle();
                }
                Ok(Order::Broker(line, adopt)) => {
                    adopt(self.plug.bound());
                    match self.plug.set_line(line, &self.poller) {
                        Ok(()) => {}
                        Err(error) => tracing::error!("no line to the broker: {error}"),
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    /// Takes what the fast path's driver says or hands over; whether more of it may wait.
    fn on_fast(&mut self, now: Instant) -> bool {
        if let Some(side) = &self.fast {
            side.hush();
        }
        let mut taken = 0;
        while taken < FAST_PER_ROUND
            && let Some(news) = self.fast.as_mut().and_then(Side::poll)
        {
            taken += 1;
            match news {
                FromDriver::News(port, news) => self.media.handle_flow(now, port, news),
                FromDriver::Packet(mut packet) => {
                    let (port, source) = (packet.port, packet.source);
                    let payload = &mut Datagram::new(&mut packet.buffer, packet.length);
                    self.media
                        .process(now, port, source, payload, &mut self.plug);
                }
                FromDriver::Lost(counted) => {
                    for (port, stats) in counted {
                        self.media.handle_flow(now, port, FlowNews::Counted(stats));
                    }
                    self.media.fast_path_lost(now);
                    self.fast = None;
                }
            }
        }
        if taken > 0 {
            self.settle();
        }
        taken == FAST_PER_ROUND
    }

    /// Has flows follow their next hops where these changed; whether one lost its way.
    fn follow_hops(&mut self, now: Instant) -> bool {
        let Some(side) = &mut self.fast else {
            return false;
        };
        if side.poll_timeout().is_none_or(|due| now < due) {
            return false;
        }
        let lost = side.handle_timeout(now);
        for (port, news) in &lost {
            self.media.handle_flow(now, *port, *news);
        }
        !lost.is_empty()
    }

    /// Passes on what the relay wants of the fast path.
    fn order_flows(&mut self) {
        let now = self.clock.now();
        while let Some(order) = self.media.poll_flow() {
            let Some(side) = &mut self.fast else {
                continue;
            };
            if let Some((port, news)) = side.order(now, order) {
                self.media.handle_flow(now, port, news);
            }
        }
    }

    fn on_command(&mut self, now: Instant, command: MediaOrder) {
        let ports = command.ports();
        for &port in &ports {
            // Sessions of a signalling that is gone make room.
            if let Some(orphan) = self.plug.holder(port).filter(|&s| !self.is_ours(s)) {
                let session = orphan;
                self.close(now, session);
                self.settle();
            }
        }
        self.current = command.session() ^ self.mark();
        let command = command.rename(self.current);
        self.media.handle_order(now, command, &mut self.plug);
        for port in ports {
            self.plug
                .unlatch(port, self.media.locked_peer(port), &self.poller);
        }
        self.settle();
    }

    fn close(&mut self, now: Instant, session: u64) {
        let close = MediaCommand::Close { session };
        let close = MediaOrder::Relay(close);
        self.media.handle_order(now, close, &mut self.plug);
    }

    fn mark(&self) -> u64 {
        u64::from(self.generation) << GENERATION_SHIFT
    }

    fn is_ours(&self, session: u64) -> bool {
        session >> GENERATION_SHIFT == u64::from(self.generation)
    }

    /// Asks the disk what the studio wants to know of it.
    fn ask_disk(&mut self) {
        while let Some(ask) = self.media.poll_file() {
            let refused = match &self.files {
                Some((filing, answering)) => filing.ask(ask, answering),
                None => Err(refused(&ask)),
            };
            if let Err(news) = refused {
                let now = self.clock.now();
                self.media.handle_file(now, news);
            }
        }
    }

    /// Does what the relay wants with sockets, then passes on what it has to say.
    fn settle(&mut self) {
        self.ask_disk();
        self.order_flows();
        let mut wanted = Vec::new();
        loop {
            match self.media.poll_socket() {
                Some(SocketAction::Bind(address)) => wanted.push(address),
                Some(SocketAction::Unbind(port)) => {
                    // In their order: what is unbound may be bound anew.
                    self.bind(std::mem::take(&mut wanted));
                    self.plug.release(self.clock.now(), port, &self.poller);
                }
                None if wanted.is_empty() => break,
                Some(SocketAction::Listen(port)) => self.plug.listen(port),
                // What fails gives rise to more.
                None => self.bind(std::mem::take(&mut wanted)),
            }
        }
        let mut closed = false;
        while let Some(event) = self.media.poll_news() {
            let session = event.session();
            if self.is_ours(session) {
                (self.events)(event.rename(session ^ self.mark()));
            } else if matches!(event, MediaNews::Relay(MediaEvent::Timeout { .. })) {
                let now = self.clock.now();
                self.close(now, session);
                closed = true;
            }
        }
        if closed {
            self.settle();
        }
    }

    fn bind(&mut self, wanted: Vec<SocketAddr>) {
        for (address, error) in self.plug.bind(&wanted, self.current, &self.poller) {
            tracing::warn!("cannot bind media port {address}: {error}");
            let error = match error.raw_os_error() {
                // The broker's absence, too: the port is not to blame.
                None | Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    BindError::Exhausted
                }
                Some(_) => BindError::Refused,
            };
            self.media.bind_failed(address.port(), error);
        }
    }
}
