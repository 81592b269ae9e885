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
use crate::os::netmap::registration::{System, Woken, cannot, look};
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
    let (interface, device) = look_at(port)?;
    let hops = (0..workers.max(1)).map(|_| -> io::Result<Box<dyn Hops>> {
        Ok(Box::new(Neighbours::new(Routes::open()?, interface)))
    });
    let hops: io::Result<Vec<_>> = hops.collect();
    let hops = hops.map_err(|error| cannot(port, "routes", &error))?;
    Ok(Opened::new(port.clone(), interface, Box::new(device), hops))
}

/// The same for another process, with a thread here that answers its questions for next hops until
/// it ends.
pub fn hand_over(port: &NetmapPort) -> Result<HandOver, String> {
    let (interface, device) = look_at(port)?;
    let fail = |what: &'static str| move |error: io::Error| cannot(port, what, &error);
    let mut hops = Neighbours::new(Routes::open().map_err(fail("routes"))?, interface);
    let (ours, theirs) = Channel::pair().map_err(fail("socketpair"))?;
    std::thread::Builder::new()
        .name("next-hops".into())
        .spawn(move || serve(&ours, &mut hops))
        .map_err(fail("thread"))?;
    Ok(HandOver {
        interface,
        card: device.file.try_clone().map_err(fail(PATH))?,
        hops: theirs,
    })
}

/// In the other process: registers the card, and takes the descriptor's other rights from it.
pub fn take_over(
    port: &NetmapPort,
    (interface, card, hops): (Interface, OwnedFd, Channel),
    workers: usize,
) -> Result<Opened, String> {
    let asker = Asker::new(hops).map_err(|error| cannot(port, "next hops", &error))?;
    let hops = (0..workers.max(1)).map(|_| -> Box<dyn Hops> { Box::new(asker.clone()) });
    let system = Box::new(Device::from(card));
    Opened::new(port.clone(), interface, system, hops.collect()).take()
}

fn look_at(port: &NetmapPort) -> Result<(Interface, Device), String> {
    let facts = interface::facts(port.interface());
    let facts = facts.map_err(|error| cannot(port, "interface", &error))?;
    let (interface, mode) = ready::judge(port.interface(), &facts)?;
    let mut device = Device::open().map_err(|error| cannot(port, PATH, &error))?;
    let info = look(&mut device, port)?;
    let mode = match mode {
        Mode::Native => "native",
        Mode::Emulated => "emulated by the kernel: its driver does not know netmap; this is slower",
    };
    tracing::info!(
        interface = port.name(),
        rings = info.receive_rings,
        slots = info.receive_slots,
        mode,
        "netmap"
    );
    Ok((interface, device))
}

/// An open /dev/netmap. Closing it gives the card back, however the process ends.
#[derive(Debug)]
pub struct Device {
    file: OwnedFd,
    memory: Option<(NonNull<u8>, usize)>,
}

// SAFETY: the memory is the process's, and whoever has the device has it alone.
unsafe impl Send for Device {}

impl Device {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let file: File = OpenOptions::new().read(true).write(true).open(PATH)?;
        Ok(Self::from(OwnedFd::from(file)))
    }

    fn control(&self, header: &mut Header) -> io::Result<()> {
        let fd = self.file.as_raw_fd();
        let request = libc::c_ulong::from(api::NIOCCTRL);
        // SAFETY: the request's number says how long the header is; its body is set by the callers,
        // who have it outlive the call, and as long as the kind of the request says.
        match unsafe { libc::ioctl(fd, request, std::ptr::from_mut(header)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl From<OwnedFd> for Device {
    /// Takes over what somebody with more rights opened.
    fn from(file: OwnedFd) -> Self {
        Self { file, memory: None }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl System for Device {
    fn info(&mut self, header: &mut Header, body: &mut PortInfo) -> io::Result<()> {
        header.body = std::ptr::from_mut(body) as u64;
        self.control(header)
    }

    fn register(&mut self, header: &mut Header, body: &mut Register) -> io::Result<()> {
        header.body = std::ptr::from_mut(body) as u64;
        self.control(header)
    }

    fn map(&mut self, bytes: usize) -> io::Result<Memory> {
        // SAFETY: a new mapping at an address of the kernel's choice; the result is checked.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                self.file.as_raw_fd(),
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
        let mut rights = FileRights::new();
        rights.allow(Right::Ioctl).allow(Right::Event);
        rights.allow(Right::MmapRW);
        rights.limit(&self.file)?;
        let requests = [api::NIOCTXSYNC, api::NIOCRXSYNC].into_iter();
        let requests = requests.fold(IoctlsBuilder::new(), |all, request| {
            all.allow(libc::c_ulong::from(request))
        });
        requests.finalize().limit(&self.file)
    }

    fn wait(&mut self, ear: BorrowedFd<'_>, timeout_ms: u16) -> io::Result<Woken> {
        let mut both = [
            PollFd::new(self.file.as_fd(), PollFlags::POLLIN),
            PollFd::new(ear, PollFlags::POLLIN),
        ];
        poll(&mut both, PollTimeout::from(timeout_ms))?;
        let fault = both
            .first()
            .and_then(PollFd::revents)
            .is_some_and(|said| said.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL));
        Ok(if fault { Woken::Fault } else { Woken::Ready })
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
