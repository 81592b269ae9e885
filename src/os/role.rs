//! The daemon's processes besides the monitor (DESIGN §3): each is this very program, executed
//! again with its role, and descriptor 3 as its pair with the monitor. A role takes what it is
//! given, gives up its rights, enters its sandbox, and serves until the monitor says stop or is
//! gone.

#![allow(unsafe_code)]

mod media;
mod net;
mod signal;
mod web;

use super::daemon::{EX_NOPERM, EX_OSERR, EX_SOFTWARE, EX_USAGE, Fatal, RunAs};
use super::ipc::{
    AsyncChannel, Channel, Hello, IpcError, Line, Role, Settings, ToMonitor, ToRole, decode,
};
use super::log::{Log, Target};
use super::netmap::ready::Interface;
use super::node::Bound;
use super::service::runtime;
use super::spool::Roots;
use super::{sandbox, sys};
use crate::base::Transport;
use crate::config::Config;
use nix::sys::signal::{SigHandler, Signal};
use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

/// Where the monitor puts the role's end of their pair.
pub const MONITOR_FD: RawFd = 3;
/// The longest encoded settings: a configuration of 4 MiB, certificates and roots.
pub const SETTINGS_BYTES_MAX: usize = 16 << 20;

/// What a role gets before it starts.
struct Boot {
    channel: Channel,
    settings: Settings,
    /// Looked up while the root directory is the system's.
    user: Option<RunAs>,
    config: Config,
    log: Log,
    listeners: Vec<Bound>,
    control: Option<OwnedFd>,
    /// The socket of the ng protocol, and where it is bound.
    ng: Option<(SocketAddr, OwnedFd)>,
    /// For media: where files are.
    roots: Roots,
    /// For media: the card of the fast path.
    card: Option<(Interface, Vec<OwnedFd>)>,
    /// For media: where next hops are asked for.
    hops: Option<Channel>,
    lines: Vec<(Line, Channel)>,
}

/// Runs a role by its name to its end.
pub fn run(name: &str) -> Result<(), Fatal> {
    let by_hand = || Fatal::new(EX_USAGE, "--role is what voipd tells its own processes");
    let role = Role::parse(name).ok_or_else(by_hand)?;
    let channel = inherited().ok_or_else(by_hand)?;
    // A terminal and a service manager send these to the whole group; the monitor decides.
    for number in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        // SAFETY: ignoring a signal runs no code of ours.
        let _ = unsafe { nix::sys::signal::signal(number, SigHandler::SigIgn) };
    }
    let told = channel.try_clone().map_err(ipc)?;
    match serve(role, channel) {
        Ok(()) => Ok(()),
        Err(why) => {
            tracing::error!("{name}: {why}");
            // The monitor may be gone.
            let _ = told.set_nonblocking(true);
            let _ = told.send(&ToMonitor::Failed(why.code, why.reason.clone()), &[]);
            Err(why)
        }
    }
}

fn serve(role: Role, channel: Channel) -> Result<(), Fatal> {
    let boot = Boot::gather(role, channel)?;
    match role {
        Role::Net => net::run(boot),
        Role::Media => media::run(boot),
        Role::Signal => signal::run(boot),
        Role::Web => web::run(boot),
    }
}

fn ipc(error: impl std::fmt::Display) -> Fatal {
    Fatal::new(EX_SOFTWARE, format!("from the monitor: {error}"))
}

/// Descriptor 3, if it is what it should be.
fn inherited() -> Option<Channel> {
    // SAFETY: a descriptor that is not open is only asked about; nobody else owns this one.
    let flags = unsafe { libc::fcntl(MONITOR_FD, libc::F_GETFD) };
    if flags < 0 {
        return None;
    }
    // SAFETY: as above; the flag is plain.
    unsafe { libc::fcntl(MONITOR_FD, libc::F_SETFD, flags | libc::FD_CLOEXEC) };
    // SAFETY: open, and ours alone: this runs once, at the start of the program.
    let fd = unsafe { OwnedFd::from_raw_fd(MONITOR_FD) };
    let kind = socket2::SockRef::from(&fd).r#type().ok();
    if kind == Some(socket2::Type::SEQPACKET) {
        return Some(Channel::from_fd(fd));
    }
    // Somebody else's: left open.
    std::mem::forget(fd);
    None
}

impl Boot {
    /// Says hello and takes what comes up to `Start`.
    fn gather(role: Role, channel: Channel) -> Result<Self, Fatal> {
        let hello = ToMonitor::Hello(Hello::new(role));
        channel.send(&hello, &[]).map_err(ipc)?;
        match channel.receive().map_err(ipc)? {
            (ToRole::Hello(hello), _) => hello.check(role).map_err(ipc)?,
            _ => return Err(ipc(IpcError::Malformed("no hello"))),
        }
        let (mut parts, mut listeners) = (Vec::new(), Vec::new());
        let (mut control, mut ng, mut lines) = (None, None, Vec::new());
        let mut roots = Roots::default();
        let (mut card, mut hops) = (None, None);
        loop {
            let (message, mut fds): (ToRole, Vec<OwnedFd>) = channel.receive().map_err(ipc)?;
            if let ToRole::Card(interface) = message {
                let (_, cards) = card.get_or_insert_with(|| (interface, Vec::new()));
                cards.append(&mut fds);
                continue;
            }
            let fd = fds.pop();
            match (message, fd) {
                (ToRole::Settings { bytes, .. }, None) => collect(&mut parts, bytes)?,
                (
                    ToRole::Listener {
                        transport, address, ..
                    },
                    Some(fd),
                ) => listeners.push((transport, address, fd)),
                (ToRole::Control, Some(fd)) => control = Some(fd),
                (ToRole::Ng(address), Some(fd)) => ng = Some((address, fd)),
                (ToRole::Directory(root), Some(fd)) => roots.set(root, fd),
                (ToRole::Hops, Some(fd)) => hops = Some(Channel::from_fd(fd)),
                (ToRole::Line(line), Some(fd)) => lines.push((line, Channel::from_fd(fd))),
                (ToRole::Start, None) => break,
                (ToRole::Stop, None) => return Err(ipc("stopped before the start")),
                _ => return Err(ipc(IpcError::Malformed("unexpected before the start"))),
            }
        }
        let settings: Settings = decode(&parts).map_err(ipc)?;
        let mut config = parse(&settings)?;
        let plugin = &mut config.services.g729_plugin;
        plugin.clone_from(&settings.codec_plugin);
        let target = match settings.syslog {
            true => Target::Syslog,
            false => Target::StandardError,
        };
        if settings.syslog {
            sys::open_syslog();
        }
        Ok(Self {
            channel,
            log: Log::start(target, config.admin.log),
            user: settings.user.as_deref().map(RunAs::find).transpose()?,
            settings,
            config,
            listeners: bound(listeners),
            control,
            ng,
            roots,
            card,
            hops,
            lines,
        })
    }

    /// Gives up root's rights, and sees that this process ends with the monitor.
    fn drop_rights(&self) -> Result<(), Fatal> {
        if let Some(user) = &self.user {
            user.become_user()?;
        }
        sys::die_with_parent(self.settings.pid)
            .map_err(|e| Fatal::new(EX_OSERR, format!("parent: {e}")))
    }
}

/// Adds a part of encoded settings.
fn collect(parts: &mut Vec<u8>, bytes: Vec<u8>) -> Result<(), Fatal> {
    if parts.len() + bytes.len() > SETTINGS_BYTES_MAX {
        return Err(ipc(IpcError::Malformed("settings without end")));
    }
    parts.extend(bytes);
    Ok(())
}

/// The configuration, which the monitor has checked.
fn parse(settings: &Settings) -> Result<Config, Fatal> {
    let parsed = Config::parse(&settings.text, &settings.path).map_err(ipc)?;
    Ok(parsed
        .with_host_name(&settings.host_name)
        .with_timezone(&settings.timezone))
}

/// One listener for each run of the same address: the monitor keeps the order.
fn bound(sockets: Vec<(Transport, SocketAddr, OwnedFd)>) -> Vec<Bound> {
    let mut all: Vec<(Transport, SocketAddr, Vec<OwnedFd>)> = Vec::new();
    for (transport, address, fd) in sockets {
        match all.last_mut() {
            Some((t, a, fds)) if (*t, *a) == (transport, address) => fds.push(fd),
            _ => all.push((transport, address, vec![fd])),
        }
    }
    let inherited = |(transport, address, fds)| Bound::inherited(transport, address, fds);
    all.into_iter().map(inherited).collect()
}

/// The descriptor of a line that comes while the role serves, with the rights that it needs.
fn line(mut fds: Vec<OwnedFd>) -> Result<Channel, Fatal> {
    let none = IpcError::Malformed("a line without descriptor");
    let fd = fds.pop().ok_or(none).map_err(ipc)?;
    sandbox::confine(fd.as_fd()).map_err(ipc)?;
    Ok(Channel::from_fd(fd))
}

fn enter(role: Role, roots: &Roots) -> Result<(), Fatal> {
    sandbox::enter(role, roots).map_err(|e| Fatal::new(EX_NOPERM, format!("sandbox: {e}")))
}

/// What every role does with a message that is not its own.
async fn on_common(monitor: &AsyncChannel, message: ToRole, log: &Log) -> Result<(), IpcError> {
    match message {
        ToRole::LogLevel(level) => {
            if let Ok(level) = level.parse() {
                log.set(level);
            }
            Ok(())
        }
        ToRole::Probe => Ok(monitor
            .send(&ToMonitor::Probed(sandbox::probe()), &[])
            .await?),
        ToRole::Hello(_)
        | ToRole::Settings { .. }
        | ToRole::BadSettings { .. }
        | ToRole::Listener { .. }
        | ToRole::Control
        | ToRole::Ng(_)
        | ToRole::Directory(_)
        | ToRole::Card(_)
        | ToRole::Hops
        | ToRole::Line(_)
        | ToRole::Ports { .. }
        | ToRole::Relays(_)
        | ToRole::Start
        | ToRole::Stop => Err(IpcError::Malformed("unexpected")),
    }
}
