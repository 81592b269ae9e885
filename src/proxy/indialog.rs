//! Requests inside dialogs: what vouches for them, and by which flow they reach a phone that moved.
//!
//! Nobody is asked for a password in a dialog, so a dialog must open no other way than its own. A
//! To tag proves nothing, and a token in our Route proves that its bearer takes part in a dialog of
//! that Call-ID, not that the request goes there: without a flow in the token the Request-URI, or a
//! Route below ours, decides, and its author writes what it likes. A proxy need not know dialogs
//! (RFC 3261 §16), so what nothing vouches for is not refused: it is treated as a request outside
//! of any dialog, and may do what its author may do there.
//!
//! What vouches for a request:
//! - a flow in our token, as it leads to the other side, whatever the Request-URI says;
//! - a call of ours, if the request goes to its other side's target or along its route set
//!   (RFC 3261 §12.2.1.1); the call follows target refreshes;
//! - a token without a flow, if the request goes to where the user in To has a phone: calls that a
//!   restart forgot, and subscriptions, live on by it.

use super::admission::{aor_of, own_domain};
use super::record_route::OwnRoutes;
use super::routing::{Repaired, reject};
use super::{Context, admission::Reject};
use crate::base::{Flow, hash64};
use crate::call::{CallKey, same_host};
use crate::config::Service;
use crate::location::{Binding, Bindings, Reach};
use crate::wire::sip::{HeaderName, Message, NameAddr, Uri};

/// Whether a dialog vouches for a request that goes to `uri`.
pub(super) fn vouches(
    cx: &Context<'_>,
    message: &Message,
    uri: &Uri<'_>,
    own: &OwnRoutes,
    repaired: &Repaired,
    call: Option<CallKey>,
) -> bool {
    if own.flow.is_some() {
        return true;
    }
    let route = match &repaired.routes {
        Some(routes) => routes.first().map(|r| &**r),
        None => message.values(HeaderName::Route).nth(own.count),
    };
    let of_call = |call| cx.calls.leads_to_reader(call, message, route, uri);
    call.is_some_and(of_call) || (own.signed && leads_to_phone(cx, message, route, uri))
}

/// An ACK cannot be challenged (RFC 3261 §22.1): one with our token also passes where it comes from
/// the registered phone of the user in From.
pub(super) fn vouches_for_ack(
    cx: &Context<'_>,
    message: &Message,
    flow: &Flow,
    own: &OwnRoutes,
) -> bool {
    let from = message.from().ok().and_then(|a| a.uri().ok());
    let phones = from.and_then(|uri| bindings_of(cx, &uri));
    let here = |b: &Binding| b.flow().remote == flow.remote;
    own.signed && phones.is_some_and(|phones| phones.iter().any(|b| here(b)))
}

fn leads_to_phone(
    cx: &Context<'_>,
    message: &Message,
    route: Option<&[u8]>,
    uri: &Uri<'_>,
) -> bool {
    let to = message.to().ok().and_then(|a| a.uri().ok());
    let Some(phones) = to.and_then(|to| bindings_of(cx, &to)) else {
        return false;
    };
    let is = |written: &[u8], uri: &Uri<'_>| {
        Uri::parse(written).is_ok_and(|written| same_host(&written, uri))
    };
    phones.iter().any(|phone| match route {
        None => is(phone.contact().as_bytes(), uri),
        Some(route) => {
            let (first, route) = (phone.path().next(), NameAddr::parse(route));
            let first = first.and_then(|p| NameAddr::parse(p.as_bytes()).ok());
            let route = route.as_ref().ok().and_then(|r| r.uri().ok());
            first.is_some_and(|p| route.is_some_and(|r| is(p.uri_bytes(), &r)))
        }
    })
}

fn bindings_of(cx: &Context<'_>, uri: &Uri<'_>) -> Option<Bindings> {
    let domain = own_domain(cx, uri)?;
    Some(cx.location.lookup(&aor_of(uri, domain)?))
}

/// What tells a phone from others of its user, wherever it registers from: its instance
/// (RFC 5626 §4.1), or the Call-ID that it keeps for its registrations (RFC 3261 §10.2.4).
pub(super) fn phone_of(binding: &Binding) -> u32 {
    let name = match binding.instance() {
        "" => binding.call_id(),
        instance => instance,
    };
    hash64(name.as_bytes()) as u32
}

/// The phone of `user` that is reached by this flow, for a token.
pub(super) fn phone_at(cx: &Context<'_>, user: &str, flow: &Flow) -> Option<u32> {
    let bindings = cx.location.lookup(user);
    let here = bindings.iter().find(|b| b.flow() == flow);
    here.map(|b| phone_of(b))
}

/// The flow by which the phone of our token is reached now. A phone whose NAT gave it another
/// mapping, or whose connection ended, registers anew: its binding knows the way, the token knows
/// the old one. Where the phone asked for outbound, by `ob` in its Contact, the way is its own
/// affair, and it wants to hear that the flow failed (RFC 5626 §5.3.1).
pub(super) fn current_flow(
    cx: &Context<'_>,
    message: &Message,
    uri: &Uri<'_>,
    own: &OwnRoutes,
) -> Result<Option<Flow>, Reject> {
    let (Some(flow), Some(phone)) = (own.flow, own.phone) else {
        return Ok(own.flow);
    };
    let to = message.to().ok().and_then(|a| a.uri().ok());
    let Some(bindings) = to.and_then(|to| bindings_of(cx, &to)) else {
        return Ok(Some(flow));
    };
    let known = bindings.iter().filter(|b| phone_of(b) == phone);
    let mut now = known.filter(|b| b.reach() == Reach::Flow);
    if now.clone().any(|b| *b.flow() == flow) {
        return Ok(Some(flow));
    }
    let newest = now.by_ref().max_by_key(|b| b.serial()).map(|b| *b.flow());
    match newest {
        Some(_) if uri.param("ob").is_some() => Err(reject(430, "Flow Failed")),
        Some(newest) => Ok(Some(newest)),
        None => Ok(Some(flow)),
    }
}

/// A transfer to the parking lot passes: the lot is told who parks. The phone that follows it calls
/// the lot under a Call-ID of its own, and mostly does not say by whom it was referred.
pub(super) fn note_parking(cx: &Context<'_>, refer: &Message) {
    let to = refer.header(HeaderName::ReferTo).map(NameAddr::parse);
    let Some(uri) = to.as_ref().and_then(|to| to.as_ref().ok()?.uri().ok()) else {
        return;
    };
    let user = uri.user_unescaped();
    let number = crate::plan::dialled(std::str::from_utf8(&user).unwrap_or_default());
    let code = cx.config.services.dialled(&number) == Some(Service::Park);
    if !code && !cx.config.parking.is_slot(&number) {
        return;
    }
    let ours = |uri: Uri<'_>| aor_of(&uri, own_domain(cx, &uri)?);
    let ends = [refer.from(), refer.to()].map(|end| ours(end.ok()?.uri().ok()?));
    if let [Some(parker), Some(whom)] = ends
        && cx.directory.get(&parker).is_some()
    {
        cx.features.lot().refer(&whom, &parker, cx.now);
    }
}
