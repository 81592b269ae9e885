//! Session descriptions as phones write them, and as nobody should.

use super::*;
use crate::base::Rng;

const PHONE: &[u8] = b"v=0\r\n\
    o=alice 2890844526 2890844526 IN IP4 192.168.1.5\r\n\
    s=\xff\xfe not UTF-8\r\n\
    c=IN IP4 192.168.1.5\r\n\
    t=0 0\r\n\
    m=audio 49170 RTP/AVP 0 8 97 101\r\n\
    a=rtpmap:97 iLBC/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-16\r\n\
    a=rtcp:49200 IN IP4 192.168.1.6\r\n\
    a=candidate:1 1 UDP 2130706431 192.168.1.5 49170 typ host\r\n\
    a=ice-ufrag:8hhY\r\n\
    a=ptime:20\r\n\
    m=video 0 RTP/AVP 31\r\n\
    m=image 4000 udptl t38\r\n\
    c=IN IP4 192.168.1.9\r\n\
    a=T38FaxVersion:0\r\n";

fn edit(ip: &str, port: u16) -> Option<MediaEdit> {
    Some(MediaEdit {
        address: ip.parse().unwrap(),
        port,
        rtcp_port: port | 1,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn reads_what_a_relay_needs() {
    let sdp = Sdp::parse(PHONE).unwrap();
    assert_eq!(sdp.media.len(), 3);
    let [audio, video, fax] = &sdp.media[..] else {
        panic!()
    };
    assert_eq!(
        audio.rtp_address(),
        Some("192.168.1.5:49170".parse().unwrap())
    );
    assert_eq!(
        audio.rtcp_address(),
        Some("192.168.1.6:49200".parse().unwrap())
    );
    assert!(audio.is_rtp() && audio.ice && !audio.rtcp_mux && !audio.dtls);
    assert_eq!(sdp.codecs(), ["PCMU", "PCMA", "iLBC", "telephone-event"]);
    assert_eq!(audio.clock_rate(), Some(8000));
    assert_eq!((video.port, video.rtp_address()), (0, None));
    assert!(fax.is_udptl() && !fax.is_rtp() && !fax.ice);
    assert_eq!(fax.rtp_address(), Some("192.168.1.9:4000".parse().unwrap()));
    assert_eq!(fax.codecs().collect::<Vec<_>>(), ["t38"]);
    assert_eq!(audio.attributes("fmtp").collect::<Vec<_>>(), [b"101 0-16"]);
    assert_eq!(video.attributes("rtpmap").count(), 0);
}

#[test]
fn rewrites_addresses_and_ports_and_nothing_else() {
    let sdp = Sdp::parse(PHONE).unwrap();
    let edits = [edit("203.0.113.1", 16384), None, edit("203.0.113.1", 16386)];
    let out = sdp.rewrite(&edits, Ice::Strip);
    let expected = text(PHONE)
        .replace("6 IN IP4 192.168.1.5", "6 IN IP4 203.0.113.1")
        .replace("c=IN IP4 192.168.1.5", "c=IN IP4 203.0.113.1")
        .replace("c=IN IP4 192.168.1.9", "c=IN IP4 203.0.113.1")
        .replace("49170 RTP", "16384 RTP")
        .replace(
            "a=rtcp:49200 IN IP4 192.168.1.6",
            "a=rtcp:16385 IN IP4 203.0.113.1",
        )
        .replace(
            "a=candidate:1 1 UDP 2130706431 192.168.1.5 49170 typ host\r\n",
            "",
        )
        .replace("a=ice-ufrag:8hhY\r\n", "")
        .replace("image 4000", "image 16386");
    assert_eq!(text(&out), expected);
    assert!(out.windows(2).any(|w| w == b"\xff\xfe"));
    let kept = sdp.rewrite(&edits, Ice::Keep);
    assert!(text(&kept).contains("a=candidate:1 1 UDP") && text(&kept).contains("ice-ufrag"));
    assert_eq!(sdp.rewrite(&[], Ice::Strip), PHONE);
}

#[test]
fn rewrites_to_the_other_family_and_keeps_a_null_address_null() {
    let hold = b"v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 0.0.0.0\nt=0 0\n\
        m=audio 4000/2 RTP/SAVP 8\na=rtcp-mux\na=rtcp:4000\n";
    let sdp = Sdp::parse(hold).unwrap();
    let media = &sdp.media[0];
    assert_eq!(media.effective_direction(), Direction::SendOnly);
    assert_eq!((media.rtp_address(), media.count), (None, 2));
    assert!(media.rtcp_mux && media.is_secure_rtp());
    let out = text(&sdp.rewrite(&[edit("2001:db8::1", 20000)], Ice::Strip));
    assert!(out.contains("c=IN IP6 ::\n"), "{out}");
    assert!(out.contains("m=audio 20000 RTP/SAVP 8\n"), "{out}");
    // RTCP shared the RTP port before, so it does after.
    assert!(out.contains("a=rtcp:20000\n"), "{out}");
    let live = text(hold).replace("c=IN IP4 0.0.0.0", "c=IN IP4 10.0.0.1/127");
    let sdp = Sdp::parse(live.as_bytes()).unwrap();
    assert_eq!(
        sdp.media[0].rtp_address(),
        Some("10.0.0.1:4000".parse().unwrap())
    );
    let out = text(&sdp.rewrite(&[edit("2001:db8::1", 20000)], Ice::Strip));
    assert!(out.contains("c=IN IP6 2001:db8::1\n"), "{out}");
}

#[test]
fn directions_are_inherited_and_overridden() {
    let both = b"v=0\r\nc=IN IP6 2001:db8::5\r\na=sendonly\r\nm=audio 4 RTP/AVP 0\r\n\
        m=audio 6 RTP/AVP 0\r\na=inactive\r\n";
    let sdp = Sdp::parse(both).unwrap();
    let directions: Vec<_> = sdp.media.iter().map(|m| m.direction).collect();
    assert_eq!(directions, [Direction::SendOnly, Direction::Inactive]);
    assert_eq!(
        sdp.media[1].rtp_address(),
        Some("[2001:db8::5]:6".parse().unwrap())
    );
    assert_eq!(
        sdp.media[1].rtcp_address(),
        Some("[2001:db8::5]:7".parse().unwrap())
    );
}

#[test]
fn odd_addresses_name_no_destination() {
    for address in [
        "IN IP4 phone.example.com",
        "IN IP4 224.2.1.1/127",
        "ATM NSAP 47",
    ] {
        let body = format!("v=0\r\nc={address}\r\nm=audio 65535 RTP/AVP 0\r\n");
        let sdp = Sdp::parse(body.as_bytes()).unwrap();
        assert_eq!(sdp.media[0].rtp_address(), None, "{address}");
        assert_eq!(sdp.media[0].rtcp_address(), None);
        assert_eq!(sdp.media[0].effective_direction(), Direction::SendRecv);
    }
}

#[test]
fn browsers_are_recognised() {
    let body = b"v=0\r\na=fingerprint:sha-256 AA\r\na=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:x\r\n\
        a=rtpmap:111 opus/48000/2\r\na=rtcp-mux\r\n";
    let sdp = Sdp::parse(body).unwrap();
    assert!(sdp.is_webrtc() && sdp.media[0].is_secure_rtp());
    assert_eq!(sdp.media[0].clock_rate(), Some(48_000));
    assert_eq!(sdp.codecs(), ["opus", "PCMU"]);
    assert!(!Sdp::parse(PHONE).unwrap().is_webrtc());
}

#[test]
fn malformed_descriptions_are_refused() {
    let cases: [(&[u8], SdpError); 12] = [
        (b"", SdpError::BadVersion),
        (b"\r\nv=0\r\n", SdpError::BadVersion),
        (b"v=1\r\n", SdpError::BadVersion),
        (b"<xml/>", SdpError::BadVersion),
        (b"v=0\r\nnonsense\r\n", SdpError::BadLine(2)),
        (b"v=0\r\nS=x\r\n", SdpError::BadLine(2)),
        (b"v=0\r\nm=audio\r\n", SdpError::BadMedia(2)),
        (b"v=0\r\nm=audio 70000 RTP/AVP 0\r\n", SdpError::BadMedia(2)),
        (b"v=0\r\nm=audio -1 RTP/AVP 0\r\n", SdpError::BadMedia(2)),
        (b"v=0\r\nm=audio 5/x RTP/AVP 0\r\n", SdpError::BadMedia(2)),
        (b"v=0\r\nc=IN\r\n", SdpError::BadConnection(2)),
        (b"v=0\r\nm=audio 5 RTP/AVP 0\r\n", SdpError::NoConnection),
    ];
    for (bytes, error) in cases {
        assert_eq!(Sdp::parse(bytes), Err(error), "{}", text(bytes));
    }
}

#[test]
fn bounds_hold() {
    let many = format!("v=0\r\n{}", "m=audio 0 RTP/AVP 0\r\n".repeat(MEDIA_MAX + 1));
    assert_eq!(Sdp::parse(many.as_bytes()), Err(SdpError::TooManyMedia));
    let long = format!("v=0\r\n{}", "b=\r\n".repeat(LINES_MAX));
    assert_eq!(Sdp::parse(long.as_bytes()), Err(SdpError::TooLarge));
    let wide = format!("v=0\r\ns={}\r\n", "x".repeat(SIZE_MAX));
    assert_eq!(Sdp::parse(wide.as_bytes()), Err(SdpError::TooLarge));
}

/// Whatever is done to a description, reading it does not panic, and what could be read can be
/// rewritten, read again, and points to us.
#[test]
fn mutated_descriptions_never_panic() {
    let mut rng = Rng::from_u64(1);
    let mut read = 0;
    for _ in 0..20_000 {
        let mut bytes = PHONE.to_vec();
        for _ in 0..=rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            match rng.below(4) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"\r\n:=/ 09am"[rng.below(10) as usize]),
                _ => bytes.truncate(at.max(8)),
            }
        }
        let Ok(sdp) = Sdp::parse(&bytes) else {
            continue;
        };
        read += 1;
        let edits = vec![edit("198.51.100.1", 30_000); sdp.media.len()];
        let out = sdp.rewrite(&edits, Ice::Strip);
        let again = Sdp::parse(&out).unwrap();
        assert_eq!(again.media.len(), sdp.media.len());
        for (old, new) in sdp.media.iter().zip(&again.media) {
            let ours = Some("198.51.100.1:30000".parse().unwrap());
            let expected = match (old.port, old.connection) {
                (0, _) | (_, Some(Connection::Null)) => None,
                _ => ours,
            };
            assert_eq!(new.rtp_address(), expected, "{}", text(&bytes));
        }
    }
    assert!(read > 2_000, "{read}");
}
