//! What a user wants to become of calls, as it is kept: forwarding, do not disturb, lists.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Callers that one user shuts out.
pub const BLOCKED_MAX: usize = 100;

/// Speed dials of one user: 00 to 99.
pub const SPEED_MAX: usize = 100;

/// Queues of one agent.
pub const QUEUES_MAX: usize = 100;

/// A user's call features. All is off by default, and a user with nothing on has no row.
///
/// Kept as JSON with these names: a field is added, never renamed, and what an older row lacks is
/// off.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Where every call goes: a number, or a `sip:` or `sips:` URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_always: Option<Box<str>>,
    /// Where it goes if the user is busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_busy: Option<Box<str>>,
    /// Where it goes if nobody answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_no_answer: Option<Box<str>>,
    /// Where it goes if no phone of the user is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_unregistered: Option<Box<str>>,
    /// How many seconds the phones ring before nobody answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_s: Option<u16>,
    /// What callers hear while the phones ring: `music`, `tone:CC` or a prompt's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_back: Option<Box<str>>,
    /// Do not disturb: as if the user were busy.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dnd: bool,
    /// Whether callers that hide who they are get through.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reject_anonymous: bool,
    /// Patterns of callers that do not get through; at most [`BLOCKED_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Box<str>>,
    /// Short codes, 0 to 99, and what they dial; at most [`SPEED_MAX`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub speed: BTreeMap<u8, Box<str>>,
    /// The queues that the user is logged in at as an agent; at most [`QUEUES_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<Box<str>>,
    /// Whether no queue is to call the user for now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub queue_pause: bool,
}

impl Settings {
    /// Whether nothing is on: as good as none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One row of the store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FeatureRecord {
    /// `name@domain`
    pub aor: Box<str>,
    /// What he wants; empty settings take the place of a deletion.
    pub settings: Settings,
    /// Orders the changes of all users: a later one has a greater number. The store keeps the
    /// greatest, in whatever order changes reach it.
    pub revision: u64,
}
