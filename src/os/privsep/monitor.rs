//! The monitor: holds what needs root, starts the roles, hands them their descriptors, starts them
//! again when they die, and parses nothing that comes from the network.
//!
//! ```text
//!   spawn -> hello both ways -> settings, sockets, lines, Start -> Ready -> serving
//!     ^                                                                       |
//!     '------ pause of 100 ms, doubled up to 10 s, reset after a minute <- died
//! ```
//! A line joins two roles. When one is started anew the monitor makes the pair anew, and hands the
//! other end to the role that lives.

use crate::config::Config;
use crate::os::blocklist::Blocklist;
use crate::os::daemon::{EX_CANTCREAT, EX_OSERR, EX_SOFTWARE, EX_UNAVAILABLE, Fatal};
use crate::os::fast::{self, HandOver};
use crate::os::ipc::{
    AsyncChannel, BATCH_BYTES, Channel, DESCRIPTORS_MAX, Hello, IpcError, Line, Role, Settings,
    ToMonitor, ToRole,
};
use crate::os::log::Log;
use crate::os::node::Bound;
use crate::os::role::MONITOR_FD;
use crate::os::secrets::Secrets;
use crate::os::service::{LOOK_EVERY, files};
use crate::os::spool::Roots;
use crate::os::{codec_plugin, dns, sys};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// The first pause before a role that died is started again.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest.
pub const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A role that lived so long died for another reason than the last time.
pub const STEADY: Duration = Duration::from_secs(60);
/// A role must serve by then.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A message must be taken by then.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// A role must have ended by then when it is told to.
const ENDED_WITHIN: Duration = Duration::from_secs(15);
/// Messages of roles that wait for the monitor.
const HEARD_MAX: usize = 64;

/// What the monitor holds for the roles.
#[derive(Debug)]
pub struct Holdings {
    /// The file that was read, absolute.
    pub path: PathBuf,
    /// The text and what it says.
    pub text: String,
    /// Parsed.
    pub config: Config,
    /// The codec plugin of the start, whatever the file said since.
    pub codec_plugin: Option<PathBuf>,
    /// How many shards.
    pub shards: u16,
    /// The listening sockets.
    pub bound: Vec<Bound>,
    /// The operator's socket.
    pub control: UnixListener,
    /// The listener of the HTTP interface.
    pub web: Option<TcpListener>,
    /// The socket of the ng protocol, and where it is bound.
    pub ng: Option<(SocketAddr, UdpSocket)>,
    /// Media ports that other programs hold.
    pub held_ports: Vec<u16>,
    /// Whom the roles become.
    pub user: Option<String>,
    /// Users to make.
    pub users: Vec<(String, String)>,
    /// Whether the log goes to syslog(3).
    pub syslog: bool,
}

impl Holdings {
    /// The roles that there are.
    fn roles(&self) -> impl DoubleEndedIterator<Item = Role> {
        let web = self.web.is_some();
        let there = move |role: &Role| *role != Role::Web || web;
        Role::ALL.into_iter().filter(there)
    }

    /// Secrets go to the role that needs them, and to no other.
    fn settings(&self, role: Role) -> Result<Settings, Fatal> {
        let tls = role == Role::Signal;
        let resolvers = match self.config.sip.resolvers.is_empty() {
            true => dns::system_servers(),
            false => self.config.sip.resolvers.clone(),
        };
        let pems = || {
            let read = files::tls_files(&self.config).read();
            read.map_err(|e| Fatal::new(EX_UNAVAILABLE, format!("[sip.tls] {e}")))
        };
        Ok(Settings {
            path: self.path.clone(),
            text: self.text.clone(),
            codec_plugin: self.codec_plugin.clone(),
            host_name: crate::os::settings::host_name(),
            timezone: crate::os::zone::host_zone().into(),
            shards: self.shards,
            tls: if tls { Some(pems()?) } else { None },
            token: match role {
                Role::Web => files::web_token(&self.config)?,
                Role::Net | Role::Media | Role::Signal => None,
            },
            secrets: match role {
                Role::Signal => files::secrets(&self.config)?,
                Role::Net | Role::Media | Role::Web => Secrets::default(),
            },
            resolvers,
            user: self.user.clone(),
            held_ports: match role {
                Role::Signal => self.held_ports.clone(),
                Role::Net | Role::Media | Role::Web => Vec::new(),
            },
            users: if tls { self.users.clone() } else { Vec::new() },
            pid: std::process::id(),
            syslog: self.syslog,
            again: false,
        })
    }
}

/// What a role said, or that it is gone.
struct Heard {
    role: Role,
    /// Which start of the role it was.
    start: u64,
    what: Result<(ToMonitor, Vec<OwnedFd>), IpcError>,
}

/// A running role.
struct Running {
    process: Child,
    channel: Arc<AsyncChannel>,
    start: u64,
    since: Instant,
    /// Whether it serves.
    ready: bool,
}

/// A role's restart.
#[derive(Clone, Copy, Debug)]
struct Pause {
    last: Duration,
    until: Option<Instant>,
}

/// The monitor at work.
pub struct Monitor {
    holdings: Holdings,
    log: Log,
    blocklist: Blocklist,
    running: BTreeMap<Role, Running>,
    pauses: BTreeMap<Role, Pause>,
    starts: u64,
    tell: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

fn os(what: &str, error: impl std::fmt::Display) -> Fatal {
    Fatal::new(EX_OSERR, format!("{what}: {error}"))
}

/// The lines that a role shares with each other one.
fn lines(role: Role, shards: u16) -> Vec<(Line, Role)> {
    let mut all: Vec<(Line, Role)> = Vec::new();
    for shard in 0..shards {
        match role {
            Role::Net => {
                all.push((Line::Datagrams(shard), Role::Signal));
                all.push((Line::Ports(shard), Role::Media));
            }
            Role::Media => {
                all.push((Line::Ports(shard), Role::Net));
                all.push((Line::Media(shard), Role::Signal));
            }
            Role::Signal => {
                all.push((Line::Datagrams(shard), Role::Net));
                all.push((Line::Media(shard), Role::Media));
            }
            Role::Web => {}
        }
    }
    match role {
        Role::Net => all.extend([(Line::Requests, Role::Signal), (Line::Ng, Role::Signal)]),
        Role::Signal => all.extend([
            (Line::Requests, Role::Net),
            (Line::Ng, Role::Net),
            (Line::Operator, Role::Web),
        ]),
        Role::Web => all.push((Line::Operator, Role::Signal)),
        Role::Media => {}
    }
    all
}

impl Monitor {
    /// Starts every role and waits until each serves. Inside a runtime only.
    pub async fn start(holdings: Holdings, log: Log) -> Result<Self, Fatal> {
        let (tell, heard) = mpsc::channel(HEARD_MAX);
        let blocklist = Blocklist::new(&holdings.config, &holdings.bound);
        let mut monitor = Self {
            blocklist: blocklist.map_err(|e| os("listeners", e))?,
            holdings,
            log,
            running: BTreeMap::new(),
            pauses: BTreeMap::new(),
            starts: 0,
            tell,
            heard,
        };
        let roles: Vec<_> = monitor.holdings.roles().collect();
        for role in roles {
            if let Err(why) = monitor.start_role(role).await {
                monitor.stop().await;
                return Err(why);
            }
        }
        Ok(monitor)
    }

    /// Starts a role and waits until it serves.
    async fn start_role(&mut self, role: Role) -> Result<(), Fatal> {
        self.spawn(role).await?;
        let ready = async {
            while let Some(heard) = self.heard.recv().await {
                self.on_heard(heard).await?;
                match self.running.get(&role) {
                    Some(running) if running.ready => return Ok(()),
                    Some(_) => {}
                    None => {
                        let text = format!("{} died before it served", role.name());
                        return Err(Fatal::new(EX_SOFTWARE, text));
                    }
                }
            }
            Err(Fatal::new(EX_SOFTWARE, "nothing is heard of the roles"))
        };
        match timeout(READY_WITHIN, ready).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!("{} does not serve in time", role.name());
                Err(Fatal::new(EX_SOFTWARE, text))
            }
        }
    }

    /// Executes this program again, and gives the role all that it needs.
    async fn spawn(&mut self, role: Role) -> Result<(), Fatal> {
        let (ours, theirs) = Channel::pair().map_err(|e| os("socketpair", e))?;
        let mut command = Command::new(executable()?);
        let mut name = OsString::from("voipd: ");
        name.push(role.name());
        command.arg0(name).arg("--role").arg(role.name());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if self.holdings.syslog {
            // Detached: what the role says goes to syslog, and the terminal is let go of.
            command.stderr(Stdio::null());
        }
        sys::give(&mut command, theirs.as_raw_fd(), MONITOR_FD);
        let process = command.spawn().map_err(|e| os(role.name(), e))?;
        drop(theirs);
        let channel = Arc::new(AsyncChannel::new(ours).map_err(|e| os("channel", e))?);
        self.starts += 1;
        let start = self.starts;
        tokio::spawn(listen(role, start, Arc::clone(&channel), self.tell.clone()));
        let running = Running {
            process,
            channel,
            start,
            since: Instant::now(),
            ready: false,
        };
        self.running.insert(role, running);
        self.equip(role).await
    }

    async fn equip(&mut self, role: Role) -> Result<(), Fatal> {
        self.send(role, &ToRole::Hello(Hello::new(role)), &[]).await;
        let settings = Settings {
            again: self.pauses.contains_key(&role),
            ..self.holdings.settings(role)?
        };
        self.send_settings(role, None, &settings).await?;
        if matches!(role, Role::Net | Role::Signal) {
            self.hand_listeners(role).await;
            if let Some((address, socket)) = &self.holdings.ng {
                let message = ToRole::Ng(*address);
                self.send(role, &message, &[socket.as_fd()]).await;
            }
        }
        let control = match role {
            Role::Signal => Some(self.holdings.control.as_fd()),
            Role::Web => self.holdings.web.as_ref().map(AsFd::as_fd),
            Role::Net | Role::Media => None,
        };
        if let Some(control) = control {
            self.send(role, &ToRole::Control, &[control]).await;
        }
        if role == Role::Media {
            for (root, fd) in Roots::open(&self.holdings.config).iter() {
                self.send(role, &ToRole::Directory(root), &[fd]).await;
            }
            self.hand_card().await?;
        }
        for (line, other) in lines(role, self.holdings.shards) {
            if !self.running.get(&other).is_some_and(|other| other.ready) {
                continue;
            }
            let (one, two) = pair(line).map_err(|e| os("socketpair", e))?;
            self.send(role, &ToRole::Line(line), &[one.as_fd()]).await;
            self.send(other, &ToRole::Line(line), &[two.as_fd()]).await;
        }
        self.send(role, &ToRole::Start, &[]).await;
        Ok(())
    }

    /// The card of the fast path, opened anew for each start of media: the system has the old one
    /// back by now. Without it a later media goes on by sockets.
    async fn hand_card(&self) -> Result<(), Fatal> {
        match fast::hand_over(&self.holdings.config.rtp.fastpath) {
            Ok(None) => Ok(()),
            Ok(Some(HandOver {
                interface,
                cards,
                hops,
            })) => {
                let hops = hops.into_fd();
                let to = Role::Media;
                for part in cards.chunks(DESCRIPTORS_MAX) {
                    let fds: Vec<_> = part.iter().map(AsFd::as_fd).collect();
                    self.send(to, &ToRole::Card(interface), &fds).await;
                }
                self.send(to, &ToRole::Hops, &[hops.as_fd()]).await;
                Ok(())
            }
            Err(why) if self.pauses.contains_key(&Role::Media) => {
                tracing::error!("{why}; media goes on by sockets");
                Ok(())
            }
            Err(why) => Err(Fatal::new(EX_UNAVAILABLE, why)),
        }
    }

    async fn hand_listeners(&self, role: Role) {
        for bound in &self.holdings.bound {
            for (shard, socket) in bound.sockets().iter().enumerate() {
                let listener = ToRole::Listener {
                    transport: bound.transport,
                    address: bound.address,
                    shard: u16::try_from(shard).unwrap_or(u16::MAX),
                };
                self.send(role, &listener, &[socket.as_fd()]).await;
            }
        }
    }

    async fn send_settings(
        &self,
        role: Role,
        asked: Option<u64>,
        settings: &Settings,
    ) -> Result<(), Fatal> {
        let bytes = postcard::to_extend(settings, Vec::new()).map_err(|e| os("settings", e))?;
        let mut parts = bytes.chunks(BATCH_BYTES).peekable();
        while let Some(part) = parts.next() {
            let message = ToRole::Settings {
                asked,
                last: parts.peek().is_none(),
                bytes: part.to_vec(),
            };
            self.send(role, &message, &[]).await;
        }
        Ok(())
    }

    /// A role that takes nothing is as good as dead.
    async fn send(&self, role: Role, message: &ToRole, fds: &[BorrowedFd<'_>]) {
        let Some(running) = self.running.get(&role) else {
            return;
        };
        match timeout(TAKEN_WITHIN, running.channel.send(message, fds)).await {
            Ok(Ok(())) => {}
            // Its end is heard of by itself.
            Ok(Err(error)) => tracing::debug!("{}: {error}", role.name()),
            Err(_) => {
                tracing::error!("{} takes no messages: killed", role.name());
                kill(&running.process);
            }
        }
    }

    async fn on_heard(&mut self, heard: Heard) -> Result<(), Fatal> {
        let Heard { role, start, what } = heard;
        if self.running.get(&role).is_none_or(|r| r.start != start) {
            return Ok(());
        }
        match what {
            Ok((ToMonitor::Hello(hello), _)) => {
                let wrong = |why| Fatal::new(EX_SOFTWARE, why);
                if let Err(why) = hello.check(role).map_err(wrong) {
                    self.on_death(role, "another version");
                    return Err(why);
                }
            }
            Ok((ToMonitor::Ready, _)) => {
                if let Some(running) = self.running.get_mut(&role) {
                    running.ready = true;
                }
            }
            Ok((ToMonitor::Failed(code, reason), _)) => {
                self.on_death(role, &reason);
                return Err(Fatal::new(code, reason));
            }
            Ok((ToMonitor::Reload { asked }, _)) => self.reload(Some(asked)).await,
            Ok((ToMonitor::LogLevel(level), _)) => {
                if let Ok(level) = level.parse() {
                    self.log.set(level);
                }
                for other in Role::ALL.into_iter().filter(|other| *other != role) {
                    self.send(other, &ToRole::LogLevel(level.clone()), &[])
                        .await;
                }
            }
            Ok((ToMonitor::Ports { relay, numbers }, fds)) if role == Role::Media => {
                let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                self.send(Role::Net, &ToRole::Ports { relay, numbers }, &fds)
                    .await;
            }
            Ok((ToMonitor::Notice(notice), _)) if role == Role::Signal => {
                self.blocklist.tell(notice);
            }
            Ok((ToMonitor::Relays(report), _)) if role == Role::Media => {
                let report = ToRole::Relays(report);
                self.send(Role::Signal, &report, &[]).await;
            }
            Ok((ToMonitor::Ports { .. } | ToMonitor::Notice(_) | ToMonitor::Relays(_), _)) => {
                self.on_death(role, "an unexpected message");
            }
            Ok((ToMonitor::Probed(tries), _)) => {
                for tried in tries {
                    let said = match tried.refused {
                        Some(number) => std::io::Error::from_raw_os_error(number).to_string(),
                        None => "not refused".to_owned(),
                    };
                    tracing::info!("{} tried to {}: {said}", role.name(), tried.what);
                }
            }
            Err(error) => self.on_death(role, &error.to_string()),
        }
        Ok(())
    }

    /// Takes a dead role's body away, and plans its restart.
    fn on_death(&mut self, role: Role, why: &str) {
        let Some(mut running) = self.running.remove(&role) else {
            return;
        };
        kill(&running.process);
        let status = running.process.wait();
        let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
        let lived = running.since.elapsed();
        let last = self.pauses.get(&role).map(|pause| pause.last);
        let last = match last {
            Some(last) if lived < STEADY => (last * 2).min(PAUSE_MAX),
            _ => PAUSE_MIN,
        };
        let name = role.name();
        tracing::error!(
            "{name} ended ({status}; {why}); again in {} ms",
            last.as_millis()
        );
        let until = Some(Instant::now() + last);
        self.pauses.insert(role, Pause { last, until });
    }

    fn due(&self) -> Option<(Instant, Role)> {
        let waiting = self.pauses.iter();
        waiting
            .filter_map(|(role, pause)| Some((pause.until?, *role)))
            .min()
    }

    async fn restart(&mut self, role: Role) {
        if let Some(pause) = self.pauses.get_mut(&role) {
            pause.until = None;
        }
        match self.start_role(role).await {
            Ok(()) => tracing::info!("{} serves again", role.name()),
            Err(why) => {
                tracing::error!("{} cannot be started: {why}", role.name());
                self.on_death(role, "cannot be started");
            }
        }
    }

    /// For each role that takes a configuration again.
    fn settings_of_all(&self) -> Result<Vec<(Role, Settings)>, Fatal> {
        let all = self.holdings.roles();
        let asked = all.filter(|role| matches!(role, Role::Signal | Role::Web));
        asked
            .map(|role| Ok((role, self.holdings.settings(role)?)))
            .collect()
    }

    /// Reads the configuration again, and sends it to signal and web. A bad file changes nothing.
    async fn reload(&mut self, asked: Option<u64>) {
        let problem = match read(&self.holdings.path) {
            Ok((text, config)) => {
                let old = std::mem::replace(&mut self.holdings.config, config);
                let text = std::mem::replace(&mut self.holdings.text, text);
                match self.settings_of_all() {
                    Ok(all) => {
                        self.log.set(self.holdings.config.admin.log);
                        self.blocklist.configure(&self.holdings.config);
                        for (role, settings) in all {
                            let asked = asked.filter(|_| role == Role::Signal);
                            let sent = self.send_settings(role, asked, &settings).await;
                            sent.unwrap_or_else(|e| tracing::error!("{e}"));
                        }
                        return;
                    }
                    Err(why) => {
                        self.holdings.config = old;
                        self.holdings.text = text;
                        why.reason
                    }
                }
            }
            Err(why) => why.reason,
        };
        match asked {
            None => tracing::error!("the configuration stays as it was: {problem}"),
            Some(asked) => {
                let bad = ToRole::BadSettings { asked, problem };
                self.send(Role::Signal, &bad, &[]).await;
            }
        }
    }

    /// Serves until a signal says stop.
    pub async fn attend(mut self) -> Result<(), Fatal> {
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| os("signals", e))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| os("signals", e))?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(|e| os("signals", e))?;
        let mut probe = signal(SignalKind::user_defined1()).map_err(|e| os("signals", e))?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let due = self.due();
            let at = due.map_or_else(Instant::now, |(at, _)| at);
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => self.reload(None).await,
                _ = probe.recv() => {
                    for role in Role::ALL {
                        self.send(role, &ToRole::Probe, &[]).await;
                    }
                }
                _ = look.tick() => self.blocklist.look(),
                Some(heard) = self.heard.recv() => {
                    // Said by the role itself, and by its death.
                    let _ = self.on_heard(heard).await;
                }
                () = sleep_until(at), if due.is_some() => {
                    if let Some((_, role)) = due {
                        self.restart(role).await;
                    }
                }
            }
        }
        self.stop().await;
        Ok(())
    }

    /// Ends all roles: signal first, which says goodbye and writes what is unwritten.
    async fn stop(&mut self) {
        for role in Role::ALL.into_iter().rev() {
            self.send(role, &ToRole::Stop, &[]).await;
            let Some(running) = self.running.get(&role) else {
                continue;
            };
            let start = running.start;
            let gone = async {
                while let Some(heard) = self.heard.recv().await {
                    if heard.role == role && heard.start == start && heard.what.is_err() {
                        return;
                    }
                }
            };
            if timeout(ENDED_WITHIN, gone).await.is_err() {
                tracing::error!("{} does not end: killed", role.name());
            }
            if let Some(mut running) = self.running.remove(&role) {
                kill(&running.process);
                let _ = running.process.wait();
            }
        }
    }
}

/// A new pair for a line: of packets, but for the operator's lines.
fn pair(line: Line) -> std::io::Result<(OwnedFd, OwnedFd)> {
    match line {
        Line::Operator => UnixStream::pair().map(|(one, two)| (one.into(), two.into())),
        Line::Datagrams(_) | Line::Requests | Line::Ports(_) | Line::Media(_) | Line::Ng => {
            Channel::pair().map(|(one, two)| (one.into_fd(), two.into_fd()))
        }
    }
}

/// Reads and checks the file and what it names.
pub fn read(path: &Path) -> Result<(String, Config), Fatal> {
    let config = files::read_config(path)?;
    files::load_tls(&config)?;
    files::web_token(&config)?;
    files::secrets(&config)?;
    codec_plugin::check(&config)?;
    let text = std::fs::read_to_string(path)
        .map_err(|e| Fatal::new(EX_CANTCREAT, format!("{}: {e}", path.display())))?;
    Ok((text, config))
}

fn kill(process: &Child) {
    let pid = i32::try_from(process.id()).map(nix::unistd::Pid::from_raw);
    if let Ok(pid) = pid {
        // It is gone, or goes now; it is waited for either way.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}

/// This very program, though its file may have been replaced meanwhile.
fn executable() -> Result<PathBuf, Fatal> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    // FreeBSD: sysctl(3) kern.proc.pathname. After an upgrade in place it is the new program, whose
    // hello is refused if its messages are of another version.
    std::env::current_exe().map_err(|e| os("cannot find my own program", e))
}

/// Hears a role to its end.
async fn listen(role: Role, start: u64, channel: Arc<AsyncChannel>, tell: mpsc::Sender<Heard>) {
    loop {
        let what = channel.receive().await;
        let over = what.is_err();
        if tell.send(Heard { role, start, what }).await.is_err() || over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_know_the_same_lines() {
        for role in Role::ALL {
            for (line, other) in lines(role, 3) {
                assert!(lines(other, 3).contains(&(line, role)), "{line:?}");
            }
        }
        assert_eq!(lines(Role::Net, 2).len(), 6);
        assert_eq!(lines(Role::Web, 2).len(), 1);
    }
}
