//! Numbers as people, trunks and the world write them (ITU-T E.164), and what they cost.

use crate::config::{Class, Config, Index, NumberFormat, Numbers, Pattern, e164};
use smallvec::SmallVec;
use std::borrow::Cow;

/// Fewest digits that a trunk which writes E.164 without a plus sends; shorter ones are codes of
/// its own.
const E164_DIGITS_MIN: usize = 7;

/// The rules of `[numbers]`, ready to be asked.
#[derive(Clone, Debug)]
pub struct NumberRules {
    numbers: Numbers,
    premium: Index,
}

impl NumberRules {
    /// Makes them ready.
    pub fn new(config: &Config) -> Self {
        let mut premium = Index::default();
        let patterns = config.numbers.premium.iter();
        for pattern in patterns.filter_map(|text| Pattern::parse(text).ok()) {
            premium.insert(0, pattern);
        }
        Self {
            numbers: config.numbers.clone(),
            premium,
        }
    }

    /// Whether a number always passes as it is.
    pub fn is_emergency(&self, number: &str) -> bool {
        self.numbers.is_emergency(number)
    }

    /// See [`Numbers::e164`].
    pub fn e164(&self, number: &str) -> Option<Box<str>> {
        self.numbers.e164(number)
    }

    /// What a number is that is dialled here, or that leaves.
    pub fn class(&self, number: &str) -> Option<Class> {
        if self.is_emergency(number) {
            return None;
        }
        let e164 = self.e164(number);
        if self.is_premium(number, e164.as_deref()) {
            return Some(Class::Premium);
        }
        self.is_international(number, e164.as_deref())
            .then_some(Class::International)
    }

    /// Whether it is another country's. Where no country is ours, every one is another.
    pub(super) fn is_international(&self, number: &str, e164: Option<&str>) -> bool {
        let n = &self.numbers;
        let home = |digits: &str| !n.country.is_empty() && digits.starts_with(&*n.country);
        match e164 {
            Some(digits) => !home(digits),
            // Begins like one, and is not understood: what a peer makes of it nobody knows.
            None => {
                let abroad = !n.international.is_empty() && number.starts_with(&*n.international);
                !self.is_emergency(number) && (number.starts_with('+') || abroad)
            }
        }
    }

    /// Whether a pattern of `premium` is met, however the number is written.
    pub(super) fn is_premium(&self, number: &str, e164: Option<&str>) -> bool {
        if self.numbers.premium.is_empty() || self.is_emergency(number) {
            return false;
        }
        let met = |parts: &[&str]| {
            let mut text: SmallVec<[u8; 64]> = SmallVec::new();
            parts
                .iter()
                .for_each(|p| text.extend_from_slice(p.as_bytes()));
            let mut below = u32::MAX;
            self.premium.matching(&text, &mut below, &mut |_| true);
            below < u32::MAX
        };
        if met(&[number]) {
            return true;
        }
        let Some(e164) = e164 else {
            return false;
        };
        if met(&[e164]) || met(&["+", e164]) {
            return true;
        }
        let n = &self.numbers;
        let national = e164
            .strip_prefix(&*n.country)
            .filter(|_| !n.country.is_empty());
        national.is_some_and(|digits| met(&[digits]) || met(&[&n.national, digits]))
    }

    /// A number as a trunk wants it; as it is where its form in E.164 is not known.
    pub fn write<'n>(
        &self,
        number: &'n str,
        e164: Option<&str>,
        format: NumberFormat,
    ) -> Cow<'n, str> {
        let n = &self.numbers;
        let Some(e164) = e164.filter(|_| !self.is_emergency(number)) else {
            return Cow::Borrowed(number);
        };
        match format {
            NumberFormat::AsIs => Cow::Borrowed(number),
            NumberFormat::Plus => Cow::Owned(format!("+{e164}")),
            NumberFormat::Digits => Cow::Owned(e164.to_owned()),
            NumberFormat::National => {
                let home = e164
                    .strip_prefix(&*n.country)
                    .filter(|_| !n.country.is_empty());
                let home = home.map(|digits| format!("{}{digits}", n.national));
                // What was dialled was none, and does not become one.
                let home = home.filter(|national| !self.is_emergency(national));
                Cow::Owned(match home {
                    Some(national) => national,
                    None if n.international.is_empty() => format!("+{e164}"),
                    None => format!("{}{e164}", n.international),
                })
            }
        }
    }

    /// What a trunk that writes numbers so means, in E.164 without the plus.
    pub fn read(&self, number: &str, format: NumberFormat) -> Option<Box<str>> {
        match format {
            NumberFormat::Digits if number.len() >= E164_DIGITS_MIN && !number.starts_with('0') => {
                e164(number.strip_prefix('+').unwrap_or(number))
            }
            NumberFormat::AsIs
            | NumberFormat::Plus
            | NumberFormat::Digits
            | NumberFormat::National => self.e164(number),
        }
    }
}

/// The user of a URI as it is dialled: a number loses its visual separators (RFC 3966 §5.1.1), a
/// name stays as it is.
pub fn dialled(user: &str) -> Cow<'_, str> {
    let separator = |c: char| "-.() ".contains(c);
    let number = |c: char| c.is_ascii_digit() || "+*#".contains(c) || separator(c);
    let has_digits = user.bytes().any(|b| b.is_ascii_digit());
    if !user.contains(separator) || !has_digits || !user.chars().all(number) {
        return Cow::Borrowed(user);
    }
    Cow::Owned(user.chars().filter(|c| !separator(*c)).collect())
}
