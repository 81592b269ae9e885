//! What the host says about itself, gathered without a judgement: system variables, interfaces,
//! packet filter, directories, the clock. Texts are kept as the system's own tools print them.

use crate::config::{Config, Fastpath};
use crate::os::blocklist::SOCKETS;
use crate::os::fast::CardFacts;
use crate::os::sys;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::User;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user that the port makes, and rc.d runs the roles as.
pub(super) const USER: &str = "voip";

/// Read where the name is known to the system; see the judges for what each means.
const FREEBSD_VARIABLES: [&str; 17] = [
    "dev.netmap.admode",
    "hw.e1shim.built_for",
    "kern.features.inet6",
    "kern.features.security_capabilities",
    "kern.features.security_capability_mode",
    "kern.ipc.maxsockbuf",
    "kern.ipc.soacceptqueue",
    "kern.maxfiles",
    "kern.maxfilesperproc",
    "kern.openfiles",
    "kern.osreldate",
    "kern.osrelease",
    "kern.trap_enotcap",
    "net.inet.ip.portrange.first",
    "net.inet.ip.portrange.last",
    "net.inet.udp.maxdgram",
    "net.inet6.ip6.v6only",
];
const LINUX_VARIABLES: [&str; 10] = [
    "fs.file-max",
    "fs.nr_open",
    "kernel.seccomp.actions_avail",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv6.conf.all.disable_ipv6",
    "net.netfilter.nf_conntrack_helper",
];

/// The rules of pf(4).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Filter {
    /// There is no pf here.
    #[default]
    Absent,
    /// It does not tell us; what it said.
    Refused(String),
    /// Its translation rules and its filter rules.
    Rules(String),
}

/// A directory of the daemon that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// Whether it has the state; else the control socket and the pid file.
    pub(super) of_state: bool,
    pub(super) uid: u32,
    pub(super) mode: u32,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) variables: BTreeMap<String, String>,
    /// What this process may open at most.
    pub(super) descriptors: Option<u64>,
    /// As ifconfig(8) prints it.
    pub(super) interfaces: String,
    /// As freebsd-version(1) prints it for the kernel that is installed.
    pub(super) installed_kernel: String,
    /// Where e1shim.ko lies.
    pub(super) module: Option<PathBuf>,
    /// The mode of /dev/netmap.
    pub(super) netmap: Option<u32>,
    pub(super) filter: Filter,
    pub(super) directories: Vec<Directory>,
    /// The uid of [`USER`].
    pub(super) user: Option<u32>,
    /// Whether something keeps the clock right; `None` if the system does not say.
    pub(super) clock_kept: Option<bool>,
    /// Where blocklistd(8) listens, and its configuration.
    pub(super) blocklist: Option<(PathBuf, String)>,
    /// /proc/modules.
    pub(super) modules: String,
    /// The version of landlock(7).
    pub(super) landlock: Option<u32>,
    /// The card of the fast path, where Linux has one.
    pub(super) card: Option<CardFacts>,
}

impl Facts {
    /// Looks; changes nothing.
    pub(super) fn gather(config: &Config) -> Self {
        let state = config.node.state_dir.as_path();
        let run = config.admin.socket.parent().filter(|run| *run != state);
        let places = [Some((state, true)), run.map(|run| (run, false))];
        let mut facts = Facts {
            // Its type differs between systems.
            #[allow(clippy::unnecessary_cast)]
            descriptors: getrlimit(Resource::RLIMIT_NOFILE)
                .ok()
                .map(|(_, hard)| hard as u64),
            directories: places.into_iter().flatten().filter_map(directory).collect(),
            user: User::from_name(USER).ok().flatten().map(|u| u.uid.as_raw()),
            clock_kept: sys::clock_kept(),
            ..Facts::default()
        };
        if cfg!(target_os = "freebsd") {
            facts.gather_freebsd();
        } else {
            facts.gather_linux();
            facts.card = card(&config.rtp.fastpath);
        }
        facts
    }

    fn gather_freebsd(&mut self) {
        // -i: a name that is not there is no error.
        let mut words = vec!["-i"];
        words.extend(FREEBSD_VARIABLES);
        self.variables = variables(&said("/sbin/sysctl", &words).unwrap_or_default());
        self.interfaces = said("/sbin/ifconfig", &["-a"]).unwrap_or_default();
        self.installed_kernel = said("/bin/freebsd-version", &["-k"]).unwrap_or_default();
        self.module = ["/boot/modules/e1shim.ko", "/boot/kernel/e1shim.ko"]
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.exists());
        self.netmap = Path::new("/dev/netmap").metadata().ok().map(|m| m.mode());
        self.blocklist = SOCKETS.iter().find_map(|socket| {
            let name = Path::new(socket).file_stem()?.to_str()?;
            Path::new(socket).exists().then(|| {
                let rules = std::fs::read_to_string(format!("/etc/{name}.conf"));
                (PathBuf::from(socket), rules.unwrap_or_default())
            })
        });
        self.filter = match Path::new("/dev/pf").exists() {
            false => Filter::Absent,
            true => ["nat", "rules"]
                .into_iter()
                .map(|what| said("/sbin/pfctl", &["-s", what]))
                .collect::<Result<String, _>>()
                .map_or_else(Filter::Refused, Filter::Rules),
        };
    }

    fn gather_linux(&mut self) {
        for name in LINUX_VARIABLES {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            if let Ok(text) = std::fs::read_to_string(path) {
                self.variables.insert(name.into(), text.trim().into());
            }
        }
        self.modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
        self.landlock = sys::landlock_version();
    }

    /// A system variable.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A system variable that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

#[cfg(target_os = "linux")]
fn card(fastpath: &Fastpath) -> Option<CardFacts> {
    match fastpath {
        Fastpath::Xdp(name) => Some(crate::os::linux::card::facts(name)),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn card(_: &Fastpath) -> Option<CardFacts> {
    None
}

fn directory((path, of_state): (&Path, bool)) -> Option<Directory> {
    let found = path.metadata().ok()?;
    Some(Directory {
        path: path.into(),
        of_state,
        uid: found.uid(),
        mode: found.mode() & 0o7777,
    })
}

/// What a program prints, or what it complains of.
fn said(program: &str, words: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(words).output();
    let output = output.map_err(|e| format!("{program}: {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// What sysctl(8) prints: a name, a colon, a value on each line.
pub(super) fn variables(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    pairs
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}
