//! URIs: `sip`, `sips` (RFC 3261 §19.1), `tel` (RFC 3966), `urn`, and others kept opaque.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::scan;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme<'a> {
    Sip,
    Sips,
    Tel,
    Urn,
    Other(&'a [u8]),
}

/// Always the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriError {
    Scheme,
    User,
    Host,
    Port,
    /// A byte that must not stand in a URI, or a broken `%` escape.
    Character,
}

impl std::fmt::Display for UriError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            UriError::Scheme => "bad URI scheme",
            UriError::User => "bad URI user part",
            UriError::Host => "bad URI host",
            UriError::Port => "bad URI port",
            UriError::Character => "bad character in URI",
        })
    }
}

impl std::error::Error for UriError {}

/// A host as it stands in a URI or Via.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// In the case the peer wrote; empty for URIs that have no host.
    Name(&'a [u8]),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Host<'_> {
    /// Same host: names compare case-insensitive, addresses by value.
    pub fn matches(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Host::Name(one), Host::Name(two)) => one.eq_ignore_ascii_case(two),
            (Host::V4(one), Host::V4(two)) => one == two,
            (Host::V6(one), Host::V6(two)) => one == two,
            (Host::Name(_) | Host::V4(_) | Host::V6(_), _) => false,
        }
    }

    pub fn ip(&self) -> Option<std::net::IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(address) => Some((*address).into()),
            Host::V6(address) => Some((*address).into()),
        }
    }
}

impl std::fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Name(name) => f.write_str(&String::from_utf8_lossy(name)),
            Host::V4(address) => write!(f, "{address}"),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A URI, cut into its parts. For schemes other than sip, sips and tel only `as_bytes` is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    bytes: &'a [u8],
    scheme: Scheme<'a>,
    user: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
    host: Host<'a>,
    port: Option<u16>,
    params: &'a [u8],
    headers: &'a [u8],
}

impl<'a> Uri<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Uri<'a>, UriError> {
        let colon = scan::find(b':', bytes).ok_or(UriError::Scheme)?;
        let (name, rest) = scan::split(bytes, colon);
        let rest = rest.get(1..).unwrap_or_default();
        let scheme = scheme_of(name).ok_or(UriError::Scheme)?;
        check_characters(rest)?;
        match scheme {
            Scheme::Sip | Scheme::Sips => Uri::sip(bytes, scheme, rest),
            Scheme::Tel => Uri::tel(bytes, rest),
            Scheme::Urn | Scheme::Other(_) => Ok(Uri {
                scheme,
                ..Uri::opaque(bytes)
            }),
        }
    }

    fn opaque(bytes: &'a [u8]) -> Uri<'a> {
        Uri {
            bytes,
            scheme: Scheme::Urn,
            user: None,
            password: None,
            host: Host::Name(b""),
            port: None,
            params: b"",
            headers: b"",
        }
    }

    fn tel(bytes: &'a [u8], rest: &'a [u8]) -> Result<Uri<'a>, UriError> {
        let end = scan::find(b';', rest).unwrap_or(rest.len());
        let (number, params) = scan::split(rest, end);
        if number.is_empty() {
            return Err(UriError::User);
        }
        Ok(Uri {
            scheme: Scheme::Tel,
            user: Some(number),
            params,
            ..Uri::opaque(bytes)
        })
    }

    fn sip(bytes: &'a [u8], scheme: Scheme<'a>, rest: &'a [u8]) -> Result<Uri<'a>, UriError> {
        let (user, password, rest) = userinfo(rest)?;
        let end = memchr::memchr2(b';', b'?', rest).unwrap_or(rest.len());
        let (host_port, rest) = scan::split(rest, end);
        let (host, port) = host_port_strict(host_port)?;
        let question = scan::find(b'?', rest).unwrap_or(rest.len());
        let (params, headers) = scan::split(rest, question);
        let headers = headers.get(1..).unwrap_or_default();
        Ok(Uri {
            bytes,
            scheme,
            user,
            password,
            host,
            port,
            params,
            headers,
        })
    }

    pub fn scheme(&self) -> Scheme<'a> {
        self.scheme
    }

    pub fn is_sips(&self) -> bool {
        self.scheme == Scheme::Sips
    }

    /// The user part without password, escapes kept; of a `tel` URI its number.
    pub fn user(&self) -> Option<&'a [u8]> {
        self.user
    }

    pub fn user_unescaped(&self) -> Cow<'a, [u8]> {
        percent_decode(self.user.unwrap_or_default())
    }

    pub fn password(&self) -> Option<&'a [u8]> {
        self.password
    }

    pub fn host(&self) -> Host<'a> {
        self.host
    }

    pub fn port(&self) -> Option<u16> {
        self.port
    }

    pub fn params(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        pairs(self.params, b';')
    }

    /// A URI parameter, name case-insensitive: `Some(None)` when it stands without a value.
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.params()
            .find(|(param, _)| param.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    pub fn transport(&self) -> Option<&'a [u8]> {
        self.param("transport").flatten()
    }

    /// The `?name=value&name=value` part.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        pairs(self.headers, b'&')
    }

    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Equality of RFC 3261 §19.1.4.
    pub fn matches(&self, other: &Uri<'_>) -> bool {
        match (self.scheme, other.scheme) {
            (Scheme::Sip, Scheme::Sip) | (Scheme::Sips, Scheme::Sips) => {}
            (Scheme::Tel, Scheme::Tel) => return self.matches_tel(other),
            (Scheme::Sip | Scheme::Sips | Scheme::Tel, _) => return false,
            (Scheme::Urn | Scheme::Other(_), _) => {
                return self.bytes.eq_ignore_ascii_case(other.bytes);
            }
        }
        self.user.is_some() == other.user.is_some()
            && same_text(self.user, other.user, false)
            && same_text(self.password, other.password, false)
            && self.host.matches(&other.host)
            && self.port == other.port
            && self.params_match(other)
            && other.params_match(self)
            && self.headers_match(other)
            && other.headers_match(self)
    }

    /// RFC 3966 §3: visual separators do not count.
    fn matches_tel(&self, other: &Uri<'_>) -> bool {
        let digits = |uri: &Uri<'_>| -> Vec<u8> {
            let number = uri.user.unwrap_or_default().iter();
            number
                .filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')'))
                .map(u8::to_ascii_lowercase)
                .collect()
        };
        let context = |uri: &Uri<'_>| {
            uri.param("phone-context")
                .flatten()
                .map(<[u8]>::to_ascii_lowercase)
        };
        digits(self) == digits(other) && context(self) == context(other)
    }

    fn params_match(&self, other: &Uri<'_>) -> bool {
        const MUST_STAND_IN_BOTH: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
        self.params().all(|(name, value)| {
            let twins = || {
                other
                    .params()
                    .filter(|(twin, _)| twin.eq_ignore_ascii_case(name))
            };
            match twins().next() {
                Some(_) => twins().any(|(_, twin)| same_text(value, twin, true)),
                None => !MUST_STAND_IN_BOTH
                    .iter()
                    .any(|must| must.eq_ignore_ascii_case(name)),
            }
        })
    }

    fn headers_match(&self, other: &Uri<'_>) -> bool {
        self.headers().all(|(name, value)| {
            other.headers().any(|(twin, twin_value)| {
                twin.eq_ignore_ascii_case(name) && same_text(value, twin_value, false)
            })
        })
    }
}

fn scheme_of(name: &[u8]) -> Option<Scheme<'_>> {
    if name.eq_ignore_ascii_case(b"sip") {
        return Some(Scheme::Sip);
    }
    if name.eq_ignore_ascii_case(b"sips") {
        return Some(Scheme::Sips);
    }
    if name.eq_ignore_ascii_case(b"tel") {
        return Some(Scheme::Tel);
    }
    if name.eq_ignore_ascii_case(b"urn") {
        return Some(Scheme::Urn);
    }
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let starts = name.first().is_some_and(u8::is_ascii_alphabetic);
    (starts && name.iter().all(good)).then_some(Scheme::Other(name))
}

/// Bytes that may stand in a URI as they are. Those above 127 may not by the grammar, but phones
/// send them in user parts and no reader is misled. A percent sign is looked at more closely.
const PLAIN: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte <= b' ' as usize {
        table[byte] = false;
        byte += 1;
    }
    table[0x7f] = false;
    table[b'<' as usize] = false;
    table[b'>' as usize] = false;
    table[b'"' as usize] = false;
    table[b'%' as usize] = false;
    table
};

fn check_characters(rest: &[u8]) -> Result<(), UriError> {
    if rest.iter().all(|byte| PLAIN[usize::from(*byte)]) {
        return Ok(());
    }
    for (at, byte) in rest
        .iter()
        .enumerate()
        .filter(|(_, byte)| !PLAIN[usize::from(**byte)])
    {
        match (byte, rest.get(at + 1..at + 3)) {
            (b'%', Some(digits)) if digits.iter().all(u8::is_ascii_hexdigit) => {}
            _ => return Err(UriError::Character),
        }
    }
    Ok(())
}

type UserInfo<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [u8]);

fn userinfo(rest: &[u8]) -> Result<UserInfo<'_>, UriError> {
    let Some(at) = scan::find(b'@', rest) else {
        return Ok((None, None, rest));
    };
    let (info, rest) = scan::split(rest, at);
    let rest = rest.get(1..).unwrap_or_default();
    let colon = scan::find(b':', info).unwrap_or(info.len());
    let (user, password) = scan::split(info, colon);
    if user.is_empty() || scan::find(b'@', rest).is_some() {
        return Err(UriError::User);
    }
    Ok((Some(user), password.get(1..), rest))
}

fn host_port_strict(bytes: &[u8]) -> Result<(Host<'_>, Option<u16>), UriError> {
    let (host, rest) = host_of(bytes).ok_or(UriError::Host)?;
    match rest {
        [] => Ok((host, None)),
        [b':', digits @ ..] => Ok((host, Some(port_of(digits).ok_or(UriError::Port)?))),
        _ => Err(UriError::Host),
    }
}

/// `host [COLON port]` with white space allowed around the colon, as in a Via.
pub(super) fn host_port_loose(bytes: &[u8]) -> Option<(Host<'_>, Option<u16>)> {
    let (host, rest) = host_of(bytes)?;
    match scan::trim(rest) {
        [] => Some((host, None)),
        [b':', digits @ ..] => Some((host, Some(port_of(scan::trim_start(digits))?))),
        _ => None,
    }
}

fn port_of(digits: &[u8]) -> Option<u16> {
    scan::decimal(digits).and_then(|port| u16::try_from(port).ok())
}

/// The host at the head of `bytes` and what follows it.
fn host_of(bytes: &[u8]) -> Option<(Host<'_>, &[u8])> {
    if let [b'[', inner @ ..] = bytes {
        let (address, rest) = scan::split(inner, scan::find(b']', inner)?);
        return Some((Host::V6(ipv6(address)?), rest.get(1..)?));
    }
    let (name, rest) = scan::take_while(bytes, scan::is_host_byte);
    if name.is_empty() {
        return None;
    }
    if name.last().is_some_and(u8::is_ascii_digit)
        && let Some(address) = std::str::from_utf8(name)
            .ok()
            .and_then(|text| text.parse().ok())
    {
        return Some((Host::V4(address), rest));
    }
    Some((Host::Name(name), rest))
}

fn ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    // RFC 3261's grammar allows ":::" in front of an IPv4 part; RFC 5118 §4.10 has it read as "::".
    let (head, tail) = text.split_once(":::")?;
    let short = tail.len() <= "255.255.255.255".len() && head.len() <= "ffff:".len() * 6;
    if !short || !tail.contains('.') {
        return None;
    }
    format!("{head}::{tail}").parse().ok()
}

type Pair<'a> = (&'a [u8], Option<&'a [u8]>);

fn pairs<'a>(bytes: &'a [u8], separator: u8) -> impl Iterator<Item = Pair<'a>> + use<'a> {
    let parts = bytes
        .split(move |byte| *byte == separator)
        .filter(|part| !part.is_empty());
    parts.map(|part| {
        let equals = scan::find(b'=', part).unwrap_or(part.len());
        let (name, value) = scan::split(part, equals);
        (name, value.get(1..))
    })
}

/// RFC 3261 §19.1.4: an escaped character equals itself, unless it is reserved.
fn same_text(one: Option<&[u8]>, two: Option<&[u8]>, ignore_case: bool) -> bool {
    let (Some(one), Some(two)) = (one, two) else {
        return one.is_none() && two.is_none();
    };
    Unescape {
        rest: one,
        ignore_case,
    }
    .eq(Unescape {
        rest: two,
        ignore_case,
    })
}

struct Unescape<'a> {
    rest: &'a [u8],
    ignore_case: bool,
}

impl Iterator for Unescape<'_> {
    /// A byte; an escaped reserved byte stands 256 higher.
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let (escaped, byte, rest) = match self.rest {
            [b'%', high, low, rest @ ..] => match hex_pair(*high, *low) {
                Some(byte) => (true, byte, rest),
                None => (false, b'%', self.rest.get(1..)?),
            },
            [byte, rest @ ..] => (false, *byte, rest),
            [] => return None,
        };
        self.rest = rest;
        let reserved = b";/?:@&=+$,".contains(&byte);
        let byte = if self.ignore_case {
            byte.to_ascii_lowercase()
        } else {
            byte
        };
        Some(u16::from(byte) + if escaped && reserved { 256 } else { 0 })
    }
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    Some(digit(high)? << 4 | digit(low)?)
}

fn percent_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if scan::find(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [b'%', high, low, tail @ ..] if hex_pair(*high, *low).is_some() => {
                decoded.extend(hex_pair(*high, *low));
                tail
            }
            [byte, tail @ ..] => {
                decoded.push(*byte);
                tail
            }
            [] => return Cow::Owned(decoded),
        };
    }
}
