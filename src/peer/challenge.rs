//! Answers to the challenges of one peer: which were made, and how often each nonce was used
//! (RFC 3261 §22.2 and §22.3, RFC 7616 §3.4, RFC 8760 §2.4).

use super::trunk::Credentials;
use crate::base::Rng;
use crate::sip::digest::{AnswerError, answer};
use crate::wire::sip::{Challenge, HeaderName, Message};

/// Realms of one peer that are remembered: its own, and those of proxies on the way.
pub const REALMS_MAX: usize = 4;

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unanswerable {
    /// The same realm asks again, though it saw the answer to its newest challenge: the account or
    /// the password is wrong.
    WrongPassword,
    /// None of the challenges is one that we can answer.
    Unsupported,
}

#[derive(Clone, Debug)]
struct Kept {
    /// Where the answer goes.
    header: HeaderName,
    realm: Box<[u8]>,
    /// The challenge as it came.
    line: Box<[u8]>,
    /// Uses of its nonce.
    count: u32,
    /// Whether it came since [`Answers::begin`].
    is_fresh: bool,
}

/// The challenges of a peer, for requests to it: those of one registration, or of one call.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    kept: Vec<Kept>,
}

impl Answers {
    /// A new request begins: it may bear answers to old challenges, and be challenged anew.
    pub fn begin(&mut self) {
        for kept in &mut self.kept {
            kept.is_fresh = false;
        }
    }

    /// Takes the challenges of a 401 or 407. The request may be sent again after `Ok`, with
    /// [`Answers::headers`].
    pub fn take(&mut self, response: &Message) -> Result<(), Unanswerable> {
        let (asks, header) = match response.status() {
            407 => (
                HeaderName::ProxyAuthenticate,
                HeaderName::ProxyAuthorization,
            ),
            _ => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
        };
        let mut taken: Vec<Kept> = Vec::new();
        let lines = response.lines(asks).zip(response.challenges(asks));
        for (line, challenge) in lines {
            let Ok(challenge) = challenge else { continue };
            // The first of a realm that we know: a server writes the best one first.
            let realm = challenge.realm().unwrap_or_default();
            let is_known = taken.iter().any(|kept| *kept.realm == *realm);
            if is_known || taken.len() >= REALMS_MAX || !can_answer(&challenge) {
                continue;
            }
            let before = self.kept.iter();
            let mut before = before.filter(|k| k.header == header && *k.realm == *realm);
            if before.any(|kept| kept.is_fresh) && !challenge.stale() {
                return Err(Unanswerable::WrongPassword);
            }
            taken.push(Kept {
                header,
                realm: realm.into(),
                line: line.into(),
                count: 0,
                is_fresh: true,
            });
        }
        if taken.is_empty() {
            return Err(Unanswerable::Unsupported);
        }
        let is_replaced = |old: &Kept| {
            let mut taken = taken.iter();
            taken.any(|new| new.header == old.header && new.realm == old.realm)
        };
        self.kept.retain(|old| !is_replaced(old));
        taken.append(&mut self.kept);
        taken.truncate(REALMS_MAX);
        self.kept = taken;
        Ok(())
    }

    /// The headers that answer what is known, for a request of this method to this Request-URI.
    pub fn headers(
        &mut self,
        credentials: &Credentials,
        method: &[u8],
        uri: &str,
        rng: &mut Rng,
    ) -> Vec<(HeaderName, String)> {
        let mut headers = Vec::new();
        for kept in &mut self.kept {
            let Ok(challenge) = Challenge::parse(&kept.line) else {
                continue;
            };
            kept.count = kept.count.saturating_add(1);
            let cnonce = rng.token::<16>();
            let cnonce = String::from_utf8_lossy(&cnonce);
            let client = credentials.client();
            if let Ok(value) = answer(&challenge, &client, method, uri, kept.count, &cnonce) {
                headers.push((kept.header, value));
            }
        }
        headers
    }
}

/// Whether [`answer`] would.
fn can_answer(challenge: &Challenge<'_>) -> bool {
    let nobody = crate::sip::digest::ClientCredentials {
        username: "",
        password: b"",
    };
    match answer(challenge, &nobody, b"", "", 1, "") {
        Ok(_) => true,
        Err(AnswerError::Malformed | AnswerError::Unsupported) => false,
    }
}
