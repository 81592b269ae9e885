//! From one sampling rate to another: 8, 16, 24, 32, 44.1 and 48 kHz among each other.
//!
//! A polyphase filter: the sound is thought of at the least common multiple of both rates, where
//! one low-pass (a sinc under a Kaiser window) takes away images and aliases, and only those
//! products are worked out that are not nought and whose sum somebody hears. Flat to 0.425 of the
//! lower rate (3.4 kHz at 8 kHz), and 55 dB down from 0.575 of it on.

use std::sync::{Arc, OnceLock};

/// Filter taps per sample of the lower rate, or a few more. They make the width of the transition,
/// and the delay of half as many samples.
const TAPS: usize = 24;
/// Kaiser's parameter for 60 dB.
const BETA: f64 = 5.65;
/// Samples of the past that the next output needs, at most: 48 kHz to 8 kHz.
const PAST: usize = TAPS * 6;
/// A coefficient of one.
const ONE_BITS: u32 = 14;
/// Samples that are worked at once, on the stack behind their past.
const CHUNK: usize = 480;
/// Filters that are worked out once and shared: those among the multiples of 8 kHz, and those from
/// and to 44.1 kHz.
static FILTERS: [OnceLock<Arc<[i16]>>; RATES.len() * RATES.len()] =
    [const { OnceLock::new() }; RATES.len() * RATES.len()];

/// The rates, in Hz.
pub const RATES: [u32; 6] = [8000, 16_000, 24_000, 32_000, 44_100, 48_000];

/// Converts one stream of sound; remembers what the next frame needs.
#[derive(Clone, Debug)]
pub struct Resampler {
    up: usize,
    down: usize,
    /// Taps of one phase.
    taps: usize,
    /// Phase after phase, each from the oldest sample's to the newest's.
    coefficients: Arc<[i16]>,
    past: [i16; PAST],
    /// Where the next output lies, in steps of 1 / `up` samples after the next input.
    position: usize,
}

impl Resampler {
    /// From and to so many samples per second, two of [`RATES`].
    pub fn new(from: u32, to: u32) -> Option<Self> {
        let place = |rate| RATES.iter().position(|known| *known == rate);
        let filter = FILTERS.get(place(from)? * RATES.len() + place(to)?)?;
        let common = common_divisor(from, to);
        let (up, down) = ((to / common) as usize, (from / common) as usize);
        let taps = (TAPS * up.max(down)).div_ceil(up);
        let coefficients = filter.get_or_init(|| coefficients(up, down, taps));
        Some(Self {
            up,
            down,
            taps,
            coefficients: Arc::clone(coefficients),
            past: [0; PAST],
            position: 0,
        })
    }

    /// Room for what so many samples become, whatever came before them.
    pub fn output_len_max(&self, samples: usize) -> usize {
        (samples * self.up).div_ceil(self.down)
    }

    /// How much later the sound comes out, in samples of the output.
    pub fn delay_samples(&self) -> usize {
        match (self.up, self.down) {
            (1, 1) => 0,
            (up, down) => self.taps * up / 2 / down,
        }
    }

    /// Converts `input` and says how many samples of `output` it filled. Frames of whole
    /// milliseconds give frames of the same; what `output` has no room for
    /// ([`Self::output_len_max`]) is lost.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        if self.up == self.down {
            let count = input.len().min(output.len());
            output[..count].copy_from_slice(&input[..count]);
            return count;
        }
        let before = self.taps - 1;
        let mut line = [0; PAST + CHUNK];
        let mut made = 0;
        for chunk in input.chunks(CHUNK) {
            line[..before].copy_from_slice(&self.past[..before]);
            line[before..before + chunk.len()].copy_from_slice(chunk);
            while self.position < chunk.len() * self.up {
                let (at, phase) = (self.position / self.up, self.position % self.up);
                if let Some(place) = output.get_mut(made) {
                    let filter = &self.coefficients[phase * self.taps..][..self.taps];
                    *place = convolve(filter, &line[at..][..self.taps]);
                    made += 1;
                }
                self.position += self.down;
            }
            self.position -= chunk.len() * self.up;
            self.past[..before].copy_from_slice(&line[chunk.len()..][..before]);
        }
        made
    }
}

fn common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[inline]
fn convolve(filter: &[i16], window: &[i16]) -> i16 {
    let products = filter.iter().zip(window);
    // The magnitudes of a phase add up to less than 2 of 2^14, so 31 bits hold the sum.
    let sum: i32 = products.map(|(h, x)| i32::from(*h) * i32::from(*x)).sum();
    let rounded = (sum + (1 << (ONE_BITS - 1))) >> ONE_BITS;
    rounded.clamp(-32_768, 32_767) as i16
}

fn coefficients(up: usize, down: usize, taps: usize) -> Arc<[i16]> {
    let mut out = vec![0; up * taps];
    let middle = (up * taps - 1) as f64 / 2.0;
    let mut wanted = vec![0.0; taps];
    for (phase, place) in out.chunks_exact_mut(taps).enumerate() {
        for tap in 0..taps {
            let at = (phase + tap * up) as f64 - middle;
            // In samples of the lower rate.
            let x = std::f64::consts::PI * at / up.max(down) as f64;
            let sinc = if x == 0.0 { 1.0 } else { x.sin() / x };
            let window = bessel(BETA * (1.0 - (at / (middle + 0.5)).powi(2)).max(0.0).sqrt());
            wanted[taps - 1 - tap] = sinc * window;
        }
        // Each phase passes silence and constant sound alike; otherwise the phases' difference
        // would be heard as an image.
        let sum: f64 = wanted.iter().sum();
        let one = f64::from(1 << ONE_BITS);
        for (coefficient, wanted) in place.iter_mut().zip(&wanted) {
            *coefficient = (wanted / sum * one).round() as i16;
        }
    }
    out.into()
}

/// The modified Bessel function of order nought, by its series.
fn bessel(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0, 1.0, 1.0);
    while term > sum * 1e-12 {
        term *= (x / (2.0 * n)).powi(2);
        sum += term;
        n += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::goertzel::amplitude;
    use super::*;

    fn sine(hz: f64, rate: u32, samples: usize) -> Vec<i16> {
        let angle = std::f64::consts::TAU * hz / f64::from(rate);
        let value = |n: usize| (16_000.0 * (angle * n as f64).sin()).round() as i16;
        (0..samples).map(value).collect()
    }

    fn convert(from: u32, to: u32, input: &[i16], packet: usize) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to).unwrap();
        let mut out = Vec::new();
        for frame in input.chunks(packet) {
            let mut room = vec![0; resampler.output_len_max(frame.len())];
            let count = resampler.process(frame, &mut room);
            out.extend(&room[..count]);
        }
        out
    }

    fn pairs() -> impl Iterator<Item = (u32, u32)> {
        let all = RATES.iter().flat_map(|a| RATES.iter().map(|b| (*a, *b)));
        all.filter(|(a, b)| a != b)
    }

    /// A tenth of a second behind the filter's start: whole periods of multiples of 10 Hz.
    fn settled(sound: &[i16], rate: u32) -> &[i16] {
        &sound[rate as usize / 10..][..rate as usize / 10]
    }

    #[test]
    fn the_passband_is_flat_and_images_are_far_below() {
        for (from, to) in pairs() {
            let low = from.min(to);
            for tenth in (30..=low * 425 / 10_000).step_by(61) {
                let hz = f64::from(tenth * 10);
                let out = convert(from, to, &sine(hz, from, from as usize / 4), 160);
                let part = settled(&out, to);
                let level = |hz: f64| 20.0 * (amplitude(part, hz as f32, to) / 16_000.0).log10();
                assert!(level(hz).abs() < 0.5, "{from} {to} {hz}: {}", level(hz));
                // An input at f sounds at n * from +- f too, which folds at the output's half.
                for n in 1..=6 {
                    for image in [
                        f64::from(from) * f64::from(n) - hz,
                        f64::from(from) * f64::from(n) + hz,
                    ] {
                        if image < f64::from(to) / 2.0 - 100.0 {
                            assert!(
                                level(image) < -50.0,
                                "{from} {to} {hz} {image}: {}",
                                level(image)
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_taken_away() {
        for (from, to) in pairs().filter(|(from, to)| from > to) {
            for tenth in (to * 575 / 10_000 + 1..from / 20).step_by(83) {
                let out = convert(
                    from,
                    to,
                    &sine(f64::from(tenth * 10), from, from as usize / 4),
                    160,
                );
                let part = settled(&out, to);
                let power: f64 = part.iter().map(|s| f64::from(*s).powi(2)).sum();
                let level = 10.0 * (power / part.len() as f64 / (16_000f64.powi(2) / 2.0)).log10();
                assert!(level < -50.0, "{from} {to} {tenth}0 Hz: {level}");
            }
        }
    }

    #[test]
    fn there_and_back_keeps_a_tone_and_its_length() {
        for (from, to) in pairs() {
            let input = sine(1000.0, from, from as usize / 2);
            let there = convert(from, to, &input, from as usize / 50);
            assert_eq!(there.len(), to as usize / 2);
            let back = convert(to, from, &there, to as usize / 50);
            assert_eq!(back.len(), input.len());
            let kept = amplitude(settled(&back, from), 1000.0, from);
            assert!((kept / 16_000.0 - 1.0).abs() < 0.02, "{from} {to} {kept}");
        }
    }

    #[test]
    fn frames_of_any_length_give_the_same_sound() {
        for (from, to) in pairs() {
            let input = sine(777.0, from, 5000);
            let whole = convert(from, to, &input, 5000);
            for packet in [1, 3, 7, 160, 481, 961] {
                assert_eq!(
                    convert(from, to, &input, packet),
                    whole,
                    "{from} {to} {packet}"
                );
            }
        }
    }

    #[test]
    fn an_impulse_comes_after_the_delay_that_is_told() {
        for (from, to) in pairs() {
            let mut input = vec![0; from as usize / 100];
            input[0] = 20_000;
            let out = convert(from, to, &input, 80);
            let peak = (0..out.len())
                .max_by_key(|n| out[*n].unsigned_abs())
                .unwrap();
            let delay = Resampler::new(from, to).unwrap().delay_samples();
            assert!(peak.abs_diff(delay) <= 1, "{from} {to} {peak} {delay}");
        }
    }

    #[test]
    fn the_same_rate_is_a_copy_and_others_are_refused() {
        let input = sine(500.0, 8000, 300);
        assert_eq!(convert(8000, 8000, &input, 70), input);
        assert!(Resampler::new(8000, 22_050).is_none());
        assert!(Resampler::new(0, 8000).is_none());
        let mut small = [0; 10];
        let mut resampler = Resampler::new(8000, 16_000).unwrap();
        assert_eq!(resampler.process(&input, &mut small), 10);
    }

    #[test]
    fn full_scale_saturates_and_does_not_wrap() {
        for (from, to) in pairs() {
            let square: Vec<i16> = (0..4000)
                .map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN })
                .collect();
            let out = convert(from, to, &square, 160);
            // Where the square stays up, so does the sound.
            let middle = |n: usize| {
                n * to as usize / from as usize + Resampler::new(from, to).unwrap().delay_samples()
            };
            assert!(
                (10..3900).step_by(40).all(|n| out[middle(n)] > 20_000),
                "{from} {to}"
            );
        }
    }
}
