//! The keys of a leg (SRTP, RFC 3711), as its descriptions carry them (SDES, RFC 4568).

use super::order::Keys;
use crate::srtp::{self, Crypto};

/// Both directions.
#[derive(Debug)]
pub(super) struct Secure(srtp::Secure);

impl Secure {
    /// What holds from now on.
    pub fn renewed(before: Option<Box<Self>>, keys: Option<&Keys>) -> Option<Box<Self>> {
        let keys = keys?;
        let keys = srtp::Keys {
            ours: Crypto::parse(&keys.ours).ok(),
            theirs: Crypto::parse(&keys.theirs).ok(),
        };
        let mut one = before.unwrap_or_else(|| Box::new(Self(srtp::Secure::default())));
        one.0.renew(&keys);
        Some(one)
    }

    /// A packet in the clear; `None` if it was not made with the far end's key, or came before.
    pub fn open<'p>(&mut self, packet: &'p mut [u8], rtcp: bool) -> Option<&'p [u8]> {
        let length = self.0.open(packet, rtcp);
        packet.get(..length.ok()?)
    }

    /// Encrypts a packet in place; whether that could be done. What could not may not leave.
    pub fn seal(&mut self, packet: &mut Vec<u8>, rtcp: bool) -> bool {
        self.0.seal_vec(packet, rtcp).is_ok()
    }
}
