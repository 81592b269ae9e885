//! Session keys (RFC 3711 §4.3) and what is done with them: counter mode (§4.1.1), HMAC-SHA1
//! (§4.2.1), AES-GCM (RFC 7714 §8, §9).

use super::{KEY_MAX, MasterKey, Profile, SALT_MAX};
use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipherCore};
use aes::{Aes128, Aes256};
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use hmac::{Hmac, Mac};
use sha1::Sha1;

type HmacSha1 = Hmac<Sha1>;

/// Of the key for HMAC-SHA1, bytes (§5.2).
const AUTHENTICATION_KEY: usize = 20;
/// Of GCM's tag, bytes.
pub(super) const GCM_TAG: usize = 16;

/// What a session key is for (§4.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Rtp,
    Rtcp,
}

enum Aes {
    Short(Aes128),
    Long(Aes256),
}

impl Aes {
    /// From 16 or 32 bytes.
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(Self::Short),
            _ => Aes256::new_from_slice(key).ok().map(Self::Long),
        }
    }

    fn apply(&self, counter: [u8; 16], data: &mut [u8]) {
        match self {
            Self::Short(aes) => keystream(aes, counter, data),
            Self::Long(aes) => keystream(aes, counter, data),
        }
    }
}

fn keystream<C>(aes: &C, counter: [u8; 16], data: &mut [u8])
where
    C: BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
{
    let core = CtrCore::<&C, Ctr128BE>::inner_iv_init(aes, &counter.into());
    core.apply_keystream_partial(data.into());
}

/// Fills `out` with the session key of a label (§4.3.3); the rate of derivation is zero.
pub(super) fn derive(master: &MasterKey, label: u8, out: &mut [u8]) {
    let mut counter = [0; 16];
    counter[..SALT_MAX].copy_from_slice(&master.salt());
    counter[7] ^= label;
    out.fill(0);
    if let Some(aes) = Aes::new(master.key()) {
        aes.apply(counter, out);
    }
}

enum Cipher {
    Counter { aes: Aes, mac: HmacSha1 },
    Gcm128(Aes128Gcm),
    Gcm256(Aes256Gcm),
}

/// The keys of SRTP or of SRTCP.
pub(super) struct Session {
    cipher: Box<Cipher>,
    salt: [u8; SALT_MAX],
}

/// A packet was not made with these keys.
pub(super) struct Forged;

impl Session {
    pub(super) fn new(master: &MasterKey, purpose: Purpose) -> Option<Self> {
        let first = match purpose {
            Purpose::Rtp => 0,
            Purpose::Rtcp => 3,
        };
        let profile = master.profile();
        let mut key = [0; KEY_MAX];
        let key = &mut key[..profile.key_length()];
        let mut authentication = [0; AUTHENTICATION_KEY];
        let mut salt = [0; SALT_MAX];
        derive(master, first, key);
        derive(master, first + 1, &mut authentication);
        derive(master, first + 2, &mut salt[..profile.salt_length()]);
        Self::with_keys(profile, key, &authentication, salt)
    }

    pub(super) fn with_keys(
        profile: Profile,
        key: &[u8],
        authentication: &[u8],
        salt: [u8; SALT_MAX],
    ) -> Option<Self> {
        let cipher = match profile {
            Profile::AesCm128HmacSha1_80
            | Profile::AesCm128HmacSha1_32
            | Profile::AesCm256HmacSha1_80
            | Profile::AesCm256HmacSha1_32 => Cipher::Counter {
                aes: Aes::new(key)?,
                mac: <HmacSha1 as KeyInit>::new_from_slice(authentication).ok()?,
            },
            Profile::AeadAes128Gcm => Cipher::Gcm128(Aes128Gcm::new_from_slice(key).ok()?),
            Profile::AeadAes256Gcm => Cipher::Gcm256(Aes256Gcm::new_from_slice(key).ok()?),
        };
        Some(Self {
            cipher: Box::new(cipher),
            salt,
        })
    }

    /// Encrypts or decrypts in counter mode. `index` is SRTP's of 48 bits or SRTCP's of 31.
    pub(super) fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let Cipher::Counter { aes, .. } = &*self.cipher else {
            return;
        };
        let mut counter = [0; 16];
        counter[..SALT_MAX].copy_from_slice(&self.salt);
        mix(&mut counter[4..8], &ssrc.to_be_bytes());
        mix(&mut counter[8..14], &index.to_be_bytes()[2..]);
        aes.apply(counter, data);
    }

    fn mac(&self, parts: [&[u8]; 2]) -> Option<HmacSha1> {
        match &*self.cipher {
            Cipher::Counter { mac, .. } => Some(
                parts
                    .iter()
                    .fold(mac.clone(), |mac, part| mac.chain_update(part)),
            ),
            Cipher::Gcm128(_) | Cipher::Gcm256(_) => None,
        }
    }

    /// Writes the tag over both parts, as much of it as `tag` has room for.
    pub(super) fn sign(&self, parts: [&[u8]; 2], tag: &mut [u8]) {
        if let Some(mac) = self.mac(parts) {
            let whole = mac.finalize().into_bytes();
            tag.copy_from_slice(&whole[..tag.len()]);
        }
    }

    /// Compares the tag, in a time that does not depend on where it differs.
    pub(super) fn verify(&self, parts: [&[u8]; 2], tag: &[u8]) -> Result<(), Forged> {
        let mac = self.mac(parts).ok_or(Forged)?;
        mac.verify_truncated_left(tag).map_err(|_| Forged)
    }

    /// SRTP's nonce of `ssrc | roc | sequence`, or SRTCP's of `ssrc | 0 | index` (RFC 7714 §8.1,
    /// §9.1): in either case the index in the last six bytes.
    fn nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&self.salt[..12]);
        mix(&mut nonce[2..6], &ssrc.to_be_bytes());
        mix(&mut nonce[6..], &index.to_be_bytes()[2..]);
        nonce
    }

    /// Encrypts with GCM; returns the tag.
    pub(super) fn seal(
        &self,
        (ssrc, index): (u32, u64),
        clear: &[u8],
        data: &mut [u8],
    ) -> Option<[u8; GCM_TAG]> {
        let nonce = self.nonce(ssrc, index).into();
        let sealed = match &*self.cipher {
            Cipher::Gcm128(gcm) => gcm.encrypt_inout_detached(&nonce, clear, data.into()),
            Cipher::Gcm256(gcm) => gcm.encrypt_inout_detached(&nonce, clear, data.into()),
            Cipher::Counter { .. } => return None,
        };
        sealed.ok().map(Into::into)
    }

    /// Decrypts with GCM, if the tag is right.
    pub(super) fn open(
        &self,
        (ssrc, index): (u32, u64),
        clear: &[u8],
        data: &mut [u8],
        tag: &[u8; GCM_TAG],
    ) -> Result<(), Forged> {
        let nonce = self.nonce(ssrc, index).into();
        let tag = (*tag).into();
        let opened = match &*self.cipher {
            Cipher::Gcm128(gcm) => gcm.decrypt_inout_detached(&nonce, clear, data.into(), &tag),
            Cipher::Gcm256(gcm) => gcm.decrypt_inout_detached(&nonce, clear, data.into(), &tag),
            Cipher::Counter { .. } => return Err(Forged),
        };
        opened.map_err(|_| Forged)
    }

    pub(super) fn is_gcm(&self) -> bool {
        matches!(&*self.cipher, Cipher::Gcm128(_) | Cipher::Gcm256(_))
    }
}

fn mix(place: &mut [u8], value: &[u8]) {
    for (place, value) in place.iter_mut().zip(value) {
        *place ^= value;
    }
}
