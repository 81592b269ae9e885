//! ICE of an agent that only answers (RFC 8445 §2.5: "lite"): its credentials, and the answers to
//! the checks of a peer that does all the rest (§7.3). Its host candidates are in descriptions
//! (RFC 8839), where `ng` writes them.

use super::stun::{self, HEADER_SIZE, Response};
use crate::base::Rng;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use smallvec::SmallVec;
use std::net::SocketAddr;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLED: u16 = 0x8029;
/// Of HMAC-SHA1, bytes.
const INTEGRITY_SIZE: usize = 20;

/// What a peer must prove to know: at least 24 and 128 random bits (RFC 8445 §5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credentials {
    /// `ice-ufrag`: the first part of the user name of its checks.
    pub fragment: [u8; 8],
    /// `ice-pwd`: the key of its checks and of our answers.
    pub password: [u8; 26],
}

impl Credentials {
    /// New ones.
    pub fn generate(rng: &mut Rng) -> Self {
        Self {
            fragment: rng.token(),
            password: rng.token(),
        }
    }
}

/// What a check said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// Nothing that counts: it does not know the password, or is wrong in another way.
    Refused,
    /// The peer is there.
    Valid,
    /// The peer is there, and its packets go this way from now on (USE-CANDIDATE, §7.3.1.5).
    Nominated,
}

/// The answer to a connectivity check that came from `source` (RFC 8445 §7.3, RFC 8489 §9.1.3), and
/// what became of it. `None` for all that is no Binding request or cannot be read: it gets no
/// answer. Never more than 96 bytes.
pub fn answer(bytes: &[u8], source: SocketAddr, ours: &Credentials) -> Option<(Response, Check)> {
    let rest = stun::request(bytes)?;
    let seen = Seen::read(bytes)?;
    let mut out = Response::new();
    let refusal = seen.refusal(bytes, ours);
    let check = match (refusal, seen.nominates) {
        (Some(_), _) => Check::Refused,
        (None, false) => Check::Valid,
        (None, true) => Check::Nominated,
    };
    stun::put_header(&mut out, refusal.is_none(), rest);
    match refusal {
        None => stun::put_address(&mut out, source, rest),
        Some(Refusal::UnknownAttributes) => stun::put_unknown(&mut out, &seen.unknown),
        Some(code) => stun::put_error(&mut out, code.number()),
    }
    // Whoever does not know the password gets no use of it.
    if !matches!(refusal, Some(Refusal::Malformed | Refusal::Stranger)) {
        put_integrity(&mut out, ours)?;
    }
    stun::put_fingerprint(&mut out);
    Some((out, check))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    /// No credentials (RFC 8489 §9.1.3).
    Malformed,
    /// Others than ours.
    Stranger,
    UnknownAttributes,
    /// The peer thinks that we decide: a lite agent never does (RFC 8445 §6.1.1, §7.3.1.1).
    RoleConflict,
}

impl Refusal {
    fn number(self) -> u16 {
        match self {
            Refusal::Malformed => 400,
            Refusal::Stranger => 401,
            Refusal::UnknownAttributes => 420,
            Refusal::RoleConflict => 487,
        }
    }
}

/// What a request holds.
#[derive(Default)]
struct Seen<'a> {
    username: Option<&'a [u8]>,
    /// Where MESSAGE-INTEGRITY begins, and what it says.
    integrity: Option<(usize, &'a [u8])>,
    unknown: SmallVec<[u16; stun::UNKNOWN_MAX]>,
    controlled: bool,
    nominates: bool,
}

impl<'a> Seen<'a> {
    /// `None` where the request is malformed. What stands behind the proof is not read (RFC 8489
    /// §14.5), but for the fingerprint.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut seen = Seen::default();
        let mut at = HEADER_SIZE;
        for _ in 0..stun::ATTRIBUTES_MAX {
            let Some((kind, value, next)) = stun::attribute(bytes, at)? else {
                return Some(seen);
            };
            match kind {
                stun::FINGERPRINT => {
                    let right = stun::is_fingerprint(bytes, at, value) && next == bytes.len();
                    return right.then_some(seen);
                }
                _ if seen.integrity.is_some() => {}
                USERNAME => seen.username = Some(value),
                MESSAGE_INTEGRITY => seen.integrity = Some((at, value)),
                ICE_CONTROLLED => seen.controlled = true,
                USE_CANDIDATE => seen.nominates = true,
                PRIORITY => {}
                0x8000.. => {}
                unknown if seen.unknown.len() < stun::UNKNOWN_MAX => seen.unknown.push(unknown),
                _ => {}
            }
            at = next;
        }
        (at == bytes.len()).then_some(seen)
    }

    fn refusal(&self, bytes: &[u8], ours: &Credentials) -> Option<Refusal> {
        let (Some(name), Some((at, tag))) = (self.username, self.integrity) else {
            return Some(Refusal::Malformed);
        };
        let fragment = name.split(|b| *b == b':').next();
        let mac = integrity(bytes, at, ours);
        let proved = mac.is_some_and(|mac| mac.verify_slice(tag).is_ok());
        if fragment != Some(&ours.fragment[..]) || !proved {
            return Some(Refusal::Stranger);
        }
        if !self.unknown.is_empty() {
            return Some(Refusal::UnknownAttributes);
        }
        self.controlled.then_some(Refusal::RoleConflict)
    }
}

/// The proof that stands at `at`: of all before it, the length in the header ending with it
/// (RFC 8489 §14.5).
fn integrity(bytes: &[u8], at: usize, ours: &Credentials) -> Option<Hmac<Sha1>> {
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(&ours.password).ok()?;
    let length = (at + 4 + INTEGRITY_SIZE - HEADER_SIZE) as u16;
    mac.update(bytes.get(..2)?);
    mac.update(&length.to_be_bytes());
    mac.update(bytes.get(4..at)?);
    Some(mac)
}

fn put_integrity(out: &mut Response, ours: &Credentials) -> Option<()> {
    let tag = integrity(out, out.len(), ours)?.finalize().into_bytes();
    out.extend_from_slice(&MESSAGE_INTEGRITY.to_be_bytes());
    out.extend_from_slice(&(INTEGRITY_SIZE as u16).to_be_bytes());
    out.extend_from_slice(&tag);
    Some(())
}

/// The check of a peer that takes `ours` for our credentials, with these attributes before the
/// proof.
#[cfg(test)]
pub fn check(attributes: &[(u16, &[u8])], ours: &Credentials) -> Vec<u8> {
    let mut out = Response::from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    out.extend([7; 12]);
    for (kind, value) in attributes {
        out.extend(kind.to_be_bytes());
        out.extend((value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    put_integrity(&mut out, ours);
    stun::put_fingerprint(&mut out);
    out.to_vec()
}

/// The same of the peer `peer`, that nominates.
#[cfg(test)]
pub fn nomination(ours: &Credentials) -> Vec<u8> {
    let name = [&ours.fragment[..], b":peer"].concat();
    check(&[(USERNAME, &name), (USE_CANDIDATE, &[])], ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Credentials = Credentials {
        fragment: *b"01234567",
        password: *b"abcdefghijklmnopqrstuv0123",
    };

    fn source() -> SocketAddr {
        "192.0.2.1:32853".parse().unwrap()
    }

    const NAME: (u16, &[u8]) = (USERNAME, b"01234567:peer");

    fn code(response: &[u8]) -> u16 {
        assert_eq!(response[..2], [1, 0x11]);
        assert_eq!(response[20..22], [0, 9]);
        u16::from(response[26]) * 100 + u16::from(response[27])
    }

    /// RFC 5769 §2.1: what others made verifies here.
    #[test]
    fn the_sample_s_proof_is_right() {
        let sample = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\
            \xdf\xae\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\
            \x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY   \x00\x08\x00\x14\
            \x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
            \x80\x28\x00\x04\xe5\x7a\x3b\xcf";
        let seen = Seen::read(sample).unwrap();
        assert_eq!(seen.username, Some(&b"evtj:h6vY"[..]));
        assert!(seen.controlled && !seen.nominates);
        let (at, tag) = seen.integrity.unwrap();
        // Its password is shorter than ours are.
        let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(b"VOkJxbRl1RmTxUk/WvJxBt").unwrap();
        mac.update(&sample[..2]);
        mac.update(&[0, 80]);
        mac.update(&sample[4..at]);
        mac.verify_slice(tag).unwrap();
        let (response, check) = answer(sample, source(), &OURS).unwrap();
        assert_eq!((code(&response), check), (401, Check::Refused));
    }

    #[test]
    fn a_check_is_answered_with_its_source_under_our_key() {
        let request = check(&[NAME, (PRIORITY, &[0, 0, 0, 1])], &OURS);
        let (response, kind) = answer(&request, source(), &OURS).unwrap();
        assert_eq!(kind, Check::Valid);
        assert_eq!(response[..2], [1, 1]);
        assert_eq!(response[4..20], request[4..20]);
        assert_eq!(
            response[20..32],
            *b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43"
        );
        let mac = integrity(&response, 32, &OURS).unwrap();
        mac.verify_slice(&response[36..56]).unwrap();
        assert!(stun::is_stun(&response));
        let six = "[2001:db8::1]:5".parse().unwrap();
        let (long, _) = answer(&request, six, &OURS).unwrap();
        assert!(!long.spilled() && long.len() <= 96);

        let request = check(&[NAME, (USE_CANDIDATE, &[])], &OURS);
        let (_, kind) = answer(&request, source(), &OURS).unwrap();
        assert_eq!(kind, Check::Nominated);
    }

    #[test]
    fn who_proves_nothing_is_refused() {
        let mut wrong = OURS;
        wrong.password[3] ^= 1;
        let name: (u16, &[u8]) = (USERNAME, b"01234568:peer");
        let cases: [(Vec<u8>, u16); 6] = [
            (check(&[NAME], &wrong), 401),
            (check(&[name], &OURS), 401),
            (check(&[(USERNAME, b"")], &OURS), 401),
            (check(&[], &OURS), 400),
            (check(&[NAME, (ICE_CONTROLLED, &[1; 8])], &OURS), 487),
            (check(&[NAME, (0x7f01, &[])], &OURS), 420),
        ];
        for (request, expected) in cases {
            let (response, kind) = answer(&request, source(), &OURS).unwrap();
            assert_eq!((code(&response), kind), (expected, Check::Refused));
            assert!(response.len() <= request.len().max(64));
        }
        // What stands behind the proof counts for nothing.
        let mut late = check(&[NAME], &OURS);
        late.truncate(late.len() - 8);
        late.extend([0, 0x25, 0, 0]);
        let mut late = Response::from_slice(&late);
        stun::put_fingerprint(&mut late);
        let (_, kind) = answer(&late, source(), &OURS).unwrap();
        assert_eq!(kind, Check::Valid);
    }

    #[test]
    fn what_is_no_check_gets_no_answer() {
        let request = check(&[NAME], &OURS);
        for length in 0..request.len() {
            assert!(answer(&request[..length], source(), &OURS).is_none());
        }
        let mut indication = request.clone();
        indication[1] = 0x11;
        assert!(answer(&indication, source(), &OURS).is_none());
        let mut broken = request.clone();
        let last = broken.len() - 1;
        broken[last] ^= 1;
        assert!(answer(&broken, source(), &OURS).is_none());
        let mut lying = request;
        lying[23] = 200;
        assert!(answer(&lying, source(), &OURS).is_none());
    }
}
