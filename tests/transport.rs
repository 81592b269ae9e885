//! The transports as a peer sees them: the real sockets, threads and framing on loopback, with four
//! shards and a core that answers everything 200.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};
use voip::base::{Destination, Flow, Instant, Transmit, TransmitTag, Transport, hash64};
use voip::config::Origin;
use voip::control::Reply;
use voip::os::clock::Clock;
use voip::os::core::{Core, Input, Output};
use voip::os::node::{Bound, Node, Shared};
use voip::os::stream::Settings;
use voip::os::tls::{Tls, TlsFiles};
use voip::os::worker::Sinks;
use voip::server::MediaOrder;
use voip::store::Record;
use voip::wire::sip::peek_call_id;

const SHARDS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers 200 and names its shard; `Forward: transport address` makes it send a request there.
struct Echo {
    shard: usize,
    outputs: VecDeque<Output>,
    origin: Option<Flow>,
}

impl Echo {
    fn send(&mut self, destination: Destination, text: String, tag: u64) {
        self.outputs.push_back(Output::Transmit(Transmit {
            destination,
            bytes: Bytes::from(text),
            tag: TransmitTag(tag),
        }));
    }

    fn on_message(&mut self, flow: Flow, bytes: Bytes) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let call_id = String::from_utf8_lossy(peek_call_id(&bytes).unwrap_or(b"")).into_owned();
        let header = |name: &str| {
            let found = text.lines().find_map(|l| l.strip_prefix(name));
            found.map(|v| v.trim().to_owned())
        };
        if text.starts_with("SIP/2.0") {
            return;
        }
        if let Some(target) = header("Forward:") {
            self.origin = Some(flow);
            let mut words = target.split(' ');
            let transport = Transport::from_token(words.next().unwrap().as_bytes()).unwrap();
            let destination = Destination::Address {
                transport,
                remote: words.next().unwrap().parse().unwrap(),
                tls_name: words.next().map(Into::into),
            };
            return self.send(destination, request("forwarded", ""), 7);
        }
        let flood = header("Flood:").map_or(1, |n| n.parse().unwrap());
        let body = "x".repeat(if flood > 1 { 10_000 } else { 0 });
        for _ in 0..flood {
            let answer = format!(
                "SIP/2.0 200 OK\r\nCall-ID: {call_id}\r\nShard: {}\r\nLength-Seen: {}\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                self.shard,
                bytes.len(),
                body.len()
            );
            self.send(Destination::Flow(flow), answer, 0);
        }
    }
}

impl Core for Echo {
    fn handle_input(&mut self, _now: Instant, input: Input) {
        match input {
            Input::Message { flow, bytes } => self.on_message(flow, bytes),
            Input::Unframeable { flow, error, .. } => {
                let (status, reason) = error.answer();
                let text = format!("SIP/2.0 {status} {reason}\r\nContent-Length: 0\r\n\r\n");
                self.send(Destination::Flow(flow), text, 0);
                if let Some(connection) = flow.connection {
                    self.outputs.push_back(Output::CloseConnection(connection));
                }
            }
            Input::TransmitFailed { tag } => {
                if let Some(flow) = self.origin.take() {
                    let text = format!("SIP/2.0 503 Tag {}\r\nContent-Length: 0\r\n\r\n", tag.0);
                    self.send(Destination::Flow(flow), text, 0);
                }
            }
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&mut self, _now: Instant) {}
}

struct NoSinks;

impl Sinks for NoSinks {
    fn leave_media(&self, _shard: usize, _order: MediaOrder) {}
    fn wake_media(&self, _shard: usize) {}
    fn persist(&self, _record: Record) {}
    fn reply(&self, _id: u64, _reply: Reply) {}
}

struct Server {
    node: Node,
    address: SocketAddr,
}

fn server_with(transport: Transport, settings: Settings, files: &TlsFiles) -> Server {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let tls = Arc::new(Tls::load(files).unwrap());
    let shared = Shared::new(SHARDS, Clock::new(), settings, tls);
    let bound = Bound::bind(transport, any, SHARDS).unwrap();
    let address = bound.address;
    let cores = (0..SHARDS)
        .map(|shard| Echo {
            shard,
            outputs: VecDeque::new(),
            origin: None,
        })
        .collect();
    let node = Node::start(shared, vec![bound], cores, Arc::new(NoSinks)).unwrap();
    Server { node, address }
}

fn server(transport: Transport) -> Server {
    let settings = Settings {
        half_message: Duration::from_millis(500),
        idle: Duration::from_secs(2),
        ..Settings::default()
    };
    server_with(transport, settings, &TlsFiles::default())
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn counted(&self, name: &str) -> u64 {
        let all = self.node.shared().counters.list();
        all.into_iter().find(|(n, _)| *n == name).unwrap().1
    }

    fn wait_for(&self, name: &str, least: u64) {
        let start = StdInstant::now();
        while self.counted(name) < least {
            assert!(start.elapsed() < PATIENCE, "{name} stays below {least}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn request(call_id: &str, more: &str) -> String {
    format!(
        "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{call_id}\r\n\
         From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:b@127.0.0.1>\r\nCall-ID: {call_id}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

fn owner(call_id: &str) -> String {
    format!("Shard: {}\r\n", hash64(call_id.as_bytes()) % SHARDS as u64)
}

/// Reads one message without a body.
fn head(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "{:?}",
            String::from_utf8_lossy(&text)
        );
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// Whether the peer closes the connection; what it sends before is thrown away.
fn ends(stream: &mut impl Read) -> bool {
    let mut space = [0; 4096];
    loop {
        match stream.read(&mut space) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() == ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn datagrams_reach_the_shard_of_their_call_id() {
    let server = server(Transport::Udp);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut space = [0; 2000];
    for i in 0..40 {
        let call_id = format!("call-{i}");
        phone
            .send_to(request(&call_id, "").as_bytes(), server.address)
            .unwrap();
        let (n, from) = phone.recv_from(&mut space).unwrap();
        assert_eq!(from, server.address);
        let answer = String::from_utf8_lossy(&space[..n]).into_owned();
        assert!(answer.contains(&owner(&call_id)), "{answer}");
    }
}

#[test]
fn ipv6_datagrams_are_answered() {
    let bound = Bound::bind(Transport::Udp, "[::1]:0".parse().unwrap(), 1).unwrap();
    let address = bound.address;
    let tls = Arc::new(Tls::load(&TlsFiles::default()).unwrap());
    let shared = Shared::new(1, Clock::new(), Settings::default(), tls);
    let core = Echo {
        shard: 0,
        outputs: VecDeque::new(),
        origin: None,
    };
    let _node = Node::start(shared, vec![bound], vec![core], Arc::new(NoSinks)).unwrap();
    let phone = UdpSocket::bind("[::1]:0").unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    phone
        .send_to(request("six", "").as_bytes(), address)
        .unwrap();
    let mut space = [0; 2000];
    let (n, _) = phone.recv_from(&mut space).unwrap();
    assert!(String::from_utf8_lossy(&space[..n]).starts_with("SIP/2.0 200"));
}

#[test]
fn stun_is_answered_and_garbage_is_counted() {
    let server = server(Transport::Udp);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut binding = [0u8; 20];
    binding[1] = 1;
    binding[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    binding[8..].copy_from_slice(b"transaction.");
    phone.send_to(&binding, server.address).unwrap();
    let mut space = [0; 200];
    let (n, _) = phone.recv_from(&mut space).unwrap();
    assert_eq!(&space[..2], &[1, 1]);
    assert_eq!(&space[8..20], b"transaction.");
    let port = phone.local_addr().unwrap().port() ^ 0x2112;
    assert!(space[20..n].windows(2).any(|w| w == port.to_be_bytes()));

    phone.send_to(b"\r\n\r\n", server.address).unwrap();
    phone.send_to(b"", server.address).unwrap();
    phone.send_to(b"hello", server.address).unwrap();
    phone.send_to(&[0xff; 900], server.address).unwrap();
    server.wait_for("udp_keepalives", 2);
    server.wait_for("udp_garbage", 2);
}

#[test]
fn single_bytes_make_a_message() {
    let server = server(Transport::Tcp);
    let mut phone = server.connect();
    for byte in request("bytes", "").as_bytes() {
        phone.write_all(&[*byte]).unwrap();
    }
    assert!(head(&mut phone).contains(&owner("bytes")));
}

#[test]
fn one_segment_holds_many_messages() {
    let server = server(Transport::Tcp);
    let mut phone = server.connect();
    let all: String = (0..20).map(|i| request(&format!("many-{i}"), "")).collect();
    phone.write_all(all.as_bytes()).unwrap();
    let mut seen: Vec<String> = (0..20).map(|_| head(&mut phone)).collect();
    seen.sort();
    for i in 0..20 {
        let call_id = format!("Call-ID: many-{i}\r\n{}", owner(&format!("many-{i}")));
        assert!(seen.iter().any(|s| s.contains(&call_id)), "{call_id}");
    }
}

#[test]
fn a_double_crlf_is_answered_with_one() {
    let server = server(Transport::Tcp);
    let mut phone = server.connect();
    phone.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    phone.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    phone.write_all(request("after", "").as_bytes()).unwrap();
    assert!(head(&mut phone).starts_with("SIP/2.0 200"));
    assert_eq!(server.counted("stream_pings"), 1);
}

#[test]
fn half_a_message_is_closed_however_slowly_it_goes_on() {
    let server = server(Transport::Tcp);
    let mut phone = server.connect();
    let start = StdInstant::now();
    let text = request("slow", "");
    for byte in text.as_bytes().iter().take(200) {
        if phone.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(ends(&mut phone));
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!(server.counted("closed_half_message"), 1);
}

#[test]
fn silence_is_closed() {
    let server = server(Transport::Tcp);
    let mut phone = server.connect();
    let start = StdInstant::now();
    assert!(ends(&mut phone));
    assert!(start.elapsed() >= Duration::from_millis(1900));
    assert_eq!(server.counted("closed_idle"), 1);
}

#[test]
fn the_largest_message_passes_and_one_byte_more_is_513() {
    let server = server(Transport::Tcp);
    let text = |total: usize| {
        let head = request("large", "").replace("Content-Length: 0\r\n\r\n", "");
        let with = |body: usize| format!("{head}Content-Length: {body}\r\n\r\n");
        let body = total - with(60_000).len();
        format!("{}{}", with(body), "x".repeat(body))
    };
    let mut phone = server.connect();
    phone.write_all(text(65_535).as_bytes()).unwrap();
    assert!(head(&mut phone).contains("Length-Seen: 65535\r\n"));

    let mut phone = server.connect();
    let _ = phone.write_all(text(65_537).as_bytes());
    assert!(head(&mut phone).starts_with("SIP/2.0 513 "));
    assert!(ends(&mut phone));
    assert_eq!(server.counted("closed_unframeable"), 1);
}

#[test]
fn a_stream_that_cannot_be_cut_is_400() {
    let server = server(Transport::Tcp);
    let mut phone = server.connect();
    let text = request("bad", "").replace("Content-Length: 0", "Content-Length: many");
    phone.write_all(text.as_bytes()).unwrap();
    assert!(head(&mut phone).starts_with("SIP/2.0 400 "));
    assert!(ends(&mut phone));
}

#[test]
fn connections_are_limited_by_source_and_altogether() {
    let settings = |total, source| Settings {
        connections_max: total,
        connections_per_source_max: source,
        ..Settings::default()
    };
    for (limits, counter) in [
        (settings(100, 3), "refused_source"),
        (settings(3, 100), "refused_total"),
    ] {
        let server = server_with(Transport::Tcp, limits, &TlsFiles::default());
        let mut kept: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
        server.wait_for("accepted", 3);
        assert!(ends(&mut server.connect()));
        assert_eq!(server.counted(counter), 1);
        for phone in &mut kept {
            phone.write_all(request("kept", "").as_bytes()).unwrap();
            assert!(head(phone).starts_with("SIP/2.0 200"));
        }
        drop(kept);
        let start = StdInstant::now();
        while server.node.shared().streams.connections.count() > 0 {
            assert!(start.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut phone = server.connect();
        phone.write_all(request("again", "").as_bytes()).unwrap();
        assert!(head(&mut phone).starts_with("SIP/2.0 200"));
    }
}

#[test]
fn who_does_not_read_is_cut_off() {
    let server = server(Transport::Tcp);
    let mut phone = server.connect();
    // Ten megabytes of answers that nobody reads.
    phone
        .write_all(request("flood", "Flood: 1000\r\n").as_bytes())
        .unwrap();
    server.wait_for("closed_slow_reader", 1);
    assert!(ends(&mut phone));
}

#[test]
fn a_request_opens_a_connection_and_uses_it_again() {
    let server = server(Transport::Udp);
    let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("Forward: tcp {}\r\n", peer.local_addr().unwrap());
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    for i in 0..5 {
        let text = request(&format!("forward-{i}"), &target);
        phone.send_to(text.as_bytes(), server.address).unwrap();
    }
    let (mut stream, _) = peer.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..5 {
        assert!(head(&mut stream).contains("Call-ID: forwarded\r\n"));
    }
    assert_eq!(server.counted("connected"), 1);
}

#[test]
fn a_refused_connection_is_told_to_the_sender() {
    let server = server(Transport::Udp);
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = request("nobody", &format!("Forward: tcp {closed}\r\n"));
    phone.send_to(text.as_bytes(), server.address).unwrap();
    let mut space = [0; 2000];
    let (n, _) = phone.recv_from(&mut space).unwrap();
    assert!(String::from_utf8_lossy(&space[..n]).starts_with("SIP/2.0 503 Tag 7"));
}

mod tls {
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use std::path::PathBuf;

    struct Files {
        dir: PathBuf,
        files: TlsFiles,
        pem: String,
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    fn files(name: &str) -> Files {
        let dir = std::env::temp_dir().join(format!("voip-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let names = vec!["voip.test".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Files {
            files: TlsFiles {
                identity: Some((certificate.clone(), key)),
                roots: Some(certificate),
                asks: false,
            },
            pem: made.cert.pem(),
            dir,
        }
    }

    fn connect(server: &Server, pem: &str) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        let root = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("voip.test").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(client, server.connect())
    }

    #[test]
    fn messages_pass_under_tls_and_a_new_certificate_is_taken() {
        let first = files("first");
        let server = server_with(Transport::Tls, Settings::default(), &first.files);
        let mut phone = connect(&server, &first.pem);
        phone.write_all(request("tls", "").as_bytes()).unwrap();
        assert!(head(&mut phone).contains(&owner("tls")));

        let tls = &server.node.shared().streams.tls;
        let broken = TlsFiles {
            identity: Some((
                "/nonexistent/cert.pem".into(),
                "/nonexistent/key.pem".into(),
            )),
            roots: None,
            asks: false,
        };
        let mistake = tls.reload(&broken).unwrap_err().to_string();
        assert!(mistake.starts_with("/nonexistent/cert.pem: "), "{mistake}");
        let second = files("second");
        tls.reload(&second.files).unwrap();
        let mut phone = connect(&server, &second.pem);
        phone.write_all(request("new", "").as_bytes()).unwrap();
        assert!(head(&mut phone).contains(&owner("new")));
    }

    #[test]
    fn a_peer_must_prove_its_name() {
        let files = files("names");
        let callee = server_with(Transport::Tls, Settings::default(), &files.files);
        let caller = server_with(Transport::Udp, Settings::default(), &files.files);
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.set_read_timeout(Some(PATIENCE)).unwrap();
        let forward = |name: &str| {
            let target = format!("Forward: tls {} {name}\r\n", callee.address);
            let text = request(name, &target);
            phone.send_to(text.as_bytes(), caller.address).unwrap();
        };
        forward("voip.test");
        caller.wait_for("connected", 1);
        forward("other.test");
        let mut space = [0; 2000];
        let (n, _) = phone.recv_from(&mut space).unwrap();
        assert!(String::from_utf8_lossy(&space[..n]).starts_with("SIP/2.0 503 Tag 7"));
        assert_eq!(caller.counted("connect_failed"), 1);
    }

    #[test]
    fn a_bad_handshake_is_counted() {
        let files = files("bad");
        let server = server_with(Transport::Tls, Settings::default(), &files.files);
        let mut phone = server.connect();
        phone.write_all(request("plain", "").as_bytes()).unwrap();
        assert!(ends(&mut phone));
        server.wait_for("handshake_failed", 1);
    }
}

mod websocket {
    use super::*;

    fn handshake(server: &Server, protocol: &str) -> (TcpStream, String) {
        let mut phone = server.connect();
        let text = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             {protocol}\r\n",
            server.address
        );
        phone.write_all(text.as_bytes()).unwrap();
        let answer = head(&mut phone);
        (phone, answer)
    }

    fn send(phone: &mut TcpStream, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            n if n < 126 => frame.push(0x80 | n as u8),
            n if n < 65_536 => {
                frame.push(0x80 | 126);
                frame.extend((n as u16).to_be_bytes());
            }
            n => {
                frame.push(0x80 | 127);
                frame.extend((n as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        phone.write_all(&frame).unwrap();
    }

    fn receive(phone: &mut TcpStream) -> (u8, Vec<u8>) {
        let mut start = [0; 2];
        phone.read_exact(&mut start).unwrap();
        let mut len = u64::from(start[1]);
        if len == 126 {
            let mut more = [0; 2];
            phone.read_exact(&mut more).unwrap();
            len = u64::from(u16::from_be_bytes(more));
        }
        let mut payload = vec![0; len as usize];
        phone.read_exact(&mut payload).unwrap();
        (start[0], payload)
    }

    #[test]
    fn one_frame_is_one_message() {
        let server = server(Transport::Ws);
        let (mut phone, answer) = handshake(&server, "Sec-WebSocket-Protocol: chat, sip\r\n");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(
            answer
                .to_lowercase()
                .contains("sec-websocket-protocol: sip\r\n")
        );
        assert!(
            answer
                .to_lowercase()
                .contains("s3pplmbitxaq9kygzzhzrbk+xoo=")
        );
        send(&mut phone, 1, request("ws", "").as_bytes());
        let (opcode, text) = receive(&mut phone);
        assert_eq!(opcode, 0x81);
        assert!(String::from_utf8(text).unwrap().contains(&owner("ws")));
        send(&mut phone, 2, request("binary", "").as_bytes());
        assert!(
            String::from_utf8(receive(&mut phone).1)
                .unwrap()
                .contains(&owner("binary"))
        );
        send(&mut phone, 9, b"there?");
        assert_eq!(receive(&mut phone), (0x8a, b"there?".to_vec()));
        send(&mut phone, 1, b"\r\n\r\n");
        assert_eq!(receive(&mut phone), (0x81, b"\r\n".to_vec()));
        send(&mut phone, 8, &1000u16.to_be_bytes());
        assert_eq!(receive(&mut phone).0, 0x88);
    }

    #[test]
    fn a_message_above_the_limit_is_513() {
        let server = server(Transport::Ws);
        let (mut phone, _) = handshake(&server, "Sec-WebSocket-Protocol: sip\r\n");
        send(&mut phone, 1, "x".repeat(65_536).as_bytes());
        let (_, text) = receive(&mut phone);
        assert!(text.starts_with(b"SIP/2.0 513 "));
        assert_eq!(receive(&mut phone).0, 0x88);
    }

    #[test]
    fn without_the_subprotocol_there_is_no_connection() {
        let server = server(Transport::Ws);
        let (_, answer) = handshake(&server, "");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        server.wait_for("handshake_failed", 1);
    }

    /// RFC 6455 §10.2: pages of other sites are refused; who names no page is no browser.
    #[test]
    fn a_page_of_another_site_is_refused() {
        let origins = ["https://phone.example.com", "http://localhost:8080"];
        let settings = Settings {
            origins: origins.map(|o| Origin::parse(o).unwrap()).into(),
            ..Settings::default()
        };
        let server = server_with(Transport::Ws, settings, &TlsFiles::default());
        let sip = "Sec-WebSocket-Protocol: sip\r\n";
        for (origin, status) in [
            ("", 101),
            ("Origin: https://phone.example.com\r\n", 101),
            ("Origin: https://PHONE.example.com:443\r\n", 101),
            ("Origin: http://localhost:8080\r\n", 101),
            ("Origin: http://phone.example.com\r\n", 403),
            ("Origin: https://phone.example.com.evil.example\r\n", 403),
            ("Origin: https://phone.example.com:8443\r\n", 403),
            ("Origin: null\r\n", 403),
            ("Origin: \r\n", 403),
            (
                "Origin: https://phone.example.com\r\nOrigin: https://evil.example\r\n",
                403,
            ),
        ] {
            let (mut phone, answer) = handshake(&server, &format!("{origin}{sip}"));
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{origin}{answer}");
            if status == 101 {
                send(&mut phone, 1, request("page", "").as_bytes());
                assert_eq!(receive(&mut phone).0, 0x81);
            } else {
                assert!(ends(&mut phone), "{origin}");
            }
        }
        server.wait_for("handshake_failed", 6);
    }

    #[test]
    fn too_many_are_refused_in_http() {
        let settings = Settings {
            connections_max: 0,
            ..Settings::default()
        };
        let server = server_with(Transport::Ws, settings, &TlsFiles::default());
        let mut phone = server.connect();
        assert!(head(&mut phone).starts_with("HTTP/1.1 503 "));
        assert!(ends(&mut phone));
    }
}

#[test]
fn the_end_closes_connections_and_threads() {
    let mut server = server(Transport::Tcp);
    let mut phone = server.connect();
    phone.write_all(request("last", "").as_bytes()).unwrap();
    assert!(head(&mut phone).starts_with("SIP/2.0 200"));
    let start = StdInstant::now();
    server.node.stop();
    assert!(ends(&mut phone));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(TcpStream::connect(server.address).is_err());
}
