//! One socket towards a server, with the retransmissions that RFC 3261 §17.1 asks of a client.

use super::super::tls::{Tls, TlsFiles};
use super::failure::{Failure, exit};
use super::sip::{self, Kind};
use rsip::{Method, Request, Response, SipMessage};
use rustls::{ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Largest message that is read.
const MESSAGE_BYTES_MAX: usize = 65_535;

/// RFC 3261 §17.1.1.2.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

/// What came back, and how long after the request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response,
    /// `200 OK`, as it came: rsip keeps no reason phrase of its own.
    pub(super) status: String,
    pub(super) after: Duration,
}

/// A message, and its first line as it came.
type Received = (SipMessage, String);

enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>, Vec<u8>),
}

impl Link {
    /// What came on a stream and was not cut into messages yet.
    fn buffer(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Link::Udp(_) => None,
            Link::Tcp(_, buffer) | Link::Tls(_, buffer) => Some(buffer),
        }
    }

    fn read(&mut self, into: &mut [u8], patience: Duration) -> std::io::Result<usize> {
        let patience = Some(patience);
        match self {
            Link::Udp(socket) => {
                socket.set_read_timeout(patience)?;
                socket.recv_from(into).map(|(n, _)| n)
            }
            Link::Tcp(stream, _) => {
                stream.set_read_timeout(patience)?;
                stream.read(into)
            }
            Link::Tls(stream, _) => {
                stream.sock.set_read_timeout(patience)?;
                stream.read(into)
            }
        }
    }
}

/// How the peer of a TLS connection is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust<'a> {
    /// The name that its certificate must bear; an address is judged as one.
    pub(super) name: &'a str,
    /// The roots; the system's without.
    pub(super) roots: Option<&'a Path>,
}

/// A user agent's transport.
pub(super) struct Agent {
    link: Link,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Agent {
    pub(super) fn connect(
        kind: Kind,
        remote: SocketAddr,
        patience: Duration,
        trust: Trust<'_>,
    ) -> Result<Self, Failure> {
        let fail = |e: std::io::Error| {
            let text = format!("{}:{remote}: {e}", kind.token().to_lowercase());
            Failure::new(exit::UNAVAILABLE, text)
        };
        let link = match kind {
            Kind::Udp => Link::Udp(udp_toward(remote).map_err(fail)?),
            Kind::Tcp => {
                let stream = TcpStream::connect_timeout(&remote, patience).map_err(fail)?;
                stream.set_nodelay(true).map_err(fail)?;
                Link::Tcp(stream, Vec::new())
            }
            Kind::Tls => {
                let stream = TcpStream::connect_timeout(&remote, patience).map_err(fail)?;
                stream.set_nodelay(true).map_err(fail)?;
                stream.set_read_timeout(Some(patience)).map_err(fail)?;
                Link::Tls(Box::new(secure(stream, remote, trust)?), Vec::new())
            }
        };
        let local = match &link {
            Link::Udp(socket) => socket.local_addr(),
            Link::Tcp(stream, _) => stream.local_addr(),
            Link::Tls(stream, _) => stream.sock.local_addr(),
        };
        Ok(Self {
            link,
            local: local.map_err(fail)?,
            remote,
        })
    }

    pub(super) fn kind(&self) -> Kind {
        match self.link {
            Link::Udp(_) => Kind::Udp,
            Link::Tcp(..) => Kind::Tcp,
            Link::Tls(..) => Kind::Tls,
        }
    }

    /// The head of our Via headers.
    pub(super) fn via(&self) -> String {
        format!("SIP/2.0/{} {}", self.kind().token(), self.local)
    }

    pub(super) fn send(&mut self, message: &str) -> Result<(), Failure> {
        let sent = match &mut self.link {
            Link::Udp(socket) => socket.send_to(message.as_bytes(), self.remote).map(drop),
            Link::Tcp(stream, _) => stream.write_all(message.as_bytes()),
            Link::Tls(stream, _) => stream
                .write_all(message.as_bytes())
                .and_then(|()| stream.flush()),
        };
        let remote = self.remote;
        sent.map_err(|e| Failure::new(exit::UNAVAILABLE, format!("{remote}: {e}")))
    }

    /// The next message before `deadline`. What rsip cannot read is a failure.
    pub(super) fn receive(&mut self, deadline: Instant) -> Result<Option<Received>, Failure> {
        let Some(bytes) = self.receive_bytes(deadline)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().next().unwrap_or_default().to_string();
        match SipMessage::try_from(bytes.as_slice()) {
            Ok(message) => Ok(Some((message, line))),
            Err(e) => {
                let line: String = line.chars().take(80).collect();
                let text = format!("rsip cannot read what came ({e}): {line:?}");
                Err(Failure::new(exit::PROTOCOL, text))
            }
        }
    }

    fn receive_bytes(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Failure> {
        let remote = self.remote;
        let fail = |e: std::io::Error| Failure::new(exit::UNAVAILABLE, format!("{remote}: {e}"));
        loop {
            if let Some(message) = self.link.buffer().and_then(cut) {
                return Ok(Some(message));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut chunk = vec![0; MESSAGE_BYTES_MAX];
            let n = match self.link.read(&mut chunk, left) {
                Ok(n) => n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(fail(e)),
            };
            chunk.truncate(n);
            match self.link.buffer() {
                None if chunk.trim_ascii().is_empty() => {}
                None => return Ok(Some(chunk)),
                Some(_) if n == 0 => {
                    let text = format!("{remote} closed the connection");
                    return Err(Failure::new(exit::UNAVAILABLE, text));
                }
                Some(buffer) => buffer.extend(chunk),
            }
        }
    }

    /// Sends a request and waits for its final response. `on_answer` sees every response of it,
    /// `on_request` every request that comes meanwhile, and says what to send back.
    pub(super) fn transact(
        &mut self,
        request: &Request,
        patience: Duration,
        on_answer: &mut dyn FnMut(&Answer),
        on_request: &mut dyn FnMut(&Request) -> Vec<Response>,
    ) -> Result<Answer, Failure> {
        let text = request.to_string();
        let branch = branch_of(request);
        let start = Instant::now();
        let deadline = start + patience;
        let (mut interval, mut resend) = (T1, self.kind() == Kind::Udp);
        let mut next = start + T1;
        self.send(&text)?;
        loop {
            let until = if resend { next.min(deadline) } else { deadline };
            match self.receive(until)? {
                Some((SipMessage::Response(response), line))
                    if is_for(&response, request, &branch) =>
                {
                    let code = response.status_code.code();
                    let after = start.elapsed();
                    let status = line.strip_prefix("SIP/2.0 ").unwrap_or(&line).trim().into();
                    let answer = Answer {
                        response,
                        status,
                        after,
                    };
                    on_answer(&answer);
                    if code >= 200 {
                        return Ok(answer);
                    }
                    if request.method == Method::Invite {
                        resend = false;
                    }
                }
                Some((SipMessage::Response(_), _)) => {}
                Some((SipMessage::Request(incoming), _)) => {
                    for response in on_request(&incoming) {
                        self.send(&response.to_string())?;
                    }
                }
                None if Instant::now() >= deadline => {
                    let seconds = patience.as_secs();
                    let (method, remote) = (&request.method, self.remote);
                    let text = format!("{remote} does not answer {method} within {seconds} s");
                    return Err(Failure::new(exit::UNAVAILABLE, text));
                }
                None => {
                    self.send(&text)?;
                    interval = (interval * 2).min(T2);
                    next = Instant::now() + interval;
                }
            }
        }
    }
}

/// The TLS handshake; what is wrong with the certificate is said.
fn secure(
    mut stream: TcpStream,
    remote: SocketAddr,
    trust: Trust<'_>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Failure> {
    let files = TlsFiles {
        identity: None,
        roots: trust.roots.map(Path::to_path_buf),
        asks: false,
    };
    let tls = Tls::load(&files).map_err(|e| Failure::new(exit::NOINPUT, e.to_string()))?;
    let fail = |e: &dyn std::fmt::Display| {
        let text = format!("tls:{remote}: {e}; --ca FILE names other roots");
        Failure::new(exit::PROTOCOL, text)
    };
    let bare = trust.name.trim_start_matches('[').trim_end_matches(']');
    let (name, ip) = match bare.parse::<IpAddr>() {
        Ok(ip) => (None, ip),
        Err(_) => (Some(trust.name), remote.ip()),
    };
    let (connector, name) = tls.connector(name, ip).map_err(|e| fail(&e))?;
    let config = Arc::clone(connector.config());
    let mut connection = ClientConnection::new(config, name).map_err(|e| fail(&e))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|e| fail(&e))?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// A socket on the address that the system would send from.
pub(super) fn udp_toward(remote: SocketAddr) -> std::io::Result<UdpSocket> {
    let any = if remote.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let scout = UdpSocket::bind(any)?;
    scout.connect(remote)?;
    UdpSocket::bind((scout.local_addr()?.ip(), 0))
}

fn branch_of(request: &Request) -> String {
    let via = sip::value(&request.headers, "Via", "v").unwrap_or_default();
    let parameters = via.split(';').find_map(|p| p.strip_prefix("branch="));
    parameters.unwrap_or_default().to_string()
}

fn is_for(response: &Response, request: &Request, branch: &str) -> bool {
    let via = sip::value(&response.headers, "Via", "v").unwrap_or_default();
    let cseq = sip::value(&response.headers, "CSeq", "").unwrap_or_default();
    via.contains(branch) && cseq.ends_with(&request.method.to_string())
}

/// Takes one whole message off the front of a stream.
fn cut(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let blank = buffer
        .iter()
        .take_while(|b| b.is_ascii_whitespace())
        .count();
    buffer.drain(..blank);
    let head = buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(buffer.get(..head)?).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim().to_ascii_lowercase();
        matches!(name.as_str(), "content-length" | "l")
            .then(|| value.trim().parse::<usize>().ok())
            .flatten()
    });
    let whole = head.saturating_add(length.unwrap_or(0));
    (buffer.len() >= whole).then(|| buffer.drain(..whole).collect())
}
