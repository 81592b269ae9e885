//! The command line of `voipctl`.

use super::e1::E1Verb;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::net::IpAddr;
use std::path::PathBuf;

/// Numbers from 1.
fn within(most: i64) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=most)
}

/// Controls voipd, the phone system.
#[derive(Parser, Debug)]
#[command(name = "voipctl", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes are those of sysexits(3): 0 done, 64 wrong usage, 65 bad data, \
    67 no such user, 69 voipd does not run, 74 the store cannot write, 75 try again, 76 the peer \
    misbehaved, 77 not permitted, 78 the configuration has mistakes."
)]
pub struct Cli {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The control socket of voipd, instead of the one that the configuration names.
    #[arg(short, long, value_name = "SOCKET", global = true)]
    pub socket: Option<PathBuf>,
    /// Print JSON with stable field names.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Show how voipd fares: what it holds, what it counted, what needs you.
    Status,
    /// Add, change and list those who may register and call; also while voipd does not run.
    #[command(subcommand)]
    User(UserVerb),
    /// Show and set what users want to become of calls; also while voipd does not run.
    #[command(subcommand)]
    Feature(FeatureVerb),
    /// Show and change the voicemail of users; also while voipd does not run.
    #[command(subcommand)]
    Mailbox(MailboxVerb),
    /// List who is registered, and from where.
    Registrations {
        /// Only addresses that contain this text.
        filter: Option<String>,
    },
    /// List the calls with both sides' media, and why audio is one-way.
    Calls,
    /// List calls that are over or were refused, the newest first; also while voipd does not run.
    Cdr(CdrArgs),
    /// End a call.
    Hangup {
        /// As voipctl calls shows it.
        id: String,
    },
    /// List the trunks: state, registration, calls, answer-seizure ratio, last error.
    Trunks,
    /// List the pools and their members: state, calls, answer-seizure ratio, last error.
    Pools,
    /// Take a member of a pool out of service, or back.
    #[command(subcommand)]
    Pool(PoolVerb),
    /// Look after conferences.
    #[command(subcommand)]
    Conference(ConferenceVerb),
    /// Show how media passes through the host: by sockets, by the fast path, and what is lost.
    Relay {
        /// What else of it.
        #[command(subcommand)]
        verb: Option<RelayVerb>,
    },
    /// Look after calls that are parked.
    #[command(subcommand)]
    Park(ParkVerb),
    /// List calls that were recorded.
    #[command(subcommand)]
    Recording(RecordingVerb),
    /// List queues, show their agents, log agents in and out.
    #[command(subcommand)]
    Queue(QueueVerb),
    /// List who is shut out after wrong passwords, scans or floods.
    Bans {
        /// What to do with them.
        #[command(subcommand)]
        verb: Option<BansVerb>,
    },
    /// List whose calls to the outside are blocked since they ran over a limit of [fraud].
    Blocks {
        /// What to do with them.
        #[command(subcommand)]
        verb: Option<BlocksVerb>,
    },
    /// Draw the messages of one call as a ladder; without an id, list what can be drawn.
    Trace {
        /// The Call-ID, or the id of voipctl calls.
        call_id: Option<String>,
        /// Print the messages whole, too.
        #[arg(long)]
        full: bool,
    },
    /// Ask the number plan.
    #[command(subcommand)]
    Route(RouteVerb),
    /// Send OPTIONS and show the round trip and what came back.
    Ping(PingArgs),
    /// Register, call and hang up as a user would; calls itself when no other target is named.
    Probe(ProbeArgs),
    /// Let voipd read its configuration again; a file with mistakes changes nothing.
    Reload,
    /// Check a configuration file and name every mistake.
    Check {
        /// The file; that of -c without.
        file: Option<PathBuf>,
        /// Print all values that are in force, in canonical form.
        #[arg(long)]
        print: bool,
    },
    /// Change what voipd logs until it is restarted.
    Log {
        /// How much.
        #[arg(value_parser = ["error", "warn", "info", "debug", "trace"])]
        level: String,
    },
    /// Look for what keeps a phone system from working, and say the command that mends it.
    Doctor,
    /// Make, watch and test E1 spans of the kernel module e1shim(4), with or without voipd.
    #[command(subcommand)]
    E1(E1Verb),
    /// Print the completions of a shell.
    Completions {
        /// Which.
        shell: Shell,
    },
    /// Write the manual pages into a directory.
    Man {
        /// Where to.
        dir: PathBuf,
    },
}

/// What to do with users.
#[derive(Subcommand, Debug)]
pub enum UserVerb {
    /// Add a user.
    Add {
        /// NAME or NAME@DOMAIN.
        user: String,
        /// The name shown to people who are called.
        #[arg(long, default_value = "", value_name = "TEXT")]
        display_name: String,
        /// Make a password of 16 characters and print it.
        #[arg(long, conflicts_with_all = ["password", "password_stdin"])]
        generate: bool,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Delete a user.
    Del {
        /// NAME or NAME@DOMAIN.
        user: String,
    },
    /// List the users.
    List {
        /// Only addresses that contain this text.
        filter: Option<String>,
    },
    /// Give a user another password.
    Passwd {
        /// NAME or NAME@DOMAIN.
        user: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Show one user.
    Show {
        /// NAME or NAME@DOMAIN.
        user: String,
    },
    /// Add users, or replace those of the same name, from a CSV file.
    #[command(
        long_about = "Add users, or replace those of the same name, from a CSV file.\n\n\
        The first line names the columns: username and password, and if wanted display_name and \
        domain; without such a line they are username, password, display_name, domain. A line that \
        is wrong is named, and then nothing is imported."
    )]
    Import {
        /// The file; - is standard input.
        file: PathBuf,
    },
}

/// What to do with call features.
#[derive(Subcommand, Debug)]
pub enum FeatureVerb {
    /// Show what a user wants to become of calls.
    Show {
        /// NAME or NAME@DOMAIN.
        user: String,
    },
    /// Set a feature of a user; voipctl feature codes lists the keys.
    Set {
        /// NAME or NAME@DOMAIN.
        user: String,
        /// Which feature.
        key: String,
        /// A number or SIP URI, seconds, on or off, or a pattern of callers.
        value: String,
    },
    /// Turn a feature of a user off.
    Clear {
        /// NAME or NAME@DOMAIN.
        user: String,
        /// Which feature; speed for all speed dials, all for everything.
        key: String,
        /// With block: this pattern alone.
        value: Option<String>,
    },
    /// List the codes that phones dial, and the keys of set and clear.
    Codes,
}

/// What to do with mailboxes.
#[derive(Subcommand, Debug)]
pub enum MailboxVerb {
    /// List the mailboxes of users: messages, whether calls fall to them, PIN, e-mail.
    List {
        /// Only addresses that contain this text.
        filter: Option<String>,
    },
    /// Show a user's mailbox and the messages in it.
    Show {
        /// NAME or NAME@DOMAIN.
        user: String,
    },
    /// Change something of a user's mailbox.
    Set {
        /// NAME or NAME@DOMAIN.
        user: String,
        /// enabled, pin, email, messages-max, locked; unavail, busy, greet (recorded greetings).
        key: String,
        /// enabled: on, off, default. pin: digits, - to read them from standard input, none.
        /// email: an address, none. messages-max: a number, default. locked: off. A greeting:
        /// default.
        value: String,
    },
    /// Delete a message with its sound.
    DeleteMessage {
        /// NAME or NAME@DOMAIN.
        user: String,
        /// As voipctl mailbox show lists it.
        id: u64,
    },
}

/// Of `cdr`.
#[derive(Args, Debug)]
pub struct CdrArgs {
    /// At most so many; 20 without, or with --since as many as there are, up to 100000.
    #[arg(long, value_name = "N", value_parser = within(100_000))]
    pub last: Option<u32>,
    /// Only calls on the account of NAME or NAME@DOMAIN.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Only calls that ended then or later: 10:00, 2026-12-25, or "2026-12-25 10:00" in the time
    /// zone of [numbers], or 2026-12-25T10:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
}

/// `voipctl relay`.
#[derive(Subcommand, Debug)]
pub enum RelayVerb {
    /// List the calls that are relayed: voipd's own, and those of other proxies, such as Kamailio.
    Calls,
}

/// What to do with the parking lot.
#[derive(Subcommand, Debug)]
pub enum ParkVerb {
    /// List the slots that are taken: who waits there, parked by whom, since when.
    List,
}

/// What to do with recordings.
#[derive(Subcommand, Debug)]
pub enum RecordingVerb {
    /// List the files, the newest first, with who talked.
    List(CdrArgs),
}

/// What to do with queues.
#[derive(Subcommand, Debug)]
pub enum QueueVerb {
    /// List the queues: who waits, who talks, who was answered.
    List,
    /// Show one queue and its agents.
    Show {
        /// Its name.
        queue: String,
    },
    /// Make a user an agent of a queue.
    Login {
        /// Its name.
        queue: String,
        /// NAME or NAME@DOMAIN.
        user: String,
    },
    /// Make a user no agent of a queue any more.
    Logout {
        /// Its name.
        queue: String,
        /// NAME or NAME@DOMAIN.
        user: String,
    },
    /// Let no queue call an agent until unpause.
    Pause {
        /// NAME or NAME@DOMAIN.
        user: String,
    },
    /// Let queues call an agent again.
    Unpause {
        /// NAME or NAME@DOMAIN.
        user: String,
    },
}

/// What to do with a member of a pool.
#[derive(Subcommand, Debug)]
pub enum PoolVerb {
    /// Send it no new calls; those that it has go on. Lasts until undrain or a restart of voipd.
    Drain(MemberArgs),
    /// Send it calls again.
    Undrain(MemberArgs),
}

/// A member of a pool.
#[derive(Args, Debug)]
pub struct MemberArgs {
    /// The pool's name.
    pub pool: String,
    /// The member, as voipctl pools shows it.
    pub member: String,
}

/// What to do with conferences.
#[derive(Subcommand, Debug)]
pub enum ConferenceVerb {
    /// List the rooms, and how many are in them.
    List,
    /// List the members of a room.
    Show {
        /// The room's name.
        room: String,
    },
    /// Keep a member from being heard.
    Mute(ConferenceMemberArgs),
    /// Let a member be heard again.
    Unmute(ConferenceMemberArgs),
    /// Keep a member from hearing.
    Deafen(ConferenceMemberArgs),
    /// Let a member hear again.
    Undeafen(ConferenceMemberArgs),
    /// Send a member away.
    Kick(ConferenceMemberArgs),
    /// Let nobody else in but moderators.
    Lock {
        /// The room's name.
        room: String,
    },
    /// Let all in again.
    Unlock {
        /// The room's name.
        room: String,
    },
    /// Record what is said in a room.
    Record {
        /// The room's name.
        room: String,
    },
    /// Record a room no longer.
    EndRecord {
        /// The room's name.
        room: String,
    },
    /// Hang up all members of a room.
    End {
        /// The room's name.
        room: String,
    },
}

/// A member of a conference.
#[derive(Args, Debug)]
pub struct ConferenceMemberArgs {
    /// The room's name.
    pub room: String,
    /// The member's number in it, as voipctl conference show has it.
    pub member: u32,
}

/// What to do with bans.
#[derive(Subcommand, Debug)]
pub enum BansVerb {
    /// Let a source in again, or one user name of it alone.
    Lift {
        /// Its address.
        source: IpAddr,
        /// NAME or NAME@DOMAIN.
        user: Option<String>,
    },
}

/// What to do with blocks.
#[derive(Subcommand, Debug)]
pub enum BlocksVerb {
    /// Let a user call again, and forgive what it used up today.
    Lift {
        /// NAME or NAME@DOMAIN.
        user: String,
    },
}

/// What to ask of the number plan.
#[derive(Subcommand, Debug)]
pub enum RouteVerb {
    /// Show where a number would lead, and why, route by route; nothing is called.
    Test(RouteTestArgs),
}

/// Of `route test`.
#[derive(Args, Debug)]
pub struct RouteTestArgs {
    /// As it would be dialled.
    pub number: String,
    /// Who would call: NAME or NAME@DOMAIN of a user, trunk:NAME, pool:NAME, or address:IP for
    /// anybody else there.
    #[arg(long, value_name = "WHO")]
    pub from: String,
    /// When: 10:00, 2026-12-25, or "2026-12-25 10:00" in the time zone of [numbers], or
    /// 2026-12-25T10:00:00Z; now without.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// The caller's own number, instead of the user's name.
    #[arg(long, value_name = "NUMBER")]
    pub caller: Option<String>,
    /// The method of the request.
    #[arg(long, value_name = "METHOD", value_parser = ["INVITE", "MESSAGE", "SUBSCRIBE"])]
    pub method: Option<String>,
}

/// Where a password comes from; without any of these it is asked for.
#[derive(Args, Debug)]
pub struct PasswordArgs {
    /// Read the password from the first line of standard input.
    #[arg(long)]
    pub password_stdin: bool,
    /// The password itself: it shows in ps and in the shell's history; better use --password-stdin.
    #[arg(long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub password: Option<String>,
}

/// Of `ping`.
#[derive(Args, Debug)]
pub struct PingArgs {
    /// sip:HOST, sips:HOST, sip:USER@HOST:PORT;transport=tcp, ...
    pub uri: String,
    /// How often.
    #[arg(short = 'n', long, default_value_t = 1, value_parser = within(10_000))]
    pub count: u32,
    /// Seconds to wait for each answer.
    #[arg(short, long, default_value_t = 5, value_parser = within(600))]
    pub timeout: u32,
    /// The root certificates by which a TLS server is judged, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Of `probe`.
#[derive(Args, Debug)]
pub struct ProbeArgs {
    /// The user's address, sip:USER@DOMAIN.
    pub uri: String,
    /// Whom to call instead of oneself; hung up as soon as it is answered.
    #[arg(long, value_name = "URI")]
    pub call: Option<String>,
    /// HOST[:PORT] of the server, when the domain does not lead to it.
    #[arg(long, value_name = "HOST")]
    pub server: Option<String>,
    /// The transport.
    #[arg(long, default_value = "udp", value_parser = ["udp", "tcp", "tls"])]
    pub transport: String,
    /// The root certificates by which a TLS server is judged, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Only register.
    #[arg(long)]
    pub register_only: bool,
    /// Seconds to wait for each step.
    #[arg(short, long, default_value_t = 10, value_parser = within(600))]
    pub timeout: u32,
    /// Where the password comes from.
    #[command(flatten)]
    pub password: PasswordArgs,
}
