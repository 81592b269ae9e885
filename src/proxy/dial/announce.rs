//! Voice for what a status says: a caller of ours hears why its call fails, before it fails, and
//! that its code was carried out.

use super::super::context::{Caller, ResponseContext};
use super::super::targets::{self, Place, Target};
use super::super::{Context, Proxy};
use crate::base::Key;
use crate::config::Config;
use crate::feature::Code;
use crate::wire::sip::{Message, Method};

/// What is worth an announcement. Busy is not: phones make that tone themselves, and what follows
/// it, a call back or another try, wants the answer at once.
const ANNOUNCED: [u16; 10] = [403, 404, 408, 410, 480, 484, 500, 503, 504, 604];

impl Proxy {
    /// The announcement as the last target of a call that fails.
    pub(in crate::proxy) fn announce(&self, cx: &Context<'_>, key: Key) -> Option<Target> {
        let context = self.contexts.get(key)?;
        let status = match context.best.status() {
            0 => 480,
            status => status,
        };
        if !context.invite || announced(context) || !hears(cx.config, &context.inbound.caller) {
            return None;
        }
        let message = self.request_of(cx, key)?;
        announcement(cx.config, &message, status)
    }
}

fn announced(context: &ResponseContext) -> bool {
    let mut branches = context.branches.iter();
    branches.any(|b| matches!(b.target.place, Place::Service(_)))
}

/// Whether a caller is told by voice: our own users are, since a trunk bills what it hears of.
pub(super) fn hears(config: &Config, caller: &Caller) -> bool {
    config.services.announcements && matches!(caller, Caller::User(_))
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
