//! The canonical text of `[[menu]]` and `[[queue]]`.

use super::parse_route::DAYS;
use super::print::{list, plain, quoted, text};
use super::print_dialing::{interval, optional, some};
use super::{Disa, Menu, Opening, Period, Queue};
use std::fmt::{self, Formatter};

pub(super) fn menu(f: &mut Formatter<'_>, m: &Menu) -> fmt::Result {
    writeln!(f, "\n[[menu]]")?;
    text(f, "name", &m.name)?;
    some(f, "numbers", &m.numbers)?;
    some(f, "greeting", &m.greeting)?;
    if !m.keys.is_empty() {
        let keys = m.keys.iter();
        let pair = |(key, action): &(char, super::Action)| {
            let key = quoted(&key.to_string());
            format!("{key} = {}", quoted(&action.to_string()))
        };
        let pairs: Vec<String> = keys.map(pair).collect();
        writeln!(f, "keys = {{ {} }}", pairs.join(", "))?;
    }
    plain(f, "extensions", m.extensions)?;
    plain(f, "digit_ms", m.digit.as_millis())?;
    plain(f, "timeout_s", m.timeout.as_secs())?;
    plain(f, "ring_s", m.ring.as_secs())?;
    plain(f, "retries", m.retries)?;
    text(f, "then", &m.then)?;
    plain(f, "barge_in", m.barge_in)?;
    if let Some(when) = &m.opening {
        opening(f, when)?;
        text(f, "closed", &m.closed)?;
    }
    Ok(())
}

fn opening(f: &mut Formatter<'_>, when: &Opening) -> fmt::Result {
    let periods: Vec<String> = when.periods.iter().map(period).collect();
    some(f, "open", &periods)?;
    some(f, "holidays", &when.holidays)?;
    let zone = Some(&*when.timezone).filter(|zone| !zone.is_empty());
    optional(f, "timezone", zone)
}

fn period(p: &Period) -> String {
    let named = DAYS.iter().zip(p.days).filter(|(_, on)| *on);
    let days: Vec<&str> = named.map(|(day, _)| *day).collect();
    let hours: Vec<String> = p.minutes.iter().map(interval).collect();
    match hours.is_empty() {
        true => days.join(","),
        false => format!("{} {}", days.join(","), hours.join(",")),
    }
}

pub(super) fn queue(f: &mut Formatter<'_>, q: &Queue) -> fmt::Result {
    writeln!(f, "\n[[queue]]")?;
    text(f, "name", &q.name)?;
    some(f, "numbers", &q.numbers)?;
    some(f, "greeting", &q.greeting)?;
    list(f, "agents", &q.agents)?;
    list(f, "logins", &q.logins)?;
    text(f, "strategy", &q.strategy)?;
    plain(f, "ring_s", q.ring.as_secs())?;
    plain(f, "wrap_up_s", q.wrap_up.as_secs())?;
    plain(f, "announce_s", q.announce.as_secs())?;
    plain(f, "wait_max_s", q.wait_max.as_secs())?;
    plain(f, "calls_max", q.calls_max)?;
    text(f, "overflow", &q.overflow)
}

pub(super) fn disa(f: &mut Formatter<'_>, d: &Disa) -> fmt::Result {
    if *d == Disa::default() {
        return Ok(());
    }
    writeln!(f, "\n[disa]")?;
    some(f, "numbers", &d.numbers)?;
    optional(f, "pin", Some(&*d.pin).filter(|pin| !pin.is_empty()))?;
    optional(f, "user", Some(&*d.user).filter(|user| !user.is_empty()))?;
    some(f, "trusted", &d.trusted)?;
    some(f, "call_back", &d.call_back)
}
