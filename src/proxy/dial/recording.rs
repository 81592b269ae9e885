//! Calls that are recorded, or that we transfer in place of a trunk: they go through a bridge from
//! their beginning, since a proxy has no sound, and no dialog of its own. The bridge calls on as
//! the caller would have, so what the number plan, forwarding and limits say is said there; only
//! what answers calls itself stays here, the voicemail of whom is called and the services of a
//! route's later steps, as a service cannot call another. A service needs no bridge: whom it joins
//! is recorded by itself (`pbx`).

use super::super::admission::own_domain;
use super::super::context::Caller;
use super::super::routing::reject;
use super::super::targets::{self, Target};
use super::super::{Context, Proxy};
use super::expand::Expansion;
use super::forward::{Forwarding, Journey};
use super::{Asked, Lead, announce, identify, query, source_of, voicemail};
use crate::call::{Ways, inside};
use crate::config::{Recorded, Strategy, Transfer, Trunk};
use crate::plan::{self, Decision, Query, Step, Way};
use crate::sip::offer_answer;
use crate::wire::sip::{HeaderName, Message, Method, Uri};
use std::sync::Arc;
use std::time::Duration;

/// What a call that was not recorded says of it.
const NO_SOUND: &str = "not recorded: it offers no sound that can be";

impl Proxy {
    /// The bridge of a call to this number that is to be recorded; `None` if it is not, or if a
    /// service answers it.
    pub(super) fn lead_recorded(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        (number, aor): (&str, &str),
        ways: &mut Ways,
    ) -> Option<Lead> {
        if !may_be(cx, asked) {
            return None;
        }
        let domain = aor.rsplit_once('@').map_or(aor, |(_, domain)| domain);
        let aor = format!("{number}@{domain}");
        let identified = identify(cx, asked);
        let way = match cx
            .plan
            .decide(&query(cx, asked, number, &identified.number))
        {
            Decision::Go(way) => Some(way),
            Decision::None | Decision::Refuse { .. } => None,
        };
        let caller = asked
            .caller
            .user()
            .and_then(|user| cx.config.recorded(user));
        let called = self.recorded_at(cx, number, &aor);
        let route = way.as_deref().and_then(|way| recorded_way(cx, way));
        let how = caller.max(called).max(route);
        if how.is_none() && !is_transferred_by_us(cx, asked.caller, way.as_deref()) {
            return None;
        }
        let phones = way.as_ref().map_or(0, |way| phones_first(way));
        let way = way.filter(|way| phones < way.steps.len());
        if way.is_some() && phones == 0 {
            return None;
        }
        let mut lead = match bridge(cx, asked, (number, &aor, None), how) {
            Ok(lead) => lead,
            Err(why) => {
                ways.add_note(how.map_or("", |_| why));
                return None;
            }
        };
        if let Some(way) = way {
            ways.record |= way.record;
            self.add_services(cx, asked, (&way, phones), &mut lead);
        }
        Some(lead)
    }

    /// The same where a user of ours sends a call on to a user or a group whose calls are recorded.
    pub(super) fn lead_recorded_on(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        to: &str,
        journey: &mut Journey,
    ) -> Option<Lead> {
        if !may_be(cx, asked) {
            return None;
        }
        let number = match to.starts_with("sip:") || to.starts_with("sips:") {
            true => {
                let uri = Uri::parse(to.as_bytes()).ok()?;
                own_domain(cx, &uri)?;
                String::from_utf8(uri.user_unescaped().into_owned()).ok()?
            }
            false => to.to_owned(),
        };
        let aor = format!("{number}@{}", journey.domain);
        let identified = identify(cx, asked);
        let query = Query {
            source: source_of(&journey.account),
            ..query(cx, asked, &number, &identified.number)
        };
        // The bridge calls on the caller's account, which may not leave the house: who sends the
        // call on does.
        let (how, by) = match cx.plan.decide(&query) {
            Decision::None => (self.recorded_at(cx, &number, &aor), None),
            Decision::Go(way) if stays_inside(&way) => (recorded_way(cx, &way), None),
            Decision::Go(way) => (recorded_way(cx, &way), journey.account.user()),
            Decision::Refuse { .. } => (None, None),
        };
        match bridge(cx, asked, (&number, &aor, by), Some(how?)) {
            Ok(mut lead) => {
                journey.mark(&mut lead.targets);
                Some(lead)
            }
            Err(why) => {
                journey.ways.add_note(why);
                None
            }
        }
    }

    /// Where a call to a whole URI leads, one of another domain's or that of one phone (RFC 5627):
    /// to the bridge, if the caller is recorded, or whose phone that is.
    pub(in crate::proxy) fn recorded_there(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        targets: Vec<Target>,
        ways: &mut Ways,
    ) -> Lead {
        // Who takes the place of a call talks to a leg of that one.
        if !may_be(cx, asked) || asked.message.has(HeaderName::Replaces) {
            return targets.into();
        }
        let reached = targets.iter().find_map(|target| target.binding());
        let reached = reached.map(|binding| Box::<str>::from(binding.aor()));
        let users = [asked.caller.user(), reached.as_deref()];
        let how = users.into_iter().flatten();
        let how = how.filter_map(|aor| recorded_user(cx, aor)).max();
        let (Some(_), Ok(uri)) = (how, std::str::from_utf8(asked.uri.as_bytes())) else {
            return targets.into();
        };
        // What the user of a phone wants to become of calls is not for those to the phone.
        bridge(cx, asked, (uri, uri, None), how).unwrap_or_else(|why| {
            ways.add_note(why);
            targets.into()
        })
    }

    /// How calls to a number that no route takes are recorded: a user's, or a group's.
    fn recorded_at(&self, cx: &Context<'_>, number: &str, aor: &str) -> Option<Recorded> {
        match self.hunt.by_number(number) {
            Some(group) => recorded_group(cx, group),
            None => recorded_user(cx, aor),
        }
    }

    /// What answers behind the phones of a way takes its turn when the bridge to them failed.
    fn add_services(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        (way, phones): (&Way, usize),
        lead: &mut Lead,
    ) {
        let later = way.steps.iter().skip(phones);
        let later = later.filter(|step| step.targets.iter().any(answers));
        let services = Way {
            steps: later.cloned().collect(),
            ..way.clone()
        };
        let mut expansion = Expansion {
            message: asked.message,
            way: &services,
            caller: identify(cx, asked),
            domain: cx.config.node.default_domain(),
            secure: asked.secure,
            may_leave: false,
            inside: false,
            found: Vec::new(),
            why: reject(503, "No Way Out"),
        };
        self.expand(cx, &mut expansion);
        let mut found: Vec<Target> = expansion.found;
        found.retain(|target| target.service().is_some());
        found.sort_by_key(|target| target.rank);
        let mut before = way.steps.iter().take(phones);
        let reached = before.clone().any(|step| is_reached(cx, step));
        let bridge = lead.targets.pop().filter(|_| reached);
        if let Some(mut bridge) = bridge {
            bridge.rank = targets::rank(services.steps.len(), 1000);
            bridge.hunts = false;
            let ring = before.clone().map(|step| ring_of(cx, step)).sum();
            let last = before.next_back().cloned();
            bridge.step = last.map(|step| Arc::new(Step { ring, ..step }));
            found.push(bridge);
        }
        (lead.targets, lead.forwarding) = (found, None);
    }
}

/// The bridge by which a user who picks a call up is recorded; `None` where that is not wanted, or
/// the call is one of a service, which records by itself.
pub(in crate::proxy) fn picks_up(
    cx: &Context<'_>,
    message: &Message,
    of_service: bool,
    aor: &str,
) -> Option<Target> {
    let how = cx.config.recorded(aor).filter(|_| !of_service)?;
    let (name, domain) = aor.rsplit_once('@')?;
    let to = format!("sip:{}@{domain}", inside::escape(name));
    let uri = announce::bridge_uri(cx.config, &to);
    let uri = format!("{uri};record={}", how.as_str());
    is_heard(cx, message).then(|| announce::service(uri))
}

/// Whether a call may be one that is recorded by a bridge.
fn may_be(cx: &Context<'_>, asked: &Asked<'_>) -> bool {
    let begins = asked.message.method() == Method::Invite && !asked.flow.is_internal();
    begins && (cx.config.records() || cx.config.trunks.iter().any(is_ours_to_transfer))
}

fn is_ours_to_transfer(trunk: &Trunk) -> bool {
    match trunk.transfer {
        Transfer::Bridge => true,
        Transfer::Refer => false,
    }
}

/// Whether a call comes from a trunk, or goes to one, where a REFER of ours would lead nowhere: the
/// bridge takes it. Nothing stands in the way of an emergency call.
fn is_transferred_by_us(cx: &Context<'_>, caller: &Caller, way: Option<&Way>) -> bool {
    let ours = |name: &str| {
        let mut trunks = cx.config.trunks.iter();
        trunks.any(|trunk| *trunk.name == *name && is_ours_to_transfer(trunk))
    };
    if way.is_some_and(|way| way.emergency) {
        return false;
    }
    let comes = matches!(caller, Caller::Trunk(name) if ours(name));
    let steps = way.into_iter().flat_map(|way| &way.steps);
    let mut targets = steps.flat_map(|step| &step.targets);
    comes || targets.any(|target| matches!(target, plan::Target::Trunk(name) if ours(name)))
}

/// Whether what a call offers can be recorded; one without an offer is made one.
fn is_heard(cx: &Context<'_>, message: &Message) -> bool {
    let body = message.body();
    body.is_empty() || offer_answer::is_heard(body, cx.config.services.codings())
}

fn bridge(
    cx: &Context<'_>,
    asked: &Asked<'_>,
    (number, aor, by): (&str, &str, Option<&str>),
    how: Option<Recorded>,
) -> Result<Lead, &'static str> {
    let message = asked.message;
    if !is_heard(cx, message) {
        return Err(NO_SOUND);
    }
    let domain = aor.rsplit_once('@').map_or(aor, |(_, domain)| domain);
    let to = match number.starts_with("sip:") || number.starts_with("sips:") {
        true => number.to_owned(),
        false => format!("sip:{}@{domain}", inside::escape(number)),
    };
    let mut uri = announce::bridge_uri(cx.config, &to);
    uri.push_str(";mail=no");
    if let Some(by) = by {
        uri.push_str(&format!(";by={}", inside::escape(by)));
    }
    if let Some(how) = how {
        uri.push_str(&format!(";record={}", how.as_str()));
    }
    if let Some(sound) = announce::sound_of(cx, asked.caller, aor)
        && !message.body().is_empty()
    {
        uri.push_str(&format!(";ringback={}", inside::escape(&sound)));
    }
    let mut lead = Lead::from(vec![announce::service(uri)]);
    if voicemail::takes(cx, asked, aor) {
        let ring = ring(cx, aor);
        let journey = Journey::of(asked, aor);
        lead.forwarding = Some(Forwarding::mail_alone(asked, aor, &journey, ring));
    }
    Ok(lead)
}

fn recorded_user(cx: &Context<'_>, aor: &str) -> Option<Recorded> {
    cx.directory.get(aor)?;
    cx.config.recorded(aor)
}

fn recorded_group(cx: &Context<'_>, name: &str) -> Option<Recorded> {
    let mut groups = cx.config.groups.iter();
    let group = groups.find(|group| *group.name == *name)?;
    cx.config.recorded_group(group)
}

/// How calls that take this way are recorded: as the route says, or as those of the users and
/// groups that it leads to.
fn recorded_way(cx: &Context<'_>, way: &Way) -> Option<Recorded> {
    let targets = way.steps.iter().flat_map(|step| &step.targets);
    let own = targets.filter_map(|target| match target {
        plan::Target::User(aor) => cx.config.recorded(aor),
        plan::Target::Group(name) => recorded_group(cx, name),
        plan::Target::Conference(_)
        | plan::Target::Trunk(_)
        | plan::Target::Pool(_)
        | plan::Target::Service(_)
        | plan::Target::Menu(_)
        | plan::Target::Queue(_)
        | plan::Target::Line(_)
        | plan::Target::Uri(_) => None,
    });
    let route = way.record.then_some(Recorded::Always);
    own.max().max(route)
}

/// Whether something of ours answers there by itself.
fn answers(target: &plan::Target) -> bool {
    match target {
        plan::Target::Conference(_)
        | plan::Target::Service(_)
        | plan::Target::Menu(_)
        | plan::Target::Queue(_) => true,
        plan::Target::User(_)
        | plan::Target::Group(_)
        | plan::Target::Trunk(_)
        | plan::Target::Pool(_)
        | plan::Target::Line(_)
        | plan::Target::Uri(_) => false,
    }
}

/// How many steps of a way come before the first where something of ours answers.
fn phones_first(way: &Way) -> usize {
    let steps = way.steps.iter();
    steps
        .take_while(|step| !step.targets.iter().any(answers))
        .count()
}

/// Whether a way leads to users and groups alone.
fn stays_inside(way: &Way) -> bool {
    let mut targets = way.steps.iter().flat_map(|step| &step.targets);
    targets.all(|target| matches!(target, plan::Target::User(_) | plan::Target::Group(_)))
}

/// Whether a step leads to anybody: phones that are there, or out of the house.
fn is_reached(cx: &Context<'_>, step: &Step) -> bool {
    let there = |aor: &str| !cx.location.lookup(aor).is_empty();
    step.targets.iter().any(|target| match target {
        plan::Target::User(aor) => there(aor),
        plan::Target::Group(name) => {
            let mut groups = cx.config.groups.iter();
            let group = groups.find(|group| group.name == *name);
            let mut members = group.into_iter().flat_map(|group| &group.members);
            members.any(|member| there(&cx.config.whole_user(member)))
        }
        plan::Target::Trunk(_) | plan::Target::Pool(_) | plan::Target::Uri(_) => true,
        plan::Target::Line(_)
        | plan::Target::Conference(_)
        | plan::Target::Service(_)
        | plan::Target::Menu(_)
        | plan::Target::Queue(_) => false,
    })
}

/// How long the phones of a step ring at most.
fn ring_of(cx: &Context<'_>, step: &Step) -> Duration {
    let rings = step.targets.iter().map(|target| {
        let plan::Target::Group(name) = target else {
            return step.ring;
        };
        let mut groups = cx.config.groups.iter();
        let group = groups.find(|group| group.name == *name);
        group.map_or(step.ring, |group| match group.strategy {
            Strategy::All => group.ring,
            Strategy::Ordered | Strategy::RoundRobin | Strategy::FewestCalls => {
                group.ring * u32::try_from(group.members.len()).unwrap_or(u32::MAX)
            }
        })
    });
    rings.max().unwrap_or(step.ring)
}

/// How long the user's phones ring before voicemail. Where the user's own forwarding comes before,
/// the bridge's call ends by itself.
fn ring(cx: &Context<'_>, aor: &str) -> Option<Duration> {
    let settings = cx.features.settings(aor).unwrap_or_default();
    let forwards = settings.forward_no_answer.is_some();
    let seconds = settings
        .ring_s
        .map_or(cx.config.voicemail.ring_s, u32::from);
    (!forwards).then_some(Duration::from_secs(seconds.into()))
}
