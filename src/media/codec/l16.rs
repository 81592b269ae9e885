//! L16: linear samples of 16 bits in network byte order (RFC 3551 §4.5.11).

/// Writes samples; says how many bytes.
pub fn encode(samples: &[i16], payload: &mut [u8]) -> usize {
    let (places, _) = payload.as_chunks_mut::<2>();
    let count = samples.len().min(places.len());
    for (place, sample) in places.iter_mut().zip(samples) {
        *place = sample.to_be_bytes();
    }
    count * 2
}

/// Reads samples; says how many. An odd last byte is left.
pub fn decode(payload: &[u8], samples: &mut [i16]) -> usize {
    let (pairs, _) = payload.as_chunks::<2>();
    let count = samples.len().min(pairs.len());
    for (sample, pair) in samples.iter_mut().zip(pairs) {
        *sample = i16::from_be_bytes(*pair);
    }
    count
}
