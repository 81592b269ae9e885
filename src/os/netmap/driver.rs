//! The thread that carries frames between a card's rings and the kernel's: one for each card. It
//! sleeps in poll(2), which also has netmap synchronize the rings.

use super::ready::Interface;
use super::registration::{Registered, System, Woken, register};
use super::turn::{Counts, Turn};
use crate::config::NetmapPort;
use crate::os::clock::Clock;
use crate::os::doorbell::{Doorbell, Ear, doorbell};
use crate::os::fast::{
    Card, Carrying, DriverEnd, Figures, Gate, Hops, Link, Punted, Started, line,
};
use crate::relay::frame::{FlowTable, datagram};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

/// The most flows.
pub const FLOWS_MAX: usize = 65_536;
/// The longest sleep, in milliseconds.
const SLEEP_MS: u16 = 1000;
/// How long a driver pauses whose card the kernel finds fault with.
const FAULT_PAUSE: Duration = Duration::from_millis(100);

/// Makes what knows next hops, one for each worker.
pub type HopsMaker = Box<dyn FnMut() -> io::Result<Box<dyn Hops>> + Send>;

/// A port that is ours to drive.
pub struct Opened {
    port: NetmapPort,
    interface: Interface,
    card: Stage,
    workers: usize,
    hops: HopsMaker,
}

/// Whose the card is.
enum Stage {
    /// The kernel's yet.
    Open(Box<dyn System>),
    /// Ours: frames wait in its rings until the driver starts.
    Taken(Registered),
}

impl Opened {
    /// A port that can be registered: of this interface, by an open descriptor, for so many workers.
    pub fn new(
        port: NetmapPort,
        interface: Interface,
        system: Box<dyn System>,
        (workers, hops): (usize, HopsMaker),
    ) -> Self {
        Self {
            port,
            interface,
            card: Stage::Open(system),
            workers,
            hops,
        }
    }

    /// Registers it, if it is not yet: the driver shall be started soon.
    pub fn take(mut self) -> Result<Self, String> {
        self.card = match self.card {
            Stage::Open(system) => {
                let mtu = self.interface.mtu;
                Stage::Taken(register(system, &self.port, mtu)?)
            }
            taken @ Stage::Taken(_) => taken,
        };
        Ok(self)
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opened({})", self.port.name())
    }
}

/// Every frame comes to us, and the flow table alone decides: there is nothing to open.
#[derive(Debug)]
struct Open;

impl Gate for Open {
    fn open(&self, _ours: SocketAddr) {}
    fn close(&self, _port: u16) {}
}

/// The running driver. Dropping it stops it, and gives the card back.
#[derive(Debug)]
pub struct Running {
    thread: Option<JoinHandle<()>>,
    bell: Arc<Doorbell>,
    figures: Arc<Figures>,
}

impl Card for Opened {
    fn start(mut self: Box<Self>, clock: Clock) -> io::Result<Started> {
        let (bell, ear) = doorbell()?;
        let link = Link {
            gate: Arc::new(Open),
            wake: Arc::clone(&bell),
            hardware_address: self.interface.hardware_address,
            figures: Arc::default(),
            owners: Arc::default(),
        };
        let (mut sides, mut ends) = (Vec::new(), Vec::new());
        for number in 0..self.workers.max(1) {
            let (side, end) = line(number as u16, link.clone(), (self.hops)()?)?;
            sides.push(side);
            ends.push(end);
        }
        // As late as can be: until the thread runs nothing reaches the kernel's stack.
        let this = self.take().map_err(io::Error::other)?;
        let Stage::Taken(Registered { turn, system }) = this.card else {
            return Err(io::ErrorKind::Other.into());
        };
        let driver = Driver {
            turn,
            system,
            table: FlowTable::new(FLOWS_MAX),
            rang: vec![false; ends.len()],
            ends,
            clock,
            ear,
            link: link.clone(),
            at_fault: false,
        };
        let name = format!("netmap-{}", this.port.interface());
        let builder = std::thread::Builder::new().name(name);
        let running = Running {
            thread: Some(builder.spawn(move || driver.run())?),
            bell,
            figures: link.figures,
        };
        tracing::info!(interface = this.port.name(), "fast path over netmap");
        Ok((Box::new(running), sides))
    }
}

impl Carrying for Running {
    fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take() {
            // If it panicked it has said so.
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct Driver {
    /// Named before the system: the rings go before their memory does.
    turn: Turn,
    system: Box<dyn System>,
    table: FlowTable,
    ends: Vec<DriverEnd>,
    /// Which workers got packets in this turn.
    rang: Vec<bool>,
    clock: Clock,
    ear: Ear,
    link: Link,
    /// Whether the kernel found fault with the card the last time.
    at_fault: bool,
}

impl Driver {
    fn run(mut self) {
        while !self.ear.is_stopped() {
            let changed = self.change();
            let moved = self.serve();
            // Nothing is waited for while there is work: the call then synchronizes alone.
            let sleep_ms = if changed || moved { 0 } else { SLEEP_MS };
            self.wait(sleep_ms);
        }
        // What lies in the rings goes out before the card goes back.
        self.wait(0);
    }

    /// Carries out what workers want; whether there was anything.
    fn change(&mut self) -> bool {
        let mut any = false;
        for end in &mut self.ends {
            if self.table.apply_changes(&mut end.ring) > 0 {
                any = true;
                end.ring_bell();
            }
        }
        if any {
            let flows = self.table.len() as u64;
            self.link.figures.flows.store(flows, Ordering::Relaxed);
        }
        any
    }

    /// One turn through the rings; whether anything moved.
    fn serve(&mut self) -> bool {
        let (ends, rang, owners) = (&self.ends, &mut self.rang, &self.link.owners);
        let mut punt = |frame: &[u8]| {
            let Some((source, port, payload)) = datagram(frame) else {
                return false;
            };
            let owner = owners.of(port);
            let (Some(end), Some(rang)) = (ends.get(owner), rang.get_mut(owner)) else {
                return false;
            };
            *rang = true;
            let payload = payload.into();
            end.punt(Punted {
                port,
                source,
                payload,
            })
        };
        let counts = self.turn.take(self.clock.now(), &mut self.table, &mut punt);
        for (end, rang) in self.ends.iter().zip(&mut self.rang) {
            if std::mem::take(rang) {
                end.ring_bell();
            }
        }
        self.note(&counts);
        counts.any()
    }

    fn note(&self, counts: &Counts) {
        let figures = &self.link.figures;
        Figures::add(&figures.received, counts.received);
        Figures::add(&figures.sent, counts.sent);
        Figures::add(&figures.punted, counts.punted);
        Figures::add(&figures.dropped, counts.dropped);
        Figures::add(&figures.full, counts.full);
        let batch = counts.received;
        figures.batch_max.fetch_max(batch, Ordering::Relaxed);
    }

    fn wait(&mut self, sleep_ms: u16) {
        let woken = self.system.wait(self.ear.as_fd(), sleep_ms);
        let fault = match woken {
            Ok(Woken::Ready) => false,
            Ok(Woken::Fault) => true,
            // A round too early, no more.
            Err(error) => error.kind() != io::ErrorKind::Interrupted,
        };
        if fault {
            if !self.at_fault {
                tracing::error!("netmap finds fault with the card; is it still there?");
            }
            self.turn.resume();
            std::thread::sleep(FAULT_PAUSE);
        }
        self.at_fault = fault;
        self.ear.hush();
    }
}
