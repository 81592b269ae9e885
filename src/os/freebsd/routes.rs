//! The kernel's routes (a socket of route(4)) and neighbours (sysctl(3), NET_RT_FLAGS).

#![allow(unsafe_code)]

use crate::os::netmap::hops::Tables;
use crate::os::netmap::routing::socket::RouteSocket;
use crate::os::netmap::routing::{
    Change, HEADER_BYTES, INET, INET6, Neighbour, RTF_LLINFO, Way, neighbours,
};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

/// Room for what the kernel says between two questions.
const RECEIVE_BYTES: usize = 256 << 10;
/// SO_RERROR of FreeBSD 14 (sys/socket.h): what finds no room is told by ENOBUFS.
const SO_RERROR: libc::c_int = 0x2_0000;
/// The longest list of neighbours.
const LIST_BYTES_MAX: usize = 8 << 20;
/// Tries to get a list that grows meanwhile.
const TRIES_MAX: usize = 4;

/// A socket to the routing tables. It wants CAP_EVENT besides CAP_READ and CAP_WRITE; its owner is
/// the monitor, or the one process that there is.
#[derive(Debug)]
pub struct Routes(RouteSocket<Socket>);

impl Routes {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(libc::PF_ROUTE), Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        // Other sockets' answers come here, too. The system may allow less.
        let _ = socket.set_recv_buffer_size(RECEIVE_BYTES);
        tell_of_losses(&socket);
        Ok(Self(RouteSocket::new(socket)))
    }
}

impl Tables for Routes {
    fn way(&mut self, to: IpAddr) -> io::Result<Option<Way>> {
        self.0.way(to)
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

    fn changed(&mut self) -> Change {
        self.0.changed()
    }
}

/// Has the kernel say so if messages were lost, where it can.
fn tell_of_losses(socket: &Socket) {
    let on: libc::c_int = 1;
    // SAFETY: the value is as long as is said, and outlives the call.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_RERROR,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
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
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<libc::rt_msghdr>() == HEADER_BYTES);
