//! F3: an E1 line as a machine without devices: units of one millisecond, timeslots, alarms, slips.
//!
//! A [`Span`] stands between a line and those who use its timeslots. What the line is, it does not
//! know: a device of the kernel module, a Unix socket, or a [`cesopsn::Session`] over UDP (RFC
//! 5086); `os::e1` drives each of them. Callers open a timeslot, read and write its octets at
//! their own pace, and hear of alarms, slips and the line's end as [`Event`]s.
//!
//! Framing (G.704), CRC-4 and the alarms that follow from them are the kernel module's: what comes
//! here is framed already. LAPD (Q.921) and call control (Q.931) will use timeslot 16 as any caller
//! uses a timeslot.

mod alarm;
pub mod cesopsn;
mod channel;
mod elastic;
mod span;
mod unit;

pub use alarm::{Alarm, Alarms};
pub use channel::{ChannelCounters, ChannelError};
pub use elastic::{ElasticQueue, Taken};
pub use span::{
    CATCH_UP_MAX, Clocking, Event, Input, Output, Reason, Span, SpanCounters, SpanError,
    SpanSettings, State,
};
pub use unit::{FRAMES, TIMESLOTS, Timeslot, Timeslots, UNIT_BYTES, Unit};

use std::time::Duration;

/// What a unit lasts.
pub const UNIT_TIME: Duration = Duration::from_millis(1);

/// The octet of an idle timeslot: A-law silence with even bits turned.
pub const IDLE: u8 = 0xd5;

#[cfg(test)]
mod tests;
