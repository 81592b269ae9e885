//! Calls that come in over trunks: what they are entered by, and how their numbers are read.

use super::super::admission::Reject;
use super::super::border::{Border, Names};
use super::super::context::{Caller, Hold};
use super::super::egress::{self, Identified};
use super::super::routing::reject;
use super::super::{Context, Proxy};
use crate::base::{Destination, Flow, Key};
use crate::config::NumberFormat;
use crate::plan;
use crate::wire::sip::{Message, Method};

impl Proxy {
    /// What a call that comes from a trunk is entered by: the border behind which the inside is
    /// hidden from it, and its place among the trunk's calls.
    pub(in crate::proxy) fn entry(
        &mut self,
        cx: &Context<'_>,
        message: &Message,
        flow: &Flow,
        caller: &Caller,
    ) -> Result<(Option<Key>, Option<Hold>), Reject> {
        let (hides, user, ticket, format) = match caller {
            Caller::Trunk(name) => {
                let Some(trunk) = cx.peers.trunk(name) else {
                    return Ok((None, None));
                };
                let ticket = match message.method() {
                    Method::Invite => trunk.admit_inbound(cx.now).map(|t| Some(Hold::Peer(t))),
                    _ => Ok(None),
                };
                let ticket = ticket.map_err(|refusal| {
                    tracing::warn!(trunk = %name, "its call is refused: it {refusal}");
                    reject(503, "Too Many Calls Of This Trunk")
                })?;
                let config = trunk.config();
                let user = config.username.as_deref().map(egress::escaped);
                let user = user.unwrap_or_default();
                (config.hide_topology, user, ticket, Some(config.numbers))
            }
            Caller::Pool(name) => {
                let pool = cx.peers.pool(name);
                let hides = pool.is_some_and(|pool| pool.config().hide_topology);
                (hides, String::new(), None, None)
            }
            _ => return Ok((None, None)),
        };
        let rewrites = format.is_some_and(|format| format != NumberFormat::AsIs);
        if !hides && !rewrites {
            return Ok((None, ticket));
        }
        let full = || reject(503, "Too Many Calls");
        let contact = egress::contact(cx, &user, &Destination::Flow(*flow)).ok_or_else(full)?;
        let mut names = Names::of(message).ok_or(reject(400, "Malformed From Or To"))?;
        if let Some(caller) = format.and_then(|format| caller_inside(cx, message, format)) {
            names.caller = caller;
        }
        let border = Border::inward(message, names, contact, hides);
        let border = border.and_then(|border| self.borders.insert(border));
        Ok((Some(border.ok_or_else(full)?), ticket))
    }
}

/// A trunk's caller, as the inside writes numbers.
pub(super) fn with_trunk_number(
    cx: &Context<'_>,
    caller: &Caller,
    mut identified: Identified,
) -> Identified {
    if let Caller::Trunk(name) = caller
        && let Some(trunk) = cx.peers.trunk(name)
        && let format = trunk.config().numbers
        && let Some(number) = written_with_plus(cx, &identified.number, format)
    {
        identified.number = number.into();
    }
    identified
}

/// The number that is meant. A trunk that calls the Contact of our registration means the number
/// in To; one whose way to write numbers is known means a number of E.164, written with a plus.
pub(super) fn dialled_number(
    cx: &Context<'_>,
    message: &Message,
    caller: &Caller,
    aor: &str,
) -> String {
    let user = aor.rsplit_once('@').map_or(aor, |(user, _)| user);
    let mut number = plan::dialled(user).into_owned();
    let Caller::Trunk(name) = caller else {
        return number;
    };
    let Some(trunk) = cx.peers.trunk(name) else {
        return number;
    };
    let config = trunk.config();
    if config.username.as_deref() == Some(user)
        && let Some(to) = message.to().ok().and_then(|to| to.uri().ok())
        && let Ok(to) = String::from_utf8(to.user_unescaped().into_owned())
        && !to.is_empty()
    {
        number = plan::dialled(&to).into_owned();
    }
    written_with_plus(cx, &number, config.numbers).unwrap_or(number)
}

/// What a trunk writes as its way to write numbers says, in E.164 with a plus.
fn written_with_plus(cx: &Context<'_>, number: &str, format: NumberFormat) -> Option<String> {
    if format == NumberFormat::AsIs {
        return None;
    }
    let e164 = cx.plan.numbers().read(number, format)?;
    Some(format!("+{e164}"))
}

/// The caller as the inside reads it: its number in E.164 with a plus.
fn caller_inside(cx: &Context<'_>, message: &Message, format: NumberFormat) -> Option<Box<[u8]>> {
    let from = message.from().ok()?;
    let uri = from.uri().ok()?;
    let user = String::from_utf8(uri.user_unescaped().into_owned()).ok()?;
    let number = written_with_plus(cx, &plan::dialled(&user), format)?;
    let caller = egress::identified(message, false);
    let display = caller
        .name
        .map_or_else(String::new, |name| format!("\"{name}\" "));
    let host = uri.host();
    Some(
        format!("{display}<sip:{number}@{host}>")
            .into_bytes()
            .into(),
    )
}
