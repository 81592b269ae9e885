//! A port of netmap made ours: asked for its sizes, registered, mapped, its rings found. All that
//! the kernel says is held against what there must be before it is used.
//!
//! A card with several pairs of rings gets a thread for each, and each thread its own descriptors:
//! a call of poll(2) or an ioctl synchronizes all rings of a descriptor, and a ring has one owner.
//! The kernel's stack is asked for as many pairs of rings as the card has, so that no frame
//! changes threads (netmap_get_na in sys/dev/netmap/netmap.c has who registers first say how many;
//! netmap_transmit keeps a stream of the stack in one of them).
//!
//! ```text
//!   probe     NIC_SW, exclusive   nobody else has a ring? then it is closed again
//!   holder    NIC_SW              all rings enter netmap mode, and with its end leave it: at once,
//!                                 for each change of a ring's mode resets the card, and emulation
//!                                 (generic_netmap_register) forgets what is on its way
//!   thread n  ONE_NIC n, ONE_SW n
//! ```
//! Exclusive rings cannot be bound twice, hence the probe. A card with one pair, a pipe, and a card
//! whose rings are not in pairs have one thread and one exclusive descriptor for all.

use super::api::{self, Header, PortInfo, Register};
use super::memory::{Memory, Rings};
use super::turn::Turn;
use crate::config::NetmapPort;
use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};

/// The most pairs of rings that have threads of their own.
pub const THREADS_MAX: usize = 64;
/// The places of the first owner's descriptors.
const PROBE: usize = 0;
const HOLDER: usize = 1;
/// Those of a thread's.
const CARD: usize = 0;
const STACK: usize = 1;

/// The most memory that is mapped: netmap's own default is 330 MB.
const MEMORY_BYTES_MAX: u64 = 16 << 30;
/// Of a frame, besides the IP packet: the header of Ethernet and a tag.
const LINK_BYTES: usize = 18;

/// Open /dev/netmaps of one owner, or what stands for them in a test. Closing them gives the card
/// back.
pub trait System: Send + Debug {
    /// NIOCCTRL with [`api::PORT_INFO_GET`], by the first descriptor.
    fn info(&mut self, header: &mut Header, body: &mut PortInfo) -> io::Result<()>;
    /// NIOCCTRL with [`api::REGISTER`], by the descriptor of this place.
    fn register(&mut self, at: usize, header: &mut Header, body: &mut Register) -> io::Result<()>;
    /// Closes the descriptor of this place.
    fn close(&mut self, at: usize);
    /// Maps so much of the memory by the descriptor of this place; it stays until this is dropped.
    fn map(&mut self, at: usize, bytes: usize) -> io::Result<Memory>;
    /// Takes from the descriptors all rights that an event loop does not need, where a system can.
    fn confine(&mut self) -> io::Result<()>;
    /// Has the kernel send what is in the rings, and waits until frames came, `ear` can be read, or
    /// the time is over.
    fn wait(&mut self, ear: BorrowedFd<'_>, timeout_ms: u16) -> io::Result<Woken>;
    /// Has the kernel send what is in the rings, and show what came: NIOCTXSYNC and NIOCRXSYNC.
    fn synchronize(&mut self) -> io::Result<Woken>;
    /// Has the kernel take back the slots of what the card has sent: NIOCTXSYNC of its rings.
    fn reclaim(&mut self) -> io::Result<Woken>;
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// There may be something to do.
    Ready,
    /// The kernel found fault with a ring and set it back, or the card is gone (POLLERR).
    Fault,
    /// The rings are stopped (EIO).
    Stopped,
    /// The descriptor has no card (ENXIO).
    Gone,
}

/// Rings that are ours, for one thread.
#[derive(Debug)]
pub struct Registered {
    /// The rings. Named first: they go before the memory does.
    pub turn: Turn,
    /// The open descriptors, with the memory.
    pub system: Box<dyn System>,
    /// What holds all rings of the card, and the memory, until the last thread is gone.
    pub hold: Option<Arc<Mutex<Box<dyn System>>>>,
}

/// How many threads a port of these sizes gets.
pub fn threads(port: &NetmapPort, info: &PortInfo) -> usize {
    let pairs = usize::from(info.receive_rings);
    let spread = !port.is_pipe()
        && info.send_rings == info.receive_rings
        && (2..=THREADS_MAX).contains(&pairs);
    if spread { pairs } else { 1 }
}

/// How many descriptors so many threads take.
pub fn descriptors(threads: usize) -> usize {
    match threads {
        0 | 1 => 1,
        threads => 2 + 2 * threads,
    }
}

/// The owners of so many descriptors: one alone, or the holder and then the threads. `None`: no
/// number of threads takes so many.
pub fn owners<T>(descriptors: Vec<T>) -> Option<Vec<Vec<T>>> {
    let threads = (descriptors.len() / 2).saturating_sub(1).max(1);
    if self::descriptors(threads) != descriptors.len() || threads > THREADS_MAX {
        return None;
    }
    let mut owners: Vec<Vec<T>> = Vec::new();
    for descriptor in descriptors {
        match owners.last_mut().filter(|last| last.len() < 2) {
            Some(last) => last.push(descriptor),
            None => owners.push(vec![descriptor]),
        }
    }
    Some(owners)
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
            "netmap refuses the request: FreeBSD 14 or 15 is needed (NETMAP_API 14), a card that \
             is up, and dev.netmap.buf_size no less than its MTU"
        }
        Some(libc::ENOMEM) => {
            "netmap has not enough memory: raise by sysctl(8) dev.netmap.buf_num and \
             dev.netmap.ring_num; dev.netmap.ring_size (to 73728) for a card with 4096 slots a \
             ring; dev.netmap.if_size (to 4096) for one with more than 30 pairs of rings; or have \
             the card use fewer queues (iflib(4), override_nrxqs)"
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

/// Registers a port and finds its rings: with one system for one thread, with more for the holder
/// and a thread for each of the others. From here on the kernel's stack sees of the card what we
/// hand to it, until all systems are dropped.
pub fn register(
    mut systems: Vec<Box<dyn System>>,
    port: &NetmapPort,
    mtu: u16,
) -> Result<Vec<Registered>, String> {
    if systems.is_empty() {
        return Err(refuse(port, "no descriptor of netmap is open"));
    }
    let mut first = systems.remove(0);
    if systems.is_empty() {
        return Ok(vec![whole(first, PROBE, port, mtu)?]);
    }
    let few = "one thread serves all rings of the card, since the kernel has no rings of its stack \
               for more; to have a thread for each pair raise dev.netmap.buf_num and \
               dev.netmap.ring_num by sysctl(8), for more than 30 pairs dev.netmap.if_size, too";
    let count = u16::try_from(systems.len()).unwrap_or(u16::MAX);
    match probe(first.as_mut(), port, count) {
        Ok(true) => spread(first, systems, port, mtu),
        Ok(false) => {
            tracing::warn!(interface = port.name(), "{few}");
            Ok(vec![whole(first, HOLDER, port, mtu)?])
        }
        Err(error) => Err(cannot(port, "registration", &error)),
    }
}

/// What asks for all rings of a card, with so many pairs of the stack.
fn all_rings(host_rings: u16, flags: u64) -> Register {
    Register {
        mode: api::NIC_SW,
        host_send_rings: host_rings,
        host_receive_rings: host_rings,
        flags,
        ..Register::default()
    }
}

/// Whether each pair of rings can have a thread: nobody else has one of them, and the kernel has
/// memory for as many pairs of its stack. The descriptor is closed then or later.
fn probe(system: &mut dyn System, port: &NetmapPort, count: u16) -> io::Result<bool> {
    let mut body = all_rings(count, api::EXCLUSIVE);
    let asked = system.register(PROBE, &mut header(port, api::REGISTER), &mut body);
    system.close(PROBE);
    match asked {
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => return Ok(false),
        asked => asked?,
    }
    let rings = [
        body.send_rings,
        body.receive_rings,
        body.host_send_rings,
        body.host_receive_rings,
    ];
    Ok(rings == [count; 4])
}

/// One thread for all rings.
fn whole(
    mut system: Box<dyn System>,
    at: usize,
    port: &NetmapPort,
    mtu: u16,
) -> Result<Registered, String> {
    let mut body = match port.is_pipe() {
        true => Register {
            mode: api::ALL_NIC,
            flags: api::EXCLUSIVE,
            ..Register::default()
        },
        false => all_rings(1, api::EXCLUSIVE),
    };
    let asked = system.register(at, &mut header(port, api::REGISTER), &mut body);
    asked.map_err(|error| cannot(port, "registration", &error))?;
    let memory = mapped(system.as_mut(), at, &body, port)?;
    let rings = memory.rings(body.offset);
    let turn = turn(port, rings.map_err(|flaw| refuse(port, flaw))?, mtu)?;
    confined(system.as_mut(), port)?;
    Ok(Registered {
        turn,
        system,
        hold: None,
    })
}

/// A thread for each pair of rings.
fn spread(
    mut holder: Box<dyn System>,
    systems: Vec<Box<dyn System>>,
    port: &NetmapPort,
    mtu: u16,
) -> Result<Vec<Registered>, String> {
    let count = u16::try_from(systems.len()).unwrap_or(u16::MAX);
    let mut all = all_rings(count, 0);
    let asked = holder.register(HOLDER, &mut header(port, api::REGISTER), &mut all);
    asked.map_err(|error| cannot(port, "registration", &error))?;
    let memory = mapped(holder.as_mut(), HOLDER, &all, port)?;
    confined(holder.as_mut(), port)?;
    let hold = Arc::new(Mutex::new(holder));
    let mut threads = Vec::new();
    for (ring, mut system) in (0..).zip(systems) {
        let mut one = |at, mode| -> Result<Rings, String> {
            let mut body = Register {
                mode,
                ring,
                ..Register::default()
            };
            let asked = system.register(at, &mut header(port, api::REGISTER), &mut body);
            asked.map_err(|error| cannot(port, "registration of a ring", &error))?;
            if body.memory != all.memory {
                return Err(refuse(port, "its rings are in memories of their own"));
            }
            let rings = memory.rings(body.offset);
            rings.map_err(|flaw| refuse(port, flaw))
        };
        let (mut rings, stack) = (one(CARD, api::ONE_NIC)?, one(STACK, api::ONE_SW)?);
        rings.host_send = stack.host_send;
        rings.host_receive = stack.host_receive;
        let turn = turn(port, rings, mtu)?;
        confined(system.as_mut(), port)?;
        threads.push(Registered {
            turn,
            system,
            hold: Some(Arc::clone(&hold)),
        });
    }
    Ok(threads)
}

fn mapped(
    system: &mut dyn System,
    at: usize,
    body: &Register,
    port: &NetmapPort,
) -> Result<Memory, String> {
    if body.memory_bytes == 0 || body.memory_bytes > MEMORY_BYTES_MAX {
        let what = format!("{} bytes of memory cannot be mapped", body.memory_bytes);
        return Err(refuse(port, what));
    }
    let bytes = usize::try_from(body.memory_bytes).unwrap_or(usize::MAX);
    let memory = system.map(at, bytes);
    memory.map_err(|error| cannot(port, "memory", &error))
}

fn confined(system: &mut dyn System, port: &NetmapPort) -> Result<(), String> {
    let confined = system.confine();
    confined.map_err(|error| cannot(port, "rights", &error))
}

/// The rings of a thread, which must be of both directions, and have room for the card's frames.
fn turn(port: &NetmapPort, rings: Rings, mtu: u16) -> Result<Turn, String> {
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
    Ok(turn)
}
