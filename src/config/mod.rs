//! F2: `voip.toml`, parsed into values that cannot be invalid, every mistake named with its line
//! and remedy, and printed back in canonical form.
//!
//! An empty file is a whole configuration: it serves the host name's domain on UDP and TCP 5060.
//! [`Config::parse`] reads no file but the text it is given; whether the files that it names can be
//! read is asked by the caller ([`Config::files`]), and the host name is told by
//! [`Config::with_host_name`], the time zone by [`Config::with_timezone`].

mod check_routes;
mod conference;
mod dialing;
mod fastpath;
mod menu;
mod mistake;
mod named;
mod net;
mod ng;
mod page;
mod parking;
mod parse;
mod parse_dialing;
mod parse_menu;
mod parse_route;
mod pattern;
mod print;
mod print_dialing;
mod print_menu;
mod reader;
mod recording;
mod ring_back;
mod services;
#[cfg(test)]
mod tests;
mod voicemail;

pub use conference::{Announce, CONFERENCE_MEMBERS_MAX, Conference, ModeratorLeaves, RoomFormat};
pub use dialing::{
    Algorithm, CONDITIONS_MAX, Class, FailureKind, Group, Hours, Identity, Line, MEMBERS_MAX,
    Match, Member, NEXT_ON, NumberFormat, Numbers, PEERS_MAX, Pool, ROUTES_MAX, Route, STEPS_MAX,
    Source, Strategy, Target, Transfer, Trunk, e164,
};
pub use fastpath::{Fastpath, FastpathMode, NetmapPort};
pub use menu::{
    Action, Disa, GREETINGS_MAX, Holiday, MENUS_MAX, Menu, Opening, Period, Pin, Queue,
    QueueStrategy,
};
pub use mistake::{Mistake, Mistakes};
pub use net::{Advertise, Domain, IpNet, Listen, Origin, PortRange, ServiceRoute};
pub use ng::{Ng, NgInterface};
pub use page::{PAGE_MEMBERS_MAX, Page};
pub use parking::{Parking, SLOTS_MAX};
pub use pattern::{Index, Matcher, PATTERN_POSITIONS_MAX, Pattern, REGEX_BYTES_MAX};
pub use reader::nearest;
pub use recording::{Recorded, Recording};
pub use ring_back::{RING_BACK_COUNTRIES, RingBack};
pub use services::{Announcements, Service, Services};
pub use voicemail::{Smtp, Voicemail};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where the configuration file is looked for when nobody says.
pub const DEFAULT_FILE: &str = if cfg!(target_os = "freebsd") {
    "/usr/local/etc/voip/voip.toml"
} else {
    "/etc/voip/voip.toml"
};

/// Where state lives when the file does not say.
pub const DEFAULT_STATE_DIR: &str = if cfg!(target_os = "freebsd") {
    "/var/db/voip"
} else {
    "/var/lib/voip"
};

/// The whole configuration. Tables are named as in the file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[sip]`
    pub sip: Sip,
    /// `[rtp]`
    pub rtp: Rtp,
    /// `[store]`
    pub store: Store,
    /// `[spool]`
    pub spool: Spool,
    /// `[guard]`
    pub guard: Guard,
    /// `[fraud]`
    pub fraud: Fraud,
    /// `[limits]`
    pub limits: Limits,
    /// `[timers]`
    pub timers: Timers,
    /// `[admin]`
    pub admin: Admin,
    /// `[numbers]`
    pub numbers: Numbers,
    /// `[services]`
    pub services: Services,
    /// `[parking]`
    pub parking: Parking,
    /// `[recording]`
    pub recording: Recording,
    /// `[voicemail]`
    pub voicemail: Voicemail,
    /// `[[route]]`, in order.
    pub routes: Vec<Route>,
    /// `[[trunk]]`
    pub trunks: Vec<Trunk>,
    /// `[[pool]]`
    pub pools: Vec<Pool>,
    /// `[[group]]`
    pub groups: Vec<Group>,
    /// `[[conference]]`
    pub conferences: Vec<Conference>,
    /// `[[page]]`
    pub pages: Vec<Page>,
    /// `[[menu]]`: shared, so that a caller stays in those of its beginning.
    pub menus: Arc<[Menu]>,
    /// `[disa]`
    pub disa: Disa,
    /// `[[queue]]`
    pub queues: Arc<[Queue]>,
}

/// `[node]`: who we are.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// The domains that are ours; the first is the default realm. Empty in a file that names none,
    /// until [`Config::with_host_name`].
    pub domains: Vec<Domain>,
    /// Other names and addresses that phones may write where the first domain is meant.
    pub aliases: Vec<Domain>,
    /// The language of prompts and tones.
    pub locale: Locale,
    /// Absolute, or relative to the working directory if the configuration file's path was.
    pub state_dir: PathBuf,
    /// How many shards run; zero means one for each core.
    pub workers: usize,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            aliases: Vec::new(),
            locale: Locale::En,
            state_dir: PathBuf::from(DEFAULT_STATE_DIR),
            workers: 0,
        }
    }
}

impl Node {
    /// The first domain; `localhost` before the host name is known.
    pub fn default_domain(&self) -> &str {
        self.domains.first().map_or("localhost", Domain::as_str)
    }

    /// The domain of ours that `host` means, whatever its case: one of the domains itself, or the
    /// first for an alias. `None` for a stranger's. Our listening addresses are not known here.
    pub fn domain_of(&self, host: &str) -> Option<&str> {
        let host = host.strip_suffix('.').unwrap_or(host);
        if let Some(d) = self.domains.iter().find(|d| d.is(host)) {
            return Some(d.as_str());
        }
        let alias = self.aliases.iter().any(|a| a.is(host));
        alias.then(|| self.default_domain())
    }
}

/// The language of prompts and tones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locale {
    /// English.
    En,
    /// Spanish.
    Es,
}

/// `[sip]`: where we listen, and whom we believe.
#[derive(Clone, PartialEq, Debug)]
pub struct Sip {
    /// The listeners, none twice.
    pub listen: Vec<Listen>,
    /// The addresses to write into Via, Record-Route and SDP instead of our own, where a 1:1 NAT
    /// stands before the host.
    pub advertise: Advertise,
    /// Peers that are believed without digest, with the identity that they assert.
    pub trusted: Vec<IpNet>,
    /// Whether strangers may call our users without being asked who they are. Calling out is never
    /// a stranger's.
    pub guests: bool,
    /// `[sip.tls]`; present whenever a listener needs it.
    pub tls: Option<Tls>,
    /// How bindings behind NAT are kept alive.
    pub keepalive: Keepalive,
    /// Seconds between two keepalives to one binding.
    pub keepalive_s: u32,
    /// What digest challenges offer.
    pub digest: Digest,
    /// Largest request that goes out over UDP when the target named no transport, in bytes
    /// (RFC 3261 §18.1.1).
    pub udp_bytes_max: usize,
    /// The DNS servers to ask; the system's where there are none.
    pub resolvers: Vec<SocketAddr>,
    /// What phones are told in Service-Route, the next hop first (RFC 3608); at most
    /// [`SERVICE_ROUTES_MAX`].
    pub service_route: Vec<ServiceRoute>,
    /// The web pages whose browsers may connect by WebSocket; all where there are none.
    pub origins: Vec<Origin>,
}

/// Service-Route values: each goes into every answer to a REGISTER.
pub const SERVICE_ROUTES_MAX: usize = 8;

impl Default for Sip {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5060));
        let on = |transport| Listen {
            transport,
            addr: any,
        };
        Self {
            listen: vec![
                on(crate::base::Transport::Udp),
                on(crate::base::Transport::Tcp),
            ],
            advertise: Advertise::default(),
            trusted: Vec::new(),
            guests: false,
            tls: None,
            keepalive: Keepalive::Options,
            keepalive_s: 30,
            digest: Digest::Md5,
            udp_bytes_max: 1300,
            resolvers: Vec::new(),
            service_route: Vec::new(),
            origins: Vec::new(),
        }
    }
}

impl Sip {
    /// Whether `source` is believed without digest.
    pub fn trusts(&self, source: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(source))
    }
}

/// `[sip.tls]`: PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// The certificate, followed by its chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The authorities that peers are judged by when we connect to them; the system's without.
    pub roots: Option<PathBuf>,
}

/// What digest challenges offer. Both means two challenges, SHA-256 first (RFC 8760 §2.4); phones
/// from before that RFC, baresip 1.0 and SIP.js among them, give up at one that they do not know,
/// so MD5 alone is the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Digest {
    /// MD5 alone.
    Md5,
    /// SHA-256 alone.
    Sha256,
    /// SHA-256, then MD5.
    Both,
}

/// What is sent to a binding behind NAT so that its hole stays open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keepalive {
    /// OPTIONS: an answer shows that the phone lives.
    Options,
    /// An empty datagram of CRLF (RFC 5626 §3.5.1 has the phone's side of it).
    Crlf,
    /// Nothing.
    Off,
}

/// `[rtp]`: media.
#[derive(Clone, PartialEq, Debug)]
pub struct Rtp {
    /// Local ports of relayed media.
    pub ports: PortRange,
    /// When media passes through us.
    pub relay: Relay,
    /// How packets are moved.
    pub fastpath: Fastpath,
    /// How a thread of the fast path waits for them.
    pub fastpath_mode: FastpathMode,
    /// Seconds without a packet from either side after which the call is ended.
    pub timeout_s: u32,
    /// Whether, and how, other proxies may use the relay.
    pub ng: Option<Ng>,
}

impl Default for Rtp {
    fn default() -> Self {
        Self {
            ports: PortRange::DEFAULT,
            relay: Relay::Nat,
            fastpath: Fastpath::Off,
            fastpath_mode: FastpathMode::Poll,
            timeout_s: 60,
            ng: None,
        }
    }
}

/// When media passes through us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relay {
    /// Every call's.
    Always,
    /// Where a side is behind NAT, or the sides speak different address families.
    Nat,
    /// Nobody's.
    Never,
}

/// `[store]`: the database.
#[derive(Clone, PartialEq, Debug)]
pub struct Store {
    /// The SQLite file.
    pub file: PathBuf,
    /// What an answered change survives.
    pub durability: Durability,
    /// Days that call detail records are kept; zero: for ever.
    pub cdr_days: u32,
    /// How many call detail records are kept, the newest.
    pub cdr_rows_max: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            file: Path::new(DEFAULT_STATE_DIR).join("voip.db"),
            durability: Durability::Process,
            cdr_days: 365,
            cdr_rows_max: 10_000_000,
        }
    }
}

/// What a change that was answered 200 more than a second ago survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// The death of the process, `kill -9` included. Fast: the disk is not waited for.
    Process,
    /// Loss of power too: every batch waits for the disk.
    Power,
}

/// `[guard]`: what repeated wrong passwords bring, and floods.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Failures of one source within [`Guard::window_s`] after which its answers are delayed.
    pub slow_after: u32,
    /// Failures of one source within [`Guard::window_s`] after which it is shut out.
    pub ban_after: u32,
    /// Seconds over which failures are counted.
    pub window_s: u32,
    /// Seconds that a ban lasts.
    pub ban_s: u32,
    /// Sources that are never slowed nor shut out.
    pub exempt: Vec<IpNet>,
    /// Messages that a source in good standing may send a second, a stranger a tenth; zero: any
    /// number.
    pub messages_per_second: u32,
    /// Messages at once of a source in good standing, a stranger's a tenth.
    pub burst: u32,
    /// Whether blocklistd(8) is told of bans.
    pub blocklist: Blocklist,
}

/// `[fraud]`: what one account may use up in calls to the outside. Zero is no limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fraud {
    /// Calls of one user at a time.
    pub calls_max: u32,
    /// Calls of one user that begin within a minute.
    pub calls_per_minute: u32,
    /// Minutes a day of one user.
    pub minutes_per_day: u32,
    /// Minutes a day of one user to other countries and premium numbers.
    pub costly_minutes_per_day: u32,
    /// Minutes a day of one user to numbers that begin so, in E.164 without the plus.
    pub prefix_minutes_per_day: Vec<(Box<str>, u32)>,
    /// Calls by one trunk that begin within a minute.
    pub trunk_calls_per_minute: u32,
    /// Minutes a day by one trunk.
    pub trunk_minutes_per_day: u32,
    /// Minutes a day by one trunk to other countries and premium numbers.
    pub trunk_costly_minutes_per_day: u32,
    /// Seconds that a user who ran over is blocked; zero: only the one call is refused.
    pub block_s: u32,
    /// Users without limits, with or without domain.
    pub exempt: Vec<Box<str>>,
}

/// Prefixes of `[fraud] prefix_minutes_per_day`.
pub const FRAUD_PREFIXES_MAX: usize = 64;

impl Default for Fraud {
    fn default() -> Self {
        Self {
            calls_max: 10,
            calls_per_minute: 30,
            minutes_per_day: 0,
            costly_minutes_per_day: 120,
            prefix_minutes_per_day: Vec::new(),
            trunk_calls_per_minute: 0,
            trunk_minutes_per_day: 0,
            trunk_costly_minutes_per_day: 0,
            block_s: 3600,
            exempt: Vec::new(),
        }
    }
}

/// Where blocklistd(8) is told of bans.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Blocklist {
    /// Where it listens by default, if it runs.
    Auto,
    /// Nowhere.
    Off,
    /// At this socket.
    Socket(PathBuf),
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            slow_after: 5,
            ban_after: 20,
            window_s: 300,
            ban_s: 3600,
            exempt: Vec::new(),
            messages_per_second: 1000,
            burst: 10_000,
            blocklist: Blocklist::Auto,
        }
    }
}

/// `[limits]`: the bounds of every table. Those "per shard" hold for each worker by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Server transactions, per shard; client transactions may be twice as many.
    pub transactions_max: usize,
    /// Calls, per shard.
    pub calls_max: usize,
    /// Bindings of the whole node.
    pub bindings_max: usize,
    /// Bindings of one address of record.
    pub contacts_per_user_max: usize,
    /// Branches of one forked request.
    pub branches_max: usize,
    /// Stream connections of the whole node.
    pub connections_max: usize,
    /// Stream connections of one source address.
    pub connections_per_source_max: usize,
    /// Messages kept for `voipctl trace`, per shard; zero switches it off.
    pub trace_messages_max: usize,
    /// Shortest registration, seconds; shorter ones are answered 423.
    pub expires_min_s: u32,
    /// Registration without an Expires, seconds.
    pub expires_default_s: u32,
    /// Longest registration, seconds; longer ones are cut.
    pub expires_max_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transactions_max: 100_000,
            calls_max: 20_000,
            bindings_max: 1_000_000,
            contacts_per_user_max: 10,
            branches_max: 20,
            connections_max: 20_000,
            connections_per_source_max: 200,
            trace_messages_max: 2000,
            expires_min_s: 60,
            expires_default_s: 3600,
            expires_max_s: 7200,
        }
    }
}

/// `[timers]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timers {
    /// RFC 3261 §17.1.1.1: the estimate of the round trip.
    pub t1: Duration,
    /// The longest interval between retransmissions.
    pub t2: Duration,
    /// How long a message stays in the network.
    pub t4: Duration,
    /// Timer C: how long a callee may ring; above three minutes (RFC 3261 §16.6).
    pub timer_c: Duration,
    /// How long a way out of a route may stay silent before the next address or step is tried.
    pub no_reply: Duration,
    /// How long contacts of one preference ring before those of the next do.
    pub serial_fork: Duration,
    /// The longest call.
    pub call_max: Duration,
    /// After which a stream connection without traffic is closed.
    pub connection_idle: Duration,
    /// After which a stream connection with half a message is closed.
    pub half_message: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            timer_c: Duration::from_secs(185),
            no_reply: Duration::from_secs(6),
            serial_fork: Duration::from_secs(20),
            call_max: Duration::from_secs(4 * 3600),
            connection_idle: Duration::from_secs(900),
            half_message: Duration::from_secs(10),
        }
    }
}

/// `[admin]`: how the operator reaches the daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    /// The control socket.
    pub socket: PathBuf,
    /// The process id is written here.
    pub pid_file: PathBuf,
    /// What is logged, until `voipctl log` says otherwise.
    pub log: LogLevel,
    /// The HTTP interface; nobody listens without.
    pub web: Option<Web>,
}

/// `[admin] web`: the HTTP interface. Plain, so on loopback only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Web {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Holds the token that each request must bear.
    pub token_file: PathBuf,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            socket: run_dir(Path::new(DEFAULT_STATE_DIR)).join("voip.sock"),
            pid_file: run_dir(Path::new(DEFAULT_STATE_DIR)).join("voip.pid"),
            log: LogLevel::Info,
            web: None,
        }
    }
}

/// `[spool]`: what callers say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spool {
    /// Where voicemail and recordings are; made at the start.
    pub directory: PathBuf,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            directory: spool_dir(Path::new(DEFAULT_STATE_DIR)),
        }
    }
}

/// Where recordings are: below the state, save on FreeBSD's default state.
fn spool_dir(state_dir: &Path) -> PathBuf {
    if cfg!(target_os = "freebsd") && state_dir == Path::new(DEFAULT_STATE_DIR) {
        PathBuf::from("/var/spool/voip")
    } else {
        state_dir.join("spool")
    }
}

/// Where the socket and the pid file are: below the state, save on FreeBSD's default state.
fn run_dir(state_dir: &Path) -> PathBuf {
    if cfg!(target_os = "freebsd") && state_dir == Path::new(DEFAULT_STATE_DIR) {
        PathBuf::from("/var/run/voip")
    } else {
        state_dir.to_path_buf()
    }
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    /// What needs the operator.
    Error,
    /// What may need the operator.
    Warn,
    /// What happens.
    Info,
    /// Each request's fate.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All of them, the quietest first.
    pub const ALL: [LogLevel; 5] = [
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ];

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

impl std::str::FromStr for LogLevel {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|l| l.as_str() == s).ok_or(())
    }
}

/// Whether mail can be sent there: `name@host`, without what would need quoting.
pub fn is_mail_address(text: &str) -> bool {
    parse::is_mail_address(text)
}

impl Config {
    /// Reads the text of the file `path`; relative paths inside it are relative to the file.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Mistakes> {
        parse::parse(text, path)
    }

    /// Fills in what a file without `domains` leaves to the host: the host name's domain
    /// (`example.com` of `pbx.example.com`), with the host name as its alias.
    pub fn with_host_name(mut self, host_name: &str) -> Config {
        if self.node.domains.is_empty() {
            let host = Domain::parse(host_name).unwrap_or_else(|_| Domain::localhost());
            let domain = host.parent().unwrap_or_else(|| host.clone());
            if domain != host && !self.node.aliases.contains(&host) {
                self.node.aliases.push(host);
            }
            self.node.domains.push(domain);
        }
        self
    }

    /// Fills in what a file without `[numbers] timezone` leaves to the host: its zone, by the name
    /// in the tz database; empty if that is not known.
    pub fn with_timezone(mut self, zone: &str) -> Config {
        if self.numbers.timezone.is_empty() {
            self.numbers.timezone = zone.into();
        }
        self
    }

    /// What of the file goes by the clock of a time zone, where neither it nor the host names one.
    pub fn without_timezone(&self) -> Option<&'static str> {
        if !self.numbers.timezone.is_empty() {
            return None;
        }
        let opening = |menu: &Menu| menu.opening.as_ref().is_some_and(|o| o.timezone.is_empty());
        let hours = |route: &Route| route.hours.as_ref().is_some_and(|h| h.timezone.is_empty());
        let records = !self.recording.users.is_empty()
            || !self.recording.on_demand.is_empty()
            || self.routes.iter().any(|route| route.record)
            || self.conferences.iter().any(|room| room.record);
        let parts = [
            (self.menus.iter().any(opening), "the opening hours of menus"),
            (self.routes.iter().any(hours), "the hours of routes"),
            (self.voicemail.enabled, "the dates of voicemail"),
            (records, "the names of recordings"),
        ];
        parts.into_iter().find_map(|(is, what)| is.then_some(what))
    }

    /// The files that must be readable, each with its key.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        let tls = self.sip.tls.as_ref().map_or_else(Vec::new, |tls| {
            let mut files = vec![
                ("sip.tls.certificate", tls.certificate.as_path()),
                ("sip.tls.key", tls.key.as_path()),
            ];
            files.extend(tls.roots.as_deref().map(|path| ("sip.tls.roots", path)));
            files
        });
        let secrets = self.trunks.iter().filter_map(|trunk| {
            let file = trunk.password_file.as_deref()?;
            Some(("trunk.password_file", file))
        });
        let smtp = self.voicemail.smtp.as_ref();
        let mail = smtp.and_then(|smtp| {
            let file = smtp.password_file.as_deref()?;
            Some(("voicemail.smtp_password_file", file))
        });
        tls.into_iter().chain(secrets).chain(mail).collect()
    }
}
