//! Calls of other proxies that our relay carries, and how media passes through the host.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// The files that are being written of it, below `[spool] directory`, one for each stream of
    /// sound, with blanks between; empty without one.
    pub recording: String,
}

/// One way by which media passes through the host: the sockets, or the fast path.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RelayDriverRow {
    /// `sockets`, `xdp:eth0`.
    pub name: String,
    /// How it works, in words: threads, how it gets at the card.
    pub mode: String,
    /// Whether it runs.
    pub up: bool,
    /// Why it does not, with the remedy; empty if it does. Always written: the form of the messages
    /// between processes knows no names.
    pub problem: String,
    /// Streams that it carries now, one for each direction of a call's media.
    pub flows: u64,
    /// Packets that came.
    pub received: u64,
    /// Packets that were sent.
    pub sent: u64,
    /// The same in the last seconds.
    pub received_per_s: u64,
    /// The same in the last seconds.
    pub sent_per_s: u64,
    /// Packets of the fast path that it left to the relay.
    pub punted: u64,
    /// How often the fast path could not take a stream: no place, or no next hop.
    pub refused: u64,
    /// The most packets that were taken at once.
    pub batch_max: u64,
    /// Packets that went nowhere, by reason; those of no packet are absent.
    pub drops: BTreeMap<String, u64>,
    /// The card's queues.
    pub queues: Vec<RelayQueueRow>,
}

/// One queue of the fast path's card.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RelayQueueRow {
    /// The card's number of it.
    pub number: u32,
    /// Frames that came.
    pub received: u64,
    /// Frames that were sent.
    pub sent: u64,
    /// Frames that found the ring to the card full, and were dropped.
    pub overruns: u64,
    /// Frames that the card may receive into now.
    pub room: u64,
    /// Frames that are on their way out now.
    pub sending: u64,
    /// Frames that the kernel dropped for want of memory or for their length.
    pub kernel_dropped: u64,
    /// Frames that the kernel dropped since they were not taken in time.
    pub ring_full: u64,
    /// How often the card found no frame to receive into.
    pub room_empty: u64,
    /// Entries of rings that the kernel found wrong: a fault of voipd.
    pub invalid: u64,
}
