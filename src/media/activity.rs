//! Whether somebody talks: the energy of each frame against the noise around it, with a hang-over
//! so that the ends of words and short pauses belong to the talk.

/// How far above the noise a talker is, as a ratio of powers: 9 dB.
const OVER_NOISE: u64 = 8;
/// The quietest talker, as a mean square: -54 dB below a full-scale square wave.
const TALK_MIN: u64 = 65 * 65;
/// The loudest noise. Whatever is 9 dB above it counts as talk for as long as it lasts, music too:
/// -42 dB below a full-scale square wave.
const NOISE_MAX: u64 = 260 * 260;
/// The noise estimate falls at once and rises by a 64th per frame: some 3 dB per second.
const RISE_SHIFT: u32 = 6;
/// How long talk outlasts its last loud frame.
pub const HANG_MS: u32 = 300;

/// The mean square of a frame's samples, to within 64 per sample; nought of none.
pub fn mean_square(samples: &[i16]) -> u64 {
    if samples.is_empty() {
        return 0;
    }
    let sum: u64 = samples
        .chunks(64)
        .map(|some| {
            let squares = some.iter().map(|s| i32::from(*s) * i32::from(*s));
            // 64 squares of 24 bits fit.
            u64::from(squares.map(|square| (square >> 6) as u32).sum::<u32>())
        })
        .sum();
    (sum << 6) / samples.len() as u64
}

/// One party's.
#[derive(Clone, Debug)]
pub struct Activity {
    noise: u64,
    /// Frames of talk that are left without another loud one.
    left: u32,
    hang: u32,
}

impl Activity {
    /// For frames of `frame_ms`.
    pub fn new(frame_ms: u32) -> Self {
        Self {
            noise: TALK_MIN / OVER_NOISE,
            left: 0,
            hang: HANG_MS.div_ceil(frame_ms.max(1)),
        }
    }

    /// Takes in the next frame's [`mean_square`]; says whether the party talks.
    pub fn push(&mut self, mean_square: u64) -> bool {
        if mean_square > (self.noise * OVER_NOISE).max(TALK_MIN) {
            self.left = self.hang + 1;
        } else {
            self.left = self.left.saturating_sub(1);
        }
        // Frames that carry nothing at all (muted phones, gaps) say nothing about the noise.
        if mean_square > 0 {
            let risen = self.noise + (self.noise >> RISE_SHIFT) + 1;
            self.noise = mean_square.min(risen).min(NOISE_MAX);
        }
        self.talks()
    }

    /// Whether the party talked in the last frame.
    pub fn talks(&self) -> bool {
        self.left > 0
    }

    /// The mean square of the noise around the party, as far as it is known.
    pub fn noise(&self) -> u64 {
        self.noise
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn noise(rng: &mut Rng, peak: i32) -> Vec<i16> {
        let width = peak as u64 * 2 + 1;
        (0..160)
            .map(|_| (rng.below(width) as i32 - peak) as i16)
            .collect()
    }

    #[test]
    fn the_mean_square_is_that_of_the_samples() {
        assert_eq!(mean_square(&[]), 0);
        assert_eq!(mean_square(&[1000; 160]), 1_000_000 / 64 * 64);
        assert_eq!(mean_square(&[i16::MIN; 961]), 1 << 30);
        assert_eq!(mean_square(&[0; 960]), 0);
    }

    #[test]
    fn talk_begins_at_once_and_ends_after_the_hang_over() {
        let mut rng = Rng::from_u64(1);
        let mut activity = Activity::new(20);
        for _ in 0..100 {
            assert!(!activity.push(mean_square(&noise(&mut rng, 40))));
        }
        assert!(activity.push(mean_square(&noise(&mut rng, 4000))));
        let mut frames = 0;
        while activity.push(mean_square(&noise(&mut rng, 40))) {
            frames += 1;
        }
        assert_eq!(frames, HANG_MS / 20);
    }

    #[test]
    fn a_fan_is_learnt_and_a_voice_above_it_heard() {
        let mut rng = Rng::from_u64(2);
        let mut activity = Activity::new(20);
        for frame in 0..1000 {
            let talks = activity.push(mean_square(&noise(&mut rng, 350)));
            assert!(!talks || frame < 500, "{frame}");
        }
        assert!(activity.push(mean_square(&noise(&mut rng, 2500))));
    }

    #[test]
    fn music_without_a_pause_stays() {
        let mut rng = Rng::from_u64(3);
        let mut activity = Activity::new(20);
        for _ in 0..5000 {
            assert!(activity.push(mean_square(&noise(&mut rng, 3000))));
        }
    }

    #[test]
    fn nothing_is_silence_however_long() {
        let mut activity = Activity::new(20);
        activity.push(0);
        let noise = activity.noise();
        for _ in 0..5000 {
            assert!(!activity.push(0));
        }
        assert_eq!(activity.noise(), noise);
    }
}
