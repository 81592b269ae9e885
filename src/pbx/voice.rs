//! How the services speak: in which language, with whose tones.

use crate::config::{Locale, RingBack};
use crate::media::Sound;
use crate::media::order::Language;
use crate::media::say::{Gender, say_digits, say_number};
use crate::media::tone::{Country, Tone};

/// Before and between sounds, in milliseconds.
const PAUSE_MS: u32 = 250;

/// In which language the services speak, and whose tones they make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Voice {
    /// What is spoken.
    pub language: Language,
    /// Whose tones.
    pub country: Country,
}

impl Voice {
    pub fn of(locale: Locale) -> Self {
        let country = match locale {
            Locale::Es => Country::Es,
            Locale::En => Country::Gb,
        };
        let language = locale.into();
        Self { language, country }
    }

    /// A short silence.
    pub fn pause(self) -> Sound {
        Sound::Silence { ms: PAUSE_MS }
    }

    /// A tone, as long as its pattern without `ms`.
    pub fn tone(self, tone: Tone, ms: Option<u32>) -> Sound {
        let country = self.country;
        Sound::Tone { country, tone, ms }
    }

    /// What a caller hears while somebody is rung: what was chosen, or the tone of the country.
    pub fn ringing(self, chosen: Option<&RingBack>) -> Sound {
        let country = match chosen {
            Some(RingBack::Music) => return Sound::Music,
            Some(RingBack::Prompt(name)) => return self.prompt(name),
            Some(RingBack::Tone(country)) => Country::from_locale(country),
            None => None,
        };
        let country = country.unwrap_or(self.country);
        Self { country, ..self }.tone(Tone::RingBack, None)
    }

    /// Says that it is the caller's turn.
    pub fn beep(self) -> Sound {
        self.tone(Tone::Dial, Some(PAUSE_MS))
    }

    /// A prompt of the catalogue.
    pub fn prompt(self, name: &str) -> Sound {
        Sound::Prompt {
            language: self.language,
            name: name.into(),
        }
    }

    /// Prompts one after the other.
    pub fn prompts<N: AsRef<str>>(self, names: impl IntoIterator<Item = N>) -> Vec<Sound> {
        let names = names.into_iter();
        names.map(|name| self.prompt(name.as_ref())).collect()
    }

    /// A number as people count.
    pub fn number(self, number: u32, gender: Gender) -> Vec<Sound> {
        self.prompts(say_number(self.language, number, gender).iter())
    }

    /// A number digit by digit; what is no digit is left out.
    pub fn digits(self, digits: &str) -> Vec<Sound> {
        self.prompts(say_digits(digits).iter())
    }
}
