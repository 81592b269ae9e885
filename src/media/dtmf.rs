//! Digits as pairs of tones in the sound itself (ITU-T Q.23): made, and heard (Q.24).
//!
//! The detector looks at blocks of 12.75 ms. A block holds a digit if one frequency of each group
//! stands out of its group, their levels are near enough to each other, and little else sounds:
//! speech nearly always fails the last. Two such blocks in a row, whose phases prove two steady
//! sines of the right frequencies, with what the tone's edges leave in the blocks around, make a
//! digit: 40 ms are always enough and 20 ms never are. Not done here: digits as RTP events (RFC
//! 4733).

use super::goertzel::{Goertzel, amplitude_of_dbm0};
use super::tone::Oscillator;

/// Hz, from the top row down (Q.23 §4).
pub const ROWS_HZ: [u16; 4] = [697, 770, 852, 941];
/// Hz, from the left column to the right.
pub const COLUMNS_HZ: [u16; 4] = [1209, 1336, 1477, 1633];

/// The shortest tone, and the shortest pause between two (Q.24 table A-1).
pub const DIGIT_MS_MIN: u32 = 40;
/// The longest tone that is made.
pub const DIGIT_MS_MAX: u32 = 10_000;
/// The level of each of the two frequencies that a generator makes.
pub const LEVEL_DBM0: f32 = -9.0;

/// The quietest frequency that counts: Q.24 has administrations from -25 to -29 dBm0.
const LEVEL_DBM0_MIN: f32 = -30.0;
/// How much louder than its column a row may be, as a ratio of powers: 6 dB.
const ROW_OVER_COLUMN_MAX: f32 = 4.0;
/// How much louder than its row a column may be: 8 dB.
const COLUMN_OVER_ROW_MAX: f32 = 6.3;
/// How far the strongest of a group stands out of the others: 8 dB.
const OVER_OTHERS_MIN: f32 = 6.3;
/// The part of all power that the two frequencies hold: in a block that may begin a digit, where an
/// error of frequency costs some; in both of a pair of blocks whose phases have told that error;
/// and in a block that a short interruption (Q.24: 10 ms) or an edge cuts.
const SHARE_MIN: f32 = 0.70;
const SHARE_MIN_PAIR: f32 = 0.87;
const SHARE_MIN_WITHIN: f32 = 0.40;
/// The largest error of frequency: Q.24 takes 1.5 % for certain, and refuses 3.5 %.
const OFF_MAX: f32 = 0.025;
/// What begins a digit, besides two clear blocks that match: so many blocks' worth of its tone.
const WORTH_BEGIN: f32 = 1.9;
/// How far either frequency's power may change between two clear blocks at the beginning: 2.5 dB.
const UNSTEADY: f32 = 1.8;
/// Blocks without it that end it.
const BLOCKS_END: u8 = 2;
/// The block at 8 kHz: the frequencies of a group are nearly its bandwidth apart.
const BLOCK_AT_8_KHZ: u32 = 102;

/// One of the 16 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Digit(u8);

impl Digit {
    const CHARACTERS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
    ];
    /// The codes by row and column.
    const KEYS: [[u8; 4]; 4] = [[1, 2, 3, 12], [4, 5, 6, 13], [7, 8, 9, 14], [10, 0, 11, 15]];

    /// The digit of an RTP event code (RFC 4733 §3.2, table 3).
    pub fn from_code(code: u8) -> Option<Self> {
        (code < 16).then_some(Self(code))
    }

    /// The digit of `0` to `9`, `*`, `#`, `A` to `D` in either case.
    pub fn from_char(character: char) -> Option<Self> {
        let upper = character.to_ascii_uppercase();
        let code = Self::CHARACTERS.iter().position(|c| *c == upper)?;
        Self::from_code(code as u8)
    }

    /// The RTP event code.
    pub fn code(self) -> u8 {
        self.0
    }

    /// As a key says it.
    pub fn as_char(self) -> char {
        Self::CHARACTERS[usize::from(self.0 & 15)]
    }

    /// Row and column on the keypad.
    fn place(self) -> (usize, usize) {
        let mut keys = Self::KEYS.iter().flatten();
        let at = keys.position(|code| *code == self.0).unwrap_or(0);
        (at / 4, at % 4)
    }

    /// The two frequencies, the lower first.
    pub fn frequencies_hz(self) -> [u16; 2] {
        let (row, column) = self.place();
        [ROWS_HZ[row], COLUMNS_HZ[column]]
    }
}

// ---------------------------------------------------------------- made

/// Makes one digit and the pause after it.
#[derive(Clone, Debug)]
pub struct Generator {
    oscillators: [Oscillator; 2],
    amplitude: i32,
    at: u32,
    tone_samples: u32,
    total_samples: u32,
    fade_samples: u32,
}

impl Generator {
    /// At `rate` samples per second: a tone of `tone_ms`, held within [`DIGIT_MS_MIN`] and
    /// [`DIGIT_MS_MAX`], then `pause_ms` of silence, each frequency at `level_dbm0`.
    pub fn new(digit: Digit, rate: u32, tone_ms: u32, pause_ms: u32, level_dbm0: f32) -> Self {
        let mut oscillators = [Oscillator::default(); 2];
        for (oscillator, hz) in oscillators.iter_mut().zip(digit.frequencies_hz()) {
            oscillator.tune(u32::from(hz) * 10, rate);
        }
        let tone_samples = rate * tone_ms.clamp(DIGIT_MS_MIN, DIGIT_MS_MAX) / 1000;
        let pause_samples = rate * pause_ms.min(DIGIT_MS_MAX) / 1000;
        Self {
            oscillators,
            // Two of them must not clip.
            amplitude: amplitude_of_dbm0(level_dbm0).clamp(0.0, 16_383.0) as i32,
            at: 0,
            tone_samples,
            total_samples: tone_samples + pause_samples,
            fade_samples: (rate / 1000).max(1),
        }
    }

    /// Whether tone and pause are over.
    pub fn is_over(&self) -> bool {
        self.at >= self.total_samples
    }

    /// The next samples; after the end, silence. Says how many came before the end.
    pub fn fill(&mut self, samples: &mut [i16]) -> usize {
        let left = self.total_samples.saturating_sub(self.at) as usize;
        let made = left.min(samples.len());
        for sample in &mut samples[..made] {
            *sample = self.sample();
            self.at += 1;
        }
        samples[made..].fill(0);
        made
    }

    fn sample(&mut self) -> i16 {
        let Some(left) = self.tone_samples.checked_sub(self.at) else {
            return 0;
        };
        let [one, two] = &mut self.oscillators;
        let sum = one.next_value() + two.next_value();
        let value = (sum * self.amplitude) >> 15;
        // A millisecond of fade on either side keeps the edge from clicking.
        let fade = self.at.min(left).min(self.fade_samples);
        (value * fade as i32 / self.fade_samples as i32) as i16
    }
}

// ---------------------------------------------------------------- heard

/// What a detector tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A digit is being pressed.
    Began(Digit),
    /// It no longer is.
    Ended {
        /// The digit that had begun.
        digit: Digit,
        /// How long it was heard, to a block's precision.
        duration_ms: u32,
    },
}

/// How a block fits a digit.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    None,
    /// Cut by an edge or an interruption: it may be part of a digit, with such a share of power.
    Weak(Digit, f32),
    Clear(Digit, f32),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    /// A digit that has not begun yet: whether two clear blocks matched, how many blocks there
    /// were, and their shares together.
    Heard {
        digit: Digit,
        matched: bool,
        blocks: u32,
        worth: f32,
    },
    /// Pressed for so many blocks, of which the last so many did not fit.
    Pressed {
        digit: Digit,
        blocks: u32,
        missing: u8,
    },
}

/// Hears digits in sound at 8 or 16 kHz (any rate from 8 kHz on will do).
#[derive(Clone, Debug)]
pub struct Detector {
    rows: [Goertzel; 4],
    columns: [Goertzel; 4],
    energy: f32,
    filled: u32,
    block: u32,
    rate: u32,
    /// The least power of a frequency in a block.
    power_min: f32,
    state: State,
    /// The block before, if it was clear.
    before: Option<Clear>,
}

/// What a clear block is compared by with the next.
#[derive(Clone, Copy, Debug)]
struct Clear {
    digit: Digit,
    powers: [f32; 2],
    phases: [f32; 2],
    /// The power of all that sounded, on the same scale.
    total: f32,
}

impl Detector {
    /// For sound of `rate` samples per second.
    pub fn new(rate: u32) -> Self {
        let block = (BLOCK_AT_8_KHZ * rate / 8000).max(1);
        let quiet = amplitude_of_dbm0(LEVEL_DBM0_MIN) * block as f32 / 2.0;
        Self {
            rows: ROWS_HZ.map(|hz| Goertzel::new(hz.into(), rate)),
            columns: COLUMNS_HZ.map(|hz| Goertzel::new(hz.into(), rate)),
            energy: 0.0,
            filled: 0,
            block,
            rate,
            power_min: quiet * quiet,
            state: State::Idle,
            before: None,
        }
    }

    /// Takes in sound, and tells what it held.
    pub fn push(&mut self, samples: &[i16], mut on_event: impl FnMut(Event)) {
        let mut rest = samples;
        while !rest.is_empty() {
            let room = (self.block - self.filled) as usize;
            let (now, later) = rest.split_at(room.min(rest.len()));
            for sample in now {
                let value = f32::from(*sample);
                self.energy += value * value;
                for filter in self.rows.iter_mut().chain(&mut self.columns) {
                    filter.push(value);
                }
            }
            self.filled += now.len() as u32;
            if self.filled == self.block {
                let (verdict, clear) = self.judge();
                let pair = self.before.zip(clear);
                let matched = pair.map(|(before, now)| self.is_one_digit(before, now));
                self.before = clear;
                self.restart();
                self.on_block(verdict, matched, &mut on_event);
            }
            rest = later;
        }
    }

    /// Whether a digit is being pressed now.
    pub fn pressed(&self) -> Option<Digit> {
        match self.state {
            State::Pressed { digit, .. } => Some(digit),
            State::Idle | State::Heard { .. } => None,
        }
    }

    fn restart(&mut self) {
        self.energy = 0.0;
        self.filled = 0;
        for filter in self.rows.iter_mut().chain(&mut self.columns) {
            filter.reset();
        }
    }

    fn judge(&self) -> (Verdict, Option<Clear>) {
        let (row, row_power, row_next) = strongest(&self.rows);
        let (column, column_power, column_next) = strongest(&self.columns);
        // A sine's filtered power is its energy in the block, times half the block's length.
        let total = (self.energy * self.block as f32 / 2.0).max(1.0);
        let share = (row_power + column_power) / total;
        let digit = Digit(Digit::KEYS[row][column]);
        let quieter = row_power.min(column_power);
        let fits = quieter >= self.power_min
            && row_power <= column_power * ROW_OVER_COLUMN_MAX
            && column_power <= row_power * COLUMN_OVER_ROW_MAX
            && row_power >= row_next * OVER_OTHERS_MIN
            && column_power >= column_next * OVER_OTHERS_MIN;
        // A tone over a part of the block is quieter, and spreads over its neighbours.
        let quiet = self.power_min * SHARE_MIN_WITHIN * SHARE_MIN_WITHIN;
        let verdict = match share {
            s if fits && s >= SHARE_MIN => Verdict::Clear(digit, s),
            s if quieter >= quiet && s >= SHARE_MIN_WITHIN => Verdict::Weak(digit, s),
            _ => Verdict::None,
        };
        let clear = matches!(verdict, Verdict::Clear(..)).then(|| Clear {
            digit,
            powers: [row_power, column_power],
            phases: [self.rows[row].phase(), self.columns[column].phase()],
            total,
        });
        (verdict, clear)
    }

    /// Whether two clear blocks are the same two steady sines and little else.
    fn is_one_digit(&self, before: Clear, now: Clear) -> bool {
        if before.digit != now.digit {
            return false;
        }
        let block = self.block as f32 / self.rate as f32;
        let (mut sines, mut fits) = ([0.0; 2], true);
        for (at, hz) in now.digit.frequencies_hz().into_iter().enumerate() {
            // What the phase went further than the frequency says, as part of a turn per block.
            let advance = (now.phases[at] - before.phases[at]) / std::f32::consts::TAU;
            let further = advance - f32::from(hz) * block;
            let turns = further - further.round();
            let (a, b) = (before.powers[at], now.powers[at]);
            fits &= turns.abs() <= f32::from(hz) * block * OFF_MAX;
            fits &= a <= b * UNSTEADY && b <= a * UNSTEADY;
            // The filter took so much of a sine beside its frequency.
            let angle = turns * std::f32::consts::PI;
            let taken = if angle.abs() < 1e-3 {
                1.0
            } else {
                (angle.sin() / angle).powi(2)
            };
            sines[0] += a / taken;
            sines[1] += b / taken;
        }
        let [first, second] = sines;
        fits && first >= before.total * SHARE_MIN_PAIR && second >= now.total * SHARE_MIN_PAIR
    }

    /// `matched` says whether two clear blocks in a row are one digit's, if there are two.
    fn on_block(
        &mut self,
        verdict: Verdict,
        matched: Option<bool>,
        on_event: &mut impl FnMut(Event),
    ) {
        self.state = match (self.state, verdict) {
            (State::Pressed { digit, blocks, .. }, Verdict::Clear(heard, _))
            | (State::Pressed { digit, blocks, .. }, Verdict::Weak(heard, _))
                if heard == digit =>
            {
                State::Pressed {
                    digit,
                    blocks: blocks.saturating_add(1),
                    missing: 0,
                }
            }
            (
                State::Pressed {
                    digit,
                    blocks,
                    missing,
                },
                other,
            ) => {
                let missing = missing + 1;
                // Another digit ends this one at once.
                if missing >= BLOCKS_END || matches!(other, Verdict::Clear(..)) {
                    on_event(self.ended(digit, blocks));
                    first(other)
                } else {
                    State::Pressed {
                        digit,
                        blocks,
                        missing,
                    }
                }
            }
            (State::Idle, verdict) => first(verdict),
            (State::Heard { .. }, verdict) if matched == Some(false) => first(verdict),
            (heard @ State::Heard { .. }, verdict) => {
                further(heard, verdict, matched == Some(true))
            }
        };
        if let State::Heard {
            digit,
            matched: true,
            blocks,
            worth,
        } = self.state
            && worth >= WORTH_BEGIN
        {
            on_event(Event::Began(digit));
            self.state = State::Pressed {
                digit,
                blocks,
                missing: 0,
            };
        }
    }

    fn ended(&self, digit: Digit, blocks: u32) -> Event {
        let samples = u64::from(blocks) * u64::from(self.block);
        Event::Ended {
            digit,
            duration_ms: (samples * 1000 / u64::from(self.rate)) as u32,
        }
    }
}

/// A block when no digit was heard before it.
fn first(verdict: Verdict) -> State {
    match verdict {
        Verdict::Clear(digit, worth) | Verdict::Weak(digit, worth) => State::Heard {
            digit,
            matched: false,
            blocks: 1,
            worth,
        },
        Verdict::None => State::Idle,
    }
}

/// A block when a digit has been heard, but not for long enough.
fn further(heard: State, verdict: Verdict, matches: bool) -> State {
    match (heard, verdict) {
        (
            State::Heard {
                digit,
                matched,
                blocks,
                worth,
            },
            Verdict::Clear(now, share) | Verdict::Weak(now, share),
        ) if digit == now => State::Heard {
            digit,
            matched: matched || matches,
            blocks: blocks.saturating_add(1),
            worth: worth + share,
        },
        (_, verdict) => first(verdict),
    }
}

/// The place and power of the strongest of a group, and the power of the next.
fn strongest(filters: &[Goertzel; 4]) -> (usize, f32, f32) {
    let (mut at, mut most, mut next) = (0, -1.0, 0.0f32);
    for (place, filter) in filters.iter().enumerate() {
        let power = filter.power();
        if power > most {
            next = next.max(most);
            (at, most) = (place, power);
        } else {
            next = next.max(power);
        }
    }
    (at, most, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn sine(hz: f32, rate: u32, level: f32, samples: usize) -> Vec<f32> {
        let peak = amplitude_of_dbm0(level);
        let angle = std::f32::consts::TAU * hz / rate as f32;
        (0..samples)
            .map(|n| peak * (angle * n as f32).sin())
            .collect()
    }

    /// A digit of which each frequency has a level and an error of its own, after `before` samples
    /// of silence.
    fn pair(
        digit: Digit,
        rate: u32,
        levels: [f32; 2],
        off: f32,
        ms: u32,
        before: usize,
    ) -> Vec<i16> {
        let samples = (rate * ms / 1000) as usize;
        let [low, high] = digit.frequencies_hz().map(|hz| f32::from(hz) * (1.0 + off));
        let (low, high) = (
            sine(low, rate, levels[0], samples),
            sine(high, rate, levels[1], samples),
        );
        let tone = low.iter().zip(&high).map(|(a, b)| (a + b) as i16);
        let silence = vec![0; (rate / 10) as usize];
        std::iter::repeat_n(0, before)
            .chain(tone)
            .chain(silence)
            .collect()
    }

    fn heard(sound: &[i16], rate: u32) -> (String, Vec<u32>) {
        let (mut digits, mut lengths) = (String::new(), Vec::new());
        let mut detector = Detector::new(rate);
        for frame in sound.chunks(rate as usize / 50) {
            detector.push(frame, |event| match event {
                Event::Began(digit) => digits.push(digit.as_char()),
                Event::Ended { duration_ms, .. } => lengths.push(duration_ms),
            });
        }
        assert_eq!(
            digits.len(),
            lengths.len() + usize::from(detector.pressed().is_some())
        );
        (digits, lengths)
    }

    fn all() -> impl Iterator<Item = Digit> {
        (0..16).filter_map(Digit::from_code)
    }

    #[test]
    fn digits_have_their_codes_and_frequencies() {
        for digit in all() {
            assert_eq!(Digit::from_char(digit.as_char()), Some(digit));
            assert_eq!(Digit::from_code(digit.code()), Some(digit));
        }
        let digit = |c| Digit::from_char(c).unwrap();
        assert_eq!(digit('5').frequencies_hz(), [770, 1336]);
        assert_eq!(digit('d').frequencies_hz(), [941, 1633]);
        assert_eq!(
            (digit('*').code(), digit('#').code(), digit('A').code()),
            (10, 11, 12)
        );
        assert_eq!((Digit::from_char('E'), Digit::from_code(16)), (None, None));
    }

    #[test]
    fn what_the_generator_makes_the_detector_hears() {
        for rate in [8000, 16_000, 48_000] {
            for (tone, pause) in [(40, 40), (50, 50), (100, 60), (300, 200)] {
                let mut sound = Vec::new();
                let mut expected = String::new();
                for digit in all().chain(all()) {
                    let mut generator = Generator::new(digit, rate, tone, pause, LEVEL_DBM0);
                    let mut frame = [0; 77];
                    while !generator.is_over() {
                        let made = generator.fill(&mut frame);
                        sound.extend(&frame[..made]);
                    }
                    // The same digit twice is two.
                    expected.push(digit.as_char());
                }
                sound.extend([0; 4000]);
                assert_eq!(
                    sound.len() - 4000,
                    32 * (rate * (tone + pause) / 1000) as usize
                );
                let (digits, lengths) = heard(&sound, rate);
                assert_eq!(digits, expected, "{rate} {tone}/{pause}");
                assert!(
                    lengths.iter().all(|l| l.abs_diff(tone) <= 26),
                    "{lengths:?}"
                );
            }
        }
        let seven = Digit::from_char('7').unwrap();
        let twice = [
            pair(seven, 8000, [-9.0; 2], 0.0, 60, 0),
            pair(seven, 8000, [-9.0; 2], 0.0, 60, 0),
        ];
        assert_eq!(heard(&twice.concat(), 8000).0, "77");
    }

    #[test]
    fn forty_milliseconds_are_heard_wherever_they_begin_and_twenty_are_not() {
        for rate in [8000, 16_000] {
            for digit in all() {
                for before in (0..(BLOCK_AT_8_KHZ * rate / 8000) as usize).step_by(5) {
                    let sound = pair(digit, rate, [-12.0; 2], 0.0, 40, before);
                    assert_eq!(
                        heard(&sound, rate).0,
                        digit.as_char().to_string(),
                        "{before}"
                    );
                    let sound = pair(digit, rate, [-12.0; 2], 0.0, 20, before);
                    assert_eq!(heard(&sound, rate).0, "", "{digit:?} {before}");
                }
            }
        }
    }

    #[test]
    fn levels_twist_and_errors_of_frequency_have_their_limits() {
        let one = |levels, off| {
            let found = all().filter(|digit| {
                let sound = pair(*digit, 8000, levels, off, 60, 33);
                heard(&sound, 8000).0 == digit.as_char().to_string()
            });
            found.count()
        };
        for levels in [
            [0.0, 0.0],
            [-25.0, -25.0],
            [-10.0, -4.0],
            [-6.0, -10.0],
            [-29.0, -23.0],
        ] {
            assert_eq!(one(levels, 0.0), 16, "{levels:?}");
        }
        for levels in [[-40.0, -40.0], [-20.0, -6.0], [-6.0, -16.0]] {
            assert_eq!(one(levels, 0.0), 0, "{levels:?}");
        }
        for off in [-0.015, 0.015] {
            assert_eq!(one([-10.0; 2], off), 16, "{off}");
        }
        for off in [-0.06, 0.06] {
            assert_eq!(one([-10.0; 2], off), 0, "{off}");
        }
    }

    #[test]
    fn noise_fifteen_decibels_below_hides_no_digit() {
        let mut rng = Rng::from_u64(11);
        for digit in all() {
            for _ in 0..8 {
                let mut sound = pair(digit, 8000, [-10.0; 2], 0.0, 50, rng.below(102) as usize);
                let power = amplitude_of_dbm0(-10.0).powi(2);
                let rms = (power / 10f32.powf(1.5)).sqrt();
                for sample in &mut sound {
                    *sample = sample.saturating_add((gauss(&mut rng) * rms) as i16);
                }
                assert_eq!(heard(&sound, 8000).0, digit.as_char().to_string());
            }
        }
    }

    #[test]
    fn an_interruption_of_ten_milliseconds_does_not_split_a_digit() {
        for at in 400..510 {
            let mut sound = pair(Digit(5), 8000, [-10.0; 2], 0.0, 120, 0);
            sound[at..at + 80].fill(0);
            assert_eq!(heard(&sound, 8000).0, "5", "{at}");
        }
    }

    /// Nearly normal, of variance one.
    fn gauss(rng: &mut Rng) -> f32 {
        let sum: f32 = (0..12)
            .map(|_| rng.below(1 << 20) as f32 / (1 << 20) as f32)
            .sum();
        sum - 6.0
    }

    /// Pulses of a gliding pitch through three wandering resonances, hiss between: no speech, but
    /// as hard on a detector.
    fn babble(rng: &mut Rng, rate: u32, seconds: u32) -> Vec<i16> {
        let mut out = Vec::new();
        let mut states = [[0.0f32; 2]; 3];
        let mut phase = 0.0;
        while out.len() < (rate * seconds) as usize {
            let pitch = 80.0 + rng.below(250) as f32;
            let glide = rng.below(100) as f32 - 50.0;
            let formants = [
                250 + rng.below(700),
                800 + rng.below(1400),
                2000 + rng.below(1200),
            ];
            let voiced = !rng.chance(1, 4);
            let length = rate * (40 + rng.below(250) as u32) / 1000;
            for n in 0..length {
                let part = n as f32 / length as f32;
                phase += (pitch + glide * part) / rate as f32;
                let mut value = if voiced { 0.0 } else { gauss(rng) * 0.15 };
                if phase >= 1.0 {
                    phase -= 1.0;
                    value += if voiced { 4.0 } else { 0.0 };
                }
                for (state, hz) in states.iter_mut().zip(formants) {
                    let r = 0.97f32;
                    let angle = std::f32::consts::TAU * hz as f32 / rate as f32;
                    let next = value + 2.0 * r * angle.cos() * state[0] - r * r * state[1];
                    *state = [next, state[0]];
                    value = next * 0.35;
                }
                let loud = (part * std::f32::consts::PI).sin();
                out.push((value * loud * 20_000.0).clamp(-32768.0, 32767.0) as i16);
            }
        }
        out
    }

    #[test]
    fn babble_is_hardly_ever_a_digit_and_noise_tones_and_chords_never() {
        let mut rng = Rng::from_u64(12);
        let mut digits = String::new();
        for rate in [8000, 16_000] {
            let sound = babble(&mut rng, rate, 120);
            let loud = sound.iter().filter(|s| s.unsigned_abs() > 3000).count();
            assert!(loud > sound.len() / 20, "{loud}");
            digits.push_str(&heard(&sound, rate).0);
        }
        // No detector is deaf to all of it: one digit a minute is the most.
        assert!(digits.len() <= 4, "{digits}");
        let noise: Vec<i16> = (0..8000 * 20)
            .map(|_| (gauss(&mut rng) * 6000.0) as i16)
            .collect();
        assert_eq!(heard(&noise, 8000).0, "");
        for hz in (200..3800).step_by(19) {
            let tone: Vec<i16> = sine(hz as f32, 8000, -6.0, 800)
                .iter()
                .map(|s| *s as i16)
                .collect();
            assert_eq!(heard(&tone, 8000).0, "", "{hz} Hz");
        }
        // Major and minor chords.
        for root in (200..1100).step_by(13) {
            for third in [1.25, 1.2] {
                let root = root as f32;
                let parts = [root, root * third, root * 1.5].map(|hz| sine(hz, 8000, -12.0, 1600));
                let chord = (0..1600).map(|n| (parts[0][n] + parts[1][n] + parts[2][n]) as i16);
                let chord: Vec<i16> = chord.collect();
                assert_eq!(heard(&chord, 8000).0, "", "{root} Hz");
            }
        }
        assert_eq!(heard(&[i16::MIN; 4000], 8000).0, "");
    }
}
