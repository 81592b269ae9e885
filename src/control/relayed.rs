//! Calls of other proxies that our relay carries.

use serde::{Deserialize, Serialize};

/// One dialogue of such a call.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RelayedRow {
    /// The proxy's Call-ID.
    pub call_id: String,
    /// The tag of the side that offered first.
    pub from_tag: String,
    /// The tag of the other; empty before it answered.
    pub to_tag: String,
    /// `offered`, `answered`, or `ending`: deleted, and kept for what is still under way.
    pub state: String,
    /// Where the first side said that it wants its first stream; empty if nowhere.
    pub from_media: String,
    /// The same of the other side.
    pub to_media: String,
    /// Our ports.
    pub ports: Vec<u16>,
    /// When the call began, in milliseconds since 1970.
    pub since_ms: u64,
    /// The same as text, RFC 3339.
    pub since: String,
}
