//! The daemon as a whole: from a configuration file to running shards, and to a clean end.

pub(in crate::os) mod assemble;
mod commands;
pub(in crate::os) mod files;
mod mail;
mod relayed;
mod relays;

pub use commands::Replies;
pub use files::read_config;

use super::blocklist::Blocklist;
use super::codec_plugin;
use super::control::{Asked, Link, Server, listen, serve_link};
use super::daemon::{
    self, Detached, EX_CANTCREAT, EX_OSERR, EX_UNAVAILABLE, Fatal, Fork, PidFile, RunAs,
};
use super::fast;
use super::log::{Log, Target};
use super::ng::Way;
use super::node::Bound;
use super::privsep::monitor::{self, Holdings, Monitor};
use super::relay::held_ports;
use super::spool::Roots;
use super::sys;
use super::web::{self, Web};
use crate::base::Rng;
use crate::config::Config;
use crate::control::{Command, Reply};
use assemble::{Prepared, Running, Seams};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Commands of the operator that wait.
pub(in crate::os) const ASKS_MAX: usize = 32;
/// How often the calendar and the shards are looked at.
pub(in crate::os) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Stay in the foreground. On Linux the daemon always does: a service manager keeps it.
    pub foreground: bool,
    /// Whom to run as once the sockets are bound.
    pub user: Option<String>,
    /// Where the pid goes, instead of where the configuration says.
    pub pid_file: Option<PathBuf>,
    /// Users to make if they are not there, as name and password.
    pub users: Vec<(String, String)>,
    /// Run as several processes: a monitor, and the roles of [`super::role`].
    pub processes: bool,
}

/// Checks the configuration and the files that it names, and changes nothing. What is in order and
/// still not what its writer expects comes back.
pub fn check(path: &std::path::Path) -> Result<Vec<String>, Fatal> {
    let config = files::read_config(path)?;
    files::load_tls(&config)?;
    files::secrets(&config)?;
    codec_plugin::check(&config)?;
    files::web_token(&config)?;
    Ok(super::settings::doubts(&config))
}

/// Random numbers that nobody can guess.
pub fn rng() -> Result<Rng, Fatal> {
    Ok(Rng::from_seed(files::entropy()?))
}

/// Runs the daemon to its end. While the process has a single thread only.
pub fn run(options: &Options) -> Result<(), Fatal> {
    // What can be known now is told on the terminal, not in a log.
    let mut options = options.clone();
    options.config = std::path::absolute(&options.config)
        .map_err(|e| Fatal::new(EX_OSERR, format!("{}: {e}", options.config.display())))?;
    files::read_config(&options.config)?;
    options.user.as_deref().map(RunAs::find).transpose()?;
    if options.foreground || cfg!(target_os = "linux") {
        return serve(&options, Target::StandardError, None);
    }
    match daemon::detach().map_err(|e| Fatal::new(EX_OSERR, format!("cannot detach: {e}")))? {
        Fork::Parent(outcome) => outcome,
        Fork::Child(detached) => {
            sys::open_syslog();
            serve(&options, Target::Syslog, Some(detached))
        }
    }
}

/// Starts, tells the waiting parent, and serves.
fn serve(options: &Options, target: Target, detached: Option<Detached>) -> Result<(), Fatal> {
    if options.processes {
        let (monitored, runtime) = tell(monitor(options, target), detached)?;
        return runtime.block_on(monitored.attend());
    }
    let (running, runtime) = tell(start(options, target), detached)?;
    let outcome = runtime.block_on(attend(running));
    drop(runtime);
    outcome
}

/// Tells the waiting parent how the start went.
fn tell<T>(started: Result<T, Fatal>, detached: Option<Detached>) -> Result<T, Fatal> {
    match (started, detached) {
        (Ok(started), None) => Ok(started),
        (Ok(started), Some(parent)) => {
            let told = parent.serving();
            told.map_err(|e| Fatal::new(EX_OSERR, format!("cannot detach: {e}")))?;
            Ok(started)
        }
        (Err(why), parent) => {
            if let Some(parent) = parent {
                parent.failed(&why);
            }
            Err(why)
        }
    }
}

/// The monitor, and the files that go when it ends.
struct Monitored {
    monitor: Monitor,
    pid_file: PidFile,
    socket: PathBuf,
}

impl Monitored {
    async fn attend(self) -> Result<(), Fatal> {
        let outcome = self.monitor.attend().await;
        // A file that is gone is what is wanted.
        let _ = std::fs::remove_file(&self.socket);
        self.pid_file.remove();
        outcome
    }
}

/// What both kinds of daemon take from the system before rights are dropped.
struct Opened {
    log: Log,
    run_as: Option<RunAs>,
    pid_file: PidFile,
    bound: Vec<Bound>,
    web: Option<TcpListener>,
    ng: Option<UdpSocket>,
}

fn open(options: &Options, config: &Config, target: Target) -> Result<Opened, Fatal> {
    let log = Log::start(target, config.admin.log);
    if let Err(error) = daemon::raise_file_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let run_as = options.user.as_deref().map(RunAs::find).transpose()?;
    let pid_path = options.pid_file.as_ref().unwrap_or(&config.admin.pid_file);
    let pid_file = PidFile::lock(pid_path)?;
    Ok(Opened {
        log,
        run_as,
        pid_file,
        bound: assemble::bind(config)?,
        web: bind_web(config)?,
        ng: bind_ng(config)?,
    })
}

/// A runtime for a thread that waits for several things.
pub(in crate::os) fn runtime() -> Result<Runtime, Fatal> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Fatal::new(EX_OSERR, format!("runtime: {e}")))
}

/// Takes from the system what needs root, and starts the roles.
fn monitor(options: &Options, target: Target) -> Result<(Monitored, Runtime), Fatal> {
    let (text, config) = monitor::read(&options.config)?;
    let Opened {
        log,
        run_as,
        mut pid_file,
        bound,
        web,
        ng,
    } = open(options, &config, target)?;
    files::make_directories(&config, run_as.as_ref())?;
    let os = |what: &str, e: &std::io::Error| Fatal::new(EX_OSERR, format!("{what}: {e}"));
    let runtime = runtime()?;
    let socket = config.admin.socket.clone();
    let cannot = |e: std::io::Error| {
        Fatal::new(
            EX_CANTCREAT,
            format!("control socket: {}: {e}", socket.display()),
        )
    };
    let control = listen(&socket).map_err(cannot)?;
    if let Some(user) = &run_as {
        user.own(&socket).map_err(cannot)?;
    }
    let listening: Vec<String> = bound
        .iter()
        .map(|b| format!("{}:{}", b.transport.uri_token(), b.address))
        .collect();
    let ng = config.rtp.ng.as_ref().map(|ng| ng.listen).zip(ng);
    let held_ports = held_ports(config.rtp.ports.first(), config.rtp.ports.last());
    let holdings = Holdings {
        path: options.config.clone(),
        text,
        shards: u16::try_from(assemble::shards(&config)).unwrap_or(1),
        codec_plugin: config.services.g729_plugin.clone(),
        config,
        bound,
        control,
        web,
        ng,
        held_ports,
        user: options.user.clone(),
        users: options.users.clone(),
        syslog: target == Target::Syslog,
    };
    let started = runtime.block_on(Monitor::start(holdings, log));
    let monitor = started.inspect_err(|_| {
        let _ = std::fs::remove_file(&socket);
    })?;
    pid_file.write().map_err(|e| os("pid file", &e))?;
    for listener in listening {
        tracing::info!("listening on {listener}");
    }
    let monitored = Monitored {
        monitor,
        pid_file,
        socket,
    };
    Ok((monitored, runtime))
}

/// What runs beside the shards: the operator's socket and the pid file.
struct Attended {
    running: Running,
    blocklist: Blocklist,
    server: Server,
    web: Option<(TcpListener, String)>,
    ng: Option<UdpSocket>,
    pid_file: PidFile,
    options: Options,
    log: Log,
}

/// The HTTP interface's listener.
fn bind_web(config: &Config) -> Result<Option<TcpListener>, Fatal> {
    let Some(asked) = &config.admin.web else {
        return Ok(None);
    };
    let listener =
        web::bind(asked.listen).map_err(|e| Fatal::new(EX_UNAVAILABLE, e.to_string()))?;
    tracing::info!("listening on http:{}", asked.listen);
    Ok(Some(listener))
}

/// The socket of the ng protocol.
fn bind_ng(config: &Config) -> Result<Option<UdpSocket>, Fatal> {
    let Some(asked) = &config.rtp.ng else {
        return Ok(None);
    };
    let address = asked.listen;
    let socket = super::ng::bind(address).map_err(|e| {
        let text = format!("[rtp] ng udp:{address}: {e}; is another relay running there?");
        Fatal::new(EX_UNAVAILABLE, text)
    })?;
    tracing::info!("listening on ng:udp:{address}");
    Ok(Some(socket))
}

/// Serves the HTTP interface beside everything else; reloads bring it another token.
async fn serve_web(
    listener: TcpListener,
    token: &str,
    asks: mpsc::Sender<Asked>,
) -> std::io::Result<Arc<Web>> {
    let (ours, theirs) = UnixStream::pair()?;
    let web = Web::new(token, Link::default());
    web.link().set(ours).await?;
    tokio::spawn(serve_link(theirs, asks));
    tokio::spawn(Arc::clone(&web).run(listener));
    Ok(web)
}

/// What the process itself takes from a configuration that was read again. A token file that cannot
/// be read leaves the token as it was.
fn renew(blocklist: &mut Blocklist, web: Option<&Arc<Web>>, config: &Config) {
    blocklist.configure(config);
    if let (Some(web), Some(asked)) = (web, &config.admin.web) {
        match web::read_token(&asked.token_file) {
            Ok(token) => web.set_token(&token),
            Err(problem) => tracing::error!("the token stays as it was: {problem}"),
        }
    }
}

fn start(options: &Options, target: Target) -> Result<(Attended, Runtime), Fatal> {
    let config = files::read_config(&options.config)?;
    let Opened {
        log,
        run_as,
        mut pid_file,
        bound,
        web,
        ng,
    } = open(options, &config, target)?;
    let token = files::web_token(&config)?.unwrap_or_default();
    let web = web.map(|listener| (listener, token));
    let tls = files::load_tls(&config)?;
    let secrets = files::secrets(&config)?;
    files::make_directories(&config, run_as.as_ref())?;
    let card = fast::open(&config.rtp.fastpath, assemble::shards(&config));
    let card = card.map_err(|why| Fatal::new(EX_UNAVAILABLE, why))?;
    if let Some(user) = &run_as {
        user.become_user()?;
    }
    let os = |what: &str, e: &std::io::Error| Fatal::new(EX_OSERR, format!("{what}: {e}"));
    let blocklist = Blocklist::new(&config, &bound).map_err(|e| os("listeners", &e))?;
    let mut roots = Roots::open(&config);
    roots.mend();
    let held_ports = held_ports(config.rtp.ports.first(), config.rtp.ports.last());
    let prepared = Prepared::read(config, (&bound, held_ports), &options.users)?;
    let running = Running::start(prepared, bound, tls, Seams::with(secrets, roots, card))?;
    let runtime = runtime()?;
    let socket = running.config().admin.socket.clone();
    let server = runtime
        .block_on(async { Server::bind(&socket) })
        .map_err(|e| Fatal::new(EX_CANTCREAT, format!("control socket: {e}")))?;
    pid_file.write().map_err(|e| os("pid file", &e))?;
    for listener in running.listening() {
        tracing::info!("listening on {listener}");
    }
    let attended = Attended {
        running,
        blocklist,
        server,
        web,
        ng,
        pid_file,
        options: options.clone(),
        log,
    };
    Ok((attended, runtime))
}

/// Signals, the operator and the calendar, until the end.
async fn attend(attended: Attended) -> Result<(), Fatal> {
    let Attended {
        mut running,
        mut blocklist,
        server,
        web,
        ng,
        pid_file,
        options,
        log,
    } = attended;
    let cannot = |e: std::io::Error| Fatal::new(EX_OSERR, format!("signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(cannot)?;
    let (asks, mut asked) = mpsc::channel::<Asked>(ASKS_MAX);
    let control = tokio::spawn(server.run(asks.clone()));
    let web = match web {
        Some((listener, token)) => Some(serve_web(listener, &token, asks).await.map_err(cannot)?),
        None => None,
    };
    running.start_post();
    if let Some(socket) = ng {
        running.start_ng(socket, Way::Direct);
    }
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut notices = running.notices();
    let outcome = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hang_up.recv() => {
                note(&running.reload(&options.config, &log));
                renew(&mut blocklist, web.as_ref(), running.config());
            }
            Some(asked) = asked.recv() => {
                let is_reload = asked.command == Command::Reload;
                running.command(asked, &options.config, &log);
                if is_reload {
                    renew(&mut blocklist, web.as_ref(), running.config());
                }
            }
            Some(notice) = notices.recv() => blocklist.tell(notice),
            _ = look.tick() => {
                blocklist.look();
                if let Err(why) = running.look() {
                    break Err(why);
                }
            }
        }
    };
    tracing::info!("ending");
    drop(asked);
    let _ = control.await;
    let stopped = running.stop().await;
    pid_file.remove();
    outcome.and(stopped)
}

/// Says in the log how a reload by signal went.
pub(in crate::os) fn note(reply: &Reply) {
    match reply {
        Reply::Failed { problem, .. } => {
            tracing::error!("the configuration stays as it was: {problem}");
        }
        Reply::Done { message } => tracing::info!("{message}"),
        _ => {}
    }
}
