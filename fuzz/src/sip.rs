//! SIP messages and the small parts of their headers.

use bytes::Bytes;
use voip::wire::sip::{
    Challenge, Contacts, Credentials, Edit, Frame, FrameError, Framer, HeaderName, Message,
    NameAddr, ResponseBuilder, Uri, Via, peek_call_id, unfold,
};

/// Parser, views, edits, builder and framer.
pub fn message(bytes: &[u8]) {
    framer(bytes);
    let Ok(message) = Message::parse(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    if message.has(HeaderName::CallId) {
        assert_eq!(peek_call_id(bytes), Some(message.call_id()));
    }
    views(&message);
    let again = Message::parse(message.bytes().clone()).expect("what was parsed parses");
    assert_eq!(again.validate(), message.validate());
    assert_eq!(again.bytes(), message.bytes());
    if message.validate().is_ok() {
        edits(&message);
        if message.is_request() {
            responses(&message);
        }
    }
}

/// The same bytes in any pieces give the same frames.
fn framer(bytes: &[u8]) {
    let whole = frames(&[bytes]);
    let (head, tail) = bytes.split_at(bytes.len() / 3);
    assert_eq!(frames(&[head, tail]), whole);
    let pieces: Vec<&[u8]> = bytes.chunks(7).collect();
    assert_eq!(frames(&pieces), whole);
    for frame in whole.0 {
        let Some(frame) = frame else { continue };
        // A frame is cut where the parser cuts it too, if it is a message at all.
        if let Ok(message) = Message::parse(frame.clone()) {
            assert!(frame.ends_with(message.bytes()));
        }
    }
}

/// The messages only: a ping in two pieces counts otherwise than in one.
fn frames(pieces: &[&[u8]]) -> (Vec<Option<Bytes>>, Option<FrameError>) {
    let mut framer = Framer::new();
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next() {
                Ok(Some(Frame::Message(bytes))) => found.push(Some(bytes)),
                Ok(Some(Frame::Ping | Frame::Pong)) => {}
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

fn views(message: &Message) {
    let _ = (
        message.method(),
        message.request_uri(),
        message.status(),
        message.reason(),
    );
    let _ = (
        message.cseq(),
        message.max_forwards(),
        message.expires(),
        message.content_type(),
    );
    let _ = message.validate();
    for header in message.headers() {
        let unfolded = unfold(header.value);
        assert!(!unfolded.contains(&b'\n'), "a fold is left");
        for value in message.values(header.name) {
            let _ = (NameAddr::parse(value), Via::parse(value));
        }
        small_parts(header.value);
    }
    for via in message.vias().flatten() {
        via_parts(&via);
    }
    for address in [message.from(), message.to()].into_iter().flatten() {
        address_parts(&address);
    }
    if let Ok(Contacts::List(contacts)) = message.contacts() {
        contacts
            .flatten()
            .for_each(|contact| address_parts(&contact));
    }
    for name in [HeaderName::Route, HeaderName::RecordRoute, HeaderName::Path] {
        message
            .addresses(name)
            .flatten()
            .for_each(|route| address_parts(&route));
    }
    for name in [
        HeaderName::Require,
        HeaderName::Supported,
        HeaderName::Allow,
    ] {
        assert!(message.tokens(name).all(|token| !token.is_empty()));
    }
}

/// An edit without changes changes nothing but a Content-Length that is missing; a forwarded message
/// is as good as the one that came.
fn edits(message: &Message) {
    let same = Message::parse(Edit::new(message).render()).expect("renders");
    assert_eq!(same.validate(), Ok(()));
    assert_eq!(same.body(), message.body());
    let lines = |message: &Message| {
        let lines = message
            .headers()
            .filter(|header| header.name != HeaderName::ContentLength);
        lines
            .map(|header| (header.raw_name.to_vec(), header.value.to_vec()))
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&same), lines(message));
    let vias = message.vias().count();
    let mut edit = Edit::new(message);
    edit.prepend(HeaderName::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKfuzz")
        .set(HeaderName::MaxForwards, "69")
        .remove_first_value(HeaderName::Route)
        .prepend(HeaderName::RecordRoute, "<sip:192.0.2.1;lr>")
        .replace_first_value(HeaderName::Contact, "<sip:me@192.0.2.1>")
        .append_raw("X-Fuzz", "1")
        .set_body(Some("text/plain"), "hello");
    let sent = Message::parse(edit.render()).expect("renders");
    // A second Via is not looked at before a response has to go there.
    if message.is_request() {
        assert_eq!(sent.validate(), Ok(()));
    }
    assert_eq!(sent.vias().count(), vias + 1);
    assert_eq!(sent.body(), b"hello");
    assert_eq!(sent.call_id(), message.call_id());
    let mut edit = Edit::new(&sent);
    edit.remove_first_value(HeaderName::Via);
    let back = Message::parse(edit.render()).expect("renders");
    assert_eq!(back.vias().count(), vias);
    let top = |message: &Message| message.values(HeaderName::Via).next().map(<[u8]>::to_vec);
    assert_eq!(top(&back), top(message));
}

fn responses(request: &Message) {
    let response = ResponseBuilder::new(request, 200)
        .to_tag("fuzz")
        .record_route()
        .render();
    let response = Message::parse(response).expect("renders");
    assert_eq!(response.status(), 200);
    assert_eq!(response.call_id(), request.call_id());
    assert_eq!(response.cseq(), request.cseq());
    assert_eq!(response.vias().count(), request.vias().count());
    let tag = response.to().expect("to").tag().map(<[u8]>::to_vec);
    let asked = request.to().expect("to");
    if asked.param("tag").is_none() {
        assert_eq!(tag.as_deref(), Some(b"fuzz".as_slice()));
    }
}

/// URIs, addresses, Vias and credentials, each from the bytes as they are.
pub fn uri(bytes: &[u8]) {
    small_parts(bytes);
    let mut lines = bytes.split(|byte| *byte == b'\n');
    if let (Some(Ok(one)), Some(Ok(two))) =
        (lines.next().map(Uri::parse), lines.next().map(Uri::parse))
    {
        assert_eq!(one.matches(&two), two.matches(&one));
    }
}

fn small_parts(bytes: &[u8]) {
    if let Ok(uri) = Uri::parse(bytes) {
        uri_parts(&uri);
    }
    if let Ok(address) = NameAddr::parse(bytes) {
        address_parts(&address);
    }
    if let Ok(via) = Via::parse(bytes) {
        via_parts(&via);
    }
    if let Ok(credentials) = Credentials::parse(bytes) {
        let _ = (
            credentials.username(),
            credentials.nc(),
            credentials.response(),
        );
        credentials.params().for_each(drop);
    }
    if let Ok(challenge) = Challenge::parse(bytes) {
        let _ = (challenge.realm(), challenge.stale());
    }
}

fn uri_parts(uri: &Uri<'_>) {
    assert!(uri.matches(uri), "a URI equals itself");
    let _ = (
        uri.user_unescaped(),
        uri.host().to_string(),
        uri.port(),
        uri.transport(),
    );
    uri.params().for_each(drop);
    uri.headers().for_each(drop);
}

fn address_parts(address: &NameAddr<'_>) {
    let _ = (
        address.display_unescaped(),
        address.q(),
        address.expires(),
        address.tag(),
    );
    address.params().for_each(drop);
    if let Ok(uri) = address.uri() {
        uri_parts(&uri);
    }
}

fn via_parts(via: &Via<'_>) {
    assert_eq!(Via::parse(via.as_bytes()).as_ref(), Ok(via));
    let _ = (
        via.branch(),
        via.received_ip(),
        via.rport(),
        via.host().to_string(),
    );
    via.params().for_each(drop);
}
