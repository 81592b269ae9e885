//! Writes a session description anew: addresses, ports, protocols and formats are ours, RTCP and
//! direction are said once more at the end of each section, and so are keys where they are ours
//! (RFC 4568). ICE (RFC 8839) is taken out, since candidates would bypass us; where it is asked
//! for, ours are put in. Every other line stays as it stands.

use super::codecs::{encodings, formats, is_extra};
use super::flags::RtcpAttribute;
use super::secure::Attributes;
use crate::wire::ice::Credentials;
use crate::wire::sdp::{Connection, Direction, Media, Sdp};
use std::io::Write;
use std::net::IpAddr;

/// One media section as it shall be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Our port; zero refuses the stream.
    pub port: u16,
    /// Our port for RTCP, the same where they share one; `None` without RTCP.
    pub rtcp: Option<u16>,
    /// Whether it says that RTCP may share the port.
    pub mux: bool,
    /// The transport protocol.
    pub protocol: Box<[u8]>,
    /// The keys.
    pub keys: Attributes,
    /// The formats that stay, as places in the author's list, in the reader's order.
    pub formats: Vec<usize>,
    /// Formats beside them.
    pub added: Vec<Added>,
}

/// A format that the author did not write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Added {
    /// Its payload type.
    pub payload_type: u8,
    /// What is said of it: attributes.
    pub lines: Vec<String>,
    /// Whether it is one of events of keys.
    pub is_event: bool,
}

/// How a description shall be read.
#[derive(Clone, Debug)]
pub struct Writing<'a> {
    /// Our address.
    pub address: IpAddr,
    /// One entry per section; without one it stays as it stands.
    pub sections: &'a [Option<Section>],
    /// Whether the address in `o=` is ours, too.
    pub origin: bool,
    /// Whether the session's `c=` is ours even if no section needs it.
    pub session_connection: bool,
    /// Whether null addresses are replaced.
    pub zero_address: bool,
    /// Whether direction attributes stay as they stand.
    pub keep_direction: bool,
    /// How RTCP is named.
    pub rtcp_attribute: RtcpAttribute,
    /// What the reader's checks must prove to know, where it shall see our ports as candidates.
    pub ice: Option<&'a Credentials>,
    /// What marks the description as ours.
    pub mark: Option<&'a str>,
}

/// The attribute that marks a description as written by a relay.
pub const MARK: &str = "rtpengine";

/// The type preference of host candidates (RFC 8445 §5.1.2.2).
const HOST_PREFERENCE: u32 = 126;

/// The `ice-ufrag` of a description's author, if it speaks ICE (RFC 8839 §5.4).
pub fn fragment<'a>(sdp: &Sdp<'a>) -> Option<&'a [u8]> {
    lines(sdp.bytes).find_map(|(content, _)| {
        let (name, value) = attribute(content);
        (content.starts_with(b"a=") && name == b"ice-ufrag").then_some(value)
    })
}

/// Whether a description's author answers checks and makes none (RFC 8839 §5.3).
pub fn is_lite(sdp: &Sdp<'_>) -> bool {
    lines(sdp.bytes).any(|(content, _)| content == b"a=ice-lite")
}

/// Whether a description bears this mark.
pub fn is_marked(sdp: &Sdp<'_>, mark: &str) -> bool {
    let line = format!("a={MARK}:{mark}");
    lines(sdp.bytes).any(|(content, _)| content == line.as_bytes())
}

/// Writes `sdp` for its reader.
pub fn write(sdp: &Sdp<'_>, writing: &Writing<'_>) -> Vec<u8> {
    let needs_session = |media: &Media<'_>| {
        let mut own = lines(media.body).filter(|(content, _)| content.starts_with(b"c="));
        own.next().is_none()
    };
    let mut sections = writing.sections.iter().flatten();
    let mut pen = Pen {
        out: Vec::with_capacity(sdp.bytes.len() + 128),
        writing,
        session_connection: writing.session_connection || sdp.media.iter().any(needs_session),
        session_line: None,
        handshake: !sections.any(|section| matches!(section.keys, Attributes::Ours(_))),
        keys: 0,
    };
    let mut rest = sdp
        .media
        .iter()
        .zip(writing.sections.iter().map(Option::as_ref));
    let mut current: Option<(&Media<'_>, Option<&Section>)> = None;
    for (content, whole) in lines(sdp.bytes) {
        if content.starts_with(b"m=") {
            pen.end_part(current);
            current = rest.next();
            pen.media_line(current, content, needs_session);
            continue;
        }
        match current {
            None => pen.session_attribute(content, whole),
            Some((_, None)) => pen.out.extend_from_slice(whole),
            Some((media, Some(section))) => pen.media_attribute(content, whole, media, section),
        }
    }
    pen.end_part(current);
    pen.out
}

struct Pen<'a> {
    out: Vec<u8>,
    writing: &'a Writing<'a>,
    session_connection: bool,
    /// The session's `c=` line as it stood, once it was replaced.
    session_line: Option<Vec<u8>>,
    /// Whether what the session's part says of DTLS stays.
    handshake: bool,
    /// The keys that the section had so far.
    keys: usize,
}

impl Pen<'_> {
    fn session_attribute(&mut self, content: &[u8], whole: &[u8]) {
        let (name, value) = attribute(content);
        match (content.get(..2), name) {
            (Some(b"o="), _) if self.writing.origin => self.origin(content),
            (Some(b"c="), _) if self.session_connection => {
                self.session_line = Some(content.to_vec());
                self.connection(content);
            }
            (Some(b"a="), name) if is_ice(name) => {}
            (Some(b"a="), name) if is_handshake(name) && !self.handshake => {}
            (Some(b"a="), b"group") if value.starts_with(b"BUNDLE") => {}
            (Some(b"a="), name) if is_direction(name) && !self.writing.keep_direction => {}
            _ => self.out.extend_from_slice(whole),
        }
    }

    fn media_attribute(
        &mut self,
        content: &[u8],
        whole: &[u8],
        media: &Media<'_>,
        section: &Section,
    ) {
        let (name, value) = attribute(content);
        let active = section.port != 0;
        match (content.get(..2), name) {
            (Some(b"c="), _) => self.connection(content),
            (Some(b"a="), name) if is_ice(name) => {}
            (Some(b"a="), b"crypto") => {
                if self.passes(&section.keys) {
                    self.out.extend_from_slice(whole);
                }
            }
            (Some(b"a="), name)
                if is_handshake(name) && matches!(section.keys, Attributes::Ours(_)) => {}
            (Some(b"a="), b"rtcp" | b"rtcp-mux" | b"rtcp-mux-only") if active => {}
            (Some(b"a="), name) if active && is_direction(name) && !self.writing.keep_direction => {
            }
            (Some(b"a="), b"rtpmap" | b"fmtp" | b"rtcp-fb") => {
                let (format, _) = cut(value, b' ');
                let place = formats(media).position(|f| f == format);
                if place.is_none_or(|at| section.formats.contains(&at)) {
                    self.out.extend_from_slice(whole);
                }
            }
            _ => self.out.extend_from_slice(whole),
        }
    }

    /// Whether the next key of the author's goes on.
    fn passes(&mut self, keys: &Attributes) -> bool {
        let place = self.keys;
        self.keys += 1;
        match keys {
            Attributes::AsTheyStand => true,
            Attributes::Some(list, _) => list.get(place).copied().unwrap_or(false),
            Attributes::Ours(_) => false,
        }
    }

    fn media_line(
        &mut self,
        current: Option<(&Media<'_>, Option<&Section>)>,
        content: &[u8],
        needs_session: impl Fn(&Media<'_>) -> bool,
    ) {
        self.keys = 0;
        let Some((media, section)) = current else {
            self.line(content);
            return;
        };
        let Some(section) = section else {
            self.line(content);
            // What is not relayed must not follow the session's address to us.
            if needs_session(media)
                && let Some(line) = self.session_line.clone()
            {
                self.line(&line);
            }
            return;
        };
        let mut line = [b"m=", media.kind, b" "].concat();
        // Writing into a Vec cannot fail.
        let _ = write!(line, "{} ", section.port);
        line.extend_from_slice(&section.protocol);
        let own = Vec::from_iter(formats(media));
        let encodings = encodings(media);
        let extra = |at: &usize| encodings.get(*at).is_some_and(|e| is_extra(e));
        let all = section.formats.is_empty() && section.added.is_empty();
        let places = match all {
            true => (0..own.len()).collect(),
            false => section.formats.clone(),
        };
        // Sound comes before what goes beside it; without additions the order stays.
        let own = |line: &mut Vec<u8>, extras: bool| {
            for at in &places {
                let here = section.added.is_empty() || extra(at) == extras;
                if let (true, Some(format)) = (here, own.get(*at)) {
                    line.push(b' ');
                    line.extend_from_slice(format);
                }
            }
        };
        own(&mut line, false);
        if !section.added.is_empty() {
            for is_event in [false, true] {
                for added in section.added.iter().filter(|a| a.is_event == is_event) {
                    let _ = write!(line, " {}", added.payload_type);
                }
            }
            own(&mut line, true);
        }
        self.line(&line);
    }

    /// What is said at the end of the session's part or of a section.
    fn end_part(&mut self, current: Option<(&Media<'_>, Option<&Section>)>) {
        if !self.out.ends_with(b"\n") {
            self.out.extend_from_slice(b"\r\n");
        }
        let Some((media, section)) = current else {
            if let Some(mark) = self.writing.mark {
                self.line(format!("a={MARK}:{mark}").as_bytes());
            }
            if self.writing.ice.is_some() {
                self.line(b"a=ice-lite");
            }
            return;
        };
        let Some(section) = section.filter(|section| section.port != 0) else {
            return;
        };
        for line in section.added.iter().flat_map(|added| &added.lines) {
            self.line(format!("a={line}").as_bytes());
        }
        if !self.writing.keep_direction {
            self.line(match media.effective_direction() {
                Direction::SendRecv => b"a=sendrecv",
                Direction::SendOnly => b"a=sendonly",
                Direction::RecvOnly => b"a=recvonly",
                Direction::Inactive => b"a=inactive",
            });
        }
        if let Some(rtcp) = section.rtcp {
            self.rtcp(rtcp, section.mux);
            self.candidates(section.port, rtcp);
        }
        let ours = match &section.keys {
            Attributes::AsTheyStand => &[][..],
            Attributes::Some(_, ours) | Attributes::Ours(ours) => ours,
        };
        for key in ours {
            self.line(format!("a=crypto:{key}").as_bytes());
        }
    }

    fn rtcp(&mut self, port: u16, mux: bool) {
        match self.writing.rtcp_attribute {
            RtcpAttribute::Absent => {}
            RtcpAttribute::Port => self.line(format!("a=rtcp:{port}").as_bytes()),
            RtcpAttribute::Full => {
                let address = words(self.writing.address);
                self.line(format!("a=rtcp:{port} {address}").as_bytes());
            }
        }
        if mux {
            self.line(b"a=rtcp-mux");
        }
    }

    /// Our ports as host candidates (RFC 8839 §5.1), where the reader speaks ICE.
    fn candidates(&mut self, port: u16, rtcp: u16) {
        let Some(ours) = self.writing.ice else {
            return;
        };
        let [fragment, password] =
            [&ours.fragment[..], &ours.password].map(String::from_utf8_lossy);
        self.line(format!("a=ice-ufrag:{fragment}").as_bytes());
        self.line(format!("a=ice-pwd:{password}").as_bytes());
        let address = self.writing.address;
        let components = if rtcp == port { 1 } else { 2 };
        for (component, port) in (1..=components).zip([port, rtcp]) {
            // One address, so the middle part is the highest (§5.1.2.1).
            let priority = HOST_PREFERENCE << 24 | 0xffff << 8 | (256 - component);
            let line =
                format!("a=candidate:1 {component} UDP {priority} {address} {port} typ host");
            self.line(line.as_bytes());
        }
    }

    fn origin(&mut self, content: &[u8]) {
        let kept: Vec<&[u8]> = content.split(|b| *b == b' ').take(3).collect();
        let mut line = kept.join(&b' ');
        if kept.len() == 3 {
            line.extend_from_slice(format!(" {}", words(self.writing.address)).as_bytes());
        }
        self.line(&line);
    }

    fn connection(&mut self, content: &[u8]) {
        let (_, value) = cut(content, b'=');
        let null = matches!(
            Connection::parse(value.trim_ascii()),
            Some(Connection::Null)
        );
        let address = match (null && !self.writing.zero_address, self.writing.address) {
            (false, address) => address,
            (true, IpAddr::V4(_)) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            (true, IpAddr::V6(_)) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        self.line(format!("c={}", words(address)).as_bytes());
    }

    fn line(&mut self, content: &[u8]) {
        self.out.extend_from_slice(content);
        self.out.extend_from_slice(b"\r\n");
    }
}

fn words(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => format!("IN IP4 {ip}"),
        IpAddr::V6(ip) => format!("IN IP6 {ip}"),
    }
}

fn is_ice(name: &[u8]) -> bool {
    let names: [&[u8]; 3] = [b"candidate", b"remote-candidates", b"end-of-candidates"];
    names.contains(&name) || name.starts_with(b"ice-")
}

/// What speaks of DTLS (RFC 8122, RFC 4145, RFC 8842).
fn is_handshake(name: &[u8]) -> bool {
    let names: [&[u8]; 3] = [b"fingerprint", b"setup", b"tls-id"];
    names.contains(&name)
}

fn is_direction(name: &[u8]) -> bool {
    let names: [&[u8]; 4] = [b"sendrecv", b"sendonly", b"recvonly", b"inactive"];
    names.contains(&name)
}

/// Name and value of an `a=` line.
fn attribute(content: &[u8]) -> (&[u8], &[u8]) {
    let (name, value) = cut(content.strip_prefix(b"a=").unwrap_or_default(), b':');
    (name.trim_ascii(), value.trim_ascii())
}

fn cut(bytes: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let at = memchr::memchr(separator, bytes).unwrap_or(bytes.len());
    let (before, after) = bytes.split_at_checked(at).unwrap_or((bytes, &[]));
    (before, after.get(1..).unwrap_or_default())
}

/// The lines, without and with their ending.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    bytes.split_inclusive(|b| *b == b'\n').map(|whole| {
        let content = whole.strip_suffix(b"\n").unwrap_or(whole);
        (content.strip_suffix(b"\r").unwrap_or(content), whole)
    })
}
