//! Where the resolver's sockets come from: from us, or, connected already, from the broker.

use crate::os::privsep::client::Net;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{
    DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime,
};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::{TcpStream, UdpSocket};

type Making<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// Makes them.
#[derive(Clone)]
pub(super) struct Sockets {
    net: Net,
    direct: TokioRuntimeProvider,
}

impl Sockets {
    pub(super) fn new(net: Net) -> Self {
        Self {
            net,
            direct: TokioRuntimeProvider::default(),
        }
    }
}

impl RuntimeProvider for Sockets {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Question;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> TokioHandle {
        self.direct.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        within: Option<Duration>,
    ) -> Making<Self::Tcp> {
        let (net, direct) = (self.net.clone(), self.direct.clone());
        Box::pin(async move {
            match net.resolver_tcp(server).await {
                Some(stream) => stream.map(AsyncIoTokioAsStd),
                None => direct.connect_tcp(server, local, within).await,
            }
        })
    }

    fn bind_udp(&self, local: SocketAddr, server: SocketAddr) -> Making<Question> {
        let (net, direct) = (self.net.clone(), self.direct.clone());
        Box::pin(async move {
            match net.resolver_udp(server).await {
                Some(socket) => Ok(Question {
                    socket: socket?,
                    server: Some(server),
                }),
                None => Ok(Question {
                    socket: direct.bind_udp(local, server).await?,
                    server: None,
                }),
            }
        })
    }
}

/// A socket for a question; connected where `server` is there.
#[derive(Debug)]
pub(super) struct Question {
    socket: UdpSocket,
    server: Option<SocketAddr>,
}

impl DnsUdpSocket for Question {
    type Time = TokioTime;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let Some(server) = self.server else {
            return DnsUdpSocket::poll_recv_from(&self.socket, cx, buffer);
        };
        let mut buffer = ReadBuf::new(buffer);
        ready!(self.socket.poll_recv(cx, &mut buffer))?;
        Poll::Ready(Ok((buffer.filled().len(), server)))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        match self.server {
            Some(server) if server == to => self.socket.poll_send(cx, bytes),
            Some(_) => Poll::Ready(Err(io::ErrorKind::PermissionDenied.into())),
            None => self.socket.poll_send_to(cx, bytes, to),
        }
    }
}
