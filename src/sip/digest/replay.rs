//! Which nonce counts were used: RFC 7616 §3.4, "nc". A cache of fixed size, shared by all shards.
//!
//! It never lets a replay through, however small it is. A nonce that has to leave raises its set's
//! watermark to the time at which it was made; a nonce that is not in the cache and not younger
//! than the watermark may have been here before, so it counts as stale and its sender gets a new
//! one.
//! Only credentials that verified enter, so strangers cannot push anything out.

use super::nonce::Nonce;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Sets of the cache.
const SETS: usize = 8192;
/// Nonces per set. 8192 * 8 * 24 bytes are 1.5 MB.
const WAYS: usize = 8;
/// How far a count may lag behind the highest one: requests overtake each other.
const WINDOW: u32 = 64;

/// The counts used with one nonce.
#[derive(Clone, Copy, Default, Debug)]
struct Used {
    serial: u64,
    made_at: u32,
    /// Zero: the place is free.
    highest: u32,
    /// Bit n: `highest - n` was used.
    window: u64,
}

#[derive(Debug, Default)]
struct Set {
    ways: [Used; WAYS],
    /// What was made at this second or before may have been forgotten.
    watermark: u32,
}

/// What the cache says of a nonce and its count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// Not seen before; now it is.
    First,
    /// Seen before.
    Replay,
    /// The cache cannot tell.
    Unknown,
}

/// The counts used with recent nonces. Make one and share it between the shards of a process.
#[derive(Debug)]
pub struct Replays {
    sets: Vec<Mutex<Set>>,
    serial: AtomicU64,
    /// Unix seconds of the first use; zero before it. What is older comes from another life of the
    /// process, whose counts are not known.
    born: AtomicU64,
}

impl Default for Replays {
    fn default() -> Self {
        Self::new()
    }
}

impl Replays {
    /// Nothing used yet.
    pub fn new() -> Self {
        Self::with_sets(SETS)
    }

    /// For about so many nonces, where memory matters more than a second challenge.
    pub fn with_capacity(nonces: usize) -> Self {
        Self::with_sets(nonces.div_ceil(WAYS))
    }

    pub(super) fn with_sets(sets: usize) -> Self {
        Self {
            sets: (0..sets.max(1)).map(|_| Mutex::default()).collect(),
            serial: AtomicU64::new(0),
            born: AtomicU64::new(0),
        }
    }

    /// Since when counts are known.
    pub(super) fn born(&self, unix_seconds: u64) -> u64 {
        let fresh =
            self.born
                .compare_exchange(0, unix_seconds, Ordering::Relaxed, Ordering::Relaxed);
        fresh.map_or_else(|born| born, |_| unix_seconds)
    }

    /// A number for a new nonce.
    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Marks a count as used. `forget_before`: nonces made earlier are stale anyway.
    pub(super) fn note(&self, nonce: Nonce, count: u32, forget_before: u32) -> Use {
        let index = (nonce.serial % self.sets.len() as u64) as usize;
        let Some(set) = self.sets.get(index) else {
            return Use::Unknown;
        };
        let mut guard = set.lock().unwrap_or_else(PoisonError::into_inner);
        let set = &mut *guard;
        let known = set.ways.iter_mut().find(|used| {
            used.highest != 0 && used.serial == nonce.serial && used.made_at == nonce.made_at
        });
        match known {
            Some(used) => used.note(count),
            None if nonce.made_at <= set.watermark => Use::Unknown,
            None => {
                set.insert(nonce, count, forget_before);
                Use::First
            }
        }
    }
}

impl Set {
    fn insert(&mut self, nonce: Nonce, count: u32, forget_before: u32) {
        let new = Used {
            serial: nonce.serial,
            made_at: nonce.made_at,
            highest: count,
            window: 1,
        };
        let is_free = |used: &Used| used.highest == 0 || used.made_at < forget_before;
        // Free places sort first, then the oldest.
        let place = self
            .ways
            .iter_mut()
            .min_by_key(|used| (!is_free(used), used.made_at));
        if let Some(place) = place {
            if !is_free(place) {
                self.watermark = self.watermark.max(place.made_at);
            }
            *place = new;
        }
    }
}

impl Used {
    fn note(&mut self, count: u32) -> Use {
        if count > self.highest {
            let ahead = count - self.highest;
            self.window = if ahead < WINDOW {
                (self.window << ahead) | 1
            } else {
                1
            };
            self.highest = count;
            return Use::First;
        }
        let behind = self.highest - count;
        if behind >= WINDOW {
            return Use::Unknown;
        }
        let bit = 1 << behind;
        if self.window & bit != 0 {
            return Use::Replay;
        }
        self.window |= bit;
        Use::First
    }
}
