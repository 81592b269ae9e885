//! Calls that come in over trunks: what they are entered by, and how their numbers are read.

use super::super::admission::Reject;
use super::super::border::{Account, Border, Names};
use super::super::context::{Caller, Hold};
use super::super::egress::{self, Identified};
use super::super::routing::reject;
use super::super::{Context, Proxy};
use crate::base::{Destination, Flow, Key};
use crate::config::NumberFormat;
use crate::peer::Trunk;
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
        let (entrance, hold) = match caller {
            Caller::Trunk(name) => match cx.peers.trunk(name) {
                Some(trunk) => (Entrance::of(&trunk), admit(cx, &trunk, message)?),
                None => return Ok((None, None)),
            },
            Caller::Pool(name) => {
                let pool = cx.peers.pool(name);
                let hides = pool.is_some_and(|pool| pool.config().hide_topology);
                let entrance = Entrance {
                    hides,
                    ..Entrance::default()
                };
                (entrance, None)
            }
            _ => return Ok((None, None)),
        };
        if !entrance.changes_something() {
            return Ok((None, hold));
        }
        let full = || reject(503, "Too Many Calls");
        let user = &entrance.contact_user;
        let contact = egress::contact(cx, user, &Destination::Flow(*flow)).ok_or_else(full)?;
        let mut names = Names::of(message).ok_or(reject(400, "Malformed From Or To"))?;
        if let Some(caller) = caller_inside(cx, message, entrance.numbers) {
            names.caller = caller;
        }
        let border = Border::inward(message, names, contact, entrance.hides);
        let mut border = border.ok_or_else(full)?;
        border.account = entrance.account;
        let border = self.borders.insert(border);
        Ok((Some(border.ok_or_else(full)?), hold))
    }
}

/// What a peer sees of the inside, and we of it.
struct Entrance {
    hides: bool,
    contact_user: String,
    numbers: NumberFormat,
    /// For its challenges to what the inside sends in the dialog.
    account: Option<Account>,
}

impl Default for Entrance {
    fn default() -> Self {
        Self {
            hides: false,
            contact_user: String::new(),
            numbers: NumberFormat::AsIs,
            account: None,
        }
    }
}

impl Entrance {
    fn of(trunk: &Trunk) -> Self {
        let config = trunk.config();
        let user = config.username.as_deref().map(egress::escaped);
        Self {
            hides: config.hide_topology,
            contact_user: user.unwrap_or_default(),
            numbers: config.numbers,
            account: trunk.credentials().map(Account::new),
        }
    }

    fn changes_something(&self) -> bool {
        self.hides || self.numbers != NumberFormat::AsIs || self.account.is_some()
    }
}

/// A place among the trunk's calls.
fn admit(cx: &Context<'_>, trunk: &Trunk, message: &Message) -> Result<Option<Hold>, Reject> {
    if message.method() != Method::Invite {
        return Ok(None);
    }
    let ticket = trunk.admit_inbound(cx.now).map_err(|refusal| {
        tracing::warn!(trunk = trunk.name(), "its call is refused: it {refusal}");
        let note = egress::refused_note("trunk", trunk.name(), refusal);
        reject(503, "Too Many Calls Of This Trunk").noted(note)
    })?;
    Ok(Some(Hold::Peer(ticket)))
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
        && let Some(number) = written_inside(cx, &identified.number, format)
    {
        identified.number = number.into();
    }
    identified
}

/// The number that is meant. A trunk that calls the Contact of our registration means the number
/// in To; one whose way to write numbers is known means a number that is dialled here.
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
    written_inside(cx, &number, config.numbers).unwrap_or(number)
}

/// What a trunk writes as its way to write numbers says, as people here dial it: so routes match
/// it, and a phone can call it back.
fn written_inside(cx: &Context<'_>, number: &str, format: NumberFormat) -> Option<String> {
    if format == NumberFormat::AsIs {
        return None;
    }
    let numbers = cx.plan.numbers();
    let e164 = numbers.read(number, format)?;
    let national = numbers.write(number, Some(&e164), NumberFormat::National);
    Some(national.into_owned())
}

/// The caller as the inside reads it.
fn caller_inside(cx: &Context<'_>, message: &Message, format: NumberFormat) -> Option<Box<[u8]>> {
    let from = message.from().ok()?;
    let uri = from.uri().ok()?;
    let user = String::from_utf8(uri.user_unescaped().into_owned()).ok()?;
    let number = written_inside(cx, &plan::dialled(&user), format)?;
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
