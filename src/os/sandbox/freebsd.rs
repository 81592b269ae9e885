//! FreeBSD: capability mode (cap_enter(2)) with the rights of every descriptor limited
//! (cap_rights_limit(2), rights(4)), its fcntl(2) commands and ioctl(2) requests too.
//!
//! | kind | why it has the rights that its constant below lists |
//! | --- | --- |
//! | standard streams: [`LOG`] | the log is written there |
//! | pair with another process: [`MESSAGES`] | messages, waiting for them, O_NONBLOCK |
//! | UDP listener: [`DATAGRAMS`] | receive; send only where the broker connected it |
//! | stream listener: [`STREAMS`] | accept; accepted ones inherit the rest (kern_accept4) |
//! | connection: [`STREAMS`] | TCP_NODELAY, keepalive, SO_ERROR, shutdown, names for flows |
//! | database: [`DATABASE`] | SQLite: pages, write-ahead log, its locks; the journal |
//! | directories: [`SPOOL`], [`PROMPTS`] | files below them |
//! | /dev/netmap | limited by its driver once the card is registered: see `freebsd::netmap` |
//! | kqueue, /dev/urandom | left as they are: no name and no peer is reached by them |
//!
//! What cap_enter forbids by itself (open by name, bind, connect, an address with send: ECAPMODE)
//! needs no row. No constant has CAP_IOCTL, without which every ioctl(2) is refused. What comes
//! later from the broker is limited as it comes. The broker does not enter: see [`super::enter`].

use crate::media::file::Root;
use crate::os::ipc::Role;
use crate::os::spool::Roots;
use capsicum::{CapRights, Fcntl, FcntlRights, FileRights, Right};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Descriptors looked at: more are not open before a role serves.
const LOOKED_AT: RawFd = 4096;

const MESSAGES: &[Right] = &[
    Right::Read,
    Right::Write,
    Right::Event,
    Right::Fcntl,
    Right::Fstat,
    Right::Getsockopt,
    Right::Setsockopt,
    Right::Getsockname,
];
const DATAGRAMS: &[Right] = &[
    Right::Read,
    Right::Write,
    Right::Event,
    Right::Fcntl,
    Right::Fstat,
    Right::Getsockopt,
    Right::Getsockname,
];
const STREAMS: &[Right] = &[
    Right::Read,
    Right::Write,
    Right::Event,
    Right::Fcntl,
    Right::Fstat,
    Right::Accept,
    Right::Shutdown,
    Right::Getsockopt,
    Right::Setsockopt,
    Right::Getsockname,
    Right::Getpeername,
];
const LOG: &[Right] = &[Right::Write, Right::Fstat, Right::Event];
const DATABASE: &[Right] = &[
    Right::Read,
    Right::Write,
    Right::Seek,
    Right::Pread,
    Right::Pwrite,
    Right::MmapRW,
    Right::Fcntl,
    Right::Fstat,
    Right::Fsync,
    Right::Ftruncate,
    Right::Flock,
];

/// Files below it are opened with these and no more (openat(2) gives what the directory has).
/// fstatfs is opendir(3)'s, seek pread(2)'s.
const SPOOL: &[Right] = &[
    Right::Lookup,
    Right::Read,
    Right::Write,
    Right::Seek,
    Right::Pread,
    Right::Pwrite,
    Right::Create,
    Right::Ftruncate,
    Right::Fsync,
    Right::Fstat,
    Right::Fstatfs,
    Right::Mkdirat,
    Right::RenameatSource,
    Right::RenameatTarget,
    Right::Unlinkat,
];
const PROMPTS: &[Right] = &[
    Right::Lookup,
    Right::Read,
    Right::Seek,
    Right::Pread,
    Right::Fstat,
    Right::Fstatfs,
];

pub(super) fn enter(role: Role, roots: &Roots) -> io::Result<()> {
    if role == Role::Net {
        return Ok(());
    }
    for number in 0..LOOKED_AT {
        // SAFETY: a number that is no open descriptor is only asked about, and nothing is closed
        // while this thread, the only one, runs here.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if let Some(rights) = rights(fd, number) {
            limit(fd, rights)?;
        }
    }
    for (root, fd) in roots.iter() {
        let rights = match root {
            Root::Spool => SPOOL,
            Root::Prompts => PROMPTS,
        };
        limit(fd, rights)?;
    }
    capsicum::enter()?;
    match capsicum::get_mode()? {
        true => Ok(()),
        false => Err(io::Error::other("capability mode was not entered")),
    }
}

/// Which row of the table a descriptor is of.
fn rights(fd: BorrowedFd<'_>, number: RawFd) -> Option<&'static [Right]> {
    // SAFETY: all bytes zero is a valid `stat`, which the call fills.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is ours and outlives the call.
    if unsafe { libc::fstat(number, &raw mut status) } != 0 {
        return None;
    }
    match status.st_mode & libc::S_IFMT {
        libc::S_IFREG if number > 2 => Some(DATABASE),
        libc::S_IFSOCK => {
            let socket = SockRef::from(&fd);
            let local = socket.local_addr().ok()?;
            match socket.r#type().ok()? {
                Type::SEQPACKET => Some(MESSAGES),
                Type::DGRAM if local.is_unix() => None,
                Type::DGRAM => Some(DATAGRAMS),
                _ => Some(STREAMS),
            }
        }
        _ if number <= 2 => Some(LOG),
        _ => None,
    }
}

fn limit(fd: BorrowedFd<'_>, allowed: &[Right]) -> io::Result<()> {
    let mut rights = FileRights::new();
    for &right in allowed {
        rights.allow(right);
    }
    rights.limit(&fd)?;
    if allowed.contains(&Right::Fcntl) {
        let mut commands = FcntlRights::new();
        commands.allow(Fcntl::GetFL).allow(Fcntl::SetFL);
        commands.limit(&fd)?;
    }
    Ok(())
}

/// Limits a descriptor that came later.
pub(super) fn confine(fd: BorrowedFd<'_>) -> io::Result<()> {
    match rights(fd, fd.as_raw_fd()) {
        Some(rights) => limit(fd, rights),
        None => Ok(()),
    }
}

/// The three that follow only the probe uses.
pub(super) fn bind(to: SocketAddr) -> io::Result<()> {
    Socket::new(Domain::IPV4, Type::DGRAM, None)?.bind(&SockAddr::from(to))
}

pub(super) fn connect(to: SocketAddr) -> io::Result<()> {
    Socket::new(Domain::IPV4, Type::DGRAM, None)?.connect(&SockAddr::from(to))
}

pub(super) fn send_to(to: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.send_to(b"probe", &SockAddr::from(to)).map(drop)
}
