//! What each service does with its caller.

use crate::config::{Locale, Service};
use crate::media::order::Language;
use crate::media::tone::{Country, Tone};
use crate::media::{Sound, Task};
use crate::wire::sip::{Message, Uri};

/// How long the tone before an announcement sounds, in milliseconds: the special information tone
/// once, congestion a few times.
const TONE_MS: u32 = 1_000;
/// Before and between sounds, in milliseconds.
const PAUSE_MS: u32 = 250;

/// What a call came here for, as the proxy wrote it into the Request-URI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// A service that was called.
    Service(Service),
    /// To hear why a call fails, before it fails in this status.
    Announce(u16),
    /// To hear that something was done.
    Confirm(Box<str>),
}

/// What follows when all was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// The caller hears nothing more, and hangs up itself.
    Nothing,
    /// We hang up.
    HangUp,
    /// The call fails.
    Fail(u16),
}

impl Purpose {
    /// Reads the Request-URI.
    pub fn of(invite: &Message) -> Option<Self> {
        let uri = Uri::parse(invite.request_uri()).ok()?;
        let parameter = |name| std::str::from_utf8(uri.param(name)??).ok();
        match uri.user()? {
            b"announce" => {
                let cause = parameter("cause")?.parse().ok()?;
                (400..700).contains(&cause).then_some(Self::Announce(cause))
            }
            b"confirm" => Some(Self::Confirm(parameter("play")?.into())),
            name => Service::named(std::str::from_utf8(name).ok()?).map(Self::Service),
        }
    }

    /// The user part of our Contact.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Service(service) => service.name(),
            Self::Announce(_) => "announce",
            Self::Confirm(_) => "confirm",
        }
    }

    /// Whether its sound comes before the call's final answer.
    pub fn is_early(&self) -> bool {
        matches!(self, Self::Announce(_))
    }

    /// What the caller hears.
    pub fn task(&self, locale: Locale) -> Task {
        let (language, country) = match locale {
            Locale::Es => (Language::Es, Country::Es),
            Locale::En => (Language::En, Country::Gb),
        };
        let tone = |tone, ms| Sound::Tone { country, tone, ms };
        let pause = Sound::Silence { ms: PAUSE_MS };
        let prompt = |name: &str| Sound::Prompt {
            language,
            name: name.into(),
        };
        let sounds = match self {
            Self::Service(Service::Echo) => return Task::Echo,
            Self::Announce(status) => {
                let (first, name) = announcement(*status);
                let first = tone(first, Some(TONE_MS));
                vec![pause.clone(), first, pause, prompt(name)]
            }
            Self::Confirm(name) => {
                let first = tone(Tone::Confirm, None);
                vec![pause.clone(), first, prompt(name), pause]
            }
        };
        Task::Play {
            sounds,
            rounds: Some(1),
            until_key: false,
        }
    }

    /// What follows it.
    pub fn after(&self) -> After {
        match self {
            Self::Service(Service::Echo) => After::Nothing,
            Self::Announce(status) => After::Fail(*status),
            Self::Confirm(_) => After::HangUp,
        }
    }
}

/// The tone and the prompt of a status. A number that is none gets the special information tone
/// (ITU-T E.180 §7), a way that is closed the congestion tone.
fn announcement(status: u16) -> (Tone, &'static str) {
    match status {
        404 | 410 | 484 | 604 => (Tone::SpecialInformation, "number-unknown"),
        408 | 480 => (Tone::SpecialInformation, "user-unavailable"),
        _ => (Tone::Congestion, "lines-busy"),
    }
}
