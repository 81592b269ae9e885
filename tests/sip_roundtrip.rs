//! What is built reads back as it was meant, and what is edited is what was asked for.

use std::borrow::Cow;

use bytes::Bytes;
use proptest::prelude::*;
use voip::wire::sip::{
    Contacts, Edit, Frame, Framer, HeaderName, Host, Message, Method, NameAddr, RequestBuilder,
    ResponseBuilder, Uri, unescape_quoted, unfold,
};

const METHODS: [Method<'static>; 8] = [
    Method::Invite,
    Method::Register,
    Method::Options,
    Method::Bye,
    Method::Prack,
    Method::Subscribe,
    Method::Other(b"FOO"),
    Method::Other(b"a!%*_+`'~.-9"),
];

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9.!%*_+`'~-]{1,12}"
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,8}[a-z0-9](\\.[a-z][a-z0-9]{1,5}){0,3}",
        any::<[u8; 4]>().prop_map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
        any::<[u16; 8]>().prop_map(|parts| format!("[{}]", std::net::Ipv6Addr::from(parts))),
    ]
}

/// A user part with everything that may stand there unescaped, and escapes.
fn user() -> impl Strategy<Value = String> {
    "([A-Za-z0-9_.!~*'()&=+$,;?/-]|%[0-9A-F]{2}){1,16}"
}

fn uri() -> impl Strategy<Value = String> {
    let params = "(;[a-z]{1,5}(=[A-Za-z0-9./:-]{1,8})?){0,3}";
    let headers = "(\\?[a-z]{1,5}=[a-z0-9%]{0}[a-z0-9]{0,8}(&[a-z]{1,5}=[a-z0-9]{0,6}){0,2})?";
    let port = proptest::option::of(1u16..);
    (
        any::<bool>(),
        proptest::option::of(user()),
        host(),
        port,
        params,
        headers,
    )
        .prop_map(|(secure, user, host, port, params, headers)| {
            let scheme = if secure { "sips" } else { "sip" };
            let user = user.map(|user| format!("{user}@")).unwrap_or_default();
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            format!("{scheme}:{user}{host}{port}{params}{headers}")
        })
}

/// Text of any bytes that a quoted string can carry once escaped.
fn display() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(
        (1u8..).prop_filter("line ends", |b| !b"\r\n".contains(b)),
        0..16,
    )
}

fn quote(text: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    quoted
}

#[derive(Debug, Clone)]
struct Plan {
    method: usize,
    uri: String,
    vias: Vec<(String, Option<u16>, String)>,
    from: (Vec<u8>, String, String),
    to: String,
    call_id: String,
    cseq: u32,
    hops: u8,
    contacts: Vec<(String, u16)>,
    other: Vec<(String, String)>,
    body: Vec<u8>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let via = (host(), proptest::option::of(1u16..), token());
    let address = (
        0..METHODS.len(),
        uri(),
        proptest::collection::vec(via, 1..4),
        (display(), uri(), token()),
        uri(),
        token(),
    );
    let rest = (
        0u32..0x7fff_ffff,
        any::<u8>(),
        proptest::collection::vec((uri(), 0u16..=1000), 0..4),
        proptest::collection::vec(("X-[A-Za-z]{1,8}", "[!-~]([ -~]{0,20}[!-~])?"), 0..4),
        proptest::collection::vec(any::<u8>(), 0..200),
    );
    (address, rest).prop_map(|(address, rest)| {
        let (method, uri, vias, from, to, call_id) = address;
        let (cseq, hops, contacts, other, body) = rest;
        Plan {
            method,
            uri,
            vias,
            from,
            to,
            call_id,
            cseq,
            hops,
            contacts,
            other,
            body,
        }
    })
}

fn build(plan: &Plan) -> Bytes {
    let mut builder = RequestBuilder::new(METHODS[plan.method], &plan.uri);
    for (host, port, branch) in &plan.vias {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        builder = builder.via(format!("SIP/2.0/UDP {host}{port};branch={branch};rport"));
    }
    let mut from = quote(&plan.from.0);
    from.extend_from_slice(format!(" <{}>;tag={}", plan.from.1, plan.from.2).as_bytes());
    builder = builder
        .from(from)
        .to(format!("<{}>", plan.to))
        .call_id(&plan.call_id)
        .cseq(plan.cseq)
        .max_forwards(plan.hops);
    for (uri, q) in &plan.contacts {
        let q = format!("{}.{:03}", q / 1000, q % 1000);
        builder = builder.header(HeaderName::Contact, format!("<{uri}>;q={q};expires=60"));
    }
    for (name, value) in &plan.other {
        builder = builder.raw_header(name, value);
    }
    builder
        .body("application/octet-stream", plan.body.clone())
        .render()
}

/// A Request-URI carries no headers.
fn without_headers(mut plan: Plan) -> Plan {
    if let Some((uri, _)) = plan.uri.split_once('@')
        && !uri.is_empty()
    {
        let at = plan.uri.find('@').unwrap_or(0);
        if let Some(mark) = plan.uri[at..].find('?') {
            plan.uri.truncate(at + mark);
        }
    } else if let Some(mark) = plan.uri.find('?') {
        plan.uri.truncate(mark);
    }
    plan
}

proptest! {
    #[test]
    fn a_built_request_reads_back(plan in plan().prop_map(without_headers)) {
        let message = Message::parse(build(&plan)).expect("parses");
        prop_assert_eq!(message.validate(), Ok(()));
        prop_assert_eq!(message.method(), METHODS[plan.method]);
        prop_assert_eq!(message.request_uri(), plan.uri.as_bytes());
        for (via, (host, port, branch)) in message.vias().zip(&plan.vias) {
            let via = via.expect("via");
            prop_assert_eq!(via.host().to_string(), host.as_str());
            prop_assert_eq!(via.port(), *port);
            prop_assert_eq!(via.branch(), Some(branch.as_bytes()));
            prop_assert_eq!(via.rport(), Some(None));
        }
        let from = message.from().expect("from");
        prop_assert_eq!(from.display_unescaped(), Some(Cow::Borrowed(plan.from.0.as_slice())));
        prop_assert_eq!(from.uri_bytes(), plan.from.1.as_bytes());
        prop_assert_eq!(from.tag(), Some(plan.from.2.as_bytes()));
        prop_assert_eq!(message.to().expect("to").tag(), None);
        prop_assert_eq!(message.call_id(), plan.call_id.as_bytes());
        prop_assert_eq!(message.cseq().expect("cseq").number, plan.cseq);
        prop_assert_eq!(message.max_forwards(), Ok(Some(plan.hops)));
        match message.contacts().expect("contacts") {
            Contacts::None => prop_assert!(plan.contacts.is_empty()),
            Contacts::Star => prop_assert!(false, "no star was sent"),
            Contacts::List(list) => {
                for (contact, (uri, q)) in list.zip(&plan.contacts) {
                    let contact = contact.expect("contact");
                    prop_assert_eq!(contact.uri_bytes(), uri.as_bytes());
                    prop_assert_eq!(contact.q(), Ok(Some(*q)));
                    prop_assert_eq!(contact.expires(), Ok(Some(60)));
                }
            }
        }
        prop_assert_eq!(message.body(), plan.body.as_slice());
        prop_assert_eq!(&Edit::new(&message).render(), message.bytes());
    }

    #[test]
    fn a_response_carries_the_request_back(plan in plan(), status in 100u16..700, tag in token()) {
        let message = Message::parse(build(&without_headers(plan.clone()))).expect("parses");
        let response = ResponseBuilder::new(&message, status).to_tag(tag.as_bytes()).render();
        let response = Message::parse(response).expect("parses");
        prop_assert_eq!(response.status(), status);
        prop_assert!(response.values(HeaderName::Via).eq(message.values(HeaderName::Via)));
        prop_assert_eq!(response.to().expect("to").tag(), Some(tag.as_bytes()));
        prop_assert_eq!(response.from(), message.from());
        prop_assert_eq!(response.cseq(), message.cseq());
        prop_assert_eq!(response.method(), message.method());
    }

    /// Pushing a Via and popping it leaves the message as it was.
    #[test]
    fn a_hop_there_and_back(plan in plan().prop_map(without_headers)) {
        let message = Message::parse(build(&plan)).expect("parses");
        let mut edit = Edit::new(&message);
        edit.prepend(HeaderName::Via, "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKhop");
        let there = Message::parse(edit.render()).expect("parses");
        prop_assert_eq!(there.top_via().expect("via").branch(), Some(b"z9hG4bKhop".as_slice()));
        let mut edit = Edit::new(&there);
        edit.remove_first_value(HeaderName::Via);
        prop_assert_eq!(&edit.render(), message.bytes());
    }

    /// Any pieces of a stream give the messages that were sent.
    #[test]
    fn a_stream_in_any_pieces(plans in proptest::collection::vec(plan(), 1..4), cut in 1usize..200) {
        let sent: Vec<Bytes> = plans.iter().map(build).collect();
        let stream = sent.concat();
        let mut framer = Framer::new();
        let mut got = Vec::new();
        for piece in stream.chunks(cut) {
            framer.push(piece);
            while let Some(frame) = framer.next().expect("good") {
                got.push(frame);
            }
        }
        prop_assert!(!framer.pending());
        prop_assert_eq!(got, sent.into_iter().map(Frame::Message).collect::<Vec<_>>());
    }

    #[test]
    fn a_uri_reads_back(text in uri()) {
        let uri = Uri::parse(text.as_bytes()).expect("good");
        prop_assert!(uri.matches(&uri));
        prop_assert_eq!(uri.as_bytes(), text.as_bytes());
        prop_assert!(!matches!(uri.host(), Host::Name(b"")));
        let upper = text.to_ascii_uppercase().replacen("SIP", "sip", 1);
        let other = Uri::parse(upper.as_bytes()).expect("good");
        prop_assert!(other.host().matches(&uri.host()));
        let address = format!("<{text}>;x=1");
        let address = NameAddr::parse(address.as_bytes()).expect("good");
        prop_assert_eq!(address.uri_bytes(), text.as_bytes());
    }

    #[test]
    fn quoting_is_undone(text in display()) {
        let quoted = quote(&text);
        let inner = quoted.get(1..quoted.len() - 1).expect("quotes");
        prop_assert_eq!(unescape_quoted(inner).into_owned(), text);
    }

    /// A fold is white space, wherever it stands.
    #[test]
    fn folds_are_spaces(words in proptest::collection::vec("[!-9;-~]{1,8}", 1..6)) {
        let folded = words.join("\r\n\t ");
        prop_assert_eq!(unfold(folded.as_bytes()).into_owned(), words.join(" ").into_bytes());
        let text = format!(
            "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bKd\r\nFrom: <sip:e@f>;tag=g\r\n\
             To: <sip:a@b>\r\nCall-ID: h\r\nCSeq: 1 OPTIONS\r\nSubject: {folded}\r\nX-Last: i\r\n\r\n"
        );
        let message = Message::parse(text.into_bytes().into()).expect("parses");
        prop_assert_eq!(message.validate(), Ok(()));
        prop_assert_eq!(message.header(HeaderName::Subject), Some(folded.as_bytes()));
        prop_assert_eq!(message.header_by_str("x-last"), Some(b"i".as_slice()));
    }
}
