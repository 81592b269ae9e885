//! SIP over WebSocket (RFC 7118, RFC 6455): the handshake with the subprotocol `sip`, and one SIP
//! message per WebSocket message. Pings go out when nothing was heard, so that browsers behind NAT
//! stay reachable.

use super::stream::{
    Connection, Context, Ended, HANDSHAKE_MAX, LINGER, Outgoing, State, WRITE_STALL_MAX,
};
use crate::base::Flow;
use crate::config::Origin;
use crate::wire::sip::{FrameError, MESSAGE_MAX};
use bytes::Bytes;
use futures_util::{Sink, Stream};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context as Task, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// The subprotocol of RFC 7118 §3.
const SUBPROTOCOL: &str = "sip";
/// After so much silence we ask whether the peer is there.
pub const PING_AFTER: Duration = Duration::from_secs(30);
/// A peer that is silent for so long in spite of our pings is gone.
pub const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Above the limit of a SIP message, so that one that is too large is answered 513 and not cut off.
const WEBSOCKET_MESSAGE_MAX: usize = 4 * MESSAGE_MAX;
/// Messages in a row before other connections have their turn.
const MESSAGES_PER_TURN: usize = 32;

/// Says to a client that there are too many, in HTTP, as far as that can be done without waiting.
pub(super) fn refuse(stream: &TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\n\
        Connection: close\r\nContent-Length: 0\r\n\r\n";
    let _ = socket2::SockRef::from(stream).send(ANSWER);
}

/// Runs a connection from its HTTP request to its end.
pub(super) async fn accept<S>(context: &Context, flow: Flow, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(WEBSOCKET_MESSAGE_MAX)
        .max_message_size(Some(WEBSOCKET_MESSAGE_MAX))
        .max_frame_size(Some(WEBSOCKET_MESSAGE_MAX));
    let origins = context.connections.settings().origins;
    #[allow(clippy::result_large_err)]
    let agree = |request: &Request, response| {
        if may_come_from(&origins, request.headers()) {
            return agree(request, response);
        }
        tracing::info!(remote = %flow.remote, "a page that is not of [sip] origins was refused");
        let refusal = "this page may not connect here: see origins in voip.toml\n";
        Err(refused(StatusCode::FORBIDDEN, refusal))
    };
    let handshake = tokio_tungstenite::accept_hdr_async_with_config(stream, agree, Some(config));
    let stream = match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            context.connections.counters.handshake_failed.one();
            return tracing::debug!(remote = %flow.remote, %error, "WebSocket handshake failed");
        }
        Err(_) => return context.connections.counters.handshake_failed.one(),
    };
    let connection = context.connections.enter(flow.transport, flow.remote, None);
    let flow = Flow {
        connection: Some(connection.id),
        ..flow
    };
    run(context, &connection, flow, stream).await;
}

/// RFC 6455 §10.2: whether the page that opens this connection is one of `origins`. Every browser
/// says from where its page is (§4.1), so who says nothing is no browser, and no page's tool.
fn may_come_from(origins: &[Origin], headers: &HeaderMap) -> bool {
    let is_one = |value: &HeaderValue| {
        let origin = value.to_str().ok().and_then(|v| Origin::parse(v).ok());
        origin.is_some_and(|origin| origins.contains(&origin))
    };
    origins.is_empty() || headers.get_all(header::ORIGIN).iter().all(is_one)
}

fn refused(status: StatusCode, why: &str) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(why.to_owned()));
    *refusal.status_mut() = status;
    refusal
}

/// RFC 7118 §4.1: the client offers `sip` and we choose it; without it there is nothing to talk.
#[allow(clippy::result_large_err)]
fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request
        .headers()
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case(SUBPROTOCOL));
    if !offered {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "offer the subprotocol: sip\n",
        ));
    }
    response.headers_mut().insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    Ok(response)
}

struct Pump<'a, S> {
    io: WebSocketStream<S>,
    context: &'a Context,
    connection: &'a Connection,
    flow: Flow,
    outgoing: VecDeque<Outgoing>,
    ping_due: bool,
    heard: Instant,
    pinged: bool,
    wrote: Instant,
    idle: Duration,
    sip_heard: Instant,
    deaf: bool,
}

async fn run<S>(context: &Context, connection: &Connection, flow: Flow, io: WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let now = Instant::now();
    let mut pump = Pump {
        io,
        context,
        connection,
        flow,
        outgoing: VecDeque::new(),
        ping_due: false,
        heard: now,
        pinged: false,
        wrote: now,
        idle: context.connections.settings().idle,
        sip_heard: now,
        deaf: false,
    };
    let mut sleep = pin!(tokio::time::sleep_until(now + PING_AFTER));
    let ended = poll_fn(|cx| pump.poll(cx, sleep.as_mut())).await;
    match ended {
        Ended::Idle | Ended::HalfMessage => context.connections.counters.closed_idle.one(),
        Ended::SlowReader => context.connections.counters.closed_slow_reader.one(),
        Ended::ByPeer | Ended::ByUs | Ended::Broken => {}
    }
    tracing::debug!(?flow, ?ended, "connection ended");
    let Pump {
        mut io, outgoing, ..
    } = pump;
    context.finish(connection, outgoing);
    if ended != Ended::Broken && ended != Ended::SlowReader {
        let farewell = async {
            if io.close(None).await.is_ok() {
                while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut io).poll_next(cx)).await {}
            }
        };
        let _ = tokio::time::timeout(LINGER, farewell).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pump<'_, S> {
    fn poll(&mut self, cx: &mut Task<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<Ended> {
        if let Poll::Ready(ended) = self.poll_read(cx) {
            let _ = self.poll_write(cx);
            return Poll::Ready(ended);
        }
        loop {
            if let Poll::Ready(ended) = self.poll_write(cx) {
                return Poll::Ready(ended);
            }
            let now = Instant::now();
            if now >= self.sip_heard + self.idle || now >= self.heard + SILENCE_MAX {
                return Poll::Ready(Ended::Idle);
            }
            if !self.outgoing.is_empty() && now >= self.wrote + WRITE_STALL_MAX {
                return Poll::Ready(Ended::SlowReader);
            }
            if !self.pinged && now >= self.heard + PING_AFTER {
                self.pinged = true;
                self.ping_due = true;
                continue;
            }
            let at = self.wake_at();
            if sleep.deadline() > at || sleep.is_elapsed() {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let silence = if self.pinged { SILENCE_MAX } else { PING_AFTER };
        let mut at = (self.heard + silence).min(self.sip_heard + self.idle);
        if !self.outgoing.is_empty() {
            at = at.min(self.wrote + WRITE_STALL_MAX);
        }
        at
    }

    fn poll_read(&mut self, cx: &mut Task<'_>) -> Poll<Ended> {
        for _ in 0..MESSAGES_PER_TURN {
            let message = match Pin::new(&mut self.io).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ended::ByPeer),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(remote = %self.flow.remote, %error, "WebSocket broke");
                    return Poll::Ready(Ended::ByPeer);
                }
                Poll::Ready(Some(Ok(message))) => message,
            };
            self.heard = Instant::now();
            self.pinged = false;
            match message {
                Message::Text(text) => self.on_message(Bytes::from(text)),
                Message::Binary(bytes) => self.on_message(bytes),
                Message::Close(_) => return Poll::Ready(Ended::ByPeer),
                Message::Ping(_) => self.context.connections.counters.stream_pings.one(),
                Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn on_message(&mut self, bytes: Bytes) {
        if self.deaf {
            return;
        }
        self.sip_heard = self.heard;
        if bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
            if bytes.as_ref() == b"\r\n\r\n" {
                self.context.connections.counters.stream_pings.one();
                let _ = self.connection.push(Outgoing::pong());
            }
        } else if bytes.len() > MESSAGE_MAX {
            self.deaf = true;
            self.context.connections.counters.closed_unframeable.one();
            self.context
                .receiver
                .unframeable(self.flow, bytes, FrameError::TooLarge);
        } else {
            self.context.receiver.message(self.flow, bytes);
        }
    }

    fn poll_write(&mut self, cx: &mut Task<'_>) -> Poll<Ended> {
        let before = self.outgoing.is_empty();
        let state = self.connection.take(&mut self.outgoing, cx.waker());
        if state == State::Overrun {
            return Poll::Ready(Ended::SlowReader);
        }
        if before && !self.outgoing.is_empty() {
            self.wrote = Instant::now();
        }
        while self.ping_due || !self.outgoing.is_empty() {
            match Pin::new(&mut self.io).poll_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Ended::Broken),
                Poll::Ready(Ok(())) => {}
            }
            let message = if std::mem::take(&mut self.ping_due) {
                Message::Ping(Bytes::new())
            } else if let Some(out) = self.outgoing.pop_front() {
                self.connection.written(out.bytes.len());
                self.wrote = Instant::now();
                enclose(out.bytes)
            } else {
                break;
            };
            if Pin::new(&mut self.io).start_send(message).is_err() {
                return Poll::Ready(Ended::Broken);
            }
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Ended::Broken),
            Poll::Ready(Ok(())) if state == State::Closing => Poll::Ready(Ended::ByUs),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

/// As text where it is text: some clients in browsers take nothing else.
fn enclose(bytes: Bytes) -> Message {
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}
