//! What each of a driver's threads owns beside its rings, and how they end.

use super::{DriverEnd, Figures, Hops, Link, Punted, Side, line};
use crate::os::doorbell::Doorbell;
use crate::relay::Datagram;
use crate::relay::frame::{FlowTable, Totals, datagram};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

/// The most flows.
const FLOWS_MAX: usize = 65_536;
/// The most of a driver with many threads, each of which has all flows: places of all tables, of
/// 320 bytes, and what each has at least.
const PLACES_MAX: usize = 4 * FLOWS_MAX;
const FLOWS_MIN: usize = FLOWS_MAX / 4;

/// The most flows of a driver with so many threads.
pub fn flows_max(threads: usize) -> usize {
    (PLACES_MAX / threads.max(1)).clamp(FLOWS_MIN, FLOWS_MAX)
}

/// The flows, and the lines to the workers. Dropping it, as a panic does too, leaves what the flows
/// counted to the workers, which go on by sockets.
#[derive(Debug)]
pub struct Exchange {
    /// The flows.
    pub table: FlowTable,
    ends: Vec<DriverEnd>,
    link: Link,
    /// What the figures have of the table's counts.
    shown: Totals,
}

impl Exchange {
    /// For each thread of a driver, which these bells wake: lines to all workers, who bring what
    /// knows their next hops, and room for so many flows.
    pub fn new(
        flows_max: usize,
        link: &Link,
        bells: &[Arc<Doorbell>],
        hops: Vec<Box<dyn Hops>>,
    ) -> io::Result<(Vec<Self>, Vec<Side>)> {
        let mut sides = Vec::new();
        let exchange = |_| Self {
            table: FlowTable::new(flows_max),
            ends: Vec::new(),
            link: link.clone(),
            shown: Totals::default(),
        };
        let mut all: Vec<Self> = bells.iter().map(exchange).collect();
        for (number, hops) in (0..u16::MAX).zip(hops) {
            let (side, ends) = line(number, link.clone(), bells, hops)?;
            sides.push(side);
            for (exchange, end) in all.iter_mut().zip(ends) {
                exchange.ends.push(end);
            }
        }
        Ok((all, sides))
    }

    /// Carries out what workers want; whether there was anything. For the time between batches.
    pub fn change(&mut self) -> bool {
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

    /// Hands the datagram of a frame to the worker of its port; whether it has room.
    pub fn punt(&self, frame: &[u8]) -> bool {
        let Some((source, port, payload)) = datagram(frame) else {
            return false;
        };
        let Some(end) = self.ends.get(self.link.owners.of(port)) else {
            return false;
        };
        let length = payload.len();
        let buffer = [payload, &[0; Datagram::ROOM]].concat().into();
        let taken = end.punt(Punted {
            port,
            source,
            buffer,
            length,
        });
        end.ring_bell();
        Figures::add(&self.link.figures.unheard, u64::from(!taken));
        taken
    }

    /// Shows why frames were dropped. For now and then.
    pub fn show(&mut self) {
        let totals = self.table.totals();
        self.link.figures.add_reasons(&self.shown, &totals);
        self.shown = totals;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.show();
        let table = Arc::new(std::mem::replace(&mut self.table, FlowTable::new(1)));
        for end in &self.ends {
            end.leave(&table);
        }
    }
}

/// A running driver. Dropping it stops it, and gives the card back.
#[derive(Debug)]
pub struct Running {
    threads: Vec<JoinHandle<()>>,
    bells: Vec<Arc<Doorbell>>,
    figures: Arc<Figures>,
}

/// Tells all threads of a driver to end, however its own does.
struct Together(Vec<Arc<Doorbell>>);

impl Drop for Together {
    fn drop(&mut self) {
        self.0.iter().for_each(|bell| bell.stop());
    }
}

impl Running {
    /// Runs a driver, each part on a thread of its own, until its bell tells it to end. If one part
    /// ends the others are told to.
    pub fn start<F>(
        name: &str,
        link: &Link,
        bells: Vec<Arc<Doorbell>>,
        parts: Vec<F>,
    ) -> io::Result<Self>
    where
        F: FnOnce() -> Result<(), String> + Send + 'static,
    {
        let mut running = Self {
            threads: Vec::new(),
            bells,
            figures: Arc::clone(&link.figures),
        };
        for drive in parts {
            let together = Together(running.bells.clone());
            let part = move || {
                let _together = together;
                drive()
            };
            let thread = spawn(name.to_owned(), &link.figures, part)?;
            running.threads.push(thread);
        }
        Ok(running)
    }

    /// What it counts.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bells.iter().for_each(|bell| bell.stop());
        for thread in self.threads.drain(..) {
            // However it ended, it has said so.
            let _ = thread.join();
        }
    }
}

/// Runs a driver on a thread of its own. It returns when it was told to stop; any other end is said
/// here, once: in the log, and by [`Figures::ended`].
pub fn spawn(
    name: String,
    figures: &Arc<Figures>,
    drive: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let figures = Arc::clone(figures);
    let builder = std::thread::Builder::new().name(name.clone());
    builder.spawn(move || {
        // What the driver owns is dropped by its panic, and nobody else sees it.
        let why = match catch_unwind(AssertUnwindSafe(drive)) {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(panic) => format!("a fault of voipd: {}; please report it", said(&*panic)),
        };
        let text = format!(
            "[rtp] fastpath: {name} ended: {why}; calls go on by sockets, restart voipd to have it \
             back"
        );
        if figures.end(text.clone()) {
            tracing::error!("{text}");
        }
    })
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it did not say why")
}
