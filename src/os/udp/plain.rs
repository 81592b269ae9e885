//! FreeBSD: its `recvmmsg` and `sendmmsg` are loops in libc, so ours are as good and report more.

use super::{BATCH, DATAGRAM_BYTES_MAX, Name};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// Room for one batch of datagrams, reused for ever.
pub struct ReceiveBatch {
    names: Box<[Name]>,
    lengths: Box<[usize]>,
    buffer: Box<[u8]>,
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReceiveBatch")
    }
}

impl ReceiveBatch {
    /// `BATCH` buffers of the largest size. Pages that no datagram reached cost nothing.
    pub fn new() -> Self {
        Self {
            names: vec![Name::empty(); BATCH].into_boxed_slice(),
            lengths: vec![0; BATCH].into_boxed_slice(),
            buffer: vec![0; BATCH * DATAGRAM_BYTES_MAX].into_boxed_slice(),
        }
    }

    /// Receives until the socket is empty or the batch full; how many datagrams came.
    pub(super) fn receive(&mut self, fd: RawFd) -> io::Result<usize> {
        let chunks = self.buffer.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        let places = chunks.zip(self.names.iter_mut().zip(self.lengths.iter_mut()));
        let mut count = 0;
        for (chunk, (name, length)) in places {
            let mut name_len = Name::CAPACITY;
            // SAFETY: buffer, name and its length are ours and as long as told.
            let n = unsafe {
                libc::recvfrom(
                    fd,
                    chunk.as_mut_ptr().cast(),
                    chunk.len(),
                    libc::MSG_DONTWAIT,
                    std::ptr::from_mut(name).cast(),
                    &raw mut name_len,
                )
            };
            match usize::try_from(n) {
                Ok(n) => *length = n.min(DATAGRAM_BYTES_MAX),
                Err(_) if count > 0 => return Ok(count),
                Err(_) => return Err(io::Error::last_os_error()),
            }
            count += 1;
        }
        Ok(count)
    }

    /// Datagram `i` of the last batch: who sent it, and its bytes.
    pub fn datagram(&self, i: usize) -> Option<(SocketAddr, &[u8])> {
        let remote = self.names.get(i)?.to_address()?;
        let start = i.checked_mul(DATAGRAM_BYTES_MAX)?;
        let end = start + *self.lengths.get(i)?;
        Some((remote, self.buffer.get(start..end)?))
    }
}

/// Scratch for one batch of sends.
pub struct SendCalls {
    messages: Vec<(Name, *const u8, usize)>,
}

impl Default for SendCalls {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for SendCalls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SendCalls")
    }
}

impl SendCalls {
    /// Nothing added.
    pub fn new() -> Self {
        Self {
            messages: Vec::with_capacity(BATCH),
        }
    }

    /// Forgets what was added.
    pub(in crate::os) fn begin(&mut self) {
        self.messages.clear();
    }

    /// Adds a datagram that must outlive the call of `send`; past `BATCH` nothing is added.
    pub(in crate::os) fn add(&mut self, name: &Name, bytes: &[u8]) {
        if self.messages.len() < BATCH {
            self.messages.push((*name, bytes.as_ptr(), bytes.len()));
        }
    }

    /// How many of the first datagrams left. An error is that of the first.
    pub(in crate::os) fn send(&mut self, fd: RawFd) -> io::Result<usize> {
        for (sent, (name, bytes, len)) in self.messages.iter().enumerate() {
            // SAFETY: `UdpSocket::flush` and the broker call `begin`, `add` and
            // `send` in turn while it holds the datagrams, so the pointers are
            // good; the system reads through them only.
            let n = unsafe {
                libc::sendto(
                    fd,
                    (*bytes).cast(),
                    *len,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                    std::ptr::from_ref(name).cast(),
                    name.length(),
                )
            };
            if n < 0 {
                return match sent {
                    0 => Err(io::Error::last_os_error()),
                    sent => Ok(sent),
                };
            }
        }
        Ok(self.messages.len())
    }
}
