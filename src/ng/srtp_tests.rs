//! SRTP by keys in the descriptions: what each side reads, and that it can then hear the other.

use super::tests::*;
use super::*;
use crate::base::Rng;
use crate::relay::{Datagram, Verdict};
use crate::srtp::{Crypto, MasterKey, Profile, Protector, Unprotector};
use crate::wire::bencode::{Dictionary, Value};
use crate::wire::rtp::{Header, rtcp};
use crate::wire::sdp::Sdp;

const A: &str = "198.51.100.10:4000";
const B: &str = "198.51.100.20:5000";
const SAVP: (&str, &str) = ("transport-protocol", "RTP/SAVP");
const AVP: (&str, &str) = ("transport-protocol", "RTP/AVP");

fn crypto(tag: u32, profile: Profile, seed: u64) -> Crypto {
    let mut rng = Rng::from_u64(1000 + seed);
    Crypto {
        tag,
        master: MasterKey::generate(profile, |bytes| rng.fill(bytes)),
        lifetime: None,
        mki: None,
    }
}

/// A description made secure.
fn secure(body: &str, lines: &[Crypto]) -> String {
    let lines: String = lines.iter().map(|c| format!("a=crypto:{c}\r\n")).collect();
    body.replace("RTP/AVP", "RTP/SAVP") + &lines
}

/// The keys of the first section, and its protocol.
fn keys(body: &str) -> (String, Vec<Crypto>) {
    let sdp = Sdp::parse(body.as_bytes()).unwrap();
    let media = &sdp.media[0];
    let read = |value: &[u8]| Crypto::parse(std::str::from_utf8(value).unwrap()).unwrap();
    let protocol = String::from_utf8(media.protocol.to_vec()).unwrap();
    (protocol, media.attributes("crypto").map(read).collect())
}

type More<'a> = &'a [(&'a str, Value)];

fn ask(
    h: &mut Harness,
    command: &str,
    (from, to): (&str, &str),
    body: &str,
    more: More<'_>,
) -> Dictionary {
    let tags = dialogue("call", from, to);
    let all = [&tags[..], &[("sdp", body.into())], more].concat();
    h.request(command, &all)
}

fn offer(h: &mut Harness, body: &str, to: (&str, &str), flags: &[&str]) -> String {
    let more = [(to.0, to.1.into()), ("flags", list(flags))];
    sdp(&ask(h, "offer", ("a", ""), body, &more))
}

fn answer(h: &mut Harness, body: &str) -> String {
    sdp(&ask(h, "answer", ("a", "b"), body, &[]))
}

/// A phone's end of a stream.
struct Phone {
    address: &'static str,
    /// Our port toward it.
    port: u16,
    keys: Option<(Protector, Unprotector)>,
    sequence: u16,
}

impl Phone {
    fn new(address: &'static str, reads: &str, keys: Option<(&Crypto, &Crypto)>) -> Self {
        Self {
            address,
            port: port(reads),
            keys: keys.map(|(sends, hears)| {
                let sends = Protector::new(&sends.master, sends.mki, sends.lifetime);
                let hears = Unprotector::new(&hears.master, hears.mki, hears.lifetime);
                (sends, hears)
            }),
            sequence: 0,
        }
    }

    fn plain(address: &'static str, reads: &str) -> Self {
        Self::new(address, reads, None)
    }

    fn says(&mut self, packet: &[u8], rtcp: bool) -> Vec<u8> {
        let mut bytes = packet.to_vec();
        if let Some((sends, _)) = &mut self.keys {
            bytes.resize(packet.len() + Datagram::ROOM, 0);
            let length = match rtcp {
                true => sends.protect_rtcp(&mut bytes, packet.len()),
                false => sends.protect_rtp(&mut bytes, packet.len()),
            };
            bytes.truncate(length.unwrap());
            assert!(bytes[12..28] != packet[12..28], "in the clear");
        }
        bytes
    }

    fn hears(&mut self, mut bytes: Vec<u8>, rtcp: bool) -> Option<Vec<u8>> {
        if let Some((_, hears)) = &mut self.keys {
            let length = match rtcp {
                true => hears.unprotect_rtcp(&mut bytes),
                false => hears.unprotect_rtp(&mut bytes),
            };
            bytes.truncate(length.ok()?);
        }
        Some(bytes)
    }

    /// Sends RTP and RTCP; whether the other heard both as they were.
    fn reaches(&mut self, h: &mut Harness, other: &mut Phone) -> bool {
        self.sequence += 1;
        let header = Header {
            marker: false,
            payload_type: 0,
            sequence: self.sequence,
            timestamp: u32::from(self.sequence) * 160,
            ssrc: u32::from(self.port),
        };
        let rtp = [&header.emit()[..], &[0xd5; 160]].concat();
        let mut report = rtcp::emit_receiver_report(u32::from(self.port), &[]);
        rtcp::emit_cname(&mut report, u32::from(self.port), b"phone@example.com");
        [(rtp, 0), (report, 1)].into_iter().all(|(packet, lane)| {
            let bytes = self.says(&packet, lane == 1);
            let source: SocketAddr = self.address.parse().unwrap();
            let source = (source.ip(), source.port() + lane).into();
            let (length, mut buffer) = (bytes.len(), bytes);
            buffer.resize(length + Datagram::ROOM, 0);
            let mut datagram = Datagram::new(&mut buffer, length);
            let verdict = h
                .relay
                .process(h.now, self.port + lane, source, &mut datagram);
            let Verdict::Forward { from_port, to } = verdict else {
                return false;
            };
            let there: SocketAddr = other.address.parse().unwrap();
            assert_eq!(
                (from_port, to.port()),
                (other.port + lane, there.port() + lane)
            );
            other.hears(datagram.bytes().to_vec(), lane == 1) == Some(packet)
        })
    }
}

fn talk(h: &mut Harness, a: &mut Phone, b: &mut Phone) {
    for _ in 0..3 {
        assert!(a.reaches(h, b), "from A to B");
        assert!(b.reaches(h, a), "from B to A");
    }
}

#[test]
fn a_plain_offer_becomes_secure() {
    for profile in Profile::ALL {
        let mut h = Harness::new(8);
        let offered = offer(&mut h, OFFER, SAVP, &[]);
        let (protocol, ours) = keys(&offered);
        assert_eq!(protocol, "RTP/SAVP");
        let suites: Vec<Profile> = ours.iter().map(|c| c.master.profile()).collect();
        let tags: Vec<u32> = ours.iter().map(|c| c.tag).collect();
        assert_eq!((suites, tags), (Profile::ALL.to_vec(), (1..=6).collect()));
        let ours = ours.iter().find(|c| c.master.profile() == profile).unwrap();
        let theirs = crypto(ours.tag, profile, 7);
        let answered = answer(&mut h, &secure(ANSWER, std::slice::from_ref(&theirs)));
        assert_eq!(keys(&answered), ("RTP/AVP".to_owned(), vec![]));
        assert!(!answered.contains("SAVP"), "{answered}");
        let mut a = Phone::plain(A, &answered);
        let mut b = Phone::new(B, &offered, Some((&theirs, ours)));
        talk(&mut h, &mut a, &mut b);
        h.delete(0);
        assert!(h.is_empty() && h.ng.ports_free() == 8);
    }
}

#[test]
fn a_secure_offer_becomes_plain() {
    let mut h = Harness::new(8);
    let lines = [
        crypto(3, Profile::AesCm128HmacSha1_32, 1),
        crypto(5, Profile::AesCm128HmacSha1_80, 2),
    ];
    let unknown = "a=crypto:1 F8_128_HMAC_SHA1_80 inline:x\r\na=fingerprint:sha-1 00\r\n\
        a=setup:actpass\r\n";
    let body = secure(&(OFFER.to_owned() + unknown), &lines);
    let offered = offer(&mut h, &body, AVP, &[]);
    for trace in ["SAVP", "crypto", "inline", "fingerprint", "setup"] {
        assert!(!offered.contains(trace), "{offered}");
    }
    let answered = answer(&mut h, ANSWER);
    let (protocol, ours) = keys(&answered);
    assert_eq!((&*protocol, ours.len(), ours[0].tag), ("RTP/SAVP", 1, 3));
    assert_eq!(ours[0].master.profile(), Profile::AesCm128HmacSha1_32);
    assert_ne!(ours[0].master, lines[0].master);
    let mut a = Phone::new(A, &answered, Some((&lines[0], &ours[0])));
    let mut b = Phone::plain(B, &offered);
    talk(&mut h, &mut a, &mut b);
    // What B sends in the clear from where A is does not count as A's.
    a.keys = None;
    assert!(!a.reaches(&mut h, &mut b));
    h.delete(0);
    assert!(h.is_empty());
}

#[test]
fn profiles_for_feedback_are_translated_too() {
    let mut h = Harness::new(8);
    let offered = offer(&mut h, OFFER, ("transport-protocol", "RTP/SAVPF"), &[]);
    assert!(offered.contains(" RTP/SAVPF 0"), "{offered}");
    let theirs = crypto(4, Profile::AesCm128HmacSha1_80, 7);
    let body = secure(ANSWER, &[theirs]).replace("RTP/SAVP", "RTP/SAVPF");
    assert!(answer(&mut h, &body).contains(" RTP/AVP 0"));
    let mut h = Harness::new(8);
    let lines = [crypto(1, Profile::AesCm128HmacSha1_80, 7)];
    let body = secure(OFFER, &lines).replace("RTP/SAVP", "RTP/SAVPF");
    assert!(offer(&mut h, &body, AVP, &[]).contains(" RTP/AVP 0"));
    assert!(answer(&mut h, ANSWER).contains(" RTP/SAVPF 0"));
}

#[test]
fn keys_stay_through_reoffers_and_change_where_the_peer_changes_its_own() {
    let mut h = Harness::new(8);
    let offered = offer(&mut h, OFFER, SAVP, &[]);
    let (_, ours) = keys(&offered);
    let theirs = crypto(4, Profile::AesCm128HmacSha1_80, 7);
    let body = secure(ANSWER, std::slice::from_ref(&theirs));
    let answered = answer(&mut h, &body);
    let mut a = Phone::plain(A, &answered);
    let mut b = Phone::new(B, &offered, Some((&theirs, &ours[3])));
    talk(&mut h, &mut a, &mut b);
    // A offers again, and B answers with its key: state goes on at both ends.
    let more = [(SAVP.0, SAVP.1.into())];
    let again = sdp(&ask(&mut h, "offer", ("a", "b"), OFFER, &more));
    assert_eq!(keys(&again).1, ours);
    talk(&mut h, &mut a, &mut b);
    answer(&mut h, &body);
    talk(&mut h, &mut a, &mut b);
    // B offers, with another tag and a suite more; ours is the key as before.
    let lines = [
        crypto(1, Profile::AeadAes256Gcm, 9),
        Crypto {
            tag: 2,
            ..theirs.clone()
        },
    ];
    let body = secure(ANSWER, &lines);
    let more = [(AVP.0, AVP.1.into())];
    let to_a = sdp(&ask(&mut h, "offer", ("b", "a"), &body, &more));
    assert_eq!(keys(&to_a), ("RTP/AVP".to_owned(), vec![]));
    talk(&mut h, &mut a, &mut b);
    let to_b = sdp(&ask(&mut h, "answer", ("b", "a"), OFFER, &[]));
    let (protocol, line) = keys(&to_b);
    assert_eq!((&*protocol, line[0].tag, line.len()), ("RTP/SAVP", 2, 1));
    assert_eq!(line[0].master, ours[3].master);
    talk(&mut h, &mut a, &mut b);
    // B changes its key: until that is answered the old one holds, then it does not.
    let fresh = crypto(1, Profile::AesCm128HmacSha1_80, 11);
    let body = secure(ANSWER, std::slice::from_ref(&fresh));
    sdp(&ask(&mut h, "offer", ("b", "a"), &body, &more));
    talk(&mut h, &mut a, &mut b);
    let to_b = sdp(&ask(&mut h, "answer", ("b", "a"), OFFER, &[]));
    assert!(!b.reaches(&mut h, &mut a));
    let (_, line) = keys(&to_b);
    assert_eq!(line[0].master, ours[3].master);
    b.keys = b.keys.map(|(_, hears)| {
        let sends = Protector::new(&fresh.master, None, None);
        (sends, hears)
    });
    talk(&mut h, &mut a, &mut b);
    // B becomes plain, as when it was transferred.
    let to_a = sdp(&ask(&mut h, "offer", ("b", "a"), ANSWER, &more));
    assert!(!to_a.contains("crypto"));
    sdp(&ask(&mut h, "answer", ("b", "a"), OFFER, &[]));
    b.keys = None;
    talk(&mut h, &mut a, &mut b);
}

#[test]
fn keys_of_the_peers_pass_with_ours_beside_them() {
    let lines = [
        crypto(1, Profile::AesCm128HmacSha1_32, 1),
        crypto(2, Profile::AesCm128HmacSha1_80, 2),
    ];
    let body = secure(OFFER, &lines);
    // B takes one of A's: the relay has no part in it.
    let mut h = Harness::new(8);
    let offered = keys(&offer(&mut h, &body, SAVP, &[])).1;
    assert_eq!((offered.len(), &offered[..2]), (6, &lines[..]));
    let tags: Vec<u32> = offered.iter().map(|c| c.tag).collect();
    assert_eq!(tags, [1, 2, 3, 4, 5, 6]);
    let theirs = crypto(2, Profile::AesCm128HmacSha1_80, 3);
    let answered = answer(&mut h, &secure(ANSWER, std::slice::from_ref(&theirs)));
    assert_eq!((keys(&answered).1, keyed(&h)), (vec![theirs], 0));
    // It takes one of ours: each side has keys of ours.
    let mut h = Harness::new(8);
    let flags: [&[&str]; 2] = [&[], &["SDES-only-AEAD_AES_128_GCM"]];
    for flags in flags {
        let to_b = offer(&mut h, &body, SAVP, flags);
        let offered = keys(&to_b).1;
        let gcm = |c: &&Crypto| c.master.profile() == Profile::AeadAes128Gcm;
        let ours = offered.iter().find(gcm).unwrap();
        assert_eq!(offered.len(), if flags.is_empty() { 6 } else { 1 });
        let theirs = crypto(ours.tag, Profile::AeadAes128Gcm, 3);
        let answered = answer(&mut h, &secure(ANSWER, std::slice::from_ref(&theirs)));
        let (protocol, line) = keys(&answered);
        assert_eq!((&*protocol, line.len(), line[0].tag), ("RTP/SAVP", 1, 1));
        assert_eq!(keyed(&h), 2);
        let mut a = Phone::new(A, &answered, Some((&lines[0], &line[0])));
        let mut b = Phone::new(B, &to_b, Some((&theirs, ours)));
        talk(&mut h, &mut a, &mut b);
        h.delete(0);
    }
    // Of A's two one may pass; none of ours is wanted.
    let mut h = Harness::new(8);
    let flags = ["SDES-no-AES_CM_128_HMAC_SHA1_32", "SDES-nonew"];
    assert_eq!(keys(&offer(&mut h, &body, SAVP, &flags)).1, lines[1..]);
    let flags = [flags[0], flags[1], "SDES-no-AES_CM_128_HMAC_SHA1_80"];
    let more = [(SAVP.0, SAVP.1.into()), ("flags", list(&flags))];
    let refused = error(&ask(&mut h, "offer", ("a", ""), &body, &more));
    assert!(refused.contains("leave no a=crypto"), "{refused}");
    let more = [(SAVP.0, SAVP.1.into()), ("flags", list(&["SDES-off"]))];
    let refused = error(&ask(&mut h, "offer", ("a", ""), &body, &more));
    assert!(refused.contains("leave no crypto suite"), "{refused}");
    // Whose key we cannot use gets none of ours with it.
    let odd = body.replace("AES_CM_128_HMAC_SHA1_", "F8_128_HMAC_SHA1_");
    let mut h = Harness::new(8);
    assert_eq!(
        offer(&mut h, &odd, SAVP, &[]).matches("a=crypto").count(),
        2
    );
}

#[test]
fn a_plain_answer_to_a_secure_offer_is_translated() {
    let lines = [crypto(2, Profile::AesCm128HmacSha1_80, 2)];
    let mut h = Harness::new(8);
    let offered = offer(&mut h, &secure(OFFER, &lines), SAVP, &[]);
    let answered = answer(&mut h, ANSWER);
    let (protocol, ours) = keys(&answered);
    assert_eq!((&*protocol, ours[0].tag), ("RTP/SAVP", 2));
    let mut a = Phone::new(A, &answered, Some((&lines[0], &ours[0])));
    talk(&mut h, &mut a, &mut Phone::plain(B, &offered));
    // And one to an offer that was made secure.
    let mut h = Harness::new(8);
    let offered = offer(&mut h, OFFER, SAVP, &[]);
    let answered = answer(&mut h, ANSWER);
    assert_eq!(keys(&answered), ("RTP/AVP".to_owned(), vec![]));
    talk(
        &mut h,
        &mut Phone::plain(A, &answered),
        &mut Phone::plain(B, &offered),
    );
}

#[test]
fn branches_have_keys_of_their_own() {
    let mut h = Harness::new(16);
    let branch = |h: &mut Harness, name: &str| {
        let more = [(SAVP.0, SAVP.1.into()), ("via-branch", name.into())];
        sdp(&ask(h, "offer", ("a", ""), OFFER, &more))
    };
    let (one, two) = (branch(&mut h, "z1"), branch(&mut h, "z2"));
    let (first, second) = (keys(&one).1, keys(&two).1);
    assert!(first.iter().zip(&second).all(|(a, b)| a.master != b.master));
    let theirs = crypto(4, Profile::AesCm128HmacSha1_80, 7);
    let body = secure(ANSWER, std::slice::from_ref(&theirs));
    let more = [("via-branch", "z2".into())];
    let answered = sdp(&ask(&mut h, "answer", ("a", "b2"), &body, &more));
    let mut a = Phone::plain(A, &answered);
    let mut b = Phone::new(B, &two, Some((&theirs, &second[3])));
    talk(&mut h, &mut a, &mut b);
    h.delete(0);
    assert!(h.is_empty());
    // Without branches: who is asked next, after one has answered, gets other keys; forks beyond
    // the client answer in turn, each with a key of its own.
    let mut h = Harness::new(16);
    let before = keys(&offer(&mut h, OFFER, SAVP, &[])).1;
    assert_eq!(keys(&offer(&mut h, OFFER, SAVP, &[])).1, before);
    answer(&mut h, &body);
    let offered = offer(&mut h, OFFER, SAVP, &[]);
    let ours = keys(&offered).1;
    assert!(ours.iter().zip(&before).all(|(a, b)| a.master != b.master));
    answer(&mut h, &body);
    let theirs = crypto(2, Profile::AeadAes128Gcm, 8);
    let body = secure(ANSWER, std::slice::from_ref(&theirs));
    let answered = sdp(&ask(&mut h, "answer", ("a", "c"), &body, &[]));
    let mut a = Phone::plain(A, &answered);
    let mut b = Phone::new(B, &offered, Some((&theirs, &ours[1])));
    talk(&mut h, &mut a, &mut b);
}

#[test]
fn the_keys_that_are_told_are_those_of_the_session_that_came_to_be() {
    let mut h = Harness::new(16);
    h.taken.extend([20_000, 20_005]);
    let offered = offer(&mut h, OFFER, SAVP, &[]);
    let ours = keys(&offered).1;
    let theirs = crypto(4, Profile::AesCm128HmacSha1_80, 7);
    let answered = answer(&mut h, &secure(ANSWER, std::slice::from_ref(&theirs)));
    let mut a = Phone::plain(A, &answered);
    let mut b = Phone::new(B, &offered, Some((&theirs, &ours[3])));
    talk(&mut h, &mut a, &mut b);
}

#[test]
fn before_the_answer_nothing_leaves_in_the_clear() {
    let mut h = Harness::new(16);
    let offered = offer(&mut h, OFFER, SAVP, &[]);
    let mut b = Phone::plain(B, &offered);
    let toward_a = h.ng.calls[&b"call"[..]].dialogues[0].ports()[0];
    let mut a = Phone {
        address: A,
        port: toward_a,
        keys: None,
        sequence: 0,
    };
    assert!(!a.reaches(&mut h, &mut b) && !b.reaches(&mut h, &mut a));
}

#[test]
fn what_fits_nothing_that_was_offered_is_refused() {
    let lines = [crypto(2, Profile::AesCm128HmacSha1_80, 2)];
    let mut h = Harness::new(16);
    let ask = |h: &mut Harness, command: &str, tags, body: &str, protocol: &str| {
        let more = [("transport-protocol", protocol.into())];
        error(&ask(h, command, tags, body, &more))
    };
    let none = OFFER.replace("RTP/AVP", "RTP/SAVP");
    let refused = ask(&mut h, "offer", ("a", ""), &none, "RTP/AVP");
    assert_eq!(refused, "no a=crypto with a suite that can be used");
    for (protocol, wanted) in [
        ("RTP/AVP", "UDP/TLS/RTP/SAVPF"),
        ("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
        ("UDP/TLS/RTP/SAVPF", "RTP/SAVP"),
    ] {
        let body = OFFER.replace("RTP/AVP", protocol);
        let refused = ask(&mut h, "offer", ("a", ""), &body, wanted);
        assert!(refused.contains("without DTLS"), "{refused}");
    }
    assert!(h.is_empty());
    offer(&mut h, OFFER, SAVP, &["SDES-only-AES_CM_128_HMAC_SHA1_80"]);
    let other = secure(ANSWER, &[crypto(1, Profile::AeadAes256Gcm, 3)]);
    let refused = ask(&mut h, "answer", ("a", "b"), &other, "RTP/AVP");
    assert!(refused.contains("none of the keys"), "{refused}");
    let mut h = Harness::new(16);
    offer(&mut h, &secure(OFFER, &lines), AVP, &[]);
    let refused = ask(
        &mut h,
        "answer",
        ("a", "b"),
        &secure(ANSWER, &lines),
        "RTP/AVP",
    );
    assert!(refused.contains("not what was offered"), "{refused}");
    // A stream that is refused has no keys, and the other side reads of none.
    let body = ANSWER.replace("audio 5000", "audio 0");
    let answered = answer(&mut h, &body);
    assert!(answered.contains("m=audio 0 RTP/SAVP ") && !answered.contains("crypto"));
    assert_eq!(keyed(&h), 0);
}

/// How many streams have keys in the relay's command.
fn keyed(h: &Harness) -> usize {
    let call = &h.ng.calls[&b"call"[..]];
    let legs = call.dialogues[0].legs(call.blocking).unwrap();
    legs.iter()
        .flat_map(|leg| leg.keys.iter().flatten())
        .count()
}

#[test]
fn the_flags_say_which_suites() {
    let suites = |more: More<'_>| -> Vec<&'static str> {
        let mut h = Harness::new(8);
        let more = [&[(SAVP.0, SAVP.1.into())], more].concat();
        let offered = sdp(&ask(&mut h, "offer", ("a", ""), OFFER, &more));
        let lines = keys(&offered).1;
        lines.iter().map(|c| c.master.profile().name()).collect()
    };
    let flags = |flags: &[&str]| suites(&[("flags", list(flags))]);
    let (long, short) = ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32");
    assert_eq!(flags(&[&format!("SDES-only-{long}")]), [long]);
    let only = list(&[&format!("only-{long}"), &format!("only-{short}")]);
    assert_eq!(suites(&[("SDES", only)]), [long, short]);
    let all = flags(&[
        "SDES-no-AEAD_AES_256_GCM",
        "SDES-no-AES_192_CM_HMAC_SHA1_80",
    ]);
    assert!(all.len() == 5 && all[0] == "AEAD_AES_128_GCM");
    let ordered = flags(&[&format!("SDES-order:{short};{long}")]);
    assert!(ordered.len() == 6 && ordered[..2] == [short, long]);
    let mut h = Harness::new(8);
    let offered = offer(
        &mut h,
        OFFER,
        SAVP,
        &["SDES-lifetime", "SDES-pad", "SDES-static"],
    );
    assert!(keys(&offered).1.iter().all(|c| c.lifetime == Some(1 << 31)));
    for off in [("flags", list(&["SDES-off"])), ("SDES", "off".into())] {
        let more = [(SAVP.0, SAVP.1.into()), off];
        let mut h = Harness::new(8);
        let refused = error(&ask(&mut h, "offer", ("a", ""), OFFER, &more));
        assert!(refused.contains("leave no crypto suite"), "{refused}");
    }
    // The choice among what is offered to us.
    let lines = [
        crypto(1, Profile::AeadAes256Gcm, 1),
        crypto(2, Profile::AesCm128HmacSha1_80, 2),
    ];
    for (flags, tag) in [
        (vec![], 1),
        (vec!["SDES-no-AEAD_AES_256_GCM"], 2),
        (vec!["SDES-offerer_pref:AES_CM_128_HMAC_SHA1_80"], 2),
    ] {
        let mut h = Harness::new(8);
        offer(&mut h, &secure(OFFER, &lines), AVP, &flags);
        assert_eq!(keys(&answer(&mut h, ANSWER)).1[0].tag, tag, "{flags:?}");
    }
}

#[test]
fn a_handshake_passes_with_its_keys_taken_out() {
    let mut h = Harness::new(8);
    let body = OFFER.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF")
        + "a=fingerprint:sha-256 AA\r\na=setup:actpass\r\n";
    let body = secure(&body, &[crypto(1, Profile::AesCm128HmacSha1_80, 1)]);
    let to = ("transport-protocol", "UDP/TLS/RTP/SAVPF");
    let offered = offer(&mut h, &body, to, &["SDES-off"]);
    assert!(offered.contains("a=fingerprint") && offered.contains("a=setup"));
    assert!(!offered.contains("crypto"), "{offered}");
}

#[test]
fn streams_are_translated_each_by_itself() {
    let mut h = Harness::new(16);
    let video = "m=video 4002 RTP/AVP 99\r\na=rtpmap:99 VP8/90000\r\n";
    let fax = "m=image 4004 udptl t38\r\n";
    let body = format!("{OFFER}{video}{fax}");
    let offered = offer(&mut h, &body, SAVP, &[]);
    let parsed = Sdp::parse(offered.as_bytes()).unwrap();
    let count = |at: usize| parsed.media[at].attributes("crypto").count();
    assert_eq!((count(0), count(1), count(2)), (6, 6, 0));
    let lines = |at: usize| {
        let value = parsed.media[at].attributes("crypto").next().unwrap();
        Crypto::parse(std::str::from_utf8(value).unwrap()).unwrap()
    };
    assert_ne!(lines(0).master, lines(1).master);
    // B refuses the sound, and takes the picture.
    let theirs = crypto(1, Profile::AeadAes256Gcm, 4);
    let body = ANSWER
        .replace("audio 5000", "audio 0")
        .replace("RTP/AVP", "RTP/SAVP")
        + &secure(&video.replace("4002", "5002"), &[theirs])
        + "m=image 0 udptl t38\r\n";
    let answered = answer(&mut h, &body);
    let parsed = Sdp::parse(answered.as_bytes()).unwrap();
    let protocols: Vec<&[u8]> = parsed.media.iter().map(|m| m.protocol).collect();
    assert_eq!(protocols, [&b"RTP/AVP"[..], b"RTP/AVP", b"udptl"]);
    assert_eq!(
        (parsed.media[0].port, answered.contains("crypto")),
        (0, false)
    );
    let call = &h.ng.calls[&b"call"[..]];
    let [caller, called] = call.dialogues[0].legs(call.blocking).unwrap();
    let has: Vec<bool> = called.keys.iter().map(Option::is_some).collect();
    assert_eq!((caller.keys.len(), has), (0, vec![false, true]));
}

#[test]
fn no_key_is_told_to_who_asks() {
    let mut h = Harness::new(8);
    let offered = offer(&mut h, OFFER, SAVP, &[]);
    let theirs = crypto(4, Profile::AesCm128HmacSha1_80, 7);
    answer(&mut h, &secure(ANSWER, std::slice::from_ref(&theirs)));
    let secrets: Vec<String> = keys(&offered)
        .1
        .iter()
        .chain([&theirs])
        .map(|c| c.to_string().split("inline:").nth(1).unwrap().to_owned())
        .collect();
    let call = &h.ng.calls[&b"call"[..]];
    let command = format!("{:?}", call.dialogues[0].legs(call.blocking));
    assert!(command.contains("AES_CM_128"), "{command}");
    let told = [
        format!("{:?}", h.request("query", &dialogue("call", "", ""))),
        format!("{:?}", h.request("list", &[])),
        format!("{:?}", h.ng.rows()),
        format!("{:?}", h.delete(0)),
        command,
    ];
    for text in told {
        assert!(
            secrets.iter().all(|secret| !text.contains(secret)),
            "{text}"
        );
    }
}

#[test]
fn what_is_not_done_is_noted() {
    let notes = |key: &str, members: &[&str]| {
        let mut request = Dictionary::new();
        request.add("command", "ping").add(key, list(members));
        super::request::Request::parse(&request)
            .unwrap()
            .options
            .notes
    };
    let done = [
        "off",
        "nonew",
        "pad",
        "static",
        "lifetime",
        "no-F8_128_HMAC_SHA1_80",
        "only-AES_CM_128_HMAC_SHA1_80",
        "order:AES_CM_128_HMAC_SHA1_80;AEAD_AES_256_GCM",
        "offerer_pref:AEAD_AES_256_GCM",
        "encrypted_srtp",
    ];
    assert_eq!(notes("SDES", &done), [""; 0]);
    let flags = done.map(|member| format!("SDES-{member}"));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_eq!(notes("flags", &flags), [""; 0]);
    let noted = [
        "SDES-unencrypted_srtcp is not done",
        "unknown flag \"SDES-odd\"",
    ];
    assert_eq!(notes("SDES", &["unencrypted_srtcp", "odd"]), noted);
    assert_eq!(
        notes("flags", &["SDES-unencrypted_srtcp", "SDES-odd"]),
        noted
    );
    assert_eq!(notes("OSRTP", &["accept"]), [""; 0]);
    assert_eq!(notes("OSRTP", &["offer"]), ["OSRTP-offer is not done"]);
    // A list has an end, and so has a name.
    let many: Vec<String> = (0..1000).map(|n| format!("no-{n:0100}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(notes("SDES", &many), [""; 0]);
}

#[test]
fn no_seed_leaks_a_stream_in_the_clear_or_a_port() {
    for seed in 0..60 {
        let mut rng = Rng::from_u64(seed);
        let mut h = Harness::new(24);
        for _ in 0..60 {
            let suite = Profile::ALL[rng.below(6) as usize];
            let line = crypto(rng.below(9) as u32, suite, rng.below(4));
            let (command, body, tags) = match rng.below(5) {
                0 => ("offer", OFFER, ("a", "")),
                1 => ("offer", OFFER, ("a", "b")),
                2 => ("offer", ANSWER, ("b", "a")),
                3 => ("answer", ANSWER, ("a", "b")),
                _ => ("answer", OFFER, ("b", "a")),
            };
            let body = match rng.chance(1, 2) {
                true => secure(body, std::slice::from_ref(&line)),
                false => body.to_owned(),
            };
            let to = [AVP, SAVP][rng.below(2) as usize];
            let reply = ask(&mut h, command, tags, &body, &[(to.0, to.1.into())]);
            let Some(text) = reply.get(b"sdp").and_then(Value::as_bytes) else {
                continue;
            };
            let text = String::from_utf8(text.to_vec()).unwrap();
            let (protocol, lines) = keys(&text);
            // What is read as SRTP has keys, and what is read as RTP has none.
            assert_eq!(
                protocol == "RTP/SAVP",
                !lines.is_empty(),
                "seed {seed}: {text}"
            );
            if command == "offer" {
                assert_eq!(protocol, to.1, "seed {seed}");
            } else {
                assert!(lines.len() <= 1, "seed {seed}: {text}");
            }
            let dialogue = &h.ng.calls[&b"call"[..]].dialogues[0];
            let [a, b] = dialogue.legs(super::call::Blocking::default()).unwrap();
            for leg in [&a, &b] {
                let keyed = leg.keys.iter().flatten().next();
                assert!(keyed.is_none() || leg.media[0].is_some(), "seed {seed}");
            }
        }
        h.delete(0);
        assert!(h.is_empty() && h.ng.ports_free() == 24, "seed {seed}");
    }
}
