//! All shards of one process: their sockets, threads and connections.

use super::clock::Clock;
use super::core::Core;
use super::counters::Counters;
use super::dns::Dns;
use super::privsep::client::Net;
use super::stream::{self, Connections, Listener};
use super::switch::Switch;
use super::tls::Tls;
use super::udp::{self, UdpSocket};
use super::worker::{Parts, Sinks, Worker};
use crate::base::Transport;
use crate::sip::listeners::ListenerTable;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the connections may take to say goodbye when the daemon ends.
const FAREWELL_MAX: Duration = Duration::from_millis(500);
/// A listener whose address is in use is tried again after so long, so many times.
const AGAIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: u32 = 40;
/// The most shards.
pub const SHARDS_MAX: usize = 256;

/// The sockets of one listener, one for each shard.
#[derive(Debug)]
pub struct Bound {
    /// What is spoken there.
    pub transport: Transport,
    /// Where; the port is never zero.
    pub address: SocketAddr,
    sockets: Vec<OwnedFd>,
}

impl Bound {
    /// As the configuration writes listeners.
    pub fn written(&self) -> String {
        format!("{}:{}", self.transport.uri_token(), self.address)
    }
}

/// A listener that cannot be.
#[derive(Debug)]
pub struct BindError {
    /// What was to be spoken there.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// What the system says.
    pub error: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            transport,
            address,
            error,
        } = self;
        let name = transport.uri_token();
        write!(f, "cannot listen on {name}:{address}: {error}")?;
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                write!(f, "; end the program that holds it, or change [sip] listen")
            }
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "; the host has no such address, change [sip] listen")
            }
            io::ErrorKind::PermissionDenied => {
                write!(f, "; start as root, or use a port above 1023")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BindError {}

impl Bound {
    /// Binds one listener for `shards` shards.
    pub fn bind(
        transport: Transport,
        address: SocketAddr,
        shards: usize,
    ) -> Result<Self, BindError> {
        match settled(|| sockets(transport, address, shards)) {
            Ok((address, sockets)) => Ok(Self {
                transport,
                address,
                sockets,
            }),
            Err(error) => Err(BindError {
                transport,
                address,
                error,
            }),
        }
    }
}

impl Bound {
    /// From sockets that another process bound, one for each shard.
    pub fn inherited(transport: Transport, address: SocketAddr, sockets: Vec<OwnedFd>) -> Self {
        Self {
            transport,
            address,
            sockets,
        }
    }

    /// Its sockets, one for each shard.
    pub fn sockets(&self) -> &[OwnedFd] {
        &self.sockets
    }
}

/// Binds the sockets of one listener, and says where: port 0 takes any.
fn sockets(
    transport: Transport,
    address: SocketAddr,
    shards: usize,
) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    let bind = |address, count| match transport {
        Transport::Udp => udp::bind(address, count),
        Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
            stream::bind(address, count)
        }
    };
    // A plain socket first: one that shares its port could join another process's.
    let probe = bind(address, 1)?;
    let bound = local_address(&probe)?;
    if shards <= 1 {
        return Ok((bound, probe));
    }
    drop(probe);
    Ok((bound, bind(bound, shards)?))
}

/// Tries again for a while what finds its address in use: the processes of a voipd that was killed
/// hold its sockets until the system has ended each of them.
fn settled<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut rests = AGAIN_MAX;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && rests > 0 => rests -= 1,
            done => return done,
        }
        std::thread::sleep(AGAIN);
    }
}

fn local_address(sockets: &[OwnedFd]) -> io::Result<SocketAddr> {
    let none = || io::Error::other("a socket without an address");
    let socket = sockets.first().ok_or_else(none)?;
    socket2::SockRef::from(socket)
        .local_addr()?
        .as_socket()
        .ok_or_else(none)
}

/// What all shards share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The time.
    pub clock: Clock,
    /// The way to each shard.
    pub switch: Arc<Switch>,
    /// What we listen on.
    pub listeners: ListenerTable,
    /// DNS servers to ask; those of the system where there are none.
    pub resolvers: Vec<SocketAddr>,
    /// The connections.
    pub streams: stream::Context,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Shared {
    /// For `shards` shards.
    pub fn new(shards: usize, clock: Clock, settings: stream::Settings, tls: Arc<Tls>) -> Self {
        let counters = Arc::new(Counters::default());
        let switch = Arc::new(Switch::new(shards));
        Self {
            clock,
            listeners: ListenerTable::default(),
            resolvers: Vec::new(),
            streams: stream::Context {
                connections: Arc::new(Connections::new(settings, Arc::clone(&counters))),
                receiver: Arc::clone(&switch) as Arc<dyn stream::Receiver>,
                tls,
                net: Net::direct(),
            },
            switch,
            counters,
        }
    }
}

/// The running shards.
#[derive(Debug)]
pub struct Node {
    shared: Shared,
    threads: Vec<JoinHandle<()>>,
}

struct ShardSockets {
    udp: Vec<(OwnedFd, SocketAddr)>,
    streams: Vec<Listener>,
}

impl Node {
    /// Starts one thread per core.
    pub fn start<C: Core + Send + Unpin>(
        shared: Shared,
        bound: Vec<Bound>,
        cores: Vec<C>,
        sinks: Arc<dyn Sinks>,
    ) -> io::Result<Self> {
        let mut node = Self {
            threads: Vec::with_capacity(cores.len()),
            shared,
        };
        let sockets = deal(bound, cores.len());
        for (shard, (core, sockets)) in cores.into_iter().zip(sockets).enumerate() {
            let (shared, sinks) = (node.shared.clone(), Arc::clone(&sinks));
            let thread = std::thread::Builder::new()
                .name(format!("shard-{shard}"))
                .spawn(move || {
                    if let Err(error) = run(shard, core, sockets, shared, sinks) {
                        tracing::error!(shard, %error, "a shard cannot run");
                    }
                });
            match thread {
                Ok(thread) => node.threads.push(thread),
                Err(error) => {
                    node.stop();
                    return Err(error);
                }
            }
        }
        Ok(node)
    }

    /// What the shards share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Ends all shards and waits for them.
    pub fn stop(&mut self) {
        self.shared.switch.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shard panicked");
            }
        }
    }

    /// Whether a shard's thread ended though nobody stopped it.
    pub fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Gives each shard its socket of each listener.
fn deal(bound: Vec<Bound>, shards: usize) -> Vec<ShardSockets> {
    let mut dealt: Vec<ShardSockets> = (0..shards)
        .map(|_| ShardSockets {
            udp: Vec::new(),
            streams: Vec::new(),
        })
        .collect();
    for listener in bound {
        for (shard, socket) in dealt.iter_mut().zip(listener.sockets) {
            match listener.transport {
                Transport::Udp => shard.udp.push((socket, listener.address)),
                transport => shard.streams.push(Listener { transport, socket }),
            }
        }
    }
    dealt
}

/// A shard's thread.
fn run<C: Core + Unpin>(
    shard: usize,
    core: C,
    sockets: ShardSockets,
    shared: Shared,
    sinks: Arc<dyn Sinks>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let udp: io::Result<Vec<UdpSocket>> = sockets
            .udp
            .into_iter()
            .map(|(fd, address)| UdpSocket::new(fd, address))
            .collect();
        let listening: Vec<_> = sockets
            .streams
            .into_iter()
            .map(|listener| tokio::spawn(stream::serve(shared.streams.clone(), listener)))
            .collect();
        let parts = Parts {
            shard,
            core,
            clock: shared.clock,
            switch: Arc::clone(&shared.switch),
            udp: udp?,
            listeners: shared.listeners,
            brokered: shared.streams.net.is_brokered(),
            dns: Dns::new(
                &shared.resolvers,
                Arc::clone(&shared.counters),
                shared.streams.net.clone(),
            ),
            streams: shared.streams.clone(),
            counters: Arc::clone(&shared.counters),
            sinks,
        };
        Worker::new(parts).await;
        for task in listening {
            task.abort();
        }
        farewell(&shared.streams.connections).await;
        Ok(())
    })
}

/// Lets the connections write what waits and say goodbye.
async fn farewell(connections: &Connections) {
    const POLL: Duration = Duration::from_millis(10);
    connections.close_all();
    let gone = async {
        while connections.count() > 0 {
            tokio::time::sleep(POLL).await;
        }
    };
    let _ = tokio::time::timeout(FAREWELL_MAX, gone).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_port_that_is_let_go_in_time_is_taken() {
        let held = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let mut refused = 0;
        let mut held = Some(held);
        let bound = settled(|| {
            sockets(Transport::Udp, address, 2).inspect_err(|_| {
                refused += 1;
                // Whoever held it has ended.
                held = None;
            })
        });
        assert_eq!(bound.unwrap().1.len(), 2);
        assert_eq!(refused, 1);
    }

    #[test]
    fn other_refusals_are_told_at_once() {
        let nowhere = "192.0.2.1:5060".parse().unwrap();
        let mut asked = 0;
        let error = settled(|| {
            asked += 1;
            sockets(Transport::Tcp, nowhere, 1)
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(asked, 1);
    }
}
