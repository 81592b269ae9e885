//! The drivers that a configuration can name.

use super::{Figures, Side};
use crate::config::Fastpath;
use crate::os::clock::Clock;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// A card that is ours and carries nothing yet.
pub trait Card: Send + Debug {
    /// Starts the driver, with a line for each worker that it was opened for. Makes no socket.
    fn start(self: Box<Self>, clock: Clock) -> io::Result<Started>;
}

/// A running driver, and the workers' lines to it.
pub type Started = (Box<dyn Carrying>, Vec<Side>);

/// A running driver. Dropping it gives the card back.
pub trait Carrying: Send + Debug {
    /// What it counts.
    fn figures(&self) -> &Arc<Figures>;
}

/// Takes the card that the configuration names, if it names one, for so many workers. Needs root;
/// what comes after does not. Fails with what is wrong and the remedy.
pub fn open(fastpath: &Fastpath, workers: usize) -> Result<Option<Box<dyn Card>>, String> {
    match fastpath {
        Fastpath::Off => Ok(None),
        #[cfg(target_os = "linux")]
        Fastpath::Xdp(name) => Ok(Some(Box::new(crate::os::linux::xdp::open(name, workers)?))),
        #[cfg(not(target_os = "linux"))]
        Fastpath::Xdp(name) => Err(format!(
            "[rtp] fastpath: \"xdp:{name}\" is for Linux; write \"off\""
        )),
    }
}
