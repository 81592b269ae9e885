//! What a call costs the shard, without system calls: INVITE 180 200 ACK BYE 200 through it. Run by
//! hand: `cargo test --release --test proxy cost -- --ignored --nocapture`.

use crate::world::{Peer, TRUSTED, World, req};
use std::time::{Duration, Instant};
use voip::wire::sip::{HeaderName, Message, ResponseBuilder};

const CALLS: u32 = 20_000;
const SDP: &str = "v=0\r\no=user1 53655765 2353687637 IN IP4 198.51.100.9\r\ns=-\r\n\
    c=IN IP4 198.51.100.9\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n";

fn reply(request: &Message, status: u16, peer: &Peer) -> bytes::Bytes {
    let contact = peer.contact("200");
    let mut response = ResponseBuilder::new(request, status)
        .to_tag(b"callee")
        .record_route()
        .header(HeaderName::Contact, contact.as_bytes());
    if status == 200 && request.method() == voip::wire::sip::Method::Invite {
        response = response.body("application/sdp", SDP);
    }
    response.render()
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_call() {
    let mut w = World::with("");
    let phone = Peer::udp("203.0.113.21:5060");
    let caller = Peer::udp(TRUSTED);
    w.register("200", &phone, "");
    let mut spent = [Duration::ZERO; 6];
    for n in 0..CALLS {
        let (call_id, branch) = (format!("call-{n}@host"), format!("z9hG4bK-{n}"));
        let contact = format!("Contact: {}", caller.contact("100"));
        let agent = "User-Agent: sipp/3.6.1";
        let mut invite = req("INVITE", "sip:200@example.com")
            .extra(&contact)
            .extra(agent);
        (invite.call_id, invite.branch, invite.body) = (&call_id, &branch, SDP);
        let mut timed = |w: &mut World, at: usize, peer: &Peer, bytes: bytes::Bytes| {
            let start = Instant::now();
            w.from(peer, bytes);
            spent[at] += start.elapsed();
        };
        timed(&mut w, 0, &caller, invite.text(&caller).into());
        let copy = w.take(&phone);
        timed(&mut w, 1, &phone, reply(&copy, 180, &phone));
        w.take(&caller);
        timed(&mut w, 2, &phone, reply(&copy, 200, &phone));
        let answer = w.take(&caller);
        let route = answer.header(HeaderName::RecordRoute).unwrap_or_default();
        let route = format!("Route: {}", String::from_utf8_lossy(route));
        let mut ack = req("ACK", "sip:200@203.0.113.21:5060").extra(&route);
        let ack_branch = format!("{branch}-a");
        (ack.call_id, ack.branch, ack.to_tag) = (&call_id, &ack_branch, "callee");
        timed(&mut w, 3, &caller, ack.text(&caller).into());
        w.take(&phone);
        let mut bye = req("BYE", "sip:200@203.0.113.21:5060").extra(&route);
        let bye_branch = format!("{branch}-b");
        (bye.call_id, bye.branch, bye.to_tag, bye.cseq) = (&call_id, &bye_branch, "callee", 2);
        timed(&mut w, 4, &caller, bye.text(&caller).into());
        let copy = w.take(&phone);
        timed(&mut w, 5, &phone, reply(&copy, 200, &phone));
        w.take(&caller);
        w.nothing();
        let start = Instant::now();
        w.wait(Duration::from_millis(1));
        spent[5] += start.elapsed();
    }
    let total: Duration = spent.iter().sum();
    let names = ["INVITE", "180", "200", "ACK", "BYE", "200 and time"];
    for (name, time) in names.iter().zip(spent) {
        println!(
            "{name}: {:.2} us",
            time.as_secs_f64() * 1e6 / f64::from(CALLS)
        );
    }
    println!(
        "call: {:.2} us",
        total.as_secs_f64() * 1e6 / f64::from(CALLS)
    );
}
