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
