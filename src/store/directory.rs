//! The users in memory, shared by every shard: looked up by each request, changed by the operator.

use super::record::User;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// How many users one node holds.
pub const USERS_MAX: usize = 2_000_000;

/// The table is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectoryFull;

/// Users by `name@domain`.
#[derive(Debug, Default)]
pub struct Directory {
    users: RwLock<HashMap<Box<str>, Arc<User>>>,
}

impl Directory {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// The user of an address of record `name@domain` (domain in lower case).
    pub fn get(&self, aor: &str) -> Option<Arc<User>> {
        self.users
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(aor)
            .cloned()
    }

    /// Adds a user or replaces one of the same address.
    pub fn put(&self, user: User) -> Result<(), DirectoryFull> {
        let aor = format!("{}@{}", user.username, user.domain).into_boxed_str();
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= USERS_MAX && !users.contains_key(&aor) {
            return Err(DirectoryFull);
        }
        users.insert(aor, Arc::new(user));
        Ok(())
    }

    /// Removes a user and says whether there was one.
    pub fn remove(&self, aor: &str) -> bool {
        self.users
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(aor)
            .is_some()
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everybody, ordered by address.
    pub fn list(&self) -> Vec<Arc<User>> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Arc<User>> = users.values().cloned().collect();
        drop(users);
        all.sort_by(|a, b| (&a.domain, &a.username).cmp(&(&b.domain, &b.username)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Ha1;

    #[test]
    fn put_get_remove() {
        let d = Directory::new();
        let user = User {
            username: "100".into(),
            domain: "example.com".into(),
            display_name: "".into(),
            ha1: Ha1 {
                md5: [0; 16],
                sha256: [0; 32],
            },
            disabled: false,
        };
        d.put(user).unwrap();
        assert!(d.get("100@example.com").is_some());
        assert_eq!(d.list().len(), 1);
        assert!(d.remove("100@example.com"));
        assert!(!d.remove("100@example.com"));
    }
}
