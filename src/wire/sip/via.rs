//! Via (RFC 3261 §20.42, RFC 3581): where a request came through and the answer goes back.

use std::net::IpAddr;

use super::scan::{self, Param, Params};
use super::uri::{self, Host};
use super::{HeaderError, HeaderName};

/// One Via element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    bytes: &'a [u8],
    transport: &'a [u8],
    host: Host<'a>,
    port: Option<u16>,
    params: &'a [u8],
}

impl<'a> Via<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Via<'a>, HeaderError> {
        Via::read(scan::trim(bytes)).ok_or(HeaderError::Malformed(HeaderName::Via))
    }

    fn read(bytes: &'a [u8]) -> Option<Via<'a>> {
        // Any version: a request of another one is answered 505, and its Via is needed for that.
        let rest = protocol_part(bytes)?;
        let rest = protocol_part(rest)?;
        let (transport, rest) = scan::take_while(rest, scan::is_token_byte);
        let sent_by = scan::trim_start(rest);
        if transport.is_empty() || sent_by.len() == rest.len() {
            return None;
        }
        let end = scan::find(b';', sent_by).unwrap_or(sent_by.len());
        let (sent_by, params) = scan::split(sent_by, end);
        let (host, port) = uri::host_port_loose(scan::trim_end(sent_by))?;
        Params::well_formed(params).then_some(Via {
            bytes,
            transport,
            host,
            port,
            params,
        })
    }

    /// `UDP`, `TCP`, `TLS`, `WS`, `WSS` or what else the peer wrote.
    pub fn transport(&self) -> &'a [u8] {
        self.transport
    }

    pub fn host(&self) -> Host<'a> {
        self.host
    }

    pub fn port(&self) -> Option<u16> {
        self.port
    }

    pub fn params(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        Params::new(self.params)
    }

    /// `Some(None)`: the parameter stands without a value.
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        Params::new(self.params).find(name)
    }

    pub fn branch(&self) -> Option<&'a [u8]> {
        self.param("branch").flatten()
    }

    pub fn received(&self) -> Option<&'a [u8]> {
        self.param("received").flatten()
    }

    /// The address in `received`; brackets around an IPv6 address are tolerated (RFC 5118 §4.5).
    pub fn received_ip(&self) -> Option<IpAddr> {
        let text = std::str::from_utf8(self.received()?).ok()?;
        let inner = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        inner.unwrap_or(text).parse().ok()
    }

    /// RFC 3581: `Some(None)` asks for the source port, `Some(Some(port))` tells it.
    pub fn rport(&self) -> Option<Option<u16>> {
        let value = self.param("rport")?;
        Some(
            value
                .and_then(scan::decimal)
                .and_then(|port| u16::try_from(port).ok()),
        )
    }

    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A token and the slash behind it, white space allowed around the slash.
fn protocol_part(bytes: &[u8]) -> Option<&[u8]> {
    let (part, rest) = scan::take_while(bytes, scan::is_token_byte);
    let rest = scan::trim_start(rest).strip_prefix(b"/")?;
    (!part.is_empty()).then(|| scan::trim_start(rest))
}
