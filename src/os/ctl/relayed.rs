//! `voipctl relay`.

use super::access::Access;
use super::failure::Failure;
use super::output::Output;
use super::table::Table;
use crate::control::{Command, RelayedRow, Reply};

pub(super) fn run(access: &Access, output: Output) -> Result<(), Failure> {
    let rows = match access.ask(Command::Relayed)? {
        Reply::Relayed { rows } => rows,
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.rows(&rows);
    }
    output.text(&text(&rows))
}

pub(super) fn text(rows: &[RelayedRow]) -> String {
    let mut table = Table::new(&["CALL-ID", "STATE", "FROM", "TO", "OUR PORTS", "SINCE"]);
    for row in rows {
        let ports: Vec<String> = row.ports.iter().map(u16::to_string).collect();
        table.row([
            row.call_id.clone(),
            row.state.clone(),
            row.from_media.clone(),
            row.to_media.clone(),
            ports.join(" "),
            row.since.clone(),
        ]);
    }
    table.render("no call of another proxy is relayed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_line() {
        let row = RelayedRow {
            call_id: "abc@host".into(),
            state: "answered".into(),
            from_media: "192.0.2.1:4000".into(),
            ports: vec![20_000, 20_002],
            since: "2026-11-22T22:31:10Z".into(),
            ..RelayedRow::default()
        };
        let shown = text(&[row]);
        assert!(shown.starts_with("CALL-ID"), "{shown}");
        assert!(
            shown.contains("answered") && shown.contains("20000 20002"),
            "{shown}"
        );
        assert!(text(&[]).contains("no call of another proxy"));
    }
}
