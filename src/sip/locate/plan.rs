//! The procedure of RFC 3263 §4 as a function: from a target and the answers that are there to the
//! list of destinations, or to the questions that are missing.

use super::target::{Target, TargetHost};
use super::{Abilities, DnsKind, DnsQuestion, DnsRecord, Families, LocateError, TARGETS_MAX};
use crate::base::{Destination, Rng, Transport};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Hosts that one plan looks up.
const HOPS_MAX: usize = 8;
/// NAPTR or SRV records of one answer that count.
const RECORDS_MAX: usize = 32;

/// An answer as plans need it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Found(Arc<[DnsRecord]>),
    NotFound,
    Failed,
}

/// What a plan comes to.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Planned {
    Done(Result<Vec<Destination>, LocateError>),
    Need(Vec<DnsQuestion>),
}

/// One host, port and transport to try.
#[derive(Debug)]
struct Hop {
    name: Box<str>,
    port: u16,
    transport: Transport,
}

struct Planner<'a> {
    target: &'a Target,
    abilities: &'a Abilities,
    rng: &'a mut Rng,
    lookup: &'a dyn Fn(&DnsQuestion) -> Option<Outcome>,
    need: Vec<DnsQuestion>,
    failed: bool,
}

pub(super) fn plan(
    target: &Target,
    abilities: &Abilities,
    rng: &mut Rng,
    lookup: &dyn Fn(&DnsQuestion) -> Option<Outcome>,
) -> Planned {
    let mut planner = Planner {
        target,
        abilities,
        rng,
        lookup,
        need: Vec::new(),
        failed: false,
    };
    let found = match &target.host {
        TargetHost::Ip(address) => planner.numeric(*address),
        TargetHost::Name(name) => planner.named(name),
    };
    if !planner.need.is_empty() {
        return Planned::Need(planner.need);
    }
    Planned::Done(if !found.is_empty() {
        Ok(found)
    } else if planner.failed {
        Err(LocateError::Unavailable)
    } else {
        Err(LocateError::NotFound)
    })
}

impl Planner<'_> {
    fn numeric(&self, address: IpAddr) -> Vec<Destination> {
        let transport = self.target.transport.unwrap_or(self.default_transport());
        let port = self.target.port.unwrap_or(transport.default_port());
        let usable = match self.abilities.families {
            Families::Both => true,
            Families::V4 => address.is_ipv4(),
            Families::V6 => address.is_ipv6(),
        };
        if usable && self.speaks(transport) {
            vec![self.destination(transport, SocketAddr::new(address, port))]
        } else {
            Vec::new()
        }
    }

    fn named(&mut self, name: &str) -> Vec<Destination> {
        let hops = match (self.target.port, self.target.transport) {
            (Some(port), transport) => {
                let transport = transport.unwrap_or(self.default_transport());
                vec![hop(name, port, transport)]
            }
            (None, Some(transport @ (Transport::Ws | Transport::Wss))) => {
                vec![hop(name, transport.default_port(), transport)]
            }
            (None, Some(transport)) => {
                let hops = self.services(&[(service_name(name, transport), transport)]);
                self.or_host(hops, name, transport)
            }
            (None, None) => self.by_naptr(name),
        };
        if !self.need.is_empty() {
            return Vec::new();
        }
        let hops: Vec<Hop> = hops
            .into_iter()
            .filter(|hop| self.speaks(hop.transport))
            .take(HOPS_MAX)
            .collect();
        self.addresses(&hops)
    }

    /// §4.1: NAPTR says which transports; without it SRV is tried for each that we speak.
    fn by_naptr(&mut self, name: &str) -> Vec<Hop> {
        let mut choices: Vec<(u16, u16, DnsRecord)> = Vec::new();
        for record in self.ask(name, DnsKind::Naptr).iter().take(RECORDS_MAX) {
            if let DnsRecord::Naptr {
                order, preference, ..
            } = record
            {
                choices.push((*order, *preference, record.clone()));
            }
        }
        if !self.need.is_empty() {
            return Vec::new();
        }
        choices.sort_by_key(|(order, preference, _)| (*order, *preference));
        let mut hops = Vec::new();
        let mut usable = false;
        for (_, _, record) in &choices {
            if let DnsRecord::Naptr {
                flags,
                service,
                replacement,
                ..
            } = record
                && let Some(transport) = self.offered(service)
            {
                let replacement = clean(replacement);
                match flags.as_bytes() {
                    b"s" | b"S" => {
                        usable = true;
                        hops.extend(self.services(&[(replacement, transport)]));
                    }
                    b"a" | b"A" => {
                        usable = true;
                        hops.push(hop(&replacement, transport.default_port(), transport));
                    }
                    _ => {}
                }
            }
        }
        if usable && (!hops.is_empty() || !self.need.is_empty()) {
            return hops;
        }
        let candidates: Vec<(Box<str>, Transport)> = self
            .abilities
            .transports
            .iter()
            .filter(|t| matches!(t, Transport::Udp | Transport::Tcp | Transport::Tls))
            .filter(|t| !self.target.secure || t.is_secure())
            .map(|t| (service_name(name, *t), *t))
            .collect();
        let hops = self.services(&candidates);
        self.or_host(hops, name, self.default_transport())
    }

    /// The transport of a NAPTR service, if we speak it and `sips` allows it.
    fn offered(&self, service: &str) -> Option<Transport> {
        let transport = match service.to_ascii_uppercase().as_str() {
            "SIP+D2U" => Transport::Udp,
            "SIP+D2T" => Transport::Tcp,
            "SIPS+D2T" => Transport::Tls,
            _ => return None,
        };
        let allowed = !self.target.secure || transport.is_secure();
        (allowed && self.speaks(transport)).then_some(transport)
    }

    /// Without SRV records the name itself is the host.
    fn or_host(&self, hops: Vec<Hop>, name: &str, transport: Transport) -> Vec<Hop> {
        if hops.is_empty() && self.need.is_empty() {
            vec![hop(name, transport.default_port(), transport)]
        } else {
            hops
        }
    }

    /// The hosts of SRV names, one name after the other.
    fn services(&mut self, names: &[(Box<str>, Transport)]) -> Vec<Hop> {
        let mut hops = Vec::new();
        for (name, transport) in names {
            let records = self.ask(name, DnsKind::Srv);
            for (port, target) in by_weight(&records, self.rng) {
                hops.push(hop(&target, port, *transport));
            }
        }
        hops
    }

    fn addresses(&mut self, hops: &[Hop]) -> Vec<Destination> {
        let mut found = Vec::new();
        let kinds: &[DnsKind] = match self.abilities.families {
            Families::V4 => &[DnsKind::A],
            Families::V6 => &[DnsKind::Aaaa],
            Families::Both => &[DnsKind::A, DnsKind::Aaaa],
        };
        for hop in hops {
            for kind in kinds {
                for record in self.ask(&hop.name, *kind).iter() {
                    let address: IpAddr = match record {
                        DnsRecord::A(address) => (*address).into(),
                        DnsRecord::Aaaa(address) => (*address).into(),
                        DnsRecord::Naptr { .. } | DnsRecord::Srv { .. } => continue,
                    };
                    let remote = SocketAddr::new(address, hop.port);
                    let destination = self.destination(hop.transport, remote);
                    if found.len() < TARGETS_MAX && !found.contains(&destination) {
                        found.push(destination);
                    }
                }
            }
        }
        found
    }

    /// The records of an answer; none, and the question noted, if the answer is not there.
    fn ask(&mut self, name: &str, kind: DnsKind) -> Arc<[DnsRecord]> {
        let question = DnsQuestion {
            name: name.into(),
            kind,
        };
        match (self.lookup)(&question) {
            Some(Outcome::Found(records)) => return records,
            Some(Outcome::NotFound) => {}
            Some(Outcome::Failed) => self.failed = true,
            None if self.need.contains(&question) => {}
            None => self.need.push(question),
        }
        Arc::from([])
    }

    fn speaks(&self, transport: Transport) -> bool {
        self.abilities.transports.contains(&transport)
    }

    /// §4.1: UDP for `sip`, TLS over TCP for `sips`.
    fn default_transport(&self) -> Transport {
        if self.target.secure {
            Transport::Tls
        } else {
            Transport::Udp
        }
    }

    /// The certificate must bear the name that was asked for, not one that DNS led to (RFC 5922
    /// §7.2).
    fn destination(&self, transport: Transport, remote: SocketAddr) -> Destination {
        let tls_name = transport.is_secure().then(|| match &self.target.host {
            TargetHost::Name(name) => name.clone(),
            TargetHost::Ip(address) => address.to_string().into(),
        });
        Destination::Address {
            transport,
            remote,
            tls_name,
        }
    }
}

fn hop(name: &str, port: u16, transport: Transport) -> Hop {
    Hop {
        name: name.into(),
        port,
        transport,
    }
}

/// `_sip._udp.example.com` and the like (§4.1).
fn service_name(name: &str, transport: Transport) -> Box<str> {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
    };
    format!("{prefix}.{name}").into()
}

fn clean(name: &str) -> Box<str> {
    name.strip_suffix('.')
        .unwrap_or(name)
        .to_ascii_lowercase()
        .into()
}

/// RFC 2782: by priority; among equals drawn by weight, those of weight zero first in the row so
/// that they have a small chance.
fn by_weight(records: &[DnsRecord], rng: &mut Rng) -> Vec<(u16, Box<str>)> {
    let mut rest: Vec<(u16, u16, u16, Box<str>)> = records
        .iter()
        .take(RECORDS_MAX)
        .filter_map(|record| match record {
            DnsRecord::Srv {
                priority,
                weight,
                port,
                target,
            } => Some((*priority, *weight, *port, clean(target))),
            DnsRecord::Naptr { .. } | DnsRecord::A(_) | DnsRecord::Aaaa(_) => None,
        })
        .filter(|(.., target)| !target.is_empty())
        .collect();
    rest.sort();
    let mut drawn = Vec::with_capacity(rest.len());
    while let Some(priority) = rest.first().map(|record| record.0) {
        let group = rest.iter().take_while(|record| record.0 == priority);
        let total: u64 = group.map(|record| u64::from(record.1)).sum();
        let mut draw = rng.below(total + 1);
        let mut index = 0;
        for (n, record) in rest.iter().enumerate() {
            if record.0 != priority {
                break;
            }
            index = n;
            let weight = u64::from(record.1);
            if draw <= weight {
                break;
            }
            draw -= weight;
        }
        let (_, _, port, target) = rest.remove(index);
        drawn.push((port, target));
    }
    drawn
}

#[cfg(test)]
pub(super) fn tests_by_weight(records: &[DnsRecord], rng: &mut Rng) -> Vec<u16> {
    by_weight(records, rng)
        .into_iter()
        .map(|(port, _)| port)
        .collect()
}
