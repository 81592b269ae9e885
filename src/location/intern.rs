//! Texts that many bindings share: a provider's phones have a few dozen user agents.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// How many texts are remembered; past that each binding has its own.
pub const INTERNED_MAX: usize = 4096;

/// Hands out one allocation per text.
#[derive(Debug, Default)]
pub(super) struct Interner(Mutex<HashSet<Arc<str>>>);

impl Interner {
    pub(super) fn get(&self, text: &str) -> Arc<str> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = known.get(text) {
            return shared.clone();
        }
        let shared: Arc<str> = text.into();
        if known.len() < INTERNED_MAX {
            known.insert(shared.clone());
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_up_to_its_bound() {
        let interner = Interner::default();
        assert!(Arc::ptr_eq(&interner.get("a"), &interner.get("a")));
        for n in 0..INTERNED_MAX {
            interner.get(&n.to_string());
        }
        assert!(!Arc::ptr_eq(&interner.get("late"), &interner.get("late")));
    }
}
