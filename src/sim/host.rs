//! The server's machine: the real shards, a real relay for each, sockets that are table rows, and a
//! disk that is a second behind.
//!
//! It does what `os` does and nothing else: messages go to the shard that the hash of their Call-ID
//! names, media packets to the shard that bound the port, records to the disk in batches.

use super::disk::Disk;
use super::files::{Death, Spool};
use super::mail::Witness;
use super::net::{Carrier, Packet};
use super::zone::Zone;
use crate::base::Transport;
use crate::base::{Anchor, ConnectionId, Destination, Flow, Instant, Rng, Transmit, TransmitTag};
use crate::call;
use crate::config::Config;
use crate::control::Command;
use crate::feature::{Change, Features, Refusal};
use crate::location::{Clock, Limits, Location};
use crate::mailbox::{self, Mailboxes, Sorted};
use crate::media::file::{FileOrder, FileWish};
use crate::media::room::Rooms;
use crate::pbx::rooms::Roster;
use crate::peer::Peers;
use crate::proxy::guard::flood::Arrival;
use crate::proxy::guard::{self, Guard};
use crate::relay::{Datagram, PortPool, Relay, RelaySettings, SocketAction};
use crate::server::{self, Input, MediaCore, Output, Setup, SignalCore};
use crate::sip::detour::Detours;
use crate::sip::digest::Replays;
use crate::sip::listeners::{Interface, Listener, ListenerTable};
use crate::sip::locate::DnsAnswer;
use crate::store::{Directory, Ha1, Record, User};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Media ports of the whole machine.
pub const MEDIA_PORTS: (u16, u16) = (30_000, 30_399);
/// Its own, kept over restarts.
const SECRET: [u8; 32] = [3; 32];
/// Its calendar begins in 2026.
const EPOCH_MS: u64 = 1_790_000_000_000;

/// A packet on its way out, and who wants to know if it cannot leave.
#[derive(Debug)]
pub struct Outgoing {
    /// The packet.
    pub packet: Packet,
    /// The shard that sent it.
    pub shard: usize,
    /// Zero: nobody.
    pub tag: TransmitTag,
}

/// What media send in one go: our port, where to, what.
#[derive(Default)]
struct Leaving(Vec<(u16, SocketAddr, Vec<u8>)>);

impl server::Carrier for Leaving {
    fn carry(&mut self, _: &Relay, from_port: u16, to: SocketAddr, packet: &[u8]) -> bool {
        self.0.push((from_port, to, packet.to_vec()));
        true
    }
}

#[derive(Debug)]
struct Shard {
    core: SignalCore,
    media: MediaCore,
}

/// The machine.
#[derive(Debug)]
pub struct Host {
    address: SocketAddr,
    config: Arc<Config>,
    directory: Arc<Directory>,
    features: Arc<Features>,
    rooms: Arc<Roster>,
    mailboxes: Arc<Mailboxes>,
    location: Arc<Location>,
    shards: Vec<Shard>,
    detours: Detours,
    rng: Rng,
    disk: Disk,
    spool: Spool,
    witness: Witness,
    out: VecDeque<Outgoing>,
    connections: BTreeMap<SocketAddr, ConnectionId>,
    next_connection: u64,
    media_ports: BTreeMap<u16, (usize, IpAddr)>,
    wake: Option<Instant>,
    media_drops: u64,
    peers: Arc<Peers>,
    /// Passwords of trunks, as their files hold them.
    secrets: BTreeMap<String, String>,
    zone: Zone,
    /// Answers of the DNS under way: the shard that asked, and what.
    answers: BTreeMap<(Instant, u64), (usize, u64, DnsAnswer)>,
    asked: u64,
}

impl Host {
    /// A machine at `address` that serves `domain` with so many shards.
    pub fn new(address: SocketAddr, config: Config, shards: usize, rng: Rng) -> Self {
        // Not forked: what the shards draw stays as it was before there was a spool.
        let of_spool = Rng::from_u64(!rng.clone().next_u64());
        let mut host = Self {
            address,
            peers: Arc::new(Peers::new(&config, SECRET)),
            secrets: BTreeMap::new(),
            zone: Zone::default(),
            answers: BTreeMap::new(),
            asked: 0,
            config: Arc::new(config),
            directory: Arc::new(Directory::new()),
            features: Arc::new(Features::new()),
            rooms: Arc::default(),
            mailboxes: Arc::default(),
            location: Arc::new(Location::new(Limits::default())),
            shards: Vec::new(),
            detours: Detours::new(shards),
            rng,
            disk: Disk::default(),
            spool: Spool::new(of_spool),
            witness: Witness::default(),
            out: VecDeque::new(),
            connections: BTreeMap::new(),
            next_connection: 1,
            media_ports: BTreeMap::new(),
            wake: None,
            media_drops: 0,
        };
        host.boot(Instant::ZERO, shards);
        host
    }

    /// Adds a user.
    pub fn add_user(&self, user: &str, domain: &str, password: &str) {
        let user = User {
            username: user.into(),
            domain: domain.into(),
            display_name: "".into(),
            ha1: Ha1::of(user, domain, password),
            disabled: false,
        };
        // The table holds millions; a world has a dozen.
        let _ = self.directory.put(user);
    }

    /// The file with the password of a trunk.
    pub fn set_secret(&mut self, trunk: &str, password: &str) {
        self.secrets.insert(trunk.into(), password.into());
        let password = password.as_bytes().to_vec();
        self.peers.set_secret(trunk, Some(password));
    }

    /// The DNS that it asks.
    pub fn zone(&mut self) -> &mut Zone {
        &mut self.zone
    }

    /// Its trunks and pools.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// What its users want to become of calls.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Who is in which conference.
    pub fn rooms(&self) -> &Roster {
        &self.rooms
    }

    /// The operator wants something of a shard; the answer is not looked at.
    pub fn operate(&mut self, now: Instant, shard: usize, command: Command) {
        self.input(now, shard, Input::Control { id: 0, command });
        self.plan_wake();
    }

    /// Changes that as the operator would: in memory, and on the disk a little later.
    pub fn change_feature(
        &mut self,
        now: Instant,
        aor: &str,
        change: &Change,
    ) -> Result<(), Refusal> {
        let record = self.features.change(aor, change)?;
        self.disk.write(now, Record::PutFeatures(Box::new(record)));
        Ok(())
    }

    /// Its SIP address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is and will be on the disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Its files, which a story may make few.
    pub fn spool(&mut self) -> &mut Spool {
        &mut self.spool
    }

    /// Its files.
    pub fn files(&self) -> &super::files::Files {
        &self.spool.files
    }

    /// What its callers were told of their messages.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Its users' mailboxes.
    pub fn mailboxes(&self) -> &Mailboxes {
        &self.mailboxes
    }

    /// What a message must have to be kept.
    pub fn message_ms_min(&self) -> u32 {
        self.config.voicemail.message_min_s * 1000
    }

    /// Its users' addresses of record.
    pub fn users(&self) -> Vec<String> {
        let users = self.directory.list().into_iter();
        users.map(|user| user.aor()).collect()
    }

    /// The bindings.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The process or its machine dies, and starts again with what the disk has.
    pub fn restart(&mut self, now: Instant, death: Death) {
        let shards = self.shards.len();
        self.disk.crash(now);
        self.witness.dies(death, &self.spool.files);
        self.spool.crash(now, death);
        self.connections.clear();
        self.media_ports.clear();
        self.out.clear();
        self.answers.clear();
        self.shards.clear();
        self.features = Arc::new(Features::new());
        self.features
            .load(self.disk.features().cloned().collect(), 0);
        self.mailboxes = Arc::default();
        self.restore_mailboxes();
        self.boot(now, shards);
        let clock = Clock {
            now,
            anchor: anchor(),
        };
        for record in self.disk.bindings() {
            self.location.restore(clock, record);
        }
    }

    /// Rows and files are brought together, as the daemon does before it serves.
    fn restore_mailboxes(&mut self) {
        let Sorted {
            mailboxes,
            messages,
            records,
            remove,
            ..
        } = mailbox::reconcile(
            self.disk.mailboxes().cloned().collect(),
            self.disk.messages().cloned().collect(),
            self.spool.survey(EPOCH_MS),
            self.users().iter().map(String::as_str),
            self.message_ms_min(),
        );
        for record in records {
            self.disk.write_through(record);
        }
        for path in remove {
            // What cannot be removed is found again by the next start.
            let _ = self
                .spool
                .answer(FileWish::Order(FileOrder::Remove { path }));
        }
        self.mailboxes.load(mailboxes, messages);
    }

    /// The file was changed and read again.
    pub fn configure(&mut self, now: Instant, config: Config) {
        self.config = Arc::new(config);
        for shard in 0..self.shards.len() {
            let config = Arc::clone(&self.config);
            self.input(now, shard, Input::Configure(config));
        }
        self.plan_wake();
    }

    fn boot(&mut self, now: Instant, shards: usize) {
        self.location = Arc::new(Location::new(Limits::default()));
        let interface = (self.address.ip(), 24);
        let listener = |transport| Listener {
            transport,
            bind: self.address,
            advertised: None,
        };
        let listeners = ListenerTable::new(
            vec![listener(Transport::Udp), listener(Transport::Tcp)],
            vec![Interface {
                address: interface.0,
                prefix: interface.1,
            }],
            [Some(interface.0), None],
        );
        let addresses = call::Addresses {
            interfaces: vec![interface],
            default_v4: match interface.0 {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            },
            ..call::Addresses::default()
        };
        let guard = guard::Settings::of(&self.config);
        let guard = Arc::new(Guard::new(guard, [7; 16]));
        self.peers = Arc::new(Peers::new(&self.config, SECRET));
        for (trunk, password) in &self.secrets {
            let password = password.as_bytes().to_vec();
            self.peers.set_secret(trunk, Some(password));
        }
        let replays = Arc::new(Replays::with_capacity(1024));
        self.rooms = Arc::default();
        let meetings = Arc::<Rooms>::default();
        for shard in 0..shards {
            let core = SignalCore::new(Setup {
                shard,
                shards,
                peers: Arc::clone(&self.peers),
                config: Arc::clone(&self.config),
                listeners: listeners.clone(),
                addresses: addresses.clone(),
                location: Arc::clone(&self.location),
                directory: Arc::clone(&self.directory),
                features: Arc::clone(&self.features),
                rooms: Arc::clone(&self.rooms),
                mailboxes: Arc::clone(&self.mailboxes),
                guard: Arc::clone(&guard),
                rng: self.rng.fork(),
                anchor: anchor(),
                secret: SECRET,
                replays: Arc::clone(&replays),
                ports: PortPool::new(MEDIA_PORTS.0, MEDIA_PORTS.1, shard, shards),
            });
            let mut media = MediaCore::new(RelaySettings::default(), anchor());
            media.share(Arc::clone(&meetings));
            media.handle_file(now, Spool::roots());
            self.shards.push(Shard { core, media });
        }
        self.plan_wake();
    }

    /// A packet came.
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        if packet.destination == self.address {
            self.signalling(now, packet);
        } else {
            self.media(now, packet);
        }
        self.plan_wake();
    }

    fn signalling(&mut self, now: Instant, packet: &Packet) {
        let (transport, connection) = match packet.carrier {
            Carrier::Datagram => (Transport::Udp, None),
            Carrier::Stream => (Transport::Tcp, Some(self.connection(packet.source))),
        };
        let flow = Flow {
            transport,
            local: self.address,
            remote: packet.source,
            connection,
        };
        let shard = self.detours.shard_of(&packet.bytes);
        let source = packet.source.ip();
        if transport == Transport::Udp
            && let Some(Shard { core, .. }) = self.shards.get_mut(shard)
            && !core.admits(now, source, Arrival::Message)
        {
            return self.drain(now, shard);
        }
        let bytes = Bytes::copy_from_slice(&packet.bytes);
        self.input(now, shard, Input::Message { flow, bytes });
    }

    fn media(&mut self, now: Instant, packet: &Packet) {
        let port = packet.destination.port();
        let Some((shard, _)) = self.media_ports.get(&port).copied() else {
            self.media_drops += 1;
            return;
        };
        let Some(media) = self.shards.get_mut(shard).map(|shard| &mut shard.media) else {
            return;
        };
        let mut bytes = packet.bytes.clone();
        let length = bytes.len();
        bytes.resize(length + Datagram::ROOM, 0);
        let mut leaving = Leaving::default();
        let packet_in = &mut Datagram::new(&mut bytes, length);
        if !media.process(now, port, packet.source, packet_in, &mut leaving) {
            self.media_drops += 1;
        }
        self.leave(shard, leaving);
    }

    /// A packet could not leave: nobody listens there.
    pub fn handle_refusal(&mut self, now: Instant, outgoing: &Outgoing) {
        self.connections.remove(&outgoing.packet.destination);
        if outgoing.tag != TransmitTag::default() {
            let tag = outgoing.tag;
            self.input(now, outgoing.shard, Input::TransmitFailed { tag });
            self.plan_wake();
        }
    }

    /// What leaves.
    pub fn poll_packet(&mut self) -> Option<Outgoing> {
        self.out.pop_front()
    }

    /// When it wakes up.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(entry) = self.answers.first_entry()
            && entry.key().0 <= now
        {
            let (shard, query, answer) = entry.remove();
            self.input(now, shard, Input::Resolved { query, answer });
        }
        while let Some((shard, news)) = self.spool.poll_answer(now) {
            if let Some(Shard { media, .. }) = self.shards.get_mut(shard) {
                media.handle_file(now, news);
            }
            self.drain(now, shard);
        }
        for shard in 0..self.shards.len() {
            let mut leaving = Leaving::default();
            if let Some(Shard { core, media }) = self.shards.get_mut(shard) {
                if core.poll_timeout().is_some_and(|at| at <= now) {
                    core.handle_timeout(now);
                }
                if media.poll_timeout().is_some_and(|at| at <= now) {
                    media.handle_timeout(now, &mut leaving);
                }
            }
            self.leave(shard, leaving);
            self.drain(now, shard);
        }
        self.plan_wake();
    }

    /// What media sent goes onto the network.
    fn leave(&mut self, shard: usize, leaving: Leaving) {
        for (from_port, destination, bytes) in leaving.0 {
            let Some((_, address)) = self.media_ports.get(&from_port) else {
                continue;
            };
            let packet = Packet {
                carrier: Carrier::Datagram,
                source: SocketAddr::new(*address, from_port),
                destination,
                bytes,
            };
            let tag = TransmitTag::default();
            self.out.push_back(Outgoing { packet, shard, tag });
        }
    }

    /// Transactions, calls, media sessions, ports in use, of all shards.
    pub fn load(&self) -> Load {
        let mut load = Load::default();
        for Shard { core, media } in &self.shards {
            let (transactions, calls) = core.load();
            load.transactions += transactions;
            load.calls += calls;
            load.sessions += media.sessions();
            load.relayed += core.media_sessions();
            load.callers += core.callers() + media.legs();
            load.recordings += media.recordings_left();
            load.ports += core.ports_in_use();
            load.borders += core.borders();
        }
        load.callers += self.rooms.members();
        load.recordings += self.spool.waiting();
        load.sockets = self.media_ports.len();
        load.places = self.peers.trunks().iter().map(|trunk| trunk.calls()).sum();
        for pool in self.peers.pools() {
            load.places += pool.members().iter().map(|m| m.calls()).sum::<u32>();
        }
        load
    }

    fn plan_wake(&mut self) {
        let timers = self
            .shards
            .iter()
            .flat_map(|s| [s.core.poll_timeout(), s.media.poll_timeout()]);
        let answer = self.answers.keys().next().map(|(at, _)| *at);
        let disk = self.spool.poll_timeout();
        self.wake = timers.flatten().chain(answer).chain(disk).min();
    }

    fn input(&mut self, now: Instant, shard: usize, input: Input) {
        if let Some(Shard { core, .. }) = self.shards.get_mut(shard) {
            core.handle_input(now, input);
        }
        self.drain(now, shard);
    }

    /// Carries outputs away until nobody has any.
    fn drain(&mut self, now: Instant, index: usize) {
        loop {
            let Some(Shard { core, media }) = self.shards.get_mut(index) else {
                return;
            };
            if let Some(output) = core.poll_output() {
                self.output(now, index, output);
                continue;
            }
            if let Some(action) = media.poll_socket() {
                match action {
                    SocketAction::Bind(local) => {
                        self.media_ports.insert(local.port(), (index, local.ip()));
                    }
                    SocketAction::Unbind(port) => {
                        self.media_ports.remove(&port);
                    }
                    SocketAction::Listen(_) => {}
                }
                continue;
            }
            if let Some(ask) = media.poll_file() {
                self.spool.ask(now, index, ask);
                continue;
            }
            match media.poll_news() {
                Some(event) => core.handle_input(now, Input::Media(event)),
                None => return,
            }
        }
    }

    fn output(&mut self, now: Instant, index: usize, output: Output) {
        match output {
            Output::Transmit(transmit) => self.transmit(now, index, transmit),
            Output::Resolve { query, question } => {
                let (at, answer) = self.zone.answer(now, &question);
                if at > now {
                    self.asked += 1;
                    self.answers
                        .insert((at, self.asked), (index, query, answer));
                } else if let Some(Shard { core, .. }) = self.shards.get_mut(index) {
                    core.handle_input(now, Input::Resolved { query, answer });
                }
            }
            Output::Media(command) => {
                self.witness.order(index, &command, &self.spool.files);
                let mut leaving = Leaving::default();
                if let Some(Shard { media, .. }) = self.shards.get_mut(index) {
                    media.handle_order(now, command, &mut leaving);
                }
                self.leave(index, leaving);
            }
            Output::Persist(record) => self.disk.write(now, record),
            Output::Reply { .. } => {}
            Output::CloseConnection(connection) => {
                self.connections.retain(|_, known| *known != connection);
            }
            Output::Tell { shard, input } => self.input(now, shard, input),
            Output::Detour {
                call_id,
                lasts: true,
            } => self.detours.stay(&call_id, index),
            Output::Detour { call_id, .. } => self.detours.over(&call_id),
        }
    }

    fn transmit(&mut self, now: Instant, shard: usize, transmit: Transmit) {
        let Transmit {
            destination,
            bytes,
            tag,
        } = transmit;
        let remote = destination.remote();
        let known = self.connections.get(&remote).copied();
        let carrier = match &destination {
            Destination::Flow(Flow {
                connection: Some(wanted),
                ..
            }) if known != Some(*wanted) => {
                if tag != TransmitTag::default()
                    && let Some(Shard { core, .. }) = self.shards.get_mut(shard)
                {
                    core.handle_input(now, Input::TransmitFailed { tag });
                }
                return;
            }
            Destination::Flow(_) | Destination::Address { .. } => {
                if destination.transport().is_reliable() {
                    self.connection(remote);
                    Carrier::Stream
                } else {
                    Carrier::Datagram
                }
            }
        };
        let packet = Packet {
            carrier,
            source: self.address,
            destination: remote,
            bytes: bytes.to_vec(),
        };
        self.out.push_back(Outgoing { packet, shard, tag });
    }

    /// The connection with a peer, opened if there is none.
    fn connection(&mut self, remote: SocketAddr) -> ConnectionId {
        let next = &mut self.next_connection;
        *self.connections.entry(remote).or_insert_with(|| {
            *next += 1;
            ConnectionId(*next)
        })
    }
}

/// What lives on the host.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Load {
    /// Server and client transactions.
    pub transactions: usize,
    /// Calls.
    pub calls: usize,
    /// Sessions of the relays.
    pub sessions: usize,
    /// Calls that believe to have one.
    pub relayed: usize,
    /// Callers of services, and their legs in the studio.
    pub callers: usize,
    /// Recordings that outlived their legs, and questions to the disk.
    pub recordings: usize,
    /// Media ports that calls hold.
    pub ports: usize,
    /// Media ports that are bound.
    pub sockets: usize,
    /// Borders of trunks and pools.
    pub borders: usize,
    /// Places that calls hold at trunks and members.
    pub places: u32,
}

fn anchor() -> Anchor {
    Anchor {
        instant: Instant::ZERO,
        unix_ms: EPOCH_MS,
    }
}
