//! The program in the card's driver: hands frames to ports of flows to our sockets, and leaves all
//! others to the kernel. Written as instructions here (Documentation/bpf/standardization/
//! instruction-set.rst in the kernel's sources), so that no compiler is needed where voip runs.
//!
//! Frames with more than one VLAN tag, IP options, extension headers or fragments are the kernel's,
//! and so are those of another VLAN than the flow's, as all of a VLAN are where the card takes tags
//! off: the program does not see what was in them. The ports are in an array that this process has
//! mapped, so that no right is needed to change it later. The program hangs on a link, whose
//! descriptor takes it off the card when the process ends, however it ends.

#![allow(unsafe_code)]

use crate::os::fast::Gate;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// Commands of bpf(2), and what they speak of (linux/bpf.h).
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_XSKMAP: u32 = 17;
const MAP_MMAPABLE: u32 = 1 << 10;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const FLAG_GENERIC: u32 = 1 << 1;
const FLAG_NATIVE: u32 = 1 << 2;
const HELPER_MAP_LOOKUP: i32 = 1;
const HELPER_REDIRECT_MAP: i32 = 51;
const ACTION_PASS: i32 = 2;

const PORTS: usize = 1 << 16;
/// The verifier's words, where it refuses the program.
const LOG_BYTES: usize = 65_536;

/// How the program hangs on the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// In the driver.
    Native,
    /// Behind it, for drivers that have no place for programs: slower.
    Generic,
}

/// One port of ours in the array: whether frames to it are ours, and which address they must have.
#[repr(C)]
struct Slot {
    /// As it stands in packets: IPv4's in the first word.
    address: [AtomicU32; 4],
    /// The Ethernet type as it stands in packets; 0: not ours.
    kind: AtomicU32,
    /// The number of the VLAN; 0: none.
    vlan: AtomicU32,
}

impl Slot {
    fn open(&self, ours: IpAddr, vlan: Option<u16>) {
        let (kind, words) = match ours {
            IpAddr::V4(ip) => {
                let word = u32::from_ne_bytes(ip.octets());
                (ETHERTYPE_IPV4, [word, 0, 0, 0])
            }
            IpAddr::V6(ip) => {
                let octets = ip.octets();
                let mut words = [0; 4];
                for (word, bytes) in words.iter_mut().zip(octets.chunks_exact(4)) {
                    *word = u32::from_ne_bytes(bytes.try_into().unwrap_or_default());
                }
                (ETHERTYPE_IPV6, words)
            }
        };
        self.kind.store(0, Ordering::Release);
        for (place, word) in self.address.iter().zip(words) {
            place.store(word, Ordering::Release);
        }
        let vlan = vlan.map_or(0, u32::from);
        self.vlan.store(vlan, Ordering::Release);
        self.kind.store(kind as u32, Ordering::Release);
    }
}

const SLOT_BYTES: usize = size_of::<Slot>();
const _: () = assert!(SLOT_BYTES == 24);
const SLOT_KIND: i16 = 16;
const SLOT_VLAN: i16 = 20;

/// The array of ports, mapped.
#[derive(Debug)]
pub struct Ports {
    base: *mut Slot,
    _map: OwnedFd,
}

// SAFETY: the mapping lives as long as this does, and all access to it is atomic.
unsafe impl Send for Ports {}
// SAFETY: as above.
unsafe impl Sync for Ports {}

impl Ports {
    fn new(map: OwnedFd) -> io::Result<Self> {
        // SAFETY: a new shared mapping of the whole map, whose length was given at its creation;
        // the result is checked.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PORTS * SLOT_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            base: base.cast(),
            _map: map,
        })
    }

    fn slot(&self, port: u16) -> &Slot {
        // SAFETY: the mapping has a slot for each number of a port.
        unsafe { &*self.base.add(usize::from(port)) }
    }
}

impl Gate for Ports {
    fn open(&self, ours: SocketAddr, vlan: Option<u16>) {
        self.slot(ours.port()).open(ours.ip(), vlan);
    }

    fn close(&self, port: u16) {
        self.slot(port).kind.store(0, Ordering::Release);
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, used by nobody any more.
        unsafe { libc::munmap(self.base.cast(), PORTS * SLOT_BYTES) };
    }
}

/// The program on its card. Dropping it takes it off.
#[derive(Debug)]
pub struct Program {
    sockets: OwnedFd,
    _program: OwnedFd,
    _link: OwnedFd,
    /// How it hangs there.
    pub mode: Mode,
}

impl Program {
    /// Loads it onto the interface; sockets of so many queues can be joined.
    pub fn attach(interface: u32, queues: u32) -> io::Result<(Self, Ports)> {
        let ports = create_map(MAP_TYPE_ARRAY, SLOT_BYTES, PORTS as u32, MAP_MMAPABLE)?;
        let sockets = create_map(MAP_TYPE_XSKMAP, size_of::<u32>(), queues, 0)?;
        let program = load(&instructions(ports.as_raw_fd(), sockets.as_raw_fd()))?;
        let native = link(&program, interface, FLAG_NATIVE).map(|link| (link, Mode::Native));
        let (link, mode) = match native {
            Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
                let generic = link(&program, interface, FLAG_GENERIC)?;
                (generic, Mode::Generic)
            }
            done => done?,
        };
        let program = Self {
            sockets,
            _program: program,
            _link: link,
            mode,
        };
        Ok((program, Ports::new(ports)?))
    }

    /// Frames of the queue go to the socket from now on.
    pub fn join(&self, queue: u32, socket: RawFd) -> io::Result<()> {
        #[repr(C)]
        struct Update {
            map: u32,
            _rest: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let value = socket as u32;
        let update = Update {
            map: self.sockets.as_raw_fd() as u32,
            _rest: 0,
            key: std::ptr::from_ref(&queue) as u64,
            value: std::ptr::from_ref(&value) as u64,
            flags: 0,
        };
        bpf(MAP_UPDATE_ELEM, &update).map(|_| ())
    }
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the attributes, and what they point to, outlive the call, and their size is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    match result {
        0.. => Ok(result as libc::c_int),
        _ => Err(io::Error::last_os_error()),
    }
}

fn descriptor(fd: libc::c_int) -> OwnedFd {
    // SAFETY: bpf(2) has just made it for us, with close-on-exec.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn create_map(kind: u32, value: usize, entries: u32, flags: u32) -> io::Result<OwnedFd> {
    let attributes: [u32; 5] = [kind, size_of::<u32>() as u32, value as u32, entries, flags];
    bpf(MAP_CREATE, &attributes).map(descriptor)
}

fn load(code: &[u64]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel: u32,
        flags: u32,
        name: [u8; 16],
    }
    let mut log = vec![0u8; LOG_BYTES];
    let mut name = [0; 16];
    name[..8].copy_from_slice(b"voip_rtp");
    let load = Load {
        kind: PROG_TYPE_XDP,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"Dual BSD/GPL".as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log: log.as_mut_ptr() as u64,
        kernel: 0,
        flags: 0,
        name,
    };
    bpf(PROG_LOAD, &load).map(descriptor).map_err(|error| {
        let text: Vec<u8> = log.iter().copied().take_while(|byte| *byte != 0).collect();
        match text.is_empty() {
            true => error,
            false => io::Error::other(format!("{error}: {}", String::from_utf8_lossy(&text))),
        }
    })
}

fn link(program: &OwnedFd, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd() as u32;
    // The rest of the attributes is zero: no older program is replaced.
    let attributes: [u32; 8] = [program, interface, ATTACH_XDP, flags, 0, 0, 0, 0];
    bpf(LINK_CREATE, &attributes).map(descriptor)
}

// As they stand in packets, read as 16 bits of this machine.
const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
const ETHERTYPE_TAG: u16 = 0x8100u16.to_be();
/// The bits of a tag that name the VLAN (IEEE 802.1Q §9.6).
const VLAN_MASK: i32 = 0x0fff;
const FRAGMENT: u16 = 0x3fffu16.to_be();
const UDP: i32 = 17;

// Registers: r0 results, r1 to r5 arguments, r6 to r9 kept over calls, r10 the stack.
const DATA: u8 = 7;
const END: u8 = 8;
const CONTEXT: u8 = 6;
const STACK: u8 = 10;

/// The shortest frame: Ethernet 14, IPv4 20, UDP 8.
const FRAME_MIN: i32 = 42;

/// Places on the stack.
const PORT: i16 = -4;
const VLAN: i16 = -8;

/// Builds the program. Jumps to the end say how many instructions lie between once all are there.
#[derive(Default)]
struct Assembler {
    code: Vec<u64>,
    /// Jumps to where a frame is passed on to the kernel.
    passes: Vec<usize>,
}

impl Assembler {
    fn put(&mut self, opcode: u8, destination: u8, source: u8, offset: i16, value: i32) -> usize {
        let registers = u64::from(source << 4 | destination) << 8;
        let offset = u64::from(offset as u16) << 16;
        let value = u64::from(value as u32) << 32;
        self.code
            .push(u64::from(opcode) | registers | offset | value);
        self.code.len() - 1
    }

    /// `destination = *(size *)(source + offset)`.
    fn load(&mut self, size: Size, destination: u8, source: u8, offset: i16) {
        self.put(0x61 | size as u8, destination, source, offset, 0);
    }

    fn copy(&mut self, destination: u8, source: u8) {
        self.put(0xbf, destination, source, 0, 0);
    }

    fn set(&mut self, destination: u8, value: i32) {
        self.put(0xb7, destination, 0, 0, value);
    }

    fn add(&mut self, destination: u8, value: i32) {
        self.put(0x07, destination, 0, 0, value);
    }

    /// Two places: the address of a map.
    fn set_map(&mut self, destination: u8, map: RawFd) {
        self.put(0x18, destination, 1, 0, map);
        self.put(0, 0, 0, 0, 0);
    }

    fn call(&mut self, helper: i32) {
        self.put(0x85, 0, 0, 0, helper);
    }

    /// Leaves the frame to the kernel unless `register == value`.
    fn demand(&mut self, register: u8, value: i32) {
        let at = self.put(0x55, register, 0, 0, value);
        self.passes.push(at);
    }

    /// Leaves it to the kernel if they differ.
    fn demand_same(&mut self, one: u8, other: u8) {
        let at = self.put(0x5d, one, other, 0, 0);
        self.passes.push(at);
    }

    /// Leaves it to the kernel if the frame has fewer bytes.
    fn demand_length(&mut self, bytes: i32) {
        self.copy(1, DATA);
        self.add(1, bytes);
        let at = self.put(0x2d, 1, END, 0, 0);
        self.passes.push(at);
    }

    /// A jump that is not known yet, if `register == value`.
    fn branch(&mut self, register: u8, value: i32) -> usize {
        self.put(0x15, register, 0, 0, value)
    }

    /// The same if they differ.
    fn branch_unless(&mut self, register: u8, value: i32) -> usize {
        self.put(0x55, register, 0, 0, value)
    }

    /// From the network's order to this machine's, of 16 bits.
    fn swap(&mut self, register: u8) {
        self.put(0xdc, register, 0, 0, 16);
    }

    /// A word on the stack.
    fn store(&mut self, place: i16, register: u8) {
        self.put(0x63, STACK, register, place, 0);
    }

    fn mask(&mut self, register: u8, bits: i32) {
        self.put(0x57, register, 0, 0, bits);
    }

    fn land(&mut self, jump: usize) {
        let distance = (self.code.len() - jump - 1) as u64;
        self.code[jump] |= (distance & 0xffff) << 16;
    }
}

/// How many bytes are loaded: the size bits of an opcode, over those of a word.
#[derive(Clone, Copy)]
enum Size {
    Word = 0,
    Half = 0x08,
    Byte = 0x10,
}

/// Looks behind one tag: DATA then is where the frame would begin without it, and the VLAN's number
/// is on the stack, or 0. r2 = the Ethernet type.
fn look_behind_tag(a: &mut Assembler) {
    a.set(3, 0);
    a.load(Size::Half, 2, DATA, 12);
    let untagged = a.branch_unless(2, i32::from(ETHERTYPE_TAG));
    a.load(Size::Half, 3, DATA, 14);
    a.swap(3);
    a.mask(3, VLAN_MASK);
    a.add(DATA, 4);
    a.demand_length(FRAME_MIN);
    a.load(Size::Half, 2, DATA, 12);
    a.land(untagged);
    a.store(VLAN, 3);
}

/// r9 = the port's slot, where the destination port stands at `port` of the frame, if it is one of
/// the frame's VLAN and Ethernet type.
fn look_up(a: &mut Assembler, port: i16, map: RawFd, kind: u16) {
    a.load(Size::Half, 1, DATA, port);
    a.swap(1);
    a.store(PORT, 1);
    a.copy(2, STACK);
    a.add(2, i32::from(PORT));
    a.set_map(1, map);
    a.call(HELPER_MAP_LOOKUP);
    let found = a.put(0x55, 0, 0, 1, 0);
    let missing = a.put(0x05, 0, 0, 0, 0);
    debug_assert_eq!(found + 1, missing);
    a.passes.push(missing);
    a.copy(9, 0);
    a.load(Size::Word, 1, 9, SLOT_KIND);
    a.demand(1, i32::from(kind));
    a.load(Size::Word, 1, 9, SLOT_VLAN);
    a.load(Size::Word, 2, STACK, VLAN);
    a.demand_same(1, 2);
}

fn instructions(ports: RawFd, sockets: RawFd) -> Vec<u64> {
    let mut a = Assembler::default();
    a.copy(CONTEXT, 1);
    a.load(Size::Word, DATA, CONTEXT, 0);
    a.load(Size::Word, END, CONTEXT, 4);
    a.demand_length(FRAME_MIN);
    look_behind_tag(&mut a);
    let six = a.branch(2, i32::from(ETHERTYPE_IPV6));
    a.demand(2, i32::from(ETHERTYPE_IPV4));
    // IPv4 without options, UDP, whole.
    a.load(Size::Byte, 2, DATA, 14);
    a.demand(2, 0x45);
    a.load(Size::Byte, 2, DATA, 23);
    a.demand(2, UDP);
    a.load(Size::Half, 2, DATA, 20);
    a.mask(2, i32::from(FRAGMENT));
    a.demand(2, 0);
    look_up(&mut a, 36, ports, ETHERTYPE_IPV4);
    a.load(Size::Word, 1, 9, 0);
    a.load(Size::Word, 2, DATA, 30);
    a.demand_same(1, 2);
    let four_done = a.put(0x05, 0, 0, 0, 0);
    a.land(six);
    a.demand_length(62);
    a.load(Size::Byte, 2, DATA, 20);
    a.demand(2, UDP);
    look_up(&mut a, 56, ports, ETHERTYPE_IPV6);
    for word in 0..4 {
        a.load(Size::Word, 1, 9, word * 4);
        a.load(Size::Word, 2, DATA, 38 + word * 4);
        a.demand_same(1, 2);
    }
    a.land(four_done);
    // The queue that it came by; one that has no socket leaves the frame to the kernel.
    a.load(Size::Word, 2, CONTEXT, 16);
    a.set_map(1, sockets);
    a.set(3, ACTION_PASS);
    a.call(HELPER_REDIRECT_MAP);
    a.put(0x95, 0, 0, 0, 0);
    for jump in std::mem::take(&mut a.passes) {
        a.land(jump);
    }
    a.set(0, ACTION_PASS);
    a.put(0x95, 0, 0, 0, 0);
    a.code
}

#[cfg(test)]
mod tests;
