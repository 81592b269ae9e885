//! What a URI asks for (RFC 3263 §4, RFC 3261 §19.1.1).

use super::LocateError;
use crate::base::Transport;
use crate::wire::sip::{Host, Scheme, Uri};
use std::net::IpAddr;

/// Longest domain name (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;

/// A host to find.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// A name or an address.
    pub host: TargetHost,
    /// Written explicitly.
    pub port: Option<u16>,
    /// Written explicitly; TLS where `sips` asks for it.
    pub transport: Option<Transport>,
    /// `sips`: only encrypted hops.
    pub secure: bool,
}

/// The host of a [`Target`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetHost {
    /// In lower case, without the last dot.
    Name(Box<str>),
    /// An address.
    Ip(IpAddr),
}

impl Target {
    /// Reads `host`, `port`, `transport` and `maddr` of a `sip` or `sips` URI.
    pub fn from_uri(uri: &Uri<'_>) -> Result<Self, LocateError> {
        match uri.scheme() {
            Scheme::Sip | Scheme::Sips => {}
            Scheme::Tel | Scheme::Urn | Scheme::Other(_) => return Err(LocateError::Unroutable),
        }
        let secure = uri.is_sips();
        let transport = match uri.transport() {
            None => None,
            Some(token) => {
                let token = Transport::from_token(token).ok_or(LocateError::Unroutable)?;
                Some(secured(token, secure)?)
            }
        };
        let host = match uri.param("maddr").flatten() {
            Some(maddr) => TargetHost::parse(maddr)?,
            None => match uri.host() {
                Host::V4(address) => TargetHost::Ip(address.into()),
                Host::V6(address) => TargetHost::Ip(address.into()),
                Host::Name(name) => TargetHost::parse(name)?,
            },
        };
        Ok(Self {
            host,
            port: uri.port(),
            transport,
            secure,
        })
    }
}

/// `sips` over TCP is TLS; over datagrams it does not exist (RFC 3261 §26.2.2).
fn secured(transport: Transport, secure: bool) -> Result<Transport, LocateError> {
    match (transport, secure) {
        (transport, false) => Ok(transport),
        (Transport::Tcp | Transport::Tls, true) => Ok(Transport::Tls),
        (Transport::Ws | Transport::Wss, true) => Ok(Transport::Wss),
        (Transport::Udp, true) => Err(LocateError::Unroutable),
    }
}

impl TargetHost {
    fn parse(text: &[u8]) -> Result<Self, LocateError> {
        let text = std::str::from_utf8(text).map_err(|_| LocateError::Unroutable)?;
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(Self::Ip(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(LocateError::Unroutable);
        }
        Ok(Self::Name(name.to_ascii_lowercase().into()))
    }
}
