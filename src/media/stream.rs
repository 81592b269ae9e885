//! One RTP stream in each direction, with its RTCP (RFC 3550): numbers and timestamps of what is
//! sent, statistics of what comes, reports at the intervals of §6.2 and §6.3 for two members,
//! collisions of SSRCs (§8.2), BYE.
//!
//! Not done here: sockets, encryption, the jitter buffer. NTP time comes as an argument, since it
//! is the calendar's. Bandwidth never lengthens the interval: two members with one report each in
//! five seconds need less than the 5 % of any codec's that §6.2 grants.

use super::jitter::{JitterBuffer, JitterStats, Refusal};
use super::reception::{Place, Reception, units, units_to_us};
use crate::base::{Instant, Rng};
use crate::wire::rtp::Header;
use crate::wire::rtp::rtcp::{self, ReportBlock, SenderInfo};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The longest report that is made: SR with one block, CNAME of 255 bytes, two BYEs.
pub const REPORT_SIZE_MAX: usize = 28 + 24 + 8 + 260 + 16;
/// How often we change our SSRC for a collision; what comes after that is a loop of our packets.
pub const COLLISIONS_MAX: u32 = 3;
/// The first number is random in the lower half alone. Who missed what came before a wrap takes the
/// first packet that it hears for one before any (RFC 3711 §3.3.1), and decrypts none for ever.
const SEQUENCE_MAX: u16 = 0x7fff;
/// The interval between reports before it is randomised (§6.2).
const INTERVAL_MS: u64 = 5000;
/// e - 3/2 in thousandths, which undoes the bias of reconsideration (§6.3.1).
const COMPENSATION: u64 = 1218;
/// A round trip that is longer is a wrong clock.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(30);
/// What is sent later than this behind what was sent before, two packets and more, goes on behind
/// a pause.
pub const PAUSE_MIN: Duration = Duration::from_millis(40);
/// Packets that still come so long after their source's BYE were on the way when it left.
const STRAGGLERS: Duration = Duration::from_millis(500);
/// From 1900, where NTP begins, to 1970, in seconds.
const NTP_UNIX: u64 = 2_208_988_800;

/// NTP's time (RFC 3550 §4) of a calendar's milliseconds since 1970.
pub const fn ntp_of_unix_ms(unix_ms: u64) -> u64 {
    let seconds = (unix_ms / 1000).wrapping_add(NTP_UNIX);
    (seconds << 32) | (((unix_ms % 1000) << 32) / 1000)
}

/// What became of an RTP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// It belongs to the stream.
    Stream,
    /// Another source or another numbering, which the next packet must confirm. A jitter buffer
    /// should get it all the same: it judges for itself, and would otherwise lose one packet more.
    Unproven,
    /// It carried our own SSRC, which has changed now; a report is due (§8.2).
    Collision,
    /// It carried our own SSRC once too often: our packets come back. Counted with the stream.
    Loop,
}

/// What RTCP brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtcpHeard {
    /// Reports, or nothing that matters here.
    Report,
    /// The source that we hear has left.
    Bye,
    /// It carried our own SSRC, which has changed now; a report is due (§8.2).
    Collision,
    /// Not a compound as A.2 wants it.
    Malformed,
}

/// The statistics of both directions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StreamStats {
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Their payload, bytes.
    pub octets_sent: u64,
    /// RTP packets that came and belonged to the stream.
    pub packets_received: u64,
    /// Their payload, bytes.
    pub octets_received: u64,
    /// Packets lost on the way to us; never below zero here.
    pub lost: u64,
    /// Packets that came too late to be played.
    pub late: u64,
    /// Interarrival jitter in microseconds.
    pub jitter_us: u32,
    /// The time that packets wait before they are played, mean, in microseconds.
    pub delay_us: u64,
    /// The last round trip measured, in microseconds.
    pub round_trip_us: Option<u32>,
    /// What the peer lost of ours, by its last report.
    pub peer_lost: Option<i32>,
    /// What it lost in the last interval, in 256ths.
    pub peer_fraction_lost: Option<u8>,
    /// Its jitter in microseconds.
    pub peer_jitter_us: Option<u32>,
    /// How often the peer's SSRC changed.
    pub ssrc_changes: u32,
    /// How often our SSRC collided.
    pub collisions: u32,
    /// RTCP that was no compound.
    pub malformed: u64,
    /// What the buffer behind the stream counted; nothing without one.
    pub buffer: JitterStats,
}

#[derive(Debug)]
struct Sender {
    ssrc: u32,
    sequence: u16,
    /// Of the audio that would be sent next.
    timestamp: u32,
    /// Under this SSRC.
    packets: u32,
    octets: u32,
    /// The last packet's time, and the stream's timestamp then.
    last: Option<(Instant, u32)>,
    /// Whether the next packet is the first after silence (RFC 3551 §4.1).
    spurt: bool,
}

/// How the peer's positions become ours while it hears itself.
#[derive(Clone, Copy, Debug)]
struct Echo {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

/// Both directions of one stream.
#[derive(Debug)]
pub struct RtpStream {
    clock: u32,
    cname: Box<str>,
    rng: Rng,
    sender: Sender,
    reception: Option<Reception>,
    /// When the source that we hear said goodbye, if it did (RFC 3550 §6.3.4): it is reported on no
    /// more, unless its packets go on.
    left: Option<Instant>,
    /// Another source, and the number that must follow.
    candidate: Option<(u32, u16)>,
    /// When the last two reports were made.
    reported: [Instant; 2],
    due: Instant,
    /// Our former SSRC, to be given up with a BYE.
    given_up: Option<u32>,
    /// Whether others know of us, by a packet of sound or a report.
    known: bool,
    lost_before: u64,
    echo: Option<Echo>,
    stats: StreamStats,
}

impl RtpStream {
    /// A stream of a format with this clock in Hz. `rng` makes SSRC, first number and timestamp
    /// and the intervals; `cname` is the same for all streams of an endpoint, and at most 255
    /// bytes of it are told.
    pub fn new(now: Instant, clock: u32, cname: &str, mut rng: Rng) -> Self {
        let sender = Sender {
            ssrc: rng.next_u64() as u32,
            sequence: rng.next_u64() as u16 & SEQUENCE_MAX,
            timestamp: rng.next_u64() as u32,
            packets: 0,
            octets: 0,
            last: None,
            spurt: true,
        };
        let mut stream = Self {
            clock: clock.clamp(1000, 192_000),
            cname: cname.into(),
            rng,
            sender,
            reception: None,
            left: None,
            candidate: None,
            reported: [now; 2],
            due: now,
            given_up: None,
            known: false,
            lost_before: 0,
            echo: None,
            stats: StreamStats::default(),
        };
        // The first report comes after half the interval (§6.2).
        stream.due = now + stream.interval() / 2;
        stream
    }

    /// Our SSRC.
    pub fn ssrc(&self) -> u32 {
        self.sender.ssrc
    }

    /// The SSRC that we hear.
    pub fn peer_ssrc(&self) -> Option<u32> {
        self.reception.map(|reception| reception.ssrc())
    }

    /// The timestamp of the audio that would be sent now.
    pub fn timestamp(&self) -> u32 {
        self.sender.timestamp
    }

    /// The statistics, with what the buffer behind the stream knows.
    pub fn stats(&self, buffer: Option<&JitterBuffer>) -> StreamStats {
        let (lost, jitter) = match &self.reception {
            Some(reception) => (reception.lost(), reception.jitter()),
            None => (0, 0),
        };
        StreamStats {
            lost: self.lost_before.saturating_add_signed(lost),
            late: buffer.map_or(0, |b| b.stats().refused(Refusal::Late)),
            delay_us: buffer.map_or(0, JitterBuffer::held_us_mean),
            buffer: buffer.map(|b| *b.stats()).unwrap_or_default(),
            jitter_us: units_to_us(jitter, self.clock),
            ..self.stats
        }
    }

    // ------------------------------------------------------------ out

    /// The header of the next packet of audio, which plays for `step` units. The first after
    /// silence is marked.
    pub fn send_audio(
        &mut self,
        now: Instant,
        payload_type: u8,
        step: u32,
        length: usize,
    ) -> Header {
        let timestamp = self.sender.timestamp;
        let marker = self.sender.spurt;
        self.sender.spurt = false;
        self.send(now, payload_type, (marker, timestamp), step, length)
    }

    /// The header of a packet that takes the place of `step` units of audio and has a timestamp of
    /// its own, as of a telephone event.
    pub fn send_event(
        &mut self,
        now: Instant,
        payload_type: u8,
        (marker, timestamp): (bool, u32),
        step: u32,
        length: usize,
    ) -> Header {
        self.sender.spurt = true;
        self.send(now, payload_type, (marker, timestamp), step, length)
    }

    /// The header under which the peer's own packet goes back to it: with the gaps, the order and
    /// the times that it came with, so that the peer hears its own way to us.
    pub fn send_back(&mut self, now: Instant, theirs: &Header, length: usize) -> Header {
        let echo = match self.echo {
            Some(echo) if echo.ssrc == theirs.ssrc => echo,
            _ => {
                self.resume(now, PAUSE_MIN);
                Echo {
                    ssrc: theirs.ssrc,
                    sequence: self.sender.sequence.wrapping_sub(theirs.sequence),
                    timestamp: self.sender.timestamp.wrapping_sub(theirs.timestamp),
                }
            }
        };
        self.echo = Some(echo);
        // Where another source, or sound of our own, goes on.
        self.sender.sequence = theirs.sequence.wrapping_add(echo.sequence);
        self.sender.timestamp = theirs.timestamp.wrapping_add(echo.timestamp);
        let place = (theirs.marker, self.sender.timestamp);
        let step = self.clock / 50;
        self.send(now, theirs.payload_type, place, step, length)
    }

    /// What comes back by [`RtpStream::send_back`] begins anew.
    pub fn new_echo(&mut self) {
        self.echo = None;
    }

    /// The header of a description of noise in the place of `step` units of audio (RFC 3389 §4: not
    /// marked, at the time at which the noise begins).
    pub fn send_noise(
        &mut self,
        now: Instant,
        payload_type: u8,
        step: u32,
        length: usize,
    ) -> Header {
        let place = (false, self.sender.timestamp);
        self.send_event(now, payload_type, place, step, length)
    }

    /// Sound goes on behind a pause that nobody counted, if it was longer than `most`: timestamps
    /// go on as time did (RFC 3550 §5.1), and the next packet of audio is marked.
    pub fn resume(&mut self, now: Instant, most: Duration) {
        let Some((at, timestamp)) = self.sender.last else {
            return;
        };
        let passed = units(now, self.clock).wrapping_sub(units(at, self.clock));
        let present = timestamp.wrapping_add(passed as u32);
        let ahead = present.wrapping_sub(self.sender.timestamp) as i32;
        let most = u64::from(self.clock) * most.as_millis() as u64 / 1000;
        if i64::from(ahead) > most as i64 {
            self.sender.timestamp = present;
            self.sender.spurt = true;
        }
    }

    /// Whether sound was sent.
    pub fn has_spoken(&self) -> bool {
        self.sender.last.is_some()
    }

    /// So many units pass in silence.
    pub fn send_nothing(&mut self, step: u32) {
        self.sender.timestamp = self.sender.timestamp.wrapping_add(step);
        self.sender.spurt = true;
    }

    fn send(
        &mut self,
        now: Instant,
        payload_type: u8,
        (marker, timestamp): (bool, u32),
        step: u32,
        length: usize,
    ) -> Header {
        let sender = &mut self.sender;
        let header = Header {
            marker,
            payload_type,
            sequence: sender.sequence,
            timestamp,
            ssrc: sender.ssrc,
        };
        sender.last = Some((now, sender.timestamp));
        sender.sequence = sender.sequence.wrapping_add(1);
        sender.timestamp = sender.timestamp.wrapping_add(step);
        sender.packets = sender.packets.wrapping_add(1);
        sender.octets = sender.octets.wrapping_add(length as u32);
        self.known = true;
        self.stats.packets_sent += 1;
        self.stats.octets_sent += length as u64;
        header
    }

    // ------------------------------------------------------------ in

    /// An RTP packet has come, with `length` bytes of payload.
    pub fn handle_rtp(&mut self, now: Instant, header: &Header, length: usize) -> Heard {
        let collides = header.ssrc == self.sender.ssrc;
        if collides && self.on_collision(now) {
            return Heard::Collision;
        }
        let arrival = units(now, self.clock) as u32;
        let taken = match &mut self.reception {
            Some(reception) if reception.ssrc() == header.ssrc => {
                self.candidate = None;
                reception.on_packet(header, arrival) != Place::Jump
            }
            // Behind one that has left, another needs no proof.
            Some(_)
                if self.left.is_none()
                    && self.candidate != Some((header.ssrc, header.sequence)) =>
            {
                self.candidate = Some((header.ssrc, header.sequence.wrapping_add(1)));
                false
            }
            old => {
                if let Some(gone) = old.take() {
                    let lost = self.lost_before.saturating_add_signed(gone.lost());
                    self.lost_before = lost;
                    self.stats.ssrc_changes += 1;
                }
                self.candidate = None;
                self.left = None;
                *old = Some(Reception::new(header, arrival));
                true
            }
        };
        if !taken {
            return Heard::Unproven;
        }
        // Some say goodbye where they are put on hold, and come back as they were.
        self.left = self.left.filter(|left| now.since(*left) < STRAGGLERS);
        self.stats.packets_received += 1;
        self.stats.octets_received += length as u64;
        if collides { Heard::Loop } else { Heard::Stream }
    }

    /// A compound of RTCP has come at the calendar's time `ntp`.
    pub fn handle_rtcp(&mut self, now: Instant, ntp: u64, bytes: &[u8]) -> RtcpHeard {
        // A compound begins with a report (A.2).
        let first = rtcp::packets(bytes).next();
        if first.and_then(|packet| packet.reporter()).is_none() {
            self.stats.malformed += 1;
            return RtcpHeard::Malformed;
        }
        let mut heard = RtcpHeard::Report;
        for packet in rtcp::packets(bytes) {
            if let Some(reporter) = packet.reporter() {
                if reporter == self.sender.ssrc {
                    if self.on_collision(now) {
                        heard = RtcpHeard::Collision;
                    }
                    continue;
                }
                let own = self.sender.ssrc;
                for block in packet.reports().filter(|block| block.ssrc == own) {
                    self.on_block(ntp, &block);
                }
                if let (Some(info), Some(reception)) = (packet.sender(), &mut self.reception)
                    && reception.ssrc() == reporter
                {
                    reception.on_report(now, info.ntp);
                }
            }
            if packet.leaving().any(|ssrc| Some(ssrc) == self.peer_ssrc()) {
                self.left = Some(now);
                heard = RtcpHeard::Bye;
            }
        }
        heard
    }

    fn on_block(&mut self, ntp: u64, block: &ReportBlock) {
        self.stats.peer_lost = Some(block.lost);
        self.stats.peer_fraction_lost = Some(block.fraction_lost);
        self.stats.peer_jitter_us = Some(units_to_us(block.jitter, self.clock));
        if block.last_report == 0 {
            return;
        }
        // §6.4.1, figure 2: in 65536ths of a second.
        let middle = (ntp >> 16) as u32;
        let trip = middle
            .wrapping_sub(block.last_report)
            .wrapping_sub(block.delay);
        let us = (u64::from(trip) * 1_000_000) >> 16;
        // Roundings may make it a little negative.
        let us = if trip > u32::MAX - 66 { 0 } else { us };
        if us <= ROUND_TRIP_MAX.as_micros() as u64 {
            self.stats.round_trip_us = Some(us as u32);
        }
    }

    /// Takes another SSRC; not if that did not help before.
    fn on_collision(&mut self, now: Instant) -> bool {
        self.stats.collisions = self.stats.collisions.saturating_add(1);
        if self.stats.collisions > COLLISIONS_MAX {
            return false;
        }
        self.rename(now);
        true
    }

    /// Takes another SSRC, and gives the old one up in a report at once.
    fn rename(&mut self, now: Instant) {
        // Two BYEs at once are never needed: the older SSRC has not been heard of since.
        self.given_up = Some(self.sender.ssrc);
        let mut ssrc = self.rng.next_u64() as u32;
        while ssrc == self.sender.ssrc || Some(ssrc) == self.peer_ssrc() {
            ssrc = ssrc.wrapping_add(1);
        }
        self.sender.ssrc = ssrc;
        self.sender.packets = 0;
        self.sender.octets = 0;
        self.due = now;
    }

    /// A format of another clock was agreed on. One SSRC has one clock in its life (RFC 7160 §4.1):
    /// who knows ours learns another.
    pub fn set_clock(&mut self, now: Instant, clock: u32) {
        let clock = clock.clamp(1000, 192_000);
        if clock == self.clock {
            return;
        }
        self.clock = clock;
        self.echo = None;
        self.sender.last = None;
        self.sender.spurt = true;
        if self.known {
            self.rename(now);
        }
        if let Some(reception) = &mut self.reception {
            reception.change_clock();
        }
    }

    // ------------------------------------------------------------ reports

    /// When the next report is due.
    pub fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// Writes a report into `out` if one is due, at most [`REPORT_SIZE_MAX`] bytes; whether it did.
    pub fn poll_report(&mut self, now: Instant, ntp: u64, out: &mut Vec<u8>) -> bool {
        if now < self.due {
            return false;
        }
        self.write_report(now, ntp, out);
        self.due = now + self.interval();
        true
    }

    /// Writes the last report with a BYE into `out`, at once as among so few (§6.3.7); whether it
    /// did: who was never heard of has nothing to take back. None is due afterwards.
    pub fn goodbye(&mut self, now: Instant, ntp: u64, out: &mut Vec<u8>) -> bool {
        self.due = Instant::FAR_FUTURE;
        if !self.known {
            return false;
        }
        self.write_report(now, ntp, out);
        rtcp::emit_bye(out, self.sender.ssrc);
        true
    }

    fn write_report(&mut self, now: Instant, ntp: u64, out: &mut Vec<u8>) {
        out.clear();
        let heard = self.reception.as_mut().filter(|_| self.left.is_none());
        let block = heard.map(|reception| reception.report(now));
        let blocks = block.as_slice();
        let ssrc = self.sender.ssrc;
        // Who sent since the report before the last is a sender (§6.4).
        match self.sender.last {
            Some((at, timestamp)) if at >= self.reported[0] => {
                let since = units(now, self.clock).wrapping_sub(units(at, self.clock));
                let info = SenderInfo {
                    ntp,
                    timestamp: timestamp.wrapping_add(since as u32),
                    packets: self.sender.packets,
                    octets: self.sender.octets,
                };
                rtcp::emit_sender_report(out, ssrc, &info, blocks);
            }
            _ => rtcp::append_receiver_report(out, ssrc, blocks),
        }
        rtcp::emit_cname(out, ssrc, self.cname.as_bytes());
        if let Some(old) = self.given_up.take() {
            rtcp::emit_bye(out, old);
        }
        self.reported = [self.reported[1], now];
        self.known = true;
    }

    /// From half to one and a half of [`INTERVAL_MS`], compensated (§6.3.1).
    fn interval(&mut self) -> Duration {
        let us = INTERVAL_MS * 1000;
        let random = us / 2 + self.rng.below(us + 1);
        Duration::from_micros(random * 1000 / COMPENSATION)
    }
}
