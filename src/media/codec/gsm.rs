//! GSM 06.10 full rate (ETSI EN 300 961): 160 samples at 8 kHz in 33 bytes, by linear prediction,
//! long-term prediction and a grid of regular pulses.
//!
//! Written after the fixed-point description of §5.2 and §5.3, whose section numbers the functions
//! carry; the arithmetic is its 16 and 32 bits with saturation, so the bits are those of any other
//! true implementation. Packing is RFC 3551 §4.5.8.1. Not done here: the silence frames of GSM
//! 06.31 and the substitution of lost frames.

/// Samples of a frame: 20 ms.
pub const FRAME_SAMPLES: usize = 160;
/// Bytes of a frame, the signature in the first half-byte.
pub const FRAME_SIZE: usize = 33;

/// What the first four bits of each frame are (RFC 3551 §4.5.8.1).
const SIGNATURE: u8 = 0xd;
/// Reflection coefficients.
const ORDER: usize = 8;
/// Sub-frames of a frame, and their samples.
const SUBFRAMES: usize = 4;
const SUBFRAME: usize = FRAME_SAMPLES / SUBFRAMES;
/// Pulses of a sub-frame.
const PULSES: usize = 13;
/// The lags of the long-term prediction.
const LAG_MIN: usize = 40;
const LAG_MAX: usize = 120;

/// Table 5.1: how log area ratios are quantized.
const LAR_A: [i16; ORDER] = [20480, 20480, 20480, 20480, 13964, 15360, 8534, 9036];
const LAR_B: [i16; ORDER] = [0, 0, 2048, -2560, 94, -1792, -341, -1144];
const LAR_MIN: [i16; ORDER] = [-32, -32, -16, -16, -8, -8, -4, -4];
const LAR_MAX: [i16; ORDER] = [31, 31, 15, 15, 7, 7, 3, 3];
const LAR_BITS: [u32; ORDER] = [6, 6, 5, 5, 4, 4, 3, 3];
/// Table 5.2: 1 / A.
const LAR_INVERSE_A: [i16; ORDER] = [13107, 13107, 13107, 13107, 19223, 17476, 31454, 29708];
/// Tables 5.3a, 5.3b: gains of the long-term prediction, decision levels and values.
const GAIN_LEVELS: [i16; 3] = [6554, 16384, 26214];
const GAINS: [i16; 4] = [3277, 11469, 21299, 32767];
/// Table 5.4: the weighting filter.
const WEIGHTS: [i32; 11] = [-134, -374, 0, 2054, 5741, 8192, 5741, 2054, 0, -374, -134];
/// Table 5.5: 1 / mantissa; table 5.6: mantissa.
const INVERSE_MANTISSAS: [i16; 8] = [29128, 26215, 23832, 21846, 20165, 18725, 17476, 16384];
const MANTISSAS: [i16; 8] = [18431, 20479, 22527, 24575, 26623, 28671, 30719, 32767];

// ---------------------------------------------------------------- §5.1: arithmetic

fn saturate(value: i32) -> i16 {
    value.clamp(-32768, 32767) as i16
}

fn add(a: i16, b: i16) -> i16 {
    a.saturating_add(b)
}

fn sub(a: i16, b: i16) -> i16 {
    a.saturating_sub(b)
}

/// The product of fractions, cut.
fn mult(a: i16, b: i16) -> i16 {
    saturate((i32::from(a) * i32::from(b)) >> 15)
}

/// The product of fractions, rounded.
fn mult_r(a: i16, b: i16) -> i16 {
    saturate((i32::from(a) * i32::from(b) + 16384) >> 15)
}

/// The magnitude; that of -32768 is 32767.
fn abs(a: i16) -> i16 {
    a.saturating_abs()
}

/// How far a value can go left without a change of sign.
fn norm(value: i32) -> u32 {
    let ones = if value < 0 { !value } else { value };
    ones.leading_zeros() - 1
}

/// `numerator` / `denominator` as a fraction, for 0 <= numerator <= denominator.
fn div(numerator: i16, denominator: i16) -> i16 {
    if numerator >= denominator {
        return 32767;
    }
    ((i32::from(numerator) << 15) / i32::from(denominator)) as i16
}

// ---------------------------------------------------------------- the bits

/// One sub-frame's parameters.
#[derive(Clone, Copy, Default, Debug)]
struct Subframe {
    lag: u8,
    gain: u8,
    grid: u8,
    block_maximum: u8,
    pulses: [u8; PULSES],
}

/// One frame's parameters.
#[derive(Clone, Copy, Default, Debug)]
struct Frame {
    ratios: [u8; ORDER],
    subframes: [Subframe; SUBFRAMES],
}

impl Frame {
    fn pack(&self) -> [u8; FRAME_SIZE] {
        let mut bits = Bits {
            bytes: [0; FRAME_SIZE],
            at: 0,
        };
        bits.put(SIGNATURE, 4);
        for (ratio, width) in self.ratios.iter().zip(LAR_BITS) {
            bits.put(*ratio, width);
        }
        for subframe in &self.subframes {
            bits.put(subframe.lag, 7);
            bits.put(subframe.gain, 2);
            bits.put(subframe.grid, 2);
            bits.put(subframe.block_maximum, 6);
            for pulse in subframe.pulses {
                bits.put(pulse, 3);
            }
        }
        bits.bytes
    }

    /// None if the signature is another.
    fn unpack(bytes: &[u8; FRAME_SIZE]) -> Option<Self> {
        let mut bits = Bits {
            bytes: *bytes,
            at: 0,
        };
        if bits.take(4) != SIGNATURE {
            return None;
        }
        let mut frame = Self::default();
        for (ratio, width) in frame.ratios.iter_mut().zip(LAR_BITS) {
            *ratio = bits.take(width);
        }
        for subframe in &mut frame.subframes {
            subframe.lag = bits.take(7);
            subframe.gain = bits.take(2);
            subframe.grid = bits.take(2);
            subframe.block_maximum = bits.take(6);
            for pulse in &mut subframe.pulses {
                *pulse = bits.take(3);
            }
        }
        Some(frame)
    }
}

/// Fields of at most 7 bits, most significant bit first.
struct Bits {
    bytes: [u8; FRAME_SIZE],
    at: usize,
}

impl Bits {
    fn put(&mut self, value: u8, width: u32) {
        let (byte, used) = (self.at / 8, (self.at % 8) as u32);
        let [high, low] = (u16::from(value) << (16 - used - width)).to_be_bytes();
        self.bytes[byte] |= high;
        if let Some(next) = self.bytes.get_mut(byte + 1) {
            *next |= low;
        }
        self.at += width as usize;
    }

    fn take(&mut self, width: u32) -> u8 {
        let (byte, used) = (self.at / 8, (self.at % 8) as u32);
        let next = self.bytes.get(byte + 1).copied().unwrap_or(0);
        let two = u16::from_be_bytes([self.bytes[byte], next]);
        self.at += width as usize;
        ((two << used) >> (16 - width)) as u8
    }
}

// ---------------------------------------------------------------- what both sides share

/// §5.2.8: the coded log area ratios, as numbers again.
fn decode_ratios(coded: &[u8; ORDER]) -> [i16; ORDER] {
    std::array::from_fn(|i| {
        let scaled = (i16::from(coded[i]) + LAR_MIN[i]) << 10;
        let value = mult_r(LAR_INVERSE_A[i], sub(scaled, LAR_B[i] << 1));
        add(value, value)
    })
}

/// The parts of a frame that each have filters of their own (§5.2.9.1).
const PARTS: [std::ops::Range<usize>; 4] = [0..13, 13..27, 27..40, 40..FRAME_SAMPLES];

/// §5.2.9: the reflection coefficients of one part, between the last frame's ratios and this one's.
fn coefficients(last: &[i16; ORDER], now: &[i16; ORDER], part: usize) -> [i16; ORDER] {
    std::array::from_fn(|i| {
        let (a, b) = (last[i], now[i]);
        let ratio = match part {
            0 => add(add(a >> 2, b >> 2), a >> 1),
            1 => add(a >> 1, b >> 1),
            2 => add(add(a >> 2, b >> 2), b >> 1),
            _ => b,
        };
        let size = abs(ratio);
        let size = if size < 11059 {
            size << 1
        } else if size < 20070 {
            size + 11059
        } else {
            add(size >> 2, 26112)
        };
        if ratio < 0 { -size } else { size }
    })
}

/// §5.2.15: exponent and mantissa of a coded block maximum.
fn exponent_and_mantissa(coded: u8) -> (i32, usize) {
    let coded = i32::from(coded);
    let mut exponent = if coded > 15 { (coded >> 3) - 1 } else { 0 };
    let mut mantissa = coded - (exponent << 3);
    if mantissa == 0 {
        return (-4, 7);
    }
    while mantissa <= 7 {
        mantissa = (mantissa << 1) | 1;
        exponent -= 1;
    }
    (exponent, (mantissa - 8) as usize & 7)
}

/// §5.2.16, §5.2.17: the pulses, on their grid among noughts.
fn decode_pulses(subframe: &Subframe) -> [i16; SUBFRAME] {
    let (exponent, mantissa) = exponent_and_mantissa(subframe.block_maximum);
    let shift = (6 - exponent).clamp(0, 15);
    let half = if shift == 0 { 0 } else { 1 << (shift - 1) };
    let mut samples = [0; SUBFRAME];
    let places = samples
        .iter_mut()
        .skip(usize::from(subframe.grid))
        .step_by(3);
    for (place, pulse) in places.zip(subframe.pulses) {
        let value = ((i16::from(pulse) << 1) - 7) << 12;
        *place = add(mult_r(MANTISSAS[mantissa], value), half) >> shift;
    }
    samples
}

/// The past of the long-term prediction, the oldest first.
#[derive(Clone, Debug)]
struct Past([i16; LAG_MAX]);

impl Past {
    const fn new() -> Self {
        Self([0; LAG_MAX])
    }

    /// The sub-frame `lag` samples back, times the gain.
    fn predict(&self, lag: usize, gain: u8) -> [i16; SUBFRAME] {
        let gain = GAINS[usize::from(gain & 3)];
        let from = LAG_MAX - lag.clamp(LAG_MIN, LAG_MAX);
        std::array::from_fn(|k| mult_r(gain, self.0[from + k]))
    }

    /// Takes in the sub-frame that is now past.
    fn push(&mut self, samples: &[i16; SUBFRAME]) {
        self.0.copy_within(SUBFRAME..LAG_MAX, 0);
        self.0[LAG_MAX - SUBFRAME..].copy_from_slice(samples);
    }
}

// ---------------------------------------------------------------- encoder

/// Samples to frames.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// §5.2.2: offset compensation.
    offset_input: i16,
    offset_output: i32,
    /// §5.2.3: pre-emphasis.
    emphasis: i16,
    /// §5.2.10: short-term analysis filter.
    lattice: [i16; ORDER],
    ratios: [i16; ORDER],
    past: Past,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            offset_input: 0,
            offset_output: 0,
            emphasis: 0,
            lattice: [0; ORDER],
            ratios: [0; ORDER],
            past: Past::new(),
        }
    }
}

impl Encoder {
    /// Frames of 160 samples to 33 bytes each; a last one that is not full is filled with silence.
    /// Says how many bytes.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let (places, _) = payload.as_chunks_mut::<FRAME_SIZE>();
        let mut frames = 0;
        for (place, input) in places.iter_mut().zip(samples.chunks(FRAME_SAMPLES)) {
            let mut full = [0; FRAME_SAMPLES];
            full[..input.len()].copy_from_slice(input);
            *place = self.frame(full).pack();
            frames += 1;
        }
        frames * FRAME_SIZE
    }

    fn frame(&mut self, mut samples: [i16; FRAME_SAMPLES]) -> Frame {
        self.preprocess(&mut samples);
        let reflections = reflections(autocorrelation(&mut samples));
        let mut frame = Frame {
            ratios: code_ratios(&reflections),
            ..Frame::default()
        };
        let ratios = decode_ratios(&frame.ratios);
        for (part, range) in PARTS.into_iter().enumerate() {
            let filter = coefficients(&self.ratios, &ratios, part);
            self.analyse(&filter, &mut samples[range]);
        }
        self.ratios = ratios;
        let (blocks, _) = samples.as_chunks::<SUBFRAME>();
        for (subframe, residual) in frame.subframes.iter_mut().zip(blocks) {
            *subframe = self.subframe(residual);
        }
        frame
    }

    /// §5.2.1 to §5.2.3.
    fn preprocess(&mut self, samples: &mut [i16; FRAME_SAMPLES]) {
        for sample in samples {
            let scaled = (*sample >> 3) << 2;
            let change = i32::from(scaled) - i32::from(self.offset_input);
            self.offset_input = scaled;
            let high = (self.offset_output >> 15) as i16;
            let low = (self.offset_output - (i32::from(high) << 15)) as i16;
            let kept = (change << 15).saturating_add(i32::from(mult_r(low, 32735)));
            self.offset_output = (i32::from(high) * 32735).saturating_add(kept);
            let level = (self.offset_output.saturating_add(16384) >> 15) as i16;
            *sample = add(level, mult_r(self.emphasis, -28180));
            self.emphasis = level;
        }
    }

    /// §5.2.10: the short-term residual, in place.
    fn analyse(&mut self, filter: &[i16; ORDER], samples: &mut [i16]) {
        for sample in samples {
            let mut forward = *sample;
            let mut backward = forward;
            for (state, r) in self.lattice.iter_mut().zip(filter) {
                let old = *state;
                *state = backward;
                backward = add(old, mult_r(*r, forward));
                forward = add(forward, mult_r(*r, old));
            }
            *sample = forward;
        }
    }

    /// §5.2.11 to §5.2.18.
    fn subframe(&mut self, residual: &[i16; SUBFRAME]) -> Subframe {
        let (lag, gain) = self.lag_and_gain(residual);
        let prediction = self.past.predict(usize::from(lag), gain);
        let error = std::array::from_fn(|k| sub(residual[k], prediction[k]));
        let mut subframe = code_pulses(&weigh(&error));
        (subframe.lag, subframe.gain) = (lag, gain);
        let pulses = decode_pulses(&subframe);
        let rebuilt = std::array::from_fn(|k| add(pulses[k], prediction[k]));
        self.past.push(&rebuilt);
        subframe
    }

    /// §5.2.11: where in the past the residual is most alike, and how much of it to take.
    fn lag_and_gain(&self, residual: &[i16; SUBFRAME]) -> (u8, u8) {
        let maximum = residual.iter().fold(0, |max, d| abs(*d).max(max));
        let headroom = if maximum == 0 {
            0
        } else {
            norm(i32::from(maximum) << 16)
        };
        let scale = 6u32.saturating_sub(headroom);
        let scaled: [i16; SUBFRAME] = std::array::from_fn(|k| residual[k] >> scale);
        let (mut best, mut lag) = (0, LAG_MIN);
        for candidate in LAG_MIN..=LAG_MAX {
            let window = &self.past.0[LAG_MAX - candidate..][..SUBFRAME];
            let alike: i32 = scaled
                .iter()
                .zip(window)
                .map(|(a, b)| i32::from(*a) * i32::from(*b))
                .sum();
            if alike > best {
                (best, lag) = (alike, candidate);
            }
        }
        let best = (best << 1) >> (6 - scale);
        let window = &self.past.0[LAG_MAX - lag..][..SUBFRAME];
        let power = window.iter().fold(0, |sum, sample| {
            let small = i32::from(*sample >> 3);
            sum + small * small
        }) << 1;
        let gain = if best <= 0 {
            0
        } else if best >= power {
            3
        } else {
            let shift = norm(power);
            let (r, s) = ((best << shift) >> 16, (power << shift) >> 16);
            let above = |level: &&i16| r > i32::from(mult(s as i16, **level));
            GAIN_LEVELS.iter().take_while(above).count() as u8
        };
        (lag as u8, gain)
    }
}

/// §5.2.4: correlation of the frame with itself, scaled so that no sum overflows. The samples lose
/// the bits that the scaling took, as the text wants it.
fn autocorrelation(samples: &mut [i16; FRAME_SAMPLES]) -> [i32; ORDER + 1] {
    let maximum = samples.iter().fold(0, |max, s| abs(*s).max(max));
    let scale = if maximum == 0 {
        0
    } else {
        4u32.saturating_sub(norm(i32::from(maximum) << 16))
    };
    let scaled: [i16; FRAME_SAMPLES] = match scale {
        0 => *samples,
        scale => std::array::from_fn(|k| mult_r(samples[k], 16384 >> (scale - 1))),
    };
    *samples = scaled.map(|s| s << scale);
    std::array::from_fn(|lag| {
        let products = scaled[lag..].iter().zip(&scaled);
        products
            .map(|(a, b)| i32::from(*a) * i32::from(*b))
            .sum::<i32>()
            << 1
    })
}

/// §5.2.5: Schur's recursion.
fn reflections(correlation: [i32; ORDER + 1]) -> [i16; ORDER] {
    let mut out = [0; ORDER];
    if correlation[0] == 0 {
        return out;
    }
    let shift = norm(correlation[0]);
    let mut p = correlation.map(|c| ((c << shift) >> 16) as i16);
    let mut k = p;
    for n in 0..ORDER {
        let size = abs(p[1]);
        if p[0] < size {
            return out;
        }
        let r = div(size, p[0]);
        let r = if p[1] > 0 { -r } else { r };
        out[n] = r;
        p[0] = add(p[0], mult_r(p[1], r));
        for m in 1..ORDER - n {
            let next = p[m + 1];
            p[m] = add(next, mult_r(k[m], r));
            k[m] = add(k[m], mult_r(next, r));
        }
    }
    out
}

/// §5.2.6, §5.2.7: reflection coefficients to coded log area ratios.
fn code_ratios(reflections: &[i16; ORDER]) -> [u8; ORDER] {
    std::array::from_fn(|i| {
        let size = abs(reflections[i]);
        let size = if size < 22118 {
            size >> 1
        } else if size < 31130 {
            size - 11059
        } else {
            (size - 26112) << 2
        };
        let ratio = if reflections[i] < 0 { -size } else { size };
        let scaled = add(add(mult(LAR_A[i], ratio), LAR_B[i]), 256) >> 9;
        (scaled.clamp(LAR_MIN[i], LAR_MAX[i]) - LAR_MIN[i]) as u8
    })
}

/// §5.2.13: the weighting filter, whose ends reach into noughts.
fn weigh(error: &[i16; SUBFRAME]) -> [i16; SUBFRAME] {
    let reach = WEIGHTS.len() / 2;
    let mut padded = [0; SUBFRAME + 10];
    padded[reach..reach + SUBFRAME].copy_from_slice(error);
    std::array::from_fn(|k| {
        let products = padded[k..].iter().zip(WEIGHTS);
        let sum: i32 = products.map(|(e, h)| i32::from(*e) * h).sum();
        saturate((sum + 4096) >> 13)
    })
}

/// §5.2.14, §5.2.15: the grid with the most energy, and its pulses by block-adaptive PCM.
fn code_pulses(weighted: &[i16; SUBFRAME]) -> Subframe {
    let (mut most, mut grid) = (0, 0);
    for candidate in 0..4 {
        let on_grid = weighted.iter().skip(candidate).step_by(3).take(PULSES);
        let energy = on_grid.fold(0, |sum, x| {
            let small = i32::from(*x >> 2);
            sum + small * small
        });
        if energy > most {
            (most, grid) = (energy, candidate);
        }
    }
    let on_grid: [i16; PULSES] = std::array::from_fn(|i| weighted[grid + 3 * i]);
    let maximum = on_grid.iter().fold(0, |max, x| abs(*x).max(max));
    let octave = (16 - (maximum >> 9).leading_zeros()).min(6);
    let block_maximum = ((maximum >> (octave + 5)) as u8) + (octave << 3) as u8;
    let (exponent, mantissa) = exponent_and_mantissa(block_maximum);
    let pulses = on_grid.map(|x| {
        let scaled = (i32::from(x) << (6 - exponent)) as i16;
        ((mult(scaled, INVERSE_MANTISSAS[mantissa]) >> 12) + 4) as u8 & 7
    });
    Subframe {
        lag: 0,
        gain: 0,
        grid: grid as u8,
        block_maximum,
        pulses,
    }
}

// ---------------------------------------------------------------- decoder

/// Frames to samples.
#[derive(Clone, Debug)]
pub struct Decoder {
    lag: u8,
    past: Past,
    ratios: [i16; ORDER],
    /// §5.3.4: short-term synthesis filter.
    lattice: [i16; ORDER + 1],
    /// §5.3.5: de-emphasis.
    emphasis: i16,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            lag: LAG_MIN as u8,
            past: Past::new(),
            ratios: [0; ORDER],
            lattice: [0; ORDER + 1],
            emphasis: 0,
        }
    }
}

impl Decoder {
    /// Frames of 33 bytes to 160 samples each; says how many samples. A frame without the signature
    /// is silence, and what is left of a broken one is nothing.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        let (frames, _) = payload.as_chunks::<FRAME_SIZE>();
        let (places, _) = samples.as_chunks_mut::<FRAME_SAMPLES>();
        let mut count = 0;
        for (place, bytes) in places.iter_mut().zip(frames) {
            match Frame::unpack(bytes) {
                Some(frame) => self.frame(&frame, place),
                None => place.fill(0),
            }
            count += FRAME_SAMPLES;
        }
        count
    }

    fn frame(&mut self, frame: &Frame, samples: &mut [i16; FRAME_SAMPLES]) {
        let (blocks, _) = samples.as_chunks_mut::<SUBFRAME>();
        for (block, subframe) in blocks.iter_mut().zip(&frame.subframes) {
            // §5.3.2: a lag that cannot be means that the last one stays.
            if (LAG_MIN..=LAG_MAX).contains(&usize::from(subframe.lag)) {
                self.lag = subframe.lag;
            }
            let pulses = decode_pulses(subframe);
            let prediction = self.past.predict(usize::from(self.lag), subframe.gain);
            *block = std::array::from_fn(|k| add(pulses[k], prediction[k]));
            self.past.push(block);
        }
        let ratios = decode_ratios(&frame.ratios);
        for (part, range) in PARTS.into_iter().enumerate() {
            let filter = coefficients(&self.ratios, &ratios, part);
            self.synthesise(&filter, &mut samples[range]);
        }
        self.ratios = ratios;
        for sample in samples {
            self.emphasis = add(*sample, mult_r(self.emphasis, 28180));
            *sample = add(self.emphasis, self.emphasis) & !7;
        }
    }

    /// §5.3.4, in place.
    fn synthesise(&mut self, filter: &[i16; ORDER], samples: &mut [i16]) {
        for sample in samples {
            for i in (0..ORDER).rev() {
                *sample = sub(*sample, mult_r(filter[i], self.lattice[i]));
                self.lattice[i + 1] = add(self.lattice[i], mult_r(filter[i], *sample));
            }
            self.lattice[0] = *sample;
        }
    }
}
