//! Which transaction a message belongs to: RFC 3261 §17.2.3 for requests, §17.1.3 for responses.
//!
//! An identity is a keyed 128-bit hash of what the RFC compares. Under a secret key nobody can aim
//! at a collision, and by accident two of 2^30 live transactions share one with a probability
//! below 2^-68: so the hash is the comparison, and the compared bytes need not be kept.

use crate::base::Rng;
use crate::sip::siphash::SipHasher;
use crate::wire::sip::{HeaderName, Host, Message, Method, Via};

/// The prefix of branches that are unique per transaction (RFC 3261 §8.1.1.7).
pub(super) const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// Equal for messages of one transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Identity([u64; 2]);

/// Makes identities under one key.
#[derive(Debug)]
pub(super) struct Matcher {
    key: [u64; 2],
}

impl Matcher {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            key: [rng.next_u64(), rng.next_u64()],
        }
    }

    /// The identity of the transaction of `method` that a request belongs to: its own method, or
    /// INVITE for ACK and for what a CANCEL cancels. `None` if the headers do not tell.
    pub(super) fn of_request(
        &self,
        message: &Message,
        via: &Via<'_>,
        method: Method<'_>,
    ) -> Option<Identity> {
        let mut hasher = SipHasher::new(self.key);
        hasher.part(method.as_bytes());
        match via.branch() {
            Some(branch) if is_unique(branch) => {
                hasher.part(branch);
                hash_host(&mut hasher, &via.host());
                hasher.part(&via.port().unwrap_or(0).to_be_bytes());
            }
            Some(_) | None => Self::add_rfc2543(&mut hasher, message, via)?,
        }
        Some(Identity(hasher.finish()))
    }

    /// The rules for branches without the cookie: Request-URI, From tag, Call-ID, CSeq number and
    /// the whole top Via. The To tag is left out, as an ACK bears that of the response: where it
    /// matters the layer compares it itself.
    fn add_rfc2543(hasher: &mut SipHasher, message: &Message, via: &Via<'_>) -> Option<()> {
        hasher.part(message.request_uri());
        let from = message.from().ok()?;
        hasher.part(from.tag().unwrap_or_default());
        hasher.part(message.header(HeaderName::CallId)?);
        hasher.part(&message.cseq().ok()?.number.to_be_bytes());
        hasher.part(via.as_bytes());
        Some(())
    }

    /// The identity of a client transaction (§17.1.3): our branch and the method of CSeq.
    pub(super) fn of_branch(&self, branch: &[u8], method: &[u8]) -> Identity {
        let mut hasher = SipHasher::new(self.key);
        hasher.part(b"client");
        hasher.part(branch);
        hasher.part(method);
        Identity(hasher.finish())
    }
}

impl Identity {
    /// Sixteen characters that are the same whenever the same request comes again: a To tag for
    /// answers without state (RFC 3261 §8.2.7).
    pub(super) fn to_tag(self) -> String {
        format!("{:016x}", self.0[1])
    }
}

/// Whether a branch follows RFC 3261: the cookie with something behind it. A cookie alone (RFC 4475
/// §3.2.1 `badbranch`) falls back to the rules of RFC 2543.
pub(super) fn is_unique(branch: &[u8]) -> bool {
    branch.len() > MAGIC_COOKIE.len()
        && branch
            .get(..MAGIC_COOKIE.len())
            .is_some_and(|cookie| cookie.eq_ignore_ascii_case(MAGIC_COOKIE))
}

fn hash_host(hasher: &mut SipHasher, host: &Host<'_>) {
    match host {
        Host::Name(name) => hasher.part_ignoring_case(name),
        Host::V4(address) => hasher.part(&address.octets()),
        Host::V6(address) => hasher.part(&address.octets()),
    }
}

/// A table's hasher that takes what is a keyed hash already.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Verbatim(u64);

impl std::hash::Hasher for Verbatim {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// Builds [`Verbatim`].
pub(super) type BuildVerbatim = std::hash::BuildHasherDefault<Verbatim>;
