//! How much of one frequency a piece of sound holds (Goertzel's algorithm): what the DTMF detector
//! hears with, and what tests measure tones with.

/// What a full-scale sine is in dBm0. G.711 says 3.14 for A-law and 3.17 for u-law: between them.
pub const FULL_SCALE_DBM0: f32 = 3.15;

/// A filter for one frequency, fed sample by sample.
#[derive(Clone, Copy, Debug)]
pub struct Goertzel {
    /// 2 cos(2 pi f / rate).
    coefficient: f32,
    /// sin(2 pi f / rate).
    sine: f32,
    last: [f32; 2],
}

impl Goertzel {
    /// A filter for `frequency` Hz in sound of `rate` samples per second.
    pub fn new(frequency: f32, rate: u32) -> Self {
        let angle = std::f64::consts::TAU * f64::from(frequency) / f64::from(rate);
        Self {
            coefficient: (2.0 * angle.cos()) as f32,
            sine: angle.sin() as f32,
            last: [0.0; 2],
        }
    }

    /// Takes in one sample.
    #[inline]
    pub fn push(&mut self, sample: f32) {
        let [one, two] = self.last;
        self.last = [self.coefficient * one - two + sample, one];
    }

    /// The squared magnitude of what came since the start; a sine of amplitude `a` over `n` samples
    /// gives about (a n / 2)^2.
    pub fn power(&self) -> f32 {
        let [one, two] = self.last;
        one * one + two * two - self.coefficient * one * two
    }

    /// The phase of what came, in radians: from one block of `n` samples to the next it advances by
    /// 2 pi f n / rate, where `f` is what sounds.
    pub fn phase(&self) -> f32 {
        let [one, two] = self.last;
        (two * self.sine).atan2(one - two * self.coefficient / 2.0)
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.last = [0.0; 2];
    }
}

/// The amplitude of `frequency` in a piece of sound, as a sine's peak value.
pub fn amplitude(samples: &[i16], frequency: f32, rate: u32) -> f32 {
    if samples.is_empty() {
        return 0.0;
    }
    let mut filter = Goertzel::new(frequency, rate);
    for sample in samples {
        filter.push(f32::from(*sample));
    }
    2.0 * filter.power().max(0.0).sqrt() / samples.len() as f32
}

/// The level in dBm0 of a sine of this peak value; -120 for silence.
pub fn dbm0(amplitude: f32) -> f32 {
    if amplitude < 1e-3 {
        return -120.0;
    }
    20.0 * (amplitude / 32_768.0).log10() + FULL_SCALE_DBM0
}

/// The peak value of a sine at so many dBm0.
pub fn amplitude_of_dbm0(level: f32) -> f32 {
    32_768.0 * 10f32.powf((level - FULL_SCALE_DBM0) / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_is_found_at_its_frequency_alone() {
        let sine: Vec<i16> = (0..800)
            .map(|n| ((n as f32 * std::f32::consts::TAU * 440.0 / 8000.0).sin() * 8000.0) as i16)
            .collect();
        assert!((amplitude(&sine, 440.0, 8000) - 8000.0).abs() < 40.0);
        assert!(amplitude(&sine, 500.0, 8000) < 400.0);
        assert_eq!(amplitude(&[], 440.0, 8000), 0.0);
        let level = dbm0(amplitude(&sine, 440.0, 8000));
        assert!((level - (FULL_SCALE_DBM0 - 12.25)).abs() < 0.1, "{level}");
        assert!((amplitude_of_dbm0(level) - 8000.0).abs() < 40.0);
    }
}
