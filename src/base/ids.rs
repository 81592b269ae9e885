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

/// Tries for a Call-ID of a shard, for each shard there is: none of so many fits in one of 10^27
/// calls.
const CALL_ID_TRIES: usize = 64;

/// A Call-ID whose messages come to `shard`: the first that fits of those that `make` makes.
pub fn call_id_of(shard: usize, shards: usize, mut make: impl FnMut() -> String) -> String {
    let mut call_id = make();
    for _ in 1..CALL_ID_TRIES * shards.max(1) {
        if shard_of(call_id.as_bytes(), shards) == shard {
            break;
        }
        call_id = make();
    }
    call_id
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
    use super::*;

    #[test]
    fn call_ids_are_made_for_any_shard() {
        for shards in [1, 2, 7, 64] {
            for shard in 0..shards {
                let mut count = 0;
                let call_id = call_id_of(shard, shards, || {
                    count += 1;
                    format!("call-{shard}-{count}@host")
                });
                assert_eq!(shard_of(call_id.as_bytes(), shards), shard, "{call_id}");
            }
        }
    }

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
