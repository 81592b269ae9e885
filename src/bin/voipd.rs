//! The daemon's command line.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use voip::config::DEFAULT_FILE;
use voip::os::daemon::{EX_USAGE, Fatal};
use voip::os::{demo, service};

/// A shard allocates and frees small pieces for each message, many of which live for half a minute:
/// glibc's allocator spends a fifth of a REGISTER's time on that.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A phone system: SIP registrar, proxy, RTP relay.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The configuration file
    #[arg(short = 'c', value_name = "FILE", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// Check the configuration, say what is wrong with it, and exit
    #[arg(short = 't')]
    test: bool,
    /// Stay in the foreground (on Linux always)
    #[arg(short = 'f')]
    foreground: bool,
    /// Run as this user once the sockets are bound
    #[arg(short = 'u', value_name = "USER")]
    user: Option<String>,
    /// Write the process id there
    #[arg(short = 'p', value_name = "PIDFILE")]
    pid_file: Option<PathBuf>,
    /// Run as several processes, each with no more rights than it needs (on FreeBSD always)
    #[arg(long)]
    processes: bool,
    /// What voipd tells its own processes
    #[arg(long, value_name = "NAME", hide = true)]
    role: Option<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run everything below one folder on loopback, with two users ready for softphones
    Demo {
        /// The folder
        #[arg(long, default_value = "./voip-demo")]
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EX_USAGE } else { 0 });
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("voipd: {why}");
            ExitCode::from(why.code)
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Fatal> {
    if let Some(role) = arguments.role {
        return voip::os::role::run(&role);
    }
    if let Some(Verb::Demo { dir }) = arguments.verb {
        let options = demo::prepare(&dir, &mut service::rng()?)?;
        return service::run(&options);
    }
    if arguments.test {
        for doubt in service::check(&arguments.config)? {
            eprintln!("voipd: warning: {doubt}");
        }
        println!("{}: no mistakes", arguments.config.display());
        return Ok(());
    }
    service::run(&service::Options {
        config: arguments.config,
        foreground: arguments.foreground,
        user: arguments.user,
        pid_file: arguments.pid_file,
        users: Vec::new(),
        processes: arguments.processes || cfg!(target_os = "freebsd"),
    })
}
