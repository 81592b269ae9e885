//! `voipctl cdr`: calls that are over.

use super::access::Access;
use super::args::CdrArgs;
use super::failure::Failure;
use super::output::Output;
use super::table::{Table, duration};
use super::users::whole;
use crate::control::{CDR_ROWS_MAX, CdrRow, Command, Reply};

/// Records shown where nobody says how many.
const LAST_DEFAULT: usize = 20;

/// Most records shown.
const LAST_MAX: usize = 100_000;

pub(super) fn run(access: &Access, args: CdrArgs, output: Output) -> Result<(), Failure> {
    let all = collect(access, args, |_| true)?;
    if output.json {
        return output.rows(&all);
    }
    output.text(&table(&all))
}

/// The records that are asked for, of those that `keep` wants; the newest first.
pub(super) fn collect(
    access: &Access,
    args: CdrArgs,
    keep: impl Fn(&CdrRow) -> bool,
) -> Result<Vec<CdrRow>, Failure> {
    let mut link = access.users()?;
    let user = args.user.map(|user| whole(&user, &mut link)).transpose()?;
    let most = match (args.last, &args.since) {
        (Some(last), _) => usize::try_from(last).unwrap_or(LAST_MAX),
        (None, Some(_)) => LAST_MAX,
        (None, None) => LAST_DEFAULT,
    };
    let (mut all, mut before): (Vec<CdrRow>, Option<i64>) = (Vec::new(), None);
    while all.len() < most {
        let command = Command::Cdrs {
            user: user.clone(),
            since: args.since.clone(),
            before,
            limit: Some(CDR_ROWS_MAX.min(most)),
        };
        let (rows, next) = match link.ask(command)? {
            Reply::Cdrs { rows, next } => (rows, next),
            other => return Err(Failure::unexpected(&other)),
        };
        all.extend(rows.into_iter().filter(&keep).take(most - all.len()));
        // Places only go down: what does not is no answer to go on with.
        let further = next.filter(|next| before.is_none_or(|before| *next < before));
        if further.is_none() {
            break;
        }
        before = further;
    }
    Ok(all)
}

fn table(rows: &[CdrRow]) -> String {
    let mut table = Table::new(&[
        "START", "FROM", "TO", "IN", "OUT", "ROUTE", "STATUS", "TALKED", "END", "NOTE",
    ]);
    for r in rows {
        let talked = r.answer_ms.map_or("-".into(), |_| duration(r.seconds));
        table.row([
            r.start.clone(),
            r.from.clone(),
            r.to.clone(),
            r.way_in.clone(),
            r.way_out.clone(),
            r.route.clone(),
            r.status.to_string(),
            talked,
            r.cause.replace('_', " "),
            r.note.clone(),
        ]);
    }
    table.render("there are no such calls")
}
