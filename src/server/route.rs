//! `voipctl route test`: where a number would lead, and why.

use super::signal::SignalCore;
use crate::base::Instant;
use crate::control::{Failure, Reply, RouteLineRow, RouteRow, RouteStepRow, rfc3339};
use crate::plan::{Decision, Query, Source, Step, Verdict, Way, dialled, moment};
use crate::proxy::{Own, Standing};
use crate::wire::sip::Method;
use std::net::{IpAddr, Ipv4Addr};

/// Longest number that is looked up.
const NUMBER_BYTES_MAX: usize = 256;

/// What the operator asks.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) number: String,
    pub(super) from: String,
    pub(super) at: Option<String>,
    pub(super) caller: Option<String>,
    pub(super) method: Option<String>,
}

/// Who would call.
enum Caller {
    User(String),
    Trunk(String),
    Pool(String),
    Address(IpAddr),
}

impl Caller {
    fn source(&self) -> Source<'_> {
        match self {
            Caller::User(aor) => Source::User(aor),
            Caller::Trunk(name) => Source::Trunk(name),
            Caller::Pool(name) => Source::Pool(name),
            Caller::Address(_) => Source::Other,
        }
    }

    fn shown(&self) -> String {
        match self {
            Caller::User(aor) => format!("user:{aor}"),
            Caller::Trunk(name) => format!("trunk:{name}"),
            Caller::Pool(name) => format!("pool:{name}"),
            Caller::Address(address) => format!("address:{address}"),
        }
    }
}

impl SignalCore {
    /// The reply; a failure is one too.
    pub(super) fn route_test(&self, now: Instant, asked: &Asked) -> Result<Reply, Reply> {
        let bad = |problem: String, remedy: &str| {
            Err(Reply::failed(Failure::BadCommand, problem, remedy))
        };
        if asked.number.is_empty() || asked.number.len() > NUMBER_BYTES_MAX {
            let problem = format!("the number has {} characters", asked.number.len());
            return bad(problem, "write what a caller would dial");
        }
        let unix_ms = self.anchor.unix_ms(now);
        let at = match &asked.at {
            None => unix_ms,
            Some(text) => match moment(text, &self.config.numbers.timezone, unix_ms) {
                Some(at) => at,
                None => {
                    let remedy =
                        "write \"2026-12-25 10:00\", \"10:00\" or \"2026-12-25T10:00:00Z\"";
                    return bad(format!("\"{text}\" is no time"), remedy);
                }
            },
        };
        let method = match asked.method.as_deref().unwrap_or("INVITE") {
            "INVITE" => Method::Invite,
            "MESSAGE" => Method::Message,
            "SUBSCRIBE" => Method::Subscribe,
            other => {
                let problem = format!("routes are not asked for {other}");
                return bad(problem, "write INVITE, MESSAGE or SUBSCRIBE");
            }
        };
        let caller = self.caller(&asked.from)?;
        let own = match (&asked.caller, &caller) {
            (Some(number), _) => number,
            (None, Caller::User(aor)) => aor.split('@').next().unwrap_or_default(),
            (None, Caller::Trunk(_) | Caller::Pool(_) | Caller::Address(_)) => "",
        };
        let number = dialled(&asked.number);
        let query = Query {
            number: &number,
            source: caller.source(),
            caller: own,
            address: match caller {
                Caller::Address(address) => address,
                Caller::User(_) | Caller::Trunk(_) | Caller::Pool(_) => {
                    Ipv4Addr::UNSPECIFIED.into()
                }
            },
            method,
            unix_ms: at,
        };
        let mut row = RouteRow {
            dialled: number.to_string(),
            from: caller.shown(),
            at: rfc3339(at),
            ..match self.own(&caller, &query) {
                Some(own) => answering(own.to_string(), &number),
                None => decided(self.plan.decide(&query)),
            }
        };
        row.lines = self.lines(&query);
        Ok(Reply::Route(Box::new(row)))
    }

    fn caller(&self, from: &str) -> Result<Caller, Reply> {
        let (kind, name) = from.split_once(':').unwrap_or(("user", from));
        let missing = |what: &str, remedy: &str| {
            let problem = format!("there is no {what} {name}");
            Err(Reply::failed(Failure::NotFound, problem, remedy))
        };
        match kind {
            "user" => {
                let aor = match name.contains('@') {
                    true => name.to_owned(),
                    false => format!("{name}@{}", self.config.node.default_domain()),
                };
                match self.directory.get(&aor) {
                    Some(_) => Ok(Caller::User(aor)),
                    None => missing("user", "voipctl user list shows who there is"),
                }
            }
            "trunk" if self.config.trunks.iter().any(|t| *t.name == *name) => {
                Ok(Caller::Trunk(name.into()))
            }
            "pool" if self.config.pools.iter().any(|p| *p.name == *name) => {
                Ok(Caller::Pool(name.into()))
            }
            "trunk" | "pool" => missing(kind, "name one of those in the configuration"),
            "address" => match name.parse() {
                Ok(address) => Ok(Caller::Address(address)),
                Err(_) => {
                    let problem = format!("\"{name}\" is no address");
                    let remedy = "write one such as address:192.0.2.1";
                    Err(Reply::failed(Failure::BadCommand, problem, remedy))
                }
            },
            _ => {
                let problem = format!("\"{from}\" is nobody who calls");
                let remedy = "write a user, trunk:NAME, pool:NAME or address:IP";
                Err(Reply::failed(Failure::BadCommand, problem, remedy))
            }
        }
    }

    /// What answers the number before any route is asked.
    fn own<'a>(&'a self, caller: &Caller, query: &Query<'a>) -> Option<Own<'a>> {
        let (house, guest) = match caller {
            Caller::User(_) | Caller::Pool(_) => (true, false),
            Caller::Trunk(_) => (false, false),
            Caller::Address(address) => match self.config.sip.trusts(*address) {
                true => (true, false),
                false => (false, true),
            },
        };
        let who = Standing {
            house,
            guest,
            referred: false,
        };
        let domain = self.config.node.default_domain();
        let is_anothers = |slot: &str| {
            let routed = || !matches!(self.plan.decide(query), Decision::None);
            let user = self.directory.get(&format!("{slot}@{domain}"));
            user.is_some() || !self.features.lot().is_taken(slot) && routed()
        };
        Own::find((&self.config, &self.plan), who, query.number, is_anothers)
    }

    fn lines(&self, query: &Query<'_>) -> Vec<RouteLineRow> {
        let lines = self.plan.explain(query).into_iter();
        lines
            .map(|line| RouteLineRow {
                route: line.route.into(),
                line: line.line as u64,
                verdict: match line.verdict {
                    Verdict::Passed => "passed".into(),
                    Verdict::Taken => "taken".into(),
                    Verdict::Note => "note".into(),
                },
                why: line.why,
            })
            .collect()
    }
}

fn decided(decision: Decision) -> RouteRow {
    match decision {
        Decision::None => RouteRow {
            decision: "none".into(),
            ..RouteRow::default()
        },
        Decision::Refuse { status, reason, .. } => RouteRow {
            decision: "refuse".into(),
            status: Some(status),
            reason: reason.into(),
            ..RouteRow::default()
        },
        Decision::Go(way) => going(*way),
    }
}

fn answering(target: String, number: &str) -> RouteRow {
    let step = RouteStepRow {
        targets: vec![target],
        ..RouteStepRow::default()
    };
    RouteRow {
        decision: "go".into(),
        number: number.into(),
        steps: vec![step],
        ..RouteRow::default()
    }
}

fn going(way: Way) -> RouteRow {
    let step = |step: &Step| RouteStepRow {
        targets: step.targets.iter().map(ToString::to_string).collect(),
        ring_s: step.ring.as_secs(),
        next_on: step.next_on.iter().map(ToString::to_string).collect(),
        number: step.instead.as_ref().map(|n| n.text.to_string()),
    };
    RouteRow {
        decision: "go".into(),
        route: way.route.to_string(),
        steps: way.steps.iter().map(step).collect(),
        number: way.number.into(),
        e164: way.e164.map_or_else(String::new, |n| format!("+{n}")),
        class: way.class.map_or_else(String::new, |c| c.to_string()),
        emergency: way.emergency,
        caller_id: way.caller.number.map(Into::into),
        caller_name: way.caller.name.map(Into::into),
        anonymous: way.caller.anonymous,
        add_headers: way
            .add_headers
            .iter()
            .map(|(n, v)| format!("{n}: {v}"))
            .collect(),
        remove_headers: way.remove_headers.iter().map(ToString::to_string).collect(),
        redirect: way.redirect,
        ..RouteRow::default()
    }
}
