//! Replies that were given: a client repeats its datagram until it hears one, and a repetition is
//! answered with the same bytes and not carried out again.

use crate::base::Instant;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// For how long a reply is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(30);
/// The most replies that are kept; of more the oldest go.
pub const REPLIES_MAX: usize = 16_384;

/// Who asked, and by which cookie.
pub type Name = (SocketAddr, Box<[u8]>);

/// What is known of a cookie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    /// Nothing: it is new, and noted now.
    New,
    /// Its reply is being made.
    Pending,
    /// It was answered so.
    Answered(Vec<u8>),
}

/// The replies of the last seconds.
#[derive(Debug, Default)]
pub struct ReplyCache {
    replies: HashMap<Name, (u64, Option<Vec<u8>>)>,
    order: VecDeque<(Instant, u64, Name)>,
    next: u64,
}

impl ReplyCache {
    /// Looks a cookie up, and notes it if it is new.
    pub fn look_up(&mut self, now: Instant, name: &Name) -> Known {
        self.expire(now);
        match self.replies.get(name) {
            Some((_, Some(reply))) => return Known::Answered(reply.clone()),
            Some((_, None)) => return Known::Pending,
            None => {}
        }
        if self.order.len() >= REPLIES_MAX {
            self.drop_oldest();
        }
        self.next += 1;
        self.replies.insert(name.clone(), (self.next, None));
        self.order.push_back((now, self.next, name.clone()));
        Known::New
    }

    /// Keeps the reply to a cookie that was looked up.
    pub fn keep(&mut self, name: &Name, reply: &[u8]) {
        if let Some((_, kept)) = self.replies.get_mut(name) {
            *kept = Some(reply.to_vec());
        }
    }

    /// How many cookies are known.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.order.len()
    }

    fn expire(&mut self, now: Instant) {
        while let Some((since, ..)) = self.order.front()
            && *since + KEPT_FOR <= now
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, number, name)) = self.order.pop_front()
            && self.replies.get(&name).is_some_and(|(n, _)| *n == number)
        {
            self.replies.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(cookie: &str) -> Name {
        ("192.0.2.1:5".parse().unwrap(), cookie.as_bytes().into())
    }

    #[test]
    fn a_repetition_gets_the_same_reply_for_a_while() {
        let mut cache = ReplyCache::default();
        let (a, at) = (name("a"), Instant::from_millis(1));
        assert_eq!(cache.look_up(at, &a), Known::New);
        assert_eq!(cache.look_up(at, &a), Known::Pending);
        cache.keep(&a, b"reply");
        assert_eq!(cache.look_up(at, &a), Known::Answered(b"reply".to_vec()));
        let other = ("192.0.2.2:5".parse().unwrap(), a.1.clone());
        assert_eq!(cache.look_up(at, &other), Known::New);
        assert_eq!(cache.look_up(at + KEPT_FOR, &a), Known::New);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut cache = ReplyCache::default();
        for n in 0..=REPLIES_MAX {
            let name = name(&n.to_string());
            assert_eq!(cache.look_up(Instant::ZERO, &name), Known::New);
            cache.keep(&name, b"r");
        }
        assert_eq!(cache.len(), REPLIES_MAX);
        assert_eq!(
            cache.look_up(Instant::ZERO, &name("5")),
            Known::Answered(b"r".to_vec())
        );
        assert_eq!(cache.look_up(Instant::ZERO, &name("0")), Known::New);
    }
}
