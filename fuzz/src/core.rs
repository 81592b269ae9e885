//! The whole signalling core, driven by a script that the fuzzer writes.
//!
//! A script is a list of steps. A step is a line `@` and a letter, with an argument behind it, and
//! the bytes up to the next line that begins with `@`:
//!
//! | step | what happens |
//! | --- | --- |
//! | `@a`, `@b`, `@s`, `@k` | a datagram from phone 1, phone 2, a trusted peer, a trunk |
//! | `@t` | bytes on a trusted peer's TCP connection |
//! | `@w 500` | so many milliseconds pass |
//! | `@r 180` | the last request that was sent is answered with that status, the bytes as SDP |
//! | `@f`, `@c` | the last sending fails, the connection closes |
//! | `@d`, `@D` | pending DNS questions get an address, get nothing |
//! | `@m`, `@M` | the last media session is open, has failed |
//! | `@n 1`, `@N` | a task of its studio is over, a key was pressed: the first of the bytes |

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use voip::base::{
    Anchor, ConnectionId, Destination, Flow, Instant, Rng, Transmit, TransmitTag, Transport,
};
use voip::call::Addresses;
use voip::config::Config;
use voip::feature::Features;
use voip::location::{Clock, Limits, Location};
use voip::media::News;
use voip::peer::Peers;
use voip::proxy::guard::{self, Guard};
use voip::relay::{Failure, MediaCommand, MediaEvent, PortPool};
use voip::server::{Input, MediaNews, MediaOrder, Output, Setup, SignalCore};
use voip::sip::digest::Replays;
use voip::sip::listeners::{Interface, Listener, ListenerTable};
use voip::sip::locate::{DnsAnswer, DnsRecord};
use voip::store::{BindingRecord, Directory, Ha1, User};
use voip::wire::sip::{Frame, Framer, Message, ResponseBuilder};

const CONFIG: &str = "[node]\ndomains = [\"example.com\"]\n\
    [sip]\nlisten = [\"udp:192.0.2.10:5060\", \"tcp:192.0.2.10:5060\"]\n\
    trusted = [\"198.51.100.0/24\"]\n[rtp]\nrelay = \"always\"\n\
    [numbers]\ncountry = \"34\"\nnational_digits = 9\n\
    [[trunk]]\nname = \"itsp\"\nuri = \"sip:203.0.113.8\"\nusername = \"us\"\nprobe_s = 0\n\
    password_file = \"secret\"\nnumbers = \"digits\"\nidentity = \"asserted\"\n\
    [[pool]]\nname = \"media\"\nmembers = [\"sip:203.0.113.9\", \"sip:media.example.com\"]\n\
    hide_topology = true\nprobe_s = 0\n\
    [[route]]\nmatch = \"9XXXXXXXX\"\nfrom = [\"address:198.51.100.0/24\", \"user:100\"]\n\
    to = [\"trunk:itsp\", \"pool:media\"]\nring_s = 5\n\
    [[route]]\nmatch = \"+34!\"\nfrom = [\"trunk:itsp\"]\nto = [\"user:100\", \"pool:media\"]\n\
    [[route]]\nmatch = \"7XX\"\nto = [\"pool:media\"]\nredirect = true\n";
const US: &str = "192.0.2.10:5060";
const STRANGER: &str = "192.0.2.1:5060";
const TRUSTED: &str = "198.51.100.7:5060";
const TRUNK: &str = "203.0.113.8:5060";
/// Steps of one script, and what one step may bring forth.
const STEPS_MAX: usize = 64;
const OUTPUTS_MAX: usize = 4_000;
/// What is kept for `answers`.
const SENT_MAX: usize = 1_000;
/// The longest that any transaction may live when nobody says anything any more.
const SILENCE: Duration = Duration::from_secs(3600);
const START_UNIX_MS: u64 = 1_700_000_000_000;

struct World {
    core: SignalCore,
    guard: Arc<Guard>,
    now: Instant,
    framer: Framer,
    last: Option<(Destination, Message)>,
    tag: TransmitTag,
    queries: Vec<u64>,
    session: u64,
    sent: Vec<Bytes>,
}

/// Runs the script, then lets everything end.
pub fn signal_core(script: &[u8]) {
    let mut world = World::new();
    for step in steps(script).take(STEPS_MAX) {
        world.step(step);
    }
    world.close();
    world.wait(SILENCE);
    let (transactions, _) = world.core.load();
    assert_eq!(transactions, 0, "every transaction ends");
}

/// What the core sends for one message, for tests that look at it.
#[allow(dead_code)]
pub fn answers(bytes: &[u8], stream: bool) -> Vec<Bytes> {
    let mut world = World::new();
    // Of a stranger much is dropped unanswered.
    let source: SocketAddr = STRANGER.parse().expect("address");
    world.guard.vouch(source.ip(), world.now);
    match stream {
        true => world.stream(STRANGER, bytes),
        false => world.datagram(STRANGER, bytes),
    }
    world.wait(Duration::from_secs(40));
    world.sent
}

fn steps(script: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = script.strip_prefix(b"@").unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .windows(2)
            .position(|pair| pair == b"\n@")
            .unwrap_or(rest.len());
        let (step, tail) = rest.split_at(end);
        rest = tail.get(2..).unwrap_or_default();
        Some(step)
    })
}

fn binding(user: &str, remote: &str, transport: &str) -> BindingRecord {
    BindingRecord {
        aor: format!("{user}@example.com").into(),
        key: format!("sip:{user}@{remote}").into(),
        contact: format!("sip:{user}@{remote};transport={transport}").into(),
        parameters: "".into(),
        q: 1000,
        expires_at_ms: START_UNIX_MS + 600_000,
        registered_at_ms: START_UNIX_MS,
        call_id: "registered".into(),
        cseq: 1,
        path: Box::new([]),
        transport: transport.into(),
        local: US.into(),
        received: remote.into(),
        behind_nat: false,
        instance: "".into(),
        reg_id: 0,
        user_agent: "".into(),
        serial: 0,
    }
}

fn listeners() -> ListenerTable {
    let bind = US.parse().expect("address");
    let listener = |transport| Listener {
        transport,
        bind,
        advertised: None,
    };
    let interface = Interface {
        address: bind.ip(),
        prefix: 24,
    };
    let all = vec![listener(Transport::Udp), listener(Transport::Tcp)];
    ListenerTable::new(all, vec![interface], [None, None])
}

/// The trunk's password is known.
fn peers(config: &Config) -> Arc<Peers> {
    let peers = Peers::new(config, [3; 32]);
    peers.set_secret("itsp", Some(b"secret".to_vec()));
    Arc::new(peers)
}

impl World {
    fn new() -> World {
        static SHARED: OnceLock<Arc<Config>> = OnceLock::new();
        let config = SHARED.get_or_init(|| {
            Arc::new(Config::parse(CONFIG, Path::new("voip.toml")).expect("configuration"))
        });
        let anchor = Anchor {
            instant: Instant::ZERO,
            unix_ms: START_UNIX_MS,
        };
        let location = Arc::new(Location::new(Limits::default()));
        let clock = Clock {
            now: Instant::ZERO,
            anchor,
        };
        for record in [
            binding("200", "192.0.2.2:5060", "udp"),
            binding("300", "192.0.2.3:5060", "udp"),
            binding("300", "192.0.2.4:5060", "udp"),
        ] {
            assert!(location.restore(clock, &record));
        }
        let directory = Arc::new(Directory::new());
        for name in ["100", "200", "300"] {
            let user = User {
                username: name.into(),
                domain: "example.com".into(),
                display_name: "".into(),
                ha1: Ha1::of(name, "example.com", "secret"),
                disabled: false,
            };
            directory.put(user).expect("room");
        }
        let guard = Arc::new(Guard::new(guard::Settings::of(config), [7; 16]));
        let core = SignalCore::new(Setup {
            shard: 0,
            shards: 1,
            peers: peers(config),
            guard: Arc::clone(&guard),
            config: Arc::clone(config),
            listeners: listeners(),
            addresses: Addresses::default(),
            location,
            directory,
            features: Arc::new(Features::new()),
            rooms: Default::default(),
            mailboxes: Arc::default(),
            rng: Rng::from_u64(1),
            anchor,
            secret: [3; 32],
            replays: Arc::new(Replays::new()),
            ports: PortPool::new(20_000, 20_099, 0, 1),
        });
        World {
            core,
            guard,
            now: Instant::from_millis(1000),
            framer: Framer::new(),
            last: None,
            tag: TransmitTag(0),
            queries: Vec::new(),
            session: 0,
            sent: Vec::new(),
        }
    }

    fn step(&mut self, step: &[u8]) {
        let end = step
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(step.len());
        let (line, rest) = step.split_at(end);
        let payload = rest.get(1..).unwrap_or_default();
        let number = line
            .get(2..)
            .and_then(|text| std::str::from_utf8(text).ok());
        let number: u32 = number
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        match line.first() {
            Some(b'a') => self.datagram(STRANGER, payload),
            Some(b'b') => self.datagram("192.0.2.2:5060", payload),
            Some(b's') => self.datagram(TRUSTED, payload),
            Some(b'k') => self.datagram(TRUNK, payload),
            Some(b't') => self.stream(TRUSTED, payload),
            Some(b'w') => self.wait(Duration::from_millis(number.min(3_600_000).into())),
            Some(b'r') => self.respond(number, payload),
            Some(b'f') => self.input(Input::TransmitFailed { tag: self.tag }),
            Some(b'c') => self.close(),
            Some(b'd') => self.resolve(Some(DnsRecord::A([203, 0, 113, 5].into()))),
            Some(b'D') => self.resolve(None),
            Some(b'm') => self.media(MediaEvent::Opened {
                session: self.session,
            }),
            Some(b'M') => {
                let reason = Failure::Full;
                self.media(MediaEvent::Failed {
                    session: self.session,
                    reason,
                });
            }
            // The studio: a task is over, a key was pressed.
            Some(b'n') => self.studio(News::Done {
                session: self.session,
                task: number,
                played_ms: 0,
            }),
            Some(b'N') => self.studio(News::Key {
                session: self.session,
                key: payload.first().map_or('#', |byte| char::from(*byte)),
            }),
            _ => {}
        }
    }

    fn studio(&mut self, news: News) {
        self.input(Input::Media(MediaNews::Studio(news)));
    }

    fn media(&mut self, event: MediaEvent) {
        self.input(Input::Media(MediaNews::Relay(event)));
    }

    fn datagram(&mut self, source: &str, bytes: &[u8]) {
        let flow = Flow {
            transport: Transport::Udp,
            local: US.parse().expect("address"),
            remote: source.parse().expect("address"),
            connection: None,
        };
        let bytes = Bytes::copy_from_slice(bytes);
        self.core
            .handle_input(self.now, Input::Message { flow, bytes });
        self.drain();
    }

    fn stream(&mut self, source: &str, bytes: &[u8]) {
        let flow = Flow {
            transport: Transport::Tcp,
            local: US.parse().expect("address"),
            remote: source.parse().expect("address"),
            connection: Some(ConnectionId(1)),
        };
        self.framer.push(bytes);
        loop {
            let input = match self.framer.next() {
                Ok(Some(Frame::Message(bytes))) => Input::Message { flow, bytes },
                Ok(Some(Frame::Ping | Frame::Pong)) => continue,
                Ok(None) => return,
                Err(error) => {
                    let head = Bytes::copy_from_slice(self.framer.head());
                    self.framer = Framer::new();
                    Input::Unframeable { flow, head, error }
                }
            };
            let broken = matches!(input, Input::Unframeable { .. });
            self.core.handle_input(self.now, input);
            self.drain();
            if broken {
                return;
            }
        }
    }

    fn respond(&mut self, status: u32, body: &[u8]) {
        let Some((destination, request)) = self.last.clone() else {
            return;
        };
        let status = u16::try_from(status).unwrap_or(0).clamp(100, 699);
        let mut builder = ResponseBuilder::new(&request, status)
            .to_tag("callee")
            .record_route()
            .raw_header("Contact", "<sip:callee@192.0.2.2>");
        if let 401 | 407 = status {
            let challenge = "Digest realm=\"r\", nonce=\"n\", qop=\"auth\"";
            let name = match status {
                401 => "WWW-Authenticate",
                _ => "Proxy-Authenticate",
            };
            builder = builder.raw_header(name, challenge);
        }
        if !body.is_empty() {
            builder = builder.body("application/sdp", body.to_vec());
        }
        let flow = match destination {
            Destination::Flow(flow) => flow,
            Destination::Address {
                transport, remote, ..
            } => {
                let local = US.parse().expect("address");
                Flow {
                    transport,
                    local,
                    remote,
                    connection: None,
                }
            }
        };
        self.input(Input::Message {
            flow,
            bytes: builder.render(),
        });
    }

    fn close(&mut self) {
        self.framer = Framer::new();
        self.input(Input::ConnectionClosed {
            connection: ConnectionId(1),
        });
    }

    fn resolve(&mut self, record: Option<DnsRecord>) {
        let ttl = Duration::from_secs(60);
        for query in std::mem::take(&mut self.queries) {
            let answer = match &record {
                Some(record) => DnsAnswer::Found {
                    records: vec![record.clone()],
                    ttl,
                },
                None => DnsAnswer::NotFound { ttl },
            };
            self.input(Input::Resolved { query, answer });
        }
    }

    fn input(&mut self, input: Input) {
        self.core.handle_input(self.now, input);
        self.drain();
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.drain();
            // What is silent answers no question either.
            self.resolve(None);
        }
        self.now = until;
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.core.poll_output() {
            count += 1;
            assert!(count < OUTPUTS_MAX, "one input brings forth a flood");
            match output {
                Output::Transmit(transmit) => self.on_sent(transmit),
                Output::Resolve { query, .. } => self.queries.push(query),
                Output::Media(command) => {
                    if let MediaOrder::Relay(MediaCommand::Open { session, .. }) = command {
                        self.session = session;
                    }
                }
                Output::Persist(_) | Output::Reply { .. } => {}
                Output::CloseConnection(_) | Output::Detour { .. } => {}
                Output::Tell { input, .. } => self.core.handle_input(self.now, input),
            }
        }
    }

    fn on_sent(&mut self, transmit: Transmit) {
        if self.sent.len() < SENT_MAX {
            self.sent.push(transmit.bytes.clone());
        }
        if transmit.bytes.iter().all(|byte| b"\r\n".contains(byte)) {
            return;
        }
        let message = Message::parse(transmit.bytes).expect("what is sent is SIP");
        if message.is_request() {
            assert_eq!(message.validate(), Ok(()), "what is forwarded is good");
            self.last = Some((transmit.destination, message));
            self.tag = transmit.tag;
        }
    }
}
