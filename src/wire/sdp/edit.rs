//! Changes where a description says that media goes, and keeps every other byte.

use super::{Connection, Media, Sdp, lines, split};
use std::io::Write;
use std::net::IpAddr;

/// What to do with ICE (RFC 8839) in a description that a relay changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ice {
    /// Remove candidates and credentials, so that both ends use the relay.
    Strip,
    /// Leave them alone.
    Keep,
}

/// Where one media section shall point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaEdit {
    /// The relay's address toward the reader of the description.
    pub address: IpAddr,
    /// The relay's port.
    pub port: u16,
    /// The relay's port for RTCP, where it has its own.
    pub rtcp_port: u16,
}

/// Whether an attribute belongs to ICE.
pub(super) fn is_ice(name: &[u8]) -> bool {
    let names: [&[u8]; 3] = [b"candidate", b"remote-candidates", b"end-of-candidates"];
    names.contains(&name) || name.starts_with(b"ice-")
}

impl Sdp<'_> {
    /// The description with each media section pointed to the `edits` entry of its place; sections
    /// without an entry, and those with port zero, stay as they are. A null address stays null.
    pub fn rewrite(&self, edits: &[Option<MediaEdit>], ice: Ice) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 64);
        let session_edit = edits.iter().flatten().next().copied();
        let mut sections = self.media.iter().enumerate();
        let mut current: Option<&Media<'_>> = None;
        let mut edit = session_edit;
        for line in lines(self.bytes) {
            let (name, value) = split(line.content, b'=');
            if name == b"m" {
                let section = sections.next();
                current = section.map(|(_, media)| media);
                edit = section
                    .filter(|(_, media)| media.port != 0)
                    .and_then(|(at, _)| edits.get(at).copied().flatten());
            }
            let Some(edit) = edit else {
                out.extend_from_slice(line.content);
                out.extend_from_slice(line.ending);
                continue;
            };
            let before = out.len();
            let change = change(&mut out, name, value.trim_ascii(), current, &edit, ice);
            match change {
                Change::Keep => {
                    out.truncate(before);
                    out.extend_from_slice(line.content);
                    out.extend_from_slice(line.ending);
                }
                Change::Written => out.extend_from_slice(line.ending),
                Change::Drop => out.truncate(before),
            }
        }
        out
    }
}

enum Change {
    Keep,
    Written,
    Drop,
}

fn change(
    out: &mut Vec<u8>,
    name: &[u8],
    value: &[u8],
    media: Option<&Media<'_>>,
    edit: &MediaEdit,
    ice: Ice,
) -> Change {
    match (name, media) {
        (b"o", None) => origin_line(out, value, edit.address),
        (b"c", _) => connection_line(out, value, edit.address),
        (b"m", Some(media)) => media_line(out, media, edit),
        (b"a", _) => {
            let (attribute, value) = split(value, b':');
            match (attribute, media) {
                (b"rtcp", Some(media)) => rtcp_line(out, media, value, edit),
                _ if ice == Ice::Strip && is_ice(attribute) => Change::Drop,
                _ => Change::Keep,
            }
        }
        _ => Change::Keep,
    }
}

/// The author's address tells of the inside, and nobody needs it; what tells descriptions of one
/// author apart stays (RFC 8866 §5.2).
fn origin_line(out: &mut Vec<u8>, value: &[u8], address: IpAddr) -> Change {
    let mut words = value.split(|b| *b == b' ');
    let (Some(user), Some(id), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Change::Keep;
    };
    out.extend_from_slice(b"o=");
    for word in [user, id, version] {
        out.extend_from_slice(word);
        out.push(b' ');
    }
    put_address(out, address);
    Change::Written
}

fn connection_line(out: &mut Vec<u8>, value: &[u8], address: IpAddr) -> Change {
    out.extend_from_slice(b"c=");
    let address = match (Connection::parse(value), address) {
        (Some(Connection::Null), IpAddr::V4(_)) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        (Some(Connection::Null), IpAddr::V6(_)) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => address,
    };
    put_address(out, address);
    Change::Written
}

fn media_line(out: &mut Vec<u8>, media: &Media<'_>, edit: &MediaEdit) -> Change {
    out.extend_from_slice(b"m=");
    out.extend_from_slice(media.kind);
    put_number(out, b' ', edit.port);
    out.push(b' ');
    out.extend_from_slice(media.protocol);
    out.push(b' ');
    out.extend_from_slice(media.formats);
    Change::Written
}

fn rtcp_line(out: &mut Vec<u8>, media: &Media<'_>, value: &[u8], edit: &MediaEdit) -> Change {
    let port = match media.rtcp {
        Some(rtcp) if rtcp.port == media.port => edit.port,
        _ => edit.rtcp_port,
    };
    out.extend_from_slice(b"a=rtcp");
    put_number(out, b':', port);
    if value.trim_ascii().contains(&b' ') {
        out.push(b' ');
        put_address(out, edit.address);
    }
    Change::Written
}

fn put_number(out: &mut Vec<u8>, before: u8, number: u16) {
    out.push(before);
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{number}");
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    let _ = match address {
        IpAddr::V4(ip) => write!(out, "IN IP4 {ip}"),
        IpAddr::V6(ip) => write!(out, "IN IP6 {ip}"),
    };
}
