//! Comfort noise (RFC 3389): what a sender that falls silent tells of the noise around it, and the
//! noise that we play in its place.
//!
//! A payload is one byte of level, in dB below overload, and optionally the noise's colour as
//! reflection coefficients of an all-pole model, a byte each.
//!
//! # What we send
//! Where the far end's description names comfort noise of the sound's clock, silence of ours is
//! told by it: a pause of what plays, a room in which nobody talks, the time in which a message is
//! recorded or nothing is done between two tasks, and the noise of the other side of a bridge. Of
//! noise that another describes level and colour are passed on; what another falls silent with
//! without a word is as loud as the noise that was around it before; silence of our own is none.
//!
//! Once told, it is told anew each [`UPDATE_MS`] though nothing changes (§5 leaves that to the
//! sender): often enough for NATs (RFC 6263 wants 15 s), for far ends that hang up on silence
//! (after 10 s or more), and for those that call a line dead or begin their jitter buffer anew
//! after a second; seldom enough to be a few percent of any voice. It is as the discontinuous modes
//! of GSM do it.
//!
//! Nobody is asked for it: our own offers name no comfort noise, so that who answers does not begin
//! to leave out what it takes for silence; we have nothing of it but clipped first words. An offer
//! that names it is answered with it (RFC 3264 §6.1: without that we might not send it). Where the
//! other side of a bridge has no comfort noise, the noise becomes sound. Beside G.729, whose Annex
//! B has descriptions of its own (RFC 3551 §4.5.6), there is none.
//!
//! Nothing is told before something was said: phones take the first packet for the end of ringing.
//! Nor on hold.

/// The static payload type at 8 kHz.
pub use crate::wire::rtp::COMFORT_NOISE as PAYLOAD_TYPE;
/// Reflection coefficients that are used; a payload's further ones shape what no ear misses.
pub const ORDER_MAX: usize = 12;
/// The longest payload that is made, bytes.
pub const PAYLOAD_MAX: usize = 1 + ORDER_MAX;
/// How often silence that goes on is told of, in milliseconds: whole packets of any length that we
/// send.
pub const UPDATE_MS: u32 = 480;
/// A pause of what plays that is shorter is sent as it is, in milliseconds.
pub const HANG_MS: u32 = 60;

/// The level field's largest value.
const LEVEL_MAX: u8 = 127;
/// What a coefficient's byte counts in (§3.2): (N - 127) * 258 / 32768.
const STEP: f32 = 258.0 / 32_768.0;
/// Levels are relative to a full-scale square wave (§3.1).
const OVERLOAD: f32 = 32_767.0;

/// The payload that tells of noise this loud, as a mean square; without colour.
pub fn level_of(mean_square: u64) -> u8 {
    if mean_square == 0 {
        return LEVEL_MAX;
    }
    let below = -10.0 * (mean_square as f32 / (OVERLOAD * OVERLOAD)).log10();
    below.round().clamp(0.0, LEVEL_MAX.into()) as u8
}

/// A payload, as much of it as is used; none of no noise.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Description {
    bytes: [u8; PAYLOAD_MAX],
    length: u8,
}

impl Description {
    /// Of a payload that came.
    pub fn of(payload: &[u8]) -> Self {
        let mut told = Self::default();
        for (to, from) in told.bytes.iter_mut().zip(payload) {
            *to = *from;
            told.length += 1;
        }
        told
    }

    /// White noise this loud, as a mean square.
    pub fn white(mean_square: u64) -> Self {
        Self::of(&[level_of(mean_square)])
    }

    /// The same where samples come at another rate: another colour would be meant.
    pub fn level(mut self) -> Self {
        self.length = self.length.min(1);
        self
    }

    /// The payload.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }
}

/// What stands for a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Saying {
    /// Its sound, silent or not.
    Sound,
    /// A description of its noise.
    Noise,
    /// Nothing: the noise goes on as it was described.
    Nothing,
}

/// A pause of what is said, frame by frame.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pause {
    quiet_ms: u32,
    /// Since the last description; none was made of this pause without.
    told_ms: Option<u32>,
}

impl Pause {
    /// The next frame lasts `ms` and is silent; pauses up to `hang_ms` are sent as they are.
    pub fn step(&mut self, ms: u32, hang_ms: u32) -> Saying {
        self.quiet_ms = self.quiet_ms.saturating_add(ms);
        if self.told_ms.is_none() && self.quiet_ms <= hang_ms {
            return Saying::Sound;
        }
        let told = self.told_ms.map_or(UPDATE_MS, |told| told + ms);
        let due = told >= UPDATE_MS;
        self.told_ms = Some(if due { 0 } else { told });
        match due {
            true => Saying::Noise,
            false => Saying::Nothing,
        }
    }

    /// Something is said.
    pub fn end(&mut self) {
        *self = Self::default();
    }
}

/// Plays the noise that payloads describe, without a jump from one to the next.
#[derive(Clone, Debug)]
pub struct NoiseGenerator {
    /// Of the excitation; it follows `gain_wanted` sample by sample.
    gain: f32,
    gain_wanted: f32,
    reflections: [f32; ORDER_MAX],
    /// The lattice's backward errors.
    state: [f32; ORDER_MAX],
    random: u32,
}

impl NoiseGenerator {
    /// Silence, until a payload comes. Two with other seeds give other noise.
    pub fn new(seed: u32) -> Self {
        Self {
            gain: 0.0,
            gain_wanted: 0.0,
            reflections: [0.0; ORDER_MAX],
            state: [0.0; ORDER_MAX],
            random: seed,
        }
    }

    /// Takes in a payload; an empty one changes nothing.
    pub fn update(&mut self, payload: &[u8]) {
        let Some((level, colour)) = payload.split_first() else {
            return;
        };
        self.reflections = [0.0; ORDER_MAX];
        for (k, byte) in self.reflections.iter_mut().zip(colour) {
            // 255 is reserved; held within the unit circle, the filter is stable whatever comes.
            *k = ((f32::from(*byte) - 127.0) * STEP).clamp(-0.99, 0.99);
        }
        let rms = match level & LEVEL_MAX {
            LEVEL_MAX => 0.0,
            level => OVERLOAD * 10f32.powf(-f32::from(level) / 20.0),
        };
        // The filter raises the power by the product of 1 / (1 - k^2).
        let raised = self.reflections.iter().map(|k| 1.0 - k * k);
        self.gain_wanted = rms * raised.product::<f32>().sqrt();
    }

    /// The next samples.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            self.gain += (self.gain_wanted - self.gain) * (1.0 / 64.0);
            let mut forward = self.white() * self.gain;
            for m in (0..ORDER_MAX).rev() {
                forward -= self.reflections[m] * self.state[m];
                let backward = self.state[m] + self.reflections[m] * forward;
                if let Some(next) = self.state.get_mut(m + 1) {
                    *next = backward;
                }
            }
            self.state[0] = forward;
            *sample = forward as i16;
        }
    }

    /// Noise of power one: even between -sqrt(3) and sqrt(3).
    fn white(&mut self) -> f32 {
        // Numerical Recipes' generator; the low bits, which are poor, weigh little.
        self.random = self
            .random
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.random as i32 as f32) * (1.732_050_8 / 2_147_483_648.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::goertzel::Goertzel;
    use super::*;

    /// Reflection coefficients that are made.
    const ORDER: usize = 8;
    const PAYLOAD_SIZE: usize = 1 + ORDER;
    const LAGS: usize = ORDER + 1;

    /// The payload that describes a frame of noise.
    fn describe(samples: &[i16]) -> [u8; PAYLOAD_SIZE] {
        let mut out = [127; PAYLOAD_SIZE];
        let correlation = correlation(samples);
        let mean = correlation[0] / samples.len().max(1) as f32;
        out[0] = level_of(mean as u64);
        for (byte, k) in out[1..].iter_mut().zip(reflections(&correlation)) {
            *byte = (k / STEP + 127.0).round().clamp(0.0, 254.0) as u8;
        }
        out
    }

    fn correlation(samples: &[i16]) -> [f32; LAGS] {
        std::array::from_fn(|lag| {
            let behind = samples.get(lag..).unwrap_or_default();
            let products = samples.iter().zip(behind);
            products.map(|(a, b)| f32::from(*a) * f32::from(*b)).sum()
        })
    }

    /// Levinson and Durbin's recursion, for the predictor 1 + sum of a z^-i.
    fn reflections(correlation: &[f32; LAGS]) -> [f32; ORDER] {
        let mut out = [0.0; ORDER];
        let mut predictor = [0.0; LAGS];
        // A floor of white noise, 40 dB below, keeps the recursion from dividing by nearly nought.
        let mut error = correlation[0] * 1.0001 + 1.0;
        for m in 1..LAGS {
            let mut sum = correlation[m];
            for i in 1..m {
                sum += predictor[i] * correlation[m - i];
            }
            let k = (-sum / error).clamp(-0.99, 0.99);
            let old = predictor;
            for i in 1..m {
                predictor[i] = old[i] + k * old[m - i];
            }
            predictor[m] = k;
            out[m - 1] = k;
            error *= 1.0 - k * k;
        }
        out
    }

    fn rms(samples: &[i16]) -> f32 {
        let sum: f32 = samples.iter().map(|s| f32::from(*s).powi(2)).sum();
        (sum / samples.len() as f32).sqrt()
    }

    fn db(a: f32, b: f32) -> f32 {
        20.0 * (a / b).log10()
    }

    /// White noise through one pole: low for a positive one.
    fn coloured(seed: u32, pole: f32, gain: f32, samples: usize) -> Vec<i16> {
        let mut generator = NoiseGenerator::new(seed);
        let mut last = 0.0;
        let mut next = || {
            last = generator.white() * gain + pole * last;
            last as i16
        };
        (0..samples).map(|_| next()).collect()
    }

    /// The mean power around a frequency, in dB.
    fn band(samples: &[i16], hz: f32) -> f32 {
        let mut sum = 0.0;
        for block in samples.chunks_exact(200) {
            let mut filter = Goertzel::new(hz, 8000);
            block.iter().for_each(|s| filter.push(f32::from(*s)));
            sum += filter.power();
        }
        10.0 * sum.log10()
    }

    fn played(payload: &[u8], samples: usize) -> Vec<i16> {
        let mut generator = NoiseGenerator::new(99);
        generator.update(payload);
        let mut out = vec![0; samples + 1600];
        out.chunks_mut(160).for_each(|frame| generator.fill(frame));
        out.split_off(1600)
    }

    #[test]
    fn noise_comes_back_as_loud_and_in_its_colour() {
        for (seed, pole) in [(1, 0.0), (2, 0.6), (3, 0.9), (4, -0.8)] {
            let sound = coloured(seed, pole, 200.0, 16_000);
            let again = played(&describe(&sound), 16_000);
            let change = db(rms(&again), rms(&sound));
            assert!(change.abs() < 1.5, "{pole}: {change} dB");
            for hz in [200.0, 600.0, 1400.0, 2400.0, 3600.0] {
                let change = band(&again, hz) - band(&sound, hz);
                assert!(change.abs() < 3.0, "{pole} {hz} Hz: {change} dB");
            }
        }
    }

    #[test]
    fn a_level_alone_is_white_noise_of_that_level() {
        for level in [20, 40, 60] {
            let out = played(&[level], 16_000);
            let wanted = OVERLOAD * 10f32.powf(-f32::from(level) / 20.0);
            assert!(db(rms(&out), wanted).abs() < 0.7, "{level}");
            assert!((band(&out, 500.0) - band(&out, 3000.0)).abs() < 2.0);
        }
        assert_eq!(played(&[127], 1600), vec![0; 1600]);
        assert_eq!(played(&[], 1600), vec![0; 1600]);
        // The top bit of the level is to be ignored (RFC 3389 §3.1).
        assert_eq!(played(&[40 | 0x80], 1600), played(&[40], 1600));
    }

    #[test]
    fn levels_are_those_of_the_rfc() {
        assert_eq!(describe(&[0; 160])[0], 127);
        assert_eq!(describe(&[])[0], 127);
        let square: Vec<i16> = (0..160)
            .map(|n| if n % 8 < 4 { 32_767 } else { -32_767 })
            .collect();
        assert_eq!(describe(&square)[0], 0);
        let tenth: Vec<i16> = square.iter().map(|s| s / 10).collect();
        assert_eq!(describe(&tenth)[0], 20);
    }

    #[test]
    fn a_pause_is_told_at_its_beginning_and_twice_a_second() {
        for ms in [10, 20, 30, 40, 60] {
            let mut pause = Pause::default();
            let all: Vec<_> = (0..6000 / ms).map(|_| pause.step(ms, HANG_MS)).collect();
            let sound = all.iter().take_while(|s| **s == Saying::Sound).count() as u32;
            assert_eq!(sound * ms, HANG_MS / ms * ms);
            let rest = &all[sound as usize..];
            let told = rest
                .iter()
                .enumerate()
                .filter(|(_, s)| **s == Saying::Noise);
            let at: Vec<_> = told.map(|(n, _)| n as u32 * ms).collect();
            assert_eq!(at[..4], [0, 480, 960, 1440], "{ms}");
            assert_eq!(at.len(), 13, "{ms}");
            pause.end();
            assert_eq!(pause.step(ms, HANG_MS), Saying::Sound);
        }
        let mut pause = Pause::default();
        assert_eq!(
            [pause.step(20, 0), pause.step(20, 0)],
            [Saying::Noise, Saying::Nothing]
        );
    }

    #[test]
    fn a_description_keeps_what_is_used_of_it() {
        let long: Vec<u8> = (0..40).collect();
        assert_eq!(Description::of(&long).bytes(), &long[..=ORDER_MAX]);
        assert_eq!(Description::of(&long).level().bytes(), [0]);
        assert_eq!(Description::of(&[]).level().bytes(), [0u8; 0]);
        // -60 dB below a square wave at full scale.
        assert_eq!(Description::white(33 * 33).bytes(), [60]);
        assert_eq!(Description::white(0).bytes(), [127]);
    }

    #[test]
    fn any_payload_stays_within_bounds() {
        let mut rng = crate::base::Rng::from_u64(6);
        let mut generator = NoiseGenerator::new(5);
        for _ in 0..3000 {
            let mut payload = [0; 20];
            rng.fill(&mut payload);
            payload[0] = 30 + payload[0] % 40;
            generator.update(&payload[..rng.below(21) as usize]);
            generator.fill(&mut [0; 160]);
            assert!(generator.state.iter().all(|s| s.is_finite()));
        }
        // After the worst, peace returns.
        generator.update(&[127]);
        let mut out = [0; 16_000];
        generator.fill(&mut out);
        assert_eq!(out[15_000..], [0; 1000]);
    }
}
