//! `voipctl ping`: OPTIONS (RFC 3261 §11), with the round trip and what came back.

use super::agent::{Agent, Answer, Trust};
use super::args::PingArgs;
use super::failure::{Failure, exit};
use super::output::Output;
use super::sip::{self, Exchange};
use super::table::printable;
use rsip::{Header, Method};
use serde::Serialize;
use std::time::Duration;

/// Between two pings.
const PAUSE: Duration = Duration::from_secs(1);

/// One answer.
#[derive(Serialize)]
struct Row {
    from: String,
    status: u16,
    reason: String,
    ms: f64,
    server: String,
    allow: String,
    /// Our address as the peer saw it: another than ours means NAT.
    seen_as: String,
}

pub(super) fn run(args: &PingArgs, output: Output) -> Result<(), Failure> {
    let uri = sip::uri(&args.uri)?;
    let kind = sip::transport(&uri)?;
    let remote = sip::address(&uri, None, kind)?;
    let patience = Duration::from_secs(args.timeout.into());
    let host = uri.host_with_port.host.to_string();
    let trust = Trust {
        name: &host,
        roots: args.ca.as_deref(),
    };
    let mut agent = Agent::connect(kind, remote, patience, trust)?;
    let mut exchange = Exchange {
        from: format!("<sip:voipctl@{}>;tag={}", agent.local.ip(), sip::token()?),
        to: format!("<{uri}>"),
        call_id: sip::token()?,
        cseq: 0,
        routes: Vec::new(),
    };
    let mut rows = Vec::new();
    let mut lost: Option<Failure> = None;
    for n in 0..args.count {
        if n > 0 {
            std::thread::sleep(PAUSE);
        }
        exchange.cseq += 1;
        let contact = Header::Contact(format!("<sip:voipctl@{}>", agent.local).into());
        let more = vec![contact, Header::Accept("application/sdp".into())];
        let via = agent.via();
        let request = sip::request(Method::Options, &uri, &via, &exchange, more, "")?;
        match agent.transact(&request, patience, &mut |_| {}, &mut |_| Vec::new()) {
            Ok(answer) => {
                let row = row(&agent, &answer);
                if !output.json {
                    output.text(&line(&row, &agent))?;
                }
                rows.push(row);
            }
            Err(failure) if !output.json && n + 1 < args.count => {
                output.text(&format!("{}\n", failure.text))?;
                lost = Some(failure);
            }
            Err(failure) => lost = Some(failure),
        }
    }
    if output.json {
        output.rows(&rows)?;
    } else if args.count > 1 {
        output.text(&summary(&rows, args.count))?;
    }
    match lost {
        Some(failure) => Err(failure),
        None if rows.iter().any(|r| r.status >= 500) => Err(Failure::new(exit::TEMPFAIL, "")),
        None => Ok(()),
    }
}

fn row(agent: &Agent, answer: &Answer) -> Row {
    let headers = &answer.response.headers;
    let get = |name: &str, compact: &str| sip::value(headers, name, compact).unwrap_or_default();
    let server = match get("Server", "") {
        server if server.is_empty() => get("User-Agent", ""),
        server => server,
    };
    let reason = answer.status.split_once(' ').map_or("", |(_, r)| r);
    Row {
        from: agent.remote.to_string(),
        status: answer.response.status_code.code(),
        reason: reason.to_string(),
        ms: answer.after.as_secs_f64() * 1000.0,
        server,
        allow: get("Allow", ""),
        seen_as: seen_as(&get("Via", "v"), agent),
    }
}

/// `received` and `rport` of our Via (RFC 3581).
fn seen_as(via: &str, agent: &Agent) -> String {
    let parameter = |name: &str| via.split(';').find_map(|p| p.trim().strip_prefix(name));
    let own = agent.local;
    let ip = parameter("received=").map_or(own.ip().to_string(), str::to_string);
    let port = parameter("rport=").map_or(own.port().to_string(), str::to_string);
    format!("{ip}:{port}")
}

fn line(row: &Row, agent: &Agent) -> String {
    let (from, status, reason) = (&row.from, row.status, printable(&row.reason));
    let mut line = format!("{status} {reason} from {from} in {:.1} ms", row.ms);
    if !row.server.is_empty() {
        line.push_str(&format!(", {}", printable(&row.server)));
    }
    if !row.allow.is_empty() {
        line.push_str(&format!(", allows {}", printable(&row.allow)));
    }
    if row.seen_as != agent.local.to_string() {
        let seen = printable(&row.seen_as);
        line.push_str(&format!(
            ", sees us as {seen} (NAT: we are {})",
            agent.local
        ));
    }
    format!("{line}\n")
}

fn summary(rows: &[Row], sent: u32) -> String {
    let times = || rows.iter().map(|r| r.ms);
    let mean = times().sum::<f64>() / (rows.len().max(1) as f64);
    let (min, max) = times().fold((f64::MAX, 0f64), |(a, b), t| (a.min(t), b.max(t)));
    if rows.is_empty() {
        return format!("{sent} sent, none answered\n");
    }
    let n = rows.len();
    format!("{sent} sent, {n} answered, {min:.1} / {mean:.1} / {max:.1} ms (least, mean, most)\n")
}
