//! A card with several pairs of rings: who binds which, the threads, and what they leave.

use super::api::{self, PortInfo, Register};
use super::fake::{Device, Kernel, Left, Shared, World};
use super::port_tests::{PATIENCE, Rig, boxed, port};
use super::registration::{Woken, descriptors, owners, register, threads};
use super::tests::{PEER, arp, frame, mark_of};
use crate::config::FastpathMode;
use crate::os::fast::FromDriver;
use crate::relay::{FlowNews, FlowOrder};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The descriptors of the holder and of two threads.
const TWO: [usize; 3] = [2, 2, 2];

type Asked = Receiver<(u16, String, Register)>;

fn spread(hosts: usize) -> (Vec<Device>, World, Asked, Arc<Mutex<Shared>>) {
    let (devices, world, asked) = Device::owners(Kernel::with(2, hosts, 64), &TWO);
    let shared = devices[0].shared();
    (devices, world, asked, shared)
}

fn rig(hosts: usize) -> (Rig, Asked, Arc<Mutex<Shared>>) {
    let (devices, world, asked, shared) = spread(hosts);
    (Rig::of(devices, world, "ix0"), asked, shared)
}

/// Mode, ring, pairs of the stack, and whether nobody else may have it.
fn requests(asked: &Asked) -> Vec<(u32, u16, u16, bool)> {
    let request = |(kind, name, body): (u16, String, Register)| {
        assert_eq!((kind, name.as_str()), (api::REGISTER, "ix0"));
        assert_eq!(body.host_send_rings, body.host_receive_rings);
        let exclusive = body.flags == api::EXCLUSIVE;
        (body.mode, body.ring, body.host_send_rings, exclusive)
    };
    asked.try_iter().map(request).collect()
}

#[test]
fn each_pair_of_rings_has_a_thread() {
    let (mut rig, asked, shared) = rig(2);
    let wanted = [
        (api::NIC_SW, 0, 2, true),
        (api::NIC_SW, 0, 2, false),
        (api::ONE_NIC, 0, 0, false),
        (api::ONE_SW, 0, 0, false),
        (api::ONE_NIC, 1, 0, false),
        (api::ONE_SW, 1, 0, false),
    ];
    assert_eq!(requests(&asked), wanted);
    // Both tables have the flow: its packets leave by the pair that they came by.
    rig.install();
    for (pair, mark) in [(0, 1), (1, 2), (0, 3)] {
        rig.world
            .receive
            .send((pair, frame(PEER, 0, mark)))
            .unwrap();
        let Left::Frame(by, sent) = rig.left() else {
            panic!("not by the ring that it came by")
        };
        assert_eq!((by, mark_of(&sent)), (pair, mark));
    }
    // Each pair of the card has one of the stack.
    for (from, to) in [(0, 2), (1, 3), (2, 0), (3, 1)] {
        rig.world.receive.send((from, arp())).unwrap();
        assert_eq!(rig.left(), Left::Frame(to, arp()));
    }
    // A stranger, by either.
    for pair in [0, 1] {
        let stranger = frame("192.0.2.8:4000", 0, 4);
        rig.world.receive.send((pair, stranger)).unwrap();
    }
    let end = Instant::now() + PATIENCE;
    while rig.figure("fast_path_dropped") < 2 {
        assert!(Instant::now() < end);
    }
    assert_eq!(rig.order(FlowOrder::Remove { port: 16384 }), None);
    let FromDriver::News(16384, FlowNews::Removed(Some(stats))) = rig.heard() else {
        panic!("not removed")
    };
    assert_eq!((stats.packets, stats.dropped[0]), (3, 2));
    let figures = Arc::clone(rig.running.as_ref().unwrap().figures());
    rig.running = None;
    let row = figures.row();
    let queues = row.queues.iter();
    let counts: Vec<_> = queues
        .map(|q| (q.number, q.received, q.sent, q.room))
        .collect();
    assert_eq!(counts, [(0, 4, 2, 63), (1, 3, 1, 63)]);
    assert_eq!(row.drops["stray"], 2);
    // The probe's coming and going, then all at once.
    let shared = Arc::into_inner(shared).unwrap().into_inner().unwrap();
    assert_eq!(shared.resets, 4);
    let seen: Vec<_> = shared.pinned.values().copied().collect();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|cpus| cpus.count_ones() == 1), "{seen:?}");
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert!(cpus == 1 || seen[0] != seen[1], "{seen:?}");
    drop(shared);
    assert_eq!(rig.left(), Left::Closed);
}

#[test]
fn a_pair_that_another_program_has_refuses_all() {
    let (devices, _world, _asked, shared) = spread(2);
    shared.lock().unwrap().users[1] = 1;
    let said = register(boxed(devices), &port("ix0"), 1500).unwrap_err();
    assert!(said.contains("fstat /dev/netmap"), "{said}");
    let mut left = shared.lock().unwrap();
    assert_eq!((left.users.as_slice(), left.resets), (&[0, 1, 0, 0][..], 0));
    left.users[1] = 0;
}

#[test]
fn a_second_voipd_is_refused() {
    let (devices, world, _asked, shared) = spread(2);
    let others = devices[0].others(&TWO);
    let mut rig = Rig::of(devices, world, "ix0");
    let said = register(boxed(others), &port("ix0"), 1500).unwrap_err();
    assert!(said.contains("fstat /dev/netmap"), "{said}");
    rig.world.receive.send((1, arp())).unwrap();
    assert_eq!(rig.left(), Left::Frame(3, arp()));
    rig.running = None;
    drop(shared);
    assert_eq!(rig.left(), Left::Closed);
}

#[test]
fn without_rings_of_the_stack_one_thread_serves_all() {
    // There is no memory for more of them; the kernel does not know of more.
    for (hosts, hosts_max) in [(2, 1), (1, 2)] {
        let (devices, world, asked, shared) = spread(hosts);
        shared.lock().unwrap().hosts_max = hosts_max;
        let mut rig = Rig::of(devices, world, "ix0");
        let wanted = [(api::NIC_SW, 0, 2, true), (api::NIC_SW, 0, 1, true)];
        assert_eq!(requests(&asked), wanted);
        rig.install();
        for pair in [0, 1] {
            rig.world.receive.send((pair, frame(PEER, 0, 1))).unwrap();
            assert!(matches!(rig.left(), Left::Frame(by, _) if by == pair));
        }
        rig.world.receive.send((1, arp())).unwrap();
        assert_eq!(rig.left(), Left::Frame(1 + hosts, arp()));
        let figures = Arc::clone(rig.running.as_ref().unwrap().figures());
        rig.running = None;
        let row = figures.row();
        let received: Vec<_> = row.queues.iter().map(|q| q.received).collect();
        assert_eq!(received, [1, 2]);
        drop(shared);
        assert_eq!(rig.left(), Left::Closed);
    }
}

#[test]
fn one_thread_that_ends_takes_all_with_it() {
    let (mut rig, _asked, shared) = rig(2);
    rig.install();
    for pair in [0, 1] {
        rig.world.receive.send((pair, frame(PEER, 0, 1))).unwrap();
        assert!(matches!(rig.left(), Left::Frame(by, _) if by == pair));
    }
    {
        let mut shared = shared.lock().unwrap();
        (shared.faults, shared.faulty) = (u32::MAX, 1);
        shared.fault = Woken::Gone;
    }
    drop(shared);
    let FromDriver::Lost(left) = rig.heard() else {
        panic!("the worker does not hear of it")
    };
    let packets: Vec<_> = left.iter().map(|(port, s)| (*port, s.packets)).collect();
    assert_eq!(packets, [(16384, 2)]);
    assert_eq!(rig.left(), Left::Closed);
    let figures = rig.running.as_ref().unwrap().figures();
    assert!(figures.ended().unwrap().contains("netmap:ix0 ended"));
}

#[test]
fn what_lies_in_the_rings_of_all_leaves_before_the_card_goes_back() {
    for _ in 0..20 {
        let (mut rig, _asked, shared) = rig(2);
        drop(shared);
        rig.install();
        for pair in [0, 1] {
            rig.world.receive.send((pair, frame(PEER, 0, 1))).unwrap();
        }
        let end = Instant::now() + PATIENCE;
        while rig.figure("fast_path_sent") < 2 {
            assert!(Instant::now() < end);
        }
        rig.running = None;
        let mut left = [rig.left(), rig.left()].map(|left| match left {
            Left::Frame(pair, _) => pair,
            Left::Closed => panic!("a frame is lost"),
        });
        left.sort_unstable();
        assert_eq!((left, rig.left()), ([0, 1], Left::Closed));
    }
}

#[test]
fn each_thread_keeps_the_order_of_its_rings_and_loses_nothing() {
    for mode in [FastpathMode::Poll, FastpathMode::Busy] {
        let (devices, world, _asked, shared) = spread(2);
        drop(shared);
        let mut rig = Rig::in_mode(devices, world, "ix0", mode);
        rig.install();
        let mut mark = 0;
        for _ in 0..100 {
            let mut wanted = [const { Vec::new() }; 4];
            for n in 0..16 {
                mark += 1;
                for pair in 0..4 {
                    // By the card: a flow's, and what is the stack's; by the stack: all.
                    let (to, source) = match (pair < 2, n % 4 == 0) {
                        (true, false) => (pair, PEER),
                        (true, true) => (pair + 2, PEER),
                        (false, _) => (pair - 2, "203.0.113.1:9"),
                    };
                    let mut one = frame(source, 0, mark);
                    if to == pair + 2 {
                        // To another host, which the card brought all the same.
                        one[12] = 9;
                    }
                    rig.world.receive.send((pair, one)).unwrap();
                    wanted[to].push(mark);
                }
            }
            let mut came = [const { Vec::new() }; 4];
            for _ in 0..64 {
                let Left::Frame(by, sent) = rig.left() else {
                    panic!("closed")
                };
                // By its source port.
                came[by].push((u16::from_be_bytes([sent[34], sent[35]]), mark_of(&sent)));
            }
            for (came, wanted) in came.iter_mut().zip(&wanted) {
                // Two rings meet in one of the card's; each keeps its order there.
                for is_stacks in [false, true] {
                    let of_one = came.iter().filter(|(port, _)| (*port == 9) == is_stacks);
                    assert!(of_one.is_sorted_by_key(|(_, mark)| mark));
                }
                came.sort_unstable_by_key(|(_, mark)| *mark);
                let marks = came.iter().map(|(_, mark)| mark);
                assert!(marks.eq(wanted), "{came:?} {wanted:?}");
            }
        }
        assert_eq!(rig.figure("fast_path_dropped"), 0);
        rig.running = None;
        // The fake kernel looks for each buffer then.
        assert_eq!(rig.left(), Left::Closed);
    }
}

#[test]
fn busy_threads_carry_as_sleeping_ones_do() {
    let (devices, world, _asked, shared) = spread(2);
    let mut rig = Rig::in_mode(devices, world, "ix0", FastpathMode::Busy);
    rig.install();
    for (pair, mark) in [(0, 1), (1, 2)] {
        let one = frame(PEER, 0, mark);
        rig.world.receive.send((pair, one)).unwrap();
        let Left::Frame(by, sent) = rig.left() else {
            panic!("not by the ring that it came by")
        };
        assert_eq!((by, mark_of(&sent)), (pair, mark));
    }
    rig.world.receive.send((3, arp())).unwrap();
    assert_eq!(rig.left(), Left::Frame(1, arp()));
    assert_eq!(rig.order(FlowOrder::Remove { port: 16384 }), None);
    let FromDriver::News(16384, FlowNews::Removed(Some(stats))) = rig.heard() else {
        panic!("not removed")
    };
    assert_eq!(stats.packets, 2);
    // One look in a second for each, and one at the end; all else without sleep.
    let end = Instant::now() + PATIENCE;
    while shared.lock().unwrap().calls[1] < 1000 {
        assert!(Instant::now() < end);
    }
    let [polls, looks, _] = shared.lock().unwrap().calls;
    assert!(polls < looks / 10, "{polls} {looks}");
    rig.running = None;
    drop(shared);
    assert_eq!(rig.left(), Left::Closed);
}

#[test]
fn a_busy_thread_hears_that_its_card_is_gone() {
    let (devices, world, _asked, shared) = spread(2);
    let mut rig = Rig::in_mode(devices, world, "ix0", FastpathMode::Busy);
    {
        let mut shared = shared.lock().unwrap();
        (shared.faults, shared.faulty) = (u32::MAX, 0);
        shared.fault = Woken::Gone;
    }
    drop(shared);
    let FromDriver::Lost(_) = rig.heard() else {
        panic!("the worker does not hear of it")
    };
    assert_eq!(rig.left(), Left::Closed);
}

#[test]
fn a_failure_on_the_way_gives_the_card_back() {
    for step in [2, 3] {
        let (devices, world, _asked, shared) = spread(2);
        shared.lock().unwrap().refused[step] = libc::EPERM;
        let said = register(boxed(devices), &port("ix0"), 1500).unwrap_err();
        assert!(said.contains("as root"), "{said}");
        drop(shared);
        assert_eq!(world.sent.recv().unwrap(), Left::Closed);
    }
    let (devices, world, _asked, shared) = spread(2);
    shared.lock().unwrap().change = |body| body.memory = body.mode as u16;
    let said = register(boxed(devices), &port("ix0"), 1500).unwrap_err();
    assert!(said.contains("memories of their own"), "{said}");
    drop(shared);
    assert_eq!(world.sent.recv().unwrap(), Left::Closed);
}

#[test]
fn descriptors_are_reckoned_and_handed_out() {
    let info = |send, receive| PortInfo {
        send_rings: send,
        receive_rings: receive,
        ..PortInfo::default()
    };
    let wanted = [
        ("ix0", info(1, 1), 1),
        ("ix0", info(4, 4), 4),
        ("ix0", info(64, 64), 64),
        ("ix0", info(65, 65), 1),
        ("ix0", info(2, 4), 1),
        ("ix0{1", info(4, 4), 1),
    ];
    for (name, info, wanted) in wanted {
        assert_eq!(threads(&port(name), &info), wanted, "{name} {info:?}");
    }
    assert_eq!([1, 2, 4].map(descriptors), [1, 6, 10]);
    assert_eq!(owners(vec![7]).unwrap(), [[7]]);
    let six = owners((0..6).collect()).unwrap();
    assert_eq!(six, [[0, 1], [2, 3], [4, 5]]);
    for wrong in [0, 2, 3, 4, 5, 7, 2 + 2 * 65] {
        assert!(owners(vec![0; wrong]).is_none(), "{wrong}");
    }
}
