//! Listening: who may come in, and the handshakes before the first message.

use super::{Context, HANDSHAKE_MAX, Slot, pump};
use crate::base::{Flow, Transport};
use crate::os::{udp, ws};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Connections that wait to be accepted.
pub const BACKLOG: i32 = 1024;
/// A pause after the system could not give a descriptor.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// After so much silence the system asks whether the peer still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A listening socket, bound before rights are dropped.
#[derive(Debug)]
pub struct Listener {
    /// The transport that is spoken on it.
    pub transport: Transport,
    /// Listening and non-blocking.
    pub socket: OwnedFd,
}

/// Makes `count` listening sockets on one address, among which the system spreads the peers.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut address = address;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        if count > 1 {
            udp::share_port(&socket)?;
        }
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        if address.port() == 0
            && let Some(bound) = socket.local_addr()?.as_socket()
        {
            address = bound;
        }
        sockets.push(OwnedFd::from(socket));
    }
    Ok(sockets)
}

/// Accepts for ever. Inside a runtime only.
pub async fn serve(context: Context, listener: Listener) {
    let transport = listener.transport;
    let listener = match TcpListener::from_std(listener.socket.into()) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listener cannot be used"),
    };
    let mut exhausted = false;
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                exhausted = false;
                accepted(&context, transport, stream, remote);
            }
            Err(error) if is_exhausted(&error) => {
                if !exhausted {
                    tracing::error!(%error, "cannot accept: raise the limit of open files");
                }
                exhausted = true;
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
            // The peer was gone before it was accepted.
            Err(_) => {}
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

fn accepted(context: &Context, transport: Transport, stream: TcpStream, remote: SocketAddr) {
    let counters = &context.connections.counters;
    match context.connections.admit(Some(remote.ip())) {
        Ok(slot) => {
            counters.accepted.one();
            tokio::spawn(converse(context.clone(), transport, stream, remote, slot));
        }
        Err(refused) => {
            tracing::debug!(%remote, ?refused, "connection refused");
            if matches!(transport, Transport::Ws) {
                ws::refuse(&stream);
            }
        }
    }
}

async fn converse(
    context: Context,
    transport: Transport,
    stream: TcpStream,
    remote: SocketAddr,
    slot: Slot,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    tune(&stream);
    let flow = Flow {
        transport,
        local,
        remote,
        connection: None,
    };
    match transport {
        Transport::Udp | Transport::Tcp => {
            message_stream(&context, flow, stream, Vec::new()).await;
        }
        Transport::Ws => ws::accept(&context, flow, stream).await,
        Transport::Tls | Transport::Wss => {
            let acceptor = match transport {
                Transport::Wss => context.tls.web_acceptor(),
                _ => context.tls.acceptor(),
            };
            let Some(acceptor) = acceptor else {
                return;
            };
            match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                Ok(Ok(stream)) if transport == Transport::Tls => {
                    let chain = stream.get_ref().1.peer_certificates();
                    let domains = context.tls.domains(chain);
                    message_stream(&context, flow, stream, domains).await;
                }
                Ok(Ok(stream)) => ws::accept(&context, flow, stream).await,
                Ok(Err(error)) => {
                    context.connections.counters.handshake_failed.one();
                    tracing::debug!(%remote, %error, "TLS handshake failed");
                }
                Err(_) => context.connections.counters.handshake_failed.one(),
            }
        }
    }
    drop(slot);
}

/// Runs a connection whose peer proved to be these domains.
async fn message_stream<S>(context: &Context, flow: Flow, stream: S, domains: Vec<Box<str>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let connection = context.connections.enter(flow.transport, flow.remote, None);
    let flow = Flow {
        connection: Some(connection.id),
        ..flow
    };
    if !domains.is_empty() {
        context.receiver.proved(flow, domains.into());
    }
    pump::run(context, &connection, flow, stream).await;
}

/// Messages leave at once, and a dead peer is noticed.
pub(super) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 4);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
