//! The process that parses SIP: shards, store, operator. It receives on the listeners, answers
//! along connections, and has the broker do the rest.

use super::{Boot, Roots, collect, enter, ipc, on_common, parse, runtime};
use crate::base::Transport;
use crate::control::{Command, Failure, Reply};
use crate::os::control::{Asked, Server, serve_link};
use crate::os::daemon::{EX_CONFIG, EX_OSERR, EX_SOFTWARE, Fatal};
use crate::os::ipc::{
    AsyncChannel, Channel, IpcError, Line, Role, Settings, ToMonitor, ToRole, decode,
};
use crate::os::log::Log;
use crate::os::ng::Way;
use crate::os::node::Bound;
use crate::os::privsep::client::{Net, Requests};
use crate::os::privsep::media_link;
use crate::os::relay::COMMANDS_MAX;
use crate::os::service::assemble::{Prepared, Running, Seams};
use crate::os::service::{ASKS_MAX, LOOK_EVERY, note};
use crate::os::tls::Tls;
use crate::server::MediaOrder;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Serves to the end.
pub(super) fn run(mut boot: Boot) -> Result<(), Fatal> {
    let limit = crate::os::daemon::raise_file_limit();
    if let Err(error) = limit {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    boot.drop_rights()?;
    let tls = boot.settings.tls.take().unwrap_or_default();
    let tls = Tls::of(&tls).map_err(|e| Fatal::new(EX_CONFIG, format!("[sip.tls] {e}")))?;
    let config = boot.config.clone();
    let held_ports = std::mem::take(&mut boot.settings.held_ports);
    let bound = (&*boot.listeners, held_ports);
    let prepared = Prepared::read(config, bound, &boot.settings.users)?;
    prepared.seal()?;
    let runtime = runtime()?;
    enter(Role::Signal, &Roots::default())?;
    runtime.block_on(attend(boot, prepared, tls))
}

/// What the process is made of.
struct Signal {
    running: Running,
    requests: Arc<Requests>,
    media: Vec<mpsc::Sender<Channel>>,
    /// Takes the lines by which replies of the ng protocol leave, where that is on.
    ng: Option<mpsc::Sender<Channel>>,
    /// Who waits for the configuration to be read again.
    asking: BTreeMap<u64, oneshot::Sender<Reply>>,
    next: u64,
    /// Parts of settings.
    parts: Vec<u8>,
    /// Where commands go.
    asks: mpsc::Sender<Asked>,
    log: Log,
}

async fn attend(boot: Boot, prepared: Prepared, tls: Tls) -> Result<(), Fatal> {
    let Boot {
        channel,
        settings,
        log,
        listeners,
        control,
        ng,
        lines,
        ..
    } = boot;
    let requests = Arc::new(Requests::default());
    let shards = usize::from(settings.shards);
    let links: Vec<_> = (0..shards)
        .map(|_| mpsc::channel::<MediaOrder>(COMMANDS_MAX))
        .collect();
    let seams = Seams {
        card: None,
        net: Net::brokered(Arc::clone(&requests)),
        media: Some(links.iter().map(|(to, _)| to.clone()).collect()),
        pid: Some(settings.pid),
        resolvers: Some(settings.resolvers),
        secrets: settings.secrets,
        roots: Roots::default(),
    };
    let listener = udp_listeners(&listeners);
    let running = Running::start(prepared, listeners, tls, seams)?;
    running.start_post();
    let ng = ng.map(|(_, fd)| {
        let (to, lines) = mpsc::channel(1);
        running.start_ng(fd.into(), Way::Broker { listener, lines });
        to
    });
    let mut media = Vec::new();
    for (shard, (_, commands)) in links.into_iter().enumerate() {
        let (to, new_lines) = mpsc::channel(1);
        media.push(to);
        let switch = Arc::clone(running.switch());
        tokio::spawn(media_link::run(shard, commands, new_lines, switch));
    }
    let (asks, asked) = mpsc::channel::<Asked>(ASKS_MAX);
    let mut signal = Signal {
        running,
        requests,
        media,
        ng,
        asking: BTreeMap::new(),
        next: 0,
        parts: Vec::new(),
        asks: asks.clone(),
        log,
    };
    for (line, channel) in lines {
        signal.connect(line, channel).await.map_err(ipc)?;
    }
    let cannot = |e: std::io::Error| Fatal::new(EX_OSERR, format!("control socket: {e}"));
    let none = || Fatal::new(EX_SOFTWARE, "no control socket was given");
    let server = Server::inherited(control.ok_or_else(none)?.into()).map_err(cannot)?;
    let monitor = AsyncChannel::new(channel).map_err(ipc)?;
    let control = tokio::spawn(server.run(asks));
    monitor.send(&ToMonitor::Ready, &[]).await.map_err(ipc)?;
    let outcome = signal.serve(&monitor, asked).await;
    tracing::info!("ending");
    let _ = control.await;
    let stopped = signal.running.stop().await;
    outcome.and(stopped)
}

/// How many UDP listeners there are: behind them the broker has the socket of the ng protocol.
fn udp_listeners(listeners: &[Bound]) -> u16 {
    let udp = listeners.iter().filter(|b| b.transport == Transport::Udp);
    u16::try_from(udp.count()).unwrap_or(u16::MAX)
}

impl Signal {
    async fn serve(
        &mut self,
        monitor: &AsyncChannel,
        mut asked: mpsc::Receiver<Asked>,
    ) -> Result<(), Fatal> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut notices = self.running.notices();
        loop {
            tokio::select! {
                message = monitor.receive::<ToRole>() => {
                    let (message, fds) = match message {
                        // The monitor is gone, and we with it.
                        Err(IpcError::Closed) => return Ok(()),
                        message => message.map_err(ipc)?,
                    };
                    match message {
                        ToRole::Stop => return Ok(()),
                        ToRole::Line(line) => {
                            self.connect(line, super::line(fds)?).await.map_err(ipc)?;
                        }
                        ToRole::Settings { asked, last, bytes } => {
                            self.on_settings(asked, last, bytes)?;
                        }
                        ToRole::Relays(report) => self.running.hear_relays(report),
                        ToRole::BadSettings { asked, problem } => {
                            self.answer(asked, Reply::failed(Failure::BadConfig, problem, ""));
                        }
                        message => {
                            on_common(monitor, message, &self.log).await.map_err(ipc)?;
                        }
                    }
                }
                Some(asked) = asked.recv() => self.command(monitor, asked).await.map_err(ipc)?,
                Some(notice) = notices.recv() => {
                    let notice = ToMonitor::Notice(notice);
                    monitor.send(&notice, &[]).await.map_err(ipc)?;
                }
                _ = look.tick() => self.running.look()?,
            }
        }
    }

    async fn connect(&self, line: Line, channel: Channel) -> Result<(), IpcError> {
        let none = IpcError::Malformed("a line of others");
        match line {
            Line::Datagrams(shard) => {
                self.running
                    .switch()
                    .set_broker(usize::from(shard), channel);
            }
            Line::Requests => {
                let requests = Arc::clone(&self.requests);
                tokio::spawn(async move {
                    if let Err(error) = requests.serve(channel).await {
                        tracing::error!("from the broker: {error}");
                        std::process::exit(i32::from(EX_SOFTWARE));
                    }
                });
            }
            Line::Media(shard) => {
                let link = self.media.get(usize::from(shard)).ok_or(none)?;
                // The link's task lives as long as we do.
                let _ = link.send(channel).await;
            }
            Line::Operator => {
                let stream = UnixStream::from(channel.into_fd());
                let asks = self.asks.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve_link(stream, asks).await {
                        tracing::debug!("web is gone: {error}");
                    }
                });
            }
            // Where the protocol is off nobody holds the end.
            Line::Ng => {
                if let Some(ng) = &self.ng {
                    let _ = ng.send(channel).await;
                }
            }
            Line::Ports(_) => return Err(none),
        }
        Ok(())
    }

    /// What only the monitor can do goes to it.
    async fn command(&mut self, monitor: &AsyncChannel, asked: Asked) -> Result<(), IpcError> {
        match &asked.command {
            Command::Reload => {
                let id = self.next;
                self.next += 1;
                self.asking.retain(|_, to| !to.is_closed());
                self.asking.insert(id, asked.reply);
                monitor.send(&ToMonitor::Reload { asked: id }, &[]).await?;
                return Ok(());
            }
            Command::Log { level } if level.parse::<crate::config::LogLevel>().is_ok() => {
                let level = ToMonitor::LogLevel(level.clone());
                monitor.send(&level, &[]).await?;
            }
            _ => {}
        }
        self.running.command(asked, Path::new(""), &self.log);
        Ok(())
    }

    fn on_settings(&mut self, asked: Option<u64>, last: bool, bytes: Vec<u8>) -> Result<(), Fatal> {
        collect(&mut self.parts, bytes)?;
        if !last {
            return Ok(());
        }
        let settings: Settings = decode(&std::mem::take(&mut self.parts)).map_err(ipc)?;
        let config = parse(&settings)?;
        let tls = settings.tls.unwrap_or_default();
        let reply = self
            .running
            .apply(config, (&tls, &settings.secrets), &self.log);
        match asked {
            Some(asked) => self.answer(asked, reply),
            None => note(&reply),
        }
        Ok(())
    }

    fn answer(&mut self, asked: u64, reply: Reply) {
        if let Some(to) = self.asking.remove(&asked) {
            // The client may be gone.
            let _ = to.send(reply);
        }
    }
}
