//! SIP messages of `ping` and `probe`, made and read with `rsip`.

use super::agent::Answer;
use super::failure::{Failure, exit};
use super::secret;
use rsip::headers::auth::{AuthQop, Qop};
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::services::DigestGenerator;
use rsip::{Header, Headers, Method, Request, Response, Uri};
use std::net::{SocketAddr, ToSocketAddrs};

/// What we call ourselves.
pub(super) const USER_AGENT: &str = concat!("voipctl/", env!("CARGO_PKG_VERSION"));

/// Stands for an IPv6 host while rsip, which knows none, reads a URI.
const V6_STAND_IN: &str = "v6.invalid";

/// Which transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Udp,
    Tcp,
    Tls,
}

impl Kind {
    pub(super) fn token(self) -> &'static str {
        match self {
            Kind::Udp => "UDP",
            Kind::Tcp => "TCP",
            Kind::Tls => "TLS",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Kind::Udp | Kind::Tcp => 5060,
            Kind::Tls => 5061,
        }
    }
}

/// Reads a SIP URI; the scheme may be missing.
pub(super) fn uri(text: &str) -> Result<Uri, Failure> {
    let fail =
        |why: String| Failure::new(exit::DATAERR, format!("\"{text}\" is no SIP URI: {why}"));
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(fail("it is empty or has a space".into()));
    }
    let whole = match text.split_once(':') {
        Some(("sip" | "sips", _)) => text.to_string(),
        _ => format!("sip:{text}"),
    };
    let (plain, v6) = match (whole.find('['), whole.find(']')) {
        (Some(open), Some(close)) if open < close => {
            let (head, rest) = whole.split_at(open);
            let (host, tail) = rest.split_at(close - open + 1);
            (format!("{head}{V6_STAND_IN}{tail}"), Some(host.to_string()))
        }
        _ => (whole.clone(), None),
    };
    let mut uri = Uri::try_from(plain.as_str()).map_err(|e| fail(e.to_string()))?;
    if let Some(host) = v6 {
        uri.host_with_port.host = rsip::Host::Domain(host.into());
    }
    Ok(uri)
}

/// The transport that the URI names.
pub(super) fn transport(uri: &Uri) -> Result<Kind, Failure> {
    if uri.is_sips().unwrap_or(false) {
        return Ok(Kind::Tls);
    }
    match uri.transport() {
        None | Some(rsip::Transport::Udp) => Ok(Kind::Udp),
        Some(rsip::Transport::Tcp) => Ok(Kind::Tcp),
        Some(rsip::Transport::Tls) => Ok(Kind::Tls),
        Some(other) => {
            let text = format!("voipctl speaks udp, tcp and tls, not {other}");
            Err(Failure::new(exit::DATAERR, text))
        }
    }
}

/// The address of `HOST[:PORT]`, or of the URI's host without it.
pub(super) fn address(uri: &Uri, server: Option<&str>, kind: Kind) -> Result<SocketAddr, Failure> {
    let host = match server {
        Some(server) => server.to_string(),
        None => uri.host_with_port.to_string(),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let with_port = host.rsplit_once(':').is_some_and(|(_, port)| {
        !host.ends_with(']')
            && port.parse::<u16>().is_ok()
            && bare.parse::<std::net::Ipv6Addr>().is_err()
    });
    let found = if with_port {
        host.to_socket_addrs()
    } else {
        (bare, kind.default_port()).to_socket_addrs()
    };
    let mut found = found.map_err(|e| Failure::new(exit::NOHOST, format!("{host}: {e}")))?;
    let missing = || Failure::new(exit::NOHOST, format!("{host} has no address"));
    found.next().ok_or_else(missing)
}

/// Random letters for tags, branches and Call-IDs.
pub(super) fn token() -> Result<String, Failure> {
    let bytes: [u8; 8] = secret::random()?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

/// What the requests of one call, or of one registration, have in common.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) call_id: String,
    pub(super) cseq: u32,
    pub(super) routes: Vec<String>,
}

/// A request through `via` (`SIP/2.0/UDP host:port`); its branch is new.
pub(super) fn request(
    method: Method,
    uri: &Uri,
    via: &str,
    exchange: &Exchange,
    more: Vec<Header>,
    body: &str,
) -> Result<Request, Failure> {
    let branch = token()?;
    let mut headers = vec![
        Header::Via(format!("{via};branch=z9hG4bK{branch};rport").into()),
        Header::MaxForwards("70".into()),
    ];
    let routes = exchange
        .routes
        .iter()
        .map(|r| Header::Route(r.as_str().into()));
    headers.extend(routes);
    headers.extend([
        Header::From(exchange.from.as_str().into()),
        Header::To(exchange.to.as_str().into()),
        Header::CallId(exchange.call_id.as_str().into()),
        Header::CSeq(format!("{} {method}", exchange.cseq).into()),
        Header::UserAgent(USER_AGENT.into()),
    ]);
    headers.extend(more);
    if !body.is_empty() {
        headers.push(Header::ContentType("application/sdp".into()));
    }
    headers.push(Header::ContentLength(body.len().to_string().into()));
    Ok(Request {
        method,
        uri: uri.clone(),
        version: rsip::Version::V2,
        headers: Headers::from(headers),
        body: body.as_bytes().to_vec(),
    })
}

/// Our answer to a request.
pub(super) fn response(
    request: &Request,
    status: u16,
    to_tag: &str,
    contact: Option<&str>,
    body: &str,
) -> Response {
    let mut headers: Vec<Header> = Vec::new();
    for header in request.headers.iter() {
        match header {
            Header::To(to) if !to.value().contains(";tag=") => {
                headers.push(Header::To(format!("{};tag={to_tag}", to.value()).into()));
            }
            Header::Via(_)
            | Header::From(_)
            | Header::To(_)
            | Header::CallId(_)
            | Header::CSeq(_)
            | Header::RecordRoute(_) => headers.push(header.clone()),
            _ => {}
        }
    }
    if let Some(contact) = contact {
        headers.push(Header::Contact(contact.into()));
    }
    if !body.is_empty() {
        headers.push(Header::ContentType("application/sdp".into()));
    }
    headers.push(Header::UserAgent(USER_AGENT.into()));
    headers.push(Header::ContentLength(body.len().to_string().into()));
    Response {
        status_code: rsip::StatusCode::from(status),
        version: rsip::Version::V2,
        headers: Headers::from(headers),
        body: body.as_bytes().to_vec(),
    }
}

/// The value of the first header of this name, compact form included.
pub(super) fn value(headers: &Headers, name: &str, compact: &str) -> Option<String> {
    values(headers, name, compact).into_iter().next()
}

/// The values of all headers of this name, in order.
pub(super) fn values(headers: &Headers, name: &str, compact: &str) -> Vec<String> {
    let pairs = headers.iter().filter_map(|header| {
        let text = header.to_string();
        let (found, value) = text.split_once(':')?;
        let found = found.trim();
        let same = found.eq_ignore_ascii_case(name)
            || !compact.is_empty() && found.eq_ignore_ascii_case(compact);
        same.then(|| value.trim().to_string())
    });
    pairs.collect()
}

/// The tag parameter of a From or To value.
pub(super) fn tag(value: &str) -> Option<&str> {
    let (_, parameters) = value.rsplit_once('>').unwrap_or(("", value));
    let tags = parameters
        .split(';')
        .filter_map(|p| p.trim().strip_prefix("tag="));
    tags.into_iter().next()
}

/// The credentials that answer the first challenge that rsip knows: MD5, as it writes
/// SHA-256 otherwise than RFC 8760 does.
pub(super) fn credentials(
    answer: &Answer,
    method: &Method,
    uri: &Uri,
    user: &str,
    password: &str,
) -> Result<Header, Failure> {
    let response = &answer.response;
    let proxy = response.status_code.code() == 407;
    let name = if proxy {
        "Proxy-Authenticate"
    } else {
        "WWW-Authenticate"
    };
    let challenge = values(&response.headers, name, "")
        .into_iter()
        .filter_map(|v| rsip::headers::WwwAuthenticate::new(v).typed().ok())
        .find(|c| {
            c.algorithm
                .is_none_or(|a| a == rsip::headers::auth::Algorithm::Md5)
        });
    let Some(challenge) = challenge else {
        let text = format!("no {name} with MD5 in the {}", answer.status);
        return Err(Failure::new(exit::PROTOCOL, text));
    };
    let cnonce = token()?;
    let qop = matches!(challenge.qop, Some(Qop::Auth)).then(|| AuthQop::Auth {
        cnonce: cnonce.clone(),
        nc: 1,
    });
    let digest = DigestGenerator {
        username: user,
        password,
        nonce: &challenge.nonce,
        uri,
        realm: &challenge.realm,
        method,
        qop: qop.as_ref(),
        algorithm: rsip::headers::auth::Algorithm::Md5,
    }
    .compute();
    let (realm, nonce) = (&challenge.realm, &challenge.nonce);
    let mut text = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{digest}\", algorithm=MD5"
    );
    if qop.is_some() {
        text.push_str(&format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\""));
    }
    if let Some(opaque) = &challenge.opaque {
        text.push_str(&format!(", opaque=\"{opaque}\""));
    }
    Ok(if proxy {
        Header::ProxyAuthorization(text.into())
    } else {
        Header::Authorization(text.into())
    })
}
