//! Trunks register and are probed through a bad network, at registrars that die, forget, change
//! their minds and move; pools follow who lives. One seed reproduces each story.
#![cfg(feature = "sim")]

use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use voip::base::{Anchor, Flow, Instant, Rng, Transport, hash64};
use voip::call::Addresses;
use voip::config::{self, Algorithm, Config};
use voip::control::{Command, Reply, TrunkRow};
use voip::feature::Features;
use voip::location::{Limits, Location};
use voip::peer::{Peers, Registered, State, Trunk};
use voip::proxy::guard::{self, Guard};
use voip::relay::PortPool;
use voip::server::{Input, Output, Setup, SignalCore};
use voip::sim::net::{Carrier, Net, Packet, Weather};
use voip::sim::registrar::{Manners, Registrar};
use voip::sip::digest::Replays;
use voip::sip::listeners::{Interface, Listener, ListenerTable};
use voip::sip::locate::{DnsAnswer, DnsKind, DnsRecord};
use voip::store::Directory;
use voip::wire::sip::{HeaderName, Message};

const SERVER: &str = "192.0.2.10:5060";
const ONE: &str = "198.51.100.1:5060";
const TWO: &str = "198.51.100.2:5060";
const MEMBERS: [&str; 2] = ["203.0.113.11:5060", "203.0.113.12:5060"];
/// The longest that a pause, two addresses without an answer and a lookup take together.
const PATIENCE: Duration = Duration::from_secs(300 + 2 * 32 + 3 * 5 + 1);
const SECRET: [u8; 32] = [3; 32];

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn trunk() -> config::Trunk {
    config::Trunk {
        name: "itsp".into(),
        uri: "sip:itsp.example.net".into(),
        outbound_proxy: None,
        username: Some("5700020326".into()),
        auth_username: None,
        password_file: None,
        domain: None,
        register: true,
        expires_s: 600,
        addresses: Vec::new(),
        certificate_name: None,
        ring_back: None,
        transfer: config::Transfer::Refer,
        calls_max: 0,
        calls_per_second: 0,
        probe_s: 0,
        numbers: config::NumberFormat::AsIs,
        identity: config::Identity::From,
        hide_topology: true,
        add_headers: Vec::new(),
        remove_headers: Vec::new(),
    }
}

fn manners() -> Manners {
    Manners {
        user: "5700020326".into(),
        domain: "itsp.example.net".into(),
        password: "right".into(),
        sha256: false,
        expires_min_s: 60,
        expires_max_s: 1800,
        nonce_lifetime: Duration::from_secs(300),
    }
}

fn config(trunks: Vec<config::Trunk>, pools: Vec<config::Pool>) -> Arc<Config> {
    let text = format!(
        "[node]\ndomains = [\"example.com\"]\n[sip]\nlisten = [\"udp:{SERVER}\"]\n\
         trusted = [\"198.51.100.0/24\"]\n"
    );
    let config = Config::parse(&text, Path::new("voip.toml")).expect("in order");
    Arc::new(Config {
        trunks,
        pools,
        ..config
    })
}

/// What happens from outside, at its time.
#[derive(Clone, Debug)]
enum Mishap {
    Off(usize),
    On(usize),
    Dns(bool),
    Calm,
}

struct World {
    now: Instant,
    net: Net,
    shards: Vec<SignalCore>,
    peers: Arc<Peers>,
    registrars: Vec<Registrar>,
    dns_works: bool,
    mishaps: BTreeMap<(Instant, u64), Mishap>,
    serial: u64,
    replies: Vec<Reply>,
    /// REGISTERs as they left: Call-ID and CSeq, by branch.
    sequences: BTreeMap<Vec<u8>, u32>,
}

impl World {
    fn new(seed: u64, config: &Arc<Config>, shards: usize, password: &str) -> Self {
        let mut rng = Rng::from_u64(seed);
        let peers = Arc::new(Peers::new(config, SECRET));
        peers.set_secret("itsp", Some(password.as_bytes().to_vec()));
        let mut world = Self {
            now: Instant::ZERO,
            net: Net::new(rng.fork(), Weather::CALM),
            shards: Vec::new(),
            peers,
            registrars: Vec::new(),
            dns_works: true,
            mishaps: BTreeMap::new(),
            serial: 0,
            replies: Vec::new(),
            sequences: BTreeMap::new(),
        };
        for place in [ONE, TWO].iter().chain(&MEMBERS) {
            let registrar = Registrar::new(address(place), manners(), rng.fork());
            world.registrars.push(registrar);
        }
        for shard in 0..shards {
            world.shards.push(SignalCore::new(world.setup(
                config,
                (shard, shards),
                rng.fork(),
            )));
        }
        world.drain();
        world
    }

    fn setup(&self, config: &Arc<Config>, (shard, shards): (usize, usize), rng: Rng) -> Setup {
        let bind = address(SERVER);
        let listener = Listener {
            transport: Transport::Udp,
            bind,
            advertised: None,
        };
        let interface = Interface {
            address: bind.ip(),
            prefix: 24,
        };
        let listeners = ListenerTable::new(vec![listener], vec![interface], [None, None]);
        Setup {
            shard,
            shards,
            config: Arc::clone(config),
            listeners,
            addresses: Addresses::default(),
            location: Arc::new(Location::new(Limits::default())),
            directory: Arc::new(Directory::new()),
            features: Arc::new(Features::new()),
            rooms: Default::default(),
            mailboxes: Arc::default(),
            guard: Arc::new(Guard::new(guard::Settings::of(config), [7; 16])),
            peers: Arc::clone(&self.peers),
            rng,
            anchor: Anchor {
                instant: Instant::ZERO,
                unix_ms: 1_790_000_000_000,
            },
            secret: SECRET,
            replays: Arc::new(Replays::with_capacity(1024)),
            ports: PortPool::new(20_000, 20_399, shard, shards),
        }
    }

    fn trunk(&self) -> Arc<Trunk> {
        self.peers.trunk("itsp").expect("there")
    }

    fn plan(&mut self, after: Duration, mishap: Mishap) {
        self.serial += 1;
        self.mishaps.insert((self.now + after, self.serial), mishap);
    }

    fn input(&mut self, input: impl Fn() -> Input) {
        for shard in &mut self.shards {
            shard.handle_input(self.now, input());
        }
        self.drain();
    }

    fn configure(&mut self, config: &Arc<Config>) {
        self.input(|| Input::Configure(Arc::clone(config)));
    }

    fn ask(&mut self, command: Command) -> Reply {
        self.replies.clear();
        if let Some(first) = self.shards.first_mut() {
            first.handle_input(self.now, Input::Control { id: 1, command });
        }
        self.drain();
        self.replies.pop().expect("an answer")
    }

    fn row(&mut self) -> TrunkRow {
        match self.ask(Command::Trunks) {
            Reply::Trunks { rows } => rows.into_iter().next().expect("one trunk"),
            other => panic!("{other:?}"),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some(at) = self.next()
            && at <= end
        {
            steps += 1;
            assert!(steps < 2_000_000, "the world does not come to rest");
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
    }

    fn next(&self) -> Option<Instant> {
        let shards = self.shards.iter().filter_map(SignalCore::poll_timeout);
        let mishap = self.mishaps.keys().next().map(|(at, _)| *at);
        shards.chain(self.net.next()).chain(mishap).min()
    }

    fn step(&mut self) {
        while let Some(entry) = self.mishaps.first_entry()
            && entry.key().0 <= self.now
        {
            match entry.remove() {
                Mishap::Off(n) => self.registrars[n].turn_off(),
                Mishap::On(n) => self.registrars[n].turn_on(),
                Mishap::Dns(works) => self.dns_works = works,
                Mishap::Calm => self.net.set_weather(Weather::CALM),
            }
        }
        while let Some(packet) = self.net.receive(self.now) {
            if packet.destination == address(SERVER) {
                self.deliver(&packet);
            } else {
                let mut all = self.registrars.iter_mut();
                let found = all.find(|r| r.address() == packet.destination);
                let answer = found.and_then(|r| r.handle_packet(self.now, &packet));
                if let Some(answer) = answer {
                    self.net.send(self.now, answer);
                }
            }
        }
        for shard in &mut self.shards {
            if shard.poll_timeout().is_some_and(|at| at <= self.now) {
                shard.handle_timeout(self.now);
            }
        }
        self.drain();
    }

    fn deliver(&mut self, packet: &Packet) {
        let bytes = Bytes::copy_from_slice(&packet.bytes);
        let message = Message::parse(bytes.clone()).expect("well-formed");
        let shard = hash64(message.call_id()) % self.shards.len() as u64;
        let flow = Flow {
            transport: Transport::Udp,
            local: address(SERVER),
            remote: packet.source,
            connection: None,
        };
        let input = Input::Message { flow, bytes };
        self.shards[shard as usize].handle_input(self.now, input);
    }

    fn drain(&mut self) {
        for index in 0..self.shards.len() {
            while let Some(output) = self.shards[index].poll_output() {
                match output {
                    Output::Transmit(transmit) => {
                        self.look_at(&transmit.bytes);
                        let packet = Packet {
                            carrier: Carrier::Datagram,
                            source: address(SERVER),
                            destination: transmit.destination.remote(),
                            bytes: transmit.bytes.to_vec(),
                        };
                        self.net.send(self.now, packet);
                    }
                    Output::Resolve { query, question } => {
                        let answer = self.resolve(&question.name, question.kind);
                        let input = Input::Resolved { query, answer };
                        self.shards[index].handle_input(self.now, input);
                    }
                    Output::Reply { reply, .. } => self.replies.push(reply),
                    Output::Media(_) | Output::Persist(_) => {}
                    Output::CloseConnection(_) | Output::Detour { .. } => {}
                    Output::Tell { shard, input } => {
                        self.shards[shard].handle_input(self.now, input);
                    }
                }
            }
        }
    }

    /// CSeq grows from request to request of one registration (RFC 3261 §10.2).
    fn look_at(&mut self, bytes: &Bytes) {
        let message = Message::parse(bytes.clone()).expect("well-formed");
        if !message.is_request() {
            return;
        }
        assert!(message.validate().is_ok(), "{message:?}");
        let number = message.cseq().expect("there").number;
        let last = self
            .sequences
            .entry(message.call_id().to_vec())
            .or_default();
        assert!(
            number == *last || number == *last + 1,
            "{number} after {last}"
        );
        *last = number;
    }

    /// Two registrars by SRV, the first preferred.
    fn resolve(&self, name: &str, kind: DnsKind) -> DnsAnswer {
        if !self.dns_works {
            return DnsAnswer::Failed;
        }
        let ttl = Duration::from_secs(20);
        let srv = |priority, target: &str| DnsRecord::Srv {
            priority,
            weight: 1,
            port: 5060,
            target: target.into(),
        };
        let host = |at: &str| match address(at).ip() {
            std::net::IpAddr::V4(ip) => DnsRecord::A(ip),
            std::net::IpAddr::V6(ip) => DnsRecord::Aaaa(ip),
        };
        let records = match (name, kind) {
            ("_sip._udp.itsp.example.net", DnsKind::Srv) => {
                vec![srv(1, "one.example.net"), srv(2, "two.example.net")]
            }
            ("one.example.net", DnsKind::A) => vec![host(ONE)],
            ("two.example.net", DnsKind::A) => vec![host(TWO)],
            _ => return DnsAnswer::NotFound { ttl },
        };
        DnsAnswer::Found { records, ttl }
    }

    /// Whether a call from there would reach us now.
    fn is_registered_at(&self, n: usize) -> bool {
        let contacts = self.registrars[n].contacts(self.now);
        assert!(contacts.len() <= 1, "one phone, not two: {contacts:?}");
        contacts.len() == 1
    }

    fn is_registered(&self) -> bool {
        let here = matches!(self.trunk().registered(), Registered::Until(at) if at > self.now);
        here && (self.is_registered_at(0) || self.is_registered_at(1))
    }

    fn assert_kept_the_rules(&self) {
        for registrar in &self.registrars {
            assert!(registrar.broken.is_empty(), "{:?}", registrar.broken);
        }
    }
}

fn registering(seed: u64, shards: usize, password: &str) -> World {
    World::new(seed, &config(vec![trunk()], Vec::new()), shards, password)
}

#[test]
fn registers_by_either_algorithm_and_stays_registered() {
    for sha256 in [false, true] {
        for shards in [1, 4] {
            let mut world = registering(1, shards, "right");
            for registrar in &mut world.registrars {
                registrar.manners().sha256 = sha256;
            }
            world.run(Duration::from_secs(1));
            for _ in 0..1000 {
                assert!(world.is_registered_at(0), "{:?}", world.trunk());
                world.run(Duration::from_secs(11));
            }
            assert_eq!(world.row().state, "up");
            assert_eq!(world.row().registration, "registered");
            assert!(world.row().registered_until.is_some());
            // 11,000 s, refreshed each 450 s at most, sometimes challenged: no chatter.
            let count = world.registrars[0].registers;
            assert!((20..=70).contains(&count), "{count}");
            world.assert_kept_the_rules();
        }
    }
}

/// Loss, doubles, overtaking, registrars that restart without memory, DNS that fails: once all is
/// calm the trunk is registered again within the bound, whatever came before.
#[test]
fn random_stories_end_registered_within_the_bound() {
    let seeds = std::env::var("SIM_SEEDS").ok().and_then(|n| n.parse().ok());
    let one = std::env::var("SIM_SEED")
        .ok()
        .and_then(|n| n.parse::<u64>().ok());
    let seeds = one.map_or(0..seeds.unwrap_or(150), |seed| seed..seed + 1);
    for seed in seeds {
        let mut rng = Rng::from_u64(seed ^ 0x5eed);
        let mut trunk = trunk();
        // Who forgot us is found out by a probe, or when the time is over.
        trunk.probe_s = if rng.chance(1, 2) { 30 } else { 0 };
        trunk.expires_s = 60 + rng.below(600) as u32;
        let expires = Duration::from_secs(trunk.expires_s.into());
        let shards = if seed.is_multiple_of(2) { 1 } else { 4 };
        let mut world = World::new(seed, &config(vec![trunk], Vec::new()), shards, "right");
        world.net.set_weather(Weather {
            loss: rng.below(400),
            doubled: rng.below(200),
            delay_ms_min: 1,
            delay_ms_max: 1 + rng.below(900),
        });
        let rough = 1800;
        for _ in 0..rng.below(8) {
            let mishap = match rng.below(6) {
                0 | 1 => Mishap::Off(rng.below(2) as usize),
                2 | 3 => Mishap::On(rng.below(2) as usize),
                4 => Mishap::Dns(false),
                _ => Mishap::Dns(true),
            };
            world.plan(Duration::from_millis(rng.below(rough * 1000)), mishap);
        }
        for mishap in [
            Mishap::On(0),
            Mishap::On(1),
            Mishap::Dns(true),
            Mishap::Calm,
        ] {
            world.plan(Duration::from_secs(rough), mishap);
        }
        world.run(Duration::from_secs(rough));
        world.run(PATIENCE.max(expires));
        for _ in 0..30 {
            assert!(world.is_registered(), "SIM_SEED={seed} {:?}", world.trunk());
            assert!(world.trunk().is_up(world.now), "SIM_SEED={seed}");
            world.run(Duration::from_secs(60));
        }
        world.assert_kept_the_rules();
    }
}

#[test]
fn a_registrar_that_is_off_is_left_for_the_next_and_one_that_is_back_is_found() {
    let mut world = registering(7, 1, "right");
    world.registrars[0].turn_off();
    world.run(Duration::from_secs(34));
    assert!(world.is_registered_at(1), "Timer F, then the next host");
    world.registrars[1].turn_off();
    world.run(Duration::from_secs(700));
    assert!(!world.trunk().is_up(world.now), "nobody has it any more");
    let row = world.row();
    assert_eq!((&*row.state, &*row.registration), ("down", "failed"));
    assert!(
        row.last_error.expect("told").starts_with("408"),
        "no answer"
    );
    world.registrars[0].turn_on();
    world.run(PATIENCE);
    assert!(world.is_registered_at(0));
    assert_eq!(world.row().state, "up");
}

#[test]
fn a_probe_finds_out_that_the_registrar_forgot_us() {
    let mut itsp = trunk();
    itsp.uri = "sip:198.51.100.1".into();
    itsp.domain = Some("itsp.example.net".into());
    itsp.probe_s = 20;
    itsp.expires_s = 1800;
    let mut world = World::new(3, &config(vec![itsp], Vec::new()), 1, "right");
    world.run(Duration::from_secs(5));
    assert!(world.is_registered_at(0));
    world.registrars[0].turn_off();
    world.run(Duration::from_secs(60));
    assert_eq!(world.trunk().state(world.now), State::Down);
    world.registrars[0].turn_on();
    assert!(!world.is_registered_at(0));
    world.run(Duration::from_secs(16));
    assert!(world.is_registered_at(0), "long before the refresh");
    assert_eq!(world.trunk().state(world.now), State::Up);
}

#[test]
fn a_wrong_password_is_told_tried_seldom_and_mended_by_a_reload() {
    let mut world = registering(5, 1, "wrong");
    world.run(Duration::from_secs(10));
    let row = world.row();
    let told = row.last_error.expect("told");
    assert_eq!(told, "403 Forbidden: check username and password_file");
    assert_eq!((&*row.state, &*row.registration), ("down", "failed"));
    match world.ask(Command::Status) {
        Reply::Status(status) => assert_eq!(
            status.warnings,
            ["trunk itsp is down: 403 Forbidden: check username and password_file"]
        ),
        other => panic!("{other:?}"),
    }
    world.run(Duration::from_secs(3600));
    let tries = world.registrars[0].registers;
    assert!(
        (20..=40).contains(&tries),
        "two requests each 225 to 300 s: {tries}"
    );
    // What a reload does.
    world.peers.set_secret("itsp", Some(b"right".to_vec()));
    let same = config(vec![trunk()], Vec::new());
    world.configure(&same);
    world.run(Duration::from_secs(1));
    assert!(world.is_registered_at(0));
    assert_eq!(world.row().state, "up");
}

#[test]
fn too_brief_a_time_is_made_longer() {
    let mut world = registering(6, 1, "right");
    world.registrars[0].manners().expires_min_s = 1200;
    world.run(Duration::from_secs(2));
    assert!(world.is_registered_at(0));
    match world.trunk().registered() {
        Registered::Until(until) => {
            let left = until.since(world.now).as_secs();
            assert!((1190..=1200).contains(&left), "{left}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn dns_that_does_not_answer_is_told_and_outlived() {
    let mut world = registering(8, 1, "right");
    world.dns_works = false;
    // What the start asked before is answered already: the next round finds nothing.
    world.registrars[0].turn_off();
    world.registrars[1].turn_off();
    world.run(Duration::from_secs(900));
    let told = world.row().last_error.expect("told");
    assert!(told.contains("DNS"), "{told}");
    world.dns_works = true;
    world.registrars[0].turn_on();
    world.run(PATIENCE);
    assert!(world.is_registered_at(0));
}

#[test]
fn a_removed_trunk_is_unregistered_and_a_changed_account_changes_hands() {
    let mut world = registering(9, 1, "right");
    world.run(Duration::from_secs(2));
    assert!(world.is_registered_at(0));
    let calls = world.trunk();
    world.configure(&config(Vec::new(), Vec::new()));
    world.run(Duration::from_secs(2));
    assert!(!world.is_registered_at(0), "taken back by Expires: 0");
    assert!(calls.config().register, "who holds it, holds it");
    world.configure(&config(vec![trunk()], Vec::new()));
    world.run(Duration::from_secs(2));
    let since = world.row().since_ms - 1_790_000_000_000;
    assert!((4000..5000).contains(&since), "since the reload: {since}");
    // The password is the file's; it was read with the trunk.
    assert!(!world.is_registered_at(0));
    world.peers.set_secret("itsp", Some(b"right".to_vec()));
    world.configure(&config(vec![trunk()], Vec::new()));
    world.run(Duration::from_secs(2));
    assert!(world.is_registered_at(0));
    let mut other = trunk();
    other.username = Some("other".into());
    world.configure(&config(vec![other], Vec::new()));
    world.run(Duration::from_secs(2));
    assert!(!world.is_registered_at(0), "the old account is given back");
    let row = world.row();
    assert!(row.last_error.expect("told").starts_with("404"));
    assert_eq!((&*row.state, &*row.registration), ("down", "failed"));
}

#[test]
fn an_orderly_stop_takes_the_registration_back() {
    for shards in [1, 4] {
        let mut world = registering(10, shards, "right");
        world.run(Duration::from_secs(2));
        assert!(world.is_registered_at(0));
        world.input(|| Input::Stop);
        assert!(!world.shards[0].is_at_rest());
        world.run(Duration::from_secs(2));
        assert!(!world.is_registered_at(0));
        assert!(world.shards.iter().all(SignalCore::is_at_rest));
    }
}

#[test]
fn a_restart_is_the_same_phone_to_the_registrar() {
    let mut world = registering(11, 1, "right");
    world.run(Duration::from_secs(2));
    let before = world.registrars[0].contacts(world.now)[0].to_owned();
    assert!(before.contains(world.trunk().line()));
    // As after kill -9: everything of the process is new, the secret is not.
    let config = config(vec![trunk()], Vec::new());
    world.peers = Arc::new(Peers::new(&config, SECRET));
    world.peers.set_secret("itsp", Some(b"right".to_vec()));
    let setup = world.setup(&config, (0, 1), Rng::from_u64(99));
    world.shards = vec![SignalCore::new(setup)];
    world.sequences.clear();
    world.drain();
    world.run(Duration::from_secs(2));
    assert_eq!(world.registrars[0].contacts(world.now), [before.as_str()]);
}

fn pool(probe_s: u32) -> config::Pool {
    let member = |at: &&str| config::Member {
        uri: format!("sip:{at}").into(),
        weight: 1,
        calls_max: 0,
    };
    config::Pool {
        name: "pbx".into(),
        algorithm: Algorithm::RoundRobin,
        members: MEMBERS.iter().map(member).collect(),
        probe_s,
        hide_topology: false,
        trusted: false,
    }
}

#[test]
fn a_member_that_dies_is_down_after_two_probes_and_up_after_one() {
    let mut world = World::new(12, &config(Vec::new(), vec![pool(30)]), 1, "");
    world.run(Duration::from_secs(2));
    let pool = world.peers.pool("pbx").expect("there");
    let members = pool.members();
    let states = || members.iter().map(|m| m.state()).collect::<Vec<_>>();
    assert_eq!(states(), [State::Up, State::Up]);
    world.registrars[2].turn_off();
    // At most one interval, two waits of 5 s, and 2 s between them.
    world.run(Duration::from_secs(30 + 5 + 2 + 5));
    assert_eq!(states(), [State::Down, State::Up]);
    world.registrars[2].turn_on();
    world.run(Duration::from_secs(16));
    assert_eq!(states(), [State::Up, State::Up]);
    // Nobody asks more often than it must.
    let before = world.registrars[3].options;
    world.run(Duration::from_secs(600));
    let asked = world.registrars[3].options - before;
    assert!((19..=24).contains(&asked), "{asked}");
}

#[test]
fn a_call_that_hears_nothing_has_the_member_asked_at_once() {
    for shards in [1, 4] {
        let mut world = World::new(13, &config(Vec::new(), vec![pool(300)]), shards, "");
        world.run(Duration::from_secs(2));
        let pool = world.peers.pool("pbx").expect("there");
        let member = Arc::clone(&pool.members()[0]);
        assert_eq!(member.state(), State::Up);
        // It lives: the suspicion is cleared.
        member.suspect();
        world.run(Duration::from_secs(2));
        assert_eq!(member.state(), State::Up);
        world.registrars[2].turn_off();
        member.suspect();
        world.run(Duration::from_secs(7));
        assert_eq!(member.state(), State::Down, "the call was the first sign");
    }
}

#[test]
fn draining_is_the_operators_and_outlives_a_reload() {
    let mut world = World::new(14, &config(Vec::new(), vec![pool(0)]), 1, "");
    let drain = |member: &str, on| Command::PoolDrain {
        pool: "pbx".into(),
        member: member.into(),
        on,
    };
    match world.ask(drain("203.0.113.11:5060", true)) {
        Reply::Done { message } => assert!(message.contains("gets no new calls"), "{message}"),
        other => panic!("{other:?}"),
    }
    for (pool, member) in [("pbx", "sip:nobody"), ("nothing", "sip:203.0.113.11:5060")] {
        let command = Command::PoolDrain {
            pool: pool.into(),
            member: member.into(),
            on: true,
        };
        let reply = world.ask(command);
        assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
    }
    let mut changed = pool(0);
    changed.algorithm = Algorithm::CallId;
    world.configure(&config(Vec::new(), vec![changed]));
    let drained = |world: &mut World| match world.ask(Command::Pools) {
        Reply::Pools { rows } => {
            assert_eq!((rows.len(), &*rows[0].algorithm), (1, "call-id"));
            rows[0]
                .members
                .iter()
                .map(|m| m.draining)
                .collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(drained(&mut world), [true, false]);
    world.ask(drain("sip:203.0.113.11:5060", false));
    assert_eq!(drained(&mut world), [false, false]);
}

#[test]
fn a_name_that_nobody_probes_is_looked_up_so_that_its_calls_are_known() {
    let mut itsp = trunk();
    itsp.register = false;
    let mut world = World::new(15, &config(vec![itsp], Vec::new()), 1, "");
    world.run(Duration::from_secs(1));
    assert_eq!(
        world.registrars[0].registers + world.registrars[0].options,
        0
    );
    let flow = Flow {
        transport: Transport::Udp,
        local: address(SERVER),
        remote: address(TWO),
        connection: None,
    };
    let invite = "INVITE sip:34915550100@192.0.2.10 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n\
        To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
    let invite = Message::parse(Bytes::from_static(invite.as_bytes())).expect("well-formed");
    assert!(world.peers.of_source(&flow, &invite).is_some());
    assert!(!invite.has(HeaderName::Contact));
}
