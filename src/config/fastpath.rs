//! `[rtp] fastpath`: how packets of calls are moved.

use std::fmt;

/// IFNAMSIZ, with the zero at its end: the longest name of an interface has one byte less.
const IFNAMSIZ: usize = 16;
/// NETMAP_REQ_IFNAMSIZ, likewise.
const NETMAP_NAME_BYTES: usize = 64;

/// `[rtp] fastpath_mode`: how a thread of the fast path waits for packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FastpathMode {
    /// It sleeps until the card wakes it.
    Poll,
    /// It looks again and again, and has a CPU for itself.
    Busy,
}

/// How packets are moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fastpath {
    /// By sockets.
    Off,
    /// Over AF_XDP on this interface (Linux).
    Xdp(String),
    /// Over netmap on this port (FreeBSD).
    Netmap(NetmapPort),
}

/// A port as netmap(4) names it: an interface, or a pipe of one (`ix0{1`, `ix0}1`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetmapPort {
    name: String,
    interface_bytes: usize,
}

impl NetmapPort {
    /// What netmap calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface, without the pipe's suffix.
    pub fn interface(&self) -> &str {
        self.name.get(..self.interface_bytes).unwrap_or(&self.name)
    }

    /// Whether it is a pipe: then another program has the card, and it has no rings of the stack.
    pub fn is_pipe(&self) -> bool {
        self.interface_bytes < self.name.len()
    }

    fn parse(name: &str) -> Result<Self, Wrong> {
        let interface_bytes = name.find(['{', '}']).unwrap_or(name.len());
        let (interface, suffix) = name.split_at(interface_bytes);
        // A pipe gets what its other end chooses, by UDP ports say. A switch knows hardware
        // addresses alone: with our stack's on a port of ours, of which every frame would tell the
        // switch, all that is the stack's came there, too, ARP and SIP; with another one nothing of
        // a call would. No stack is behind such a port, nor behind a persistent one (valectl -n).
        if name.contains(':') || interface.starts_with("vale") {
            let problem = format!(
                "\"netmap:{name}\": a VALE switch brings frames to this host to its stack's port, \
                 and none to another"
            );
            return Err((problem, VALE_REMEDY));
        }
        if interface.ends_with(['^', '*', '+']) {
            let problem = format!("\"netmap:{name}\" chooses rings; all are needed");
            return Err((problem, NETMAP_REMEDY));
        }
        let pipe = suffix.get(1..).unwrap_or("");
        let well = is_interface(interface)
            && name.len() < NETMAP_NAME_BYTES
            && (suffix.is_empty() || !pipe.is_empty())
            && pipe.bytes().all(|b| b.is_ascii_alphanumeric());
        if !well {
            let problem = format!("\"netmap:{name}\" names no interface");
            return Err((problem, NETMAP_REMEDY));
        }
        Ok(Self {
            name: name.to_owned(),
            interface_bytes,
        })
    }
}

/// What is wrong, and the remedy.
type Wrong = (String, &'static str);

const VALE_REMEDY: &str = "attach one end of an epair(4) to the switch, and write the other end, \
                           as in \"netmap:epair0b\"";
const NETMAP_REMEDY: &str = "write \"netmap:\" and the interface's name, as in \"netmap:ix0\"";

fn is_interface(name: &str) -> bool {
    (1..IFNAMSIZ).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"/{}".contains(&b))
}

impl Fastpath {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        match text.split_once(':') {
            None if text == "off" => Ok(Fastpath::Off),
            Some(("xdp", name)) if is_interface(name) => Ok(Fastpath::Xdp(name.to_owned())),
            Some(("xdp", _)) => {
                let problem = format!("\"{text}\" names no interface");
                Err((problem, "write \"xdp:\" and its name, as in \"xdp:eth0\""))
            }
            Some(("netmap", name)) => NetmapPort::parse(name).map(Fastpath::Netmap),
            None | Some(_) => {
                let problem = format!("\"{text}\" is no fast path");
                let remedy =
                    "write \"off\" or, on Linux, \"xdp:eth0\" or, on FreeBSD, \"netmap:ix0\"";
                Err((problem, remedy))
            }
        }
    }
}

impl fmt::Display for Fastpath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fastpath::Off => f.write_str("off"),
            Fastpath::Xdp(name) => write!(f, "xdp:{name}"),
            Fastpath::Netmap(port) => write!(f, "netmap:{}", port.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_printed_alike() {
        for text in [
            "off",
            "xdp:eth0",
            "xdp:eth0.100",
            "netmap:ix0",
            "netmap:ix0{1",
            "netmap:em0}x2",
        ] {
            assert_eq!(Fastpath::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_pipe_is_told_from_its_interface() {
        let port = |text: &str| match Fastpath::parse(text) {
            Ok(Fastpath::Netmap(port)) => port,
            other => panic!("{other:?}"),
        };
        let whole = port("netmap:ix0");
        assert_eq!((whole.interface(), whole.is_pipe()), ("ix0", false));
        let pipe = port("netmap:ix0}12");
        assert_eq!(
            (pipe.name(), pipe.interface(), pipe.is_pipe()),
            ("ix0}12", "ix0", true)
        );
    }

    #[test]
    fn other_names_are_refused_with_the_remedy() {
        let wrong = [
            ("on", "is no fast path"),
            ("dpdk:0", "is no fast path"),
            ("xdp:", "names no interface"),
            ("xdp:a/b", "names no interface"),
            ("netmap:", "names no interface"),
            ("netmap:ix0{", "names no interface"),
            ("netmap:ix0{1}2", "names no interface"),
            ("netmap:{1", "names no interface"),
            ("netmap:interface01234567", "names no interface"),
            ("netmap:ix 0", "names no interface"),
            ("netmap:vale0:x", "VALE"),
            ("netmap:ix0^", "chooses rings"),
            ("netmap:ix0*", "chooses rings"),
        ];
        for (text, what) in wrong {
            let (problem, remedy) = Fastpath::parse(text).unwrap_err();
            assert!(problem.contains(what), "{text}: {problem}");
            assert!(remedy.contains("write "), "{text}: {remedy}");
        }
    }
}
