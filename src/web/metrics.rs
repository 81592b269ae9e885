//! What the daemon counts, for Prometheus.

mod relay;

use crate::control::{MemberRow, StatusRow};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;

/// OpenMetrics, which Prometheus reads as it is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Among what is counted, the one number that goes down, too.
const STORE_WAITING: &str = "store_waiting";

/// Those that the relay's own metrics show, some of them as what they are: gauges.
const OF_RELAY: &str = "fast_path_";

/// The text of a scrape. Names end as Prometheus' guide wants them.
pub(super) fn text(row: &StatusRow) -> String {
    let mut registry = Registry::with_prefix("voip");
    let build = Info::new(vec![("version", row.version.clone())]);
    registry.register("build", "The daemon's version", build);
    totals(&mut registry, row);
    peers(&mut registry, row);
    relay::register(&mut registry, &row.relay);
    let counters = &row.counters;
    let mut events = counters.other.clone();
    events.remove(STORE_WAITING);
    events.retain(|name, _| !name.starts_with(OF_RELAY));
    let messages = BTreeMap::from([
        ("in".to_owned(), counters.messages_in),
        ("out".to_owned(), counters.messages_out),
    ]);
    for (name, help, label, values) in [
        ("messages", "SIP messages", "direction", &messages),
        (
            "requests",
            "Requests that came",
            "method",
            &counters.requests,
        ),
        ("responses", "Final answers", "status", &counters.responses),
        ("drops", "What was dropped", "reason", &counters.drops),
        ("events", "All else that is counted", "name", &events),
    ] {
        let family: Family<Vec<(String, String)>, Counter> = Family::default();
        for (value, count) in values {
            let labels = vec![(label.to_owned(), value.clone())];
            family.get_or_create(&labels).inc_by(*count);
        }
        registry.register(name, help, family);
    }
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

/// What is there now.
fn totals(registry: &mut Registry, row: &StatusRow) {
    let waiting = row.counters.other.get(STORE_WAITING).copied();
    let waiting = waiting.unwrap_or_default();
    for (name, help, value) in [
        ("uptime_seconds", "Seconds since the start", row.uptime_s),
        ("users", "Users in the directory", row.users),
        ("registrations", "Bindings", row.registrations),
        ("calls", "Calls that are up or being set up", row.calls),
        ("transactions", "SIP transactions", row.transactions),
        ("connections", "Stream connections", row.connections),
        ("bans", "Sources that are shut out", row.bans),
        ("blocks", "Users who may not call out", row.blocks),
        (
            "media_sessions",
            "Relayed sessions of voipd's own calls",
            row.media_sessions,
        ),
        (
            "ng_sessions",
            "Relayed sessions of other proxies, by the ng protocol",
            row.ng_sessions,
        ),
        (
            STORE_WAITING,
            "Changes that are not on the disk yet",
            waiting,
        ),
        (
            "warnings",
            "What needs the operator",
            row.warnings.len() as u64,
        ),
    ] {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
}

type Labels = Vec<(String, String)>;
type Values = Vec<(Labels, i64)>;

/// Trunks, by `trunk`; members, by `pool` and `member`.
fn peers(registry: &mut Registry, row: &StatusRow) {
    let trunk_labels = |name: &str| vec![("trunk".to_owned(), name.to_owned())];
    let trunks = || row.trunks.iter().map(|t| (trunk_labels(&t.name), t));
    let members = || row.pools.iter().flat_map(member_labels);
    let one = |is_so: bool| i64::from(is_so);
    let gauges: [(&str, &str, Values); 6] = [
        (
            "trunk_up",
            "1 unless the trunk is down",
            trunks().map(|(l, t)| (l, one(t.state != "down"))).collect(),
        ),
        (
            "trunk_registered",
            "1 while we are registered there, 0 where we should be; absent where not",
            trunks()
                .filter(|(_, t)| t.registration != "none")
                .map(|(l, t)| (l, one(t.registration == "registered")))
                .collect(),
        ),
        (
            "trunk_calls",
            "Calls now, both directions",
            trunks().map(|(l, t)| (l, t.calls.into())).collect(),
        ),
        (
            "pool_member_up",
            "1 unless the member is down",
            members()
                .map(|(l, m)| (l, one(m.state != "down")))
                .collect(),
        ),
        (
            "pool_member_draining",
            "1 while the member gets no new calls",
            members().map(|(l, m)| (l, one(m.draining))).collect(),
        ),
        (
            "pool_member_calls",
            "Calls now, both directions",
            members().map(|(l, m)| (l, m.calls.into())).collect(),
        ),
    ];
    for (name, help, values) in gauges {
        let family: Family<Labels, Gauge> = Family::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        registry.register(name, help, family);
    }
    let of_trunks = trunks()
        .map(|(l, t)| (l, t.answered, t.unanswered))
        .collect();
    let of_members = members()
        .map(|(l, m)| (l, m.answered, m.unanswered))
        .collect();
    outcomes(registry, "trunk_seizures", of_trunks);
    outcomes(registry, "pool_member_seizures", of_members);
}

fn member_labels(pool: &crate::control::PoolRow) -> impl Iterator<Item = (Labels, &MemberRow)> {
    pool.members.iter().map(|member| {
        let labels = vec![
            ("pool".to_owned(), pool.name.clone()),
            ("member".to_owned(), member.uri.clone()),
        ];
        (labels, member)
    })
}

/// `outcome` is `answered` or `unanswered`.
fn outcomes(registry: &mut Registry, name: &str, of: Vec<(Labels, u64, u64)>) {
    let family: Family<Labels, Counter> = Family::default();
    for (labels, answered, unanswered) in of {
        for (outcome, count) in [("answered", answered), ("unanswered", unanswered)] {
            let mut labels = labels.clone();
            labels.push(("outcome".to_owned(), outcome.to_owned()));
            family.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register(name, "Calls that went there and ended their set-up", family);
}
