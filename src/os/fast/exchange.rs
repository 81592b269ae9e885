//! What a driver's thread owns beside its card, and how it ends.

use super::{DriverEnd, Figures, Hops, Link, Punted, Side, line};
use crate::os::doorbell::Doorbell;
use crate::relay::frame::{FlowTable, datagram};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

/// The flows, and the lines to the workers. Dropping it, as a panic does too, leaves what the flows
/// counted to the workers, which go on by sockets.
#[derive(Debug)]
pub struct Exchange {
    /// The flows.
    pub table: FlowTable,
    ends: Vec<DriverEnd>,
    link: Link,
}

impl Exchange {
    /// A line for each worker, who brings what knows its next hops, and room for so many flows.
    pub fn new(
        flows_max: usize,
        link: Link,
        hops: Vec<Box<dyn Hops>>,
    ) -> io::Result<(Self, Vec<Side>)> {
        let (mut sides, mut ends) = (Vec::new(), Vec::new());
        for (number, hops) in (0..u16::MAX).zip(hops) {
            let (side, end) = line(number, link.clone(), hops)?;
            sides.push(side);
            ends.push(end);
        }
        let table = FlowTable::new(flows_max);
        Ok((Self { table, ends, link }, sides))
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
        let payload = payload.into();
        let taken = end.punt(Punted {
            port,
            source,
            payload,
        });
        end.ring_bell();
        Figures::add(&self.link.figures.unheard, u64::from(!taken));
        taken
    }

    /// Shows why frames were dropped. For now and then.
    pub fn show(&self) {
        self.link.figures.set_reasons(&self.table.totals());
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
    thread: Option<JoinHandle<()>>,
    bell: Arc<Doorbell>,
    figures: Arc<Figures>,
}

impl Running {
    /// Runs a driver on a thread of its own, until the bell of its link tells it to end.
    pub fn start(
        name: String,
        link: &Link,
        drive: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> io::Result<Self> {
        Ok(Self {
            thread: Some(spawn(name, &link.figures, drive)?),
            bell: Arc::clone(&link.wake),
            figures: Arc::clone(&link.figures),
        })
    }

    /// What it counts.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take() {
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
        tracing::error!("{text}");
        figures.end(text);
    })
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it did not say why")
}
