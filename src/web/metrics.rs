//! What the daemon counts, for Prometheus.

use crate::control::StatusRow;
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

/// The text of a scrape. Names end as Prometheus' guide wants them.
pub(super) fn text(row: &StatusRow) -> String {
    let mut registry = Registry::with_prefix("voip");
    let build = Info::new(vec![("version", row.version.clone())]);
    registry.register("build", "The daemon's version", build);
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
        ("media_sessions", "Relayed sessions", row.media_sessions),
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
    let counters = &row.counters;
    let mut events = counters.other.clone();
    events.remove(STORE_WAITING);
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
