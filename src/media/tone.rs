//! The tones that a caller knows from the telephone network: dial tone, ring back, busy and so on.
//!
//! Frequencies and cadences are those of ITU-T E.180 supplement 2 ("Various tones used in national
//! networks"), per country. Where a country has none of its own, it gets its dial tone's frequency
//! with the limits of E.180 (congestion, call waiting) or E.182 (confirmation). A generator keeps
//! its phase across frames and fades at the edges, so that nothing clicks.

use super::goertzel::amplitude_of_dbm0;
use serde::{Deserialize, Serialize};

/// The level of a tone that has no other wish, both frequencies together. E.180 §3 wants -10 dBm0
/// within 5 dB.
pub const LEVEL_DBM0: f32 = -13.0;

/// What a tone fades in and out in.
const FADE_MS: u32 = 4;

/// A country whose tones are known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Country {
    /// Argentina.
    Ar,
    /// Germany.
    De,
    /// Spain.
    Es,
    /// France.
    Fr,
    /// The United Kingdom.
    Gb,
    /// Italy.
    It,
    /// Mexico.
    Mx,
    /// Portugal.
    Pt,
    /// The United States.
    Us,
}

impl Country {
    /// All, by their codes.
    pub const ALL: [(&'static str, Self); 9] = [
        ("ar", Self::Ar),
        ("de", Self::De),
        ("es", Self::Es),
        ("fr", Self::Fr),
        ("gb", Self::Gb),
        ("it", Self::It),
        ("mx", Self::Mx),
        ("pt", Self::Pt),
        ("us", Self::Us),
    ];

    /// The country of a two-letter code, or of a locale such as `es`, `es-MX`, `en_US`: the region
    /// if it has one that is known, otherwise the language's home. `en` is the United Kingdom's.
    pub fn from_locale(locale: &str) -> Option<Self> {
        let find = |code: &str| {
            let mut all = Self::ALL.iter();
            all.find(|(known, _)| known.eq_ignore_ascii_case(code))
                .map(|(_, country)| *country)
        };
        let mut parts = locale.split(['-', '_', '.']);
        let language = parts.next()?;
        let region = parts.next().and_then(find);
        region.or_else(|| match language {
            l if l.eq_ignore_ascii_case("en") || l.eq_ignore_ascii_case("uk") => Some(Self::Gb),
            l => find(l),
        })
    }

    /// The country's way to say it.
    pub fn pattern(self, tone: Tone) -> Pattern {
        match self {
            Self::Ar => argentina(tone),
            Self::De => germany(tone),
            Self::Es => spain(tone),
            Self::Fr => france(tone),
            Self::Gb => united_kingdom(tone),
            Self::It => italy(tone),
            Self::Mx => mexico(tone),
            Self::Pt => portugal(tone),
            Self::Us => united_states(tone),
        }
    }
}

/// What a tone tells the caller (E.180 §2, E.182).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Tone {
    /// Dial now.
    Dial,
    /// It rings at the other end.
    RingBack,
    /// The other end is busy.
    Busy,
    /// The network is.
    Congestion,
    /// Three rising notes: an announcement follows, or the number is none.
    SpecialInformation,
    /// Somebody else calls.
    CallWaiting,
    /// What was dialled is done.
    Confirm,
}

impl Tone {
    /// Every tone.
    pub const ALL: [Self; 7] = [
        Self::Dial,
        Self::RingBack,
        Self::Busy,
        Self::Congestion,
        Self::SpecialInformation,
        Self::CallWaiting,
        Self::Confirm,
    ];
}

/// A piece of a pattern: at most two frequencies, or silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// In tenths of Hz; 0 is none.
    pub frequencies_dhz: [u16; 2],
    /// How long; 0 is without end.
    pub duration_ms: u16,
}

/// Steps, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// At least one.
    pub steps: &'static [Step],
    /// Whether the first follows the last.
    pub repeats: bool,
}

const fn on(hz: u16, duration_ms: u16) -> Step {
    both(hz, 0, duration_ms)
}

const fn both(hz: u16, other_hz: u16, duration_ms: u16) -> Step {
    Step {
        frequencies_dhz: [hz * 10, other_hz * 10],
        duration_ms,
    }
}

const fn off(duration_ms: u16) -> Step {
    both(0, 0, duration_ms)
}

/// A pattern without end.
macro_rules! repeated {
    ($($step:expr),+ $(,)?) => {
        Pattern { steps: const { &[$($step),+] }, repeats: true }
    };
}

/// A pattern that is played once.
macro_rules! once {
    ($($step:expr),+ $(,)?) => {
        Pattern { steps: const { &[$($step),+] }, repeats: false }
    };
}

/// E.180 §7: 950, 1400 and 1800 Hz, a third of a second each, then a second's pause.
const SPECIAL_INFORMATION: Pattern =
    repeated![on(950, 330), on(1400, 330), on(1800, 330), off(1000)];

/// The same with short gaps.
const SPECIAL_INFORMATION_APART: Pattern = repeated![
    on(950, 330),
    off(30),
    on(1400, 330),
    off(30),
    on(1800, 330),
    off(1000),
];

const fn spain(tone: Tone) -> Pattern {
    match tone {
        Tone::Dial => repeated![on(425, 0)],
        Tone::RingBack => repeated![on(425, 1500), off(3000)],
        Tone::Busy => repeated![on(425, 200), off(200)],
        Tone::Congestion => repeated![
            on(425, 200),
            off(200),
            on(425, 200),
            off(200),
            on(425, 200),
            off(600),
        ],
        Tone::SpecialInformation => SPECIAL_INFORMATION,
        Tone::CallWaiting => repeated![on(425, 175), off(175), on(425, 175), off(3500)],
        Tone::Confirm => CONFIRM_425,
    }
}

const CONFIRM_425: Pattern = once![
    on(425, 100),
    off(100),
    on(425, 100),
    off(100),
    on(425, 100),
    off(100),
];

const fn argentina(tone: Tone) -> Pattern {
    match tone {
        Tone::Dial => repeated![on(425, 0)],
        Tone::RingBack => repeated![on(425, 1000), off(4500)],
        Tone::Busy => repeated![on(425, 300), off(200)],
        Tone::Congestion => repeated![on(425, 200), off(300)],
        Tone::SpecialInformation => SPECIAL_INFORMATION,
        Tone::CallWaiting => repeated![on(425, 200), off(9000)],
        Tone::Confirm => CONFIRM_425,
    }
}

const fn germany(tone: Tone) -> Pattern {
    match tone {
        Tone::Dial => repeated![on(425, 0)],
        Tone::RingBack => repeated![on(425, 1000), off(4000)],
        Tone::Busy => repeated![on(425, 480), off(480)],
        Tone::Congestion => repeated![on(425, 240), off(240)],
        Tone::SpecialInformation => SPECIAL_INFORMATION,
        Tone::CallWaiting => repeated![on(425, 200), off(200), on(425, 200), off(5000)],
        Tone::Confirm => CONFIRM_425,
    }
}

const fn france(tone: Tone) -> Pattern {
    match tone {
        Tone::Dial => repeated![on(440, 0)],
        Tone::RingBack => repeated![on(440, 1500), off(3500)],
        Tone::Busy => repeated![on(440, 500), off(500)],
        Tone::Congestion => repeated![on(440, 250), off(250)],
        Tone::SpecialInformation => SPECIAL_INFORMATION_APART,
        Tone::CallWaiting => repeated![on(440, 300), off(10_000)],
        Tone::Confirm => once![
            on(440, 100),
            off(100),
            on(440, 100),
            off(100),
            on(440, 100),
            off(100),
        ],
    }
}

const fn united_kingdom(tone: Tone) -> Pattern {
    match tone {
        Tone::Dial => repeated![both(350, 440, 0)],
        Tone::RingBack => repeated![
            both(400, 450, 400),
            off(200),
            both(400, 450, 400),
            off(2000),
        ],
        Tone::Busy => repeated![on(400, 375), off(375)],
        Tone::Congestion => repeated![on(400, 400), off(350), on(400, 225), off(525)],
        Tone::SpecialInformation => SPECIAL_INFORMATION,
        Tone::CallWaiting => repeated![on(400, 100), off(4000)],
        Tone::Confirm => CONFIRM_350_440,
    }
}

const CONFIRM_350_440: Pattern = once![
    both(350, 440, 100),
    off(100),
    both(350, 440, 100),
    off(100),
    both(350, 440, 100),
    off(100),
];

const fn italy(tone: Tone) -> Pattern {
    match tone {
        Tone::Dial => repeated![on(425, 200), off(200), on(425, 600), off(1000)],
        Tone::RingBack => repeated![on(425, 1000), off(4000)],
        Tone::Busy => repeated![on(425, 500), off(500)],
        Tone::Congestion => repeated![on(425, 200), off(200)],
        Tone::SpecialInformation => SPECIAL_INFORMATION,
        Tone::CallWaiting => repeated![
            on(425, 400),
            off(100),
            on(425, 250),
            off(100),
            on(425, 150),
            off(14_000),
        ],
        Tone::Confirm => CONFIRM_425,
    }
}

const fn mexico(tone: Tone) -> Pattern {
    match tone {
        Tone::Dial => repeated![on(425, 0)],
        Tone::RingBack => repeated![on(425, 1000), off(4000)],
        Tone::Busy => repeated![on(425, 250), off(250)],
        Tone::Congestion => repeated![on(425, 250), off(250)],
        Tone::SpecialInformation => SPECIAL_INFORMATION_APART,
        Tone::CallWaiting => repeated![on(425, 200), off(600), on(425, 200), off(10_000)],
        Tone::Confirm => CONFIRM_425,
    }
}

const fn portugal(tone: Tone) -> Pattern {
    match tone {
        Tone::Dial => repeated![on(425, 0)],
        Tone::RingBack => repeated![on(425, 1000), off(5000)],
        Tone::Busy => repeated![on(425, 500), off(500)],
        Tone::Congestion => repeated![on(425, 200), off(200)],
        Tone::SpecialInformation => SPECIAL_INFORMATION,
        Tone::CallWaiting => repeated![on(425, 200), off(200), on(425, 200), off(5000)],
        Tone::Confirm => CONFIRM_425,
    }
}

/// The special information tone of a vacant number, in the United States' own frequencies.
const INTERCEPT: Pattern = repeated![
    Step {
        frequencies_dhz: [9138, 0],
        duration_ms: 274,
    },
    Step {
        frequencies_dhz: [13_706, 0],
        duration_ms: 274,
    },
    Step {
        frequencies_dhz: [17_767, 0],
        duration_ms: 380,
    },
    off(1000),
];

const fn united_states(tone: Tone) -> Pattern {
    match tone {
        Tone::Dial => repeated![both(350, 440, 0)],
        Tone::RingBack => repeated![both(440, 480, 2000), off(4000)],
        Tone::Busy => repeated![both(480, 620, 500), off(500)],
        Tone::Congestion => repeated![both(480, 620, 250), off(250)],
        Tone::SpecialInformation => INTERCEPT,
        Tone::CallWaiting => repeated![on(440, 300), off(9700)],
        Tone::Confirm => CONFIRM_350_440,
    }
}

// ---------------------------------------------------------------- sound

const SINES: usize = 1024;

/// One turn of a sine, and its first value again for whoever reads between two.
static SINE: [i16; SINES + 1] = {
    let mut table = [0; SINES + 1];
    let mut at = 0;
    while at <= SINES {
        let sine = sine(at as f64 / SINES as f64 * std::f64::consts::TAU) * 32767.0;
        table[at] = (sine + if sine < 0.0 { -0.5 } else { 0.5 }) as i16;
        at += 1;
    }
    table
};

/// By its series: `f64::sin` cannot run at compile time.
const fn sine(angle: f64) -> f64 {
    let x = angle - std::f64::consts::PI;
    let (mut term, mut sum, mut n) = (-x, -x, 1.0);
    while n < 30.0 {
        term = -term * x * x / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    sum
}

/// A sine whose phase runs on through every change of its frequency.
#[derive(Clone, Copy, Default, Debug)]
pub struct Oscillator {
    /// In turns of 2^32.
    phase: u32,
    step: u32,
}

impl Oscillator {
    /// Sets the frequency, in tenths of Hz below half the rate.
    pub fn tune(&mut self, frequency_dhz: u32, rate: u32) {
        let turns = (u64::from(frequency_dhz) << 32) / (u64::from(rate.max(1)) * 10);
        self.step = turns as u32;
    }

    /// The next value, between -32767 and 32767.
    #[inline]
    pub fn next_value(&mut self) -> i32 {
        let at = (self.phase >> 22) as usize;
        let between = ((self.phase >> 7) & 0x7fff) as i32;
        let (low, high) = (i32::from(SINE[at]), i32::from(SINE[at + 1]));
        self.phase = self.phase.wrapping_add(self.step);
        low + (((high - low) * between) >> 15)
    }
}

/// Plays a [`Pattern`].
#[derive(Clone, Debug)]
pub struct ToneGenerator {
    pattern: Pattern,
    rate: u32,
    /// The step that plays, and its samples that are left: none is without end.
    step: usize,
    left: Option<u32>,
    over: bool,
    oscillators: [Oscillator; 2],
    /// Of one frequency, by whether two sound.
    amplitudes: [i32; 2],
    amplitude: i32,
    /// From 0 to `fade_samples`.
    fade: i32,
    fade_samples: i32,
    sounds: bool,
}

impl ToneGenerator {
    /// At `rate` samples per second, with `level_dbm0` as the level of the whole; what would clip
    /// is held at full scale.
    pub fn new(pattern: Pattern, rate: u32, level_dbm0: f32) -> Self {
        let peak = amplitude_of_dbm0(level_dbm0).clamp(0.0, 32_767.0);
        // Of two sines each has half the power; their peaks add up, so each stays below half.
        let each = (peak * std::f32::consts::FRAC_1_SQRT_2).min(16_383.0);
        let mut generator = Self {
            pattern,
            rate,
            step: 0,
            left: None,
            over: pattern.steps.is_empty(),
            oscillators: [Oscillator::default(); 2],
            amplitudes: [peak as i32, each as i32],
            amplitude: 0,
            fade: 0,
            fade_samples: (rate * FADE_MS / 1000).max(1) as i32,
            sounds: false,
        };
        generator.enter(0);
        generator
    }

    /// Whether the pattern has ended: only one that does not repeat does.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The next samples; after the end, silence. Says how many came before the end.
    pub fn fill(&mut self, samples: &mut [i16]) -> usize {
        let mut made = 0;
        while made < samples.len() && !self.over {
            let room = samples.len() - made;
            let run = self.left.map_or(room, |left| room.min(left as usize));
            for sample in &mut samples[made..made + run] {
                *sample = self.sample();
            }
            made += run;
            if let Some(left) = &mut self.left {
                *left -= run as u32;
                if *left == 0 {
                    self.enter(self.step + 1);
                }
            }
        }
        samples[made..].fill(0);
        made
    }

    fn sample(&mut self) -> i16 {
        if self.sounds {
            self.fade = (self.fade + 1).min(self.fade_samples);
        } else if self.fade == 0 {
            return 0;
        } else {
            self.fade -= 1;
        }
        let [one, two] = &mut self.oscillators;
        let sum = one.next_value() + if two.step == 0 { 0 } else { two.next_value() };
        let value = (sum * self.amplitude) >> 15;
        if self.fade == self.fade_samples {
            value as i16
        } else {
            (value * self.fade / self.fade_samples) as i16
        }
    }

    /// A silent step keeps the last frequencies, which fade out in it.
    fn enter(&mut self, step: usize) {
        let (step, over) = match step {
            s if s < self.pattern.steps.len() => (s, false),
            _ => (0, !self.pattern.repeats),
        };
        let Some(now) = self.pattern.steps.get(step).filter(|_| !over) else {
            self.over = true;
            return;
        };
        self.step = step;
        self.left = match now.duration_ms {
            0 => None,
            ms => Some((u32::from(ms) * self.rate / 1000).max(1)),
        };
        let [first, second] = now.frequencies_dhz;
        self.sounds = first != 0;
        if self.sounds {
            self.oscillators[0].tune(first.into(), self.rate);
            self.oscillators[1].tune(second.into(), self.rate);
            self.amplitude = self.amplitudes[usize::from(second != 0)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::goertzel::{amplitude, dbm0};
    use super::*;

    #[test]
    fn whoever_chooses_a_ring_back_tone_may_choose_each_country() {
        let countries = Country::ALL.map(|(code, _)| code);
        assert_eq!(crate::config::RING_BACK_COUNTRIES, countries);
    }

    fn play(pattern: Pattern, rate: u32, level: f32, ms: u32, packet: usize) -> Vec<i16> {
        let mut generator = ToneGenerator::new(pattern, rate, level);
        let mut out = vec![0; (rate * ms / 1000) as usize];
        for frame in out.chunks_mut(packet) {
            generator.fill(frame);
        }
        out
    }

    #[test]
    fn every_step_of_every_country_is_heard_at_its_level_and_length() {
        for (code, country) in Country::ALL {
            for tone in Tone::ALL {
                // One country is enough for the other rates.
                let rates: &[u32] = match country {
                    Country::Us => &[8000, 16_000, 48_000],
                    _ => &[8000],
                };
                for rate in rates.iter().copied() {
                    let pattern = country.pattern(tone);
                    let total: u32 = pattern.steps.iter().map(|s| u32::from(s.duration_ms)).sum();
                    let sound = play(pattern, rate, -13.0, total.max(400), 160);
                    let mut at = 0;
                    for step in pattern.steps {
                        let ms = match step.duration_ms {
                            0 => 400,
                            ms => u32::from(ms),
                        };
                        // Behind the fade of the step before, and of its own.
                        let from = ((at + 5) * rate / 1000) as usize;
                        let to = ((at + ms) * rate / 1000) as usize;
                        let piece = &sound[from..to];
                        let peak = piece.iter().map(|s| s.unsigned_abs()).max().unwrap();
                        let expected = match step.frequencies_dhz {
                            [0, _] => {
                                assert_eq!(peak, 0, "{code} {tone:?} at {at} ms");
                                at += ms;
                                continue;
                            }
                            [_, 0] => -13.0,
                            _ => -16.0,
                        };
                        for frequency in step.frequencies_dhz.into_iter().filter(|f| *f != 0) {
                            let hz = f32::from(frequency) / 10.0;
                            let level = dbm0(amplitude(piece, hz, rate));
                            let wrong = (level - expected).abs();
                            assert!(wrong < 1.0, "{code} {tone:?} {rate} {hz} Hz: {level}");
                        }
                        at += ms;
                    }
                }
            }
        }
    }

    #[test]
    fn frames_of_any_length_join_without_a_click() {
        let pattern = Country::Es.pattern(Tone::Busy);
        let whole = play(pattern, 8000, -10.0, 2000, 16_000);
        for packet in [1, 7, 80, 160, 333] {
            assert_eq!(play(pattern, 8000, -10.0, 2000, packet), whole);
        }
        // A sine of this level changes by at most its amplitude times its angle per sample.
        let most = amplitude_of_dbm0(-10.0) * std::f32::consts::TAU * 425.0 / 8000.0;
        let jump = whole.windows(2).map(|w| (w[1] - w[0]).unsigned_abs()).max();
        assert!(f32::from(jump.unwrap()) < most * 1.05 + 2.0);
        let sit = play(
            Country::Es.pattern(Tone::SpecialInformation),
            48_000,
            -10.0,
            3000,
            960,
        );
        let most = amplitude_of_dbm0(-10.0) * std::f32::consts::TAU * 1800.0 / 48_000.0;
        let jump = sit.windows(2).map(|w| (w[1] - w[0]).unsigned_abs()).max();
        assert!(f32::from(jump.unwrap()) < most * 1.05 + 2.0);
    }

    #[test]
    fn a_tone_that_ends_says_so() {
        let mut generator = ToneGenerator::new(Country::Us.pattern(Tone::Confirm), 8000, -13.0);
        let mut frame = [1; 160];
        let mut made = 0;
        while !generator.is_over() {
            made += generator.fill(&mut frame);
            assert!(made <= 4800);
        }
        assert_eq!(made, 4800);
        assert_eq!(generator.fill(&mut frame), 0);
        assert_eq!(frame, [0; 160]);
        let mut empty = ToneGenerator::new(
            Pattern {
                steps: &[],
                repeats: true,
            },
            8000,
            -13.0,
        );
        assert_eq!((empty.is_over(), empty.fill(&mut frame)), (true, 0));
    }

    #[test]
    fn the_loudest_wish_does_not_wrap() {
        for tone in [Tone::Dial, Tone::Busy] {
            let sound = play(Country::Us.pattern(tone), 8000, 40.0, 200, 160);
            let sum: i64 = sound.iter().map(|s| i64::from(*s)).sum();
            assert!(sum.abs() < 32_767 * 40);
            let jump = sound.windows(2).map(|w| i32::from(w[1]) - i32::from(w[0]));
            assert!(jump.map(i32::abs).max().unwrap() < 20_000);
        }
    }

    #[test]
    fn locales_find_their_country() {
        for (locale, country) in [
            ("es", Some(Country::Es)),
            ("es-MX", Some(Country::Mx)),
            ("en_US.UTF-8", Some(Country::Us)),
            ("en", Some(Country::Gb)),
            ("en-NZ", Some(Country::Gb)),
            ("GB", Some(Country::Gb)),
            ("pt-BR", Some(Country::Pt)),
            ("xx", None),
            ("", None),
        ] {
            assert_eq!(Country::from_locale(locale), country, "{locale}");
        }
    }
}
