//! Adaptive jitter buffer: RTP packets in as the network brings them, a steady timeline out.
//!
//! Everything is counted in timestamp units. A packet's *transit* is its arrival on our clock minus
//! its timestamp; the *offset* is the same difference where it is played. A packet is in time if
//! its transit is not above the offset, so the offset wanted (the target) is a high percentile of
//! recent transits. The target rises at once and falls slowly; the timeline follows in silence
//! where it can, otherwise by a stretch of concealment more, or one packet less.
//!
//! The restart rules are those of RFC 3550 A.1: what jumps far must go on where it jumped to. Not
//! done here: decoding, concealment ([`Pull::Lost`] asks for it), statistics for RTCP.

use super::reception::units;
use crate::base::Instant;
use crate::wire::rtp::Header;

#[cfg(test)]
mod tests;

/// How many packets may wait: 640 ms of 10 ms packets.
pub const SLOTS: usize = 64;
/// The largest payload that a buffer can be set up for, bytes: 60 ms of linear samples at 16 kHz.
pub const PAYLOAD_MAX: usize = 1920;
/// The longest stretch that is concealed before silence is, milliseconds.
pub const CONCEAL_MS_MAX: u32 = 100;
/// The longest playing time of a packet that is believed, milliseconds.
pub const PTIME_MS_MAX: u32 = 120;
/// How often the caller plays, milliseconds.
pub const TICK_MS: u32 = 20;
/// The largest delay that can be asked for, milliseconds.
pub const DELAY_MS_MAX: u32 = 1000;

/// The transits that the percentile is of.
const HISTORY: usize = 256;
/// Of a hundred recent packets one may be too late.
const LATE_ONE_IN: usize = 100;
/// The rank of the percentile in a full history, from the largest.
const RANK_MAX: usize = HISTORY / LATE_ONE_IN + 1;
/// Until so many packets have come the initial delay is the least.
const PRIMED: usize = 50;
/// The target is computed anew after so many packets.
const UPDATE_EVERY: u32 = 8;
/// The target falls by one unit in so many: 16 ms a second.
const DECAY: i64 = 64;
/// A packet so far behind is late, not a restart (RFC 3550 A.1).
const MISORDER_MAX: i16 = 100;
/// A packet out of order with a transit that differs by more is of another clock, milliseconds.
const JUMP_MS: u32 = 2000;
/// After such a silence a stream may begin anew without proof, milliseconds.
const SILENCE_MS: u32 = 500;
/// One packet at most is left out in such a time, milliseconds.
const SKIP_MS: u32 = 200;
/// Payloads are kept in blocks of this size, bytes: 10 ms of G.711.
const BLOCK: usize = 80;
const BLOCKS_MAX: usize = 4096;
/// The end of a chain of blocks.
const NONE: u16 = u16::MAX;

/// What a buffer is set up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The timestamp's clock in Hz.
    pub clock: u32,
    /// The payload types that are audio of this stream.
    pub accepted: PayloadTypes,
    /// The one of them that is comfort noise: silence follows it, not loss (RFC 3389).
    pub comfort: Option<u8>,
    /// The codec's bytes per second, at most; decides how much memory is set aside.
    pub byte_rate: u32,
    /// The largest payload, bytes.
    pub payload_max: usize,
    /// The least delay after the fastest packet, milliseconds.
    pub delay_ms_min: u32,
    /// The delay until the network is known, milliseconds.
    pub delay_ms_initial: u32,
    /// The largest delay, milliseconds.
    pub delay_ms_max: u32,
}

impl Config {
    /// Usual delays for a codec.
    pub fn new(clock: u32, byte_rate: u32, accepted: PayloadTypes) -> Self {
        Self {
            clock,
            accepted,
            comfort: None,
            byte_rate,
            payload_max: PAYLOAD_MAX,
            delay_ms_min: 5,
            delay_ms_initial: 40,
            delay_ms_max: 500,
        }
    }
}

/// A set of payload types, 0 to 127.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PayloadTypes(u128);

impl PayloadTypes {
    /// The set of these; those above 127 do not exist.
    pub fn of(types: &[u8]) -> Self {
        let bits = types.iter().filter(|t| **t < 128).map(|t| 1u128 << *t);
        Self(bits.fold(0, |all, bit| all | bit))
    }

    /// Whether the set has it.
    pub fn contains(&self, payload_type: u8) -> bool {
        payload_type < 128 && self.0 & (1 << payload_type) != 0
    }
}

/// Why a packet was not taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Refusal {
    /// Its payload type is not of this stream.
    WrongType,
    /// Larger than the codec makes.
    Oversized,
    /// Its time has passed.
    Late,
    /// It was here before.
    Duplicate,
    /// Another source or another numbering, which the next packet must confirm.
    Unproven,
    /// No room is left.
    Full,
}

/// How many refusals there are.
pub const REFUSALS: usize = 6;

impl Refusal {
    /// All, in the order of [`JitterStats::refused`].
    pub const ALL: [Refusal; REFUSALS] = [
        Refusal::WrongType,
        Refusal::Oversized,
        Refusal::Late,
        Refusal::Duplicate,
        Refusal::Unproven,
        Refusal::Full,
    ];

    /// The place in [`JitterStats::refused`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// A stable name for listings.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::WrongType => "wrong_type",
            Refusal::Oversized => "oversized",
            Refusal::Late => "late",
            Refusal::Duplicate => "duplicate",
            Refusal::Unproven => "unproven",
            Refusal::Full => "full",
        }
    }
}

/// What the buffer has seen.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct JitterStats {
    /// Packets taken.
    pub taken: u64,
    /// Packets played.
    pub played: u64,
    /// Packets that were refused, by [`Refusal::index`]. Late ones that had been taken count too.
    pub refused: [u64; REFUSALS],
    /// Packets that came after one with a higher number, in time or not.
    pub reordered: u64,
    /// Stretches that had to be concealed because nothing was there.
    pub concealed: u64,
    /// Stretches that were put in to raise the delay.
    pub stretched: u64,
    /// Packets and gaps that were left out to lower the delay.
    pub skipped: u64,
    /// Packets thrown away because the stream began anew.
    pub flushed: u64,
    /// How often the numbering or the sender's clock jumped.
    pub restarts: u32,
    /// How often the SSRC changed.
    pub ssrc_changes: u32,
    /// The time that played packets spent here, in units of the timestamp.
    pub held_units: u64,
}

impl JitterStats {
    /// How many packets were refused for this reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused.get(reason.index()).copied().unwrap_or(0)
    }
}

/// What comes next on the timeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pull {
    /// A packet; its payload stands at the beginning of the caller's buffer.
    Packet {
        /// 0 to 127.
        payload_type: u8,
        /// Of the payload, bytes.
        length: usize,
        /// Whether it does not continue what was played before, so that a cross-fade is due.
        seam: bool,
        /// Of the packet before, bytes, if it is left out: its payload stands behind this one.
        skipped: usize,
    },
    /// So many timestamp units are missing: conceal.
    Lost {
        /// In units of the timestamp.
        units: u32,
        /// Whether they are of a packet that was lost, and the one behind it is here
        /// ([`JitterBuffer::following`]).
        follows: bool,
        /// Whether no packet is missing: what comes next is to come later.
        stretched: bool,
    },
    /// Silence or comfort noise until the end of the tick.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Empty,
    /// A packet of the sequence that is no audio: a telephone event, a keepalive.
    Other,
    Audio(Audio),
}

#[derive(Clone, Copy, Debug)]
struct Audio {
    timestamp: i64,
    arrival: i64,
    first: u16,
    length: u16,
    payload_type: u8,
    marker: bool,
}

#[derive(Clone, Copy, Debug)]
enum Playout {
    /// Nothing plays; the next packet starts when its offset is the target.
    Waiting,
    Playing {
        /// The timestamp that comes next.
        cursor: i64,
        /// Units concealed since the last packet.
        missing: i64,
        /// Where the cursor was last seen: our clock minus timestamp.
        offset: i64,
    },
}

#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    /// The last timestamp, without wraps.
    timestamp: i64,
    sequence: u16,
    arrival: i64,
    /// The number that plays next.
    next: u16,
    /// Bit n: the number `next - 1 - n` was played.
    played: u64,
    /// Between the timestamps of the last two packets in a row.
    step: i64,
    /// How far ahead of `next` packets were taken, so that no more is searched.
    reach: usize,
    /// Whether packets that are no audio came since the last that was.
    interrupted: bool,
}

/// The buffer of one stream.
#[derive(Debug)]
pub struct JitterBuffer {
    config: Config,
    pool: Pool,
    slots: Box<[Slot; SLOTS]>,
    source: Option<Source>,
    /// What a jump must go on with: SSRC and number.
    candidate: Option<(u32, u16)>,
    playout: Playout,
    transits: Transits,
    /// Of the sender's packets, units.
    ptime: i64,
    skipped_at: i64,
    stats: JitterStats,
}

impl JitterBuffer {
    /// Sets all memory aside that the buffer will ever use. Values out of range are brought into
    /// it.
    pub fn new(config: Config) -> Self {
        let clock = config.clock.clamp(1000, 192_000);
        let delay_ms_max = config.delay_ms_max.clamp(TICK_MS, DELAY_MS_MAX);
        let config = Config {
            clock,
            payload_max: config.payload_max.min(PAYLOAD_MAX),
            delay_ms_max,
            delay_ms_min: config.delay_ms_min.min(delay_ms_max),
            delay_ms_initial: config.delay_ms_initial.min(delay_ms_max),
            ..config
        };
        // A quarter of a second more than the largest delay: a burst comes before it plays.
        let bytes = u64::from(config.byte_rate) * u64::from(delay_ms_max + 250) / 1000;
        let blocks = usize::try_from(bytes).unwrap_or(usize::MAX) / BLOCK;
        Self {
            config,
            pool: Pool::new(blocks.clamp(SLOTS, BLOCKS_MAX)),
            slots: Box::new([Slot::Empty; SLOTS]),
            source: None,
            candidate: None,
            playout: Playout::Waiting,
            transits: Transits::new(),
            ptime: i64::from(clock * TICK_MS / 1000),
            skipped_at: i64::MIN / 2,
            stats: JitterStats::default(),
        }
    }

    /// The counters.
    pub fn stats(&self) -> &JitterStats {
        &self.stats
    }

    /// The delay that is aimed at, after the fastest of the recent packets, in milliseconds.
    pub fn delay_ms(&self) -> u32 {
        let units = self.transits.target - self.transits.lowest;
        (units.max(0) * 1000 / i64::from(self.config.clock)) as u32
    }

    /// The mean time that played packets waited here, in microseconds.
    pub fn held_us_mean(&self) -> u64 {
        let units = self.stats.held_units / self.stats.played.max(1);
        units * 1_000_000 / u64::from(self.config.clock)
    }

    /// The sender's packet time in milliseconds, as far as it is known.
    pub fn ptime_ms(&self) -> u32 {
        (self.ptime * 1000 / i64::from(self.config.clock)) as u32
    }

    /// A packet of audio has come.
    pub fn put(&mut self, now: Instant, header: &Header, payload: &[u8]) -> Result<(), Refusal> {
        let result = self.take(now, header, payload);
        if let Err(reason) = result {
            self.refuse(reason);
        }
        result
    }

    /// A packet has come that belongs to the sequence and is no audio, as a telephone event: its
    /// number is not missed.
    pub fn put_other(&mut self, now: Instant, header: &Header) -> Result<(), Refusal> {
        let result = self.take_other(now, header);
        if let Err(reason) = result {
            self.refuse(reason);
        }
        result
    }

    /// What plays next. The caller still has `queued` units to play; `out` takes the payload and
    /// must hold `payload_max` bytes.
    pub fn pull(&mut self, now: Instant, queued: u32, out: &mut [u8]) -> Pull {
        let at = self.units(now) + i64::from(queued);
        self.pass_others();
        match self.playout {
            Playout::Waiting => self.on_waiting(at, out),
            Playout::Playing {
                cursor, missing, ..
            } => self.on_playing(at, cursor, missing, out),
        }
    }

    /// Copies the payload that plays next, which stays; how long it is. After [`Pull::Lost`] it may
    /// hold a copy of what is missing.
    pub fn following(&self, out: &mut [u8]) -> Option<usize> {
        let (_, audio) = self.head(0)?;
        Some(self.pool.read(audio.first, usize::from(audio.length), out))
    }

    // ------------------------------------------------------------ in

    fn take(&mut self, now: Instant, header: &Header, payload: &[u8]) -> Result<(), Refusal> {
        if !self.config.accepted.contains(header.payload_type) {
            return Err(Refusal::WrongType);
        }
        if payload.len() > self.config.payload_max {
            return Err(Refusal::Oversized);
        }
        if payload.is_empty() {
            // A keepalive (RFC 6263 §4.1) or a codec's silence.
            return self.take_other(now, header);
        }
        let arrival = self.units(now);
        let timestamp = self.admit(arrival, header, Kind::Audio)?;
        if self.has_passed(timestamp) {
            return Err(Refusal::Late);
        }
        let first = self.pool.write(payload).ok_or(Refusal::Full)?;
        let audio = Audio {
            timestamp,
            arrival,
            first,
            length: payload.len() as u16,
            payload_type: header.payload_type,
            marker: header.marker,
        };
        self.store(header.sequence, Slot::Audio(audio));
        self.stats.taken += 1;
        Ok(())
    }

    fn take_other(&mut self, now: Instant, header: &Header) -> Result<(), Refusal> {
        self.admit(self.units(now), header, Kind::Other)?;
        self.store(header.sequence, Slot::Other);
        Ok(())
    }

    /// Whether a packet belongs here; returns its timestamp without wraps.
    fn admit(&mut self, arrival: i64, header: &Header, kind: Kind) -> Result<i64, Refusal> {
        let Some(source) = self.source else {
            return Ok(self.restart(arrival, header));
        };
        let step = header.timestamp.wrapping_sub(source.timestamp as u32) as i32;
        let timestamp = source.timestamp + i64::from(step);
        let ahead = header.sequence.wrapping_sub(source.next) as i16;
        let usual = source.arrival - source.timestamp;
        let moved = (arrival - timestamp - usual).abs();
        let steady = match kind {
            // An event keeps its timestamp as long as it lasts (RFC 4733 §2.2).
            Kind::Other => true,
            Kind::Audio if ahead < 0 => moved <= i64::from(self.span(JUMP_MS)),
            Kind::Audio => moved <= i64::from(self.span(self.config.delay_ms_max)),
        };
        let near = (-MISORDER_MAX..SLOTS as i16).contains(&ahead);
        if header.ssrc != source.ssrc || !near || !steady {
            return self.on_jump(arrival, header, &source);
        }
        self.candidate = None;
        self.place(ahead, header.sequence)?;
        if kind == Kind::Audio {
            self.learn(arrival, timestamp, header);
        }
        Ok(timestamp)
    }

    /// Another SSRC, another numbering or another clock.
    fn on_jump(&mut self, arrival: i64, header: &Header, old: &Source) -> Result<i64, Refusal> {
        let silent = arrival - old.arrival > i64::from(self.span(SILENCE_MS));
        let spurt = header.marker && header.ssrc == old.ssrc;
        if silent || spurt || self.candidate == Some((header.ssrc, header.sequence)) {
            return Ok(self.restart(arrival, header));
        }
        self.candidate = Some((header.ssrc, header.sequence.wrapping_add(1)));
        Err(Refusal::Unproven)
    }

    /// The stream begins with this packet, for the first time or anew.
    fn restart(&mut self, arrival: i64, header: &Header) -> i64 {
        self.flush();
        let mut timestamp = i64::from(header.timestamp);
        let mut keep = false;
        if let Some(old) = self.source {
            let changed = old.ssrc != header.ssrc;
            self.stats.ssrc_changes += u32::from(changed);
            self.stats.restarts += u32::from(!changed);
            let step = header.timestamp.wrapping_sub(old.timestamp as u32) as i32;
            let near = old.timestamp + i64::from(step);
            let moved = (arrival - near) - (old.arrival - old.timestamp);
            // A long loss says nothing against what is known of the path.
            keep = !changed && moved.abs() <= i64::from(self.span(self.config.delay_ms_max));
            if keep {
                timestamp = near;
            }
        }
        if !keep {
            self.transits.clear(arrival - timestamp);
        }
        self.candidate = None;
        self.playout = Playout::Waiting;
        self.source = Some(Source {
            ssrc: header.ssrc,
            timestamp,
            sequence: header.sequence,
            arrival,
            next: header.sequence,
            played: 0,
            step: 0,
            reach: 0,
            interrupted: false,
        });
        self.observe(arrival, timestamp);
        timestamp
    }

    /// Whether the number is still wanted.
    fn place(&mut self, ahead: i16, sequence: u16) -> Result<(), Refusal> {
        let Some(source) = &mut self.source else {
            return Ok(());
        };
        let late = (sequence.wrapping_sub(source.sequence) as i16) < 0;
        if let Ok(ahead) = usize::try_from(ahead) {
            if !matches!(self.slots[index(source.next, ahead)], Slot::Empty) {
                return Err(Refusal::Duplicate);
            }
            self.stats.reordered += u64::from(late);
            return Ok(());
        }
        let behind = usize::from(ahead.unsigned_abs());
        // Nothing has played yet: the stream begins earlier than it seemed.
        if source.played == 0 && behind + source.reach < SLOTS {
            source.next = sequence;
            source.reach += behind;
            self.stats.reordered += 1;
            return Ok(());
        }
        if behind <= 64 && source.played >> (behind - 1) & 1 == 1 {
            return Err(Refusal::Duplicate);
        }
        self.stats.reordered += 1;
        Err(Refusal::Late)
    }

    /// Notes transit and packet time of a packet that belongs to the stream.
    fn learn(&mut self, arrival: i64, timestamp: i64, header: &Header) {
        let longest = i64::from(self.span(PTIME_MS_MAX));
        let Some(source) = &mut self.source else {
            return;
        };
        let step = timestamp - source.timestamp;
        // Comfort noise takes the place of as much as it likes.
        let follows = header.sequence == source.sequence.wrapping_add(1)
            && Some(header.payload_type) != self.config.comfort;
        if follows && !header.marker && (1..=longest).contains(&step) {
            // A pause of the sender looks like one longer packet.
            if step < self.ptime || step == source.step {
                self.ptime = step;
            }
            source.step = step;
        }
        let newer = (header.sequence.wrapping_sub(source.sequence) as i16) > 0;
        if newer {
            source.sequence = header.sequence;
            source.timestamp = timestamp;
            source.arrival = arrival;
        }
        self.observe(arrival, timestamp);
    }

    fn observe(&mut self, arrival: i64, timestamp: i64) {
        let tick = i64::from(self.span(TICK_MS));
        let bounds = Bounds {
            least: i64::from(self.span(self.config.delay_ms_min)),
            initial: i64::from(self.span(self.config.delay_ms_initial)),
            // Some places stay free for what comes early.
            most: i64::from(self.span(self.config.delay_ms_max))
                .min(self.ptime * (SLOTS as i64 - 8)),
            // Packets that do not fill whole ticks are asked for before their turn.
            margin: tick - common_divisor(self.ptime, tick),
        };
        self.transits.add(arrival, arrival - timestamp, &bounds);
    }

    /// Whether what plays is past this timestamp, and the delay should not rise for it.
    fn has_passed(&self, timestamp: i64) -> bool {
        match self.playout {
            Playout::Waiting => false,
            Playout::Playing { cursor, offset, .. } => {
                let behind = cursor - timestamp;
                // The offset that playing it next would make may be a packet above the target, as
                // when a stream begins.
                let most = self.transits.target + self.ptime;
                behind > self.ptime / 2 && offset + behind > most
            }
        }
    }

    fn store(&mut self, sequence: u16, slot: Slot) {
        let Some(source) = &mut self.source else {
            return;
        };
        let ahead = usize::from(sequence.wrapping_sub(source.next));
        source.reach = source.reach.max(ahead + 1).min(SLOTS);
        self.slots[index(sequence, 0)] = slot;
    }

    fn refuse(&mut self, reason: Refusal) {
        if let Some(count) = self.stats.refused.get_mut(reason.index()) {
            *count += 1;
        }
    }

    // ------------------------------------------------------------ out

    fn on_waiting(&mut self, at: i64, out: &mut [u8]) -> Pull {
        for _ in 0..SLOTS {
            let Some((ahead, audio)) = self.head(0) else {
                return Pull::Nothing;
            };
            let offset = at - audio.timestamp;
            if offset < self.transits.target {
                return Pull::Nothing;
            }
            let stale = offset > self.transits.target + self.ptime;
            let another = self
                .head(ahead + 1)
                .is_some_and(|(_, next)| at - next.timestamp >= self.transits.target);
            if !(stale && another) {
                return self.play(at, ahead, audio, true, out);
            }
            self.leave_out(ahead);
            self.refuse(Refusal::Late);
        }
        Pull::Nothing
    }

    fn on_playing(&mut self, at: i64, cursor: i64, missing: i64, out: &mut [u8]) -> Pull {
        let limit = i64::from(self.span(CONCEAL_MS_MAX));
        let interrupted = self.source.is_some_and(|s| s.interrupted);
        let Some((ahead, audio)) = self.head(0) else {
            if interrupted || missing >= limit {
                self.playout = Playout::Waiting;
                return Pull::Nothing;
            }
            return self.conceal(at, (cursor, missing), self.ptime, false);
        };
        let half = self.ptime / 2;
        let gap = audio.timestamp - cursor;
        let wait = audio.marker && at - audio.timestamp < self.transits.target;
        if (gap > half && (ahead == 0 || interrupted)) || wait || missing >= limit {
            // The sender was silent, so the delay may change unheard.
            self.playout = Playout::Waiting;
            return self.on_waiting(at, out);
        }
        if gap <= half {
            return self.on_due(at, cursor, missing, (ahead, audio), out);
        }
        self.advance(1, false);
        if self.may_skip(at, cursor) {
            self.skip(at);
            let cursor = cursor + self.ptime.min(gap);
            return self.on_playing_after_skip(at, cursor, missing, out);
        }
        let follows = gap <= self.ptime + half;
        self.conceal(at, (cursor, missing), self.ptime.min(gap), follows)
    }

    /// A gap was left out; what follows is played or concealed without leaving out more.
    fn on_playing_after_skip(
        &mut self,
        at: i64,
        cursor: i64,
        missing: i64,
        out: &mut [u8],
    ) -> Pull {
        match self.head(0) {
            Some((ahead, audio)) if audio.timestamp - cursor <= self.ptime / 2 => {
                self.play(at, ahead, audio, true, out)
            }
            _ => self.conceal(at, (cursor, missing), self.ptime, false),
        }
    }

    /// The packet at the cursor is here.
    fn on_due(
        &mut self,
        at: i64,
        cursor: i64,
        missing: i64,
        (ahead, audio): (usize, Audio),
        out: &mut [u8],
    ) -> Pull {
        let offset = at - audio.timestamp;
        let half = self.ptime / 2;
        if missing == 0 && offset < self.transits.target {
            self.stats.stretched += 1;
            self.playout = Playout::Playing {
                cursor,
                missing: self.ptime,
                offset: at - cursor,
            };
            return Pull::Lost {
                units: self.ptime as u32,
                follows: false,
                stretched: true,
            };
        }
        if self.may_skip(at, audio.timestamp)
            && let Some((next, following)) = self.head(ahead + 1)
            && next == ahead + 1
            && following.timestamp - audio.timestamp <= self.ptime + half
        {
            let behind = out.get_mut(following.length.into()..).unwrap_or_default();
            let left_out = self.pool.read(audio.first, audio.length.into(), behind);
            self.leave_out(ahead);
            self.skip(at);
            let mut played = self.play(at, 0, following, true, out);
            if let Pull::Packet { skipped, .. } = &mut played {
                *skipped = left_out;
            }
            return played;
        }
        let seam = missing > 0 || ahead > 0;
        self.play(at, ahead, audio, seam, out)
    }

    fn may_skip(&self, at: i64, timestamp: i64) -> bool {
        at - timestamp > self.transits.target + self.ptime + self.ptime / 2
            && at - self.skipped_at >= i64::from(self.span(SKIP_MS))
    }

    fn skip(&mut self, at: i64) {
        self.skipped_at = at;
        self.stats.skipped += 1;
    }

    fn conceal(
        &mut self,
        at: i64,
        (cursor, missing): (i64, i64),
        units: i64,
        follows: bool,
    ) -> Pull {
        self.stats.concealed += 1;
        self.playout = Playout::Playing {
            cursor: cursor + units,
            missing: missing + units,
            offset: at - cursor,
        };
        Pull::Lost {
            units: units as u32,
            follows,
            stretched: false,
        }
    }

    fn play(&mut self, at: i64, ahead: usize, audio: Audio, seam: bool, out: &mut [u8]) -> Pull {
        let length = self.pool.read(audio.first, usize::from(audio.length), out);
        self.free(ahead);
        self.advance(ahead + 1, true);
        if let Some(source) = &mut self.source {
            source.interrupted = false;
        }
        self.stats.played += 1;
        self.stats.held_units += (at - audio.arrival).max(0) as u64;
        self.playout = match self.config.comfort {
            Some(comfort) if comfort == audio.payload_type => Playout::Waiting,
            _ => Playout::Playing {
                cursor: audio.timestamp + self.ptime,
                missing: 0,
                offset: at - audio.timestamp,
            },
        };
        Pull::Packet {
            payload_type: audio.payload_type,
            length,
            seam,
            skipped: 0,
        }
    }

    /// Gives up a packet that waits, and all before it.
    fn leave_out(&mut self, ahead: usize) {
        self.free(ahead);
        self.advance(ahead + 1, true);
    }

    /// The first audio packet from `from` places ahead of the next number on.
    fn head(&self, from: usize) -> Option<(usize, Audio)> {
        let source = self.source.as_ref()?;
        (from..source.reach).find_map(|ahead| match self.slots[index(source.next, ahead)] {
            Slot::Audio(audio) => Some((ahead, audio)),
            Slot::Empty | Slot::Other => None,
        })
    }

    fn free(&mut self, ahead: usize) {
        let Some(source) = &self.source else { return };
        let slot = &mut self.slots[index(source.next, ahead)];
        if let Slot::Audio(audio) = slot {
            self.pool.free(audio.first);
        }
        *slot = Slot::Empty;
    }

    /// Moves the next number on; `here` says whether the last one passed had come. Those before it
    /// hold no audio.
    fn advance(&mut self, count: usize, here: bool) {
        for passed in 0..count {
            self.free(0);
            let Some(source) = &mut self.source else {
                return;
            };
            source.next = source.next.wrapping_add(1);
            source.reach = source.reach.saturating_sub(1);
            source.played = source.played << 1 | u64::from(here && passed + 1 == count);
        }
    }

    fn pass_others(&mut self) {
        for _ in 0..SLOTS {
            let Some(source) = &mut self.source else {
                return;
            };
            if !matches!(self.slots[index(source.next, 0)], Slot::Other) {
                return;
            }
            source.interrupted = true;
            self.advance(1, true);
        }
    }

    fn flush(&mut self) {
        for slot in self.slots.iter_mut() {
            if let Slot::Audio(audio) = slot {
                self.pool.free(audio.first);
                self.stats.flushed += 1;
            }
            *slot = Slot::Empty;
        }
    }

    fn span(&self, ms: u32) -> u32 {
        (u64::from(self.config.clock) * u64::from(ms) / 1000) as u32
    }

    fn units(&self, now: Instant) -> i64 {
        units(now, self.config.clock) as i64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Audio,
    Other,
}

fn index(sequence: u16, ahead: usize) -> usize {
    (usize::from(sequence) + ahead) % SLOTS
}

fn common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

// ---------------------------------------------------------------- the network's delay

/// The transits of recent packets, and the offset that follows from them.
#[derive(Debug)]
struct Transits {
    /// Relative to `base`.
    recent: Box<[i32; HISTORY]>,
    base: i64,
    count: usize,
    since_update: u32,
    updated_at: i64,
    lowest: i64,
    target: i64,
}

struct Bounds {
    least: i64,
    initial: i64,
    most: i64,
    margin: i64,
}

impl Transits {
    fn new() -> Self {
        Self {
            recent: Box::new([0; HISTORY]),
            base: 0,
            count: 0,
            since_update: 0,
            updated_at: 0,
            lowest: 0,
            target: 0,
        }
    }

    fn clear(&mut self, base: i64) {
        self.base = base;
        self.count = 0;
        self.since_update = 0;
        self.lowest = base;
        self.target = i64::MIN / 2;
    }

    fn add(&mut self, now: i64, transit: i64, bounds: &Bounds) {
        let relative = (transit - self.base).clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        self.recent[self.count % HISTORY] = relative as i32;
        self.count += 1;
        self.since_update += 1;
        let urgent = transit + bounds.margin > self.target;
        if urgent || self.since_update >= UPDATE_EVERY {
            self.update(now, bounds);
        }
    }

    fn update(&mut self, now: i64, bounds: &Bounds) {
        let filled = self.count.min(HISTORY);
        let mut largest = [i32::MIN; RANK_MAX];
        let mut lowest = i32::MAX;
        for &transit in &self.recent[..filled] {
            lowest = lowest.min(transit);
            let mut sinking = transit;
            for place in &mut largest {
                if sinking > *place {
                    std::mem::swap(&mut sinking, place);
                }
            }
        }
        let high = largest[(filled / LATE_ONE_IN).min(RANK_MAX - 1)];
        self.lowest = self.base + i64::from(lowest);
        let least = match self.count {
            ..PRIMED => bounds.initial.max(bounds.least),
            _ => bounds.least,
        };
        let most = self.lowest + bounds.most;
        let wanted = (self.base + i64::from(high) + bounds.margin)
            .clamp(self.lowest + least.min(bounds.most), most);
        let fallen = (self.target - (now - self.updated_at).max(0) / DECAY).min(most);
        // A unit of decay may need several updates' time.
        if wanted >= self.target || fallen < self.target {
            self.target = wanted.max(fallen);
            self.updated_at = now;
        }
        self.since_update = 0;
    }
}

// ---------------------------------------------------------------- memory

/// Payloads in chains of blocks, so that little memory serves small and large ones.
#[derive(Debug)]
struct Pool {
    bytes: Box<[[u8; BLOCK]]>,
    /// The block after each, in a payload or in the list of free ones.
    next: Box<[u16]>,
    free: u16,
    free_count: usize,
}

impl Pool {
    fn new(blocks: usize) -> Self {
        let follow = |n: usize| if n + 1 < blocks { n as u16 + 1 } else { NONE };
        Self {
            bytes: vec![[0; BLOCK]; blocks].into_boxed_slice(),
            next: (0..blocks).map(follow).collect(),
            free: 0,
            free_count: blocks,
        }
    }

    /// Copies a payload that is not empty; returns its first block.
    fn write(&mut self, payload: &[u8]) -> Option<u16> {
        let count = payload.len().div_ceil(BLOCK);
        if count == 0 || count > self.free_count {
            return None;
        }
        let first = self.free;
        let mut last = first;
        for part in payload.chunks(BLOCK) {
            last = self.free;
            let at = usize::from(last);
            self.bytes[at][..part.len()].copy_from_slice(part);
            self.free = self.next[at];
        }
        self.next[usize::from(last)] = NONE;
        self.free_count -= count;
        Some(first)
    }

    fn read(&self, first: u16, length: usize, out: &mut [u8]) -> usize {
        let length = length.min(out.len());
        let mut at = first;
        for part in out[..length].chunks_mut(BLOCK) {
            let size = part.len();
            part.copy_from_slice(&self.bytes[usize::from(at)][..size]);
            at = self.next[usize::from(at)];
        }
        length
    }

    fn free(&mut self, first: u16) {
        let mut last = usize::from(first);
        self.free_count += 1;
        while self.next[last] != NONE {
            last = usize::from(self.next[last]);
            self.free_count += 1;
        }
        self.next[last] = self.free;
        self.free = first;
    }
}
