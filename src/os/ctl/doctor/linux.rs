//! What Linux must allow, judged from [`Facts`]. Pure.

use super::facts::Facts;
use super::host::{self, Needs};
use super::{Doctor, Outcome};
use crate::config::Config;
use crate::os::fast::{CardFacts, Grade};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Everything.
pub(super) fn judge(d: &mut Doctor, facts: &Facts, config: &Config) {
    let needs = Needs::of(config);
    sandbox(d, facts);
    buffers(d, facts, &needs);
    let wanted = needs.descriptors;
    let mend = format!("ulimit -Hn {wanted}, or LimitNOFILE={wanted} in the service's unit");
    host::descriptors(d, facts, &needs, &mend);
    queue(d, facts, &needs);
    media_ports(d, facts, config);
    ipv6(d, facts, config);
    helper(d, facts);
    if let Some(card) = &facts.card {
        fast_path(d, card);
    }
    host::directories(d, facts);
    host::clock(d, facts, "timedatectl set-ntp true");
}

fn setting(name: &str, value: impl Display) -> String {
    format!("sysctl -w {name}={value}, and in /etc/sysctl.d/voip.conf")
}

/// landlock(7); seccomp(2), SECCOMP_GET_ACTION_AVAIL.
fn sandbox(d: &mut Doctor, facts: &Facts) {
    let actions = facts.text("kernel.seccomp.actions_avail").unwrap_or("");
    if !actions.split_whitespace().any(|action| action == "errno") {
        let finding = "this kernel has no seccomp filter: the parsers cannot be confined";
        return d.bad(
            "sandbox",
            finding,
            "use a kernel with CONFIG_SECCOMP_FILTER",
        );
    }
    match facts.landlock {
        Some(version) => d.ok("sandbox", format!("seccomp, and landlock {version}")),
        None => {
            let finding = "no landlock: files are guarded by seccomp and the user's rights only";
            let remedy = "boot with lsm=landlock,... (see /sys/kernel/security/lsm)";
            d.warn("sandbox", finding, remedy);
        }
    }
}

/// socket(7): rmem_max and wmem_max cut what SO_RCVBUF and SO_SNDBUF ask for. A packet of a
/// SOCK_SEQPACKET pair must fit into the sender's buffer (unix(7)).
fn buffers(d: &mut Doctor, facts: &Facts, needs: &Needs) {
    for (name, least) in [
        ("net.core.rmem_max", 0),
        ("net.core.wmem_max", needs.pair_message),
    ] {
        let remedy = setting(name, needs.udp_buffer);
        match facts.number(name) {
            None => d.warn("buffers", format!("{name} cannot be read"), ""),
            Some(n) if n < least => {
                let finding =
                    format!("{name} is {n}: voipd's processes cannot send each other all");
                d.bad("buffers", finding, remedy);
            }
            Some(n) if n < needs.udp_buffer => {
                let finding = format!("{name} is {n}: bursts of datagrams may be lost");
                d.warn("buffers", finding, remedy);
            }
            Some(n) => d.ok("buffers", format!("{name}: up to {n} bytes")),
        }
    }
}

/// listen(2): net.core.somaxconn cuts the backlog.
fn queue(d: &mut Doctor, facts: &Facts, needs: &Needs) {
    let name = "net.core.somaxconn";
    match facts.number(name) {
        Some(n) if n < needs.backlog => {
            let finding = format!("{n} connections may wait; after a restart all phones come back");
            d.warn("accept queue", finding, setting(name, needs.backlog));
        }
        Some(n) => d.ok("accept queue", format!("{n} connections may wait")),
        None => d.warn("accept queue", format!("{name} cannot be read"), ""),
    }
}

/// ip(7): ip_local_port_range, without ip_local_reserved_ports.
fn media_ports(d: &mut Doctor, facts: &Facts, config: &Config) {
    let ports = config.rtp.ports;
    let pair = |text: &str, by: char| -> Option<RangeInclusive<u16>> {
        let (first, last) = text.split_once(by).unwrap_or((text, text));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    let lent = facts.text("net.ipv4.ip_local_port_range");
    let Some(lent) = lent.and_then(|text| pair(text, '\t')) else {
        return d.warn(
            "media ports",
            "net.ipv4.ip_local_port_range cannot be read",
            "",
        );
    };
    let name = "net.ipv4.ip_local_reserved_ports";
    let reserved = facts.text(name).unwrap_or("");
    let kept: Vec<_> = reserved.split(',').filter_map(|r| pair(r, '-')).collect();
    let all = match reserved {
        "" => ports.to_string(),
        others => format!("{others},{ports}"),
    };
    let kept = |port: u16| kept.iter().any(|range| range.contains(&port));
    host::media_ports(d, ports, lent, kept, &setting(name, all));
}

fn ipv6(d: &mut Doctor, facts: &Facts, config: &Config) {
    let name = "net.ipv6.conf.all.disable_ipv6";
    let wanted = config.sip.listen.iter().find(|l| l.addr.is_ipv6());
    if let Some(listen) = wanted
        && facts.number(name) != Some(0)
    {
        let finding = format!("{listen} cannot be served: IPv6 is off");
        d.bad("ipv6", finding, setting(name, 0));
    }
    host::wildcards(d, &config.sip.listen);
}

/// The kernel's own SIP helper rewrites addresses inside messages, which then no longer fit their
/// digest or our relay. Loaded, it works where a rule names it, or for all where the older
/// nf_conntrack_helper is 1.
fn helper(d: &mut Doctor, facts: &Facts) {
    let loaded = facts
        .modules
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .find(|module| matches!(*module, "nf_nat_sip" | "nf_conntrack_sip"));
    match loaded {
        Some(module) => {
            let finding = format!("{module} is loaded: the kernel may rewrite SIP messages");
            let remedy = "modprobe -r nf_nat_sip nf_conntrack_sip; and in \
                          /etc/modprobe.d/voip.conf: blacklist nf_conntrack_sip";
            d.warn("sip helper", finding, remedy);
        }
        None => d.ok("sip helper", "is not loaded"),
    }
}

/// What AF_XDP needs of the card and of who starts voipd.
fn fast_path(d: &mut Doctor, card: &CardFacts) {
    for finding in card.judge() {
        let outcome = match finding.grade {
            Grade::Well => Outcome::Ok,
            Grade::Poor => Outcome::Warning,
            Grade::Bad => Outcome::Bad,
        };
        d.say("fast path", outcome, finding.text, finding.remedy);
    }
}
