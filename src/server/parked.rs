//! `voipctl park`: what waits in which slot. All shards share it, so any one answers.

use super::signal::SignalCore;
use crate::control::{ParkedRow, Reply, rfc3339};
use crate::feature::Parked;

impl SignalCore {
    /// The slots that are taken.
    pub(super) fn parked(&self) -> Reply {
        let parked = self.features.lot().list();
        let rows = parked.into_iter().map(|(slot, parked)| row(&slot, parked));
        let rows = rows.collect();
        Reply::Parked { rows }
    }
}

fn row(slot: &str, parked: Parked) -> ParkedRow {
    ParkedRow {
        slot: slot.into(),
        user: parked.user.map(String::from),
        number: parked.number.into(),
        display_name: parked.name.into(),
        parker: parked.parker.map(String::from),
        provisional: parked.provisional,
        since_ms: parked.since_ms,
        since: rfc3339(parked.since_ms),
    }
}
