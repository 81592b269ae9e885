//! The DNS that the server asks: names that lead to hosts, that move, and that fail.

use crate::base::Instant;
use crate::sip::locate::{DnsAnswer, DnsKind, DnsQuestion, DnsRecord};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long an answer may be kept.
pub const TTL: Duration = Duration::from_secs(20);
/// How long a name that is not there may be thought so.
const NOT_FOUND_TTL: Duration = Duration::from_secs(60);

/// Names with what they lead to.
#[derive(Debug, Default)]
pub struct Zone {
    records: BTreeMap<(Box<str>, DnsKind), Vec<DnsRecord>>,
    /// How long an answer takes.
    pub delay: Duration,
    /// Whether it answers SERVFAIL.
    pub fails: bool,
}

impl Zone {
    /// `name` offers SIP over UDP at these hosts, the first preferred; what it led to before is
    /// forgotten.
    pub fn point(&mut self, name: &str, hosts: &[SocketAddr]) {
        let target = |host: &SocketAddr| format!("host-{}.{name}", host.ip()).into_boxed_str();
        let mut services = Vec::new();
        for (n, host) in hosts.iter().enumerate() {
            let record = match host.ip() {
                IpAddr::V4(ip) => (DnsKind::A, DnsRecord::A(ip)),
                IpAddr::V6(ip) => (DnsKind::Aaaa, DnsRecord::Aaaa(ip)),
            };
            self.records
                .insert((target(host), record.0), vec![record.1]);
            services.push(DnsRecord::Srv {
                priority: n as u16 + 1,
                weight: 1,
                port: host.port(),
                target: target(host),
            });
        }
        let service = format!("_sip._udp.{name}").into_boxed_str();
        self.records.insert((service, DnsKind::Srv), services);
    }

    /// What is answered now, and when it arrives.
    pub fn answer(&self, now: Instant, question: &DnsQuestion) -> (Instant, DnsAnswer) {
        let at = now + self.delay;
        if self.fails {
            return (at, DnsAnswer::Failed);
        }
        let found = self.records.get(&(question.name.clone(), question.kind));
        let answer = match found.cloned() {
            Some(records) => DnsAnswer::Found { records, ttl: TTL },
            None => DnsAnswer::NotFound { ttl: NOT_FOUND_TTL },
        };
        (at, answer)
    }
}
