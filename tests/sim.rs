//! A thousand random stories hold all rules of `sim::check`, with one shard and with four.
//! A story that does not is named by its seed: `SIM_SEED=n cargo test --features sim --test sim`
//! tells it again, with every packet in `tmp/sim-n.log` of the target folder. `SIM_SEEDS=n` tells
//! more of them, `SIM_FROM=n` others.
#![cfg(feature = "sim")]

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use voip::base::{Instant, Rng, hash64};
use voip::config::{Conference, Config, Domain};
use voip::control::{Command, MemberChange, RoomChange};
use voip::feature::Change;
use voip::sim::host::Host;
use voip::sim::nat::Nat;
use voip::sim::net::{Carrier, Weather};
use voip::sim::phone::{Account, CallPlan, Habits, Outcome, Phone};
use voip::sim::story::{DOMAIN, Mood, SERVER, tell, tell_in_detail};
use voip::sim::world::{Mishap, World};
use voip::store::EndCause;

/// Stories of one run, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 1000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Tells the stories on all cores; the broken rules of the first few that fail come back.
fn tell_all(seeds: u64, check: impl Fn(u64) -> Result<(), String> + Sync) -> Vec<String> {
    let first = number("SIM_FROM").unwrap_or(0);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let worker = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds || failures.len() >= 5 {
                return failures;
            }
            if let Err(what) = check(seed) {
                failures.push(format!("SIM_SEED={seed}: {what}"));
            }
        }
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let joined = all.into_iter().map(|thread| thread.join());
        joined
            .flat_map(|found| found.unwrap_or_else(|_| vec!["a story panicked".into()]))
            .collect()
    })
}

fn shards(seed: u64) -> usize {
    if seed.is_multiple_of(2) { 1 } else { 4 }
}

fn stormy(seed: u64) -> Result<(), String> {
    let told = std::panic::catch_unwind(|| tell(seed, shards(seed), Mood::Stormy));
    match told {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(broken)) => Err(broken.0),
        Err(_) => Err("panicked".into()),
    }
}

#[test]
fn random_stories_keep_the_rules() {
    if let Some(seed) = number("SIM_SEED") {
        let (told, log) = tell_in_detail(seed, shards(seed), Mood::Stormy);
        let path = format!("{}/sim-{seed}.log", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&path, log.join("\n")).unwrap();
        assert_eq!(told.err(), None, "see {path}");
        return;
    }
    let failures = tell_all(number("SIM_SEEDS").unwrap_or(SEEDS), stormy);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn one_shard_and_four_behave_alike() {
    let alike = |seed| {
        let one = tell(seed, 1, Mood::Calm).map_err(|broken| broken.0)?;
        let four = tell(seed, 4, Mood::Calm).map_err(|broken| broken.0)?;
        let (one, four) = (summary(&one), summary(&four));
        if one == four {
            Ok(())
        } else {
            Err(format!("one shard: {one:#?}\nfour: {four:#?}"))
        }
    };
    if let Some(seed) = number("SIM_SEED") {
        assert_eq!(alike(seed), Ok(()));
        return;
    }
    let failures = tell_all(50, alike);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn summary(told: &voip::sim::story::Told) -> Vec<String> {
    let calls = told.reports.iter().enumerate();
    calls
        .flat_map(|(phone, reports)| {
            reports.iter().map(move |r| {
                format!(
                    "phone {phone} {} {:?} {:?} {:?}",
                    r.call_id, r.outcome, r.answered_at, r.ended_at
                )
            })
        })
        .collect()
}

/// Two phones and more, where and as the test says, in a network that loses nothing.
fn stage(people: &[Person]) -> World {
    stage_with(Config::default(), 2, people)
}

fn stage_with(config: Config, shards: usize, people: &[Person]) -> World {
    stage_in(Weather::CALM, 1, config, shards, people)
}

fn stage_in(
    weather: Weather,
    seed: u64,
    mut config: Config,
    shards: usize,
    people: &[Person],
) -> World {
    config.node.domains = Domain::parse(DOMAIN).into_iter().collect();
    let mut rng = Rng::from_u64(seed);
    let host = Host::new(SERVER, config, shards, rng.fork());
    let mut world = World::new(host, weather, rng.fork());
    for (n, person) in people.iter().enumerate() {
        let last = n as u8 + 2;
        let address: IpAddr = if person.behind_nat {
            let inside = [10, 0, 0, last].into();
            let lifetime = Duration::from_secs(60);
            let public = [203, 0, 113, last].into();
            world.net.add_nat(Nat::new(public, vec![inside], lifetime));
            inside
        } else {
            [198, 51, 100, last].into()
        };
        let account = Account {
            user: person.user.into(),
            domain: DOMAIN.into(),
            password: "secret".into(),
        };
        let address = SocketAddr::new(address, 5060);
        let mut phone = Phone::new(account, address, SERVER, person.carrier, rng.fork());
        phone.set_habits(Habits {
            ring_ms_max: 0,
            ..Habits::default()
        });
        phone.register_at(Instant::from_millis(10));
        world.add_phone(phone);
    }
    world
}

struct Person {
    user: &'static str,
    behind_nat: bool,
    carrier: Carrier,
}

fn person(user: &'static str, behind_nat: bool, carrier: Carrier) -> Person {
    Person {
        user,
        behind_nat,
        carrier,
    }
}

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn call(user: &str, talk: u64) -> CallPlan {
    CallPlan {
        target: format!("sip:{user}@{DOMAIN}"),
        give_up_after: None,
        talk: Some(Duration::from_secs(talk)),
        hold_after: None,
        keys: Vec::new(),
    }
}

#[test]
fn two_phones_behind_nats_hear_each_other() {
    for (one, two) in [
        (Carrier::Datagram, Carrier::Datagram),
        (Carrier::Stream, Carrier::Datagram),
        (Carrier::Datagram, Carrier::Stream),
    ] {
        let mut world = stage(&[person("u0", true, one), person("u1", true, two)]);
        // Long after the registration: the keepalives held the NATs open.
        world.phones[0].call_at(at(100), call("u1", 10));
        world.run_until(at(105)).unwrap();
        assert_eq!(world.host.load().sessions, 1);
        world.run_until(at(120)).unwrap();
        for phone in &world.phones {
            let report = &phone.reports()[0];
            assert_eq!(report.outcome, Outcome::Talked);
            assert!(report.audio_heard >= 18, "{report:?}");
        }
        world.settle(Duration::from_secs(100)).unwrap();
        let cdr = world.host.disk().cdrs().next().unwrap();
        assert_eq!((cdr.status, cdr.cause), (200, EndCause::CallerHungUp));
        let legs = cdr.legs.as_ref().unwrap();
        assert!(
            legs[0].packets_in >= 18 && legs[1].packets_in >= 18,
            "{legs:?}"
        );
    }
}

/// The server answers itself: a phone behind a NAT hears its own voice, a wrong number is told so
/// and fails in its status, whatever the network loses, doubles and delays.
#[test]
fn services_answer_in_any_weather() {
    let weather = Weather {
        loss: 150,
        doubled: 50,
        delay_ms_min: 5,
        delay_ms_max: 150,
    };
    let tell = |seed| {
        let carrier = match seed % 3 {
            0 => Carrier::Stream,
            _ => Carrier::Datagram,
        };
        let mut config = Config::default();
        config.services.announcements = voip::config::Announcements::Users;
        let people = [
            person("u0", true, carrier),
            person("u1", false, Carrier::Datagram),
        ];
        let mut world = stage_in(weather, seed, config, shards(seed), &people);
        world.phones[0].call_at(at(20), call("*130", 10));
        world.phones[1].call_at(at(21), call("nobody", 10));
        let told = |broken: voip::sim::check::Broken| broken.0;
        world.run_until(at(100)).map_err(told)?;
        world.settle(Duration::from_secs(200)).map_err(told)?;
        let heard = world.phones[0]
            .reports()
            .first()
            .map(|r| (r.outcome, r.audio_heard));
        // Of a call that all retransmissions could not save nothing is asked.
        match heard {
            Some((Outcome::Talked, audio)) if audio < 8 => return Err(format!("{audio} heard")),
            Some((Outcome::Talked | Outcome::Timeout | Outcome::Surplus, _)) => {}
            other => return Err(format!("echo: {other:?}")),
        }
        match world.phones[1].reports().first().map(|r| r.outcome) {
            Some(Outcome::Refused(404) | Outcome::Timeout) => Ok(heard.is_some_and(|h| h.1 > 0)),
            other => Err(format!("nobody: {other:?}")),
        }
    };
    let talked = AtomicU64::new(0);
    let failures = tell_all(100, |seed| {
        talked.fetch_add(tell(seed)?.into(), Ordering::Relaxed);
        Ok(())
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(talked.into_inner() >= 95);
}

/// Four callers of one room, on whatever shards their Call-IDs name: all come in, one is sent away by
/// the operator, one leaves, and the end of the conference hangs up the rest; whatever the network
/// loses, nobody and no leg is left behind.
#[test]
fn a_room_holds_callers_of_all_shards_in_any_weather() {
    let weather = Weather {
        loss: 100,
        doubled: 50,
        delay_ms_min: 5,
        delay_ms_max: 150,
    };
    let board = || Conference {
        name: "board".into(),
        number: Some("8001".into()),
        ..Conference::default()
    };
    let spread = AtomicU64::new(0);
    let tell = |seed| {
        let mut config = Config::default();
        config.conferences.push(board());
        let users = ["u0", "u1", "u2", "u3"];
        let people = users.map(|user| person(user, user == "u2", Carrier::Datagram));
        let mut world = stage_in(weather, seed, config, 4, &people);
        for (n, talk) in [30, 300, 300, 300].into_iter().enumerate() {
            world.phones[n].call_at(at(20 + n as u64), call("8001", talk));
        }
        let told = |broken: voip::sim::check::Broken| broken.0;
        world.run_until(at(45)).map_err(told)?;
        let members = world.host.rooms().room("board").unwrap_or_default().members;
        if members.len() < 3 {
            return Err(format!("{} members", members.len()));
        }
        let shards = members.iter().map(|m| m.address.shard);
        let shards: std::collections::BTreeSet<usize> = shards.collect();
        spread.fetch_max(shards.len() as u64, Ordering::Relaxed);
        // Any shard may be asked.
        let (name, change) = ("board".to_owned(), MemberChange::Kick);
        let kicked = members[2].id;
        let kick = Command::ConferenceMember {
            name: name.clone(),
            member: kicked,
            change,
        };
        world.host.operate(at(45), seed as usize % 4, kick);
        world.run_until(at(80)).map_err(told)?;
        let left = world.host.rooms().room("board").unwrap_or_default().members;
        if left.iter().any(|m| m.id == kicked) || left.len() + 2 != members.len() {
            return Err(format!("left: {left:?} of {members:?}"));
        }
        let change = RoomChange::End;
        let end = Command::ConferenceRoom { name, change };
        world.host.operate(at(80), 0, end);
        world.run_until(at(90)).map_err(told)?;
        if world.host.rooms().members() > 0 {
            return Err("the conference did not end".into());
        }
        world.settle(Duration::from_secs(200)).map_err(told)?;
        let heard = world.phones.iter().filter_map(|p| p.reports().first());
        match heard.map(|r| r.audio_heard).filter(|n| *n > 700).count() {
            3.. => Ok(()),
            n => Err(format!("{n} heard something")),
        }
    };
    let failures = tell_all(10, tell);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(spread.into_inner() >= 3);
}

/// Seeds 788 and 937: the second answer of a fork took the media from the first.
#[test]
fn media_stays_with_the_first_answer_of_a_fork() {
    let udp = Carrier::Datagram;
    let mut world = stage(&[
        person("u0", false, udp),
        person("u1", true, udp),
        person("u1", true, udp),
    ]);
    world.phones[0].call_at(at(5), call("u1", 10));
    world.run_until(at(30)).unwrap();
    let outcomes: Vec<_> = world.phones[0]
        .reports()
        .iter()
        .map(|r| r.outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Surplus, Outcome::Talked]);
    assert!(world.phones[0].reports()[1].audio_heard >= 18);
    world.settle(Duration::from_secs(100)).unwrap();
    assert_eq!(world.host.disk().cdrs().count(), 1);
}

/// Two phones answered at once and their answers overtook each other: the caller kept the one that
/// the server had seen second, whose media and record were those of the other.
#[test]
fn media_and_record_follow_the_answer_that_the_caller_keeps() {
    for seed in [2093, 2535, 3772] {
        assert_eq!(stormy(seed), Ok(()), "SIM_SEED={seed}");
    }
}

/// The box before the called phone, or before the caller, is switched off and on in the middle of
/// the call. The phone registers again within a minute, and hears from then on what the other side
/// has to say, its BYE among it.
#[test]
fn a_phone_whose_nat_gave_it_another_mapping_is_reached() {
    for carrier in [Carrier::Datagram, Carrier::Stream] {
        for moved in 0..2 {
            let mut people = [person("u0", false, carrier), person("u1", false, carrier)];
            people[moved].behind_nat = true;
            let mut world = stage(&people);
            let hangs_up = 1 - moved;
            let plan = CallPlan {
                talk: (hangs_up == 0).then_some(Duration::from_secs(100)),
                ..call("u1", 0)
            };
            world.phones[1].set_habits(Habits {
                ring_ms_max: 0,
                talk: (hangs_up == 1).then_some(Duration::from_secs(100)),
                ..Habits::default()
            });
            world.phones[0].call_at(at(5), plan);
            world.plan(at(20), Mishap::NatReboot(moved));
            world.run_until(at(115)).unwrap();
            for phone in &world.phones {
                let report = phone.reports().first();
                let ended = report.is_some_and(|r| r.ended_at < at(107));
                assert!(ended, "{carrier:?} {moved} {report:?}");
            }
            world.settle(Duration::from_secs(100)).unwrap();
        }
    }
}

#[test]
fn a_callee_that_dies_while_ringing_costs_timer_c_and_nothing_else() {
    let udp = Carrier::Datagram;
    let mut world = stage(&[person("u0", false, udp), person("u1", true, udp)]);
    let habits = Habits {
        answers: 0,
        ..Habits::default()
    };
    world.phones[1].set_habits(habits);
    world.phones[0].call_at(at(5), call("u1", 10));
    world.plan(at(6), Mishap::Silence(1));
    world.run_until(at(300)).unwrap();
    let report = &world.phones[0].reports()[0];
    assert_eq!(report.outcome, Outcome::Refused(408), "{report:?}");
    world.settle(Duration::from_secs(100)).unwrap();
}

#[test]
fn phones_are_called_after_a_restart() {
    let udp = Carrier::Datagram;
    let mut world = stage(&[person("u0", false, udp), person("u1", true, udp)]);
    world.plan(at(5), Mishap::Restart);
    world.phones[0].call_at(at(6), call("u1", 10));
    world.run_until(at(30)).unwrap();
    let report = &world.phones[0].reports()[0];
    assert_eq!(report.outcome, Outcome::Talked, "{report:?}");
    assert!(report.audio_heard >= 18, "{report:?}");
    world.settle(Duration::from_secs(100)).unwrap();
}

/// What a second had passed over is there after a restart; what the batch did not take is lost.
#[test]
fn features_that_reached_the_disk_outlive_a_restart() {
    let mut world = stage(&[person("u0", false, Carrier::Datagram)]);
    let u0 = format!("u0@{DOMAIN}");
    let forward = |to: &str| Change::ForwardAlways(Some(to.into()));
    let change = |world: &mut World, ms: u64, to: &str| {
        let now = Instant::from_millis(ms);
        world.run_until(now).unwrap();
        world.host.change_feature(now, &u0, &forward(to)).unwrap();
    };
    let set = |world: &World| {
        let settings = world.host.features().settings(&u0);
        settings.and_then(|s| s.forward_always.as_deref().map(str::to_owned))
    };
    change(&mut world, 3000, "u1");
    change(&mut world, 4900, "u2");
    assert_eq!(set(&world).as_deref(), Some("u2"));
    world.plan(at(5), Mishap::Restart);
    world.run_until(at(6)).unwrap();
    assert_eq!(set(&world).as_deref(), Some("u1"));
    change(&mut world, 7000, "u3");
    world.plan(at(8), Mishap::Restart);
    world.run_until(at(9)).unwrap();
    assert_eq!(set(&world).as_deref(), Some("u3"));
}

#[test]
fn calls_outlive_a_restart_to_their_end() {
    let udp = Carrier::Datagram;
    let mut world = stage(&[person("u0", false, udp), person("u1", false, udp)]);
    world.phones[0].call_at(at(3), call("u1", 10));
    world.plan(at(8), Mishap::Restart);
    world.run_until(at(30)).unwrap();
    for phone in &world.phones {
        // The BYE found its way by the Route alone.
        assert_eq!(phone.reports()[0].outcome, Outcome::Talked);
        assert!(phone.reports()[0].ended_at < at(15));
    }
    world.settle(Duration::from_secs(100)).unwrap();
}

/// The code and the call are of any two of four shards: what one finds ringing, the other hands
/// over, with its audio.
#[test]
fn calls_of_any_shard_are_picked_up() {
    const CALLS: u64 = 16;
    let text = "[[group]]\nname = \"office\"\nmembers = [\"u1\", \"u2\"]\n";
    let config = Config::parse(text, Path::new("voip.toml")).unwrap();
    let udp = Carrier::Datagram;
    let people = [
        person("u0", false, udp),
        person("u1", false, udp),
        person("u2", true, udp),
    ];
    let mut world = stage_with(config, 4, &people);
    world.phones[1].set_habits(Habits {
        answers: 0,
        ..Habits::default()
    });
    for n in 0..CALLS {
        world.phones[0].call_at(at(20 * n + 10), call("u1", 8));
        world.phones[2].call_at(at(20 * n + 13), call("*8", 0));
    }
    world.run_until(at(20 * CALLS + 10)).unwrap();
    let shard = |call_id: &str| hash64(call_id.as_bytes()) % 4;
    let (mut talked, mut crossed) = (0, 0);
    let reports = world.phones[2].reports();
    for (n, report) in reports.iter().enumerate().filter(|(_, r)| !r.caller) {
        assert_eq!(report.outcome, Outcome::Talked, "{report:?}");
        assert!(report.audio_heard >= 14, "{report:?}");
        talked += 1;
        // What it dialled stands just before.
        let code = &reports[n - 1];
        assert_eq!((code.caller, code.outcome), (true, Outcome::Refused(480)));
        crossed += u64::from(shard(&code.call_id) != shard(&report.call_id));
    }
    assert_eq!(talked, CALLS);
    assert!(crossed >= CALLS / 2, "{crossed} of {CALLS} between shards");
    let outcomes = |phone: usize| world.phones[phone].reports().iter().map(|r| r.outcome);
    assert!(outcomes(0).all(|o| o == Outcome::Talked));
    assert!(outcomes(1).all(|o| o == Outcome::Cancelled));
    assert_eq!(world.host.features().ringing(), 0);
    world.settle(Duration::from_secs(100)).unwrap();
}
