//! One bound port of the relay.

#![allow(unsafe_code)]

use crate::os::udp::Name;
use crate::wire::rtp::EXPEDITED_FORWARDING;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What we ask the system to buffer per port: far more than a stream sends while we are away.
const RECEIVE_BUFFER_BYTES: usize = 256 << 10;
/// The byte of the IP header that has the DSCP in its upper six bits (RFC 2474 §3).
const TRAFFIC_CLASS: u32 = (EXPEDITED_FORWARDING as u32) << 2;

/// A port that is bound and not blocking.
#[derive(Debug)]
pub struct Port(Socket, Cell<u32>);

impl Port {
    /// Binds.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            // Best effort, as below: a system that refuses the mark still carries the voice.
            let _ = socket.set_tclass_v6(TRAFFIC_CLASS);
        } else {
            let _ = socket.set_tos_v4(TRAFFIC_CLASS);
        }
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        socket.bind(&SockAddr::from(address))?;
        Ok(Self(socket, Cell::new(0)))
    }

    /// Takes over a port that another process bound.
    pub fn from_fd(fd: OwnedFd) -> Self {
        let port = Self(Socket::from(fd), Cell::new(0));
        // What it lost before is none of ours.
        port.lost();
        port
    }

    /// Another descriptor of the same port.
    pub fn try_clone_fd(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }

    /// Where it is bound.
    pub fn local(&self) -> io::Result<SocketAddr> {
        let none = || io::Error::other("a socket without an address");
        self.0.local_addr()?.as_socket().ok_or_else(none)
    }

    /// The peer that it is connected to.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer_addr().ok()?.as_socket()
    }

    /// Binds it to one peer, for every process that holds the port: from now on
    /// [`Port::send_connected`] works, and the system drops what comes from elsewhere.
    pub fn connect(&self, to: SocketAddr) -> io::Result<()> {
        self.0.connect(&SockAddr::from(to))
    }

    /// Dissolves that: connect(2) on both systems, to an address of no family. FreeBSD answers
    /// EAFNOSUPPORT or EINVAL after it has done it.
    pub fn disconnect(&self) {
        // SAFETY: all bytes zero is a valid `sockaddr`, and its whole size is told.
        let mut none: libc::sockaddr = unsafe { std::mem::zeroed() };
        none.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
        #[cfg(target_os = "freebsd")]
        {
            none.sa_len = size_of::<libc::sockaddr>() as u8;
        }
        // SAFETY: the address outlives the call, which reads it only.
        let _ = unsafe {
            libc::connect(
                self.raw(),
                &raw const none,
                size_of::<libc::sockaddr>() as libc::socklen_t,
            )
        };
    }

    /// Sends one datagram to the peer that the port is connected to.
    pub fn send_connected(&self, bytes: &[u8]) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the bytes outlive the call, which reads them only.
        let n = unsafe { libc::send(self.raw(), bytes.as_ptr().cast(), bytes.len(), flags) };
        match n {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The descriptor.
    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// How many datagrams the system dropped since the last time because the receive buffer was
    /// full, or their checksum wrong; nought where it does not say: FreeBSD counts them for all
    /// sockets together (`netstat -s -p udp`).
    pub fn lost(&self) -> u64 {
        let Some(now) = meminfo::drops(self.raw()) else {
            return 0;
        };
        now.wrapping_sub(self.1.replace(now)).into()
    }

    /// Takes one datagram, if one waits: its length and its sender.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>)> {
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

    /// Takes off what waits, errors of packets that we sent too; whether `most` calls were enough.
    pub fn drain(&self, most: usize) -> bool {
        // The rest of a datagram that is longer goes with it.
        let mut sink = [0; 1];
        let mut calls = (0..most).map(|_| self.receive(&mut sink));
        calls.any(|got| matches!(got, Err(e) if e.kind() == io::ErrorKind::WouldBlock))
    }

    /// Sends one datagram.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
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

#[cfg(target_os = "linux")]
mod meminfo {
    use std::os::fd::RawFd;

    /// asm-generic/socket.h: of every machine that we know.
    const SO_MEMINFO: libc::c_int = 55;
    /// sock_diag(7): how many figures it tells, the last being the dropped datagrams.
    const FIGURES: usize = libc::SK_MEMINFO_DROPS as usize + 1;

    /// How many datagrams a socket dropped in all.
    pub(super) fn drops(fd: RawFd) -> Option<u32> {
        let mut figures = [0_u32; FIGURES];
        let mut length = size_of_val(&figures) as libc::socklen_t;
        // SAFETY: the figures outlive the call, and their size is told; it writes no more.
        let result = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                SO_MEMINFO,
                figures.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        figures.last().copied().filter(|_| result == 0)
    }
}

#[cfg(not(target_os = "linux"))]
mod meminfo {
    /// Nothing tells.
    pub(super) fn drops(_: std::os::fd::RawFd) -> Option<u32> {
        None
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
