//! The broker at work: what net does for signal and media. It never looks into what it carries.

use super::policy::Policy;
use crate::os::ipc::{
    Answer, AsyncChannel, Channel, DESCRIPTORS_MAX, Datagrams, IpcError, MESSAGE_BYTES_MAX,
    PortAnswer, PortRequest, Refusal, Request, Unsent, Wish, decode,
};
use crate::os::relay::Port;
use crate::os::udp::{BATCH, Name, SendCalls};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Connections that are being opened at a time.
pub const CONNECTING_MAX: usize = 1024;
/// A connection must be up by then; signal gives up a little earlier.
const CONNECT_WITHIN: Duration = Duration::from_secs(6);
/// How long a full socket is waited for before a datagram is dropped.
const ROOM_WITHIN_MS: u16 = 20;
/// How often refusals by the policy are told, in refusals.
const TELL_EVERY: u64 = 1000;

/// What all lines share.
#[derive(Debug)]
pub struct Broker {
    policy: Policy,
    /// One socket of each UDP listener, in the policy's order.
    listeners: Vec<OwnedFd>,
    refused: RefCell<u64>,
    /// Media's ports by relay and number.
    ports: RefCell<HashMap<(u16, u16), Held>>,
}

/// A port of media, and where it is connected.
#[derive(Debug)]
struct Held {
    port: Port,
    peer: Option<SocketAddr>,
}

impl Held {
    fn connect(&mut self, to: SocketAddr) -> io::Result<()> {
        self.port.connect(to)?;
        self.peer = Some(to);
        Ok(())
    }

    fn disconnect(&mut self) {
        self.port.disconnect();
        self.peer = None;
    }

    /// A connected port takes no address on FreeBSD (EISCONN): what media sent before it heard of
    /// the connection goes without.
    fn send(&mut self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        match self.peer == Some(to) {
            true => self.port.send_connected(bytes),
            false => self.port.send(to, bytes),
        }
    }
}

impl Broker {
    /// Without lines.
    pub fn new(policy: Policy, listeners: Vec<OwnedFd>) -> Rc<Self> {
        Rc::new(Self {
            policy,
            listeners,
            refused: RefCell::new(0),
            ports: RefCell::new(HashMap::new()),
        })
    }

    /// Counts a refusal, and tells of the first and then now and then.
    fn refuse(&self, what: &str, to: SocketAddr) -> Refusal {
        let mut refused = self.refused.borrow_mut();
        if (*refused).is_multiple_of(TELL_EVERY) {
            tracing::warn!(refused = *refused + 1, "policy refuses {what} {to}");
        }
        *refused += 1;
        Refusal::Policy
    }

    /// Takes over ports that an earlier broker bound.
    pub fn adopt(&self, relay: u16, numbers: &[u16], fds: Vec<OwnedFd>) -> Result<(), IpcError> {
        if numbers.len() != fds.len() {
            return Err(IpcError::Malformed("ports without descriptors"));
        }
        for (&number, fd) in numbers.iter().zip(fds) {
            let port = Port::from_fd(fd);
            let address = port.local().map_err(IpcError::System)?;
            if address.port() != number || !self.policy.media_port(address) {
                self.refuse("to adopt", address);
                continue;
            }
            let peer = port.peer();
            self.ports
                .borrow_mut()
                .insert((relay, number), Held { port, peer });
        }
        Ok(())
    }

    /// Serves a shard's datagrams until its end is gone.
    pub async fn datagrams(self: Rc<Self>, line: Channel) -> Result<(), IpcError> {
        let line = AsyncChannel::new(line)?;
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let mut calls = SendCalls::new();
        let mut unsent = Vec::new();
        loop {
            let (n, _) = line.receive_bytes(&mut buffer).await?;
            let Datagrams(all) = decode(buffer.get(..n).unwrap_or_default())?;
            for run in all.chunk_by(|a, b| a.listener == b.listener) {
                let mut batch = Vec::with_capacity(run.len());
                for datagram in run {
                    if self.policy.datagram(datagram.listener, datagram.to) {
                        batch.push((Name::from(datagram.to), datagram.bytes.0, datagram.tag));
                    } else {
                        self.refuse("a datagram to", datagram.to);
                        unsent.push(datagram.tag);
                    }
                }
                let place = run.first().map(|d| usize::from(d.listener));
                if let Some(socket) = place.and_then(|at| self.listeners.get(at)) {
                    send_all(socket, &batch, &mut calls, &mut unsent);
                }
            }
            unsent.retain(|&tag| tag != 0);
            if !unsent.is_empty() {
                let told = Unsent(std::mem::take(&mut unsent));
                line.send(&told, &[]).await?;
            }
        }
    }

    /// Serves signal's other requests until its end is gone.
    pub async fn requests(self: Rc<Self>, line: Channel) -> Result<(), IpcError> {
        let line = Rc::new(AsyncChannel::new(line)?);
        let places = Arc::new(Semaphore::new(CONNECTING_MAX));
        loop {
            let (Request { id, wish }, _) = line.receive().await?;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                let outcome = Err(Refusal::Busy);
                line.send(&Answer { id, outcome }, &[]).await?;
                continue;
            };
            let (broker, line) = (Rc::clone(&self), Rc::clone(&line));
            tokio::task::spawn_local(async move {
                let made = broker.grant(wish).await;
                let outcome = made.as_ref().map(|_| ()).map_err(|&refusal| refusal);
                let fds: Vec<_> = made.iter().map(AsFd::as_fd).collect();
                // Signal may be gone.
                let _ = line.send(&Answer { id, outcome }, &fds).await;
                drop(place);
            });
        }
    }

    async fn grant(&self, wish: Wish) -> Result<OwnedFd, Refusal> {
        match wish {
            Wish::Connect(to) if !self.policy.connect(to) => Err(self.refuse("to connect to", to)),
            Wish::ResolverUdp(to) | Wish::ResolverTcp(to) if !self.policy.resolver(to) => {
                Err(self.refuse("to ask", to))
            }
            Wish::Connect(to) | Wish::ResolverTcp(to) => connect(to).await.map_err(system),
            Wish::ResolverUdp(to) => resolver(to).map_err(system),
        }
    }

    /// Serves one relay of media until its end is gone; its ports go then, too.
    pub async fn ports(self: Rc<Self>, relay: u16, line: Channel) -> Result<(), IpcError> {
        let served = self.serve_ports(relay, line).await;
        self.ports.borrow_mut().retain(|&(of, _), _| of != relay);
        served
    }

    async fn serve_ports(&self, relay: u16, line: Channel) -> Result<(), IpcError> {
        let line = AsyncChannel::new(line)?;
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        loop {
            let (n, _) = line.receive_bytes(&mut buffer).await?;
            match decode(buffer.get(..n).unwrap_or_default())? {
                PortRequest::Bind(wanted) => {
                    if wanted.len() > DESCRIPTORS_MAX {
                        return Err(IpcError::Malformed("too many ports"));
                    }
                    let bound: Vec<_> = wanted.iter().map(|&at| self.bind(relay, at)).collect();
                    let outcomes = bound.iter().map(|b| b.as_ref().map(|_| ()).map_err(|&e| e));
                    let answer = PortAnswer::Bound(outcomes.collect());
                    let fds: Vec<_> = bound.iter().flatten().map(AsFd::as_fd).collect();
                    line.send(&answer, &fds).await?;
                }
                PortRequest::Release(number) => {
                    self.ports.borrow_mut().remove(&(relay, number));
                }
                PortRequest::Connect(number, to) => {
                    let done = self.with_port(relay, number, to, |port| port.connect(to));
                    line.send(&PortAnswer::Connected(number, to, done), &[])
                        .await?;
                }
                PortRequest::Disconnect(number) => {
                    if let Some(port) = self.ports.borrow_mut().get_mut(&(relay, number)) {
                        port.disconnect();
                    }
                }
                PortRequest::Send(number, to, bytes) => {
                    self.with_port(relay, number, to, |port| port.send(to, bytes.0));
                }
            }
        }
    }

    fn bind(&self, relay: u16, address: SocketAddr) -> Result<OwnedFd, Refusal> {
        if !self.policy.media_port(address) {
            return Err(self.refuse("to bind", address));
        }
        // A port that a relay of before held is in nobody's way.
        let number = address.port();
        self.ports.borrow_mut().remove(&(relay, number));
        let port = Port::bind(address).map_err(system)?;
        let fd = port.try_clone_fd().map_err(system)?;
        let held = Held { port, peer: None };
        self.ports.borrow_mut().insert((relay, number), held);
        Ok(fd)
    }

    fn with_port(
        &self,
        relay: u16,
        number: u16,
        to: SocketAddr,
        act: impl FnOnce(&mut Held) -> io::Result<()>,
    ) -> bool {
        if !self.policy.media_destination(to) {
            self.refuse("media to", to);
            return false;
        }
        let mut ports = self.ports.borrow_mut();
        ports
            .get_mut(&(relay, number))
            .is_some_and(|port| act(port).is_ok())
    }
}

fn system(error: io::Error) -> Refusal {
    Refusal::System(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Sends a batch; waits a little where the socket is full, then drops.
fn send_all(
    socket: &OwnedFd,
    batch: &[(Name, &[u8], u64)],
    calls: &mut SendCalls,
    unsent: &mut Vec<u64>,
) {
    let mut rest = batch;
    while let Some((_, _, tag)) = rest.first() {
        calls.begin();
        for (name, bytes, _) in rest.iter().take(BATCH) {
            calls.add(name, bytes);
        }
        let sent = match calls.send(socket.as_raw_fd()) {
            Ok(sent) => sent.max(1),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && wait_for_room(socket) => 0,
            Err(error) => {
                tracing::debug!(%error, "datagram not sent");
                unsent.push(*tag);
                1
            }
        };
        rest = rest.get(sent..).unwrap_or_default();
    }
}

fn wait_for_room(socket: &OwnedFd) -> bool {
    use nix::poll::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, ROOM_WITHIN_MS).is_ok_and(|ready| ready > 0)
}

async fn connect(to: SocketAddr) -> io::Result<OwnedFd> {
    let stream = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(to)).await??;
    Ok(stream.into_std()?.into())
}

/// From a port that the system chooses at random, for each question anew (RFC 5452 §9.2).
fn resolver(to: SocketAddr) -> io::Result<OwnedFd> {
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::UDP))?;
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    socket.bind(&SockAddr::from(any))?;
    socket.connect(&SockAddr::from(to))?;
    Ok(socket.into())
}
