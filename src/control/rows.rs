//! The rows of listings. Times are RFC 3339 in UTC where they are text, seconds where they end in
//! `_s`, milliseconds where they end in `_ms`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One binding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegistrationRow {
    /// `user@domain`.
    pub aor: String,
    /// The contact URI.
    pub contact: String,
    /// The source as the packet bore it, `address:port`.
    pub received: String,
    /// `udp`, `tcp`, `tls`, `ws`, `wss`.
    pub transport: String,
    /// Seconds until it ends.
    pub expires_s: u64,
    /// The phone's User-Agent; may be empty.
    pub user_agent: String,
    /// Whether the phone is behind NAT.
    #[serde(default)]
    pub behind_nat: bool,
}

/// One call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CallRow {
    /// Names it for `voipctl hangup` and `voipctl trace`.
    pub id: String,
    /// The caller's address.
    pub from: String,
    /// The address that was called.
    pub to: String,
    /// How far it is.
    pub state: CallState,
    /// Since when it is in that state, milliseconds since 1970.
    pub since_ms: u64,
    /// The same as text, RFC 3339.
    pub since: String,
    /// The codec of the answer; empty if not seen.
    pub codec: String,
    /// The caller's and the callee's side; empty if media does not pass through us.
    pub legs: Vec<LegRow>,
    /// Plain words about the media, such as "the callee's side sends nothing"; empty if all is well
    /// or unknown.
    pub verdict: String,
}

/// How far a call is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Nobody rang yet.
    Calling,
    /// A 180 or 183 came.
    Ringing,
    /// Answered.
    Up,
    /// A BYE is on its way.
    Ending,
}

impl CallState {
    /// The word of the JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            CallState::Calling => "calling",
            CallState::Ringing => "ringing",
            CallState::Up => "up",
            CallState::Ending => "ending",
        }
    }
}

/// One side of a relayed call.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LegRow {
    /// `caller` or `callee`.
    pub side: String,
    /// RTP packets that arrived from this side.
    pub packets_in: u64,
    /// RTP packets that were sent to this side.
    pub packets_out: u64,
    /// Packets missing in the sequence from this side.
    pub lost: u64,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
    /// How its speech sounds, estimated (ITU-T G.107): 1.0 to 4.4; absent before the first packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// Where this side's packets come from, `address:port`; empty until the first.
    #[serde(default)]
    pub remote: String,
    /// Milliseconds since its last packet; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
}

/// A call that is over, or was refused.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CdrRow {
    /// The Call-ID.
    pub call_id: String,
    /// The caller.
    pub from: String,
    /// Who was called.
    pub to: String,
    /// The user on whose account it went, `name@domain`; empty for strangers and trunks.
    pub user: String,
    /// The caller's `address:port`.
    pub source: String,
    /// The trunk or pool that it came from; empty for a phone.
    pub way_in: String,
    /// The trunk, or pool and member, that answered or was tried last; empty for a phone.
    pub way_out: String,
    /// The route that the number took; empty if none did.
    pub route: String,
    /// When it began, in milliseconds since 1970.
    pub start_ms: u64,
    /// The same as text, RFC 3339.
    pub start: String,
    /// When it was answered; absent if nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_ms: Option<u64>,
    /// When it ended.
    pub end_ms: u64,
    /// Whole seconds from answer to end.
    pub seconds: u64,
    /// The final status of the INVITE, zero if none came.
    pub status: u16,
    /// How it ended: `caller_hung_up`, `callee_hung_up`, `cancelled`, `refused`, `media_timeout`,
    /// `media_failed`, `operator`, `too_long`, `shutdown`.
    pub cause: String,
    /// The codecs of the answer; empty if not seen.
    pub codecs: String,
    /// What else is to be said, in words; may be empty.
    pub note: String,
    /// The caller's and the callee's side; empty if media did not pass through us.
    pub legs: Vec<CdrLegRow>,
}

/// One side of a relayed call that is over.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CdrLegRow {
    /// `caller` or `callee`.
    pub side: String,
    /// RTP packets that arrived from this side.
    pub packets_in: u64,
    /// RTP packets that were sent to this side.
    pub packets_out: u64,
    /// Packets missing in the sequence from this side.
    pub lost: u64,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1).
    pub jitter_ms: f64,
    /// How its speech sounded, estimated (ITU-T G.107): 1.0 to 4.4; absent if none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
}

/// Where a number leads, and why.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RouteRow {
    /// What would be dialled, without visual separators.
    pub dialled: String,
    /// Who would call, `user:100@example.com`.
    pub from: String,
    /// When, RFC 3339.
    pub at: String,
    /// `go`, `refuse`, or `none`: a user of ours, or nobody.
    pub decision: String,
    /// Of `refuse`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Of `refuse`; may be empty.
    #[serde(default)]
    pub reason: String,
    /// The route that decides; empty where none does.
    #[serde(default)]
    pub route: String,
    /// The number as it goes on.
    #[serde(default)]
    pub number: String,
    /// The same in E.164 with its plus; empty if not known.
    #[serde(default)]
    pub e164: String,
    /// `international`, `premium`, or empty.
    #[serde(default)]
    pub class: String,
    /// Whether it is an emergency number.
    #[serde(default)]
    pub emergency: bool,
    /// The caller's number instead of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<String>,
    /// The caller's name instead of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_name: Option<String>,
    /// Whether the caller's number is withheld.
    #[serde(default)]
    pub anonymous: bool,
    /// Headers added, `X-Site: hq`.
    #[serde(default)]
    pub add_headers: Vec<String>,
    /// Headers taken out.
    #[serde(default)]
    pub remove_headers: Vec<String>,
    /// Whether the caller is sent there by a 302 instead.
    #[serde(default)]
    pub redirect: bool,
    /// The ways out, in order.
    #[serde(default)]
    pub steps: Vec<RouteStepRow>,
    /// Why, route by route.
    #[serde(default)]
    pub lines: Vec<RouteLineRow>,
}

/// One step of a way out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RouteStepRow {
    /// `trunk:itsp`; several ring together.
    pub targets: Vec<String>,
    /// How long, unless it is the last.
    pub ring_s: u64,
    /// What lets the next begin: `timeout`, `408`, `5xx`.
    pub next_on: Vec<String>,
    /// The number of this step, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
}

/// What became of one route.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RouteLineRow {
    /// Its name; empty for what is said of the number or of the route before.
    pub route: String,
    /// Its line in the file; zero where there is none.
    pub line: u64,
    /// `passed`, `taken`, `note`.
    pub verdict: String,
    /// Why, in words.
    pub why: String,
}

/// How the daemon fares.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StatusRow {
    /// Of the daemon.
    pub version: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Its process id.
    #[serde(default)]
    pub pid: u32,
    /// The domains that are ours.
    #[serde(default)]
    pub domains: Vec<String>,
    /// The listeners, `udp:0.0.0.0:5060`.
    #[serde(default)]
    pub listen: Vec<String>,
    /// How many shards run.
    pub shards: u32,
    /// Users in the directory.
    pub users: u64,
    /// Bindings of the node.
    pub registrations: u64,
    /// Calls, all shards'.
    pub calls: u64,
    /// Transactions, all shards'.
    pub transactions: u64,
    /// Stream connections.
    #[serde(default)]
    pub connections: u64,
    /// Sources that are shut out.
    #[serde(default)]
    pub bans: u64,
    /// Users whose calls to the outside are blocked.
    #[serde(default)]
    pub blocks: u64,
    /// Relayed media sessions of our own calls.
    #[serde(default)]
    pub media_sessions: u64,
    /// Those of other proxies, by the ng protocol.
    #[serde(default)]
    pub ng_sessions: u64,
    /// The trunks, as `voipctl trunks` has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trunks: Vec<super::TrunkRow>,
    /// The pools, as `voipctl pools` has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<super::PoolRow>,
    /// The ways by which media passes through the host, as `voipctl relay` has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relay: Vec<super::RelayDriverRow>,
    /// Counters since the start.
    pub counters: Counters,
    /// What needs the operator now, each with its remedy: a full disk, a certificate that ends.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Counters since the start, all shards'.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Messages that came.
    pub messages_in: u64,
    /// Messages that went.
    pub messages_out: u64,
    /// Requests that came, by method.
    #[serde(default)]
    pub requests: BTreeMap<String, u64>,
    /// Final answers that we gave or passed on, by status.
    #[serde(default)]
    pub responses: BTreeMap<String, u64>,
    /// What was dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Everything else that is counted, by name.
    #[serde(default)]
    pub other: BTreeMap<String, u64>,
}

/// One source that is shut out, or one user name of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BanRow {
    /// Whom.
    pub source: String,
    /// The `name@domain` that is refused from there; absent where the source is shut out whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Since when, RFC 3339.
    pub since: String,
    /// Seconds until it ends.
    pub expires_s: u64,
    /// Why, in words.
    pub reason: String,
}

/// A user whose calls to the outside are blocked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockRow {
    /// `name@domain`
    pub user: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Seconds until it ends.
    pub expires_s: u64,
    /// Why, in words.
    pub reason: String,
}

/// One message of the ring.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TraceRow {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Orders messages of the same millisecond within a shard.
    pub order: u64,
    /// To us or from us.
    pub direction: TraceDirection,
    /// `udp`, `tcp`, `tls`, `ws`, `wss`.
    pub transport: String,
    /// Our side, `address:port`.
    pub local: String,
    /// The peer, `address:port`.
    pub remote: String,
    /// The Call-ID.
    pub call_id: String,
    /// The CSeq header's value.
    pub cseq: String,
    /// The request line or status line.
    pub first_line: String,
    /// The whole message as text, without credentials; may be cut.
    pub text: String,
}

/// Which way a message went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceDirection {
    /// To us.
    In,
    /// From us.
    Out,
}

/// A user's call features. What is not there is off.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FeatureRow {
    /// `name@domain`.
    pub aor: String,
    /// Where every call goes: a number, or a `sip:` or `sips:` URI.
    pub forward_always: Option<String>,
    /// Where calls go when the user is busy.
    pub forward_busy: Option<String>,
    /// Where calls go when nobody answers.
    pub forward_no_answer: Option<String>,
    /// Where calls go when no phone is registered.
    pub forward_unregistered: Option<String>,
    /// How many seconds phones ring before nobody answers.
    pub ring_seconds: Option<u16>,
    /// What callers hear while the phones ring.
    pub ringback: Option<String>,
    /// Do not disturb.
    pub dnd: bool,
    /// Whether anonymous callers are refused.
    pub reject_anonymous: bool,
    /// Patterns of callers that are refused.
    pub blocked: Vec<String>,
    /// Short codes of two digits, and what they dial.
    pub speed: BTreeMap<String, String>,
}

/// One user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserRow {
    /// `name@domain`.
    pub aor: String,
    /// The user part.
    pub username: String,
    /// The host part.
    pub domain: String,
    /// May be empty.
    pub display_name: String,
    /// Whether calls and registrations are refused.
    pub disabled: bool,
}
