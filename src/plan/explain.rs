//! Why a number leads where it does, rule by rule.

use super::compile::Plan;
use super::decide::Judged;
use super::rule::{Rule, Sources, Unmet, Who, bit};
use super::time::Clocks;
use super::{Query, Source};
use crate::config::Match;

/// Most lines of one explanation.
pub const EXPLAINED_MAX: usize = 500;

/// Most routes that are named only to say that their pattern does not match.
const OTHERS_MAX: usize = 50;

/// One line of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explained {
    /// The route's name; empty for what is said of the number itself.
    pub route: Box<str>,
    /// The route's line in the file; zero where there is none.
    pub line: usize,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, in words.
    pub why: String,
}

/// What became of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is not for this number or call.
    Passed,
    /// It decides.
    Taken,
    /// Says more of the number or of the route that decides.
    Note,
}

impl Plan {
    /// Why [`Plan::decide`] says what it says: each route up to the one that decides, and what that
    /// makes of the number. Tries one after the other, so it is for people, not for calls.
    pub fn explain(&self, query: &Query<'_>) -> Vec<Explained> {
        let mut lines = Vec::new();
        if let Some(target) = self.answers(query.number) {
            let why = format!(
                "{} is the number of {target}: no route is asked",
                query.number
            );
            note(&mut lines, why);
            return lines;
        }
        self.explain_number(query, query.number, 0, &mut lines);
        lines.truncate(EXPLAINED_MAX);
        lines
    }

    fn explain_number(
        &self,
        query: &Query<'_>,
        number: &str,
        depth: u32,
        lines: &mut Vec<Explained>,
    ) {
        let emergency = self.numbers.is_emergency(number);
        note(lines, self.about(number, emergency));
        let groups = self.groups_of(query.source);
        let mut clocks = Clocks::new(&self.zones, query.unix_ms);
        let mut others = 0;
        for rule in self.rules.iter().filter(|_| bit(&query.method) != 0) {
            let why = match rule.check(query, number, emergency, groups, &mut clocks) {
                Err(Unmet::Pattern) => {
                    others += 1;
                    if others > OTHERS_MAX {
                        continue;
                    }
                    format!("{} does not match {number}", pattern(rule))
                }
                Err(unmet) => self.unmet(unmet, rule, query, &mut clocks),
                Ok(()) => {
                    hidden(lines, others);
                    let why = format!("{} matches {number}", pattern(rule));
                    lines.push(line(rule, Verdict::Taken, why));
                    return self.explain_taken(query, rule, number, emergency, depth, lines);
                }
            };
            if lines.len() < EXPLAINED_MAX {
                lines.push(line(rule, Verdict::Passed, why));
            }
        }
        hidden(lines, others);
        let group = self.group_numbers.get(number);
        note(
            lines,
            match group.and_then(|at| self.groups.get(*at as usize)) {
                Some(group) => format!(
                    "no route takes it; it is the number of group {}",
                    group.name
                ),
                None => format!("no route takes it: {number} is a user of ours, or nobody"),
            },
        );
    }

    /// What the rule that decides does.
    fn explain_taken(
        &self,
        query: &Query<'_>,
        rule: &Rule,
        dialled: &str,
        emergency: bool,
        depth: u32,
        lines: &mut Vec<Explained>,
    ) {
        if let Some(status) = rule.refuse {
            return note(lines, format!("refuse = {status}"));
        }
        let number = if emergency {
            dialled.to_owned()
        } else {
            rule.edit(dialled)
        };
        if number != dialled {
            note(lines, format!("{dialled} becomes {number}"));
            note(
                lines,
                self.about(&number, self.numbers.is_emergency(&number)),
            );
        }
        let Judged { class, refused, .. } = self.judge(rule, dialled, &number);
        if let Some(class) = refused {
            let why = format!("{class} numbers are refused: the route does not allow them");
            return note(
                lines,
                format!("{why}; add allow = [\"{class}\"] if they should pass"),
            );
        }
        if let Some(class) = class {
            let inside = "though the number is one of them: no target is outside";
            note(
                lines,
                match rule.outside {
                    true => format!("allow has \"{class}\""),
                    false => format!("allow = [\"{class}\"] is not needed, {inside}"),
                },
            );
        }
        let caller = rule.caller(query.caller);
        if let Some(number) = caller.number {
            note(lines, format!("the caller's number becomes {number}"));
        }
        if let Some(name) = caller.name {
            note(lines, format!("the caller's name becomes {name}"));
        }
        if caller.anonymous {
            note(lines, "the caller's number is withheld".into());
        }
        for next in rule.to.iter().flatten() {
            if let crate::config::Target::Number(next) = next {
                note(lines, format!("number:{next} is looked up"));
                // A circle is told by the decision; here one turn says enough.
                if depth < 4 && lines.len() < EXPLAINED_MAX {
                    self.explain_number(query, next, depth + 1, lines);
                }
            }
        }
    }

    /// What is known of a number.
    fn about(&self, number: &str, emergency: bool) -> String {
        let e164 = self.numbers.e164(number);
        match (emergency, e164, self.numbers.class(number)) {
            (true, _, _) => format!("{number} is an emergency number: it passes as it is"),
            (_, Some(e164), Some(class)) => format!("{number} is +{e164}, {class}"),
            (_, Some(e164), None) => format!("{number} is +{e164}"),
            (_, None, Some(class)) => format!("{number} counts as {class}"),
            (_, None, None) => format!("{number} is no number of the public network here"),
        }
    }

    fn unmet(
        &self,
        unmet: Unmet,
        rule: &Rule,
        query: &Query<'_>,
        clocks: &mut Clocks<'_>,
    ) -> String {
        let matches = format!("{} matches, but", pattern(rule));
        match unmet {
            Unmet::Pattern => matches,
            Unmet::Method => format!("{matches} it is not for {}", query.method),
            Unmet::Source => {
                let who = self.sources(&rule.sources);
                format!("{matches} it is for {who}, not for {}", caller(query))
            }
            Unmet::Time => {
                let Some(when) = &rule.when else {
                    return matches;
                };
                let local = clocks.of(when);
                let (date, zone) = (local.date(), self.zones.name(when));
                let day = weekday(date);
                let clock = format!("{:02}:{:02}", local.hour(), local.minute());
                format!("{matches} it does not hold on {day} {date} at {clock} in {zone}")
            }
            Unmet::Emergency => format!("{matches} an emergency number is not refused"),
        }
    }

    fn sources(&self, sources: &Sources) -> String {
        let list = match sources {
            Sources::All => return "anybody".into(),
            Sources::Ours => {
                return "our users and pools, since it leads outside and names no from".into();
            }
            Sources::Some(list) => list,
        };
        let name = |who: &Who| match who {
            Who::User(name) => format!("user:{name}"),
            Who::AnyUser => "user:*".into(),
            Who::Group(at) => {
                let group = self.groups.get(*at as usize);
                format!("group:{}", group.map_or("", |g| &*g.name))
            }
            Who::Trunk(name) => format!("trunk:{name}"),
            Who::Pool(name) => format!("pool:{name}"),
            Who::Address(net) => format!("address:{net}"),
        };
        list.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

fn line(rule: &Rule, verdict: Verdict, why: String) -> Explained {
    Explained {
        route: (*rule.name).into(),
        line: rule.line,
        verdict,
        why,
    }
}

fn note(lines: &mut Vec<Explained>, why: String) {
    lines.push(Explained {
        route: "".into(),
        line: 0,
        verdict: Verdict::Note,
        why,
    });
}

/// Tells how many routes were not named.
fn hidden(lines: &mut Vec<Explained>, others: usize) {
    if let Some(n) = others.checked_sub(OTHERS_MAX).filter(|n| *n > 0) {
        note(lines, format!("{n} more routes do not match the number"));
    }
}

fn pattern(rule: &Rule) -> String {
    match &rule.matches {
        Match::Digits(text) => format!("\"{text}\""),
        Match::Regex(text) => format!("regex \"{text}\""),
    }
}

fn caller(query: &Query<'_>) -> String {
    match query.source {
        Source::User(user) => format!("user:{user}"),
        Source::Trunk(name) => format!("trunk:{name}"),
        Source::Pool(name) => format!("pool:{name}"),
        Source::Operator => "the operator".into(),
        Source::Other => format!("a stranger at {}", query.address),
    }
}

fn weekday(date: jiff::civil::Date) -> &'static str {
    let names = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    let at = date.weekday().to_monday_zero_offset() as usize;
    names.get(at).copied().unwrap_or_default()
}
