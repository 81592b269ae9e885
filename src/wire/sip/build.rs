//! Making messages: responses to a request (RFC 3261 §8.2.6) and requests of our own (§8.1.1).

use bytes::Bytes;
use smallvec::SmallVec;

use super::edit::{Made, Sink, Value, put_line, render};
use super::{HeaderName, Message, Method, default_reason};

type Lines<'m> = SmallVec<[Made<'m>; 8]>;

/// A response to `request`: copies Via, From, To, Call-ID and CSeq.
#[derive(Debug, Clone)]
pub struct ResponseBuilder<'m> {
    request: &'m Message,
    status: u16,
    reason: Option<Value<'m>>,
    to_tag: Option<Value<'m>>,
    record_route: bool,
    lines: Lines<'m>,
    body: Bytes,
}

impl<'m> ResponseBuilder<'m> {
    /// A final status is in 200..=699, a provisional one in 100..=199.
    pub fn new(request: &'m Message, status: u16) -> ResponseBuilder<'m> {
        ResponseBuilder {
            request,
            status,
            reason: None,
            to_tag: None,
            record_route: false,
            lines: SmallVec::new(),
            body: Bytes::new(),
        }
    }

    pub fn reason(mut self, reason: &'m str) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// The tag for a To that has none; a To with tag keeps it.
    pub fn to_tag(mut self, tag: impl Into<Value<'m>>) -> Self {
        self.to_tag = Some(tag.into());
        self
    }

    /// Copies Record-Route, as a response that makes a dialog must (§12.1.1).
    pub fn record_route(mut self) -> Self {
        self.record_route = true;
        self
    }

    pub fn header(mut self, name: HeaderName, value: impl Into<Value<'m>>) -> Self {
        self.lines.push(Made::known(name, value));
        self
    }

    pub fn raw_header(mut self, name: &'m str, value: impl Into<Value<'m>>) -> Self {
        self.lines.push(Made::raw(name, value));
        self
    }

    pub fn body(mut self, content_type: &'m str, body: impl Into<Bytes>) -> Self {
        self.lines
            .push(Made::known(HeaderName::ContentType, content_type));
        self.body = body.into();
        self
    }

    pub fn render(&self) -> Bytes {
        render(|sink| self.emit(sink), |sink| self.emit(sink))
    }

    fn emit(&self, sink: &mut impl Sink) {
        sink.put(b"SIP/2.0 ");
        sink.put_number(usize::from(self.status));
        sink.put(b" ");
        match &self.reason {
            Some(reason) => sink.put(reason.as_bytes()),
            None => sink.put(default_reason(self.status).as_bytes()),
        }
        sink.put(b"\r\n");
        for via in self.request.lines(HeaderName::Via) {
            put_line(sink, b"Via", via);
        }
        if self.record_route {
            for route in self.request.lines(HeaderName::RecordRoute) {
                put_line(sink, b"Record-Route", route);
            }
        }
        self.copy(sink, HeaderName::From);
        self.emit_to(sink);
        self.copy(sink, HeaderName::CallId);
        self.copy(sink, HeaderName::CSeq);
        // RFC 3261 §8.2.6.1: a 100 carries the request's Timestamp.
        if self.status == 100 {
            self.copy(sink, HeaderName::Timestamp);
        }
        emit_rest(sink, &self.lines, &self.body);
    }

    fn copy(&self, sink: &mut impl Sink, name: HeaderName) {
        if let Some(value) = self.request.header(name) {
            put_line(sink, name.as_str().as_bytes(), value);
        }
    }

    fn emit_to(&self, sink: &mut impl Sink) {
        let Some(to) = self.request.header(HeaderName::To) else {
            return;
        };
        sink.put(b"To: ");
        sink.put(to);
        if let Some(tag) = &self.to_tag
            && self.request.to().is_ok_and(|to| to.param("tag").is_none())
        {
            sink.put(b";tag=");
            sink.put(tag.as_bytes());
        }
        sink.put(b"\r\n");
    }
}

/// A request of our own. Headers go out in the order they are given.
#[derive(Debug, Clone)]
pub struct RequestBuilder<'m> {
    method: Method<'m>,
    uri: Value<'m>,
    lines: Lines<'m>,
    body: Bytes,
}

impl<'m> RequestBuilder<'m> {
    pub fn new(method: Method<'m>, uri: impl Into<Value<'m>>) -> RequestBuilder<'m> {
        RequestBuilder {
            method,
            uri: uri.into(),
            lines: SmallVec::new(),
            body: Bytes::new(),
        }
    }

    pub fn via(self, value: impl Into<Value<'m>>) -> Self {
        self.header(HeaderName::Via, value)
    }

    pub fn from(self, value: impl Into<Value<'m>>) -> Self {
        self.header(HeaderName::From, value)
    }

    pub fn to(self, value: impl Into<Value<'m>>) -> Self {
        self.header(HeaderName::To, value)
    }

    pub fn call_id(self, value: impl Into<Value<'m>>) -> Self {
        self.header(HeaderName::CallId, value)
    }

    /// The method is the request's own.
    pub fn cseq(self, number: u32) -> Self {
        let mut value = number.to_string().into_bytes();
        value.push(b' ');
        value.extend_from_slice(self.method.as_bytes());
        self.header(HeaderName::CSeq, value)
    }

    pub fn max_forwards(self, hops: u8) -> Self {
        self.header(HeaderName::MaxForwards, hops.to_string())
    }

    pub fn header(mut self, name: HeaderName, value: impl Into<Value<'m>>) -> Self {
        self.lines.push(Made::known(name, value));
        self
    }

    pub fn raw_header(mut self, name: &'m str, value: impl Into<Value<'m>>) -> Self {
        self.lines.push(Made::raw(name, value));
        self
    }

    pub fn body(mut self, content_type: &'m str, body: impl Into<Bytes>) -> Self {
        self.lines
            .push(Made::known(HeaderName::ContentType, content_type));
        self.body = body.into();
        self
    }

    pub fn render(&self) -> Bytes {
        render(|sink| self.emit(sink), |sink| self.emit(sink))
    }

    fn emit(&self, sink: &mut impl Sink) {
        sink.put(self.method.as_bytes());
        sink.put(b" ");
        sink.put(self.uri.as_bytes());
        sink.put(b" SIP/2.0\r\n");
        emit_rest(sink, &self.lines, &self.body);
    }
}

fn emit_rest(sink: &mut impl Sink, lines: &[Made<'_>], body: &[u8]) {
    for line in lines
        .iter()
        .filter(|line| line.name != HeaderName::ContentLength)
    {
        line.emit(sink);
    }
    sink.put(b"Content-Length: ");
    sink.put_number(body.len());
    sink.put(b"\r\n\r\n");
    sink.put(body);
}
