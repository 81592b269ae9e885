//! The devices of e1shim(4): opened by name, asked by ioctl(2). In capability mode nothing can be
//! opened by name: who runs there is given the descriptors, and [`Device`] takes over one.
//!
//! Numbers are checked by the kernel (sys/kern/sys_generic.c, sys_ioctl, copies as many bytes as
//! the request's number says, in and out), and by us before ([`crate::os::e1::control`]).

#![allow(unsafe_code)]

use crate::os::e1::abi;
use crate::os::e1::control::Ctl;
use crate::os::e1::device::DeviceLine;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where the module shows its devices.
pub const DIRECTORY: &str = "/dev/e1";

/// Whether calls wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// For a unit, an event, room.
    Yes,
    /// O_NONBLOCK: EAGAIN instead.
    No,
}

/// What a control device is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To look, and to change spans that are there.
    Look,
    /// To make and remove spans, too (EBADF otherwise).
    Make,
}

/// An open device of the module.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Opens /dev/e1/ctl.
    pub fn control(purpose: Purpose, waits: Waits) -> io::Result<Self> {
        open("ctl", purpose == Purpose::Make, waits).map(Self)
    }

    /// Opens /dev/e1/N.line: what is read goes out on the line, what is written came from it.
    pub fn line_side(number: u16) -> io::Result<Self> {
        open(&format!("{number}.line"), true, Waits::No).map(Self)
    }

    /// Takes over a descriptor that somebody with more rights opened.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

/// Opens /dev/e1/N, for one user at a time (EBUSY).
pub fn span(number: u16) -> io::Result<OwnedFd> {
    open(&number.to_string(), true, Waits::No).map(Into::into)
}

/// A span of the module as a line. Inside a runtime only.
pub fn line(number: u16) -> io::Result<DeviceLine<Device>> {
    // Events are seen from the open on: before the span, so that no alarm is missed.
    let control = Device::control(Purpose::Look, Waits::No)?;
    DeviceLine::new(number, span(number)?, control)
}

fn open(name: &str, write: bool, waits: Waits) -> io::Result<File> {
    let flags = match waits {
        Waits::Yes => 0,
        Waits::No => libc::O_NONBLOCK,
    };
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(flags)
        .open(Path::new(DIRECTORY).join(name))
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Ctl for Device {
    fn ioctl(&mut self, request: u64, argument: &mut [u8]) -> io::Result<()> {
        assert_eq!(argument.len(), abi::argument_size(request), "our mistake");
        // SAFETY: the kernel reads and writes as many bytes as the request's number says, which are
        // there by the assertion above, and keeps no pointer to them.
        let result = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                request as libc::c_ulong,
                argument.as_mut_ptr(),
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn read(&mut self, events: &mut [u8]) -> io::Result<usize> {
        self.0.read(events)
    }
}
