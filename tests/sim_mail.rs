//! Messages that callers leave while the network loses, doubles and reorders, the server is killed or
//! its power fails, and the disk fills up: what a caller was told is kept is there after each start,
//! sample for sample, and files and index agree ([`voip::sim::mail::agree`], which every start in
//! every story asks for).
//!
//! `SIM_SEED=n cargo test --features sim --test sim_mail` tells one story again; `SIM_SEEDS=n` tells
//! more.
#![cfg(feature = "sim")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use voip::base::{Instant, Rng};
use voip::config::{Config, Domain};
use voip::sim::host::Host;
use voip::sim::mail::agree;
use voip::sim::net::{Carrier, Weather};
use voip::sim::phone::{Account, CallPlan, Phone};
use voip::sim::story::{DOMAIN, SERVER};
use voip::sim::world::{Mishap, World};

/// Stories of one run, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 120;
const CALLERS: u8 = 3;
const BOXES: u64 = 2;
/// No call begins and nobody dies after this.
const QUIET_FROM: u64 = 60_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How far a story came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Told {
    confirmed: usize,
    interrupted: usize,
    refused_by_disk: bool,
}

fn config() -> Config {
    let mut config = Config::default();
    config.node.domains = Domain::parse(DOMAIN).into_iter().collect();
    config.voicemail.enabled = true;
    config.voicemail.message_max_s = 10;
    // Phones of the simulation say little.
    config.voicemail.silence_s = 0;
    config
}

/// Skips the greeting, says something, ends it with a key, and then does what callers do: says yes,
/// listens first, says it again, or says nothing; now and then hangs up in the middle.
fn plan(rng: &mut Rng) -> CallPlan {
    let ms = Duration::from_millis;
    let mut at = 200 + rng.below(500);
    let mut keys = vec![(ms(at), '#')];
    for _ in 0..2 {
        at += 1500 + rng.below(7000);
        keys.push((ms(at), '#'));
        at += 300 + rng.below(2500);
        match rng.below(8) {
            0 => {
                keys.push((ms(at), '2'));
                at += 4000;
            }
            1 => {
                keys.push((ms(at), '3'));
                continue;
            }
            2 => break,
            _ => {}
        }
        keys.push((ms(at), '1'));
        break;
    }
    CallPlan {
        target: format!("sip:box{}@{DOMAIN}", rng.below(BOXES)),
        give_up_after: None,
        talk: rng.chance(1, 4).then(|| ms(1000 + rng.below(12_000))),
        hold_after: None,
        keys,
    }
}

fn world(seed: u64, rng: &mut Rng) -> World {
    let shards = if seed.is_multiple_of(2) { 1 } else { 4 };
    let weather = Weather {
        loss: 150,
        doubled: 50,
        delay_ms_min: 5,
        delay_ms_max: 150,
    };
    let host = Host::new(SERVER, config(), shards, rng.fork());
    for n in 0..BOXES {
        host.add_user(&format!("box{n}"), DOMAIN, "secret");
    }
    let mut world = World::new(host, weather, rng.fork());
    for n in 0..CALLERS {
        let account = Account {
            user: format!("u{n}"),
            domain: DOMAIN.into(),
            password: "secret".into(),
        };
        let address = SocketAddr::from(([198, 51, 100, n + 2], 5060));
        let carrier = match rng.below(3) {
            0 => Carrier::Stream,
            _ => Carrier::Datagram,
        };
        let mut phone = Phone::new(account, address, SERVER, carrier, rng.fork());
        phone.register_at(Instant::from_millis(10));
        for _ in 0..2 {
            let at = 4000 + rng.below(QUIET_FROM - 4000);
            phone.call_at(Instant::from_millis(at), plan(rng));
        }
        world.add_phone(phone);
    }
    world
}

fn tell(seed: u64) -> Result<Told, String> {
    let mut rng = Rng::from_u64(seed);
    let mut world = world(seed, &mut rng);
    let fills_up = seed % 6 == 5;
    if fills_up {
        world.host.spool().files.room = Some(10_000 + rng.below(150_000) as usize);
    } else {
        for _ in 0..1 + rng.below(3) {
            let at = Instant::from_millis(6000 + rng.below(QUIET_FROM - 6000));
            let death = match rng.below(2) {
                0 => Mishap::Restart,
                _ => Mishap::PowerCut,
            };
            world.plan(at, death);
        }
    }
    let told = |broken: voip::sim::check::Broken| broken.0;
    world.plan(Instant::from_millis(QUIET_FROM + 20_000), Mishap::Calm);
    let end = Instant::from_millis(QUIET_FROM + 70_000);
    world.run_until(end).map_err(told)?;
    world.settle(Duration::from_secs(200)).map_err(told)?;
    let refused_by_disk = fills_up && world.host.spool().files.is_full();
    world.host.spool().files.room = None;
    if !fills_up {
        // Nothing is under way: what there is agrees without a start.
        agree(&world.host).map_err(told)?;
    }
    world.plan(world.now, Mishap::PowerCut);
    world
        .run_until(world.now + Duration::from_secs(2))
        .map_err(told)?;
    let witness = world.host.witness();
    Ok(Told {
        confirmed: witness.confirmed(),
        interrupted: witness.interrupted(),
        refused_by_disk,
    })
}

#[test]
fn what_a_caller_was_told_is_kept_outlives_every_death() {
    if let Some(seed) = number("SIM_SEED") {
        println!("{:?}", tell(seed).unwrap());
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicUsize::new(0);
    let sums = [const { AtomicUsize::new(0) }; 3];
    let worker = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed) as u64;
            if seed >= seeds || failures.len() >= 5 {
                return failures;
            }
            match std::panic::catch_unwind(|| tell(seed)) {
                Ok(Ok(told)) => {
                    let parts = [
                        told.confirmed,
                        told.interrupted,
                        told.refused_by_disk.into(),
                    ];
                    for (sum, part) in sums.iter().zip(parts) {
                        sum.fetch_add(part, Ordering::Relaxed);
                    }
                }
                Ok(Err(what)) => failures.push(format!("SIM_SEED={seed}: {what}")),
                Err(_) => failures.push(format!("SIM_SEED={seed}: panicked")),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let failures: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let joined = all.into_iter().map(|thread| thread.join());
        joined.flat_map(|f| f.unwrap_or_default()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // The stories are worth telling: of six calls of each, some are confirmed, some broken off.
    let [confirmed, interrupted, refused] = sums.map(|sum| sum.into_inner() as u64);
    println!("{confirmed} confirmed, {interrupted} broken off, {refused} of full disks");
    assert!(confirmed >= seeds, "{confirmed}");
    assert!(interrupted >= seeds / 5, "{interrupted}");
    assert!(refused >= seeds / 15, "{refused}");
}
