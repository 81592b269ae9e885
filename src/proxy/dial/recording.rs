//! Calls that are recorded: they go through a bridge from their beginning, since a proxy has no
//! sound. The bridge calls on as the caller would have, so what the number plan, forwarding and
//! limits say is said there; only the voicemail of whom is called stays here, as it is a service
//! that another service cannot call.

use super::super::Context;
use super::super::admission::Reject;
use super::super::context::Caller;
use super::forward::{Forwarding, Journey};
use super::{Asked, Dialled, Lead, announce, identify, query, voicemail};
use crate::call::{Ways, inside};
use crate::config::Recorded;
use crate::plan::{Decision, Target};
use crate::sip::offer_answer;
use crate::wire::sip::Method;
use std::time::Duration;

/// The bridge of a call to this number that is to be recorded; `None` if it is not.
pub(super) fn lead(
    cx: &Context<'_>,
    asked: &Asked<'_>,
    (number, aor): (&str, &str),
    ways: &mut Ways,
) -> Option<Result<Dialled, Reject>> {
    let message = asked.message;
    let begins = message.method() == Method::Invite && !asked.flow.is_internal();
    if !begins || !cx.config.records() {
        return None;
    }
    let domain = aor.rsplit_once('@').map_or(aor, |(_, domain)| domain);
    let aor = format!("{number}@{domain}");
    let how = wanted(cx, asked, number, &aor)?;
    let body = message.body();
    if !body.is_empty() && !offer_answer::is_heard(body, cx.config.services.codings()) {
        ways.add_note("not recorded: it offers no sound that can be");
        return None;
    }
    let to = match number.starts_with("sip:") || number.starts_with("sips:") {
        true => number.to_owned(),
        false => format!("sip:{}@{domain}", inside::escape(number)),
    };
    let mut uri = announce::bridge_uri(cx.config, &to);
    uri.push_str(&format!(";record={}", how.as_str()));
    if let Some(sound) = announce::sound_of(cx, asked.caller, &aor)
        && !body.is_empty()
    {
        uri.push_str(&format!(";ringback={}", inside::escape(&sound)));
    }
    let mut lead = Lead::from(vec![announce::service(uri)]);
    if voicemail::takes(cx, message, asked.caller, &aor) {
        let ring = ring(cx, &aor);
        let journey = Journey::of(asked, &aor);
        lead.forwarding = Some(Forwarding::mail_alone(asked, &aor, &journey, ring));
    }
    Some(Ok(Dialled::Lead(lead)))
}

/// Who of the two is recorded, and whether the route is; the most of it.
fn wanted(cx: &Context<'_>, asked: &Asked<'_>, number: &str, aor: &str) -> Option<Recorded> {
    let of = |aor: &str| cx.config.recorded(aor);
    let caller = match asked.caller {
        Caller::User(user) => of(user),
        _ => None,
    };
    let known = |aor: &str| cx.directory.get(aor).is_some();
    let called = Some(aor).filter(|aor| known(aor)).and_then(of);
    let identified = identify(cx, asked);
    let query = query(cx, asked, number, &identified.number);
    let route = match cx.plan.decide(&query) {
        Decision::Go(way) if way.record => Some(Recorded::Always),
        Decision::Go(way) => {
            let targets = way.steps.iter().flat_map(|step| &step.targets);
            let users = targets.filter_map(|target| match target {
                Target::User(aor) => of(aor),
                _ => None,
            });
            users.max()
        }
        Decision::None | Decision::Refuse { .. } => None,
    };
    caller.max(called).max(route)
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
