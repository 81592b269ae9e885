//! The media side, composed: packets of calls pass through the [`Relay`], those of legs that end
//! here go to the [`Studio`] and come from there.

use crate::base::{Anchor, Instant};
use crate::mailbox::Errand;
use crate::media::file::{FileAsk, FileNews, FileOrder};
use crate::media::room::Rooms;
use crate::media::{Farewell, News, Order, Outlet, Studio, StudioCounters};
use crate::relay::{
    BindError, DROP_REASONS, Datagram, FlowNews, FlowOrder, Lane, MediaCommand, MediaEvent, Relay,
    RelaySettings, STREAMS_MAX, Side, SocketAction, Verdict, leg_toward, legs_of, session_of_leg,
    side_of_leg, tap_of,
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;

/// From signalling to media.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MediaOrder {
    /// About ports and who is at them.
    Relay(MediaCommand),
    /// About sound.
    Studio(Order),
}

impl MediaOrder {
    /// The session that it is about.
    pub fn session(&self) -> u64 {
        match self {
            MediaOrder::Relay(command) => command.session(),
            MediaOrder::Studio(order) => order.session(),
        }
    }

    /// The same with another name.
    pub fn rename(self, to: u64) -> Self {
        match self {
            MediaOrder::Relay(command) => MediaOrder::Relay(command.rename(to)),
            MediaOrder::Studio(order) => MediaOrder::Studio(order.rename(to)),
        }
    }

    /// Our ports that it names.
    pub fn ports(&self) -> Vec<u16> {
        match self {
            MediaOrder::Relay(command) => command.ports(),
            MediaOrder::Studio(_) => Vec::new(),
        }
    }
}

/// From media to signalling.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MediaNews {
    /// Of ports.
    Relay(MediaEvent),
    /// Of sound.
    Studio(News),
}

impl MediaNews {
    /// The session that it is about.
    pub fn session(&self) -> u64 {
        match self {
            MediaNews::Relay(event) => event.session(),
            MediaNews::Studio(news) => news.session(),
        }
    }

    /// The same with another name.
    pub fn rename(self, to: u64) -> Self {
        match self {
            MediaNews::Relay(event) => MediaNews::Relay(event.rename(to)),
            MediaNews::Studio(news) => MediaNews::Studio(news.rename(to)),
        }
    }
}

/// The session of orders about files that are of no call.
const NOBODY: u64 = u64::MAX;

/// The session of orders about files that whoever sends copies by e-mail gives. Sessions of calls
/// are counted from one, and never come that far; the highest bits are the relays' own.
pub const POST_SESSION: u64 = (1 << 48) - 1;

/// What is to be done with a file of a mailbox.
pub(super) fn errand(errand: Errand) -> MediaOrder {
    let what = match errand {
        Errand::Remove(path) => FileOrder::Remove { path },
        Errand::Rename(from, to) => FileOrder::Rename { from, to },
    };
    // Nobody waits for what becomes of it: a file that stays is found by the next start.
    MediaOrder::Studio(Order::Files {
        session: NOBODY,
        task: 0,
        what,
    })
}

/// The longest packet that legs of ours send.
const PACKET_BYTES_MAX: usize = 2048;

/// Sends packets.
pub trait Carrier {
    /// Sends from our port `from_port`; whether it could be sent.
    fn carry(&mut self, relay: &Relay, from_port: u16, to: SocketAddr, packet: &[u8]) -> bool;
}

/// One media worker without its sockets.
#[derive(Debug)]
pub struct MediaCore {
    relay: Relay,
    studio: Studio,
}

/// What the studio says leaves through the relay's ports.
struct Through<'a, C> {
    relay: &'a mut Relay,
    carrier: &'a mut C,
    now: Instant,
}

impl<C: Carrier> Outlet for Through<'_, C> {
    fn rtp(&mut self, session: u64, stream: usize, packet: &[u8]) {
        self.send(session, stream, Lane::Media, packet);
    }

    fn rtcp(&mut self, session: u64, stream: usize, packet: &[u8]) {
        self.send(session, stream, Lane::Rtcp, packet);
    }
}

impl<C: Carrier> Through<'_, C> {
    fn send(&mut self, session: u64, stream: usize, lane: Lane, packet: &[u8]) {
        if let Some(side) = side_of_leg(session) {
            let session = session_of_leg(session);
            return self.pass_by(session, (side, stream, lane), packet);
        }
        let way = self.relay.originate(session, stream, lane, packet.len());
        if let Some((from_port, to)) = way
            && !self.carrier.carry(self.relay, from_port, to, packet)
        {
            self.relay.send_failed(from_port);
        }
    }

    /// What a leg says that stands between the two of a session.
    fn pass_by(&mut self, session: u64, place: (Side, usize, Lane), packet: &[u8]) {
        let mut room = [0; PACKET_BYTES_MAX + Datagram::ROOM];
        let Some(copy) = room.get_mut(..packet.len()) else {
            return;
        };
        copy.copy_from_slice(packet);
        let packet = &mut Datagram::new(&mut room, packet.len());
        if let Some((from_port, to)) = self
            .relay
            .originate_toward(self.now, session, place, packet)
            && !self
                .carrier
                .carry(self.relay, from_port, to, packet.bytes())
        {
            self.relay.send_failed(from_port);
        }
    }
}

impl MediaCore {
    /// Without sessions. `anchor` ties the clock to the calendar.
    pub fn new(settings: RelaySettings, anchor: Anchor) -> Self {
        Self {
            relay: Relay::new(settings),
            // Where legs stand between the sides of a session there are two.
            studio: Studio::new(2 * settings.sessions_max, anchor),
        }
    }

    /// Legs meet those of other cores in these rooms.
    pub fn share(&mut self, rooms: Arc<Rooms>) {
        self.studio.share(rooms);
    }

    /// Carries out an order; legs that end say goodbye before their ports go. Afterwards drain
    /// [`MediaCore::poll_socket`], then [`MediaCore::poll_news`].
    pub fn handle_order(&mut self, now: Instant, order: MediaOrder, carrier: &mut impl Carrier) {
        match order {
            MediaOrder::Relay(command) => {
                if let MediaCommand::Close { session } = command {
                    let streams = self.relay.streams_of(session).unwrap_or(STREAMS_MAX);
                    // Without a stream it may still be ours.
                    for session in legs_of(session, streams.max(1)) {
                        self.studio.handle_order(now, Order::Close { session });
                    }
                    self.say_farewells(now, carrier);
                }
                self.relay.handle_command(now, command);
            }
            MediaOrder::Studio(order) => {
                self.studio.handle_order(now, order);
                self.say_farewells(now, carrier);
            }
        }
    }

    fn say_farewells(&mut self, now: Instant, carrier: &mut impl Carrier) {
        let relay = &mut self.relay;
        let mut outlet = Through {
            relay,
            carrier,
            now,
        };
        while let Some(farewell) = self.studio.poll_farewell() {
            let Farewell {
                session,
                stream,
                packet,
            } = farewell;
            outlet.rtcp(session, stream, &packet);
        }
    }

    /// A packet that came to our port `port` from `source`; whether anything was sent on.
    pub fn process(
        &mut self,
        now: Instant,
        port: u16,
        source: SocketAddr,
        packet: &mut Datagram<'_>,
        carrier: &mut impl Carrier,
    ) -> bool {
        match self.relay.process(now, port, source, packet) {
            Verdict::Forward { from_port, to } => self.send(from_port, to, packet.bytes(), carrier),
            Verdict::Deliver {
                session,
                stream,
                lane,
            } => {
                self.deliver(now, (session, stream, lane), packet, carrier);
                true
            }
            Verdict::Overhear {
                session,
                stream,
                side,
                lane,
            } => {
                if lane == Lane::Media {
                    let place = (side.index(), stream);
                    let tap = tap_of(session, stream);
                    self.studio.overhear(now, tap, place, packet.bytes());
                }
                let leg = leg_toward(session, stream, side);
                if self.studio.has_leg(leg, stream) {
                    self.deliver(now, (leg, stream, lane), packet, carrier);
                    return true;
                }
                match self.relay.pass_on(port, lane, packet) {
                    Verdict::Forward { from_port, to } => {
                        self.send(from_port, to, packet.bytes(), carrier)
                    }
                    Verdict::Deliver { .. } | Verdict::Overhear { .. } | Verdict::Drop(_) => false,
                }
            }
            Verdict::Drop(_) => false,
        }
    }

    fn deliver(
        &mut self,
        now: Instant,
        (leg, stream, lane): (u64, usize, Lane),
        packet: &mut Datagram<'_>,
        carrier: &mut impl Carrier,
    ) {
        let relay = &mut self.relay;
        let mut outlet = Through {
            relay,
            carrier,
            now,
        };
        let packet = packet.bytes_mut();
        let studio = &mut self.studio;
        match lane {
            Lane::Media => studio.handle_rtp(now, leg, stream, packet, &mut outlet),
            Lane::Rtcp => studio.handle_rtcp(now, leg, stream, packet),
        }
    }

    fn send(
        &mut self,
        from_port: u16,
        to: SocketAddr,
        packet: &[u8],
        carrier: &mut impl Carrier,
    ) -> bool {
        let sent = carrier.carry(&self.relay, from_port, to, packet);
        if !sent {
            self.relay.send_failed(from_port);
        }
        sent
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.relay.sessions()
    }

    /// How many streams come to ports of ours.
    pub fn streams(&self) -> usize {
        self.relay.streams()
    }

    /// How many of them the fast path carries.
    pub fn flows(&self) -> usize {
        self.relay.flows()
    }

    /// How many packets went nowhere, by [`DropReason::index`].
    pub fn dropped(&self) -> &[u64; DROP_REASONS] {
        self.relay.dropped()
    }

    /// How many legs end here, for checkers.
    pub fn legs(&self) -> usize {
        self.studio.legs()
    }

    /// Recordings that are not on the disk yet although their legs are gone, for checkers.
    pub fn recordings_left(&self) -> usize {
        self.studio.recordings_left()
    }

    /// What was not heard of the legs that end here.
    pub fn studio_counters(&self) -> StudioCounters {
        self.studio.counters()
    }

    /// A port could not be bound.
    pub fn bind_failed(&mut self, port: u16, error: BindError) {
        self.relay.bind_failed(port, error);
    }

    /// The one peer of a port, once that is settled.
    pub fn locked_peer(&self, port: u16) -> Option<SocketAddr> {
        self.relay.locked_peer(port)
    }

    /// What signalling must hear.
    pub fn poll_news(&mut self) -> Option<MediaNews> {
        let event = self.relay.poll_event().map(MediaNews::Relay);
        event.or_else(|| self.studio.poll_news().map(MediaNews::Studio))
    }

    /// There is a fast path.
    pub fn use_fast_path(&mut self) {
        self.relay.use_fast_path();
    }

    /// What the driver of the fast path must do, in order, before it asks for news.
    pub fn poll_flow(&mut self) -> Option<FlowOrder> {
        self.relay.poll_flow()
    }

    /// The driver of the fast path says something. Afterwards drain [`MediaCore::poll_flow`] and
    /// [`MediaCore::poll_news`].
    pub fn handle_flow(&mut self, now: Instant, port: u16, news: FlowNews) {
        self.relay.handle_flow(now, port, news);
    }

    /// The driver of the fast path is gone: all goes on by sockets. Afterwards drain
    /// [`MediaCore::poll_news`].
    pub fn fast_path_lost(&mut self, now: Instant) {
        self.relay.fast_path_lost(now);
    }

    /// What must be asked of the disk; each is answered by [`MediaCore::handle_file`].
    pub fn poll_file(&mut self) -> Option<FileAsk> {
        self.studio.poll_file()
    }

    /// The disk says something. Afterwards drain [`MediaCore::poll_news`] and
    /// [`MediaCore::poll_file`].
    pub fn handle_file(&mut self, now: Instant, news: FileNews) {
        self.studio.handle_file(now, news);
    }

    /// What the driver must do with sockets, in order, before it asks for news.
    pub fn poll_socket(&mut self) -> Option<SocketAction> {
        self.relay.poll_socket()
    }

    /// When to call [`MediaCore::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = [self.relay.poll_timeout(), self.studio.poll_timeout()];
        timers.into_iter().flatten().min()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant, carrier: &mut impl Carrier) {
        self.relay.handle_timeout(now);
        let relay = &mut self.relay;
        let mut outlet = Through {
            relay,
            carrier,
            now,
        };
        self.studio.handle_timeout(now, &mut outlet);
    }
}

#[cfg(test)]
mod tests;
