//! Which addresses of record hold bindings over which connection, so that the end of a connection
//! finds them without a scan. Bounded by the bindings: one entry each at most.

use crate::base::ConnectionId;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

const SLICES: u64 = 16;

type Pairs = BTreeSet<(ConnectionId, Arc<str>)>;

#[derive(Debug, Default)]
pub(super) struct FlowIndex {
    slices: [Mutex<Pairs>; SLICES as usize],
}

impl FlowIndex {
    fn with<T>(&self, connection: ConnectionId, work: impl FnOnce(&mut Pairs) -> T) -> Option<T> {
        let slice = self.slices.get((connection.0 % SLICES) as usize)?;
        Some(work(
            &mut slice.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    pub(super) fn add(&self, connection: ConnectionId, aor: &Arc<str>) {
        self.with(connection, |set| set.insert((connection, aor.clone())));
    }

    pub(super) fn remove(&self, connection: ConnectionId, aor: &Arc<str>) {
        self.with(connection, |set| set.remove(&(connection, aor.clone())));
    }

    /// Takes all addresses of record of a connection out.
    pub(super) fn take(&self, connection: ConnectionId) -> Vec<Arc<str>> {
        let none: Arc<str> = "".into();
        self.with(connection, |set| {
            let from = (connection, none.clone());
            let to = (ConnectionId(connection.0.saturating_add(1)), none);
            let found: Vec<_> = set.range(from..to).cloned().collect();
            for entry in &found {
                set.remove(entry);
            }
            found.into_iter().map(|(_, aor)| aor).collect()
        })
        .unwrap_or_default()
    }
}
