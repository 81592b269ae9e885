//! The fast path over AF_XDP: one thread serves all queues of one interface. Frames to ports of
//! flows come to it instead of the kernel, [`process`] rewrites them where they lie, and they leave
//! by the ring of the queue that they came by.
//!
//! What it takes: Linux 5.10 or later, root (or CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW) at the start,
//! and an interface of Ethernet on which no other XDP program hangs. Frames with VLAN tags are left
//! to the kernel.

mod program;
mod rings;

pub use program::Mode;
pub use rings::queues_of;

use self::program::{Ports, Program};
use self::rings::{FRAMES_PER_QUEUE, Frames, Queue, frame_of};
use super::card;
use super::hops::{Interface, Neighbours};
use crate::base::Instant;
use crate::config::FastpathMode;
use crate::os::clock::Clock;
use crate::os::doorbell::{Ear, doorbell};
use crate::os::fast::{
    Card, Exchange, Figures, Hops, Link, QUEUES_MAX, QueueFigures, Running, Started,
};
use crate::relay::frame::{Frame, Verdict, prepare, process};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The most flows.
pub const FLOWS_MAX: usize = 65_536;
/// The most frames that are looked at before the next queue has its turn.
const BATCH_MAX: usize = 64;
/// How often the kernel is asked to send, where it sends a part each time.
const SENDS_MAX: usize = 16;
/// The longest sleep, in milliseconds.
const SLEEP_MS: u16 = 1000;
/// How often the queues are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// An interface that is ready: the program hangs on it, and no port is open yet.
#[derive(Debug)]
pub struct Opened {
    name: String,
    interface: Interface,
    program: Program,
    ports: Arc<Ports>,
    frames: Frames,
    queues: Vec<Queue>,
    mode: &'static str,
    /// One for each worker.
    hops: Vec<Box<dyn Hops>>,
}

/// Why there is no fast path, with the remedy.
fn cannot(name: &str, what: &str, error: &io::Error) -> String {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "start as root",
        Some(libc::EBUSY) => {
            "another program hangs there; see 'ip link show', and take it off with 'ip link set \
             dev NAME xdp off'"
        }
        Some(libc::ENOSYS | libc::EINVAL | libc::EAFNOSUPPORT) => {
            "Linux 5.10 or later with CONFIG_XDP_SOCKETS is needed"
        }
        Some(libc::ENOBUFS | libc::ENOMEM) => "raise the limit of locked memory (ulimit -l)",
        _ => "write fastpath = \"off\" to go on by sockets",
    };
    let remedy = remedy.replace("NAME", name);
    format!("[rtp] fastpath: {name}: {what}: {error}; {remedy}")
}

/// Takes the interface of this name, for so many workers. Needs root; what comes after does not.
/// Says all that may be the cause where it cannot, or not in the best way.
pub fn open(name: &str, workers: usize) -> Result<Opened, String> {
    let opened = take(name, workers);
    let facts = card::facts(name);
    let troubles = facts.troubles();
    match opened {
        Ok(opened) => {
            for trouble in troubles {
                tracing::warn!(interface = name, "fast path: {trouble}");
            }
            Ok(opened)
        }
        Err(error) if facts.is_there => {
            let said: Vec<String> = std::iter::once(error).chain(troubles).collect();
            Err(said.join("; "))
        }
        Err(error) => Err(error),
    }
}

fn take(name: &str, workers: usize) -> Result<Opened, String> {
    let interface = Interface::find(name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("[rtp] fastpath: no Ethernet interface is called {name}; see 'ip link'")
        }
        _ => cannot(name, "interface", &error),
    })?;
    let fail = |what| move |error: io::Error| cannot(name, what, &error);
    let (program, ports) = Program::attach(interface.index, QUEUES_MAX).map_err(fail("program"))?;
    let count = rings::queues_of(name).clamp(1, QUEUES_MAX);
    let frames = Frames::new(count as usize * FRAMES_PER_QUEUE).map_err(fail("memory"))?;
    let mut queues: Vec<Queue> = Vec::new();
    for number in 0..count {
        let queue = Queue::bind(interface.index, number, &frames, queues.first());
        let queue = queue.map_err(fail("socket"))?;
        program.join(number, queue.raw()).map_err(fail("queue"))?;
        queues.push(queue);
    }
    let hops = (0..workers.max(1))
        .map(|_| -> io::Result<Box<dyn Hops>> { Ok(Box::new(Neighbours::new(interface)?)) });
    let hops: io::Result<Vec<_>> = hops.collect();
    let mode = match (program.mode, queues.iter().all(Queue::is_zero_copy)) {
        (Mode::Native, true) => "native, without copies",
        (Mode::Native, false) => "native, with copies",
        (Mode::Generic, _) => {
            "generic: its driver has no place for XDP programs, so this is slower"
        }
    };
    tracing::info!(
        interface = name,
        queues = count,
        mode,
        "fast path over AF_XDP"
    );
    Ok(Opened {
        name: name.into(),
        interface,
        program,
        ports: Arc::new(ports),
        frames,
        queues,
        mode,
        hops: hops.map_err(fail("routes"))?,
    })
}

impl Card for Opened {
    fn start(self: Box<Self>, clock: Clock, mode: FastpathMode) -> io::Result<Started> {
        let (bell, ear) = doorbell()?;
        let name = format!("xdp:{}", self.name);
        let figures = Figures::of(&name, self.mode, self.queues.len());
        let link = Link {
            gate: self.ports,
            hardware_address: self.interface.hardware_address,
            figures: Arc::new(figures),
            owners: Arc::default(),
        };
        let bells = vec![bell];
        let (mut exchanges, sides) = Exchange::new(FLOWS_MAX, &link, &bells, self.hops)?;
        let exchange = exchanges.pop().ok_or(io::ErrorKind::Other)?;
        let free = 0..(self.queues.len() * FRAMES_PER_QUEUE) as u64;
        let driver = Driver {
            exchange,
            free: free.map(|n| n * rings::FRAME_BYTES as u64).collect(),
            frames: self.frames,
            queues: self.queues,
            clock,
            looked: Instant::ZERO,
            mode,
            ear,
            link: link.clone(),
            batch: Vec::with_capacity(BATCH_MAX),
            _program: self.program,
        };
        let parts = vec![move || driver.run()];
        Ok((Running::start(&name, &link, bells, parts)?, sides))
    }
}

/// The thread's own.
struct Driver {
    exchange: Exchange,
    frames: Frames,
    /// Frames that are nowhere.
    free: Vec<u64>,
    queues: Vec<Queue>,
    clock: Clock,
    /// When the queues were looked at last.
    looked: Instant,
    mode: FastpathMode,
    ear: Ear,
    link: Link,
    /// Address and length of the frames of the batch.
    batch: Vec<(u64, usize)>,
    _program: Program,
}

impl Driver {
    fn run(mut self) -> Result<(), String> {
        for at in 0..self.queues.len() {
            self.refill(at);
        }
        while !self.ear.is_stopped() {
            let mut worked = self.exchange.change();
            for at in 0..self.queues.len() {
                worked |= self.serve(at);
            }
            if !worked {
                self.reclaim_all();
                match self.mode {
                    FastpathMode::Poll => self.sleep(),
                    FastpathMode::Busy => std::hint::spin_loop(),
                }
            }
            self.look()?;
        }
        Ok(())
    }

    /// Now and then: shows what queues count, and whether the interface is still there. poll(2)
    /// tells nothing of a socket whose interface is gone: it is never ready.
    fn look(&mut self) -> Result<(), String> {
        let now = self.clock.now();
        if now.since(self.looked) < LOOK_INTERVAL {
            return Ok(());
        }
        self.looked = now;
        self.exchange.show();
        for (at, queue) in self.queues.iter().enumerate() {
            if let Some(figures) = self.link.figures.queue(at) {
                show(queue, figures);
            }
        }
        match self.queues.iter().find_map(Queue::error) {
            Some(error) => Err(format!("the interface is gone: {error}")),
            None => Ok(()),
        }
    }

    /// Gives one queue its turn; whether frames came.
    fn serve(&mut self, at: usize) -> bool {
        self.reclaim(at);
        let Some(queue) = self.queues.get_mut(at) else {
            return false;
        };
        self.batch.clear();
        while self.batch.len() < BATCH_MAX
            && let Some(entry) = queue.receive.take()
        {
            self.batch.push((entry.addr, entry.len as usize));
        }
        if self.batch.is_empty() {
            return false;
        }
        queue.receive.release();
        self.forward(at);
        self.refill(at);
        true
    }

    /// Takes back frames that were sent.
    fn reclaim(&mut self, at: usize) {
        let Some(queue) = self.queues.get_mut(at).filter(|queue| queue.sending > 0) else {
            return;
        };
        while let Some(address) = queue.completion.take() {
            self.free.push(frame_of(address));
            queue.sending = queue.sending.saturating_sub(1);
        }
        queue.completion.release();
    }

    fn forward(&mut self, at: usize) {
        let Some(queue) = self.queues.get_mut(at) else {
            return;
        };
        for &(address, length) in &self.batch {
            let frame = self.frames.buffer(address);
            if let Some(frame) = frame.and_then(|frame| frame.get(..length)) {
                prepare(frame, &self.exchange.table);
            }
        }
        let now = self.clock.now();
        let (mut sent, mut punted, mut dropped, mut full) = (0, 0, 0, 0);
        let mut overruns = 0;
        for &(address, length) in &self.batch {
            let buffer = self.frames.buffer(address);
            let Some(mut frame) = buffer.and_then(|buffer| Frame::new(buffer, length)) else {
                dropped += 1;
                self.free.push(frame_of(address));
                continue;
            };
            match process(&mut frame, &mut self.exchange.table, now) {
                Verdict::Forward { .. } => {
                    let entry = libc::xdp_desc {
                        addr: address,
                        len: frame.length() as u32,
                        options: 0,
                    };
                    if queue.send.put(entry) {
                        queue.sending += 1;
                        sent += 1;
                        continue;
                    }
                    overruns += 1;
                }
                // The worker does with it what it does with a socket's.
                Verdict::Punt | Verdict::Host => match self.exchange.punt(frame.bytes()) {
                    true => punted += 1,
                    false => full += 1,
                },
                Verdict::Drop(_) => dropped += 1,
            }
            self.free.push(frame_of(address));
        }
        if sent > 0 {
            queue.send.publish();
            for _ in 0..SENDS_MAX {
                if !queue.send.is_pending() || !queue.send.needs_wake_up() {
                    break;
                }
                queue.wake_sender();
            }
        }
        let figures = &self.link.figures;
        let batch = self.batch.len() as u64;
        full += overruns;
        for (count, more) in queue.counts.iter_mut().zip([batch, sent, overruns]) {
            *count += more;
        }
        Figures::add(&figures.received, batch);
        Figures::add(&figures.sent, sent);
        Figures::add(&figures.punted, punted);
        Figures::add(&figures.dropped, dropped + full);
        Figures::add(&figures.full, full);
        figures.batch_max.fetch_max(batch, Ordering::Relaxed);
    }

    /// Gives the kernel frames to receive into.
    fn refill(&mut self, at: usize) {
        let Some(queue) = self.queues.get_mut(at) else {
            return;
        };
        let mut any = false;
        while let Some(address) = self.free.pop() {
            if !queue.fill.put(address) {
                self.free.push(address);
                break;
            }
            any = true;
        }
        if any {
            queue.fill.publish();
            if queue.fill.needs_wake_up() {
                queue.wake_receiver();
            }
        }
    }

    /// Takes back what was sent, and has the kernel send what it left.
    fn reclaim_all(&mut self) {
        for at in 0..self.queues.len() {
            self.reclaim(at);
            // What the kernel left, being busy.
            if let Some(queue) = self.queues.get(at).filter(|queue| queue.send.is_pending()) {
                queue.wake_sender();
            }
        }
    }

    /// Until frames come or a worker rings.
    fn sleep(&self) {
        // The ear, then a place for each queue.
        let mut wait: [PollFd<'_>; 1 + QUEUES_MAX as usize] = std::array::from_fn(|place| {
            let queue = place.checked_sub(1).and_then(|at| self.queues.get(at));
            let fd = queue.map_or(self.ear.as_fd(), Queue::as_fd);
            PollFd::new(fd, PollFlags::POLLIN)
        });
        let wanted = wait.get_mut(..=self.queues.len()).unwrap_or_default();
        // An interruption is a round too early, no more.
        let _ = poll(wanted, PollTimeout::from(SLEEP_MS));
        self.ear.hush();
    }
}

/// Shows what a queue and the kernel counted.
fn show(queue: &Queue, figures: &QueueFigures) {
    let [received, sent, overruns] = queue.counts;
    let ours = [
        (&figures.received, received),
        (&figures.sent, sent),
        (&figures.overruns, overruns),
        (&figures.room, u64::from(queue.fill.waiting())),
        (&figures.sending, u64::from(queue.sending)),
    ];
    let kernels = queue.statistics().map(|kernel| {
        let invalid = kernel.rx_invalid_descs + kernel.tx_invalid_descs;
        [
            (&figures.kernel_dropped, kernel.rx_dropped),
            (&figures.ring_full, kernel.rx_ring_full),
            (&figures.room_empty, kernel.rx_fill_ring_empty_descs),
            (&figures.invalid, invalid),
        ]
    });
    for (figure, count) in ours.into_iter().chain(kernels.into_iter().flatten()) {
        figure.store(count, Ordering::Relaxed);
    }
}
