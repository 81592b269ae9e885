//! Serves the [`ng`](crate::ng) protocol: one UDP socket, one task beside the operator's.

use super::clock::Clock;
use super::ipc::{AsyncChannel, Blob, Channel, Datagram, Datagrams};
use crate::base::{Anchor, Instant, Rng};
use crate::call::Addresses;
use crate::config::{Config, PortRange};
use crate::control::RelayedRow;
use crate::media::Sound;
use crate::media::order::Language;
use crate::ng::{Counts, Interface, Ng, Output, Settings};
use crate::relay::PortPool;
use crate::server::{MediaNews, MediaOrder};
use crate::store::Record;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};

/// What relays say and the task has not heard yet; of more the oldest requests time out.
pub const EVENTS_MAX: usize = 65_536;
/// Operators who wait at a time.
pub const ASKS_MAX: usize = 16;
/// The largest datagram (RFC 768), rounded up.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams that are read before the relay is heard again.
const DATAGRAMS_PER_ROUND: usize = 32;
/// How long an end waits for what is being recorded: as long as shards wait for their last records.
const ENDS_WITHIN: Duration = Duration::from_secs(3);
/// Before what is said, milliseconds.
const PAUSE_MS: u32 = 250;
/// As rtpengine does: a call that was deleted stays for what is still under way.
const DELETE_DELAY: Duration = Duration::from_secs(30);
/// As rtpengine does with calls that nobody answers or that are on hold.
const IDLE: Duration = Duration::from_secs(3600);

/// What others see of the task.
#[derive(Clone, Default, Debug)]
pub struct Figures {
    /// What was counted.
    pub counts: Counts,
    /// How many sessions the relay has now.
    pub sessions: u64,
}

/// The same, shared.
pub type Seen = Arc<Mutex<Figures>>;

/// The part of the media ports that calls of our own have, and the part of this protocol, where
/// it is on: half each.
pub fn share_ports(config: &Config) -> ((u16, u16), Option<(u16, u16)>) {
    let ports: PortRange = config.rtp.ports;
    let (first, last) = (ports.first(), ports.last());
    if config.rtp.ng.is_none() {
        return ((first, last), None);
    }
    let half = u16::try_from(ports.pairs() / 2 * 2).unwrap_or(0);
    let middle = first.saturating_add(half);
    ((first, middle.saturating_sub(1)), Some((middle, last)))
}

/// What the machine goes by.
pub fn settings(config: &Config, addresses: &Addresses, anchor: Anchor, mark: &str) -> Settings {
    let ng = config.rtp.ng.as_ref();
    let interfaces = ng.map(|ng| &ng.interfaces[..]).unwrap_or_default();
    let interface = interfaces.iter().map(|i| Interface {
        name: i.name.clone(),
        bind: i.bind,
        shown: i.shown,
    });
    Settings {
        addresses: addresses.clone(),
        interfaces: interface.collect(),
        allow: ng.map(|ng| ng.allow.clone()).unwrap_or_default(),
        calls_max: config.limits.calls_max,
        anchor,
        delete_delay: DELETE_DELAY,
        idle: IDLE,
        mark: mark.into(),
        codings: config.services.codings(),
        recording_max_ms: config.recording.max_s.saturating_mul(1000),
        timezone: config.numbers.timezone.clone(),
        notice: match config.recording.notice {
            true => notice(config.node.locale.into()),
            false => Vec::new(),
        },
    }
}

/// What both sides of a call hear when it begins to be recorded.
fn notice(language: Language) -> Vec<Sound> {
    let pause = Sound::Silence { ms: PAUSE_MS };
    let name = "call-is-recorded".into();
    vec![pause, Sound::Prompt { language, name }]
}

/// Binds the socket.
pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let mut sockets = super::udp::bind(address, 1)?;
    let socket = sockets.pop().ok_or(io::ErrorKind::NotFound)?;
    Ok(socket.into())
}

/// What is asked of the task.
#[derive(Debug)]
pub enum Ask {
    /// An operator wants to see the calls.
    Rows(oneshot::Sender<Vec<RelayedRow>>),
    /// The daemon stops: end what is being recorded. Dropped once that is whole, or
    /// [`ENDS_WITHIN`] is over.
    End(oneshot::Sender<()>),
}

/// The task.
pub struct Task {
    /// Bound.
    pub socket: std::net::UdpSocket,
    /// How replies leave.
    pub way: Way,
    /// Its part of the media ports.
    pub ports: PortPool,
    /// The clock of the relays.
    pub clock: Clock,
    /// What the relays say.
    pub events: mpsc::Receiver<MediaNews>,
    /// The way to the relays.
    pub order: Box<dyn Fn(MediaOrder) + Send + Sync>,
    /// What the machine goes by, now and later.
    pub settings: watch::Receiver<Settings>,
    /// What others want of it.
    pub asks: mpsc::Receiver<Ask>,
    /// Where counters are shown.
    pub seen: Seen,
    /// Makes keys.
    pub rng: Rng,
    /// Where records of calls that were recorded go.
    pub persist: Box<dyn Fn(Record) + Send + Sync>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

/// How replies leave.
#[derive(Debug)]
pub enum Way {
    /// By the socket.
    Direct,
    /// By the broker, which has the socket too.
    Broker {
        /// Its place among the broker's sockets.
        listener: u16,
        /// Each line to a broker, in turn.
        lines: mpsc::Receiver<Channel>,
    },
}

impl Way {
    /// The next line; never, where there is none.
    async fn line(&mut self) -> io::Result<AsyncChannel> {
        match self {
            Way::Direct => std::future::pending().await,
            Way::Broker { lines, .. } => match lines.recv().await {
                Some(line) => AsyncChannel::new(line),
                None => std::future::pending().await,
            },
        }
    }
}

impl Task {
    /// Serves until the runtime ends.
    pub async fn run(self) -> io::Result<()> {
        let Task {
            socket,
            mut way,
            ports,
            clock,
            mut events,
            order,
            mut settings,
            mut asks,
            seen,
            rng,
            persist,
        } = self;
        let socket = UdpSocket::from_std(socket)?;
        let now = clock.now();
        let mut ng = Ng::new(now, settings.borrow_and_update().clone(), ports, rng);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut replies = Vec::new();
        let mut line = None;
        loop {
            let due = ng.poll_timeout();
            let sleep = tokio::time::sleep_until(clock.to_tokio(due.unwrap_or(Instant::ZERO)));
            tokio::select! {
                ready = socket.readable() => {
                    ready?;
                    for _ in 0..DATAGRAMS_PER_ROUND {
                        // An error is that nothing waits, or an ICMP error of a reply, which
                        // reading takes off.
                        let Ok((length, from)) = socket.try_recv_from(&mut buffer) else {
                            break;
                        };
                        let datagram = buffer.get(..length).unwrap_or_default();
                        ng.handle_datagram(clock.now(), from, datagram);
                        settle(&mut ng, (&order, &persist), &mut replies);
                    }
                }
                Some(news) = events.recv() => hear(&mut ng, clock.now(), news),
                Ok(()) = settings.changed() => {
                    ng.configure(settings.borrow_and_update().clone());
                }
                Some(ask) = asks.recv() => match ask {
                    // Who asked may be gone.
                    Ask::Rows(reply) => drop(reply.send(ng.rows())),
                    Ask::End(whole) => {
                        end(&mut ng, clock, &mut events, (&order, &persist)).await;
                        drop(whole);
                        return Ok(());
                    }
                },
                new = way.line() => line = Some(new?),
                () = sleep, if due.is_some() => ng.handle_timeout(clock.now()),
            }
            settle(&mut ng, (&order, &persist), &mut replies);
            // What cannot be sent is asked for again.
            match &way {
                Way::Direct => send(&socket, &mut replies),
                Way::Broker { listener, .. } => broker(&mut line, *listener, &mut replies).await,
            }
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Figures {
                counts: ng.counts().clone(),
                sessions: ng.sessions() as u64,
            };
        }
    }
}

fn hear(ng: &mut Ng, now: Instant, news: MediaNews) {
    match news {
        MediaNews::Relay(event) => ng.handle_media(now, event),
        MediaNews::Studio(news) => ng.handle_studio(now, news),
    }
}

/// Ends what is being recorded and waits until it is whole. Requests are not heard meanwhile.
async fn end(
    ng: &mut Ng,
    clock: Clock,
    events: &mut mpsc::Receiver<MediaNews>,
    ways: (&impl Fn(MediaOrder), &impl Fn(Record)),
) {
    // Nobody is answered any more.
    let mut replies = Vec::new();
    ng.shut_down(clock.now());
    settle(ng, ways, &mut replies);
    let whole = async {
        while ng.records()
            && let Some(news) = events.recv().await
        {
            hear(ng, clock.now(), news);
            settle(ng, ways, &mut replies);
        }
    };
    if tokio::time::timeout(ENDS_WITHIN, whole).await.is_err() {
        tracing::warn!("ng: not all recordings are whole yet; the next start makes them so");
    }
}

type Outgoing = (SocketAddr, Vec<u8>);

fn settle(
    ng: &mut Ng,
    (order, persist): (&impl Fn(MediaOrder), &impl Fn(Record)),
    replies: &mut Vec<Outgoing>,
) {
    while let Some(output) = ng.poll_output() {
        match output {
            Output::Media(command) => order(MediaOrder::Relay(command)),
            Output::Studio(what) => order(MediaOrder::Studio(what)),
            Output::Persist(record) => persist(record),
            Output::Reply { to, datagram } => replies.push((to, datagram)),
        }
    }
}

fn send(socket: &UdpSocket, replies: &mut Vec<Outgoing>) {
    for (to, datagram) in replies.drain(..) {
        if let Err(error) = socket.try_send_to(&datagram, to) {
            tracing::debug!("ng: reply to {to}: {error}");
        }
    }
}

async fn broker(line: &mut Option<AsyncChannel>, listener: u16, replies: &mut Vec<Outgoing>) {
    for (to, datagram) in replies.drain(..) {
        let one = Datagram {
            listener,
            to,
            tag: 0,
            bytes: Blob(&datagram),
        };
        if let Some(channel) = line
            && let Err(error) = channel.send(&Datagrams(vec![one]), &[]).await
        {
            tracing::debug!("ng: reply to {to}: {error}");
            *line = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn ports_are_shared_without_overlap() {
        let config = |text: &str| Config::parse(text, Path::new("/etc/voip/voip.toml")).unwrap();
        assert_eq!(share_ports(&config("")), ((16384, 32767), None));
        for ports in ["20000-20015", "20000-20016", "20000-20099", "6000-65535"] {
            let text = format!("[rtp]\nports = \"{ports}\"\nng = \"udp:127.0.0.1:700\"");
            let ((a, b), ng) = share_ports(&config(&text));
            let (c, d) = ng.unwrap();
            assert!(
                a < b && b + 1 == c && c < d && c % 2 == 0,
                "{ports}: {a}-{b} {c}-{d}"
            );
        }
    }
}
