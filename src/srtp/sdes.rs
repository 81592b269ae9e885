//! Keys in SDP: the value of `a=crypto` (RFC 4568 §9.2), strictly.
//!
//! One key per attribute. Whoever reads an offer skips the attributes that are refused here and
//! takes the first that is not (§5.1.2).

use super::{MasterKey, Mki, Profile, RTP_PACKETS_MAX};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest value that is read: several times what any suite needs.
pub const VALUE_MAX: usize = 512;

/// What one `a=crypto` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Crypto {
    /// Which answer belongs to which offer; up to nine digits.
    pub tag: u32,
    /// Suite, key and salt of whoever sends the attribute.
    pub master: MasterKey,
    /// The most packets under the key, 1 to 2^48, if it says so.
    pub lifetime: Option<u64>,
    /// The key's name in the packets, if it has one.
    pub mki: Option<Mki>,
}

/// Why an attribute cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CryptoError {
    /// Not in the grammar; the peer's fault. Names what.
    Malformed(&'static str),
    /// A suite that we do not have.
    UnknownSuite(String),
    /// A session parameter or a kind of key that we do not have or do not want.
    Unsupported(String),
}

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "a=crypto: malformed {what}"),
            Self::UnknownSuite(name) => write!(f, "a=crypto: unknown crypto suite {name}"),
            Self::Unsupported(what) => write!(f, "a=crypto: {what} is not supported"),
        }
    }
}

impl std::error::Error for CryptoError {}

impl Crypto {
    /// Reads the value, which is what stands after `a=crypto:`.
    pub fn parse(value: &str) -> Result<Self, CryptoError> {
        if value.len() > VALUE_MAX {
            return Err(CryptoError::Malformed("value: it is too long"));
        }
        let mut words = value.split(' ');
        let mut next = |what| {
            let word = words.next().filter(|word| !word.is_empty());
            word.ok_or(CryptoError::Malformed(what))
        };
        let tag = next("tag")?;
        let suite = next("crypto suite")?;
        let keys = next("key parameters")?;
        if tag.len() > 9 {
            return Err(CryptoError::Malformed("tag"));
        }
        let tag = number(tag).ok_or(CryptoError::Malformed("tag"))? as u32;
        let profile = Profile::of_name(suite);
        let profile = profile.ok_or_else(|| CryptoError::UnknownSuite(suite.to_owned()))?;
        for parameter in words {
            session_parameter(parameter)?;
        }
        let (master, lifetime, mki) = key_parameter(profile, keys)?;
        Ok(Self {
            tag,
            master,
            lifetime,
            mki,
        })
    }
}

impl fmt::Display for Crypto {
    /// The value: what stands after `a=crypto:`. It shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suite = self.master.profile().name();
        write!(f, "{} {suite} inline:", self.tag)?;
        f.write_str(&base64(self.master.key_and_salt()))?;
        match self.lifetime {
            Some(lifetime) if lifetime.is_power_of_two() => {
                write!(f, "|2^{}", lifetime.trailing_zeros())?;
            }
            Some(lifetime) => write!(f, "|{lifetime}")?,
            None => {}
        }
        if let Some(mki) = self.mki {
            write!(f, "|{}:{}", mki.value, mki.length)?;
        }
        Ok(())
    }
}

/// `inline:KEY["|"LIFETIME]["|"MKI":"LENGTH]` (§6.1).
fn key_parameter(
    profile: Profile,
    text: &str,
) -> Result<(MasterKey, Option<u64>, Option<Mki>), CryptoError> {
    if text.contains(';') {
        return Err(CryptoError::Unsupported("more than one key".to_owned()));
    }
    let (method, info) = text
        .split_once(':')
        .ok_or(CryptoError::Malformed("key parameters"))?;
    if method != "inline" {
        let what = format!("key method {method}");
        return Err(CryptoError::Unsupported(what));
    }
    let mut parts = info.split('|');
    let bytes = parts.next().and_then(unbase64);
    let master = bytes.and_then(|bytes| MasterKey::new(profile, &bytes));
    let master = master.ok_or(CryptoError::Malformed("key: wrong base64 or wrong length"))?;
    let (mut lifetime, mut mki) = (None, None);
    for (place, part) in parts.enumerate() {
        match part.split_once(':') {
            None if place == 0 => lifetime = Some(read_lifetime(part)?),
            Some((value, length)) if mki.is_none() => mki = Some(read_mki(value, length)?),
            _ => return Err(CryptoError::Malformed("key parameters")),
        }
    }
    Ok((master, lifetime, mki))
}

fn read_lifetime(text: &str) -> Result<u64, CryptoError> {
    let packets = match text.strip_prefix("2^") {
        Some(power) => number(power).and_then(|p| 1u64.checked_shl(u32::try_from(p).ok()?)),
        None => number(text),
    };
    packets
        .filter(|packets| (1..=RTP_PACKETS_MAX).contains(packets))
        .ok_or(CryptoError::Malformed("lifetime"))
}

fn read_mki(value: &str, length: &str) -> Result<Mki, CryptoError> {
    let length = number(length).filter(|length| (1..=128).contains(length));
    let length = length.ok_or(CryptoError::Malformed("length of the MKI"))? as usize;
    if length > Mki::LENGTH_MAX {
        let what = format!("an MKI of {length} bytes");
        return Err(CryptoError::Unsupported(what));
    }
    number(value)
        .and_then(|value| Mki::new(value, length))
        .ok_or(CryptoError::Malformed("MKI"))
}

/// §6.3. What would weaken the stream is refused like what is unknown; an unknown one that the
/// peer calls optional by a `-` is passed over.
fn session_parameter(text: &str) -> Result<(), CryptoError> {
    let visible = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if !visible {
        return Err(CryptoError::Malformed("session parameters"));
    }
    if let Some(size) = text.strip_prefix("WSH=") {
        // A hint (§6.3.6): ours is 128, and at least 64 must be.
        let fits = number(size).is_some_and(|size| size >= 64);
        return fits.then_some(()).ok_or(CryptoError::Malformed("WSH"));
    }
    if let Some(name) = text.strip_prefix('-') {
        return match name {
            "" => Err(CryptoError::Malformed("session parameters")),
            _ => Ok(()),
        };
    }
    Err(CryptoError::Unsupported(format!(
        "session parameter {text}"
    )))
}

/// Digits only, at most nineteen.
fn number(text: &str) -> Option<u64> {
    let digits = (1..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let byte = |n: usize| u32::from(part.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit > part.len() {
                out.push('=');
            } else {
                let value = bits >> (18 - 6 * digit) & 63;
                out.push(char::from(DIGITS[value as usize]));
            }
        }
    }
    out
}

/// With its padding or without it, as rtpengine writes it (RFC 4568 §6.1 leaves that open), and no
/// bits set that mean nothing (RFC 4648 §3.5).
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let missing = match (text.len() % 4, text.ends_with('=')) {
        (0, _) => "",
        (2, false) => "==",
        (3, false) => "=",
        _ => return None,
    };
    let text = [text, missing].concat();
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (groups, _) = text.as_bytes().as_chunks::<4>();
    for (place, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|b| **b == b'=').count();
        if padding > 2 || (padding > 0 && place + 1 < groups.len()) {
            return None;
        }
        let mut bits = 0u32;
        for digit in &group[..4 - padding] {
            bits = bits << 6 | DIGITS.iter().position(|d| d == digit)? as u32;
        }
        bits <<= 6 * padding;
        let [_, bytes @ ..] = bits.to_be_bytes();
        let (kept, unused) = bytes.split_at(3 - padding);
        if unused.iter().any(|b| *b != 0) {
            return None;
        }
        out.extend(kept);
    }
    Some(out)
}
