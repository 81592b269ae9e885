//! A thread of the driver: serves its queues in turn, and sleeps in poll(2) until one of them has
//! frames or a worker rings.

use super::program::Program;
use super::rings::{Queue, frame_of};
use crate::base::Instant;
use crate::config::FastpathMode;
use crate::os::clock::Clock;
use crate::os::doorbell::Ear;
use crate::os::fast::{Exchange, Figures, QUEUES_MAX, QueueFigures};
use crate::os::pin::pin;
use crate::relay::frame::{Frame, Verdict, prepare, process};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The most frames that are looked at before the next queue has its turn.
const BATCH_MAX: usize = 64;
/// How often the kernel is asked to send, where it sends a part each time.
const SENDS_MAX: usize = 16;
/// The longest sleep, in milliseconds.
const SLEEP_MS: u16 = 1000;
/// How often the queues are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The thread's own.
pub(super) struct Driver {
    pub(super) exchange: Exchange,
    pub(super) queues: Vec<Queue>,
    pub(super) clock: Clock,
    pub(super) mode: FastpathMode,
    pub(super) ear: Ear,
    pub(super) figures: Arc<Figures>,
    /// Which thread it is, where it shall stay on a CPU.
    pub(super) place: Option<usize>,
    /// When the queues were looked at last.
    pub(super) looked: Instant,
    /// Address and length of the frames of the batch.
    pub(super) batch: Vec<(u64, usize)>,
    /// Leaves the card with the last thread.
    pub(super) _program: Arc<Program>,
}

/// What became of the frames of a batch.
#[derive(Default)]
struct Tally {
    sent: u64,
    punted: u64,
    dropped: u64,
    /// Found the line to their worker full.
    unheard: u64,
    /// Found the ring to the card full.
    overruns: u64,
}

impl Driver {
    pub(super) fn run(mut self) -> Result<(), String> {
        match self.place.map(pin) {
            Some(Ok(cpu)) => tracing::debug!(thread = self.place, cpu, "AF_XDP"),
            Some(Err(error)) => tracing::warn!("a thread of AF_XDP stays on no CPU: {error}"),
            None => {}
        }
        self.batch.reserve(BATCH_MAX);
        self.queues.iter_mut().for_each(refill);
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
        for queue in &self.queues {
            if let Some(figures) = self.figures.queue(queue.number as usize) {
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
        let Some(queue) = self.queues.get_mut(at) else {
            return false;
        };
        reclaim(queue);
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
        for &(address, length) in &self.batch {
            let frame = queue.frames.buffer(address);
            if let Some(frame) = frame.and_then(|frame| frame.get(..length)) {
                prepare(frame, &self.exchange.table);
            }
        }
        let now = self.clock.now();
        let mut tally = Tally::default();
        for &(address, length) in &self.batch {
            let sends = forward(
                queue,
                &mut self.exchange,
                (address, length),
                now,
                &mut tally,
            );
            if !sends {
                queue.free.push(frame_of(address));
            }
        }
        if tally.sent > 0 {
            send(queue);
        }
        let batch = self.batch.len() as u64;
        let counts = [batch, tally.sent, tally.overruns];
        for (count, more) in queue.counts.iter_mut().zip(counts) {
            *count += more;
        }
        refill(queue);
        self.count(batch, &tally);
        true
    }

    fn count(&self, batch: u64, tally: &Tally) {
        let figures = &self.figures;
        let full = tally.unheard + tally.overruns;
        Figures::add(&figures.received, batch);
        Figures::add(&figures.sent, tally.sent);
        Figures::add(&figures.punted, tally.punted);
        Figures::add(&figures.dropped, tally.dropped + full);
        Figures::add(&figures.full, full);
        figures.batch_max.fetch_max(batch, Ordering::Relaxed);
    }

    /// Takes back what was sent, and has the kernel send what it left.
    fn reclaim_all(&mut self) {
        for queue in &mut self.queues {
            reclaim(queue);
            // What the kernel left, being busy.
            if queue.send.is_pending() {
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

/// Decides on one frame; whether it is in the ring to the card.
fn forward(
    queue: &mut Queue,
    exchange: &mut Exchange,
    (address, length): (u64, usize),
    now: Instant,
    tally: &mut Tally,
) -> bool {
    let buffer = queue.frames.buffer(address);
    let Some(mut frame) = buffer.and_then(|buffer| Frame::new(buffer, length)) else {
        tally.dropped += 1;
        return false;
    };
    match process(&mut frame, &mut exchange.table, now) {
        Verdict::Forward { .. } => {
            let entry = libc::xdp_desc {
                addr: address,
                len: frame.length() as u32,
                options: 0,
            };
            if queue.send.put(entry) {
                queue.sending += 1;
                tally.sent += 1;
                return true;
            }
            tally.overruns += 1;
        }
        // The worker does with it what it does with a socket's.
        Verdict::Punt | Verdict::Host => match exchange.punt(frame.bytes()) {
            true => tally.punted += 1,
            false => tally.unheard += 1,
        },
        Verdict::Drop(_) => tally.dropped += 1,
    }
    false
}

/// Has the kernel send what was put.
fn send(queue: &Queue) {
    queue.send.publish();
    for _ in 0..SENDS_MAX {
        if !queue.send.is_pending() || !queue.send.needs_wake_up() {
            break;
        }
        queue.wake_sender();
    }
}

/// Takes back frames that were sent.
fn reclaim(queue: &mut Queue) {
    if queue.sending == 0 {
        return;
    }
    while let Some(address) = queue.completion.take() {
        queue.free.push(frame_of(address));
        queue.sending = queue.sending.saturating_sub(1);
    }
    queue.completion.release();
}

/// Gives the kernel frames to receive into.
fn refill(queue: &mut Queue) {
    let mut any = false;
    while let Some(address) = queue.free.pop() {
        if !queue.fill.put(address) {
            queue.free.push(address);
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
