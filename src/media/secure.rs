//! The keys of a leg (SRTP, RFC 3711), as its descriptions carry them (SDES, RFC 4568).

use super::order::Keys;

use crate::srtp::{Crypto, OVERHEAD_MAX, Protector, Unprotector};

/// Both directions. A direction keeps its state as long as it keeps its key: under one begun anew
/// the same key would make the same key stream again (RFC 3711 §9.1).
#[derive(Debug)]
pub(super) struct Secure {
    keys: Keys,
    out: Option<Protector>,
    input: Option<Unprotector>,
}

impl Secure {
    /// What holds from now on.
    pub fn renewed(before: Option<Box<Self>>, keys: Option<&Keys>) -> Option<Box<Self>> {
        let keys = keys?.clone();
        let (mut out, mut input) = (None, None);
        if let Some(before) = before {
            let Self {
                keys: old,
                out: old_out,
                input: old_input,
            } = *before;
            out = old_out.filter(|_| old.ours == keys.ours);
            input = old_input.filter(|_| old.theirs == keys.theirs);
        }
        let out = out.or_else(|| {
            let key = Crypto::parse(&keys.ours).ok()?;
            Some(Protector::new(&key.master, key.mki, key.lifetime))
        });
        let input = input.or_else(|| {
            let key = Crypto::parse(&keys.theirs).ok()?;
            Some(Unprotector::new(&key.master, key.mki, key.lifetime))
        });
        Some(Box::new(Self { keys, out, input }))
    }

    /// A packet in the clear; `None` if it was not made with the far end's key, or came before.
    pub fn open<'p>(&mut self, packet: &'p mut [u8], rtcp: bool) -> Option<&'p [u8]> {
        let input = self.input.as_mut()?;
        let length = match rtcp {
            true => input.unprotect_rtcp(packet),
            false => input.unprotect_rtp(packet),
        };
        packet.get(..length.ok()?)
    }

    /// Encrypts a packet in place; whether that could be done. What could not may not leave.
    pub fn seal(&mut self, packet: &mut Vec<u8>, rtcp: bool) -> bool {
        let Some(out) = &mut self.out else {
            return false;
        };
        let length = packet.len();
        packet.resize(length + OVERHEAD_MAX, 0);
        let sealed = match rtcp {
            true => out.protect_rtcp(packet, length),
            false => out.protect_rtp(packet, length),
        };
        packet.truncate(sealed.unwrap_or_default());
        sealed.is_ok()
    }
}
