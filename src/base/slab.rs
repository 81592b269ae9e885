//! A bounded table of values named by small keys. A key names one value only: when the value is
//! gone and its place reused, the old key finds nothing.

/// Names a value of a [`Slab`]: its place and the place's generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key as one number, for tags that cross a boundary.
    pub const fn to_u64(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }

    /// Back from [`Key::to_u64`].
    pub const fn from_u64(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// How many places are made room for at a time.
const CHUNK: usize = 128;

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    Free { next: Option<u32> },
}

/// At most `limit` values. A table that grows leaves the values where they are: one that copied
/// them would stop its shard for as long as a hundred thousand calls take to copy.
#[derive(Debug)]
pub struct Slab<T> {
    /// Of [`CHUNK`] places each, all but the last one full.
    chunks: Vec<Vec<(u32, Place<T>)>>,
    free: Option<u32>,
    len: usize,
    limit: usize,
}

impl<T> Slab<T> {
    /// An empty table for at most `limit` values (and never more than `u32::MAX`).
    pub fn new(limit: usize) -> Self {
        Self {
            chunks: Vec::new(),
            free: None,
            len: 0,
            limit: limit.min(u32::MAX as usize),
        }
    }

    /// Stores `value`; gives it back when the table is full.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        if self.len >= self.limit {
            return Err(value);
        }
        self.len += 1;
        if let Some(index) = self.free
            && let Some((generation, place)) = self.place_mut(index)
        {
            let generation = *generation;
            if let Place::Free { next } = std::mem::replace(place, Place::Taken(value)) {
                self.free = next;
            }
            return Ok(Key { index, generation });
        }
        // No place is free: there are as many as there were values.
        let (index, generation) = (self.len - 1, 1);
        let chunk = index / CHUNK;
        if chunk == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK.min(self.limit)));
        }
        self.chunks[chunk].push((generation, Place::Taken(value)));
        let index = index as u32;
        Ok(Key { index, generation })
    }

    fn place(&self, index: u32) -> Option<&(u32, Place<T>)> {
        let index = index as usize;
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    fn place_mut(&mut self, index: u32) -> Option<&mut (u32, Place<T>)> {
        let index = index as usize;
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    /// The value that `key` names.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.place(key.index) {
            Some((generation, Place::Taken(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value that `key` names, to change.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.place_mut(key.index) {
            Some((generation, Place::Taken(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the value out; its place becomes free.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let free = Place::Free { next: self.free };
        let (generation, place) = self.place_mut(key.index)?;
        *generation = generation.wrapping_add(1).max(1);
        let old = std::mem::replace(place, free);
        self.free = Some(key.index);
        self.len -= 1;
        match old {
            Place::Taken(value) => Some(value),
            Place::Free { .. } => None,
        }
    }

    /// How many values are stored.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the next insert would fail.
    pub fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// Every value, in the order of places.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.chunks.iter().flatten().enumerate().filter_map(
            |(i, (generation, place))| match place {
                Place::Taken(v) => Some((
                    Key {
                        index: i as u32,
                        generation: *generation,
                    },
                    v,
                )),
                Place::Free { .. } => None,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_keys_find_nothing() {
        let mut s = Slab::new(2);
        let a = s.insert("a").unwrap();
        assert_eq!(s.remove(a), Some("a"));
        let b = s.insert("b").unwrap();
        assert_ne!(a, b);
        assert_eq!((s.get(a), s.get(b)), (None, Some(&"b")));
        assert_eq!(s.remove(a), None);
        assert_eq!(Key::from_u64(b.to_u64()), b);
    }

    #[test]
    fn growing_keeps_keys_and_values() {
        let mut s = Slab::new(10 * CHUNK);
        let keys: Vec<Key> = (0..3 * CHUNK + 1).map(|n| s.insert(n).unwrap()).collect();
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(s.get(*key), Some(&n));
        }
        for key in keys.iter().step_by(2) {
            s.remove(*key).unwrap();
        }
        let again: Vec<Key> = (0..CHUNK).map(|n| s.insert(1000 + n).unwrap()).collect();
        assert!(again.iter().all(|key| !keys.contains(key)));
        for key in keys.iter().skip(1).step_by(2) {
            *s.get_mut(*key).unwrap() += 1;
        }
        let values: Vec<usize> = s.iter().map(|(_, v)| *v).filter(|v| *v < 1000).collect();
        assert_eq!(
            values,
            (1..=3 * CHUNK / 2).map(|n| 2 * n).collect::<Vec<_>>()
        );
        assert_eq!(s.len(), values.len() + CHUNK);
    }

    #[test]
    fn full_is_an_error() {
        let mut s = Slab::new(1);
        let k = s.insert(1).unwrap();
        assert_eq!(s.insert(2), Err(2));
        assert!(s.is_full());
        s.remove(k);
        assert_eq!(s.iter().count(), 0);
        assert!(s.insert(3).is_ok());
    }
}
