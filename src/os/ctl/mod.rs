//! The verbs of `voipctl`. They speak with a running voipd over its control socket; those about
//! users, their features and mailboxes, and calls that are over work on the database file when none
//! runs. `ping` and `probe` speak SIP through `rsip`, an implementation that does not share the
//! server's faults. `e1` speaks with the kernel module.

mod access;
mod agent;
mod args;
mod cdr;
mod conference;
mod csv;
mod doctor;
mod e1;
mod failure;
mod features;
mod ladder;
mod listing;
mod mailboxes;
mod output;
mod parked;
mod peers;
mod ping;
mod probe;
mod queues;
mod recordings;
mod relayed;
mod route;
mod secret;
mod sip;
mod table;
mod users;

#[cfg(test)]
mod tests;

pub use args::Cli;
pub use failure::exit;

use crate::control::{Command, Reply};
use access::Access;
use args::{BansVerb, BlocksVerb, MemberArgs, PoolVerb, RelayVerb, RouteVerb, Verb};
use clap::{CommandFactory, Parser};
use failure::Failure;
use output::Output;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs `voipctl` with these arguments, the first of them the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let wrong = error.use_stderr();
            return ExitCode::from(if wrong { exit::USAGE } else { exit::OK });
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!("voipctl: {}", failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output { json: cli.json };
    let access = Access::new(cli.config, cli.socket);
    match cli.verb {
        Verb::Status => listing::status(&access, output),
        Verb::User(verb) => users::run(verb, &access, output),
        Verb::Feature(verb) => features::run(verb, &access, output),
        Verb::Mailbox(verb) => mailboxes::run(verb, &access, output),
        Verb::Registrations { filter } => listing::registrations(&access, filter, output),
        Verb::Calls => listing::calls(&access, output),
        Verb::Cdr(args) => cdr::run(&access, args, output),
        Verb::Hangup { id } => simple(&access, Command::Hangup { id }, output),
        Verb::Trunks => peers::trunks(&access, output),
        Verb::Pools => peers::pools(&access, output),
        Verb::Pool(verb) => {
            let (MemberArgs { pool, member }, on) = match verb {
                PoolVerb::Drain(member) => (member, true),
                PoolVerb::Undrain(member) => (member, false),
            };
            simple(&access, Command::PoolDrain { pool, member, on }, output)
        }
        Verb::Conference(verb) => conference::run(verb, &access, output),
        Verb::Recording(verb) => recordings::run(verb, &access, output),
        Verb::Relay { verb: None } => relayed::drivers(&access, output),
        Verb::Relay {
            verb: Some(RelayVerb::Calls),
        } => relayed::calls(&access, output),
        Verb::Park(verb) => parked::run(verb, &access, output),
        Verb::Queue(verb) => queues::run(verb, &access, output),
        Verb::Bans { verb: None } => listing::bans(&access, output),
        Verb::Bans {
            verb: Some(BansVerb::Lift { source, user }),
        } => simple(&access, Command::BanLift { source, user }, output),
        Verb::Blocks { verb: None } => listing::blocks(&access, output),
        Verb::Blocks {
            verb: Some(BlocksVerb::Lift { user }),
        } => simple(&access, Command::BlockLift { user }, output),
        Verb::Trace { call_id, full } => ladder::run(&access, call_id, full, output),
        Verb::Route(RouteVerb::Test(args)) => route::test(&access, args, output),
        Verb::Ping(args) => ping::run(&args, output),
        Verb::Probe(args) => probe::run(&args, output),
        Verb::Reload => simple(&access, Command::Reload, output),
        Verb::Check { file, print } => check(&access, file.as_deref(), print, output),
        Verb::Log { level } => simple(&access, Command::Log { level }, output),
        Verb::Doctor => doctor::run(&access, output),
        Verb::E1(verb) => e1::run(verb, output),
        Verb::Completions { shell } => completions(shell, output),
        Verb::Man { dir } => man(&dir),
    }
}

/// A command whose reply is a sentence.
fn simple(access: &Access, command: Command, output: Output) -> Result<(), Failure> {
    match access.ask(command)? {
        Reply::Done { message } => output.done(&message),
        other => Err(Failure::unexpected(&other)),
    }
}

fn check(access: &Access, file: Option<&Path>, print: bool, output: Output) -> Result<(), Failure> {
    let config = match file {
        Some(file) => crate::os::settings::load(file)?,
        None => access.config()?,
    };
    if print {
        return output.text(&config.to_string());
    }
    let file = file.map_or_else(|| access.config_file(), Path::to_path_buf);
    for doubt in crate::os::settings::doubts(&config) {
        eprintln!("voipctl: warning: {doubt}");
    }
    output.done(&format!("{} is in order", file.display()))
}

fn completions(shell: clap_complete::Shell, output: Output) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "voipctl", &mut text);
    output.bytes(&text)
}

fn man(dir: &Path) -> Result<(), Failure> {
    let written =
        std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.map_err(|e| Failure::new(exit::CANTCREAT, format!("{}: {e}", dir.display())))
}
