//! G.711: 14 (u-law) or 13 bits (A-law) of sample in 8, by segments of doubling steps.
//!
//! The laws are ITU-T G.711 tables 1 and 2. Between two decision values, the tables here go the
//! way of the ITU's reference programs (G.191): a negative sample is folded by its ones'
//! complement, so that -1 and 0 are neighbours at the same distance from nought.

/// What u-law adds before it looks for the segment: 33 of 14 bits.
const ULAW_BIAS: i32 = 33;
/// The largest magnitude, biased, of 14 bits.
const ULAW_MAX: i32 = 0x1fff;

const fn ulaw_from_14_bits(value: i32) -> u8 {
    let folded = if value < 0 { !value } else { value } + ULAW_BIAS;
    let magnitude = if folded > ULAW_MAX { ULAW_MAX } else { folded };
    // The topmost set bit is 5 in segment 0 and 12 in segment 7.
    let segment = 26 - magnitude.leading_zeros() as i32;
    let step = (magnitude >> (segment + 1)) & 15;
    let sign = if value < 0 { 0 } else { 0x80 };
    // All bits but the sign's travel inverted (G.711 table 2, note 2).
    (sign | (0x7f ^ ((segment << 4) | step))) as u8
}

const fn ulaw_to_16_bits(code: u8) -> i16 {
    let bits = !code as i32;
    let magnitude = ((((bits & 15) << 1) + ULAW_BIAS) << ((bits >> 4) & 7)) - ULAW_BIAS;
    (if bits & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    } << 2) as i16
}

const fn alaw_from_13_bits(value: i32) -> u8 {
    // The law looks at 11 bits of magnitude.
    let magnitude = if value < 0 { !value } else { value } >> 1;
    // Segments 0 and 1 have the same step; from there on each doubles it.
    let code = if magnitude < 32 {
        magnitude
    } else {
        let shift = 27 - magnitude.leading_zeros() as i32;
        ((shift + 1) << 4) | ((magnitude >> shift) & 15)
    };
    let sign = if value < 0 { 0 } else { 0x80 };
    // Even bits travel inverted (G.711 table 1, note 2).
    ((sign | code) ^ 0x55) as u8
}

const fn alaw_to_16_bits(code: u8) -> i16 {
    let bits = (code ^ 0x55) as i32;
    let segment = (bits >> 4) & 7;
    // The middle of the step, in 13 bits.
    let step = ((bits & 15) << 1) + 1;
    let magnitude = if segment == 0 {
        step
    } else {
        (step + 32) << (segment - 1)
    };
    (if bits & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    } << 3) as i16
}

const ULAW_CODES: usize = 1 << 14;
const ALAW_CODES: usize = 1 << 13;

static ULAW_OF: [u8; ULAW_CODES] = {
    let mut table = [0; ULAW_CODES];
    let mut at = 0;
    while at < ULAW_CODES {
        table[at] = ulaw_from_14_bits(at as i32 - (ULAW_CODES / 2) as i32);
        at += 1;
    }
    table
};

static ALAW_OF: [u8; ALAW_CODES] = {
    let mut table = [0; ALAW_CODES];
    let mut at = 0;
    while at < ALAW_CODES {
        table[at] = alaw_from_13_bits(at as i32 - (ALAW_CODES / 2) as i32);
        at += 1;
    }
    table
};

static OF_ULAW: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = ulaw_to_16_bits(code as u8);
        code += 1;
    }
    table
};

static OF_ALAW: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = alaw_to_16_bits(code as u8);
        code += 1;
    }
    table
};

/// One sample in u-law.
pub fn ulaw(sample: i16) -> u8 {
    // The shift leaves 14 bits, so no index is out of the table.
    ULAW_OF[((i32::from(sample) >> 2) + 8192) as usize & (ULAW_CODES - 1)]
}

/// One sample in A-law.
pub fn alaw(sample: i16) -> u8 {
    ALAW_OF[((i32::from(sample) >> 3) + 4096) as usize & (ALAW_CODES - 1)]
}

/// The sample of a u-law byte.
pub fn of_ulaw(code: u8) -> i16 {
    OF_ULAW[usize::from(code)]
}

/// The sample of an A-law byte.
pub fn of_alaw(code: u8) -> i16 {
    OF_ALAW[usize::from(code)]
}

/// Encodes as many samples as `payload` holds; says how many.
pub fn ulaw_encode(samples: &[i16], payload: &mut [u8]) -> usize {
    for (code, sample) in payload.iter_mut().zip(samples) {
        *code = ulaw(*sample);
    }
    samples.len().min(payload.len())
}

/// Encodes as many samples as `payload` holds; says how many.
pub fn alaw_encode(samples: &[i16], payload: &mut [u8]) -> usize {
    for (code, sample) in payload.iter_mut().zip(samples) {
        *code = alaw(*sample);
    }
    samples.len().min(payload.len())
}

/// Decodes as many bytes as `samples` holds; says how many.
pub fn ulaw_decode(payload: &[u8], samples: &mut [i16]) -> usize {
    for (sample, code) in samples.iter_mut().zip(payload) {
        *sample = of_ulaw(*code);
    }
    samples.len().min(payload.len())
}

/// Decodes as many bytes as `samples` holds; says how many.
pub fn alaw_decode(payload: &[u8], samples: &mut [i16]) -> usize {
    for (sample, code) in samples.iter_mut().zip(payload) {
        *sample = of_alaw(*code);
    }
    samples.len().min(payload.len())
}
