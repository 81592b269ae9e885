//! Points a session description to our ports, and says the same to the media side: what `call`
//! does with each offer and answer that passes.
//!
//! One side's description is read ([`Sdp::parse`]); the *other* side shall see our ports toward
//! that other side ([`rewrite`]), and the relay learns where *this* side wants its media
//! ([`leg`]).

use super::{Blocked, Learning, LegSpec, MediaKind, MediaSpec, PortPool};
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

/// The description that the reader's side gets: the author's, with `address` and our `ports`
/// toward the reader in place of the author's. ICE is stripped, since candidates would bypass us.
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
    /// When its source is learned.
    pub learning: Learning,
    /// Whether it is ourselves.
    pub local: bool,
}

/// The side that wrote `sdp`, with our `ports` toward it. `muxed` says for each section whether
/// offer and answer agreed on RTCP multiplexing ([`muxed`]); before an answer all `false`.
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
        learning: vantage.learning,
        local: vantage.local,
        media: media.collect(),
        keys: Vec::new(),
        ice: None,
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
        blocked: Blocked::NONE,
        tapped: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::{Datagram, MediaCommand, MediaEvent, Relay, RelaySettings, Verdict};

    const OFFER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 0 111\r\na=rtcp-mux\r\n\
        a=candidate:1 1 UDP 1 10.0.0.5 4000 typ host\r\n\
        m=video 4002 RTP/AVP 99\r\nm=application 9 TCP/BFCP *\r\n";
    const ANSWER: &[u8] =
        b"v=0\r\no=- 1 1 IN IP4 198.51.100.20\r\ns=-\r\nc=IN IP4 198.51.100.20\r\n\
        t=0 0\r\nm=audio 5000 RTP/AVP 0\r\na=rtcp-mux\r\nm=video 0 RTP/AVP 99\r\n\
        m=application 0 TCP/BFCP *\r\n";

    fn vantage(signalling: Option<&str>, behind_nat: bool) -> Vantage {
        Vantage {
            bind: "203.0.113.1".parse().unwrap(),
            signalling: signalling.map(|s| s.parse().unwrap()),
            behind_nat,
            learning: Learning::Early,
            local: false,
        }
    }

    /// What `call` does with an offer and its answer.
    #[test]
    fn a_call_is_anchored() {
        let ours: IpAddr = "203.0.113.1".parse().unwrap();
        let mut pool = PortPool::new(20_000, 20_099, 0, 1);
        let (mut toward_caller, mut toward_called) = (Vec::new(), Vec::new());
        let offer = Sdp::parse(OFFER).unwrap();
        assert!(reserve(&mut pool, &offer, &mut toward_called));
        assert!(reserve(&mut pool, &offer, &mut toward_caller));
        assert_eq!(toward_called, [Some(20_000), Some(20_002), None]);
        let forwarded = rewrite(&offer, ours, &toward_called);
        let forwarded = String::from_utf8(forwarded.to_vec()).unwrap();
        assert!(forwarded.contains("m=audio 20000 ") && !forwarded.contains("candidate"));
        assert!(forwarded.contains("m=application 9 TCP"));
        let caller_at = vantage(Some("192.0.2.77"), true);
        let caller = leg(&offer, &toward_caller, &[], caller_at);
        let called = unanswered(&offer, &toward_called, vantage(None, false));
        let mut relay = Relay::new(RelaySettings::default());
        let now = crate::base::Instant::ZERO;
        let legs = [caller, called];
        relay.handle_command(now, MediaCommand::Open { session: 1, legs });
        let binds = std::iter::from_fn(|| relay.poll_socket()).count();
        assert_eq!(
            (binds, relay.poll_event()),
            (8, Some(MediaEvent::Opened { session: 1 }))
        );

        let answer = Sdp::parse(ANSWER).unwrap();
        assert!(reserve(&mut pool, &answer, &mut toward_caller));
        let back = rewrite(&answer, ours, &toward_caller);
        let back = Sdp::parse(&back).unwrap();
        assert_eq!(back.media[0].rtp_address(), Some((ours, 20_004).into()));
        assert_eq!(back.media[1].port, 0);
        let mux = muxed(&offer, &answer);
        assert_eq!(mux, [true, false, false]);
        let called_at = vantage(Some("198.51.100.20"), false);
        let legs = [
            leg(&offer, &toward_caller, &mux, caller_at),
            leg(&answer, &toward_called, &mux, called_at),
        ];
        relay.handle_command(now, MediaCommand::Update { session: 1, legs });
        assert_eq!(std::iter::from_fn(|| relay.poll_socket()).count(), 6);
        let phone = "192.0.2.77:61000".parse().unwrap();
        let mut packet = [0x80; 172];
        packet[1] = 0;
        let mut packet = Datagram::new(&mut packet, 172);
        let verdict = relay.process(now, 20_004, phone, &mut packet);
        let to = "198.51.100.20:5000".parse().unwrap();
        assert_eq!(
            verdict,
            Verdict::Forward {
                from_port: 20_000,
                to
            }
        );
    }

    #[test]
    fn an_empty_pool_is_said() {
        let mut pool = PortPool::new(20_000, 20_001, 0, 1);
        let mut ports = Vec::new();
        let offer = Sdp::parse(OFFER).unwrap();
        assert!(!reserve(&mut pool, &offer, &mut ports));
        assert_eq!(ports, [Some(20_000), None, None]);
    }
}
