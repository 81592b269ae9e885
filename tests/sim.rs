//! A thousand random stories hold all rules of `sim::check`, with one shard and with four.
//! A story that does not is named by its seed: `SIM_SEED=n cargo test --features sim --test sim`
//! tells it again, with every packet in `tmp/sim-n.log` of the target folder. `SIM_SEEDS=n` tells more of them.
#![cfg(feature = "sim")]

use std::sync::atomic::{AtomicU64, Ordering};
use voip::sim::story::{Mood, tell, tell_in_detail};

/// Stories of one run, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 1000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Tells the stories on all cores; the broken rules of the first few that fail come back.
fn tell_all(seeds: u64, check: impl Fn(u64) -> Result<(), String> + Sync) -> Vec<String> {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let worker = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || failures.len() >= 5 {
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
