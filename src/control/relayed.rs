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
    /// Why it does not, with the remedy; empty if it does.
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

impl RelayDriverRow {
    /// The sums of the sockets of several relays, each with a thread of its own; `None` of none.
    pub fn sum(rows: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut threads = 0;
        let sum = rows.into_iter().inspect(|_| threads += 1).reduce(Self::add);
        sum.map(|sum| Self {
            mode: match threads {
                1 => "1 thread".into(),
                _ => format!("{threads} threads"),
            },
            ..sum
        })
    }

    fn add(mut self, other: Self) -> Self {
        self.flows += other.flows;
        self.received += other.received;
        self.sent += other.sent;
        self.batch_max = self.batch_max.max(other.batch_max);
        for (reason, count) in other.drops {
            *self.drops.entry(reason).or_default() += count;
        }
        self
    }
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

    #[test]
    fn relays_are_summed() {
        let row = |received, batch_max, stray| RelayDriverRow {
            name: "sockets".into(),
            up: true,
            received,
            batch_max,
            drops: BTreeMap::from([("stray".to_owned(), stray), (received.to_string(), 1)]),
            ..RelayDriverRow::default()
        };
        assert_eq!(RelayDriverRow::sum([]), None);
        let one = RelayDriverRow::sum([row(5, 6, 7)]).unwrap();
        assert_eq!((one.mode.as_str(), one.received), ("1 thread", 5));
        let sum = RelayDriverRow::sum([row(5, 6, 7), row(10, 3, 8)]).unwrap();
        assert_eq!(sum.name, "sockets");
        assert_eq!(
            (sum.mode.as_str(), sum.received, sum.batch_max),
            ("2 threads", 15, 6)
        );
        assert!(sum.up);
        let drops: Vec<_> = sum
            .drops
            .iter()
            .map(|(name, n)| (name.as_str(), *n))
            .collect();
        assert_eq!(drops, [("10", 1), ("5", 1), ("stray", 15)]);
    }
}
