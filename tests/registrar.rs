//! Phones register at a whole shard: messages as phones of the field send them, with digest, over
//! UDP, TCP and WebSocket; what they are told, what is stored, and what a restart brings back.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use voip::base::{Anchor, ConnectionId, Flow, Instant, Rng, Transport, hash64};
use voip::call::Addresses;
use voip::config::Config;
use voip::control::{Command, Reply};
use voip::feature::Features;
use voip::location::{Binding, Clock, Limits, Location, Reach};
use voip::peer::Peers;
use voip::proxy::guard::{self, Guard};
use voip::relay::PortPool;
use voip::server::{Input, Output, Setup, SignalCore};
use voip::sip::digest::{self, ClientCredentials};
use voip::sip::listeners::{Interface, Listener, ListenerTable};
use voip::store::{BindingRecord, Directory, Record, User};
use voip::wire::sip::{Edit, HeaderName, Message, Method, ResponseBuilder};

const PASSWORD: &str = "not a secret";
const SERVER: &str = "203.0.113.10:5060";

const ANCHOR: Anchor = Anchor {
    instant: Instant::ZERO,
    unix_ms: 1_795_388_000_000,
};

struct World {
    core: SignalCore,
    location: Arc<Location>,
    guard: Arc<Guard>,
    directory: Arc<Directory>,
    now: Instant,
    sent: Vec<Message>,
    /// What the store would hold.
    disk: BTreeMap<(String, String), BindingRecord>,
    records: Vec<Record>,
    replies: Vec<Reply>,
}

fn config(extra: &str) -> Arc<Config> {
    let text = format!(
        "[node]\ndomains = [\"example.com\", \"voztele.com\"]\n\
         [sip]\nlisten = [\"udp:{SERVER}\", \"tcp:{SERVER}\", \"ws:203.0.113.10:80\"]\n{extra}"
    );
    Arc::new(Config::parse(&text, Path::new("voip.toml")).expect("a good configuration"))
}

fn user(username: &str, domain: &str) -> User {
    User {
        username: username.into(),
        domain: domain.into(),
        display_name: "".into(),
        ha1: digest::ha1(username, domain, PASSWORD.as_bytes()),
        disabled: false,
    }
}

fn world(extra: &str) -> World {
    let config = config(extra);
    let directory = Arc::new(Directory::new());
    for (username, domain) in [
        ("100", "example.com"),
        ("200", "example.com"),
        ("5700020326", "voztele.com"),
    ] {
        directory.put(user(username, domain)).expect("room");
    }
    let bind = SERVER.parse().expect("address");
    let listener = |transport| Listener {
        transport,
        bind,
        advertised: None,
    };
    let interface = Interface {
        address: bind.ip(),
        prefix: 24,
    };
    let listeners = [Transport::Udp, Transport::Tcp, Transport::Ws].map(listener);
    let location = Arc::new(Location::new(Limits::default()));
    let guard = Arc::new(Guard::new(guard::Settings::of(&config), [5; 16]));
    let core = SignalCore::new(Setup {
        shard: 0,
        shards: 1,
        peers: Arc::new(Peers::new(&config, [3; 32])),
        config,
        listeners: ListenerTable::new(listeners.to_vec(), vec![interface], [None, None]),
        addresses: Addresses::default(),
        location: location.clone(),
        directory: directory.clone(),
        features: Arc::new(Features::new()),
        rooms: Default::default(),
        mailboxes: Arc::default(),
        replays: Arc::new(digest::Replays::new()),
        guard: guard.clone(),
        rng: Rng::from_u64(9),
        anchor: ANCHOR,
        secret: [3; 32],
        ports: PortPool::new(20_000, 20_099, 0, 1),
    });
    World {
        core,
        location,
        guard,
        directory,
        now: Instant::from_millis(1000),
        sent: Vec::new(),
        disk: BTreeMap::new(),
        records: Vec::new(),
        replies: Vec::new(),
    }
}

fn udp(remote: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: SERVER.parse().expect("address"),
        remote: remote.parse().expect("address"),
        connection: None,
    }
}

fn stream(transport: Transport, remote: &str, connection: u64) -> Flow {
    Flow {
        transport,
        connection: Some(ConnectionId(connection)),
        ..udp(remote)
    }
}

impl World {
    fn input(&mut self, input: Input) {
        self.core.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Transmit(t) if t.bytes.iter().all(|b| b"\r\n".contains(b)) => {}
                Output::Transmit(t) => self.sent.push(Message::parse(t.bytes).expect("ours")),
                Output::Persist(record) => {
                    self.write(&record);
                    self.records.push(record);
                }
                Output::Reply { reply, .. } => self.replies.push(reply),
                Output::Resolve { .. } | Output::Media(_) => {}
                Output::CloseConnection(_) | Output::Detour { .. } => {}
                Output::Tell { input, .. } => self.core.handle_input(self.now, input),
            }
        }
    }

    fn write(&mut self, record: &Record) {
        match record {
            Record::PutBinding(b) => {
                let key = (b.aor.to_string(), b.key.to_string());
                self.disk.insert(key, BindingRecord::clone(b));
            }
            Record::TouchBinding(touch) => {
                let mut all = self.disk.values_mut();
                let stored = all.find(|b| b.serial == touch.serial);
                let stored = stored.expect("stored before");
                stored.expires_at_ms = touch.expires_at_ms;
                stored.cseq = touch.cseq;
            }
            Record::DeleteBinding { aor, key } => {
                self.disk.remove(&(aor.to_string(), key.to_string()));
            }
            _ => {}
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.input(Input::Message { flow, bytes });
    }

    /// The only message that was sent.
    fn answer(&mut self) -> Message {
        assert_eq!(self.sent.len(), 1);
        self.sent.remove(0)
    }

    /// Sends a REGISTER, answers the challenge, gives the last answer.
    fn register(&mut self, flow: Flow, text: &str, user: &str, password: &str) -> Message {
        let request = Message::parse(Bytes::copy_from_slice(text.as_bytes())).expect("parses");
        self.send(flow, request.bytes().clone());
        let challenge = self.answer();
        if challenge.status() != 401 {
            return challenge;
        }
        self.send(flow, proven(&request, &challenge, user, password));
        self.answer()
    }

    fn bindings(&self, aor: &str) -> Vec<Arc<Binding>> {
        self.location.lookup(aor).into_vec()
    }
}

/// The request again, with a proof, another branch and the next CSeq.
fn proven(request: &Message, challenge: &Message, user: &str, password: &str) -> Bytes {
    let uri = std::str::from_utf8(request.request_uri()).expect("text");
    // Phones of the time know MD5 alone.
    let md5 = challenge
        .challenges(HeaderName::WwwAuthenticate)
        .flatten()
        .find(|c| c.algorithm() == Some(b"MD5"))
        .expect("an MD5 challenge");
    let credentials = ClientCredentials {
        username: user,
        password: password.as_bytes(),
    };
    let value = digest::answer(&md5, &credentials, b"REGISTER", uri, 1, "c0ffee").expect("spoken");
    let cseq = request.cseq().expect("good").number + 1;
    let mut edit = Edit::new(request);
    edit.set(HeaderName::Authorization, value)
        .set(HeaderName::CSeq, format!("{cseq} REGISTER"));
    let bytes = edit.render();
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    Bytes::from(text.replacen("branch=z9hG4bK", &format!("branch=z9hG4bK{cseq}x"), 1))
}

fn lines(message: &Message, name: HeaderName) -> Vec<String> {
    let text = |l: &[u8]| String::from_utf8_lossy(l).into_owned();
    message.lines(name).map(text).collect()
}

/// How phones of the field register: name, source, and what is known of them afterwards.
struct Phone {
    name: &'static str,
    flow: Flow,
    via: &'static str,
    contact: &'static str,
    extra: &'static str,
    told: &'static str,
    behind_nat: bool,
    reach: Reach,
}

fn phones() -> Vec<Phone> {
    let home = "198.51.100.7:61234";
    vec![
        Phone {
            name: "Yealink SIP-T46G 28.83.0.120",
            flow: udp(home),
            via: "UDP 192.168.1.20:5060;branch=z9hG4bK1734577041",
            contact: "<sip:100@192.168.1.20:5060>",
            extra: "Allow: INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER\r\n\
                    Expires: 3600\r\nAllow-Events: talk,hold,conference,refer\r\n",
            told: "<sip:100@192.168.1.20:5060>;expires=3600",
            behind_nat: true,
            reach: Reach::Flow,
        },
        Phone {
            name: "snom710/8.7.5.44",
            flow: udp("198.51.100.8:5060"),
            via: "UDP 198.51.100.8:5060;branch=z9hG4bK-abc;rport",
            contact: "<sip:100@198.51.100.8:5060;line=jx2k3>;reg-id=1;q=1.0;+sip.instance=\
                      \"<urn:uuid:b2dd8b5b-1f2c-4ab5-8ac3-0004132f0001>\";audio;mobility=\"fixed\"",
            extra: "Supported: path, gruu, outbound\r\nExpires: 600\r\n",
            told: "<sip:100@198.51.100.8:5060;line=jx2k3>;expires=600;reg-id=1;+sip.instance=\
                   \"<urn:uuid:b2dd8b5b-1f2c-4ab5-8ac3-0004132f0001>\";audio;mobility=\"fixed\"\
                   ;pub-gruu=\"sip:100@example.com\
                   ;gr=urn:uuid:b2dd8b5b-1f2c-4ab5-8ac3-0004132f0001\"",
            behind_nat: false,
            reach: Reach::Flow,
        },
        Phone {
            name: "Cisco-CP7960G/8.0",
            flow: udp("198.51.100.9:50842"),
            via: "UDP 198.51.100.9:5060;branch=z9hG4bK0cb6d8a3",
            contact: "<sip:100@198.51.100.9:5060;user=phone;transport=udp>\
                      ;+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-0003e361a5b2>\"\
                      ;+u.sip!model.ccm.cisco.com=\"7\"",
            extra: "Expires: 3600\r\nSupported: (null),X-cisco-xsi-8.5.1\r\n",
            told: "<sip:100@198.51.100.9:5060;user=phone;transport=udp>;expires=3600\
                   ;+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-0003e361a5b2>\"\
                   ;+u.sip!model.ccm.cisco.com=\"7\"",
            behind_nat: false,
            // It sends from another port than it listens on.
            reach: Reach::Contact,
        },
        Phone {
            name: "Linphone/4.3.0 (belle-sip/4.3.0)",
            flow: stream(Transport::Tcp, home, 4),
            via: "TCP 192.168.1.5:50666;branch=z9hG4bK.hDPlLx6fi;rport",
            contact: "<sip:100@192.168.1.5:50666;transport=tcp>\
                      ;+sip.instance=\"<urn:uuid:1de0c9a5-7a10-0041-b4c8-5c0e5f8b35f3>\"\
                      ;+org.linphone.specs=\"groupchat/1.1,lime\"",
            extra: "Supported: replaces, outbound, gruu, path\r\nExpires: 3600\r\n",
            told: "<sip:100@192.168.1.5:50666;transport=tcp>;expires=3600\
                   ;+sip.instance=\"<urn:uuid:1de0c9a5-7a10-0041-b4c8-5c0e5f8b35f3>\"\
                   ;+org.linphone.specs=\"groupchat/1.1,lime\"\
                   ;pub-gruu=\"sip:100@example.com\
                   ;gr=urn:uuid:1de0c9a5-7a10-0041-b4c8-5c0e5f8b35f3\"",
            behind_nat: true,
            reach: Reach::Flow,
        },
        Phone {
            name: "JsSIP 3.10.0",
            flow: stream(Transport::Ws, home, 5),
            via: "WS df7jal23ls0d.invalid;branch=z9hG4bK5393466",
            contact: "<sip:2ce7u9b5@df7jal23ls0d.invalid;transport=ws>;+sip.ice;reg-id=1\
                      ;+sip.instance=\"<urn:uuid:16f8b0a4-d4a3-4e1c-a7cd-e7a2d1a8cd0b>\";expires=600",
            extra: "Supported: path,gruu,outbound\r\n",
            told: "<sip:2ce7u9b5@df7jal23ls0d.invalid;transport=ws>;expires=600;+sip.ice;reg-id=1\
                   ;+sip.instance=\"<urn:uuid:16f8b0a4-d4a3-4e1c-a7cd-e7a2d1a8cd0b>\"\
                   ;pub-gruu=\"sip:100@example.com\
                   ;gr=urn:uuid:16f8b0a4-d4a3-4e1c-a7cd-e7a2d1a8cd0b\"",
            behind_nat: true,
            reach: Reach::Flow,
        },
        Phone {
            name: "MicroSIP/3.21.3",
            flow: udp(home),
            via: "UDP 198.51.100.7:61234;rport;branch=z9hG4bKPj6d2",
            contact: "<sip:100@198.51.100.7:61234;ob>",
            extra: "Expires: 300\r\nSupported: replaces, 100rel, timer, norefersub, path\r\n",
            told: "<sip:100@198.51.100.7:61234;ob>;expires=300",
            behind_nat: false,
            reach: Reach::Flow,
        },
        Phone {
            name: "Grandstream HT801 1.0.17.5",
            flow: udp(home),
            via: "UDP 10.0.0.30:5060;branch=z9hG4bK1190735210;rport",
            contact: "<sip:100@10.0.0.30:5060;transport=udp>;reg-id=1\
                      ;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000B82E0D4A5>\"",
            extra: "Supported: path\r\nX-Grandstream-PBX: true\r\nExpires: 3600\r\n",
            told: "<sip:100@10.0.0.30:5060;transport=udp>;expires=3600;reg-id=1\
                   ;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000B82E0D4A5>\"",
            behind_nat: true,
            reach: Reach::Flow,
        },
        Phone {
            name: "Asterisk PBX 20.1",
            flow: udp("198.51.100.11:5060"),
            via: "UDP 198.51.100.11:5060;rport;branch=z9hG4bKPjb9a0",
            contact: "<sip:s@198.51.100.11:5060;line=nhwsodz>",
            extra: "Expires: 3600\r\nAllow: OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, PUBLISH\r\n",
            told: "<sip:s@198.51.100.11:5060;line=nhwsodz>;expires=3600",
            behind_nat: false,
            reach: Reach::Flow,
        },
    ]
}

fn register_of(phone: &Phone, call_id: &str, cseq: u32) -> String {
    let mark = hash64(format!("{call_id} {cseq}").as_bytes());
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/{}\r\n\
         From: \"100\" <sip:100@example.com>;tag=1043221607\r\nTo: \"100\" <sip:100@example.com>\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\nContact: {}\r\nMax-Forwards: 70\r\n\
         User-Agent: {}\r\n{}Content-Length: 0\r\n\r\n",
        phone.via, phone.contact, phone.name, phone.extra
    );
    // A branch of its own for each.
    text.replacen("branch=z9hG4bK", &format!("branch=z9hG4bK{mark:x}"), 1)
}

#[test]
fn phones_of_the_field_register_and_refresh() {
    for phone in phones() {
        let mut w = world("");
        let text = register_of(&phone, "0_1537104128@phone", 1);
        let ok = w.register(phone.flow, &text, "100", PASSWORD);
        assert_eq!(ok.status(), 200, "{}", phone.name);
        let told = lines(&ok, HeaderName::Contact);
        let told: Vec<_> = told
            .iter()
            .map(|c| c.split(";temp-gruu=").next().unwrap_or_default())
            .collect();
        assert_eq!(told, [phone.told], "{}", phone.name);
        let binding = &w.bindings("100@example.com")[0];
        assert_eq!(binding.behind_nat(), phone.behind_nat, "{}", phone.name);
        assert_eq!(binding.reach(), phone.reach, "{}", phone.name);
        assert_eq!(binding.user_agent(), phone.name);
        assert!(matches!(w.records[..], [Record::PutBinding(_)]));
        // Half the time later it comes again.
        w.wait(Duration::from_secs(40));
        let pinged = w.sent.iter().any(|m| m.method() == Method::Options);
        let udp = phone.flow.transport == Transport::Udp;
        assert_eq!(pinged, phone.behind_nat && udp, "{}", phone.name);
        w.sent.clear();
        let text = register_of(&phone, "0_1537104128@phone", 3);
        let ok = w.register(phone.flow, &text, "100", PASSWORD);
        assert_eq!(ok.status(), 200, "{}", phone.name);
        let last = w.records.last();
        assert!(
            matches!(last, Some(Record::TouchBinding(_))),
            "{} {last:?}",
            phone.name
        );
        assert_eq!(w.disk.len(), 1);
    }
}

/// The slide's Linksys: it still has an old nonce of another server, so it is asked again.
#[test]
fn the_decks_linksys_registers() {
    let mut w = world("");
    let flow = udp("69.125.90.230:5070");
    let text = String::from_utf8(include_bytes!("data/deck/register.dat").to_vec());
    let text = text.expect("text");
    let ok = w.register(flow, &text, "5700020326", PASSWORD);
    assert_eq!(ok.status(), 200);
    assert_eq!(
        lines(&ok, HeaderName::Contact),
        ["<sip:5700020326@69.125.90.230:5070>;expires=3600"]
    );
    let binding = &w.bindings("5700020326@voztele.com")[0];
    assert!(!binding.behind_nat());
    assert_eq!(binding.user_agent(), "Linksys/SPA2102-3.3.6");
    w.input(Input::Control {
        id: 1,
        command: Command::Registrations {
            filter: Some("voztele".into()),
            after: None,
        },
    });
    let Some(Reply::Registrations { rows, more: false }) = w.replies.pop() else {
        panic!("{:?}", w.replies);
    };
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].received, "69.125.90.230:5070");
    assert_eq!((rows[0].expires_s, &*rows[0].transport), (3600, "udp"));
}

#[test]
fn nobody_registers_without_proof_or_for_another() {
    let mut w = world("");
    let phone = &phones()[0];
    let mut attempt = |n: u32, from: &str, to: &str, user: &str, password: &str| {
        let text = register_of(phone, &format!("call-{n}"), 1).replace(from, to);
        w.register(phone.flow, &text, user, password).status()
    };
    assert_eq!(attempt(1, "", "", "100", "wrong"), 401);
    assert_eq!(attempt(2, "", "", "200", PASSWORD), 403);
    assert_eq!(attempt(3, "sip:100@", "sip:999@", "999", PASSWORD), 401);
    assert_eq!(
        attempt(4, "100@example.com", "100@example.net", "100", PASSWORD),
        404
    );
    assert!(w.location.is_empty() && w.records.is_empty());
}

/// Somebody guesses: slower and slower, then out; a list shows it, the operator lifts it.
#[test]
fn guessing_ends_in_a_ban() {
    let mut w = world("[guard]\nslow_after = 3\nban_after = 8\n");
    let flow = udp("203.0.113.66:5060");
    let mut heard = 0;
    for n in 0..400 {
        let phone = &phones()[0];
        let text = register_of(phone, &format!("guess-{n}"), 1);
        let request = Message::parse(Bytes::from(text)).expect("parses");
        w.send(flow, request.bytes().clone());
        if let Some(challenge) = w.sent.pop() {
            heard += 1;
            w.send(flow, proven(&request, &challenge, "100", &format!("{n}")));
        }
        w.sent.clear();
        w.wait(Duration::from_millis(100));
        w.sent.clear();
    }
    assert!(heard < 20, "{heard} guesses were heard");
    assert_eq!(w.guard.len(w.now), 1);
    let banned = |r: &Record| matches!(r, Record::PutBan(b) if b.source == flow.remote.ip());
    assert_eq!(w.records.iter().filter(|r| banned(r)).count(), 1);
    let source = flow.remote.ip();
    w.input(Input::Control {
        id: 1,
        command: Command::BanLift { source, user: None },
    });
    let delete = Record::DeleteBan { source, user: None };
    assert_eq!(w.records.last(), Some(&delete));
    let text = register_of(&phones()[0], "late", 1);
    assert_eq!(w.register(flow, &text, "100", PASSWORD).status(), 200);
}

/// RFC 3608: told in the answer, each route in its order, and others after a reload.
#[test]
fn phones_are_told_the_way_out() {
    let mut w = world("service_route = [\"sip:a.example.com;lr\", \"sip:b.example.com;lr\"]\n");
    let phone = &phones()[0];
    let mut routes = |n: u32, change: Option<&str>| {
        if let Some(extra) = change {
            w.input(Input::Configure(config(extra)));
        }
        let text = register_of(phone, "call", n);
        let answer = w.register(phone.flow, &text, "100", PASSWORD);
        assert_eq!(answer.status(), 200);
        lines(&answer, HeaderName::ServiceRoute)
    };
    let both = ["<sip:a.example.com;lr>", "<sip:b.example.com;lr>"];
    assert_eq!(routes(1, None), both);
    let other = "service_route = [\"sips:c.example.com;lr\"]\n";
    assert_eq!(routes(3, Some(other)), ["<sips:c.example.com;lr>"]);
    assert_eq!(routes(5, Some("")), [""; 0]);
}

/// An office behind one address: user 200 has a wrong password and tries again every second for
/// hours. Whoever else is there stays registered; 200's proofs are refused unseen, even a right
/// one, until the ban ends or the operator lifts it.
#[test]
fn one_broken_phone_leaves_the_office_registered() {
    let mut w = world("");
    let good = udp("203.0.113.66:5060");
    let broken = udp("203.0.113.66:6200");
    let (of_100, of_200) = (&phones()[0], "sip:200@");
    let register = |w: &mut World, n: u32| {
        let text = register_of(of_100, "the good one", n);
        w.register(good, &text, "100", PASSWORD).status()
    };
    let attempt = |w: &mut World, n: u32, password: &str| {
        let text = register_of(of_100, "the broken one", n).replace("sip:100@", of_200);
        w.register(broken, &text, "200", password).status()
    };
    for n in 0..3 * 3600 {
        if n % 600 == 0 {
            assert_eq!(register(&mut w, n + 1), 200, "after {n} s");
        }
        assert_eq!(attempt(&mut w, 2 * n + 1, "wrong"), 401, "after {n} s");
        w.wait(Duration::from_secs(1));
        w.sent.clear();
    }
    assert_eq!(w.bindings("100@example.com").len(), 1);
    let puts = w.records.iter().filter_map(|r| match r {
        Record::PutBan(ban) => Some(ban.user.as_deref()),
        _ => None,
    });
    let puts: Vec<_> = puts.collect();
    assert!((3..=4).contains(&puts.len()), "one an hour: {puts:?}");
    assert!(puts.iter().all(|user| *user == Some("200@example.com")));
    assert_eq!(attempt(&mut w, 50_000, PASSWORD), 401, "unseen");
    let source = good.remote.ip();
    let user = Some("200".into());
    w.input(Input::Control {
        id: 1,
        command: Command::BanLift { source, user },
    });
    assert_eq!(attempt(&mut w, 50_002, PASSWORD), 200);
}

#[test]
fn bindings_end_by_time_and_come_back_after_a_restart() {
    let mut w = world("");
    for (n, phone) in phones().iter().enumerate() {
        let text = register_of(phone, &format!("call-{n}"), 1);
        assert_eq!(w.register(phone.flow, &text, "100", PASSWORD).status(), 200);
    }
    w.wait(Duration::from_secs(20));
    let before = w.bindings("100@example.com");
    assert_eq!(w.disk.len(), before.len());
    let mut after = world("");
    after.now = w.now;
    let clock = Clock {
        now: w.now,
        anchor: ANCHOR,
    };
    for record in w.disk.values() {
        assert!(after.location.restore(clock, record), "{record:?}");
    }
    after.disk = w.disk.clone();
    let contacts = |w: &World| {
        let mut all: Vec<_> = w
            .bindings("100@example.com")
            .iter()
            .map(|b| (b.contact().to_owned(), b.expires_at()))
            .collect();
        all.sort();
        all
    };
    assert_eq!(contacts(&w), contacts(&after));
    // The phone behind the web's connection is known, but not reached until it comes back.
    let web = |w: &World| {
        let all = w.bindings("100@example.com");
        all.iter()
            .find(|b| b.flow().transport == Transport::Ws)
            .map(|b| (b.reach(), b.reg_id()))
    };
    assert_eq!(web(&after), Some((Reach::Nowhere, 1)));
    let mut phone = phones().swap_remove(4);
    phone.flow = stream(Transport::Ws, "198.51.100.7:61999", 77);
    let text = register_of(&phone, "after the restart", 1);
    assert_eq!(
        after.register(phone.flow, &text, "100", PASSWORD).status(),
        200
    );
    assert_eq!(web(&after), Some((Reach::Flow, 1)));
    assert_eq!(after.location.len(), w.location.len());
    // Its connection ends: so does the binding. The others end by time.
    after.input(Input::ConnectionClosed {
        connection: ConnectionId(77),
    });
    assert_eq!(web(&after), None);
    after.wait(Duration::from_secs(7300));
    assert!(after.location.is_empty());
    assert!(after.disk.is_empty(), "{:?}", after.disk);
}

/// A phone behind NAT that answers no pings is not tried, and tried again once it does.
#[test]
fn pings_tell_whether_a_phone_is_there() {
    let mut w = world("");
    let phone = &phones()[0];
    assert_eq!(
        w.register(phone.flow, &register_of(phone, "a", 1), "100", PASSWORD)
            .status(),
        200
    );
    w.wait(Duration::from_secs(240));
    let reach = |w: &World| w.bindings("100@example.com")[0].reach();
    assert_eq!(reach(&w), Reach::Nowhere);
    w.sent.clear();
    while w.sent.is_empty() {
        w.wait(Duration::from_secs(1));
    }
    let ping = w.sent.pop().expect("one");
    assert_eq!(ping.method(), Method::Options);
    assert_eq!(ping.request_uri(), b"sip:100@192.168.1.20:5060");
    // A phone that does not know OPTIONS lives, too.
    let answer = ResponseBuilder::new(&ping, 501).to_tag(b"x").render();
    w.send(phone.flow, answer);
    assert_eq!(reach(&w), Reach::Flow);
}

/// Nanoseconds of one core per refresh, all but the sockets and the disk:
/// `cargo test --release --test registrar -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_fast() {
    const PHONES: usize = 1000;
    const ROUNDS: u32 = 100;
    let mut w = world("trusted = [\"198.51.100.7\"]\n[limits]\ntrace_messages_max = 0\n");
    for n in 0..PHONES {
        w.directory
            .put(user(&format!("p{n}"), "example.com"))
            .expect("room");
    }
    let phone = &phones()[5];
    let mut spent = Duration::ZERO;
    for round in 1..=ROUNDS {
        let texts: Vec<Bytes> = (0..PHONES)
            .map(|n| {
                let text = register_of(phone, &format!("call-{n}"), round);
                Bytes::from(text.replace("sip:100@", &format!("sip:p{n}@")))
            })
            .collect();
        w.records.clear();
        let start = std::time::Instant::now();
        for bytes in texts {
            let flow = phone.flow;
            w.core.handle_input(w.now, Input::Message { flow, bytes });
            while let Some(output) = w.core.poll_output() {
                std::hint::black_box(&output);
            }
            std::hint::black_box(w.core.poll_timeout());
        }
        if round > 1 {
            spent += start.elapsed();
        }
    }
    let each = spent.as_nanos() / u128::from(ROUNDS - 1) / PHONES as u128;
    println!("{each} ns per REGISTER");
}
