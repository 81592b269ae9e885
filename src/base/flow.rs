//! How messages name the path they came by and the path they should take.

use bytes::Bytes;
use std::net::SocketAddr;

/// The transports of SIP (RFC 3261 §18, RFC 7118).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
pub enum Transport {
    /// Datagrams; unreliable.
    Udp,
    /// A stream.
    Tcp,
    /// A stream under TLS.
    Tls,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Whether the transport retransmits by itself (RFC 3261 §17: timers E, G, I, J, K and others).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// Whether the hop is encrypted.
    pub const fn is_secure(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }

    /// The token of a Via header (RFC 3261 §20.42, RFC 7118 §5.2).
    pub const fn via_token(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// The token of a `transport=` URI parameter.
    pub const fn uri_token(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// Reads a transport's token, whatever its case.
    pub fn from_token(token: &[u8]) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss]
            .into_iter()
            .find(|t| token.eq_ignore_ascii_case(t.uri_token().as_bytes()))
    }

    /// The port that a URI without one means (RFC 3261 §19.1.2, RFC 7118 §5.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }
}

/// Names one connection of a stream transport for as long as the process lives; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// No connection: what bears it goes to the services of this very shard, or comes from them.
    pub const INTERNAL: Self = Self(u64::MAX);
}

/// The path by which a message came, and by which an answer goes back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// The transport.
    pub transport: Transport,
    /// Our side: for UDP the bound address of the listener, which names its socket.
    pub local: SocketAddr,
    /// The peer's address as the packet bore it.
    pub remote: SocketAddr,
    /// The connection, for stream transports.
    pub connection: Option<ConnectionId>,
}

impl Flow {
    /// The path between the proxy and the services of this shard. It looks like `other`'s own side,
    /// so that the far end sees nothing but our usual name; `address` is that name's address.
    pub fn internal(other: &Flow, address: SocketAddr) -> Self {
        Self {
            transport: other.transport,
            local: other.local,
            remote: address,
            connection: Some(ConnectionId::INTERNAL),
        }
    }

    /// Whether no network lies on it.
    pub fn is_internal(&self) -> bool {
        self.connection == Some(ConnectionId::INTERNAL)
    }

    /// Whether nobody needs to repeat what was sent on it: over a stream, and inside the shard.
    pub fn is_reliable(&self) -> bool {
        self.transport.is_reliable() || self.is_internal()
    }
}

/// Where bytes should go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// Back along a flow; for a stream only over that very connection.
    Flow(Flow),
    /// To an address, reusing or opening a connection for stream transports.
    Address {
        /// The transport to use.
        transport: Transport,
        /// The peer.
        remote: SocketAddr,
        /// The name that the peer's certificate must bear (TLS, WSS).
        tls_name: Option<Box<str>>,
    },
}

impl Destination {
    /// The transport that will carry the bytes.
    pub fn transport(&self) -> Transport {
        match self {
            Destination::Flow(flow) => flow.transport,
            Destination::Address { transport, .. } => *transport,
        }
    }

    /// Whether nobody needs to repeat what was sent there ([`Flow::is_reliable`]).
    pub fn is_reliable(&self) -> bool {
        match self {
            Destination::Flow(flow) => flow.is_reliable(),
            Destination::Address { transport, .. } => transport.is_reliable(),
        }
    }

    /// Whether it is the services of this shard.
    pub fn is_internal(&self) -> bool {
        matches!(self, Destination::Flow(flow) if flow.is_internal())
    }

    /// The peer's address.
    pub fn remote(&self) -> SocketAddr {
        match self {
            Destination::Flow(flow) => flow.remote,
            Destination::Address { remote, .. } => *remote,
        }
    }
}

/// What the sender of bytes is told when they could not be sent; zero means: nobody wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct TransmitTag(pub u64);

/// Bytes that should leave.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// Where to.
    pub destination: Destination,
    /// One whole message.
    pub bytes: Bytes,
    /// Comes back if sending fails.
    pub tag: TransmitTag,
}
