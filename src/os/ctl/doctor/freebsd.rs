//! What FreeBSD must allow, judged from [`Facts`]. Pure, so that texts of a FreeBSD host are judged
//! by the tests of any system. Each variable is named with the file of FreeBSD's source that
//! defines it.

use super::Doctor;
use super::facts::{Facts, Filter};
use super::host::{self, Needs};
use crate::config::{Blocklist, Config, Fastpath};
use crate::os::netmap::ready::OFFLOADS;

/// __FreeBSD_version of 14.0-RELEASE (Porter's Handbook, sys/sys/param.h).
const OSRELDATE_MIN: u64 = 1_400_097;
/// __FreeBSD_version counts a series in hundred thousands.
const SERIES: u64 = 100_000;
/// And a release of it in thousands: 1403000 begins 14.3.
const RELEASE: u64 = 1_000;
/// Of descriptors, this part is left to the rest of the host.
const FILES_SPARE: u64 = 4;
/// The fewest ports that the system is left with to lend.
const PORTS_LENT_MIN: u16 = 10_000;

/// Everything. `fastpath`: whether netmap is asked for.
pub(super) fn judge(d: &mut Doctor, facts: &Facts, config: &Config, fastpath: bool) {
    let needs = Needs::of(config);
    kernel(d, facts);
    module(d, facts);
    sandbox(d, facts);
    buffers(d, facts, &needs);
    let wanted = needs.descriptors;
    let mend = settings(&[
        ("kern.maxfilesperproc", wanted),
        ("kern.maxfiles", wanted * 2),
    ]);
    host::descriptors(d, facts, &needs, &mend);
    files(d, facts, &needs);
    queue(d, facts, &needs);
    datagram(d, facts, &needs);
    media_ports(d, facts, config);
    ipv6(d, facts, config);
    netmap(d, facts, fastpath);
    let ours = match &config.rtp.fastpath {
        Fastpath::Netmap(port) => Some(port.interface()),
        Fastpath::Off | Fastpath::Xdp(_) => None,
    };
    for (name, words) in offloads(&facts.interfaces) {
        let command = format!("ifconfig {name} {}", words.join(" "));
        if fastpath && ours.is_none_or(|ours| ours == name) {
            let remedy = format!("{command}, and the same words in rc.conf's ifconfig_{name}");
            d.bad("offload", format!("{name} does what netmap cannot"), remedy);
        } else {
            d.ok("offload", format!("in use; netmap would want: {command}"));
        }
    }
    filter(d, &facts.filter);
    blocklist(d, facts, config);
    host::directories(d, facts);
    host::clock(d, facts, "sysrc ntpd_enable=YES; service ntpd start");
}

/// Commands that set variables now, and at each start (sysctl.conf(5)).
fn settings(pairs: &[(&str, u64)]) -> String {
    let each: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
    format!("sysctl {}, and in /etc/sysctl.conf", each.join(" "))
}

/// kern.osreldate, kern.osrelease: sys/kern/kern_mib.c. freebsd-version(1) -k reads the kernel's
/// file.
fn kernel(d: &mut Doctor, facts: &Facts) {
    let running = facts.text("kern.osrelease").unwrap_or("");
    let installed = facts.installed_kernel.trim();
    match facts.number("kern.osreldate") {
        None => d.warn("kernel", "its version cannot be read", ""),
        Some(n) if n < OSRELDATE_MIN => {
            let finding = format!("{running} ({n}) is older than 14.0");
            d.bad("kernel", finding, "freebsd-update -r 14.3-RELEASE upgrade");
        }
        Some(_) if !installed.is_empty() && installed != running => {
            let finding = format!("{running} runs, {installed} is installed");
            d.warn("kernel", finding, "shutdown -r now");
        }
        Some(n) => d.ok("kernel", format!("{running} ({n})")),
    }
}

/// A module's dependence on the kernel reaches from the version that it was built with to the end
/// of the series (sys/sys/module.h, DECLARE_MODULE and MODULE_KERNEL_MAXVER), so the linker loads
/// it into a later release of the series, whose structures may have changed.
fn module(d: &mut Doctor, facts: &Facts) {
    let running = facts.number("kern.osreldate").unwrap_or(0);
    let again = "pkg upgrade -f voip-e1-kmod, or make -C /usr/ports/net/voip-e1-kmod reinstall; \
                 then kldunload e1shim; kldload e1shim";
    match (facts.number("hw.e1shim.built_for"), &facts.module) {
        (Some(built), _) if built / RELEASE != running / RELEASE => {
            let finding = format!("e1shim was built for {built}, the kernel is {running}");
            d.warn("e1shim", finding, again);
        }
        (Some(built), _) => d.ok("e1shim", format!("is loaded, built for {built}")),
        (None, Some(path)) => {
            let finding = format!("{} is there, but not loaded", path.display());
            let remedy = format!(
                "kldload e1shim; sysrc kld_list+=e1shim; if it is refused it belongs to another \
                 series than {}: {again}",
                running / SERIES
            );
            d.warn("e1shim", finding, remedy);
        }
        (None, None) => d.ok("e1shim", "is not installed; only E1 lines need it"),
    }
}

/// net.inet.ip.portrange.first and .last, which are IPv6's too (sys/netinet/in_pcb.c,
/// in_pcb_lport_dest): nothing between them can be kept out.
fn media_ports(d: &mut Doctor, facts: &Facts, config: &Config) {
    let ports = config.rtp.ports;
    let name = "net.inet.ip.portrange.first";
    let end = |name: &str| facts.number(name).and_then(|n| u16::try_from(n).ok());
    let (Some(first), Some(last)) = (end(name), end("net.inet.ip.portrange.last")) else {
        return d.warn("media ports", format!("{name} cannot be read"), "");
    };
    let mend = match last.saturating_sub(ports.last()) {
        PORTS_LENT_MIN.. => settings(&[(name, u64::from(ports.last()) + 1)]),
        _ => format!("move [rtp] ports below {first}"),
    };
    host::media_ports(d, ports, first..=last, |_| false, &mend);
}

/// kern.features.*: FEATURE(9) in sys/kern/sys_capability.c; kern.trap_enotcap: the same file. With
/// it a call that capability mode refuses ends the process with SIGTRAP (sys/kern/subr_syscall.c).
fn sandbox(d: &mut Doctor, facts: &Facts) {
    let features = ["security_capability_mode", "security_capabilities"];
    let missing = features
        .into_iter()
        .find(|name| facts.number(&format!("kern.features.{name}")) != Some(1));
    if let Some(name) = missing {
        let finding = format!("this kernel has no {name}: the parsers cannot be confined");
        let remedy = "use GENERIC, or build with options CAPABILITIES and CAPABILITY_MODE";
        return d.bad("sandbox", finding, remedy);
    }
    if facts.number("kern.trap_enotcap").is_some_and(|n| n != 0) {
        let finding = "kern.trap_enotcap: what a sandbox refuses kills the process";
        return d.warn("sandbox", finding, settings(&[("kern.trap_enotcap", 0)]));
    }
    d.ok("sandbox", "Capsicum is there");
}

/// The limit for a socket's buffer of `bytes`: a buffer may have kern.ipc.maxsockbuf *
/// MCLBYTES / (MSIZE + MCLBYTES), 2048 of 2304, and a larger wish is refused with ENOBUFS
/// (sys/kern/uipc_sockbuf.c, sb_max_adj and sbreserve_locked).
pub(super) const fn maxsockbuf_for(bytes: u64) -> u64 {
    (bytes * 2304).div_ceil(2048)
}

fn buffers(d: &mut Doctor, facts: &Facts, needs: &Needs) {
    let name = "kern.ipc.maxsockbuf";
    let wanted = maxsockbuf_for(needs.udp_buffer);
    let remedy = settings(&[(name, wanted)]);
    match facts.number(name) {
        None => d.warn("buffers", format!("{name} cannot be read"), ""),
        Some(n) if n < maxsockbuf_for(needs.pair_buffer) => {
            let finding = format!("{name} is {n}: voipd's processes cannot speak with each other");
            d.bad("buffers", finding, remedy);
        }
        Some(n) if n < wanted => {
            let finding = format!("{name} is {n}: bursts of datagrams may be lost");
            d.warn("buffers", finding, remedy);
        }
        Some(n) => d.ok("buffers", format!("up to {n} bytes")),
    }
}

/// kern.maxfiles, kern.maxfilesperproc, kern.openfiles: sys/kern/kern_descrip.c.
fn files(d: &mut Doctor, facts: &Facts, needs: &Needs) {
    let (Some(all), Some(open)) = (
        facts.number("kern.maxfiles"),
        facts.number("kern.openfiles"),
    ) else {
        return;
    };
    if open > all - all / FILES_SPARE {
        let finding = format!("{open} of all the host's {all} files are open");
        d.warn("files", finding, settings(&[("kern.maxfiles", all * 2)]));
    } else if all < needs.descriptors + all / FILES_SPARE {
        let finding = format!(
            "the host has {all}, voipd alone may want {}",
            needs.descriptors
        );
        let remedy = settings(&[("kern.maxfiles", needs.descriptors * 2)]);
        d.warn("files", finding, remedy);
    } else {
        d.ok("files", format!("{open} of the host's {all} are open"));
    }
}

/// kern.ipc.soacceptqueue: sys/kern/uipc_socket.c; listen(2) cuts what is asked for to it.
fn queue(d: &mut Doctor, facts: &Facts, needs: &Needs) {
    let name = "kern.ipc.soacceptqueue";
    match facts.number(name) {
        Some(n) if n < needs.backlog => {
            let finding = format!("{n} connections may wait; after a restart all phones come back");
            d.warn("accept queue", finding, settings(&[(name, needs.backlog)]));
        }
        Some(n) => d.ok("accept queue", format!("{n} connections may wait")),
        None => d.warn("accept queue", format!("{name} cannot be read"), ""),
    }
}

/// net.inet.udp.maxdgram: sys/netinet/udp_usrreq.c; a longer datagram is refused with EMSGSIZE.
fn datagram(d: &mut Doctor, facts: &Facts, needs: &Needs) {
    let name = "net.inet.udp.maxdgram";
    match facts.number(name) {
        Some(n) if n < needs.datagram => {
            let finding = format!("{n} bytes leave at most, [sip] udp_bytes_max asks for more");
            d.warn("datagram", finding, settings(&[(name, 65_535)]));
        }
        Some(n) => d.ok("datagram", format!("up to {n} bytes leave")),
        None => d.warn("datagram", format!("{name} cannot be read"), ""),
    }
}

/// kern.features.inet6: FEATURE(9) in sys/netinet6/in6_proto.c. The same file has
/// net.inet6.ip6.v6only.
fn ipv6(d: &mut Doctor, facts: &Facts, config: &Config) {
    let wanted = config.sip.listen.iter().find(|l| l.addr.is_ipv6());
    if let Some(listen) = wanted
        && facts.number("kern.features.inet6") != Some(1)
    {
        let finding = format!("{listen} cannot be served: this kernel has no IPv6");
        d.bad(
            "ipv6",
            finding,
            "use GENERIC, or take it out of [sip] listen",
        );
    }
    host::wildcards(d, &config.sip.listen);
}

/// /dev/netmap: sys/dev/netmap/netmap.c makes it 0600 for root; the monitor opens it.
fn netmap(d: &mut Doctor, facts: &Facts, fastpath: bool) {
    match facts.netmap {
        Some(mode) if mode & 0o077 != 0 => {
            let finding = "others may open /dev/netmap, and with it every frame of this host";
            d.bad(
                "netmap",
                finding,
                "chmod 0600 /dev/netmap; see devfs.rules(5)",
            );
        }
        Some(_) => d.ok("netmap", "/dev/netmap is there"),
        None if fastpath => {
            let remedy = "kldload netmap, or use GENERIC; in a jail devfs must show it";
            d.bad("netmap", "there is no /dev/netmap", remedy);
        }
        None => d.ok("netmap", "is not there; only the fast path needs it"),
    }
}

/// Interfaces that are up, and the words for ifconfig(8) that put out what netmap cannot have.
pub(super) fn offloads(ifconfig: &str) -> Vec<(String, Vec<&'static str>)> {
    let mut found: Vec<(String, Vec<&'static str>)> = Vec::new();
    let mut name = None;
    for line in ifconfig.lines() {
        if !line.starts_with(char::is_whitespace) {
            let usable =
                brackets(line).any(|f| f == "UP") && !brackets(line).any(|f| f == "LOOPBACK");
            name = line.split_once(':').map(|(n, _)| n).filter(|_| usable);
            continue;
        }
        let Some(name) = name.filter(|_| line.trim_start().starts_with("options=")) else {
            continue;
        };
        let on = |option: &str| brackets(line).any(|o| o == option);
        let found_on = OFFLOADS.iter().filter(|(_, option, _)| on(option));
        let words: Vec<_> = found_on.map(|(.., word)| *word).collect();
        if !words.is_empty() {
            found.push((name.to_owned(), words));
        }
    }
    found
}

/// The words between `<` and `>`.
fn brackets(line: &str) -> impl Iterator<Item = &str> {
    let inside = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or("", |(words, _)| words).split(',')
}

/// Rules that give UDP another source port: the phone at the other side answers where it saw us,
/// but whoever believes the SDP or a registered contact does not (pf.conf(5), static-port).
pub(super) fn rewriting(rules: &str) -> Vec<&str> {
    let nat = |line: &&str| line.starts_with("nat ") || line.contains(" nat-to ");
    rules
        .lines()
        .map(str::trim)
        .filter(nat)
        .filter(|line| !line.contains("static-port") && !line.contains(" proto tcp "))
        .collect()
}

fn filter(d: &mut Doctor, filter: &Filter) {
    match filter {
        Filter::Absent => d.ok("pf", "is not loaded"),
        Filter::Refused(why) => {
            let finding = format!("its rules cannot be read ({why})");
            d.warn("pf", finding, "run doctor as root to know");
        }
        Filter::Rules(rules) => {
            let found = rewriting(rules);
            for rule in &found {
                let finding = format!("rewrites ports: {rule}");
                let remedy = "append static-port to that rule for voipd's ports in /etc/pf.conf; \
                              then pfctl -f /etc/pf.conf";
                d.warn("pf", finding, remedy);
            }
            if found.is_empty() {
                d.ok("pf", "no rule outside anchors rewrites UDP ports");
            }
        }
    }
}

/// Whether a rule of blocklistd.conf(5) is about a port: its first field is a port or a service,
/// after an address and a colon if there is one, or `*`.
pub(super) fn covers(rules: &str, port: u16) -> bool {
    let name = match port {
        5060 => "sip",
        5061 => "sip-tls",
        _ => "",
    };
    let fields = rules
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    fields
        .take_while(|field| *field != "[remote]")
        .filter(|field| !field.starts_with(['#', '[']) || field.contains("]:"))
        .map(|field| field.rsplit_once(':').map_or(field, |(_, port)| port))
        .any(|field| field == "*" || field == name || field.parse() == Ok(port))
}

/// A ban is shown to the daemon by the listener's port (contrib/blocklist/bin/conf.c, conf_find);
/// what no rule is about is not blocked.
fn blocklist(d: &mut Doctor, facts: &Facts, config: &Config) {
    match (&config.guard.blocklist, &facts.blocklist) {
        (Blocklist::Off, _) => d.ok("blocklistd", "is not told of bans, as configured"),
        (Blocklist::Socket(path), _) if !path.exists() => {
            let finding = format!("nobody listens at {}", path.display());
            let remedy = "service blocklistd onestart (FreeBSD 14: blacklistd), or write [guard] \
                          blocklist = \"auto\"";
            d.warn("blocklistd", finding, remedy);
        }
        (Blocklist::Socket(_), _) => d.ok("blocklistd", "is told of bans"),
        (Blocklist::Auto, None) => d.ok("blocklistd", "does not run; voipd drops by itself"),
        (Blocklist::Auto, Some((socket, rules))) => {
            let ports = config
                .sip
                .listen
                .iter()
                .map(|l| (l.transport, l.addr.port()));
            let open = ports.into_iter().find(|(_, port)| !covers(rules, *port));
            let Some((transport, port)) = open else {
                return d.ok(
                    "blocklistd",
                    format!("is told of bans at {}", socket.display()),
                );
            };
            let kind = match transport.is_reliable() {
                true => "stream",
                false => "dgram",
            };
            let file = socket.with_extension("conf");
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let finding = format!("no rule of /etc/{name} is about port {port}: bans end with us");
            let remedy = format!("below [local] of /etc/{name}: {port} {kind} * * * 3 1h");
            d.warn("blocklistd", finding, remedy);
        }
    }
}
