//! Call forwarding: where a user's calls go before a phone rings, and after it failed
//! (RFC 5806, RFC 7044).

use super::super::admission::Reject;
use super::super::context::{Caller, ResponseContext};
use super::super::egress;
use super::super::routing::reject;
use super::super::targets::{self, Place, Target};
use super::super::{Context, Proxy};
use super::{Asked, Dialled, Lead, account_of, identify, led, voicemail};
use crate::base::Key;
use crate::call::Ways;
use crate::call::inside::{self, Led};
use crate::feature::{self, Chain, Diversions, Failure, Forward, History, Incoming, target_aor};
use crate::plan::Way;
use crate::store::Settings;
use crate::wire::sip::{HeaderName, Message, Method, Scheme, Uri};
use std::sync::Arc;
use std::time::Duration;

/// What a forwarded request tells of its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct Marks {
    /// Diversion values, the last one to divert first.
    pub diversions: Box<[String]>,
    /// History-Info values, the oldest first.
    pub history: Box<[String]>,
    /// The user (`name@domain`) whose call is picked up by the reader, to be answered at once.
    pub picked_up: Option<Box<str>>,
}

/// The way of a call through users who forward.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Journey {
    /// On whose account it goes on.
    pub(super) account: Caller,
    /// The domain in which numbers are looked up.
    pub(super) domain: Box<str>,
    chain: Chain,
    marks: Option<Arc<Marks>>,
    /// What the call's record should say.
    pub(super) ways: Ways,
    history: History,
    diversions: Diversions,
}

impl Journey {
    pub(super) fn of(asked: &Asked<'_>, aor: &str) -> Self {
        let by = account_of(asked).and_then(inside::sent_on_by);
        let by = by.map(|by| Caller::User(by.into()));
        Self {
            account: by.unwrap_or_else(|| asked.caller.clone()),
            domain: aor.rsplit_once('@').map_or("", |(_, domain)| domain).into(),
            chain: Chain::of_request(aor, asked.message),
            marks: None,
            ways: Ways::default(),
            history: History::of(asked.message),
            diversions: Diversions::of(asked.message),
        }
    }

    /// Lets the targets tell that the call was forwarded, if it was.
    pub(super) fn mark(&self, targets: &mut [Target]) {
        if let Some(marks) = &self.marks {
            for target in targets {
                target.marks = Some(Arc::clone(marks));
            }
        }
    }

    /// The user `aor` sends it elsewhere.
    fn divert(&mut self, aor: &str, forward: &Forward) -> Result<(), Reject> {
        let who = aor.strip_suffix(&*self.domain);
        let who = who.and_then(|who| who.strip_suffix('@')).unwrap_or(aor);
        self.ways
            .add_note(&format!("forwarded by {who}: {}", word(forward.why)));
        let target = target_aor(aor, &forward.to);
        self.chain.step(&target)?;
        self.history.arrive(&format!("sip:{aor}"));
        self.history.divert(&format!("sip:{target}"), forward.why);
        self.diversions.divert(aor, forward.why);
        self.marks = Some(Arc::new(Marks {
            diversions: self.diversions.values().into(),
            history: self.history.values().map(String::from).collect(),
            picked_up: None,
        }));
        self.account = Caller::User(aor.into());
        Ok(())
    }
}

/// What becomes of a call to a user whose phones ring, should they fail.
#[derive(Debug)]
pub(in crate::proxy) struct Forwarding {
    aor: Box<str>,
    settings: Arc<Settings>,
    journey: Journey,
    /// How long the phones ring, if the user said so.
    pub ring: Option<Duration>,
    /// Whether the call falls to the user's voicemail in the end.
    mail: bool,
    /// Who calls, and how, for what follows.
    caller: Caller,
    secure: bool,
}

impl Forwarding {
    /// Whether the call goes on after this final status.
    pub fn goes_on(&self, status: u16, rang: bool) -> bool {
        let failure = Failure::of_status(status, rang);
        failure.is_some_and(|failure| feature::after(&self.settings, failure).is_some())
            || self.mail && voicemail::of_status(status, rang).is_some()
    }

    /// Whether the user's phones may send the call elsewhere.
    pub fn follows_phones(&self) -> bool {
        !self.settings.is_empty()
    }

    /// Voicemail alone, for a call that the user's forwarding sent elsewhere.
    pub(super) fn mail_alone(
        asked: &Asked<'_>,
        aor: &str,
        journey: &Journey,
        ring: Option<Duration>,
    ) -> Box<Self> {
        Box::new(Self {
            aor: aor.into(),
            settings: Arc::default(),
            journey: journey.clone(),
            ring,
            mail: true,
            caller: asked.caller.clone(),
            secure: asked.secure,
        })
    }
}

impl Proxy {
    /// A call to a user: what the user wants decides before a phone rings.
    pub(super) fn lead_to_phones(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        aor: &str,
        journey: &mut Journey,
    ) -> Result<Dialled, Reject> {
        let (mail, most) = falls(cx, asked, aor);
        let settings = match asked.message.method() {
            Method::Invite => cx.features.settings(aor),
            _ => None,
        };
        let settings = match settings {
            Some(settings) => settings,
            None if mail || most.is_some() => Arc::default(),
            None => {
                let mut phones = self.phones_of(cx, aor, asked.secure)?;
                journey.mark(&mut phones);
                return Ok(Dialled::Lead(phones.into()));
            }
        };
        let identified = identify(cx, asked);
        let uri = asked.message.from().map(|from| from.uri_bytes().to_vec());
        let uri = String::from_utf8(uri.unwrap_or_default()).unwrap_or_default();
        let caller = feature::Caller {
            number: &identified.number,
            uri: &uri,
            anonymous: identified.private || feature::Caller::hides(asked.message),
        };
        let ring = match feature::incoming(&settings, caller) {
            // Who wants not to be disturbed may be told something; who shuts a caller out wants
            // nothing of it.
            Incoming::Refuse(refusal) if mail && settings.dnd && refusal.status == 480 => {
                return Ok(to_mail(aor, true));
            }
            Incoming::Refuse(refusal) => return Err(refusal.into()),
            Incoming::Forward(forward) => {
                let before = journey.clone();
                let led = self.send_on(cx, asked, aor, &forward, journey);
                return or_mail(led, mail, asked, aor, &before);
            }
            Incoming::Ring { ring } => ring.or(most),
        };
        self.lead_to_rings(cx, asked, aor, journey, (settings, ring, mail))
    }

    /// The phones of a user ring so long, and then what the user wants becomes of the call.
    fn lead_to_rings(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        aor: &str,
        journey: &mut Journey,
        (settings, ring, mail): (Arc<Settings>, Option<Duration>, bool),
    ) -> Result<Dialled, Reject> {
        match self.phones_of(cx, aor, asked.secure) {
            Ok(mut phones) => {
                journey.mark(&mut phones);
                let forwarding = Forwarding {
                    aor: aor.into(),
                    settings,
                    journey: journey.clone(),
                    ring,
                    mail,
                    caller: asked.caller.clone(),
                    secure: asked.secure,
                };
                Ok(Dialled::Lead(Lead {
                    forwarding: Some(Box::new(forwarding)),
                    ..phones.into()
                }))
            }
            Err(why) => match feature::after(&settings, Failure::Unregistered) {
                Some(forward) if why.status == 480 => {
                    let before = journey.clone();
                    let led = self.send_on(cx, asked, aor, &forward, journey);
                    or_mail(led, mail, asked, aor, &before)
                }
                None if mail && why.status == 480 => Ok(to_mail(aor, false)),
                _ => Err(why),
            },
        }
    }

    /// The call goes on in the name of the user who forwards it.
    fn send_on(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        aor: &str,
        forward: &Forward,
        journey: &mut Journey,
    ) -> Result<Dialled, Reject> {
        journey.divert(aor, forward)?;
        tracing::debug!(user = aor, to = %forward.to, why = ?forward.why, "forwarded");
        if let Some(lead) = self.lead_recorded_on(cx, asked, &forward.to, journey) {
            return Ok(Dialled::Lead(lead));
        }
        self.lead_on(cx, asked, &forward.to, journey)
    }

    /// A URI that a user forwards to, or has as a speed dial: one of ours is a number.
    pub(super) fn lead_to_uri(
        &self,
        cx: &Context<'_>,
        asked: &Asked<'_>,
        written: &str,
        journey: &mut Journey,
    ) -> Result<Dialled, Reject> {
        let uri = Uri::parse(written.as_bytes()).map_err(|_| reject(404, "Not Found"))?;
        if super::super::admission::own_domain(cx, &uri).is_some() {
            let number = String::from_utf8(uri.user_unescaped().into_owned());
            let number = number.map_err(|_| reject(404, "Not Found"))?;
            return self.lead_on(cx, asked, &number, journey);
        }
        if matches!(journey.account, Caller::Guest | Caller::House) {
            return Err(reject(403, "Strangers May Not Call Out"));
        }
        let way = Way::to_uri(written);
        let out = egress::to_uri(written, &way, &identify(cx, asked), &journey.domain);
        let out = out.ok_or(reject(404, "Not Found"))?;
        let mut target = Target::new(Place::Out(Arc::new(out)), targets::rank(0, 1000));
        target.hunts = false;
        let mut found = vec![target];
        journey.mark(&mut found);
        Ok(Dialled::Lead(found.into()))
    }

    /// The phones of a user failed: new targets, if the user wants the call to go on. `None` if it
    /// ends here.
    pub(in crate::proxy) fn forward_on(
        &mut self,
        cx: &mut Context<'_>,
        key: Key,
    ) -> Option<Vec<Target>> {
        let context = self.contexts.get_mut(key)?;
        let forwarding = context.forwarding.take()?;
        let Some(forward) = forward_after(context, &forwarding) else {
            let busy = voicemail::falls(context).filter(|_| forwarding.mail)?;
            context.best = Default::default();
            return Some(vec![voicemail::target(&forwarding.aor, busy)]);
        };
        let flow = context.inbound.flow;
        let message = self.request_of(cx, key)?;
        let uri = Uri::parse(message.request_uri()).ok()?;
        let asked = Asked {
            message: &message,
            flow: &flow,
            caller: &forwarding.caller,
            uri: &uri,
            secure: forwarding.secure,
        };
        let mut journey = forwarding.journey.clone();
        let before = journey.clone();
        let led = self.send_on(cx, &asked, &forwarding.aor, &forward, &mut journey);
        let led = or_mail(led, forwarding.mail, &asked, &forwarding.aor, &before);
        let call = self.contexts.get(key).and_then(|c| c.call);
        if let Some(ways) = call.and_then(|call| cx.calls.ways(call)) {
            ways.learn(&journey.ways);
            if let Err(why) = &led {
                ways.add_note(why.note());
            }
        }
        let Ok(Dialled::Lead(lead)) = led else {
            return None;
        };
        let context = self.contexts.get_mut(key)?;
        context.forwarding = lead.forwarding;
        context.best = Default::default();
        if let (Some(hold), Some(call)) = (lead.hold, call) {
            self.holds.entry(call).or_default().push(hold);
        }
        Some(lead.targets)
    }
}

/// Whether a call to a user falls to voicemail, and how long the phones ring where the user did not
/// say. The caller of a service is led there if the service lets itself be relieved: it cannot call
/// voicemail, as both ends would be ours.
fn falls(cx: &Context<'_>, asked: &Asked<'_>, aor: &str) -> (bool, Option<Duration>) {
    let led = led(asked.message, asked.flow);
    let may = !asked.flow.is_internal() || matches!(led, Led::Mail(_));
    let mail = may && voicemail::takes(cx, asked, aor);
    let own = led.ring_s().map(u32::from);
    let most = own.or(mail.then_some(cx.config.voicemail.ring_s));
    (
        mail,
        most.map(|seconds| Duration::from_secs(seconds.into())),
    )
}

/// A call that goes to voicemail at once.
fn to_mail(aor: &str, busy: bool) -> Dialled {
    Dialled::Lead(vec![voicemail::target(aor, busy)].into())
}

/// A call that the user sends elsewhere falls to the user's voicemail, too, unless who it goes to
/// has an own one.
fn or_mail(
    led: Result<Dialled, Reject>,
    mail: bool,
    asked: &Asked<'_>,
    aor: &str,
    journey: &Journey,
) -> Result<Dialled, Reject> {
    match led {
        Ok(Dialled::Lead(mut lead)) if mail && lead.forwarding.is_none() => {
            lead.forwarding = Some(Forwarding::mail_alone(asked, aor, journey, None));
            Ok(Dialled::Lead(lead))
        }
        Err(why) if mail && voicemail::of_status(why.status, false).is_some() => {
            Ok(to_mail(aor, false))
        }
        led => led,
    }
}

/// Why a call is forwarded, as its record says it.
fn word(why: feature::Why) -> &'static str {
    match why {
        feature::Why::Always => "always",
        feature::Why::Busy => "busy",
        feature::Why::NoAnswer => "no-answer",
        feature::Why::Unregistered => "unregistered",
        feature::Why::Deflected => "by the phone",
    }
}

/// What a user wants after how the phones fared.
fn forward_after(context: &ResponseContext, forwarding: &Forwarding) -> Option<Forward> {
    if let Some(to) = context.deflected.clone() {
        let why = feature::Why::Deflected;
        return Some(Forward { to, why });
    }
    let failure = match context.outcome.timed_out {
        true => Failure::NoAnswer,
        false => Failure::of_status(context.best.status(), context.rang)?,
    };
    feature::after(&forwarding.settings, failure)
}

/// The first Contact of a 302, as something to forward to.
pub(in crate::proxy) fn deflection(message: &Message) -> Option<Box<str>> {
    let contact = message.addresses(HeaderName::Contact).next()?.ok()?;
    let uri = contact.uri().ok()?;
    let sip = matches!(uri.scheme(), Scheme::Sip | Scheme::Sips);
    let written = std::str::from_utf8(contact.uri_bytes()).ok()?;
    sip.then(|| written.into())
}
