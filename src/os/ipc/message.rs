//! The messages. [`PROTOCOL`] changes with any of them.

use crate::base::Transport;
use crate::control::RelayDriverRow;
use crate::media::file::Root;
use crate::os::blocklist::Notice;
use crate::os::netmap::ready::Interface;
use crate::server::{MediaNews, MediaOrder};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The version of all messages between the processes.
pub const PROTOCOL: u32 = 8;
/// The program that they are of.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");

/// A process of the daemon besides the monitor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Role {
    /// The broker: sends to addresses, binds, connects.
    Net,
    /// Relays RTP.
    Media,
    /// SIP and the store.
    Signal,
    /// The HTTP interface, where the configuration has one.
    Web,
}

impl Role {
    /// All, in the order of their start.
    pub const ALL: [Role; 4] = [Role::Net, Role::Media, Role::Signal, Role::Web];

    /// As the hidden argument names it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Net => "net",
            Role::Media => "media",
            Role::Signal => "signal",
            Role::Web => "web",
        }
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// The first message both ways.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// [`BUILD`].
    pub build: String,
    /// The role that is meant.
    pub role: Role,
}

impl Hello {
    /// Ours.
    pub fn new(role: Role) -> Self {
        Self {
            protocol: PROTOCOL,
            build: BUILD.to_owned(),
            role,
        }
    }

    /// Refuses another version.
    pub fn check(&self, role: Role) -> Result<(), String> {
        if *self == Self::new(role) {
            return Ok(());
        }
        Err(format!(
            "the other process is {} of voipd {} with messages of version {}, this one is {} of \
             voipd {BUILD} with version {PROTOCOL}; restart voipd as a whole",
            self.role.name(),
            self.build,
            self.protocol,
            role.name()
        ))
    }
}

/// What a pair is for, as seen by the role that gets an end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Line {
    /// Between a shard of signal and net: [`Datagrams`] and [`Unsent`].
    Datagrams(u16),
    /// Between signal and net: [`Request`] and [`Answer`].
    Requests,
    /// Between a relay of media and net: [`PortRequest`] and [`PortAnswer`].
    Ports(u16),
    /// Between a shard of signal and its relay of media: [`MediaOrder`]s, [`MediaNews`].
    Media(u16),
    /// Between signal and web: the lines of [`crate::control`].
    Operator,
    /// Between signal and net: [`Datagrams`] that leave by the socket of [`ToRole::Ng`].
    Ng,
}

/// What the roles need of the configuration; see [`ToRole::Settings`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Where the file is, absolute.
    pub path: PathBuf,
    /// The file.
    pub text: String,
    /// The codec plugin that a role begins with, whatever the file says: that of the others.
    pub codec_plugin: Option<PathBuf>,
    /// The host's name.
    pub host_name: String,
    /// The host's time zone; empty if it is not known.
    pub timezone: String,
    /// How many shards and relays run.
    pub shards: u16,
    /// Certificates and keys, where the role needs them.
    pub tls: Option<crate::os::tls::TlsPems>,
    /// The token of the HTTP interface, for web alone.
    pub token: Option<String>,
    /// The passwords of trunks, for signal alone.
    pub secrets: crate::os::secrets::Secrets,
    /// The DNS servers.
    pub resolvers: Vec<SocketAddr>,
    /// Whom to become.
    pub user: Option<String>,
    /// Media ports that other programs hold, for signal alone.
    pub held_ports: Vec<u16>,
    /// Users to make if they are not there, as name and password.
    pub users: Vec<(String, String)>,
    /// The monitor's process.
    pub pid: u32,
    /// Whether the log goes to syslog(3).
    pub syslog: bool,
    /// Whether the role ran before, and ended.
    pub again: bool,
}

/// What the relays count.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RelayReport {
    /// The ways that media takes, the sockets first.
    pub rows: Vec<RelayDriverRow>,
    /// What the fast path counts, in the order of its names; empty where there is none.
    pub fast_path: Vec<u64>,
}

/// From the monitor to any role.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToRole {
    /// First.
    Hello(Hello),
    /// A part of encoded [`Settings`].
    Settings {
        /// Who asked, if somebody did.
        asked: Option<u64>,
        /// Whether it is the last part.
        last: bool,
        /// The part.
        #[serde(with = "bytes")]
        bytes: Vec<u8>,
    },
    /// The configuration that was asked for cannot be used.
    BadSettings {
        /// Who asked.
        asked: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// With one descriptor: a listening socket.
    Listener {
        /// What is spoken on it.
        transport: Transport,
        /// Where it is bound.
        address: SocketAddr,
        /// Which shard's it is.
        shard: u16,
    },
    /// With one descriptor: the operator's socket; for web the listener.
    Control,
    /// With one descriptor, for signal and net: the socket of the ng protocol, and where it is
    /// bound. Net counts it behind the UDP listeners.
    Ng(SocketAddr),
    /// With one descriptor, for media: a directory of files.
    Directory(Root),
    /// For media: the card of the fast path, open as often as there are descriptors; told again
    /// where they are too many for one message.
    Card(Interface),
    /// With one descriptor, for media: where next hops are asked for.
    Hops,
    /// With one descriptor: an end of a pair, in place of an earlier one.
    Line(Line),
    /// With one descriptor each: bound ports of media, for a new broker.
    Ports {
        /// Whose they are.
        relay: u16,
        /// Their numbers.
        numbers: Vec<u16>,
    },
    /// All is there: serve.
    Start,
    /// Log from this level on.
    LogLevel(String),
    /// For signal: what the relays count.
    Relays(RelayReport),
    /// Try what must be refused, and tell.
    Probe,
    /// The end.
    Stop,
}

/// From any role to the monitor.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToMonitor {
    /// First.
    Hello(Hello),
    /// It serves.
    Ready,
    /// It cannot serve: exit code and reason.
    Failed(u8, String),
    /// The operator wants the configuration read again.
    Reload {
        /// Comes back with it.
        asked: u64,
    },
    /// The operator wants another level of the log.
    LogLevel(String),
    /// With one descriptor each: bound ports of media, for a new broker.
    Ports {
        /// Whose they are.
        relay: u16,
        /// Their numbers.
        numbers: Vec<u16>,
    },
    /// What the sandbox said to each try.
    Probed(Vec<Probed>),
    /// From signal: blocklistd(8) is to be told.
    Notice(Notice),
    /// From media, for signal: what the relays count.
    Relays(RelayReport),
}

/// One try of a [`ToRole::Probe`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Probed {
    /// What was tried.
    pub what: String,
    /// The system's error; `None` where nothing refused it.
    pub refused: Option<i32>,
}

/// From signal to net.
#[derive(Debug, Serialize, Deserialize)]
pub struct Datagrams<'a>(#[serde(borrow)] pub Vec<Datagram<'a>>);

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Datagram<'a> {
    /// From which listener: its place among the UDP listeners.
    pub listener: u16,
    /// Where to.
    pub to: SocketAddr,
    /// Comes back if it cannot be sent; zero for nothing.
    pub tag: u64,
    /// Its bytes.
    #[serde(borrow)]
    pub bytes: Blob<'a>,
}

/// From net to signal: tags of datagrams that could not be sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unsent(pub Vec<u64>);

/// From signal to net.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Comes back.
    pub id: u64,
    /// The wish.
    pub wish: Wish,
}

/// What signal may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// A TCP connection to a SIP peer.
    Connect(SocketAddr),
    /// A UDP socket, connected to a DNS server.
    ResolverUdp(SocketAddr),
    /// A TCP connection to a DNS server.
    ResolverTcp(SocketAddr),
}

/// From net to signal; with one descriptor where it was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Of the request.
    pub id: u64,
    /// What was wrong.
    pub outcome: Result<(), Refusal>,
}

/// Why net did not do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// The policy.
    Policy,
    /// The system: its error number.
    System(i32),
    /// Too many at a time.
    Busy,
}

impl From<Refusal> for std::io::Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Policy => std::io::Error::from_raw_os_error(libc::EACCES),
            Refusal::System(number) => std::io::Error::from_raw_os_error(number),
            Refusal::Busy => std::io::Error::from_raw_os_error(libc::EAGAIN),
        }
    }
}

/// From media to net.
#[derive(Debug, Serialize, Deserialize)]
pub enum PortRequest<'a> {
    /// Bind these; answered by `Bound`. At most [`super::DESCRIPTORS_MAX`].
    Bind(Vec<SocketAddr>),
    /// Forget the port.
    Release(u16),
    /// Connect the port; answered by `Connected`.
    Connect(u16, SocketAddr),
    /// Take packets from anybody again.
    Disconnect(u16),
    /// Send from the port.
    Send(u16, SocketAddr, #[serde(borrow)] Blob<'a>),
}

/// From net to media.
#[derive(Debug, Serialize, Deserialize)]
pub enum PortAnswer {
    /// In the order of the request; a descriptor for each that is well.
    Bound(Vec<Result<(), Refusal>>),
    /// Whether the port is connected there now.
    Connected(u16, SocketAddr, bool),
}

/// From signal to media.
#[derive(Debug, Serialize, Deserialize)]
pub struct Commands(pub Vec<MediaOrder>);

/// From media to signal.
#[derive(Debug, Serialize, Deserialize)]
pub struct Events(pub Vec<MediaNews>);

/// Bytes that are written and read as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blob<'a>(pub &'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Blob<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a [u8]>::deserialize(deserializer).map(Blob)
    }
}

/// The same for bytes that are owned.
mod bytes {
    use super::{Deserializer, Serializer, de, fmt};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Owned;
        impl de::Visitor<'_> for Owned {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_bytes(Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_refused_and_told() {
        let mut hello = Hello::new(Role::Net);
        assert_eq!(hello.check(Role::Net), Ok(()));
        assert!(hello.check(Role::Media).is_err());
        hello.protocol += 1;
        let told = hello.check(Role::Net).unwrap_err();
        assert!(told.contains("restart voipd"), "{told}");
    }

    #[test]
    fn datagrams_come_as_they_went() {
        let one = Datagram {
            listener: 3,
            to: "[2001:db8::1]:5060".parse().unwrap(),
            tag: 9,
            bytes: Blob(b"OPTIONS"),
        };
        let bytes = crate::os::ipc::encode(&Datagrams(vec![one])).unwrap();
        // Nine bytes around an IPv4 or 21 around an IPv6 destination, no more.
        assert!(bytes.len() < 7 + 26, "{}", bytes.len());
        let back: Datagrams<'_> = crate::os::ipc::decode(&bytes).unwrap();
        assert_eq!(back.0[0].bytes, Blob(b"OPTIONS"));
        assert_eq!(back.0[0].to.port(), 5060);
    }
}
