//! The keys of `[[route]]`.

use super::check_routes::Places;
use super::parse::File;
use super::parse_dialing::{self as dialing, is_name};
use super::pattern::is_dialled;
use super::reader::{Entry, Section, Text, nearest};
use super::{
    CONDITIONS_MAX, Class, Config, FailureKind, Hours, IpNet, Line, Match, Matcher, ROUTES_MAX,
    Route, STEPS_MAX, Service, Source, Target, check_routes,
};
use std::collections::HashSet;
use std::time::Duration;

/// Most characters taken off a number.
const STRIP_MAX: u64 = 64;

/// A mistake: the problem and the remedy.
type Wrong = (String, String);

impl<'d> File<'_, '_, 'd> {
    /// All routes; the rest of the configuration is read already.
    pub(super) fn routes(&mut self, config: &Config) -> Vec<Route> {
        let mut routes = Vec::new();
        let mut taken = HashSet::new();
        let mut places = Places::default();
        for (at, section) in self.tables("route", ROUTES_MAX).into_iter().enumerate() {
            let mut route = self.route(section, config);
            route.name = self.route_name(section, at + 1, &mut taken);
            places.add(self.reader, section);
            routes.push(route);
        }
        let (found, nowhere) = check_routes::check(&routes, config, &places);
        for (place, problem, remedy) in found {
            self.reader.note(place.0, place.1, problem, remedy);
        }
        if let Some(entry) = self.section("numbers").get("emergency") {
            for number in nowhere {
                let problem = format!("\"{number}\" leads nowhere");
                let remedy = format!("add a [[route]] with match = \"{number}\" that leads out");
                self.reader.note_entry(entry, problem, remedy);
            }
        }
        routes
    }

    fn route_name(
        &mut self,
        section: Section<'d>,
        number: usize,
        taken: &mut HashSet<Box<str>>,
    ) -> Box<str> {
        let text = section.get("name").and_then(|e| self.reader.text(e));
        let name = text.and_then(|text| match taken.contains(text.text) {
            true => {
                let problem = format!("\"{}\" is named twice", text.text);
                self.note(text, problem, "give it another name");
                None
            }
            false => self.free_name(text, &[]),
        });
        let name = name.unwrap_or_else(|| format!("route-{number}").into());
        taken.insert(name.clone());
        name
    }

    fn route(&mut self, section: Section<'d>, config: &Config) -> Route {
        let mut route = Route {
            line: Line(self.reader.line(section)),
            matches: self.matches(section),
            from: self.sources(section, config),
            methods: self.methods(section),
            hours: self.hours(section),
            anonymous: self.truth(section, "anonymous", false),
            redirect: self.truth(section, "redirect", false),
            record: self.truth(section, "record", false),
            to: self.steps(section, config),
            ..Route::default()
        };
        (route.add_headers, route.remove_headers) = self.headers(section);
        if let Some(n) = self.number(section.get("strip"), 0..=STRIP_MAX) {
            route.strip = n as u8;
        }
        if let Some(s) = self.number(section.get("ring_s"), 1..=600) {
            route.ring = Duration::from_secs(s);
        }
        if let Some(entry) = section.get("next_on") {
            route.next_on = self.next_on(entry);
        }
        if let Some(entry) = section.get("allow") {
            for text in self.conditions(entry) {
                match word(text.text, Class::WORDS) {
                    Ok(class) if route.allow.contains(&class) => {
                        let problem = format!("\"{}\" is named twice", text.text);
                        self.note(text, problem, "take one out");
                    }
                    Ok(class) => route.allow.push(class),
                    Err((problem, remedy)) => self.note(text, problem, remedy),
                }
            }
        }
        self.edits(section, &mut route);
        self.refusal(section, &mut route);
        self.open_rooms(section, &route, config);
        self.untaped(section, &route);
        route
    }

    /// What answers by itself and joins nobody has nothing that a route could record.
    fn untaped(&mut self, section: Section<'d>, route: &Route) {
        let Some(entry) = section.get("record").filter(|_| route.record) else {
            return;
        };
        let wrong = route.to.iter().flatten().find_map(|target| match target {
            Target::Conference(name) => Some(format!(
                "take it out here, and write record = true in [[conference]] \"{name}\""
            )),
            Target::Service(Service::Conference) => {
                Some("take it out here, and write record = true in [[conference]]".to_owned())
            }
            Target::Service(
                service @ (Service::Echo | Service::Voicemail | Service::QueueLogin),
            ) => Some(format!(
                "take it out, or give service:{} a route of its own",
                service.name()
            )),
            // They are recorded once they are joined with somebody.
            Target::Service(Service::Disa | Service::Park) | Target::Menu(_) | Target::Queue(_) => {
                None
            }
            Target::User(_)
            | Target::Group(_)
            | Target::Trunk(_)
            | Target::Pool(_)
            | Target::Line(_)
            | Target::Number(_)
            | Target::Uri(_) => None,
        });
        if let Some(remedy) = wrong {
            let leads = "leads to what no route can record";
            self.reader.note_entry(entry, leads, remedy);
        }
    }

    /// A room without PIN behind a route for anybody would let strangers listen.
    fn open_rooms(&mut self, section: Section<'d>, route: &Route, config: &Config) {
        let open = route.to.iter().flatten().find_map(|target| match target {
            Target::Conference(name) => config.conference(name).filter(|room| room.pin.is_none()),
            _ => None,
        });
        if let (Some(room), true, Some(entry)) = (open, route.from.is_empty(), section.get("to")) {
            let problem = format!(
                "leads anybody into conference \"{}\", which has no pin",
                room.name
            );
            let remedy = "add from, such as from = \"user:*\", or give the room a pin";
            self.reader.note_entry(entry, problem, remedy);
        }
    }

    fn matches(&mut self, section: Section<'d>) -> Match {
        // Matches nothing, so that the look at all routes passes it over.
        let unknown = || Match::Regex("".into());
        let (digits, regex) = (section.get("match"), section.get("regex"));
        let (entry, digital) = match (digits, regex) {
            (Some(entry), None) => (entry, true),
            (None, Some(entry)) => (entry, false),
            (None, None) => {
                let remedy = "add match = \"9XXXXXXXX\", or regex = \"...\"";
                self.reader.missing(section, "match", remedy);
                return unknown();
            }
            (Some(_), Some(entry)) => {
                let remedy = "keep one of them";
                self.reader.note_entry(entry, "stands beside match", remedy);
                return unknown();
            }
        };
        let Some(text) = self.reader.text(entry) else {
            return unknown();
        };
        let matches = match digital {
            true => Match::Digits(text.text.into()),
            false => Match::Regex(text.text.into()),
        };
        if let Err((problem, remedy)) = Matcher::new(&matches) {
            self.note(text, problem, remedy);
            return unknown();
        }
        matches
    }

    fn sources(&mut self, section: Section<'d>, config: &Config) -> Vec<Source> {
        let Some(entry) = section.get("from") else {
            return Vec::new();
        };
        let remedy = "name who may, or take the key out for anybody";
        self.empty_list(entry, remedy);
        let mut sources: Vec<Source> = Vec::new();
        for text in self.conditions(entry) {
            match source(text.text, config) {
                Ok(source) if sources.contains(&source) => {
                    let problem = format!("\"{source}\" is named twice");
                    self.note(text, problem, "take one out");
                }
                Ok(source) => sources.push(source),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        sources
    }

    fn methods(&mut self, section: Section<'d>) -> Vec<Box<str>> {
        let Some(entry) = section.get("methods") else {
            return Vec::new();
        };
        self.empty_list(entry, "name one, or take the key out for all three");
        let mut methods: Vec<Box<str>> = Vec::new();
        for text in self.conditions(entry) {
            if !["INVITE", "MESSAGE", "SUBSCRIBE"].contains(&text.text) {
                let problem = format!("\"{}\" is no method that routes are asked for", text.text);
                self.note(
                    text,
                    problem,
                    "write \"INVITE\", \"MESSAGE\" or \"SUBSCRIBE\"",
                );
            } else if methods.iter().any(|m| **m == *text.text) {
                let problem = format!("\"{}\" is named twice", text.text);
                self.note(text, problem, "take one out");
            } else {
                methods.push(text.text.into());
            }
        }
        methods
    }

    fn hours(&mut self, section: Section<'d>) -> Option<Hours> {
        let [days, hours, dates, not_dates] =
            ["days", "hours", "dates", "not_dates"].map(|key| section.get(key));
        let zone = section.get("timezone");
        let timezone = zone.and_then(|e| self.timezone(e)).unwrap_or_default();
        if let Some(zone) = zone
            && [days, hours, dates, not_dates].iter().all(Option::is_none)
        {
            let remedy = "add days or hours, or take it out";
            self.reader
                .note_entry(zone, "means nothing without days or hours", remedy);
        }
        let any = days.or(hours).or(dates).or(not_dates);
        any?;
        let mut when = Hours {
            days: [days.is_none(); 7],
            minutes: Vec::new(),
            timezone,
            dates: dates.map_or_else(Vec::new, |e| self.dates(e)),
            not_dates: not_dates.map_or_else(Vec::new, |e| self.dates(e)),
        };
        for text in days.map_or_else(Vec::new, |e| self.conditions(e)) {
            match parse_days(text.text) {
                Ok(named) => (0..7).for_each(|day| when.days[day] |= named[day]),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        for text in hours.map_or_else(Vec::new, |e| self.conditions(e)) {
            match parse_minutes(text.text) {
                Ok(interval) => when.minutes.push(interval),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        for (entry, remedy) in [
            (days, "write \"mon-fri\", or take the key out"),
            (hours, "write \"09:00-18:00\", or take the key out"),
            (dates, "write \"2026-12-25\", or take the key out"),
        ] {
            if let Some(entry) = entry {
                self.empty_list(entry, remedy);
            }
        }
        if let Some(entry) = not_dates
            && !when.dates.is_empty()
            && when.dates.iter().all(|d| when.not_dates.contains(d))
        {
            let remedy = "take one of them out";
            self.reader
                .note_entry(entry, "takes out all of dates", remedy);
        }
        Some(when)
    }

    fn dates(&mut self, entry: Entry<'d>) -> Vec<(i16, u8, u8)> {
        let mut dates = Vec::new();
        for (text, span) in self.reader.dates(entry) {
            let name = format!("{}.{}", entry.table, entry.key);
            match date(&text) {
                Some(date) if dates.contains(&date) => {
                    let problem = format!("\"{text}\" is named twice");
                    self.reader.note(span, name, problem, "take one out");
                }
                Some(date) => dates.push(date),
                None => {
                    let problem = format!("\"{text}\" is no date");
                    self.reader
                        .note(span, name, problem, "write one such as \"2026-12-25\"");
                }
            }
        }
        if dates.len() > CONDITIONS_MAX {
            let problem = format!("has {} dates", dates.len());
            let remedy = format!("write at most {CONDITIONS_MAX}");
            self.reader.note_entry(entry, problem, remedy);
            dates.truncate(CONDITIONS_MAX);
        }
        dates
    }

    /// What becomes of the number and of the caller.
    fn edits(&mut self, section: Section<'d>, route: &mut Route) {
        let matcher = Matcher::new(&route.matches).ok();
        if let Some(text) = section.get("prefix").and_then(|e| self.reader.text(e)) {
            match dialing::dialled(text.text) {
                Ok(()) => route.prefix = text.text.into(),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        if let Some(entry) = section.get("replace")
            && let Some(text) = self.reader.text(entry)
        {
            let groups = matcher.as_ref().map_or(0, Matcher::groups);
            match replacement(text.text, groups) {
                Ok(()) => route.replace = Some(text.text.into()),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
            if section.get("strip").or(section.get("prefix")).is_some() {
                let remedy = "keep replace, or strip and prefix";
                self.reader
                    .note_entry(entry, "stands beside strip or prefix", remedy);
            }
        }
        if let Some(entry) = section.get("strip")
            && let Some(Matcher::Digits(pattern)) = &matcher
        {
            let (least, _) = pattern.least();
            let strip = usize::from(route.strip);
            if strip > least || strip == least && route.prefix.is_empty() {
                let problem =
                    format!("takes {strip} digits off, and a number that matches may have {least}");
                let remedy = "take fewer off, or write a longer pattern";
                self.reader.note_entry(entry, problem, remedy);
            }
        }
        if let Some(text) = section.get("caller_id").and_then(|e| self.reader.text(e)) {
            match caller_id(text.text) {
                Ok(()) => route.caller_id = Some(text.text.into()),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
        if let Some(text) = section.get("caller_name").and_then(|e| self.reader.text(e)) {
            match dialing::caller_name(text.text) {
                Ok(()) => route.caller_name = Some(text.text.into()),
                Err((problem, remedy)) => self.note(text, problem, remedy),
            }
        }
    }

    fn refusal(&mut self, section: Section<'d>, route: &mut Route) {
        let entry = section.get("refuse");
        route.refuse = self.number(entry, 400..=699).map(|n| n as u16);
        if let Some(entry) = entry
            && matches!(route.refuse, Some(401 | 407))
        {
            let remedy = "write one such as 403: no challenge comes with it";
            self.reader.note_entry(entry, "asks for a password", remedy);
        }
        match (entry, section.get("to")) {
            (None, None) => {
                let remedy = "add to = [\"trunk:itsp\"], or refuse = 403";
                self.reader.missing(section, "to", remedy);
            }
            (Some(_), Some(to)) => {
                let remedy = "keep one of them";
                self.reader.note_entry(to, "stands beside refuse", remedy);
            }
            _ => {}
        }
    }

    fn steps(&mut self, section: Section<'d>, config: &Config) -> Vec<Vec<Target>> {
        let Some(entry) = section.get("to") else {
            return Vec::new();
        };
        self.empty_list(
            entry,
            "name a target such as \"trunk:itsp\", or write refuse = 403",
        );
        let mut steps: Vec<Vec<Target>> = Vec::new();
        let texts = self.reader.steps(entry);
        if texts.len() > STEPS_MAX || texts.iter().any(|step| step.len() > STEPS_MAX) {
            let problem = format!("has more than {STEPS_MAX} steps, or targets in one");
            self.reader
                .note_entry(entry, problem, format!("write at most {STEPS_MAX}"));
        }
        for texts in texts.into_iter().take(STEPS_MAX) {
            let mut step = Vec::new();
            for text in texts.into_iter().take(STEPS_MAX) {
                match target(text.text, config) {
                    Ok(target)
                        if step.contains(&target) || steps.iter().any(|s| s.contains(&target)) =>
                    {
                        let problem = format!("\"{target}\" is named twice");
                        self.note(text, problem, "take one out");
                    }
                    Ok(target) => step.push(target),
                    Err((problem, remedy)) => self.note(text, problem, remedy),
                }
            }
            if step.len() > 1 && step.iter().any(|t| matches!(t, Target::Number(_))) {
                let remedy = "give number: a step of its own, or name what it leads to";
                let problem = "has number: beside others that ring together";
                self.reader.note_entry(entry, problem, remedy);
            }
            if !step.is_empty() {
                steps.push(step);
            }
        }
        steps
    }

    fn next_on(&mut self, entry: Entry<'d>) -> Vec<FailureKind> {
        let mut kinds = Vec::new();
        for text in self.conditions(entry) {
            match failure(&text) {
                Some(kind) if kinds.contains(&kind) => {
                    let problem = format!("\"{kind}\" is named twice");
                    self.note(text, problem, "take one out");
                }
                Some(kind) => kinds.push(kind),
                None => {
                    let problem = format!("\"{}\" is no failure", text.text);
                    let remedy = "write \"timeout\", a status such as \"404\", or a class, \"5xx\"";
                    self.note(text, problem, remedy);
                }
            }
        }
        kinds
    }
}

/// `timeout`, `404`, `5xx`. 401 and 407 are answered, and 1xx to 3xx are no failures.
fn failure(text: &Text<'_>) -> Option<FailureKind> {
    if text.text == "timeout" {
        return Some(FailureKind::Timeout);
    }
    if let Some(class) = text.text.strip_suffix("xx") {
        let class = class.parse().ok().filter(|c| (4..=6).contains(c));
        return class.map(FailureKind::Class);
    }
    let status = text.text.parse::<u16>().ok();
    let fails = |s: &u16| (400..=699).contains(s) && ![401, 407].contains(s);
    status.filter(fails).map(FailureKind::Status)
}

/// One of some words.
fn word<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, Wrong> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let remedy = match nearest(text, names.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write \"{}\"", names.join("\" or \"")),
    };
    Err((format!("\"{text}\" is unknown"), remedy))
}

/// A name that must be one of those there are.
pub(super) fn among<'n>(
    what: &str,
    name: &str,
    mut known: impl Iterator<Item = &'n str> + Clone,
) -> Result<Box<str>, Wrong> {
    if known.clone().any(|k| k == name) {
        return Ok(name.into());
    }
    let remedy = match nearest(name, known.clone()) {
        Some(near) => format!("did you mean \"{what}:{near}\"?"),
        None if known.next().is_some() => format!("name one of [[{what}]], or add it there"),
        None => format!("add [[{what}]] with name = \"{name}\""),
    };
    Err((format!("there is no {what} \"{name}\""), remedy))
}

fn group(name: &str, config: &Config) -> Result<Box<str>, Wrong> {
    among("group", name, config.groups.iter().map(|g| &*g.name))
}

fn trunk(name: &str, config: &Config) -> Result<Box<str>, Wrong> {
    among("trunk", name, config.trunks.iter().map(|t| &*t.name))
}

fn pool(name: &str, config: &Config) -> Result<Box<str>, Wrong> {
    among("pool", name, config.pools.iter().map(|p| &*p.name))
}

fn source(text: &str, config: &Config) -> Result<Source, Wrong> {
    let kinds = ["user", "group", "trunk", "pool", "address"];
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    Ok(match kind {
        "user" => Source::User(dialing::user(name, &config.node, true)?.into()),
        "group" => Source::Group(group(name, config)?),
        "trunk" => Source::Trunk(trunk(name, config)?),
        "pool" => Source::Pool(pool(name, config)?),
        "address" => match IpNet::parse(name) {
            Ok(net) if net.is_everything() => {
                let remedy = "name the addresses of your peers only";
                return Err((format!("\"{net}\" is everybody"), remedy.into()));
            }
            Ok(net) => Source::Address(net),
            Err(problem) => {
                let remedy = "write a block such as \"address:192.0.2.0/24\"";
                return Err((problem, remedy.into()));
            }
        },
        other => return Err(unknown_kind(text, other, &kinds, "source")),
    })
}

fn service(name: &str) -> Result<Service, Wrong> {
    Service::named(name).ok_or_else(|| {
        let names: Vec<&str> = Service::ALL.iter().map(|s| s.name()).collect();
        let remedy = format!("the services are {}", names.join(", "));
        (format!("\"{name}\" is no service"), remedy)
    })
}

fn target(text: &str, config: &Config) -> Result<Target, Wrong> {
    let kinds = [
        "user",
        "group",
        "conference",
        "trunk",
        "pool",
        "service",
        "menu",
        "queue",
        "e1",
        "number",
        "sip",
        "sips",
    ];
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    let named = |what: &str| match is_name(name) {
        true => Ok(Box::from(name)),
        false => {
            let remedy = format!("write one such as \"{kind}:{what}\"");
            Err((format!("\"{name}\" is no name"), remedy))
        }
    };
    Ok(match kind {
        "user" => Target::User(dialing::user(name, &config.node, true)?.into()),
        "group" => Target::Group(group(name, config)?),
        "conference" => {
            let rooms = config.conferences.iter().map(|room| &*room.name);
            Target::Conference(among("conference", name, rooms)?)
        }
        "trunk" => Target::Trunk(trunk(name, config)?),
        "pool" => Target::Pool(pool(name, config)?),
        "service" => Target::Service(service(name)?),
        "menu" => {
            let names = config.menus.iter().map(|m| &*m.name);
            Target::Menu(among("menu", name, names)?)
        }
        "queue" => {
            let names = config.queues.iter().map(|q| &*q.name);
            Target::Queue(among("queue", name, names)?)
        }
        "e1" => Target::Line(named("pstn")?),
        "number" if name == "*" => {
            let problem = "\"number:*\" is the number itself, which has no other route";
            let remedy = "write \"user:*\", or a number such as \"number:200\"";
            return Err((problem.into(), remedy.into()));
        }
        "number" => {
            dialing::dialled(name)?;
            Target::Number(name.into())
        }
        "sip" | "sips" => {
            dialing::peer_uri(text, true)?;
            Target::Uri(text.into())
        }
        other => return Err(unknown_kind(text, other, &kinds, "target")),
    })
}

fn unknown_kind(text: &str, kind: &str, kinds: &[&str], what: &str) -> Wrong {
    let remedy = match nearest(kind, kinds.iter().copied()) {
        Some(near) if text.contains(':') => {
            let rest = text.get(kind.len()..).unwrap_or_default();
            format!("did you mean \"{near}{rest}\"?")
        }
        _ => format!("begin it with {}:", kinds.join(":, ")),
    };
    (format!("\"{text}\" is no {what}"), remedy)
}

/// The days of the week, Monday first.
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// `mon`, `mon-fri`, `sat-mon`, several with commas between.
pub(super) fn parse_days(text: &str) -> Result<[bool; 7], Wrong> {
    let mut days = [false; 7];
    for part in text.split(',').map(str::trim) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let find = |name: &str| {
            DAYS.iter()
                .position(|d| d.eq_ignore_ascii_case(name.trim()))
        };
        let (Some(from), Some(to)) = (find(from), find(to)) else {
            let remedy = "write mon, tue, wed, thu, fri, sat, sun, or \"mon-fri\"";
            return Err((format!("\"{part}\" is no day of the week"), remedy.into()));
        };
        let length = (to + 7 - from) % 7;
        (0..=length).for_each(|n| days[(from + n) % 7] = true);
    }
    Ok(days)
}

/// `09:00-18:00`, `22:00-06:00`, `00:00-24:00`.
pub(super) fn parse_minutes(text: &str) -> Result<(u16, u16), Wrong> {
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let two = |t: &str| match t.len() {
            1 | 2 if t.bytes().all(|b| b.is_ascii_digit()) => t.parse::<u16>().ok(),
            _ => None,
        };
        let (hour, minute) = (two(hour)?, two(minute)?);
        (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
    };
    let interval = text
        .split_once('-')
        .and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
    match interval {
        Some((from, _)) if from == 24 * 60 => {
            Err((format!("\"{text}\" begins at 24:00"), "write 00:00".into()))
        }
        Some((from, to)) if from == to => {
            let remedy = "write \"00:00-24:00\" for the whole day";
            Err((format!("\"{text}\" ends where it begins"), remedy.into()))
        }
        Some(interval) => Ok(interval),
        None => {
            let remedy = "write one such as \"09:00-18:00\"";
            Err((format!("\"{text}\" is no interval of hours"), remedy.into()))
        }
    }
}

/// `2026-12-25`, of the calendar.
pub(super) fn date(text: &str) -> Option<(i16, u8, u8)> {
    let mut parts = text.splitn(3, '-');
    let mut next = |length: usize| {
        let part = parts.next()?;
        let digits = part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i16>().ok().filter(|_| digits)
    };
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    let date = jiff::civil::Date::new(year, month as i8, day as i8).ok()?;
    Some((date.year(), date.month() as u8, date.day() as u8))
}

/// A number instead, with `$1` to `$9`.
fn replacement(text: &str, groups: usize) -> Result<(), Wrong> {
    let mut chars = text.chars();
    let mut rest = String::new();
    while let Some(c) = chars.next() {
        if c != '$' {
            rest.push(c);
            continue;
        }
        let number = chars.next().and_then(|c| c.to_digit(10)).filter(|n| *n > 0);
        match number {
            Some(n) if n as usize <= groups => rest.push('0'),
            Some(n) => {
                let problem = format!("names ${n}, and there are {groups} pairs of parentheses");
                let remedy = "write a regex with as many, or a number without $";
                return Err((problem, remedy.into()));
            }
            None => {
                let remedy = "write $1 to $9, for what parentheses of the regex matched";
                return Err((format!("\"{text}\" has a $ without number"), remedy.into()));
            }
        }
    }
    dialing::dialled(&rest).map_err(|(_, remedy)| (format!("\"{text}\" is no number"), remedy))
}

/// The caller's number instead, with `$` for its own one.
fn caller_id(text: &str) -> Result<(), Wrong> {
    let own = text.matches('$').count();
    let rest = text.replacen('$', "", 1);
    let valid = rest.len() <= 32 && rest.chars().all(|c| is_dialled(c) && c != '$');
    if !text.is_empty() && own <= 1 && valid {
        return Ok(());
    }
    let remedy = "write one such as \"+34915550100\", or \"+34$\" with $ for the caller's own";
    Err((format!("\"{text}\" is no caller's number"), remedy.into()))
}

impl Default for Route {
    fn default() -> Self {
        Self {
            name: "".into(),
            line: Line::default(),
            matches: Match::Digits("!".into()),
            from: Vec::new(),
            methods: Vec::new(),
            hours: None,
            strip: 0,
            prefix: "".into(),
            replace: None,
            caller_id: None,
            caller_name: None,
            anonymous: false,
            add_headers: Vec::new(),
            remove_headers: Vec::new(),
            to: Vec::new(),
            ring: Duration::from_secs(25),
            next_on: super::NEXT_ON.to_vec(),
            redirect: false,
            record: false,
            allow: Vec::new(),
            refuse: None,
        }
    }
}
