//! What a worker does about packets that waited for it. The buffer of a port holds ten seconds of
//! a voice or more, so that bursts of video pass; a worker that is too busy would delay every voice
//! by as much, and go on so for as long as it is busy. Sound that is late by half a second is worth
//! nothing to who listens, and does harm: a phone's jitter buffer grows by it. So it is dropped,
//! which takes less time than to carry it, and the worker catches up.
//!
//! The system stamps each datagram as it comes (SO_TIMESTAMP), which costs it about 35 ns. To read
//! the stamp costs 185 ns of the 7500 that a packet takes (Linux 6), so it is read of one packet in
//! [`SAMPLED`], and of each one while the worker is behind. What is no RTP is never late: reports,
//! checks of ICE, handshakes and faxes are few, and better late than not at all.

use crate::base::Instant;
use crate::wire::rtp::{Class, classify};
use std::time::Duration;

/// So long a packet may have waited.
pub(super) const LATE: Duration = Duration::from_millis(500);
/// A worker of which packets wait so long is behind.
const BEHIND: Duration = Duration::from_millis(100);
/// It counts as behind for so long afterwards.
const WATCHED: Duration = Duration::from_secs(1);
/// Of every so many packets one is looked at. A prime, lest it fall in step with the ports.
const SAMPLED: u8 = 61;
/// The most late packets that are taken off a port at once.
pub(super) const LATE_PER_ROUND: usize = 64;

/// Whether a worker is behind.
#[derive(Debug, Default)]
pub(super) struct Punctuality {
    behind_until: Option<Instant>,
    unsampled: u8,
}

impl Punctuality {
    /// Whether the next packet's stamp is to be read.
    pub(super) fn looks(&mut self, now: Instant) -> bool {
        if self.behind_until.is_some_and(|end| now < end) {
            return true;
        }
        self.unsampled += 1;
        let looks = self.unsampled >= SAMPLED;
        if looks {
            self.unsampled = 0;
        }
        looks
    }

    /// A round of packets took so long.
    pub(super) fn worked(&mut self, now: Instant, time: Duration) {
        if time >= BEHIND {
            self.behind_until = Some(now + WATCHED);
        }
    }

    /// Whether a packet that waited so long is late.
    pub(super) fn is_late(&mut self, now: Instant, waited: Duration, packet: &[u8]) -> bool {
        if waited >= BEHIND {
            self.behind_until = Some(now + WATCHED);
        }
        waited >= LATE && classify(packet) == Class::Rtp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_is_looked_at_while_the_worker_is_behind() {
        let mut p = Punctuality::default();
        let at = |ms: u64| Instant::from_millis(1000 + ms);
        let looks = |p: &mut Punctuality, ms| (0..610).filter(|_| p.looks(at(ms))).count();
        assert_eq!(looks(&mut p, 0), 10);
        let rtp = [0x80; 12];
        assert!(!p.is_late(at(0), BEHIND, &rtp));
        assert_eq!(looks(&mut p, 999), 610);
        assert_eq!(looks(&mut p, 1000), 10);
        p.worked(at(2000), BEHIND - Duration::from_millis(1));
        assert_eq!(looks(&mut p, 2000), 10);
        p.worked(at(2000), BEHIND);
        assert_eq!(looks(&mut p, 2001), 610);
    }

    #[test]
    fn only_sound_and_pictures_are_late() {
        let mut p = Punctuality::default();
        let mut late = |packet: &[u8], waited| p.is_late(Instant::ZERO, waited, packet);
        let rtp = [0x80; 12];
        assert!(late(&rtp, LATE) && !late(&rtp, LATE - Duration::from_millis(1)));
        // A report, a check of ICE, a handshake, a fax.
        let report = [0x80, 200, 0, 1, 0, 0, 0, 1];
        let check = [
            0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let hello = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        for other in [&report[..], &check, &hello, &[0, 1, 1, 0]] {
            assert!(!late(other, Duration::from_secs(9)), "{other:?}");
        }
    }
}
