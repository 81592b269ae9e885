//! One `[[route]]`, made ready: its conditions, and what it does to number and caller.

use super::time::{Clocks, When, Zones};
use super::{CallerEdit, Query, Source};
use crate::config::{self, Class, Config, FailureKind, IpNet, Match, Matcher, Route};
use crate::wire::sip::Method;
use std::sync::Arc;
use std::time::Duration;

/// Why a route that takes the number is not the one, in the order in which it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unmet {
    Pattern,
    Method,
    Source,
    Time,
    /// An emergency number passes by a route that refuses.
    Emergency,
}

/// Who may use a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sources {
    /// Anybody.
    All,
    /// Our users and pools.
    Ours,
    /// Any of these.
    Some(Vec<Who>),
}

/// One source; a group by its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Who {
    User(Box<str>),
    AnyUser,
    Group(u32),
    Trunk(Box<str>),
    Pool(Box<str>),
    Address(IpNet),
}

/// Headers to add: names and values.
type Headers = Arc<[(Box<str>, Box<str>)]>;

/// Lists that most routes have alike: kept once, so that they are at hand when a call comes.
#[derive(Debug, Default)]
pub(super) struct Shared {
    add_headers: Vec<Headers>,
    remove_headers: Vec<Arc<[Box<str>]>>,
    next_on: Vec<Arc<[FailureKind]>>,
    to: Vec<Arc<[Vec<config::Target>]>>,
}

/// Lists of one kind that are remembered; the others are kept for each route.
const SHARED_MAX: usize = 64;

impl Shared {
    fn add_headers(&mut self, list: &[(Box<str>, Box<str>)]) -> Headers {
        share(&mut self.add_headers, list)
    }

    fn remove_headers(&mut self, list: &[Box<str>]) -> Arc<[Box<str>]> {
        share(&mut self.remove_headers, list)
    }

    fn to(&mut self, list: &[Vec<config::Target>]) -> Arc<[Vec<config::Target>]> {
        share(&mut self.to, list)
    }

    fn next_on(&mut self, list: &[FailureKind]) -> Arc<[FailureKind]> {
        share(&mut self.next_on, list)
    }
}

fn share<T: Clone + PartialEq>(known: &mut Vec<Arc<[T]>>, list: &[T]) -> Arc<[T]> {
    if let Some(same) = known.iter().find(|k| ***k == *list) {
        return same.clone();
    }
    let new: Arc<[T]> = list.into();
    if known.len() < SHARED_MAX {
        known.push(new.clone());
    }
    new
}

/// A route, made ready.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) line: usize,
    pub(super) matches: Match,
    pub(super) matcher: Matcher,
    pub(super) sources: Sources,
    methods: u8,
    pub(super) when: Option<When>,
    strip: usize,
    prefix: Box<str>,
    replace: Option<Box<str>>,
    caller_id: Option<Box<str>>,
    caller_name: Option<Box<str>>,
    anonymous: bool,
    pub(super) add_headers: Headers,
    pub(super) remove_headers: Arc<[Box<str>]>,
    pub(super) to: Arc<[Vec<config::Target>]>,
    pub(super) ring: Duration,
    pub(super) next_on: Arc<[FailureKind]>,
    pub(super) redirect: bool,
    pub(super) record: bool,
    pub(super) outside: bool,
    allow: [Option<Class>; 2],
    pub(super) refuse: Option<u16>,
}

impl Rule {
    /// Of a route; none of one that no file can hold.
    pub(super) fn new(
        route: &Route,
        config: &Config,
        zones: &mut Zones,
        shared: &mut Shared,
    ) -> Option<Rule> {
        let when = |hours| When::new(hours, &config.numbers.timezone, zones);
        let source = |source: &config::Source| match source {
            config::Source::User(name) if **name == *"*" => Some(Who::AnyUser),
            config::Source::User(name) => Some(Who::User(whole_user(name, config))),
            config::Source::Group(name) => {
                let place = config.groups.iter().position(|g| g.name == *name);
                place.map(|at| Who::Group(at as u32))
            }
            config::Source::Trunk(name) => Some(Who::Trunk(name.clone())),
            config::Source::Pool(name) => Some(Who::Pool(name.clone())),
            config::Source::Address(net) => Some(Who::Address(*net)),
        };
        let outside = route.leads_outside();
        let sources = match (route.from.is_empty(), outside) {
            (true, false) => Sources::All,
            (true, true) => Sources::Ours,
            (false, _) => Sources::Some(route.from.iter().filter_map(source).collect()),
        };
        let named = route.methods.iter().map(|m| bit_of_name(m));
        let methods = named.fold(0, |all, bit| all | bit);
        Some(Rule {
            name: (*route.name).into(),
            line: route.line.0,
            matches: route.matches.clone(),
            matcher: Matcher::new(&route.matches).ok()?,
            sources,
            methods: if methods == 0 { u8::MAX } else { methods },
            when: route.hours.as_ref().map(when),
            strip: usize::from(route.strip),
            prefix: route.prefix.clone(),
            replace: route.replace.clone(),
            caller_id: route.caller_id.clone(),
            caller_name: route.caller_name.clone(),
            anonymous: route.anonymous,
            add_headers: shared.add_headers(&route.add_headers),
            remove_headers: shared.remove_headers(&route.remove_headers),
            to: shared.to(&route.to),
            ring: route.ring,
            next_on: shared.next_on(&route.next_on),
            redirect: route.redirect,
            record: route.record,
            outside,
            allow: [Class::International, Class::Premium]
                .map(|class| Some(class).filter(|c| route.allow.contains(c))),
            refuse: route.refuse,
        })
    }

    /// Whether it is for this number and call; `groups` are those of the caller.
    pub(super) fn check(
        &self,
        query: &Query<'_>,
        number: &str,
        emergency: bool,
        groups: &[u32],
        clocks: &mut Clocks<'_>,
    ) -> Result<(), Unmet> {
        if !self.matcher.matches(number.as_bytes()) {
            return Err(Unmet::Pattern);
        }
        self.check_found(query, number, emergency, groups, clocks)
    }

    /// The same of a rule that the index found: its digit pattern is known to match, a regular
    /// expression is known to begin as the number does.
    pub(super) fn check_found(
        &self,
        query: &Query<'_>,
        number: &str,
        emergency: bool,
        groups: &[u32],
        clocks: &mut Clocks<'_>,
    ) -> Result<(), Unmet> {
        if let Matcher::Regex(regex, _) = &self.matcher
            && !regex.is_match(number.as_bytes())
        {
            return Err(Unmet::Pattern);
        }
        if self.methods & bit(&query.method) == 0 {
            return Err(Unmet::Method);
        }
        if !self.sources.hold(query, groups) {
            return Err(Unmet::Source);
        }
        if let Some(when) = &self.when
            && !when.holds(clocks.of(when))
        {
            return Err(Unmet::Time);
        }
        if emergency && self.refuse.is_some() {
            return Err(Unmet::Emergency);
        }
        Ok(())
    }

    /// The number as it goes on.
    pub(super) fn edit(&self, number: &str) -> String {
        if let Some(replacement) = &self.replace {
            return self.replaced(replacement, number);
        }
        let rest = number.chars().skip(self.strip);
        let mut edited = String::from(&*self.prefix);
        edited.extend(rest);
        edited
    }

    fn replaced(&self, replacement: &str, number: &str) -> String {
        let captures = match &self.matcher {
            Matcher::Regex(regex, _) => regex.captures(number.as_bytes()),
            Matcher::Digits(_) => None,
        };
        let mut edited = String::new();
        let mut chars = replacement.chars();
        while let Some(c) = chars.next() {
            let group = match c {
                '$' => chars.next().and_then(|d| d.to_digit(10)),
                c => {
                    edited.push(c);
                    None
                }
            };
            let captures = captures.as_ref();
            let text = group.and_then(|g| captures?.get(g as usize));
            edited.push_str(&String::from_utf8_lossy(text.map_or(b"", |m| m.as_bytes())));
        }
        edited
    }

    /// Whether numbers of this class may leave by it.
    pub(super) fn allows(&self, class: Class) -> bool {
        self.allow.contains(&Some(class))
    }

    /// Whether what was dialled tells something of what is called in the end.
    pub(super) fn keeps_digits(&self) -> bool {
        self.replace.as_ref().is_none_or(|text| text.contains('$'))
    }

    /// What becomes of the caller.
    pub(super) fn caller(&self, own: &str) -> CallerEdit {
        let number = self.caller_id.as_ref().and_then(|text| {
            let wants_own = text.contains('$');
            (!wants_own || !own.is_empty()).then(|| text.replacen('$', own, 1).into())
        });
        CallerEdit {
            number,
            name: self.caller_name.clone(),
            anonymous: self.anonymous,
        }
    }
}

impl Sources {
    fn hold(&self, query: &Query<'_>, groups: &[u32]) -> bool {
        match self {
            Sources::All => true,
            Sources::Ours => matches!(
                query.source,
                Source::User(_) | Source::Pool(_) | Source::Operator
            ),
            Sources::Some(list) => list.iter().any(|one| one.holds(query, groups)),
        }
    }
}

impl Who {
    fn holds(&self, query: &Query<'_>, groups: &[u32]) -> bool {
        match (self, query.source) {
            (Who::User(name), Source::User(user)) => **name == *user,
            (Who::AnyUser, Source::User(_)) => true,
            (Who::Group(at), Source::User(_)) => groups.contains(at),
            (Who::Trunk(name), Source::Trunk(trunk)) => **name == *trunk,
            (Who::Pool(name), Source::Pool(pool)) => **name == *pool,
            (Who::Address(net), _) => net.contains(query.address),
            (Who::User(_), _) | (Who::AnyUser, _) | (Who::Group(_), _) => false,
            (Who::Trunk(_), _) | (Who::Pool(_), _) => false,
        }
    }
}

/// A user as `name@domain`.
pub(super) fn whole_user(name: &str, config: &Config) -> Box<str> {
    whole_user_in(name, config.node.default_domain())
}

/// A user as `name@domain`, of this domain where it names none.
pub(super) fn whole_user_in(name: &str, domain: &str) -> Box<str> {
    match name.contains('@') {
        true => name.into(),
        false => format!("{name}@{domain}").into(),
    }
}

/// The methods that routes are asked for; zero for the others.
pub(super) fn bit(method: &Method<'_>) -> u8 {
    match method {
        Method::Invite => 1,
        Method::Message => 2,
        Method::Subscribe => 4,
        Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Register
        | Method::Options
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Notify
        | Method::Refer
        | Method::Publish
        | Method::Other(_) => 0,
    }
}

fn bit_of_name(name: &str) -> u8 {
    Method::parse(name.as_bytes()).map_or(0, |m| bit(&m))
}
