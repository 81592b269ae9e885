//! From a name in the configuration to frames that pass: registration, its refusals, the thread.

use super::api::{self, Register};
use super::driver::Opened;
use super::fake::{Completes, Device, Kernel, Left, Shared, World};
use super::ready::{self, Facts, Interface, Mode, judge};
use super::registration::{System, Woken, look, register};
use super::tests::{OURS, PEER, arp, frame, mark_of};
use crate::config::{Fastpath, FastpathMode, NetmapPort};
use crate::os::clock::Clock;
use crate::os::fast::{Card, Changed, FromDriver, Hop, Hops, NextHop, Running, Side};
use crate::relay::{FlowNews, FlowOrder, Stream};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than any machine needs.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn port(name: &str) -> NetmapPort {
    match Fastpath::parse(&format!("netmap:{name}")) {
        Ok(Fastpath::Netmap(port)) => port,
        other => panic!("{other:?}"),
    }
}

/// Hosts behind our interface; one of them nobody knows.
#[derive(Debug)]
struct Known;

const STRANGER: &str = "198.51.100.66";

impl Hops for Known {
    fn hop(&mut self, to: IpAddr, _from: Option<IpAddr>) -> NextHop {
        if to.to_string() == STRANGER {
            return NextHop::Unknown;
        }
        NextHop::Known(Hop {
            link: 0,
            hardware_address: [2, 0, 0, 0, 0, 9],
            source: OURS.parse::<SocketAddr>().unwrap().ip(),
            mtu: 1500,
            vlan: None,
        })
    }

    fn changes(&mut self) -> Vec<Changed> {
        Vec::new()
    }
}

fn opened(devices: Vec<Device>, name: &str) -> Box<Opened> {
    let interface = Interface {
        index: 3,
        hardware_address: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        mode: Mode::Native,
    };
    let hops: Vec<Box<dyn Hops>> = vec![Box::new(Known)];
    Box::new(Opened::new(port(name), interface, boxed(devices), hops))
}

pub(super) fn boxed(devices: Vec<Device>) -> Vec<Box<dyn System>> {
    let boxed = |device| -> Box<dyn System> { Box::new(device) };
    devices.into_iter().map(boxed).collect()
}

pub(super) fn stream(destination: &str) -> Stream {
    let ours: SocketAddr = OURS.parse().unwrap();
    Stream {
        security: None,
        bind: "0.0.0.0".parse().unwrap(),
        port: ours.port(),
        source: PEER.parse().unwrap(),
        onward_bind: "0.0.0.0".parse().unwrap(),
        onward_port: ours.port() + 2,
        destination: destination.parse().unwrap(),
        clock_rate: 8000,
        has_rtcp: true,
    }
}

/// A driver at work beside the kernel of the tests.
pub(super) struct Rig {
    pub(super) world: World,
    side: Side,
    pub(super) running: Option<Running>,
    clock: Clock,
}

impl Rig {
    fn new(name: &str, change: impl FnOnce(&mut Shared)) -> Self {
        let (device, world, _) = Device::new(Kernel::new(2, 64));
        device.with(change);
        Self::of(vec![device], world, name)
    }

    pub(super) fn of(devices: Vec<Device>, world: World, name: &str) -> Self {
        Self::in_mode(devices, world, name, FastpathMode::Poll)
    }

    pub(super) fn in_mode(
        devices: Vec<Device>,
        world: World,
        name: &str,
        mode: FastpathMode,
    ) -> Self {
        let clock = Clock::new();
        let (running, mut sides) = opened(devices, name).start(clock, mode).unwrap();
        Self {
            world,
            side: sides.remove(0),
            running: Some(running),
            clock,
        }
    }

    pub(super) fn left(&self) -> Left {
        self.world.sent.recv_timeout(PATIENCE).unwrap()
    }

    pub(super) fn heard(&mut self) -> FromDriver {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(heard) = self.side.poll() {
                return heard;
            }
            assert!(Instant::now() < end, "nothing is heard of the driver");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn order(&mut self, order: FlowOrder) -> Option<(u16, FlowNews)> {
        self.side.order(self.clock.now(), order)
    }

    pub(super) fn install(&mut self) {
        let order = FlowOrder::Install(stream("198.51.100.9:5000"));
        assert_eq!(self.order(order), None);
        let heard = self.heard();
        assert!(
            matches!(heard, FromDriver::News(_, FlowNews::Installed)),
            "{heard:?}"
        );
    }

    pub(super) fn figure(&self, name: &str) -> u64 {
        let list = self.running.as_ref().unwrap().figures().list();
        list.iter().find(|(n, _)| *n == name).unwrap().1
    }
}

#[test]
fn frames_pass_and_the_card_goes_back() {
    let mut rig = Rig::new("ix0", |_| {});
    // Before any call all is the stack's, in both directions.
    rig.world.receive.send((0, frame(PEER, 0, 1))).unwrap();
    assert_eq!(rig.left(), Left::Frame(2, frame(PEER, 0, 1)));
    rig.world.receive.send((2, arp())).unwrap();
    assert_eq!(rig.left(), Left::Frame(0, arp()));
    rig.install();
    rig.world.receive.send((1, frame(PEER, 0, 2))).unwrap();
    let Left::Frame(1, sent) = rig.left() else {
        panic!("not by the ring that it came by")
    };
    assert_eq!(mark_of(&sent), 2);
    assert_eq!(sent[..12], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1]);
    assert_eq!(
        sent[26..38],
        [203, 0, 113, 1, 198, 51, 100, 9, 0x40, 2, 0x13, 0x88]
    );
    // RTCP is the worker's, a stranger's packet nobody's, ARP the stack's.
    rig.world.receive.send((0, frame(PEER, 200, 3))).unwrap();
    let FromDriver::Packet(packet) = rig.heard() else {
        panic!("news instead of a packet")
    };
    assert_eq!((packet.port, packet.source), (16384, PEER.parse().unwrap()));
    assert_eq!(packet.buffer[1], 200);
    let stranger = frame("192.0.2.8:4000", 0, 4);
    rig.world.receive.send((0, stranger)).unwrap();
    rig.world.receive.send((0, arp())).unwrap();
    assert_eq!(rig.left(), Left::Frame(2, arp()));
    assert_eq!(rig.figure("fast_path_dropped"), 1);
    assert_eq!(rig.figure("fast_path_sent"), 1);
    assert_eq!(rig.figure("fast_path_flows"), 1);
    // Without the flow its packets are the stack's again.
    assert_eq!(rig.order(FlowOrder::Remove { port: 16384 }), None);
    let FromDriver::News(16384, FlowNews::Removed(Some(stats))) = rig.heard() else {
        panic!("not removed")
    };
    assert_eq!(stats.packets, 1);
    rig.world.receive.send((0, frame(PEER, 0, 5))).unwrap();
    assert_eq!(rig.left(), Left::Frame(2, frame(PEER, 0, 5)));
    rig.running = None;
    assert_eq!(rig.left(), Left::Closed);
}

#[test]
fn a_stream_without_next_hop_stays_on_sockets() {
    let mut rig = Rig::new("ix0", |_| {});
    let order = FlowOrder::Install(stream(&format!("{STRANGER}:5000")));
    assert_eq!(rig.order(order), Some((16384, FlowNews::Refused)));
    rig.world.receive.send((0, frame(PEER, 0, 1))).unwrap();
    assert_eq!(rig.left(), Left::Frame(2, frame(PEER, 0, 1)));
    assert_eq!(rig.figure("fast_path_refused"), 1);
}

#[test]
fn what_lies_in_the_rings_leaves_before_the_card_goes_back() {
    for _ in 0..20 {
        let mut rig = Rig::new("ix0", |_| {});
        rig.install();
        rig.world.receive.send((0, frame(PEER, 0, 1))).unwrap();
        // It has passed through the table: it must leave the card, too.
        let end = Instant::now() + PATIENCE;
        while rig.figure("fast_path_sent") == 0 {
            assert!(Instant::now() < end);
        }
        rig.running = None;
        assert!(matches!(rig.left(), Left::Frame(0, _)));
        assert_eq!(rig.left(), Left::Closed);
    }
}

/// A card with one pair of eight slots, all of which are on their way out.
fn full(completes: Completes) -> (Rig, Arc<Mutex<Shared>>) {
    let (device, world, _) = Device::new(Kernel::new(1, 8));
    device.with(|shared| shared.kernel.completes = completes);
    let shared = device.shared();
    let mut rig = Rig::of(vec![device], world, "ix0");
    rig.install();
    {
        // All in one turn.
        let _held = shared.lock().unwrap();
        for mark in 0..7 {
            rig.world.receive.send((0, frame(PEER, 0, mark))).unwrap();
        }
    }
    for mark in 0..7 {
        let Left::Frame(0, sent) = rig.left() else {
            panic!("not by the ring that it came by")
        };
        assert_eq!(mark_of(&sent), mark);
    }
    (rig, shared)
}

#[test]
fn a_ring_that_was_full_once_is_taken_back() {
    let (mut rig, shared) = full(Completes::Later);
    for mark in 7..40 {
        // What the stack sends finds room, too, and so do the call's packets that come meanwhile.
        rig.world.receive.send((1, arp())).unwrap();
        assert_eq!(rig.left(), Left::Frame(0, arp()));
        rig.world.receive.send((0, frame(PEER, 0, mark))).unwrap();
        let Left::Frame(0, sent) = rig.left() else {
            panic!("not by the ring that it came by")
        };
        assert_eq!(mark_of(&sent), mark);
    }
    assert_eq!(rig.figure("fast_path_dropped"), 0);
    rig.running = None;
    drop(shared);
    assert_eq!(rig.left(), Left::Closed);
}

#[test]
fn a_card_that_does_not_send_costs_no_cpu() {
    let (mut rig, shared) = full(Completes::Never);
    rig.world.receive.send((1, arp())).unwrap();
    // Until it lies in the ring.
    let waits = |shared: &mut Shared| shared.kernel.is_waiting(1);
    let end = Instant::now() + PATIENCE;
    while !waits(&mut shared.lock().unwrap()) {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
    let (began, before) = (Instant::now(), shared.lock().unwrap().calls);
    std::thread::sleep(Duration::from_millis(100));
    let (calls, passed) = (shared.lock().unwrap().calls, began.elapsed());
    let most = passed.as_micros() / 100 + 2;
    let polls = u128::from(calls[0] - before[0]);
    assert!(polls <= most, "{polls} {most}");
    assert!(calls[2] > before[2]);
    shared.lock().unwrap().kernel.completes = Completes::AtOnce;
    assert_eq!(rig.left(), Left::Frame(0, arp()));
    rig.running = None;
    drop(shared);
    assert_eq!(rig.left(), Left::Closed);
}

#[test]
fn a_pipe_has_no_stack_behind_it() {
    let (device, _world, asked) = Device::new(Kernel::new(1, 8));
    let registered = register(boxed(vec![device]), &port("ix0{1"), 1500).unwrap();
    let (kind, name, body) = asked.recv().unwrap();
    assert_eq!((kind, name.as_str()), (api::REGISTER, "ix0{1"));
    assert_eq!((body.mode, body.flags), (api::ALL_NIC, api::EXCLUSIVE));
    drop(registered);
    let rig = Rig::new("ix0}1", |_| {});
    rig.world.receive.send((0, arp())).unwrap();
    rig.world.receive.send((0, frame(PEER, 0, 1))).unwrap();
    let end = Instant::now() + PATIENCE;
    // A datagram is a worker's, and what is none goes nowhere.
    while rig.figure("fast_path_punted") + rig.figure("fast_path_dropped") < 2 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(rig.figure("fast_path_dropped"), 1);
}

#[test]
fn the_request_is_the_documented_one() {
    let (mut device, _world, asked) = Device::new(Kernel::new(2, 8));
    let info = look(&mut device, &port("ix0")).unwrap();
    assert_eq!((info.receive_rings, info.receive_slots), (2, 8));
    let (kind, name, _) = asked.recv().unwrap();
    assert_eq!((kind, name.as_str()), (api::PORT_INFO_GET, "ix0"));
    drop(register(boxed(vec![device]), &port("ix0"), 1500).unwrap());
    let (kind, name, body) = asked.recv().unwrap();
    assert_eq!((kind, name.as_str()), (api::REGISTER, "ix0"));
    assert_eq!((body.mode, body.flags), (api::NIC_SW, api::EXCLUSIVE));
    assert_eq!((body.ring, body.extra_buffers, body.memory), (0, 0, 0));
    assert_eq!((body.host_send_rings, body.host_receive_rings), (1, 1));
}

fn refusal(change: impl FnOnce(&mut Shared), mtu: u16) -> String {
    let (device, world, _) = Device::new(Kernel::new(1, 8));
    device.with(change);
    let said = match register(boxed(vec![device]), &port("ix0"), mtu) {
        Ok(_) => panic!("not refused"),
        Err(said) => said,
    };
    // Whatever happened, the card is the stack's again.
    assert_eq!(world.sent.recv().unwrap(), Left::Closed);
    assert!(said.starts_with("[rtp] fastpath: netmap:ix0: "), "{said}");
    said
}

#[test]
fn a_refused_registration_names_the_remedy() {
    let wanted = [
        (libc::EBUSY, "fstat /dev/netmap"),
        (libc::ENXIO, "ifconfig -l"),
        (libc::ENODEV, "sysctl dev.netmap.admode=0"),
        (libc::EOPNOTSUPP, "sysctl dev.netmap.admode=0"),
        (libc::EINVAL, "FreeBSD 14 or 15"),
        (libc::ENOMEM, "dev.netmap.buf_num"),
        (libc::ENOMEM, "dev.netmap.ring_size (to 73728)"),
        (libc::ENOMEM, "dev.netmap.if_size (to 4096)"),
        (libc::EINVAL, "dev.netmap.buf_size"),
        (libc::EPERM, "as root"),
        (libc::EIO, "fastpath = \"off\""),
    ];
    for (number, remedy) in wanted {
        let said = refusal(|device| device.refused[1] = number, 1500);
        assert!(said.contains(remedy), "{number}: {said}");
    }
    let said = refusal(|device| device.refused[2] = libc::ENOMEM, 1500);
    assert!(
        said.contains("memory: ") && said.contains("buf_num"),
        "{said}"
    );
    let said = refusal(|device| device.refused[3] = libc::EPERM, 1500);
    assert!(said.contains("rights: "), "{said}");
}

#[test]
fn sizes_are_looked_at_before_they_are_used() {
    let changed = |change: fn(&mut Register)| refusal(|device| device.change = change, 1500);
    assert!(changed(|body| body.memory_bytes = 0).contains("cannot be mapped"));
    assert!(changed(|body| body.memory_bytes = u64::MAX).contains("cannot be mapped"));
    for offset in [u64::MAX, 1 << 40, 1] {
        let said = refusal(
            |device| {
                device.change = match offset {
                    u64::MAX => |body| body.offset = u64::MAX,
                    1 => |body| body.offset = 1,
                    _ => |body| body.offset = 1 << 40,
                }
            },
            1500,
        );
        assert!(said.contains("damaged: interface"), "{said}");
    }
    let said = refusal(|_| {}, 9000);
    assert!(
        said.contains("sysctl dev.netmap.buf_size=16384") && said.contains("ifconfig ix0 mtu 2030"),
        "{said}"
    );
    let (device, ..) = Device::new(Kernel::with(1, 0, 8));
    device.with(|shared| shared.hosts_max = 1);
    let said = register(boxed(vec![device]), &port("ix0"), 1500).unwrap_err();
    assert!(said.contains("one direction alone"), "{said}");
}

#[test]
fn a_kernel_of_another_version_is_named() {
    let (mut device, _world, _) = Device::new(Kernel::new(1, 8));
    device.with(|shared| shared.version = 11);
    let said = look(&mut device, &port("ix0")).unwrap_err();
    assert!(said.contains("FreeBSD 14 or 15 is needed"), "{said}");
    let (mut device, _world, _) = Device::new(Kernel::new(1, 8));
    device.with(|shared| shared.refused[0] = libc::ENXIO);
    let said = look(&mut device, &port("ix0}1")).unwrap_err();
    assert!(said.contains("other end first"), "{said}");
}

#[test]
fn a_fault_of_the_card_is_survived() {
    let rig = Rig::new("ix0", |device| device.faults = 2);
    rig.world.receive.send((0, arp())).unwrap();
    assert_eq!(rig.left(), Left::Frame(2, arp()));
}

#[test]
fn a_card_that_is_stopped_for_long_comes_back() {
    for fault in [Woken::Ready, Woken::Stopped] {
        let (device, world, _) = Device::new(Kernel::new(2, 64));
        let shared = device.shared();
        let mut rig = Rig::of(vec![device], world, "ix0");
        rig.install();
        {
            let mut shared = shared.lock().unwrap();
            (shared.faults, shared.fault) = (40, fault);
        }
        // Workers are answered meanwhile, and each question is another try.
        while shared.lock().unwrap().faults > 0 {
            assert_eq!(rig.order(FlowOrder::Query { port: 16384 }), None);
            assert!(matches!(
                rig.heard(),
                FromDriver::News(16384, FlowNews::Counted(_))
            ));
        }
        rig.world.receive.send((0, frame(PEER, 0, 1))).unwrap();
        assert!(matches!(rig.left(), Left::Frame(0, _)));
        assert_eq!(rig.figure("fast_path_up"), 1);
        rig.running = None;
        drop(shared);
        assert_eq!(rig.left(), Left::Closed);
    }
}

#[test]
fn a_card_that_is_gone_leaves_calls_on_sockets() {
    let mut rig = Rig::new("ix0", |device| {
        (device.faults, device.fault) = (u32::MAX, Woken::Gone);
    });
    let FromDriver::Lost(_) = rig.heard() else {
        panic!("the worker does not hear of it")
    };
    assert_eq!(rig.left(), Left::Closed);
    assert_eq!(rig.figure("fast_path_up"), 0);
    let figures = rig.running.as_ref().unwrap().figures();
    let said = figures.ended().unwrap();
    assert!(
        said.contains("netmap:ix0 ended") && said.contains("restart voipd"),
        "{said}"
    );
}

const WELL: Facts = Facts {
    index: 3,
    flags: ready::UP,
    supported: ready::NETMAP,
    enabled: 0,
    mtu: 1500,
    hardware_address: Some([2, 0, 0, 0, 0, 1]),
    admode: Some(0),
};

#[test]
fn an_interface_is_judged() {
    let interface = judge("ix0", &WELL).unwrap();
    assert_eq!(
        (interface.index, interface.mtu, interface.mode),
        (3, 1500, Mode::Native)
    );
    for mode in [FastpathMode::Poll, FastpathMode::Busy] {
        assert_eq!(interface.mode_for(mode), mode);
    }
    for emulated in [
        Facts {
            supported: 0,
            ..WELL
        },
        Facts {
            admode: Some(2),
            ..WELL
        },
    ] {
        let interface = judge("epair0a", &emulated).unwrap();
        assert_eq!(interface.mode, Mode::Emulated);
        assert_eq!(interface.mode_for(FastpathMode::Busy), FastpathMode::Poll);
    }
    let refused = |facts| judge("ix0", &facts).unwrap_err();
    let said = refused(Facts { index: 0, ..WELL });
    assert!(said.contains("ifconfig -l"), "{said}");
    let said = refused(Facts { flags: 0, ..WELL });
    assert!(said.contains("'ifconfig ix0 up'"), "{said}");
    let loopback = Facts {
        flags: ready::UP | ready::LOOPBACK,
        ..WELL
    };
    assert!(refused(loopback).contains("Ethernet"));
    let tunnel = Facts {
        hardware_address: None,
        ..WELL
    };
    assert!(refused(tunnel).contains("Ethernet"));
    // Buffers of iflib(4) have 4096 bytes at most; emulation copies into netmap's own.
    let long = |mtu, supported| Facts {
        mtu,
        supported,
        ..WELL
    };
    assert_eq!(judge("ix0", &long(4074, ready::NETMAP)).unwrap().mtu, 4074);
    let said = refused(long(4075, ready::NETMAP));
    assert!(said.contains("'ifconfig ix0 mtu 1500'"), "{said}");
    assert_eq!(judge("ix0", &long(9000, 0)).unwrap().mtu, 9000);
    let said = refused(Facts {
        enabled: ready::NETMAP | 1 << 1 | 1 << 8 | 1 << 4 | 1 << 22,
        ..WELL
    });
    assert!(
        said.contains("'ifconfig ix0 -txcsum -vlanhwtag -tso4 -txcsum6'"),
        "{said}"
    );
}
