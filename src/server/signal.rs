//! One shard of the signalling side.

use super::control::PendingCalls;
use super::counters::Counters;
use super::media::{MediaNews, MediaOrder};
use super::trace::TraceRing;
use crate::base::{Anchor, BoundedQueue, ConnectionId, Destination, Flow, Instant, Rng};
use crate::base::{Transmit, TransmitTag};
use crate::call::{self, Bye, CallOutput, CallSettings, CallTable, MediaPolicy};
use crate::config::{Config, Digest};
use crate::control::{Command, Reply};
use crate::feature::Features;
use crate::location::{Limits, Location};
use crate::mailbox::Mailboxes;
use crate::media::News;
use crate::pbx::rooms::{Address, Roster, Wish};
use crate::pbx::{self, Pbx};
use crate::peer::{self, Peers};
use crate::plan::Plan;
use crate::proxy::guard::{self, Guard};
use crate::proxy::keepalive::{self, Keepalive};
use crate::proxy::{CONTEXT_FOREIGN, Context, Outputs, PickUp, Proxy};
use crate::relay::{MediaEvent, PortPool};
use crate::sip::digest::{Algorithm, Authenticator, Replays};
use crate::sip::listeners::ListenerTable;
use crate::sip::locate::{DnsAnswer, DnsQuestion, Locator};
use crate::sip::transaction::{ClientKey, Event, Failure, Settings, TransactionLayer};
use crate::store::{Directory, Record};
use crate::wire::sip::{Edit, FrameError, HeaderName, Message};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Control commands that wait for the relay's figures at a time.
const PENDING_MAX: usize = 16;

/// Beside [`CONTEXT_FOREIGN`]: the transaction is the peers' client's, and the bits below are its
/// name for it. Without, they name a keepalive; zero is a BYE whose answer nobody waits for.
const CONTEXT_PEER: u64 = 1 << 62;

/// Beside both: the transaction is a NOTIFY of waiting messages; the peers' names are counted from
/// zero and never come so far.
const CONTEXT_MWI: u64 = 1 << 61;

/// What network, clock or operator brings.
#[derive(Debug)]
pub enum Input {
    /// One whole message: a datagram, or what a framer cut from a stream.
    Message {
        /// How it came.
        flow: Flow,
        /// The message.
        bytes: Bytes,
    },
    /// The peer of a connection proved to be these SIP domains, in lower case (RFC 5922); comes
    /// before its messages.
    Proved {
        /// Of the connection.
        flow: Flow,
        /// The domains.
        domains: Arc<[Box<str>]>,
    },
    /// A stream that cannot be cut into messages any more.
    Unframeable {
        /// How it came.
        flow: Flow,
        /// What is there of the message.
        head: Bytes,
        /// Why.
        error: FrameError,
    },
    /// A connection ended.
    ConnectionClosed {
        /// Which.
        connection: ConnectionId,
    },
    /// Bytes could not be sent.
    TransmitFailed {
        /// Of [`Transmit::tag`].
        tag: TransmitTag,
    },
    /// The resolver answers.
    Resolved {
        /// Of [`Output::Resolve`].
        query: u64,
        /// What it says.
        answer: DnsAnswer,
    },
    /// The relay has something to say.
    Media(MediaNews),
    /// The operator wants something.
    Control {
        /// Comes back in [`Output::Reply`].
        id: u64,
        /// What.
        command: Command,
    },
    /// The messages of this user's mailbox changed.
    MailChanged(Arc<str>),
    /// The mailboxes were changed by nobody's call: what that brings is to be passed on.
    Mailboxes,
    /// A phone picks up a call of this shard.
    PickUp(PickUp),
    /// Something is wanted of a member of a conference whose call is of this shard.
    Member {
        /// The session of its media.
        session: u64,
        /// What.
        wish: Wish,
    },
    /// The configuration was read again.
    Configure(Arc<Config>),
    /// The calendar moved.
    Wall(Anchor),
    /// The daemon stops: the calls end. See [`SignalCore::is_at_rest`].
    Stop,
}

/// What the core wants done.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Ask the resolver.
    Resolve {
        /// Comes back in [`Input::Resolved`].
        query: u64,
        /// What to ask.
        question: DnsQuestion,
    },
    /// Tell the relay.
    Media(MediaOrder),
    /// Write to the store.
    Persist(Record),
    /// Answer the operator.
    Reply {
        /// Of [`Input::Control`].
        id: u64,
        /// The answer.
        reply: Reply,
    },
    /// Close a connection once what was sent before is out.
    CloseConnection(ConnectionId),
    /// Give this to a shard, maybe this very one, once what was sent before is out.
    Tell {
        /// Which.
        shard: usize,
        /// What.
        input: Input,
    },
    /// A call of this Call-ID, which is another shard's, has taken a place in this one (RFC 3891),
    /// or is over.
    Detour {
        /// Whose messages are to come here.
        call_id: Box<[u8]>,
        /// Whether the call is up.
        lasts: bool,
    },
}

/// What a shard is made of.
#[derive(Debug)]
pub struct Setup {
    /// Which shard.
    pub shard: usize,
    /// Of how many.
    pub shards: usize,
    /// As the operator wrote it.
    pub config: Arc<Config>,
    /// What we listen on.
    pub listeners: ListenerTable,
    /// Our addresses, for media.
    pub addresses: call::Addresses,
    /// Who is registered; shared by all shards.
    pub location: Arc<Location>,
    /// Who may register and call; shared.
    pub directory: Arc<Directory>,
    /// What users want to become of calls; shared.
    pub features: Arc<Features>,
    /// The voicemail of users; shared.
    pub mailboxes: Arc<Mailboxes>,
    /// Who is shut out; shared.
    pub guard: Arc<Guard>,
    /// Trunks and pools; shared.
    pub peers: Arc<Peers>,
    /// Who is in which conference; shared.
    pub rooms: Arc<Roster>,
    /// Seeded by the owner, differently for each shard.
    pub rng: Rng,
    /// Ties the clock to the calendar.
    pub anchor: Anchor,
    /// Signs nonces and flow tokens; the same in all shards, kept over restarts.
    pub secret: [u8; 32],
    /// Which nonce counts were used; shared by all shards.
    pub replays: Arc<Replays>,
    /// This shard's media ports.
    pub ports: PortPool,
}

/// One shard. See the module's text.
#[derive(Debug)]
pub struct SignalCore {
    pub(super) shard: usize,
    shards: usize,
    pub(super) config: Arc<Config>,
    pub(super) listeners: ListenerTable,
    pub(super) addresses: call::Addresses,
    pub(super) location: Arc<Location>,
    pub(super) directory: Arc<Directory>,
    pub(super) features: Arc<Features>,
    pub(super) mailboxes: Arc<Mailboxes>,
    pub(super) guard: Arc<Guard>,
    pub(super) peers: Arc<Peers>,
    pub(super) rng: Rng,
    pub(super) anchor: Anchor,
    pub(super) layer: TransactionLayer,
    pub(super) locator: Locator,
    pub(super) authenticator: Authenticator,
    pub(super) proxy: Proxy,
    pub(super) calls: CallTable,
    pub(super) pbx: Pbx,
    pub(super) rooms: Arc<Roster>,
    pub(super) keepalive: Keepalive,
    /// In the first shard alone.
    client: Option<peer::Client>,
    /// Of [`Peers::moves`] when the guard was told.
    peers_told: u64,
    pub(super) counters: Counters,
    pub(super) trace: TraceRing,
    /// Of `config`; the routes' places in it are those of the file.
    pub(super) plan: Arc<Plan>,
    pub(super) pending: BoundedQueue<PendingCalls>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) started: Instant,
    proxy_outputs: Outputs,
    /// What leaves once all that it gives rise to inside is done.
    leaving: VecDeque<Transmit>,
    now: Instant,
}

fn transaction_settings(config: &Config) -> Settings {
    Settings {
        t1: config.timers.t1,
        t2: config.timers.t2,
        t4: config.timers.t4,
        server_max: config.limits.transactions_max,
        client_max: config.limits.transactions_max.saturating_mul(2),
    }
}

/// What challenges offer, the preferred one first.
fn algorithms(config: &Config) -> &'static [Algorithm] {
    match config.sip.digest {
        Digest::Md5 => &[Algorithm::Md5],
        Digest::Sha256 => &[Algorithm::Sha256],
        Digest::Both => &[Algorithm::Sha256, Algorithm::Md5],
    }
}

/// Whether agents of queues, and whoever is paged, have other calls is counted.
fn watch_agents(config: &Config, features: &Features) {
    let domain = config.node.default_domain();
    let agents = config.queues.iter().flat_map(|queue| &queue.agents);
    let paged = config.pages.iter().flat_map(|page| &page.members);
    for agent in agents.chain(paged) {
        let aor = match agent.contains('@') {
            true => agent.to_string(),
            false => format!("{agent}@{domain}"),
        };
        features.watch(std::iter::once(&*aor));
    }
}

fn call_settings(
    shard: usize,
    config: &Config,
    anchor: Anchor,
    addresses: &call::Addresses,
) -> CallSettings {
    CallSettings {
        shard,
        calls_max: config.limits.calls_max,
        anchor,
        media: MediaPolicy {
            relay: config.rtp.relay,
            addresses: addresses.clone(),
        },
        duration_max: config.timers.call_max,
    }
}

impl SignalCore {
    /// A shard that has heard nothing yet.
    pub fn new(setup: Setup) -> Self {
        let Setup {
            shard,
            shards,
            config,
            listeners,
            addresses,
            location,
            directory,
            features,
            mailboxes,
            guard,
            peers,
            rooms,
            ..
        } = setup;
        let mut rng = setup.rng;
        let anchor = setup.anchor;
        let mut authenticator = Authenticator::with_replays(setup.secret, setup.replays);
        authenticator.offer(algorithms(&config));
        let calls = call_settings(shard, &config, anchor, &addresses);
        watch_agents(&config, &features);
        Self {
            shard,
            shards,
            layer: TransactionLayer::new(transaction_settings(&config), rng.fork()),
            locator: Locator::new(rng.fork()),
            authenticator,
            proxy: Proxy::new(setup.secret, &config, &features, (shard, shards)),
            calls: CallTable::new(calls, setup.ports),
            pbx: Pbx::new(&config),
            rooms,
            leaving: VecDeque::new(),
            keepalive: Keepalive::new(keepalive::Settings::of(&config), shard, shards),
            peers_told: 0,
            client: (shard == 0).then(|| {
                let domain = config.node.default_domain();
                peer::Client::new(
                    anchor.instant,
                    Arc::clone(&peers),
                    shards,
                    domain,
                    rng.fork(),
                )
            }),
            counters: Counters::default(),
            trace: TraceRing::new(config.limits.trace_messages_max),
            pending: BoundedQueue::new(PENDING_MAX),
            outputs: VecDeque::new(),
            proxy_outputs: Outputs::default(),
            started: anchor.instant,
            now: anchor.instant,
            plan: Arc::new(Plan::compile(&config)),
            config,
            listeners,
            addresses,
            location,
            directory,
            features,
            mailboxes,
            guard,
            peers,
            rng,
            anchor,
        }
    }

    /// Takes what happened. Drain [`SignalCore::poll_output`] afterwards.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = now;
        match input {
            Input::Message { flow, bytes } => self.on_message(now, flow, bytes),
            Input::Proved { flow, domains } => self.peers.proved(&flow, &domains),
            Input::Unframeable { flow, head, error } => self.on_unframeable(flow, head, error),
            Input::ConnectionClosed { connection } => self.on_connection_closed(connection),
            Input::TransmitFailed { tag } => self.layer.transmit_failed(now, tag),
            Input::Resolved { query, answer } => self.locator.answer(now, query, answer),
            Input::Media(event) => self.on_media(now, event),
            Input::Control { id, command } => self.on_command(now, id, command),
            Input::PickUp(pick_up) => {
                self.with_proxy(now, |proxy, cx| proxy.pick_up(cx, &pick_up));
            }
            Input::Member { session, wish } => {
                self.with_pbx(now, |pbx, cx| pbx.on_wish(cx, session, wish));
            }
            Input::MailChanged(aor) => {
                self.with_proxy(now, |proxy, cx| proxy.mail_changed(cx, &aor));
            }
            Input::Mailboxes => {}
            Input::Configure(config) => self.configure(config),
            Input::Wall(anchor) => {
                self.anchor = anchor;
                self.calls.set_anchor(anchor);
            }
            Input::Stop => {
                self.calls.shut_down(now);
                self.with_client(|client, net| client.stop(now, net));
            }
        }
        self.drive(now);
    }

    /// What to do next, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`SignalCore::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = [
            self.layer.poll_timeout(),
            self.proxy.poll_timeout(),
            self.calls.poll_timeout(),
            self.pbx.poll_timeout(),
            self.locator.poll_timeout(),
            self.keepalive.poll_timeout(),
            self.client.as_ref().and_then(peer::Client::poll_timeout),
            self.pending_timeout(),
            self.location.next_expiry(),
        ];
        timers.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.layer.handle_timeout(now);
        self.calls.handle_timeout(now);
        self.with_pbx(now, |pbx, cx| pbx.handle_timeout(cx));
        self.locator.handle_timeout(now);
        self.keepalive.handle_timeout(now, &self.location);
        self.with_client(|client, net| client.handle_timeout(now, net));
        self.with_proxy(now, |proxy, cx| proxy.handle_timeout(cx));
        let ended = self.location.expire(now);
        self.outputs.extend(ended.into_iter().map(Output::Persist));
        self.handle_pending(now);
        self.drive(now);
    }

    /// Whether every call has its record, and no registration of ours is left to take back: what a
    /// stop waits for.
    pub fn is_at_rest(&self) -> bool {
        let client = self.client.as_ref();
        self.calls.is_empty() && client.is_none_or(peer::Client::is_at_rest)
    }

    /// Transactions and calls that live now, for checkers.
    pub fn load(&self) -> (usize, usize) {
        let stats = self.layer.stats();
        (stats.servers + stats.clients, self.calls.len())
    }

    /// What users want to become of their calls.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The voicemail of users.
    pub fn mailboxes(&self) -> &Mailboxes {
        &self.mailboxes
    }

    /// Calls that go over a border, for checkers.
    pub fn borders(&self) -> usize {
        self.proxy.borders()
    }

    /// Calls that end in a service, for checkers.
    pub fn callers(&self) -> usize {
        self.pbx.len()
    }

    /// Calls whose media passes through us, for checkers.
    pub fn media_sessions(&self) -> usize {
        self.calls.media_sessions().len()
    }

    /// Trunks and pools.
    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// Media port pairs in use, for checkers.
    pub fn ports_in_use(&self) -> usize {
        self.calls.ports_in_use()
    }

    fn configure(&mut self, config: Arc<Config>) {
        self.authenticator.offer(algorithms(&config));
        self.trace.set_limit(config.limits.trace_messages_max);
        self.keepalive.configure(keepalive::Settings::of(&config));
        self.calls.configure(call_settings(
            self.shard,
            &config,
            self.anchor,
            &self.addresses,
        ));
        self.proxy.configure(&config, &self.features);
        self.guard.configure(guard::Settings::of(&config));
        self.location.set_limits(Limits::of(&config));
        // By one alone: two shards that read two files would undo each other's work for a moment.
        if let Some(client) = &mut self.client {
            self.peers.configure(&config);
            client.set_domain(config.node.default_domain());
        }
        self.plan = Arc::new(Plan::compile(&config));
        watch_agents(&config, &self.features);
        self.config = config;
    }

    pub(super) fn with_proxy<T>(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Proxy, &mut Context<'_>) -> T,
    ) -> T {
        let mut cx = Context {
            now,
            anchor: self.anchor,
            layer: &mut self.layer,
            locator: &mut self.locator,
            location: &self.location,
            directory: &self.directory,
            features: &self.features,
            mailboxes: &self.mailboxes,
            authenticator: &mut self.authenticator,
            guard: &self.guard,
            peers: &self.peers,
            calls: &mut self.calls,
            listeners: &self.listeners,
            config: &self.config,
            plan: &self.plan,
            rng: &mut self.rng,
            outputs: &mut self.proxy_outputs,
        };
        act(&mut self.proxy, &mut cx)
    }

    /// Nothing in the other shards.
    fn with_client<T: Default>(
        &mut self,
        act: impl FnOnce(&mut peer::Client, &mut peer::Net<'_>) -> T,
    ) -> T {
        let mut net = peer::Net {
            listeners: &self.listeners,
            locator: &mut self.locator,
        };
        let client = self.client.as_mut();
        client.map_or_else(T::default, |client| act(client, &mut net))
    }

    /// Trunks and members of pools send as much as they like.
    fn tell_guard(&mut self) {
        let moves = self.peers.moves();
        if self.shard == 0 && self.peers_told != moves {
            self.peers_told = moves;
            self.guard.set_peers(self.peers.addresses());
        }
    }

    /// Carries what one core wants to the next, until none wants anything.
    pub(super) fn drive(&mut self, now: Instant) {
        self.tell_guard();
        loop {
            let mut moved = false;
            while let Some(event) = self.layer.poll_event() {
                moved = true;
                self.on_event(now, event);
            }
            while let Some((id, found)) = self.locator.poll_done() {
                moved = true;
                if self.client.as_ref().is_some_and(|c| c.waits_for(id)) {
                    self.with_client(|client, net| client.on_located(now, id, found, net));
                } else {
                    self.with_proxy(now, |proxy, cx| proxy.on_located(cx, id, found));
                }
            }
            while let Some(output) = self.calls.poll_output() {
                moved = true;
                self.on_call_output(now, output);
            }
            while let Some(ping) = self.keepalive.poll_output(now, &self.location) {
                moved = true;
                self.on_keepalive(now, ping);
            }
            while let Some(output) = self.with_client(|client, net| client.poll_output(now, net)) {
                moved = true;
                match output {
                    peer::Output::Send(request) => self.on_peer_request(now, request),
                    peer::Output::Abandon(client) => self.layer.abandon(client),
                }
            }
            while let Some(notice) = self.proxy.mwi.poll_output() {
                moved = true;
                let context = CONTEXT_FOREIGN | CONTEXT_PEER | CONTEXT_MWI | notice.id;
                let sent = self.send_own(now, notice.request, notice.to, context);
                if sent.is_none() {
                    let id = notice.id;
                    self.with_proxy(now, |proxy, cx| proxy.mwi.answered(cx, id, 0));
                }
            }
            moved |= self.exchange_inside(now);
            if !moved {
                break;
            }
        }
        if self.mailboxes.is_stirred() {
            self.pass_on_mail();
        }
        while let Some((query, question)) = self.locator.poll_question() {
            self.outputs.push_back(Output::Resolve { query, question });
        }
        while let Some(record) = self.proxy_outputs.records.pop_front() {
            self.outputs.push_back(Output::Persist(record));
        }
        while let Some(transmit) = self.leaving.pop_front() {
            self.transmit(transmit);
        }
        while let Some(pick_up) = self.proxy_outputs.pick_ups.pop_front() {
            self.outputs.push_back(Output::Tell {
                shard: pick_up.shard(),
                input: Input::PickUp(pick_up),
            });
        }
    }

    /// Hands the services what the proxy sends them, and the proxy what they answer.
    fn exchange_inside(&mut self, now: Instant) -> bool {
        let mut moved = false;
        loop {
            let transmit = self.layer.poll_transmit();
            let transmit = transmit.or_else(|| self.proxy_outputs.transmits.pop_front());
            let Some(transmit) = transmit else { break };
            match transmit.destination {
                Destination::Flow(flow) if flow.is_internal() => {
                    moved = true;
                    self.with_pbx(now, |pbx, cx| pbx.on_message(cx, &flow, transmit.bytes));
                }
                _ => self.leaving.push_back(transmit),
            }
        }
        while let Some(output) = self.pbx.poll_output() {
            moved = true;
            match output {
                pbx::Output::Message { flow, bytes } => {
                    if let Ok(message) = Message::parse(bytes) {
                        self.layer.receive(now, flow, message);
                    }
                }
                pbx::Output::Tell(address, wish) => self.tell_member(address, wish),
                pbx::Output::Media(order) => {
                    let order = MediaOrder::Studio(order);
                    self.outputs.push_back(Output::Media(order));
                }
                pbx::Output::Note { session, text } => self.calls.note(session, &text),
                pbx::Output::Persist(record) => self.outputs.push_back(Output::Persist(record)),
                pbx::Output::Detour { call_id, lasts } => {
                    self.outputs.push_back(Output::Detour { call_id, lasts });
                }
            }
        }
        moved
    }

    pub(super) fn tell_member(&mut self, address: Address, wish: Wish) {
        let Address { shard, session } = address;
        let input = Input::Member { session, wish };
        self.outputs.push_back(Output::Tell { shard, input });
    }

    fn with_pbx(&mut self, now: Instant, act: impl FnOnce(&mut Pbx, &mut pbx::Context<'_>)) {
        let mut cx = pbx::Context {
            now,
            anchor: self.anchor,
            shard: (self.shard, self.shards),
            config: &self.config,
            house: pbx::House {
                directory: &self.directory,
                features: &self.features,
                location: &self.location,
            },
            mailboxes: &self.mailboxes,
            calls: &self.calls,
            rooms: &self.rooms,
            rng: &mut self.rng,
        };
        act(&mut self.pbx, &mut cx);
    }

    fn on_studio(&mut self, now: Instant, news: &News) {
        self.with_pbx(now, |pbx, cx| pbx.on_news(cx, news));
    }

    pub(super) fn transmit(&mut self, transmit: Transmit) {
        self.counters.sent(&transmit.bytes);
        self.trace.outgoing(self.now, &transmit);
        self.outputs.push_back(Output::Transmit(transmit));
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        let foreign = match &event {
            Event::Response { context, .. } | Event::Failed { context, .. } => *context,
            Event::Request { .. }
            | Event::Cancelled { .. }
            | Event::StrayCancel { .. }
            | Event::Ack { .. }
            | Event::StrayResponse { .. }
            | Event::AckMissing { .. } => 0,
        };
        if foreign & CONTEXT_FOREIGN == 0 {
            return self.with_proxy(now, |proxy, cx| proxy.on_event(cx, event));
        }
        let id = foreign & !(CONTEXT_FOREIGN | CONTEXT_PEER);
        match foreign & CONTEXT_PEER {
            CONTEXT_PEER if id & CONTEXT_MWI != 0 => {
                self.on_notified(now, id & !CONTEXT_MWI, &event);
            }
            0 if id == 0 => {}
            0 => self.on_ping_event(id, event),
            _ => self.on_peer_event(now, id, event),
        }
    }

    /// What a phone said to a NOTIFY of waiting messages.
    fn on_notified(&mut self, now: Instant, id: u64, event: &Event) {
        let status = match event {
            Event::Response { message, .. } if message.status() >= 200 => message.status(),
            Event::Failed { .. } => 0,
            _ => return,
        };
        self.with_proxy(now, |proxy, cx| proxy.mwi.answered(cx, id, status));
    }

    /// What became of mailboxes goes to those that it concerns: phones by the shards that know
    /// them, files to the studio.
    fn pass_on_mail(&mut self) {
        let (changed, errands) = self.mailboxes.take_work();
        for aor in changed {
            for shard in 0..self.shards {
                let input = Input::MailChanged(Arc::clone(&aor));
                self.outputs.push_back(Output::Tell { shard, input });
            }
        }
        let orders = errands.into_iter().map(super::media::errand);
        self.outputs.extend(orders.map(Output::Media));
    }

    fn on_peer_event(&mut self, now: Instant, id: u64, event: Event) {
        self.with_client(|client, net| match event {
            Event::Response { message, .. } if message.status() >= 200 => {
                client.on_answer(now, id, &message, net);
            }
            Event::Failed { why, .. } => client.on_failure(now, id, why, net),
            _ => {}
        });
    }

    fn on_ping_event(&mut self, ping: u64, event: Event) {
        match event {
            Event::Response { message, .. } if message.status() >= 200 => {
                self.keepalive.answered(ping, &self.location);
            }
            Event::Failed { .. } => {
                let ended = self.keepalive.failed(ping, &self.location);
                self.outputs.extend(ended.into_iter().map(Output::Persist));
            }
            _ => {}
        }
    }

    fn on_connection_closed(&mut self, connection: ConnectionId) {
        self.peers.closed(connection);
        let ended = self.location.connection_closed(connection);
        self.outputs.extend(ended.into_iter().map(Output::Persist));
    }

    fn on_media(&mut self, now: Instant, news: MediaNews) {
        let event = match news {
            MediaNews::Relay(event) => event,
            MediaNews::Studio(news) => return self.on_studio(now, &news),
        };
        let report = matches!(event, MediaEvent::Report { .. } | MediaEvent::Failed { .. });
        self.calls.on_media(now, event);
        if report {
            self.count_report();
        }
    }

    fn on_call_output(&mut self, now: Instant, output: CallOutput) {
        match output {
            CallOutput::Media(command) => {
                let order = MediaOrder::Relay(command);
                self.outputs.push_back(Output::Media(order));
            }
            CallOutput::Persist(record) => self.outputs.push_back(Output::Persist(record)),
            CallOutput::Bye(bye) => self.send_bye(now, bye),
            CallOutput::Ended(call) => self.with_proxy(now, |proxy, cx| proxy.call_ended(cx, call)),
            CallOutput::Cancel(call) => {
                self.with_proxy(now, |proxy, cx| proxy.cancel_call(cx, call));
            }
        }
    }

    fn send_bye(&mut self, now: Instant, bye: Bye) {
        let destination = Destination::Flow(bye.flow);
        self.send_own(now, bye.request, destination, CONTEXT_FOREIGN);
    }

    /// Sends a request of our own: puts our Via on top and starts a client transaction. `None`:
    /// none was started.
    fn send_own(
        &mut self,
        now: Instant,
        request: Bytes,
        to: Destination,
        context: u64,
    ) -> Option<ClientKey> {
        let Some(sent_by) = self.listeners.sent_by(to.transport(), to.remote()) else {
            tracing::warn!(
                ?to,
                "no listener speaks the transport of a request of our own"
            );
            return None;
        };
        let branch = self.layer.new_branch();
        let via = format!(
            "SIP/2.0/{} {};branch={};rport",
            to.transport().via_token(),
            sent_by,
            String::from_utf8_lossy(&branch)
        );
        let message = Message::parse(request).ok()?;
        let veiled = self.with_proxy(now, |proxy, cx| {
            proxy.veil_own(cx, &message, via.as_bytes())
        });
        let bytes = veiled.unwrap_or_else(|| {
            let mut edit = Edit::new(&message);
            edit.prepend(HeaderName::Via, via.into_bytes());
            edit.render()
        });
        let sent = self.layer.send_request(now, bytes, to, context);
        if let Err(error) = sent {
            tracing::warn!(?error, "a request of our own could not be sent");
        }
        sent.ok()
    }

    fn on_peer_request(&mut self, now: Instant, request: peer::Request) {
        let context = CONTEXT_FOREIGN | CONTEXT_PEER | request.id;
        let sent = self.send_own(now, request.request, request.to, context);
        self.with_client(|client, net| match sent {
            Some(transaction) => client.on_sent(request.id, transaction),
            None => client.on_failure(now, request.id, Failure::Transport, net),
        });
    }

    fn on_keepalive(&mut self, now: Instant, ping: keepalive::Ping) {
        match ping.what {
            keepalive::What::Options { request } => {
                let context = CONTEXT_FOREIGN | ping.id;
                self.send_own(now, request, ping.destination, context);
            }
            keepalive::What::Crlf => self.transmit(Transmit {
                destination: ping.destination,
                bytes: Bytes::from_static(b"\r\n\r\n"),
                tag: TransmitTag::default(),
            }),
        }
    }
}
