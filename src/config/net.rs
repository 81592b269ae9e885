//! Domains, address blocks, listeners and port ranges, as the file writes them.

use crate::base::Transport;
use crate::wire::sip::{Scheme, Uri};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A host name (RFC 1123 §2.1) in lower case without a trailing dot, or an IP address (an IPv6 one
/// in brackets, as in a URI).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Domain(Box<str>);

impl Domain {
    /// `localhost`.
    pub fn localhost() -> Self {
        Self("localhost".into())
    }

    /// Reads a name or an address; says in words why it is none.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Ok(v6) = bare.unwrap_or(text).parse::<Ipv6Addr>() {
            return Ok(Self(format!("[{v6}]").into()));
        }
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            return Ok(Self(v4.to_string().into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err("is empty");
        }
        if name.len() > 253 {
            return Err("is longer than 253 characters");
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err("has a label that is empty or longer than 63 characters");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err("has a label that begins or ends with a hyphen");
            }
            if !label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            {
                return Err("has a character that host names do not");
            }
        }
        if name.rsplit('.').next().is_some_and(all_digits) {
            return Err("ends in a number, yet is no IPv4 address");
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `host` names it, whatever the case.
    pub fn is(&self, host: &str) -> bool {
        self.0.eq_ignore_ascii_case(host)
    }

    /// The name without its first label, if at least two labels remain and it is no address.
    pub fn parent(&self) -> Option<Domain> {
        if self.0.starts_with('[') || self.0.parse::<Ipv4Addr>().is_ok() {
            return None;
        }
        let (_, rest) = self.0.split_once('.')?;
        rest.contains('.').then(|| Self(rest.into()))
    }
}

fn all_digits(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A route that phones are told to take on their way out (RFC 3608): a `sip:` or `sips:` URI of a
/// loose router.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceRoute(Box<str>);

impl ServiceRoute {
    /// Reads a URI; says what is wrong and the remedy.
    pub fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        const EXAMPLE: &str = "write \"sip:out.example.com;lr\"";
        if text.starts_with('<') || text.ends_with('>') {
            let problem = format!("\"{text}\" stands in angle brackets");
            return Err((problem, "take them out"));
        }
        let uri = match Uri::parse(text.as_bytes()) {
            Ok(uri) if matches!(uri.scheme(), Scheme::Sip | Scheme::Sips) => uri,
            Ok(_) => return Err((format!("\"{text}\" is no sip or sips URI"), EXAMPLE)),
            Err(error) => return Err((format!("\"{text}\": {error}"), EXAMPLE)),
        };
        if !text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b))
        {
            return Err((
                format!("\"{text}\" has a character that URIs do not"),
                EXAMPLE,
            ));
        }
        // RFC 3261 §19.1.1: headers and method have no place in a Route.
        if text.contains('?') || uri.param("method").is_some() {
            let problem = format!("\"{text}\" has headers or a method");
            return Err((problem, "take them out: a route is an address alone"));
        }
        // RFC 3261 §16.12: without it phones take it for a strict router, and lose the callee.
        if uri.param("lr").is_none() {
            let problem = format!("\"{text}\" is no loose router");
            return Err((problem, "end it with \";lr\""));
        }
        Ok(Self(text.into()))
    }

    /// As a Service-Route value.
    pub fn value(&self) -> String {
        format!("<{}>", self.0)
    }
}

impl fmt::Display for ServiceRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The origin of web pages (RFC 6454 §6.2): scheme, host and, where it is not the scheme's own,
/// port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin(Box<str>);

impl Origin {
    /// Reads `https://phone.example.com` or `https://192.0.2.1:8443`; says in words why it is none.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, authority) = text
            .split_once("://")
            .ok_or("is no scheme with a host, such as https://phone.example.com")?;
        let mut letters = scheme.bytes();
        let starts = letters.next().is_some_and(|b| b.is_ascii_alphabetic());
        if !starts || !letters.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return Err("has no scheme such as https before its host");
        }
        if authority.contains(['/', '?', '#', '@']) {
            return Err("has more than scheme, host and port");
        }
        let port_at = authority
            .rfind(':')
            .filter(|at| !authority.get(*at..).is_some_and(|t| t.contains(']')));
        let (host, port) = match port_at {
            Some(at) => authority.split_at(at),
            None => (authority, ""),
        };
        let port = match port.strip_prefix(':') {
            None => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                let port = digits.parse::<u16>().map_err(|_| "has no port there is")?;
                Some(port)
            }
            Some(_) => return Err("has a port that is no number"),
        };
        let host = Domain::parse(host)?;
        let scheme = scheme.to_ascii_lowercase();
        let usual = matches!((&*scheme, port), ("https", Some(443)) | ("http", Some(80)));
        let port = port.filter(|_| !usual);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self(format!("{scheme}://{host}{port}").into()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address block; a single address is a block of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpNet {
    addr: IpAddr,
    prefix: u8,
}

impl IpNet {
    /// Reads `192.0.2.0/24`, `2001:db8::/32` or a single address; says in words why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (addr, prefix) = match text.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text, None),
        };
        let addr: IpAddr = addr
            .parse()
            .map_err(|_| format!("\"{addr}\" is no IP address"))?;
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(p) => p
                .parse::<u8>()
                .ok()
                .filter(|p| *p <= bits)
                .ok_or_else(|| format!("\"/{p}\" is no prefix length of 0 to {bits}"))?,
        };
        let net = Self { addr, prefix };
        if net.masked(addr) != net.masked_bits() {
            return Err(format!("\"{text}\" has bits set beyond its prefix"));
        }
        Ok(net)
    }

    /// Whether `ip` is inside; an IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.addr.is_ipv4() && self.masked(ip) == self.masked(self.addr)
    }

    /// Whether every address of its family is inside.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    fn masked(&self, ip: IpAddr) -> u128 {
        let (bits, width) = raw(ip);
        bits & (u128::MAX.checked_shl(u32::from(width - self.prefix.min(width)))).unwrap_or(0)
    }

    fn masked_bits(&self) -> u128 {
        raw(self.addr).0
    }
}

fn raw(ip: IpAddr) -> (u128, u8) {
    match ip {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == raw(self.addr).1 {
            return write!(f, "{}", self.addr);
        }
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

/// One listener.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Listen {
    /// What is spoken there.
    pub transport: Transport,
    /// Where; the address may be the wildcard. Port zero lets the system choose.
    pub addr: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.uri_token(), self.addr)
    }
}

/// The addresses that stand for us where a 1:1 NAT hides the real ones.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Advertise {
    /// To peers that speak IPv4.
    pub v4: Option<Ipv4Addr>,
    /// To peers that speak IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Advertise {
    /// What to show a peer of the family of `remote`.
    pub fn toward(&self, remote: IpAddr) -> Option<IpAddr> {
        match remote.to_canonical() {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }
}

/// Ports in pairs: an even one for RTP, the next for RTCP (RFC 3550 §11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// 16384-32767.
    pub const DEFAULT: PortRange = PortRange {
        first: 16384,
        last: 32767,
    };

    /// The lowest port that may be used, so that none that needs privilege is taken.
    pub const LOWEST: u16 = 1024;

    /// Fewest ports of a range: four calls' worth on one shard.
    pub const SIZE_MIN: u32 = 16;

    /// Reads `16384-32767`; says in words why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (first, last) = text
            .split_once('-')
            .ok_or_else(|| format!("\"{text}\" is no range such as \"16384-32767\""))?;
        let port = |t: &str| {
            let port = t.trim().parse::<u16>();
            port.map_err(|_| format!("\"{}\" is no port of 1 to 65535", t.trim()))
        };
        let (first, last) = (port(first)?, port(last)?);
        if first < Self::LOWEST {
            return Err(format!("begins below port {}", Self::LOWEST));
        }
        if last < first {
            return Err("ends before it begins".into());
        }
        if first % 2 == 1 {
            return Err("begins with an odd port, but RTP takes even ones".into());
        }
        if u32::from(last) - u32::from(first) + 1 < Self::SIZE_MIN {
            return Err(format!("has fewer than {} ports", Self::SIZE_MIN));
        }
        Ok(Self { first, last })
    }

    /// The lowest, an even port.
    pub fn first(&self) -> u16 {
        self.first
    }

    /// The highest, inclusive.
    pub fn last(&self) -> u16 {
        self.last
    }

    /// How many pairs there are.
    pub fn pairs(&self) -> usize {
        (usize::from(self.last) - usize::from(self.first)).div_ceil(2)
    }

    /// Whether `port` is inside.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}
