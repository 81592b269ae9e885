//! What callers hear, instead of the tone that their own phone makes, while somebody is rung.

use std::fmt::{self, Display, Formatter};

/// Longest name of a prompt, in bytes.
const NAME_MAX: usize = 64;
/// The countries whose ring back tone is known.
const TONES: [&str; 9] = ["ar", "de", "es", "fr", "gb", "it", "mx", "pt", "us"];

/// `ringback = "music"`, `"tone:es"`, or a prompt's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RingBack {
    /// The music of those who wait.
    Music,
    /// The ring back tone of a country, by its two letters.
    Tone(&'static str),
    /// A prompt of the catalogue or the site's, again and again.
    Prompt(Box<str>),
}

impl RingBack {
    /// What one may be, for whoever wrote another.
    pub const REMEDY: &'static str =
        "write \"music\", \"tone:es\" (ar, de, fr, gb, it, mx, pt, us), or the name of a prompt";

    /// As it is written; `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "music" {
            return Some(RingBack::Music);
        }
        if let Some(country) = text.strip_prefix("tone:") {
            let known = TONES.iter().find(|known| **known == country);
            return known.copied().map(RingBack::Tone);
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let part = |part: &str| !part.is_empty() && part.bytes().all(plain);
        let good = text.len() <= NAME_MAX && text.split('/').all(part);
        good.then(|| RingBack::Prompt(text.into()))
    }
}

impl Display for RingBack {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            RingBack::Music => f.write_str("music"),
            RingBack::Tone(country) => write!(f, "tone:{country}"),
            RingBack::Prompt(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in [
            "music",
            "tone:es",
            "tone:us",
            "office-jingle",
            "ours/jingle",
        ] {
            assert_eq!(RingBack::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "tone:xx",
            "tone:",
            "../etc/passwd",
            "/etc",
            "a b",
            "a;b",
        ] {
            assert_eq!(RingBack::parse(text), None, "{text:?}");
        }
    }
}
