//! The canonical text of `[numbers]`, `[[route]]`, `[[trunk]]`, `[[pool]]` and `[[group]]`, and the
//! words for what they are made of. Of lists and choices that a route does not make, nothing is
//! written.

use super::parse_route::DAYS;
use super::print::{list, plain, quoted, text};
use super::print_menu::{disa, menu, queue};
use super::{
    Algorithm, Class, Config, FailureKind, Group, Hours, Identity, Match, NumberFormat, Numbers,
    Pool, QueueStrategy, Route, Service, Services, Source, Strategy, Target, Transfer, Trunk,
};
use super::{conference, page, parking, recording};
use std::fmt::{self, Display, Formatter};

macro_rules! words {
    ($kind:ident { $($word:literal = $value:ident,)* }) => {
        impl $kind {
            /// The words of the file.
            pub(super) const WORDS: &'static [(&'static str, $kind)] =
                &[$(($word, $kind::$value),)*];

            /// The word in the file.
            pub const fn as_str(self) -> &'static str {
                match self { $($kind::$value => $word,)* }
            }
        }

        impl Display for $kind {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(Algorithm {
    "call-id" = CallId,
    "from-uri" = FromUri,
    "to-uri" = ToUri,
    "request-uri" = RequestUri,
    "round-robin" = RoundRobin,
    "weight" = Weight,
    "fewest-calls" = FewestCalls,
});
words!(Class {
    "international" = International,
    "premium" = Premium,
});
words!(Transfer {
    "refer" = Refer,
    "bridge" = Bridge,
});
words!(Identity {
    "from" = From,
    "asserted" = Asserted,
    "remote-party" = RemoteParty,
    "preferred" = Preferred,
});
words!(NumberFormat {
    "as-is" = AsIs,
    "plus" = Plus,
    "digits" = Digits,
    "national" = National,
});
words!(QueueStrategy {
    "ring-all" = RingAll,
    "longest-idle" = LongestIdle,
    "round-robin" = RoundRobin,
    "fewest-calls" = FewestCalls,
});
words!(Strategy {
    "all" = All,
    "ordered" = Ordered,
    "round-robin" = RoundRobin,
    "fewest-calls" = FewestCalls,
});

impl Algorithm {
    /// The numbers that the dispatcher module of Kamailio knows them by.
    pub(super) const NUMBERS: &'static [(u64, Algorithm)] = &[
        (0, Algorithm::CallId),
        (1, Algorithm::FromUri),
        (2, Algorithm::ToUri),
        (3, Algorithm::RequestUri),
        (4, Algorithm::RoundRobin),
        (9, Algorithm::Weight),
        (10, Algorithm::FewestCalls),
    ];
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Source::User(name) => write!(f, "user:{name}"),
            Source::Group(name) => write!(f, "group:{name}"),
            Source::Trunk(name) => write!(f, "trunk:{name}"),
            Source::Pool(name) => write!(f, "pool:{name}"),
            Source::Address(net) => write!(f, "address:{net}"),
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Target::User(name) => write!(f, "user:{name}"),
            Target::Group(name) => write!(f, "group:{name}"),
            Target::Trunk(name) => write!(f, "trunk:{name}"),
            Target::Pool(name) => write!(f, "pool:{name}"),
            Target::Conference(name) => write!(f, "conference:{name}"),
            Target::Service(service) => write!(f, "service:{}", service.name()),
            Target::Menu(name) => write!(f, "menu:{name}"),
            Target::Queue(name) => write!(f, "queue:{name}"),
            Target::Line(name) => write!(f, "e1:{name}"),
            Target::Number(number) => write!(f, "number:{number}"),
            Target::Uri(uri) => f.write_str(uri),
        }
    }
}

impl Display for FailureKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            FailureKind::Timeout => f.write_str("timeout"),
            FailureKind::Status(status) => write!(f, "{status}"),
            FailureKind::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Match::Digits(text) => f.write_str(text),
            Match::Regex(text) => write!(f, "regex {text}"),
        }
    }
}

/// All of them, behind the other tables.
pub(super) fn dialing(f: &mut Formatter<'_>, config: &Config) -> fmt::Result {
    numbers(f, &config.numbers)?;
    services(f, &config.services)?;
    parking::print(f, &config.parking)?;
    recording::print(f, &config.recording)?;
    config.trunks.iter().try_for_each(|t| trunk(f, t))?;
    config.pools.iter().try_for_each(|p| pool(f, p))?;
    config.groups.iter().try_for_each(|g| group(f, g))?;
    config
        .conferences
        .iter()
        .try_for_each(|room| conference::print(f, room))?;
    config.pages.iter().try_for_each(|p| page::print(f, p))?;
    disa(f, &config.disa)?;
    config.menus.iter().try_for_each(|m| menu(f, m))?;
    config.queues.iter().try_for_each(|q| queue(f, q))?;
    config.routes.iter().try_for_each(|r| route(f, r))
}

fn services(f: &mut Formatter<'_>, services: &Services) -> fmt::Result {
    writeln!(f, "\n[services]")?;
    plain(f, "announcements", services.announcements)?;
    plain(f, "transcoding", services.transcoding)?;
    if let Some(prompts) = &services.prompts {
        text(f, "prompts", &prompts.display())?;
    }
    if let Some(plugin) = &services.g729_plugin {
        text(f, "g729_plugin", &plugin.display())?;
    }
    let mut all = Service::ALL.iter();
    all.try_for_each(|s| text(f, s.name(), &services.code(*s)))
}

fn numbers(f: &mut Formatter<'_>, n: &Numbers) -> fmt::Result {
    writeln!(f, "\n[numbers]")?;
    if !n.country.is_empty() {
        text(f, "country", &n.country)?;
        text(f, "area", &n.area)?;
        text(f, "national", &n.national)?;
        digits(f, "national_digits", n.national_digits)?;
        digits(f, "local_digits", n.local_digits)?;
    }
    text(f, "international", &n.international)?;
    list(f, "premium", &n.premium)?;
    list(f, "emergency", &n.emergency)?;
    let zone = Some(&*n.timezone).filter(|zone| !zone.is_empty());
    optional(f, "timezone", zone)
}

fn digits(f: &mut Formatter<'_>, key: &str, (least, most): (u8, u8)) -> fmt::Result {
    match least == most {
        true => plain(f, key, least),
        false => text(f, key, &format!("{least}-{most}")),
    }
}

fn trunk(f: &mut Formatter<'_>, t: &Trunk) -> fmt::Result {
    writeln!(f, "\n[[trunk]]")?;
    text(f, "name", &t.name)?;
    text(f, "uri", &t.uri)?;
    if let Some(proxy) = &t.outbound_proxy {
        text(f, "outbound_proxy", proxy)?;
    }
    optional(f, "username", t.username.as_deref())?;
    optional(f, "auth_username", t.auth_username.as_deref())?;
    if let Some(file) = &t.password_file {
        text(f, "password_file", &file.display())?;
    }
    optional(f, "domain", t.domain.as_deref())?;
    plain(f, "register", t.register)?;
    plain(f, "expires_s", t.expires_s)?;
    list(f, "addresses", &t.addresses)?;
    optional(f, "certificate_name", t.certificate_name.as_deref())?;
    if let Some(sound) = &t.ring_back {
        text(f, "ringback", sound)?;
    }
    text(f, "transfer", &t.transfer)?;
    plain(f, "calls_max", t.calls_max)?;
    plain(f, "calls_per_second", t.calls_per_second)?;
    plain(f, "probe_s", t.probe_s)?;
    text(f, "numbers", &t.numbers)?;
    text(f, "identity", &t.identity)?;
    plain(f, "hide_topology", t.hide_topology)?;
    headers(f, &t.add_headers, &t.remove_headers)
}

fn pool(f: &mut Formatter<'_>, p: &Pool) -> fmt::Result {
    writeln!(f, "\n[[pool]]")?;
    text(f, "name", &p.name)?;
    text(f, "algorithm", &p.algorithm)?;
    let member = |m: &super::Member| {
        let calls = match m.calls_max {
            0 => String::new(),
            n => format!(";calls={n}"),
        };
        let weight = match m.weight {
            1 => String::new(),
            n => format!(";weight={n}"),
        };
        format!("{}{weight}{calls}", m.uri)
    };
    let members: Vec<String> = p.members.iter().map(member).collect();
    list(f, "members", &members)?;
    plain(f, "probe_s", p.probe_s)?;
    plain(f, "hide_topology", p.hide_topology)?;
    plain(f, "trusted", p.trusted)
}

fn group(f: &mut Formatter<'_>, g: &Group) -> fmt::Result {
    writeln!(f, "\n[[group]]")?;
    text(f, "name", &g.name)?;
    optional(f, "number", g.number.as_deref())?;
    list(f, "members", &g.members)?;
    text(f, "strategy", &g.strategy)?;
    plain(f, "ring_s", g.ring.as_secs())
}

fn route(f: &mut Formatter<'_>, r: &Route) -> fmt::Result {
    writeln!(f, "\n[[route]]")?;
    text(f, "name", &r.name)?;
    match &r.matches {
        Match::Digits(pattern) => text(f, "match", pattern)?,
        Match::Regex(regex) => text(f, "regex", regex)?,
    }
    some(f, "from", &r.from)?;
    some(f, "methods", &r.methods)?;
    if let Some(when) = &r.hours {
        hours(f, when)?;
    }
    match &r.replace {
        Some(number) => text(f, "replace", number)?,
        None if r.strip > 0 || !r.prefix.is_empty() => {
            plain(f, "strip", r.strip)?;
            optional(f, "prefix", Some(&*r.prefix).filter(|p| !p.is_empty()))?;
        }
        None => {}
    }
    optional(f, "caller_id", r.caller_id.as_deref())?;
    optional(f, "caller_name", r.caller_name.as_deref())?;
    plain(f, "anonymous", r.anonymous)?;
    headers(f, &r.add_headers, &r.remove_headers)?;
    if let Some(status) = r.refuse {
        plain(f, "refuse", status)?;
    } else {
        let step = |targets: &Vec<Target>| {
            let texts: Vec<String> = targets.iter().map(|t| quoted(&t.to_string())).collect();
            match texts.len() {
                1 => texts.concat(),
                _ => format!("[{}]", texts.join(", ")),
            }
        };
        let steps: Vec<String> = r.to.iter().map(step).collect();
        writeln!(f, "to = [{}]", steps.join(", "))?;
    }
    plain(f, "ring_s", r.ring.as_secs())?;
    list(f, "next_on", &r.next_on)?;
    plain(f, "redirect", r.redirect)?;
    plain(f, "record", r.record)?;
    list(f, "allow", &r.allow)
}

/// `09:00-14:00`
pub(super) fn interval((from, to): &(u16, u16)) -> String {
    let clock = |m: &u16| format!("{:02}:{:02}", m / 60, m % 60);
    format!("{}-{}", clock(from), clock(to))
}

fn hours(f: &mut Formatter<'_>, when: &Hours) -> fmt::Result {
    let named = DAYS.iter().zip(when.days).filter(|(_, on)| *on);
    let days: Vec<&str> = named.map(|(day, _)| *day).collect();
    list(f, "days", &days)?;
    let intervals: Vec<String> = when.minutes.iter().map(interval).collect();
    some(f, "hours", &intervals)?;
    optional(
        f,
        "timezone",
        Some(&*when.timezone).filter(|z| !z.is_empty()),
    )?;
    let date = |d: &(i16, u8, u8)| format!("{:04}-{:02}-{:02}", d.0, d.1, d.2);
    some(f, "dates", &when.dates.iter().map(date).collect::<Vec<_>>())?;
    some(
        f,
        "not_dates",
        &when.not_dates.iter().map(date).collect::<Vec<_>>(),
    )
}

fn headers(
    f: &mut Formatter<'_>,
    add: &[(Box<str>, Box<str>)],
    remove: &[Box<str>],
) -> fmt::Result {
    if !add.is_empty() {
        // A name may hold characters that a bare key may not.
        let pair =
            |(name, value): &(Box<str>, Box<str>)| format!("{} = {}", quoted(name), quoted(value));
        let pairs: Vec<String> = add.iter().map(pair).collect();
        writeln!(f, "add_headers = {{ {} }}", pairs.join(", "))?;
    }
    some(f, "remove_headers", remove)
}

pub(super) fn optional(f: &mut Formatter<'_>, key: &str, value: Option<&str>) -> fmt::Result {
    value.map_or(Ok(()), |value| text(f, key, &value))
}

/// A list, if it has entries: an empty one would be refused or means the same as none.
pub(super) fn some(f: &mut Formatter<'_>, key: &str, values: &[impl Display]) -> fmt::Result {
    match values.is_empty() {
        true => Ok(()),
        false => list(f, key, values),
    }
}
