//! Forwarding: a list of changes to a message, rendered once (RFC 3261 §16.6, §16.7).
//!
//! Lines that are not touched are copied as they came, neighbours in one run; the output is one
//! allocation of its exact size. Content-Length is always right.

use bytes::Bytes;
use smallvec::SmallVec;

use super::message::Start;
use super::{HeaderName, Message, scan};

/// Bytes of a header value or body: borrowed, or owned by the edit.
#[derive(Debug, Clone)]
pub enum Value<'m> {
    Borrowed(&'m [u8]),
    Owned(Bytes),
}

impl Value<'_> {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Value::Borrowed(bytes) => bytes,
            Value::Owned(bytes) => bytes,
        }
    }

    /// Without its first comma-separated element; `None` when that was the last.
    fn behind_first(&self) -> Option<Self> {
        let (_, rest) = scan::first_element(self.as_bytes());
        let length = rest?.len();
        Some(match self {
            Value::Borrowed(bytes) => {
                let bytes = scan::trim_end(bytes);
                Value::Borrowed(bytes.get(bytes.len() - length..).unwrap_or_default())
            }
            Value::Owned(bytes) => {
                let end = scan::trim_end(bytes).len();
                Value::Owned(bytes.slice(end - length..end))
            }
        })
    }
}

impl<'m> From<&'m [u8]> for Value<'m> {
    fn from(bytes: &'m [u8]) -> Self {
        Value::Borrowed(bytes)
    }
}

impl<'m, const N: usize> From<&'m [u8; N]> for Value<'m> {
    fn from(bytes: &'m [u8; N]) -> Self {
        Value::Borrowed(bytes)
    }
}

impl<'m> From<&'m str> for Value<'m> {
    fn from(text: &'m str) -> Self {
        Value::Borrowed(text.as_bytes())
    }
}

impl<'m> From<&'m String> for Value<'m> {
    fn from(text: &'m String) -> Self {
        Value::Borrowed(text.as_bytes())
    }
}

impl<'m> From<&'m Vec<u8>> for Value<'m> {
    fn from(bytes: &'m Vec<u8>) -> Self {
        Value::Borrowed(bytes)
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::Owned(text.into())
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Owned(bytes.into())
    }
}

impl From<Bytes> for Value<'_> {
    fn from(bytes: Bytes) -> Self {
        Value::Owned(bytes)
    }
}

/// A header line made here.
#[derive(Debug, Clone)]
pub(super) struct Made<'m> {
    pub name: HeaderName,
    /// The name's bytes; for a known name its canonical form.
    pub raw_name: Value<'m>,
    pub value: Value<'m>,
}

impl<'m> Made<'m> {
    pub(super) fn known(name: HeaderName, value: impl Into<Value<'m>>) -> Made<'m> {
        Made {
            name,
            raw_name: Value::Borrowed(name.as_str().as_bytes()),
            value: value.into(),
        }
    }

    pub(super) fn raw(name: impl Into<Value<'m>>, value: impl Into<Value<'m>>) -> Made<'m> {
        let raw_name = name.into();
        Made {
            name: HeaderName::lookup(raw_name.as_bytes()),
            raw_name,
            value: value.into(),
        }
    }

    pub(super) fn emit(&self, sink: &mut impl Sink) {
        put_line(sink, self.raw_name.as_bytes(), self.value.as_bytes());
    }
}

/// Where rendering goes: first a count, then the buffer of that size.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn put_number(&mut self, number: usize) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.put(&digits[at..]);
    }
}

impl Sink for usize {
    fn put(&mut self, bytes: &[u8]) {
        *self += bytes.len();
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Runs `emit` twice: to measure, then to fill.
pub(super) fn render(emit: impl Fn(&mut Measure), fill: impl Fn(&mut Vec<u8>)) -> Bytes {
    let mut length = 0;
    emit(&mut length);
    let mut out = Vec::with_capacity(length);
    fill(&mut out);
    debug_assert_eq!(out.len(), length);
    out.into()
}

pub(super) type Measure = usize;

pub(super) fn put_line(sink: &mut impl Sink, name: &[u8], value: &[u8]) {
    sink.put(name);
    sink.put(b": ");
    sink.put(value);
    sink.put(b"\r\n");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// An entry of the message, as it came.
    Kept(u16),
    /// One of `made`.
    Made(u16),
}

/// The changes to one message, applied in the order they are asked for.
#[derive(Debug, Clone)]
pub struct Edit<'m> {
    message: &'m Message,
    uri: Option<Value<'m>>,
    lines: SmallVec<[Line; 48]>,
    made: SmallVec<[Made<'m>; 8]>,
    body: Option<Bytes>,
}

impl<'m> Edit<'m> {
    pub fn new(message: &'m Message) -> Edit<'m> {
        let lines = (0..message.entries.len())
            .map(|at| Line::Kept(at as u16))
            .collect();
        Edit {
            message,
            uri: None,
            lines,
            made: SmallVec::new(),
            body: None,
        }
    }

    /// Of a request; a response has none and ignores it.
    pub fn set_request_uri(&mut self, uri: impl Into<Value<'m>>) -> &mut Self {
        self.uri = Some(uri.into());
        self
    }

    /// In front of the first line of that name. Where there is none: a Via goes to the top, others
    /// behind the Vias.
    pub fn prepend(&mut self, name: HeaderName, value: impl Into<Value<'m>>) -> &mut Self {
        let at = match self.position(name) {
            Some(at) => at,
            None if name == HeaderName::Via => 0,
            None => self.behind_last(HeaderName::Via).unwrap_or(0),
        };
        self.insert(at, Made::known(name, value))
    }

    /// Behind the last line of that name, or at the end.
    pub fn append(&mut self, name: HeaderName, value: impl Into<Value<'m>>) -> &mut Self {
        let at = self.behind_last(name).unwrap_or(self.lines.len());
        self.insert(at, Made::known(name, value))
    }

    /// Replaces all lines of that name by one, in the place of the first.
    pub fn set(&mut self, name: HeaderName, value: impl Into<Value<'m>>) -> &mut Self {
        let at = self.position(name).unwrap_or(self.lines.len());
        self.remove(name);
        self.insert(at, Made::known(name, value))
    }

    /// Removes all lines of that name. `Other` removes none: see `remove_raw`.
    pub fn remove(&mut self, name: HeaderName) -> &mut Self {
        if name != HeaderName::Other {
            self.retain(|edit, line| edit.name(line) != name);
        }
        self
    }

    /// Pops the topmost value, as of Via or Route, also where it stands in a comma list.
    pub fn remove_first_value(&mut self, name: HeaderName) -> &mut Self {
        let Some(at) = self.position(name) else {
            return self;
        };
        let rest = self.value(at).behind_first();
        self.lines.remove(at);
        if let Some(rest) = rest {
            self.insert(at, Made::known(name, rest));
        }
        self
    }

    /// Replaces the topmost value; without one it is prepended.
    pub fn replace_first_value(
        &mut self,
        name: HeaderName,
        value: impl Into<Value<'m>>,
    ) -> &mut Self {
        let Some(at) = self.position(name) else {
            return self.prepend(name, value);
        };
        self.remove_first_value(name);
        self.insert(at, Made::known(name, value))
    }

    /// Adds a line of any name at the end.
    pub fn append_raw(
        &mut self,
        name: impl Into<Value<'m>>,
        value: impl Into<Value<'m>>,
    ) -> &mut Self {
        self.insert(self.lines.len(), Made::raw(name, value))
    }

    /// Removes all lines of any name, case-insensitive.
    pub fn remove_raw(&mut self, name: &str) -> &mut Self {
        match HeaderName::lookup(name.as_bytes()) {
            HeaderName::Other => {
                self.retain(|edit, line| {
                    !edit.raw_name(line).eq_ignore_ascii_case(name.as_bytes())
                });
                self
            }
            known => self.remove(known),
        }
    }

    /// Replaces the body; `content_type` `None` keeps the header as it is, and an empty body
    /// removes it.
    pub fn set_body(&mut self, content_type: Option<&'m str>, body: impl Into<Bytes>) -> &mut Self {
        let body = body.into();
        if body.is_empty() {
            self.remove(HeaderName::ContentType);
        } else if let Some(content_type) = content_type {
            self.set(HeaderName::ContentType, content_type);
        }
        self.body = Some(body);
        self
    }

    /// The message with all changes. One allocation.
    pub fn render(&self) -> Bytes {
        render(|sink| self.emit(sink), |sink| self.emit(sink))
    }

    fn emit(&self, sink: &mut impl Sink) {
        self.emit_start(sink);
        let kept_length = self.keeps_content_length();
        let mut at = 0;
        while let Some(line) = self.lines.get(at) {
            if !kept_length && self.name(*line) == HeaderName::ContentLength {
                at += 1;
                continue;
            }
            match line {
                Line::Made(index) => {
                    if let Some(made) = self.made.get(usize::from(*index)) {
                        made.emit(sink);
                    }
                    at += 1;
                }
                Line::Kept(first) => {
                    let run = self.run(at, *first, kept_length);
                    sink.put(self.kept(*first, run));
                    at += usize::from(run);
                }
            }
        }
        let body = self.body.as_deref().unwrap_or(self.message.body());
        if !kept_length {
            sink.put(b"Content-Length: ");
            sink.put_number(body.len());
            sink.put(b"\r\n");
        }
        sink.put(b"\r\n");
        sink.put(body);
    }

    fn emit_start(&self, sink: &mut impl Sink) {
        let bytes = &self.message.bytes;
        match (self.message.start, &self.uri) {
            (Start::Request { method_length, .. }, Some(uri)) => {
                sink.put(bytes.get(..usize::from(method_length)).unwrap_or_default());
                sink.put(b" ");
                sink.put(uri.as_bytes());
                sink.put(b" SIP/2.0\r\n");
            }
            (Start::Request { .. } | Start::Response { .. }, _) => {
                let end = usize::from(self.message.headers_start);
                sink.put(bytes.get(..end).unwrap_or_default());
            }
        }
    }

    /// Whether the message's own Content-Length line still says the truth.
    fn keeps_content_length(&self) -> bool {
        let bit = HeaderName::ContentLength.bit();
        self.body.is_none()
            && self.message.seen & !self.message.repeated & bit != 0
            && self
                .lines
                .iter()
                .filter(|line| self.name(**line) == HeaderName::ContentLength)
                .eq(self.lines.iter().filter(|line| {
                    matches!(line, Line::Kept(_)) && self.name(**line) == HeaderName::ContentLength
                }))
            && self.position(HeaderName::ContentLength).is_some()
    }

    /// How many lines from `at` on follow each other in the message too.
    fn run(&self, at: usize, first: u16, kept_length: bool) -> u16 {
        let mut length = 1;
        while let Some(Line::Kept(next)) = self.lines.get(at + usize::from(length)) {
            let cut = !kept_length && self.name(Line::Kept(*next)) == HeaderName::ContentLength;
            if *next != first + length || cut {
                break;
            }
            length += 1;
        }
        length
    }

    /// The bytes of `length` neighbouring lines of the message.
    fn kept(&self, first: u16, length: u16) -> &[u8] {
        let start = |at: u16| {
            let entry = self.message.entries.get(usize::from(at));
            entry.map(|entry| usize::from(entry.name_start))
        };
        let end = start(first + length).unwrap_or(self.message.headers_end());
        let bytes = start(first).and_then(|start| self.message.bytes.get(start..end));
        bytes.unwrap_or_default()
    }

    fn name(&self, line: Line) -> HeaderName {
        match line {
            Line::Kept(at) => self
                .message
                .entries
                .get(usize::from(at))
                .map_or(HeaderName::Other, |e| e.name),
            Line::Made(at) => self
                .made
                .get(usize::from(at))
                .map_or(HeaderName::Other, |made| made.name),
        }
    }

    fn raw_name(&self, line: Line) -> &[u8] {
        match line {
            Line::Kept(at) => {
                let entry = self.message.entries.get(usize::from(at));
                entry.map_or(b"".as_slice(), |entry| self.message.raw_name(entry))
            }
            Line::Made(at) => {
                let made = self.made.get(usize::from(at));
                made.map_or(b"".as_slice(), |made| made.raw_name.as_bytes())
            }
        }
    }

    fn value(&self, at: usize) -> Value<'m> {
        match self.lines.get(at) {
            Some(Line::Kept(at)) => {
                let entry = self.message.entries.get(usize::from(*at));
                Value::Borrowed(entry.map_or(b"", |entry| entry.value.of(&self.message.bytes)))
            }
            Some(Line::Made(at)) => {
                let made = self.made.get(usize::from(*at));
                made.map_or(Value::Borrowed(b""), |made| made.value.clone())
            }
            None => Value::Borrowed(b""),
        }
    }

    fn position(&self, name: HeaderName) -> Option<usize> {
        if name == HeaderName::Other {
            return None;
        }
        self.lines.iter().position(|line| self.name(*line) == name)
    }

    fn behind_last(&self, name: HeaderName) -> Option<usize> {
        if name == HeaderName::Other {
            return None;
        }
        self.lines
            .iter()
            .rposition(|line| self.name(*line) == name)
            .map(|at| at + 1)
    }

    fn insert(&mut self, at: usize, made: Made<'m>) -> &mut Self {
        let index = u16::try_from(self.made.len()).unwrap_or(u16::MAX);
        self.made.push(made);
        self.lines.insert(at, Line::Made(index));
        self
    }

    fn retain(&mut self, keep: impl Fn(&Edit<'m>, Line) -> bool) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.retain(|line| keep(self, *line));
        self.lines = lines;
    }
}
