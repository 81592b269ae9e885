//! The drivers that a configuration can name.

use super::{Figures, Side};
use crate::config::Fastpath;
use crate::os::clock::Clock;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// A card that is ours and carries nothing yet.
pub trait Card: Send + Debug {
    /// Starts the driver, with a line for each of so many workers.
    fn start(self: Box<Self>, workers: usize, clock: Clock) -> io::Result<Started>;
}

/// A running driver, and the workers' lines to it.
pub type Started = (Box<dyn Carrying>, Vec<Side>);

/// A running driver. Dropping it gives the card back.
pub trait Carrying: Send + Debug {
    /// What it counts.
    fn figures(&self) -> &Arc<Figures>;
}

/// Takes the card that the configuration names, if it names one. Needs root; what comes after does
/// not. Fails with what is wrong and the remedy.
pub fn open(fastpath: &Fastpath) -> Result<Option<Box<dyn Card>>, String> {
    match fastpath {
        Fastpath::Off => Ok(None),
        #[cfg(target_os = "linux")]
        Fastpath::Xdp(name) => Ok(Some(Box::new(crate::os::linux::xdp::open(name)?))),
        #[cfg(not(target_os = "linux"))]
        Fastpath::Xdp(name) => Err(format!(
            "[rtp] fastpath: \"xdp:{name}\" is for Linux; write \"off\" or, on FreeBSD, \
             \"netmap:ix0\""
        )),
        #[cfg(target_os = "freebsd")]
        Fastpath::Netmap(port) => Ok(Some(Box::new(crate::os::freebsd::netmap::open(port)?))),
        #[cfg(not(target_os = "freebsd"))]
        Fastpath::Netmap(port) => Err(format!(
            "[rtp] fastpath: \"netmap:{}\" is for FreeBSD; write \"off\" or, on Linux, \
             \"xdp:eth0\"",
            port.name()
        )),
    }
}
