//! What one shard costs without sockets and store: nanoseconds per REGISTER that refreshes, and per
//! call from INVITE to BYE; and what it costs to ask whether a datagram is looked at, before it is.
//!
//! Run: `cargo bench --bench core`. Prints `metric value unit`, one a line. `register`, `call` or
//! `flood` as argument runs that part only, for a profile.

mod cpu;

use bytes::Bytes;
use cpu::cpu;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use voip::base::{Anchor, Flow, Instant, Rng, Transport};
use voip::call::Addresses;
use voip::config::Config;
use voip::feature::Features;
use voip::location::{Limits, Location};
use voip::peer::Peers;
use voip::proxy::guard::flood::Arrival;
use voip::proxy::guard::{self, Guard};
use voip::relay::PortPool;
use voip::server::{Input, Output, Setup, SignalCore};
use voip::sip::digest::Replays;
use voip::sip::listeners::{Interface, Listener, ListenerTable};
use voip::store::{Directory, Ha1, User};

const USERS: usize = 10_000;
const ROUNDS: usize = 20;
const CALLS: usize = 50_000;
const FLOOD: u64 = 5_000_000;

fn core() -> SignalCore {
    let text = "[node]\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n\
                trusted = [\"192.0.2.0/24\"]\n[limits]\ntrace_messages_max = 0\n\
                transactions_max = 1000000\ncalls_max = 1000000\n";
    let config = Arc::new(Config::parse(text, Path::new("voip.toml")).expect("configuration"));
    let directory = Directory::new();
    for n in 0..USERS {
        let user = User {
            username: format!("u{n:07}").into(),
            domain: "example.com".into(),
            display_name: "".into(),
            ha1: Ha1 {
                md5: [0; 16],
                sha256: [0; 32],
            },
            disabled: false,
        };
        directory.put(user).expect("room");
    }
    let bind = "192.0.2.10:5060".parse().expect("address");
    let listener = Listener {
        transport: Transport::Udp,
        bind,
        advertised: None,
    };
    let interface = Interface {
        address: bind.ip(),
        prefix: 24,
    };
    SignalCore::new(Setup {
        shard: 0,
        shards: 1,
        peers: Arc::new(Peers::new(&config, [3; 32])),
        guard: Arc::new(Guard::new(guard::Settings::of(&config), [7; 16])),
        config,
        listeners: ListenerTable::new(vec![listener], vec![interface], [None, None]),
        addresses: Addresses::default(),
        location: Arc::new(Location::new(Limits::default())),
        directory: Arc::new(directory),
        features: Arc::new(Features::new()),
        rooms: Default::default(),
        mailboxes: Arc::default(),
        rng: Rng::from_u64(1),
        anchor: Anchor {
            instant: Instant::ZERO,
            unix_ms: 1_700_000_000_000,
        },
        secret: [3; 32],
        replays: Arc::new(Replays::new()),
        ports: PortPool::new(20_000, 20_099, 0, 1),
    })
}

fn flow(last: u8) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: ([192, 0, 2, 10], 5060).into(),
        remote: ([192, 0, 2, last], 5060).into(),
        connection: None,
    }
}

/// What the core sends, if it sends.
fn give(core: &mut SignalCore, now: Instant, flow: Flow, bytes: Vec<u8>) -> Option<Bytes> {
    core.handle_input(
        now,
        Input::Message {
            flow,
            bytes: bytes.into(),
        },
    );
    let mut last = None;
    while let Some(output) = core.poll_output() {
        if let Output::Transmit(transmit) = output {
            last = Some(transmit.bytes);
        }
    }
    last
}

fn register(user: usize, cseq: usize) -> Vec<u8> {
    format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKr{user}x\
         {cseq}\r\nMax-Forwards: 70\r\nFrom: <sip:u{user:07}@example.com>;tag=a{user}\r\nTo: \
         <sip:u{user:07}@example.com>\r\nCall-ID: reg-{user}@192.0.2.1\r\nCSeq: {cseq} REGISTER\r\n\
         Contact: <sip:u{user:07}@192.0.2.1:5060>\r\nExpires: 3600\r\nUser-Agent: bench\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn registers(core: &mut SignalCore) -> Duration {
    for user in 0..USERS {
        give(core, Instant::from_millis(1), flow(1), register(user, 1)).expect("an answer");
    }
    let messages: Vec<Vec<u8>> = (0..ROUNDS * USERS)
        .map(|n| register(n % USERS, 2 + n / USERS))
        .collect();
    let start = cpu();
    for (n, message) in messages.into_iter().enumerate() {
        let now = Instant::from_millis(1000 + n as u64 / 50);
        let answer = give(core, now, flow(1), message).expect("an answer");
        assert!(answer.starts_with(b"SIP/2.0 200"));
        if core.poll_timeout().is_some_and(|at| at <= now) {
            core.handle_timeout(now);
        }
    }
    cpu() - start
}

fn request(method: &str, call: usize, uri: &str, to_tag: &str, route: &str, body: &str) -> Vec<u8> {
    let cseq = if method == "BYE" { 2 } else { 1 };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{method}{call}\r\n\
         Max-Forwards: 70\r\n{route}From: <sip:caller@example.com>;tag=c{call}\r\n\
         To: <sip:u0000001@example.com>{to_tag}\r\nCall-ID: call-{call}@192.0.2.1\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:caller@192.0.2.1:5060>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The answer that a phone gives to what reached it.
fn answer(request: &[u8], status: &str, contact: bool) -> Vec<u8> {
    let mut out = format!("SIP/2.0 {status}\r\n").into_bytes();
    for line in request
        .split(|&b| b == b'\n')
        .skip(1)
        .map(|l| l.trim_ascii_end())
    {
        let keep: [&[u8]; 6] = [
            b"Via:",
            b"From:",
            b"To:",
            b"Call-ID:",
            b"CSeq:",
            b"Record-Route:",
        ];
        if keep.iter().any(|k| line.starts_with(k)) {
            out.extend_from_slice(line);
            if line.starts_with(b"To:") && !line.windows(5).any(|w| w == b";tag=") {
                out.extend_from_slice(b";tag=callee");
            }
            out.extend_from_slice(b"\r\n");
        }
    }
    if contact {
        out.extend_from_slice(b"Contact: <sip:u0000001@192.0.2.2:5060>\r\n");
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    out
}

fn header<'a>(message: &'a [u8], name: &str) -> &'a str {
    let text = std::str::from_utf8(message).expect("text");
    let line = text
        .split("\r\n")
        .find(|l| l.starts_with(name))
        .expect("the header");
    line.split_once(": ").expect("a value").1
}

fn calls(core: &mut SignalCore) -> Duration {
    let mut callee = register(1, 1);
    let text = String::from_utf8(callee)
        .expect("text")
        .replace("192.0.2.1:", "192.0.2.2:");
    callee = text.into_bytes();
    give(core, Instant::from_millis(1), flow(2), callee).expect("an answer");
    let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    let mut spent = Duration::ZERO;
    let mut at = 1000;
    for call in 0..CALLS {
        at += 1;
        let now = Instant::from_millis(at);
        let mut time = |core: &mut SignalCore, flow, bytes| {
            let start = cpu();
            let out = give(core, now, flow, bytes);
            spent += cpu() - start;
            out
        };
        let uri = "sip:u0000001@example.com";
        let invite = request("INVITE", call, uri, "", "", body);
        let invite = time(core, flow(1), invite).expect("the INVITE goes on");
        time(core, flow(2), answer(&invite, "180 Ringing", true)).expect("180");
        let ok = time(core, flow(2), answer(&invite, "200 OK", true)).expect("200");
        let route = format!("Route: {}\r\n", header(&ok, "Record-Route"));
        let target = "sip:u0000001@192.0.2.2:5060";
        let tag = ";tag=callee";
        let ack = request("ACK", call, target, tag, &route, "");
        time(core, flow(1), ack).expect("the ACK goes on");
        let bye = request("BYE", call, target, tag, &route, "");
        let bye = time(core, flow(1), bye).expect("the BYE goes on");
        time(core, flow(2), answer(&bye, "200 OK", false)).expect("200");
        let start = cpu();
        if core.poll_timeout().is_some_and(|due| due <= now) {
            core.handle_timeout(now);
            while core.poll_output().is_some() {}
        }
        spent += cpu() - start;
    }
    spent
}

/// Asks for so many datagrams, of `sources` in turn, `per_ms` a millisecond.
fn flood(core: &mut SignalCore, sources: &[IpAddr], per_ms: u64, what: Arrival) -> f64 {
    let start = cpu();
    let mut passed = 0;
    for n in 0..FLOOD {
        let source = sources[n as usize % sources.len()];
        let now = Instant::from_millis(100_000 + n / per_ms);
        passed += u64::from(core.admits(now, source, what));
        while core.poll_output().is_some() {}
    }
    let per = (cpu() - start).as_nanos() as f64 / FLOOD as f64;
    eprintln!("{passed} of {FLOOD} pass");
    per
}

fn floods() {
    let v4 = |n: u32| IpAddr::from((0xcb00_7100 + n).to_be_bytes());
    let forged: Vec<IpAddr> = (0..1_000_000).map(|n| v4(n * 977)).collect();
    for (name, sources, per_ms, what) in [
        ("core_flood_dropped", &forged[..1], 20, Arrival::Message),
        ("core_flood_junk", &forged[..1], 20, Arrival::Junk),
        ("core_flood_forged", &forged[..], 20, Arrival::Message),
        ("core_admitted", &forged[..1000], 1, Arrival::Message),
    ] {
        println!("{name} {:.0} ns", flood(&mut core(), sources, per_ms, what));
    }
}

fn main() {
    let only = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let wanted = |name: &str| only.as_deref().is_none_or(|o| o == name);
    if wanted("register") {
        let per = registers(&mut core()).as_nanos() as f64 / (ROUNDS * USERS) as f64;
        println!("core_register_refresh {per:.0} ns");
    }
    if wanted("call") {
        let per = calls(&mut core()).as_nanos() as f64 / CALLS as f64;
        println!("core_call {per:.0} ns");
    }
    if wanted("flood") {
        floods();
    }
}
