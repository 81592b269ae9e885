//! One type per table of the store.

use super::mailbox::{MailboxRecord, MessageRecord};
use super::settings::FeatureRecord;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What digest needs of a password, never the password itself (RFC 7616 §3.4.2): the hash over
/// `username:realm:password`, where the realm is the user's domain.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ha1 {
    /// By MD5.
    pub md5: [u8; 16],
    /// By SHA-256.
    pub sha256: [u8; 32],
}

impl Ha1 {
    /// Of a user's name, realm and password.
    pub fn of(username: &str, realm: &str, password: &str) -> Self {
        use md5::Digest;
        let text = format!("{username}:{realm}:{password}");
        Self {
            md5: md5::Md5::digest(text.as_bytes()).into(),
            sha256: sha2::Sha256::digest(text.as_bytes()).into(),
        }
    }

    /// Reads 32 and 64 hexadecimal digits.
    pub fn from_hex(md5: &str, sha256: &str) -> Option<Self> {
        Some(Self {
            md5: unhex(md5)?,
            sha256: unhex(sha256)?,
        })
    }

    /// 32 and 64 hexadecimal digits in lower case.
    pub fn to_hex(&self) -> (String, String) {
        (hex(&self.md5), hex(&self.sha256))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(out)
}

impl std::fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ha1(..)")
    }
}

/// Somebody who may register and call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct User {
    /// The user part of the address of record.
    pub username: Box<str>,
    /// The host part, one of `[node] domains`; lower case.
    pub domain: Box<str>,
    /// Shown to people who are called; may be empty.
    pub display_name: Box<str>,
    /// The credentials.
    pub ha1: Ha1,
    /// Whether calls and registrations are refused for now.
    pub disabled: bool,
}

impl User {
    /// The address of record, `name@domain`.
    pub fn aor(&self) -> String {
        format!("{}@{}", self.username, self.domain)
    }
}

/// All that brings a binding back after a restart (RFC 3261 §10, RFC 3327, RFC 5626, RFC 5627).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BindingRecord {
    /// `user@domain`, canonical.
    pub aor: Box<str>,
    /// Names the binding within its address of record: the contact URI, or instance and reg-id.
    pub key: Box<str>,
    /// The contact URI as the phone wrote it.
    pub contact: Box<str>,
    /// Contact header parameters to hand out again (feature tags), as written; may be empty.
    pub parameters: Box<str>,
    /// Preference in thousandths (RFC 3261 §20.10).
    pub q: u16,
    /// Milliseconds since 1970.
    pub expires_at_ms: u64,
    /// Milliseconds since 1970.
    pub registered_at_ms: u64,
    /// Orders updates of one phone (RFC 3261 §10.3).
    pub call_id: Box<str>,
    /// Orders updates of one phone (RFC 3261 §10.3).
    pub cseq: u32,
    /// The Path header's values, topmost first; empty without.
    pub path: Box<[Box<str>]>,
    /// `udp`, `tcp`, `tls`, `ws`, `wss`.
    pub transport: Box<str>,
    /// Our side of the flow, `address:port`.
    pub local: Box<str>,
    /// The source as the packet bore it, `address:port`.
    pub received: Box<str>,
    /// Whether the contact differed from the source.
    pub behind_nat: bool,
    /// `+sip.instance`, without quotes and angles; may be empty.
    pub instance: Box<str>,
    /// `reg-id` (RFC 5626), zero without.
    pub reg_id: u32,
    /// The phone's User-Agent header; may be empty.
    pub user_agent: Box<str>,
    /// Names this state of the binding among all that the store holds; a refresh that changes the
    /// time alone keeps it. Zero where an older voip wrote the row.
    pub serial: u64,
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// The caller hung up.
    CallerHungUp,
    /// The callee hung up.
    CalleeHungUp,
    /// The caller gave up before an answer.
    Cancelled,
    /// A final status above 299 came back.
    Refused,
    /// Neither side's media was heard for the time that the configuration allows.
    MediaTimeout,
    /// The relay could not open its ports.
    MediaFailed,
    /// The operator ended it.
    Operator,
    /// It outlasted the longest time a call may take.
    TooLong,
    /// The daemon stopped.
    Shutdown,
}

impl EndCause {
    /// Each with the word by which the database and the operator know it.
    const WORDS: [(EndCause, &'static str); 9] = [
        (EndCause::CallerHungUp, "caller_hung_up"),
        (EndCause::CalleeHungUp, "callee_hung_up"),
        (EndCause::Cancelled, "cancelled"),
        (EndCause::Refused, "refused"),
        (EndCause::MediaTimeout, "media_timeout"),
        (EndCause::MediaFailed, "media_failed"),
        (EndCause::Operator, "operator"),
        (EndCause::TooLong, "too_long"),
        (EndCause::Shutdown, "shutdown"),
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(c, _)| *c == self);
        found.map_or("shutdown", |(_, word)| word)
    }

    /// Back from [`EndCause::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(_, w)| *w == word);
        found.map(|(cause, _)| *cause)
    }
}

/// What one side of a call sent through the relay.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CdrLeg {
    /// RTP packets that arrived from this side.
    pub packets_in: u64,
    /// RTP packets that were sent to this side.
    pub packets_out: u64,
    /// Packets missing in the sequence from this side.
    pub lost: u64,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
}

/// Call detail record: one per call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Cdr {
    /// The Call-ID, as text.
    pub call_id: Box<str>,
    /// The caller's URI.
    pub from: Box<str>,
    /// The URI that was called.
    pub to: Box<str>,
    /// The authenticated user `name@domain` on whose account it goes; empty for strangers.
    pub user: Box<str>,
    /// The caller's source address.
    pub source: Box<str>,
    /// The trunk or pool that it came from; empty for phones and strangers.
    pub way_in: Box<str>,
    /// The trunk, or pool and member, that answered, or that was tried last; empty for a phone.
    pub way_out: Box<str>,
    /// The route that the number took; empty if none did.
    pub route: Box<str>,
    /// What else is to be said, in words: why it was refused, who forwarded it. May be empty.
    pub note: Box<str>,
    /// Milliseconds since 1970.
    pub start_ms: u64,
    /// Milliseconds since 1970; `None` if nobody answered.
    pub answer_ms: Option<u64>,
    /// Milliseconds since 1970.
    pub end_ms: u64,
    /// The final status of the INVITE, zero if none came.
    pub status: u16,
    /// Why it ended.
    pub cause: EndCause,
    /// The codecs of the answer, by name, first the preferred one; empty if not seen.
    pub codecs: Box<str>,
    /// The caller's and the callee's side, if media was relayed.
    pub legs: Option<[CdrLeg; 2]>,
}

/// A source that is shut out, or one user name of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ban {
    /// Whom.
    pub source: IpAddr,
    /// The `name@domain` that is refused from there; `None` shuts out the source whole.
    pub user: Option<Box<str>>,
    /// Milliseconds since 1970.
    pub since_ms: u64,
    /// Milliseconds since 1970.
    pub until_ms: u64,
    /// Why, in words.
    pub reason: Box<str>,
}

/// What a refresh that changes the time alone writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touch {
    /// Of [`BindingRecord::serial`].
    pub serial: u64,
    /// Of [`BindingRecord::expires_at_ms`].
    pub expires_at_ms: u64,
    /// Of [`BindingRecord::cseq`].
    pub cseq: u32,
}

/// One change on its way to the disk.
#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    /// A new or refreshed binding.
    PutBinding(Box<BindingRecord>),
    /// A binding of which a refresh changed the time alone: the hot path of a registrar.
    TouchBinding(Touch),
    /// A binding that ended.
    DeleteBinding {
        /// Of [`BindingRecord::aor`].
        aor: Box<str>,
        /// Of [`BindingRecord::key`].
        key: Box<str>,
    },
    /// A call ended.
    Cdr(Box<Cdr>),
    /// A source was banned.
    PutBan(Ban),
    /// A ban was lifted or ran out.
    DeleteBan {
        /// Of [`Ban::source`].
        source: IpAddr,
        /// Of [`Ban::user`].
        user: Option<Box<str>>,
    },
    /// A user was added or changed.
    PutUser(Box<User>),
    /// A user was deleted.
    DeleteUser {
        /// The user part.
        username: Box<str>,
        /// The host part.
        domain: Box<str>,
    },
    /// A user's call features changed, or ended with the user.
    PutFeatures(Box<FeatureRecord>),
    /// A user's mailbox changed, or ended with the user.
    PutMailbox(Box<MailboxRecord>),
    /// A message came, was moved, or is gone.
    PutMessage(Box<MessageRecord>),
}

#[cfg(test)]
mod tests {
    use super::Ha1;

    #[test]
    fn ha1_of_rfc_2617() {
        let ha1 = Ha1::of("Mufasa", "testrealm@host.com", "Circle Of Life");
        let (md5, sha256) = ha1.to_hex();
        assert_eq!(md5, "939e7578ed9e3c518a452acee763bce9");
        assert_eq!(Ha1::from_hex(&md5, &sha256), Some(ha1));
        assert_eq!(Ha1::from_hex("xy", &sha256), None);
    }
}
