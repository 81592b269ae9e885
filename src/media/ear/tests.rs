use super::super::codec::Encoder;
use super::super::goertzel::amplitude;
use super::super::jitter::Refusal;
use super::*;
use crate::base::Rng;
use crate::wire::rtp::Coding;

const HZ: f32 = 440.0;

pub(super) fn format(coding: Coding) -> Format {
    Format {
        events: Some(101),
        events_clock: 8_000,
        ..Format::plain(coding, coding.payload_type())
    }
}

/// A far end that speaks 440 Hz.
struct Mouth {
    codec: Codec,
    encoder: Encoder,
    header: Header,
    at: usize,
    ms: u32,
}

impl Mouth {
    fn new(coding: Coding, ms: u32) -> Self {
        let codec = Codec::from(coding);
        Self {
            codec,
            encoder: Encoder::new(codec),
            header: Header {
                marker: false,
                payload_type: coding.payload_type(),
                sequence: 65_530,
                timestamp: u32::MAX - 1000,
                ssrc: 7,
            },
            at: 0,
            ms,
        }
    }

    fn next(&mut self) -> (Header, Vec<u8>) {
        let rate = self.codec.sample_rate() as f32;
        let count = self.codec.samples(self.ms);
        let value = |n: usize| {
            let angle = std::f32::consts::TAU * HZ * n as f32 / rate;
            (10_000.0 * angle.sin()) as i16
        };
        let samples: Vec<i16> = (self.at..self.at + count).map(value).collect();
        self.at += count;
        let mut payload = vec![0; self.codec.payload_len(count)];
        self.encoder.encode(&samples, &mut payload);
        let header = self.header;
        self.header.sequence = header.sequence.wrapping_add(1);
        self.header.timestamp = header.timestamp.wrapping_add(self.codec.ticks(self.ms));
        (header, payload)
    }
}

/// Hears two seconds in frames of `frame_ms`; packets of `packet_ms` come up to `jitter_ms` late,
/// one in `lost` not at all.
fn listen(
    coding: Coding,
    rate: u32,
    (packet_ms, frame_ms): (u32, u32),
    bad: (u64, u64),
) -> Vec<i16> {
    let (jitter_ms, lost) = bad;
    let mut rng = Rng::from_u64(u64::from(rate) + jitter_ms);
    let mut mouth = Mouth::new(coding, packet_ms);
    let mut ear = Ear::new(&format(coding), rate);
    let mut coming = Vec::new();
    for n in 0..3000 / u64::from(packet_ms) {
        let (header, payload) = mouth.next();
        if lost == 0 || !rng.chance(1, lost) {
            let at = 5000 + n * u64::from(packet_ms) + rng.below(jitter_ms + 1);
            coming.push((at, header, payload));
        }
    }
    coming.sort_by_key(|(at, ..)| *at);
    let mut coming = coming.into_iter().peekable();
    let mut out = Vec::new();
    for now in (5000..8000).step_by(frame_ms as usize) {
        while let Some((at, header, payload)) = coming.next_if(|(at, ..)| *at <= now) {
            ear.put(Instant::from_millis(at), &header, &payload);
        }
        let mut frame = vec![77; (rate * frame_ms / 1000) as usize];
        ear.frame(Instant::from_millis(now), &mut frame);
        out.extend(frame);
    }
    // The last two seconds, when the buffer knows its network.
    out.split_off(rate as usize)
}

/// How loud the tone is, and how far above all else in dB: the median of pieces of 100 ms, since the
/// tone's phase moves where the delay changes.
fn purity(samples: &[i16], rate: u32) -> (f32, f32) {
    let of_piece = |samples: &[i16]| {
        let loud = amplitude(samples, HZ, rate);
        let power: f32 = samples.iter().map(|s| f32::from(*s).powi(2)).sum();
        let all = power / samples.len() as f32;
        let rest = (all - loud * loud / 2.0).max(1.0);
        (loud, 10.0 * (loud * loud / 2.0 / rest).log10())
    };
    let pieces = samples.chunks_exact(rate as usize / 10);
    let mut all: Vec<_> = pieces.map(of_piece).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    all[all.len() / 2]
}

#[test]
fn a_tone_comes_through_every_codec_at_every_rate() {
    for (coding, clean) in [
        (Coding::Pcma, 30.0),
        (Coding::Pcmu, 30.0),
        (Coding::G722, 25.0),
        (Coding::Gsm, 10.0),
    ] {
        for rate in [8000, 16_000, 48_000] {
            for ms in [(20, 20), (20, 60), (60, 20), (40, 20)] {
                let (loud, pure) = purity(&listen(coding, rate, ms, (0, 0)), rate);
                let change = 20.0 * (loud / 10_000.0).log10();
                assert!(change.abs() < 1.0, "{coding:?} {rate} {ms:?}: {change} dB");
                assert!(pure > clean, "{coding:?} {rate} {ms:?}: {pure} dB");
            }
        }
    }
}

#[test]
fn jitter_is_smoothed_whatever_the_frame() {
    for ms in [(20, 20), (20, 60), (30, 20)] {
        let (loud, pure) = purity(&listen(Coding::Pcma, 8000, ms, (60, 0)), 8000);
        assert!(loud > 9000.0 && pure > 15.0, "{ms:?} {loud} {pure}");
    }
}

#[test]
fn loss_is_concealed() {
    // Silence in the place of one packet in five would leave 6 dB.
    let (loud, pure) = purity(&listen(Coding::Pcmu, 8000, (20, 20), (0, 5)), 8000);
    assert!(loud > 9000.0 && pure > 12.0, "{loud} {pure}");
}

#[test]
fn a_telephone_event_is_no_gap_and_no_noise() {
    let mut mouth = Mouth::new(Coding::Pcma, 20);
    let mut ear = Ear::new(&format(Coding::Pcma), 8000);
    let mut frame = [0; 160];
    for n in 0..100u64 {
        let now = Instant::from_millis(5000 + n * 20);
        let (mut header, payload) = mouth.next();
        if (50..60).contains(&n) {
            header.payload_type = 101;
            header.timestamp = header.timestamp.wrapping_sub((n as u32 - 50) * 160);
            ear.put(now, &header, &[1, 10, 0, 160]);
        } else {
            ear.put(now, &header, &payload);
        }
        ear.frame(now, &mut frame);
    }
    let stats = ear.buffer().stats();
    assert_eq!(stats.taken, 90);
    assert!(stats.concealed <= 1, "{stats:?}");
    assert_eq!(stats.refused, [0; 6]);
}

#[test]
fn comfort_noise_sounds_until_the_voice_is_back() {
    let mut mouth = Mouth::new(Coding::Pcmu, 20);
    let mut ear = Ear::new(&format(Coding::Pcmu), 16_000);
    let mut frame = [0; 320];
    let mut quiet = Vec::new();
    for n in 0..150u64 {
        let now = Instant::from_millis(5000 + n * 20);
        let (mut header, payload) = mouth.next();
        match n {
            50 => {
                header.payload_type = 13;
                ear.put(now, &header, &[40]);
            }
            51..100 => mouth.header.sequence = header.sequence,
            _ => {
                header.marker = n == 100;
                ear.put(now, &header, &payload);
            }
        }
        let heard = ear.frame(now, &mut frame);
        if (70..95).contains(&n) {
            assert_eq!(heard, Heard::Nothing, "{n}");
            quiet.extend(frame);
        }
        if n == 120 {
            assert_eq!(heard, Heard::Sound);
        }
    }
    let power: f32 = quiet.iter().map(|s| f32::from(*s).powi(2)).sum();
    let level = 20.0 * ((power / quiet.len() as f32).sqrt() / 32_767.0).log10();
    assert!((level + 40.0).abs() < 3.0, "{level} dB");
    assert_eq!(ear.buffer().stats().concealed, 0);
}

#[test]
fn garbage_is_counted_and_the_frame_is_always_full() {
    let mut rng = Rng::from_u64(11);
    for coding in Coding::ALL {
        let mut ear = Ear::new(&format(*coding), 8000);
        for n in 0..2000u64 {
            let now = Instant::from_millis(n * 20 + rng.below(40));
            let mut payload = vec![0; rng.below(2500) as usize];
            rng.fill(&mut payload);
            let header = Header {
                marker: rng.chance(1, 3),
                payload_type: [coding.payload_type(), 0, 8, 13, 101, 55][rng.below(6) as usize],
                sequence: rng.next_u64() as u16 % 50,
                timestamp: rng.next_u64() as u32 % 20_000,
                ssrc: rng.below(2) as u32,
            };
            ear.put(now, &header, &payload);
            let mut frame = vec![0; [160, 480, 960, 1, 0, 5000][rng.below(6) as usize]];
            ear.frame(now, &mut frame);
        }
        let stats = ear.buffer().stats();
        assert!(stats.refused(Refusal::WrongType) > 100);
        assert!(stats.refused(Refusal::Oversized) > 10);
    }
}

#[test]
fn a_gap_of_a_minute_is_silence_and_then_it_goes_on() {
    let mut mouth = Mouth::new(Coding::Pcma, 20);
    let mut ear = Ear::new(&format(Coding::Pcma), 8000);
    let mut frame = [0; 160];
    let mut sound = Vec::new();
    for n in 0..3200u64 {
        let now = Instant::from_millis(5000 + n * 20);
        let (header, payload) = mouth.next();
        if !(50..3050).contains(&n) {
            ear.put(now, &header, &payload);
        }
        let heard = ear.frame(now, &mut frame);
        if (100..3000).contains(&n) {
            assert_eq!((heard, frame), (Heard::Nothing, [0; 160]), "{n}");
        }
        if n >= 3100 {
            sound.extend(frame);
        }
    }
    let (loud, pure) = purity(&sound, 8000);
    assert!(loud > 9500.0 && pure > 25.0, "{loud} {pure}");
}

/// A codec that says whether it heard every frame, in order.
#[derive(Debug)]
struct Counting(u8);

#[derive(Debug)]
struct Counts;

impl crate::media::codec::plugin::Library for Counts {
    fn encoder(&self) -> Option<Box<dyn crate::media::codec::plugin::EncodesFrames>> {
        None
    }

    fn decoder(&self) -> Option<Box<dyn crate::media::codec::plugin::DecodesFrames>> {
        Some(Box::new(Counting(0)))
    }
}

impl crate::media::codec::plugin::DecodesFrames for Counting {
    fn decode(&mut self, frame: &[u8; 10], samples: &mut [i16; 80]) -> bool {
        let in_step = frame[0] == self.0;
        self.0 = self.0.wrapping_add(1);
        samples.fill(if in_step { 1000 } else { -1000 });
        true
    }

    fn conceal(&mut self, samples: &mut [i16; 80]) -> bool {
        self.0 = self.0.wrapping_add(1);
        samples.fill(1000);
        true
    }
}

/// What is lost the codec makes up; what is left out so as to be quicker it hears; and where time is
/// stretched it hears of no loss.
#[test]
fn a_codec_that_remembers_stays_in_step() {
    let format = Format {
        plugin: Some(crate::media::codec::Plugin::new(&Counts)),
        ..format(Coding::G729)
    };
    let mut ear = Ear::new(&format, 8000);
    let base = Header {
        marker: false,
        payload_type: 18,
        sequence: 0,
        timestamp: 0,
        ssrc: 7,
    };
    // The far end's clock is slow, and then fast: time is stretched, and packets are left out. At
    // the end some are lost; of those the codec makes up all that are not left out.
    let sent_us = |n: u64| match n {
        0..1000 => n * 20_050,
        _ => 20_050_000 + (n - 1000) * 19_950,
    };
    let coming = (0..3000).map(|n| (sent_us(n) / 1000, n));
    let coming = coming.filter(|(_, n)| *n < 2500 || n % 47 != 10);
    let mut coming = coming.peekable();
    for tick in 0..2990_u64 {
        let now = tick * 20 + 10;
        while let Some((_, n)) = coming.next_if(|(due, _)| *due <= now) {
            let header = Header {
                sequence: n as u16,
                timestamp: n as u32 * 160,
                ..base
            };
            let mut payload = [0; 20];
            (payload[0], payload[10]) = ((2 * n) as u8, (2 * n + 1) as u8);
            ear.put(Instant::from_nanos(now * 1_000_000), &header, &payload);
        }
        let mut samples = [0; 160];
        ear.frame(Instant::from_nanos(now * 1_000_000), &mut samples);
        let in_step = samples.iter().all(|s| *s >= 0);
        assert!(
            in_step || tick > 2500,
            "out of step at {tick}: {:?}",
            ear.buffer().stats()
        );
        assert!(
            samples.iter().any(|s| *s != 0) || tick < 10,
            "silent at {tick}"
        );
    }
    let stats = ear.buffer().stats();
    assert!(stats.skipped > 0 && stats.stretched > 0, "{stats:?}");
    assert!(stats.concealed > 5, "{stats:?}");
}
