//! The keys of `[[menu]]` and `[[queue]]`, and the actions of both.

use super::menu::{self, Action, Disa, Holiday, Menu, Opening, Period, Pin, Queue, QueueStrategy};
use super::parse::File;
use super::parse_dialing::{self as dialing, is_name};
use super::parse_route::{among, parse_days, parse_minutes};
use super::reader::{Entry, Section, nearest};
use super::{
    CONDITIONS_MAX, Config, GREETINGS_MAX, Group, Line, MEMBERS_MAX, MENUS_MAX, Node, Service,
};
use std::time::Duration;

pub(super) const MENU: &[&str] = &[
    "name",
    "numbers",
    "greeting",
    "keys",
    "extensions",
    "digit_ms",
    "timeout_s",
    "ring_s",
    "retries",
    "then",
    "barge_in",
    "open",
    "closed",
    "holidays",
    "timezone",
];
pub(super) const DISA: &[&str] = &["numbers", "pin", "user", "trusted", "call_back"];
pub(super) const QUEUE: &[&str] = &[
    "name",
    "numbers",
    "greeting",
    "agents",
    "logins",
    "strategy",
    "ring_s",
    "wrap_up_s",
    "announce_s",
    "wait_max_s",
    "calls_max",
    "overflow",
];

/// Numbers that double dialling calls back, at most.
const CALL_BACKS_MAX: usize = 200;
/// Shorter ones are emergency numbers, services and extensions.
const CALL_BACK_DIGITS: std::ops::RangeInclusive<usize> = 5..=15;
/// Digits of a PIN.
const PIN_DIGITS: std::ops::RangeInclusive<usize> = 6..=16;
/// Longest name of a prompt, in bytes.
const PROMPT_BYTES_MAX: usize = 128;

/// A mistake: the problem and the remedy.
type Wrong = (String, String);

/// What an action may name.
struct Known<'k> {
    node: &'k Node,
    groups: &'k [Group],
    menus: Vec<&'k str>,
    queues: Vec<&'k str>,
    /// Whether there is a menu before this one.
    in_menu: bool,
}

impl<'d> File<'_, '_, 'd> {
    /// All menus and queues; services and groups are read already.
    pub(super) fn menus(&mut self, config: &mut Config) {
        let names = |file: &Self, list| -> Vec<&'d str> {
            let item = file.root.get(list);
            let tables = item.map_or_else(Vec::new, |item| Section::list(list, item));
            let name = |s: &Section<'d>| s.get("name").and_then(|e| e.as_text());
            tables.iter().filter_map(name).collect()
        };
        let mut known = Known {
            node: &config.node,
            groups: &config.groups,
            menus: names(self, "menu"),
            queues: names(self, "queue"),
            in_menu: true,
        };
        let mut taken = Numbers::of(config);
        let (mut menus, mut queues) = (Vec::<Menu>::new(), Vec::<Queue>::new());
        let mut all = Vec::new();
        for section in self.tables("menu", MENUS_MAX) {
            let name = self.name(section, &all, "main");
            let mut menu = self.menu(section, &known);
            menu.numbers = self.answered(section, &mut taken, ("menu", name.as_deref()));
            all.extend(name.clone());
            if let Some(name) = name {
                menu.name = name;
                menus.push(menu);
            }
        }
        known.in_menu = false;
        all.clear();
        for section in self.tables("queue", MENUS_MAX) {
            let name = self.name(section, &all, "support");
            let mut queue = self.queue(section, &known);
            queue.numbers = self.answered(section, &mut taken, ("queue", name.as_deref()));
            all.extend(name.clone());
            if let Some(name) = name {
                queue.name = name;
                queues.push(queue);
            }
        }
        config.disa = self.disa(&config.node, &config.numbers, &mut taken);
        config.menus = menus.into();
        config.queues = queues.into();
    }

    fn disa(
        &mut self,
        node: &Node,
        plan: &crate::config::dialing::Numbers,
        taken: &mut Numbers,
    ) -> Disa {
        let section = self.section("disa");
        let mut disa = Disa {
            numbers: self.answered(section, taken, ("disa", None)),
            trusted: self.agents(section, "trusted", node, false),
            ..Disa::default()
        };
        if let Some(text) = section.get("pin").and_then(|e| self.reader.text(e)) {
            match pin(text.text) {
                Ok(pin) => disa.pin = Pin(pin),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        if let Some(text) = section.get("user").and_then(|e| self.reader.text(e)) {
            match dialing::user(text.text, node, false) {
                Ok(user) => disa.user = user.into(),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        disa.call_back = self.called_back(section, plan, &disa.numbers);
        let any = ["pin", "trusted", "numbers"].map(|key| section.get(key));
        if let (Some(entry), None) = (any.into_iter().flatten().next(), section.get("user")) {
            let remedy = "add user = \"100\", on whose account is called";
            let problem = "lets nobody in without a user";
            self.reader.note_entry(entry, problem, remedy);
        }
        if let (Some(entry), None) = (section.get("numbers"), section.get("pin")) {
            let remedy = "add pin = \"...\", 6 to 16 digits";
            let problem = "lets nobody in from outside without a PIN";
            self.reader.note_entry(entry, problem, remedy);
        }
        disa
    }

    /// The numbers that are called back.
    fn called_back(
        &mut self,
        section: Section<'d>,
        plan: &crate::config::dialing::Numbers,
        own: &[Box<str>],
    ) -> Vec<Box<str>> {
        let Some(entry) = section.get("call_back") else {
            return Vec::new();
        };
        let mut numbers: Vec<Box<str>> = Vec::new();
        for text in self.reader.texts(entry).unwrap_or_default() {
            let digits = text.text.strip_prefix('+').unwrap_or(text.text);
            let fits = CALL_BACK_DIGITS.contains(&digits.len());
            if !fits || !digits.bytes().all(|b| b.is_ascii_digit()) {
                let problem = format!("\"{}\" is no number", text.text);
                let remedy = "write 5 to 15 digits as your users dial it, or from the plus on";
                self.note(text, problem, remedy);
            } else if let Some((problem, remedy)) = not_called(text.text, plan, own, &numbers) {
                self.note(text, problem, remedy);
            } else if numbers.len() >= CALL_BACKS_MAX {
                let remedy = &format!("name {CALL_BACKS_MAX} at most");
                self.note(text, "is one number too many".to_owned(), remedy);
                break;
            } else {
                numbers.push(text.text.into());
            }
        }
        if section.get("pin").is_none() {
            let remedy = "add pin = \"...\", 6 to 16 digits";
            self.reader
                .note_entry(entry, "calls back for a PIN, and there is none", remedy);
        }
        numbers
    }

    fn menu(&mut self, section: Section<'d>, known: &Known<'_>) -> Menu {
        let mut menu = Menu {
            line: Line(self.reader.line(section)),
            greeting: self.greeting(section),
            extensions: self.truth(section, "extensions", false),
            barge_in: self.truth(section, "barge_in", true),
            opening: self.opening(section),
            ..Menu::default()
        };
        if menu.greeting.is_empty() && section.get("greeting").is_none() {
            let remedy = "add greeting = \"menu-extension\", or a prompt of your own";
            self.reader.missing(section, "greeting", remedy);
        }
        if let Some(ms) = self.number(section.get("digit_ms"), 500..=10_000) {
            menu.digit = Duration::from_millis(ms);
        }
        if let Some(s) = self.number(section.get("timeout_s"), 1..=60) {
            menu.timeout = Duration::from_secs(s);
        }
        if let Some(s) = self.number(section.get("ring_s"), 5..=180) {
            menu.ring = Duration::from_secs(s);
        }
        if let Some(n) = self.number(section.get("retries"), 0..=10) {
            menu.retries = n as u8;
        }
        if let Some(entry) = section.get("keys") {
            menu.keys = self.keys(entry, known);
        }
        let action = self.action(section, "then", known);
        menu.then = action.unwrap_or(menu.then);
        if let Some(entry) = section.get("closed") {
            let action = self.action(section, "closed", known);
            menu.closed = action.unwrap_or(menu.closed);
            let own = Action::Menu(
                section
                    .get("name")
                    .and_then(|e| e.as_text())
                    .unwrap_or("")
                    .into(),
            );
            if menu.opening.is_none() {
                let remedy = "add open = \"mon-fri 9:00-18:00\", or take it out";
                let problem = "means nothing where the menu is always open";
                self.reader.note_entry(entry, problem, remedy);
            } else if menu.closed == own || menu.closed == Action::Repeat {
                let remedy = "name another menu, or \"say:menu-closed\"";
                let problem = "leads back to the menu that is closed";
                self.reader.note_entry(entry, problem, remedy);
            }
        }
        if menu.keys.is_empty() && !menu.extensions && section.get("then").is_none() {
            let remedy = "add keys = { \"1\" = \"extension:201\" }, extensions = true or then";
            self.reader.missing(section, "keys", remedy);
        }
        menu
    }

    fn keys(&mut self, entry: Entry<'d>, known: &Known<'_>) -> Vec<(char, Action)> {
        let mut keys: Vec<(char, Action)> = Vec::new();
        let example = "keys = { \"1\" = \"extension:201\" }";
        for (key, text) in self.reader.pairs(entry, example) {
            let mut chars = key.chars();
            let one = chars.next().map(|c| c.to_ascii_uppercase());
            let one = one.filter(|c| chars.next().is_none() && menu::KEYS.contains(*c));
            match (one, action(text.text, known)) {
                (None, _) => {
                    let remedy = "write one of 0 to 9, * and #, such as \"1\"";
                    self.note(text, format!("{key:?} is no key"), remedy);
                }
                (Some(key), _) if keys.iter().any(|(k, _)| *k == key) => {
                    self.note(text, format!("key {key} is named twice"), "take one out");
                }
                (Some(key), Ok(action)) => keys.push((key, action)),
                (Some(_), Err((problem, remedy))) => self.note(text, problem, remedy),
            }
        }
        keys.sort_by_key(|(key, _)| menu::KEYS.find(*key));
        keys
    }

    fn action(
        &mut self,
        section: Section<'d>,
        key: &'static str,
        known: &Known<'_>,
    ) -> Option<Action> {
        let text = self.reader.text(section.get(key)?)?;
        match action(text.text, known) {
            Ok(action) => return Some(action),
            Err((problem, remedy)) => self.note(text, problem, remedy),
        }
        None
    }

    fn greeting(&mut self, section: Section<'d>) -> Vec<Box<str>> {
        let Some(entry) = section.get("greeting") else {
            return Vec::new();
        };
        self.empty_list(entry, "name a prompt, or take the key out");
        let mut prompts = Vec::new();
        for text in self.conditions(entry) {
            match prompt(text.text) {
                Ok(name) => prompts.push(name),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        if prompts.len() > GREETINGS_MAX {
            let problem = format!("has {} prompts", prompts.len());
            let remedy = format!("write at most {GREETINGS_MAX}");
            self.reader.note_entry(entry, problem, remedy);
            prompts.truncate(GREETINGS_MAX);
        }
        prompts
    }

    /// The numbers that something answers, none of which anything else does.
    fn answered(
        &mut self,
        section: Section<'d>,
        taken: &mut Numbers,
        (kind, name): (&str, Option<&str>),
    ) -> Vec<Box<str>> {
        let mut numbers = Vec::new();
        for text in section
            .get("numbers")
            .map_or_else(Vec::new, |e| self.conditions(e))
        {
            if let Err((problem, remedy)) = dialing::dialled(text.text) {
                self.note(text, problem, remedy);
            } else if let Some(other) = taken.owner(text.text) {
                let problem = format!("\"{}\" is the number of {other} already", text.text);
                self.note(text, problem, "write another one");
            } else {
                let owner = format!("{kind} {}", name.unwrap_or_default());
                taken.0.push((text.text.into(), owner));
                numbers.push(text.text.into());
            }
        }
        numbers
    }

    fn opening(&mut self, section: Section<'d>) -> Option<Opening> {
        let (open, holidays) = (section.get("open"), section.get("holidays"));
        let zone = section.get("timezone");
        let timezone = zone.and_then(|e| self.timezone(e)).unwrap_or_default();
        if let Some(zone) = zone
            && open.or(holidays).is_none()
        {
            let remedy = "add open or holidays, or take it out";
            let problem = "means nothing without open or holidays";
            self.reader.note_entry(zone, problem, remedy);
        }
        open.or(holidays)?;
        let mut opening = Opening {
            timezone,
            ..Opening::default()
        };
        if let Some(entry) = open {
            self.empty_list(entry, "write \"mon-fri 9:00-18:00\", or take the key out");
            for text in self.conditions(entry) {
                match period(text.text) {
                    Ok(period) => opening.periods.push(period),
                    Err((problem, remedy)) => self.note(text, problem, remedy),
                }
            }
        }
        if let Some(entry) = holidays {
            opening.holidays = self.holidays(entry);
        }
        // Without either it is always open.
        (!opening.periods.is_empty() || !opening.holidays.is_empty()).then_some(opening)
    }

    fn holidays(&mut self, entry: Entry<'d>) -> Vec<Holiday> {
        let mut holidays = Vec::new();
        for (text, span) in self.reader.dates(entry) {
            let name = format!("{}.{}", entry.table, entry.key);
            match holiday(&text) {
                Some(day) if holidays.contains(&day) => {
                    let problem = format!("\"{text}\" is named twice");
                    self.reader.note(span, name, problem, "take one out");
                }
                Some(day) => holidays.push(day),
                None => {
                    let problem = format!("\"{text}\" is no date");
                    let remedy = "write one such as \"2026-12-25\", or \"12-25\" for every year";
                    self.reader.note(span, name, problem, remedy);
                }
            }
        }
        if holidays.len() > CONDITIONS_MAX {
            let problem = format!("has {} dates", holidays.len());
            let remedy = format!("write at most {CONDITIONS_MAX}");
            self.reader.note_entry(entry, problem, remedy);
            holidays.truncate(CONDITIONS_MAX);
        }
        holidays
    }

    fn queue(&mut self, section: Section<'d>, known: &Known<'_>) -> Queue {
        let mut queue = Queue {
            line: Line(self.reader.line(section)),
            greeting: self.greeting(section),
            agents: self.agents(section, "agents", known.node, false),
            logins: self.agents(section, "logins", known.node, true),
            ..Queue::default()
        };
        if queue.agents.is_empty() && queue.logins.is_empty() {
            let remedy = "add agents = [\"201\"], or logins = [\"*\"] for users who log in";
            self.reader.missing(section, "agents", remedy);
        }
        if let Some(entry) = section.get("strategy") {
            let strategy = self.reader.word(entry, QueueStrategy::WORDS);
            queue.strategy = strategy.unwrap_or(queue.strategy);
        }
        for (field, key, range) in [
            (&mut queue.ring, "ring_s", 3..=120),
            (&mut queue.wrap_up, "wrap_up_s", 0..=600),
            (&mut queue.announce, "announce_s", 0..=600),
            (&mut queue.wait_max, "wait_max_s", 0..=86_400),
        ] {
            if let Some(s) = self.number(section.get(key), range) {
                *field = Duration::from_secs(s);
            }
        }
        let calls = section.get("calls_max");
        self.set_u32(&mut queue.calls_max, calls, 1..=10_000);
        let overflow = self.action(section, "overflow", known);
        queue.overflow = overflow.unwrap_or(queue.overflow);
        if let Some(entry) = section.get("overflow")
            && let Action::Queue(name) = &queue.overflow
            && section.get("name").and_then(|e| e.as_text()) == Some(name)
        {
            let remedy = "name another queue, a menu, or \"hangup\"";
            self.reader
                .note_entry(entry, "leads back to the queue itself", remedy);
        }
        queue
    }

    fn agents(
        &mut self,
        section: Section<'d>,
        key: &'static str,
        node: &Node,
        any: bool,
    ) -> Vec<Box<str>> {
        let mut agents: Vec<Box<str>> = Vec::new();
        let texts = section.get(key).map_or_else(Vec::new, |e| self.list(e));
        for text in texts.into_iter().take(MEMBERS_MAX) {
            match dialing::user(text.text, node, any) {
                Ok(user) if agents.iter().any(|a| **a == *user) => {
                    self.note(text, format!("\"{user}\" is named twice"), "take one out");
                }
                Ok(user) => agents.push(user.into()),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        agents
    }
}

/// The numbers that something answers, and what does.
struct Numbers(Vec<(Box<str>, String)>);

impl Numbers {
    fn of(config: &Config) -> Self {
        let codes = Service::ALL.iter();
        let codes = codes.map(|s| {
            (
                config.services.code(*s).into(),
                format!("service {}", s.name()),
            )
        });
        let groups = config.groups.iter();
        let groups = groups.filter_map(|g| Some((g.number.clone()?, format!("group {}", g.name))));
        let pages = config.pages.iter();
        let pages = pages.map(|p| (p.number.clone(), format!("page {}", p.name)));
        let slots = config.parking.slots();
        let slots = slots.map(|slot| (slot.into(), "a slot of [parking]".into()));
        Self(codes.chain(groups).chain(pages).chain(slots).collect())
    }

    fn owner(&self, number: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(n, _)| **n == *number).map(|(_, owner)| &**owner)
    }
}

/// Digits that are not the first that anybody tries.
fn pin(text: &str) -> Result<Box<str>, Wrong> {
    let remedy = "write 6 to 16 digits that nobody guesses";
    let digits = text.as_bytes();
    if !PIN_DIGITS.contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(("is no PIN".into(), remedy.into()));
    }
    // 000000, 123456, 987654.
    let steps = digits
        .windows(2)
        .map(|pair| i16::from(pair[1]) - i16::from(pair[0]));
    let mut steps: Vec<i16> = steps.collect();
    steps.dedup();
    match *steps {
        [-1..=1] => Err(("is a PIN that everybody tries".into(), remedy.into())),
        _ => Ok(text.into()),
    }
}

fn action(text: &str, known: &Known<'_>) -> Result<Action, Wrong> {
    if let Some((_, action)) = Action::WORDS.iter().find(|(word, _)| *word == text) {
        return match action {
            Action::Back | Action::Repeat if !known.in_menu => {
                let remedy = "write \"hangup\", or where the caller goes, such as \"menu:main\"";
                Err((format!("\"{text}\" is for menus alone"), remedy.into()))
            }
            action => Ok(action.clone()),
        };
    }
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    let user = |name| dialing::user(name, known.node, false).map(Box::from);
    Ok(match kind {
        "extension" => Action::Extension(user(name)?),
        "voicemail" => Action::Voicemail(user(name)?),
        "group" => Action::Group(group(name, known)?),
        "menu" => Action::Menu(among("menu", name, known.menus.iter().copied())?),
        "queue" => Action::Queue(among("queue", name, known.queues.iter().copied())?),
        "route" => {
            dialing::dialled(name)?;
            Action::Route(name.into())
        }
        "say" => Action::Say(prompt(name)?),
        _ => return Err(unknown(text, kind)),
    })
}

/// A group that can be called.
fn group(name: &str, known: &Known<'_>) -> Result<Box<str>, Wrong> {
    let name = among("group", name, known.groups.iter().map(|g| &*g.name))?;
    let mut groups = known.groups.iter();
    match groups.any(|g| g.name == name && g.number.is_some()) {
        true => Ok(name),
        false => {
            let remedy = "add number = \"600\" to that [[group]]";
            Err((
                format!("group {name} has no number to be called by"),
                remedy.into(),
            ))
        }
    }
}

fn unknown(text: &str, kind: &str) -> Wrong {
    let words = Action::WORDS.iter().map(|(word, _)| *word);
    let all = Action::KINDS.iter().copied().chain(words.clone());
    let digits = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b"+*#".contains(&b));
    let remedy = match nearest(kind, all) {
        _ if digits => format!("write \"extension:{text}\", or \"route:{text}\""),
        Some(near) => {
            let rest = text.get(kind.len()..).unwrap_or_default();
            format!("did you mean \"{near}{rest}\"?")
        }
        None => {
            let words: Vec<&str> = words.collect();
            let kinds = Action::KINDS.join(":, ");
            format!("begin it with {kinds}:, or write {}", words.join(", "))
        }
    };
    (format!("\"{text}\" is nothing that a menu does"), remedy)
}

/// The name of a prompt, `vm-youhave` or `digits/1`: below the directory of prompts.
fn prompt(text: &str) -> Result<Box<str>, Wrong> {
    let parts = text
        .split('/')
        .all(|part| is_name(part) && !part.starts_with('.'));
    if parts && text.len() <= PROMPT_BYTES_MAX {
        return Ok(text.into());
    }
    let remedy =
        "write a name of the catalogue, or of a file in [services] prompts without its ending";
    Err((format!("{text:?} is no name of a prompt"), remedy.into()))
}

/// `mon-fri 9:00-14:00,16:00-19:00`; the days or the hours alone.
fn period(text: &str) -> Result<Period, Wrong> {
    let text = text.trim();
    let (days, minutes) = match text.split_once(char::is_whitespace) {
        Some((days, minutes)) => (Some(days), Some(minutes)),
        None if text.starts_with(|c: char| c.is_ascii_digit()) => (None, Some(text)),
        None => (Some(text), None),
    };
    let intervals = minutes.into_iter().flat_map(|m| m.split(','));
    let minutes: Result<Vec<_>, Wrong> = intervals.map(|i| parse_minutes(i.trim())).collect();
    let period = Period {
        days: days.map_or(Ok([true; 7]), parse_days)?,
        minutes: minutes?,
    };
    match period.minutes.len() > CONDITIONS_MAX {
        true => Err((
            format!("has more than {CONDITIONS_MAX} intervals"),
            "write fewer".into(),
        )),
        false => Ok(period),
    }
}

/// `2026-12-25`, or `12-25`; 29 February is one of every leap year.
fn holiday(text: &str) -> Option<Holiday> {
    let (year, rest) = match text.matches('-').count() {
        2 => (Some(text.get(..4)?), text.get(5..)?),
        _ => (None, text),
    };
    let whole = match year {
        Some(year) => format!("{year}-{rest}"),
        None => format!("2028-{rest}"),
    };
    let (y, month, day) = super::parse_route::date(&whole)?;
    Some(Holiday {
        year: year.map(|_| y),
        month,
        day,
    })
}

/// Why a number cannot be called back, and the remedy.
fn not_called(
    number: &str,
    plan: &crate::config::dialing::Numbers,
    own: &[Box<str>],
    before: &[Box<str>],
) -> Option<(String, &'static str)> {
    if let Some(emergency) = plan.emergency_within(number) {
        let problem = format!("\"{number}\" is the emergency number {emergency}");
        return Some((problem, "take it off the list"));
    }
    let among = |list: &[Box<str>]| list.iter().any(|other| plan.same(number, other));
    if among(own) {
        let problem = format!("\"{number}\" is one of double dialling's own numbers");
        return Some((problem, "it would call itself: take it off the list"));
    }
    among(before).then(|| (format!("\"{number}\" is named twice"), "name it once"))
}

/// For tests: a period that is known to be one.
#[cfg(test)]
pub(super) fn a_period(text: &str) -> Period {
    period(text).unwrap_or_else(|(problem, _)| panic!("{problem}"))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use std::path::Path;

    fn mistakes(text: &str) -> String {
        let parsed = Config::parse(text, Path::new("voip.toml"));
        parsed.map_or_else(|m| m.to_string(), |c| panic!("accepted: {c}"))
    }

    #[test]
    fn periods_have_days_and_hours() {
        let p = a_period("mon-fri 9:00-14:00,16:00-19:00");
        assert_eq!(p.days, [true, true, true, true, true, false, false]);
        assert_eq!(p.minutes, [(540, 840), (960, 1140)]);
        assert_eq!(a_period("sat").minutes, []);
        assert_eq!(a_period("10:00-12:00").days, [true; 7]);
        for wrong in [
            "",
            "mon-fri 9",
            "someday 9:00-10:00",
            "9:00-9:00",
            "mon 25:00-26:00",
        ] {
            assert!(period(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn holidays_are_of_one_year_or_every() {
        let day = |year, month, day| Some(Holiday { year, month, day });
        assert_eq!(holiday("2026-12-25"), day(Some(2026), 12, 25));
        assert_eq!(holiday("01-06"), day(None, 1, 6));
        assert_eq!(holiday("02-29"), day(None, 2, 29));
        for wrong in ["2026-02-29", "13-01", "1-6", "", "2026", "12-25-2026"] {
            assert_eq!(holiday(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn mistakes_name_line_and_remedy() {
        let menu = "[[menu]]\nname = \"main\"\ngreeting = \"menu-welcome\"\n";
        for (line, wanted) in [
            (
                "keys = { \"12\" = \"back\" }",
                "4:17: menu.keys.12: \"12\" is no key; write one of",
            ),
            (
                "keys = { a = \"back\", A = \"repeat\" }",
                "key A is named twice; take one out",
            ),
            (
                "keys = { 1 = \"menu:mian\" }",
                "no menu \"mian\"; did you mean \"menu:main\"?",
            ),
            (
                "keys = { 1 = \"queue:x\" }",
                "add [[queue]] with name = \"x\"",
            ),
            (
                "keys = { 1 = \"201\" }",
                "write \"extension:201\", or \"route:201\"",
            ),
            ("keys = { 1 = \"hangpu\" }", "did you mean \"hangup\"?"),
            (
                "keys = { 1 = \"say:../x\" }",
                "\"../x\" is no name of a prompt",
            ),
            (
                "keys = { 1 = \"group:sales\" }",
                "there is no group \"sales\"",
            ),
            (
                "closed = \"hangup\"",
                "means nothing where the menu is always open",
            ),
            (
                "open = \"mon\"\nclosed = \"menu:main\"",
                "leads back to the menu that is closed",
            ),
            ("open = \"mon 9-10\"", "\"9-10\" is no interval of hours"),
            (
                "holidays = [\"30-02\"]",
                "\"30-02\" is no date; write one such as",
            ),
            (
                "timezone = \"Europe/Madrid\"",
                "means nothing without open or holidays",
            ),
            (
                "numbers = \"*130\"",
                "\"*130\" is the number of service echo already",
            ),
            ("numbers = \"*130\"", "menu.keys: is missing; add keys"),
        ] {
            let said = mistakes(&format!("{menu}{line}\n"));
            assert!(said.contains(wanted), "{line}: {said}");
        }
        let said = mistakes("[[menu]]\nname = \"a\"\nthen = \"hangup\"\n");
        assert!(said.contains("menu.greeting: is missing"), "{said}");
        let disa = "[disa]\nuser = \"100\"\n";
        let spain = "[numbers]\ncountry = \"34\"\nnational_digits = 9\n";
        for (text, wanted) in [
            (
                "[disa]\npin = \"482913\"",
                "disa.pin: lets nobody in without a user",
            ),
            (
                &format!("{disa}pin = \"12345\""),
                "is no PIN; write 6 to 16 digits",
            ),
            (
                &format!("{disa}pin = \"123456\""),
                "is a PIN that everybody tries",
            ),
            (
                &format!("{disa}pin = \"777777\""),
                "is a PIN that everybody tries",
            ),
            (
                &format!("{disa}numbers = \"500\""),
                "lets nobody in from outside without a PIN",
            ),
            (
                &format!("{disa}call_back = [\"600123456\"]"),
                "disa.call_back: calls back for a PIN, and there is none",
            ),
            (
                &format!("{disa}pin = \"482913\"\ncall_back = [\"mobile\"]"),
                "\"mobile\" is no number",
            ),
            (
                &format!("{disa}pin = \"482913\"\ncall_back = [\"112\"]"),
                "\"112\" is no number; write 5 to 15 digits",
            ),
            (
                &format!(
                    "[numbers]\nemergency = [\"11234\"]\n\
                     {disa}pin = \"482913\"\ncall_back = [\"11234\"]"
                ),
                "\"11234\" is the emergency number 11234",
            ),
            (
                &format!(
                    "{spain}emergency = [\"112\"]\n{disa}pin = \"482913\"\n\
                     call_back = [\"+34112\"]"
                ),
                "\"+34112\" is the emergency number 112; take it off the list",
            ),
            (
                &format!(
                    "{spain}emergency = [\"112\"]\n{disa}pin = \"482913\"\n\
                     call_back = [\"0034112\"]"
                ),
                "\"0034112\" is the emergency number 112",
            ),
            (
                &format!(
                    "{spain}{disa}pin = \"482913\"\nnumbers = [\"915550100\"]\n\
                     call_back = [\"+34915550100\"]"
                ),
                "\"+34915550100\" is one of double dialling's own numbers",
            ),
            (
                &format!(
                    "{spain}{disa}pin = \"482913\"\n\
                     call_back = [\"600123456\", \"0034600123456\"]"
                ),
                "\"0034600123456\" is named twice",
            ),
        ] {
            let said = mistakes(text);
            assert!(said.contains(wanted), "{text}: {said}");
        }
        let queue = "[[queue]]\nname = \"q\"\n";
        for (line, wanted) in [
            ("", "queue.agents: is missing; add agents"),
            (
                "agents = [\"1\"]\noverflow = \"back\"",
                "\"back\" is for menus alone",
            ),
            (
                "agents = [\"1\"]\noverflow = \"queue:q\"",
                "leads back to the queue itself",
            ),
            ("agents = [\"1\", \"1\"]", "\"1\" is named twice"),
        ] {
            let said = mistakes(&format!("{queue}{line}\n"));
            assert!(said.contains(wanted), "{line}: {said}");
        }
    }
}
