//! `voipctl recording`: calls that were recorded, by their records.

use super::access::Access;
use super::args::RecordingVerb;
use super::cdr::collect;
use super::failure::Failure;
use super::output::Output;
use super::table::{Table, duration};
use crate::control::CdrRow;
use serde::Serialize;

/// What a record says before the name of a file.
const SAID: &str = "recorded: ";

/// One file.
#[derive(Serialize, Debug)]
struct Row {
    /// Below the spool's directory.
    file: String,
    /// When the call began, RFC 3339.
    start: String,
    from: String,
    to: String,
    /// Whole seconds of talk.
    seconds: u64,
    call_id: String,
}

pub(super) fn run(verb: RecordingVerb, access: &Access, output: Output) -> Result<(), Failure> {
    let RecordingVerb::List(args) = verb;
    let calls = collect(access, args, |row| files(&row.note).next().is_some())?;
    let rows: Vec<Row> = calls.iter().flat_map(rows_of).collect();
    if output.json {
        return output.rows(&rows);
    }
    let mut table = Table::new(&["START", "FROM", "TO", "TALKED", "FILE"]);
    for row in rows {
        table.row([row.start, row.from, row.to, duration(row.seconds), row.file]);
    }
    output.text(&table.render("no such call was recorded"))
}

fn rows_of(call: &CdrRow) -> impl Iterator<Item = Row> + '_ {
    files(&call.note).map(|file| Row {
        file: file.into(),
        start: call.start.clone(),
        from: call.from.clone(),
        to: call.to.clone(),
        seconds: call.seconds,
        call_id: call.call_id.clone(),
    })
}

/// The files that a note names. A caller has no say in what stands there.
fn files(note: &str) -> impl Iterator<Item = &str> {
    let said = note.split("; ").filter_map(|part| part.strip_prefix(SAID));
    said.filter(|file| file.starts_with("recordings/"))
}

#[cfg(test)]
mod tests {
    use super::files;

    #[test]
    fn a_note_may_name_several_files() {
        let found = |note| files(note).collect::<Vec<_>>();
        assert_eq!(
            found("plan: x; recorded: recordings/2026/11/26/a-1.wav; recorded: recordings/b.wav"),
            ["recordings/2026/11/26/a-1.wav", "recordings/b.wav"]
        );
        assert_eq!(found("recorded: it was not; x"), Vec::<&str>::new());
        assert_eq!(found(""), Vec::<&str>::new());
    }
}
