//! F2: what the operator may ask of a running daemon, and what it answers: one JSON object per
//! line, each with the version of this protocol.
//!
//! ```text
//! > {"protocol":1,"command":"registrations","filter":"100@"}
//! < {"protocol":1,"reply":"registrations","rows":[{"aor":"100@example.com",...}],"more":false}
//! ```
//! The names of fields are a contract: `voipctl --json` prints the rows as they are. Fields are
//! added, never renamed nor removed, while [`VERSION`] stays.

mod conference;
mod mail;
mod merge;
mod parked;
mod peers;
mod queues;
mod relayed;
mod rows;
mod time;

pub use conference::{ConferenceMemberRow, ConferenceRow, MemberChange, RoomChange};
pub use mail::{MailboxRow, MessageRow};
pub use parked::ParkedRow;
pub use peers::{MemberRow, PoolRow, TrunkRow};
pub use queues::{AgentRow, QueueRow};
pub use relayed::{RelayDriverRow, RelayQueueRow, RelayedRow, join_relayed};
pub use rows::{
    BanRow, BlockRow, CallRow, CallState, CdrLegRow, CdrRow, Counters, FeatureRow, LegRow,
    RegistrationRow, RouteLineRow, RouteRow, RouteStepRow, StatusRow, TraceDirection, TraceRow,
    UserRow,
};

pub use time::rfc3339;

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The protocol's version.
pub const VERSION: u32 = 1;

/// Longest line that the daemon reads, in bytes.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Most registrations of one reply; the rest is asked for with `after`.
pub const ROWS_MAX: usize = 1000;

/// Most users of one reply; no shard waits while they are gathered.
pub const USER_ROWS_MAX: usize = 10_000;

/// Most call detail records of one reply.
pub const CDR_ROWS_MAX: usize = 1000;

/// Most users of one [`Command::UserImport`].
pub const IMPORT_USERS_MAX: usize = 1000;

/// A command as it goes over the wire.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of the client.
    pub protocol: u32,
    /// What it wants.
    #[serde(flatten)]
    pub command: Command,
}

/// A reply as it goes over the wire.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Response {
    /// [`VERSION`] of the daemon.
    pub protocol: u32,
    /// What it says.
    #[serde(flatten)]
    pub reply: Reply,
}

/// What the operator wants.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// How the daemon fares.
    Status,
    /// Who is registered, ordered by address of record, at most [`ROWS_MAX`] at a time.
    Registrations {
        /// Only addresses of record that contain this text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<String>,
        /// Only addresses of record behind this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// The calls that are up or being set up.
    Calls,
    /// End a call.
    Hangup {
        /// Of [`CallRow::id`].
        id: String,
    },
    /// The trunks, and how they stand.
    Trunks,
    /// The pools and their members, and how they stand.
    Pools,
    /// Begin or end the draining of a member: it keeps its calls and gets no new ones.
    PoolDrain {
        /// The pool.
        pool: String,
        /// The member, as the file writes it.
        member: String,
        /// Whether it begins.
        on: bool,
    },
    /// The conference rooms, and who is in them.
    Conferences {
        /// This one alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Do something to a conference that has members.
    ConferenceRoom {
        /// The room.
        name: String,
        /// What.
        change: RoomChange,
    },
    /// Do something to a member of a conference.
    ConferenceMember {
        /// The room.
        name: String,
        /// The member's id there.
        member: u32,
        /// What.
        change: MemberChange,
    },
    /// The calls that are parked.
    Parked,
    /// The calls that are relayed, our own and those of other proxies, at most [`ROWS_MAX`].
    Relayed,
    /// Who is shut out.
    Bans,
    /// Let a source in again.
    BanLift {
        /// Whom.
        source: IpAddr,
        /// This `name@domain` alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
    /// The queues, and how they fare.
    Queues {
        /// Only that of this name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Log an agent in at a queue, or out.
    QueueLogin {
        /// `name` or `name@domain`.
        aor: String,
        /// The queue.
        queue: String,
        /// Whether in.
        on: bool,
    },
    /// Give an agent a pause from all queues, or end it.
    QueuePause {
        /// `name` or `name@domain`.
        aor: String,
        /// Whether it begins.
        on: bool,
    },
    /// Whose calls to the outside are blocked.
    Blocks,
    /// Let a user call again.
    BlockLift {
        /// `name@domain`
        user: String,
    },
    /// The messages of a call, or of everything that is still in the ring.
    Trace {
        /// The Call-ID, or a [`CallRow::id`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
    },
    /// Where a number would lead, and why.
    RouteTest {
        /// As it would be dialled.
        number: String,
        /// Who would call: `100`, `100@example.com`, `user:100`, `trunk:itsp`, `pool:gates`, or
        /// `address:192.0.2.1` for anybody else there.
        from: String,
        /// When: `2026-12-25T10:00:00Z`, or in the time zone of `[numbers]` `2026-12-25 10:00`,
        /// `10:00`; now without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
        /// The caller's own number; that of the user without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caller: Option<String>,
        /// `INVITE`, `MESSAGE` or `SUBSCRIBE`; INVITE without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<String>,
    },
    /// Change what is logged.
    Log {
        /// `error`, `warn`, `info`, `debug`, `trace`.
        level: String,
    },
    /// Read the configuration file again.
    Reload,
    /// Add a user; an error if there is one of that name.
    UserAdd {
        /// Whom.
        user: NewUser,
    },
    /// Add users, or replace those of the same name; at most [`IMPORT_USERS_MAX`].
    UserImport {
        /// Whom.
        users: Vec<NewUser>,
    },
    /// Delete a user.
    UserDel {
        /// `name@domain`.
        aor: String,
    },
    /// Give a user another password.
    UserPasswd {
        /// `name@domain`.
        aor: String,
        /// What digest needs of the password.
        verifier: Verifier,
    },
    /// One user.
    UserShow {
        /// `name@domain`.
        aor: String,
    },
    /// The users, ordered by domain and name, at most [`USER_ROWS_MAX`] at a time.
    UserList {
        /// Only addresses that contain this text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<String>,
        /// Only users behind this address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Call detail records, the newest first, at most [`CDR_ROWS_MAX`] at a time.
    Cdrs {
        /// Only those on the account of this `name@domain`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// Only those of calls that ended then or later, written as in [`Command::RouteTest`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<String>,
        /// Only those before this place: `next` of the reply before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<i64>,
        /// At most so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
    },
    /// What a user wants to become of calls.
    FeatureShow {
        /// `name@domain`.
        aor: String,
    },
    /// Set a call feature of a user.
    FeatureSet {
        /// `name@domain`.
        aor: String,
        /// Which, by the name of `feature::KEYS`.
        key: String,
        /// To what.
        value: String,
    },
    /// Turn a call feature of a user off.
    FeatureClear {
        /// `name@domain`.
        aor: String,
        /// Which; `all` for all.
        key: String,
        /// What of it, where it is a list.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    /// The mailboxes of users, ordered by domain and name, at most [`USER_ROWS_MAX`] at a time.
    MailboxList {
        /// Only addresses that contain this text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<String>,
        /// Only users behind this address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// A user's mailbox, and the messages in it.
    MailboxShow {
        /// `name@domain`.
        aor: String,
    },
    /// Change something of a user's mailbox.
    MailboxSet {
        /// `name@domain`.
        aor: String,
        /// `enabled`, `pin`, `email`, `messages-max`, `locked`, or a greeting.
        key: String,
        /// To what; a PIN as its hash alone.
        value: String,
    },
    /// Delete a message of a user's.
    MailboxDeleteMessage {
        /// `name@domain`.
        aor: String,
        /// Of [`MessageRow::id`].
        id: u64,
    },
}

/// Who answers a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Every shard; the replies are merged.
    EveryShard,
    /// Any one shard: what it looks at, all share.
    OneShard,
    /// The process around the shards (`os`): store, log, configuration.
    Process,
}

impl Command {
    /// Who answers.
    pub fn scope(&self) -> Scope {
        match self {
            Command::Relayed
            | Command::Status
            | Command::Calls
            | Command::Hangup { .. }
            | Command::Trace { .. } => Scope::EveryShard,
            Command::Registrations { .. }
            | Command::Trunks
            | Command::Pools
            | Command::PoolDrain { .. }
            | Command::Conferences { .. }
            | Command::ConferenceRoom { .. }
            | Command::ConferenceMember { .. }
            | Command::Parked
            | Command::Bans
            | Command::BanLift { .. }
            | Command::Blocks
            | Command::Queues { .. }
            | Command::QueueLogin { .. }
            | Command::QueuePause { .. }
            | Command::BlockLift { .. }
            | Command::RouteTest { .. } => Scope::OneShard,
            Command::Log { .. }
            | Command::Reload
            | Command::UserAdd { .. }
            | Command::UserImport { .. }
            | Command::UserDel { .. }
            | Command::UserPasswd { .. }
            | Command::UserShow { .. }
            | Command::UserList { .. }
            | Command::Cdrs { .. }
            | Command::FeatureShow { .. }
            | Command::FeatureSet { .. }
            | Command::FeatureClear { .. }
            | Command::MailboxList { .. }
            | Command::MailboxShow { .. }
            | Command::MailboxSet { .. }
            | Command::MailboxDeleteMessage { .. } => Scope::Process,
        }
    }
}

/// What digest needs of a password (RFC 7616 §3.4.2), in lower-case hexadecimal: the hash over
/// `username:realm:password`, where the realm is the user's domain. The password stays with the
/// client.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    /// 32 digits.
    pub md5: String,
    /// 64 digits.
    pub sha256: String,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(..)")
    }
}

/// A user to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewUser {
    /// `name@domain`.
    pub aor: String,
    /// Shown to people who are called; may be empty.
    #[serde(default)]
    pub display_name: String,
    /// Of the password.
    pub verifier: Verifier,
}

/// What the daemon says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done {
        /// What was done, in words.
        message: String,
    },
    /// It is not.
    Failed {
        /// Whose fault it is.
        kind: Failure,
        /// Why, in words.
        problem: String,
        /// What to do; may be empty.
        #[serde(default)]
        remedy: String,
    },
    /// To [`Command::Status`].
    Status(Box<StatusRow>),
    /// To [`Command::Registrations`].
    Registrations {
        /// In order.
        rows: Vec<RegistrationRow>,
        /// Whether there are more behind the last.
        more: bool,
    },
    /// To [`Command::Calls`].
    Calls {
        /// The oldest first.
        rows: Vec<CallRow>,
    },
    /// To [`Command::Trunks`].
    Trunks {
        /// Ordered by name.
        rows: Vec<TrunkRow>,
    },
    /// To [`Command::Pools`].
    Pools {
        /// Ordered by name.
        rows: Vec<PoolRow>,
    },
    /// To [`Command::Conferences`].
    Conferences {
        /// Ordered by name.
        rows: Vec<ConferenceRow>,
    },
    /// To [`Command::Parked`].
    Parked {
        /// Ordered by slot.
        rows: Vec<ParkedRow>,
    },
    /// To [`Command::Relayed`].
    Relayed {
        /// Ordered by Call-ID.
        rows: Vec<RelayedRow>,
        /// Whether there are more, which are left out.
        more: bool,
    },
    /// To [`Command::Bans`].
    Bans {
        /// Ordered by source.
        rows: Vec<BanRow>,
    },
    /// To [`Command::Blocks`].
    Blocks {
        /// Ordered by user.
        rows: Vec<BlockRow>,
    },
    /// To [`Command::Queues`].
    Queues {
        /// In the order of the file.
        rows: Vec<QueueRow>,
    },
    /// To [`Command::Trace`].
    Trace {
        /// In the order of time.
        rows: Vec<TraceRow>,
    },
    /// To [`Command::RouteTest`].
    Route(Box<RouteRow>),
    /// To [`Command::UserShow`] and [`Command::UserList`].
    Users {
        /// In order.
        rows: Vec<UserRow>,
        /// Whether there are more behind the last.
        more: bool,
    },
    /// To [`Command::Cdrs`].
    Cdrs {
        /// The newest first; there may be none and yet more behind `next`.
        rows: Vec<CdrRow>,
        /// For `before` of the next question; absent if there is nothing more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<i64>,
    },
    /// To [`Command::FeatureShow`], and what is so now to those that change it.
    Features {
        /// Of the user.
        row: Box<FeatureRow>,
    },
    /// To [`Command::MailboxList`].
    Mailboxes {
        /// In order.
        rows: Vec<MailboxRow>,
        /// Whether there are more behind the last.
        more: bool,
    },
    /// To [`Command::MailboxShow`], and what is so now to those that change it.
    Mailbox {
        /// Of the user.
        row: Box<MailboxRow>,
        /// The oldest first.
        messages: Vec<MessageRow>,
    },
    /// To [`Command::UserImport`].
    Imported {
        /// New ones.
        added: u64,
        /// Those that were there before.
        replaced: u64,
        /// Each with the reason.
        refused: Vec<String>,
    },
}

/// Whose fault a failure is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// What was named is not there.
    NotFound,
    /// What should be made is there already.
    Exists,
    /// The command makes no sense to us.
    BadCommand,
    /// The configuration file has mistakes.
    BadConfig,
    /// The table is full.
    Full,
    /// The store cannot write.
    Store,
    /// Not now: the daemon stops, or a shard did not answer in time.
    Unavailable,
}

impl Reply {
    /// A failure.
    pub fn failed(kind: Failure, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Reply::Failed {
            kind,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// It is done.
    pub fn done(message: impl Into<String>) -> Self {
        Reply::Done {
            message: message.into(),
        }
    }

    /// Makes one reply of those of several shards.
    pub fn merge(replies: Vec<Reply>) -> Reply {
        merge::merge(replies)
    }
}
