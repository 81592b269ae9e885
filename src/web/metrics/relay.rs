//! The ways that media takes: by `driver`, those of a card by `queue`, too.

use super::{Labels, Values};
use crate::control::{RelayDriverRow, RelayQueueRow};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

fn label(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn of(row: &RelayDriverRow) -> Labels {
    vec![label("driver", row.name.as_str())]
}

fn with(mut labels: Labels, name: &str, value: &str) -> Labels {
    labels.push(label(name, value));
    labels
}

fn queues(rows: &[RelayDriverRow]) -> impl Iterator<Item = (Labels, &RelayQueueRow)> {
    rows.iter().flat_map(|row| {
        let queues = row.queues.iter();
        queues.map(|queue| (with(of(row), "queue", &queue.number.to_string()), queue))
    })
}

/// Directions, as [`super::text`] has them of messages.
fn both(labels: &Labels, came: u64, went: u64) -> [(Labels, u64); 2] {
    [("in", came), ("out", went)].map(|(way, n)| (with(labels.clone(), "direction", way), n))
}

/// All of them.
pub(super) fn register(registry: &mut Registry, rows: &[RelayDriverRow]) {
    gauges(registry, rows);
    let packets = rows
        .iter()
        .flat_map(|row| both(&of(row), row.received, row.sent))
        .collect();
    let drops = rows.iter().flat_map(|row| {
        let drops = row.drops.iter();
        drops.map(|(reason, count)| (with(of(row), "reason", reason), *count))
    });
    let punted = rows.iter().map(|row| (of(row), row.punted)).collect();
    let refused = rows.iter().map(|row| (of(row), row.refused)).collect();
    let rerouted = rows.iter().map(|row| (of(row), row.rerouted)).collect();
    let frames = queues(rows)
        .flat_map(|(labels, queue)| both(&labels, queue.received, queue.sent))
        .collect();
    let lost = queues(rows).flat_map(|(labels, queue)| {
        [
            ("overrun", queue.overruns),
            ("kernel", queue.kernel_dropped),
            ("ring_full", queue.ring_full),
            ("invalid", queue.invalid),
        ]
        .map(|(reason, count)| (with(labels.clone(), "reason", reason), count))
    });
    let empty = queues(rows).map(|(labels, queue)| (labels, queue.room_empty));
    counter(registry, "relay_packets", "Packets of media", packets);
    let help = "Packets of media that went nowhere";
    counter(registry, "relay_drops", help, drops.collect());
    let help = "Packets that the fast path left to the relay";
    counter(registry, "relay_punted", help, punted);
    let help = "Streams that the fast path could not take";
    counter(registry, "relay_refused", help, refused);
    let help = "Streams that left the fast path since their receiver is behind another way now";
    counter(registry, "relay_rerouted", help, rerouted);
    counter(
        registry,
        "relay_queue_frames",
        "Frames of a card's queue",
        frames,
    );
    let help = "Frames of a card's queue that went nowhere";
    counter(registry, "relay_queue_drops", help, lost.collect());
    let help = "How often the card found no frame to receive into";
    counter(registry, "relay_queue_room_empty", help, empty.collect());
}

fn gauges(registry: &mut Registry, rows: &[RelayDriverRow]) {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let each = |value: fn(&RelayDriverRow) -> u64| -> Values {
        rows.iter()
            .map(|row| (of(row), signed(value(row))))
            .collect()
    };
    let each_queue = |value: fn(&RelayQueueRow) -> u64| -> Values {
        queues(rows)
            .map(|(labels, queue)| (labels, signed(value(queue))))
            .collect()
    };
    for (name, help, values) in [
        (
            "relay_driver_up",
            "1 unless the driver ended",
            each(|row| row.up.into()),
        ),
        (
            "relay_streams",
            "Streams now, one for each direction of a call's media",
            each(|row| row.flows),
        ),
        (
            "relay_batch_max",
            "The most packets that were taken at once",
            each(|row| row.batch_max),
        ),
        (
            "relay_queue_room",
            "Frames that the card may receive into now",
            each_queue(|queue| queue.room),
        ),
        (
            "relay_queue_sending",
            "Frames that are on their way out now",
            each_queue(|queue| queue.sending),
        ),
    ] {
        let family: Family<Labels, Gauge> = Family::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        registry.register(name, help, family);
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str, values: Vec<(Labels, u64)>) {
    let family: Family<Labels, Counter> = Family::default();
    for (labels, count) in values {
        family.get_or_create(&labels).inc_by(count);
    }
    registry.register(name, help, family);
}
