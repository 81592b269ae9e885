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
//! Everything is on 127.0.0.1, unless BENCH_RELAY and BENCH_PHONES say where the two are. Where
//! BENCH_DEVICE and BENCH_RELAY_MAC say which interface leads to the relay, and to which address
//! there, the load leaves as whole frames ([`frames`]). Linux alone. It leaves in BENCH_TICKS bursts
//! within 20 ms, 20 unless told otherwise.
//! A stream is two phones that send 172 bytes each 20 ms; streams begin one after the other in the first
//! half of the seconds before what is measured. Phones share few sockets, so that the
//! generator is cheap; the SSRC names stream and direction. The relay cannot tell the difference.

#![allow(unsafe_code)]

#[path = "frames.rs"]
mod frames;

use frames::{Cable, FRESH, HEADERS, Template};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
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
/// Of each side. It divides the ticks of a period, so that what is due at a tick leaves by one socket.
const SOCKETS: usize = 4;
const PACKET: usize = 172;
/// What a packet is filled with: G.711's silence, A-law.
const FILL: u8 = 0xd5;
const PERIOD: Duration = Duration::from_millis(20);
/// The most packets that are sent in one go: a veth(4) takes 256 from one end before the other end
/// must have looked.
const TICK_MAX: usize = 64;
const BATCH: usize = 32;
/// What a receiving socket holds: a tenth of a second of 300,000 packets/s.
const ROOM_BYTES: libc::c_int = 32 << 20;
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
            ice: None,
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
    /// By SSRC, which is the number of the direction.
    per_direction: Vec<u64>,
}

struct Shared {
    origin: Instant,
    window: [Duration; 2],
    stop: AtomicBool,
    sent: AtomicU64,
    /// What the system did not take: of whole frames those that the relay's end of the cable had no
    /// room for. They are lost as well.
    refused: AtomicU64,
}

impl Shared {
    fn in_window(&self, at: Duration) -> bool {
        self.window[0] <= at && at < self.window[1]
    }

    /// How many of the streams have begun: they come one after the other in the first half of the
    /// time before the window, as calls do.
    fn begun(&self, streams: usize) -> usize {
        let half = self.window[0].as_secs_f64() / 2.0;
        let part = self.origin.elapsed().as_secs_f64() / half.max(f64::MIN_POSITIVE);
        (part.min(1.0) * streams as f64) as usize
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
            widen(&socket)?;
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
        refused: AtomicU64::new(0),
    };
    let cable = match (
        std::env::var("BENCH_DEVICE"),
        std::env::var("BENCH_RELAY_MAC"),
    ) {
        (Ok(device), Ok(relay)) => Some(Cable::open(&device, &relay)?),
        _ => None,
    };
    let way = Way::new(&sockets, cable.as_ref(), targets)?;
    let (cpu, heard) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&shared, &sockets, targets.len()));
        let sender = scope.spawn(|| send(&shared, &way, targets));
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
    let refused = shared.refused.load(Ordering::Relaxed);
    println!("refused {refused} packets");
    println!("received {} packets", heard.packets);
    println!(
        "directions_heard {} of {}",
        heard
            .per_direction
            .iter()
            .filter(|&&count| count > 0)
            .count(),
        2 * targets.len()
    );
    let due = (sent + refused) as f64;
    println!("loss {:.6} ratio", 1.0 - heard.packets as f64 / due);
    println!("latency_p50 {} us", quantile(0.5));
    println!("latency_p99 {} us", quantile(0.99));
    println!("cpu {:.4} cores", cpu as f64 / length.as_nanos() as f64);
    let per_million = cpu as f64 / 1e9 / heard.packets as f64 * 1e6;
    println!("cpu_per_million_packets {per_million:.3} s");
    Ok(())
}

/// Room for what comes while the thread that reads has to wait, beyond the system's limit where this
/// process may (CAP_NET_ADMIN).
fn widen(socket: &socket2::Socket) -> std::io::Result<()> {
    // SAFETY: a whole int, as the option wants it.
    let forced = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            std::ptr::from_ref(&ROOM_BYTES).cast(),
            std::mem::size_of_val(&ROOM_BYTES) as libc::socklen_t,
        )
    };
    if forced == 0 {
        return Ok(());
    }
    socket.set_recv_buffer_size(ROOM_BYTES as usize)
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

/// How the load's packets leave.
enum Way<'a> {
    /// By the sockets that receive, too.
    Sockets(&'a [UdpSocket]),
    /// As frames: [`Cable`].
    Frames(&'a Cable, Vec<[Template; 2]>),
}

impl<'a> Way<'a> {
    fn new(
        sockets: &'a [UdpSocket],
        cable: Option<&'a Cable>,
        targets: &Targets,
    ) -> Result<Self, String> {
        let Some(cable) = cable else {
            return Ok(Self::Sockets(sockets));
        };
        let pair = |(stream, pair): (usize, &[SocketAddr; 2])| {
            let of = |side| cable.template(phone(side, stream), pair[side], PACKET, FILL);
            Ok([of(0)?, of(1)?])
        };
        let templates = targets.iter().enumerate().map(pair);
        Ok(Self::Frames(
            cable,
            templates.collect::<Result<_, String>>()?,
        ))
    }
}

/// Sends what is due at each tick, the packets of one socket together.
fn send(shared: &Shared, way: &Way<'_>, targets: &Targets) {
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
    come_first();
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
        let begun = shared.begun(targets.len());
        for chunk in slot
            .chunk_by(|a, b| place(a) == place(b))
            .flat_map(|c| c.chunks(BATCH))
        {
            let at = shared.origin.elapsed();
            let talking = chunk.iter().filter(|(stream, _)| *stream < begun);
            for &(stream, side) in talking.clone() {
                burst.add(2 * stream as u32 + side as u32, round, at);
                match way {
                    Way::Sockets(_) => burst.address(&names[stream][side]),
                    Way::Frames(_, templates) => burst.frame(&templates[stream][side]),
                }
            }
            let sent = match way {
                Way::Sockets(sockets) => burst.send(sockets[place(&chunk[0])].as_raw_fd()),
                Way::Frames(cable, _) => burst.send(cable.raw()),
            };
            if shared.in_window(at) {
                let refused = (talking.count() - sent) as u64;
                shared.sent.fetch_add(sent as u64, Ordering::Relaxed);
                shared.refused.fetch_add(refused, Ordering::Relaxed);
            }
        }
    }
}

/// Has this thread run before the one that receives, where both are of a real-time class: it would
/// else wait, and then send at once what was due in between, more than the cable holds.
fn come_first() {
    // SAFETY: this thread alone, and a whole parameter; one that may not is as before.
    unsafe {
        let mut parameter: libc::sched_param = std::mem::zeroed();
        if libc::sched_getscheduler(0) == libc::SCHED_FIFO
            && libc::sched_getparam(0, &raw mut parameter) == 0
        {
            parameter.sched_priority += 1;
            libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter);
        }
    }
}

/// Takes this thread out of the real-time class, if it is of it, never to sleep: to wake it would
/// cost whoever sends to it more than to send, and behind a card there is nobody to wake. Whether it
/// was; a load that shares its core with others sleeps.
fn stays_awake() -> bool {
    // SAFETY: this thread alone, and a whole parameter; one that may not is as before.
    unsafe {
        if libc::sched_getscheduler(0) != libc::SCHED_FIFO {
            return false;
        }
        let parameter: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameter);
        libc::setpriority(libc::PRIO_PROCESS, 0, -20);
    }
    true
}

/// How many ticks a period has: BENCH_TICKS, one each millisecond unless told otherwise, and a
/// multiple of it where more is due at a tick than may be.
fn slots_for(streams: usize) -> usize {
    let told = std::env::var("BENCH_TICKS").ok();
    let ticks = told.and_then(|ticks| ticks.parse().ok());
    let ticks = ticks.unwrap_or(PERIOD.as_millis() as usize).max(1);
    let each = (2 * streams).div_ceil(ticks);
    ticks * each.div_ceil(TICK_MAX).max(1)
}

/// Up to `BATCH` packets that leave one socket by one call.
struct Burst {
    /// With room for a frame's headers before each packet.
    packets: [[u8; HEADERS + PACKET]; BATCH],
    /// Where they go, if they are not frames.
    names: [Name; BATCH],
    framed: bool,
    count: usize,
}

impl Burst {
    fn new() -> Self {
        Self {
            packets: [[FILL; HEADERS + PACKET]; BATCH],
            names: [Name::empty(); BATCH],
            framed: false,
            count: 0,
        }
    }

    /// One packet more, which needs an address or headers yet.
    fn add(&mut self, ssrc: u32, round: u32, at: Duration) {
        let header = Header {
            marker: false,
            payload_type: 0,
            sequence: round as u16,
            timestamp: round.wrapping_mul(160),
            ssrc,
        };
        let packet = &mut self.packets[self.count][HEADERS..];
        packet[..12].copy_from_slice(&header.emit());
        packet[12..FRESH].copy_from_slice(&(at.as_nanos() as u64).to_be_bytes());
        self.count += 1;
    }

    fn address(&mut self, name: &Name) {
        self.names[self.count - 1] = *name;
    }

    fn frame(&mut self, template: &Template) {
        template.write(&mut self.packets[self.count - 1]);
        self.framed = true;
    }

    /// Sends what was added; how many packets went. One that finds the cable full is not sent.
    fn send(&mut self, socket: RawFd) -> usize {
        let skipped = if self.framed { 0 } else { HEADERS };
        let mut vectors = self.packets.each_mut().map(|packet| libc::iovec {
            iov_base: packet[skipped..].as_mut_ptr().cast(),
            iov_len: packet.len() - skipped,
        });
        let (mut done, mut sent) = (0, 0);
        // SAFETY: all zero is a valid header; each points to a name and a vector that outlive the call.
        unsafe {
            let mut headers: [libc::mmsghdr; BATCH] = std::mem::zeroed();
            for ((header, vector), name) in
                headers.iter_mut().zip(&mut vectors).zip(&mut self.names)
            {
                if !self.framed {
                    header.msg_hdr.msg_namelen = name.length();
                    header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
                }
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
            }
            while done < self.count {
                let rest = (self.count - done) as u32;
                let n = libc::sendmmsg(socket, headers[done..].as_mut_ptr(), rest, 0);
                let went = usize::try_from(n).unwrap_or(0);
                sent += went;
                done += went.max(1);
            }
        }
        self.count = 0;
        sent
    }
}

fn receive(shared: &Shared, sockets: &[UdpSocket], streams: usize) -> Heard {
    let window = shared.window[1].saturating_sub(shared.window[0]);
    let expected = 2 * streams as u128 * window.as_millis() / PERIOD.as_millis();
    let mut heard = Heard {
        packets: 0,
        latencies_us: Vec::with_capacity(expected as usize),
        per_direction: vec![0; 2 * streams],
    };
    let mut waiting: Vec<libc::pollfd> = sockets
        .iter()
        .map(|socket| libc::pollfd {
            fd: socket.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let mut room = Room::new();
    let patience_ms = if stays_awake() { 0 } else { 50 };
    while !shared.stop.load(Ordering::Relaxed) {
        // SAFETY: the array is ours and as long as told.
        unsafe {
            libc::poll(
                waiting.as_mut_ptr(),
                waiting.len() as libc::nfds_t,
                patience_ms,
            )
        };
        for wait in waiting.iter().filter(|wait| wait.revents != 0) {
            loop {
                let count = room.receive(wait.fd);
                let now = shared.origin.elapsed();
                for packet in &room.packets[..count] {
                    heard.note(shared, packet, now);
                }
                if count < room.packets.len() {
                    break;
                }
            }
        }
    }
    heard
}

impl Heard {
    fn note(&mut self, shared: &Shared, packet: &[u8; PACKET], now: Duration) {
        let Some(header) = Header::parse(packet) else {
            return;
        };
        let stamp = u64::from_be_bytes(packet[12..20].try_into().unwrap_or_default());
        let stamp = Duration::from_nanos(stamp);
        if !shared.in_window(stamp) {
            return;
        }
        self.packets += 1;
        let latency = now.saturating_sub(stamp).as_micros();
        self.latencies_us.push(latency as u32);
        if let Some(count) = self.per_direction.get_mut(header.ssrc as usize) {
            *count += 1;
        }
    }
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
