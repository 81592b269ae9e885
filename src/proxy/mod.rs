//! F5: what becomes of a request (RFC 3261 §10 and §16).
//!
//! | module | what | source |
//! | --- | --- | --- |
//! | [`admission`] | who must prove who it is; strangers; no open relay | RFC 3261 §22, §26 |
//! | [`routing`] | validation, Route, what is for ourselves | RFC 3261 §16.3, §16.4 |
//! | [`targets`] | Request-URI to targets, by preference | RFC 3261 §16.5, RFC 5626 §7 |
//! | [`dial`] | what the number plan makes of a number |
//! | [`registration`] | REGISTER for a domain of ours | RFC 3261 §10 |
//! | [`mwi`] | telling phones that messages wait | RFC 3842, RFC 6665 |
//! | [`probe`] | OPTIONS for us | RFC 3261 §11 |
//! | [`forking`] | branches: sent, failed over, cancelled | RFC 3261 §16.6, §16.8 to §16.10 |
//! | [`responses`] | answers on their way back, the best one chosen | RFC 3261 §16.7 |
//! | [`ack`] | the ACK of a 2xx | RFC 3261 §16.11 |
//! | [`context`] | the response context's data | RFC 3261 §16.7 |
//! | [`forward`] | the forwarded copy, one edit list rendered once | RFC 3261 §16.6 |
//! | [`pickup`] | calls picked up by code |
//! | [`record_route`], [`token`] | staying on the path; flow tokens | RFC 5626, RFC 5658 |
//! | [`loops`] | loops told from spirals; breadth | RFC 5393 |
//! | [`border`], [`egress`] | trunks that see nothing of the inside | RFC 7092 §3.1.2 |
//! | [`metering`] | what trunks and pools say of one call more | |
//! | [`guard`], [`fraud`] | what guessing, flooding and stolen accounts may use up | |
//! | [`privacy`] | identities between trusted and untrusted sides | RFC 3323, RFC 3325 |
//!
//! The caller (`server`) takes events from the transaction layer and hands each to
//! [`Proxy::on_event`] with a [`Context`] of everything the proxy may use; answers from the locator
//! come by [`Proxy::on_located`], time by [`Proxy::handle_timeout`]. What leaves goes through the
//! transaction layer, but for the ACK of a 2xx and records for the store: those stand in
//! [`Outputs`].

mod ack;
mod admission;
mod border;
mod context;
mod dial;
mod egress;
mod forking;
mod forward;
pub mod fraud;
pub mod gruu;
pub mod guard;
mod indialog;
pub mod keepalive;
mod loops;
mod metering;
pub mod mwi;
pub mod nat;
mod onward;
pub mod outbound;
mod pickup;
mod privacy;
mod probe;
mod record_route;
pub mod registrar;
mod registration;
mod responses;
mod routing;
mod targets;
mod token;

pub use dial::{Own, Standing};
pub use pickup::PickUp;

use crate::base::{Anchor, Destination, Instant, Key, Rng, Slab, TimerTable, Transmit};
use crate::call::{CallKey, CallTable};
use crate::config::Config;
use crate::feature::{Features, Hunt};
use crate::location::Location;
use crate::mailbox::Mailboxes;
use crate::peer::Peers;
use crate::plan::Plan;
use crate::sip::digest::Authenticator;
use crate::sip::listeners::ListenerTable;
use crate::sip::locate::{LocateError, LocateId, Locator};
use crate::sip::transaction::{Event, ServerKey, TransactionLayer};
use crate::store::{Directory, Record};
use crate::wire::sip::{HeaderName, Message};
use border::Borders;
use bytes::Bytes;
use context::{Hold, Phase, ResponseContext};
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use token::TokenMint;

/// Client transactions whose `context` has this bit belong to somebody else than the proxy (a BYE
/// of the operator, a keepalive): the proxy never sets it, and their events are not the proxy's.
pub const CONTEXT_FOREIGN: u64 = 1 << 63;

/// Timers that one `handle_timeout` works off at most.
pub const TIMERS_PER_TURN: usize = 1024;

/// Borders for each call that a shard may have: one on either side.
const BORDERS_PER_CALL: usize = 2;

/// Requests that wait for DNS at a time, in one shard; more are refused.
pub const LOCATING_MAX: usize = 4096;

/// Everything that the proxy uses and does not own, for the time of one call.
#[derive(Debug)]
pub struct Context<'a> {
    /// The present.
    pub now: Instant,
    /// The calendar.
    pub anchor: Anchor,
    /// Sends requests, answers them.
    pub layer: &'a mut TransactionLayer,
    /// Finds next hops.
    pub locator: &'a mut Locator,
    /// Who is registered.
    pub location: &'a Location,
    /// Who may register and call.
    pub directory: &'a Directory,
    /// What users want to become of calls.
    pub features: &'a Features,
    /// Who takes messages.
    pub mailboxes: &'a Mailboxes,
    /// Challenges, and checks answers to them.
    pub authenticator: &'a mut Authenticator,
    /// Counts failures.
    pub guard: &'a guard::Guard,
    /// Trunks and pools.
    pub peers: &'a Peers,
    /// The calls under way.
    pub calls: &'a mut CallTable,
    /// What we listen on.
    pub listeners: &'a ListenerTable,
    /// As the operator wrote it.
    pub config: &'a Config,
    /// Where numbers lead.
    pub plan: &'a Plan,
    /// For tags.
    pub rng: &'a mut Rng,
    /// What should leave.
    pub outputs: &'a mut Outputs,
}

/// What the proxy wants done beside the transaction layer.
#[derive(Debug, Default)]
pub struct Outputs {
    /// ACKs of 2xx responses: they have no transaction (RFC 3261 §16.11).
    pub transmits: VecDeque<Transmit>,
    /// Changes of bindings.
    pub records: VecDeque<Record>,
    /// Calls to be picked up, each for the shard that has it; to go there behind all else.
    pub pick_ups: VecDeque<PickUp>,
}

/// What waits for the locator.
#[derive(Debug)]
enum Waiting {
    /// A branch of a context.
    Branch { key: Key, index: usize },
    /// An ACK on its way.
    Ack(Box<ack::Held>),
}

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// New requests that were looked at.
    pub requests: u64,
    /// Requests that were refused here.
    pub refused: u64,
    /// Branches that were sent.
    pub branches: u64,
    /// Branches that rang longer than Timer C.
    pub timer_c: u64,
    /// Requests that were too big for UDP.
    pub switched_to_tcp: u64,
    /// Responses that matched no branch, and were dropped (RFC 6026 §7.3).
    pub stray_responses: u64,
    /// ACKs that nobody here expected, and were dropped.
    pub stray_acks: u64,
}

/// The proxy of one shard.
#[derive(Debug)]
pub struct Proxy {
    contexts: Slab<ResponseContext>,
    /// The INVITEs among them, for their CANCELs.
    by_server: HashMap<ServerKey, Key>,
    timers: TimerTable<Key>,
    located: HashMap<LocateId, Waiting>,
    borders: Borders,
    /// What calls hold as long as they last.
    holds: HashMap<CallKey, SmallVec<[Hold; 2]>>,
    /// Which calls may be picked up.
    pickable: HashMap<Key, pickup::Pickable>,
    shard: usize,
    /// In which order groups ring.
    hunt: Hunt,
    mint: TokenMint,
    registrar: registrar::Registrar,
    /// Who wants to know of waiting messages.
    pub mwi: mwi::Notifier,
    loop_key: u64,
    stats: Stats,
}

impl Proxy {
    /// A proxy without work. `secret` signs flow tokens: the same in all shards, kept over
    /// restarts, so that dialogs outlive them.
    pub fn new(
        secret: [u8; 32],
        config: &Config,
        features: &Features,
        (shard, shards): (usize, usize),
    ) -> Self {
        let mut registrar = registrar::Registrar::new(&secret);
        registrar.set_service_routes(service_routes(config));
        Self {
            contexts: Slab::new(config.limits.transactions_max),
            by_server: HashMap::new(),
            timers: TimerTable::new(),
            located: HashMap::new(),
            borders: Borders::new(
                config.limits.calls_max.saturating_mul(BORDERS_PER_CALL),
                shard,
                shards,
            ),
            holds: HashMap::new(),
            pickable: HashMap::new(),
            shard,
            hunt: hunt(config, features),
            mint: TokenMint::new(&secret),
            registrar,
            mwi: mwi::Notifier::new((shard, shards)),
            loop_key: secret
                .iter()
                .fold(0, |key: u64, b| key.rotate_left(9) ^ u64::from(*b)),
            stats: Stats::default(),
        }
    }

    /// The configuration was read again. What a context holds already stays as it is.
    pub fn configure(&mut self, config: &Config, features: &Features) {
        self.hunt = hunt(config, features);
        self.registrar.set_service_routes(service_routes(config));
    }

    /// What the transaction layer has to tell.
    pub fn on_event(&mut self, cx: &mut Context<'_>, event: Event) {
        match event {
            Event::Request {
                server,
                flow,
                message,
            } => self.on_request(cx, server, &flow, message),
            Event::Cancelled { server, message } => {
                let reason = message
                    .header(HeaderName::Reason)
                    .map(Bytes::copy_from_slice);
                self.on_cancelled(cx, server, reason);
            }
            // Nothing is forwarded without state here, so nothing can be cancelled without.
            Event::StrayCancel {
                server, message, ..
            } => {
                let reject = routing::reject(481, "Call/Transaction Does Not Exist");
                self.refuse(cx, server, &message, reject);
            }
            Event::Ack { flow, message } => self.on_ack(cx, &flow, message),
            Event::Response {
                client,
                context,
                message,
            } => match self.context_key(context) {
                Some(key) => self.on_response(cx, key, client, message),
                None => self.stats.stray_responses += 1,
            },
            Event::StrayResponse { .. } => self.stats.stray_responses += 1,
            Event::Failed {
                client,
                context,
                why,
            } => {
                if let Some(key) = self.context_key(context) {
                    self.on_failure(cx, key, client, why);
                }
            }
            Event::AckMissing { .. } => {}
        }
    }

    /// The locator found the next hop of something, or did not.
    pub fn on_located(
        &mut self,
        cx: &mut Context<'_>,
        id: LocateId,
        found: Result<Vec<Destination>, LocateError>,
    ) {
        let found = found.unwrap_or_default();
        match self.located.remove(&id) {
            Some(Waiting::Branch { key, index }) => {
                self.on_branch_located(cx, key, index, id, found);
            }
            Some(Waiting::Ack(held)) => self.send_ack(cx, &held, found.into_iter().next()),
            None => {}
        }
    }

    /// Gives up a call that still rings, as the operator wants.
    pub fn cancel_call(&mut self, cx: &mut Context<'_>, call: CallKey) {
        let found = self
            .contexts
            .iter()
            .find(|(_, c)| c.invite && c.call == Some(call))
            .map(|(key, _)| key);
        if let Some(key) = found {
            self.close(cx, key, Phase::Cancelled, None);
            self.settle(cx, key);
        }
    }

    /// When to call [`Proxy::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = [
            self.timers.next(),
            self.borders.next_expiry(),
            self.mwi.poll_timeout(),
        ];
        timers.into_iter().flatten().min()
    }

    /// The messages of a user's mailbox changed.
    pub fn mail_changed(&mut self, cx: &mut Context<'_>, aor: &std::sync::Arc<str>) {
        self.mwi.changed(cx, aor);
    }

    /// A call ended.
    pub fn call_ended(&mut self, cx: &Context<'_>, call: CallKey) {
        for hold in self.holds.remove(&call).into_iter().flatten() {
            if let Hold::Account(ticket) | Hold::Metered(ticket) = hold {
                ticket.ended(cx.now);
            }
        }
        self.borders.call_ended(call, borders_until(cx));
    }

    /// A request of our own inside a call, without Via, as the border before its reader wants it;
    /// `via` is what it will bear.
    pub fn veil_own(
        &mut self,
        cx: &mut Context<'_>,
        request: &Message,
        via: &[u8],
    ) -> Option<Bytes> {
        let border = self.borders.of_near(request)?;
        let border = self.borders.get_mut(border)?;
        Some(forward::veil_own(request, via, border, cx.rng.token()))
    }

    /// Does what is due, up to [`TIMERS_PER_TURN`]; the rest is due at once again.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        self.borders.expire(cx.now);
        self.mwi.handle_timeout(cx);
        for _ in 0..TIMERS_PER_TURN {
            let Some((_, key)) = self.timers.pop_due(cx.now) else {
                return;
            };
            self.on_timer(cx, key);
        }
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Requests that are being proxied, those included whose 2xx may still be repeated.
    pub fn contexts(&self) -> usize {
        self.contexts.len()
    }

    /// Borders of calls, those included that ended a moment ago; for checkers.
    pub fn borders(&self) -> usize {
        self.borders.len()
    }

    /// Back from what `forking` gives to the transaction layer: one bit is not ours to use.
    fn context_key(&self, word: u64) -> Option<Key> {
        [word, word | CONTEXT_FOREIGN]
            .into_iter()
            .map(Key::from_u64)
            .find(|key| self.contexts.get(*key).is_some())
    }
}

fn hunt(config: &Config, features: &Features) -> Hunt {
    Hunt::new(&config.groups, config.node.default_domain(), features)
}

fn service_routes(config: &Config) -> Vec<String> {
    let routes = config.sip.service_route.iter();
    routes.map(|route| route.value()).collect()
}

/// How long the border of a call that ended stays for what is still under way.
fn borders_until(cx: &Context<'_>) -> Instant {
    cx.now + cx.config.timers.t1 * 64 * 2
}
