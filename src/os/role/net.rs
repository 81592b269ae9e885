//! The broker's process: `voip`'s rights only, and an empty root directory.

use super::{Boot, Roots, enter, ipc, on_common, runtime};
use crate::base::Transport;
use crate::os::daemon::{EX_OSERR, Fatal};
use crate::os::ipc::{AsyncChannel, Channel, IpcError, Line, Role, ToMonitor, ToRole};
use crate::os::privsep::broker::Broker;
use crate::os::privsep::policy::Policy;
use crate::os::sandbox;
use std::rc::Rc;

/// Serves to the end.
pub(super) fn run(boot: Boot) -> Result<(), Fatal> {
    let cannot = |e: std::io::Error| Fatal::new(EX_OSERR, format!("listeners: {e}"));
    let listeners: Vec<_> = boot
        .listeners
        .iter()
        .filter(|b| b.transport == Transport::Udp)
        .collect();
    let ng = boot.ng.as_ref();
    let addresses = listeners.iter().map(|b| b.address);
    let addresses = addresses.chain(ng.map(|(address, _)| *address)).collect();
    let policy = Policy::new(&boot.config, addresses, boot.settings.resolvers.clone());
    let sockets: Result<Vec<_>, _> = listeners
        .iter()
        .filter_map(|b| b.sockets().first())
        .chain(ng.map(|(_, fd)| fd))
        .map(|fd| fd.try_clone())
        .collect();
    let broker = Broker::new(policy, sockets.map_err(cannot)?);
    sandbox::empty_root().map_err(|e| Fatal::new(EX_OSERR, format!("chroot: {e}")))?;
    boot.drop_rights()?;
    let runtime = runtime()?;
    enter(Role::Net, &Roots::default())?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, attend(boot, broker))
}

async fn attend(boot: Boot, broker: Rc<Broker>) -> Result<(), Fatal> {
    let Boot {
        channel,
        log,
        lines,
        ..
    } = boot;
    let monitor = AsyncChannel::new(channel).map_err(ipc)?;
    let (broken, mut breaks) = tokio::sync::mpsc::channel(1);
    let serve = |line: Line, channel: Channel| {
        let (broker, broken) = (Rc::clone(&broker), broken.clone());
        tokio::task::spawn_local(async move {
            let served = match line {
                Line::Datagrams(_) | Line::Ng => broker.datagrams(channel).await,
                Line::Requests => broker.requests(channel).await,
                Line::Ports(relay) => broker.ports(relay, channel).await,
                Line::Media(_) | Line::Operator => Err(IpcError::Malformed("a line of others")),
            };
            if let Err(error @ IpcError::Malformed(_)) = served {
                let _ = broken.send((line, error)).await;
            }
        });
    };
    for (line, channel) in lines {
        serve(line, channel);
    }
    monitor.send(&ToMonitor::Ready, &[]).await.map_err(ipc)?;
    loop {
        let (message, fds) = tokio::select! {
            message = monitor.receive::<ToRole>() => message.map_err(ipc)?,
            Some((line, error)) = breaks.recv() => {
                return Err(Fatal::new(EX_OSERR, format!("{line:?}: {error}")));
            }
        };
        match message {
            ToRole::Stop => return Ok(()),
            ToRole::Line(line) => {
                serve(line, super::line(fds)?);
            }
            ToRole::Ports { relay, numbers } => {
                broker.adopt(relay, &numbers, fds).map_err(ipc)?;
            }
            message => on_common(&monitor, message, &log).await.map_err(ipc)?,
        }
    }
}
