//! Calls whose media passes through us, as the operator sees the sessions of the relay.

use super::{CallTable, text};
use crate::call::media::Media;
use crate::call::state::{Call, State};
use crate::control::{RelayedRow, rfc3339};

impl CallTable {
    /// One row for each relayed call, at most so many.
    pub fn relayed(&self, most: usize) -> Vec<RelayedRow> {
        let calls = self.calls.iter();
        let relayed = calls.filter_map(|(_, call)| Some((call, call.media.as_deref()?)));
        relayed
            .take(most)
            .map(|(call, media)| row(call, media))
            .collect()
    }
}

fn row(call: &Call, media: &Media) -> RelayedRow {
    let [from_media, to_media] = media
        .peers()
        .map(|peer| peer.map_or_else(String::new, |peer| peer.to_string()));
    let [from_tag, to_tag] = call.legs.each_ref().map(|leg| text(&leg.tag).to_string());
    let state = match call.state {
        State::Calling { .. } => "offered",
        State::Answered { .. } => "answered",
        State::Ended { .. } => "ending",
    };
    RelayedRow {
        by: "call".into(),
        call_id: text(&call.call_id).to_string(),
        from_tag,
        to_tag,
        state: state.into(),
        from_media,
        to_media,
        ports: media.ports(),
        since_ms: call.start_ms,
        since: rfc3339(call.start_ms),
        recording: String::new(),
    }
}
