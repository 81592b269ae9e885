//! A cheap SIP load generator for the benchmarks: REGISTER, REGISTER with digest, whole calls.
//!
//! ```text
//! sipload register      TARGET [options]   refreshes of --users addresses of record
//! sipload register-auth TARGET [options]   the same, answering a challenge each time (MD5)
//! sipload call          TARGET [options]   INVITE 180 200 ACK BYE 200 to a phone of its own
//! sipload pool          TARGET [options]   the same to numbers 80000 to 80999, which the server has
//!                                          to lead to the phones at --phone-port and the next ones
//! sipload echo          TARGET [options]   INVITE 200 ACK BYE 200 to *130, which the server answers
//! ```
//! A phone refreshes as RFC 3261 §10.2.4 wants it: one Call-ID per user, its CSeq ever higher, also
//! over runs that share a `--port`. A closed loop over UDP: at most `--window` operations are under way, and the next begins when
//! one ends (`--rate` slows the beginning). It keeps its own cost low, so that a server on one
//! core is the bottleneck: no allocation to speak of per message, no headers typed. It says at its
//! end `metric value unit`, one a line.

use md5::{Digest, Md5};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const T1: Duration = Duration::from_millis(500);
const RETRANSMISSIONS_MAX: u32 = 6;
const SCAN_EVERY: Duration = Duration::from_millis(20);
const BURST: usize = 64;
const SDP: &str = "v=0\r\no=load 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Register,
    RegisterAuth,
    Call,
    Pool,
    Echo,
}

impl Mode {
    fn is_call(self) -> bool {
        matches!(self, Mode::Call | Mode::Pool | Mode::Echo)
    }
}

struct Options {
    mode: Mode,
    target: SocketAddr,
    domain: String,
    password: String,
    users: u32,
    port: u16,
    phone_port: u16,
    phones: u16,
    count: u32,
    window: usize,
    rate: f64,
    hold: Duration,
    limit: Duration,
}

/// What an operation waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// A final answer to the first request.
    First,
    /// A final answer to the request with credentials.
    Authorized,
    /// The time to hang up.
    Talking,
    /// The answer to the BYE.
    Ending,
}

struct Slot {
    state: State,
    serial: u32,
    started: Instant,
    /// When to send again, or to hang up.
    due: Instant,
    sent: u32,
    provisional: bool,
    request: Vec<u8>,
}

#[derive(Default)]
struct Counts {
    started: u32,
    ok: u32,
    failed: u32,
    retransmissions: u32,
    stray: u32,
    latencies_us: Vec<u32>,
}

struct Load {
    options: Options,
    caller: UdpSocket,
    caller_at: SocketAddr,
    phones: Vec<(UdpSocket, SocketAddr)>,
    run: u32,
    /// Above the CSeq of every REGISTER of an earlier run.
    cseq: u32,
    slots: Vec<Slot>,
    free: Vec<usize>,
    counts: Counts,
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = parse(&words).unwrap_or_else(|problem| {
        eprintln!("sipload: {problem}");
        std::process::exit(64)
    });
    let mut load = Load::new(options)?;
    if load.options.mode == Mode::Call {
        load.register_phone()?;
    }
    let started = Instant::now();
    load.run(started);
    load.report(started.elapsed());
    std::process::exit(i32::from(
        load.counts.failed > 0 || load.counts.ok < load.options.count,
    ))
}

fn parse(words: &[String]) -> Result<Options, String> {
    let [mode, target, rest @ ..] = words else {
        return Err("needs a mode and a target".to_owned());
    };
    let mode = match mode.as_str() {
        "register" => Mode::Register,
        "register-auth" => Mode::RegisterAuth,
        "call" => Mode::Call,
        "pool" => Mode::Pool,
        "echo" => Mode::Echo,
        other => return Err(format!("no mode is called {other}")),
    };
    let target = target.parse().map_err(|e| format!("{target}: {e}"))?;
    let mut values: HashMap<&str, &str> = HashMap::new();
    for pair in rest.chunks(2) {
        let [name, value] = pair else {
            return Err(format!("{} needs a value", pair[0]));
        };
        values.insert(name.trim_start_matches("--"), value);
    }
    let mut number = |name: &str, default: f64| match values.remove(name) {
        Some(text) => text.parse::<f64>().map_err(|e| format!("--{name}: {e}")),
        None => Ok(default),
    };
    let (count, window) = (number("count", 10_000.0)?, number("window", 64.0)?);
    let port = number("port", 0.0)?;
    let (phone_port, phones) = (number("phone-port", 0.0)?, number("phones", 1.0)?);
    let (users, rate) = (number("users", count)?, number("rate", 0.0)?);
    let (hold, limit) = (number("hold-ms", 0.0)?, number("limit-s", 120.0)?);
    let domain = values.remove("domain").unwrap_or("voip.test").to_owned();
    let password = values.remove("password").unwrap_or("secret").to_owned();
    if let Some(name) = values.keys().next() {
        return Err(format!("no option is called --{name}"));
    }
    Ok(Options {
        mode,
        target,
        domain,
        password,
        users: users as u32,
        port: port as u16,
        phone_port: phone_port as u16,
        phones: phones as u16,
        count: count as u32,
        window: window as usize,
        rate,
        hold: Duration::from_millis(hold as u64),
        limit: Duration::from_secs_f64(limit),
    })
}

fn socket(port: u16) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind(("127.0.0.1", port))?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(16 << 20)?;
    options.set_nonblocking(true)?;
    let at = socket.local_addr()?;
    Ok((socket, at))
}

/// Grows by 100 in a second, and wraps once in half a year.
fn first_cseq() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let centiseconds = now.map_or(0, |d| d.as_millis() / 10);
    (centiseconds % (1 << 31)) as u32
}

impl Load {
    fn new(options: Options) -> io::Result<Self> {
        let now = Instant::now();
        let slots = (0..options.window).map(|_| Slot {
            state: State::Idle,
            serial: 0,
            started: now,
            due: now,
            sent: 0,
            provisional: false,
            request: Vec::with_capacity(2048),
        });
        let (caller, caller_at) = socket(options.port)?;
        let phones = (0..options.phones).map(|n| match options.phone_port {
            0 => socket(0),
            first => socket(first + 2 * n),
        });
        Ok(Load {
            phones: phones.collect::<io::Result<_>>()?,
            slots: slots.collect(),
            free: (0..options.window).rev().collect(),
            run: std::process::id(),
            cseq: first_cseq(),
            options,
            caller,
            caller_at,
            counts: Counts::default(),
        })
    }

    /// Registers the called phone; the server must believe us without digest.
    fn register_phone(&mut self) -> io::Result<()> {
        let domain = &self.options.domain;
        let (phone, at) = &self.phones[0];
        let text = format!(
            "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{run}p\r\n\
             Max-Forwards: 70\r\nFrom: <sip:phone@{domain}>;tag=p\r\nTo: <sip:phone@{domain}>\r\n\
             Call-ID: phone-{run}\r\nCSeq: 1 REGISTER\r\nContact: <sip:phone@{at}>\r\n\
             Expires: 3600\r\nContent-Length: 0\r\n\r\n",
            run = self.run,
        );
        phone.send_to(text.as_bytes(), self.options.target)?;
        let mut buffer = [0; 4096];
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            match phone.recv(&mut buffer) {
                Ok(n) if status(&buffer[..n]) == 200 => return Ok(()),
                Ok(n) if status(&buffer[..n]) > 200 => break,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        Err(io::Error::other("the phone could not register"))
    }

    fn run(&mut self, started: Instant) {
        let mut scanned = started;
        let mut buffer = vec![0; 65536];
        while self.counts.ok + self.counts.failed < self.options.count {
            let now = Instant::now();
            if now - started > self.options.limit {
                break;
            }
            let mut busy = self.begin(started, now);
            busy |= self.drain_caller(&mut buffer);
            for (socket, at) in &self.phones {
                busy |= drain_phone(socket, *at, &mut buffer);
            }
            if now - scanned > SCAN_EVERY {
                scanned = now;
                self.scan(now);
            }
            if !busy {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }

    /// Begins operations while there is room and, under a rate, while it is time.
    fn begin(&mut self, started: Instant, now: Instant) -> bool {
        let due = match self.options.rate {
            rate if rate > 0.0 => ((now - started).as_secs_f64() * rate) as u32 + 1,
            _ => self.options.count,
        };
        let due = due.min(self.options.count);
        let mut begun = 0;
        while begun < BURST && self.counts.started < due {
            let Some(index) = self.free.pop() else { break };
            let serial = self.counts.started;
            self.counts.started += 1;
            let slot = &mut self.slots[index];
            slot.state = State::First;
            slot.serial = serial;
            slot.started = now;
            slot.provisional = false;
            match self.options.mode {
                mode if mode.is_call() => self.write_invite(index),
                _ => self.write_register(index, ""),
            }
            self.send_first(index, now);
            begun += 1;
        }
        begun > 0
    }

    fn send_first(&mut self, index: usize, now: Instant) {
        let slot = &mut self.slots[index];
        slot.sent = 1;
        slot.due = now + T1;
        let _ = self.caller.send_to(&slot.request, self.options.target);
    }

    /// Two numbers for each operation: the second one is for the request with credentials.
    fn register_cseq(&self, index: usize) -> u32 {
        let slot = &self.slots[index];
        let second = u32::from(slot.state == State::Authorized);
        self.cseq + 2 * (slot.serial / self.options.users) + second
    }

    fn write_register(&mut self, index: usize, authorization: &str) {
        let cseq = self.register_cseq(index);
        let (at, run, domain) = (self.caller_at, self.run, &self.options.domain);
        let slot = &mut self.slots[index];
        let (serial, user) = (slot.serial, slot.serial % self.options.users);
        slot.request.clear();
        let _ = write!(
            slot.request,
            "REGISTER sip:{domain} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {at};branch=z9hG4bK{run:x}-{serial:x}-{cseq}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:u{user:07}@{domain}>;tag={run:x}-{serial:x}-{index:x}\r\n\
             To: <sip:u{user:07}@{domain}>\r\nCall-ID: u{user:07}-{at}@load\r\n\
             CSeq: {cseq} REGISTER\r\nContact: <sip:u{user:07}@{at}>\r\n{authorization}\
             Expires: 3600\r\nUser-Agent: sipload\r\nContent-Length: 0\r\n\r\n",
        );
    }

    fn write_invite(&mut self, index: usize) {
        let (at, run, domain) = (self.caller_at, self.run, &self.options.domain);
        let slot = &mut self.slots[index];
        let serial = slot.serial;
        let called = called(&self.options, serial);
        slot.request.clear();
        let _ = write!(
            slot.request,
            "INVITE sip:{called}@{domain} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {at};branch=z9hG4bK{run:x}-{serial:x}-1\r\n\
             Max-Forwards: 70\r\nFrom: <sip:caller@{domain}>;tag={serial:x}\r\n\
             To: <sip:{called}@{domain}>\r\nCall-ID: {run:x}-{serial:x}-{index:x}@load\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:caller@{at}>\r\nUser-Agent: sipload\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            SDP.len(),
        );
    }

    /// Reads what has come to the caller.
    fn drain_caller(&mut self, buffer: &mut [u8]) -> bool {
        for turn in 0..BURST {
            match self.caller.recv_from(buffer) {
                Ok((n, _)) if buffer[..n].starts_with(b"SIP/2.0 ") => {
                    self.on_response(&buffer[..n]);
                }
                Ok((n, from)) if n > 4 => {
                    answer_as_phone(&self.caller, &buffer[..n], from, self.caller_at);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return turn > 0,
                _ => {}
            }
        }
        true
    }

    fn on_response(&mut self, message: &[u8]) {
        let now = Instant::now();
        let Some(index) = self.slot_of(message) else {
            self.counts.stray += 1;
            return;
        };
        let cseq = header(message, b"CSeq").unwrap_or(b"");
        let status = status(message);
        if status < 200 {
            self.slots[index].provisional = true;
            return;
        }
        match (self.options.mode, self.slots[index].state) {
            (mode, _) if mode.is_call() && cseq.ends_with(b"INVITE") => {
                self.on_answer(index, message, now)
            }
            (mode, State::Ending) if mode.is_call() => {
                self.explain(status == 200, message);
                self.finish(index, status == 200);
            }
            (Mode::RegisterAuth, State::First) if status == 401 => {
                let authorization = self.credentials(index, message);
                self.slots[index].state = State::Authorized;
                self.write_register(index, &authorization);
                self.send_first(index, now);
            }
            // The challenge once more.
            (Mode::RegisterAuth, State::Authorized) if status == 401 => {}
            (Mode::Register | Mode::RegisterAuth, State::First | State::Authorized) => {
                self.note_latency(index, now);
                self.finish(index, status == 200);
            }
            _ => self.counts.stray += 1,
        }
    }

    /// The operation that a message belongs to: RUN-SERIAL-SLOT in the Call-ID, or, where phones
    /// keep theirs, in From's tag.
    fn slot_of(&self, message: &[u8]) -> Option<usize> {
        let name = match self.options.mode {
            Mode::Call | Mode::Pool | Mode::Echo => {
                std::str::from_utf8(header(message, b"Call-ID")?)
                    .ok()?
                    .strip_suffix("@load")?
            }
            Mode::Register | Mode::RegisterAuth => {
                let from = std::str::from_utf8(header(message, b"From")?).ok()?;
                from.rsplit_once(";tag=")?.1
            }
        };
        let mut parts = name.split('-');
        let mut number = || u32::from_str_radix(parts.next()?, 16).ok();
        let (run, serial, index) = (number()?, number()?, number()? as usize);
        let slot = self.slots.get(index)?;
        let ours = run == self.run && slot.serial == serial && slot.state != State::Idle;
        ours.then_some(index)
    }

    fn note_latency(&mut self, index: usize, now: Instant) {
        let elapsed = (now - self.slots[index].started).as_micros();
        self.counts.latencies_us.push(elapsed as u32);
    }

    /// Shows the first answer that was no good.
    fn explain(&self, good: bool, message: &[u8]) {
        if !good && self.counts.failed == 0 {
            eprintln!("sipload: {}", String::from_utf8_lossy(message));
        }
    }

    fn finish(&mut self, index: usize, good: bool) {
        self.slots[index].state = State::Idle;
        self.free.push(index);
        if good {
            self.counts.ok += 1;
        } else {
            self.counts.failed += 1;
        }
    }

    /// A final answer to an INVITE: acknowledge it, and each time it comes again.
    fn on_answer(&mut self, index: usize, message: &[u8], now: Instant) {
        if status(message) >= 300 {
            self.send_in_dialog(index, message, "ACK", 1, 1);
            if self.slots[index].state == State::First {
                self.explain(false, message);
                self.finish(index, false);
            }
            return;
        }
        self.send_in_dialog(index, message, "ACK", 1, 2);
        if self.slots[index].state == State::First {
            self.note_latency(index, now);
            self.write_in_dialog(index, message, "BYE", 2, 3);
            self.slots[index].state = State::Talking;
            self.slots[index].due = now + self.options.hold;
            if self.options.hold.is_zero() {
                self.hang_up(index, now);
            }
        }
    }

    fn hang_up(&mut self, index: usize, now: Instant) {
        self.slots[index].state = State::Ending;
        self.send_first(index, now);
    }

    fn send_in_dialog(&mut self, index: usize, answer: &[u8], method: &str, cseq: u32, branch: u8) {
        let kept = std::mem::take(&mut self.slots[index].request);
        self.write_in_dialog(index, answer, method, cseq, branch);
        let _ = self
            .caller
            .send_to(&self.slots[index].request, self.options.target);
        self.slots[index].request = kept;
    }

    /// Writes a request of the dialog that an answer describes, or the ACK of a refusal.
    fn write_in_dialog(
        &mut self,
        index: usize,
        answer: &[u8],
        method: &str,
        cseq: u32,
        branch: u8,
    ) {
        let (at, run, domain) = (self.caller_at, self.run, &self.options.domain);
        let slot = &mut self.slots[index];
        let serial = slot.serial;
        let refused = status(answer) >= 300;
        let to = String::from_utf8_lossy(header(answer, b"To").unwrap_or(b"")).into_owned();
        let target = match header(answer, b"Contact").filter(|_| !refused) {
            Some(contact) => String::from_utf8_lossy(inside_brackets(contact)).into_owned(),
            None => format!("sip:{}@{domain}", called(&self.options, serial)),
        };
        slot.request.clear();
        let out = &mut slot.request;
        let _ = write!(
            out,
            "{method} {target} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {at};branch=z9hG4bK{run:x}-{serial:x}-{branch}\r\n\
             Max-Forwards: 70\r\n",
        );
        let routes: Vec<&[u8]> = headers(answer, b"Record-Route")
            .filter(|_| !refused)
            .collect();
        for route in routes.iter().rev() {
            out.extend_from_slice(b"Route: ");
            out.extend_from_slice(route);
            out.extend_from_slice(b"\r\n");
        }
        let _ = write!(
            out,
            "From: <sip:caller@{domain}>;tag={serial:x}\r\nTo: {to}\r\n\
             Call-ID: {run:x}-{serial:x}-{index:x}@load\r\nCSeq: {cseq} {method}\r\n\
             Content-Length: 0\r\n\r\n",
        );
    }

    /// The Authorization header for a challenge, by MD5 (RFC 7616 §3.4).
    fn credentials(&self, index: usize, message: &[u8]) -> String {
        let challenge = headers(message, b"WWW-Authenticate")
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .find(|value| !value.contains("SHA"))
            .unwrap_or_default();
        let field = |name: &str| {
            let start = challenge.find(&format!("{name}=\""))? + name.len() + 2;
            let end = start + challenge[start..].find('"')?;
            Some(&challenge[start..end])
        };
        let realm = field("realm").unwrap_or("");
        let nonce = field("nonce").unwrap_or("");
        let user = format!("u{:07}", self.slots[index].serial % self.options.users);
        let uri = format!("sip:{}", self.options.domain);
        let ha1 = md5_hex(&format!("{user}:{realm}:{}", self.options.password));
        let ha2 = md5_hex(&format!("REGISTER:{uri}"));
        let start = format!(
            "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", \
             uri=\"{uri}\", algorithm=MD5"
        );
        if challenge.contains("qop") {
            let response = md5_hex(&format!("{ha1}:{nonce}:00000001:0a4f113b:auth:{ha2}"));
            let rest = "qop=auth, nc=00000001, cnonce=\"0a4f113b\"";
            format!("{start}, {rest}, response=\"{response}\"\r\n")
        } else {
            let response = md5_hex(&format!("{ha1}:{nonce}:{ha2}"));
            format!("{start}, response=\"{response}\"\r\n")
        }
    }

    /// Sends again what has had no answer; hangs up what has talked long enough.
    fn scan(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.state == State::Idle || now < slot.due {
                continue;
            }
            if slot.state == State::Talking {
                self.hang_up(index, now);
            } else if slot.sent > RETRANSMISSIONS_MAX {
                self.finish(index, false);
            } else if slot.provisional && slot.state == State::First {
                // An INVITE that has had a provisional answer is not sent again.
                slot.sent += 1;
                slot.due = now + 8 * T1;
            } else {
                slot.due = now + T1 * (1 << slot.sent.min(3));
                slot.sent += 1;
                self.counts.retransmissions += 1;
                let _ = self
                    .caller
                    .send_to(&self.slots[index].request, self.options.target);
            }
        }
    }

    fn report(&mut self, elapsed: Duration) {
        let counts = &mut self.counts;
        counts.latencies_us.sort_unstable();
        let last = counts.latencies_us.len().saturating_sub(1);
        let share = |p: usize| {
            counts
                .latencies_us
                .get(last * p / 100)
                .copied()
                .unwrap_or(0)
        };
        println!("ok {} operations", counts.ok);
        println!("failed {} operations", counts.failed);
        println!("retransmissions {} messages", counts.retransmissions);
        println!("stray {} messages", counts.stray);
        println!("elapsed {:.3} s", elapsed.as_secs_f64());
        println!(
            "rate {:.0} operations/s",
            f64::from(counts.ok) / elapsed.as_secs_f64()
        );
        println!("latency_p50 {:.2} ms", f64::from(share(50)) / 1000.0);
        println!("latency_p99 {:.2} ms", f64::from(share(99)) / 1000.0);
    }
}

/// Whom an operation calls.
fn called(options: &Options, serial: u32) -> String {
    match options.mode {
        Mode::Pool => format!("8{:04}", serial % 1000),
        Mode::Echo => "*130".to_owned(),
        _ => "phone".to_owned(),
    }
}

/// Answers what has come to a phone; whether anything had.
fn drain_phone(socket: &UdpSocket, at: SocketAddr, buffer: &mut [u8]) -> bool {
    for turn in 0..BURST {
        match socket.recv_from(buffer) {
            Ok((n, from)) if n > 4 => answer_as_phone(socket, &buffer[..n], from, at),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return turn > 0,
            _ => {}
        }
    }
    true
}

/// The called phone: rings and answers an INVITE, agrees to a BYE.
fn answer_as_phone(socket: &UdpSocket, message: &[u8], from: SocketAddr, at: SocketAddr) {
    let invite = message.starts_with(b"INVITE ");
    let statuses: &[&str] = match invite {
        true => &["180 Ringing", "200 OK"],
        false if message.starts_with(b"ACK ") => &[],
        false => &["200 OK"],
    };
    let mut out = Vec::with_capacity(2048);
    for line in statuses {
        out.clear();
        let _ = write!(out, "SIP/2.0 {line}\r\n");
        for copied in [
            &b"Via"[..],
            b"Record-Route",
            b"From",
            b"To",
            b"Call-ID",
            b"CSeq",
        ] {
            for value in headers(message, copied) {
                out.extend_from_slice(copied);
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
                if copied == b"To" && memchr::memmem::find(value, b"tag=").is_none() {
                    out.extend_from_slice(b";tag=phone");
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        let body = if invite && *line == "200 OK" { SDP } else { "" };
        if invite {
            let _ = write!(out, "Contact: <sip:phone@{at}>\r\n");
        }
        if !body.is_empty() {
            let _ = write!(out, "Content-Type: application/sdp\r\n");
        }
        let _ = write!(out, "Content-Length: {}\r\n\r\n{body}", body.len());
        let _ = socket.send_to(&out, from);
    }
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The status of a response; zero for a request.
fn status(message: &[u8]) -> u16 {
    let digits = message
        .strip_prefix(b"SIP/2.0 ")
        .and_then(|rest| rest.get(..3));
    digits
        .and_then(|d| std::str::from_utf8(d).ok()?.parse().ok())
        .unwrap_or(0)
}

/// The values of a header, by its long name, line by line.
fn headers<'a>(message: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let end = memchr::memmem::find(message, b"\r\n\r\n").unwrap_or(message.len());
    message[..end]
        .split(|byte| *byte == b'\n')
        .filter_map(move |line| {
            let (found, rest) = line.split_at_checked(name.len())?;
            let value = rest.strip_prefix(b":")?;
            found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
        })
}

fn header<'a>(message: &'a [u8], name: &'a [u8]) -> Option<&'a [u8]> {
    headers(message, name).next()
}

fn inside_brackets(value: &[u8]) -> &[u8] {
    let start = memchr::memchr(b'<', value).map_or(0, |at| at + 1);
    let end = memchr::memchr(b'>', value).unwrap_or(value.len());
    value.get(start..end).unwrap_or(value)
}
