//! The guard: slowing, bans, bounds.

use super::flood::{Arrival, Passage};
use super::*;
use crate::base::Rng;

fn settings() -> Settings {
    Settings {
        slow_after: 3,
        ban_after: 6,
        window: Duration::from_secs(60),
        ban: Duration::from_secs(600),
        standing: Duration::from_secs(7200),
        exempt: vec![IpNet::parse("192.0.2.0/24").unwrap()],
        flood: FloodSettings {
            messages_per_second: 1000,
            burst: 10_000,
        },
        fraud: fraud::Settings::default(),
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(1_000_000 + ms)
}

fn anchor() -> Anchor {
    Anchor {
        instant: at(0),
        unix_ms: 1_700_000_000_000,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn fail(guard: &Guard, source: &str, ms: u64) -> Option<Record> {
    fail_as(guard, source, "100", ms)
}

fn fail_as(guard: &Guard, source: &str, user: &str, ms: u64) -> Option<Record> {
    let failure = Failure {
        user: Some(user),
        weight: 1,
    };
    guard.failed(ip(source), failure, at(ms), anchor())
}

/// Somebody who only knocks where it is heard: what it learns of a name, it tried.
fn guess(guard: &Guard, source: &str, user: &str, ms: u64) -> bool {
    if guard.verdict(ip(source), at(ms)) == Verdict::Drop {
        return false;
    }
    let looked_at = !guard.refuses(ip(source), user, at(ms));
    if looked_at {
        fail_as(guard, source, user, ms);
    }
    looked_at
}

#[test]
fn slowed_then_banned_then_let_in() {
    let g = Guard::new(settings(), [1; 16]);
    let bad = "198.51.100.7";
    for n in 0..2 {
        assert_eq!(fail(&g, bad, n), None);
        assert_eq!(g.verdict(ip(bad), at(n)), Verdict::Pass);
    }
    // The pause doubles with each further failure.
    let mut pauses = Vec::new();
    let mut now = 2;
    for _ in 0..3 {
        assert_eq!(fail(&g, bad, now), None);
        let start = now;
        while g.verdict(ip(bad), at(now)) == Verdict::Drop {
            now += 10;
        }
        pauses.push(now - start);
    }
    assert_eq!(pauses, [250, 500, 1000]);
    let Some(Record::PutBan(ban)) = fail(&g, bad, now) else {
        panic!("not banned");
    };
    assert_eq!(ban.until_ms - ban.since_ms, 600_000);
    assert_eq!(g.list(at(now)), std::slice::from_ref(&ban));
    assert_eq!(fail(&g, bad, now), None, "once is enough");
    assert_eq!(g.verdict(ip(bad), at(now + 599_999)), Verdict::Drop);
    assert_eq!(g.verdict(ip("198.51.100.8"), at(now)), Verdict::Pass);
    // It runs out, or is lifted.
    let later = now + 600_000;
    assert_eq!(g.verdict(ip(bad), at(later)), Verdict::Pass);
    assert!(g.list(at(later)).is_empty());
    assert_eq!(fail(&g, bad, later), None, "counts from zero again");
    assert!(g.restore(ban, at(now), anchor()));
    let delete = Record::DeleteBan {
        source: ip(bad),
        user: None,
    };
    assert_eq!(g.lift(ip(bad), None, at(now)), [delete]);
    assert_eq!(g.lift(ip(bad), None, at(now)), []);
    assert_eq!(g.verdict(ip(bad), at(now)), Verdict::Pass);
}

const OFFICE: &str = "198.51.100.7";
/// Exempt.
const OFFICE_OF_SCANNERS: &str = "192.0.2.9";

#[test]
fn a_lone_phone_that_retries_now_and_then_is_heard() {
    let g = Guard::new(settings(), [1; 16]);
    for n in 0..100 {
        assert_eq!(fail(&g, OFFICE, n * 30_000), None);
        assert_eq!(g.verdict(ip(OFFICE), at(n * 30_000)), Verdict::Pass);
    }
}

/// Forty phones register every few minutes; one has a wrong password and does not give up, at any
/// pace. Nobody else is ever dropped or refused, and the broken one gets a bounded number of tries.
#[test]
fn one_broken_phone_does_not_shut_the_office_out() {
    for seed in 0..20 {
        let mut rng = Rng::from_u64(seed);
        let g = Guard::new(settings(), [1; 16]);
        let pace_ms = 200 + rng.below(40_000);
        let phones: Vec<String> = (0..40).map(|n| format!("{n}@example.com")).collect();
        let mut due: Vec<u64> = phones.iter().map(|_| rng.below(300_000)).collect();
        let (mut tries, mut next) = (0, 300_000);
        let end = 6 * 3_600_000;
        while let Some(ms) = due.iter().copied().min().filter(|ms| *ms < end) {
            while next < ms {
                let broken = "broken@example.com";
                assert_eq!(g.verdict(ip(OFFICE), at(next)), Verdict::Pass, "{seed}");
                tries += u64::from(guess(&g, OFFICE, broken, next));
                next += pace_ms;
            }
            let phone = due.iter().position(|at| *at == ms).unwrap();
            assert_eq!(g.verdict(ip(OFFICE), at(ms)), Verdict::Pass, "{seed}");
            assert!(!g.refuses(ip(OFFICE), &phones[phone], at(ms)), "{seed}");
            g.succeeded(ip(OFFICE), &phones[phone], at(ms));
            due[phone] = ms + 200_000 + rng.below(100_000);
        }
        // Six of them in each ban time of 600 s, and what leaks meanwhile.
        assert!(tries <= 6 * 2 * 37, "{seed}: {tries}");
        assert!(g.list(at(next)).iter().all(|b| b.user.is_some()), "{seed}");
    }
}

/// With an account of its own it proves right as often as it likes between its guesses.
#[test]
fn an_account_of_ones_own_buys_few_guesses() {
    for seed in 0..50 {
        let mut rng = Rng::from_u64(seed);
        let g = Guard::new(settings(), [1; 16]);
        let names = 1 + rng.below(8);
        let pace_ms = 1 + rng.below(2000);
        g.succeeded(ip(OFFICE), "own@example.com", at(0));
        let mut tries = 0;
        for n in 0..20_000 {
            let ms = n * pace_ms;
            if ms > 590_000 {
                break;
            }
            let victim = format!("{}@example.com", rng.below(names));
            tries += u64::from(guess(&g, OFFICE, &victim, ms));
            if g.verdict(ip(OFFICE), at(ms)) == Verdict::Pass {
                g.succeeded(ip(OFFICE), "own@example.com", at(ms));
            }
        }
        // Each of three names and, for all others, the source: six failures, and what leaks within
        // the time: as much again of a name, in 60 s of the source until it is shut out.
        let most = 6 * 2 * names.min(NAMES as u64) + if names > NAMES as u64 { 60 } else { 0 };
        assert!(tries <= most, "{seed}: {tries} of {names} names");
        assert!(!g.list(at(590_000)).is_empty() || tries < 6, "{seed}");
    }
}

#[test]
fn without_an_account_a_guesser_is_shut_out_whole() {
    let g = Guard::new(settings(), [1; 16]);
    let mut tries = 0;
    for ms in 0..100_000 {
        tries += u64::from(guess(&g, OFFICE, "100@example.com", ms));
    }
    assert!(tries <= 12, "{tries}");
    assert_eq!(g.list(at(100_000))[0].user, None);
}

#[test]
fn a_scanner_in_good_standing_is_shut_out_whole() {
    let g = Guard::new(settings(), [1; 16]);
    g.succeeded(ip(OFFICE), "own@example.com", at(0));
    let mut tries = 0;
    for n in 0..10_000 {
        tries += u64::from(guess(&g, OFFICE, &format!("{n}@example.com"), n * 100));
        g.succeeded(ip(OFFICE), "own@example.com", at(n * 100));
        if g.verdict(ip(OFFICE), at(n * 100)) == Verdict::Drop && !g.is_empty(at(n * 100)) {
            break;
        }
    }
    assert!(tries <= 6 + NAMES as u64 + 3, "{tries}");
    assert_eq!(g.list(at(60_000))[0].user, None);
    // Names that nobody could have do not cost a place each.
    let g = Guard::new(settings(), [1; 16]);
    g.succeeded(ip(OFFICE), "own@example.com", at(0));
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let bans = (0..6).filter_map(|_| fail_as(&g, OFFICE, &long, 0));
    assert!(matches!(&bans.last(), Some(Record::PutBan(b)) if b.user.is_none()));
}

#[test]
fn good_standing_ends() {
    let g = Guard::new(settings(), [1; 16]);
    g.succeeded(ip(OFFICE), "own@example.com", at(0));
    let ms = 7_300_000;
    let bans = (0..6).filter_map(|_| fail(&g, OFFICE, ms));
    assert!(matches!(&bans.last(), Some(Record::PutBan(b)) if b.user.is_none()));
}

#[test]
fn a_name_is_let_in_alone_or_with_its_source() {
    let names = ["100@example.com", "200@example.com"];
    let shut = || {
        let g = Guard::new(settings(), [1; 16]);
        g.vouch(ip(OFFICE), at(0));
        let bans = |user| (0..6).find_map(|_| fail_as(&g, OFFICE, user, 1));
        let records = names.map(bans);
        (g, records)
    };
    let delete = |user: &str| Record::DeleteBan {
        source: ip(OFFICE),
        user: Some(user.into()),
    };
    let (g, records) = shut();
    for (name, record) in names.iter().zip(&records) {
        let Some(Record::PutBan(ban)) = record else {
            panic!("{record:?}");
        };
        assert_eq!((ban.source, ban.user.as_deref()), (ip(OFFICE), Some(*name)));
        assert!(g.refuses(ip(OFFICE), name, at(2)));
        assert!(!g.refuses(ip("198.51.100.8"), name, at(2)), "elsewhere");
    }
    assert_eq!(
        g.lift(ip(OFFICE), Some(names[0]), at(2)),
        [delete(names[0])]
    );
    assert_eq!(g.lift(ip(OFFICE), Some(names[0]), at(2)), []);
    assert!(!g.refuses(ip(OFFICE), names[0], at(2)));
    assert!(g.refuses(ip(OFFICE), names[1], at(2)));
    let (g, records) = shut();
    assert_eq!(g.lift(ip(OFFICE), None, at(2)), names.map(delete));
    assert!(g.is_empty(at(2)));
    assert_eq!(g.sources.load(Ordering::Relaxed), 0);
    // Bans of names outlive a restart too.
    for record in records.into_iter().flatten() {
        let Record::PutBan(ban) = record else {
            panic!("{record:?}");
        };
        assert!(g.restore(ban, at(3), anchor()));
    }
    assert!(names.iter().all(|n| g.refuses(ip(OFFICE), n, at(4))));
    assert_eq!(g.verdict(ip(OFFICE), at(4)), Verdict::Pass);
}

#[test]
fn sources_are_networks() {
    let g = Guard::new(settings(), [1; 16]);
    for n in 0..6 {
        fail(&g, &format!("2001:db8:0:1::{n}"), 0);
    }
    assert_eq!(g.verdict(ip("2001:db8:0:1:ffff::9"), at(1)), Verdict::Drop);
    assert_eq!(g.verdict(ip("2001:db8:0:2::1"), at(1)), Verdict::Pass);
    assert_eq!(g.list(at(1))[0].source, ip("2001:db8:0:1::"));
    for _ in 0..6 {
        fail(&g, "::ffff:198.51.100.7", 0);
    }
    assert_eq!(g.verdict(ip("198.51.100.7"), at(1)), Verdict::Drop);
    assert_eq!(g.len(at(1)), 2);
}

#[test]
fn trusted_peers_are_never_counted() {
    let g = Guard::new(settings(), [1; 16]);
    for n in 0..100 {
        assert_eq!(fail(&g, "192.0.2.7", n), None);
    }
    assert_eq!(g.verdict(ip("192.0.2.7"), at(100)), Verdict::Pass);
    // Nor is a ban kept that was made before it was trusted.
    for _ in 0..6 {
        fail(&g, "203.0.113.1", 0);
    }
    assert_eq!(g.verdict(ip("203.0.113.1"), at(1)), Verdict::Drop);
    let exempt = vec![IpNet::parse("203.0.113.1").unwrap()];
    g.configure(Settings {
        exempt,
        ..settings()
    });
    assert_eq!(g.verdict(ip("203.0.113.1"), at(1)), Verdict::Pass);
}

#[test]
fn scanners_count_twice() {
    assert_eq!(weight_of(b"friendly-scanner"), 2);
    assert_eq!(weight_of(b"SIPVicious 0.3"), 2);
    assert_eq!(weight_of(b"Linksys/SPA2102-3.3.6"), 1);
    assert_eq!(weight_of(b""), 1);
    let g = Guard::new(settings(), [1; 16]);
    let failure = Failure {
        user: None,
        weight: 2,
    };
    let fail = || g.failed(ip(OFFICE), failure, at(0), anchor());
    assert_eq!((fail(), fail()), (None, None));
    assert!(fail().is_some());
}

#[test]
fn the_table_is_bounded_and_keeps_what_matters() {
    let g = Guard::new(settings(), [1; 16]);
    for _ in 0..6 {
        fail(&g, "198.51.100.7", 0);
    }
    let mut rng = Rng::from_u64(5);
    for _ in 0..WAYS * SETS * 2 {
        let source = IpAddr::from((rng.next_u64() as u32).to_be_bytes());
        let failure = Failure {
            user: None,
            weight: 1,
        };
        g.failed(source, failure, at(1), anchor());
    }
    let full: usize = g.sets.iter().map(|s| s.lock().unwrap().len()).sum();
    assert!(full <= WAYS * SETS && full > WAYS * SETS / 2);
    assert_eq!(g.sources.load(Ordering::Relaxed), full);
    assert_eq!(
        g.verdict(ip("198.51.100.7"), at(2)),
        Verdict::Drop,
        "bans stay"
    );
}

#[test]
fn bans_outlive_a_restart() {
    let g = Guard::new(settings(), [1; 16]);
    let ban = Ban {
        source: ip("198.51.100.7"),
        user: None,
        since_ms: 1_699_999_999_000,
        until_ms: 1_700_000_010_000,
        reason: "x".into(),
    };
    assert!(!g.restore(ban.clone(), at(10_000), anchor()));
    assert!(g.restore(ban, at(9_000), anchor()));
    assert_eq!(g.verdict(ip("198.51.100.7"), at(9_500)), Verdict::Drop);
    assert_eq!(g.verdict(ip("198.51.100.7"), at(10_000)), Verdict::Pass);
}

fn send(guard: &Guard, source: &str, ms: u64) -> Passage {
    guard.passage(ip(source), Arrival::Message, at(ms), anchor())
}

/// How many of `count` messages at one time are looked at.
fn heard(guard: &Guard, source: &str, ms: u64, count: usize) -> usize {
    (0..count)
        .filter(|_| send(guard, source, ms) == Passage::Pass)
        .count()
}

#[test]
fn a_stranger_may_send_a_tenth_of_what_a_phone_of_ours_may() {
    let g = Guard::new(settings(), [1; 16]);
    assert_eq!(heard(&g, "198.51.100.7", 0, 20_000), 1000);
    assert_eq!(heard(&g, "198.51.100.7", 1000, 1000), 100);
    assert_eq!(heard(&g, "198.51.100.8", 0, 1000), 1000, "each by itself");
    // A /64 is one source.
    assert_eq!(heard(&g, "2001:db8::1", 0, 600), 600);
    assert_eq!(heard(&g, "2001:db8::2", 0, 600), 400);
    // Who proves right has more at once, even in the middle of a flood.
    g.succeeded(ip("198.51.100.7"), "100@example.com", at(1000));
    assert_eq!(heard(&g, "198.51.100.7", 1000, 20_000), 0);
    assert_eq!(heard(&g, "198.51.100.7", 2000, 20_000), 1000);
    assert_eq!(heard(&g, "198.51.100.7", 60_000, 20_000), 10_000);
}

/// Behind one address: a reboot of five hundred phones, each with twenty subscriptions, within twelve
/// seconds; and all of them on their very first day.
#[test]
fn an_office_of_five_hundred_phones_loses_nothing() {
    let g = Guard::new(settings(), [1; 16]);
    assert_eq!(heard(&g, OFFICE, 0, 2 * 500), 1000, "nobody was here yet");
    g.vouch(ip(OFFICE), at(0));
    let storm = 500 * 2 * 20;
    let through: usize = (0..125)
        .map(|n| heard(&g, OFFICE, 60_000 + n * 100, storm / 125))
        .sum();
    assert_eq!(through, storm);
}

#[test]
fn a_stranger_that_floods_on_is_shut_out_and_nobody_else_is() {
    let g = Guard::new(settings(), [1; 16]);
    let (bad, known, peer) = ("198.51.100.7", "198.51.100.8", "203.0.113.5");
    g.vouch(ip(known), at(0));
    g.set_peers([ip(peer)]);
    let mut bans = Vec::new();
    for ms in 0..15_000 {
        for source in [bad, known, peer, "192.0.2.9", "127.0.0.1"] {
            for _ in 0..20 {
                match send(&g, source, ms) {
                    Passage::Ban(Record::PutBan(ban)) => bans.push((ms, ban)),
                    Passage::Ban(other) => panic!("{other:?}"),
                    Passage::Pass => {}
                    Passage::Drop => assert!(source == bad || source == known, "{source}"),
                }
            }
        }
    }
    let [(ms, ban)] = &bans[..] else {
        panic!("{bans:?}");
    };
    assert_eq!((ban.source, &*ban.reason), (ip(bad), "flood"));
    assert!((10_000..10_100).contains(ms), "{ms}");
    assert_eq!(g.verdict(ip(bad), at(15_000)), Verdict::Drop);
    assert_eq!(g.list(at(15_000)).len(), 1);
}

#[test]
fn junk_costs_strangers_alone_and_is_never_looked_at() {
    let g = Guard::new(settings(), [1; 16]);
    g.vouch(ip(OFFICE), at(0));
    let junk = |source, ms| g.passage(ip(source), Arrival::Junk, at(ms), anchor());
    let mut banned = 0;
    for ms in 0..12_000 {
        for _ in 0..2 {
            assert_eq!(junk(OFFICE, ms), Passage::Drop);
            match junk("198.51.100.9", ms) {
                Passage::Pass => panic!("junk was looked at"),
                Passage::Drop => {}
                Passage::Ban(_) => banned += 1,
            }
        }
    }
    assert_eq!(banned, 1);
    assert_eq!(heard(&g, OFFICE, 12_000, 10_000), 10_000);
}

#[test]
fn no_limit_where_none_is_wanted() {
    let mut wanted = settings();
    wanted.flood.messages_per_second = 0;
    let g = Guard::new(wanted, [1; 16]);
    assert_eq!(heard(&g, "198.51.100.7", 0, 50_000), 50_000);
    g.configure(settings());
    assert_eq!(heard(&g, "198.51.100.7", 0, 50_000), 1000);
}

#[test]
fn whoever_asks_on_and_on_without_a_proof_is_shut_out() {
    let g = Guard::new(settings(), [1; 16]);
    let knock = |source, ms| g.knocked(ip(source), Knock::Plain, at(ms), anchor());
    let bad = "198.51.100.7";
    let until = (0..).find(|&n| knock(bad, n).is_some());
    // Six failures of five requests each, rounded as failures are.
    assert_eq!(until, Some(27));
    assert_eq!(g.list(at(30))[0].reason.as_ref(), "scan");
    assert_eq!(knock(bad, 40), None, "once is enough");
    // A phone that has to be asked each time is none: it proves itself then.
    for n in 0..100 {
        assert_eq!(knock(OFFICE, n), None);
        g.succeeded(ip(OFFICE), "100@example.com", at(n));
    }
    // Nor is one that asks now and then.
    for n in 0..100 {
        assert_eq!(knock("198.51.100.20", n * 5_000), None);
    }
    for exempt in ["192.0.2.9", "127.0.0.1", "::1"] {
        assert!((0..100).all(|n| knock(exempt, n).is_none()), "{exempt}");
    }
}

#[test]
fn a_declared_scanner_is_shut_out_at_its_first_word() {
    for ban_after in [2, 20, 100_000] {
        let wanted = Settings {
            ban_after,
            ..settings()
        };
        let g = Guard::new(wanted, [1; 16]);
        let scan = |ms| g.knocked(ip("198.51.100.7"), Knock::Scanner, at(ms), anchor());
        assert!(scan(0).is_some(), "{ban_after}");
        assert_eq!(scan(1), None, "once is enough");
        let phone = g.knocked(ip(OFFICE_OF_SCANNERS), Knock::Scanner, at(2), anchor());
        assert_eq!(phone, None, "the operator's own tool");
    }
}
