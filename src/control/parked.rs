//! Calls that are parked.

use serde::{Deserialize, Serialize};

/// One slot that is taken.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ParkedRow {
    /// What is dialled to fetch the call.
    pub slot: String,
    /// Who waits, if it is one of our users, `name@domain`; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// As it shows itself; may be empty.
    pub number: String,
    /// The display name; may be empty.
    pub display_name: String,
    /// Who parked it and is called back, `name@domain`; absent if nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parker: Option<String>,
    /// Whether the parker itself waits there, until the transfer is complete.
    pub provisional: bool,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// The same as text, RFC 3339.
    pub since: String,
}
