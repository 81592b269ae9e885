//! What ifconfig(8) shows of an interface, asked of the kernel.

#![allow(unsafe_code)]

use crate::os::netmap::ready::Facts;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// struct ifreq of net/if.h, with the two words of its union that are used here.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Request {
    name: [u8; 16],
    words: [u32; 2],
    rest: [u8; 8],
}

const _: () = assert!(size_of::<Request>() == 32);
const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

/// sys/sockio.h.
const SIOCGIFFLAGS: libc::c_ulong = 0xc020_6911;
const SIOCGIFCAP: libc::c_ulong = 0xc020_691f;
const SIOCGIFMTU: libc::c_ulong = 0xc020_6933;

/// All that [`crate::os::netmap::ready`] judges; of an interface that is not there the index is 0.
pub fn facts(name: &str) -> io::Result<Facts> {
    let mut facts = Facts {
        index: 0,
        flags: 0,
        supported: 0,
        enabled: 0,
        mtu: 0,
        hardware_address: hardware_address(name)?,
        admode: variable("dev.netmap.admode"),
    };
    facts.index = match if_nametoindex(name) {
        Ok(index) => index,
        Err(nix::errno::Errno::ENXIO) => return Ok(facts),
        Err(error) => return Err(error.into()),
    };
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let ask = |request| ask(socket.as_raw_fd(), request, name);
    let [flags, _] = ask(SIOCGIFFLAGS)?;
    let [mtu, _] = ask(SIOCGIFMTU)?;
    let [supported, enabled] = ask(SIOCGIFCAP)?;
    // The upper half of the first word is of other flags.
    facts.flags = flags & 0xffff;
    facts.mtu = mtu;
    facts.supported = supported;
    facts.enabled = enabled;
    Ok(facts)
}

fn ask(socket: RawFd, number: libc::c_ulong, name: &str) -> io::Result<[u32; 2]> {
    let mut request = Request::default();
    // The last place stays zero, as names end.
    for (place, byte) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *place = byte;
    }
    // SAFETY: the request outlives the call, and is as long as its number says.
    match unsafe { libc::ioctl(socket, number, &raw mut request) } {
        0 => Ok(request.words),
        _ => Err(io::Error::last_os_error()),
    }
}

fn hardware_address(name: &str) -> io::Result<Option<[u8; 6]>> {
    let mut of_name = getifaddrs()?.filter(|found| found.interface_name == name);
    Ok(of_name.find_map(|found| found.address?.as_link_addr()?.addr()))
}

/// A system variable that is a number.
fn variable(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut value: libc::c_int = 0;
    let mut bytes = size_of::<libc::c_int>();
    // SAFETY: the name ends with a zero; the value is as long as is said, and outlives the call.
    let result = unsafe {
        libc::sysctlbyname(
            name.as_ptr(),
            (&raw mut value).cast(),
            &raw mut bytes,
            std::ptr::null(),
            0,
        )
    };
    (result == 0)
        .then_some(value)
        .and_then(|v| u32::try_from(v).ok())
}
