//! The IPv6 torture messages of RFC 5118, at the parser; `expect.tsv` says what each gets.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use voip::wire::sip::{Message, Refusal};

const FOLDER: &str = "tests/data/rfc5118";

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

#[test]
fn every_message_gets_what_the_rfc_says() {
    let table = std::fs::read_to_string(path("expect.tsv")).expect("table");
    let rows: Vec<Vec<_>> = table
        .lines()
        .skip(1)
        .map(|row| row.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), 12);
    for row in rows {
        let message = Message::parse(bytes(row[0])).expect(row[0]);
        let status = message.validate().err().as_ref().and_then(Refusal::status);
        let expected = (row[2] == "refuse").then(|| row[3].parse().expect("status"));
        assert_eq!(status, expected, "{}", row[0]);
    }
}

#[test]
fn ipv6_references_are_read() {
    let read = |name: &str| Message::parse(bytes(name)).expect(name);
    let host = |name: &str| {
        let message = read(name);
        let uri = voip::wire::sip::Uri::parse(message.request_uri()).expect(name);
        (uri.host().to_string(), uri.port())
    };
    assert_eq!(host("port-ambiguous"), ("[2001:db8::10:5070]".into(), None));
    assert_eq!(
        host("port-unambiguous"),
        ("[2001:db8::10]".into(), Some(5070))
    );
    assert_eq!(
        host("ipv6-bug-abnf-3-colons"),
        host("ipv6-correct-abnf-2-colons")
    );
    for name in [
        "via-received-param-with-delim",
        "via-received-param-no-delim",
    ] {
        let received = read(name).top_via().expect(name).received_ip();
        assert_eq!(received, "2001:db8::9:255".parse().ok(), "{name}");
    }
    let mixed = read("mult-ip-in-header");
    let vias: Vec<_> = mixed
        .vias()
        .flatten()
        .map(|via| via.host().to_string())
        .collect();
    assert_eq!(vias, ["[2001:db8::9:1]", "192.0.2.1", "[2001:db8::9:255]"]);
}
