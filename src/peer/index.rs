//! Who a request comes from, looked up by address and by the Contact that we registered.

use super::{Learned, Member, Pool, Source, Trunk};
use crate::base::{Flow, Transport};
use crate::config::IpNet;
use crate::sip::locate::{Target, TargetHost};
use crate::wire::sip::{Message, Uri};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Index {
    lines: HashMap<Box<str>, Arc<Trunk>>,
    /// By the SIP domain that their certificate proves.
    certificates: HashMap<Box<str>, Arc<Trunk>>,
    /// UDP: a peer sends from where it listens.
    ports: HashMap<SocketAddr, Source>,
    /// Streams: a peer connects from any port.
    hosts: HashMap<IpAddr, Source>,
    networks: Vec<(IpNet, Arc<Trunk>)>,
    /// Where peers are from which the inside is hidden.
    hidden: HashSet<SocketAddr>,
    /// The keys of `ports` and `hosts`.
    addresses: Vec<IpAddr>,
}

impl Index {
    /// Where two peers have one address, the first trunk by name has it, then the first pool.
    pub fn of(
        trunks: &BTreeMap<Box<str>, Arc<Trunk>>,
        pools: &BTreeMap<Box<str>, Arc<Pool>>,
        learned: &Learned,
    ) -> Self {
        let mut index = Self::default();
        for (name, trunk) in trunks {
            let config = trunk.config();
            index.lines.insert(trunk.line().into(), Arc::clone(trunk));
            if let Some(name) = &config.certificate_name {
                let of_name = index.certificates.entry(name.clone());
                of_name.or_insert_with(|| Arc::clone(trunk));
            }
            for network in &config.addresses {
                index.networks.push((*network, Arc::clone(trunk)));
            }
            let source = Source::Trunk(Arc::clone(trunk));
            index.add_numeric(&config.uri, &source);
            if let Some(proxy) = &config.outbound_proxy {
                index.add_numeric(&proxy.to_string(), &source);
            }
            index.add_learned(learned, (name.clone(), None), &source);
        }
        for (name, pool) in pools {
            for member in pool.members().iter() {
                index.add_member(name, pool, member, learned);
            }
        }
        index
    }

    fn add_member(&mut self, name: &str, pool: &Arc<Pool>, m: &Arc<Member>, learned: &Learned) {
        let source = Source::Pool {
            pool: Arc::clone(pool),
            member: Arc::clone(m),
        };
        self.add_numeric(m.uri(), &source);
        self.add_learned(learned, (name.into(), Some(m.uri().into())), &source);
    }

    /// A URI with an address needs no DNS. Without a transport it may send by any.
    fn add_numeric(&mut self, uri: &str, source: &Source) {
        let Ok(uri) = Uri::parse(uri.as_bytes()) else {
            return;
        };
        let Ok(target) = Target::from_uri(&uri) else {
            return;
        };
        let TargetHost::Ip(ip) = target.host else {
            return;
        };
        let transports: &[Transport] = match (target.transport, target.secure) {
            (Some(transport), _) => &[transport],
            (None, true) => &[Transport::Tls],
            (None, false) => &[Transport::Udp, Transport::Tcp],
        };
        for transport in transports {
            let port = target.port.unwrap_or(transport.default_port());
            self.add(*transport, SocketAddr::new(ip, port), source);
        }
    }

    fn add_learned(
        &mut self,
        learned: &Learned,
        key: (Box<str>, Option<Box<str>>),
        source: &Source,
    ) {
        for destination in learned.get(&key).into_iter().flatten() {
            self.add(destination.transport(), destination.remote(), source);
        }
    }

    fn add(&mut self, transport: Transport, remote: SocketAddr, source: &Source) {
        let ip = remote.ip().to_canonical();
        self.addresses.push(ip);
        if source.hides() {
            self.hidden.insert(SocketAddr::new(ip, remote.port()));
        }
        if transport.is_reliable() {
            self.hosts.entry(ip).or_insert_with(|| source.clone());
        } else {
            let remote = SocketAddr::new(ip, remote.port());
            self.ports.entry(remote).or_insert_with(|| source.clone());
        }
    }

    /// All addresses but those of networks.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.clone()
    }

    /// Whether a peer is there from which the inside is hidden.
    pub fn hides_from(&self, remote: SocketAddr) -> bool {
        let ip = remote.ip().to_canonical();
        self.hidden.contains(&SocketAddr::new(ip, remote.port()))
    }

    /// Whether any trunk is known by its certificate.
    pub fn has_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// The trunk of one of these SIP domains, which a certificate proved.
    pub fn of_domains(&self, domains: &[Box<str>]) -> Option<&Arc<Trunk>> {
        domains.iter().find_map(|d| self.certificates.get(d))
    }

    /// Who has the address that a message came from.
    pub fn of_address(&self, flow: &Flow) -> Option<Source> {
        let ip = flow.remote.ip().to_canonical();
        let known = match flow.transport.is_reliable() {
            true => self.hosts.get(&ip),
            false => self.ports.get(&SocketAddr::new(ip, flow.remote.port())),
        };
        known.cloned().or_else(|| {
            let mut networks = self.networks.iter();
            let (_, trunk) = networks.find(|(network, _)| network.contains(ip))?;
            Some(Source::Trunk(Arc::clone(trunk)))
        })
    }

    /// The trunk at which the Contact was registered that a message is for.
    pub fn of_line(&self, message: &Message) -> Option<&Arc<Trunk>> {
        if self.lines.is_empty() {
            return None;
        }
        let uri = Uri::parse(message.request_uri()).ok()?;
        let line = uri.param("line").flatten()?;
        self.lines.get(std::str::from_utf8(line).ok()?)
    }
}
