//! Hosts are judged by texts as their tools print them, so FreeBSD's are judged here too.

use super::facts::{Directory, Facts, Filter, variables};
use super::host::Needs;
use super::*;
use crate::os::fast::CardFacts;

/// GENERIC of 14.3 as it comes, by sysctl -i.
const SYSCTL: &str = "\
kern.features.inet6: 1
kern.features.security_capabilities: 1
kern.features.security_capability_mode: 1
kern.ipc.maxsockbuf: 2097152
kern.ipc.soacceptqueue: 128
kern.maxfiles: 1043383
kern.maxfilesperproc: 939033
kern.openfiles: 512
kern.osreldate: 1403000
kern.osrelease: 14.3-RELEASE
kern.trap_enotcap: 0
net.inet.ip.portrange.first: 10000
net.inet.ip.portrange.last: 65535
net.inet.udp.maxdgram: 9216
net.inet6.ip6.v6only: 1
";

/// A network card with its offloads, one that is down, the loopback.
const IFCONFIG: &str = "\
em0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500
\toptions=4e504bb<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,JUMBO_MTU,VLAN_HWCSUM,LRO,VLAN_HWFILTER,\
RXCSUM_IPV6,TXCSUM_IPV6,HWSTATS,MEXTPG>
\tether 58:9c:fc:00:11:22
\tinet 192.0.2.10 netmask 0xffffff00 broadcast 192.0.2.255
\tmedia: Ethernet autoselect (1000baseT <full-duplex>)
\tstatus: active
igb1: flags=8802<BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu 1500
\toptions=4a500bb<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,TSO4>
\tether 58:9c:fc:00:11:23
lo0: flags=1008049<UP,LOOPBACK,RUNNING,MULTICAST,LOWER_UP> metric 0 mtu 16384
\toptions=680003<RXCSUM,TXCSUM,LINKSTATE,RXCSUM_IPV6,TXCSUM_IPV6>
\tinet 127.0.0.1 netmask 0xff000000
vtnet0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500
\toptions=80028<VLAN_MTU,JUMBO_MTU,LINKSTATE>
";

/// As pfctl -s nat and pfctl -s rules print.
const PF: &str = "\
no nat on em0 inet from 192.0.2.1 to any
nat on em0 inet proto udp from 10.0.0.0/8 port = sip to any -> (em0) round-robin static-port
nat on em0 inet from 10.0.0.0/8 to any -> (em0) round-robin
nat on em0 inet proto tcp from 10.1.0.0/16 to any -> (em0) round-robin
rdr pass on em0 inet proto udp from any to any port = sip -> 10.0.0.5
pass out on em1 inet from 10.0.0.0/8 to any flags S/SA keep state nat-to (em1) round-robin
pass all flags S/SA keep state
";

fn config(text: &str) -> Config {
    Config::parse(text, Path::new("voip.toml")).unwrap()
}

fn generic() -> Facts {
    Facts {
        variables: variables(SYSCTL),
        descriptors: Some(939_033),
        interfaces: IFCONFIG.into(),
        installed_kernel: "14.3-RELEASE\n".into(),
        netmap: Some(0o20600),
        clock_kept: Some(true),
        ..Facts::default()
    }
}

/// FreeBSD's findings that are not well, as `check: finding -> remedy`.
fn faults(facts: &Facts, text: &str, fastpath: bool) -> Vec<String> {
    let mut doctor = Doctor {
        findings: Vec::new(),
    };
    freebsd::judge(&mut doctor, facts, &config(text), fastpath);
    faults_of(doctor)
}

fn faults_of(doctor: Doctor) -> Vec<String> {
    let ill = doctor
        .findings
        .into_iter()
        .filter(|f| f.outcome != Outcome::Ok);
    ill.map(|f| format!("{:?} {}: {} -> {}", f.outcome, f.check, f.finding, f.remedy))
        .collect()
}

#[test]
fn a_card_whose_rings_have_one_thread_is_a_fault_with_a_remedy() {
    let said = |mode: &str| {
        let mut doctor = Doctor {
            findings: Vec::new(),
        };
        let row = RelayDriverRow {
            name: "netmap:ix0".into(),
            mode: mode.into(),
            ..RelayDriverRow::default()
        };
        fast_path(&mut doctor, &row);
        faults_of(doctor).concat()
    };
    assert!(said(ONE_FOR_ALL).contains("raise dev.netmap.buf_num"));
    assert_eq!(said("rings of the card and of the system, 4 threads"), "");
}

#[test]
fn hours_without_a_time_zone_are_a_fault() {
    let said = |text: &str, host: &str| {
        let mut doctor = Doctor {
            findings: Vec::new(),
        };
        zone(&mut doctor, &config(text).with_timezone(host));
        faults_of(doctor).concat()
    };
    assert_eq!(said("[voicemail]\n", "Europe/Madrid"), "");
    assert_eq!(said("", ""), "");
    let named = "[numbers]\ntimezone = \"UTC\"\n[voicemail]\n";
    assert_eq!(said(named, ""), "");
    let fault = said("[voicemail]\n", "");
    let wanted =
        "Warning time zone: none is known: the dates of voicemail are in UTC -> set timezone in";
    assert!(fault.starts_with(wanted), "{fault}");
}

fn set(facts: &mut Facts, name: &str, value: &str) {
    facts.variables.insert(name.into(), value.into());
}

#[test]
fn generic_wants_larger_buffers_a_longer_queue_and_its_ports_elsewhere() {
    let found = faults(&generic(), "", false);
    assert_eq!(
        found,
        [
            "Warning buffers: kern.ipc.maxsockbuf is 2097152: bursts of datagrams may be lost -> \
             sysctl kern.ipc.maxsockbuf=4718592, and in /etc/sysctl.conf",
            "Warning accept queue: 128 connections may wait; after a restart all phones come back \
             -> sysctl kern.ipc.soacceptqueue=1024, and in /etc/sysctl.conf",
            "Warning media ports: of [rtp] ports 16384-32767 the system lends 16384 to 32767 to any \
             program, and a call is lost where one is taken -> sysctl \
             net.inet.ip.portrange.first=32768, and in /etc/sysctl.conf",
        ]
    );
    let mut mended = generic();
    set(&mut mended, "kern.ipc.maxsockbuf", "4718592");
    set(&mut mended, "kern.ipc.soacceptqueue", "1024");
    set(&mut mended, "net.inet.ip.portrange.first", "32768");
    assert_eq!(faults(&mended, "", false), [""; 0]);
}

#[test]
fn media_ports_that_are_lent_are_said() {
    let said = |text: &str| {
        let mut found = faults(&generic(), text, false);
        found.retain(|line| line.contains("media ports"));
        found.concat()
    };
    let high = said("[rtp]\nports = \"60000-65535\"");
    assert!(high.contains("60000 to 65535") && high.ends_with("move [rtp] ports below 10000"));
    assert!(said("[rtp]\nports = \"8000-10001\"").contains("lends 10000 to 10001 to"));
    assert_eq!(said("[rtp]\nports = \"8000-9999\""), "");

    let judged = |reserved: &str| {
        let mut doctor = Doctor {
            findings: Vec::new(),
        };
        let mut facts = Facts::default();
        set(&mut facts, "net.ipv4.ip_local_port_range", "32768\t60999");
        set(&mut facts, "net.ipv4.ip_local_reserved_ports", reserved);
        let config = config("[rtp]\nports = \"32000-33999\"");
        linux::judge(&mut doctor, &facts, &config);
        let mut found = faults_of(doctor);
        found.retain(|line| line.contains("media ports"));
        found.concat()
    };
    assert!(judged("").contains("lends 32768 to 33999 to"));
    let part = judged("8080,32768-33000");
    assert!(part.contains("lends 33001 to 33999 to"), "{part}");
    let mend = "sysctl -w net.ipv4.ip_local_reserved_ports=8080,32768-33000,32000-33999";
    assert!(part.contains(mend), "{part}");
    assert_eq!(judged("32000-34000"), "");
}

#[test]
fn a_buffer_of_the_processes_that_is_refused_is_bad() {
    let needs = Needs::of(&Config::default());
    let least = freebsd::maxsockbuf_for(needs.pair_buffer);
    // What the kernel computes (sb_max_adj) is then just enough.
    assert!(least * 2048 / 2304 >= needs.pair_buffer);
    assert!((least - 1) * 2048 / 2304 < needs.pair_buffer);
    for (limit, bad) in [(least, false), (least - 1, true)] {
        let mut facts = generic();
        set(&mut facts, "kern.ipc.maxsockbuf", &limit.to_string());
        let found = faults(&facts, "", false);
        assert_eq!(
            found.iter().any(|f| f.starts_with("Bad buffers")),
            bad,
            "{found:?}"
        );
    }
}

#[test]
fn a_kernel_that_is_old_or_was_upgraded_is_said() {
    let mut facts = generic();
    facts.installed_kernel = "14.3-RELEASE-p2\n".into();
    let said = faults(&facts, "", false).concat();
    assert!(said.contains("14.3-RELEASE runs, 14.3-RELEASE-p2 is installed -> shutdown -r now"));
    set(&mut facts, "kern.osreldate", "1302001");
    set(&mut facts, "kern.osrelease", "13.2-RELEASE");
    let said = faults(&facts, "", false).concat();
    assert!(
        said.contains("Bad kernel: 13.2-RELEASE (1302001) is older than 14.0"),
        "{said}"
    );
}

#[test]
fn a_module_for_another_release_is_said() {
    let judged = |built: Option<&str>, file: bool| {
        let mut facts = generic();
        if let Some(built) = built {
            set(&mut facts, "hw.e1shim.built_for", built);
        }
        facts.module = file.then(|| "/boot/modules/e1shim.ko".into());
        let said = faults(&facts, "", false);
        said.into_iter().find(|f| f.contains(" e1shim: "))
    };
    assert_eq!(judged(None, false), None);
    assert_eq!(judged(Some("1403000"), true), None);
    let old = judged(Some("1400097"), true).unwrap();
    assert!(
        old.contains("built for 1400097, the kernel is 1403000"),
        "{old}"
    );
    let idle = judged(None, true).unwrap();
    assert!(idle.contains("/boot/modules/e1shim.ko is there, but not loaded -> kldload e1shim"));
}

#[test]
fn offloads_are_put_out_by_name() {
    let em0 = "-rxcsum -txcsum -vlanhwtag -lro -rxcsum6 -txcsum6";
    let found = freebsd::offloads(IFCONFIG);
    assert_eq!(
        found,
        [("em0".to_owned(), em0.split(' ').collect::<Vec<_>>())]
    );
    assert!(!faults(&generic(), "", false).concat().contains("offload"));
    let said = faults(&generic(), "", true).concat();
    assert!(
        said.contains(&format!("-> ifconfig em0 {em0}, and")),
        "{said}"
    );
    let other = faults(&generic(), "[rtp]\nfastpath = \"netmap:ix0\"\n", true).concat();
    assert!(!other.contains("offload"), "{other}");
}

#[test]
fn netmap_is_for_root_alone_and_there_when_asked_for() {
    let judged = |mode, fastpath| {
        let facts = Facts {
            netmap: mode,
            ..generic()
        };
        let said = faults(&facts, "", fastpath);
        said.into_iter().find(|f| f.contains(" netmap: "))
    };
    assert_eq!(judged(Some(0o20600), true), None);
    assert_eq!(judged(None, false), None);
    assert!(judged(None, true).unwrap().contains("kldload netmap"));
    assert!(judged(Some(0o20666), false).unwrap().contains("chmod 0600"));
}

#[test]
fn pf_rules_that_rewrite_ports_are_named() {
    let rules = freebsd::rewriting(PF);
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert!(rules[0].starts_with("nat on em0 inet from 10.0.0.0/8") && rules[1].contains("nat-to"));
    let judged = |filter| {
        let facts = Facts {
            filter,
            ..generic()
        };
        let said = faults(&facts, "", false);
        said.into_iter()
            .filter(|f| f.contains(" pf: "))
            .collect::<Vec<_>>()
    };
    assert_eq!(judged(Filter::Rules(PF.into())).len(), 2);
    assert_eq!(
        judged(Filter::Rules("pass all flags S/SA keep state\n".into())),
        [""; 0]
    );
    assert_eq!(judged(Filter::Absent), [""; 0]);
    let refused = judged(Filter::Refused("pfctl: /dev/pf: Permission denied".into()));
    assert!(
        refused[0].contains("run doctor as root to know"),
        "{refused:?}"
    );
}

#[test]
fn a_kernel_without_capsicum_or_with_its_trap_is_said() {
    let mut facts = generic();
    set(&mut facts, "kern.trap_enotcap", "1");
    assert!(
        faults(&facts, "", false)
            .concat()
            .contains("sysctl kern.trap_enotcap=0")
    );
    facts
        .variables
        .remove("kern.features.security_capability_mode");
    let said = faults(&facts, "", false).concat();
    assert!(
        said.contains("Bad sandbox: this kernel has no security_capability_mode"),
        "{said}"
    );
}

#[test]
fn listeners_that_ipv4_phones_miss_are_said() {
    let six = "[sip]\nlisten = [\"udp:[::]:5060\"]\n";
    let said = faults(&generic(), six, false).concat();
    assert!(
        said.contains("add \"udp:0.0.0.0:5060\" to [sip] listen"),
        "{said}"
    );
    let both = "[sip]\nlisten = [\"udp:[::]:5060\", \"udp:0.0.0.0:5060\"]\n";
    assert!(!faults(&generic(), both, false).concat().contains("ipv6"));
    let mut facts = generic();
    facts.variables.remove("kern.features.inet6");
    assert!(faults(&facts, both, false).concat().contains("Bad ipv6"));
}

#[test]
fn directories_are_closed_and_the_users() {
    let found = |path: &str, of_state, uid, mode| {
        let facts = Facts {
            user: Some(300),
            directories: vec![Directory {
                path: path.into(),
                of_state,
                uid,
                mode,
            }],
            ..generic()
        };
        let said = faults(&facts, "", false);
        said.into_iter().find(|f| f.contains(" directory: "))
    };
    let judged = |uid, mode| found("/var/db/voip", true, uid, mode);
    assert_eq!(judged(300, 0o750), None);
    assert!(
        judged(300, 0o755)
            .unwrap()
            .contains("-> chmod 0750 /var/db/voip")
    );
    assert!(judged(300, 0o777).unwrap().starts_with("Bad"));
    assert!(
        judged(0, 0o750)
            .unwrap()
            .contains("chown -R voip:voip /var/db/voip")
    );
    // As rc.d/voip makes it.
    assert_eq!(found("/var/run/voip", false, 0, 0o755), None);
    let open = found("/var/run/voip", false, 0, 0o777).unwrap();
    assert!(open.starts_with("Bad"), "{open}");
}

#[test]
fn limits_below_what_the_configuration_wants_are_said() {
    let mut facts = generic();
    facts.descriptors = Some(1_000);
    let said = faults(&facts, "", false).concat();
    let wanted = Needs::of(&Config::default()).descriptors;
    let command = format!(
        "sysctl kern.maxfilesperproc={wanted} kern.maxfiles={}",
        wanted * 2
    );
    assert!(said.contains(&command), "{said}");
    set(&mut facts, "kern.openfiles", "1000000");
    assert!(
        faults(&facts, "", false)
            .concat()
            .contains("of all the host's 1043383 files")
    );
    set(&mut facts, "net.inet.udp.maxdgram", "1000");
    assert!(
        faults(&facts, "", false)
            .concat()
            .contains("sysctl net.inet.udp.maxdgram=65535")
    );
    facts.clock_kept = Some(false);
    assert!(
        faults(&facts, "", false)
            .concat()
            .contains("sysrc ntpd_enable=YES")
    );
}

#[test]
fn linux_is_judged_by_its_own_names() {
    let text = "kernel.seccomp.actions_avail: kill_process kill_thread trap errno allow
net.core.rmem_max: 4194304
net.core.somaxconn: 4096
net.core.wmem_max: 4194304
net.ipv4.ip_local_port_range: 32768\t60999
net.ipv6.conf.all.disable_ipv6: 0
";
    let well = Facts {
        variables: variables(text),
        descriptors: Some(1 << 20),
        clock_kept: Some(true),
        landlock: Some(4),
        modules: "nf_conntrack 180224 1 nf_nat, Live 0x0\nnf_nat 49152 0 - Live 0x0\n".into(),
        ..Facts::default()
    };
    let judged = |facts: &Facts| {
        let mut doctor = Doctor {
            findings: Vec::new(),
        };
        linux::judge(&mut doctor, facts, &Config::default());
        faults_of(doctor)
    };
    assert_eq!(judged(&well), [""; 0]);
    let mut carded = well.clone();
    carded.card = Some(CardFacts {
        name: "eth7".into(),
        ..CardFacts::default()
    });
    let said = judged(&carded);
    assert_eq!(
        said,
        [
            "Bad fast path: no Ethernet interface is called eth7 -> name one that ip link shows in \
             [rtp] fastpath"
        ]
    );
    let mut ill = well;
    ill.modules += "nf_conntrack_sip 49152 0 - Live 0x0\n";
    ill.landlock = None;
    set(&mut ill, "net.core.wmem_max", "65536");
    set(&mut ill, "net.core.somaxconn", "128");
    let said = judged(&ill);
    for (line, word) in said.iter().zip([
        "lsm=landlock",
        "Bad buffers",
        "somaxconn=1024",
        "modprobe -r",
    ]) {
        assert!(line.contains(word), "{word}: {said:?}");
    }
    assert_eq!(said.len(), 4, "{said:?}");
}

#[test]
fn this_host_can_be_asked() {
    let facts = Facts::gather(&Config::default());
    assert!(facts.descriptors.is_some());
    let name = match cfg!(target_os = "freebsd") {
        true => "kern.ipc.maxsockbuf",
        false => "net.core.somaxconn",
    };
    assert!(facts.number(name).is_some_and(|n| n > 0), "{facts:?}");
}

#[test]
fn blocklistd_has_rules_for_our_ports() {
    let rules = "# comment 5060\n[local]\nssh stream * * * 3 24h\n0.0.0.0:5060 dgram * * * 3 1h\n\
                 [::]:5061 stream * * */64 3 1h\n[remote]\n5070 dgram * * * 3 1h\n";
    for (port, covered) in [(5060, true), (5061, true), (5070, false), (22, false)] {
        assert_eq!(freebsd::covers(rules, port), covered, "{port}");
    }
    assert!(freebsd::covers("[local]\n* * * * * 3 60\n", 5060));
    assert!(freebsd::covers("[local]\nsip dgram * * * 3 60\n", 5060));
    let judged = |rules: &str| {
        let facts = Facts {
            blocklist: Some(("/var/run/blacklistd.sock".into(), rules.into())),
            ..generic()
        };
        let said = faults(&facts, "[sip]\nlisten = [\"udp:0.0.0.0:5060\"]\n", false);
        said.into_iter().find(|f| f.contains(" blocklistd: "))
    };
    assert_eq!(judged(rules), None);
    let said = judged("[local]\nssh stream * * * 3 24h\n").unwrap();
    let line = "-> below [local] of /etc/blacklistd.conf: 5060 dgram * * * 3 1h";
    assert!(said.contains(line), "{said}");
}
