//! Where a number leads.

use super::rule::{Rule, bit, whole_user_in};
use super::time::Clocks;
use super::{CallerEdit, Decision, Number, Plan, Query, Step, Target, Way};
use crate::config::{self, Class};
use crate::wire::sip::{Method, USER, escaped};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;
use std::time::Duration;

/// How often one question may lead to another by `number:`, in all.
const LOOKUPS_MAX: u32 = 32;

/// How deep.
const DEPTH_MAX: u32 = 8;

/// Steps of one way.
const STEPS_MAX: usize = 32;

/// One question, and what was spent on it.
struct Asking<'p, 'q> {
    query: &'q Query<'q>,
    groups: &'p [u32],
    clocks: Clocks<'p>,
    lookups: u32,
}

impl Plan {
    /// Where a number leads.
    pub fn decide(&self, query: &Query<'_>) -> Decision {
        if bit(&query.method) == 0 {
            return Decision::None;
        }
        let mut asking = Asking {
            query,
            groups: self.groups_of(query.source),
            clocks: Clocks::new(&self.zones, query.unix_ms),
            lookups: 0,
        };
        self.look_up(&mut asking, query.number, 0)
    }

    /// Whether a step of a way calls an emergency number.
    pub fn reaches_emergency(&self, way: &Way) -> bool {
        let mut instead = way.steps.iter().filter_map(|step| step.instead.as_ref());
        way.emergency || instead.any(|number| self.numbers.is_emergency(&number.text))
    }

    /// The emergency number that a route makes of another one, whoever dials that, and whenever;
    /// with the route's line in the file and its name.
    pub fn made_emergency(&self, number: &str) -> Option<(usize, &str, String)> {
        let rules = self.rules.iter().filter(|rule| rule.refuse.is_none());
        let mut taking = rules.filter(|rule| rule.matcher.matches(number.as_bytes()));
        taking.find_map(|rule| {
            let targets = rule.to.iter().flatten();
            let others = targets.filter_map(|target| match target {
                config::Target::Number(next) => Some(next.to_string()),
                _ => None,
            });
            let mut made = std::iter::once(rule.edit(number)).chain(others);
            let made = made.find(|number| self.numbers.is_emergency(number))?;
            Some((rule.line, &*rule.name, made))
        })
    }

    fn look_up(&self, asking: &mut Asking<'_, '_>, number: &str, depth: u32) -> Decision {
        asking.lookups += 1;
        if depth > DEPTH_MAX || asking.lookups > LOOKUPS_MAX {
            return refuse(482, "The number plan leads in a circle", None);
        }
        let emergency = self.numbers.is_emergency(number);
        let (query, groups) = (asking.query, asking.groups);
        let clocks = &mut asking.clocks;
        let rule = self.first(query, number, &mut |rule| {
            rule.check_found(query, number, emergency, groups, clocks)
                .is_ok()
        });
        match rule {
            Some(rule) => self.follow(asking, rule, number, emergency, depth),
            None => self.group_of(query, number),
        }
    }

    /// The group that has this number, where no rule takes it.
    fn group_of(&self, query: &Query<'_>, number: &str) -> Decision {
        let rings = matches!(query.method, Method::Invite | Method::Message);
        let place = self.group_numbers.get(number).filter(|_| rings);
        let Some(group) = place.and_then(|at| self.groups.get(*at as usize)) else {
            return Decision::None;
        };
        let step = Step {
            targets: smallvec![Target::Group(group.name.clone())],
            ring: Duration::from_secs(25),
            next_on: Arc::from([]),
            instead: None,
        };
        Decision::Go(Box::new(Way {
            route: group.route.clone(),
            number: number.into(),
            e164: None,
            class: None,
            emergency: false,
            caller: CallerEdit::default(),
            add_headers: Arc::from([]),
            remove_headers: Arc::from([]),
            steps: smallvec![step],
            redirect: false,
            record: false,
        }))
    }

    /// What a rule says of a number that it takes.
    fn follow(
        &self,
        asking: &mut Asking<'_, '_>,
        rule: &Rule,
        dialled: &str,
        emergency: bool,
        depth: u32,
    ) -> Decision {
        if let Some(status) = rule.refuse {
            return refuse(status, "Refused by the number plan", Some(rule));
        }
        let number = match emergency {
            true => dialled.to_owned(),
            false => rule.edit(dialled),
        };
        if number.is_empty() {
            return refuse(484, "Nothing is left of the number", Some(rule));
        }
        let judged = self.judge(rule, dialled, &number);
        if let Some(class) = judged.refused {
            return refuse(403, reason(class), Some(rule));
        }
        if let [step] = &*rule.to
            && let [config::Target::Number(next)] = step.as_slice()
        {
            let decision = self.look_up(asking, next, depth + 1);
            return self.passed_on(asking, rule, next, decision);
        }
        let mut way = Way {
            route: rule.name.clone(),
            e164: judged.e164,
            class: judged.class,
            // Also the one that is left behind a prefix for outside lines.
            emergency: emergency || self.numbers.is_emergency(&number),
            caller: rule.caller(asking.query.caller),
            add_headers: rule.add_headers.clone(),
            remove_headers: rule.remove_headers.clone(),
            steps: SmallVec::new(),
            redirect: rule.redirect,
            record: rule.record,
            number: number.into(),
        };
        let mut refusal = None;
        for targets in rule.to.iter() {
            if let [config::Target::Number(next)] = targets.as_slice() {
                let decision = self.look_up(asking, next, depth + 1);
                refusal = self.join(&mut way, rule, next, decision).or(refusal);
            } else {
                let targets = targets.iter().filter_map(|t| self.target(t, &way.number));
                let targets = targets.collect();
                way.steps.push(self.step(rule, targets));
            }
        }
        way.steps.truncate(STEPS_MAX);
        match refusal {
            Some(refusal) if way.steps.is_empty() => refusal,
            _ => Decision::Go(Box::new(way)),
        }
    }

    fn step(&self, rule: &Rule, targets: SmallVec<[Target; 2]>) -> Step {
        Step {
            targets,
            ring: rule.ring,
            next_on: rule.next_on.clone(),
            instead: None,
        }
    }

    /// The answer of a rule that does nothing but ask for another number.
    fn passed_on(
        &self,
        asking: &Asking<'_, '_>,
        rule: &Rule,
        next: &str,
        decision: Decision,
    ) -> Decision {
        let mut way = match decision {
            Decision::Refuse { .. } => return decision,
            Decision::Go(way) => way,
            Decision::None => Box::new(self.user_way(rule, next)),
        };
        let outer = rule.caller(asking.query.caller);
        way.caller = CallerEdit {
            number: way.caller.number.or(outer.number),
            name: way.caller.name.or(outer.name),
            anonymous: way.caller.anonymous || outer.anonymous,
        };
        if !rule.add_headers.is_empty() {
            let both = rule.add_headers.iter().chain(&*way.add_headers);
            way.add_headers = both.cloned().collect();
        }
        if !rule.remove_headers.is_empty() {
            let both = rule.remove_headers.iter().chain(&*way.remove_headers);
            way.remove_headers = both.cloned().collect();
        }
        way.redirect |= rule.redirect;
        way.record |= rule.record;
        Decision::Go(way)
    }

    /// The way to a number that no rule takes: it is a user's.
    fn user_way(&self, rule: &Rule, number: &str) -> Way {
        let user = Target::User(whole_user_in(number, &self.domain));
        Way {
            route: rule.name.clone(),
            number: number.into(),
            e164: self.numbers.e164(number),
            class: None,
            emergency: false,
            caller: CallerEdit::default(),
            add_headers: Arc::from([]),
            remove_headers: Arc::from([]),
            steps: smallvec![self.step(rule, smallvec![user])],
            redirect: false,
            record: false,
        }
    }

    /// Puts the ways to another number in the middle of a way; a refusal comes back.
    fn join(&self, way: &mut Way, rule: &Rule, next: &str, decision: Decision) -> Option<Decision> {
        let other = match decision {
            Decision::Refuse { .. } => return Some(decision),
            Decision::Go(other) => *other,
            Decision::None => self.user_way(rule, next),
        };
        let number = Number {
            text: other.number,
            e164: other.e164,
        };
        for mut step in other.steps {
            step.instead.get_or_insert_with(|| Box::new(number.clone()));
            way.steps.push(step);
        }
        None
    }

    fn target(&self, target: &config::Target, number: &str) -> Option<Target> {
        Some(match target {
            // Whatever was dialled, it names no other domain.
            config::Target::User(name) if **name == *"*" => {
                Target::User(format!("{number}@{}", self.domain).into())
            }
            config::Target::User(name) => Target::User(whole_user_in(name, &self.domain)),
            config::Target::Group(name) => Target::Group(name.clone()),
            config::Target::Conference(name) => Target::Conference(name.clone()),
            config::Target::Trunk(name) => Target::Trunk(name.clone()),
            config::Target::Pool(name) => Target::Pool(name.clone()),
            config::Target::Service(service) => Target::Service(*service),
            config::Target::Menu(name) => Target::Menu(name.clone()),
            config::Target::Queue(name) => Target::Queue(name.clone()),
            config::Target::Line(name) => Target::Line(name.clone()),
            config::Target::Uri(uri) => Target::Uri(with_user(uri, number)),
            // Alone in its step: the file is refused otherwise.
            config::Target::Number(_) => return None,
        })
    }

    /// What a number is, and whether the rule lets it out. What was dialled counts as well as what
    /// leaves: a prefix taken off does not make a number of another country one of here.
    pub(super) fn judge(&self, rule: &Rule, dialled: &str, number: &str) -> Judged {
        let mut classes = [false; 2];
        let e164 = self.numbers.e164(number);
        let mut see = |number: &str, e164: Option<&str>| {
            classes[0] |= self.numbers.is_international(number, e164);
            classes[1] |= self.numbers.is_premium(number, e164);
        };
        if !self.numbers.is_emergency(number) {
            see(number, e164.as_deref());
            if rule.keeps_digits() && dialled != number {
                see(dialled, self.numbers.e164(dialled).as_deref());
            }
        }
        let found = [Class::International, Class::Premium]
            .into_iter()
            .zip(classes);
        let found = found.filter(|(_, is)| *is).map(|(class, _)| class);
        let barred = |class: &Class| rule.outside && !rule.allows(*class);
        Judged {
            class: found.clone().max(),
            refused: found.filter(barred).max(),
            e164,
        }
    }
}

/// See [`Plan::judge`].
pub(super) struct Judged {
    pub(super) class: Option<Class>,
    pub(super) refused: Option<Class>,
    e164: Option<Box<str>>,
}

fn refuse(status: u16, reason: &'static str, rule: Option<&Rule>) -> Decision {
    Decision::Refuse {
        status,
        reason,
        route: rule.map(|rule| rule.name.clone()),
    }
}

fn reason(class: Class) -> &'static str {
    match class {
        Class::International => "International calls are not allowed",
        Class::Premium => "Premium numbers are not allowed",
    }
}

/// A URI with the number as its user, where it names none.
fn with_user(uri: &str, number: &str) -> Box<str> {
    let scheme = uri.split_once(':').map_or("sip", |(scheme, _)| scheme);
    let rest = uri.get(scheme.len() + 1..).unwrap_or_default();
    // A user ends at the first @; parameters may hold none (RFC 3261 §25.1).
    if rest.contains('@') {
        return uri.into();
    }
    format!("{scheme}:{}@{rest}", escaped(number, USER)).into()
}
