//! A kernel of the tests: memory that is laid out as netmap's, and a card and a stack behind it.

#![allow(unsafe_code)]

use super::api::{self, Header, PortInfo, Register};
use super::registration::{System, Woken};
use super::{Memory, Turn, Worker};
use crate::relay::frame::FlowTable;
use netmap_sys::netmap::{NS_MOREFRAG, netmap_if, netmap_ring, netmap_slot};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) const BUFFER: usize = 2048;
/// Registrations that there is room for.
const INTERFACES: usize = 16;

/// A card with so many rings either way, of so many slots, and rings of the kernel's stack.
#[derive(Debug)]
pub(super) struct Kernel {
    /// In units of 128 bytes, for the alignment.
    pub(super) region: Vec<[u128; 8]>,
    pub(super) slots: u32,
    pub(super) cards: usize,
    /// Pairs of the stack.
    pub(super) hosts: usize,
    /// How long the description of an interface is.
    interface_bytes: usize,
    pub(super) rings: Vec<usize>,
    pub(super) buffers: usize,
    /// How far the kernel has sent (`nr_hwcur`), for each sending ring.
    pub(super) sent: Vec<u32>,
    /// When it has slots of the card back. The stack's are back at once (netmap_txsync_to_host).
    pub(super) completes: Completes,
}

/// When the card is through with what it was given, as txsync finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Completes {
    /// Within the synchronization that gave it.
    AtOnce,
    /// By the next synchronization.
    Later,
    /// It does not send.
    Never,
}

impl Kernel {
    /// With one pair of the stack.
    pub(super) fn new(cards: usize, slots: u32) -> Self {
        Self::with(cards, 1, slots)
    }

    pub(super) fn with(cards: usize, hosts: usize, slots: u32) -> Self {
        let each = (256 + 16 * slots as usize).next_multiple_of(128);
        let pairs = cards + hosts;
        let count = 2 * pairs;
        let interface_bytes = (56 + 8 * count).next_multiple_of(128);
        let first = INTERFACES * interface_bytes;
        let buffers = first + count * each;
        let all = buffers + count * slots as usize * BUFFER;
        let mut kernel = Self {
            region: vec![[0; 8]; all / 128],
            slots,
            cards,
            hosts,
            interface_bytes,
            rings: (0..count).map(|n| first + n * each).collect(),
            buffers,
            sent: vec![0; pairs],
            completes: Completes::AtOnce,
        };
        // SAFETY: the region is ours, and as large as was reckoned above.
        unsafe {
            for n in 0..count {
                let ring: *mut netmap_ring = kernel.at(kernel.rings[n]);
                (*ring).num_slots = slots;
                (*ring).nr_buf_size = BUFFER as u32;
                (*ring).buf_ofs = (kernel.buffers - kernel.rings[n]) as i64;
                (*ring).tail = if n < pairs { slots - 1 } else { 0 };
                for slot in 0..slots {
                    (*kernel.slot(n, slot)).buf_idx = n as u32 * slots + slot;
                }
            }
        }
        kernel.describe(0, &(0..pairs));
        kernel
    }

    /// Writes a description of the interface that has these pairs of rings; gives where it lies.
    pub(super) fn describe(&mut self, number: usize, bound: &Range<usize>) -> usize {
        let at = number * self.interface_bytes;
        let pairs = self.cards + self.hosts;
        let interface: *mut netmap_if = self.at(at);
        let (cards, hosts) = (self.cards as u32, self.hosts as u32);
        // SAFETY: as above; the stack's have no name in API 11.
        unsafe {
            (*interface).ni_tx_rings = cards;
            (*interface).ni_rx_rings = cards;
            *self.at::<u32>(at + 36) = hosts;
            *self.at::<u32>(at + 40) = hosts;
            for n in 0..2 * pairs {
                let place: *mut i64 = self.at(at + 56 + 8 * n);
                *place = match bound.contains(&(n % pairs)) {
                    true => self.rings[n] as i64 - at as i64,
                    false => 0,
                };
            }
        }
        at
    }

    pub(super) fn at<T>(&mut self, offset: usize) -> *mut T {
        let base = self.region.as_mut_ptr().cast::<u8>();
        // SAFETY: callers stay within the region.
        unsafe { base.add(offset).cast() }
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
        let rings = self.memory().rings(0).unwrap();
        Turn::new(rings).unwrap()
    }

    /// The card (or the stack, the last one) receives a frame; whether there was room.
    pub(super) fn receive(&mut self, number: usize, frame: &[u8]) -> bool {
        let at = self.cards + self.hosts + number;
        let ring: *mut netmap_ring = self.at(self.rings[at]);
        // SAFETY: as above.
        unsafe {
            let next = ((*ring).tail + 1) % self.slots;
            if next == (*ring).head {
                return false;
            }
            let slot = self.slot(at, (*ring).tail);
            (*slot).len = frame.len() as u16;
            (*slot).flags = 0;
            let buffer: *mut u8 = self.at(self.buffers + (*slot).buf_idx as usize * BUFFER);
            std::ptr::copy_nonoverlapping(frame.as_ptr(), buffer, frame.len());
            (*ring).tail = next;
        }
        true
    }

    /// The card (or the stack) receives a frame in slots of so many bytes; there must be room.
    pub(super) fn receive_split(&mut self, number: usize, frame: &[u8], bytes: usize) {
        let at = self.cards + self.hosts + number;
        let ring: *mut netmap_ring = self.at(self.rings[at]);
        let mut parts = frame.chunks(bytes).peekable();
        while let Some(part) = parts.next() {
            // SAFETY: as above.
            let slot = unsafe { (*ring).tail };
            assert!(self.receive(number, part));
            if parts.peek().is_some() {
                // SAFETY: as above.
                unsafe { (*self.slot(at, slot)).flags = NS_MOREFRAG };
            }
        }
    }

    /// What a ring has to send (the last one: to the stack), at most so many; NIOCTXSYNC.
    pub(super) fn send(&mut self, number: usize, most: u32) -> Vec<Vec<u8>> {
        let ring: *mut netmap_ring = self.at(self.rings[number]);
        let mut frames = Vec::new();
        // SAFETY: as above.
        unsafe {
            let head = (*ring).head;
            assert_eq!(head, (*ring).cur);
            let before = self.sent[number];
            while self.sent[number] != head && frames.len() < most as usize {
                let slot = self.slot(number, self.sent[number]);
                let buffer: *mut u8 = self.at(self.buffers + (*slot).buf_idx as usize * BUFFER);
                let length = usize::from((*slot).len);
                assert_eq!((*slot).flags & NS_MOREFRAG, 0, "a part of a frame is sent");
                frames.push(std::slice::from_raw_parts(buffer, length).to_vec());
                self.sent[number] = (self.sent[number] + 1) % self.slots;
            }
            let completed = match self.completes {
                _ if number >= self.cards => self.sent[number],
                Completes::AtOnce => self.sent[number],
                Completes::Later => before,
                Completes::Never => ((*ring).tail + 1) % self.slots,
            };
            (*ring).tail = (completed + self.slots - 1) % self.slots;
        }
        frames
    }

    /// Whether a ring has nothing new to send: netmap_poll passes over such rings, and what they
    /// sent before is not taken back then.
    fn is_idle(&mut self, number: usize) -> bool {
        let ring: *mut netmap_ring = self.at(self.rings[number]);
        // SAFETY: as above.
        unsafe { (*ring).head == self.sent[number] }
    }

    /// Whether a receiving ring holds frames that were not taken: poll(2) does not sleep then.
    pub(super) fn is_waiting(&mut self, number: usize) -> bool {
        let at = self.cards + self.hosts + number;
        let ring: *mut netmap_ring = self.at(self.rings[at]);
        // SAFETY: as above.
        unsafe { (*ring).cur != (*ring).tail }
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

/// What all open /dev/netmaps of a [`Kernel`] share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) kernel: Kernel,
    /// What the registration says besides what there is.
    pub(super) change: fn(&mut Register),
    /// Error numbers of PORT_INFO_GET, REGISTER, mmap and cap_rights_limit; 0: none.
    pub(super) refused: [i32; 4],
    /// The version that the kernel speaks.
    pub(super) version: u16,
    /// How often poll(2) finds fault.
    pub(super) faults: u32,
    /// What the ioctls say as long as it does.
    pub(super) fault: Woken,
    /// Whose poll(2) does: that of who has this pair.
    pub(super) faulty: usize,
    /// The most pairs of the stack that there is memory for, or that the kernel knows.
    pub(super) hosts_max: usize,
    /// How often each pair is bound, and whether by one alone (`users` and NKR_EXCLUSIVE).
    pub(super) users: Vec<u32>,
    exclusive: Vec<bool>,
    /// How often any thread called poll(2), NIOCTXSYNC with NIOCRXSYNC, and NIOCTXSYNC alone.
    pub(super) calls: [u32; 3],
    /// How often rings changed between the stack and netmap, which resets a card.
    pub(super) resets: u32,
    /// CPUs that the threads were seen on, by their first pair.
    pub(super) pinned: BTreeMap<usize, u64>,
    registrations: usize,
    asked: Sender<(u16, String, Register)>,
    receive: Receiver<(usize, Vec<u8>)>,
    /// What came, for each pair.
    came: Vec<VecDeque<Vec<u8>>>,
    sent: Sender<Left>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.kernel.all_buffers_are_there();
        assert!(self.users.iter().all(|users| *users == 0));
        // The test may be over.
        let _ = self.sent.send(Left::Closed);
    }
}

/// Open /dev/netmaps of one owner: the pairs that each has bound, once it has.
#[derive(Debug)]
pub(super) struct Device {
    shared: Arc<Mutex<Shared>>,
    files: Vec<Option<Bound>>,
}

/// A registration: its pairs, and whether nobody else may have them.
type Bound = (Range<usize>, bool);

fn refused(number: i32) -> io::Result<()> {
    match number {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

impl Shared {
    fn heard(&mut self, header: &Header, body: &Register) -> io::Result<()> {
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

    /// netmap_krings_get.
    fn bind(&mut self, pairs: &Range<usize>, exclusive: bool) -> io::Result<()> {
        let busy = |pair: usize| self.exclusive[pair] || (self.users[pair] > 0 && exclusive);
        if pairs.clone().any(busy) {
            return refused(libc::EBUSY);
        }
        let changes = pairs.clone().any(|pair| self.users[pair] == 0);
        self.resets += u32::from(changes);
        for pair in pairs.clone() {
            self.users[pair] += 1;
            self.exclusive[pair] = exclusive;
        }
        Ok(())
    }

    /// netmap_krings_put.
    fn unbind(&mut self, (pairs, exclusive): &Bound) {
        for pair in pairs.clone() {
            self.users[pair] -= 1;
            self.exclusive[pair] &= !exclusive;
        }
        let changes = pairs.clone().any(|pair| self.users[pair] == 0);
        self.resets += u32::from(changes);
    }

    /// NIOCTXSYNC of these pairs, or what poll(2) does of it.
    fn transmit(&mut self, pairs: Range<usize>, by_poll: bool) {
        for pair in pairs {
            if by_poll && self.kernel.is_idle(pair) {
                continue;
            }
            for frame in self.kernel.send(pair, u32::MAX) {
                // A test may have heard enough.
                let _ = self.sent.send(Left::Frame(pair, frame));
            }
        }
    }

    /// What the card and the stack do at a synchronization of these pairs; whether there is
    /// anything to take.
    fn synchronize(&mut self, pairs: Range<usize>, by_poll: bool) -> bool {
        self.transmit(pairs.clone(), by_poll);
        while let Ok((pair, frame)) = self.receive.try_recv() {
            self.came[pair].push_back(frame);
        }
        let mut any = false;
        for pair in pairs {
            while let Some(frame) = self.came[pair].pop_front() {
                assert!(self.kernel.receive(pair, &frame), "the ring is full");
            }
            any |= self.kernel.is_waiting(pair);
        }
        any
    }
}

impl Device {
    pub(super) fn new(kernel: Kernel) -> (Self, World, Receiver<(u16, String, Register)>) {
        let (mut owners, world, hear) = Self::owners(kernel, &[1]);
        (owners.remove(0), world, hear)
    }

    /// Owners that have so many open.
    pub(super) fn owners(
        kernel: Kernel,
        counts: &[usize],
    ) -> (Vec<Self>, World, Receiver<(u16, String, Register)>) {
        let (put, receive) = channel();
        let (sent, take) = channel();
        let (asked, hear) = channel();
        let pairs = kernel.cards + kernel.hosts;
        let shared = Arc::new(Mutex::new(Shared {
            hosts_max: kernel.hosts,
            kernel,
            change: |_| {},
            refused: [0; 4],
            version: api::API,
            faults: 0,
            fault: Woken::Ready,
            faulty: 0,
            users: vec![0; pairs],
            exclusive: vec![false; pairs],
            calls: [0; 3],
            resets: 0,
            pinned: BTreeMap::new(),
            registrations: 0,
            asked,
            receive,
            came: vec![VecDeque::new(); pairs],
            sent,
        }));
        let device = |count: &usize| Self {
            shared: Arc::clone(&shared),
            files: vec![None; *count],
        };
        let devices = counts.iter().map(device).collect();
        let world = World {
            receive: put,
            sent: take,
        };
        (devices, world, hear)
    }

    /// What all share; the world ends once the test drops it, too.
    pub(super) fn shared(&self) -> Arc<Mutex<Shared>> {
        Arc::clone(&self.shared)
    }

    /// Another process with so many open.
    pub(super) fn others(&self, counts: &[usize]) -> Vec<Self> {
        let device = |count: &usize| Self {
            shared: Arc::clone(&self.shared),
            files: vec![None; *count],
        };
        counts.iter().map(device).collect()
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn bound(&self) -> Vec<Bound> {
        self.files.iter().flatten().cloned().collect()
    }
}

impl System for Device {
    fn info(&mut self, header: &mut Header, body: &mut PortInfo) -> io::Result<()> {
        assert_eq!(header.kind, api::PORT_INFO_GET);
        self.with(|shared| {
            shared.heard(header, &Register::default())?;
            refused(shared.refused[0])?;
            body.send_rings = shared.kernel.cards as u16;
            body.receive_rings = shared.kernel.cards as u16;
            body.receive_slots = shared.kernel.slots;
            Ok(())
        })
    }

    fn register(&mut self, at: usize, header: &mut Header, body: &mut Register) -> io::Result<()> {
        assert_eq!(header.kind, api::REGISTER);
        assert!(self.files[at].is_none(), "registered twice");
        let bound = self.with(|shared| {
            shared.heard(header, body)?;
            refused(shared.refused[1])?;
            let (cards, hosts) = (shared.kernel.cards, shared.kernel.hosts);
            if usize::from(body.host_send_rings) > shared.hosts_max {
                return Err(io::Error::from_raw_os_error(libc::ENOMEM));
            }
            let ring = usize::from(body.ring);
            let pairs = match body.mode {
                api::ALL_NIC => 0..cards,
                api::NIC_SW => 0..cards + hosts,
                api::ONE_NIC => ring..ring + 1,
                api::ONE_SW => cards + ring..cards + ring + 1,
                mode => panic!("mode {mode}"),
            };
            let exclusive = body.flags & api::EXCLUSIVE != 0;
            shared.bind(&pairs, exclusive)?;
            body.offset = shared.kernel.describe(shared.registrations, &pairs) as u64;
            shared.registrations += 1;
            body.memory_bytes = shared.kernel.region.len() as u64 * 128;
            body.memory = 1;
            (body.send_rings, body.receive_rings) = (cards as u16, cards as u16);
            (body.host_send_rings, body.host_receive_rings) = (hosts as u16, hosts as u16);
            (shared.change)(body);
            Ok((pairs, exclusive))
        })?;
        self.files[at] = Some(bound);
        Ok(())
    }

    fn close(&mut self, at: usize) {
        if let Some(bound) = self.files[at].take() {
            self.with(|shared| shared.unbind(&bound));
        }
    }

    fn map(&mut self, at: usize, _bytes: usize) -> io::Result<Memory> {
        assert!(self.files[at].is_some(), "mapped before it was registered");
        self.with(|shared| {
            refused(shared.refused[2])?;
            Ok(shared.kernel.memory())
        })
    }

    fn confine(&mut self) -> io::Result<()> {
        self.with(|shared| refused(shared.refused[3]))
    }

    fn wait(&mut self, ear: BorrowedFd<'_>, timeout_ms: u16) -> io::Result<Woken> {
        self.with(|shared| shared.calls[0] += 1);
        let woken = self.turn(true);
        if woken.is_none() && timeout_ms > 0 {
            // The test's frames come by a channel, which poll(2) does not know.
            let mut ear = [PollFd::new(ear, PollFlags::POLLIN)];
            poll(&mut ear, PollTimeout::from(timeout_ms.min(2)))?;
        }
        Ok(woken.unwrap_or(Woken::Ready))
    }

    fn synchronize(&mut self) -> io::Result<Woken> {
        self.with(|shared| shared.calls[1] += 1);
        Ok(self.turn(false).unwrap_or(Woken::Ready))
    }

    fn reclaim(&mut self) -> io::Result<Woken> {
        let first = self.bound().into_iter().next();
        self.with(|shared| {
            shared.calls[2] += 1;
            if let Some((pairs, _)) = first {
                shared.transmit(pairs, false);
            }
        });
        Ok(Woken::Ready)
    }
}

impl Device {
    /// Moves frames, if there are any.
    fn turn(&self, by_poll: bool) -> Option<Woken> {
        let bound = self.bound();
        self.with(|shared| {
            let mut pairs = bound.iter().flat_map(|(pairs, _)| pairs.clone());
            if shared.faults > 0 && pairs.any(|pair| pair == shared.faulty) {
                if !by_poll {
                    return Some(shared.fault);
                }
                shared.faults -= 1;
                return Some(Woken::Fault);
            }
            if let Some((pairs, _)) = bound.first() {
                shared.pinned.insert(pairs.start, cpus());
            }
            let mut any = false;
            for (pairs, _) in &bound {
                any |= shared.synchronize(pairs.clone(), by_poll);
            }
            any.then_some(Woken::Ready)
        })
    }
}

/// The CPUs that this thread may use, as bits.
fn cpus() -> u64 {
    crate::os::pin::allowed().map_or(0, |mask| mask[0])
}

impl Drop for Device {
    fn drop(&mut self) {
        (0..self.files.len()).for_each(|at| self.close(at));
    }
}
