//! Tokens in the user part of our Record-Route URIs (RFC 5626 §5.3): they say over which flow the
//! phone on that side is reached, prove that the URI was ours, and are bound to one Call-ID, so a
//! peer that saw one call's token cannot route another call by it. No table stands behind them.

use crate::base::{ConnectionId, Flow, Transport};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the keyed digest that a token carries: HMAC-SHA256-80, as RFC 5626 §5.2 suggests.
const MAC_LEN: usize = 10;
/// The longest token's bytes: kind, phone, transport, two IPv6 addresses with ports, connection,
/// digest.
const TOKEN_MAX: usize = 1 + 4 + 1 + 2 * 19 + 8 + MAC_LEN;
/// Our tokens' format.
const VERSION: u8 = 0x10;

/// How many Record-Route values of ours stand together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One serves both directions.
    Single,
    /// One of two neighbours, one for each side (RFC 5658).
    Double,
}

/// What a token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// Whether a neighbour belongs to it.
    pub kind: Kind,
    /// The flow that reaches the side it was written for.
    pub flow: Option<Flow>,
    /// Which phone is at the end of that flow, if it is registered here.
    pub phone: Option<u32>,
}

/// Writes and checks tokens. Clones share the key.
#[derive(Clone)]
pub struct TokenMint {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for TokenMint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenMint(..)")
    }
}

impl TokenMint {
    /// A mint whose tokens only a mint of the same `secret` accepts.
    pub fn new(secret: &[u8; 32]) -> Self {
        let mut derive: Hmac<Sha256> = keyed(secret);
        derive.update(b"voip record-route token 1");
        let key: [u8; 32] = derive.finalize().into_bytes().into();
        Self { keyed: keyed(&key) }
    }

    /// Appends the token's text to `out`: letters, digits, `-` and `_`.
    pub fn write(&self, token: &Token, call_id: &[u8], out: &mut Vec<u8>) {
        let mut raw: SmallVec<[u8; TOKEN_MAX]> = SmallVec::new();
        let double = u8::from(token.kind == Kind::Double);
        match &token.flow {
            None => raw.push(VERSION | double),
            Some(flow) => {
                let phone = token.phone.map(u32::to_be_bytes);
                raw.push(VERSION | double | 2 | if phone.is_some() { 4 } else { 0 });
                raw.extend_from_slice(phone.as_ref().map_or(&[], |p| &p[..]));
                write_flow(flow, &mut raw);
            }
        }
        let mac = self.mac(&raw, call_id);
        raw.extend_from_slice(&mac);
        base64url(&raw, out);
    }

    /// Reads a token that this mint wrote for `call_id`; `None` for anything else.
    pub fn read(&self, text: &[u8], call_id: &[u8]) -> Option<Token> {
        let raw = unbase64url(text)?;
        let body = raw.get(..raw.len().checked_sub(MAC_LEN)?)?;
        let mac = raw.get(body.len()..)?;
        let expected = self.mac(body, call_id);
        let differs = mac
            .iter()
            .zip(expected)
            .fold(0, |acc, (a, b)| acc | (a ^ b));
        if differs != 0 {
            return None;
        }
        let (&first, rest) = body.split_first()?;
        if first & 0xf0 != VERSION {
            return None;
        }
        let kind = if first & 1 == 1 {
            Kind::Double
        } else {
            Kind::Single
        };
        let (phone, rest) = if first & 4 == 4 {
            let (phone, rest) = rest.split_first_chunk::<4>()?;
            (Some(u32::from_be_bytes(*phone)), rest)
        } else {
            (None, rest)
        };
        let flow = if first & 2 == 2 {
            Some(read_flow(rest)?)
        } else {
            None
        };
        Some(Token { kind, flow, phone })
    }

    fn mac(&self, body: &[u8], call_id: &[u8]) -> [u8; MAC_LEN] {
        let mut mac = self.keyed.clone();
        // The length keeps bytes from moving between the two parts.
        mac.update(&[body.len() as u8]);
        mac.update(body);
        mac.update(call_id);
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut out = [0; MAC_LEN];
        out.copy_from_slice(&whole[..MAC_LEN]);
        out
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(hmac) => hmac,
        Err(_) => unreachable!("HMAC takes keys of every length"),
    }
}

fn write_flow(flow: &Flow, out: &mut SmallVec<[u8; TOKEN_MAX]>) {
    out.push(match flow.transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Ws => 3,
        Transport::Wss => 4,
    });
    for address in [flow.local, flow.remote] {
        match address.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
        out.extend_from_slice(&address.port().to_be_bytes());
    }
    if let Some(ConnectionId(id)) = flow.connection {
        out.extend_from_slice(&id.to_be_bytes());
    }
}

fn read_flow(bytes: &[u8]) -> Option<Flow> {
    let (&transport, rest) = bytes.split_first()?;
    let transport = match transport {
        0 => Transport::Udp,
        1 => Transport::Tcp,
        2 => Transport::Tls,
        3 => Transport::Ws,
        4 => Transport::Wss,
        _ => return None,
    };
    let (local, rest) = read_address(rest)?;
    let (remote, rest) = read_address(rest)?;
    let connection = match rest.len() {
        0 => None,
        _ => Some(ConnectionId(u64::from_be_bytes(rest.try_into().ok()?))),
    };
    Some(Flow {
        transport,
        local,
        remote,
        connection,
    })
}

fn read_address(bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (&family, rest) = bytes.split_first()?;
    let (ip, rest): (IpAddr, &[u8]) = match family {
        4 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            (Ipv4Addr::from(*octets).into(), rest)
        }
        6 => {
            let (octets, rest) = rest.split_first_chunk::<16>()?;
            (Ipv6Addr::from(*octets).into(), rest)
        }
        _ => return None,
    };
    let (port, rest) = rest.split_first_chunk::<2>()?;
    Some((SocketAddr::new(ip, u16::from_be_bytes(*port)), rest))
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn base64url(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for place in 0..=chunk.len() {
            out.push(DIGITS[(word >> (18 - 6 * place) & 63) as usize]);
        }
    }
}

fn unbase64url(text: &[u8]) -> Option<SmallVec<[u8; TOKEN_MAX]>> {
    let mut out = SmallVec::new();
    if text.len() > TOKEN_MAX.div_ceil(3) * 4 {
        return None;
    }
    for chunk in text.chunks(4) {
        let mut word: u32 = 0;
        for &c in chunk {
            let digit = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            };
            word = word << 6 | u32::from(digit);
        }
        word <<= 6 * (4 - chunk.len());
        let bytes = word.to_be_bytes();
        out.extend_from_slice(bytes.get(1..chunk.len())?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn flow(remote: &str, connection: Option<u64>) -> Flow {
        let remote: SocketAddr = remote.parse().unwrap();
        Flow {
            transport: if connection.is_some() {
                Transport::Tls
            } else {
                Transport::Udp
            },
            local: if remote.is_ipv4() {
                "192.0.2.1:5060"
            } else {
                "[2001:db8::1]:5061"
            }
            .parse()
            .unwrap(),
            remote,
            connection: connection.map(ConnectionId),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let mint = TokenMint::new(&[7; 32]);
        for flow in [
            None,
            Some(flow("198.51.100.7:4711", None)),
            Some(flow("[2001:db8::7]:4711", Some(u64::MAX))),
        ] {
            for kind in [Kind::Single, Kind::Double] {
                let phone = flow.and(Some(0x8765_4321)).filter(|_| kind == Kind::Double);
                let token = Token { kind, flow, phone };
                let mut text = Vec::new();
                mint.write(&token, b"a@b", &mut text);
                assert_eq!(mint.read(&text, b"a@b"), Some(token));
                assert_eq!(mint.read(&text, b"a@c"), None);
                assert_eq!(TokenMint::new(&[8; 32]).read(&text, b"a@b"), None);
            }
        }
    }

    #[test]
    fn forgeries_are_refused() {
        let mint = TokenMint::new(&[7; 32]);
        let token = Token {
            kind: Kind::Double,
            flow: Some(flow("198.51.100.7:4711", None)),
            phone: Some(7),
        };
        let mut text = Vec::new();
        mint.write(&token, b"a@b", &mut text);
        let mut rng = Rng::from_u64(3);
        for _ in 0..2000 {
            let mut forged = text.clone();
            let at = rng.below(forged.len() as u64) as usize;
            forged[at] ^= 1 << rng.below(7);
            let read = mint.read(&forged, b"a@b");
            // The last character holds bits that no byte uses.
            assert!(read.is_none() || at == text.len() - 1, "{at}");
        }
        for len in 0..text.len() {
            assert_eq!(mint.read(&text[..len], b"a@b"), None);
        }
    }
}
