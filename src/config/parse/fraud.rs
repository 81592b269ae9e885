//! `[fraud]`.

use super::{Entry, File};
use crate::config::{FRAUD_PREFIXES_MAX, Fraud};

/// The longest number of E.164.
const DIGITS_MAX: usize = 15;
const MINUTES_OF_DAY_MAX: u32 = 10_000_000;

impl<'d> File<'_, '_, 'd> {
    pub(super) fn fraud(&mut self) -> Fraud {
        let section = self.section("fraud");
        let mut fraud = Fraud::default();
        let minutes = 0..=u64::from(MINUTES_OF_DAY_MAX);
        for (target, key, range) in [
            (&mut fraud.calls_max, "calls_max", 0..=100_000),
            (&mut fraud.calls_per_minute, "calls_per_minute", 0..=10_000),
            (
                &mut fraud.minutes_per_day,
                "minutes_per_day",
                minutes.clone(),
            ),
            (
                &mut fraud.costly_minutes_per_day,
                "costly_minutes_per_day",
                minutes.clone(),
            ),
            (
                &mut fraud.trunk_calls_per_minute,
                "trunk_calls_per_minute",
                0..=100_000,
            ),
            (
                &mut fraud.trunk_minutes_per_day,
                "trunk_minutes_per_day",
                minutes.clone(),
            ),
            (
                &mut fraud.trunk_costly_minutes_per_day,
                "trunk_costly_minutes_per_day",
                minutes,
            ),
            (&mut fraud.block_s, "block_s", 0..=31_536_000),
        ] {
            self.set_u32(target, section.get(key), range);
        }
        if let Some(entry) = section.get("prefix_minutes_per_day") {
            fraud.prefix_minutes_per_day = self.prefix_minutes(entry);
        }
        if let Some(entry) = section.get("exempt") {
            let names = self.list(entry).into_iter();
            fraud.exempt = names.map(|name| name.text.into()).collect();
        }
        fraud
    }

    fn prefix_minutes(&mut self, entry: Entry<'d>) -> Vec<(Box<str>, u32)> {
        let mut all: Vec<(Box<str>, u32)> = Vec::new();
        for text in self.list(entry) {
            let Some((prefix, minutes)) = prefix_minutes(text.text) else {
                let problem = format!("\"{}\" is no prefix with its minutes", text.text);
                let remedy = "write such as \"+882=10\": digits of E.164, =, minutes a day";
                self.note(text, problem, remedy);
                continue;
            };
            if all.iter().any(|(p, _)| **p == *prefix) {
                self.note(text, format!("+{prefix} is named twice"), "take one out");
            } else if all.len() == FRAUD_PREFIXES_MAX {
                let problem = format!("is one of more than {FRAUD_PREFIXES_MAX}");
                self.note(text, problem, "take some out");
                return all;
            } else {
                all.push((prefix.into(), minutes));
            }
        }
        all
    }
}

fn prefix_minutes(text: &str) -> Option<(&str, u32)> {
    let (prefix, minutes) = text.split_once('=')?;
    let prefix = prefix.strip_prefix('+').unwrap_or(prefix);
    let digits = prefix.bytes().all(|b| b.is_ascii_digit());
    let minutes: u32 = minutes.parse().ok()?;
    let fits = (1..=DIGITS_MAX).contains(&prefix.len());
    let range = 1..=MINUTES_OF_DAY_MAX;
    (digits && fits && range.contains(&minutes)).then_some((prefix, minutes))
}
