//! One shard under a virtual clock, and phones that are as much as a test writes of them.

use bytes::Bytes;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use voip::base::{Anchor, ConnectionId, Destination, Flow, Instant, Rng, TransmitTag, Transport};
use voip::call::Addresses;
use voip::config::Config;
use voip::control::{Command, Reply};
use voip::feature::Features;
use voip::location::{Limits, Location};
use voip::peer::Peers;
use voip::proxy::guard::{self, Guard};
use voip::relay::PortPool;
use voip::server::{Input, MediaOrder, Output, Setup, SignalCore};
use voip::sip::digest::{self, ClientCredentials, Replays};
use voip::sip::listeners::{Interface, Listener, ListenerTable};
use voip::sip::locate::{DnsAnswer, DnsQuestion};
use voip::store::{Directory, Ha1, Record, User};
use voip::wire::sip::{HeaderName, Message, Method, ResponseBuilder};

pub const PASSWORD: &str = "secret";
pub const TRUSTED: &str = "198.51.100.9:5060";
const USERS: [&str; 6] = ["100", "200", "300", "400", "500", "600"];
const CONFIG: &str = "[node]\ndomains = [\"example.com\"]\n[sip]\n\
    listen = [\"udp:192.0.2.10:5060\"]\ntrusted = [\"198.51.100.0/24\"]\n\
    keepalive = \"off\"\n";

const ANCHOR: Anchor = Anchor {
    instant: Instant::ZERO,
    unix_ms: 1_700_000_000_000,
};

/// What left the shard.
#[derive(Debug)]
pub struct Sent {
    pub destination: Destination,
    pub message: Message,
    pub tag: TransmitTag,
}

/// A peer: where it is and how it talks.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub flow: Flow,
    /// What it believes its own address to be.
    pub own: SocketAddr,
}

impl Peer {
    pub fn udp(address: &str) -> Self {
        Self::new(Transport::Udp, address, address, None)
    }

    /// Behind a NAT: it believes to be `own`, its packets come from `seen`.
    pub fn nat(own: &str, seen: &str) -> Self {
        Self::new(Transport::Udp, own, seen, None)
    }

    pub fn tcp(address: &str, connection: u64) -> Self {
        Self::new(
            Transport::Tcp,
            address,
            address,
            Some(ConnectionId(connection)),
        )
    }

    fn new(transport: Transport, own: &str, seen: &str, connection: Option<ConnectionId>) -> Self {
        let remote: SocketAddr = seen.parse().unwrap();
        let local = match remote {
            SocketAddr::V4(_) => "192.0.2.10:5060",
            SocketAddr::V6(_) => "[2001:db8::10]:5060",
        };
        let flow = Flow {
            transport,
            local: local.parse().unwrap(),
            remote,
            connection,
        };
        Self {
            flow,
            own: own.parse().unwrap(),
        }
    }

    pub fn contact(&self, user: &str) -> String {
        let transport = match self.flow.transport {
            Transport::Udp => "",
            _ => ";transport=tcp",
        };
        format!("<sip:{user}@{}{transport}>", self.own)
    }
}

/// A request as a phone writes it.
#[derive(Clone, Debug)]
pub struct Req<'a> {
    pub method: &'a str,
    pub uri: &'a str,
    pub from: &'a str,
    pub from_tag: &'a str,
    pub to: &'a str,
    pub to_tag: &'a str,
    pub call_id: &'a str,
    pub cseq: u32,
    pub branch: &'a str,
    pub max_forwards: u8,
    pub extra: String,
    pub body: &'a str,
}

pub fn req<'a>(method: &'a str, uri: &'a str) -> Req<'a> {
    Req {
        method,
        uri,
        from: "sip:100@example.com",
        from_tag: "f1",
        to: "sip:200@example.com",
        to_tag: "",
        call_id: "call-1",
        cseq: 1,
        branch: "z9hG4bKa1",
        max_forwards: 70,
        extra: String::new(),
        body: "",
    }
}

impl Req<'_> {
    pub fn extra(mut self, line: &str) -> Self {
        self.extra.push_str(line);
        self.extra.push_str("\r\n");
        self
    }

    pub fn text(&self, peer: &Peer) -> String {
        let to_tag = match self.to_tag {
            "" => String::new(),
            tag => format!(";tag={tag}"),
        };
        let kind = match self.body {
            "" => "",
            _ => "Content-Type: application/sdp\r\n",
        };
        format!(
            "{} {} SIP/2.0\r\nVia: SIP/2.0/{} {};branch={};rport\r\nMax-Forwards: {}\r\n\
             From: <{}>;tag={}\r\nTo: <{}>{to_tag}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n\
             {}{kind}Content-Length: {}\r\n\r\n{}",
            self.method,
            self.uri,
            peer.flow.transport.via_token(),
            peer.own,
            self.branch,
            self.max_forwards,
            self.from,
            self.from_tag,
            self.to,
            self.call_id,
            self.cseq,
            self.method,
            self.extra,
            self.body.len(),
            self.body,
        )
    }
}

/// The shard and what it did.
pub struct World {
    pub core: SignalCore,
    pub now: Instant,
    pub sent: VecDeque<Sent>,
    pub records: Vec<Record>,
    pub questions: Vec<(u64, DnsQuestion)>,
    pub replies: Vec<Reply>,
    /// What media were told.
    pub orders: Vec<MediaOrder>,
    registered: u32,
    extra: String,
    location: Arc<Location>,
}

impl World {
    pub fn new() -> Self {
        Self::with("")
    }

    /// `extra` continues the `[sip]` table.
    pub fn with(extra: &str) -> Self {
        let text = format!("{CONFIG}{extra}\n");
        let config = Arc::new(Config::parse(&text, Path::new("voip.toml")).unwrap());
        let listeners = [
            (Transport::Udp, "192.0.2.10:5060"),
            (Transport::Tcp, "192.0.2.10:5060"),
            (Transport::Udp, "[2001:db8::10]:5060"),
        ];
        let listeners = listeners.map(|(transport, bind)| Listener {
            transport,
            bind: bind.parse().unwrap(),
            advertised: None,
        });
        let interface = Interface {
            address: "192.0.2.10".parse().unwrap(),
            prefix: 24,
        };
        let directory = Directory::new();
        for name in USERS {
            let user = User {
                username: name.into(),
                domain: "example.com".into(),
                display_name: "".into(),
                ha1: Ha1::of(name, "example.com", PASSWORD),
                disabled: false,
            };
            directory.put(user).unwrap();
        }
        let location = Arc::new(Location::new(Limits::default()));
        let core = SignalCore::new(Setup {
            shard: 0,
            shards: 1,
            peers: Arc::new(Peers::new(&config, [3; 32])),
            guard: Arc::new(Guard::new(guard::Settings::of(&config), [7; 16])),
            config,
            listeners: ListenerTable::new(listeners.to_vec(), vec![interface], [None, None]),
            addresses: Addresses::default(),
            location: location.clone(),
            directory: Arc::new(directory),
            features: Arc::new(Features::new()),
            rooms: Default::default(),
            mailboxes: Arc::default(),
            rng: Rng::from_u64(1),
            anchor: ANCHOR,
            secret: [3; 32],
            replays: Arc::new(Replays::new()),
            ports: PortPool::new(20_000, 20_099, 0, 1),
        });
        Self {
            core,
            now: Instant::from_millis(1000),
            sent: VecDeque::new(),
            records: Vec::new(),
            questions: Vec::new(),
            replies: Vec::new(),
            orders: Vec::new(),
            registered: 0,
            extra: extra.to_owned(),
            location,
        }
    }

    /// The server died and started again: it knows the bindings, and nothing else.
    pub fn restart(&mut self) {
        let mut again = Self::with(&self.extra);
        std::mem::swap(&mut again.core, &mut self.core);
        let clock = voip::location::Clock {
            now: self.now,
            anchor: ANCHOR,
        };
        let old = std::mem::replace(&mut self.location, again.location);
        for user in USERS {
            for binding in &old.lookup(&format!("{user}@example.com")) {
                assert!(self.location.restore(clock, &binding.record(ANCHOR)));
            }
        }
        self.sent.clear();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Transmit(t) => self.sent.push_back(Sent {
                    destination: t.destination,
                    message: Message::parse(t.bytes).unwrap(),
                    tag: t.tag,
                }),
                Output::Persist(record) => self.records.push(record),
                Output::Resolve { query, question } => self.questions.push((query, question)),
                Output::Reply { reply, .. } => self.replies.push(reply),
                Output::Media(order) => self.orders.push(order),
                Output::Tell { shard: 0, input } => self.core.handle_input(self.now, input),
                _ => {}
            }
        }
    }

    pub fn input(&mut self, input: Input) {
        self.core.handle_input(self.now, input);
        self.drain();
    }

    pub fn from(&mut self, peer: &Peer, text: impl Into<Bytes>) {
        let flow = peer.flow;
        let bytes = text.into();
        self.input(Input::Message { flow, bytes });
    }

    pub fn send(&mut self, peer: &Peer, request: &Req<'_>) {
        self.from(peer, request.text(peer));
    }

    /// What the operator asks and is told.
    pub fn command(&mut self, command: Command) -> Reply {
        self.input(Input::Control { id: 1, command });
        self.replies.remove(0)
    }

    pub fn resolve(&mut self, query: u64, answer: DnsAnswer) {
        self.input(Input::Resolved { query, answer });
    }

    pub fn transmit_failed(&mut self, tag: TransmitTag) {
        self.input(Input::TransmitFailed { tag });
    }

    pub fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    pub fn wait_s(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
    }

    /// Lets time pass, second by second, until something was sent; gives the seconds.
    pub fn wait_for_something(&mut self, seconds_max: u64) -> u64 {
        for second in 0..seconds_max {
            if !self.sent.is_empty() {
                return second;
            }
            self.wait_s(1);
        }
        panic!("nothing was sent in {seconds_max} s");
    }

    /// The next message to a peer; whatever goes to others stays.
    pub fn take(&mut self, peer: &Peer) -> Message {
        self.take_sent(peer).message
    }

    /// The next message to a peer of that method; those before are passed over.
    pub fn take_of(&mut self, peer: &Peer, method: Method<'_>) -> Message {
        loop {
            let message = self.take(peer);
            if message.is_request() && message.method() == method {
                return message;
            }
        }
    }

    pub fn take_sent(&mut self, peer: &Peer) -> Sent {
        let at = self
            .sent
            .iter()
            .position(|s| s.destination.remote() == peer.flow.remote);
        let Some(at) = at else {
            panic!("nothing for {}: {:#?}", peer.flow.remote, self.outline());
        };
        self.sent.remove(at).unwrap()
    }

    pub fn status(&mut self, peer: &Peer) -> u16 {
        let message = self.take(peer);
        assert!(!message.is_request(), "{message:?}");
        message.status()
    }

    pub fn nothing(&self) {
        assert!(self.sent.is_empty(), "{:#?}", self.outline());
    }

    pub fn outline(&self) -> Vec<String> {
        let line = |s: &Sent| {
            let bytes = s.message.bytes();
            let end = memchr_line(bytes);
            let first = String::from_utf8_lossy(&bytes[..end]).into_owned();
            format!("{} <- {first}", s.destination.remote())
        };
        self.sent.iter().map(line).collect()
    }

    /// Answers a request that the peer got.
    pub fn answer(&mut self, peer: &Peer, request: &Message, status: u16, tag: &str) {
        self.answer_with(peer, request, status, tag, &[]);
    }

    pub fn answer_with(
        &mut self,
        peer: &Peer,
        request: &Message,
        status: u16,
        tag: &str,
        headers: &[(HeaderName, &str)],
    ) {
        let contact = peer.contact("x");
        let mut response = ResponseBuilder::new(request, status)
            .to_tag(tag.as_bytes())
            .record_route();
        if request.method() == Method::Invite && status < 300 {
            response = response.header(HeaderName::Contact, contact.as_bytes());
        }
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let bytes = response.render();
        self.from(peer, bytes);
    }

    /// Registers a contact of a user with digest.
    pub fn register(&mut self, user: &str, peer: &Peer, parameters: &str) {
        self.register_with(user, peer, parameters, "");
    }

    pub fn register_with(&mut self, user: &str, peer: &Peer, parameters: &str, lines: &str) {
        self.registered += 1;
        let n = self.registered;
        let aor = format!("sip:{user}@example.com");
        let call_id = format!("reg-{n}");
        let branches = [format!("z9hG4bKr{n}a"), format!("z9hG4bKr{n}b")];
        let mut request = req("REGISTER", "sip:example.com");
        (request.from, request.to) = (&aor, &aor);
        request.call_id = &call_id;
        request.branch = &branches[0];
        request.extra = format!("Contact: {}{parameters}\r\n{lines}", peer.contact(user));
        self.send(peer, &request);
        let challenge = self.take(peer);
        assert_eq!(challenge.status(), 401);
        request.cseq = 2;
        request.branch = &branches[1];
        let proof = proof(&challenge, user, "REGISTER", "sip:example.com");
        let request = request.extra(&format!("Authorization: {proof}"));
        self.send(peer, &request);
        let done = self.take(peer);
        assert_eq!(done.status(), 200, "{done:?}");
    }

    /// Sends a request that is challenged, and again with the proof; the branch gets another end.
    pub fn send_proven(&mut self, peer: &Peer, request: &Req<'_>, user: &str) {
        self.send(peer, request);
        let challenge = self.take(peer);
        assert_eq!(challenge.status(), 407, "{challenge:?}");
        if request.method == "INVITE" {
            let mut ack = request.clone();
            ack.method = "ACK";
            ack.extra = String::new();
            ack.body = "";
            let tag = text(challenge.to().unwrap().tag().unwrap());
            ack.to_tag = &tag;
            self.send(peer, &ack);
        }
        let proof = proof(&challenge, user, request.method, request.uri);
        let branch = format!("{}p", request.branch);
        let mut again = request
            .clone()
            .extra(&format!("Proxy-Authorization: {proof}"));
        again.cseq += 1;
        again.branch = &branch;
        self.send(peer, &again);
    }
}

fn memchr_line(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|b| *b == b'\r')
        .unwrap_or(bytes.len())
}

fn proof(challenge: &Message, user: &str, method: &str, uri: &str) -> String {
    let name = match challenge.status() {
        401 => HeaderName::WwwAuthenticate,
        _ => HeaderName::ProxyAuthenticate,
    };
    let challenge = challenge.challenges(name).next().unwrap().unwrap();
    let credentials = ClientCredentials {
        username: user,
        password: PASSWORD.as_bytes(),
    };
    digest::answer(
        &challenge,
        &credentials,
        method.as_bytes(),
        uri,
        1,
        "cnonce",
    )
    .unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn header(message: &Message, name: HeaderName) -> String {
    text(message.header(name).unwrap_or_default())
}

pub fn values(message: &Message, name: HeaderName) -> Vec<String> {
    message.values(name).map(text).collect()
}
