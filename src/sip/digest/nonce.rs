//! Nonces that verify themselves: when they were made, a number that no other nonce has, and a
//! keyed MAC over both and the realm. RFC 7616 §3.3 leaves the form to the server.
//!
//! The MAC is SipHash-2-4: 64 bits of it in the nonce, each guess costs a round trip to the server,
//! and a nonce lives minutes. A forged nonce gains nothing but a replay slot anyway, since the
//! response still needs the password.

use super::hash::Hex;
use crate::sip::siphash::SipHasher;

/// Bytes before the MAC: seconds (4) and serial number (8).
const PLAIN: usize = 12;
/// Bytes of a nonce; it is written in hexadecimal.
const LENGTH: usize = PLAIN + 8;

/// What a genuine nonce says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Nonce {
    /// Unix seconds at which it was made, as far as 32 bits go.
    pub(super) made_at: u32,
    /// Tells nonces of one second apart.
    pub(super) serial: u64,
}

impl Nonce {
    pub(super) fn render(&self, key: [u64; 2], realm: &[u8]) -> Hex {
        let mut bytes = [0; LENGTH];
        let (plain, mac) = bytes.split_at_mut(PLAIN);
        plain.copy_from_slice(&self.plain());
        mac.copy_from_slice(&self.mac(key, realm));
        Hex::of(&bytes)
    }

    /// The nonce, if this key made it for this realm.
    pub(super) fn verify(text: &[u8], key: [u64; 2], realm: &[u8]) -> Option<Self> {
        let mut bytes = [0; LENGTH];
        if text.len() != LENGTH * 2 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *byte = (digit(*high)? << 4) | digit(*low)?;
        }
        let (time, rest) = bytes.split_first_chunk::<4>()?;
        let (serial, mac) = rest.split_first_chunk::<8>()?;
        let nonce = Self {
            made_at: u32::from_be_bytes(*time),
            serial: u64::from_be_bytes(*serial),
        };
        let difference = nonce
            .mac(key, realm)
            .iter()
            .zip(mac)
            .fold(0, |sum, (a, b)| sum | (a ^ b));
        (std::hint::black_box(difference) == 0).then_some(nonce)
    }

    /// Seconds since it was made; a nonce of the future has an age of zero.
    pub(super) fn age(&self, unix_seconds: u64) -> u64 {
        unix_seconds.saturating_sub(u64::from(self.made_at))
    }

    fn plain(&self) -> [u8; PLAIN] {
        let mut plain = [0; PLAIN];
        let (time, serial) = plain.split_at_mut(4);
        time.copy_from_slice(&self.made_at.to_be_bytes());
        serial.copy_from_slice(&self.serial.to_be_bytes());
        plain
    }

    fn mac(&self, key: [u64; 2], realm: &[u8]) -> [u8; 8] {
        let mut hasher = SipHasher::new(key);
        hasher.write(&self.plain());
        hasher.part(realm);
        hasher.finish()[0].to_le_bytes()
    }
}

/// Lower case only: what we wrote.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
