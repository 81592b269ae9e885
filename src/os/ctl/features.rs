//! `voipctl feature`.

use super::access::Access;
use super::args::FeatureVerb;
use super::failure::Failure;
use super::output::Output;
use super::table::{Table, printable};
use super::users::whole;
use crate::control::{Command, FeatureRow, Reply};
use crate::feature::{CODES, KEYS};

pub(super) fn run(verb: FeatureVerb, access: &Access, output: Output) -> Result<(), Failure> {
    let mut link = match verb {
        FeatureVerb::Codes => return codes(output),
        FeatureVerb::Show { .. } | FeatureVerb::Set { .. } | FeatureVerb::Clear { .. } => {
            access.users()?
        }
    };
    let command = match verb {
        FeatureVerb::Codes => return Ok(()),
        FeatureVerb::Show { user } => Command::FeatureShow {
            aor: whole(&user, &mut link)?,
        },
        FeatureVerb::Set { user, key, value } => Command::FeatureSet {
            aor: whole(&user, &mut link)?,
            key,
            value,
        },
        FeatureVerb::Clear { user, key, value } => Command::FeatureClear {
            aor: whole(&user, &mut link)?,
            key,
            value,
        },
    };
    match link.ask(command)? {
        Reply::Features { row } => show(&row, output),
        other => Err(Failure::unexpected(&other)),
    }
}

/// What is on, by the names that `set` takes.
fn show(row: &FeatureRow, output: Output) -> Result<(), Failure> {
    if output.json {
        return output.value(row);
    }
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut line = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push((key.to_owned(), value));
        }
    };
    line("forward-always", row.forward_always.clone());
    line("forward-busy", row.forward_busy.clone());
    line("forward-no-answer", row.forward_no_answer.clone());
    line("forward-unregistered", row.forward_unregistered.clone());
    line("ring-seconds", row.ring_seconds.map(|s| s.to_string()));
    line("ringback", row.ringback.clone());
    line("dnd", row.dnd.then(|| "on".into()));
    line(
        "reject-anonymous",
        row.reject_anonymous.then(|| "on".into()),
    );
    for pattern in &row.blocked {
        line("block", Some(pattern.clone()));
    }
    for (code, to) in &row.speed {
        line(&format!("speed-{code}"), Some(to.clone()));
    }
    if lines.is_empty() {
        return output.text(&format!("{} has no call features on\n", row.aor));
    }
    // Not a table: a column of numbers would stand to the right, and these are to be dialled.
    let lines = lines
        .iter()
        .map(|(key, value)| format!("{key:<20}  {}\n", printable(value)));
    output.text(&lines.collect::<String>())
}

fn codes(output: Output) -> Result<(), Failure> {
    if output.json {
        let codes = CODES.iter().map(|row| {
            serde_json::json!({
                "code": row.code, "argument": row.argument.as_str(), "meaning": row.meaning,
            })
        });
        let keys = KEYS.iter().map(|(key, value, meaning)| {
            serde_json::json!({ "key": key, "value": value, "meaning": meaning })
        });
        return output.value(&serde_json::json!({
            "codes": codes.collect::<Vec<_>>(), "keys": keys.collect::<Vec<_>>(),
        }));
    }
    let mut table = Table::new(&["CODE", "THEN", "DOES"]);
    for row in CODES {
        table.row([
            row.code.into(),
            row.argument.as_str().into(),
            row.meaning.into(),
        ]);
    }
    let mut keys = Table::new(&["KEY", "VALUE", "SETS"]);
    for (key, value, meaning) in KEYS {
        keys.row([(*key).into(), (*value).into(), (*meaning).into()]);
    }
    output.text(&format!("{}\n{}", table.render(""), keys.render("")))
}
