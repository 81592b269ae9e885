//! The parts of a running daemon put together: store, location, shards, relays.

use super::Replies;
use super::files;
use super::mail::Mail;
use super::relayed::NgServing;
use super::relays::Relays;
use crate::base::{Anchor, Rng};
use crate::call::Addresses;
use crate::config::Config;
use crate::control::{Command, Failure, RelayDriverRow, Reply, Scope};
use crate::feature::Features;
use crate::location::{self, Location};
use crate::mailbox::Mailboxes;
use crate::os::blocklist::{self, Notice};
use crate::os::clock::Clock;
use crate::os::codec_plugin;
use crate::os::control::{Asked, Tables, cdrs, users};
use crate::os::daemon::{EX_OSERR, EX_SOFTWARE, EX_UNAVAILABLE, Fatal};
use crate::os::dns::Dns;
use crate::os::fast::Card;
use crate::os::interfaces;
use crate::os::ipc::RelayReport;
use crate::os::log::Log;
use crate::os::ng;
use crate::os::node::{Bound, Node, SHARDS_MAX, Shared};
use crate::os::post::{self, Mailing, Post, Reader};
use crate::os::privsep::client::Net;
use crate::os::relay::{self, MediaHandle};
use crate::os::secrets::Secrets;
use crate::os::spool::{Filing, Roots};
use crate::os::store::{Database, Loaded, Store};
use crate::os::stream;
use crate::os::switch::Switch;
use crate::os::tls::{Tls, TlsPems};
use crate::os::worker::Sinks;
use crate::pbx::rooms::Roster;
use crate::peer::Peers;
use crate::proxy::guard::{self, Guard};
use crate::relay::{Failure as MediaFailure, MediaEvent, PortPool, RelaySettings, session_of_leg};
use crate::server::{Input, MediaNews, MediaOrder, Setup, SignalCore};
use crate::sip::digest::Replays;
use crate::sip::listeners::{Advertised, AdvertisedHost, Interface, Listener, ListenerTable};
use crate::store::{Directory, Ha1, Record, User};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Where the shards' wishes go.
struct Outlets {
    store: Store,
    replies: Arc<Replies>,
    relays: Vec<Relaying>,
    switch: Arc<Switch>,
    notices: mpsc::Sender<Notice>,
}

/// Where a shard's relay runs.
enum Relaying {
    Here(MediaHandle),
    Elsewhere(mpsc::Sender<MediaOrder>),
}

/// What other processes do for this one; nothing in a daemon of one process.
#[derive(Default)]
pub(in crate::os) struct Seams {
    /// Connects for us.
    pub net: Net,
    /// Relay for us, one for each shard.
    pub media: Option<Vec<mpsc::Sender<MediaOrder>>>,
    /// The process that the operator knows; ours without.
    pub pid: Option<u32>,
    /// The DNS servers, where we cannot read the system's.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// The passwords of trunks.
    pub secrets: Secrets,
    /// The directories of sound, where we relay ourselves.
    pub roots: Roots,
    /// The card of the fast path, where we relay ourselves.
    pub card: Option<Box<dyn Card>>,
}

impl Seams {
    /// Those of a daemon in one process.
    pub(in crate::os) fn with(secrets: Secrets, roots: Roots, card: Option<Box<dyn Card>>) -> Self {
        Self {
            secrets,
            roots,
            card,
            ..Self::default()
        }
    }
}

impl Sinks for Outlets {
    fn leave_media(&self, shard: usize, command: MediaOrder) {
        let session = command.session();
        let sent = match self.relays.get(shard) {
            Some(Relaying::Here(relay)) => relay.leave(command).is_ok(),
            Some(Relaying::Elsewhere(process)) => process.try_send(command).is_ok(),
            None => false,
        };
        if !sent {
            let reason = MediaFailure::Full;
            let event = MediaNews::Relay(MediaEvent::Failed { session, reason });
            self.switch.news(shard, event);
        }
    }

    fn wake_media(&self, shard: usize) {
        if let Some(Relaying::Here(relay)) = self.relays.get(shard) {
            relay.wake();
        }
    }

    fn persist(&self, record: Record) {
        if let Some(notice) = Notice::of(&record)
            && self.notices.try_send(notice).is_err()
        {
            tracing::debug!("blocklistd is not told of {notice:?}: too many at a time");
        }
        self.store.persist(record);
    }

    fn reply(&self, id: u64, reply: Reply) {
        self.replies.reply(id, reply);
    }
}

/// The daemon at work.
pub(in crate::os) struct Running {
    config: Arc<Config>,
    held_ports: Vec<u16>,
    anchor: Anchor,
    listening: Vec<String>,
    directory: Arc<Directory>,
    features: Arc<Features>,
    mailboxes: Arc<Mailboxes>,
    location: Arc<Location>,
    guard: Arc<Guard>,
    peers: Arc<Peers>,
    store: Store,
    replies: Arc<Replies>,
    node: Node,
    relays: Relays,
    pid: u32,
    notices: mpsc::Receiver<Notice>,
    posting: Posting,
    ng: NgServing,
}

/// What copies by e-mail are sent with.
struct Posting {
    sinks: Arc<Outlets>,
    mailing: watch::Sender<Mailing>,
    counts: Arc<post::Counts>,
}

impl Posting {
    fn new(sinks: &Arc<Outlets>, config: &Arc<Config>, secrets: &Secrets) -> Self {
        Self {
            sinks: Arc::clone(sinks),
            mailing: watch::Sender::new(Mailing::new(config, secrets)),
            counts: Arc::default(),
        }
    }

    fn renew(&self, config: &Arc<Config>, secrets: &Secrets) {
        self.mailing.send_replace(Mailing::new(config, secrets));
    }
}

/// How many shards run.
pub(in crate::os) fn shards(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    match config.node.workers {
        0 => cores().min(SHARDS_MAX),
        n => n.min(SHARDS_MAX),
    }
}

/// Binds every listener, before rights are dropped.
pub(in crate::os) fn bind(config: &Config) -> Result<Vec<Bound>, Fatal> {
    let shards = shards(config);
    let bound = config.sip.listen.iter().map(|listen| {
        Bound::bind(listen.transport, listen.addr, shards)
            .map_err(|e| Fatal::new(EX_UNAVAILABLE, e.to_string()))
    });
    bound.collect()
}

/// What the shards share.
fn share(
    config: &Config,
    (shards, clock): (usize, Clock),
    around: &Surroundings,
    tls: Tls,
    seams: &Seams,
) -> Shared {
    let mut shared = Shared::new(shards, clock, stream_settings(config), Arc::new(tls));
    shared.listeners = around.listeners.clone();
    let resolvers = seams.resolvers.as_ref();
    shared.resolvers = resolvers.unwrap_or(&config.sip.resolvers).clone();
    shared.streams.net = seams.net.clone();
    shared
}

/// What connections may do.
fn stream_settings(config: &Config) -> stream::Settings {
    stream::Settings {
        connections_max: config.limits.connections_max,
        connections_per_source_max: config.limits.connections_per_source_max,
        idle: config.timers.connection_idle,
        half_message: config.timers.half_message,
        origins: config.sip.origins.clone(),
    }
}

/// The host as the network sees it.
struct Surroundings {
    listeners: ListenerTable,
    addresses: Addresses,
    /// Media ports that other programs hold.
    held_ports: Vec<u16>,
}

impl Surroundings {
    fn look(config: &Config, bound: &[Bound], held_ports: Vec<u16>) -> Self {
        let interfaces = interfaces::addresses().unwrap_or_else(|error| {
            tracing::warn!(%error, "the host's addresses cannot be read");
            Vec::new()
        });
        let routes = interfaces::default_routes();
        let listeners = bound.iter().map(|b| {
            let shown = match b.address.ip() {
                IpAddr::V4(_) => config.sip.advertise.v4.map(IpAddr::V4),
                IpAddr::V6(_) => config.sip.advertise.v6.map(IpAddr::V6),
            };
            Listener {
                transport: b.transport,
                bind: b.address,
                advertised: shown.map(|ip| Advertised {
                    host: AdvertisedHost::Ip(ip),
                    port: None,
                }),
            }
        });
        let named = |&(address, prefix): &(IpAddr, u8)| Interface { address, prefix };
        let [v4, v6] = routes;
        Self {
            listeners: ListenerTable::new(
                listeners.collect(),
                interfaces.iter().map(named).collect(),
                routes,
            ),
            addresses: Addresses {
                default_v4: v4.and_then(|ip| match ip {
                    IpAddr::V4(ip) => Some(ip),
                    IpAddr::V6(_) => None,
                }),
                default_v6: v6.and_then(|ip| match ip {
                    IpAddr::V6(ip) => Some(ip),
                    IpAddr::V4(_) => None,
                }),
                interfaces,
                advertise_v4: config.sip.advertise.v4,
                advertise_v6: config.sip.advertise.v6,
            },
            held_ports,
        }
    }
}

/// What was brought back from the disk.
struct Restored {
    directory: Arc<Directory>,
    features: Arc<Features>,
    mailboxes: Arc<Mailboxes>,
    location: Arc<Location>,
    guard: Arc<Guard>,
    store: Store,
}

impl Restored {
    fn load(
        config: &Config,
        clock: Clock,
        anchor: Anchor,
        rng: &mut Rng,
        (database, loaded, mail): (Database, Loaded, Mail),
        wanted: &[(String, String)],
    ) -> Result<Self, Fatal> {
        let store = Store::start(database).map_err(|e| store_failed(&e))?;
        let directory = Directory::new();
        for user in loaded.users {
            if directory.put(user).is_err() {
                tracing::error!("the store holds more users than fit");
                break;
            }
        }
        let features = Features::new();
        features.load(loaded.features, loaded.features_revision_max);
        let mailboxes = Mailboxes::new();
        mail.load(&mailboxes, &store);
        let location = Location::new(location::Limits::of(config));
        location.reserve_serials(loaded.serial_max);
        let now = clock.now();
        let found = loaded.bindings.len();
        let mut kept = 0;
        for binding in &loaded.bindings {
            kept += usize::from(location.restore(location::Clock { now, anchor }, binding));
        }
        let mut key = [0; 16];
        rng.fill(&mut key);
        let guard = Guard::new(guard::Settings::of(config), key);
        // Whoever has a binding proved right before the restart.
        let received = loaded.bindings.iter().map(|b| b.received.parse());
        for received in received.filter_map(Result::<SocketAddr, _>::ok) {
            guard.vouch(received.ip(), now);
        }
        for ban in loaded.bans {
            guard.restore(ban, now, anchor);
        }
        let users = directory.len();
        tracing::info!(users, bindings = kept, ended = found - kept, "restored");
        for (name, password) in wanted {
            ensure_user(&directory, &store, config, name, password);
        }
        Ok(Self {
            directory: Arc::new(directory),
            features: Arc::new(features),
            mailboxes: Arc::new(mailboxes),
            location: Arc::new(location),
            guard: Arc::new(guard),
            store,
        })
    }

    /// The core of each shard.
    fn cores(
        &self,
        config: &Arc<Config>,
        around: &Surroundings,
        peers: &Arc<Peers>,
        mut rng: Rng,
        (shards, anchor, secret): (usize, Anchor, [u8; 32]),
    ) -> Vec<SignalCore> {
        let replays = Arc::new(Replays::new());
        let rooms = Arc::new(Roster::new());
        let ((first, last), _) = ng::share_ports(config);
        let core = |shard| {
            SignalCore::new(Setup {
                shard,
                shards,
                peers: Arc::clone(peers),
                config: Arc::clone(config),
                listeners: around.listeners.clone(),
                addresses: around.addresses.clone(),
                location: Arc::clone(&self.location),
                directory: Arc::clone(&self.directory),
                features: Arc::clone(&self.features),
                rooms: Arc::clone(&rooms),
                mailboxes: Arc::clone(&self.mailboxes),
                guard: Arc::clone(&self.guard),
                rng: rng.fork(),
                anchor,
                secret,
                replays: Arc::clone(&replays),
                ports: PortPool::new(first, last, shard, shards).without(&around.held_ports),
            })
        };
        (0..shards).map(core).collect()
    }
}

fn ensure_user(directory: &Directory, store: &Store, config: &Config, name: &str, password: &str) {
    let domain = config.node.default_domain();
    if directory.get(&format!("{name}@{domain}")).is_some() {
        return;
    }
    let user = User {
        username: name.into(),
        domain: domain.into(),
        display_name: "".into(),
        ha1: Ha1::of(name, domain, password),
        disabled: false,
    };
    if directory.put(user.clone()).is_ok() {
        store.persist(Record::PutUser(Box::new(user)));
    }
}

fn store_failed(e: &dyn std::fmt::Display) -> Fatal {
    Fatal::new(EX_UNAVAILABLE, format!("store: {e}"))
}

/// What the daemon takes from the system before it gives up the right to.
pub(in crate::os) struct Prepared {
    config: Config,
    shards: usize,
    rng: Rng,
    secret: [u8; 32],
    database: Database,
    loaded: Loaded,
    mail: Mail,
    around: Surroundings,
    users: Vec<(String, String)>,
}

impl Prepared {
    /// Opens the store, reads the secret, the host's addresses and what is in the spool. Starts no
    /// thread.
    pub(in crate::os) fn read(
        config: Config,
        (bound, held_ports): (&[Bound], Vec<u16>),
        users: &[(String, String)],
    ) -> Result<Self, Fatal> {
        let mut rng = Rng::from_seed(files::entropy()?);
        let secret = files::secret(&config.node.state_dir, &mut rng)?;
        let mut database = Database::open(&config.store).map_err(|e| store_failed(&e))?;
        let mut loaded = database.load().map_err(|e| store_failed(&e))?;
        let mail = Mail::sort(&config, &mut loaded);
        Ok(Self {
            shards: bound
                .first()
                .map_or_else(|| shards(&config), |b| b.sockets().len()),
            around: Surroundings::look(&config, bound, held_ports),
            config,
            rng,
            secret,
            database,
            loaded,
            mail,
            users: users.to_vec(),
        })
    }

    /// Sees that the store opens no file later.
    pub(in crate::os) fn seal(&self) -> Result<(), Fatal> {
        self.database.seal().map_err(|e| store_failed(&e))
    }
}

impl Running {
    /// Starts everything behind the bound sockets.
    pub(in crate::os) fn start(
        prepared: Prepared,
        bound: Vec<Bound>,
        tls: Tls,
        seams: Seams,
    ) -> Result<Self, Fatal> {
        let Prepared {
            config,
            shards,
            mut rng,
            secret,
            database,
            loaded,
            mail,
            around,
            users,
        } = prepared;
        let config = Arc::new(config);
        let clock = Clock::new();
        let anchor = clock.anchor();
        let stored = (database, loaded, mail);
        let restored = Restored::load(&config, clock, anchor, &mut rng, stored, &users)?;
        let shared = share(&config, (shards, clock), &around, tls, &seams);
        let replies = Arc::new(Replies::default());
        let own = (&*config, seams.roots, seams.card);
        let relays = match &seams.media {
            Some(_) => Relays::elsewhere(),
            None => Relays::start(own, shards, clock, &shared.switch)?,
        };
        let here = relays.handles().map(Relaying::Here);
        let elsewhere = seams.media.into_iter().flatten().map(Relaying::Elsewhere);
        let relaying = here.chain(elsewhere).collect();
        let (tell, notices) = mpsc::channel(blocklist::WAITING_MAX);
        let sinks = Arc::new(Outlets {
            notices: tell,
            store: restored.store.clone(),
            replies: Arc::clone(&replies),
            relays: relaying,
            switch: Arc::clone(&shared.switch),
        });
        let posting = Posting::new(&sinks, &config, &seams.secrets);
        let ng = NgServing::new(&config, around.addresses.clone(), anchor, &mut rng);
        let peers = seams.secrets.peers(&config, secret);
        let cores = restored.cores(&config, &around, &peers, rng, (shards, anchor, secret));
        let listening = bound.iter().map(Bound::written).collect();
        let node = Node::start(shared, bound, cores, sinks)
            .map_err(|e| Fatal::new(EX_OSERR, format!("threads: {e}")))?;
        // What the start found: files to remove, phones to tell.
        node.shared().switch.tell(0, Input::Mailboxes);
        Ok(Self {
            config,
            held_ports: around.held_ports,
            anchor,
            listening,
            directory: restored.directory,
            features: restored.features,
            mailboxes: restored.mailboxes,
            location: restored.location,
            guard: restored.guard,
            peers,
            store: restored.store,
            replies,
            node,
            relays,
            pid: seams.pid.unwrap_or_else(std::process::id),
            notices,
            posting,
            ng,
        })
    }

    /// The configuration in force.
    pub(in crate::os) fn config(&self) -> &Config {
        &self.config
    }

    /// What the guard decides from now on. The first call gets it.
    pub(in crate::os) fn notices(&mut self) -> mpsc::Receiver<Notice> {
        std::mem::replace(&mut self.notices, mpsc::channel(1).1)
    }

    /// Sends copies of messages by e-mail from now on. Once, and inside a runtime only.
    pub(in crate::os) fn start_post(&self) {
        let shared = self.node.shared();
        let (to, answers) = post::answers();
        shared.switch.set_post(to);
        let sinks = Arc::clone(&self.posting.sinks);
        let order = Box::new(move |order| sinks.media(0, order));
        let (counters, net) = (Arc::clone(&shared.counters), shared.streams.net.clone());
        let post = Post {
            mailboxes: Arc::clone(&self.mailboxes),
            store: self.store.clone(),
            dns: Dns::new(&shared.resolvers, counters, net.clone()),
            net,
            tls: Arc::clone(&shared.streams.tls),
            reader: Reader::new(order, answers),
            counts: Arc::clone(&self.posting.counts),
        };
        tokio::spawn(post.run(self.posting.mailing.subscribe()));
    }

    /// Serves the ng protocol on a bound socket from now on. Once, and inside a runtime only.
    pub(in crate::os) fn start_ng(&self, socket: std::net::UdpSocket, way: ng::Way) {
        let shared = self.node.shared();
        let (_, Some((first, last))) = ng::share_ports(&self.config) else {
            return;
        };
        let (tell, events) = mpsc::channel(ng::EVENTS_MAX);
        let asks = self.ng.asks();
        shared.switch.set_ng(tell);
        let sinks = Arc::clone(&self.posting.sinks);
        let shards = shared.switch.shards() as u64;
        let store = self.store.clone();
        let task = ng::Task {
            socket,
            way,
            ports: PortPool::new(first, last, 0, 1).without(&self.held_ports),
            clock: shared.clock,
            events,
            // Any relay will do, but a session stays with its own.
            order: Box::new(move |order| {
                let shard = usize::try_from(session_of_leg(order.session()) % shards).unwrap_or(0);
                sinks.media(shard, order);
            }),
            settings: self.ng.settings(),
            asks,
            seen: self.ng.seen(),
            rng: self.ng.rng(),
            persist: Box::new(move |record| store.persist(record)),
        };
        tokio::spawn(async move {
            if let Err(error) = task.run().await {
                tracing::error!("ng: {error}");
            }
        });
    }

    /// The listeners, with the ports that they got.
    pub(in crate::os) fn listening(&self) -> &[String] {
        &self.listening
    }

    /// The way to the shards.
    pub(in crate::os) fn switch(&self) -> &Arc<Switch> {
        &self.node.shared().switch
    }

    /// Reads the configuration again. A bad file changes nothing.
    pub(in crate::os) fn reload(&mut self, path: &Path, log: &Log) -> Reply {
        let bad = |problem: String| Reply::failed(Failure::BadConfig, problem, "");
        let config = match files::read_config(path) {
            Ok(config) => config,
            Err(why) => return bad(why.reason),
        };
        if let Err(why) = codec_plugin::check(&config) {
            return bad(why.reason);
        }
        let secrets = match files::secrets(&config) {
            Ok(secrets) => secrets,
            Err(why) => return bad(why.reason),
        };
        match files::tls_files(&config).read() {
            Ok(pems) => self.apply(config, (&pems, &secrets), log),
            Err(mistake) => bad(format!("[sip.tls] {mistake}")),
        }
    }

    /// Puts a configuration into force.
    pub(in crate::os) fn apply(
        &mut self,
        mut config: Config,
        (pems, secrets): (&TlsPems, &Secrets),
        log: &Log,
    ) -> Reply {
        let bad = |problem: String| Reply::failed(Failure::BadConfig, problem, "");
        let shared = self.node.shared();
        if let Err(mistake) = shared.streams.tls.renew(pems) {
            return bad(format!("[sip.tls] {mistake}"));
        }
        let old = &self.config;
        let later = later(old, &config);
        // What is loaded stays as it is: no call is to be written in what nobody can read.
        config
            .services
            .g729_plugin
            .clone_from(&old.services.g729_plugin);
        if old.admin.log != config.admin.log {
            log.set(config.admin.log);
        }
        shared
            .streams
            .connections
            .configure(stream_settings(&config));
        self.location.set_limits(location::Limits::of(&config));
        self.guard.configure(guard::Settings::of(&config));
        // Before the shards hear of the trunks.
        secrets.give(&config, &self.peers);
        self.config = Arc::new(config);
        self.posting.renew(&self.config, secrets);
        self.ng.renew(&self.config, self.anchor);
        let config = &self.config;
        shared
            .switch
            .tell_all(|| Input::Configure(Arc::clone(config)));
        match later.is_empty() {
            true => Reply::done("the configuration was read again"),
            false => Reply::done(format!(
                "the configuration was read again; {} will change at the next start",
                later.join(", ")
            )),
        }
    }

    /// Carries out a command, here or in the shards; the reply goes to whoever asked.
    pub(in crate::os) fn command(&mut self, asked: Asked, path: &Path, log: &Log) {
        let Asked { command, mut reply } = asked;
        if command == Command::Relayed {
            let (of_shards, shards) = oneshot::channel();
            self.ng
                .add_to(shards, std::mem::replace(&mut reply, of_shards));
        }
        match command.scope() {
            Scope::EveryShard => {
                self.ask_shards(command, self.node.shared().switch.shards(), reply)
            }
            Scope::OneShard => self.ask_shards(command, 1, reply),
            Scope::Process => match command {
                Command::Reload => {
                    let _ = reply.send(self.reload(path, log));
                }
                Command::Log { level } => {
                    let _ = reply.send(set_level(&level, log));
                }
                command => self.ask_users(command, reply),
            },
        }
    }

    fn ask_shards(
        &mut self,
        command: Command,
        count: usize,
        reply: tokio::sync::oneshot::Sender<Reply>,
    ) {
        let about = self.about();
        let finish = move |reply| match reply {
            Reply::Status(mut row) => {
                about.add_to(&mut row);
                Reply::Status(row)
            }
            reply => reply,
        };
        let Some(id) = self.replies.expect(count, reply, finish) else {
            return;
        };
        for shard in 0..count {
            let command = command.clone();
            let input = Input::Control { id, command };
            self.node.shared().switch.tell(shard, input);
        }
    }

    /// Users and records are kept by the disk, which is waited for on a thread of its own.
    fn ask_users(&self, command: Command, reply: tokio::sync::oneshot::Sender<Reply>) {
        let (config, directory) = (Arc::clone(&self.config), Arc::clone(&self.directory));
        let features = Arc::clone(&self.features);
        let mailboxes = Arc::clone(&self.mailboxes);
        let switch = Arc::clone(&self.node.shared().switch);
        let store = self.store.clone();
        let location = Arc::clone(&self.location);
        tokio::task::spawn_blocking(move || {
            let tables = Tables {
                directory: &directory,
                features: &features,
                mailboxes: &mailboxes,
                mail: &config.voicemail,
            };
            let done = users::answer(&command, &config.node, tables, &store);
            if mailboxes.is_stirred() {
                // What there is to tell phones and to do with files, a shard passes on.
                switch.tell(0, Input::Mailboxes);
            }
            let done = done.or_else(|| cdrs::answer(&command, &config, &store));
            // Who is no user any more is not called any more either.
            if let Command::UserDel { aor } = &command
                && directory.get(aor).is_none()
            {
                location
                    .remove(aor)
                    .into_iter()
                    .for_each(|r| store.persist(r));
            }
            let unknown = || Reply::failed(Failure::BadCommand, "unknown command", "");
            let _ = reply.send(done.unwrap_or_else(unknown));
        });
    }

    fn about(&mut self) -> About {
        let shared = self.node.shared();
        let mut counters = shared.counters.list();
        counters.push(("inbox_dropped", shared.switch.dropped()));
        let store = self.store.status();
        counters.push(("store_waiting", store.waiting as u64));
        counters.push(("store_written", store.written));
        counters.push(("store_lost", store.lost));
        counters.extend(self.posting.counts.list(&self.mailboxes));
        let mut warnings: Vec<String> = store.trouble.iter().map(ToString::to_string).collect();
        let (figures, trouble) = self.relays.list();
        counters.extend(figures);
        warnings.extend(trouble);
        counters.extend(self.ng.list(&self.config));
        About {
            pid: self.pid,
            connections: shared.streams.connections.count() as u64,
            listening: self.listening.clone(),
            counters,
            relay: self.relays.rows(shared.clock.now()),
            ng_sessions: self.ng.sessions(),
            warnings,
        }
    }

    /// What the process tells that has the relays.
    pub(in crate::os) fn hear_relays(&mut self, report: RelayReport) {
        self.relays.hear(report);
    }

    /// Looks after what nobody else does: the calendar, late replies, dead threads.
    pub(in crate::os) fn look(&mut self) -> Result<(), Fatal> {
        if self.node.is_broken() {
            let text = "a shard's thread ended; see the log before this line";
            return Err(Fatal::new(EX_SOFTWARE, text));
        }
        if self.relays.is_broken() {
            return Err(Fatal::new(EX_SOFTWARE, relay::BROKEN));
        }
        self.replies.give_up();
        // For the packets per second of those who ask next.
        self.relays.rows(self.node.shared().clock.now());
        let shared = self.node.shared();
        if let Some(anchor) = shared.clock.moved(&self.anchor) {
            self.anchor = anchor;
            self.ng.renew(&self.config, anchor);
            shared.switch.tell_all(|| Input::Wall(anchor));
        }
        Ok(())
    }

    /// Ends everything; what was answered is on the disk afterwards.
    pub(in crate::os) async fn stop(mut self) -> Result<(), Fatal> {
        // While the relays and what goes between are still there.
        self.ng.end().await;
        self.node.stop();
        self.relays.stop();
        self.store
            .close()
            .map_err(|e| Fatal::new(EX_UNAVAILABLE, format!("store: {e}")))
    }
}

/// What the process knows for `voipctl status`.
struct About {
    pid: u32,
    connections: u64,
    listening: Vec<String>,
    counters: Vec<(&'static str, u64)>,
    relay: Vec<RelayDriverRow>,
    ng_sessions: u64,
    warnings: Vec<String>,
}

impl About {
    fn add_to(self, row: &mut crate::control::StatusRow) {
        row.pid = self.pid;
        row.connections = self.connections;
        row.listen = self.listening;
        row.warnings.extend(self.warnings);
        row.relay = self.relay;
        row.ng_sessions = self.ng_sessions;
        for (name, n) in self.counters {
            row.counters.other.insert(name.to_owned(), n);
        }
    }
}

fn set_level(level: &str, log: &Log) -> Reply {
    match level.parse() {
        Ok(parsed) => {
            log.set(parsed);
            Reply::done(format!("logging from {level} on"))
        }
        Err(()) => Reply::failed(
            Failure::BadCommand,
            format!("no level {level}"),
            "one of error, warn, info, debug, trace",
        ),
    }
}

/// The keys that change at the next start alone.
fn later(old: &Config, config: &Config) -> Vec<&'static str> {
    let changed = [
        (old.sip.listen != config.sip.listen, "[sip] listen"),
        (old.sip.resolvers != config.sip.resolvers, "[sip] resolvers"),
        (old.sip.advertise != config.sip.advertise, "[sip] advertise"),
        (old.node.workers != config.node.workers, "[node] workers"),
        (
            old.node.state_dir != config.node.state_dir,
            "[node] state_dir",
        ),
        (old.rtp.ports != config.rtp.ports, "[rtp] ports"),
        (old.rtp.fastpath != config.rtp.fastpath, "[rtp] fastpath"),
        (
            old.rtp.fastpath_mode != config.rtp.fastpath_mode,
            "[rtp] fastpath_mode",
        ),
        (
            old.rtp.ng.as_ref().map(|ng| ng.listen) != config.rtp.ng.as_ref().map(|ng| ng.listen),
            "[rtp] ng",
        ),
        (old.store != config.store, "[store]"),
        (old.spool != config.spool, "[spool]"),
        (
            old.services.prompts != config.services.prompts,
            "[services] prompts",
        ),
        (
            old.services.g729_plugin != config.services.g729_plugin,
            "[services] g729_plugin",
        ),
        (old.admin.socket != config.admin.socket, "[admin] socket"),
        (
            old.admin.web.as_ref().map(|web| web.listen)
                != config.admin.web.as_ref().map(|web| web.listen),
            "[admin] web",
        ),
        (
            old.admin.pid_file != config.admin.pid_file,
            "[admin] pid_file",
        ),
    ];
    let changed = changed.into_iter();
    changed
        .filter_map(|(changed, key)| changed.then_some(key))
        .collect()
}

/// What the relays keep to.
pub(in crate::os) fn relay_settings(config: &Config) -> RelaySettings {
    RelaySettings {
        silence: Duration::from_secs(u64::from(config.rtp.timeout_s)),
        ..RelaySettings::default()
    }
}

/// The thread of the disk, which all relays share.
pub(in crate::os) fn start_files(roots: Roots) -> Result<Filing, Fatal> {
    Filing::start(roots).map_err(|e| Fatal::new(EX_OSERR, format!("thread of files: {e}")))
}
