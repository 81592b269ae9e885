//! The requests of netmap(4): NIOCCTRL with its header and bodies, as net/netmap.h of FreeBSD 14
//! and 15 lays them out (NETMAP_API 14). Compiled everywhere, so that the tests of any system hold
//! what is built on them.

/// The version of the API that we speak, and that the kernels of FreeBSD 14 and 15 ask for.
pub const API: u16 = 14;
/// The longest name of a port, with the zero at its end.
pub const NAME_BYTES: usize = 64;

/// `nr_reqtype`: bind a port to the descriptor.
pub const REGISTER: u16 = 1;
/// `nr_reqtype`: tell the sizes of a port, and bind nothing.
pub const PORT_INFO_GET: u16 = 2;

/// `nr_mode`: all rings of the port, none of the stack's: what a pipe has.
pub const ALL_NIC: u32 = 1;
/// `nr_mode`: all rings of the card, and those of the kernel's stack.
pub const NIC_SW: u32 = 3;
/// `nr_mode`: one pair of rings of the card.
pub const ONE_NIC: u32 = 4;
/// `nr_mode`: one pair of rings of the kernel's stack.
pub const ONE_SW: u32 = 8;

/// `nr_flags`: nobody else may bind these rings.
pub const EXCLUSIVE: u64 = 0x800;

/// How the number of a request is made (sys/ioccom.h): direction, size of its argument, group,
/// number.
const fn number(direction: u32, group: u8, number: u8, size: usize) -> u32 {
    direction | (size as u32 & 0x1fff) << 16 | (group as u32) << 8 | number as u32
}

const VOID: u32 = 0x2000_0000;
const IN_OUT: u32 = 0xc000_0000;

/// The request with a [`Header`].
pub const NIOCCTRL: u32 = number(IN_OUT, b'i', 151, size_of::<Header>());
/// Tells the kernel what is to be sent, and takes back what was.
pub const NIOCTXSYNC: u32 = number(VOID, b'i', 148, 0);
/// Gives the kernel room, and takes what came.
pub const NIOCRXSYNC: u32 = number(VOID, b'i', 149, 0);

/// `struct nmreq_header`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// [`API`]; the kernel writes its own.
    pub version: u16,
    /// [`REGISTER`] or [`PORT_INFO_GET`].
    pub kind: u16,
    /// 0.
    pub reserved: u32,
    /// Of the port, with a zero at its end.
    pub name: [u8; NAME_BYTES],
    /// Where options are; 0: there are none.
    pub options: u64,
    /// Where the body is.
    pub body: u64,
}

/// `struct nmreq_register`. What is not 0 is asked for; the kernel writes what there is.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Register {
    /// Where `struct netmap_if` lies in the shared memory.
    pub offset: u64,
    /// How much memory there is.
    pub memory_bytes: u64,
    /// Slots of a ring to send by.
    pub send_slots: u32,
    /// Slots of a ring to receive from.
    pub receive_slots: u32,
    /// The card's rings to send by.
    pub send_rings: u16,
    /// The card's rings to receive from.
    pub receive_rings: u16,
    /// The stack's rings to send by. Who registers a card first says how many there shall be.
    pub host_send_rings: u16,
    /// The stack's rings to receive from, likewise.
    pub host_receive_rings: u16,
    /// Which memory: 1 is the one that all cards share.
    pub memory: u16,
    /// Which ring, in the modes that bind one.
    pub ring: u16,
    /// [`NIC_SW`] or another.
    pub mode: u32,
    /// Buffers besides those of the rings.
    pub extra_buffers: u32,
    /// So that what follows is aligned.
    pub padding: u32,
    /// [`EXCLUSIVE`].
    pub flags: u64,
}

/// `struct nmreq_port_info_get`.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct PortInfo {
    /// How much memory a registration shares.
    pub memory_bytes: u64,
    /// Slots of a ring to send by.
    pub send_slots: u32,
    /// Slots of a ring to receive from.
    pub receive_slots: u32,
    /// The card's rings to send by.
    pub send_rings: u16,
    /// The card's rings to receive from.
    pub receive_rings: u16,
    /// The stack's rings to send by.
    pub host_send_rings: u16,
    /// The stack's rings to receive from.
    pub host_receive_rings: u16,
    /// Which memory.
    pub memory: u16,
    /// 0.
    pub padding: [u16; 3],
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Header>() == 88);
    assert!(offset_of!(Header, name) == 8);
    assert!(offset_of!(Header, options) == 72);
    assert!(offset_of!(Header, body) == 80);
    assert!(size_of::<Register>() == 56);
    assert!(offset_of!(Register, send_rings) == 24);
    assert!(offset_of!(Register, memory) == 32);
    assert!(offset_of!(Register, mode) == 36);
    assert!(offset_of!(Register, extra_buffers) == 40);
    assert!(offset_of!(Register, flags) == 48);
    assert!(size_of::<PortInfo>() == 32);
    assert!(offset_of!(PortInfo, memory) == 24);
    assert!(NIOCCTRL == 0xc058_6997);
    assert!(NIOCTXSYNC == 0x2000_6994);
    assert!(NIOCRXSYNC == 0x2000_6995);
};

// The requests that the older API has as well.
#[cfg(target_os = "freebsd")]
const _: () = {
    use netmap_sys::netmap as older;
    assert!(older::NIOCTXSYNC as u32 == NIOCTXSYNC);
    assert!(older::NIOCRXSYNC as u32 == NIOCRXSYNC);
};
