//! The ends by which signal and media ask the broker. In a daemon of one process the same wishes
//! are done directly.

use crate::base::TransmitTag;
use crate::os::counters::Counters;
use crate::os::ipc::{
    Answer, AsyncChannel, BATCH_BYTES, Blob, Channel, Datagram, Datagrams, IpcError,
    MESSAGE_BYTES_MAX, PortAnswer, PortRequest, Request, Unsent, Wish, decode, encode,
};
use crate::os::sandbox;
use crate::os::udp::{BATCH, UdpSocket};
use nix::poll::{PollFd, PollFlags, poll};
use serde::Serialize;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Requests of signal that wait for the broker.
pub const WAITING_MAX: usize = 4096;
/// How long media waits for its ports; then the session fails.
const PORTS_WITHIN: Duration = Duration::from_millis(500);

/// The way to sockets that are connected by somebody: by us, or by the broker.
#[derive(Clone, Debug, Default)]
pub struct Net(Option<Arc<Requests>>);

impl Net {
    /// By us.
    pub fn direct() -> Self {
        Self(None)
    }

    /// By the broker.
    pub fn brokered(requests: Arc<Requests>) -> Self {
        Self(Some(requests))
    }

    /// Whether the broker does it.
    pub fn is_brokered(&self) -> bool {
        self.0.is_some()
    }

    /// A connection to a SIP peer. Inside a runtime only.
    pub async fn connect(&self, remote: SocketAddr) -> io::Result<TcpStream> {
        match &self.0 {
            None => TcpStream::connect(remote).await,
            Some(requests) => stream(requests.ask(Wish::Connect(remote)).await?),
        }
    }

    /// A connection to a DNS server; `None` where we may make it.
    pub async fn resolver_tcp(&self, server: SocketAddr) -> Option<io::Result<TcpStream>> {
        let requests = self.0.as_ref()?;
        let asked = requests.ask(Wish::ResolverTcp(server)).await;
        Some(asked.and_then(stream))
    }

    /// A socket connected to a DNS server; `None` where we may make it.
    pub async fn resolver_udp(
        &self,
        server: SocketAddr,
    ) -> Option<io::Result<tokio::net::UdpSocket>> {
        let requests = self.0.as_ref()?;
        let asked = requests.ask(Wish::ResolverUdp(server)).await;
        Some(asked.and_then(|fd| tokio::net::UdpSocket::from_std(fd.into())))
    }
}

fn confined(fd: OwnedFd) -> io::Result<OwnedFd> {
    sandbox::confine(fd.as_fd())?;
    Ok(fd)
}

fn stream(fd: OwnedFd) -> io::Result<TcpStream> {
    TcpStream::from_std(fd.into())
}

#[derive(Debug, Default)]
struct Asking {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<io::Result<OwnedFd>>>,
    line: Option<Channel>,
}

/// Signal's requests, from any thread.
#[derive(Debug, Default)]
pub struct Requests(Mutex<Asking>);

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Asking> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, wish: Wish) -> io::Result<OwnedFd> {
        let answer = {
            let mut asking = self.lock();
            if asking.waiting.len() >= WAITING_MAX {
                return Err(io::Error::other("too many requests wait for the broker"));
            }
            let id = asking.next;
            asking.next += 1;
            let none = || io::Error::other("the broker is being restarted");
            let line = asking.line.as_ref().ok_or_else(none)?;
            line.send(&Request { id, wish }, &[])?;
            let (to, answer) = oneshot::channel();
            asking.waiting.insert(id, to);
            answer
        };
        let lost = |_| io::Error::other("the broker died");
        answer.await.map_err(lost)?
    }

    /// Takes answers from a line until its other end is gone. Inside a runtime only.
    pub async fn serve(&self, line: Channel) -> Result<(), IpcError> {
        self.lock().line = Some(line.try_clone()?);
        let line = AsyncChannel::new(line)?;
        let ended = loop {
            let (Answer { id, outcome }, fds) = match line.receive().await {
                Ok(answer) => answer,
                Err(IpcError::Closed) => break Ok(()),
                Err(error) => break Err(error),
            };
            let given = match (outcome, fds.into_iter().next()) {
                (Ok(()), Some(fd)) => confined(fd),
                (Ok(()), None) => break Err(IpcError::Malformed("no descriptor")),
                (Err(refusal), _) => Err(refusal.into()),
            };
            if let Some(to) = self.lock().waiting.remove(&id) {
                // Whoever asked may have given up: the descriptor is closed.
                let _ = to.send(given);
            }
        };
        let mut asking = self.lock();
        asking.line = None;
        asking.waiting.clear();
        ended
    }
}

/// A shard's line for datagrams: what its sockets queued leaves in few packets.
#[derive(Debug)]
pub struct DatagramLine {
    fd: AsyncFd<Channel>,
    blocked: bool,
    /// Reused for each packet.
    packet: Vec<u8>,
    buffer: Vec<u8>,
}

impl DatagramLine {
    /// Takes over an end. Inside a runtime only.
    #[allow(unsafe_code)]
    pub fn new(channel: Channel) -> io::Result<Self> {
        channel.set_nonblocking(true)?;
        Ok(Self {
            // SAFETY: a `Channel` always names the same open file, and nobody takes it out.
            fd: unsafe { AsyncFd::register(channel) }?,
            blocked: false,
            packet: Vec::new(),
            buffer: vec![0; MESSAGE_BYTES_MAX],
        })
    }

    /// Sends what the sockets queued, as far as the line takes it; the rest stays queued, and the
    /// task is woken when there is room. False when the broker is gone.
    pub fn flush(
        &mut self,
        cx: &mut Context<'_>,
        sockets: &mut [UdpSocket],
        counters: &Counters,
    ) -> bool {
        while sockets.iter().any(|socket| !socket.is_flushed()) {
            if self.blocked {
                match self.fd.poll_write_ready(cx) {
                    Poll::Ready(Ok(_)) => self.blocked = false,
                    Poll::Ready(Err(_)) | Poll::Pending => return true,
                }
            }
            let taken = self.pack(sockets);
            match self.fd.get_ref().send_bytes(&self.packet, &[]) {
                Ok(()) => {
                    for (socket, &count) in sockets.iter_mut().zip(&taken) {
                        counters.udp_sent.add(count as u64);
                        socket.forget_first(count);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if is_full(&e) => {
                    if let Poll::Ready(Ok(mut guard)) = self.fd.poll_write_ready(cx) {
                        guard.clear_ready();
                    }
                    self.blocked = true;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Fills the packet; how many datagrams of each socket are in it.
    fn pack(&mut self, sockets: &[UdpSocket]) -> Vec<usize> {
        let (mut all, mut bytes) = (Vec::with_capacity(BATCH), 0);
        let mut taken = vec![0; sockets.len()];
        for ((at, socket), count) in sockets.iter().enumerate().zip(&mut taken) {
            for (to, datagram, tag) in socket.queued() {
                if all.len() >= BATCH || bytes >= BATCH_BYTES {
                    break;
                }
                *count += 1;
                bytes += datagram.len();
                if let Some(to) = to {
                    all.push(Datagram {
                        listener: u16::try_from(at).unwrap_or(u16::MAX),
                        to,
                        tag: tag.0,
                        bytes: Blob(datagram),
                    });
                }
            }
        }
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        // Nothing in it can fail to be encoded.
        self.packet = postcard::to_extend(&Datagrams(all), packet).unwrap_or_default();
        taken
    }

    /// Takes the tags of what could not be sent. False when the broker is gone.
    pub fn receive(&mut self, cx: &mut Context<'_>, failed: &mut Vec<TransmitTag>) -> bool {
        loop {
            let mut guard = match self.fd.poll_read_ready(cx) {
                Poll::Pending => return true,
                Poll::Ready(Err(_)) => return false,
                Poll::Ready(Ok(guard)) => guard,
            };
            let got = guard.get_inner().receive_bytes(&mut self.buffer);
            match got {
                Ok((n, _)) => match decode(self.buffer.get(..n).unwrap_or_default()) {
                    Ok(Unsent(tags)) => failed.extend(tags.into_iter().map(TransmitTag)),
                    Err(error) => {
                        tracing::error!(%error, "from the broker");
                        return false;
                    }
                },
                Err(IpcError::System(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready();
                }
                Err(IpcError::System(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}

/// Whether a line takes it later. FreeBSD before 15 may say EMSGSIZE where a SOCK_SEQPACKET has no
/// room (told where sys/kern/uipc_usrreq.c got them); ours are never longer than the buffer.
fn is_full(e: &io::Error) -> bool {
    let full = cfg!(target_os = "freebsd") && e.raw_os_error() == Some(libc::EMSGSIZE);
    full || e.kind() == io::ErrorKind::WouldBlock || e.raw_os_error() == Some(libc::ENOBUFS)
}

/// A relay's line for its ports; used on the relay's thread, which blocks for binding only.
#[derive(Debug)]
pub struct PortLine {
    channel: Channel,
    buffer: Vec<u8>,
}

/// What the broker said to media meanwhile: port, peer, and whether it is connected there.
pub type Connected = (u16, SocketAddr, bool);

impl PortLine {
    /// Takes over an end.
    pub fn new(channel: Channel) -> io::Result<Self> {
        channel.set_nonblocking(true)?;
        let buffer = vec![0; MESSAGE_BYTES_MAX];
        Ok(Self { channel, buffer })
    }

    /// To wait for it.
    pub fn raw(&self) -> RawFd {
        self.channel.as_raw_fd()
    }

    /// Sends what may be lost: a packet.
    pub fn send_packet(&self, from: u16, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
        self.try_send(&PortRequest::Send(from, to, Blob(packet)))
    }

    fn try_send(&self, request: &impl Serialize) -> io::Result<()> {
        self.channel.send_bytes(&encode(request)?, &[])
    }

    /// Asks; waits for room.
    pub fn ask(&self, request: &PortRequest<'_>) -> io::Result<()> {
        let until = Instant::now() + PORTS_WITHIN;
        loop {
            match self.try_send(request) {
                Err(e) if is_full(&e) => self.wait(PollFlags::POLLOUT, until)?,
                result => return result,
            }
        }
    }

    /// Binds ports, in their order; the second value is what else came meanwhile.
    pub fn bind(
        &mut self,
        wanted: &[SocketAddr],
    ) -> io::Result<(Vec<io::Result<OwnedFd>>, Vec<Connected>)> {
        self.ask(&PortRequest::Bind(wanted.to_vec()))?;
        let until = Instant::now() + PORTS_WITHIN;
        let mut meanwhile = Vec::new();
        loop {
            match self.receive()? {
                None => self.wait(PollFlags::POLLIN, until)?,
                Some((PortAnswer::Connected(port, to, done), _)) => {
                    meanwhile.push((port, to, done));
                }
                Some((PortAnswer::Bound(outcomes), fds)) => {
                    if outcomes.len() != wanted.len() {
                        return Err(io::Error::other("the broker answers another question"));
                    }
                    let mut fds = fds.into_iter();
                    let none = || io::Error::other("the broker gave no descriptor");
                    let bound = outcomes.into_iter().map(|outcome| match outcome {
                        Ok(()) => fds.next().ok_or_else(none).and_then(confined),
                        Err(refusal) => Err(refusal.into()),
                    });
                    return Ok((bound.collect(), meanwhile));
                }
            }
        }
    }

    /// Takes what came; `None` when nothing waits.
    pub fn receive(&mut self) -> io::Result<Option<(PortAnswer, Vec<OwnedFd>)>> {
        match self.channel.receive_bytes(&mut self.buffer) {
            Ok((n, fds)) => match decode(self.buffer.get(..n).unwrap_or_default()) {
                Ok(answer) => Ok(Some((answer, fds))),
                Err(error) => Err(io::Error::other(error)),
            },
            Err(IpcError::System(e)) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(IpcError::System(e)) => Err(e),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn wait(&self, what: PollFlags, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        if left == 0 {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        let left = u16::try_from(left).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(self.channel.as_fd(), what)];
        match poll(&mut fds, left) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
