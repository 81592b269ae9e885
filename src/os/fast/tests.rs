//! A worker's end against a real flow table.

use super::*;
use crate::relay::frame::FlowTable;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::sync::Mutex;

#[derive(Debug, Default)]
struct Door(Mutex<BTreeMap<u16, (SocketAddr, Option<u16>)>>);

impl Gate for Door {
    fn open(&self, ours: SocketAddr, vlan: Option<u16>) {
        self.0.lock().unwrap().insert(ours.port(), (ours, vlan));
    }

    fn close(&self, port: u16) {
        self.0.lock().unwrap().remove(&port);
    }
}

/// What the tables say, and the last question.
#[derive(Clone, Debug)]
struct Table(
    Arc<Mutex<NextHop>>,
    Arc<Mutex<Vec<Question>>>,
    Arc<Mutex<Vec<Changed>>>,
);

/// To whom, with which address of ours.
type Question = (IpAddr, Option<IpAddr>);

impl Hops for Table {
    fn hop(&mut self, to: IpAddr, from: Option<IpAddr>) -> NextHop {
        self.1.lock().unwrap().push((to, from));
        *self.0.lock().unwrap()
    }

    fn changes(&mut self) -> Vec<Changed> {
        std::mem::take(&mut self.2.lock().unwrap())
    }
}

struct Rig {
    side: Side,
    end: DriverEnd,
    door: Arc<Door>,
    hop: Arc<Mutex<NextHop>>,
    asked: Arc<Mutex<Vec<Question>>>,
    changed: Arc<Mutex<Vec<Changed>>>,
    table: FlowTable,
    now: Instant,
    _driver: Ear,
}

fn hop(last: u8) -> Hop {
    Hop {
        link: 0,
        hardware_address: [2, 0, 0, 0, 0, last],
        source: "192.0.2.1".parse().unwrap(),
        mtu: 1500,
        vlan: None,
    }
}

fn stream(port: u16) -> Stream {
    Stream {
        bind: "0.0.0.0".parse().unwrap(),
        port,
        source: "198.51.100.10:4000".parse().unwrap(),
        onward_bind: "0.0.0.0".parse().unwrap(),
        onward_port: port + 2,
        destination: "198.51.100.20:5000".parse().unwrap(),
        clock_rate: 8000,
        has_rtcp: false,
        security: None,
    }
}

impl Rig {
    fn new(flows: usize) -> Self {
        let door = Arc::new(Door::default());
        let (wake, driver) = doorbell().unwrap();
        let link = Link {
            gate: door.clone(),
            hardware_address: [2, 0, 0, 0, 0, 1],
            figures: Arc::default(),
            owners: Arc::default(),
        };
        let hop = Arc::new(Mutex::new(NextHop::Known(hop(9))));
        let asked = Arc::default();
        let changed = Arc::default();
        let hops = Box::new(Table(
            Arc::clone(&hop),
            Arc::clone(&asked),
            Arc::clone(&changed),
        ));
        let (side, mut ends) = line(3, link, &[wake], hops).unwrap();
        Self {
            side,
            end: ends.remove(0),
            door,
            hop,
            asked,
            changed,
            table: FlowTable::new(flows),
            now: Instant::from_millis(1000),
            _driver: driver,
        }
    }

    /// The driver's turn, then what the worker hears.
    fn turn(&mut self) -> Vec<(u16, FlowNews)> {
        let mut heard = Vec::new();
        for _ in 0..2048 {
            self.table.apply_changes(&mut self.end.ring);
            while let Some(FromDriver::News(port, news)) = self.side.poll() {
                heard.push((port, news));
            }
        }
        heard
    }

    fn order(&mut self, order: FlowOrder) -> Option<(u16, FlowNews)> {
        self.side.order(self.now, order)
    }

    /// A query after so long that the next hop is asked for again.
    fn query_later(&mut self) -> Option<(u16, FlowNews)> {
        self.now += HOP_AGE_MAX;
        self.order(FlowOrder::Query { port: 16384 })
    }

    fn rerouted(&self) -> u64 {
        self.side.link.figures.rerouted.load(Ordering::Relaxed)
    }

    fn open_ports(&self) -> Vec<u16> {
        self.door.0.lock().unwrap().keys().copied().collect()
    }
}

#[test]
fn a_stream_comes_counts_and_goes() {
    let mut rig = Rig::new(8);
    assert_eq!(rig.order(FlowOrder::Install(stream(16384))), None);
    assert!(rig.open_ports().is_empty(), "frames before there is a flow");
    assert_eq!(rig.turn(), [(16384, FlowNews::Installed)]);
    assert_eq!(
        rig.door.0.lock().unwrap()[&16384].0.to_string(),
        "192.0.2.1:16384"
    );
    assert_eq!(rig.side.link.owners.of(16384), 3);
    assert_eq!(rig.order(FlowOrder::Query { port: 16384 }), None);
    assert!(matches!(rig.turn()[..], [(16384, FlowNews::Counted(_))]));
    assert_eq!(rig.order(FlowOrder::Remove { port: 16384 }), None);
    assert!(rig.open_ports().is_empty());
    assert!(matches!(
        rig.turn()[..],
        [(16384, FlowNews::Removed(Some(_)))]
    ));
    assert!(rig.table.is_empty());
}

#[test]
fn ways_are_asked_for_with_the_address_that_a_port_is_bound_to() {
    let mut rig = Rig::new(8);
    let [inside, outside] = ["192.0.2.3", "192.0.2.4"].map(|ip| ip.parse().unwrap());
    let any = stream(16384);
    let bound = Stream {
        bind: inside,
        onward_bind: outside,
        ..any.clone()
    };
    let (source, destination) = (any.source.ip(), any.destination.ip());
    for (stream, [from, onward]) in [(any, [None, None]), (bound, [Some(inside), Some(outside)])] {
        rig.order(FlowOrder::Install(stream));
        rig.turn();
        let asked = std::mem::take(&mut *rig.asked.lock().unwrap());
        assert_eq!(asked, [(source, from), (destination, onward)]);
        rig.query_later();
        let asked = std::mem::take(&mut *rig.asked.lock().unwrap());
        assert_eq!(asked, [(destination, onward)]);
        rig.order(FlowOrder::Remove { port: 16384 });
        rig.turn();
    }
}

#[test]
fn a_vlan_is_that_of_either_way() {
    let mut rig = Rig::new(8);
    let vlan = |tag| Vlan {
        tag,
        hardware_address: [2, 0, 0, 0, 0, 7],
    };
    // Priority 5, VLAN 100: what is listened to is the number alone.
    let tagged = Hop {
        vlan: Some(vlan(0xa064)),
        ..hop(9)
    };
    *rig.hop.lock().unwrap() = NextHop::Known(tagged);
    assert_eq!(rig.order(FlowOrder::Install(stream(16384))), None);
    assert_eq!(rig.turn(), [(16384, FlowNews::Installed)]);
    assert_eq!(rig.door.0.lock().unwrap()[&16384].1, Some(100));
    let Action::Forward(onward) = spec(
        &stream(16384),
        ("192.0.2.1:16384".parse().unwrap(), Some(100)),
        &tagged,
        [2, 0, 0, 0, 0, 1],
    )
    .action
    else {
        panic!("it goes on");
    };
    assert_eq!((onward.tag, onward.source_mac[5]), (Some(0xa064), 7));
    // The other side moves out of its VLAN; where this one's packets come from stays.
    *rig.hop.lock().unwrap() = NextHop::Known(hop(9));
    rig.now += HOP_AGE_MAX;
    rig.order(FlowOrder::Query { port: 16384 });
    assert!(matches!(rig.turn()[..], [(16384, FlowNews::Counted(_))]));
    assert_eq!(rig.side.placed[&16384].hop.vlan, None);
    assert_eq!(rig.side.placed[&16384].vlan, Some(100));
    assert_eq!(rig.door.0.lock().unwrap()[&16384].1, Some(100));
}

#[test]
fn without_a_next_hop_or_a_place_it_stays_on_sockets() {
    let mut rig = Rig::new(1);
    let refused = Some((16384, FlowNews::Refused));
    for without in [NextHop::Unknown, NextHop::Elsewhere] {
        *rig.hop.lock().unwrap() = without;
        assert_eq!(rig.order(FlowOrder::Install(stream(16384))), refused);
    }
    *rig.hop.lock().unwrap() = NextHop::Known(hop(9));
    rig.order(FlowOrder::Install(stream(16384)));
    rig.order(FlowOrder::Install(stream(16388)));
    let heard = rig.turn();
    assert_eq!(
        heard,
        [(16384, FlowNews::Installed), (16388, FlowNews::Refused)]
    );
    assert_eq!(rig.open_ports(), [16384]);
    let gone = Some((16388, FlowNews::Removed(None)));
    assert_eq!(rig.order(FlowOrder::Remove { port: 16388 }), gone);
    assert_eq!(rig.side.link.figures.refused.load(Ordering::Relaxed), 3);
}

#[test]
fn what_is_taken_back_at_once_opens_no_port() {
    let mut rig = Rig::new(8);
    rig.order(FlowOrder::Install(stream(16384)));
    rig.order(FlowOrder::Remove { port: 16384 });
    assert!(matches!(
        rig.turn()[..],
        [(16384, FlowNews::Removed(Some(_)))]
    ));
    assert!(rig.open_ports().is_empty() && rig.table.is_empty());
}

#[test]
fn what_one_thread_refuses_the_others_give_back() {
    let (wake, _ear) = doorbell().unwrap();
    let link = Link {
        gate: Arc::new(Door::default()),
        hardware_address: [2, 0, 0, 0, 0, 1],
        figures: Arc::default(),
        owners: Arc::default(),
    };
    let known = Arc::new(Mutex::new(NextHop::Known(hop(9))));
    let hops = Box::new(Table(known, Arc::default(), Arc::default()));
    let bells = [Arc::clone(&wake), wake];
    let (mut side, mut ends) = line(0, link, &bells, hops).unwrap();
    let mut tables = [FlowTable::new(2), FlowTable::new(1)];
    let now = Instant::from_millis(1000);
    for port in [16384, 16388] {
        assert_eq!(side.order(now, FlowOrder::Install(stream(port))), None);
    }
    // Nothing is known before the last one has answered.
    tables[0].apply_changes(&mut ends[0].ring);
    assert!(side.poll().is_none());
    tables[1].apply_changes(&mut ends[1].ring);
    let mut heard = Vec::new();
    for _ in 0..4 {
        while let Some(FromDriver::News(port, news)) = side.poll() {
            heard.push((port, news));
        }
        for (table, end) in tables.iter_mut().zip(&mut ends) {
            table.apply_changes(&mut end.ring);
        }
    }
    let wanted = [(16384, FlowNews::Installed), (16388, FlowNews::Refused)];
    assert_eq!(heard, wanted);
    assert_eq!(tables.each_ref().map(FlowTable::len), [1, 1]);
    // Its removal was ours alone; the next one is heard.
    assert_eq!(side.order(now, FlowOrder::Remove { port: 16384 }), None);
    tables[1].apply_changes(&mut ends[1].ring);
    assert!(side.poll().is_none());
    tables[0].apply_changes(&mut ends[0].ring);
    let said = side.poll();
    assert!(
        matches!(
            said,
            Some(FromDriver::News(16384, FlowNews::Removed(Some(_))))
        ),
        "{said:?}"
    );
}

#[test]
fn a_next_hop_that_changes_is_followed() {
    let mut rig = Rig::new(8);
    rig.order(FlowOrder::Install(stream(16384)));
    rig.turn();
    *rig.hop.lock().unwrap() = NextHop::Known(hop(10));
    rig.order(FlowOrder::Query { port: 16384 });
    rig.turn();
    assert_eq!(rig.side.placed[&16384].hop, hop(9), "looked at too often");
    // Nobody hears of it but the flow.
    assert_eq!(rig.query_later(), None);
    assert!(matches!(rig.turn()[..], [(16384, FlowNews::Counted(_))]));
    assert_eq!(rig.side.placed[&16384].hop, hop(10));
    // Some moments without an answer change nothing.
    for _ in 0..3 {
        *rig.hop.lock().unwrap() = NextHop::Unknown;
        for _ in 1..UNKNOWN_MAX {
            assert_eq!(rig.query_later(), None);
        }
        *rig.hop.lock().unwrap() = NextHop::Known(hop(10));
        assert_eq!(rig.query_later(), None);
        assert_eq!(rig.side.placed[&16384].hop, hop(10));
    }
    assert_eq!(rig.rerouted(), 0);
}

#[test]
fn a_change_that_finds_the_line_full_is_made_later() {
    let mut rig = Rig::new(8);
    rig.order(FlowOrder::Install(stream(16384)));
    rig.turn();
    *rig.hop.lock().unwrap() = NextHop::Known(hop(10));
    while rig.side.lines.ask(true, || Change::Query {
        destination: "192.0.2.1:1".parse().unwrap(),
    }) {}
    assert_eq!(rig.query_later(), None);
    rig.turn();
    assert_eq!(rig.side.placed[&16384].hop, hop(9), "not led there yet");
    assert_eq!(rig.query_later(), None);
    assert!(matches!(rig.turn()[..], [(16384, FlowNews::Counted(_))]));
    assert_eq!(rig.side.placed[&16384].hop, hop(10));
}

#[test]
fn a_flow_whose_way_is_lost_goes_back_to_sockets() {
    let mut rig = Rig::new(8);
    let elsewhere = Some((16384, FlowNews::Elsewhere));
    for (number, (lost, questions)) in [(NextHop::Elsewhere, 1), (NextHop::Unknown, UNKNOWN_MAX)]
        .into_iter()
        .enumerate()
    {
        *rig.hop.lock().unwrap() = NextHop::Known(hop(9));
        rig.order(FlowOrder::Install(stream(16384)));
        assert_eq!(rig.turn(), [(16384, FlowNews::Installed)]);
        *rig.hop.lock().unwrap() = lost;
        for _ in 1..questions {
            assert_eq!(rig.query_later(), None);
        }
        assert_eq!(rig.query_later(), elsewhere, "{lost:?}");
        assert_eq!(rig.rerouted(), number as u64 + 1);
        rig.turn();
        // The relay takes it back, as at other times.
        assert_eq!(rig.order(FlowOrder::Remove { port: 16384 }), None);
        assert!(rig.open_ports().is_empty());
        let heard = rig.turn();
        assert!(
            matches!(heard[..], [(16384, FlowNews::Removed(Some(_)))]),
            "{heard:?}"
        );
        assert!(rig.table.is_empty());
    }
}

#[test]
fn a_flow_that_cannot_be_led_elsewhere_goes_back_to_sockets() {
    let mut rig = Rig::new(8);
    rig.order(FlowOrder::Install(stream(16384)));
    rig.turn();
    // No flow has two families.
    let impossible = Hop {
        source: "2001:db8::1".parse().unwrap(),
        ..hop(10)
    };
    *rig.hop.lock().unwrap() = NextHop::Known(impossible);
    assert_eq!(rig.query_later(), None);
    let heard = rig.turn();
    assert!(
        matches!(
            heard[..],
            [(16384, FlowNews::Elsewhere), (16384, FlowNews::Counted(_))]
        ),
        "{heard:?}"
    );
    assert_eq!(rig.rerouted(), 1);
}

#[test]
fn removals_that_find_the_line_full_are_not_forgotten() {
    let mut rig = Rig::new(4096);
    let ports: Vec<u16> = (0..800).map(|n| 10_000 + n * 4).collect();
    for chunk in ports.chunks(400) {
        for port in chunk {
            assert_eq!(rig.order(FlowOrder::Install(stream(*port))), None);
        }
        rig.turn();
    }
    assert_eq!(rig.table.len(), 800);
    // Queries fill the line before.
    for port in &ports {
        rig.order(FlowOrder::Query { port: *port });
    }
    for port in &ports {
        assert_eq!(rig.order(FlowOrder::Remove { port: *port }), None);
    }
    assert!(!rig.side.backlog.is_empty(), "the line was wide enough");
    let heard = rig.turn();
    let removed = |(_, news): &&(u16, FlowNews)| matches!(news, FlowNews::Removed(Some(_)));
    assert_eq!(heard.iter().filter(removed).count(), 800);
    assert!(rig.table.is_empty() && rig.open_ports().is_empty());
}

#[test]
fn a_driver_that_ends_is_heard_behind_its_last_words() {
    let mut rig = Rig::new(8);
    rig.order(FlowOrder::Install(stream(16384)));
    rig.turn();
    rig.order(FlowOrder::Query { port: 16384 });
    rig.table.apply_changes(&mut rig.end.ring);
    rig.side.hush();
    let Rig {
        mut side,
        end,
        table,
        now,
        ..
    } = rig;
    let table = Arc::new(table);
    end.leave(&table);
    drop(end);
    let mut wait = [PollFd::new(side.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut wait, PollTimeout::ZERO), Ok(1), "nobody rang");
    let said = side.poll();
    assert!(
        matches!(said, Some(FromDriver::News(16384, FlowNews::Counted(_)))),
        "{said:?}"
    );
    let Some(FromDriver::Lost(left)) = side.poll() else {
        panic!("the worker does not hear of it");
    };
    let counted = table.stats("192.0.2.1:16384".parse().unwrap()).unwrap();
    assert_eq!(left, [(16384, counted)]);
    let refused = Some((16388, FlowNews::Refused));
    let order = FlowOrder::Install(stream(16388));
    assert_eq!(side.order(now, order), refused);
}

#[test]
fn a_thread_that_ends_says_why_unless_it_was_told_to() {
    let ended = |drive: fn() -> Result<(), String>| {
        let figures = Arc::new(Figures::default());
        figures.flows.store(7, Ordering::Relaxed);
        spawn("test:0".into(), &figures, drive)
            .unwrap()
            .join()
            .unwrap();
        let up = figures.list()[0];
        assert_eq!(up, ("fast_path_up", u64::from(figures.ended().is_none())));
        figures.ended().unwrap_or_default().to_owned()
    };
    assert_eq!(ended(|| Ok(())), "");
    let said = ended(|| Err("the interface is gone".into()));
    assert!(said.contains("test:0 ended: the interface is gone; calls go on by sockets"));
    let said = ended(|| panic!("no {}", "luck"));
    assert!(said.contains("no luck; please report it"), "{said}");
}

#[test]
fn a_worker_that_ends_gives_its_ports_back() {
    let mut rig = Rig::new(8);
    rig.order(FlowOrder::Install(stream(16384)));
    rig.turn();
    assert_eq!(rig.open_ports(), [16384]);
    drop(rig.side);
    assert!(rig.door.0.lock().unwrap().is_empty());
}

/// Flows on the ports from 16384 on, all installed.
fn flowing(count: u16) -> Rig {
    let mut rig = Rig::new(usize::from(count));
    for n in 0..count {
        assert_eq!(rig.order(FlowOrder::Install(stream(16384 + 2 * n))), None);
    }
    assert_eq!(rig.turn().len(), usize::from(count));
    rig.asked.lock().unwrap().clear();
    rig
}

impl Rig {
    /// Something changes; what the relay hears within so many milliseconds, and when.
    fn change(&mut self, changed: Changed, ms: u64) -> Vec<(u64, u16, FlowNews)> {
        self.changed.lock().unwrap().push(changed);
        let (start, mut heard) = (self.now, Vec::new());
        while let Some(due) = self.side.poll_timeout()
            && due <= start + Duration::from_millis(ms)
        {
            self.now = self.now.max(due);
            let after = self.now.since(start).as_millis() as u64;
            let news = self.side.handle_timeout(self.now);
            heard.extend(news.into_iter().map(|(port, news)| (after, port, news)));
        }
        heard
    }

    fn asked(&self) -> usize {
        std::mem::take(&mut *self.asked.lock().unwrap()).len()
    }
}

#[test]
fn a_flow_leaves_at_once_when_its_way_is_another() {
    let mut rig = flowing(1);
    *rig.hop.lock().unwrap() = NextHop::Elsewhere;
    let heard = rig.change(Changed::Way("198.51.100.0".parse().unwrap(), 24), 1000);
    assert!(
        matches!(heard[..], [(..=110, 16384, FlowNews::Elsewhere)]),
        "{heard:?}"
    );
    assert_eq!((rig.rerouted(), rig.asked()), (1, 1));
    // It is the relay's turn now; nothing is looked for of flows that are gone.
    rig.order(FlowOrder::Remove { port: 16384 });
    rig.turn();
    assert_eq!(rig.side.poll_timeout(), None);
}

#[test]
fn a_router_that_nobody_talked_to_is_the_sockets_but_an_entry_that_went_is_not() {
    let mut rig = flowing(1);
    *rig.hop.lock().unwrap() = NextHop::Unknown;
    let same = Changed::Neighbour([2, 0, 0, 0, 0, 9]);
    for _ in 0..10 {
        assert_eq!(rig.change(same, 200), []);
    }
    assert_eq!(rig.query_later(), None);
    let heard = rig.change(Changed::All, 200);
    assert!(
        matches!(heard[..], [(_, 16384, FlowNews::Elsewhere)]),
        "{heard:?}"
    );
}

#[test]
fn what_concerns_nobody_costs_no_question() {
    let mut rig = flowing(2);
    for changed in [
        Changed::Way("198.51.101.0".parse().unwrap(), 24),
        Changed::Way("198.51.100.21".parse().unwrap(), 32),
        Changed::Way("::".parse().unwrap(), 0),
        Changed::Neighbour([2, 0, 0, 0, 0, 8]),
    ] {
        assert_eq!(rig.change(changed, 300), []);
    }
    assert_eq!(rig.asked(), 0);
    *rig.hop.lock().unwrap() = NextHop::Known(hop(10));
    for changed in [
        Changed::Way("0.0.0.0".parse().unwrap(), 0),
        Changed::Way("198.51.100.20".parse().unwrap(), 32),
    ] {
        assert_eq!(rig.change(changed, 300), []);
        assert_eq!(rig.asked(), 2);
    }
    // The flows have another router's address since, so the old one's is of no interest.
    rig.turn();
    assert_eq!(rig.change(Changed::Neighbour([2, 0, 0, 0, 0, 9]), 300), []);
    assert_eq!(rig.asked(), 0);
    assert_eq!(rig.change(Changed::Neighbour([2, 0, 0, 0, 0, 10]), 300), []);
    assert_eq!(rig.asked(), 2);
}

#[test]
fn a_storm_of_changes_costs_no_more_than_it_may_and_each_flow_has_its_turn() {
    let mut rig = flowing(1000);
    let mut ports = BTreeMap::new();
    let start = rig.now;
    while rig.now < start + Duration::from_secs(2) {
        rig.change(Changed::All, 100);
        rig.now = rig.now.max(start + Duration::from_millis(1));
        rig.now += Duration::from_millis(1);
    }
    let per_second = FOLLOWED_PER_STEP * (1000 / STEP.as_millis() as usize);
    let asked = rig.asked();
    assert!(
        (per_second..=2 * per_second + 2 * FOLLOWED_PER_STEP).contains(&asked),
        "{asked}"
    );
    for (port, placed) in &rig.side.placed {
        ports.insert(*port, placed.checked);
    }
    let late = ports
        .values()
        .filter(|at| **at < start + Duration::from_secs(1));
    assert_eq!(late.count(), 0);
}
