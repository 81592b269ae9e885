//! The thread that carries frames between a card's rings and the kernel's: one for each card. It
//! sleeps in poll(2), which also has netmap synchronize the rings.

use super::ready::Interface;
use super::registration::{Registered, System, Woken, register};
use super::turn::{Turn, Worker};
use crate::config::NetmapPort;
use crate::os::clock::Clock;
use crate::os::doorbell::{Ear, doorbell};
use crate::os::fast::{Card, Exchange, Figures, Gate, Hops, Link, Running, Started};
use crate::relay::frame::FlowTable;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The most flows.
pub const FLOWS_MAX: usize = 65_536;
/// The longest sleep, in milliseconds.
const SLEEP_MS: u16 = 1000;
/// How long a driver pauses whose card the kernel finds fault with.
const FAULT_PAUSE: Duration = Duration::from_millis(100);
/// So often in a row: a ring that was set back is well the next time, a card that is gone is not.
const FAULTS_MAX: u32 = 20;

/// A port that is ours to drive.
pub struct Opened {
    port: NetmapPort,
    interface: Interface,
    card: Stage,
    /// One for each worker.
    hops: Vec<Box<dyn Hops>>,
}

/// Whose the card is.
enum Stage {
    /// The kernel's yet.
    Open(Box<dyn System>),
    /// Ours: frames wait in its rings until the driver starts.
    Taken(Registered),
}

impl Opened {
    /// A port that can be registered: of this interface, by an open descriptor.
    pub fn new(
        port: NetmapPort,
        interface: Interface,
        system: Box<dyn System>,
        hops: Vec<Box<dyn Hops>>,
    ) -> Self {
        Self {
            port,
            interface,
            card: Stage::Open(system),
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

impl Card for Opened {
    fn start(mut self: Box<Self>, clock: Clock) -> io::Result<Started> {
        let (bell, ear) = doorbell()?;
        let name = format!("netmap:{}", self.port.name());
        let figures = Figures::of(&name, "rings of the card and of the system", 0);
        let link = Link {
            gate: Arc::new(Open),
            wake: bell,
            hardware_address: self.interface.hardware_address,
            figures: Arc::new(figures),
            owners: Arc::default(),
        };
        let hops = std::mem::take(&mut self.hops);
        let (exchange, sides) = Exchange::new(FLOWS_MAX, link.clone(), hops)?;
        // As late as can be: until the thread runs nothing reaches the kernel's stack.
        let this = self.take().map_err(io::Error::other)?;
        let Stage::Taken(Registered { turn, system }) = this.card else {
            return Err(io::ErrorKind::Other.into());
        };
        let driver = Driver {
            turn,
            system,
            exchange,
            clock,
            ear,
            figures: Arc::clone(&link.figures),
            faults: 0,
        };
        let running = Running::start(name, &link, move || driver.run())?;
        tracing::info!(interface = this.port.name(), "fast path over netmap");
        Ok((running, sides))
    }
}

impl Worker for Exchange {
    fn table(&mut self) -> &mut FlowTable {
        &mut self.table
    }

    fn punt(&mut self, frame: &[u8]) -> bool {
        Exchange::punt(self, frame)
    }
}

/// The thread's own.
struct Driver {
    /// Named before the system: the rings go before their memory does.
    turn: Turn,
    system: Box<dyn System>,
    exchange: Exchange,
    clock: Clock,
    ear: Ear,
    figures: Arc<Figures>,
    /// How often in a row the kernel found fault with the card.
    faults: u32,
}

impl Driver {
    fn run(mut self) -> Result<(), String> {
        while !self.ear.is_stopped() {
            let changed = self.exchange.change();
            let moved = self.serve();
            // Nothing is waited for while there is work: the call then synchronizes alone.
            let sleep_ms = if changed || moved { 0 } else { SLEEP_MS };
            self.wait(sleep_ms)?;
        }
        // What lies in the rings goes out before the card goes back.
        self.wait(0)
    }

    /// One turn through the rings; whether anything moved.
    fn serve(&mut self) -> bool {
        let counts = self.turn.take(self.clock.now(), &mut self.exchange);
        let figures = &self.figures;
        Figures::add(&figures.received, counts.received);
        Figures::add(&figures.sent, counts.sent);
        Figures::add(&figures.punted, counts.punted);
        Figures::add(&figures.dropped, counts.dropped);
        Figures::add(&figures.full, counts.full);
        if counts.dropped > 0 {
            self.exchange.show();
        }
        let batch = counts.received;
        figures.batch_max.fetch_max(batch, Ordering::Relaxed);
        counts.any()
    }

    fn wait(&mut self, sleep_ms: u16) -> Result<(), String> {
        let woken = self.system.wait(self.ear.as_fd(), sleep_ms);
        // Before the workers' changes are looked at.
        self.ear.hush();
        match woken {
            Ok(Woken::Ready) => self.faults = 0,
            Ok(Woken::Fault) => {
                self.faults += 1;
                if self.faults > FAULTS_MAX {
                    return Err("netmap finds fault with the card; is it still there?".into());
                }
                self.turn.resume();
                std::thread::sleep(FAULT_PAUSE);
            }
            // A round too early, no more.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("poll: {error}")),
        }
        Ok(())
    }
}
