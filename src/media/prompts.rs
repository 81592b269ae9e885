//! The built-in prompts: what the services say, in Spanish and English, as GSM 06.10 at 8 kHz.
//!
//! `prompts/catalogue.toml` holds the texts, and says which names are Asterisk's and which are
//! ours. `prompts/make` speaks them (espeak-ng, sox); no recording of a person is among the files,
//! and all of them are part of the program, so a fresh installation speaks without another file.
//!
//! Not done here: decoding, playing, the files of a site, which prompt is said when. What is put
//! together of several prompts is [`super::say`]'s.

mod table;
#[cfg(test)]
mod tests;

use crate::config::Locale;
use serde::{Deserialize, Serialize};
use table::LIBRARY;

pub use super::codec::gsm::{FRAME_SAMPLES, FRAME_SIZE as FRAME_BYTES};

/// Milliseconds of a frame.
pub const FRAME_MS: u32 = 20;

/// What a prompt is spoken in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Language {
    /// Spanish.
    Es,
    /// English.
    En,
}

impl Language {
    /// Where a site's own prompts of it lie, below all of them.
    pub fn directory(self) -> &'static str {
        match self {
            Language::Es => "es",
            Language::En => "en",
        }
    }
}

impl From<Locale> for Language {
    fn from(locale: Locale) -> Self {
        match locale {
            Locale::Es => Language::Es,
            Locale::En => Language::En,
        }
    }
}

/// A prompt in each language.
struct Prompt {
    name: &'static str,
    es: &'static [u8],
    en: &'static [u8],
}

/// The prompt of that name, such as `vm-youhave` or `digits/1`: whole frames of GSM 06.10.
pub fn find(language: Language, name: &str) -> Option<&'static [u8]> {
    let at = LIBRARY
        .binary_search_by(|prompt| prompt.name.cmp(name))
        .ok()?;
    let prompt = LIBRARY.get(at)?;
    Some(match language {
        Language::Es => prompt.es,
        Language::En => prompt.en,
    })
}

/// The names of all prompts, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    LIBRARY.iter().map(|prompt| prompt.name)
}

/// How long GSM 06.10 frames last, in milliseconds; a frame cut short does not count.
pub fn length_ms(frames: &[u8]) -> u32 {
    let count = u32::try_from(frames.len() / FRAME_BYTES).unwrap_or(u32::MAX);
    count.saturating_mul(FRAME_MS)
}
