//! `[parking]`: where calls wait that somebody put aside.

use super::Config;
use super::parse::File;
use super::print::{plain, text};
use std::fmt::{self, Formatter};

pub(super) const PARKING: &[&str] = &["slots", "timeout_s", "ring_s"];

/// Slots of a house, at most.
pub const SLOTS_MAX: u32 = 100;
/// Digits of a slot, at most.
const DIGITS_MAX: usize = 8;

/// `[parking]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parking {
    /// The first slot and the last, numbers of as many digits.
    first: u32,
    last: u32,
    digits: usize,
    /// Seconds after which the one who parked a call is called back.
    pub timeout_s: u32,
    /// Seconds that its phones ring then.
    pub ring_s: u32,
}

impl Default for Parking {
    fn default() -> Self {
        Self {
            first: 701,
            last: 709,
            digits: 3,
            timeout_s: 60,
            ring_s: 30,
        }
    }
}

impl Parking {
    /// The slots, the lowest first.
    pub fn slots(&self) -> impl Iterator<Item = String> + '_ {
        (self.first..=self.last).map(|slot| format!("{slot:0digits$}", digits = self.digits))
    }

    /// Whether a number is that of a slot.
    pub fn is_slot(&self, number: &str) -> bool {
        let digits = number.len() == self.digits && number.bytes().all(|b| b.is_ascii_digit());
        let slot = number.parse::<u32>();
        digits && slot.is_ok_and(|slot| (self.first..=self.last).contains(&slot))
    }

    fn set_slots(&mut self, text: &str) -> Option<()> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let fits = digits(first) && digits(last) && first.len() == last.len();
        if !fits || first.len() > DIGITS_MAX {
            return None;
        }
        let (low, high) = (first.parse().ok()?, last.parse().ok()?);
        if high < low || high - low >= SLOTS_MAX {
            return None;
        }
        (self.first, self.last, self.digits) = (low, high, first.len());
        Some(())
    }
}

impl File<'_, '_, '_> {
    pub(super) fn parking(&mut self, config: &Config) -> Parking {
        let section = self.section("parking");
        let mut parking = Parking::default();
        if let Some(entry) = section.get("slots")
            && let Some(text) = self.reader.text(entry)
        {
            if parking.set_slots(text.text).is_none() {
                let problem = format!("\"{}\" are no slots", text.text);
                let remedy = format!(
                    "write the first and the last, such as \"701-709\", at most {SLOTS_MAX}"
                );
                self.note(text, problem, &remedy);
            } else if let Some(owner) = owner(config, &parking) {
                let problem = format!("the number of {owner} is among them");
                self.note(text, problem, "write slots that nothing else answers");
            }
        }
        self.set_u32(&mut parking.timeout_s, section.get("timeout_s"), 5..=7200);
        self.set_u32(&mut parking.ring_s, section.get("ring_s"), 5..=180);
        parking
    }
}

/// What else answers a number of these.
fn owner(config: &Config, parking: &Parking) -> Option<String> {
    let mut groups = config.groups.iter();
    let group = groups.find(|g| g.number.as_deref().is_some_and(|n| parking.is_slot(n)));
    let mut rooms = config.conferences.iter();
    let room = rooms.find(|r| r.number.as_deref().is_some_and(|n| parking.is_slot(n)));
    let mut slots = parking.slots();
    let service = slots.find_map(|slot| config.services.dialled(&slot));
    group
        .map(|group| format!("group {}", group.name))
        .or_else(|| room.map(|room| format!("conference {}", room.name)))
        .or_else(|| service.map(|service| format!("[services] {}", service.name())))
}

pub(super) fn print(f: &mut Formatter<'_>, parking: &Parking) -> fmt::Result {
    writeln!(f, "\n[parking]")?;
    let ends = [parking.first, parking.last];
    let [first, last] = ends.map(|slot| format!("{slot:0digits$}", digits = parking.digits));
    text(f, "slots", &format!("{first}-{last}"))?;
    plain(f, "timeout_s", parking.timeout_s)?;
    plain(f, "ring_s", parking.ring_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_numbers_of_as_many_digits() {
        let mut parking = Parking::default();
        let slots: Vec<String> = parking.slots().collect();
        assert_eq!((slots.len(), &*slots[0], &*slots[8]), (9, "701", "709"));
        assert!(parking.is_slot("705"));
        for other in ["700", "710", "0705", "70a", "", "7055"] {
            assert!(!parking.is_slot(other), "{other}");
        }
        parking.set_slots("098-101").unwrap();
        assert_eq!(parking.slots().next().as_deref(), Some("098"));
        assert!(parking.is_slot("099") && !parking.is_slot("99"));
        for wrong in [
            "",
            "-",
            "7-",
            "a-b",
            "99-101",
            "709-701",
            "1000-1100",
            "+7-+8",
        ] {
            assert_eq!(parking.set_slots(wrong), None, "{wrong}");
        }
        assert_eq!(parking.set_slots("1000-1099"), Some(()));
    }
}
