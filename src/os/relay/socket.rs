//! One bound port of the relay.

#![allow(unsafe_code)]

use crate::os::udp::Name;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

/// What we ask the system to buffer per port: far more than a stream sends while we are away.
const RECEIVE_BUFFER_BYTES: usize = 256 << 10;
/// Expedited Forwarding (RFC 3246), which voice asks for (RFC 4594 §4.1).
const EXPEDITED_FORWARDING: u32 = 46 << 2;

/// A port that is bound and not blocking.
#[derive(Debug)]
pub(super) struct Port(Socket);

impl Port {
    /// Binds.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            // Best effort, as below: a system that refuses the mark still carries the voice.
            let _ = socket.set_tclass_v6(EXPEDITED_FORWARDING);
        } else {
            let _ = socket.set_tos_v4(EXPEDITED_FORWARDING);
        }
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        socket.bind(&SockAddr::from(address))?;
        Ok(Self(socket))
    }

    /// The descriptor.
    pub(super) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Takes one datagram, if one waits: its length and its sender.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>)> {
        let mut name = Name::empty();
        let mut length = Name::CAPACITY;
        // SAFETY: buffer, name and its length are ours and as long as told.
        let n = unsafe {
            libc::recvfrom(
                self.raw(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut name).cast(),
                &raw mut length,
            )
        };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        Ok((n.min(buffer.len()), name.to_address()))
    }

    /// Sends one datagram.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let name = Name::from(to);
        // SAFETY: bytes and name outlive the call, which reads them only.
        let n = unsafe {
            libc::sendto(
                self.raw(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                (&raw const name).cast(),
                name.length(),
            )
        };
        match n {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
