//! STUN (RFC 8489): tells its messages from others, and answers Binding requests.
//!
//! What a SIP port needs (RFC 5626 §3.5.2, §8); `ice` answers those of media ports. Not done here:
//! authentication, TURN, RFC 3489 without the magic cookie, and requests of our own.

use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};

pub(super) const HEADER_SIZE: usize = 20;
const COOKIE: u32 = 0x2112_a442;
const COOKIE_BYTES: [u8; 4] = COOKIE.to_be_bytes();

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
pub(super) const FINGERPRINT: u16 = 0x8028;
const FINGERPRINT_SIZE: usize = 8;
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// The most attributes of a request that are read; a request with more is not answered.
pub const ATTRIBUTES_MAX: usize = 32;
/// The most unknown attributes that an error response names.
pub const UNKNOWN_MAX: usize = 8;

/// Attributes below 0x8000 that need not be acted upon without authentication: USERNAME,
/// MESSAGE-INTEGRITY, REALM, NONCE, MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM, USERHASH,
/// and PRIORITY and USE-CANDIDATE of RFC 8445.
const UNDERSTOOD: [u16; 9] = [
    0x0006, 0x0008, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e, 0x0024, 0x0025,
];

/// A response, ready to be sent.
pub type Response = SmallVec<[u8; 96]>;

/// Whether a datagram is a STUN message: two zero bits, the magic cookie, and a length that fits
/// (RFC 8489 §5). No SIP or RTP message is.
pub fn is_stun(bytes: &[u8]) -> bool {
    let Some([b0, _, l0, l1, c0, c1, c2, c3]) = bytes.first_chunk::<8>() else {
        return false;
    };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    b0 & 0xc0 == 0
        && [*c0, *c1, *c2, *c3] == COOKIE_BYTES
        && length % 4 == 0
        && bytes.len() == HEADER_SIZE + length
}

/// The answer to a Binding request that came from `source`: success with its address, or error 420
/// when it holds attributes that must be understood and are not. `None` for all else, also for a
/// wrong fingerprint. Never more than 64 bytes, and sent to `source` only.
pub fn answer(bytes: &[u8], source: SocketAddr) -> Option<Response> {
    let rest = request(bytes)?;
    let unknown = check(bytes)?;
    let mut out = Response::new();
    put_header(&mut out, unknown.is_empty(), rest);
    if unknown.is_empty() {
        put_address(&mut out, source, rest);
    } else {
        put_unknown(&mut out, &unknown);
    }
    put_fingerprint(&mut out);
    Some(out)
}

/// The cookie and the transaction's identifier of a Binding request.
pub(super) fn request(bytes: &[u8]) -> Option<&[u8; 16]> {
    let (header, _) = bytes.split_first_chunk::<HEADER_SIZE>()?;
    let [t0, t1, ..] = header;
    let is_request = is_stun(bytes) && u16::from_be_bytes([*t0, *t1]) == BINDING_REQUEST;
    header.last_chunk().filter(|_| is_request)
}

pub(super) type Attribute<'a> = (u16, &'a [u8], usize);

/// The attribute at `at`: its type, its value, and where the next one begins. `Some(None)` at the
/// end, `None` where it is longer than the message.
pub(super) fn attribute(bytes: &[u8], at: usize) -> Option<Option<Attribute<'_>>> {
    let Some(([t0, t1, l0, l1], after)) = bytes.get(at..)?.split_first_chunk::<4>() else {
        return (at == bytes.len()).then_some(None);
    };
    let length = usize::from(u16::from_be_bytes([*l0, *l1]));
    let value = after.get(..length)?;
    let next = at + 4 + length.next_multiple_of(4);
    let kind = u16::from_be_bytes([*t0, *t1]);
    (next <= bytes.len()).then_some(Some((kind, value, next)))
}

/// Whether `value`, the FINGERPRINT at `at`, is right.
pub(super) fn is_fingerprint(bytes: &[u8], at: usize, value: &[u8]) -> bool {
    let covered = bytes.get(..at).unwrap_or_default();
    value == fingerprint(covered).to_be_bytes()
}

/// Walks the attributes; gives those that must be understood and are not, or `None` where the
/// request is malformed.
fn check(bytes: &[u8]) -> Option<SmallVec<[u16; UNKNOWN_MAX]>> {
    let mut unknown = SmallVec::new();
    let mut at = HEADER_SIZE;
    for _ in 0..ATTRIBUTES_MAX {
        let Some((kind, value, next)) = attribute(bytes, at)? else {
            return Some(unknown);
        };
        if kind == FINGERPRINT {
            let right = is_fingerprint(bytes, at, value) && next == bytes.len();
            return right.then_some(unknown);
        }
        if kind < 0x8000 && !UNDERSTOOD.contains(&kind) && unknown.len() < UNKNOWN_MAX {
            unknown.push(kind);
        }
        at = next;
    }
    (at == bytes.len()).then_some(unknown)
}

/// The header of a response to a request; its length is told at the end.
pub(super) fn put_header(out: &mut Response, success: bool, cookie_and_id: &[u8; 16]) {
    let kind = match success {
        true => BINDING_SUCCESS,
        false => BINDING_ERROR,
    };
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(cookie_and_id);
}

/// RFC 8489 §14.2: port and address, XORed with the cookie and the transaction's identifier.
pub(super) fn put_address(out: &mut Response, source: SocketAddr, cookie_and_id: &[u8]) {
    let [c0, c1, ..] = COOKIE_BYTES;
    let [p0, p1] = source.port().to_be_bytes();
    let mut put = |family: u8, octets: &[u8]| {
        out.extend_from_slice(&XOR_MAPPED_ADDRESS.to_be_bytes());
        out.extend_from_slice(&(4 + octets.len() as u16).to_be_bytes());
        out.extend_from_slice(&[0, family, p0 ^ c0, p1 ^ c1]);
        out.extend(octets.iter().zip(cookie_and_id).map(|(o, x)| o ^ x));
    };
    match source.ip().to_canonical() {
        IpAddr::V4(ip) => put(1, &ip.octets()),
        IpAddr::V6(ip) => put(2, &ip.octets()),
    }
}

/// RFC 8489 §14.8: an error, without its words.
pub(super) fn put_error(out: &mut Response, code: u16) {
    out.extend_from_slice(&ERROR_CODE.to_be_bytes());
    let [class, number] = [code / 100, code % 100].map(|n| n as u8);
    out.extend_from_slice(&[0, 4, 0, 0, class, number]);
}

/// RFC 8489 §14.8, §14.13: error 420 and what was not understood.
pub(super) fn put_unknown(out: &mut Response, unknown: &[u16]) {
    put_error(out, 420);
    out.extend_from_slice(&UNKNOWN_ATTRIBUTES.to_be_bytes());
    out.extend_from_slice(&(2 * unknown.len() as u16).to_be_bytes());
    for kind in unknown {
        out.extend_from_slice(&kind.to_be_bytes());
    }
    if unknown.len() % 2 == 1 {
        out.extend_from_slice(&[0, 0]);
    }
}

pub(super) fn put_fingerprint(out: &mut Response) {
    let length = (out.len() + FINGERPRINT_SIZE - HEADER_SIZE) as u16;
    if let Some(place) = out.get_mut(2..4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    let sum = fingerprint(out);
    out.extend_from_slice(&FINGERPRINT.to_be_bytes());
    out.extend_from_slice(&[0, 4]);
    out.extend_from_slice(&sum.to_be_bytes());
}

/// RFC 8489 §14.7: the CRC-32 of ITU V.42, XORed with "STUN".
fn fingerprint(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc ^ FINGERPRINT_XOR
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.1.
    const SAMPLE: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\
        \x87\xdf\xae\x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\
        \x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY   \x00\x08\x00\x14\x9a\xea\
        \xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\
        \xe5\x7a\x3b\xcf";

    fn request(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42];
        bytes.extend([5; 12]);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn the_sample_request_is_answered() {
        let source = "192.0.2.1:32853".parse().unwrap();
        let out = answer(SAMPLE, source).unwrap();
        assert_eq!(out[..4], [1, 1, 0, 20]);
        assert_eq!(out[4..20], SAMPLE[4..20]);
        // The attribute as RFC 5769 §2.2 has it.
        assert_eq!(
            out[20..32],
            *b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43"
        );
        assert_eq!(out[32..36], [0x80, 0x28, 0, 4]);
        assert_eq!(out[36..40], fingerprint(&out[..32]).to_be_bytes());
        assert!(is_stun(&out));
    }

    #[test]
    fn ipv6_as_in_rfc_5769() {
        let source = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
            .parse()
            .unwrap();
        let out = answer(SAMPLE, source).unwrap();
        let expected = b"\x00\x20\x00\x14\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\
            \xf4\xb5\xbe\xd2\xb9\xd9";
        assert_eq!(out[20..44], *expected);
        assert!(!out.spilled());
    }

    #[test]
    fn a_bare_request_is_answered_and_others_are_not() {
        let source = "10.0.0.1:5060".parse().unwrap();
        assert!(answer(&request(&[]), source).is_some());
        let mut indication = request(&[]);
        indication[1] = 0x11;
        assert!(is_stun(&indication) && answer(&indication, source).is_none());
        let mut wrong = SAMPLE.to_vec();
        wrong[30] ^= 1;
        assert!(is_stun(&wrong) && answer(&wrong, source).is_none());
        for length in 0..SAMPLE.len() {
            assert!(!is_stun(&SAMPLE[..length]));
        }
    }

    #[test]
    fn unknown_attributes_get_420() {
        let source = "10.0.0.1:5060".parse().unwrap();
        let out = answer(&request(&[0, 3, 0, 4, 0, 0, 0, 6]), source).unwrap();
        assert_eq!(out[..2], [1, 0x11]);
        assert_eq!(
            out[20..36],
            [0, 9, 0, 4, 0, 0, 4, 20, 0, 0x0a, 0, 2, 0, 3, 0, 0]
        );
        let many: Vec<u8> = (1..=20).flat_map(|n| [0x7f, n, 0, 0]).collect();
        let out = answer(&request(&many), source).unwrap();
        assert!(out.len() <= 64 && is_stun(&out));
        let endless = [0x80, 0x99, 0, 0].repeat(ATTRIBUTES_MAX + 1);
        assert!(answer(&request(&endless), source).is_none());
        assert!(answer(&request(&[0, 6, 0, 9, 1, 1, 1, 1]), source).is_none());
    }
}
