//! rsip 0.4 as an oracle: it does not share our faults. Where the two disagree, the RFC decides,
//! and the disagreement stands here with its reason.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use rsip::prelude::*;
use voip::wire::sip::{Contacts, Message, Method, Uri};

/// What both sides say about one message; `None` where the side cannot read it.
type Facts = Vec<(&'static str, Option<String>)>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn our_uri(uri: &Uri<'_>) -> String {
    let user = uri.user().map(text).unwrap_or_default();
    format!("{user}@{}:{}", uri.host(), uri.port().unwrap_or(0)).to_ascii_lowercase()
}

fn ours(message: &Message) -> Facts {
    let contact = || {
        let Ok(Contacts::List(mut list)) = message.contacts() else {
            return None;
        };
        list.next()?.ok()?.uri().ok().map(|uri| our_uri(&uri))
    };
    let request_uri = Uri::parse(message.request_uri()).ok();
    vec![
        (
            "method",
            (message.method() != Method::Other(b"")).then(|| message.method().to_string()),
        ),
        ("status", Some(message.status().to_string())),
        ("request-uri", request_uri.map(|uri| our_uri(&uri))),
        ("call-id", Some(text(message.call_id()))),
        (
            "cseq",
            message.cseq().ok().map(|cseq| cseq.number.to_string()),
        ),
        (
            "from",
            message
                .from()
                .ok()
                .and_then(|from| from.uri().ok())
                .map(|uri| our_uri(&uri)),
        ),
        (
            "from-tag",
            message.from().ok().and_then(|from| from.tag().map(text)),
        ),
        (
            "to",
            message
                .to()
                .ok()
                .and_then(|to| to.uri().ok())
                .map(|uri| our_uri(&uri)),
        ),
        (
            "to-tag",
            message.to().ok().and_then(|to| to.tag().map(text)),
        ),
        (
            "branch",
            message
                .top_via()
                .ok()
                .and_then(|via| via.branch().map(text)),
        ),
        (
            "via-host",
            message.top_via().ok().map(|via| via.host().to_string()),
        ),
        ("contact", contact()),
        (
            "hops",
            message
                .max_forwards()
                .ok()
                .flatten()
                .map(|hops| hops.to_string()),
        ),
        ("body", Some(message.body().len().to_string())),
    ]
}

fn their_uri(uri: &rsip::Uri) -> String {
    let user = uri
        .auth
        .as_ref()
        .map(|auth| auth.user.clone())
        .unwrap_or_default();
    let port = uri.port().map_or(0, |port| u16::from(*port));
    format!("{user}@{}:{port}", uri.host()).to_ascii_lowercase()
}

fn theirs(bytes: &[u8]) -> Option<Facts> {
    let message = rsip::SipMessage::try_from(bytes).ok()?;
    let (method, status, uri) = match &message {
        rsip::SipMessage::Request(request) => (
            Some(request.method.to_string()),
            0,
            Some(their_uri(&request.uri)),
        ),
        rsip::SipMessage::Response(response) => {
            let cseq = response
                .cseq_header()
                .ok()
                .and_then(|cseq| cseq.typed().ok());
            (
                cseq.map(|cseq| cseq.method.to_string()),
                response.status_code.code(),
                None,
            )
        }
    };
    let from = message
        .from_header()
        .ok()
        .and_then(|from| from.typed().ok());
    let to = message.to_header().ok().and_then(|to| to.typed().ok());
    let via = message.via_header().ok().and_then(|via| via.typed().ok());
    let contact = message
        .contact_header()
        .ok()
        .and_then(|contact| contact.typed().ok());
    let cseq = message
        .cseq_header()
        .ok()
        .and_then(|cseq| cseq.typed().ok());
    let hops = message
        .max_forwards_header()
        .ok()
        .and_then(|hops| hops.num().ok());
    Some(vec![
        ("method", method),
        ("status", Some(status.to_string())),
        ("request-uri", uri),
        (
            "call-id",
            message
                .call_id_header()
                .ok()
                .map(|id| id.value().to_owned()),
        ),
        ("cseq", cseq.map(|cseq| cseq.seq.to_string())),
        ("from", from.as_ref().map(|from| their_uri(&from.uri))),
        (
            "from-tag",
            from.as_ref()
                .and_then(|from| from.tag().map(ToString::to_string)),
        ),
        ("to", to.as_ref().map(|to| their_uri(&to.uri))),
        (
            "to-tag",
            to.as_ref().and_then(|to| to.tag().map(ToString::to_string)),
        ),
        (
            "branch",
            via.as_ref()
                .and_then(|via| via.branch().map(ToString::to_string)),
        ),
        (
            "via-host",
            via.as_ref().map(|via| via.uri.host().to_string()),
        ),
        ("contact", contact.map(|contact| their_uri(&contact.uri))),
        ("hops", hops.map(|hops| hops.to_string())),
        ("body", Some(message.body().len().to_string())),
    ])
}

fn files() -> Vec<PathBuf> {
    let folders = [
        "tests/data/rfc4475",
        "tests/data/rfc5118",
        "tests/data/deck",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)));
    let mut paths: Vec<_> = entries
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "dat"));
    paths.sort();
    paths
}

/// Each disagreement: messages, what differs (ours / theirs), and who is right.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "wsinv intmeth esc01 esc02 longreq semiuri",
        "read / refused",
        "RFC 4475 §3.1.1: valid; compact forms, folds, any token as method, semicolons in users",
    ),
    (
        "ipv6-good ipv6-in-sdp mult-ip-in-sdp port-ambiguous port-unambiguous \
         via-received-param-no-delim via-received-param-with-delim ipv6-bug-abnf-3-colons \
         ipv6-correct-abnf-2-colons",
        "read / refused",
        "RFC 5118: IPv6 references are hosts",
    ),
    (
        "ipv4-mapped-ipv6 mult-ip-in-header",
        "branch via-host contact",
        "RFC 5118: IPv6 references are hosts, in Via and Contact too",
    ),
    (
        "badaspec baddn badinv01 bcast clerr insuf ltgtruri mcl01 mismatch01 multi01 ncl novelsc \
         quotbal regbadct scalarlg",
        "refused / read",
        "RFC 4475: to be refused or dropped; rsip reads without judging",
    ),
    (
        "invite",
        "refused / read",
        "RFC 3261 §18.3: the body is shorter than Content-Length",
    ),
    ("dblreq", "call-id", "RFC 3261 §7.3.3: I is Call-ID"),
    (
        "dblreq",
        "body",
        "RFC 3261 §18.3: what follows Content-Length in a datagram is discarded",
    ),
    (
        "dblreq invut regaut01",
        "from to contact",
        "RFC 3261 §25.1: a user part may hold a dot, and an addr-spec needs no brackets",
    ),
    (
        "regescrt",
        "contact",
        "RFC 3261 §19.1.1: a Contact URI may carry headers",
    ),
    (
        "unksm2",
        "from to contact",
        "RFC 4475 §3.3.4: other schemes have no SIP host",
    ),
];

fn is_known(name: &str, fact: &str) -> bool {
    KNOWN.iter().any(|(names, facts, _)| {
        names.split_whitespace().any(|known| known == name)
            && (*facts == fact || facts.split_whitespace().any(|known| known == fact))
    })
}

/// What the two sides differ in.
fn differences(bytes: &[u8]) -> Vec<String> {
    let message = Message::parse(Bytes::copy_from_slice(bytes)).ok();
    let ours = message
        .filter(|message| message.validate().is_ok())
        .as_ref()
        .map(ours);
    match (ours, theirs(bytes)) {
        (Some(ours), Some(theirs)) => {
            let pairs = ours.into_iter().zip(theirs);
            let differing = pairs.filter(|((_, our), (_, their))| our != their);
            differing.map(|((fact, _), _)| fact.to_owned()).collect()
        }
        (Some(_), None) => vec!["read / refused".to_owned()],
        (None, Some(_)) => vec!["refused / read".to_owned()],
        (None, None) => Vec::new(),
    }
}

#[test]
fn each_disagreement_is_known_and_decided() {
    let mut names_seen = Vec::new();
    for path in files() {
        let name = path
            .file_stem()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        for fact in differences(&std::fs::read(&path).expect("file")) {
            assert!(
                is_known(&name, &fact),
                "{name} {fact}: decide by the RFC and list it"
            );
            names_seen.push(name.clone());
        }
    }
    for (names, ..) in KNOWN {
        for name in names.split_whitespace() {
            assert!(
                names_seen.iter().any(|seen| seen == name),
                "{name} is listed for nothing"
            );
        }
    }
}

const METHODS: [&str; 6] = [
    "INVITE",
    "OPTIONS",
    "REGISTER",
    "BYE",
    "SUBSCRIBE",
    "MESSAGE",
];

proptest! {
    /// Within what rsip knows of the grammar the two agree, whatever the names and numbers.
    #[test]
    fn on_plain_messages_both_agree(
        method in 0..METHODS.len(),
        user in "[a-z][a-z0-9_-]{0,12}",
        host in "[a-z][a-z0-9-]{0,8}[a-z0-9](\\.[a-z][a-z0-9]{1,6}){1,3}",
        port in 1u16..,
        tag in "[A-Za-z0-9]{1,16}",
        branch in "z9hG4bK[A-Za-z0-9]{1,20}",
        display in "[A-Za-z ]{0,12}",
        cseq in 0u32..0x7fff_ffff,
        hops in 0u8..,
        body in "[ -~]{0,60}",
    ) {
        let method = METHODS[method];
        let length = body.len();
        let text = format!(
            "{method} sip:{user}@{host}:{port} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {host}:{port};branch={branch}\r\n\
             From: \"{display}\" <sip:{user}@{host}>;tag={tag}\r\n\
             To: <sip:{user}@{host}:{port}>\r\n\
             Call-ID: {tag}@{host}\r\n\
             CSeq: {cseq} {method}\r\n\
             Max-Forwards: {hops}\r\n\
             Contact: <sip:{user}@{host};transport=udp>\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        prop_assert_eq!(differences(text.as_bytes()), Vec::<String>::new(), "{}", text);
    }
}
