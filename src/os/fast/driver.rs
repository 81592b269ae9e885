//! The drivers that a configuration can name.

use super::{Figures, Side};
use crate::config::Fastpath;
use crate::os::clock::Clock;
use crate::os::ipc::{Channel, Handed};
use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

/// A driver in another process, as far as it is heard of.
#[derive(Debug)]
pub struct Elsewhere(Arc<Figures>);

/// As many figures as [`Figures::list`] has.
pub const FIGURES: usize = 9;

impl Elsewhere {
    /// Nothing is heard of it yet.
    pub fn new(fastpath: &Fastpath) -> Self {
        let figures = Figures::of(fastpath.to_string(), "in the process of media", 0);
        Self(Arc::new(figures))
    }

    /// What it counts by now, in the order of [`Figures::list`].
    pub fn hear(figures: &Figures, values: &[u64; FIGURES]) {
        let [
            up,
            flows,
            received,
            sent,
            punted,
            dropped,
            full,
            refused,
            batch_max,
        ] = *values;
        for (figure, value) in [
            (&figures.flows, flows),
            (&figures.received, received),
            (&figures.sent, sent),
            (&figures.punted, punted),
            (&figures.dropped, dropped),
            (&figures.full, full),
            (&figures.refused, refused),
            (&figures.batch_max, batch_max),
        ] {
            figure.store(value, Ordering::Relaxed);
        }
        if up == 0 {
            figures.end("[rtp] fastpath: its driver ended, and media's log says why".into());
        }
    }
}

impl Carrying for Elsewhere {
    fn figures(&self) -> &Arc<Figures> {
        &self.0
    }
}

/// What another process needs to be the driver.
#[derive(Debug)]
pub struct HandOver {
    /// What it must know.
    pub handed: Handed,
    /// The card, open.
    pub card: OwnedFd,
    /// Where it asks for next hops; a thread of ours answers until it ends.
    pub hops: Channel,
}

/// Whether a daemon of several processes can have this one.
pub fn check_processes(fastpath: &Fastpath) -> Result<(), String> {
    match fastpath {
        Fastpath::Off | Fastpath::Netmap(_) => Ok(()),
        Fastpath::Xdp(_) => Err(
            "[rtp] fastpath: AF_XDP is for a daemon of one process yet; start voipd without \
             --processes, or write \"off\""
                .into(),
        ),
    }
}

/// Opens the card that the configuration names for another process. Each start of that process
/// wants a card opened anew: with the last descriptor of the old one the system has it back.
pub fn hand_over(fastpath: &Fastpath) -> Result<Option<HandOver>, String> {
    check_processes(fastpath)?;
    match fastpath {
        Fastpath::Off | Fastpath::Xdp(_) => Ok(None),
        #[cfg(target_os = "freebsd")]
        Fastpath::Netmap(port) => crate::os::freebsd::netmap::hand_over(port).map(Some),
        #[cfg(not(target_os = "freebsd"))]
        Fastpath::Netmap(_) => open(fastpath).map(|_| None),
    }
}

/// Takes over a card, and with it the interface's frames: the driver shall be started soon.
#[cfg(target_os = "freebsd")]
pub fn take_over(
    fastpath: &Fastpath,
    handed: &Handed,
    card: OwnedFd,
    hops: Channel,
) -> Result<Box<dyn Card>, String> {
    match fastpath {
        Fastpath::Netmap(port) => {
            let taken = crate::os::freebsd::netmap::take_over(port, handed, card, hops)?;
            Ok(Box::new(taken))
        }
        Fastpath::Off | Fastpath::Xdp(_) => Err("[rtp] fastpath: a card of another driver".into()),
    }
}

/// No driver of this system is passed on.
#[cfg(not(target_os = "freebsd"))]
pub fn take_over(
    fastpath: &Fastpath,
    _handed: &Handed,
    _card: OwnedFd,
    _hops: Channel,
) -> Result<Box<dyn Card>, String> {
    Err(format!(
        "[rtp] fastpath: \"{fastpath}\" is not passed on here"
    ))
}
