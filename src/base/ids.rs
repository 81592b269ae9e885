//! Stable hashing: the same bytes give the same number in every process and run.

/// FNV-1a over `bytes`, finished by a mixer (the finaliser of SplitMix64) so that the low bits are
/// usable for picking a shard. Not keyed: an adversary can choose collisions, so tables that hold
/// what strangers name bound their chains or use a keyed hasher.
pub fn hash64(bytes: &[u8]) -> u64 {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325;
    for &b in bytes {
        h = (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix64(h)
}

/// Which of `shards` shards, at least one, owns the messages of a Call-ID.
pub fn shard_of(call_id: &[u8], shards: usize) -> usize {
    let shards = shards.max(1) as u64;
    usize::try_from(hash64(call_id) % shards).unwrap_or(0)
}

/// The finaliser of SplitMix64: every bit of `h` reaches every bit of the result, and no two
/// numbers have one result.
pub const fn mix64(mut h: u64) -> u64 {
    h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ (h >> 31)
}

#[cfg(test)]
mod tests {
    use super::hash64;

    #[test]
    fn spreads_low_bits() {
        let mut buckets = [0usize; 4];
        for i in 0..4000 {
            buckets[(hash64(format!("call-{i}@host").as_bytes()) & 3) as usize] += 1;
        }
        assert!(
            buckets.iter().all(|&n| (850..1150).contains(&n)),
            "{buckets:?}"
        );
    }
}
