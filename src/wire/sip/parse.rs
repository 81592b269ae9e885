//! Cutting a message into start line, header index and body (RFC 3261 §7).
//!
//! What leaves no way to answer is a [`ParseError`]: the bytes are dropped and counted. What is
//! wrong but can be answered is kept as a fault in the message, for [`Message::validate`].

use bytes::Bytes;
use smallvec::SmallVec;

use super::message::{Entry, HEADERS_MAX, MESSAGE_MAX, Message, Range, Start, Version};
use super::validate::Fault;
use super::{HeaderName, Method, scan};

/// Why bytes are no SIP message at all. Always the peer's fault; never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// Nothing but line ends: a keepalive.
    Empty,
    /// Above [`MESSAGE_MAX`] bytes.
    TooLarge,
    /// The first line is neither request line nor status line.
    NotSip,
    /// Above [`HEADERS_MAX`] header lines.
    TooManyHeaders,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ParseError::Empty => "empty message",
            ParseError::TooLarge => "message above 65535 bytes",
            ParseError::NotSip => "neither request nor status line",
            ParseError::TooManyHeaders => "above 256 headers",
        })
    }
}

impl std::error::Error for ParseError {}

/// The Call-ID of a message that is not parsed yet, to find its shard. It is the same that
/// [`Message::call_id`] will say.
pub fn peek_call_id(bytes: &[u8]) -> Option<&[u8]> {
    peek(bytes, HeaderName::CallId, b"CcIi")
}

/// The Call-ID in the Replaces of an INVITE that is not parsed yet (RFC 3891 §6.1).
pub fn peek_replaces(bytes: &[u8]) -> Option<&[u8]> {
    let start = bytes.trim_ascii_start();
    // In most INVITEs there is nothing of the kind.
    if !start.starts_with(b"INVITE ") || memchr::memmem::find(bytes, b"eplaces").is_none() {
        return None;
    }
    let value = peek(bytes, HeaderName::Replaces, b"Rr")?;
    let end = scan::find(b';', value).unwrap_or(value.len());
    value.get(..end).map(scan::trim)
}

/// The value of the first header of a name, one that begins with one of these letters.
fn peek<'a>(bytes: &'a [u8], wanted: HeaderName, letters: &[u8]) -> Option<&'a [u8]> {
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let mut lines = Lines::new(bytes, start);
    lines.next()?;
    while let Some(line) = lines.next().filter(|line| line.start < line.end) {
        let text = bytes.get(line.start..line.end)?;
        if text.first().is_some_and(|first| letters.contains(first))
            && let Some((name, value)) = name_and_value(text)
            && HeaderName::lookup(name) == wanted
        {
            let value_start = line.end - value.len();
            let mut value_end = line.end;
            while matches!(bytes.get(lines.at), Some(b' ' | b'\t')) {
                value_end = lines.next()?.end;
            }
            return bytes.get(value_start..value_end).map(scan::trim);
        }
    }
    None
}

/// A physical line: `start..end` without its line end, `next` where the next begins.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub start: usize,
    pub end: usize,
    pub next: usize,
    /// A CR that no LF follows stands in the line.
    pub bare_cr: bool,
    /// The line ended with a line end and not with the bytes.
    pub ended: bool,
}

/// Lines end with CRLF; a lone LF is taken as line end too.
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next line starts.
    pub at: usize,
}

impl<'a> Lines<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Lines<'a> {
        Lines { bytes, at }
    }

    /// Passes over the lines that continue `line`; returns where their text ends. `None` while
    /// the bytes do not tell whether more follow.
    pub fn behind_folds(&mut self, line: &Line) -> Option<usize> {
        let mut end = line.end;
        while matches!(self.bytes.get(self.at)?, b' ' | b'\t') {
            end = self.next().filter(|line| line.ended)?.end;
        }
        Some(end)
    }

    pub fn next(&mut self) -> Option<Line> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let start = self.at;
        let mut bare_cr = false;
        let mut from = 0;
        while let Some(found) = memchr::memchr2(b'\r', b'\n', rest.get(from..)?) {
            let at = from + found;
            let is_lf = rest.get(at) == Some(&b'\n');
            let width = match (is_lf, rest.get(at + 1)) {
                (true, _) => 1,
                (false, Some(b'\n')) => 2,
                (false, _) => {
                    bare_cr = true;
                    from = at + 1;
                    continue;
                }
            };
            self.at = start + at + width;
            return Some(Line {
                start,
                end: start + at,
                next: self.at,
                bare_cr,
                ended: true,
            });
        }
        self.at = self.bytes.len();
        let end = self.at;
        Some(Line {
            start,
            end,
            next: end,
            bare_cr,
            ended: false,
        })
    }
}

/// `name HCOLON value`: the name without white space before the colon.
pub(super) fn name_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = scan::take_while(line, scan::is_token_byte);
    match scan::trim_start(rest) {
        [b':', value @ ..] if !name.is_empty() => Some((name, value)),
        _ => None,
    }
}

pub(super) fn parse(mut bytes: Bytes) -> Result<Message, ParseError> {
    // RFC 3261 §7.5: line ends before the start line are ignored.
    let leading = bytes
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    if leading > 0 {
        bytes = bytes.slice(leading..);
    }
    if bytes.is_empty() {
        return Err(ParseError::Empty);
    }
    if bytes.len() > MESSAGE_MAX {
        return Err(ParseError::TooLarge);
    }
    let mut lines = Lines::new(&bytes, 0);
    let first = lines.next().ok_or(ParseError::Empty)?;
    let line = bytes.get(..first.end).ok_or(ParseError::NotSip)?;
    let (start, version, fault) = start_line(line)?;
    let mut index = Index {
        bytes: &bytes,
        entries: SmallVec::new(),
        seen: 0,
        repeated: 0,
        foldable: false,
        fault: fault.or(first.bare_cr.then_some(Fault::BareCr)),
    };
    let (headers_end, body_start) = index.headers(lines)?;
    let mut message = Message {
        start,
        version,
        entries: index.entries,
        seen: index.seen,
        repeated: index.repeated,
        fault: index.fault,
        headers_start: range_end(first.next),
        headers_end: range_end(headers_end),
        body: Range {
            start: range_end(body_start),
            end: range_end(bytes.len()),
        },
        bytes,
    };
    cut_body(&mut message);
    Ok(message)
}

/// Offsets fit, since the message is at most [`MESSAGE_MAX`] bytes long.
fn range_end(offset: usize) -> u16 {
    u16::try_from(offset).unwrap_or(u16::MAX)
}

struct Index<'a> {
    bytes: &'a Bytes,
    entries: SmallVec<[Entry; 32]>,
    seen: u128,
    repeated: u128,
    fault: Option<Fault>,
    /// The line before was a header that a fold may continue.
    foldable: bool,
}

impl Index<'_> {
    /// Fills the index; returns where the headers end and where the body starts.
    fn headers(&mut self, mut lines: Lines<'_>) -> Result<(usize, usize), ParseError> {
        while let Some(line) = lines.next() {
            if line.start == line.end {
                return Ok((line.start, line.next));
            }
            if line.bare_cr {
                self.note(Fault::BareCr);
            }
            if !line.ended {
                self.note(Fault::Unended);
            }
            self.line(&line)?;
        }
        self.note(Fault::Unended);
        Ok((self.bytes.len(), self.bytes.len()))
    }

    fn line(&mut self, line: &Line) -> Result<(), ParseError> {
        let text = self.bytes.get(line.start..line.end).unwrap_or_default();
        if matches!(text.first(), Some(b' ' | b'\t')) {
            self.fold(line, text);
            return Ok(());
        }
        self.foldable = false;
        let Some((raw_name, value)) = name_and_value(text) else {
            self.note(Fault::BadHeaderLine);
            return Ok(());
        };
        self.foldable = true;
        if self.entries.len() >= HEADERS_MAX {
            return Err(ParseError::TooManyHeaders);
        }
        let name = HeaderName::lookup(raw_name);
        self.repeated |= self.seen & name.bit();
        self.seen |= name.bit();
        let trimmed = scan::trim_start(value);
        self.entries.push(Entry {
            name,
            name_start: range_end(line.start),
            name_length: range_end(raw_name.len()),
            value: Range {
                start: range_end(line.end - trimmed.len()),
                end: range_end(line.end - (trimmed.len() - scan::trim_end(trimmed).len())),
            },
        });
        Ok(())
    }

    /// RFC 3261 §7.3.1: a line that begins with white space continues the one before.
    fn fold(&mut self, line: &Line, text: &[u8]) {
        let trimmed = scan::trim_end(text);
        let last = self.entries.last_mut().filter(|_| self.foldable);
        let Some(entry) = last else {
            self.note(Fault::BadHeaderLine);
            return;
        };
        if entry.value.is_empty() {
            let inner = scan::trim_start(trimmed);
            entry.value.start = range_end(line.start + trimmed.len() - inner.len());
        }
        if !scan::trim_start(trimmed).is_empty() {
            entry.value.end = range_end(line.start + trimmed.len());
        } else if entry.value.is_empty() {
            entry.value.start = entry.value.end;
        }
    }

    fn note(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

type StartLine = (Start, Version, Option<Fault>);

fn start_line(line: &[u8]) -> Result<StartLine, ParseError> {
    if line.len() >= 4
        && line
            .get(..4)
            .is_some_and(|head| head.eq_ignore_ascii_case(b"SIP/"))
    {
        return status_line(line);
    }
    let (token, rest) = scan::take_while(line, scan::is_token_byte);
    let method = Method::parse(token).ok_or(ParseError::NotSip)?;
    let [b' ' | b'\t', ..] = rest else {
        return Err(ParseError::NotSip);
    };
    let trimmed = scan::trim(rest);
    let at = trimmed
        .iter()
        .rposition(|byte| scan::is_lws(*byte))
        .ok_or(ParseError::NotSip)?;
    let (uri, version) = scan::split(trimmed, at);
    let version = version_of(scan::trim(version)).ok_or(ParseError::NotSip)?;
    let uri = scan::trim_end(uri);
    let uri_start = line.len() - scan::trim_start(rest).len();
    // Exactly one space stands on each side of the URI and nothing behind the version (§7.1).
    let exact = token.len() + uri.len() + 2 + "SIP/2.0".len() == line.len();
    let fault = if uri.iter().any(|byte| scan::is_lws(*byte)) {
        Some(Fault::UriSpaces)
    } else if !exact && version == Version::Two {
        Some(Fault::StartLineSpaces)
    } else {
        None
    };
    let start = Start::Request {
        method: MethodCode::of(method),
        method_length: range_end(token.len()),
        uri: Range {
            start: range_end(uri_start),
            end: range_end(uri_start + uri.len()),
        },
    };
    Ok((start, version, fault))
}

fn version_of(text: &[u8]) -> Option<Version> {
    if text.eq_ignore_ascii_case(b"SIP/2.0") {
        return Some(Version::Two);
    }
    let number = text
        .get(4..)
        .filter(|_| text[..4].eq_ignore_ascii_case(b"SIP/"))?;
    let dot = scan::find(b'.', number)?;
    let (major, minor) = scan::split(number, dot);
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    (digits(major) && digits(minor.get(1..)?)).then_some(Version::Foreign)
}

fn status_line(line: &[u8]) -> Result<StartLine, ParseError> {
    let (version, rest) = scan::take_while(line, |byte| byte != b' ');
    let version = version_of(version).ok_or(ParseError::NotSip)?;
    let rest = rest.get(1..).ok_or(ParseError::NotSip)?;
    let (digits, reason) = scan::take_while(rest, |byte| byte != b' ');
    let status = scan::decimal(digits)
        .filter(|status| digits.len() == 3 && (100..=699).contains(status))
        .and_then(|status| u16::try_from(status).ok())
        .ok_or(ParseError::NotSip)?;
    let reason_length = reason.len().saturating_sub(1);
    let start = Start::Response {
        status,
        reason: Range {
            start: range_end(line.len() - reason_length),
            end: range_end(line.len()),
        },
    };
    Ok((start, version, None))
}

/// A known method by number; `Other` reads its bytes from the start line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MethodCode(Option<Method<'static>>);

impl MethodCode {
    fn of(method: Method<'_>) -> MethodCode {
        MethodCode(match method {
            Method::Other(_) => None,
            Method::Invite => Some(Method::Invite),
            Method::Ack => Some(Method::Ack),
            Method::Bye => Some(Method::Bye),
            Method::Cancel => Some(Method::Cancel),
            Method::Register => Some(Method::Register),
            Method::Options => Some(Method::Options),
            Method::Prack => Some(Method::Prack),
            Method::Update => Some(Method::Update),
            Method::Info => Some(Method::Info),
            Method::Subscribe => Some(Method::Subscribe),
            Method::Notify => Some(Method::Notify),
            Method::Refer => Some(Method::Refer),
            Method::Message => Some(Method::Message),
            Method::Publish => Some(Method::Publish),
        })
    }

    pub(super) fn method<'a>(self, token: &'a [u8]) -> Method<'a> {
        self.0.unwrap_or(Method::Other(token))
    }
}

/// A datagram's body is as long as Content-Length says (§18.3); what follows is cut off.
fn cut_body(message: &mut Message) {
    let Some(value) = message.header(HeaderName::ContentLength) else {
        return;
    };
    let available = usize::from(message.body.end - message.body.start);
    match scan::decimal(value).and_then(|length| usize::try_from(length).ok()) {
        None => message.note(Fault::BadContentLength),
        Some(length) if length > available => message.note(Fault::ShortBody),
        Some(length) => {
            let end = usize::from(message.body.start) + length;
            message.body.end = range_end(end);
            message.bytes.truncate(end);
        }
    }
}
