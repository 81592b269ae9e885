//! `voipctl relay`, `voipctl relay calls`.

use super::access::Access;
use super::failure::Failure;
use super::output::Output;
use super::table::{Table, printable};
use crate::control::{Command, RelayDriverRow, RelayedRow, Reply};

/// How media passes through the host.
pub(super) fn drivers(access: &Access, output: Output) -> Result<(), Failure> {
    let rows = match access.ask(Command::Status)? {
        Reply::Status(status) => status.relay,
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.rows(&rows);
    }
    output.text(&drivers_text(&rows))
}

/// The calls that are relayed, whoever drives them.
pub(super) fn calls(access: &Access, output: Output) -> Result<(), Failure> {
    let (rows, more) = match access.ask(Command::Relayed)? {
        Reply::Relayed { rows, more } => (rows, more),
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.rows(&rows);
    }
    output.text(&text(&rows, more))
}

pub(super) fn drivers_text(rows: &[RelayDriverRow]) -> String {
    if rows.is_empty() {
        return "the relays have not told yet; ask again in a moment\n".into();
    }
    let mut text = ways(rows);
    if rows.iter().any(|row| !row.queues.is_empty()) {
        text.push('\n');
        text.push_str(&queues(rows));
    }
    text.push('\n');
    text.push_str(&drops(rows));
    for row in rows.iter().filter(|row| !row.problem.is_empty()) {
        text.push_str(&format!("\nWARNING  {}\n", printable(&row.problem)));
    }
    text
}

fn ways(rows: &[RelayDriverRow]) -> String {
    let mut table = Table::new(&[
        "DRIVER", "STATE", "STREAMS", "RECEIVED", "PER S", "SENT", "PER S", "PUNTED", "REFUSED",
        "REROUTED", "DROPPED", "BATCH", "MODE",
    ]);
    for row in rows {
        let state = if row.up { "up" } else { "ended" };
        let dropped: u64 = row.drops.values().sum();
        let figures = [
            row.flows,
            row.received,
            row.received_per_s,
            row.sent,
            row.sent_per_s,
            row.punted,
            row.refused,
            row.rerouted,
            dropped,
            row.batch_max,
        ];
        let cells = [row.name.clone(), state.to_owned()].into_iter();
        let cells = cells.chain(figures.map(|figure| figure.to_string()));
        table.row(cells.chain([row.mode.clone()]));
    }
    table.render("")
}

fn queues(rows: &[RelayDriverRow]) -> String {
    let mut table = Table::new(&[
        "DRIVER",
        "QUEUE",
        "RECEIVED",
        "SENT",
        "OVERRUNS",
        "ROOM",
        "SENDING",
        "KERNEL DROPPED",
        "RING FULL",
        "NO ROOM",
        "INVALID",
    ]);
    for row in rows {
        for queue in &row.queues {
            let figures = [
                u64::from(queue.number),
                queue.received,
                queue.sent,
                queue.overruns,
                queue.room,
                queue.sending,
                queue.kernel_dropped,
                queue.ring_full,
                queue.room_empty,
                queue.invalid,
            ];
            let figures = figures.map(|figure| figure.to_string());
            table.row([row.name.clone()].into_iter().chain(figures));
        }
    }
    table.render("")
}

fn drops(rows: &[RelayDriverRow]) -> String {
    let mut table = Table::new(&["DRIVER", "DROPPED", "REASON", "MEANING"]);
    for row in rows {
        for (reason, count) in &row.drops {
            let meaning = meaning(reason).to_owned();
            table.row([row.name.clone(), count.to_string(), reason.clone(), meaning]);
        }
    }
    table.render("no packet was dropped")
}

/// What a reason says to somebody who looks for lost sound.
fn meaning(reason: &str) -> &'static str {
    match reason {
        "no_session" => "to a port without a call: a phone sends on after the end",
        "stray" => "not from the peer of the call: another phone, a moved NAT mapping, an attack",
        "probation" => "from a new source that has not proved itself yet",
        "malformed" => "neither RTP nor RTCP",
        "stun" => "keepalives of phones; nothing is lost",
        "no_destination" => "the other side has not said or shown where it listens",
        "inactive" => "on hold, or of a kind that the call blocks",
        "send_failed" => "the system refused: no route, a firewall, full buffers",
        "expired" => "time to live used up: a loop in the network",
        "checksum" => "damaged on its way",
        "srtp" => "forged, replayed, or with a key of before",
        "no_room" => "longer than the link lets through after the rewriting",
        "receive_buffer" => {
            "the system had no room: voipd took them too late, or the host is too busy"
        }
        "ring_full" => "the card sends more slowly than packets come",
        "worker_full" => "voipd's own threads are too busy",
        _ => "",
    }
}

fn text(rows: &[RelayedRow], more: bool) -> String {
    let mut table = Table::new(&[
        "BY",
        "CALL-ID",
        "STATE",
        "FROM",
        "TO",
        "OUR PORTS",
        "SINCE",
        "RECORDING",
    ]);
    for row in rows {
        let ports: Vec<String> = row.ports.iter().map(u16::to_string).collect();
        table.row([
            row.by.clone(),
            row.call_id.clone(),
            row.state.clone(),
            row.from_media.clone(),
            row.to_media.clone(),
            ports.join(" "),
            row.since.clone(),
            row.recording.clone(),
        ]);
    }
    let mut text = table.render("no call is relayed");
    if more {
        let shown = rows.len();
        text.push_str(&format!("\nthere are more; {shown} are shown\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RelayQueueRow;
    use crate::relay::{DropReason, frame};

    #[test]
    fn a_call_is_a_line() {
        let row = RelayedRow {
            by: "ng".into(),
            call_id: "abc@host".into(),
            state: "answered".into(),
            from_media: "192.0.2.1:4000".into(),
            ports: vec![20_000, 20_002],
            since: "2026-11-22T22:31:10Z".into(),
            recording: "recordings/2026/11/22/abc@host-1.wav".into(),
            ..RelayedRow::default()
        };
        let shown = text(&[row], false);
        assert!(shown.starts_with("BY"), "{shown}");
        assert!(!shown.contains("there are more"), "{shown}");
        assert!(
            shown.contains("answered")
                && shown.contains("20000 20002")
                && shown.contains("abc@host-1.wav"),
            "{shown}"
        );
        assert!(text(&[], false).contains("no call is relayed"));
        assert!(text(&[], true).contains("there are more"));
    }

    #[test]
    fn ways_queues_drops_and_troubles_are_shown() {
        let mut rows = vec![RelayDriverRow {
            name: "sockets".into(),
            mode: "2 threads".into(),
            up: true,
            received: 12_345,
            ..RelayDriverRow::default()
        }];
        let shown = drivers_text(&rows);
        assert!(
            shown.contains("12345") && shown.contains("2 threads"),
            "{shown}"
        );
        assert!(shown.ends_with("\nno packet was dropped\n"), "{shown}");
        rows.push(RelayDriverRow {
            name: "xdp:eth0".into(),
            problem: "the interface is gone; restart voipd".into(),
            drops: [("stray".to_owned(), 7)].into(),
            queues: vec![RelayQueueRow {
                ring_full: 99,
                ..RelayQueueRow::default()
            }],
            ..RelayDriverRow::default()
        });
        let shown = drivers_text(&rows);
        let line = |words: [&str; 3]| {
            let mut lines = shown.lines();
            lines.any(|line| words.iter().all(|word| line.contains(word)))
        };
        assert!(line(["xdp:eth0", "ended", "7"]), "{shown}");
        assert!(line(["xdp:eth0", "0", "99"]), "{shown}");
        assert!(line(["xdp:eth0", "7", "not from the peer"]), "{shown}");
        assert!(line(["WARNING", "gone", "restart voipd"]), "{shown}");
        assert!(drivers_text(&[]).contains("ask again"));
    }

    #[test]
    fn every_reason_means_something() {
        let sockets = DropReason::ALL.map(DropReason::name);
        let fast = frame::DropReason::ALL.map(frame::DropReason::name);
        for reason in
            sockets
                .iter()
                .chain(&fast)
                .chain(&["ring_full", "worker_full", "receive_buffer"])
        {
            assert!(!meaning(reason).is_empty(), "{reason}");
        }
    }
}
