//! Dialogs: Record-Route, flow tokens, what follows in them: RFC 3261 §16.6 and §16.12, RFC 5626 §5.3,
//! RFC 5658.

use crate::world::{Peer, Req, TRUSTED, World, header, req, text, values};
use voip::base::Destination;
use voip::server::Input;
use voip::store::Record;
use voip::wire::sip::{HeaderName, Message, Method, ResponseBuilder};

/// An established call, as both phones see it.
struct Call {
    caller: Peer,
    callee: Peer,
    invite: Message,
    answer: Message,
}

/// 100 calls 200, who answers.
fn call(w: &mut World, caller: Peer, callee: Peer) -> Call {
    w.register("200", &callee, "");
    let contact = format!("Contact: {}", caller.contact("100"));
    let request = req("INVITE", "sip:200@example.com").extra(&contact);
    w.send_proven(&caller, &request, "100");
    let invite = w.take(&callee);
    w.answer(&callee, &invite, 180, "t");
    assert_eq!(w.status(&caller), 180);
    w.answer(&callee, &invite, 200, "t");
    let answer = w.take(&caller);
    assert_eq!(answer.status(), 200);
    w.nothing();
    Call {
        caller,
        callee,
        invite,
        answer,
    }
}

fn target(message: &Message) -> String {
    let contact = message
        .addresses(HeaderName::Contact)
        .next()
        .unwrap()
        .unwrap();
    text(contact.uri_bytes())
}

impl Call {
    /// A request of the caller, along its route set (the answer's Record-Route, backwards).
    fn by_caller(&self, w: &mut World, method: &str, cseq: u32) {
        let mut routes = values(&self.answer, HeaderName::RecordRoute);
        routes.reverse();
        let uri = target(&self.answer);
        let branch = format!("z9hG4bKc{method}{cseq}");
        let mut request = req(method, &uri);
        (request.to_tag, request.cseq, request.branch) = ("t", cseq, &branch);
        w.send(&self.caller, &with_routes(request, &routes));
    }

    /// A request of the callee, along its route set (the INVITE's Record-Route).
    fn by_callee(&self, w: &mut World, method: &str, cseq: u32) {
        let routes = values(&self.invite, HeaderName::RecordRoute);
        let uri = target(&self.invite);
        let branch = format!("z9hG4bKd{method}{cseq}");
        let mut request = req(method, &uri);
        (request.from, request.to) = ("sip:200@example.com", "sip:100@example.com");
        (request.from_tag, request.to_tag) = ("t", "f1");
        (request.cseq, request.branch) = (cseq, &branch);
        w.send(&self.callee, &with_routes(request, &routes));
    }
}

fn with_routes<'a>(mut request: Req<'a>, routes: &[String]) -> Req<'a> {
    for route in routes {
        request = request.extra(&format!("Route: {route}"));
    }
    request
}

/// ACK, a request in each direction, BYE; each arrives at the other phone without our Route.
fn talk(w: &mut World, call: &Call) {
    call.by_caller(w, "ACK", 2);
    let ack = w.take_sent(&call.callee);
    assert_eq!(ack.message.method(), Method::Ack);
    assert!(!ack.message.has(HeaderName::Route), "{:?}", ack.message);
    assert_eq!(text(ack.message.request_uri()), target(&call.answer));
    call.by_callee(w, "INFO", 7);
    let info = w.take_sent(&call.caller);
    assert!(!info.message.has(HeaderName::Route));
    assert_eq!(text(info.message.request_uri()), target(&call.invite));
    w.answer(&call.caller, &info.message, 200, "f1");
    assert_eq!(w.status(&call.callee), 200);
    call.by_caller(w, "BYE", 3);
    let bye = w.take(&call.callee);
    assert_eq!(bye.method(), Method::Bye);
    w.answer(&call.callee, &bye, 200, "t");
    assert_eq!(w.status(&call.caller), 200);
    w.nothing();
    w.wait_s(40);
    assert_eq!(w.core.load(), (0, 0), "transactions and calls left");
    let cdrs = w.records.iter().filter(|r| matches!(r, Record::Cdr(_)));
    assert_eq!(cdrs.count(), 1);
}

#[test]
fn plain_phones_over_udp() {
    let mut w = World::new();
    let (caller, callee) = (
        Peer::udp("203.0.113.1:5060"),
        Peer::udp("203.0.113.21:5060"),
    );
    let call = call(&mut w, caller, callee);
    assert_eq!(values(&call.invite, HeaderName::RecordRoute).len(), 1);
    talk(&mut w, &call);
}

#[test]
fn both_behind_a_nat() {
    let mut w = World::new();
    let caller = Peer::nat("192.168.1.5:5060", "203.0.113.1:40001");
    let callee = Peer::nat("192.168.1.5:5060", "203.0.113.21:50002");
    let call = call(&mut w, caller, callee);
    assert_eq!(values(&call.invite, HeaderName::RecordRoute).len(), 2);
    talk(&mut w, &call);
}

#[test]
fn the_caller_behind_a_nat() {
    let mut w = World::new();
    let caller = Peer::nat("192.168.1.5:5060", "203.0.113.1:40001");
    let callee = Peer::udp("203.0.113.21:5060");
    let call = call(&mut w, caller, callee);
    talk(&mut w, &call);
}

#[test]
fn the_callee_behind_a_nat() {
    let mut w = World::new();
    let caller = Peer::udp("203.0.113.1:5060");
    let callee = Peer::nat("10.1.2.3:5060", "203.0.113.21:50002");
    let call = call(&mut w, caller, callee);
    talk(&mut w, &call);
}

/// RFC 5658: each side reads the transport that it speaks.
#[test]
fn udp_calls_tcp() {
    let mut w = World::new();
    let caller = Peer::udp("203.0.113.1:5060");
    let callee = Peer::tcp("203.0.113.21:50002", 4);
    let call = call(&mut w, caller, callee);
    let routes = values(&call.invite, HeaderName::RecordRoute);
    assert_eq!(routes.len(), 2);
    assert!(routes[0].contains(";transport=tcp") && !routes[1].contains("transport"));
    talk(&mut w, &call);
}

#[test]
fn two_phones_over_tcp() {
    let mut w = World::new();
    let caller = Peer::tcp("203.0.113.1:40001", 3);
    let callee = Peer::tcp("203.0.113.21:50002", 4);
    let call = call(&mut w, caller, callee);
    call.by_caller(&mut w, "ACK", 2);
    let ack = w.take_sent(&callee);
    assert_eq!(ack.destination, Destination::Flow(callee.flow));
    call.by_callee(&mut w, "BYE", 7);
    let bye = w.take_sent(&caller);
    assert_eq!(bye.destination, Destination::Flow(caller.flow));
}

#[test]
fn ipv4_calls_ipv6() {
    let mut w = World::new();
    let caller = Peer::udp("203.0.113.1:5060");
    let callee = Peer::udp("[2001:db8::21]:5060");
    let call = call(&mut w, caller, callee);
    let routes = values(&call.invite, HeaderName::RecordRoute);
    assert_eq!(routes.len(), 2);
    assert!(routes[0].contains("@[2001:db8::10]:5060") && routes[1].contains("@192.0.2.10:5060"));
    talk(&mut w, &call);
}

/// RFC 3261 §16.12.1.2: an old phone puts our Route into the Request-URI.
#[test]
fn a_strict_router_before_us() {
    let mut w = World::new();
    let (caller, callee) = (
        Peer::udp("203.0.113.1:5060"),
        Peer::udp("203.0.113.21:5060"),
    );
    let call = call(&mut w, caller, callee);
    let routes = values(&call.answer, HeaderName::RecordRoute);
    let ours = routes[0]
        .trim_start_matches('<')
        .trim_end_matches('>')
        .to_owned();
    let last = format!("<{}>", target(&call.answer));
    let mut request = req("BYE", &ours);
    (request.to_tag, request.cseq, request.branch) = ("t", 3, "z9hG4bKs");
    w.send(&caller, &with_routes(request, &[last]));
    let bye = w.take(&callee);
    assert_eq!(text(bye.request_uri()), target(&call.answer));
    assert!(!bye.has(HeaderName::Route));
}

#[test]
fn a_strict_router_before_a_pair_of_routes() {
    let mut w = World::new();
    let caller = Peer::nat("192.168.1.5:5060", "203.0.113.1:40001");
    let callee = Peer::nat("192.168.1.5:5060", "203.0.113.21:50002");
    let call = call(&mut w, caller, callee);
    let mut routes = values(&call.answer, HeaderName::RecordRoute);
    routes.reverse();
    let ours = routes.remove(0);
    let ours = ours.trim_start_matches('<').trim_end_matches('>');
    routes.push(format!("<{}>", target(&call.answer)));
    let mut request = req("BYE", ours);
    (request.to_tag, request.cseq, request.branch) = ("t", 3, "z9hG4bKs");
    w.send(&caller, &with_routes(request, &routes));
    let bye = w.take_sent(&callee);
    assert_eq!(text(bye.message.request_uri()), target(&call.answer));
}

const ELSEWHERE: &str = "sip:premium@198.18.0.1";

fn two_phones() -> (Peer, Peer) {
    let caller = Peer::udp("203.0.113.1:5060");
    (caller, Peer::udp("203.0.113.21:5060"))
}

impl Call {
    /// A request of the caller to wherever it likes, with our Route first.
    fn by_caller_to(&self, w: &mut World, method: &str, cseq: u32, uri: &str, more: &[&str]) {
        let mut routes = values(&self.answer, HeaderName::RecordRoute);
        routes.reverse();
        routes.extend(more.iter().map(|r| (*r).to_owned()));
        let branch = format!("z9hG4bKe{method}{cseq}");
        let mut request = req(method, uri);
        (request.to_tag, request.cseq, request.branch) = ("t", cseq, &branch);
        w.send(&self.caller, &with_routes(request, &routes));
    }
}

/// Nobody is asked for a password in a dialog: so it leads nowhere but to its other side
/// (RFC 3261 §12.2.1.1). Who wants to go elsewhere is asked, as for a request without a dialog.
#[test]
fn a_dialog_leads_nowhere_else() {
    let mut w = World::new();
    let (caller, callee) = two_phones();
    let call = call(&mut w, caller, callee);
    for (n, method) in ["INVITE", "BYE", "MESSAGE", "REFER"].iter().enumerate() {
        call.by_caller_to(&mut w, method, 10 + n as u32, ELSEWHERE, &[]);
        assert_eq!(w.status(&caller), 407, "{method}");
    }
    let there = target(&call.answer);
    call.by_caller_to(&mut w, "INFO", 20, &there, &["<sip:198.18.0.1;lr>"]);
    assert_eq!(w.status(&caller), 407, "by a Route");
    call.by_caller_to(&mut w, "INFO", 21, "sip:200@example.com", &[]);
    assert_eq!(w.status(&caller), 407, "to all phones of the user");
    // An ACK has no answer. A phone that we know may have its own idea of where it goes.
    call.by_caller_to(
        &mut w,
        "ACK",
        2,
        "sip:x@203.0.113.99",
        &["<sip:198.18.0.1;lr>"],
    );
    w.nothing();
    assert!(w.questions.is_empty());
    talk(&mut w, &call);
}

/// The same with a token alone: another tag, so no call is known.
#[test]
fn a_token_leads_to_phones_alone() {
    let mut w = World::new();
    let (caller, callee) = two_phones();
    let call = call(&mut w, caller, callee);
    let route = &values(&call.answer, HeaderName::RecordRoute)[..1];
    let mut n = 0;
    let mut mallory = |w: &mut World, method: &str, to: &str, uri: &str| {
        n += 1;
        let branch = format!("z9hG4bKm{n}");
        let mut request = req(method, uri);
        (request.from, request.to) = ("sip:mallory@example.org", to);
        (request.from_tag, request.to_tag, request.branch) = ("m", "x", &branch);
        w.send(
            &Peer::udp("203.0.113.66:5060"),
            &with_routes(request, route),
        );
    };
    let stranger = Peer::udp("203.0.113.66:5060");
    for (to, uri) in [
        ("sip:200@example.com", ELSEWHERE),
        ("sip:300@example.com", "sip:x@203.0.113.21:5060"),
        ("sip:bob@example.org", "sip:x@203.0.113.21:5060"),
    ] {
        mallory(&mut w, "INVITE", to, uri);
        assert_eq!(w.status(&stranger), 403, "{to} {uri}");
        mallory(&mut w, "ACK", to, uri);
        w.nothing();
    }
    // What a subscription's notifier sends reaches the phone that it is for.
    mallory(
        &mut w,
        "NOTIFY",
        "sip:200@example.com",
        "sip:200@203.0.113.21",
    );
    assert_eq!(w.take(&callee).method(), Method::Notify);
}

/// RFC 3261 §12.2: a re-INVITE or UPDATE that is answered moves the target.
#[test]
fn a_target_refresh_moves_where_a_dialog_leads() {
    let mut w = World::new();
    let (caller, callee) = two_phones();
    let call = call(&mut w, caller, callee);
    call.by_caller(&mut w, "ACK", 2);
    w.take(&callee);
    let moved = Peer::udp("203.0.113.78:5060");
    let routes = values(&call.invite, HeaderName::RecordRoute);
    for (n, method, status, last) in [
        (1, "INVITE", 491, 77),
        (2, "UPDATE", 200, 77),
        (3, "UPDATE", 200, 78),
    ] {
        let contact = format!("Contact: <sip:200@203.0.113.{last}>");
        let branch = format!("z9hG4bKmove{n}");
        let uri = target(&call.invite);
        let mut request = req(method, &uri).extra(&contact);
        (request.from, request.to) = ("sip:200@example.com", "sip:100@example.com");
        (request.from_tag, request.to_tag) = ("t", "f1");
        (request.cseq, request.branch) = (n, &branch);
        w.send(&callee, &with_routes(request, &routes));
        let request = w.take(&caller);
        w.answer(&caller, &request, status, "f1");
        assert_eq!(w.status(&callee), status);
        w.sent.clear();
        if status == 491 {
            call.by_caller(&mut w, "INFO", 30);
            let info = w.take(&callee);
            w.answer(&callee, &info, 200, "t");
            assert_eq!(w.status(&caller), 200, "nothing changed");
        }
    }
    call.by_caller_to(&mut w, "INFO", 31, "sip:200@203.0.113.78", &[]);
    assert_eq!(w.take(&moved).method(), Method::Info);
    call.by_caller_to(&mut w, "INFO", 32, "sip:200@203.0.113.77", &[]);
    assert_eq!(w.status(&caller), 407, "the old one");
}

/// RFC 3262: a PRACK goes to the target of an early dialog.
#[test]
fn an_early_dialog_has_a_target() {
    let mut w = World::new();
    let (caller, callee) = two_phones();
    w.register("200", &callee, "");
    w.send_proven(&caller, &req("INVITE", "sip:200@example.com"), "100");
    let invite = w.take(&callee);
    w.answer_with(&callee, &invite, 183, "t", &[(HeaderName::RSeq, "1")]);
    let early = w.take(&caller);
    let answer = early.clone();
    let call = Call {
        caller,
        callee,
        invite,
        answer,
    };
    call.by_caller(&mut w, "PRACK", 3);
    let prack = w.take(&callee);
    w.answer(&callee, &prack, 200, "t");
    assert_eq!(w.status(&caller), 200);
    call.by_caller_to(&mut w, "PRACK", 4, ELSEWHERE, &[]);
    assert_eq!(w.status(&caller), 407);
}

/// A restart forgets calls; what follows in them still finds registered phones, and those only.
#[test]
fn after_a_restart_dialogs_lead_to_phones() {
    let mut w = World::new();
    let (caller, callee) = two_phones();
    w.register("100", &caller, "");
    let call = call(&mut w, caller, callee);
    w.restart();
    call.by_caller(&mut w, "ACK", 2);
    assert_eq!(w.take(&callee).method(), Method::Ack);
    call.by_caller_to(&mut w, "INVITE", 10, ELSEWHERE, &[]);
    assert_eq!(w.status(&caller), 407);
    call.by_callee(&mut w, "INFO", 7);
    let info = w.take(&caller);
    w.answer(&caller, &info, 200, "f1");
    assert_eq!(w.status(&callee), 200);
    call.by_caller(&mut w, "BYE", 3);
    assert_eq!(w.take(&callee).method(), Method::Bye);
}

/// A phone whose NAT gave it another mapping in the middle of a call, or whose connection ended,
/// registers anew, and is reached there.
#[test]
fn a_phone_that_moved_is_found_by_its_binding() {
    const INSTANCE: &str = ";+sip.instance=\"<urn:uuid:0-1>\"";
    let caller = Peer::nat("192.168.7.7:5060", "203.0.113.1:40001");
    let moves = [
        (
            Peer::nat("192.168.1.5:5060", "203.0.113.21:50002"),
            Peer::nat("192.168.1.5:5060", "203.0.113.21:50555"),
        ),
        (
            Peer::tcp("203.0.113.21:50002", 4),
            Peer::tcp("203.0.113.21:50777", 5),
        ),
    ];
    for (before, after) in moves {
        for restarted in [false, true] {
            let mut w = World::new();
            w.register("100", &caller, ";+sip.instance=\"<urn:uuid:0-2>\"");
            w.register("200", &before, INSTANCE);
            let contact = format!("Contact: {}", caller.contact("100"));
            let request = req("INVITE", "sip:200@example.com").extra(&contact);
            w.send_proven(&caller, &request, "100");
            let invite = w.take(&before);
            w.answer(&before, &invite, 200, "t");
            let answer = w.take(&caller);
            let mut call = Call {
                caller,
                callee: before,
                invite,
                answer,
            };
            call.by_caller(&mut w, "ACK", 2);
            assert_eq!(w.take(&before).method(), Method::Ack, "not moved yet");
            if let Some(connection) = before.flow.connection {
                w.input(Input::ConnectionClosed { connection });
            }
            w.register("200", &after, INSTANCE);
            // Another phone of the same user is not meant.
            let twin = Peer::nat("192.168.1.6:5060", "203.0.113.99:50002");
            w.register("200", &twin, ";+sip.instance=\"<urn:uuid:0-9>\"");
            if restarted {
                w.restart();
            }
            if !(restarted && before.flow.connection.is_some()) {
                call.by_caller(&mut w, "BYE", 3);
                let bye = w.take_sent(&after);
                assert_eq!(bye.message.method(), Method::Bye);
                assert_eq!(bye.destination, Destination::Flow(after.flow));
            }
            w.sent.clear();
            // The caller moves too.
            let moved = Peer::nat("192.168.7.7:5060", "203.0.113.1:40999");
            w.register("100", &moved, ";+sip.instance=\"<urn:uuid:0-2>\"");
            call.callee = after;
            call.by_callee(&mut w, "INFO", 7);
            assert_eq!(w.take(&moved).method(), Method::Info);
        }
    }
}

/// Two homes number their phones alike, and one user has a phone in both: its binding is the other
/// one's now, and a call does not move there.
#[test]
fn a_phone_of_the_same_address_elsewhere_is_not_taken_for_it() {
    let mut w = World::new();
    let caller = Peer::udp("203.0.113.1:5060");
    let callee = Peer::nat("192.168.1.5:5060", "203.0.113.21:50002");
    let call = call(&mut w, caller, callee);
    let twin = Peer::nat("192.168.1.5:5060", "203.0.113.99:50002");
    w.register("200", &twin, "");
    call.by_caller(&mut w, "BYE", 3);
    assert_eq!(w.take(&callee).method(), Method::Bye);
}

/// RFC 5626 §5.3.1: who asked for outbound wants to hear that its flow failed.
#[test]
fn a_flow_of_outbound_that_was_replaced_is_430() {
    let mut w = World::new();
    let caller = Peer::udp("203.0.113.1:5060");
    let (before, after) = (
        Peer::tcp("203.0.113.21:50002", 4),
        Peer::tcp("203.0.113.21:50777", 5),
    );
    let outbound = ";reg-id=1;+sip.instance=\"<urn:uuid:0-1>\"";
    let supported = "Supported: outbound\r\n";
    w.register_with("200", &before, outbound, supported);
    w.send_proven(&caller, &req("INVITE", "sip:200@example.com"), "100");
    let invite = w.take(&before);
    let bytes = ResponseBuilder::new(&invite, 200)
        .to_tag(b"t")
        .record_route()
        .header(
            HeaderName::Contact,
            b"<sip:200@203.0.113.21:50002;transport=tcp;ob>",
        )
        .render();
    w.from(&before, bytes);
    let answer = w.take(&caller);
    let call = Call {
        caller,
        callee: before,
        invite,
        answer,
    };
    call.by_caller(&mut w, "INFO", 3);
    let info = w.take(&before);
    w.answer(&before, &info, 200, "t");
    assert_eq!(w.status(&caller), 200);
    w.register_with("200", &after, outbound, supported);
    call.by_caller(&mut w, "BYE", 4);
    assert_eq!(w.status(&caller), 430);
    w.nothing();
}

/// RFC 5626 §5.3.1: the flow of a token is gone, and nothing else leads there.
#[test]
fn a_flow_that_is_gone() {
    let mut w = World::new();
    let caller = Peer::udp("203.0.113.1:5060");
    let callee = Peer::tcp("203.0.113.21:50002", 4);
    let call = call(&mut w, caller, callee);
    call.by_caller(&mut w, "BYE", 3);
    let bye = w.take_sent(&callee);
    w.transmit_failed(bye.tag);
    assert_eq!(w.status(&caller), 430);
}

#[test]
fn a_call_that_goes_through_other_proxies() {
    let mut w = World::new();
    let (gateway, callee) = (Peer::udp(TRUSTED), Peer::udp("203.0.113.21:5060"));
    w.register("200", &callee, "");
    let mut request = req("INVITE", "sip:200@example.com")
        .extra("Via: SIP/2.0/UDP 10.9.9.9:5060;branch=z9hG4bKfirst")
        .extra("Contact: <sip:bob@10.9.9.9>")
        .extra("Record-Route: <sip:198.51.100.9;lr>");
    request.from = "sip:bob@other.example";
    w.send(&gateway, &request);
    let invite = w.take(&callee);
    let routes = values(&invite, HeaderName::RecordRoute);
    assert_eq!(routes.len(), 2, "{routes:?}");
    assert_eq!(routes[1], "<sip:198.51.100.9;lr>");
    w.answer(&callee, &invite, 200, "t");
    let answer = w.take(&gateway);
    assert_eq!(values(&answer, HeaderName::RecordRoute), routes);
    assert_eq!(values(&answer, HeaderName::Via).len(), 2);
    let mut bye = req("BYE", "sip:bob@10.9.9.9");
    (bye.from, bye.to) = ("sip:200@example.com", "sip:bob@other.example");
    (bye.from_tag, bye.to_tag, bye.branch) = ("t", "f1", "z9hG4bKd");
    w.send(&callee, &with_routes(bye, &routes));
    let bye = w.take(&gateway);
    assert_eq!(values(&bye, HeaderName::Route), ["<sip:198.51.100.9;lr>"]);
    assert_eq!(bye.request_uri(), b"sip:bob@10.9.9.9");
}

/// Where a side is behind a NAT, both read our media address, the answer's reader too.
#[test]
fn media_of_a_phone_behind_a_nat_passes_through_us() {
    let sdp = |address: &str| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio 7000 RTP/AVP 8\r\n"
        )
    };
    let mut w = World::new();
    let caller = Peer::udp("203.0.113.1:5060");
    let callee = Peer::nat("10.1.2.3:5060", "203.0.113.21:50002");
    w.register("200", &callee, "");
    let offer = sdp("203.0.113.1");
    let mut request = req("INVITE", "sip:200@example.com");
    request.body = &offer;
    w.send_proven(&caller, &request, "100");
    let invite = w.take(&callee);
    let body = text(invite.body());
    assert!(
        body.contains("m=audio 20") && !body.contains("c=IN IP4 203.0.113.1"),
        "{body}"
    );
    let answer = sdp("10.1.2.3");
    let response = ResponseBuilder::new(&invite, 200)
        .to_tag(b"t")
        .record_route()
        .header(HeaderName::Contact, b"<sip:200@10.1.2.3>")
        .body("application/sdp", answer);
    let bytes = response.render();
    w.from(&callee, bytes);
    let body = text(w.take(&caller).body());
    assert!(
        body.contains("m=audio 20") && !body.contains("c=IN IP4 10.1.2.3"),
        "{body}"
    );
}

#[test]
fn only_what_makes_a_dialog_is_recorded() {
    let mut w = World::new();
    let phone = Peer::udp("203.0.113.21:5060");
    w.register("200", &phone, "");
    for (method, recorded) in [
        ("INVITE", true),
        ("SUBSCRIBE", true),
        ("REFER", true),
        ("MESSAGE", false),
        ("OPTIONS", false),
    ] {
        let branch = format!("z9hG4bK{method}");
        let mut request = req(method, "sip:200@example.com");
        (request.branch, request.call_id) = (&branch, method);
        w.send(&Peer::udp(TRUSTED), &request);
        let copy = w.take(&phone);
        assert_eq!(copy.has(HeaderName::RecordRoute), recorded, "{method}");
    }
}

/// The deck's INVITE: a provider's core sends it on, with two Vias, Record-Route, identities and a
/// Privacy that some write `Id`.
#[test]
fn the_decks_invite_reaches_a_phone_and_hides_its_caller() {
    let mut w = World::with("");
    let phone = Peer::udp("203.0.113.21:5060");
    w.register("200", &phone, "");
    let slide = include_bytes!("../data/deck/invite.dat");
    let slide = text(slide)
        .replace("Content-Length: 263", "Content-Length: 236")
        .replace("sip:982533859@192.168.10.10:5060", "sip:200@example.com");
    let core = Peer::udp("198.51.100.20:5060");
    w.from(&core, slide);
    let invite = w.take(&phone);
    assert_eq!(invite.method(), Method::Invite, "{invite:?}");
    assert_eq!(values(&invite, HeaderName::Via).len(), 3);
    assert_eq!(header(&invite, HeaderName::MaxForwards), "31");
    let routes = values(&invite, HeaderName::RecordRoute);
    assert_eq!(routes[1], "<sip:193.22.119.20;lr=on;ftag=as0a5675f3>");
    for hidden in [HeaderName::RemotePartyId, HeaderName::PAssertedIdentity] {
        assert!(!invite.has(hidden), "{hidden:?}");
    }
    assert!(text(invite.body()).contains("m=audio 17434 RTP/AVP 18 101"));
}
