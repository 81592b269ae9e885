//! One thread, one core: takes what the sockets, the other threads and the clock bring, hands it to
//! the core, and does what the core wants.
//!
//! Costs are counted in system calls: a batch of datagrams is received with one, what their
//! handling sends leaves with one, timers are only moved when a deadline comes nearer, and another
//! thread is woken at most once per batch.

use super::clock::Clock;
use super::core::{Arrival, Core, Input, Output};
use super::counters::Counters;
use super::dns::Dns;
use super::privsep::client::DatagramLine;
use super::stream;
use super::switch::{Switch, Work};
use super::udp::{ReceiveBatch, SendCalls, UdpSocket};
use crate::base::{Destination, Flow, Instant, Transmit, TransmitTag, Transport};
use crate::control::Reply;
use crate::server::MediaOrder;
use crate::sip::listeners::ListenerTable;
use crate::store::Record;
use crate::wire::stun;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Rounds over all sources before the connections of this thread have their turn.
const ROUNDS_PER_TURN: usize = 8;
/// Inputs from other threads that are handled before what they cause is sent.
const INPUTS_PER_ROUND: usize = 256;
/// How long a stop waits for the records of calls: longer than they wait for the relay's figures.
const LAST_RECORDS_WAIT: Duration = Duration::from_secs(3);
/// Shorter than any SIP message: a start line and its end.
const MESSAGE_BYTES_MIN: usize = 16;

/// Where the core's wishes go that are no message.
pub trait Sinks: Send + Sync + 'static {
    /// To the relay of that shard, which looks at it after [`Sinks::wake_media`] at the latest.
    /// Must not block.
    fn leave_media(&self, shard: usize, command: MediaOrder);
    /// After what was left, before the messages that go with it leave. Must not block.
    fn wake_media(&self, shard: usize);
    /// To the relay of that shard, at once. Must not block.
    fn media(&self, shard: usize, command: MediaOrder) {
        self.leave_media(shard, command);
        self.wake_media(shard);
    }
    /// To the store. Must not block.
    fn persist(&self, record: Record);
    /// To the operator. Must not block.
    fn reply(&self, id: u64, reply: Reply);
}

/// What a worker is made of.
pub struct Parts<C> {
    /// Which shard.
    pub shard: usize,
    /// Its core.
    pub core: C,
    /// The clock that all shards share.
    pub clock: Clock,
    /// The way to the other shards.
    pub switch: Arc<Switch>,
    /// Its datagram sockets.
    pub udp: Vec<UdpSocket>,
    /// Whether a broker sends for them.
    pub brokered: bool,
    /// Which of them leads to a peer.
    pub listeners: ListenerTable,
    /// The resolver.
    pub dns: Dns,
    /// The connections of all shards.
    pub streams: stream::Context,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Store and operator.
    pub sinks: Arc<dyn Sinks>,
}

/// Drives one core; a future that ends when the switch is stopped.
pub struct Worker<C> {
    parts: Parts<C>,
    now: Instant,
    batch: ReceiveBatch,
    calls: SendCalls,
    line: Option<DatagramLine>,
    inputs: VecDeque<Work>,
    handover: Vec<Vec<Work>>,
    failed: Vec<TransmitTag>,
    /// For other cores, or this one, when what was sent before is out.
    tells: Vec<(usize, Input)>,
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
    /// When it ends, whatever still waits.
    end_by: Option<Instant>,
}

impl<C: Core + Unpin> Worker<C> {
    /// Inside a runtime only.
    pub fn new(parts: Parts<C>) -> Self {
        let shards = parts.switch.shards();
        Self {
            now: parts.clock.now(),
            batch: ReceiveBatch::new(),
            calls: SendCalls::new(),
            line: None,
            inputs: VecDeque::new(),
            handover: (0..shards).map(|_| Vec::new()).collect(),
            failed: Vec::new(),
            tells: Vec::new(),
            sleep: Box::pin(tokio::time::sleep_until(
                parts.clock.to_tokio(Instant::FAR_FUTURE),
            )),
            armed: Instant::FAR_FUTURE,
            end_by: None,
            parts,
        }
    }

    /// One round over all sources; whether there was anything.
    fn round(&mut self, cx: &mut Context<'_>) -> bool {
        self.now = self.parts.clock.now();
        let mut busy = self.take_inputs(cx);
        for index in 0..self.parts.udp.len() {
            busy |= self.receive(cx, index);
        }
        if self
            .parts
            .core
            .poll_timeout()
            .is_some_and(|t| t <= self.now)
        {
            self.parts.core.handle_timeout(self.now);
            self.carry_out(cx);
            busy = true;
        }
        for (shard, batch) in self.handover.iter_mut().enumerate() {
            if let Some(inbox) = self.parts.switch.inbox(shard) {
                inbox.push_batch(batch);
            }
        }
        self.parts.sinks.wake_media(self.parts.shard);
        self.flush(cx);
        for (shard, input) in self.tells.drain(..) {
            self.parts.switch.tell(shard, input);
        }
        busy
    }

    fn take_inputs(&mut self, cx: &mut Context<'_>) -> bool {
        if self.inputs.is_empty()
            && let Some(inbox) = self.parts.switch.inbox(self.parts.shard)
        {
            inbox.take(&mut self.inputs, cx.waker());
        }
        let mut count = 0;
        while count < INPUTS_PER_ROUND
            && let Some(work) = self.inputs.pop_front()
        {
            count += 1;
            match work {
                Work::Input(input) => self.handle(cx, input),
                Work::Broker(line) => match DatagramLine::new(line) {
                    Ok(line) => self.line = Some(line),
                    Err(error) => tracing::error!(%error, "no line to the broker"),
                },
                Work::Stop => {
                    self.end_by = Some(self.now + LAST_RECORDS_WAIT);
                    self.handle(cx, Input::Stop);
                }
            }
        }
        count > 0
    }

    fn receive(&mut self, cx: &mut Context<'_>, index: usize) -> bool {
        let Some(socket) = self.parts.udp.get(index) else {
            return false;
        };
        let local = socket.local();
        let count = match socket.poll_receive(cx, &mut self.batch) {
            Poll::Pending => return false,
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, %local, "receiving failed");
                return true;
            }
        };
        self.parts.counters.udp_received.add(count as u64);
        for i in 0..count {
            self.on_datagram(cx, index, local, i);
        }
        true
    }

    fn on_datagram(&mut self, cx: &mut Context<'_>, index: usize, local: SocketAddr, i: usize) {
        let Some((remote, bytes)) = self.batch.datagram(i) else {
            return self.parts.counters.udp_garbage.one();
        };
        let sort = sort(bytes);
        let what = match sort {
            Sort::Keepalive => return self.parts.counters.udp_keepalives.one(),
            Sort::Message | Sort::Stun => Arrival::Message,
            Sort::Garbage => Arrival::Junk,
        };
        let admitted = self.parts.core.admits(self.now, remote.ip(), what);
        match sort {
            Sort::Message | Sort::Stun if !admitted => return self.carry_out(cx),
            Sort::Message | Sort::Keepalive => {}
            Sort::Garbage => {
                self.parts.counters.udp_garbage.one();
                return self.carry_out(cx);
            }
            Sort::Stun => {
                let answer = stun::answer(bytes, remote);
                if let (Some(answer), Some(socket)) = (answer, self.parts.udp.get_mut(index)) {
                    self.parts.counters.stun_answered.one();
                    let bytes = Bytes::copy_from_slice(&answer);
                    socket.queue(remote, bytes, TransmitTag::default());
                }
                return;
            }
        }
        let flow = Flow {
            transport: Transport::Udp,
            local,
            remote,
            connection: None,
        };
        let shard = self.parts.switch.shard_of(bytes);
        let bytes = Bytes::copy_from_slice(bytes);
        let input = Input::Message { flow, bytes };
        if shard == self.parts.shard {
            self.handle(cx, input);
        } else if let Some(batch) = self.handover.get_mut(shard) {
            batch.push(Work::Input(input));
        }
    }

    fn handle(&mut self, cx: &mut Context<'_>, input: Input) {
        self.parts.core.handle_input(self.now, input);
        self.carry_out(cx);
    }

    /// Does all that the core wants now.
    fn carry_out(&mut self, cx: &mut Context<'_>) {
        while let Some(output) = self.parts.core.poll_output() {
            match output {
                Output::Transmit(transmit) => self.transmit(cx, transmit),
                Output::Resolve { query, question } => {
                    let Parts {
                        dns, switch, shard, ..
                    } = &self.parts;
                    dns.ask(switch, *shard, query, question);
                }
                Output::Media(command) => {
                    self.parts.sinks.leave_media(self.parts.shard, command);
                }
                Output::Persist(record) => self.parts.sinks.persist(record),
                Output::Reply { id, reply } => self.parts.sinks.reply(id, reply),
                Output::CloseConnection(id) => self.parts.streams.connections.close(id),
                Output::Tell { shard, input } => self.tells.push((shard, input)),
                Output::Detour { call_id, lasts } => {
                    self.parts.switch.detour(&call_id, self.parts.shard, lasts);
                }
            }
        }
    }

    fn transmit(&mut self, cx: &mut Context<'_>, transmit: Transmit) {
        if transmit.destination.transport() != Transport::Udp {
            return self.parts.streams.transmit(self.parts.shard, transmit);
        }
        let remote = transmit.destination.remote();
        let local = match &transmit.destination {
            Destination::Flow(flow) => Some(flow.local),
            Destination::Address { .. } => self.parts.listeners.flow_for(Transport::Udp, remote),
        };
        let Some(socket) = pick(&mut self.parts.udp, local, remote) else {
            tracing::debug!(%remote, "no UDP listener of the peer's address family");
            return self.note_failure(transmit.tag);
        };
        if socket.is_full() && !self.parts.brokered {
            self.parts.sinks.wake_media(self.parts.shard);
            let counters = &self.parts.counters;
            socket.flush(cx, &mut self.calls, counters, &mut self.failed);
        }
        if !socket.queue(remote, transmit.bytes, transmit.tag) {
            self.parts.counters.udp_send_dropped.one();
        }
    }

    fn note_failure(&mut self, tag: TransmitTag) {
        if tag != TransmitTag::default() {
            self.failed.push(tag);
        }
    }

    /// Sends what was queued; what fails goes back to the core in the next round.
    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.parts.brokered {
            self.flush_to_broker(cx);
        } else {
            for socket in &mut self.parts.udp {
                let counters = &self.parts.counters;
                socket.flush(cx, &mut self.calls, counters, &mut self.failed);
            }
        }
        let failed = std::mem::take(&mut self.failed);
        self.inputs.extend(
            failed
                .into_iter()
                .map(|tag| Work::Input(Input::TransmitFailed { tag })),
        );
    }

    /// While no broker is there, what is to be sent stays queued.
    fn flush_to_broker(&mut self, cx: &mut Context<'_>) {
        let Some(line) = &mut self.line else {
            return;
        };
        let alive = line.receive(cx, &mut self.failed)
            && line.flush(cx, &mut self.parts.udp, &self.parts.counters);
        if !alive {
            self.line = None;
        }
    }

    /// Sees that the next deadline wakes us. A timer that is armed too early is left: it is
    /// cheaper to wake up once for nothing than to move it with every message.
    fn arm(&mut self, cx: &mut Context<'_>) {
        if self.sleep.is_elapsed() {
            self.armed = Instant::FAR_FUTURE;
        }
        let next = self.parts.core.poll_timeout().into_iter();
        let Some(next) = next.chain(self.end_by).min() else {
            return;
        };
        if next < self.armed {
            self.armed = next;
            let at = self.parts.clock.to_tokio(next);
            self.sleep.as_mut().reset(at);
            if self.sleep.as_mut().poll(cx).is_ready() {
                self.armed = Instant::FAR_FUTURE;
                cx.waker().wake_by_ref();
            }
        }
    }
}

impl<C: Core + Unpin> Future for Worker<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let worker = &mut *self;
        let mut rounds = 0;
        while worker.round(cx) || !worker.inputs.is_empty() {
            rounds += 1;
            if rounds == ROUNDS_PER_TURN {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if worker.inputs.is_empty()
            && let Some(end_by) = worker.end_by
            && (worker.parts.core.is_at_rest() || end_by <= worker.now)
        {
            return Poll::Ready(());
        }
        worker.arm(cx);
        Poll::Pending
    }
}

impl<C> std::fmt::Debug for Parts<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

impl<C> std::fmt::Debug for Worker<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

/// What a datagram is, by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sort {
    Message,
    Stun,
    Keepalive,
    Garbage,
}

fn sort(bytes: &[u8]) -> Sort {
    match bytes.first() {
        Some(first) if first.is_ascii_alphabetic() && bytes.len() >= MESSAGE_BYTES_MIN => {
            Sort::Message
        }
        Some(_) if stun::is_stun(bytes) => Sort::Stun,
        None => Sort::Keepalive,
        Some(_) if bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) => Sort::Keepalive,
        // RFC 3261 §7.5: empty lines before the start line are to be ignored.
        Some(b'\r' | b'\n') if bytes.len() >= MESSAGE_BYTES_MIN => Sort::Message,
        // Tokens may begin with these too (§25.1).
        Some(
            b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~' | b'-' | b'.' | b'0'..=b'9',
        ) if bytes.len() >= MESSAGE_BYTES_MIN => Sort::Message,
        Some(_) => Sort::Garbage,
    }
}

/// The socket for a datagram: the one that is named, else one that can reach the peer: loopback
/// from loopback, anything else from a wildcard or public address.
fn pick(
    sockets: &mut [UdpSocket],
    local: Option<SocketAddr>,
    remote: SocketAddr,
) -> Option<&mut UdpSocket> {
    let named = local.and_then(|local| sockets.iter().position(|s| s.local() == local));
    let fits = |s: &UdpSocket| s.local().is_ipv4() == remote.is_ipv4();
    let reaches = |s: &UdpSocket| {
        let ip = s.local().ip();
        fits(s) && (ip.is_unspecified() || ip.is_loopback() == remote.ip().is_loopback())
    };
    let index = named
        .or_else(|| sockets.iter().position(reaches))
        .or_else(|| sockets.iter().position(fits))?;
    sockets.get_mut(index)
}

#[cfg(test)]
mod tests;
