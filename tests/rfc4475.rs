//! The torture messages of RFC 4475, at the parser.
//!
//! `tests/data/rfc4475/expect.tsv` holds what each message gets, derived from the RFC's text; the
//! test against a running voipd reads the same table.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use voip::wire::sip::{
    Contacts, Edit, HeaderName, Host, Message, Method, NameAddr, Refusal, Scheme, unfold,
};

const FOLDER: &str = "tests/data/rfc4475";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(FOLDER)
        .join(name)
}

fn bytes(name: &str) -> Bytes {
    std::fs::read(path(&format!("{name}.dat")))
        .expect(name)
        .into()
}

fn message(name: &str) -> Message {
    Message::parse(bytes(name)).expect(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The rows of an expectation table: the line's columns.
fn rows() -> Vec<Vec<String>> {
    let table = std::fs::read_to_string(path("expect.tsv")).expect("table");
    let lines = table.lines().skip(1);
    lines
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

fn verdict(bytes: Bytes) -> (&'static str, String, &'static str) {
    let Ok(message) = Message::parse(bytes) else {
        return ("drop", "-".into(), "not SIP");
    };
    match message.validate() {
        Ok(()) => ("accept", "-".into(), ""),
        Err(Refusal::Answer { status, reason }) => ("refuse", status.to_string(), reason),
        Err(Refusal::Drop { reason }) => ("drop", "-".into(), reason),
    }
}

#[test]
fn every_message_gets_what_the_rfc_says() {
    let rows = rows();
    assert_eq!(rows.len(), 49);
    for row in &rows {
        let (got, status, reason) = verdict(bytes(&row[0]));
        assert_eq!(
            (got, &status),
            (row[2].as_str(), &row[3]),
            "{} ({reason})",
            row[0]
        );
    }
}

#[test]
fn what_is_accepted_goes_out_as_it_came() {
    for row in rows().iter().filter(|row| row[2] == "accept") {
        let message = message(&row[0]);
        let out = Edit::new(&message).render();
        // Without Content-Length (inv2543) the edit adds it; everything else is verbatim.
        match message.header(HeaderName::ContentLength) {
            Some(_) => assert_eq!(text(&out), text(message.bytes()), "{}", row[0]),
            None => assert_eq!(
                text(&out).replace("Content-Length: 105\r\n", ""),
                text(&bytes(&row[0]))
            ),
        }
    }
}

#[test]
fn wsinv_reads_in_all_its_whitespace() {
    let message = message("wsinv");
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.max_forwards(), Ok(Some(68)));
    assert_eq!(message.cseq().expect("cseq").number, 9);
    let from = message.from().expect("from");
    assert_eq!(
        from.display_unescaped().as_deref(),
        Some(b"J Rosenberg \\\"".as_slice())
    );
    assert_eq!(from.tag(), Some(b"98asjd8".as_slice()));
    let to = message.to().expect("to");
    assert_eq!(to.uri_bytes(), b"sip:vivekg@chair-dnrc.example.com");
    assert_eq!(to.tag(), Some(b"1918181833n".as_slice()));
    let vias: Vec<_> = message.vias().map(|via| via.expect("via")).collect();
    let branches: Vec<_> = vias
        .iter()
        .filter_map(|via| via.branch().map(text))
        .collect();
    assert_eq!(branches, ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]);
    assert_eq!(vias[2].host(), Host::V4([192, 168, 255, 111].into()));
    assert_eq!(message.header(HeaderName::Subject), Some(b"".as_slice()));
    let fangled = message
        .header_by_str("NewFangledHeader")
        .map(|value| unfold(value).into_owned());
    assert_eq!(
        fangled,
        Some(b"newfangled value continued newfangled value".to_vec())
    );
    let Ok(Contacts::List(mut contacts)) = message.contacts() else {
        panic!("contacts")
    };
    let contact = contacts.next().expect("one").expect("good");
    assert_eq!(
        contact.param("newparam"),
        Some(Some(b"newvalue".as_slice()))
    );
    assert_eq!(contact.param("secondparam"), Some(None));
    assert_eq!(contact.q(), Ok(Some(330)));
    let route = message
        .addresses(HeaderName::Route)
        .next()
        .expect("one")
        .expect("good");
    let uri = route.uri().expect("uri");
    assert_eq!(uri.param("lr"), Some(None));
    assert_eq!(uri.param("unknownwith"), Some(Some(b"value".as_slice())));
}

#[test]
fn intmeth_keeps_every_byte() {
    let message = message("intmeth");
    assert_eq!(
        message.method(),
        Method::Other(b"!interesting-Method0123456789_*+`.%indeed'~")
    );
    let to = message.to().expect("to");
    assert_eq!(
        to.display_unescaped().as_deref(),
        Some(b"BEL:\x07 NUL:\0 DEL:\x7f".as_slice())
    );
    let uri = to.uri().expect("uri");
    let user = b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*";
    assert_eq!(uri.user(), Some(user.as_slice()));
    let request_uri = voip::wire::sip::Uri::parse(message.request_uri()).expect("uri");
    assert_eq!(request_uri.user(), Some(user.as_slice()));
    let password = b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)";
    assert_eq!(request_uri.password(), Some(password.as_slice()));
}

#[test]
fn escapes_are_data() {
    let message_1 = message("esc01");
    let uri = voip::wire::sip::Uri::parse(message_1.request_uri()).expect("uri");
    assert_eq!(uri.scheme(), Scheme::Sip);
    assert_eq!(uri.user_unescaped().as_ref(), b"sips:user@example.com");
    let to = message_1.to().expect("to").uri().expect("uri");
    assert!(to.matches(&voip::wire::sip::Uri::parse(b"sip:user@example.com").expect("uri")));
    let message_2 = message("esc02");
    assert_eq!(message_2.method(), Method::Other(b"RE%47IST%45R"));
    assert_eq!(message_2.lines(HeaderName::Contact).count(), 2);
    let message_3 = message("escnull");
    let uris: Vec<_> = message_3.addresses(HeaderName::Contact).flatten().collect();
    let [one, two] = uris.as_slice() else {
        panic!("two contacts")
    };
    assert_eq!(one.uri().expect("uri").user_unescaped().as_ref(), b"\0");
    assert!(!one.uri().expect("one").matches(&two.uri().expect("two")));
}

#[test]
fn a_user_part_may_hold_semicolons() {
    let message = message("semiuri");
    let uri = voip::wire::sip::Uri::parse(message.request_uri()).expect("uri");
    assert_eq!(uri.user_unescaped().as_ref(), b"user;par=u@example.net");
    assert_eq!(uri.host(), Host::Name(b"example.com"));
    assert_eq!(uri.params().count(), 0);
}

#[test]
fn contact_parameters_stay_where_they_are() {
    let first = |name: &str| {
        message(name)
            .lines(HeaderName::Contact)
            .next()
            .map(<[u8]>::to_vec)
    };
    let outside = first("cparam01").expect("contact");
    let outside = NameAddr::parse(&outside).expect("good");
    assert_eq!(outside.param("unknownparam"), Some(None));
    assert_eq!(outside.uri().expect("uri").param("unknownparam"), None);
    let inside = first("cparam02").expect("contact");
    let inside = NameAddr::parse(&inside).expect("good");
    assert_eq!(inside.param("unknownparam"), None);
    assert_eq!(inside.uri().expect("uri").param("unknownparam"), Some(None));
    let header = first("regescrt").expect("contact");
    let header = NameAddr::parse(&header).expect("good").uri().expect("uri");
    let expected = (
        b"Route".as_slice(),
        Some(b"%3Csip:sip.example.com%3E".as_slice()),
    );
    assert_eq!(header.headers().next(), Some(expected));
}

#[test]
fn bodies_responses_and_rests() {
    assert_eq!(message("mpart01").body().len(), 553);
    assert_eq!(message("noreason").reason(), b"");
    assert!(text(message("unreason").reason()).starts_with("= 2**3 * 5**2 но сто"));
    assert!(
        message("dblreq")
            .bytes()
            .ends_with(b"Content-Length: 0\r\n\r\n")
    );
    let transports = message("transports");
    let names: Vec<_> = transports
        .vias()
        .flatten()
        .map(|via| text(via.transport()))
        .collect();
    assert_eq!(names, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
    let authorization = message("regaut01");
    let credentials = authorization
        .credentials(HeaderName::Authorization)
        .next()
        .expect("one");
    assert_eq!(credentials.expect("good").scheme(), b"NoOneKnowsThisScheme");
    assert_eq!(message("inv2543").max_forwards(), Ok(None));
    assert!(message("scalar02").expires().is_err());
}
