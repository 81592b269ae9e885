//! `voipctl doctor`: what keeps a phone system from working, each finding with the command that
//! mends it. Nothing is changed, and nothing is sent to anybody but the host's name server.
//!
//! What only the system knows is gathered in `facts`, and judged in `freebsd`, `linux` and `host`.

mod facts;
mod freebsd;
mod host;
mod linux;

use super::super::control::{Client, ClientError};
use super::super::fast::ONE_FOR_ALL;
use super::super::settings::ZONE_REMEDY;
use super::super::store::Database;
use super::super::{interfaces, tls};
use super::access::Access;
use super::failure::{Failure, exit};
use super::output::Output;
use super::table::Table;
use crate::config::{Config, Fastpath, Listen, Relay};
use crate::control::{Command, RelayDriverRow, Reply, StatusRow};
use facts::Facts;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Free space below which the store is in danger, in bytes.
const DISK_WANTED: u64 = 200 << 20;

/// How long the name server is waited for.
const DNS_PATIENCE: Duration = Duration::from_secs(3);

/// 2026-01-01: no clock that is right shows less.
const TIME_MIN_S: u64 = 1_767_225_600;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Ok,
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: String,
    pub(super) outcome: Outcome,
    pub(super) finding: String,
    /// What mends it; empty if nothing has to be.
    pub(super) remedy: String,
}

struct Doctor {
    findings: Vec<Finding>,
}

impl Doctor {
    fn say(&mut self, check: &str, outcome: Outcome, finding: String, remedy: String) {
        self.findings.push(Finding {
            check: check.into(),
            outcome,
            finding,
            remedy,
        });
    }

    fn ok(&mut self, check: &str, finding: impl Into<String>) {
        self.say(check, Outcome::Ok, finding.into(), String::new());
    }

    fn warn(&mut self, check: &str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.say(check, Outcome::Warning, finding.into(), remedy.into());
    }

    fn bad(&mut self, check: &str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.say(check, Outcome::Bad, finding.into(), remedy.into());
    }
}

pub(super) fn run(access: &Access, output: Output) -> Result<(), Failure> {
    let findings = examine(access);
    if output.json {
        output.rows(&findings)?;
    } else {
        output.text(&text(&findings))?;
    }
    if findings.iter().any(|f| f.outcome == Outcome::Bad) {
        return Err(Failure::new(exit::UNAVAILABLE, ""));
    }
    Ok(())
}

fn text(findings: &[Finding]) -> String {
    let mut table = Table::new(&["", "CHECK", "FINDING"]);
    for f in findings {
        let mark = match f.outcome {
            Outcome::Ok => "ok",
            Outcome::Warning => "WARN",
            Outcome::Bad => "BAD",
        };
        table.row([mark.into(), f.check.clone(), f.finding.clone()]);
        if !f.remedy.is_empty() {
            table.row([" ".into(), " ".into(), format!("-> {}", f.remedy)]);
        }
    }
    table.render("")
}

pub(super) fn examine(access: &Access) -> Vec<Finding> {
    let mut doctor = Doctor {
        findings: Vec::new(),
    };
    let d = &mut doctor;
    let config = match access.config() {
        Ok(config) => {
            let file = access.config_file();
            match file.exists() {
                true => d.ok("configuration", format!("{} is in order", file.display())),
                false => d.ok("configuration", "no file: the defaults are in force"),
            }
            config
        }
        Err(failure) => {
            let remedy = "mend the file; voipctl check shows this again";
            d.bad("configuration", failure.text.replace('\n', ", "), remedy);
            return doctor.findings;
        }
    };
    let status = daemon(d, access, &config);
    for listen in &config.sip.listen {
        port(d, listen, status.as_ref());
    }
    nat(d, &config);
    names(d, &config);
    certificate(d, &config);
    let facts = Facts::gather(&config);
    if cfg!(target_os = "freebsd") {
        let fastpath = config.rtp.fastpath != Fastpath::Off;
        freebsd::judge(d, &facts, &config, fastpath);
    } else {
        linux::judge(d, &facts, &config);
    }
    state(d, &config, status.is_some());
    time(d, &config.store.file);
    zone(d, &config);
    doctor.findings
}

fn daemon(d: &mut Doctor, access: &Access, config: &Config) -> Option<StatusRow> {
    let asked = match access.client() {
        Ok(mut client) => client.ask(Command::Status),
        // The text of `access` is meant for other verbs.
        Err(_) => match Client::connect(&config.admin.socket) {
            Ok(mut client) => client.ask(Command::Status),
            Err(error) => Err(error),
        },
    };
    match asked {
        Ok(Reply::Status(status)) => {
            let pid = status.pid;
            d.ok(
                "daemon",
                format!("voipd {} runs, process {pid}", status.version),
            );
            for warning in &status.warnings {
                d.warn("daemon", warning.clone(), "");
            }
            for row in status
                .relay
                .iter()
                .filter(|row| row.name != "sockets" && row.up)
            {
                fast_path(d, row);
            }
            Some(*status)
        }
        Err(ClientError::NotRunning(path)) => {
            let remedy = if cfg!(target_os = "freebsd") {
                "service voip start"
            } else {
                "start voipd, and see what it says"
            };
            let finding = format!("voipd does not run (nobody answers at {})", path.display());
            d.warn("daemon", finding, remedy);
            None
        }
        Err(error) => {
            d.bad("daemon", error.to_string(), "");
            None
        }
        Ok(_) => {
            d.bad(
                "daemon",
                "it answers nonsense",
                "use the voipctl that belongs to it",
            );
            None
        }
    }
}

/// How the driver that runs gets at its card.
fn fast_path(d: &mut Doctor, row: &RelayDriverRow) {
    let finding = format!("{} runs, {}", row.name, row.mode);
    let lost: u64 = row
        .queues
        .iter()
        .map(|queue| queue.ring_full + queue.overruns)
        .sum();
    if row.mode.starts_with("generic") {
        let remedy = "use a card whose driver takes XDP programs, and see what else is said of the \
                      fast path";
        d.warn("fast path", finding, remedy);
    } else if row.mode == ONE_FOR_ALL {
        let remedy = "raise dev.netmap.buf_num and dev.netmap.ring_num by sysctl(8), for more than \
                      30 pairs of rings dev.netmap.if_size, too, give the card as many sending as \
                      receiving queues, at most 64, and restart voipd";
        d.warn("fast path", finding, remedy);
    } else if lost > 0 {
        let finding = format!("{finding}; {lost} frames found a ring full");
        d.warn(
            "fast path",
            finding,
            "see voipctl relay; give voipd a core of its own",
        );
    } else {
        d.ok("fast path", finding);
    }
}

fn port(d: &mut Doctor, listen: &Listen, status: Option<&StatusRow>) {
    let check = format!("port {listen}");
    let held = status.is_some_and(|s| s.listen.iter().any(|l| *l == listen.to_string()));
    let number = listen.addr.port();
    match try_bind(listen) {
        Ok(()) if held => {
            let remedy = "restart voipd, and see its log";
            d.bad(
                &check,
                "voipd says that it listens, but the port is free",
                remedy,
            );
        }
        Ok(()) => d.ok(&check, "free"),
        Err(_) if held => d.ok(&check, "held by voipd"),
        Err(e) if e.kind() == ErrorKind::AddrInUse => {
            let proto = if listen.transport.is_reliable() {
                "t"
            } else {
                "u"
            };
            let remedy = if cfg!(target_os = "freebsd") {
                format!("see who it is: sockstat -l -p {number}")
            } else {
                format!("see who it is: ss -{proto}lnp 'sport = :{number}'")
            };
            d.bad(&check, "taken by another program", remedy);
        }
        Err(e) if e.kind() == ErrorKind::AddrNotAvailable => {
            let finding = format!("{} is no address of this host", listen.addr.ip());
            d.bad(
                &check,
                finding,
                "name one that ifconfig or ip addr shows, or 0.0.0.0",
            );
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            let remedy =
                "run doctor as root to know; voipd binds its ports before it gives up root";
            d.warn(&check, "cannot be tried without privilege", remedy);
        }
        Err(e) => d.bad(&check, e.to_string(), ""),
    }
}

fn try_bind(listen: &Listen) -> io::Result<()> {
    let domain = Domain::for_address(listen.addr);
    let (kind, protocol) = if listen.transport.is_reliable() {
        (Type::STREAM, Protocol::TCP)
    } else {
        (Type::DGRAM, Protocol::UDP)
    };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    if listen.transport.is_reliable() {
        // Connections that are closing do not matter.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&listen.addr.into())?;
    if listen.transport.is_reliable() {
        socket.listen(1)?;
    }
    Ok(())
}

fn nat(d: &mut Doctor, config: &Config) {
    let advertise = config.sip.advertise;
    if let Some(ip) = advertise.v4 {
        return d.ok("nat", format!("{ip} is shown to peers, as configured"));
    }
    if config.sip.listen.iter().all(|l| l.addr.ip().is_loopback()) {
        return d.ok("nat", "only this host is served");
    }
    match interfaces::default_routes().into_iter().flatten().next() {
        Some(IpAddr::V4(ip)) if is_private(ip) => {
            let finding = format!(
                "this host's address {ip} is private: phones elsewhere cannot reach it by that"
            );
            let remedy = "if a router forwards the ports to this host, name its public address: \
                          [sip] advertise = \"...\"; if all phones are inside, all is well";
            d.warn("nat", finding, remedy);
        }
        Some(ip) => d.ok("nat", format!("{ip} is a public address")),
        None => d.warn(
            "nat",
            "there is no default route",
            "connect the host to a network",
        ),
    }
    if config.rtp.relay == Relay::Never {
        let remedy = "write [rtp] relay = \"nat\" if any phone is behind a router";
        d.warn(
            "nat",
            "relay is \"never\": phones behind NAT hear nothing",
            remedy,
        );
    }
}

/// RFC 1918, RFC 6598, RFC 3927.
fn is_private(ip: std::net::Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private() || ip.is_link_local() || a == 100 && (64..128).contains(&b)
}

fn names(d: &mut Doctor, config: &Config) {
    for domain in config.node.domains.iter().take(8) {
        let name = domain.as_str().to_string();
        if name == "localhost" || name.parse::<IpAddr>().is_ok() || name.starts_with('[') {
            continue;
        }
        let (tell, told) = mpsc::channel();
        let query = name.clone();
        std::thread::spawn(move || {
            let found = (query.as_str(), 5060).to_socket_addrs();
            let _ = tell.send(found.map(|a| a.map(|a| a.ip()).collect::<Vec<_>>()));
        });
        let check = format!("domain {name}");
        let remedy = format!(
            "phones need {name} in DNS (A, AAAA or SRV records), or this host as their outbound \
             proxy"
        );
        match told.recv_timeout(DNS_PATIENCE) {
            Ok(Ok(ips)) if !ips.is_empty() => {
                let shown: Vec<String> = ips.iter().take(4).map(IpAddr::to_string).collect();
                d.ok(&check, format!("is {}", shown.join(", ")));
            }
            Ok(Ok(_) | Err(_)) => d.warn(&check, "has no address", remedy),
            Err(_) => d.warn(&check, "the name server does not answer", remedy),
        }
    }
}

fn certificate(d: &mut Doctor, config: &Config) {
    let Some(files) = &config.sip.tls else {
        return;
    };
    let files = tls::TlsFiles {
        identity: Some((files.certificate.clone(), files.key.clone())),
        roots: None,
        asks: false,
    };
    match tls::Tls::load(&files) {
        Ok(_) => d.ok("certificate", "certificate and key belong together"),
        Err(mistake) => d.bad("certificate", mistake.to_string(), ""),
    }
}

fn state(d: &mut Doctor, config: &Config, running: bool) {
    let dir = config.node.state_dir.as_path();
    let existing = dir
        .ancestors()
        .find(|p| p.is_dir())
        .unwrap_or(Path::new("/"));
    let shown = dir.display();
    if existing != dir {
        d.ok("state", format!("{shown} is made at the first start"));
    } else if nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_err() {
        let remedy = format!("run doctor as the user of voipd, or: chown -R voip {shown}");
        d.warn("state", format!("{shown} is not writable for us"), remedy);
    } else {
        d.ok("state", format!("{shown} is writable"));
    }
    match nix::sys::statvfs::statvfs(existing) {
        Ok(s) => {
            // Their types differ between systems.
            #[allow(clippy::unnecessary_cast)]
            let free = (s.blocks_available() as u64).saturating_mul(s.fragment_size() as u64);
            let finding = format!("{} MB free at {}", free >> 20, existing.display());
            if free < DISK_WANTED {
                let remedy = format!(
                    "make room there; see du -xh {} | sort -h",
                    existing.display()
                );
                d.bad("disk", finding, remedy);
            } else {
                d.ok("disk", finding);
            }
        }
        Err(e) => d.warn("disk", format!("{}: {e}", existing.display()), ""),
    }
    if running || !config.store.file.exists() {
        return;
    }
    match Database::open(&config.store) {
        Ok(_) => d.ok(
            "database",
            format!("{} is sound", config.store.file.display()),
        ),
        Err(e) => d.bad("database", e.problem, e.remedy),
    }
}

fn time(d: &mut Doctor, database: &Path) {
    let remedy = if cfg!(target_os = "freebsd") {
        "service ntpd onestart; sysrc ntpd_enable=YES"
    } else {
        "timedatectl set-ntp true"
    };
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let shown = crate::control::rfc3339(since.saturating_mul(1000));
    let written = database.metadata().and_then(|m| m.modified()).ok();
    if since < TIME_MIN_S {
        d.bad("time", format!("the clock shows {shown}"), remedy);
    } else if written.is_some_and(|w| w > now + Duration::from_secs(60)) {
        let finding = format!("the clock shows {shown}, but the database was written later");
        d.bad("time", finding, remedy);
    } else {
        d.ok("time", shown);
    }
}

/// Whose clock days and hours go by.
fn zone(d: &mut Doctor, config: &Config) {
    match (&*config.numbers.timezone, config.without_timezone()) {
        ("", Some(what)) => {
            let finding = format!("none is known: {what} are in UTC");
            d.warn("time zone", finding, ZONE_REMEDY);
        }
        ("", None) => d.ok("time zone", "none is known, and nothing needs one"),
        (zone, _) => d.ok("time zone", zone),
    }
}

#[cfg(test)]
mod tests;
