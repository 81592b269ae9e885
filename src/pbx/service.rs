//! What each service does with its caller.

use crate::config::{Locale, Service};
use crate::media::order::Language;
use crate::media::say::{Gender, say_number};
use crate::media::tone::{Country, Tone};
use crate::media::{Figures, Sound, Task};
use crate::wire::sip::{Message, Uri};

/// How long the tone before an announcement sounds, in milliseconds: the special information tone
/// once, congestion a few times.
const TONE_MS: u32 = 1_000;
/// Before and between sounds, in milliseconds.
const PAUSE_MS: u32 = 250;
/// Prompts that one confirmation may have.
const CONFIRMED_MAX: usize = 4;

/// What a call came here for, as the proxy wrote it into the Request-URI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// A service that was called.
    Service(Service),
    /// To hear why a call fails, before it fails in this status.
    Announce(u16),
    /// To hear that something was done: the prompts that say so, joined by `+`.
    Confirm(Box<str>),
}

/// What happened to a caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// A task is over.
    Done(u32),
    /// A key was pressed.
    Key(char),
    /// What was asked for by [`Next::Measure`].
    Measured(Figures),
}

/// What a service wants next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// All goes on.
    Nothing,
    /// The studio does something else, under this number.
    Do(u32, Task),
    /// The way of the caller's sound is measured.
    Measure,
    /// We hang up.
    HangUp,
    /// The call fails.
    Fail(u16),
}

/// The tasks of the echo test.
const INTRODUCTION: u32 = 0;
const ECHO: u32 = 1;
const RESULT: u32 = 2;

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

    /// What the caller hears first.
    pub fn task(&self, locale: Locale) -> Task {
        let voice = Voice::of(locale);
        match self {
            Self::Service(Service::Echo) => {
                let words = [voice.pause(), voice.prompt("demo-echotest"), voice.beep()];
                voice.say(words.into(), true)
            }
            Self::Announce(status) => {
                let (tone, names) = announcement(*status);
                let mut words = vec![
                    voice.pause(),
                    voice.tone(tone, Some(TONE_MS)),
                    voice.pause(),
                ];
                words.extend(names.iter().map(|name| voice.prompt(name)));
                voice.say(words, false)
            }
            Self::Confirm(names) => {
                let names = names.split('+').take(CONFIRMED_MAX);
                let mut words = vec![voice.pause(), voice.tone(Tone::Confirm, None)];
                words.extend(names.map(|name| voice.prompt(name)));
                words.push(voice.pause());
                voice.say(words, false)
            }
        }
    }

    /// What follows when something happened while the studio did `task`.
    pub fn after(&self, locale: Locale, task: u32, event: Event) -> Next {
        match (self, event) {
            // Of something that was cut short.
            (_, Event::Done(done)) if done != task => Next::Nothing,
            (Self::Service(Service::Echo), event) => echo(locale, task, event),
            (Self::Announce(status), Event::Done(_)) => Next::Fail(*status),
            (Self::Confirm(_), Event::Done(_)) => Next::HangUp,
            (Self::Announce(_) | Self::Confirm(_), Event::Key(_) | Event::Measured(_)) => {
                Next::Nothing
            }
        }
    }
}

/// The introduction, which any key cuts short; the echo, until `#`; what was measured.
fn echo(locale: Locale, task: u32, event: Event) -> Next {
    match (task, event) {
        (INTRODUCTION, Event::Done(_)) => Next::Do(ECHO, Task::Echo),
        (ECHO, Event::Key('#')) => Next::Measure,
        (ECHO, Event::Measured(figures)) => {
            let voice = Voice::of(locale);
            let delay = figures.round_trip_ms.map(|ms| ("echo-delay", ms));
            let told = [
                ("echo-loss", figures.lost_permille),
                ("echo-jitter", figures.jitter_ms),
            ];
            let mut words = vec![voice.pause()];
            for (name, figure) in told.into_iter().chain(delay) {
                words.push(voice.prompt(name));
                let number = say_number(voice.language, figure.into(), Gender::Alone);
                words.extend(number.iter().map(|word| voice.prompt(word)));
                words.push(voice.pause());
            }
            words.push(voice.prompt("demo-echodone"));
            Next::Do(RESULT, voice.say(words, false))
        }
        (RESULT, Event::Done(_)) => Next::HangUp,
        _ => Next::Nothing,
    }
}

/// In which language the services speak, and whose tones they make.
#[derive(Clone, Copy)]
struct Voice {
    language: Language,
    country: Country,
}

impl Voice {
    fn of(locale: Locale) -> Self {
        let country = match locale {
            Locale::Es => Country::Es,
            Locale::En => Country::Gb,
        };
        let language = locale.into();
        Self { language, country }
    }

    fn pause(self) -> Sound {
        Sound::Silence { ms: PAUSE_MS }
    }

    fn tone(self, tone: Tone, ms: Option<u32>) -> Sound {
        let country = self.country;
        Sound::Tone { country, tone, ms }
    }

    fn beep(self) -> Sound {
        self.tone(Tone::Dial, Some(PAUSE_MS))
    }

    fn prompt(self, name: &str) -> Sound {
        Sound::Prompt {
            language: self.language,
            name: name.into(),
        }
    }

    fn say(self, sounds: Vec<Sound>, until_key: bool) -> Task {
        Task::Play {
            sounds,
            rounds: Some(1),
            until_key,
        }
    }
}

/// The tone and the prompts of a status. A number that is none gets the special information tone
/// (ITU-T E.180 §7), a way that is closed the congestion tone.
fn announcement(status: u16) -> (Tone, &'static [&'static str]) {
    match status {
        403 => (Tone::SpecialInformation, &["call-not-allowed"]),
        404 | 410 | 484 | 604 => (Tone::SpecialInformation, &["ss-noservice"]),
        408 => (Tone::SpecialInformation, &["number-not-answering"]),
        480 => (Tone::SpecialInformation, &["call-unavailable"]),
        _ => (
            Tone::Congestion,
            &["all-circuits-busy-now", "please-try-call-later"],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::prompts;

    #[test]
    fn every_prompt_that_is_said_exists() {
        let statuses = (400..700).map(Purpose::Announce);
        let all = statuses.chain([Purpose::Service(Service::Echo)]);
        for purpose in all {
            for locale in [Locale::Es, Locale::En] {
                let Task::Play { sounds, .. } = purpose.task(locale) else {
                    panic!("{purpose:?}")
                };
                for sound in sounds {
                    if let Sound::Prompt { language, name } = sound {
                        assert!(prompts::find(language, &name).is_some(), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_echo_test_is_introduced_measured_and_ended() {
        let echo = Purpose::Service(Service::Echo);
        let after = |task, event| echo.after(Locale::Es, task, event);
        assert_eq!(after(0, Event::Done(0)), Next::Do(1, Task::Echo));
        assert_eq!(after(1, Event::Key('5')), Next::Nothing);
        assert_eq!(after(1, Event::Key('#')), Next::Measure);
        let measured = Event::Measured(Figures {
            lost_permille: 21,
            jitter_ms: 3,
            round_trip_ms: None,
        });
        let Next::Do(2, Task::Play { sounds, .. }) = after(1, measured) else {
            panic!()
        };
        let said: Vec<&str> = sounds
            .iter()
            .filter_map(|sound| match sound {
                Sound::Prompt { name, .. } => Some(&**name),
                _ => None,
            })
            .collect();
        assert_eq!(
            said,
            [
                "echo-loss",
                "digits/21",
                "echo-jitter",
                "digits/3",
                "demo-echodone"
            ]
        );
        assert_eq!(after(2, Event::Done(2)), Next::HangUp);
        // The end of what was cut short.
        assert_eq!(after(2, Event::Done(0)), Next::Nothing);
    }
}
