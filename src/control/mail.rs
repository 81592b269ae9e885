//! Mailboxes and messages, as listings show them.

use serde::{Deserialize, Serialize};

/// One user's mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MailboxRow {
    /// `name@domain`.
    pub aor: String,
    /// Whether calls fall to it; absent: as `[voicemail] enabled` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Messages that were not heard.
    pub new: u32,
    /// Messages that were heard.
    pub saved: u32,
    /// Most messages; absent: as `[voicemail] messages_max` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_max: Option<u32>,
    /// Most messages, whoever says so; zero from a daemon that does not tell.
    #[serde(default)]
    pub most: u32,
    /// Whether a PIN opens it from another phone.
    pub pin: bool,
    /// Where copies go; may be empty.
    pub email: String,
    /// Why copies do not go there; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub warning: String,
    /// Wrong PINs since the last right one.
    pub wrong_pins: u32,
    /// No PIN is taken until then, in milliseconds since 1970; zero: it is not locked.
    pub locked_until_ms: u64,
    /// Greetings that the owner recorded: `unavail`, `busy`, `greet`.
    pub greetings: Vec<String>,
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MessageRow {
    /// For `delete-message`.
    pub id: u64,
    /// `recording`, `new`, `saved`, `deleted`.
    pub folder: String,
    /// The caller's number or user name; empty if it is not known.
    pub number: String,
    /// The caller's name; may be empty.
    pub name: String,
    /// Milliseconds since 1970.
    pub received_ms: u64,
    /// How long it is.
    pub duration_ms: u32,
    /// Its sound, below the spool.
    pub file: String,
}
