//! The client transactions of the layer: sending, matching responses, cancelling.

use super::client_invite::{self, ClientInvite};
use super::client_other::{self, ClientOther};
use super::event::{ClientKey, Event, Failure, SendError};
use super::identity::Identity;
use super::step::{Pace, Step, Tell, Wake};
use super::timers::Side;
use super::{TransactionLayer, tag, via};
use crate::base::{Destination, Flow, Instant, Key, Transmit};
use crate::wire::sip::{Message, Via};
use bytes::Bytes;

/// One request that went out.
#[derive(Debug)]
pub(super) struct Client {
    identity: Identity,
    /// The instant of the timer entry that counts.
    wake: Instant,
    destination: Destination,
    owner: Owner,
    machine: Machine,
}

/// Who hears of it.
#[derive(Clone, Copy, Debug)]
enum Owner {
    /// The user, with the context that it gave.
    User(u64),
    /// The layer itself: its CANCEL.
    Layer,
}

#[derive(Debug)]
enum Machine {
    Invite(ClientInvite),
    Other(ClientOther),
}

/// What both client machines are told.
#[derive(Clone, Copy)]
enum Input<'a> {
    Response(&'a Message),
    Timer,
    TransportError,
}

impl Machine {
    fn handle(&mut self, pace: &Pace, input: Input<'_>) -> Step {
        use client_invite::Input as Invite;
        use client_other::Input as Other;
        match (self, input) {
            (Self::Invite(m), Input::Response(r)) => m.handle(pace, Invite::Response(r)),
            (Self::Invite(m), Input::Timer) => m.handle(pace, Invite::Timer),
            (Self::Invite(m), Input::TransportError) => m.handle(pace, Invite::TransportError),
            (Self::Other(m), Input::Response(r)) => {
                let status = r.status();
                m.handle(pace, Other::Response { status })
            }
            (Self::Other(m), Input::Timer) => m.handle(pace, Other::Timer),
            (Self::Other(m), Input::TransportError) => m.handle(pace, Other::TransportError),
        }
    }
}

impl TransactionLayer {
    /// Sends a request, our Via with a new branch on top, and retransmits it as needed. `context`
    /// comes back in its events. Not for ACK.
    pub fn send_request(
        &mut self,
        now: Instant,
        request: Bytes,
        destination: Destination,
        context: u64,
    ) -> Result<ClientKey, SendError> {
        self.start_client(now, request, destination, Owner::User(context))
    }

    /// Cancels an INVITE that has no final response yet (§9.1): at once, or when its first
    /// provisional response comes. `reason` is the value of a Reason header (RFC 3326). The
    /// INVITE's end is told as always: its 487 or other final response, or a timeout.
    pub fn cancel(&mut self, now: Instant, client: ClientKey, reason: Option<Bytes>) {
        let Some(entry) = self.clients.get_mut(client.0) else {
            return;
        };
        let reliable = entry.destination.is_reliable();
        let pace = Pace::new(now, &self.settings, reliable);
        let (cancel, wake) = match &mut entry.machine {
            Machine::Invite(machine) => machine.cancel(&pace, reason),
            Machine::Other(_) => return,
        };
        let destination = entry.destination.clone();
        self.arm_client(now, client.0, wake);
        if let Some(cancel) = cancel {
            // A full table loses the CANCEL: the callee's own timers end its ringing.
            let _ = self.start_client(now, cancel, destination, Owner::Layer);
        }
    }

    /// Forgets a client transaction; nothing more is sent or told.
    pub fn abandon(&mut self, client: ClientKey) {
        self.end_client(client.0);
    }

    fn start_client(
        &mut self,
        now: Instant,
        request: Bytes,
        destination: Destination,
        owner: Owner,
    ) -> Result<ClientKey, SendError> {
        let (identity, invite) = self.identify(&request).ok_or(SendError::Malformed)?;
        let pace = Pace::new(now, &self.settings, destination.is_reliable());
        let (machine, step) = if invite {
            let (machine, step) = ClientInvite::start(request, &pace);
            (Machine::Invite(machine), step)
        } else {
            let (machine, step) = ClientOther::start(request, &pace);
            (Machine::Other(machine), step)
        };
        let client = Client {
            identity,
            wake: Instant::FAR_FUTURE,
            destination,
            owner,
            machine,
        };
        let key = self
            .clients
            .insert(client)
            .map_err(|_| SendError::Overload)?;
        self.by_branch.insert(identity, key);
        self.stats.requests_sent += 1;
        self.transmit_request(key, step.transmit);
        self.arm_client(now, key, step.wake);
        Ok(ClientKey(key))
    }

    /// The identity of a request that we rendered, and whether it is an INVITE.
    fn identify(&self, request: &Bytes) -> Option<(Identity, bool)> {
        let method = request.split(|&b| b == b' ').next()?;
        let (start, end) = via::top_via_value(request)?;
        let top = Via::parse(request.get(start..end)?).ok()?;
        let identity = self.matcher.of_branch(top.branch()?, method);
        Some((identity, method == b"INVITE"))
    }

    pub(super) fn receive_response(&mut self, now: Instant, flow: Flow, message: Message) {
        let key = message
            .top_via()
            .ok()
            .and_then(|top| top.branch())
            .map(|branch| self.matcher.of_branch(branch, message.method().as_bytes()))
            .and_then(|identity| self.by_branch.get(&identity).copied());
        let Some(key) = key else {
            self.stats.stray_responses += 1;
            self.events
                .push_back(Event::StrayResponse { flow, message });
            return;
        };
        let cancel = self.pending_cancel(key, &message);
        let (tell, owner) = self.client_step(now, key, Input::Response(&message));
        if let (Tell::Response, Some(Owner::User(context))) = (tell, owner) {
            self.events.push_back(Event::Response {
                client: ClientKey(key),
                context,
                message,
            });
        }
        if let Some(reason) = cancel {
            self.cancel(now, ClientKey(key), reason);
        }
    }

    /// A CANCEL that waited for this, the first provisional response.
    fn pending_cancel(&mut self, key: Key, message: &Message) -> Option<Option<Bytes>> {
        if message.status() >= 200 {
            return None;
        }
        match &mut self.clients.get_mut(key)?.machine {
            Machine::Invite(machine) => machine.take_pending_cancel(),
            Machine::Other(_) => None,
        }
    }

    pub(super) fn client_timer(&mut self, now: Instant, key: Key, at: Instant) {
        if self
            .clients
            .get(key)
            .is_some_and(|client| client.wake == at)
        {
            self.client_step(now, key, Input::Timer);
        }
    }

    pub(super) fn request_not_sent(&mut self, now: Instant, key: Key) {
        self.client_step(now, key, Input::TransportError);
    }

    fn client_step(&mut self, now: Instant, key: Key, input: Input<'_>) -> (Tell, Option<Owner>) {
        let Some(client) = self.clients.get_mut(key) else {
            return (Tell::Nothing, None);
        };
        let reliable = client.destination.is_reliable();
        let pace = Pace::new(now, &self.settings, reliable);
        let owner = client.owner;
        let step = client.machine.handle(&pace, input);
        if step.transmit.is_some() && matches!(input, Input::Timer) {
            self.stats.request_retransmissions_sent += 1;
        }
        self.transmit_request(key, step.transmit);
        self.arm_client(now, key, step.wake);
        let why = match step.tell {
            Tell::Timeout => Some(Failure::Timeout),
            Tell::TransportError => Some(Failure::Transport),
            Tell::Nothing | Tell::Response | Tell::AckMissing | Tell::Ack => None,
        };
        if let (Some(why), Owner::User(context)) = (why, owner) {
            match why {
                Failure::Timeout => self.stats.timeouts += 1,
                Failure::Transport => self.stats.transport_failures += 1,
            }
            self.events.push_back(Event::Failed {
                client: ClientKey(key),
                context,
                why,
            });
        }
        (step.tell, Some(owner))
    }

    fn transmit_request(&mut self, key: Key, bytes: Option<Bytes>) {
        if let (Some(bytes), Some(client)) = (bytes, self.clients.get(key)) {
            self.transmits.push_back(Transmit {
                destination: client.destination.clone(),
                bytes,
                tag: tag(Side::Client, key),
            });
        }
    }

    fn arm_client(&mut self, now: Instant, key: Key, wake: Wake) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match wake {
            Wake::Keep => {}
            Wake::Never => client.wake = Instant::FAR_FUTURE,
            Wake::In(delay) => client.wake = self.timers.arm(now, delay, Side::Client, key),
            Wake::End => self.end_client(key),
        }
    }

    fn end_client(&mut self, key: Key) {
        if let Some(client) = self.clients.remove(key)
            && self.by_branch.get(&client.identity) == Some(&key)
        {
            self.by_branch.remove(&client.identity);
        }
    }
}
