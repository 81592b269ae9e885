//! `voipctl probe`: registers, calls and hangs up as a user would, and says how each step went.
//! Without another target it calls itself: then both sides of the call are ours, and a few RTP
//! packets each way tell whether the media arrives.

use super::agent::{Agent, Answer, Trust, udp_toward};
use super::args::ProbeArgs;
use super::failure::{Failure, exit};
use super::output::Output;
use super::secret;
use super::sip::{self, Exchange, Kind};
use rsip::{Header, Method, Request, Response, Uri};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Seconds that the registration is asked to last.
const EXPIRES: &str = "120";

/// RTP packets each way.
const PACKETS: u16 = 10;

/// Between two packets.
const PACKET_EVERY: Duration = Duration::from_millis(20);

/// How long packets may be on their way.
const PACKETS_WITHIN: Duration = Duration::from_millis(500);

/// 20 ms of silence in PCMA.
const SILENCE: [u8; 160] = [0xd5; 160];

/// One step, as `--json` prints it.
#[derive(Serialize)]
struct Step {
    step: String,
    result: String,
    ms: f64,
}

struct Probe<'a> {
    args: &'a ProbeArgs,
    agent: Agent,
    user: String,
    password: String,
    aor: Uri,
    registrar: Uri,
    patience: Duration,
    output: Output,
    steps: Vec<Step>,
}

/// What the answering side of the call does and has seen.
struct Callee {
    tag: String,
    contact: String,
    rtp: UdpSocket,
    media: Option<SocketAddr>,
    acked: bool,
    hung_up: bool,
}

pub(super) fn run(args: &ProbeArgs, output: Output) -> Result<(), Failure> {
    let aor = sip::uri(&args.uri)?;
    let Some(user) = aor.user().map(str::to_string) else {
        let text = format!("\"{}\" names no user: write sip:USER@DOMAIN", args.uri);
        return Err(Failure::new(exit::DATAERR, text));
    };
    let password = secret::ask(&args.password, &args.uri, false)?;
    let kind = match args.transport.as_str() {
        "tcp" => Kind::Tcp,
        "tls" => Kind::Tls,
        _ => Kind::Udp,
    };
    let patience = Duration::from_secs(args.timeout.into());
    let remote = sip::address(&aor, args.server.as_deref(), kind)?;
    let host = aor.host_with_port.host.to_string();
    let trust = Trust {
        name: &host,
        roots: args.ca.as_deref(),
    };
    let registrar = Uri {
        auth: None,
        params: Vec::new(),
        ..aor.clone()
    };
    let mut probe = Probe {
        args,
        agent: Agent::connect(kind, remote, patience, trust)?,
        user,
        password,
        aor,
        registrar,
        patience,
        output,
        steps: Vec::new(),
    };
    let result = probe.steps();
    if output.json {
        output.rows(&probe.steps)?;
    }
    result
}

impl Probe<'_> {
    fn steps(&mut self) -> Result<(), Failure> {
        let mut registration = self.exchange(&self.aor.clone())?;
        self.register(&mut registration, EXPIRES)?;
        let called = if self.args.register_only {
            Ok(())
        } else {
            self.call()
        };
        // Also after a call that failed: we leave nothing behind.
        let left = self.register(&mut registration, "0");
        called.and(left)
    }

    fn exchange(&self, to: &Uri) -> Result<Exchange, Failure> {
        Ok(Exchange {
            from: format!("<{}>;tag={}", self.aor, sip::token()?),
            to: format!("<{to}>"),
            call_id: sip::token()?,
            cseq: 0,
            routes: Vec::new(),
        })
    }

    fn contact(&self) -> String {
        let (user, local) = (&self.user, self.agent.local);
        match self.agent.kind() {
            Kind::Udp => format!("<sip:{user}@{local}>"),
            Kind::Tcp => format!("<sip:{user}@{local};transport=tcp>"),
            Kind::Tls => format!("<sip:{user}@{local};transport=tls>"),
        }
    }

    fn register(&mut self, exchange: &mut Exchange, expires: &str) -> Result<(), Failure> {
        let uri = self.registrar.clone();
        let more = vec![
            Header::Contact(self.contact().into()),
            Header::Expires(expires.into()),
        ];
        let name = if expires == "0" {
            "UNREGISTER"
        } else {
            "REGISTER"
        };
        let no_calls = &mut |_: &Request| Vec::new();
        let answer = self.authorized(Method::Register, name, &uri, exchange, more, "", no_calls)?;
        self.wanted(name, &answer)
    }

    /// Sends a request, again with credentials where they are asked for; gives the final answer.
    #[allow(clippy::too_many_arguments)]
    fn authorized(
        &mut self,
        method: Method,
        name: &str,
        uri: &Uri,
        exchange: &mut Exchange,
        more: Vec<Header>,
        body: &str,
        on_request: &mut dyn FnMut(&Request) -> Vec<Response>,
    ) -> Result<Answer, Failure> {
        let mut headers = more.clone();
        let mut tried = false;
        loop {
            exchange.cseq += 1;
            let via = self.agent.via();
            let request = sip::request(method, uri, &via, exchange, headers, body)?;
            let (output, steps) = (self.output, &mut self.steps);
            let on_answer = &mut |answer: &Answer| {
                say(output, steps, name, &answer.status, answer.after);
            };
            let answer = self
                .agent
                .transact(&request, self.patience, on_answer, on_request)?;
            let code = answer.response.status_code.code();
            if method == Method::Invite && code >= 300 {
                self.ack_refusal(&request, &answer.response)?;
            }
            if !matches!(code, 401 | 407) {
                return Ok(answer);
            }
            if tried {
                let text = format!("{name}: the password is wrong, or the user unknown");
                return Err(Failure::new(exit::NOPERM, text));
            }
            tried = true;
            let (user, password) = (&self.user, &self.password);
            let header = sip::credentials(&answer, &method, uri, user, password)?;
            headers = more.clone();
            headers.push(header);
        }
    }

    /// RFC 3261 §17.1.1.3: with the branch of the INVITE and the tag of the response.
    fn ack_refusal(&mut self, invite: &Request, response: &Response) -> Result<(), Failure> {
        let mut ack = invite.clone();
        ack.method = Method::Ack;
        ack.body = Vec::new();
        ack.headers.retain(|h| {
            matches!(
                h,
                Header::Via(_)
                    | Header::From(_)
                    | Header::CallId(_)
                    | Header::MaxForwards(_)
                    | Header::Route(_)
            )
        });
        let to = sip::value(&response.headers, "To", "t").unwrap_or_default();
        let cseq = sip::value(&invite.headers, "CSeq", "").unwrap_or_default();
        ack.headers.push(Header::To(to.into()));
        ack.headers
            .push(Header::CSeq(cseq.replace("INVITE", "ACK").into()));
        ack.headers.push(Header::ContentLength("0".into()));
        self.agent.send(&ack.to_string())
    }

    fn wanted(&self, name: &str, answer: &Answer) -> Result<(), Failure> {
        let status = &answer.status;
        match answer.response.status_code.code() {
            200..=299 => Ok(()),
            _ => Err(Failure::new(exit::PROTOCOL, format!("{name}: {status}"))),
        }
    }

    fn call(&mut self) -> Result<(), Failure> {
        let target = match &self.args.call {
            Some(uri) => sip::uri(uri)?,
            None => self.aor.clone(),
        };
        let (rtp, answering) = (self.rtp()?, self.rtp()?);
        let mut callee = Callee {
            tag: sip::token()?,
            contact: self.contact(),
            rtp: answering,
            media: None,
            acked: false,
            hung_up: false,
        };
        let mut exchange = self.exchange(&target)?;
        let more = vec![
            Header::Contact(self.contact().into()),
            Header::Allow("INVITE, ACK, CANCEL, BYE, OPTIONS".into()),
        ];
        let offer = sdp(&rtp)?;
        let on_request = &mut |request: &Request| callee.on_request(request);
        let method = Method::Invite;
        let answer = self.authorized(
            method,
            "INVITE",
            &target,
            &mut exchange,
            more,
            &offer,
            on_request,
        )?;
        self.wanted("INVITE", &answer)?;
        let target = dialog(&mut exchange, &answer.response, &target)?;
        let via = self.agent.via();
        let ack = sip::request(Method::Ack, &target, &via, &exchange, Vec::new(), "")?;
        self.agent.send(&ack.to_string())?;
        self.listen_for(&mut callee, Duration::from_millis(300), |c| c.acked)?;
        let media = media_of(&String::from_utf8_lossy(&answer.response.body));
        let heard = if self.args.call.is_none() {
            self.talk(&rtp, media, &callee)
        } else {
            self.listen_only(&rtp)
        };
        let on_request = &mut |request: &Request| callee.on_request(request);
        let bye = Method::Bye;
        let more = Vec::new();
        let answer = self.authorized(bye, "BYE", &target, &mut exchange, more, "", on_request)?;
        self.wanted("BYE", &answer)?;
        heard
    }

    fn rtp(&self) -> Result<UdpSocket, Failure> {
        udp_toward(self.agent.remote).map_err(|e| Failure::new(exit::OSERR, e.to_string()))
    }

    /// Serves the answering side until `done`, or for a while.
    fn listen_for(
        &mut self,
        callee: &mut Callee,
        time: Duration,
        done: impl Fn(&Callee) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + time;
        while self.args.call.is_none() && !done(callee) {
            match self.agent.receive(deadline)? {
                Some((rsip::SipMessage::Request(request), _)) => {
                    for response in callee.on_request(&request) {
                        self.agent.send(&response.to_string())?;
                    }
                }
                Some((rsip::SipMessage::Response(_), _)) => {}
                None => break,
            }
        }
        Ok(())
    }

    /// Sends packets both ways and says how many arrived.
    fn talk(
        &mut self,
        rtp: &UdpSocket,
        media: Option<SocketAddr>,
        callee: &Callee,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        if let (Some(to_callee), Some(to_caller)) = (media, callee.media) {
            for n in 0..PACKETS {
                let _ = rtp.send_to(&packet(n, 0x1111_1111), to_callee);
                let _ = callee.rtp.send_to(&packet(n, 0x2222_2222), to_caller);
                std::thread::sleep(PACKET_EVERY);
            }
        }
        let (caller, called) = (count(rtp), count(&callee.rtp));
        let result = format!(
            "the caller hears {caller} of {PACKETS} packets, the callee {called} of {PACKETS}"
        );
        say(
            self.output,
            &mut self.steps,
            "MEDIA",
            &result,
            start.elapsed(),
        );
        if !callee.acked {
            return Err(Failure::new(
                exit::PROTOCOL,
                "the ACK did not come back to us",
            ));
        }
        if caller == 0 || called == 0 {
            let text = "audio is one-way or missing: look at [rtp] relay, ports and the firewall";
            return Err(Failure::new(exit::PROTOCOL, text));
        }
        Ok(())
    }

    fn listen_only(&mut self, rtp: &UdpSocket) -> Result<(), Failure> {
        let start = Instant::now();
        let heard = count(rtp);
        let result = format!("{heard} packets in {} ms", PACKETS_WITHIN.as_millis());
        say(
            self.output,
            &mut self.steps,
            "MEDIA",
            &result,
            start.elapsed(),
        );
        Ok(())
    }
}

fn say(output: Output, steps: &mut Vec<Step>, step: &str, result: &str, after: Duration) {
    let ms = after.as_secs_f64() * 1000.0;
    if !output.json {
        let result = super::table::printable(result);
        let _ = output.text(&format!("{step:<10}  {result:<40}  {ms:>8.1} ms\n"));
    }
    steps.push(Step {
        step: step.into(),
        result: result.into(),
        ms,
    });
}

impl Callee {
    fn on_request(&mut self, request: &Request) -> Vec<Response> {
        let answer = |status, contact: Option<&str>, body: &str| {
            sip::response(request, status, &self.tag, contact, body)
        };
        match request.method {
            Method::Invite => {
                self.media = media_of(&String::from_utf8_lossy(&request.body));
                let contact = Some(self.contact.as_str());
                match sdp(&self.rtp) {
                    Ok(body) => vec![answer(180, contact, ""), answer(200, contact, &body)],
                    Err(_) => vec![answer(500, None, "")],
                }
            }
            Method::Ack => {
                self.acked = true;
                Vec::new()
            }
            Method::Bye => {
                let answers = vec![answer(200, None, "")];
                self.hung_up = true;
                answers
            }
            Method::Options | Method::Cancel => vec![answer(200, None, "")],
            _ => vec![answer(501, None, "")],
        }
    }
}

/// Makes a dialog of an answer (RFC 3261 §12.1.2) and gives the remote target.
fn dialog(exchange: &mut Exchange, response: &Response, sent_to: &Uri) -> Result<Uri, Failure> {
    let headers = &response.headers;
    if let Some(to) = sip::value(headers, "To", "t") {
        if sip::tag(&to).is_none() {
            return Err(Failure::new(exit::PROTOCOL, "the 200 has no To tag"));
        }
        exchange.to = to;
    }
    exchange.routes = sip::values(headers, "Record-Route", "");
    exchange.routes.reverse();
    let contact = sip::value(headers, "Contact", "m");
    let target = contact.as_deref().and_then(|c| {
        let (_, rest) = c.split_once('<')?;
        rest.split_once('>').map(|(uri, _)| uri)
    });
    target.map_or_else(|| Ok(sent_to.clone()), sip::uri)
}

fn sdp(rtp: &UdpSocket) -> Result<String, Failure> {
    let local = rtp.local_addr();
    let local = local.map_err(|e| Failure::new(exit::OSERR, e.to_string()))?;
    let family = if local.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port) = (local.ip(), local.port());
    Ok(format!(
        "v=0\r\no=voipctl {port} 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\n"
    ))
}

/// Where the audio of an SDP is wanted.
fn media_of(sdp: &str) -> Option<SocketAddr> {
    let connection = sdp.lines().rev().find_map(|l| l.strip_prefix("c=IN IP"))?;
    let ip: IpAddr = connection.split_whitespace().nth(1)?.parse().ok()?;
    let audio = sdp.lines().find_map(|l| l.strip_prefix("m=audio "))?;
    let port: u16 = audio.split_whitespace().next()?.parse().ok()?;
    (port > 0).then(|| SocketAddr::new(ip, port))
}

/// RFC 3550 §5.1, payload type 8.
fn packet(n: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(n.to_be_bytes());
    packet.extend((u32::from(n) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(SILENCE);
    packet
}

/// How many packets wait or come within [`PACKETS_WITHIN`].
fn count(rtp: &UdpSocket) -> usize {
    let deadline = Instant::now() + PACKETS_WITHIN;
    let mut buffer = [0; 2048];
    let mut heard = 0;
    while heard < usize::from(PACKETS) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || rtp.set_read_timeout(Some(left)).is_err() {
            break;
        }
        match rtp.recv(&mut buffer) {
            Ok(_) => heard += 1,
            Err(_) => break,
        }
    }
    heard
}
