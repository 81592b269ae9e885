//! What can be changed of a user's features, by code and by command alike, and what must not.

use super::Refusal;
use crate::config::RingBack;
use crate::store::{BLOCKED_MAX, QUEUES_MAX, Settings};
use crate::wire::sip::Uri;

/// Longest number, URI or pattern, in bytes.
pub const TARGET_BYTES_MAX: usize = 128;

/// Least and most seconds that a user may let phones ring. Timer C ends what rings longer
/// (RFC 3261 §16.6 step 11).
pub const RING_S_MIN: u16 = 5;
/// See [`RING_S_MIN`].
pub const RING_S_MAX: u16 = 180;

/// One change of a user's features.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Where every call goes; `None` ends that.
    ForwardAlways(Option<Box<str>>),
    /// Where it goes if the user is busy.
    ForwardBusy(Option<Box<str>>),
    /// Where it goes if nobody answers.
    ForwardNoAnswer(Option<Box<str>>),
    /// Where it goes if no phone is registered.
    ForwardUnregistered(Option<Box<str>>),
    /// How many seconds phones ring.
    RingSeconds(Option<u16>),
    /// What callers hear meanwhile.
    RingBack(Option<Box<str>>),
    /// Do not disturb.
    Dnd(bool),
    /// Whether callers that hide themselves get through.
    RejectAnonymous(bool),
    /// Shut out a caller.
    Block(Box<str>),
    /// Let a caller in again.
    Unblock(Box<str>),
    /// Let all callers in again.
    UnblockAll,
    /// What a short code from 0 to 99 dials; `None` forgets it.
    Speed(u8, Option<Box<str>>),
    /// Forget all short codes.
    SpeedForgetAll,
    /// Whether the user is an agent of a queue.
    Queue(Box<str>, bool),
    /// Whether no queue calls the user for now.
    QueuePause(bool),
    /// All of it off.
    Clear,
}

impl Change {
    /// The same, with numbers as they are kept, or why it makes no sense.
    pub(super) fn checked(&self) -> Result<Self, Refusal> {
        let optional = |to: &Option<Box<str>>| to.as_deref().map(target).transpose();
        Ok(match self {
            Change::ForwardAlways(to) => Change::ForwardAlways(optional(to)?),
            Change::ForwardBusy(to) => Change::ForwardBusy(optional(to)?),
            Change::ForwardNoAnswer(to) => Change::ForwardNoAnswer(optional(to)?),
            Change::ForwardUnregistered(to) => Change::ForwardUnregistered(optional(to)?),
            Change::RingSeconds(Some(s)) if !(RING_S_MIN..=RING_S_MAX).contains(s) => {
                let reason = format!("Ring {RING_S_MIN} to {RING_S_MAX} Seconds");
                return Err(Refusal::new(400, reason));
            }
            Change::RingBack(Some(text)) if RingBack::parse(text).is_none() => {
                let reason = "Ring Back Is music, tone:es, or the Name of a Prompt";
                return Err(Refusal::new(400, reason));
            }
            Change::Block(pattern) => Change::Block(caller(pattern)?),
            Change::Unblock(pattern) => Change::Unblock(caller(pattern)?),
            Change::Speed(code, _) if *code > 99 => {
                return Err(Refusal::new(400, "Speed Dials Are 00 to 99"));
            }
            Change::Speed(code, to) => Change::Speed(*code, optional(to)?),
            Change::RingSeconds(_)
            | Change::RingBack(_)
            | Change::Dnd(_)
            | Change::RejectAnonymous(_)
            | Change::UnblockAll
            | Change::SpeedForgetAll
            | Change::Queue(..)
            | Change::QueuePause(_)
            | Change::Clear => self.clone(),
        })
    }

    /// Where calls are to be forwarded.
    pub(super) fn target(&self) -> Option<&str> {
        match self {
            Change::ForwardAlways(to)
            | Change::ForwardBusy(to)
            | Change::ForwardNoAnswer(to)
            | Change::ForwardUnregistered(to) => to.as_deref(),
            Change::RingSeconds(_)
            | Change::RingBack(_)
            | Change::Dnd(_)
            | Change::RejectAnonymous(_)
            | Change::Block(_)
            | Change::Unblock(_)
            | Change::UnblockAll
            | Change::Speed(..)
            | Change::SpeedForgetAll
            | Change::Queue(..)
            | Change::QueuePause(_)
            | Change::Clear => None,
        }
    }

    pub(super) fn apply(self, settings: &mut Settings) -> Result<(), Refusal> {
        match self {
            Change::ForwardAlways(to) => settings.forward_always = to,
            Change::ForwardBusy(to) => settings.forward_busy = to,
            Change::ForwardNoAnswer(to) => settings.forward_no_answer = to,
            Change::ForwardUnregistered(to) => settings.forward_unregistered = to,
            Change::RingSeconds(seconds) => settings.ring_s = seconds,
            Change::RingBack(sound) => settings.ring_back = sound,
            Change::Dnd(on) => settings.dnd = on,
            Change::RejectAnonymous(on) => settings.reject_anonymous = on,
            Change::Block(pattern) => return block(settings, pattern),
            Change::Unblock(pattern) => {
                let before = settings.blocked.len();
                settings.blocked.retain(|p| *p != pattern);
                if settings.blocked.len() == before {
                    return Err(Refusal::new(404, "That Caller Is Not Blocked"));
                }
            }
            Change::UnblockAll => settings.blocked.clear(),
            Change::Speed(code, Some(to)) => drop(settings.speed.insert(code, to)),
            Change::Speed(code, None) => {
                if settings.speed.remove(&code).is_none() {
                    return Err(Refusal::new(404, format!("No Speed Dial {code:02}")));
                }
            }
            Change::SpeedForgetAll => settings.speed.clear(),
            Change::Queue(name, false) => settings.queues.retain(|q| *q != name),
            Change::Queue(name, true) if settings.queues.contains(&name) => {}
            Change::Queue(..) if settings.queues.len() >= QUEUES_MAX => {
                let reason = format!("An Agent Is in {QUEUES_MAX} Queues at Most");
                return Err(Refusal::new(500, reason));
            }
            Change::Queue(name, true) => settings.queues.push(name),
            Change::QueuePause(on) => settings.queue_pause = on,
            Change::Clear => *settings = Settings::default(),
        }
        Ok(())
    }
}

fn block(settings: &mut Settings, pattern: Box<str>) -> Result<(), Refusal> {
    if settings.blocked.contains(&pattern) {
        return Ok(());
    }
    if settings.blocked.len() >= BLOCKED_MAX {
        let reason = format!("The Black List Is Full: {BLOCKED_MAX} Callers");
        return Err(Refusal::new(500, reason));
    }
    settings.blocked.push(pattern);
    Ok(())
}

/// A number or URI as it is kept.
fn target(text: &str) -> Result<Box<str>, Refusal> {
    let text = text.trim();
    bounded(text)?;
    let is_uri = text
        .get(..5)
        .is_some_and(|head| head.to_ascii_lowercase().starts_with("sip"))
        && text.contains(':');
    if is_uri {
        let good = Uri::parse(text.as_bytes())
            .is_ok_and(|uri| uri.user().is_some() && uri.headers().next().is_none());
        return match good && text.bytes().all(|b| b.is_ascii_graphic() && b != b'>') {
            true => Ok(text.into()),
            false => Err(Refusal::new(400, "That Is No SIP URI with a User")),
        };
    }
    name(text)
}

/// What people write to make a number readable (RFC 3966 §5.1.1).
const SEPARATORS: [char; 5] = ['-', '.', '(', ')', ' '];

/// A number without what makes it readable, or the name of a user.
fn name(text: &str) -> Result<Box<str>, Refusal> {
    let bare: String = text.chars().filter(|c| !SEPARATORS.contains(c)).collect();
    let dialable = |b: u8| b.is_ascii_digit() || b"+*#".contains(&b);
    if !bare.is_empty() && bare.bytes().all(dialable) {
        return match bare.rfind('+') {
            Some(1..) => Err(Refusal::new(400, "A Plus Stands Before a Number Alone")),
            Some(0) | None => Ok(bare.into()),
        };
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,/#".contains(&b);
    match !text.is_empty() && text.bytes().all(allowed) {
        true => Ok(text.into()),
        false => Err(Refusal::new(400, "That Is Neither a Number nor a SIP URI")),
    }
}

/// A pattern of callers as it is kept: `number`, `begins*`, `name@host`, `@host`.
fn caller(text: &str) -> Result<Box<str>, Refusal> {
    let text = super::decide::bare(text.trim());
    bounded(text)?;
    let Some((user, host)) = text.rsplit_once('@') else {
        return match text.trim_start_matches('+') {
            // It would shut out everybody.
            "*" => Err(Refusal::new(400, "Say How the Callers' Numbers Begin")),
            _ => name(text),
        };
    };
    let good = |b: u8| b.is_ascii_graphic() && !b"<>\"@".contains(&b);
    match !host.is_empty() && user.bytes().chain(host.bytes()).all(good) {
        true => Ok(format!("{user}@{}", host.to_ascii_lowercase()).into()),
        false => Err(Refusal::new(400, "That Is No Pattern of Callers")),
    }
}

fn bounded(text: &str) -> Result<(), Refusal> {
    match text.len() {
        0 => Err(Refusal::new(484, "No Number Given")),
        1..=TARGET_BYTES_MAX => Ok(()),
        _ => Err(Refusal::new(400, "That Number Is Too Long")),
    }
}
