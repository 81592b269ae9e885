//! The few system calls that no crate wraps.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

/// Sets a boolean socket option.
pub fn set_flag(fd: RawFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int that outlives the call, and its size is told.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            option,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Writes one line to syslog(3) as the facility `daemon`.
pub fn syslog(priority: libc::c_int, text: &[u8]) {
    let text: Vec<u8> = text.iter().copied().filter(|&b| b != 0).collect();
    let Ok(text) = std::ffi::CString::new(text) else {
        return;
    };
    // SAFETY: both strings end in zero and outlive the call; the format takes one string.
    unsafe { libc::syslog(priority | libc::LOG_DAEMON, c"%s".as_ptr(), text.as_ptr()) };
}

/// Names this process in syslog, and connects to it before rights are dropped.
pub fn open_syslog() {
    // SAFETY: the name is static, as openlog(3) demands, since it keeps the pointer.
    unsafe {
        libc::openlog(
            c"voipd".as_ptr(),
            libc::LOG_PID | libc::LOG_NDELAY,
            libc::LOG_DAEMON,
        );
    }
}

/// Forks; `true` in the child. Only while the process has a single thread.
pub fn fork() -> io::Result<bool> {
    // SAFETY: called before any thread is started, so no lock can be held by a thread that the
    // child lacks.
    match unsafe { nix::unistd::fork() } {
        Ok(nix::unistd::ForkResult::Child) => Ok(true),
        Ok(nix::unistd::ForkResult::Parent { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Sees that this process ends with its parent, even if that is killed. After rights are dropped:
/// Linux forgets it when the effective user changes (prctl(2), PR_SET_PDEATHSIG). FreeBSD:
/// procctl(2), PROC_PDEATHSIG_CTL.
pub fn die_with_parent(parent: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // SAFETY: takes no pointers.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    #[cfg(target_os = "freebsd")]
    let result = {
        let mut number: libc::c_int = libc::SIGKILL;
        // SAFETY: the signal's number outlives the call, which reads it only; 0 is ourselves.
        unsafe {
            libc::procctl(
                libc::P_PID,
                0,
                libc::PROC_PDEATHSIG_CTL,
                (&raw mut number).cast(),
            )
        }
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // It may have ended before.
    match nix::unistd::getppid().as_raw() as u32 == parent {
        true => Ok(()),
        false => Err(io::Error::other("it is gone")),
    }
}

/// Lets no call on the socket wait. By fcntl(2): the standard library's way is an ioctl(2), which a
/// descriptor with limited rights refuses (rights(4)).
pub fn set_nonblocking(socket: impl std::os::fd::AsFd) -> io::Result<()> {
    socket2::SockRef::from(&socket).set_nonblocking(true)
}

/// Has a program that is about to be started begin with `fd` as its descriptor `at`, and with no
/// other but the standard ones.
pub fn give(command: &mut std::process::Command, fd: RawFd, at: RawFd) {
    use std::os::unix::process::CommandExt;
    let place = move || {
        // SAFETY: both calls are async-signal-safe (signal-safety(7)) and take no pointers.
        let result = unsafe {
            match fd == at {
                true => libc::fcntl(fd, libc::F_SETFD, 0),
                false => libc::dup2(fd, at),
            }
        };
        match result {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure allocates nothing and takes no lock.
    unsafe { command.pre_exec(place) };
}

/// Whether something keeps the clock right: ntp_adjtime(2) says TIME_ERROR while nothing does.
/// `None` if it says nothing at all.
pub fn clock_kept() -> Option<bool> {
    /// sys/timex.h, on both systems.
    const TIME_ERROR: libc::c_int = 5;
    // SAFETY: all of the structure are numbers, and zero is one.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `modes` is 0, so the call only writes into the structure, which is ours.
    match unsafe { libc::ntp_adjtime(&raw mut clock) } {
        TIME_ERROR => Some(false),
        0.. => Some(true),
        _ => None,
    }
}

/// The version of landlock(7) that this kernel has, if it is in use.
#[cfg(target_os = "linux")]
pub fn landlock_version() -> Option<u32> {
    /// linux/landlock.h: asks for the version, and makes nothing.
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;
    let none = std::ptr::null::<libc::c_void>();
    let (call, flag) = (
        libc::SYS_landlock_create_ruleset,
        LANDLOCK_CREATE_RULESET_VERSION,
    );
    // SAFETY: with this flag the call takes no pointer.
    let version = unsafe { libc::syscall(call, none, 0_usize, flag) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Only Linux has it.
#[cfg(not(target_os = "linux"))]
pub fn landlock_version() -> Option<u32> {
    None
}
