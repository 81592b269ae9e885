//! Conferences: what the operator sees of them and may do.

use serde::{Deserialize, Serialize};

/// One room.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConferenceRow {
    /// Of the configuration.
    pub name: String,
    /// By which users call it; empty if it has none.
    pub number: String,
    /// How many may be inside.
    pub members_max: u32,
    /// Whether nobody else comes in but moderators.
    pub locked: bool,
    /// Whether it is recorded.
    #[serde(default)]
    pub recorded: bool,
    /// Who is there, in the order of coming.
    pub members: Vec<ConferenceMemberRow>,
}

/// One member of a room.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConferenceMemberRow {
    /// Names it in its room.
    pub id: u32,
    /// One of our users, `name@domain`; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// As it shows itself; may be empty.
    pub number: String,
    /// The display name; may be empty.
    pub display_name: String,
    /// Whether it typed the moderator's PIN.
    pub moderator: bool,
    /// Whether it waits for a moderator.
    pub waiting: bool,
    /// Whether it is not heard.
    pub muted: bool,
    /// Whether it does not hear.
    pub deafened: bool,
    /// Whether it talks.
    pub talking: bool,
    /// When it came, in milliseconds since 1970.
    pub since_ms: u64,
    /// The same as text, RFC 3339.
    pub since: String,
}

/// What is done to a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomChange {
    /// Nobody else comes in but moderators.
    Lock,
    /// All come in again.
    Unlock,
    /// All members are hung up.
    End,
    /// What is said is recorded.
    Record,
    /// It is recorded no longer.
    EndRecord,
}

/// What is done to a member of a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberChange {
    /// It is not heard.
    Mute,
    /// It is heard again.
    Unmute,
    /// It does not hear.
    Deafen,
    /// It hears again.
    Undeafen,
    /// It is sent away.
    Kick,
}
