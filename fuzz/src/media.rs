//! Session descriptions and STUN.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use voip::wire::sdp::{Ice, MediaEdit, Sdp};
use voip::wire::stun;

/// What is read can be rewritten, and what is rewritten reads as it was asked for.
pub fn sdp(bytes: &[u8]) {
    let Ok(sdp) = Sdp::parse(bytes) else { return };
    let _ = (sdp.is_webrtc(), sdp.codecs());
    for media in &sdp.media {
        let _ = (
            media.rtp_address(),
            media.rtcp_address(),
            media.effective_direction(),
        );
        let _ = (media.is_rtp(), media.is_secure_rtp(), media.is_udptl());
        media.attributes("fmtp").for_each(drop);
        media.codecs().for_each(drop);
    }
    assert_eq!(
        sdp.rewrite(&[], Ice::Keep),
        bytes,
        "without an edit every byte stays"
    );
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let edits: Vec<_> = (0..sdp.media.len() as u16)
        .map(|at| MediaEdit {
            address,
            port: 20_000 + 2 * at,
            rtcp_port: 20_001 + 2 * at,
        })
        .map(Some)
        .collect();
    let out = sdp.rewrite(&edits, Ice::Strip);
    let again = Sdp::parse(&out).expect("what is rewritten reads");
    assert_eq!(again.media.len(), sdp.media.len());
    for (at, (before, after)) in sdp.media.iter().zip(&again.media).enumerate() {
        assert_eq!(before.kind, after.kind);
        if before.port != 0 {
            assert_eq!(after.port, 20_000 + 2 * at as u16);
        }
        if let Some(to) = after.rtp_address() {
            assert_eq!(to.ip(), address, "media goes to the relay");
        }
    }
}

/// An answer is a STUN message that goes to no other transaction.
pub fn stun(bytes: &[u8]) {
    for source in ["192.0.2.7:4000", "[2001:db8::7]:4000"] {
        let source: SocketAddr = source.parse().expect("address");
        let Some(answer) = stun::answer(bytes, source) else {
            continue;
        };
        assert!(stun::is_stun(bytes) && stun::is_stun(&answer));
        assert_eq!(
            answer.get(4..20),
            bytes.get(4..20),
            "cookie and transaction"
        );
        assert!(
            stun::answer(&answer, source).is_none(),
            "answers are not answered"
        );
    }
}
