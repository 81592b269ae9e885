//! The guard: slowing, bans, bounds.

use super::*;
use crate::base::Rng;

fn settings() -> Settings {
    Settings {
        slow_after: 3,
        ban_after: 6,
        window: Duration::from_secs(60),
        ban: Duration::from_secs(600),
        exempt: vec![IpNet::parse("192.0.2.0/24").unwrap()],
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
    guard.failed(ip(source), 1, at(ms), anchor())
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
    assert_eq!(g.lift(ip(bad)), Some(Record::DeleteBan(ip(bad))));
    assert_eq!(g.lift(ip(bad)), None);
    assert_eq!(g.verdict(ip(bad), at(now)), Verdict::Pass);
}

#[test]
fn one_misconfigured_phone_does_not_shut_the_office_out() {
    let g = Guard::new(settings(), [1; 16]);
    let office = "198.51.100.7";
    // Every 30 s, as phones do: it leaks away.
    for n in 0..100 {
        assert_eq!(fail(&g, office, n * 30_000), None);
        assert_eq!(g.verdict(ip(office), at(n * 30_000)), Verdict::Pass);
    }
    // Every second, but the others register meanwhile.
    for n in 0..100 {
        let ms = 3_000_000 + n * 1000;
        assert_eq!(fail(&g, office, ms), None);
        g.succeeded(ip(office), at(ms + 500));
    }
    assert_eq!(g.verdict(ip(office), at(3_100_000)), Verdict::Pass);
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
    for _ in 0..2 {
        assert_eq!(g.failed(ip("198.51.100.7"), 2, at(0), anchor()), None);
    }
    assert!(g.failed(ip("198.51.100.7"), 2, at(0), anchor()).is_some());
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
        g.failed(source, 1, at(1), anchor());
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
        since_ms: 1_699_999_999_000,
        until_ms: 1_700_000_010_000,
        reason: "x".into(),
    };
    assert!(!g.restore(ban.clone(), at(10_000), anchor()));
    assert!(g.restore(ban, at(9_000), anchor()));
    assert_eq!(g.verdict(ip("198.51.100.7"), at(9_500)), Verdict::Drop);
    assert_eq!(g.verdict(ip("198.51.100.7"), at(10_000)), Verdict::Pass);
}
