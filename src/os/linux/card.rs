//! What Linux says of a card and of this process, for [`CardFacts::judge`].

#![allow(unsafe_code)]

use super::hops::Interface;
use super::xdp::queues_of;
use crate::os::fast::CardFacts;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::os::fd::AsRawFd;

/// Looks; changes nothing.
pub fn facts(name: &str) -> CardFacts {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().to_owned()
    };
    let interface = Interface::find(name).ok();
    let status = read("/proc/self/status");
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let rights = rights.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    let flags = flags(name);
    let locked = getrlimit(Resource::RLIMIT_MEMLOCK).map(|(soft, _)| soft);
    CardFacts {
        name: name.into(),
        is_there: interface.is_some(),
        is_up: interface.is_some_and(|interface| interface.is_up),
        mtu: interface.map_or(0, |interface| interface.mtu.into()),
        queues: queues_of(name),
        lro: flags & LRO != 0,
        vlans: vlans(&read("/proc/net/vlan/config"), name),
        strips_tags: flags & RX_VLAN != 0,
        rights: rights.unwrap_or(0),
        locked_max: locked.ok().filter(|limit| *limit != RLIM_INFINITY),
        kernel: read("/proc/sys/kernel/osrelease"),
        translates: match read("/proc/sys/net/core/bpf_jit_enable").as_str() {
            "" => None,
            value => Some(value != "0"),
        },
    }
}

/// How many VLANs' interfaces lie upon this one, of lines such as `eth0.100 | 100 | eth0`.
fn vlans(config: &str, name: &str) -> usize {
    let trunks = config.lines().filter_map(|line| line.split('|').nth(2));
    trunks.filter(|trunk| trunk.trim() == name).count()
}

/// linux/ethtool.h: ETH_FLAG_LRO, ETH_FLAG_RXVLAN.
const LRO: u32 = 1 << 15;
const RX_VLAN: u32 = 1 << 8;

/// linux/ethtool.h: ETHTOOL_GFLAGS, struct ethtool_value; 0 where the driver does not tell.
fn flags(name: &str) -> u32 {
    #[repr(C)]
    struct Flags {
        command: u32,
        flags: u32,
    }
    const GET_FLAGS: u32 = 0x25;
    let mut flags = Flags {
        command: GET_FLAGS,
        flags: 0,
    };
    // SAFETY: whole numbers and a pointer that is set below; zeros are a value of each.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last place stays zero, as names end.
    let places = request.ifr_name.len() - 1;
    for (place, byte) in request.ifr_name.iter_mut().take(places).zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut flags).cast();
    let Ok(socket) = std::net::UdpSocket::bind("127.0.0.1:0") else {
        return 0;
    };
    // SAFETY: the request and what it points to outlive the call.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    match asked {
        0 => flags.flags,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_are_counted_by_their_trunk() {
        let text = "VLAN Dev name    | VLAN ID\n\
                    Name-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n\
                    eth0.100       | 100  | eth0\n\
                    phones         | 200  | eth0\n\
                    eth01.7        | 7  | eth01\n";
        let counts = ["eth0", "eth01", "eth0.100", ""].map(|name| vlans(text, name));
        assert_eq!(counts, [2, 1, 0, 0]);
    }

    #[test]
    fn the_loopback_is_no_card_but_this_is_linux() {
        let facts = facts("lo");
        assert!(!facts.is_there);
        assert!(facts.queues >= 1);
        assert!(facts.kernel.contains('.'), "{facts:?}");
    }
}
