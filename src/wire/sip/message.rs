//! One SIP message: its bytes, an index of its headers, and the typed views over them
//! (RFC 3261 §7, §20).

use bytes::Bytes;
use smallvec::SmallVec;

use super::parse::{self, MethodCode};
use super::validate::Fault;
use super::{
    CSeq, Challenge, Credentials, Header, HeaderError, HeaderName, Method, NameAddr, ParseError,
    Via, scan,
};

/// Longest message in bytes: offsets are 16 bits wide, and no datagram is longer.
pub const MESSAGE_MAX: usize = 65_535;
/// Most header lines in one message; a message with more is dropped.
pub const HEADERS_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub start: u16,
    pub end: u16,
}

impl Range {
    pub(super) fn is_empty(self) -> bool {
        self.start >= self.end
    }

    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(usize::from(self.start)..usize::from(self.end))
            .unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub name: HeaderName,
    pub name_start: u16,
    pub name_length: u16,
    pub value: Range,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    Request {
        method: MethodCode,
        method_length: u16,
        uri: Range,
    },
    Response {
        status: u16,
        reason: Range,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Two,
    Foreign,
}

/// A parsed message. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct Message {
    pub(super) bytes: Bytes,
    pub(super) entries: SmallVec<[Entry; 32]>,
    /// Bit sets of header names: those present, and those present on two lines or more.
    pub(super) seen: u128,
    pub(super) repeated: u128,
    pub(super) start: Start,
    pub(super) version: Version,
    pub(super) fault: Option<Fault>,
    pub(super) headers_start: u16,
    pub(super) headers_end: u16,
    pub(super) body: Range,
}

/// What the Contact headers of a message say.
#[derive(Debug, Clone)]
pub enum Contacts<'a> {
    None,
    /// `Contact: *` (RFC 3261 §10.2.2).
    Star,
    List(Addresses<'a>),
}

impl Message {
    /// Cuts one datagram, or one frame of a stream, into its parts.
    ///
    /// A message that is wrong but could be answered parses, and [`Message::validate`] then says
    /// what to answer: call it before anything else.
    pub fn parse(bytes: Bytes) -> Result<Message, ParseError> {
        parse::parse(bytes)
    }

    /// The message as it came, cut behind its body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// Of a response: its CSeq's method, `Other(b"")` when that does not parse.
    pub fn method(&self) -> Method<'_> {
        match self.start {
            Start::Request {
                method,
                method_length,
                ..
            } => method.method(
                self.bytes
                    .get(..usize::from(method_length))
                    .unwrap_or_default(),
            ),
            Start::Response { .. } => self.cseq().map_or(Method::Other(b""), |cseq| cseq.method),
        }
    }

    /// Empty for responses.
    pub fn request_uri(&self) -> &[u8] {
        match self.start {
            Start::Request { uri, .. } => uri.of(&self.bytes),
            Start::Response { .. } => b"",
        }
    }

    /// 100 to 699; 0 for requests.
    pub fn status(&self) -> u16 {
        match self.start {
            Start::Request { .. } => 0,
            Start::Response { status, .. } => status,
        }
    }

    /// Empty for requests.
    pub fn reason(&self) -> &[u8] {
        match self.start {
            Start::Request { .. } => b"",
            Start::Response { reason, .. } => reason.of(&self.bytes),
        }
    }

    /// All header lines in order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.entries.iter().map(|entry| Header {
            name: entry.name,
            raw_name: self.raw_name(entry),
            value: entry.value.of(&self.bytes),
        })
    }

    /// The value of the first line of `name`, trimmed; folds are kept (see [`super::unfold`]).
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        if !self.has(name) {
            return None;
        }
        self.lines(name).next()
    }

    /// Whether a header of that name is there. `Other` never is: use `header_by_str`.
    pub fn has(&self, name: HeaderName) -> bool {
        self.seen & name.bit() != 0
    }

    /// The values of all lines of `name`, not split at commas.
    pub fn lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> + Clone {
        let named = self.entries.iter().filter(move |entry| entry.name == name);
        named.map(|entry| entry.value.of(&self.bytes))
    }

    /// The elements of all lines of `name`, split at commas outside quotes and angle brackets.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> + Clone {
        Values {
            message: self,
            name,
            at: 0,
            rest: None,
        }
    }

    /// The first line of any name, known or not, case-insensitive, compact forms included.
    pub fn header_by_str(&self, name: &str) -> Option<&[u8]> {
        match HeaderName::lookup(name.as_bytes()) {
            HeaderName::Other => self
                .headers()
                .find(|header| header.raw_name.eq_ignore_ascii_case(name.as_bytes()))
                .map(|header| header.value),
            known => self.header(known),
        }
    }

    /// Empty only in a message that `validate` refuses.
    pub fn call_id(&self) -> &[u8] {
        self.header(HeaderName::CallId).unwrap_or_default()
    }

    pub fn cseq(&self) -> Result<CSeq<'_>, HeaderError> {
        CSeq::parse(self.required(HeaderName::CSeq)?)
    }

    pub fn top_via(&self) -> Result<Via<'_>, HeaderError> {
        let line = self.required(HeaderName::Via)?;
        Via::parse(scan::first_element(line).0)
    }

    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.values(HeaderName::Via).map(Via::parse)
    }

    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        NameAddr::parse_as(HeaderName::From, self.required(HeaderName::From)?)
    }

    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        NameAddr::parse_as(HeaderName::To, self.required(HeaderName::To)?)
    }

    /// The tag of the From header field, if there is one.
    pub fn from_tag(&self) -> Option<&[u8]> {
        NameAddr::tag_in(self.header(HeaderName::From)?)
    }

    /// The tag of the To header field, if there is one.
    pub fn to_tag(&self) -> Option<&[u8]> {
        NameAddr::tag_in(self.header(HeaderName::To)?)
    }

    /// An error where `*` stands among others.
    pub fn contacts(&self) -> Result<Contacts<'_>, HeaderError> {
        if !self.has(HeaderName::Contact) {
            return Ok(Contacts::None);
        }
        let (mut all, mut stars) = (0, 0);
        for value in self.values(HeaderName::Contact) {
            all += 1;
            stars += usize::from(value == b"*");
        }
        match (all, stars) {
            (1, 1) => return Ok(Contacts::Star),
            (_, 0) => {}
            _ => return Err(HeaderError::Malformed(HeaderName::Contact)),
        }
        Ok(Contacts::List(self.addresses(HeaderName::Contact)))
    }

    /// The elements of a header made of addresses: Route, Record-Route, Path, P-Asserted-Identity.
    pub fn addresses(&self, name: HeaderName) -> Addresses<'_> {
        Addresses {
            values: Values {
                message: self,
                name,
                at: 0,
                rest: None,
            },
        }
    }

    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        let Some(number) = self.number(HeaderName::MaxForwards)? else {
            return Ok(None);
        };
        let number = u8::try_from(number);
        number
            .map(Some)
            .map_err(|_| HeaderError::Malformed(HeaderName::MaxForwards))
    }

    /// In seconds.
    pub fn expires(&self) -> Result<Option<u32>, HeaderError> {
        self.number(HeaderName::Expires)
    }

    /// A header that is one decimal number: Expires, Min-Expires, RSeq, Content-Length.
    pub fn number(&self, name: HeaderName) -> Result<Option<u32>, HeaderError> {
        let Some(value) = self.header(name) else {
            return Ok(None);
        };
        scan::decimal(value)
            .map(Some)
            .ok_or(HeaderError::Malformed(name))
    }

    /// The option tags or methods of Require, Supported, Proxy-Require, Allow.
    pub fn tokens(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.values(name).filter(|value| !value.is_empty())
    }

    pub fn has_token(&self, name: HeaderName, token: &str) -> bool {
        self.tokens(name)
            .any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Authorization, Proxy-Authorization: one per line.
    pub fn credentials(
        &self,
        name: HeaderName,
    ) -> impl Iterator<Item = Result<Credentials<'_>, HeaderError>> {
        self.lines(name)
            .map(move |line| Credentials::parse_as(name, line))
    }

    /// WWW-Authenticate, Proxy-Authenticate: one per line.
    pub fn challenges(
        &self,
        name: HeaderName,
    ) -> impl Iterator<Item = Result<Challenge<'_>, HeaderError>> {
        self.lines(name)
            .map(move |line| Challenge::parse_as(name, line))
    }

    pub fn content_type(&self) -> Option<&[u8]> {
        self.header(HeaderName::ContentType)
    }

    pub fn body(&self) -> &[u8] {
        self.body.of(&self.bytes)
    }

    fn required(&self, name: HeaderName) -> Result<&[u8], HeaderError> {
        self.header(name).ok_or(HeaderError::Missing(name))
    }

    pub(super) fn note(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// Where the empty line behind the headers starts.
    pub(super) fn headers_end(&self) -> usize {
        usize::from(self.headers_end)
    }

    pub(super) fn raw_name(&self, entry: &Entry) -> &[u8] {
        let start = usize::from(entry.name_start);
        self.bytes
            .get(start..start + usize::from(entry.name_length))
            .unwrap_or_default()
    }
}

#[derive(Debug, Clone)]
struct Values<'a> {
    message: &'a Message,
    name: HeaderName,
    /// The next entry to look at.
    at: usize,
    /// What is left of the line before it.
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = match self.rest.take() {
            Some(rest) => rest,
            None => loop {
                let entry = self.message.entries.get(self.at)?;
                self.at += 1;
                if entry.name == self.name {
                    break entry.value.of(&self.message.bytes);
                }
            },
        };
        let (first, rest) = scan::first_element(line);
        self.rest = rest;
        Some(first)
    }
}

/// The addresses of one header name, in order.
#[derive(Debug, Clone)]
pub struct Addresses<'a> {
    values: Values<'a>,
}

impl<'a> Iterator for Addresses<'a> {
    type Item = Result<NameAddr<'a>, HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.values
            .next()
            .map(|value| NameAddr::parse_as(self.values.name, value))
    }
}
