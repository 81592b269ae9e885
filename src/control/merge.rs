//! One reply of several shards' replies.

use super::{Counters, Failure, Reply, StatusRow, join_relayed};
use std::collections::BTreeMap;

/// Rows are joined and ordered, counts added; what all shards share is taken once. Where one shard
/// did what was asked and the others had nothing to do, it is done.
pub(super) fn merge(replies: Vec<Reply>) -> Reply {
    let mut replies = replies.into_iter();
    let Some(first) = replies.next() else {
        return Reply::failed(Failure::Unavailable, "no shard answered", "try again");
    };
    let mut merged = replies.fold(first, join);
    match &mut merged {
        Reply::Calls { rows } => rows.sort_by(|a, b| (a.since_ms, &a.id).cmp(&(b.since_ms, &b.id))),
        Reply::Trace { rows } => rows.sort_by_key(|r| (r.at_ms, r.order)),
        _ => {}
    }
    merged
}

fn join(a: Reply, b: Reply) -> Reply {
    match (a, b) {
        (Reply::Status(mut a), Reply::Status(b)) => {
            add_status(&mut a, *b);
            Reply::Status(a)
        }
        (Reply::Calls { mut rows }, Reply::Calls { rows: more }) => {
            rows.extend(more);
            Reply::Calls { rows }
        }
        (
            Reply::Relayed { mut rows, more },
            Reply::Relayed {
                rows: others,
                more: too,
            },
        ) => {
            let left_out = join_relayed(&mut rows, others);
            Reply::Relayed {
                rows,
                more: more || too || left_out,
            }
        }
        (Reply::Trace { mut rows }, Reply::Trace { rows: more }) => {
            rows.extend(more);
            Reply::Trace { rows }
        }
        (
            Reply::Failed {
                kind: Failure::NotFound,
                ..
            },
            b,
        ) => b,
        (
            a,
            Reply::Failed {
                kind: Failure::NotFound,
                ..
            },
        ) => a,
        (failed @ Reply::Failed { .. }, _) | (_, failed @ Reply::Failed { .. }) => failed,
        (a, _) => a,
    }
}

fn add_status(a: &mut StatusRow, b: StatusRow) {
    a.uptime_s = a.uptime_s.max(b.uptime_s);
    a.users = a.users.max(b.users);
    a.registrations = a.registrations.max(b.registrations);
    a.bans = a.bans.max(b.bans);
    a.blocks = a.blocks.max(b.blocks);
    a.connections = a.connections.max(b.connections);
    a.shards += b.shards;
    a.calls += b.calls;
    a.transactions += b.transactions;
    a.media_sessions += b.media_sessions;
    add_counters(&mut a.counters, b.counters);
    // The first shard alone speaks of them.
    a.trunks.extend(b.trunks);
    a.pools.extend(b.pools);
    for warning in b.warnings {
        if !a.warnings.contains(&warning) {
            a.warnings.push(warning);
        }
    }
}

fn add_counters(a: &mut Counters, b: Counters) {
    a.messages_in += b.messages_in;
    a.messages_out += b.messages_out;
    add_map(&mut a.requests, b.requests);
    add_map(&mut a.responses, b.responses);
    add_map(&mut a.drops, b.drops);
    add_map(&mut a.other, b.other);
}

fn add_map(a: &mut BTreeMap<String, u64>, b: BTreeMap<String, u64>) {
    for (name, n) in b {
        *a.entry(name).or_default() += n;
    }
}
