//! The rows of trunks and pools.

use serde::{Deserialize, Serialize};

/// One trunk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TrunkRow {
    /// Its name in the file.
    pub name: String,
    /// Where calls go.
    pub uri: String,
    /// `up`, `down`, `probing`: nothing is known yet, and calls go there.
    pub state: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// The same, milliseconds since 1970.
    pub since_ms: u64,
    /// `none` where the file asks for none, `trying`, `registered`, `failed`.
    pub registration: String,
    /// Until when we are registered there, RFC 3339; refreshed well before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_until: Option<String>,
    /// Calls now, both directions.
    pub calls: u32,
    /// How many there may be; zero: any number.
    pub calls_max: u32,
    /// Calls that went there and were answered, since the start.
    pub answered: u64,
    /// Calls that went there and were not, since the start.
    pub unanswered: u64,
    /// The answer-seizure ratio (ITU-T E.425) in percent; absent before the first call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_seizure_percent: Option<u32>,
    /// What went wrong last, and what to check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<String>,
}

/// One pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PoolRow {
    /// Its name in the file.
    pub name: String,
    /// As the file has it, `call-id`.
    pub algorithm: String,
    /// In the order of the file.
    pub members: Vec<MemberRow>,
}

/// One member of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MemberRow {
    /// Where its calls go.
    pub uri: String,
    /// Its share; zero: only when the others are down.
    pub weight: u16,
    /// `up`, `down`, `probing`: nothing is known yet, and calls go there.
    pub state: String,
    /// Whether it gets no new calls, as the operator wants.
    pub draining: bool,
    /// Since when its state is what it is, RFC 3339.
    pub since: String,
    /// The same, milliseconds since 1970.
    pub since_ms: u64,
    /// Calls now, both directions.
    pub calls: u32,
    /// How many there may be; zero: any number.
    pub calls_max: u32,
    /// Calls that went there and were answered, since the start.
    pub answered: u64,
    /// Calls that went there and were not, since the start.
    pub unanswered: u64,
    /// The answer-seizure ratio (ITU-T E.425) in percent; absent before the first call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_seizure_percent: Option<u32>,
    /// What went wrong last, and what to check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<String>,
}
