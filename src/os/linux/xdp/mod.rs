//! The fast path over AF_XDP: threads serve the queues of one interface ([`driver`]). Frames to
//! ports of flows come to them instead of the kernel ([`program`]), are rewritten where they lie,
//! and leave by the ring of the queue that they came by.
//!
//! Each queue has rings and frames of its own ([`rings`]) and one thread, which stays on a CPU of
//! its own; there are as many threads as queues, but no more than CPUs, and no more than
//! [`THREADS_MAX`]. Threads that do not sleep leave one CPU to all else. Where there are fewer
//! threads than queues they take turns: thread n of t serves the queues n, n + t and so on, whose
//! interrupts most drivers spread likewise. A thread that has all queues stays on no CPU.
//!
//! What it takes: Linux 5.10 or later, root (or CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW) at the start,
//! and an interface of Ethernet on which no other XDP program hangs. VLANs' interfaces upon it are
//! ways by it, if the card leaves tags in frames.

mod driver;
mod program;
mod rings;

pub use program::Mode;
pub use rings::queues_of;

use self::driver::Driver;
use self::program::{Ports, Program};
use self::rings::Queue;
use super::card;
use super::hops::{Interface, Neighbours};
use crate::base::Instant;
use crate::config::FastpathMode;
use crate::os::clock::Clock;
use crate::os::doorbell::doorbell;
use crate::os::fast::{
    Card, Exchange, Figures, Hops, Link, QUEUES_MAX, Running, Started, flows_max,
};
use std::io;
use std::num::NonZero;
use std::sync::Arc;

/// The most threads, each of which has a table of all flows.
pub const THREADS_MAX: usize = 16;

/// An interface that is ready: the program hangs on it, and no port is open yet.
#[derive(Debug)]
pub struct Opened {
    name: String,
    interface: Interface,
    program: Program,
    ports: Arc<Ports>,
    queues: Vec<Queue>,
    mode: &'static str,
    /// How many CPUs this process may use.
    cpus: usize,
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
    let mut queues: Vec<Queue> = Vec::new();
    for number in 0..count {
        let queue = Queue::bind(interface.index, number).map_err(fail("queue"))?;
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
    Ok(Opened {
        name: name.into(),
        interface,
        program,
        ports: Arc::new(ports),
        queues,
        mode,
        cpus: std::thread::available_parallelism().map_or(1, NonZero::get),
        hops: hops.map_err(fail("routes"))?,
    })
}

/// How many threads serve so many queues.
fn threads(queues: usize, cpus: usize, mode: FastpathMode) -> usize {
    let free = match mode {
        FastpathMode::Poll => cpus,
        // What does not sleep leaves nothing to others.
        FastpathMode::Busy => cpus.saturating_sub(1),
    };
    queues.min(free).clamp(1, THREADS_MAX)
}

/// Which thread has which queues.
fn deal(queues: Vec<Queue>, threads: usize) -> Vec<Vec<Queue>> {
    let mut dealt: Vec<Vec<Queue>> = (0..threads).map(|_| Vec::new()).collect();
    for (at, queue) in queues.into_iter().enumerate() {
        if let Some(thread) = at.checked_rem(threads).and_then(|n| dealt.get_mut(n)) {
            thread.push(queue);
        }
    }
    dealt
}

impl Card for Opened {
    fn start(self: Box<Self>, clock: Clock, mode: FastpathMode) -> io::Result<Started> {
        let name = format!("xdp:{}", self.name);
        let queues = self.queues.len();
        let threads = threads(queues, self.cpus, mode);
        let how = match threads {
            1 => self.mode.to_owned(),
            _ => format!("{}, {threads} threads", self.mode),
        };
        let link = Link {
            gate: self.ports,
            hardware_address: self.interface.hardware_address,
            figures: Arc::new(Figures::of(&name, how, queues)),
            owners: Arc::default(),
        };
        let (mut bells, mut ears) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (bell, ear) = doorbell()?;
            bells.push(bell);
            ears.push(ear);
        }
        let (exchanges, sides) = Exchange::new(flows_max(threads), &link, &bells, self.hops)?;
        let program = Arc::new(self.program);
        let dealt = deal(self.queues, threads).into_iter();
        let mut parts = Vec::new();
        for ((queues, exchange), ear) in dealt.zip(exchanges).zip(ears) {
            let driver = Driver {
                exchange,
                queues,
                clock,
                mode,
                ear,
                figures: Arc::clone(&link.figures),
                place: (threads > 1).then_some(parts.len()),
                looked: Instant::ZERO,
                batch: Vec::new(),
                _program: Arc::clone(&program),
            };
            parts.push(move || driver.run());
        }
        tracing::info!(
            interface = self.name,
            queues,
            threads,
            mode = self.mode,
            "fast path over AF_XDP"
        );
        Ok((Running::start(&name, &link, bells, parts)?, sides))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_threads_than_queues_and_cpus() {
        use FastpathMode::{Busy, Poll};
        for (queues, cpus, poll, busy) in [
            (1, 8, 1, 1),
            (2, 2, 2, 1),
            (8, 1, 1, 1),
            (4, 8, 4, 4),
            (8, 8, 8, 7),
            (64, 96, THREADS_MAX, THREADS_MAX),
        ] {
            let chosen = [threads(queues, cpus, Poll), threads(queues, cpus, Busy)];
            assert_eq!(chosen, [poll, busy], "{queues} queues, {cpus} CPUs");
        }
    }
}
