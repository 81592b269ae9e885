//! The talk with a socket of route(4): a question, and among all that the kernel says the answer.
//!
//! The kernel only queues an answer within the write that asks (`rt_dispatch` in sys/net/rtsock.c
//! leaves it to the thread of netisr(9)): what is read at once is most likely nothing. What comes
//! goes to all sockets of route(4), so other programs' answers come, too.

use super::{Change, MESSAGE_BYTES_MAX, Way, change, is_answer, question, way};
use crate::os::clock::Clock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// How long an answer is waited for. Two questions fit into what a worker waits for a next hop
/// ([`crate::os::netmap::hop_line::ANSWERED_WITHIN`]).
pub const ANSWERED_WITHIN: Duration = Duration::from_millis(30);
/// The most messages that are read in search of an answer: others tell of changes.
const MESSAGES_MAX: usize = 1024;

/// The number of the process's next question: an answer goes to all sockets of a FIB, and says of
/// its question that number and the process alone.
static SEQUENCE: AtomicI32 = AtomicI32::new(1);

const _: () = {
    let patience = crate::os::netmap::hop_line::ANSWERED_WITHIN.as_millis();
    assert!(2 * ANSWERED_WITHIN.as_millis() < patience);
};

/// One socket, which must not block.
#[derive(Debug)]
pub struct RouteSocket<S> {
    socket: S,
    clock: Clock,
    pid: i32,
    changed: Change,
    /// [`ANSWERED_WITHIN`], or what a test waits.
    patience: Duration,
}

impl<S: AsFd + Debug> RouteSocket<S>
where
    for<'a> &'a S: Read + Write,
{
    /// By this socket, for the process itself.
    pub fn new(socket: S) -> Self {
        Self {
            socket,
            clock: Clock::new(),
            pid: nix::unistd::getpid().as_raw(),
            changed: Change::Nothing,
            patience: ANSWERED_WITHIN,
        }
    }

    /// Which way a packet to `to` would go: `None` if by no unicast route, an error of kind
    /// `TimedOut` if the kernel does not say within [`ANSWERED_WITHIN`].
    pub fn way(&mut self, to: IpAddr) -> io::Result<Option<Way>> {
        // Wraps around.
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        // Where there is no way the call itself says so.
        match (&self.socket).write_all(&question(to, sequence)) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            written => written?,
        }
        let answer = self.answer(sequence)?;
        Ok(way(&answer))
    }

    /// What changed since this was asked last.
    pub fn changed(&mut self) -> Change {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        for _ in 0..MESSAGES_MAX {
            match self.read(&mut bytes) {
                Ok(Some(length)) => self.note(bytes.get(..length).unwrap_or_default()),
                Ok(None) | Err(_) => break,
            }
        }
        std::mem::take(&mut self.changed)
    }

    /// The kernel's answer of this number; what it says besides is taken note of.
    fn answer(&mut self, sequence: i32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let asked = self.clock.now();
        for _ in 0..MESSAGES_MAX {
            if let Some(length) = self.read(&mut bytes)? {
                let message = bytes.get(..length).unwrap_or_default();
                if is_answer(message, sequence, self.pid) {
                    return Ok(message.to_vec());
                }
                self.note(message);
                continue;
            }
            let left = self.patience.saturating_sub(self.clock.now().since(asked));
            if left.is_zero() {
                break;
            }
            self.wait(left)?;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn note(&mut self, message: &[u8]) {
        self.changed = self.changed.max(change(message));
    }

    /// A message's length; `None`: there is none at the moment.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        for _ in 0..MESSAGES_MAX {
            match (&self.socket).read(bytes) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Some were lost: anything may have changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.changed = Change::Tables;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Until there is a message, a signal came, or the time is over.
    fn wait(&self, time: Duration) -> io::Result<()> {
        // The last one is not waited for in circles.
        let ms = u16::try_from(time.as_millis() + 1).unwrap_or(u16::MAX);
        let mut wait = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wait, PollTimeout::from(ms)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
