//! A way of the number plan, expanded into targets: phones, trunks, members of pools.

use super::super::admission::Reject;
use super::super::egress::{self, Identified, Out};
use super::super::routing::reject;
use super::super::targets::{self, Place, Target};
use super::super::{Context, Proxy};
use super::announce;
use crate::call::inside;
use crate::config::Service;
use crate::feature;
use crate::peer::{Keys, Pool};
use crate::plan::{self, Step, Way};
use crate::wire::sip::{Message, NameAddr};
use std::sync::Arc;

/// Targets that one request may have; a plan that wants more is cut.
const TARGETS_MAX: usize = 128;

/// What a way is expanded for.
pub(super) struct Expansion<'a> {
    pub message: &'a Message,
    pub way: &'a Way,
    pub caller: Identified,
    /// Our domain, for the caller's identity.
    pub domain: &'a str,
    pub secure: bool,
    /// Whether the caller may leave the house.
    pub may_leave: bool,
    /// Whether it is a service that calls.
    pub inside: bool,
    pub found: Vec<Target>,
    /// Why there is nothing, if so.
    pub why: Reject,
}

impl Proxy {
    /// All steps; those whose turn comes first stand last.
    pub(super) fn expand(&self, cx: &Context<'_>, into: &mut Expansion<'_>) {
        let way = into.way;
        for (n, step) in way.steps.iter().enumerate() {
            let later = way.steps.len() - 1 - n;
            let shared = Arc::new(step.clone());
            let instead = step.instead.as_ref().map(|number| Way {
                number: number.text.clone(),
                e164: number.e164.clone(),
                ..way.clone()
            });
            let way = instead.as_ref().unwrap_or(way);
            for target in &step.targets {
                if into.found.len() >= TARGETS_MAX {
                    return;
                }
                self.expand_one(cx, into, (way, target), later, &shared);
            }
        }
    }

    fn expand_one(
        &self,
        cx: &Context<'_>,
        into: &mut Expansion<'_>,
        (way, target): (&Way, &plan::Target),
        later: usize,
        step: &Arc<Step>,
    ) {
        let leaves = matches!(
            target,
            plan::Target::Trunk(_) | plan::Target::Pool(_) | plan::Target::Uri(_)
        );
        if leaves && !into.may_leave {
            into.why = reject(403, "Strangers May Not Call Out");
            return;
        }
        match target {
            plan::Target::User(aor) => self.expand_user(cx, into, aor, later, step),
            plan::Target::Group(name) => self.expand_group(cx, into, name, later, step),
            plan::Target::Trunk(name) => {
                let out = cx
                    .peers
                    .trunk(name)
                    .and_then(|trunk| egress::over_trunk(cx, &trunk, way, &into.caller));
                into.take(out, targets::rank(later, 1000), step);
            }
            plan::Target::Pool(name) => {
                if let Some(pool) = cx.peers.pool(name) {
                    expand_pool(into, (way, &pool), later, step);
                }
            }
            plan::Target::Uri(uri) => {
                let out = egress::to_uri(uri, way, &into.caller, into.domain);
                into.take(out, targets::rank(later, 1000), step);
            }
            plan::Target::Service(_)
            | plan::Target::Conference(_)
            | plan::Target::Menu(_)
            | plan::Target::Queue(_)
                if into.inside =>
            {
                // What became of those before tells more.
                if later + 1 == into.way.steps.len() {
                    into.why = super::service_calls_service();
                }
            }
            plan::Target::Service(_)
            | plan::Target::Conference(_)
            | plan::Target::Menu(_)
            | plan::Target::Queue(_) => {
                if let Some(target) = to_named(target, into.domain) {
                    into.answer(target, later, step);
                }
            }
            plan::Target::Line(name) => {
                tracing::info!(line = %name, "a route leads to a line that is not there");
                into.why = reject(503, "Line Not There Yet");
            }
        }
    }

    /// Members of a group, as it hunts; who wants not to be disturbed is left alone, and nobody's
    /// forwarding is followed.
    fn expand_group(
        &self,
        cx: &Context<'_>,
        into: &mut Expansion<'_>,
        name: &str,
        later: usize,
        step: &Arc<Step>,
    ) {
        let number = into.caller.number.clone();
        let uri = format!("{number}@{}", into.domain);
        let caller = feature::Caller {
            number: &number,
            uri: &uri,
            anonymous: into.caller.private,
        };
        let skip = |aor: &str| {
            !cx.features.rings_in_group(aor, caller) || cx.location.lookup(aor).is_empty()
        };
        let order = self.hunt.order(name, skip, |aor| cx.features.calls_of(aor));
        let ring = self.hunt.ring(name).unwrap_or(step.ring);
        let step = Arc::new(Step {
            ring,
            ..Step::clone(step)
        });
        for (n, members) in order.iter().enumerate() {
            let q = 1000 - u16::try_from(n).unwrap_or(1000).min(1000);
            let first = into.found.len();
            for member in members {
                self.expand_user(cx, into, member, later, &step);
            }
            for phone in into.found.iter_mut().skip(first) {
                phone.rank = targets::rank(later, q);
            }
        }
        if order.is_empty() {
            into.why = reject(480, "Nobody Of The Group Is There");
        }
    }

    fn expand_user(
        &self,
        cx: &Context<'_>,
        into: &mut Expansion<'_>,
        aor: &str,
        later: usize,
        step: &Arc<Step>,
    ) {
        match self.phones_of(cx, aor, into.secure) {
            Ok(phones) => {
                for mut phone in phones {
                    phone.rank = targets::rank(later, phone.q());
                    phone.step = Some(Arc::clone(step));
                    phone.hunts = true;
                    into.found.push(phone);
                }
            }
            Err(why) => into.why = why,
        }
    }
}

impl Expansion<'_> {
    /// A service of ours.
    fn answer(&mut self, mut target: Target, later: usize, step: &Arc<Step>) {
        target.rank = targets::rank(later, 1000);
        target.step = Some(Arc::clone(step));
        self.found.push(target);
    }

    fn take(&mut self, out: Option<Out>, rank: u32, step: &Arc<Step>) {
        if let Some(out) = out {
            let mut target = Target::new(Place::Out(Arc::new(out)), rank);
            target.step = Some(Arc::clone(step));
            target.hunts = false;
            self.found.push(target);
        }
    }
}

/// What answers as a target. Their names need no escape in a URI.
pub(super) fn to_named(target: &plan::Target, domain: &str) -> Option<Target> {
    let (kind, name) = match target {
        plan::Target::Menu(name) => ("menu", name),
        plan::Target::Queue(name) => ("queue", name),
        plan::Target::Conference(name) => return Some(to_conference(name, domain)),
        plan::Target::Service(service) => return Some(to_service(*service, domain)),
        plan::Target::User(_)
        | plan::Target::Group(_)
        | plan::Target::Trunk(_)
        | plan::Target::Pool(_)
        | plan::Target::Line(_)
        | plan::Target::Uri(_) => return None,
    };
    let uri = format!("sip:{kind}@{domain};name={name}");
    Some(announce::service(uri))
}

/// What logs an agent in at a queue, or out.
pub(super) fn to_queue_login(queue: &str, domain: &str) -> Target {
    let name = Service::QueueLogin.name();
    let queue = inside::escape(queue);
    announce::service(format!("sip:{name}@{domain};queue={queue}"))
}

/// A service as a target.
pub(super) fn to_service(service: Service, domain: &str) -> Target {
    announce::service(format!("sip:{}@{domain}", service.name()))
}

/// A paging group as a target.
pub(super) fn to_page(name: &str, domain: &str) -> Target {
    announce::service(format!("sip:page@{domain};name={name}"))
}

/// A slot of the parking lot as a target.
pub(super) fn to_slot(slot: &str, domain: &str) -> Target {
    announce::service(format!("sip:parked@{domain};slot={slot}"))
}

/// A room as a target.
pub(super) fn to_conference(name: &str, domain: &str) -> Target {
    let service = Service::Conference.name();
    announce::service(format!("sip:{service}@{domain};room={name}"))
}

fn expand_pool(
    into: &mut Expansion<'_>,
    (way, pool): (&Way, &Pool),
    later: usize,
    step: &Arc<Step>,
) {
    let uri = |address: Option<NameAddr<'_>>| -> Vec<u8> {
        address.map_or_else(Vec::new, |a| a.uri_bytes().to_vec())
    };
    let (from, to) = (uri(into.message.from().ok()), uri(into.message.to().ok()));
    let keys = Keys {
        call_id: into.message.call_id(),
        from_uri: &from,
        to_uri: &to,
        request_uri: into.message.request_uri(),
    };
    for (n, member) in pool.choose(&keys).iter().enumerate() {
        let q = 1000 - u16::try_from(n).unwrap_or(1000).min(1000);
        let out = egress::to_member(pool, member, way, &into.caller, into.domain);
        into.take(out, targets::rank(later, q), step);
    }
}
