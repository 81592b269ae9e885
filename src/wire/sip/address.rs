//! `name-addr` and `addr-spec` with header parameters (RFC 3261 §20.10, §20.20, §20.34, §25.1).

use std::borrow::Cow;

use super::scan::{self, Param, Params};
use super::{HeaderError, HeaderName, Uri, UriError};

/// One element of From, To, Contact, Route and their kind. The URI is parsed on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    bytes: &'a [u8],
    display: Option<&'a [u8]>,
    uri: &'a [u8],
    params: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// Reads one element, without a comma list.
    pub fn parse(bytes: &'a [u8]) -> Result<NameAddr<'a>, HeaderError> {
        NameAddr::parse_as(HeaderName::Other, bytes)
    }

    pub(super) fn parse_as(name: HeaderName, bytes: &'a [u8]) -> Result<NameAddr<'a>, HeaderError> {
        let address = NameAddr::read(scan::trim(bytes)).ok_or(HeaderError::Malformed(name))?;
        match Params::well_formed(address.params) {
            true => Ok(address),
            false => Err(HeaderError::Malformed(name)),
        }
    }

    /// The tag of a From or To that is well formed, without reading the rest of it.
    pub(super) fn tag_in(bytes: &'a [u8]) -> Option<&'a [u8]> {
        // Behind the last bracket are parameters, unless it stands in a quoted value of one.
        let params = match memchr::memrchr(b'>', bytes) {
            Some(end) => bytes.get(end + 1..).filter(|rest| !rest.contains(&b'"')),
            None => None,
        };
        match params {
            Some(params) => Params::new(params).tag(),
            None => NameAddr::parse(bytes).ok()?.tag(),
        }
    }

    fn read(bytes: &'a [u8]) -> Option<NameAddr<'a>> {
        if let [b'"', inner @ ..] = bytes {
            let (display, rest) = scan::quoted(inner)?;
            let inner = scan::trim_start(rest).strip_prefix(b"<")?;
            return NameAddr::bracketed(bytes, Some(display), inner);
        }
        // Before a bracket only words may stand; a separator there makes it an addr-spec.
        let (head, rest) = scan::take_while(bytes, |byte| {
            !matches!(byte, b'<' | b'"' | b',' | b';' | b':')
        });
        if let [b'<', inner @ ..] = rest {
            let display = Some(scan::trim_end(head)).filter(|text| !text.is_empty());
            return NameAddr::bracketed(bytes, display, inner);
        }
        NameAddr::bare(bytes)
    }

    fn bracketed(
        bytes: &'a [u8],
        display: Option<&'a [u8]>,
        inner: &'a [u8],
    ) -> Option<NameAddr<'a>> {
        let end = scan::find(b'>', inner)?;
        let (uri, rest) = scan::split(inner, end);
        if uri.is_empty() || !uri.iter().all(|byte| is_uri_byte(*byte)) {
            return None;
        }
        Some(NameAddr {
            bytes,
            display,
            uri,
            params: rest.get(1..)?,
        })
    }

    /// RFC 3261 §20: without brackets, parameters belong to the header, and a URI that holds a
    /// comma, question mark or semicolon must stand in brackets.
    fn bare(bytes: &'a [u8]) -> Option<NameAddr<'a>> {
        let end = scan::find(b';', bytes).unwrap_or(bytes.len());
        let (uri, params) = scan::split(bytes, end);
        let uri = scan::trim_end(uri);
        let good = |byte: &u8| is_uri_byte(*byte) && !matches!(byte, b',' | b'?');
        if uri.is_empty() || !uri.iter().all(good) {
            return None;
        }
        Some(NameAddr {
            bytes,
            display: None,
            uri,
            params,
        })
    }

    /// The display name without its quotes, escapes kept.
    pub fn display(&self) -> Option<&'a [u8]> {
        self.display
    }

    /// The display name as text, escapes resolved.
    pub fn display_unescaped(&self) -> Option<Cow<'a, [u8]>> {
        self.display.map(scan::unescape_quoted)
    }

    pub fn uri_bytes(&self) -> &'a [u8] {
        self.uri
    }

    pub fn uri(&self) -> Result<Uri<'a>, UriError> {
        Uri::parse(self.uri)
    }

    pub fn params(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        Params::new(self.params)
    }

    /// A header parameter: `Some(None)` when it stands without a value.
    pub fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        Params::new(self.params).find(name)
    }

    pub fn tag(&self) -> Option<&'a [u8]> {
        Params::new(self.params).tag()
    }

    /// The `q` parameter in thousandths, 0 to 1000.
    pub fn q(&self) -> Result<Option<u16>, HeaderError> {
        match self.param("q") {
            None => Ok(None),
            Some(value) => value
                .and_then(thousandths)
                .map(Some)
                .ok_or(HeaderError::Malformed(HeaderName::Contact)),
        }
    }

    /// The `expires` parameter in seconds.
    pub fn expires(&self) -> Result<Option<u32>, HeaderError> {
        match self.param("expires") {
            None => Ok(None),
            Some(value) => value
                .and_then(scan::decimal)
                .map(Some)
                .ok_or(HeaderError::Malformed(HeaderName::Contact)),
        }
    }

    /// The whole element as it came.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

const URI: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b' ' as usize + 1;
    while byte < 256 {
        table[byte] = !matches!(byte as u8, 0x7f | b'<' | b'>' | b'"');
        byte += 1;
    }
    table
};

/// Bytes above 127 are not in the grammar, but phones send them and no reader is misled.
fn is_uri_byte(byte: u8) -> bool {
    URI[usize::from(byte)]
}

/// RFC 3261 §25.1 `qvalue`: 0 to 1 with up to three decimals.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, rest) = scan::take_while(text, |byte| byte.is_ascii_digit());
    let decimals = match rest {
        [] => rest,
        [b'.', decimals @ ..] if decimals.len() <= 3 => decimals,
        _ => return None,
    };
    let mut value: u16 = match whole {
        b"0" => 0,
        b"1" => 1,
        b"" if !decimals.is_empty() => 0,
        _ => return None,
    };
    for place in 0..3 {
        let digit = decimals.get(place).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u16::from(digit - b'0');
    }
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_without_reading_all() {
        let values: [(&[u8], Option<&[u8]>); 10] = [
            (b"<sip:a@b>;tag=x", Some(b"x")),
            (b"\"A > B\" <sip:a@b>;tag=x", Some(b"x")),
            (b"A <sip:a@b;tag=no> ; TAG = x ; y", Some(b"x")),
            (b"sip:a@b;tag=x", Some(b"x")),
            (b"<sip:a@b>;y=\">;tag=no\";tag=x", Some(b"x")),
            (b"\"x\" <sip:a@b>;y=\"<z>\";tag=x", Some(b"x")),
            (b"<sip:a@b>;tagged=y;tag=", None),
            (b"<sip:a@b;tag=no>", None),
            (b"\"a\" sip:a@b;tag=no", None),
            (b"", None),
        ];
        for (value, tag) in values {
            let shown = value.escape_ascii();
            assert_eq!(NameAddr::tag_in(value), tag, "{shown}");
            let read = NameAddr::parse(value).ok();
            assert_eq!(read.and_then(|read| read.tag()), tag, "{shown}");
        }
    }
}
