//! Voicemail: messages are left by [`Leave`] and fetched by [`Fetch`].
//!
//! Keys, prompts and file names are those of Asterisk's `app_voicemail`, where there is no reason
//! for others: people and recordings know them.

mod fetch;
mod leave;
mod takes;
#[cfg(test)]
mod tests;

pub(super) use fetch::Fetch;
pub(super) use leave::Leave;

use super::program::Scene;
use super::voice::Voice;
use crate::config::Config;
use crate::mailbox::greeting_file;
use crate::media::Sound;
use crate::media::file::Root;
use crate::media::say::{Gender, say_date, say_time_of_day};
use crate::plan::local_time;
use crate::store::{Greeting, MessageRecord};
use std::time::Duration;

/// How long somebody may think about the next key.
const KEY_WAIT: Duration = Duration::from_secs(6);
/// The only timer of these programs: it always means that nothing was pressed for too long.
const TIMER: u32 = 0;

/// A mailbox as the call's record names it: by its user alone, where the domain is the first of
/// ours.
fn name_of<'a>(config: &Config, aor: &'a str) -> &'a str {
    match aor.split_once('@') {
        Some((user, domain)) if domain == config.node.default_domain() => user,
        _ => aor,
    }
}

/// A file below the spool.
fn recording(path: &str) -> Sound {
    Sound::File {
        root: Root::Spool,
        path: path.into(),
    }
}

/// What plays now, numbered so that the end of something older is never taken for its end.
#[derive(Debug, Default)]
struct Teller {
    task: u32,
    /// All was said, and a key is waited for.
    waits: bool,
}

impl Teller {
    /// Says this. What was said before, and the waiting for a key, end.
    fn say(&mut self, scene: &mut Scene<'_>, sounds: Vec<Sound>) {
        self.next();
        scene.play(self.task, sounds, false);
    }

    /// Whether this task is the present one.
    fn is(&self, task: u32) -> bool {
        self.task == task
    }

    /// The number of another task.
    fn next(&mut self) -> u32 {
        self.task = self.task.wrapping_add(1);
        self.waits = false;
        self.task
    }

    /// Waits for a key, in silence.
    fn wait(&mut self, scene: &mut Scene<'_>, time: Duration) {
        self.waits = true;
        scene.after(time, TIMER);
    }

    /// Whether the timer means what it says: one that was overtaken by a key does not.
    fn is_overdue(&mut self, timer: u32) -> bool {
        timer == TIMER && std::mem::take(&mut self.waits)
    }
}

/// The user's name as that user said it, a file of the spool, if it did.
pub(super) fn recorded_name(scene: &Scene<'_>, aor: &str) -> Option<Box<str>> {
    let recorded = scene.mailboxes.mailbox(aor).greetings;
    let name = Greeting::Name;
    recorded.has(name).then(|| greeting_file(aor, name))
}

/// What was recorded by the owner, or is said of the owner's extension.
fn greeting(scene: &Scene<'_>, aor: &str, busy: bool) -> Vec<Sound> {
    let voice = scene.voice;
    let recorded = scene.mailboxes.mailbox(aor).greetings;
    let own = |greeting| {
        recorded
            .has(greeting)
            .then(|| vec![recording(&greeting_file(aor, greeting))])
    };
    let own_busy = own(Greeting::Busy).filter(|_| busy);
    if let Some(whole) = own_busy.or_else(|| own(Greeting::Unavailable)) {
        return whole;
    }
    let state = if busy { "vm-isonphone" } else { "vm-isunavail" };
    let number = aor.split('@').next().unwrap_or_default();
    let has_digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let mut words = match own(Greeting::Name) {
        Some(name) => name,
        None if has_digits => {
            let mut words = vec![voice.prompt("vm-theperson")];
            words.extend(voice.digits(number));
            words
        }
        None => {
            let sentence = if busy {
                "call-busy"
            } else {
                "call-unavailable"
            };
            return vec![voice.prompt(sentence), voice.prompt("vm-intro")];
        }
    };
    words.extend([voice.prompt(state), voice.prompt("vm-intro")]);
    words
}

/// When a message came, from whom, and how long it is.
fn envelope(scene: &Scene<'_>, message: &MessageRecord) -> Vec<Sound> {
    let voice = scene.voice;
    let zone = &scene.config.numbers.timezone;
    let at = local_time(message.received_ms, zone);
    let today = local_time(scene.unix_ms, zone).date();
    let (hour, minute) = (at.hour().unsigned_abs(), at.minute().unsigned_abs());
    let mut words = vec![voice.prompt("vm-received")];
    words.extend(voice.prompts(say_date(voice.language, at.date(), today).iter()));
    words.extend(voice.prompts(say_time_of_day(voice.language, hour, minute).iter()));
    if message.number.bytes().any(|b| b.is_ascii_digit()) {
        words.push(voice.prompt("vm-from-phonenumber"));
        words.extend(voice.digits(&message.number));
    } else {
        words.push(voice.prompt("vm-unknown-caller"));
    }
    words.push(voice.pause());
    words
}

/// "duración un minuto": minutes from two on, seconds below.
fn duration(voice: Voice, ms: u32) -> Vec<Sound> {
    let seconds = ms.div_ceil(1000).max(1);
    let (count, gender, [one, many]) = match seconds {
        0..120 => (seconds, Gender::Masculine, ["second", "seconds"]),
        _ => (
            (seconds + 30) / 60,
            Gender::Masculine,
            ["minute", "minutes"],
        ),
    };
    let mut words = vec![voice.prompt("vm-duration")];
    words.extend(voice.number(count, gender));
    words.push(voice.prompt(if count == 1 { one } else { many }));
    words
}
