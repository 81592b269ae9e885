//! The two SIP messages of the slide deck that this project answers, as they stand there.

use bytes::Bytes;
use voip::wire::sip::{HeaderName, Message};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_decks_register_is_read() {
    let bytes = include_bytes!("data/deck/register.dat");
    let message = Message::parse(Bytes::from_static(bytes)).expect("parses");
    assert_eq!(message.validate(), Ok(()));
    assert_eq!(
        message.from().expect("from").display(),
        Some(b"5744310188".as_slice())
    );
    let credentials = message.credentials(HeaderName::Authorization).next();
    let credentials = credentials.expect("one").expect("good");
    assert!(credentials.is_digest());
    assert_eq!(credentials.username(), Some(b"aaaaaaaaaa".as_slice()));
    assert_eq!(credentials.nonce().map(<[u8]>::len), Some(40));
    assert_eq!(credentials.algorithm(), Some(b"MD5".as_slice()));
    assert!(message.has_token(HeaderName::Allow, "NOTIFY"));
    assert!(message.has_token(HeaderName::Supported, "x-sipura"));
}

/// The slide shows 236 bytes of the 263 that its Content-Length counts: as a datagram it is short,
/// and RFC 3261 §18.3 has that refused. With the number mended, the rest reads.
#[test]
fn the_decks_invite_is_read() {
    let bytes = include_bytes!("data/deck/invite.dat");
    let refused = Message::parse(Bytes::from_static(bytes))
        .expect("parses")
        .validate();
    assert_eq!(refused.expect_err("short").status(), Some(400));
    let mended = text(bytes).replace("Content-Length: 263", "Content-Length: 236");
    let message = Message::parse(mended.into_bytes().into()).expect("parses");
    assert_eq!(message.validate(), Ok(()));
    assert_eq!(message.vias().count(), 2);
    assert_eq!(
        message.vias().nth(1).expect("two").expect("good").rport(),
        Some(Some(5060))
    );
    let route = message
        .addresses(HeaderName::RecordRoute)
        .next()
        .expect("one")
        .expect("good");
    assert_eq!(
        route.uri().expect("uri").param("lr"),
        Some(Some(b"on".as_slice()))
    );
    let party = message
        .addresses(HeaderName::RemotePartyId)
        .next()
        .expect("one")
        .expect("good");
    assert_eq!(party.param("privacy"), Some(Some(b"full".as_slice())));
    assert!(message.has_token(HeaderName::Privacy, "id"));
    assert_eq!(message.body().len(), 236);
}
