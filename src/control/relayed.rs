//! Calls that our relay carries, our own and those of other proxies, and how media passes through
//! the host.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One dialogue of such a call: one session of the relay.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RelayedRow {
    /// Who drives it: `call`, a call of our own, or `ng`, another proxy by that protocol.
    pub by: String,
    /// Its Call-ID.
    pub call_id: String,
    /// The tag of the side that offered first.
    pub from_tag: String,
    /// The tag of the other; empty before it answered.
    pub to_tag: String,
    /// `offered`, `answered`, or `ending`: over, and kept for what is still under way.
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
    /// The files that are being written of it where another proxy drives it, below
    /// `[spool] directory`, one for each stream of sound, with blanks between; empty without one.
    pub recording: String,
}

/// Adds the rows of others, orders all by Call-ID, and keeps at most [`super::ROWS_MAX`]; whether
/// some were left out.
pub fn join_relayed(rows: &mut Vec<RelayedRow>, more: Vec<RelayedRow>) -> bool {
    rows.extend(more);
    rows.sort_by(|a, b| {
        (&a.call_id, &a.from_tag, &a.to_tag).cmp(&(&b.call_id, &b.from_tag, &b.to_tag))
    });
    let left_out = rows.len() > super::ROWS_MAX;
    rows.truncate(super::ROWS_MAX);
    left_out
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
    /// How often a stream left the fast path since packets to its receiver leave by another way.
    pub rerouted: u64,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ROWS_MAX, Reply};

    fn rows(by: &str, numbers: std::ops::Range<usize>) -> Reply {
        let row = |n: usize| RelayedRow {
            by: by.into(),
            call_id: format!("{n:05}"),
            ..RelayedRow::default()
        };
        Reply::Relayed {
            rows: numbers.map(row).collect(),
            more: false,
        }
    }

    #[test]
    fn all_are_listed_up_to_a_bound() {
        let (ours, theirs) = (rows("call", 1..2), rows("ng", 0..3));
        let Reply::Relayed { rows: few, more } = Reply::merge(vec![ours, theirs]) else {
            panic!("not joined")
        };
        let names: Vec<_> = few.iter().map(|row| (&*row.call_id, &*row.by)).collect();
        let all = [
            ("00000", "ng"),
            ("00001", "call"),
            ("00001", "ng"),
            ("00002", "ng"),
        ];
        assert!(names == all && !more, "{names:?}");
        let parts = vec![
            rows("call", 0..ROWS_MAX - 1),
            rows("call", ROWS_MAX..ROWS_MAX + 2),
            rows("ng", 0..0),
        ];
        let Reply::Relayed { rows: many, more } = Reply::merge(parts) else {
            panic!("not joined")
        };
        assert!(many.len() == ROWS_MAX && more);
    }
}
