//! The drivers that a configuration can name.

use super::{Running, Side};
use crate::config::{Fastpath, FastpathMode};
use crate::os::clock::Clock;
use crate::os::ipc::Channel;
use crate::os::netmap::ready::Interface;
use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;

/// A card that is ours and carries nothing yet.
pub trait Card: Send + Debug {
    /// Starts the driver, with a line for each worker that it was opened for. Makes no socket.
    fn start(self: Box<Self>, clock: Clock, mode: FastpathMode) -> io::Result<Started>;
}

/// A running driver, and the workers' lines to it.
pub type Started = (Running, Vec<Side>);

/// Takes the card that the configuration names, if it names one, for so many workers. Needs root;
/// what comes after does not. Fails with what is wrong and the remedy.
pub fn open(fastpath: &Fastpath, workers: usize) -> Result<Option<Box<dyn Card>>, String> {
    match fastpath {
        Fastpath::Off => Ok(None),
        #[cfg(target_os = "linux")]
        Fastpath::Xdp(name) => Ok(Some(Box::new(crate::os::linux::xdp::open(name, workers)?))),
        #[cfg(not(target_os = "linux"))]
        Fastpath::Xdp(name) => Err(format!(
            "[rtp] fastpath: \"xdp:{name}\" is for Linux; write \"off\" or, on FreeBSD, \
             \"netmap:ix0\""
        )),
        #[cfg(target_os = "freebsd")]
        Fastpath::Netmap(port) => Ok(Some(Box::new(crate::os::freebsd::netmap::open(
            port, workers,
        )?))),
        #[cfg(not(target_os = "freebsd"))]
        Fastpath::Netmap(port) => Err(format!(
            "[rtp] fastpath: \"netmap:{}\" is for FreeBSD; write \"off\" or, on Linux, \
             \"xdp:eth0\"",
            port.name()
        )),
    }
}

/// What another process needs to be the driver.
#[derive(Debug)]
pub struct HandOver {
    /// What it must know.
    pub interface: Interface,
    /// The card, open as often as its driver wants it.
    pub cards: Vec<OwnedFd>,
    /// Where it asks for next hops; a thread of ours answers until it ends.
    pub hops: Channel,
}

/// Opens the card that the configuration names for another process, where that one cannot do so by
/// itself: next hops are not to be had in capability mode. Each start of that process
/// wants a card opened anew: with the last descriptor of the old one the system has it back.
pub fn hand_over(fastpath: &Fastpath) -> Result<Option<HandOver>, String> {
    match fastpath {
        Fastpath::Off | Fastpath::Xdp(_) => Ok(None),
        #[cfg(target_os = "freebsd")]
        Fastpath::Netmap(port) => crate::os::freebsd::netmap::hand_over(port).map(Some),
        #[cfg(not(target_os = "freebsd"))]
        Fastpath::Netmap(_) => open(fastpath, 0).map(|_| None),
    }
}

/// Takes over a card, and with it the interface's frames: the driver shall be started soon.
#[cfg(target_os = "freebsd")]
pub fn take_over(
    fastpath: &Fastpath,
    (interface, cards, hops): (Interface, Vec<OwnedFd>, Channel),
    workers: usize,
) -> Result<Box<dyn Card>, String> {
    match fastpath {
        Fastpath::Netmap(port) => {
            let taken =
                crate::os::freebsd::netmap::take_over(port, (interface, cards, hops), workers)?;
            Ok(Box::new(taken))
        }
        Fastpath::Off | Fastpath::Xdp(_) => Err("[rtp] fastpath: a card of another driver".into()),
    }
}

/// No driver of this system is passed on.
#[cfg(not(target_os = "freebsd"))]
pub fn take_over(
    fastpath: &Fastpath,
    _: (Interface, Vec<OwnedFd>, Channel),
    _: usize,
) -> Result<Box<dyn Card>, String> {
    Err(format!(
        "[rtp] fastpath: \"{fastpath}\" is not passed on here"
    ))
}
