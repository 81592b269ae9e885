//! A phone's registration: digest, refresh, another try after a failure.

use super::text::Draft;
use super::transact::{End, Purpose};
use super::{Alarm, Phone};
use crate::base::{Instant, Rng};
use crate::wire::sip::{HeaderName, Message};
use std::time::Duration;

/// What a phone asks for.
const EXPIRES_S: u64 = 120;
/// How long it waits after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Where the registration stands.
#[derive(Debug)]
pub(super) struct Registration {
    call_id: String,
    tag: String,
    cseq: u32,
    /// Until when the last 200 lets it count on being reachable.
    pub(super) good_until: Instant,
    pub(super) answered_at: Option<Instant>,
}

impl Registration {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let token = |rng: &mut Rng| String::from_utf8_lossy(&rng.token::<12>()).into_owned();
        Self {
            call_id: token(rng),
            tag: token(rng),
            cseq: 0,
            good_until: Instant::ZERO,
            answered_at: None,
        }
    }
}

impl Phone {
    pub(super) fn register(&mut self) {
        self.registration.cseq += 1;
        let uri = self.account.uri();
        let draft = Draft {
            method: "REGISTER",
            uri: format!("sip:{}", self.account.domain),
            from: format!("<{uri}>;tag={}", self.registration.tag),
            to: format!("<{uri}>"),
            call_id: self.registration.call_id.clone(),
            cseq: self.registration.cseq,
            routes: Vec::new(),
            headers: vec![
                format!("Contact: {}", self.contact()),
                format!("Expires: {EXPIRES_S}"),
                "User-Agent: simulated".into(),
            ],
            sdp: None,
        };
        self.request(draft, Purpose::Register);
    }

    pub(super) fn on_registered(&mut self, draft: &Draft, end: End<'_>) {
        self.registration.cseq = self.registration.cseq.max(draft.cseq);
        let granted = match end {
            End::Final(message) if message.status() == 200 => self.granted(message),
            End::Final(_) | End::Timeout => None,
        };
        match granted {
            Some(seconds) => {
                self.registration.good_until = self.now + Duration::from_secs(seconds);
                self.registration.answered_at = Some(self.now);
                self.arm(Duration::from_secs(seconds / 2), Alarm::Register);
            }
            None => self.arm(RETRY, Alarm::Register),
        }
    }

    /// Seconds granted to our own contact.
    fn granted(&self, message: &Message) -> Option<u64> {
        let own = self.contact();
        let own = own.trim_matches(['<', '>']).as_bytes();
        message
            .addresses(HeaderName::Contact)
            .flatten()
            .find(|contact| contact.uri_bytes() == own)
            .and_then(|contact| contact.expires().ok().flatten())
            .map(u64::from)
    }
}
