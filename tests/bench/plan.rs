//! What a number plan adds to a call: nanoseconds per decision with 1, 100, 10,000 and 100,000
//! routes, and how long they take to read and to compile. Each plan is a provider's: prefixes of
//! many lengths, some for one source, some by the hour, some by regex.
//!
//! Run: `cargo bench --bench plan`. Prints `metric value unit`, one a line.

mod cpu;

use cpu::cpu;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;
use voip::base::Rng;
use voip::config::Config;
use voip::plan::{Decision, Plan, Query, Source};
use voip::wire::sip::Method;

const QUERIES: usize = 200_000;
const ROUNDS: usize = 5;

/// A file of so many routes, and numbers that it takes.
fn file(routes: usize, rng: &mut Rng) -> (String, Vec<String>) {
    let mut text = String::from(
        "[node]\ndomains = [\"example.com\"]\n[numbers]\ncountry = \"34\"\nnational_digits = 9\n\
        premium = [\"80[367]XXXXXX\"]\ntimezone = \"Europe/Madrid\"\n\
        [[trunk]]\nname = \"itsp\"\nuri = \"sip:a.example.net\"\n\
        [[trunk]]\nname = \"backup\"\nuri = \"sip:b.example.net\"\n",
    );
    let mut numbers = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < routes {
        let length = 3 + rng.below(5);
        let prefix: String = (0..length)
            .map(|_| char::from(b'0' + rng.below(10) as u8))
            .collect();
        // None that begins another, so that each can match.
        let mut heads = (1..=prefix.len()).filter_map(|n| prefix.get(..n));
        let longer = seen.range(prefix.clone()..).next();
        if heads.any(|h| seen.contains(h))
            || longer.is_some_and(|l: &String| l.starts_with(&prefix))
        {
            continue;
        }
        let condition = match rng.below(20) {
            0 => "from = [\"user:100\", \"user:101\"]\n",
            1 => "hours = \"08:00-20:00\"\n",
            2 => "from = \"trunk:backup\"\n",
            _ => "",
        };
        let matches = match rng.below(20) {
            0 => format!("regex = '00{prefix}(\\d+)'"),
            1 => format!("match = \"00{prefix}.\""),
            _ => format!("match = \"00{prefix}XXXXX\""),
        };
        let _ = write!(
            text,
            "[[route]]\n{matches}\n{condition}allow = [\"international\", \"premium\"]\n\
            to = [\"trunk:itsp\", \"trunk:backup\"]\n"
        );
        let rest = 10_000 + rng.below(90_000);
        numbers.push(format!("00{prefix}{rest}"));
        seen.insert(prefix);
    }
    (text, numbers)
}

fn main() {
    let mut rng = Rng::from_u64(7);
    // `cargo test` runs benches once, to see that they do.
    let quick = std::env::args().any(|a| a == "--test");
    let sizes: &[usize] = if quick {
        &[100]
    } else {
        &[1, 100, 10_000, 100_000]
    };
    for routes in sizes {
        let (text, numbers) = file(*routes, &mut rng);
        let started = cpu();
        let config = Config::parse(&text, Path::new("voip.toml"));
        let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let read = cpu() - started;
        let started = cpu();
        let plan = Plan::compile(&config);
        let compiled = cpu() - started;
        let asked: Vec<&str> = (0..QUERIES)
            .filter_map(|_| numbers.get(rng.below(numbers.len() as u64) as usize))
            .map(String::as_str)
            .collect();
        let mut best = Duration::MAX;
        let mut went = 0;
        for _ in 0..if quick { 1 } else { ROUNDS } {
            went = 0;
            let started = cpu();
            for number in &asked {
                let decision = plan.decide(black_box(&Query {
                    number,
                    source: Source::User("100@example.com"),
                    caller: "100",
                    address: [192, 0, 2, 1].into(),
                    method: Method::Invite,
                    unix_ms: 1_795_386_670_000,
                }));
                went += usize::from(matches!(black_box(decision), Decision::Go(_)));
            }
            best = best.min(cpu() - started);
        }
        assert!(went > 0);
        let share = 100.0 * went as f64 / asked.len() as f64;
        let ns = best.as_nanos() as f64 / asked.len() as f64;
        println!("decide.{routes} {ns:.0} ns");
        println!("routed.{routes} {share:.0} %");
        println!("read.{routes} {:.1} ms", read.as_secs_f64() * 1e3);
        println!("compile.{routes} {:.1} ms", compiled.as_secs_f64() * 1e3);
    }
}
