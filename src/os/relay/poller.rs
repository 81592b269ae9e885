//! Waits for readiness of many sockets: epoll(7) on Linux, kqueue(2) elsewhere. No more than the
//! relay needs: level-triggered reading, and a 32-bit token per descriptor.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// The most descriptors that one wait reports.
pub const READY_MAX: usize = 256;

#[cfg(target_os = "linux")]
type Event = libc::epoll_event;
#[cfg(not(target_os = "linux"))]
type Event = libc::kevent;

/// A set of descriptors, and room for what is ready.
pub struct Poller {
    queue: Queue,
    ready: Vec<Event>,
}

/// The set of a poller, to take descriptors out from another thread.
#[derive(Clone, Debug)]
pub struct Queue(Arc<OwnedFd>);

// SAFETY: a kevent's user data is a pointer, which alone keeps the type from being sent; we store
// none there, and nobody follows it.
#[cfg(not(target_os = "linux"))]
unsafe impl Send for Poller {}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Poller({})", self.queue.raw())
    }
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just made the descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn checked(result: libc::c_int) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

impl Poller {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Queue(Arc::new(make()?)),
            ready: Vec::with_capacity(READY_MAX),
        })
    }

    /// Its set.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Whether this is its set.
    pub fn is(&self, queue: &Queue) -> bool {
        Arc::ptr_eq(&self.queue.0, &queue.0)
    }
}

impl Queue {
    fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(target_os = "linux")]
fn make() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

#[cfg(not(target_os = "linux"))]
fn make() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    owned(unsafe { libc::kqueue() })
}

#[cfg(target_os = "linux")]
impl Queue {
    /// Takes a descriptor out without closing it.
    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        let none = std::ptr::null_mut();
        // SAFETY: this operation reads no event (epoll_ctl(2), since Linux 2.6.9).
        checked(unsafe { libc::epoll_ctl(self.raw(), libc::EPOLL_CTL_DEL, fd, none) })?;
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl Queue {
    /// Takes a descriptor out without closing it.
    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.change(fd, libc::EV_DELETE, 0)
    }

    fn change(&self, fd: RawFd, flags: u16, token: u32) -> io::Result<()> {
        // SAFETY: all bytes zero is a valid event.
        let mut change: libc::kevent = unsafe { std::mem::zeroed() };
        change.ident = fd as libc::uintptr_t;
        change.filter = libc::EVFILT_READ;
        change.flags = flags;
        change.udata = token as usize as *mut libc::c_void;
        let (nothing, at_once) = (std::ptr::null_mut(), std::ptr::null());
        // SAFETY: one change that outlives the call, and no room for events.
        checked(unsafe { libc::kevent(self.raw(), &raw const change, 1, nothing, 0, at_once) })?;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl Poller {
    /// Adds a descriptor. Closing it takes it out.
    pub fn add(&self, fd: RawFd, token: u32) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: u64::from(token),
        };
        let queue = self.queue.raw();
        // SAFETY: the event outlives the call, which copies it.
        checked(unsafe { libc::epoll_ctl(queue, libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    /// Waits until something is ready or `timeout` is over; `None` waits for ever. How many are.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        // Rounded up, so that a timer is due when the wait ends.
        let ms = timeout.map_or(-1, |t| {
            let ms = t.as_nanos().div_ceil(1_000_000);
            libc::c_int::try_from(ms).unwrap_or(libc::c_int::MAX)
        });
        let room = self.ready.as_mut_ptr();
        let queue = self.queue.raw();
        // SAFETY: `ready` has room for READY_MAX events; those written are plain values.
        unsafe {
            let result = libc::epoll_wait(queue, room, READY_MAX as libc::c_int, ms);
            let n = checked(result)?;
            self.ready.set_len(n.min(READY_MAX));
        }
        Ok(self.ready.len())
    }

    /// The token of the `at`th ready descriptor.
    pub fn token(&self, at: usize) -> Option<u32> {
        self.ready.get(at).map(|event| event.u64 as u32)
    }
}

#[cfg(not(target_os = "linux"))]
impl Poller {
    /// Adds a descriptor. Closing it takes it out.
    pub fn add(&self, fd: RawFd, token: u32) -> io::Result<()> {
        self.queue.change(fd, libc::EV_ADD, token)
    }

    /// Waits until something is ready or `timeout` is over; `None` waits for ever. How many are.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let limit = timeout.map(|t| libc::timespec {
            tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: t.subsec_nanos() as libc::c_long,
        });
        let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let room = self.ready.as_mut_ptr();
        let queue = self.queue.raw();
        // SAFETY: `ready` has room for READY_MAX events; those written are plain values.
        unsafe {
            let most = READY_MAX as libc::c_int;
            let n = checked(libc::kevent(queue, std::ptr::null(), 0, room, most, limit))?;
            self.ready.set_len(n.min(READY_MAX));
        }
        Ok(self.ready.len())
    }

    /// The token of the `at`th ready descriptor.
    pub fn token(&self, at: usize) -> Option<u32> {
        self.ready.get(at).map(|event| event.udata as usize as u32)
    }
}
