//! The daemon as a whole: from a configuration file to running shards, and to a clean end.

mod assemble;
mod commands;
mod files;

pub use commands::Replies;
pub use files::read_config;

use super::control::{Asked, Server};
use super::daemon::{self, Detached, EX_CANTCREAT, EX_OSERR, Fatal, Fork, PidFile, RunAs};
use super::log::{Log, Target};
use super::sys;
use crate::base::Rng;
use assemble::Running;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Commands of the operator that wait.
const ASKS_MAX: usize = 32;
/// How often the calendar and the shards are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

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
}

/// Checks the configuration and the files that it names, and changes nothing.
pub fn check(path: &std::path::Path) -> Result<(), Fatal> {
    let config = files::read_config(path)?;
    files::load_tls(&config).map(|_| ())
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
    let started = start(options, target);
    let (running, runtime) = match (started, detached) {
        (Ok(started), None) => started,
        (Ok(started), Some(parent)) => {
            let told = parent.serving();
            told.map_err(|e| Fatal::new(EX_OSERR, format!("cannot detach: {e}")))?;
            started
        }
        (Err(why), parent) => {
            if let Some(parent) = parent {
                parent.failed(&why);
            }
            return Err(why);
        }
    };
    let outcome = runtime.block_on(attend(running));
    drop(runtime);
    outcome
}

/// What runs beside the shards: the operator's socket and the pid file.
struct Attended {
    running: Running,
    server: Server,
    pid_file: PidFile,
    options: Options,
    log: Log,
}

fn start(options: &Options, target: Target) -> Result<(Attended, Runtime), Fatal> {
    let config = files::read_config(&options.config)?;
    let log = Log::start(target, config.admin.log);
    if let Err(error) = daemon::raise_file_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let run_as = options.user.as_deref().map(RunAs::find).transpose()?;
    let pid_path = options.pid_file.as_ref().unwrap_or(&config.admin.pid_file);
    let mut pid_file = PidFile::lock(pid_path)?;
    let bound = assemble::bind(&config)?;
    let tls = files::load_tls(&config)?;
    files::make_directories(&config, run_as.as_ref())?;
    if let Some(user) = &run_as {
        user.become_user()?;
    }
    let running = Running::start(config, bound, tls, &options.users)?;
    let os = |what: &str, e: &std::io::Error| Fatal::new(EX_OSERR, format!("{what}: {e}"));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| os("runtime", &e))?;
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
        server,
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
        server,
        pid_file,
        options,
        log,
    } = attended;
    let cannot = |e: std::io::Error| Fatal::new(EX_OSERR, format!("signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(cannot)?;
    let (asks, mut asked) = mpsc::channel::<Asked>(ASKS_MAX);
    let control = tokio::spawn(server.run(asks));
    let mut look = tokio::time::interval(LOOK_EVERY);
    let outcome = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = hang_up.recv() => {
                let reply = running.reload(&options.config, &log);
                tracing::info!(?reply, "reload");
            }
            Some(asked) = asked.recv() => running.command(asked, &options.config, &log),
            _ = look.tick() => {
                if let Err(why) = running.look() {
                    break Err(why);
                }
            }
        }
    };
    tracing::info!("ending");
    drop(asked);
    let _ = control.await;
    let stopped = running.stop();
    pid_file.remove();
    outcome.and(stopped)
}
