//! What becomes of a request that came in: checks (RFC 3261 §16.3), Route preprocessing (§16.4),
//! what is for ourselves, and targets (§16.5). From here it is answered, or goes to `forking`.

use super::admission::{self, Admission, Aim, Reject, Role, aor_of, own_domain};
use super::context::{Caller, Inbound};
use super::dial::{Asked, Dialled, Lead};
use super::forking::Start;
use super::gruu::Resolved;
use super::loops::{self, MAX_FORWARDS_DEFAULT};
use super::mwi::Notifier;
use super::record_route::{self, OwnRoutes};
use super::targets::{self, Place, Target};
use super::token::{Kind, Token};
use super::{Context, Proxy, indialog, nat, privacy, probe};
use crate::base::{Flow, Key};
use crate::call::{CallerInfo, Ways};
use crate::config::Service;
use crate::sip::transaction::ServerKey;
use crate::wire::sip::{HeaderName, Message, Method, NameAddr, ResponseBuilder, Scheme, Uri};
use std::borrow::Cow;

/// What we understand ourselves; a proxy passes every method.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, \
                                SUBSCRIBE, NOTIFY, REFER, MESSAGE, PUBLISH";
/// The extensions that a request may ask a proxy for (RFC 3323 §6.1).
const PROXY_EXTENSIONS: [&str; 1] = ["privacy"];
/// Where a request is for, after §16.4.
#[derive(Debug)]
pub(super) enum Destined {
    /// For this server itself.
    Myself,
    /// For an address of record of ours.
    Local { aor: String, secure: bool },
    /// Along the Route set, our token, or to another domain.
    Onward,
}

/// A request as it came.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    server: ServerKey,
    flow: &'a Flow,
    /// In the inside's terms.
    message: &'a Message,
    /// The border that it came over, in a dialog.
    border: Option<Key>,
}

impl Proxy {
    /// A new request: answered here, or forwarded.
    pub(super) fn on_request(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerKey,
        flow: &Flow,
        message: Message,
    ) {
        self.stats.requests += 1;
        let border = self.borders.of_far(&message);
        let inside = border.and_then(|_| self.unveiled(border, message.clone()));
        let arrival = Arrival {
            server,
            flow,
            message: inside.as_ref().unwrap_or(&message),
            border: border.filter(|_| inside.is_some()),
        };
        let routed = match self.refresh_mail(cx, arrival) {
            Some(refreshed) => refreshed,
            None => self.route(cx, arrival),
        };
        match routed {
            Ok(()) => {}
            Err(reject) => self.refuse(cx, server, &message, reject),
        }
    }

    /// Answers a request with a refusal.
    pub(super) fn refuse(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerKey,
        message: &Message,
        reject: Reject,
    ) {
        self.stats.refused += 1;
        tracing::debug!(
            method = %message.method(),
            uri = %String::from_utf8_lossy(message.request_uri()),
            status = reject.status,
            reason = &*reject.reason,
            "refused"
        );
        let tag = cx.rng.token::<10>();
        let mut response = ResponseBuilder::new(message, reject.status)
            .reason(&reject.reason)
            .to_tag(&tag);
        match reject.status {
            405 => response = response.header(HeaderName::Allow, ALLOW),
            420 => {
                for tag in unknown_extensions(message) {
                    response = response.header(HeaderName::Unsupported, tag);
                }
            }
            503 => response = response.header(HeaderName::RetryAfter, "5"),
            _ => {}
        }
        cx.layer.respond(cx.now, server, response.render());
    }

    fn route(&mut self, cx: &mut Context<'_>, arrival: Arrival<'_>) -> Result<(), Reject> {
        let Arrival { message, flow, .. } = arrival;
        let loop_hash = loops::loop_hash(message, self.loop_key);
        let (own, repaired) = self.preprocess(cx, message)?;
        let uri = repaired.uri.as_deref();
        let uri = Uri::parse(uri.unwrap_or_else(|| message.request_uri()))
            .map_err(|_| reject(400, "Bad Request-URI"))?;
        let in_dialog = has_to_tag(message);
        let call = match in_dialog {
            true => cx.calls.find(message),
            false => None,
        };
        let destined = self.destined(cx, message, &uri, &own, &repaired)?;
        let mine = match destined {
            Destined::Myself => !Notifier::is_for_us(message),
            Destined::Local { .. } => message.method() == Method::Register,
            Destined::Onward => false,
        };
        // RFC 3261 §16.3 step 3: an OPTIONS that may go no further is answered here.
        let last_hop = message.method() == Method::Options && message.max_forwards() == Ok(Some(0));
        if mine || last_hop {
            return self.answer_ourselves(cx, arrival.server, flow, message, &uri);
        }
        let max_forwards = check(message, loop_hash)?;
        let known = arrival.border.is_some()
            || in_dialog && indialog::vouches(cx, message, &uri, &own, &repaired, call);
        let via_flow = indialog::current_flow(cx, message, &uri, &own)?;
        let Some(caller) = self.caller(cx, arrival.server, flow, message, known, &destined)? else {
            return Ok(());
        };
        if !in_dialog && !matches!(destined, Destined::Onward) && Notifier::is_for_us(message) {
            return self.watch_mail(cx, arrival, &caller, &destined);
        }
        if privacy::impossible(message) {
            return Err(reject(500, "Privacy Cannot Be Provided"));
        }
        let mut ways = ways_of(&caller);
        let led = self.targets_of(cx, arrival, (&caller, &mut ways), &uri, destined);
        let Some(lead) = recorded(cx, arrival, (&caller, &ways), led)? else {
            return Ok(());
        };
        let breadth = loops::max_breadth(message).ok_or(reject(400, "Malformed Max-Breadth"))?;
        if breadth == 0 {
            return Err(reject(440, "Max-Breadth Exceeded"));
        }
        let caller_nat = nat::request_behind_nat(message, flow);
        let inbound = Inbound {
            flow: *flow,
            caller,
            uri: repaired.uri,
            pops: own.count,
            routes: repaired.routes,
            via_flow,
            max_forwards,
            breadth,
            loop_hash,
            record_route: !in_dialog && makes_dialog(message.method()),
            caller_flow: !in_dialog && needs_flow(message, flow, caller_nat),
            caller_nat,
            border: arrival.border,
            holds: lead.hold.into_iter().collect(),
        };
        let start = Start {
            targets: lead.targets,
            forwarding: lead.forwarding,
            call,
            ways,
        };
        self.enter(cx, arrival, inbound, start)
    }

    /// A SUBSCRIBE in a dialog of ours; `None` if it is none.
    fn refresh_mail(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival<'_>,
    ) -> Option<Result<(), Reject>> {
        let Arrival { message, flow, .. } = arrival;
        if message.method() != Method::Subscribe || !has_to_tag(message) {
            return None;
        }
        if let Some(answer) = self.mwi.refresh(cx, flow, message) {
            cx.layer.respond(cx.now, arrival.server, answer);
            return Some(Ok(()));
        }
        let lost = reject(481, "Subscription Does Not Exist");
        Notifier::was_for_us(message).then_some(Err(lost))
    }

    /// A SUBSCRIBE to message waiting, which ends here. Phones write their own address, that of
    /// voicemail, or none: it is the mailbox of whoever proves to be its owner.
    fn watch_mail(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival<'_>,
        caller: &Caller,
        destined: &Destined,
    ) -> Result<(), Reject> {
        let code = cx.config.services.code(Service::Voicemail);
        let named = match destined {
            Destined::Local { aor, .. } => Some(&**aor),
            Destined::Myself | Destined::Onward => None,
        };
        let voicemail = |aor: &&str| {
            let user = aor.split('@').next().unwrap_or_default();
            user == Service::Voicemail.name() || !code.is_empty() && user == code
        };
        let named = named.filter(|aor| !voicemail(aor));
        let aor = match (caller, named) {
            (Caller::User(user), None) => &**user,
            (Caller::User(user), Some(aor)) if **user == *aor => aor,
            (Caller::Trusted, Some(aor)) if cx.directory.get(aor).is_some() => aor,
            _ => return Err(reject(403, "Not Your Mailbox")),
        };
        let (aor, message) = (aor.to_owned(), arrival.message);
        let answer = self.mwi.subscribe(cx, arrival.flow, message, &aor);
        cx.layer.respond(cx.now, arrival.server, answer);
        Ok(())
    }

    /// Where the request leads; `None` if it was answered instead.
    fn targets_of(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival<'_>,
        (caller, ways): (&Caller, &mut Ways),
        uri: &Uri<'_>,
        destined: Destined,
    ) -> Result<Option<Lead>, Reject> {
        let Arrival { message, flow, .. } = arrival;
        if has_to_tag(message) {
            if message.method() == Method::Refer {
                indialog::note_parking(cx, message);
            }
            let mut targets = self.targets(cx, uri, destined)?;
            let border = self.borders.of_near(message);
            if let [target] = targets.as_mut_slice() {
                target.border = border;
            }
            // It crossed a BYE. Nothing of the media is known any more, so that a description would
            // pass as it is.
            let describes = matches!(message.method(), Method::Invite | Method::Update);
            let crossed = border.into_iter().chain(arrival.border);
            if describes && crossed.into_iter().any(|key| self.borders.is_over(key)) {
                return Err(reject(481, "Call Does Not Exist"));
            }
            return Ok(Some(targets.into()));
        }
        let mut asked = Asked {
            message,
            flow,
            caller,
            uri,
            secure: uri.is_sips(),
        };
        let Destined::Local { aor, secure } = destined else {
            let targets = self.targets(cx, uri, destined)?;
            return Ok(Some(self.recorded_there(cx, &asked, targets, ways)));
        };
        asked.secure = secure;
        match self.dial(cx, &asked, aor, ways)? {
            Dialled::Lead(lead) => Ok(Some(lead)),
            Dialled::Redirect(contacts) => {
                self.redirect(cx, arrival.server, message, &contacts);
                Ok(None)
            }
            Dialled::Done(done) => {
                self.tell_done(cx, arrival.server, message, &done);
                Ok(None)
            }
        }
    }

    /// Sets the request off, over the border and on the account of the peer that it comes from.
    fn enter(
        &mut self,
        cx: &mut Context<'_>,
        arrival: Arrival<'_>,
        mut inbound: Inbound,
        start: Start,
    ) -> Result<(), Reject> {
        let Arrival { message, flow, .. } = arrival;
        // A service's call is no peer's: where its account is one, that caller came in already.
        let outside = !flow.is_internal();
        if inbound.border.is_none() && inbound.record_route && outside {
            let entry = self.entry(cx, message, flow, &inbound.caller);
            let (border, hold) = recorded(cx, arrival, (&inbound.caller, &start.ways), entry)?;
            inbound.border = border;
            inbound.holds.extend(hold);
        }
        let border = inbound.border;
        let inside = match arrival.border {
            None if border.is_some() => self.unveiled(border, message.clone()),
            _ => None,
        };
        let message = inside.as_ref().unwrap_or(message);
        let begun = self.begin(cx, arrival.server, message, inbound, start);
        if let (Err(_), Some(border)) = (&begun, border) {
            self.borders.discard(border);
        }
        begun
    }
}

impl Proxy {
    /// On whose account the request goes; `None` if it was challenged. `known` says that it belongs
    /// to a dialog of ours.
    fn caller(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerKey,
        flow: &Flow,
        message: &Message,
        known: bool,
        destined: &Destined,
    ) -> Result<Option<Caller>, Reject> {
        if known {
            return Ok(Some(Caller::InDialog));
        }
        let aim = match destined {
            Destined::Local { .. } => Aim::Local,
            Destined::Onward | Destined::Myself => Aim::Foreign,
        };
        match admission::admit(cx, message, flow, aim) {
            Admission::Pass(caller) => Ok(Some(caller)),
            Admission::Refuse(reject) => Err(reject),
            Admission::Challenge { realm, stale } => {
                let response = admission::challenge(cx, message, Role::Proxy, &realm, stale);
                cx.layer.respond(cx.now, server, response);
                Ok(None)
            }
        }
    }
}

/// What is known of a call's ways when it comes.
fn ways_of(caller: &Caller) -> Ways {
    Ways {
        way_in: match caller {
            Caller::Trunk(name) | Caller::Pool(name) => name.clone(),
            _ => "".into(),
        },
        ..Ways::default()
    }
}

/// A call that is refused before it began gets its record, too.
fn recorded<T>(
    cx: &mut Context<'_>,
    arrival: Arrival<'_>,
    (caller, ways): (&Caller, &Ways),
    result: Result<T, Reject>,
) -> Result<T, Reject> {
    let Arrival { message, flow, .. } = arrival;
    if let Err(why) = &result
        && message.method() == Method::Invite
        && !has_to_tag(message)
    {
        let mut ways = ways.clone();
        ways.add_note(why.note());
        let info = CallerInfo {
            user: caller.user().map(Box::from),
            behind_nat: false,
            ways,
        };
        cx.calls.refused(cx.now, message, flow, info, why.status);
    }
    result
}

/// What §16.4 changes before anything else is looked at.
#[derive(Debug, Default)]
pub(super) struct Repaired {
    /// The Request-URI that a strict router had moved away, or one without our `maddr`.
    pub uri: Option<Box<[u8]>>,
    /// The Route set then, our own values taken off already.
    pub routes: Option<Vec<Box<[u8]>>>,
}

impl Proxy {
    /// RFC 3261 §16.4: undoes what a strict router did, takes off our `maddr`, and finds our own
    /// Route values.
    pub(super) fn preprocess(
        &self,
        cx: &Context<'_>,
        message: &Message,
    ) -> Result<(OwnRoutes, Repaired), Reject> {
        let uri = Uri::parse(message.request_uri()).map_err(|_| reject(400, "Bad Request-URI"))?;
        let is_ours = |uri: &Uri<'_>| own_domain(cx, uri).is_some();
        if message.has(HeaderName::Route)
            && is_ours(&uri)
            && let Some(token) = record_route::token_of(&uri, message.call_id(), &self.mint)
        {
            return self.undo_strict_router(message, token, is_ours);
        }
        let routes = message.values(HeaderName::Route);
        let own = record_route::own_routes(routes, message.call_id(), &self.mint, is_ours, false);
        let uri = match uri.param("maddr") {
            Some(Some(maddr)) if is_our_maddr(cx, &uri, maddr) => Some(without_maddr(&uri)),
            _ => None,
        };
        Ok((own, Repaired { uri, routes: None }))
    }

    /// The Request-URI is a Record-Route value of ours: the last Route value is the real one.
    fn undo_strict_router(
        &self,
        message: &Message,
        token: Token,
        is_ours: impl Fn(&Uri<'_>) -> bool,
    ) -> Result<(OwnRoutes, Repaired), Reject> {
        let mut routes: Vec<&[u8]> = message.values(HeaderName::Route).collect();
        let target = routes
            .pop()
            .and_then(|last| NameAddr::parse(last).ok())
            .ok_or(reject(400, "Malformed Route"))?;
        let pair = token.kind == Kind::Double;
        let call_id = message.call_id();
        let mut own =
            record_route::own_routes(routes.iter().copied(), call_id, &self.mint, is_ours, pair);
        if !pair {
            (own.flow, own.phone) = (token.flow, token.phone);
        }
        own.signed = true;
        let kept = routes.into_iter().skip(own.count).map(Box::from).collect();
        own.count = 0;
        let repaired = Repaired {
            uri: Some(target.uri_bytes().into()),
            routes: Some(kept),
        };
        Ok((own, repaired))
    }

    pub(super) fn destined(
        &self,
        cx: &Context<'_>,
        message: &Message,
        uri: &Uri<'_>,
        own: &OwnRoutes,
        repaired: &Repaired,
    ) -> Result<Destined, Reject> {
        let has_route = match &repaired.routes {
            Some(routes) => !routes.is_empty(),
            None => message.values(HeaderName::Route).nth(own.count).is_some(),
        };
        if own.flow.is_some() || has_route {
            return Ok(Destined::Onward);
        }
        let domain = match uri.scheme() {
            Scheme::Sip | Scheme::Sips => own_domain(cx, uri),
            Scheme::Tel => Some(cx.config.node.default_domain()),
            Scheme::Urn | Scheme::Other(_) => return Err(reject(416, "Unsupported URI Scheme")),
        };
        let Some(domain) = domain else {
            return Ok(Destined::Onward);
        };
        if uri.user().is_none() {
            return Ok(Destined::Myself);
        }
        let aor = aor_of(uri, domain).ok_or(reject(404, "Not Found"))?;
        Ok(Destined::Local {
            aor,
            secure: uri.is_sips(),
        })
    }

    /// RFC 3261 §16.5.
    pub(super) fn targets(
        &self,
        cx: &Context<'_>,
        uri: &Uri<'_>,
        destined: Destined,
    ) -> Result<Vec<Target>, Reject> {
        let (aor, secure) = match destined {
            Destined::Onward => {
                return Ok(vec![Target::new(
                    Place::AsRequested,
                    targets::rank(0, 1000),
                )]);
            }
            Destined::Myself => return Err(reject(404, "Not Found")),
            Destined::Local { aor, secure } => (aor, secure),
        };
        let domain = aor.rsplit_once('@').map_or("", |(_, domain)| domain);
        let bindings = match self.registrar.gruus().resolve(cx.location, uri, domain) {
            Resolved::Unknown => return Err(reject(404, "Not Found")),
            Resolved::Instance(bindings) => bindings,
            Resolved::NotGruu => {
                let bindings = cx.location.lookup(&aor);
                if bindings.is_empty() && cx.directory.get(&aor).is_none() {
                    return Err(reject(404, "Not Found"));
                }
                bindings
            }
        };
        let max = cx.config.limits.branches_max;
        let targets = targets::from_bindings(bindings, secure, max);
        if targets.is_empty() {
            return Err(reject(480, "Not Registered"));
        }
        Ok(targets)
    }

    /// A request for this server itself.
    fn answer_ourselves(
        &mut self,
        cx: &mut Context<'_>,
        server: ServerKey,
        flow: &Flow,
        message: &Message,
        uri: &Uri<'_>,
    ) -> Result<(), Reject> {
        match message.method() {
            Method::Options => {
                let response = probe::answer(message, &self.tag_of(message));
                cx.layer.respond(cx.now, server, response);
            }
            Method::Register => return self.register(cx, server, flow, message, uri),
            _ if has_to_tag(message) => return Err(reject(481, "Call/Transaction Does Not Exist")),
            _ => return Err(reject(405, "Method Not Allowed")),
        }
        Ok(())
    }
}

/// §16.3 steps 3 to 5: gives the Max-Forwards to write; zero left over is refused.
fn check(message: &Message, loop_hash: u64) -> Result<u8, Reject> {
    let hops = message
        .max_forwards()
        .map_err(|_| reject(400, "Malformed Max-Forwards"))?;
    let hops = match hops {
        None => MAX_FORWARDS_DEFAULT,
        Some(0) => return Err(reject(483, "Too Many Hops")),
        Some(hops) => hops - 1,
    };
    if loops::is_loop(message, loop_hash) {
        return Err(reject(482, "Loop Detected"));
    }
    if unknown_extensions(message).next().is_some() {
        return Err(reject(420, "Bad Extension"));
    }
    Ok(hops)
}

/// The extensions that a request wants of proxies and that we lack (§16.3 step 5).
fn unknown_extensions(message: &Message) -> impl Iterator<Item = &[u8]> {
    let known = |tag: &[u8]| {
        PROXY_EXTENSIONS
            .iter()
            .any(|own| tag.eq_ignore_ascii_case(own.as_bytes()))
    };
    message
        .tokens(HeaderName::ProxyRequire)
        .filter(move |tag| !known(tag))
}

pub(super) fn reject(status: u16, reason: &'static str) -> Reject {
    Reject {
        status,
        reason: Cow::Borrowed(reason),
        note: None,
    }
}

pub(super) fn has_to_tag(message: &Message) -> bool {
    message.to_tag().is_some()
}

/// Methods that begin a dialog (RFC 3261 §12, RFC 6665, RFC 3515).
fn makes_dialog(method: Method<'_>) -> bool {
    matches!(
        method,
        Method::Invite | Method::Subscribe | Method::Refer | Method::Notify
    )
}

/// Whether only the flow leads back to the caller: it is our neighbour, and sits behind NAT, or
/// came over a connection that it alone can open, or asked for it (RFC 5626 §5.3).
fn needs_flow(message: &Message, flow: &Flow, behind_nat: bool) -> bool {
    let neighbour =
        message.values(HeaderName::Via).nth(1).is_none() && !message.has(HeaderName::RecordRoute);
    let asks = || {
        let contact = message.addresses(HeaderName::Contact).next();
        let uri = contact.and_then(Result::ok).and_then(|c| c.uri().ok());
        uri.is_some_and(|u| u.param("ob").is_some())
    };
    flow.is_internal() || neighbour && (behind_nat || flow.transport.is_reliable() || asks())
}

/// Whether `maddr` and port of a Request-URI are ours (§16.4).
fn is_our_maddr(cx: &Context<'_>, uri: &Uri<'_>, maddr: &[u8]) -> bool {
    let text = [b"sip:", maddr].concat();
    Uri::parse(&text).is_ok_and(|m| cx.listeners.is_local(&m.host(), uri.port()))
}

/// The URI without `maddr`, and without the port and transport that led to us.
fn without_maddr(uri: &Uri<'_>) -> Box<[u8]> {
    let mut out = Vec::with_capacity(uri.as_bytes().len());
    out.extend_from_slice(if uri.is_sips() { b"sips:" } else { b"sip:" });
    if let Some(user) = uri.user() {
        out.extend_from_slice(user);
        out.push(b'@');
    }
    out.extend_from_slice(uri.host().to_string().as_bytes());
    for (name, value) in uri.params() {
        if name.eq_ignore_ascii_case(b"maddr") || name.eq_ignore_ascii_case(b"transport") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out.into()
}
