//! The relays' process: it reads and writes ports that the broker bound, and hears of sessions
//! from signal.

use super::{Boot, enter, ipc, on_common, runtime};
use crate::config::Fastpath;
use crate::media::room::Rooms;
use crate::os::clock::Clock;
use crate::os::codec_plugin;
use crate::os::daemon::{EX_OSERR, EX_SOFTWARE, EX_UNAVAILABLE, Fatal};
use crate::os::fast::{self, Card, Side};
use crate::os::ipc::{
    AsyncChannel, Channel, Commands, DESCRIPTORS_MAX, Events, IpcError, Line, RelayReport, Role,
    ToMonitor, ToRole,
};
use crate::os::relay::{self, Bound, COMMANDS_MAX, MediaConfig, MediaDriver, MediaHandle};
use crate::os::service::assemble::{relay_settings, start_files};
use crate::os::spool::Roots;
use crate::relay::{Failure, MediaEvent};
use crate::server::MediaNews;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Events of one message.
const EVENTS_PER_MESSAGE: usize = 64;
/// How often signal hears what the relays count.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// What the relays have to say to the monitor.
const ADOPTIONS_MAX: usize = 512;

/// One shard's relay.
struct Station {
    driver: MediaDriver,
    lines: mpsc::Sender<AsyncChannel>,
}

/// Serves to the end.
pub(super) fn run(mut boot: Boot) -> Result<(), Fatal> {
    crate::os::daemon::raise_file_limit()
        .map_err(|e| Fatal::new(EX_OSERR, format!("open files: {e}")))?;
    // Registered and mapped before rights are given up; what is left of the descriptor's rights
    // after that is what its event loop needs.
    let card = take_card(&mut boot)?;
    boot.drop_rights()?;
    let roots = std::mem::take(&mut boot.roots);
    let runtime = runtime()?;
    let rooms = codec_plugin::rooms(&boot.config)?;
    enter(Role::Media, &roots)?;
    runtime.block_on(attend(boot, (roots, rooms), card))
}

/// The card that the monitor handed over, or that this process takes by itself. Where there was one
/// before and cannot be one now, calls go on by sockets.
fn take_card(boot: &mut Boot) -> Result<Option<Box<dyn Card>>, Fatal> {
    let shards = usize::from(boot.settings.shards);
    let fastpath = &boot.config.rtp.fastpath;
    let taken = match (boot.card.take(), boot.hops.take()) {
        (Some((interface, cards)), Some(hops)) => {
            fast::take_over(fastpath, (interface, cards, hops), shards).map(Some)
        }
        _ if matches!(fastpath, Fastpath::Netmap(_)) => Ok(None),
        _ => fast::open(fastpath, shards),
    };
    match taken {
        Err(why) if boot.settings.again => {
            tracing::error!("{why}; media goes on by sockets");
            Ok(None)
        }
        taken => taken.map_err(|why| Fatal::new(EX_UNAVAILABLE, why)),
    }
}

fn station(config: MediaConfig, fast: Option<Side>) -> Result<Station, Fatal> {
    let (events, heard) = mpsc::channel(COMMANDS_MAX);
    let sink = Arc::new(move |event: MediaNews| {
        if let Err(error) = events.try_send(event) {
            tracing::error!("signal does not hear of a session: {error}");
        }
    });
    let driver = MediaDriver::start_with(config, fast.into_iter().collect(), sink);
    let driver = driver.map_err(|e| Fatal::new(EX_OSERR, format!("relay: {e}")))?;
    let (lines, new_lines) = mpsc::channel(1);
    tokio::spawn(tell(heard, new_lines, driver.handle()));
    Ok(Station { driver, lines })
}

/// Sends events along the line of the day; while there is none they wait.
async fn tell(
    mut heard: mpsc::Receiver<MediaNews>,
    mut lines: mpsc::Receiver<AsyncChannel>,
    relay: MediaHandle,
) {
    let mut line: Option<Arc<AsyncChannel>> = None;
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            new = lines.recv() => {
                let Some(new) = new else { return };
                let new = Arc::new(new);
                // What an earlier signal asked for is nothing to this one.
                while heard.try_recv().is_ok() {}
                tokio::spawn(hear(Arc::clone(&new), relay.clone()));
                line = Some(new);
            }
            n = heard.recv_many(&mut batch, EVENTS_PER_MESSAGE), if line.is_some() => {
                if n == 0 {
                    return;
                }
                let events = Events(std::mem::take(&mut batch));
                if let Some(to) = &line
                    && let Err(error) = to.send(&events, &[]).await
                {
                    tracing::debug!("signal is gone: {error}");
                    line = None;
                }
            }
        }
    }
}

/// Takes signal's commands.
async fn hear(line: Arc<AsyncChannel>, relay: MediaHandle) {
    loop {
        let commands = match line.receive::<Commands>().await {
            Ok((Commands(commands), _)) => commands,
            Err(IpcError::Closed) => return,
            Err(error) => {
                // Its signal is not to be trusted: the process ends and is restarted.
                tracing::error!("from signal: {error}");
                std::process::exit(i32::from(crate::os::daemon::EX_SOFTWARE));
            }
        };
        for command in commands {
            let session = command.session();
            if relay.send(command).is_err() {
                let reason = Failure::Full;
                let failed = Events(vec![MediaNews::Relay(MediaEvent::Failed {
                    session,
                    reason,
                })]);
                if line.send(&failed, &[]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn attend(
    boot: Boot,
    (mut roots, rooms): (Roots, Arc<Rooms>),
    card: Option<Box<dyn Card>>,
) -> Result<(), Fatal> {
    roots.mend();
    let clock = Clock::new();
    let driver = card
        .map(|card| card.start(clock, boot.config.rtp.fastpath_mode))
        .transpose();
    let driver = driver.map_err(|e| Fatal::new(EX_OSERR, format!("fast path: {e}")))?;
    let (driver, sides) = driver.unzip();
    let mut sides = sides.unwrap_or_default().into_iter();
    let config = MediaConfig {
        workers: 1,
        settings: relay_settings(&boot.config),
        clock,
        idle: None,
        files: Some(start_files(roots)?),
        rooms,
    };
    let shards = usize::from(boot.settings.shards);
    let stations = (0..shards).map(|_| station(config.clone(), sides.next()));
    let stations: Result<Vec<_>, _> = stations.collect();
    let stations = stations?;
    let (adopt, mut adoptions) = mpsc::channel::<(u16, Vec<Bound>)>(ADOPTIONS_MAX);
    let monitor = AsyncChannel::new(boot.channel).map_err(ipc)?;
    for (line, channel) in boot.lines {
        connect(&stations, line, channel, &adopt)
            .await
            .map_err(ipc)?;
    }
    monitor.send(&ToMonitor::Ready, &[]).await.map_err(ipc)?;
    let mut tell = tokio::time::interval(TELL_EVERY);
    tell.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let (message, fds) = tokio::select! {
            message = monitor.receive::<ToRole>() => message.map_err(ipc)?,
            _ = tell.tick() => {
                if stations.iter().any(|station| station.driver.is_broken()) {
                    return Err(Fatal::new(EX_SOFTWARE, relay::BROKEN));
                }
                let relays = stations.iter().map(|station| &station.driver);
                let report = RelayReport::of(relays, driver.as_ref());
                monitor.send(&ToMonitor::Relays(report), &[]).await.map_err(ipc)?;
                continue;
            }
            Some((relay, bound)) = adoptions.recv() => {
                hand_over(&monitor, relay, &bound).await.map_err(ipc)?;
                continue;
            }
        };
        match message {
            ToRole::Stop => return Ok(()),
            ToRole::Line(line) => {
                let channel = super::line(fds)?;
                connect(&stations, line, channel, &adopt)
                    .await
                    .map_err(ipc)?;
            }
            message => on_common(&monitor, message, &boot.log).await.map_err(ipc)?,
        }
    }
}

async fn connect(
    stations: &[Station],
    line: Line,
    channel: Channel,
    adopt: &mpsc::Sender<(u16, Vec<Bound>)>,
) -> Result<(), IpcError> {
    let (Line::Ports(shard) | Line::Media(shard)) = line else {
        return Err(IpcError::Malformed("a line of others"));
    };
    let none = IpcError::Malformed("a line of no relay");
    let station = stations.get(usize::from(shard)).ok_or(none)?;
    let full = |_| IpcError::System(std::io::Error::other("a relay does not listen"));
    if let Line::Media(_) = line {
        station.driver.handle().new_signal().map_err(full)?;
        let channel = AsyncChannel::new(channel)?;
        // The station's task lives as long as the station.
        let _ = station.lines.send(channel).await;
        return Ok(());
    }
    let adopt = adopt.clone();
    let tell = Box::new(move |bound: Vec<Bound>| {
        if !bound.is_empty() && adopt.try_send((shard, bound)).is_err() {
            tracing::error!("the new broker does not hear of the ports of before");
        }
    });
    station
        .driver
        .handle()
        .set_broker(channel, tell)
        .map_err(full)
}

/// Passes bound ports to the monitor, who passes them to the broker.
async fn hand_over(monitor: &AsyncChannel, relay: u16, bound: &[Bound]) -> Result<(), IpcError> {
    for part in bound.chunks(DESCRIPTORS_MAX) {
        let numbers = part.iter().map(|(number, _)| *number).collect();
        let fds: Vec<_> = part.iter().map(|(_, fd)| fd.as_fd()).collect();
        let ports = ToMonitor::Ports { relay, numbers };
        monitor.send(&ports, &fds).await?;
    }
    Ok(())
}
