//! What a phone writes and reads, as text: deliberately not made by our builders and not read by
//! our SDP module, so that a fault there shows.

use crate::wire::sip::{HeaderName, Message};
use std::net::{IpAddr, SocketAddr};

/// A request in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) method: &'static str,
    pub(super) uri: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) call_id: String,
    pub(super) cseq: u32,
    pub(super) routes: Vec<String>,
    /// Whole header lines without their ends.
    pub(super) headers: Vec<String>,
    pub(super) sdp: Option<String>,
}

impl Draft {
    pub(super) fn render(&self, transport: &str, sent_by: SocketAddr, branch: &str) -> Vec<u8> {
        let mut out = format!(
            "{} {} SIP/2.0\r\nVia: SIP/2.0/{transport} {sent_by};branch={branch};rport\r\n",
            self.method, self.uri
        );
        for route in &self.routes {
            out.push_str(&format!("Route: {route}\r\n"));
        }
        out.push_str(&format!(
            "Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n",
            self.from, self.to, self.call_id, self.cseq, self.method
        ));
        for header in &self.headers {
            out.push_str(header);
            out.push_str("\r\n");
        }
        finish(out, self.sdp.as_deref())
    }
}

fn finish(mut out: String, sdp: Option<&str>) -> Vec<u8> {
    let body = sdp.unwrap_or_default();
    if sdp.is_some() {
        out.push_str("Content-Type: application/sdp\r\n");
    }
    out.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    out.into_bytes()
}

/// A response to `request`.
pub(super) fn response(
    request: &Message,
    status: u16,
    tag: &str,
    headers: &[String],
    sdp: Option<&str>,
) -> Vec<u8> {
    let mut out = format!("SIP/2.0 {status} Said by a phone\r\n");
    let copied = ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"];
    for header in request.headers() {
        let name = String::from_utf8_lossy(header.raw_name);
        let Some(name) = copied.iter().find(|n| n.eq_ignore_ascii_case(&name)) else {
            continue;
        };
        if *name == "Record-Route" && (status <= 100 || status >= 300) {
            continue;
        }
        let value = String::from_utf8_lossy(header.value);
        let tagless = *name == "To" && !value.contains(";tag=") && status > 100;
        let tag = if tagless {
            format!(";tag={tag}")
        } else {
            String::new()
        };
        out.push_str(&format!("{name}: {value}{tag}\r\n"));
    }
    for header in headers {
        out.push_str(header);
        out.push_str("\r\n");
    }
    finish(out, sdp)
}

/// Which way a session description lets media go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Both,
    SendOnly,
    ReceiveOnly,
}

impl Way {
    fn attribute(self) -> &'static str {
        match self {
            Way::Both => "sendrecv",
            Way::SendOnly => "sendonly",
            Way::ReceiveOnly => "recvonly",
        }
    }

    /// What the other side may answer.
    pub(super) fn answered(self) -> Self {
        match self {
            Way::Both => Way::Both,
            Way::SendOnly => Way::ReceiveOnly,
            Way::ReceiveOnly => Way::SendOnly,
        }
    }
}

/// With `events`, keys are sent as telephone events (RFC 4733).
pub(super) fn describe(media: SocketAddr, version: u32, way: Way, events: bool) -> String {
    let family = if media.is_ipv4() { "IP4" } else { "IP6" };
    let address = media.ip();
    let (format, map) = match events {
        true => (" 101", "a=rtpmap:101 telephone-event/8000\r\n"),
        false => ("", ""),
    };
    format!(
        "v=0\r\no=- 1 {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\n\
         t=0 0\r\nm=audio {} RTP/AVP 0{format}\r\na=rtpmap:0 PCMU/8000\r\n{map}a={}\r\n",
        media.port(),
        way.attribute()
    )
}

/// Where the peer wants its audio, and which way it goes.
pub(super) fn read_sdp(body: &[u8]) -> Option<(SocketAddr, Way)> {
    let text = std::str::from_utf8(body).ok()?;
    let mut address: Option<IpAddr> = None;
    let mut port = None;
    let mut way = Way::Both;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("c=IN IP") {
            address = rest.split(' ').nth(1)?.trim().parse().ok();
        } else if let Some(rest) = line.strip_prefix("m=audio ") {
            port = rest.split(' ').next()?.parse().ok();
        } else if line == "a=sendonly" {
            way = Way::SendOnly;
        } else if line == "a=recvonly" {
            way = Way::ReceiveOnly;
        }
    }
    Some((SocketAddr::new(address?, port?), way))
}

/// The Record-Route values in their order.
pub(super) fn record_route(message: &Message) -> Vec<String> {
    message
        .values(HeaderName::RecordRoute)
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect()
}

/// The URI of the first Contact.
pub(super) fn contact_uri(message: &Message) -> Option<String> {
    let contact = message.addresses(HeaderName::Contact).next()?.ok()?;
    Some(String::from_utf8_lossy(contact.uri_bytes()).into_owned())
}

pub(super) fn tag_of(value: Option<&[u8]>) -> Option<String> {
    value.map(|tag| String::from_utf8_lossy(tag).into_owned())
}
