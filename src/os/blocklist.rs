//! Tells blocklistd(8) of our bans, so that the host's firewall drops what we would drop anyway.
//! FreeBSD 14 calls it blacklistd(8); both speak alike.
//!
//! One datagram to its socket for each listener of the source's address family: a header, the
//! source as a `sockaddr_storage`, a text, and the listener's descriptor beside it, by which the
//! daemon learns port and protocol (contrib/blocklist/lib/bl.c, bl_send; bin/blocklistd.c, process
//! and getremoteaddress; bin/conf.c, conf_find). A descriptor of the other family would abort the
//! daemon (conf_addr_set), so it never gets one. The library of base is not linked: it is one
//! function, its name differs between 14 and 15, and no stub of it exists for cross builds.
//!
//! A ban is BL_ABUSE: we have counted already, so the daemon shall not count again. A ban that is
//! lifted is BL_DELETE; one that ends by time is ended by the daemon's own clock. An IPv6 source is
//! a /64: the daemon's rule says so by a name such as `*/64`.
//!
//! Who runs this has the right to connect: the only process, or the monitor. What signal asks of
//! the monitor is held against the configuration and a budget, since signal parses the network.

use crate::config::{self, Config, IpNet};
use crate::os::node::Bound;
use crate::os::sys;
use crate::store::Record;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Where the daemon listens: FreeBSD 15, then 14 (include/bl.h, _PATH_BLSOCK, of either).
pub const SOCKETS: [&str; 2] = ["/var/run/blocklistd.sock", "/var/run/blacklistd.sock"];
/// Notices that wait for the daemon.
pub const WAITING_MAX: usize = 256;
/// Notices between two calls of [`Blocklist::look`].
pub const BUDGET: u32 = 256;

/// bl.c, BL_VERSION.
const BL_VERSION: u32 = 1;
/// bl.h, bl_type_t.
const BL_DELETE: u32 = 2;
const BL_ABUSE: u32 = 3;
/// Four numbers of 32 bits: length of all, version, type, length of the address.
const HEADER_BYTES: usize = 16;
/// sizeof(struct sockaddr_storage): RFC 3493 leaves it open, both systems have 128.
const STORAGE_BYTES: usize = 128;
/// What the daemon reads in its log.
const TEXT: &[u8] = b"voipd: too many wrong passwords";

/// What the guard decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Notice {
    /// The source is shut out.
    Ban(IpAddr),
    /// The operator let it in again.
    Lift(IpAddr),
}

impl Notice {
    /// What a record of the guard says to the daemon.
    pub fn of(record: &Record) -> Option<Self> {
        match record {
            // A packet filter knows addresses only: one name of a source is ours to refuse.
            Record::PutBan(ban) if ban.user.is_none() => Some(Notice::Ban(ban.source)),
            Record::DeleteBan { source, user: None } => Some(Notice::Lift(*source)),
            _ => None,
        }
    }

    fn source(self) -> IpAddr {
        match self {
            Notice::Ban(ip) | Notice::Lift(ip) => ip,
        }
    }
}

/// One listener, as the daemon is shown it.
#[derive(Debug)]
struct Door {
    ipv6: bool,
    socket: OwnedFd,
}

/// The way to the daemon.
#[derive(Debug)]
pub struct Blocklist {
    paths: Vec<PathBuf>,
    exempt: Vec<IpNet>,
    doors: Vec<Door>,
    socket: Option<UnixDatagram>,
    /// Whether the log was told that the daemon is not there.
    missed: bool,
    waiting: VecDeque<Notice>,
    /// Doors that already know of the first that waits.
    shown: usize,
    budget: u32,
}

impl Blocklist {
    /// For these listeners. Nothing is connected before there is something to tell.
    pub fn new(config: &Config, bound: &[Bound]) -> io::Result<Self> {
        let door = |bound: &Bound| {
            let socket = bound.sockets().first()?;
            Some(socket.try_clone().map(|socket| Door {
                ipv6: bound.address.is_ipv6(),
                socket,
            }))
        };
        let doors: io::Result<_> = bound.iter().filter_map(door).collect();
        let mut blocklist = Self {
            paths: Vec::new(),
            exempt: Vec::new(),
            doors: doors?,
            socket: None,
            missed: false,
            waiting: VecDeque::new(),
            shown: 0,
            budget: BUDGET,
        };
        blocklist.configure(config);
        Ok(blocklist)
    }

    /// The configuration was read again; listeners stay.
    pub fn configure(&mut self, config: &Config) {
        let paths = match &config.guard.blocklist {
            config::Blocklist::Auto => SOCKETS.iter().map(PathBuf::from).collect(),
            config::Blocklist::Off => Vec::new(),
            config::Blocklist::Socket(path) => vec![path.clone()],
        };
        if paths != self.paths {
            self.socket = None;
            self.missed = false;
            self.paths = paths;
        }
        let exempt = config.guard.exempt.iter().chain(&config.sip.trusted);
        self.exempt = exempt.copied().collect();
    }

    /// Tells the daemon now, or when it has room. While it does not run nothing waits for it.
    pub fn tell(&mut self, notice: Notice) {
        if self.paths.is_empty() || !self.may(notice) {
            return;
        }
        let Some(left) = self.budget.checked_sub(1) else {
            return tracing::debug!("blocklistd is not told of {notice:?}: too many at a time");
        };
        self.budget = left;
        if self.waiting.len() >= WAITING_MAX {
            self.drop_first();
        }
        self.waiting.push_back(notice);
        self.flush();
    }

    /// Now and then: tries again, and allows further notices.
    pub fn look(&mut self) {
        self.budget = BUDGET;
        self.flush();
    }

    /// Who is never to be shut out, and what is no host, is not told, whoever asks.
    fn may(&self, notice: Notice) -> bool {
        let ip = notice.source().to_canonical();
        let is_host = !ip.is_unspecified() && !ip.is_multicast();
        let exempt = matches!(notice, Notice::Ban(_)) && self.exempt.iter().any(|n| n.contains(ip));
        is_host && !exempt
    }

    fn drop_first(&mut self) {
        self.waiting.pop_front();
        self.shown = 0;
    }

    fn flush(&mut self) {
        while let Some(notice) = self.waiting.front().copied() {
            match self.show(notice) {
                Ok(()) => self.drop_first(),
                // It reads later: all it was not shown waits.
                Err(e) if is_full(&e) => return,
                Err(error) => {
                    self.missing(&error);
                    self.waiting.clear();
                    self.shown = 0;
                }
            }
        }
    }

    /// Sends a notice for each door that it was not sent for yet.
    fn show(&mut self, notice: Notice) -> io::Result<()> {
        let message = message(notice);
        let ipv6 = notice.source().is_ipv6();
        while let Some(door) = self.doors.get(self.shown) {
            if door.ipv6 == ipv6 {
                let fd = door.socket.as_raw_fd();
                let connected = match &self.socket {
                    Some(socket) => send(socket, &message, fd),
                    None => Err(ErrorKind::NotConnected.into()),
                };
                match connected {
                    Err(e) if !is_full(&e) => {
                        // It was started, or started anew.
                        self.socket = None;
                        let socket = connect(&self.paths)?;
                        send(&socket, &message, fd)?;
                        self.socket = Some(socket);
                        self.missed = false;
                        tracing::info!("blocklistd is told of bans");
                    }
                    result => result?,
                }
            }
            self.shown += 1;
        }
        Ok(())
    }

    fn missing(&mut self, error: &io::Error) {
        self.socket = None;
        let (first, named) = (!self.missed, self.paths.len() == 1);
        self.missed = true;
        if first && named {
            tracing::warn!("blocklistd is not told of bans: {error}; is it running?");
        } else if first {
            tracing::debug!("blocklistd does not run: {error}");
        }
    }
}

/// The daemon's socket holds no more now (unix(4): ENOBUFS; unix(7): EAGAIN).
fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// The first of the sockets that somebody listens at.
fn connect(paths: &[PathBuf]) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    sys::set_nonblocking(&socket)?;
    let mut outcome = Err(io::Error::from(ErrorKind::NotFound));
    for path in paths {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        outcome = socket.connect(path).map_err(named);
        if outcome.is_ok() {
            break;
        }
    }
    outcome.map(|()| socket)
}

fn send(socket: &UnixDatagram, message: &[u8], door: i32) -> io::Result<()> {
    let (part, doors) = ([IoSlice::new(message)], [door]);
    let rights = [ControlMessage::ScmRights(&doors)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &part, &rights, flags, None)?;
    Ok(())
}

/// The datagram, in the host's byte order, as its receiver is on this host.
fn message(notice: Notice) -> Vec<u8> {
    let (kind, source) = match notice {
        Notice::Ban(source) => (BL_ABUSE, source),
        Notice::Lift(source) => (BL_DELETE, source),
    };
    let (storage, address_bytes) = storage(source);
    let length = (HEADER_BYTES + STORAGE_BYTES + TEXT.len()) as u32;
    let header = [length, BL_VERSION, kind, address_bytes];
    let mut bytes: Vec<u8> = header.iter().flat_map(|n| n.to_ne_bytes()).collect();
    bytes.extend(storage);
    bytes.extend(TEXT);
    bytes
}

/// A `sockaddr_in` or `sockaddr_in6` without port, and its length (ip(4), ip6(4), ip(7), ipv6(7)).
fn storage(ip: IpAddr) -> ([u8; STORAGE_BYTES], u32) {
    let (family, length, at) = match ip {
        IpAddr::V4(_) => (libc::AF_INET, size_of::<libc::sockaddr_in>(), 4),
        IpAddr::V6(_) => (libc::AF_INET6, size_of::<libc::sockaddr_in6>(), 8),
    };
    let mut bytes = [0; STORAGE_BYTES];
    // BSD has the length in the first octet, the family in the second.
    let head = match cfg!(target_os = "freebsd") {
        true => [length as u8, family as u8],
        false => (family as u16).to_ne_bytes(),
    };
    bytes[..2].copy_from_slice(&head);
    match ip {
        IpAddr::V4(ip) => bytes[at..at + 4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes[at..at + 16].copy_from_slice(&ip.octets()),
    }
    (bytes, length as u32)
}

#[cfg(test)]
mod tests;
