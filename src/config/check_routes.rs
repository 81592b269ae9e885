//! What is wrong with routes as a whole: one that never matches, since an earlier one takes all
//! that it would; numbers that lead in a circle; a group's number that routes take. Says only what
//! is sure: whether several routes together take all of another is not asked.

use super::reader::{Reader, Section};
use super::{Config, Index, Match, Matcher, Pattern, Route, Source, Target};
use std::collections::HashMap;
use std::ops::Range;

/// Most mistakes of one kind that are told.
const TOLD_MAX: usize = 100;

/// Most earlier routes that are looked at for one that takes all of another: where thousands have
/// one pattern and differ by source, the rest is not asked.
const TAKERS_MAX: usize = 1000;

type Span = Option<Range<usize>>;

/// A mistake: where, which key, the problem, the remedy.
pub(super) type Found = ((Span, &'static str), String, String);

/// Where the routes' keys stand.
#[derive(Default)]
pub(super) struct Places(Vec<Place>);

#[derive(Default)]
struct Place {
    key: &'static str,
    matches: Span,
    to: Span,
}

impl Places {
    /// The next route.
    pub(super) fn add(&mut self, reader: &Reader<'_>, section: Section<'_>) {
        let regex = section.get("regex");
        let span = |entry| reader.span(entry);
        self.0.push(Place {
            key: regex.map_or("route.match", |_| "route.regex"),
            matches: section.get("match").or(regex).and_then(span),
            to: section.get("to").and_then(span),
        });
    }

    fn matches(&self, route: usize) -> (Span, &'static str) {
        let place = self.0.get(route);
        place.map_or((None, "route"), |p| (p.matches.clone(), p.key))
    }

    fn to(&self, route: usize) -> (Span, &'static str) {
        let place = self.0.get(route);
        (place.and_then(|p| p.to.clone()), "route.to")
    }
}

/// The routes so far, ready to be asked.
struct Known<'c> {
    routes: &'c [Route],
    config: &'c Config,
    matchers: Vec<Option<Matcher>>,
    index: Index,
    /// By the text of the regex.
    regexes: HashMap<&'c str, Vec<usize>>,
}

/// Looks at all routes. Also tells the emergency numbers that none of them takes.
pub(super) fn check<'c>(
    routes: &'c [Route],
    config: &'c Config,
    places: &Places,
) -> (Vec<Found>, Vec<&'c str>) {
    let mut known = Known {
        routes,
        config,
        matchers: routes
            .iter()
            .map(|r| Matcher::new(&r.matches).ok())
            .collect(),
        index: Index::default(),
        regexes: HashMap::new(),
    };
    let mut found = Vec::new();
    for at in 0..routes.len() {
        if let Some(earlier) = known.taken_by(at)
            && found.len() < TOLD_MAX
        {
            let problem = format!("never matches: {} takes all of it", known.named(earlier));
            let remedy = "put it before that one, narrow that one, or take it out";
            found.push((places.matches(at), problem, remedy.into()));
        }
        known.add(at);
    }
    found.extend(known.circles(places));
    found.extend(known.taken_groups(places));
    (found, known.lead_nowhere())
}

impl<'c> Known<'c> {
    fn named(&self, at: usize) -> String {
        let (name, line) = self
            .routes
            .get(at)
            .map_or(("", 0), |r| (&*r.name, r.line.0));
        format!("route \"{name}\" on line {line}")
    }

    fn add(&mut self, at: usize) {
        let Some(Some(matcher)) = self.matchers.get(at) else {
            return;
        };
        for pattern in matcher.patterns() {
            self.index.insert(at as u32, pattern.clone());
        }
        if let Some(route) = self.routes.get(at)
            && let Match::Regex(text) = &route.matches
        {
            self.regexes.entry(text).or_default().push(at);
        }
    }

    /// The first of the routes added that takes everything that route `at` would.
    fn taken_by(&self, at: usize) -> Option<usize> {
        let route = self.routes.get(at)?;
        let matcher = self.matchers.get(at)?.as_ref()?;
        let mut takers: Option<Vec<usize>> = None;
        for pattern in matcher.patterns() {
            let takes = self.taking(pattern);
            takers = Some(match takers {
                None => takes,
                Some(before) => before.into_iter().filter(|t| takes.contains(t)).collect(),
            });
        }
        let mut takers = takers.unwrap_or_default();
        if let Match::Regex(text) = &route.matches {
            takers.extend(self.regexes.get(&**text).into_iter().flatten());
        }
        takers.sort_unstable();
        takers.into_iter().find(|t| {
            let taker = self.routes.get(*t);
            taker.is_some_and(|taker| self.surely_before(taker, route, matcher))
        })
    }

    /// The routes added that take everything that `pattern` takes.
    fn taking(&self, pattern: &Pattern) -> Vec<usize> {
        let only = pattern.only();
        let mut takes = Vec::new();
        let is = |id: u32, number: Option<&str>| match self.matchers.get(id as usize) {
            Some(Some(Matcher::Digits(_))) => true,
            Some(Some(regex)) => number.is_some_and(|n| regex.matches(n.as_bytes())),
            Some(None) | None => false,
        };
        self.index.including(pattern, &mut |id| {
            if is(id, only.as_deref()) {
                takes.push(id as usize);
            }
            takes.len() >= TAKERS_MAX
        });
        takes
    }

    /// Whether `a` holds whenever `b` does, so that behind `a`, `b` is never asked.
    fn surely_before(&self, a: &Route, b: &Route, matcher: &Matcher) -> bool {
        // An emergency number passes by a route that refuses.
        let emergency = a.refuse.is_some() && b.refuse.is_none() && {
            let mut numbers = self.config.numbers.emergency.iter();
            numbers.any(|n| matcher.matches(n.as_bytes()))
        };
        !emergency && self.implied(a, b)
    }

    /// Whether the conditions of `a`, save the number, hold whenever those of `b` do.
    fn implied(&self, a: &Route, b: &Route) -> bool {
        let hours = a.hours.is_none() || a.hours == b.hours;
        // None is all of them, and so are all three.
        let all = |r: &Route| matches!(r.methods.len(), 0 | 3);
        let named = |m| a.methods.contains(m);
        let methods = all(a) || !all(b) && b.methods.iter().all(named);
        hours && methods && sources_implied(a, b)
    }

    /// Where a number is looked up that leads back here.
    fn circles(&self, places: &Places) -> Vec<Found> {
        // 0 not seen, 1 on the way, 2 done.
        let mut state = vec![0u8; self.routes.len()];
        let mut found = Vec::new();
        for start in 0..self.routes.len() {
            let mut way: Vec<(usize, Vec<usize>)> = Vec::new();
            if state.get(start) == Some(&0) {
                state[start] = 1;
                way.push((start, self.next(start)));
            }
            while let Some((at, next)) = way.last_mut() {
                let at = *at;
                let Some(to) = next.pop() else {
                    state[at] = 2;
                    way.pop();
                    continue;
                };
                match state.get(to) {
                    Some(0) => {
                        state[to] = 1;
                        way.push((to, self.next(to)));
                    }
                    Some(1) if found.len() < TOLD_MAX => {
                        let problem = match to == at {
                            true => "leads to itself".to_owned(),
                            false => format!("leads in a circle to {}", self.named(to)),
                        };
                        let remedy = "let the number lead to a user, a trunk or a pool";
                        found.push((places.to(at), problem, remedy.into()));
                    }
                    _ => {}
                }
            }
        }
        found
    }

    /// The routes that `number:` surely leads to from a route.
    fn next(&self, at: usize) -> Vec<usize> {
        let Some(route) = self.routes.get(at) else {
            return Vec::new();
        };
        let mut next = Vec::new();
        for target in route.to.iter().flatten() {
            if let Target::Number(number) = target {
                next.extend(self.first_of(number.as_bytes(), route));
            }
        }
        next
    }

    /// The route that surely takes a number where the conditions of `from` hold; none where that
    /// depends.
    fn first_of(&self, number: &[u8], from: &Route) -> Option<usize> {
        let mut first = u32::MAX;
        self.index.matching(number, &mut first, &mut |id| {
            let matcher = self.matchers.get(id as usize).and_then(Option::as_ref);
            matcher.is_some_and(|m| m.matches(number))
        });
        let route = self.routes.get(first as usize)?;
        self.implied(route, from).then_some(first as usize)
    }

    /// The emergency numbers that no route takes, where there are routes at all.
    fn lead_nowhere(&self) -> Vec<&'c str> {
        let taken = |number: &&str| {
            let number = number.as_bytes();
            let mut taker = u32::MAX;
            self.index.matching(number, &mut taker, &mut |id| {
                let route = self.routes.get(id as usize);
                let matcher = self.matchers.get(id as usize).and_then(Option::as_ref);
                route.is_some_and(|r| r.refuse.is_none())
                    && matcher.is_some_and(|m| m.matches(number))
            });
            taker < u32::MAX
        };
        let numbers = self.config.numbers.emergency.iter().map(|n| &**n);
        numbers
            .filter(|n| !self.routes.is_empty() && !taken(n))
            .collect()
    }

    /// Groups whose number a route takes, whichever user calls and whenever.
    fn taken_groups(&self, places: &Places) -> Vec<Found> {
        let anybody = Route {
            from: vec![Source::User("*".into())],
            ..Route::default()
        };
        let mut found = Vec::new();
        for group in &self.config.groups {
            let Some(number) = &group.number else {
                continue;
            };
            if let Some(at) = self.first_of(number.as_bytes(), &anybody) {
                let to = self
                    .routes
                    .get(at)
                    .map(|r| r.to.as_slice())
                    .unwrap_or_default();
                let target = Target::Group(group.name.clone());
                if to.iter().flatten().any(|t| *t == target) {
                    continue;
                }
                let problem = format!("takes {number}, the number of group \"{}\"", group.name);
                let remedy = format!(
                    "put a route before it: match = \"{number}\", to = \"group:{}\"",
                    group.name
                );
                found.push((places.matches(at), problem, remedy));
            }
        }
        found
    }
}

/// Whether whoever may use `b` may use `a`.
fn sources_implied(a: &Route, b: &Route) -> bool {
    let ours = |source: &Source| match source {
        Source::User(_) | Source::Group(_) | Source::Pool(_) => true,
        Source::Trunk(_) | Source::Address(_) => false,
    };
    match (a.from.is_empty(), b.from.is_empty()) {
        (true, true) => !a.leads_outside() || b.leads_outside(),
        (true, false) => !a.leads_outside() || b.from.iter().all(ours),
        (false, true) => false,
        (false, false) => {
            let any_user = a.from.contains(&Source::User("*".into()));
            let user = |s: &Source| match s {
                Source::User(_) | Source::Group(_) => true,
                Source::Trunk(_) | Source::Pool(_) | Source::Address(_) => false,
            };
            let held = |s: &Source| a.from.contains(s) || any_user && user(s);
            b.from.iter().all(held)
        }
    }
}
