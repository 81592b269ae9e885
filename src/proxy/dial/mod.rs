//! From a dialled number to targets: what the number plan decides, and what users want to become
//! of their calls.
//!
//! | file | what |
//! | --- | --- |
//! | `expand` | a way of the plan into phones, trunks, members of pools |
//! | `announce` | what a caller is told by voice |
//! | `entry` | calls that come in over trunks |
//! | `forward` | forwarding, before a phone rings and after it failed |
//! | `own` | numbers that something of ours answers |
//! | `voicemail` | what no phone takes |
//! | `recording` | calls that are recorded |

mod announce;
mod entry;
mod expand;
mod forward;
mod own;
mod recording;
mod voicemail;

pub(super) use forward::{Forwarding, Marks, deflection};
pub use own::{Own, Standing};
pub(super) use recording::picks_up;

use super::admission::Reject;
use super::context::{Caller, Hold};
use super::egress::{self, Identified};
use super::routing::{Destined, reject};
use super::targets::{self, Place, Target};
use super::{Context, Proxy};
use crate::base::Flow;
use crate::call::Ways;
use crate::call::inside::{Account, Led};
use crate::config::{self, Class, Config};
use crate::feature;
use crate::plan::{self, Decision, Query, Source, Way};
use crate::proxy::fraud::Who;
use crate::sip::transaction::ServerKey;
use crate::wire::sip::{HeaderName, Message, Method, ResponseBuilder, Uri};
use entry::{dialled_number, with_trunk_number};
use expand::Expansion;
use forward::Journey;

/// Where a number leads.
pub(super) struct Lead {
    /// To these.
    pub targets: Vec<Target>,
    /// What becomes of the call when they fail.
    pub forwarding: Option<Box<Forwarding>>,
    /// What the call holds as long as it lasts.
    pub hold: Option<Hold>,
}

/// What a request for a number gets.
pub(super) enum Dialled {
    /// It goes there.
    Lead(Lead),
    /// The caller is told to go there itself: Contact values.
    Redirect(Vec<String>),
    /// It was a code, and is carried out; says what was done.
    Done(String),
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

impl Proxy {
    /// Where a request for the user part of `aor`, one of our domain, leads. What the call's record
    /// should say of that goes to `ways`.
    pub(super) fn dial(
        &self,
        cx: &mut Context<'_>,
        asked: &Asked<'_>,
        aor: String,
        ways: &mut Ways,
    ) -> Result<Dialled, Reject> {
        if asked.uri.param("gr").is_some() {
            let secure = asked.secure;
            let targets = self.targets(cx, asked.uri, Destined::Local { aor, secure })?;
            let lead = self.recorded_there(cx, asked, targets, ways);
            return Ok(Dialled::Lead(lead));
        }
        let inside = asked.flow.is_internal();
        let mut number = match inside {
            // A service writes numbers as our phones do, whoever its caller is.
            true => dialled_number(cx, asked.message, &Caller::House, &aor),
            false => dialled_number(cx, asked.message, asked.caller, &aor),
        };
        let invite = asked.message.method() == Method::Invite;
        if let (Caller::User(user), true) = (asked.caller, invite) {
            let settings = cx.features.settings(user);
            match feature::dialled(settings.as_deref(), &number) {
                feature::Dialled::Number(short) => number = short.into(),
                // Nobody dialled that: it stood in a caller ID or a redirect.
                feature::Dialled::Code(_) | feature::Dialled::Wrong(_) if inside => {}
                feature::Dialled::Code(code) => return self.carry_out(cx, asked, user, &code),
                feature::Dialled::Wrong(refusal) => return Err(refusal.into()),
                feature::Dialled::Other => {}
            }
        }
        raises_no_alarm(cx, asked, &number)?;
        if let Some(lead) = answered(cx, asked, &number)? {
            return Ok(lead);
        }
        // A leg of ours that is to be replaced: by its Contact, which is no user's name, or by the
        // number of whom it stands for.
        let replaces = asked.message.header(HeaderName::Replaces);
        let replaces =
            replaces.filter(|_| invite && !inside && !matches!(asked.caller, Caller::Guest));
        let ours = |value| cx.directory.get(&aor).is_none() || cx.calls.is_served(value);
        if replaces.is_some_and(ours) {
            let domain = cx.config.node.default_domain();
            let leg = announce::service(format!("sip:replaces@{domain}"));
            return Ok(Dialled::Lead(vec![leg].into()));
        }
        if let Some(lead) = self.lead_recorded(cx, asked, (&number, &aor), ways) {
            return Ok(Dialled::Lead(lead));
        }
        let mut journey = Journey::of(asked, &aor);
        let led = self.lead(cx, asked, &number, &mut journey);
        ways.learn(&journey.ways);
        match (led, asked.caller) {
            // Strangers learn no names.
            (Err(why), Caller::Guest) if matches!(why.status, 404 | 480) => {
                Err(reject(480, "Temporarily Unavailable"))
            }
            (Err(why), caller) if announce::hears(cx.config, caller, asked.flow) => {
                let told = announce::announcement(cx.config, asked.message, why.status);
                let target = told.ok_or_else(|| why.clone())?;
                ways.add_note(why.note());
                Ok(Dialled::Lead(vec![target].into()))
            }
            (Ok(Dialled::Lead(lead)), _) => {
                let ringing = announce::ringing(cx, asked, &lead);
                Ok(Dialled::Lead(ringing.unwrap_or(lead)))
            }
            (led, _) => led,
        }
    }

    /// A feature code.
    fn carry_out(
        &self,
        cx: &mut Context<'_>,
        asked: &Asked<'_>,
        user: &str,
        code: &feature::Code,
    ) -> Result<Dialled, Reject> {
        if let feature::Code::Pickup(extension) = code {
            let done = self.dial_pickup(cx, asked, user, extension.as_deref())?;
            return Ok(Dialled::Done(done));
        }
        if let Some(record) = cx.features.apply(user, code)? {
            let record = crate::store::Record::PutFeatures(Box::new(record));
            cx.outputs.records.push_back(record);
        }
        if announce::hears(cx.config, asked.caller, asked.flow) {
            let told = announce::confirmation(cx.config, code);
            return Ok(Dialled::Lead(vec![told].into()));
        }
        Ok(Dialled::Done(format!("Done: {}", code.done())))
    }

    /// Where a number leads that was dialled, or forwarded to, on the account of the journey; a
    /// `sip:` URI leads there.
    fn lead(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        number: &str,
        journey: &mut Journey,
    ) -> Result<Dialled, Reject> {
        let domain = journey.domain.clone();
        if number.starts_with("sip:") || number.starts_with("sips:") {
            return self.lead_to_uri(cx, asked, number, journey);
        }
        if asked.flow.is_internal()
            && matches!(journey.account, Caller::House)
            && number.contains('|')
        {
            return self.lead_to_all(cx, asked, number, journey);
        }
        let identified = identify(cx, asked);
        let Some(way) = planned(cx, asked, number, &identified.number, journey)? else {
            return self.lead_to_user(cx, asked, number, journey);
        };
        tracing::debug!(number, route = %way.route, to = %way.number, "routed");
        if let [step] = way.steps.as_slice()
            && let [plan::Target::User(aor)] = step.targets.as_slice()
            && !way.redirect
        {
            return self.lead_to_phones(cx, asked, aor, journey);
        }
        let mut expansion = Expansion {
            message: asked.message,
            way: &way,
            caller: identified,
            domain: &domain,
            secure: asked.secure,
            may_leave: !matches!(journey.account, Caller::Guest | Caller::House),
            inside: is_inside(asked),
            found: Vec::new(),
            why: reject(503, "No Way Out"),
        };
        self.expand(cx, &mut expansion);
        let Expansion { mut found, why, .. } = expansion;
        if found.is_empty() {
            return Err(why);
        }
        if way.redirect && asked.message.method() == Method::Invite {
            return Ok(Dialled::Redirect(contacts(&found)));
        }
        // Those whose turn comes first stand last.
        found.sort_by_key(|target| target.rank);
        let leaves = found.iter().any(|target| target.out().is_some());
        let hold = match leaves && asked.message.method() == Method::Invite {
            true => self.charge(cx, &journey.account, &way)?,
            false => None,
        };
        journey.mark(&mut found);
        Ok(Dialled::Lead(Lead {
            targets: found,
            forwarding: None,
            hold,
        }))
    }

    /// The same for a number to which a user sends the call: something of ours may answer it.
    fn lead_on(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        number: &str,
        journey: &mut Journey,
    ) -> Result<Dialled, Reject> {
        let Some(own) = answered_for(cx, asked, number, &journey.account)? else {
            return self.lead(cx, asked, number, journey);
        };
        let mut found = vec![own];
        journey.mark(&mut found);
        Ok(Dialled::Lead(found.into()))
    }

    /// A call to the outside counts against the limits of whoever makes it; against those of the
    /// trunk that takes it once it is sent there.
    fn charge(
        &self,
        cx: &Context<'_>,
        account: &Caller,
        way: &Way,
    ) -> Result<Option<Hold>, Reject> {
        let who = match account {
            Caller::User(aor) => Who::User(aor),
            Caller::Trunk(name) => Who::Trunk(name),
            _ => return Ok(None),
        };
        if way.emergency {
            return Ok(None);
        }
        let unix_ms = cx.anchor.unix_ms(cx.now);
        let class: Option<Class> = way.class;
        let fraud = cx.guard.fraud();
        let admitted = fraud.admit(who, way.e164.as_deref(), class, cx.now, unix_ms);
        match admitted {
            Ok(ticket) => Ok(Some(Hold::Account(ticket))),
            Err(refusal) => Err(reject(refusal.status, refusal.reason).noted(refusal.note())),
        }
    }

    /// A number that no route knows: a group's, or a user's.
    fn lead_to_user(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        number: &str,
        journey: &mut Journey,
    ) -> Result<Dialled, Reject> {
        if let Some(group) = self.hunt.by_number(number) {
            let way = Way::to_group(group, number);
            let domain = journey.domain.clone();
            let mut expansion = Expansion {
                message: asked.message,
                way: &way,
                caller: identify(cx, asked),
                domain: &domain,
                secure: asked.secure,
                may_leave: false,
                inside: is_inside(asked),
                found: Vec::new(),
                why: reject(480, "Nobody Of The Group Is There"),
            };
            self.expand(cx, &mut expansion);
            let Expansion { mut found, why, .. } = expansion;
            if found.is_empty() {
                return Err(why);
            }
            found.sort_by_key(|target| target.rank);
            journey.mark(&mut found);
            return Ok(Dialled::Lead(found.into()));
        }
        let aor = format!("{number}@{}", journey.domain);
        self.lead_to_phones(cx, asked, &aor, journey)
    }

    /// Users whom a service rings together, with bars between; what they forward is not followed,
    /// as in a group.
    fn lead_to_all(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        list: &str,
        journey: &mut Journey,
    ) -> Result<Dialled, Reject> {
        let domain = journey.domain.clone();
        let caller = identify(cx, asked);
        let uri = format!("{}@{domain}", caller.number);
        let seen = feature::Caller {
            number: &caller.number,
            uri: &uri,
            anonymous: caller.private,
        };
        let users = list.split('|').filter(|user| !user.is_empty());
        let users = users.filter(|aor| cx.features.rings_in_group(aor, seen));
        let way = Way::to_users(users.map(Box::from));
        let mut expansion = Expansion {
            message: asked.message,
            way: &way,
            caller,
            domain: &domain,
            secure: asked.secure,
            may_leave: false,
            inside: true,
            found: Vec::new(),
            why: reject(480, "Nobody Is There"),
        };
        self.expand(cx, &mut expansion);
        let Expansion { mut found, why, .. } = expansion;
        if found.is_empty() {
            return Err(why);
        }
        // Together, whatever the phones prefer.
        for phone in &mut found {
            phone.rank = targets::rank(0, 1000);
        }
        journey.mark(&mut found);
        Ok(Dialled::Lead(found.into()))
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

    /// Tells the caller that its code was carried out. Until a service of ours can say so by voice,
    /// the phone's display does.
    pub(super) fn tell_done(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerKey,
        message: &Message,
        done: &str,
    ) {
        let tag = cx.rng.token::<10>();
        let response = ResponseBuilder::new(message, 480).reason(done).to_tag(&tag);
        cx.layer.respond(cx.now, server, response.render());
    }
}

impl From<Vec<Target>> for Lead {
    fn from(targets: Vec<Target>) -> Self {
        Self {
            targets,
            forwarding: None,
            hold: None,
        }
    }
}

/// What answers a number by itself: a code of a service, or a number of a room, menu or queue.
fn answered(cx: &Context<'_>, asked: &Asked<'_>, number: &str) -> Result<Option<Dialled>, Reject> {
    let who = Standing {
        house: is_ours(asked.caller),
        guest: matches!(asked.caller, Caller::Guest),
        referred: asked.message.has(HeaderName::ReferredBy),
    };
    let domain = cx.config.node.default_domain();
    let is_anothers = |slot: &str| {
        let routed = || {
            let caller = identify(cx, asked).number;
            let query = query(cx, asked, slot, &caller);
            !matches!(cx.plan.decide(&query), Decision::None)
        };
        let user = cx.directory.get(&format!("{slot}@{domain}"));
        user.is_some() || !cx.features.lot().is_taken(slot) && routed()
    };
    let Some(own) = Own::find((cx.config, cx.plan), who, number, is_anothers) else {
        return Ok(None);
    };
    let Some(target) = to_own(cx, asked, own, asked.caller)? else {
        return Ok(None);
    };
    if is_inside(asked) {
        return Err(service_calls_service());
    }
    Ok(Some(Dialled::Lead(vec![target].into())))
}

/// What answers a number to which a user sends a call: a room, a paging group, a menu, a queue, or
/// double dialling, where the user would get there; no code.
fn answered_for(
    cx: &Context<'_>,
    asked: &Asked<'_>,
    number: &str,
    account: &Caller,
) -> Result<Option<Target>, Reject> {
    let who = Standing {
        house: is_ours(account),
        guest: matches!(account, Caller::Guest),
        referred: false,
    };
    match Own::find((cx.config, cx.plan), who, number, |_| true) {
        Some(own @ (Own::Page(_) | Own::Room(_) | Own::Named(_))) => {
            to_own(cx, asked, own, account)
        }
        Some(Own::QueueLogin(_) | Own::Service(_) | Own::Slot(_)) | None => Ok(None),
    }
}

/// What answers a number by itself, as a target.
fn to_own(
    cx: &Context<'_>,
    asked: &Asked<'_>,
    own: Own<'_>,
    account: &Caller,
) -> Result<Option<Target>, Reject> {
    let domain = cx.config.node.default_domain();
    Ok(Some(match own {
        Own::QueueLogin(queue) => expand::to_queue_login(queue, domain),
        Own::Service(service) => expand::to_service(service, domain),
        Own::Slot(slot) => expand::to_slot(slot, domain),
        Own::Page(page) => {
            may_page(cx.config, page, account)?;
            expand::to_page(&page.name, domain)
        }
        Own::Room(room) => expand::to_conference(&room.name, domain),
        Own::Named(named) => {
            let named = expand::to_named(named, domain);
            let named = named.filter(|_| asked.message.method() == Method::Invite);
            let Some(target) = named else { return Ok(None) };
            target
        }
    }))
}

/// Whether a service calls that no other one can relieve of its caller.
fn is_inside(asked: &Asked<'_>) -> bool {
    asked.flow.is_internal() && led(asked.message, asked.flow) == Led::Nowhere
}

/// What a service says of its call; nothing of anybody else's.
fn account_of<'a>(asked: &Asked<'a>) -> Option<&'a [u8]> {
    let account = asked.message.header(HeaderName::XVoipAccount);
    account.filter(|_| asked.flow.is_internal())
}

/// What becomes of a call of a service that another one takes; nothing of anybody else's.
pub(super) fn led(message: &Message, flow: &Flow) -> Led {
    let account = message.header(HeaderName::XVoipAccount);
    let account = account.filter(|_| flow.is_internal());
    account.map_or(Led::Nowhere, Led::parse)
}

/// Both ends would be ours, and one session of the media: a program changes instead.
fn service_calls_service() -> Reject {
    let note = "one service cannot call another: let the menu's key name it, as \"queue:support\"";
    reject(482, "A Service Calls A Service").noted(note)
}

/// Whether a caller is of the house.
fn is_ours(caller: &Caller) -> bool {
    match caller {
        Caller::User(_) | Caller::Trusted | Caller::Pool(_) | Caller::House | Caller::Operator => {
            true
        }
        Caller::Trunk(_) | Caller::Guest | Caller::InDialog => false,
    }
}

/// Whether a caller may speak to all phones of a paging group.
fn may_page(config: &Config, page: &config::Page, caller: &Caller) -> Result<(), Reject> {
    let named = |user: &str| page.callers.iter().any(|c| *config.whole_user(c) == *user);
    let may = page.callers.is_empty() || caller.user().is_some_and(named);
    match may {
        true => Ok(()),
        false => Err(reject(403, "You May Not Page Them").noted(format!("page {}", page.name))),
    }
}

/// What the number plan is asked about a number that the caller dials.
fn query<'a>(
    cx: &Context<'_>,
    asked: &'a Asked<'_>,
    number: &'a str,
    caller: &'a str,
) -> Query<'a> {
    Query {
        number,
        source: source_of(asked.caller),
        caller,
        address: asked.flow.remote.ip(),
        method: asked.message.method(),
        unix_ms: cx.anchor.unix_ms(cx.now),
    }
}

/// What the number plan says of a number; which route says so is for the call's record.
fn planned(
    cx: &Context<'_>,
    asked: &Asked<'_>,
    number: &str,
    caller: &str,
    journey: &mut Journey,
) -> Result<Option<Box<Way>>, Reject> {
    let query = Query {
        source: source_of(&journey.account),
        ..query(cx, asked, number, caller)
    };
    let (route, planned) = match cx.plan.decide(&query) {
        Decision::None => return Ok(None),
        Decision::Refuse {
            status,
            reason,
            route,
        } => {
            let why = reject(status, reason).noted(format!("plan: {reason}"));
            (route, Err(why))
        }
        Decision::Go(way) => (Some(way.route.clone()), Ok(Some(way))),
    };
    journey.ways.record |= matches!(&planned, Ok(Some(way)) if way.record);
    journey.ways.route = route.map_or_else(Box::default, |name| (&*name).into());
    planned
}

/// A call back, which nobody dialled, reaches no emergency number, whatever the routes make of the
/// one in the list.
fn raises_no_alarm(cx: &Context<'_>, asked: &Asked<'_>, number: &str) -> Result<(), Reject> {
    let Some(Account::CalledBack(user)) = account_of(asked).and_then(Account::parse) else {
        return Ok(());
    };
    let caller = identify(cx, asked).number;
    let query = Query {
        source: Source::User(&user),
        ..query(cx, asked, number, &caller)
    };
    match cx.plan.decide(&query) {
        Decision::Go(way) if cx.plan.reaches_emergency(&way) => {
            let why = reject(403, "No Call Back To Emergency Numbers");
            Err(why.noted("plan: a call back reaches no emergency number".to_owned()))
        }
        _ => Ok(()),
    }
}

impl From<feature::Refusal> for Reject {
    fn from(refusal: feature::Refusal) -> Self {
        Self {
            status: refusal.status,
            reason: refusal.reason,
            note: None,
        }
    }
}

/// Who calls, as our users read it.
fn identify(cx: &Context<'_>, asked: &Asked<'_>) -> Identified {
    let believed = !matches!(asked.caller, Caller::User(_) | Caller::Guest);
    let identified = egress::identified(asked.message, believed);
    match asked.caller {
        Caller::User(user) => Identified {
            number: user
                .rsplit_once('@')
                .map_or(&**user, |(name, _)| name)
                .into(),
            ..identified
        },
        caller => with_trunk_number(cx, caller, identified),
    }
}

fn source_of(caller: &Caller) -> Source<'_> {
    match caller {
        Caller::User(aor) => Source::User(aor),
        Caller::Trunk(name) => Source::Trunk(name),
        Caller::Pool(name) => Source::Pool(name),
        Caller::Operator => Source::Operator,
        Caller::Trusted | Caller::Guest | Caller::House | Caller::InDialog => Source::Other,
    }
}

/// Contact values for a 302.
fn contacts(found: &[Target]) -> Vec<String> {
    let uri = |target: &Target| match &target.place {
        Place::Out(out) => String::from_utf8(out.uri.to_vec()).ok(),
        Place::Binding(binding) => Some(binding.contact().to_owned()),
        Place::AsRequested | Place::Service(_) => None,
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
