//! Globally routable user agent URIs (RFC 5627): made for the answer to a REGISTER, and resolved
//! when a request comes for one.
//!
//! A public one is the address of record with the instance as `gr`. A temporary one hides both: its
//! user part is what the registration was, encrypted and authenticated under a key of ours (the
//! synthetic-IV construction, as in RFC 5297, over HMAC-SHA256). So no table stands behind it, and
//! it holds as long as its instance stays registered under the same Call-ID (RFC 5627 §5.1).

use crate::base::hash64;
use crate::location::{Binding, Bindings, Location};
use crate::wire::sip::{USER, Uri, escape, unescape};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Longest user part of an address of record that gets temporary URIs, in bytes.
pub const USER_BYTES_MAX: usize = 64;

const TAG: usize = 10;
const INSTANCE: usize = 8;
const CALL_ID: usize = 6;
const FIXED: usize = 4 + INSTANCE + CALL_ID;

/// What a Request-URI with `gr` names.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// It has no `gr`: an address of record, or something else.
    NotGruu,
    /// Not one of ours, or out of date: 404.
    Unknown,
    /// The instance's bindings, the best first; none while it is not registered: 480.
    Instance(Bindings),
}

/// Makes and resolves them.
#[derive(Clone)]
pub struct GruuMint {
    tag: Hmac<Sha256>,
    stream: Hmac<Sha256>,
}

impl std::fmt::Debug for GruuMint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GruuMint(..)")
    }
}

fn keyed(secret: &[u8; 32], purpose: &[u8]) -> Hmac<Sha256> {
    let start = |key: &[u8]| match Hmac::<Sha256>::new_from_slice(key) {
        Ok(hmac) => hmac,
        Err(_) => unreachable!("HMAC takes keys of every length"),
    };
    let mut derive = start(secret);
    derive.update(purpose);
    start(&derive.finalize().into_bytes())
}

impl GruuMint {
    /// Temporary URIs of one mint are understood by every mint of the same `secret`.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            tag: keyed(secret, b"voip temporary gruu tag 1"),
            stream: keyed(secret, b"voip temporary gruu stream 1"),
        }
    }

    /// Appends the public URI of a binding with an instance.
    pub fn write_public(&self, binding: &Binding, out: &mut Vec<u8>) {
        let Some((user, domain)) = binding.aor().rsplit_once('@') else {
            return;
        };
        out.extend_from_slice(b"sip:");
        escape(user.as_bytes(), USER, out);
        out.push(b'@');
        out.extend_from_slice(domain.as_bytes());
        out.extend_from_slice(b";gr=");
        escape(binding.instance().as_bytes(), b"-_.!~*'()[]/:&+$", out);
    }

    /// Appends a temporary URI, a new one for each CSeq. False if the user part is too long.
    pub fn write_temporary(&self, binding: &Binding, out: &mut Vec<u8>) -> bool {
        let Some((user, domain)) = binding.aor().rsplit_once('@') else {
            return false;
        };
        if user.len() > USER_BYTES_MAX {
            return false;
        }
        let mut plain = Vec::with_capacity(FIXED + user.len());
        plain.extend_from_slice(&binding.cseq().to_be_bytes());
        plain.extend_from_slice(&instance_hash(binding.instance()));
        plain.extend_from_slice(&call_id_hash(binding.call_id()));
        plain.extend_from_slice(user.as_bytes());
        let tag = self.tag_of(&plain, domain);
        self.apply_stream(&tag, &mut plain);
        out.extend_from_slice(b"sip:");
        base32(&tag, out);
        base32(&plain, out);
        out.push(b'@');
        out.extend_from_slice(domain.as_bytes());
        out.extend_from_slice(b";gr");
        true
    }

    /// The bindings that a Request-URI names; `domain` is the canonical name of its host, one of
    /// our domains.
    pub fn resolve(&self, location: &Location, uri: &Uri<'_>, domain: &str) -> Resolved {
        let Some(gr) = uri.param("gr") else {
            return Resolved::NotGruu;
        };
        let found = match gr {
            Some(instance) => public_bindings(location, uri, instance, domain),
            None => self.temporary_bindings(location, uri, domain),
        };
        found.map_or(Resolved::Unknown, Resolved::Instance)
    }

    fn temporary_bindings(
        &self,
        location: &Location,
        uri: &Uri<'_>,
        domain: &str,
    ) -> Option<Bindings> {
        let text = uri.user()?;
        let tag = unbase32(text.get(..TAG * 8 / 5)?)?;
        let mut plain = unbase32(text.get(TAG * 8 / 5..)?)?;
        if plain.len() > FIXED + USER_BYTES_MAX {
            return None;
        }
        self.apply_stream(&tag, &mut plain);
        let expected = self.tag_of(&plain, domain);
        let differs = tag
            .iter()
            .zip(expected)
            .fold(0, |acc, (a, b)| acc | (a ^ b));
        if tag.len() != TAG || differs != 0 {
            return None;
        }
        let instance = plain.get(4..4 + INSTANCE)?;
        let call_id = plain.get(4 + INSTANCE..FIXED)?;
        let user = std::str::from_utf8(plain.get(FIXED..)?).ok()?;
        let mut bindings = location.lookup(&format!("{user}@{domain}"));
        bindings.retain(|b| instance_hash(b.instance()) == *instance);
        let registered = !bindings.is_empty();
        bindings.retain(|b| call_id_hash(b.call_id()) == *call_id);
        // The instance came back under another Call-ID: this URI is dead for good.
        (!registered || !bindings.is_empty()).then_some(bindings)
    }

    fn tag_of(&self, plain: &[u8], domain: &str) -> [u8; TAG] {
        let mut mac = self.tag.clone();
        mac.update(&(plain.len() as u64).to_be_bytes());
        mac.update(plain);
        mac.update(domain.as_bytes());
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut out = [0; TAG];
        out.copy_from_slice(&whole[..TAG]);
        out
    }

    fn apply_stream(&self, tag: &[u8], text: &mut [u8]) {
        for (number, chunk) in text.chunks_mut(32).enumerate() {
            let mut mac = self.stream.clone();
            mac.update(tag);
            mac.update(&(number as u64).to_be_bytes());
            let pad: [u8; 32] = mac.finalize().into_bytes().into();
            for (byte, pad) in chunk.iter_mut().zip(pad) {
                *byte ^= pad;
            }
        }
    }
}

fn public_bindings(
    location: &Location,
    uri: &Uri<'_>,
    instance: &[u8],
    domain: &str,
) -> Option<Bindings> {
    let user = uri.user_unescaped();
    let aor = format!("{}@{domain}", std::str::from_utf8(&user).ok()?);
    let instance = unescape(instance)?;
    Some(location.lookup_instance(&aor, &instance))
}

fn instance_hash(instance: &str) -> [u8; INSTANCE] {
    hash64(instance.to_ascii_lowercase().as_bytes()).to_be_bytes()
}

fn call_id_hash(call_id: &str) -> [u8; CALL_ID] {
    let [_, _, rest @ ..] = hash64(call_id.as_bytes()).to_be_bytes();
    rest
}

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

fn base32(bytes: &[u8], out: &mut Vec<u8>) {
    let (mut word, mut bits) = (0u32, 0);
    for &byte in bytes {
        word = (word << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(DIGITS[(word >> bits & 31) as usize]);
        }
        word &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(DIGITS[(word << (5 - bits) & 31) as usize]);
    }
}

fn unbase32(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut word, mut bits) = (0u32, 0);
    for &c in text {
        let digit = match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'v' => c - b'a' + 10,
            _ => return None,
        };
        word = (word << 5) | u32::from(digit);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    // Left over bits are padding: a second spelling of the same URI is refused.
    (word == 0 && bits < 5).then_some(out)
}
