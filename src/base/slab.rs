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

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    Free { next: Option<u32> },
}

/// At most `limit` values.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<(u32, Place<T>)>,
    free: Option<u32>,
    len: usize,
    limit: usize,
}

impl<T> Slab<T> {
    /// An empty table for at most `limit` values (and never more than `u32::MAX`).
    pub fn new(limit: usize) -> Self {
        Self {
            places: Vec::new(),
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
        if let Some(index) = self.free {
            let (generation, place) = &mut self.places[index as usize];
            if let Place::Free { next } = place {
                self.free = *next;
            }
            *place = Place::Taken(value);
            return Ok(Key {
                index,
                generation: *generation,
            });
        }
        let index = self.places.len() as u32;
        self.places.push((1, Place::Taken(value)));
        Ok(Key {
            index,
            generation: 1,
        })
    }

    /// The value that `key` names.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.places.get(key.index as usize) {
            Some((generation, Place::Taken(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value that `key` names, to change.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.places.get_mut(key.index as usize) {
            Some((generation, Place::Taken(value))) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the value out; its place becomes free.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let (generation, place) = &mut self.places[key.index as usize];
        *generation = generation.wrapping_add(1).max(1);
        let old = std::mem::replace(place, Place::Free { next: self.free });
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
        self.places
            .iter()
            .enumerate()
            .filter_map(|(i, (generation, place))| match place {
                Place::Taken(v) => Some((
                    Key {
                        index: i as u32,
                        generation: *generation,
                    },
                    v,
                )),
                Place::Free { .. } => None,
            })
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
