//! A line that is the kernel module's: the user's side of a span, /dev/e1/N, with the alarms that
//! /dev/e1/ctl tells. The device keeps the time: each unit that it gives asks for one
//! ([`crate::pri::Clocking::Line`]).
//!
//! Only readiness to read is waited for: /dev/e1/ctl knows no EVFILT_WRITE (kmod/e1shim/event.c),
//! and a unit that /dev/e1/N has no room for is late already.

use super::abi;
use super::control::{Control, Ctl};
use super::mode::EventKind;
use super::port::{Brought, Line};
use crate::base::Instant;
use crate::pri::{Alarms, UNIT_BYTES, Unit};
use nix::errno::Errno;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Units of one read(2): what comes in a tick of a machine with kern.hz at 100, and some.
const UNITS_AT_ONCE: usize = 16;

/// Reads of /dev/e1/ctl in a row: more than the module keeps events for.
const EVENT_READS_MAX: usize = 16;

/// What such a line counted; the module's own counters tell the rest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DeviceCounters {
    /// Units that the device had no room for.
    pub refused: u64,
    /// Reads that gave no whole number of units: a fault of the module.
    pub malformed: u64,
}

/// An open span, and the control device for its alarms. Both non-blocking.
#[derive(Debug)]
pub struct DeviceLine<C: AsRawFd> {
    number: u16,
    span: AsyncFd<OwnedFd>,
    control: AsyncFd<C>,
    /// What was read and not given yet: a read's units or a read's events.
    pending: VecDeque<Brought>,
    counters: DeviceCounters,
}

impl<C: Ctl + AsRawFd> DeviceLine<C> {
    /// Takes over both. Inside a runtime only.
    #[allow(unsafe_code)]
    pub fn new(number: u16, span: OwnedFd, control: C) -> io::Result<Self> {
        // SAFETY: neither changes its open file while it lives: an `OwnedFd` by its type, a `Ctl`
        // since it is one device; and nobody takes them out.
        let (span, control) = unsafe {
            (
                AsyncFd::register_with_interest(span, Interest::READABLE)?,
                AsyncFd::register_with_interest(control, Interest::READABLE)?,
            )
        };
        let mut line = Self {
            number,
            span,
            control,
            pending: VecDeque::new(),
            counters: DeviceCounters::default(),
        };
        line.ask_alarms()?;
        Ok(line)
    }

    /// What was counted here.
    pub fn counters(&self) -> DeviceCounters {
        self.counters
    }

    /// What the module counted, and the rest of its requests.
    pub fn control(&mut self) -> Control<&mut C> {
        Control(self.control.get_mut())
    }

    fn ask_alarms(&mut self) -> io::Result<()> {
        let number = self.number;
        let status = self.control().status(number)?;
        let alarms = Alarms::from_bits(status.alarms);
        self.pending.push_back(Brought::Alarms(alarms));
        Ok(())
    }

    fn read_units(&mut self) -> io::Result<()> {
        let mut bytes = [0; UNITS_AT_ONCE * UNIT_BYTES];
        match nix::unistd::read(self.span.get_ref(), &mut bytes) {
            // Not the device's way, but a socket's in its place.
            Ok(0) => self.pending.push_back(Brought::Gone),
            Ok(count) => {
                let read = bytes.get(..count).unwrap_or(&bytes);
                self.counters.malformed += u64::from(count % UNIT_BYTES != 0);
                let units = read.chunks_exact(UNIT_BYTES).filter_map(Unit::from_slice);
                self.pending.extend(units.map(Brought::Unit));
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Those of our span; where some were lost the module is asked.
    fn read_events(&mut self) -> io::Result<()> {
        for _ in 0..EVENT_READS_MAX {
            let events = match self.control().events() {
                Ok(events) => events,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => return Ok(()),
                    _ => return Err(error),
                },
            };
            if events.is_empty() {
                return Ok(());
            }
            for event in events {
                self.hear(&event)?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: &abi::Event) -> io::Result<()> {
        if event.lost > 0 {
            self.ask_alarms()?;
        }
        if event.span != self.number {
            return Ok(());
        }
        match EventKind::from_number(event.r#type) {
            Some(EventKind::Alarm) => {
                let alarms = Alarms::from_bits(event.alarms);
                self.pending.push_back(Brought::Alarms(alarms));
            }
            Some(EventKind::Destroy) => self.pending.push_back(Brought::Gone),
            Some(EventKind::Slip | EventKind::Create | EventKind::Clock) | None => {}
        }
        Ok(())
    }
}

impl<C: Ctl + AsRawFd> Line for DeviceLine<C> {
    fn receive(&mut self, _now: Instant) -> io::Result<Option<Brought>> {
        if self.pending.is_empty() {
            self.read_units()?;
        }
        if self.pending.is_empty() {
            self.read_events()?;
        }
        Ok(self.pending.pop_front())
    }

    fn send(&mut self, _now: Instant, unit: &Unit) -> io::Result<()> {
        match nix::unistd::write(self.span.get_ref(), unit.bytes()) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EINTR) => self.counters.refused += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn ready(&mut self) -> io::Result<()> {
        // Cleared before what waits is read, to the last: what comes later raises it anew.
        tokio::select! {
            guard = self.span.readable() => guard?.clear_ready(),
            guard = self.control.readable() => guard?.clear_ready(),
        }
        Ok(())
    }
}
