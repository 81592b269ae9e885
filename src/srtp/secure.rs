//! The keys of one stream with one peer, as descriptions carry them (SDES, RFC 4568), and what both
//! directions keep under them.

use super::{Crypto, OVERHEAD_MAX, Protector, SrtpError, Unprotector};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Keys of a stream with a peer; a direction without one carries nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Keys {
    /// Of what we send, once it is agreed on.
    pub ours: Option<Crypto>,
    /// Of what the peer sends, once it has told.
    pub theirs: Option<Crypto>,
}

/// What we send. It keeps its state as long as it keeps its key, whatever becomes of the stream
/// meanwhile: under one begun anew the same key would make the same key stream again (RFC 3711
/// §9.1).
#[derive(Default, Debug)]
pub struct Outbound {
    key: Option<Crypto>,
    /// Whether that is the key of what is sent now.
    sends: bool,
    protector: Option<Protector>,
}

/// What the peer sends, which keeps its state likewise.
#[derive(Default, Debug)]
pub struct Inbound {
    key: Option<Crypto>,
    unprotector: Option<Unprotector>,
}

impl Outbound {
    fn renew(&mut self, ours: Option<&Crypto>) -> (bool, Option<Self>) {
        let sent = std::mem::replace(&mut self.sends, ours.is_some());
        let Some(ours) = ours.filter(|ours| !is(self.key.as_ref(), ours)) else {
            return (sent, None);
        };
        let new = Self {
            key: Some(ours.clone()),
            sends: true,
            protector: Some(Protector::new(&ours.master, ours.mki, ours.lifetime)),
        };
        (sent, Some(std::mem::replace(self, new)))
    }

    fn restore(&mut self, (sent, before): (bool, Option<Self>)) {
        if let Some(before) = before {
            *self = before;
        }
        self.sends = sent;
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
        let protector = self.protector.as_mut().filter(|_| self.sends);
        let protector = protector.ok_or(SrtpError::NoKey)?;
        match rtcp {
            true => protector.protect_rtcp(buffer, length),
            false => protector.protect_rtp(buffer, length),
        }
    }
}

impl Inbound {
    fn renew(&mut self, theirs: Option<&Crypto>) -> Option<Self> {
        // Where there is none, who was heard before is not any more; what he sent may come again
        // only in vain.
        let stays = match theirs {
            Some(theirs) => is(self.key.as_ref(), theirs),
            None => self.key.is_none(),
        };
        if stays {
            return None;
        }
        let mut new = Self {
            key: theirs.cloned(),
            unprotector: theirs.map(|key| Unprotector::new(&key.master, key.mki, key.lifetime)),
        };
        if let (Some(new), Some(old)) = (&mut new.unprotector, &self.unprotector) {
            new.follow(old);
        }
        Some(std::mem::replace(self, new))
    }

    fn restore(&mut self, before: Option<Self>) {
        if let Some(before) = before {
            *self = before;
        }
    }

    /// Makes RTP or RTCP of a packet of the peer's in place; returns its length.
    pub fn open(&mut self, packet: &mut [u8], rtcp: bool) -> Result<usize, SrtpError> {
        let unprotector = self.unprotector.as_mut().ok_or(SrtpError::NoKey)?;
        match rtcp {
            true => unprotector.unprotect_rtcp(packet),
            false => unprotector.unprotect_rtp(packet),
        }
    }
}

/// Both directions.
#[derive(Default, Debug)]
pub struct Secure {
    out: Outbound,
    input: Inbound,
}

/// What a change of keys put away, so that it may be as before.
#[derive(Default, Debug)]
pub struct Renewed {
    ours: (bool, Option<Outbound>),
    theirs: Option<Inbound>,
}

impl Secure {
    /// These keys hold from now on.
    pub fn renew(&mut self, keys: &Keys) -> Renewed {
        Renewed {
            ours: self.out.renew(keys.ours.as_ref()),
            theirs: self.input.renew(keys.theirs.as_ref()),
        }
    }

    /// [`Inbound::open`].
    pub fn open(&mut self, packet: &mut [u8], rtcp: bool) -> Result<usize, SrtpError> {
        self.input.open(packet, rtcp)
    }

    /// [`Outbound::seal`] in a vector, which grows.
    pub fn seal_vec(&mut self, packet: &mut Vec<u8>, rtcp: bool) -> Result<(), SrtpError> {
        let length = packet.len();
        packet.resize(length + OVERHEAD_MAX, 0);
        let sealed = self.out.seal(packet, length, rtcp);
        packet.truncate(sealed.unwrap_or_default());
        sealed.map(|_| ())
    }
}

/// Both directions, for sockets and a fast path in common: whichever a packet comes by, it is under
/// one set of indices, so that no key stream is used twice (RFC 3711 §9.1) and no replay passes by
/// going the other way.
#[derive(Clone, Default, Debug)]
pub struct Shared(Arc<Both>);

#[derive(Default, Debug)]
struct Both {
    out: Mutex<Outbound>,
    input: Mutex<Inbound>,
}

impl Shared {
    /// These keys hold from now on.
    pub fn renew(&self, keys: &Keys) -> Renewed {
        Renewed {
            ours: self.outbound().renew(keys.ours.as_ref()),
            theirs: self.inbound().renew(keys.theirs.as_ref()),
        }
    }

    /// Undoes a [`Shared::renew`] under whose keys nothing was sent or taken: what was kept under
    /// those of before goes on where it was.
    pub fn restore(&self, before: Renewed) {
        self.outbound().restore(before.ours);
        self.inbound().restore(before.theirs);
    }

    /// Waits for the turn at what we send: at most for as long as another takes for a packet.
    pub fn outbound(&self) -> MutexGuard<'_, Outbound> {
        self.0.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same at what comes.
    pub fn inbound(&self) -> MutexGuard<'_, Inbound> {
        self.0.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn at what we send, unless it is another's.
    pub fn try_outbound(&self) -> Option<MutexGuard<'_, Outbound>> {
        try_lock(&self.0.out)
    }

    /// The same at what comes.
    pub fn try_inbound(&self) -> Option<MutexGuard<'_, Inbound>> {
        try_lock(&self.0.input)
    }
}

fn try_lock<T>(one: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match one.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Whether both are the same one.
impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Shared {}

/// Whether it is this key; tags are those of descriptions.
fn is(known: Option<&Crypto>, key: &Crypto) -> bool {
    known.is_some_and(|known| known.master == key.master && known.mki == key.mki)
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
