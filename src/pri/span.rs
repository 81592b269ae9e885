//! A span: what comes from a line goes to the timeslots that callers opened, and what they write
//! goes out, eight octets a timeslot each millisecond. Four verbs, no device, no clock of its own.
//!
//! ```text
//!             unit                    nothing for `silence`
//! Starting ----------> Running  ---------------------------> Silent (LOS)
//!    |                    ^  <---------------------------------'  |
//!    |                    |                unit                   |
//!    '--- nothing for `silence` ----------------------------------'
//!                  any of them ---- the line ended ----> Gone (LOS), for good
//! ```

use super::alarm::{Alarm, Alarms};
use super::channel::{Channel, ChannelCounters, ChannelError};
use super::elastic::{ElasticQueue, Taken};
use super::unit::{FRAMES, TIMESLOTS, Timeslot, Timeslots, Unit};
use super::{IDLE, UNIT_TIME};
use crate::base::{BoundedQueue, Instant};
use std::time::Duration;

/// Milliseconds that one [`Span::handle_timeout`] makes up for; the rest is left out and counted.
pub const CATCH_UP_MAX: usize = 32;

/// Most units that may wait between the line's clock and ours, as E1_DEPTH_MAX.
const DEPTH_MAX: usize = 256;

/// Most milliseconds of octets that an open timeslot may hold each way.
const CHANNEL_MS_MAX: usize = 1000;

/// Outputs between two drains: units and events of one call, with as much to spare.
const OUTPUTS_MAX: usize = 4 * CATCH_UP_MAX;

/// Slips are told at most so often.
const SLIPS_EVERY: Duration = Duration::from_secs(1);

/// Whose millisecond it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clocking {
    /// Each unit from the line moves the span on, and calls for one in return.
    Line,
    /// Ours: [`Span::poll_timeout`] asks for each millisecond, and the line's units wait in a
    /// buffer that slips.
    Own,
}

/// How a span is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpanSettings {
    /// Whose millisecond it is.
    pub clocking: Clocking,
    /// Units that may wait for our clock, 1 to 256.
    pub depth: usize,
    /// Units that wait before the first is taken, 1 to `depth`.
    pub start: usize,
    /// Milliseconds of octets that an open timeslot holds each way, 1 to 1000.
    pub channel_ms: usize,
    /// Octet of timeslots that nobody opened.
    pub idle: u8,
    /// So long without a unit is a loss of signal; more than a millisecond.
    pub silence: Duration,
}

impl Default for SpanSettings {
    fn default() -> Self {
        Self {
            clocking: Clocking::Line,
            depth: 64,
            start: 8,
            channel_ms: 64,
            idle: IDLE,
            silence: Duration::from_millis(100),
        }
    }
}

/// The setting that is out of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanError {
    /// `depth`
    Depth,
    /// `start`
    Start,
    /// `channel_ms`
    ChannelMs,
    /// `silence`
    Silence,
}

/// What the line brings.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// One millisecond.
    Unit {
        /// When.
        now: Instant,
        /// What.
        unit: &'a Unit,
    },
    /// The alarms that the line sees, whole.
    Alarms {
        /// When.
        now: Instant,
        /// What.
        alarms: Alarms,
    },
    /// The line ended: nothing will come any more.
    Gone {
        /// When.
        now: Instant,
    },
}

/// What the caller has to do.
// Nearly all are units: a box for each would only cost.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Give this unit to the line.
    Transmit(Unit),
    /// Tell those who use the span.
    Event(Event),
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Alarms began or ended.
    Alarms {
        /// When.
        at: Instant,
        /// All that last now.
        alarms: Alarms,
        /// Those that changed.
        changed: Alarms,
    },
    /// Units or parts of them were lost, repeated or left idle; at most once a second.
    Slips {
        /// When it is told.
        at: Instant,
        /// How many milliseconds, since it was told last.
        count: u64,
    },
    /// Our clock was not served for so long that milliseconds were left out.
    Clock {
        /// When.
        at: Instant,
        /// How many.
        skipped_ms: u64,
    },
    /// The line ended.
    Gone {
        /// When.
        at: Instant,
    },
}

/// Why [`Span::poll_timeout`] wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The next millisecond of our clock.
    Millisecond,
    /// The line may have fallen silent.
    Silence,
    /// Slips wait to be told.
    Slips,
}

/// How the line fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing came yet.
    Starting {
        /// Since when.
        since: Instant,
    },
    /// Units come.
    Running {
        /// When the last did.
        last: Instant,
    },
    /// Units came no more.
    Silent {
        /// Since when.
        since: Instant,
    },
    /// The line ended.
    Gone,
}

/// What a span counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SpanCounters {
    /// Units from the line.
    pub rx_units: u64,
    /// Units to the line.
    pub tx_units: u64,
    /// Units lost since the line's clock is faster than ours.
    pub slip_delete: u64,
    /// Units taken twice since the line's clock is slower than ours.
    pub slip_repeat: u64,
    /// Milliseconds in which an open timeslot lost octets that its caller did not read.
    pub channel_delete: u64,
    /// Milliseconds in which an open timeslot sent idle since its caller did not write.
    pub channel_idle: u64,
    /// Times that each alarm began, in the order of [`Alarm::ALL`].
    pub begun: [u64; 5],
    /// Milliseconds that our clock left out.
    pub clock_skip_ms: u64,
    /// Outputs that were dropped since nobody drained them.
    pub undrained: u64,
}

/// One end of one line.
#[derive(Debug)]
pub struct Span {
    settings: SpanSettings,
    state: State,
    /// What the line says; [`Span::alarms`] adds what we see.
    line_alarms: Alarms,
    queue: ElasticQueue,
    /// The next millisecond of our clock.
    next: Instant,
    channels: [Option<Box<Channel>>; TIMESLOTS],
    outputs: BoundedQueue<Output>,
    counters: SpanCounters,
    slips: u64,
    slips_told: Option<Instant>,
}

impl Span {
    /// A span on a line that is silent yet.
    pub fn new(settings: SpanSettings, now: Instant) -> Result<Self, SpanError> {
        if !(1..=DEPTH_MAX).contains(&settings.depth) {
            return Err(SpanError::Depth);
        }
        if !(1..=settings.depth).contains(&settings.start) {
            return Err(SpanError::Start);
        }
        if !(1..=CHANNEL_MS_MAX).contains(&settings.channel_ms) {
            return Err(SpanError::ChannelMs);
        }
        if settings.silence <= UNIT_TIME {
            return Err(SpanError::Silence);
        }
        Ok(Self {
            settings,
            state: State::Starting { since: now },
            line_alarms: Alarms::NONE,
            queue: ElasticQueue::new(settings.depth, settings.start),
            next: now + UNIT_TIME,
            channels: [const { None }; TIMESLOTS],
            outputs: BoundedQueue::new(OUTPUTS_MAX),
            counters: SpanCounters::default(),
            slips: 0,
            slips_told: None,
        })
    }

    /// How the line fares.
    pub fn state(&self) -> State {
        self.state
    }

    /// Every alarm that lasts now.
    pub fn alarms(&self) -> Alarms {
        let silent = matches!(self.state, State::Silent { .. } | State::Gone);
        self.line_alarms.with(Alarm::Los, silent)
    }

    /// Whether calls can be made: units come, and no alarm lasts.
    pub fn in_service(&self) -> bool {
        matches!(self.state, State::Running { .. }) && self.alarms().is_empty()
    }

    /// What was counted.
    pub fn counters(&self) -> SpanCounters {
        SpanCounters {
            slip_delete: self.queue.deleted(),
            slip_repeat: self.queue.repeated(),
            undrained: self.outputs.refused(),
            ..self.counters
        }
    }

    // ------------------------------------------------------------ timeslots

    /// Opens a timeslot for one caller; `idle` is what goes out while it writes nothing.
    pub fn open(&mut self, timeslot: Timeslot, idle: u8) -> Result<(), ChannelError> {
        let octets_max = self.settings.channel_ms * FRAMES;
        match &mut self.channels[timeslot.index()] {
            Some(_) => Err(ChannelError::Open),
            place => {
                *place = Some(Box::new(Channel::new(octets_max, idle)));
                Ok(())
            }
        }
    }

    /// Gives the timeslot back; what it still had to send is forgotten.
    pub fn close(&mut self, timeslot: Timeslot) -> Result<(), ChannelError> {
        let closed = self.channels[timeslot.index()].take();
        closed.map(drop).ok_or(ChannelError::Closed)
    }

    /// Those that are open.
    pub fn opened(&self) -> Timeslots {
        Timeslots::ALL
            .iter()
            .filter(|t| self.channels[t.index()].is_some())
            .collect()
    }

    /// Moves octets of an open timeslot into `out`, oldest first; how many.
    pub fn receive(&mut self, timeslot: Timeslot, out: &mut [u8]) -> Result<usize, ChannelError> {
        Ok(self.channel(timeslot)?.receive(out))
    }

    /// Takes octets to be sent, as many as there is room for; how many.
    pub fn send(&mut self, timeslot: Timeslot, octets: &[u8]) -> Result<usize, ChannelError> {
        Ok(self.channel(timeslot)?.send(octets))
    }

    /// Octets that [`Span::receive`] would give.
    pub fn available(&self, timeslot: Timeslot) -> usize {
        let channel = self.channels[timeslot.index()].as_ref();
        channel.map_or(0, |c| c.available())
    }

    /// Octets that [`Span::send`] would take.
    pub fn room(&self, timeslot: Timeslot) -> usize {
        let channel = self.channels[timeslot.index()].as_ref();
        channel.map_or(0, |c| c.room())
    }

    /// What an open timeslot lost.
    pub fn channel_counters(&self, timeslot: Timeslot) -> Result<ChannelCounters, ChannelError> {
        let channel = self.channels[timeslot.index()].as_ref();
        channel.map(|c| c.counters()).ok_or(ChannelError::Closed)
    }

    fn channel(&mut self, timeslot: Timeslot) -> Result<&mut Channel, ChannelError> {
        let channel = self.channels[timeslot.index()].as_deref_mut();
        channel.ok_or(ChannelError::Closed)
    }

    // ------------------------------------------------------------ the four verbs

    /// What the line brings. Drain [`Span::poll_output`] afterwards.
    pub fn handle_input(&mut self, input: Input<'_>) {
        if self.state == State::Gone {
            return;
        }
        match input {
            Input::Unit { now, unit } => self.on_unit(now, unit),
            Input::Alarms { now, alarms } => {
                let before = self.alarms();
                self.line_alarms = alarms;
                self.tell_alarms(now, before);
            }
            Input::Gone { now } => {
                self.enter(now, State::Gone);
                self.push(Output::Event(Event::Gone { at: now }));
            }
        }
    }

    /// What is to be done, one after the other, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop()
    }

    /// When to call [`Span::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        if self.state == State::Gone {
            return None;
        }
        let own = self.settings.clocking == Clocking::Own;
        let millisecond = own.then_some((self.next, Reason::Millisecond));
        let silence = self.silence_due().map(|at| (at, Reason::Silence));
        let slips = self.slips_due().map(|at| (at, Reason::Slips));
        let all = [millisecond, silence, slips];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Time has passed. Drain [`Span::poll_output`] afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Gone {
            return;
        }
        if self.settings.clocking == Clocking::Own {
            self.run_clock(now);
        }
        if self.silence_due().is_some_and(|at| at <= now) {
            self.queue.refill();
            self.enter(now, State::Silent { since: now });
        }
        self.tell_slips(now);
    }

    // ------------------------------------------------------------ helpers

    fn on_unit(&mut self, now: Instant, unit: &Unit) {
        self.counters.rx_units += 1;
        self.enter(now, State::Running { last: now });
        match self.settings.clocking {
            Clocking::Line => self.exchange(unit),
            Clocking::Own => {
                let before = self.queue.deleted();
                self.queue.put(unit.clone());
                self.slips += self.queue.deleted() - before;
            }
        }
        self.tell_slips(now);
    }

    fn run_clock(&mut self, now: Instant) {
        for _ in 0..CATCH_UP_MAX {
            if self.next > now {
                return;
            }
            self.next += UNIT_TIME;
            match self.queue.take() {
                Taken::Unit(unit) => self.exchange(&unit),
                Taken::Repeated(unit) => {
                    self.slips += 1;
                    self.exchange(&unit);
                }
                Taken::Filling => self.exchange(&Unit::filled(self.settings.idle)),
            }
        }
        if self.next <= now {
            let skipped_ms = (now.since(self.next).as_millis() + 1) as u64;
            self.next += Duration::from_millis(skipped_ms);
            self.counters.clock_skip_ms += skipped_ms;
            self.push(Output::Event(Event::Clock {
                at: now,
                skipped_ms,
            }));
        }
    }

    /// One millisecond of every open timeslot.
    fn exchange(&mut self, received: &Unit) {
        let mut unit = Unit::filled(self.settings.idle);
        let (mut deleted, mut idle) = (false, false);
        for timeslot in Timeslots::ALL.iter() {
            let Some(channel) = &mut self.channels[timeslot.index()] else {
                continue;
            };
            let (octets, slipped) = channel.exchange(received.timeslot(timeslot));
            unit.set_timeslot(timeslot, octets);
            deleted |= slipped.deleted;
            idle |= slipped.idle;
        }
        self.counters.channel_delete += u64::from(deleted);
        self.counters.channel_idle += u64::from(idle);
        self.slips += u64::from(deleted) + u64::from(idle);
        self.counters.tx_units += 1;
        self.push(Output::Transmit(unit));
    }

    fn silence_due(&self) -> Option<Instant> {
        match self.state {
            State::Starting { since } => Some(since + self.settings.silence),
            State::Running { last } => Some(last + self.settings.silence),
            State::Silent { .. } | State::Gone => None,
        }
    }

    fn slips_due(&self) -> Option<Instant> {
        let told = self.slips_told.map_or(Instant::ZERO, |at| at + SLIPS_EVERY);
        (self.slips > 0).then_some(told)
    }

    fn tell_slips(&mut self, now: Instant) {
        if self.slips_due().is_some_and(|at| at <= now) {
            let count = std::mem::take(&mut self.slips);
            self.slips_told = Some(now);
            self.push(Output::Event(Event::Slips { at: now, count }));
        }
    }

    fn enter(&mut self, now: Instant, state: State) {
        let before = self.alarms();
        self.state = state;
        self.tell_alarms(now, before);
    }

    fn tell_alarms(&mut self, now: Instant, before: Alarms) {
        let alarms = self.alarms();
        let changed = alarms.changed(before);
        if changed.is_empty() {
            return;
        }
        for (count, alarm) in self.counters.begun.iter_mut().zip(Alarm::ALL) {
            *count += u64::from(changed.contains(alarm) && alarms.contains(alarm));
        }
        self.push(Output::Event(Event::Alarms {
            at: now,
            alarms,
            changed,
        }));
    }

    /// Who does not drain loses what comes last, and it is counted.
    fn push(&mut self, output: Output) {
        let _ = self.outputs.push(output);
    }
}
