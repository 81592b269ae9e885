//! Linux: `recvmmsg(2)` and `sendmmsg(2)` over buffers that are made once.

use super::{BATCH, DATAGRAM_BYTES_MAX, Name};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// Room for one batch of datagrams, reused for ever.
pub struct ReceiveBatch {
    headers: Vec<libc::mmsghdr>,
    names: Vec<Name>,
    // The headers point into these three; none is ever resized.
    _vectors: Vec<libc::iovec>,
    buffer: Vec<u8>,
    filled: usize,
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
        let mut buffer = vec![0u8; BATCH * DATAGRAM_BYTES_MAX];
        let mut names = vec![Name::empty(); BATCH];
        let mut vectors: Vec<libc::iovec> = buffer
            .chunks_exact_mut(DATAGRAM_BYTES_MAX)
            .map(|chunk| libc::iovec {
                iov_base: chunk.as_mut_ptr().cast(),
                iov_len: chunk.len(),
            })
            .collect();
        let headers = names
            .iter_mut()
            .zip(vectors.iter_mut())
            .map(|(name, vector)| {
                let mut header = empty_header();
                header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
                header.msg_hdr.msg_namelen = Name::CAPACITY;
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self {
            headers,
            names,
            _vectors: vectors,
            buffer,
            filled: 0,
        }
    }

    /// One call; how many datagrams came.
    pub(super) fn receive(&mut self, fd: RawFd) -> io::Result<usize> {
        // The system shortens the lengths of the names that it filled last time.
        for header in self.headers.iter_mut().take(self.filled) {
            header.msg_hdr.msg_namelen = Name::CAPACITY;
        }
        // SAFETY: every header points to a name and a vector that live as long as `self`, and
        // every vector to a part of `buffer` of its own; the count is that of the headers.
        let n = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        self.filled = n.min(BATCH);
        Ok(self.filled)
    }

    /// Datagram `i` of the last batch: who sent it, and its bytes.
    pub fn datagram(&self, i: usize) -> Option<(SocketAddr, &[u8])> {
        let header = self.headers.get(i)?;
        let remote = self.names.get(i)?.to_address()?;
        let len = (header.msg_len as usize).min(DATAGRAM_BYTES_MAX);
        let start = i.checked_mul(DATAGRAM_BYTES_MAX)?;
        Some((remote, self.buffer.get(start..start + len)?))
    }
}

/// Scratch for one `sendmmsg(2)`.
pub struct SendCalls {
    headers: Vec<libc::mmsghdr>,
    vectors: Box<[libc::iovec]>,
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
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            headers: Vec::with_capacity(BATCH),
            vectors: vec![empty; BATCH].into_boxed_slice(),
        }
    }

    /// Forgets what was added.
    pub(in crate::os) fn begin(&mut self) {
        self.headers.clear();
    }

    /// Adds a datagram that must outlive the call of `send`; past `BATCH` nothing is added.
    pub(in crate::os) fn add(&mut self, name: &Name, bytes: &[u8]) {
        let Some(vector) = self.vectors.get_mut(self.headers.len()) else {
            return;
        };
        vector.iov_base = bytes.as_ptr().cast_mut().cast();
        vector.iov_len = bytes.len();
        let mut header = empty_header();
        header.msg_hdr.msg_name = std::ptr::from_ref(name).cast_mut().cast();
        header.msg_hdr.msg_namelen = name.length();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        self.headers.push(header);
    }

    /// One call; how many of the first datagrams left. An error is that of the first.
    pub(in crate::os) fn send(&mut self, fd: RawFd) -> io::Result<usize> {
        // SAFETY: `UdpSocket::flush` and the broker call `begin`, `add` and `send` in
        // turn while it holds the datagrams, so all pointers are good; the system reads
        // through them only.
        let n = unsafe {
            libc::sendmmsg(
                fd,
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: all bytes zero is a valid header without any buffer.
    unsafe { std::mem::zeroed() }
}
