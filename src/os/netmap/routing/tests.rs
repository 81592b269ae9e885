//! Messages laid out by hand after net/route.h, net/if_dl.h and netinet/in.h of FreeBSD 14.

use super::*;
use crate::base::Rng;
use crate::os::fast::{Changed, Hops, NextHop};
use crate::os::netmap::hops::{Neighbours, Tables};
use crate::os::netmap::ready::{Interface, Mode};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// struct sockaddr_in or sockaddr_in6, up to the next multiple of 8.
fn address(text: &str) -> Vec<u8> {
    match ip(text) {
        IpAddr::V4(v4) => {
            let mut bytes = vec![16, 2, 0, 0];
            bytes.extend(v4.octets());
            bytes.extend([0; 8]);
            bytes
        }
        IpAddr::V6(v6) => {
            let mut bytes = vec![28, 28, 0, 0, 0, 0, 0, 0];
            bytes.extend(v6.octets());
            bytes.extend([0; 8]);
            bytes
        }
    }
}

/// struct sockaddr_dl of an interface: number, type 6 (Ethernet), a name, perhaps an address.
fn of_link(number: u16, name: &str, mac: &[u8]) -> Vec<u8> {
    let mut bytes = vec![54, 18];
    bytes.extend(number.to_ne_bytes());
    bytes.extend([6, name.len() as u8, mac.len() as u8, 0]);
    bytes.extend(name.bytes());
    bytes.extend(mac);
    bytes.resize(56, 0);
    bytes
}

/// A mask as the kernel shortens it: 255.255.255.0 in 7 bytes.
fn mask() -> Vec<u8> {
    vec![7, 2, 0, 0, 255, 255, 255, 0]
}

pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) interface: u16,
    pub(super) flags: u32,
    pub(super) present: u32,
    pub(super) pid: i32,
    pub(super) sequence: i32,
    pub(super) error: i32,
    pub(super) mtu: u64,
    /// rmx_weight, and rmx_state.
    pub(super) state: u64,
    pub(super) addresses: Vec<Vec<u8>>,
}

impl Default for Message {
    fn default() -> Self {
        Self {
            kind: 4,
            interface: 3,
            flags: 0x1,
            present: 0,
            pid: 77,
            sequence: 9,
            error: 0,
            mtu: 0,
            state: 1,
            addresses: Vec::new(),
        }
    }
}

impl Message {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let length: usize = self.addresses.iter().map(Vec::len).sum();
        let mut bytes = ((152 + length) as u16).to_ne_bytes().to_vec();
        bytes.extend([5, self.kind]);
        bytes.extend(self.interface.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(self.flags.to_ne_bytes());
        bytes.extend(self.present.to_ne_bytes());
        bytes.extend(self.pid.to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend(self.error.to_ne_bytes());
        // rtm_fmask, rtm_inits, rmx_locks.
        bytes.extend([0; 20]);
        bytes.extend(self.mtu.to_ne_bytes());
        // rmx_hopcount, rmx_expire, and six more.
        bytes.resize(120, 0);
        bytes.extend(self.state.to_ne_bytes());
        bytes.resize(152, 0);
        bytes.extend(self.addresses.concat());
        bytes
    }
}

/// An answer by a router: destination, gateway, mask, interface, its address.
fn by_router() -> Message {
    Message {
        flags: 0x803,
        present: 0x37,
        mtu: 1492,
        addresses: vec![
            address("0.0.0.0"),
            address("192.0.2.254"),
            // An empty mask: the default route's.
            vec![0; 8],
            of_link(3, "ix0", &[2, 0, 0, 0, 0, 1]),
            address("192.0.2.1"),
        ],
        ..Message::default()
    }
}

/// An answer on the link itself: the gateway is the interface.
pub(super) fn on_link() -> Message {
    Message {
        flags: 0x1,
        present: 0x37,
        addresses: vec![
            address("192.0.2.0"),
            of_link(3, "", &[]),
            mask(),
            of_link(3, "ix0", &[2, 0, 0, 0, 0, 1]),
            address("192.0.2.1"),
        ],
        ..Message::default()
    }
}

/// An entry of ARP as the list has it: whose, and the hardware address in the gateway's place.
fn entry(of: &str, interface: u16, mac: &[u8]) -> Vec<u8> {
    let message = Message {
        interface,
        flags: 0x405,
        present: 0x3,
        addresses: vec![address(of), of_link(interface, "", mac)],
        ..Message::default()
    };
    message.bytes()
}

#[test]
fn the_question_is_as_route_h_has_it() {
    let v4 = question(ip("198.51.100.7"), 0x0102_0304);
    assert_eq!(v4.len(), 152 + 16 + 56);
    assert_eq!(v4[..2], (224u16).to_ne_bytes());
    assert_eq!(v4[2..4], [5, 4]);
    assert_eq!(v4[8..12], 1u32.to_ne_bytes());
    assert_eq!(v4[12..16], 0x11u32.to_ne_bytes());
    assert_eq!(v4[20..24], 0x0102_0304i32.to_ne_bytes());
    assert_eq!(v4[152..160], [16, 2, 0, 0, 198, 51, 100, 7]);
    assert_eq!(v4[168..170], [54, 18]);
    let v6 = question(ip("2001:db8::7"), 1);
    assert_eq!(v6.len(), 152 + 32 + 56);
    assert_eq!(v6[152..154], [28, 28]);
    assert_eq!(v6[160..164], [0x20, 1, 0x0d, 0xb8]);
    assert_eq!(v6[184..186], [54, 18]);
}

#[test]
fn an_answer_is_told_from_others() {
    let bytes = on_link().bytes();
    assert!(is_answer(&bytes, 9, 77));
    assert!(!is_answer(&bytes, 8, 77) && !is_answer(&bytes, 9, 78));
    let added = Message {
        kind: 1,
        ..on_link()
    };
    assert!(!is_answer(&added.bytes(), 9, 77));
    // RTM_IFINFO and its like are shorter than a struct rt_msghdr may be, and of another layout.
    assert!(!is_answer(&bytes[..100], 9, 77));
}

#[test]
fn ways_are_read() {
    let direct = Way {
        interface: 3,
        gateway: None,
        mtu: None,
    };
    assert_eq!(way(&on_link().bytes()), Some(direct));
    let routed = Way {
        interface: 3,
        gateway: Some(ip("192.0.2.254")),
        mtu: Some(1492),
    };
    assert_eq!(way(&by_router().bytes()), Some(routed));
    // The kernel writes the interface's number into a link's own address.
    let mut six = by_router();
    six.addresses[0] = address("::");
    six.addresses[1] = address("fe80:3::1");
    let gateway = way(&six.bytes()).unwrap().gateway;
    assert_eq!(gateway, Some(ip("fe80::1")));
}

#[test]
fn what_is_no_unicast_way_is_none() {
    for flag in [0x8, 0x1000, 0x20_0000, 0x40_0000, 0x80_0000] {
        let message = Message {
            flags: flag | 0x1,
            ..on_link()
        };
        assert_eq!(way(&message.bytes()), None, "{flag:x}");
    }
    let down = Message {
        flags: 0,
        ..on_link()
    };
    assert_eq!(way(&down.bytes()), None);
    // ESRCH.
    let failed = Message {
        error: 3,
        ..on_link()
    };
    assert_eq!(way(&failed.bytes()), None);
    // A gateway that is an interface, and yet a gateway.
    let odd = Message {
        flags: 0x3,
        ..on_link()
    };
    assert_eq!(way(&odd.bytes()), None);
    let mut old = on_link().bytes();
    old[2] = 4;
    assert_eq!(way(&old), None);
}

#[test]
fn neighbours_are_read() {
    let mut list = entry("192.0.2.254", 3, &[2, 0, 0, 0, 0, 0xfe]);
    // Being asked for: it has no address yet.
    list.extend(entry("192.0.2.7", 3, &[]));
    list.extend(entry("192.0.2.8", 3, &[0; 6]));
    list.extend(entry("2001:db8::7", 4, &[2, 0, 0, 0, 0, 7]));
    // Something longer than Ethernet's.
    list.extend(entry("192.0.2.9", 3, &[1; 8]));
    list.extend(entry("fe80:4::9", 4, &[2, 0, 0, 0, 0, 9]));
    let found: Vec<_> = neighbours(&list)
        .map(|n| (n.address.to_string(), n.interface, n.hardware_address[5]))
        .collect();
    let wanted = [
        ("192.0.2.254".to_owned(), 3, 0xfe),
        ("2001:db8::7".to_owned(), 4, 7),
        ("fe80::9".to_owned(), 4, 9),
    ];
    assert_eq!(found, wanted);
    // One that is cut off ends the list.
    let cut = &list[..list.len() - 1];
    assert_eq!(neighbours(cut).count(), 2);
    // A length of nothing must not turn in circles.
    let mut stuck = list.clone();
    stuck[..2].copy_from_slice(&0u16.to_ne_bytes());
    assert_eq!(neighbours(&stuck).count(), 0);
}

#[test]
fn a_neighbour_of_ipv6_says_whether_it_is_stale() {
    // NOSTATE, INCOMPLETE, REACHABLE, STALE, DELAY, PROBE.
    for (state, is_stale) in [
        (-2, false),
        (0, false),
        (1, false),
        (2, true),
        (3, false),
        (4, false),
    ] {
        for (of, is_six) in [("2001:db8::7", true), ("192.0.2.7", false)] {
            let message = Message {
                flags: 0x405,
                present: 0x3,
                state: i64::cast_unsigned(state),
                addresses: vec![address(of), of_link(3, "", &[2, 0, 0, 0, 0, 7])],
                ..Message::default()
            };
            let found: Vec<_> = neighbours(&message.bytes()).collect();
            assert_eq!(found[0].is_stale, is_stale && is_six, "{of} {state}");
        }
    }
}

#[test]
fn no_bytes_do_harm() {
    let mut rng = Rng::from_u64(14);
    let good = [by_router().bytes(), on_link().bytes()].concat();
    for round in 0..20_000 {
        let mut bytes = match round % 2 {
            0 => (0..rng.below(600)).map(|_| rng.below(256) as u8).collect(),
            _ => good.clone(),
        };
        for _ in 0..rng.below(6) {
            let at = rng.below(bytes.len().max(1) as u64) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = rng.below(256) as u8;
            }
        }
        bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize + 150);
        // Bounded, and without a panic.
        assert!(neighbours(&bytes).count() <= bytes.len() / HEADER_BYTES);
        way(&bytes);
        is_answer(&bytes, 9, 77);
    }
}

/// Tables of the tests, and how often the list was asked for.
#[derive(Clone, Debug, Default)]
struct Fixed(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    ways: BTreeMap<IpAddr, Way>,
    list: Vec<Neighbour>,
    asked: u32,
    changed: Change,
    /// Nothing is answered.
    silent: bool,
}

impl Tables for Fixed {
    fn way(&mut self, to: IpAddr) -> io::Result<Option<Way>> {
        let inner = self.0.lock().unwrap();
        match inner.silent {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(inner.ways.get(&to).copied()),
        }
    }

    fn source(&mut self, _to: IpAddr) -> Option<IpAddr> {
        Some(ip("192.0.2.1"))
    }

    fn neighbours(&mut self, _of: IpAddr) -> Vec<Neighbour> {
        let mut inner = self.0.lock().unwrap();
        inner.asked += 1;
        inner.list.clone()
    }

    fn changed(&mut self) -> Change {
        std::mem::take(&mut self.0.lock().unwrap().changed)
    }
}

fn interface() -> Interface {
    Interface {
        index: 3,
        hardware_address: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        mode: Mode::Native,
    }
}

#[test]
fn hops_follow_the_tables() {
    let fixed = Fixed::default();
    let mut hops = Neighbours::new(fixed.clone(), interface());
    let neighbour = |address: &str, interface, last| Neighbour {
        address: ip(address),
        interface,
        hardware_address: [2, 0, 0, 0, 0, last],
        is_stale: false,
    };
    {
        let mut inner = fixed.0.lock().unwrap();
        let mut put = |to: &str, interface, gateway: Option<&str>, mtu| {
            let gateway = gateway.map(ip);
            let way = Way {
                interface,
                gateway,
                mtu,
            };
            inner.ways.insert(ip(to), way);
        };
        put("192.0.2.7", 3, None, None);
        put("198.51.100.7", 3, Some("192.0.2.254"), Some(1400));
        put("198.51.100.8", 3, Some("192.0.2.254"), Some(9000));
        put("203.0.113.7", 4, None, None);
        put("192.0.2.99", 3, None, None);
        inner.list = vec![
            neighbour("192.0.2.7", 3, 7),
            neighbour("192.0.2.254", 3, 0xfe),
            // The same address behind another interface is another host.
            neighbour("192.0.2.7", 4, 8),
        ];
    }
    let hop = hops.hop(ip("192.0.2.7"), None).known().unwrap();
    assert_eq!((hop.hardware_address[5], hop.mtu), (7, 1500));
    assert_eq!(hop.source, ip("192.0.2.1"));
    let hop = hops.hop(ip("198.51.100.7"), None).known().unwrap();
    assert_eq!((hop.hardware_address[5], hop.mtu), (0xfe, 1400));
    // The address that they are to leave with is ours to say.
    let hop = hops.hop(ip("198.51.100.7"), Some(ip("192.0.2.2")));
    assert_eq!(hop.known().unwrap().source, ip("192.0.2.2"));
    // No route makes packets longer than the interface's.
    assert_eq!(
        hops.hop(ip("198.51.100.8"), None).known().unwrap().mtu,
        1500
    );
    // By another interface, without a route: the sockets'.
    for other in ["203.0.113.7", "192.0.2.100"] {
        assert_eq!(hops.hop(ip(other), None), NextHop::Elsewhere, "{other}");
    }
    assert_eq!(
        hops.hop(ip("192.0.2.99"), None),
        NextHop::Unknown,
        "no entry"
    );
    fixed.0.lock().unwrap().silent = true;
    assert_eq!(hops.hop(ip("192.0.2.7"), None), NextHop::Unknown);
    fixed.0.lock().unwrap().silent = false;
    assert_eq!(
        fixed.0.lock().unwrap().asked,
        1,
        "one list for all of these"
    );
    let new = neighbour("192.0.2.254", 3, 0xfd);
    {
        let mut inner = fixed.0.lock().unwrap();
        inner.list[1] = new;
        inner.changed = Change::Tables;
    }
    let hop = hops.hop(ip("198.51.100.7"), None).known().unwrap();
    assert_eq!(hop.hardware_address[5], 0xfd);
    // A neighbour of IPv6 that comes or goes costs IPv4's list nothing.
    let asked = fixed.0.lock().unwrap().asked;
    fixed.0.lock().unwrap().changed = Change::Neighbours;
    assert!(hops.hop(ip("198.51.100.7"), None).known().is_some());
    assert_eq!(fixed.0.lock().unwrap().asked, asked);
    // Whoever asks for changes hears of those, too, that were seen meanwhile; once.
    assert_eq!(hops.changes(), [Changed::All]);
    assert_eq!(hops.changes(), []);
    fixed.0.lock().unwrap().changed = Change::Tables;
    assert_eq!(hops.changes(), [Changed::All]);
}

#[test]
fn neighbours_that_come_and_go_cost_a_list_now_and_then() {
    let fixed = Fixed::default();
    let mut hops = Neighbours::new(fixed.clone(), interface());
    let way = Way {
        interface: 3,
        gateway: None,
        mtu: None,
    };
    fixed.0.lock().unwrap().ways.insert(ip("2001:db8::7"), way);
    let mut ask = || {
        fixed.0.lock().unwrap().changed = Change::Neighbours;
        assert_eq!(hops.hop(ip("2001:db8::7"), None), NextHop::Unknown);
        fixed.0.lock().unwrap().asked
    };
    let began = std::time::Instant::now();
    let mut asked = 0;
    for _ in 0..1000 {
        asked = ask();
    }
    let most = 1 + began.elapsed().as_millis() / 250;
    assert!(u128::from(asked) <= most, "{asked} {most}");
    // Sooner than the list is old.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(ask(), asked + 1);
}
