//! A line that is a Unix socket: SOCK_SEQPACKET (unix(4), unix(7)), one unit a message. Both ends
//! keep their own time ([`crate::pri::Clocking::Own`]), as two exchanges without a common clock do.

use super::port::{Brought, Line};
use crate::base::Instant;
use crate::pri::{UNIT_BYTES, Unit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// Room for as many units as the kernel module's deepest ring holds, and what the system adds to
/// each message.
const SOCKET_BUFFER_BYTES: usize = 256 * 1024;

/// What such a line counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PairCounters {
    /// Units that the far end did not fetch, so that there was no room.
    pub refused: u64,
    /// Messages that are no unit.
    pub malformed: u64,
}

/// One end.
#[derive(Debug)]
pub struct PairLine {
    fd: AsyncFd<OwnedFd>,
    counters: PairCounters,
}

/// Both ends of a line, not registered with a runtime yet.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let ends = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    for end in [&ends.0, &ends.1] {
        setsockopt(end, sockopt::SndBuf, &SOCKET_BUFFER_BYTES)?;
        setsockopt(end, sockopt::RcvBuf, &SOCKET_BUFFER_BYTES)?;
    }
    Ok(ends)
}

impl PairLine {
    /// Takes over a non-blocking end. Inside a runtime only.
    #[allow(unsafe_code)]
    pub fn new(end: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            // SAFETY: an `OwnedFd` always names the same open file, and nobody takes it out.
            fd: unsafe { AsyncFd::register(end) }?,
            counters: PairCounters::default(),
        })
    }

    /// What was counted.
    pub fn counters(&self) -> PairCounters {
        self.counters
    }
}

impl Line for PairLine {
    fn receive(&mut self, _now: Instant) -> io::Result<Option<Brought>> {
        // One byte more than a unit: a longer message is cut, and seen.
        let mut bytes = [0; UNIT_BYTES + 1];
        loop {
            match recv(self.fd.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                Ok(0) => return Ok(Some(Brought::Gone)),
                Ok(count) => match bytes.get(..count).and_then(Unit::from_slice) {
                    Some(unit) => return Ok(Some(Brought::Unit(unit))),
                    None => self.counters.malformed += 1,
                },
                Err(error) => return none_or_gone(error.into()),
            }
        }
    }

    fn send(&mut self, _now: Instant, unit: &Unit) -> io::Result<()> {
        // FreeBSD ends a record where MSG_EOR says so, Linux with each call.
        let flags = MsgFlags::MSG_EOR | MsgFlags::MSG_NOSIGNAL;
        match send(self.fd.as_raw_fd(), unit.bytes(), flags).map_err(io::Error::from) {
            Ok(_) => {}
            Err(error) if is_full(&error) => self.counters.refused += 1,
            // The end is told by `receive`, once what still waits there was read.
            Err(error) if is_closed(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn ready(&mut self) -> io::Result<()> {
        // Cleared before what waits is read, to the last: what comes later raises it anew.
        self.fd.readable().await?.clear_ready();
        Ok(())
    }
}

fn none_or_gone(error: io::Error) -> io::Result<Option<Brought>> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(None),
        _ if is_closed(&error) => Ok(Some(Brought::Gone)),
        _ => Err(error),
    }
}

fn is_closed(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionReset | BrokenPipe | NotConnected)
}

/// FreeBSD before 15 may say EMSGSIZE where a SOCK_SEQPACKET has no room (told where
/// sys/kern/uipc_usrreq.c got them), and ENOBUFS where the peer's buffer has none.
fn is_full(error: &io::Error) -> bool {
    let full = cfg!(target_os = "freebsd") && error.raw_os_error() == Some(libc::EMSGSIZE);
    full || error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}
