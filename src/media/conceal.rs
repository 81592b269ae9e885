//! Packet loss concealment for linear samples, after the idea of ITU-T G.711 Appendix I: the last
//! periods of the voice go on, more of them the longer the gap, and fade away.
//!
//! Unlike the appendix nothing is delayed: the step where the repetition begins is not smoothed by
//! an overlap with what has been played, but by a correction that decays in the repetition.

use std::ops::RangeInclusive;

/// The fastest sample rate, Hz.
pub const RATE_MAX: u32 = 48_000;
/// The gap after which there is silence, milliseconds.
pub const FADE_MS: usize = 60;

/// The gap that is filled without attenuation; also when another period joins, milliseconds.
const FULL_MS: usize = 10;
/// As many periods are repeated, at most.
const PERIODS_MAX: usize = 3;
/// The pitch is looked for with so many samples per second.
const COARSE_RATE: usize = 4000;
/// What that rate makes of window and longest pitch, with the roundings of other rates.
const COARSE_MAX: usize = 160;
/// The exact pitch is decided by so many samples: 20 ms at 16 kHz.
const FINE_MAX: usize = 320;
const LANES: usize = 8;
/// The longest cross-fade at the end of a gap, milliseconds.
const MERGE_MS_MAX: usize = 10;

/// Spans of the voice in samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Spans {
    millisecond: usize,
    /// 200 Hz.
    pitch_min: usize,
    /// 66 Hz.
    pitch_max: usize,
    /// What is compared to find the pitch.
    window: usize,
    /// Three of the longest periods and a quarter.
    history: usize,
}

impl Spans {
    fn at(rate: usize) -> Self {
        let pitch_max = rate * 15 / 1000;
        Self {
            millisecond: rate / 1000,
            pitch_min: rate * 5 / 1000,
            pitch_max,
            window: rate * 20 / 1000,
            history: pitch_max * PERIODS_MAX + pitch_max / 4,
        }
    }
}

/// A gap that is being filled.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Samples filled so far.
    age: usize,
    /// The length of a period in samples.
    pitch: usize,
    /// What the first repetition lacks to continue what was played.
    step: f32,
}

/// The concealment of one stream. Every frame that is played passes through it.
#[derive(Debug)]
pub struct Concealer {
    spans: Spans,
    /// The last samples played.
    history: Box<[i16]>,
    /// The history as it was when the gap began.
    voice: Box<[f32]>,
    gap: Option<Gap>,
}

impl Concealer {
    /// For samples at `rate` Hz, 8000 to [`RATE_MAX`].
    pub fn new(rate: u32) -> Self {
        let spans = Spans::at(rate.clamp(8000, RATE_MAX) as usize);
        Self {
            spans,
            history: vec![0; spans.history].into_boxed_slice(),
            voice: vec![0.0; spans.history].into_boxed_slice(),
            gap: None,
        }
    }

    /// A frame was decoded. Its beginning is blended with what the gap before it would have gone on
    /// with. `seam` says that it does not continue what was played before, although nothing was
    /// concealed.
    pub fn on_frame(&mut self, frame: &mut [i16], seam: bool) {
        let gap = match self.gap.take() {
            Some(gap) => Some(gap),
            None if seam => Some(self.begin()),
            None => None,
        };
        if let Some(gap) = gap {
            self.merge(gap, frame);
        }
        self.remember(frame);
    }

    /// A frame is missing: fills it.
    pub fn on_loss(&mut self, frame: &mut [i16]) {
        let mut gap = match self.gap.take() {
            Some(gap) => gap,
            None => self.begin(),
        };
        for sample in frame.iter_mut() {
            *sample = to_sample(self.synthesize(&gap));
            gap.age = gap.age.saturating_add(1);
        }
        self.gap = Some(gap);
        self.remember(frame);
    }

    /// Silence was played, as the sender wanted it: there is nothing to go on with.
    pub fn on_silence(&mut self) {
        self.gap = None;
        self.history.fill(0);
    }

    fn begin(&mut self) -> Gap {
        for (place, sample) in self.voice.iter_mut().zip(&self.history) {
            *place = f32::from(*sample);
        }
        let pitch = self.pitch();
        let end = self.voice.len();
        let step = self.voice[end - 1] - self.voice[end - 1 - pitch];
        Gap {
            age: 0,
            pitch,
            step,
        }
    }

    fn merge(&self, mut gap: Gap, frame: &mut [i16]) {
        let Spans { millisecond, .. } = self.spans;
        // The longer the gap, the less its end resembles what comes.
        let longer = gap.age / (FULL_MS * millisecond) * 4 * millisecond;
        let length = (gap.pitch / 4 + longer).clamp(4 * millisecond, MERGE_MS_MAX * millisecond);
        let length = length.min(frame.len());
        for (n, sample) in frame[..length].iter_mut().enumerate() {
            let share = (n + 1) as f32 / (length + 1) as f32;
            let old = self.synthesize(&gap);
            *sample = to_sample(old + (f32::from(*sample) - old) * share);
            gap.age = gap.age.saturating_add(1);
        }
    }

    /// The sample of the gap at its age.
    fn synthesize(&self, gap: &Gap) -> f32 {
        let full = FULL_MS * self.spans.millisecond;
        let end = FADE_MS * self.spans.millisecond;
        if gap.age >= end {
            return 0.0;
        }
        let quarter = gap.pitch / 4;
        let periods = (gap.age / full + 1).min(PERIODS_MAX);
        let mut value = self.repeated(gap, periods);
        let joined = gap.age - (periods - 1) * full;
        if periods > 1 && joined < quarter {
            let share = (joined + 1) as f32 / (quarter + 1) as f32;
            let before = self.repeated(gap, periods - 1);
            value = before + (value - before) * share;
        }
        if gap.age < quarter {
            value += gap.step * (1.0 - (gap.age + 1) as f32 / (quarter + 1) as f32);
        }
        let fading = gap.age.saturating_sub(full) as f32 / (end - full) as f32;
        value * (1.0 - fading)
    }

    /// The voice's last `periods`, over and over; the last quarter of a period leads over to the
    /// beginning.
    fn repeated(&self, gap: &Gap, periods: usize) -> f32 {
        let (pitch, quarter) = (gap.pitch, gap.pitch / 4);
        let length = periods * pitch;
        let joined = (periods - 1) * FULL_MS * self.spans.millisecond;
        let at = (joined % pitch + gap.age - joined) % length;
        let start = self.voice.len() - length;
        let value = self.voice[start + at];
        if at + quarter < length {
            return value;
        }
        let share = (at + quarter + 1 - length) as f32 / (quarter + 1) as f32;
        let before = self.voice[start + at - length];
        value + (before - value) * share
    }

    /// The lag at which the voice resembles itself most: first roughly, with few samples, then
    /// around what was found.
    fn pitch(&self) -> usize {
        let Spans {
            millisecond,
            pitch_min,
            pitch_max,
            window,
            ..
        } = self.spans;
        let stride = (millisecond * 1000 / COARSE_RATE).max(1);
        let recent = &self.voice[self.voice.len() - window - pitch_max..];
        let mut coarse = [0.0; COARSE_MAX];
        let few = (recent.len() / stride).min(COARSE_MAX);
        for (place, samples) in coarse.iter_mut().zip(recent.rchunks_exact(stride).rev()) {
            *place = samples.iter().sum();
        }
        let lags = pitch_min / stride..=pitch_max / stride;
        let near = best_lag(&coarse[..few], window / stride, lags) * stride;
        let low = near.saturating_sub(stride - 1).max(pitch_min);
        let high = (near + stride - 1).min(pitch_max);
        best_lag(recent, window.min(FINE_MAX), low..=high)
    }

    fn remember(&mut self, frame: &[i16]) {
        let length = self.history.len();
        let kept = length.saturating_sub(frame.len());
        self.history.copy_within(length - kept.., 0);
        let recent = &frame[frame.len() - (length - kept)..];
        self.history[kept..].copy_from_slice(recent);
    }
}

/// The lag at which the last `window` samples resemble those before them most.
fn best_lag(samples: &[f32], window: usize, lags: RangeInclusive<usize>) -> usize {
    let start = samples.len() - window;
    let (mut best, mut best_score) = (*lags.end(), 0.0);
    for lag in lags {
        let Some(earlier) = start.checked_sub(lag) else {
            break;
        };
        let score = resemblance(&samples[start..], &samples[earlier..]);
        if score > best_score {
            (best, best_score) = (lag, score);
        }
    }
    best
}

/// The correlation of `a` with the beginning of `b`, per the loudness of `b`.
fn resemblance(a: &[f32], b: &[f32]) -> f32 {
    // Sums side by side, which the machine adds at once.
    let (mut product, mut energy) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (a, _) = a.as_chunks::<LANES>();
    let (b, _) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            product[lane] += a[lane] * b[lane];
            energy[lane] += b[lane] * b[lane];
        }
    }
    let energy: f32 = energy.iter().sum();
    product.iter().sum::<f32>() / (energy + 1.0).sqrt()
}

fn to_sample(value: f32) -> i16 {
    // A float that is too large becomes the largest sample.
    value.round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use std::f32::consts::TAU;

    /// A voice-like sound: harmonics of a gliding pitch, shaped by two formants, with some breath.
    /// The pitch moves by up to 38 % a second.
    fn voice(rate: u32, seed: u64, seconds: f32) -> Vec<i16> {
        let mut rng = Rng::from_u64(seed);
        let base = 90.0 + rng.below(90) as f32;
        let formants = [
            400.0 + rng.below(300) as f32,
            1200.0 + rng.below(800) as f32,
        ];
        let mut phase = 0.0f32;
        (0..(rate as f32 * seconds) as usize)
            .map(|n| {
                let time = n as f32 / rate as f32;
                let pitch = base * (1.0 + 0.03 * (TAU * 2.0 * time).sin());
                phase = (phase + pitch / rate as f32).fract();
                let mut sum = 0.0;
                for harmonic in 1..20 {
                    let frequency = pitch * harmonic as f32;
                    if frequency > 3400.0 {
                        break;
                    }
                    let resonance = |f: f32| 1.0 / (1.0 + ((frequency - f) / 150.0).powi(2));
                    let gain = resonance(formants[0]) + 0.3 * resonance(formants[1]);
                    sum += (gain + 0.02) * (TAU * phase * harmonic as f32).sin();
                }
                let loud = 0.7 + 0.3 * (TAU * 1.3 * time).sin();
                let breath = rng.below(400) as f32 - 200.0;
                (sum * loud * 5000.0 + breath) as i16
            })
            .collect()
    }

    struct Errors {
        concealed: f64,
        silent: f64,
        step_max: i32,
    }

    fn step_max(samples: &[i16]) -> i32 {
        let steps = samples
            .windows(2)
            .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs());
        steps.max().unwrap_or(0)
    }

    /// Loses frames of 20 ms, one in `one_in` begins a gap of `burst`; measures against the
    /// original, in the lost frames and the one after.
    fn lose(rate: u32, seed: u64, one_in: u64, burst: usize) -> Errors {
        let original = voice(rate, seed, 4.0);
        let mut rng = Rng::from_u64(seed ^ 0xff);
        let mut concealer = Concealer::new(rate);
        let frame = rate as usize / 50;
        let (mut missing, mut after) = (0, false);
        let (mut heard, mut errors) = (Vec::new(), (0.0, 0.0));
        for (n, part) in original.chunks_exact(frame).enumerate() {
            let mut played = part.to_vec();
            if missing == 0 && n > 5 && !after && rng.chance(1, one_in) {
                missing = burst;
            }
            let lost = missing > 0;
            if lost {
                concealer.on_loss(&mut played);
                missing -= 1;
            } else {
                concealer.on_frame(&mut played, false);
            }
            for (a, b) in part.iter().zip(&played) {
                let difference = f64::from(*a) - f64::from(*b);
                if lost || after {
                    errors.0 += difference * difference;
                } else {
                    assert_eq!(a, b);
                }
                if lost {
                    errors.1 += f64::from(*a) * f64::from(*a);
                }
            }
            after = lost;
            heard.extend(played);
        }
        Errors {
            concealed: errors.0,
            silent: errors.1,
            step_max: step_max(&heard) - step_max(&original),
        }
    }

    #[test]
    fn a_lost_frame_of_voice_is_much_nearer_than_silence() {
        for rate in [8000, 16_000] {
            let mut sum = 0.0;
            for seed in 0..10 {
                let errors = lose(rate, seed, 15, 1);
                let ratio = errors.concealed / errors.silent;
                assert!(ratio < 0.6, "{rate} Hz, seed {seed}: {ratio}");
                assert!(errors.step_max < 300, "a click of {}", errors.step_max);
                sum += ratio;
            }
            assert!(sum < 3.5, "{rate} Hz: {}", sum / 10.0);
        }
    }

    #[test]
    fn two_lost_frames_are_still_nearer_than_silence() {
        for rate in [8000, 16_000] {
            let all: Vec<_> = (0..10).map(|seed| lose(rate, seed, 20, 2)).collect();
            let concealed: f64 = all.iter().map(|e| e.concealed).sum();
            let silent: f64 = all.iter().map(|e| e.silent).sum();
            assert!(concealed < 0.7 * silent, "{}", concealed / silent);
        }
    }

    #[test]
    fn a_periodic_sound_goes_on_exactly() {
        // A period of 80 samples, the whole gap within the 10 ms that are not attenuated.
        let tone = |n: usize| ((TAU * n as f32 / 80.0).sin() * 10_000.0) as i16;
        let mut concealer = Concealer::new(8000);
        let mut frame: Vec<i16> = (0..800).map(tone).collect();
        concealer.on_frame(&mut frame, false);
        let mut lost = [0; 80];
        concealer.on_loss(&mut lost);
        for (n, sample) in lost.iter().enumerate() {
            assert!((sample - tone(800 + n)).abs() <= 2, "{n}: {sample}");
        }
    }

    #[test]
    fn a_long_gap_fades_to_silence_and_the_voice_comes_back_smoothly() {
        for rate in [8000, 16_000, 48_000] {
            let original = voice(rate, 1, 1.0);
            let frame = rate as usize / 50;
            let mut concealer = Concealer::new(rate);
            let (head, tail) = original.split_at(frame * 20);
            let mut heard = head.to_vec();
            for part in heard.chunks_mut(frame) {
                concealer.on_frame(part, false);
            }
            let energy = |part: &[i16]| part.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
            let mut energies = Vec::new();
            for _ in 0..5 {
                let mut lost = vec![1; frame];
                concealer.on_loss(&mut lost);
                energies.push(energy(&lost));
                heard.extend(lost);
            }
            assert!(
                energies[0] > energies[1] && energies[1] > energies[2],
                "{energies:?}"
            );
            assert_eq!(energies[3..], [0.0, 0.0]);
            let mut back = tail[frame * 5..frame * 6].to_vec();
            concealer.on_frame(&mut back, false);
            assert!(back[0].abs() < 500);
            assert_eq!(back[frame / 2..], tail[frame * 5 + frame / 2..frame * 6]);
            heard.extend(back);
            assert!(step_max(&heard) <= step_max(&original) + 1500);
        }
    }

    #[test]
    fn a_period_that_differs_from_the_one_before_makes_no_step() {
        // A hum below the voice changes by thousands within a period.
        let sound = |n: usize| {
            let (voice, hum) = (TAU * n as f32 / 80.0, TAU * n as f32 / 1100.0);
            (voice.sin() * 3000.0 + hum.sin() * 8000.0) as i16
        };
        for length in (800..2000).step_by(50) {
            let mut concealer = Concealer::new(8000);
            let mut frame: Vec<i16> = (0..length).map(sound).collect();
            concealer.on_frame(&mut frame, false);
            frame.resize(length + 160, 0);
            concealer.on_loss(&mut frame[length..]);
            let step = step_max(&frame);
            assert!(step < 700, "{length}: {step}");
        }
    }

    #[test]
    fn a_seam_is_smoothed() {
        let original = voice(8000, 2, 1.0);
        let (mut plain, mut smooth) = (Concealer::new(8000), Concealer::new(8000));
        let (mut rough_max, mut smooth_max) = (0, 0);
        // Each time a frame is left out.
        for n in 5..24 {
            let pieces = [
                &original[..n * 320],
                &original[n * 320 + 160..n * 320 + 320],
            ];
            let mut steps = [0, 0];
            for (concealer, seam, step) in [(&mut plain, false, 0), (&mut smooth, true, 1)] {
                let mut before = pieces[0].to_vec();
                concealer.on_frame(&mut before, false);
                let mut after = pieces[1].to_vec();
                concealer.on_frame(&mut after, seam);
                let last = before.last().copied().unwrap();
                steps[step] = (i32::from(after[0]) - i32::from(last)).abs();
            }
            rough_max = rough_max.max(steps[0]);
            smooth_max = smooth_max.max(steps[1]);
        }
        assert!(smooth_max * 2 < rough_max, "{smooth_max} of {rough_max}");
    }

    #[test]
    fn any_frames_are_taken() {
        let mut rng = Rng::from_u64(5);
        for rate in [8000, 11_025, 16_000, 44_100, 48_000, 1, u32::MAX] {
            let mut concealer = Concealer::new(rate);
            for _ in 0..300 {
                let length = rng.below(3000) as usize;
                let mut frame: Vec<i16> = (0..length).map(|_| rng.next_u64() as i16).collect();
                match rng.below(4) {
                    0 => concealer.on_loss(&mut frame),
                    1 => concealer.on_silence(),
                    _ => concealer.on_frame(&mut frame, rng.chance(1, 5)),
                }
            }
        }
        let mut lost = [7; 160];
        Concealer::new(8000).on_loss(&mut lost);
        assert_eq!(lost, [0; 160]);
    }
}
