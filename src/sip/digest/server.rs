//! The server side: challenges and their verification (RFC 7616 §3.3, §3.4; RFC 3261 §22).

use super::hash::{Algorithm, Count, Hex, ResponseInput, response};
use super::nonce::Nonce;
use super::replay::{Replays, Use};
use crate::store::Ha1;
use crate::wire::sip::{Credentials, Uri};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// How long a nonce is good. A phone that registers every few minutes keeps one for two or three
/// refreshes; a stolen answer is worthless soon.
pub const NONCE_LIFETIME_SECONDS: u64 = 600;

/// What the count of credentials without `qop` is taken for: such a nonce serves once only.
const COUNT_WITHOUT_QOP: u32 = u32::MAX;

/// What is protected.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The request's method.
    pub method: &'a [u8],
    /// The Request-URI.
    pub request_uri: &'a [u8],
    /// The realm that was or will be challenged for.
    pub realm: &'a str,
}

/// What credentials are worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Right, and new.
    Accept,
    /// Right, but the nonce is too old or not ours: challenge again with `stale=true`.
    Stale,
    /// Wrong password, unknown user, another realm, or nonsense.
    Refuse,
    /// Right, but this nonce count was used before: challenge again with `stale=true`; count it.
    Replay,
}

/// Challenges and verifies. One per shard, all over the same secret and [`Replays`].
#[derive(Clone, Debug)]
pub struct Authenticator {
    key: [u64; 2],
    replays: Arc<Replays>,
    algorithms: &'static [Algorithm],
}

impl Authenticator {
    /// With counts of its own. The secret may outlive the process: nonces that are older than the
    /// counts are stale.
    pub fn new(secret: [u8; 32]) -> Self {
        Self::with_replays(secret, Arc::new(Replays::new()))
    }

    /// With counts shared by all shards, so that what was used in one is used in all.
    pub fn with_replays(secret: [u8; 32], replays: Arc<Replays>) -> Self {
        let derived = Sha256::new()
            .chain_update(b"nonce")
            .chain_update(secret)
            .finalize();
        let word = |n: usize| {
            let mut bytes = [0; 8];
            for (to, from) in bytes.iter_mut().zip(derived.iter().skip(n * 8)) {
                *to = *from;
            }
            u64::from_le_bytes(bytes)
        };
        Self {
            key: [word(0), word(1)],
            replays,
            // RFC 8760 §2.4: the preferred one first.
            algorithms: &[Algorithm::Sha256, Algorithm::Md5],
        }
    }

    /// Offers these algorithms, the preferred one first (RFC 8760 §2.4). Credentials of the others
    /// are good all the same.
    pub fn offer(&mut self, algorithms: &'static [Algorithm]) {
        self.algorithms = algorithms;
    }

    /// The values of the WWW-Authenticate or Proxy-Authenticate headers, one per algorithm, to be
    /// written in this order.
    pub fn challenge_headers(
        &self,
        unix_seconds: u64,
        realm: &str,
        stale: bool,
    ) -> impl Iterator<Item = String> + use<> {
        self.replays.born(unix_seconds);
        let nonce = Nonce {
            made_at: unix_seconds as u32,
            serial: self.replays.next_serial(),
        }
        .render(self.key, realm.as_bytes());
        let realm = quoted(realm);
        let stale = if stale { ", stale=true" } else { "" };
        self.algorithms.iter().map(move |algorithm| {
            format!(
                "Digest realm=\"{realm}\", nonce=\"{}\", algorithm={}, qop=\"auth\"{stale}",
                nonce.as_str(),
                algorithm.token(),
            )
        })
    }

    /// Judges credentials. `ha1` is that of the user whom they name, `None` for an unknown one: the
    /// work is the same, so that the time tells nobody which users there are.
    pub fn verify(
        &self,
        unix_seconds: u64,
        credentials: &Credentials<'_>,
        subject: &Subject<'_>,
        ha1: Option<&Ha1>,
    ) -> Verdict {
        let Some(claim) = Claim::read(credentials, subject) else {
            return Verdict::Refuse;
        };
        const NOBODY: Ha1 = Ha1 {
            md5: [0x55; 16],
            sha256: [0x55; 32],
        };
        let known = ha1.is_some();
        let ha1 = ha1.unwrap_or(&NOBODY);
        let secret = match claim.algorithm {
            Algorithm::Md5 => Hex::of(&ha1.md5),
            Algorithm::Sha256 => Hex::of(&ha1.sha256),
        };
        let expected = response(claim.algorithm, secret.as_bytes(), &claim.input);
        let nonce = Nonce::verify(claim.input.nonce, self.key, subject.realm.as_bytes());
        if !(expected.matches(claim.response) & known) {
            return Verdict::Refuse;
        }
        let born = self.replays.born(unix_seconds);
        let Some(nonce) = nonce.filter(|nonce| {
            nonce.age(unix_seconds) <= NONCE_LIFETIME_SECONDS && u64::from(nonce.made_at) >= born
        }) else {
            return Verdict::Stale;
        };
        let forget_before = unix_seconds.saturating_sub(NONCE_LIFETIME_SECONDS) as u32;
        match self.replays.note(nonce, claim.count, forget_before) {
            Use::First => Verdict::Accept,
            Use::Replay => Verdict::Replay,
            Use::Unknown => Verdict::Stale,
        }
    }
}

/// Credentials that are complete and about this request.
struct Claim<'a> {
    algorithm: Algorithm,
    input: ResponseInput<'a>,
    response: &'a [u8],
    count: u32,
}

impl<'a> Claim<'a> {
    fn read(credentials: &Credentials<'a>, subject: &Subject<'a>) -> Option<Self> {
        if !credentials.is_digest() || credentials.realm()? != quoted(subject.realm).as_bytes() {
            return None;
        }
        let uri = credentials.uri()?;
        if !same_resource(uri, subject.request_uri) {
            return None;
        }
        let (count, parts) = match credentials.qop() {
            None => (COUNT_WITHOUT_QOP, None),
            Some(qop) if qop.eq_ignore_ascii_case(b"auth") => {
                let (nc, cnonce) = (credentials.nc()?, credentials.cnonce()?);
                (count(nc)?, Some(Count { nc, cnonce, qop }))
            }
            Some(_) => return None,
        };
        Some(Self {
            algorithm: Algorithm::from_token(credentials.algorithm())?,
            input: ResponseInput {
                method: subject.method,
                uri,
                nonce: credentials.nonce()?,
                count: parts,
            },
            response: credentials.response()?,
            count,
        })
    }
}

/// `nc` is eight hexadecimal digits (RFC 7616 §3.4); shorter ones are seen too. It starts at one.
fn count(nc: &[u8]) -> Option<u32> {
    if nc.is_empty() || nc.len() > 8 || !nc.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let count = u32::from_str_radix(std::str::from_utf8(nc).ok()?, 16).ok()?;
    (count != 0 && count != COUNT_WITHOUT_QOP).then_some(count)
}

/// Whether the `uri` parameter names what the Request-URI names. Phones leave out or add ports and
/// parameters, so user and host decide; another user or host would let one answer open other doors.
fn same_resource(uri: &[u8], request_uri: &[u8]) -> bool {
    if uri == request_uri {
        return true;
    }
    match (Uri::parse(uri), Uri::parse(request_uri)) {
        (Ok(a), Ok(b)) => a.user() == b.user() && a.host().matches(&b.host()),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) | (Err(_), Err(_)) => false,
    }
}

/// As inside a quoted string (RFC 3261 §25.1).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
