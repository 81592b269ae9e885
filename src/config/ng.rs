//! `[rtp] ng`, `ng_allow`, `ng_interfaces`: the relay for other proxies.

use super::net::{IpNet, Listen};
use super::parse::File;
use super::print::{list, text};
use super::reader::Section;
use super::{PortRange, Sip};
use std::fmt::{self, Formatter};
use std::net::{IpAddr, SocketAddr};

pub(super) const RTP: &[&str] = &[
    "ports",
    "relay",
    "fastpath",
    "fastpath_mode",
    "timeout_s",
    "ng",
    "ng_allow",
    "ng_interfaces",
];

/// The most interfaces.
const INTERFACES_MAX: usize = 32;

/// The control protocol by which other proxies use our relay.
#[derive(Clone, PartialEq, Debug)]
pub struct Ng {
    /// Where requests are taken, by UDP.
    pub listen: SocketAddr,
    /// Who may send them; at least one block.
    pub allow: Vec<IpNet>,
    /// Addresses with names, the preferred ones first; none lets routes decide.
    pub interfaces: Vec<NgInterface>,
}

/// `name/address`, or `name/address!advertised`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NgInterface {
    /// What clients call it.
    pub name: Box<str>,
    /// What ports are bound to.
    pub bind: IpAddr,
    /// What descriptions name.
    pub shown: IpAddr,
}

impl NgInterface {
    /// Reads one; says in words why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, addresses) = text
            .split_once('/')
            .ok_or_else(|| format!("\"{text}\" has no name before its address"))?;
        let (bind, shown) = match addresses.split_once('!') {
            Some((bind, shown)) => (bind, shown),
            None => (addresses, addresses),
        };
        let word = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || !name.bytes().all(word) {
            return Err(format!("\"{name}\" is no name of letters, digits, - _ ."));
        }
        let address = |text: &str| match text.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
                Err(format!("\"{ip}\" is no address of one host"))
            }
            Ok(ip) => Ok(ip),
            Err(_) => Err(format!("\"{text}\" is no IP address")),
        };
        let (bind, shown) = (address(bind)?, address(shown)?);
        if bind.is_ipv4() != shown.is_ipv4() {
            return Err(format!("{bind} and {shown} are of different families"));
        }
        let name = name.into();
        Ok(Self { name, bind, shown })
    }
}

impl fmt::Display for NgInterface {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.bind)?;
        match self.shown == self.bind {
            true => Ok(()),
            false => write!(f, "!{}", self.shown),
        }
    }
}

/// This host itself, by whatever address it sends from.
fn own_host(listen: SocketAddr) -> Vec<IpNet> {
    let mut texts = vec!["127.0.0.0/8".to_owned(), "::1".to_owned()];
    if !listen.ip().is_unspecified() && !listen.ip().is_loopback() {
        texts.push(listen.ip().to_string());
    }
    let nets = texts.iter().map(|text| IpNet::parse(text));
    nets.filter_map(Result::ok).collect()
}

impl<'d> File<'_, '_, 'd> {
    pub(super) fn ng(&mut self, section: Section<'d>, sip: &Sip, ports: PortRange) -> Option<Ng> {
        let given = ["ng_allow", "ng_interfaces"].map(|key| section.get(key));
        let Some(entry) = section.get("ng") else {
            if let Some(entry) = given.into_iter().flatten().next() {
                let problem = "says how \"ng\" is served, which is off".to_owned();
                let remedy = "add ng = \"udp:127.0.0.1:2223\", or take it out";
                self.reader.note_entry(entry, problem, remedy);
            }
            return None;
        };
        let written = self.reader.text(entry)?;
        let address = written
            .text
            .strip_prefix("udp:")
            .map(str::parse::<SocketAddr>);
        let listen = match address {
            Some(Ok(address)) if !address.ip().is_multicast() && address.port() != 0 => address,
            _ => {
                let problem = format!("\"{}\" is no UDP address with port", written.text);
                self.note(written, problem, "write one such as \"udp:127.0.0.1:2223\"");
                return None;
            }
        };
        let same = |l: &&Listen| !l.transport.is_reliable() && l.addr.port() == listen.port();
        let taken = match sip.listen.iter().find(same) {
            Some(other) => Some(format!("is that of listener \"{other}\"")),
            None => ports
                .contains(listen.port())
                .then(|| format!("is in [rtp] ports, {ports}")),
        };
        if let Some(taken) = taken {
            let problem = format!("port {} {taken}", listen.port());
            self.note(written, problem, "give it another port");
        }
        let [allow, interfaces] = given;
        let named = allow.map(|entry| self.nets(entry)).unwrap_or_default();
        let allow = if named.is_empty() {
            own_host(listen)
        } else {
            named
        };
        let mut all: Vec<NgInterface> = Vec::new();
        for text in interfaces.map(|entry| self.list(entry)).unwrap_or_default() {
            match NgInterface::parse(text.text) {
                Ok(_) if all.len() >= INTERFACES_MAX => {
                    let problem = format!("names more than {INTERFACES_MAX} interfaces");
                    self.note(text, problem, "take some out");
                    break;
                }
                Ok(interface) => all.push(interface),
                Err(problem) => {
                    let remedy =
                        "write one such as \"pub/192.0.2.1\" or \"pub/10.0.0.1!192.0.2.1\"";
                    self.note(text, problem, remedy);
                }
            }
        }
        Some(Ng {
            listen,
            allow,
            interfaces: all,
        })
    }
}

pub(super) fn print(f: &mut Formatter<'_>, ng: &Ng) -> fmt::Result {
    text(f, "ng", &format!("udp:{}", ng.listen))?;
    list(f, "ng_allow", &ng.allow)?;
    match ng.interfaces.is_empty() {
        true => Ok(()),
        false => list(f, "ng_interfaces", &ng.interfaces),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    fn parse(rtp: &str) -> Result<Option<Ng>, String> {
        let config = Config::parse(&format!("[rtp]\n{rtp}\n"), Path::new("/etc/voip/voip.toml"));
        config
            .map(|c| c.rtp.ng)
            .map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn only_this_host_is_answered_unless_others_are_named() {
        assert_eq!(parse(""), Ok(None));
        let local = parse("ng = \"udp:127.0.0.1:2223\"").unwrap().unwrap();
        let allows = |ng: &Ng, ip: &str| {
            let ip = ip.parse().unwrap();
            ng.allow.iter().any(|net| net.contains(ip))
        };
        assert!(allows(&local, "127.0.0.1") && allows(&local, "::1"));
        assert!(!allows(&local, "192.0.2.1"));
        let own = parse("ng = \"udp:192.0.2.1:2223\"").unwrap().unwrap();
        assert!(allows(&own, "192.0.2.1") && !allows(&own, "192.0.2.2"));
        let named = "ng = \"udp:0.0.0.0:2223\"\nng_allow = [\"192.0.2.0/24\"]";
        let named = parse(named).unwrap().unwrap();
        assert!(allows(&named, "192.0.2.2") && !allows(&named, "127.0.0.1"));
    }

    #[test]
    fn interfaces_have_names() {
        let ng =
            "ng = \"udp:[::1]:2223\"\nng_interfaces = [\"pub/10.0.0.1!192.0.2.1\", \"in/::1\"]";
        let ng = parse(ng).unwrap().unwrap();
        let shown: Vec<String> = ng.interfaces.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["pub/10.0.0.1!192.0.2.1", "in/::1"]);
        assert_eq!(
            ng.interfaces[0].shown,
            "192.0.2.1".parse::<IpAddr>().unwrap()
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (rtp, part) in [
            ("ng = \"tcp:127.0.0.1:2223\"", "no UDP address"),
            ("ng = \"127.0.0.1:2223\"", "no UDP address"),
            ("ng = \"udp:127.0.0.1:0\"", "no UDP address"),
            ("ng = \"udp:127.0.0.1:5060\"", "that of listener"),
            ("ng = \"udp:127.0.0.1:20000\"", "is in [rtp] ports"),
            ("ng_allow = [\"192.0.2.1\"]", "which is off"),
            (
                "ng = \"udp:127.0.0.1:2223\"\nng_allow = [\"0.0.0.0/0\"]",
                "is everybody",
            ),
            (
                "ng = \"udp:127.0.0.1:2223\"\nng_interfaces = [\"10.0.0.1\"]",
                "has no name",
            ),
            (
                "ng = \"udp:127.0.0.1:2223\"\nng_interfaces = [\"a/b\"]",
                "no IP address",
            ),
            (
                "ng = \"udp:127.0.0.1:2223\"\nng_interfaces = [\"a/::1!1.2.3.4\"]",
                "families",
            ),
        ] {
            let problem = parse(rtp).unwrap_err();
            assert!(problem.contains(part), "{rtp}: {problem}");
        }
    }
}
