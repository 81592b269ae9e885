//! What services of ours do for calls that fail, and for codes: a bridge between phones without a
//! common codec; voice that tells why a call fails, before it fails, and that a code was carried
//! out.

use super::super::context::{Best, Caller, ResponseContext};
use super::super::targets::{self, Place, Target};
use super::super::{Context, Proxy};
use super::{Asked, Lead};
use crate::base::{Flow, Key};
use crate::call::inside;
use crate::config::{Announcements, Config};
use crate::feature::Code;
use crate::sip::offer_answer;
use crate::wire::sip::{Message, Method};

/// What is worth an announcement. Busy is not: phones make that tone themselves, and what follows
/// it, a call back or another try, wants the answer at once.
const ANNOUNCED: [u16; 10] = [403, 404, 408, 410, 480, 484, 500, 503, 504, 604];

impl Proxy {
    /// What can still be done for a call that fails: a bridge for want of a common codec, voice
    /// that tells why.
    pub(in crate::proxy) fn last_resort(&mut self, cx: &Context<'_>, key: Key) -> Option<Target> {
        let Some(bridge) = self.bridge(cx, key) else {
            return self.announce(cx, key);
        };
        // How the bridge fares is how the call fares.
        self.contexts.get_mut(key)?.best = Best::Nothing;
        Some(bridge)
    }

    /// The announcement as the last target of a call that fails.
    fn announce(&self, cx: &Context<'_>, key: Key) -> Option<Target> {
        let context = self.contexts.get(key)?;
        let status = match context.best.status() {
            0 => 480,
            status => status,
        };
        if !context.invite
            || went_to(context, "announce")
            || !hears(cx.config, &context.inbound.caller, &context.inbound.flow)
        {
            return None;
        }
        let message = self.request_of(cx, key)?;
        announcement(cx.config, &message, status)
    }

    /// A bridge as the last target of a call that fails for want of a common codec (RFC 3261
    /// §21.4.26). Without an offer nothing of that is known.
    fn bridge(&self, cx: &Context<'_>, key: Key) -> Option<Target> {
        let context = self.contexts.get(key)?;
        let refused = matches!(context.best.status(), 415 | 488 | 606);
        if !refused || !context.invite || context.inbound.flow.is_internal() {
            return None;
        }
        let message = self.request_of(cx, key)?;
        let wanted = cx.config.services.transcoding && !message.body().is_empty();
        if !wanted
            || went_to(context, "bridge")
            || !offer_answer::is_heard(message.body(), cx.config.services.codings())
        {
            return None;
        }
        let uri = context.inbound.uri.as_deref();
        let uri = std::str::from_utf8(uri.unwrap_or_else(|| message.request_uri())).ok()?;
        Some(service(bridge_uri(cx.config, uri)))
    }
}

/// The bridge that leads to a Request-URI.
pub(super) fn bridge_uri(config: &Config, to: &str) -> String {
    let (domain, to) = (config.node.default_domain(), inside::escape(to));
    format!("sip:bridge@{domain};to={to}")
}

/// Whether a service of ours was among its targets.
fn went_to(context: &ResponseContext, service: &str) -> bool {
    let mut services = context.branches.iter().filter_map(|b| b.target.service());
    services.any(|uri| targets::service_name(uri) == service.as_bytes())
}

/// A bridge whose caller hears what the user, or the trunk that the call came in by, has chosen for
/// callers while phones ring. Early media need an offer (RFC 3960 §2), of a codec that we know.
pub(super) fn ringing(cx: &Context<'_>, asked: &Asked<'_>, lead: &Lead) -> Option<Lead> {
    let message = asked.message;
    let fits = message.method() == Method::Invite && !asked.flow.is_internal();
    if !fits {
        return None;
    }
    let phone = lead.targets.iter().find_map(|target| target.binding())?;
    let sound = sound_of(cx, asked.caller, phone.aor())?;
    if !offer_answer::is_heard(message.body(), cx.config.services.codings()) {
        return None;
    }
    let bridge = bridge_uri(cx.config, std::str::from_utf8(asked.uri.as_bytes()).ok()?);
    let bridge = format!("{bridge};ringback={}", inside::escape(&sound));
    Some(vec![service(bridge)].into())
}

/// What a caller hears while the phones of a user ring, where one of the two ends has chosen it.
pub(super) fn sound_of(cx: &Context<'_>, caller: &Caller, aor: &str) -> Option<Box<str>> {
    let settings = cx.features.settings(aor);
    let own = settings.and_then(|settings| settings.ring_back.clone());
    match (own, caller) {
        (Some(sound), _) => Some(sound),
        (None, Caller::Trunk(name)) => {
            let mut trunks = cx.config.trunks.iter();
            let trunk = trunks.find(|trunk| trunk.name == *name)?;
            Some(trunk.ring_back.as_ref()?.to_string().into())
        }
        (None, _) => None,
    }
}

/// Whether a caller is told by voice: our own users, or all but strangers, as the operator wants
/// it. A service that calls for one tells its caller itself.
pub(super) fn hears(config: &Config, caller: &Caller, flow: &Flow) -> bool {
    let told = match (config.services.announcements, caller) {
        (Announcements::Nobody, _) => false,
        (Announcements::Users | Announcements::All, Caller::User(_)) => true,
        (Announcements::All, Caller::Trunk(_) | Caller::Pool(_) | Caller::Trusted) => true,
        (Announcements::Users | Announcements::All, _) => false,
    };
    told && !flow.is_internal()
}

/// The announcement of a status as a target. Early media need an offer (RFC 3960 §2).
pub(super) fn announcement(config: &Config, message: &Message, status: u16) -> Option<Target> {
    let fits = message.method() == Method::Invite && !message.body().is_empty();
    if !fits || !ANNOUNCED.contains(&status) {
        return None;
    }
    let domain = config.node.default_domain();
    Some(service(format!("sip:announce@{domain};cause={status}")))
}

/// What confirms a code by voice.
pub(super) fn confirmation(config: &Config, code: &Code) -> Target {
    let (subject, state) = code.prompts();
    let prompts: Vec<&str> = subject.into_iter().chain([state]).collect();
    let domain = config.node.default_domain();
    service(format!("sip:confirm@{domain};play={}", prompts.join("+")))
}

pub(super) fn service(uri: String) -> Target {
    let place = Place::Service(uri.into_bytes().into());
    Target::new(place, targets::rank(0, 1000))
}
