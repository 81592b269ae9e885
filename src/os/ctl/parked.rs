//! `voipctl park`.

use super::access::Access;
use super::args::ParkVerb;
use super::failure::Failure;
use super::output::Output;
use super::table::Table;
use crate::control::{Command, ParkedRow, Reply};

pub(super) fn run(verb: ParkVerb, access: &Access, output: Output) -> Result<(), Failure> {
    match verb {
        ParkVerb::List => list(access, output),
    }
}

fn list(access: &Access, output: Output) -> Result<(), Failure> {
    let rows = match access.ask(Command::Parked)? {
        Reply::Parked { rows } => rows,
        other => return Err(Failure::unexpected(&other)),
    };
    if output.json {
        return output.rows(&rows);
    }
    output.text(&text(&rows))
}

pub(super) fn text(rows: &[ParkedRow]) -> String {
    let mut table = Table::new(&["SLOT", "NUMBER", "NAME", "USER", "PARKED BY", "SINCE"]);
    for row in rows {
        let parker = row.parker.clone().unwrap_or_default();
        table.row([
            row.slot.clone(),
            row.number.clone(),
            row.display_name.clone(),
            row.user.clone().unwrap_or_default(),
            match row.provisional {
                true => "about to be".into(),
                false => parker,
            },
            row.since.clone(),
        ]);
    }
    table.render("no call is parked")
}
