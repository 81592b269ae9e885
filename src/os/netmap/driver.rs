//! The threads that carry frames between a card's rings and the kernel's: one for each pair of the
//! card's rings, on a CPU of its own. It sleeps in poll(2), which also has netmap synchronize the
//! rings; if it shall not sleep it has them synchronized by ioctl(2) again and again.
//!
//! A ring to the card is taken back by ioctl(2) once it is nearly full: netmap_poll
//! (sys/dev/netmap/netmap.c), asked for what comes alone, leaves a ring that has nothing new to
//! send as it is, and with it the slots of all that was sent.

use super::faults::{Faults, Patience};
use super::ready::{Interface, Mode};
use super::registration::{Registered, System, Woken, register};
use super::turn::{BATCH_MAX, Tally, Turn, Worker};
use crate::base::Instant;
use crate::config::{FastpathMode, NetmapPort};
use crate::os::clock::Clock;
use crate::os::doorbell::{Ear, doorbell};
use crate::os::fast::{
    Card, Exchange, Figures, Gate, Hops, Link, ONE_FOR_ALL, QueueFigures, Running, Started,
    flows_max,
};
use crate::os::pin::pin;
use crate::relay::frame::FlowTable;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The longest sleep, in milliseconds.
const SLEEP_MS: u16 = 1000;
/// The longest sleep, in milliseconds, while a ring to the card is nearly full: nobody tells that
/// the card has sent.
const RECLAIM_MS: u16 = 1;
/// How long frames of the stack are left alone that find no room at the card.
const FULL_PAUSE: Duration = Duration::from_micros(100);
/// How often a thread that does not sleep calls poll(2).
const POLL_INTERVAL: Duration = Duration::from_secs(1);

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
    /// The kernel's yet: the descriptors of one thread, or of the holder and of each thread.
    Open(Vec<Box<dyn System>>),
    /// Ours: frames wait in its rings until the driver starts.
    Taken(Vec<Registered>),
}

impl Opened {
    /// A port that can be registered: of this interface, by open descriptors.
    pub fn new(
        port: NetmapPort,
        interface: Interface,
        systems: Vec<Box<dyn System>>,
        hops: Vec<Box<dyn Hops>>,
    ) -> Self {
        Self {
            port,
            interface,
            card: Stage::Open(systems),
            hops,
        }
    }

    /// Registers it, if it is not yet: the driver shall be started soon.
    pub fn take(mut self) -> Result<Self, String> {
        self.card = match self.card {
            Stage::Open(systems) => {
                let mtu = self.interface.mtu;
                Stage::Taken(register(systems, &self.port, mtu)?)
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
    fn open(&self, _ours: SocketAddr, _vlan: Option<u16>) {}
    fn close(&self, _port: u16) {}
}

impl Card for Opened {
    fn start(self: Box<Self>, clock: Clock, mode: FastpathMode) -> io::Result<Started> {
        // As late as can be: until the threads run nothing reaches the kernel's stack.
        let mut this = self.take().map_err(io::Error::other)?;
        let Stage::Taken(taken) = this.card else {
            return Err(io::ErrorKind::Other.into());
        };
        let mode = this.interface.mode_for(mode);
        let name = format!("netmap:{}", this.port.name());
        let queues = taken.iter().map(|one| one.turn.tallies().count()).sum();
        let link = Link {
            gate: Arc::new(Open),
            hardware_address: this.interface.hardware_address,
            figures: Arc::new(Figures::of(&name, how(&taken), queues)),
            owners: Arc::default(),
        };
        let (mut bells, mut ears) = (Vec::new(), Vec::new());
        for _ in &taken {
            let (bell, ear) = doorbell()?;
            bells.push(bell);
            ears.push(ear);
        }
        let hops = std::mem::take(&mut this.hops);
        let (exchanges, sides) = Exchange::new(flows_max(taken.len()), &link, &bells, hops)?;
        let (mut parts, mut first_queue) = (Vec::new(), 0);
        for ((registered, exchange), ear) in taken.into_iter().zip(exchanges).zip(ears) {
            let Registered { turn, system, hold } = registered;
            let queues = turn.tallies().count();
            let driver = Driver {
                turn,
                system,
                _hold: hold,
                exchange,
                clock,
                ear,
                figures: Arc::clone(&link.figures),
                faults: Faults::default(),
                number: parts.len(),
                mode,
                polled: Instant::ZERO,
                first_queue,
                spare: spare(this.interface.mode),
                interface: this.port.interface().to_owned(),
                told_of_split: false,
            };
            first_queue += queues;
            parts.push(move || driver.run());
        }
        let threads = parts.len();
        if mode == FastpathMode::Busy {
            leave_a_cpu(threads);
        }
        let running = Running::start(&name, &link, bells, parts)?;
        tracing::info!(
            interface = this.port.name(),
            threads,
            "fast path over netmap"
        );
        Ok((running, sides))
    }
}

/// How many frames a ring shall have room for before it is taken back by ioctl(2). Asked so, a
/// kernel that emulates marks a frame on its way (generic_set_tx_event), over which FreeBSD 14.0
/// panics with epair(4): it is asked only when the ring is full, where poll(2) has marked it.
fn spare(mode: Mode) -> u32 {
    match mode {
        Mode::Native => BATCH_MAX,
        Mode::Emulated => 1,
    }
}

/// How the rings are served, in words.
fn how(taken: &[Registered]) -> String {
    let several = |one: &Registered| one.turn.tallies().count() > 1;
    match taken.len() {
        1 if taken.iter().any(several) => ONE_FOR_ALL.to_owned(),
        1 => "rings of the card and of the system".to_owned(),
        threads => format!("rings of the card and of the system, {threads} threads"),
    }
}

/// Says so where threads that do not sleep have all CPUs.
fn leave_a_cpu(threads: usize) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if threads >= cpus {
        tracing::warn!(
            threads,
            cpus,
            "[rtp] fastpath_mode: \"busy\" leaves no CPU to anything else; write \"poll\", or have \
             the card use fewer queues"
        );
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
    _hold: Option<Arc<Mutex<Box<dyn System>>>>,
    exchange: Exchange,
    clock: Clock,
    ear: Ear,
    figures: Arc<Figures>,
    /// What the kernel finds fault with.
    faults: Faults,
    /// Which thread it is.
    number: usize,
    mode: FastpathMode,
    /// When poll(2) was called last.
    polled: Instant,
    /// The number of its first ring among the card's.
    first_queue: usize,
    /// How many frames each ring to the card shall have room for.
    spare: u32,
    /// Its name.
    interface: String,
    /// Whether the log has that frames come in several buffers.
    told_of_split: bool,
}

fn split_text(interface: &str) -> String {
    format!(
        "[rtp] fastpath: netmap:{interface}: a frame came in several buffers and was dropped, as \
         all such are; run 'ifconfig {interface} mtu 1500'"
    )
}

impl Driver {
    fn run(mut self) -> Result<(), String> {
        match pin(self.number) {
            Ok(cpu) => tracing::debug!(thread = self.number, cpu, "netmap"),
            Err(error) => tracing::warn!("a thread of netmap stays on no CPU: {error}"),
        }
        self.show();
        while !self.ear.is_stopped() {
            let changed = self.exchange.change();
            let moved = self.serve();
            match self.mode {
                FastpathMode::Poll => self.rest(changed || moved)?,
                FastpathMode::Busy => self.look_again()?,
            }
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
        if counts.split > 0 && !self.told_of_split {
            self.told_of_split = true;
            tracing::error!("{}", split_text(&self.interface));
        }
        if counts.any() {
            figures
                .batch_max
                .fetch_max(counts.received, Ordering::Relaxed);
            self.show();
        }
        counts.any()
    }

    /// Shows what each ring counts.
    fn show(&self) {
        for (at, tally) in self.turn.tallies().enumerate() {
            if let Some(queue) = self.figures.queue(self.first_queue + at) {
                show(&tally, queue);
            }
        }
    }

    /// Synchronizes without sleeping. Only poll(2) tells of a card that is gone, so that is asked
    /// now and then.
    fn look_again(&mut self) -> Result<(), String> {
        let now = self.clock.now();
        if now.since(self.polled) >= POLL_INTERVAL {
            self.polled = now;
            return self.wait(0);
        }
        let woken = self.system.synchronize();
        // The ioctls do not tell of a ring that the kernel has set back.
        self.turn.resume();
        self.judge(woken)
    }

    /// Sleeps until there is work; while there is, the call synchronizes alone.
    fn rest(&mut self, worked: bool) -> Result<(), String> {
        let mut sleep_ms = if worked { 0 } else { SLEEP_MS };
        if self.turn.is_short(self.spare) {
            // A fault is seen by the poll that follows.
            match self.system.reclaim() {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(format!("netmap: {error}"));
                }
                Ok(_) | Err(_) => {}
            }
            sleep_ms = sleep_ms.min(RECLAIM_MS);
            if !worked && self.turn.is_blocked() {
                std::thread::sleep(FULL_PAUSE);
            }
        }
        self.wait(sleep_ms)
    }

    fn wait(&mut self, sleep_ms: u16) -> Result<(), String> {
        let woken = self.system.wait(self.ear.as_fd(), sleep_ms);
        // Before the workers' changes are looked at.
        self.ear.hush();
        self.judge(woken)
    }

    fn judge(&mut self, woken: io::Result<Woken>) -> Result<(), String> {
        match woken {
            Ok(Woken::Ready) => {
                if self.faults.pass() {
                    tracing::info!("[rtp] fastpath: netmap:{} is well again", self.interface);
                }
            }
            Ok(fault) => return self.on_fault(fault),
            // A round too early, no more.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("netmap: {error}")),
        }
        Ok(())
    }

    fn on_fault(&mut self, fault: Woken) -> Result<(), String> {
        let said = match fault {
            // poll(2) says no more; the ioctls know whether the card is there.
            Woken::Fault => match self.system.synchronize() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Woken::Fault,
                said => said.map_err(|error| format!("netmap: {error}"))?,
            },
            said => said,
        };
        self.turn.resume();
        let name = &self.interface;
        let pause = match self.faults.add(self.clock.now(), said) {
            Patience::Short(pause) => pause,
            Patience::Told(pause) => {
                tracing::warn!(
                    "[rtp] fastpath: netmap:{name}: the kernel finds fault with the card, which is \
                     tried again each second; calls go on by sockets where there is a way"
                );
                pause
            }
            Patience::Gone => return Err("the card is gone".into()),
        };
        self.pause(pause)
    }

    /// Waits without the card, for changes by workers too.
    fn pause(&self, time: Duration) -> Result<(), String> {
        if self.ear.is_stopped() {
            return Ok(());
        }
        let ms = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
        let mut ear = [PollFd::new(self.ear.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ear, PollTimeout::from(ms)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(format!("netmap: {error}")),
        }
        self.ear.hush();
        Ok(())
    }
}

fn show(tally: &Tally, queue: &QueueFigures) {
    let counts = [
        (&queue.received, tally.received),
        (&queue.sent, tally.sent),
        (&queue.overruns, tally.full),
        (&queue.room, u64::from(tally.room)),
        (&queue.sending, u64::from(tally.sending)),
    ];
    for (figure, count) in counts {
        figure.store(count, Ordering::Relaxed);
    }
}
