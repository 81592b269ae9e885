//! A span with its line: units and alarms in, units out, the time told to both. [`Port::pump`]
//! never waits, so tests give it a time of their own; [`Port::step`] waits for the line or the
//! clock.

use crate::base::{BoundedQueue, Instant};
use crate::os::clock::Clock;
use crate::pri::{Alarms, Event, Input, Output, Span, Unit};
use std::future::Future;
use std::io;

/// What one pump takes from the line at most; the rest comes with the next, which does not wait.
const PUMP_MAX: usize = 256;

/// Events that wait for the caller; who does not fetch them loses the newest, counted.
const EVENTS_MAX: usize = 64;

/// What a line brings.
// Nearly all are units: a box for each would only cost.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Brought {
    /// One millisecond.
    Unit(Unit),
    /// Its alarms, whole.
    Alarms(Alarms),
    /// Its end.
    Gone,
}

/// The way to the far end.
pub trait Line {
    /// What came, without waiting; `None` when nothing did. Also told the time: a line with a clock
    /// of its own brings what is due.
    fn receive(&mut self, now: Instant) -> io::Result<Option<Brought>>;

    /// Sends a unit. What the line cannot take now is lost, and the line counts it.
    fn send(&mut self, now: Instant, unit: &Unit) -> io::Result<()>;

    /// When a line with a clock of its own wants to be asked.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Waits until something may have come. May be dropped and called anew.
    fn ready(&mut self) -> impl Future<Output = io::Result<()>>;
}

/// A span on a line.
#[derive(Debug)]
pub struct Port<L> {
    span: Span,
    line: L,
    events: BoundedQueue<Event>,
    /// The last pump left something behind.
    more: bool,
}

impl<L: Line> Port<L> {
    /// Takes over both.
    pub fn new(span: Span, line: L) -> Self {
        Self {
            span,
            line,
            events: BoundedQueue::new(EVENTS_MAX),
            more: false,
        }
    }

    /// The span, to open timeslots, read and write them.
    pub fn span(&mut self) -> &mut Span {
        &mut self.span
    }

    /// The line, for its counters.
    pub fn line(&mut self) -> &mut L {
        &mut self.line
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Events that nobody fetched in time.
    pub fn events_lost(&self) -> u64 {
        self.events.refused()
    }

    /// Takes what came, sends what is due. An error is the line's end.
    pub fn pump(&mut self, now: Instant) -> io::Result<()> {
        let pumped = self.exchange(now);
        if pumped.is_err() {
            self.span.handle_input(Input::Gone { now });
            self.drain(now).ok();
        }
        pumped
    }

    /// Waits for the line or the clock, then pumps.
    pub async fn step(&mut self, clock: &Clock) -> io::Result<()> {
        if !self.more {
            let span_due = self.span.poll_timeout().map(|(at, _)| at);
            let due = span_due.into_iter().chain(self.line.due()).min();
            let due = clock.to_tokio(due.unwrap_or(Instant::FAR_FUTURE));
            tokio::select! {
                ready = self.line.ready() => ready?,
                () = tokio::time::sleep_until(due) => {}
            }
        }
        self.pump(clock.now())
    }

    fn exchange(&mut self, now: Instant) -> io::Result<()> {
        self.more = true;
        for _ in 0..PUMP_MAX {
            let input = match self.line.receive(now)? {
                None => {
                    self.more = false;
                    break;
                }
                Some(Brought::Unit(unit)) => {
                    self.span.handle_input(Input::Unit { now, unit: &unit });
                    self.drain(now)?;
                    continue;
                }
                Some(Brought::Alarms(alarms)) => Input::Alarms { now, alarms },
                Some(Brought::Gone) => Input::Gone { now },
            };
            self.span.handle_input(input);
            self.drain(now)?;
        }
        if self.span.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.span.handle_timeout(now);
            self.drain(now)?;
        }
        Ok(())
    }

    fn drain(&mut self, now: Instant) -> io::Result<()> {
        while let Some(output) = self.span.poll_output() {
            match output {
                Output::Transmit(unit) => self.line.send(now, &unit)?,
                // Counted by the queue.
                Output::Event(event) => drop(self.events.push(event)),
            }
        }
        Ok(())
    }
}
