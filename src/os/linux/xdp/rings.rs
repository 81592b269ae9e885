//! AF_XDP's memory: frames, and the four rings of a socket (Documentation/networking/af_xdp.rst in
//! the kernel's sources). Each ring has one producer and one consumer: the kernel is one of them.
//!
//! Each queue has frames of its own, so that the thread that serves it shares nothing with others.

#![allow(unsafe_code)]

use nix::sys::socket::{getsockopt, sockopt};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// The bytes that a frame has in the shared memory, headroom included: half a page.
const FRAME_BYTES: usize = 2048;
/// The entries of each ring; a power of two.
const RING_ENTRIES: u32 = 2048;
/// Frames of a queue: as many as its fill ring holds, and as many on their way out.
const FRAMES_PER_QUEUE: usize = 2 * RING_ENTRIES as usize;

/// Memory that is mapped, and given back.
#[derive(Debug)]
struct Mapping {
    base: *mut u8,
    length: usize,
}

// SAFETY: it is memory of the process; who may use it when is the rings' business.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(length: usize, flags: libc::c_int, fd: RawFd, offset: libc::off_t) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; the result is checked.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                flags | libc::MAP_POPULATE,
                fd,
                offset,
            )
        };
        match base {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            base => Ok(Self {
                base: base.cast(),
                length,
            }),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, used by nobody any more.
        unsafe { libc::munmap(self.base.cast(), self.length) };
    }
}

/// The frames, shared with the kernel.
#[derive(Debug)]
pub struct Frames(Mapping);

impl Frames {
    /// Memory for so many.
    fn new(count: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        Mapping::new(count * FRAME_BYTES, flags, -1, 0).map(Self)
    }

    /// The buffer from an address of a descriptor to the end of its frame; `None` outside.
    pub fn buffer(&mut self, address: u64) -> Option<&mut [u8]> {
        let start = usize::try_from(address).ok()?;
        let length = FRAME_BYTES - start % FRAME_BYTES;
        if start.checked_add(length)? > self.0.length {
            return None;
        }
        // SAFETY: within the mapping. The kernel writes to frames in the fill ring and reads those
        // in the sending ring alone; the caller has this one from the receiving ring.
        Some(unsafe { std::slice::from_raw_parts_mut(self.0.base.add(start), length) })
    }
}

/// Where the frame of an address begins.
pub fn frame_of(address: u64) -> u64 {
    address - address % FRAME_BYTES as u64
}

/// One of the rings, from our end.
#[derive(Debug)]
pub struct Ring<T> {
    memory: Mapping,
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
    /// Our own count: of what was put, or taken.
    next: u32,
    _entry: PhantomData<T>,
}

impl<T: Copy> Ring<T> {
    fn map(socket: RawFd, page: libc::off_t, offsets: &libc::xdp_ring_offset) -> io::Result<Self> {
        let length = offsets.desc as usize + RING_ENTRIES as usize * size_of::<T>();
        Ok(Self {
            memory: Mapping::new(length, libc::MAP_SHARED, socket, page)?,
            producer: offsets.producer as usize,
            consumer: offsets.consumer as usize,
            flags: offsets.flags as usize,
            entries: offsets.desc as usize,
            next: 0,
            _entry: PhantomData,
        })
    }

    fn counter(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the kernel told this offset of an aligned counter within the mapping.
        unsafe { &*self.memory.base.add(offset).cast::<AtomicU32>() }
    }

    fn entry(&self, number: u32) -> *mut T {
        let place = (number & (RING_ENTRIES - 1)) as usize;
        // SAFETY: the mapping has that many entries behind the offset that the kernel told.
        unsafe { self.memory.base.add(self.entries).cast::<T>().add(place) }
    }

    /// Whether the kernel sleeps until it is woken.
    pub fn needs_wake_up(&self) -> bool {
        self.counter(self.flags).load(Ordering::Acquire) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// For a ring that we fill: puts an entry there, to be shown by [`Ring::publish`]; whether
    /// there is room.
    pub fn put(&mut self, entry: T) -> bool {
        let taken = self.counter(self.consumer).load(Ordering::Acquire);
        if self.next.wrapping_sub(taken) >= RING_ENTRIES {
            return false;
        }
        // SAFETY: the entry is within the ring, and the kernel has taken what was there.
        unsafe { self.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Shows the kernel what was put.
    pub fn publish(&self) {
        self.counter(self.producer)
            .store(self.next, Ordering::Release);
    }

    /// Whether the kernel has not taken all that was put.
    pub fn is_pending(&self) -> bool {
        self.counter(self.consumer).load(Ordering::Acquire) != self.next
    }

    /// For a ring that we fill: how many entries the kernel has not taken.
    pub fn waiting(&self) -> u32 {
        let taken = self.counter(self.consumer).load(Ordering::Acquire);
        self.next.wrapping_sub(taken)
    }

    /// For a ring that the kernel fills: takes an entry, which is the kernel's again after
    /// [`Ring::release`].
    pub fn take(&mut self) -> Option<T> {
        let put = self.counter(self.producer).load(Ordering::Acquire);
        if put == self.next {
            return None;
        }
        // SAFETY: the entry is within the ring, and the kernel has put it there.
        let entry = unsafe { self.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the places of what was taken back to the kernel.
    pub fn release(&self) {
        self.counter(self.consumer)
            .store(self.next, Ordering::Release);
    }
}

/// One socket of one queue with its rings and its frames.
#[derive(Debug)]
pub struct Queue {
    socket: OwnedFd,
    /// Which of the interface's it is.
    pub number: u32,
    /// All of its frames.
    pub frames: Frames,
    /// Those that are nowhere: in no ring, and not at the card.
    pub free: Vec<u64>,
    /// Frames for the kernel to receive into.
    pub fill: Ring<u64>,
    /// Frames that the kernel has sent.
    pub completion: Ring<u64>,
    /// Frames received.
    pub receive: Ring<libc::xdp_desc>,
    /// Frames to send.
    pub send: Ring<libc::xdp_desc>,
    /// Frames in `send` or at the card.
    pub sending: u32,
    /// Frames that came, were sent, and found `send` full.
    pub counts: [u64; 3],
}

impl Queue {
    /// Binds a socket to a queue of the interface.
    pub fn bind(interface: u32, number: u32) -> io::Result<Self> {
        let frames = Frames::new(FRAMES_PER_QUEUE)?;
        // SAFETY: no pointers; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: socket(2) has just made it for us.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let memory = libc::xdp_umem_reg {
            addr: frames.0.base as u64,
            len: frames.0.length as u64,
            chunk_size: FRAME_BYTES as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set(fd, libc::XDP_UMEM_REG, &memory)?;
        for ring in [
            libc::XDP_UMEM_FILL_RING,
            libc::XDP_UMEM_COMPLETION_RING,
            libc::XDP_RX_RING,
            libc::XDP_TX_RING,
        ] {
            set(fd, ring, &RING_ENTRIES)?;
        }
        let offsets = offsets(fd)?;
        let fill = Ring::map(
            fd,
            libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t,
            &offsets.fr,
        )?;
        let completion = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        let completion = Ring::map(fd, completion, &offsets.cr)?;
        let receive = Ring::map(fd, libc::XDP_PGOFF_RX_RING, &offsets.rx)?;
        let send = Ring::map(fd, libc::XDP_PGOFF_TX_RING, &offsets.tx)?;
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: interface,
            sxdp_queue_id: number,
            sxdp_shared_umem_fd: 0,
        };
        bind_to(fd, &address)?;
        let free = 0..FRAMES_PER_QUEUE as u64;
        Ok(Self {
            socket,
            number,
            frames,
            free: free.map(|n| n * FRAME_BYTES as u64).collect(),
            fill,
            completion,
            receive,
            send,
            sending: 0,
            counts: [0; 3],
        })
    }

    /// Readable when frames came.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Its descriptor.
    pub fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whether frames are handed over without a copy.
    pub fn is_zero_copy(&self) -> bool {
        let mut options = libc::xdp_options { flags: 0 };
        get(self.raw(), libc::XDP_OPTIONS, &mut options)
            .is_ok_and(|_| options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    /// What the kernel counted of the socket.
    pub fn statistics(&self) -> Option<libc::xdp_statistics> {
        // SAFETY: whole numbers alone, for which zeros are a value; older kernels tell the first
        // three of them.
        let mut statistics: libc::xdp_statistics = unsafe { std::mem::zeroed() };
        let told = get(self.raw(), libc::XDP_STATISTICS, &mut statistics);
        told.is_ok().then_some(statistics)
    }

    /// What the kernel says against the socket, if anything: that its interface is gone.
    pub fn error(&self) -> Option<io::Error> {
        match getsockopt(&self.socket, sockopt::SocketError) {
            Ok(0) => None,
            Ok(error) => Some(io::Error::from_raw_os_error(error)),
            Err(error) => Some(error.into()),
        }
    }

    /// Has the kernel send what is in the ring.
    pub fn wake_sender(&self) {
        // SAFETY: no pointers. What it says (EAGAIN, EBUSY, ENOBUFS) is found in the ring again.
        unsafe {
            libc::sendto(
                self.raw(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
    }

    /// Has the kernel look at the fill ring.
    pub fn wake_receiver(&self) {
        // SAFETY: no pointers.
        unsafe {
            libc::recvfrom(
                self.raw(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }
}

fn bind_to(fd: RawFd, address: &libc::sockaddr_xdp) -> io::Result<()> {
    // SAFETY: the address outlives the call, and its size is told.
    let bound = unsafe {
        libc::bind(
            fd,
            std::ptr::from_ref(address).cast(),
            size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
        )
    };
    match bound {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many receiving queues an interface has; 1 where its driver does not tell.
pub fn queues_of(name: &str) -> u32 {
    /// linux/ethtool.h, struct ethtool_channels.
    #[repr(C)]
    #[derive(Default)]
    struct Channels {
        command: u32,
        most: [u32; 4],
        receiving: u32,
        sending: u32,
        other: u32,
        combined: u32,
    }
    const GET_CHANNELS: u32 = 0x3c;
    let mut channels = Channels {
        command: GET_CHANNELS,
        ..Channels::default()
    };
    // SAFETY: whole numbers and a pointer that is set below; zeros are a value of each.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last place stays zero, as names end.
    let places = request.ifr_name.len() - 1;
    for (place, byte) in request.ifr_name.iter_mut().take(places).zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut channels).cast();
    let Ok(socket) = std::net::UdpSocket::bind("127.0.0.1:0") else {
        return 1;
    };
    // SAFETY: the request and what it points to outlive the call.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    match asked {
        0 => (channels.receiving + channels.combined).max(1),
        _ => 1,
    }
}

fn set<T>(fd: RawFd, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value outlives the call, and its size is told.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_XDP,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many bytes the kernel wrote.
fn get<T>(fd: RawFd, option: libc::c_int, value: &mut T) -> io::Result<usize> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most so many bytes as it is told that there are.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_XDP,
            option,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(length as usize),
        _ => Err(io::Error::last_os_error()),
    }
}

fn offsets(fd: RawFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: whole numbers alone, for which zeros are a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let length = get(fd, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    // Kernels before 5.4 tell no flags.
    match length == size_of::<libc::xdp_mmap_offsets>() {
        true => Ok(offsets),
        false => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    }
}
