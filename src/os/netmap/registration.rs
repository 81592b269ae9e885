//! A port of netmap made ours: asked for its sizes, registered, mapped, its rings found. All that
//! the kernel says is held against what there must be before it is used.

use super::api::{self, Header, PortInfo, Register};
use super::memory::Memory;
use super::turn::Turn;
use crate::config::NetmapPort;
use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;

/// The most memory that is mapped: netmap's own default is 330 MB.
const MEMORY_BYTES_MAX: u64 = 16 << 30;
/// Of a frame, besides the IP packet: the header of Ethernet and a tag.
const LINK_BYTES: usize = 18;

/// An open /dev/netmap, or what stands for it in a test. Dropping it gives the card back.
pub trait System: Send + Debug {
    /// NIOCCTRL with [`api::PORT_INFO_GET`].
    fn info(&mut self, header: &mut Header, body: &mut PortInfo) -> io::Result<()>;
    /// NIOCCTRL with [`api::REGISTER`].
    fn register(&mut self, header: &mut Header, body: &mut Register) -> io::Result<()>;
    /// Maps so much of the memory; it stays until this is dropped.
    fn map(&mut self, bytes: usize) -> io::Result<Memory>;
    /// Takes from the descriptor all rights that an event loop does not need, where a system can.
    fn confine(&mut self) -> io::Result<()>;
    /// Has the kernel send what is in the rings, and waits until frames came, `ear` can be read, or
    /// the time is over.
    fn wait(&mut self, ear: BorrowedFd<'_>, timeout_ms: u16) -> io::Result<Woken>;
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// There may be something to do.
    Ready,
    /// The kernel found fault with a ring and set it back, or the card is gone (POLLERR).
    Fault,
}

/// A card whose rings are ours.
#[derive(Debug)]
pub struct Registered {
    /// Its rings. Named first: they go before the memory does.
    pub turn: Turn,
    /// The open descriptor, with the memory.
    pub system: Box<dyn System>,
}

/// What went wrong, with the remedy.
pub fn cannot(port: &NetmapPort, what: &str, error: &io::Error) -> String {
    let name = port.interface();
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "start voipd as root",
        Some(libc::ENOENT) => {
            "there is no /dev/netmap: run 'kldload netmap', or use GENERIC; in a jail \
             devfs.rules(5) must show it"
        }
        Some(libc::EBUSY) => {
            "another program has it: 'fstat /dev/netmap' names programs, 'valectl' switches"
        }
        Some(libc::ENXIO) if port.is_pipe() => "start who has the pipe's other end first",
        Some(libc::ENXIO) => "there is no such interface; 'ifconfig -l' names all",
        Some(libc::ENODEV | libc::EOPNOTSUPP) => {
            "its driver does not know netmap, and emulation is forbidden: run 'sysctl \
             dev.netmap.admode=0'"
        }
        Some(libc::EINVAL) => {
            "netmap refuses the request: FreeBSD 14 or 15 is needed (NETMAP_API 14), and a card \
             that is up"
        }
        Some(libc::ENOMEM) => {
            "netmap has not enough memory: raise dev.netmap.buf_num and dev.netmap.ring_num by \
             sysctl(8), or have the card use fewer queues (iflib(4), override_nrxqs)"
        }
        _ => "write fastpath = \"off\" to go on by sockets",
    };
    format!("[rtp] fastpath: netmap:{name}: {what}: {error}; {remedy}")
}

fn refuse(port: &NetmapPort, what: impl std::fmt::Display) -> String {
    format!("[rtp] fastpath: netmap:{}: {what}", port.name())
}

fn header(port: &NetmapPort, kind: u16) -> Header {
    let mut name = [0; api::NAME_BYTES];
    // The last place stays zero; the configuration knows no longer names.
    let places = name.iter_mut().take(api::NAME_BYTES - 1);
    for (place, byte) in places.zip(port.name().bytes()) {
        *place = byte;
    }
    Header {
        version: api::API,
        kind,
        reserved: 0,
        name,
        options: 0,
        body: 0,
    }
}

/// Asks for the sizes of a port, and changes nothing: what stands in the way is known before the
/// card leaves the kernel's stack.
pub fn look(system: &mut dyn System, port: &NetmapPort) -> Result<PortInfo, String> {
    let mut header = header(port, api::PORT_INFO_GET);
    let mut info = PortInfo::default();
    let asked = system.info(&mut header, &mut info);
    asked.map_err(|error| cannot(port, "netmap", &error))?;
    Ok(info)
}

/// Registers a port and finds its rings. From here on the kernel's stack sees of the card what we
/// hand to it, until `system` is dropped.
pub fn register(
    mut system: Box<dyn System>,
    port: &NetmapPort,
    mtu: u16,
) -> Result<Registered, String> {
    let mut header = header(port, api::REGISTER);
    let mut body = Register {
        mode: match port.is_pipe() {
            true => api::ALL_NIC,
            false => api::NIC_SW,
        },
        flags: api::EXCLUSIVE,
        ..Register::default()
    };
    let asked = system.register(&mut header, &mut body);
    asked.map_err(|error| cannot(port, "registration", &error))?;
    if body.memory_bytes == 0 || body.memory_bytes > MEMORY_BYTES_MAX {
        let what = format!("{} bytes of memory cannot be mapped", body.memory_bytes);
        return Err(refuse(port, what));
    }
    let bytes = usize::try_from(body.memory_bytes).unwrap_or(usize::MAX);
    let memory = system.map(bytes);
    let memory = memory.map_err(|error| cannot(port, "memory", &error))?;
    let rings = memory.rings(body.offset, !port.is_pipe());
    let rings = rings.map_err(|flaw| refuse(port, flaw))?;
    let few = "netmap gives rings for one direction alone; write fastpath = \"off\"";
    if !port.is_pipe() && rings.host_send.is_empty() {
        return Err(refuse(port, few));
    }
    let turn = Turn::new(rings).ok_or_else(|| refuse(port, few))?;
    let room = turn.frame_bytes_max();
    let wanted = usize::from(mtu) + LINK_BYTES;
    if room < wanted {
        let wanted = wanted.next_power_of_two();
        let what = format!(
            "a buffer has {room} bytes, and the interface's MTU is {mtu}: run 'sysctl \
             dev.netmap.buf_size={wanted}', or 'ifconfig {} mtu {}'",
            port.interface(),
            room.saturating_sub(LINK_BYTES)
        );
        return Err(refuse(port, what));
    }
    system
        .confine()
        .map_err(|error| cannot(port, "rights", &error))?;
    Ok(Registered { turn, system })
}
