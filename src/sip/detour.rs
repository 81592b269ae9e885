//! Which shard a message goes to: that of its Call-ID, unless the call is to take the place of a
//! dialog that another shard has (Replaces, RFC 3891): then it follows that dialog, and so does
//! what comes after its INVITE.
//!
//! Whoever asks for a place is not known yet when the message is read, so these detours push out
//! the oldest of their kind; one that came to something lasts as long as the call.

use crate::base::shard_of;
use crate::wire::sip::{peek_call_id, peek_replaces};
use std::collections::{HashMap, VecDeque};

/// Detours of calls that are asked for, or are just over.
pub const PASSING_MAX: usize = 1024;
/// Detours of calls that are up; one more call that takes a place in another shard is not found
/// again after some time.
pub const LASTING_MAX: usize = 16_384;

/// The shards of all Call-IDs.
#[derive(Debug)]
pub struct Detours {
    shards: usize,
    known: HashMap<Box<[u8]>, usize>,
    /// Those among them that are pushed out, the oldest first.
    passing: VecDeque<Box<[u8]>>,
}

impl Detours {
    /// None, among so many shards.
    pub fn new(shards: usize) -> Self {
        Self {
            shards,
            known: HashMap::new(),
            passing: VecDeque::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none: then [`straight`] says it all.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The shard of a message; the first where it bears no Call-ID.
    pub fn shard_of(&mut self, message: &[u8]) -> usize {
        let Some(call_id) = peek_call_id(message) else {
            return 0;
        };
        if let Some(shard) = self.known.get(call_id) {
            return *shard;
        }
        let own = shard_of(call_id, self.shards);
        let Some(there) = peek_replaces(message) else {
            return own;
        };
        let known = self.known.get(there).copied();
        let there = known.unwrap_or_else(|| shard_of(there, self.shards));
        if there != own {
            self.pass(call_id, there);
        }
        there
    }

    fn pass(&mut self, call_id: &[u8], shard: usize) {
        if self.passing.len() >= PASSING_MAX
            && let Some(oldest) = self.passing.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.passing.push_back(call_id.into());
        self.known.insert(call_id.into(), shard);
    }

    /// A call took its place in a shard.
    pub fn stay(&mut self, call_id: &[u8], shard: usize) {
        if self.known.len() < LASTING_MAX {
            self.passing.retain(|passing| **passing != *call_id);
            self.known.insert(call_id.into(), shard);
        }
    }

    /// The call is over. What is repeated of it finds its way for some time.
    pub fn over(&mut self, call_id: &[u8]) {
        let lasts = self.passing.iter().all(|passing| **passing != *call_id);
        let shard = self.known.get(call_id).copied().filter(|_| lasts);
        if let Some(shard) = shard {
            self.pass(call_id, shard);
        }
    }
}

/// The shard of a message where there is no detour; `None` where it asks for one.
pub fn straight(message: &[u8], shards: usize) -> Option<usize> {
    if shards <= 1 {
        return Some(0);
    }
    let Some(call_id) = peek_call_id(message) else {
        return Some(0);
    };
    match peek_replaces(message) {
        Some(_) => None,
        None => Some(shard_of(call_id, shards)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARDS: usize = 4;

    fn message(method: &str, call_id: &str, lines: &str) -> Vec<u8> {
        let uri = "sip:a@example.com";
        format!("{method} {uri} SIP/2.0\r\nCall-ID: {call_id}\r\n{lines}\r\n").into_bytes()
    }

    /// Two Call-IDs of different shards.
    fn apart() -> (String, String) {
        let names = (0..100).map(|n| format!("call-{n}"));
        let (first, mut others) = ("call-x".to_owned(), names);
        let own = shard_of(first.as_bytes(), SHARDS);
        let other = others.find(|name| shard_of(name.as_bytes(), SHARDS) != own);
        (first, other.unwrap())
    }

    #[test]
    fn a_call_follows_the_dialog_that_it_replaces() {
        let (there, here) = apart();
        let mut detours = Detours::new(SHARDS);
        let target = shard_of(there.as_bytes(), SHARDS);
        let lines = format!("replaces : {there};to-tag=a;from-tag=b\r\n");
        let invite = message("INVITE", &here, &lines);
        assert_eq!(straight(&invite, SHARDS), None);
        assert_eq!(detours.shard_of(&invite), target);
        assert_eq!(detours.shard_of(&message("ACK", &here, "")), target);
        detours.stay(here.as_bytes(), target);
        assert_eq!(detours.shard_of(&message("BYE", &here, "")), target);
        // A third call takes the place of the second.
        let third = message("INVITE", "3", &format!("Replaces: {here};to-tag=1\r\n"));
        assert_eq!(detours.shard_of(&third), target);
        detours.over(here.as_bytes());
        assert_eq!(detours.shard_of(&message("BYE", &here, "")), target);
    }

    #[test]
    fn others_go_straight() {
        let (there, here) = apart();
        let mut detours = Detours::new(SHARDS);
        let own = shard_of(here.as_bytes(), SHARDS);
        for (method, lines) in [
            ("INVITE", "Supported: replaces\r\n".to_owned()),
            ("INFO", format!("Replaces: {there}\r\n")),
            ("INVITE", format!("X-Replaces: {there}\r\n")),
            ("INVITE", format!("Subject: a\r\n\r\nReplaces: {there}\r\n")),
        ] {
            let bytes = message(method, &here, &lines);
            assert_eq!(straight(&bytes, SHARDS), Some(own), "{method} {lines}");
            assert_eq!(detours.shard_of(&bytes), own);
        }
        assert!(detours.is_empty());
        assert_eq!(straight(b"INVITE sip:a SIP/2.0\r\n\r\n", SHARDS), Some(0));
    }

    #[test]
    fn who_asks_too_much_pushes_out_its_like_alone() {
        let (there, here) = apart();
        let mut detours = Detours::new(SHARDS);
        let target = shard_of(there.as_bytes(), SHARDS);
        detours.stay(here.as_bytes(), target);
        let lines = format!("Replaces: {there};to-tag=a;from-tag=b\r\n");
        for n in 0..PASSING_MAX * 2 {
            detours.shard_of(&message("INVITE", &format!("flood-{n}"), &lines));
        }
        assert_eq!(detours.passing.len(), PASSING_MAX);
        assert_eq!(detours.shard_of(&message("BYE", &here, "")), target);
    }
}
