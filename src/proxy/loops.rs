//! Loops told from spirals, and breadth (RFC 3261 §16.3 step 4, RFC 5393).
//!
//! Each branch that leaves bears a hash over everything of the request that decides its way. A
//! request that comes back with the same hash in one of our Vias would go round for ever: 482. One
//! that comes back changed (a spiral) has another hash and passes.

use crate::wire::sip::{HeaderName, Message, Via};
use smallvec::SmallVec;

/// The breadth of a request that names none (RFC 5393 §5.3.2).
pub(super) const MAX_BREADTH_DEFAULT: u16 = 60;
/// The hops of a request that names none (RFC 3261 §16.6 step 3).
pub(super) const MAX_FORWARDS_DEFAULT: u8 = 70;
/// Stands between the unique part of a branch and the hash.
const MARK: &[u8] = b"-L";
const HASH_LEN: usize = 16;

/// A branch with its mark, on the stack.
pub(super) type Branch = SmallVec<[u8; 48]>;

/// The hash over Request-URI, Route, tags, Call-ID, CSeq and what else decides (RFC 5393 §4.2.2).
/// `key` keeps others from telling which requests collide.
pub(super) fn loop_hash(message: &Message, key: u64) -> u64 {
    let mut hash = mix(key, message.request_uri());
    hash = mix(hash, message.call_id());
    for name in [HeaderName::From, HeaderName::To, HeaderName::CSeq] {
        hash = mix(hash, message.header(name).unwrap_or_default());
    }
    for name in [
        HeaderName::Route,
        HeaderName::ProxyRequire,
        HeaderName::ProxyAuthorization,
    ] {
        if message.has(name) {
            hash = message.lines(name).fold(hash, mix);
        }
    }
    hash
}

/// Eight bytes at a time: a multiplication and a shift each, the length at the end.
fn mix(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut step = |word: u64| {
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        step(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    step(u64::from_le_bytes(last));
    step(bytes.len() as u64);
    hash
}

/// Appends the loop part of a branch.
pub(super) fn mark_branch(branch: &mut Branch, hash: u64) {
    branch.extend_from_slice(MARK);
    for shift in (0..HASH_LEN).rev() {
        let digit = (hash >> (4 * shift) & 15) as u8;
        branch.push(if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        });
    }
}

/// Whether the request passed here before, on the same way. Only our hash can match: it is keyed,
/// so the hosts in the Vias need not be looked at.
pub(super) fn is_loop(message: &Message, hash: u64) -> bool {
    let mut mark = Branch::new();
    for value in message.values(HeaderName::Via) {
        if memchr::memmem::find(value, MARK).is_none() {
            continue;
        }
        let Ok(via) = Via::parse(value) else { continue };
        let Some(branch) = via.branch() else { continue };
        let Some(at) = branch.len().checked_sub(HASH_LEN + MARK.len()) else {
            continue;
        };
        let Some(tail) = branch.get(at..) else {
            continue;
        };
        if !tail.starts_with(MARK) {
            continue;
        }
        if mark.is_empty() {
            mark_branch(&mut mark, hash);
        }
        if tail == mark.as_slice() {
            return true;
        }
    }
    false
}

/// The breadth that a request may still use.
pub(super) fn max_breadth(message: &Message) -> Option<u16> {
    match message.header(HeaderName::MaxBreadth) {
        None => Some(MAX_BREADTH_DEFAULT),
        Some(value) => std::str::from_utf8(value).ok()?.trim().parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(uri: &str, via: &str) -> Message {
        Message::parse(Bytes::from(format!(
            "INVITE {uri} SIP/2.0\r\n{via}Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKa\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             Content-Length: 0\r\n\r\n"
        )))
        .unwrap()
    }

    #[test]
    fn same_way_again_is_a_loop_and_another_target_a_spiral() {
        let first = request("sip:b@x", "");
        let hash = loop_hash(&first, 7);
        assert!(!is_loop(&first, hash));
        let mut branch = Branch::from_slice(b"z9hG4bKq");
        mark_branch(&mut branch, hash);
        let via = format!(
            "Via: SIP/2.0/UDP 192.0.2.1;branch={}\r\n",
            String::from_utf8(branch.to_vec()).unwrap()
        );
        let back = request("sip:b@x", &via);
        assert!(is_loop(&back, loop_hash(&back, 7)));
        let spiral = request("sip:c@x", &via);
        assert!(!is_loop(&spiral, loop_hash(&spiral, 7)));
    }
}
