//! The server transactions of the layer: matching, creating, answering.

use super::event::{Event, ServerKey};
use super::identity::{self, Identity};
use super::server_invite::{self, ServerInvite};
use super::server_other::{self, ServerOther};
use super::step::{Pace, Step, Tell, Wake};
use super::timers::Side;
use super::{TransactionLayer, build, tag, via};
use crate::base::{Destination, Flow, Instant, Key, Transmit, TransmitTag};
use crate::wire::sip::{Message, Method};
use bytes::Bytes;
use std::net::SocketAddr;

/// One request that came in.
#[derive(Debug)]
pub(super) struct Server {
    identity: Identity,
    /// The instant of the timer entry that counts.
    wake: Instant,
    flow: Flow,
    way_back: WayBack,
    machine: Machine,
}

/// How responses go.
#[derive(Debug)]
enum WayBack {
    /// Along the flow; for UDP to this port. The top Via is complete as it is or gets stamped.
    Flow { port: u16, stamp: bool },
    /// The connection is gone: to the address that sent-by names.
    Fallback(Box<Destination>),
}

#[derive(Debug)]
enum Machine {
    Invite(ServerInvite),
    Other(ServerOther),
}

/// What both server machines are told.
enum Input {
    Repeated,
    Ack,
    Respond { status: u16, response: Bytes },
    Timer,
    TransportError,
}

impl Machine {
    fn handle(&mut self, pace: &Pace, input: Input) -> Step {
        use server_invite::Input as Invite;
        use server_other::Input as Other;
        match (self, input) {
            (Self::Invite(m), Input::Repeated) => m.handle(pace, Invite::Repeated),
            (Self::Invite(m), Input::Ack) => m.handle(pace, Invite::Ack),
            (Self::Invite(m), Input::Respond { status, response }) => {
                m.handle(pace, Invite::Respond { status, response })
            }
            (Self::Invite(m), Input::Timer) => m.handle(pace, Invite::Timer),
            (Self::Invite(m), Input::TransportError) => m.handle(pace, Invite::TransportError),
            (Self::Other(m), Input::Repeated) => m.handle(pace, Other::Repeated),
            (Self::Other(_), Input::Ack) => Step::IGNORE,
            (Self::Other(m), Input::Respond { status, response }) => {
                m.handle(pace, Other::Respond { status, response })
            }
            (Self::Other(m), Input::Timer) => m.handle(pace, Other::Timer),
            (Self::Other(m), Input::TransportError) => m.handle(pace, Other::TransportError),
        }
    }

    fn request(&self) -> Option<&Bytes> {
        match self {
            Self::Invite(machine) => machine.request(),
            Self::Other(machine) => machine.request(),
        }
    }

    fn response(&self) -> Option<&Bytes> {
        match self {
            Self::Invite(machine) => machine.response(),
            Self::Other(machine) => machine.response(),
        }
    }
}

impl Server {
    fn destination(&self) -> Destination {
        match &self.way_back {
            WayBack::Flow { port, .. } => Destination::Flow(Flow {
                remote: SocketAddr::new(self.flow.remote.ip(), *port),
                ..self.flow
            }),
            WayBack::Fallback(destination) => Destination::clone(destination),
        }
    }
}

impl TransactionLayer {
    /// The request of a server transaction, read again from its bytes; `None` once a final
    /// response was sent. Whoever needs it often keeps the event's message.
    pub fn request(&self, server: ServerKey) -> Option<Message> {
        let request = self.servers.get(server.0)?.machine.request()?;
        Message::parse(request.clone()).ok()
    }

    /// The path by which the request of a server transaction came.
    pub fn server_flow(&self, server: ServerKey) -> Option<Flow> {
        self.servers.get(server.0).map(|server| server.flow)
    }

    /// Whether a server transaction still waits for its final response.
    pub fn is_unanswered(&self, server: ServerKey) -> bool {
        self.servers
            .get(server.0)
            .is_some_and(|server| server.machine.request().is_some())
    }

    /// Answers a request: provisional, final, or another 2xx of an INVITE. What no longer fits the
    /// transaction's state is not sent. The top Via's `received` and `rport` are filled in if the
    /// response lacks them.
    pub fn respond(&mut self, now: Instant, server: ServerKey, response: Bytes) {
        let Some(status) = status_of(&response) else {
            return;
        };
        let Some(entry) = self.servers.get(server.0) else {
            return;
        };
        let response = match entry.way_back {
            WayBack::Flow { stamp: true, .. } => via::stamp_response(response, &entry.flow),
            WayBack::Flow { stamp: false, .. } | WayBack::Fallback(_) => response,
        };
        self.server_step(now, server.0, Input::Respond { status, response });
    }

    /// Answers a request that gets no transaction, since it is malformed: the top Via is stamped,
    /// and the answer goes where that Via says (§18.2.2). `request` must have a readable top Via.
    pub fn respond_stateless(&mut self, flow: &Flow, request: &Message, response: Bytes) {
        // A Via that does not read (RFC 4475 §3.1.2.1) still gets its answer, where it came from.
        let port = request
            .top_via()
            .map_or(flow.remote.port(), |top| via::reply_port(&top, flow));
        let remote = SocketAddr::new(flow.remote.ip(), port);
        self.send_stateless(
            via::stamp_response(response, flow),
            Destination::Flow(Flow { remote, ..*flow }),
        );
    }

    pub(super) fn receive_request(&mut self, now: Instant, flow: Flow, message: Message) {
        let Ok(top) = message.top_via() else {
            self.stats.dropped_malformed += 1;
            return;
        };
        let method = match message.method() {
            Method::Ack => Method::Invite,
            other => other,
        };
        let Some(identity) = self.matcher.of_request(&message, &top, method) else {
            self.stats.dropped_malformed += 1;
            return;
        };
        let known = self.by_request.get(&identity).copied();
        match (message.method(), known) {
            (Method::Ack, Some(key)) if self.ack_belongs(key, &message) => {
                self.receive_ack(now, key, flow, message);
            }
            (Method::Ack, _) => self.events.push_back(Event::Ack { flow, message }),
            (_, Some(key)) => {
                self.stats.request_retransmissions_received += 1;
                self.server_step(now, key, Input::Repeated);
            }
            (_, None) => self.new_server(now, identity, flow, message),
        }
    }

    /// The ACK of an RFC 2543 sender must bear the To tag of the response (§17.2.3). With a unique
    /// branch the identity says all.
    fn ack_belongs(&self, key: Key, ack: &Message) -> bool {
        let branch = ack.top_via().ok().and_then(|top| top.branch());
        if branch.is_some_and(identity::is_unique) {
            return true;
        }
        let response = self
            .servers
            .get(key)
            .and_then(|server| server.machine.response())
            .and_then(|bytes| Message::parse(bytes.clone()).ok());
        let Some(response) = response else {
            return true;
        };
        match (response.to(), ack.to()) {
            (Ok(sent), Ok(got)) => sent.tag() == got.tag(),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) | (Err(_), Err(_)) => false,
        }
    }

    fn receive_ack(&mut self, now: Instant, key: Key, flow: Flow, message: Message) {
        if self.server_step(now, key, Input::Ack) == Tell::Ack {
            self.events.push_back(Event::Ack { flow, message });
        }
    }

    fn new_server(&mut self, now: Instant, identity: Identity, flow: Flow, message: Message) {
        let Ok(top) = message.top_via() else {
            return;
        };
        let way_back = WayBack::Flow {
            port: via::reply_port(&top, &flow),
            stamp: via::needs_stamp(&top, &flow),
        };
        let pace = Pace::new(now, &self.settings, flow.is_reliable());
        let request = message.bytes().clone();
        let (machine, step) = if message.method() == Method::Invite {
            let (machine, step) = ServerInvite::start(request);
            (Machine::Invite(machine), step)
        } else {
            let (machine, step) = ServerOther::start(request, &pace);
            (Machine::Other(machine), step)
        };
        let server = Server {
            identity,
            wake: Instant::FAR_FUTURE,
            flow,
            way_back,
            machine,
        };
        let key = if self.has_room(message.method()) {
            self.servers.insert(server)
        } else {
            Err(server)
        };
        let key = match key {
            Ok(key) => key,
            Err(server) => return self.refuse(server, &message),
        };
        self.by_request.insert(identity, key);
        self.stats.requests_received += 1;
        self.arm_server(now, key, step.wake);
        if message.method() == Method::Cancel {
            self.receive_cancel(now, key, identity, message);
        } else {
            let server = ServerKey(key);
            self.events.push_back(Event::Request {
                server,
                flow,
                message,
            });
        }
    }

    /// What ends something may use the whole table, what begins something fifteen sixteenths.
    fn has_room(&self, method: Method<'_>) -> bool {
        let max = self.settings.server_max;
        match method {
            Method::Bye | Method::Cancel | Method::Prack | Method::Update => true,
            Method::Invite
            | Method::Ack
            | Method::Register
            | Method::Options
            | Method::Info
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Message
            | Method::Publish
            | Method::Other(_) => self.servers.len() < max - max / 16,
        }
    }

    /// Answers 503 without state.
    fn refuse(&mut self, server: Server, message: &Message) {
        self.stats.refused_overload += 1;
        let response = build::overloaded(message, server.identity);
        let transmit = Transmit {
            destination: server.destination(),
            bytes: via::stamp_response(response, &server.flow),
            tag: TransmitTag::default(),
        };
        self.transmits.push_back(transmit);
    }

    /// §9.2: the CANCEL is answered by itself, whatever becomes of the INVITE.
    fn receive_cancel(&mut self, now: Instant, key: Key, identity: Identity, message: Message) {
        let invite = message
            .top_via()
            .ok()
            .and_then(|top| self.matcher.of_request(&message, &top, Method::Invite))
            .and_then(|identity| self.by_request.get(&identity).copied());
        let Some(invite) = invite else {
            if let Some(flow) = self.server_flow(ServerKey(key)) {
                let server = ServerKey(key);
                self.events.push_back(Event::StrayCancel {
                    server,
                    flow,
                    message,
                });
            }
            return;
        };
        let response = build::cancel_ok(&message, identity);
        self.respond(now, ServerKey(key), response);
        let server = ServerKey(invite);
        if self.is_unanswered(server) {
            self.events.push_back(Event::Cancelled { server, message });
        }
    }

    pub(super) fn server_timer(&mut self, now: Instant, key: Key, at: Instant) {
        if self
            .servers
            .get(key)
            .is_some_and(|server| server.wake == at)
        {
            self.server_step(now, key, Input::Timer);
        }
    }

    /// The connection is gone: once more by another way (§18.2.2), then give up.
    pub(super) fn response_not_sent(&mut self, now: Instant, key: Key) {
        let Some(server) = self.servers.get_mut(key) else {
            return;
        };
        let response = server.machine.response().cloned();
        let other_way = match &server.way_back {
            WayBack::Flow { .. } => response
                .as_ref()
                .and_then(|response| via::fallback(response, &server.flow)),
            WayBack::Fallback(_) => None,
        };
        match (response, other_way) {
            (Some(bytes), Some(destination)) => {
                server.way_back = WayBack::Fallback(Box::new(destination.clone()));
                self.transmits.push_back(Transmit {
                    destination,
                    bytes,
                    tag: tag(Side::Server, key),
                });
            }
            (Some(_), None) | (None, Some(_)) | (None, None) => {
                self.server_step(now, key, Input::TransportError);
            }
        }
    }

    fn server_step(&mut self, now: Instant, key: Key, input: Input) -> Tell {
        let Some(server) = self.servers.get_mut(key) else {
            return Tell::Nothing;
        };
        let pace = Pace::new(now, &self.settings, server.flow.is_reliable());
        let again = matches!(input, Input::Repeated | Input::Timer);
        let step = server.machine.handle(&pace, input);
        if let Some(bytes) = step.transmit {
            self.stats.response_retransmissions_sent += u64::from(again);
            self.transmits.push_back(Transmit {
                destination: server.destination(),
                bytes,
                tag: tag(Side::Server, key),
            });
        }
        self.arm_server(now, key, step.wake);
        match step.tell {
            Tell::AckMissing => {
                let server = ServerKey(key);
                self.events.push_back(Event::AckMissing { server });
            }
            Tell::Nothing | Tell::Ack | Tell::Response | Tell::Timeout | Tell::TransportError => {}
        }
        step.tell
    }

    fn arm_server(&mut self, now: Instant, key: Key, wake: Wake) {
        let Some(server) = self.servers.get_mut(key) else {
            return;
        };
        match wake {
            Wake::Keep => {}
            Wake::Never => server.wake = Instant::FAR_FUTURE,
            Wake::In(delay) => server.wake = self.timers.arm(now, delay, Side::Server, key),
            Wake::End => {
                let identity = server.identity;
                self.by_request.remove(&identity);
                self.servers.remove(key);
            }
        }
    }
}

/// The status of a rendered response.
fn status_of(response: &[u8]) -> Option<u16> {
    let digits = response.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (100..700).contains(&status).then_some(status)
}
