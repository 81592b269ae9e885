//! Points a session description to our ports, and says the same to the media side: what `call`
//! does with each offer and answer that passes.
//!
//! One side's description is read ([`Sdp::parse`]); the *other* side shall see our ports toward that
//! other side ([`rewrite`]), and the relay learns where *this* side wants its media ([`leg`]).

use super::{LegSpec, MediaKind, MediaSpec, PortPool};
use crate::wire::sdp::{Ice, Media, MediaEdit, Sdp};
use bytes::Bytes;
use std::net::IpAddr;

/// Takes a port pair for each media section of `sdp` that is in use and has none in `ports` yet (a
/// section keeps its pair for the whole call, also while refused). `ports` grows to the number
/// of sections. On `false` the pool is empty: pairs taken so far stay in `ports` for the caller to
/// release.
pub fn reserve(pool: &mut PortPool, sdp: &Sdp<'_>, ports: &mut Vec<Option<u16>>) -> bool {
    if ports.len() < sdp.media.len() {
        ports.resize(sdp.media.len(), None);
    }
    for (media, port) in sdp.media.iter().zip(ports.iter_mut()) {
        if port.is_none() && relayable(media) {
            *port = pool.allocate();
            if port.is_none() {
                return false;
            }
        }
    }
    true
}

/// The description that the reader's side gets: the author's, with `address` and our `ports` toward
/// the reader in place of the author's. ICE is stripped, since candidates would bypass us.
pub fn rewrite(sdp: &Sdp<'_>, address: IpAddr, ports: &[Option<u16>]) -> Bytes {
    let edits: Vec<Option<MediaEdit>> = ports
        .iter()
        .map(|port| {
            port.map(|port| MediaEdit {
                address,
                port,
                rtcp_port: port | 1,
            })
        })
        .collect();
    sdp.rewrite(&edits, Ice::Strip).into()
}

/// Where a side's signalling came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vantage {
    /// The address that our ports toward the side are bound to.
    pub bind: IpAddr,
    /// The source of its signalling, if known.
    pub signalling: Option<IpAddr>,
    /// Whether it is behind a NAT.
    pub behind_nat: bool,
}

/// The side that wrote `sdp`, with our `ports` toward it. `muxed` says for each section whether offer
/// and answer agreed on RTCP multiplexing ([`muxed`]); before an answer all `false`.
pub fn leg(sdp: &Sdp<'_>, ports: &[Option<u16>], muxed: &[bool], vantage: Vantage) -> LegSpec {
    let media = sdp.media.iter().enumerate().map(|(at, media)| {
        let port = ports.get(at).copied().flatten()?;
        let mux = muxed.get(at).copied().unwrap_or(false);
        relayable(media).then(|| spec(media, port, mux))
    });
    LegSpec {
        bind: vantage.bind,
        signalling: vantage.signalling,
        behind_nat: vantage.behind_nat,
        media: media.collect(),
    }
}

/// The side that has not answered yet: what the offer of the other side leads us to expect of it.
pub fn unanswered(offer: &Sdp<'_>, ports: &[Option<u16>], vantage: Vantage) -> LegSpec {
    let mut leg = leg(offer, ports, &[], vantage);
    for media in leg.media.iter_mut().flatten() {
        media.peer = None;
        media.peer_rtcp = None;
        media.direction =
            crate::wire::sdp::Direction::new(media.direction.receives(), media.direction.sends());
    }
    leg
}

/// Whether each section shares its port with RTCP: both sides must say so (RFC 5761 §5.1.1).
pub fn muxed(offer: &Sdp<'_>, answer: &Sdp<'_>) -> Vec<bool> {
    let pairs = offer.media.iter().zip(&answer.media);
    pairs.map(|(o, a)| o.rtcp_mux && a.rtcp_mux).collect()
}

fn relayable(media: &Media<'_>) -> bool {
    media.port != 0 && (media.is_rtp() || media.is_udptl())
}

fn spec(media: &Media<'_>, port: u16, mux: bool) -> MediaSpec {
    let kind = match (media.is_udptl(), media.is_secure_rtp()) {
        (true, _) => MediaKind::Udptl,
        (false, true) => MediaKind::SecureRtp,
        (false, false) => MediaKind::Rtp,
    };
    let separate = kind != MediaKind::Udptl && !mux;
    MediaSpec {
        port,
        rtcp_port: separate.then_some(port | 1),
        peer: media.rtp_address(),
        peer_rtcp: media.rtcp_address(),
        direction: media.effective_direction(),
        kind,
        clock_rate: media.clock_rate().unwrap_or(0),
    }
}
