//! The keys of `voip.toml`, table by table.

mod fraud;
mod voicemail;

pub(super) use voicemail::is_address as is_mail_address;

use super::reader::{Entry, Reader, Section, Text, nearest};
use super::{
    Admin, Advertise, Blocklist, Config, Digest, Domain, Durability, Fastpath, FastpathMode, Guard,
    IpNet, Keepalive, Limits, Listen, Locale, LogLevel, Mistakes, Node, Origin, PortRange, Relay,
    Rtp, SERVICE_ROUTES_MAX, ServiceRoute, Sip, Spool, Store, Timers, Tls, Web, conference, ng,
    page, parking, parse_dialing, parse_menu, recording, run_dir, spool_dir,
};
use crate::base::Transport;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml_edit::{Document, Item, TableLike};

/// Every table with its keys.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    (
        "node",
        &["domains", "aliases", "locale", "state_dir", "workers"],
    ),
    (
        "sip",
        &[
            "listen",
            "advertise",
            "trusted",
            "guests",
            "keepalive",
            "keepalive_s",
            "digest",
            "udp_bytes_max",
            "resolvers",
            "service_route",
            "origins",
            "tls",
        ],
    ),
    ("sip.tls", &["certificate", "key", "roots"]),
    ("rtp", ng::RTP),
    ("store", &["url", "durability", "cdr_days", "cdr_rows_max"]),
    ("spool", &["directory"]),
    (
        "guard",
        &[
            "slow_after",
            "ban_after",
            "window_s",
            "ban_s",
            "exempt",
            "messages_per_second",
            "burst",
            "blocklist",
        ],
    ),
    (
        "fraud",
        &[
            "calls_max",
            "calls_per_minute",
            "minutes_per_day",
            "costly_minutes_per_day",
            "prefix_minutes_per_day",
            "trunk_calls_per_minute",
            "trunk_minutes_per_day",
            "trunk_costly_minutes_per_day",
            "block_s",
            "exempt",
        ],
    ),
    (
        "limits",
        &[
            "transactions_max",
            "calls_max",
            "bindings_max",
            "contacts_per_user_max",
            "branches_max",
            "connections_max",
            "connections_per_source_max",
            "trace_messages_max",
            "expires_min_s",
            "expires_default_s",
            "expires_max_s",
        ],
    ),
    (
        "timers",
        &[
            "t1_ms",
            "t2_ms",
            "t4_ms",
            "timer_c_s",
            "serial_fork_s",
            "no_reply_s",
            "call_max_s",
            "connection_idle_s",
            "half_message_s",
        ],
    ),
    ("admin", &["socket", "pid_file", "log", "web", "token_file"]),
    ("numbers", parse_dialing::NUMBERS),
    ("services", parse_dialing::SERVICES),
    ("parking", parking::PARKING),
    ("recording", recording::RECORDING),
    ("voicemail", voicemail::KEYS),
    ("route", parse_dialing::ROUTE),
    ("trunk", parse_dialing::TRUNK),
    ("pool", parse_dialing::POOL),
    ("group", parse_dialing::GROUP),
    ("conference", conference::CONFERENCE),
    ("page", page::PAGE),
    ("disa", parse_menu::DISA),
    ("menu", parse_menu::MENU),
    ("queue", parse_menu::QUEUE),
];

/// The tables of which there may be several: `[[route]]`.
pub(super) const LISTS: &[&str] = &[
    "route",
    "trunk",
    "pool",
    "group",
    "conference",
    "page",
    "menu",
    "queue",
];

/// Tables that a later version will have.
const LATER: &[&str] = &["e1", "web"];

/// Most entries of one list of the file.
pub(super) const LIST_MAX: usize = 1000;

const SIXTY_YEARS_S: u64 = 60 * 365 * 86_400;
const DAY_S: u64 = 86_400;

/// Reads the whole file.
pub(super) fn parse(text: &str, path: &Path) -> Result<Config, Mistakes> {
    let mut reader = Reader::new(text, path.display().to_string());
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let problem = format!("is no TOML: {}", error.message().replace('\n', ", "));
            reader.note(error.span(), "", problem, "the rest was not read");
            return reader.finish().map(|()| Config::default());
        }
    };
    let root = document.as_table();
    unknown_tables(&mut reader, root);
    let config = File {
        reader: &mut reader,
        root,
        base: path.parent().unwrap_or(Path::new("")),
    }
    .read();
    reader.finish()?;
    Ok(config)
}

fn unknown_tables(reader: &mut Reader<'_>, root: &dyn TableLike) {
    let tables = || KEYS.iter().map(|(table, _)| *table);
    for (name, item) in root.iter() {
        let span = key_span(root, name).or_else(|| item.span());
        if LATER.contains(&name) {
            let problem = "is not in this version yet";
            reader.note(span, name, problem, "take it out of the file");
        } else if !tables().any(|t| t == name) {
            let remedy = match (owner_of(name), nearest(name, tables())) {
                (Some(table), _) => format!("write it below {}", bracketed(table)),
                (None, Some(near)) => format!("did you mean {}?", bracketed(near)),
                (None, None) => "take it out of the file".to_string(),
            };
            reader.note(span, name, "is unknown", remedy);
        } else if LISTS.contains(&name) {
            unknown_keys_of_list(reader, name, item, span);
        } else if item.as_table_like().is_none() {
            let remedy = format!("write [{name}] on a line of its own");
            reader.note(span, name, "is no table", remedy);
        } else {
            unknown_keys(reader, name, item);
        }
    }
}

fn unknown_keys(reader: &mut Reader<'_>, table: &str, item: &Item) {
    if let Some(like) = item.as_table_like() {
        unknown_keys_of(reader, table, like);
    }
}

/// `[[route]]`: each of the tables.
fn unknown_keys_of_list(
    reader: &mut Reader<'_>,
    name: &str,
    item: &Item,
    span: Option<std::ops::Range<usize>>,
) {
    if let Some(tables) = item.as_array_of_tables() {
        for table in tables.iter() {
            unknown_keys_of(reader, name, table);
        }
        return;
    }
    let values = item.as_array();
    if values.is_none_or(|list| list.iter().any(|v| !v.is_inline_table())) {
        let remedy = format!("write [[{name}]] on a line of its own, once for each");
        reader.note(span, name, "is no list of tables", remedy);
        return;
    }
    for table in values
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_inline_table())
    {
        unknown_keys_of(reader, name, table);
    }
}

/// A table's name as the file writes it.
fn bracketed(table: &str) -> String {
    match LISTS.contains(&table) {
        true => format!("[[{table}]]"),
        false => format!("[{table}]"),
    }
}

fn unknown_keys_of(reader: &mut Reader<'_>, table: &str, like: &dyn TableLike) {
    let known = KEYS
        .iter()
        .find(|(t, _)| *t == table)
        .map_or(&[][..], |(_, keys)| keys);
    for (key, item) in like.iter() {
        let nested = format!("{table}.{key}");
        let span = key_span(like, key).or_else(|| item.span());
        if KEYS.iter().any(|(t, _)| *t == nested) {
            if item.as_table_like().is_some() {
                unknown_keys(reader, &nested, item);
            } else {
                let remedy = format!("write [{nested}] on a line of its own");
                reader.note(span, nested, "is no table", remedy);
            }
        } else if !known.contains(&key) {
            let remedy = match (nearest(key, known.iter().copied()), owner_of(key)) {
                (Some(near), _) => format!("did you mean \"{near}\"?"),
                (None, Some(owner)) => format!("write it below {}", bracketed(owner)),
                (None, None) => format!("{} has {}", bracketed(table), known.join(", ")),
            };
            reader.note(span, nested, "is unknown", remedy);
        }
    }
}

/// The table that has a key of this name.
fn owner_of(key: &str) -> Option<&'static str> {
    KEYS.iter()
        .find(|(_, keys)| keys.contains(&key))
        .map(|(table, _)| *table)
}

fn key_span(table: &dyn TableLike, key: &str) -> Option<std::ops::Range<usize>> {
    table.get_key_value(key).and_then(|(key, _)| key.span())
}

pub(super) struct File<'r, 't, 'd> {
    pub(super) reader: &'r mut Reader<'t>,
    pub(super) root: &'d dyn TableLike,
    pub(super) base: &'d Path,
}

impl<'d> File<'_, '_, 'd> {
    pub(super) fn section(&self, name: &'static str) -> Section<'d> {
        let item = match name.split_once('.') {
            None => self.root.get(name),
            Some((outer, inner)) => self
                .root
                .get(outer)
                .and_then(|i| i.as_table_like())
                .and_then(|t| t.get(inner)),
        };
        Section::new(name, item.and_then(Item::as_table_like))
    }

    fn read(mut self) -> Config {
        let node = self.node();
        let sip = self.sip();
        let rtp = self.rtp(&sip);
        let mut config = Config {
            store: self.store(&node.state_dir),
            spool: self.spool(&node.state_dir),
            guard: self.guard(),
            fraud: self.fraud(),
            limits: self.limits(),
            timers: self.timers(),
            admin: self.admin(&node.state_dir),
            numbers: self.numbers(),
            services: self.services(),
            voicemail: self.voicemail(),
            trunks: self.trunks(),
            pools: self.pools(),
            groups: self.groups(&node),
            node,
            sip,
            rtp,
            ..Config::default()
        };
        config.conferences = self.conferences(&config.groups, &config.services);
        config.parking = self.parking(&config);
        config.pages = self.pages(&config);
        config.recording = self.recording(&config);
        self.menus(&mut config);
        config.routes = self.routes(&config);
        config
    }

    fn node(&mut self) -> Node {
        let section = self.section("node");
        let mut node = Node::default();
        if let Some(entry) = section.get("domains") {
            node.domains = self.domains(entry, &[]);
            if node.domains.is_empty() {
                self.empty_list(
                    entry,
                    "name a domain, or take the key out for the host name's",
                );
            }
        }
        if let Some(entry) = section.get("aliases") {
            node.aliases = self.domains(entry, &node.domains);
        }
        if let Some(entry) = section.get("locale") {
            let words = [("en", Locale::En), ("es", Locale::Es)];
            node.locale = self.reader.word(entry, &words).unwrap_or(node.locale);
        }
        if let Some(path) = self.path(section.get("state_dir"), self.base) {
            node.state_dir = path;
        }
        if let Some(n) = self.number(section.get("workers"), 0..=256) {
            node.workers = n as usize;
        }
        node
    }

    /// Notes an empty list.
    pub(super) fn empty_list(&mut self, entry: Entry<'d>, remedy: &str) {
        if entry.is_empty_list() {
            self.reader.note_entry(entry, "is empty", remedy);
        }
    }

    fn domains(&mut self, entry: Entry<'d>, taken: &[Domain]) -> Vec<Domain> {
        let mut domains: Vec<Domain> = Vec::new();
        for text in self.list(entry) {
            match Domain::parse(text.text) {
                Ok(domain) if domains.contains(&domain) || taken.contains(&domain) => {
                    let problem = format!("\"{domain}\" is named twice");
                    self.note(text, problem, "take one out");
                }
                Ok(domain) => domains.push(domain),
                Err(why) => {
                    let problem = format!("\"{}\" {why}", text.text);
                    self.note(text, problem, "write a name such as \"example.com\"");
                }
            }
        }
        domains
    }

    fn sip(&mut self) -> Sip {
        let section = self.section("sip");
        let mut sip = Sip::default();
        if let Some(entry) = section.get("listen") {
            sip.listen = self.listeners(entry);
            self.empty_list(
                entry,
                "name a listener, or take the key out for the defaults",
            );
        }
        if let Some(entry) = section.get("advertise") {
            sip.advertise = self.advertise(entry);
        }
        if let Some(entry) = section.get("trusted") {
            sip.trusted = self.nets(entry);
        }
        if let Some(entry) = section.get("guests") {
            sip.guests = self.reader.truth(entry).unwrap_or(sip.guests);
        }
        if let Some(entry) = section.get("keepalive") {
            let words = [
                ("options", Keepalive::Options),
                ("crlf", Keepalive::Crlf),
                ("off", Keepalive::Off),
            ];
            sip.keepalive = self.reader.word(entry, &words).unwrap_or(sip.keepalive);
        }
        self.set_u32(&mut sip.keepalive_s, section.get("keepalive_s"), 5..=600);
        if let Some(entry) = section.get("digest") {
            let words = [
                ("md5", Digest::Md5),
                ("sha-256", Digest::Sha256),
                ("both", Digest::Both),
            ];
            sip.digest = self.reader.word(entry, &words).unwrap_or(sip.digest);
        }
        let bytes = section.get("udp_bytes_max");
        self.set_usize(&mut sip.udp_bytes_max, bytes, 500..=65_000);
        if let Some(entry) = section.get("resolvers") {
            sip.resolvers = self.resolvers(entry);
        }
        if let Some(entry) = section.get("service_route") {
            sip.service_route = self.service_routes(entry);
        }
        if let Some(entry) = section.get("origins") {
            sip.origins = self.origins(entry);
            let remedy = "name an origin, or take the key out to let every page connect";
            self.empty_list(entry, remedy);
        }
        sip.tls = self.tls();
        if let Some(entry) = section.get("listen")
            && sip.tls.is_none()
            && !self.section("sip.tls").is_present()
            && let Some(secure) = sip.listen.iter().find(|l| l.transport.is_secure())
        {
            let problem = format!("\"{secure}\" needs a certificate");
            let remedy = "add [sip.tls] with certificate and key";
            self.reader.note_entry(entry, problem, remedy);
        }
        sip
    }

    fn tls(&mut self) -> Option<Tls> {
        let section = self.section("sip.tls");
        if !section.is_present() {
            return None;
        }
        let certificate = self.path(section.get("certificate"), self.base);
        let key = self.path(section.get("key"), self.base);
        let roots = self.path(section.get("roots"), self.base);
        for name in ["certificate", "key"] {
            if section.get(name).is_none() {
                let span = self
                    .root
                    .get("sip")
                    .and_then(|sip| sip.as_table_like()?.get("tls")?.span());
                let remedy = format!("add {name} = \"tls/file.pem\"");
                let key = format!("sip.tls.{name}");
                self.reader.note(span, key, "is missing", remedy);
            }
        }
        Some(Tls {
            certificate: certificate?,
            key: key?,
            roots,
        })
    }

    /// DNS servers, `address` or `address:port`; port 53 where none is written.
    fn resolvers(&mut self, entry: Entry<'d>) -> Vec<SocketAddr> {
        let mut resolvers = Vec::new();
        for text in self.list(entry) {
            let with_port = text.text.parse::<SocketAddr>();
            let without = text.text.parse::<IpAddr>();
            match with_port.or_else(|_| without.map(|ip| SocketAddr::new(ip, 53))) {
                Ok(address) if resolvers.contains(&address) => {
                    self.note(
                        text,
                        format!("\"{address}\" is named twice"),
                        "take one out",
                    );
                }
                Ok(address) => resolvers.push(address),
                Err(_) => {
                    let problem = format!("\"{}\" is no address of a DNS server", text.text);
                    self.note(text, problem, "write \"192.0.2.53\" or \"192.0.2.53:5353\"");
                }
            }
        }
        resolvers
    }

    fn origins(&mut self, entry: Entry<'d>) -> Vec<Origin> {
        let mut origins: Vec<Origin> = Vec::new();
        for text in self.list(entry) {
            match Origin::parse(text.text) {
                Ok(origin) if origins.contains(&origin) => {
                    self.note(text, format!("\"{origin}\" is named twice"), "take one out");
                }
                Ok(origin) => origins.push(origin),
                Err(why) => {
                    let problem = format!("\"{}\" {why}", text.text);
                    self.note(text, problem, "write \"https://phone.example.com\"");
                }
            }
        }
        origins
    }

    fn service_routes(&mut self, entry: Entry<'d>) -> Vec<ServiceRoute> {
        let mut routes: Vec<ServiceRoute> = Vec::new();
        for text in self.list(entry) {
            match ServiceRoute::parse(text.text) {
                Ok(route) if routes.contains(&route) => {
                    self.note(text, format!("\"{route}\" is named twice"), "take one out");
                }
                Ok(_) if routes.len() >= SERVICE_ROUTES_MAX => {
                    let problem = format!("names more than {SERVICE_ROUTES_MAX} routes");
                    self.note(text, problem, "take some out");
                    break;
                }
                Ok(route) => routes.push(route),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        routes
    }

    fn listeners(&mut self, entry: Entry<'d>) -> Vec<Listen> {
        let mut listeners: Vec<Listen> = Vec::new();
        for text in self.list(entry) {
            let listen = match listener(text.text) {
                Ok(listen) => listen,
                Err((problem, remedy)) => {
                    self.note(text, problem, remedy);
                    continue;
                }
            };
            match listeners.iter().find(|l| collide(l, &listen)) {
                Some(other) if *other == listen => {
                    self.note(text, format!("\"{listen}\" is named twice"), "take one out");
                }
                Some(other) => {
                    let problem = format!("\"{listen}\" wants the port of \"{other}\"");
                    self.note(text, problem, "give it another port");
                }
                None => listeners.push(listen),
            }
        }
        listeners
    }

    fn advertise(&mut self, entry: Entry<'d>) -> Advertise {
        let one = self.reader.is_text(entry).then(|| self.reader.text(entry));
        let texts = match one {
            Some(text) => text.into_iter().collect(),
            None => self.list(entry),
        };
        let mut advertise = Advertise::default();
        for text in texts {
            let second = match text.text.parse::<IpAddr>() {
                Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
                    let problem = format!("\"{ip}\" is no address that a peer can reach");
                    self.note(text, problem, "write the public address of this host");
                    continue;
                }
                Ok(IpAddr::V4(ip)) => advertise.v4.replace(ip).is_some(),
                Ok(IpAddr::V6(ip)) => advertise.v6.replace(ip).is_some(),
                Err(_) => {
                    let problem = format!("\"{}\" is no IP address", text.text);
                    self.note(text, problem, "write the public address of this host");
                    continue;
                }
            };
            if second {
                let problem = "is the second address of its family";
                self.note(text, problem, "write one IPv4 and one IPv6 address at most");
            }
        }
        advertise
    }

    pub(super) fn nets(&mut self, entry: Entry<'d>) -> Vec<IpNet> {
        let mut nets: Vec<IpNet> = Vec::new();
        for text in self.list(entry) {
            match IpNet::parse(text.text) {
                Ok(net) if net.is_everything() => {
                    let problem = format!("\"{net}\" is everybody");
                    self.note(text, problem, "name the addresses of your peers only");
                }
                Ok(net) if nets.contains(&net) => {
                    self.note(text, format!("\"{net}\" is named twice"), "take one out");
                }
                Ok(net) => nets.push(net),
                Err(problem) => {
                    self.note(text, problem, "write a block such as \"192.0.2.0/24\"");
                }
            }
        }
        nets
    }

    fn rtp(&mut self, sip: &Sip) -> Rtp {
        let section = self.section("rtp");
        let mut rtp = Rtp::default();
        let ports = section.get("ports");
        if let Some(text) = ports.and_then(|e| self.reader.text(e)) {
            match PortRange::parse(text.text) {
                Ok(ports) => rtp.ports = ports,
                Err(problem) => self.note(text, problem, "write a range such as \"16384-32767\""),
            }
        }
        let taken = |l: &&Listen| !l.transport.is_reliable() && rtp.ports.contains(l.addr.port());
        if let Some(listen) = sip.listen.iter().find(taken) {
            let problem = format!("{} holds the port of listener \"{listen}\"", rtp.ports);
            let remedy = "choose ports where no listener is";
            match ports.or_else(|| self.section("sip").get("listen")) {
                Some(entry) => self.reader.note_entry(entry, problem, remedy),
                None => self.reader.note(None, "rtp.ports", problem, remedy),
            }
        }
        if let Some(entry) = section.get("relay") {
            let words = [
                ("always", Relay::Always),
                ("nat", Relay::Nat),
                ("never", Relay::Never),
            ];
            rtp.relay = self.reader.word(entry, &words).unwrap_or(rtp.relay);
        }
        if let Some(fastpath) = section.get("fastpath").and_then(|e| self.fastpath(e)) {
            rtp.fastpath = fastpath;
        }
        if let Some(entry) = section.get("fastpath_mode") {
            let words = [("poll", FastpathMode::Poll), ("busy", FastpathMode::Busy)];
            let mode = self.reader.word(entry, &words);
            rtp.fastpath_mode = mode.unwrap_or(rtp.fastpath_mode);
        }
        self.set_u32(&mut rtp.timeout_s, section.get("timeout_s"), 5..=86_400);
        rtp.ng = self.ng(section, sip, rtp.ports);
        rtp
    }

    fn fastpath(&mut self, entry: Entry<'d>) -> Option<Fastpath> {
        let text = self.reader.text(entry)?;
        let parsed = Fastpath::parse(text.text);
        parsed
            .map_err(|(problem, remedy)| self.note(text, problem, remedy))
            .ok()
    }

    fn store(&mut self, state_dir: &Path) -> Store {
        let section = self.section("store");
        let mut store = Store {
            file: state_dir.join("voip.db"),
            ..Store::default()
        };
        if let Some(text) = section.get("url").and_then(|e| self.reader.text(e)) {
            match text.text.split_once(':') {
                Some(("sqlite", file)) if !file.is_empty() => store.file = state_dir.join(file),
                Some(("postgres" | "postgresql", _)) => {
                    let problem = "PostgreSQL is not in this version yet";
                    self.note(text, problem, "write \"sqlite:voip.db\"");
                }
                _ => {
                    let problem = format!("\"{}\" names no database", text.text);
                    self.note(text, problem, "write \"sqlite:voip.db\"");
                }
            }
        }
        if let Some(entry) = section.get("durability") {
            let words = [
                ("process", Durability::Process),
                ("power", Durability::Power),
            ];
            store.durability = self.reader.word(entry, &words).unwrap_or(store.durability);
        }
        self.set_u32(&mut store.cdr_days, section.get("cdr_days"), 0..=36_500);
        let rows = section.get("cdr_rows_max");
        if let Some(n) = self.number(rows, 1000..=1_000_000_000) {
            store.cdr_rows_max = n;
        }
        store
    }

    fn spool(&mut self, state_dir: &Path) -> Spool {
        let section = self.section("spool");
        let directory = self.path(section.get("directory"), state_dir);
        Spool {
            directory: directory.unwrap_or_else(|| spool_dir(state_dir)),
        }
    }

    fn guard(&mut self) -> Guard {
        let section = self.section("guard");
        let mut guard = Guard::default();
        let ban_after = section.get("ban_after");
        self.set_u32(&mut guard.slow_after, section.get("slow_after"), 1..=10_000);
        self.set_u32(&mut guard.ban_after, ban_after, 2..=100_000);
        self.set_u32(&mut guard.window_s, section.get("window_s"), 1..=86_400);
        self.set_u32(&mut guard.ban_s, section.get("ban_s"), 1..=31_536_000);
        if let Some(entry) = section.get("exempt") {
            guard.exempt = self.nets(entry);
        }
        let rate = section.get("messages_per_second");
        self.set_u32(&mut guard.messages_per_second, rate, 0..=1_000_000);
        self.set_u32(&mut guard.burst, section.get("burst"), 10..=10_000_000);
        if let Some(entry) = section.get("blocklist")
            && let Some(text) = self.reader.text(entry)
        {
            match text.text {
                "auto" => guard.blocklist = Blocklist::Auto,
                "off" => guard.blocklist = Blocklist::Off,
                path if path.starts_with('/') => {
                    guard.blocklist = Blocklist::Socket(PathBuf::from(path));
                }
                other => {
                    let problem = format!("\"{other}\" is unknown");
                    let remedy = "write \"auto\" or \"off\", or the path of blocklistd's socket";
                    self.note(text, problem, remedy);
                }
            }
        }
        if guard.slow_after >= guard.ban_after
            && let Some(entry) = ban_after.or(section.get("slow_after"))
        {
            let problem = format!(
                "slow_after is {} and ban_after {}",
                guard.slow_after, guard.ban_after
            );
            let remedy = "let ban_after be larger than slow_after";
            self.reader.note_entry(entry, problem, remedy);
        }
        guard
    }

    fn limits(&mut self) -> Limits {
        let section = self.section("limits");
        let mut l = Limits::default();
        let million = 1_000_000;
        for (field, key, range) in [
            (
                &mut l.transactions_max,
                "transactions_max",
                100..=4 * million,
            ),
            (&mut l.calls_max, "calls_max", 1..=million),
            (&mut l.bindings_max, "bindings_max", 1..=10 * million),
            (
                &mut l.contacts_per_user_max,
                "contacts_per_user_max",
                1..=100,
            ),
            (&mut l.branches_max, "branches_max", 1..=60),
            (&mut l.connections_max, "connections_max", 1..=million),
            (
                &mut l.connections_per_source_max,
                "connections_per_source_max",
                1..=million,
            ),
            (&mut l.trace_messages_max, "trace_messages_max", 0..=100_000),
        ] {
            self.set_usize(field, section.get(key), range);
        }
        for (field, key) in [
            (&mut l.expires_min_s, "expires_min_s"),
            (&mut l.expires_default_s, "expires_default_s"),
            (&mut l.expires_max_s, "expires_max_s"),
        ] {
            self.set_u32(field, section.get(key), 1..=30 * DAY_S);
        }
        let (min, default, max) = (l.expires_min_s, l.expires_default_s, l.expires_max_s);
        if (min > default || default > max)
            && let Some(entry) = ["expires_default_s", "expires_min_s", "expires_max_s"]
                .into_iter()
                .find_map(|key| section.get(key))
        {
            let problem =
                format!("expires are at least {min}, by default {default}, at most {max}");
            let remedy = "let expires_min_s <= expires_default_s <= expires_max_s";
            self.reader.note_entry(entry, problem, remedy);
        }
        l
    }

    fn timers(&mut self) -> Timers {
        let section = self.section("timers");
        let mut t = Timers::default();
        for (field, key, range) in [
            (&mut t.t1, "t1_ms", 10..=10_000),
            (&mut t.t2, "t2_ms", 10..=60_000),
            (&mut t.t4, "t4_ms", 10..=60_000),
        ] {
            if let Some(ms) = self.number(section.get(key), range) {
                *field = Duration::from_millis(ms);
            }
        }
        for (field, key, range) in [
            (&mut t.timer_c, "timer_c_s", 181..=DAY_S),
            (&mut t.serial_fork, "serial_fork_s", 1..=600),
            (&mut t.no_reply, "no_reply_s", 1..=32),
            (&mut t.call_max, "call_max_s", 60..=SIXTY_YEARS_S),
            (&mut t.connection_idle, "connection_idle_s", 30..=7 * DAY_S),
            (&mut t.half_message, "half_message_s", 1..=600),
        ] {
            if let Some(s) = self.number(section.get(key), range) {
                *field = Duration::from_secs(s);
            }
        }
        if t.t1 > t.t2
            && let Some(entry) = section.get("t1_ms").or(section.get("t2_ms"))
        {
            let problem = format!(
                "t1_ms is {} and t2_ms {}",
                t.t1.as_millis(),
                t.t2.as_millis()
            );
            let remedy = "let t2_ms be at least t1_ms";
            self.reader.note_entry(entry, problem, remedy);
        }
        t
    }

    fn admin(&mut self, state_dir: &Path) -> Admin {
        let section = self.section("admin");
        let run = run_dir(state_dir);
        let mut admin = Admin {
            socket: run.join("voip.sock"),
            pid_file: run.join("voip.pid"),
            ..Admin::default()
        };
        if let Some(path) = self.path(section.get("socket"), &run) {
            admin.socket = path;
        }
        if let Some(path) = self.path(section.get("pid_file"), &run) {
            admin.pid_file = path;
        }
        if let Some(entry) = section.get("log") {
            let words = LogLevel::ALL.map(|level| (level.as_str(), level));
            admin.log = self.reader.word(entry, &words).unwrap_or(admin.log);
        }
        admin.web = self.web(section);
        admin
    }

    /// The HTTP interface: an address of loopback, and a token.
    fn web(&mut self, section: Section<'d>) -> Option<Web> {
        let token_file = self.path(section.get("token_file"), self.base);
        let entry = section.get("web")?;
        let text = self.reader.text(entry)?;
        let listen = match text.text.parse::<SocketAddr>() {
            Ok(listen) if listen.ip().to_canonical().is_loopback() => listen,
            Ok(listen) => {
                let problem = format!("\"{listen}\" is not loopback, and HTTP is not encrypted");
                let remedy = "listen on 127.0.0.1, behind a proxy that speaks TLS";
                self.note(text, problem, remedy);
                return None;
            }
            Err(_) => {
                let problem = format!("\"{}\" is no address with port", text.text);
                self.note(text, problem, "write one such as \"127.0.0.1:8080\"");
                return None;
            }
        };
        let Some(token_file) = token_file else {
            let problem = "whoever asks there must bear a token";
            let remedy = "add token_file, a file made by: openssl rand -hex 32";
            self.reader.note_entry(entry, problem, remedy);
            return None;
        };
        Some(Web { listen, token_file })
    }

    pub(super) fn note(
        &mut self,
        text: Text<'_>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.reader.note(text.span, text.name, problem, remedy);
    }

    pub(super) fn list(&mut self, entry: Entry<'d>) -> Vec<Text<'d>> {
        let mut texts = self.reader.texts(entry).unwrap_or_default();
        if texts.len() > LIST_MAX {
            let problem = format!("has {} entries", texts.len());
            let remedy = format!("write at most {LIST_MAX}");
            self.reader.note_entry(entry, problem, remedy);
            texts.truncate(LIST_MAX);
        }
        texts
    }

    pub(super) fn path(&mut self, entry: Option<Entry<'d>>, base: &Path) -> Option<PathBuf> {
        let text = self.reader.text(entry?)?;
        if text.text.is_empty() || text.text.contains('\0') {
            self.note(text, "is no path", "write a path, or take the key out");
            return None;
        }
        Some(base.join(text.text))
    }

    pub(super) fn number(
        &mut self,
        entry: Option<Entry<'d>>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        self.reader.number(entry?, range)
    }

    pub(super) fn set_u32(
        &mut self,
        to: &mut u32,
        entry: Option<Entry<'d>>,
        range: RangeInclusive<u64>,
    ) {
        if let Some(n) = self.number(entry, range) {
            *to = u32::try_from(n).unwrap_or(u32::MAX);
        }
    }

    fn set_usize(&mut self, to: &mut usize, entry: Option<Entry<'d>>, range: RangeInclusive<u64>) {
        if let Some(n) = self.number(entry, range) {
            *to = usize::try_from(n).unwrap_or(usize::MAX);
        }
    }
}

/// `udp:192.0.2.1:5060`; or the problem and the remedy.
fn listener(text: &str) -> Result<Listen, (String, String)> {
    let example = || "write one such as \"udp:0.0.0.0:5060\" or \"tls:[::]:5061\"".to_string();
    let Some((token, rest)) = text.split_once(':') else {
        return Err((format!("\"{text}\" is no listener"), example()));
    };
    let Some(transport) = Transport::from_token(token.as_bytes()) else {
        let known = ["udp", "tcp", "tls", "ws", "wss"];
        let remedy = match nearest(token, known.into_iter()) {
            Some(near) => format!("did you mean \"{near}:{rest}\"?"),
            None => format!("write one of {}", known.join(", ")),
        };
        return Err((format!("\"{token}\" is no transport"), remedy));
    };
    match rest.parse::<SocketAddr>() {
        Ok(addr) if addr.ip().is_multicast() => Err((
            format!("\"{}\" is a multicast address", addr.ip()),
            "name an address of this host".into(),
        )),
        Ok(addr) => Ok(Listen { transport, addr }),
        Err(_) => {
            let bare = rest.trim_start_matches('[').trim_end_matches(']');
            let remedy = match bare.parse::<IpAddr>() {
                Ok(ip) => {
                    let addr = SocketAddr::new(ip, transport.default_port());
                    format!("add the port: \"{}\"", Listen { transport, addr })
                }
                Err(_) => example(),
            };
            Err((format!("\"{rest}\" is no address with port"), remedy))
        }
    }
}

/// Whether two listeners cannot be bound together. IPv6 sockets are bound to IPv6 only.
fn collide(a: &Listen, b: &Listen) -> bool {
    let (x, y) = (a.addr, b.addr);
    a.transport.is_reliable() == b.transport.is_reliable()
        && x.port() == y.port()
        && x.port() != 0
        && x.is_ipv4() == y.is_ipv4()
        && (x.ip() == y.ip() || x.ip().is_unspecified() || y.ip().is_unspecified())
}
