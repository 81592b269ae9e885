//! `voipctl route test`: where a number would lead, and why, rule by rule.

use super::access::Access;
use super::args::RouteTestArgs;
use super::failure::Failure;
use super::output::Output;
use super::table::printable;
use crate::control::{Command, Reply, RouteRow};
use std::fmt::Write;

pub(super) fn test(access: &Access, args: RouteTestArgs, output: Output) -> Result<(), Failure> {
    let command = Command::RouteTest {
        number: args.number,
        from: args.from,
        at: args.at,
        caller: args.caller,
        method: args.method,
    };
    match access.ask(command)? {
        Reply::Route(row) if output.json => output.value(&*row),
        Reply::Route(row) => output.text(&shown(&row)),
        other => Err(Failure::unexpected(&other)),
    }
}

fn shown(row: &RouteRow) -> String {
    let mut text = format!(
        "{} from {} at {}\n\n",
        printable(&row.dialled),
        row.from,
        row.at
    );
    for line in &row.lines {
        let why = printable(&line.why);
        let _ = match line.verdict.as_str() {
            "note" => writeln!(text, "      {why}"),
            verdict => {
                let mark = if verdict == "taken" { '>' } else { '-' };
                writeln!(text, "  {mark} {} (line {}): {why}", line.route, line.line)
            }
        };
    }
    text.push('\n');
    let _ = match (row.decision.as_str(), row.status) {
        ("none", _) => writeln!(text, "no route: it rings that user, if there is one"),
        (_, Some(status)) => writeln!(text, "refused: {status} {}", row.reason),
        (_, None) => going(&mut text, row),
    };
    text
}

fn going(text: &mut String, row: &RouteRow) -> std::fmt::Result {
    let mut about = Vec::new();
    about.extend(Some(row.e164.clone()).filter(|n| !n.is_empty()));
    about.extend(Some(row.class.clone()).filter(|c| !c.is_empty()));
    about.extend(row.emergency.then(|| "emergency".to_owned()));
    let about = match about.is_empty() {
        true => String::new(),
        false => format!(" ({})", about.join(", ")),
    };
    writeln!(
        text,
        "route {}: number {}{about}",
        row.route,
        printable(&row.number)
    )?;
    if let Some(number) = &row.caller_id {
        writeln!(text, "  caller's number {}", printable(number))?;
    }
    if let Some(name) = &row.caller_name {
        writeln!(text, "  caller's name {}", printable(name))?;
    }
    if row.anonymous {
        writeln!(text, "  caller's number withheld")?;
    }
    for header in &row.add_headers {
        writeln!(text, "  + {}", printable(header))?;
    }
    for header in &row.remove_headers {
        writeln!(text, "  - {}", printable(header))?;
    }
    if row.redirect {
        writeln!(text, "  by a 302 to the caller")?;
    }
    for (at, step) in row.steps.iter().enumerate() {
        let number = step
            .number
            .as_ref()
            .map(|n| format!(" as {}", printable(n)));
        let last = at + 1 == row.steps.len();
        let then = match last || row.redirect {
            true => String::new(),
            false => format!(", {} s; next on {}", step.ring_s, step.next_on.join(", ")),
        };
        let targets = printable(&step.targets.join(" and "));
        writeln!(
            text,
            "  {}. {targets}{}{then}",
            at + 1,
            number.unwrap_or_default()
        )?;
    }
    Ok(())
}
