//! What is judged alike on every system, and what the daemon wants of it. Pure.

use super::Doctor;
use super::facts::{Facts, USER};
use crate::base::Transport;
use crate::config::{Config, Listen, PortRange};
use crate::os::ipc;
use crate::os::stream::accept::BACKLOG;
use crate::os::udp;
use std::ops::RangeInclusive;

/// Sockets of one relayed call: RTP and RTCP for each side.
const SOCKETS_PER_CALL: u64 = 4;
/// Descriptors for the store, the log, the control socket and its guests, lines between processes.
const DESCRIPTORS_BESIDE: u64 = 256;

/// What the configuration wants at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Needs {
    /// Calls that the ports are enough for.
    pub(super) calls: u64,
    /// Open descriptors of one process.
    pub(super) descriptors: u64,
    /// The listeners' buffers, in bytes.
    pub(super) udp_buffer: u64,
    /// The buffers between our processes, in bytes; without them there is no start.
    pub(super) pair_buffer: u64,
    /// The longest message between our processes, in bytes.
    pub(super) pair_message: u64,
    /// Connections that wait to be accepted.
    pub(super) backlog: u64,
    /// The longest request that goes by UDP, in bytes.
    pub(super) datagram: u64,
}

impl Needs {
    pub(super) fn of(config: &Config) -> Self {
        let calls = config.rtp.ports.pairs() as u64 / 2;
        let connections = config.limits.connections_max as u64;
        Self {
            calls,
            descriptors: connections + calls * SOCKETS_PER_CALL + DESCRIPTORS_BESIDE,
            udp_buffer: udp::SOCKET_BUFFER_BYTES as u64,
            pair_buffer: ipc::SOCKET_BUFFER_BYTES as u64,
            pair_message: ipc::MESSAGE_BYTES_MAX as u64,
            backlog: BACKLOG.unsigned_abs().into(),
            datagram: config.sip.udp_bytes_max as u64,
        }
    }
}

/// Descriptors of this process; `mend` is the command for that many.
pub(super) fn descriptors(d: &mut Doctor, facts: &Facts, needs: &Needs, mend: &str) {
    let Needs {
        calls, descriptors, ..
    } = needs;
    match facts.descriptors {
        None => d.warn("descriptors", "their limit cannot be read", ""),
        Some(hard) if hard >= *descriptors => d.ok(
            "descriptors",
            format!("{hard} may be open, {descriptors} at most are wanted"),
        ),
        Some(hard) => {
            let finding =
                format!("{hard} may be open; {calls} calls and all connections want {descriptors}");
            d.warn("descriptors", finding, mend);
        }
    }
}

/// `[::]` is heard by IPv6 only, whatever net.inet6.ip6.v6only or bindv6only say: our sockets set
/// IPV6_V6ONLY themselves (ip6(4), ipv6(7)).
pub(super) fn wildcards(d: &mut Doctor, listen: &[Listen]) {
    let covered = |transport: Transport, port: u16| {
        listen
            .iter()
            .any(|l| l.transport == transport && l.addr.port() == port && l.addr.is_ipv4())
    };
    for six in listen {
        let (transport, port) = (six.transport, six.addr.port());
        let wild = six.addr.is_ipv6() && six.addr.ip().is_unspecified();
        if wild && !covered(transport, port) {
            let v4 = six.to_string().replace("[::]", "0.0.0.0");
            let finding = format!("{six} hears IPv6 only, and nothing hears IPv4 there");
            d.warn("ipv6", finding, format!("add \"{v4}\" to [sip] listen"));
        }
    }
}

/// The state holds the hashes that stand for passwords, and the control socket rules the daemon: it
/// has rights of its own, so its directory may be looked into, and be root's (rc.d makes it so).
pub(super) fn directories(d: &mut Doctor, facts: &Facts) {
    for dir in &facts.directories {
        let shown = dir.path.display();
        if dir.mode & 0o002 != 0 && dir.mode & 0o1000 == 0 {
            let remedy = format!("chmod 0750 {shown}");
            d.bad("directory", format!("anybody may write {shown}"), remedy);
        } else if !dir.of_state {
            d.ok("directory", format!("{shown} is not for others to write"));
        } else if dir.mode & 0o007 != 0 {
            let finding = format!("{shown} is open to every user of this host");
            d.warn("directory", finding, format!("chmod 0750 {shown}"));
        } else if facts.user.is_some_and(|voip| voip != dir.uid) {
            let finding = format!("{shown} belongs to uid {}, not to {USER}", dir.uid);
            let remedy = format!("chown -R {USER}:{USER} {shown}, if voipd runs as {USER}");
            d.warn("directory", finding, remedy);
        } else {
            d.ok("directory", format!("{shown} is closed to others"));
        }
    }
}

/// The ports of `[rtp] ports` that the system hands to any program that asks for some port; a call
/// that was given one meanwhile is lost. `lent`: those of the system, `kept`: what it leaves out.
pub(super) fn media_ports(
    d: &mut Doctor,
    ports: PortRange,
    lent: RangeInclusive<u16>,
    kept: impl Fn(u16) -> bool,
    mend: &str,
) {
    let mut shared = (ports.first()..=ports.last()).filter(|p| lent.contains(p) && !kept(*p));
    match shared.next() {
        None => d.ok("media ports", format!("the system lends none of {ports}")),
        Some(first) => {
            let last = shared.next_back().unwrap_or(first);
            let finding = format!(
                "of [rtp] ports {ports} the system lends {first} to {last} to any program, and a \
                 call is lost where one is taken"
            );
            d.warn("media ports", finding, mend);
        }
    }
}

/// Nonces, bans and call records are told by the clock.
pub(super) fn clock(d: &mut Doctor, facts: &Facts, mend: &str) {
    match facts.clock_kept {
        Some(true) => d.ok("clock", "is kept by a time server"),
        Some(false) => d.warn("clock", "nothing keeps it right", mend),
        None => d.ok("clock", "the system does not say who keeps it"),
    }
}
