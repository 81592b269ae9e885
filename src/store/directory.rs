//! The users in memory, shared by every shard: looked up by each request, changed by the operator.

use super::record::User;
use std::collections::{BinaryHeap, HashMap};
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

    /// At most `limit` users whose address contains `filter`, the first behind `after`
    /// (`name@domain`), ordered by domain and name.
    pub fn page(&self, filter: &str, after: Option<&str>, limit: usize) -> Vec<Arc<User>> {
        let after = after.and_then(|aor| aor.rsplit_once('@').map(|(name, domain)| (domain, name)));
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        // The smallest so far, the largest of them on top.
        let mut first: BinaryHeap<Ordered> = BinaryHeap::with_capacity(limit.min(4096) + 1);
        for (aor, user) in users.iter() {
            let key = (&*user.domain, &*user.username);
            let full = first.len() >= limit;
            if !aor.contains(filter)
                || after.is_some_and(|a| key <= a)
                || full && first.peek().is_none_or(|last| key >= last.key())
            {
                continue;
            }
            if full {
                first.pop();
            }
            first.push(Ordered(Arc::clone(user)));
        }
        drop(users);
        first.into_sorted_vec().into_iter().map(|o| o.0).collect()
    }

    /// Those that are wanted, ordered by address.
    pub fn select(&self, wanted: impl Fn(&User) -> bool) -> Vec<Arc<User>> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = users.values().filter(|u| wanted(u)).cloned().collect();
        drop(users);
        found.sort_by(|a, b| (&a.domain, &a.username).cmp(&(&b.domain, &b.username)));
        found
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

/// A user as listings order them.
struct Ordered(Arc<User>);

impl Ordered {
    fn key(&self) -> (&str, &str) {
        (&self.0.domain, &self.0.username)
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Ha1;

    fn user(username: &str, domain: &str) -> User {
        User {
            username: username.into(),
            domain: domain.into(),
            display_name: "".into(),
            ha1: Ha1 {
                md5: [0; 16],
                sha256: [0; 32],
            },
            disabled: false,
        }
    }

    #[test]
    fn pages_in_order() {
        let d = Directory::new();
        for n in (0..50).rev() {
            d.put(user(&format!("{n:02}"), "example.com")).unwrap();
            d.put(user(&format!("{n:02}"), "a.example.com")).unwrap();
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = d.page("", after.as_deref(), 7);
            let Some(last) = page.last() else { break };
            after = Some(last.aor());
            seen.extend(page.iter().map(|u| u.aor()));
        }
        let all: Vec<String> = d.list().iter().map(|u| u.aor()).collect();
        assert_eq!(seen, all);
        assert_eq!(d.page("07@", None, 10).len(), 2);
        assert_eq!(d.page("", None, 0).len(), 0);
    }

    #[test]
    fn put_get_remove() {
        let d = Directory::new();
        d.put(user("100", "example.com")).unwrap();
        assert!(d.get("100@example.com").is_some());
        assert_eq!(d.list().len(), 1);
        assert!(d.remove("100@example.com"));
        assert!(!d.remove("100@example.com"));
    }
}
