//! The memory that netmap shares with us: an interface, its rings, and buffers (net/netmap.h,
//! NETMAP_API 14). All that the kernel writes there is looked at before it is believed.

#![allow(unsafe_code)]

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG, netmap_if, netmap_ring, netmap_slot};
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// The most slots of a ring that are believed.
const SLOTS_MAX: u32 = 1 << 16;
/// The shortest buffer.
const BUFFER_BYTES_MIN: u32 = 64;
/// The longest.
const BUFFER_BYTES_MAX: u32 = 1 << 16;
/// The most rings of a kind.
const RINGS_MAX: u32 = 1024;

// netmap-sys speaks API 11: what is used of its layouts is the same in 14.
const _: () = assert!(size_of::<netmap_ring>() == 256);
const _: () = assert!(size_of::<netmap_slot>() == 16);
const _: () = assert!(offset_of!(netmap_ring, head) == 20);
const _: () = assert!(offset_of!(netmap_ring, cur) == 24);
const _: () = assert!(offset_of!(netmap_ring, tail) == 28);
const _: () = assert!(offset_of!(netmap_ring, slot) == 256);
const _: () = assert!(offset_of!(netmap_if, ni_tx_rings) == 24);
const _: () = assert!(offset_of!(netmap_if, ring_ofs) == 56);
const _: () = assert!(offset_of!(netmap_if, ni_bufs_head) == 32);

/// `ni_host_tx_rings`, which API 14 put where 11 has a spare field.
const HOST_TX_RINGS: usize = 36;
/// `ni_host_rx_rings`, likewise.
const HOST_RX_RINGS: usize = 40;

/// Something of the memory lies outside of it, or is out of all proportion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flaw(&'static str);

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "netmap's memory is damaged: {}", self.0)
    }
}

/// A region shared with the kernel. Whoever makes one sees that it outlives the rings in it, and
/// that no ring of it is made twice.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: it is memory of the process; each ring has one thread, and each buffer is in one ring.
unsafe impl Send for Memory {}

impl Memory {
    /// The region of `length` bytes at `base`.
    ///
    /// # Safety
    /// It must be mapped, readable and writable, aligned to 128 bytes, for as long as anything made
    /// of it lives, and no reference of Rust's may point into it.
    pub unsafe fn new(base: NonNull<u8>, length: usize) -> Self {
        Self { base, length }
    }

    fn at<T>(&self, offset: i64, what: &'static str) -> Result<NonNull<T>, Flaw> {
        let flaw = Flaw(what);
        let start = usize::try_from(offset).map_err(|_| flaw)?;
        let end = start.checked_add(size_of::<T>()).ok_or(flaw)?;
        if end > self.length || !start.is_multiple_of(align_of::<T>()) {
            return Err(flaw);
        }
        // SAFETY: within the region.
        Ok(unsafe { self.base.add(start) }.cast())
    }

    /// The rings of the interface at `offset` (`nr_offset` of what registered it) that are bound.
    pub fn rings(&self, offset: u64) -> Result<Rings, Flaw> {
        let offset = i64::try_from(offset).map_err(|_| Flaw("interface"))?;
        // Its `ni_version` says nothing: no kernel writes it (net/netmap.h).
        self.at::<netmap_if>(offset, "interface")?;
        let places = [
            offset_of!(netmap_if, ni_tx_rings),
            HOST_TX_RINGS,
            offset_of!(netmap_if, ni_rx_rings),
            HOST_RX_RINGS,
        ];
        let mut counts = [0; 4];
        for (count, place) in counts.iter_mut().zip(places) {
            let place = self.at::<u32>(offset + place as i64, "number of rings")?;
            // SAFETY: `at` has it within the region.
            *count = unsafe { place.as_ptr().read_volatile() };
        }
        if counts.iter().any(|count| *count > RINGS_MAX) {
            return Err(Flaw("number of rings"));
        }
        let list = offset + offset_of!(netmap_if, ring_ofs) as i64;
        let ring = |number: u32| -> Result<Option<Ring>, Flaw> {
            let place = self.at::<isize>(list + 8 * i64::from(number), "list of rings")?;
            // SAFETY: `at` has it within the region.
            let from_interface = unsafe { place.as_ptr().read_volatile() } as i64;
            // The offset of a ring that is not bound is 0: nothing of it is to be read.
            if from_interface == 0 {
                return Ok(None);
            }
            let at = offset.checked_add(from_interface);
            Ring::new(*self, at.ok_or(Flaw("ring"))?).map(Some)
        };
        let [send, host_send, receive, host_receive] = counts;
        let mut first = 0;
        let mut next = |count: u32| -> Result<Vec<Ring>, Flaw> {
            let numbers = first..first + count;
            first += count;
            numbers
                .filter_map(|number| ring(number).transpose())
                .collect()
        };
        Ok(Rings {
            send: next(send)?,
            host_send: next(host_send)?,
            receive: next(receive)?,
            host_receive: next(host_receive)?,
        })
    }
}

/// The rings that a registration bound.
#[derive(Debug)]
pub struct Rings {
    /// The card's, to send by.
    pub send: Vec<Ring>,
    /// The stack's, to hand frames to it.
    pub host_send: Vec<Ring>,
    /// The card's, to receive from.
    pub receive: Vec<Ring>,
    /// The stack's, of what it sends.
    pub host_receive: Vec<Ring>,
}

/// One ring. The slots from `head` to `tail` are ours: frames that came, or free to send by; the
/// others are the kernel's until the next synchronization.
#[derive(Debug)]
pub struct Ring {
    memory: Memory,
    ring: NonNull<netmap_ring>,
    /// Where it begins in the region.
    offset: i64,
    slots: u32,
    buffers: i64,
    buffer_bytes: usize,
    /// Our own count, as the kernel sees it after [`Ring::publish`].
    head: u32,
    /// Whether the frame of the slot before goes on in the next.
    goes_on: bool,
}

// SAFETY: as for `Memory`.
unsafe impl Send for Ring {}

/// What a slot names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The number of its buffer.
    pub buffer: u32,
    /// How long the frame is, or what is here of it.
    pub length: u16,
    /// Whether the frame goes on in the next slot (NS_MOREFRAG).
    pub goes_on: bool,
}

/// What a slot holds of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first part: the others are in the slots behind.
    First,
    /// Another part.
    Further,
}

impl Ring {
    fn new(memory: Memory, offset: i64) -> Result<Self, Flaw> {
        let ring = memory.at::<netmap_ring>(offset, "ring")?;
        // SAFETY: `at` has it within the region.
        let (slots, buffers, bytes, head) = unsafe {
            let ring = ring.as_ptr();
            (
                (&raw const (*ring).num_slots).read_volatile(),
                (&raw const (*ring).buf_ofs).read_volatile(),
                (&raw const (*ring).nr_buf_size).read_volatile(),
                (&raw const (*ring).head).read_volatile(),
            )
        };
        if !(2..=SLOTS_MAX).contains(&slots) || head >= slots {
            return Err(Flaw("number of slots"));
        }
        let last = offset + 256 + 16 * i64::from(slots - 1);
        // A frame of an Ethernet must have room, and a length is told in 16 bits.
        if !(BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&bytes) {
            return Err(Flaw("size of buffers"));
        }
        memory.at::<netmap_slot>(last, "slots")?;
        let made = Self {
            memory,
            ring,
            offset,
            slots,
            buffers: offset.checked_add(buffers).ok_or(Flaw("buffers"))?,
            buffer_bytes: bytes as usize,
            head,
            goes_on: false,
        };
        for slot in 0..slots {
            let held = made.slot_at(slot);
            made.place(held.buffer).ok_or(Flaw("buffer"))?;
        }
        Ok(made)
    }

    fn counter(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: a counter within the ring, which the kernel and we change.
        unsafe {
            &*self
                .ring
                .as_ptr()
                .cast::<u8>()
                .add(offset)
                .cast::<AtomicU32>()
        }
    }

    /// How long a frame may be.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// How many slots are the kernel's: frames on their way out, or room for what comes. One slot
    /// is always free.
    pub fn away(&self) -> u32 {
        (self.slots - 1).saturating_sub(self.space())
    }

    /// How many slots are ours.
    pub fn space(&self) -> u32 {
        let tail = self
            .counter(offset_of!(netmap_ring, tail))
            .load(Ordering::Acquire);
        // A tail that is no slot's number: nothing is ours.
        if tail >= self.slots {
            return 0;
        }
        (tail + self.slots - self.head) % self.slots
    }

    /// Whether so few slots are ours that the next frames may find none: less than `batch`, or of
    /// a small ring a quarter.
    pub fn is_short(&self, batch: u32) -> bool {
        self.space() < batch.min(self.slots / 4).max(1)
    }

    /// What the slot names that lies so many behind the next one.
    pub fn peek(&self, ahead: u32) -> Held {
        self.slot_at((self.head + ahead) % self.slots)
    }

    fn slot_pointer(&self, number: u32) -> *mut netmap_slot {
        let first = self.offset + offset_of!(netmap_ring, slot) as i64;
        // SAFETY: `new` has seen that all slots are within the region.
        unsafe {
            let first = self.memory.base.as_ptr().offset(first as isize);
            first.cast::<netmap_slot>().add(number as usize)
        }
    }

    fn slot_at(&self, number: u32) -> Held {
        let slot = self.slot_pointer(number);
        // SAFETY: as `slot_pointer` says.
        unsafe {
            Held {
                buffer: (&raw const (*slot).buf_idx).read_volatile(),
                length: (&raw const (*slot).len).read_volatile(),
                goes_on: (&raw const (*slot).flags).read_volatile() & NS_MOREFRAG != 0,
            }
        }
    }

    /// Where a buffer lies, if it is within the region.
    fn place(&self, buffer: u32) -> Option<usize> {
        let offset = i64::from(buffer).checked_mul(self.buffer_bytes as i64)?;
        let start = usize::try_from(self.buffers.checked_add(offset)?).ok()?;
        let end = start.checked_add(self.buffer_bytes)?;
        (end <= self.memory.length).then_some(start)
    }

    /// What the next slot holds of a frame. To be asked once for each slot, in their order.
    pub fn part(&mut self, held: Held) -> Part {
        let further = std::mem::replace(&mut self.goes_on, held.goes_on);
        match (further, held.goes_on) {
            (true, _) => Part::Further,
            (false, true) => Part::First,
            (false, false) => Part::Whole,
        }
    }

    /// The whole buffer of a slot of ours; `None` if the kernel's slot leads astray.
    pub fn bytes(&mut self, held: Held) -> Option<&mut [u8]> {
        let start = self.place(held.buffer)?;
        // SAFETY: within the region, and ours as the slot is.
        let bytes = unsafe {
            let start = self.memory.base.as_ptr().add(start);
            std::slice::from_raw_parts_mut(start, self.buffer_bytes)
        };
        Some(bytes)
    }

    /// The next slot names another buffer, and with it goes to the kernel once it is published.
    /// Gives what it named before. There must be [`Ring::space`].
    pub fn swap(&mut self, new: Held) -> Held {
        let slot = self.slot_pointer(self.head);
        let old = self.slot_at(self.head);
        // SAFETY: as `slot_pointer` says; the slot is ours.
        unsafe {
            (&raw mut (*slot).buf_idx).write_volatile(new.buffer);
            (&raw mut (*slot).len).write_volatile(new.length);
            (&raw mut (*slot).flags).write_volatile(NS_BUF_CHANGED);
        }
        self.advance();
        old
    }

    /// The next slot goes to the kernel as it is.
    pub fn advance(&mut self) {
        self.head = (self.head + 1) % self.slots;
    }

    /// Goes on where the kernel says that we are: it sets a ring back that it finds fault with.
    pub fn resume(&mut self) {
        let head = self
            .counter(offset_of!(netmap_ring, head))
            .load(Ordering::Acquire);
        if head < self.slots {
            self.head = head;
            self.goes_on = false;
        }
    }

    /// Shows the kernel how far we are: it looks at its next synchronization.
    pub fn publish(&self) {
        for offset in [offset_of!(netmap_ring, cur), offset_of!(netmap_ring, head)] {
            self.counter(offset).store(self.head, Ordering::Release);
        }
    }
}
