//! Random failures of members, registrars and DNS never lose a call that has a working way, with
//! one shard and with four. A story that does lose one is named by its seed:
//! `SIM_SEED=n cargo test --features sim --test sim_routes` tells it again, with every packet in
//! `tmp/routes-n.log` of the target folder. `SIM_SEEDS=n` tells more, `SIM_FROM=n` others.
#![cfg(feature = "sim")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use voip::sim::routes::{Told, tell};

/// Stories of one run, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 300;
/// Failures that are told.
const FAILURES_MAX: usize = 10;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn shards(seed: u64) -> usize {
    if seed.is_multiple_of(2) { 1 } else { 4 }
}

fn story(seed: u64) -> Result<Told, String> {
    match std::panic::catch_unwind(|| tell(seed, shards(seed), false).0) {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(broken)) => Err(broken.0),
        Err(_) => Err("panicked".into()),
    }
}

/// Tells the stories on all cores; what they came to together, and the first that fail.
fn tell_all(first: u64, seeds: u64) -> (Told, Vec<String>) {
    let next = AtomicU64::new(first);
    let found = Mutex::new((Told::default(), Vec::new()));
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_over = |failures: &Vec<String>| failures.len() >= FAILURES_MAX;
            let over = is_over(&found.lock().unwrap_or_else(PoisonError::into_inner).1);
            if seed >= first + seeds || over {
                return;
            }
            let told = story(seed);
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            match told {
                Ok(told) => {
                    found.0.owed += told.owed;
                    found.0.saved += told.saved;
                    found.0.owed_in += told.owed_in;
                    found.0.packets += told.packets;
                }
                Err(what) => found.1.push(format!("SIM_SEED={seed}: {what}")),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(worker);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn no_call_that_has_a_working_way_is_lost() {
    if let Some(seed) = number("SIM_SEED") {
        let (told, log) = tell(seed, shards(seed), true);
        let path = format!("{}/routes-{seed}.log", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&path, log.join("\n")).unwrap();
        assert_eq!(told.err(), None, "see {path}");
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let (told, failures) = tell_all(number("SIM_FROM").unwrap_or(0), seeds);
    println!("{told:?}");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // The stories are about something: most calls have a way, and many need another than the first.
    let seeds = seeds as usize;
    assert!(told.owed > 4 * seeds, "{told:?}");
    assert!(told.saved > seeds, "{told:?}");
    assert!(told.owed_in > seeds, "{told:?}");
}
