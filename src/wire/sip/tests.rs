//! The first tier and the edits, on normal messages.

use bytes::Bytes;

use super::*;

const INVITE: &str = "INVITE sip:bob@biloxi.example.com;transport=tcp SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport, \
 SIP/2.0/TCP [2001:db8::9]:5061;branch=z9hG4bKb\r\n\
v: SIP / 2.0 / TLS pc33.example.com ;branch=z9hG4bKc;received=192.0.2.7\r\n\
Max-Forwards: 70\r\n\
From: \"A. \\\"Al\\\" B, C\" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n\
t: sip:bob@biloxi.example.com\r\n\
Call-ID: 3848276298220188511@atlanta.example.com\r\n\
CSeq: 1 INVITE\r\n\
Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>\r\n\
Contact: <sip:alice@client.atlanta.example.com;transport=tcp>;q=0.7;expires=60\r\n\
Supported: 100rel,\r\n\t timer\r\n\
X-Odd: caf\u{e9}\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 4\r\n\
\r\nv=0\ntrailing";

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).expect("parses")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_request_is_cut_into_its_parts() {
    let message = message(INVITE);
    assert_eq!(message.validate(), Ok(()));
    assert!(message.is_request());
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(
        message.request_uri(),
        b"sip:bob@biloxi.example.com;transport=tcp"
    );
    assert_eq!(message.body(), b"v=0\n");
    assert_eq!(message.bytes().len(), INVITE.len() - 8);
    assert_eq!(
        message.call_id(),
        b"3848276298220188511@atlanta.example.com"
    );
    assert_eq!(message.cseq().expect("cseq").number, 1);
    assert_eq!(message.max_forwards(), Ok(Some(70)));
    assert_eq!(message.header_by_str("x-odd"), Some("caf\u{e9}".as_bytes()));
    assert!(message.has_token(HeaderName::Supported, "timer"));
    assert_eq!(message.lines(HeaderName::Supported).count(), 1);
    assert_eq!(peek_call_id(INVITE.as_bytes()), Some(message.call_id()));
}

#[test]
fn vias_come_one_by_one() {
    let message = message(INVITE);
    let vias: Vec<_> = message.vias().map(|via| via.expect("via")).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!(message.top_via().expect("via"), vias[0]);
    assert_eq!(vias[0].rport(), Some(None));
    assert_eq!(vias[0].branch(), Some(b"z9hG4bKa".as_slice()));
    assert_eq!(vias[1].host().to_string(), "[2001:db8::9]");
    assert_eq!(vias[1].port(), Some(5061));
    assert_eq!(vias[2].transport(), b"TLS");
    assert_eq!(vias[2].received(), Some(b"192.0.2.7".as_slice()));
}

#[test]
fn addresses_are_read() {
    let message = message(INVITE);
    let from = message.from().expect("from");
    assert_eq!(
        from.display_unescaped().as_deref(),
        Some(b"A. \"Al\" B, C".as_slice())
    );
    assert_eq!(from.tag(), Some(b"9fxced76sl".as_slice()));
    assert_eq!(message.to().expect("to").tag(), None);
    assert_eq!(message.addresses(HeaderName::Route).count(), 2);
    let Ok(Contacts::List(mut list)) = message.contacts() else {
        panic!("a list")
    };
    let contact = list.next().expect("one").expect("good");
    assert_eq!(contact.q(), Ok(Some(700)));
    assert_eq!(contact.expires(), Ok(Some(60)));
    assert_eq!(
        contact.uri().expect("uri").transport(),
        Some(b"tcp".as_slice())
    );
}

#[test]
fn an_edit_changes_only_what_it_says() {
    let message = message(INVITE);
    let unchanged = Edit::new(&message).render();
    assert_eq!(text(&unchanged), text(message.bytes()));
    let mut edit = Edit::new(&message);
    edit.set_request_uri("sip:bob@192.0.2.4")
        .remove_first_value(HeaderName::Via)
        .prepend(HeaderName::Via, "SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKz")
        .remove_first_value(HeaderName::Route)
        .set(HeaderName::MaxForwards, "69")
        .prepend(HeaderName::RecordRoute, "<sip:192.0.2.99;lr>")
        .set_body(None, "v=0\r\n\r\n12");
    let out = edit.render();
    let made = Message::parse(out).expect("parses");
    assert_eq!(made.validate(), Ok(()));
    let vias: Vec<_> = made.vias().map(|via| via.expect("via").branch()).collect();
    let expected: [&[u8]; 3] = [b"z9hG4bKz", b"z9hG4bKb", b"z9hG4bKc"];
    assert_eq!(vias, expected.map(Some));
    assert_eq!(made.max_forwards(), Ok(Some(69)));
    assert_eq!(
        made.header(HeaderName::Route),
        Some(b"<sip:p2.example.com;lr>".as_slice())
    );
    assert_eq!(
        made.header(HeaderName::ContentLength),
        Some(b"9".as_slice())
    );
    assert_eq!(made.header_by_str("X-ODD"), message.header_by_str("X-Odd"));
    assert_eq!(made.body().len(), 9);
}

#[test]
fn a_response_copies_what_it_must() {
    let message = message(INVITE);
    let response = ResponseBuilder::new(&message, 180)
        .to_tag(b"4711")
        .record_route()
        .header(HeaderName::Contact, "<sip:me@192.0.2.9>")
        .render();
    let response = Message::parse(response).expect("parses");
    assert_eq!(response.validate(), Ok(()));
    assert_eq!(
        (response.status(), response.reason()),
        (180, b"Ringing".as_slice())
    );
    assert_eq!(response.method(), Method::Invite);
    assert_eq!(response.vias().count(), 3);
    assert_eq!(response.to().expect("to").tag(), Some(b"4711".as_slice()));
    assert_eq!(response.body(), b"");
}

#[test]
fn a_request_is_built() {
    let bytes = RequestBuilder::new(Method::Options, "sip:a@example.com")
        .via("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1")
        .from("<sip:x@example.com>;tag=1")
        .to("<sip:a@example.com>")
        .call_id("c1")
        .cseq(7)
        .max_forwards(70)
        .render();
    let message = Message::parse(bytes).expect("parses");
    assert_eq!(message.validate(), Ok(()));
    assert_eq!(message.method(), Method::Options);
}

#[test]
fn a_stream_is_framed() {
    let mut framer = Framer::new();
    let one = INVITE.strip_suffix("trailing").expect("suffix");
    let stream = format!("\r\n\r\n{one}{one}\r\n");
    let mut frames = Vec::new();
    for byte in stream.as_bytes() {
        framer.push(&[*byte]);
        while let Some(frame) = framer.next().expect("good") {
            frames.push(frame);
        }
    }
    framer.push(b"X");
    frames.extend(framer.next().expect("good"));
    assert_eq!(frames.len(), 5);
    assert_eq!(frames[..2], [Frame::Pong, Frame::Ping]);
    assert_eq!(frames[4], Frame::Pong);
    assert_eq!(
        frames[2],
        Frame::Message(Bytes::copy_from_slice(one.as_bytes()))
    );
    framer.push(b" y z\r\nContent-Length: -1\r\n\r\n");
    assert_eq!(framer.next(), Err(FrameError::BadContentLength));
}

#[test]
fn uris_compare_as_rfc_3261_says() {
    let same = |one: &str, two: &str| {
        let one = Uri::parse(one.as_bytes()).expect("one");
        let two = Uri::parse(two.as_bytes()).expect("two");
        one.matches(&two) && two.matches(&one)
    };
    // The examples of §19.1.4.
    assert!(same(
        "sip:%61lice@atlanta.com;transport=TCP",
        "sip:alice@AtLanTa.CoM;Transport=tcp"
    ));
    assert!(same(
        "sip:carol@chicago.com",
        "sip:carol@chicago.com;newparam=5"
    ));
    assert!(same(
        "sip:carol@chicago.com;security=on",
        "sip:carol@chicago.com;newparam=5"
    ));
    assert!(same(
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com"
    ));
    assert!(same(
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x"
    ));
    assert!(!same(
        "SIP:ALICE@AtLanTa.CoM;Transport=udp",
        "sip:alice@AtLanTa.CoM;Transport=UDP"
    ));
    assert!(!same("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"));
    assert!(!same(
        "sip:bob@biloxi.com",
        "sip:bob@biloxi.com;transport=udp"
    ));
    assert!(!same(
        "sip:carol@chicago.com",
        "sip:carol@chicago.com?Subject=next%20meeting"
    ));
    assert!(!same(
        "sip:carol@chicago.com;security=on",
        "sip:carol@chicago.com;security=off"
    ));
}

fn framed(stream: &str) -> Result<Option<Frame>, FrameError> {
    let mut framer = Framer::new();
    framer.push(stream.as_bytes());
    framer.next()
}

#[test]
fn a_stream_says_how_long_its_messages_are() {
    let with = |length: &str| framed(&format!("A b SIP/2.0\r\n{length}\r\n\r\n12345"));
    let Ok(Some(Frame::Message(bytes))) = with("Content-Length:\r\n\t 3") else {
        panic!("folded")
    };
    assert!(bytes.ends_with(b"\r\n\r\n123"));
    assert!(matches!(with("l:2\r\nL : 2"), Ok(Some(Frame::Message(_)))));
    assert_eq!(
        with("l: 2\r\nContent-Length: 3"),
        Err(FrameError::BadContentLength)
    );
    assert_eq!(with("l: 2, 2"), Err(FrameError::BadContentLength));
    assert_eq!(with("l: 1\r\n 2"), Err(FrameError::BadContentLength));
    assert_eq!(with("l: 65535"), Err(FrameError::TooLarge));
    assert_eq!(
        with("l: 99999999999999999999"),
        Err(FrameError::BadContentLength)
    );
    assert_eq!(with("X: 2"), Err(FrameError::NoContentLength));
    assert_eq!(with("l: 6"), Ok(None));
    assert_eq!(
        framed(&"x".repeat(MESSAGE_MAX + 1)),
        Err(FrameError::TooLarge)
    );
    assert_eq!(framed("A b SIP/2.0\r\nl: 0\r\n"), Ok(None));
}

#[test]
fn a_refusal_says_what_is_wrong() {
    let head = "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n\
                Call-ID: 1\r\n";
    let refusal = |first: &str, rest: &str| {
        message(&format!("{first}\r\n{head}{rest}\r\n\r\n"))
            .validate()
            .expect_err("refused")
    };
    let options = "OPTIONS sip:c@d SIP/2.0";
    let refused = |status, reason| Refusal::Answer { status, reason };
    let cases = [
        (
            options,
            "CSeq: 1 OPTIONS\r\nTo: <sip:e@f>",
            400,
            "Repeated To",
        ),
        (options, "X: y", 400, "Missing CSeq"),
        (options, "CSeq: 2147483648 OPTIONS", 400, "Malformed CSeq"),
        (
            options,
            "CSeq: 1 OPTIONS\r\nMax-Forwards: 256",
            400,
            "Malformed Max-Forwards",
        ),
        (
            options,
            "CSeq: 1 OPTIONS\r\nno colon",
            400,
            "Malformed Header Line",
        ),
        (
            options,
            "CSeq: 1 OPTIONS\r\nA: b\rc: d",
            400,
            "CR Without LF",
        ),
        (
            options,
            "CSeq: 1 OPTIONS\r\nl: 1",
            400,
            "Body Shorter Than Content-Length",
        ),
        (
            "OPTIONS sip:c@d SIP/3.0",
            "CSeq: 1 OPTIONS",
            505,
            "Version Not Supported",
        ),
        (
            "OPTIONS http://c SIP/2.0",
            "CSeq: 1 OPTIONS",
            416,
            "Unsupported URI Scheme",
        ),
        (
            "OPTIONS sip: SIP/2.0",
            "CSeq: 1 OPTIONS",
            400,
            "Bad Request-URI Host",
        ),
        (
            "OPTIONS sip:@d SIP/2.0",
            "CSeq: 1 OPTIONS",
            400,
            "Bad Request-URI User",
        ),
        (
            "OPTIONS sip:d:99999 SIP/2.0",
            "CSeq: 1 OPTIONS",
            400,
            "Bad Request-URI Port",
        ),
        (
            "OPTIONS sip:a%4@d SIP/2.0",
            "CSeq: 1 OPTIONS",
            400,
            "Bad Character in Request-URI",
        ),
    ];
    for (first, rest, status, reason) in cases {
        assert_eq!(
            refusal(first, rest),
            refused(status, reason),
            "{first} {rest}"
        );
    }
    // Nobody answers an ACK or a response.
    let ack = refusal("ACK sip:c@d SIP/2.0", "CSeq: 1 INVITE");
    assert_eq!(ack.status(), None);
    assert_eq!(refusal("SIP/2.0 200 OK", "CSeq: x").status(), None);
}
