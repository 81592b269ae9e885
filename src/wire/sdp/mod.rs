//! Session descriptions (RFC 8866, RFC 4566 before it): a view over bytes that a relay needs, and
//! an editor that changes addresses and ports and keeps every other byte.
//!
//! Read are the `v=`, `c=` and `m=` lines and the attributes that say where media goes: direction
//! (RFC 8866 §6.7), `rtpmap`, `rtcp` (RFC 3605), `rtcp-mux` (RFC 5761), ICE (RFC 8839) and the
//! marks of SRTP (RFC 4568, RFC 5763). The rest is carried unread, whatever its encoding.
//! Grouping (RFC 9143) is left alone. Not done here: offer/answer rules (RFC 3264).

mod codec;
mod edit;
#[cfg(test)]
mod tests;

pub use edit::{Ice, MediaEdit};

use smallvec::SmallVec;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The longest description that is read, in bytes.
pub const SIZE_MAX: usize = 32 * 1024;
/// The most lines that are read.
pub const LINES_MAX: usize = 2000;
/// The most media sections that are read.
pub const MEDIA_MAX: usize = 8;

/// Why a description could not be read: always the peer's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SdpError {
    /// Longer than [`SIZE_MAX`] or [`LINES_MAX`].
    TooLarge,
    /// More than [`MEDIA_MAX`] media sections.
    TooManyMedia,
    /// The first line is not `v=0`.
    BadVersion,
    /// A line is not of the form `x=value`; lines count from one.
    BadLine(usize),
    /// An `m=` line is not `media port[/count] protocol format...`.
    BadMedia(usize),
    /// A `c=` line is not `network type address`.
    BadConnection(usize),
    /// A media section that is in use has no `c=` line, neither has the session.
    NoConnection,
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SdpError::TooLarge => write!(f, "session description too large"),
            SdpError::TooManyMedia => write!(f, "more than {MEDIA_MAX} media sections"),
            SdpError::BadVersion => write!(f, "session description does not begin with v=0"),
            SdpError::BadLine(n) => write!(f, "line {n} of the session description is malformed"),
            SdpError::BadMedia(n) => write!(f, "line {n}: malformed m="),
            SdpError::BadConnection(n) => write!(f, "line {n}: malformed c="),
            SdpError::NoConnection => write!(f, "media without a connection address"),
        }
    }
}

impl std::error::Error for SdpError {}

/// Who sends, as the description's author said it (RFC 8866 §6.7).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// Sends and receives.
    #[default]
    SendRecv,
    /// Sends only: the other side is on hold or listens.
    SendOnly,
    /// Receives only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Whether the author sends.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the author receives.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// From the two halves.
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }
}

/// The value of a `c=` line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connection<'a> {
    /// A unicast or multicast address; TTL and count are not kept.
    Address(IpAddr),
    /// `0.0.0.0` or `::`: the hold of RFC 2543; nothing shall be sent there.
    Null,
    /// A domain name, or a network that is not the Internet.
    Other(&'a [u8]),
}

/// The `a=rtcp` line (RFC 3605).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtcpAttribute {
    /// The port.
    pub port: u16,
    /// The address, where it differs from that of the `c=` line.
    pub address: Option<IpAddr>,
}

/// One media section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media<'a> {
    /// `audio`, `video`, `image`, ...
    pub kind: &'a [u8],
    /// The port; zero refuses or ends the stream.
    pub port: u16,
    /// How many port pairs (`port/count`), normally one.
    pub count: u16,
    /// `RTP/AVP`, `RTP/SAVP`, `udptl`, ...
    pub protocol: &'a [u8],
    /// The formats, separated by spaces.
    pub formats: &'a [u8],
    /// Its own `c=` line, else the session's.
    pub connection: Option<Connection<'a>>,
    /// Its own direction, else the session's, else `sendrecv`.
    pub direction: Direction,
    /// Its `a=rtcp` line.
    pub rtcp: Option<RtcpAttribute>,
    /// Whether RTCP may come on the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// Whether ICE candidates or credentials are present, here or for the session.
    pub ice: bool,
    /// Whether keys by DTLS are offered (`a=fingerprint`), here or for the session.
    pub dtls: bool,
    /// The lines after `m=`, as they stand.
    pub body: &'a [u8],
}

/// A description, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sdp<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// The session's `c=` line.
    pub connection: Option<Connection<'a>>,
    /// The media sections in their order.
    pub media: SmallVec<[Media<'a>; 2]>,
}

/// What holds for every media section that does not say otherwise.
#[derive(Clone, Copy, Default)]
struct SessionLevel {
    direction: Option<Direction>,
    ice: bool,
    dtls: bool,
}

impl<'a> Sdp<'a> {
    /// Reads a description. Lines may end in CRLF or LF (RFC 8866 §5).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SdpError> {
        if bytes.len() > SIZE_MAX {
            return Err(SdpError::TooLarge);
        }
        let mut sdp = Sdp {
            bytes,
            connection: None,
            media: SmallVec::new(),
        };
        let mut level = SessionLevel::default();
        for (at, line) in lines(bytes).enumerate() {
            let number = at + 1;
            if number > LINES_MAX {
                return Err(SdpError::TooLarge);
            }
            let (name, value) = match line.content {
                [] if at > 0 => continue,
                [name, b'=', value @ ..] if name.is_ascii_lowercase() => (*name, value),
                _ if at == 0 => return Err(SdpError::BadVersion),
                _ => return Err(SdpError::BadLine(number)),
            };
            match (at, name, value.trim_ascii()) {
                (0, b'v', b"0") => {}
                (0, ..) => return Err(SdpError::BadVersion),
                (_, b'm', value) => sdp.open_media(value, number, &level, &line)?,
                (_, b'c', value) => sdp.on_connection(value, number)?,
                (_, b'a', value) => sdp.on_attribute(value, &mut level),
                _ => {}
            }
        }
        if bytes.is_empty() {
            return Err(SdpError::BadVersion);
        }
        sdp.close()
    }

    /// Whether a browser's rules hold: ICE and DTLS are part of the agreement, so a relay in the
    /// middle must be left out.
    pub fn is_webrtc(&self) -> bool {
        self.media.iter().any(|m| m.port != 0 && m.ice && m.dtls)
    }

    /// The names of the formats of the first stream in use, in order of preference.
    pub fn codecs(&self) -> Vec<String> {
        self.media
            .iter()
            .find(|m| m.port != 0)
            .map(|m| m.codecs().collect())
            .unwrap_or_default()
    }

    fn open_media(
        &mut self,
        value: &'a [u8],
        number: usize,
        level: &SessionLevel,
        line: &Line<'a>,
    ) -> Result<(), SdpError> {
        if self.media.len() >= MEDIA_MAX {
            return Err(SdpError::TooManyMedia);
        }
        // The section before ends where this line begins.
        if let Some(before) = self.media.last_mut() {
            let rest = self.bytes.len().saturating_sub(line.start);
            let length = before.body.len().saturating_sub(rest);
            before.body = before.body.get(..length).unwrap_or_default();
        }
        let mut media = Media::parse(value).ok_or(SdpError::BadMedia(number))?;
        media.direction = level.direction.unwrap_or_default();
        media.ice = level.ice;
        media.dtls = level.dtls;
        media.body = self.bytes.get(line.end..).unwrap_or_default();
        self.media.push(media);
        Ok(())
    }

    fn on_connection(&mut self, value: &'a [u8], number: usize) -> Result<(), SdpError> {
        let connection = Connection::parse(value).ok_or(SdpError::BadConnection(number))?;
        let place = match self.media.last_mut() {
            Some(media) => &mut media.connection,
            None => &mut self.connection,
        };
        // A second c= line in one section is layered multicast: the first one counts.
        place.get_or_insert(connection);
        Ok(())
    }

    fn on_attribute(&mut self, value: &'a [u8], level: &mut SessionLevel) {
        let (name, value) = split(value, b':');
        let direction = match name {
            b"sendrecv" => Some(Direction::SendRecv),
            b"sendonly" => Some(Direction::SendOnly),
            b"recvonly" => Some(Direction::RecvOnly),
            b"inactive" => Some(Direction::Inactive),
            _ => None,
        };
        let (ice, dtls) = (edit::is_ice(name), name == b"fingerprint");
        match self.media.last_mut() {
            Some(media) => {
                media.direction = direction.unwrap_or(media.direction);
                media.ice |= ice;
                media.dtls |= dtls;
                match name {
                    b"rtcp" => media.rtcp = RtcpAttribute::parse(value).or(media.rtcp),
                    b"rtcp-mux" => media.rtcp_mux = true,
                    _ => {}
                }
            }
            None => {
                level.direction = direction.or(level.direction);
                level.ice |= ice;
                level.dtls |= dtls;
            }
        }
    }

    fn close(mut self) -> Result<Self, SdpError> {
        for media in &mut self.media {
            media.connection = media.connection.or(self.connection);
            if media.port != 0 && media.connection.is_none() {
                return Err(SdpError::NoConnection);
            }
        }
        Ok(self)
    }
}

impl<'a> Media<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        let (kind, rest) = split(value, b' ');
        let (port, rest) = split(rest.trim_ascii_start(), b' ');
        let (protocol, formats) = split(rest.trim_ascii_start(), b' ');
        let (port, count) = split(port, b'/');
        let formats = formats.trim_ascii();
        if kind.is_empty() || protocol.is_empty() || formats.is_empty() {
            return None;
        }
        Some(Media {
            kind,
            port: number(port)?,
            count: if count.is_empty() { 1 } else { number(count)? },
            protocol,
            formats,
            connection: None,
            direction: Direction::default(),
            rtcp: None,
            rtcp_mux: false,
            ice: false,
            dtls: false,
            body: &[],
        })
    }

    /// The values of the attribute `name`, in order; an attribute without a value gives an empty
    /// one.
    pub fn attributes<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        lines(self.body).filter_map(move |line| {
            let (key, value) = split(line.content.strip_prefix(b"a=")?, b':');
            (key == name.as_bytes()).then_some(value.trim_ascii())
        })
    }

    /// Whether the protocol is of the RTP family.
    pub fn is_rtp(&self) -> bool {
        contains(self.protocol, b"RTP/")
    }

    /// Whether it is RTP under SRTP (RFC 3711), whoever makes the keys.
    pub fn is_secure_rtp(&self) -> bool {
        contains(self.protocol, b"RTP/SAVP")
    }

    /// Whether it is T.38 fax over UDPTL.
    pub fn is_udptl(&self) -> bool {
        self.protocol.eq_ignore_ascii_case(b"udptl")
    }

    /// Where it wants RTP, or `None` when it is refused, on hold by a null address, or names a
    /// host that only DNS knows.
    pub fn rtp_address(&self) -> Option<SocketAddr> {
        match (self.port, self.connection?) {
            (0, _) => None,
            (port, Connection::Address(ip)) if !ip.is_multicast() => Some((ip, port).into()),
            _ => None,
        }
    }

    /// Where it wants RTCP: `a=rtcp`, else the port above (RFC 3550 §11).
    pub fn rtcp_address(&self) -> Option<SocketAddr> {
        let rtp = self.rtp_address()?;
        match self.rtcp {
            Some(rtcp) => Some((rtcp.address.unwrap_or(rtp.ip()), rtcp.port).into()),
            None => Some((rtp.ip(), rtp.port().checked_add(1)?).into()),
        }
    }

    /// The direction that really holds: a null address receives nothing (RFC 3264 §8.4).
    pub fn effective_direction(&self) -> Direction {
        match self.connection {
            Some(Connection::Null) => Direction::new(self.direction.sends(), false),
            _ => self.direction,
        }
    }
}

impl<'a> Connection<'a> {
    /// Reads the value of a `c=` line.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (network, rest) = split(value, b' ');
        let (kind, rest) = split(rest.trim_ascii_start(), b' ');
        let address = rest.trim_ascii();
        if network.is_empty() || kind.is_empty() || address.is_empty() {
            return None;
        }
        let (host, _ttl) = split(address, b'/');
        Some(match parse_ip(host) {
            Some(ip) if network == b"IN" && ip.is_unspecified() => Connection::Null,
            Some(ip) if network == b"IN" => Connection::Address(ip),
            _ => Connection::Other(address),
        })
    }
}

impl RtcpAttribute {
    fn parse(value: &[u8]) -> Option<Self> {
        let (port, rest) = split(value.trim_ascii(), b' ');
        let address = rest.trim_ascii().rsplit(|b| *b == b' ').next();
        Some(RtcpAttribute {
            port: number(port)?,
            address: address.and_then(parse_ip),
        })
    }
}

/// One line, with its place and that of the next.
struct Line<'a> {
    content: &'a [u8],
    ending: &'a [u8],
    start: usize,
    end: usize,
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
        let (whole, _) = rest.split_at(length);
        let content = whole.strip_suffix(b"\n").unwrap_or(whole);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let (_, ending) = whole.split_at(content.len());
        let start = at;
        at += length;
        Some(Line {
            content,
            ending,
            start,
            end: at,
        })
    })
}

/// Cuts at the first `separator`; without one the second part is empty.
fn split(bytes: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == separator) {
        Some(at) => (
            bytes.get(..at).unwrap_or_default(),
            bytes.get(at + 1..).unwrap_or_default(),
        ),
        None => (bytes, &[]),
    }
}

fn number(digits: &[u8]) -> Option<u16> {
    let well_formed = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    well_formed.then_some(())?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn parse_ip(bytes: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes
        .windows(what.len())
        .any(|part| part.eq_ignore_ascii_case(what))
}
