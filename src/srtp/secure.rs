//! The keys of one stream with one peer, as descriptions carry them (SDES, RFC 4568), and what both
//! directions keep under them.

use super::{Crypto, OVERHEAD_MAX, Protector, SrtpError, Unprotector};
use serde::{Deserialize, Serialize};

/// Keys of a stream with a peer; a direction without one carries nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Keys {
    /// Of what we send, once it is agreed on.
    pub ours: Option<Crypto>,
    /// Of what the peer sends, once it has told.
    pub theirs: Option<Crypto>,
}

/// Both directions. A direction keeps its state as long as it keeps its key, whatever becomes of
/// the stream meanwhile: under one begun anew the same key would make the same key stream again
/// (RFC 3711 §9.1).
#[derive(Default, Debug)]
pub struct Secure {
    keys: Keys,
    /// Whether there is a key for what we send now.
    sends: bool,
    out: Option<Protector>,
    input: Option<Unprotector>,
}

/// What [`Secure::renew`] put away, so that it may be as before.
#[derive(Default, Debug)]
pub struct Renewed {
    sends: bool,
    ours: Option<(Option<Crypto>, Option<Protector>)>,
    theirs: Option<(Option<Crypto>, Option<Unprotector>)>,
}

impl Secure {
    /// These keys hold from now on.
    pub fn renew(&mut self, keys: &Keys) -> Renewed {
        let mut before = Renewed {
            sends: std::mem::replace(&mut self.sends, keys.ours.is_some()),
            ..Renewed::default()
        };
        let is = |known: &Option<Crypto>, key: &Crypto| {
            known.as_ref().is_some_and(|known| same(known, key))
        };
        if let Some(ours) = &keys.ours
            && !is(&self.keys.ours, ours)
        {
            let out = Protector::new(&ours.master, ours.mki, ours.lifetime);
            let known = self.keys.ours.replace(ours.clone());
            before.ours = Some((known, self.out.replace(out)));
        }
        // Where there is none, who was heard before is not any more; what he sent may come again
        // only in vain.
        let stays = match &keys.theirs {
            Some(theirs) => is(&self.keys.theirs, theirs),
            None => self.keys.theirs.is_none(),
        };
        if !stays {
            let input = keys
                .theirs
                .as_ref()
                .map(|theirs| Unprotector::new(&theirs.master, theirs.mki, theirs.lifetime));
            let known = std::mem::replace(&mut self.keys.theirs, keys.theirs.clone());
            before.theirs = Some((known, std::mem::replace(&mut self.input, input)));
        }
        before
    }

    /// Undoes a [`Secure::renew`] under whose keys nothing was sent or taken: what was kept under
    /// those of before goes on where it was.
    pub fn restore(&mut self, before: Renewed) {
        self.sends = before.sends;
        if let Some(ours) = before.ours {
            (self.keys.ours, self.out) = ours;
        }
        if let Some(theirs) = before.theirs {
            (self.keys.theirs, self.input) = theirs;
        }
    }

    /// Makes RTP or RTCP of a packet of the peer's in place; returns its length.
    pub fn open(&mut self, packet: &mut [u8], rtcp: bool) -> Result<usize, SrtpError> {
        let input = self.input.as_mut().ok_or(SrtpError::NoKey)?;
        match rtcp {
            true => input.unprotect_rtcp(packet),
            false => input.unprotect_rtp(packet),
        }
    }

    /// Protects the RTP or RTCP in the first `length` bytes of a buffer, which has room for
    /// [`OVERHEAD_MAX`] bytes more; returns its new length. What could not be protected may not
    /// leave.
    pub fn seal(
        &mut self,
        buffer: &mut [u8],
        length: usize,
        rtcp: bool,
    ) -> Result<usize, SrtpError> {
        let out = self.out.as_mut().filter(|_| self.sends);
        let out = out.ok_or(SrtpError::NoKey)?;
        match rtcp {
            true => out.protect_rtcp(buffer, length),
            false => out.protect_rtp(buffer, length),
        }
    }

    /// The same in a vector, which grows.
    pub fn seal_vec(&mut self, packet: &mut Vec<u8>, rtcp: bool) -> Result<(), SrtpError> {
        let length = packet.len();
        packet.resize(length + OVERHEAD_MAX, 0);
        let sealed = self.seal(packet, length, rtcp);
        packet.truncate(sealed.unwrap_or_default());
        sealed.map(|_| ())
    }
}

/// Whether two attributes mean the same key; their tags are those of their descriptions.
fn same(a: &Crypto, b: &Crypto) -> bool {
    a.master == b.master && a.mki == b.mki
}

impl TryFrom<String> for Crypto {
    type Error = super::CryptoError;

    fn try_from(value: String) -> Result<Self, Self::Error> {
        Self::parse(&value)
    }
}

impl From<Crypto> for String {
    fn from(crypto: Crypto) -> Self {
        crypto.to_string()
    }
}
