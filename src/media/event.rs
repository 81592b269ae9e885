//! Keys as telephone events (RFC 4733 §2.5): a sender that makes the packets of each key, and a
//! receiver that makes one press and one release of the packets of each.
//!
//! Not done here: keys as sound, keys in INFO.

use crate::base::Instant;
use crate::wire::rtp::Header;
use crate::wire::rtp::event::{Event, FLASH};
use std::time::Duration;

/// How many keys may wait to be sent: a long number and more.
pub const KEYS_MAX: usize = 64;
/// How long a key is held unless asked otherwise, milliseconds.
pub const KEY_MS: u32 = 100;
/// The shortest key that receivers must notice (ITU-T Q.24), milliseconds.
pub const KEY_MS_MIN: u32 = 40;
/// The longest key that is sent, milliseconds.
pub const KEY_MS_MAX: u32 = 20_000;
/// Between two keys, milliseconds.
const PAUSE_MS: u32 = 60;
/// As many packets say that a key is over (§2.5.1.4).
const ENDS: u8 = 3;
/// A segment's longest duration (§2.5.1.3).
const SEGMENT_MAX: u32 = 0xffff;
/// Of the keys that we send: -10 dBm0.
const VOLUME: u8 = 10;
/// A key whose end was lost is released after such a silence.
const RELEASE: Duration = Duration::from_millis(200);
/// For so long an end like the last one is that once more.
const REPEAT: Duration = Duration::from_millis(100);
/// For so long an earlier timestamp is an old packet, not a jump of the sender's clock.
const STALE: Duration = Duration::from_secs(5);

// ---------------------------------------------------------------- sender

/// A packet to send in place of audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventPacket {
    /// Set on the first packet of a key.
    pub marker: bool,
    /// Of the beginning of the key, or of its segment.
    pub timestamp: u32,
    /// The payload.
    pub event: Event,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Key {
    code: u8,
    /// In units of the timestamp.
    length: u32,
}

/// ```text
///          key waits                length reached            third end
///   Idle ------------> Holding ----------------> Ending ------------> Pause ---> Idle
///                       |   ^                                          elapsed
///                       +---+ packet time: longer duration
/// ```
#[derive(Clone, Copy, Debug)]
enum Sending {
    Idle,
    Holding {
        key: Key,
        /// Of the segment.
        timestamp: u32,
        /// Sent of the segment.
        duration: u32,
        /// Of earlier segments.
        before: u32,
        first: bool,
    },
    Ending {
        last: EventPacket,
        left: u8,
    },
    Pause {
        left: u32,
    },
}

/// Makes the packets of keys that were pressed.
#[derive(Debug)]
pub struct EventSender {
    clock: u32,
    waiting: [Key; KEYS_MAX],
    first: usize,
    count: usize,
    sending: Sending,
}

/// Too many keys wait to be sent; press again when some are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeysFull;

impl EventSender {
    /// For an event format with this clock in Hz, from 1000 to 192,000.
    pub fn new(clock: u32) -> Self {
        Self {
            clock: clock.clamp(1000, 192_000),
            waiting: [Key::default(); KEYS_MAX],
            first: 0,
            count: 0,
            sending: Sending::Idle,
        }
    }

    /// Queues an event, held for `ms` ([`KEY_MS_MIN`] to [`KEY_MS_MAX`]).
    pub fn press(&mut self, code: u8, ms: u32) -> Result<(), KeysFull> {
        if self.count == KEYS_MAX {
            return Err(KeysFull);
        }
        let key = Key {
            code,
            length: self.units(ms.clamp(KEY_MS_MIN, KEY_MS_MAX)),
        };
        self.waiting[(self.first + self.count) % KEYS_MAX] = key;
        self.count += 1;
        Ok(())
    }

    /// Whether nothing is being sent or waits.
    pub fn is_idle(&self) -> bool {
        self.count == 0 && matches!(self.sending, Sending::Idle)
    }

    /// Its clock in Hz.
    pub fn clock(&self) -> u32 {
        self.clock
    }

    /// To be asked each packet time. `timestamp` is that of the audio that would be sent now,
    /// `step` its length in units of our clock. A packet that comes back replaces the audio
    /// (§2.5.1.1). Timestamps go on as those of the audio do, of which this is one stream, whatever
    /// our clock; the durations within are by it.
    pub fn poll_packet(&mut self, timestamp: u32, step: u32) -> Option<EventPacket> {
        match self.sending {
            Sending::Idle => self.on_idle(timestamp, step),
            Sending::Holding {
                key,
                timestamp,
                duration,
                before,
                first,
            } => Some(self.on_holding(key, (timestamp, duration, before), first, step)),
            Sending::Ending { last, left } => {
                self.sending = match left {
                    0 | 1 => Sending::Pause {
                        left: self.units(PAUSE_MS),
                    },
                    _ => Sending::Ending {
                        last,
                        left: left - 1,
                    },
                };
                Some(last)
            }
            Sending::Pause { left } => {
                self.sending = match left.saturating_sub(step) {
                    0 => Sending::Idle,
                    left => Sending::Pause { left },
                };
                None
            }
        }
    }

    fn on_idle(&mut self, timestamp: u32, step: u32) -> Option<EventPacket> {
        self.count = self.count.checked_sub(1)?;
        let key = self.waiting[self.first];
        self.first = (self.first + 1) % KEYS_MAX;
        Some(self.on_holding(key, (timestamp, 0, 0), true, step))
    }

    fn on_holding(
        &mut self,
        key: Key,
        (mut timestamp, duration, mut before): (u32, u32, u32),
        marker: bool,
        step: u32,
    ) -> EventPacket {
        let step = step.clamp(1, SEGMENT_MAX);
        let mut duration = (duration + step).min(key.length - before);
        if duration > SEGMENT_MAX {
            timestamp = timestamp.wrapping_add(SEGMENT_MAX);
            before += SEGMENT_MAX;
            duration -= SEGMENT_MAX;
        }
        let end = before + duration >= key.length;
        let packet = EventPacket {
            marker,
            timestamp,
            event: Event {
                code: key.code,
                end,
                volume: VOLUME,
                duration: duration as u16,
            },
        };
        self.sending = if end {
            Sending::Ending {
                last: EventPacket {
                    marker: false,
                    ..packet
                },
                left: ENDS - 1,
            }
        } else {
            Sending::Holding {
                key,
                timestamp,
                duration,
                before,
                first: false,
            }
        };
        packet
    }

    fn units(&self, ms: u32) -> u32 {
        (u64::from(self.clock) * u64::from(ms) / 1000) as u32
    }
}

// ---------------------------------------------------------------- receiver

/// What happened to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyChange {
    /// A key went down.
    Pressed {
        /// 0 to 16.
        code: u8,
    },
    /// It is up again.
    Released {
        /// 0 to 16.
        code: u8,
        /// How long it was held, in units of the timestamp, as far as was heard.
        units: u32,
    },
}

/// The most changes that one packet makes: the release of a key whose end was lost, and both of a
/// key of which only the end came.
const CHANGES_MAX: usize = 3;

#[derive(Clone, Copy, Debug)]
struct Held {
    code: u8,
    ssrc: u32,
    /// Of the present segment.
    timestamp: u32,
    duration: u32,
    /// Of earlier segments.
    before: u32,
    heard: Instant,
    /// Whether the release was told already.
    released: bool,
}

/// Makes keys of packets.
#[derive(Debug, Default)]
pub struct EventReceiver {
    last: Option<Held>,
    changes: [Option<KeyChange>; CHANGES_MAX],
    unknown: u64,
}

impl EventReceiver {
    /// Nothing held.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packets whose payload was malformed or whose event is neither a key nor the hook flash.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// A packet of the event's payload type has come. Drain [`Self::poll_change`] after it.
    pub fn handle_packet(&mut self, now: Instant, header: &Header, payload: &[u8]) {
        let known = Event::parse(payload).filter(|event| event.code <= FLASH);
        let Some(event) = known else {
            self.unknown += 1;
            return;
        };
        if self.last.is_some_and(|last| is_old(&last, now, header)) {
            return;
        }
        if self
            .last
            .is_some_and(|last| repeats(&last, now, header, &event))
        {
            return;
        }
        let same = self.last.and_then(|last| going_on(last, header, &event));
        let mut held = match same {
            Some(held) => held,
            None => self.begin(now, header, event.code),
        };
        held.heard = now;
        held.duration = held.duration.max(u32::from(event.duration));
        self.last = Some(held);
        if event.end {
            self.release();
        }
    }

    /// To be called now and then: releases a key whose end was lost.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self
            .last
            .is_some_and(|held| now.since(held.heard) >= RELEASE)
        {
            self.release();
        }
    }

    /// What the last packet or the time brought, in its order.
    pub fn poll_change(&mut self) -> Option<KeyChange> {
        let change = self.changes[0].take();
        self.changes.rotate_left(1);
        change
    }

    fn begin(&mut self, now: Instant, header: &Header, code: u8) -> Held {
        self.release();
        self.change(KeyChange::Pressed { code });
        Held {
            code,
            ssrc: header.ssrc,
            timestamp: header.timestamp,
            duration: 0,
            before: 0,
            heard: now,
            released: false,
        }
    }

    fn release(&mut self) {
        if let Some(held) = &mut self.last
            && !held.released
        {
            held.released = true;
            let change = KeyChange::Released {
                code: held.code,
                units: held.before.saturating_add(held.duration),
            };
            self.change(change);
        }
    }

    /// A caller that does not drain loses the newest.
    fn change(&mut self, change: KeyChange) {
        if let Some(place) = self.changes.iter_mut().find(|place| place.is_none()) {
            *place = Some(change);
        }
    }
}

fn is_old(last: &Held, now: Instant, header: &Header) -> bool {
    let behind = (header.timestamp.wrapping_sub(last.timestamp) as i32) < 0;
    header.ssrc == last.ssrc && behind && now.since(last.heard) < STALE
}

/// Whether the packet says once more that the last key is over, of a sender that lets the timestamp
/// run through that, too. A key of its own would have to last as long, and begin as soon.
fn repeats(last: &Held, now: Instant, header: &Header, event: &Event) -> bool {
    let is_end = event.end && !header.marker && last.released && header.ssrc == last.ssrc;
    let same = event.code == last.code && u32::from(event.duration) == last.duration;
    is_end && same && now.since(last.heard) < REPEAT
}

/// The key that was last heard of, at the packet's segment, if the packet belongs to it.
fn going_on(last: Held, header: &Header, event: &Event) -> Option<Held> {
    if header.ssrc != last.ssrc || event.code != last.code {
        return None;
    }
    let step = header.timestamp.wrapping_sub(last.timestamp);
    if step == 0 {
        return Some(last);
    }
    if last.released || header.marker {
        return None;
    }
    let timestamp = header.timestamp;
    // The next segment of a long key (§2.5.1.3).
    if step == SEGMENT_MAX {
        return Some(Held {
            timestamp,
            before: last.before.saturating_add(SEGMENT_MAX),
            duration: 0,
            ..last
        });
    }
    // Some senders let the timestamp run although the duration counts from the beginning.
    let grown = u32::from(event.duration).checked_sub(last.duration);
    (grown == Some(step)).then_some(Held { timestamp, ..last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::wire::rtp::event::{code, key};

    /// All packets of the keys, with the time at which they are sent.
    fn packets(clock: u32, keys: &[(char, u32)]) -> Vec<(Instant, Header, [u8; 4])> {
        let mut sender = EventSender::new(clock);
        for (key, ms) in keys {
            sender.press(code(*key).unwrap(), *ms).unwrap();
        }
        let (step, mut sent) = (clock / 50, Vec::new());
        for tick in 0..5000u32 {
            // Wraps within the keys.
            let now = (0u32.wrapping_sub(3000)).wrapping_add(tick * step);
            if let Some(packet) = sender.poll_packet(now, step) {
                let header = Header {
                    marker: packet.marker,
                    payload_type: 101,
                    sequence: tick as u16,
                    timestamp: packet.timestamp,
                    ssrc: 1,
                };
                let at = Instant::from_millis(1000 + u64::from(tick) * 20);
                sent.push((at, header, packet.event.emit()));
            } else if sender.is_idle() {
                break;
            }
        }
        assert!(sender.is_idle());
        sent
    }

    /// The keys that a receiver makes of packets, and how long each was held.
    fn receive(packets: &[(Instant, Header, [u8; 4])]) -> Vec<(char, u32)> {
        let mut receiver = EventReceiver::new();
        let (mut keys, mut down) = (Vec::new(), None);
        let end = Instant::FAR_FUTURE;
        for step in packets.iter().map(Some).chain([None]) {
            match step {
                Some((now, header, payload)) => {
                    receiver.handle_timeout(*now);
                    receiver.handle_packet(*now, header, payload);
                }
                None => receiver.handle_timeout(end),
            }
            while let Some(change) = receiver.poll_change() {
                match change {
                    KeyChange::Pressed { code } => {
                        assert_eq!(down.replace(code), None, "two keys are down");
                    }
                    KeyChange::Released { code, units } => {
                        assert_eq!(down.take(), Some(code));
                        keys.push((key(code).unwrap(), units));
                    }
                }
            }
        }
        assert_eq!(down, None);
        keys
    }

    #[test]
    fn a_key_of_a_hundred_milliseconds_makes_the_packets_of_the_rfc() {
        let sent = packets(8000, &[('1', 100)]);
        let events: Vec<_> = sent.iter().filter_map(|p| Event::parse(&p.2)).collect();
        let durations: Vec<_> = events.iter().map(|e| e.duration).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
        let ends: Vec<_> = events.iter().map(|e| e.end).collect();
        assert_eq!(ends, [false, false, false, false, true, true, true]);
        assert!(sent.iter().all(|p| p.1.timestamp == sent[0].1.timestamp));
        assert!(sent.iter().enumerate().all(|(n, p)| p.1.marker == (n == 0)));
    }

    #[test]
    fn a_long_key_is_cut_into_segments_and_heard_as_one() {
        for (clock, ms) in [(8000, 20_000), (48_000, 5000), (16_000, 4100)] {
            let sent = packets(clock, &[('5', ms), ('5', 100)]);
            assert_eq!(sent.iter().filter(|p| p.1.marker).count(), 2);
            let heard = receive(&sent);
            assert_eq!(heard, [('5', clock / 1000 * ms), ('5', clock / 10)]);
        }
    }

    #[test]
    fn each_key_is_heard_once_over_bad_networks() {
        let keys: Vec<(char, u32)> = "0123456789*#ABCD1111#".chars().map(|k| (k, 100)).collect();
        let sent = packets(8000, &keys);
        for seed in 0..500 {
            let mut rng = Rng::from_u64(seed);
            let mut arrived = Vec::new();
            for packet in &sent {
                let first_of_three = !rng.chance(1, 5);
                for _ in 0..=usize::from(rng.chance(1, 10)) {
                    if first_of_three {
                        let late = Duration::from_millis(rng.below(35));
                        arrived.push((packet.0 + late, packet.1, packet.2));
                    }
                }
            }
            arrived.sort_by_key(|packet| packet.0);
            let heard: String = receive(&arrived).into_iter().map(|(key, _)| key).collect();
            assert_eq!(heard, "0123456789*#ABCD1111#", "seed {seed}");
        }
    }

    #[test]
    fn lost_ends_are_made_up_by_the_next_key_or_by_time() {
        let mut sent = packets(8000, &[('1', 100), ('1', 100), ('2', 100)]);
        sent.retain(|packet| Event::parse(&packet.2).is_some_and(|event| !event.end));
        assert_eq!(receive(&sent), [('1', 640), ('1', 640), ('2', 640)]);
        // Of each key only the last end comes.
        let mut sent = packets(8000, &[('1', 100), ('2', 100)]);
        sent = vec![sent[6], sent[13]];
        assert_eq!(receive(&sent), [('1', 800), ('2', 800)]);
    }

    #[test]
    fn an_end_that_comes_after_the_next_key_is_old() {
        let mut sent = packets(8000, &[('1', 100), ('2', 100)]);
        for late in 4..7 {
            let mut packet = sent[late];
            packet.0 = sent[8].0;
            sent.insert(9, packet);
        }
        assert_eq!(receive(&sent), [('1', 800), ('2', 800)]);
    }

    #[test]
    fn a_timestamp_that_runs_along_is_still_one_key() {
        let mut sent = packets(8000, &[('7', 200)]);
        for (_, header, payload) in &mut sent {
            let event = Event::parse(payload).unwrap();
            header.timestamp = header.timestamp.wrapping_add(event.duration.into());
        }
        assert_eq!(receive(&sent), [('7', 1600)]);
    }

    /// As of gateways whose clock runs through the ends, all of which tell the same duration.
    #[test]
    fn a_timestamp_that_runs_through_the_ends_is_still_one_key() {
        let mut sent = packets(8000, &[('7', 200), ('7', 200)]);
        let mut running = 0;
        for (n, (_, header, _)) in sent.iter_mut().enumerate() {
            running = if header.marker { 0 } else { running + 160 };
            header.timestamp = header.timestamp.wrapping_add(running);
            assert_eq!(header.marker, n == 0 || n == 12);
        }
        assert_eq!(receive(&sent), [('7', 1600), ('7', 1600)]);
    }

    #[test]
    fn a_new_source_and_garbage_do_no_harm() {
        let mut sent = packets(8000, &[('1', 100), ('2', 100)]);
        for packet in &mut sent[7..] {
            packet.1.ssrc = 2;
            packet.1.timestamp = 5;
        }
        assert_eq!(receive(&sent), [('1', 800), ('2', 800)]);
        let mut receiver = EventReceiver::new();
        let (now, header, _) = sent[0];
        receiver.handle_packet(now, &header, &[1, 2]);
        receiver.handle_packet(now, &header, &[200, 0, 0, 160]);
        assert_eq!((receiver.poll_change(), receiver.unknown()), (None, 2));
        for seed in 0..200 {
            let mut rng = Rng::from_u64(seed);
            let mut random = Vec::new();
            for n in 0..300 {
                let mut bytes = [0; 4];
                rng.fill(&mut bytes);
                bytes[0] %= 16;
                let header = Header {
                    marker: rng.chance(1, 2),
                    timestamp: rng.next_u64() as u32 >> rng.below(32),
                    ssrc: rng.below(2) as u32,
                    ..header
                };
                random.push((Instant::from_millis(n * rng.below(500)), header, bytes));
            }
            receive(&random);
        }
    }

    #[test]
    fn the_queue_of_keys_is_bounded() {
        let mut sender = EventSender::new(8000);
        for _ in 0..KEYS_MAX {
            assert_eq!(sender.press(1, KEY_MS), Ok(()));
        }
        assert_eq!(sender.press(1, KEY_MS), Err(KeysFull));
        while sender.count == KEYS_MAX {
            sender.poll_packet(0, 160);
        }
        assert_eq!(sender.press(1, KEY_MS), Ok(()));
    }
}
