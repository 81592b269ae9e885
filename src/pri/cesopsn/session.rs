//! The session: units of the line into packets, packets into units of the line, alarms both ways.

use super::super::alarm::{Alarm, Alarms};
use super::super::unit::{FRAMES, TIMESLOTS, Timeslots, Unit};
use super::super::{CATCH_UP_MAX, UNIT_TIME};
use super::ALARM_PACKETS;
use super::reception::{Reception, ReceptionCounters, Said};
use super::settings::{SessionSettings, SettingsError};
use crate::base::{BoundedQueue, Instant, Rng};
use crate::wire::cesopsn::{Attachment, Encapsulation, Packet, RtpFields};
use std::time::Duration;

/// Outputs between two drains: units of one call, an alarm each, a packet, with as much to spare.
const OUTPUTS_MAX: usize = 4 * CATCH_UP_MAX;

/// What the network or the line brings.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A datagram from the far end.
    Packet {
        /// When.
        now: Instant,
        /// As UDP gave it.
        bytes: &'a [u8],
    },
    /// A unit to be sent.
    Unit {
        /// When.
        now: Instant,
        /// What.
        unit: &'a Unit,
    },
    /// The alarms of the line whose units are sent, whole.
    Attachment {
        /// When.
        now: Instant,
        /// What.
        alarms: Alarms,
    },
}

/// What the caller has to do.
// Nearly all are units: a box for each would only cost.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this datagram to the far end.
    Packet(Vec<u8>),
    /// Give this unit to the line; one each millisecond.
    Unit(Unit),
    /// The line has these alarms now, whole.
    Alarms(Alarms),
}

/// What a session counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SessionCounters {
    /// Packets of ours that came.
    pub rx_packets: u64,
    /// Packets that were sent.
    pub tx_packets: u64,
    /// Datagrams that are no packets, or of another size than agreed on.
    pub malformed: u64,
    /// Sequence and buffer.
    pub reception: ReceptionCounters,
    /// Milliseconds of idle given to the line in place of octets.
    pub substituted_ms: u64,
    /// Milliseconds that our clock left out.
    pub clock_skip_ms: u64,
    /// Outputs that were dropped since nobody drained them.
    pub undrained: u64,
}

/// A condition of the far end that changes only when several packets in a row say so.
#[derive(Clone, Copy, Default, Debug)]
struct Settled {
    is: bool,
    against: u8,
}

impl Settled {
    fn hear(&mut self, says: bool) {
        self.against = match says == self.is {
            true => 0,
            false => self.against + 1,
        };
        if self.against >= ALARM_PACKETS {
            *self = Settled {
                is: says,
                against: 0,
            };
        }
    }
}

/// One end of a pseudowire.
#[derive(Debug)]
pub struct Session {
    settings: SessionSettings,
    reception: Reception,
    /// Octets of the packet that is played, and how many of its units were.
    playing: Vec<u8>,
    played: usize,
    /// Whether `playing` holds octets to be played.
    good: bool,
    /// The next millisecond of our clock.
    due: Instant,
    invalid: Settled,
    remote: Settled,
    alarms: Alarms,
    /// Octets of the packet to be sent, and how many of its units are there.
    gathered: Vec<u8>,
    units: usize,
    attachment: Attachment,
    sequence: u16,
    timestamp: u32,
    outputs: BoundedQueue<Output>,
    counters: SessionCounters,
}

impl Session {
    /// Sequence number and timestamp begin anywhere (RFC 3550 §5.1).
    pub fn new(
        settings: SessionSettings,
        rng: &mut Rng,
        now: Instant,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self {
            reception: Reception::new(&settings, now),
            playing: Vec::new(),
            played: settings.units_per_packet,
            good: false,
            due: now + UNIT_TIME,
            invalid: Settled::default(),
            remote: Settled::default(),
            alarms: Alarms::NONE,
            gathered: Vec::with_capacity(settings.payload_size()),
            units: 0,
            attachment: Attachment::Normal,
            sequence: rng.next_u64() as u16,
            timestamp: rng.next_u64() as u32,
            outputs: BoundedQueue::new(OUTPUTS_MAX),
            counters: SessionCounters::default(),
            settings,
        })
    }

    /// What was counted.
    pub fn counters(&self) -> SessionCounters {
        SessionCounters {
            reception: self.reception.counters(),
            undrained: self.outputs.refused(),
            ..self.counters
        }
    }

    /// The alarms that the line here has.
    pub fn alarms(&self) -> Alarms {
        self.alarms
    }

    /// Packets that wait to be played; never more than the buffer holds.
    pub fn waiting(&self) -> usize {
        self.reception.waiting()
    }

    // ------------------------------------------------------------ the four verbs

    /// What the network or the line brings. Drain [`Session::poll_output`] afterwards.
    pub fn handle_input(&mut self, input: Input<'_>) {
        match input {
            Input::Packet { bytes, .. } => self.on_packet(bytes),
            Input::Unit { unit, .. } => self.on_unit(unit),
            Input::Attachment { alarms, .. } => self.attachment = attachment(alarms),
        }
    }

    /// What is to be done, one after the other, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop()
    }

    /// The next millisecond.
    pub fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// Plays the milliseconds that are due. Drain [`Session::poll_output`] afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..CATCH_UP_MAX {
            if self.due > now {
                return;
            }
            self.due += UNIT_TIME;
            self.play(now);
        }
        if self.due <= now {
            let skipped_ms = (now.since(self.due).as_millis() + 1) as u64;
            self.due += Duration::from_millis(skipped_ms);
            self.counters.clock_skip_ms += skipped_ms;
        }
    }

    // ------------------------------------------------------------ receiving

    fn on_packet(&mut self, bytes: &[u8]) {
        let encapsulation = match self.settings.rtp {
            Some(_) => Encapsulation::Rtp,
            None => Encapsulation::Plain,
        };
        let Ok(packet) = Packet::parse(bytes, encapsulation) else {
            self.counters.malformed += 1;
            return;
        };
        let omitted = packet.payload.is_empty() && packet.attachment == Attachment::Invalid;
        if !omitted && packet.payload.len() != self.settings.payload_size() {
            self.counters.malformed += 1;
            return;
        }
        if let (Some(agreed), Some(says)) = (self.settings.rtp, packet.rtp) {
            // §6.3: another payload type is malformed, another source is stray.
            if says.payload_type != agreed.payload_type {
                self.counters.malformed += 1;
                return;
            }
            if agreed.peer_ssrc.is_some_and(|ssrc| ssrc != says.ssrc) {
                self.reception.count_stray();
                return;
            }
        }
        self.counters.rx_packets += 1;
        self.reception.accept(&packet);
    }

    fn play(&mut self, now: Instant) {
        if self.played >= self.settings.units_per_packet {
            self.played = 0;
            let said = self.reception.take(now, &mut self.playing);
            self.good = said.is_some_and(|said| said.attachment != Attachment::Invalid);
            self.hear(said);
        }
        let mut unit = Unit::filled(self.settings.idle);
        let size = FRAMES * self.settings.timeslots.len();
        let octets = self.playing.get(self.played * size..);
        match octets.and_then(|octets| octets.get(..size)) {
            Some(octets) if self.good => unpack(octets, self.settings.timeslots, &mut unit),
            _ => self.counters.substituted_ms += 1,
        }
        self.played += 1;
        self.push(Output::Unit(unit));
    }

    fn hear(&mut self, said: Option<Said>) {
        if let Some(said) = said {
            self.invalid.hear(said.attachment == Attachment::Invalid);
            let rdi = said.attachment == Attachment::RemoteDefect;
            self.remote.hear(rdi || said.packet_loss);
        }
        // The greater fault hides the lesser, as in the kernel module.
        let alarms = if self.reception.in_loss() {
            (self.invalid, self.remote) = Default::default();
            Alarm::Los.into()
        } else {
            let alarms = Alarms::NONE.with(Alarm::Ais, self.invalid.is);
            alarms.with(Alarm::Rai, self.remote.is && !self.invalid.is)
        };
        if alarms != self.alarms {
            self.alarms = alarms;
            self.push(Output::Alarms(alarms));
        }
    }

    // ------------------------------------------------------------ sending

    fn on_unit(&mut self, unit: &Unit) {
        pack(unit, self.settings.timeslots, &mut self.gathered);
        self.units += 1;
        if self.units < self.settings.units_per_packet {
            return;
        }
        let omit = self.attachment == Attachment::Invalid && self.settings.omit_invalid;
        let packet = Packet {
            attachment: self.attachment,
            packet_loss: self.reception.in_loss(),
            sequence: self.sequence,
            rtp: self.settings.rtp.map(|rtp| RtpFields {
                payload_type: rtp.payload_type,
                timestamp: self.timestamp,
                ssrc: rtp.ssrc,
            }),
            payload: if omit { &[] } else { &self.gathered },
        };
        let mut bytes = Vec::with_capacity(self.gathered.len() + 16);
        packet.emit(&mut bytes);
        // The clock of the timestamp is 8 kHz, the one that all must support (§4.4).
        let frames = (self.units * FRAMES) as u32;
        self.timestamp = self.timestamp.wrapping_add(frames);
        self.sequence = self.sequence.wrapping_add(1);
        self.gathered.clear();
        self.units = 0;
        self.counters.tx_packets += 1;
        self.push(Output::Packet(bytes));
    }

    /// Who does not drain loses what comes last, and it is counted.
    fn push(&mut self, output: Output) {
        let _ = self.outputs.push(output);
    }
}

/// What the far end is told of the line's alarms. Loss of the CRC-4 multiframe harms no octet.
fn attachment(alarms: Alarms) -> Attachment {
    let dead = [Alarm::Los, Alarm::Ais, Alarm::Lfa];
    if dead.into_iter().any(|alarm| alarms.contains(alarm)) {
        Attachment::Invalid
    } else if alarms.contains(Alarm::Rai) {
        Attachment::RemoteDefect
    } else {
        Attachment::Normal
    }
}

/// Frame by frame, timeslot by timeslot (RFC 5086 §5.2).
fn pack(unit: &Unit, timeslots: Timeslots, out: &mut Vec<u8>) {
    for frame in unit.bytes().chunks_exact(TIMESLOTS) {
        out.extend(timeslots.iter().map(|timeslot| frame[timeslot.index()]));
    }
}

/// `octets` are a unit's, of these timeslots; the others keep what they hold.
fn unpack(octets: &[u8], timeslots: Timeslots, unit: &mut Unit) {
    let frames = octets.chunks_exact(timeslots.len());
    for timeslot in timeslots.iter().enumerate() {
        let (place, timeslot) = timeslot;
        let mut column = [0; FRAMES];
        for (octet, frame) in column.iter_mut().zip(frames.clone()) {
            *octet = frame[place];
        }
        unit.set_timeslot(timeslot, column);
    }
}
