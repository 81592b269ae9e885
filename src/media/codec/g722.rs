//! G.722 at 64 kbit/s (ITU-T G.722, mode 1): 16 kHz sound in two bands of ADPCM, six bits for the
//! lower and two for the upper.
//!
//! Names are the Recommendation's blocks (§6.2.1 to §6.2.3); its 16-bit arithmetic, saturation
//! included, is kept, so that the ITU's test sequences come out bit for bit. An octet holds the
//! upper band's bits first (RFC 3551 §4.5.2). Modes 2 and 3 (56, 48 kbit/s) are not done: RFC 3551
//! has no use for them.

/// QMF coefficients h0 to h11 of 24, which are symmetric (G.722 table 4), times 2^13.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Decision levels of the 60-level quantizer (table 14, Q6), filled up to 32.
const Q6: [i32; 32] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940,
    1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919, 0, 0,
];
/// How many there are.
const LEVELS: usize = 30;

/// The codes of the intervals above each level, for positive and negative errors (table 14).
const LOWER_CODES: [[u8; 32]; 2] = {
    let mut codes = [[0; 32]; 2];
    let mut at = 0;
    while at < LEVELS {
        codes[0][at] = 61 - at as u8;
        codes[1][at] = if at < 2 { 63 } else { 33 } - at as u8;
        at += 1;
    }
    codes
};

/// Output of the 15-level inverse quantizer by the code's four leading bits (table 17, QQ4).
const QM4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];

/// Output of the 60-level inverse quantizer by all six bits (table 17, QQ6).
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];

/// Output of the upper band's four-level inverse quantizer (table 18).
const QM2: [i32; 4] = [-7408, -1616, 7408, 1616];

/// The lower scale factor's multipliers by four leading bits (table 17, WL of IL4).
const WL: [i32; 16] = [
    -60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60,
];

/// The upper scale factor's multipliers (table 18, WH of IH2).
const WH: [i32; 4] = [798, -214, 798, -214];

/// 2048 * 2^(n / 32), the antilogarithm's mantissas (table 16, ILB).
const ILB: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// The upper quantizer's only decision level (table 15, Q2).
const Q2: i32 = 564;

/// The upper band's codes for positive and negative errors, below and above the level (table 15).
const UPPER_CODES: [[u8; 2]; 2] = [[3, 2], [1, 0]];

fn saturate(value: i32) -> i32 {
    value.clamp(-32768, 32767)
}

/// The predictor of either band, the same in encoder and decoder: two poles, six zeros.
#[derive(Clone, Debug)]
struct Predictor {
    /// a1, a2.
    poles: [i32; 2],
    /// b1 to b6.
    zeros: [i32; 6],
    /// Quantized differences, the last first.
    differences: [i32; 6],
    /// Partly reconstructed signal, the last first.
    partial: [i32; 2],
    /// The last reconstructed sample.
    reconstructed: i32,
    /// The zeros' part of the estimate.
    zeros_estimate: i32,
    /// The estimate of the next sample (SL, SH).
    estimate: i32,
    /// The logarithmic scale factor (NBL, NBH).
    log_scale: i32,
    /// The scale factor (DETL, DETH).
    scale: i32,
}

impl Predictor {
    fn new(scale: i32) -> Self {
        Self {
            poles: [0; 2],
            zeros: [0; 6],
            differences: [0; 6],
            partial: [0; 2],
            reconstructed: 0,
            zeros_estimate: 0,
            estimate: 0,
            log_scale: 0,
            scale,
        }
    }

    /// LOGSCL and SCALEL, or LOGSCH and SCALEH.
    #[inline]
    fn adapt_scale(&mut self, weight: i32, log_max: i32, octave: i32) {
        self.log_scale = (((self.log_scale * 127) >> 7) + weight).clamp(0, log_max);
        let mantissa = ILB[((self.log_scale >> 6) & 31) as usize];
        let shift = octave - (self.log_scale >> 11);
        self.scale = if shift < 0 {
            mantissa << -shift
        } else {
            mantissa >> shift
        } << 2;
    }

    /// PARREC, RECONS, UPPOL2, UPPOL1, UPZERO, FILTEP, FILTEZ, PREDIC.
    #[inline]
    fn adapt(&mut self, difference: i32) {
        let partial = saturate(difference + self.zeros_estimate);
        let reconstructed = saturate(self.estimate + difference);
        let same1 = (partial ^ self.partial[0]) >= 0;
        let same2 = (partial ^ self.partial[1]) >= 0;

        let four = saturate(self.poles[0] << 2);
        let turned = if same1 { saturate(-four) } else { four } >> 7;
        let leaked = (self.poles[1] * 32512) >> 15;
        let pole2 = (turned + if same2 { 128 } else { -128 } + leaked).clamp(-12288, 12288);
        let limit = 15360 - pole2;
        let leaked = (self.poles[0] * 32640) >> 15;
        let pole1 = (leaked + if same1 { 192 } else { -192 }).clamp(-limit, limit);

        let step = if difference == 0 { 0 } else { 128 };
        for (zero, old) in self.zeros.iter_mut().zip(&self.differences) {
            let move_by = if (difference ^ old) >= 0 { step } else { -step };
            *zero = ((*zero * 32640) >> 15) + move_by;
        }
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;

        let of_poles = saturate(
            ((saturate(reconstructed << 1) * pole1) >> 15)
                + ((saturate(self.reconstructed << 1) * pole2) >> 15),
        );
        self.poles = [pole1, pole2];
        self.partial = [partial, self.partial[0]];
        self.reconstructed = reconstructed;
        // The Recommendation adds from the oldest on, and saturates at each sum. Where all together
        // stay within 16 bits, no sum did, and the order is free.
        let products: [i32; 6] =
            std::array::from_fn(|i| (saturate(self.differences[i] << 1) * self.zeros[i]) >> 15);
        let of_zeros = if products.iter().map(|p| p.abs()).sum::<i32>() <= 32767 {
            products.iter().sum()
        } else {
            products.iter().rev().fold(0, |sum, p| saturate(sum + p))
        };
        self.zeros_estimate = of_zeros;
        self.estimate = saturate(of_poles + of_zeros);
    }
}

/// What both bands of either side remember.
#[derive(Clone, Debug)]
struct Bands {
    lower: Predictor,
    upper: Predictor,
}

impl Default for Bands {
    fn default() -> Self {
        Self {
            lower: Predictor::new(32),
            upper: Predictor::new(8),
        }
    }
}

impl Bands {
    /// What follows a lower code on both sides: the four leading bits alone adapt.
    #[inline]
    fn adapt_lower(&mut self, code: u8) {
        let four = usize::from(code >> 2 & 15);
        let difference = (self.lower.scale * QM4[four]) >> 15;
        self.lower.adapt_scale(WL[four], 18432, 8);
        self.lower.adapt(difference);
    }

    /// What follows an upper code on both sides.
    #[inline]
    fn adapt_upper(&mut self, code: u8) {
        let two = usize::from(code & 3);
        let difference = (self.upper.scale * QM2[two]) >> 15;
        self.upper.adapt_scale(WH[two], 22528, 10);
        self.upper.adapt(difference);
    }

    /// SUBTRA and QUANTL: six bits.
    #[inline]
    fn encode_lower(&mut self, sample: i32) -> u8 {
        let error = saturate(sample - self.lower.estimate);
        let magnitude = if error < 0 { !error } else { error };
        // The levels rise, so halving finds the place among them. Without a branch: noise decides
        // each, so half of them would be guessed wrong.
        let scale = self.lower.scale;
        let mut low = 0;
        for half in [16, 8, 4, 2, 1] {
            let at = low + half;
            let above = (at < LEVELS) & (magnitude >= (Q6[at & 31] * scale) >> 12);
            low += half * usize::from(above);
        }
        let code = LOWER_CODES[usize::from(error < 0)][low & 31];
        self.adapt_lower(code);
        code
    }

    /// SUBTRA and QUANTH: two bits.
    #[inline]
    fn encode_upper(&mut self, sample: i32) -> u8 {
        let error = saturate(sample - self.upper.estimate);
        let magnitude = if error < 0 { !error } else { error };
        let outer = magnitude >= (Q2 * self.upper.scale) >> 12;
        let code = UPPER_CODES[usize::from(error < 0)][usize::from(outer)];
        self.adapt_upper(code);
        code
    }
}

/// Samples that the QMF looks back.
const HISTORY: usize = 22;
/// Octets that are worked at once, with their history on the stack.
const CHUNK: usize = 80;

/// The two sums of a QMF over 24 samples, even ones and odd ones.
#[inline]
fn qmf(window: &[i16; HISTORY + 2]) -> (i32, i32) {
    let (pairs, _) = window.as_chunks::<2>();
    let mut sums = (0, 0);
    for at in 0..QMF.len() {
        sums.0 += i32::from(pairs[at][0]) * QMF[at];
        sums.1 += i32::from(pairs[at][1]) * QMF[QMF.len() - 1 - at];
    }
    sums
}

/// Samples to octets.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    bands: Bands,
    history: [i16; HISTORY],
}

impl Encoder {
    /// Two samples at 16 kHz to one octet; an odd last one is paired with silence. Says how many
    /// octets.
    pub fn encode(&mut self, samples: &[i16], payload: &mut [u8]) -> usize {
        let octets = samples.len().div_ceil(2).min(payload.len());
        let mut line = [0; HISTORY + 2 * CHUNK];
        for (out, input) in payload[..octets]
            .chunks_mut(CHUNK)
            .zip(samples.chunks(2 * CHUNK))
        {
            line[..HISTORY].copy_from_slice(&self.history);
            line[HISTORY + input.len()..].fill(0);
            line[HISTORY..HISTORY + input.len()].copy_from_slice(input);
            for (octet, window) in out.iter_mut().zip(line.windows(HISTORY + 2).step_by(2)) {
                *octet = window.first_chunk().map_or(0, |window| self.octet(window));
            }
            let done = 2 * out.len();
            self.history.copy_from_slice(&line[done..done + HISTORY]);
        }
        octets
    }

    #[inline]
    fn octet(&mut self, window: &[i16; HISTORY + 2]) -> u8 {
        let (even, odd) = qmf(window);
        let lower = ((odd + even) >> 14).clamp(-16384, 16383);
        let upper = ((odd - even) >> 14).clamp(-16384, 16383);
        self.bands.encode_upper(upper) << 6 | self.bands.encode_lower(lower)
    }
}

/// Octets to samples.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    bands: Bands,
    history: [i16; HISTORY],
}

impl Decoder {
    /// One octet to two samples at 16 kHz; says how many samples.
    pub fn decode(&mut self, payload: &[u8], samples: &mut [i16]) -> usize {
        let (places, _) = samples.as_chunks_mut::<2>();
        let octets = payload.len().min(places.len());
        let mut line = [0; HISTORY + 2 * CHUNK];
        for (input, out) in payload[..octets]
            .chunks(CHUNK)
            .zip(places.chunks_mut(CHUNK))
        {
            line[..HISTORY].copy_from_slice(&self.history);
            let (sums, _) = line[HISTORY..].as_chunks_mut::<2>();
            for (sum, octet) in sums.iter_mut().zip(input) {
                *sum = self.bands_of(*octet);
            }
            for (place, window) in out.iter_mut().zip(line.windows(HISTORY + 2).step_by(2)) {
                let (even, odd) = window.first_chunk().map_or((0, 0), qmf);
                *place = [saturate(odd >> 11) as i16, saturate(even >> 11) as i16];
            }
            let done = 2 * input.len();
            self.history.copy_from_slice(&line[done..done + HISTORY]);
        }
        octets * 2
    }

    /// The sum and the difference of the two bands' next samples. Each band is limited to 15 bits,
    /// so neither overflows.
    #[inline]
    fn bands_of(&mut self, octet: u8) -> [i16; 2] {
        let (lower, upper) = (&self.bands.lower, &self.bands.upper);
        let difference = (lower.scale * QM6[usize::from(octet & 63)]) >> 15;
        let low = saturate(lower.estimate + difference).clamp(-16384, 16383);
        let difference = (upper.scale * QM2[usize::from(octet >> 6)]) >> 15;
        let high = saturate(upper.estimate + difference).clamp(-16384, 16383);
        self.bands.adapt_lower(octet & 63);
        self.bands.adapt_upper(octet >> 6);
        [(low + high) as i16, (low - high) as i16]
    }
}
