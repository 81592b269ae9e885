//! Commands about call features, carried out on the table in memory and told to the store.

use super::users::find;
use crate::control::{Command, Failure, FeatureRow, Reply};
use crate::feature::{Change, Features, Refusal, Settings};
use crate::store::{Directory, Record};

/// Carries out a command about call features; `None` if it is about something else. What must be
/// kept goes to `keep`.
pub(super) fn execute(
    command: &Command,
    directory: &Directory,
    features: &Features,
    keep: &mut dyn FnMut(Record),
) -> Option<Reply> {
    let change = match command {
        Command::FeatureShow { aor } => return Some(show(aor, directory, features)),
        Command::FeatureSet { aor, key, value } => (aor, Change::set(key, value)),
        Command::FeatureClear { aor, key, value } => (aor, Change::clear(key, value.as_deref())),
        _ => return None,
    };
    let (aor, change) = change;
    let done = (|| {
        let aor = find(aor, directory)?.aor();
        let record = change.and_then(|change| features.change(&aor, &change));
        let record = record.map_err(|refusal| refused(&refusal))?;
        let reply = row(&aor, &record.settings);
        keep(Record::PutFeatures(Box::new(record)));
        Ok(reply)
    })();
    Some(done.unwrap_or_else(|failed| failed))
}

fn show(aor: &str, directory: &Directory, features: &Features) -> Reply {
    match find(aor, directory) {
        Ok(user) => {
            let aor = user.aor();
            let settings = features.settings(&aor).unwrap_or_default();
            row(&aor, &settings)
        }
        Err(failed) => failed,
    }
}

/// In a sentence, where the wire has a title.
fn refused(refusal: &Refusal) -> Reply {
    let remedy = "voipctl feature codes lists keys and codes; voipctl feature show what is set";
    let kind = match refusal.status {
        500 => Failure::Full,
        _ => Failure::BadCommand,
    };
    Reply::failed(kind, refusal.reason.clone(), remedy)
}

fn row(aor: &str, s: &Settings) -> Reply {
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let speed = s.speed.iter();
    Reply::Features {
        row: Box::new(FeatureRow {
            aor: aor.to_owned(),
            forward_always: text(&s.forward_always),
            forward_busy: text(&s.forward_busy),
            forward_no_answer: text(&s.forward_no_answer),
            forward_unregistered: text(&s.forward_unregistered),
            ring_seconds: s.ring_s,
            ringback: text(&s.ring_back),
            dnd: s.dnd,
            reject_anonymous: s.reject_anonymous,
            blocked: s.blocked.iter().map(|p| p.to_string()).collect(),
            speed: speed
                .map(|(n, to)| (format!("{n:02}"), to.to_string()))
                .collect(),
        }),
    }
}
