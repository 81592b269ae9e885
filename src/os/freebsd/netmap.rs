//! netmap(4) of the running kernel: /dev/netmap, and what is asked of the interface before it is
//! taken. Opening the device takes root (it is 0600); what comes after takes the descriptor alone.

#![allow(unsafe_code)]

use super::interface;
use super::routes::Routes;
use crate::config::NetmapPort;
use crate::os::fast::{HandOver, Hops};
use crate::os::ipc::Channel;
use crate::os::netmap::Memory;
use crate::os::netmap::api::{self, Header, PortInfo, Register};
use crate::os::netmap::driver::Opened;
use crate::os::netmap::hop_line::{Asker, serve};
use crate::os::netmap::hops::Neighbours;
use crate::os::netmap::ready::{self, Interface, Mode};
use crate::os::netmap::registration::{System, Woken, cannot, descriptors, look, owners, threads};
use capsicum::{CapRights, FileRights, IoctlsBuilder, Right};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// The device.
const PATH: &str = "/dev/netmap";

/// Looks at the interface of a port and opens netmap for it. The card stays the kernel's until the
/// driver starts. Needs root; what comes after does not.
pub fn open(port: &NetmapPort, workers: usize) -> Result<Opened, String> {
    let (interface, devices) = look_at(port)?;
    let hops = (0..workers.max(1)).map(|_| -> io::Result<Box<dyn Hops>> {
        Ok(Box::new(Neighbours::new(Routes::open()?, interface)))
    });
    let hops: io::Result<Vec<_>> = hops.collect();
    let hops = hops.map_err(|error| cannot(port, "routes", &error))?;
    Ok(Opened::new(
        port.clone(),
        interface,
        systems(port, devices)?,
        hops,
    ))
}

/// The same for another process, with a thread here that answers its questions for next hops until
/// it ends.
pub fn hand_over(port: &NetmapPort) -> Result<HandOver, String> {
    let (interface, cards) = look_at(port)?;
    let fail = |what: &'static str| move |error: io::Error| cannot(port, what, &error);
    let mut hops = Neighbours::new(Routes::open().map_err(fail("routes"))?, interface);
    let (ours, theirs) = Channel::pair().map_err(fail("socketpair"))?;
    std::thread::Builder::new()
        .name("next-hops".into())
        .spawn(move || serve(&ours, &mut hops))
        .map_err(fail("thread"))?;
    Ok(HandOver {
        interface,
        cards,
        hops: theirs,
    })
}

/// In the other process: registers the card, and takes the descriptors' other rights from it.
pub fn take_over(
    port: &NetmapPort,
    (interface, cards, hops): (Interface, Vec<OwnedFd>, Channel),
    workers: usize,
) -> Result<Opened, String> {
    let asker = Asker::new(hops).map_err(|error| cannot(port, "next hops", &error))?;
    let hops = (0..workers.max(1)).map(|_| -> Box<dyn Hops> { Box::new(asker.clone()) });
    let systems = systems(port, cards)?;
    Opened::new(port.clone(), interface, systems, hops.collect()).take()
}

/// Who has which of the descriptors.
fn systems(port: &NetmapPort, files: Vec<OwnedFd>) -> Result<Vec<Box<dyn System>>, String> {
    let owners = owners(files).ok_or_else(|| {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        cannot(port, "descriptors", &error)
    })?;
    let device = |files: Vec<OwnedFd>| -> Box<dyn System> { Box::new(Device::from(files)) };
    Ok(owners.into_iter().map(device).collect())
}

/// What the interface is, and as many open /dev/netmaps as its rings take.
fn look_at(port: &NetmapPort) -> Result<(Interface, Vec<OwnedFd>), String> {
    let facts = interface::facts(port.interface());
    let facts = facts.map_err(|error| cannot(port, "interface", &error))?;
    let interface = ready::judge(port.interface(), &facts)?;
    let open = || device().map_err(|error| cannot(port, PATH, &error));
    let mut first = Device::from(vec![open()?]);
    let info = look(&mut first, port)?;
    let threads = threads(port, &info);
    let more = (1..descriptors(threads)).map(|_| open());
    let files: Result<Vec<_>, _> = first
        .files
        .drain(..)
        .flatten()
        .map(Ok)
        .chain(more)
        .collect();
    let mode = match interface.mode {
        Mode::Native => "native",
        Mode::Emulated => "emulated by the kernel: its driver does not know netmap; this is slower",
    };
    tracing::info!(
        interface = port.name(),
        rings = info.receive_rings,
        slots = info.receive_slots,
        threads,
        mode,
        "netmap"
    );
    Ok((interface, files?))
}

fn device() -> io::Result<OwnedFd> {
    let file: File = OpenOptions::new().read(true).write(true).open(PATH)?;
    Ok(file.into())
}

/// Open /dev/netmaps of one owner, at most two. Closing them gives the card back, however the
/// process ends.
#[derive(Debug)]
pub struct Device {
    files: Vec<Option<OwnedFd>>,
    memory: Option<(NonNull<u8>, usize)>,
}

// SAFETY: the memory is the process's, and whoever has the device has it alone.
unsafe impl Send for Device {}

impl Device {
    fn file(&self, at: usize) -> io::Result<&OwnedFd> {
        let file = self.files.get(at).and_then(Option::as_ref);
        file.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    fn control(&self, at: usize, header: &mut Header) -> io::Result<()> {
        let fd = self.file(at)?.as_raw_fd();
        let request = libc::c_ulong::from(api::NIOCCTRL);
        // SAFETY: the request's number says how long the header is; its body is set by the callers,
        // who have it outlive the call, and as long as the kind of the request says.
        match unsafe { libc::ioctl(fd, request, std::ptr::from_mut(header)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl From<Vec<OwnedFd>> for Device {
    /// Takes over what somebody with more rights opened.
    fn from(files: Vec<OwnedFd>) -> Self {
        let files = files.into_iter().map(Some).collect();
        let memory = None;
        Self { files, memory }
    }
}

impl System for Device {
    fn info(&mut self, header: &mut Header, body: &mut PortInfo) -> io::Result<()> {
        header.body = std::ptr::from_mut(body) as u64;
        self.control(0, header)
    }

    fn register(&mut self, at: usize, header: &mut Header, body: &mut Register) -> io::Result<()> {
        header.body = std::ptr::from_mut(body) as u64;
        self.control(at, header)
    }

    fn close(&mut self, at: usize) {
        if let Some(file) = self.files.get_mut(at) {
            *file = None;
        }
    }

    fn map(&mut self, at: usize, bytes: usize) -> io::Result<Memory> {
        let fd = self.file(at)?.as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice; the result is checked.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        self.memory = Some((base, bytes));
        // SAFETY: mapped above, aligned to a page, until this device is dropped, which outlives the
        // rings; nothing of Rust points there.
        Ok(unsafe { Memory::new(base, bytes) })
    }

    fn confine(&mut self) -> io::Result<()> {
        for file in self.files.iter().flatten() {
            let mut rights = FileRights::new();
            rights.allow(Right::Ioctl).allow(Right::Event);
            rights.allow(Right::MmapRW);
            rights.limit(file)?;
            let requests = [api::NIOCTXSYNC, api::NIOCRXSYNC].into_iter();
            let requests = requests.fold(IoctlsBuilder::new(), |all, request| {
                all.allow(libc::c_ulong::from(request))
            });
            requests.finalize().limit(file)?;
        }
        Ok(())
    }

    fn wait(&mut self, ear: BorrowedFd<'_>, timeout_ms: u16) -> io::Result<Woken> {
        // The card's, the stack's, and the ear; the ear again where there are fewer.
        let mut wait: [PollFd<'_>; 3] = std::array::from_fn(|at| {
            let file = self.files.get(at).and_then(Option::as_ref);
            PollFd::new(file.map_or(ear, AsFd::as_fd), PollFlags::POLLIN)
        });
        poll(&mut wait, PollTimeout::from(timeout_ms))?;
        let faulty = |said: PollFlags| said.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL);
        let mut said = wait.iter().filter_map(PollFd::revents);
        Ok(match said.any(faulty) {
            true => Woken::Fault,
            false => Woken::Ready,
        })
    }

    fn synchronize(&mut self) -> io::Result<Woken> {
        for file in self.files.iter().flatten() {
            for request in [api::NIOCTXSYNC, api::NIOCRXSYNC] {
                match synchronize(file, request)? {
                    Woken::Ready => {}
                    fault => return Ok(fault),
                }
            }
        }
        Ok(Woken::Ready)
    }

    fn reclaim(&mut self) -> io::Result<Woken> {
        // The card's rings are the first open descriptor's, and the stack's take nothing back.
        let card = self.files.iter().flatten().next();
        card.map_or(Ok(Woken::Ready), |file| synchronize(file, api::NIOCTXSYNC))
    }
}

/// One of the two requests that synchronize all rings of a descriptor.
fn synchronize(file: &OwnedFd, request: u32) -> io::Result<Woken> {
    // SAFETY: the request has no argument.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::c_ulong::from(request)) };
    if done == 0 {
        return Ok(Woken::Ready);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EIO) => Ok(Woken::Stopped),
        Some(libc::ENXIO) => Ok(Woken::Gone),
        _ => Err(error),
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some((base, bytes)) = self.memory.take() {
            // SAFETY: the mapping that `map` made, whose rings are gone before.
            unsafe { libc::munmap(base.as_ptr().cast(), bytes) };
        }
    }
}
