//! Questions of `sip::locate` put to the DNS: NAPTR, SRV, A, AAAA (RFC 3263, RFC 2782, RFC 3403).
//! The resolver asks in tasks of its own, so no shard ever waits; which answer means what, and how
//! long it is kept, is the locator's affair.

mod sockets;

use self::sockets::Sockets;
use super::core::Input;
use super::counters::Counters;
use super::privsep::client::Net;
use super::switch::Switch;
use crate::sip::locate::{DnsAnswer, DnsKind, DnsQuestion, DnsRecord};
use hickory_resolver::Resolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions of one shard that are under way; further ones fail at once.
pub const QUESTIONS_MAX: usize = 256;
/// Records of one answer that are looked at.
pub const RECORDS_MAX: usize = 64;
/// A server that has not answered by then is asked again, or another one.
const TRY: Duration = Duration::from_secs(2);
/// How often.
const TRIES: usize = 2;
/// How long it is believed that something is missing, where the zone does not say (RFC 2308 §5).
const MISSING: Duration = Duration::from_secs(60);
/// The longest that anything is believed.
const TTL_MAX: Duration = Duration::from_secs(86_400);

/// One shard's way to the DNS.
#[derive(Clone)]
pub struct Dns {
    resolver: Option<Resolver<Sockets>>,
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

impl Dns {
    /// Asks `servers`, or those of the system where there are none and this process may read its
    /// files. Without any server every question fails, which is said once. Inside a runtime only.
    pub fn new(servers: &[SocketAddr], counters: Arc<Counters>, net: Net) -> Self {
        let resolver = if servers.is_empty() && net.is_brokered() {
            Err("/etc/resolv.conf names no server".to_owned())
        } else {
            build(servers, Sockets::new(net)).map_err(|e| e.to_string())
        };
        let resolver = match resolver {
            Ok(resolver) => Some(resolver),
            Err(error) => {
                tracing::warn!("no DNS: {error}; name the servers in [sip] resolvers");
                None
            }
        };
        Self {
            resolver,
            places: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            counters,
        }
    }

    /// Asks; the answer goes to the shard's inbox.
    pub fn ask(&self, switch: &Arc<Switch>, shard: usize, query: u64, question: DnsQuestion) {
        self.counters.dns_questions.one();
        let tell =
            move |switch: &Switch, answer| switch.tell(shard, Input::Resolved { query, answer });
        let place = Arc::clone(&self.places).try_acquire_owned();
        let (Some(resolver), Ok(place)) = (self.resolver.clone(), place) else {
            self.counters.dns_refused.one();
            return tell(switch, DnsAnswer::Failed);
        };
        let switch = Arc::clone(switch);
        tokio::spawn(async move {
            let answer = answer(&resolver, &question).await;
            drop(place);
            tell(&switch, answer);
        });
    }
}

impl Dns {
    /// Where a host is, by A and AAAA; nowhere if that cannot be known.
    pub async fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let mut all = Vec::new();
        for kind in [DnsKind::A, DnsKind::Aaaa] {
            let name = host.into();
            let Some(resolver) = &self.resolver else {
                break;
            };
            self.counters.dns_questions.one();
            let found = answer(resolver, &DnsQuestion { name, kind }).await;
            let DnsAnswer::Found { records, .. } = found else {
                continue;
            };
            all.extend(records.into_iter().filter_map(|record| match record {
                DnsRecord::A(ip) => Some(IpAddr::V4(ip)),
                DnsRecord::Aaaa(ip) => Some(IpAddr::V6(ip)),
                DnsRecord::Srv { .. } | DnsRecord::Naptr { .. } => None,
            }));
        }
        all
    }
}

/// The servers that the system names; none where it names none.
pub fn system_servers() -> Vec<SocketAddr> {
    let Ok((config, _)) = hickory_resolver::system_conf::read_system_conf() else {
        return Vec::new();
    };
    let servers = config.name_servers().iter();
    let mut all: Vec<_> = servers
        .map(|server| {
            let port = server.connections.first().map_or(53, |c| c.port);
            SocketAddr::new(server.ip, port)
        })
        .collect();
    all.dedup();
    all
}

fn build(servers: &[SocketAddr], sockets: Sockets) -> Result<Resolver<Sockets>, NetError> {
    let mut builder = if servers.is_empty() {
        Resolver::builder(sockets)?
    } else {
        let servers = servers.iter().map(|server| {
            let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
            udp.port = server.port();
            tcp.port = server.port();
            NameServerConfig::new(server.ip(), true, vec![udp, tcp])
        });
        Resolver::builder_with_config(
            ResolverConfig::from_parts(None, Vec::new(), servers.collect()),
            sockets,
        )
    };
    let options = builder.options_mut();
    options.timeout = TRY;
    options.attempts = TRIES;
    // The locator keeps the answers.
    options.cache_size = 0;
    builder.build()
}

async fn answer(resolver: &Resolver<Sockets>, question: &DnsQuestion) -> DnsAnswer {
    let Ok(mut name) = Name::from_utf8(&question.name) else {
        return DnsAnswer::NotFound { ttl: TTL_MAX };
    };
    // Absolute: the system's search list is not for names of SIP.
    name.set_fqdn(true);
    let kind = match question.kind {
        DnsKind::Naptr => RecordType::NAPTR,
        DnsKind::Srv => RecordType::SRV,
        DnsKind::A => RecordType::A,
        DnsKind::Aaaa => RecordType::AAAA,
    };
    match resolver.lookup(name, kind).await {
        Ok(found) => found_answer(found.answers(), kind),
        Err(NetError::Dns(DnsError::NoRecordsFound(nothing)))
            if matches!(
                nothing.response_code,
                ResponseCode::NoError | ResponseCode::NXDomain
            ) =>
        {
            let ttl = nothing.negative_ttl.map(u64::from);
            DnsAnswer::NotFound {
                ttl: ttl.map_or(MISSING, Duration::from_secs).min(TTL_MAX),
            }
        }
        Err(error) => {
            tracing::debug!(name = %question.name, kind = ?question.kind, %error, "DNS failed");
            DnsAnswer::Failed
        }
    }
}

fn found_answer(answers: &[Record], kind: RecordType) -> DnsAnswer {
    let wanted = answers.iter().filter(|r| r.record_type() == kind);
    let wanted = wanted.take(RECORDS_MAX);
    let (records, ttls): (Vec<DnsRecord>, Vec<u32>) = wanted
        .filter_map(|r| Some((record(&r.data)?, r.ttl)))
        .unzip();
    // The CNAMEs on the way count too.
    let ttl = answers.iter().map(|r| r.ttl).min().unwrap_or(0);
    match ttls.is_empty() {
        true => DnsAnswer::NotFound { ttl: MISSING },
        false => DnsAnswer::Found {
            records,
            ttl: Duration::from_secs(u64::from(ttl)).min(TTL_MAX),
        },
    }
}

fn record(data: &RData) -> Option<DnsRecord> {
    match data {
        RData::A(a) => Some(DnsRecord::A(a.0)),
        RData::AAAA(a) => Some(DnsRecord::Aaaa(a.0)),
        RData::SRV(srv) => Some(DnsRecord::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: host(&srv.target),
        }),
        RData::NAPTR(naptr) => Some(DnsRecord::Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            service: text(&naptr.services),
            replacement: host(&naptr.replacement),
        }),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

/// In lower case, without the last dot; the root stays `.`.
fn host(name: &Name) -> Box<str> {
    let text = name.to_ascii().to_ascii_lowercase();
    match text.strip_suffix('.') {
        Some("") | None => text.into(),
        Some(text) => text.into(),
    }
}

#[cfg(test)]
mod tests;
