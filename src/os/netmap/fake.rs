//! A kernel of the tests: memory that is laid out as netmap's, and a card and a stack behind it.

#![allow(unsafe_code)]

use super::api::{self, Header, PortInfo, Register};
use super::registration::{System, Woken};
use super::{Memory, Turn, Worker};
use crate::relay::frame::FlowTable;
use netmap_sys::netmap::{netmap_if, netmap_ring, netmap_slot};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::mpsc::{Receiver, Sender, channel};

pub(super) const BUFFER: usize = 2048;

/// A card with so many rings either way, of so many slots, and one pair to the kernel's stack.
#[derive(Debug)]
pub(super) struct Kernel {
    /// In units of 128 bytes, for the alignment.
    pub(super) region: Vec<[u128; 8]>,
    pub(super) slots: u32,
    pub(super) cards: usize,
    pub(super) rings: Vec<usize>,
    pub(super) buffers: usize,
    /// How far the kernel has sent, for each sending ring.
    pub(super) sent: Vec<u32>,
}

impl Kernel {
    pub(super) fn new(cards: usize, slots: u32) -> Self {
        let each = (256 + 16 * slots as usize).next_multiple_of(128);
        let first = (56 + 8 * 2 * (cards + 1)).next_multiple_of(128);
        let count = 2 * (cards + 1);
        let buffers = first + count * each;
        let all = buffers + count * slots as usize * BUFFER;
        let mut kernel = Self {
            region: vec![[0; 8]; all / 128],
            slots,
            cards,
            rings: (0..count).map(|n| first + n * each).collect(),
            buffers,
            sent: vec![0; cards + 1],
        };
        let interface: *mut netmap_if = kernel.at(0);
        // SAFETY: the region is ours, and as large as was reckoned above.
        unsafe {
            (*interface).ni_tx_rings = cards as u32;
            (*interface).ni_rx_rings = cards as u32;
            kernel.host_rings(1);
            for n in 0..count {
                let place: *mut i64 = kernel.at(56 + 8 * n);
                *place = kernel.rings[n] as i64;
                let ring: *mut netmap_ring = kernel.at(kernel.rings[n]);
                (*ring).num_slots = slots;
                (*ring).nr_buf_size = BUFFER as u32;
                (*ring).buf_ofs = (kernel.buffers - kernel.rings[n]) as i64;
                (*ring).tail = if n <= cards { slots - 1 } else { 0 };
                for slot in 0..slots {
                    (*kernel.slot(n, slot)).buf_idx = n as u32 * slots + slot;
                }
            }
        }
        kernel
    }

    pub(super) fn at<T>(&mut self, offset: usize) -> *mut T {
        let base = self.region.as_mut_ptr().cast::<u8>();
        // SAFETY: callers stay within the region.
        unsafe { base.add(offset).cast() }
    }

    /// So many rings of the stack, either way.
    pub(super) fn host_rings(&mut self, count: u32) {
        for place in [36, 40] {
            // SAFETY: `ni_host_tx_rings` and `ni_host_rx_rings`, which API 11 does not name.
            unsafe { *self.at::<u32>(place) = count };
        }
    }

    pub(super) fn slot(&mut self, ring: usize, slot: u32) -> *mut netmap_slot {
        self.at(self.rings[ring] + 256 + 16 * slot as usize)
    }

    pub(super) fn memory(&mut self) -> Memory {
        let length = self.region.len() * 128;
        let base = NonNull::new(self.region.as_mut_ptr().cast()).unwrap();
        // SAFETY: the region lives as long as the test, and only raw pointers go there.
        unsafe { Memory::new(base, length) }
    }

    pub(super) fn turn(&mut self) -> Turn {
        let rings = self.memory().rings(0, true).unwrap();
        Turn::new(rings).unwrap()
    }

    /// The card (or the stack, the last one) receives a frame; whether there was room.
    pub(super) fn receive(&mut self, number: usize, frame: &[u8]) -> bool {
        let at = self.cards + 1 + number;
        let ring: *mut netmap_ring = self.at(self.rings[at]);
        // SAFETY: as above.
        unsafe {
            let next = ((*ring).tail + 1) % self.slots;
            if next == (*ring).head {
                return false;
            }
            let slot = self.slot(at, (*ring).tail);
            (*slot).len = frame.len() as u16;
            let buffer: *mut u8 = self.at(self.buffers + (*slot).buf_idx as usize * BUFFER);
            std::ptr::copy_nonoverlapping(frame.as_ptr(), buffer, frame.len());
            (*ring).tail = next;
        }
        true
    }

    /// What a ring has to send (the last one: to the stack), at most so many; NIOCTXSYNC.
    pub(super) fn send(&mut self, number: usize, most: u32) -> Vec<Vec<u8>> {
        let ring: *mut netmap_ring = self.at(self.rings[number]);
        let mut frames = Vec::new();
        // SAFETY: as above.
        unsafe {
            let head = (*ring).head;
            assert_eq!(head, (*ring).cur);
            while self.sent[number] != head && frames.len() < most as usize {
                let slot = self.slot(number, self.sent[number]);
                let buffer: *mut u8 = self.at(self.buffers + (*slot).buf_idx as usize * BUFFER);
                let length = usize::from((*slot).len);
                frames.push(std::slice::from_raw_parts(buffer, length).to_vec());
                self.sent[number] = (self.sent[number] + 1) % self.slots;
            }
            (*ring).tail = (self.sent[number] + self.slots - 1) % self.slots;
        }
        frames
    }

    /// Every buffer is in one slot, and in one only.
    pub(super) fn all_buffers_are_there(&mut self) {
        let mut all = Vec::new();
        for ring in 0..self.rings.len() {
            for slot in 0..self.slots {
                // SAFETY: as above.
                all.push(unsafe { (*self.slot(ring, slot)).buf_idx });
            }
        }
        all.sort_unstable();
        assert!(
            all.iter()
                .enumerate()
                .all(|(n, buffer)| *buffer == n as u32),
            "{all:?}"
        );
    }
}

/// A flow table, and who takes the frames that are left.
pub(super) struct Apart<'a>(
    pub(super) &'a mut FlowTable,
    pub(super) &'a mut dyn FnMut(&[u8]) -> bool,
);

impl Worker for Apart<'_> {
    fn table(&mut self) -> &mut FlowTable {
        self.0
    }

    fn punt(&mut self, frame: &[u8]) -> bool {
        (self.1)(frame)
    }
}

/// What a test says to the card, and hears of it.
#[derive(Debug)]
pub(super) struct World {
    /// The card (or the stack: the ring behind the card's last) receives a frame.
    pub(super) receive: Sender<(usize, Vec<u8>)>,
    /// What left, by which ring.
    pub(super) sent: Receiver<Left>,
}

/// What leaves the card.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    Frame(usize, Vec<u8>),
    /// The descriptor was closed: the card is the stack's again.
    Closed,
}

/// An open /dev/netmap of a [`Kernel`].
#[derive(Debug)]
pub(super) struct Device {
    pub(super) kernel: Kernel,
    /// What the registration says besides what there is.
    pub(super) change: fn(&mut Register),
    /// Error numbers of PORT_INFO_GET, REGISTER, mmap and cap_rights_limit; 0: none.
    pub(super) refused: [i32; 4],
    /// The version that the kernel speaks.
    pub(super) version: u16,
    /// How often poll(2) finds fault.
    pub(super) faults: u32,
    /// Names that were asked for.
    pub(super) asked: Sender<(u16, String, Register)>,
    receive: Receiver<(usize, Vec<u8>)>,
    sent: Sender<Left>,
}

fn refused(number: i32) -> io::Result<()> {
    match number {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

impl Device {
    pub(super) fn new(kernel: Kernel) -> (Self, World, Receiver<(u16, String, Register)>) {
        let (put, receive) = channel();
        let (sent, take) = channel();
        let (asked, hear) = channel();
        let device = Self {
            kernel,
            change: |_| {},
            refused: [0; 4],
            version: api::API,
            faults: 0,
            asked,
            receive,
            sent,
        };
        let world = World {
            receive: put,
            sent: take,
        };
        (device, world, hear)
    }

    fn heard(&mut self, header: &mut Header, body: &Register) -> io::Result<()> {
        let end = header.name.iter().position(|b| *b == 0).unwrap();
        let name = String::from_utf8(header.name[..end].to_vec()).unwrap();
        // A test may not care.
        let _ = self.asked.send((header.kind, name, *body));
        // sys/dev/netmap/netmap.c, netmap_ioctl: EINVAL for another version, and nothing written.
        refused(if header.version == self.version {
            0
        } else {
            libc::EINVAL
        })
    }

    /// What the card and the stack do at a synchronization; whether there was anything.
    fn synchronize(&mut self) -> bool {
        let mut any = false;
        for ring in 0..=self.kernel.cards {
            for frame in self.kernel.send(ring, u32::MAX) {
                any = true;
                // A test may have heard enough.
                let _ = self.sent.send(Left::Frame(ring, frame));
            }
        }
        while let Ok((ring, frame)) = self.receive.try_recv() {
            any = true;
            assert!(self.kernel.receive(ring, &frame), "the ring is full");
        }
        any
    }
}

impl System for Device {
    fn info(&mut self, header: &mut Header, body: &mut PortInfo) -> io::Result<()> {
        assert_eq!(header.kind, api::PORT_INFO_GET);
        self.heard(header, &Register::default())?;
        refused(self.refused[0])?;
        body.receive_rings = self.kernel.cards as u16;
        body.receive_slots = self.kernel.slots;
        Ok(())
    }

    fn register(&mut self, header: &mut Header, body: &mut Register) -> io::Result<()> {
        assert_eq!(header.kind, api::REGISTER);
        self.heard(header, body)?;
        refused(self.refused[1])?;
        body.offset = 0;
        body.memory_bytes = self.kernel.region.len() as u64 * 128;
        body.memory = 1;
        (self.change)(body);
        Ok(())
    }

    fn map(&mut self, _bytes: usize) -> io::Result<Memory> {
        refused(self.refused[2])?;
        Ok(self.kernel.memory())
    }

    fn confine(&mut self) -> io::Result<()> {
        refused(self.refused[3])
    }

    fn wait(&mut self, ear: BorrowedFd<'_>, timeout_ms: u16) -> io::Result<Woken> {
        if self.faults > 0 {
            self.faults -= 1;
            return Ok(Woken::Fault);
        }
        if !self.synchronize() && timeout_ms > 0 {
            // The test's frames come by a channel, which poll(2) does not know.
            let mut ear = [PollFd::new(ear, PollFlags::POLLIN)];
            poll(&mut ear, PollTimeout::from(timeout_ms.min(2)))?;
        }
        Ok(Woken::Ready)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kernel.all_buffers_are_there();
        // The test may be over.
        let _ = self.sent.send(Left::Closed);
    }
}
