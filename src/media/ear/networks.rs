//! What is heard over bad networks, each from a seed: bursts of loss (Gilbert and Elliott's chain of
//! a good and a bad state), late packets, clocks that run apart, faults of senders. The far end hums
//! with a steady loudness, so that what concealment leaves open can be measured: frames that are
//! too quiet or too loud, and clicks.

use super::super::codec::Encoder;
use super::super::jitter::Refusal;
use super::tests::format;
use super::*;
use crate::base::Rng;
use crate::wire::rtp::Coding;

const RATE: u32 = 8000;
/// Samples of 20 ms.
const FRAME: usize = 160;
/// A frame that is quieter than the hum by this much was not concealed, in dB.
const QUIET_DB: f64 = -6.0;
/// None is louder by more: decoders that adapt, as G.722's, overshoot where they find back.
const LOUD_DB: f64 = 4.0;
/// Of the lost frames so many hundredths may be too quiet: of a burst the part behind the fade; of
/// Opus also what follows until its predictor finds back.
const OPEN_PERCENT_MAX: u64 = 50;
/// A second difference so many times what the hum has by itself is a click.
const CLICK_TIMES: f64 = 3.0;

#[derive(Clone, Copy, Debug)]
struct Network {
    /// From good to bad, and back, one packet in so many.
    worsens_one_in: u64,
    mends_one_in: u64,
    /// In the bad state one in so many comes nevertheless.
    passes_one_in: u64,
    late_ms: u64,
    /// The sender's clock runs faster by so many millionths.
    drift_ppm: i64,
}

const CALM: Network = Network {
    worsens_one_in: 0,
    mends_one_in: 1,
    passes_one_in: 1,
    late_ms: 3,
    drift_ppm: 0,
};

/// A far end that hums: harmonics of a pitch that glides between 110 and 130 Hz.
struct Hum {
    coding: Coding,
    codec: Codec,
    encoder: Encoder,
    phase: f64,
    said: u32,
    ssrc: u32,
}

impl Hum {
    fn new(coding: Coding) -> Self {
        let codec = Codec::at(coding, RATE);
        Self {
            coding,
            codec,
            encoder: Encoder::new(codec),
            phase: 0.0,
            said: 0,
            ssrc: 5,
        }
    }

    fn next(&mut self) -> (Header, Vec<u8>) {
        let rate = f64::from(self.codec.sample_rate());
        let mut samples = vec![0; self.codec.samples(20)];
        let at = f64::from(self.said) * 0.02;
        let pitch = 120.0 + 10.0 * (at * 2.0).sin();
        for sample in &mut samples {
            self.phase = (self.phase + pitch / rate).fract();
            let angle = std::f64::consts::TAU * self.phase;
            let sum: f64 = (1..=5).map(|n| (angle * f64::from(n)).sin()).sum();
            *sample = (2500.0 * sum) as i16;
        }
        let mut payload = vec![0; self.codec.payload_len(samples.len())];
        let length = self.encoder.encode(&samples, &mut payload);
        payload.truncate(length);
        let header = Header {
            marker: false,
            payload_type: self.coding.payload_type(),
            sequence: (self.said as u16).wrapping_add(65_000),
            timestamp: self.said.wrapping_mul(self.codec.ticks(20)),
            ssrc: self.ssrc,
        };
        self.said += 1;
        (header, payload)
    }
}

/// What was heard, and how many packets of a thousand were lost.
fn over(network: Network, coding: Coding, seconds: u64, seed: u64) -> (Vec<i16>, u64) {
    let mut rng = Rng::from_u64(seed);
    let (mut hum, mut ear) = (Hum::new(coding), Ear::new(&format(coding), RATE));
    let (mut bad, mut lost, mut coming) = (false, 0, Vec::new());
    let count = seconds * 50;
    for n in 0..count {
        let sent = hum.next();
        bad = match bad {
            true => !rng.chance(1, network.mends_one_in),
            false => network.worsens_one_in > 0 && rng.chance(1, network.worsens_one_in),
        };
        if bad && !rng.chance(1, network.passes_one_in) {
            lost += 1;
            continue;
        }
        let at_us = 5_000_000 + n as i64 * (20_000 - network.drift_ppm * 20_000 / 1_000_000);
        let late_us = rng.below(network.late_ms * 1000 + 1);
        coming.push((at_us as u64 + late_us, sent));
    }
    coming.sort_by_key(|(at, _)| *at);
    let mut coming = coming.into_iter().peekable();
    let mut heard = Vec::new();
    for n in 0..count - 20 {
        let now_us = 5_000_000 + n * 20_000;
        while let Some((at, (header, payload))) = coming.next_if(|(at, _)| *at <= now_us) {
            ear.put(Instant::from_nanos(at * 1000), &header, &payload);
        }
        let mut frame = [0; FRAME];
        ear.frame(Instant::from_nanos(now_us * 1000), &mut frame);
        heard.extend(frame);
    }
    // Once the buffer knows its network.
    (heard.split_off(RATE as usize), lost * 1000 / count)
}

fn level_db(frame: &[i16]) -> f64 {
    let power: f64 = frame.iter().map(|s| f64::from(*s).powi(2)).sum();
    // Five harmonics, each with half its amplitude's square.
    10.0 * (power / frame.len() as f64 / (5.0 * 2500.0f64.powi(2) / 2.0) + 1e-9).log10()
}

fn click_max(sound: &[i16]) -> f64 {
    let bent = |w: &[i16]| (f64::from(w[0]) - 2.0 * f64::from(w[1]) + f64::from(w[2])).abs();
    sound.windows(3).map(bent).fold(0.0, f64::max)
}

/// Frames of a thousand that are too quiet.
fn open_permille(sound: &[i16]) -> u64 {
    let frames: Vec<f64> = sound.chunks_exact(FRAME).map(level_db).collect();
    let open = frames.iter().filter(|db| **db < QUIET_DB).count();
    open as u64 * 1000 / frames.len() as u64
}

/// One of each kind; GSM's are too slow for so many minutes without optimisation.
fn codings() -> impl Iterator<Item = Coding> {
    let skipped = [Coding::Pcmu, Coding::Gsm, Coding::Linear8, Coding::Linear44];
    let all = Coding::ALL.iter().copied();
    all.filter(move |coding| !skipped.contains(coding))
}

#[test]
fn bursts_of_loss_and_clocks_that_run_apart_are_concealed() {
    let bursts = |worsens_one_in, mends_one_in, passes_one_in| Network {
        worsens_one_in,
        mends_one_in,
        passes_one_in,
        late_ms: 8,
        ..CALM
    };
    let networks = [
        bursts(50, 1, u64::MAX),
        bursts(40, 2, 4),
        bursts(60, 3, 2),
        Network {
            drift_ppm: 200,
            ..bursts(100, 2, 4)
        },
        Network {
            drift_ppm: -200,
            ..bursts(100, 2, 4)
        },
    ];
    for coding in codings() {
        let (clean, _) = over(CALM, coding, 10, 1);
        assert_eq!(open_permille(&clean), 0, "{coding:?}");
        let click = click_max(&clean) * CLICK_TIMES;
        for (seed, network) in (2..).zip(networks) {
            let (heard, lost) = over(network, coding, 20, seed);
            assert!(lost >= 10, "{network:?} loses {lost} of 1000");
            let open = open_permille(&heard);
            let most = lost * OPEN_PERCENT_MAX / 100;
            assert!(open <= most, "{coding:?} {network:?}: {open} of {lost}");
            let loudest = heard
                .chunks_exact(FRAME)
                .map(level_db)
                .fold(-99.0, f64::max);
            assert!(loudest < LOUD_DB, "{coding:?} {network:?}: {loudest} dB");
            let bent = click_max(&heard);
            assert!(bent < click, "{coding:?} {network:?}: {bent} of {click}");
        }
    }
}

#[test]
fn drift_alone_is_not_heard_for_two_minutes() {
    for drift_ppm in [-200, 200] {
        let network = Network { drift_ppm, ..CALM };
        let (heard, _) = over(network, Coding::Pcma, 120, 9);
        assert_eq!(open_permille(&heard), 0, "{drift_ppm}");
        let (clean, _) = over(CALM, Coding::Pcma, 10, 1);
        let (bent, click) = (click_max(&heard), click_max(&clean) * CLICK_TIMES);
        assert!(bent < click, "{drift_ppm}: {bent} of {click}");
    }
}

/// Faults of a sender in the middle of a call: each is counted, and a fifth of a second after it
/// the hum is there again.
#[test]
fn a_sender_that_errs_is_heard_again_at_once() {
    for coding in codings() {
        let (mut hum, mut ear) = (Hum::new(coding), Ear::new(&format(coding), RATE));
        let mut rng = Rng::from_u64(3);
        let mut now = Instant::from_millis(5000);
        let mut frame = [0; FRAME];
        let mut quiet_since = Vec::new();
        for n in 0..700u64 {
            if n == 100 {
                // A minute of nothing, in which the sender counted on.
                for _ in 0..3000 {
                    hum.next();
                    now += Duration::from_millis(20);
                    ear.frame(now, &mut frame);
                }
                assert_eq!(frame, [0; FRAME], "{coding:?}");
            }
            if n == 300 {
                hum.ssrc = 6;
            }
            let (header, payload) = hum.next();
            if (400..600).contains(&n) {
                let mut noise = vec![0; 2500];
                rng.fill(&mut noise);
                let wrong = Header {
                    payload_type: 77,
                    ..header
                };
                ear.put(now, &wrong, &noise[..160]);
                ear.put(now, &header, &noise);
            }
            ear.put(now, &header, &payload);
            ear.frame(now, &mut frame);
            if level_db(&frame) < QUIET_DB {
                quiet_since.push(n);
            }
            now += Duration::from_millis(20);
        }
        let excused =
            |n: &&u64| (0..10).contains(*n) || (100..110).contains(*n) || (300..310).contains(*n);
        let heard_late: Vec<_> = quiet_since.iter().filter(|n| !excused(n)).collect();
        assert!(heard_late.is_empty(), "{coding:?}: {heard_late:?}");
        let stats = ear.buffer().stats();
        assert_eq!(stats.refused(Refusal::WrongType), 200, "{coding:?}");
        assert_eq!(stats.refused(Refusal::Oversized), 200, "{coding:?}");
        assert_eq!(stats.ssrc_changes, 1, "{coding:?}");
    }
}
