//! UDP sockets (RFC 3261 §18): one per listener and worker, sharing the port; whole batches of
//! datagrams received and sent with one system call each where the system has such calls.

#![allow(unsafe_code)]

#[cfg(not(target_os = "linux"))]
#[path = "udp/plain.rs"]
mod calls;
#[cfg(target_os = "linux")]
#[path = "udp/mmsg.rs"]
mod calls;
mod name;

pub use calls::{ReceiveBatch, SendCalls};
pub use name::Name;

use super::counters::Counters;
use crate::base::TransmitTag;
use bytes::Bytes;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll};
use tokio::io::unix::AsyncFd;

/// Datagrams received or sent with one call.
pub const BATCH: usize = 64;
/// The largest datagram (RFC 768), rounded up.
pub const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams that wait for room in the socket's send buffer before further ones are dropped.
pub const UNSENT_MAX: usize = 4_096;
/// What we ask the system to buffer in each direction; it may give less.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// How often that is halved while the system refuses it: down to 128 KiB.
const SOCKET_BUFFER_HALVINGS_MAX: u32 = 5;

/// Makes `count` sockets bound to the same address, among which the system spreads the peers.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut sockets: Vec<OwnedFd> = Vec::with_capacity(count);
    let mut address = address;
    for _ in 0..count.max(1) {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM.nonblocking(),
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if count > 1 {
            share_port(&socket)?;
        }
        as_much_as_allowed(|bytes| socket.set_recv_buffer_size(bytes));
        as_much_as_allowed(|bytes| socket.set_send_buffer_size(bytes));
        socket.bind(&SockAddr::from(address))?;
        if address.port() == 0
            && let Some(bound) = socket.local_addr()?.as_socket()
        {
            address = bound;
        }
        sockets.push(OwnedFd::from(socket));
    }
    Ok(sockets)
}

/// Best effort: the system's own limit decides. Linux cuts a wish to it; FreeBSD refuses the wish
/// and leaves the buffer small (sys/kern/uipc_sockbuf.c, sbreserve_locked), so less is asked for.
fn as_much_as_allowed(set: impl Fn(usize) -> io::Result<()>) {
    for halvings in 0..=SOCKET_BUFFER_HALVINGS_MAX {
        if set(SOCKET_BUFFER_BYTES >> halvings).is_ok() {
            return;
        }
    }
}

/// Lets several sockets have one port; the system balances among them by the peer's address.
pub fn share_port(socket: &Socket) -> io::Result<()> {
    #[cfg(target_os = "freebsd")]
    return super::sys::set_flag(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT_LB);
    #[cfg(not(target_os = "freebsd"))]
    socket.set_reuse_port(true)
}

/// A datagram on its way out.
#[derive(Debug)]
struct Outgoing {
    name: Name,
    bytes: Bytes,
    tag: TransmitTag,
}

/// One worker's socket of one listener.
#[derive(Debug)]
pub struct UdpSocket {
    fd: AsyncFd<OwnedFd>,
    local: SocketAddr,
    outgoing: VecDeque<Outgoing>,
    blocked: bool,
}

impl UdpSocket {
    /// Takes over a bound, non-blocking socket; `local` is its address. Inside a runtime only.
    pub fn new(fd: OwnedFd, local: SocketAddr) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` always names the same open file, and nobody takes it out.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self {
            fd,
            local,
            outgoing: VecDeque::new(),
            blocked: false,
        })
    }

    /// The bound address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    fn raw(&self) -> RawFd {
        self.fd.get_ref().as_raw_fd()
    }

    /// Fills `batch` with what waits. `Pending` when nothing does; the task is woken later.
    pub fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        batch: &mut ReceiveBatch,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = match self.fd.poll_read_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Ready(Ok(guard)) => guard,
            };
            match batch.receive(self.raw()) {
                Ok(n) => {
                    // A short batch means that the socket was empty at its end, so the next
                    // arrival raises readiness anew: one call saved.
                    if n < BATCH {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(n));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Queues a datagram for the next flush; false when the queue is full.
    pub fn queue(&mut self, remote: SocketAddr, bytes: Bytes, tag: TransmitTag) -> bool {
        if self.outgoing.len() >= UNSENT_MAX {
            return false;
        }
        self.outgoing.push_back(Outgoing {
            name: Name::from(remote),
            bytes,
            tag,
        });
        true
    }

    /// Whether nothing more can be queued before a flush.
    pub fn is_full(&self) -> bool {
        self.outgoing.len() >= UNSENT_MAX
    }

    /// What waits to be sent, in its order.
    pub fn queued(&self) -> impl Iterator<Item = (Option<SocketAddr>, &Bytes, TransmitTag)> {
        let all = self.outgoing.iter();
        all.map(|out| (out.name.to_address(), &out.bytes, out.tag))
    }

    /// Somebody else sent the first `count`.
    pub fn forget_first(&mut self, count: usize) {
        self.outgoing.drain(..count.min(self.outgoing.len()));
    }

    /// Whether nothing waits to be sent.
    pub fn is_flushed(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Sends what is queued, as far as the system takes it. What it refuses is reported by tag in
    /// `failed`; for the rest the task is woken when there is room.
    pub fn flush(
        &mut self,
        cx: &mut Context<'_>,
        calls: &mut SendCalls,
        counters: &Counters,
        failed: &mut Vec<TransmitTag>,
    ) {
        if self.outgoing.is_empty() {
            return;
        }
        if self.blocked {
            match self.fd.poll_write_ready(cx) {
                Poll::Ready(Ok(_)) => self.blocked = false,
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
        while !self.outgoing.is_empty() {
            calls.begin();
            for out in self.outgoing.iter().take(BATCH) {
                calls.add(&out.name, &out.bytes);
            }
            match calls.send(self.raw()) {
                Ok(sent) => {
                    counters.udp_sent.add(sent as u64);
                    self.outgoing.drain(..sent.min(self.outgoing.len()));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_full(&e) => {
                    if !self.wait_writable(cx) {
                        return;
                    }
                }
                Err(e) => {
                    counters.udp_send_failed.one();
                    if let Some(out) = self.outgoing.pop_front() {
                        tracing::debug!(error = %e, remote = ?out.name, "datagram not sent");
                        if out.tag != TransmitTag::default() {
                            failed.push(out.tag);
                        }
                    }
                }
            }
        }
    }

    /// Clears readiness and asks for a wake-up; true when the socket is writable again already.
    fn wait_writable(&mut self, cx: &mut Context<'_>) -> bool {
        if let Poll::Ready(Ok(mut guard)) = self.fd.poll_write_ready(cx) {
            guard.clear_ready();
        }
        self.blocked = !matches!(self.fd.poll_write_ready(cx), Poll::Ready(Ok(_)));
        !self.blocked
    }
}

/// Whether the error means that the same call will work later.
fn is_full(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
#[path = "udp/tests.rs"]
mod tests;
