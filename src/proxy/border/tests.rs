use super::*;
use crate::peer::Credentials;
use crate::wire::sip::{Edit, HeaderName, Message};
use bytes::Bytes;

fn message(text: &str) -> Message {
    Message::parse(Bytes::from(text.replace('\n', "\r\n"))).unwrap()
}

const INVITE: &str = "INVITE sip:+34915550100@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKours
Via: SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKphone
Record-Route: <sip:edge.inside;lr>
Max-Forwards: 69
From: \"Ana\" <sip:100@example.com>;tag=a
To: <sip:+34915550100@example.com>
Call-ID: secret@10.0.0.5
CSeq: 7 INVITE
Contact: <sip:100@10.0.0.5:5060>
Replaces: other@10.0.0.6;to-tag=x;from-tag=y
Content-Length: 0

";

fn outer(call_id: &[u8]) -> Names {
    Names {
        call_id: call_id.into(),
        caller: b"<sip:5700020326@itsp.example>".as_slice().into(),
        callee: b"<sip:34915550100@itsp.example>".as_slice().into(),
    }
}

struct Outward {
    borders: Borders,
    key: Key,
    invite: Message,
}

impl Outward {
    fn new() -> Self {
        let mut borders = Borders::new(10, 1, 4);
        let call_id = borders.new_call_id(&mut Rng::from_u64(1));
        let invite = message(INVITE);
        let routes = vec![b"<sip:token@192.0.2.10;lr>".as_slice().into()];
        let contact = b"<sip:5700020326@192.0.2.10:5060>".as_slice().into();
        let border = Border::outward(&invite, outer(&call_id), contact, true, routes).unwrap();
        let key = borders.insert(border).unwrap();
        Self {
            borders,
            key,
            invite,
        }
    }

    fn veil(&mut self, inner: &Message) -> Message {
        let named = self.borders.named_dialogs(inner);
        let mut edit = Edit::new(inner);
        let via = b"SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKours".to_vec();
        let border = self.borders.get_mut(self.key).unwrap();
        border.veil_request(&mut edit, inner, via, named);
        Message::parse(edit.render()).unwrap()
    }

    fn answer(&mut self, status: &str, outside: &Message) -> Message {
        let text = format!(
            "SIP/2.0 {status}\nVia: {}\nRecord-Route: <sip:sbc.itsp.example;lr>\nFrom: {}\n\
             To: {};tag=far\nCall-ID: {}\nCSeq: {}\nContact: <sip:gw@198.51.100.1>\n\
             Content-Length: 0\n\n",
            text(outside, HeaderName::Via),
            text(outside, HeaderName::From),
            text(outside, HeaderName::To),
            text(outside, HeaderName::CallId),
            text(outside, HeaderName::CSeq),
        );
        let answer = message(&text);
        let border = self.borders.get_mut(self.key).unwrap();
        let bytes = border.unveil_response(&answer, &self.invite);
        Message::parse(bytes).unwrap()
    }
}

fn text(message: &Message, name: HeaderName) -> String {
    String::from_utf8_lossy(message.header(name).unwrap_or_default()).into_owned()
}

#[test]
fn nothing_of_the_inside_leaves() {
    let mut world = Outward::new();
    let invite = world.invite.clone();
    let outside = world.veil(&invite);
    let all = String::from_utf8_lossy(outside.bytes()).into_owned();
    for secret in [
        "10.0.0",
        "edge.inside",
        "secret@",
        "example.com>",
        "Replaces",
        "Ana",
    ] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    assert_eq!(outside.values(HeaderName::Via).count(), 1);
    assert_eq!(
        text(&outside, HeaderName::From),
        "<sip:5700020326@itsp.example>;tag=a"
    );
    assert_eq!(text(&outside, HeaderName::CSeq), "7 INVITE");
    let call_id = outside.call_id();
    assert_eq!(
        hash64(call_id) % 4,
        1,
        "the answer comes back to this shard"
    );
}

#[test]
fn the_inside_reads_what_a_proxy_would_have_passed() {
    let mut world = Outward::new();
    let outside = world.veil(&world.invite.clone());
    let inside = world.answer("200 OK", &outside);
    assert_eq!(inside.call_id(), b"secret@10.0.0.5");
    assert_eq!(
        text(&inside, HeaderName::From),
        "\"Ana\" <sip:100@example.com>;tag=a"
    );
    assert_eq!(
        text(&inside, HeaderName::To),
        "<sip:+34915550100@example.com>;tag=far"
    );
    let vias: Vec<_> = inside.values(HeaderName::Via).collect();
    assert_eq!(vias.len(), 3, "ours, and those of the request");
    let routes: Vec<_> = inside.values(HeaderName::RecordRoute).collect();
    assert_eq!(
        routes,
        [
            b"<sip:sbc.itsp.example;lr>".as_slice(),
            b"<sip:token@192.0.2.10;lr>"
        ]
    );
    assert_eq!(text(&inside, HeaderName::Contact), "<sip:gw@198.51.100.1>");
}

#[test]
fn each_challenge_counts_cseq_up_and_the_ack_follows_its_invite() {
    let mut world = Outward::new();
    world.veil(&world.invite.clone());
    world.borders.get_mut(world.key).unwrap().count_up();
    let again = world.veil(&world.invite.clone());
    assert_eq!(text(&again, HeaderName::CSeq), "8 INVITE");
    world.answer("200 OK", &again);
    let in_dialog = |method: &str, cseq: u32, extra: &str| {
        message(&format!(
            "{method} sip:gw@198.51.100.1 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bKx\n\
             From: <sip:100@example.com>;tag=a\nTo: <sip:x@example.com>;tag=far\n\
             Call-ID: secret@10.0.0.5\nCSeq: {cseq} {method}\n{extra}Content-Length: 0\n\n"
        ))
    };
    let prack = world.veil(&in_dialog("PRACK", 8, "RAck: 1 7 INVITE\n"));
    assert_eq!(text(&prack, HeaderName::RAck), "1 8 INVITE");
    assert_eq!(text(&prack, HeaderName::CSeq), "9 PRACK");
    // A challenge of another request in between does not move the ACK.
    world.borders.get_mut(world.key).unwrap().count_up();
    let ack = world.veil(&in_dialog("ACK", 7, ""));
    assert_eq!(text(&ack, HeaderName::CSeq), "8 ACK");
    let bye = in_dialog("BYE", 9, "");
    assert_eq!(world.borders.of_near(&bye), Some(world.key));
    assert_eq!(text(&world.veil(&bye), HeaderName::CSeq), "11 BYE");
}

#[test]
fn a_request_of_the_far_end_goes_where_the_caller_is() {
    let mut world = Outward::new();
    let outside = world.veil(&world.invite.clone());
    world.answer("200 OK", &outside);
    let bye = message(&format!(
        "BYE sip:5700020326@192.0.2.10:5060 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKf\n\
         Route: <sip:stale@198.51.100.1;lr>\nFrom: <sip:34915550100@itsp.example>;tag=far\n\
         To: <sip:5700020326@itsp.example>;tag=a\nCall-ID: {}\nCSeq: 1 BYE\nContent-Length: 0\n\n",
        text(&outside, HeaderName::CallId)
    ));
    assert_eq!(world.borders.of_far(&bye), Some(world.key));
    assert_eq!(world.borders.of_near(&bye), None);
    let border = world.borders.get(world.key).unwrap();
    let inside = Message::parse(border.unveil_request(&bye)).unwrap();
    assert_eq!(inside.request_uri(), b"sip:100@10.0.0.5:5060");
    assert_eq!(inside.call_id(), b"secret@10.0.0.5");
    assert_eq!(
        text(&inside, HeaderName::From),
        "<sip:+34915550100@example.com>;tag=far"
    );
    assert_eq!(
        text(&inside, HeaderName::To),
        "\"Ana\" <sip:100@example.com>;tag=a"
    );
    let routes: Vec<_> = inside.values(HeaderName::Route).collect();
    assert_eq!(routes, [b"<sip:token@192.0.2.10;lr>".as_slice()]);
    assert_eq!(
        inside.values(HeaderName::Via).count(),
        1,
        "the way back is untouched"
    );
    // Somebody who guessed the Call-ID is not the far end.
    let forged = String::from_utf8(bye.bytes().to_vec()).unwrap();
    let forged = Message::parse(forged.replace("tag=far", "tag=fax").into()).unwrap();
    assert_eq!(world.borders.of_far(&forged), None);
}

#[test]
fn a_call_that_comes_in_sees_one_endpoint() {
    let invite = message(
        "INVITE sip:915550100@192.0.2.10 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKf\n\
         Record-Route: <sip:sbc.itsp.example;lr>\nFrom: <sip:600@itsp.example>;tag=far\n\
         To: <sip:915550100@192.0.2.10>\nCall-ID: theirs\nCSeq: 5 INVITE\n\
         Contact: <sip:600@198.51.100.1>\nContent-Length: 0\n\n",
    );
    let names = Names::of(&invite).unwrap();
    let contact: Box<[u8]> = b"<sip:us@192.0.2.10>".as_slice().into();
    let mut border = Border::inward(&invite, names, contact, true).unwrap();
    let answer = message(
        "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKf\n\
         Record-Route: <sip:edge.inside;lr>, <sip:token@192.0.2.10;lr>, <sip:sbc.itsp.example;lr>\n\
         From: <sip:600@itsp.example>;tag=far\nTo: <sip:915550100@192.0.2.10>;tag=n\n\
         Call-ID: theirs\nCSeq: 5 INVITE\nContact: <sip:100@10.0.0.5>\nContent-Length: 0\n\n",
    );
    let mut edit = Edit::new(&answer);
    border.veil_response(&mut edit, &answer, &invite);
    let outside = Message::parse(edit.render()).unwrap();
    let routes: Vec<_> = outside.values(HeaderName::RecordRoute).collect();
    assert_eq!(routes, [b"<sip:sbc.itsp.example;lr>".as_slice()]);
    assert_eq!(text(&outside, HeaderName::Contact), "<sip:us@192.0.2.10>");
    // What the caller sends in the dialog finds the phone behind the inside's own proxy.
    let near = border.near(b"n").unwrap();
    assert_eq!(*near.target, *b"sip:100@10.0.0.5");
    let routes: Vec<&[u8]> = near.routes.iter().map(|r| &**r).collect();
    assert_eq!(
        routes,
        [
            b"<sip:token@192.0.2.10;lr>".as_slice(),
            b"<sip:edge.inside;lr>"
        ]
    );
}

#[test]
fn a_wrong_password_is_tried_once_and_an_old_nonce_again() {
    let challenge = |nonce: &str, extra: &str| {
        message(&format!(
            "SIP/2.0 401 Unauthorized\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKx\n\
             From: <sip:a@b>;tag=a\nTo: <sip:c@d>;tag=far\nCall-ID: x\nCSeq: 1 INVITE\n\
             WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\", algorithm=SHA-512\n\
             WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\"{extra}\n\
             Content-Length: 0\n\n"
        ))
    };
    let mut account = Account::new(Credentials::new("us", b"secret".as_slice().into()));
    assert!(account.prove(b"INVITE", "sip:x@y", "c").is_none());
    assert!(account.challenged(&challenge("one", "")));
    let (name, first) = account.prove(b"INVITE", "sip:x@y", "c").unwrap();
    assert_eq!(name, HeaderName::Authorization);
    assert!(
        first.contains("nonce=\"one\"") && first.contains("nc=00000001"),
        "{first}"
    );
    let (_, second) = account.prove(b"BYE", "sip:x@y", "c").unwrap();
    assert!(second.contains("nc=00000002"));
    assert!(
        !account.challenged(&challenge("one", "")),
        "the password is wrong"
    );
    assert!(account.challenged(&challenge("one", ", stale=true")));
    assert!(account.challenged(&challenge("two", "")));
}

#[test]
fn the_table_is_bounded_and_ends_with_its_calls() {
    let mut borders = Borders::new(2, 0, 1);
    let invite = message(INVITE);
    let make = |id: &[u8]| {
        let contact = b"<sip:x@y>".as_slice().into();
        Border::outward(&invite, outer(id), contact, true, Vec::new()).unwrap()
    };
    let one = borders.insert(make(b"1")).unwrap();
    assert!(borders.insert(make(b"2")).is_some());
    assert!(borders.insert(make(b"3")).is_none(), "the table is full");
    borders.discard(one);
    assert_eq!(borders.len(), 1);
    assert!(!borders.by_outer.contains_key(b"1".as_slice()));
}
