//! The media of one call as it passes through the relay: which ports it holds, what each offer and
//! answer (RFC 3264) becomes on its way, and what the relay is told of it.

use crate::config::Relay;
use crate::relay::anchor::{self, Vantage};
use crate::relay::{Learning, LegSpec, MediaCommand, PortPool, Side};
use crate::wire::sdp::Sdp;
use crate::wire::sip::{HeaderName, Message, Method};
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What becomes of a body on its way through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BodyEdit {
    /// It passes as it is.
    Keep,
    /// It is replaced by this one of the same type.
    Replace(Bytes),
    /// The request cannot be served.
    Refuse {
        /// The status to refuse with.
        status: u16,
        /// Its reason phrase.
        reason: &'static str,
    },
}

/// Whereto a body goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Toward {
    /// The next hop, if it is known.
    pub address: Option<IpAddr>,
    /// Whether the reader is behind a NAT.
    pub behind_nat: bool,
    /// Whether the sides must not see each other's addresses.
    pub relay: bool,
    /// Whether the reader is ourselves.
    pub local: bool,
}

/// Our own addresses: which one to bind and to write towards a peer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Addresses {
    /// Every interface's address and the length of its prefix.
    pub interfaces: Vec<(IpAddr, u8)>,
    /// The address of the default route, per family.
    pub default_v4: Option<Ipv4Addr>,
    /// The address of the default route, per family.
    pub default_v6: Option<Ipv6Addr>,
    /// What a 1:1 NAT before the host shows of us to peers that no interface's network holds.
    pub advertise_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub advertise_v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// The address to bind and the address to write for media with `peer`.
    pub fn toward(&self, peer: IpAddr) -> (IpAddr, IpAddr) {
        let near = self
            .interfaces
            .iter()
            .filter(|(a, n)| in_network(*a, *n, peer));
        if let Some(&(address, _)) = near.max_by_key(|(_, n)| *n) {
            return (address, address);
        }
        let loopback = |v6: bool| -> IpAddr {
            if v6 {
                Ipv6Addr::LOCALHOST.into()
            } else {
                Ipv4Addr::LOCALHOST.into()
            }
        };
        let (bind, shown) = match peer {
            IpAddr::V4(_) => (
                self.default_v4.map(IpAddr::V4),
                self.advertise_v4.map(IpAddr::V4),
            ),
            IpAddr::V6(_) => (
                self.default_v6.map(IpAddr::V6),
                self.advertise_v6.map(IpAddr::V6),
            ),
        };
        let bind = bind.unwrap_or_else(|| loopback(peer.is_ipv6()));
        (bind, shown.unwrap_or(bind))
    }
}

fn in_network(network: IpAddr, length: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => {
            let shift = 32 - u32::from(length.min(32));
            (u64::from(u32::from(n)) >> shift) == (u64::from(u32::from(a)) >> shift)
        }
        (IpAddr::V6(n), IpAddr::V6(a)) => {
            let shift = 128 - u32::from(length.min(128));
            let cut = |x: Ipv6Addr| u128::from(x).checked_shr(shift).unwrap_or(0);
            cut(n) == cut(a)
        }
        _ => false,
    }
}

/// When media passes through us, and by which addresses.
#[derive(Clone, PartialEq, Debug)]
pub struct MediaPolicy {
    /// Of the configuration.
    pub relay: Relay,
    /// Our own.
    pub addresses: Addresses,
}

impl MediaPolicy {
    /// Whether a call is relayed, one of whose sides is behind a NAT or not, and whose sides speak
    /// different address families or not.
    pub fn wants_relay(&self, behind_nat: bool, families_differ: bool) -> bool {
        match self.relay {
            Relay::Always => true,
            Relay::Nat => behind_nat || families_differ,
            Relay::Never => false,
        }
    }
}

#[derive(Clone, Debug)]
struct Offer {
    side: Side,
    in_response: bool,
    body: Bytes,
}

/// One side's circumstances when a body passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub signalling: Option<IpAddr>,
    pub behind_nat: bool,
    pub local: bool,
}

/// The relayed media of one call.
#[derive(Clone, Debug)]
pub(super) struct Media {
    session: u64,
    opened: bool,
    ports: [Vec<Option<u16>>; 2],
    offer: Option<Offer>,
    legs: Option<[LegSpec; 2]>,
    /// What was agreed before the offer that is open now (RFC 3264 §8: a refused offer changes
    /// nothing).
    stable: Option<[LegSpec; 2]>,
}

/// A message with a session description.
#[derive(Debug)]
pub struct Described<'m> {
    pub message: &'m Message,
    /// `None` where it cannot be read.
    sdp: Option<Sdp<'m>>,
}

impl Described<'_> {
    /// The names of the codecs, the preferred one first.
    pub fn codecs(&self) -> Option<Box<str>> {
        let codecs = self.sdp.as_ref()?.codecs();
        (!codecs.is_empty()).then(|| codecs.join(",").into())
    }
}

impl Media {
    pub fn new(session: u64) -> Self {
        let ports = [Vec::new(), Vec::new()];
        Self {
            session,
            opened: false,
            ports,
            offer: None,
            legs: None,
            stable: None,
        }
    }

    /// Our ports.
    pub fn ports(&self) -> Vec<u16> {
        self.ports.iter().flatten().copied().flatten().collect()
    }

    /// Where each side said that it wants its first stream.
    pub fn peers(&self) -> [Option<SocketAddr>; 2] {
        let first = |leg: &LegSpec| leg.media.iter().flatten().find_map(|spec| spec.peer);
        match &self.legs {
            Some([caller, called]) => [first(caller), first(called)],
            None => [None; 2],
        }
    }

    /// Whether the body is a session description.
    pub fn is_sdp(message: &Message) -> bool {
        let Some(kind) = message.header(HeaderName::ContentType) else {
            return false;
        };
        let kind = kind
            .split(|&b| b == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        !message.body().is_empty() && kind.eq_ignore_ascii_case(b"application/sdp")
    }

    /// The message's session description, if it has one.
    pub fn read(message: &Message) -> Option<Described<'_>> {
        Self::is_sdp(message).then(|| Described {
            message,
            sdp: Sdp::parse(message.body()).ok(),
        })
    }

    /// `side`'s description in `message` is on its way to the other side: what the other side gets
    /// to read, and what the relay is told.
    pub fn describe(
        &mut self,
        side: Side,
        described: &Described<'_>,
        sides: [Circumstances; 2],
        addresses: &Addresses,
        pool: &mut PortPool,
    ) -> (BodyEdit, Option<MediaCommand>) {
        if let Err(edit) = self.reserve(described, pool) {
            return (edit, None);
        }
        let (edit, legs) = self.agree(side, described, sides, addresses);
        (edit, legs.map(|legs| self.tell(legs)))
    }

    /// Holds the ports that a description needs.
    pub fn reserve(
        &mut self,
        described: &Described<'_>,
        pool: &mut PortPool,
    ) -> Result<(), BodyEdit> {
        let message = described.message;
        let Some(sdp) = &described.sdp else {
            let reason = "Unreadable Session Description";
            return Err(refuse_unless_response(message, 488, reason));
        };
        // A browser's keys are bound to its ICE and DTLS: its media goes past us.
        if sdp.is_webrtc() && !self.opened {
            return Err(BodyEdit::Keep);
        }
        let mut held = self.ports.iter_mut();
        match held.all(|ports| anchor::reserve(pool, sdp, ports)) {
            true => Ok(()),
            false => Err(refuse_unless_response(message, 503, "No Media Ports Left")),
        }
    }

    /// The same for a dialog that the relay does not follow: it is told nothing, and no more ports
    /// are taken than the call has.
    pub fn describe_aside(
        &mut self,
        side: Side,
        described: &Described<'_>,
        sides: [Circumstances; 2],
        addresses: &Addresses,
    ) -> BodyEdit {
        let (edit, legs) = self.agree(side, described, sides, addresses);
        if let Some(legs) = legs {
            self.legs = Some(legs);
        }
        edit
    }

    /// What another dialog of the same fork starts from: the same offer, the same ports, which the
    /// call alone gives back.
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// The relay follows another dialog of the fork from now on: what was agreed there.
    pub fn follow(&mut self, other: Media) -> Option<MediaCommand> {
        (self.offer, self.stable) = (other.offer, other.stable);
        other.legs.map(|legs| self.tell(legs))
    }

    /// The body that the reader gets, and what the session becomes by it.
    fn agree(
        &mut self,
        side: Side,
        described: &Described<'_>,
        sides: [Circumstances; 2],
        addresses: &Addresses,
    ) -> (BodyEdit, Option<[LegSpec; 2]>) {
        let message = described.message;
        let Some(sdp) = &described.sdp else {
            return (BodyEdit::Keep, None);
        };
        let own = |s: Side| {
            let peer = sides[s.index()]
                .signalling
                .or(sides[s.other().index()].signalling);
            addresses.toward(peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))
        };
        let vantage = |s: Side| Vantage {
            bind: own(s).0,
            signalling: sides[s.index()].signalling,
            behind_nat: sides[s.index()].behind_nat,
            learning: Learning::Early,
            local: sides[s.index()].local,
        };
        let reader = side.other();
        let body = anchor::rewrite(sdp, own(reader).1, &self.ports[reader.index()]);
        let legs = if self.is_answer(side, message) {
            self.answered(side, sdp, vantage)
        } else {
            self.offered(side, message, sdp, vantage)
        };
        (BodyEdit::Replace(body), Some(legs))
    }

    fn is_answer(&self, side: Side, message: &Message) -> bool {
        let Some(offer) = &self.offer else {
            return false;
        };
        let from_other = offer.side == side.other();
        if !message.is_request() {
            return from_other && !offer.in_response;
        }
        match message.method() {
            Method::Ack => from_other,
            Method::Prack => from_other && offer.in_response,
            _ => false,
        }
    }

    fn offered(
        &mut self,
        side: Side,
        message: &Message,
        sdp: &Sdp<'_>,
        vantage: impl Fn(Side) -> Vantage,
    ) -> [LegSpec; 2] {
        let reader = side.other();
        let author = anchor::leg(sdp, &self.ports[side.index()], &[], vantage(side));
        let other = match &self.legs {
            Some(legs) if self.opened => {
                self.stable = self.legs.clone();
                let mut other = legs[reader.index()].clone();
                other.local = vantage(reader).local;
                other
            }
            _ => anchor::unanswered(sdp, &self.ports[reader.index()], vantage(reader)),
        };
        let body = Bytes::copy_from_slice(message.body());
        self.offer = Some(Offer {
            side,
            in_response: !message.is_request(),
            body,
        });
        in_order(side, author, other)
    }

    fn answered(
        &mut self,
        side: Side,
        sdp: &Sdp<'_>,
        vantage: impl Fn(Side) -> Vantage,
    ) -> [LegSpec; 2] {
        let offerer = side.other();
        let ours = &self.ports;
        let offer = self.offer.as_ref().and_then(|o| Sdp::parse(&o.body).ok());
        let muxed = offer
            .as_ref()
            .map(|o| anchor::muxed(o, sdp))
            .unwrap_or_default();
        let answerer = anchor::leg(sdp, &ours[side.index()], &muxed, vantage(side));
        let other = match &offer {
            Some(o) => anchor::leg(o, &ours[offerer.index()], &muxed, vantage(offerer)),
            None => anchor::unanswered(sdp, &ours[offerer.index()], vantage(offerer)),
        };
        self.stable = None;
        in_order(side, answerer, other)
    }

    fn tell(&mut self, mut legs: [LegSpec; 2]) -> MediaCommand {
        let streams = legs[0].media.len().max(legs[1].media.len());
        for leg in &mut legs {
            leg.media.resize(streams, None);
        }
        // Told even when nothing changed: a re-INVITE that repeats its description is how a phone
        // whose NAT gave it another port gets heard again.
        self.legs = Some(legs.clone());
        let session = self.session;
        let again = std::mem::replace(&mut self.opened, true);
        if again {
            MediaCommand::Update { session, legs }
        } else {
            MediaCommand::Open { session, legs }
        }
    }

    /// The offer of a re-INVITE was refused: what was agreed before holds again.
    pub fn refused(&mut self) -> Option<MediaCommand> {
        let legs = self.stable.take()?;
        self.offer = None;
        self.legs = Some(legs.clone());
        Some(MediaCommand::Update {
            session: self.session,
            legs,
        })
    }

    /// The relay could not do what it was last told, and goes on as before that. The stream of the
    /// port that was to blame is given up, and the others are told again; without such a port what
    /// was agreed before the offer holds. `None` if that leaves nothing to go on with.
    pub fn unchanged(&mut self, port: Option<u16>) -> Option<MediaCommand> {
        let Some(port) = port else {
            return self.refused();
        };
        let mut legs = self.legs.clone()?;
        for at in 0..legs[0].media.len() {
            let names = |leg: &LegSpec| {
                let spec = leg.media.get(at).copied().flatten();
                spec.is_some_and(|spec| spec.port == port & !1)
            };
            if legs.iter().any(names) {
                let both = legs.iter_mut().filter_map(|leg| leg.media.get_mut(at));
                both.for_each(|spec| *spec = None);
            }
        }
        let left = legs.iter().all(|leg| leg.media.iter().any(Option::is_some));
        left.then(|| self.tell(legs))
    }

    /// The command that ends the session, if the relay knows of it.
    pub fn close(&self) -> Option<MediaCommand> {
        self.opened.then_some(MediaCommand::Close {
            session: self.session,
        })
    }

    /// Gives the ports back.
    pub fn release(self, pool: &mut PortPool) {
        for port in self.ports.into_iter().flatten().flatten() {
            pool.release(port);
        }
    }

    /// How many port pairs are held.
    pub fn port_count(&self) -> usize {
        self.ports.iter().flatten().flatten().count()
    }
}

fn in_order(side: Side, own: LegSpec, other: LegSpec) -> [LegSpec; 2] {
    match side {
        Side::Caller => [own, other],
        Side::Called => [other, own],
    }
}

/// A response cannot be refused: it passes as it is.
fn refuse_unless_response(message: &Message, status: u16, reason: &'static str) -> BodyEdit {
    if message.is_request() {
        BodyEdit::Refuse { status, reason }
    } else {
        BodyEdit::Keep
    }
}
