//! Loads an RTP relay with paced G.711 streams and tells what each packet cost it. `relay.sh`
//! beside this file runs it against our relay and against rtpengine, `xdp.sh` over the fast path.
//!
//! ```text
//! relaybench serve STREAMS [FASTPATH] our relay, STREAMS sessions opened as an agreed call would;
//!                                     FASTPATH as in [rtp], "xdp:eth0"
//! relaybench load static:PORT|ng:ADDRESS PIDS STREAMS SECONDS [WARM]
//!                                     streams through `serve`, or through an ng control port;
//!                                     PIDS are charged, after WARM seconds (2)
//! ```
//! Everything is on 127.0.0.1, unless BENCH_RELAY and BENCH_PHONES say where the two are.
//! A stream is two phones that send 172 bytes each 20 ms. Phones share few sockets, so that the
//! generator is cheap; the SSRC names stream and direction. The relay cannot tell the difference.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use voip::config::{Fastpath, FastpathMode};
use voip::os::clock::Clock;
use voip::os::relay::{IdlePorts, MediaConfig, MediaDriver};
use voip::os::udp::Name;
use voip::relay::RelaySettings;
use voip::relay::{
    Blocked, Direction, Learning, LegSpec, MediaCommand, MediaEvent, MediaKind, MediaSpec,
};
use voip::server::{MediaNews, MediaOrder};
use voip::wire::rtp::Header;
use voip::wire::sdp::Sdp;

/// Where our relay's ports begin: four for each stream.
const RELAY_PORT: u16 = 16_384;
/// Where the phones' sockets are: callers, called.
const PHONE_PORTS: [u16; 2] = [4_000, 4_500];
const SOCKETS: usize = 8;
const PACKET: usize = 172;
const PERIOD: Duration = Duration::from_millis(20);
/// The most packets that are sent in one go: a veth(4) takes 256 from one end before the other end
/// must have looked.
const TICK_MAX: usize = 64;
const BATCH: usize = 8;
const WARM: &str = "2";

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", streams] => serve(streams.parse()?, Fastpath::Off),
        ["serve", streams, fastpath] => {
            let name = fastpath.strip_prefix("xdp:").ok_or("xdp:INTERFACE")?;
            serve(streams.parse()?, Fastpath::Xdp(name.into()))
        }
        ["load", via, pids, streams, seconds, ref warm @ ..] => {
            let streams = streams.parse()?;
            let warm = warm.first().unwrap_or(&WARM);
            let targets = match via.split_once(':') {
                Some(("static", port)) => static_targets(port.parse()?, streams),
                Some(("ng", address)) => ng_targets(address.parse()?, streams)?,
                _ => return Err("static:PORT or ng:ADDRESS".into()),
            };
            load(
                &targets,
                &pids
                    .split(',')
                    .map(str::parse)
                    .collect::<Result<Vec<u32>, _>>()?,
                [warm, seconds].map(|text| text.parse().map(Duration::from_secs)),
            )
        }
        _ => {
            Err("relaybench serve STREAMS [FASTPATH] | load VIA PIDS STREAMS SECONDS [WARM]".into())
        }
    }
}

/// Where the relay is, or the phones are.
fn host(variable: &str) -> IpAddr {
    let named = std::env::var(variable).ok();
    let named = named.and_then(|text| text.parse().ok());
    named.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn relay_host() -> IpAddr {
    host("BENCH_RELAY")
}

/// The socket of a stream's phone.
fn phone(side: usize, stream: usize) -> SocketAddr {
    (
        host("BENCH_PHONES"),
        PHONE_PORTS[side] + 2 * (stream % SOCKETS) as u16,
    )
        .into()
}

fn relay_port(base: u16, side: usize, stream: usize) -> u16 {
    base + (4 * stream + 2 * side) as u16
}

fn serve(streams: usize, fastpath: Fastpath) -> Result<(), Failure> {
    let clock = Clock::new();
    let card = voip::os::fast::open(&fastpath, 1)?;
    let started = card.map(|card| card.start(clock, FastpathMode::Poll));
    let (_carrying, lines) = started.transpose()?.unzip();
    let config = MediaConfig {
        files: None,
        idle: Some(IdlePorts::of_process()),
        rooms: Default::default(),
        workers: 1,
        settings: RelaySettings::default(),
        clock,
    };
    let (sender, events) = std::sync::mpsc::channel();
    let sink = Arc::new(move |event: MediaNews| {
        let _ = sender.send(event);
    });
    let driver = MediaDriver::start_with(config, lines.unwrap_or_default(), sink)?;
    let handle = driver.handle();
    for stream in 0..streams {
        let legs = [0, 1].map(|side| LegSpec {
            bind: relay_host(),
            signalling: Some(host("BENCH_PHONES")),
            behind_nat: false,
            learning: Learning::Early,
            local: false,
            media: vec![Some(spec(side, stream))],
            keys: Vec::new(),
        });
        let session = stream as u64;
        let open = MediaCommand::Open { session, legs };
        handle
            .send(MediaOrder::Relay(open))
            .map_err(|_| "the relay refused a command")?;
        match events.recv()? {
            MediaNews::Relay(MediaEvent::Opened { .. }) => {}
            event => return Err(format!("{event:?}").into()),
        }
    }
    println!("ready");
    std::io::stdout().flush()?;
    let _ = std::io::stdin().read(&mut [0])?;
    Ok(())
}

fn spec(side: usize, stream: usize) -> MediaSpec {
    let port = relay_port(RELAY_PORT, side, stream);
    let peer = phone(side, stream);
    MediaSpec {
        port,
        rtcp_port: Some(port + 1),
        peer: Some(peer),
        peer_rtcp: Some((peer.ip(), peer.port() + 1).into()),
        direction: Direction::SendRecv,
        kind: MediaKind::Rtp,
        clock_rate: 8000,
        blocked: Blocked::NONE,
        tapped: false,
    }
}

/// For each stream, where caller and called send to.
type Targets = Vec<[SocketAddr; 2]>;

fn static_targets(base: u16, streams: usize) -> Targets {
    let target = |stream, side| (relay_host(), relay_port(base, side, stream)).into();
    (0..streams).map(|n| [target(n, 0), target(n, 1)]).collect()
}

/// Offers and answers each stream over the ng protocol (bencoded dictionaries over UDP).
fn ng_targets(control: SocketAddr, streams: usize) -> Result<Targets, Failure> {
    let socket = UdpSocket::bind((host("BENCH_PHONES"), 0))?;
    socket.connect(control)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let run = std::process::id();
    let mut targets = Vec::new();
    for stream in 0..streams {
        let call = format!("{run}-{stream}");
        let toward_called = ng(&socket, "offer", &call, phone(0, stream))?;
        let toward_caller = ng(&socket, "answer", &call, phone(1, stream))?;
        targets.push([toward_caller, toward_called]);
    }
    Ok(targets)
}

fn ng(
    socket: &UdpSocket,
    command: &str,
    call: &str,
    phone: SocketAddr,
) -> Result<SocketAddr, Failure> {
    let (ip, port) = (phone.ip(), phone.port());
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    );
    let mut fields = vec![
        ("ICE", "remove"),
        ("call-id", call),
        ("command", command),
        ("from-tag", "a"),
    ];
    fields.push(("sdp", &sdp));
    if command == "answer" {
        fields.push(("to-tag", "b"));
    }
    let coded: String = fields
        .iter()
        .map(|(key, value)| format!("{}:{key}{}:{value}", key.len(), value.len()))
        .collect();
    socket.send(format!("{call}{command} d{coded}e").as_bytes())?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer)?;
    let reply = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let (_, rest) = reply.split_once("3:sdp").ok_or_else(|| reply.clone())?;
    let (digits, rest) = rest.split_once(':').ok_or("no length")?;
    let sdp = rest.get(..digits.parse()?).ok_or("short answer")?;
    let sdp = Sdp::parse(sdp.as_bytes())?;
    sdp.media
        .first()
        .and_then(|m| m.rtp_address())
        .ok_or_else(|| "no address".into())
}

/// What the receiving thread counts in the window.
#[derive(Default)]
struct Heard {
    packets: u64,
    latencies_us: Vec<u32>,
    per_direction: HashMap<u32, u64>,
}

struct Shared {
    origin: Instant,
    window: [Duration; 2],
    stop: AtomicBool,
    sent: AtomicU64,
}

impl Shared {
    fn in_window(&self, at: Duration) -> bool {
        self.window[0] <= at && at < self.window[1]
    }
}

fn load(
    targets: &Targets,
    pids: &[u32],
    [warm, length]: [Result<Duration, std::num::ParseIntError>; 2],
) -> Result<(), Failure> {
    let (warm, length) = (warm?, length?);
    let mut sockets = Vec::new();
    for side in 0..2 {
        for place in 0..SOCKETS {
            let socket = socket2::Socket::from(UdpSocket::bind(phone(side, place))?);
            socket.set_recv_buffer_size(4 << 20)?;
            socket.set_send_buffer_size(4 << 20)?;
            socket.set_nonblocking(true)?;
            sockets.push(UdpSocket::from(socket));
        }
    }
    let shared = Shared {
        origin: Instant::now(),
        window: [warm, warm + length],
        stop: AtomicBool::new(false),
        sent: AtomicU64::new(0),
    };
    let (cpu, heard) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&shared, &sockets));
        let sender = scope.spawn(|| send(&shared, &sockets, targets));
        std::thread::sleep(warm);
        let all = || pids.iter().copied().map(cpu_ns).sum::<u64>();
        let before = all();
        std::thread::sleep(length);
        let cpu = all() - before;
        std::thread::sleep(Duration::from_millis(500));
        shared.stop.store(true, Ordering::Relaxed);
        let _ = sender.join();
        (cpu, receiver.join().unwrap_or_default())
    });
    let mut latencies = heard.latencies_us;
    latencies.sort_unstable();
    let quantile = |q: f64| {
        latencies
            .get((latencies.len() as f64 * q) as usize)
            .copied()
            .unwrap_or(0)
    };
    let sent = shared.sent.load(Ordering::Relaxed);
    println!("sent {sent} packets");
    println!("received {} packets", heard.packets);
    println!(
        "directions_heard {} of {}",
        heard.per_direction.len(),
        2 * targets.len()
    );
    println!("loss {:.6} ratio", 1.0 - heard.packets as f64 / sent as f64);
    println!("latency_p50 {} us", quantile(0.5));
    println!("latency_p99 {} us", quantile(0.99));
    println!("cpu {:.4} cores", cpu as f64 / length.as_nanos() as f64);
    let per_million = cpu as f64 / 1e9 / heard.packets as f64 * 1e6;
    println!("cpu_per_million_packets {per_million:.3} s");
    Ok(())
}

/// Nanoseconds on a core by all threads of a process.
fn cpu_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        })
        .sum()
}

/// Sends what is due each millisecond, or more often where that is too much, the packets of one
/// socket together.
fn send(shared: &Shared, sockets: &[UdpSocket], targets: &Targets) {
    let names: Vec<[Name; 2]> = targets.iter().map(|pair| pair.map(Name::from)).collect();
    let mut slots: Vec<Vec<(usize, usize)>> = vec![Vec::new(); slots_for(targets.len())];
    for stream in 0..targets.len() {
        for side in 0..2 {
            let slot = stream % slots.len();
            slots[slot].push((stream, side));
        }
    }
    let place = |(stream, side): &(usize, usize)| side * SOCKETS + stream % SOCKETS;
    for slot in &mut slots {
        slot.sort_by_key(place);
    }
    let mut burst = Burst::new();
    for tick in 0u32.. {
        let due = PERIOD * tick / slots.len() as u32;
        std::thread::sleep(due.saturating_sub(shared.origin.elapsed()));
        if shared.stop.load(Ordering::Relaxed)
            || due >= shared.window[1] + Duration::from_millis(200)
        {
            return;
        }
        let round = tick / slots.len() as u32;
        let slot = &slots[tick as usize % slots.len()];
        for chunk in slot
            .chunk_by(|a, b| place(a) == place(b))
            .flat_map(|c| c.chunks(BATCH))
        {
            let at = shared.origin.elapsed();
            for (stream, side) in chunk {
                burst.add(
                    &names[*stream][*side],
                    2 * *stream as u32 + *side as u32,
                    round,
                    at,
                );
            }
            if shared.in_window(at) {
                shared.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            burst.send(&sockets[place(&chunk[0])]);
        }
    }
}

/// How many ticks a period has.
fn slots_for(streams: usize) -> usize {
    let milliseconds = PERIOD.as_millis() as usize;
    let each = (2 * streams).div_ceil(milliseconds);
    milliseconds * each.div_ceil(TICK_MAX).max(1)
}

/// Up to `BATCH` packets that leave one socket by one call.
struct Burst {
    packets: [[u8; PACKET]; BATCH],
    names: [Name; BATCH],
    count: usize,
}

impl Burst {
    fn new() -> Self {
        Self {
            packets: [[0xd5; PACKET]; BATCH],
            names: [Name::empty(); BATCH],
            count: 0,
        }
    }

    fn add(&mut self, name: &Name, ssrc: u32, round: u32, at: Duration) {
        let header = Header {
            marker: false,
            payload_type: 0,
            sequence: round as u16,
            timestamp: round.wrapping_mul(160),
            ssrc,
        };
        let packet = &mut self.packets[self.count];
        packet[..12].copy_from_slice(&header.emit());
        packet[12..20].copy_from_slice(&(at.as_nanos() as u64).to_be_bytes());
        self.names[self.count] = *name;
        self.count += 1;
    }

    fn send(&mut self, socket: &UdpSocket) {
        let mut vectors = self.packets.each_mut().map(|packet| libc::iovec {
            iov_base: packet.as_mut_ptr().cast(),
            iov_len: PACKET,
        });
        let mut done = 0;
        // SAFETY: all zero is a valid header; each points to a name and a vector that outlive the call.
        unsafe {
            let mut headers: [libc::mmsghdr; BATCH] = std::mem::zeroed();
            for ((header, vector), name) in
                headers.iter_mut().zip(&mut vectors).zip(&mut self.names)
            {
                header.msg_hdr.msg_namelen = name.length();
                header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
            }
            while done < self.count {
                let rest = (self.count - done) as u32;
                let n = libc::sendmmsg(socket.as_raw_fd(), headers[done..].as_mut_ptr(), rest, 0);
                done += n.max(0) as usize;
            }
        }
        self.count = 0;
    }
}

fn receive(shared: &Shared, sockets: &[UdpSocket]) -> Heard {
    let mut heard = Heard::default();
    let mut waiting: Vec<libc::pollfd> = sockets
        .iter()
        .map(|socket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let mut room = Room::new();
    while !shared.stop.load(Ordering::Relaxed) {
        // SAFETY: the array is ours and as long as told.
        unsafe { libc::poll(waiting.as_mut_ptr(), waiting.len() as libc::nfds_t, 50) };
        for wait in waiting.iter().filter(|wait| wait.revents != 0) {
            let count = room.receive(wait.fd);
            let now = shared.origin.elapsed();
            for packet in &room.packets[..count] {
                let Some(header) = Header::parse(packet) else {
                    continue;
                };
                let stamp = u64::from_be_bytes(packet[12..20].try_into().unwrap_or_default());
                let stamp = Duration::from_nanos(stamp);
                if shared.in_window(stamp) {
                    heard.packets += 1;
                    heard
                        .latencies_us
                        .push(now.saturating_sub(stamp).as_micros() as u32);
                    *heard.per_direction.entry(header.ssrc).or_default() += 1;
                }
            }
        }
    }
    heard
}

/// Room for 64 packets that come by one call.
struct Room {
    packets: Box<[[u8; PACKET]; 64]>,
}

impl Room {
    fn new() -> Self {
        Self {
            packets: Box::new([[0; PACKET]; 64]),
        }
    }

    fn receive(&mut self, fd: i32) -> usize {
        let mut vectors = self.packets.each_mut().map(|packet| libc::iovec {
            iov_base: packet.as_mut_ptr().cast(),
            iov_len: PACKET,
        });
        // SAFETY: all zero is a valid header; each points to a vector that outlives the call.
        unsafe {
            let mut headers: [libc::mmsghdr; 64] = std::mem::zeroed();
            for (header, vector) in headers.iter_mut().zip(&mut vectors) {
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
            }
            let wait = std::ptr::null_mut();
            let n = libc::recvmmsg(fd, headers.as_mut_ptr(), 64, libc::MSG_DONTWAIT, wait);
            usize::try_from(n).unwrap_or(0)
        }
    }
}
