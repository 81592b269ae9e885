//! Credentials and challenges (RFC 3261 §20.7, §20.44, RFC 7616 §3.3, §3.4): a scheme and a list of
//! parameters. What the parameters mean is digest's business, not this file's.

use super::scan::{self, Param};
use super::{HeaderError, HeaderName};

/// An Authorization or Proxy-Authorization value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    scheme: &'a [u8],
    params: &'a [u8],
}

/// A WWW-Authenticate or Proxy-Authenticate value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge<'a> {
    scheme: &'a [u8],
    params: &'a [u8],
}

macro_rules! auth_value {
    ($name:ident) => {
        impl<'a> $name<'a> {
            pub(super) fn parse_as(
                name: HeaderName,
                value: &'a [u8],
            ) -> Result<$name<'a>, HeaderError> {
                let (scheme, params) = read(value).ok_or(HeaderError::Malformed(name))?;
                Ok($name { scheme, params })
            }

            /// `Digest`, in the case the peer wrote.
            pub fn scheme(&self) -> &'a [u8] {
                self.scheme
            }

            pub fn is_digest(&self) -> bool {
                self.scheme.eq_ignore_ascii_case(b"Digest")
            }

            pub fn params(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
                AuthParams { rest: self.params }
            }

            /// The value of a parameter, without quotes, escapes kept.
            pub fn param(&self, name: &str) -> Option<&'a [u8]> {
                let mut params = self.params();
                params
                    .find(|param| param.name.eq_ignore_ascii_case(name.as_bytes()))?
                    .value
            }

            pub fn realm(&self) -> Option<&'a [u8]> {
                self.param("realm")
            }

            pub fn nonce(&self) -> Option<&'a [u8]> {
                self.param("nonce")
            }

            pub fn algorithm(&self) -> Option<&'a [u8]> {
                self.param("algorithm")
            }

            pub fn opaque(&self) -> Option<&'a [u8]> {
                self.param("opaque")
            }

            /// Of a challenge: the list of what is offered. Of credentials: what was chosen.
            pub fn qop(&self) -> Option<&'a [u8]> {
                self.param("qop")
            }
        }
    };
}

auth_value!(Credentials);
auth_value!(Challenge);

impl<'a> Credentials<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Credentials<'a>, HeaderError> {
        Credentials::parse_as(HeaderName::Authorization, value)
    }

    pub fn username(&self) -> Option<&'a [u8]> {
        self.param("username")
    }

    pub fn uri(&self) -> Option<&'a [u8]> {
        self.param("uri")
    }

    pub fn response(&self) -> Option<&'a [u8]> {
        self.param("response")
    }

    pub fn cnonce(&self) -> Option<&'a [u8]> {
        self.param("cnonce")
    }

    /// The nonce count, eight hexadecimal digits as they came.
    pub fn nc(&self) -> Option<&'a [u8]> {
        self.param("nc")
    }
}

impl<'a> Challenge<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Challenge<'a>, HeaderError> {
        Challenge::parse_as(HeaderName::WwwAuthenticate, value)
    }

    pub fn stale(&self) -> bool {
        self.param("stale")
            .is_some_and(|value| value.eq_ignore_ascii_case(b"true"))
    }
}

fn read(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (scheme, rest) = scan::take_while(scan::trim(value), scan::is_token_byte);
    let params = scan::trim_start(rest);
    if scheme.is_empty() || params.is_empty() || params.len() == rest.len() {
        return None;
    }
    // Another scheme may carry a bare token (RFC 7235's token68): it has no parameters for us.
    if !scheme.eq_ignore_ascii_case(b"Digest") {
        return Some((scheme, params));
    }
    let mut walk = params;
    while !walk.is_empty() {
        walk = step(walk)?.1;
    }
    Some((scheme, params))
}

struct AuthParams<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for AuthParams<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let (param, rest) = step(self.rest)?;
        self.rest = rest;
        Some(param)
    }
}

/// One `name = value` and what follows its comma.
fn step(bytes: &[u8]) -> Option<(Param<'_>, &[u8])> {
    let (name, rest) = scan::take_while(bytes, scan::is_token_byte);
    let value = scan::trim_start(scan::trim_start(rest).strip_prefix(b"=")?);
    let (value, rest) = match value {
        [b'"', inner @ ..] => scan::quoted(inner)?,
        _ => scan::take_while(value, |byte| {
            !scan::is_lws(byte) && byte != b',' && byte != b'"'
        }),
    };
    if name.is_empty() {
        return None;
    }
    let mut rest = scan::trim_start(rest);
    if !rest.is_empty() {
        rest = scan::trim_start(rest.strip_prefix(b",")?);
    }
    Some((
        Param {
            name,
            value: Some(value),
        },
        rest,
    ))
}
