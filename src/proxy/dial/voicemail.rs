//! Falling to voicemail: a call to a user that no phone takes goes on to the mailbox, within the
//! same INVITE. The user's own forwarding comes before it, and it before an announcement.

use super::super::Context;
use super::super::context::ResponseContext;
use super::super::targets::Target;
use super::{Asked, announce};
use crate::call::inside;
use crate::feature::Failure;
use crate::wire::sip::{HeaderName, Method};

/// Whether such a call falls to the user's voicemail. The user's own do not: whoever calls oneself
/// from another phone of one's own looks for that phone.
pub(super) fn takes(cx: &Context<'_>, asked: &Asked<'_>, aor: &str) -> bool {
    asked.message.method() == Method::Invite
        && (asked.caller.user() != Some(aor) || is_of_another(asked, aor))
        && cx.directory.get(aor).is_some()
        && cx.mailboxes.takes_calls(aor, cx.config.voicemail.enabled)
}

/// Whether it is somebody else whom the user sends to the own number: a transfer goes on the
/// account of who asks for it.
fn is_of_another(asked: &Asked<'_>, aor: &str) -> bool {
    let referred = asked.flow.is_internal() && asked.message.has(HeaderName::ReferredBy);
    let from = asked.message.from().ok().and_then(|from| from.uri().ok());
    let from = from.map(|uri| {
        let user = uri.user_unescaped();
        format!("{}@{}", String::from_utf8_lossy(&user), uri.host())
    });
    referred && from.is_none_or(|from| from != aor)
}

/// The mailbox of a user as a target: `busy` decides what is said.
pub(super) fn target(aor: &str, busy: bool) -> Target {
    let (name, domain) = aor.rsplit_once('@').unwrap_or((aor, "localhost"));
    let name = inside::escape(name);
    let why = if busy { "busy" } else { "unavailable" };
    announce::service(format!("sip:voicemail@{domain};mailbox={name};why={why}"))
}

/// Whether a call whose phones fared like that falls to voicemail, and whether as to somebody who
/// is busy. What a caller can mend by asking otherwise (a challenge, a description that does not
/// fit) goes back to the caller.
pub(super) fn falls(context: &ResponseContext) -> Option<bool> {
    match context.outcome.timed_out {
        true => Some(false),
        false => of_status(context.best.status(), context.rang),
    }
}

/// The same by the final status of the phones.
pub(super) fn of_status(status: u16, rang: bool) -> Option<bool> {
    match Failure::of_status(status, rang) {
        Some(Failure::Busy) => Some(true),
        Some(Failure::NoAnswer | Failure::Unregistered) => Some(false),
        // The phone cannot be reached, or does not know its user any more.
        None => matches!(status, 404 | 410 | 500 | 503 | 504).then_some(false),
    }
}
