//! From a dialled number to targets: what the number plan decides, expanded into phones, trunks
//! and members of pools.

use super::admission::Reject;
use super::border::{Border, Names};
use super::context::Caller;
use super::egress::{self, Identified, Out};
use super::routing::{Destined, reject};
use super::targets::{self, Place, Target};
use super::{Context, Proxy};
use crate::base::{Destination, Flow, Key};
use crate::config::{NumberFormat, Strategy};
use crate::peer::{Keys, Pool, Ticket};
use crate::plan::{self, Decision, Query, Source, Step, Way};
use crate::sip::transaction::ServerKey;
use crate::wire::sip::{HeaderName, Message, Method, ResponseBuilder, Uri};
use std::sync::Arc;

/// Targets that one request may have; a plan that wants more is cut.
const TARGETS_MAX: usize = 128;

/// Where a number leads.
pub(super) enum Dialled {
    /// To these.
    Targets(Vec<Target>),
    /// The caller is told to go there itself: Contact values.
    Redirect(Vec<String>),
}

/// A request that begins something, and what is known of it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub message: &'a Message,
    pub flow: &'a Flow,
    pub caller: &'a Caller,
    /// The Request-URI.
    pub uri: &'a Uri<'a>,
    /// Whether it is `sips`.
    pub secure: bool,
}

/// What a way is expanded for.
struct Expansion<'a> {
    message: &'a Message,
    way: &'a Way,
    caller: Identified,
    domain: &'a str,
    secure: bool,
    /// Whether the caller may leave the house.
    may_leave: bool,
    found: Vec<Target>,
    /// Why there is nothing, if so.
    why: Reject,
}

impl Proxy {
    /// Where a request for the user part of `aor`, one of our domain, leads.
    pub(super) fn dial(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        aor: String,
    ) -> Result<Dialled, Reject> {
        let Asked {
            message,
            flow,
            caller,
            uri,
            secure,
        } = *asked;
        let known = |aor| Destined::Local { aor, secure };
        if cx.plan.is_empty() || uri.param("gr").is_some() {
            return self.targets(cx, uri, known(aor)).map(Dialled::Targets);
        }
        let number = dialled_number(cx, message, caller, &aor);
        let believed = !matches!(caller, Caller::User(_) | Caller::Guest);
        let identified = match caller {
            Caller::User(user) => Identified {
                number: user
                    .rsplit_once('@')
                    .map_or(&**user, |(name, _)| name)
                    .into(),
                ..egress::identified(message, false)
            },
            _ => egress::identified(message, believed),
        };
        let identified = self.with_trunk_number(cx, caller, identified);
        let query = Query {
            number: &number,
            source: source_of(caller),
            caller: &identified.number,
            address: flow.remote.ip(),
            method: message.method(),
            unix_ms: cx.anchor.unix_ms(cx.now),
        };
        let way = match cx.plan.decide(&query) {
            Decision::None => {
                return self.targets(cx, uri, known(aor)).map(Dialled::Targets);
            }
            Decision::Refuse { status, reason } => return Err(reject(status, reason)),
            Decision::Go(way) => way,
        };
        tracing::debug!(number = %number, route = %way.route, to = %way.number, "routed");
        let domain = aor.rsplit_once('@').map_or("", |(_, domain)| domain);
        let mut expansion = Expansion {
            message,
            way: &way,
            caller: identified,
            domain,
            secure,
            may_leave: !matches!(caller, Caller::Guest),
            found: Vec::new(),
            why: reject(503, "No Way Out"),
        };
        self.expand(cx, &mut expansion);
        if expansion.found.is_empty() {
            return Err(expansion.why);
        }
        if way.redirect && message.method() == Method::Invite {
            return Ok(Dialled::Redirect(contacts(&expansion.found)));
        }
        // Those whose turn comes first stand last.
        expansion.found.sort_by_key(|target| target.rank);
        Ok(Dialled::Targets(expansion.found))
    }

    /// A trunk's caller, as the inside writes numbers.
    fn with_trunk_number(
        &self,
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

    /// Tells the caller to go there itself (RFC 3261 §8.3).
    pub(super) fn redirect(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerKey,
        message: &Message,
        contacts: &[String],
    ) {
        let tag = cx.rng.token::<10>();
        let mut response = ResponseBuilder::new(message, 302).to_tag(&tag);
        for contact in contacts {
            response = response.header(HeaderName::Contact, contact);
        }
        cx.layer.respond(cx.now, server, response.render());
    }

    /// What a call that comes from a trunk is entered by: the border behind which the inside is
    /// hidden from it, and its place among the trunk's calls.
    pub(super) fn entry(
        &mut self,
        cx: &Context<'_>,
        message: &Message,
        flow: &Flow,
        caller: &Caller,
    ) -> Result<(Option<Key>, Option<Ticket>), Reject> {
        let (hides, user, ticket, format) = match caller {
            Caller::Trunk(name) => {
                let Some(trunk) = cx.peers.trunk(name) else {
                    return Ok((None, None));
                };
                let ticket = match message.method() {
                    Method::Invite => trunk.admit_inbound(cx.now).map(Some),
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
        let full = reject(503, "Too Many Calls");
        let contact = egress::contact(cx, &user, &Destination::Flow(*flow)).ok_or(full)?;
        let mut names = Names::of(message).ok_or(reject(400, "Malformed From Or To"))?;
        if let Some(caller) = format.and_then(|format| caller_inside(cx, message, format)) {
            names.caller = caller;
        }
        let border = Border::inward(message, names, contact, hides);
        let border = border.and_then(|border| self.borders.insert(border));
        Ok((Some(border.ok_or(full)?), ticket))
    }

    fn expand(&self, cx: &Context<'_>, into: &mut Expansion<'_>) {
        let way = into.way;
        for (n, step) in way.steps.iter().enumerate() {
            let later = way.steps.len() - 1 - n;
            let shared = Arc::new(step.clone());
            for target in &step.targets {
                if into.found.len() >= TARGETS_MAX {
                    return;
                }
                self.expand_one(cx, into, target, later, &shared);
            }
        }
    }

    fn expand_one(
        &self,
        cx: &Context<'_>,
        into: &mut Expansion<'_>,
        target: &plan::Target,
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
                    .and_then(|trunk| egress::over_trunk(cx, &trunk, into.way, &into.caller));
                into.take(out, targets::rank(later, 1000), step);
            }
            plan::Target::Pool(name) => {
                if let Some(pool) = cx.peers.pool(name) {
                    expand_pool(into, &pool, later, step);
                }
            }
            plan::Target::Uri(uri) => {
                let out = egress::to_uri(uri, into.way, &into.caller, into.domain);
                into.take(out, targets::rank(later, 1000), step);
            }
            plan::Target::Service(name) => {
                tracing::info!(service = %name, "a route leads to a service that is not there");
                into.why = reject(503, "Service Not There Yet");
            }
            plan::Target::Line(name) => {
                tracing::info!(line = %name, "a route leads to a line that is not there");
                into.why = reject(503, "Line Not There Yet");
            }
        }
    }

    fn expand_group(
        &self,
        cx: &Context<'_>,
        into: &mut Expansion<'_>,
        name: &str,
        later: usize,
        step: &Arc<Step>,
    ) {
        let Some(group) = cx.config.groups.iter().find(|g| *g.name == *name) else {
            return;
        };
        let step = Arc::new(Step {
            ring: group.ring,
            ..Step::clone(step)
        });
        for (n, member) in group.members.iter().enumerate() {
            let aor = match member.contains('@') {
                true => member.to_string(),
                false => format!("{member}@{}", cx.config.node.default_domain()),
            };
            let q = match group.strategy {
                Strategy::All => 1000,
                _ => 1000 - u16::try_from(n).unwrap_or(1000).min(1000),
            };
            let first = into.found.len();
            self.expand_user(cx, into, &aor, later, &step);
            for phone in into.found.iter_mut().skip(first) {
                phone.rank = targets::rank(later, q);
            }
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

    /// The phones of a user of ours.
    pub(super) fn phones_of(
        &self,
        cx: &Context<'_>,
        aor: &str,
        secure: bool,
    ) -> Result<Vec<Target>, Reject> {
        let bindings = cx.location.lookup(aor);
        if bindings.is_empty() && cx.directory.get(aor).is_none() {
            return Err(reject(404, "Not Found"));
        }
        let max = cx.config.limits.branches_max;
        let targets = targets::from_bindings(bindings, secure, max);
        match targets.is_empty() {
            true => Err(reject(480, "Not Registered")),
            false => Ok(targets),
        }
    }
}

impl Expansion<'_> {
    fn take(&mut self, out: Option<Out>, rank: u32, step: &Arc<Step>) {
        if let Some(out) = out {
            let mut target = Target::new(Place::Out(Arc::new(out)), rank);
            target.step = Some(Arc::clone(step));
            target.hunts = false;
            self.found.push(target);
        }
    }
}

fn expand_pool(into: &mut Expansion<'_>, pool: &Pool, later: usize, step: &Arc<Step>) {
    let uri = |address: Option<crate::wire::sip::NameAddr<'_>>| -> Vec<u8> {
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
        let out = egress::to_member(pool, member, into.way, &into.caller, into.domain);
        into.take(out, targets::rank(later, q), step);
    }
}

fn source_of(caller: &Caller) -> Source<'_> {
    match caller {
        Caller::User(aor) => Source::User(aor),
        Caller::Trunk(name) => Source::Trunk(name),
        Caller::Pool(name) => Source::Pool(name),
        Caller::Trusted | Caller::Guest | Caller::InDialog => Source::Other,
    }
}

/// The number that is meant. A trunk that calls the Contact of our registration means the number
/// in To; one whose way to write numbers is known means a number of E.164, written with a plus.
fn dialled_number(cx: &Context<'_>, message: &Message, caller: &Caller, aor: &str) -> String {
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

/// Contact values for a 302.
fn contacts(found: &[Target]) -> Vec<String> {
    let uri = |target: &Target| match &target.place {
        Place::Out(out) => String::from_utf8(out.uri.to_vec()).ok(),
        Place::Binding(binding) => Some(binding.contact().to_owned()),
        Place::AsRequested => None,
    };
    let mut contacts: Vec<String> = Vec::new();
    let mut ordered: Vec<&Target> = found.iter().collect();
    ordered.sort_by_key(|target| std::cmp::Reverse(target.rank));
    for (n, uri) in ordered.into_iter().filter_map(uri).enumerate() {
        let q = 1000usize.saturating_sub(n * 10);
        contacts.push(format!("<{uri}>;q={}.{:03}", q / 1000, q % 1000));
    }
    contacts
}
