//! What both ends of a pseudowire must agree on (RFC 5086 §6.1), and what each chooses.

use super::super::unit::{FRAMES, Timeslots};
use super::super::{IDLE, UNIT_TIME};
use std::time::Duration;

/// Longest payload: with all headers it fits an Ethernet frame, since fragments of IP are not to
/// be relied on.
pub const PAYLOAD_MAX: usize = 1400;

/// Most milliseconds of one packet: one timeslot at 8 ms is the RFC's longest default (§5.2).
const UNITS_MAX: usize = 64;

/// Longest wait of the jitter buffer.
const JITTER_MAX: Duration = Duration::from_millis(500);

/// Most packets for `loss_after` and `recover_after`.
const ROW_MAX: u16 = 255;

/// What the RTP header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpSettings {
    /// That we send, and that the far end must send: 96 to 127.
    pub payload_type: u8,
    /// That we send.
    pub ssrc: u32,
    /// That the far end must send; others are stray (§6.3). `None`: not looked at.
    pub peer_ssrc: Option<u32>,
}

/// One end's settings. Timeslots, packet size and RTP must be the far end's, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionSettings {
    /// Those that travel; at least one.
    pub timeslots: Timeslots,
    /// Milliseconds in a packet, 1 to 64.
    pub units_per_packet: usize,
    /// With an RTP header.
    pub rtp: Option<RtpSettings>,
    /// How long packets wait before they are played: the jitter that does no harm.
    pub jitter: Duration,
    /// Packets lost in a row until the packet loss state, 1 to 255.
    pub loss_after: u16,
    /// Packets received in a row that end it, 1 to 255.
    pub recover_after: u16,
    /// How long to wait for the first packets.
    pub intermediate: Duration,
    /// Octet played in place of what is lost.
    pub idle: u8,
    /// Leave the payload out while L is set.
    pub omit_invalid: bool,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            timeslots: Timeslots::BEARING,
            units_per_packet: 1,
            rtp: None,
            jitter: Duration::from_millis(10),
            loss_after: 20,
            recover_after: 4,
            intermediate: Duration::from_secs(1),
            idle: IDLE,
            omit_invalid: true,
        }
    }
}

/// The setting that is out of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingsError {
    /// None, or so many that the packet exceeds [`PAYLOAD_MAX`].
    Timeslots,
    /// `units_per_packet`
    UnitsPerPacket,
    /// The payload type is not in the dynamic range.
    PayloadType,
    /// `jitter`
    Jitter,
    /// `loss_after`
    LossAfter,
    /// `recover_after`
    RecoverAfter,
}

impl SessionSettings {
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        if !(1..=UNITS_MAX).contains(&self.units_per_packet) {
            return Err(SettingsError::UnitsPerPacket);
        }
        if self.timeslots.is_empty() || self.payload_size() > PAYLOAD_MAX {
            return Err(SettingsError::Timeslots);
        }
        if self
            .rtp
            .is_some_and(|r| !(96..=127).contains(&r.payload_type))
        {
            return Err(SettingsError::PayloadType);
        }
        if self.jitter > JITTER_MAX {
            return Err(SettingsError::Jitter);
        }
        if !(1..=ROW_MAX).contains(&self.loss_after) {
            return Err(SettingsError::LossAfter);
        }
        if !(1..=ROW_MAX).contains(&self.recover_after) {
            return Err(SettingsError::RecoverAfter);
        }
        Ok(())
    }

    /// Octets of one packet's timeslots.
    pub(super) fn payload_size(&self) -> usize {
        self.units_per_packet * FRAMES * self.timeslots.len()
    }

    /// Packets that wait before the first is played; at least one.
    pub(super) fn start(&self) -> usize {
        let packet = UNIT_TIME.as_millis() as usize * self.units_per_packet;
        (self.jitter.as_millis() as usize).div_ceil(packet).max(1)
    }

    /// Packets in the buffer: as much again above what waits, and more than any row that is
    /// counted. A power of two, so that sequence numbers wrap with it; at most 2048.
    pub(super) fn capacity(&self) -> usize {
        let least = self.start().max(usize::from(self.recover_after)) + 1;
        (2 * least).next_power_of_two()
    }
}
