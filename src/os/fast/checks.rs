//! What may stand in the way of a fast path over AF_XDP, judged from what the system says of the
//! card and of this process. Pure, and the same for `voipctl doctor` and for a start that fails.

/// What the system says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CardFacts {
    /// The interface's name.
    pub name: String,
    /// Whether there is an Ethernet interface of this name.
    pub is_there: bool,
    /// Whether it is up.
    pub is_up: bool,
    /// The longest IP packet.
    pub mtu: u32,
    /// Its receiving queues.
    pub queues: u32,
    /// Whether received segments are joined by the card (large receive offload).
    pub lro: bool,
    /// How many VLANs' interfaces lie upon it.
    pub vlans: usize,
    /// Whether the card takes tags of VLANs off.
    pub strips_tags: bool,
    /// What this process may do: bits of capabilities(7).
    pub rights: u64,
    /// The most bytes that this process may lock; `None` without a limit.
    pub locked_max: Option<u64>,
    /// `6.1.0-18-amd64`.
    pub kernel: String,
    /// Whether the kernel translates programs to machine code; `None` if it does not say.
    pub translates: Option<bool>,
}

/// How grave a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grade {
    /// It is as it should be.
    Well,
    /// It works, but worse.
    Poor,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How grave it is.
    pub grade: Grade,
    /// What was found.
    pub text: String,
    /// What mends it; empty if nothing has to be.
    pub remedy: String,
}

/// The first kernel of long support that has all that is used: programs that hang on links came
/// with 5.9.
const KERNEL_MIN: (u32, u32) = (5, 10);
/// With more, most drivers take no program: frames must lie in one page with room around them.
const MTU_MAX: u32 = 3498;
/// The most queues that are served.
pub const QUEUES_MAX: u32 = 64;
/// What a queue locks: frames and rings.
pub const BYTES_PER_QUEUE: u64 = 9 << 20;

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

impl CardFacts {
    fn may(&self, right: u32) -> bool {
        self.rights >> right & 1 == 1
    }

    /// Everything; only the first where nothing else can be said.
    pub fn judge(&self) -> Vec<Finding> {
        let name = &self.name;
        if !self.is_there {
            let text = format!("no Ethernet interface is called {name}");
            return vec![bad(text, "name one that ip link shows in [rtp] fastpath")];
        }
        vec![
            self.state(),
            self.kernel(),
            self.missing_rights(),
            self.memory(),
            self.offload(),
            self.tags(),
            self.length(),
            self.count(),
            self.translation(),
        ]
    }

    /// What is not as it should be, in a line each, for a log.
    pub fn troubles(&self) -> Vec<String> {
        let ill = self.judge().into_iter();
        let ill = ill.filter(|finding| finding.grade != Grade::Well);
        ill.map(|finding| format!("{}; {}", finding.text, finding.remedy))
            .collect()
    }

    fn state(&self) -> Finding {
        let name = &self.name;
        match self.is_up {
            true => well(format!("{name} is up")),
            false => bad(
                format!("{name} is down"),
                format!("ip link set dev {name} up"),
            ),
        }
    }

    fn kernel(&self) -> Finding {
        let mut numbers = self.kernel.split(|c: char| !c.is_ascii_digit());
        let mut next = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let version: (u32, u32) = (next(), next());
        let text = format!("Linux {}", self.kernel);
        match version >= KERNEL_MIN {
            true => well(text),
            false => bad(
                format!("{text} is too old"),
                "use Linux 5.10 or later, or write fastpath = \"off\"",
            ),
        }
    }

    fn missing_rights(&self) -> Finding {
        let may_load = self.may(CAP_BPF) || self.may(CAP_SYS_ADMIN);
        let wanted = [
            ("CAP_NET_ADMIN", self.may(CAP_NET_ADMIN)),
            ("CAP_NET_RAW", self.may(CAP_NET_RAW)),
            ("CAP_BPF", may_load),
        ];
        let missing: Vec<&str> = wanted
            .iter()
            .filter_map(|(name, has)| (!has).then_some(*name))
            .collect();
        match missing.is_empty() {
            true => well("who started this may load programs into the card".into()),
            false => poor(
                format!("who started this has no {}", missing.join(", ")),
                "start voipd as root (voipd -u USER gives it up), or with AmbientCapabilities= in \
                 its unit",
            ),
        }
    }

    fn memory(&self) -> Finding {
        let wanted = u64::from(self.queues.clamp(1, QUEUES_MAX)) * BYTES_PER_QUEUE;
        let limit = self.locked_max.filter(|_| !self.may(CAP_IPC_LOCK));
        match limit {
            Some(limit) if limit < wanted => bad(
                format!(
                    "{} kB of memory may be locked, the rings of {} queues need {} kB",
                    limit >> 10,
                    self.queues,
                    wanted >> 10
                ),
                "LimitMEMLOCK=infinity in the service's unit, or ulimit -l unlimited",
            ),
            Some(_) | None => well(format!("{} MB of memory may be locked", wanted >> 20)),
        }
    }

    fn offload(&self) -> Finding {
        let name = &self.name;
        match self.lro {
            false => well("large receive offload is off".into()),
            true => poor(
                "large receive offload is on: the card's driver takes no program then".into(),
                format!("ethtool -K {name} lro off"),
            ),
        }
    }

    fn tags(&self) -> Finding {
        let (name, vlans) = (&self.name, self.vlans);
        match (vlans, self.strips_tags) {
            (0, _) => well("no VLAN is seen upon it".into()),
            (_, false) => well(format!(
                "VLANs upon it: {vlans}; their tags are left in frames"
            )),
            (_, true) => poor(
                format!(
                    "the card takes tags off: calls in the {vlans} VLANs upon it stay on sockets"
                ),
                format!("ethtool -K {name} rxvlan off"),
            ),
        }
    }

    fn length(&self) -> Finding {
        let (name, mtu) = (&self.name, self.mtu);
        match mtu > MTU_MAX {
            false => well(format!("an MTU of {mtu}")),
            true => poor(
                format!("an MTU of {mtu}: most drivers take no program with more than {MTU_MAX}"),
                format!("ip link set dev {name} mtu 1500"),
            ),
        }
    }

    fn count(&self) -> Finding {
        let (name, queues) = (&self.name, self.queues);
        match queues > QUEUES_MAX {
            false => well(format!("queues: {queues}")),
            true => poor(
                format!("{queues} queues: those from {QUEUES_MAX} on stay with the kernel"),
                format!("ethtool -L {name} combined {QUEUES_MAX}"),
            ),
        }
    }

    fn translation(&self) -> Finding {
        match self.translates {
            Some(false) => poor(
                "the kernel interprets programs instead of translating them: slow".into(),
                "sysctl -w net.core.bpf_jit_enable=1, and in /etc/sysctl.d/voip.conf",
            ),
            Some(true) | None => well("programs are translated to machine code".into()),
        }
    }
}

fn well(text: String) -> Finding {
    Finding {
        grade: Grade::Well,
        text,
        remedy: String::new(),
    }
}

fn poor(text: String, remedy: impl Into<String>) -> Finding {
    Finding {
        grade: Grade::Poor,
        text,
        remedy: remedy.into(),
    }
}

fn bad(text: String, remedy: impl Into<String>) -> Finding {
    Finding {
        grade: Grade::Bad,
        text,
        remedy: remedy.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> CardFacts {
        CardFacts {
            name: "eth0".into(),
            is_there: true,
            is_up: true,
            mtu: 1500,
            queues: 4,
            lro: false,
            vlans: 2,
            strips_tags: false,
            rights: u64::MAX,
            locked_max: Some(8 << 20),
            kernel: "5.10.0-8-amd64".into(),
            translates: Some(true),
        }
    }

    #[test]
    fn a_good_card_has_no_troubles() {
        assert_eq!(good().troubles(), [""; 0]);
        assert_eq!(good().judge().len(), 9);
    }

    #[test]
    fn each_trouble_comes_with_its_remedy() {
        let with = |change: &dyn Fn(&mut CardFacts)| {
            let mut facts = good();
            change(&mut facts);
            facts.troubles().join("\n")
        };
        for (said, remedy) in [
            (with(&|f| f.is_there = false), "ip link shows"),
            (with(&|f| f.is_up = false), "ip link set dev eth0 up"),
            (with(&|f| f.kernel = "5.9.16".into()), "Linux 5.10 or later"),
            (with(&|f| f.kernel = String::new()), "Linux 5.10 or later"),
            (with(&|f| f.lro = true), "ethtool -K eth0 lro off"),
            (
                with(&|f| f.strips_tags = true),
                "ethtool -K eth0 rxvlan off",
            ),
            (with(&|f| f.mtu = 9000), "ip link set dev eth0 mtu 1500"),
            (with(&|f| f.queues = 65), "ethtool -L eth0 combined 64"),
            (with(&|f| f.translates = Some(false)), "bpf_jit_enable=1"),
            (with(&|f| f.rights &= !(1 << CAP_IPC_LOCK)), "LimitMEMLOCK"),
            (
                with(&|f| f.rights &= !(1 << CAP_NET_RAW)),
                "start voipd as root",
            ),
        ] {
            assert!(said.contains(remedy), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        let said = with(&|f| (f.strips_tags, f.vlans) = (true, 0));
        assert_eq!(said, "", "nothing is lost without VLANs");
        let said = with(&|f| f.rights &= !(1 << CAP_BPF | 1 << CAP_SYS_ADMIN));
        assert!(said.contains("has no CAP_BPF"), "{said}");
        assert_eq!(with(&|f| f.rights &= !(1 << CAP_BPF)), "");
    }
}
