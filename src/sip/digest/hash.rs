//! The hashes of RFC 7616 §3.4: H over parts joined by colons, in hexadecimal.

use crate::store::Ha1;
use md5::{Digest, Md5};
use sha2::Sha256;

/// What a challenge offers (RFC 8760 §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// RFC 2617 and every old phone.
    Md5,
    /// RFC 7616, RFC 8760.
    Sha256,
}

impl Algorithm {
    /// The token of the `algorithm` parameter.
    pub const fn token(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// Reads the `algorithm` parameter; without one it is MD5.
    pub fn from_token(token: Option<&[u8]>) -> Option<Self> {
        let Some(token) = token else {
            return Some(Algorithm::Md5);
        };
        [Algorithm::Md5, Algorithm::Sha256]
            .into_iter()
            .find(|a| token.eq_ignore_ascii_case(a.token().as_bytes()))
    }

    /// H over `parts` joined by colons, as lower case hexadecimal.
    pub(super) fn hex(self, parts: &[&[u8]]) -> Hex {
        match self {
            Algorithm::Md5 => Hex::of(&md5(parts)),
            Algorithm::Sha256 => Hex::of(&sha256(parts)),
        }
    }
}

fn feed<D: Digest>(parts: &[&[u8]]) -> D {
    let mut hash = D::new();
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    hash
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    feed::<Md5>(parts).finalize().into()
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    feed::<Sha256>(parts).finalize().into()
}

/// What the store keeps of a password (§3.4.2). The realm is the user's domain.
pub fn ha1(username: &str, realm: &str, password: &[u8]) -> Ha1 {
    let parts: [&[u8]; 3] = [username.as_bytes(), realm.as_bytes(), password];
    Ha1 {
        md5: md5(&parts),
        sha256: sha256(&parts),
    }
}

/// Up to 64 hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hex {
    digits: [u8; 64],
    length: usize,
}

impl Hex {
    /// At most 32 bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            if let [high, low] = pair {
                *high = DIGITS[usize::from(byte >> 4)];
                *low = DIGITS[usize::from(byte & 15)];
            }
        }
        Self {
            digits,
            length: bytes.len().min(32) * 2,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.length).unwrap_or_default()
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Compares in a time that does not depend on where the first difference is.
    pub(super) fn matches(&self, other: &[u8]) -> bool {
        let own = self.as_bytes();
        let mut difference = own.len() ^ other.len();
        for (n, a) in own.iter().enumerate() {
            let b = other.get(n).copied().unwrap_or(0).to_ascii_lowercase();
            difference |= usize::from(a ^ b);
        }
        std::hint::black_box(difference) == 0
    }
}

/// The response of §3.4.1 with `qop=auth`, or of RFC 2069 without `qop`.
pub(super) fn response(algorithm: Algorithm, ha1: &[u8], input: &ResponseInput<'_>) -> Hex {
    let ha2 = algorithm.hex(&[input.method, input.uri]);
    match input.count {
        Some(Count { nc, cnonce, qop }) => {
            algorithm.hex(&[ha1, input.nonce, nc, cnonce, qop, ha2.as_bytes()])
        }
        None => algorithm.hex(&[ha1, input.nonce, ha2.as_bytes()]),
    }
}

/// All that the response covers beside the secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseInput<'a> {
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) nonce: &'a [u8],
    pub(super) count: Option<Count<'a>>,
}

/// The part that `qop` brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count<'a> {
    pub(super) nc: &'a [u8],
    pub(super) cnonce: &'a [u8],
    pub(super) qop: &'a [u8],
}
