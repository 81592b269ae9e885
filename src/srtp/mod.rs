//! F1: SRTP (RFC 3711), keyed transforms for `relay` and `media` alike: AES in counter mode with
//! HMAC-SHA1, with 256-bit keys (RFC 6188), AES-GCM (RFC 7714), keys by SDES (RFC 4568).
//!
//! Packets are changed in place; nothing is allocated for one, but for the first of a source beyond
//! [`SOURCES_MAX`]. A source gets its state when its first packet has proved genuine, never before.
//! Not done here: DTLS, key derivation rates, unencrypted or unauthenticated streams, which are
//! refused.

mod context;
mod sdes;
mod secure;
mod transform;

#[cfg(test)]
mod tests;

pub use context::{OVERHEAD_MAX, Protector, RETIRED_MAX, SOURCES_MAX, SrtpError, Unprotector};
pub use sdes::{Crypto, CryptoError};
pub use secure::{Inbound, Keys, Outbound, Renewed, Secure, Shared};

use std::fmt;

/// The longest master key, bytes.
const KEY_MAX: usize = 32;
/// The longest master salt, bytes.
const SALT_MAX: usize = 14;
/// The most SRTP packets under one master key (RFC 3711 §9.2).
pub const RTP_PACKETS_MAX: u64 = 1 << 48;
/// The most SRTCP packets under one master key (RFC 3711 §9.2).
pub const RTCP_PACKETS_MAX: u64 = 1 << 31;

/// What encrypts and what authenticates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Profile {
    /// RFC 3711's default.
    AesCm128HmacSha1_80,
    /// With a short tag on SRTP; on SRTCP it is as long as with the default (RFC 4568 §6.2.2).
    AesCm128HmacSha1_32,
    /// RFC 6188.
    AesCm256HmacSha1_80,
    /// RFC 6188, with a short tag on SRTP.
    AesCm256HmacSha1_32,
    /// RFC 7714.
    AeadAes128Gcm,
    /// RFC 7714.
    AeadAes256Gcm,
}

impl Profile {
    /// All, strongest first.
    pub const ALL: [Profile; 6] = [
        Profile::AeadAes256Gcm,
        Profile::AeadAes128Gcm,
        Profile::AesCm256HmacSha1_80,
        Profile::AesCm128HmacSha1_80,
        Profile::AesCm256HmacSha1_32,
        Profile::AesCm128HmacSha1_32,
    ];

    /// The crypto suite's name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Profile::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Profile::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Profile::AesCm256HmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Profile::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Profile::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The profile of a crypto suite's name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// Of the master key and of the session keys, bytes.
    pub const fn key_length(self) -> usize {
        match self {
            Profile::AesCm128HmacSha1_80
            | Profile::AesCm128HmacSha1_32
            | Profile::AeadAes128Gcm => 16,
            Profile::AesCm256HmacSha1_80
            | Profile::AesCm256HmacSha1_32
            | Profile::AeadAes256Gcm => 32,
        }
    }

    /// Of the master salt and of the session salts, bytes.
    pub const fn salt_length(self) -> usize {
        match self {
            Profile::AesCm128HmacSha1_80
            | Profile::AesCm128HmacSha1_32
            | Profile::AesCm256HmacSha1_80
            | Profile::AesCm256HmacSha1_32 => 14,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 12,
        }
    }

    /// Of SRTP's authentication tag, bytes.
    const fn rtp_tag_length(self) -> usize {
        match self {
            Profile::AesCm128HmacSha1_80 | Profile::AesCm256HmacSha1_80 => 10,
            Profile::AesCm128HmacSha1_32 | Profile::AesCm256HmacSha1_32 => 4,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
        }
    }

    /// Of SRTCP's authentication tag, bytes.
    const fn rtcp_tag_length(self) -> usize {
        match self {
            Profile::AesCm128HmacSha1_80
            | Profile::AesCm128HmacSha1_32
            | Profile::AesCm256HmacSha1_80
            | Profile::AesCm256HmacSha1_32 => 10,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
        }
    }
}

/// A master key with its salt. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    profile: Profile,
    bytes: [u8; KEY_MAX + SALT_MAX],
}

impl MasterKey {
    /// Key and salt one after the other, as SDES carries them; `None` if the length is not the
    /// profile's.
    pub fn new(profile: Profile, key_and_salt: &[u8]) -> Option<Self> {
        let length = profile.key_length() + profile.salt_length();
        (key_and_salt.len() == length).then_some(())?;
        let mut bytes = [0; KEY_MAX + SALT_MAX];
        bytes[..length].copy_from_slice(key_and_salt);
        Some(Self { profile, bytes })
    }

    /// A random one; `fill` fills with random bytes.
    pub fn generate(profile: Profile, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes = [0; KEY_MAX + SALT_MAX];
        fill(&mut bytes[..profile.key_length() + profile.salt_length()]);
        Self { profile, bytes }
    }

    /// What it is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..self.profile.key_length()]
    }

    /// Filled with zeros to 14 bytes (RFC 7714 §11).
    fn salt(&self) -> [u8; SALT_MAX] {
        let mut salt = [0; SALT_MAX];
        let length = self.profile.salt_length();
        salt[..length].copy_from_slice(&self.bytes[self.profile.key_length()..][..length]);
        salt
    }

    fn key_and_salt(&self) -> &[u8] {
        &self.bytes[..self.profile.key_length() + self.profile.salt_length()]
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.profile.name())
    }
}

/// A master key's name in each packet (RFC 3711 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mki {
    value: u64,
    length: usize,
}

impl Mki {
    /// The longest that is taken, bytes.
    pub const LENGTH_MAX: usize = 8;

    /// A number in so many bytes, 1 to [`Self::LENGTH_MAX`]; `None` if it does not fit.
    pub fn new(value: u64, length: usize) -> Option<Self> {
        let fits = match length {
            1..Self::LENGTH_MAX => value >> (8 * length) == 0,
            Self::LENGTH_MAX => true,
            _ => false,
        };
        fits.then_some(Self { value, length })
    }

    /// The bytes at the end of the array.
    fn bytes(&self) -> ([u8; Self::LENGTH_MAX], usize) {
        (self.value.to_be_bytes(), Self::LENGTH_MAX - self.length)
    }
}
