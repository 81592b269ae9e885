//! Whether an interface can be netmap's: what ifconfig(8) shows of it, judged. Pure, so that the
//! tests of any system judge.

use crate::config::FastpathMode;
use serde::{Deserialize, Serialize};

/// sys/net/if.h, IFF_UP.
pub const UP: u32 = 0x1;
/// IFF_LOOPBACK.
pub const LOOPBACK: u32 = 0x8;
/// IFCAP_NETMAP: the driver itself knows netmap.
pub const NETMAP: u32 = 1 << 20;

/// What netmap(4) cannot have: an interface in netmap mode gets and gives frames that are complete.
/// The bit of IFCAP_*, its name in ifconfig(8)'s `options`, and the word that puts it out. Without
/// these VLAN_HWCSUM and VLAN_HWTSO do nothing, and not every driver can put them out (vtnet(4)).
pub const OFFLOADS: [(u32, &str, &str); 8] = [
    (1 << 0, "RXCSUM", "-rxcsum"),
    (1 << 1, "TXCSUM", "-txcsum"),
    (1 << 4, "VLAN_HWTAGGING", "-vlanhwtag"),
    (1 << 8, "TSO4", "-tso4"),
    (1 << 9, "TSO6", "-tso6"),
    (1 << 10, "LRO", "-lro"),
    (1 << 21, "RXCSUM_IPV6", "-rxcsum6"),
    (1 << 22, "TXCSUM_IPV6", "-txcsum6"),
];

/// The longest buffer that drivers on iflib(4) receive into, whatever dev.netmap.buf_size says
/// (iflib_calc_rx_mbuf_sz): a longer frame comes in several (NS_MOREFRAG).
const NATIVE_BUFFER_BYTES: u32 = 4096;
/// Of a frame, besides the IP packet: header of Ethernet, a tag, and the check sequence.
const FRAME_BYTES: u32 = 22;

/// dev.netmap.admode: 2 emulates whatever the driver knows (sys/dev/netmap/netmap.c).
const ADMODE_GENERIC: u32 = 2;

/// What the kernel says of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Its number; 0: there is none of that name.
    pub index: u32,
    /// IFF_*.
    pub flags: u32,
    /// IFCAP_* that it could have.
    pub supported: u32,
    /// IFCAP_* that it has.
    pub enabled: u32,
    /// The longest IP packet.
    pub mtu: u32,
    /// If it is of Ethernet.
    pub hardware_address: Option<[u8; 6]>,
    /// dev.netmap.admode, if it can be read.
    pub admode: Option<u32>,
}

/// An interface that can be netmap's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its hardware address.
    pub hardware_address: [u8; 6],
    /// The longest IP packet.
    pub mtu: u16,
    /// Who does netmap's work for it.
    pub mode: Mode,
}

impl Interface {
    /// How its threads wait, if they are to wait like that. They sleep where the kernel emulates:
    /// there the interface may still hold a frame when its buffer is looked for, and FreeBSD 14.0
    /// panics over an epair(4) that is synchronized without pause (in `generic_mbuf_dtor`).
    pub fn mode_for(&self, wanted: FastpathMode) -> FastpathMode {
        if (self.mode, wanted) == (Mode::Emulated, FastpathMode::Busy) {
            tracing::warn!(
                "[rtp] fastpath_mode: \"busy\" is for cards whose driver knows netmap; the kernel \
                 emulates it for this one, so threads sleep between packets as with \"poll\""
            );
            return FastpathMode::Poll;
        }
        wanted
    }
}

/// Who does netmap's work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// The driver of the card.
    Native,
    /// The kernel, by copies: slower, and tags of VLANs are lost.
    Emulated,
}

/// What there is, or what is wrong with it and the remedy.
pub fn judge(name: &str, facts: &Facts) -> Result<Interface, String> {
    let refuse = |what: &str| Err(format!("[rtp] fastpath: {name}: {what}"));
    if facts.index == 0 {
        return refuse("there is no such interface; 'ifconfig -l' names all");
    }
    let ethernet = facts.hardware_address.filter(|mac| *mac != [0; 6]);
    let (Some(hardware_address), 0) = (ethernet, facts.flags & LOOPBACK) else {
        return refuse("netmap is for interfaces of Ethernet; 'ifconfig -l ether' names them");
    };
    if facts.flags & UP == 0 {
        return refuse(&format!("the interface is down; run 'ifconfig {name} up'"));
    }
    let on = OFFLOADS.iter().filter(|(bit, ..)| facts.enabled & bit != 0);
    let words: Vec<_> = on.map(|(.., word)| *word).collect();
    if !words.is_empty() {
        let words = words.join(" ");
        return refuse(&format!(
            "the card does what netmap cannot; run 'ifconfig {name} {words}', and write the same \
             words in rc.conf's ifconfig_{name}"
        ));
    }
    let native = facts.supported & NETMAP != 0 && facts.admode != Some(ADMODE_GENERIC);
    if native && facts.mtu.saturating_add(FRAME_BYTES) > NATIVE_BUFFER_BYTES {
        return refuse(&format!(
            "its MTU is {}, and frames of more than {} bytes come in several buffers of the card; \
             run 'ifconfig {name} mtu 1500'",
            facts.mtu, NATIVE_BUFFER_BYTES
        ));
    }
    let mode = match native {
        true => Mode::Native,
        false => Mode::Emulated,
    };
    Ok(Interface {
        index: facts.index,
        hardware_address,
        mtu: u16::try_from(facts.mtu).unwrap_or(u16::MAX),
        mode,
    })
}
