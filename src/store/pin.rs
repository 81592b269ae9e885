//! A mailbox's PIN as it is kept: PBKDF2 with HMAC-SHA-256 (RFC 8018 §5.2), never the digits.
//!
//! Ten thousand PINs of four digits are tried in a minute by whoever has the file, whatever the
//! hash. What protects a short PIN is that the telephone is slow and locks (`mailbox`); the hash
//! keeps it from being read by eye, and longer ones safe. So the rounds are few enough that a
//! shard, which waits for them, hardly notices.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Fewest and most digits of a PIN.
pub const PIN_DIGITS_MIN: usize = 3;
/// See [`PIN_DIGITS_MIN`].
pub const PIN_DIGITS_MAX: usize = 16;

/// Rounds of a new PIN: some milliseconds.
const ROUNDS: u32 = 5_000;
/// Most rounds that are believed of a stored one, so that a row written by hand blocks nobody.
const ROUNDS_MAX: u32 = 200_000;

const SCHEME: &str = "pbkdf2-sha256";

/// What is kept of a PIN.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinHash {
    rounds: u32,
    salt: [u8; 16],
    hash: [u8; 32],
}

impl std::fmt::Debug for PinHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinHash(..)")
    }
}

impl PinHash {
    /// Of a PIN. `salt` is random. `None` unless the PIN has [`PIN_DIGITS_MIN`] to
    /// [`PIN_DIGITS_MAX`] digits and nothing else.
    pub fn of(pin: &str, salt: [u8; 16]) -> Option<Self> {
        let good = (PIN_DIGITS_MIN..=PIN_DIGITS_MAX).contains(&pin.len());
        (good && pin.bytes().all(|b| b.is_ascii_digit())).then(|| Self {
            rounds: ROUNDS,
            salt,
            hash: pbkdf2(pin.as_bytes(), &salt, ROUNDS),
        })
    }

    /// Whether it is the hash of this PIN; takes as long when it is not.
    pub fn is_of(&self, pin: &str) -> bool {
        let tried = pbkdf2(pin.as_bytes(), &self.salt, self.rounds);
        let differs = tried.iter().zip(&self.hash);
        differs.fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
    }

    /// `pbkdf2-sha256$ROUNDS$SALT$HASH`, in hexadecimal digits.
    pub fn to_text(&self) -> String {
        let (salt, hash) = (hex(&self.salt), hex(&self.hash));
        format!("{SCHEME}${}${salt}${hash}", self.rounds)
    }

    /// Back from [`PinHash::to_text`].
    pub fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let scheme = parts.next()?;
        let rounds = parts.next()?.parse().ok()?;
        let (salt, hash) = (unhex(parts.next()?)?, unhex(parts.next()?)?);
        let good = scheme == SCHEME && parts.next().is_none();
        (good && (1..=ROUNDS_MAX).contains(&rounds)).then_some(Self { rounds, salt, hash })
    }
}

/// The first block alone, since it is as long as the hash.
fn pbkdf2(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let Ok(keyed) = Hmac::<Sha256>::new_from_slice(password) else {
        unreachable!("HMAC takes keys of every length")
    };
    let prf = |parts: &[&[u8]]| -> [u8; 32] {
        let mut mac = keyed.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut round = prf(&[salt, &1u32.to_be_bytes()]);
    let mut sum = round;
    for _ in 1..rounds {
        round = prf(&[&round]);
        sum.iter_mut().zip(&round).for_each(|(s, r)| *s ^= r);
    }
    sum
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 7914 §11.
    #[test]
    fn pbkdf2_of_rfc_7914() {
        let of = |password: &[u8], salt: &[u8], rounds| hex(&pbkdf2(password, salt, rounds));
        assert_eq!(
            of(b"passwd", b"salt", 1),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        );
        assert_eq!(
            of(b"Password", b"NaCl", 80_000),
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
        );
    }

    #[test]
    fn a_pin_is_known_again_and_nothing_else() {
        let hash = PinHash::of("2468", [7; 16]).unwrap();
        assert!(hash.is_of("2468") && !hash.is_of("2469") && !hash.is_of(""));
        let text = hash.to_text();
        assert!(!text.contains("2468"), "{text}");
        assert_eq!(PinHash::from_text(&text), Some(hash));
        assert_eq!(
            PinHash::from_text(&text.replace("5000", "4000000000")),
            None
        );
        assert_eq!(PinHash::from_text(&format!("{text}$")), None);
        assert_eq!(PinHash::from_text("2468"), None);
    }

    #[test]
    fn what_no_keypad_has_is_no_pin() {
        for bad in ["", "12", "12a4", "1 34", "12345678901234567"] {
            assert_eq!(PinHash::of(bad, [0; 16]), None, "{bad:?}");
        }
    }
}
