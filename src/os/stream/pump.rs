//! One connection of TCP or TLS: bytes in, cut into messages; messages out. One future, no task of
//! its own for either direction, so that a slow peer never stops us from reading.

use super::outbox::{Outgoing, State};
use super::{Connection, Context, Settings, WRITE_STALL_MAX};
use crate::base::Flow;
use crate::wire::sip::{Frame, Framer};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Read from the system with one call.
const READ_BYTES: usize = 16 * 1024;
/// Reads in a row before other connections have their turn.
const READS_PER_TURN: usize = 8;
/// Messages written with one call.
const SLICES_MAX: usize = 16;
/// How long a connection that we close is read, so that the peer sees our last answer and not a
/// reset.
pub(in crate::os) const LINGER: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::os) enum Ended {
    /// The peer closed it.
    ByPeer,
    /// We were asked to.
    ByUs,
    /// Nothing was heard for long.
    Idle,
    /// A message was begun and not completed.
    HalfMessage,
    /// The peer does not read.
    SlowReader,
    /// It broke.
    Broken,
}

struct Pump<'a, S> {
    io: S,
    context: &'a Context,
    connection: &'a Connection,
    flow: Flow,
    settings: Settings,
    framer: Framer,
    /// What came cannot be cut; the rest is read and thrown away until we are told to close.
    deaf: bool,
    outgoing: VecDeque<Outgoing>,
    state: State,
    heard: Instant,
    begun: Option<Instant>,
    wrote: Instant,
}

/// Runs a connection to its end.
pub(super) async fn run<S>(context: &Context, connection: &Arc<Connection>, flow: Flow, io: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let now = Instant::now();
    let mut pump = Pump {
        io,
        context,
        connection,
        flow,
        settings: context.connections.settings(),
        framer: Framer::new(),
        deaf: false,
        outgoing: VecDeque::new(),
        state: State::Open,
        heard: now,
        begun: None,
        wrote: now,
    };
    let mut sleep = pin!(tokio::time::sleep_until(now + pump.settings.half_message));
    let ended = poll_fn(|cx| pump.poll(cx, sleep.as_mut())).await;
    pump.count(ended);
    tracing::debug!(?flow, ?ended, "connection ended");
    let Pump { io, outgoing, .. } = pump;
    context.finish(connection, outgoing);
    if ended != Ended::Broken && ended != Ended::SlowReader {
        linger(io).await;
    }
}

/// Says goodbye and reads on for a moment.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut io: S) {
    let farewell = async {
        if io.shutdown().await.is_err() {
            return;
        }
        loop {
            let read = poll_fn(|cx| poll_discard(Pin::new(&mut io), cx)).await;
            if !matches!(read, Ok(n) if n > 0) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, farewell).await;
}

fn poll_discard<S: AsyncRead>(io: Pin<&mut S>, cx: &mut Task<'_>) -> Poll<io::Result<usize>> {
    let mut space = [0; READ_BYTES];
    let mut buffer = ReadBuf::new(&mut space);
    io.poll_read(cx, &mut buffer)
        .map_ok(|()| buffer.filled().len())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pump<'_, S> {
    fn poll(&mut self, cx: &mut Task<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<Ended> {
        if let Poll::Ready(ended) = self.poll_read(cx) {
            // What the last messages brought about is still written.
            let _ = self.poll_write(cx);
            return Poll::Ready(ended);
        }
        if let Poll::Ready(ended) = self.poll_write(cx) {
            return Poll::Ready(ended);
        }
        loop {
            let (at, ended) = self.deadline();
            if at <= Instant::now() {
                return Poll::Ready(ended);
            }
            // The timer is only moved when it is due or too late: traffic costs no timer work.
            if sleep.deadline() > at {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            sleep.as_mut().reset(at);
        }
    }

    fn poll_read(&mut self, cx: &mut Task<'_>) -> Poll<Ended> {
        let mut space = [0; READ_BYTES];
        for _ in 0..READS_PER_TURN {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(e)) if is_close(&e) => return Poll::Ready(Ended::ByPeer),
                Poll::Ready(Err(_)) => return Poll::Ready(Ended::Broken),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Ended::ByPeer);
                }
                Poll::Ready(Ok(())) => {
                    self.heard = Instant::now();
                    if !self.deaf {
                        self.framer.push(buffer.filled());
                        self.cut();
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands over each message that is complete.
    fn cut(&mut self) {
        let mut whole = false;
        loop {
            match self.framer.next() {
                Ok(Some(Frame::Message(bytes))) => {
                    whole = true;
                    self.context.receiver.message(self.flow, bytes);
                }
                Ok(Some(Frame::Ping)) => {
                    whole = true;
                    self.context.connections.counters.stream_pings.one();
                    // Refused only when the peer is so slow that it is cut off anyway.
                    let _ = self.connection.push(Outgoing::pong());
                }
                Ok(Some(Frame::Pong)) => whole = true,
                Ok(None) => break,
                Err(error) => {
                    self.deaf = true;
                    self.context.connections.counters.closed_unframeable.one();
                    let head = Bytes::copy_from_slice(self.framer.head());
                    self.context.receiver.unframeable(self.flow, head, error);
                    self.connection_must_end_soon();
                    return;
                }
            }
        }
        self.begun = match (self.framer.pending(), self.begun) {
            (false, _) => None,
            (true, Some(begun)) if !whole => Some(begun),
            (true, _) => Some(self.heard),
        };
    }

    /// The core answers and closes; should it not, the half-message limit does.
    fn connection_must_end_soon(&mut self) {
        self.begun = Some(self.heard);
    }

    fn poll_write(&mut self, cx: &mut Task<'_>) -> Poll<Ended> {
        let before = self.outgoing.is_empty();
        self.state = self.connection.take(&mut self.outgoing, cx.waker());
        if self.state == State::Overrun {
            return Poll::Ready(Ended::SlowReader);
        }
        if before && !self.outgoing.is_empty() {
            self.wrote = Instant::now();
        }
        while !self.outgoing.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            for (slice, out) in slices.iter_mut().zip(&self.outgoing) {
                *slice = IoSlice::new(&out.bytes);
            }
            let count = self.outgoing.len().min(SLICES_MAX);
            let slices = slices.get(..count).unwrap_or(&[]);
            match Pin::new(&mut self.io).poll_write_vectored(cx, slices) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ended::Broken),
                Poll::Ready(Ok(n)) => self.advance(n),
            }
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Ended::Broken),
            Poll::Ready(Ok(())) if self.state == State::Closing => Poll::Ready(Ended::ByUs),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    fn advance(&mut self, written: usize) {
        self.wrote = Instant::now();
        self.connection.written(written);
        let mut rest = written;
        while let Some(first) = self.outgoing.front_mut() {
            let n = rest.min(first.bytes.len());
            first.bytes.advance(n);
            rest -= n;
            if !first.bytes.is_empty() {
                return;
            }
            self.outgoing.pop_front();
        }
    }

    /// When to give up, and why.
    fn deadline(&self) -> (Instant, Ended) {
        let mut soonest = (self.heard + self.settings.idle, Ended::Idle);
        if let Some(begun) = self.begun {
            let at = begun + self.settings.half_message;
            if at < soonest.0 {
                soonest = (at, Ended::HalfMessage);
            }
        }
        if !self.outgoing.is_empty() {
            let at = self.wrote + WRITE_STALL_MAX;
            if at < soonest.0 {
                soonest = (at, Ended::SlowReader);
            }
        }
        soonest
    }

    fn count(&self, ended: Ended) {
        let counters = &self.context.connections.counters;
        match ended {
            Ended::Idle => counters.closed_idle.one(),
            Ended::HalfMessage if !self.deaf => counters.closed_half_message.one(),
            Ended::SlowReader => counters.closed_slow_reader.one(),
            Ended::HalfMessage | Ended::ByPeer | Ended::ByUs | Ended::Broken => {}
        }
    }
}

/// Whether the peer went away in one of the usual ways. Many close TLS without saying so.
fn is_close(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}
