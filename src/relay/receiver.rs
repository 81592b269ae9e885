//! How the packets of one source arrive: loss by sequence number (RFC 3550 A.1, A.3) and
//! interarrival jitter (A.8).

use crate::base::Instant;
use crate::wire::rtp::{Header, clock_rate};

/// A jump of so many packets is still loss (RFC 3550 A.1).
const DROPOUT_MAX: u16 = 3000;
/// A packet so far behind is late, not a restart (RFC 3550 A.1).
const MISORDER_MAX: u16 = 100;
/// The first dynamic payload type (RFC 3551 §3).
const DYNAMIC_FIRST: u8 = 96;

/// The statistics of one direction of one stream, over all SSRCs that it had.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Receiver {
    source: Option<Source>,
    /// Lost by the sources that went.
    lost_before: u64,
    ssrc_changes: u32,
    /// Of the current source, in timestamp units times 16.
    jitter: u32,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    base: u32,
    highest: u16,
    /// Sequence number wraps, times 65536.
    cycles: u32,
    /// One after the packet that jumped far, if the one before did.
    restart: Option<u16>,
    /// Its packets went another way since the last one.
    away: bool,
    received: u64,
    timing: Timing,
}

#[derive(Clone, Copy, Debug)]
struct Timing {
    payload_type: u8,
    timestamp: u32,
    transit: u32,
}

impl Receiver {
    /// A packet arrived. `clock` is the rate in Hz of dynamic payload types.
    pub(super) fn on_packet(&mut self, now: Instant, header: &Header, clock: u32) {
        let arrival = arrival(now, rate(header.payload_type, clock));
        let source = match &mut self.source {
            Some(source) if source.ssrc == header.ssrc => {
                if source.away {
                    self.lost_before += source.lost();
                    *source = Source::new(header, arrival);
                    return;
                }
                source
            }
            old => {
                if let Some(gone) = old.take() {
                    self.lost_before += gone.lost();
                    self.ssrc_changes = self.ssrc_changes.saturating_add(1);
                }
                self.jitter = 0;
                *old = Some(Source::new(header, arrival));
                return;
            }
        };
        match source.place(header.sequence) {
            Place::Next | Place::Late => {}
            Place::Jump => return,
            Place::Restart => {
                self.lost_before += source.lost();
                *source = Source::new(header, arrival);
                // The packet before, which looked like a jump, belonged to the new sequence.
                source.base = source.base.wrapping_sub(1);
                source.received = 2;
                return;
            }
        }
        source.received += 1;
        source.timing.update(header, arrival, &mut self.jitter);
    }

    /// The stream goes another way, where it is counted, too: what is missing until its next packet
    /// here is not lost.
    pub(super) fn goes_elsewhere(&mut self) {
        if let Some(source) = &mut self.source {
            source.away = true;
        }
    }

    /// Packets that did not arrive; late ones count as arrived, duplicates hide losses.
    pub(super) fn lost(&self) -> u64 {
        self.lost_before + self.source.as_ref().map_or(0, Source::lost)
    }

    /// In microseconds.
    pub(super) fn jitter_us(&self, clock: u32) -> u32 {
        let Some(source) = &self.source else { return 0 };
        units_to_us(self.jitter >> 4, rate(source.timing.payload_type, clock))
    }

    /// The source of now.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.source.map(|source| source.ssrc)
    }

    /// How often the SSRC changed.
    pub(super) fn ssrc_changes(&self) -> u32 {
        self.ssrc_changes
    }
}

enum Place {
    Next,
    Late,
    Jump,
    Restart,
}

impl Source {
    fn new(header: &Header, arrival: u32) -> Self {
        Self {
            ssrc: header.ssrc,
            base: u32::from(header.sequence),
            highest: header.sequence,
            cycles: 0,
            restart: None,
            away: false,
            received: 1,
            timing: Timing {
                payload_type: header.payload_type,
                timestamp: header.timestamp,
                transit: arrival.wrapping_sub(header.timestamp),
            },
        }
    }

    fn place(&mut self, sequence: u16) -> Place {
        let ahead = sequence.wrapping_sub(self.highest);
        if ahead < DROPOUT_MAX {
            if sequence < self.highest {
                self.cycles = self.cycles.wrapping_add(1 << 16);
            }
            self.highest = sequence;
            self.restart = None;
            return Place::Next;
        }
        if ahead > u16::MAX - MISORDER_MAX {
            return Place::Late;
        }
        if self.restart == Some(sequence) {
            return Place::Restart;
        }
        self.restart = Some(sequence.wrapping_add(1));
        Place::Jump
    }

    fn lost(&self) -> u64 {
        let highest = self.cycles.wrapping_add(u32::from(self.highest));
        let expected = u64::from(highest.wrapping_sub(self.base)) + 1;
        expected.saturating_sub(self.received)
    }
}

impl Timing {
    fn update(&mut self, header: &Header, arrival: u32, jitter: &mut u32) {
        // Packets of one instant (a video frame, a telephone event) say nothing about jitter.
        if header.timestamp == self.timestamp {
            return;
        }
        let transit = arrival.wrapping_sub(header.timestamp);
        let difference = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
        let comparable = header.payload_type == self.payload_type;
        *self = Timing {
            payload_type: header.payload_type,
            timestamp: header.timestamp,
            transit,
        };
        if comparable {
            let decayed = jitter.saturating_sub(jitter.saturating_add(8) >> 4);
            *jitter = decayed.saturating_add(difference);
        }
    }
}

fn rate(payload_type: u8, clock: u32) -> u32 {
    match payload_type {
        DYNAMIC_FIRST.. if clock > 0 => clock,
        _ => clock_rate(payload_type),
    }
}

fn arrival(now: Instant, rate: u32) -> u32 {
    let (seconds, nanos) = (
        now.as_nanos() / 1_000_000_000,
        now.as_nanos() % 1_000_000_000,
    );
    let whole = seconds.wrapping_mul(u64::from(rate));
    whole.wrapping_add(nanos * u64::from(rate) / 1_000_000_000) as u32
}

/// Timestamp units as microseconds.
pub(super) fn units_to_us(units: u32, rate: u32) -> u32 {
    let us = u64::from(units) * 1_000_000 / u64::from(rate.max(1));
    u32::try_from(us).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use std::time::Duration;

    #[test]
    fn what_went_another_way_is_not_lost() {
        let (mut receiver, now) = (Receiver::default(), Instant::from_millis(1));
        let come = |receiver: &mut Receiver, sequences: &[u16]| {
            for sequence in sequences {
                receiver.on_packet(now, &header(*sequence), 8000);
            }
            receiver.lost()
        };
        assert_eq!(come(&mut receiver, &[1, 2, 4]), 1);
        receiver.goes_elsewhere();
        assert_eq!(receiver.lost(), 1);
        assert_eq!(come(&mut receiver, &[104, 105, 107]), 2);
        // Twice is as once, and a stream that was never here has nothing to come back to.
        receiver.goes_elsewhere();
        receiver.goes_elsewhere();
        assert_eq!(come(&mut receiver, &[60_000, 60_001]), 2);
        assert_eq!(receiver.ssrc_changes(), 0);
        Receiver::default().goes_elsewhere();
    }

    fn header(sequence: u16) -> Header {
        Header {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc: 1,
        }
    }

    fn feed(receiver: &mut Receiver, sequences: impl IntoIterator<Item = u16>) {
        for (n, sequence) in sequences.into_iter().enumerate() {
            receiver.on_packet(Instant::from_millis(20 * n as u64), &header(sequence), 0);
        }
    }

    #[test]
    fn loss_survives_wraps_and_reordering() {
        let mut receiver = Receiver::default();
        feed(&mut receiver, [65533, 65535, 65534, 0, 2, 1, 5, 4]);
        assert_eq!(receiver.lost(), 1);
    }

    #[test]
    fn a_restart_is_not_loss_and_a_lone_jump_is_not_a_restart() {
        let mut receiver = Receiver::default();
        feed(
            &mut receiver,
            [10, 11, 30000, 12, 40000, 40001, 40002, 40004],
        );
        assert_eq!(receiver.lost(), 1);
    }

    #[test]
    fn a_new_ssrc_keeps_what_was_lost() {
        let mut receiver = Receiver::default();
        feed(&mut receiver, [1, 4]);
        let other = Header {
            ssrc: 2,
            ..header(9000)
        };
        receiver.on_packet(Instant::from_millis(60), &other, 0);
        assert_eq!((receiver.lost(), receiver.ssrc_changes()), (2, 1));
    }

    #[test]
    fn loss_equals_the_model_for_random_traffic() {
        for seed in 0..200 {
            let mut rng = Rng::from_u64(seed);
            let mut receiver = Receiver::default();
            let start = rng.next_u64() as u16;
            let mut sent: Vec<u16> = (0..2000u16).map(|n| start.wrapping_add(n)).collect();
            // The first and the last arrive and in their place, so that the span is known.
            let inner: Vec<u16> = sent.drain(1..1999).filter(|_| !rng.chance(1, 20)).collect();
            let lost = 1998 - inner.len() as u64;
            sent.splice(1..1, inner);
            let last = sent.len() - 2;
            for _ in 0..300 {
                let at = 1 + rng.below(last as u64 - 1) as usize;
                sent.swap(at, (at + 1).min(last));
            }
            feed(&mut receiver, sent);
            assert_eq!(receiver.lost(), lost, "seed {seed}");
        }
    }

    #[test]
    fn jitter_converges_to_the_mean_deviation() {
        let mut receiver = Receiver::default();
        for n in 0..500u16 {
            // Every second packet is 5 ms late: each transit differs by 5 ms from the one before.
            let late = u64::from(n % 2) * 5;
            let now = Instant::from_millis(20 * u64::from(n) + late);
            receiver.on_packet(now, &header(n), 0);
        }
        let jitter = receiver.jitter_us(0);
        assert!((4_700..=5_100).contains(&jitter), "{jitter}");
    }

    #[test]
    fn steady_opus_has_no_jitter() {
        let mut receiver = Receiver::default();
        for n in 0..100u16 {
            let now = Instant::ZERO + Duration::from_millis(20 * u64::from(n));
            let packet = Header {
                payload_type: 111,
                timestamp: u32::from(n) * 960,
                ..header(n)
            };
            receiver.on_packet(now, &packet, 48_000);
        }
        assert_eq!(receiver.jitter_us(48_000), 0);
    }
}
