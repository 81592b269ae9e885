//! The kernel's routes (a socket of route(4)) and neighbours (sysctl(3), NET_RT_FLAGS).

#![allow(unsafe_code)]

use crate::os::netmap::hops::Tables;
use crate::os::netmap::routing::{
    INET, INET6, MESSAGE_BYTES_MAX, Neighbour, RTF_LLINFO, Way, is_answer, is_change, neighbours,
    question, way,
};
use socket2::{Domain, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The most messages that are read in search of an answer: others tell of changes.
const MESSAGES_MAX: usize = 256;
/// The longest list of neighbours.
const LIST_BYTES_MAX: usize = 8 << 20;
/// Tries to get a list that grows meanwhile.
const TRIES_MAX: usize = 4;

/// A socket to the routing tables.
#[derive(Debug)]
pub struct Routes {
    socket: Socket,
    sequence: i32,
    pid: i32,
    changed: bool,
}

impl Routes {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(libc::PF_ROUTE), Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            sequence: 0,
            pid: nix::unistd::getpid().as_raw(),
            changed: false,
        })
    }

    /// Reads what the kernel said up to the answer of this number.
    fn answer(&mut self, sequence: Option<i32>) -> Option<Vec<u8>> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        for _ in 0..MESSAGES_MAX {
            let length = match (&self.socket).read(&mut bytes) {
                Ok(length) => length,
                // Some were lost: anything may have changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.changed = true;
                    continue;
                }
                Err(_) => return None,
            };
            let message = bytes.get(..length)?;
            if sequence.is_some_and(|sequence| is_answer(message, sequence, self.pid)) {
                return Some(message.to_vec());
            }
            self.changed |= is_change(message);
        }
        None
    }
}

impl Tables for Routes {
    fn way(&mut self, to: IpAddr) -> io::Result<Option<Way>> {
        self.sequence = self.sequence.wrapping_add(1);
        // Where there is no way the call itself says so. The kernel answers within it.
        match (&self.socket).write_all(&question(to, self.sequence)) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            written => written?,
        }
        let answer = self.answer(Some(self.sequence));
        Ok(way(&answer.ok_or(io::ErrorKind::TimedOut)?))
    }

    fn source(&mut self, to: IpAddr) -> Option<IpAddr> {
        let any: IpAddr = match to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        // Nothing is sent: the kernel only chooses (RFC 6724). The port is discard's.
        socket.connect((to, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    }

    fn neighbours(&mut self, of: IpAddr) -> Vec<Neighbour> {
        let family = match of {
            IpAddr::V4(_) => INET,
            IpAddr::V6(_) => INET6,
        };
        let list = list(libc::c_int::from(family)).unwrap_or_default();
        neighbours(&list).collect()
    }

    fn changed(&mut self) -> bool {
        self.answer(None);
        std::mem::take(&mut self.changed)
    }
}

/// The list of neighbours of a family.
fn list(family: libc::c_int) -> io::Result<Vec<u8>> {
    let name = [
        libc::CTL_NET,
        libc::PF_ROUTE,
        0,
        family,
        libc::NET_RT_FLAGS,
        RTF_LLINFO as libc::c_int,
    ];
    let ask = |place: *mut libc::c_void, bytes: &mut usize| {
        // SAFETY: the name has as many numbers as is said; the place has `bytes` bytes, or is null,
        // and then only their number is told.
        let result = unsafe {
            libc::sysctl(
                name.as_ptr(),
                name.len() as libc::c_uint,
                place,
                bytes,
                std::ptr::null(),
                0,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    for _ in 0..TRIES_MAX {
        let mut bytes = 0;
        ask(std::ptr::null_mut(), &mut bytes)?;
        // Room for what comes meanwhile.
        let mut room = vec![0_u8; (bytes + bytes / 4 + 4096).min(LIST_BYTES_MAX)];
        let mut length = room.len();
        match ask(room.as_mut_ptr().cast(), &mut length) {
            Ok(()) => {
                room.truncate(length);
                return Ok(room);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::OutOfMemory.into())
}

const _: () = assert!(INET as libc::c_int == libc::AF_INET);
const _: () = assert!(INET6 as libc::c_int == libc::AF_INET6);
