//! Our account at the far end: answers to its challenges (RFC 3261 §22.2, §22.3).

use crate::peer::Credentials;
use crate::sip::digest::{AnswerError, answer};
use crate::wire::sip::{Challenge, HeaderName, Message};

/// Who we are there, and how it asked last.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Account {
    credentials: Credentials,
    asked: Option<Asked>,
}

#[derive(Clone, Debug)]
struct Asked {
    proof: HeaderName,
    challenge: Box<[u8]>,
    /// How often its nonce was used.
    count: u32,
}

impl Account {
    /// An account that was not asked yet.
    pub fn new(credentials: Credentials) -> Self {
        let asked = None;
        Self { credentials, asked }
    }

    /// Takes the challenges of a 401 or 407, and says whether it is worth trying again: one of them
    /// can be answered, and it is not the one that was answered already, unless that was too old.
    pub fn challenged(&mut self, response: &Message) -> bool {
        let (challenge, proof) = match response.status() {
            401 => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
            _ => (
                HeaderName::ProxyAuthenticate,
                HeaderName::ProxyAuthorization,
            ),
        };
        for line in response.lines(challenge) {
            let Ok(found) = Challenge::parse(line) else {
                continue;
            };
            let before = self.asked.as_ref().filter(|a| a.proof == proof);
            let same = before.is_some_and(|a| {
                Challenge::parse(&a.challenge).is_ok_and(|old| old.nonce() == found.nonce())
            });
            if same && !found.stale() {
                continue;
            }
            if self.try_answer(&found, b"INVITE", "sip:a", 1, "c").is_ok() {
                self.asked = Some(Asked {
                    proof,
                    challenge: line.into(),
                    count: 0,
                });
                return true;
            }
        }
        false
    }

    /// The header that proves a request, if the far end asked before.
    pub fn prove(
        &mut self,
        method: &[u8],
        uri: &str,
        cnonce: &str,
    ) -> Option<(HeaderName, String)> {
        let asked = self.asked.as_mut()?;
        asked.count = asked.count.saturating_add(1);
        let (proof, count) = (asked.proof, asked.count);
        let challenge = asked.challenge.clone();
        let challenge = Challenge::parse(&challenge).ok()?;
        let value = self
            .try_answer(&challenge, method, uri, count, cnonce)
            .ok()?;
        Some((proof, value))
    }

    fn try_answer(
        &self,
        challenge: &Challenge<'_>,
        method: &[u8],
        uri: &str,
        count: u32,
        cnonce: &str,
    ) -> Result<String, AnswerError> {
        let credentials = self.credentials.client();
        answer(challenge, &credentials, method, uri, count, cnonce)
    }
}
